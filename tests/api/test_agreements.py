"""Agreements by API: a vendor shows, the desk accepts, a grantor acts in its own name; and nobody sees another's."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.client import encode_multipart
from django.test.utils import CaptureQueriesContext

from authorization import agreements, clock, holds
from authorization.models import (
    AgreementVersion,
    Assurance,
    Fact,
    LedgerEntry,
    OutboxRow,
    Revision,
    Revocation,
)
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState, Organization
from seeds import factories
from storefront import accounts, agreement_submissions, test_fixtures
from storefront.models import AgreementFile, AgreementSubmission
from tests.api.conftest import Caller, caller_of, pointers, problem

DESK = factories.BUILDER
PDF = b"%PDF-1.7 a letter of authorization"
PATH = "/v1/agreements"


def rfc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def speaker_of(organization: Organization) -> Caller:
    """A key whose representative the desk has verified."""
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=organization,
        label="speaks",
        by=DESK,
        at=at,
        expires_at=at + timedelta(days=400),
        representative="Ada Grant",
    )
    return Caller(secret)


@pytest.fixture
def maker(world):
    return world.approved.device.manufacturer


@pytest.fixture
def newcomer(world):
    """A vendor with no agreement."""
    return factories.OrganizationFactory.create(slug="vendor-two")


@pytest.fixture
def sent(world, maker):
    def make(**changes):
        body = {
            "grantor": maker.slug,
            "models": [world.approved.slug],
            "territories": ["US"],
            "channels": ["*"],
            "conditions": ["new"],
            "valid_from": rfc(world.at - timedelta(days=1)),
            "valid_until": rfc(world.at + timedelta(days=365)),
            "document": "Letter of authorization of 3 November",
        } | changes
        return {name: value for name, value in body.items() if value is not None}

    return make


def submit(api: Caller, body) -> dict:
    response = api.post(PATH, body, **keyed())
    assert response.status_code == 201, response.content
    return response.json()


def attach(api: Caller, code: str, name: str = "letter.pdf", content: bytes = PDF, **query):
    asked = "&".join(f"{key}={value}" for key, value in {"name": name, **query}.items())
    return api.call(
        "POST", f"{PATH}/{code}/documents?{asked}", content, **{"Content-Type": "application/pdf"}
    )


def live_offers(vendor: Organization) -> int:
    return ListingHost.objects.filter(listing__vendor=vendor, state=OfferState.LIVE).count()


def try_to_sell(api: Caller, world, sku: str = "PX9-NEW"):
    assert api.put(f"/v1/listings/{sku}", world.body()).status_code in (200, 201)
    return api.post(f"/v1/listings/{sku}/publish")


# --- the lesson of 2016 -----------------------------------------------------------------------------------------


def test_what_a_vendor_submits_opens_nothing_before_the_desk_has_accepted_it(world, newcomer, sent):
    """February 2016: a letter that was handed in was taken for a permission."""
    api = caller_of(newcomer)
    before = Revision.objects.count(), Fact.objects.count(), AgreementVersion.objects.count()

    made = submit(api, sent())
    assert attach(api, made["code"]).status_code == 201

    assert made["status"] == "SUBMITTED"
    assert "assurance" not in made
    # No fact, no version, no revision: there is nothing that a decision could read.
    assert (Revision.objects.count(), Fact.objects.count(), AgreementVersion.objects.count()) == before
    refused = problem(try_to_sell(api, world), 409, "listing_not_authorized")
    assert "NO_AGREEMENT" in {reason["code"] for reason in refused["reasons"]}
    asked = f"/v1/listing-restrictions?variant={world.approved.slug}&host=north&territory=US&channel=web&condition=new"
    assert api.get(asked).json()["restrictions"]
    assert live_offers(newcomer) == 0

    # Accepted as a claim it opens nothing either, where the shop asks for more than a claim.
    row = AgreementSubmission.objects.get(code=made["code"])
    agreement_submissions.accept(
        submission=row, assurance="claimed", note="The letter looks right", by=DESK, at=clock.now()
    )
    refused = problem(api.post("/v1/listings/PX9-NEW/publish"), 409, "listing_not_authorized")
    assert "AGREEMENT_NOT_VERIFIED" in {reason["code"] for reason in refused["reasons"]}

    # The maker itself says so, and only then it sells.
    done = speaker_of(world.approved.device.manufacturer).post(f"{PATH}/{made['code']}/verify", {})
    assert done.status_code == 200, done.content
    assert api.post("/v1/listings/PX9-NEW/publish").status_code == 200
    assert live_offers(newcomer) == 1


def test_no_member_of_a_submission_makes_it_more_than_one(world, newcomer, sent):
    api = caller_of(newcomer)
    body = problem(
        api.post(PATH, sent(status="ACTIVE", assurance="verified", code="AG-77"), **keyed()),
        400,
        "invalid_request",
    )
    assert pointers(body) == {"/status", "/assurance", "/code"}
    # A vendor grants nothing, to itself or to others, and shows no paper of another vendor.
    for changes in (
        {"grantor": None, "grantee": newcomer.slug},
        {"grantor": None, "grantee": world.vendor.slug},
    ):
        body = problem(api.post(PATH, sent(**changes), **keyed()), 400, "invalid_request")
        assert pointers(body) == {"/grantee"}
    body = problem(api.post(PATH, sent(grantor=world.vendor.slug), **keyed()), 400, "invalid_request")
    assert pointers(body) == {"/grantor"}
    assert not AgreementSubmission.objects.exists()


def test_a_declined_or_withdrawn_submission_never_comes_on_record(world, newcomer, sent):
    api = caller_of(newcomer)
    first, second = submit(api, sent()), submit(api, sent(conditions=["used"]))
    rows = {row.code: row for row in AgreementSubmission.objects.all()}
    agreement_submissions.decline(
        submission=rows[first["code"]], note="The maker knows nothing of it", by=DESK, at=clock.now()
    )
    gone = api.post(f"{PATH}/{second['code']}/withdraw", {"reason": "sent by mistake"})
    assert gone.json()["status"] == "WITHDRAWN"

    shown = api.get(f"{PATH}/{first['code']}").json()
    assert (shown["status"], shown["decision_note"]) == ("DECLINED", "The maker knows nothing of it")
    for row in rows.values():
        with pytest.raises(agreement_submissions.SubmissionRefused):
            agreement_submissions.accept(
                submission=row, assurance="verified", note="now", by=DESK, at=clock.now()
            )
    assert not Fact.objects.filter(code__in=list(rows)).exists()
    # Nor does it take more papers.
    problem(attach(api, first["code"]), 409, "agreement_refused")


# --- submissions --------------------------------------------------------------------------------------------------


def test_a_submission_is_stored_once_whatever_is_repeated(world, newcomer, sent):
    api = caller_of(newcomer)
    key = keyed()
    problem(api.post(PATH, sent()), 400, "idempotency_key_required")
    first = api.post(PATH, sent(), **key)
    again = api.post(PATH, sent(), **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again["Idempotent-Replayed"] == "true"
    assert again.json()["code"] == first.json()["code"]
    twice = problem(api.post(PATH, sent(), **keyed()), 409, "already_submitted")
    assert twice["submission"] == first.json()["code"]
    assert AgreementSubmission.objects.count() == 1
    assert first["Location"] == f"{PATH}/{first.json()['code']}"
    events = OutboxRow.objects.filter(event="agreement.submitted", handler="")
    assert events.get().payload["vendor_id"] == newcomer.pk
    assert LedgerEntry.objects.filter(act="agreement_submission.submitted").count() == 1


def test_a_dry_run_checks_all_and_stores_nothing(world, newcomer, sent):
    api = caller_of(newcomer)
    response = api.post(f"{PATH}?validate_only=true", sent(), **keyed())
    assert response.status_code == 200, response.content
    assert response.json()["validate_only"] is True
    assert not AgreementSubmission.objects.exists()
    assert not OutboxRow.objects.filter(event="agreement.submitted").exists()
    body = problem(
        api.post(f"{PATH}?validate_only=true", sent(models=["no-such"]), **keyed()), 400, "invalid_request"
    )
    assert pointers(body) == {"/models/0"}


def test_each_fault_is_named_with_its_cure(world, newcomer, sent):
    api = caller_of(newcomer)
    other = factories.VariantFactory.create()

    def refused(**changes):
        body = problem(api.post(PATH, sent(**changes), **keyed()), 400, "invalid_request")
        return pointers(body)

    assert refused(grantor="nobody", models=["a", world.approved.slug, "b"]) == {
        "/grantor",
        "/models/0",
        "/models/2",
    }
    assert refused(territories=["usa"]) == {"/territories"}
    assert refused(channels=["fax"]) == {"/channels"}
    assert refused(valid_until=rfc(world.at - timedelta(days=2))) == {"/valid_until"}
    # In force once, over by now.
    assert refused(
        valid_from=rfc(world.at - timedelta(days=9)), valid_until=rfc(world.at - timedelta(days=2))
    ) == {"/valid_until"}
    # The maker of other phones granted them to nobody.
    assert refused(models=[other.slug]) == {"/models"}
    assert refused(may_sublicense=True) == {"/may_sublicense"}
    assert refused(models=None, territories=[]) == {"/models", "/territories"}
    assert refused(grantor=None) == {"/grantor"}


def test_how_many_wait_for_the_desk_has_an_end(world, newcomer, sent, monkeypatch):
    monkeypatch.setattr(agreement_submissions, "OPEN_AT_ONCE", 1)
    monkeypatch.setattr(agreement_submissions, "MAX_FILES", 1)
    monkeypatch.setattr(agreement_submissions, "BYTES_OF_FILES", len(PDF) + 5)
    api = caller_of(newcomer)
    made = submit(api, sent())
    problem(api.post(PATH, sent(conditions=["used"]), **keyed()), 409, "limit_reached")
    assert attach(api, made["code"]).status_code == 201
    problem(attach(api, made["code"], content=PDF + b"2"), 409, "limit_reached")
    monkeypatch.setattr(agreement_submissions, "MAX_FILES", 9)
    problem(attach(api, made["code"], content=PDF + b"2"), 409, "limit_reached")


# --- papers -------------------------------------------------------------------------------------------------------


def test_papers_are_kept_as_they_came_and_handed_out_as_downloads(world, newcomer, sent):
    api = caller_of(newcomer)
    code = submit(api, sent())["code"]
    made = attach(api, code, name="../../letter.pdf")
    assert made.status_code == 201
    paper = made.json()
    assert (paper["name"], paper["content_type"], paper["size"]) == (
        "letter.pdf",
        "application/pdf",
        len(PDF),
    )
    # The same content again is the same file.
    assert attach(api, code, name="other.pdf").status_code == 200

    got = api.get(made["Location"])
    assert got.content == PDF
    assert got["Content-Disposition"].startswith("attachment")
    assert got["X-Content-Type-Options"] == "nosniff"
    assert [each["sha256"] for each in api.get(f"{PATH}/{code}/documents").json()["data"]] == [
        paper["sha256"]
    ]
    assert [each["sha256"] for each in api.get(f"{PATH}/{code}").json()["documents"]] == [paper["sha256"]]

    problem(attach(api, code, content=b"MZ\x00\x01 a program"), 415, "unsupported_media_type")
    problem(api.post(f"{PATH}/{code}/documents", {"file": "x"}), 415, "unsupported_media_type")
    body = problem(attach(api, code, name=""), 400, "invalid_request")
    assert pointers(body) == {"/name"}
    assert AgreementFile.objects.count() == 1


def test_a_paper_may_come_as_a_form(world, newcomer, sent):
    api = caller_of(newcomer)
    code = submit(api, sent())["code"]
    boundary = "a-boundary"
    form = encode_multipart(boundary, {"file": SimpleUploadedFile("letter.pdf", PDF)})
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    made = api.call("POST", f"{PATH}/{code}/documents", form, **kind, **keyed())
    assert made.status_code == 201, made.content
    assert AgreementFile.objects.get().name == "letter.pdf"


# --- renewals -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ending(world, maker, newcomer):
    """An agreement of the newcomer that ends in 20 days."""
    return factories.make_agreement(
        grantor=maker,
        grantee=newcomer,
        at=world.at,
        code="AG-END",
        valid_until=world.at + timedelta(days=20),
    )


def test_a_renewal_waits_for_the_desk_and_prolongs_what_is_on_record(world, newcomer, ending):
    api = caller_of(newcomer)
    until = world.at + timedelta(days=400)
    made = api.post(f"{PATH}/AG-END/renew", {"valid_until": rfc(until), "document": "Annex 2"}, **keyed())
    assert made.status_code == 202, made.content
    code = made.json()["code"]
    assert (made.json()["kind"], made.json()["agreement"]) == ("renewal", "AG-END")
    assert agreements.current(ending).valid_until == world.at + timedelta(days=20)
    problem(api.post(f"{PATH}/AG-END/renew", {"valid_until": rfc(until)}), 409, "already_submitted")

    row = AgreementSubmission.objects.get(code=code)
    agreement_submissions.accept(
        submission=row, assurance="verified", note="Asked the maker", by=DESK, at=clock.now()
    )
    assert agreements.current(ending).valid_until == until
    shown = api.get(f"{PATH}/AG-END").json()
    assert shown["valid_until"] == rfc(until)
    assert [(each["code"], each["status"]) for each in shown["submissions"]] == [(code, "ACCEPTED")]
    assert api.get(f"/v1/agreement-submissions/{code}").json()["agreement"] == "AG-END"


def test_a_paper_with_an_end_submits_the_renewal_in_one_call(world, newcomer, ending):
    api = caller_of(newcomer)
    body = problem(attach(api, "AG-END"), 400, "invalid_request")
    assert pointers(body) == {"/valid_until"}
    until = rfc(world.at + timedelta(days=400))
    # As the mail says it: with the end in the query, also beside a form.
    form = encode_multipart("x", {"file": SimpleUploadedFile("letter.pdf", PDF)})
    tried = api.post(
        f"{PATH}/AG-END/documents?valid_until={until}&validate_only=true",
        form,
        **{"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert tried.status_code == 200, tried.content
    made = attach(api, "AG-END", valid_until=until)
    assert made.status_code == 201, made.content
    row = AgreementSubmission.objects.get()
    assert (row.kind, row.agreement_id, made.json()["submission"]) == ("renewal", ending.pk, row.code)
    # The next paper belongs to the same one.
    assert attach(api, "AG-END", name="annex.pdf", content=PDF + b"2").status_code == 201
    assert row.files.count() == 2


def test_a_refused_paper_leaves_no_renewal_behind(world, newcomer, ending):
    api = caller_of(newcomer)
    until = rfc(world.at + timedelta(days=400))
    problem(attach(api, "AG-END", content=b"MZ\x00\x01", valid_until=until), 415, "unsupported_media_type")
    assert not AgreementSubmission.objects.exists()


def test_what_was_verified_does_not_last_longer_on_a_claim(world, newcomer, ending):
    api = caller_of(newcomer)
    until = world.at + timedelta(days=400)
    code = api.post(f"{PATH}/AG-END/renew", {"valid_until": rfc(until)}).json()["code"]
    row = AgreementSubmission.objects.get(code=code)
    fact = agreement_submissions.accept(
        submission=row, assurance="claimed", note="Only the letter", by=DESK, at=clock.now()
    )
    old, new = agreements.current(ending), agreements.current(fact)
    assert old.valid_until == world.at + timedelta(days=20)
    assert (fact.code, new.assurance) == (code, Assurance.CLAIMED)
    assert (new.valid_from, new.valid_until) == (old.valid_until, until)


def test_the_renewal_of_what_has_ended_becomes_a_new_record_with_the_terms_of_its_end(world, maker, newcomer):
    ended = factories.make_agreement(
        grantor=maker,
        grantee=newcomer,
        at=world.at,
        code="AG-OVER",
        valid_from=world.at - timedelta(days=30),
        valid_until=world.at - timedelta(days=1),
    )
    api = caller_of(newcomer)
    assert api.get(f"{PATH}/AG-OVER").json()["status"] == "EXPIRED"
    until = world.at + timedelta(days=300)
    code = api.post(f"{PATH}/AG-OVER/renew", {"valid_until": rfc(until)}).json()["code"]
    row = AgreementSubmission.objects.get(code=code)
    fact = agreement_submissions.accept(
        submission=row, assurance="verified", note="Asked the maker", by=DESK, at=clock.now()
    )
    assert fact.code == code
    assert agreements.current(ended).valid_until == world.at - timedelta(days=1)
    assert agreements.current(fact).valid_from == row.valid_from >= world.at
    assert agreements.scope_of(agreements.current(fact)) == agreements.scope_of(agreements.current(ended))


# --- what a grantor does ------------------------------------------------------------------------------------------


def test_a_maker_grants_in_its_own_name_and_it_counts_at_once(world, maker, newcomer, sent):
    maker_api, api = speaker_of(maker), caller_of(newcomer)
    made = maker_api.post(PATH, sent(grantor=None, grantee=newcomer.slug), **keyed())
    assert made.status_code == 201, made.content
    shown = made.json()
    assert (shown["status"], shown["assurance"], shown["role"]) == ("ACTIVE", "verified", "grantor")
    assert try_to_sell(api, world).status_code == 200
    assert api.get(f"{PATH}/{shown['code']}").json()["role"] == "grantee"
    told = OutboxRow.objects.get(event="agreement.granted", handler="")
    assert told.payload["vendor_id"] == newcomer.pk


def test_who_grants_needs_a_verified_representative(world, maker, newcomer, sent):
    """A key that somebody in the house made opens no sales in the house's name."""
    api = caller_of(maker)
    before = Fact.objects.count()
    problem(api.post(PATH, sent(grantor=None, grantee=newcomer.slug), **keyed()), 403, "not_for_this_key")
    problem(api.post(f"{PATH}/AG-77/verify", {}), 403, "not_for_this_key")
    until = rfc(world.at + timedelta(days=9999))
    problem(api.post(f"{PATH}/AG-77/renew", {"valid_until": until}), 403, "not_for_this_key")
    assert Fact.objects.count() == before
    # Taking back waits for nobody.
    assert api.post(f"{PATH}/AG-77/revoke", {"reason": "over"}).status_code == 200


