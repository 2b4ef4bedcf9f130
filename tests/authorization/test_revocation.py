"""A revocation from preview to the last delisting, on one connection."""

from datetime import timedelta

import pytest

from authorization import agreements, approvals, clock, decisions, holds, outbox, reconciler, revocations
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Delisting, LedgerEntry, OutboxRow, Revision, Revocation, Sweep
from authorization.revocations import PlaceHold, RevokeAgreement, RevokeApproval
from catalog.models import ListingHost, OfferState
from seeds.factories import (
    HostCarrierFactory,
    OrganizationFactory,
    VariantFactory,
    make_agreement,
    make_sellable,
)
from storefront import withdrawals

pytestmark = pytest.mark.django_db

DESK = Actor("user", "desk")


def confirm(change, **more):
    at = clock.now()
    seen = revocations.preview(change, at=at)
    return revocations.execute(
        change,
        digest=more.pop("digest", seen.digest),
        requested_by="the manufacturer",
        word_received_at=more.pop("word_received_at", at),
        note="said so in public",
        by=DESK,
        at=at,
    )


def state_of(offer):
    return ListingHost.objects.get(pk=offer.pk).state


def test_a_revoked_agreement_takes_its_offers_down_and_no_others():
    one, other = make_sellable(), make_sellable()
    revocation = confirm(RevokeAgreement(one.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    assert state_of(one.offer) == OfferState.LIVE, "pages follow by the sweep"
    outbox.pump()
    assert state_of(one.offer) == OfferState.SUSPENDED
    assert state_of(other.offer) == OfferState.LIVE
    fallen = ListingHost.objects.get(pk=one.offer.pk)
    assert fallen.reason_codes == ["AGREEMENT_REVOKED"]
    delisting = Delisting.objects.get()
    assert list(withdrawals.delistings_of(revocation, at=clock.now())) == [delisting]
    assert delisting.decision.outcome == "deny"
    assert revocation.sweep.finished_at is not None


def test_every_act_of_a_revocation_stands_in_the_ledger():
    world = make_sellable()
    revocation = confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    outbox.pump()
    acts = (
        LedgerEntry.objects.filter(revision=revocation.revision_id).exclude(act="proof.issued").order_by("id")
    )
    assert [entry.act for entry in acts] == ["agreement.revoked", "authority.withdrawn", "listing.suspended"]
    assert {entry.actor for entry in acts} == {"user:desk", "system:clearline"}


def test_an_offer_with_another_valid_chain_survives_and_rests_on_it():
    world = make_sellable()
    at = clock.now()
    second = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, models=[world.variant], at=at,
        code="AG-SECOND", channels=["web"], valid_until=at + timedelta(days=30),
    )  # fmt: skip
    seen = revocations.preview(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), at=clock.now())
    assert not seen.falls
    assert [impact.offer_id for impact in seen.survives] == [world.offer.pk]
    assert second.code in seen.survives.first[0].evidence_codes
    before = ListingHost.objects.get(pk=world.offer.pk).decision_id
    confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"))
    outbox.pump()
    kept = ListingHost.objects.get(pk=world.offer.pk)
    assert kept.state == OfferState.LIVE
    assert kept.decision_id != before, "its clearance now cites what it rests on"


