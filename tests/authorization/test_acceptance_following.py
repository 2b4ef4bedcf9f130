"""Whoever takes an approval away, from wherever: it and its acceptance never disagree."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from authorization import (
    approvals,
    boundaries,
    clock,
    decisions,
    fence,
    holds,
    offers,
    outbox,
    pending_changes,
    reinstatements,
    revocations,
)
from authorization.acceptances import following, process, steps
from authorization.acceptances.following import Following
from authorization.acceptances.moves import MoveRefused
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    AcceptanceMove,
    ApprovalVersion,
    LedgerEntry,
    OutboxRow,
    Party,
    PendingChange,
    Revision,
)
from authorization.revocations import PlaceHold, RestrictApproval, RevokeApproval, Undo
from catalog.models import ListingHost, OfferState
from seeds import factories
from seeds.factories import (
    HostingFactory,
    OrganizationFactory,
    doer_of,
    ensure_policy,
    make_agreement,
    make_hold,
    make_terms,
)

pytestmark = pytest.mark.django_db

State = Acceptance.State
# Of no type: tests know what a state has.
make_acceptance: Any = factories.make_acceptance
DESK = Actor("user", "desk")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def door(change, *, effective_at=None, at=None):
    at = at or clock.now()
    seen = revocations.preview(change, at=at, effective_at=effective_at)
    return revocations.execute(
        change,
        digest=seen.digest,
        requested_by="the carrier",
        word_received_at=at,
        note="a field fault",
        by=DESK,
        at=at,
        effective_at=effective_at,
    )


def suspension(acceptance, **named):
    following_ = Following(Party.HOST_APPROVER, **named) if named.pop("as_host", True) else None
    return PlaceHold(
        code=process.free_hold_code(acceptance),
        placed_by="the carrier",
        reason_code="SAFETY",
        note="",
        targets=(("fact", str(acceptance.approval_id)),),
        following=following_,
    )


def undo(revocation, by=DESK) -> Any:
    return reinstatements.undo(revocation=revocation, reason="a slip", is_mistake=True, by=by, at=clock.now())


def state_of(acceptance):
    acceptance.refresh_from_db()
    return acceptance.state


def last_move(acceptance):
    return acceptance.moves.order_by("-number")[0]


def sell(acceptance):
    """A live offer of what it approves."""
    at = clock.now()
    ensure_policy(at=at)
    vendor = OrganizationFactory.create()
    HostingFactory.create(host=acceptance.host, at=at)
    make_agreement(grantor=acceptance.variant.device.manufacturer, grantee=vendor, at=at)
    terms = make_terms(variant=acceptance.variant, hosts=[acceptance.host])
    saved = offers.save_listing(vendor=vendor, sku="A", terms=terms, by=DESK, at=at)
    (outcome,) = offers.publish_listing(listing=saved.listing, by=DESK, at=at)
    assert outcome.is_live, outcome.answer.reason_codes
    outbox.pump()
    return outcome.offer


def is_allowed(offer, at=None):
    (answer,) = decisions.decide_offers([offer], at=at or clock.now())
    return answer.is_allowed


def wait_until(monkeypatch, at):
    monkeypatch.setattr(clock, "now", lambda: at)


# --- by the front door ------------------------------------------------------------------------------------------


def test_a_revoked_approval_stops_the_sale_at_the_commit_and_delists_by_itself():
    acceptance = make_acceptance(state=State.APPROVED)
    offer = sell(acceptance)
    ends = clock.now() + 90 * DAY
    named = Following(
        Party.HOST_APPROVER, document="TA-99", phase_out_until=ends, seen_version=acceptance.version
    )
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS", named))
    assert not is_allowed(offer)
    assert (state_of(acceptance), acceptance.phase_out_until) == (State.REVOKED, ends)
    row = last_move(acceptance)
    assert (row.move, row.party, row.actor, row.reason) == (
        "revoke",
        Party.HOST_APPROVER,
        "user:desk",
        "a field fault",
    )
    assert (row.revision, row.detail["document"]) == (revocation.revision_id, "TA-99")
    assert LedgerEntry.objects.filter(act="acceptance.revoke", revision=revocation.revision_id).count() == 1
    assert ListingHost.objects.get(pk=offer.pk).state == OfferState.LIVE
    outbox.pump()
    assert ListingHost.objects.get(pk=offer.pk).state == OfferState.SUSPENDED


def test_the_desks_own_page_of_approvals_moves_the_acceptance_too():
    acceptance = make_acceptance(state=State.APPROVED)
    door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    assert state_of(acceptance) == State.REVOKED
    assert last_move(acceptance).party == Party.SHOP


def test_a_suspension_is_a_hold_and_the_host_lifts_its_own():
    acceptance = make_acceptance(state=State.APPROVED)
    offer = sell(acceptance)
    door(suspension(acceptance))
    assert (state_of(acceptance), acceptance.hold.code) == (State.SUSPENDED, f"{acceptance.code}-S1")
    assert not is_allowed(offer)
    outbox.pump()
    host = doer_of(acceptance, Party.HOST_APPROVER)
    made = process.perform(
        acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="new batteries"
    )
    assert (made.move, made.to_state, made.party) == ("resume", State.APPROVED, Party.HOST_APPROVER)
    assert (state_of(acceptance), acceptance.hold) == (State.APPROVED, None)
    assert is_allowed(offer)
    outbox.pump()
    assert ListingHost.objects.get(pk=offer.pk).state == OfferState.LIVE


def test_the_state_before_comes_back_limits_and_all():
    acceptance = make_acceptance(state=State.CONDITIONAL)
    door(suspension(acceptance))
    host = doer_of(acceptance, Party.HOST_APPROVER)
    assert (
        process.perform(acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="x").to_state
        == "CONDITIONAL"
    )


def test_a_hold_of_the_shop_is_not_the_hosts_to_lift():
    acceptance = make_acceptance(state=State.SUSPENDED)
    host, shop = (doer_of(acceptance, party) for party in (Party.HOST_APPROVER, Party.SHOP))
    with pytest.raises(MoveRefused, match="suspended by the shop"):
        process.perform(acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="x")
    process.perform(acceptance=acceptance, move="resume", by=shop, at=clock.now(), reason="x", document="y")
    assert state_of(acceptance) == State.APPROVED


def test_a_hold_on_more_than_one_record_is_released_at_the_desk():
    first, second = make_acceptance(state=State.APPROVED), make_acceptance(state=State.APPROVED)
    hold = make_hold(targets=[("fact", str(one.approval_id)) for one in (first, second)], at=clock.now())
    assert (state_of(first), state_of(second)) == (State.SUSPENDED, State.SUSPENDED)
    shop = doer_of(first, Party.SHOP)
    with pytest.raises(MoveRefused, match="stops more than"):
        process.perform(acceptance=first, move="resume", by=shop, at=clock.now(), reason="x", document="y")
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="over")
    assert (state_of(first), state_of(second)) == (State.APPROVED, State.APPROVED)


def test_of_two_holds_the_last_to_go_lets_it_resume():
    acceptance = make_acceptance(state=State.APPROVED)
    door(suspension(acceptance))
    other = make_hold(targets=[("fact", str(acceptance.approval_id))], at=clock.now())
    host = doer_of(acceptance, Party.HOST_APPROVER)
    with pytest.raises(MoveRefused, match="another hold"):
        process.perform(acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="x")
    assert state_of(acceptance) == State.SUSPENDED
    assert holds.current(acceptance.hold).released_at is None, "nothing is half done"
    holds.release_hold(fact=other, by=DESK, at=clock.now(), reason="over")
    assert state_of(acceptance) == State.SUSPENDED
    process.perform(acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="x")
    assert (state_of(acceptance), acceptance.hold) == (State.APPROVED, None)


def test_a_hold_that_stops_less_than_the_approval_leaves_the_state():
    acceptance = make_acceptance(state=State.APPROVED)
    make_hold(targets=[("fact", str(acceptance.approval_id)), ("territory", "CA")], at=clock.now())
    make_hold(targets=[("variant", str(acceptance.variant_id))], at=clock.now())
    assert state_of(acceptance) == State.APPROVED


def test_limits_make_it_conditional_and_undone_the_terms_of_before_hold():
    acceptance = make_acceptance(state=State.APPROVED)
    offer = sell(acceptance)
    until = clock.now() + 30 * DAY
    revocation = door(RestrictApproval(acceptance.approval_id, "CARRIER_WITHDRAWS", "no roaming", until))
    assert (state_of(acceptance), acceptance.limits, acceptance.waived_until) == (
        State.CONDITIONAL,
        "no roaming",
        until,
    )
    assert last_move(acceptance).move == "restrict"
    assert revocations.preview(Undo(revocation.pk), at=clock.now()) is not None
    done: Any = reinstatements.undo(
        revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=clock.now()
    )
    assert (state_of(acceptance), acceptance.limits, acceptance.waived_until) == (State.APPROVED, "", None)
    assert (last_move(acceptance).move, done.fact) == ("lift_limits", acceptance.approval)
    assert is_allowed(offer)
    # One acceptance, one approval: revoking it leaves no other in force.
    door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    assert not is_allowed(offer)


def test_an_undone_revocation_opens_a_successor():
    acceptance = make_acceptance(state=State.APPROVED, software_from="7", software_until="8")
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    done: Any = reinstatements.undo(
        revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=clock.now()
    )
    assert state_of(acceptance) == State.REVOKED, "a final state is never left"
    successor = Acceptance.objects.get(approval=done.fact)
    assert (successor.state, successor.version, successor.sponsor) == (State.APPROVED, 1, acceptance.sponsor)
    row = successor.moves.get()
    assert (row.move, row.from_state, row.detail["predecessor"]) == ("reinstate", "", acceptance.code)
    door(RevokeApproval(done.fact.pk, "CARRIER_WITHDRAWS"))
    assert state_of(successor) == State.REVOKED


def test_where_the_build_was_asked_for_anew_the_host_decides_on_that():
    acceptance = make_acceptance(state=State.APPROVED)
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    anew = make_acceptance(host=acceptance.host, variant=acceptance.variant)
    with pytest.raises(InvalidFact, match=anew.code):
        undo(revocation)
    process.perform(acceptance=anew, move="withdraw", by=doer_of(anew, Party.SPONSOR), at=clock.now())
    assert Acceptance.objects.filter(approval=undo(revocation).fact).exists()


def test_what_was_approved_anew_is_not_doubled_by_an_undo():
    acceptance = make_acceptance(state=State.APPROVED)
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    anew = make_acceptance(state=State.APPROVED, host=acceptance.host, variant=acceptance.variant)
    with pytest.raises(InvalidFact, match=anew.code):
        undo(revocation)


def test_an_undo_does_not_lift_a_suspension_in_passing():
    acceptance = make_acceptance(state=State.APPROVED)
    offer = sell(acceptance)
    door(suspension(acceptance))
    state_of(acceptance)
    hold = acceptance.hold
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    with pytest.raises(InvalidFact, match=hold.code):
        undo(revocation)
    assert not is_allowed(offer)
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="over")
    undo(revocation)
    assert is_allowed(offer)


def test_a_revocation_that_no_worker_has_met_is_undone_all_the_same(monkeypatch):
    acceptance, day = make_acceptance(state=State.APPROVED), clock.now() + DAY
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"), effective_at=day)
    wait_until(monkeypatch, day + HOUR)
    done = undo(revocation)
    assert state_of(acceptance) == State.REVOKED
    assert Acceptance.objects.get(approval=done.fact).state == State.APPROVED


def test_limits_take_away_only():
    until = clock.now() + 30 * DAY
    acceptance = make_acceptance(
        state=State.CONDITIONAL, waived_until=until, software_from="7", software_until="8"
    )
    fact_id = acceptance.approval_id
    for change, field in (
        (RestrictApproval(fact_id, "SAFETY", "x", until + DAY), "waived_until"),
        (RestrictApproval(fact_id, "SAFETY", "x", software_from=""), "software_from"),
        (RestrictApproval(fact_id, "SAFETY", "x", software_until="9"), "software_until"),
        (RestrictApproval(fact_id, "SAFETY", "x", software_until=""), "software_until"),
    ):
        with pytest.raises(InvalidFact) as refused:
            door(change)
        assert refused.value.field == field
    door(RestrictApproval(fact_id, "SAFETY", "x", software_from="7.0.1"))
    version = approvals.current(acceptance.approval)
    assert (version.waived_until, version.software_from, version.software_until) == (until, "7.0.1", "8")


def test_less_software_is_a_move_too_and_does_not_come_back_by_an_approval():
    acceptance = make_acceptance(state=State.CONDITIONAL, software_from="7", software_until="8")
    before = acceptance.version
    door(RestrictApproval(acceptance.approval_id, "SAFETY", acceptance.limits, software_from="7.0.3"))
    state_of(acceptance)
    row = last_move(acceptance)
    assert (acceptance.version, row.move, row.detail["software_from"]) == (before + 1, "restrict", "7.0.3")
    host = doer_of(acceptance, Party.HOST_APPROVER)
    process.perform(
        acceptance=acceptance, move="approve", by=host, at=clock.now(), document="x", software_until="8"
    )
    assert approvals.current(acceptance.approval).software_from == "7.0.3"


def test_a_limiting_is_not_undone_once_more_was_approved():
    acceptance = make_acceptance(state=State.APPROVED)
    revocation = door(RestrictApproval(acceptance.approval_id, "SAFETY", "no roaming"))
    host = doer_of(acceptance, Party.HOST_APPROVER)
    process.perform(acceptance=acceptance, move="approve", by=host, at=clock.now(), document="x")
    with pytest.raises(InvalidFact, match="was changed since"):
        undo(revocation)


def test_what_the_host_took_is_not_given_back_by_who_asked_for_it():
    own = make_acceptance(state=State.APPROVED, sponsor="shop")
    revocation = door(RevokeApproval(own.approval_id, "CARRIER_WITHDRAWS", Following(Party.HOST_APPROVER)))
    with pytest.raises(InvalidFact, match="nobody approves what they sponsored"):
        undo(revocation)
    other = make_acceptance(state=State.APPROVED)
    revocation = door(RevokeApproval(other.approval_id, "CARRIER_WITHDRAWS", Following(Party.HOST_APPROVER)))
    with pytest.raises(InvalidFact, match="nobody approves what they sponsored"):
        undo(revocation, by=factories.ASKS)
    successor = Acceptance.objects.get(approval=undo(revocation).fact)
    assert steps.has_sponsored(successor, factories.ASKS), "the line of those before it counts"
    assert not steps.has_sponsored(successor, DESK)


def test_a_suspension_by_the_host_is_lifted_by_its_move_and_by_no_other_page():
    acceptance = make_acceptance(state=State.APPROVED)
    revocation = door(suspension(acceptance))
    state_of(acceptance)
    with pytest.raises(InvalidFact, match="word of the host"):
        holds.release_hold(fact=acceptance.hold, by=DESK, at=clock.now(), reason="over")
    with pytest.raises(InvalidFact, match="word of the host"):
        undo(revocation)
    exemption = holds.Exemption((("territory", "US"),), clock.now())
    with pytest.raises(InvalidFact, match="nothing is sold on that"):
        holds.exempt(fact=acceptance.hold, exemption=exemption, by=DESK, at=clock.now(), reason="some")
    assert state_of(acceptance) == State.SUSPENDED


def test_a_resume_is_the_undo_of_the_suspension(settings):
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0
    acceptance = make_acceptance(state=State.APPROVED)
    sell(acceptance)
    revocation = door(suspension(acceptance))
    removal = PendingChange.objects.get(revocation=revocation, kind=PendingChange.Kind.REMOVAL)
    host = doer_of(acceptance, Party.HOST_APPROVER)
    process.perform(acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="new batteries")
    assert revocation.reinstatements.count() == 1
    removal.refresh_from_db()
    assert removal.state != PendingChange.State.OPEN


def test_beside_a_hold_of_the_shop_the_host_suspends_in_its_own_name():
    acceptance = make_acceptance(state=State.APPROVED)
    shops = make_hold(targets=[("fact", str(acceptance.approval_id))], at=clock.now())
    door(suspension(acceptance))
    row = last_move(acceptance)
    assert (row.move, row.from_state, row.to_state, row.party) == (
        "suspend",
        "SUSPENDED",
        "SUSPENDED",
        "host_approver",
    )
    holds.release_hold(fact=shops, by=DESK, at=clock.now(), reason="over")
    assert state_of(acceptance) == State.SUSPENDED, "the host has not lifted its own"
    assert (last_move(acceptance).move, acceptance.hold != shops) == ("suspend", True)
    with pytest.raises(MoveRefused, match="already"):
        revocations.preview(suspension(acceptance), at=clock.now())
    host = doer_of(acceptance, Party.HOST_APPROVER)
    process.perform(acceptance=acceptance, move="resume", by=host, at=clock.now(), reason="x")
    assert state_of(acceptance) == State.APPROVED


def test_a_build_is_accepted_once():
    first = make_acceptance(state=State.APPROVED, software_from="7", software_until="8")
    pair = {"host": first.host, "variant": first.variant}
    with pytest.raises(InvalidFact, match=first.code):
        make_acceptance(state=State.APPROVED, software_from="7.0.5", software_until="9", **pair)
    with pytest.raises(InvalidFact, match=first.code):
        factories.make_approval(software_from="7.9", at=clock.now(), **pair)
    factories.make_approval(software_from="8", at=clock.now(), **pair)


def test_a_release_under_review_ends_with_the_one_before():
    child = make_acceptance(state=State.MR_REVIEW)
    door(RevokeApproval(child.parent.approval_id, "CARRIER_WITHDRAWS"))
    assert state_of(child) == State.REVOKED
    assert (last_move(child).move, last_move(child).party) == ("fall_with_parent", Party.CLOCK)
    assert child.approval is None


# --- what a move at the door is asked first ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda a: RevokeApproval(a.approval_id, "SAFETY", Following(Party.SPONSOR)), MoveRefused),
        (lambda a: RevokeApproval(a.approval_id, "SAFETY", Following(Party.HOST_LAB)), MoveRefused),
        (
            lambda a: RevokeApproval(a.approval_id, "SAFETY", Following(Party.SHOP, seen_version=1)),
            MoveRefused,
        ),
        (
            lambda a: RevokeApproval(
                a.approval_id, "SAFETY", Following(Party.SHOP, phase_out_until=clock.now() - DAY)
            ),
            InvalidFact,
        ),
        (lambda a: suspension(a, phase_out_until=clock.now() + DAY), InvalidFact),
        (
            lambda a: RestrictApproval(a.approval_id, "SAFETY", "x", following=Following(Party.HOST_DESK)),
            MoveRefused,
        ),
    ],
)
def test_the_preview_refuses_what_the_table_refuses(change, refused):
    acceptance = make_acceptance(state=State.APPROVED)
    with pytest.raises(refused):
        revocations.preview(change(acceptance), at=clock.now())


def test_a_suspension_names_one_approval_and_is_not_made_twice():
    acceptance, other = make_acceptance(state=State.APPROVED), make_acceptance(state=State.APPROVED)
    wide = suspension(acceptance)
    for targets in (
        (*wide.targets, ("territory", "US")),
        (*wide.targets, ("fact", str(other.approval_id))),
    ):
        with pytest.raises(InvalidFact):
            revocations.preview(PlaceHold(**wide.__dict__ | {"targets": targets}), at=clock.now())
    door(wide)
    with pytest.raises(MoveRefused, match="is SUSPENDED on the word"):
        revocations.preview(suspension(acceptance), at=clock.now())


def test_what_moved_between_preview_and_confirmation_is_refused_under_the_fence():
    acceptance = make_acceptance(state=State.APPROVED)
    change = RevokeApproval(
        acceptance.approval_id, "SAFETY", Following(Party.HOST_APPROVER, seen_version=acceptance.version)
    )
    seen = revocations.preview(change, at=clock.now())
    process.perform(
        acceptance=acceptance, move="report_release", by=doer_of(acceptance, Party.SPONSOR), at=clock.now(),
        software="9", hardware_revision="P2",
    )  # fmt: skip
    with pytest.raises(MoveRefused, match="has moved since"):
        revocations.execute(
            change, digest=seen.digest, token=seen.token, requested_by="x", word_received_at=clock.now(), note="x",
            by=DESK, at=clock.now(),
        )  # fmt: skip
    assert state_of(acceptance) == State.APPROVED


def test_a_rehearsal_leaves_no_trace():
    acceptance = make_acceptance(state=State.APPROVED)
    sell(acceptance)
    counted = (AcceptanceMove, LedgerEntry, OutboxRow, Revision, ApprovalVersion)
    before = [model.objects.count() for model in counted]
    revocations.preview(RestrictApproval(acceptance.approval_id, "SAFETY", "no roaming"), at=clock.now())
    assert before == [model.objects.count() for model in counted]
    assert state_of(acceptance) == State.APPROVED
    assert acceptance.version == last_move(acceptance).number


# --- later days -------------------------------------------------------------------------------------------------


def test_a_revocation_to_come_counts_from_its_instant_on(monkeypatch):
    acceptance = make_acceptance(state=State.CONDITIONAL)
    offer, day = sell(acceptance), clock.now() + DAY
    named = Following(Party.HOST_APPROVER, phase_out_until=day + DAY)
    door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS", named), effective_at=day)
    assert state_of(acceptance) == State.CONDITIONAL
    assert process.effective_state(acceptance, at=day - HOUR) == State.CONDITIONAL
    assert process.effective_state(acceptance, at=day) == State.REVOKED, "with every worker dead"
    assert not is_allowed(offer, at=day)
    with pytest.raises(MoveRefused, match="REVOKED"):
        process.perform(
            acceptance=acceptance,
            move="approve",
            by=doer_of(acceptance, Party.HOST_APPROVER),
            at=day,
            document="x",
        )
    wait_until(monkeypatch, day)
    outbox.pump(at=lambda: day)
    assert state_of(acceptance) == State.REVOKED
    row = last_move(acceptance)
    assert (row.party, row.actor, row.effective_at) == (Party.HOST_APPROVER, "user:desk", day)
    assert row.reason == "a field fault"
    assert acceptance.phase_out_until == day + DAY


def test_a_revocation_to_come_that_is_cancelled_changes_nothing():
    acceptance, day = make_acceptance(state=State.APPROVED), clock.now() + DAY
    named = Following(Party.HOST_APPROVER, phase_out_until=day + DAY)
    revocation = door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS", named), effective_at=day)
    pending = PendingChange.objects.get(revocation=revocation, kind=PendingChange.Kind.WITHDRAWAL)
    pending_changes.cancel_withdrawal(pending=pending, by=DESK, at=clock.now(), reason="agreed after all")
    assert (state_of(acceptance), acceptance.phase_out_until) == (State.APPROVED, None)
    assert process.effective_state(acceptance, at=day) == State.APPROVED
    door(RevokeApproval(acceptance.approval_id, "CARRIER_WITHDRAWS"))
    assert state_of(acceptance) == State.REVOKED
    assert (last_move(acceptance).party, acceptance.phase_out_until) == (Party.SHOP, None), (
        "not the cancelled word"
    )


def test_a_hold_to_come_suspends_on_its_day(monkeypatch):
    acceptance, day = make_acceptance(state=State.APPROVED), clock.now() + DAY
    door(suspension(acceptance), effective_at=day)
    assert state_of(acceptance) == State.APPROVED
    assert process.effective_state(acceptance, at=day) == State.SUSPENDED
    wait_until(monkeypatch, day)
    outbox.pump(at=lambda: day)
    assert state_of(acceptance) == State.SUSPENDED
    assert last_move(acceptance).effective_at == day


@pytest.mark.parametrize("state", [State.APPROVED, State.CONDITIONAL, State.SUSPENDED])
def test_the_clock_ends_it_also_while_suspended(state, monkeypatch):
    ends = clock.now() + DAY
    given = {"waived_until": ends} if state == State.CONDITIONAL else {"valid_until": ends}
    acceptance = make_acceptance(state=state, **given)
    assert process.effective_state(acceptance, at=ends - HOUR) == state
    assert process.effective_state(acceptance, at=ends) == State.EXPIRED
    host = doer_of(acceptance, Party.HOST_APPROVER)
    with pytest.raises(MoveRefused, match="EXPIRED"):
        process.perform(acceptance=acceptance, move="approve", by=host, at=ends, document="x")
    wait_until(monkeypatch, ends)
    outbox.pump(at=lambda: ends)
    assert (state_of(acceptance), acceptance.hold) == (State.EXPIRED, None)
    row = last_move(acceptance)
    assert (row.move, row.party, row.effective_at) == ("expire", Party.CLOCK, ends)


def test_a_release_under_review_expires_with_the_one_before(monkeypatch):
    ends = clock.now() + DAY
    child = make_acceptance(state=State.MR_REVIEW, valid_until=ends)
    assert process.effective_state(child, at=ends) == State.EXPIRED
    wait_until(monkeypatch, ends)
    outbox.pump(at=lambda: ends)
    assert state_of(child) == State.EXPIRED


def test_what_is_due_is_settled_before_the_next_move_or_asked_to_wait(monkeypatch):
    acceptance, ends = make_acceptance(state=State.APPROVED), clock.now() + HOUR
    make_hold(targets=[("fact", str(acceptance.approval_id))], at=clock.now(), valid_until=ends)
    assert state_of(acceptance) == State.SUSPENDED
    wait_until(monkeypatch, ends)
    assert process.effective_state(acceptance, at=ends) == State.APPROVED
    with pytest.raises(MoveRefused, match="try again"):
        process.perform(
            acceptance=acceptance,
            move="report_release",
            by=doer_of(acceptance, Party.SPONSOR),
            at=ends,
            software="9",
        )
    door(suspension(acceptance), at=ends)
    rows = acceptance.moves.order_by("-number")[:2]
    assert [(row.move, row.party) for row in rows] == [
        ("suspend", Party.HOST_APPROVER),
        ("resume", Party.CLOCK),
    ]


# --- thousands at one instant -----------------------------------------------------------------------------------


def many(count, ends):
    """Acceptances of one host that end together, copied from one that went all the way."""
    first = make_acceptance(state=State.APPROVED, valid_until=ends)
    version = approvals.current(first.approval)
    head, kind = type(first.approval), first.approval.kind
    facts = head.objects.bulk_create([head(kind=kind, code=f"TA-M-{number}") for number in range(count)])
    names = ("host", "variant", "state", "document", "valid_from", "valid_until", "version_no", "rev_from")
    record = {name: getattr(version, name) for name in names}
    ApprovalVersion.objects.bulk_create([ApprovalVersion(head=fact, **record) for fact in facts])
    now = clock.now()
    Acceptance.objects.bulk_create(
        [
            Acceptance(
                code=fact.code, host=first.host, variant=first.variant, hardware_revision=fact.code, approval=fact,
                state=State.APPROVED, valid_until=ends, state_changed_at=now, created_at=now,
            )
            for fact in facts
        ]
    )  # fmt: skip
    return [first.approval_id, *(fact.pk for fact in facts)]


def cross(fact_ids, instant):
    with transaction.atomic():
        revision = fence.exclusive(by=DESK, reason="test", at=clock.now())
        with CaptureQueriesContext(
            connection,
        ) as queries:
            following.crossed_under_fence(
                fact_ids=fact_ids, instant=instant, revision=revision, by=DESK, at=clock.now()
            )
    # Of rows that are inserted, so many go into one statement.
    return len([query for query in queries if not query["sql"].startswith("INSERT")])


def test_a_whole_list_that_ends_at_one_instant_follows_in_a_few_statements(monkeypatch):
    """AT&T's list of 2022: thousands of approvals, one instant. Buyers do not wait for its paperwork."""
    ends, rows = clock.now() + HOUR, 1201
    ids = many(rows - 1, ends)
    wait_until(monkeypatch, ends)
    assert set(following.effective_states(Acceptance.objects.all(), at=ends).values()) == {State.EXPIRED}
    assert cross(ids, ends) < 10, "under the exclusive fence"
    assert Acceptance.objects.filter(state=State.APPROVED).count() == rows
    with CaptureQueriesContext(connection) as queries:
        for row in OutboxRow.objects.filter(event="acceptance.to_follow").exclude(handler=""):
            following.follow_on(payload=row.payload, event_id=row.event_id, at=ends)
    # Of rows that are inserted, so many go into one statement.
    assert len([query for query in queries if not query["sql"].startswith("INSERT")]) < 20 * 3
    assert Acceptance.objects.filter(state=State.EXPIRED).count() == rows
    assert AcceptanceMove.objects.filter(move="expire", party=Party.CLOCK, effective_at=ends).count() == rows
    assert LedgerEntry.objects.filter(act="acceptance.expire").count() == rows
    assert OutboxRow.objects.filter(event="acceptance.moved", payload__move="expire").count() == rows
    for row in OutboxRow.objects.filter(event="acceptance.to_follow").exclude(handler=""):
        following.follow_on(payload=row.payload, event_id=row.event_id, at=ends)
    assert AcceptanceMove.objects.filter(move="expire").count() == rows, "twice changes nothing"


