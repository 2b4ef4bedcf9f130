"""Sweeps: planned piece by piece, worked off in any order, killed anywhere: each offer falls once, with its records."""

from collections import Counter
from datetime import timedelta
from random import Random
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.module_loading import import_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from authorization import (
    clock,
    decisions,
    delisting,
    fence,
    holds,
    offers,
    outbox,
    pending_changes,
    reinstatements,
    revocations,
    sealing,
    sweeps,
)
from authorization.actors import SYSTEM, Actor
from authorization.models import (
    Decision,
    DecisionEvidence,
    Delisting,
    Fact,
    LedgerEntry,
    OutboxRow,
    PendingChange,
    Revision,
    Revocation,
    Sweep,
    SweepChunk,
)
from authorization.revocations import PlaceHold, RevokeAgreement
from catalog import listings
from catalog.models import ListingHost, OfferState
from seeds.factories import OrganizationFactory, VariantFactory, make_agreement, make_sellable

pytestmark = pytest.mark.django_db

DESK = Actor("user", "desk")


def a_shop(count):
    """One vendor with so many live offers, each on papers of its own, and a stranger's."""
    vendor = OrganizationFactory.create(kind="vendor")
    worlds = [
        make_sellable(vendor=vendor, variant=VariantFactory.create(), sku=f"S-{n}") for n in range(count)
    ]
    stranger = make_sellable()
    finish_all()
    return vendor, worlds, stranger


def execute(change):
    at = clock.now()
    digest = revocations.preview(change, at=at).digest
    return revocations.execute(
        change, digest=digest, requested_by="the shop", word_received_at=at, note="test", by=DESK, at=at
    )


def execute_later(change, effective_at):
    at = clock.now()
    digest = revocations.preview(change, at=at, effective_at=effective_at).digest
    return revocations.execute(
        change, digest=digest, requested_by="the shop", word_received_at=at, note="test", by=DESK, at=at,
        effective_at=effective_at,
    )  # fmt: skip


def hold_vendor(vendor, code="H-1"):
    return execute(PlaceHold(code, "the shop", "SHOP_REVIEW", "", (("vendor", str(vendor.pk)),)))


def release(code="H-1"):
    fact = Fact.objects.get(code=code)
    return holds.release_hold(fact=fact, by=DESK, at=clock.now(), reason="settled")


def sweep_rows():
    """Undone work of sweeps, oldest first."""
    rows = OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True)
    return list(rows.filter(handler__startswith="authorization.sweeps.").order_by("id"))


def deliver(row):
    import_string(row.handler)(payload=row.payload, event_id=row.event_id, at=clock.now())


def do(row):
    deliver(row)
    OutboxRow.objects.filter(pk=row.pk).update(done_at=clock.now())


def finish_all():
    while rows := sweep_rows():
        for row in rows:
            do(row)


def states(worlds):
    return Counter(ListingHost.objects.filter(pk__in=ids(worlds)).values_list("state", flat=True))


def ids(worlds):
    return [world.offer.pk for world in worlds]


def decision_of(offer):
    return Decision.objects.get(pk=offer.decision_id)


def assert_fell_once(worlds, revocation):
    """Each of these was taken down by this withdrawal, with one record of each kind; nothing else was."""
    fallen = ids(worlds)
    assert states(worlds) == {OfferState.SUSPENDED: len(worlds)}
    records = list(Delisting.objects.filter(sweep__revocation=revocation))
    assert sorted(record.offer_id for record in records) == sorted(fallen)
    told = OutboxRow.objects.filter(event="listing.suspended", payload__sweep_id=revocation.sweep.pk)
    assert sorted(row.payload["offer_id"] for row in told) == sorted(fallen)
    assert {row.event_id for row in told} == {record.decision_id for record in records}
    entries = LedgerEntry.objects.filter(act="listing.suspended", revision__gte=revocation.revision_id)
    assert sorted(int(entry.subject_id) for entry in entries) == sorted(fallen)
    assert {entry.evidence["decision"] for entry in entries} == {str(row.event_id) for row in told}
    finished = OutboxRow.objects.filter(event="sweep.finished", payload__sweep_id=revocation.sweep.pk)
    assert finished.filter(handler="").count() == 1
    assert sum(chunk.delisted for chunk in revocation.sweep.chunks.all()) == len(worlds)


