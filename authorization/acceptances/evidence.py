"""Files shown as evidence: known by their content, never by their name, and kept as they came."""

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from django.db import IntegrityError, transaction

from authorization import doors, ledger
from authorization.acceptances.moves import MoveRefused
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Acceptance, AcceptanceFile

# Both own choices: a scanned report of some hundred pages fits; nobody fills the database by one acceptance.
MAX_BYTES = 5_000_000
MAX_FILES = 100

_SIGNATURES = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}
# What `content_type_of` can say.
CONTENT_TYPES = (*_SIGNATURES.values(), "text/csv", "text/plain")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Checked:
    """A file that may be kept."""

    kind: str
    name: str
    content: bytes
    content_type: str


def check(*, kind: str, name: str, content: bytes) -> Checked:
    """Raises InvalidFact."""
    if kind not in AcceptanceFile.Kind.values:
        raise InvalidFact("kind", f"Take one of {', '.join(AcceptanceFile.Kind.values)}.")
    # A browser may send a path; what people see is the last part of it.
    bare = PurePosixPath(name.replace("\\", "/")).name
    bare = doors.clean_text("name", _CONTROL.sub("", bare), at_most=150, cure="Give the file a name.")
    if not content:
        raise InvalidFact("content", "The file is empty; choose another.")
    if len(content) > MAX_BYTES:
        raise InvalidFact(
            "content",
            f"The file has {len(content):,} bytes; the most is {MAX_BYTES:,}. Split it, or compress it.",
        )
    return Checked(kind, bare, content, content_type_of(content))


def content_type_of(content: bytes) -> str:
    """By its first bytes; text that reads as a table of even rows is CSV. Raises InvalidFact for anything else."""
    for signature, content_type in _SIGNATURES.items():
        if content.startswith(signature):
            return content_type
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\x00"
    if _CONTROL.search(text):
        raise InvalidFact("content", "Take a PDF, PNG or JPEG file, CSV or plain text in UTF-8.")
    return "text/csv" if _is_table(text) else "text/plain"


def _is_table(text: str) -> bool:
    """Rows of the same number of cells, two at least. Read row by row: the first that differs ends it."""
    cells, rows = 0, 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            if not row:
                continue
            cells = cells or len(row)
            if len(row) != cells or cells < 2:
                return False
            rows += 1
    except csv.Error:
        return False
    return rows > 1


def keep(acceptance: Acceptance, file: Checked, *, party: str, actor: Actor, at: datetime) -> AcceptanceFile:
    """The row of this content: the one that is there already, or a new one. Raises MoveRefused when there are many."""
    sha256 = hashlib.sha256(file.content).hexdigest()
    kept = AcceptanceFile.objects.filter(acceptance=acceptance)
    if (same := kept.filter(sha256=sha256).first()) is not None:
        return same
    if kept.count() >= MAX_FILES:
        raise MoveRefused(
            f"{acceptance.code} holds {MAX_FILES} files, the most it may; put several into one."
        )
    try:
        with transaction.atomic():
            row = AcceptanceFile.objects.create(
                acceptance=acceptance,
                kind=file.kind,
                name=file.name,
                content_type=file.content_type,
                size=len(file.content),
                sha256=sha256,
                content=file.content,
                party=party,
                actor=str(actor),
                at=at,
            )
    except IntegrityError:
        # Somebody attached the same at the same moment.
        return kept.get(sha256=sha256)
    ledger.record(
        act="acceptance.file",
        subject_kind="acceptance",
        subject_id=acceptance.pk,
        by=actor,
        at=at,
        evidence={
            "code": acceptance.code,
            "kind": file.kind,
            "name": file.name,
            "sha256": sha256,
            "bytes": len(file.content),
        },
    )
    return row