def test_a_hold_on_a_whole_list_suspends_all_of_it(monkeypatch):
    ids = many(150, clock.now() + HOUR)
    hold = make_hold(targets=[("fact", str(pk)) for pk in ids], at=clock.now())
    assert set(following.effective_states(Acceptance.objects.all(), at=clock.now()).values()) == {
        State.SUSPENDED
    }
    outbox.pump()
    assert Acceptance.objects.filter(state=State.SUSPENDED, hold=hold).count() == 151
    assert (
        AcceptanceMove.objects.filter(move="suspend", party=Party.SHOP, reason="SHOP_REVIEW").count() == 151
    )
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="over")
    outbox.pump()
    assert Acceptance.objects.filter(state=State.APPROVED, hold=None).count() == 151


def test_what_follows_late_follows_in_the_order_of_what_happened():
    ids = many(120, clock.now() + HOUR)
    hold = make_hold(targets=[("fact", str(pk)) for pk in ids], at=clock.now())
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="over")
    one = Acceptance.objects.get(approval=ids[0])
    make_hold(targets=[("fact", str(ids[0]))], at=clock.now())
    work = OutboxRow.objects.filter(event="acceptance.to_follow").exclude(handler="").order_by("pk")
    for row in work:
        following.follow_on(payload=row.payload, event_id=row.event_id, at=clock.now())
    rows: Any = Acceptance.objects.get(approval=ids[1]).moves.order_by("number")
    assert [row.move for row in rows] == ["suspend", "resume"]
    assert rows[0].revision < rows[1].revision
    assert state_of(one) == State.SUSPENDED, "what moved by a later change is not moved back"
    for row in reversed(work):
        following.follow_on(payload=row.payload, event_id=row.event_id, at=clock.now())
    assert rows.count() == 2


