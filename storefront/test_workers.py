"""The work of test stores: what is due in them, webhooks, clocks on their way.

Beat asks the shop's rows which stores have something due, so that no file of an idle one is opened; whoever writes in a
store rings besides. One store is worked in at a time in the whole shop, and by one worker: trials must not take the
workers away from the shop's own sweeps. Nothing here is the only record of work: it stands in the stores' own outboxes.
"""

import time
from datetime import datetime, timedelta

import structlog
from django.db.models import Min, Q, QuerySet

from authorization import clock, outbox, reconciler
from authorization.models import OutboxRow
from catalog.models import Organization
from storefront import feeds, idempotency, test_fixtures, test_mode, test_store_files, webhooks
from storefront.models import TestStore, WebhookEndpoint

logger = structlog.get_logger(__name__)

# For so long one visit moves a clock on; what is left goes on with the next.
VISIT_S = 15.0
# With the pump and the webhooks at the end a visit stays below this, which ends it; the lease outlasts both.
VISIT_LIMIT_S = 100
LEASE = timedelta(seconds=120)
# For so long one bell takes up one store after another.
ROUND_S = 10.0
# Until a store is looked at again in which something is due and could not be done, or that failed.
AGAIN_AFTER = timedelta(seconds=1)
FAILED_AGAIN_AFTER = timedelta(seconds=30)
# Used since, a store has its old rows taken away.
TIDIED_IF_USED_WITHIN = timedelta(hours=25)


def work_due() -> int:
    """Visit the stores in which something is due, the longest waiting first. Returns how many."""
    visited, until = 0, time.monotonic() + ROUND_S
    while time.monotonic() < until:
        store = _due(clock.now()).order_by("due_at").first()
        if store is None or not visit(store.pk):
            break
        visited += 1
    return visited


def visit(store_id: int) -> bool:
    """Do what is due in one store. False where another worker is at it, or at another store."""
    store = _claim(store_id)
    if store is None:
        return False
    # Whoever writes in the store meanwhile sets another instant, which stays.
    seen = store.due_at
    due_at: datetime | None = clock.now() + FAILED_AGAIN_AFTER
    try:
        _work(store)
        due_at = _next_due(store)
    finally:
        mine = TestStore.objects.filter(pk=store.pk)
        mine.update(busy_until=None)
        unmoved = Q(due_at__isnull=True) if seen is None else Q(due_at=seen)
        mine.filter(unmoved, public_id=store.public_id).update(due_at=due_at)
    return True


def prepare(organization_id: int, *, at: datetime) -> None:
    """Make the store of somebody who has just got a key to it."""
    with test_mode.opened(test_mode.store_of(Organization.objects.get(pk=organization_id), at=at)):
        pass


def tidy(*, at: datetime) -> None:
    """Once in a while: old rows in the stores, stores that nobody uses, files that belong to none."""
    for store in TestStore.objects.filter(last_used_at__gte=at - TIDIED_IF_USED_WITHIN).select_related(
        "organization"
    ):
        if test_store_files.exists(store.public_id):
            try:
                _tidy_inside(store)
            except Exception:
                # A file that is broken, or busy for long, must not keep the others from their turn.
                logger.exception("test_store.not_tidied", store=str(store.public_id))
    given_up = test_mode.give_up_unused(at=at)
    known = set(TestStore.objects.values_list("public_id", flat=True))
    removed = test_store_files.remove_foreign(known, at=clock.machine_now())
    if given_up or removed:
        logger.info("test_stores.tidied", given_up=given_up, files_removed=removed)


def _tidy_inside(store: TestStore) -> None:
    # Not only `opened`: a feed that was missed is started here, and that is work for a visit.
    with test_mode.inside(store):
        outbox.prune(at=clock.now())
        reconciler.prune(at=clock.now())
        webhooks.forget_old(at=clock.now())
        idempotency.forget_old(at=clock.machine_now())
        feeds.tend(at=clock.now())


# --- one visit --------------------------------------------------------------------------------------------------


def _due(at: datetime) -> QuerySet[TestStore]:
    return TestStore.objects.filter(due_at__lte=at)


def _claim(store_id: int) -> TestStore | None:
    # Leases are a matter of processes, not of business. One that lies too far ahead is from before the machine's clock
    # was set back.
    now = clock.machine_now()
    is_free = Q(busy_until__isnull=True) | Q(busy_until__lte=now) | Q(busy_until__gt=now + 2 * LEASE)
    # Asked without a lock: two that start at the same instant work in different stores.
    if TestStore.objects.exclude(is_free).exists():
        return None
    if not TestStore.objects.filter(is_free, pk=store_id).update(busy_until=now + LEASE):
        return None
    return TestStore.objects.select_related("organization").get(pk=store_id)


def _work(store: TestStore) -> None:
    """First what is due by its clock as it is; then the clock, from one instant at which work falls due to the next.

    So each thing happens at its own time, in its order, and not all of it at the end.
    """
    until = time.monotonic() + VISIT_S
    _do_due(store)
    while store.advancing_to is not None and time.monotonic() < until:
        with test_mode.opened(store):
            now, due_at = clock.now(), _first_due()
        if due_at is not None and due_at <= now:
            # More than one pump can do, or a dead worker's lease: it is not overtaken by the clock.
            break
        if now >= store.advancing_to:
            _arrive(store)
            break
        test_mode.move_on(store, min(store.advancing_to, due_at or store.advancing_to), at=clock.now())
        _do_due(store)
    with test_mode.opened(store):
        outbox.stamp_positions()
        webhooks.fan_out(at=clock.now())
        webhooks.send_due()


def _do_due(store: TestStore) -> None:
    with test_mode.opened(store):
        outbox.pump()
        if test_fixtures.keep_promises(at=clock.now()):
            outbox.pump()


def _arrive(store: TestStore) -> None:
    """The shop's own round, which looks for what all else has missed, and the clock is ready."""
    with test_mode.opened(store):
        reconciler.reconcile(at=clock.now())
        outbox.pump()
    test_mode.be_ready(store)


def _first_due() -> datetime | None:
    """When the first work that is not done falls due, by the store's clock."""
    rows = OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True).exclude(handler="")
    return rows.aggregate(first=Min("due_at"))["first"]


def _next_due(store: TestStore) -> datetime | None:
    """When somebody has to look at this store again, by the shop's clock."""
    with test_mode.opened(store):
        now = clock.now()
        sent = WebhookEndpoint.objects.filter(is_enabled=True, deleted_at__isnull=True).annotate(
            first=Min("deliveries__due_at", filter=Q(deliveries__due_at__isnull=False))
        )
        instants = [
            max(first, rests_until or first)
            for first, rests_until in sent.filter(first__isnull=False).values_list("first", "rests_until")
        ]
        instants += [first for first in [_first_due()] if first is not None]
    if store.advancing_to is not None:
        instants.append(now)
    if not instants:
        return None
    return max(min(instants), now + AGAIN_AFTER) - timedelta(seconds=store.ahead_s)
