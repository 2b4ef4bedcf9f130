"""Carts: what a shopper wants, and whether each of it can be bought now.

One function, `find_obstacles`, says why a line cannot be bought. The cart page, the start of a checkout and
the sale under its fence all ask it, so that no page shows as available what the sale then refuses for another
rule.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from django.conf import settings

from authorization import decisions
from authorization.decisions import Answer, DecisionUnavailable
from authorization.rules import REASON_CODES
from catalog.listings import content_hash
from catalog.models import Channel, ListingHost, OfferState, Stock
from catalog.selectors import Judged
from storefront import plans
from storefront.models import Cart, CartLine, PrepaidPlan

logger = structlog.get_logger(__name__)

# What the shop itself may have against a line, beside the reasons of a decision: code -> shopper text, in
# order.
SHOP_REASONS: dict[str, str] = {
    "NOT_DECIDED": "We cannot check just now whether we may sell this phone. Please try again in a minute.",
    "NOT_SOLD_HERE": "This phone is not sold in this shop.",
    "OFFER_NOT_LIVE": "We are not able to sell this phone at the moment.",
    "OFFER_CHANGED": "The seller changed this offer. Please look at it again before you buy it.",
    "PRICE_CHANGED": "The price has changed since you put this in your cart. Please accept the new price.",
    "CURRENCIES_DIFFER": "This phone is priced in another currency than your cart. Please buy it on its own.",
    "PLAN_NOT_ON_SALE": "The plan chosen with this phone is no longer sold. Please choose another one.",
    "PLAN_DOES_NOT_FIT": (
        "The plan chosen with this phone does not work on it. Please choose another plan, or the phone only."
    ),
    "OUT_OF_STOCK": "There are not enough of this phone left.",
}


class CartRefused(Exception):
    """The line was not put in the cart; the cart is as it was. The message is for the shopper."""

    def __init__(self, message: str, reason_codes: Sequence[str]) -> None:
        super().__init__(message)
        self.message = message
        self.reason_codes = list(reason_codes)


@dataclass(frozen=True)
class Obstacle:
    reason_codes: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class CartLineView:
    line: CartLine
    is_available: bool
    message: str
    # None when it could not be decided.
    answer: Answer | None
    # Of a line with a plan, what the phone can do; None without a plan, or where that is not on record.
    judged: Judged | None


@dataclass(frozen=True)
class CartView:
    """`total_amount` counts the available lines only, and only they are bought; the others stay in the cart."""

    lines: list[CartLineView]
    total_amount: Decimal
    currency: str

    @property
    def available(self) -> list[CartLine]:
        return [view.line for view in self.lines if view.is_available]

    @property
    def can_check_out(self) -> bool:
        return bool(self.available)


# --- acts ---------------------------------------------------------------------------------------------------


def add_to_cart(
    *, cart: Cart, offer: ListingHost, plan: PrepaidPlan | None, quantity: int, at: datetime
) -> CartLine:
    """Put an offer, or more of it, in the cart at today's price. Raises CartRefused if it may not be."""
    present = CartLine.objects.filter(cart=cart, offer=offer).first()
    wanted = quantity + (present.quantity if present else 0)
    return _keep_line(cart=cart, offer=offer, plan=plan, quantity=wanted, at=at)


def change_line(*, line: CartLine, plan: PrepaidPlan | None, quantity: int, at: datetime) -> CartLine:
    """Another quantity or plan; the line takes today's prices, so this also accepts a new price."""
    return _keep_line(cart=line.cart, offer=line.offer, plan=plan, quantity=quantity, at=at)


def remove_from_cart(*, line: CartLine) -> None:
    CartLine.objects.filter(pk=line.pk).delete()