def test_a_distributor_shows_what_it_was_granted_and_grants_it_on(world, maker, newcomer, sent):
    house = factories.OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR, slug="house")
    api = speaker_of(house)
    shown = submit(api, sent(may_sublicense=True))
    assert shown["status"] == "SUBMITTED"
    # Not before it was granted them itself.
    grant = sent(grantor=None, grantee=newcomer.slug)
    body = problem(api.post(PATH, grant, **keyed()), 400, "invalid_request")
    assert pointers(body) == {"/models"}

    row = AgreementSubmission.objects.get(code=shown["code"])
    agreement_submissions.accept(
        submission=row, assurance="verified", note="Asked the maker", by=DESK, at=clock.now()
    )
    assert api.post(PATH, grant, **keyed()).status_code == 201
    assert try_to_sell(caller_of(newcomer), world).status_code == 200
    assert {each["role"] for each in api.get(PATH).json()["data"]} == {"grantee", "grantor"}
    assert len(api.get(f"{PATH}?role=grantor").json()["data"]) == 1
    # It does not speak for the maker.
    given = api.get(f"{PATH}?role=grantor").json()["data"][0]["code"]
    body = problem(
        api.post(f"{PATH}/{given}/revoke", {"reason": "x", "reason_code": "MANUFACTURER_DISCLAIMS"}),
        400,
        "invalid_request",
    )
    assert pointers(body) == {"/reason_code"}


