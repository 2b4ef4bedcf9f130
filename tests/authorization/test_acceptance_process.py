"""The guards of the moves: papers, build, results, blockers, waivers, and who may not approve what."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from authorization import approvals, clock, fence
from authorization.acceptances import criteria, evidence, following, process
from authorization.acceptances.moves import MoveRefused
from authorization.acceptances.process import Doer, NotReady, Result
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    AcceptanceFile,
    AcceptanceMove,
    AcceptanceResult,
    ApprovalVersion,
    LedgerEntry,
    OutboxRow,
    Party,
    Revision,
)
from catalog.models import Tac
from seeds import factories
from seeds.factories import (
    ASKS,
    DECIDES,
    HostCarrierFactory,
    OrganizationFactory,
    VariantFactory,
    doer_of,
    make_approval,
    make_network,
    make_radio,
    record_build,
)
from tests.authorization.threads import in_thread

State = Acceptance.State
# Of no type: tests know what a state has.
make_acceptance: Any = factories.make_acceptance
DAY = timedelta(days=1)
T2016 = datetime(2016, 2, 2, 12, tzinfo=UTC)


def act(acceptance, move, party, *, actor=None, at=None, **inputs):
    return process.perform(
        acceptance=acceptance, move=move, by=doer_of(acceptance, party, actor), at=at or clock.now(), **inputs
    )


def approve(acceptance, **inputs):
    return act(acceptance, "approve", Party.HOST_APPROVER, document="TA-91", **inputs)


def results(acceptance, *rows):
    process.record_results(
        acceptance=acceptance, results=rows, by=doer_of(acceptance, Party.HOST_LAB), at=clock.now()
    )


def lacks(acceptance, **asked):
    return [one.code for one in process.missing(acceptance, at=clock.now(), **asked)]


def asked(**changes):
    """A request that is granted, but for these changes."""
    sponsor = changes.pop("sponsor", None) or OrganizationFactory.create()
    given: dict[str, Any] = {
        "host": HostCarrierFactory.create(), "variant": VariantFactory.create(), "sponsor": sponsor,
        "request_type": "initial", "at": clock.now(),
        "by": Doer(ASKS, Party.SPONSOR, organization_id=sponsor.pk),
    }  # fmt: skip
    return process.request(**given | changes)


# --- asking -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_request_has_a_code_of_its_year_and_grants_nothing():
    first, second = asked(), asked()
    year = clock.now().year
    assert [first.code, second.code] == [f"TA-{year}-0001", f"TA-{year}-0002"]
    assert (first.state, first.version, first.approval) == (State.REQUESTED, 1, None)
    assert not ApprovalVersion.objects.exists()
    assert not Revision.objects.exists()
    row = AcceptanceMove.objects.get(acceptance=first)
    assert (row.number, row.move, row.from_state, row.to_state, row.party) == (
        1,
        "request",
        "",
        "REQUESTED",
        "sponsor",
    )
    assert LedgerEntry.objects.filter(act="acceptance.request", subject_id=str(first.pk)).count() == 1
    assert OutboxRow.objects.filter(event="acceptance.moved", payload__code=first.code).count() == 1


@pytest.mark.django_db
def test_nobody_asks_in_anothers_name_or_with_what_is_not_true():
    variant = VariantFactory.create(fcc_id="2AFZZ-RM1")
    Tac.objects.create(code="00123456", variant=VariantFactory.create(), is_synthetic=True)
    other = OrganizationFactory.create()
    for changes, field in (
        ({"request_type": "mr"}, "request_type"),
        ({"fcc_id": "BCG-1", "variant": variant}, "fcc_id"),
        ({"tacs": ["12"]}, "tacs"),
        ({"tacs": ["00123456"]}, "tacs"),
        ({"software_from": "8", "software_until": "7"}, "software_until"),
        ({"code": "x" * 65}, "code"),
        ({"hardware_revision": "x" * 65}, "hardware_revision"),
    ):
        with pytest.raises(InvalidFact) as refused:
            asked(**changes)
        assert refused.value.field == field
    for by in (
        Doer(ASKS, Party.SPONSOR, organization_id=other.pk),
        Doer(ASKS, Party.HOST_DESK),
        Doer(ASKS, Party.SHOP),
    ):
        with pytest.raises(MoveRefused):
            asked(by=by)
    assert not Acceptance.objects.exists()


@pytest.mark.django_db
def test_the_same_build_is_open_once_and_the_refusal_names_nobody():
    first = asked(software_from="7", software_until="8")
    again = {"host": first.host, "variant": first.variant, "software_from": "7.0", "software_until": "8"}
    with pytest.raises(MoveRefused) as refused:
        asked(**again | {"software_from": "7"})
    assert first.code not in refused.value.message
    assert asked(**again | {"software_until": "9"}).state == State.REQUESTED
    assert asked(**again | {"software_from": "7", "hardware_revision": "B"}).state == State.REQUESTED
    act(first, "withdraw", Party.SPONSOR)
    assert asked(**again | {"software_from": "7"}).state == State.REQUESTED


@pytest.mark.django_db
def test_the_database_keeps_one_open_too():
    first = asked()
    with pytest.raises(IntegrityError), transaction.atomic():
        Acceptance.objects.create(
            host=first.host,
            variant=first.variant,
            code="other",
            state_changed_at=clock.now(),
            created_at=clock.now(),
        )


@pytest.mark.django_db
def test_who_speaks_for_another_moves_nothing():
    acceptance = make_acceptance(state=State.INTAKE_REVIEW)
    stranger, elsewhere = OrganizationFactory.create(), HostCarrierFactory.create()
    for by, move in (
        (Doer(ASKS, Party.SPONSOR, organization_id=stranger.pk), "withdraw"),
        (Doer(ASKS, Party.SPONSOR), "withdraw"),
        (Doer(DECIDES, Party.HOST_DESK, host_id=elsewhere.pk), "reject"),
        (Doer(DECIDES, Party.HOST_DESK), "reject"),
        (Doer(DECIDES, Party.SHOP, host_id=acceptance.host_id), "reject"),
    ):
        with pytest.raises(MoveRefused, match="not yours"):
            process.perform(
                acceptance=acceptance, move=move, by=by, at=clock.now(), reason="x", **_document(by.party)
            )
        with pytest.raises(MoveRefused, match="not yours"):
            process.attach_file(
                acceptance=acceptance, kind="other", name="a", content=b"x", by=by, at=clock.now()
            )
        with pytest.raises(MoveRefused, match="not yours"):
            process.record_results(
                acceptance=acceptance, results=[Result("field", "a", "passed")], by=by, at=clock.now()
            )


def _document(party):
    return {"document": "x"} if party == Party.SHOP else {}


# --- papers and builds ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_is_taken_in_with_all_its_papers_only():
    acceptance = asked()
    with pytest.raises(NotReady) as refused:
        act(acceptance, "take_in", Party.HOST_DESK)
    assert [one.code for one in refused.value.missing] == [
        "PAPER_FCC_ID", "PAPER_CERTIFICATE", "PAPER_TACS", "PAPER_DECLARATION",
    ]  # fmt: skip
    act(acceptance, "amend", Party.SPONSOR, fcc_id="2A-X", certificate="PTCRB-1", tacs=["00000007"])
    with pytest.raises(InvalidFact, match="exactly that already"):
        act(acceptance, "amend", Party.SPONSOR, fcc_id="2A-X")
    process.attach_file(
        acceptance=acceptance,
        kind="other",
        name="a",
        content=b"x",
        by=doer_of(acceptance, Party.SPONSOR),
        at=clock.now(),
    )
    with pytest.raises(NotReady, match="declaration"):
        act(acceptance, "take_in", Party.HOST_DESK)
    attach(acceptance, b"y", kind="declaration")
    act(acceptance, "take_in", Party.HOST_DESK)
    Tac.objects.create(code="00000007", variant=VariantFactory.create(), is_synthetic=True)
    slot = {"lab_slot_from": clock.now(), "lab_slot_until": clock.now() + DAY, "software": "7"}
    with pytest.raises(NotReady, match="belongs to"):
        act(acceptance, "give_slot", Party.HOST_LAB, **slot)


@pytest.mark.django_db
def test_the_slot_and_the_frozen_build():
    acceptance, at = (
        make_acceptance(state=State.INTAKE_REVIEW, software_from="7", software_until="8"),
        clock.now(),
    )
    slot = {"lab_slot_from": at, "lab_slot_until": at + DAY, "software": "7.0.5"}
    for changes, field in (
        ({"lab_slot_until": at}, "lab_slot_until"),
        ({"lab_slot_from": at - 2 * DAY, "lab_slot_until": at - DAY}, "lab_slot_until"),
        ({"lab_slot_from": at.replace(tzinfo=None)}, "lab_slot_from"),
        ({"software": "8.0"}, "software"),
        ({"software": "6.9"}, "software"),
    ):
        with pytest.raises(InvalidFact) as refused:
            act(acceptance, "give_slot", Party.HOST_LAB, at=at, **slot | changes)
        assert refused.value.field == field
    act(acceptance, "give_slot", Party.HOST_LAB, hardware_revision="P2", **slot)
    for shown, field in (({"software": "7.0.6"}, "software"), ({"software": "7.0.5"}, "hardware_revision")):
        with pytest.raises(InvalidFact) as refused:
            act(acceptance, "start_tests", Party.HOST_LAB, **shown)
        assert refused.value.field == field
    act(acceptance, "start_tests", Party.HOST_LAB, software="7.0.5", hardware_revision="P2")
    acceptance.refresh_from_db()
    assert (acceptance.state, acceptance.build_no, acceptance.software_in_test) == (State.IN_TEST, 1, "7.0.5")


@pytest.mark.django_db
def test_a_new_build_differs_and_starts_from_nothing():
    acceptance = make_acceptance(state=State.ISSUES_OPEN)
    with pytest.raises(InvalidFact, match="a new build differs"):
        act(acceptance, "submit_build", Party.HOST_LAB, software="7.0.5")
    act(acceptance, "submit_build", Party.HOST_LAB, software="7.0.6")
    acceptance.refresh_from_db()
    assert acceptance.build_no == 2
    assert lacks(acceptance) == [f"PHASE_NOT_RUN:{phase}" for phase in criteria.ALWAYS]
    with pytest.raises(NotReady):
        approve(acceptance)
    record_build(acceptance, at=clock.now())
    assert approve(acceptance).to_state == State.APPROVED


@pytest.mark.django_db
def test_issues_need_a_defect():
    acceptance = make_acceptance(state=State.IN_TEST)
    with pytest.raises(MoveRefused, match="No case"):
        act(acceptance, "open_issues", Party.HOST_LAB, reason="a feeling")
    results(acceptance, Result("field", "a", "failed"), Result("field", "a", "passed"))
    with pytest.raises(MoveRefused, match="No case"):
        act(acceptance, "open_issues", Party.HOST_LAB, reason="it passes by now")


# --- results ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_every_needed_phase_has_passed_and_the_last_result_counts():
    acceptance = make_acceptance(state=State.IN_TEST)
    assert lacks(acceptance) == [f"PHASE_NOT_RUN:{phase}" for phase in criteria.ALWAYS]
    results(acceptance, Result("conformance", "1", "passed"), Result("interoperability", "1", "failed"))
    results(acceptance, Result("field", "1", "not_applicable"))
    assert lacks(acceptance) == ["PHASE_NOT_PASSED:field", "CASE_FAILED:interoperability/1"]
    with pytest.raises(NotReady, match="failed"):
        approve(acceptance)
    results(acceptance, Result("interoperability", "1", "passed"), Result("field", "2", "passed"))
    assert lacks(acceptance) == []
    results(acceptance, Result("field", "2", "failed"))
    assert lacks(acceptance) == ["CASE_FAILED:field/2"]
    with pytest.raises(NotReady):
        approve(acceptance)
    assert not ApprovalVersion.objects.exists()
    assert not Revision.objects.filter(reason__contains="approve").exists(), "it is refused before the fence"
    results(acceptance, Result("field", "2", "passed"))
    assert approve(acceptance).to_state == State.APPROVED


@pytest.mark.django_db
def test_results_of_one_build_do_not_count_for_another():
    acceptance = make_acceptance(state=State.IN_TEST)
    given = {"acceptance": acceptance, "by": doer_of(acceptance, Party.HOST_LAB), "at": clock.now()}
    process.record_results(results=[Result("field", "a", "passed")], build_no=1, **given)
    with pytest.raises(MoveRefused, match="in the lab is build 1"):
        process.record_results(results=[Result("field", "a", "passed")], build_no=2, **given)


@pytest.mark.django_db
def test_results_come_from_the_lab_while_a_build_is_in_test():
    acceptance = make_acceptance(state=State.LAB_ENTRY)
    with pytest.raises(MoveRefused, match="in test"):
        results(acceptance, Result("field", "a", "passed"))
    act(acceptance, "start_tests", Party.HOST_LAB, software="7.0.5")
    for party in (Party.SPONSOR, Party.HOST_DESK, Party.HOST_APPROVER):
        with pytest.raises(MoveRefused, match="lab"):
            process.record_results(
                acceptance=acceptance, results=[Result("field", "a", "passed")], by=doer_of(acceptance, party),
                at=clock.now(),
            )  # fmt: skip
    good = Result("field", "a", "passed")
    for bad, field in (
        (Result("space", "a", "passed"), "results[1].phase"),
        (Result("field", " ", "passed"), "results[1].case"),
        (Result("field", "a", "perhaps"), "results[1].outcome"),
        (Result("field", "a", "passed", "x" * 501), "results[1].note"),
    ):
        with pytest.raises(InvalidFact) as refused:
            results(acceptance, good, bad)
        assert refused.value.field == field
    for rows in ([], [good] * (process.RESULTS_AT_ONCE + 1)):
        with pytest.raises(InvalidFact) as refused:
            results(acceptance, *rows)
        assert refused.value.field == "results"
    assert not AcceptanceResult.objects.exists(), "all or nothing"
    results(acceptance, *[Result("field", str(number), "passed") for number in range(300)])
    entry = LedgerEntry.objects.get(act="acceptance.results")
    assert (entry.evidence["results"], entry.evidence["failed"]) == (300, 0)


NO_B12 = {"off": [("LTE", "B12")]}
EVERYTHING = (*criteria.ALWAYS, *criteria.CALLS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("network", "radio", "at", "needed"),
    [
        ({}, {}, None, criteria.ALWAYS),
        ({"has_circuits": False}, {}, None, EVERYTHING),
        # T-Mobile: with band 12 from 28 August 2015 on, and every phone from 4 August 2020 on.
        ({"code": "tmobile"}, {}, T2016, EVERYTHING),
        ({"code": "tmobile"}, NO_B12, T2016, criteria.ALWAYS),
        ({"code": "tmobile"}, {}, datetime(2015, 8, 27, tzinfo=UTC), criteria.ALWAYS),
        ({"code": "tmobile"}, NO_B12, datetime(2020, 8, 4, tzinfo=UTC), EVERYTHING),
        ({"code": "att"}, {}, T2016, criteria.ALWAYS),
    ],
)  # fmt: skip
def test_calls_over_lte_are_tested_where_the_host_asks_for_them(network, radio, at, needed):
    at = at or clock.now()
    host, variant = HostCarrierFactory.create(code=network.pop("code", "host-x")), VariantFactory.create()
    make_network(host=host, at=at, **network)
    make_radio(variant=variant, at=at, ims={host.code: "yes"}, **radio)
    acceptance = make_acceptance(host=host, variant=variant, at=at)
    assert process.phases_of(acceptance, at=at) == needed


@pytest.mark.django_db
def test_what_is_not_recorded_stops_an_approval():
    acceptance = make_acceptance(state=State.IN_TEST)
    record_build(acceptance, at=clock.now())
    row = Acceptance.objects.get(pk=acceptance.pk)
    row.variant = VariantFactory.create()
    assert {"RADIO_UNKNOWN", "PHASE_NOT_RUN:volte", "PHASE_NOT_RUN:e911"} <= set(lacks(row))
    row = Acceptance.objects.get(pk=acceptance.pk)
    row.host = HostCarrierFactory.create()
    assert {"NETWORK_UNKNOWN", "PHASE_NOT_RUN:volte", "PHASE_NOT_RUN:e911"} <= set(lacks(row))


# --- blockers and waivers ---------------------------------------------------------------------------------------


@pytest.fixture
def blocked():
    """On T-Mobile in 2016, band 12 on and voice over LTE unconfirmed: the OnePlus 2 of the story."""
    host, variant = HostCarrierFactory.create(code="tmobile"), VariantFactory.create()
    make_network(host=host, at=T2016)
    make_radio(variant=variant, at=T2016)
    acceptance = make_acceptance(state=State.IN_TEST, host=host, variant=variant, at=T2016)
    record_build(acceptance, at=T2016)
    return acceptance


def waive(acceptance, limits, **inputs):
    given = {"limits": limits, "waived_until": T2016 + 90 * DAY, "document": "TA-88"} | inputs
    return act(acceptance, "grant_waiver", Party.HOST_APPROVER, at=T2016, **given)


@pytest.mark.django_db
def test_a_blocker_stops_the_approval(blocked):
    with pytest.raises(NotReady) as refused:
        approve(blocked, at=T2016)
    assert [one.code for one in refused.value.missing] == ["BLOCKER:B12_REQUIRES_VOLTE_E911"]
    make_radio(variant=blocked.variant, at=T2016, ims={"tmobile": "yes"})
    assert approve(blocked, at=T2016).to_state == State.APPROVED


@pytest.mark.django_db
def test_limits_name_what_is_waived_and_what_they_call_off_is_off(blocked):
    act(blocked, "ask_waiver", Party.SPONSOR, at=T2016, deviation="band 12 without VoLTE")
    with pytest.raises(NotReady, match="B12_REQUIRES_VOLTE_E911"):
        waive(blocked, "no calls in few places")
    with pytest.raises(InvalidFact, match="LTE B12 is off by these limits, but on in the record") as refused:
        waive(blocked, "LTE B12 off")
    assert refused.value.field == "limits"
    make_radio(variant=blocked.variant, at=T2016, off=[("LTE", "B12")])
    made = waive(blocked, "LTE B12 off")
    blocked.refresh_from_db()
    version = approvals.current(blocked.approval)
    assert (made.to_state, version.state, version.limits) == (State.CONDITIONAL, "conditional", "LTE B12 off")
    assert version.waived_until == blocked.waived_until == T2016 + 90 * DAY
    assert version.document == "TA-88"
    assert version.rev_from == made.revision


@pytest.mark.django_db
def test_a_host_waives_its_own_rule_by_its_name(blocked):
    act(blocked, "ask_waiver", Party.SPONSOR, at=T2016, deviation="band 12 without VoLTE")
    assert waive(blocked, "B12_REQUIRES_VOLTE_E911 waived until the update").to_state == State.CONDITIONAL


@pytest.mark.django_db
@pytest.mark.parametrize("written", ["LTE B12 off", "no lifts; lte b12 off; NR n71 off"])
def test_bands_are_read_out_of_limits(blocked, written):
    criteria.check_limits(written)
    assert criteria.bands_still_on(blocked, written, at=T2016) == ("LTE B12",)
    assert criteria.bands_still_on(blocked, "LTE B17 off", at=T2016) == ()


@pytest.mark.parametrize(
    "written",
    [
        "LTE B12 is switched off", "LTE B12 and B17 off", "B12 off", "LTE band 12 off", "LTE B12 disabled", "no n71",
        "band-12 off", "GSM850 off", "not waived: VOLTE_REQUIRED", "VOLTE_REQUIRED not waived",
        "not VOLTE_REQUIRED waived",
    ],
)  # fmt: skip
def test_limits_that_cannot_be_checked_are_refused(written):
    with pytest.raises(InvalidFact) as refused:
        criteria.check_limits(written)
    assert refused.value.field == "limits"


def test_other_words_are_free():
    criteria.check_limits("no roaming; 3G only; VOLTE_REQUIRED waived until the update")


@pytest.mark.django_db
def test_a_waiver_has_an_end_and_accepts_failures_but_not_untested_phases():
    acceptance, at = make_acceptance(state=State.IN_TEST), clock.now()
    results(acceptance, Result("conformance", "1", "passed"), Result("field", "1", "failed"))
    act(acceptance, "ask_waiver", Party.SPONSOR, deviation="drops calls in lifts")
    given = {"limits": "no lifts", "waived_until": at + DAY, "document": "TA-88"}
    for name in given:
        with pytest.raises(InvalidFact) as refused:
            act(acceptance, "grant_waiver", Party.HOST_APPROVER, **given | {name: None})
        assert refused.value.field == name
    with pytest.raises(NotReady, match="interoperability"):
        act(acceptance, "grant_waiver", Party.HOST_APPROVER, **given)
    results(acceptance, Result("interoperability", "1", "passed"))
    for bad, field in (
        ({"waived_until": at - DAY}, "waived_until"),
        ({"waived_until": datetime(2030, 1, 1)}, "waived_until"),  # noqa: DTZ001
        ({"limits": "x" * 301}, "limits"),
        ({"valid_until": at - DAY}, "valid_until"),
        ({"valid_until": datetime(2030, 1, 1)}, "valid_until"),  # noqa: DTZ001
    ):
        with pytest.raises(InvalidFact) as refused:
            act(acceptance, "grant_waiver", Party.HOST_APPROVER, **given | bad)
        assert refused.value.field == field
    made = act(acceptance, "grant_waiver", Party.HOST_APPROVER, **given)
    assert made.detail["failed"] == ["field 1"]
    with pytest.raises(NotReady, match="failed"):
        approve(acceptance)
    results(acceptance, Result("field", "1", "passed"))
    made = approve(acceptance)
    acceptance.refresh_from_db()
    version = approvals.current(acceptance.approval)
    assert (version.state, version.limits, version.waived_until) == ("approved", "", None)
    assert (acceptance.limits, acceptance.waived_until, version.document) == ("", None, "TA-91")
    assert version.rev_from == made.revision


# --- who, when, and what for ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_nobody_approves_what_they_sponsored():
    own = make_acceptance(state=State.IN_TEST, sponsor="shop")
    record_build(own, at=clock.now())
    with pytest.raises(MoveRefused, match="nobody approves what they sponsored"):
        act(own, "approve", Party.SHOP, document="TA-91", reason="the host said so")
    with pytest.raises(MoveRefused, match="nobody approves what they sponsored"):
        approve(own, actor=ASKS)
    assert not ApprovalVersion.objects.exists()
    assert approve(own).to_state == State.APPROVED
    other = make_acceptance(state=State.IN_TEST)
    record_build(other, at=clock.now())
    made = act(other, "approve", Party.SHOP, actor=DECIDES, document="TA-92", reason="the host said so")
    assert (made.to_state, made.party, made.detail["document"]) == (State.APPROVED, Party.SHOP, "TA-92")


@pytest.mark.django_db
def test_the_approval_says_what_was_tested_and_asked_for():
    at = clock.now()
    acceptance = make_acceptance(state=State.IN_TEST, software_from="7", software_until="8", at=at)
    record_build(acceptance, at=at)
    for bad, field in (
        ({"software_from": "6"}, "software_from"),
        ({"software_until": "9"}, "software_until"),
        ({"software_from": "7.0.6"}, "software_from"),
        ({"software_until": "7.0.5"}, "software_until"),
    ):
        with pytest.raises(InvalidFact) as refused:
            approve(acceptance, at=at, **bad)
        assert refused.value.field == field
    approve(acceptance, at=at, software_until="7.5", valid_until=at + 700 * DAY)
    acceptance.refresh_from_db()
    version = approvals.current(acceptance.approval)
    assert (version.software_from, version.software_until) == ("7", "7.5")
    assert (version.valid_from, version.valid_until) == (at, at + 700 * DAY)
    assert acceptance.valid_until == at + 700 * DAY
    assert acceptance.approval.code == acceptance.code
    due = OutboxRow.objects.filter(
        event="authority.boundary", due_at=at + 700 * DAY, payload__fact_id=version.head_id
    )
    assert due.exclude(handler="").count() == 1


@pytest.mark.django_db
def test_the_approvals_code_gives_way_to_another_record():
    acceptance = make_acceptance(state=State.IN_TEST, code="TA-7")
    make_approval(
        host=HostCarrierFactory.create(), variant=VariantFactory.create(), at=clock.now(), code="TA-7"
    )
    record_build(acceptance, at=clock.now())
    approve(acceptance)
    acceptance.refresh_from_db()
    assert acceptance.approval.code == "TA-7-A1"


@pytest.mark.django_db
def test_a_twin_that_the_desk_recorded_is_named_and_nothing_is_half_written():
    acceptance = make_acceptance(state=State.IN_TEST)
    record_build(acceptance, at=clock.now())
    make_approval(host=acceptance.host, variant=acceptance.variant, at=clock.now(), code="CA-DESK")
    before = (AcceptanceMove.objects.count(), LedgerEntry.objects.count(), Revision.objects.count())
    with pytest.raises(InvalidFact, match="CA-DESK"):
        approve(acceptance)
    assert before == (AcceptanceMove.objects.count(), LedgerEntry.objects.count(), Revision.objects.count())
    acceptance.refresh_from_db()
    assert (acceptance.state, acceptance.approval) == (State.IN_TEST, None)


@pytest.mark.django_db
def test_what_has_moved_since_you_looked_is_not_moved():
    acceptance = make_acceptance(state=State.REQUESTED)
    with pytest.raises(MoveRefused, match="has moved since") as refused:
        act(acceptance, "withdraw", Party.SPONSOR, seen_version=acceptance.version + 1)
    assert refused.value.moves_allowed == ("amend", "withdraw")
    act(acceptance, "withdraw", Party.SPONSOR, seen_version=acceptance.version)


@pytest.mark.django_db
def test_the_desks_page_of_approvals_cannot_go_round_the_tests():
    acceptance = make_acceptance(state=State.CONDITIONAL)
    with pytest.raises(InvalidFact, match=acceptance.code):
        approvals.change_approval_state(
            fact=acceptance.approval, state="approved", by=DECIDES, at=clock.now(), reason="quicker"
        )


@pytest.mark.django_db
def test_terms_only_widen_outside_the_front_door():
    at = clock.now()
    acceptance = make_acceptance(state=State.CONDITIONAL, at=at, valid_until=at + 100 * DAY)
    with pytest.raises(InvalidFact, match="earlier end"):
        approve(acceptance, at=at, valid_until=at + 50 * DAY)
    approve(acceptance, at=at, valid_until=at + 200 * DAY)
    acceptance.refresh_from_db()
    assert acceptance.valid_until == approvals.current(acceptance.approval).valid_until == at + 200 * DAY


# --- maintenance releases ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_release_is_a_child_and_what_was_approved_stays():
    parent = make_acceptance(state=State.APPROVED, software_from="7", software_until="8")
    with pytest.raises(InvalidFact, match=r"covers 7\.9 already"):
        act(parent, "report_release", Party.SPONSOR, software="7.9")
    with pytest.raises(InvalidFact, match="not in the range"):
        act(parent, "report_release", Party.SPONSOR, software="8.1", software_from="9")
    made = act(
        parent,
        "report_release",
        Party.SPONSOR,
        software="8.1",
        software_until="9",
        seen_version=parent.version,
    )
    child = Acceptance.objects.get(code=made.detail["child"])
    assert (child.state, child.parent, child.request_type) == (State.MR_REVIEW, parent, "mr")
    assert (child.software_from, child.software_until, child.build_no) == ("8.1", "9", 1)
    with pytest.raises(MoveRefused, match="open with this host"):
        act(parent, "report_release", Party.SPONSOR, software="8.1", software_until="9")
    with pytest.raises(NotReady):
        approve(child)
    parent.refresh_from_db()
    assert parent.state == State.APPROVED
    results(child, *[Result(phase, "delta", "not_applicable") for phase in criteria.ALWAYS])
    assert lacks(child) == ["NOTHING_TESTED"]
    results(child, Result("conformance", "delta", "passed"))
    with pytest.raises(MoveRefused, match="nobody approves"):
        approve(child, actor=ASKS)
    assert approve(child).to_state == State.APPROVED
    child.refresh_from_db()
    assert child.approval != parent.approval
    hardware = act(parent, "report_release", Party.SPONSOR, software="9.1", hardware_revision="P3")
    assert Acceptance.objects.get(code=hardware.detail["child"]).request_type == "eco"


# --- files ------------------------------------------------------------------------------------------------------


def attach(acceptance, content, *, kind="other", name="a.pdf", party=Party.SPONSOR):
    return process.attach_file(
        acceptance=acceptance,
        kind=kind,
        name=name,
        content=content,
        by=doer_of(acceptance, party),
        at=clock.now(),
    )


@pytest.mark.django_db
def test_a_file_is_known_by_its_content():
    acceptance = asked()
    for content, content_type in (
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"case,outcome\n1,passed\n", "text/csv"),
        ("Prüfbericht\nalles gut".encode(), "text/plain"),
        (b"<script>alert(1)</script>", "text/plain"),
        (b"<svg onload=x>", "text/plain"),
    ):
        row = attach(acceptance, content, name="../../etc/report\x00.pdf")
        assert (row.content_type, row.name, row.size) == (content_type, "report.pdf", len(content))
        assert bytes(row.content) == content
    for content in (b"MZ\x90\x00", b"\x00\x01", b"\xfe\xff\x00a", b"PK\x03\x04", b""):
        with pytest.raises(InvalidFact) as refused:
            attach(acceptance, content)
        assert refused.value.field == "content"
    with pytest.raises(InvalidFact, match="5,000,000"):
        attach(acceptance, b"%PDF-" + b"x" * evidence.MAX_BYTES)
    for bad in ({"name": " "}, {"kind": "novel"}):
        with pytest.raises(InvalidFact):
            attach(acceptance, b"x", **bad)


@pytest.mark.django_db
def test_the_same_content_is_kept_once_and_final_ones_take_none(monkeypatch):
    acceptance = asked()
    first = attach(acceptance, b"one")
    assert attach(acceptance, b"one", name="again", kind="letter", party=Party.HOST_LAB) == first
    assert LedgerEntry.objects.filter(act="acceptance.file").count() == 1
    monkeypatch.setattr(evidence, "MAX_FILES", 1)
    with pytest.raises(MoveRefused, match="the most"):
        attach(acceptance, b"two")
    monkeypatch.undo()
    act(acceptance, "withdraw", Party.SPONSOR)
    with pytest.raises(MoveRefused, match="final"):
        attach(acceptance, b"three")


# --- written once -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("model", [AcceptanceMove, AcceptanceResult, AcceptanceFile])
def test_moves_results_and_files_are_never_changed(model):
    make_acceptance(state=State.ISSUES_OPEN)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        model.objects.update(actor="somebody else")


# --- two at once ------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_approvers_at_once_one_wins():
    acceptance = make_acceptance(state=State.IN_TEST)
    record_build(acceptance, at=clock.now())
    seen, made = acceptance.version + 0, []
    seen = Acceptance.objects.get(pk=acceptance.pk).version

    def decide(name):
        def work():
            made.append(approve(acceptance, actor=Actor("user", name), seen_version=seen))

        return work

    threads = [in_thread(decide(name)) for name in ("ann", "ben")]
    for thread, _ in threads:
        thread.join()
    failures = [failure for _, failed in threads for failure in failed]
    assert len(made) == 1
    assert [type(failure) for failure in failures] == [MoveRefused], failures
    assert ApprovalVersion.objects.filter(variant=acceptance.variant).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_once_get_two_codes():
    host, variants = HostCarrierFactory.create(), [VariantFactory.create() for _ in range(4)]
    sponsor = OrganizationFactory.create()
    threads = [in_thread(partial(asked, host=host, variant=one, sponsor=sponsor)) for one in variants]
    for thread, _ in threads:
        thread.join()
    assert not [failure for _, failed in threads for failure in failed]
    assert Acceptance.objects.values("code").distinct().count() == 4


@pytest.mark.django_db
def test_what_gives_holds_the_fence_and_what_asks_does_not(monkeypatch):
    held = []
    record = following.record_move

    def watched(*args, **named):
        held.append((args[1], fence.is_held()))
        return record(*args, **named)

    monkeypatch.setattr(following, "record_move", watched)
    make_acceptance(state=State.APPROVED)
    assert held == [
        ("request", False), ("take_in", False), ("give_slot", False), ("start_tests", False), ("approve", True),
    ]  # fmt: skip
