"""Money: a client of the payment provider, and what the shop knows of each payment.

An intent is committed before the provider is asked, so no money can be reserved that nobody knows of. The
provider is asked outside any transaction, by the intent's id, as often as need be: it answers the same. Money
moves at most once from reserved to taken, and goes back whenever no order stands on it.
"""

import functools
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import structlog
from django.conf import settings
from django.db import transaction

from authorization import fence, ledger, outbox
from authorization.actors import SYSTEM
from storefront.models import Cart, Order, PaymentIntent

logger = structlog.get_logger(__name__)

TIMEOUT = httpx.Timeout(10.0, connect=2.0)
_ONE_MAKES_IT = threading.Lock()
# A checkout takes seconds. What is older and has no order was left behind by a crash.
ORPHAN_AGE = timedelta(minutes=15)
ORPHANS_PER_RUN = 500

State = PaymentIntent.State

# All that the provider says of an authorization. What it does not know is no answer.
STATUSES = frozenset({"authorized", "declined", "captured", "voided", "refunded"})
# What becomes of a new intent: provider's status -> state. Any other leaves it as it is: no sale comes of it.
ANSWERED: dict[str, str] = {"authorized": State.AUTHORIZED, "declined": State.DECLINED}


class PaymentRefused(Exception):
    """No money was reserved for this sale. The message is for the shopper."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ProviderUnreachable(Exception):
    """No answer, or none that makes sense: what the provider did is not known. Ask again later."""


class ProviderConflict(Exception):
    """The provider refused: the request does not fit what it knows. `code` is the provider's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class CardDetails:
    """Passed on to the provider, never stored or logged."""

    number: str = field(repr=False)

    @property
    def digits(self) -> str:
        return re.sub(r"[\s-]", "", self.number)

    def check(self) -> None:
        if not re.fullmatch("[0-9]{12,19}", self.digits):
            raise PaymentRefused(
                "CARD_INVALID", "A card number has 12 to 19 digits. Please check the card number."
            )
        if not _passes_luhn(self.digits):
            raise PaymentRefused(
                "CARD_INVALID", "This card number has a typing error. Please check its digits."
            )


@dataclass(frozen=True)
class Authorization:
    """What the provider says of one intent."""

    id: str
    status: str
    decline_reason: str


# --- the way in ---------------------------------------------------------------------------------------------


def open_intent(
    *, checkout_key: UUID, cart: Cart, amount: Decimal, currency: str, at: datetime
) -> PaymentIntent:
    """The one intent of this checkout key, committed. Raises PaymentRefused for a used-up key."""
    fence.refuse_inside("opening of a payment")
    intent, _ = PaymentIntent.objects.get_or_create(
        checkout_key=checkout_key,
        defaults={
            "cart_id": cart.pk,
            "amount": amount,
            "currency": currency,
            "created_at": at,
            "updated_at": at,
        },
    )
    if intent.state == State.DECLINED:
        raise _declined(intent.decline_reason)
    if intent.cart_id != cart.pk or intent.state not in (State.CREATED, State.AUTHORIZED):
        raise PaymentRefused(
            "CHECKOUT_ENDED", "This checkout has ended. Please open the checkout again from your cart."
        )
    if (intent.amount, intent.currency) != (amount, currency):
        raise PaymentRefused(
            "CART_CHANGED", "Your cart has changed since this checkout began. Please open the checkout again."
        )
    return intent


def authorize(*, intent: PaymentIntent, card: CardDetails, at: datetime) -> None:
    """Have the money reserved, or raise PaymentRefused. If nobody knows, it stays for `void_orphans`."""
    try:
        authorization = _ask_authorization(intent, card)
    except ProviderUnreachable as error:
        logger.warning("payment.provider_unreachable", intent_id=str(intent.pk), error=str(error))
        raise PaymentRefused(
            "PAYMENT_UNAVAILABLE",
            "The payment provider does not answer. Nothing was bought; should money be reserved on your "
            "card, it is released within the hour. Please try again in a few minutes.",
        ) from error
    except ProviderConflict as error:
        logger.warning("payment.provider_refused", intent_id=str(intent.pk), error=str(error))
        if error.code == "intent_conflict":
            raise PaymentRefused(
                "CHECKOUT_ENDED", "This checkout was begun with another card. Please open the checkout again."
            ) from error
        raise PaymentRefused(
            "CARD_INVALID", "The payment provider does not accept this card. Please try another one."
        ) from error
    record_authorization(intent_id=intent.pk, authorization=authorization, at=at)
    if authorization.status == "declined":
        raise _declined(authorization.decline_reason)


