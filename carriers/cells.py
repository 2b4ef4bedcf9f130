"""What a cell of a table of reference data may hold.

A rule answers what is wrong with a value and how to cure it, or None. Values are checked as they stand:
nothing is guessed, trimmed or filled in.
"""

import re
from collections.abc import Callable, Iterable

from django.db.models import Model

from carriers.models import Confidence

type Rule = Callable[[str], str | None]
type Rules = dict[str, Rule]

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
PLMN = re.compile(r"[0-9]{3}-[0-9]{2,3}")
MONTH = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])")
YEAR = re.compile(r"(?:19|20)[0-9]{2}")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def anything(value: str) -> str | None:
    return None


def text(limit: int | None = None, *, required: bool = False) -> Rule:
    def rule(value: str) -> str | None:
        if required and not value.strip():
            return "is empty. Fill it in."
        if value != value.strip():
            return "has blanks at an end. Remove them."
        if limit and len(value) > limit:
            return f"has {len(value)} characters, {limit} fit. Shorten it."
        return None

    return rule


def one_of(values: Iterable[str], *, optional: bool = False) -> Rule:
    allowed = [str(value) for value in values]

    def rule(value: str) -> str | None:
        if value in allowed or (optional and not value):
            return None
        empty = ", or leave it empty" if optional else ""
        return f"{value!r} is not one of its values. Take {', '.join(allowed)}{empty}."

    return rule


def matches(
    pattern: re.Pattern[str], example: str, *, optional: bool = False, limit: int | None = None
) -> Rule:
    def rule(value: str) -> str | None:
        if not value:
            return None if optional else f"is empty. Write it like {example}."
        if not pattern.fullmatch(value):
            return f"{value!r} is not valid. Write it like {example}."
        return (
            f"has {len(value)} characters, {limit} fit. Shorten it." if limit and len(value) > limit else None
        )

    return rule


def list_of(values: Iterable[str]) -> Rule:
    check = one_of(values)

    def rule(value: str) -> str | None:
        return next((message for part in value.split(";") if value and (message := check(part))), None)

    return rule


def each_once(value: str) -> str | None:
    """A list with ';' between, nothing in it empty or twice."""
    parts = value.split(";") if value else []
    if "" in parts or len(parts) != len(set(parts)):
        return f"{value!r} has an empty or a repeated entry. Write each once, with ';' between."
    return None


def sources_in(codes: Iterable[str], *, kept_in: str) -> Rule:
    """Codes joined by '+'. `kept_in`: where the known ones stand, for the cure."""
    known = frozenset(codes)

    def rule(value: str) -> str | None:
        unknown = [code for code in value.split("+") if code not in known] if value else []
        if unknown:
            named = ", ".join(map(repr, unknown))
            return f"source {named} is not in {kept_in}. Correct the code, or add it there."
        return None

    return rule


def length_of(model: type[Model], name: str) -> int | None:
    length: int | None = getattr(model._meta.get_field(name), "max_length", None)
    return length


def slug(model: type[Model], name: str, example: str) -> Rule:
    return matches(SLUG, example, limit=length_of(model, name))


CONFIDENCE = one_of(Confidence.values, optional=True)