def test_nobody_confirms_or_prolongs_what_was_granted_to_itself(world, maker, sent):
    """The other half of the lesson: a distributor's key may confirm, but only what the distributor grants."""
    house = factories.OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR, slug="house")
    fact = factories.make_agreement(
        grantor=maker,
        grantee=house,
        at=world.at,
        assurance=Assurance.CLAIMED,
        may_sublicense=True,
        valid_until=world.at + timedelta(days=9),
    )
    api, before = speaker_of(house), Revision.objects.count()
    problem(api.post(f"{PATH}/{fact.code}/verify", {}), 409, "agreement_refused")
    problem(api.post(f"{PATH}/{fact.code}/revoke", {"reason": "x"}), 409, "agreement_refused")
    until = rfc(world.at + timedelta(days=99))
    assert api.post(f"{PATH}/{fact.code}/renew", {"valid_until": until}).status_code == 202
    assert Revision.objects.count() == before
    rels = {link["rel"] for link in api.get(f"{PATH}/{fact.code}").json()["links"]}
    assert rels == {"self", "versions", "renew", "documents", "withdraw", "narrow"}


def test_a_maker_renews_at_once(world, maker, newcomer, ending):
    until = world.at + timedelta(days=500)
    done = speaker_of(maker).post(f"{PATH}/AG-END/renew", {"valid_until": rfc(until)})
    assert done.status_code == 200, done.content
    assert agreements.current(ending).valid_until == until
    body = problem(
        speaker_of(maker).post(f"{PATH}/AG-END/renew", {"valid_until": rfc(world.at)}), 400, "invalid_request"
    )
    assert pointers(body) == {"/valid_until"}