def _keep_line(
    *, cart: Cart, offer: ListingHost, plan: PrepaidPlan | None, quantity: int, at: datetime
) -> CartLine:
    if quantity < 1:
        raise CartRefused("Please take at least one.", ["QUANTITY"])
    # Read afresh: the caller's copy may be as old as the page.
    offer = ListingHost.objects.select_related("listing__variant__device", "listing__stock", "host").get(
        pk=offer.pk
    )
    terms = {
        "plan": plan,
        "quantity": quantity,
        "price_amount": offer.listing.price_amount,
        "price_currency": offer.listing.price_currency,
        "plan_price_amount": plan.price_amount if plan else None,
        "added_at": at,
    }
    line = CartLine(cart=cart, offer=offer, **terms)
    _check_plan(line)
    _check_one_currency(line)
    obstacle = find_obstacles([line], decide_lines([line], at=at), at=at)[0]
    if obstacle:
        raise CartRefused(obstacle.message, obstacle.reason_codes)
    return CartLine.objects.update_or_create(cart=cart, offer=offer, defaults=terms)[0]


def _check_plan(line: CartLine) -> None:
    if line.plan is not None and line.plan.hosting.host_id != line.offer.host_id:
        raise CartRefused(
            f"The plan {line.plan.name} does not run on {line.offer.host.name}. Please choose one that does.",
            ["PLAN_OF_OTHER_HOST"],
        )


def _check_one_currency(line: CartLine) -> None:
    currencies = set(line.cart.lines.exclude(offer=line.offer).values_list("price_currency", flat=True))
    if line.plan is not None:
        currencies.add(line.plan.price_currency)
    if currencies - {line.price_currency}:
        raise CartRefused(
            f"This phone is priced in {line.price_currency} and something beside it in another currency. "
            "Please buy them one after the other.",
            ["CURRENCIES_DIFFER"],
        )


# --- reading ------------------------------------------------------------------------------------------------


def view_cart(cart: Cart, *, at: datetime) -> CartView:
    """What the shopper sees. Every line is decided now; nothing is remembered from the last look."""
    lines = load_lines(cart)
    answers = decide_lines(lines, at=at)
    judged = plans.judged_with_plans(lines, at=at)
    obstacles = find_obstacles(lines, answers, at=at, judged=judged)
    views = [
        CartLineView(
            line,
            obstacle is None,
            obstacle.message if obstacle else "",
            answer,
            plans.judged_of(line, judged),
        )
        for line, answer, obstacle in zip(lines, answers, obstacles, strict=True)
    ]
    available = [view.line for view in views if view.is_available]
    return CartView(
        lines=views,
        total_amount=total_of(available),
        currency=next((line.price_currency for line in [*available, *lines]), ""),
    )


def load_lines(cart: Cart) -> list[CartLine]:
    """The lines with all that deciding, pricing and selling them reads, in one query."""
    return list(
        cart.lines.select_related(
            "cart",
            "offer__host",
            "offer__listing__vendor",
            "offer__listing__variant__device",
            "offer__listing__stock",
            "plan__hosting",
        ).order_by("id")
    )


def total_of(lines: Iterable[CartLine]) -> Decimal:
    """A plan is bought with each phone of its line."""
    return sum(
        (line.quantity * (line.price_amount + (line.plan_price_amount or 0)) for line in lines),
        start=Decimal("0.00"),
    )


def decide_lines(lines: Sequence[CartLine], *, at: datetime) -> list[Answer | None]:
    """An answer per line, or None for all when it cannot be decided: that is no leave to sell."""
    try:
        return list(decisions.decide_offers([line.offer for line in lines], at=at))
    except DecisionUnavailable as error:
        logger.warning("cart.not_decided", error=str(error))
        return [None] * len(lines)