def test_losing_one_host_leaves_the_other():
    world = make_sellable()
    elsewhere = HostCarrierFactory.create()
    both = make_sellable(vendor=world.vendor, variant=world.variant, host=elsewhere, sku="BOTH")
    confirm(RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"))
    outbox.pump()
    assert state_of(world.offer) == OfferState.SUSPENDED
    assert state_of(both.offer) == OfferState.LIVE


def test_lifting_one_of_two_holds_lifts_one():
    world = make_sellable()
    for code in ("H-1", "H-2"):
        confirm(PlaceHold(code, "the shop", "SHOP_REVIEW", "", (("variant", str(world.variant.pk)),)))
        outbox.pump()
    assert state_of(world.offer) == OfferState.SUSPENDED
    first, second = (Revocation.objects.get(fact__code=code).fact for code in ("H-1", "H-2"))
    assert first is not None
    assert second is not None
    holds.release_hold(fact=first, by=DESK, at=clock.now(), reason="cleared")
    outbox.pump()
    assert state_of(world.offer) == OfferState.SUSPENDED
    holds.release_hold(fact=second, by=DESK, at=clock.now(), reason="cleared")
    outbox.pump()
    assert state_of(world.offer) == OfferState.LIVE
    with pytest.raises(InvalidFact, match="released on"):
        holds.release_hold(fact=second, by=DESK, at=clock.now(), reason="again")


def test_a_preview_writes_nothing():
    world = make_sellable()
    rows = (Revision.objects.count(), LedgerEntry.objects.count(), OutboxRow.objects.count())
    seen = revocations.preview(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"), at=clock.now())
    assert [impact.sku for impact in seen.falls] == [world.listing.sku]
    assert seen.falls.first[0].reason_codes == ("AGREEMENT_REVOKED",)
    assert rows == (Revision.objects.count(), LedgerEntry.objects.count(), OutboxRow.objects.count())


def test_a_confirmation_of_a_world_that_moved_is_refused_with_the_new_picture():
    world = make_sellable()
    seen = revocations.preview(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"), at=clock.now())
    more = make_sellable(
        vendor=world.vendor, variant=world.variant, host=HostCarrierFactory.create(), sku="MORE"
    )
    with pytest.raises(revocations.WorldMoved) as refused:
        confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"), digest=seen.digest)
    # The second listing has an agreement of its own, so it survives: the picture changed all the same.
    now = refused.value.preview
    assert now is not None
    assert {impact.offer_id for impact in (*now.falls, *now.survives)} <= {
        world.offer.pk,
        more.offer.pk,
    }
    assert not Revocation.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (RevokeAgreement(987_654, "MANUFACTURER_DISCLAIMS"), "fact"),
        (RevokeAgreement(1, "BECAUSE"), "reason_code"),
        (PlaceHold("H-1", "the shop", "SAFETY", "", ()), "targets"),
        (PlaceHold("H-1", "the shop", "SAFETY", "", (("variant", "987654"),)), "targets"),
        (PlaceHold("H-1", "the shop", "SAFETY", "", (("planet", "1"),)), "targets"),
        (PlaceHold("H-1", "the shop", "SAFETY", "", (("variant", "01"),)), "targets"),
        (PlaceHold("H-1", "the shop", "SAFETY", "", (("variant", "\u0661"),)), "targets"),
        (PlaceHold("H-1", " ", "SAFETY", "", (("territory", "US"),)), "placed_by"),
        (PlaceHold("H-1", "the shop", "SAFETY", "", (("territory", "usa"),)), "targets"),
    ],
)
def test_a_bad_change_is_refused_with_field_and_cure(change, field):
    with pytest.raises(InvalidFact) as refused:
        revocations.preview(change, at=clock.now())
    assert refused.value.field == field
    assert refused.value.message


def test_a_revoked_agreement_cannot_be_revoked_again_nor_verified():
    world = make_sellable()
    confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    with pytest.raises(InvalidFact, match="nothing is left to revoke"):
        revocations.preview(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), at=clock.now())


def test_a_revoked_agreement_cannot_be_verified():
    world = make_sellable()
    confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    with pytest.raises(InvalidFact, match="revoked"):
        agreements.verify_agreement(fact=world.agreement, by=DESK, at=clock.now(), reason="they say so")


@pytest.mark.parametrize("state", ["rejected", "in_test", "requested"])
def test_an_approval_in_force_is_taken_away_by_a_revocation_only(state):
    world = make_sellable()
    with pytest.raises(InvalidFact, match="revoke it, or place a hold"):
        approvals.change_approval_state(
            fact=world.approval, state=state, by=DESK, at=clock.now(), reason="second thoughts"
        )


