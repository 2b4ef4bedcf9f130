"""What happened when, in the two versions that exist, and what each rests on.

The press version is canonical: Monday 1 and Tuesday 2 February 2016, agreed by a dozen reports of the time.
The other is one article of May 2025: Tuesday 12 January, the maker's denial within 24 hours. No source gives
a clock time for any of it, so every hour here is simulated, inside the bounds that the reports give (the
removal, the denial and the carrier's word stood in print on 2 February at 10:59 AM, the shop's answer on 3
February, 10:00 UTC).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Basis(StrEnum):
    """What an entry of the timeline rests on. Shown beside it, in words."""

    REPORTED = "reported"
    ARTICLE = "article"
    SIMULATED = "simulated"


@dataclass(frozen=True)
class Scene:
    """An instant of the story and the words for it."""

    at: datetime
    words: str
    basis: Basis


@dataclass(frozen=True)
class Story:
    key: str
    title: str
    eve: datetime
    listed: Scene
    bought: Scene
    next_morning: Scene
    maker_speaks: Scene
    maker_decided_at: datetime
    carrier_speaks: Scene
    carrier_decided_at: datetime
    answered: Scene
    looked_back_at: datetime


def _utc(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2016, month, day, hour, minute, tzinfo=UTC)


PRESS = Story(
    key="press",
    title="1 to 3 February 2016, as the press of the time has it",
    eve=_utc(1, 25, 15),
    listed=Scene(_utc(2, 1, 15), "lists Redmi 2, Mi 3, Mi 4 and Meizu m2 note", Basis.REPORTED),
    bought=Scene(_utc(2, 1, 17, 30), "the story spreads; shoppers look, and some buy", Basis.SIMULATED),
    next_morning=Scene(_utc(2, 2, 13), "a second wave of shoppers", Basis.SIMULATED),
    maker_speaks=Scene(
        _utc(2, 2, 13, 10),
        "US Mobile is not authorized to sell our phones; no distributor is",
        Basis.REPORTED,
    ),
    maker_decided_at=_utc(2, 2, 13, 30),
    carrier_speaks=Scene(
        _utc(2, 2, 14, 40),
        "wants the Xiaomi and Meizu phones put through extra certification",
        Basis.REPORTED,
    ),
    carrier_decided_at=_utc(2, 2, 14, 55),
    answered=Scene(_utc(2, 3, 2), "tells the public what was taken off sale and why", Basis.REPORTED),
    looked_back_at=_utc(2, 3, 3),
)
ARTICLE = Story(
    key="article",
    title="12 and 13 January 2016, as one article of May 2025 has it (no second source)",
    eve=_utc(1, 5, 15),
    listed=Scene(
        _utc(1, 12, 15), "lists Xiaomi and Meizu phones (which ones: from the press)", Basis.ARTICLE
    ),
    bought=Scene(_utc(1, 12, 17, 30), "shoppers look, and some buy", Basis.SIMULATED),
    next_morning=Scene(_utc(1, 13, 13), "a second wave of shoppers", Basis.SIMULATED),
    maker_speaks=Scene(
        _utc(1, 13, 13, 10), "US Mobile is not authorized to sell our products in the US", Basis.ARTICLE
    ),
    maker_decided_at=_utc(1, 13, 13, 30),
    carrier_speaks=Scene(
        _utc(1, 13, 14, 40), "asks for removal while the phones are tested on its network", Basis.ARTICLE
    ),
    carrier_decided_at=_utc(1, 13, 14, 55),
    answered=Scene(_utc(1, 13, 23), "explains in a short public note", Basis.ARTICLE),
    looked_back_at=_utc(1, 14, 3),
)
STORIES = {story.key: story for story in (PRESS, ARTICLE)}
