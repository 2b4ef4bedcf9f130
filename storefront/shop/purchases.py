"""The cart and the order as pages print them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from authorization.selectors import for_sale
from carriers.models import HostCarrier
from catalog.models import Variant
from storefront import orders, payments, recalls
from storefront.buyers import say_time
from storefront.carts import SHOP_REASONS, CartLineView, CartView
from storefront.models import Order, OrderLine, PaymentIntent, Shipment
from storefront.shop.presenters import (
    CONDITION_NAMES,
    cautions_in_words,
    money,
    name_of,
    plan_fit_in_words,
    plan_in_words,
)


@dataclass(frozen=True)
class CartLinePart:
    """`new_price` is set when the line waits for nothing but the shopper's word on a changed price."""

    pk: int
    variant: Variant
    host: HostCarrier
    seller: str
    condition: str
    plan: str
    # Whether the plan works on the phone, and how sure that is; empty without a plan.
    plan_fit: str
    cautions: Sequence[str]
    quantity: int
    price: str
    plan_price: str
    total: str
    is_available: bool
    message: str
    new_price: str


@dataclass(frozen=True)
class CartPart:
    """`seen_lines` and `seen_total` go with the checkout form: what the shopper saw is what may be charged."""

    lines: Sequence[CartLinePart]
    total: str
    can_check_out: bool
    seen_lines: str
    seen_total: str

    @property
    def has_unavailable(self) -> bool:
        return bool(self.unavailable)

    @property
    def available(self) -> Sequence[CartLinePart]:
        return [line for line in self.lines if line.is_available]

    @property
    def unavailable(self) -> Sequence[CartLinePart]:
        return [line for line in self.lines if not line.is_available]

    @property
    def has_available(self) -> bool:
        return bool(self.available)


def cart(view: CartView) -> CartPart:
    lines = [_cart_line(line_view) for line_view in view.lines]
    return CartPart(
        lines,
        money(view.total_amount, view.currency),
        view.can_check_out,
        seen_lines=",".join(str(line.pk) for line in view.available),
        seen_total=str(view.total_amount),
    )


def _cart_line(view: CartLineView) -> CartLinePart:
    line, listing = view.line, view.line.offer.listing
    each = line.price_amount + (line.plan_price_amount or Decimal(0))
    return CartLinePart(
        pk=line.pk,
        variant=listing.variant,
        host=line.offer.host,
        seller=name_of(listing.vendor),
        condition=CONDITION_NAMES[listing.condition],
        plan=plan_in_words(line.plan),
        plan_fit=plan_fit_in_words(line.plan, view.judged) if line.plan else "",
        cautions=cautions_in_words(view.judged),
        quantity=line.quantity,
        price=money(line.price_amount, line.price_currency),
        plan_price=money(line.plan_price_amount, line.price_currency) if line.plan_price_amount else "",
        total=money(each * line.quantity, line.price_currency),
        is_available=view.is_available,
        message=view.message,
        new_price=_new_price(view),
    )


def _new_price(view: CartLineView) -> str:
    """Today's prices together, if the phone may be sold at them."""
    line, listing = view.line, view.line.offer.listing
    if (
        view.message != SHOP_REASONS["PRICE_CHANGED"]
        or view.answer is None
        or not for_sale(line.offer, view.answer)
    ):
        return ""
    amount = listing.price_amount + (line.plan.price_amount if line.plan else Decimal(0))
    return money(amount * line.quantity, listing.price_currency)


_ORDER_STATES: Mapping[str, str] = {
    Order.State.PLACED: "Placed",
    Order.State.HELD: "On hold",
    Order.State.SHIPPED: "Shipped",
    Order.State.REFUNDED: "Refunded",
}
_PAYMENT_STATES: Mapping[str, str] = {
    PaymentIntent.State.AUTHORIZED: "Reserved on your card, not charged yet",
    PaymentIntent.State.CAPTURED: "Charged to your card",
    PaymentIntent.State.VOIDING: "Being given back: no money is kept",
    PaymentIntent.State.VOIDED: "Released: your card is not charged",
    PaymentIntent.State.REFUNDED: "Given back to your card",
}


@dataclass(frozen=True)
class OrderLinePart:
    variant: Variant
    host: HostCarrier
    seller: str
    plan: str
    quantity: int
    total: str
    called_off: str


@dataclass(frozen=True)
class SafetyWarning:
    """What may not be safe of an order, and what its buyer is to do; nothing where it has not left us."""

    phones: Sequence[str]
    steps: Sequence[str]


@dataclass(frozen=True)
class OrderPart:
    """`given_back` and `kept` are empty where nothing was given back in part; `parcels` tells of those sent so far."""

    row: Order
    title: str
    state: str
    what_now: str
    payment: str
    lines: Sequence[OrderLinePart]
    total: str
    given_back: str
    kept: str
    parcels: Sequence[str]
    warning: SafetyWarning | None


