"""PATCH /v1/listings/{sku}: a merge patch changes what it names, and nothing that somebody else moved meanwhile."""

import json
from typing import Any

import pytest
from django.db.models import F
from django.http import HttpResponse

from authorization import offers
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import Listing, Stock
from seeds import factories
from storefront.api.listings import ListingView
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def patch(api: Caller, body: Any, path: str = "/v1/listings/A-1", **headers: str) -> HttpResponse:
    return api.call("PATCH", path, body, **MERGE_PATCH, **headers)


def patched(api: Caller, body: Any, path: str = "/v1/listings/A-1") -> Any:
    response = patch(api, body, path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


@pytest.fixture
def live(world: SmallWorld, api: Caller) -> Any:
    api.put("/v1/listings/A-1", world.body())
    return json.loads(api.post("/v1/listings/A-1/publish").content)


def test_what_is_not_named_stays(world: SmallWorld, api: Caller, live: Any) -> None:
    shown = patched(api, {"price": {"amount": "149.00"}})
    assert shown["price"] == {"amount": "149.00", "currency": "USD"}
    assert shown["status"] == "LIVE", "the price is no term of the decision"
    for name in ("variant", "hosts", "condition", "territory", "channel", "description", "on_hand"):
        assert shown[name] == live[name]
    assert shown["version"] == live["version"] + 1
    assert patched(api, {"price": {"amount": "149.00"}})["unchanged"] is True
    assert patched(api, {"description": None})["description"] == "", "null takes out what may be left out"
    shown = patched(api, {"hosts": ["north", "south"]})
    assert {offer["host"]: offer["state"] for offer in shown["offers"]} == {
        "north": "LIVE",
        "south": "BLOCKED",
    }
    assert patched(api, {"condition": "used"})["status"] == "BLOCKED", "a term that decides takes it off sale"


def test_stock_that_sales_move_is_not_written_back(
    world: SmallWorld, api: Caller, live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lost sale: the stock is no part of the listing's row, and one is sold while only the price is changed."""
    save_offers = offers._save_offers

    def sold_meanwhile(*arguments: Any) -> Any:
        Stock.objects.update(on_hand=F("on_hand") - 1)
        return save_offers(*arguments)

    assert live["on_hand"] == 5
    with monkeypatch.context() as patching:
        patching.setattr(offers, "_save_offers", sold_meanwhile)
        assert patched(api, {"price": {"amount": "150.00"}})["on_hand"] == 4
    assert patched(api, {"on_hand": 9})["on_hand"] == 9
    assert Listing.objects.get().version == 2, "stock is no version of the listing"


def test_of_two_patches_at_a_time_none_is_lost(
    world: SmallWorld, api: Caller, live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is merged into what is there under the lock, not into what was read before."""
    get_listing = ListingView.get_listing

    def changed_meanwhile(view: ListingView, sku: str) -> Listing:
        listing = get_listing(view, sku)
        Listing.objects.filter(description="Sealed box").update(description="Opened box")
        return listing

    monkeypatch.setattr(ListingView, "get_listing", changed_meanwhile)
    shown = patched(api, {"price": {"amount": "150.00"}})
    assert (shown["description"], shown["price"]["amount"]) == ("Opened box", "150.00")


def test_a_dry_run_foretells_and_writes_nothing(world: SmallWorld, api: Caller, live: Any) -> None:
    before = [model.objects.count() for model in (LedgerEntry, OutboxRow)]
    foretold = patched(api, {"condition": "used"}, "/v1/listings/A-1?validate_only=true")
    assert (foretold["validate_only"], foretold["status"]) == (True, "DRAFT")
    assert foretold["condition"] == "used"
    assert before == [model.objects.count() for model in (LedgerEntry, OutboxRow)]
    assert json.loads(api.get("/v1/listings/A-1").content)["condition"] == "new"


def test_a_patch_holds_to_if_match(world: SmallWorld, api: Caller, live: Any) -> None:
    etag = api.get("/v1/listings/A-1?include=issues,decisions")["ETag"]
    assert etag == api.get("/v1/listings/A-1")["ETag"], "one tag, whatever stands beside the listing"
    assert patch(api, {"on_hand": 7}, **{"If-Match": etag}).status_code == 200
    problem(patch(api, {"on_hand": 8}, **{"If-Match": etag}), 412, "version_conflict")


def test_what_is_no_patch_of_a_listing_is_refused(world: SmallWorld, api: Caller, live: Any) -> None:
    for body, found in (
        ({"status": "LIVE"}, {"/status"}),
        ({"status": None}, {"/status"}),
        ({"sku": "A-2"}, {"/sku"}),
        ({"variant": None}, {"/variant"}),
        ({"price": {"amount": 3}, "hosts": []}, {"/price/amount", "/hosts"}),
        ({"price": {"tax": None}}, {"/price/tax"}),
        ({"hosts": ["nowhere"]}, {"/hosts/0"}),
        ([], {""}),
    ):
        assert pointers(problem(patch(api, body), 400, "invalid_request")) == found
    refused = api.call("PATCH", "/v1/listings/A-1", {"on_hand": 1})
    problem(refused, 415, "unsupported_media_type")
    assert json.loads(api.get("/v1/listings/A-1").content) == {
        k: v for k, v in live.items() if k != "results"
    }
    problem(patch(api, {}, "/v1/listings/A-2"), 404, "not_found")
    problem(
        patch(caller_of(factories.OrganizationFactory.create(slug="vendor-two")), {"on_hand": 1}),
        404,
        "not_found",
    )
    api.delete("/v1/listings/A-1")
    problem(patch(api, {"on_hand": 1}), 409, "invalid_transition")
