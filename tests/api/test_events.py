"""GET /v1/events: a vendor's own events, by position, none missed and none of another's."""

import json
from datetime import timedelta
from typing import Any

import pytest

from authorization import clock, outbox
from authorization.models import OutboxRow
from catalog.models import Organization
from seeds import factories
from storefront import events
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem


def happen(vendor: Organization, count: int = 1, event: str = "listing.suspended", **more: Any) -> list[str]:
    """Events of this vendor, committed and stamped. Returns their ids."""
    ids = []
    for number in range(count):
        payload = {"vendor_id": vendor.pk, "sku": f"A-{number}", "offer_id": 7} | more
        ids.append(str(outbox.announce(event=event, payload=payload, at=clock.now())))
    outbox.stamp_positions()
    return ids


def read(caller: Caller, **query: Any) -> dict[str, Any]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    response = caller.get(f"/v1/events?{asked}")
    assert response.status_code == 200, response.content
    found: dict[str, Any] = json.loads(response.content)
    return found


def test_what_a_vendor_does_and_what_is_done_to_it_stands_in_its_log(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    api.post("/v1/listings/A-1/publish")
    api.delete("/v1/listings/A-1")
    outbox.stamp_positions()
    page = read(api)
    types = ["listing.updated", "listing.published", "listing.removed"]
    assert [event["type"] for event in page["data"]] == types
    published = page["data"][1]
    assert published.keys() == {"id", "type", "timestamp", "position", "data"}
    assert published["timestamp"].endswith("Z")
    assert published["data"].keys() == {"sku", "host", "state", "reason_codes", "decision_id", "revision"}
    assert published["data"]["sku"] == "A-1"
    assert published["data"]["host"] == "north"


def test_nothing_of_another_vendor_is_shown_and_its_events_move_the_cursor_only(
    world: SmallWorld, api: Caller
) -> None:
    other = factories.OrganizationFactory.create(slug="vendor-two")
    mine = happen(world.vendor)
    happen(other, 5)
    page = read(api)
    assert [event["id"] for event in page["data"]] == mine
    assert page["has_more"] is False
    assert int(page["next_cursor"]) == events.newest_position()
    assert read(api, after=page["next_cursor"])["data"] == []
    theirs = read(caller_of(other))["data"]
    assert len(theirs) == 5
    assert {event["id"] for event in theirs}.isdisjoint(mine)


def test_a_sync_loop_sees_every_event_once_at_any_page_size(world: SmallWorld, api: Caller) -> None:
    other = factories.OrganizationFactory.create(slug="vendor-two")
    expected: list[str] = []
    seen: list[str] = []
    after = "0"
    for turn in range(6):
        expected += happen(world.vendor, 3)
        happen(other, 2)
        has_more = True
        while has_more:
            page = read(api, after=after, limit=turn + 1)
            seen += [event["id"] for event in page["data"]]
            after, has_more = page["next_cursor"], page["has_more"]
    assert seen == expected


def test_an_event_that_was_committed_late_comes_late_and_is_not_missed(
    world: SmallWorld, api: Caller
) -> None:
    """Sequence numbers are not commit order: the first row may be stamped after the second."""
    early = OutboxRow.objects.create(
        event="listing.suspended",
        payload={"vendor_id": world.vendor.pk},
        due_at=clock.now(),
        created_at=clock.now(),
    )
    early.delete()
    happen(world.vendor)
    after = read(api)["next_cursor"]
    OutboxRow.objects.create(
        pk=early.pk,
        event_id=early.event_id,
        event=early.event,
        payload=early.payload,
        due_at=early.due_at,
        created_at=early.created_at,
    )
    assert read(api, after=after)["data"] == []
    outbox.stamp_positions()
    assert [event["id"] for event in read(api, after=after)["data"]] == [str(early.event_id)]


def test_other_events_of_the_shop_are_no_business_of_a_vendor(world: SmallWorld, api: Caller) -> None:
    happen(world.vendor, event="vendor.to_tell")
    happen(world.vendor, event="order.decision_due")
    assert read(api)["data"] == []


def test_events_older_than_thirty_days_are_not_shown_and_a_reader_that_missed_some_is_told(
    world: SmallWorld, api: Caller
) -> None:
    happen(world.vendor, 3)
    after = read(api, limit=1)["next_cursor"]
    OutboxRow.objects.update(created_at=clock.now() - timedelta(days=31))
    assert read(api)["data"] == []
    problem(api.get(f"/v1/events?after={after}"), 410, "events_expired")
    # Who had read all of them has missed nothing, however long ago.
    newest = events.newest_position()
    fresh = happen(world.vendor)
    assert [event["id"] for event in read(api, after=newest)["data"]] == fresh


def test_a_gap_that_pruning_left_is_told(world: SmallWorld, api: Caller) -> None:
    happen(world.vendor, 5)
    rows = OutboxRow.objects.filter(handler="").order_by("position")
    after = rows[0].position
    OutboxRow.objects.filter(pk__in=[row.pk for row in rows[1:3]]).delete()
    problem(api.get(f"/v1/events?after={after}"), 410, "events_expired")


def test_a_position_that_nothing_has_is_refused(world: SmallWorld, api: Caller) -> None:
    happen(world.vendor)
    body = problem(api.get(f"/v1/events?after={events.newest_position() + 1}"), 400, "invalid_request")
    assert pointers(body) == {"/after"}


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        "after=1.5",
        f"after={2**63}",
        "limit=0",
        "limit=x",
        "since=1",
        "after=1&after=2",
    ],
)
def test_a_bad_query_is_refused(world: SmallWorld, api: Caller, query: str) -> None:
    problem(api.get(f"/v1/events?{query}"), 400, "invalid_request")


def test_a_limit_above_the_maximum_is_lowered(world: SmallWorld, api: Caller) -> None:
    happen(world.vendor, 201)
    page = read(api, limit=100_000)
    assert (len(page["data"]), page["has_more"]) == (200, True)


def test_a_page_costs_the_same_whatever_its_size(
    world: SmallWorld, api: Caller, django_assert_num_queries: Any
) -> None:
    happen(world.vendor, 120)
    read(api)
    # Key, budget, newest position, what follows `after`, the page.
    for limit in (1, 100):
        with django_assert_num_queries(5):
            read(api, after=1, limit=limit)
