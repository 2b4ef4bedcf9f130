"""Test mode over HTTP: a store of its own for each organization, with its own clock, and nothing of it in the shop."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.http import StreamingHttpResponse
from rest_framework.response import Response

from authorization import clock, stores
from authorization.models import Decision, LedgerEntry, OutboxRow
from catalog.models import Listing, Organization
from seeds import factories
from storefront import accounts, test_mode, test_workers
from storefront.api.events import EventsView
from storefront.models import SentMessage, TestStore
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem

SKU = "/v1/listings/T-1"


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Nobody listens; what was rung stands here."""
    rung: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        "celery.current_app.send_task", lambda name, kwargs=None, **_: rung.append((name, kwargs or {}))
    )
    return rung


def test_caller_of(organization: Organization, **more: Any) -> Caller:
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=organization,
        label="test",
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        is_test=True,
        **more,
    )
    return Caller(secret)


test_caller_of.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def tester(world: SmallWorld) -> Caller:
    return test_caller_of(world.vendor)


def body(variant: str, host: str = "always-approved", **changes: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "hosts": [host],
        "condition": "new",
        "territory": "US",
        "channel": "web",
        "description": "Sealed box",
        "price": {"amount": "199.00", "currency": "USD"},
        "on_hand": 5,
    } | changes


ALWAYS = "always-approved-one-aa-one-64"
REVOKES = "revokes-in-5-min-brief-r5-brief-64"


