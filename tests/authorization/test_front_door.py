"""Every way that authority ends goes through one door: the preview says what the execution does, at once or later.

And every way back: what is undone comes back by the same sweep, and only where nothing else stops it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from authorization import (
    affiliations,
    attributes,
    clock,
    decisions,
    groundwork,
    holds,
    outbox,
    pending_changes,
    reinstatements,
    revocations,
)
from authorization.actors import Actor
from authorization.agreements import NarrowerTerms
from authorization.facts import InvalidFact
from authorization.models import (
    Delisting,
    Fact,
    LedgerEntry,
    OutboxRow,
    PendingChange,
    Reinstatement,
    Revision,
    Revocation,
    Sweep,
)
from authorization.pending_changes import LeftToAPerson, NotPending
from authorization.revocations import (
    Change,
    CorrectGroundwork,
    EndAffiliation,
    EndExemption,
    NarrowAgreement,
    PlaceHold,
    RestrictApproval,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
    SetPolicy,
    Undo,
    WorldMoved,
)
from catalog.models import ListingHost, OfferState, Organization, VariantVersion
from seeds.factories import (
    OrganizationFactory,
    World,
    make_affiliation,
    make_agreement,
    make_approval,
    make_equipment,
    make_hold,
    make_policy,
    make_sellable,
)

pytestmark = pytest.mark.django_db

DESK, LEAD = Actor("user", "desk"), Actor("user", "lead")


def confirm(change: Change, **more: Any) -> Revocation:
    at = more.pop("at", None) or clock.now()
    effective_at = more.pop("effective_at", None)
    seen = revocations.preview(change, at=at, effective_at=effective_at)
    return revocations.execute(
        change,
        digest=more.pop("digest", seen.digest),
        requested_by="the manufacturer",
        word_received_at=at,
        note="said so in public",
        by=more.pop("by", DESK),
        at=at,
        effective_at=effective_at,
        **more,
    )


def state_of(world: World) -> str:
    return ListingHost.objects.get(pk=world.offer.pk).state


def is_allowed(world: World, *, at: Any = None) -> bool:
    offer = ListingHost.objects.select_related("listing__variant__device").get(pk=world.offer.pk)
    return decisions.decide_offers([offer], at=at or clock.now())[0].is_allowed


# --- every kind ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A kind of change: a world that it takes away, and one beside it that it does not."""

    falls: World
    stays: World
    change: Change


def agreement() -> Case:
    world, other = make_sellable(), make_sellable()
    return Case(world, other, RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))


def narrowing() -> Case:
    world = make_sellable()
    other = make_sellable(vendor=world.vendor, host=world.host)
    wide = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now(), territories=["US"]
    )
    confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"))
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    return Case(world, other, NarrowAgreement(wide.pk, "MANUFACTURER_DISCLAIMS", channels=("retail",)))


def approval() -> Case:
    world, other = make_sellable(), make_sellable()
    return Case(world, other, RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"))


def restriction() -> Case:
    make_policy(at=clock.now(), is_conditional_approval_enough=False)
    world, other = make_sellable(), make_sellable()
    return Case(world, other, RestrictApproval(world.approval.pk, "CARRIER_TESTS_PENDING", limits="no LTE"))


def less_software() -> Case:
    world, other = make_sellable(software="7.0.5"), make_sellable(software="7.0.5")
    change = RestrictApproval(
        world.approval.pk, "CARRIER_TESTS_PENDING", limits="not this release", software_from="7.1"
    )
    return Case(world, other, change)


def equipment() -> Case:
    make_policy(at=clock.now(), is_equipment_authorization_enforced=False)
    world, other = make_sellable(), make_sellable()
    first = make_equipment(variant=world.variant, at=clock.now())
    make_equipment(variant=other.variant, at=clock.now())
    make_policy(at=clock.now(), is_equipment_authorization_enforced=True)
    return Case(world, other, RevokeEquipment(first.pk, "REGULATOR_ORDER"))


def hold() -> Case:
    world, other = make_sellable(), make_sellable()
    return Case(world, other, place(world))


def place(world: World, *, code: str = "HOLD-1", **more: Any) -> PlaceHold:
    return PlaceHold(
        code=code,
        placed_by="the shop",
        reason_code=more.pop("reason_code", "SHOP_REVIEW"),
        note="",
        targets=more.pop("targets", (("variant", str(world.variant.pk)),)),
    )


def vendor_suspended() -> Case:
    world, other = make_sellable(), make_sellable()
    return Case(world, other, place(world, targets=(("vendor", str(world.vendor.pk)),)))


def exemption() -> Case:
    world, other = make_sellable(), make_sellable()
    at = clock.now()
    exempted = holds.Exemption((("vendor", str(world.vendor.pk)),), at - timedelta(days=1))
    fact = make_hold(targets=[("variant", str(world.variant.pk))], exemptions=[exempted], at=at)
    return Case(world, other, EndExemption(fact.pk, 1, "REGULATOR_ORDER"))


def affiliation() -> Case:
    at = clock.now()
    world, other = make_sellable(), make_sellable()
    maker = world.variant.device.manufacturer
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    fact = make_affiliation(parent=parent, child=maker, at=at)
    make_agreement(grantor=parent, grantee=world.vendor, at=at)
    confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"))
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    return Case(world, other, EndAffiliation(fact.pk, "RECORD_MISTAKEN"))


def policy() -> Case:
    world, other = make_sellable(), make_sellable()
    make_equipment(variant=other.variant, at=clock.now())
    change = SetPolicy(
        reason_code="POLICY_TIGHTENED",
        name="as before, and the regulator's word",
        minimum_assurance="verified",
        is_carrier_approval_enforced=True,
        is_equipment_authorization_enforced=True,
    )
    return Case(world, other, change)


def policy_of_a_territory() -> Case:
    case = policy()
    change = SetPolicy(**{**vars(case.change), "territory": "US"})
    return Case(case.falls, case.stays, change)


def hosting() -> Case:
    world, other = make_sellable(), make_sellable()
    at = clock.now()
    recorder = groundwork.Recorder(by=DESK, at=at, reason="the contract with the host ended")
    recorder.hosting(
        mvno=world.hosting.mvno,
        host=world.host,
        product_name=world.hosting.product_name,
        fields={"plmn": world.host.plmn, "note": "ended"},
        valid_from=at - timedelta(days=400),
        valid_until=at,
    )
    return Case(world, other, CorrectGroundwork("DATA_CORRECTED", f"hosting on {world.host}", recorder))


def attribute() -> Case:
    world, other = make_sellable(), make_sellable()
    at = clock.now()
    with groundwork.recording(by=DESK, at=at, reason="radio") as recorder:
        for each in (world, other):
            recorder.variant_radio(
                variant=each.variant, fields={}, bands=[], ims={}, valid_from=at - timedelta(days=10)
            )
    make_hold(targets=[("attribute:chipset_vendor", "Qualcomm")], at=at)
    correction = attributes.prepare_attributes(
        variant=world.variant,
        attributes=[("chipset_vendor", "Qualcomm")],
        by=DESK,
        at=at,
        reason="the maker told us",
    )
    return Case(world, other, CorrectGroundwork("DATA_CORRECTED", str(world.variant), correction))


KINDS: list[Callable[[], Case]] = [
    agreement,
    approval,
    restriction,
    less_software,
    equipment,
    narrowing,
    hold,
    vendor_suspended,
    exemption,
    affiliation,
    policy,
    policy_of_a_territory,
    hosting,
    attribute,
]
kinds = pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)


