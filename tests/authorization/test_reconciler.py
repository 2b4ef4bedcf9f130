"""The reconciler: what the events missed, both ways; one bad part hides no other; it works beside writers."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from authorization import clock, decisions, holds, outbox, sweeps
from authorization.actors import Actor
from authorization.models import Fact, OutboxRow
from catalog.models import ListingHost, OfferState
from seeds.factories import make_sellable
from storefront.models import Cart
from tests.storefront.conftest import place_hold, revoke_agreement

DESK = Actor("user", "desk")


def state_of(world):
    return ListingHost.objects.get(pk=world.offer.pk).state


def lose_the_events():
    OutboxRow.objects.filter(done_at__isnull=True).exclude(handler="").delete()


def later():
    return clock.now() + timedelta(minutes=1)


@pytest.mark.django_db
def test_it_brings_back_what_a_lost_release_left_suspended():
    world = make_sellable()
    outbox.pump()
    place_hold(("variant", world.variant.pk))
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED
    holds.release_hold(fact=Fact.objects.get(code="HOLD-1"), by=DESK, at=clock.now(), reason="settled")
    lose_the_events()
    assert sweeps.reconcile(at=later()).reinstated == 1
    assert state_of(world) == OfferState.LIVE


@pytest.mark.django_db
def test_a_part_that_cannot_be_decided_hides_no_other(settings, monkeypatch):
    settings.SWEEP_CHUNK_SIZE = 1
    first, second = make_sellable(), make_sellable()
    outbox.pump()
    revoke_agreement(second)
    lose_the_events()
    decide = decisions.decide_offers

    def decide_but_the_first(found, *, at):
        if found and found[0].pk == first.offer.pk:
            raise decisions.DecisionUnavailable("broken")
        return decide(found, at=at)

    monkeypatch.setattr(decisions, "decide_offers", decide_but_the_first)
    with pytest.raises(ExceptionGroup):
        sweeps.reconcile(at=later())
    assert state_of(second) == OfferState.SUSPENDED


@pytest.mark.django_db(transaction=True)
def test_it_works_while_others_write(settings, monkeypatch):
    for _ in range(4):
        make_sellable()
    settings.SWEEP_CHUNK_SIZE = 2
    decide, failures = decisions.decide_offers, []

    def write():
        try:
            Cart.objects.create(created_at=clock.now())
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    def decide_beside_a_writer(found, *, at):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(10)
        return decide(found, at=at)

    outbox.pump()
    monkeypatch.setattr(decisions, "decide_offers", decide_beside_a_writer)
    assert sweeps.reconcile(at=later()).decided == 4
    assert not failures


@pytest.mark.django_db
def test_many_open_changes_cost_few_queries(django_assert_max_num_queries):
    worlds = [make_sellable() for _ in range(12)]
    # Every fact of these worlds is an open change: nothing was pumped.
    assert OutboxRow.objects.filter(event="authority.changed").exclude(handler="").count() >= len(worlds)
    OutboxRow.objects.filter(event="authority.changed", payload__fact_id=None).delete()
    with django_assert_max_num_queries(30):
        sweeps.reconcile(at=clock.now())


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
