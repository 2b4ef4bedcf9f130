"""/v1/orders: what a vendor sold, what of it is to be shipped, and that it was."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import Variant
from storefront import events, fulfilment, orders
from storefront.api.fields import Members, OneOf, Pattern, Since, read_body
from storefront.api.orders_shapes import OrderShape, OrdersShape
from storefront.api.pagination import PageQuery, read_page
from storefront.api.problems import Problem
from storefront.api.times import rfc3339
from storefront.api.views import VendorView
from storefront.fulfilment import Part
from storefront.models import Order, OrderLine
from storefront.orders import InvalidOrderMove

State = Order.State


class OrdersQuery(PageQuery):
    state = OneOf(choices=State.values, required=False)
    updated_since = Since(required=False)


class ShipBody(Members):
    # Both stand in a mail to the buyer: nothing in them makes a link, so that a dot ends a word.
    carrier = Pattern(
        r"\w[\w&'()+-]*\.?( [\w&'()+-]+\.?)*",
        "Name who carries the parcel, in up to 64 letters, digits and single spaces, e.g. UPS.",
        max_length=64,
    )
    tracking_number = Pattern(
        r"[A-Za-z0-9][A-Za-z0-9 -]{0,99}",
        "Give the number by which the parcel is followed: up to 100 letters, digits, spaces and hyphens.",
    )


class OrdersView(VendorView):
    """The orders with goods of yours, oldest first. Give `synced_to` as `updated_since` the next time."""

    scopes: ClassVar = {"GET": "orders:read"}
    queries: ClassVar = {"GET": OrdersQuery}
    answers: ClassVar = {"GET": {200: OrdersShape}}
    problems: ClassVar = {"GET": ("events_expired",)}

    def get(self, request: Request) -> Response:
        vendor = self.caller.vendor
        rows, newest = fulfilment.orders_of(vendor), events.newest_position()
        if "updated_since" in self.query:
            after, newest = events.sync_window(self.query["updated_since"], at=self.at)
            rows = fulfilment.told_since(rows, vendor, after=after)
        if "state" in self.query:
            rows = fulfilment.in_state(rows, self.query["state"])
        page = read_page(rows, self.query, bound_to=["orders", vendor.pk], carry=lambda: newest)
        return Response({**page.as_json(present_orders(page.rows)), "synced_to": str(page.carried)})


class OrderView(VendorView):
    """What the calls on one order share."""

    def get_order(self, order_id: UUID) -> Order:
        order = fulfilment.orders_of(self.caller.vendor).filter(public_id=order_id).first()
        if order is None:
            raise Problem("not_found", "You have no order of this id.")
        return order

    def show(self, order_id: UUID) -> dict[str, Any]:
        return present_orders([self.get_order(order_id)])[0]


class OneOrderView(OrderView):
    """One order with goods of yours: your lines, and where they go while they are to be shipped."""

    scopes: ClassVar = {"GET": "orders:read"}
    answers: ClassVar = {"GET": {200: OrderShape}}

    def get(self, request: Request, order_id: UUID) -> Response:
        return Response(self.show(order_id))


class ShipView(OrderView):
    """Say that all that is left of your goods in this order was handed to a carrier. Said again, it changes nothing."""

    scopes: ClassVar = {"POST": "orders:write"}
    bodies: ClassVar = {"POST": ShipBody}
    answers: ClassVar = {"POST": {200: OrderShape}}
    problems: ClassVar = {"POST": ("invalid_transition",)}

    def post(self, request: Request, order_id: UUID) -> Response:
        order, vendor = self.get_order(order_id), self.caller.vendor
        parcel = read_body(request, ShipBody)
        try:
            orders.ship_part(order=order, vendor=vendor, **parcel, by=self.caller.actor, at=self.at)
        except InvalidOrderMove as error:
            raise Problem("invalid_transition", str(error)) from error
        return Response(self.show(order_id))


def present_orders(rows: list[Order]) -> list[dict[str, Any]]:
    """Orders from `fulfilment.orders_of`, in their order."""
    parts = [fulfilment.part_of(order) for order in rows]
    # As sold: its listing may have been edited since.
    sold = {line.decision.question["variant_id"] for part in parts for line in part.lines}
    variants = Variant.objects.in_bulk(sold)
    return [_present(order, part, variants) for order, part in zip(rows, parts, strict=True)]


def _present(order: Order, part: Part, variants: Mapping[int, Variant]) -> dict[str, Any]:
    sent, is_held = part.shipment, part.state == State.HELD
    return {
        "id": str(order.public_id),
        "state": part.state,
        "placed_at": rfc3339(order.sold_at),
        "held_at": rfc3339(order.held_at) if is_held and order.held_at else None,
        "decide_by": rfc3339(order.decide_by) if is_held and order.decide_by else None,
        "lines": [_present_line(line, variants[line.decision.question["variant_id"]]) for line in part.lines],
        # Whoever ships nothing has no use for where somebody lives.
        "ship_to": {"name": order.buyer_name, "address": order.ship_to}
        if part.state == State.PLACED
        else None,
        "shipment": None
        if sent is None
        else {
            "carrier": sent.carrier,
            "tracking_number": sent.tracking_number,
            "shipped_at": rfc3339(sent.shipped_at),
        },
    }


def _present_line(line: OrderLine, variant: Variant) -> dict[str, Any]:
    return {
        "sku": line.listing.sku,
        "variant": variant.slug,
        "model_number": variant.model_number,
        "condition": line.decision.question["condition"],
        "host": line.offer.host.code,
        "plan": line.plan.name if line.plan else None,
        "quantity": line.quantity,
        "refunded_quantity": line.refunded_quantity,
        "price": {"amount": f"{line.price_amount:.2f}", "currency": line.price_currency},
        "decision_id": str(line.decision_id),
    }
