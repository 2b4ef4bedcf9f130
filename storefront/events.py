"""What a vendor is told of: the events of its own offers, in the order in which they were committed.

The log of the API, the webhooks and the mails all name the same event by the same id. An event is a row of the outbox
without a handler; `position` is its place in the readers' order, which the pump stamps once it is committed, without a
gap. So a reader who remembers the last position misses nothing, for as long as events are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Max, QuerySet
from django.db.models.expressions import RawSQL

from authorization.models import OutboxRow
from catalog.models import Organization

KEPT = timedelta(days=30)

_OF_AN_OFFER = ("sku", "host", "state", "reason_codes", "decision_id", "revision", "sweep_id")
# What vendors are told of, and which members of the payload they see. The set is open: more will come.
EVENT_TYPES: Mapping[str, tuple[str, ...]] = {
    "listing.published": _OF_AN_OFFER,
    "listing.blocked": _OF_AN_OFFER,
    "listing.unpublished": _OF_AN_OFFER,
    "listing.suspended": _OF_AN_OFFER,
    "listing.reinstated": _OF_AN_OFFER,
    "listing.removed": _OF_AN_OFFER,
    "endpoint.disabled": ("endpoint_id", "url", "reason"),
    "acceptance.moved": ("code", "move", "number", "from", "to"),
}
# Spelled as in the index auth_outbox_vendor; another spelling would read the whole table.
OF_VENDOR = "CAST(payload ->> 'vendor_id' AS bigint) = %s"


class EventsExpired(Exception):
    """Events that followed this position are not kept any more: the reader has a gap that the log cannot close."""


class NoSuchPosition(Exception):
    """No event bears this position yet."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"No event has this position yet; the newest is {newest}.")
        self.newest = newest


@dataclass(frozen=True)
class EventPage:
    """`next_after` is where to read on. It moves on also past the events of others, so that it never grows old."""

    events: list[OutboxRow]
    next_after: int
    has_more: bool


def read_events(vendor: Organization, *, after: int, limit: int, at: datetime) -> EventPage:
    """The vendor's next events, by position; from the oldest that is kept where `after` is 0.

    Raises EventsExpired and NoSuchPosition.
    """
    # Before the page: what is stamped meanwhile is found the next time.
    newest = newest_position()
    if after > newest:
        raise NoSuchPosition(newest)
    _check_kept(after, at)
    rows = events_of(vendor.pk).filter(position__gt=after, position__lte=newest, created_at__gte=at - KEPT)
    found = list(rows.order_by("position")[: limit + 1])
    page = found[:limit]
    has_more = len(found) > limit
    return EventPage(page, int(page[-1].position or 0) if has_more else newest, has_more)


def events_of(vendor_id: int) -> QuerySet[OutboxRow]:
    """All that this vendor is told of and that has its place in the order."""
    is_its = RawSQL(OF_VENDOR, [vendor_id], output_field=BooleanField())  # noqa: S611  no text of anybody's
    return OutboxRow.objects.filter(is_its, handler="", position__isnull=False, event__in=list(EVENT_TYPES))


def newest_position() -> int:
    return OutboxRow.objects.aggregate(newest=Max("position"))["newest"] or 0


def present_event(row: OutboxRow) -> dict[str, Any]:
    """As the log shows it and as it is sent. `timestamp` is when it happened."""
    payload = row.payload
    data = {name: payload[name] for name in EVENT_TYPES[row.event] if name in payload}
    return present(row.event_id, row.event, row.created_at, row.position, data)


def present(
    event_id: UUID, event: str, happened_at: datetime, position: int | None, data: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": str(event_id),
        "type": event,
        "timestamp": happened_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "position": position,
        "data": data,
    }


def _check_kept(after: int, at: datetime) -> None:
    if after == 0:
        return
    following = OutboxRow.objects.filter(position__gt=after).order_by("position").first()
    if following is not None and (
        following.created_at < at - KEPT or int(following.position or 0) > after + 1
    ):
        raise EventsExpired
