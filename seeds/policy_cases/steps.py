"""The steps that build the world of a policy test, and what they share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from authorization import (
    fence,
    policies,
    revocations,
)
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Fact
from authorization.policies import PolicyTerms
from carriers.versions import FOREVER
from seeds.policy_cases.reading import Keys, Value

BY = Actor("exercise", "policy test")


BUILT_IN: dict[str, PolicyTerms] = {
    "2016": policies.POLICY_2016,
    "gate shut": policies.POLICY_GATE_SHUT,
    "today": policies.POLICY_TODAY,
}


@dataclass
class World:
    """What was built, by the names that the file uses."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    # When each act was done, and the newest revision after it.
    done: list[tuple[datetime, int]] = field(default_factory=list)

    def add(self, kind: str, name: str, row: Any) -> None:
        self.rows.setdefault(kind, {})[name] = row

    def find(self, kind: str, name: Value) -> Any:
        """The row of this name. Raises Unreadable."""
        known = self.rows.get(kind, {})
        return known[name.one_of(known)]

    def revision_at(self, instant: datetime) -> int:
        """The last revision at or before it, by when the file says that it was recorded.

        What a file records at one instant counts as recorded at that instant, though revisions are kept apart by
        microseconds.
        """
        return max([n for at, n in self.done if at <= instant], default=0)


Run = Callable[[World, datetime], object]


@dataclass(frozen=True)
class Step:
    """One act with the place where it stands in the file."""

    at: datetime
    keys: Keys
    run: Run
    is_policy: bool = False

    def do(self, world: World) -> None:
        """Raises Unreadable where the act is refused: the message of the act says the cure."""
        try:
            self.run(world, self.at)
        except InvalidFact as refused:
            place = self.keys.entries.get(refused.field, self.keys.value)
            raise place.fault(
                f"{self.keys.value.what} is refused ({refused.field}): {refused.message}"
            ) from refused
        world.done.append((self.at, fence.current_revision()))


def build(steps: Iterable[Step], *, under: str = "", start: datetime) -> World:
    """The world in the store of this thread. `under`: a built-in policy in the place of the file's own."""
    world = World()
    if under:
        policies.set_policy(**BUILT_IN[under], by=BY, at=start, reason="the policy of this case")
        world.done.append((start, fence.current_revision()))
    for step in steps:
        if not (under and step.is_policy):
            step.do(world)
    return world


def named(item: Value, what: str) -> Value:
    return Value(item.file, item.node, what)


def recorded(keys: Keys, start: datetime) -> datetime:
    at = keys.instant("recorded_at", start)
    if at < start:
        raise keys["recorded_at"].fault(f"The world begins at {start.isoformat()}; record nothing before.")
    return at


def interval(keys: Keys) -> dict[str, Any]:
    """`valid_from` is None where the record begins when it is recorded."""
    return {
        "valid_from": keys["valid_from"].instant() if "valid_from" in keys else None,
        "valid_until": keys.instant("valid_until", FOREVER),
    }


def pairs(keys: Keys, key: str) -> list[tuple[str, str]]:
    """`name: value`, or `name: [several]`."""
    return [(name, text) for name, values in keys.named(key).items() for text in values.texts()]


def withdraw(change: revocations.Change, keys: Keys, at: datetime) -> Fact:
    """As the desk does it: look, then confirm what was seen."""
    seen = revocations.preview(change, at=at)
    revocation = revocations.execute(
        change,
        digest=seen.digest,
        requested_by=keys.text("requested_by", "a party of this test"),
        word_received_at=at,
        note=keys.text("note", "a policy test"),
        by=BY,
        at=at,
    )
    return revocation.named_fact
