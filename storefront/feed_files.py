"""Files of many rows: read without holding them, refused at the door where all of the file is at fault, cut to chunks.

JSON Lines and CSV (RFC 4180), UTF-8 with or without a byte order mark. A file lies on the disk while it is looked at;
what is held of it is a line, and eight bytes for each row. A row that is wrong by itself is not the door's business:
it is answered with its own result (`storefront.feed_rows`).
"""

import csv
import hashlib
import io
import json
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any, Protocol

from storefront.models import Feed

MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 100_000
# Of one row, with all its lines. A quote that is never closed would make one row of the rest of the file.
MAX_ROW_BYTES = 64 * 1024
# A chunk has fewer rows where they are long: it is one transaction, and one worker holds it.
CHUNK_BYTES = 512 * 1024
# Faults that one refusal names.
FAULTS = 20

BOM = "\ufeff"
_BOM = BOM.encode()
_COPIED_AT_ONCE = 256 * 1024
# What a spreadsheet makes of a long number: 3.5E+14.
ROUNDED = re.compile(r"[0-9]([.,][0-9]{1,30})?E[+-][0-9]{1,4}")
_UTF8_CURE = "Save it as UTF-8; in Excel the type is called CSV UTF-8 (comma delimited)."


@dataclass(frozen=True)
class Fault:
    """Why all of a file is refused. `row`: where, counted from 1 without the header; 0: the header or no one row."""

    code: str
    message: str
    row: int = 0


class RefusedFile(Exception):
    """Nothing of it is done."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults[0].message)
        self.faults = faults


class FileTooLarge(Exception):
    """More than MAX_BYTES."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Columns:
    """Of CSV files of one kind."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.required, *self.optional)


@dataclass(frozen=True)
class SpooledFile:
    """A file on the disk, as it came."""

    file: IO[bytes]
    size: int
    sha256: str


@dataclass(frozen=True)
class Cut:
    """One chunk: rows `first_row` and following, which stand in the bytes from `start` to `end`."""

    first_row: int
    rows: int
    start: int
    end: int


@dataclass(frozen=True)
class CheckedFile:
    """`header`: of CSV, the cells of the first line as they stand, the byte order mark included."""

    spooled: SpooledFile
    format: str
    header: list[str]
    rows: int
    cuts: list[Cut]

    def contents(self) -> Iterator[tuple[Cut, str]]:
        """Chunk by chunk."""
        file = self.spooled.file
        for cut in self.cuts:
            file.seek(cut.start)
            yield cut, file.read(cut.end - cut.start).decode()


# --- at the door ------------------------------------------------------------------------------------------------


def spool(stream: Readable) -> SpooledFile:
    """Copy what is sent to the disk. The file goes when it is closed. Raises FileTooLarge."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  it goes to whoever checks it
    digest, size = hashlib.sha256(), 0
    try:
        while piece := stream.read(_COPIED_AT_ONCE):
            size += len(piece)
            if size > MAX_BYTES:
                raise FileTooLarge
            digest.update(piece)
            file.write(piece)
    except BaseException:
        file.close()
        raise
    return SpooledFile(file, size, digest.hexdigest())


def check_file(spooled: SpooledFile, *, format: str, columns: Columns, chunk_rows: int) -> CheckedFile:
    """Look the file through once, and say where its chunks are. Raises RefusedFile."""
    reader = _Reader(spooled.file, is_csv=format == Feed.Format.CSV, columns=columns)
    seen = array("Q")
    cuts: list[Cut] = []
    rows = first = start = 0
    for row in reader.rows():
        rows = row.number
        if rows > MAX_ROWS:
            raise RefusedFile(Fault("too_many_rows", f"A feed has at most {MAX_ROWS:,} rows. Send several."))
        if row.sku is not None:
            seen.append(_hash(row.sku))
        if not first:
            first, start = row.number, row.start
        if row.number - first + 1 == chunk_rows or row.end - start >= CHUNK_BYTES:
            cuts.append(Cut(first, row.number - first + 1, start, row.end))
            first = 0
    if first:
        cuts.append(Cut(first, rows - first + 1, start, spooled.size))
    if not rows:
        raise RefusedFile(Fault("empty", "The file has no rows. Send at least one."))
    _check_once(reader, seen)
    return CheckedFile(spooled, format, reader.header, rows, cuts)