# --- planning ---------------------------------------------------------------------------------------------------


def test_a_sweep_that_moved_nothing_on_nobodys_word_wakes_nobody():
    """A second agreement for goods that are on sale already: decided again, nothing to tell."""
    world = make_sellable()
    outbox.pump()
    told = OutboxRow.objects.filter(event="sweep.finished").count()
    maker = world.variant.device.manufacturer
    make_agreement(grantor=maker, grantee=world.vendor, conditions=["new"], at=clock.now())
    outbox.pump()
    sweep = Sweep.objects.latest("id")
    assert sweeps.progress(sweep).decided == 1
    assert sweep.finished_at is not None
    assert OutboxRow.objects.filter(event="sweep.finished").count() == told
    assert OutboxRow.objects.get(event="sweep.passed", payload__sweep_id=sweep.pk).handler == ""


def test_a_hold_that_is_lifted_is_told_even_where_nothing_returns():
    world = make_sellable()
    first, second = (hold_vendor(world.vendor, code=code) for code in ("H-1", "H-2"))
    outbox.pump()
    told = set(OutboxRow.objects.filter(event="sweep.finished").values_list("event_id", flat=True))
    reinstatements.undo(revocation=first, reason="over", is_mistake=False, by=DESK, at=clock.now())
    outbox.pump()
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.SUSPENDED, second
    assert OutboxRow.objects.filter(event="sweep.finished").exclude(event_id__in=told).exists()


def test_a_sweep_is_planned_piece_by_piece_while_chunks_are_worked_off(settings, monkeypatch):
    vendor, worlds, stranger = a_shop(7)
    settings.SWEEP_CHUNK_SIZE = 2
    monkeypatch.setattr(sweeps, "PLANNED_AT_ONCE", 2)
    revocation = hold_vendor(vendor)
    (start,) = sweep_rows()
    do(start)
    sweep = revocation.sweep
    assert [sweep.chunks.count(), sweep.planned_offers, sweep.planned_at] == [2, 4, None]
    first = next(row for row in sweep_rows() if row.event == "sweep.chunk_planned")
    do(first)
    seen = sweeps.progress(sweep)
    assert (seen.offers, seen.decided, seen.delisted, seen.chunks, seen.chunks_done) == (4, 2, 2, 2, 1)
    assert not seen.is_planned
    assert seen.eta_s is None, "how much there is to do is not known yet"
    more = next(row for row in sweep_rows() if row.event == "sweep.planned")
    assert all(more.due_at <= row.due_at for row in sweep_rows()), "planning is ahead of the work"
    finish_all()
    assert_fell_once(worlds, revocation)
    seen = sweeps.progress(sweep)
    assert (seen.offers, seen.decided, seen.chunks, seen.chunks_done) == (7, 7, 4, 4)
    assert seen.is_planned
    assert seen.oldest_undone_at is None
    assert seen.eta_s == 0
    assert ListingHost.objects.get(pk=stranger.offer.pk).state == OfferState.LIVE


def test_a_sweep_finishes_only_when_all_is_planned(settings, monkeypatch):
    vendor, worlds, _ = a_shop(3)
    settings.SWEEP_CHUNK_SIZE = 1
    monkeypatch.setattr(sweeps, "PLANNED_AT_ONCE", 1)
    revocation = hold_vendor(vendor)
    do(sweep_rows()[0])
    for row in sweep_rows():
        if row.event == "sweep.chunk_planned":
            do(row)
    assert revocation.sweep.chunks.filter(done_at=None).count() == 0
    assert Sweep.objects.get(revocation=revocation).finished_at is None
    finish_all()
    assert_fell_once(worlds, revocation)


