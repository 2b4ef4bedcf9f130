"""A worker that thought before the world moved cannot write what is no longer true (I11)."""

from functools import partial
from typing import Any

import pytest
from django.db import transaction

from authorization import (
    clock,
    decisions,
    delisting,
    fence,
    holds,
    listing_batches,
    offers,
    outbox,
    revocations,
    sweeps,
)
from authorization.actors import Actor
from authorization.models import Delisting, Fact, OutboxRow, Revision, SweepChunk
from authorization.revocations import PlaceHold, RevokeAgreement
from catalog.models import ListingHost, OfferState
from seeds.factories import make_agreement, make_sellable, make_terms

pytestmark = pytest.mark.django_db

DESK = Actor("user", "desk")


def state_of(offer):
    return ListingHost.objects.get(pk=offer.pk).state


def execute(change):
    at = clock.now()
    digest = revocations.preview(change, at=at).digest
    return revocations.execute(
        change, digest=digest, requested_by="the shop", word_received_at=at, note="test", by=DESK, at=at
    )


def place_hold(world, code="H-1"):
    execute(PlaceHold(code, "the shop", "SHOP_REVIEW", "", (("variant", str(world.variant.pk)),)))
    return Fact.objects.get(code=code)


def after_the_first(monkeypatch, module, name, act):
    """Let `act` happen right after the first call of a function returns."""
    original = getattr(module, name)

    def interrupted(*args, **kwargs):
        found = original(*args, **kwargs)
        monkeypatch.setattr(module, name, original)
        act()
        return found

    monkeypatch.setattr(module, name, interrupted)


def test_a_hold_released_while_the_worker_thought_delists_nothing(monkeypatch):
    world = make_sellable()
    outbox.pump()
    hold = place_hold(world)
    after_the_first(
        monkeypatch,
        decisions,
        "answers_in",
        lambda: holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="mistake"),
    )
    outbox.pump()
    assert state_of(world.offer) == OfferState.LIVE
    assert not Delisting.objects.exists()


def test_a_hold_placed_while_the_worker_thought_reinstates_nothing(monkeypatch):
    world = make_sellable()
    hold = place_hold(world)
    outbox.pump()
    assert state_of(world.offer) == OfferState.SUSPENDED
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="settled")
    after_the_first(monkeypatch, decisions, "answers_in", lambda: place_hold(world, "H-2"))
    outbox.pump()
    assert state_of(world.offer) == OfferState.SUSPENDED
    assert not OutboxRow.objects.filter(event="listing.reinstated").exists()


def noting_the_fence(held, function):
    """The function, which notes at each call whether the fence is held."""

    def noting(*args, **kwargs):
        held.append(fence.is_held())
        return function(*args, **kwargs)

    return noting


def test_a_chunk_writes_under_the_fence(monkeypatch):
    world = make_sellable()
    outbox.pump()
    place_hold(world)
    held: list[bool] = []
    monkeypatch.setattr(delisting, "write", noting_the_fence(held, delisting.write))
    outbox.pump()
    assert held == [True]


def test_saving_and_publishing_decide_under_the_fence(monkeypatch):
    world = make_sellable()
    held: list[bool] = []
    monkeypatch.setattr(decisions, "decide_offers", noting_the_fence(held, decisions.decide_offers))
    offers.publish_listing(listing=world.listing, by=DESK, at=clock.now())
    assert held
    assert all(held)


def test_many_listings_at_once_are_decided_under_the_fence_too(monkeypatch):
    world = make_sellable()
    held: list[bool] = []
    for name in ("answers_in", "decide_offers"):
        monkeypatch.setattr(decisions, name, noting_the_fence(held, getattr(decisions, name)))
    told: dict[str, Any] = {"vendor": world.vendor, "by": DESK, "at": clock.now()}
    terms = make_terms(variant=world.variant, hosts=[world.host])
    for act in (
        lambda: listing_batches.save_listings(rows={"NEW": terms}, **told),
        lambda: listing_batches.publish_listings(skus=["NEW"], **told),
    ):
        with transaction.atomic():
            act()
        assert held
        assert all(held)
        held.clear()


def test_a_change_that_slips_in_between_preview_and_fence_is_noticed(monkeypatch):
    """It gives the offer another chain, so that what was confirmed is no longer what would happen."""
    world = make_sellable()
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    at = clock.now()
    digest = revocations.preview(change, at=at).digest
    after_the_first(
        monkeypatch,
        revocations,
        "preview",
        lambda: make_agreement(
            grantor=world.variant.device.manufacturer,
            grantee=world.vendor,
            models=[world.variant],
            at=clock.now(),
            code="AG-LATE",
            channels=["web"],
        ),
    )
    with pytest.raises(revocations.WorldMoved) as moved:
        revocations.execute(
            change,
            digest=digest,
            requested_by="maker",
            word_received_at=at,
            note="n",
            by=DESK,
            at=clock.now(),
        )
    assert moved.value.preview is not None
    assert not moved.value.preview.falls
    assert len(moved.value.preview.survives) == 1
    assert Revision.objects.order_by("-n")[0].reason == "agreement AG-LATE recorded", "nothing was revoked"


def test_a_change_that_slips_in_and_matters_not_lets_the_confirmation_through(monkeypatch):
    world = make_sellable()
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    at = clock.now()
    digest = revocations.preview(change, at=at).digest
    after_the_first(monkeypatch, revocations, "preview", make_sellable)
    revocation = revocations.execute(
        change, digest=digest, requested_by="maker", word_received_at=at, note="n", by=DESK, at=clock.now()
    )
    assert revocation.preview_falls == 1


def test_a_chunk_that_another_worker_finished_meanwhile_is_not_counted_again(monkeypatch):
    world = make_sellable()
    outbox.pump()
    place_hold(world)
    row = OutboxRow.objects.filter(event="authority.changed", done_at=None).exclude(handler="").get()
    sweeps.start_sweep(payload=row.payload, event_id=row.event_id, at=clock.now())
    chunk = SweepChunk.objects.latest("pk")
    deliver = partial(sweeps.run_chunk, payload={"chunk_id": chunk.pk}, event_id=row.event_id, at=clock.now())
    after_the_first(monkeypatch, decisions, "answers_in", deliver)
    deliver()
    chunk.refresh_from_db()
    assert (chunk.decided, chunk.delisted) == (1, 1)
    assert Delisting.objects.count() == 1
