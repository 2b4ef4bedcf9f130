"""A vendor's copy of its listings: complete once, and then kept by what changed, in the order of commits."""

import json
from datetime import timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, offers, outbox
from authorization.models import OutboxRow
from catalog.models import Listing, ListingHost, OfferState
from seeds import factories
from storefront import events
from tests.api.conftest import Caller, SmallWorld, caller_of, problem


def read(api: Caller, query: str) -> Any:
    response = api.get(f"/v1/listings?{query}")
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def changed_since(api: Caller, since: str, limit: int = 50) -> tuple[list[str], str]:
    """All pages: the SKUs in the order in which they came, and where to go on."""
    skus: list[str] = []
    cursor = ""
    while True:
        page = read(api, f"updated_since={since}&limit={limit}{cursor}")
        skus += [row["sku"] for row in page["data"]]
        if not page["has_more"]:
            return skus, page["synced_to"]
        cursor = f"&cursor={page['next_cursor']}"


def save(api: Caller, world: SmallWorld, sku: str, **changes: Any) -> None:
    assert api.put(f"/v1/listings/{sku}", world.body(**changes)).status_code in (200, 201)
    outbox.stamp_positions()


def test_a_copy_is_kept_by_what_changed_and_misses_nothing(world: SmallWorld, api: Caller) -> None:
    for number in range(3):
        save(api, world, f"A-{number}")
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    save(other, world, "THEIRS")
    first = read(api, "limit=2")
    save(api, world, "A-3")
    rest = read(api, f"limit=2&cursor={first['next_cursor']}")
    assert first["synced_to"] == rest["synced_to"], "as of before the first page"
    assert [row["sku"] for row in first["data"] + rest["data"]] == ["A-0", "A-1", "A-2", "A-3"]
    skus, since = changed_since(api, rest["synced_to"])
    assert skus == ["A-3"], "made during the walk: told again, never missed"
    assert changed_since(api, since) == ([], since)

    save(api, world, "A-1", on_hand=1)
    save(api, world, "A-0", price={"amount": "1.00", "currency": "USD"})
    save(api, world, "A-1", description="other")
    save(api, world, "A-1", description="other")
    for limit in (1, 2, 50):
        skus, synced_to = changed_since(api, since, limit)
        assert set(skus) == {"A-0", "A-1"}
        assert skus[-1] == "A-1" or limit > 1
        assert changed_since(api, synced_to)[0] == []
    api.post("/v1/listings/A-2/publish")
    outbox.stamp_positions()
    assert changed_since(api, synced_to)[0] == ["A-2"]
    assert read(api, f"updated_since={since}&status=LIVE")["data"][0]["sku"] == "A-2"
    assert changed_since(other, "0")[0] == ["THEIRS"]


def test_a_change_that_is_committed_late_comes_late(world: SmallWorld, api: Caller) -> None:
    """Its row was written first, with the earlier time and the smaller id, and is committed last."""
    save(api, world, "EARLY")
    save(api, world, "LATE")
    row = OutboxRow.objects.get(payload__sku="EARLY")
    OutboxRow.objects.filter(pk=row.pk).update(position=None)
    OutboxRow.objects.filter(payload__sku="LATE").update(position=row.position)
    skus, since = changed_since(api, "0")
    assert skus == ["LATE"]
    outbox.stamp_positions()
    assert changed_since(api, since)[0] == ["EARLY"]


def test_an_instant_begins_a_little_earlier_than_it_says(world: SmallWorld, api: Caller) -> None:
    save(api, world, "A-0")
    save(api, world, "A-1")
    now = clock.now()
    OutboxRow.objects.update(created_at=now - timedelta(hours=2))
    # Its act began before the instant asked about, and may well have been committed after it.
    OutboxRow.objects.filter(payload__sku="A-1").update(created_at=now - timedelta(minutes=3))
    assert changed_since(api, now.isoformat().replace("+00:00", "Z"))[0] == ["A-1"]
    problem(api.get("/v1/listings?updated_since=2016-01-01T00:00:00Z"), 410, "events_expired")
    problem(api.get(f"/v1/listings?updated_since={events.newest_position() + 1}"), 400, "invalid_request")
    problem(api.get("/v1/listings?updated_since=yesterday"), 400, "invalid_request")
    for path in ("listings", "orders"):
        problem(api.get(f"/v1/{path}?updated_since=0001-01-01T00:00:00Z"), 410, "events_expired")
        for edge in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"):
            problem(api.get(f"/v1/{path}?updated_since={edge}"), 400, "invalid_request")


