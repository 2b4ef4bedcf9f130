"""`manage.py load_reference`: host carriers, networks, hostings, devices and variants, from CSV tables.

An import may take authority away: a band that goes, a hosting that ends, a phone that gets another maker. It goes
through the same door as a withdrawal at the desk: what would fall is shown first, and only done when that is said.
"""

from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils.text import capfirst
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from authorization import clock
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.groundwork import Recorder
from authorization.models import Revision
from authorization.revocations import CorrectGroundwork
from carriers.models import HostCarrier
from catalog.models import ListingHost
from seeds.reference import loader
from seeds.reference.tables import FaultyTables, Tables, read_tables
from storefront import command_door, withdrawals

SHIPPED = Path(__file__).resolve().parents[2] / "reference"
OPERATOR = Actor("system", "load_reference")


class Command(BaseCommand):
    help = "Load the reference tables (networks, hostings, devices). Safe to repeat: writes what differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--path",
            type=Path,
            default=SHIPPED,
            metavar="DIR",
            help="folder of the tables (default: the shipped ones)",
        )

        parser.add_argument(
            "--if-empty",
            action="store_true",
            help="do nothing when the store has host carriers: keep what the desk has corrected since",
        )

        parser.add_argument(
            "--dry-run", action="store_true", help="write nothing: say what differs and what falls"
        )
        command_door.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_empty"] and HostCarrier.objects.exists():
            self.stdout.write("Reference data is there; what the desk has corrected is kept.")
            return
        folder: Path = options["path"]
        at = clock.now()
        try:
            # Whoever loads tables of his own has looked at them.
            checked_at = None if folder.resolve() == SHIPPED else at
            recorder, report = self._prepare(read_tables(folder), at, checked_at)
            if options["dry_run"]:
                self._show(recorder, report, folder, at)
                return
            self._write(recorder, report, folder, options, at)
        except FaultyTables as error:
            for fault in error.faults:
                self.stderr.write(str(fault))
            count = len(error.faults)
            raise CommandError(
                f"{count} {'fault' if count == 1 else 'faults'} in {folder}; nothing was written. "
                "Each line above is file:row:column. Correct them and run the command again."
            ) from None
        except InvalidFact as error:
            raise CommandError(f"Nothing was written: {error.message}") from None
        except DatabaseError as error:
            raise CommandError(
                f"The database refused the tables, and nothing was written: {error}. "
                "If its tables are missing, run: manage.py migrate"
            ) from error
        self._tell(report)

    def _prepare(
        self, tables: Tables, at: datetime, checked_at: datetime | None
    ) -> tuple[Recorder, loader.Report]:
        if not self.stdout.isatty():
            return loader.prepare(tables, by=OPERATOR, at=at, checked_at=checked_at)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console()) as bar:
            task = bar.add_task("Reference data", total=loader.count_records(tables))

            def show(done: int, what: str) -> None:
                bar.update(task, completed=done, description=what)

            prepared = loader.prepare(tables, by=OPERATOR, at=at, checked_at=checked_at, progress=show)
            bar.update(task, description="Reference data")
        return prepared

    def _show(self, recorder: Recorder, report: loader.Report, folder: Path, at: datetime) -> None:
        for kind, count in report.created.items():
            self.stdout.write(f"{capfirst(kind)} to be created: {count}")
        for kind, count in report.changed.items():
            self.stdout.write(f"{capfirst(kind)} to be changed: {count}")
        for name in recorder.differing:
            self.stdout.write(f"New version: {name}")
        if (change := _withdrawal(recorder, folder)) is not None:
            command_door.say_falls(withdrawals.preview(change, at=at), self.stdout)
        if recorder.is_empty:
            self.stdout.write("Nothing differs.")
        self.stdout.write("This was a dry run; nothing was written.")

    def _write(
        self, recorder: Recorder, report: loader.Report, folder: Path, options: dict[str, Any], at: datetime
    ) -> None:
        if (change := _withdrawal(recorder, folder)) is not None:
            preview = withdrawals.preview(change, at=at)
            if command_door.takes_away(preview):
                command_door.say_falls(preview, self.stdout)
            _, said = command_door.confirm(
                change, preview, options, command="load_reference", what="These tables", by=OPERATOR, at=at
            )
            if said:
                self.stdout.write(said)
        else:
            recorder.beside(_refuse_if_anything_is_listed)
            recorder.finish()
        report.facts = recorder.written

    def _tell(self, report: loader.Report) -> None:
        read = ", ".join(f"{count} {kind}" for kind, count in report.read.items())
        if not report.has_written:
            self.stdout.write(f"Reference data is up to date ({read}): nothing to write.")
            return
        written = [f"{kind} created: {count}" for kind, count in report.created.items()]
        written += [f"{kind} changed: {count}" for kind, count in report.changed.items()]
        written.append(f"new versions of facts: {report.facts}")
        self.stdout.write(f"Reference data loaded ({read}). {capfirst(', '.join(written))}.")


def _withdrawal(recorder: Recorder, folder: Path) -> CorrectGroundwork | None:
    """What goes through the front door; None where nothing of it can fall."""
    if not (recorder.is_ground and ListingHost.objects.exists()):
        return None
    return CorrectGroundwork("DATA_CORRECTED", f"reference tables in {folder.name}", recorder)


def _refuse_if_anything_is_listed(revision: Revision | None) -> None:
    """Nobody has looked at what falls, because there was nothing to fall."""
    if revision is not None and ListingHost.objects.exists():
        raise InvalidFact("", "The first offer was listed meanwhile. Run the command again.")
