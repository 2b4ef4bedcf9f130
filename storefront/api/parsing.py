"""Reads request bodies: JSON objects as RFC 8259 has them, nothing that only some readers would accept."""

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from storefront.api.problems import FieldError, Problem, invalid, json_pointer

MAX_DEPTH = 32


class JsonBodyParser(BaseParser):
    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return read_json(_read(stream))


class MergePatchParser(JsonBodyParser):
    """RFC 7396. A PATCH of plain JSON would be anybody's guess, so that PATCH takes nothing else."""

    media_type = "application/merge-patch+json"


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2: null deletes the member, an object is merged, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def read_json(raw: bytes) -> Any:
    """Raises Problem on anything that a strict reader would refuse, duplicate members and NaN included."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise _malformed("The body is not UTF-8.") from error
    except RecursionError as error:
        raise _malformed(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    except ValueError as error:
        # Also the refusals of _object and _refuse_constant, and numbers with thousands of digits.
        raise _malformed(f"The body is not valid JSON: {error}") from error
    faults = list(_unstorable(value))
    if faults:
        raise invalid(faults)
    return value


def _read(stream: IO[bytes]) -> bytes:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise Problem("payload_too_large", f"The body is larger than {limit} bytes.")
    return raw


def _malformed(detail: str) -> Problem:
    return invalid([FieldError("", "malformed_json", detail)])


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members


def _unstorable(value: Any) -> Iterator[FieldError]:
    """Text that no database keeps (NUL, half a character), as keys too; and nesting that is no listing."""
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo:
        path, item = todo.pop()
        if len(path) > MAX_DEPTH:
            yield FieldError("", "too_deep", f"The body is nested deeper than {MAX_DEPTH} levels.")
            return
        if isinstance(item, str) and not is_storable(item):
            yield FieldError(
                json_pointer(path), "invalid_text", "NUL characters and lone surrogates are not text."
            )
        elif isinstance(item, list):
            todo += [((*path, index), inner) for index, inner in enumerate(item)]
        elif isinstance(item, dict):
            if not all(is_storable(name) for name in item):
                yield FieldError(
                    json_pointer(path), "invalid_text", "A member's name holds a NUL or a lone surrogate."
                )
            todo += [((*path, name), inner) for name, inner in item.items() if is_storable(name)]


def is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
