"""The reconciler: what the events missed, both ways; what is under way is left alone; rounds end, whatever fails."""

import threading
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError, connection

from authorization import (
    clock,
    decisions,
    groundwork,
    holds,
    outbox,
    pending_changes,
    reconciler,
    sweeps,
    vouching,
)
from authorization.actors import Actor
from authorization.models import Decision, Fact, OutboxRow, PendingChange, ReconcilerRun, Revocation, Sweep
from catalog.models import ListingHost, OfferState
from seeds.factories import OrganizationFactory, make_sellable
from storefront.models import Cart
from tests.storefront.conftest import place_hold, revoke_agreement

DESK = Actor("user", "desk")


def state_of(world):
    return ListingHost.objects.get(pk=world.offer.pk).state


def lose_the_events():
    OutboxRow.objects.filter(done_at__isnull=True).exclude(handler="").delete()


def later(minutes=1):
    return clock.now() + timedelta(minutes=minutes)


def reconcile(at=None) -> ReconcilerRun:
    run = reconciler.reconcile(at=at or later())
    assert run is not None
    run.refresh_from_db()
    return run


def events(name):
    return OutboxRow.objects.filter(event=name, handler="")


# --- what is found ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_takes_down_what_a_lost_revocation_left_live_and_alarms(monkeypatch):
    alarms = []
    monkeypatch.setattr(reconciler.logger, "error", lambda event, **fields: alarms.append((event, fields)))
    fallen, other = make_sellable(), make_sellable()
    outbox.pump()
    revoke_agreement(fallen)
    lose_the_events()
    run = reconcile()
    assert (state_of(fallen), state_of(other)) == (OfferState.SUSPENDED, OfferState.LIVE)
    assert (run.live, run.found_live, run.found_suspended, run.error) == (2, 1, 0, "")
    assert alarms == [("reconciler.found_live_without_authority", {"run_id": run.pk, "offers": 1})]
    assert events("listing.suspended").get().payload["run_id"] == run.pk
    assert events("reconciler.found").get().payload == {"run_id": run.pk}
    assert events("reconciler.found").get().due_at > clock.now() + timedelta(seconds=30), "when it has ended"
    assert reconcile().found_live == 0
    assert events("reconciler.found").count() == 1
    found = reconciler.findings(clock.now() - timedelta(hours=1))
    assert (found.rounds, found.found_live, found.failed) == (2, 1, 0)


@pytest.mark.django_db
def test_it_brings_back_what_a_lost_release_left_suspended(settings, monkeypatch):
    # Not by its turn: by the change that no sweep came for.
    monkeypatch.setattr(reconciler, "SLICE", 0)
    world, other = make_sellable(), make_sellable()
    outbox.pump()
    place_hold(("variant", world.variant.pk))
    place_hold(("variant", other.variant.pk), code="HOLD-2")
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED
    reconcile()
    holds.release_hold(fact=Fact.objects.get(code="HOLD-1"), by=DESK, at=clock.now(), reason="settled")
    lose_the_events()
    run = reconcile()
    assert (run.found_suspended, run.decided) == (1, 1), "and no other suspended offer was decided"
    assert state_of(world) == OfferState.LIVE
    again = reconcile()
    assert (again.found_suspended, again.decided) == (0, 0), "the change has been seen to"