def _hash(sku: str) -> int:
    return int.from_bytes(hashlib.blake2b(sku.encode(), digest_size=8).digest())


def _check_once(reader: "_Reader", seen: "array[int]") -> None:
    """Each SKU may stand in a file once: which of two rows is meant nobody can say."""
    ordered = array("Q", sorted(seen))
    twice = {one for one, next_one in pairwise(ordered) if one == next_one}
    if not twice:
        return
    # Rows by the SKU itself: that two SKUs have one hash is possible.
    rows_of: dict[str, list[int]] = {}
    for row in reader.rows():
        if row.sku is not None and _hash(row.sku) in twice:
            rows_of.setdefault(row.sku, []).append(row.number)
    faults = []
    for sku, rows in rows_of.items():
        if len(rows) > 1:
            listed = ", ".join(f"{row:,}" for row in rows[:5])
            more = "" if len(rows) <= 5 else f" and {len(rows) - 5:,} more"
            cure = (
                "A spreadsheet has rounded them: format the column as text and write them anew."
                if ROUNDED.fullmatch(sku)
                else "Keep one row of each SKU."
            )
            faults.append(
                Fault("duplicate_sku", f"SKU {sku[:64]} stands in rows {listed}{more}. {cure}", rows[1])
            )
    if faults:
        raise RefusedFile(*faults[:FAULTS])


@dataclass(frozen=True)
class _Row:
    number: int
    sku: str | None
    start: int
    end: int