def test_a_cursor_of_changes_holds_for_its_question_only(world: SmallWorld, api: Caller) -> None:
    for number in range(3):
        save(api, world, f"A-{number}")
    cursor = read(api, "updated_since=0&limit=1")["next_cursor"]
    problem(api.get(f"/v1/listings?updated_since=1&limit=1&cursor={cursor}"), 400, "invalid_request")
    problem(api.get(f"/v1/listings?limit=1&cursor={cursor}"), 400, "invalid_request")


def test_what_saving_tells(world: SmallWorld, api: Caller) -> None:
    def told() -> list[Any]:
        rows = events.events_of(world.vendor.pk).filter(position__gt=since[0]).order_by("position")
        found = [(row.event, events.present_event(row)["data"]) for row in rows]
        since[0] = events.newest_position()
        return found

    since = [0]
    save(api, world, "A-0", hosts=["north", "south"])
    (issue, of_south), (event, data) = told()
    assert (issue, of_south["host"], of_south["reason_codes"]) == (
        "listing.issues_changed",
        "south",
        ["CARRIER_NOT_APPROVED"],
    )
    assert (event, data["is_new"], data["version"]) == ("listing.updated", True, 1)
    save(api, world, "A-0", hosts=["north", "south"])
    assert told() == [], "the same again is no event"
    save(api, world, "A-0", hosts=["north"], on_hand=1)
    assert [event for event, _ in told()] == ["listing.removed", "listing.updated"]
    save(api, world, "A-0", hosts=["north"], variant="PX9-U2")
    assert [event for event, _ in told()] == ["listing.issues_changed", "listing.updated"]
    save(api, world, "A-0", hosts=["north"], variant="PX9-U1")
    (_, cleared), (_, updated) = told()
    assert (cleared["state"], cleared["reason_codes"]) == ("DRAFT", [])
    assert updated["changed"] == ["variant"]


def test_other_reasons_of_what_is_blocked_are_told(world: SmallWorld, api: Caller) -> None:
    save(api, world, "A-0", variant="PX9-U2")
    factories.make_hold(targets=[("variant", str(world.untested.pk))], at=clock.now())
    offers.publish_listing(listing=Listing.objects.get(), by=factories.BUILDER, at=clock.now())
    told = OutboxRow.objects.filter(event="listing.issues_changed").latest("id").payload
    assert told["reason_codes"] == ["CARRIER_NOT_APPROVED", "ON_HOLD"]
    offers.publish_listing(listing=Listing.objects.get(), by=factories.BUILDER, at=clock.now())
    assert OutboxRow.objects.filter(event="listing.issues_changed").count() == 2


def test_no_count_of_queries_grows_with_the_page(world: SmallWorld, api: Caller) -> None:
    variants = [world.approved.slug, world.untested.slug]
    for number in range(12):
        save(api, world, f"A-{number:02}", variant=variants[number % 2], hosts=["north", "south"])
        api.post(f"/v1/listings/A-{number:02}/publish")
    outbox.stamp_positions()
    assert ListingHost.objects.filter(state=OfferState.LIVE).count() == 6

    def queries(query: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            read(api, query)
        return len(captured)

    queries("limit=1")
    for query in (
        "include=issues,decisions",
        "status=LIVE&host=north&variant=PX9-U1&include=issues",
        "severity=ERROR&reason=CARRIER_NOT_APPROVED",
        "severity=WARNING",
    ):
        assert queries(f"{query}&limit=2") == queries(f"{query}&limit=50"), query
    # An instant costs its own search; a position, as every later round has it, costs none.
    assert queries("updated_since=1&limit=2") == queries("updated_since=1&limit=50")
    cursor = read(api, "limit=5")["next_cursor"]
    assert queries(f"limit=5&cursor={cursor}") <= queries("limit=5"), (
        "the last page costs what the first does"
    )
