"""Two requests on one SKU at the same time: one effect, and both callers are told the truth."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from authorization import offers
from authorization.offers import ListingMoved
from catalog.models import Listing
from tests.api.conftest import Caller, SmallWorld, caller_of, make_world, problem


def at_once(count: int, work: Callable[[int], int]) -> list[int]:
    def run(number: int) -> int:
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
def test_the_same_first_request_many_times_is_one_listing() -> None:
    world = make_world()
    secret = caller_of(world.vendor).secret
    statuses = at_once(6, lambda _: Caller(secret).put("/v1/listings/A-1", world.body()).status_code)
    assert sorted(statuses) == [200] * 5 + [201]
    assert Listing.objects.get().version == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_edits_of_one_version_one_is_made() -> None:
    """The lost update: everybody has read the same listing, and If-Match lets one of them through."""
    world = make_world()
    secret = caller_of(world.vendor).secret
    etag = Caller(secret).put("/v1/listings/A-1", world.body())["ETag"]

    def edit(number: int) -> int:
        body = world.body(on_hand=100 + number)
        return Caller(secret).put("/v1/listings/A-1", body, **{"If-Match": etag}).status_code

    assert sorted(at_once(6, edit)) == [200] + [412] * 5


def test_a_put_that_lost_the_race_is_tried_once_more(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, losses = offers.save_listing, [ListingMoved("lost")]

    def lose_once(**arguments: Any) -> offers.SavedListing:
        if losses:
            raise losses.pop()
        return save(**arguments)

    monkeypatch.setattr(offers, "save_listing", lose_once)
    assert api.put("/v1/listings/A-1", world.body()).status_code == 201


def test_a_put_that_goes_on_losing_says_so(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(**_: Any) -> offers.SavedListing:
        raise ListingMoved("A-1 was saved by another request at the same time; send it again.")

    monkeypatch.setattr(offers, "save_listing", lose)
    body = problem(api.put("/v1/listings/A-1", world.body()), 409, "concurrent_change")
    assert "send it again" in json.dumps(body)
