"""Results of tests, sorted for people: per phase the last result of each case on the present build."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from authorization.acceptances.process import Result
from authorization.facts import InvalidFact
from authorization.models import Acceptance, AcceptanceResult

Phase, Outcome = AcceptanceResult.Phase, AcceptanceResult.Outcome
COLUMNS = ("phase", "case", "outcome", "note")
# Of one pasted table.
MAX_ROWS = 500


@dataclass(frozen=True)
class PhaseResults:
    """One phase on one build. `last` has one result per case, in the order of the cases."""

    code: str
    title: str
    last: tuple[AcceptanceResult, ...]

    @property
    def counts(self) -> dict[str, int]:
        found = [result.outcome for result in self.last]
        return {outcome.value: found.count(outcome.value) for outcome in Outcome}


def last_results(acceptance: Acceptance) -> list[AcceptanceResult]:
    """Of the present build, the last result of each case."""
    rows = acceptance.results.filter(build_no=acceptance.build_no).order_by("id")
    return list({(row.phase, row.case): row for row in rows}.values())


def by_phase(results: Sequence[AcceptanceResult]) -> list[PhaseResults]:
    """Every phase, also those without a result."""
    return [
        PhaseResults(
            phase.value,
            phase.label,
            tuple(sorted((row for row in results if row.phase == phase), key=lambda row: row.case)),
        )
        for phase in Phase
    ]


def read_pasted(text: str, *, field: str) -> list[Result]:
    """A table of results: comma, semicolon or tab between the columns phase, case, outcome and perhaps note.

    A first line that names the columns may be there or not. Raises InvalidFact naming the line.
    """
    lines = text.strip("\ufeff\r\n \t")
    if not lines:
        return []
    if "\x00" in lines:
        raise InvalidFact(field, "The table holds a NUL character; take it out.")
    first = lines.splitlines()[0]
    delimiter = next((sign for sign in ("\t", ";") if sign in first), ",")
    found: list[Result] = []
    reader = csv.reader(io.StringIO(lines), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not found and [cell.lower() for cell in cells[:3]] == list(COLUMNS[:3]):
                continue
            found.append(_row(cells, line=reader.line_num, field=field))
    except csv.Error as error:
        raise InvalidFact(field, f"Line {reader.line_num}: {error}.") from error
    if len(found) > MAX_ROWS:
        raise InvalidFact(field, f"These are {len(found)} results; paste at most {MAX_ROWS} at a time.")
    return found


def _row(cells: list[str], *, line: int, field: str) -> Result:
    if not 3 <= len(cells) <= len(COLUMNS):
        raise InvalidFact(
            field, f"Line {line} has {len(cells)} columns; write phase, case, outcome and perhaps a note."
        )
    phase, case, outcome, note = [*cells, ""][:4]
    phase, outcome = _word(phase, Phase.choices), _word(outcome, Outcome.choices)
    for name, value, allowed in (("phase", phase, Phase.values), ("outcome", outcome, Outcome.values)):
        if value not in allowed:
            raise InvalidFact(field, f"Line {line}: {value!r} is no {name}; take {', '.join(allowed)}.")
    if not case or len(case) > 64:
        raise InvalidFact(field, f"Line {line}: give the case a name of up to 64 characters.")
    if len(note) > 500:
        raise InvalidFact(field, f"Line {line}: shorten the note to 500 characters.")
    return Result(phase, case, outcome, note)


def _word(said: str, choices: Iterable[tuple[str, str]]) -> str:
    """As the API writes it, from that or from the words of the page."""
    by_label = {label.lower(): value for value, label in choices}
    lowered = said.lower()
    return by_label.get(lowered, lowered.replace(" ", "_"))
