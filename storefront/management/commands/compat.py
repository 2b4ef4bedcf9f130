"""`manage.py compat --csv IN --out OUT`: does each of these variants work on that network on that day?"""

import os
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from catalog.compat_file import ASKED, NoSuchFile, answer_file


class Command(BaseCommand):
    help = (
        f"Answer a CSV file of {', '.join(ASKED)}: each row comes back with the verdict, its reasons and cautions, or "
        "an error. See docs/compatibility.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--csv",
            type=Path,
            required=True,
            metavar="IN",
            dest="source",
            help="UTF-8, with a header row; variant is the slug or the exact model number",
        )
        parser.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="OUT",
            dest="target",
            help="replaced when all is answered",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        source, target = options["source"], options["target"]
        part = target.parent / f".{target.name}.{os.getpid()}.part"
        try:
            if target.exists() and (not target.is_file() or target.samefile(source)):
                raise CommandError(
                    f"{target} is the input, or no plain file: name another file for the answer."
                )
            # A BOM at the start is no part of the first column's name.
            with (
                source.open(encoding="utf-8-sig", newline="") as lines,
                part.open("w", encoding="utf-8", newline="") as answer,
            ):
                done = answer_file(lines, answer)
            part.replace(target)
        except NoSuchFile as error:
            raise CommandError(f"{source} cannot be answered, and nothing was written. {error}") from None
        except OSError as error:
            where = target if error.filename in (None, str(part)) else error.filename
            raise CommandError(f"{where}: {error.strerror}. Nothing was written.") from None
        except DatabaseError as error:
            raise CommandError(
                f"The database refused, and nothing was written: {error}. If its tables are missing, run: "
                "manage.py migrate"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()
        self.stdout.write(
            f"{done.rows:,} rows answered in {target}"
            + (
                f"; {done.errors:,} of them say in the column error why they have no verdict."
                if done.errors
                else "."
            )
        )