def test_a_maker_revokes_and_what_rests_on_it_cannot_be_sold(world, maker, api):
    assert try_to_sell(api, world).status_code == 200
    maker_api = caller_of(maker)
    dry = maker_api.post(f"{PATH}/AG-77/revoke?validate_only=true", {"reason": "over"})
    assert (dry.status_code, dry.json()["withdrawal"]["offers"]) == (200, 1)
    assert dry.json()["withdrawal"]["revision"] is None
    assert not Revocation.objects.exists()

    done = maker_api.post(f"{PATH}/AG-77/revoke", {"reason": "We ended it"}, **keyed())
    assert done.status_code == 200, done.content
    assert (done.json()["status"], done.json()["withdrawal"]["offers"]) == ("REVOKED", 1)
    made = Revocation.objects.get()
    assert (made.requested_by, made.reason_code, made.actor) == (
        maker.name,
        "AGREEMENT_TERMINATED",
        f"manufacturer:{maker.slug}",
    )
    refused = problem(api.post("/v1/listings/PX9-NEW/publish"), 409, "listing_not_authorized")
    assert "AGREEMENT_REVOKED" in {reason["code"] for reason in refused["reasons"]}
    for verb, body in (
        ("revoke", {"reason": "again"}),
        ("narrow", {"reason": "less", "territories": ["US"]}),
        ("verify", {}),
        ("renew", {"valid_until": rfc(world.at + timedelta(days=900))}),
    ):
        problem(speaker_of(maker).post(f"{PATH}/AG-77/{verb}", body), 409, "agreement_refused")
    # What was revoked is not renewed by a paper either.
    until = rfc(world.at + timedelta(days=900))
    problem(api.post(f"{PATH}/AG-77/renew", {"valid_until": until}), 409, "agreement_refused")


