"""Shapes: what the objects of our answers have. They describe; the presenters, which make the answers, stay functions.

A view declares them as `answers = {"GET": {200: SomeShape}}`, and the published description is made from that
(storefront.api.description). The tests hold every answer of the API against its shape, strictly: a member that is not
described, or a word that an open enum does not know, fails there. Clients are promised less: they must take both.

Of a field: `allow_null=True` says that it may be null, `required=False` that it may be absent. `help_text` is what the
description says of it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar

from rest_framework import serializers


class Shape(serializers.Serializer[Any]):
    """An object of an answer. Its docstring, or that of the class below it that has one, is the description's."""


class FileShape(Shape):
    """An answer that is no JSON object: a file. Made by `file_of`."""

    media_types: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[str] = ""
    # Whether the content is text, and what it looks like.
    example: ClassVar[str] = ""


class OpenEnum(serializers.CharField):
    """Text that today is one of `known`; a client must take others, which may be added at any time."""

    def __init__(self, known: Iterable[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = tuple(str(value) for value in known)


class MoneyShape(Shape):
    """An amount as text, so that no reader makes a binary fraction of it, and the currency it is in."""

    amount = serializers.RegexField(r"^(0|[1-9][0-9]*)\.[0-9]{2}$", help_text="With two decimals: `199.00`.")
    currency = serializers.RegexField(r"^[A-Z]{3}$", help_text="ISO 4217.")


class LinkShape(Shape):
    """Where to go on from here."""

    rel = serializers.CharField(help_text="What the link is for.")
    method = serializers.CharField(required=False, help_text="With which method; absent: it is no call.")
    title = serializers.CharField(required=False)
    href = serializers.CharField(help_text="A path of this API, or an address with its scheme.")


# Fields, as Any: a member may be called as something that the framework's serializer has, `label` or `data`.


def open_enum(known_values: Iterable[str], help_text: str = "", **kwargs: Any) -> Any:
    """`known_values`: choices of a model (`Some.State.values`), or words."""
    return OpenEnum(tuple(known_values), help_text=help_text, **kwargs)


def text(help_text: str = "", **kwargs: Any) -> Any:
    return serializers.CharField(help_text=help_text, **kwargs)


def texts(help_text: str = "", **kwargs: Any) -> Any:
    return serializers.ListField(child=serializers.CharField(), help_text=help_text, **kwargs)


def number(help_text: str = "", **kwargs: Any) -> Any:
    return serializers.IntegerField(help_text=help_text, **kwargs)


def flag(help_text: str = "", **kwargs: Any) -> Any:
    return serializers.BooleanField(help_text=help_text, **kwargs)


def instant(help_text: str = "", **kwargs: Any) -> Any:
    """RFC 3339 in UTC, with Z."""
    return serializers.DateTimeField(help_text=help_text, **kwargs)


def day(help_text: str = "", **kwargs: Any) -> Any:
    return serializers.DateField(help_text=help_text, **kwargs)


def money(help_text: str = "", **kwargs: Any) -> Any:
    return MoneyShape(help_text=help_text, **kwargs)


def one(shape: type[Shape], help_text: str = "", **kwargs: Any) -> Any:
    """An object in a member."""
    return shape(help_text=help_text, **kwargs)


def many(shape: type[Shape], help_text: str = "", **kwargs: Any) -> Any:
    """A list of objects in a member."""
    return shape(many=True, help_text=help_text, **kwargs)


def words_by_name(help_text: str = "", **kwargs: Any) -> Any:
    """An object whose members' names are data, each with a text."""
    return serializers.DictField(child=serializers.CharField(), help_text=help_text, **kwargs)


@cache
def page_of(shape: type[Shape]) -> type[Shape]:
    """A page of a list, as storefront.api.pagination.Page.as_json writes it."""
    name = shape.__name__.removesuffix("Shape")
    members = {
        "__doc__": f"A page of a list: {name}.",
        "__module__": shape.__module__,
        "data": many(shape),
        "next_cursor": text(
            "Give it as `cursor`, with the same filters, for the next page. Null: there is none.",
            allow_null=True,
        ),
        "has_more": flag("Whether there is a next page."),
    }
    return type(f"{name}PageShape", (Shape,), members)


@cache
def file_of(*media_types: str, words: str, example: str = "") -> type[FileShape]:
    """An answer whose body is a file of one of these media types."""
    return type("File", (FileShape,), {"media_types": media_types, "words": words, "example": example})
