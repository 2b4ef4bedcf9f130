"""A file of (variant, network, date), answered: the same rows with the verdict and its cautions beside them.

Rows stream through in chunks, so that memory stays flat; a chunk costs four queries whatever its rows ask, and the
networks two for the whole file. A row that cannot be answered says why in the column `error`; a file that is no such
file is refused as a whole.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import batched
from typing import TextIO

from carriers.models import HostCarrier
from carriers.selectors import Networks
from carriers.verdict_words import describe
from carriers.versions import end_of
from catalog.models import Variant
from catalog.selectors import Judged, Judges, Radios, VariantNames, find_variants

ASKED = ("variant", "network", "date")
ANSWERED = (
    "verdict",
    "sub",
    "voice",
    "data",
    "reasons",
    "cert_blockers",
    "input_confidence",
    "summary",
    "cautions",
    "caution_words",
    "network_era",
    "error",
)
_CHUNK = 1000
# Unknown names for which near ones are looked for: each costs a pass over all names.
_SUGGESTED = 50
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class NoSuchFile(Exception):
    """The input as a whole cannot be answered. The message says what is wrong with it, and the cure."""


@dataclass(frozen=True)
class Done:
    rows: int
    # Of these, how many have an error instead of a verdict.
    errors: int


def answer_file(source: Iterable[str], target: TextIO) -> Done:
    """`source`: lines of CSV with a header row. Raises NoSuchFile; what was written until then is of no use."""
    rows = _read(source)
    header, places = _header(next(rows, []))
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*header, *ANSWERED])
    answering = _Answering()
    count = errors = 0
    for chunk in batched(rows, _CHUNK):
        questions = [_question(cells, header, places) for cells in chunk]
        for cells, answer in zip(chunk, answering.of(questions), strict=True):
            # One row of output has the width of its header, whatever the row of input had.
            kept = [*cells, *[""] * len(header)][: len(header)]
            writer.writerow([*kept, *(answer.get(column, "") for column in ANSWERED)])
            count += 1
            errors += "error" in answer
    return Done(count, errors)


# --- reading ----------------------------------------------------------------------------------------------------


def _read(source: Iterable[str]) -> Iterator[list[str]]:
    """The rows; empty lines are none."""
    reader = csv.reader(source, strict=True)
    try:
        for cells in reader:
            if any("\x00" in cell for cell in cells):
                raise NoSuchFile(
                    f"Line {reader.line_num} holds a NUL character: this is no text. Save the table as CSV in UTF-8."
                )
            if cells:
                yield cells
    except csv.Error as error:
        raise NoSuchFile(
            f"Line {reader.line_num} is no CSV ({error}). Separate cells by commas, put a cell that holds a comma, a "
            "quote or a line break into double quotes, and double the quotes inside it."
        ) from None
    except UnicodeDecodeError as error:
        raise NoSuchFile(
            f"After line {reader.line_num} it is not UTF-8 ({error.reason}). Save the table as CSV in UTF-8."
        ) from None


def _header(cells: Sequence[str]) -> tuple[list[str], Mapping[str, int]]:
    """The header as it stands, and where in it the columns are that are asked for."""
    if not cells:
        raise NoSuchFile(f"It is empty. Its first row must name the columns {', '.join(ASKED)}.")
    names = [cell.strip().lower() for cell in cells]
    missing = [name for name in ASKED if name not in names]
    if missing:
        separated = len(cells) == 1 and any(mark in cells[0] for mark in ";\t")
        cure = " Separate its cells by commas." if separated else ""
        raise NoSuchFile(
            f"Its first row does not name {', '.join(missing)}; it says: {', '.join(cells)[:200]}.{cure} Name the "
            f"columns {', '.join(ASKED)}, in any order; further columns are kept."
        )
    twice = sorted({name for name in names if names.count(name) > 1 and name in ASKED})
    if twice:
        raise NoSuchFile(f"Its first row names {', '.join(twice)} twice. Take one of them out.")
    taken = [name for name in names if name in ANSWERED]
    if taken:
        raise NoSuchFile(
            f"Its first row names {', '.join(taken)}, which the answer writes itself. Rename or take out these columns."
        )
    return list(cells), {name: names.index(name) for name in ASKED}


@dataclass(frozen=True)
class _Question:
    """What a row asks. `error`: why it asks nothing that could be answered."""

    variant: str = ""
    network: str = ""
    day: date | None = None
    error: str = ""


def _question(cells: Sequence[str], header: Sequence[str], places: Mapping[str, int]) -> _Question:
    if len(cells) != len(header):
        return _Question(
            error=f"This row has {len(cells)} cells and the first row {len(header)}. Give each column one cell, and "
            "put cells with commas into double quotes."
        )
    variant, network, day = (cells[places[name]].strip() for name in ASKED)
    if not variant:
        return _Question(error="No variant is given. Write its slug or its exact model number.")
    if not network:
        return _Question(error="No network is given. Write the code of a host, e.g. tmobile.")
    try:
        parsed = date.fromisoformat(day) if _DATE.fullmatch(day) else None
    except ValueError:
        parsed = None
    if parsed is None:
        return _Question(error="The date is no day as YYYY-MM-DD, e.g. 2016-02-02.")
    return _Question(variant, network, parsed)


# --- answering --------------------------------------------------------------------------------------------------

type _Answer = dict[str, str]


class _Answering:
    def __init__(self) -> None:
        hosts = list(HostCarrier.objects.order_by("code"))
        self._hosts = {host.code: host for host in hosts}
        self._networks = Networks(hosts)
        self._unknown: dict[str, str] = {}
        self._names: VariantNames | None = None

    def of(self, questions: Sequence[_Question]) -> Iterator[_Answer]:
        variants = find_variants(question.variant for question in questions if not question.error)
        radios, judges = Radios({variant.pk: variant for variant in variants.values()}.values()), Judges()
        for question in questions:
            if question.error or question.day is None:
                yield {"error": question.error}
                continue
            found = self._look_up(question, variants, radios, question.day, judges)
            yield {"error": found} if isinstance(found, str) else _columns(found)

    def _look_up(
        self, question: _Question, variants: Mapping[str, Variant], radios: Radios, day: date, judges: Judges
    ) -> Judged | str:
        """What is judged, or why nothing is."""
        variant, host = variants.get(question.variant), self._hosts.get(question.network)
        if variant is None:
            return self._unknown_variant(question.variant)
        if host is None:
            return f"No network has this code. Known: {', '.join(self._hosts) or 'none'}."
        # What was in force when the day ended: a correction of that day counts.
        at = end_of(day)
        radio = radios.of(variant.pk, at=at)
        if radio is None:
            return "The radio of this variant is not on record for this date. Ask about another date, or record it."
        snapshot = self._networks.of(host.pk, at=at)
        if snapshot is None:
            return (
                "Of this network no bands, or no rule of whom it admits, are on record for this date. Ask about "
                "another date, or record them."
            )
        return judges.judge(radio, host.pk, snapshot, on=day)

    def _unknown_variant(self, name: str) -> str:
        if name in self._unknown:
            return self._unknown[name]
        words = "No variant has this slug or model number."
        if len(self._unknown) >= _SUGGESTED:
            return f"{words} Look it up in the catalog."
        self._names = self._names or VariantNames()
        near = ", ".join(self._names.near(name))
        self._unknown[name] = (
            f"{words} Nearest model numbers: {near}." if near else f"{words} None comes near."
        )
        return self._unknown[name]


def _columns(judged: Judged) -> _Answer:
    verdict = judged.verdict
    return {
        "verdict": verdict.level,
        "sub": verdict.sub,
        "voice": verdict.voice,
        "data": verdict.data,
        "reasons": " ".join(verdict.reasons),
        "cert_blockers": " ".join(verdict.certification_blockers),
        "input_confidence": verdict.input_confidence or "",
        "summary": describe(verdict),
        "cautions": " ".join(caution.code for caution in judged.cautions),
        "caution_words": "; ".join(caution.words for caution in judged.cautions),
        "network_era": judged.network_era,
    }
