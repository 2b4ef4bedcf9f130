"""Pages of a list: `{data, next_cursor, has_more}`, stable while rows come and go, without a count.

A cursor is signed and bound to the list, the caller and the filters it was made for: whoever changes a filter
half-way would get a list that never was.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.db.models import Model, Q, QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from storefront.api.fields import Members, Text
from storefront.api.problems import FieldError, invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_SALT = "clearline.api.cursor"


class PageQuery(Members):
    """`limit` above the maximum is lowered to it, never refused."""

    cursor = Text(required=False, max_length=1000)
    limit = serializers.IntegerField(required=False, min_value=1, default=DEFAULT_LIMIT)


@dataclass(frozen=True)
class Page[M: Model]:
    """`carried`: what the first page of this walk was given to carry."""

    rows: list[M]
    next_cursor: str | None
    carried: Any = None

    def as_json(self, data: Sequence[Any]) -> dict[str, Any]:
        return {"data": list(data), "next_cursor": self.next_cursor, "has_more": self.next_cursor is not None}


def read_page[M: Model](
    rows: QuerySet[M],
    query: dict[str, Any],
    *,
    bound_to: Sequence[object],
    carry: Callable[[], Any] | None = None,
) -> Page[M]:
    """The next rows by ascending id. `carry` is asked before the first page is read, and kept to the last."""
    binding = _binding(query, bound_to)
    last = _open_cursor(query, binding)
    if last is None:
        carried = carry() if carry is not None else None
    else:
        carried = last[1] if carry is not None else None
        rows = rows.filter(pk__gt=last[0])
    limit = min(query["limit"], MAX_LIMIT)
    found = list(rows.order_by("pk")[: limit + 1])
    page = found[:limit]
    more = [carried] if carry is not None else []
    return Page(page, _cursor(binding, page[-1].pk, *more) if len(found) > limit else None, carried)


def open_cursor(query: dict[str, Any], *, bound_to: Sequence[object]) -> list[Any] | None:
    """Where a list of another order goes on: what `make_cursor` was given. None at the beginning. Raises Problem."""
    return _open_cursor(query, _binding(query, bound_to))


def make_cursor(query: dict[str, Any], *last: object, bound_to: Sequence[object]) -> str:
    return _cursor(_binding(query, bound_to), *last)


def read_latest[M: Model](rows: QuerySet[M], query: dict[str, Any], *, bound_to: Sequence[object]) -> Page[M]:
    """The next rows by descending id."""
    binding = _binding(query, bound_to)
    last = _open_cursor(query, binding)
    if last is not None:
        rows = rows.filter(pk__lt=last[0])
    limit = min(query["limit"], MAX_LIMIT)
    found = list(rows.order_by("-pk")[: limit + 1])
    page = found[:limit]
    return Page(page, _cursor(binding, page[-1].pk) if len(found) > limit else None)


def read_newest_first[M: Model](
    rows: QuerySet[M], query: dict[str, Any], *, by: str, bound_to: Sequence[object]
) -> Page[M]:
    """The next rows by descending instant `by`; the id settles equal instants."""
    binding = _binding(query, bound_to)
    last = _open_cursor(query, binding)
    if last is not None:
        instant = parse_datetime(last[0])
        rows = rows.filter(Q(**{f"{by}__lt": instant}) | Q(**{by: instant, "pk__lt": last[1]}))
    limit = min(query["limit"], MAX_LIMIT)
    found = list(rows.order_by(f"-{by}", "-pk")[: limit + 1])
    page = found[:limit]
    if len(found) <= limit:
        return Page(page, None)
    return Page(page, _cursor(binding, getattr(page[-1], by).isoformat(), str(page[-1].pk)))


def _binding(query: dict[str, Any], bound_to: Sequence[object]) -> str:
    filters = {name: value for name, value in query.items() if name not in ("cursor", "limit")}
    text = json.dumps([[str(part) for part in bound_to], filters], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _cursor(binding: str, *last: object) -> str:
    return signing.dumps([binding, *last], salt=_SALT)


def _open_cursor(query: dict[str, Any], binding: str) -> list[Any] | None:
    if "cursor" not in query:
        return None
    try:
        bound, *last = signing.loads(query["cursor"], salt=_SALT)
    except signing.BadSignature:
        bound, last = "", []
    if bound != binding:
        detail = "This cursor was not made for this list with these filters. Start again without a cursor."
        raise invalid([FieldError("/cursor", "invalid_cursor", detail, "query")])
    return last
