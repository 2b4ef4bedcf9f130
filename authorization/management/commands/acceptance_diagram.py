"""manage.py acceptance_diagram [--check]: the moves of a technical acceptance, drawn in docs/acceptances.md.

Written from the one table in authorization/acceptances/moves.py. With --check nothing is written, and the exit code
is 1 where page and table differ.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authorization.acceptances import moves

PAGE = Path(__file__).resolve().parents[3] / "docs" / "acceptances.md"
BEGIN = "<!-- moves: written by manage.py acceptance_diagram -->"
END = "<!-- end of moves -->"


class Command(BaseCommand):
    help = "Draw the moves of a technical acceptance in docs/acceptances.md."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; fail where the page is out of date"
        )
        parser.add_argument(
            "--page", type=Path, default=PAGE, metavar="PATH", help="another page than the docs'"
        )

    def handle(self, *args: Any, check: bool, page: Path, **options: Any) -> None:
        try:
            present = page.read_text(encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{page} cannot be read: {error.strerror}.") from error
        wanted = drawn(present, page)
        if check:
            if wanted != present:
                raise CommandError(
                    f"{page.name} and the table of moves differ. Run: manage.py acceptance_diagram"
                )
            print(f"{page.name} is as the table says.")
            return
        page.write_text(wanted, encoding="utf-8")
        print(f"{page.name} is written.")


def drawn(text: str, page: Path) -> str:
    """The page with diagram and table between its two marks. Raises CommandError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise CommandError(
            f"{page.name} has no place for the moves: put the lines {BEGIN!r} and {END!r} in it."
        )
    return f"{before}{BEGIN}\n\n```mermaid\n{moves.as_diagram()}\n```\n\n{moves.as_table()}\n\n{END}{after}"
