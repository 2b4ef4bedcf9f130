"""Who is told of the moves of a technical acceptance: the parties that did not make them."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail

from authorization import clock, outbox
from authorization.acceptances import process
from authorization.models import Acceptance, AcceptanceMove, OutboxRow, Party
from seeds.factories import HostCarrierFactory, OrganizationFactory, doer_of, make_acceptance
from storefront import acceptances_told, events
from storefront.models import SentMessage

pytestmark = pytest.mark.django_db

State = Acceptance.State


@pytest.fixture
def parties(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    host = HostCarrierFactory.create(name="Host One", contact_email="approvals@host-one.example")
    sponsor = OrganizationFactory.create(name="Prairie", slug="prairie", contact_email="desk@prairie.example")
    return host, sponsor


def told():
    outbox.pump()
    rows = SentMessage.objects.filter(kind="acceptance_moved").order_by("pk")
    return [(row.recipient, row.subject) for row in rows]


def test_the_host_hears_of_a_request_and_the_sponsor_of_the_answer(parties):
    host, sponsor = parties
    acceptance = make_acceptance(state=State.INTAKE_REVIEW, host=host, sponsor=sponsor, code="TA-7")
    assert told() == [
        ("Host One", "Technical acceptance TA-7: requested"),
        ("Prairie", "Technical acceptance TA-7: papers under review"),
    ]
    process.perform(
        acceptance=acceptance,
        move="reject",
        by=doer_of(acceptance, Party.HOST_DESK),
        at=clock.now(),
        reason="no samples",
    )
    assert told()[2:] == [("Prairie", "Technical acceptance TA-7: rejected")]
    body = SentMessage.objects.latest("pk").body
    assert f"TA-7: {acceptance.variant} on Host One is REJECTED, was INTAKE_REVIEW." in body
    assert "Reason: no samples" in body
    assert "You may now" not in body
    assert [message.to for message in mail.outbox] == [
        ["approvals@host-one.example"], ["desk@prairie.example"], ["desk@prairie.example"],
    ]  # fmt: skip


def test_the_host_hears_what_the_shop_did_on_its_word(parties):
    host, sponsor = parties
    acceptance = make_acceptance(state=State.INTAKE_REVIEW, host=host, sponsor=sponsor)
    before = len(told())
    process.perform(
        acceptance=acceptance, move="reject", by=doer_of(acceptance, Party.SHOP), at=clock.now(), reason="they said so",
        document="mail of today",
    )  # fmt: skip
    assert sorted(recipient for recipient, _ in told()[before:]) == ["Host One", "Prairie"]


def test_what_may_be_done_next_is_named_to_each_party(parties):
    host, sponsor = parties
    make_acceptance(state=State.REQUESTED, host=host, sponsor=sponsor)
    told()
    assert "You may now: Take in." in SentMessage.objects.get(recipient="Host One").body


def test_many_at_once_are_one_mail(parties, monkeypatch):
    monkeypatch.setattr(acceptances_told, "NAMED", 2)
    host, sponsor = parties
    for _ in range(3):
        make_acceptance(state=State.REQUESTED, host=host, sponsor=sponsor)
    rows = list(AcceptanceMove.objects.values_list("pk", flat=True))
    payload = {"to": "host", "id": host.pk, "moves": rows}
    event_id = uuid4()
    for _ in range(2):
        acceptances_told.tell_of_moves(payload=payload, event_id=event_id, at=clock.now())
    (message,) = SentMessage.objects.filter(event_id=event_id)
    assert message.subject == "3 technical acceptances moved"
    assert "- and 1 more" in message.body


def test_a_list_that_ends_together_is_told_in_one_mail_for_each_party(parties, monkeypatch):
    host, sponsor = parties
    ends = clock.now() + timedelta(hours=1)
    for _ in range(3):
        make_acceptance(state=State.APPROVED, host=host, sponsor=sponsor, valid_until=ends)
    told()
    OutboxRow.objects.exclude(event="authority.boundary").delete()
    monkeypatch.setattr(clock, "now", lambda: ends)
    outbox.pump(at=lambda: ends)
    assert set(Acceptance.objects.values_list("state", flat=True)) == {State.EXPIRED}
    last = SentMessage.objects.filter(subject="3 technical acceptances moved")
    assert sorted(row.recipient for row in last) == ["Host One", "Prairie"]


def test_the_sponsor_reads_it_in_its_log_and_nobody_else_does(parties):
    host, sponsor = parties
    make_acceptance(state=State.INTAKE_REVIEW, host=host, sponsor=sponsor, code="TA-7")
    make_acceptance(state=State.INTAKE_REVIEW, host=host)
    make_acceptance(state=State.REQUESTED, host=host, sponsor="shop")
    outbox.pump()
    page = events.read_events(sponsor, after=0, limit=50, at=clock.now())
    assert [(row.event, row.payload["code"], row.payload["to"]) for row in page.events] == [
        ("acceptance.moved", "TA-7", "REQUESTED"), ("acceptance.moved", "TA-7", "INTAKE_REVIEW"),
    ]  # fmt: skip
