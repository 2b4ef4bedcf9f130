"""How often somebody may ask for something, counted exactly over all web processes and hosts: in the database.

One statement counts and says the sum, so that requests at the same instant are each counted once. What is kept is a
keyed hash of who asks, which tells nothing to whoever reads the table, and it goes when its window is over.

A count need not outlive a crash of the database, and no request waits for the disk on its account: where a count is a
transaction of its own it commits without.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from django.db import connection, transaction
from django.utils.crypto import salted_hmac

from authorization import clock
from storefront.models import RateCount

# The longest window that anybody counts in. What began before it counts for nobody any more.
LONGEST_WINDOW_S = 3600
_SQLITE_NORMAL = 1
# Windows that are over, taken away at once.
CLEARED_AT_ONCE = 100

# Clocks of processes and hosts differ a little, and who reads its clock first may count last: only a window that lies
# further ahead than it is long is from before the clock was set back, and begins anew.
_COUNT = """
INSERT INTO storefront_ratecount AS counted (key, began_at, count) {values}
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN counted.began_at > %(over)s AND counted.began_at <= %(ahead)s THEN counted.count + 1 ELSE 1 END,
    began_at = CASE WHEN counted.began_at > %(over)s AND counted.began_at <= %(ahead)s THEN counted.began_at
               ELSE %(now)s END
RETURNING count, began_at
"""
_COUNT_IN_ANY = _COUNT.format(values="VALUES (%(key)s, %(now)s, 1)")
# The setting holds until the end of the transaction, which here is the statement: not a round trip more than the count.
_COUNT_UNSAFELY = _COUNT.format(
    values="SELECT %(key)s, %(now)s, 1 FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unsafely"
)


@dataclass(frozen=True)
class Budget:
    """What is left of a budget after one more was counted. `reset_s`: whole seconds until all of it is there again."""

    most: int
    left: int
    reset_s: int
    is_first: bool
    is_exceeded: bool


def spend(what: str, who: str, *, most: int, within_s: int) -> Budget:
    """Count one more `what` of `who`, and say what is left of the `most` of its window.

    The window begins with the first and lasts `within_s` seconds of the machine's time, at most LONGEST_WINDOW_S.
    """
    if within_s > LONGEST_WINDOW_S:
        raise ValueError(
            f"A window of {within_s} s is cleared before it ends; take {LONGEST_WINDOW_S} s at most."
        )
    # A guard against real clients: an exercise that runs a thousand times faster must not open it.
    now = clock.machine_now()
    count, began_at = _count(_key(what, who), now=now, window=timedelta(seconds=within_s))
    left_s = (began_at + timedelta(seconds=within_s) - now).total_seconds()
    return Budget(most, max(0, most - count), max(1, ceil(left_s)), count == 1, count > most)


def seconds_to_wait(what: str, who: str, *, most: int, within_s: int) -> int:
    """Count one more `what` of `who`. 0 if it is among the first `most` of its window, else how long to wait."""
    budget = spend(what, who, most=most, within_s=within_s)
    if budget.is_first:
        # Who asks may be anybody in the world: the table is kept short by whoever lengthens it.
        clear()
    return budget.reset_s if budget.is_exceeded else 0


def clear() -> None:
    """Take some windows away that are over."""
    over_at = clock.machine_now() - timedelta(seconds=LONGEST_WINDOW_S)
    with transaction.atomic():
        over = RateCount.objects.filter(began_at__lte=over_at).order_by("key")
        # Another process that clears the same ones is not waited for.
        keys = list(over.select_for_update(skip_locked=True).values_list("key", flat=True)[:CLEARED_AT_ONCE])
        if keys:
            RateCount.objects.filter(key__in=keys).delete()


def _key(what: str, who: str) -> str:
    return salted_hmac("storefront.rates", f"{what}:{who}", algorithm="sha256").hexdigest()


def _count(key: str, *, now: datetime, window: timedelta) -> tuple[int, datetime]:
    instants = {"now": now, "over": now - window, "ahead": now + window}
    adapt = connection.ops.adapt_datetimefield_value
    values = {"key": key} | {name: adapt(value) for name, value in instants.items()}
    # Inside of a transaction it would be that one's commit that does not wait.
    is_alone = not connection.in_atomic_block
    with connection.cursor() as cursor:
        if is_alone and connection.vendor == "postgresql":
            cursor.execute(_COUNT_UNSAFELY, values)
            count, began_at = cursor.fetchone()
        elif is_alone:
            before = cursor.execute("PRAGMA synchronous").fetchone()[0]
            # Under a write-ahead log what is committed so may be lost with the machine, and nothing else can.
            cursor.execute(f"PRAGMA synchronous = {min(before, _SQLITE_NORMAL)}")
            try:
                cursor.execute(_COUNT_IN_ANY, values)
                count, began_at = cursor.fetchone()
            finally:
                cursor.execute(f"PRAGMA synchronous = {before}")
        else:
            cursor.execute(_COUNT_IN_ANY, values)
            count, began_at = cursor.fetchone()
    # SQLite keeps instants without their zone.
    return count, began_at if began_at.tzinfo is not None else began_at.replace(tzinfo=UTC)
