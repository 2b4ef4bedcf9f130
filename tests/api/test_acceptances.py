"""Technical acceptances over HTTP: a vendor asks, the carrier's desk, lab and approver work, nobody sees another's."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.mail import EmailMessage
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from authorization import clock, offers, outbox
from authorization.acceptances import evidence
from authorization.acceptances.evidence import MAX_BYTES
from authorization.acceptances.moves import Input, MoveRefused
from authorization.acceptances.process import Doer
from authorization.actors import Actor
from authorization.models import (
    Acceptance,
    AcceptanceFile,
    AcceptanceMove,
    AcceptanceResult,
    ApprovalVersion,
    OutboxRow,
    Party,
    PendingChange,
    Revocation,
)
from authorization.revocations import Change, PlaceHold, RevokeApproval
from catalog.models import ListingHost, OfferState
from seeds import factories
from storefront import acceptance_limits, acceptance_withdrawals, acceptances_told, carts, withdrawals
from storefront.acceptance_words import reason_told
from storefront.models import Cart, RefusedCheckout
from storefront.orders import CheckoutRefused
from tests.api.conftest import Caller, SmallWorld, caller_of, carrier_caller, pointers, problem
from tests.api.test_listing_properties import any_json, examples, near
from tests.storefront.conftest import check_out, provider, provider_process

__all__ = ["provider", "provider_process"]

ALL = "/v1/technical-acceptances"
PDF = b"%PDF-1.7 report"
PHASES = ("conformance", "interoperability", "field", "volte", "e911")


@dataclass
class Parties:
    """Who works on the untested variant of the small world."""

    world: SmallWorld
    vendor: Caller
    desk: Caller
    lab: Caller
    approver: Caller
    elsewhere: Caller
    rival: Caller

    def ask(self, **changes: Any) -> HttpResponse:
        return self.vendor.post(ALL, self.wanted(**changes))

    def wanted(self, **changes: Any) -> dict[str, Any]:
        return {
            "host": "north",
            "variant": "PX9-U2",
            "hardware_revision": "P1",
            "software_from": "7.0",
            "tacs": ["00123456"],
            "fcc_id": "2ATESTPHONE",
            "certificate": "PTCRB-1",
        } | changes

    def move(self, who: Caller, code: str, move: str, **inputs: Any) -> HttpResponse:
        version = json.loads(who.get(f"{ALL}/{code}").content)["version"]
        return who.post(f"{ALL}/{code}/moves", {"move": move, "version": version, **inputs})

    def in_test(self) -> str:
        code = str(json.loads(self.ask().content)["code"])
        name = "?kind=declaration&name=bands.txt"
        self.vendor.post(f"{ALL}/{code}/files{name}", b"As the maker says.", **{"Content-Type": "text/plain"})
        at = clock.now()
        slot = {"lab_slot_from": say(at), "lab_slot_until": say(at + timedelta(days=7))}
        for who, move, inputs in (
            (self.desk, "take_in", {}),
            (self.desk, "give_slot", {**slot, "software": "7.0.5"}),
            (self.lab, "start_tests", {"software": "7.0.5", "hardware_revision": "P1"}),
        ):
            assert self.move(who, code, move, **inputs).status_code == 200, (move,)
        return code

    def tested(self) -> str:
        code = self.in_test()
        results = [{"phase": phase, "case": "all", "outcome": "passed"} for phase in PHASES]
        assert self.lab.post(f"{ALL}/{code}/results", {"build_no": 1, "results": results}).status_code == 201
        return code

    def approved(self) -> str:
        code = self.tested()
        done = self.move(self.approver, code, "approve", document="TA letter 7")
        assert done.status_code == 200, done.content
        return code


def say(instant: Any) -> str:
    return str(instant.isoformat().replace("+00:00", "Z"))


def shown(response: HttpResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = json.loads(response.content)
    return body


@pytest.fixture
def parties(world: SmallWorld) -> Parties:
    at = clock.now()
    for host in (world.north, world.south):
        factories.make_network(host=host, at=at)
    factories.make_radio(variant=world.untested, at=at, ims={"north": "yes", "south": "yes"})
    factories.make_radio(variant=world.approved, at=at, ims={"north": "yes"})
    return Parties(
        world,
        vendor=caller_of(world.vendor),
        desk=carrier_caller(world.north, "desk"),
        lab=carrier_caller(world.north, "lab"),
        approver=carrier_caller(world.north, "approver"),
        elsewhere=carrier_caller(world.south),
        rival=caller_of(factories.OrganizationFactory.create(slug="vendor-two")),
    )


# --- from a request to an approval ----------------------------------------------------------------------------


def test_a_phone_goes_from_a_request_to_an_approval_and_on_sale(parties: Parties) -> None:
    world = parties.world
    parties.vendor.put("/v1/listings/A-1", world.body(variant="PX9-U2", software="7.0.5"))
    refused = parties.vendor.post("/v1/listings/A-1/publish")
    assert "CARRIER_NOT_APPROVED" in refused.content.decode()
    code = parties.tested()
    assert parties.vendor.post("/v1/listings/A-1/publish").status_code == 409, "a test makes nothing sellable"

    done = shown(parties.move(parties.approver, code, "approve", document="TA letter 7"))

    assert (done["state"], done["effective_state"], done["approval"]) == ("APPROVED", "APPROVED", code)
    assert done["moved"]["said"] == {
        "document": "TA letter 7",
        "software": "7.0.5",
        "software_from": "7.0",
    }
    assert parties.vendor.post("/v1/listings/A-1/publish").status_code == 200
    seen = shown(parties.vendor.get(f"{ALL}/{code}"))
    assert [move["move"] for move in seen["moves"]] == [
        "request",
        "take_in",
        "give_slot",
        "start_tests",
        "approve",
    ]
    assert {phase["phase"]: phase["counts"]["passed"] for phase in seen["results"]} == dict.fromkeys(
        PHASES, 1
    )
    assert [file["name"] for file in seen["files"]] == ["bands.txt"]


def test_a_request_twice_is_one_and_the_same_build_of_another_is_refused(parties: Parties) -> None:
    first = parties.ask()
    assert first.status_code == 201
    code = shown(first, 201)["code"]
    assert first["Location"] == f"{ALL}/{code}"

    again = shown(parties.ask())
    assert (again["code"], again["unchanged"]) == (code, True)
    differs = problem(parties.ask(certificate="PTCRB-2"), 409, "already_requested")
    assert differs["acceptance"] == code
    others = problem(parties.rival.post(ALL, parties.wanted()), 409, "already_requested")
    assert code not in json.dumps(others)
    assert parties.world.vendor.slug not in json.dumps(others)
    assert Acceptance.objects.count() == 1
    assert parties.ask(software_from="8.0").status_code == 201, "another range of software is another build"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"host": "nowhere"}, "/host"),
        ({"variant": "PX9-U3"}, "/variant"),
        ({"tacs": ["12345678", "12345678"]}, "/tacs"),
        ({"tacs": ["1234567"]}, "/tacs/0"),
        ({"tacs": [12345678]}, "/tacs/0"),
        ({"software_from": "8", "software_until": "7"}, "/software_until"),
        ({"software_from": "..."}, "/software_from"),
        ({"request_type": "mr"}, "/request_type"),
        ({"state": "APPROVED"}, "/state"),
        ({"sponsor": "vendor-two"}, "/sponsor"),
        ({"colour": "red"}, "/colour"),
        ({"hardware_revision": "x" * 65}, "/hardware_revision"),
    ],
)
def test_a_bad_request_names_its_fault_and_stores_nothing(
    parties: Parties, changes: dict[str, Any], where: str
) -> None:
    assert where in pointers(problem(parties.ask(**changes), 400, "invalid_request"))
    assert not Acceptance.objects.exists()


def test_a_carrier_does_not_ask(parties: Parties) -> None:
    problem(parties.desk.post(ALL, parties.wanted()), 403, "not_for_this_key")
    assert not Acceptance.objects.exists()


# --- moves ----------------------------------------------------------------------------------------------------


def test_each_key_makes_the_moves_of_its_duties(parties: Parties) -> None:
    code = parties.tested()

    for who in (parties.vendor, parties.desk, parties.lab):
        refused = problem(parties.move(who, code, "approve", document="L"), 409, "move_refused")
        assert "approve" not in refused["moves_allowed"]
    assert [move["move"] for move in shown(parties.approver.get(f"{ALL}/{code}"))["moves_allowed"]] == [
        "approve"
    ]
    assert Acceptance.objects.get().state == "IN_TEST"
    assert not ApprovalVersion.objects.filter(variant=parties.world.untested).exists()


def test_a_key_with_several_duties_has_the_moves_of_all(parties: Parties) -> None:
    code = parties.tested()
    whole = carrier_caller(parties.world.north)
    allowed = shown(whole.get(f"{ALL}/{code}"))["moves_allowed"]
    assert {(move["move"], move["as"]) for move in allowed} == {
        ("open_issues", "host_lab"),
        ("approve", "host_approver"),
    }
    done = shown(parties.move(whole, code, "approve", document="TA letter 7"))
    assert done["moves"][-1]["party"] == "host_approver"


def test_a_move_on_a_version_that_has_passed_is_refused(parties: Parties) -> None:
    code = shown(parties.ask(), 201)["code"]
    sent = {"move": "withdraw", "version": 1, "reason": "no"}
    assert (
        parties.vendor.post(
            f"{ALL}/{code}/moves", {"move": "amend", "version": 1, "fcc_id": "2ATESTX"}
        ).status_code
        == 200
    )

    refused = problem(parties.vendor.post(f"{ALL}/{code}/moves", sent), 409, "move_refused")

    assert (refused["version"], refused["state"]) == (2, "REQUESTED")
    assert refused["moves_allowed"] == ["amend", "withdraw"]
    assert parties.vendor.post(f"{ALL}/{code}/moves", sent | {"version": 2}).status_code == 200
    twice = problem(parties.vendor.post(f"{ALL}/{code}/moves", sent | {"version": 2}), 409, "move_refused")
    assert (twice["state"], twice["moves_allowed"]) == ("WITHDRAWN", [])
    assert AcceptanceMove.objects.filter(move="withdraw").count() == 1


def test_a_move_says_what_it_needs_and_what_it_does_not_take(parties: Parties) -> None:
    code = parties.in_test()
    missing = problem(parties.move(parties.lab, code, "open_issues"), 400, "invalid_request")
    assert pointers(missing) == {"/reason"}
    extra = problem(
        parties.move(parties.lab, code, "open_issues", reason="x", limits="B12 off"), 400, "invalid_request"
    )
    assert pointers(extra) == {"/limits"}
    no_version = parties.lab.post(f"{ALL}/{code}/moves", {"move": "open_issues", "reason": "x"})
    assert pointers(problem(no_version, 400, "invalid_request")) == {"/version"}
    for follows in ("expire", "request", "reinstate", "nothing"):
        assert pointers(problem(parties.move(parties.lab, code, follows), 400, "invalid_request")) == {
            "/move"
        }


def test_an_approval_says_what_is_missing(parties: Parties) -> None:
    code = parties.in_test()
    refused = problem(parties.move(parties.approver, code, "approve", document="L"), 409, "move_refused")
    codes = {each["code"] for each in refused["missing"]}
    assert "PHASE_NOT_RUN:field" in codes
    assert codes == {
        each["code"] for each in shown(parties.vendor.get(f"{ALL}/{code}"))["missing_for_approval"]
    }


def test_what_the_other_side_did_is_told_without_its_people(parties: Parties) -> None:
    code = parties.approved()
    for move in shown(parties.vendor.get(f"{ALL}/{code}"))["moves"]:
        assert move["actor"] == ("vendor:vendor-one" if move["party"] == "sponsor" else None)
    for move in shown(parties.lab.get(f"{ALL}/{code}"))["moves"]:
        assert move["actor"] == (None if move["party"] == "sponsor" else "carrier:north")


def test_a_maintenance_release_is_a_child_of_its_own(parties: Parties) -> None:
    code = parties.tested()
    parties.move(parties.approver, code, "approve", document="TA letter 7", software_until="7.1")
    covered = parties.move(parties.vendor, code, "report_release", software="7.0.9")
    assert pointers(problem(covered, 400, "invalid_request")) == {"/software"}

    parent = shown(parties.move(parties.vendor, code, "report_release", software="7.1"))

    assert parent["state"] == "APPROVED"
    [child] = parent["maintenance_releases"]
    assert parent["moved"]["said"]["child"] == child["code"]
    seen = shown(parties.lab.get(f"{ALL}/{child['code']}"))
    assert (seen["state"], seen["parent"]) == ("MR_REVIEW", code)
    problem(parties.elsewhere.get(f"{ALL}/{child['code']}"), 404, "not_found")


# --- who sees what --------------------------------------------------------------------------------------------


def test_nobody_sees_or_touches_what_is_not_theirs(parties: Parties) -> None:
    code = parties.approved()
    sha256 = AcceptanceFile.objects.get().sha256
    before = (Acceptance.objects.values().get(), AcceptanceMove.objects.count())
    for stranger in (parties.elsewhere, parties.rival):
        for method, path, body in (
            ("GET", "", None),
            ("HEAD", "", None),
            ("POST", "/moves", {"move": "revoke", "version": 5, "reason": "x"}),
            ("POST", "/moves", {"nonsense": True}),
            ("GET", "/results", None),
            ("POST", "/results", {"results": [{"phase": "field", "case": "1", "outcome": "failed"}]}),
            ("POST", "/results", {}),
            ("GET", "/files", None),
            ("POST", "/files?kind=other&name=x", PDF),
            ("GET", f"/files/{sha256}", None),
        ):
            answer = stranger.call(method, f"{ALL}/{code}{path}", body)
            assert answer.status_code == 404, (method, path)
        assert shown(stranger.get(ALL))["data"] == []
        assert shown(stranger.get(f"{ALL}?host=north"))["data"] == []
    assert (Acceptance.objects.values().get(), AcceptanceMove.objects.count()) == before


def test_the_shops_own_request_is_the_carriers_and_no_vendors(parties: Parties) -> None:
    own = factories.make_acceptance(host=parties.world.north, variant=parties.world.untested, sponsor="shop")
    problem(parties.vendor.get(f"{ALL}/{own.code}"), 404, "not_found")
    assert shown(parties.desk.get(f"{ALL}/{own.code}"))["sponsor"] is None


@pytest.mark.parametrize("code", ["x", "%00", "TA-2016-0001%2F..", "%ED%A0%80", "a" * 500])
def test_a_code_that_there_is_not(parties: Parties, code: str) -> None:
    for method in ("GET", "POST"):
        assert parties.desk.call(method, f"{ALL}/{code}").status_code in (404, 405)
    problem(parties.desk.post(f"{ALL}/{code}/moves", {}), 404, "not_found")


def test_the_list_is_filtered_and_paged(parties: Parties) -> None:
    for number in range(3):
        parties.ask(hardware_revision=f"P{number}")
    parties.ask(host="south")
    page = shown(parties.vendor.get(f"{ALL}?limit=3"))
    rest = shown(parties.vendor.get(f"{ALL}?limit=3&cursor={page['next_cursor']}"))
    assert (len(page["data"]), len(rest["data"]), rest["has_more"]) == (3, 1, False)
    assert len(shown(parties.desk.get(ALL))["data"]) == 3
    assert len(shown(parties.elsewhere.get(ALL))["data"]) == 1
    for query, count in (
        ("state=REQUESTED", 4),
        ("state=APPROVED", 0),
        ("host=north", 3),
        ("host=nowhere", 0),
        ("variant=PX9-U2", 4),
        ("variant=maker-px9-u2", 4),
        ("variant=PX9-U1", 0),
        (f"changed_since={say(clock.now() + timedelta(days=1))}", 0),
        (f"changed_since={say(clock.now() - timedelta(days=1))}", 4),
    ):
        assert len(shown(parties.vendor.get(f"{ALL}?{query}"))["data"]) == count, query
    for query in ("state=GONE", "changed_since=yesterday", "page=2", "host=%00"):
        problem(parties.vendor.get(f"{ALL}?{query}"), 400, "invalid_request")
    foreign = parties.desk.get(f"{ALL}?limit=3&cursor={page['next_cursor']}")
    problem(foreign, 400, "invalid_request")


def test_no_answer_asks_more_queries_for_more_rows(parties: Parties) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            shown(parties.vendor.get(path))
        return len(captured)

    def more(start: int) -> None:
        for number, state in enumerate(("APPROVED", "CONDITIONAL", "SUSPENDED", "IN_TEST", "MR_REVIEW")):
            minor = 2 * (start + number)
            factories.make_acceptance(
                host=parties.world.north,
                variant=parties.world.untested,
                sponsor=parties.world.vendor,
                software_from=f"1.{minor}",
                software_until=f"1.{minor + 1}",
                software=f"1.{minor}.5",
                state=state,
            )

    code = parties.approved()
    more(0)
    count(ALL)
    few = (count(ALL), count(f"{ALL}/{code}"))
    more(10)
    row = Acceptance.objects.get(code=code)
    AcceptanceResult.objects.bulk_create(
        AcceptanceResult(
            acceptance=row,
            build_no=1,
            phase="field",
            case=str(n),
            outcome="passed",
            actor="x",
            at=clock.now(),
        )
        for n in range(20)
    )
    for name in ("a", "b", "c"):
        parties.lab.post(
            f"{ALL}/{code}/files?kind=other&name={name}", name.encode(), **{"Content-Type": "text/plain"}
        )
    assert (count(ALL), count(f"{ALL}/{code}")) == few


# --- results --------------------------------------------------------------------------------------------------


def test_results_are_the_labs_and_the_last_one_of_a_case_counts(parties: Parties) -> None:
    code = parties.in_test()
    case = {"phase": "field", "case": "F-1", "outcome": "failed", "note": "drops calls"}
    one: dict[str, Any] = {"build_no": 1, "results": [case]}
    for who in (parties.vendor, parties.desk, parties.approver):
        problem(who.post(f"{ALL}/{code}/results", one), 409, "move_refused")
    parties.lab.post(f"{ALL}/{code}/results", one)
    case |= {"outcome": "passed", "note": ""}
    body = shown(parties.lab.post(f"{ALL}/{code}/results", one), 201)

    field = next(phase for phase in body["results"] if phase["phase"] == "field")
    assert field["counts"] == {"passed": 1, "failed": 0, "not_applicable": 0}
    every = shown(parties.vendor.get(f"{ALL}/{code}/results?limit=1"))
    assert every["has_more"]
    assert every["data"][0]["note"] == "drops calls"


def test_one_bad_result_keeps_all_out_and_is_pointed_at(parties: Parties) -> None:
    code = parties.in_test()
    rows = [
        {"phase": "field", "case": "1", "outcome": "passed"},
        {"phase": "field", "case": "", "outcome": "ok"},
    ]
    refused = problem(
        parties.lab.post(f"{ALL}/{code}/results", {"build_no": 1, "results": rows}), 400, "invalid_request"
    )
    assert pointers(refused) == {"/results/1/case", "/results/1/outcome"}
    rows[1] = {"phase": "field", "case": "  ", "outcome": "passed"}
    refused = problem(
        parties.lab.post(f"{ALL}/{code}/results", {"build_no": 1, "results": rows}), 400, "invalid_request"
    )
    assert pointers(refused) == {"/results/1/case"}
    too_many = {"build_no": 1, "results": [rows[0]] * 501}
    problem(parties.lab.post(f"{ALL}/{code}/results", too_many), 400, "invalid_request")
    assert not AcceptanceResult.objects.exists()


def test_results_of_a_build_that_is_not_in_the_lab_any_more_do_not_count_for_the_next(
    parties: Parties,
) -> None:
    code = parties.in_test()
    failed = [{"phase": "field", "case": "F-1", "outcome": "failed"}]
    shown(parties.lab.post(f"{ALL}/{code}/results", {"build_no": 1, "results": failed}), 201)
    for move, inputs in (("open_issues", {"reason": "F-1"}), ("submit_build", {"software": "7.0.6"})):
        assert parties.move(parties.lab, code, move, **inputs).status_code == 200

    passed = [{"phase": phase, "case": "all", "outcome": "passed"} for phase in PHASES]
    refused = problem(
        parties.lab.post(f"{ALL}/{code}/results", {"build_no": 1, "results": passed}), 409, "move_refused"
    )

    assert "build 2" in refused["detail"]
    assert AcceptanceResult.objects.count() == 1
    left_out = problem(parties.lab.post(f"{ALL}/{code}/results", {"results": passed}), 400, "invalid_request")
    assert pointers(left_out) == {"/build_no"}
    shown(parties.lab.post(f"{ALL}/{code}/results", {"build_no": 2, "results": passed}), 201)


# --- how much -------------------------------------------------------------------------------------------------


def test_a_sponsor_has_so_many_requests_under_way_with_a_host(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance_limits, "OPEN_REQUESTS", 2)
    codes = [shown(parties.ask(software_from=f"7.{n}"), 201)["code"] for n in range(2)]

    refused = problem(parties.ask(software_from="7.5"), 409, "limit_reached")

    assert "Withdraw one" in refused["detail"]
    assert Acceptance.objects.count() == 2
    assert outbox_of_moves() == 2
    # What is there already, another host, and another sponsor are not concerned.
    assert shown(parties.ask(software_from="7.0"))["unchanged"] is True
    assert parties.ask(software_from="7.5", host="south").status_code == 201
    assert parties.rival.post(ALL, parties.wanted(software_from="7.5")).status_code == 201
    assert parties.move(parties.vendor, codes[0], "withdraw", reason="Not needed.").status_code == 200
    assert parties.ask(software_from="7.6").status_code == 201


def outbox_of_moves() -> int:
    return OutboxRow.objects.filter(event="acceptance.moved", handler="").count()


def test_what_is_approved_leaves_room_and_a_release_takes_some(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = approved_of(parties)
    monkeypatch.setattr(acceptance_limits, "OPEN_REQUESTS", 0)
    release = {"software": "8.0", "software_from": "8.0"}
    problem(parties.move(parties.vendor, row.code, "report_release", **release), 409, "limit_reached")
    assert Acceptance.objects.count() == 1
    monkeypatch.setattr(acceptance_limits, "OPEN_REQUESTS", 1)
    assert parties.move(parties.vendor, row.code, "report_release", **release).status_code == 200


def approved_of(parties: Parties) -> Acceptance:
    return factories.make_acceptance(
        state="APPROVED",
        host=parties.world.north,
        variant=parties.world.untested,
        sponsor=parties.world.vendor,
        software_until="8.0",
    )


def test_who_asks_or_moves_too_often_is_told_when_to_come_again(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance_limits, "REQUESTS_PER_HOUR", 1)
    monkeypatch.setattr(acceptance_limits, "AMENDS_PER_HOUR", 1)
    monkeypatch.setattr(acceptance_limits, "MOVES_OF_SPONSOR_PER_HOUR", 2)
    code = shown(parties.ask(), 201)["code"]
    late = parties.ask(software_from="9")
    assert "at most 1 in an hour" in problem(late, 429, "too_many_requests")["detail"]
    assert 0 < int(late["Retry-After"]) <= 3600

    assert parties.move(parties.vendor, code, "amend", certificate="P-2").status_code == 200
    problem(parties.move(parties.vendor, code, "amend", certificate="P-3"), 429, "too_many_requests")
    assert parties.move(parties.vendor, code, "withdraw", reason="No.").status_code == 200
    assert Acceptance.objects.get().certificate == "P-2"
    rivals = shown(parties.rival.post(ALL, parties.wanted(software_from="9")), 201)["code"]
    assert parties.move(parties.rival, rivals, "amend", certificate="P-4").status_code == 200


def test_a_stop_is_never_too_often(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    row = approved_of(parties)
    monkeypatch.setattr(acceptance_limits, "MOVES_OF_HOST_PER_HOUR", 0)
    assert parties.move(parties.approver, row.code, "suspend", reason="Calls drop.").status_code == 200
    problem(parties.move(parties.approver, row.code, "resume", reason="Mended."), 429, "too_many_requests")
    assert parties.move(parties.approver, row.code, "revoke", reason="For good.").status_code == 200


def test_the_files_of_an_acceptance_have_so_many_bytes_and_so_many_names(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = shown(parties.ask(), 201)["code"]
    path = f"{ALL}/{code}/files?kind=test_report&name=report.pdf"
    monkeypatch.setattr(acceptance_limits, "BYTES_OF_FILES", 2 * len(PDF) + 1)
    assert [send(parties.vendor, path, PDF + end).status_code for end in (b"", b"1")] == [201, 201]

    refused = problem(send(parties.vendor, path, PDF + b"2"), 409, "limit_reached")

    assert "0 are left" in refused["detail"]
    assert AcceptanceFile.objects.count() == 2
    assert send(parties.vendor, path, PDF).status_code == 200, "what is there already is answered"
    monkeypatch.setattr(acceptance_limits, "BYTES_OF_FILES", 10**6)
    monkeypatch.setattr(evidence, "MAX_FILES", 2)
    refused = problem(send(parties.vendor, path, PDF + b"2"), 409, "move_refused")
    assert "put several into one" in refused["detail"]
    monkeypatch.setattr(acceptance_limits, "FILES_PER_HOUR", 1)
    problem(send(parties.vendor, path, PDF + b"3"), 429, "too_many_requests")
    assert AcceptanceFile.objects.count() == 2


# --- what is said ---------------------------------------------------------------------------------------------


def test_what_the_host_approved_stands_beside_what_was_asked_for(parties: Parties) -> None:
    code = parties.tested()
    assert shown(parties.vendor.get(f"{ALL}/{code}"))["approved_software"] is None
    parties.move(parties.approver, code, "approve", document="L 7", software_until="7.5")
    for who in (parties.vendor, parties.lab):
        whole = shown(who.get(f"{ALL}/{code}"))
        (listed,) = shown(who.get(ALL))["data"]
        for each in (whole, listed):
            assert (each["software_from"], each["software_until"]) == ("7.0", "")
            assert each["approved_software"] == {"from": "7.0", "until": "7.5"}
    terms = {"reason": "7.2 drops calls.", "limits": "Roaming off", "software_until": "7.2"}
    assert parties.move(parties.approver, code, "restrict", **terms).status_code == 200
    assert shown(parties.vendor.get(f"{ALL}/{code}"))["approved_software"] == {"from": "7.0", "until": "7.2"}


@pytest.mark.parametrize("kind", ["hold", "revocation"])
def test_what_the_desk_notes_for_itself_is_told_to_nobody(
    parties: Parties, kind: str, mailoutbox: list[EmailMessage]
) -> None:
    code = parties.approved()
    approval = cast(int, Acceptance.objects.get().approval_id)
    secret = "Their lawyer called; do not let them know."
    change: Change = (
        RevokeApproval(approval, "SHOP_REVIEW")
        if kind == "revocation"
        else PlaceHold(
            code="H-1",
            placed_by="the shop",
            reason_code="SHOP_REVIEW",
            note=secret,
            targets=(("fact", str(approval)),),
        )
    )
    at = clock.now()
    seen = withdrawals.preview(change, at=at).impact
    withdrawals.confirm(
        change,
        digest=seen.digest,
        token=seen.token,
        requested_by="the shop",
        word_received_at=at,
        note=secret,
        by=Actor("user", "counsel"),
        at=at,
    )
    told = [shown(who.get(f"{ALL}/{code}")) for who in (parties.vendor, parties.lab)]
    assert [each["moves"][-1]["reason"] for each in told] == ["The shop reviews the case"] * 2
    assert not [each for each in told if "lawyer" in json.dumps(each) or "counsel" in json.dumps(each)]
    last = AcceptanceMove.objects.order_by("-pk")[0]
    for to, party in (("sponsor", parties.world.vendor), ("host", parties.world.north)):
        type(party).objects.filter(pk=party.pk).update(contact_email=f"{to}@example.com")
        payload = {"to": to, "id": party.pk, "moves": [last.pk]}
        acceptances_told.tell_of_moves(payload=payload, event_id=uuid4(), at=at)
    bodies = [str(mail.body) for mail in mailoutbox]
    assert len(bodies) == 2
    assert not [body for body in bodies if "lawyer" in body or "counsel" in body or "SHOP_REVIEW" in body]
    assert all("Reason: The shop reviews the case" in body for body in bodies)
    # A row of before, with the note where the code stands now.
    last.reason = secret
    assert reason_told(last) == ""


def test_the_write_itself_asks_whose_it_is(parties: Parties) -> None:
    parties.approved()
    row = Acceptance.objects.select_related("host").get()
    stranger = Doer(Actor("user", "stranger"), Party.HOST_APPROVER, host_id=parties.world.south.pk)
    for move, withdraw in acceptance_withdrawals.BY_MOVE.items():
        inputs = {"limits": "Roaming off"} if move == "restrict" else {}
        with pytest.raises(MoveRefused, match="not yours"):
            withdraw(acceptance=row, by=stranger, at=clock.now(), reason="Calls drop.", **inputs)
    assert not Revocation.objects.exists()


def test_the_reason_of_a_move_on_the_hosts_word_is_told(parties: Parties) -> None:
    code = parties.approved()
    parties.move(parties.approver, code, "suspend", reason="Calls drop.")
    assert shown(parties.vendor.get(f"{ALL}/{code}"))["moves"][-1]["reason"] == "Calls drop."


@pytest.mark.parametrize("length", [500, 501])
def test_a_document_is_named_as_long_here_as_at_the_desk(parties: Parties, length: int) -> None:
    code = parties.tested()
    answer = parties.move(parties.approver, code, "approve", document="L" * length)
    assert answer.status_code == (200 if length == 500 else 400), answer.content


# --- files ----------------------------------------------------------------------------------------------------


def send(who: Caller, path: str, content: bytes, content_type: str = "application/pdf") -> HttpResponse:
    return who.post(path, content, **{"Content-Type": content_type})


def send_form(who: Caller, path: str, **fields: Any) -> Any:
    return who.client.post(path, fields, headers={"Authorization": f"Bearer {who.secret}"})


def test_a_file_is_kept_once_and_handed_out_as_a_download(parties: Parties) -> None:
    code = shown(parties.ask(), 201)["code"]
    path = f"{ALL}/{code}/files"
    first = send(parties.vendor, f"{path}?kind=certificate&name=..%2Fetc%2Fgrant%20%22x%22.pdf", PDF)
    kept = shown(first, 201)
    assert kept["sha256"] == hashlib.sha256(PDF).hexdigest()
    assert (kept["name"], kept["content_type"], kept["size"]) == (
        'grant "x".pdf',
        "application/pdf",
        len(PDF),
    )
    again = shown(send(parties.vendor, f"{path}?kind=other&name=again.pdf", PDF))
    assert again["name"] == 'grant "x".pdf'
    assert AcceptanceFile.objects.count() == 1

    answer = parties.lab.get(kept["href"], Accept="application/pdf")

    assert answer.content == PDF
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert "no-store" in answer["Cache-Control"]
    for wrong in ("ab" * 32, "AB", kept["sha256"].upper(), "..", "%00"):
        assert parties.lab.get(f"{path}/{wrong}").status_code == 404


def test_a_file_in_a_form(parties: Parties) -> None:
    code = shown(parties.ask(), 201)["code"]
    path = f"{ALL}/{code}/files"
    done = send_form(
        parties.lab, path, kind="test_report", file=SimpleUploadedFile("run.csv", b"a,b\n1,2\n", "image/png")
    )
    assert shown(done, 201)["content_type"] == "text/csv", "by its content, not by what it is called"
    for fields in (
        {"kind": "test_report"},
        {"file": SimpleUploadedFile("x.txt", b"text")},
        {"kind": "nonsense", "file": SimpleUploadedFile("x.txt", b"text")},
        {"kind": "other", "file": SimpleUploadedFile("x.txt", b"")},
        {"kind": "other", "colour": "red", "file": SimpleUploadedFile("x.txt", b"text")},
        {"kind": "other", "name": "a\x00b", "file": SimpleUploadedFile("x.txt", b"text")},
        {"kind": "other", "other": SimpleUploadedFile("x.txt", b"text")},
    ):
        assert problem(send_form(parties.lab, path, **fields), 400, "invalid_request")["errors"], fields
    broken = send(parties.lab, path, b"--x\r\nnonsense", "multipart/form-data; boundary=x")
    problem(broken, 400, "invalid_request")
    problem(send(parties.lab, path, b"x", "multipart/form-data"), 400, "invalid_request")
    assert AcceptanceFile.objects.count() == 1


@pytest.mark.parametrize(
    "content", [b"MZ\x90\x00\x03", b"\x00\x01\x02", b"<svg", b"GIF89a\xff\xfe", b"PK\x03\x04\x00"]
)
def test_a_file_of_another_type_is_415_whatever_it_is_called(parties: Parties, content: bytes) -> None:
    code = shown(parties.ask(), 201)["code"]
    answer = send(parties.vendor, f"{ALL}/{code}/files?kind=other&name=report.pdf", content)
    if content == b"<svg":
        # Text it is, and a download it stays.
        assert shown(answer, 201)["content_type"] == "text/plain"
    else:
        problem(answer, 415, "unsupported_media_type")
        assert not AcceptanceFile.objects.exists()


def test_a_file_is_not_json_not_empty_and_has_a_kind_and_a_name(parties: Parties) -> None:
    code = shown(parties.ask(), 201)["code"]
    path = f"{ALL}/{code}/files"
    problem(
        send(parties.vendor, f"{path}?kind=other&name=x", b"{}", "application/json"),
        415,
        "unsupported_media_type",
    )
    assert pointers(problem(send(parties.vendor, path, PDF), 400, "invalid_request")) == {"/kind", "/name"}
    problem(send(parties.vendor, f"{path}?kind=other&name=x", b""), 400, "invalid_request")
    problem(send(parties.vendor, f"{path}?kind=other&name=..%2F", PDF), 400, "invalid_request")
    problem(send(parties.vendor, f"{path}?kind=other&name=%0A%0D", PDF), 400, "invalid_request")
    problem(send(parties.vendor, f"{path}?kind=what&name=x", PDF), 400, "invalid_request")
    assert not AcceptanceFile.objects.exists()


def test_a_file_over_the_limit_is_413_before_it_is_read(parties: Parties) -> None:
    code = shown(parties.ask(), 201)["code"]
    path = f"{ALL}/{code}/files?kind=other&name=big.txt"
    most = b"x" * MAX_BYTES
    assert send(parties.vendor, path, most, "text/plain").status_code == 201
    over = problem(send(parties.vendor, path, most + b"x", "text/plain"), 413, "payload_too_large")
    assert str(MAX_BYTES) in over["detail"]
    announced = parties.vendor.client.generic(
        "POST",
        path,
        b"x",
        content_type="text/plain",
        headers={"Authorization": f"Bearer {parties.vendor.secret}"},
        CONTENT_LENGTH="999999999999",
    )
    problem(cast(HttpResponse, announced), 413, "payload_too_large")
    form = send_form(
        parties.vendor, f"{ALL}/{code}/files", kind="other", file=SimpleUploadedFile("b", most + b"x")
    )
    problem(form, 413, "payload_too_large")


# --- what takes authority away --------------------------------------------------------------------------------


def on_sale(parties: Parties, code: str) -> ListingHost:
    body = parties.world.body(variant="PX9-U2", software="7.0.5")
    parties.vendor.put("/v1/listings/A-1", body)
    assert parties.vendor.post("/v1/listings/A-1/publish").status_code == 200
    return ListingHost.objects.select_related("listing", "host").get(listing__sku="A-1")


def test_a_carriers_word_stops_the_sale_with_every_worker_dead(parties: Parties, provider: object) -> None:
    code = parties.approved()
    offer = on_sale(parties, code)
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=1, at=clock.now())

    done = shown(
        parties.move(
            parties.approver,
            code,
            "revoke",
            reason="Emergency calls fail.",
            phase_out_until=say(clock.now() + timedelta(days=90)),
        )
    )

    assert (done["state"], done["withdrawal"]["offers"]) == ("REVOKED", 1)
    assert done["phase_out_until"] is not None
    # Nobody has pumped the outbox: the page may still be there, the sale is not.
    offer.refresh_from_db()
    assert offer.state == OfferState.LIVE
    with pytest.raises(CheckoutRefused):
        check_out(cart)
    assert RefusedCheckout.objects.get().reason_codes == ["CARRIER_APPROVAL_REVOKED"]
    revocation = Revocation.objects.get()
    assert (revocation.requested_by, revocation.actor) == (parties.world.north.name, "carrier:north")
    assert revocation.word_received_at == revocation.effective_at

    outbox.pump()

    offer.refresh_from_db()
    assert offer.state == OfferState.SUSPENDED
    assert parties.vendor.post("/v1/listings/A-1/publish").status_code == 409


def test_a_suspension_is_lifted_by_the_carrier_and_the_offer_returns(parties: Parties) -> None:
    code = parties.approved()
    offer = on_sale(parties, code)
    done = shown(parties.move(parties.approver, code, "suspend", reason="Field fault."))
    assert (done["state"], done["withdrawal"]["offers"]) == ("SUSPENDED", 1)
    outbox.pump()
    offer.refresh_from_db()
    assert offer.state == OfferState.SUSPENDED

    decider = carrier_caller(parties.world.north, "approver")
    back = shown(parties.move(decider, code, "resume", reason="Mended."))

    assert back["state"] == "APPROVED"
    outbox.pump()
    offer.refresh_from_db()
    assert offer.state == OfferState.LIVE
    second = shown(parties.move(parties.approver, code, "suspend", reason="Again."))
    assert second["state"] == "SUSPENDED"


def test_limits_take_away_less(parties: Parties) -> None:
    code = parties.approved()
    on_sale(parties, code)
    done = shown(
        parties.move(
            parties.approver, code, "restrict", reason="Older builds drop calls.", limits="No VoLTE roaming"
        )
    )
    assert (done["state"], done["limits"], done["withdrawal"]["offers"]) == (
        "CONDITIONAL",
        "No VoLTE roaming",
        0,
    )
    until = say(clock.now() + timedelta(days=3))
    waived = {"limits": "No VoLTE roaming", "waived_until": until}
    done = shown(parties.move(parties.approver, code, "restrict", reason="Until the next build.", **waived))
    assert (done["withdrawal"]["offers"], done["withdrawal"]["offers_later"]) == (0, 1)


def test_a_revocation_for_a_later_day_waits_for_it(parties: Parties) -> None:
    code = parties.approved()
    on_sale(parties, code)
    later = clock.now() + timedelta(days=3)
    done = shown(
        parties.move(parties.approver, code, "revoke", reason="End of tests.", effective_at=say(later))
    )
    assert (done["effective_state"], done["withdrawal"]["effective_at"]) == ("APPROVED", say(later))
    past = parties.move(
        parties.approver, code, "revoke", reason="x", effective_at=say(clock.now() - timedelta(days=1))
    )
    assert pointers(problem(past, 400, "invalid_request")) == {"/effective_at"}


def test_the_pages_of_many_offers_wait_for_a_second_person_and_the_sale_does_not(
    parties: Parties, settings: Any
) -> None:
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0
    code = parties.approved()
    offer = on_sale(parties, code)
    assert parties.move(parties.approver, code, "revoke", reason="x").status_code == 200
    outbox.pump()
    offer.refresh_from_db()
    assert offer.state == OfferState.LIVE
    removal = PendingChange.objects.get(kind=PendingChange.Kind.REMOVAL)
    assert removal.state == PendingChange.State.OPEN
    shown_offer = json.loads(parties.vendor.get("/v1/listings/A-1").content)["offers"][0]
    assert not shown_offer["is_for_sale"]


def test_it_goes_on_when_the_world_moves_between_preview_and_confirmation(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = parties.approved()
    offer = on_sale(parties, code)
    confirm = withdrawals.confirm
    moves: list[bool] = []

    def moved_first(*args: Any, **kwargs: Any) -> Any:
        if not moves:
            moves.append(True)
            offers.withdraw_listing(listing=offer.listing, by=factories.BUILDER, at=clock.now())
        return confirm(*args, **kwargs)

    monkeypatch.setattr(withdrawals, "confirm", moved_first)
    done = shown(parties.move(parties.approver, code, "revoke", reason="x"))
    assert moves
    assert (done["state"], done["withdrawal"]["offers"]) == ("REVOKED", 0)


def test_only_the_approver_takes_authority_away(parties: Parties) -> None:
    code = parties.approved()
    for who in (parties.vendor, parties.desk, parties.lab):
        for move in ("suspend", "revoke"):
            problem(parties.move(who, code, move, reason="x"), 409, "move_refused")
    assert not Revocation.objects.exists()


# --- whatever is sent -----------------------------------------------------------------------------------------

instants = near(
    "2030-01-01T00:00:00Z", "1999-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
)
words = near("A word.", "7.0.5", " ", "x" * 5000)
move_bodies = st.fixed_dictionaries(
    {},
    optional={
        "move": near(
            "approve", "take_in", "give_slot", "withdraw", "amend", "revoke", "suspend", "report_release"
        ),
        "version": near(1, 2, 5, 0, 2**40),
        **{
            name.value: instants if name.value.endswith(("_at", "_from", "_until")) else words
            for name in Input
            if name not in (Input.TACS, Input.SOFTWARE_FROM, Input.SOFTWARE_UNTIL)
        },
        "software_from": words,
        "software_until": words,
        "tacs": st.lists(near("00123456", "1", "", 7), max_size=3) | any_json,
    },
)
request_bodies = st.fixed_dictionaries(
    {},
    optional={
        "host": near("north", "south", "west"),
        "variant": near("PX9-U2", "PX9-U1", "PX9-U9"),
        "request_type": near("initial", "variant", "eco", "mr"),
        "hardware_revision": words,
        "software_from": near("7", "7.0", "...", "9" * 30),
        "software_until": near("8", "6", ""),
        "tacs": st.lists(near("00123456", "0" * 8, "x"), max_size=3) | any_json,
        "fcc_id": words,
        "certificate": words,
        "code": any_json,
    },
)
result_bodies = st.fixed_dictionaries(
    {},
    optional={
        "build_no": near(1, 2, 0, 2**40),
        "results": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "phase": near(*PHASES),
                    "case": words,
                    "outcome": near("passed", "failed", "not_applicable"),
                    "note": words,
                },
            )
            | any_json,
            max_size=3,
        )
        | any_json,
    },
)


@examples(150)
@given(body=request_bodies | any_json | st.binary(max_size=20))
def test_any_request_is_kept_or_refused(parties: Parties, body: Any) -> None:
    answer = parties.vendor.post(ALL, body)
    assert answer.status_code in (200, 201, 400, 409, 429), answer.content


@pytest.mark.parametrize("state", ["REQUESTED", "IN_TEST", "APPROVED"])
def test_any_move_is_made_or_refused(parties: Parties, state: str) -> None:
    row = factories.make_acceptance(
        state=state, host=parties.world.north, variant=parties.world.untested, sponsor=parties.world.vendor
    )
    whole = carrier_caller(parties.world.north)

    @examples(80)
    @given(body=move_bodies | any_json, is_vendor=st.booleans())
    def try_one(body: Any, is_vendor: bool) -> None:
        if isinstance(body, dict) and body.get("version") == 5:
            body["version"] = Acceptance.objects.get(pk=row.pk).version
        who = parties.vendor if is_vendor else whole
        answer = who.post(f"{ALL}/{row.code}/moves", body)
        assert answer.status_code in (200, 400, 409, 429), answer.content

    try_one()


@examples(80)
@given(body=result_bodies | any_json | st.binary(max_size=20))
def test_any_results_are_kept_or_refused(parties: Parties, body: Any) -> None:
    code = (
        Acceptance.objects.filter(state="IN_TEST").values_list("code", flat=True).first() or parties.in_test()
    )
    assert parties.lab.post(f"{ALL}/{code}/results", body).status_code in (201, 400, 409)


@examples(80)
@given(
    content=st.binary(max_size=60) | st.just(PDF),
    content_type=st.sampled_from(
        [
            "application/pdf",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "",
            "text/plain",
            "a/b;;=",
        ]
    ),
    name=st.text(st.characters(codec="utf-8"), max_size=8),
)
def test_any_file_is_kept_or_refused_and_can_be_read(
    parties: Parties, content: bytes, content_type: str, name: str
) -> None:
    code = Acceptance.objects.values_list("code", flat=True).first() or shown(parties.ask(), 201)["code"]
    answer = send(parties.vendor, f"{ALL}/{code}/files?kind=other&name={quote(name)}", content, content_type)
    assert answer.status_code in (200, 201, 400, 409, 415), answer.content
    if answer.status_code < 300:
        assert parties.vendor.get(json.loads(answer.content)["href"]).content == content