def record_authorization(*, intent_id: UUID, authorization: Authorization, at: datetime) -> None:
    """Write down what the provider answered. Said twice, or late, it changes nothing twice.

    Money that was reserved after we had given the payment up is given back.
    """
    with transaction.atomic():
        intent = _lock_intent(intent_id)
        if intent.provider_id == authorization.id:
            return
        if intent.state == State.CREATED and authorization.status not in ANSWERED:
            # Nothing is reserved that could be sold on. A later word of it may still count.
            return
        intent.provider_id = authorization.id
        intent.updated_at = at
        if intent.state == State.CREATED:
            intent.state = ANSWERED[authorization.status]
            intent.decline_reason = authorization.decline_reason[:200]
        intent.save(update_fields=["provider_id", "updated_at", "state", "decline_reason"])
        if intent.state in (State.VOIDING, State.VOIDED) and authorization.status == "authorized":
            _give_up(intent, at)


# --- the way out --------------------------------------------------------------------------------------------


def give_up_unsold(*, intent: PaymentIntent, at: datetime) -> None:
    """No sale comes of this intent: what is reserved goes back. The caller has locked it and saw no order."""
    if intent.state in (State.CREATED, State.AUTHORIZED):
        _give_up(intent, at)


def give_back(*, intent_id: UUID, at: datetime) -> None:
    """For a refund, in its transaction: what is reserved will be voided, what was taken paid back."""
    intent = _lock_intent(intent_id)
    if intent.state in (State.AUTHORIZED, State.CAPTURED):
        _give_up(intent, at)


def announce_capture(*, intent_id: UUID, at: datetime, due_at: datetime) -> None:
    outbox.announce(event="payment.capture_due", payload={"intent_id": str(intent_id)}, at=at, due_at=due_at)


def _give_up(intent: PaymentIntent, at: datetime) -> None:
    intent.state = State.VOIDING
    intent.updated_at = at
    intent.save(update_fields=["state", "updated_at"])
    outbox.announce(event="payment.void_due", payload={"intent_id": str(intent.pk)}, at=at)