def test_a_revoked_approval_stays_so():
    world = make_sellable()
    confirm(RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"))
    with pytest.raises(InvalidFact, match="final"):
        approvals.change_approval_state(
            fact=world.approval, state="approved", by=DESK, at=clock.now(), reason="after all"
        )


def test_agreements_in_a_circle_are_refused():
    at = clock.now()
    maker = OrganizationFactory.create(kind="manufacturer")
    one, two = OrganizationFactory.create(kind="distributor"), OrganizationFactory.create(kind="distributor")
    make_agreement(grantor=maker, grantee=one, at=at, may_sublicense=True)
    make_agreement(grantor=one, grantee=two, at=at, may_sublicense=True)
    with pytest.raises(InvalidFact, match="circle"):
        make_agreement(grantor=two, grantee=one, at=at, may_sublicense=True)


def test_a_word_from_the_future_is_refused():
    world = make_sellable()
    with pytest.raises(InvalidFact) as refused:
        confirm(
            RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"),
            word_received_at=clock.now() + timedelta(hours=1),
        )
    assert refused.value.field == "word_received_at"


def test_the_same_sweep_twice_changes_nothing():
    world = make_sellable()
    built = list(OutboxRow.objects.values_list("pk", flat=True))
    revocation = confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    outbox.pump()
    before = (
        Delisting.objects.count(),
        LedgerEntry.objects.count(),
        OutboxRow.objects.count(),
        Sweep.objects.count(),
    )
    rows = OutboxRow.objects.filter(handler__startswith="authorization.").exclude(pk__in=built)
    rows.update(done_at=None, claimed_until=None)
    assert rows.count() > 0
    outbox.pump()
    after = (
        Delisting.objects.count(),
        LedgerEntry.objects.count(),
        OutboxRow.objects.count(),
        Sweep.objects.count(),
    )
    assert before == after
    assert state_of(world.offer) == OfferState.SUSPENDED
    assert len(withdrawals.delistings_of(revocation, at=clock.now())) == 1


def test_the_reconciler_takes_down_what_the_events_missed():
    world = make_sellable()
    confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    OutboxRow.objects.filter(event="authority.changed").delete()
    run = reconciler.reconcile(at=clock.now())
    assert run is not None
    assert run.found_live == 1
    assert state_of(world.offer) == OfferState.SUSPENDED
    assert Delisting.objects.get().sweep is None
    again = reconciler.reconcile(at=clock.now())
    assert again is not None
    assert again.found_live == 0


def test_the_reconciler_leaves_a_fresh_change_to_its_own_sweep_and_steps_in_when_that_does_not_come():
    world, other = make_sellable(), make_sellable()
    outbox.pump()
    confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    run = reconciler.reconcile(at=clock.now())
    assert run is not None
    assert (run.decided, run.found_live) == (1, 0), "the other offer was looked at, this one left alone"
    later = reconciler.reconcile(at=clock.now() + timedelta(minutes=1))
    assert later is not None
    assert later.found_live == 1
    assert state_of(other.offer) == OfferState.LIVE


def test_a_sweep_whose_last_worker_died_before_saying_so_is_finished_by_the_next():
    world = make_sellable()
    outbox.pump()
    revocation = confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    outbox.pump()
    # As if it had been killed between the commit of the chunk and the end of the sweep.
    Sweep.objects.filter(pk=revocation.sweep.pk).update(finished_at=None)
    OutboxRow.objects.filter(event="sweep.finished").delete()
    chunk = revocation.sweep.chunks.get()
    rows = OutboxRow.objects.filter(event="sweep.chunk_planned", payload={"chunk_id": chunk.pk})
    assert rows.exclude(handler="").update(done_at=None, claimed_until=None) == 1
    outbox.pump()
    revocation.sweep.refresh_from_db()
    assert revocation.sweep.finished_at is not None
    assert OutboxRow.objects.filter(event="sweep.finished", handler="").exists()


def test_a_hold_on_many_is_previewed_as_one_on_few():
    """SQLite takes 500 arms of a compound statement: a recall has more models than that."""
    world = make_sellable()
    variants = [world.variant, *VariantFactory.create_batch(600)]
    targets = tuple(("variant", str(variant.pk)) for variant in variants)
    seen = revocations.preview(PlaceHold("H-RECALL", "CPSC", "SAFETY", "", targets), at=clock.now())
    assert [impact.offer_id for impact in seen.falls] == [world.offer.pk]


@pytest.mark.parametrize(
    "changes",
    [{"territory": "usa"}, {"territory": "us"}, {"channel": "tv"}, {"condition": ""}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_question_in_terms_that_nobody_knows_is_refused(changes):
    world = make_sellable()
    question = decisions.question_for_offer(world.offer)._replace(**changes)
    with pytest.raises(decisions.InvalidQuestion) as refused:
        decisions.decide(question, at=clock.now())
    assert refused.value.field in changes
