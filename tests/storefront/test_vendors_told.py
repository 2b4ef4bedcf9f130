"""Vendors are told by mail: once, of all that was taken off sale, under the ids of log and webhooks."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail

from authorization import clock, holds, outbox, reconciler
from authorization.models import Delisting, Fact, OutboxRow, ReconcilerRun, Sweep
from catalog.models import ListingHost, OfferState, Organization
from seeds.factories import make_sellable
from storefront import events, vendors_told
from storefront.models import SentMessage
from tests.storefront.conftest import DESK, place_hold, revoke_agreement

pytestmark = pytest.mark.django_db


def lines_of(message):
    return [line for line in message.body.splitlines() if line.startswith("- ") and "(event " in line]


def test_one_mail_names_every_offer_with_reasons_and_the_event_id(world):
    Organization.objects.filter(pk=world.vendor.pk).update(contact_email="ops@vendor.example")
    second = make_sellable(vendor=world.vendor, variant=world.variant, sku="SECOND", host=world.host)
    outbox.pump()
    revoke_agreement(world)
    outbox.pump()

    [sent] = [message for message in mail.outbox if message.to == ["ops@vendor.example"]]
    assert sent.subject == "2 of your offers were taken off sale"
    message = SentMessage.objects.get(kind="delisted")
    sweep = Sweep.objects.get(revocation__isnull=False)
    assert (message.sweep, message.revocation) == (sweep, sweep.revocation)
    for offer in (world.offer, second.offer):
        delisting = Delisting.objects.get(offer=offer)
        [line] = [line for line in lines_of(message) if offer.listing.sku in line]
        assert "AGREEMENT_REVOKED" in line
        assert str(world.host) in line
        assert str(delisting.decision_id) in line
    # The log has the same ids.
    logged = {row.event_id for row in events.events_of(world.vendor.pk).filter(event="listing.suspended")}
    assert logged == set(Delisting.objects.values_list("decision_id", flat=True))
    assert "up to the manufacturer" in message.body
    assert "/v1/reasons/AGREEMENT_REVOKED" in message.body


def test_what_the_reasons_mean_and_what_to_do_stands_for_each_reason(world):
    place_hold(("host", world.host.pk))
    outbox.pump()
    [message] = SentMessage.objects.filter(kind="delisted")
    assert "- ON_HOLD (1 offer): A hold is in force." in message.body
    assert "up to who placed" in message.body


def test_each_vendor_has_its_own_row_and_is_told_once_however_often_it_is_asked(world):
    other = make_sellable(host=world.host)
    outbox.pump()
    place_hold(("host", world.host.pk))
    outbox.pump()
    assert OutboxRow.objects.filter(event="vendor.to_tell", handler="").count() == 2
    told = set(SentMessage.objects.filter(kind="delisted").values_list("recipient", flat=True))
    assert told == {world.vendor.name, other.vendor.name}

    sweep = Sweep.objects.get(revocation__isnull=False)
    for _ in range(2):
        vendors_told.tell_vendors(payload={"sweep_id": sweep.pk}, event_id=uuid4(), at=clock.now())
    row = OutboxRow.objects.filter(event="vendor.to_tell", handler="").first()
    assert row is not None
    vendors_told.tell_vendor(payload=row.payload, event_id=row.event_id, at=clock.now())
    outbox.pump()
    assert SentMessage.objects.filter(kind="delisted").count() == 2


def test_a_vendor_with_many_offers_has_them_counted_and_the_first_named(
    world, monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setattr(vendors_told, "NAMED", 3)
    for number in range(5):
        make_sellable(vendor=world.vendor, variant=world.variant, sku=f"MORE-{number}", host=world.host)
    outbox.pump()
    revoke_agreement(world)
    outbox.pump()
    [message] = SentMessage.objects.filter(kind="delisted")
    assert len(lines_of(message)) == 3
    assert "- and 3 more: see GET /v1/events" in message.body
    assert "AGREEMENT_REVOKED (6 offers)" in message.body
    row = OutboxRow.objects.get(event="vendor.to_tell", handler="")
    SentMessage.objects.all().delete()
    # Whatever their number: vendor, sweep, counts, the first, and the message.
    with django_assert_max_num_queries(12):
        vendors_told.tell_vendor(payload=row.payload, event_id=row.event_id, at=clock.now())


def test_a_sweep_that_moves_nothing_tells_nobody(world):
    place_hold(("territory", "CA"))
    outbox.pump()
    assert not SentMessage.objects.filter(kind__in=["delisted", "reinstated"]).exists()


def test_what_comes_back_is_told_in_one_mail(world):
    make_sellable(vendor=world.vendor, variant=world.variant, sku="SECOND", host=world.host)
    place_hold(("vendor", world.vendor.pk), code="HOLD-9")
    outbox.pump()
    holds.release_hold(fact=Fact.objects.get(code="HOLD-9"), reason="over", by=DESK, at=clock.now())
    outbox.pump()
    [message] = SentMessage.objects.filter(kind="reinstated")
    assert message.subject == "2 of your offers are on sale again"
    returned = events.events_of(world.vendor.pk).filter(event="listing.reinstated")
    assert len(returned) == 2
    assert all(str(row.event_id) in message.body for row in returned)
    assert len(lines_of(message)) == 2


# --- what the reconciler moved --------------------------------------------------------------------------------


def lose_an_event(world):
    """The offer is live without authority, and no sweep is on its way."""
    revoke_agreement(world)
    OutboxRow.objects.filter(event="authority.changed").exclude(handler="").update(done_at=clock.now())


def reconcile_later(monkeypatch):
    monkeypatch.setattr(reconciler, "_under_way", lambda offers, since: set())
    return reconciler.reconcile(at=clock.now())


def test_what_the_reconciler_took_down_is_told_too_and_once(world, monkeypatch):
    lose_an_event(world)
    run = reconcile_later(monkeypatch)
    assert run.found_live == 1
    later = clock.now() + timedelta(minutes=2)
    outbox.pump(at=lambda: later)
    [message] = SentMessage.objects.filter(kind="delisted")
    delisting = Delisting.objects.get(sweep=None)
    assert str(delisting.decision_id) in message.body
    vendors_told.tell_of_run(payload={"run_id": run.pk}, event_id=uuid4(), at=later)
    outbox.pump(at=lambda: later)
    assert SentMessage.objects.filter(kind="delisted").count() == 1


def test_what_the_reconciler_brought_back_is_told_too(world, monkeypatch):
    place_hold(("vendor", world.vendor.pk), code="HOLD-9")
    outbox.pump()
    OutboxRow.objects.filter(event="authority.changed").exclude(handler="").update(done_at=clock.now())
    holds.release_hold(fact=Fact.objects.get(code="HOLD-9"), reason="over", by=DESK, at=clock.now())
    OutboxRow.objects.filter(event="authority.changed").exclude(handler="").update(done_at=clock.now())
    assert reconcile_later(monkeypatch).found_suspended == 1
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.LIVE
    later = clock.now() + timedelta(minutes=2)
    outbox.pump(at=lambda: later)
    [message] = SentMessage.objects.filter(kind="reinstated")
    assert lines_of(message)


def test_a_round_that_is_still_at_work_is_told_later_and_a_killed_one_all_the_same(world, monkeypatch):
    lose_an_event(world)
    run = reconcile_later(monkeypatch)
    ReconcilerRun.objects.filter(pk=run.pk).update(finished_at=None)
    at = run.started_at + timedelta(minutes=1)
    vendors_told.tell_of_run(payload={"run_id": run.pk}, event_id=uuid4(), at=at)
    assert not OutboxRow.objects.filter(event="vendor.to_tell").exists()
    again = OutboxRow.objects.filter(event="reconciler.found").exclude(handler="").latest("id")
    assert again.due_at == at + timedelta(minutes=1)
    vendors_told.tell_of_run(payload={"run_id": run.pk}, event_id=uuid4(), at=at + timedelta(minutes=10))
    assert OutboxRow.objects.filter(event="vendor.to_tell", handler="").count() == 1


def test_two_rounds_tell_each_their_own(world, monkeypatch):
    lose_an_event(world)
    first = reconcile_later(monkeypatch)
    other = make_sellable()
    lose_an_event(other)
    second = reconcile_later(monkeypatch)
    for run in (first, second):
        vendors_told.tell_of_run(
            payload={"run_id": run.pk}, event_id=uuid4(), at=clock.now() + timedelta(minutes=11)
        )
    rows = OutboxRow.objects.filter(event="vendor.to_tell", handler="")
    assert sorted(row.payload["vendor_id"] for row in rows) == sorted([world.vendor.pk, other.vendor.pk])
    assert json.dumps(rows[0].payload)