def test_a_sweep_finishes_only_when_its_last_chunk_is_done(settings):
    vendor, worlds, _ = a_shop(2)
    settings.SWEEP_CHUNK_SIZE = 1
    revocation = hold_vendor(vendor)
    do(sweep_rows()[0])
    assert Sweep.objects.get(revocation=revocation).planned_at is not None
    for row in sweep_rows():
        assert Sweep.objects.get(revocation=revocation).finished_at is None
        do(row)
    assert Sweep.objects.get(revocation=revocation).finished_at is not None
    assert OutboxRow.objects.filter(event="sweep.finished", handler="").count() == 1
    assert_fell_once(worlds, revocation)


def test_a_planner_that_another_overtook_writes_nothing(settings, monkeypatch):
    """The same round is delivered again while it is planned."""
    vendor, worlds, _ = a_shop(3)
    settings.SWEEP_CHUNK_SIZE = 1
    monkeypatch.setattr(sweeps, "PLANNED_AT_ONCE", 2)
    revocation = hold_vendor(vendor)
    (start,) = sweep_rows()
    original = sweeps._concerned

    def overtaken(sweep):
        monkeypatch.setattr(sweeps, "_concerned", original)
        found = list(original(sweep).values_list("id", flat=True))
        deliver(start)
        return ListingHost.objects.filter(pk__in=found)

    monkeypatch.setattr(sweeps, "_concerned", overtaken)
    do(start)
    sweep = Sweep.objects.get(revocation=revocation)
    assert (sweep.planned_offers, sweep.chunks.count()) == (2, 2)
    finish_all()
    assert_fell_once(worlds, revocation)


def test_a_change_that_touches_nothing_is_planned_and_finished_at_once():
    vendor = OrganizationFactory.create(kind="vendor")
    make_sellable()
    finish_all()
    revocation = hold_vendor(vendor)
    (row,) = sweep_rows()
    do(row)
    assert sweep_rows() == []
    assert Sweep.objects.get(revocation=revocation).finished_at is not None


def test_planning_asks_as_much_for_few_offers_as_for_many(settings):
    settings.SWEEP_CHUNK_SIZE = 5
    counts = []
    for size, code in ((2, "H-1"), (5, "H-2")):
        vendor, _, _ = a_shop(size)
        hold_vendor(vendor, code)
        (row,) = sweep_rows()
        with CaptureQueriesContext(connection) as queries:
            deliver(row)
        counts.append(len(queries))
        finish_all()
    assert counts[0] == counts[1]


# --- killed between any two steps -------------------------------------------------------------------------------


class Killed(BaseException):
    """Nobody catches it: as if the process were gone."""


def kill_at(monkeypatch, owner, name, *, after, nth=1):
    """The n-th call of a function is its worker's last act: before anything of it is done, or after all of it."""
    original, calls = getattr(owner, name), []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) != nth:
            return original(*args, **kwargs)
        if after:
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(owner, name, dying)


STEPS = [
    (outbox, "announce", 1),
    (outbox, "announce", 3),
    (Sweep.objects, "get_or_create", 1),
    (SweepChunk.objects, "bulk_create", 1),
    (SweepChunk.objects, "bulk_create", 2),
    (sweeps, "_plan", 1),
    (sweeps, "_plan", 2),
    (sweeps, "_finish_if_done", 1),
    (sweeps, "_finish_if_done", 5),
    (decisions, "read_setting", 1),
    (decisions, "answers_in", 2),
    (fence, "shared", 1),
    (listings, "lock_offers", 1),
    (listings, "suspend_offers", 2),
    (delisting, "write", 1),
    (sweeps, "_write", 2),
    (sweeps, "redecide", 1),
    (sweeps, "_log_progress", 3),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "name", "nth"), STEPS, ids=[f"{name}-{nth}" for _, name, nth in STEPS])
def test_a_worker_killed_at_any_step_loses_nothing_and_doubles_nothing(
    settings, monkeypatch, owner, name, nth, after
):
    vendor, worlds, _ = a_shop(5)
    settings.SWEEP_CHUNK_SIZE = 2
    monkeypatch.setattr(sweeps, "PLANNED_AT_ONCE", 2)
    revocation = hold_vendor(vendor)
    with monkeypatch.context() as dying:
        kill_at(dying, owner, name, after=after, nth=nth)
        killed = False
        while (rows := sweep_rows()) and not killed:
            try:
                do(rows[0])
            except Killed:
                killed = True
    assert killed
    finish_all()
    assert_fell_once(worlds, revocation)


