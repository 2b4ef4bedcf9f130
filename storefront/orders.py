"""Orders: the way from a cart to an order, and what happens to an order until it ships.

`check_out` runs in steps that a crash may separate: decide; commit a payment intent; have the money reserved,
in no transaction; sell under the fence (`storefront.sales`). A step that fails leaves the cart as it was, and
either no money reserved or an intent by which it is found and given back.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from authorization import fence, ledger, outbox
from authorization.actors import Actor
from authorization.models import Revocation
from catalog.models import Organization, Stock
from storefront import carts, fulfilment, payments, safety, sales, standing
from storefront.models import (
    Cart,
    CartLine,
    Order,
    OrderLine,
    PaymentIntent,
    Recall,
    RefusedCheckout,
    Shipment,
)
from storefront.payments import CardDetails, PaymentRefused
from storefront.sales import Buyer, SaleRefused

__all__ = [
    "CardDetails",
    "CheckoutRefused",
    "InvalidOrderMove",
    "RefusedLine",
    "acts_open_to",
    "check_out",
    "hold_order",
    "refund_lines",
    "refund_order",
    "release_order",
    "ship_held_order",
    "ship_order",
    "ship_part",
]

State = Order.State

# act -> (the states that it may be done in, the state that it leads to)
MOVES: dict[str, tuple[frozenset[str], str]] = {
    "hold": (frozenset({State.PLACED}), State.HELD),
    "ship": (frozenset({State.PLACED}), State.SHIPPED),
    "release": (frozenset({State.HELD}), State.PLACED),
    "ship_held": (frozenset({State.HELD}), State.SHIPPED),
    # Of what is left of it the order stays held, or is released.
    "refund_lines": (frozenset({State.HELD}), State.HELD),
    "refund": (frozenset({State.PLACED, State.HELD}), State.REFUNDED),
}

# What is announced when an order has become so.
EVENTS: dict[str, str] = {
    State.PLACED: "order.released",
    State.HELD: "order.held",
    State.SHIPPED: "order.shipped",
    State.REFUNDED: "order.refunded",
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
    line_ids: Collection[int] | None = None,
    total: Decimal | None = None,
) -> Order:
    """Buy what is in the cart, or raise CheckoutRefused. The same key again returns the same order.

    `line_ids` and `total` are what the shopper saw as to be bought: that is charged, or nothing. The other lines stay
    in the cart. Without `line_ids` it is every line.
    """
    fence.refuse_inside("checkout")
    order = _find_order(cart, checkout_key)
    if order is not None:
        return order
    try:
        buyer = _check_buyer(buyer_name, buyer_email, ship_to)
        lines = carts.load_lines(cart)
        if not lines:
            raise SaleRefused("Your cart is empty.", ["CART_EMPTY"])
        lines = _seen(lines, line_ids, total)
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


def _seen(
    lines: Sequence[CartLine], line_ids: Collection[int] | None, total: Decimal | None
) -> list[CartLine]:
    """Those of the lines that the shopper saw as to be bought, if the cart still has them at the total seen."""
    found = [line for line in lines if line_ids is None or line.pk in line_ids]
    is_whole = line_ids is None or len(found) == len(set(line_ids)) > 0
    if not is_whole or (total is not None and carts.total_of(found) != total):
        raise SaleRefused(
            "Your cart changed since you looked at it. Nothing was charged; please look at it again.",
            ["CART_CHANGED"],
        )
    return found


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


def acts_open_to(order: Order) -> list[str]:
    """The acts that its state has a use for. Whether one would be refused for what was withdrawn, it says itself."""
    return [act for act, (states, _) in MOVES.items() if order.state in states]


def ship_order(*, order: Order, by: Actor, at: datetime) -> Order:
    """All that is left of it, whoever's goods it is. Raises InvalidOrderMove, also where that is recalled."""
    with transaction.atomic():
        order = lock_order(order.pk)
        check_move(order, "ship")
        _refuse_recalled(order, at=at)
        return _ship_rest(order, "ship", by=by, at=at)


