"""The only source of business time, and of this machine's.

Live shop: UTC now. Exercise: a file that the processes of one sandbox share says
`virtual_base + (monotonic - real_base) * rate`. The monotonic clock is the machine's, so all processes agree.

Whoever works in a test store has its clock, which is ahead of the shop's.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings

# Longer than anything here lasts.
AGES = timedelta(days=36_500)
_ahead: ContextVar[timedelta] = ContextVar("ahead", default=timedelta())


@dataclass(frozen=True)
class ExerciseClock:
    virtual_base: datetime
    real_base: float
    rate: float

    def now(self) -> datetime:
        return self.virtual_base + timedelta(seconds=(time.monotonic() - self.real_base) * self.rate)

    def passed_in(self, seconds: float) -> timedelta:
        if time.monotonic() - self.real_base < seconds:
            return AGES
        return timedelta(seconds=seconds * self.rate)


def now() -> datetime:
    if settings.CLOCK_FILE:
        return read_clock(Path(settings.CLOCK_FILE)).now() + _ahead.get()
    return machine_now() + _ahead.get()


@contextmanager
def ahead_by(span: timedelta) -> Iterator[None]:
    """In here, in this thread, business time is so far ahead of the shop's. The machine's is not."""
    token = _ahead.set(span)
    try:
        yield
    finally:
        _ahead.reset(token)


def machine_now() -> datetime:
    """The time of this machine, in an exercise too: for leases, limits and what other machines compare with theirs."""
    return datetime.now(UTC)  # noqa: TID251  this is the one place


def passed_in(seconds: float) -> timedelta:
    """How much business time passed in the last `seconds` of this machine's; AGES if the clock was set within them.

    For whoever gives processes time to work: an exercise may run a thousand times faster, or jump a day.
    """
    if settings.CLOCK_FILE:
        return read_clock(Path(settings.CLOCK_FILE)).passed_in(seconds)
    return timedelta(seconds=seconds)


def read_clock(path: Path) -> ExerciseClock:
    fields = json.loads(path.read_text(encoding="utf-8"))
    return ExerciseClock(
        virtual_base=datetime.fromisoformat(fields["virtual_base"]),
        real_base=float(fields["real_base"]),
        rate=float(fields["rate"]),
    )


def write_clock(path: Path, *, virtual: datetime, rate: float) -> None:
    """Set the clock of a sandbox. It moves forward only: raises ValueError otherwise."""
    if path.exists() and virtual < read_clock(path).now():
        raise ValueError(f"The exercise clock moves forward only; {virtual.isoformat()} has passed.")
    fields = {"virtual_base": virtual.isoformat(), "real_base": time.monotonic(), "rate": rate}
    # Replaced in one step: a reader never sees half a clock.
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(fields), encoding="utf-8")
    draft.replace(path)
