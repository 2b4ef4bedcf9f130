"""Technical acceptances at the desk: the list, the page of one, its moves, results, files, and the two pages."""

import re
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from authorization import clock, outbox
from authorization.acceptances.evidence import MAX_BYTES
from authorization.models import Acceptance, AcceptanceFile, AcceptanceResult, ApprovalVersion, Revocation
from catalog.models import OfferState
from seeds import factories
from seeds.factories import HostCarrierFactory, make_acceptance, make_sellable
from storefront import acceptance_limits
from storefront.admin.acceptances import WAITS_FOR
from storefront.roles import DESK
from tests.storefront.desk_pages import client_of, go_through, list_url, page, review, text, word

pytestmark = pytest.mark.django_db

LIST = "admin:authorization_acceptance_changelist"
ON_THE_WORD = {"reason": "They wrote so.", "document": "Letter of 2 February"}


@pytest.fixture
def desk():
    return client_of(DESK)


@pytest.fixture
def north():
    return HostCarrierFactory.create(code="north", name="North Wireless")


def url_of(row, name="authorization_acceptance_change", *rest):
    return reverse(f"admin:{name}", args=[row.pk, *rest])


def typed_for(client, url, **typed):
    """What the form opens on, with these values typed."""
    form = client.get(url).context["form"]
    opened = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in opened.items() if value not in (None, "")} | typed


# --- the list -------------------------------------------------------------------------------------------------


def test_the_list_says_where_each_stands_and_who_acts_next(desk, north):
    make_acceptance(host=north, state="REQUESTED", code="TA-NEW")
    make_acceptance(host=north, state="WAIVER_PENDING", code="TA-WAIVER")
    make_acceptance(host=north, state="APPROVED", sponsor="shop", code="TA-OURS")
    shown = page(desk.get(reverse(LIST)))
    for said in ("certification desk", "approver", "nobody", "the shop", "waiver pending", "North Wireless"):
        assert said in shown
    for value in WAITS_FOR:
        shown = page(desk.get(reverse(LIST), {"next": value}))
        assert ("TA-NEW" in shown) == (value == "host's certification desk")
        assert ("TA-OURS" in shown) == (value == "nobody")
    assert "TA-NEW" not in page(desk.get(reverse(LIST), {"state__exact": "APPROVED"}))
    assert "TA-WAIVER" in page(desk.get(reverse(LIST), {"q": "WAIVER"}))