# --- twice, late, in any order ----------------------------------------------------------------------------------


@pytest.mark.timeout(600)
class TestAnyOrder(TestCase):
    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 10**6))
    def test_duplicates_and_any_order_come_to_the_same(self, seed):
        """Histories of holds placed and lifted, their work delivered late, twice, shuffled: what counts is the end."""
        draw = Random(seed)
        vendor, worlds, stranger = a_shop(2)
        with self.settings(SWEEP_CHUNK_SIZE=draw.choice([1, 2])):
            held: set[str] = set()
            seen: list[OutboxRow] = []
            for n in range(draw.randint(2, 5)):
                if held and draw.random() < 0.5:
                    release(code := draw.choice(sorted(held)))
                    held.discard(code)
                else:
                    held.add(code := f"H-{seed}-{n}")
                    hold_vendor(vendor, code)
                self._deliver_some(draw, seen)
            while rows := sweep_rows():
                draw.shuffle(rows)
                for row in rows:
                    do(row)
            for row in draw.sample(seen, len(seen)):
                deliver(row)
        expected = OfferState.SUSPENDED if held else OfferState.LIVE
        assert states(worlds) == {expected: 2}
        assert states([stranger]) == {OfferState.LIVE: 1}
        for offer_id in ids(worlds):
            self._assert_turns(offer_id)
        assert not Sweep.objects.filter(finished_at=None).exists()
        assert sweep_rows() == []

    def _deliver_some(self, draw, seen):
        for row in draw.sample(rows := sweep_rows(), draw.randint(0, len(rows))):
            for _ in range(draw.choice([1, 1, 2])):
                deliver(row)
            seen.append(row)
            OutboxRow.objects.filter(pk=row.pk).update(done_at=clock.now())

    def _assert_turns(self, offer_id):
        """Down and up by turns; each turn has one event, one ledger row, and each fall one record."""
        acts = ["listing.suspended", "listing.reinstated"]
        entries = LedgerEntry.objects.filter(subject_id=str(offer_id), act__in=acts).order_by("id")
        turns = [entry.act for entry in entries]
        assert turns == [acts[n % 2] for n in range(len(turns))]
        told = OutboxRow.objects.filter(event__in=acts, payload__offer_id=offer_id).order_by("id")
        assert [row.event for row in told] == turns
        assert [str(row.event_id) for row in told] == [entry.evidence["decision"] for entry in entries]
        assert Delisting.objects.filter(offer=offer_id).count() == turns.count("listing.suspended")


def test_two_sweeps_over_the_same_offers_at_once_take_each_down_once(monkeypatch):
    """The second withdrawal's sweep does all its work while a worker of the first thinks."""
    vendor, worlds, _ = a_shop(3)
    first, second = hold_vendor(vendor), hold_vendor(vendor, "H-2")
    for row in sweep_rows():
        do(row)
    one, other = (row for row in sweep_rows() if row.event == "sweep.chunk_planned")
    original = decisions.answers_in

    def interrupted(*args, **kwargs):
        found = original(*args, **kwargs)
        monkeypatch.setattr(decisions, "answers_in", original)
        do(other)
        return found

    monkeypatch.setattr(decisions, "answers_in", interrupted)
    do(one)
    assert states(worlds) == {OfferState.SUSPENDED: 3}
    assert Delisting.objects.count() == 3
    assert set(Delisting.objects.values_list("sweep__revocation_id", flat=True)) == {second.pk}
    assert OutboxRow.objects.filter(event="listing.suspended").count() == 3
    assert first.sweep.chunks.get().delisted == 0


