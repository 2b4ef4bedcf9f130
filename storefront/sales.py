"""The sale: the one transaction in which an offer is sold, under the fence.

Everything slow is behind us here: the answers are given, the money is reserved. Inside, nothing is believed
that could have changed: the revision, the instant, the offers, prices and stock are read again. The rules are
those of docs/the-sale.md; locks are taken in the order payment intent, fence, offers by id, stock by id.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, connection, transaction
from django.db.models import F

from authorization import clock, decisions, fence, ledger
from authorization.actors import Actor
from authorization.decisions import Answer, DecisionUnavailable
from catalog.models import ListingHost, Stock
from storefront import carts, fulfilment, payments
from storefront.carts import SHOP_REASONS, Obstacle
from storefront.models import CartLine, Order, OrderLine, PaymentIntent

logger = structlog.get_logger(__name__)

# PostgreSQL ends whoever dawdles under the fence. Most often it was the wait for another buyer: worth another
# try.
TRIES = 3


class SaleRefused(Exception):
    """Nothing was sold. `lines` says which lines stood in the way, where it was lines."""

    def __init__(
        self, message: str, reason_codes: Sequence[str], lines: Sequence[tuple[CartLine, Obstacle]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason_codes = list(reason_codes)
        self.lines = list(lines)


@dataclass(frozen=True)
class Buyer:
    name: str
    email: str
    ship_to: str


def sell(
    *,
    intent: PaymentIntent,
    lines: Sequence[CartLine],
    answers: Sequence[Answer | None],
    buyer: Buyer,
    by: Actor,
) -> Order:
    """Sell exactly these lines, or nothing. For an intent that is sold already, returns its order."""
    for attempt in range(1, TRIES + 1):
        try:
            with transaction.atomic():
                return _sell_under_fence(intent=intent, lines=lines, answers=answers, buyer=buyer, by=by)
        # PostgreSQL ends who pauses under the fence: psycopg calls that an InternalError.
        except (OperationalError, InterfaceError, InternalError, DecisionUnavailable) as error:
            logger.warning("sale.interrupted", attempt=attempt, error=f"{type(error).__name__}: {error}")
            # The database may have ended this session; the next try needs one.
            connection.close_if_unusable_or_obsolete()
    raise SaleRefused(
        "Too many people are buying at this moment. Nothing was charged; please try again.", ["SHOP_BUSY"]
    )


def refuse_obstacles(lines: Sequence[CartLine], obstacles: Sequence[Obstacle | None]) -> None:
    """Raises SaleRefused if there is any."""
    refused = [(line, obstacle) for line, obstacle in zip(lines, obstacles, strict=True) if obstacle]
    if refused:
        codes = dict.fromkeys(code for _, obstacle in refused for code in obstacle.reason_codes)
        messages = dict.fromkeys(
            f"{line.offer.listing.variant.device}: {obstacle.message}" for line, obstacle in refused
        )
        raise SaleRefused(" ".join(messages), list(codes), refused)


def _sell_under_fence(
    *,
    intent: PaymentIntent,
    lines: Sequence[CartLine],
    answers: Sequence[Answer | None],
    buyer: Buyer,
    by: Actor,
) -> Order:
    # The idempotency key: of two requests with one checkout key, the second waits here and finds the order.
    intent = PaymentIntent.objects.select_for_update(no_key=True).get(pk=intent.pk)
    sold = Order.objects.filter(intent=intent).first()
    if sold is not None:
        return sold
    counter = fence.shared()
    # Never before the newest change of authority: a host whose clock is behind would otherwise sell for a while on
    # an agreement that another host has revoked.
    _, at = decisions.present(clock.now())
    if intent.state != PaymentIntent.State.AUTHORIZED:
        raise SaleRefused(
            "This checkout took too long or was ended. Nothing was charged; please open it again.",
            ["CHECKOUT_ENDED"],
        )
    fresh = _reread(intent, lines)
    current = _current_answers(fresh, answers, counter=counter, at=at)
    refuse_obstacles(fresh, carts.find_obstacles(fresh, current, at=at))
    order = Order.objects.create(
        intent=intent,
        buyer_name=buyer.name,
        buyer_email=buyer.email,
        ship_to=buyer.ship_to,
        total_amount=intent.amount,
        total_currency=intent.currency,
        sold_at=at,
        revision=counter,
        transaction_id=fence.transaction_id(),
    )
    _write_lines(order, fresh, current)
    _announce(order, fresh, counter=counter, by=by, at=at)
    CartLine.objects.filter(pk__in=[line.pk for line in fresh]).delete()
    # Last: the buyers of this listing on other hosts wait for its stock from here until commit.
    _take_stock(fresh)
    return order


def _reread(intent: PaymentIntent, lines: Sequence[CartLine]) -> list[CartLine]:
    """These lines as they are now, their offers locked: the fence keeps authority still, but not a vendor's edit.

    Locked first and read after, in a statement of its own: a row that was waited for is read in its new
    state, the rows joined to it would not be.
    """
    offer_ids = [line.offer_id for line in lines]
    list(
        ListingHost.objects.filter(pk__in=offer_ids)
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    )
    # Of the cart, only what is being bought: the rest of it stays.
    ids = {line.pk for line in lines}
    fresh = [line for line in carts.load_lines(lines[0].cart) if line.pk in ids]
    is_same = [line.pk for line in fresh] == [line.pk for line in lines]
    paid_for = (intent.amount, {intent.currency})
    if not is_same or (carts.total_of(fresh), {line.price_currency for line in fresh}) != paid_for:
        raise SaleRefused(
            "Your cart changed while you were paying. Nothing was charged; please look at it again.",
            ["CART_CHANGED"],
        )
    return fresh


def _current_answers(
    lines: Sequence[CartLine], answers: Sequence[Answer | None], *, counter: int, at: datetime
) -> list[Answer]:
    """The answers given before the fence, if nothing changed since and none has run out; else new ones."""
    # About the same maker: the rows may have been read before the revision whose stamp the answers bear. What the
    # vendor edited since is refused by itself.
    current = [
        answer
        for line, answer in zip(lines, answers, strict=True)
        if answer is not None
        and answer.revision == counter
        and answer.valid_at <= at < answer.expires_at
        and answer.is_about(line.offer)
    ]
    if len(current) == len(lines):
        return current
    return decisions.decide_offers([line.offer for line in lines], at=at)


def _take_stock(lines: Sequence[CartLine]) -> None:
    wanted: Counter[int] = Counter()
    for line in lines:
        wanted[line.offer.listing.stock.pk] += line.quantity
    for stock_id in sorted(wanted):
        count = wanted[stock_id]
        # The condition is judged on the row as it is when its lock is ours: no unit is sold twice.
        if not Stock.objects.filter(pk=stock_id, on_hand__gte=count).update(on_hand=F("on_hand") - count):
            short = Obstacle(("OUT_OF_STOCK",), SHOP_REASONS["OUT_OF_STOCK"])
            refuse_obstacles(
                lines, [short if line.offer.listing.stock.pk == stock_id else None for line in lines]
            )


def _write_lines(order: Order, lines: Sequence[CartLine], answers: Sequence[Answer]) -> None:
    pairs = zip(answers, (line.offer for line in lines), strict=True)
    kept = decisions.record_decisions(pairs)
    OrderLine.objects.bulk_create(
        [
            OrderLine(
                order=order,
                offer=line.offer,
                listing=line.offer.listing,
                vendor=line.offer.listing.vendor,
                plan=line.plan,
                decision=decision,
                quantity=line.quantity,
                price_amount=line.price_amount,
                price_currency=line.price_currency,
                plan_price_amount=line.plan_price_amount,
            )
            for line, decision in zip(lines, kept, strict=True)
        ]
    )


def _announce(order: Order, lines: Sequence[CartLine], *, counter: int, by: Actor, at: datetime) -> None:
    ledger.record(
        act="order.placed",
        subject_kind="order",
        subject_id=order.pk,
        by=by,
        at=at,
        evidence={
            "total": f"{order.total_amount} {order.total_currency}",
            "offers": [line.offer_id for line in lines],
            "transaction_id": order.transaction_id,
        },
        revision=counter,
    )
    vendor_ids = list(dict.fromkeys(line.offer.listing.vendor_id for line in lines))
    moved = [line.offer.listing for line in lines]
    fulfilment.tell_vendors(order, vendor_ids, event="order.placed", state=order.state, at=at, moved=moved)
    due_at = at + timedelta(seconds=settings.CAPTURE_DELAY_S)
    payments.announce_capture(intent_id=order.intent_id, at=at, due_at=due_at)