def test_what_has_ended_by_itself_counts_as_ended_before_a_worker_says_so(desk, north, monkeypatch):
    row = make_acceptance(
        host=north, state="APPROVED", valid_until=clock.now() + timedelta(days=1), code="TA-ENDS"
    )
    later = clock.now() + timedelta(days=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert re.search(r"TA-ENDS.*expired", page(desk.get(reverse(LIST))))
    shown = page(desk.get(url_of(row)))
    assert "now: expired" in shown
    assert "What you may do now" not in shown


def test_no_page_asks_more_queries_for_more_rows(desk, north):
    def count(url):
        with CaptureQueriesContext(connection) as captured:
            assert desk.get(url).status_code == 200
        return len(captured)

    rows = [
        make_acceptance(host=north, state=state)
        for state in ("APPROVED", "SUSPENDED", "IN_TEST", "MR_REVIEW")
    ]
    of_one = url_of(rows[2])
    count(reverse(LIST))
    few = (count(reverse(LIST)), count(of_one))
    for state in ("APPROVED", "SUSPENDED", "IN_TEST", "CONDITIONAL", "MR_REVIEW"):
        make_acceptance(host=north, state=state)
    AcceptanceResult.objects.bulk_create(
        AcceptanceResult(
            acceptance=rows[2],
            build_no=1,
            phase="field",
            case=str(n),
            outcome="passed",
            actor="x",
            at=clock.now(),
        )
        for n in range(15)
    )
    assert (count(reverse(LIST)), count(of_one)) == few


@pytest.mark.parametrize(
    "query",
    [
        "state__exact",
        "next",
        "variant",
        "sponsor__id__exact",
        "host__id__exact",
        "approval__code",
        "p",
        "o",
        "q",
    ],
)
def test_a_filter_with_a_nul_is_a_bad_request_and_no_fault_of_ours(desk, north, query):
    make_acceptance(host=north)
    for typed in ({query: "\x00"}, {f"{query}\x00": "1"}):
        assert desk.get(reverse(LIST), typed).status_code == 400


def test_what_is_left_empty_of_the_limits_stays_as_it_is(desk, north):
    row = make_acceptance(host=north, state="APPROVED", software_until="8", code="TA-KEPT")
    url = url_of(row, "acceptance_withdraw", "restrict")
    data = of_host(
        desk, url, note="Roaming fails.", limits="Roaming off", software_from="", software_until=""
    )
    assert go_through(desk, url, data).status_code == 302
    version = ApprovalVersion.objects.current().get(head=row.approval)
    assert (version.limits, version.software_until) == ("Roaming off", "8")
    assert version.software_from == row.software_from


def test_the_list_and_the_page_say_what_was_approved_beside_what_was_asked_for(desk, north):
    row = make_acceptance(host=north, state="APPROVED", code="TA-NARROW")
    assert "approved:" not in page(desk.get(reverse(LIST)))
    url = url_of(row, "acceptance_withdraw", "restrict")
    data = of_host(desk, url, note="7.9 drops calls.", limits="Roaming off", software_until="7.9")
    assert go_through(desk, url, data).status_code == 302
    assert "any; approved: before 7.9" in page(desk.get(reverse(LIST)))
    shown = " ".join(strip_tags(page(desk.get(url_of(row)))).split())
    assert "Software asked for any" in shown
    assert "Software approved before 7.9" in shown


# --- one acceptance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", Acceptance.State.values)
def test_every_state_has_a_page_that_marks_it(desk, north, state):
    row = make_acceptance(host=north, state=state)
    shown = page(desk.get(url_of(row)))
    assert shown.count('aria-current="step"') == 1
    assert f"now: {Acceptance.State(state).label}" in shown.replace("&#x27;", "'")


def test_the_page_says_what_is_missing_and_what_happened(desk, north):
    row = make_acceptance(host=north, state="IN_TEST", code="TA-1")
    shown = page(desk.get(url_of(row)))
    assert "Missing before it can be approved" in shown
    assert "then approved" in shown
    assert "requested → papers under review" in shown
    assert "declaration.txt" in shown
    assert "Results on build 1" in shown


def test_a_row_that_there_is_not_is_404(desk):
    for pk in ("99999", "x", "1%2F2", "9" * 30):
        assert desk.get(f"/admin/authorization/acceptance/{pk}/change/").status_code in (302, 404)


def test_the_desk_leads_a_phone_to_an_approval_on_the_hosts_word(desk, north):
    row = make_acceptance(host=north, state="INTAKE_REVIEW", code="TA-1")
    at = clock.now()
    steps = (
        (
            "give_slot",
            {"lab_slot_from": text(at), "lab_slot_until": text(at + timedelta(days=3)), "software": "7.0.5"},
        ),
        ("start_tests", {"software": "7.0.5"}),
    )
    for move, inputs in steps:
        url = url_of(row, "acceptance_move", move)
        done = desk.post(url, typed_for(desk, url, **inputs, **ON_THE_WORD), follow=True)
        assert "done. It is" in page(done), move
        row.refresh_from_db()
    desk.post(
        url_of(row, "acceptance_results"), lines() | {"pasted": "\n".join(f"{p},all,passed" for p in PHASES)}
    )
    url = url_of(row, "acceptance_move", "approve")
    assert desk.post(url, typed_for(desk, url, **ON_THE_WORD)).status_code == 302
    row.refresh_from_db()
    assert row.state == "APPROVED"
    last = row.moves.latest("number")
    assert (last.party, last.actor, last.detail["document"]) == ("shop", "user:desk", "Letter of 2 February")
    assert ApprovalVersion.objects.current().get(head=row.approval).state == "approved"


PHASES = ("conformance", "interoperability", "field", "volte", "e911")


def test_without_reason_or_document_the_form_comes_back_with_what_was_typed(desk, north):
    row = make_acceptance(host=north, state="INTAKE_REVIEW")
    url = url_of(row, "acceptance_move", "give_slot")
    back = page(desk.post(url, {"software": "7.0.5-typed", "version": row.version}))
    assert back.count("This field is required") == 4
    assert "7.0.5-typed" in back
    wrong = typed_for(
        desk,
        url,
        software="7.0.5-typed",
        lab_slot_from=text(clock.now() + timedelta(days=3)),
        lab_slot_until=text(clock.now()),
        **ON_THE_WORD,
    )
    back = page(desk.post(url, wrong))
    assert "ends before it begins" in back
    assert "7.0.5-typed" in back
    row.refresh_from_db()
    assert row.state == "INTAKE_REVIEW"


def test_who_looked_at_another_version_is_told(desk, north):
    row = make_acceptance(host=north, state="REQUESTED")
    url = url_of(row, "acceptance_move", "take_in")
    stale = typed_for(desk, url, **ON_THE_WORD) | {"version": row.version + 7}
    back = page(desk.post(url, stale))
    assert "has moved since you looked" in back
    assert "They wrote so." in back
    for nonsense in ("", "x", "-1", "9" * 30):
        assert "has moved since" in page(desk.post(url, stale | {"version": nonsense}))
    row.refresh_from_db()
    assert row.state == "REQUESTED"


def test_an_approval_that_lacks_something_says_what(desk, north):
    row = make_acceptance(host=north, state="IN_TEST")
    url = url_of(row, "acceptance_move", "approve")
    back = page(desk.post(url, typed_for(desk, url, **ON_THE_WORD)))
    assert "is not ready" in back
    assert "No result of field" in back


def test_a_move_that_is_not_open_leads_back_with_the_reason(desk, north):
    row = make_acceptance(host=north, state="REQUESTED")
    for name, move in (
        ("acceptance_move", "approve"),
        ("acceptance_move", "expire"),
        ("acceptance_move", "nonsense"),
        ("acceptance_withdraw", "revoke"),
    ):
        for method in ("get", "post"):
            answer = getattr(desk, method)(url_of(row, name, move), follow=True)
            assert answer.redirect_chain[0][0] == url_of(row)
            assert "is not open to you" in page(answer)
    assert desk.get(url_of(row, "acceptance_withdraw", "approve")).status_code == 404


def test_the_shop_asks_for_itself_and_does_not_approve_that(desk, north):
    variant = factories.VariantFactory.create()
    add = reverse("admin:authorization_acceptance_add")
    typed = {"host": north.pk, "variant": variant.pk, "request_type": "initial", "tacs": "00123456, 00123457"}
    assert "so asks" not in page(desk.get(add))
    assert "is no TAC" in page(desk.post(add, typed | {"tacs": "12"}))
    assert desk.post(add, typed).status_code == 302
    row = Acceptance.objects.get()
    assert (row.sponsor, row.tacs) == (None, ["00123456", "00123457"])
    assert "open with this host already" in page(desk.post(add, typed))
    tested = make_acceptance(host=north, state="IN_TEST", sponsor="shop")
    factories.record_build(tested, at=clock.now())
    shown = page(desk.get(url_of(tested)))
    assert url_of(tested, "acceptance_move", "approve") not in shown
    assert "Ask for a waiver" in shown


def test_the_shop_names_no_more_codes_than_there_may_be(desk, north):
    url = reverse("admin:authorization_acceptance_add")
    variant = factories.VariantFactory.create()
    typed = {"host": north.pk, "variant": variant.pk, "request_type": "initial"}
    codes = [f"{number:08d}" for number in range(101)]
    for tacs, said in ((",".join(codes), "name at most 100"), ("0" * 5000, "at most 1000 characters")):
        back = desk.post(url, typed | {"tacs": tacs})
        assert said in page(back)
    assert not Acceptance.objects.exists()
    assert desk.post(url, typed | {"tacs": ", ".join(codes[:100])}).status_code == 302
    assert len(Acceptance.objects.get().tacs) == 100


def test_the_shop_too_has_so_many_requests_under_way(desk, north, monkeypatch):
    monkeypatch.setattr(acceptance_limits, "OPEN_REQUESTS", 1)
    make_acceptance(host=north, sponsor="shop", state="REQUESTED")
    variant = factories.VariantFactory.create()
    typed = {"host": north.pk, "variant": variant.pk, "request_type": "initial", "certificate": "P-7"}
    shown = page(desk.post(reverse("admin:authorization_acceptance_add"), typed))
    assert "Withdraw one that you do not need" in shown
    assert "P-7" in shown
    assert Acceptance.objects.count() == 1


def test_the_desk_makes_no_move_of_a_vendor(desk, north):
    row = make_acceptance(host=north, state="IN_TEST")
    shown = page(desk.get(url_of(row)))
    assert "Ask for a waiver" not in shown
    assert desk.post(url_of(row, "acceptance_move", "withdraw")).status_code == 302
    row.refresh_from_db()
    assert row.state == "IN_TEST"


# --- results and files ----------------------------------------------------------------------------------------


def lines(*rows):
    data = {"line-TOTAL_FORMS": "8", "line-INITIAL_FORMS": "0", "pasted": "", "build_no": "1"}
    for number, row in enumerate(rows):
        data |= {f"line-{number}-{name}": value for name, value in row.items()}
    return data


def test_results_are_typed_in_lines_and_pasted(desk, north):
    row = make_acceptance(host=north, state="IN_TEST")
    url = url_of(row, "acceptance_results")
    assert page(desk.get(url)).count("of line") == 32
    one = {"phase": "field", "case": "F-1", "outcome": "failed", "note": "drops"}
    pasted = 'Phase;Case;Outcome;Note\r\nE911;E-1;Passed;\r\n\r\nvoice over LTE;V-1;not applicable;"a; b"\r\n'
    done = desk.post(url, lines(one) | {"pasted": pasted}, follow=True)
    assert "3 results are recorded" in page(done)
    assert set(AcceptanceResult.objects.values_list("phase", "case", "outcome", "note")) == {
        ("field", "F-1", "failed", "drops"),
        ("e911", "E-1", "passed", ""),
        ("volte", "V-1", "not_applicable", "a; b"),
    }


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (lines({"phase": "field"}), "Needed where the line says something"),
        (lines({"phase": "moon", "case": "1", "outcome": "passed"}), "Select a valid choice"),
        (lines(), "There is no result"),
        (lines() | {"pasted": "field,F-9"}, "Line 1 has 2 columns"),
        (lines() | {"pasted": "field,F-9,passed\nmoon,F-9,passed"}, "is no phase"),
        (lines() | {"pasted": "field,F-9,maybe"}, "is no outcome"),
        (lines() | {"pasted": "field,,passed"}, "give the case a name"),
        (lines() | {"pasted": 'field,"F-9,passed'}, "Line 1"),
        (lines() | {"pasted": "field,F-9\x00,passed"}, "Null characters"),
        (lines() | {"pasted": "\n".join(["field,F-9,passed"] * 501)}, "at most 500"),
    ],
)
def test_bad_results_come_back_and_none_is_kept(desk, north, typed, said):
    row = make_acceptance(host=north, state="IN_TEST")
    back = page(desk.post(url_of(row, "acceptance_results"), typed))
    assert said in back.replace("&#x27;", "'")
    if "F-9" in typed["pasted"] and "\x00" not in typed["pasted"]:
        assert "F-9" in back
    assert not AcceptanceResult.objects.exists()


