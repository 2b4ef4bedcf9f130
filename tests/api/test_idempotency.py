"""A POST that is sent twice with one Idempotency-Key has one effect, and is answered alike."""

import json
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections

from authorization import clock
from authorization.models import Decision
from authorization.revocations import WorldMoved
from catalog.models import Listing, Organization
from seeds import factories
from storefront import accounts, idempotency, tasks, webhooks
from storefront.api.keys import CarrierPrincipal, VendorPrincipal
from storefront.api.problems import Problem
from storefront.api.views import whole_name_of
from storefront.api.webhook_endpoints import EndpointsView
from storefront.models import CarrierKey, IdempotentRequest, OrganizationKey, WebhookEndpoint
from tests.api.conftest import Caller, SmallWorld, caller_of, carrier_caller, make_world, problem

PATH = "/v1/webhook-endpoints"
BODY = {"url": "https://shop.example/hooks"}


def send(api: Caller, key: str, body: Any = None, path: str = PATH, **headers: str) -> Any:
    return api.post(path, BODY if body is None else body, **{"Idempotency-Key": key, **headers})


def test_the_second_is_answered_as_the_first_was(world: SmallWorld, api: Caller) -> None:
    first, second = send(api, "one"), send(api, "one")
    assert (first.status_code, second.status_code) == (201, 201)
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert second["Original-Request-Id"] == first["Request-Id"] != second["Request-Id"]
    assert second["Location"] == first["Location"]
    assert second["Content-Type"] == first["Content-Type"] == "application/json"
    assert WebhookEndpoint.objects.count() == 1
    # Shown once: neither kept nor given again.
    shown, again = json.loads(first.content), json.loads(second.content)
    secret = shown.pop("secret")
    assert shown == again
    assert secret not in IdempotentRequest.objects.get().body


def test_bare_and_quoted_are_one_key(world: SmallWorld, api: Caller) -> None:
    assert send(api, '"one"').status_code == send(api, "one").status_code == 201
    assert send(api, "One").status_code == 201
    assert WebhookEndpoint.objects.count() == 2


@pytest.mark.parametrize(
    "key", ["", '""', '"', 'a"b', '"a', "a,b", "a b", "a\\b", '"a\\n"', "ä", "x" * 256, '"a";p=1']
)
def test_a_malformed_key(world: SmallWorld, api: Caller, key: str) -> None:
    body = problem(send(api, key), 400, "invalid_request")
    assert [(e["in"], e["pointer"]) for e in body["errors"]] == [("header", "/Idempotency-Key")]
    assert not WebhookEndpoint.objects.exists()


def test_another_request_with_the_same_key_is_refused(world: SmallWorld, api: Caller) -> None:
    assert send(api, "one").status_code == 201
    problem(send(api, "one", {**BODY, "label": "other"}), 422, "idempotency_key_reused")
    # The comparison is of the raw body: other white space is another request.
    problem(send(api, "one", json.dumps(BODY, indent=1).encode()), 422, "idempotency_key_reused")
    assert WebhookEndpoint.objects.count() == 1


def test_a_key_holds_for_one_caller_and_one_path(world: SmallWorld, api: Caller) -> None:
    first = json.loads(send(api, "one").content)
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    assert "Idempotent-Replayed" not in send(other, "one")
    ping = send(api, "one", {}, f"{PATH}/{first['id']}/ping")
    assert (ping.status_code, "Idempotent-Replayed" in ping) == (202, False)
    # Another key of the same vendor is the same caller: a rotation between two tries changes nothing.
    assert send(caller_of(world.vendor), "one")["Idempotent-Replayed"] == "true"


def test_what_was_refused_is_not_kept(world: SmallWorld, api: Caller) -> None:
    problem(send(api, "one", {"url": "no address"}), 400, "invalid_request")
    assert send(api, "one").status_code == 201


def test_a_refusal_that_stands_in_the_records_is_kept(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body(hosts=["south"]))
    path = "/v1/listings/A-1/publish"
    first = problem(send(api, "one", {}, path), 409, "listing_not_authorized")
    again = send(api, "one", {}, path)
    assert json.loads(again.content) == first
    assert again["Content-Type"] == "application/problem+json"
    assert again["Idempotent-Replayed"] == "true"
    assert Decision.objects.filter(offer__listing=Listing.objects.get()).count() == 1


