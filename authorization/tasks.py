"""Celery's view of the floor: bells and beats. Each is safe to run late, twice or never."""

from collections.abc import Callable

import structlog
from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, connection

from authorization import clock, outbox, reconciler, sealing

logger = structlog.get_logger(__name__)

# A round of a large store takes longer than the work of one outbox row may; each page of it renews its lease.
ROUND_LIMIT_S = 900


@shared_task(name="authorization.pump_outbox")
def pump_outbox(**_: object) -> None:
    _unless_database_is_away(outbox.pump)


@shared_task(name="authorization.reconcile_offers", time_limit=ROUND_LIMIT_S)
def reconcile_offers(**_: object) -> None:
    _unless_database_is_away(lambda: reconciler.reconcile(at=clock.now()))


@shared_task(name="authorization.seal_ledger")
def seal_ledger(**_: object) -> None:
    sealing.seal(at=clock.now())


@shared_task(name="authorization.prune")
def prune(**_: object) -> None:
    """What is older than anybody was promised. An exercise jumps months, and is thrown away as a whole anyway."""
    if settings.CLOCK_FILE:
        return
    at = clock.now()
    logger.info("outbox.pruned", rows=outbox.prune(at=at), rounds=reconciler.prune(at=at))


def _unless_database_is_away(work: Callable[[], object]) -> None:
    """The work stands in rows: while the database restarts a bell ends, and the next one finds a connection."""
    try:
        work()
    except (OperationalError, InterfaceError, InternalError) as error:
        logger.warning("database_unavailable", error=f"{type(error).__name__}: {error}"[:500])
        if not connection.in_atomic_block:
            connection.close()