def test_results_of_what_is_not_tested_are_refused(desk, north):
    row = make_acceptance(host=north, state="REQUESTED")
    back = page(desk.post(url_of(row, "acceptance_results"), lines() | {"pasted": "field,F-1,passed"}))
    assert "results are recorded of a build in test" in back
    assert "field,F-1,passed" in back


def test_results_of_the_build_that_the_page_showed_do_not_count_for_the_next(desk, north):
    row = make_acceptance(host=north, state="IN_TEST")
    url = url_of(row, "acceptance_results")
    assert desk.get(url).context["form"]["build_no"].value() == 1
    Acceptance.objects.filter(pk=row.pk).update(build_no=2, software_in_test="7.0.6")

    back = desk.post(url, lines() | {"pasted": "field,F-7,passed"})

    shown = page(back)
    assert "in the lab is build 2" in shown
    assert "They count for build 2, software 7.0.6" in shown
    assert "field,F-7,passed" in shown
    assert not AcceptanceResult.objects.exclude(build_no=1).filter(case="F-7").exists()
    # Who means the present build sends it once more.
    assert back.context["form"]["build_no"].value() == "2"
    assert 'type="hidden" name="build_no" value="2"' in shown
    left_out = lines() | {"pasted": "field,F-7,passed"}
    del left_out["build_no"]
    assert desk.post(url, left_out).status_code == 200
    assert not AcceptanceResult.objects.filter(case="F-7").exists()
    assert desk.post(url, left_out | {"build_no": "2"}).status_code == 302
    assert AcceptanceResult.objects.get(case="F-7").build_no == 2


