"""What the fence costs a sale, and how long a revocation waits behind buyers.

A buyer is a process of its own that runs the sale's transaction in a tight loop: lock, counter, one row written, one
updated. Real shoppers think in between; this is the worst case.
"""

import json
import multiprocessing
import os
import signal
import statistics
import sys
import time
from multiprocessing.synchronize import Event
from typing import Any

import django

BUYERS = {"postgresql": (12, 48), "sqlite": (12,)}


def main(seconds: float) -> dict[str, Any]:
    django.setup()
    from django.db import connection

    vendor = connection.vendor
    from authorization.models import SaleTicket

    figures: dict[str, Any] = {}
    connection.close()
    fenced, bare = _rate(seconds, is_fenced=True), _rate(seconds, is_fenced=False)
    figures["fenced sales per second, 2 processes"] = round(fenced)
    figures["the same transaction without the fence"] = round(bare)
    figures["ratio (1.0 is the floor)"] = round(fenced / bare, 2)
    for buyers in BUYERS[vendor]:
        waits = _waits(seconds, buyers)
        figures[f"revocations behind {buyers} buyers: how many"] = len(waits)
        figures[f"revocations behind {buyers} buyers: wait ms p50"] = round(
            statistics.median(waits) * 1000, 1
        )
        figures[f"revocations behind {buyers} buyers: wait ms p99"] = round(_p99(waits) * 1000, 1)
    if vendor == "postgresql":
        figures["revocation behind a frozen buyer: wait ms"] = round(_wait_behind_a_frozen_buyer() * 1000, 1)
    figures["rows written by sales"] = SaleTicket.objects.count()
    return figures


def _sell(is_fenced: bool) -> None:
    from django.db import transaction

    from authorization import fence
    from authorization.models import SaleTicket

    with transaction.atomic():
        if is_fenced:
            fence.shared()
        ticket = SaleTicket.objects.create()
        SaleTicket.objects.filter(pk=ticket.pk).exists()


def _buy_until(stop: Event, is_fenced: bool, ready: Any, sold: Any) -> None:
    django.setup()
    from django.db import DatabaseError, connection

    connection.ensure_connection()
    with ready.get_lock():
        ready.value += 1
    while not stop.is_set():
        try:
            _sell(is_fenced)
            with sold.get_lock():
                sold.value += 1
        except DatabaseError:
            # Thrown out by the timeouts of the fence under this load; a buyer would be asked to try again.
            connection.close()


def _rate(seconds: float, *, is_fenced: bool) -> float:
    with _Buyers(2, is_fenced=is_fenced) as buyers:
        before, started = buyers.sold(), time.monotonic()
        time.sleep(seconds)
        return (buyers.sold() - before) / (time.monotonic() - started)


def _waits(seconds: float, count: int) -> list[float]:
    waits: list[float] = []
    with _Buyers(count, is_fenced=True):
        time.sleep(1)
        deadline = time.monotonic() + seconds * 2
        while time.monotonic() < deadline:
            waits.append(_revoke())
            time.sleep(0.02)
    return waits


def _revoke() -> float:
    from django.db import transaction

    from authorization import clock, fence
    from authorization.actors import SYSTEM

    started = time.monotonic()
    with transaction.atomic():
        fence.exclusive(by=SYSTEM, reason="benchmark", at=clock.now())
    return time.monotonic() - started


def _freeze_inside(frozen: Event) -> None:
    django.setup()
    from django.db import transaction

    from authorization import fence

    with transaction.atomic():
        fence.shared()
        frozen.set()
        os.kill(os.getpid(), signal.SIGSTOP)


def _wait_behind_a_frozen_buyer() -> float:
    context = multiprocessing.get_context("spawn")
    frozen = context.Event()
    buyer = context.Process(target=_freeze_inside, args=(frozen,))
    buyer.start()
    frozen.wait(30)
    waited = _revoke()
    buyer.kill()
    buyer.join()
    return waited


class _Buyers:
    """Processes that buy until the block ends; `sold()` counts the sales so far."""

    def __init__(self, count: int, *, is_fenced: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._ready, self._sold = context.Value("i", 0), context.Value("i", 0)
        self._processes = [
            context.Process(target=_buy_until, args=(self._stop, is_fenced, self._ready, self._sold))
            for _ in range(count)
        ]

    def sold(self) -> int:
        with self._sold.get_lock():
            return int(self._sold.value)

    def __enter__(self) -> "_Buyers":
        for process in self._processes:
            process.start()
        while self._ready.value < len(self._processes):
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for process in self._processes:
            process.join(30)


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(len(values) * 0.99))]


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