def test_a_world_that_does_not_hold_still_is_decided_behind_the_fence(monkeypatch):
    vendor, worlds, _ = a_shop(2)
    revocation = hold_vendor(vendor)
    do(sweep_rows()[0])
    original, moves = decisions.answers_in, []

    def unquiet(*args, **kwargs):
        found = original(*args, **kwargs)
        if not fence.is_held():
            # Somebody records something each time before the fence is reached.
            moves.append(make_sellable())
        return found

    monkeypatch.setattr(decisions, "answers_in", unquiet)
    chunk = next(row for row in sweep_rows() if row.payload.get("chunk_id"))
    do(chunk)
    assert len(moves) == sweeps.ATTEMPTS
    assert states(worlds) == {OfferState.SUSPENDED: 2}
    assert Delisting.objects.filter(sweep__revocation=revocation).count() == 2


def test_an_offer_that_its_vendor_moved_meanwhile_is_left_to_him(monkeypatch):
    vendor, worlds, _ = a_shop(2)
    hold_vendor(vendor)
    do(sweep_rows()[0])
    original = decisions.answers_in

    def interrupted(*args, **kwargs):
        found = original(*args, **kwargs)
        monkeypatch.setattr(decisions, "answers_in", original)
        offers.withdraw_listing(listing=worlds[0].listing, by=DESK, at=clock.now())
        return found

    monkeypatch.setattr(decisions, "answers_in", interrupted)
    finish_all()
    assert states(worlds) == {OfferState.REMOVED: 1, OfferState.SUSPENDED: 1}
    assert list(Delisting.objects.values_list("offer_id", flat=True)) == [worlds[1].offer.pk]


# --- what is written --------------------------------------------------------------------------------------------


def test_a_fall_is_recorded_as_one_by_one(settings):
    vendor, worlds, _ = a_shop(2)
    revocation = hold_vendor(vendor)
    finish_all()
    assert_fell_once(worlds, revocation)
    for world in worlds:
        offer = ListingHost.objects.select_related("listing__variant__device", "host").get(pk=world.offer.pk)
        decision = Delisting.objects.get(offer=offer).decision
        (answer,) = decisions.decide_offers([offer], at=decision.valid_at)
        assert decision.question == decisions._question_json(answer.question)
        assert decision.reasons == [reason.as_json() for reason in answer.reasons]
        assert (decision.outcome, decision.evidence) == ("deny", [])
        assert (decision.revision, decision.expires_at) == (revocation.revision_id, answer.expires_at)
        assert offer.reason_codes == answer.reason_codes == ["VENDOR_SUSPENDED"]
        told = OutboxRow.objects.get(event_id=decision.pk)
        assert told.payload == offers.offer_payload(
            offer, "SUSPENDED", decision, sweep_id=revocation.sweep.pk
        )
        assert (told.handler, told.attempt, told.is_dead, told.last_error) == ("", 1, False, "")
        entry = LedgerEntry.objects.get(act="listing.suspended", subject_id=str(offer.pk))
        assert entry.evidence == {"decision": str(decision.pk), "reasons": decision.reasons}
        assert (entry.actor, entry.subject_kind, entry.revision) == (str(SYSTEM), "offer", decision.revision)


def test_a_return_rests_on_its_decision_and_cites_its_evidence():
    vendor, worlds, _ = a_shop(2)
    hold_vendor(vendor)
    finish_all()
    release()
    finish_all()
    for world in worlds:
        offer = ListingHost.objects.select_related("listing__variant__device", "host").get(pk=world.offer.pk)
        assert (offer.state, offer.reason_codes) == (OfferState.LIVE, [])
        decision = decision_of(offer)
        (answer,) = decisions.decide_offers([offer], at=decision.valid_at)
        assert decision.outcome == "allow"
        assert decision.evidence == [item.as_json() for item in answer.evidence]
        rows = DecisionEvidence.objects.filter(decision=decision)
        assert set(rows.values_list("kind", "fact_id", "version_no")) == {
            (item.kind, item.fact_id, item.version_no) for item in answer.evidence
        }
        leave = decisions.clearance(decision)
        assert (offer.cleared_hash, offer.cleared_revision) == (leave.content_hash, leave.revision)
        assert offer.clearance_expires_at == leave.expires_at
        told = OutboxRow.objects.get(event="listing.reinstated", payload__offer_id=offer.pk)
        assert told.event_id == decision.pk
        assert LedgerEntry.objects.filter(act="listing.reinstated", subject_id=str(offer.pk)).count() == 1


