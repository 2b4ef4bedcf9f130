"""A vendor's listing: saved, published, edited, withdrawn."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from authorization import clock, decisions, offers, policies, revocations
from authorization.actors import Actor
from authorization.models import Decision, LedgerEntry, OutboxRow, PolicyVersion
from authorization.revocations import RevokeAgreement
from catalog import listings
from catalog.listings import InvalidMove
from catalog.models import ListingHost, OfferState, Stock
from seeds.factories import (
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    ensure_policy,
    make_hold,
    make_sellable,
    make_terms,
)
from tests.authorization.tampering import tampering

pytestmark = pytest.mark.django_db

VENDOR = Actor("vendor", "omni")


def save(world, terms, sku=None):
    return offers.save_listing(
        vendor=world.vendor, sku=sku or world.listing.sku, terms=terms, by=VENDOR, at=clock.now()
    )


def terms_of(world, **changes):
    base = make_terms(variant=world.variant, hosts=[world.host], price_amount=world.listing.price_amount)
    return replace(base, **changes)


def offer_of(world):
    return ListingHost.objects.get(pk=world.offer.pk)


def test_the_same_listing_again_changes_nothing():
    world = make_sellable()
    before = (offer_of(world).version, LedgerEntry.objects.count(), OutboxRow.objects.count())
    saved = save(world, terms_of(world))
    assert not saved.is_new
    assert not saved.is_changed
    assert before == (offer_of(world).version, LedgerEntry.objects.count(), OutboxRow.objects.count())


def test_a_listing_without_authority_is_stored_and_blocked_with_its_reasons():
    ensure_policy(at=clock.now())
    variant, host = VariantFactory.create(), HostCarrierFactory.create()
    HostingFactory.create(host=host)
    saved = offers.save_listing(
        vendor=OrganizationFactory.create(), sku="A", terms=make_terms(variant=variant, hosts=[host]), by=VENDOR,
        at=clock.now(),
    )  # fmt: skip
    offer = saved.listing.offers.get()
    assert offer.state == OfferState.BLOCKED
    assert offer.reason_codes == ["NO_AGREEMENT", "CARRIER_NOT_APPROVED"]
    (outcome,) = offers.publish_listing(listing=saved.listing, by=VENDOR, at=clock.now())
    assert not outcome.is_live
    assert outcome.decision.outcome == "deny"
    assert saved.listing.offers.get().state == OfferState.BLOCKED


def test_other_reasons_of_a_blocked_offer_stand_in_the_ledger_and_the_same_do_not():
    ensure_policy(at=clock.now())
    variant, host = VariantFactory.create(), HostCarrierFactory.create()
    HostingFactory.create(host=host)
    saved = offers.save_listing(
        vendor=OrganizationFactory.create(), sku="A", terms=make_terms(variant=variant, hosts=[host]), by=VENDOR,
        at=clock.now(),
    )  # fmt: skip
    before = LedgerEntry.objects.filter(act="listing.blocked").count()
    offers.publish_listing(listing=saved.listing, by=VENDOR, at=clock.now())
    assert LedgerEntry.objects.filter(act="listing.blocked").count() == before
    make_hold(targets=[("variant", str(variant.pk))], at=clock.now())
    offers.publish_listing(listing=saved.listing, by=VENDOR, at=clock.now())
    entry = LedgerEntry.objects.filter(act="listing.blocked").latest("id")
    assert entry.evidence["reason_codes"] == ["NO_AGREEMENT", "CARRIER_NOT_APPROVED", "ON_HOLD"]


def test_without_a_policy_nothing_goes_live():
    world = make_sellable()
    moment = clock.now()
    with tampering():
        PolicyVersion.objects.all().update(valid_until=moment)
    other = save(world, terms_of(world), sku="OTHER").listing
    (outcome,) = offers.publish_listing(listing=other, by=VENDOR, at=clock.now())
    assert not outcome.is_live
    assert outcome.answer.outcome == "undetermined"
    assert other.offers.get().state == OfferState.DRAFT, "could not decide is no refusal"


def test_a_new_price_leaves_it_live_and_a_new_condition_takes_it_off_sale():
    world = make_sellable()
    save(world, terms_of(world, price_amount=Decimal("149.00")))
    assert offer_of(world).state == OfferState.LIVE
    save(world, terms_of(world, condition="used"))
    offer = offer_of(world)
    assert offer.state == OfferState.DRAFT
    assert offer.content_hash != offer.cleared_hash
    assert OutboxRow.objects.filter(event="listing.unpublished").count() == 1


def test_the_database_refuses_a_live_offer_without_a_clearance_for_its_terms():
    world = make_sellable()
    with pytest.raises(IntegrityError), transaction.atomic():
        ListingHost.objects.filter(pk=world.offer.pk).update(content_hash="0" * 64)
    with pytest.raises(IntegrityError), transaction.atomic():
        ListingHost.objects.filter(pk=world.offer.pk).update(decision_id=None)


def test_an_offer_becomes_live_only_with_a_clearance():
    world = make_sellable()
    draft = ListingHost.objects.create(
        listing=world.listing,
        host=HostCarrierFactory.create(),
        content_hash="0" * 64,
        state_changed_at=clock.now(),
    )
    with pytest.raises(ValueError, match="clearance"):
        listings.move_offer(offer=draft, to_state=OfferState.LIVE, at=clock.now())


def test_of_two_that_read_the_same_offer_one_moves_it():
    world = make_sellable()
    one, other = offer_of(world), offer_of(world)
    at = clock.now()
    assert listings.move_offer(offer=one, to_state=OfferState.SUSPENDED, at=at)
    assert not listings.move_offer(offer=other, to_state=OfferState.SUSPENDED, at=at)


@pytest.mark.parametrize("from_state", OfferState.values)
@pytest.mark.parametrize("to_state", OfferState.values)
def test_only_the_moves_of_the_table_are_made(from_state, to_state):
    offer = ListingHost(state=from_state)
    if to_state in listings.MOVES[from_state]:
        listings.check_move(from_state, to_state)
    else:
        with pytest.raises(InvalidMove):
            listings.move_offer(offer=offer, to_state=to_state, at=clock.now())


def test_withdrawn_is_for_good():
    world = make_sellable()
    offers.withdraw_listing(listing=world.listing, by=VENDOR, at=clock.now())
    assert offer_of(world).state == OfferState.REMOVED
    with pytest.raises(offers.ListingRemoved, match="another SKU"):
        save(world, terms_of(world))
    with pytest.raises(offers.ListingRemoved):
        offers.publish_listing(listing=world.listing, by=VENDOR, at=clock.now())


def test_a_request_that_began_before_a_revocation_is_not_answered_for_the_time_before():
    """Its `at` was taken at the edge; by the time it holds the fence, the authority is gone."""
    world = make_sellable()
    began_at = clock.now()
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    at = clock.now()
    digest = revocations.preview(change, at=at).digest
    revocations.execute(
        change, digest=digest, requested_by="maker", word_received_at=at, note="now", by=VENDOR, at=at
    )
    other = save(world, terms_of(world), sku="OTHER").listing
    (outcome,) = offers.publish_listing(listing=other, by=VENDOR, at=began_at)
    assert not outcome.is_live


def test_a_host_that_is_left_out_is_removed_and_the_other_stays():
    world = make_sellable()
    second = HostCarrierFactory.create()
    HostingFactory.create(host=second)
    save(world, terms_of(world, hosts=(world.host, second)))
    assert world.listing.offers.count() == 2
    assert offer_of(world).state == OfferState.LIVE
    save(world, terms_of(world, hosts=(world.host,)))
    assert world.listing.offers.get(host=second).state == OfferState.REMOVED
    assert offer_of(world).state == OfferState.LIVE


def test_publishing_again_renews_the_clearance_and_announces_nothing():
    world = make_sellable()
    events = OutboxRow.objects.filter(event="listing.published").count()
    (outcome,) = offers.publish_listing(listing=world.listing, by=VENDOR, at=clock.now())
    assert outcome.is_live
    assert offer_of(world).decision_id == outcome.decision.pk
    assert OutboxRow.objects.filter(event="listing.published").count() == events


def test_stock_is_what_the_vendor_says():
    world = make_sellable()
    save(world, terms_of(world, on_hand=3))
    assert Stock.objects.get(listing=world.listing).on_hand == 3


def test_deciding_a_hundred_offers_costs_as_many_queries_as_deciding_one(django_assert_max_num_queries):
    worlds = [make_sellable() for _ in range(10)]
    found = [offer_of(world) for world in worlds]
    for offer in found:
        assert offer.listing.variant.device
    with django_assert_max_num_queries(9):
        one = decisions.decide_offers(found[:1], at=clock.now())
    with django_assert_max_num_queries(9):
        many = decisions.decide_offers(found, at=clock.now())
    assert many[0].finding.evidence == one[0].finding.evidence
    assert all(answer.is_allowed for answer in many)


def test_setting_a_policy_ends_the_one_before():
    world = make_sellable()
    at = clock.now()
    policies.set_policy(**policies.POLICY_2016, by=VENDOR, at=at, reason="as in 2016")
    current = policies.current_policy(clock.now())
    assert current is not None
    assert current.name == policies.POLICY_2016["name"]
    assert Decision.objects.filter(offer=world.offer).exists()
