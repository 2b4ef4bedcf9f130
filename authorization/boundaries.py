"""A fact begins or ends by itself: the instant gets a revision, so that it too stands in the one order."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from authorization import fence, ledger, outbox
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry


def cross_boundary(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    with transaction.atomic():
        revision = fence.exclusive(by=SYSTEM, reason=f"boundary at {payload['boundary']}", at=at)
        # The same row may be delivered twice: the second leaves no trace, its revision is rolled back.
        if LedgerEntry.objects.filter(act="boundary.crossed", subject_id=str(event_id)).exists():
            transaction.set_rollback(True)
            return
        ledger.record(
            act="boundary.crossed",
            subject_kind="event",
            subject_id=event_id,
            by=SYSTEM,
            at=at,
            evidence=payload,
            revision=revision.n,
        )
        outbox.announce(
            event="authority.changed", payload={"revision": revision.n, "fact_id": payload["fact_id"]}, at=at
        )
