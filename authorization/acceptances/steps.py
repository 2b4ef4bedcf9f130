"""One move under way: its transaction, fence and lock, and what is checked before it is made."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from authorization import doors, fence
from authorization.acceptances import following, moves
from authorization.acceptances.criteria import Missing
from authorization.acceptances.following import effective_state
from authorization.acceptances.moves import Move, MoveRefused
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Acceptance, AcceptanceMove, Party, Revision


@dataclass(frozen=True)
class Doer:
    """Who acts, in whose name: a host's people with their host, a sponsor's with their organization, the shop's desk
    with neither.
    """

    actor: Actor
    party: str
    host_id: int | None = None
    organization_id: int | None = None


class NotReady(MoveRefused):
    """It lacks something that an approval needs."""

    def __init__(
        self, acceptance: Acceptance, lacks: Sequence[Missing], moves_allowed: Sequence[str]
    ) -> None:
        words = " ".join(one.message for one in lacks)
        super().__init__(f"{acceptance.code} is not ready: {words}", moves_allowed)
        self.missing = tuple(lacks)


@dataclass
class Step:
    """A move under way: the locked row, and what it is told."""

    row: Acceptance
    move: Move
    by: Doer
    at: datetime
    allowed: tuple[str, ...]
    said: Mapping[str, Any]
    revision: Revision | None = None

    @property
    def revision_held(self) -> Revision:
        if self.revision is None:
            raise fence.FenceMisuse(f"The move {self.move.code} holds no fence.")
        return self.revision

    def instant(self, name: str) -> datetime:
        value: datetime = self.said[name]
        doors.check_instant(name, value)
        return value

    def refuse(self, lacks: Sequence[Missing]) -> None:
        if lacks:
            raise NotReady(self.row, lacks, [one for one in self.allowed if one != self.move.code])

    def to(
        self, after: str, changes: Mapping[str, Any] | None = None, *, detail: Mapping[str, Any] | None = None
    ) -> AcceptanceMove:
        """Write the move: `changes` to the acceptance, `detail` for the record."""
        row, before = self.row, self.row.state
        if not self.move.leads(before, after):
            raise RuntimeError(f"The table has no {self.move.code} from {before} to {after}.")
        for name, value in (changes or {}).items():
            setattr(row, name, value)
        row.state, row.version = after, row.version + 1
        names = ["version", *(changes or {})]
        if before != after:
            row.state_changed_at = self.at
            names += ["state", "state_changed_at"]
        try:
            with transaction.atomic():
                row.save(update_fields=names)
        except IntegrityError as error:
            # Two labs at once, for one build.
            raise MoveRefused(f"Another acceptance is about the same build as {row.code} by now.") from error
        told = {name: value for name, value in (detail or {}).items() if value not in (None, "", [])}
        if self.said.get("document"):
            told["document"] = self.said["document"]
        return following.record_move(
            row,
            self.move.code,
            before,
            party=self.by.party,
            by=self.by.actor,
            at=self.at,
            reason=self.said.get("reason", ""),
            revision=self.revision,
            detail=told,
        )


@contextmanager
def moving(
    acceptance: Acceptance, code: str, by: Doer, at: datetime, seen_version: int | None = None, **said: Any
) -> Iterator[Step]:
    """The transaction of one move: fence (where it gives authority), lock, checks."""
    doors.check_instant("at", at)
    move = moves.find(code)
    kept = check_inputs(move, by, said)
    with transaction.atomic():
        revision = None
        if move.gives:
            revision = fence.exclusive(by=by.actor, reason=f"{acceptance.code}: {code}", at=at)
        row = locked(acceptance)
        check_stands_for(row, by)
        state = effective_state(row, at=at)
        allowed = following.check_turn(row, code, by.party, state=state, seen_version=seen_version)
        if state != row.state:
            raise MoveRefused(
                f"{row.code} is {state} by now, and its record is being brought up to date; try again in a moment.",
                allowed,
            )
        if move.gives:
            _refuse_own(row, by)
        yield Step(row, move, by, at, allowed, kept, revision)


def locked(acceptance: Acceptance) -> Acceptance:
    rows = Acceptance.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("host", "variant__device", "sponsor", "approval", "hold").get(pk=acceptance.pk)


def check_stands_for(row: Acceptance, by: Doer) -> None:
    """A host's people act on their own host's acceptances, a sponsor's on their own. Raises MoveRefused."""
    match by.party:
        case Party.SPONSOR:
            stands = by.organization_id == row.sponsor_id and by.host_id is None
        case Party.HOST_DESK | Party.HOST_LAB | Party.HOST_APPROVER:
            stands = by.host_id == row.host_id and by.organization_id is None
        case Party.SHOP:
            stands = by.host_id is None and by.organization_id is None
        case _:
            stands = False
    if not stands:
        raise MoveRefused(f"{row.code} is not yours to move.")


def _refuse_own(row: Acceptance, by: Doer) -> None:
    """Nobody approves what they sponsored: not the party (that is in the table), and not the person either."""
    if has_sponsored(row, by.actor):
        raise MoveRefused(f"You acted for the sponsor of {row.code}: nobody approves what they sponsored.")


def has_sponsored(row: Acceptance, actor: Actor) -> bool:
    """Did this person act for the sponsor of it, of a release before, or of one that it stands in the place of?"""
    line, ahead = {row.pk}, [row]
    while ahead:
        one = ahead.pop()
        opened = one.moves.filter(move="reinstate").first()
        code = "" if opened is None else opened.detail["predecessor"]
        before = Acceptance.objects.filter(Q(pk=one.parent_id) | Q(code=code)).exclude(pk__in=line)
        ahead += before
        line |= {other.pk for other in before}
    return AcceptanceMove.objects.filter(acceptance__in=line, party=Party.SPONSOR, actor=str(actor)).exists()


_TEXTS = {
    "reason": 500,
    "document": 500,
    "software": 64,
    "hardware_revision": 64,
    "limits": 300,
    "deviation": 4000,
}


def check_inputs(move: Move, by: Doer, said: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as they are kept. Raises InvalidFact for what is needed and not given."""
    kept: dict[str, Any] = {}
    for name, value in said.items():
        if isinstance(value, str) and name in _TEXTS:
            value = doors.clean_text(name, value, at_most=_TEXTS[name])
        kept[name] = value
    for needed in move.needs_of(by.party):
        if kept.get(needed) in (None, ""):
            raise InvalidFact(needed, _CURES.get(needed, f"The move {move.code} needs it; say it."))
    return kept


_CURES: dict[str, str] = {
    "reason": "Say why; the reason is kept.",
    "document": "Name the document that says so, e.g. the number of the letter.",
    "software": "Name the software of the build.",
    "limits": "Say what is limited, e.g. 'LTE B12 off'.",
    "waived_until": "A waiver has an end; say when.",
    "deviation": "Describe the deviation.",
    "lab_slot_from": "Say when the slot begins.",
    "lab_slot_until": "Say when the slot ends.",
}
