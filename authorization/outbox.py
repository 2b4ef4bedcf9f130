"""The outbox: work written in the transaction that asks for it, and the pump that does it.

A row with a handler is one reaction's work. It is claimed by a lease (SKIP LOCKED on PostgreSQL, one writer on
SQLite), done, and only then marked: at least once, so handlers are idempotent. A failure closes the row and writes
the next attempt as a new row, due later. The broker is only a bell: docs/outbox.md says who else rings.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid4

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from authorization import clock, fence, ledger, stores
from authorization.actors import Actor
from authorization.dialect import Dialect
from authorization.models import OutboxRow

logger = structlog.get_logger(__name__)

# A look takes the first few of each lane, and is taken again after so long: what is cheap is done many to a look,
# what takes long is chosen anew each time.
LOOK = 10
LOOK_S = 0.5
# For so long one bell keeps a worker at it; with one handler more it stays below the task's time limit.
PUMP_S = 15
# Seconds until the next attempt; after the last one the row is dead and alarms.
BACKOFF_S = (1, 5, 30, 120, 600, 3600, 21_600)
# Attempts of one series: the first, and one after each wait.
SERIES = len(BACKOFF_S) + 1
# Events that get their positions in one transaction: on SQLite nobody else writes meanwhile.
STAMPED_AT_ONCE = 20_000
# What is done is kept for so long; so are events, for that is what readers and receivers of webhooks are promised.
KEPT = timedelta(days=30)
# Rows that one transaction deletes at most.
PRUNED_AT_ONCE = 1000
# After a bell that failed, this process rings no more for so long.
SILENCE_S = 10


class _Moments:
    """Of this process, on its monotonic clock."""

    silent_until = 0.0
    pumped_at = float("-inf")


_moments = _Moments()


class NotDead(ValueError):
    """The row was not given up, or somebody has settled it already. The message is for the desk."""


class Handler(Protocol):
    def __call__(self, *, payload: dict[str, Any], event_id: UUID, at: datetime) -> None: ...


# --- writing ----------------------------------------------------------------------------------------------------


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


def announce_many(
    *,
    event: str,
    payloads: Sequence[dict[str, Any]],
    at: datetime,
    event_ids: Sequence[UUID] | None = None,
) -> None:
    """Events that nobody in the shop reacts to, one per offer of a chunk: two statements whatever their number."""
    if settings.OUTBOX_HANDLERS.get(event):
        raise ValueError(f"{event} has handlers; announce it one by one.")
    tell_many(event=event, payloads=payloads, at=at, event_ids=event_ids)


def tell_many(
    *,
    event: str,
    payloads: Sequence[dict[str, Any]],
    at: datetime,
    event_ids: Sequence[UUID] | None = None,
) -> None:
    """Events for readers only, one each; what the shop itself makes of an event of this name is announced apart."""
    ids = event_ids if event_ids is not None else [uuid4() for _ in payloads]
    OutboxRow.objects.bulk_create(
        [
            OutboxRow(event_id=event_id, event=event, payload=payload, due_at=at, created_at=at)
            for event_id, payload in zip(ids, payloads, strict=True)
        ]
    )


# --- the bell ---------------------------------------------------------------------------------------------------


def ring_on_commit() -> None:
    """Once per transaction, however many rows it wrote."""
    rung_in = getattr(connection, "_clearline_bell", None)
    if connection.in_atomic_block and rung_in is connection.atomic_blocks[0]:
        return
    if connection.in_atomic_block:
        connection._clearline_bell = connection.atomic_blocks[0]  # type: ignore[attr-defined]
    transaction.on_commit(ring, robust=True)


def ring() -> None:
    """Wake a worker. Of a test store whoever works in it wakes the workers, when it leaves (storefront.test_mode)."""
    if not stores.is_test():
        send_bell("authorization.pump_outbox")


def send_bell(task: str, **arguments: Any) -> None:
    """Ask a worker for a task. A broker that is down or full costs nothing but a wait: the work stands in rows."""
    fence.refuse_inside("bell")
    if time.monotonic() < _moments.silent_until:
        return
    try:
        current_app.send_task(task, kwargs=arguments, retry=False, expires=30)
    except Exception as error:
        # A broker that hangs would hold up every request behind its timeout: leave it to those who need no bell.
        _moments.silent_until = time.monotonic() + SILENCE_S
        logger.warning("outbox.bell_failed", error=str(error))


def idle_s() -> float:
    """Seconds since this process last pumped the shop's; infinite if it never did."""
    return time.monotonic() - _moments.pumped_at


