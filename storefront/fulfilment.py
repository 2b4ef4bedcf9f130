"""Orders as a vendor sees them: its own lines, what of them it is to ship, and what it has shipped.

An order may hold goods of several vendors. Each ships its own part (a `Shipment`) and sees its own part only, in a
state of its own: what one vendor sees of an order says nothing of the others. The acts stand in `storefront.orders`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Exists,
    F,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.expressions import RawSQL

from authorization import outbox
from catalog.models import Listing, Organization
from storefront import events
from storefront.models import Order, OrderLine, Shipment

State = Order.State

# An event that a vendor is told of an order begins so.
EVENTS = "order."


# --- what is left to ship ---------------------------------------------------------------------------------------


# Of an order line: its vendor, or the desk with the whole order, has sent it.
HAS_SHIPPED = Q(order__state=State.SHIPPED) | Q(
    Exists(Shipment.objects.filter(order=OuterRef("order"), vendor=OuterRef("vendor")))
)


def unshipped(lines: QuerySet[OrderLine]) -> QuerySet[OrderLine]:
    """Of these lines, those with a unit that was neither given back nor sent by its vendor."""
    sent = Shipment.objects.filter(order=OuterRef("order"), vendor=OuterRef("vendor"))
    return lines.filter(refunded_quantity__lt=F("quantity")).exclude(Exists(sent))


def vendors_left(order: Order) -> list[int]:
    """The ids of the vendors who have something of it to ship."""
    rows = unshipped(order.lines.all()).order_by("vendor_id").values_list("vendor_id", flat=True)
    return list(rows.distinct())


def is_partly_shipped(order: Order) -> bool:
    return order.shipments.exists()


def find_shipment(order: Order, vendor: Organization) -> Shipment | None:
    return order.shipments.filter(vendor=vendor).first()


# --- orders of one vendor ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """What one vendor has to do with an order. `state` is that of its part, not of the whole order."""

    state: str
    lines: list[OrderLine]
    shipment: Shipment | None


def part_of(order: Any) -> Part:
    """Of an order as `orders_of` gives it, which was read with all of it."""
    return Part(order.vendor_state, order.own_lines, next(iter(order.own_shipments), None))


def orders_of(vendor: Organization) -> QuerySet[Order]:
    """The orders with goods of this vendor, with its part of them: `vendor_state`, and its lines and shipments only.

    `vendor_state` is "shipped" once the vendor has sent its part, "refunded" once nothing of it is wanted any more, and
    else the state of the whole order.
    """
    lines = OrderLine.objects.filter(vendor=vendor)
    of_order = lines.filter(order=OuterRef("pk"))
    own = lines.select_related("listing", "offer__host", "plan", "decision").order_by("id")
    return (
        Order.objects.filter(pk__in=lines.values("order_id"))
        .annotate(
            vendor_state=Case(
                When(
                    Exists(Shipment.objects.filter(order=OuterRef("pk"), vendor=vendor)),
                    then=Value(State.SHIPPED),
                ),
                When(
                    ~Exists(of_order.filter(refunded_quantity__lt=F("quantity"))), then=Value(State.REFUNDED)
                ),
                default=F("state"),
                output_field=CharField(),
            )
        )
        .prefetch_related(
            Prefetch("lines", own, to_attr="own_lines"),
            Prefetch("shipments", Shipment.objects.filter(vendor=vendor), to_attr="own_shipments"),
        )
    )


def in_state(orders: QuerySet[Any], state: str) -> QuerySet[Order]:
    """Of the orders of `orders_of`, those whose part of this vendor is in this state."""
    found = orders.filter(vendor_state=state)
    # What waits is in the same state as a whole: few, and found by their own index.
    return found.filter(state=state) if state in (State.PLACED, State.HELD) else found


def told_since(orders: QuerySet[Order], vendor: Organization, *, after: int) -> QuerySet[Order]:
    """Of these, those of which the vendor was told something by an event after this position."""
    ids = f"""storefront_order.id IN (
        SELECT CAST(payload ->> 'order_pk' AS bigint) FROM authorization_outboxrow
         WHERE {events.OF_VENDOR} AND handler = '' AND position IS NOT NULL AND position > %s AND event LIKE %s)"""  # noqa: S608
    given = [vendor.pk, after, f"{EVENTS}%"]
    return orders.filter(RawSQL(ids, given, output_field=BooleanField()))  # noqa: S611  no text of anybody's


# --- what vendors are told --------------------------------------------------------------------------------------


def tell_vendors(
    order: Order,
    vendor_ids: Collection[int],
    *,
    event: str,
    state: str,
    at: datetime,
    moved: Iterable[Listing] = (),
    **more: Any,
) -> None:
    """One event for each of these vendors, in the transaction of the change. `state`: what the part is in now.

    `moved`: listings whose stock the change moved; each vendor's event names its own, so that its copy of them follows
    (`events.listings_changed`).
    """
    listings_of: dict[int, list[int]] = {}
    for listing_id, vendor_id in dict.fromkeys((listing.pk, listing.vendor_id) for listing in moved):
        listings_of.setdefault(vendor_id, []).append(listing_id)
    payloads = [
        {
            "vendor_id": vendor_id,
            "order_pk": order.pk,
            "order_id": str(order.public_id),
            "state": str(state),
            **({"listing_ids": listings_of[vendor_id]} if vendor_id in listings_of else {}),
            **more,
        }
        for vendor_id in vendor_ids
    ]
    if payloads:
        outbox.tell_many(event=event, payloads=payloads, at=at)
