"""Held orders wait for the desk: which do, by when they are to be decided, and what happens when nobody did."""

from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from authorization import ledger, outbox
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry
from storefront import orders, payments
from storefront.models import Order

logger = structlog.get_logger(__name__)

OVERDUE = "order.overdue"


def waiting() -> QuerySet[Order]:
    """Held orders, the most urgent first. One that was held without a deadline is the most urgent of all."""
    return Order.objects.filter(state=Order.State.HELD).order_by("decide_by", "id")


def overdue(*, at: datetime) -> QuerySet[Order]:
    return waiting().filter(decide_by__lte=at)


def call_for_decision(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of order.decision_due: nobody decided in time. Nothing happens where somebody did.

    The alarm stands in the ledger once; where the shop says so, the order is then refunded.
    """
    with transaction.atomic():
        # Intent before order, as everywhere.
        payments.lock_intent(Order.objects.get(pk=payload["order_id"]).intent_id)
        order = orders.lock_order(payload["order_id"])
        decide_by = order.decide_by
        if order.state != Order.State.HELD or decide_by != datetime.fromisoformat(payload["decide_by"]):
            # Decided; perhaps held again since, with a deadline of its own.
            return
        if not _is_alarmed(order, decide_by):
            _alarm(order, decide_by, at=at)
        if settings.HELD_ORDER_REFUND_WHEN_OVERDUE:
            reason = f"Nobody decided by {decide_by:%Y-%m-%d %H:%M} UTC."
            orders.refund_order(order=order, by=SYSTEM, at=at, reason=reason)


def _is_alarmed(order: Order, decide_by: datetime) -> bool:
    entries = LedgerEntry.objects.filter(subject_kind="order", subject_id=str(order.pk), act=OVERDUE)
    return any(entry.evidence["decide_by"] == decide_by.isoformat() for entry in entries)


def _alarm(order: Order, decide_by: datetime, *, at: datetime) -> None:
    ledger.record(
        act=OVERDUE,
        subject_kind="order",
        subject_id=order.pk,
        by=SYSTEM,
        at=at,
        reason=f"Held, and not decided in time: {order.held_reason}",
        evidence={"decide_by": decide_by.isoformat()},
    )
    if not settings.HELD_ORDER_REFUND_WHEN_OVERDUE:
        outbox.announce(event=OVERDUE, payload={"event": OVERDUE, "order_id": order.pk}, at=at)
    # Before the commit: an alarm that is given twice is better than none.
    logger.error(OVERDUE, order_id=order.pk, decide_by=decide_by.isoformat(), held_reason=order.held_reason)
