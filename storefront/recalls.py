"""Recalls: goods were withdrawn for safety, so everybody who bought them is found and told, once.

The search goes through all orders in windows, each one row of work and one transaction: what it found, the messages
that are due for it, and the next window are committed together. What is done again finds what is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import batched, groupby
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from authorization import ledger, outbox
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry, OutboxRow, Reinstatement, Revocation
from storefront import fulfilment, goods, orders, safety
from storefront.messages import send_message
from storefront.models import Notice, Order, OrderLine, Recall, SentMessage

# Orders that one row of work looks at, and those that one row of work writes to.
WINDOW = 2000
ORDERS_PER_ROW = 25


# --- finding ------------------------------------------------------------------------------------------------


def find_recalls(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of authority.withdrawn: of goods withdrawn for safety, every unit ever sold is searched for."""
    revocation = Revocation.objects.get(pk=payload["revocation_id"])
    if safety.is_for_safety(revocation):
        with transaction.atomic():
            _announce_window(revocation, after_order_id=0, at=at)


def search_on(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of recall.search_due: one window of orders, oldest first."""
    revocation = Revocation.objects.select_related("fact").get(pk=payload["revocation_id"])
    if not safety.stands(revocation, at=at):
        return
    after = payload["after_order_id"]
    ids = Order.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
    # The window ends where its last order is; without one it is the last window, and open.
    last = ids[WINDOW - 1 : WINDOW].first()
    lines = sold_lines().filter(order_id__gt=after)
    if last is not None:
        lines = lines.filter(order_id__lte=last)
    with transaction.atomic():
        found = _find(revocation, lines, at=at)
        Recall.objects.bulk_create([Recall(revocation=revocation, line=line, found_at=at) for line in found])
        _hold_placed(found, revocation, at=at)
        for order_ids in batched(dict.fromkeys(line.order_id for line in found), ORDERS_PER_ROW):
            said = {"revocation_id": revocation.pk, "order_ids": list(order_ids)}
            _announce_once("recall.found", said, revocation, order_ids[0], at=at)
        if last is not None:
            _announce_window(revocation, after_order_id=last, at=at)
        else:
            _record_search(revocation, at=at)


def _hold_placed(found: Sequence[OrderLine], revocation: Revocation, *, at: datetime) -> None:
    """What is recalled and has not shipped does not ship, though another paper covers it."""
    placed = Order.objects.filter(pk__in={line.order_id for line in found}, state=Order.State.PLACED)
    for order in placed.order_by("pk"):
        # Shipped or held by somebody else meanwhile.
        with suppress(orders.InvalidOrderMove):
            orders.hold_order(
                order=order, reason=f"{revocation}. Recalled for safety.", by=SYSTEM, at=at, on=revocation
            )


def sold_lines() -> QuerySet[OrderLine]:
    """All lines of which a unit was not given back."""
    lines = OrderLine.objects.filter(refunded_quantity__lt=F("quantity"))
    lines = lines.exclude(order__state=Order.State.REFUNDED)
    return lines.select_related("decision").order_by("order_id", "id")


def _find(revocation: Revocation, lines: QuerySet[OrderLine], *, at: datetime) -> list[OrderLine]:
    """What the withdrawal names of these, without those that are known."""
    found = goods.named_by(revocation, at=at).among(lines)
    if not found:
        return []
    same = Recall.objects.filter(revocation=revocation)
    if revocation.kind == Revocation.Kind.EXEMPTION:
        # The end of an exemption: who was told when its hold was placed need not be told again.
        same = Recall.objects.filter(revocation__fact=revocation.fact)
    same = same.filter(line__order_id__gte=found[0].order_id, line__order_id__lte=found[-1].order_id)
    known = set(same.values_list("line_id", flat=True))
    return [line for line in found if line.pk not in known]


def _record_search(revocation: Revocation, *, at: datetime) -> None:
    recalls = Recall.objects.filter(revocation=revocation)
    found = {"orders": recalls.values("line__order_id").distinct().count(), "lines": recalls.count()}
    said = LedgerEntry.objects.filter(
        act="recall.searched", subject_kind="revocation", subject_id=str(revocation.pk)
    )
    # The last window, delivered again: the ledger says once what came of it.
    if found in said.values_list("evidence", flat=True):
        return
    ledger.record(
        act="recall.searched",
        subject_kind="revocation",
        subject_id=revocation.pk,
        by=SYSTEM,
        at=at,
        evidence=found,
    )


def _announce_window(revocation: Revocation, *, after_order_id: int, at: datetime) -> None:
    said = {"revocation_id": revocation.pk, "after_order_id": after_order_id}
    _announce_once("recall.search_due", said, revocation, after_order_id, at=at)


def _announce_once(
    event: str, payload: Mapping[str, Any], revocation: Revocation, place: int, *, at: datetime
) -> None:
    """Once for this place of this recall, whoever comes by again: a second search would write twice as much."""
    event_id = uuid5(NAMESPACE_OID, f"clearline:{event}:{revocation.pk}:{place}")
    if not OutboxRow.objects.filter(event_id=event_id).exists():
        outbox.announce(event=event, payload=payload, at=at, event_id=event_id)


# --- telling ------------------------------------------------------------------------------------------------


def tell_of_recalls(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of recall.found: one message to the buyer of each of these orders that has not been told."""
    revocation = Revocation.objects.get(pk=payload["revocation_id"])
    if not safety.stands(revocation, at=at):
        # Undone, or released, before they were told: there is nothing to warn of.
        _correct_late(revocation, payload["order_ids"], at=at)
        return
    untold = recalls_of(revocation, payload["order_ids"]).filter(told_at__isnull=True)
    notice = Notice.objects.filter(revocations=revocation, published_at__isnull=False).first()
    failures = []
    for order, found in _by_order(untold):
        if not safety.stands(revocation, at=at):
            break
        its = [recall for recall in found if recall.line.refunded_quantity < recall.line.quantity]
        if order.state == Order.State.REFUNDED or not its:
            continue
        try:
            send_message(
                event_id=_message_id("recall", revocation, order),
                kind="recall",
                recipient=order.buyer_name,
                address=order.buyer_email,
                subject=_subject(order, its),
                body=_body(order, its, notice),
                at=at,
                revocation_id=revocation.pk,
            )
        except OSError as error:
            # One address that refuses its mail must not keep the others from theirs.
            failures.append(error)
        else:
            Recall.objects.filter(pk__in=[recall.pk for recall in its]).update(told_at=at)
    if not safety.stands(revocation, at=at):
        # Undone while some were written to.
        _correct_late(revocation, payload["order_ids"], at=at)
    if failures:
        raise ExceptionGroup("Mail about recalls failed.", failures)


def _correct_late(revocation: Revocation, order_ids: Sequence[int], *, at: datetime) -> None:
    """Who was warned while it was undone as a mistake is told so: the round of the undo may have passed them."""
    if not revocation.reinstatements.filter(is_mistake=True, is_partial=False).exists():
        return
    recalls = recalls_of(revocation, order_ids)
    # A mail that was begun may have gone out, though whoever sent it did not live to say so.
    begun = {_message_id("recall", revocation, recall.line.order): recall.line.order_id for recall in recalls}
    sent = SentMessage.objects.filter(event_id__in=list(begun)).values_list("event_id", flat=True)
    untold = recalls.filter(told_at__isnull=True, line__order_id__in=[begun[event_id] for event_id in sent])
    Recall.objects.filter(pk__in=[recall.pk for recall in untold]).update(told_at=at)
    told = recalls.filter(told_at__isnull=False)
    first = told.values_list("line__order_id", flat=True).first()
    if first is not None:
        said = {"revocation_id": revocation.pk, "after_order_id": first - 1}
        with transaction.atomic():
            # Below zero: a place of its own, whatever places the round has.
            _announce_once("recall.taken_back", said, revocation, -first, at=at)


def take_back_recalls(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of authority.reinstated: who was warned by mistake is told so. A recall that is over is no mistake."""
    undone = Reinstatement.objects.select_related("revocation").get(pk=payload["reinstatement_id"])
    if undone.is_mistake and not undone.is_partial:
        with transaction.atomic():
            _announce_mistake(undone.revocation, after_order_id=0, at=at)


def tell_of_mistake(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of recall.taken_back: the next few of those who were told."""
    revocation = Revocation.objects.get(pk=payload["revocation_id"])
    told = Recall.objects.filter(revocation=revocation, told_at__isnull=False)
    ids = told.filter(line__order_id__gt=payload["after_order_id"]).order_by("line__order_id")
    order_ids = list(ids.values_list("line__order_id", flat=True).distinct()[:ORDERS_PER_ROW])
    if not order_ids:
        return
    with transaction.atomic():
        _announce_mistake(revocation, after_order_id=order_ids[-1], at=at)
    failures = []
    for order, _ in _by_order(recalls_of(revocation, order_ids)):
        try:
            send_message(
                event_id=_message_id("recall.mistake", revocation, order),
                kind="recall.mistake",
                recipient=order.buyer_name,
                address=order.buyer_email,
                subject=f"Your order {order.pk}: our safety warning was a mistake",
                body=_signed(
                    order,
                    f"we wrote to you that a phone of your order {order.pk} may not be safe. That was a mistake of "
                    "ours: it does not concern your phone, and you can use it as before. We are sorry.",
                ),
                at=at,
                revocation_id=revocation.pk,
            )
        except OSError as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("Mail about mistaken recalls failed.", failures)


def _announce_mistake(revocation: Revocation, *, after_order_id: int, at: datetime) -> None:
    said = {"revocation_id": revocation.pk, "after_order_id": after_order_id}
    _announce_once("recall.taken_back", said, revocation, after_order_id, at=at)


def recalls_of(revocation: Revocation, order_ids: Sequence[int]) -> QuerySet[Recall]:
    rows = Recall.objects.filter(revocation=revocation, line__order_id__in=order_ids)
    return rows.select_related("line__order", "line__listing__variant__device").order_by(
        "line__order_id", "pk"
    )


def recalled_lines(order: Order, *, at: datetime) -> list[OrderLine]:
    """The lines of this order that a recall which still stands is about."""
    rows = Recall.objects.filter(line__order=order).select_related("revocation", "line").order_by("line_id")
    found = {row.line_id: row.line for row in rows if safety.stands(row.revocation, at=at)}
    return list(found.values())


def _by_order(recalls: Iterable[Recall]) -> list[tuple[Order, list[Recall]]]:
    groups = groupby(recalls, key=lambda recall: recall.line.order_id)
    return [(its[0].line.order, its) for its in (list(group) for _, group in groups)]


def _message_id(kind: str, revocation: Revocation, order: Order) -> UUID:
    """The same however often the order is met: one message of each kind."""
    return uuid5(NAMESPACE_OID, f"clearline:{kind}:{revocation.pk}:{order.pk}")


def _subject(order: Order, recalls: Sequence[Recall]) -> str:
    if _has_left_us(recalls):
        return f"Safety warning: please stop using the phone of your order {order.pk}"
    return f"Your order {order.pk}: the phone may not be safe, and does not ship"


def _has_left_us(recalls: Sequence[Recall]) -> bool:
    """Has one of them been sent, with the whole order or by its vendor alone? Then its buyer may hold it in hand."""
    lines = {recall.line_id for recall in recalls}
    return OrderLine.objects.filter(fulfilment.HAS_SHIPPED, pk__in=lines).exists()


# What a buyer is to do, in the message and on the page of the order.
WHAT_TO_DO = (
    "Switch the phone off, and do not use or charge it any more.",
    "Do not sell it or give it away.",
    "Answer our message: we tell you how it comes back to us at our cost, and what you get for it.",
)


def _body(order: Order, recalls: Sequence[Recall], notice: Notice | None) -> str:
    bought = [
        f"- {units} x {line.listing.variant.device}, model {line.listing.variant.model_number}"
        for line in (recall.line for recall in recalls)
        if (units := line.quantity - line.refunded_quantity)
    ]
    if _has_left_us(recalls):
        says = ["It may not be safe to use. Please do this now:", ""]
        says += [f"{place}. {step}" for place, step in enumerate(WHAT_TO_DO, start=1)]
    else:
        says = [
            "It may not be safe to use, and we do not ship it as long as that is so. It has not left us: you need do "
            "nothing. What becomes of your order we tell you in a message of its own."
        ]
    if notice is not None:
        says += ["", f"What is known: {settings.PUBLIC_URL}/notices/{notice.slug}/"]
    return _signed(order, f"on {order.sold_at:%-d %B %Y} you bought from us:", "", *bought, "", *says)


def _signed(order: Order, *lines: str) -> str:
    return "\n".join(
        [
            f"To {order.buyer_name}:",
            "",
            *lines,
            "",
            f"The order: {settings.PUBLIC_URL}/orders/{order.public_id}/",
        ]
    )
