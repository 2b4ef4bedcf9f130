"""What falls by itself, of a few given offers: looked at together, in a bounded number of statements.

`authorization.directions.exposure` asks the same of all offers of the store, page by page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from authorization import decisions
from authorization.decisions import Answer
from authorization.rules import Question
from carriers.versions import FOREVER

# At so many instants it decides anew; each costs two statements or three.
INSTANTS = 10


class Fall(NamedTuple):
    """One question that is allowed now and, by time alone, no longer from `after.valid_at` on. `n`: which one."""

    n: int
    after: Answer


@dataclass(frozen=True)
class Foresight:
    """The first fall of each question that has one. `until`: so far was looked, which may be less than was asked."""

    falls: tuple[Fall, ...]
    until: datetime


def foresee(answers: Sequence[Answer], *, within: timedelta) -> Foresight:
    """Which of these questions, answered alike at one instant and revision, stop being allowed within this time.

    Raises DecisionUnavailable.
    """
    if not answers:
        return Foresight((), FOREVER)
    waiting: dict[datetime, list[tuple[int, Question]]] = {}
    first = answers[0]
    until = first.valid_at + within

    def wait(n: int, answer: Answer) -> None:
        if answer.expires_at <= until:
            waiting.setdefault(answer.expires_at, []).append((n, answer.question))

    for n, answer in enumerate(answers):
        if answer.is_allowed:
            wait(n, answer)
    if not waiting:
        return Foresight((), until)
    setting = decisions.read_setting(at=first.valid_at, known_at=first.revision)
    falls: list[Fall] = []
    for _ in range(INSTANTS):
        if not waiting:
            break
        instant = min(waiting)
        group = waiting.pop(instant)
        then = decisions.answers_in(setting, [question for _, question in group], at=instant)
        for (n, _), answer in zip(group, then, strict=True):
            if answer.is_allowed:
                wait(n, answer)
            else:
                falls.append(Fall(n, answer))
    return Foresight(tuple(sorted(falls, key=lambda fall: fall.n)), min(waiting, default=until))