def find_obstacles(
    lines: Sequence[CartLine],
    answers: Sequence[Answer | None],
    *,
    at: datetime,
    judged: Mapping[tuple[int, int], Judged] | None = None,
) -> list[Obstacle | None]:
    """Per line: why it cannot be bought at this instant, or None. `judged`: of plans.judged_with_plans, if at hand.

    What lines share is judged among those that nothing else keeps from being bought, so that a line that fell takes
    nothing from the rest: the stock of a listing, and the one currency of a payment, that of the first of them (two
    tabs may each have filled an empty cart).
    """
    sold_plans = plans.sold_of([line.plan for line in lines], at=at)
    if judged is None:
        judged = plans.judged_with_plans(lines, at=at)
    own = [
        _own_codes(
            line,
            answer,
            is_plan_sold=line.plan_id is None or line.plan_id in sold_plans,
            is_plan_fit=plans.fits(line, judged),
            at=at,
        )
        for line, answer in zip(lines, answers, strict=True)
    ]
    rest = [line for line, codes in zip(lines, own, strict=True) if not codes]
    currency = rest[0].price_currency if rest else ""
    wanted: defaultdict[int, int] = defaultdict(int)
    for line in rest:
        if line.price_currency == currency:
            wanted[line.offer.listing_id] += line.quantity
    return [
        _obstacle(line, codes or _shared_codes(line, currency, wanted[line.offer.listing_id]))
        for line, codes in zip(lines, own, strict=True)
    ]


def _own_codes(
    line: CartLine, answer: Answer | None, *, is_plan_sold: bool, is_plan_fit: bool, at: datetime
) -> list[str]:
    codes = _decision_codes(answer, at)
    codes += _offer_codes(line.offer, answer)
    if not _is_price_same(line):
        codes.append("PRICE_CHANGED")
    if not is_plan_sold:
        codes.append("PLAN_NOT_ON_SALE")
    if not is_plan_fit:
        codes.append("PLAN_DOES_NOT_FIT")
    if line.quantity > _on_hand(line.offer):
        codes.append("OUT_OF_STOCK")
    return codes


def _shared_codes(line: CartLine, currency: str, wanted: int) -> list[str]:
    if line.price_currency != currency:
        return ["CURRENCIES_DIFFER"]
    return ["OUT_OF_STOCK"] if wanted > _on_hand(line.offer) else []


def _obstacle(line: CartLine, codes: Sequence[str]) -> Obstacle | None:
    return Obstacle(tuple(codes), _shopper_text(codes[0], _on_hand(line.offer))) if codes else None


def _decision_codes(answer: Answer | None, at: datetime) -> list[str]:
    if answer is None or answer.outcome == "undetermined" or at >= answer.expires_at:
        return ["NOT_DECIDED"]
    # A denial always has reasons; should one come without, it is still no allow.
    return [] if answer.is_allowed else answer.reason_codes or ["NOT_DECIDED"]


def _offer_codes(offer: ListingHost, answer: Answer | None) -> list[str]:
    listing = offer.listing
    codes = []
    if listing.channel != Channel.WEB or listing.territory != settings.SHOP_TERRITORY:
        # The answer is about the listing's channel and territory, and this shop sells in one of each.
        codes.append("NOT_SOLD_HERE")
    if offer.state != OfferState.LIVE or offer.cleared_hash != offer.content_hash:
        codes.append("OFFER_NOT_LIVE")
    elif answer is not None and _hash_of(answer) != offer.content_hash:
        # It was edited and cleared again since the question was asked: the answer is about another phone.
        codes.append("OFFER_CHANGED")
    return codes


def _is_price_same(line: CartLine) -> bool:
    listing, plan = line.offer.listing, line.plan
    seen = (line.price_amount, line.price_currency)
    if plan is None:
        return seen == (listing.price_amount, listing.price_currency)
    now = (listing.price_amount, listing.price_currency, plan.price_amount, plan.price_currency)
    return (*seen, line.plan_price_amount, line.price_currency) == now


def _hash_of(answer: Answer) -> str:
    question = answer.question
    return content_hash(
        variant_id=question.variant_id,
        host_id=question.host_id,
        territory=question.territory,
        channel=question.channel,
        condition=question.condition,
        software=question.software,
    )


def _on_hand(offer: ListingHost) -> int:
    try:
        return offer.listing.stock.on_hand
    except Stock.DoesNotExist:
        return 0


def _shopper_text(code: str, on_hand: int) -> str:
    if code == "OUT_OF_STOCK" and on_hand:
        return f"Only {on_hand} of this phone left; please take fewer."
    return SHOP_REASONS.get(code) or REASON_CODES[code].shopper_text
