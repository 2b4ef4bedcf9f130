"""Reads a sheet of variants: one wide table, one exact variant a row. Nothing here looks at what is stored.

The columns are those of seeds/reference/devices.csv, with a few more: docs/reference-data.md. A column that is left
out says nothing; a cell is the whole value, so that an empty one empties it. What spreadsheets do to a table is met:
commas, semicolons or tabs, a byte order mark, CRLF, blank lines. What they do to a value is refused, never guessed.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from carriers import bands
from carriers.cells import (
    CONFIDENCE,
    CONTROL,
    MONTH,
    Rule,
    anything,
    each_once,
    length_of,
    matches,
    one_of,
    slug,
    sources_in,
    text,
)
from carriers.compatibility import Ims, Rat
from carriers.models import Confidence
from catalog.models import Device, Organization, Tac, Variant, VariantSource, VariantVersion

# One import is one transaction under the fence: with more rows, buyers would wait for seconds.
MAX_ROWS = 2_000
# Nobody reads more, and a file of five megabytes may hold a million.
MAX_FAULTS = 10_000
REQUIRED = ("variant_id", "manufacturer", "brand", "marketing_name", "model_number")
IMS = "ims_"
# Columns of the reference tables that the store has no place for: they may be there.
READ_OVER = ("set", "tmobile_status_2016_or_now", "tmobile_src", "tmobile_conf")
_FILE = 0
_DELIMITERS = ",;\t"
_TAC = re.compile(r"[0-9]{8}")
# What a spreadsheet makes of a long number: 3.5E+14, 3,5E+14.
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE][+-][0-9]+")
_NEVER_NUMBERS = ("variant_id", "model_number", "codename", "fcc_id", "tacs")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in one cell, and its cure. `line` as an editor counts; 0: the file as a whole."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "file"
        return f"{where}, {self.column}: {self.message}" if self.column else f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class SheetRow:
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def __contains__(self, column: str) -> bool:
        return column in self.cells

    def many(self, column: str) -> list[str]:
        return [part for part in self.cells.get(column, "").split(";") if part]


class _TooManyFaults(Exception):
    pass


@dataclass
class Sheet:
    """Every row that could be told apart, also those with faults. `read_over`: columns that are not stored;
    `left_out`: lines of rows that could not be told apart.
    """

    columns: tuple[str, ...] = ()
    rows: list[SheetRow] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    read_over: tuple[str, ...] = ()
    left_out: list[int] = field(default_factory=list)

    def refuse(self, line: int, column: str, message: str) -> None:
        if len(self.faults) >= MAX_FAULTS:
            raise _TooManyFaults
        self.faults.append(Fault(line, column, message))

    @property
    def is_readable(self) -> bool:
        """Is nothing wrong with the file as a whole, so that its good rows can be told from the others?"""
        return bool(self.columns) and not any(fault.line == _FILE for fault in self.faults)


def bands_column(rat: Rat) -> str:
    return f"{rat.lower()}_bands"


def off_column(rat: Rat) -> str:
    return f"{rat.lower()}_sw_disabled"


def known_columns(hosts: Iterable[str]) -> tuple[str, ...]:
    """All columns that a sheet may have, in the order in which a new one is best written."""
    named: list[str] = [*REQUIRED, "codename", "region", "launch_ym"]
    for rat in Rat:
        named += [bands_column(rat), off_column(rat)]
    named += [f"{IMS}{host}" for host in hosts]
    named += ["hardware_revision", "software_revision", "fcc_id", "tacs", "tacs_src"]
    for value in VariantSource.Value.values:
        named += [f"{value}_src", f"{value}_conf"]
    return (*named, "notes")


def read_sheet(content: str, *, hosts: Collection[str], sources: Collection[str]) -> Sheet:
    """`hosts`: codes of the hosts on which voice over LTE can be recorded; `sources`: the known codes of sources.

    Never raises: whatever the text, it gives faults or rows.
    """
    sheet = Sheet()
    try:
        _read(sheet, content, _rules(hosts, sources))
    except _TooManyFaults:
        message = f"holds more than {MAX_FAULTS:,} faults. Correct those that are named, and try again."
        sheet.faults.append(Fault(_FILE, "", message))
    return sheet


def _read(sheet: Sheet, content: str, rules: Mapping[str, Rule]) -> None:
    delimiter, skipped, content = _opened(content)
    records = _records(sheet, content, delimiter, skipped)
    line, header = next(records, (1, []))
    if sheet.faults:
        return
    header = _without_trailing_blanks(header)
    if not header:
        sheet.refuse(
            _FILE, "", f"holds no header. Its first line must name the columns: {', '.join(REQUIRED)}, ..."
        )
        return
    if not _check_header(sheet, line, header, rules):
        return
    sheet.columns = tuple(header)
    sheet.read_over = tuple(column for column in header if column in READ_OVER)
    for count, (line, cells) in enumerate(records, start=1):
        if count > MAX_ROWS:
            sheet.refuse(_FILE, "", f"holds more than {MAX_ROWS:,} rows. Import it in several files.")
            return
        row = _row(sheet, line, cells, header, rules)
        if row is None:
            sheet.left_out.append(line)
        else:
            sheet.rows.append(row)
    if not sheet.rows and not sheet.faults:
        sheet.refuse(_FILE, "", "has no rows below its header. Add at least one.")
    _check_between(sheet)


# --- two sheets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CellChange:
    variant: str
    column: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What the newer of two sheets says otherwise: variants by id, columns, and cells of what is in both.

    `unreadable`: why there is nothing to compare, sheet by sheet; `left_out`: lines of the older and of the newer one
    that could not be read.
    """

    new: tuple[str, ...]
    gone: tuple[str, ...]
    columns_new: tuple[str, ...]
    columns_gone: tuple[str, ...]
    cells: tuple[CellChange, ...]
    unreadable: tuple[str, ...] = ()
    left_out: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @property
    def is_same(self) -> bool:
        differs = self.new or self.gone or self.columns_new or self.columns_gone or self.cells
        return not (differs or self.unreadable or any(self.left_out))


