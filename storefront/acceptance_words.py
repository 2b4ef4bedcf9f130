"""What is said of technical acceptances to those who take part: API, pages and mails say the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authorization.acceptances.moves import Input
from authorization.models import Acceptance, AcceptanceMove, ApprovalVersion, Party
from authorization.revocations import WITHDRAWAL_REASONS

# What a change of an approval or of a hold brings about, whoever makes it.
_FOLLOWS = (
    "suspend",
    "resume",
    "restrict",
    "revoke",
    "lift_limits",
    "reinstate",
    "expire",
    "fall_with_parent",
)
# What a move's record keeps as text.
_INSTANTS = (Input.WAIVED_UNTIL, Input.VALID_UNTIL, Input.PHASE_OUT_UNTIL)


@dataclass(frozen=True)
class Software:
    """A range of software: the end itself is left out; empty is unbounded."""

    starts: str
    ends: str

    def __str__(self) -> str:
        parts = [self.starts and f"from {self.starts}", self.ends and f"before {self.ends}"]
        return " ".join(filter(None, parts)) or "any"


def reason_told(move: AcceptanceMove) -> str:
    """The reason of a move as both sides may read it.

    What follows a withdrawal of the shop's own has its code as its reason: it is told in words. What the desk noted
    with it is the desk's, and told to nobody.
    """
    is_own = move.party in (Party.SHOP, Party.CLOCK) and not move.detail.get("is_hosts_word")
    if move.move in _FOLLOWS and is_own:
        return WITHDRAWAL_REASONS.get(move.reason, "")
    return move.reason


def details_of(move: AcceptanceMove) -> dict[str, Any]:
    """What is on record of a move beside its states, where there is something; instants are instants."""
    told = {name: value for name, value in move.detail.items() if value}
    return told | {name: datetime.fromisoformat(told[name]) for name in _INSTANTS if name in told}


def software_asked_for(row: Acceptance) -> Software:
    return Software(row.software_from, row.software_until)


def software_approved(acceptances: Iterable[Acceptance]) -> dict[int, Software]:
    """Of those that led to an approval, by id: the software that it covers as it says now. One query."""
    heads = {row.approval_id: row.pk for row in acceptances if row.approval_id is not None}
    if not heads:
        return {}
    versions = ApprovalVersion.objects.current().filter(head__in=list(heads))
    ranges = versions.values_list("head_id", "software_from", "software_until")
    return {heads[head]: Software(starts, ends) for head, starts, ends in ranges}
