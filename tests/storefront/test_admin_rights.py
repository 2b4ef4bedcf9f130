"""The desk's screens of takedown requests and cases: decided by their functions, rights kept, nothing said too much."""

import pytest
from django.db import OperationalError

from authorization import clock, decision_setting
from authorization.models import Revocation
from seeds import factories
from storefront import appeals, takedowns
from storefront.admin.desk import UNDECIDED
from storefront.models import Case, CaseMessage, TakedownRequest
from storefront.rights import Party
from storefront.roles import AUDITOR, CATALOG, DESK
from storefront.takedowns import Goods
from tests.storefront.conftest import DESK as ACTOR
from tests.storefront.desk_pages import act_url, client_of, hidden, list_url, page

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return factories.make_sellable()


@pytest.fixture
def desk():
    return client_of(DESK)


def request_of(world, settings, *, policy=takedowns.AT_ONCE):
    settings.TAKEDOWNS = policy
    at = clock.now()
    maker = world.variant.device.manufacturer
    wanted = takedowns.check(
        party=Party(organization=maker),
        representative="R. Presentative",
        reason_code="MANUFACTURER_DISCLAIMS",
        statement="Nobody sells <b>our</b> phones.",
        goods=Goods(vendors=(world.vendor.slug,)),
        at=at,
    )
    seen = takedowns.look(wanted, at=at) if policy == takedowns.AT_ONCE else None
    return takedowns.request_takedown(wanted=wanted, seen=seen, by=ACTOR, at=at)


def appeal_of(world):
    at = clock.now()
    type(world.offer).objects.filter(pk=world.offer.pk).update(state="SUSPENDED")
    cause = appeals.cause_of_offer(world.vendor, sku=world.listing.sku, host_code=world.host.code)
    assert cause is not None
    revocation = Revocation.objects.first()
    cause = appeals.Cause(cause.subject, offer=cause.offer, revocation=revocation)
    return appeals.appeal(party=world.vendor, cause=cause, statement="We have papers.", by=ACTOR, at=at)


def test_while_the_engine_cannot_decide_nothing_is_granted_and_nothing_typed_is_lost(
    desk, world, settings, monkeypatch
):
    row = request_of(world, settings, policy=takedowns.AFTER_REVIEW)

    def fail(**_):
        raise OperationalError("gone")

    monkeypatch.setattr(decision_setting, "read_setting", fail)
    for answer in (
        desk.get(act_url(row, "grant")),
        desk.post(act_url(row, "grant"), {"note": "Asked by phone.", "digest": "d"}),
    ):
        assert answer.status_code == 503
        assert UNDECIDED in answer.content.decode()
    assert "Asked by phone." in answer.content.decode()
    assert TakedownRequest.objects.get().state == "waiting"


def test_a_request_is_shown_and_granted_after_what_would_fall_was_seen(desk, world, settings):
    row = request_of(world, settings, policy=takedowns.AFTER_REVIEW)
    listed = page(desk.get(list_url(TakedownRequest)))
    assert row.case.code in listed
    shown = page(desk.get(f"{list_url(TakedownRequest)}{row.pk}/change/"))
    assert "R. Presentative" in shown
    assert "Nobody sells &lt;b&gt;our&lt;/b&gt; phones." in shown
    url = act_url(row, "grant")
    first = desk.get(url)
    assert world.listing.sku in page(first)
    assert desk.post(url, {"note": "Seen.", "digest": "of another picture"}).status_code == 200
    assert TakedownRequest.objects.get().state == "waiting"
    assert desk.post(url, {"note": "Seen.", "digest": hidden(first, "digest")}).status_code == 302
    row.refresh_from_db()
    assert (row.state, row.decided_by, row.revocation.preview_falls) == ("in_force", "user:desk", 1)
    # What is decided is not decided again.
    for act in ("grant", "decline"):
        assert desk.post(act_url(row, act), {"reason": "x"}, follow=True).status_code == 200
    assert Revocation.objects.count() == 1


