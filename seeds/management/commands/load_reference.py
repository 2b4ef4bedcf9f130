"""`manage.py load_reference`: host carriers, networks, hostings, devices and variants, from CSV tables."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from authorization import clock
from authorization.actors import Actor
from carriers.models import HostCarrier
from seeds.reference import loader
from seeds.reference.tables import FaultyTables, Tables, read_tables

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

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_empty"] and HostCarrier.objects.exists():
            self.stdout.write("Reference data is there; what the desk has corrected is kept.")
            return
        folder: Path = options["path"]
        try:
            report = self._load(read_tables(folder))
        except FaultyTables as error:
            for fault in error.faults:
                self.stderr.write(str(fault))
            count = len(error.faults)
            raise CommandError(
                f"{count} {'fault' if count == 1 else 'faults'} in {folder}; nothing was written. "
                "Each line above is file:row:column. Correct them and run the command again."
            ) from None
        except DatabaseError as error:
            raise CommandError(
                f"The database refused the tables, and nothing was written: {error}. "
                "If its tables are missing, run: manage.py migrate"
            ) from error
        self._tell(report)

    def _load(self, tables: Tables) -> loader.Report:
        at = clock.now()
        if not self.stdout.isatty():
            return loader.load(tables, by=OPERATOR, at=at)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console()) as bar:
            task = bar.add_task("Reference data", total=loader.count_records(tables))

            def show(done: int, what: str) -> None:
                bar.update(task, completed=done, description=what)

            report = loader.load(tables, by=OPERATOR, at=at, progress=show)
            bar.update(task, description="Reference data")
        return report

    def _tell(self, report: loader.Report) -> None:
        read = ", ".join(f"{count} {kind}" for kind, count in report.read.items())
        if not report.has_written:
            self.stdout.write(f"Reference data is up to date ({read}): nothing to write.")
            return
        written = [f"{kind} created: {count}" for kind, count in report.created.items()]
        written += [f"{kind} changed: {count}" for kind, count in report.changed.items()]
        written.append(f"new versions of facts: {report.facts}")
        self.stdout.write(f"Reference data loaded ({read}). {', '.join(written).capitalize()}.")