def read(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def work() -> None:
    """What the workers do until nothing is due now."""
    for _ in range(20):
        if not test_workers.work_due():
            return


def publish(tester: Caller, variant: str, host: str = "always-approved", sku: str = SKU) -> dict[str, Any]:
    read(tester.put(sku, body(variant, host)), 201)
    shown: dict[str, Any] = read(tester.post(f"{sku}/publish"))
    assert shown["status"] == "LIVE"
    return shown


def test_a_listing_goes_live_in_test_mode_and_nothing_of_it_is_in_the_shop(
    world: SmallWorld, tester: Caller, no_bells: list[tuple[str, dict[str, Any]]]
) -> None:
    before = {model: model.objects.count() for model in (Listing, Decision, OutboxRow, LedgerEntry)}
    shop = connections["default"]
    publish(tester, ALWAYS)
    assert read(tester.get(SKU))["status"] == "LIVE"
    assert connections["default"] is shop
    assert {model: model.objects.count() for model in before} == before
    # The same vendor's live key knows nothing of it, and the shop's page neither.
    problem(caller_of(world.vendor).get(SKU), 404, "not_found")
    assert read(caller_of(world.vendor).get("/v1/listings"))["data"] == []
    assert b"Always Approved" not in tester.client.get("/").content
    # The shop's goods are not in the test store.
    problem(tester.put("/v1/listings/T-2", body(world.approved.slug)), 400, "invalid_request")
    # The workers of that store were called, and not those of the shop.
    assert TestStore.objects.get().due_at is not None
    assert {name for name, _ in no_bells} <= {"storefront.work_test_store"}


def test_what_revokes_in_five_minutes_is_suspended_by_its_sweep_when_the_clock_comes_there(
    world: SmallWorld, tester: Caller, mailoutbox: list[Any]
) -> None:
    before = OutboxRow.objects.count()
    publish(tester, REVOKES)
    publish(tester, ALWAYS, host="revokes-in-5-min", sku="/v1/listings/T-2")
    publish(tester, ALWAYS, sku="/v1/listings/T-3")
    work()
    assert read(tester.get(SKU))["status"] == "LIVE"
    was = read(tester.get("/v1/test-clock"))
    assert was["state"] == "ready"
    moving = tester.post("/v1/test-clock/advance", {"by_seconds": 301})
    assert read(moving, 202)["state"] == "advancing"
    assert (moving["Location"], moving["Retry-After"]) == ("/v1/test-clock", "1")
    problem(tester.post("/v1/test-clock/advance", {"by_seconds": 301}), 409, "clock_advancing")
    work()
    ready = read(tester.get("/v1/test-clock"))
    assert ready["state"] == "ready"
    ahead = datetime.fromisoformat(ready["now"]) - datetime.fromisoformat(was["now"])
    assert timedelta(seconds=301) <= ahead < timedelta(seconds=400)
    for sku, code in ((SKU, "AGREEMENT_REVOKED"), ("/v1/listings/T-2", "CARRIER_APPROVAL_REVOKED")):
        shown = read(tester.get(sku))
        assert shown["status"] == "SUSPENDED"
        assert [reason["code"] for reason in shown["offers"][0]["reasons"]] == [code]
    assert read(tester.get("/v1/listings/T-3"))["status"] == "LIVE"
    told = [
        event
        for event in read(tester.get("/v1/events?limit=200"))["data"]
        if event["type"] == "listing.suspended"
    ]
    assert {event["data"]["sku"] for event in told} == {"T-1", "T-2"}
    # Five minutes after it went live, by the store's clock, and not when the clock had arrived.
    live = read(tester.get("/v1/events"))["data"][0]
    between = datetime.fromisoformat(told[0]["timestamp"]) - datetime.fromisoformat(live["timestamp"])
    assert timedelta(minutes=5) <= between < timedelta(minutes=5, seconds=1)
    # It was a matter of the test store alone: no event of the shop's, no mail to anybody.
    assert OutboxRow.objects.count() == before
    assert mailoutbox == []
    assert not SentMessage.objects.exists()
    with test_mode.opened(TestStore.objects.select_related("organization").get()):
        kept = SentMessage.objects.filter(recipient=world.vendor.name)
        assert kept.exclude(address="").exists()
        assert not kept.filter(mailed_at__isnull=False).exists()


def test_the_store_says_what_is_in_it_and_is_begun_anew(world: SmallWorld, tester: Caller) -> None:
    shown = read(tester.get("/v1/test-store"))
    assert {maker["slug"] for maker in shown["makers"]} >= {"always-approved", "revokes-in-5-min"}
    assert {host["slug"] for host in shown["hosts"]} >= {"always-approved", "revokes-in-5-min"}
    granted = {variant["variant"]: variant["is_granted"] for variant in shown["variants"]}
    assert granted[ALWAYS]
    assert granted[REVOKES]
    assert not granted["never-approved-dream-na-dream-64"]
    publish(tester, ALWAYS)
    read(tester.post("/v1/test-clock/advance", {"by_seconds": 86_400}), 202)
    work()
    anew = read(tester.post("/v1/test-store/begin-anew"))
    assert anew["state"] == "ready"
    assert datetime.fromisoformat(anew["now"]) < clock.now() + timedelta(minutes=1)
    problem(tester.get(SKU), 404, "not_found")
    publish(tester, ALWAYS)


def test_refusals_of_the_fixtures_name_their_reasons(tester: Caller) -> None:
    read(tester.put(SKU, body("never-approved-dream-na-dream-64")), 201)
    refused = problem(tester.post(f"{SKU}/publish"), 409, "listing_not_authorized")
    assert [reason["code"] for reason in refused["reasons"]] == ["NO_AGREEMENT"]
    read(tester.put("/v1/listings/T-2", body(ALWAYS, host="never-approved")), 201)
    refused = problem(tester.post("/v1/listings/T-2/publish"), 409, "listing_not_authorized")
    assert [reason["code"] for reason in refused["reasons"]] == ["CARRIER_NOT_APPROVED"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/to"),
        ({"to": "2090-01-01T00:00:00Z"}, "/to"),
        ({"to": "2016-01-01T00:00:00Z"}, "/to"),
        ({"by_seconds": 0}, "/by_seconds"),
        ({"by_seconds": 10**9}, "/by_seconds"),
        ({"to": "2090-01-01T00:00:00Z", "by_seconds": 5}, "/to"),
    ],
)
def test_a_faulty_advance_is_refused_at_its_member(
    tester: Caller, body: dict[str, Any], pointer: str
) -> None:
    refused = problem(tester.post("/v1/test-clock/advance", body), 400, "invalid_request")
    assert pointers(refused) == {pointer}


def test_no_live_key_moves_a_clock_or_begins_anything_anew(world: SmallWorld, api: Caller) -> None:
    for method, path in (
        ("GET", "/v1/test-store"),
        ("POST", "/v1/test-store/begin-anew"),
        ("GET", "/v1/test-clock"),
        ("POST", "/v1/test-clock/advance"),
    ):
        problem(
            api.call(method, path, {"by_seconds": 5} if "advance" in path else None), 409, "test_mode_only"
        )
    assert not TestStore.objects.exists()


