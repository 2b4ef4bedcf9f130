"""Of one vendor one feed ends while another is cancelled: each starts what follows, and neither waits for the other."""

import threading
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection

from authorization import clock
from authorization.actors import SYSTEM
from seeds.factories import make_sellable
from storefront import feeds
from storefront.models import Feed
from tests.authorization.threads import in_thread
from tests.storefront.test_feeds import VENDOR, submit


@pytest.mark.django_db(transaction=True)
def test_a_feed_that_ends_and_a_later_one_that_is_cancelled_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time.")
    world = make_sellable()
    running, waiting = submit(world, rows=2), submit(world, rows=2)
    Feed.objects.filter(pk=running.pk).update(state=Feed.State.RUNNING)
    real, both = feeds._end, threading.Barrier(2)

    def end(*args: Any, **told: Any) -> None:
        # With its locks in hand: until the other has its own, or waits for these.
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        real(*args, **told)

    monkeypatch.setattr(feeds, "_end", end)
    one, first = in_thread(lambda: feeds.cancel_feed(feed=running, by=SYSTEM, at=clock.now()))
    two, second = in_thread(lambda: feeds.cancel_feed(feed=waiting, by=VENDOR, at=clock.now()))
    one.join(10)
    two.join(10)
    assert (first, second) == ([], [])
    assert set(Feed.objects.values_list("state", flat=True)) == {Feed.State.CANCELLED}
