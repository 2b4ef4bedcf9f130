"""A change of authority that is thought through and not made, and the columns of records as they would be after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from authorization.dialect import Dialect
from authorization.rules import ALL


@dataclass(frozen=True)
class HypotheticalHold:
    """A hold as it would be. `parts`: 0 -> its targets, n -> those of its n-th exemption, as (dimension, value)."""

    fact_id: int
    code: str
    reach: str
    placed_by: str
    reason_code: str
    valid_from: datetime
    valid_until: datetime
    parts: Mapping[int, tuple[tuple[str, str], ...]]
    exemptions: Mapping[int, tuple[datetime, datetime]] = field(default_factory=dict)


@dataclass(frozen=True)
class WhatIf:
    """A change of authority that is thought through and not made. Keys are fact ids.

    `holds` stand beside the recorded ones, `without_holds` takes recorded ones away: both together replace one.
    """

    ends: Mapping[int, datetime] = field(default_factory=dict)
    revoked: Mapping[int, datetime | None] = field(default_factory=dict)
    sublicenses: Mapping[int, bool] = field(default_factory=dict)
    scopes: Mapping[int, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    without_holds: frozenset[int] = frozenset()
    holds: tuple[HypotheticalHold, ...] = ()

    @property
    def dimensions(self) -> frozenset[str]:
        """What the imagined holds name, as in `Setting.dimensions`."""
        named = {dimension for hold in self.holds for part in hold.parts.values() for dimension, _ in part}
        return frozenset(named | ({"list"} if any(hold.reach != "sale" for hold in self.holds) else set()))


NOTHING_CHANGED = WhatIf()


# --- records as they are, or as they would be -------------------------------------------------------------------


class Changes:
    """Columns as they are, or as they would be after the change that is thought through."""

    def __init__(self, db: Dialect, what_if: WhatIf) -> None:
        self._db, self._what_if = db, what_if
        self.parameters: dict[str, Any] = {}

    def end(self, row: str) -> str:
        return self._case(f"{row}.valid_until", row, self._what_if.ends, "end")

    def revoked_at(self, row: str) -> str:
        return self._case(f"{row}.revoked_at", row, self._what_if.revoked, "revoked")

    def sublicense(self, row: str) -> str:
        if not self._what_if.sublicenses:
            return f"{row}.may_sublicense"
        allowed = [str(int(head)) for head, may in self._what_if.sublicenses.items() if may]
        changed = ", ".join(str(int(head)) for head in self._what_if.sublicenses)
        return (
            f"(({row}.may_sublicense AND {row}.head_id NOT IN ({changed}))"
            + (f" OR {row}.head_id IN ({', '.join(allowed)})" if allowed else "")
            + ")"
        )

    def covers(self, row: str, dimension: str, value: str) -> str:
        compared = f"CAST({value} AS text)" if dimension == "model" else value
        plain = (
            f"(SELECT 1 FROM authorization_scopeterm s WHERE s.version_id = {row}.id"
            f" AND s.dimension = '{dimension}' AND s.value IN ('{ALL}', {compared}) LIMIT 1) IS NOT NULL"
        )
        if not self._what_if.scopes:
            return plain
        cases = []
        for head, scope in self._what_if.scopes.items():
            name = f"scope_{head}_{dimension}"
            covered = scope.get(dimension, frozenset())
            self.parameters[name] = self._db.array(sorted(covered))
            is_in = f"{compared} IN (SELECT value FROM {self._db.texts(name)})"
            cases.append(f"WHEN {int(head)} THEN {'1 = 1' if ALL in covered else is_in}")
        return f"CASE {row}.head_id {' '.join(cases)} ELSE {plain} END"

    def holds(self) -> tuple[str, dict[str, str]]:
        """What is left out of the recorded holds, and arms for the imagined ones."""
        without = ""
        if self._what_if.without_holds:
            heads = ", ".join(str(int(head)) for head in sorted(self._what_if.without_holds))
            without = f" AND v.head_id NOT IN ({heads})"
        arms: dict[str, list[str]] = {"hold": [], "target": [], "exemption": []}
        rows: list[tuple[int, int, str, str]] = []
        for place, hold in enumerate(self._what_if.holds, start=1):
            # Imagined versions are counted downwards from -1: no stored row has such an id.
            name, number = f"hold_{place}", -place
            for column in ("code", "reach", "placed_by", "reason_code", "valid_from", "valid_until"):
                self.parameters[f"{name}_{column}"] = getattr(hold, column)
            texts = ", ".join(
                f"CAST(%({name}_{column})s AS text)"
                for column in ("code", "reach", "placed_by", "reason_code")
            )
            starts, ends = self._db.instant(f"{name}_valid_from"), self._db.instant(f"{name}_valid_until")
            arms["hold"].append(
                f"UNION ALL SELECT {number}, {int(hold.fact_id)}, {texts}, {starts}, {ends}"
                f" WHERE {ends} > {self._db.instant('at')}"
            )
            rows += [
                (number, part, dimension, value)
                for part, targets in hold.parts.items()
                for dimension, value in targets
            ]
            for part, (valid_from, valid_until) in hold.exemptions.items():
                self.parameters[f"{name}_{part}_from"] = valid_from
                self.parameters[f"{name}_{part}_until"] = valid_until
                arms["exemption"].append(
                    f"UNION ALL SELECT {number}, {int(part)}, {self._db.instant(f'{name}_{part}_from')},"
                    f" {self._db.instant(f'{name}_{part}_until')}"
                )
        if rows:
            # One list, however many there are: SQLite takes 500 arms at most.
            numbers, parts, dimensions, values = (list(column) for column in zip(*rows, strict=True))
            ids, names = {"hold": numbers, "part": parts}, {"dimension": dimensions, "value": values}
            self.parameters |= self._db.columns("imagined", ids, names)
            arms["target"].append(f"UNION ALL {self._db.table('imagined', list(ids), list(names))}")
        return without, {table: "\n   ".join(lines) for table, lines in arms.items()}

    def _case(self, column: str, row: str, changed: Mapping[int, datetime | None], name: str) -> str:
        if not changed:
            return column
        cases = []
        # Counted, so that the text is the same whichever record is changed: SQLite keeps what it has prepared.
        for place, (head, instant) in enumerate(changed.items()):
            self.parameters |= {f"{name}_{place}": instant, f"{name}_{place}_head": int(head)}
            changed_head = self._db.integer(f"{name}_{place}_head")
            cases.append(f"WHEN {changed_head} THEN {self._db.instant(f'{name}_{place}')}")
        return f"(CASE {row}.head_id {' '.join(cases)} ELSE {column} END)"


def known(row: str, revision: str) -> str:
    return f"{row}.rev_from <= {revision} AND ({row}.rev_to IS NULL OR {row}.rev_to > {revision})"


def code_of(row: str) -> str:
    return f"(SELECT f.code FROM authorization_fact f WHERE f.id = {row}.head_id)"


def as_integer(text: str) -> str:
    return f"CAST({text} AS bigint)"