# --- the pump ---------------------------------------------------------------------------------------------------


def pump(*, at: Callable[[], datetime] = clock.now) -> int:
    """Do what is due, until nothing is or PUMP_S is spent. Returns how many rows were done."""
    done, until, has_rung = 0, time.monotonic() + PUMP_S, False
    turns = _Turns()
    while time.monotonic() < until:
        if not stores.is_test():
            _moments.pumped_at = time.monotonic()
        stamp_positions()
        rows = turns.in_order(_look(_business_now(at)))
        if not rows:
            break
        if len(rows) > 1 and not has_rung:
            # More is waiting: another worker may help, and will call the next.
            ring()
            has_rung = True
        look_until = min(until, time.monotonic() + LOOK_S)
        finished: _Finished | None = None
        for row in rows:
            began = time.monotonic()
            marked, finished = _take_up(row, finished, at)
            done += marked
            turns.spend(row.handler, time.monotonic() - began)
            if time.monotonic() > look_until:
                break
        done += _mark(finished)
    return done


class _Turns:
    """The order of the lanes, one for each handler: next is the one that this pump has spent the least time on.

    So the chunks of a large sweep do not stand before reactions, and a slow mail server not before the chunks.
    """

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)
        self._rows: Counter[str] = Counter()

    def spend(self, handler: str, seconds: float) -> None:
        self._spent[handler] += seconds
        self._rows[handler] += 1

    def in_order(self, rows: Iterable[OutboxRow]) -> list[OutboxRow]:
        """`rows` come oldest first within each lane."""
        places: Counter[str] = Counter()
        keyed = []
        for row in rows:
            places[row.handler] += 1
            place = places[row.handler]
            each_s = self._spent[row.handler] / max(1, self._rows[row.handler])
            keyed.append(((self._spent[row.handler] + place * each_s, place, row.due_at, row.pk), row))
        return [row for _, row in sorted(keyed, key=lambda pair: pair[0])]


def _business_now(at: Callable[[], datetime]) -> datetime:
    """The business clock, but not before the newest change of authority.

    As decisions have it: a clock that was set back, or the slower of two hosts, must not keep a sweep waiting.
    """
    recorded_at = fence.newest()[1]
    return at() if recorded_at is None else max(at(), recorded_at)


_IS_OPEN = "o.done_at IS NULL AND o.failed_at IS NULL AND NOT (o.handler = '')"


def _look(at: datetime) -> list[OutboxRow]:
    """The first few rows of each lane that are due and free, oldest first. Nothing is claimed by looking.

    One that bears a lease is free as well if that has run out, or lies so far ahead that the machine's clock was
    set back since.
    """
    db = Dialect()
    is_free = (
        f"(o.claimed_until IS NULL OR o.claimed_until < {db.instant('now')}"
        f" OR o.claimed_until > {db.instant('too_far')})"
    )
    first_rows = f"""
SELECT {{columns}} FROM authorization_outboxrow o
 WHERE o.handler = lane.handler AND {_IS_OPEN} AND o.due_at <= {db.instant("at")} AND {is_free}
 ORDER BY o.due_at, o.id LIMIT {LOOK}"""
    if db.is_postgresql:
        rows = f"lane CROSS JOIN LATERAL ({first_rows.format(columns='o.*')}) r"
    else:
        rows = f"lane CROSS JOIN authorization_outboxrow r ON r.id IN ({first_rows.format(columns='o.id')})"
    # From each handler to the next by the index: a lane of a hundred thousand rows costs as much as one of ten.
    sql = f"""
WITH RECURSIVE lane(handler) AS (
  SELECT MIN(o.handler) FROM authorization_outboxrow o WHERE {_IS_OPEN}
  UNION ALL
  SELECT (SELECT MIN(o.handler) FROM authorization_outboxrow o WHERE o.handler > lane.handler AND {_IS_OPEN})
    FROM lane WHERE lane.handler IS NOT NULL
)
SELECT r.* FROM {rows} ORDER BY r.due_at, r.id"""
    now = _machine_now()
    parameters = {"at": at, "now": now, "too_far": now + 2 * (_lease(now) - now)}
    adapted = {
        name: connection.ops.adapt_datetimefield_value(instant) for name, instant in parameters.items()
    }
    return list(OutboxRow.objects.raw(sql, adapted))


