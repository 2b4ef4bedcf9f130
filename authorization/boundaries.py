"""A fact begins or ends by itself: the instant gets a revision, so that it too stands in the one order.

So does a withdrawal that was made for a later day: what reacts to it is announced when its day has come.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from authorization import fence, ledger, outbox, pending_changes
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry


def cross_boundary(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `authority.boundary`. Payload: `fact_id` (or None, then perhaps `scope`), `boundary` (ISO 8601)."""
    fact_id, boundary = payload.get("fact_id"), datetime.fromisoformat(payload["boundary"])
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
        changed: dict[str, Any] = {"revision": revision.n, "fact_id": fact_id}
        if payload.get("scope"):
            changed["scope"] = payload["scope"]
        revocation_id = pending_changes.take_effect(fact_id=fact_id, boundary=boundary, by=SYSTEM, at=at)
        if revocation_id is not None:
            changed["revocation_id"] = revocation_id
        outbox.announce(event="authority.changed", payload=changed, at=at)
