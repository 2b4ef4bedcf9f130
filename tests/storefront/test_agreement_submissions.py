"""Submissions of agreements at the desk: who may decide, on what, and that one decision is made of each."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.urls import reverse

from authorization import agreements, clock, pending_changes, revocations
from authorization.changes import PlaceHold
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Assurance, Fact, LedgerEntry, OutboxRow, PendingChange
from authorization.revocations import RevokeAgreement
from catalog.models import Organization
from seeds import factories
from storefront import agreement_submissions, agreements_told, withdrawals
from storefront.agreement_submissions import SubmissionRefused
from storefront.events import EVENT_TYPES
from storefront.models import AgreementSubmission, SentMessage
from storefront.roles import ensure_roles

pytestmark = pytest.mark.django_db
PDF = b"%PDF-1.7 a letter"
DESK = factories.BUILDER


@pytest.fixture
def maker():
    return factories.OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER, slug="maker")


@pytest.fixture
def vendor():
    return factories.OrganizationFactory.create(slug="vendor-one")


@pytest.fixture
def row(maker, vendor):
    return submit(maker, vendor)


def submit(maker, vendor, **changes):
    at = clock.now()
    terms = {
        "grantor": maker,
        "grantee": vendor,
        "may_sublicense": False,
        "models": "*",
        "territories": ["US"],
        "channels": ["*"],
        "conditions": ["new"],
        "valid_from": at - timedelta(days=1),
        "valid_until": at + timedelta(days=365),
        "document": "Letter of 3 November",
    }
    return agreement_submissions.submit(**terms | changes, by=DESK, at=at)


@pytest.fixture
def staff(client):
    """Logs in somebody of a group."""
    ensure_roles()

    def login(group):
        user = factories.UserFactory.create(is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        client.force_login(user)
        return client

    return login


def page_of(row):
    return reverse("admin:storefront_agreementsubmission_change", args=[row.pk])


def decide_url(row, act):
    return reverse("admin:submission_decide", args=[row.pk, act])


def test_the_desk_accepts_and_says_how_it_knows(staff, row):
    agreement_submissions.attach(submission=row, name="letter.pdf", content=PDF, by=DESK, at=clock.now())
    row.refresh_from_db()
    desk = staff("desk")
    shown = desk.get(page_of(row)).content.decode()
    for word in (row.code, "Maker", "Vendor One", "letter.pdf", "Letter of 3 November", "Accept", "Decline"):
        assert word in shown
    assert "Nothing is sold on it before it is accepted" in shown
    listed = desk.get(reverse("admin:storefront_agreementsubmission_changelist")).content.decode()
    assert row.code in listed

    asked = desk.get(decide_url(row, "accept")).content.decode()
    assert "A letter that the vendor shows is a claim" in asked
    # No assurance is chosen beforehand, and none follows from silence.
    sent = {"version": row.version, "note": "Called Mr Lin of Maker on 5 November"}
    refused = desk.post(decide_url(row, "accept"), sent)
    assert refused.status_code == 200
    assert not Fact.objects.exists()

    done = desk.post(decide_url(row, "accept"), sent | {"assurance": "claimed"}, follow=True)
    assert f"agreement {row.code} is on record" in done.content.decode()
    version = agreements.current(Fact.objects.get(code=row.code))
    assert (version.assurance, version.document) == (Assurance.CLAIMED, "Letter of 3 November")
    row.refresh_from_db()
    assert (row.state, row.agreement_id, row.decided_by) == (
        "accepted",
        version.head_id,
        f"user:{_name(desk)}",
    )
    assert LedgerEntry.objects.get(act="agreement_submission.accepted").reason == sent["note"]
    # Its decisions are gone from the page, and its address answers with where it stands.
    assert decide_url(row, "accept") not in desk.get(page_of(row)).content.decode()
    assert "it was decided on" in desk.get(decide_url(row, "decline"), follow=True).content.decode()


def _name(client):
    from django.contrib.auth.models import User

    return User.objects.get(pk=client.session["_auth_user_id"]).get_username()


def test_a_paper_that_came_meanwhile_is_looked_at_first(staff, row):
    desk = staff("desk")
    seen = row.version
    agreement_submissions.attach(submission=row, name="other.pdf", content=PDF, by=DESK, at=clock.now())
    sent = {"version": seen, "note": "Called them", "assurance": "verified"}
    assert "has changed since you looked" in desk.post(decide_url(row, "accept"), sent).content.decode()
    # The act asks again under its lock.
    with pytest.raises(SubmissionRefused, match="has changed"):
        agreement_submissions.accept(
            submission=row, assurance="verified", note="x", by=DESK, at=clock.now(), seen_version=seen
        )
    assert not Fact.objects.exists()


def test_only_who_may_decide_decides(staff, row):
    auditor = staff("auditor")
    assert "Accept" not in auditor.get(page_of(row)).content.decode()
    for act in ("accept", "decline"):
        assert auditor.get(decide_url(row, act)).status_code == 403
        sent = {"version": row.version, "note": "x", "assurance": "verified"}
        assert auditor.post(decide_url(row, act), sent).status_code == 403
    assert staff("catalog").get(page_of(row)).status_code == 403
    row.refresh_from_db()
    assert row.state == AgreementSubmission.State.SUBMITTED


def test_a_file_is_handed_out_as_a_download(staff, row):
    kept, _ = agreement_submissions.attach(
        submission=row, name="letter.pdf", content=PDF, by=DESK, at=clock.now()
    )
    response = staff("auditor").get(reverse("admin:submission_file", args=[row.pk, kept.sha256]))
    assert response.content == PDF
    assert response["Content-Disposition"] == 'attachment; filename="letter.pdf"'
    assert response["Content-Security-Policy"].startswith("default-src 'none'")


def test_each_submission_is_decided_on_once(maker, vendor, row):
    agreement_submissions.decline(submission=row, note="Not known there", by=DESK, at=clock.now())
    for act in (agreement_submissions.accept, agreement_submissions.decline):
        given: Any = {"assurance": "verified"} if act is agreement_submissions.accept else {}
        with pytest.raises(SubmissionRefused, match="declined"):
            act(submission=row, note="again", by=DESK, at=clock.now(), **given)
    with pytest.raises(SubmissionRefused):
        agreement_submissions.withdraw(submission=row, by=DESK, at=clock.now())
    assert not AgreementVersion.objects.exists()


def test_what_the_engine_refuses_leaves_the_submission_open(maker, vendor, row):
    """The same terms are on record by now: the desk is told, and nothing is half done."""
    agreement_submissions.accept(submission=row, assurance="verified", note="Asked", by=DESK, at=clock.now())
    later = submit(maker, vendor, valid_from=row.valid_from, valid_until=row.valid_until)
    with pytest.raises(InvalidFact, match="says exactly that"):
        agreement_submissions.accept(
            submission=later, assurance="verified", note="Asked", by=DESK, at=clock.now()
        )
    later.refresh_from_db()
    assert (later.state, later.agreement) == ("submitted", None)
    assert not OutboxRow.objects.filter(event="agreement.decided", payload__code=later.code).exists()


def test_the_desk_sees_what_a_renewal_would_come_to(staff, maker, vendor):
    at = clock.now()
    fact = factories.make_agreement(
        grantor=maker, grantee=vendor, at=at, code="AG-1", valid_until=at + timedelta(days=9)
    )
    row = agreement_submissions.submit_renewal(fact=fact, valid_until=at + timedelta(days=90), by=DESK, at=at)
    shown = staff("desk").get(page_of(row)).content.decode()
    assert "No file was shown with it" in shown
    assert "does not last longer on a claim" in shown


def test_which_submissions_would_cover_a_phone(maker, vendor, django_assert_num_queries):
    own, other = (
        factories.VariantFactory.create(device__manufacturer=maker),
        factories.VariantFactory.create(),
    )
    named = submit(maker, vendor, models=[own])
    every = submit(maker, vendor)
    submit(maker, factories.OrganizationFactory.create())
    with django_assert_num_queries(1):
        found = agreement_submissions.waiting_for(vendor, [own, other])
    assert found == {own.pk: [named, every], other.pk: []}
    agreement_submissions.decline(submission=every, note="no", by=DESK, at=clock.now())
    assert agreement_submissions.waiting_for(vendor, [own])[own.pk] == [named]


# --- who is told ----------------------------------------------------------------------------------------------


def tell(event, at=None, handlers=None):
    """Does the work of every row of this event, as the pump would."""
    told = {
        "agreement.decided": agreements_told.tell_of_decision,
        "agreement.to_warn": agreements_told.warn_of_end,
        "agreement.expiring": agreements_told.tell_of_end,
        "authority.withdrawn": agreements_told.announce_revoked,
        "agreement.revoked": agreements_told.tell_of_revocation,
    }
    at = at or clock.now()
    for row in OutboxRow.objects.filter(
        event=event, handler__startswith="storefront.agreements_told", due_at__lte=at
    ):
        told[event](payload=row.payload, event_id=row.event_id, at=at)


def events(event):
    return list(OutboxRow.objects.filter(event=event, handler="").order_by("id"))


def test_the_vendor_is_told_of_the_decision_with_the_id_of_the_event(row, vendor):
    agreement_submissions.accept(
        submission=row, assurance="claimed", note="Only a letter", by=DESK, at=clock.now()
    )
    tell("agreement.decided")
    tell("agreement.decided")
    [event] = events("agreement.decided")
    assert event.payload["vendor_id"] == vendor.pk
    [sent] = mail.outbox
    assert sent.to == [vendor.contact_email]
    for word in (str(event.event_id), "Only a letter", row.code, "AGREEMENT_NOT_VERIFIED"):
        assert word in sent.body
    assert set(EVENT_TYPES["agreement.decided"]) <= event.payload.keys()


def test_warnings_come_thirty_seven_and_one_days_before_the_end_and_once_each(maker, vendor):
    at = clock.now()
    until = at + timedelta(days=60)
    factories.make_agreement(grantor=maker, grantee=vendor, at=at, code="AG-1", valid_until=until)
    said: list[Any] = []
    for day in range(0, 62):
        now = at + timedelta(days=day, seconds=1)
        tell("agreement.to_warn", now)
        tell("agreement.to_warn", now)
        found = events("agreement.expiring")
        said += [(day, each.payload["days"]) for each in found[len(said) :]]
    assert said == [(30, 30), (53, 7), (59, 1)]
    tell("agreement.expiring", at + timedelta(days=62))
    assert [sent.subject for sent in mail.outbox] == [
        f"Agreement AG-1 ends within {within}" for within in ("30 days", "7 days", "1 day")
    ]
    for event, sent in zip(events("agreement.expiring"), mail.outbox, strict=True):
        assert str(event.event_id) in sent.body
    assert events("agreement.expiring")[0].payload["valid_until"].endswith("Z")


def test_a_worker_that_was_away_says_what_is_true_when_it_comes(maker, vendor):
    at = clock.now()
    until = at + timedelta(days=60)
    factories.make_agreement(grantor=maker, grantee=vendor, at=at, valid_until=until)
    tell("agreement.to_warn", until - timedelta(days=5))
    assert [each.payload["days"] for each in events("agreement.expiring")] == [7]
    # After the end there is nothing to warn of.
    tell("agreement.to_warn", until)
    assert len(events("agreement.expiring")) == 1


def test_what_was_renewed_or_revoked_is_not_warned_of(maker, vendor):
    at = clock.now()
    until = at + timedelta(days=40)
    renewed = factories.make_agreement(grantor=maker, grantee=vendor, at=at, valid_until=until)
    agreements.renew_agreement(
        fact=renewed, valid_until=until + timedelta(days=300), by=DESK, at=at, reason="renewed"
    )
    other = factories.OrganizationFactory.create()
    revoked = factories.make_agreement(grantor=maker, grantee=other, at=at, valid_until=until)
    change = RevokeAgreement(revoked.pk, "AGREEMENT_TERMINATED")
    _withdraw(change)
    tell("agreement.to_warn", until - timedelta(days=2))
    assert events("agreement.expiring") == []
    tell("agreement.to_warn", until + timedelta(days=271))
    assert [each.payload["code"] for each in events("agreement.expiring")] == [renewed.code]


def test_a_revocation_that_was_cancelled_leaves_the_warnings(maker, vendor):
    now = clock.now()
    until = now + timedelta(days=10)
    fact = factories.make_agreement(
        grantor=maker, grantee=vendor, at=now - timedelta(days=30), valid_until=until
    )
    _withdraw(RevokeAgreement(fact.pk, "AGREEMENT_TERMINATED"), effective_at=until - timedelta(days=2))
    # The first comes due while it is to be revoked.
    tell("agreement.to_warn", clock.now())
    assert events("agreement.expiring") == []
    pending_changes.cancel_withdrawal(
        pending=PendingChange.objects.get(), by=DESK, at=clock.now(), reason="They agreed"
    )
    following = OutboxRow.objects.filter(event="agreement.to_warn", due_at=until - timedelta(days=7))
    assert following.exists()
    tell("agreement.to_warn", until - timedelta(days=7))
    tell("agreement.to_warn", until - timedelta(days=1))
    assert [each.payload["days"] for each in events("agreement.expiring")] == [7, 1]


def test_a_renewal_is_no_way_around_a_hold(maker, vendor):
    at = clock.now()
    fact = factories.make_agreement(
        grantor=maker, grantee=vendor, at=at, code="AG-1", valid_until=at + timedelta(days=40)
    )
    row = agreement_submissions.submit_renewal(
        fact=fact, valid_until=at + timedelta(days=400), by=DESK, at=clock.now()
    )
    targets = (("fact", str(fact.pk)),)
    _withdraw(PlaceHold(code="H-1", placed_by="shop", reason_code="SHOP_REVIEW", note="", targets=targets))
    # As a claim it would be a record of its own.
    with pytest.raises(SubmissionRefused, match="H-1 suspends AG-1"):
        agreement_submissions.accept(
            submission=row, assurance="claimed", note="A letter", by=DESK, at=clock.now()
        )
    assert not Fact.objects.filter(code=row.code).exists()


def _withdraw(change, **given):
    at = clock.now()
    seen = revocations.preview(change, at=at, effective_at=given.get("effective_at"))
    return withdrawals.confirm(
        change,
        digest=seen.digest,
        requested_by="Maker",
        word_received_at=at,
        note="over",
        by=DESK,
        at=at,
        **given,
    )


def test_a_revocation_is_told_once_to_the_vendor_whose_agreement_it_was(maker, vendor):
    at = clock.now()
    fact = factories.make_agreement(grantor=maker, grantee=vendor, at=at, code="AG-1")
    factories.make_agreement(grantor=maker, grantee=factories.OrganizationFactory.create(), at=at)
    made = _withdraw(RevokeAgreement(fact.pk, "MANUFACTURER_DISCLAIMS"))
    tell("authority.withdrawn")
    tell("authority.withdrawn")
    [event] = events("agreement.revoked")
    assert event.payload["vendor_id"] == vendor.pk
    assert (event.payload["code"], event.payload["reason_code"]) == ("AG-1", "MANUFACTURER_DISCLAIMS")
    assert event.payload["revision"] == made.revision_id
    tell("agreement.revoked")
    [sent] = mail.outbox
    assert sent.to == [vendor.contact_email]
    assert str(event.event_id) in sent.body
    assert "POST /v1/cases" in sent.body
    assert SentMessage.objects.get().kind == "agreement_revoked"


def test_what_was_declined_meanwhile_is_not_put_on_record(row, monkeypatch):
    """Two people of the desk at once: the second asks again under the lock, and takes back what it wrote."""
    real = agreement_submissions._put_on_record

    def while_another_declines(submission, **given):
        AgreementSubmission.objects.filter(pk=submission.pk).update(state=AgreementSubmission.State.DECLINED)
        return real(submission, **given)

    monkeypatch.setattr(agreement_submissions, "_put_on_record", while_another_declines)
    with pytest.raises(SubmissionRefused, match="declined"):
        agreement_submissions.accept(
            submission=row, assurance="verified", note="Asked", by=DESK, at=clock.now()
        )
    assert not AgreementVersion.objects.exists()
