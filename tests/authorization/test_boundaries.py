"""Authority that begins or ends by itself: the instant is a revision, and the sweep follows."""

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import (
    boundaries,
    clock,
    decisions,
    dialect,
    fence,
    offers,
    outbox,
    pending_changes,
    revocations,
    selectors,
)
from authorization.actors import Actor
from authorization.models import Delisting, Fact, LedgerEntry, OutboxRow, PendingChange, Sweep
from catalog.models import ListingHost, OfferState
from seeds.factories import (
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    ensure_policy,
    make_agreement,
    make_approval,
    make_hold,
    make_sellable,
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


# --- many at one instant ----------------------------------------------------------------------------------------


def a_list_that_ends(ends_at, *, count, vendors=2):
    """A carrier whose approvals all end at one instant, each with a live offer; beside it a stranger's."""
    host, maker = HostCarrierFactory.create(), OrganizationFactory.create(kind="manufacturer")
    sellers = [
        OrganizationFactory.create(kind="vendor", contact_email=f"v{n}@example.test") for n in range(vendors)
    ]
    for seller in sellers:
        make_agreement(grantor=maker, grantee=seller, at=clock.now())
    HostingFactory.create(host=host, at=clock.now())
    ensure_policy(at=clock.now())
    live = []
    for n in range(count):
        variant, seller = VariantFactory.create(device__manufacturer=maker), sellers[n % vendors]
        make_approval(host=host, variant=variant, at=clock.now(), valid_until=ends_at)
        terms = make_terms(variant=variant, hosts=[host])
        saved = offers.save_listing(vendor=seller, sku=f"L-{n}", terms=terms, by=VENDOR, at=clock.now())
        live += [
            done.offer for done in offers.publish_listing(listing=saved.listing, by=VENDOR, at=clock.now())
        ]
    stranger = make_sellable(vendor=sellers[0]).offer
    outbox.pump()
    return live, stranger


def rows_of(ends_at):
    rows = OutboxRow.objects.filter(event="authority.boundary", due_at=ends_at).exclude(handler="")
    return list(rows.order_by("id"))


def deliver(row, at):
    boundaries.cross_boundary(payload=row.payload, event_id=row.event_id, at=at)


def states(listed):
    return Counter(
        ListingHost.objects.filter(pk__in=[each.pk for each in listed]).values_list("state", flat=True)
    )


def test_a_whole_list_that_ends_at_one_instant_is_one_revision_and_one_sweep(ends_at, monkeypatch, settings):
    settings.SWEEP_CHUNK_SIZE = 7
    live, stranger = a_list_that_ends(ends_at, count=40)
    before, sweeps_before = fence.current_revision(), Sweep.objects.count()
    mail.outbox.clear()
    move_clock(monkeypatch, ends_at)
    outbox.pump(at=lambda: ends_at)
    assert fence.current_revision() == before + 1
    assert Sweep.objects.count() == sweeps_before + 1
    sweep = Sweep.objects.get(revision=before + 1)
    assert sweep.finished_at is not None
    assert (sweep.planned_offers, sweep.chunks.count()) == (40, 6)
    assert states(live) == {OfferState.SUSPENDED: 40}
    assert state(stranger) == OfferState.LIVE
    assert all(
        codes == ["CARRIER_APPROVAL_EXPIRED"]
        for codes in Delisting.objects.values_list("reason_codes", flat=True)
    )
    assert OutboxRow.objects.filter(event="listing.suspended").count() == 40
    entry = LedgerEntry.objects.get(act="boundary.crossed")
    ended = sorted(Fact.objects.filter(approval_versions__valid_until=ends_at).values_list("pk", flat=True))
    assert len(ended) == 40
    assert (entry.evidence["fact_ids"], entry.revision) == (ended, before + 1)
    assert all(row.done_at == ends_at and row.failed_at is None for row in rows_of(ends_at))
    assert sorted(message.to[0] for message in mail.outbox) == ["v0@example.test", "v1@example.test"]
    assert [message.subject for message in mail.outbox] == ["20 of your offers were taken off sale"] * 2


def test_selling_stops_at_the_instant_with_every_worker_dead(ends_at, monkeypatch):
    live, _ = a_list_that_ends(ends_at, count=4)
    before = fence.current_revision()
    loaded = list(
        ListingHost.objects.filter(pk__in=[each.pk for each in live]).select_related(
            "listing__variant__device"
        )
    )
    last = ends_at - timedelta(microseconds=1)
    answers = decisions.decide_offers(loaded, at=last)
    assert all(answer.is_allowed and answer.expires_at == ends_at for answer in answers)
    move_clock(monkeypatch, ends_at)
    assert [answer.reason_codes for answer in decisions.decide_offers(loaded, at=ends_at)] == [
        ["CARRIER_APPROVAL_EXPIRED"]
    ] * 4
    assert fence.current_revision() == before, "nobody has crossed it"
    assert states(live) == {OfferState.LIVE: 4}


def crossing_of(count):
    """How many statements the crossing of so many ends takes."""
    ends_at = clock.now() + timedelta(hours=1)
    host, maker = HostCarrierFactory.create(), OrganizationFactory.create(kind="manufacturer")
    for _ in range(count):
        make_approval(
            host=host,
            variant=VariantFactory.create(device__manufacturer=maker),
            at=clock.now(),
            valid_until=ends_at,
        )
    row = rows_of(ends_at)[0]
    with CaptureQueriesContext(connection) as queries:
        deliver(row, ends_at)
    assert not [row for row in rows_of(ends_at) if row.done_at is None]
    return len(queries)


def test_the_statements_of_a_crossing_do_not_grow_with_what_ends(monkeypatch):
    monkeypatch.setattr(fence, "MAX_AHEAD", timedelta(days=1))
    few = crossing_of(2)
    # More than are written out one by one, too.
    monkeypatch.setattr(dialect, "_FEW_IDS", 100)
    assert crossing_of(300) == few


def test_ends_that_are_delivered_again_or_late_add_nothing(ends_at, monkeypatch):
    live, _ = a_list_that_ends(ends_at, count=3)
    move_clock(monkeypatch, ends_at)
    outbox.pump(at=lambda: ends_at)
    revision, events = fence.current_revision(), OutboxRow.objects.filter(event="authority.changed").count()
    for row in rows_of(ends_at):
        deliver(row, ends_at)
        # As after a worker that died with it.
        late = ends_at + timedelta(minutes=1)
        OutboxRow.objects.create(
            event_id=row.event_id, event=row.event, payload=row.payload, handler=row.handler, attempt=2, due_at=late,
            created_at=late,
        )  # fmt: skip
    outbox.pump(at=lambda: ends_at + timedelta(minutes=2))
    assert fence.current_revision() == revision
    assert OutboxRow.objects.filter(event="authority.changed").count() == events
    assert LedgerEntry.objects.filter(act="boundary.crossed").count() == 1
    assert states(live) == {OfferState.SUSPENDED: 3}


def test_an_attempt_that_waits_is_crossed_with_the_others(ends_at, monkeypatch):
    a_list_that_ends(ends_at, count=3)
    waits, *others = rows_of(ends_at)
    OutboxRow.objects.filter(pk=waits.pk).update(attempt=2, due_at=ends_at + timedelta(seconds=30))
    monkeypatch.setattr(fence, "MAX_AHEAD", timedelta(days=1))
    deliver(others[0], ends_at)
    entry = LedgerEntry.objects.get(act="boundary.crossed")
    assert len(entry.evidence["fact_ids"]) == 3
    assert OutboxRow.objects.get(pk=waits.pk).done_at is not None


def test_what_another_worker_has_in_his_hand_he_marks_himself(ends_at, monkeypatch):
    a_list_that_ends(ends_at, count=3)
    first, in_his_hand, third = rows_of(ends_at)
    lease = clock.now() + timedelta(minutes=5)
    OutboxRow.objects.filter(pk=in_his_hand.pk).update(claimed_until=lease)
    monkeypatch.setattr(fence, "MAX_AHEAD", timedelta(days=1))
    deliver(first, ends_at)
    assert OutboxRow.objects.get(pk=third.pk).done_at is not None
    left = OutboxRow.objects.get(pk=in_his_hand.pk)
    assert (left.done_at, left.claimed_until) == (None, lease)
    revision = fence.current_revision()
    deliver(in_his_hand, ends_at)
    assert fence.current_revision() == revision


@pytest.mark.parametrize("withdrawn_first", [True, False])
def test_a_withdrawal_of_that_instant_keeps_its_own_revision_and_sweep(ends_at, monkeypatch, withdrawn_first):
    live, stranger = a_list_that_ends(ends_at, count=5)
    offered = make_sellable()
    outbox.pump()
    at = clock.now()
    change = revocations.RevokeAgreement(offered.agreement.pk, "AGREEMENT_TERMINATED")
    digest = revocations.preview(change, at=at, effective_at=ends_at).digest
    revocation = revocations.execute(
        change, digest=digest, requested_by="maker", word_received_at=at, note="n", by=VENDOR, at=at,
        effective_at=ends_at,
    )  # fmt: skip
    outbox.pump()
    before = fence.current_revision()
    rows = sorted(
        rows_of(ends_at),
        key=lambda row: (row.payload["fact_id"] == offered.agreement.pk) is not withdrawn_first,
    )
    move_clock(monkeypatch, ends_at)
    for row in rows:
        # In this order, as whoever came first to the fence.
        if OutboxRow.objects.get(pk=row.pk).done_at is None:
            deliver(row, ends_at)
            OutboxRow.objects.filter(pk=row.pk).update(done_at=ends_at)
    outbox.pump(at=lambda: ends_at)
    assert fence.current_revision() == before + 2
    assert Sweep.objects.filter(revision__gt=before).count() == 2
    assert Sweep.objects.get(revocation=revocation).planned_offers == 1
    assert PendingChange.objects.get(revocation=revocation).state == PendingChange.State.DONE
    assert states([*live, offered.offer]) == {OfferState.SUSPENDED: 6}
    assert state(stranger) == OfferState.LIVE


def test_corrections_that_begin_then_lend_their_scopes(ends_at, monkeypatch):
    """Beside facts of several kinds: what any of them bears on is swept, and no more."""
    one = make_approval(
        host=HostCarrierFactory.create(), variant=VariantFactory.create(), at=clock.now(), valid_until=ends_at
    )
    for scope in ({"host_ids": [7]}, {"host_ids": [9], "variant_ids": [3]}):
        payload = {"fact_id": None, "scope": scope, "boundary": ends_at.isoformat()}
        outbox.announce(event="authority.boundary", payload=payload, at=clock.now(), due_at=ends_at)
    monkeypatch.setattr(fence, "MAX_AHEAD", timedelta(days=1))
    deliver(rows_of(ends_at)[0], ends_at)
    changed = OutboxRow.objects.filter(event="authority.changed", handler="").latest("id")
    assert changed.payload["fact_id"] is None
    assert changed.payload["scope"] == {
        "host_ids": [7, 9],
        "variant_ids": [3],
        "facts": {"approval": [one.pk]},
    }


def test_a_change_that_may_bear_on_all_sweeps_all(ends_at, monkeypatch):
    for scope in ({"host_ids": [7]}, {}):
        payload = {"fact_id": None, "scope": scope, "boundary": ends_at.isoformat()}
        outbox.announce(event="authority.boundary", payload=payload, at=clock.now(), due_at=ends_at)
    monkeypatch.setattr(fence, "MAX_AHEAD", timedelta(days=1))
    deliver(rows_of(ends_at)[0], ends_at)
    changed = OutboxRow.objects.filter(event="authority.changed", handler="").latest("id")
    assert changed.payload == {"revision": fence.current_revision(), "fact_id": None}


def test_offers_return_when_very_many_holds_end_at_one_instant(ends_at, monkeypatch):
    vendor = OrganizationFactory.create(kind="vendor")
    worlds = [make_sellable(vendor=vendor, variant=VariantFactory.create(), sku=f"S-{n}") for n in range(3)]
    for n in range(selectors._SINGLE_HOLDS + 5):
        make_hold(
            targets=[("vendor", str(vendor.pk)), ("variant", str(worlds[n % 2].variant.pk))], at=clock.now(),
            valid_until=ends_at,
        )  # fmt: skip
    outbox.pump()
    listed = [world.offer for world in worlds]
    assert states(listed) == {OfferState.SUSPENDED: 2, OfferState.LIVE: 1}
    before = fence.current_revision()
    move_clock(monkeypatch, ends_at)
    outbox.pump(at=lambda: ends_at)
    assert fence.current_revision() == before + 1
    assert states(listed) == {OfferState.LIVE: 3}


def test_facts_of_every_kind_may_be_told_by_kind_or_one_by_one(monkeypatch):
    """Also when they are too many to be written out."""
    world, at = make_sellable(), clock.now()
    make_sellable()
    make_hold(targets=[("vendor", str(world.vendor.pk))], at=at)
    of_kind: dict[str, list[int]] = {}
    for kind, fact_id in Fact.objects.values_list("kind", "pk"):
        of_kind.setdefault(kind, []).append(fact_id)
    del of_kind["policy"]
    every = [fact_id for listed in of_kind.values() for fact_id in listed]

    def touched():
        by_kind = selectors.offers_in_scope(ListingHost.objects.all(), {"facts": of_kind})
        one_by_one = selectors.offers_touched_by_any(ListingHost.objects.all(), every)
        return sorted(by_kind.values_list("pk", flat=True)), sorted(one_by_one.values_list("pk", flat=True))

    written_out = touched()
    assert len(written_out[0]) == 2
    monkeypatch.setattr(dialect, "_FEW_IDS", 0)
    assert touched() == written_out
    assert written_out[0] == written_out[1]