def ship_part(
    *, order: Order, vendor: Organization, carrier: str, tracking_number: str, by: Actor, at: datetime
) -> Shipment:
    """A vendor has handed all that is left of its goods in this order to a carrier. The last one ships the order.

    Saying the same again changes nothing. Raises InvalidOrderMove, in words for the vendor.
    """
    with transaction.atomic():
        order = lock_order(order.pk)
        sent = check_part(order, vendor, carrier=carrier, tracking_number=tracking_number, at=at)
        if sent is not None:
            return sent
        sent = Shipment.objects.create(
            order=order,
            vendor=vendor,
            carrier=carrier,
            tracking_number=tracking_number,
            actor=str(by),
            shipped_at=at,
        )
        ledger.record(
            act="order.ship_part",
            subject_kind="order",
            subject_id=order.pk,
            by=by,
            at=at,
            evidence={"vendor": vendor.slug, "carrier": carrier, "tracking_number": tracking_number},
        )
        fulfilment.tell_vendors(order, [vendor.pk], event="order.shipped", state=State.SHIPPED, at=at)
        parcel = {"parcel": f"{carrier}, {tracking_number}"}
        if fulfilment.vendors_left(order):
            event = "order.partly_shipped"
            outbox.announce(event=event, payload={"event": event, "order_id": order.pk} | parcel, at=at)
        else:
            _move(order, "ship", by=by, at=at, payload=parcel)
        return sent


def check_part(
    order: Order, vendor: Organization, *, carrier: str, tracking_number: str, at: datetime
) -> Shipment | None:
    """The shipment where exactly this was said before. Raises InvalidOrderMove where the vendor may not ship."""
    sent = fulfilment.find_shipment(order, vendor)
    if sent is not None:
        if (sent.carrier, sent.tracking_number) == (carrier, tracking_number):
            return sent
        raise InvalidOrderMove(_said_before(sent))
    if order.state == State.SHIPPED:
        raise InvalidOrderMove("The shop's desk has shipped this order already.")
    lines = [line for line in lines_left(order) if line.vendor_id == vendor.pk]
    if not lines:
        raise InvalidOrderMove("Nothing of this order is to be shipped any more: it was called off.")
    if order.state == State.HELD:
        raise InvalidOrderMove("This order is on hold. Ship nothing of it until it is released.")
    if _recalled(lines, at=at):
        raise InvalidOrderMove(
            "What you sold in this order is recalled for safety. Do not ship it; the desk decides."
        )
    check_move(order, "ship")
    return None


def _said_before(sent: Shipment) -> str:
    if not sent.tracking_number:
        return "The shop's desk has shipped this order already."
    return f"You have shipped this already, with {sent.carrier}, {sent.tracking_number}."


