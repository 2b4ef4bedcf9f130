"""`python -m seeds.sandbox COMMAND`: a command of `./dev`, inside the virtual environment."""

from __future__ import annotations

import sys

from seeds.sandbox.commands import UnknownCommand, overview, parse
from seeds.sandbox.postgres import PostgresUnavailable
from seeds.sandbox.processes import ServiceFailed, interruptible
from seeds.sandbox.stack import say


def main() -> int:
    try:
        parsed = parse(sys.argv[1:])
    except UnknownCommand as error:
        print(error, file=sys.stderr)
        return 2
    if parsed is None:
        print(overview())
        return 0
    command, options = parsed
    interruptible()
    try:
        return command.run(options)
    except KeyboardInterrupt:
        say("\nStopped; nothing is left running.")
        return 130
    except (ServiceFailed, PostgresUnavailable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
