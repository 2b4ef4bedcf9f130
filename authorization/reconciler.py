"""The reconciler: what the events missed is found, put right, and alarmed. Its findings should be 0.

Each minute, and when the next clearance ends, it looks at every live offer in set-based SQL (authorization.vouching);
what is not vouched for is decided in full and taken down if it falls. Beside that every offer, live or suspended, is
decided in full once in a while whatever the look says, and the suspended ones of a change whose sweep never came at
once. What a change does that is under way is left to its own sweep. See docs/reconciler.md.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from typing import Any
from uuid import UUID, uuid5

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from authorization import clock, decisions, fence, outbox, selectors, sweeps, vouching
from authorization.actors import SYSTEM
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    HoldVersion,
    OutboxRow,
    PolicyVersion,
    ReconcilerRun,
    Revision,
    Sweep,
    SweepChunk,
)
from authorization.pending_changes import LeftToAPerson
from catalog.models import ListingHost, OfferState

logger = structlog.get_logger(__name__)

# For so many seconds of machine time a change of authority is its own sweep's business.
GRACE_S = 30
# After so many seconds without a round anybody may begin one.
LATE_S = 150
# A round that has shown no sign of life for so long (machine time) is dead, and another may begin.
LEASE_S = 60
# Offers that each round decides in full, in their turn.
SLICE = 5_000
# What ends within this is announced; what ends later is seen by the rounds in between.
AHEAD = timedelta(days=1)
# Whoever is told of a round's findings is told after it, once.
TOLD_AFTER = timedelta(seconds=60)
# When a round is asked for while another is at work.
AGAIN_AFTER = timedelta(seconds=5)
KEPT = timedelta(days=30)

_DUE = UUID("2f0e5cf4-2d0b-4a0c-9d43-5f0d3f7b7f5e")
_OPEN_STATES = (OfferState.LIVE, OfferState.SUSPENDED)
_FACT_VERSIONS: tuple[Any, ...] = (
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    AffiliationVersion,
    HoldVersion,
    PolicyVersion,
)


@dataclass(frozen=True)
class Findings:
    """What the rounds since an instant came to. `failed`: rounds with an error, or that nobody finished."""

    rounds: int
    found_live: int
    found_suspended: int
    renewed: int
    failed: int
    last_finished_at: datetime | None


def reconcile(*, at: datetime) -> ReconcilerRun | None:
    """One round. None if another is at work.

    Raises ExceptionGroup when some offers could not be decided; all others were.
    """
    run = _begin(at)
    return None if run is None else _Round(run, at).whole()


def on_due(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `reconcile.due`: a clearance has just ended. Only what has ended is looked at."""
    run = _begin(at)
    if run is None:
        # That round may have looked a moment too early.
        _announce_due(at + AGAIN_AFTER, at)
    else:
        _Round(run, at).ended_only()


def reconcile_if_late() -> ReconcilerRun | None:
    """A round, if none was begun for LATE_S: beat may be dead."""
    at = clock.now()
    newest = ReconcilerRun.objects.order_by("-started_at").first()
    if newest is not None and newest.started_at >= at - clock.passed_in(LATE_S):
        return None
    return reconcile(at=at)


def findings(since: datetime) -> Findings:
    runs = ReconcilerRun.objects.filter(started_at__gte=since)
    sums = runs.aggregate(live=Sum("found_live"), suspended=Sum("found_suspended"), renewed=Sum("renewed"))
    is_dead = Q(finished_at__isnull=True) & (Q(busy_until__isnull=True) | Q(busy_until__lt=_machine_now()))
    newest = runs.filter(finished_at__isnull=False).order_by("-finished_at").first()
    return Findings(
        rounds=runs.count(),
        found_live=sums["live"] or 0,
        found_suspended=sums["suspended"] or 0,
        renewed=sums["renewed"] or 0,
        failed=runs.filter(is_dead | ~Q(error="")).count(),
        last_finished_at=newest.finished_at if newest is not None else None,
    )