@pytest.mark.parametrize("is_one_waiting", [False, True])
def test_the_events_of_a_chunk_have_their_place_behind_all_before_them(is_one_waiting):
    """On SQLite at once, where nobody else can commit first; not before an event that waits for its own."""
    vendor, _, _ = a_shop(3)
    hold_vendor(vendor)
    do(sweep_rows()[0])
    if not is_one_waiting:
        outbox.stamp_positions()
    finish_all()
    told = (
        OutboxRow.objects.filter(event="listing.suspended").order_by("id").values_list("position", flat=True)
    )
    is_placed = connection.vendor == "sqlite" and not is_one_waiting
    assert [position is not None for position in told] == [is_placed] * 3
    outbox.stamp_positions()
    placed = OutboxRow.objects.filter(handler="").order_by("position").values_list("position", "id")
    assert [position for position, _ in placed] == list(range(1, len(placed) + 1))
    assert [row_id for _, row_id in placed] == sorted(row_id for _, row_id in placed)


def test_texts_come_through_as_they_are():
    """Quotes, letters beyond ASCII and backslashes, through JSON and both databases."""
    odd = "Ü-\"\\n'{}-電"
    world = make_sellable(sku=odd)
    finish_all()
    hold_vendor(world.vendor)
    finish_all()
    told = OutboxRow.objects.get(event="listing.suspended")
    assert told.payload["sku"] == odd
    assert Delisting.objects.get().decision.question["listing_id"] == world.listing.pk


@pytest.mark.django_db(transaction=True)
def test_the_ledger_stays_sealed_over_a_sweep():
    vendor, _, _ = a_shop(3)
    hold_vendor(vendor)
    finish_all()
    release()
    finish_all()
    sealing.seal(at=clock.now())
    verdict = sealing.verify()
    assert verdict.is_good, verdict.finding
    assert verdict.unsealed == 0
    assert verdict.entries == LedgerEntry.objects.count()
    # And it would show: the hash covers what the sweep wrote.
    entry = LedgerEntry.objects.filter(act="listing.suspended").first()
    assert entry is not None
    assert sealing.row_hash(LedgerEntry.objects.values().get(pk=entry.pk)) != sealing.row_hash(
        {**LedgerEntry.objects.values().get(pk=entry.pk), "evidence": {}}
    )


def test_events_that_somebody_reacts_to_are_not_written_for_readers_only(settings):
    settings.OUTBOX_HANDLERS = {**settings.OUTBOX_HANDLERS, "listing.suspended": ["nowhere.at_all"]}
    vendor, worlds, _ = a_shop(1)
    hold_vendor(vendor)
    with pytest.raises(ValueError, match="has handlers"):
        finish_all()
    assert states(worlds) == {OfferState.LIVE: 1}


# --- how many statements ----------------------------------------------------------------------------------------


def statements_of_a_chunk(row):
    with CaptureQueriesContext(connection) as queries:
        deliver(row)
    return len(queries)


def chunk_row():
    (row,) = [row for row in sweep_rows() if row.event == "sweep.chunk_planned"]
    return row


def test_a_chunk_takes_as_many_statements_for_many_offers_as_for_few(monkeypatch):
    # To count a sweep's chunks for the log is two more, once in a while: here each time.
    monkeypatch.setattr(sweeps, "LOGGED_EVERY_S", 0)
    falls, returns, renews = [], [], []
    for n, size in enumerate((2, 9)):
        vendor, worlds, _ = a_shop(size)
        hold_vendor(vendor, f"H-{n}")
        do(sweep_rows()[0])
        falls.append(statements_of_a_chunk(chunk_row()))
        finish_all()
        release(f"H-{n}")
        do(sweep_rows()[0])
        returns.append(statements_of_a_chunk(chunk_row()))
        finish_all()
        made_old(worlds)
        found = ListingHost.objects.filter(pk__in=ids(worlds))
        with CaptureQueriesContext(connection) as queries:
            result = sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM)
        assert result.renewed == size
        renews.append(len(queries))
    assert falls[0] == falls[1] <= 45
    assert returns[0] == returns[1] <= 45
    assert renews[0] == renews[1] <= 30