def compare(older: Sheet, newer: Sheet) -> Comparison:
    """Cell by cell, as they stand. Of a variant that stands twice in a sheet the last row counts."""
    unreadable = tuple(
        f"the {name} {fault}"
        for name, sheet in (("older", older), ("newer", newer))
        for fault in [fault for fault in sheet.faults if fault.line == _FILE][:1]
    )
    if unreadable:
        return Comparison((), (), (), (), (), unreadable)
    before = {row["variant_id"]: row for row in older.rows}
    after = {row["variant_id"]: row for row in newer.rows}
    shared = [column for column in newer.columns if column in older.columns]
    cells = [
        CellChange(variant, column, before[variant][column], row[column])
        for variant, row in after.items()
        if variant in before
        for column in shared
        if before[variant][column] != row[column]
    ]
    return Comparison(
        new=tuple(variant for variant in after if variant not in before),
        gone=tuple(variant for variant in before if variant not in after),
        columns_new=tuple(column for column in newer.columns if column not in older.columns),
        columns_gone=tuple(column for column in older.columns if column not in newer.columns),
        cells=tuple(cells),
        left_out=(tuple(older.left_out), tuple(newer.left_out)),
    )


# --- the file -----------------------------------------------------------------------------------------------


def _opened(content: str) -> tuple[str, int, str]:
    """(delimiter, lines before the header, the rest): a spreadsheet may name its delimiter in a line of its own."""
    content = content.removeprefix("\ufeff")
    first, _, rest = content.partition("\n")
    hint = first.strip().lower()
    if hint.startswith("sep=") and len(hint) == len("sep=") + 1 and hint[-1] in _DELIMITERS:
        return hint[-1], 1, rest
    if first.strip("\r") == "sep=\t":
        return "\t", 1, rest
    line = next((line for line in content.split("\n") if line.strip()), "")
    counts = Counter({mark: line.count(mark) for mark in _DELIMITERS})
    return max(_DELIMITERS, key=lambda mark: counts[mark]), 0, content


