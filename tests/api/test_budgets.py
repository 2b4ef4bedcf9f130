"""Each key has a budget of reads, of writes and of feeds for a minute, counted exactly and told with every answer."""

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.http import HttpResponse

from authorization import clock
from catalog.models import Listing
from storefront import rates
from storefront.api.views import KeyedView
from tests.api.conftest import Caller, SmallWorld, caller_of, carrier_caller, make_world, problem


@pytest.fixture(autouse=True)
def small(settings: Any) -> None:
    settings.API_READS_PER_MINUTE, settings.API_WRITES_PER_MINUTE = 3, 2


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the machine's clock on by so many seconds."""
    now = clock.machine_now()

    def move_on(seconds: float) -> None:
        monkeypatch.setattr(clock, "machine_now", lambda: now + timedelta(seconds=seconds))

    move_on(0)
    return move_on


def left(answer: HttpResponse) -> tuple[str, int, int]:
    found = re.fullmatch(r'"([a-z]+)";r=(\d+);t=(\d+)', answer["RateLimit"])
    assert found is not None
    return found[1], int(found[2]), int(found[3])


def test_every_answer_says_what_is_left(world: SmallWorld, api: Caller, at: Any) -> None:
    answer = api.get("/v1/me")
    assert answer["RateLimit-Policy"] == '"read";q=3;w=60'
    assert left(answer) == ("read", 2, 60)
    at(20.5)
    # Refusals and failures too, and they count.
    missing = api.get("/v1/listings/NONE")
    assert (missing.status_code, left(missing)) == (404, ("read", 1, 40))
    assert left(api.call("HEAD", "/v1/me")) == ("read", 0, 40)


def test_what_is_over_is_refused_and_says_when_to_come_back(world: SmallWorld, api: Caller, at: Any) -> None:
    for _ in range(3):
        assert api.get("/v1/me").status_code == 200
    at(59.9)
    answer = api.get("/v1/me")
    body = problem(answer, 429, "quota_exceeded")
    assert body["violated-policies"] == ["read"]
    assert left(answer) == ("read", 0, 1)
    # Never earlier than the window ends.
    assert answer["Retry-After"] == "1"
    at(60)
    assert api.get("/v1/me").status_code == 200


def test_reads_writes_and_keys_have_budgets_of_their_own(world: SmallWorld, api: Caller, at: Any) -> None:
    question = {"variant": world.approved.slug, "condition": "new", "territory": "US", "channel": "web"}
    for _ in range(3):
        asked = api.post("/v1/listing-restrictions/query", {"questions": [question]})
        assert (asked.status_code, left(asked)[0]) == (200, "read")
    problem(api.get("/v1/me"), 429, "quota_exceeded")
    assert left(api.put("/v1/listings/A-1", world.body())) == ("write", 1, 60)
    assert left(api.delete("/v1/listings/A-1")) == ("write", 0, 60)
    problem(api.put("/v1/listings/A-2", world.body()), 429, "quota_exceeded")
    assert Listing.objects.count() == 1
    assert left(caller_of(world.vendor).get("/v1/me")) == ("read", 2, 60)
    assert left(carrier_caller(world.north).get("/v1/me")) == ("read", 2, 60)


def test_a_feed_is_none_of_the_writes() -> None:
    class Feeds(KeyedView):
        is_feed = True

    assert [Feeds.budget_of(method) for method in ("GET", "POST", "DELETE")] == ["read", "feed", "write"]


def test_a_key_that_may_nothing_is_counted_as_well(world: SmallWorld, api: Caller, at: Any) -> None:
    for _ in range(2):
        problem(carrier := carrier_caller(world.north).put("/v1/listings/A-1", {}), 403, "not_for_this_key")
        assert left(carrier) == ("write", 1, 60)


def test_a_stranger_is_told_of_no_budget(stranger: Caller, db: None) -> None:
    assert "RateLimit" not in stranger.get("/v1/me")


def test_while_it_cannot_be_counted_reads_go_on_and_writes_do_not(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OperationalError("the limiter's store is away")

    monkeypatch.setattr(rates, "spend", fail)
    logging.disable(logging.CRITICAL)
    try:
        answer = api.get("/v1/me")
        assert (answer.status_code, "RateLimit" in answer) == (200, False)
        refused = api.put("/v1/listings/A-1", world.body())
    finally:
        logging.disable(logging.NOTSET)
    problem(refused, 503, "temporarily_unavailable")
    assert "Retry-After" in refused
    assert not Listing.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_it_is_exact_when_many_ask_at_once(settings: Any) -> None:
    settings.API_READS_PER_MINUTE = 10
    secret = caller_of(make_world().vendor).secret

    def ask(_: int) -> int:
        try:
            return Caller(secret).get("/v1/me").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(ask, range(24)))
    assert sorted(statuses) == [200] * 10 + [429] * 14
    assert json.loads(Caller(secret).get("/v1/me").content)["code"] == "quota_exceeded"
