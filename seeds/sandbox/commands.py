"""The commands of `./dev`: what they are called, what they take, and what they do.

This module is read before the virtual environment exists, so it imports nothing but the standard library;
what needs more is imported inside the command.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seeds.sandbox.processes import PROJECT, Supervisor
from seeds.sandbox.stack import WEB_PORT, Stack, environment_for_manage, say, start_shop, start_stack

RUNTIME = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"
# Read through both: what they require in turn.
CONSTRAINTS = "constraints.txt"


@dataclass(frozen=True)
class Command:
    summary: str
    run: Callable[[argparse.Namespace], int]
    requirements: str
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    # For commands that hand on all they are given, options included.
    takes_anything: bool = False


def demo(options: argparse.Namespace) -> int:
    from seeds.replay.main import run

    say("Clearline, in a sandbox that is thrown away:")
    database = "postgres" if options.postgres else "sqlite"
    with start_stack("demo", database=database, port=options.port) as stack:
        code = run(
            stack=stack,
            dates=options.dates,
            json_path=options.json,
            is_kept=not options.exit,
            open_stack=lambda policy: start_stack(f"demo-{policy}", database=database, port=0),
        )
        if stack.failures:
            return code or 1
        if not options.exit:
            say("\nThe sandbox stays until Ctrl-C.")
            return stack.wait()
    return code


def demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--exit", action="store_true", help="end after the replay, with its exit code")
    parser.add_argument("--json", type=_caller_path, metavar="FILE", help="write the findings there as well")
    parser.add_argument("--dates", choices=["press", "article"], default="press", help="whose dates")
    _port_option(parser)
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")


def up(options: argparse.Namespace) -> int:
    say("Clearline, with its data in var/:")
    with start_shop(port=options.port) as shop:
        # What they print matters here, what they log does not.
        env = {"CLEARLINE_LOG_LEVEL": "WARNING"} | shop.env
        # Only into an empty store: later the desk may have corrected what the tables say.
        for command in (["load_reference", "--if-empty"], ["bootstrap_desk"]):
            code = shop.supervisor.run_in_terminal([sys.executable, "manage.py", *command], env=env)
            if code:
                return code
        if shop.failures:
            return 1
        say(f"\nThe store   {shop.base_url}/\nThe desk    {shop.base_url}/admin/")
        say(f"Logs        {shop.data_dir}/logs/\nIt runs until Ctrl-C.")
        if _is_nothing_listed(shop):
            say(FIRST_STEPS)
        return shop.wait()


FIRST_STEPS = """
Nothing is listed yet. From here to the first phone on sale:
  1. At the desk, Organizations: add one of the kind vendor.
  2. Agreements: add one from the phone's manufacturer to the vendor, verified, for US, web, new.
  3. Carrier approvals: add one of the host carrier for the exact model number.
  4. Vendor keys: make one for the vendor; it is shown once.
  5. With the key: PUT the listing, then publish it, as docs/api.md shows."""


def _is_nothing_listed(shop: Stack) -> bool:
    question = "from catalog.models import Listing; print(Listing.objects.exists())"
    answer = shop.manage("shell", "--verbosity", "0", "-c", question)
    return answer.stdout.strip().endswith("False")


def up_options(parser: argparse.ArgumentParser) -> None:
    _port_option(parser)


def _port_option(parser: argparse.ArgumentParser) -> None:
    usage = "port of the store (default: %(default)s; 0: any that is free)"
    parser.add_argument("--port", type=_port, default=WEB_PORT, help=usage)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: take a number from 0 to 65535")
    return int(text)


def manage(options: argparse.Namespace) -> int:
    # Replaces this process: an interactive shell keeps its terminal, signals and exit code.
    os.execve(sys.executable, [sys.executable, "manage.py", *options.rest], environment_for_manage())


def bench(options: argparse.Namespace) -> int:
    from seeds.sandbox.postgres import TemporaryPostgres

    with Supervisor() as supervisor, TemporaryPostgres(fsync=True, supervisor=supervisor) as url:
        argv = [sys.executable, "-m", "benchmarks", *options.rest]
        return supervisor.run_in_terminal(argv, env=os.environ | {"BENCH_POSTGRES_URL": url})


def soak(options: argparse.Namespace) -> int:
    from seeds.soak import guards
    from seeds.soak.main import Order, run

    is_without = options.guards or options.without
    minutes = options.minutes or (guards.MINUTES if is_without else 3.0)
    how = {"minutes": minutes, "seed": options.seed, "database": options.database}
    if options.guards:
        verdicts = [guards.soak_without(guard, **how)[1] for guard in guards.GUARDS]
        guards.tell(verdicts)
        return 0 if all(verdict.is_caught for verdict in verdicts) else 1
    if options.without:
        code, verdict = guards.soak_without(guards.find(options.without), **how)
        guards.tell([verdict])
        return code
    throw = None if options.throw is None else tuple(options.throw.split(","))
    order = Order(**how, port=options.port, faults=throw, acts=tuple(filter(None, options.acts.split(","))))
    return run(order, json_path=options.json, is_kept=options.keep)


def soak_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minutes", type=float, help="of load and faults (default: 3, and 0.75 without a guard)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of what is thrown and when (default: %(default)s)"
    )
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--json", type=_caller_path, metavar="FILE", help="write the findings there as well")
    parser.add_argument("--without", metavar="GUARD", help="from a copy without this guard: it has to fail")
    parser.add_argument(
        "--guards", action="store_true", help="without each guard in turn; 0 if each makes it fail"
    )
    parser.add_argument("--throw", metavar="KINDS", help="only these faults, with commas, or: nothing")
    parser.add_argument("--acts", metavar="ACTS", default="", help="of the desks: only these, with commas")
    parser.add_argument(
        "--keep", action="store_true", help="logs and journals in var/soak, also of a good run"
    )
    usage = "port of the store (default: any that is free)"
    parser.add_argument("--port", type=_port, default=0, help=usage)


def check(_options: argparse.Namespace) -> int:
    from seeds.sandbox.verification import run_checks

    return run_checks()


def test(options: argparse.Namespace) -> int:
    from seeds.sandbox.verification import run_checks, run_tests

    checked = 0 if options.no_check else run_checks()
    databases = [name for name in ("sqlite", "postgres") if options.only in (None, name)]
    # Who asks for some tests does not ask for the soak.
    with_soak = "postgres" in databases and not options.no_soak and not options.rest
    tested = run_tests(databases, options.rest, with_soak=with_soak, with_coverage=options.coverage)
    if checked:
        say("The checks failed as well: see their table above.")
    return tested or checked


def test_options(parser: argparse.ArgumentParser) -> None:
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--sqlite-only", dest="only", action="store_const", const="sqlite")
    only.add_argument("--postgres-only", dest="only", action="store_const", const="postgres")
    parser.add_argument("--no-check", action="store_true", help="leave out what ./dev check does")
    parser.add_argument("--coverage", action="store_true", help="measure which lines and branches are run")
    parser.add_argument("--no-soak", action="store_true", help="leave out the soak of 3 minutes at the end")
    parser.epilog = "What stands after -- goes to pytest, for example: ./dev test -- -k fence -x"


COMMANDS = {
    "demo": Command("replay the Xiaomi case in a throw-away store", demo, RUNTIME, demo_options),
    "up": Command("run the store, with its data kept in var/", up, RUNTIME, up_options),
    "test": Command("check, the tests on SQLite and PostgreSQL, a soak", test, DEVELOPMENT, test_options),
    "check": Command("lint, format, types, migrations, imports", check, DEVELOPMENT),
    "soak": Command("load, withdrawals and faults; then check everything", soak, DEVELOPMENT, soak_options),
    "bench": Command("measure: ./dev bench NAME [ARGS]", bench, DEVELOPMENT, takes_anything=True),
    "manage": Command("manage.py, on the data of `up`", manage, RUNTIME, takes_anything=True),
}


class UnknownCommand(Exception):
    pass


def overview() -> str:
    lines = [f"  ./dev {name:<8} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(["Clearline. Commands:", "", *lines, "", "Options of one: ./dev COMMAND --help"])


def parse(arguments: Sequence[str]) -> tuple[Command, argparse.Namespace] | None:
    """The command and its options; None when only help is wanted. Wrong options end the program here."""
    name, *rest = arguments or ["help"]
    if name in ("help", "-h", "--help"):
        return None
    if name not in COMMANDS:
        raise UnknownCommand(f"./dev knows no command {name!r}.\n\n{overview()}")
    command = COMMANDS[name]
    if command.takes_anything:
        return command, argparse.Namespace(rest=rest)
    parser = argparse.ArgumentParser(prog=f"./dev {name}", description=command.summary)
    command.add_options(parser)
    own, further = _split(rest)
    if further and name != "test":
        parser.error("nothing may stand after --")
    return command, parser.parse_args(own, argparse.Namespace(rest=further))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return list(arguments), []
    position = arguments.index("--")
    return list(arguments[:position]), list(arguments[position + 1 :])


def _caller_path(text: str) -> Path:
    """`./dev` works in the project's folder; a file that is named belongs to where it was called."""
    return Path(os.environ.get("CLEARLINE_CALLED_FROM", PROJECT), text)
