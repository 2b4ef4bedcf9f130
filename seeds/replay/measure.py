"""Watching a store from outside, with a clock of one's own: what did each page offer, and until when?

Only answers count as evidence. A request that failed says nothing of what is on sale, so it neither ends nor
prolongs an offer.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import httpx

DEADLINE_S = 60.0


class Overdue(Exception):
    """Something did not come about in time. The message says what was waited for."""


def wait_for[T](
    what: str, look: Callable[[], T | None], *, within_s: float = DEADLINE_S, every_s: float = 0.05
) -> T:
    """Ask again and again until the answer is neither None nor False. Raises Overdue."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise Overdue(f"waited {within_s:.0f} s for {what}")
        time.sleep(every_s)


def percentile(values: Iterable[float], share: float) -> float | None:
    """By nearest rank, so that the result is one of the values; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Sample:
    """One answer of one target. Instants are of the monotonic clock, in seconds."""

    asked_at: float
    answered_at: float
    is_offered: bool


def gone_after_ms(samples: Sequence[Sample], since: float) -> float | None:
    """From `since` until the first answer of the unbroken run without the offer that lasts to the end.

    None while it is still offered, or if nobody looked after `since`. Never more flattering than the truth:
    the answer's arrival counts, though the page may have changed at any time since it was last seen with the
    offer.
    """
    gone_at: float | None = None
    for sample in samples:
        if sample.is_offered:
            gone_at = None
        elif gone_at is None and sample.answered_at >= since:
            gone_at = sample.answered_at
    return None if gone_at is None else (gone_at - since) * 1000


def offered_although(samples: Sequence[Sample], since: float) -> int:
    """How many answers to questions asked after `since` still carried the offer."""
    return sum(1 for sample in samples if sample.asked_at >= since and sample.is_offered)


@dataclass(frozen=True)
class Target:
    """Something to look at: where, and how to read from the answer whether it offers the phone."""

    name: str
    path: str
    reads_offer: Callable[[httpx.Response], bool]
    headers: Mapping[str, str] | None = None


class Watcher:
    """Looks at every target in turn, in a thread of its own, until closed."""

    def __init__(self, client: httpx.Client, targets: Sequence[Target], *, pause_s: float = 0.0) -> None:
        """The client becomes the watcher's own, closed with it. It rests for `pause_s` after each look."""
        self._client, self._targets, self._pause_s = client, targets, pause_s
        self._samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.failed_requests = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=DEADLINE_S)
        self._client.close()

    def samples(self, name: str) -> list[Sample]:
        with self._lock:
            return list(self._samples[name])

    def ever_offered(self) -> list[str]:
        return [t.name for t in self._targets if any(s.is_offered for s in self.samples(t.name))]

    def ever_gone(self) -> list[str]:
        return [t.name for t in self._targets if not all(s.is_offered for s in self.samples(t.name))]

    def wait_until(self, name: str, *, is_offered: bool, since: float) -> None:
        """Until an answer to a question asked after `since` says so. Raises Overdue."""

        def look() -> bool:
            samples = self.samples(name)
            return bool(samples) and samples[-1].asked_at >= since and samples[-1].is_offered is is_offered

        wait_for(f"{name} to be {'on' if is_offered else 'off'} sale", look, every_s=0.01)

    def _run(self) -> None:
        while not self._stop.is_set():
            for target in self._targets:
                self._look(target)
                if self._stop.wait(self._pause_s):
                    return

    def _look(self, target: Target) -> None:
        asked_at = time.monotonic()
        try:
            response = self._client.get(target.path, headers=dict(target.headers or {}))
            if response.status_code == 404:
                # Not listed yet: nothing to see, and nothing wrong.
                return
            if response.status_code not in (200, 410):
                raise httpx.HTTPStatusError(
                    "no answer about the phone", request=response.request, response=response
                )
            is_offered = target.reads_offer(response)
        except (httpx.HTTPError, ValueError):
            self.failed_requests += 1
            return
        sample = Sample(asked_at, time.monotonic(), is_offered)
        with self._lock:
            self._samples[target.name].append(sample)
