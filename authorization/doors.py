"""What the acts that record facts check of their input, before anything is written."""

import re
from datetime import datetime

from authorization.facts import InvalidFact
from authorization.models import Fact
from authorization.rules import ALL

_ATTRIBUTE_NAME = re.compile(r"[-a-zA-Z0-9_]{1,50}")


def check_instant(field: str, value: datetime) -> None:
    if value.tzinfo is None:
        raise InvalidFact(field, f"{field} has no time zone; give one, e.g. 2016-02-01T00:00:00Z.")


def check_kind(fact: Fact, kind: str) -> None:
    if fact.kind != kind:
        raise InvalidFact("fact", f"{fact.code} is of kind {fact.kind}; choose one of kind {kind}.")


def check_territory(field: str, value: str) -> None:
    if not (len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()):
        raise InvalidFact(field, f"{value!r} is no ISO 3166-1 code; write two capitals, e.g. US.")


def check_territory_or_all(field: str, value: str) -> None:
    if value != ALL:
        try:
            check_territory(field, value)
        except InvalidFact as error:
            raise InvalidFact(field, f"{error.message[:-1]}, or *.") from error


def clean_text(field: str, value: str, *, at_most: int, cure: str = "") -> str:
    """The text without space around it. `cure` says what to write where it must not be empty."""
    value = value.strip()
    if cure and not value:
        raise InvalidFact(field, cure)
    if len(value) > at_most:
        raise InvalidFact(field, f"That is {len(value)} characters; shorten it to {at_most}.")
    if "\x00" in value:
        raise InvalidFact(field, "It holds a NUL character; take it out.")
    return value


def check_attribute(field: str, name: str, value: str) -> None:
    """An attribute of a variant, in the one spelling that it is compared in."""
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise InvalidFact(
            field,
            f"{name!r} is no attribute's name; write up to 50 letters, digits, _ or -, e.g. chipset_vendor.",
        )
    if value != clean_text(field, value, at_most=100, cure=f"Say which {name} is meant."):
        raise InvalidFact(field, f"{value!r} would match nothing; take the space around it out.")
