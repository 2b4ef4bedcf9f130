"""What SQLite and PostgreSQL spell differently, and what their planners have to be told."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL

# Up to so many are written out: planners make more of values that they see.
_FEW_IDS = 500


class Dialect:
    """How the two databases take lists of values and instants."""

    def __init__(self) -> None:
        self.is_postgresql = connection.vendor == "postgresql"
        self.no_integer = "CAST(NULL AS bigint)"
        self.no_text = "CAST(NULL AS text)"
        self.no_instant = "CAST(NULL AS text)" if self.is_postgresql else "NULL"
        self.moment = _parsed_aware if self.is_postgresql else _parsed
        # PostgreSQL would compile the long statements that follow anew each time, for a second or more; they run for
        # milliseconds. Said in the first one, so that it costs none of its own and needs no setting behind a pooler.
        # (And instants are written in ISO 8601, whatever the role prefers.)
        self.prepare_session = (
            "set_config('jit', 'off', false) || set_config('DateStyle', 'ISO', false)"
            if self.is_postgresql
            else "NULL"
        )

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        adapted = {
            name: connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
            for name, value in parameters.items()
            if f"%({name})s" in sql
        }
        with connection.cursor() as cursor:
            cursor.execute(sql, adapted)
            return cursor.fetchall()

    def head(self, *, integers: int, texts: int, instants: int) -> str:
        """The first arm of a statement: no row, but the types of its columns. (And SQLite, which takes the declared
        type of a column from here, hands instants over as it stores them.)
        """
        nothing = [self.no_integer] * integers + [self.no_text] * texts + [self.no_instant] * instants
        return f"SELECT CAST('' AS text), {', '.join(nothing)} WHERE 1 = 0"

    def written(self, instant: str) -> str:
        """An instant as it is handed over. Python reads text faster than psycopg's loader makes datetimes."""
        return f"CAST({instant} AS text)" if self.is_postgresql else instant

    def instant(self, name: str) -> str:
        return f"CAST(%({name})s AS timestamptz)" if self.is_postgresql else f"%({name})s"

    def lookup(self, table: str, row: str, condition: str, *, is_short: bool) -> str:
        """A join of a list of ours, by the index. For a short one PostgreSQL is not asked: it takes all for long ones,
        and would read the whole table for a handful of questions.
        """
        if not self.is_postgresql:
            return f"CROSS JOIN {table} {row} ON {condition}"
        if is_short:
            return f"CROSS JOIN LATERAL (SELECT * FROM {table} {row} WHERE {condition} OFFSET 0) {row}"
        return f"JOIN {table} {row} ON {condition}"

    def among(self, select: str) -> str:
        """PostgreSQL takes a recursion for millions of rows and reads the whole table; for an array it does not."""
        return f"= ANY (ARRAY({select}))" if self.is_postgresql else f"IN ({select})"

    def few(self, column: str) -> str:
        """Tells SQLite that a list of ours is short. It takes each for a million rows, and would read the whole table
        joined to it for a Bloom filter first. (`column` is never negative.)
        """
        return "" if self.is_postgresql else f" AND likelihood({column} >= 0, 0.0001)"

    def integer(self, name: str) -> str:
        return f"CAST(%({name})s AS bigint)"

    def array(self, values: Iterable[Any]) -> Any:
        return _literal(list(values)) if self.is_postgresql else json.dumps(list(values))

    def integers(self, name: str) -> str:
        if self.is_postgresql:
            return f"unnest(CAST(%({name})s AS bigint[])) AS listed(value)"
        return f"json_each(%({name})s)"

    def texts(self, name: str) -> str:
        if self.is_postgresql:
            return f"unnest(CAST(%({name})s AS text[])) AS listed(value)"
        return f"json_each(%({name})s)"

    def pairs(self, name: str) -> str:
        if self.is_postgresql:
            return (
                "(SELECT CAST(e.value->>0 AS bigint) AS first, CAST(e.value->>1 AS bigint) AS second"
                f" FROM jsonb_array_elements(CAST(%({name})s AS jsonb)) AS e(value))"
            )
        return (
            "(SELECT json_extract(e.value, '$[0]') AS first, json_extract(e.value, '$[1]') AS second"
            f" FROM json_each(%({name})s) e)"
        )

    def table(self, name: str, integers: Sequence[str], texts: Sequence[str]) -> str:
        """Rows given as parameters `name_column`, made by `columns`."""
        if self.is_postgresql:
            arrays = [f"CAST(%({name}_{column})s AS bigint[])" for column in integers]
            arrays += [f"CAST(%({name}_{column})s AS text[])" for column in texts]
            return f"SELECT * FROM unnest({', '.join(arrays)})"
        extracts = ", ".join(f"json_extract(e.value, '$[{i}]')" for i in range(len(integers) + len(texts)))
        return f"SELECT {extracts} FROM json_each(%({name})s) e"

    def columns(
        self, name: str, integers: Mapping[str, list[Any]], texts: Mapping[str, list[Any]]
    ) -> dict[str, Any]:
        if self.is_postgresql:
            # Written here: the driver would look at each value by itself, which takes as long as the statement.
            given = (*integers.items(), *texts.items())
            return {f"{name}_{column}": _literal(values) for column, values in given}
        return {name: json.dumps(list(zip(*integers.values(), *texts.values(), strict=True)))}


def listed_ids(ids: Iterable[int]) -> list[int] | RawSQL:
    """Ids for a condition `__in`: one parameter however many they are, where SQLite would take 32,766 at most."""
    listed = [int(one) for one in ids]
    if len(listed) <= _FEW_IDS:
        return listed
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(CAST(%s AS bigint[]))", [_literal(listed)])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(listed)])


def _literal(values: list[Any]) -> str:
    """An array as PostgreSQL reads one from text; cast to its type where it is used."""
    if any(isinstance(value, str) for value in values):
        return "{" + ",".join([_quoted(value) for value in values]) + "}"
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


@lru_cache(maxsize=65536)
def _quoted(value: str | None) -> str:
    if value is None:
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@lru_cache(maxsize=65536)
def _parsed_aware(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


@lru_cache(maxsize=65536)
def _parsed(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)