@kinds
def test_what_is_previewed_is_what_falls(build: Callable[[], Case]) -> None:
    case = build()
    outbox.pump()
    assert (state_of(case.falls), state_of(case.stays)) == (OfferState.LIVE, OfferState.LIVE)
    seen = revocations.preview(case.change, at=clock.now())
    assert list(seen.falls.offer_ids) == [case.falls.offer.pk]
    revocation = confirm(case.change)
    assert not is_allowed(case.falls), "the sale stops at the commit"
    assert is_allowed(case.stays)
    assert state_of(case.falls) == OfferState.LIVE, "pages follow by the sweep"
    outbox.pump()
    assert (state_of(case.falls), state_of(case.stays)) == (OfferState.SUSPENDED, OfferState.LIVE)
    delisting = Delisting.objects.get(offer=case.falls.offer)
    assert delisting.sweep == revocation.sweep
    assert tuple(delisting.reason_codes) == seen.falls.first[0].reason_codes
    assert revocation.preview_falls == 1
    assert revocation.name


@kinds
def test_looking_leaves_no_trace(build: Callable[[], Case]) -> None:
    case = build()
    outbox.pump()

    def rows() -> dict[str, int]:
        with connection.cursor() as cursor:
            tables = connection.introspection.table_names(cursor)
            return {
                table: (cursor.execute(f'SELECT COUNT(*) FROM "{table}"'), cursor.fetchone()[0])[1]  # noqa: S608
                for table in tables
            }

    before, newest = rows(), Revision.objects.order_by("-n").values_list("n", flat=True).first()
    first = revocations.preview(case.change, at=clock.now())
    again = revocations.preview(case.change, at=clock.now())
    assert first.digest == again.digest, "and the second look sees what the first saw"
    assert rows() == before
    assert Revision.objects.order_by("-n").values_list("n", flat=True).first() == newest
    assert state_of(case.falls) == OfferState.LIVE


@kinds
def test_a_world_that_moved_is_refused(build: Callable[[], Case]) -> None:
    case = build()
    outbox.pump()
    seen = revocations.preview(case.change, at=clock.now())
    make_hold(targets=[("listing", str(case.falls.listing.pk))], at=clock.now(), code="MEANWHILE")
    with pytest.raises(WorldMoved) as moved:
        confirm(case.change, digest=seen.digest, token=seen.token)
    assert moved.value.preview is not None
    assert len(moved.value.preview.falls) == 0