def prune(*, at: datetime) -> int:
    """Delete rounds of more than KEPT ago that found nothing; those that did are kept. Returns how many."""
    old = ReconcilerRun.objects.filter(started_at__lt=at - KEPT, found_live=0, found_suspended=0, error="")
    deleted = 0
    while ids := list(old.order_by("id").values_list("id", flat=True)[: outbox.PRUNED_AT_ONCE]):
        deleted += ReconcilerRun.objects.filter(pk__in=ids).delete()[0]
    return deleted


# --- one round --------------------------------------------------------------------------------------------------


class _Overtaken(Exception):
    """This round stood still past its lease, and another has begun."""


def _begin(at: datetime) -> ReconcilerRun | None:
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [fence.LOCK_KEY + 2])
                if not cursor.fetchone()[0]:
                    return None
        before = ReconcilerRun.objects.order_by("-id").first()
        now = _machine_now()
        busy_until = None if before is None or before.finished_at is not None else before.busy_until
        # One that lies too far ahead is from before the machine's clock was set back.
        if busy_until is not None and now < busy_until <= now + timedelta(seconds=2 * LEASE_S):
            return None
        return ReconcilerRun.objects.create(
            started_at=at,
            # How far back changes of authority are known to have been seen to; where the slow round stands.
            revision=before.revision if before is not None else 0,
            position=before.position if before is not None else 0,
            busy_until=now + timedelta(seconds=LEASE_S),
        )


@dataclass
class _Round:
    run: ReconcilerRun
    at: datetime
    has_told: bool = False
    failures: list[Exception] = field(default_factory=list)

    def whole(self) -> ReconcilerRun:
        return self._do(self._catch_up, self._look_at_live, self._turn)

    def ended_only(self) -> ReconcilerRun:
        return self._do(self._decide_ended)

    def _do(self, *steps: Callable[[], None]) -> ReconcilerRun:
        for step in steps:
            try:
                step()
            except _Overtaken:
                logger.warning("reconciler.overtaken", run_id=self.run.pk)
                return self.run
            except Exception as error:
                self._note(error)
        # Raises if the database is away: then the lease ends this round.
        self._end()
        return self.run

    def _note(self, error: Exception) -> None:
        """What cannot be looked at or decided must not hide the rest."""
        self.failures.append(error)
        if not connection.in_atomic_block:
            # Of a session that the database ended: the next statement opens another.
            connection.close_if_unusable_or_obsolete()

    def _end(self) -> None:
        run = self.run
        run.error = "; ".join(f"{type(error).__name__}: {error}" for error in self.failures)[:2000]
        run.finished_at = max(self.at, clock.now())
        self._keep("finished_at", "error", "revision", "position")
        if run.found_live:
            logger.error("reconciler.found_live_without_authority", run_id=run.pk, offers=run.found_live)
        if run.found_suspended:
            logger.error(
                "reconciler.found_suspended_though_allowed", run_id=run.pk, offers=run.found_suspended
            )
        logger.info(
            "reconciler.round", run_id=run.pk, live=run.live, decided=run.decided, renewed=run.renewed
        )
        _announce_next_end(run.finished_at)
        if self.failures:
            raise ExceptionGroup("The reconciler could not decide all offers.", self.failures)

    def _keep(self, *names: str) -> None:
        """Write what was counted so far, and show that this round is alive."""
        if ReconcilerRun.objects.filter(pk__gt=self.run.pk).exists():
            raise _Overtaken
        self.run.busy_until = _machine_now() + timedelta(seconds=LEASE_S)
        names = (*names, "live", "decided", "found_live", "found_suspended", "renewed", "busy_until")
        self.run.save(update_fields=names)

    # --- the steps

    def _look_at_live(self) -> None:
        """Every live offer, quickly; in full those that nothing vouches for."""
        after: int | None = 0
        while after is not None:
            # Read anew for each page: an instant before the newest revision would be answered for the time before.
            _, instant = decisions.present(max(self.at, clock.now()))
            seen = vouching.look(after=after, at=instant)
            self.run.live += seen.looked_at
            if seen.doubted:
                removals = LeftToAPerson.now()
                self._decide(sorted(seen.doubted), removals=removals)
            self._keep()
            after = seen.last

    def _decide_ended(self) -> None:
        ended = ListingHost.objects.filter(
            state=OfferState.LIVE, clearance_expires_at__lte=max(self.at, clock.now())
        )
        for ids in _pages(ended):
            self._decide(ids, removals=LeftToAPerson.now())
            self._keep()

    def _catch_up(self) -> None:
        """Suspended offers of changes whose sweep never came, or did not finish: they may be allowed again."""
        missed, seen_to = _missed_changes(self.run.revision, self._grace_began())
        if missed:
            suspended = _concerned(ListingHost.objects.filter(state=OfferState.SUSPENDED), missed)
            for ids in _pages(suspended):
                self._decide(ids)
                self._keep()
        if not self.failures:
            self.run.revision = seen_to

    def _turn(self) -> None:
        """The next slice of all offers, live and suspended, whatever anybody says of them."""
        rows = ListingHost.objects.filter(state__in=_OPEN_STATES).order_by("id")
        ids = list(rows.filter(id__gt=self.run.position).values_list("id", flat=True)[:SLICE])
        if len(ids) < SLICE:
            # Round the end, but no offer twice.
            left = SLICE - len(ids)
            ids += rows.filter(id__lte=self.run.position).values_list("id", flat=True)[:left]
        for part in batched(ids, settings.SWEEP_CHUNK_SIZE):
            self._decide(part)
            self._keep()
        if ids:
            self.run.position = ids[-1]

    # --- deciding

    def _decide(self, ids: Sequence[int], *, removals: LeftToAPerson | None = None) -> None:
        """In full, in chunks. `removals`: their offers are left to the person as a whole.

        That is for looks that would find the same offers each minute until the person has decided.
        """
        for part in batched(ids, settings.SWEEP_CHUNK_SIZE):
            try:
                result = sweeps.redecide(
                    partial(self._choose, part, removals),
                    sweep=None,
                    chunk=None,
                    by=SYSTEM,
                    more={"run_id": self.run.pk},
                    moved=None if self.has_told else self._tell,
                )
            except Exception as error:
                self._note(error)
                continue
            self.has_told = self.has_told or bool(result.delisted or result.reinstated)
            self.run.decided += result.decided
            self.run.found_live += result.delisted
            self.run.found_suspended += result.reinstated
            self.run.renewed += result.renewed

    def _choose(self, ids: Sequence[int], removals: LeftToAPerson | None) -> QuerySet[ListingHost]:
        """These, less those of changes under way. Asked again under the fence, where none can be made meanwhile."""
        part = ListingHost.objects.filter(pk__in=ids, state__in=_OPEN_STATES)
        left = _under_way(part, self._grace_began())
        if removals:
            left |= set(removals.touches(part).values_list("pk", flat=True))
        return part.exclude(pk__in=left) if left else part

    def _tell(self, result: sweeps.ChunkResult) -> None:
        """Inside the transaction of the first chunk that moved anything: vendors are to be told of this round."""
        at = clock.now()
        outbox.announce(
            event="reconciler.found", payload={"run_id": self.run.pk}, at=at, due_at=at + TOLD_AFTER
        )

    def _grace_began(self) -> datetime:
        return max(self.at, clock.now()) - clock.passed_in(GRACE_S)


