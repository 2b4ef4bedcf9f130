"""Orders: the way from a cart to an order, and what happens to an order until it ships.

`check_out` runs in steps that a crash may separate: decide; commit a payment intent; have the money reserved,
in no transaction; sell under the fence (`storefront.sales`). A step that fails leaves the cart as it was, and
either no money reserved or an intent by which it is found and given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from authorization import fence, ledger, outbox
from authorization.actors import Actor
from catalog.models import Stock
from storefront import carts, payments, sales, standing
from storefront.models import Cart, CartLine, Order, PaymentIntent, RefusedCheckout
from storefront.payments import CardDetails, PaymentRefused
from storefront.sales import Buyer, SaleRefused

__all__ = [
    "CardDetails",
    "CheckoutRefused",
    "InvalidOrderMove",
    "RefusedLine",
    "check_out",
    "hold_order",
    "refund_order",
    "release_order",
    "ship_order",
]

# from -> {to: the act that makes the move}
MOVES: dict[str, dict[str, str]] = {
    Order.State.PLACED: {
        Order.State.HELD: "hold",
        Order.State.SHIPPED: "ship",
        Order.State.REFUNDED: "refund",
    },
    Order.State.HELD: {Order.State.PLACED: "release", Order.State.REFUNDED: "refund"},
    Order.State.SHIPPED: {},
    Order.State.REFUNDED: {},
}

# What is announced when an order has become so.
EVENTS: dict[str, str] = {
    Order.State.PLACED: "order.released",
    Order.State.HELD: "order.held",
    Order.State.SHIPPED: "order.shipped",
    Order.State.REFUNDED: "order.refunded",
}


@dataclass(frozen=True)
class RefusedLine:
    line: CartLine
    message: str
    reason_codes: list[str]


class CheckoutRefused(Exception):
    """Nothing was sold; the cart is as it was. The message is for the shopper, `lines` says why."""

    def __init__(self, message: str, reason_codes: Sequence[str], lines: Sequence[RefusedLine] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.reason_codes = list(reason_codes)
        self.lines = list(lines)


class InvalidOrderMove(Exception):
    """The order cannot be moved so, now. The message is for the desk."""


# --- checkout -----------------------------------------------------------------------------------------------


def check_out(
    *,
    cart: Cart,
    checkout_key: UUID,
    card: CardDetails,
    buyer_name: str,
    buyer_email: str,
    ship_to: str,
    by: Actor,
    at: datetime,
) -> Order:
    """Buy what is in the cart, or raise CheckoutRefused. The same key again returns the same order."""
    fence.refuse_inside("checkout")
    order = _find_order(cart, checkout_key)
    if order is not None:
        return order
    try:
        buyer = _check_buyer(buyer_name, buyer_email, ship_to)
        lines = carts.load_lines(cart)
        if not lines:
            raise SaleRefused("Your cart is empty.", ["CART_EMPTY"])
        answers = carts.decide_lines(lines, at=at)
        sales.refuse_obstacles(lines, carts.find_obstacles(lines, answers, at=at))
        card.check()
        intent = payments.open_intent(
            checkout_key=checkout_key,
            cart=cart,
            amount=carts.total_of(lines),
            currency=lines[0].price_currency,
            at=at,
        )
        payments.authorize(intent=intent, card=card, at=at)
        return sales.sell(intent=intent, lines=lines, answers=answers, buyer=buyer, by=by)
    except PaymentRefused as refusal:
        return _refuse(cart, checkout_key, SaleRefused(refusal.message, [refusal.code]), by=by, at=at)
    except SaleRefused as refusal:
        return _refuse(cart, checkout_key, refusal, by=by, at=at)


def _find_order(cart: Cart, checkout_key: UUID) -> Order | None:
    # The key alone is no proof of who is asking: it must come with the cart that it was made for.
    return Order.objects.filter(intent__checkout_key=checkout_key, intent__cart_id=cart.pk).first()


def _check_buyer(name: str, email: str, ship_to: str) -> Buyer:
    buyer = Buyer(name.strip(), email.strip(), ship_to.strip())
    draft = Order(buyer_name=buyer.name, buyer_email=buyer.email, ship_to=buyer.ship_to)
    asked = {"buyer_name": "name", "buyer_email": "e-mail address", "ship_to": "shipping address"}
    others = {field.name for field in Order._meta.fields} - set(asked)
    try:
        draft.clean_fields(exclude=others)
    except ValidationError as error:
        said = "; ".join(f"{asked[name]}: {' '.join(texts)}" for name, texts in error.message_dict.items())
        raise SaleRefused(f"Please correct your {said}", ["BUYER_INVALID"]) from error
    return buyer


def _refuse(cart: Cart, checkout_key: UUID, refusal: SaleRefused, *, by: Actor, at: datetime) -> Order:
    """Record the refusal, have reserved money given back, and raise; or return what the key has bought."""
    with transaction.atomic():
        intent = (
            PaymentIntent.objects.select_for_update(no_key=True)
            .filter(checkout_key=checkout_key, cart_id=cart.pk)
            .first()
        )
        order = _find_order(cart, checkout_key)
        if order is not None:
            return order
        # When the provider gave no answer, the same checkout may be sent again; else it is over.
        if intent is not None and "PAYMENT_UNAVAILABLE" not in refusal.reason_codes:
            payments.give_up_unsold(intent=intent, at=at)
        _record_refusal(cart, refusal, by=by, at=at)
    raise CheckoutRefused(
        refusal.message,
        refusal.reason_codes,
        [
            RefusedLine(line, obstacle.message, list(obstacle.reason_codes))
            for line, obstacle in refusal.lines
        ],
    )


def _record_refusal(cart: Cart, refusal: SaleRefused, *, by: Actor, at: datetime) -> None:
    rows = [
        RefusedCheckout(
            cart_id=cart.pk,
            offer=line.offer,
            reason_codes=list(obstacle.reason_codes),
            message=obstacle.message[:500],
            at=at,
        )
        for line, obstacle in refusal.lines
    ] or [
        RefusedCheckout(
            cart_id=cart.pk, reason_codes=refusal.reason_codes, message=refusal.message[:500], at=at
        )
    ]
    RefusedCheckout.objects.bulk_create(rows)
    ledger.record(
        act="checkout.refused",
        subject_kind="cart",
        subject_id=cart.pk,
        by=by,
        at=at,
        reason=refusal.message,
        evidence={
            "reason_codes": refusal.reason_codes,
            "offers": [line.offer_id for line, _ in refusal.lines],
        },
        revision=fence.current_revision(),
    )


# --- after the sale -----------------------------------------------------------------------------------------


def ship_order(*, order: Order, by: Actor, at: datetime) -> Order:
    with transaction.atomic():
        return _move(order, Order.State.SHIPPED, by=by, at=at)


def hold_order(*, order: Order, reason: str, by: Actor, at: datetime) -> Order:
    """Keep an order from shipping and its money from being taken."""
    with transaction.atomic():
        return _move(order, Order.State.HELD, by=by, at=at, reason=reason, held_reason=reason[:300])


def release_order(*, order: Order, by: Actor, at: datetime, reason: str = "") -> Order:
    """Let a held order go its way. Its capture, which may have been passed over, is announced again.

    Raises InvalidOrderMove while its goods are withdrawn: no withdrawal holds an order that is held already, so
    another one than it was held for may be in force by now. Raises DecisionUnavailable when that cannot be told.
    """
    with transaction.atomic():
        # No withdrawal can come between the look and the release.
        fence.shared()
        order = _move(order, Order.State.PLACED, by=by, at=at, reason=reason, held_reason="")
        _refuse_withdrawn(order, at=at)
        due_at = max(at, order.sold_at + timedelta(seconds=settings.CAPTURE_DELAY_S))
        payments.announce_capture(intent_id=order.intent_id, at=at, due_at=due_at)
        return order


def _refuse_withdrawn(order: Order, *, at: datetime) -> None:
    """Authority that was taken away, or is suspended, stops a release; paper that ended since the sale does not."""
    lines = list(order.lines.select_related("decision", "listing").order_by("id"))
    if withdrawn := standing.taken_away(lines, at=at):
        raise InvalidOrderMove(
            f"Order {order.pk} cannot be released: {'; '.join(withdrawn)}. Refund it, or release it when its goods "
            "are authorized again."
        )


def refund_order(*, order: Order, by: Actor, at: datetime, reason: str) -> Order:
    """Call off an order that has not shipped: the money goes back, and the phones to the stock."""
    with transaction.atomic():
        # Intent before order, as everywhere: the sale locks it first.
        payments.give_back(intent_id=order.intent_id, at=at)
        order = _move(order, Order.State.REFUNDED, by=by, at=at, reason=reason)
        for line in order.lines.order_by("listing__stock__id"):
            Stock.objects.filter(listing_id=line.listing_id).update(on_hand=F("on_hand") + line.quantity)
        return order


def _move(
    order: Order, to_state: str, *, by: Actor, at: datetime, reason: str = "", held_reason: str | None = None
) -> Order:
    """One move, of the order as it is now. Raises InvalidOrderMove where the table has none."""
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    if to_state not in MOVES[order.state]:
        allowed = ", ".join(MOVES[order.state].values()) or "nothing"
        raise InvalidOrderMove(
            f"Order {order.pk} is {order.state}: it cannot become {to_state}. What can be done: {allowed}."
        )
    act = MOVES[order.state][to_state]
    order.state = to_state
    if held_reason is not None:
        order.held_reason = held_reason
    order.save(update_fields=["state", "held_reason"])
    ledger.record(act=f"order.{act}", subject_kind="order", subject_id=order.pk, by=by, at=at, reason=reason)
    event = EVENTS[to_state]
    outbox.announce(event=event, payload={"event": event, "order_id": order.pk}, at=at)
    return order
