"""A vendor edits while somebody who thought about the old terms waits for its rows (PostgreSQL has such waits)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction

from authorization import agreements, clock, decisions, fence, offers, outbox, sweeps
from authorization.actors import Actor
from catalog.models import ListingHost, OfferState
from seeds.factories import VariantFactory, make_sellable, make_terms
from tests.authorization.threads import in_thread
from tests.storefront.conftest import revoke_agreement

VENDOR = Actor("vendor", "test")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="on SQLite nobody waits for a row"),
]


def allow(world, condition, code):
    """The vendor may sell the variant in this condition."""
    agreements.record_agreement(
        code=code,
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        may_sublicense=False,
        assurance="verified",
        models=[world.variant],
        territories=["US"],
        channels="*",
        conditions=[condition],
        valid_from=clock.now() - timedelta(days=1),
        by=VENDOR,
        at=clock.now(),
    )


def terms_of(world, condition):
    return replace(make_terms(variant=world.variant, hosts=[world.host]), condition=condition)


def wait_until_somebody_waits():
    deadline = clock.now() + timedelta(seconds=10)
    while clock.now() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("Nobody came to wait for a row.")


def is_live_without_leave(offer_id):
    offer = ListingHost.objects.select_related("listing__variant__device", "host").get(pk=offer_id)
    (answer,) = decisions.decide_offers([offer], at=clock.now())
    return offer.state == OfferState.LIVE and not answer.is_allowed


def test_a_publication_that_waited_for_an_edit_decides_on_the_new_terms():
    world = make_sellable()
    allow(world, "new", "AG-NEW")
    revoke_agreement(world)
    outbox.pump()
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.LIVE
    with transaction.atomic():
        fence.shared()
        offers._save_under_fence(
            vendor=world.vendor,
            sku=world.listing.sku,
            terms_of=lambda _: terms_of(world, "used"),
            by=VENDOR,
            at=clock.now(),
            precondition=offers.always,
        )
        thread, failures = in_thread(
            lambda: offers.publish_listing(listing=world.listing, by=VENDOR, at=clock.now())
        )
        wait_until_somebody_waits()
    thread.join(10)
    assert not failures
    assert not is_live_without_leave(world.offer.pk)


def test_a_sweep_that_waited_for_a_row_delists_nothing_by_terms_that_were_edited():
    first, second = make_sellable(), make_sellable()
    outbox.pump()
    allow(second, "used", "AG-USED")
    # Both fall, so that the sweep locks both; it waits for the first.
    revoke_agreement(first)
    revoke_agreement(second)
    both = ListingHost.objects.filter(pk__in=[first.offer.pk, second.offer.pk], state=OfferState.LIVE)

    def edit():
        offers.save_listing(
            vendor=second.vendor,
            sku=second.listing.sku,
            terms=terms_of(second, "used"),
            by=VENDOR,
            at=clock.now(),
        )
        (outcome,) = offers.publish_listing(listing=second.listing, by=VENDOR, at=clock.now())
        assert outcome.is_live

    with transaction.atomic():
        list(ListingHost.objects.filter(pk=first.offer.pk).select_for_update())
        sweep, failures = in_thread(lambda: sweeps.redecide(lambda: both, sweep=None, chunk=None, by=VENDOR))
        wait_until_somebody_waits()
        editing, edit_failures = in_thread(edit)
        editing.join(10)
    sweep.join(10)
    assert not failures + edit_failures
    assert ListingHost.objects.get(pk=second.offer.pk).state == OfferState.LIVE


def test_the_clearance_is_for_the_terms_that_were_decided():
    """Whoever read one thing and wrote another is stopped by the database."""
    world = make_sellable()
    decision = decisions.record_decision(
        answer=decisions.decide_offers([world.offer], at=clock.now())[0], offer=world.offer
    )
    assert decisions.clearance(decision).content_hash == world.offer.content_hash
    other = VariantFactory.create(device=world.variant.device)
    decision.question["variant_id"] = other.pk
    assert decisions.clearance(decision).content_hash != world.offer.content_hash
