"""Which fault is thrown when: all of it follows from the seed."""

import random
from collections.abc import Iterator, Sequence

# The first fault comes when the load has found its feet, the last one early enough to be recovered from.
FIRST_AT_S = 6.0
LAST_BEFORE_END_S = 6.0
# Between two faults, on the average, once each has been thrown.
GAP_S = 7.0


def plan(kinds: Sequence[str], *, seconds: float, seed: int) -> Iterator[tuple[float, str]]:
    """(seconds since the start, kind), in order: each kind once, in a drawn order, then by chance.

    A soak too short for one of each at GAP_S throws them more densely.
    """
    if not kinds:
        return
    chance = random.Random(f"{seed}/faults")
    room = max(seconds - FIRST_AT_S - LAST_BEFORE_END_S, 0.0)
    count = max(len(kinds), int(room / GAP_S))
    chosen: list[str] = []
    while len(chosen) < count:
        # Shuffled decks, so that none is forgotten for long.
        chosen += chance.sample(kinds, k=len(kinds))
    gap = room / count
    for place, kind in enumerate(chosen[:count]):
        yield FIRST_AT_S + (place + chance.uniform(0.0, 0.8)) * gap, kind
