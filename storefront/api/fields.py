"""Serializers of input. They take what they are told and nothing else.

Unknown members and near types (a number as text, a boolean as a number) are refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request

from authorization.facts import InvalidFact
from authorization.software import sort_key
from storefront.api.parsing import is_storable, merge_patch
from storefront.api.problems import FieldError, Problem, field_errors, invalid

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,2})?")
# What the column holds: twelve digits, two of them decimals.
MAX_AMOUNT = Decimal("9999999999.99")


class Members(serializers.Serializer[Any]):
    """An object with these members and no others."""

    default_error_messages: ClassVar[dict[str, Any]] = {"invalid": "Give a JSON object here, not {datatype}."}
    # Members that we answer with and nobody sends: name -> what to do instead.
    output_only: ClassVar[Mapping[str, str]] = {}

    def to_internal_value(self, data: Any) -> Any:
        unknown: dict[str, Any] = {}
        if isinstance(data, Mapping):
            unknown = {str(name): [self._refusal(str(name))] for name in data if name not in self.fields}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **unknown}) from error
            raise
        if unknown:
            raise serializers.ValidationError(unknown)
        return value

    def _refusal(self, name: str) -> ErrorDetail:
        if name in self.output_only:
            return ErrorDetail(self.output_only[name], code="output_only")
        known = ", ".join(self.fields) or "none"
        return ErrorDetail(f"Not known here. Known: {known}.", code="unknown_member")


class Text(serializers.CharField):
    """A JSON string as it stands: numbers are not turned into text, spaces are not trimmed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class Pattern(Text):
    """Text of one form. `hint` says which, in words."""

    def __init__(self, pattern: str, hint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pattern = re.compile(pattern)
        self.hint = hint

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not self.pattern.fullmatch(text):
            raise serializers.ValidationError(self.hint, code="invalid_form")
        return text


class SoftwareVersion(Text):
    """As its maker writes it, if approvals of a range of software can be held against it. Empty: not stated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if text != text.strip():
            raise serializers.ValidationError("Take out the space around it.", code="invalid_form")
        try:
            sort_key(text)
        except InvalidFact as error:
            raise serializers.ValidationError(error.message, code="invalid_form") from error
        return text


class OneOf(serializers.ChoiceField):
    """One of some words. The refusal names them, and does not repeat what was sent."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            raise serializers.ValidationError(
                f"Take one of: {', '.join(map(str, self.choices))}.", code="invalid_choice"
            )
        return data


class Whole(serializers.IntegerField):
    """A JSON integer, which 5.0 is (JSON Schema 2020-12, 6.1.1): no text, no fraction, no boolean."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            return int(data)
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("Give a whole number.", code="invalid")
        return data


class Flag(serializers.BooleanField):
    """A JSON true or false: no text or number that reads like one."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Give true or false.", code="invalid")
        return data


class Instant(serializers.DateTimeField):
    """RFC 3339 with a zone. Without one it would be anybody's guess."""

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str) or not _RFC3339.fullmatch(value):
            hint = "Give an instant with its zone, e.g. 2026-11-22T12:00:00Z."
            raise serializers.ValidationError(hint, code="invalid")
        instant: datetime = super().to_internal_value(value)
        return instant


