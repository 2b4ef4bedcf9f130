"""/v1/webhook-endpoints: a vendor's own, their secrets shown once, their deliveries visible."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse

from authorization import clock
from authorization.models import LedgerEntry
from seeds import factories
from storefront import webhooks
from storefront.models import WebhookDelivery, WebhookEndpoint
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem
from tests.api.test_events import happen

URL = "https://hooks.vendor.example/clearline"


def make(caller: Caller, **body: Any) -> dict[str, Any]:
    response = caller.post("/v1/webhook-endpoints", {"url": URL} | body)
    assert response.status_code == 201, response.content
    return read(response)


def read(response: HttpResponse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(response.content)
    return found


@pytest.fixture
def other(world: SmallWorld) -> Caller:
    return caller_of(factories.OrganizationFactory.create(slug="vendor-two"))


def test_the_secret_is_shown_once(world: SmallWorld, api: Caller) -> None:
    made = make(api, label="stock", event_types=["listing.suspended"])
    assert made["secret"].startswith("whsec_")
    path = f"/v1/webhook-endpoints/{made['id']}"
    shown = api.get(path)
    assert made["secret"] not in shown.content.decode()
    assert read(shown) == {name: value for name, value in made.items() if name != "secret"}
    assert read(api.get("/v1/webhook-endpoints"))["data"] == [read(shown)]
    assert made["secret"] not in api.get("/v1/webhook-endpoints").content.decode()
    assert LedgerEntry.objects.get(act="webhook_endpoint.made").actor == "vendor:vendor-one"


def test_a_new_secret_is_shown_once_and_the_old_one_signs_on(world: SmallWorld, api: Caller) -> None:
    made = make(api)
    rotated = read(api.post(f"/v1/webhook-endpoints/{made['id']}/rotate-secret"))
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"].endswith("Z")
    endpoint = WebhookEndpoint.objects.get()
    assert webhooks.secrets_in_force(endpoint, clock.now()) == [rotated["secret"], made["secret"]]


def test_an_endpoint_is_changed_as_a_whole(world: SmallWorld, api: Caller) -> None:
    made = make(api, label="old", event_types=["listing.suspended"])
    path = f"/v1/webhook-endpoints/{made['id']}"
    changed = read(api.put(path, {"url": f"{URL}/2", "is_enabled": False}))
    assert changed["url"] == f"{URL}/2"
    assert (changed["label"], changed["event_types"], changed["is_enabled"]) == ("", [], False)
    assert changed["disabled_reason"] == "Switched off by its owner."
    assert read(api.put(path, {"url": URL}))["disabled_reason"] == ""


def test_a_deleted_endpoint_is_gone(world: SmallWorld, api: Caller) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}"
    assert api.delete(path).status_code == 204
    problem(api.get(path), 404, "not_found")
    problem(api.delete(path), 404, "not_found")
    assert read(api.get("/v1/webhook-endpoints"))["data"] == []


def test_ping_deliveries_and_replay(world: SmallWorld, api: Caller) -> None:
    made = make(api)
    path = f"/v1/webhook-endpoints/{made['id']}"
    pinged = api.post(f"{path}/ping")
    assert pinged.status_code == 202
    assert read(pinged)["type"] == "webhook.ping"
    [event_id] = happen(world.vendor)
    webhooks.fan_out(at=clock.now())
    page = read(api.get(f"{path}/deliveries"))
    assert [row["type"] for row in page["data"]] == ["listing.suspended", "webhook.ping"]
    assert {row["state"] for row in page["data"]} == {"pending"}
    at = clock.now()
    entry = {"at": at.isoformat(), "status": 200, "error": "", "took_ms": 12}
    WebhookDelivery.objects.filter(event_id=event_id).update(
        delivered_at=at, due_at=None, attempts=1, log=[entry]
    )
    [delivered] = read(api.get(f"{path}/deliveries?state=delivered"))["data"]
    assert delivered["event_id"] == event_id
    assert delivered["log"][0]["at"].endswith("Z")
    replayed = api.post(f"{path}/deliveries/{event_id}/replay")
    assert replayed.status_code == 202
    assert read(replayed)["state"] == "pending"
    assert read(api.get(f"{path}/deliveries?state=delivered"))["data"] == []


def test_deliveries_come_in_pages_newest_first(world: SmallWorld, api: Caller) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}/deliveries"
    ids = happen(world.vendor, 7)
    webhooks.fan_out(at=clock.now())
    seen: list[str] = []
    cursor = ""
    while True:
        page = read(api.get(f"{path}?limit=3{cursor}"))
        seen += [row["event_id"] for row in page["data"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[::-1]
    second = f"/v1/webhook-endpoints/{make(api)['id']}/deliveries"
    problem(api.get(f"{second}?limit=3{cursor}"), 400, "invalid_request")


def test_a_period_is_replayed(world: SmallWorld, api: Caller) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}"
    happen(world.vendor, 2)
    webhooks.fan_out(at=clock.now())
    since = (clock.now() - timedelta(hours=1)).isoformat()
    answer = api.post(f"{path}/replay", {"since": since})
    assert (answer.status_code, read(answer)) == (202, {"replayed": 2})


@pytest.mark.parametrize(
    "since", ["2026-11-22", "2026-11-22T12:00:00", "yesterday", 5, None, "2026-13-01T00:00:00Z"]
)
def test_a_period_has_instants_with_a_zone(world: SmallWorld, api: Caller, since: Any) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}"
    body = problem(api.post(f"{path}/replay", {"since": since}), 400, "invalid_request")
    assert pointers(body) == {"/since"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": 5}, "/url"),
        ({"url": "http://hooks.example/"}, "/url"),
        ({"url": "https://10.0.0.1/"}, "/url"),
        ({"url": URL, "event_types": ["nothing.known"]}, "/event_types"),
        ({"url": URL, "event_types": ["listing.suspended", "listing.suspended"]}, "/event_types"),
        ({"url": URL, "event_types": "all"}, "/event_types"),
        ({"url": URL, "secret": "mine"}, "/secret"),
        ({"url": URL, "label": "x" * 65}, "/label"),
        ({"url": URL, "colour": "red"}, "/colour"),
    ],
)
def test_faults_are_pointed_at(world: SmallWorld, api: Caller, body: dict[str, Any], pointer: str) -> None:
    assert pointers(problem(api.post("/v1/webhook-endpoints", body), 400, "invalid_request")) == {pointer}
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.parametrize("value", ["true", 1, None, "", []])
def test_on_and_off_are_booleans(world: SmallWorld, api: Caller, value: Any) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}"
    body = problem(api.put(path, {"url": URL, "is_enabled": value}), 400, "invalid_request")
    assert pointers(body) == {"/is_enabled"}


def test_there_is_a_limit(world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 2)
    make(api)
    make(api)
    problem(api.post("/v1/webhook-endpoints", {"url": URL}), 409, "limit_reached")


def test_what_is_switched_off_is_not_pinged(world: SmallWorld, api: Caller) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}"
    api.put(path, {"url": URL, "is_enabled": False})
    problem(api.post(f"{path}/ping"), 409, "endpoint_disabled")


def test_anothers_endpoint_is_404_in_every_call_and_stays_as_it_is(
    world: SmallWorld, api: Caller, other: Caller
) -> None:
    made = make(api)
    path = f"/v1/webhook-endpoints/{made['id']}"
    [event_id] = happen(world.vendor)
    webhooks.fan_out(at=clock.now())
    WebhookDelivery.objects.update(due_at=None, delivered_at=clock.now())
    before = WebhookEndpoint.objects.values().get()
    for method, address, body in [
        ("GET", path, None),
        ("PUT", path, {"url": "https://evil.example/"}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate-secret", None),
        ("POST", f"{path}/ping", None),
        ("POST", f"{path}/replay", {"since": "2026-01-01T00:00:00Z"}),
        ("GET", f"{path}/deliveries", None),
        ("POST", f"{path}/deliveries/{event_id}/replay", None),
    ]:
        problem(other.call(method, address, body), 404, "not_found")
    assert WebhookEndpoint.objects.values().get() == before
    assert WebhookDelivery.objects.get().due_at is None
    assert read(other.get("/v1/webhook-endpoints"))["data"] == []
    # Nor can it be reached through an endpoint of its own.
    own = f"/v1/webhook-endpoints/{make(other)['id']}"
    problem(other.post(f"{own}/deliveries/{event_id}/replay"), 404, "not_found")


def test_what_there_is_not_is_404(world: SmallWorld, api: Caller) -> None:
    problem(api.get(f"/v1/webhook-endpoints/{uuid4()}"), 404, "not_found")
    problem(api.get("/v1/webhook-endpoints/not-an-id"), 404, "not_found")
    own = f"/v1/webhook-endpoints/{make(api)['id']}"
    problem(api.post(f"{own}/deliveries/{uuid4()}/replay"), 404, "not_found")


def test_a_list_costs_the_same_whatever_its_length(
    world: SmallWorld, api: Caller, django_assert_num_queries: Any
) -> None:
    path = f"/v1/webhook-endpoints/{make(api)['id']}/deliveries"
    happen(world.vendor, 60)
    webhooks.fan_out(at=clock.now())
    for limit in (1, 50):
        # Key, budget, endpoint, page.
        with django_assert_num_queries(4):
            api.get(f"{path}?limit={limit}")