# --- what is left to its own sweep ------------------------------------------------------------------------------


def _under_way(offers: QuerySet[ListingHost], since: datetime) -> set[int]:
    """Of these offers, those that a change concerns which was announced since then, or whose sweep gets on."""
    fact_ids: set[int] = set()
    scopes: list[dict[str, Any]] = []
    for fact_id, scope in _changes_under_way(since):
        if fact_id is not None:
            fact_ids.add(fact_id)
        elif scope:
            scopes.append(scope)
        else:
            return set(offers.values_list("pk", flat=True))
    found: set[int] = set()
    if fact_ids:
        found |= set(selectors.offers_touched_by_any(offers, fact_ids).values_list("pk", flat=True))
    for scope in scopes:
        found |= set(selectors.offers_in_scope(offers, scope).values_list("pk", flat=True))
    return found


def _changes_under_way(since: datetime) -> Iterator[tuple[int | None, dict[str, Any]]]:
    rows = outbox.open_rows(clock.now()).filter(attempt=1, due_at__gte=since)
    announced = rows.filter(event__in=["authority.changed", "authority.boundary"])
    for payload in announced.values_list("payload", flat=True):
        yield payload.get("fact_id"), payload.get("scope") or {}
    for sweep in _sweeps_that_get_on(since):
        yield sweep.fact_id, sweep.scope


