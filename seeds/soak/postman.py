"""Duplicate and delayed deliveries: what was done is done again, minutes late, beside what is under way."""

import random

from celery import current_app
from django.utils.module_loading import import_string

from authorization import clock
from authorization.models import OutboxRow
from seeds.soak.journal import Journal


def deliver_again(*, count: int, seed: int, journal: Journal) -> None:
    """Call the handlers of rows that are done, each with its old payload, in any order, some of them twice."""
    chance = random.Random(seed)
    done = OutboxRow.objects.filter(done_at__isnull=False).exclude(handler="")
    ids = list(done.order_by("id").values_list("pk", flat=True))
    chosen = chance.choices(ids, k=count) if ids else []
    rows = OutboxRow.objects.in_bulk(chosen)
    failed = 0
    for pk in chosen:
        row = rows[pk]
        try:
            import_string(row.handler)(payload=row.payload, event_id=row.event_id, at=clock.now())
        except Exception as error:
            # As the pump would see it. It is not tried again: the row stands as done.
            failed += 1
            said = f"{type(error).__name__}: {error}"[:300]
            journal.note("redelivery_failed", handler=row.handler, row=pk, error=said)
    journal.note("redelivered", rows=len(chosen), failed=failed)


def ring_bells(*, count: int, journal: Journal) -> None:
    rung = 0
    for _ in range(count):
        try:
            current_app.send_task("authorization.pump_outbox", retry=False)
            rung += 1
        except Exception as error:
            journal.note("bell_failed", error=f"{type(error).__name__}: {error}"[:200])
    journal.note("rung", bells=rung)
