"""Python's search for circular garbage, left out where many offers are decided at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """To decide a thousand offers makes some hundred thousand small objects and drops them again, none in a circle;
    looking for circles among them takes a fifth of the time.

    It is switched for the whole process. Of two threads in here one may switch it on early; none leaves it off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