@kinds
def test_what_is_undone_comes_back(build: Callable[[], Case]) -> None:
    case = build()
    revocation = confirm(case.change)
    outbox.pump()
    assert state_of(case.falls) == OfferState.SUSPENDED
    seen = revocations.preview(Undo(revocation.pk), at=clock.now())
    assert list(seen.returns.offer_ids) == [case.falls.offer.pk]
    again = revocations.preview(Undo(revocation.pk), at=clock.now())
    assert again.digest == seen.digest, "what the page showed is what its button finds"
    done = reinstatements.undo(
        revocation=revocation, reason="the letter was forged", is_mistake=True, by=LEAD, at=clock.now()
    )
    assert is_allowed(case.falls)
    outbox.pump()
    assert state_of(case.falls) == OfferState.LIVE
    assert (done.reason, done.is_mistake) == ("the letter was forged", True)
    entry = LedgerEntry.objects.get(act="authority.reinstated")
    assert (entry.reason, entry.actor) == ("the letter was forged", str(LEAD))
    # The withdrawal stands, and cannot be undone twice.
    assert Revocation.objects.filter(pk=revocation.pk).exists()
    with pytest.raises(InvalidFact, match="undone on"):
        reinstatements.undo(revocation=revocation, reason="again", is_mistake=False, by=LEAD, at=clock.now())
    assert Reinstatement.objects.count() == 1


def test_what_lost_another_leg_meanwhile_stays_down() -> None:
    one, other = make_sellable(), make_sellable()
    first = confirm(
        place(one, targets=(("variant", str(one.variant.pk)), ("variant", str(other.variant.pk))))
    )
    confirm(RevokeApproval(other.approval.pk, "CARRIER_WITHDRAWS"))
    outbox.pump()
    seen = revocations.preview(Undo(first.pk), at=clock.now())
    assert list(seen.returns.offer_ids) == [one.offer.pk]
    reinstatements.undo(revocation=first, reason="reviewed", is_mistake=False, by=DESK, at=clock.now())
    outbox.pump()
    assert (state_of(one), state_of(other)) == (OfferState.LIVE, OfferState.SUSPENDED)


def test_an_undone_agreement_is_a_new_record_and_the_old_one_stays_revoked() -> None:
    world = make_sellable()
    revocation = confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    done = reinstatements.undo(
        revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=clock.now()
    )
    assert done.fact is not None
    assert done.fact.code == f"{world.agreement.code}-R1"
    old = world.agreement.agreement_versions.get(rev_to__isnull=True)
    assert (old.state, old.revoked_at) == ("revoked", revocation.effective_at)
    # Of the time between the two nothing was allowed, and still is not.
    between = revocation.effective_at + (done.at - revocation.effective_at) / 2
    offer = ListingHost.objects.select_related("listing__variant__device").get(pk=world.offer.pk)
    question = decisions.question_for_offer(offer)
    assert not decisions.decide(question, at=between).is_allowed
    assert decisions.decide(question, at=done.at).is_allowed


def test_a_part_comes_back_and_the_rest_later() -> None:
    vendor = OrganizationFactory.create()
    one, other = make_sellable(vendor=vendor), make_sellable(vendor=vendor)
    held = confirm(place(one, targets=(("vendor", str(vendor.pk)),)))
    outbox.pump()
    part = holds.Exemption((("variant", str(one.variant.pk)),), clock.now())
    assert list(revocations.preview(Undo(held.pk, part), at=clock.now()).returns.offer_ids) == [one.offer.pk]
    done = reinstatements.undo(
        revocation=held, reason="this one is fine", is_mistake=False, by=DESK, at=clock.now(), part=part
    )
    outbox.pump()
    assert done.is_partial
    assert (state_of(one), state_of(other)) == (OfferState.LIVE, OfferState.SUSPENDED)
    reinstatements.undo(revocation=held, reason="all are", is_mistake=False, by=DESK, at=clock.now())
    outbox.pump()
    assert (state_of(one), state_of(other)) == (OfferState.LIVE, OfferState.LIVE)