def made_old(worlds):
    """Clearances without a decision behind them: what they rest on is nowhere."""
    ListingHost.objects.filter(pk__in=ids(worlds)).update(decision_id="00000000-0000-0000-0000-000000000000")


# --- renewals ---------------------------------------------------------------------------------------------------


def clearance_end(offers):
    return offers.get().clearance_expires_at


def test_a_clearance_near_its_end_is_renewed_only_where_the_new_one_lasts_longer():
    world = make_sellable()
    found = ListingHost.objects.filter(pk=world.offer.pk)
    soon = clock.now() + timedelta(hours=1)
    found.update(clearance_expires_at=soon)
    assert sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM).renewed == 1
    assert clearance_end(found) > soon
    assert sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM).renewed == 0

    assert clearance_end(found) > soon


def test_a_clearance_never_says_longer_than_is_true():
    """A hold for a later day was recorded after the offer had been cleared."""
    world = make_sellable()
    found = ListingHost.objects.filter(pk=world.offer.pk)
    later = clock.now() + timedelta(hours=2)
    execute_later(PlaceHold("H-9", "the shop", "SHOP_REVIEW", "", (("vendor", str(world.vendor.pk)),)), later)
    assert clearance_end(found) > later
    assert sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM).renewed == 1
    assert clearance_end(found) == later
    # There is nothing longer to be had: it is not renewed at every look.
    assert sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM).renewed == 0


def test_a_clearance_about_another_maker_is_renewed():
    world = make_sellable()
    decision = decision_of(ListingHost.objects.get(pk=world.offer.pk))
    copy = Decision.objects.create(
        offer=world.offer, outcome="allow", question={**decision.question, "manufacturer_id": 987_654},
        evidence=decision.evidence, valid_at=decision.valid_at, revision=decision.revision,
        expires_at=decision.expires_at,
    )  # fmt: skip
    found = ListingHost.objects.filter(pk=world.offer.pk)
    found.update(decision_id=copy.pk)
    assert sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM).renewed == 1
    assert decision_of(found.get()).question == decision.question


def test_the_reconciler_s_events_say_more_and_its_caller_is_told_in_the_transaction():
    vendor, worlds, _ = a_shop(2)
    hold_vendor(vendor)
    told = []
    found = ListingHost.objects.filter(pk__in=ids(worlds))
    result = sweeps.redecide(
        found.all, sweep=None, chunk=None, by=SYSTEM, more={"run_id": 7},
        moved=lambda result: told.append((result.delisted, connection.in_atomic_block, fence.is_held())),
    )  # fmt: skip
    assert (result.decided, result.delisted) == (2, 2)
    assert told == [(2, True, True)]
    rows = OutboxRow.objects.filter(event="listing.suspended")
    assert [(row.payload["run_id"], row.payload["sweep_id"]) for row in rows] == [(7, None)] * 2
    assert set(Delisting.objects.values_list("sweep_id", flat=True)) == {None}


# --- a second person --------------------------------------------------------------------------------------------


@pytest.fixture
def _wants_two(settings):
    settings.TWO_PEOPLE_ABOVE_OFFERS = 1


OTHER = Actor("user", "somebody else")


@pytest.mark.usefixtures("_wants_two")
def test_a_sweep_that_waits_for_a_second_person_is_planned_when_she_agrees():
    vendor, worlds, _ = a_shop(3)
    revocation = hold_vendor(vendor)
    finish_all()
    assert states(worlds) == {OfferState.LIVE: 3}
    seen = sweeps.progress(revocation.sweep)
    assert (seen.is_waiting, seen.is_planned, seen.chunks) == (True, False, 0)
    pending_changes.approve_removal(
        pending=PendingChange.objects.get(revocation=revocation), by=OTHER, at=clock.now()
    )
    finish_all()
    assert_fell_once(worlds, revocation)
    assert not sweeps.progress(Sweep.objects.get(revocation=revocation)).is_waiting


