"""A worker that wakes by itself: due work is done with beat dead, and with no broker to ring.

Each process of a worker has one such thread. It keeps still as long as bells come; when none has come for WAKE_S it
pumps, and when nobody has reconciled for long it does that too. See docs/outbox.md.
"""

import threading

import structlog
from django.db import connections

from authorization import outbox, reconciler

logger = structlog.get_logger(__name__)

# Seconds without a bell after which a process looks for itself. Beat rings every second, for all processes together.
WAKE_S = 2.0
# How often a process asks whether anybody reconciles.
ASK_S = 20.0
# Shorter than any lease: whoever is told to stop finishes its row, or leaves it to its lease.
STOP_S = 5.0


class Waker(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="outbox-waker", daemon=True)
        self._stopped = threading.Event()

    def run(self) -> None:
        waits = 0
        while not self._stopped.wait(WAKE_S):
            waits += 1
            wake(asks_for_rounds=waits % round(ASK_S / WAKE_S) == 0)

    def stop(self) -> None:
        self._stopped.set()
        self.join(STOP_S)


def wake(*, asks_for_rounds: bool = False) -> None:
    """One look, if nobody rang this process of late. Whatever fails is tried again at the next."""
    try:
        if outbox.idle_s() >= WAKE_S:
            outbox.pump()
        if asks_for_rounds:
            reconciler.reconcile_if_late()
    except Exception as error:
        logger.warning("waker.failed", error=f"{type(error).__name__}: {error}"[:500])
    finally:
        # Of this thread alone, and none while it sleeps: a database that restarts finds nothing to break.
        connections.close_all()
