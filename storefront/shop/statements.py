"""A signed statement as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Fact:
    """One line of a signed statement: a value, or a table of them."""

    label: str
    value: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def statement_facts(statement: Mapping[str, Any]) -> list[Fact]:
    """Every key of the statement in its own order, nothing left out: what is shown is what was signed."""
    return [_fact(key, value) for key, value in statement.items()]


def _fact(key: str, value: Any) -> Fact:
    label = _label(key)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        keys = list(value[0])
        return Fact(
            label,
            columns=[_label(key) for key in keys],
            rows=[[_value(key, item.get(key)) for key in keys] for item in value],
        )
    return Fact(label, _value(key, value))


def _value(key: str, value: Any) -> str:
    if key.endswith("_at") and isinstance(value, str):
        return f"{datetime.fromisoformat(value):%-d %B %Y, %H:%M:%S.%f} UTC"
    return _plain(value)


def _label(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_label(key)}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