def test_less_of_an_agreement_comes_back() -> None:
    world = make_sellable()
    revocation = confirm(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    outbox.pump()
    retail = NarrowerTerms(channels=("retail",))
    assert not revocations.preview(Undo(revocation.pk, retail), at=clock.now()).returns
    web = NarrowerTerms(channels=("web",))
    assert len(revocations.preview(Undo(revocation.pk, web), at=clock.now()).returns) == 1
    reinstatements.undo(
        revocation=revocation, reason="web only", is_mistake=False, by=DESK, at=clock.now(), part=web
    )
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    other = confirm(RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"))
    with pytest.raises(InvalidFact, match="all or nothing"):
        reinstatements.undo(
            revocation=other, reason="a part", is_mistake=False, by=DESK, at=clock.now(), part=web
        )


def test_a_correction_is_undone_only_while_nobody_corrected_it_again() -> None:
    case = attribute()
    revocation = confirm(case.change)
    version = VariantVersion.objects.current().get(head=case.falls.variant)
    assert version.rev_from == revocation.revision_id
    attributes.record_attributes(
        variant=case.falls.variant, attributes=[("module", "X")], by=DESK, at=clock.now(), reason="more"
    )
    with pytest.raises(InvalidFact, match="changed again"):
        reinstatements.undo(revocation=revocation, reason="wrong", is_mistake=True, by=DESK, at=clock.now())


# --- a later day --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build", [agreement, approval, equipment, hold, exemption, affiliation], ids=lambda build: build.__name__
)
def test_a_later_withdrawal_needs_no_worker_and_can_be_cancelled_until_then(
    build: Callable[[], Case],
) -> None:
    case = build()
    outbox.pump()
    day = clock.now() + timedelta(days=3)
    seen = revocations.preview(case.change, at=clock.now(), effective_at=day)
    assert list(seen.falls.offer_ids) == [case.falls.offer.pk]
    revocation = confirm(case.change, effective_at=day)
    pending = PendingChange.objects.get(revocation=revocation)
    assert (pending.kind, pending.due_at, pending.state) == ("withdrawal", day, "open")
    outbox.pump()
    # Until then all is as it was; from then on nobody needs to be awake.
    assert state_of(case.falls) == OfferState.LIVE
    assert is_allowed(case.falls, at=day - timedelta(microseconds=1))
    assert not is_allowed(case.falls, at=day)
    renewed = ListingHost.objects.get(pk=case.falls.offer.pk)
    assert renewed.clearance_expires_at is not None
    assert renewed.clearance_expires_at <= day
    assert not Delisting.objects.exists()
    announced = OutboxRow.objects.filter(event="authority.withdrawn", handler="")
    assert revocation.pk not in {row.payload["revocation_id"] for row in announced}

    pending_changes.cancel_withdrawal(pending=pending, by=LEAD, at=clock.now(), reason="they took it back")
    assert is_allowed(case.falls, at=day)
    pending.refresh_from_db()
    assert (pending.state, pending.decided_by) == ("cancelled", str(LEAD))
    outbox.pump(at=lambda: day + timedelta(seconds=1))
    assert state_of(case.falls) == OfferState.LIVE
    assert not Delisting.objects.filter(offer=case.falls.offer).exists()
    with pytest.raises(NotPending):
        pending_changes.cancel_withdrawal(pending=pending, by=LEAD, at=clock.now(), reason="again")


def test_on_its_day_a_withdrawal_takes_the_pages_down_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_sellable()
    day = clock.now() + timedelta(days=3)
    revocation = confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), effective_at=day)
    outbox.pump()
    assert not Sweep.objects.filter(revocation=revocation).exists()
    monkeypatch.setattr(clock, "now", lambda: day + timedelta(seconds=1))
    outbox.pump(at=clock.now)
    assert state_of(world) == OfferState.SUSPENDED
    assert Delisting.objects.values_list("sweep__revocation_id", flat=True).get() == revocation.pk
    assert PendingChange.objects.get().state == "done"
    assert OutboxRow.objects.filter(event="authority.withdrawn", handler="").count() == 1


def test_a_withdrawal_that_took_effect_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_sellable()
    day = clock.now() + timedelta(minutes=1)
    confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), effective_at=day)
    pending = PendingChange.objects.get()
    # No worker has noticed: the day counts, not the row.
    monkeypatch.setattr(clock, "now", lambda: day)
    with pytest.raises(NotPending, match="took effect"):
        pending_changes.cancel_withdrawal(pending=pending, by=DESK, at=day, reason="too late")
    pending.refresh_from_db()
    assert pending.state == "open"
    assert not is_allowed(world, at=day)


