"""Sweeps: after a change of authority, every offer that it may touch is decided again, chunk by chunk.

What falls is delisted, not what touches. A chunk is one transaction; it holds the fence shared, so that what it
writes is true at its commit: a worker that slept through a revocation or a release cannot undo it. Doing a chunk
twice, late or next to another changes nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from authorization import clock, decisions, fence, ledger, outbox, selectors
from authorization import offers as offer_acts
from authorization.actors import SYSTEM, Actor
from authorization.decisions import Answer
from authorization.models import (
    Decision,
    DecisionEvidence,
    Delisting,
    Fact,
    Revision,
    Revocation,
    Sweep,
    SweepChunk,
)
from catalog import listings
from catalog.models import ListingHost, OfferState

logger = structlog.get_logger(__name__)

# A clearance that ends sooner than this is renewed by the reconciler, if the offer is still allowed.
RENEW_AHEAD = timedelta(days=1)
# For so long a change of authority is its own sweep's business; after that the reconciler steps in.
GRACE = timedelta(seconds=30)


@dataclass
class ChunkResult:
    decided: int = 0
    delisted: int = 0
    reinstated: int = 0


def start_sweep(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `authority.changed`: cut what the change may touch into chunks, each its own outbox row."""
    revision = Revision.objects.get(n=payload["revision"])
    with transaction.atomic():
        sweep, is_new = Sweep.objects.get_or_create(
            revision=revision,
            defaults={
                "started_at": at,
                "fact_id": payload["fact_id"],
                "revocation": Revocation.objects.filter(revision=revision).first(),
            },
        )
        if not is_new:
            return
        chunks = [
            SweepChunk.objects.create(sweep=sweep, first_offer_id=first, last_offer_id=last)
            for first, last in _ranges(_touched(payload["fact_id"]))
        ]
        for chunk in chunks:
            outbox.announce(event="sweep.chunk_planned", payload={"chunk_id": chunk.pk}, at=at)
        if not chunks:
            _finish(sweep, at)