class _Finished(NamedTuple):
    """A row whose handler has returned; `at` is the time that it bears as done."""

    row: OutboxRow
    at: datetime


def _take_up(
    row: OutboxRow, finished: _Finished | None, at: Callable[[], datetime]
) -> tuple[int, _Finished | None]:
    """Work on a row. How many were marked as done, of those before; and this one, if it is to be marked.

    The one before is marked when this one is claimed, in one transaction: each that is spared is a wait for the disk,
    and on SQLite one for all who write. Who dies in between leaves it to be done twice, as after any handler.
    """
    if row.claimed_until is not None:
        # It was claimed before and not done: its worker was killed, perhaps by this very row. That counts as an
        # attempt, or such a row would be taken up for ever.
        marked = _mark(finished)
        _retry_later(row, _business_now(at), RuntimeError("The worker that had claimed it died."))
        return marked, None
    with transaction.atomic():
        is_mine, marked = _claim(row), _mark(finished)
    return marked, _work(row, _business_now(at)) if is_mine else None


def _claim(row: OutboxRow) -> bool:
    """Take a lease on a row that was free when looked at. One row at a time: who dies keeps no other waiting."""
    lease = _lease(_machine_now())
    free = """SELECT o.id FROM authorization_outboxrow o WHERE o.id = %(id)s
 AND o.claimed_until IS NULL AND o.done_at IS NULL AND o.failed_at IS NULL"""
    if connection.vendor == "postgresql":
        # Nobody waits for a worker that stands still with the row in its hand.
        free += " FOR UPDATE SKIP LOCKED"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE authorization_outboxrow SET claimed_until = %(lease)s WHERE id = ({free})",
            {"id": row.pk, "lease": connection.ops.adapt_datetimefield_value(lease)},
        )
        is_mine: bool = cursor.rowcount == 1
    if is_mine:
        row.claimed_until = lease
    return is_mine


def _mark(finished: _Finished | None) -> int:
    """Done, if the row still bears our lease: what shows that nobody has taken it over."""
    if finished is None:
        return 0
    row, at = finished
    if _mine(row).update(done_at=at, claimed_until=None):
        return 1
    logger.warning("outbox.lease_lost", attempt=row.attempt, outbox_row=row.pk, handler=row.handler)
    return 0


def _work(row: OutboxRow, at: datetime) -> _Finished | None:
    """The handler of a claimed row; None if it could not be done."""
    if row.claimed_until is None or row.claimed_until <= _machine_now():
        return None
    with structlog.contextvars.bound_contextvars(
        outbox_row=row.pk, event_name=row.event, handler=row.handler
    ):
        try:
            handler: Handler = import_string(row.handler)
            handler(payload=row.payload, event_id=row.event_id, at=at)
        except Exception as error:
            logger.exception("outbox.attempt_failed", attempt=row.attempt)
            if not connection.in_atomic_block:
                # Of a database that was restarted: the next statement opens another.
                connection.close_if_unusable_or_obsolete()
            _retry_later(row, at, error)
            return None
    return _Finished(row, at)