def _ship_rest(
    order: Order,
    act: str,
    *,
    by: Actor,
    at: datetime,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> Order:
    vendor_ids = fulfilment.vendors_left(order)
    Shipment.objects.bulk_create(
        [Shipment(order=order, vendor_id=each, actor=str(by), shipped_at=at) for each in vendor_ids]
    )
    _move(order, act, by=by, at=at, reason=reason, evidence=evidence)
    fulfilment.tell_vendors(order, vendor_ids, event="order.shipped", state=State.SHIPPED, at=at)
    return order


def given_back(order: Order) -> str:
    """What has been given back of each line, in one text: what a form was made of."""
    rows = order.lines.order_by("id").values_list("id", "refunded_quantity")
    return ",".join(f"{line_id}:{units}" for line_id, units in rows)


def _refuse_recalled(order: Order, *, at: datetime) -> None:
    if _recalled(lines_left(order), at=at):
        raise InvalidOrderMove(f"Order {order.pk} is recalled for safety. Refund it, or what of it is meant.")


def _recalled(lines: Sequence[OrderLine], *, at: datetime) -> bool:
    """Recalls look wider than decisions do: also at what another paper covers, and at what a phone was said to have."""
    rows = Recall.objects.filter(line__in=[line.pk for line in lines])
    return any(safety.stands(row.revocation, at=at) for row in rows.select_related("revocation"))


def hold_order(*, order: Order, reason: str, by: Actor, at: datetime, on: Revocation | None = None) -> Order:
    """Keep an order from shipping and its money from being taken, until the desk decides.

    `on`: the withdrawal that it is held for; none where the desk has a reason of its own. The deadline is due work:
    `held_orders.call_for_decision` alarms if it passes.
    """
    with transaction.atomic():
        order = lock_order(order.pk)
        check_move(order, "hold")
        decide_by = at + timedelta(seconds=settings.HELD_ORDER_DECIDE_S)
        order.held_reason, order.held_on, order.held_at = reason[:300], on, at
        order.decide_by = decide_by
        evidence = {"revocation": on.pk if on else None, "decide_by": decide_by.isoformat()}
        _move(order, "hold", by=by, at=at, reason=reason, evidence=evidence)
        fulfilment.tell_vendors(
            order,
            fulfilment.vendors_left(order),
            event="order.held",
            state=State.HELD,
            at=at,
            decide_by=decide_by.isoformat(),
        )
        due = {"order_id": order.pk, "decide_by": decide_by.isoformat()}
        outbox.announce(event="order.decision_due", payload=due, at=at, due_at=decide_by)
        return order


def release_order(*, order: Order, by: Actor, at: datetime, reason: str = "") -> Order:
    """Let a held order go its way. Its capture, which may have been passed over, is announced again.

    Raises InvalidOrderMove while its goods are withdrawn: no withdrawal holds an order that is held already, so
    another one than it was held for may be in force by now. Raises DecisionUnavailable when that cannot be told.
    """
    with transaction.atomic():
        # No withdrawal can come between the look and the release.
        fence.shared()
        order = lock_order(order.pk)
        check_move(order, "release")
        _refuse_withdrawn(order, at=at)
        _refuse_recalled(order, at=at)
        _release(order, by=by, at=at, reason=reason)
        return order


def ship_held_order(*, order: Order, by: Actor, at: datetime, reason: str) -> Order:
    """Ship a held order as it was sold: its sale was lawful when it was made. Its capture is announced again.

    Raises InvalidOrderMove without a reason, and where safety or a regulator's word stands against it; raises
    DecisionUnavailable when that cannot be told.
    """
    if not reason.strip():
        raise InvalidOrderMove("Say why it ships although it is held; the reason is kept in the ledger.")
    with transaction.atomic():
        # No regulator's word can come between the look and the shipping.
        fence.shared()
        order = lock_order(order.pk)
        check_move(order, "ship_held")
        _refuse_recalled(order, at=at)
        against = standing.look(lines_left(order), held_on=order.held_on, at=at)
        if bars := dict.fromkeys(bar for each in against for bar in each.bars):
            raise InvalidOrderMove(
                f"Order {order.pk} cannot be shipped, though it was lawfully sold: {'; '.join(bars)} stands against "
                "it. Refund it, or what of it is meant; or release it when that is lifted."
            )
        said = [sentence for each in against for sentence in each.sentences]
        _ship_rest(order, "ship_held", by=by, at=at, reason=reason, evidence={"although": said})
        _announce_capture(order, at=at)
        return order


def refund_order(*, order: Order, by: Actor, at: datetime, reason: str) -> Order:
    """Call off what is left of an order that has not shipped: the money goes back, and the phones to the stock.

    Of an order that has shipped in part, what has not; then all that remains of it has shipped.
    """
    with transaction.atomic():
        # Intent before order, as everywhere: the sale locks it first.
        payments.lock_intent(order.intent_id)
        order = lock_order(order.pk)
        check_move(order, "refund")
        lines = lines_left(order)
        if fulfilment.is_partly_shipped(order):
            _refund_rest(order, lines, by=by, at=at, reason=reason)
            return order
        payments.give_back(intent_id=order.intent_id, at=at)
        _take_back(lines, {line.pk: units_left(line) for line in lines})
        _move(order, "refund", by=by, at=at, reason=reason)
        _tell_of_refund(order, lines, lines, at=at)
        return order


def _refund_rest(order: Order, lines: Sequence[OrderLine], *, by: Actor, at: datetime, reason: str) -> None:
    """Nothing waits any more: what was not called off has shipped, and its money is due."""
    wanted = {line.pk: units_left(line) for line in lines}
    said = _give_back_units(order, lines, wanted, is_released=False, by=by, at=at, reason=reason)
    order.state = State.SHIPPED
    order.held_reason, order.held_on, order.held_at, order.decide_by = "", None, None, None
    order.save(update_fields=["state", "held_reason", "held_on", "held_at", "decide_by"])
    event = "order.partly_refunded"
    payload = {"event": event, "order_id": order.pk, "is_shipped": True}
    outbox.announce(event=event, payload=payload | said, at=at)
    _tell_of_refund(order, lines, lines, at=at)
    _announce_capture(order, at=at)


def refund_lines(
    *,
    order: Order,
    lines: Mapping[int, int],
    by: Actor,
    at: datetime,
    reason: str,
    seen: str | None = None,
) -> Order:
    """Call off these units (line id -> how many) of a held order: their money goes back, the phones to the stock.

    What is left is released if all of it may go, and stays held else. All that is left is a refund of the order.
    `seen`: `given_back` as it was when this was asked for, so that asking twice is not giving back twice.
    Raises InvalidOrderMove, also for units that the order does not have; raises DecisionUnavailable.
    """
    wanted = {line_id: units for line_id, units in lines.items() if units != 0}
    with transaction.atomic():
        payments.lock_intent(order.intent_id)
        fence.shared()
        order = lock_order(order.pk)
        check_move(order, "refund_lines")
        if seen is not None and seen != given_back(order):
            raise InvalidOrderMove(
                f"Units of order {order.pk} were refunded since you opened this page; look again."
            )
        left = lines_left(order)
        _check_units(order, left, wanted)
        if wanted == {line.pk: units_left(line) for line in left}:
            return refund_order(order=order, by=by, at=at, reason=reason)
        called_off = [line for line in left if line.pk in wanted]
        rest = [line for line in left if units_left(line) > wanted.get(line.pk, 0)]
        is_released = not standing.taken_away(rest, at=at) and not _recalled(rest, at=at)
        said = _give_back_units(order, left, wanted, is_released=is_released, by=by, at=at, reason=reason)
        event = "order.partly_refunded"
        outbox.announce(event=event, payload={"event": event, "order_id": order.pk} | said, at=at)
        _tell_of_refund(order, called_off, left, at=at)
        if is_released:
            # The buyer hears of both in one message.
            _release(order, by=by, at=at, reason=reason, payload={"is_told_with": event})
        return order


def _give_back_units(
    order: Order,
    lines: Sequence[OrderLine],
    wanted: Mapping[int, int],
    *,
    is_released: bool,
    by: Actor,
    at: datetime,
    reason: str,
) -> dict[str, Any]:
    """Money, units and the ledger's row of a refund in part. Returns what is said of it."""
    amount = sum((price_of(line) * wanted.get(line.pk, 0) for line in lines), Decimal(0))
    payments.give_back_part(intent_id=order.intent_id, amount=amount, at=at)
    _take_back(lines, wanted)
    said = {"amount": f"{amount:.2f}", "currency": order.total_currency, "is_released": is_released}
    ledger.record(
        act="order.refund_lines",
        subject_kind="order",
        subject_id=order.pk,
        by=by,
        at=at,
        reason=reason,
        evidence=said | {"units": {str(line_id): units for line_id, units in wanted.items()}},
    )
    return said


def _tell_of_refund(
    order: Order, called_off: Sequence[OrderLine], lines: Sequence[OrderLine], *, at: datetime
) -> None:
    """The vendors of what was called off: those who have something left to ship of it, and those who have not."""
    vendor_ids = dict.fromkeys(line.vendor_id for line in called_off)
    with_rest = {line.vendor_id for line in lines if units_left(line)}
    partly = [vendor_id for vendor_id in vendor_ids if vendor_id in with_rest]
    wholly = [vendor_id for vendor_id in vendor_ids if vendor_id not in with_rest]
    moved = [line.listing for line in called_off]
    tell = partial(fulfilment.tell_vendors, order, at=at, moved=moved)
    tell(partly, event="order.partly_refunded", state=order.state)
    tell(wholly, event="order.refunded", state=State.REFUNDED)


def price_of(line: OrderLine) -> Decimal:
    """What one unit of it cost, its plan included."""
    return line.price_amount + (line.plan_price_amount or Decimal(0))


def units_left(line: OrderLine) -> int:
    return line.quantity - line.refunded_quantity


def lines_left(order: Order) -> list[OrderLine]:
    """Those that have not shipped and of which not every unit was given back, with what `standing` looks at."""
    lines = fulfilment.unshipped(order.lines.all())
    return list(lines.select_related("decision", "listing__stock").order_by("id"))


def _refuse_withdrawn(order: Order, *, at: datetime) -> None:
    """Authority that was taken away, or is suspended, stops a release; paper that ended since the sale does not."""
    if withdrawn := standing.taken_away(lines_left(order), at=at):
        raise InvalidOrderMove(
            f"Order {order.pk} cannot be released: {'; '.join(withdrawn)}. Refund it, or release it when its goods "
            "are authorized again."
        )


def _release(
    order: Order, *, by: Actor, at: datetime, reason: str, payload: Mapping[str, Any] | None = None
) -> None:
    order.held_reason, order.held_on, order.held_at = "", None, None
    _move(order, "release", by=by, at=at, reason=reason, payload=payload)
    left = fulfilment.vendors_left(order)
    fulfilment.tell_vendors(order, left, event="order.released", state=State.PLACED, at=at)
    _announce_capture(order, at=at)


def _announce_capture(order: Order, *, at: datetime) -> None:
    due_at = max(at, order.sold_at + timedelta(seconds=settings.CAPTURE_DELAY_S))
    payments.announce_capture(intent_id=order.intent_id, at=at, due_at=due_at)


def _check_units(order: Order, left: Sequence[OrderLine], wanted: Mapping[int, int]) -> None:
    if not wanted:
        raise InvalidOrderMove("Say how many units of which line are refunded; none is named.")
    by_id = {line.pk: line for line in left}
    for line_id, units in wanted.items():
        if line_id not in by_id:
            raise InvalidOrderMove(
                f"Order {order.pk} has no unit left in a line {line_id}; look at it again."
            )
        line = by_id[line_id]
        if not 0 < units <= units_left(line):
            raise InvalidOrderMove(
                f"{line.listing.sku}: {units} cannot be refunded; take a number up to {units_left(line)}."
            )


def _take_back(lines: Sequence[OrderLine], units: Mapping[int, int]) -> None:
    """Write down the units that were given back, and put them into the stock, by its id as everywhere."""
    for line in sorted(lines, key=lambda line: line.listing.stock.pk):
        if count := units.get(line.pk, 0):
            line.refunded_quantity += count
            line.save(update_fields=["refunded_quantity"])
            Stock.objects.filter(listing_id=line.listing_id).update(on_hand=F("on_hand") + count)


def lock_order(order_id: int) -> Order:
    """The order as it is now, kept so until commit."""
    return Order.objects.select_for_update(no_key=True).get(pk=order_id)


def check_move(order: Order, act: str) -> None:
    """Raises InvalidOrderMove where the table has no such move."""
    states, to_state = MOVES[act]
    if order.state not in states:
        allowed = ", ".join(act.replace("_", " ") for act in acts_open_to(order)) or "nothing"
        raise InvalidOrderMove(
            f"Order {order.pk} is {order.state}: it cannot become {to_state}. What can be done: {allowed}."
        )


def _move(
    order: Order,
    act: str,
    *,
    by: Actor,
    at: datetime,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    payload: Mapping[str, Any] | None = None,
) -> Order:
    """One move of a locked order. Raises InvalidOrderMove where the table has none."""
    check_move(order, act)
    order.state = MOVES[act][1]
    if order.state != State.HELD:
        order.decide_by = None
    order.save(update_fields=["state", "held_reason", "held_on", "held_at", "decide_by"])
    ledger.record(
        act=f"order.{act}",
        subject_kind="order",
        subject_id=order.pk,
        by=by,
        at=at,
        reason=reason,
        evidence=evidence,
    )
    event = EVENTS[order.state]
    due = {"decide_by": order.decide_by.isoformat()} if order.decide_by else {}
    told = {"event": event, "order_id": order.pk} | due | dict(payload or {})
    outbox.announce(event=event, payload=told, at=at)
    return order