def test_a_file_is_added_and_handed_out_as_a_download(desk, north):
    row = make_acceptance(host=north, state="IN_TEST")
    url = url_of(row, "acceptance_add_file")
    file = SimpleUploadedFile("../../Report <7>.pdf", b"%PDF-1.7 report", "text/html")
    assert desk.post(url, {"kind": "test_report", "content": file}).status_code == 302
    kept = AcceptanceFile.objects.get(kind="test_report")
    assert (kept.name, kept.content_type, kept.party) == ("Report <7>.pdf", "application/pdf", "shop")
    answer = desk.get(url_of(row, "acceptance_file", kept.sha256))
    assert answer.content == b"%PDF-1.7 report"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "Report &lt;7&gt;.pdf" in page(desk.get(url_of(row)))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "This field is required"),
        (SimpleUploadedFile("x.pdf", b""), "empty"),
        (SimpleUploadedFile("x.pdf", b"MZ\x90\x00"), "Take a PDF, PNG or JPEG"),
        (SimpleUploadedFile("x.txt", b"x" * (MAX_BYTES + 1)), "at most 5,000,000"),
    ],
)
def test_a_file_that_is_not_taken_is_said_why(desk, north, file, said):
    row = make_acceptance(host=north, state="IN_TEST")
    typed = {"kind": "letter"} | ({"content": file} if file else {})
    assert said in page(desk.post(url_of(row, "acceptance_add_file"), typed))
    assert AcceptanceFile.objects.filter(kind="letter").count() == 0