def test_a_request_is_declined_or_lifted_with_a_reason(desk, world, settings):
    waiting = request_of(world, settings, policy=takedowns.AFTER_REVIEW)
    assert desk.post(act_url(waiting, "decline"), {"reason": ""}).status_code == 200
    assert desk.post(act_url(waiting, "decline"), {"reason": "Show a contract."}).status_code == 302
    waiting.refresh_from_db()
    assert (waiting.state, waiting.case.outcome) == ("declined", "reversed")
    stopped = request_of(world, settings)
    assert desk.post(act_url(stopped, "lift"), {"reason": "Not theirs."}).status_code == 302
    stopped.refresh_from_db()
    assert (stopped.state, stopped.case.outcome) == ("lifted", "reversed")
    assert not takedowns.is_stopping(stopped)


def test_a_case_is_answered_noted_and_decided(desk, world, settings):
    request_of(world, settings)
    case = appeal_of(world)
    assert case.code in page(desk.get(list_url(Case)))
    first = desk.get(act_url(case, "answer"))
    sent = {"body": "Send <i>them</i>.", "version": hidden(first, "version")}
    assert desk.post(act_url(case, "answer"), sent).status_code == 302
    assert desk.post(act_url(case, "note"), {"body": "Careful."}).status_code == 302
    said = page(desk.get(f"{list_url(Case)}{case.pk}/change/"))
    for words in ("We have papers.", "Send &lt;i&gt;them&lt;/i&gt;.", "Careful.", "not shown to the party"):
        assert words in said
    assert list(CaseMessage.objects.values_list("is_internal", flat=True).order_by("-id")[:2]) == [
        True,
        False,
    ]
    # Answered meanwhile: what was typed before that is not sent.
    assert desk.post(act_url(case, "answer"), sent).status_code == 200
    url = act_url(case, "decide")
    decided = {
        "outcome": "reversed",
        "remedy": "let_through",
        "resolution": "Papers seen.",
        "version": hidden(desk.get(url), "version"),
    }
    assert desk.post(url, decided).status_code == 302
    case.refresh_from_db()
    assert (case.state, case.outcome, case.closed_by) == ("closed", "reversed", "user:desk")
    assert Revocation.objects.get().reinstatements.get().is_partial
    assert "Papers seen." in page(desk.get(f"{list_url(Case)}{case.pk}/change/"))
    assert case.code not in page(desk.get(list_url(Case)))
    assert case.code in page(desk.get(f"{list_url(Case)}?part=closed"))


def test_a_takedown_that_stands_is_closed(desk, world, settings):
    row = request_of(world, settings)
    case = row.case
    url = act_url(case, "close")
    sent = {"resolution": "It stands.", "version": hidden(desk.get(url), "version")}
    assert desk.post(url, sent).status_code == 302
    case.refresh_from_db()
    assert (case.state, case.outcome) == ("closed", "upheld")
    assert takedowns.is_stopping(TakedownRequest.objects.get())


def test_who_may_not_decide_only_reads(world, settings):
    row = request_of(world, settings)
    case = appeal_of(world)
    auditor, catalog = client_of(AUDITOR), client_of(CATALOG)
    for kept in (row, case):
        assert auditor.get(f"{list_url(type(kept))}{kept.pk}/change/").status_code == 200
        assert catalog.get(list_url(type(kept))).status_code == 403
    for kept, acts in ((row, ("grant", "decline", "lift")), (case, ("answer", "note", "decide", "close"))):
        for act in acts:
            for client in (auditor, catalog):
                assert client.get(act_url(kept, act)).status_code == 403
                assert client.post(act_url(kept, act), {"reason": "x", "body": "x"}).status_code == 403
    assert takedowns.is_stopping(TakedownRequest.objects.get())
    assert case.messages.count() == 1


def test_lists_ask_as_much_for_many_as_for_few(desk, world, settings, django_assert_max_num_queries):
    for _ in range(2):
        row = request_of(world, settings)
        takedowns.lift(request=row, reason="x", by=ACTOR, at=clock.now())
    for model in (TakedownRequest, Case):
        with django_assert_max_num_queries(16):
            assert (
                desk.get(f"{list_url(model)}?part=all" if model is Case else list_url(model)).status_code
                == 200
            )
