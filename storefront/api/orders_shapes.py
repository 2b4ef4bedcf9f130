"""Shapes of a vendor's orders."""

from storefront.api.shapes import Shape, instant, many, money, number, one, open_enum, page_of, text
from storefront.models import Order


class OrderLineShape(Shape):
    """Goods of one listing, as they were sold."""

    sku = text("Of your listing.")
    variant = text()
    model_number = text()
    condition = text()
    host = text("The host carrier that it was sold for.")
    plan = text("The prepaid plan that was sold with it. Null: the phone only.", allow_null=True)
    quantity = number("Units that were sold.")
    refunded_quantity = number("Units of them that were called off: ship the others.")
    price = money("Of one unit, without the plan.")
    decision_id = text("The decision that it was sold on.")


class ShipToShape(Shape):
    name = text()
    address = text("As the buyer wrote it, line breaks included.")


class ShipmentShape(Shape):
    carrier = text("Empty where the shop's desk has shipped it.", allow_blank=True)
    tracking_number = text("Empty where the shop's desk has shipped it.", allow_blank=True)
    shipped_at = instant()


class OrderShape(Shape):
    """Your part of an order."""

    id = text()
    state = open_enum(
        Order.State.values,
        "Of your part. `placed`: ship it. `held`: ship nothing of it until it is released. `refunded`: called off.",
    )
    placed_at = instant()
    held_at = instant("While it is held: since when.", allow_null=True)
    decide_by = instant("While it is held: by when the shop's desk decides.", allow_null=True)
    lines = many(OrderLineShape, "Yours only.")
    ship_to = one(ShipToShape, "While it is to be shipped; null otherwise.", allow_null=True)
    shipment = one(ShipmentShape, "Once it has shipped.", allow_null=True)


class OrdersShape(page_of(OrderShape)):  # type: ignore[misc]
    """A page of a list: orders."""

    synced_to = text("The position of the event log as of the first page: the next round's `updated_since`.")
