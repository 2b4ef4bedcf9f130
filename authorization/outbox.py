"""The outbox: work written in the transaction that asks for it, and the pump that does it.

A row with a handler is one reaction's work. It is claimed by a lease (SKIP LOCKED on PostgreSQL, one writer on
SQLite), done, and only then marked: at least once, so handlers are idempotent. A failure closes the row and writes
the next attempt as a new row, due later. The broker is only a bell: beat rings the pump every second anyway.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Q, QuerySet
from django.utils.module_loading import import_string

from authorization import clock, fence
from authorization.models import OutboxRow

logger = structlog.get_logger(__name__)

# Rows claimed at once. Few, because a worker that dies keeps its claims until their lease ends.
BATCH = 5
# For so long one bell keeps a worker at it; with one handler more it stays below the task's time limit.
PUMP_S = 15
# Seconds until the next attempt; after the last one the row is dead and alarms.
BACKOFF_S = (1, 5, 30, 120, 600, 3600, 21_600)


# After a bell that failed, this process leaves the pump to beat for so long.
SILENCE_S = 10


class _Silence:
    until = 0.0


_silence = _Silence()


class Handler(Protocol):
    def __call__(self, *, payload: dict[str, Any], event_id: UUID, at: datetime) -> None: ...


def announce(
    *,
    event: str,
    payload: Mapping[str, Any],
    at: datetime,
    due_at: datetime | None = None,
    event_id: UUID | None = None,
) -> UUID:
    """Write the event for readers, and one row for each function that reacts to it. Rings the bell on commit."""
    event_id = event_id or uuid4()
    base: dict[str, Any] = {
        "event_id": event_id,
        "event": event,
        "payload": dict(payload),
        "due_at": due_at or at,
        "created_at": at,
    }
    handlers = settings.OUTBOX_HANDLERS.get(event, [])
    OutboxRow.objects.bulk_create([OutboxRow(**base, handler=handler) for handler in ["", *handlers]])
    if handlers:
        ring_on_commit()
    return event_id


def announce_many(*, event: str, payloads: list[dict[str, Any]], at: datetime) -> None:
    """Events that nobody in the shop reacts to, one per offer of a chunk: two statements whatever their number."""
    if settings.OUTBOX_HANDLERS.get(event):
        raise ValueError(f"{event} has handlers; announce it one by one.")
    OutboxRow.objects.bulk_create(
        [OutboxRow(event=event, payload=payload, due_at=at, created_at=at) for payload in payloads]
    )


def ring_on_commit() -> None:
    """Once per transaction, however many rows it wrote."""
    rung_in = getattr(connection, "_clearline_bell", None)
    if connection.in_atomic_block and rung_in is connection.atomic_blocks[0]:
        return
    if connection.in_atomic_block:
        connection._clearline_bell = connection.atomic_blocks[0]  # type: ignore[attr-defined]
    transaction.on_commit(ring, robust=True)


def ring() -> None:
    """Wake a worker. A broker that is down costs nothing but the wait for beat: the work stands in the rows."""
    fence.refuse_inside("bell")
    if time.monotonic() < _silence.until:
        return
    try:
        current_app.send_task("authorization.pump_outbox", retry=False, expires=30)
    except Exception as error:
        # A broker that hangs would hold up every request behind its timeout: leave the bell to beat for a while.
        _silence.until = time.monotonic() + SILENCE_S
        logger.warning("outbox.bell_failed", error=str(error))


def pump(*, at: Callable[[], datetime] = clock.now) -> int:
    """Do what is due, until nothing is or PUMP_S is spent. Returns how many rows were done."""
    done, until = 0, time.monotonic() + PUMP_S
    stamp_positions()
    while time.monotonic() < until:
        rows = _claim(at())
        if not rows:
            break
        if len(rows) == BATCH:
            # More is waiting: another worker may help.
            ring()
        for row in rows:
            if row.claimed_until is None:
                done += _work(row, at())
            else:
                # It was claimed before and not done: its worker was killed, perhaps by this very row. That counts as
                # an attempt, or such a row would be taken up for ever.
                _retry_later(row, at(), RuntimeError("The worker that had claimed it died."))
    return done


def stamp_positions() -> None:
    """Give committed events their place in the readers' order, under one lock.

    Sequence numbers are not commit order; a position is given only to rows that are committed, so a reader who
    remembers the last one misses nothing.
    """
    unplaced = OutboxRow.objects.filter(handler="", position__isnull=True)
    if not unplaced.exists():
        return
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [fence.LOCK_KEY + 1])
                if not cursor.fetchone()[0]:
                    return
        waiting = list(unplaced.order_by("id").values_list("id", flat=True)[:1000])
        last = OutboxRow.objects.aggregate(last=Max("position"))["last"] or 0
        rows = [OutboxRow(id=row_id, position=last + place) for place, row_id in enumerate(waiting, start=1)]
        OutboxRow.objects.bulk_update(rows, ["position"], batch_size=250)


def _claim(at: datetime) -> list[OutboxRow]:
    """A few free rows, now claimed; as they were before: with `claimed_until` where a lease has run out."""
    now = _machine_now()
    is_open = Q(done_at__isnull=True, failed_at__isnull=True, due_at__lte=at) & ~Q(handler="")
    is_free = Q(claimed_until__isnull=True) | Q(claimed_until__lt=now)
    free = OutboxRow.objects.filter(is_open & is_free).order_by("due_at", "id")
    # Asked first without a transaction: on SQLite even an idle one would keep a buyer waiting.
    if not free.exists():
        return []
    with transaction.atomic():
        if connection.vendor == "postgresql":
            free = free.select_for_update(skip_locked=True)
        rows = list(free[:BATCH])
        OutboxRow.objects.filter(pk__in=[row.pk for row in rows]).update(claimed_until=_lease(now))
    return rows


def _work(row: OutboxRow, at: datetime) -> int:
    # The lease is for one handler: it begins anew with each row. Whoever finds it run out has lost the row.
    now = _machine_now()
    mine = OutboxRow.objects.filter(
        pk=row.pk, claimed_until__gte=now, done_at__isnull=True, failed_at__isnull=True
    )
    if not mine.update(claimed_until=_lease(now)):
        return 0
    with structlog.contextvars.bound_contextvars(
        outbox_row=row.pk, event_name=row.event, handler=row.handler
    ):
        try:
            handler: Handler = import_string(row.handler)
            handler(payload=row.payload, event_id=row.event_id, at=at)
        except Exception as error:
            logger.exception("outbox.attempt_failed", attempt=row.attempt)
            _retry_later(row, at, error)
            return 0
    OutboxRow.objects.filter(pk=row.pk, failed_at__isnull=True).update(done_at=at, claimed_until=None)
    return 1


def _lease(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.OUTBOX_LEASE_S)


def _machine_now() -> datetime:
    # Leases are a matter of processes, not of business: an exercise that jumps a day must not end them.
    return datetime.now(UTC)  # noqa: TID251


def _retry_later(row: OutboxRow, at: datetime, error: Exception) -> None:
    is_dead = row.attempt > len(BACKOFF_S)
    with transaction.atomic():
        closed = OutboxRow.objects.filter(pk=row.pk, done_at__isnull=True, failed_at__isnull=True).update(
            failed_at=at,
            is_dead=is_dead,
            claimed_until=None,
            last_error=f"{type(error).__name__}: {error}"[:2000],
        )
        if closed and not is_dead:
            OutboxRow.objects.create(
                event_id=row.event_id,
                event=row.event,
                payload=row.payload,
                handler=row.handler,
                attempt=row.attempt + 1,
                due_at=at + timedelta(seconds=BACKOFF_S[row.attempt - 1]),
                created_at=at,
            )
    if is_dead:
        logger.error("outbox.dead_letter", attempt=row.attempt)


def open_rows(at: datetime) -> QuerySet[OutboxRow]:
    """Work that is due and not done."""
    return OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True, due_at__lte=at).exclude(
        handler=""
    )


def oldest_open_age_s(at: datetime) -> float | None:
    """Seconds of business time since the oldest undone row fell due; None when nothing waits."""
    due_at = open_rows(at).order_by("due_at").values_list("due_at", flat=True).first()
    return None if due_at is None else max(0.0, (at - due_at).total_seconds())