def test_who_lost_the_permission_gets_no_replay(world: SmallWorld, api: Caller) -> None:
    send(api, "one")
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=world.vendor,
        label="reader",
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        scopes=["webhooks:read"],
    )
    problem(send(Caller(secret), "one"), 403, "missing_scope")


def test_a_dry_run_takes_no_key_and_leaves_nothing(world: SmallWorld, api: Caller) -> None:
    dry = send(api, "one", path=f"{PATH}?validate_only=true")
    body = json.loads(dry.content)
    assert (dry.status_code, body["validate_only"], body["url"]) == (200, True, BODY["url"])
    assert "secret" not in body
    assert "Location" not in dry
    assert not WebhookEndpoint.objects.exists()
    assert not IdempotentRequest.objects.exists()
    assert "Idempotent-Replayed" not in send(api, "one")
    problem(api.post(f"{PATH}?validate_only=true", {"url": "no address"}), 400, "invalid_request")


def test_a_question_is_answered_anew(world: SmallWorld, api: Caller) -> None:
    """A kept answer would say "may be listed" after it has ceased to be true."""
    question = {"variant": world.approved.slug, "hosts": ["north"], "condition": "new", "territory": "US"}
    body = {"questions": [question | {"channel": "web"}]}
    for _ in range(2):
        answer = send(api, "one", body, "/v1/listing-restrictions/query")
        assert (answer.status_code, "Idempotent-Replayed" in answer) == (200, False)
    assert not IdempotentRequest.objects.exists()


