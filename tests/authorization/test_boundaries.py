"""Authority that begins or ends by itself: the instant is a revision, and the sweep follows."""

from datetime import timedelta
from uuid import uuid4

import pytest

from authorization import boundaries, clock, decisions, fence, offers, outbox, pending_changes
from authorization.actors import Actor
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import ListingHost, OfferState
from seeds.factories import (
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    ensure_policy,
    make_agreement,
    make_approval,
    make_terms,
)

pytestmark = pytest.mark.django_db

VENDOR = Actor("vendor", "test")


@pytest.fixture
def ends_at():
    return clock.now() + timedelta(hours=1)


@pytest.fixture
def offer(ends_at):
    """Live, on an agreement that ends in an hour."""
    at = clock.now()
    ensure_policy(at=at)
    host, variant, vendor = HostCarrierFactory.create(), VariantFactory.create(), OrganizationFactory.create()
    HostingFactory.create(host=host, at=at)
    make_agreement(grantor=variant.device.manufacturer, grantee=vendor, at=at, valid_until=ends_at)
    make_approval(host=host, variant=variant, at=at)
    saved = offers.save_listing(
        vendor=vendor, sku="A", terms=make_terms(variant=variant, hosts=[host]), by=VENDOR, at=at
    )
    (outcome,) = offers.publish_listing(listing=saved.listing, by=VENDOR, at=at)
    assert outcome.is_live
    outbox.pump()
    return outcome.offer


def state(offer):
    return ListingHost.objects.get(pk=offer.pk).state


def move_clock(monkeypatch, to):
    monkeypatch.setattr(clock, "now", lambda: to)


def test_a_decision_says_when_it_ends_by_itself(offer, ends_at):
    (answer,) = decisions.decide_offers([offer], at=clock.now())
    assert answer.is_allowed
    assert answer.expires_at == ends_at
    (answer,) = decisions.decide_offers([offer], at=ends_at)
    assert answer.reason_codes == ["AGREEMENT_EXPIRED"]


def test_at_its_end_the_offer_comes_down_by_itself(offer, ends_at, monkeypatch):
    before = fence.current_revision()
    outbox.pump()
    assert state(offer) == OfferState.LIVE
    move_clock(monkeypatch, ends_at)
    outbox.pump(at=lambda: ends_at)
    assert state(offer) == OfferState.SUSPENDED
    assert fence.current_revision() == before + 1, "the boundary has its place in the one order"
    assert ListingHost.objects.get(pk=offer.pk).reason_codes == ["AGREEMENT_EXPIRED"]


def test_a_boundary_that_is_delivered_twice_is_crossed_once(offer, ends_at, monkeypatch):
    move_clock(monkeypatch, ends_at)
    outbox.pump(at=lambda: ends_at)
    revision = fence.current_revision()
    again = OutboxRow.objects.filter(event="authority.boundary").exclude(handler="")
    assert again.update(done_at=None, claimed_until=None) > 0
    outbox.pump(at=lambda: ends_at)
    assert fence.current_revision() == revision
    assert LedgerEntry.objects.filter(act="boundary.crossed").count() == 1


def test_what_begins_later_waits_until_then(ends_at):
    at = clock.now()
    ensure_policy(at=at)
    maker, vendor = OrganizationFactory.create(kind="manufacturer"), OrganizationFactory.create()
    make_agreement(grantor=maker, grantee=vendor, at=at, valid_from=ends_at)
    assert (
        OutboxRow.objects.filter(event="authority.boundary", due_at=ends_at).exclude(handler="").count() == 1
    )


def test_the_end_of_a_hosting_is_a_boundary_too(ends_at):
    HostingFactory.create(host=HostCarrierFactory.create(), valid_until=ends_at)
    assert OutboxRow.objects.filter(event="authority.boundary", due_at=ends_at).exists()


def test_the_day_of_a_withdrawal_hands_it_to_its_sweep(offer, ends_at, monkeypatch):
    crossed = []

    def take_effect(**asked):
        crossed.append(asked)
        return 4711

    monkeypatch.setattr(pending_changes, "take_effect", take_effect)
    row = OutboxRow.objects.filter(event="authority.boundary", due_at=ends_at).exclude(handler="").get()
    boundaries.cross_boundary(payload=row.payload, event_id=row.event_id, at=clock.now())
    (asked,) = crossed
    assert (asked["fact_id"], asked["boundary"]) == (row.payload["fact_id"], ends_at)
    changed = OutboxRow.objects.filter(event="authority.changed", handler="").latest("id")
    assert (changed.payload["fact_id"], changed.payload["revocation_id"]) == (asked["fact_id"], 4711)
    assert "scope" not in changed.payload


def test_a_boundary_of_no_one_fact_hands_its_scope_on():
    at, scope = clock.now(), {"host_ids": [7]}
    payload = {"fact_id": None, "boundary": at.isoformat(), "scope": scope}
    boundaries.cross_boundary(payload=payload, event_id=uuid4(), at=at)
    changed = OutboxRow.objects.filter(event="authority.changed", handler="").latest("id")
    assert changed.payload["scope"] == scope
    assert changed.payload["fact_id"] is None
    assert "revocation_id" not in changed.payload