def _mine(row: OutboxRow) -> QuerySet[OutboxRow]:
    """The row as it was when it was read or claimed; nothing if another has done, closed or claimed it since."""
    return OutboxRow.objects.filter(
        pk=row.pk, claimed_until=row.claimed_until, done_at__isnull=True, failed_at__isnull=True
    )


def _lease(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.OUTBOX_LEASE_S)


def _machine_now() -> datetime:
    # Leases are a matter of processes, not of business: an exercise that jumps a day must not end them.
    return clock.machine_now()


def _retry_later(row: OutboxRow, at: datetime, error: Exception) -> None:
    """Close this attempt; the next is a new row, due later. The last of a series is dead."""
    step = (row.attempt - 1) % SERIES
    is_dead = step == len(BACKOFF_S)
    said = f"{type(error).__name__}: {error}"[:2000]
    with transaction.atomic():
        closed = _mine(row).update(failed_at=at, is_dead=is_dead, claimed_until=None, last_error=said)
        if closed and not is_dead:
            _next_attempt(row, at=at, due_at=at + timedelta(seconds=BACKOFF_S[step]))
    if closed and is_dead:
        logger.error(
            "outbox.dead_letter",
            row=row.pk,
            event_name=row.event,
            handler=row.handler,
            attempt=row.attempt,
            error=said,
        )


def _next_attempt(row: OutboxRow, *, at: datetime, due_at: datetime) -> OutboxRow:
    return OutboxRow.objects.create(
        event_id=row.event_id,
        event=row.event,
        payload=row.payload,
        handler=row.handler,
        attempt=row.attempt + 1,
        due_at=due_at,
        created_at=at,
    )


# --- readers' order ---------------------------------------------------------------------------------------------


def stamp_positions() -> int:
    """Give committed events their place in the readers' order, under one lock. Returns how many got one.

    Sequence numbers are not commit order; a position is given only to rows that are committed, so a reader who
    remembers the last one misses nothing. Positions have no gaps.
    """
    stamped = 0
    # Asked first without a transaction: on SQLite even an idle one would keep a buyer waiting.
    while _is_any_unplaced():
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [fence.LOCK_KEY + 1])
                if not cursor.fetchone()[0]:
                    break
            # A statement of its own: together with the lock it would read the last position before the wait.
            cursor.execute(
                """
UPDATE authorization_outboxrow AS placed SET position = fresh.position
  FROM (SELECT w.id, (SELECT COALESCE(MAX(position), 0) FROM authorization_outboxrow)
                     + ROW_NUMBER() OVER (ORDER BY w.id) AS position
          FROM (SELECT id FROM authorization_outboxrow WHERE handler = '' AND position IS NULL
                 ORDER BY id LIMIT %s) w) fresh
 WHERE placed.id = fresh.id""",
                [STAMPED_AT_ONCE],
            )
            stamped += cursor.rowcount
    return stamped


def next_position() -> int | None:
    """The position of the first event that this transaction writes now; None where the pump has to give it.

    On SQLite a transaction is the only writer, so that nothing else is committed before it. But an event that waits
    for its own position goes before.
    """
    if connection.vendor == "postgresql" or not connection.in_atomic_block:
        return None
    if _is_any_unplaced():
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(position), 0) + 1 FROM authorization_outboxrow")
        return int(cursor.fetchone()[0])


def _is_any_unplaced() -> bool:
    # SQLite would go through all work that was ever done: it has no position either.
    by_index = "" if connection.vendor == "postgresql" else " INDEXED BY auth_outbox_unplaced"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM authorization_outboxrow{by_index} WHERE handler = '' AND position IS NULL LIMIT 1"
        )
        return cursor.fetchone() is not None


# --- dead letters -----------------------------------------------------------------------------------------------


def dead_letters() -> QuerySet[OutboxRow]:
    """Work that was given up and that nobody has settled."""
    return OutboxRow.objects.filter(is_dead=True, settled_at__isnull=True)