class Since(Text):
    """A position of the event log, as an answer gave it, or for the first time an instant."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and re.fullmatch("[0-9]{1,18}", data):
            return int(data)
        try:
            return Instant().to_internal_value(data)
        except serializers.ValidationError as error:
            hint = "Give the `synced_to` of your last round, or an instant with its zone, e.g. 2026-11-22T12:00:00Z."
            raise serializers.ValidationError(hint, code="invalid") from error


class Amount(Text):
    """Money as text, so that no reader makes a binary fraction of it."""

    def to_internal_value(self, data: Any) -> Any:
        # A minus sign is read, so that what is below zero is told so.
        if not isinstance(data, str) or not _AMOUNT.fullmatch(data.removeprefix("-")):
            hint = 'Give the amount as a string with at most two decimals, e.g. "199.00".'
            raise serializers.ValidationError(hint, code="invalid_amount")
        amount = Decimal(data)
        if not 0 < amount <= MAX_AMOUNT:
            code = "max_value" if amount > 0 else "min_value"
            raise serializers.ValidationError(f"The price must be positive, at most {MAX_AMOUNT}.", code=code)
        return amount


class Names(Text):
    """Some of a few names, with commas between them: `include=issues,decisions`. Becomes a tuple, each once."""

    def __init__(self, known: Iterable[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = tuple(known)

    def to_internal_value(self, data: Any) -> Any:
        names = super().to_internal_value(data).split(",")
        if unknown := [name for name in names if name not in self.known]:
            hint = f"Take some of: {', '.join(self.known)}, with commas between them."
            code = "invalid_form" if "" in unknown else "invalid_choice"
            raise serializers.ValidationError(hint, code=code)
        return tuple(dict.fromkeys(names))


class WriteQuery(Members):
    """What every write takes (KeyedView.query_members)."""

    validate_only = OneOf(
        choices=["true", "false"],
        required=False,
        default="false",
        help_text="Every check is made and the same answer given; nothing is stored, no event is written.",
    )


class Distinct:
    """Validator of lists: each entry once."""

    def __call__(self, value: list[str]) -> None:
        if len(set(value)) != len(value):
            raise serializers.ValidationError("An entry stands here twice; name each once.", code="duplicate")


def name_list(**kwargs: Any) -> serializers.ListField:
    return serializers.ListField(child=Text(max_length=100), max_length=50, validators=[Distinct()], **kwargs)


def read_body(request: Request, members: type[Members]) -> dict[str, Any]:
    """The checked body. Raises Problem with every fault in it."""
    serializer = members(data=_body_of(request))
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def read_patch(
    request: Request, current: Mapping[str, Any], members: type[Members]
) -> tuple[dict[str, Any], frozenset[str]]:
    """The body of a PATCH, merged into `current`: the whole that comes of it, checked; and the members it named.

    `current` is what may be written, as a PUT would send it now. Raises Problem with every fault in it.
    """
    patch = _body_of(request)
    # The framework reads an absent body as an empty object.
    if request.stream is None or not isinstance(patch, Mapping):
        raise invalid([FieldError("", "invalid", "Give a JSON object: the members that are to change.")])
    serializer = members(data=merge_patch(current, patch))
    # What is deleted is not in the whole any more, whatever its name was.
    refused = dict(_unknown_deletions(patch, serializer))
    if not serializer.is_valid() or refused:
        raise invalid(field_errors({**serializer.errors, **refused}))
    return dict(serializer.validated_data), frozenset(patch)


def _unknown_deletions(patch: Mapping[str, Any], members: Members) -> Iterator[tuple[str, Any]]:
    for name, value in patch.items():
        known = members.fields.get(name)
        if known is None and value is None:
            yield name, [members._refusal(name)]
        elif isinstance(known, Members) and isinstance(value, Mapping):
            inner = dict(_unknown_deletions(value, known))
            yield from [(name, inner)] if inner else []


def _body_of(request: Request) -> Any:
    if "Transfer-Encoding" in request.headers and not request.headers.get("Content-Length"):
        # WSGI gives no length and Django then reads nothing: the vendor would be told that all is missing.
        raise Problem("length_required", "Send the body with a Content-Length header.")
    # The framework hands an absent body on as an empty form.
    return {} if isinstance(request.data, QueryDict) else request.data


def read_query(request: Request, members: type[Members]) -> dict[str, Any]:
    """The checked query parameters. Raises Problem with every fault in them."""
    known = members().fields
    data: dict[str, Any] = {}
    faults: list[FieldError] = []
    for name, values in request.query_params.lists():
        if not is_storable(name) or not all(is_storable(value) for value in values):
            faults.append(FieldError("", "invalid_text", "A parameter holds a NUL character.", "query"))
        elif isinstance(known.get(name), serializers.ListField):
            data[name] = values
        elif len(values) > 1:
            faults.append(FieldError(f"/{name}", "repeated", "Give this parameter once.", "query"))
        else:
            data[name] = values[0]
    serializer = members(data=data)
    if not serializer.is_valid():
        faults += field_errors(serializer.errors, place="query")
    if faults:
        raise invalid(faults)
    return dict(serializer.validated_data)
