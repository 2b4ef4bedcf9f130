"""Cases: a vendor appeals, the desk answers and decides, and nobody reads another's matter."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail

from authorization import clock, outbox
from authorization.actors import Actor
from authorization.changes import PlaceHold
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, LedgerEntry, OutboxRow, Revocation
from authorization.revocations import RevokeAgreement
from catalog.models import Listing
from seeds import factories
from storefront import appeals, cases, withdrawals
from storefront.appeals import Remedy
from storefront.cases import CaseRefused
from storefront.models import Case, CaseMessage, SentMessage, TakedownRequest
from tests.api.claimants import Incident, ask, make_incident, post, react, read, reread, speaker
from tests.api.conftest import Caller, pointers, problem
from tests.storefront.conftest import withdraw

pytestmark = pytest.mark.django_db
ALL = "/v1/cases"
DESK = Actor("user", "desk")
MI_4 = {"sku": "SKU-MI-4", "host": "tmobile", "statement": "We have a letter of their distributor."}


@pytest.fixture
def incident() -> Incident:
    return make_incident()


@pytest.fixture
def xiaomi(incident: Incident) -> Caller:
    return speaker(incident.xiaomi)


@pytest.fixture
def omni(incident: Incident) -> Caller:
    return speaker(incident.omni)


@pytest.fixture
def stopped(incident: Incident, xiaomi: Caller) -> dict[str, Any]:
    """Xiaomi has stopped all of its phones, and the workers have taken the pages down."""
    said = read(ask(xiaomi, {"brands": ["xiaomi"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    react()
    mail.outbox.clear()
    return said


def appeal(caller: Caller, body: dict[str, Any] = MI_4) -> dict[str, Any]:
    return read(post(caller, ALL, body), 201)


def decide(code: str, outcome: str, remedy: str = Remedy.NONE, **also: Any) -> Case:
    case = Case.objects.get(code=code)
    return appeals.decide(
        case=case,
        outcome=outcome,
        remedy=remedy,
        resolution="We read the letter.",
        by=DESK,
        at=clock.now(),
        **also,
    )


def events_of(caller: Caller, kinds: tuple[str, ...] = ("case.", "review.")) -> list[dict[str, Any]]:
    outbox.stamp_positions()
    found = read(caller.get("/v1/events"))["data"]
    return [each for each in found if each["type"].startswith(kinds)]


def test_an_appeal_is_heard_and_what_it_wins_comes_back(
    incident: Incident, omni: Caller, stopped: dict[str, Any]
) -> None:
    opened = appeal(omni)
    assert (opened["kind"], opened["state"], opened["outcome"]) == ("appeal", "open", None)
    assert (opened["about"]["sku"], opened["about"]["host"]) == ("SKU-MI-4", "tmobile")
    assert [reason["code"] for reason in opened["reasons"]] == ["ON_HOLD"]
    assert [(each["sender"], each["body"]) for each in opened["messages"]] == [("you", MI_4["statement"])]
    case = Case.objects.get(code=opened["code"])
    assert (case.revocation, case.organization) == (Revocation.objects.get(), incident.omni)

    path = f"{ALL}/{opened['code']}"
    cases.answer(case=case, body="Send the letter.", is_internal=False, by=DESK, at=clock.now())
    cases.answer(case=case, body="Smells.", is_internal=True, by=DESK, at=clock.now())
    waiting = read(omni.get(path))
    assert (waiting["state"], waiting["answer_by"]) == ("waiting", None)
    assert [each["sender"] for each in waiting["messages"]] == ["you", "desk"]
    assert "Smells" not in json.dumps(waiting)
    assert "user:desk" not in json.dumps(waiting)
    answered = read(post(omni, f"{path}/messages", {"body": "Here it is."}), 201)
    assert (answered["state"], answered["messages"][-1]["body"]) == ("open", "Here it is.")

    decide(opened["code"], "partly", Remedy.LET_THROUGH)
    # The one offer, and not the vendor's others, nor the same phone of others.
    assert incident.on_sale() == {"m2-note", "m2-note on att", "mi-4"}
    react()
    assert incident.live() == incident.on_sale()
    closed = read(omni.get(path))
    assert (closed["state"], closed["outcome"], closed["resolution"]) == (
        "closed",
        "partly",
        "We read the letter.",
    )
    problem(post(omni, f"{path}/messages", {"body": "And?"}), 409, "invalid_transition")
    assert [each["type"] for each in events_of(omni)] == [
        "case.opened",
        "case.answered",
        "review.decided",
        "case.closed",
    ]
    assert events_of(omni)[-1]["data"] == {
        "code": opened["code"],
        "kind": "appeal",
        "state": "closed",
        "outcome": "partly",
        "sku": "SKU-MI-4",
        "host": "tmobile",
    }


def test_what_an_appeal_wins_is_the_offer_as_it_was_refused(
    incident: Incident, omni: Caller, stopped: dict[str, Any]
) -> None:
    """Not whatever the vendor makes of the listing later."""
    decide(appeal(omni)["code"], "partly", Remedy.LET_THROUGH)
    react()
    assert "mi-4" in incident.live()
    listing = incident.offers["mi-4"].listing
    Listing.objects.filter(pk=listing.pk).update(variant=incident.offers["mi-3"].listing.variant)
    incident.offers["mi-4"] = reread(incident.offers["mi-4"])
    assert incident.on_sale() == {"m2-note", "m2-note on att"}


def test_a_suspended_agreement_is_appealed_and_its_hold_outlives_an_undone_revocation(
    incident: Incident, omni: Caller
) -> None:
    version = AgreementVersion.objects.filter(grantee=incident.omni, grantor=incident.xiaomi).first()
    assert version is not None
    suspends = PlaceHold(
        code="H-1",
        placed_by="the shop",
        reason_code="SHOP_REVIEW",
        note="",
        targets=(("fact", str(version.head_id)),),
    )
    withdraw(suspends)
    sold = incident.on_sale()
    body = {"agreement": version.head.code, "statement": "It is ours."}
    case = Case.objects.select_related("revocation").get(code=appeal(omni, body)["code"])
    assert case.revocation == Revocation.objects.get(kind=Revocation.Kind.HOLD)

    withdraw(RevokeAgreement(version.head_id, "AGREEMENT_TERMINATED"))
    revoked = Revocation.objects.get(kind=Revocation.Kind.AGREEMENT)
    with pytest.raises(InvalidFact, match="H-1 suspends"):
        withdrawals.undo(revocation=revoked, reason="Wrong", is_mistake=True, by=DESK, at=clock.now())
    assert incident.on_sale() == sold


def test_the_mails_bear_the_ids_of_the_events(
    incident: Incident, omni: Caller, stopped: dict[str, Any]
) -> None:
    opened = appeal(omni)
    case = Case.objects.get(code=opened["code"])
    cases.answer(case=case, body="Send the letter.", is_internal=False, by=DESK, at=clock.now())
    cases.answer(case=case, body="Smells.", is_internal=True, by=DESK, at=clock.now())
    decide(opened["code"], "upheld")
    react()
    told = [each for each in mail.outbox if each.to == [incident.omni.contact_email]]
    assert [each.subject.replace(opened["code"], "X") for each in told] == [
        "Your case X is open",
        "The desk answered in your case X",
        "Your case X is closed",
    ]
    assert "Send the letter." in told[1].body
    assert "We read the letter." in told[2].body
    assert not [each for each in mail.outbox if "Smells" in each.body]
    # Xiaomi, whose word it is about, hears nothing of it.
    assert {address for each in mail.outbox for address in each.to} == {incident.omni.contact_email}
    ids = {each["id"] for each in events_of(omni, ("case.",))}
    assert ids == {
        str(row.event_id)
        for row in SentMessage.objects.filter(kind__startswith="case_", recipient=incident.omni.name)
    }


def test_a_reversed_takedown_is_lifted_and_its_asker_told_without_the_vendors_matter(
    incident: Incident, omni: Caller, xiaomi: Caller, stopped: dict[str, Any]
) -> None:
    opened = appeal(omni)
    decide(opened["code"], "reversed", Remedy.UNDO)
    assert TakedownRequest.objects.get().state == "lifted"
    react()
    assert incident.live() == set(incident.offers)
    theirs = read(xiaomi.get(f"{ALL}/{stopped['case']}"))
    assert (theirs["state"], theirs["outcome"]) == ("closed", "reversed")
    told = [each.body for each in mail.outbox if each.to == [incident.xiaomi.contact_email]]
    assert told
    for body in (*told, json.dumps(theirs)):
        assert "Omni" not in body
        assert MI_4["statement"] not in body
        assert "We read the letter." not in body


def test_the_desk_cannot_reverse_in_words_alone(
    incident: Incident, omni: Caller, stopped: dict[str, Any]
) -> None:
    opened = appeal(omni)
    for outcome, remedy in (("reversed", Remedy.NONE), ("upheld", Remedy.UNDO), ("withdrawn", Remedy.NONE)):
        with pytest.raises(InvalidFact):
            decide(opened["code"], outcome, remedy)
    seen = Case.objects.get(code=opened["code"]).version
    read(post(omni, f"{ALL}/{opened['code']}/messages", {"body": "One thing more."}), 201)
    # What was decided before the last word was read gives nothing back.
    with pytest.raises(CaseRefused):
        decide(opened["code"], "reversed", Remedy.UNDO, seen_version=seen)
    assert TakedownRequest.objects.get().state == "in_force"
    assert "mi-4" not in incident.on_sale()
    assert Case.objects.get(code=opened["code"]).state == "open"


def test_one_appeal_at_a_time_and_only_about_what_is_refused(
    incident: Incident, omni: Caller, stopped: dict[str, Any]
) -> None:
    problem(omni.post(ALL, MI_4), 400, "idempotency_key_required")
    opened = appeal(omni)
    assert problem(post(omni, ALL, MI_4), 409, "already_open")["case"] == opened["code"]
    problem(post(omni, ALL, MI_4 | {"sku": "SKU-M2-NOTE"}), 409, "invalid_transition")
    for foreign in ({"sku": "H-MI4"}, {"sku": "NONE"}, {"host": "att"}):
        problem(post(omni, ALL, MI_4 | foreign), 404, "not_found")
    for body, pointer in (
        ({"statement": "x"}, ""),
        ({"statement": "x", "sku": "A", "host": "b", "sweep_id": 1}, ""),
        ({"statement": "x", "sku": "SKU-MI-4"}, "/host"),
        (MI_4 | {"sku": "SKU-MI-3", "statement": " "}, "/statement"),
    ):
        assert pointers(problem(post(omni, ALL, body), 400, "invalid_request")) == {pointer}
    withdrawn = read(post(omni, f"{ALL}/{opened['code']}/withdraw"))
    assert (withdrawn["state"], withdrawn["outcome"]) == ("closed", "withdrawn")
    assert appeal(omni)["code"] != opened["code"]


def test_all_that_one_sweep_took_is_appealed_at_once(
    incident: Incident, omni: Caller, stopped: dict[str, Any]
) -> None:
    [sweep_id] = {each["data"]["sweep_id"] for each in events_of(omni, ("listing.suspended",))}
    body = {"sweep_id": sweep_id, "statement": "All of it is wrong."}
    opened = appeal(omni, body)
    problem(post(omni, ALL, body), 409, "already_open")
    stranger = speaker(factories.OrganizationFactory.create(slug="elsewhere"))
    problem(post(stranger, ALL, body), 404, "not_found")
    problem(post(omni, ALL, body | {"sweep_id": 999_999}), 404, "not_found")
    decide(opened["code"], "reversed", Remedy.LET_THROUGH)
    assert incident.on_sale() == set(incident.offers) - {"mi-4 of honest"}


def test_the_end_of_an_agreement_is_appealed_by_its_parties(incident: Incident, omni: Caller) -> None:
    agreement = factories.make_agreement(
        grantor=incident.xiaomi, grantee=incident.omni, at=clock.now(), code="AG-ENDS"
    )
    body = {"agreement": "AG-ENDS", "statement": "They never told us."}
    problem(post(omni, ALL, body), 409, "invalid_transition")
    withdraw(RevokeAgreement(agreement.pk, "AGREEMENT_TERMINATED"))
    problem(post(speaker(incident.honest), ALL, body), 404, "not_found")
    opened = appeal(omni, body)
    decide(opened["code"], "reversed", Remedy.UNDO)
    react()
    assert read(omni.get(f"{ALL}/{opened['code']}"))["outcome"] == "reversed"
    assert Revocation.objects.get().reinstatements.get().is_mistake
    maker = speaker(incident.xiaomi)
    fault = problem(post(maker, ALL, MI_4), 400, "invalid_request")
    assert pointers(fault) == {"/agreement"}


def test_of_anothers_case_nothing_is_found(
    incident: Incident, omni: Caller, xiaomi: Caller, stopped: dict[str, Any]
) -> None:
    opened = appeal(omni)
    path = f"{ALL}/{opened['code']}"
    for caller in (xiaomi, speaker(incident.honest), speaker(incident.tmobile)):
        problem(caller.get(path), 404, "not_found")
        problem(post(caller, f"{path}/messages", {"body": "x"}), 404, "not_found")
        problem(post(caller, f"{path}/withdraw"), 404, "not_found")
        assert opened["code"] not in caller.get(ALL).content.decode()
    problem(omni.get(f"{ALL}/{stopped['case']}"), 404, "not_found")
    problem(omni.get(f"{ALL}/%00"), 404, "not_found")
    problem(post(speaker(incident.tmobile), ALL, MI_4), 403, "not_for_this_key")
    assert CaseMessage.objects.filter(case__code=opened["code"]).count() == 1
    # The case of a takedown request is closed by lifting it.
    problem(post(xiaomi, f"{ALL}/{stopped['case']}/withdraw"), 409, "invalid_transition")


def test_lists_are_of_ones_own_and_ask_as_much_for_many(
    incident: Incident, omni: Caller, stopped: dict[str, Any], django_assert_max_num_queries: Any
) -> None:
    for sku in ("SKU-MI-4", "SKU-MI-3", "SKU-REDMI-2"):
        appeal(omni, MI_4 | {"sku": sku})
    page = read(omni.get(f"{ALL}?limit=2&state=open&kind=appeal"))
    rest = read(omni.get(f"{ALL}?limit=2&state=open&kind=appeal&cursor={page['next_cursor']}"))
    assert [each["about"]["sku"] for each in page["data"] + rest["data"]] == [
        "SKU-REDMI-2",
        "SKU-MI-3",
        "SKU-MI-4",
    ]
    assert read(omni.get(f"{ALL}?kind=takedown"))["data"] == []
    with django_assert_max_num_queries(12):
        assert len(read(omni.get(ALL))["data"]) == 3


def test_there_is_an_end_to_how_much_one_may_open(
    omni: Caller, stopped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appeals, "OPEN_AT_MOST", 1)
    monkeypatch.setattr(cases, "MESSAGES_OF_PARTY", 2)
    opened = appeal(omni)
    problem(post(omni, ALL, MI_4 | {"sku": "SKU-MI-3"}), 409, "limit_reached")
    path = f"{ALL}/{opened['code']}/messages"
    read(post(omni, path, {"body": "x"}), 201)
    problem(post(omni, path, {"body": "x"}), 409, "invalid_transition")


def test_what_the_desk_forgets_alarms_once(
    omni: Caller, stopped: dict[str, Any], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    opened = appeal(omni)
    case = Case.objects.get(code=opened["code"])
    assert case.answer_by == case.opened_at + timedelta(seconds=settings.CASE_ANSWER_S)
    assert list(cases.overdue(at=case.answer_by))[-1:] == [case]
    row = OutboxRow.objects.filter(event="case.answer_due", handler="", payload__case_id=case.pk).get()
    assert row.due_at == case.answer_by
    for _ in range(2):
        cases.alarm_overdue(payload=row.payload, event_id=row.event_id, at=row.due_at)
    assert LedgerEntry.objects.filter(act="case.overdue", subject_id=str(case.pk)).count() == 1
    # Once it has answered and is asked anew, another deadline runs; the old one says nothing.
    cases.answer(case=case, body="Well?", is_internal=False, by=DESK, at=clock.now())
    cases.alarm_overdue(payload=row.payload, event_id=row.event_id, at=row.due_at)
    read(post(omni, f"{ALL}/{case.code}/messages", {"body": "Well."}), 201)
    assert (
        OutboxRow.objects.filter(event="case.answer_due", handler="", payload__case_id=case.pk).count() == 2
    )
    assert LedgerEntry.objects.filter(act="case.overdue", subject_id=str(case.pk)).count() == 1