@pytest.mark.usefixtures("_wants_two")
def test_one_who_agrees_before_the_sweep_is_there_is_heard():
    vendor, worlds, _ = a_shop(3)
    revocation = hold_vendor(vendor)
    (start,) = sweep_rows()
    pending_changes.approve_removal(
        pending=PendingChange.objects.get(revocation=revocation), by=OTHER, at=clock.now()
    )
    approved = next(row for row in sweep_rows() if row.event == "removal.settled")
    do(approved)
    assert not Sweep.objects.filter(revocation=revocation).exists()
    do(start)
    do(approved)
    finish_all()
    assert_fell_once(worlds, revocation)


@pytest.mark.usefixtures("_wants_two")
def test_another_sweep_leaves_alone_what_waits_for_a_person():
    """The other change touches the same offers, and takes one of them down by itself."""
    vendor, worlds, _ = a_shop(3)
    revocation = hold_vendor(vendor)
    finish_all()
    own = execute(RevokeAgreement(worlds[0].agreement.pk, "AGREEMENT_TERMINATED"))
    finish_all()
    assert states(worlds) == {OfferState.LIVE: 2, OfferState.SUSPENDED: 1}
    assert Delisting.objects.values_list("sweep__revocation_id", flat=True).get() == own.pk
    found = ListingHost.objects.filter(pk__in=ids(worlds))
    assert sweeps.redecide(found.all, sweep=None, chunk=None, by=SYSTEM).delisted == 0
    pending_changes.approve_removal(
        pending=PendingChange.objects.get(revocation=revocation), by=OTHER, at=clock.now()
    )
    finish_all()
    assert states(worlds) == {OfferState.SUSPENDED: 3}
    assert Delisting.objects.count() == 3


# --- which withdrawal -------------------------------------------------------------------------------------------


def test_a_sweep_bears_the_withdrawal_that_it_is_told():
    vendor, worlds, _ = a_shop(1)
    revocation = hold_vendor(vendor)
    OutboxRow.objects.all().update(done_at=clock.now())
    with_boundary = Revision.objects.create(
        n=revocation.revision_id + 1, recorded_at=clock.now(), actor="x", reason="x", snapshot="0"
    )
    payload = {"revision": with_boundary.n, "fact_id": revocation.fact_id, "revocation_id": revocation.pk}
    sweeps.start_sweep(payload=payload, event_id=uuid4(), at=clock.now())
    sweep = Sweep.objects.get(revision=with_boundary)
    assert sweep.revocation == Revocation.objects.get()
    finish_all()
    assert states(worlds) == {OfferState.SUSPENDED: 1}


def test_a_scope_says_whose_offers_where_there_is_no_fact():
    worlds = [make_sellable(), make_sellable()]
    finish_all()
    revision = Revision.objects.create(
        n=fence.current_revision() + 1, recorded_at=clock.now(), actor="x", reason="x", snapshot="0"
    )
    payload = {"revision": revision.n, "fact_id": None, "scope": {"variant_ids": [worlds[0].variant.pk]}}
    sweeps.start_sweep(payload=payload, event_id=uuid4(), at=clock.now())
    sweep = Sweep.objects.get(revision=revision)
    assert (sweep.scope, sweep.planned_offers) == (payload["scope"], 1)
    assert sweep.chunks.get().first_offer_id == worlds[0].offer.pk


def test_another_chain_keeps_an_offer_on_sale_in_a_chunk_of_those_that_fall():
    vendor, worlds, _ = a_shop(3)
    make_agreement(
        grantor=worlds[0].variant.device.manufacturer, grantee=vendor, models=[worlds[0].variant], at=clock.now(),
        code="AG-SECOND", channels=["web"],
    )  # fmt: skip
    finish_all()
    for world in worlds:
        execute(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"))
    finish_all()
    assert states(worlds[:1]) == {OfferState.LIVE: 1}
    assert states(worlds[1:]) == {OfferState.SUSPENDED: 2}
    kept = decision_of(ListingHost.objects.get(pk=worlds[0].offer.pk))
    assert "AG-SECOND" in [item["code"] for item in kept.evidence]
