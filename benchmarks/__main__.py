"""`./dev bench NAME [--json] [--seconds N]`: each benchmark runs in a process of its own per database, on fresh rows.

`compat` needs no database and runs once.

Figures are ratios to a floor measured in the same run, or waits in milliseconds; docs/performance.md says what they
mean and keeps the last ones.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BENCHMARKS = {
    "fence": "benchmarks.fence",
    "decisions": "benchmarks.decisions",
    "revocation": "benchmarks.revocation",
    "expiry": "benchmarks.expiry",
    "compat": "benchmarks.compat",
    "api": "benchmarks.api",
}
# What these measure is plain Python.
WITHOUT_DATABASE = {"compat"}

# Benchmarks that take more than the seconds of each figure.
TAKES = {
    "revocation": ("seconds", "listings", "covering", "full"),
    "expiry": ("approvals", "offers"),
    "api": ("seconds", "listings"),
}
LISTINGS = {"revocation": 100_000, "api": 1_000_000}
# SQLite is for shops smaller than this store: only on request.
USUALLY_ON = {"api": "postgresql"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS), nargs="?", default="fence")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each figure is measured")
    parser.add_argument(
        "--listings",
        type=int,
        help="revocation: how many are delisted (100,000); api: of the store (1,000,000)",
    )
    parser.add_argument(
        "--covering", type=int, default=1_000_000, help="revocation: covered by the commit that is timed"
    )
    parser.add_argument("--approvals", type=int, default=5000, help="expiry: how many end at one instant")
    parser.add_argument("--offers", type=int, default=20_000, help="expiry: live offers that rest on them")
    parser.add_argument("--full", action="store_true", help="revocation: delist all of those too (long)")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one database instead of both")
    arguments = parser.parse_args()
    arguments.listings = arguments.listings or LISTINGS.get(arguments.name)
    arguments.only = arguments.only or USUALLY_ON.get(arguments.name)
    if arguments.name in WITHOUT_DATABASE:
        results = {arguments.name: measure(arguments.name, str(arguments.seconds), dict(os.environ))}
        tell(results, as_json=arguments.json)
        return 0
    with tempfile.TemporaryDirectory(prefix="clearline-bench-") as folder:
        results = {
            name: run(arguments, url, folder)
            for name, url in databases(Path(folder)).items()
            if arguments.only in (None, name)
        }
    tell(results, as_json=arguments.json)
    return 0


def tell(results: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for name, figures in results.items():
        print(f"\n{name}")
        for figure, value in figures.items():
            print(f"  {figure:<58} {value}")


def databases(folder: Path) -> dict[str, str]:
    urls = {"sqlite": f"sqlite:///{folder / 'bench.sqlite3'}"}
    postgres = os.environ.get("BENCH_POSTGRES_URL")
    if not postgres:
        raise SystemExit(
            "BENCH_POSTGRES_URL is not set; run this through ./dev bench, which brings a PostgreSQL."
        )
    return {**urls, "postgresql": postgres}


def run(arguments: argparse.Namespace, url: str, folder: str) -> dict[str, Any]:
    given = str(arguments.seconds)
    if arguments.name in TAKES:
        given = json.dumps({name: getattr(arguments, name) for name in TAKES[arguments.name]})
    env = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "storefront.settings",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "PAYMENT_PROVIDER_KEY": "not-called",
        "CLEARLINE_DATA_DIR": folder,
        "CLEARLINE_LOG_LEVEL": "ERROR",
        "CLEARLINE_HTTPS": "false",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        # Calls are counted, as always, and not stopped.
        "CLEARLINE_API_READS_PER_MINUTE": "1000000",
        "CLEARLINE_API_WRITES_PER_MINUTE": "1000000",
        # What is measured is the work, not the wait for a second person.
        "CLEARLINE_TWO_PEOPLE_ABOVE_OFFERS": "1000000000",
        "CLEARLINE_TWO_PEOPLE_ABOVE_BRAND_PERCENT": "101",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=env, check=True)
    return measure(arguments.name, given, env)


def measure(name: str, given: str, env: dict[str, str]) -> dict[str, Any]:
    """The figures of one benchmark, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", BENCHMARKS[name], given],
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    sys.exit(main())
