"""The fence: one order for changes of authority and sales.

A change of authority takes it exclusive; a sale, a publication and a chunk of a sweep take it shared, in their last
transaction. Whoever holds it shared knows that the revision it read is the newest, and that none can commit before
its own transaction ends. This module is the only code that touches the lock. Why each rule is there, with what was
measured: docs/facts-and-fence.md.

PostgreSQL: a transaction-level advisory lock; its queue is first come, first served, so that a revocation waits for
the buyers before it and for none behind it. SQLite: `transaction_mode: IMMEDIATE` makes every transaction the only
writer, which is an exclusive fence for all; a system check demands it.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from authorization import clock
from authorization.actors import Actor
from authorization.models import Revision, SaleTicket

# Any fixed number does; this one spells "CLRF".
LOCK_KEY = 0x434C5246


# So far may the clocks of hosts differ.
MAX_AHEAD = timedelta(minutes=5)


class FenceMisuse(RuntimeError):
    """The caller would hold no fence, or hold it over something slow. A bug, never bad luck."""


@dataclass(frozen=True)
class _Holding:
    # The outermost atomic block it was taken in: when that one is gone, so is the lock.
    block: Any
    mode: str


def exclusive(*, by: Actor, reason: str, at: datetime) -> Revision:
    """Wait for every sale under way, keep new ones out until commit, and write the next revision.

    Revisions are strictly ordered in `recorded_at` too, however the clocks of the hosts differ.
    """
    if at > clock.now() + MAX_AHEAD:
        raise FenceMisuse(
            f"An act of {at.isoformat()} is ahead of the shop's clock; every later revision would bear that time."
        )
    _take("exclusive")
    newest = Revision.objects.order_by("-n").only("n", "recorded_at").first()
    recorded_at = at
    if newest is not None:
        recorded_at = max(at, newest.recorded_at + timedelta(microseconds=1))
    return Revision.objects.create(
        n=newest.n + 1 if newest is not None else 1,
        recorded_at=recorded_at,
        actor=str(by),
        reason=reason[:500],
        snapshot=_snapshot(),
    )


def rehearsal(*, at: datetime) -> Revision:
    """A revision for a change that is written only to be looked at, in a transaction that is rolled back.

    It takes no lock and nobody else ever sees it. Its number is out of reach of real ones, and differs between two
    rehearsals at the same time, which would otherwise wait for each other.
    """
    newest = Revision.objects.order_by("-n").only("recorded_at").first()
    recorded_at = at if newest is None else max(at, newest.recorded_at + timedelta(microseconds=1))
    return Revision.objects.create(
        n=2**62 + secrets.randbits(61),
        recorded_at=recorded_at,
        actor="system",
        reason="rehearsal",
        snapshot="0",
    )


def shared() -> int:
    """Keep changes of authority out until commit. Returns the newest revision (0 when there is none)."""
    _take("shared")
    # In a statement of its own: together with the lock it would be read before the wait for the lock.
    return current_revision()


def current_revision() -> int:
    """The newest committed revision. Read it before the evidence that is to bear its stamp."""
    return Revision.objects.order_by("-n").values_list("n", flat=True).first() or 0


def newest() -> tuple[int, datetime | None]:
    """The newest committed revision and when it was recorded; (0, None) when there is none."""
    row = Revision.objects.order_by("-n").values_list("n", "recorded_at").first()
    return row if row is not None else (0, None)


def transaction_id() -> str:
    """The database's own name for this fenced transaction, for the proof by snapshots."""
    if not is_held():
        raise FenceMisuse("A sale's transaction id is taken under the fence.")
    if connection.vendor == "postgresql":
        return str(_scalar("SELECT pg_current_xact_id()::text"))
    return str(SaleTicket.objects.create().pk)


def is_held() -> bool:
    holding = getattr(connection, "_clearline_fence", None)
    return holding is not None and bool(_own_blocks()) and holding.block is _own_blocks()[0]


def refuse_inside(what: str) -> None:
    """Called before any network, mail or broker call: under the fence it would hold everybody up."""
    if is_held():
        raise FenceMisuse(f"No {what} inside a fenced transaction.")


def _take(mode: str) -> None:
    blocks = _own_blocks()
    if not blocks:
        raise FenceMisuse("The fence needs a transaction: under autocommit it would be free again at once.")
    # One for each block inside the outermost; empty where the block made none.
    if any(connection.savepoint_ids[len(connection.savepoint_ids) - len(blocks) + 1 :]):
        raise FenceMisuse(
            "The fence is taken in the outermost transaction: rolling back a savepoint frees it."
        )
    holding = getattr(connection, "_clearline_fence", None)
    if holding is not None and holding.block is blocks[0]:
        if holding.mode == mode or holding.mode == "exclusive":
            return
        raise FenceMisuse(
            "No upgrade from shared to exclusive: two that try it wait for each other for ever."
        )
    if connection.vendor == "postgresql":
        _lock_postgresql(mode)
    connection._clearline_fence = _Holding(blocks[0], mode)  # type: ignore[attr-defined]


def _lock_postgresql(mode: str) -> None:
    timeout = f"{settings.FENCE_TIMEOUT_MS}ms"
    with connection.cursor() as cursor:
        # Who freezes inside must not hold a revocation back: PostgreSQL ends its session and frees the lock.
        # The wait for the exclusive lock itself is as long as the slowest buyer may take, and some.
        patience = timeout if mode == "shared" else f"{settings.FENCE_TIMEOUT_MS * 10}ms"
        cursor.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, true),"
            " set_config('statement_timeout', %s, true), current_setting('transaction_isolation')",
            [timeout, patience],
        )
        isolation = cursor.fetchone()[2]
        if isolation != "read committed":
            raise FenceMisuse(f"The fence works under READ COMMITTED only; this transaction is {isolation}.")
        suffix = "_shared" if mode == "shared" else ""
        cursor.execute(f"SELECT pg_advisory_xact_lock{suffix}(%s)", [LOCK_KEY])


def _own_blocks() -> list[Any]:
    # As Django's own check of durable blocks does: the block that a test case wraps around everything is not ours.
    return [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]


def _snapshot() -> str:
    if connection.vendor == "postgresql":
        return str(_scalar("SELECT pg_current_snapshot()::text"))
    return str(SaleTicket.objects.order_by("-id").values_list("id", flat=True).first() or 0)


def _scalar(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
