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
# No act takes so long from its beginning to its commit, nor do the clocks of hosts differ by so much.
COMMITTED_WITHIN = timedelta(minutes=5)

_OF_AN_OFFER = ("sku", "host", "state", "reason_codes", "decision_id", "revision", "sweep_id")
_OF_AN_ORDER = ("order_id", "state")
_OF_A_CASE = ("code", "kind", "state", "outcome", "sku", "host")
# What vendors are told of, and which members of the payload they see. The set is open: more will come.
EVENT_TYPES: Mapping[str, tuple[str, ...]] = {
    "listing.published": _OF_AN_OFFER,
    "listing.blocked": _OF_AN_OFFER,
    "listing.unpublished": _OF_AN_OFFER,
    "listing.suspended": _OF_AN_OFFER,
    "listing.reinstated": _OF_AN_OFFER,
    "listing.removed": _OF_AN_OFFER,
    "listing.issues_changed": _OF_AN_OFFER,
    "listing.updated": ("sku", "version", "is_new", "changed"),
    "carrier_approval.revoked": ("host", "variant", "model_number", "reason_code", "effective_at", "offers"),
    "api_key.expiring": ("key_id", "label", "prefix", "last_four", "expires_at", "days", "is_test"),
    "endpoint.disabled": ("endpoint_id", "url", "reason"),
    "acceptance.moved": ("code", "move", "number", "from", "to"),
    "agreement.submitted": ("code", "kind", "grantor", "agreement"),
    "agreement.decided": ("code", "kind", "state", "agreement"),
    "agreement.granted": ("code", "grantor"),
    "agreement.expiring": ("code", "valid_until", "days"),
    "agreement.revoked": ("code", "reason_code", "effective_at", "revision"),
    "case.opened": _OF_A_CASE,
    "case.answered": _OF_A_CASE,
    "case.closed": _OF_A_CASE,
    "review.decided": _OF_A_CASE,
    "feed.finished": ("feed_id", "client_label", "kind", "state", "outcome", "validate_only", "counts"),
    "order.placed": _OF_AN_ORDER,
    "order.held": (*_OF_AN_ORDER, "decide_by"),
    "order.released": _OF_AN_ORDER,
    "order.partly_refunded": _OF_AN_ORDER,
    "order.refunded": _OF_AN_ORDER,
    "order.shipped": _OF_AN_ORDER,
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


def sync_window(since: int | datetime, *, at: datetime) -> tuple[int, int]:
    """What somebody who is in step as of `since` has not read: the events after the first position, up to the second.

    `since` is a position, or an instant; then the window begins a little before it, because an event bears the time at
    which its act began and the place at which it was committed. Read what changed after this was asked, and go on from
    the second position. Raises EventsExpired and NoSuchPosition.
    """
    # First: shortly after the year 1 there is no instant a little before.
    if isinstance(since, datetime) and since < at - KEPT:
        raise EventsExpired
    newest = newest_position()
    after = since if isinstance(since, int) else _last_before(since - COMMITTED_WITHIN, newest)
    if after > newest:
        raise NoSuchPosition(newest)
    _check_kept(after, at)
    return after, newest


# Events of one listing that a page of changed listings looks at, at most: it may be named in many.
_SCANNED = 1000


def listings_changed(vendor_id: int, *, after: int, up_to: int, limit: int) -> tuple[list[int], int]:
    """Ids of up to `limit` listings that something is told of after the first position, each once, and how far that is.

    In the order of the events. A listing of which more is told further on comes again there. Besides `listing_id` an
    event may name `listing_ids`: of a sale, whose stock it moved.
    """
    rows = events_of(vendor_id).filter(position__gt=after, position__lte=up_to).order_by("position")
    found: dict[int, None] = {}
    reached, scanned = after, 0
    for position, payload in rows.values_list("position", "payload")[:_SCANNED]:
        named = _listings_named(payload)
        if len(found.keys() | named.keys()) > limit and found:
            return list(found), reached
        found |= named
        reached, scanned = int(position or 0), scanned + 1
    return list(found), reached if scanned == _SCANNED else up_to


def _listings_named(payload: Mapping[str, Any]) -> dict[int, None]:
    ids = [payload.get("listing_id"), *(payload.get("listing_ids") or ())]
    return dict.fromkeys(listing_id for listing_id in ids if listing_id is not None)


def _last_before(instant: datetime, newest: int) -> int:
    """The last position before this instant, or 0: by halving, for the times have no index."""
    low, high = 0, newest
    while low < high:
        middle = (low + high + 1) // 2
        row = OutboxRow.objects.filter(position__lte=middle).order_by("-position").only("created_at").first()
        if row is None or row.created_at < instant:
            low = middle
        else:
            high = middle - 1
    return low


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
