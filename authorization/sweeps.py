"""Sweeps: after a change of authority, every offer that it may touch is decided again, chunk by chunk.

What falls is delisted, not what touches. A chunk is one transaction; it holds the fence shared, so that what it
writes is true at its commit: a worker that slept through a revocation or a release cannot undo it. Doing a chunk
twice, late or next to another changes nothing. Planning goes the same way, a few chunks at a time (docs/sweeps.md).
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, Max, Q, QuerySet, Sum

from authorization import clock, decisions, delisting, fence, outbox, pending_changes, selectors
from authorization.actors import SYSTEM, Actor
from authorization.garbage import uncollected
from authorization.models import PendingChange, Reinstatement, Revision, Revocation, Sweep, SweepChunk
from catalog import listings
from catalog.models import ListingHost, OfferState

logger = structlog.get_logger(__name__)

# Chunks planned in one transaction: few enough that nobody waits for it, enough that planning is ahead of the work.
PLANNED_AT_ONCE = 20
# How often a chunk is thought through again before the fence; then it is, once, behind it.
ATTEMPTS = 3
# A worker says at most this often how far a sweep is.
LOGGED_EVERY_S = 1


@dataclass
class ChunkResult:
    decided: int = 0
    delisted: int = 0
    reinstated: int = 0
    renewed: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a sweep is. `offers` and `chunks`: those planned so far, of all once `is_planned`.

    `rate_per_s`: offers decided per second since the start. `eta_s`: seconds until the last chunk; both None where
    that cannot be said yet. `oldest_undone_at`: since when work has been waiting; None when there is none.
    """

    offers: int
    decided: int
    delisted: int
    reinstated: int
    chunks: int
    chunks_done: int
    is_planned: bool
    is_waiting: bool
    rate_per_s: float | None
    eta_s: float | None
    oldest_undone_at: datetime | None


# --- planning ---------------------------------------------------------------------------------------------------


