"""Conditional requests (RFC 9110, section 13): entity tags, and what If-Match and If-None-Match say of them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from storefront.api.problems import Problem


def version_etag(*versions: object) -> str:
    """A strong tag from the versions of the rows that an answer shows: the same for every view of them."""
    text = json.dumps([str(version) for version in versions])
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def matches(header: str, etag: str | None, *, is_weak_enough: bool = False) -> bool:
    """Whether one of the tags of the header is this one. `etag` is None where nothing is stored."""
    given = parse_etags(header)
    if is_weak_enough:
        given = [each.removeprefix("W/") for each in given]
    return etag is not None and ("*" in given or etag in given)


def check_preconditions(request: Request, current: Callable[[], str | None], *, what: str) -> None:
    """Raises Problem unless If-Match and If-None-Match of a write hold. Without them everything holds.

    `current` gives the tag of what is stored now, None where nothing is; it is called when one of them was sent. Check
    it where the row is locked, else two writers both pass. `what` is the thing's name: listing.
    """
    headers = request.headers
    if "If-Match" not in headers and "If-None-Match" not in headers:
        return
    etag = current()
    if "If-Match" in headers and not matches(headers["If-Match"], etag):
        raise Problem("version_conflict", f"The {what} is not the one of your If-Match.")
    if "If-None-Match" in headers and matches(headers["If-None-Match"], etag):
        raise Problem("version_conflict", f"There is a {what} here already.")


def conditional(
    request: Request, etag: str, shown: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
) -> Response:
    """The answer to a read: 304 where the caller's If-None-Match names this tag, else what is shown."""
    headers = {"ETag": etag}
    if matches(request.headers.get("If-None-Match", ""), etag, is_weak_enough=True):
        return Response(status=304, headers=headers)
    return Response(shown() if callable(shown) else shown, headers=headers)