def test_two_organizations_have_two_stores_and_two_clocks(world: SmallWorld, tester: Caller) -> None:
    publish(tester, ALWAYS)
    other = test_caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    problem(other.get(SKU), 404, "not_found")
    assert read(other.get("/v1/events"))["data"] == []
    read(tester.post("/v1/test-clock/advance", {"by_seconds": 86_400}), 202)
    work()
    moved, still = (
        datetime.fromisoformat(read(caller.get("/v1/test-clock"))["now"]) for caller in (tester, other)
    )
    assert moved - still > timedelta(hours=23)


def test_a_store_survives_its_keys_and_a_key_ends_by_the_shops_clock(
    world: SmallWorld, tester: Caller
) -> None:
    publish(tester, ALWAYS)
    read(tester.post("/v1/test-clock/advance", {"by_seconds": 7 * 86_400}), 202)
    work()
    # The key lives for a day, of which none has passed in the shop.
    assert read(tester.get(SKU))["status"] == "LIVE"
    assert read(test_caller_of(world.vendor).get(SKU))["status"] == "LIVE"


def test_one_idempotency_key_is_two_in_two_modes(world: SmallWorld, api: Caller, tester: Caller) -> None:
    once = {"Idempotency-Key": "7d444840-9dc0-11d1-b245-5ffdce74fad2"}
    endpoint = {"url": "https://shop.example/hooks"}
    live = read(api.post("/v1/webhook-endpoints", endpoint, **once), 201)
    trial = read(tester.post("/v1/webhook-endpoints", endpoint, **once), 201)
    assert trial["id"] != live["id"]
    assert [each["id"] for each in read(tester.get("/v1/webhook-endpoints"))["data"]] == [trial["id"]]
    again = tester.post("/v1/webhook-endpoints", endpoint, **once)
    assert again["Idempotent-Replayed"] == "true"


def test_an_answer_in_parts_is_read_in_the_store_that_it_comes_from(
    tester: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts() -> Iterator[bytes]:
        for organization in Organization.objects.order_by("pk"):
            yield f"{organization.slug} {stores.is_test()}\n".encode()

    monkeypatch.setattr(
        EventsView, "get", lambda *_: StreamingHttpResponse(parts(), content_type="text/plain")
    )
    streamed: Any = tester.get("/v1/events")
    lines = b"".join(streamed.streaming_content).decode().split()
    streamed.close()
    assert lines[0] == "vendor-one"
    assert "always-approved" in lines
    assert "maker" not in lines


def test_a_question_that_is_asked_late_is_asked_in_the_store(
    tester: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Organization.objects.order_by("pk").values_list("slug", flat=True)
    monkeypatch.setattr(EventsView, "get", lambda *_: Response({"data": late}))
    # By the client itself: no event looks like that.
    slugs = read(tester.client.get("/v1/events", headers={"Authorization": f"Bearer {tester.secret}"}))[
        "data"
    ]
    assert slugs[:2] == ["vendor-one", "always-approved"]
    assert "maker" not in slugs


def test_a_crash_of_a_call_leads_back_into_the_shop(
    world: SmallWorld, tester: Caller, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        Organization.objects.filter(pk=1).update(country="DE")
        raise ZeroDivisionError

    shop = connections["default"]
    with monkeypatch.context() as patched:
        patched.setattr(EventsView, "get", crash)
        problem(tester.get("/v1/events"), 500, "internal_error")
    assert connections["default"] is shop
    assert read(api.get("/v1/me"))["vendor"]["slug"] == "vendor-one"
    world.vendor.refresh_from_db()
    assert world.vendor.country == ""


def test_the_clock_of_the_store_warns_of_what_ends_in_it(tester: Caller) -> None:
    expires = "expires-in-40-days-season-e40-season-64"
    publish(tester, expires)
    read(tester.post("/v1/test-clock/advance", {"by_seconds": 41 * 86_400}), 202)
    for _ in range(5):
        work()
    assert read(tester.get("/v1/test-clock"))["state"] == "ready"
    shown = read(tester.get(SKU))
    assert shown["status"] == "SUSPENDED"
    assert [reason["code"] for reason in shown["offers"][0]["reasons"]] == ["AGREEMENT_EXPIRED"]
    store = TestStore.objects.select_related("organization").get()
    with test_mode.opened(store):
        warned = OutboxRow.objects.filter(event="agreement.expiring", handler="").order_by("created_at")
        at = [row.created_at - store.made_at for row in warned]
    assert [span.days for span in at] == [10, 33, 39]