def start_sweep(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `authority.changed`: the sweep of a revision, and its first chunks.

    One whose withdrawal waits for a second person is made too, and planned when that person agrees.
    """
    with transaction.atomic():
        revision = Revision.objects.get(n=payload["revision"])
        revocation = _revocation_of(revision, payload.get("revocation_id"))
        # Locked until the sweep stands: who agrees meanwhile would look for it and not find it.
        removals = PendingChange.objects.select_for_update(no_key=True).filter(
            revocation=revocation, kind=PendingChange.Kind.REMOVAL
        )
        waits = revocation is not None and any(row.state == PendingChange.State.OPEN for row in removals)
        sweep, _ = Sweep.objects.get_or_create(
            revision=revision,
            defaults={
                "started_at": at,
                "fact_id": payload["fact_id"],
                "scope": payload.get("scope") or {},
                "revocation": revocation,
            },
        )
    if not waits:
        _plan(sweep.pk, at, up_to=0)


def start_approved(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `removal.settled`: the sweep that had to wait begins. One that is not there yet need not wait."""
    sweep = Sweep.objects.filter(revocation_id=payload["revocation_id"]).first()
    if sweep is None:
        return
    Sweep.objects.filter(pk=sweep.pk, planned_up_to=0, planned_at__isnull=True).update(started_at=at)
    _plan(sweep.pk, at, up_to=0)


def plan_on(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.planned`: the next chunks."""
    _plan(payload["sweep_id"], at, up_to=payload["up_to"])


def _plan(sweep_id: int, at: datetime, *, up_to: int) -> None:
    """Plan the chunks after the offer `up_to`, unless that was done; the transaction asks for the next round too."""
    sweep = Sweep.objects.get(pk=sweep_id)
    if sweep.planned_at is None and sweep.planned_up_to == up_to:
        size = settings.SWEEP_CHUNK_SIZE
        ids = list(
            _concerned(sweep)
            .filter(id__gt=up_to)
            .order_by("id")
            .values_list("id", flat=True)[: size * PLANNED_AT_ONCE]
        )
        is_last = len(ids) < size * PLANNED_AT_ONCE
        with transaction.atomic():
            mine = Sweep.objects.filter(pk=sweep_id, planned_up_to=up_to, planned_at__isnull=True).update(
                planned_up_to=ids[-1] if ids else up_to,
                planned_offers=F("planned_offers") + len(ids),
                planned_at=at if is_last else None,
            )
            if mine:
                chunks = SweepChunk.objects.bulk_create(
                    SweepChunk(sweep_id=sweep_id, first_offer_id=part[0], last_offer_id=part[-1])
                    for part in batched(ids, size)
                )
                for chunk in chunks:
                    outbox.announce(event="sweep.chunk_planned", payload={"chunk_id": chunk.pk}, at=at)
                if not is_last:
                    # Due before the chunks: how much there is to do is known early.
                    outbox.announce(
                        event="sweep.planned",
                        payload={"sweep_id": sweep_id, "up_to": ids[-1]},
                        at=at,
                        due_at=sweep.started_at,
                    )
    _finish_if_done(sweep_id)


def _revocation_of(revision: Revision, revocation_id: int | None) -> Revocation | None:
    """The withdrawal that this revision puts into effect. One for a later day comes with its boundary."""
    if revocation_id is not None:
        found = Revocation.objects.filter(pk=revocation_id).first()
    else:
        found = Revocation.objects.filter(revision=revision).first()
        if found is not None and pending_changes.is_scheduled(found):
            return None
    if found is not None and Sweep.objects.filter(revocation=found).exclude(revision=revision).exists():
        return None
    return found


def _concerned(sweep: Sweep) -> QuerySet[ListingHost]:
    return selectors.offers_concerned(_swept(), fact_id=sweep.fact_id, scope=sweep.scope)


def _swept() -> QuerySet[ListingHost]:
    """Live offers, which may fall, and suspended ones, which may return."""
    return ListingHost.objects.filter(Q(state=OfferState.LIVE) | Q(state=OfferState.SUSPENDED))


# --- progress ---------------------------------------------------------------------------------------------------


def progress(sweep: Sweep) -> Progress:
    """Two statements, however many chunks there are."""
    fresh = Sweep.objects.get(pk=sweep.pk)
    done = fresh.chunks.aggregate(
        chunks=Count("id"),
        chunks_done=Count("done_at"),
        decided=Sum("decided", default=0),
        delisted=Sum("delisted", default=0),
        reinstated=Sum("reinstated", default=0),
        last=Max("done_at"),
    )
    last = done.pop("last")
    elapsed_s = (last - fresh.started_at).total_seconds() if last is not None else 0.0
    undone = done["chunks"] - done["chunks_done"]
    return Progress(
        offers=fresh.planned_offers,
        **done,
        is_planned=fresh.planned_at is not None,
        is_waiting=(
            fresh.planned_at is None
            and fresh.planned_up_to == 0
            and fresh.revocation is not None
            and pending_changes.waits_for_second_person(fresh.revocation)
        ),
        rate_per_s=done["decided"] / elapsed_s if elapsed_s > 0 else None,
        eta_s=(
            undone * elapsed_s / done["chunks_done"]
            if fresh.planned_at is not None and done["chunks_done"]
            else None
        ),
        oldest_undone_at=fresh.started_at if fresh.finished_at is None else None,
    )


def _finish_if_done(sweep_id: int) -> None:
    """Asked by whoever plans or works, after the commit, also when told twice: who did the last may have died."""
    open_sweep = Sweep.objects.filter(pk=sweep_id, planned_at__isnull=False, finished_at__isnull=True)
    undone = SweepChunk.objects.filter(sweep=sweep_id, done_at__isnull=True)
    # In one statement: no more chunks come once all is planned, but they may in between two looks.
    if not open_sweep.filter(~Exists(undone)).exists():
        return
    at = clock.now()
    with transaction.atomic():
        if not open_sweep.update(finished_at=at):
            return
        sweep = Sweep.objects.get(pk=sweep_id)
        payload = {"sweep_id": sweep_id, "revocation_id": sweep.revocation_id}
        event = "sweep.finished" if _has_something_to_tell(sweep) else "sweep.passed"
        outbox.announce(event=event, payload=payload, at=at)
    if logger.is_enabled_for(logging.INFO):
        _log(event, sweep)


def _has_something_to_tell(sweep: Sweep) -> bool:
    """It carried out somebody's word, or took it back, or moved an offer. Most changes of authority do none of that,
    and those who tell vendors, parties and the public need not be woken for them.
    """
    if sweep.revocation_id is not None or Reinstatement.objects.filter(revision=sweep.revision_id).exists():
        return True
    return sweep.chunks.filter(Q(delisted__gt=0) | Q(reinstated__gt=0)).exists()


# --- one chunk --------------------------------------------------------------------------------------------------


def run_chunk(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.chunk_planned`."""
    chunk = SweepChunk.objects.select_related("sweep").get(pk=payload["chunk_id"])
    if chunk.done_at is None:
        in_range = Q(id__gte=chunk.first_offer_id, id__lte=chunk.last_offer_id)
        redecide(lambda: _concerned(chunk.sweep).filter(in_range), sweep=chunk.sweep, chunk=chunk, by=SYSTEM)
        _log_progress(chunk.sweep)
    _finish_if_done(chunk.sweep_id)


class _Moments:
    """Of this process, on its monotonic clock."""

    logged_at = float("-inf")


_moments = _Moments()


def _log_progress(sweep: Sweep) -> None:
    """Once in a while: to count a sweep's chunks after each of a thousand would take longer than to do some."""
    if not logger.is_enabled_for(logging.INFO) or time.monotonic() < _moments.logged_at + LOGGED_EVERY_S:
        return
    _moments.logged_at = time.monotonic()
    _log("sweep.progress", sweep)


def _log(event: str, sweep: Sweep) -> None:
    now = progress(sweep)
    logger.info(
        event,
        sweep_id=sweep.pk,
        done=now.decided,
        total=now.offers,
        delisted=now.delisted,
        reinstated=now.reinstated,
        rate_per_s=None if now.rate_per_s is None else round(now.rate_per_s, 1),
        eta_s=None if now.eta_s is None else round(now.eta_s, 1),
    )


@dataclass(frozen=True)
class _Thought:
    """What is to be done about some offers, as of one revision, and until when that holds."""

    revision: int
    expires_at: datetime | None
    ready: delisting.Written
    result: ChunkResult


def redecide(
    choose: Callable[[], QuerySet[ListingHost]],
    *,
    sweep: Sweep | None,
    chunk: SweepChunk | None,
    by: Actor,
    more: Mapping[str, Any] | None = None,
    moved: Callable[[ChunkResult], None] | None = None,
) -> ChunkResult:
    """Decide these offers again, and make of them what the answers say. One transaction; some statements for all.

    `choose` says which; it is asked again when a change came in between. `more`: what else the events tell. `moved`
    is called at the end of the transaction, if anything fell or returned.
    """
    with uncollected():
        return _redecide(choose, None if sweep is None else sweep.pk, chunk, by, more, moved)


def _redecide(
    choose: Callable[[], QuerySet[ListingHost]],
    sweep_id: int | None,
    chunk: SweepChunk | None,
    by: Actor,
    more: Mapping[str, Any] | None,
    moved: Callable[[ChunkResult], None] | None,
) -> ChunkResult:
    for _ in range(ATTEMPTS):
        # Decided before the fence, so that what waits for the fence need not wait for the thinking.
        thought = _think(choose, sweep_id, more)
        try:
            with transaction.atomic():
                if _is_good(thought, fence.shared()):
                    return _write(thought, chunk, sweep_id, by, moved)
        except delisting.OfferMoved:
            # Edited by its vendor while it was thought about.
            continue
    with transaction.atomic():
        # The world does not hold still: once more with the fence held, and the offers locked before they are read.
        fence.shared()
        if chunk is not None:
            # In the order of `_write`: of one chunk delivered twice the second waits here.
            list(SweepChunk.objects.select_for_update(no_key=True).filter(pk=chunk.pk).values_list("pk"))
        listings.lock_offers(list(choose().values_list("id", flat=True)))
        return _write(_think(choose, sweep_id, more), chunk, sweep_id, by, moved)


def _think(
    choose: Callable[[], QuerySet[ListingHost]], sweep_id: int | None, more: Mapping[str, Any] | None
) -> _Thought:
    # The revision first, then the offers with their terms and makers, then the evidence: all of it is at least as new
    # as the stamp, and of exactly that revision if the counter still shows it under the fence.
    setting = decisions.read_setting(at=clock.now(), known_at=None)
    at = decisions.instant_of(setting, clock.now())
    offers = delisting.read(choose())
    answers = decisions.answers_in(setting, [offer.question for offer in offers], at=at)
    moves = delisting.sort_out(offers, answers, at=at)
    left = pending_changes.LeftToAPerson.now() if moves.falls else None
    if left:
        spared = left.spared([(move.offer.id, move.answer) for move in moves.falls], at=at)
        moves = moves.without(spared)
    result = ChunkResult(len(offers), len(moves.falls), len(moves.returns), len(moves.renews))
    expires_at = min([answer.expires_at for answer in answers], default=None)
    return _Thought(
        setting.revision, expires_at, delisting.prepare(moves, sweep_id=sweep_id, more=more), result
    )


def _is_good(thought: _Thought, revision: int) -> bool:
    """Did nothing change since it was thought? Asked under the fence."""
    return thought.revision == revision and (thought.expires_at is None or clock.now() < thought.expires_at)


def _write(
    thought: _Thought,
    chunk: SweepChunk | None,
    sweep_id: int | None,
    by: Actor,
    moved: Callable[[ChunkResult], None] | None,
) -> ChunkResult:
    at, result = clock.now(), thought.result
    if chunk is not None:
        # First: who delivers the same chunk at the same time waits here, and then finds it done.
        marked = SweepChunk.objects.filter(pk=chunk.pk, done_at__isnull=True).update(
            done_at=at, decided=result.decided, delisted=result.delisted, reinstated=result.reinstated
        )
        if not marked:
            return ChunkResult()
    listings.lock_offers([record.offer_id for record in thought.ready.records])
    delisting.write(thought.ready, sweep_id=sweep_id, by=by, at=at)
    if moved is not None and (result.delisted or result.reinstated):
        moved(result)
    return result