def test_a_revocation_for_a_later_day_leaves_it_in_force_until_then(world, maker, api):
    later = world.at + timedelta(days=3)
    done = caller_of(maker).post(
        f"{PATH}/AG-77/revoke", {"reason": "The season ends", "effective_at": rfc(later)}
    )
    assert (done.status_code, done.json()["status"]) == (200, "ACTIVE")
    assert done.json()["revoked_at"] == rfc(later)
    assert try_to_sell(api, world).status_code == 200


def test_both_parties_may_narrow_and_neither_may_widen(world, maker, api):
    for caller, less, reason in (
        (caller_of(maker), {"conditions": ["new", "used"]}, "AGREEMENT_TERMINATED"),
        (api, {"conditions": ["new"], "models": [world.approved.slug]}, "GRANTEE_WITHDRAWS"),
    ):
        done = caller.post(f"{PATH}/AG-77/narrow", {**less, "reason": "less"})
        assert done.status_code == 200, done.content
        assert done.json()["withdrawal"]["reason_code"] == reason
        assert done.json()["conditions"] == less["conditions"]
    assert done.json()["models"] == [world.approved.slug]
    body = problem(
        api.post(f"{PATH}/AG-77/narrow", {"conditions": ["new", "used"], "reason": "more"}),
        400,
        "invalid_request",
    )
    assert pointers(body) == {"/conditions"}
    body = problem(api.post(f"{PATH}/AG-77/narrow", {"reason": "nothing"}), 400, "invalid_request")
    assert pointers(body) == {""}


