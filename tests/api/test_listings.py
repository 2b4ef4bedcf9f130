"""Saving, reading, listing and ending a listing."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, revocations
from authorization.models import Fact, LedgerEntry, OutboxRow
from catalog.models import Listing, ListingHost
from seeds import factories
from storefront.api import listing_output
from tests.api.conftest import Caller, SmallWorld, pointers, problem


def read(api: Caller, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Listing, ListingHost, OutboxRow, LedgerEntry))


def test_first_201_then_200_and_unchanged(world: SmallWorld, api: Caller) -> None:
    first = api.put("/v1/listings/A-1", world.body())
    assert first.status_code == 201
    assert first["Location"] == "/v1/listings/A-1"
    shown = json.loads(first.content)
    assert shown["unchanged"] is False
    assert shown["status"] == "DRAFT"
    assert shown["price"] == {"amount": "199.00", "currency": "USD"}
    assert shown["created_at"].endswith("Z")
    [offer] = shown["offers"]
    assert (offer["host"], offer["state"], offer["answer"], offer["reasons"]) == (
        "north",
        "DRAFT",
        "allow",
        [],
    )
    before = rows()
    second = api.put("/v1/listings/A-1", world.body())
    assert second.status_code == 200
    assert json.loads(second.content) == {**shown, "unchanged": True}
    assert second["ETag"] == first["ETag"]
    assert rows() == before


def test_what_is_read_is_what_was_sent(world: SmallWorld, api: Caller) -> None:
    body = world.body(hosts=["south", "north"], description="Zeile 1\n\tzwei ☎", on_hand=0)
    api.put("/v1/listings/A-1", body)
    shown = read(api, "/v1/listings/A-1")
    assert {name: shown[name] for name in body} == body
    assert {name: shown[name] for name in ("model_number", "device")} == {
        "model_number": "PX9-U1",
        "device": "Maker PX 9",
    }


def test_a_whole_number_may_be_written_with_a_point(world: SmallWorld, api: Caller) -> None:
    """5.0 is an integer to JSON Schema, and what some languages write for one."""
    api.put("/v1/listings/A-1", world.body(on_hand=5.0))
    assert repr(read(api, "/v1/listings/A-1")["on_hand"]) == "5"


def test_it_is_stored_though_not_authorized(world: SmallWorld, api: Caller) -> None:
    response = api.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    assert response.status_code == 201
    shown = json.loads(response.content)
    assert shown["status"] == "BLOCKED"
    by_host = {offer["host"]: offer for offer in shown["offers"]}
    assert by_host["north"]["state"] == "DRAFT"
    assert by_host["south"]["state"] == "BLOCKED"
    assert by_host["south"]["reason_codes"] == ["CARRIER_NOT_APPROVED"]
    assert [reason["code"] for reason in by_host["south"]["reasons"]] == ["CARRIER_NOT_APPROVED"]


def test_a_change_is_a_new_version(world: SmallWorld, api: Caller) -> None:
    first = api.put("/v1/listings/A-1", world.body())
    second = api.put("/v1/listings/A-1", world.body(price={"amount": "189.5", "currency": "USD"}))
    assert second.status_code == 200
    shown = json.loads(second.content)
    assert shown["unchanged"] is False
    assert shown["version"] == 2
    assert shown["price"]["amount"] == "189.50"
    assert second["ETag"] != first["ETag"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"status": "LIVE"}, "/status"),
        ({"state": "LIVE"}, "/state"),
        ({"region": "US"}, "/region"),
        ({"variant": None}, "/variant"),
        ({"variant": 7}, "/variant"),
        ({"variant": "PX9-U7"}, "/variant"),
        ({"variant": "x" * 101}, "/variant"),
        ({"hosts": []}, "/hosts"),
        ({"hosts": "north"}, "/hosts"),
        ({"hosts": {"north": 1}}, "/hosts"),
        ({"hosts": ["north", "north"]}, "/hosts"),
        ({"hosts": ["north", "nowhere"]}, "/hosts/1"),
        ({"hosts": [["north"]]}, "/hosts/0"),
        ({"condition": ["new"]}, "/condition"),
        ({"condition": True}, "/condition"),
        ({"territory": "uS"}, "/territory"),
        ({"territory": "US\n"}, "/territory"),
        ({"channel": ""}, "/channel"),
        ({"description": None}, "/description"),
        ({"description": 5}, "/description"),
        ({"description": "x" * 4001}, "/description"),
        ({"price": "199.00"}, "/price"),
        ({"price": {"amount": "199.00"}}, "/price/currency"),
        ({"price": {"amount": 199.0, "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": True, "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "NaN", "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "1e3", "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "0.00", "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "-1.00", "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "1.001", "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "١٢", "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "9" * 11, "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "9" * 9999, "currency": "USD"}}, "/price/amount"),
        ({"price": {"amount": "1.00", "currency": "usd"}}, "/price/currency"),
        ({"price": {"amount": "1.00", "currency": "USD", "tax": "0"}}, "/price/tax"),
        ({"on_hand": -1}, "/on_hand"),
        ({"on_hand": True}, "/on_hand"),
        ({"on_hand": "5"}, "/on_hand"),
        ({"on_hand": 5.5}, "/on_hand"),
        ({"on_hand": 10**30}, "/on_hand"),
        ({"on_hand": None}, "/on_hand"),
        ({"a/b": 1}, "/a~1b"),
    ],
    ids=str,
)
def test_bad_input_points_at_the_fault_and_stores_nothing(
    world: SmallWorld, api: Caller, change: dict[str, Any], pointer: str
) -> None:
    before = rows()
    body = problem(api.put("/v1/listings/A-1", world.body(**change)), 400, "invalid_request")
    assert pointers(body) == {pointer}
    assert {error["in"] for error in body["errors"]} == {"body"}
    assert rows() == before


def test_status_points_at_the_verb(world: SmallWorld, api: Caller) -> None:
    [error] = problem(api.put("/v1/listings/A-1", world.body(status="LIVE")), 400, "invalid_request")[
        "errors"
    ]
    assert error["code"] == "output_only"
    assert "/publish" in error["detail"]


def test_all_missing_members_are_named_at_once(world: SmallWorld, api: Caller) -> None:
    body = problem(api.put("/v1/listings/A-1", {}), 400, "invalid_request")
    assert pointers(body) == {f"/{name}" for name in world.body() if name != "description"}


def test_an_unknown_variant_is_answered_with_the_nearest(world: SmallWorld, api: Caller) -> None:
    body = problem(api.put("/v1/listings/A-1", world.body(variant="PX9-U7")), 400, "invalid_request")
    assert "PX9-U1" in body["errors"][0]["detail"]


@pytest.mark.parametrize("sku", ["a%20b", "%C3%A9", "x" * 65, "a%00", "a%0A", "a:b", "%25"])
def test_a_sku_of_another_form(world: SmallWorld, api: Caller, sku: str) -> None:
    body = problem(api.put(f"/v1/listings/{sku}", world.body()), 400, "invalid_request")
    assert body["errors"][0]["in"] == "path"
    problem(api.get(f"/v1/listings/{sku}"), 404, "not_found")
    problem(api.delete(f"/v1/listings/{sku}"), 404, "not_found")


@pytest.mark.parametrize("sku", ["a", "A.b_c-9", "x" * 64, "publish", "...", "query"])
def test_a_sku_that_is_fine(world: SmallWorld, api: Caller, sku: str) -> None:
    assert api.put(f"/v1/listings/{sku}", world.body()).status_code == 201
    assert read(api, f"/v1/listings/{sku}")["sku"] == sku


def test_skus_differ_by_case(world: SmallWorld, api: Caller) -> None:
    assert api.put("/v1/listings/a", world.body()).status_code == 201
    assert api.put("/v1/listings/A", world.body()).status_code == 201


# --- dry runs ---------------------------------------------------------------------------------------------


def test_a_dry_run_decides_and_writes_nothing(world: SmallWorld, api: Caller) -> None:
    before = rows()
    response = api.put("/v1/listings/A-1?validate_only=true", world.body(hosts=["north", "south"]))
    assert response.status_code == 200
    shown = json.loads(response.content)
    assert shown["validate_only"] is True
    assert [(offer["host"], offer["state"]) for offer in shown["offers"]] == [
        ("north", "DRAFT"),
        ("south", "BLOCKED"),
    ]
    assert rows() == before
    problem(api.get("/v1/listings/A-1"), 404, "not_found")


def test_a_dry_run_foretells_the_save(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    api.post("/v1/listings/A-1/publish")
    for body in (world.body(on_hand=9), world.body(condition="used", hosts=["south", "north"])):
        foretold = json.loads(api.put("/v1/listings/A-1?validate_only=true", body).content)
        saved = json.loads(api.put("/v1/listings/A-1", body).content)
        assert foretold["status"] == saved["status"]
        state_of = {offer["host"]: offer["state"] for offer in saved["offers"]}
        for offer in foretold["offers"]:
            assert offer["state"] == state_of[offer["host"]]


def test_a_dry_run_refuses_what_saving_refuses(world: SmallWorld, api: Caller) -> None:
    problem(api.put("/v1/listings/A-1?validate_only=true", world.body(on_hand=-1)), 400, "invalid_request")
    problem(api.put("/v1/listings/A-1?validate_only=yes", world.body()), 400, "invalid_request")
    api.put("/v1/listings/A-1", world.body())
    assert api.delete("/v1/listings/A-1?validate_only=true").status_code == 204
    assert read(api, "/v1/listings/A-1")["status"] == "DRAFT"
    api.delete("/v1/listings/A-1")
    problem(api.put("/v1/listings/A-1?validate_only=true", world.body()), 409, "invalid_transition")


# --- conditional requests ---------------------------------------------------------------------------------


def test_if_none_match(world: SmallWorld, api: Caller) -> None:
    etag = api.put("/v1/listings/A-1", world.body())["ETag"]
    assert etag.startswith('"')
    read_again = api.get("/v1/listings/A-1", **{"If-None-Match": f'"other", W/{etag}'})
    assert read_again.status_code == 304
    assert read_again.content == b""
    assert read_again["ETag"] == etag
    assert api.get("/v1/listings/A-1", **{"If-None-Match": '"other"'}).status_code == 200


def test_if_match(world: SmallWorld, api: Caller) -> None:
    etag = api.put("/v1/listings/A-1", world.body())["ETag"]
    newer = api.put("/v1/listings/A-1", world.body(on_hand=6), **{"If-Match": etag})
    assert newer.status_code == 200
    problem(api.put("/v1/listings/A-1", world.body(on_hand=7), **{"If-Match": etag}), 412, "version_conflict")
    problem(api.delete("/v1/listings/A-1", **{"If-Match": etag}), 412, "version_conflict")
    problem(api.post("/v1/listings/A-1/publish", **{"If-Match": etag}), 412, "version_conflict")
    problem(api.put("/v1/listings/A-2", world.body(), **{"If-Match": "*"}), 412, "version_conflict")
    assert read(api, "/v1/listings/A-1")["on_hand"] == 6
    assert api.delete("/v1/listings/A-1", **{"If-Match": newer["ETag"]}).status_code == 204


def test_create_only(world: SmallWorld, api: Caller) -> None:
    create_only = {"If-None-Match": "*"}
    assert api.put("/v1/listings/A-1", world.body(), **create_only).status_code == 201
    problem(api.put("/v1/listings/A-1", world.body(), **create_only), 412, "version_conflict")


def test_the_etag_changes_with_the_decision(world: SmallWorld, api: Caller) -> None:
    """Else a vendor who asks "has it changed?" would be told no after a revocation."""
    etag = api.put("/v1/listings/A-1", world.body())["ETag"]
    revoke_agreement(world)
    assert api.get("/v1/listings/A-1", **{"If-None-Match": etag}).status_code == 200


# --- the state after a revocation, before its sweep -------------------------------------------------------


def revoke_agreement(world: SmallWorld) -> None:
    at = clock.now()
    fact = Fact.objects.get(code=world.agreement_code)
    change = revocations.RevokeAgreement(fact_id=fact.pk, reason_code="MANUFACTURER_DISCLAIMS")
    preview = revocations.preview(change, at=at)
    revocations.execute(
        change,
        digest=preview.digest,
        requested_by="Maker",
        word_received_at=at,
        note="",
        by=factories.BUILDER,
        at=at,
    )


def test_from_the_commit_of_a_revocation_on_nothing_is_for_sale(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    api.post("/v1/listings/A-1/publish")
    assert read(api, "/v1/listings/A-1")["offers"][0]["is_for_sale"] is True
    revoke_agreement(world)
    [offer] = read(api, "/v1/listings/A-1")["offers"]
    assert offer["is_for_sale"] is False
    assert offer["answer"] == "deny"
    [reason] = offer["reasons"]
    assert reason["code"] == "AGREEMENT_REVOKED"
    assert reason["document"] == "AG-77"


# --- ending a listing -------------------------------------------------------------------------------------


def test_delete_ends_a_listing_for_good(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    api.post("/v1/listings/A-1/publish")
    response = api.delete("/v1/listings/A-1")
    assert response.status_code == 204
    assert response.content == b""
    assert read(api, "/v1/listings/A-1")["status"] == "REMOVED"
    # Asked for again, it is so already.
    assert api.delete("/v1/listings/A-1").status_code == 204
    body = problem(api.put("/v1/listings/A-1", world.body()), 409, "invalid_transition")
    assert "another SKU" in body["detail"]
    problem(api.post("/v1/listings/A-1/publish"), 409, "invalid_transition")
    problem(api.delete("/v1/listings/A-2"), 404, "not_found")


def test_dropping_a_host_removes_its_offer_only(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    api.put("/v1/listings/A-1", world.body(hosts=["north"]))
    shown = read(api, "/v1/listings/A-1")
    assert shown["hosts"] == ["north"]
    assert shown["status"] == "DRAFT"
    assert {offer["host"]: offer["state"] for offer in shown["offers"]} == {
        "north": "DRAFT",
        "south": "REMOVED",
    }
    api.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    shown = read(api, "/v1/listings/A-1")
    assert {offer["host"]: offer["state"] for offer in shown["offers"]} == {
        "north": "DRAFT",
        "south": "BLOCKED",
    }, "listed again, it is decided again: this host has not approved it"


# --- lists ------------------------------------------------------------------------------------------------


def test_filters(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/LIVE-1", world.body(hosts=["north", "south"]))
    api.post("/v1/listings/LIVE-1/publish")
    api.put("/v1/listings/DRAFT-1", world.body())
    api.put("/v1/listings/BLOCKED-1", world.body(variant="PX9-U2"))
    api.put("/v1/listings/MIXED-1", world.body(hosts=["north", "south"]))
    api.put("/v1/listings/GONE-1", world.body())
    api.delete("/v1/listings/GONE-1")

    def skus(query: str) -> list[str]:
        found = read(api, f"/v1/listings{query}")["data"]
        assert all(f"status={row['status']}" in query for row in found) or "status" not in query
        return [row["sku"] for row in found]

    assert skus("") == ["LIVE-1", "DRAFT-1", "BLOCKED-1", "MIXED-1", "GONE-1"]
    assert skus("?status=LIVE") == ["LIVE-1"]
    assert skus("?status=DRAFT") == ["DRAFT-1"]
    assert skus("?status=BLOCKED") == ["BLOCKED-1", "MIXED-1"]
    assert skus("?status=REMOVED") == ["GONE-1"]
    assert skus("?status=SUSPENDED") == []
    assert skus("?reason=CARRIER_NOT_APPROVED") == ["LIVE-1", "BLOCKED-1", "MIXED-1"]
    assert skus("?reason=CARRIER_NOT") == []
    assert skus("?status=BLOCKED&reason=CARRIER_NOT_APPROVED&limit=1") == ["BLOCKED-1"]
    problem(api.get("/v1/listings?status=live"), 400, "invalid_request")
    problem(api.get("/v1/listings?reason=x%25"), 400, "invalid_request")


def test_a_cursor_holds_for_its_filters_only(world: SmallWorld, api: Caller) -> None:
    for number in range(3):
        api.put(f"/v1/listings/A-{number}", world.body())
    page = read(api, "/v1/listings?status=DRAFT&limit=2")
    rest = read(api, f"/v1/listings?status=DRAFT&limit=2&cursor={page['next_cursor']}")
    assert [row["sku"] for row in page["data"] + rest["data"]] == ["A-0", "A-1", "A-2"]
    assert rest["next_cursor"] is None
    problem(api.get(f"/v1/listings?status=LIVE&cursor={page['next_cursor']}"), 400, "invalid_request")
    problem(api.get(f"/v1/variants?cursor={page['next_cursor']}"), 400, "invalid_request")


def test_a_page_of_50_costs_as_many_queries_as_one_of_5(world: SmallWorld, api: Caller) -> None:
    for number in range(50):
        api.put(f"/v1/listings/A-{number}", world.body(hosts=["north", "south"]))

    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert len(read(api, f"/v1/listings?limit={limit}")["data"]) == limit
        return len(captured)

    queries(5)
    assert queries(5) == queries(50)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["DRAFT", "LIVE", "REMOVED"], "LIVE"),
        (["DRAFT", "SUSPENDED", "BLOCKED"], "SUSPENDED"),
        (["DRAFT", "BLOCKED"], "BLOCKED"),
        (["DRAFT", "REMOVED"], "DRAFT"),
        (["REMOVED"], "REMOVED"),
    ],
)
def test_the_status_is_the_strongest_state(states: list[str], status: str) -> None:
    assert listing_output.status_of(states) == status


@pytest.mark.parametrize(
    ("price", "pointer", "said"),
    [
        ({"amount": "1.00", "currency": "EUR"}, "/price/currency", "give the price in USD"),
        ({"amount": "-1", "currency": "USD"}, "/price/amount", "positive, at most 9999999999.99"),
        ({"amount": "10000000000", "currency": "USD"}, "/price/amount", "positive, at most 9999999999.99"),
    ],
)
def test_a_price_that_the_shop_cannot_take_is_refused_with_the_cure(api, world, price, pointer, said):
    response = api.put("/v1/listings/A-1", world.body(price=price))

    [error] = response.json()["errors"]
    assert (response.status_code, error["pointer"]) == (400, pointer)
    assert said in error["detail"]