@pytest.mark.django_db
def test_nothing_is_decided_when_nothing_changed(monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(reconciler, "SLICE", 0)
    for _ in range(5):
        make_sellable()
    outbox.pump()
    assert reconcile().decided == 0
    with django_assert_max_num_queries(25):
        assert reconcile().live == 5


@pytest.mark.django_db
def test_what_the_quick_look_cannot_see_has_its_turn(settings, monkeypatch):
    settings.SWEEP_CHUNK_SIZE = 1
    monkeypatch.setattr(reconciler, "SLICE", 2)
    made = [make_sellable() for _ in range(5)]
    outbox.pump()
    decided: list[int] = []
    choose = sweeps.redecide

    def watched(chosen, **more):
        decided.extend(chosen().values_list("pk", flat=True))
        return choose(chosen, **more)

    monkeypatch.setattr(sweeps, "redecide", watched)
    for _ in range(3):
        reconcile()
    ids = sorted(world.offer.pk for world in made)
    assert decided == [*ids, ids[0]], "each once, then round again"


@pytest.mark.django_db
def test_a_clearance_about_to_end_is_renewed_in_its_turn_and_once():
    world = make_sellable()
    outbox.pump()
    soon = clock.now() + timedelta(hours=1)
    ListingHost.objects.filter(pk=world.offer.pk).update(clearance_expires_at=soon)
    assert reconcile().renewed == 1
    offer = ListingHost.objects.get(pk=world.offer.pk)
    assert offer.clearance_expires_at is not None
    assert offer.clearance_expires_at > soon
    assert Decision.objects.filter(offer=offer).count() == 2
    assert reconcile().renewed == 0
    assert state_of(world) == OfferState.LIVE


@pytest.mark.django_db
def test_a_phone_whose_maker_was_corrected_is_not_doubted_for_ever(monkeypatch):
    monkeypatch.setattr(reconciler, "SLICE", 0)
    world = make_sellable()
    outbox.pump()
    device = world.variant.device
    device.manufacturer = OrganizationFactory.create(kind="manufacturer")
    with groundwork.recording(by=DESK, at=clock.now(), reason="corrected") as recorder:
        recorder.change(device, ["manufacturer"], is_ground=True)
    lose_the_events()
    assert reconcile().found_live == 1
    assert state_of(world) == OfferState.SUSPENDED


# --- what is left alone -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_sweep_that_gets_on_is_left_its_offers_and_one_that_stands_still_is_not(settings):
    settings.SWEEP_CHUNK_SIZE = 1
    worlds = [make_sellable() for _ in range(2)]
    outbox.pump()
    for world in worlds:
        revoke_agreement(world)
    changed = OutboxRow.objects.filter(event="authority.changed", done_at__isnull=True).exclude(handler="")
    for row in changed:
        sweeps.start_sweep(payload=row.payload, event_id=row.event_id, at=clock.now())
    lose_the_events()
    first, second = Sweep.objects.filter(finished_at__isnull=True).order_by("id")
    old = clock.now() - timedelta(minutes=5)
    # Both were begun long ago; of the first a chunk was done just now.
    Sweep.objects.filter(pk__in=[first.pk, second.pk]).update(started_at=old)
    first.chunks.create(first_offer_id=0, last_offer_id=0, done_at=clock.now())
    run = reconcile(clock.now())
    assert run.found_live == 1
    assert (state_of(worlds[0]), state_of(worlds[1])) == (OfferState.LIVE, OfferState.SUSPENDED)
    assert run.revision < first.revision_id, "the first is still to be seen to"
    assert reconcile().found_live == 1, "a minute later it stands still too"


@pytest.mark.django_db
def test_offers_under_a_removal_that_waits_are_left_to_the_person(monkeypatch):
    monkeypatch.setattr(reconciler, "SLICE", 0)
    waiting, other = make_sellable(), make_sellable()
    outbox.pump()
    for world in (waiting, other):
        revoke_agreement(world)
    revocation = Revocation.objects.get(fact=waiting.agreement)
    PendingChange.objects.filter(revocation=revocation).delete()
    pending = pending_changes.open_removal(revocation=revocation, by=DESK, at=clock.now())
    lose_the_events()
    run = reconcile()
    assert (state_of(waiting), state_of(other)) == (OfferState.LIVE, OfferState.SUSPENDED)
    assert (run.found_live, run.decided) == (1, 1), "and it is not decided each minute"
    monkeypatch.setattr(reconciler, "SLICE", 100)
    assert reconcile().found_live == 0, "its turn spares it too"
    pending_changes.approve_removal(pending=pending, by=Actor("user", "second"), at=clock.now())
    lose_the_events()
    assert reconcile().found_live == 1


@pytest.mark.django_db
def test_on_a_fast_clock_workers_get_as_much_time_as_on_a_slow_one(monkeypatch):
    world = make_sellable()
    outbox.pump()
    revoke_agreement(world)
    # An hour of business passes in a second of this machine's.
    monkeypatch.setattr(clock, "passed_in", lambda seconds: timedelta(hours=seconds))
    assert reconcile(later(60)).found_live == 0
    assert reconcile(later(60 * 31)).found_live == 1


# --- at the end of a clearance ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_next_end_is_announced_once_and_looked_at_when_it_comes(monkeypatch):
    fallen, lasting = make_sellable(), make_sellable()
    outbox.pump()
    ends_at = clock.now().replace(microsecond=250) + timedelta(minutes=30)
    ListingHost.objects.filter(pk=fallen.offer.pk).update(clearance_expires_at=ends_at)
    monkeypatch.setattr(reconciler, "SLICE", 0)
    for _ in range(2):
        reconcile(clock.now())
    due = OutboxRow.objects.exclude(handler="").get(event="reconcile.due", done_at__isnull=True)
    assert timedelta(0) < due.due_at - ends_at < timedelta(seconds=1)
    revoke_agreement(fallen)
    lose_all_but(due)
    monkeypatch.setattr(clock, "now", lambda: due.due_at + timedelta(seconds=1))
    assert outbox.pump(at=clock.now) == 1
    assert (state_of(fallen), state_of(lasting)) == (OfferState.SUSPENDED, OfferState.LIVE)
    run = ReconcilerRun.objects.latest("id")
    assert (run.live, run.decided, run.found_live) == (0, 1, 1), "only what has ended is looked at"


def lose_all_but(row):
    OutboxRow.objects.filter(done_at__isnull=True).exclude(handler="").exclude(pk=row.pk).delete()


@pytest.mark.django_db
def test_an_end_that_meets_a_round_at_work_is_looked_at_after_it(monkeypatch):
    make_sellable()
    outbox.pump()
    at_work = reconciler._begin(clock.now())
    assert at_work is not None
    assert reconciler.reconcile(at=clock.now()) is None, "rounds do not overlap"
    now = clock.now()
    reconciler.on_due(payload={}, event_id=uuid4(), at=now)
    assert OutboxRow.objects.exclude(handler="").get(event="reconcile.due").due_at > now
    ReconcilerRun.objects.update(busy_until=reconciler._machine_now() - timedelta(seconds=1))
    assert reconciler.reconcile(at=clock.now()) is not None, "its worker was killed: it is not waited for"


@pytest.mark.django_db
def test_a_round_that_stood_still_past_its_lease_writes_nothing_more():
    make_sellable()
    outbox.pump()
    frozen = reconciler._begin(clock.now())
    assert frozen is not None
    ReconcilerRun.objects.update(busy_until=reconciler._machine_now() - timedelta(seconds=1))
    reconcile()
    frozen.refresh_from_db()
    reconciler._Round(frozen, clock.now()).whole()
    frozen.refresh_from_db()
    assert frozen.finished_at is None
    assert reconciler.findings(clock.now() - timedelta(hours=1)).failed == 1


# --- whatever fails ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_part_that_cannot_be_decided_hides_no_other(settings, monkeypatch):
    settings.SWEEP_CHUNK_SIZE = 1
    first, second = make_sellable(), make_sellable()
    outbox.pump()
    revoke_agreement(second)
    lose_the_events()
    decide = decisions.answers_in

    def decide_but_the_first(setting, questions, **more):
        if any(question.listing_id == first.offer.listing_id for question in questions):
            raise decisions.DecisionUnavailable("broken")
        return decide(setting, questions, **more)

    monkeypatch.setattr(decisions, "answers_in", decide_but_the_first)
    with pytest.raises(ExceptionGroup):
        reconcile()
    assert state_of(second) == OfferState.SUSPENDED
    run = ReconcilerRun.objects.get()
    assert "broken" in run.error
    assert run.finished_at is not None
    assert reconciler.findings(clock.now() - timedelta(hours=1)).failed == 1


@pytest.mark.django_db
def test_a_look_that_fails_hides_not_the_turns(monkeypatch):
    fallen = make_sellable()
    outbox.pump()
    revoke_agreement(fallen)
    lose_the_events()

    def broken(**_):
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(vouching, "look", broken)
    with pytest.raises(ExceptionGroup):
        reconcile()
    assert state_of(fallen) == OfferState.SUSPENDED


@pytest.mark.django_db
def test_whoever_finds_no_round_for_long_begins_one(monkeypatch):
    make_sellable()
    outbox.pump()
    assert reconciler.reconcile_if_late() is not None, "there was none yet"
    assert reconciler.reconcile_if_late() is None
    long_ago: datetime = clock.now() - timedelta(seconds=reconciler.LATE_S + 1)
    ReconcilerRun.objects.update(started_at=long_ago)
    assert reconciler.reconcile_if_late() is not None


@pytest.mark.django_db
def test_old_rounds_that_found_nothing_are_deleted():
    old, now = clock.now() - timedelta(days=31), clock.now()
    for found, started_at in ((0, old), (3, old), (0, now)):
        ReconcilerRun.objects.create(started_at=started_at, revision=1, found_live=found)
    assert reconciler.prune(at=now) == 1
    assert sorted(ReconcilerRun.objects.values_list("found_live", flat=True)) == [0, 3]


@pytest.mark.django_db(transaction=True)
def test_it_works_while_others_write(settings, monkeypatch):
    for _ in range(4):
        make_sellable()
    settings.SWEEP_CHUNK_SIZE = 2
    decide, failures = decisions.answers_in, []

    def write():
        try:
            Cart.objects.create(created_at=clock.now())
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    def decide_beside_a_writer(setting, questions, **more):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(10)
        return decide(setting, questions, **more)

    outbox.pump()
    monkeypatch.setattr(decisions, "answers_in", decide_beside_a_writer)
    assert reconcile().decided == 4
    assert not failures


@pytest.mark.django_db
def test_many_open_changes_cost_few_queries(django_assert_max_num_queries):
    worlds = [make_sellable() for _ in range(12)]
    # Every fact of these worlds is an open change: nothing was pumped.
    assert OutboxRow.objects.filter(event="authority.changed").exclude(handler="").count() >= len(worlds)
    OutboxRow.objects.filter(event="authority.changed", payload__fact_id=None).delete()
    with django_assert_max_num_queries(45):
        reconcile(clock.now())


@pytest.mark.django_db
def test_holds_that_have_ended_are_not_even_read():
    world = make_sellable()
    place_hold(("variant", world.variant.pk))
    question = decisions.question_for_offer(world.offer)
    at = clock.now()
    holds.release_hold(fact=Fact.objects.get(code="HOLD-1"), by=DESK, at=at, reason="settled")
    answer = decisions.decide(question, at=clock.now())
    assert answer.is_allowed
    setting = decisions.read_setting(at=clock.now(), known_at=answer.revision)
    assert not setting.dimensions
    before = decisions.read_setting(at=at - timedelta(seconds=1), known_at=answer.revision)
    assert before.dimensions == {"variant"}, "for a moment when it was in force it counts"
