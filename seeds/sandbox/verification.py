"""`./dev check` and `./dev test`: everything that says whether a change may go in."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from seeds.sandbox.broker import start_broker
from seeds.sandbox.postgres import TemporaryPostgres
from seeds.sandbox.processes import Supervisor
from seeds.sandbox.stack import environment_without_shop, say

# Files below are named at the end of a test run.
COVERAGE_WORTH_A_LOOK = 80.0
# Each kind of fault is thrown at least once in it.
SOAK_MINUTES = 3.0

CHECKS: dict[str, list[str]] = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy", "."],
    "django check": ["manage.py", "check", "--fail-level", "WARNING"],
    "migrations": ["manage.py", "makemigrations", "--check", "--dry-run"],
    "imports": ["lint-imports", "--no-logo"],
    "openapi": ["manage.py", "openapi", "--check"],
}


@dataclass
class Outcome:
    name: str
    code: int
    seconds: float
    closing_line: str = ""

    def __str__(self) -> str:
        verdict = "passed" if self.code == 0 else f"FAILED ({self.code})"
        return f"  {self.name:<16}{verdict:<14}{self.seconds:6.1f} s  {self.closing_line}"


def run_checks() -> int:
    """Every check, even after one failed; 1 if any did."""
    outcomes = []
    with _workshop() as (supervisor, env, _folder):
        for name, words in CHECKS.items():
            say(f"\n== {name}")
            started = time.monotonic()
            code = supervisor.run_in_terminal(_in_virtual_environment(words), env=env)
            outcomes.append(Outcome(name, code, time.monotonic() - started))
    return _summarize("Checks", outcomes)


def run_tests(
    databases: Sequence[str], pytest_arguments: Sequence[str], *, with_soak: bool, with_coverage: bool
) -> int:
    """The whole suite on each database, then a soak; 1 if any run failed.

    What touches no database runs once. Coverage is measured when asked for: it makes the suite a third slower.
    """
    outcomes = []
    with _workshop() as (supervisor, env, folder):
        env["REDIS_URL"] = start_broker(supervisor, folder / "broker")
        for database in databases:
            with ExitStack() as cleanup:
                env["DATABASE_URL"] = f"sqlite:///{folder}/tests.sqlite3"
                title = "SQLite"
                if database == "postgres":
                    server = TemporaryPostgres(fsync=False, supervisor=supervisor)
                    env["DATABASE_URL"] = cleanup.enter_context(server)
                    title = server.origin
                say(f"\n== tests on {title}")
                arguments = list(pytest_arguments)
                if database != databases[0]:
                    arguments.append("--only-with-database")
                if with_coverage:
                    arguments += ["--cov", "--cov-report="]
                outcomes.append(_run_pytest(supervisor, env, folder, database, arguments))
        _report_coverage(supervisor, env, folder)
        if with_soak:
            say(f"\n== soak of {SOAK_MINUTES:g} minutes")
            outcomes.append(_run_soak(supervisor, folder))
    return _summarize("Tests", outcomes)


def _run_soak(supervisor: Supervisor, folder: Path) -> Outcome:
    """On a PostgreSQL of its own, whatever server the tests were given: this one is stopped and killed."""
    findings = folder / "soak.json"
    env = environment_without_shop()
    env.pop("TEST_DATABASE_URL", None)
    argv = [sys.executable, "-m", "seeds.sandbox", "soak", "--minutes", str(SOAK_MINUTES)]
    started = time.monotonic()
    code = supervisor.run_in_terminal([*argv, "--json", str(findings)], env=env)
    closing_line = "(no findings)"
    if findings.exists():
        found = json.loads(findings.read_text(encoding="utf-8"))
        failed = ", ".join(found["failed"]) or "every promise was kept"
        closing_line = f"{len(found['faults'])} faults, {found['load'].get('bought', 0)} bought: {failed}"
    return Outcome("soak", code, time.monotonic() - started, closing_line)


def _run_pytest(
    supervisor: Supervisor, env: dict[str, str], folder: Path, database: str, arguments: Sequence[str]
) -> Outcome:
    color = "yes" if sys.stdout.isatty() else "no"
    options = ["-n", "2", f"--color={color}"]
    argv = [*_in_virtual_environment(["pytest"]), *options, *arguments]
    log = folder / f"pytest-{database}.log"
    started = time.monotonic()
    measured = env | {"COVERAGE_FILE": str(folder / f"coverage-{database}" / "data")}
    (folder / f"coverage-{database}").mkdir()
    code = supervisor.run_in_terminal(argv, env=measured, log=log)
    lines = log.read_text(errors="replace").strip().splitlines()
    closing_line = lines[-1] if lines else "(pytest said nothing)"
    return Outcome(database, code, time.monotonic() - started, closing_line)


def _report_coverage(supervisor: Supervisor, env: dict[str, str], folder: Path) -> None:
    measured = [str(path) for path in folder.glob("coverage-*/*")]
    if not measured:
        return
    env = env | {"COVERAGE_FILE": str(folder / "coverage")}
    coverage = _in_virtual_environment(["coverage"])
    report = folder / "coverage.json"
    for arguments in (["combine", *measured], ["json", "-q", "-o", str(report)]):
        result = supervisor.run([*coverage, *arguments], env=env)
        if result.returncode:
            say(f"\nNo coverage report: {(result.stdout + result.stderr).strip()}")
            return
    found = json.loads(report.read_text())
    say(f"\nCoverage (lines and branches, all runs): {found['totals']['percent_covered']:.1f} %")
    shares = {name: entry["summary"]["percent_covered"] for name, entry in found["files"].items()}
    for name, share in sorted(shares.items(), key=lambda item: item[1]):
        if share < COVERAGE_WORTH_A_LOOK:
            say(f"  {share:5.1f} %  {name}")


@contextmanager
def _workshop() -> Iterator[tuple[Supervisor, dict[str, str], Path]]:
    """A supervisor, an environment that names no shop of the caller's, and a folder that goes away."""
    folder = Path(tempfile.mkdtemp(prefix="clearline-test-"))
    with Supervisor(report=say) as supervisor:
        supervisor.remove_at_end(folder)
        # Collected for nobody, but its absence is warned of.
        (folder / "static").mkdir()
        env = environment_without_shop() | {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "PAYMENT_PROVIDER_KEY": secrets.token_hex(16),
            "DATABASE_URL": f"sqlite:///{folder}/checks.sqlite3",
            "CLEARLINE_DATA_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "storefront.settings",
        }
        yield supervisor, env, folder


def _in_virtual_environment(words: Sequence[str]) -> list[str]:
    name, *arguments = words
    if name.endswith(".py"):
        return [sys.executable, *words]
    return [str(Path(sys.executable).parent / name), *arguments]


def _summarize(title: str, outcomes: Sequence[Outcome]) -> int:
    say(f"\n{title}")
    for outcome in outcomes:
        say(str(outcome))
    return 1 if any(outcome.code for outcome in outcomes) else 0
