"""`manage.py import_variants FILE`: exact variants from one wide CSV, each fault with its line and its cure.

Bands and voice over LTE are ground of authority: what would fall is shown first, and done only when that is said.
"""

from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authorization import clock
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.variant_import import Prepared
from storefront import command_door, reference_imports, withdrawals
from storefront.models import ReferenceImport
from storefront.withdrawals import WithdrawalPreview

OPERATOR = Actor("system", "import_variants")


class Command(BaseCommand):
    help = "Import variants from one wide CSV. Says what would change; a faulty row refuses the whole file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the CSV file, UTF-8")
        parser.add_argument(
            "--dry-run", action="store_true", help="write nothing: say faults, differences and what falls"
        )
        parser.add_argument(
            "--skip-faulty-rows", action="store_true", help="import the good rows of a file that has faults"
        )
        parser.add_argument(
            "--new-makers", action="store_true", help="make manufacturers that are not in the store yet"
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
        command_door.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        at = clock.now()
        try:
            row, prepared = reference_imports.prepare_file(
                name=path.name,
                raw=_bytes_of(path),
                by=OPERATOR,
                at=at,
                new_makers=options["new_makers"],
                skip_faulty_rows=options["skip_faulty_rows"],
            )
        except InvalidFact as error:
            raise CommandError(f"{path}: {error.message}") from None
        document = reference_imports.as_json(prepared) | {"written": False}
        try:
            self._import(row, prepared, document, options, at)
        except InvalidFact as error:
            raise CommandError(f"{path}: {error.message}") from None
        finally:
            if options["as_json"]:
                self.stdout.write(reference_imports.say_json(document))

    def _import(
        self,
        row: ReferenceImport,
        prepared: Prepared,
        document: dict[str, Any],
        options: dict[str, Any],
        at: datetime,
    ) -> None:
        if not options["as_json"]:
            self._tell(prepared)
        if prepared.is_refused:
            count = len(prepared.faults)
            raise CommandError(
                f"{count} {'fault' if count == 1 else 'faults'}; nothing was written. Correct the file"
                + (
                    ", or import the good rows with --skip-faulty-rows."
                    if prepared.sheet.is_readable
                    else "."
                )
            )
        if prepared.recorder.is_empty:
            self._mark(row, prepared, document, options)
            return
        change = reference_imports.change_of(row, prepared, reason_code="DATA_CORRECTED")
        preview = None
        if prepared.recorder.is_ground:
            preview = withdrawals.preview(change, at=at)
            document["falls"] = _falls_as_json(preview)
            if not options["as_json"]:
                command_door.say_falls(preview, self.stdout)
        if options["dry_run"]:
            self._say("This was a dry run; nothing was written.", options)
            return
        said = ""
        if preview is not None:
            revocation, said = command_door.confirm(
                change,
                preview,
                options,
                command=f"import_variants {row.name}",
                what="These variants",
                by=OPERATOR,
                at=at,
            )
            reference_imports.link(row, revocation)
        else:
            reference_imports.apply_plain(row, prepared)
        document["written"] = True
        self._say(f"Imported: {_say_counts(prepared)}. {said}".rstrip(), options)

    def _mark(
        self, row: ReferenceImport, prepared: Prepared, document: dict[str, Any], options: dict[str, Any]
    ) -> None:
        checks = prepared.recorder.checks
        said = "The store says all of it already; nothing to write"
        if not checks or options["dry_run"]:
            self._say(f"{said}.", options)
            return
        reference_imports.apply_plain(row, prepared)
        document["written"] = True
        self._say(f"{said} but that it was checked now ({checks} variants).", options)

    def _tell(self, prepared: Prepared) -> None:
        for fault in prepared.faults:
            self.stderr.write(str(fault))
        for row in prepared.differing:
            self.stdout.write(f"line {row.line}, {row.variant}:{' new' if row.is_new else ''}")
            for difference in row.differences:
                self.stdout.write(
                    f"  {difference.value}: {difference.before or 'nothing'} -> {difference.after or 'nothing'}"
                )
        for maker in prepared.new_makers:
            self.stdout.write(f"New manufacturer: {maker}")
        if prepared.sheet.read_over:
            self.stdout.write(f"Columns that are not stored: {', '.join(prepared.sheet.read_over)}.")
        self.stdout.write(f"{_say_counts(prepared).capitalize()}.")

    def _say(self, said: str, options: dict[str, Any]) -> None:
        if not options["as_json"]:
            self.stdout.write(said)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than may be: enough to refuse it.
            return file.read(reference_imports.MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}). Name a readable file.") from None


def _say_counts(prepared: Prepared) -> str:
    counts = prepared.counts()
    return (
        f"{counts['rows']} rows: {counts['new']} new, {counts['changed']} changed, {counts['same']} the same, "
        f"{counts['faulty']} faulty"
    )


def _falls_as_json(preview: WithdrawalPreview) -> dict[str, Any]:
    impact = preview.impact
    return {
        "falls": len(impact.falls),
        "falls_later": {later.at.isoformat(): len(later.falls) for later in impact.later if later.falls},
        "survives": len(impact.survives),
        "returns": len(impact.returns),
        "open_carts": preview.open_carts,
        "unshipped_orders": preview.unshipped_orders,
        "digest": impact.digest,
        "first": [
            {
                "sku": offer.sku,
                "vendor": offer.vendor_name,
                "host": offer.host_code,
                "reason_codes": list(offer.reason_codes),
            }
            for offer in impact.falls.first[: command_door.NAMED]
        ],
    }
