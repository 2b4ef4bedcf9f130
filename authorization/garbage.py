"""Python's search for circular garbage, left out where many offers are decided at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """To decide a thousand offers makes some hundred thousand small objects and drops them again, none in a circle;
    looking for circles among them takes a fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