def retry_dead(*, row: OutboxRow, by: Actor, at: datetime) -> OutboxRow:
    """Try what was given up again, at once and for a whole series of attempts. Raises NotDead."""
    with transaction.atomic():
        dead = _settle(row, at)
        attempt = _next_attempt(dead, at=at, due_at=at)
        ledger.record(
            act="outbox.retried",
            subject_kind="outbox",
            subject_id=dead.pk,
            by=by,
            at=at,
            evidence=_told(dead),
        )
        ring_on_commit()
    return attempt


def dismiss_dead(*, row: OutboxRow, by: Actor, at: datetime, reason: str) -> None:
    """What was given up is not needed any more. Raises NotDead; ValueError without a reason."""
    if not reason.strip():
        raise ValueError("Say why it is not needed; the reason is kept.")
    with transaction.atomic():
        dead = _settle(row, at)
        ledger.record(
            act="outbox.dismissed",
            subject_kind="outbox",
            subject_id=dead.pk,
            by=by,
            at=at,
            reason=reason,
            evidence=_told(dead),
        )


def _settle(row: OutboxRow, at: datetime) -> OutboxRow:
    found = OutboxRow.objects.select_for_update(no_key=True).get(pk=row.pk)
    if not found.is_dead:
        raise NotDead(f"Row {found.pk} was not given up; there is nothing to settle.")
    if found.settled_at is not None:
        raise NotDead(f"Row {found.pk} was settled on {found.settled_at:%Y-%m-%d %H:%M:%S} UTC.")
    found.settled_at = at
    found.save(update_fields=["settled_at"])
    return found


def _told(row: OutboxRow) -> dict[str, Any]:
    return {
        "event": row.event,
        "event_id": str(row.event_id),
        "handler": row.handler,
        "attempt": row.attempt,
        "error": row.last_error[:500],
    }


# --- what is kept -----------------------------------------------------------------------------------------------


def prune(*, at: datetime, kept: timedelta = KEPT, within_s: float = 30) -> int:
    """Delete, oldest first and a few at a time, what was settled longer ago than `kept`. Returns how many rows.

    Never what is still to do or dead and unsettled, and never the last event: the next position follows from its own.
    """
    before, until = at - kept, time.monotonic() + within_s
    deleted, last = 0, 0
    newest = OutboxRow.objects.order_by("-position").filter(position__isnull=False).values_list("id").first()
    columns = (
        "id", "handler", "created_at", "due_at", "done_at", "failed_at", "is_dead", "settled_at", "position",
    )  # fmt: skip
    while time.monotonic() < until:
        rows = list(OutboxRow.objects.filter(id__gt=last).order_by("id").only(*columns)[:PRUNED_AT_ONCE])
        old = [row.pk for row in rows if _is_past(row, before) and (row.pk,) != newest]
        if old:
            deleted += OutboxRow.objects.filter(pk__in=old).delete()[0]
        # Ids follow the clock closely enough: behind a page that is young all through there is nothing old.
        if not rows or all(row.created_at >= before for row in rows):
            break
        last = rows[-1].pk
    return deleted


def _is_past(row: OutboxRow, before: datetime) -> bool:
    if not row.handler:
        return row.position is not None and max(row.created_at, row.due_at) < before
    if row.is_dead:
        return row.settled_at is not None and row.settled_at < before
    closed_at = row.done_at or row.failed_at
    return closed_at is not None and closed_at < before


# --- how it stands ----------------------------------------------------------------------------------------------


def open_rows(at: datetime) -> QuerySet[OutboxRow]:
    """Work that is due and not done."""
    return OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True, due_at__lte=at).exclude(
        handler=""
    )


def oldest_open_age_s(at: datetime) -> float | None:
    """Seconds of business time since the oldest undone row fell due; None when nothing waits."""
    due_at = open_rows(at).order_by("due_at").values_list("due_at", flat=True).first()
    return None if due_at is None else max(0.0, (at - due_at).total_seconds())