def order(row: Order, lines: Iterable[OrderLine], *, at: datetime) -> OrderPart:
    is_stopped = row.state in (Order.State.HELD, Order.State.REFUNDED)
    is_partly_refunded = row.state != Order.State.REFUNDED and row.intent.refunded_amount > 0
    lines = list(lines)
    sent = list(row.shipments.select_related("vendor").order_by("id"))
    warning = _warning(row, lines, sent, at=at)
    return OrderPart(
        row=row,
        title="Your order" if is_stopped or warning else f"Thank you, {row.buyer_name}",
        state=_ORDER_STATES[row.state],
        what_now=_what_now(row, sent, at=at),
        payment=_PAYMENT_STATES.get(row.intent.state, ""),
        lines=[_order_line(line, row) for line in lines],
        total=money(row.total_amount, row.total_currency),
        given_back=money(row.intent.refunded_amount, row.total_currency) if is_partly_refunded else "",
        kept=money(payments.kept_of(row.intent), row.total_currency) if is_partly_refunded else "",
        parcels=[_parcel(shipment) for shipment in sent],
        warning=warning,
    )


def _parcel(shipment: Shipment) -> str:
    when = f"From {name_of(shipment.vendor)}, {shipment.shipped_at:%-d %B %Y}"
    if not shipment.tracking_number:
        return f"{when}."
    return f"{when}, with {shipment.carrier}. Tracking number: {shipment.tracking_number}"


def _warning(
    row: Order, lines: Iterable[OrderLine], sent: Iterable[Shipment], *, at: datetime
) -> SafetyWarning | None:
    if row.state == Order.State.REFUNDED:
        return None
    recalled = {line.pk for line in recalls.recalled_lines(row, at=at)}
    unsafe = [line for line in lines if line.pk in recalled and orders.units_left(line)]
    phones = [f"{line.listing.variant.device}, model {line.listing.variant.model_number}" for line in unsafe]
    senders = {shipment.vendor_id for shipment in sent}
    has_left_us = row.state == Order.State.SHIPPED or any(line.vendor_id in senders for line in unsafe)
    steps = recalls.WHAT_TO_DO if has_left_us else ()
    return SafetyWarning(list(dict.fromkeys(phones)), steps) if phones else None


def _what_now(row: Order, sent: Sequence[Shipment], *, at: datetime) -> str:
    """What becomes of it. Why an order is held is the desk's knowledge: it may be a vendor's legal trouble."""
    if row.state == Order.State.PLACED and sent:
        return "A part of it is on its way to you; we are getting the rest ready to ship."
    if row.state == Order.State.PLACED:
        return "We have your order and are getting it ready to ship."
    if row.state == Order.State.SHIPPED:
        return "It is on its way to you."
    if row.state == Order.State.REFUNDED:
        return f"It is not coming. {_money_back(row.intent)}"
    part = "A part of it is on its way to you. The rest waits: at" if sent else "At"
    return (
        f"{part} the moment we may not sell what you ordered, so we do not ship it. {_money_meanwhile(row.intent)} "
        "We will ship it, if it may still be sent, or call off what may not be and give back what you paid "
        f"for it. {_by_when(row, at=at)} You need to do nothing."
    )


def _by_when(row: Order, *, at: datetime) -> str:
    if row.decide_by is None or row.decide_by <= at:
        return "It takes longer than we thought; we tell you by e-mail as soon as we know."
    return f"We decide by {say_time(row.decide_by)}, and tell you by e-mail."


def _money_meanwhile(intent: PaymentIntent) -> str:
    if intent.state == PaymentIntent.State.CAPTURED:
        # The capture is the last that happened to the payment.
        return (
            f"Your card was charged on {intent.updated_at:%-d %B %Y}; we give it back if the phone may not be "
            "sold again."
        )
    return "We do not charge your card meanwhile."


def _money_back(intent: PaymentIntent) -> str:
    if intent.state == PaymentIntent.State.VOIDED:
        return "Your card was not charged."
    if intent.state == PaymentIntent.State.REFUNDED:
        return "Your money was given back to your card."
    return "Whatever was reserved on your card or charged to it is going back."


def _order_line(line: OrderLine, row: Order) -> OrderLinePart:
    each = orders.price_of(line)
    count = line.refunded_quantity if row.state != Order.State.REFUNDED else 0
    if count == line.quantity:
        called_off = "Called off: it does not ship, and you get your money for it back."
    elif count:
        called_off = f"{count} of them called off: you get {money(each * count, line.price_currency)} back."
    else:
        called_off = ""
    return OrderLinePart(
        variant=line.listing.variant,
        host=line.offer.host,
        seller=name_of(line.vendor),
        plan=plan_in_words(line.plan),
        quantity=line.quantity,
        total=money(each * line.quantity, line.price_currency),
        called_off=called_off,
    )
