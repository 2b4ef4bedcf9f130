"""POST /v1/listing-batches: each row is answered by itself, as the call for one listing would have answered it."""

import json
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Listing
from tests.api.conftest import Caller, SmallWorld, pointers, problem


def send(api: Caller, rows: list[Any], query: str = "", **more: Any) -> Any:
    response = api.post(f"/v1/listing-batches{query}", {"rows": rows, **more})
    assert response.status_code == 207, response.content
    return json.loads(response.content)


def test_what_is_wrong_with_one_row_stops_no_other(world: SmallWorld, api: Caller) -> None:
    rows = [
        world.body(sku="A-1"),
        world.body(sku="A-2", price={"amount": "3.5E+02", "currency": "USD"}),
        world.body(sku="A-3", hosts=["south"]),
        {"sku": 4},
        world.body(sku="A-1"),
    ]
    shown = send(api, rows)
    assert [(row["row"], row["sku"], row["outcome"]) for row in shown["results"]] == [
        (1, "A-1", "CREATED"),
        (2, "A-2", "DATA_ERROR"),
        (3, "A-3", "BLOCKED"),
        (4, None, "DATA_ERROR"),
        (5, "A-1", "DATA_ERROR"),
    ]
    assert shown["counts"] == {"CREATED": 1, "DATA_ERROR": 3, "BLOCKED": 1}
    assert shown["results"][1]["issues"][0]["pointer"] == "/price/amount"
    assert shown["results"][2]["issues"][0]["code"] == "CARRIER_NOT_APPROVED"
    single = json.loads(api.get("/v1/listings/A-1").content)
    assert single["status"] == shown["results"][0]["listing_status"] == "DRAFT"
    again = send(api, rows[:1])
    assert again["counts"] == {"UNCHANGED": 1}
    published = send(api, [{"sku": "A-1"}, {"sku": "A-3"}, {"sku": "NONE"}], kind="publish")
    assert [row.get("listing_status") for row in published["results"]] == ["LIVE", "BLOCKED", None]
    moved = send(api, [{"sku": "A-1", "on_hand": 2}], kind="inventory")
    assert moved["counts"] == {"UPDATED": 1}
    assert json.loads(api.get("/v1/listings/A-1").content)["on_hand"] == 2


def test_a_dry_run_and_a_repeated_request_write_nothing(world: SmallWorld, api: Caller) -> None:
    shown = send(api, [world.body(sku="A-1")], "?validate_only=true")
    assert (shown["validate_only"], shown["counts"]) == (True, {"CREATED": 1})
    assert not Listing.objects.exists()
    key = {"Idempotency-Key": "once"}
    first = api.post("/v1/listing-batches", {"rows": [world.body(sku="A-1")]}, **key)
    second = api.post("/v1/listing-batches", {"rows": [world.body(sku="A-1")]}, **key)
    assert (first.status_code, second.status_code) == (207, 207)
    assert second["Idempotent-Replayed"] == "true"
    assert json.loads(second.content)["counts"] == {"CREATED": 1}


def test_what_is_no_batch_is_refused_as_a_whole(world: SmallWorld, api: Caller) -> None:
    row = world.body(sku="A-1")
    for body, pointer in (
        ({}, "/rows"),
        ({"rows": []}, "/rows"),
        ({"rows": [row] * 101}, "/rows"),
        ({"rows": [row], "kind": "orders"}, "/kind"),
        ({"rows": [row], "label": "x"}, "/label"),
    ):
        assert pointers(problem(api.post("/v1/listing-batches", body), 400, "invalid_request")) == {pointer}
    assert not Listing.objects.exists()


def test_a_batch_of_forty_costs_as_many_queries_as_one_of_four(world: SmallWorld, api: Caller) -> None:
    def queries(first: int, count: int) -> int:
        rows = [world.body(sku=f"A-{first + n}", hosts=["north", "south"]) for n in range(count)]
        with CaptureQueriesContext(connection) as captured:
            assert send(api, rows)["counts"] == {outcome: count}
        return len(captured)

    outcome = "BLOCKED"
    queries(0, 4)
    assert queries(10, 4) == queries(20, 40)
    # The same again: they stay refused, and each says why.
    outcome = "UNCHANGED"
    assert queries(10, 4) == queries(20, 40)