def test_a_narrowing_says_what_falls_on_the_earlier_end_that_it_sets(world, maker, api):
    assert try_to_sell(api, world).status_code == 200
    ends = rfc(clock.now() + timedelta(days=3))
    done = caller_of(maker).post(f"{PATH}/AG-77/narrow", {"valid_until": ends, "reason": "The season ends"})
    assert done.status_code == 200, done.content
    withdrawn = done.json()["withdrawal"]
    assert (withdrawn["offers"], withdrawn["offers_later"]) == (0, 1)


def test_a_vendor_gives_an_agreement_back(world, api):
    done = api.post(f"{PATH}/AG-77/withdraw", {"reason": "We stop selling phones"})
    assert (done.status_code, done.json()["status"]) == (200, "REVOKED")
    assert Revocation.objects.get().reason_code == "GRANTEE_WITHDRAWS"


def test_a_write_upon_what_was_read_fails_where_it_has_changed(world, maker, api):
    tag = api.get(f"{PATH}/AG-77")["ETag"]
    assert api.get(f"{PATH}/AG-77", **{"If-None-Match": tag}).status_code == 304
    less = {"conditions": ["new"], "reason": "less"}
    done = api.post(f"{PATH}/AG-77/narrow", less, **{"If-Match": tag})
    assert done.status_code == 200
    assert done["ETag"] == api.get(f"{PATH}/AG-77")["ETag"] != tag
    problem(
        caller_of(maker).post(f"{PATH}/AG-77/revoke", {"reason": "over"}, **{"If-Match": tag}),
        412,
        "version_conflict",
    )