def _records(sheet: Sheet, content: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """(line where the record starts, its cells); a blank line, also one of delimiters alone, is no record."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=delimiter)
    start = 1 + skipped
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            sheet.refuse(
                _FILE,
                "",
                f"is not readable as CSV from line {start} on ({error}). Save it as CSV (UTF-8); quote cells that "
                "hold the delimiter or a quotation mark.",
            )
            return
        if cells is None:
            return
        if any(cells):
            yield start, cells
        start = reader.line_num + 1 + skipped


def _without_trailing_blanks(cells: list[str]) -> list[str]:
    """Spreadsheets keep columns that somebody emptied at the end."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _check_header(sheet: Sheet, line: int, header: list[str], rules: Mapping[str, Rule]) -> bool:
    def refuse(column: str, message: str) -> None:
        sheet.refuse(_FILE, column, f"{message} (header, line {line})")

    for column in REQUIRED:
        if column not in header:
            refuse(column, "this column is missing. Add it.")
    for column, count in Counter(header).items():
        if column not in rules:
            refuse(
                column[:64] or "-",
                f"is no column known here. Remove it; the columns are: {', '.join(rules)}.",
            )
        elif count > 1:
            refuse(column, "stands twice in the header. Keep one of the two.")
    for rat in Rat:
        if off_column(rat) in header and bands_column(rat) not in header:
            refuse(off_column(rat), f"needs the column {bands_column(rat)} beside it. Add that.")
    for value in VariantSource.Value.values:
        pair = {f"{value}_src", f"{value}_conf"}
        if len(pair & set(header)) == 1:
            missing = (pair - set(header)).pop()
            refuse(missing, "this column is missing: a source and how sure it is go together. Add it.")
    if "tacs_src" in header and "tacs" not in header:
        refuse("tacs_src", "needs the column tacs beside it. Add that.")
    return not sheet.faults


def _row(
    sheet: Sheet, line: int, cells: list[str], header: list[str], rules: Mapping[str, Rule]
) -> SheetRow | None:
    if len(cells) > len(header) and not any(cells[len(header) :]):
        cells = cells[: len(header)]
    if len(cells) != len(header):
        sheet.refuse(
            line,
            "",
            f"has {len(cells)} cells, the header has {len(header)}. Quote cells that hold the delimiter.",
        )
        return None
    row = SheetRow(line, dict(zip(header, cells, strict=True)))
    for column, value in row.cells.items():
        if CONTROL.search(value):
            sheet.refuse(line, column, "holds a control character. Remove it.")
        elif message := rules[column](value):
            sheet.refuse(line, column, message)
    _check_cells(sheet, row)
    return row


# --- cells --------------------------------------------------------------------------------------------------


def _rules(hosts: Collection[str], sources: Collection[str]) -> Mapping[str, Rule]:
    source = _source(sources)
    rules: dict[str, Rule] = {
        "variant_id": slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "manufacturer": text(length_of(Organization, "name"), required=True),
        "brand": text(length_of(Device, "brand"), required=True),
        "marketing_name": text(length_of(Device, "marketing_name"), required=True),
        "model_number": text(length_of(Variant, "model_number"), required=True),
        "codename": text(length_of(Variant, "codename")),
        "region": text(length_of(Variant, "sales_version")),
        "launch_ym": matches(MONTH, "2015-01", optional=True),
        **{f"{IMS}{host}": one_of(Ims) for host in hosts},
        "hardware_revision": text(length_of(VariantVersion, "hardware_revision")),
        "software_revision": text(length_of(VariantVersion, "software_revision")),
        "fcc_id": text(length_of(Variant, "fcc_id")),
        "tacs": _tacs,
        "tacs_src": source,
        "notes": text(),
    }
    for rat in Rat:
        rules[bands_column(rat)] = _bands_of(rat)
        rules[off_column(rat)] = each_once
    for value in VariantSource.Value.values:
        rules[f"{value}_src"] = source
        rules[f"{value}_conf"] = CONFIDENCE
    for column in _NEVER_NUMBERS:
        rules[column] = _no_number(rules[column])
    in_order = {column: rules[column] for column in known_columns(hosts)}
    return in_order | dict.fromkeys(READ_OVER, anything)


def _no_number(rule: Rule) -> Rule:
    def refuse(value: str) -> str | None:
        for part in value.split(";"):
            if _SCIENTIFIC.fullmatch(part.strip()):
                return (
                    f"{part!r} is what a spreadsheet makes of a number; its digits are lost. Format the column as text "
                    "there, and write the value again."
                )
        return rule(value)

    return refuse


def _tacs(value: str) -> str | None:
    for part in value.split(";") if value else []:
        if not _TAC.fullmatch(part):
            return (
                f"{part!r} is no TAC. Write all eight digits, with ';' between several; a spreadsheet drops leading "
                "zeros unless the column is formatted as text."
            )
    return each_once(value)


def _source(codes: Collection[str]) -> Rule:
    is_known = sources_in(codes, kept_in="the sources of the store")
    limit = length_of(VariantSource, "source") or 0
    fits = text(min(limit, length_of(Tac, "source") or limit))

    def rule(value: str) -> str | None:
        return is_known(value) or fits(value)

    return rule


def _bands_of(rat: Rat) -> Rule:
    def rule(value: str) -> str | None:
        if message := each_once(value):
            return message
        for name in value.split(";") if value else []:
            if bands.band(rat, name) is None:
                return (
                    f"{rat} {name!r} is no band. Write it like {_example(rat)}; the page Bands has them all."
                )
        return None

    return rule


@cache
def _example(rat: Rat) -> str:
    return ";".join(edges.name for edges in bands.bands_of(rat)[:2])


def _check_cells(sheet: Sheet, row: SheetRow) -> None:
    """What one cell of a row says about another."""
    for rat in Rat:
        there = set(row.many(bands_column(rat)))
        for name in row.many(off_column(rat)):
            if name not in there:
                sheet.refuse(
                    row.line,
                    off_column(rat),
                    f"{name!r} is not among the {bands_column(rat)} of this row. Add it there, or remove it here.",
                )
    for value in VariantSource.Value.values:
        sources = row.cells.get(f"{value}_src", "").split("+")
        if sources == ["K"] and row.cells.get(f"{value}_conf") == Confidence.HIGH:
            sheet.refuse(
                row.line,
                f"{value}_conf",
                "source K means that none was read: that is never sure. Write M or L, or name the source.",
            )


def _check_between(sheet: Sheet) -> None:
    """What stands in two rows and may stand in one."""
    for column in ("variant_id", "model_number"):
        _once(sheet, column, ((row.line, row[column]) for row in sheet.rows))
    _once(sheet, "tacs", ((row.line, tac) for row in sheet.rows for tac in dict.fromkeys(row.many("tacs"))))


def _once(sheet: Sheet, column: str, values: Iterable[tuple[int, str]]) -> None:
    seen: dict[str, int] = {}
    for line, value in values:
        if value in seen and value:
            sheet.refuse(line, column, f"{value} stands in line {seen[value]} already. Keep one of the two.")
        seen.setdefault(value, line)