def _sweeps_that_get_on(since: datetime) -> list[Sweep]:
    chunks = SweepChunk.objects.filter(sweep=OuterRef("pk"), done_at__gte=since)
    sweeps_open = Sweep.objects.filter(finished_at__isnull=True)
    young = sweeps_open.filter(Q(started_at__gte=since) | Exists(chunks))
    # One that is still cut into chunks, or was approved a moment ago, has a row of its own.
    rows = outbox.open_rows(clock.now()).filter(attempt=1, due_at__gte=since)
    planned = rows.filter(event="sweep.planned").values_list("payload", flat=True)
    approved = rows.filter(event="removal.settled").values_list("payload", flat=True)
    by_row = sweeps_open.filter(
        Q(pk__in=[payload["sweep_id"] for payload in planned])
        | Q(revocation_id__in=[payload["revocation_id"] for payload in approved])
    )
    return [*young, *by_row]


# --- changes that no sweep came for -----------------------------------------------------------------------------


def _missed_changes(base: int, since: datetime) -> tuple[list[int], int]:
    """Revisions after `base`, made before `since`, that no sweep has seen to; and up to which all will be seen to
    once these are.
    """
    seen_to = fence.current_revision()
    missed: list[int] = []
    waiting = {revocation.pk for revocation in LeftToAPerson.now().revocations}
    getting_on = {sweep.revision_id for sweep in _sweeps_that_get_on(since)}
    unfinished = Revision.objects.filter(n__gt=base, n__lte=seen_to).exclude(sweep__finished_at__isnull=False)
    rows = unfinished.order_by("n").values_list("n", "recorded_at", "sweep__revocation_id")
    for n, recorded_at, revocation_id in rows:
        if recorded_at >= since or n in getting_on:
            seen_to = min(seen_to, n - 1)
        elif revocation_id not in waiting:
            missed.append(n)
    return missed, seen_to


def _concerned(offers: QuerySet[ListingHost], revisions: Iterable[int]) -> QuerySet[ListingHost]:
    """The offers that these changes may concern: of the facts that they wrote; all, where one wrote none."""
    fact_ids: set[int] = set()
    explained: set[int] = set()
    for part in batched(sorted(revisions), 1000):
        for model in _FACT_VERSIONS:
            rows = model.objects.filter(Q(rev_from__in=part) | Q(rev_to__in=part))
            for fact_id, rev_from, rev_to in rows.values_list("head_id", "rev_from", "rev_to"):
                fact_ids.add(fact_id)
                explained |= {rev_from, rev_to}
    if not explained.issuperset(revisions):
        return offers
    return selectors.offers_touched_by_any(offers, fact_ids)


# --- the next end -----------------------------------------------------------------------------------------------


def _announce_next_end(at: datetime) -> None:
    ends = ListingHost.objects.filter(state=OfferState.LIVE, clearance_expires_at__gt=at)
    next_end = ends.order_by("clearance_expires_at").values_list("clearance_expires_at", flat=True).first()
    if next_end is not None and next_end <= at + AHEAD:
        # At the full second behind it: many that end almost together are one round.
        whole = next_end.replace(microsecond=0)
        _announce_due(whole if whole == next_end else whole + timedelta(seconds=1), at)


def _announce_due(due_at: datetime, at: datetime) -> None:
    """Once for each instant, however many rounds see it coming."""
    event_id = uuid5(_DUE, due_at.isoformat())
    with transaction.atomic():
        if not OutboxRow.objects.filter(event_id=event_id).exists():
            outbox.announce(event="reconcile.due", payload={}, at=at, due_at=due_at, event_id=event_id)


def _pages(offers: QuerySet[ListingHost]) -> Iterator[list[int]]:
    # By key, never with a cursor left open: on SQLite an open read keeps this connection from writing after others.
    last = 0
    rows = offers.order_by("id").values_list("id", flat=True)
    while part := list(rows.filter(id__gt=last)[: settings.SWEEP_CHUNK_SIZE]):
        last = part[-1]
        yield part


def _machine_now() -> datetime:
    # A lease is a matter of processes, not of business.
    return clock.machine_now()
