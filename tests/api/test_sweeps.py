"""GET /v1/sweeps: a vendor sees what a sweep did to its own offers, and of others nothing but how much is done."""

import json
from datetime import timedelta
from typing import Any

import pytest

from authorization import clock, outbox, revocations, sweeps
from authorization.actors import Actor
from authorization.models import OutboxRow, Sweep
from seeds.factories import World, make_sellable
from tests.api.conftest import Caller, caller_of, problem

pytestmark = pytest.mark.django_db
DESK = Actor("user", "desk")


@pytest.fixture
def world(db: None) -> World:
    return make_sellable()


def withdraw_host(world: World) -> None:
    # The sweeps of what made the world come first.
    outbox.pump()
    at = clock.now()
    change = revocations.PlaceHold(
        code="HOLD-1",
        placed_by="the shop",
        reason_code="SHOP_REVIEW",
        note="test",
        targets=(("host", str(world.host.pk)),),
    )
    revocations.execute(
        change,
        digest=revocations.preview(change, at=at).digest,
        requested_by="the carrier",
        word_received_at=at,
        note="",
        by=DESK,
        at=at,
    )


def read(caller: Caller, path: str) -> dict[str, Any]:
    response = caller.get(path)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = json.loads(response.content)
    return found


def test_each_vendor_sees_its_own_figures_only(world: World) -> None:
    others = [make_sellable(host=world.host) for _ in range(3)]
    make_sellable(vendor=world.vendor, variant=world.variant, sku="SECOND", host=world.host)
    untouched = make_sellable()
    withdraw_host(world)
    outbox.pump()
    outbox.stamp_positions()
    mine = caller_of(world.vendor)
    [shown] = read(mine, "/v1/sweeps")["data"]
    sweep = Sweep.objects.get(revocation__isnull=False)
    assert shown["sweep_id"] == sweep.pk
    assert shown["revision"] == sweep.revision_id
    assert (shown["delisted"], shown["reinstated"]) == (2, 0)
    assert shown["progress"] == {"percent_done": 100.0, "percent_per_s": None, "eta_s": 0}
    assert shown["finished_at"].endswith("Z")
    assert read(mine, f"/v1/sweeps/{sweep.pk}") == shown
    assert read(caller_of(others[0].vendor), f"/v1/sweeps/{sweep.pk}")["delisted"] == 1
    stranger = caller_of(untouched.vendor)
    assert read(stranger, "/v1/sweeps")["data"] == []
    problem(stranger.get(f"/v1/sweeps/{sweep.pk}"), 404, "not_found")
    # The events name it.
    assert {
        event["data"]["sweep_id"]
        for event in read(mine, "/v1/events")["data"]
        if event["type"] == "listing.suspended"
    } == {sweep.pk}


def test_a_sweep_under_way_says_how_far_it_is(
    world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdraw_host(world)
    outbox.pump()
    outbox.stamp_positions()
    Sweep.objects.update(finished_at=None)
    api = caller_of(world.vendor)

    def progress(sweep: Sweep) -> sweeps.Progress:
        return sweeps.Progress(
            offers=800,
            decided=200,
            delisted=150,
            reinstated=0,
            chunks=8,
            chunks_done=2,
            is_planned=True,
            is_waiting=False,
            rate_per_s=40.0,
            eta_s=15.0,
            oldest_undone_at=None,
        )

    monkeypatch.setattr(sweeps, "progress", progress)
    [shown] = read(api, "/v1/sweeps")["data"]
    assert shown["progress"] == {"percent_done": 25.0, "percent_per_s": 5.0, "eta_s": 15}
    assert "150" not in json.dumps(shown["progress"])


def test_sweeps_older_than_the_events_are_not_listed(world: World) -> None:
    withdraw_host(world)
    outbox.pump()
    outbox.stamp_positions()
    api = caller_of(world.vendor)
    OutboxRow.objects.update(created_at=clock.now() - timedelta(days=29))
    assert read(api, "/v1/sweeps")["data"]
    OutboxRow.objects.update(created_at=clock.now() - timedelta(days=31))
    assert read(api, "/v1/sweeps")["data"] == []


@pytest.mark.parametrize("path", ["/v1/sweeps/0", "/v1/sweeps/99999999999999999999999", "/v1/sweeps/x"])
def test_what_there_is_not_is_404(world: World, path: str) -> None:
    problem(caller_of(world.vendor).get(path), 404, "not_found")


def test_the_list_takes_a_few_queries(world: World, django_assert_max_num_queries: Any) -> None:
    withdraw_host(world)
    outbox.pump()
    outbox.stamp_positions()
    api = caller_of(world.vendor)
    api.get("/v1/sweeps")
    with django_assert_max_num_queries(4):
        api.get("/v1/sweeps")
