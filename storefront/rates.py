"""How often somebody may ask for something, counted exactly over all web processes and hosts: in the database.

One statement counts and says the sum, so that requests at the same instant are each counted once. What is kept is a
keyed hash of who asks, which tells nothing to whoever reads the table, and it goes when its window is over.
"""

from datetime import UTC, datetime, timedelta
from math import ceil

from django.db import connection, transaction
from django.utils.crypto import salted_hmac

from authorization import clock
from storefront.models import RateCount

# The longest window that anybody counts in. What began before it counts for nobody any more.
LONGEST_WINDOW_S = 3600
# Windows that are over, taken away by whoever begins a new one.
CLEARED_AT_ONCE = 100

# Clocks of processes and hosts differ a little, and who reads its clock first may count last: only a window that lies
# further ahead than it is long is from before the clock was set back, and begins anew.
_COUNT = """
INSERT INTO storefront_ratecount AS counted (key, began_at, count) VALUES (%(key)s, %(now)s, 1)
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN counted.began_at > %(over)s AND counted.began_at <= %(ahead)s THEN counted.count + 1 ELSE 1 END,
    began_at = CASE WHEN counted.began_at > %(over)s AND counted.began_at <= %(ahead)s THEN counted.began_at
               ELSE %(now)s END
RETURNING count, began_at
"""


def seconds_to_wait(what: str, who: str, *, most: int, within_s: int) -> int:
    """Count one more `what` of `who`. 0 if it is among the first `most` of its window, else how long to wait.

    The window begins with the first and lasts `within_s` seconds of the machine's time, at most LONGEST_WINDOW_S.
    """
    if within_s > LONGEST_WINDOW_S:
        raise ValueError(
            f"A window of {within_s} s is cleared before it ends; take {LONGEST_WINDOW_S} s at most."
        )
    # A guard against real clients: an exercise that runs a thousand times faster must not open it.
    now = clock.machine_now()
    count, began_at = _count(_key(what, who), now=now, window=timedelta(seconds=within_s))
    if count == 1:
        _clear(now)
    if count <= most:
        return 0
    left = began_at + timedelta(seconds=within_s) - now
    return max(1, ceil(left.total_seconds()))


def _key(what: str, who: str) -> str:
    return salted_hmac("storefront.rates", f"{what}:{who}", algorithm="sha256").hexdigest()


def _count(key: str, *, now: datetime, window: timedelta) -> tuple[int, datetime]:
    instants = {"now": now, "over": now - window, "ahead": now + window}
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"key": key} | {name: adapt(value) for name, value in instants.items()})
        count, began_at = cursor.fetchone()
    # SQLite keeps instants without their zone.
    return count, began_at if began_at.tzinfo is not None else began_at.replace(tzinfo=UTC)


def _clear(now: datetime) -> None:
    with transaction.atomic():
        over = RateCount.objects.filter(began_at__lte=now - timedelta(seconds=LONGEST_WINDOW_S)).order_by(
            "key"
        )
        # Another process that clears the same ones is not waited for.
        keys = list(over.select_for_update(skip_locked=True).values_list("key", flat=True)[:CLEARED_AT_ONCE])
        if keys:
            RateCount.objects.filter(key__in=keys).delete()