# --- what takes authority away ---------------------------------------------------------------------------------


def of_host(client, url, **changes):
    """The word of a carrier, on the version that the page shows."""
    version = client.get(url).context["form"].initial["seen_version"]
    return word(requested_by="North Wireless", document="Letter 9", seen_version=version) | changes


def test_revoking_shows_what_falls_and_stops_the_sale(desk, north):
    row = make_acceptance(host=north, state="APPROVED", code="TA-1")
    world = make_sellable(variant=row.variant, host=north, software="7.0.5")
    url = url_of(row, "acceptance_withdraw", "revoke")
    typed = of_host(desk, url, phase_out_until=text(clock.now() + timedelta(days=90)))
    second, sends = review(desk, url, typed)
    assert world.listing.sku in page(second)
    assert "Existing lines work until" in page(second)

    done = desk.post(url, sends, follow=True)

    assert "nothing of it can be sold" in page(done)
    row.refresh_from_db()
    assert row.state == "REVOKED"
    assert row.phase_out_until is not None
    last = row.moves.latest("number")
    assert (last.party, last.detail["document"]) == ("shop", "Letter 9")
    outbox.pump()
    world.offer.refresh_from_db()
    assert world.offer.state == OfferState.SUSPENDED


def test_suspending_and_resuming(desk, north):
    row = make_acceptance(host=north, state="APPROVED", code="TA-1")
    world = make_sellable(variant=row.variant, host=north, software="7.0.5")
    url = url_of(row, "acceptance_withdraw", "suspend")
    assert go_through(desk, url, of_host(desk, url)).status_code == 302
    row.refresh_from_db()
    assert (row.state, str(row.hold)) == ("SUSPENDED", "TA-1-S1")
    outbox.pump()
    world.offer.refresh_from_db()
    assert world.offer.state == OfferState.SUSPENDED

    resume = url_of(row, "acceptance_move", "resume")
    assert desk.post(resume, typed_for(desk, resume, **ON_THE_WORD)).status_code == 302

    row.refresh_from_db()
    assert row.state == "APPROVED"
    outbox.pump()
    world.offer.refresh_from_db()
    assert world.offer.state == OfferState.LIVE


def test_limiting_an_acceptance(desk, north):
    row = make_acceptance(host=north, state="APPROVED", code="TA-1")
    url = url_of(row, "acceptance_withdraw", "restrict")
    assert go_through(desk, url, of_host(desk, url, limits="No roaming")).status_code == 302
    row.refresh_from_db()
    assert (row.state, row.limits) == ("CONDITIONAL", "No roaming")


def test_the_two_pages_want_the_document(desk, north):
    row = make_acceptance(host=north, state="APPROVED")
    url = url_of(row, "acceptance_withdraw", "suspend")
    back = page(desk.post(url, of_host(desk, url, document="") | {"step": "review"}))
    assert "This field is required" in back
    assert "By e-mail from their press office." in back
    assert not Revocation.objects.exists()


def test_looking_writes_nothing(desk, north):
    row = make_acceptance(host=north, state="APPROVED")
    before = (row.moves.count(), row.version)
    for move in ("suspend", "revoke", "restrict"):
        url = url_of(row, "acceptance_withdraw", move)
        typed = of_host(desk, url, limits="x")
        assert desk.post(url, typed | {"step": "review"}).status_code == 200
        assert desk.post(url, typed | {"step": "look"}).status_code == 200
    row.refresh_from_db()
    assert (row.moves.count(), row.version) == before
    assert list_url(Acceptance) == reverse(LIST)
