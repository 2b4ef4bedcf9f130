"""The cart and the order as pages print them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from authorization.selectors import for_sale
from carriers.models import HostCarrier
from catalog.models import Variant
from storefront.carts import SHOP_REASONS, CartLineView, CartView
from storefront.models import Order, OrderLine, PaymentIntent
from storefront.shop.presenters import CONDITION_NAMES, money, name_of, plan_in_words


@dataclass(frozen=True)
class CartLinePart:
    """`new_price` is set when the line waits for nothing but the shopper's word on a changed price."""

    pk: int
    variant: Variant
    host: HostCarrier
    seller: str
    condition: str
    plan: str
    quantity: int
    price: str
    plan_price: str
    total: str
    is_available: bool
    message: str
    new_price: str


@dataclass(frozen=True)
class CartPart:
    lines: Sequence[CartLinePart]
    total: str
    can_check_out: bool

    @property
    def has_unavailable(self) -> bool:
        return any(not line.is_available for line in self.lines)

    @property
    def has_available(self) -> bool:
        return any(line.is_available for line in self.lines)


def cart(view: CartView) -> CartPart:
    lines = [_cart_line(line_view) for line_view in view.lines]
    return CartPart(lines, money(view.total_amount, view.currency), view.can_check_out)


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


@dataclass(frozen=True)
class OrderPart:
    row: Order
    title: str
    state: str
    what_now: str
    payment: str
    lines: Sequence[OrderLinePart]
    total: str


def order(row: Order, lines: Iterable[OrderLine]) -> OrderPart:
    is_stopped = row.state in (Order.State.HELD, Order.State.REFUNDED)
    return OrderPart(
        row=row,
        title="Your order" if is_stopped else f"Thank you, {row.buyer_name}",
        state=_ORDER_STATES[row.state],
        what_now=_what_now(row),
        payment=_PAYMENT_STATES.get(row.intent.state, ""),
        lines=[_order_line(line) for line in lines],
        total=money(row.total_amount, row.total_currency),
    )


def _what_now(row: Order) -> str:
    """What becomes of it. Why an order is held is the desk's knowledge: it may be a vendor's legal trouble."""
    if row.state == Order.State.PLACED:
        return "We have your order and are getting it ready to ship."
    if row.state == Order.State.SHIPPED:
        return "It is on its way to you."
    if row.state == Order.State.REFUNDED:
        return f"It is not coming. {_money_back(row.intent)}"
    return (
        f"At the moment we may not sell what you ordered, so we must not ship it. {_money_meanwhile(row.intent)} "
        "We will either ship it, once it may be sold again, or refund it, and tell you by e-mail. You need to do "
        "nothing."
    )


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


def _order_line(line: OrderLine) -> OrderLinePart:
    each = line.price_amount + (line.plan_price_amount or Decimal(0))
    return OrderLinePart(
        variant=line.listing.variant,
        host=line.offer.host,
        seller=name_of(line.vendor),
        plan=plan_in_words(line.plan),
        quantity=line.quantity,
        total=money(each * line.quantity, line.price_currency),
    )