def capture_payment(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Take the reserved money. Passed over while the order is held: its release announces it again."""
    intent = PaymentIntent.objects.select_related("order").get(pk=payload["intent_id"])
    if intent.state != State.AUTHORIZED or intent.order.state in (Order.State.HELD, Order.State.REFUNDED):
        return
    try:
        _ask("POST", f"/authorizations/{intent.provider_id}/capture")
    except ProviderConflict:
        # Given back meanwhile: then somebody gave it up. Otherwise it is a fault, and tried again.
        intent.refresh_from_db(fields=["state"])
        if intent.state == State.AUTHORIZED:
            raise
        return
    _finish(intent, from_state=State.AUTHORIZED, to_state=State.CAPTURED, at=at)


def void_payment(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Give back what a given-up intent has reserved or taken. The provider is asked what that is."""
    intent = PaymentIntent.objects.get(pk=payload["intent_id"])
    if intent.state != State.VOIDING:
        return
    authorization = find_authorization(intent.pk)
    if authorization is None or authorization.status in ("declined", "voided"):
        _finish(intent, from_state=State.VOIDING, to_state=State.VOIDED, at=at)
    elif authorization.status == "authorized":
        _ask("POST", f"/authorizations/{authorization.id}/void")
        _finish(intent, from_state=State.VOIDING, to_state=State.VOIDED, at=at)
    else:
        _ask("POST", f"/authorizations/{authorization.id}/refund")
        _finish(intent, from_state=State.VOIDING, to_state=State.REFUNDED, at=at)


def void_orphans(at: datetime) -> int:
    """Give up intents that a crash or a silent provider left without an order. Returns how many.

    The provider itself is asked by `void_payment`, which is tried again until it answers.
    """
    old = PaymentIntent.objects.filter(
        state__in=[State.CREATED, State.AUTHORIZED], created_at__lt=at - ORPHAN_AGE, order__isnull=True
    )
    given_up = 0
    for intent_id in list(old.order_by("created_at").values_list("pk", flat=True)[:ORPHANS_PER_RUN]):
        with transaction.atomic():
            # Locked, then looked at again: its checkout may have come to life meanwhile.
            intent = _lock_intent(intent_id)
            if intent.state in (State.CREATED, State.AUTHORIZED) and not is_sold(intent):
                give_up_unsold(intent=intent, at=at)
                given_up += 1
    return given_up


def is_sold(intent: PaymentIntent) -> bool:
    return Order.objects.filter(intent=intent).exists()


def _finish(intent: PaymentIntent, *, from_state: str, to_state: str, at: datetime) -> None:
    with transaction.atomic():
        finished = PaymentIntent.objects.filter(pk=intent.pk, state=from_state).update(
            state=to_state, updated_at=at
        )
        if finished:
            evidence = {"amount": str(intent.amount), "currency": intent.currency}
            ledger.record(
                act=f"payment.{to_state}",
                subject_kind="payment",
                subject_id=intent.pk,
                by=SYSTEM,
                at=at,
                evidence=evidence,
            )


def _lock_intent(intent_id: UUID) -> PaymentIntent:
    return PaymentIntent.objects.select_for_update(no_key=True).get(pk=intent_id)


def _declined(reason: str) -> PaymentRefused:
    said = f" ({reason})" if reason else ""
    return PaymentRefused(
        "CARD_DECLINED", f"Your card was declined{said}. Nothing was charged. Please try another card."
    )


# --- the provider's API -------------------------------------------------------------------------------------


def find_authorization(intent_id: UUID) -> Authorization | None:
    found = _ask("GET", "/authorizations", params={"intent_id": str(intent_id)}).get("authorizations")
    if not isinstance(found, list):
        raise ProviderUnreachable("The provider's answer has no list of authorizations.")
    return _authorization(found[0]) if found else None


def _ask_authorization(intent: PaymentIntent, card: CardDetails) -> Authorization:
    return _authorization(
        _ask(
            "POST",
            "/authorizations",
            json={
                "intent_id": str(intent.pk),
                "amount": f"{intent.amount:.2f}",
                "currency": intent.currency,
                "card_number": card.digits,
            },
        )
    )


def _authorization(fields: Any) -> Authorization:
    try:
        authorization = Authorization(
            id=str(fields["id"]),
            status=str(fields["status"]),
            decline_reason=str(fields.get("decline_reason", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ProviderUnreachable("The provider's answer is no authorization.") from error
    if authorization.status not in STATUSES:
        raise ProviderUnreachable(f"The provider's status {authorization.status[:40]!r} is not known.")
    return authorization


def _ask(method: str, path: str, **request: Any) -> dict[str, Any]:
    fence.refuse_inside("call of the payment provider")
    # The cache alone would let several threads that come first make a client each, and lose all but one
    # unclosed.
    with _ONE_MAKES_IT:
        client = _client(settings.PAYMENT_PROVIDER_URL, settings.PAYMENT_PROVIDER_KEY, os.getpid())
    try:
        response = client.request(method, path, timeout=TIMEOUT, **request)
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderUnreachable(f"{type(error).__name__} on {method} {path}") from error
    if not isinstance(answer, dict):
        raise ProviderUnreachable(f"No object in the answer to {method} {path}")
    if response.is_success:
        return answer
    said = answer.get("error")
    code, message = (
        (str(said.get(key, "")) for key in ("code", "message")) if isinstance(said, dict) else ("", "")
    )
    if response.status_code in (400, 404, 409, 422):
        raise ProviderConflict(code or str(response.status_code), message)
    # A key that is refused (401) is the shop's own fault; for the shopper it is the same as no answer.
    raise ProviderUnreachable(f"{response.status_code} {code} on {method} {path}")


@functools.lru_cache(maxsize=4)
def _client(url: str, key: str, process_id: int) -> httpx.Client:
    """One per process: making one reads all certificates, and connections do not survive a fork."""
    # A proxy that the environment names cannot reach a provider on this machine.
    is_local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=not is_local)


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
