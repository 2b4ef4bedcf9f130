"""Money: a client of the payment provider, and what the shop knows of each payment.

An intent is committed before the provider is asked, so no money can be reserved that nobody knows of. The
provider is asked outside any transaction, by the intent's id, as often as need be: it answers the same. Money
moves at most once from reserved to taken, and goes back whenever no order stands on it.

What is given back in part is written down first (`refunded_amount`). A capture that comes after takes so much less;
of what was taken already, or was being taken meanwhile, the provider is told what it is to have given back in all.
Said twice, late or out of order that changes nothing: the total only grows.
"""

import functools
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import structlog
from django.conf import settings
from django.db import transaction

from authorization import fence, ledger, outbox, stores
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry
from storefront import test_payments
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
    captured: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)

    @property
    def is_taken(self) -> bool:
        return self.status in ("captured", "refunded")


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
        intent = lock_intent(intent_id)
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
    intent = lock_intent(intent_id)
    if intent.state in (State.AUTHORIZED, State.CAPTURED):
        intent.refunded_amount = intent.amount
        intent.save(update_fields=["refunded_amount"])
        _give_up(intent, at)


def give_back_part(*, intent_id: UUID, amount: Decimal, at: datetime) -> None:
    """For a refund of a part, in its transaction: so much less is kept of this payment.

    What is only reserved needs no word to the provider: the capture takes less.
    """
    intent = lock_intent(intent_id)
    if intent.state not in (State.AUTHORIZED, State.CAPTURED) or not 0 < amount < kept_of(intent):
        raise ValueError(f"{amount} cannot be given back of {intent}.")
    intent.refunded_amount += amount
    # `updated_at` stays: pages say by it when the card was charged.
    intent.save(update_fields=["refunded_amount"])
    if intent.state == State.CAPTURED:
        _announce_refund(intent, at)


def kept_of(intent: PaymentIntent) -> Decimal:
    """What the shop keeps, or will take, of this payment."""
    return intent.amount - intent.refunded_amount


def announce_capture(*, intent_id: UUID, at: datetime, due_at: datetime) -> None:
    outbox.announce(event="payment.capture_due", payload={"intent_id": str(intent_id)}, at=at, due_at=due_at)


def _announce_refund(intent: PaymentIntent, at: datetime) -> None:
    outbox.announce(event="payment.refund_due", payload={"intent_id": str(intent.pk)}, at=at)


def _give_up(intent: PaymentIntent, at: datetime) -> None:
    intent.state = State.VOIDING
    intent.updated_at = at
    intent.save(update_fields=["state", "updated_at"])
    outbox.announce(event="payment.void_due", payload={"intent_id": str(intent.pk)}, at=at)