def test_what_took_effect_unnoticed_can_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every worker dead its day has come all the same: it can no longer be cancelled, so it must be undone."""
    world = make_sellable()
    day = clock.now() + timedelta(minutes=1)
    revocation = confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), effective_at=day)
    with pytest.raises(InvalidFact, match="cancel it instead"):
        reinstatements.undo(revocation=revocation, reason="r", is_mistake=True, by=LEAD, at=clock.now())
    now = day + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert not is_allowed(world)
    reinstatements.undo(revocation=revocation, reason="a slip", is_mistake=True, by=LEAD, at=now)
    assert is_allowed(world)
    assert PendingChange.objects.get().state == "done"
    # The worker that comes back finds nothing left to do.
    outbox.pump(at=clock.now)
    assert state_of(world) == OfferState.LIVE
    assert not OutboxRow.objects.filter(event="authority.withdrawn").exists()
    # Nor is that a lost event: the ledger says why there is none.
    acts = LedgerEntry.objects.filter(subject_kind="revocation", subject_id=str(revocation.pk))
    assert pending_changes.SETTLED_UNMET in acts.values_list("act", flat=True)


@pytest.mark.parametrize("after_end", [timedelta(0), timedelta(days=1)])
def test_nothing_is_revoked_from_a_day_after_its_end(after_end: timedelta) -> None:
    end = clock.now() + timedelta(days=5)
    world = make_sellable()
    confirm(NarrowAgreement(world.agreement.pk, "AGREEMENT_TERMINATED", valid_until=end))
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    with pytest.raises(InvalidFact, match="ends by itself") as refused:
        revocations.preview(change, at=clock.now(), effective_at=end + after_end)
    assert refused.value.field == "effective_at"
    revocations.preview(change, at=clock.now(), effective_at=end - timedelta(seconds=1))


@pytest.mark.parametrize("after_end", [timedelta(0), timedelta(days=1)])
def test_the_end_of_an_affiliation_never_lets_it_last_longer(after_end: timedelta) -> None:
    case, end = affiliation(), clock.now() + timedelta(days=5)
    fact = Fact.objects.get(kind=Fact.Kind.AFFILIATION)
    affiliations.end_affiliation(fact=fact, valid_until=end, by=DESK, at=clock.now(), reason="sold")
    with pytest.raises(InvalidFact, match="ends by itself") as refused:
        revocations.preview(case.change, at=clock.now(), effective_at=end + after_end)
    assert refused.value.field == "effective_at"


def test_a_later_withdrawal_is_brought_forward_not_put_off() -> None:
    world = make_sellable()
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    day = clock.now() + timedelta(days=9)
    confirm(change, effective_at=day)
    with pytest.raises(InvalidFact, match="nothing is left to revoke"):
        revocations.preview(change, at=clock.now(), effective_at=day + timedelta(days=1))
    confirm(change)
    assert not is_allowed(world)
    assert PendingChange.objects.get().state == "cancelled"
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED


@pytest.mark.parametrize(
    ("effective_in", "said"),
    [(timedelta(0), "past"), (-timedelta(days=1), "past"), (timedelta(days=4000), "before")],
)
def test_a_day_that_makes_no_sense_is_refused(effective_in: timedelta, said: str) -> None:
    world = make_sellable()
    at = clock.now()
    with pytest.raises(InvalidFact, match=said) as refused:
        revocations.preview(
            RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), at=at, effective_at=at + effective_in
        )
    assert refused.value.field == "effective_at"


def test_what_cannot_wait_says_so() -> None:
    case = policy()
    at = clock.now()
    with pytest.raises(InvalidFact, match="at once"):
        revocations.preview(case.change, at=at, effective_at=at + timedelta(days=1))


# --- a day that the change itself sets ---------------------------------------------------------------------


def earlier_end(world: World, end: Any) -> Change:
    return NarrowAgreement(world.agreement.pk, "AGREEMENT_TERMINATED", valid_until=end)


def waiver(world: World, end: Any) -> Change:
    return RestrictApproval(world.approval.pk, "CARRIER_TESTS_PENDING", limits="no LTE", waived_until=end)


def hosting_to_end(world: World, end: Any) -> Change:
    at = clock.now()
    recorder = groundwork.Recorder(by=DESK, at=at, reason="the contract with the host ends")
    recorder.hosting(
        mvno=world.hosting.mvno,
        host=world.host,
        product_name=world.hosting.product_name,
        fields={"plmn": world.host.plmn, "note": "ends"},
        valid_from=at - timedelta(days=400),
        valid_until=end,
    )
    return CorrectGroundwork("DATA_CORRECTED", f"hosting on {world.host}", recorder)


def exempted_until(world: World, end: Any) -> Change:
    exemption = holds.Exemption((("territory", "US"),), clock.now() - timedelta(days=1), end)
    return PlaceHold(**{**vars(place(world)), "exemptions": (exemption,)})


setting_a_day = pytest.mark.parametrize("build", [earlier_end, waiver, hosting_to_end, exempted_until])


@setting_a_day
def test_what_falls_on_a_day_that_the_change_sets_is_said(
    build: Callable[[World, Any], Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_sellable()
    end = clock.now() + timedelta(days=5)
    change = build(world, end)
    seen = revocations.preview(change, at=clock.now())
    assert (len(seen.falls), len(seen.survives), seen.falls_later) == (0, 0, 1)
    (later,) = seen.later
    assert (later.at, list(later.falls.offer_ids)) == (end, [world.offer.pk])
    revocation = confirm(change)
    assert (revocation.preview_falls, revocation.preview_falls_later) == (0, 1)
    outbox.pump()
    assert is_allowed(world)
    assert is_allowed(world, at=end - timedelta(seconds=1))
    assert not is_allowed(world, at=end)
    monkeypatch.setattr(clock, "now", lambda: end)
    outbox.pump(at=clock.now)
    assert state_of(world) == OfferState.SUSPENDED
    assert tuple(Delisting.objects.get().reason_codes) == later.falls.first[0].reason_codes


def test_what_falls_at_once_is_not_told_again_for_the_day() -> None:
    world = make_sellable()
    maker, end = world.variant.device.manufacturer, clock.now() + timedelta(days=5)
    other = make_sellable(vendor=world.vendor, host=world.host)
    for each in (world, other):
        confirm(RevokeAgreement(each.agreement.pk, "AGREEMENT_TERMINATED"))
    device = other.variant.device
    device.manufacturer = maker
    device.save()
    both = make_agreement(
        grantor=maker, grantee=world.vendor, at=clock.now(), models=[world.variant, other.variant]
    )
    outbox.pump()
    change = NarrowAgreement(both.pk, "AGREEMENT_TERMINATED", models=(world.variant.pk,), valid_until=end)
    seen = revocations.preview(change, at=clock.now())
    assert list(seen.falls.offer_ids) == [other.offer.pk]
    assert [list(later.falls.offer_ids) for later in seen.later] == [[world.offer.pk]]
    confirm(change)
    assert (is_allowed(world), is_allowed(other)) == (True, False)
    assert not is_allowed(world, at=end)


@setting_a_day
def test_a_confirmation_is_refused_when_what_falls_on_the_day_moved(
    build: Callable[[World, Any], Change],
) -> None:
    world = make_sellable()
    change = build(world, clock.now() + timedelta(days=5))
    seen = revocations.preview(change, at=clock.now())
    make_hold(targets=[("listing", str(world.listing.pk))], at=clock.now(), code="MEANWHILE")
    with pytest.raises(WorldMoved) as moved:
        confirm(change, digest=seen.digest, token=seen.token)
    assert moved.value.preview is not None
    assert moved.value.preview.falls_later == 0


@setting_a_day
@pytest.mark.parametrize("is_approved_before", [True, False])
def test_pages_that_go_on_a_day_wait_for_a_second_person_too(
    build: Callable[[World, Any], Change],
    is_approved_before: bool,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0
    world = make_sellable()
    end = clock.now() + timedelta(days=5)
    confirm(build(world, end))
    outbox.pump()
    pending = PendingChange.objects.get()
    assert (pending.kind, pending.state) == ("removal", "open")
    if is_approved_before:
        pending_changes.approve_removal(pending=pending, by=LEAD, at=clock.now())
        outbox.pump()
        assert state_of(world) == OfferState.LIVE
    monkeypatch.setattr(clock, "now", lambda: end + timedelta(seconds=1))
    assert not is_allowed(world)
    outbox.pump(at=clock.now)
    assert state_of(world) == (OfferState.SUSPENDED if is_approved_before else OfferState.LIVE)
    if not is_approved_before:
        pending_changes.approve_removal(pending=pending, by=LEAD, at=clock.now())
        outbox.pump(at=clock.now)
        assert state_of(world) == OfferState.SUSPENDED


@setting_a_day
def test_what_is_undone_before_its_day_does_not_fall_on_it(
    build: Callable[[World, Any], Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_sellable()
    end = clock.now() + timedelta(days=5)
    revocation = confirm(build(world, end))
    outbox.pump()
    reinstatements.undo(revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=clock.now())
    outbox.pump()
    monkeypatch.setattr(clock, "now", lambda: end + timedelta(seconds=1))
    outbox.pump(at=clock.now)
    assert is_allowed(world)
    assert state_of(world) == OfferState.LIVE


# --- the second person --------------------------------------------------------------------------------------


def large_withdrawal(settings: Any, *, above: int = 0) -> tuple[list[World], Revocation]:
    settings.TWO_PEOPLE_ABOVE_OFFERS = above
    vendor = OrganizationFactory.create()
    worlds = [make_sellable(vendor=vendor) for _ in range(2)]
    outbox.pump()
    revocation = confirm(place(worlds[0], targets=(("vendor", str(vendor.pk)),)))
    return worlds, revocation


def states(worlds: Iterable[World]) -> list[str]:
    return [state_of(world) for world in worlds]


def test_above_the_threshold_pages_wait_and_the_sale_does_not(settings: Any) -> None:
    worlds, revocation = large_withdrawal(settings)
    assert not any(is_allowed(world) for world in worlds)
    outbox.pump()
    assert states(worlds) == [OfferState.LIVE, OfferState.LIVE]
    pending = PendingChange.objects.get()
    assert (pending.kind, pending.state, pending.made_by) == ("removal", "open", str(DESK))
    with pytest.raises(InvalidFact, match="second person"):
        pending_changes.approve_removal(pending=pending, by=DESK, at=clock.now())
    pending_changes.approve_removal(pending=pending, by=LEAD, at=clock.now())
    outbox.pump()
    assert states(worlds) == [OfferState.SUSPENDED, OfferState.SUSPENDED]
    assert {row.sweep for row in Delisting.objects.all()} == {revocation.sweep}
    with pytest.raises(NotPending):
        pending_changes.approve_removal(pending=pending, by=LEAD, at=clock.now())


def test_up_to_the_threshold_nobody_is_asked(settings: Any) -> None:
    worlds, _ = large_withdrawal(settings, above=2)
    outbox.pump()
    assert states(worlds) == [OfferState.SUSPENDED, OfferState.SUSPENDED]
    assert not PendingChange.objects.exists()


def test_a_large_part_of_a_brand_wants_a_second_person_too(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_changes, "SMALL_BRAND", 2)
    settings.TWO_PEOPLE_ABOVE_BRAND_PERCENT = 60
    first = make_sellable()
    device = first.variant.device
    brand = [first, *(make_sellable(variant=first.variant) for _ in range(3))]
    assert {world.variant.device for world in brand} == {device}
    ids = [world.offer.pk for world in brand]
    assert not pending_changes.needs_second_person(ids[:1]), "a brand's few are no share of it"
    assert not pending_changes.needs_second_person(ids[:2])
    assert pending_changes.needs_second_person(ids[:3])
    settings.TWO_PEOPLE_ABOVE_BRAND_PERCENT = 50
    assert pending_changes.needs_second_person(ids[:2]), "this share itself is enough"
    settings.TWO_PEOPLE_ABOVE_BRAND_PERCENT = 51
    assert not pending_changes.needs_second_person(ids[:2])


def test_the_database_refuses_a_person_who_agrees_with_himself(settings: Any) -> None:
    large_withdrawal(settings)
    with pytest.raises(IntegrityError), transaction.atomic():
        PendingChange.objects.update(state="done", decided_by=str(DESK), decided_at=clock.now())


def test_who_declines_undoes(settings: Any) -> None:
    worlds, revocation = large_withdrawal(settings)
    pending = PendingChange.objects.get()
    with pytest.raises(InvalidFact, match="second person"):
        reinstatements.decline_removal(pending=pending, by=DESK, at=clock.now(), reason="mine")
    done = reinstatements.decline_removal(pending=pending, by=LEAD, at=clock.now(), reason="wrong vendor")
    assert (done.revocation, done.is_mistake, done.reason) == (revocation, True, "wrong vendor")
    outbox.pump()
    assert states(worlds) == [OfferState.LIVE, OfferState.LIVE]
    assert all(is_allowed(world) for world in worlds)
    pending.refresh_from_db()
    assert (pending.state, pending.decided_by, pending.reason) == ("declined", str(LEAD), "wrong vendor")


def test_its_maker_may_take_the_withdrawal_back_but_not_decide_on_it(settings: Any) -> None:
    worlds, revocation = large_withdrawal(settings)
    reinstatements.undo(revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=clock.now())
    outbox.pump()
    assert states(worlds) == [OfferState.LIVE, OfferState.LIVE]
    assert PendingChange.objects.get().state == "cancelled"


@pytest.mark.parametrize(
    "build",
    [agreement, approval, equipment, narrowing, hold, exemption, affiliation, policy, hosting],
    ids=lambda build: build.__name__,
)
def test_workers_leave_what_waits_to_the_person(build: Callable[[], Case], settings: Any) -> None:
    case = build()
    outbox.pump()
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0
    confirm(case.change)
    left = LeftToAPerson.now()
    offer = ListingHost.objects.select_related("listing__variant__device").get(pk=case.falls.offer.pk)
    at = clock.now()
    denied = decisions.decide_offers([offer], at=at)[0]
    assert not denied.is_allowed
    assert left.spared([(offer.pk, denied)], at=at) == {offer.pk}
    assert offer in left.touches(ListingHost.objects.all())
    # Something else against it: nobody waits for anybody.
    make_hold(targets=[("listing", str(case.falls.listing.pk))], at=at, code="ALSO")
    denied = decisions.decide_offers([offer], at=clock.now())[0]
    if build not in (exemption, affiliation, policy, hosting):
        assert LeftToAPerson.now().spared([(offer.pk, denied)], at=clock.now()) == set()


def test_another_change_of_the_same_goods_does_not_take_their_pages_before_the_person(settings: Any) -> None:
    worlds, _ = large_withdrawal(settings)
    # Its sweep looks at the same offers.
    make_approval(host=worlds[0].host, variant=worlds[0].variant, at=clock.now(), software_from="9")
    outbox.pump()
    assert states(worlds) == [OfferState.LIVE, OfferState.LIVE]


# --- the confirmation of a preview --------------------------------------------------------------------------


def test_a_confirmation_decides_nothing_again_while_nothing_moved() -> None:
    worlds = [make_sellable() for _ in range(3)]
    outbox.pump()
    change = place(worlds[0], targets=tuple(("variant", str(world.variant.pk)) for world in worlds))
    seen = revocations.preview(change, at=clock.now())
    with CaptureQueriesContext(
        connection,
    ) as asked:
        at = clock.now()
        revocations.execute(
            change,
            digest=seen.digest,
            token=seen.token,
            requested_by="the shop",
            word_received_at=at,
            note="",
            by=DESK,
            at=at,
        )
    assert not [query for query in asked if "authorization_agreementversion" in query["sql"]]
    assert Revocation.objects.get().preview_falls == 3


@pytest.mark.parametrize("moved", ["a vendor's edit", "a listing more", "another digest", "a forged token"])
def test_a_token_is_good_for_what_was_seen_only(moved: str) -> None:
    world = make_sellable()
    outbox.pump()
    change = place(world)
    seen = revocations.preview(change, at=clock.now())
    digest, token = seen.digest, seen.token
    match moved:
        case "a vendor's edit":
            ListingHost.objects.filter(pk=world.offer.pk).update(version=world.offer.version + 5)
        case "a listing more":
            make_sellable(variant=world.variant, host=world.host)
        case "another digest":
            digest = "0" * 64
        case "a forged token":
            token = token[:-3] + "AAA"
    at = clock.now()
    assert revocations._still_seen(change, token, digest, at=at, effective_at=None) is None


def test_a_correction_that_changes_nothing_is_refused() -> None:
    recorder = groundwork.Recorder(by=DESK, at=clock.now(), reason="nothing")
    with pytest.raises(InvalidFact, match="nothing to correct"):
        revocations.preview(CorrectGroundwork("DATA_CORRECTED", "nothing", recorder), at=clock.now())


def test_a_policy_that_asks_for_less_shows_what_returns() -> None:
    world = make_sellable()
    confirm(RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"))
    outbox.pump()
    seen = revocations.preview(
        SetPolicy(
            reason_code="SHOP_REVIEW",
            name="2016 again",
            minimum_assurance="claimed",
            is_carrier_approval_enforced=False,
        ),
        at=clock.now(),
    )
    assert list(seen.returns.offer_ids) == [world.offer.pk]
    assert not seen.falls


# --- found by attacking it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["another change", "another day"])
def test_a_token_is_good_for_its_own_change_only(other: str) -> None:
    world = make_sellable()
    outbox.pump()
    at = clock.now()
    harmless = PlaceHold(
        "HOLD-1",
        "the shop",
        "SHOP_REVIEW",
        "",
        (("variant", str(world.variant.pk)),),
        exemptions=(holds.Exemption((("variant", str(world.variant.pk)),), at),),
    )
    day = at + timedelta(days=2)
    seen = revocations.preview(harmless, at=at)
    assert not seen.falls
    change, effective_at = (place(world), None) if other == "another change" else (harmless, day)
    assert revocations._still_seen(change, seen.token, seen.digest, at=at, effective_at=effective_at) is None
    assert revocations._still_seen(harmless, seen.token, seen.digest, at=at, effective_at=None) is not None


def test_what_was_taken_further_does_not_come_back_with_an_earlier_undo() -> None:
    case = narrowing()
    narrowed = confirm(case.change)
    fact = narrowed.named_fact
    confirm(RevokeAgreement(fact.pk, "MANUFACTURER_DISCLAIMS"))
    with pytest.raises(InvalidFact, match="further since"):
        reinstatements.undo(revocation=narrowed, reason="a slip", is_mistake=True, by=DESK, at=clock.now())
    assert not is_allowed(case.falls)


def test_limits_are_not_lifted_of_an_approval_that_was_revoked_since() -> None:
    case = restriction()
    limited = confirm(case.change)
    revoked = confirm(RevokeApproval(limited.named_fact.pk, "CARRIER_WITHDRAWS"))
    with pytest.raises(InvalidFact, match="further since"):
        reinstatements.undo(revocation=limited, reason="a slip", is_mistake=True, by=DESK, at=clock.now())
    # One after the other they may be undone.
    reinstatements.undo(revocation=revoked, reason="a slip", is_mistake=True, by=DESK, at=clock.now())


def two_exemptions() -> tuple[World, Fact]:
    world = make_sellable()
    at = clock.now()
    exemptions = [
        holds.Exemption((("vendor", str(world.vendor.pk)),), at - timedelta(days=1)),
        holds.Exemption((("condition", "used"),), at + timedelta(days=7)),
    ]
    return world, make_hold(targets=[("variant", str(world.variant.pk))], exemptions=exemptions, at=at)


def test_the_end_of_one_exemption_supersedes_no_other() -> None:
    _, hold_fact = two_exemptions()
    later = confirm(
        EndExemption(hold_fact.pk, 1, "REGULATOR_ORDER"), effective_at=clock.now() + timedelta(days=10)
    )
    confirm(EndExemption(hold_fact.pk, 2, "REGULATOR_ORDER"))
    assert PendingChange.objects.get(revocation=later).state == "open"


def test_the_end_of_an_exemption_that_had_not_begun_can_be_cancelled() -> None:
    _, hold_fact = two_exemptions()
    confirm(EndExemption(hold_fact.pk, 2, "REGULATOR_ORDER"), effective_at=clock.now() + timedelta(days=5))
    before = holds.exemptions_of(holds.current(hold_fact))
    assert 2 not in before
    pending_changes.cancel_withdrawal(
        pending=PendingChange.objects.get(), by=DESK, at=clock.now(), reason="not yet"
    )
    assert 2 in holds.exemptions_of(holds.current(hold_fact))


def test_a_withdrawal_brought_forward_takes_its_waiting_removal_along(settings: Any) -> None:
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0
    world = make_sellable()
    outbox.pump()
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    confirm(change, effective_at=clock.now() + timedelta(days=9))
    confirm(change)
    removal = PendingChange.objects.get(kind="removal", state="open")
    pending_changes.approve_removal(pending=removal, by=LEAD, at=clock.now())
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED


def test_an_earlier_word_is_not_forgotten_with_the_one_that_brought_it_forward() -> None:
    world = make_sellable()
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    confirm(change, effective_at=clock.now() + timedelta(days=10))
    confirm(change, effective_at=clock.now() + timedelta(days=5))
    with pytest.raises(InvalidFact, match="forgotten"):
        pending_changes.cancel_withdrawal(
            pending=PendingChange.objects.get(state="open"), by=DESK, at=clock.now(), reason="after all not"
        )
    assert not is_allowed(world, at=clock.now() + timedelta(days=10))


def test_who_declines_after_somebody_approved_is_too_late(settings: Any) -> None:
    worlds, _ = large_withdrawal(settings)
    pending = PendingChange.objects.get()
    stale = PendingChange.objects.get()
    pending_changes.approve_removal(pending=pending, by=LEAD, at=clock.now())
    with pytest.raises(NotPending):
        reinstatements.decline_removal(pending=stale, by=Actor("user", "third"), at=clock.now(), reason="no")
    assert not any(is_allowed(world) for world in worlds)


def test_a_correction_that_added_a_record_is_not_undone() -> None:
    world = make_sellable()
    recorder = groundwork.Recorder(by=DESK, at=clock.now(), reason="first record")
    recorder.variant_radio(
        variant=world.variant, fields={}, bands=[], ims={}, valid_from=clock.now() - timedelta(days=1)
    )
    revocation = confirm(CorrectGroundwork("DATA_CORRECTED", "first record", recorder))
    with pytest.raises(InvalidFact, match="for the first time"):
        reinstatements.undo(revocation=revocation, reason="no", is_mistake=True, by=DESK, at=clock.now())
