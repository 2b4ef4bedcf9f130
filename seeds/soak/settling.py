"""After the fire: wait until nothing is left to do, with bounded patience, and say what is stuck if anything is.

What waits for a later hour of business time (a capture, a retry, an orphaned payment) is not waited for: the clocks
of the sandbox step forward until it is due. Who does it are the workers, as ever.
"""

import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Max

from authorization import clock, outbox
from authorization.models import OutboxRow, ReconcilerRun, Sweep
from seeds.soak.faults import shift_clock
from storefront.models import PaymentIntent
from storefront.payments import ORPHAN_AGE

# Of real time, for each round of quiet.
PATIENCE_S = 180.0
# What is due later than this is no part of the story: papers that end in years.
HORIZON = timedelta(days=2)
ROUNDS = 12
SOON = timedelta(minutes=1)
_SWEEPERS = ("authorization.reconcile_offers", "storefront.void_orphans")


def wait_for_quiet(folder: Path) -> dict[str, Any]:
    """{"seconds": how long it took, "stuck": what is still to be done, "rounds": of the reconciler until then}."""
    started = time.monotonic()
    stuck = _until_quiet()
    # From here on the events have done their work: a round that finds something finds what they missed.
    rounds = ReconcilerRun.objects.aggregate(last=Max("pk"))["last"] or 0
    for number in range(ROUNDS):
        if stuck:
            break
        ahead = _next_due()
        if number == 0:
            ahead = max(ahead, ORPHAN_AGE + timedelta(minutes=1))
        if not ahead:
            break
        for file in sorted(Path(settings.CLOCK_FILE).parent.glob("clock*.json")):
            shift_clock(file, ahead.total_seconds() + 1)
        for name in _SWEEPERS:
            current_app.send_task(name)
        stuck = _until_quiet(with_money=True)
    return {"seconds": round(time.monotonic() - started, 1), "stuck": stuck, "rounds": rounds}


def _until_quiet(*, with_money: bool = False) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    calm = 0
    while True:
        try:
            left = _left(with_money=with_money)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            left = [f"the database: {error}"]
        # Twice in a row: between two rows of a chain there may be an instant of quiet.
        calm = 0 if left else calm + 1
        if calm == 3:
            return []
        if time.monotonic() > deadline:
            return left
        time.sleep(0.3)


def _left(*, with_money: bool) -> list[str]:
    at = clock.now()
    left = [
        f"{count} rows of {event} for {handler}"
        for (event, handler), count in sorted(
            Counter(outbox.open_rows(at).values_list("event", "handler")).items()
        )
    ]
    # A paper that ends in some seconds is not stepped over: its end is to be seen as it comes.
    ends = OutboxRow.objects.filter(
        event="authority.boundary", done_at__isnull=True, failed_at__isnull=True, due_at__lte=at + SOON
    )
    left += ["papers that are about to end"] if ends.exclude(handler="").exists() else []
    unplaced = OutboxRow.objects.filter(handler="", position__isnull=True).count()
    if unplaced:
        left.append(f"{unplaced} events without a position")
    open_sweeps = Sweep.objects.filter(finished_at__isnull=True).count()
    if open_sweeps:
        left.append(f"{open_sweeps} sweeps that are not finished")
    if with_money:
        states = [PaymentIntent.State.CREATED, PaymentIntent.State.AUTHORIZED]
        orphans = PaymentIntent.objects.filter(state__in=states, order__isnull=True).count()
        voiding = PaymentIntent.objects.filter(state=PaymentIntent.State.VOIDING).count()
        left += [f"{orphans} payments without an order"] if orphans else []
        left += [f"{voiding} payments being given back"] if voiding else []
    return left


def _next_due() -> timedelta:
    """How far ahead the last work of these days is; 0 when there is none."""
    at = clock.now()
    rows = OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True).exclude(handler="")
    due_at = (
        rows.filter(due_at__lte=at + HORIZON).order_by("-due_at").values_list("due_at", flat=True).first()
    )
    return timedelta(0) if due_at is None else max(due_at - at, timedelta(0))
