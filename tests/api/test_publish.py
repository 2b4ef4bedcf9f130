"""Going live, being refused with all reasons, and the record of what was decided."""

import json
from typing import Any

import pytest

from authorization import clock, decisions, policies
from authorization.decision_setting import Setting
from authorization.models import Decision, OutboxRow
from catalog.models import ListingHost
from seeds import factories
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem


def publish(api: Caller, sku: str = "A-1") -> Any:
    response = api.post(f"/v1/listings/{sku}/publish")
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def test_what_is_authorized_goes_live(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    shown = publish(api)
    assert shown["status"] == "LIVE"
    [result] = shown["results"]
    assert (result["host"], result["is_live"], result["answer"], result["reasons"]) == (
        "north",
        True,
        "allow",
        [],
    )
    [offer] = shown["offers"]
    assert offer["is_for_sale"] is True
    assert offer["decision_id"] == result["decision_id"]
    assert OutboxRow.objects.filter(event="listing.published", handler="").count() == 1
    # Again: still live, and not announced twice.
    assert publish(api)["status"] == "LIVE"
    assert OutboxRow.objects.filter(event="listing.published", handler="").count() == 1


def test_one_live_host_is_enough_and_the_others_say_why_not(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    shown = publish(api)
    assert shown["status"] == "LIVE"
    assert {result["host"]: result["is_live"] for result in shown["results"]} == {
        "north": True,
        "south": False,
    }
    refused = next(result for result in shown["results"] if not result["is_live"])
    assert [reason["code"] for reason in refused["reasons"]] == ["CARRIER_NOT_APPROVED"]


def test_a_refusal_names_every_reason_and_decision(world: SmallWorld, api: Caller) -> None:
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    other.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    body = problem(other.post("/v1/listings/A-1/publish"), 409, "listing_not_authorized")
    assert [reason["code"] for reason in body["reasons"]] == ["NO_AGREEMENT", "CARRIER_NOT_APPROVED"]
    assert [result["host"] for result in body["results"]] == ["north", "south"]
    kept = {str(pk) for pk in Decision.objects.values_list("pk", flat=True)}
    assert {result["decision_id"] for result in body["results"]} == kept
    assert set(ListingHost.objects.values_list("state", flat=True)) == {"BLOCKED"}


def test_a_dry_run_publishes_nothing(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    response = api.post("/v1/listings/A-1/publish?validate_only=true")
    assert response.status_code == 200
    shown = json.loads(response.content)
    assert shown["validate_only"] is True
    assert shown["status"] == "DRAFT"
    assert shown["results"] == [{"host": "north", "is_live": True, "answer": "allow", "reasons": []}]
    api.put("/v1/listings/A-2", world.body(hosts=["south"]))
    problem(api.post("/v1/listings/A-2/publish?validate_only=true"), 409, "listing_not_authorized")
    assert not Decision.objects.exists()


def test_publishing_takes_no_members(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    assert api.post("/v1/listings/A-1/publish", {}).status_code == 200
    body = problem(api.post("/v1/listings/A-1/publish", {"force": True}), 400, "invalid_request")
    assert pointers(body) == {"/force"}
    problem(api.post("/v1/listings/A-1/publish", []), 400, "invalid_request")
    problem(api.post("/v1/listings/NONE/publish"), 404, "not_found")


def test_undecided_is_neither_refused_nor_live(db: None) -> None:
    """Without a policy nothing can be decided."""
    variant = factories.VariantFactory.create()
    host = factories.HostCarrierFactory.create(code="north")
    factories.HostingFactory.create(host=host)
    api = caller_of(factories.OrganizationFactory.create())
    body = {
        "variant": variant.slug,
        "hosts": ["north"],
        "condition": "new",
        "territory": "US",
        "channel": "web",
        "price": {"amount": "1.00", "currency": "USD"},
        "on_hand": 1,
    }
    saved = json.loads(api.put("/v1/listings/A-1", body).content)
    assert saved["offers"][0]["answer"] == "undetermined"
    assert saved["offers"][0]["is_for_sale"] is False
    response = api.post("/v1/listings/A-1/publish")
    problem(response, 503, "decision_unavailable")
    assert response["Retry-After"] == "5"
    assert ListingHost.objects.get().state != "LIVE"
    assert json.loads(api.get("/v1/listings/A-1/decisions").content)["data"] == []
    policies.set_policy(
        **policies.POLICY_GATE_SHUT, by=factories.BUILDER, at=clock.now(), reason="now there is one"
    )
    problem(api.post("/v1/listings/A-1/publish"), 409, "listing_not_authorized")


def test_editing_a_decisive_term_takes_a_listing_off_sale(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    publish(api)
    shown = json.loads(api.put("/v1/listings/A-1", world.body(variant="PX9-U2")).content)
    assert shown["status"] == "BLOCKED"
    # A price is not decisive.
    api.put("/v1/listings/A-2", world.body())
    publish(api, "A-2")
    shown = json.loads(
        api.put("/v1/listings/A-2", world.body(price={"amount": "1.00", "currency": "USD"})).content
    )
    assert shown["status"] == "LIVE"


def test_decisions_are_kept_newest_first_and_in_pages(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    for _ in range(3):
        publish(api)
    seen = []
    path = "/v1/listings/A-1/decisions?limit=4"
    while path:
        page = json.loads(api.get(path).content)
        seen += page["data"]
        path = page["has_more"] and f"/v1/listings/A-1/decisions?limit=4&cursor={page['next_cursor']}"
    assert len({decision["id"] for decision in seen}) == len(seen) == 6
    assert [decision["valid_at"] for decision in seen] == sorted((d["valid_at"] for d in seen), reverse=True)
    outcome_of = {decision["host"]: decision["outcome"] for decision in seen}
    assert outcome_of == {"north": "allow", "south": "deny"}
    allowed = next(decision for decision in seen if decision["outcome"] == "allow")
    assert allowed["question"] == {
        "sku": "A-1",
        "variant": "maker-px9-u1",
        "host": "north",
        "condition": "new",
        "territory": "US",
        "channel": "web",
    }
    # The policy and the carrier's approval bear on it too, but they are not the vendor's documents.
    assert allowed["evidence"] == [{"kind": "agreement", "document": "AG-77", "version": 1}]
    denied = next(decision for decision in seen if decision["outcome"] == "deny")
    assert [reason["code"] for reason in denied["reasons"]] == ["CARRIER_NOT_APPROVED"]
    problem(api.get("/v1/listings/NONE/decisions"), 404, "not_found")
    problem(api.get("/v1/listings/A-1/decisions?limit=x"), 400, "invalid_request")


def test_preflight_save_publish_and_record_agree(world: SmallWorld, api: Caller) -> None:
    query = "variant=PX9-U2&host=south&condition=new&territory=US&channel=web"
    preflight = json.loads(api.get(f"/v1/listing-restrictions?{query}").content)["restrictions"][0]["reasons"]
    saved = json.loads(api.put("/v1/listings/A-1", world.body(variant="PX9-U2", hosts=["south"])).content)
    refused = problem(api.post("/v1/listings/A-1/publish"), 409, "listing_not_authorized")
    [decision] = json.loads(api.get("/v1/listings/A-1/decisions").content)["data"]
    assert preflight == saved["offers"][0]["reasons"] == refused["reasons"] == decision["reasons"]


def test_a_decision_that_cannot_be_read_is_503(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("/v1/listings/A-1", world.body())

    def fail(*_: object, **__: object) -> Setting:
        raise decisions.DecisionUnavailable("The evidence could not be read.")

    monkeypatch.setattr(decisions, "read_setting", fail)
    for response in (
        api.get("/v1/listings/A-1"),
        api.put("/v1/listings/A-1", world.body(condition="used")),
        api.post("/v1/listings/A-1/publish"),
    ):
        problem(response, 503, "decision_unavailable")
    assert ListingHost.objects.get().listing.condition == "new"