def test_effect_and_answer_are_one_transaction(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = idempotency.keep
    monkeypatch.setattr(idempotency, "keep", lambda *_, **__: 1 / 0)
    problem(send(api, "one"), 500, "internal_error")
    assert not WebhookEndpoint.objects.exists()
    monkeypatch.setattr(idempotency, "keep", keep)
    assert send(api, "one").status_code == 201


def test_a_call_that_needs_a_key(world: SmallWorld, api: Caller) -> None:
    appeal = {"sku": "NONE", "host": "north", "statement": "It is wrong."}
    problem(api.post("/v1/cases", appeal), 400, "idempotency_key_required")
    problem(send(api, "one", appeal, "/v1/cases"), 404, "not_found")
    # A dry run has no effect that could be repeated.
    problem(api.post("/v1/cases?validate_only=true", appeal), 404, "not_found")


@pytest.mark.parametrize("key", ["one", ""])
def test_what_moved_meanwhile_is_looked_at_anew(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    make = webhooks.make_endpoint
    seen: list[Any] = []

    def move_twice(**arguments: Any) -> Any:
        if len(seen) < 3:
            raise WorldMoved(None)
        return make(**arguments)

    monkeypatch.setattr(
        EndpointsView, "prepare", lambda self, request: seen.append(connection.savepoint_ids[:])
    )
    monkeypatch.setattr(webhooks, "make_endpoint", move_twice)
    answer = send(api, key) if key else api.post(PATH, BODY)
    assert answer.status_code == 201
    # Each time outside of the transaction of the write.
    assert seen == [seen[0]] * 3

    def move(**_: Any) -> Any:
        raise WorldMoved(None)

    monkeypatch.setattr(webhooks, "make_endpoint", move)
    problem(api.post(PATH, BODY), 503, "temporarily_unavailable")


def test_what_the_first_has_done_meanwhile_is_no_refusal_of_the_second(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looked for an answer when there was none yet, and then met the effect of the first."""
    find = idempotency.find

    def refuse(self: Any, request: Any) -> None:
        raise Problem("limit_reached", "That is done already.")

    first = send(api, "one")
    answers = [None]
    monkeypatch.setattr(idempotency, "find", lambda asked: answers.pop() if answers else find(asked))
    monkeypatch.setattr(EndpointsView, "prepare", refuse)
    again = send(api, "one")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again["Idempotent-Replayed"] == "true"
    problem(send(api, "two"), 409, "limit_reached")


def test_what_is_rehearsed_before_it_is_done_takes_a_key_too(world: SmallWorld) -> None:
    """Restricting an approval: its preview is written and rolled back, inside the transaction of the request."""
    made = factories.make_acceptance(host=world.north, sponsor=world.vendor, at=clock.now(), state="APPROVED")
    path = f"/v1/technical-acceptances/{made.code}/moves"
    approver = carrier_caller(world.north)
    body = {"move": "restrict", "version": made.version, "reason": "Field tests", "limits": "No VoLTE"}
    dry = send(approver, "one", body, f"{path}?validate_only=true")
    assert (dry.status_code, json.loads(dry.content)["validate_only"]) == (200, True)
    made.refresh_from_db()
    assert made.state == "APPROVED"
    first, again = (send(approver, "one", body, path) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again["Idempotent-Replayed"] == "true"
    assert json.loads(first.content)["withdrawal"] == json.loads(again.content)["withdrawal"]


def test_an_upload_with_a_key(world: SmallWorld, api: Caller) -> None:
    made = api.post("/v1/technical-acceptances", {"host": "north", "variant": world.untested.slug})
    path = f"/v1/technical-acceptances/{json.loads(made.content)['code']}/files?kind=declaration&name=r.txt"
    text = {"Content-Type": "text/plain"}
    first, again = (send(api, "one", b"what was seen", path, **text) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    problem(
        send(api, "one", b"what was seen", path.replace("r.txt", "s.txt"), **text),
        422,
        "idempotency_key_reused",
    )
    problem(send(api, "two", b"x" * 6_000_000, path, **text), 413, "payload_too_large")


@pytest.mark.django_db(transaction=True)
def test_two_at_the_same_time_have_one_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL answers the second at once; on SQLite it waits for the first, which is the only writer."""
    secret = caller_of(make_world().vendor).secret
    make = webhooks.make_endpoint
    answers: list[Any] = []

    def ask_again() -> None:
        try:
            answers.append(send(Caller(secret), "one"))
        finally:
            connections.close_all()

    second = threading.Thread(target=ask_again)

    def make_while_another_asks(**arguments: Any) -> Any:
        made = make(**arguments)
        second.start()
        if connection.vendor == "postgresql":
            second.join()
        return made

    monkeypatch.setattr(webhooks, "make_endpoint", make_while_another_asks)
    first = send(Caller(secret), "one")
    second.join()
    assert first.status_code == 201
    if connection.vendor == "postgresql":
        problem(answers[0], 409, "idempotency_in_progress")
        assert answers[0]["Retry-After"] == "1"
    else:
        assert answers[0]["Idempotent-Replayed"] == "true"
    assert send(Caller(secret), "one")["Idempotent-Replayed"] == "true"
    assert WebhookEndpoint.objects.count() == 1


def test_it_is_kept_for_a_day_of_the_machine(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exercise, or a test clock, that jumps a month makes no second effect of a request that is sent again."""
    at = clock.machine_now()
    monkeypatch.setattr(clock, "now", lambda: at + timedelta(hours=1))
    send(api, "one")
    row = IdempotentRequest.objects.get()
    assert row.created_at < at + timedelta(minutes=30)
    monkeypatch.setattr(clock, "now", lambda: at + timedelta(days=30))
    tasks.forget_old_answers()
    assert IdempotentRequest.objects.exists()
    assert idempotency.forget_old(at=row.created_at + timedelta(hours=24, seconds=-1)) == 0
    assert idempotency.forget_old(at=row.created_at + idempotency.KEPT) == 1
    assert not IdempotentRequest.objects.exists()


def test_a_host_carriers_duties_are_part_of_who_asks(world: SmallWorld) -> None:
    keys = [CarrierKey(is_lab=True), CarrierKey(is_lab=True, is_approver=True)]
    names = {whole_name_of(CarrierPrincipal(world.north, key)) for key in keys}
    assert names == {"carrier:north is_lab", "carrier:north is_lab is_approver"}
    vendor = Organization(kind="vendor", slug=f"v{uuid4().hex[:6]}")
    assert whole_name_of(VendorPrincipal(vendor, OrganizationKey())) == f"vendor:{vendor.slug}"
    # Keys are made and ended in one place for both modes.
    assert (
        whole_name_of(VendorPrincipal(vendor, OrganizationKey(is_test=True))) == f"vendor:{vendor.slug} test"
    )