def test_what_follows_out_of_order_ends_where_the_records_stand():
    ids = many(120, clock.now() + HOUR)
    hold = make_hold(targets=[("fact", str(pk)) for pk in ids], at=clock.now())
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="over")
    work = OutboxRow.objects.filter(event="acceptance.to_follow").exclude(handler="").order_by("-pk")
    for row in work:
        following.follow_on(payload=row.payload, event_id=row.event_id, at=clock.now())
        OutboxRow.objects.filter(pk=row.pk).update(done_at=clock.now())
    assert set(Acceptance.objects.values_list("state", flat=True)) == {State.APPROVED}


def test_what_does_not_end_is_left_alone():
    acceptance = make_acceptance(state=State.APPROVED)
    cross([acceptance.approval_id], clock.now())
    assert state_of(acceptance) == State.APPROVED


def test_the_effective_states_of_many_take_a_fixed_number_of_queries(django_assert_num_queries):
    for state in (State.APPROVED, State.SUSPENDED, State.CONDITIONAL, State.MR_REVIEW):
        make_acceptance(state=state)
        make_acceptance(state=state)
    rows = list(Acceptance.objects.all())
    with django_assert_num_queries(5):
        found = process.effective_states(rows, at=clock.now())
    assert found == {row.pk: row.state for row in rows}


def test_a_boundary_that_is_delivered_twice_moves_it_once(monkeypatch):
    ends = clock.now() + HOUR
    acceptance = make_acceptance(state=State.APPROVED, valid_until=ends)
    wait_until(monkeypatch, ends)
    payload: dict[str, Any] = {"fact_id": acceptance.approval_id, "scope": {}, "boundary": ends.isoformat()}
    boundaries.cross_boundary(payload=payload, event_id=uuid4(), at=ends)
    boundaries.cross_boundary(payload=payload, event_id=uuid4(), at=ends)
    assert AcceptanceMove.objects.filter(move="expire").count() == 1