class _Reader:
    """Goes through the rows of a file on the disk. Blank lines are not rows, and neither are lines of empty cells."""

    def __init__(self, file: IO[bytes], *, is_csv: bool, columns: Columns) -> None:
        self.file = file
        self.is_csv = is_csv
        self.columns = columns
        self.header: list[str] = []
        # Where the line that was read last ends, and where the row began that it belongs to; and which row that is.
        self._offset = self._began = self._number = 0
        self._has_bom = False

    def rows(self) -> Iterator[_Row]:
        self.file.seek(0)
        start = self.file.read(len(_BOM))
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise RefusedFile(Fault("not_utf8", f"The file is UTF-16. {_UTF8_CURE}"))
        self._has_bom = start == _BOM
        self._offset = self._began = len(_BOM) if self._has_bom else 0
        self._number = 0
        self.file.seek(self._offset)
        yield from self._csv_rows() if self.is_csv else self._json_rows()

    def _lines(self) -> Iterator[str]:
        while line := self.file.readline(MAX_ROW_BYTES + 1):
            self._offset += len(line)
            where = self._number + 1
            if self._offset - self._began > MAX_ROW_BYTES:
                quote = " Perhaps a quote is not closed." if self.is_csv else ""
                raise RefusedFile(
                    Fault(
                        "row_too_long", f"Row {where:,} is longer than {MAX_ROW_BYTES:,} bytes.{quote}", where
                    )
                )
            if b"\x00" in line:
                raise RefusedFile(Fault("invalid_text", f"Row {where:,} holds a NUL character.", where))
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise RefusedFile(
                    Fault("not_utf8", f"Row {where:,} is not UTF-8. {_UTF8_CURE}", where)
                ) from error

    def _json_rows(self) -> Iterator[_Row]:
        for line in self._lines():
            text = line.strip()
            if text:
                if not self._number and not text.startswith("{"):
                    raise RefusedFile(
                        Fault(
                            "not_json_lines",
                            "The first row is no JSON object. JSON Lines has one object on each line, without a list "
                            "around them; a CSV file is sent as text/csv.",
                            1,
                        )
                    )
                self._number += 1
                yield _Row(self._number, _sku_of(text), self._began, self._offset)
            self._began = self._offset

    def _csv_rows(self) -> Iterator[_Row]:
        records = csv.reader(self._lines(), strict=True)
        place: int | None = None
        try:
            for cells in records:
                if is_row(cells):
                    if place is None:
                        place = self._read_header(cells)
                    else:
                        self._number += 1
                        sku = cells[place].strip() if place < len(cells) else ""
                        yield _Row(self._number, sku or None, self._began, self._offset)
                self._began = self._offset
        except csv.Error as error:
            where = self._number + 1
            message = (
                f"Row {where:,} cannot be read as CSV ({error}). A cell with a comma, a quote or a line break stands "
                'in quotes, and a quote in it is written twice: "5"" screen".'
            )
            raise RefusedFile(Fault("malformed_csv", message, where)) from error

    def _read_header(self, cells: list[str]) -> int:
        """Where the SKU stands. Raises RefusedFile."""
        names = header_names(cells)
        known = self.columns.known
        listed = ", ".join(known)
        if not set(names) & set(known):
            for sign, name in ((";", "semicolons"), ("\t", "tabs")):
                if sign in cells[0] or (len(cells) > 1 and sign in "".join(cells)):
                    raise RefusedFile(
                        Fault(
                            "wrong_separator",
                            f"The columns are separated by {name}; some spreadsheets do that. Save it with commas.",
                        )
                    )
            raise RefusedFile(
                Fault("missing_header", f"The first line must name the columns. Known: {listed}.")
            )
        faults = [
            Fault("unknown_column", f"Column {name[:64]!r} is not known here. Known: {listed}.")
            for name in dict.fromkeys(names)
            if name not in known
        ]
        faults += [
            Fault("duplicate_column", f"Column {name} stands in the header twice.")
            for name in known
            if names.count(name) > 1
        ]
        faults += [
            Fault("missing_column", f"Column {name} is missing. Needed: {', '.join(self.columns.required)}.")
            for name in self.columns.required
            if name not in names
        ]
        if faults:
            raise RefusedFile(*faults[:FAULTS])
        self.header = [BOM + cells[0], *cells[1:]] if self._has_bom else list(cells)
        return names.index("sku")


def _sku_of(text: str) -> str | None:
    """None where the row has none that could be compared: it gets its own answer."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    sku = value.get("sku") if isinstance(value, dict) else None
    return sku if isinstance(sku, str) and not any("\ud800" <= letter <= "\udfff" for letter in sku) else None


# --- rows of one chunk ------------------------------------------------------------------------------------------


def header_names(cells: Iterable[str]) -> list[str]:
    """The columns that a header names. Empty cells at its end are a spreadsheet's."""
    names = [cell.removeprefix(BOM).strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def is_row(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells)


def json_rows(content: str) -> list[bytes]:
    """The rows of a chunk of JSON Lines, each as it stands."""
    return [line.encode() for line in content.split("\n") if line.strip()]


def csv_rows(content: str, header: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a chunk of CSV: column -> cell, without empty ones. What stands behind the last column is under "".

    A row that is shorter than the header is filled up: spreadsheets leave empty cells at its end out.
    """
    names = header_names(header)
    rows = []
    for cells in csv.reader(io.StringIO(content, newline="\n"), strict=True):
        if is_row(cells):
            named = dict(zip(names, cells, strict=False))
            named[""] = "".join(cells[len(names) :])
            rows.append({name: cell.strip() for name, cell in named.items() if cell.strip()})
    return rows


def neutralised(cell: Any) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula."""
    text = str(cell)
    is_risky = text[:1] in ("=", "+", "-", "@") or (text != "" and (ord(text[0]) < 32 or ord(text[0]) == 127))
    return f"'{text}" if is_risky else text
