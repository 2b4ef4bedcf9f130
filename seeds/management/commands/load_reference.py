"""`manage.py load_reference`: host carriers, networks, hostings, devices and variants, from CSV tables.

An import may take authority away: a band that goes, a hosting that ends, a phone that gets another maker. It goes
through the same door as a withdrawal at the desk: what would fall is shown first, and only done when that is said.
"""

from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from authorization import clock
from authorization.actors import Actor
from authorization.groundwork import Recorder
from authorization.revocations import CorrectGroundwork, WorldMoved
from carriers.models import HostCarrier
from catalog.models import ListingHost
from seeds.reference import loader
from seeds.reference.tables import FaultyTables, Tables, read_tables
from storefront import withdrawals
from storefront.withdrawals import WithdrawalPreview

SHIPPED = Path(__file__).resolve().parents[2] / "reference"
# Offers named in the preview.
NAMED = 20
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
            "--yes", action="store_true", help="do it also when offers fall by it, whichever they are"
        )
        parser.add_argument(
            "--confirm",
            default="",
            metavar="DIGEST",
            help="do it when exactly that falls which was shown with this digest",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_empty"] and HostCarrier.objects.exists():
            self.stdout.write("Reference data is there; what the desk has corrected is kept.")
            return
        folder: Path = options["path"]
        at = clock.now()
        try:
            recorder, report = self._prepare(read_tables(folder), at)
            self._write(recorder, report, folder, options, at)
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

    def _prepare(self, tables: Tables, at: datetime) -> tuple[Recorder, loader.Report]:
        if not self.stdout.isatty():
            return loader.prepare(tables, by=OPERATOR, at=at)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console()) as bar:
            task = bar.add_task("Reference data", total=loader.count_records(tables))

            def show(done: int, what: str) -> None:
                bar.update(task, completed=done, description=what)

            prepared = loader.prepare(tables, by=OPERATOR, at=at, progress=show)
            bar.update(task, description="Reference data")
        return prepared

    def _write(
        self, recorder: Recorder, report: loader.Report, folder: Path, options: dict[str, Any], at: datetime
    ) -> None:
        if recorder.is_ground and ListingHost.objects.exists():
            change = CorrectGroundwork("DATA_CORRECTED", f"reference tables in {folder.name}", recorder)
            preview = withdrawals.preview(change, at=at)
            if preview.impact.falls or preview.unshipped_orders:
                self._withdraw(change, preview, options, at)
                report.facts = recorder.written
                return
        recorder.finish()
        report.facts = recorder.written

    def _withdraw(
        self, change: CorrectGroundwork, preview: WithdrawalPreview, options: dict[str, Any], at: datetime
    ) -> None:
        """Of tables that take offers off sale: show which, and do it only if that was asked for."""
        impact = preview.impact
        self.stdout.write(
            f"Offers that fall: {len(impact.falls):,}, that survive: {len(impact.survives):,}, that return: "
            f"{len(impact.returns):,}; open carts: {preview.open_carts:,}; unshipped orders that are held: "
            f"{preview.unshipped_orders:,}."
        )
        for offer in impact.falls.first[:NAMED]:
            self.stdout.write(
                f"  {offer.sku} of {offer.vendor_name} on {offer.host_code}: {', '.join(offer.reason_codes)}"
            )
        if len(impact.falls) > NAMED:
            self.stdout.write(f"  and {len(impact.falls) - NAMED:,} more")
        if options["confirm"] and options["confirm"] != impact.digest:
            raise CommandError(
                "The world moved since that digest, and nothing was written. Above is what falls now. To do that: "
                f"load_reference --confirm {impact.digest}"
            )
        if not (options["yes"] or options["confirm"]):
            raise CommandError(
                "These tables take offers off sale, and nothing was written. To do exactly what is shown: "
                f"load_reference --confirm {impact.digest}  (or --yes, whatever falls)"
            )
        try:
            revocation = withdrawals.confirm(
                change,
                digest=impact.digest,
                token=impact.token,
                requested_by=settings.SHOP_NAME,
                word_received_at=at,
                note=f"manage.py load_reference: {change.subject}",
                by=OPERATOR,
                at=at,
            )
        except WorldMoved:
            raise CommandError(
                "The world moved meanwhile, and nothing was written. Run the command again."
            ) from None
        said = f"Since {revocation.effective_at:%H:%M:%S} UTC nothing of what falls can be sold."
        if impact.seen.wants_two:
            said += " So much falls that the removal of its pages waits for a second person at the desk."
        self.stdout.write(said)

    def _tell(self, report: loader.Report) -> None:
        read = ", ".join(f"{count} {kind}" for kind, count in report.read.items())
        if not report.has_written:
            self.stdout.write(f"Reference data is up to date ({read}): nothing to write.")
            return
        written = [f"{kind} created: {count}" for kind, count in report.created.items()]
        written += [f"{kind} changed: {count}" for kind, count in report.changed.items()]
        written.append(f"new versions of facts: {report.facts}")
        self.stdout.write(f"Reference data loaded ({read}). {', '.join(written).capitalize()}.")
