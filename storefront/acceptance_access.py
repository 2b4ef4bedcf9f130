"""In whose name somebody works on technical acceptances, which they see, and what they may do with each.

What API and desk share: a vendor sees what it sponsors, a host carrier what was asked of it, the shop's desk all. Who
sees a row may act on it only as a party to it (authorization.acceptances.moves has the table).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from authorization.acceptances.moves import Move, MoveRefused, moves_for
from authorization.acceptances.process import Doer, effective_state
from authorization.actors import Actor
from authorization.models import Acceptance, AcceptanceFile, AcceptanceMove, Party
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.models import CarrierKey, CarrierMember

# Duties of a carrier's key or user: its name in the API, its field, and the party that it makes them.
DUTIES: tuple[tuple[str, str, Party], ...] = (
    ("desk", "is_desk", Party.HOST_DESK),
    ("lab", "is_lab", Party.HOST_LAB),
    ("approver", "is_approver", Party.HOST_APPROVER),
)
OF_HOST = (Party.HOST_DESK, Party.HOST_LAB, Party.HOST_APPROVER)


@dataclass(frozen=True)
class Open:
    """A move that may be made now, and the party that makes it."""

    move: Move
    party: Party


@dataclass(frozen=True)
class Standing:
    """Somebody who works on acceptances. With neither host nor organization: the shop's own staff.

    `parties` are those that they may act as; without any they only read.
    """

    actor: Actor
    parties: tuple[Party, ...]
    host: HostCarrier | None = None
    organization: Organization | None = None

    @property
    def is_of_shop(self) -> bool:
        return self.host is None and self.organization is None

    def acceptances(self) -> QuerySet[Acceptance]:
        """Those that they may know of at all."""
        rows = Acceptance.objects.all()
        if self.host is not None:
            return rows.filter(host=self.host)
        return rows if self.organization is None else rows.filter(sponsor=self.organization)

    def parties_to(self, acceptance: Acceptance) -> tuple[Party, ...]:
        """What of their parties they are to this one: the shop is a sponsor of what it asked for itself only."""
        if self.is_of_shop and acceptance.sponsor_id is not None:
            return tuple(party for party in self.parties if party != Party.SPONSOR)
        return self.parties

    def moves(self, acceptance: Acceptance, *, state: str) -> tuple[Open, ...]:
        """What they may do in this state, which is the one that counts now; each move once."""
        opened: dict[str, Open] = {}
        for party in self.parties_to(acceptance):
            for move in moves_for(acceptance, party, state=state):
                opened.setdefault(move.code, Open(move, party))
        return tuple(opened.values())

    def doer(self, party: Party) -> Doer:
        return Doer(
            self.actor,
            party,
            host_id=self.host.pk if self.host is not None else None,
            organization_id=self.organization.pk if self.organization is not None else None,
        )

    def find_open(self, acceptance: Acceptance, code: str, *, at: datetime) -> Open:
        """The move, and as whom they make it. Raises MoveRefused for one that is not open to them now."""
        state = effective_state(acceptance, at=at)
        opened = self.moves(acceptance, state=state)
        for each in opened:
            if each.move.code == code:
                return each
        raise refusal(acceptance, code, opened, state=state)

    def doer_among(self, acceptance: Acceptance, wanted: Iterable[Party]) -> Doer | None:
        """As the first of these parties that they are to this acceptance."""
        mine = self.parties_to(acceptance)
        return next((self.doer(party) for party in wanted if party in mine), None)

    def says_actor(self, row: AcceptanceMove | AcceptanceFile) -> str:
        """Who did something, by name where it is one of their own side, else the side only."""
        sides = {Party.SPONSOR: (Party.SPONSOR,), **dict.fromkeys(OF_HOST, OF_HOST)}
        is_own = any(Party(row.party) in sides.get(party, (party,)) for party in self.parties)
        return str(row.actor) if self.is_of_shop or is_own else ""


def refusal(acceptance: Acceptance, code: str, opened: Iterable[Open], *, state: str) -> MoveRefused:
    """That this move is not open now, and which are."""
    allowed = tuple(each.move.code for each in opened)
    cure = f"Open to you now: {', '.join(allowed)}." if allowed else "No move of it is open to you now."
    said = Acceptance.State(state).label
    return MoveRefused(f"{acceptance.code} is {said}: {code} is not open to you. {cure}", allowed)


# --- whose ----------------------------------------------------------------------------------------------------


def standing_of_vendor(vendor: Organization, actor: Actor) -> Standing:
    return Standing(actor, (Party.SPONSOR,), organization=vendor)


def standing_of_carrier(row: CarrierKey | CarrierMember, actor: Actor) -> Standing:
    """By the duties of a key or of a user."""
    parties = tuple(party for _, field, party in DUTIES if getattr(row, field))
    return Standing(actor, parties, host=row.host)


def standing_of_staff(user: Any, member: CarrierMember | None, actor: Actor) -> Standing | None:
    """At the desk: a host carrier's user, or the shop's staff by their permissions; None: sees no acceptance."""
    if member is not None:
        return standing_of_carrier(member, actor)
    if not user.has_perm("authorization.view_acceptance"):
        return None
    parties = []
    if user.has_perm("authorization.change_acceptance"):
        parties = [Party.SPONSOR, Party.SHOP]
    return Standing(actor, tuple(parties))
