"""Facts begin or end by themselves: the instant gets a revision, so that it too stands in the one order.

However many begin or end at one instant, they share one revision and one sweep: a carrier's whole list that runs out
at midnight is one change. A withdrawal that was made for that instant keeps a revision and a sweep of its own, for
people decide on it by itself; what reacts to it is announced when its day has come (docs/sweeps.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from authorization import fence, ledger, outbox, pending_changes
from authorization.acceptances import following
from authorization.actors import SYSTEM
from authorization.dialect import listed_ids
from authorization.models import Fact, LedgerEntry, OutboxRow, PendingChange, Revision

_HANDLER = f"{__name__}.cross_boundary"
_ACT = "boundary.crossed"
# An attempt that failed is due again so much later at most; it is of the instant that its payload names.
_RETRIED = timedelta(seconds=max(outbox.BACKOFF_S))
_LISTS = ("variant_ids", "host_ids", "territories")


def cross_boundary(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `authority.boundary`. Payload: `fact_id` (or None, then perhaps `scope`), `boundary` (ISO 8601).

    The first row of an instant crosses it for all of them. Whoever comes twice or late finds it crossed.
    """
    instant = datetime.fromisoformat(payload["boundary"])
    with transaction.atomic():
        revision = fence.exclusive(by=SYSTEM, reason=f"boundary at {payload['boundary']}", at=at)
        # Under the fence: nobody writes another boundary meanwhile.
        crossing = _Crossing(instant)
        crossing.take(event_id, payload)
        revocation_id = pending_changes.take_effect(
            fact_id=payload.get("fact_id"), boundary=instant, by=SYSTEM, at=at
        )
        if revocation_id is None:
            if _is_crossed(instant, payload.get("fact_id"), event_id):
                # It leaves no trace: its revision is rolled back.
                transaction.set_rollback(True)
                return
            crossing.take_all(_waiting(instant, at))
        _cross(crossing, revision, revocation_id, at)


@dataclass
class _Crossing:
    """What begins or ends at one instant. `scopes`: of changes of no one fact; an empty one bears on all offers."""

    instant: datetime
    fact_ids: set[int] = field(default_factory=set)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    event_ids: list[UUID] = field(default_factory=list)
    # Rows of work that this crossing does.
    row_ids: list[int] = field(default_factory=list)

    def take(self, event_id: UUID, payload: dict[str, Any]) -> None:
        if payload.get("fact_id") is not None:
            self.fact_ids.add(payload["fact_id"])
        elif event_id not in self.event_ids:
            self.event_ids.append(event_id)
            self.scopes.append(payload.get("scope") or {})

    def take_all(self, rows: Iterable["_Row"]) -> None:
        for row_id, event_id, payload in rows:
            self.take(event_id, payload)
            self.row_ids.append(row_id)

    def changed(self) -> dict[str, Any]:
        """As `authority.changed` tells it: one fact, or whose offers all of it bears on."""
        if not self.scopes and len(self.fact_ids) == 1:
            return {"fact_id": min(self.fact_ids)}
        if not all(self.scopes):
            return {"fact_id": None}
        scope: dict[str, Any] = {}
        for name in _LISTS:
            named = {value for one in self.scopes for value in one.get(name) or ()}
            if named:
                scope[name] = sorted(named)
        if self.fact_ids:
            scope["facts"] = _by_kind(self.fact_ids)
        return {"fact_id": None, "scope": scope}


def _cross(crossing: _Crossing, revision: Revision, revocation_id: int | None, at: datetime) -> None:
    instant = crossing.instant
    ledger.record(
        act=_ACT,
        subject_kind="instant",
        subject_id=_name(instant),
        by=SYSTEM,
        at=at,
        evidence={
            "boundary": instant.isoformat(),
            "fact_ids": sorted(crossing.fact_ids),
            "event_ids": [str(event_id) for event_id in crossing.event_ids],
        },
        revision=revision.n,
    )
    # What another worker has in his hand he marks himself: he waits for the fence, and then finds it crossed.
    mine = OutboxRow.objects.filter(pk__in=listed_ids(crossing.row_ids), claimed_until__isnull=True)
    mine.update(done_at=at)
    if crossing.fact_ids:
        following.crossed_under_fence(
            fact_ids=sorted(crossing.fact_ids), instant=instant, revision=revision, by=SYSTEM, at=at
        )
    changed = {"revision": revision.n, **crossing.changed()}
    if revocation_id is not None:
        changed["revocation_id"] = revocation_id
    outbox.announce(event="authority.changed", payload=changed, at=at)


# Its id, and what it is about.
_Row = tuple[int, UUID, dict[str, Any]]


def _waiting(instant: datetime, at: datetime) -> list[_Row]:
    """The open rows of this instant, attempts that wait among them; not those whose withdrawal has a day of its own."""
    rows = outbox.open_rows(max(at, instant) + _RETRIED).filter(handler=_HANDLER, due_at__gte=instant)
    withdrawn = set(
        PendingChange.objects.filter(
            kind=PendingChange.Kind.WITHDRAWAL, state=PendingChange.State.OPEN, due_at=instant
        ).values_list("revocation__fact_id", flat=True)
    )
    first = rows.filter(due_at=instant, attempt=1).values_list("id", "event_id", "payload")
    later = rows.filter(attempt__gt=1).values_list("id", "event_id", "payload")
    of_then = [row for row in later if datetime.fromisoformat(row[2]["boundary"]) == instant]
    return [row for row in [*first, *of_then] if row[2].get("fact_id") not in withdrawn]


def _is_crossed(instant: datetime, fact_id: int | None, event_id: UUID) -> bool:
    entries = LedgerEntry.objects.filter(act=_ACT)
    # As it was written while each fact had a crossing of its own.
    if entries.filter(subject_kind="event", subject_id=str(event_id)).exists():
        return True
    crossed = entries.filter(subject_kind="instant", subject_id=_name(instant))
    for evidence in crossed.values_list("evidence", flat=True):
        found = (
            fact_id in evidence["fact_ids"] if fact_id is not None else str(event_id) in evidence["event_ids"]
        )
        if found:
            return True
    return False


def _by_kind(fact_ids: Iterable[int]) -> dict[str, list[int]]:
    by_kind: dict[str, list[int]] = {}
    rows = Fact.objects.filter(pk__in=listed_ids(fact_ids)).order_by("pk").values_list("kind", "pk")
    for kind, fact_id in rows:
        by_kind.setdefault(kind, []).append(fact_id)
    return by_kind


def _name(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
