"""`./dev bench NAME [--json] [--seconds N]`: each benchmark runs in a process of its own per database, on fresh rows.

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
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS), nargs="?", default="fence")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each figure is measured")
    parser.add_argument("--listings", type=int, default=100_000, help="revocation: how many are delisted")
    parser.add_argument(
        "--covering", type=int, default=1_000_000, help="revocation: covered by the commit that is timed"
    )
    parser.add_argument("--full", action="store_true", help="revocation: delist all of those too (long)")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one database instead of both")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clearline-bench-") as folder:
        results = {
            name: run(arguments, url, folder)
            for name, url in databases(Path(folder)).items()
            if arguments.only in (None, name)
        }
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        for name, figures in results.items():
            print(f"\n{name}")
            for figure, value in figures.items():
                print(f"  {figure:<58} {value}")
    return 0


def databases(folder: Path) -> dict[str, str]:
    urls = {"sqlite": f"sqlite:///{folder / 'bench.sqlite3'}"}
    postgres = os.environ.get("BENCH_POSTGRES_URL")
    if not postgres:
        raise SystemExit(
            "BENCH_POSTGRES_URL is not set; run this through ./dev bench, which brings a PostgreSQL."
        )
    return {**urls, "postgresql": postgres}


def run(arguments: argparse.Namespace, url: str, folder: str) -> dict[str, Any]:
    module = BENCHMARKS[arguments.name]
    given = str(arguments.seconds)
    if arguments.name == "revocation":
        given = json.dumps(
            {name: getattr(arguments, name) for name in ("seconds", "listings", "covering", "full")}
        )
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
        # What is measured is the work, not the wait for a second person.
        "CLEARLINE_TWO_PEOPLE_ABOVE_OFFERS": "1000000000",
        "CLEARLINE_TWO_PEOPLE_ABOVE_BRAND_PERCENT": "101",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=env, check=True)
    done = subprocess.run(
        [sys.executable, "-m", module, given], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    sys.exit(main())