# --- who sees what ------------------------------------------------------------------------------------------------


def test_nobody_learns_of_the_agreements_of_others(world, maker, newcomer, sent, ending):
    """A vendor's agreement, its submission and its papers are not found, by whatever verb."""
    api, other = caller_of(newcomer), caller_of(world.vendor)
    code = submit(api, sent())["code"]
    sha256 = attach(api, code).json()["sha256"]
    stranger_maker = factories.OrganizationFactory.create(
        kind=Organization.Kind.MANUFACTURER, slug="other-maker"
    )
    renewal = {"valid_until": rfc(world.at + timedelta(days=900))}
    for caller in (other, speaker_of(stranger_maker)):
        for name in (code, "AG-END", "AG-NONE"):
            unknown = problem(caller.get(f"{PATH}/{name}"), 404, "not_found")["detail"]
            assert unknown == problem(caller.get(f"{PATH}/AG-NONE"), 404, "not_found")["detail"]
            problem(caller.get(f"{PATH}/{name}/versions"), 404, "not_found")
            problem(caller.post(f"{PATH}/{name}/renew", renewal), 404, "not_found")
            problem(
                caller.post(f"{PATH}/{name}/narrow", {"conditions": ["new"], "reason": "x"}), 404, "not_found"
            )
        assert caller.get(f"{PATH}?ends_before={rfc(world.at + timedelta(days=99))}").json()["data"] == []
    for path in (f"{PATH}/{code}/documents", f"{PATH}/{code}/documents/{sha256}"):
        problem(other.get(path), 404, "not_found")
    problem(attach(other, code), 404, "not_found")
    problem(other.get(f"/v1/agreement-submissions/{code}"), 404, "not_found")
    problem(other.post(f"{PATH}/{code}/withdraw", {"reason": "x"}), 404, "not_found")
    assert other.get("/v1/agreement-submissions").json()["data"] == []
    assert "vendor-two" not in json.dumps(other.get(PATH).json())
    # The maker sees what it granted, and none of the papers that the vendor showed to the desk.
    shown = speaker_of(maker).get(f"{PATH}/AG-END").json()
    assert (shown["submissions"], shown["documents"]) == ([], [])
    problem(speaker_of(maker).get(f"{PATH}/{code}"), 404, "not_found")


