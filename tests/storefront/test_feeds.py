"""What becomes of a feed when workers die, rows do what nobody foresaw, or its vendor thinks better of it."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import clock, decisions, listing_batches, outbox
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.models import LedgerEntry, OutboxRow
from authorization.offers import ListingMoved
from catalog.models import Listing
from seeds.factories import World, make_sellable
from storefront import feed_rows, feeds
from storefront.feed_files import check_file, spool
from storefront.models import Feed, FeedChunk
from tests.storefront.desk_pages import act_url, client_of, list_url, page

pytestmark = pytest.mark.django_db

VENDOR = Actor("vendor", "omni")
LATER = timedelta(days=1)


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.fixture
def world() -> World:
    made = make_sellable()
    OutboxRow.objects.all().delete()
    return made


def submit(world: World, rows: int = 6, **changes: Any) -> Feed:
    body = {
        "variant": world.variant.slug, "hosts": [world.host.code], "condition": "new", "territory": "US",
        "channel": "web", "price": {"amount": "9.00", "currency": "USD"}, "on_hand": 1,
    }  # fmt: skip
    lines = [json.dumps({"sku": f"F-{number}", **body}).encode() for number in range(1, rows + 1)]
    spooled = spool(io.BytesIO(b"\n".join(lines)))
    with spooled.file:
        file = check_file(spooled, format="jsonl", columns=feed_rows.COLUMNS["listings"], chunk_rows=2)
        return feeds.submit_feed(
            vendor=world.vendor, file=file, kind="listings", by=VENDOR, at=clock.now(), **changes
        )


def pump(*, after: timedelta = timedelta(0)) -> None:
    while outbox.pump(at=lambda: clock.now() + after):
        pass


def bury() -> None:
    """The leases of the dead have run out, and what waits for its next attempt falls due."""
    for minutes in range(1, 4):
        OutboxRow.objects.filter(claimed_until__isnull=False).update(
            claimed_until=clock.machine_now() - timedelta(minutes=1)
        )
        pump(after=timedelta(minutes=minutes))


def outcomes(feed: Feed) -> list[tuple[int, str, str]]:
    feed.refresh_from_db()
    rows = [json.loads(line) for line in "".join(feeds.results_of(feed)).splitlines()]
    assert [row["row"] for row in rows] == list(range(1, feed.rows + 1))
    assert sum(feed.counts.values()) == feed.rows
    return [(row["row"], row["sku"], row["outcome"]) for row in rows]


ALL_CREATED = [(number, f"F-{number}", "CREATED") for number in range(1, 7)]


def test_killed_at_any_step_no_row_is_done_twice_and_none_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [
        (feeds, "_start_next"), (feeds._Work, "_read"), (feeds._Work, "_mark"), (listing_batches, "_store_offers"),
        (feeds._Work, "_write_rows"), (feeds._Work, "_close"), (feeds, "_call_for"), (feeds, "_finish_if_done"),
        (feeds, "_end"),
    ]  # fmt: skip
    for place, name in steps:
        for is_after in (False, True):
            real = getattr(place, name)
            left = [1]

            def fatal(
                *args: Any,
                real: Callable[..., Any] = real,
                left: list[int] = left,
                after: bool = is_after,
                **kw: Any,
            ) -> Any:
                if left and not after:
                    left.clear()
                    raise Killed
                result = real(*args, **kw)
                if left:
                    left.clear()
                    raise Killed
                return result

            with monkeypatch.context() as patched:
                patched.setattr(place, name, fatal)
                feed = submit(world)
                with pytest.raises(Killed):
                    pump()
                bury()
            assert not left, name
            assert outcomes(feed) == ALL_CREATED, (name, is_after)
            assert OutboxRow.objects.filter(event="listing.updated").count() == 6, (name, is_after)
            assert OutboxRow.objects.filter(event="feed.finished", handler="").count() == 1
            for table in (FeedChunk, Feed, OutboxRow):
                table.objects.all().delete()
            _forget_listings()


def _forget_listings() -> None:
    """Under other names, so that the next feed finds none of them."""
    for listing in Listing.objects.filter(sku__startswith="F-"):
        Listing.objects.filter(pk=listing.pk).update(sku=f"old-{listing.pk}")


def test_a_row_that_does_what_nobody_foresaw_leaves_the_others_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, real = submit(world), feed_rows.write_rows

    def write(read: Any, **told: Any) -> Any:
        if "F-3" in read.numbers:
            raise ZeroDivisionError
        return real(read, **told)

    monkeypatch.setattr(feed_rows, "write_rows", write)
    pump()
    assert outcomes(feed) == [row if row[1] != "F-3" else (3, "F-3", "SYSTEM_ERROR") for row in ALL_CREATED]
    assert feed.state == Feed.State.DONE
    line = json.loads("".join(feeds.results_of(feed, outcomes=["SYSTEM_ERROR"])))
    assert line["retryable"] is True
    assert line["issues"][0]["code"] == "INTERNAL_RETRY"


def test_a_worker_killed_among_single_rows_is_followed_by_one_that_goes_on_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, real, seen = submit(world), feed_rows.write_rows, []

    def write(read: Any, **told: Any) -> Any:
        if len(read.numbers) > 1:
            raise ZeroDivisionError
        seen.extend(read.numbers)
        if seen.count("F-2") == 1 and "F-2" in read.numbers:
            raise Killed
        return real(read, **told)

    monkeypatch.setattr(feed_rows, "write_rows", write)
    with pytest.raises(Killed):
        pump()
    bury()
    assert outcomes(feed) == ALL_CREATED
    assert (seen.count("F-1"), seen.count("F-2")) == (1, 2)


def test_what_cannot_be_decided_is_tried_again_and_then_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = submit(world, rows=2)

    def away(*args: Any, **kw: Any) -> Any:
        raise DecisionUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(decisions, "read_setting", away)
        pump()
        assert Feed.objects.get().state == Feed.State.RUNNING
        for minutes in (1, 2, 3):
            pump(after=timedelta(minutes=minutes))
    assert [row[2] for row in outcomes(feed)] == ["SYSTEM_ERROR", "SYSTEM_ERROR"]
    assert not Listing.objects.filter(sku__startswith="F-").exists()


def test_a_chunk_in_two_hands_is_done_once(world: World) -> None:
    feed = submit(world, rows=2)
    Feed.objects.filter(pk=feed.pk).update(state=Feed.State.RUNNING)
    first, second = (feeds._Work(FeedChunk.objects.select_related("feed__vendor").get()) for _ in range(2))
    first.do(failures=0)
    second.do(failures=0)
    second.do(failures=feeds.ONE_BY_ONE_AFTER)
    feeds._finish_if_done(feed.pk)
    assert outcomes(feed) == ALL_CREATED[:2]


def test_a_listing_that_somebody_saves_meanwhile_is_found_the_second_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, real, left = submit(world, rows=2), feed_rows.write_rows, [1]

    def write(read: Any, **told: Any) -> Any:
        if left:
            left.clear()
            raise ListingMoved
        return real(read, **told)

    monkeypatch.setattr(feed_rows, "write_rows", write)
    pump()
    assert outcomes(feed) == ALL_CREATED[:2]
    assert not OutboxRow.objects.filter(failed_at__isnull=False).exists()


def test_work_that_was_given_up_fails_the_feed_and_names_the_rows(world: World) -> None:
    feed = submit(world)
    feeds.start_feed(
        payload={"feed_id": feed.pk}, event_id=OutboxRow.objects.all()[0].event_id, at=clock.now()
    )
    first, second, third = feed.chunks.order_by("number")
    feeds.run_chunk(
        payload={"chunk_id": first.pk}, event_id=OutboxRow.objects.all()[0].event_id, at=clock.now()
    )
    OutboxRow.objects.filter(payload__chunk_id=second.pk).exclude(handler="").update(
        is_dead=True, failed_at=clock.now()
    )
    feeds.tend(at=clock.now())
    assert outcomes(feed) == [
        *ALL_CREATED[:2], *((number, f"F-{number}", "SYSTEM_ERROR") for number in range(3, 7)),
    ]  # fmt: skip
    assert (feed.state, feeds.outcome_of(feed)) == ("FAILED", "PARTIAL")
    assert feed.failed_reason
    # What comes late finds it closed.
    pump()
    feeds.run_chunk(
        payload={"chunk_id": third.pk}, event_id=OutboxRow.objects.all()[0].event_id, at=clock.now()
    )
    assert Listing.objects.filter(sku__startswith="F-").count() == 2


def test_cancelled_before_it_begins_nothing_of_it_is_done(world: World) -> None:
    feed = submit(world)
    feeds.cancel_feed(feed=feed, by=VENDOR, at=clock.now())
    pump()
    assert outcomes(feed) == [(number, f"F-{number}", "CANCELLED") for number in range(1, 7)]
    assert (feed.state, feeds.outcome_of(feed)) == ("CANCELLED", "NONE_OK")
    assert feeds.cancel_feed(feed=feed, by=VENDOR, at=clock.now()).state == "CANCELLED"


def test_cancelled_in_the_middle_what_is_done_stays_and_the_next_feed_begins(world: World) -> None:
    feed, following = submit(world), submit(world, rows=2)
    event_id = OutboxRow.objects.all()[0].event_id
    feeds.start_feed(payload={"feed_id": feed.pk}, event_id=event_id, at=clock.now())
    chunk = feed.chunks.get(number=2)
    feeds.run_chunk(payload={"chunk_id": chunk.pk}, event_id=event_id, at=clock.now())
    feeds.cancel_feed(feed=feed, by=VENDOR, at=clock.now())
    pump()
    assert [row[2] for row in outcomes(feed)] == ["CANCELLED"] * 2 + ["CREATED"] * 2 + ["CANCELLED"] * 2
    assert [row[2] for row in outcomes(following)] == ["CREATED"] * 2
    with pytest.raises(feeds.FeedEnded):
        feeds.cancel_feed(feed=following, by=VENDOR, at=clock.now())


def test_a_feed_whose_start_was_missed_is_started(world: World) -> None:
    feed = submit(world, rows=2)
    OutboxRow.objects.all().delete()
    feeds.tend(at=clock.now())
    assert Feed.objects.get().state == Feed.State.QUEUED
    feeds.tend(at=clock.now() + feeds.OVERDUE + timedelta(seconds=1))
    pump(after=timedelta(minutes=2))
    assert outcomes(feed) == ALL_CREATED[:2]


def test_feeds_of_two_vendors_take_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    large = submit(world, rows=24)
    other = make_sellable(variant=world.variant, host=world.host, sku="OTHER")
    small = submit(other, rows=2)
    order: list[int] = []
    real = feeds.run_chunk

    def run(**told: Any) -> None:
        order.append(FeedChunk.objects.get(pk=told["payload"]["chunk_id"]).feed_id)
        real(**told)

    monkeypatch.setattr(feeds, "run_chunk", run)
    pump()
    assert order.index(small.pk) <= feeds.WINDOW + 1, (
        "a small feed waits for a window of the large one, not for all"
    )
    assert order.count(large.pk) == 12


def test_the_desk_sees_feeds_and_cancels_one(world: World) -> None:
    desk, auditor = client_of("desk"), client_of("auditor")
    feed = submit(world, client_label="autumn")
    with CaptureQueriesContext(connection) as one:
        assert "0 of 6 rows" in page(desk.get(list_url(Feed)))
    submit(world, rows=2)
    with CaptureQueriesContext(connection) as two:
        desk.get(list_url(Feed))
    assert len(two) == len(one)
    where = reverse("admin:storefront_feed_change", args=[feed.pk])
    with CaptureQueriesContext(connection) as queries:
        assert "autumn" in page(desk.get(where))
    assert not any('"storefront_feedchunk"."content"' in query["sql"] for query in queries)
    assert auditor.get(where).status_code == 200
    cancel = act_url(feed, "cancel")
    assert auditor.get(cancel).status_code == 403
    assert desk.post(cancel, {"reason": "Wrong prices, says its vendor."}).status_code == 302
    assert [row[2] for row in outcomes(feed)] == ["CANCELLED"] * 6
    entry = LedgerEntry.objects.get(act="feed.cancelled")
    assert (entry.actor, entry.reason) == ("user:desk", "Wrong prices, says its vendor.")
    assert cancel not in desk.get(where).content.decode()


def test_a_feed_of_any_length_takes_the_same_statements_per_chunk(world: World) -> None:
    """Twenty rows in one chunk are no more statements than two."""
    counts = []
    for rows in (2, 20):
        feed = submit(world, rows=rows)
        FeedChunk.objects.filter(feed=feed).exclude(number=1).delete()
        lines = "\n".join(
            json.dumps({**json.loads(line), "sku": f"Q-{rows}-{number}"})
            for number in range(rows)
            for line in [FeedChunk.objects.get(feed=feed).content.splitlines()[0]]
        )
        FeedChunk.objects.filter(feed=feed).update(content=lines, rows=rows)
        Feed.objects.filter(pk=feed.pk).update(state=Feed.State.RUNNING)
        chunk = FeedChunk.objects.get(feed=feed)
        with CaptureQueriesContext(connection) as queries:
            feeds.run_chunk(payload={"chunk_id": chunk.pk}, event_id=uuid4(), at=clock.now())
        counts.append(len(queries))
        assert Feed.objects.get(pk=feed.pk).counts == {"CREATED": rows}
    assert counts[0] == counts[1]
