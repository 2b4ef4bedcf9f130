"""Imports of reference data: the file as it was uploaded, what it would change, and that it was applied.

Bands and voice over LTE are ground of authority: such an import goes through `storefront.withdrawals`, like any other
correction, and is marked as applied in the transaction that writes it.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import ledger, variant_import
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Revision, Revocation
from authorization.revocations import CorrectGroundwork
from authorization.variant_import import Prepared
from authorization.variant_sheet import Comparison, compare
from storefront.models import ReferenceImport

MAX_BYTES = 5 * 1024 * 1024
# Differences kept in the report of an import; the numbers are always of all.
KEPT = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORKBOOK = b"PK\x03\x04"
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
_SAVE_AS = "In the spreadsheet, save it as CSV UTF-8, and upload that."


def read_text(raw: bytes) -> str:
    """The text of an uploaded file. Raises InvalidFact with the cure where it is too long or no text."""
    if len(raw) > MAX_BYTES:
        raise InvalidFact(
            "file",
            f"The file has {len(raw) / 1024 / 1024:.1f} MB; take at most {MAX_BYTES // 1024 // 1024} MB. Import it "
            "in several files.",
        )
    if raw.startswith((_WORKBOOK, _OLD_WORKBOOK)):
        raise InvalidFact("file", f"This is a workbook or an archive, no CSV. {_SAVE_AS}")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidFact("file", f"This text is UTF-16. {_SAVE_AS}")
    try:
        content = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidFact(
            "file", f"Line {line} holds byte 0x{raw[error.start]:02x}, which is not UTF-8. {_SAVE_AS}"
        ) from None
    if "\x00" in content:
        raise InvalidFact("file", f"The file holds zero bytes: it is no text. {_SAVE_AS}")
    if not content.strip("\ufeff \t\r\n"):
        raise InvalidFact("file", "The file is empty. Choose another one.")
    return content


def keep(*, name: str, raw: bytes, by: Actor, at: datetime) -> ReferenceImport:
    """Keep a file as it was uploaded. Nothing else changes. Raises InvalidFact."""
    row = _unsaved(name=name, raw=raw, by=by, at=at)
    with transaction.atomic():
        row.save()
        ledger.record(
            act="reference.uploaded",
            subject_kind="referenceimport",
            subject_id=row.pk,
            by=by,
            at=at,
            evidence={"name": row.name, "sha256": row.sha256},
        )
    return row


def prepare(
    row: ReferenceImport,
    *,
    by: Actor,
    at: datetime,
    new_makers: bool = False,
    skip_faulty_rows: bool = False,
) -> Prepared:
    """What it would change now. Whatever writes its recorder also marks the import as applied, in one transaction."""
    prepared = variant_import.prepare(
        row.content,
        by=by,
        at=at,
        new_makers=new_makers,
        skip_faulty_rows=skip_faulty_rows,
        reason=f"import of {row.name}",
    )
    prepared.recorder.beside(_settle(row, prepared, by=by, at=at))
    return prepared


def prepare_file(
    *,
    name: str,
    raw: bytes,
    by: Actor,
    at: datetime,
    new_makers: bool = False,
    skip_faulty_rows: bool = False,
) -> tuple[ReferenceImport, Prepared]:
    """As `prepare`, of a file that is kept only when it is applied. Raises InvalidFact."""
    row = _unsaved(name=name, raw=raw, by=by, at=at)
    return row, prepare(row, by=by, at=at, new_makers=new_makers, skip_faulty_rows=skip_faulty_rows)


def change_of(row: ReferenceImport, prepared: Prepared, *, reason_code: str) -> CorrectGroundwork:
    """For the front door. Raises InvalidFact where nothing may be applied."""
    refuse_unappliable(row, prepared)
    subject = f"import of {row.name[:150]} ({row.sha256[:12]})"
    return CorrectGroundwork(reason_code, subject, prepared.recorder)


def refuse_unappliable(row: ReferenceImport, prepared: Prepared) -> None:
    """Raises InvalidFact for an import that was applied, or that faults refuse."""
    if row.applied_at is not None:
        raise InvalidFact("", f"{row.name} was applied on {row.applied_at:%Y-%m-%d %H:%M} UTC already.")
    if prepared.is_refused:
        count = len(prepared.faults)
        raise InvalidFact(
            "",
            f"{count} {'fault' if count == 1 else 'faults'} in {row.name}: nothing of it is applied. Correct the file, "
            "or skip the faulty rows.",
        )
    if prepared.recorder.is_empty and not prepared.recorder.checks:
        raise InvalidFact(
            "",
            f"The store says all of {row.name} already, and without all bands and voice over LTE it is no check "
            "either.",
        )


def apply_plain(row: ReferenceImport, prepared: Prepared) -> None:
    """Write what no decision reads, or that all of it was checked and stands so already. Raises InvalidFact."""
    refuse_unappliable(row, prepared)
    if prepared.recorder.is_ground:
        raise InvalidFact("", "It changes what authority rests on: look at what falls first.")
    with transaction.atomic():
        prepared.recorder.write(None)


def link(row: ReferenceImport, revocation: Revocation) -> None:
    """The withdrawal that an applied import is on record as."""
    ReferenceImport.objects.filter(public_id=row.public_id).update(revocation=revocation)


def compare_imports(older: ReferenceImport, newer: ReferenceImport) -> Comparison:
    """What the newer file says otherwise, cell by cell, whatever became of either."""
    return compare(variant_import.read(older.content), variant_import.read(newer.content))


def one_before(row: ReferenceImport) -> ReferenceImport | None:
    """The import that was applied last before this one was uploaded or applied."""
    applied = ReferenceImport.objects.filter(applied_at__isnull=False).exclude(pk=row.pk)
    before = row.applied_at or row.uploaded_at
    latest = applied.filter(applied_at__lte=before).defer("content").order_by("-applied_at")
    found: ReferenceImport | None = latest.first()
    return found


def report_of(prepared: Prepared) -> dict[str, Any]:
    """Counts, and the differences as they were when it was applied."""
    differences = [
        [row.variant, difference.value, difference.before, difference.after]
        for row in prepared.differing
        for difference in row.differences
    ]
    return {
        "counts": prepared.counts(),
        "new_makers": list(prepared.new_makers),
        "skipped_lines": sorted({fault.line for fault in prepared.faults}),
        "differences": differences[:KEPT],
        "differences_in_all": len(differences),
    }


def _unsaved(*, name: str, raw: bytes, by: Actor, at: datetime) -> ReferenceImport:
    content = read_text(raw)
    # A browser may send a path, and anything else: only the last part, and nothing that does not show.
    last = re.split(r"[/\\]", name)[-1]
    return ReferenceImport(
        name=_CONTROL.sub("", last).strip()[-150:] or "unnamed.csv",
        content=content,
        sha256=hashlib.sha256(raw).hexdigest(),
        uploaded_by=str(by)[:150],
        uploaded_at=at,
    )


def _settle(
    row: ReferenceImport, prepared: Prepared, *, by: Actor, at: datetime
) -> Callable[[Revision | None], None]:
    report = report_of(prepared)

    def write(revision: Revision | None) -> None:
        said = report if revision is None else report | {"revision": revision.n}
        applied = {"applied_by": str(by)[:150], "applied_at": at, "report": said}
        if row._state.adding:
            kept = {
                name: getattr(row, name)
                for name in ("public_id", "name", "content", "sha256", "uploaded_by", "uploaded_at")
            }
            pk = ReferenceImport.objects.create(**kept, **applied).pk
        else:
            pk = row.pk
            if not ReferenceImport.objects.filter(pk=pk, applied_at__isnull=True).update(**applied):
                raise InvalidFact("", f"{row.name} was applied meanwhile.")
        ledger.record(
            act="reference.imported",
            subject_kind="referenceimport",
            subject_id=pk,
            by=by,
            at=at,
            evidence={"name": row.name, "sha256": row.sha256, **report["counts"]},
            revision=revision.n if revision is not None else None,
        )

    return write


def as_json(prepared: Prepared) -> dict[str, Any]:
    """For machines: faults and differences, row by row."""
    return {
        "counts": prepared.counts(),
        "refused": prepared.is_refused,
        "new_makers": list(prepared.new_makers),
        "columns_not_stored": list(prepared.sheet.read_over),
        "faults": [
            {"line": fault.line, "column": fault.column, "message": fault.message}
            for fault in prepared.faults
        ],
        "rows": [
            {
                "line": row.line,
                "variant_id": row.variant,
                "model_number": row.model_number,
                "is_new": row.is_new,
                "differences": [
                    {"value": difference.value, "before": difference.before, "after": difference.after}
                    for difference in row.differences
                ],
            }
            for row in prepared.differing
        ],
    }


def say_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