def test_lists_are_filtered_and_cost_the_same_however_long(world, maker, newcomer, sent):
    maker_api, api = caller_of(maker), caller_of(newcomer)
    factories.make_agreement(grantor=maker, grantee=newcomer, at=world.at, code="AG-1", conditions=["new"])
    submit(api, sent())

    def count(caller, path):
        with CaptureQueriesContext(connection) as seen:
            response = caller.get(path)
        assert response.status_code == 200, response.content
        return len(seen), response.json()["data"]

    # The first calls of a key begin its budgets.
    count(maker_api, PATH), count(api, PATH)
    few, rows = count(maker_api, PATH)
    assert {row["code"] for row in rows} == {"AG-77", "AG-1"}
    few_sent, _ = count(api, "/v1/agreement-submissions")
    for place in range(4):
        vendor = factories.OrganizationFactory.create()
        factories.make_agreement(
            grantor=maker,
            grantee=vendor,
            at=world.at,
            code=f"AG-X{place}",
            models=[world.approved, world.untested],
        )
        submit(api, sent(channels=["web"], valid_until=rfc(world.at + timedelta(days=50 + place))))
    many, rows = count(maker_api, PATH)
    assert len(rows) == 6
    assert many == few
    assert count(api, "/v1/agreement-submissions")[0] == few_sent

    hold = factories.make_hold(
        targets=[("fact", str(Fact.objects.get(code="AG-X0").pk))], at=world.at, reason_code="SHOP_REVIEW"
    )
    named = lambda query: {row["code"] for row in maker_api.get(f"{PATH}?{query}").json()["data"]}  # noqa: E731
    assert named("status=SUSPENDED") == {"AG-X0"}
    holds.release_hold(fact=hold, by=DESK, at=clock.now(), reason="looked at")
    assert named("status=SUSPENDED") == set()
    assert named(f"grantee={newcomer.slug}") == {"AG-1"}
    assert named("grantee=nobody") == set()
    first = maker_api.get(f"{PATH}?limit=4").json()
    rest = maker_api.get(f"{PATH}?limit=4&cursor={first['next_cursor']}").json()
    assert len(first["data"]) + len(rest["data"]) == 6
    assert rest["has_more"] is False


def test_versions_say_what_was_known_from_which_revision_on(world, maker, api):
    api.post(
        f"{PATH}/AG-77/narrow", {"conditions": ["new"], "models": [world.approved.slug], "reason": "less"}
    )
    rows = api.get(f"{PATH}/AG-77/versions").json()["data"]
    assert [(row["version"], row["is_current"], row["models"], row["conditions"]) for row in rows] == [
        (1, False, ["*"], ["*"]),
        (2, True, [world.approved.slug], ["new"]),
    ]
    assert rows[0]["valid_until"] is None
    assert agreements.current(Fact.objects.get(code="AG-77")).valid_until == FOREVER


def test_the_desk_of_a_test_store_answers_by_itself(world, newcomer, sent):
    """What its workers call, without the store around it."""
    api = caller_of(newcomer)
    bare, whole = submit(api, sent()), submit(api, sent(conditions=["used"]))
    unwanted = submit(api, sent(conditions=["refurbished"], document="Decline me, please"))
    twin = submit(api, sent(channels=["web"]))
    for made in (whole, unwanted, twin):
        attach(api, made["code"])
    # By now the same is on record.
    row = AgreementSubmission.objects.get(code=twin["code"])
    factories.make_agreement(
        grantor=row.grantor,
        grantee=newcomer,
        at=world.at,
        models=[world.approved],
        channels=["web"],
        conditions=["new"],
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
    assert test_fixtures.keep_promises(at=clock.now())
    assert not test_fixtures.keep_promises(at=clock.now())
    said = dict(AgreementSubmission.objects.values_list("code", "state"))
    assert said == {
        bare["code"]: "submitted",
        whole["code"]: "accepted",
        unwanted["code"]: "declined",
        twin["code"]: "declined",
    }