def run_chunk(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.chunk_planned`."""
    chunk = SweepChunk.objects.select_related("sweep").get(pk=payload["chunk_id"])
    if chunk.done_at is None:
        in_range = Q(id__gte=chunk.first_offer_id, id__lte=chunk.last_offer_id)
        offers = _touched(chunk.sweep.fact_id).filter(in_range)
        _redecide(lambda: offers, sweep=chunk.sweep, chunk=chunk, by=SYSTEM)
    # Asked again when a chunk is delivered again: who did it may have died before it could finish the sweep.
    if not SweepChunk.objects.filter(sweep=chunk.sweep, done_at__isnull=True).exists():
        with transaction.atomic():
            _finish(chunk.sweep, clock.now())


def reconcile(*, at: datetime) -> ChunkResult:
    """Decide every live and every suspended offer again. What moves here was missed by the events, and is alarmed.

    Offers that a change of the last GRACE may touch are left to its own sweep, which is on its way. Also renews
    clearances that are about to end although the offer is still allowed.
    """
    total, failures = ChunkResult(), []
    for first, last in _ranges(_touched(None)):
        part = _touched(None).filter(id__gte=first, id__lte=last)
        try:
            result = _redecide(partial(_without_open_changes, part, at), sweep=None, chunk=None, by=SYSTEM)
        except Exception as error:
            # One part that cannot be decided must not hide the others.
            failures.append(error)
            continue
        total.decided += result.decided
        total.delisted += result.delisted
        total.reinstated += result.reinstated
    if total.delisted:
        logger.error("reconciler.found_live_without_authority", offers=total.delisted)
    if total.reinstated:
        logger.warning("reconciler.found_suspended_though_allowed", offers=total.reinstated)
    if failures:
        raise ExceptionGroup("The reconciler could not decide all offers.", failures)
    return total


def progress(sweep: Sweep) -> dict[str, int]:
    """How far a sweep is: chunks in all, chunks done, offers decided, delisted, reinstated."""
    chunks = list(sweep.chunks.all())
    return {
        "chunks": len(chunks),
        "chunks_done": sum(chunk.done_at is not None for chunk in chunks),
        "decided": sum(chunk.decided for chunk in chunks),
        "delisted": sum(chunk.delisted for chunk in chunks),
        "reinstated": sum(chunk.reinstated for chunk in chunks),
    }


# --- one chunk --------------------------------------------------------------------------------------------------


def _redecide(
    choose: Callable[[], QuerySet[ListingHost]], *, sweep: Sweep | None, chunk: SweepChunk | None, by: Actor
) -> ChunkResult:
    """`choose` says which offers; it is asked again under the fence, where no change can come in between."""
    # Decided before the fence, so that what waits for the fence need not wait for the thinking.
    found = list(_in_order(choose()))
    answered = zip(found, decisions.decide_offers(found, at=clock.now()), strict=True)
    early = {(offer.pk, offer.version): answer for offer, answer in answered}
    with transaction.atomic():
        revision = fence.shared()
        at = clock.now()
        # Locked first and read after, in a statement of its own: a row that was waited for is read in its new state,
        # the listing joined to it would not be.
        bare = choose().order_by("id").select_for_update(of=("self",), no_key=True)
        ids = list(bare.values_list("pk", flat=True))
        locked = list(_in_order(ListingHost.objects.filter(pk__in=ids)))
        if chunk is not None:
            marked = SweepChunk.objects.filter(pk=chunk.pk, done_at__isnull=True).update(done_at=at)
            if not marked:
                return ChunkResult()
        answers = _still_good(locked, early, revision, at)
        result = _apply(locked, answers, sweep=sweep, by=by, at=at)
        if chunk is not None:
            SweepChunk.objects.filter(pk=chunk.pk).update(
                decided=result.decided, delisted=result.delisted, reinstated=result.reinstated
            )
    logger.info(
        "sweep.chunk_done",
        sweep_id=sweep.pk if sweep else None,
        decided=result.decided,
        delisted=result.delisted,
        reinstated=result.reinstated,
    )
    return result


def _still_good(
    offers: list[ListingHost], early: dict[tuple[int, int], Answer], revision: int, at: datetime
) -> list[Answer]:
    """The early answers if nothing moved since; decided again under the fence otherwise."""
    answers = [early.get((offer.pk, offer.version)) for offer in offers]
    # About the same maker: the rows may have been read before the revision whose stamp the answers bear.
    if all(
        answer is not None
        and answer.revision == revision
        and at < answer.expires_at
        and answer.is_about(offer)
        for offer, answer in zip(offers, answers, strict=True)
    ):
        return [answer for answer in answers if answer is not None]
    return decisions.decide_offers(offers, at=at)


def _in_order(offers: QuerySet[ListingHost]) -> QuerySet[ListingHost]:
    return offers.select_related("listing__variant__device", "host").order_by("id")


def _apply(
    offers: list[ListingHost], answers: list[Answer], *, sweep: Sweep | None, by: Actor, at: datetime
) -> ChunkResult:
    pairs = list(zip(answers, offers, strict=True))
    falls = [pair for pair in pairs if pair[1].state == OfferState.LIVE and not pair[0].is_allowed]
    returns = [
        pair
        for pair in pairs
        if pair[1].state == OfferState.SUSPENDED and pair[0].is_allowed and settings.RELIST_AUTOMATICALLY
    ]
    renews = _resting_on_old_evidence(
        [pair for pair in pairs if pair[1].state == OfferState.LIVE and pair[0].is_allowed], at
    )
    recorded = decisions.record_decisions([*falls, *returns, *renews])
    by_offer = {decision.offer_id: decision for decision in recorded}
    entries: list[dict[str, Any]] = []
    alike: dict[tuple[str, ...], list[int]] = {}
    for answer, offer in falls:
        alike.setdefault(tuple(answer.reason_codes), []).append(offer.pk)
        entries.append(_entry("listing.suspended", offer, by_offer[offer.pk], by, at))
    for reason_codes, offer_ids in alike.items():
        # Their rows are locked: one statement for all that fall for the same reasons.
        listings.suspend_offers(offer_ids=offer_ids, at=at, reason_codes=reason_codes)
    for _, offer in returns:
        leave = decisions.clearance(by_offer[offer.pk])
        listings.move_offer(offer=offer, to_state=OfferState.LIVE, at=at, clearance=leave)
        entries.append(_entry("listing.reinstated", offer, by_offer[offer.pk], by, at))
    for _, offer in renews:
        leave = decisions.clearance(by_offer[offer.pk])
        listings.renew_clearance(offer=offer, clearance=leave)
    Delisting.objects.bulk_create(
        [
            Delisting(
                offer=offer, decision=by_offer[offer.pk], sweep=sweep, reason_codes=answer.reason_codes, at=at
            )
            for answer, offer in falls
        ]
    )
    ledger.record_many(entries)
    for event, moved, state in (
        ("listing.suspended", falls, OfferState.SUSPENDED),
        ("listing.reinstated", returns, OfferState.LIVE),
    ):
        payloads = [
            offer_acts.offer_payload(offer, state, by_offer[offer.pk], sweep_id=sweep.pk if sweep else None)
            for _, offer in moved
        ]
        outbox.announce_many(event=event, payloads=payloads, at=at)
    return ChunkResult(decided=len(pairs), delisted=len(falls), reinstated=len(returns))


def _resting_on_old_evidence(
    pairs: list[tuple[Answer, ListingHost]], at: datetime
) -> list[tuple[Answer, ListingHost]]:
    """Offers that stay live, but no longer on the versions that their clearance cites, or not for long."""
    cited: dict[Any, set[tuple[str, int, int]]] = {}
    rows = DecisionEvidence.objects.filter(decision_id__in=[offer.decision_id for _, offer in pairs])
    columns = ("decision_id", "kind", "fact_id", "version_no")
    for decision_id, kind, fact_id, version_no in rows.values_list(*columns):
        cited.setdefault(decision_id, set()).add((kind, fact_id, version_no))
    return [
        (answer, offer)
        for answer, offer in pairs
        if cited.get(offer.decision_id, set())
        != {(item.kind, item.fact_id, item.version_no) for item in answer.evidence}
        or (offer.clearance_expires_at is not None and offer.clearance_expires_at <= at + RENEW_AHEAD)
    ]


def _entry(act: str, offer: ListingHost, decision: Decision, by: Actor, at: datetime) -> dict[str, Any]:
    return ledger.entry_fields(
        act=act,
        subject_kind="offer",
        subject_id=offer.pk,
        by=by,
        at=at,
        evidence={"decision": str(decision.pk), "reasons": decision.reasons},
        revision=decision.revision,
    )


# --- what to sweep ----------------------------------------------------------------------------------------------


def _touched(fact_id: int | None) -> QuerySet[ListingHost]:
    """Live offers, which may fall, and suspended ones, which may return."""
    swept = ListingHost.objects.filter(Q(state=OfferState.LIVE) | Q(state=OfferState.SUSPENDED))
    if fact_id is None:
        return swept
    return selectors.offers_touched_by(swept, Fact.objects.get(pk=fact_id))


def _without_open_changes(offers: QuerySet[ListingHost], at: datetime) -> QuerySet[ListingHost]:
    """These offers, less those that a recent change may touch whose sweep is not done."""
    since = at - GRACE
    announced = outbox.open_rows(clock.now()).filter(event="authority.changed", created_at__gte=since)
    open_facts = {row.payload["fact_id"] for row in announced}
    sweeps = Sweep.objects.filter(finished_at__isnull=True, started_at__gte=since)
    open_facts |= set(sweeps.values_list("fact_id", flat=True))
    if None in open_facts:
        return offers.none()
    if open_facts:
        touched = selectors.offers_touched_by_any(ListingHost.objects.all(), open_facts)
        offers = offers.exclude(pk__in=touched.values("pk"))
    return offers


def _ranges(offers: QuerySet[ListingHost]) -> Iterator[tuple[int, int]]:
    # By key, never with a cursor left open: on SQLite an open read keeps this connection from writing after others.
    last = 0
    rows = offers.order_by("id").values_list("id", flat=True)
    while part := list(rows.filter(id__gt=last)[: settings.SWEEP_CHUNK_SIZE]):
        last = part[-1]
        yield part[0], last


def _finish(sweep: Sweep, at: datetime) -> None:
    if Sweep.objects.filter(pk=sweep.pk, finished_at__isnull=True).update(finished_at=at):
        payload = {"sweep_id": sweep.pk, "revocation_id": sweep.revocation_id}
        outbox.announce(event="sweep.finished", payload=payload, at=at)
