"""A feed whose workers are killed: it goes on where they stopped, no row twice and none lost."""

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from authorization import clock, outbox
from authorization.actors import Actor
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import Listing
from seeds.factories import make_sellable
from storefront import feeds
from storefront.feed_files import check_file, spool
from storefront.feed_rows import COLUMNS
from storefront.models import Feed, FeedChunk
from tests.flows.test_workers_killed import Crew, broker, wait_until

__all__ = ["broker"]

ROWS = 60


@pytest.mark.django_db(transaction=True)
def test_workers_killed_in_the_middle_of_a_feed(broker: str, tmp_path: Path) -> None:
    world = make_sellable()
    OutboxRow.objects.all().delete()
    made_before = LedgerEntry.objects.filter(act="listing.saved").count()
    rows = [
        {
            "sku": f"F-{number}", "variant": world.variant.slug, "hosts": [world.host.code], "condition": "new",
            "territory": "US", "channel": "web", "price": {"amount": "9.00", "currency": "USD"}, "on_hand": 1,
        }
        for number in range(ROWS)
    ]  # fmt: skip
    spooled = spool(io.BytesIO(b"\n".join(json.dumps(row).encode() for row in rows)))
    with spooled.file:
        checked = check_file(spooled, format="jsonl", columns=COLUMNS[Feed.Kind.LISTINGS], chunk_rows=2)
        feed = feeds.submit_feed(
            vendor=world.vendor, file=checked, kind="listings", by=Actor("vendor", "x"), at=clock.now()
        )
    crew = Crew(broker, tmp_path)
    try:
        crew.start()
        done = FeedChunk.objects.filter(done_at__isnull=False)
        wait_until("the first chunks are done", lambda: done.count() > 2)
        crew.kill()
        assert done.count() < ROWS // 2, "the kill must fall in the middle"
        crew.start()
        wait_until("the feed is done", lambda: Feed.objects.get().state == Feed.State.DONE)
        wait_until("the outbox is empty", lambda: not outbox.open_rows(clock.now() + timedelta(1)).exists())
    finally:
        crew.kill()
    feed.refresh_from_db()
    assert feed.counts == {"CREATED": ROWS}
    found = [json.loads(line) for line in "".join(feeds.results_of(feed)).splitlines()]
    assert [(row["row"], row["sku"], row["outcome"]) for row in found] == [
        (number + 1, f"F-{number}", "CREATED") for number in range(ROWS)
    ]
    assert Listing.objects.filter(sku__startswith="F-", version=1).count() == ROWS
    assert LedgerEntry.objects.filter(act="listing.saved").count() == made_before + ROWS
    assert OutboxRow.objects.filter(event="listing.updated").count() == ROWS
    assert OutboxRow.objects.filter(event="feed.finished", handler="").count() == 1