def capture_payment(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Take the reserved money. Passed over while the order is held: its release announces it again."""
    intent = PaymentIntent.objects.select_related("order").get(pk=payload["intent_id"])
    if intent.state != State.AUTHORIZED or intent.order.state == Order.State.REFUNDED:
        return
    if intent.order.state == Order.State.HELD:
        # Yet an attempt before the hold may have taken it and died: then the books say so, and nobody tells the
        # buyer that nothing is charged.
        _write_down_if_taken(intent, at=at)
        return
    try:
        answer = _ask(
            "POST", f"/authorizations/{intent.provider_id}/capture", json={"amount": _said(kept_of(intent))}
        )
    except ProviderConflict:
        # Taken before, perhaps in another amount, by an attempt that died. Or given back meanwhile: then somebody
        # gave it up. Otherwise it is a fault, and tried again.
        if not _write_down_if_taken(intent, at=at):
            intent.refresh_from_db(fields=["state"])
            if intent.state == State.AUTHORIZED:
                raise
        return
    _record_capture(intent.pk, taken=_authorization(answer).captured, at=at)


def _write_down_if_taken(intent: PaymentIntent, *, at: datetime) -> bool:
    authorization = find_authorization(intent.pk)
    if authorization is None or not authorization.is_taken:
        return False
    _record_capture(intent.pk, taken=authorization.captured, at=at)
    return True


def _record_capture(intent_id: UUID, *, taken: Decimal, at: datetime) -> None:
    """Write down what was taken. What was given back while the provider took it is taken too much: it goes back."""
    with transaction.atomic():
        intent = lock_intent(intent_id)
        if intent.state != State.AUTHORIZED:
            return
        intent.state = State.CAPTURED
        intent.updated_at = at
        intent.save(update_fields=["state", "updated_at"])
        _record_money(f"payment.{State.CAPTURED}", intent, taken, at=at)
        if taken > kept_of(intent):
            _announce_refund(intent, at)


def refund_payment(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Pay back what was taken beyond what is kept. A payment that is given up whole is left to `void_payment`."""
    intent = PaymentIntent.objects.get(pk=payload["intent_id"])
    if intent.state != State.CAPTURED:
        return
    authorization = find_authorization(intent.pk)
    if authorization is None or not authorization.is_taken:
        raise ProviderConflict("not_captured", f"The provider does not know that {intent.pk} was captured.")
    total = authorization.captured - kept_of(intent)
    if total <= 0:
        return
    if total > authorization.refunded:
        _ask("POST", f"/authorizations/{authorization.id}/refund", json={"total": _said(total)})
    act = "payment.partly_refunded"
    with transaction.atomic():
        lock_intent(intent.pk)
        known = LedgerEntry.objects.filter(subject_kind="payment", subject_id=str(intent.pk), act=act)
        # The total only grows; one that is written down, or a larger one, need not be written again.
        if all(Decimal(entry.evidence["amount"]) < total for entry in known):
            _record_money(act, intent, total, at=at)


def void_payment(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Give back what a given-up intent has reserved or taken. The provider is asked what that is."""
    intent = PaymentIntent.objects.get(pk=payload["intent_id"])
    if intent.state != State.VOIDING:
        return
    authorization = find_authorization(intent.pk)
    if authorization is None or authorization.status in ("declined", "voided"):
        _finish(intent.pk, to_state=State.VOIDED, at=at)
    elif authorization.status == "authorized":
        _ask("POST", f"/authorizations/{authorization.id}/void")
        _finish(intent.pk, to_state=State.VOIDED, at=at)
    else:
        total = {"total": _said(authorization.captured)}
        _ask("POST", f"/authorizations/{authorization.id}/refund", json=total)
        _finish(intent.pk, to_state=State.REFUNDED, at=at, amount=authorization.captured)


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
            intent = lock_intent(intent_id)
            if intent.state in (State.CREATED, State.AUTHORIZED) and not is_sold(intent):
                give_up_unsold(intent=intent, at=at)
                given_up += 1
    return given_up


def is_sold(intent: PaymentIntent) -> bool:
    return Order.objects.filter(intent=intent).exists()


def _finish(intent_id: UUID, *, to_state: str, at: datetime, amount: Decimal | None = None) -> None:
    with transaction.atomic():
        intent = lock_intent(intent_id)
        if intent.state != State.VOIDING:
            return
        intent.state = to_state
        intent.updated_at = at
        intent.save(update_fields=["state", "updated_at"])
        _record_money(f"payment.{to_state}", intent, intent.amount if amount is None else amount, at=at)


def _record_money(act: str, intent: PaymentIntent, amount: Decimal, *, at: datetime) -> None:
    ledger.record(
        act=act,
        subject_kind="payment",
        subject_id=intent.pk,
        by=SYSTEM,
        at=at,
        evidence={"amount": _said(amount), "currency": intent.currency},
    )


def _said(amount: Decimal) -> str:
    return f"{amount:.2f}"


def lock_intent(intent_id: UUID) -> PaymentIntent:
    """The payment, kept from changing until commit. Taken before the fence and the order, as the sale does."""
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
                "amount": _said(intent.amount),
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
            captured=Decimal(str(fields["captured_amount"])),
            refunded=Decimal(str(fields["refunded_amount"])),
        )
    except (KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise ProviderUnreachable("The provider's answer is no authorization.") from error
    if authorization.status not in STATUSES:
        raise ProviderUnreachable(f"The provider's status {authorization.status[:40]!r} is not known.")
    return authorization


def _ask(method: str, path: str, **request: Any) -> dict[str, Any]:
    fence.refuse_inside("call of the payment provider")
    if stores.is_test():
        return test_payments.answer(method, path, request)
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
