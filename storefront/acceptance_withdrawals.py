"""Suspending and revoking an approved acceptance by API: through the front door, without its pages.

The two pages of the desk show the impact and ask again. A carrier's system has decided already: it is told what it
stopped. All else is the same: the preview, its digest, the second person for the removal of many pages, and the sale
that stops at the commit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from authorization.acceptances import process
from authorization.acceptances.following import Following
from authorization.acceptances.moves import MoveRefused
from authorization.acceptances.process import Doer
from authorization.models import Acceptance, Revocation
from authorization.revocations import Change, PlaceHold, RestrictApproval, RevokeApproval, WorldMoved
from storefront import withdrawals

# How often the world may move between a preview and its confirmation before the caller is asked to come again. Each
# attempt of the front door holds against changes of authority already; what remains is a change of its offers.
ATTEMPTS = 5
# Why, in the words of withdrawals.
REASONS = {
    "suspend": "CARRIER_TESTS_PENDING",
    "restrict": "CARRIER_WITHDRAWS",
    "revoke": "CARRIER_WITHDRAWS",
}


@dataclass(frozen=True)
class Stopped:
    """A withdrawal that was made. `offers`: those that it takes off sale, all on the acceptance's own host."""

    revocation: Revocation

    @property
    def offers(self) -> int:
        return self.revocation.preview_falls


def suspend(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    reason: str,
    document: str = "",
    seen_version: int | None = None,
) -> Stopped:
    """Place a hold on the approval, on the word of the host. Raises InvalidFact, MoveRefused, WorldMoved."""
    following = following_of(by, document=document, seen_version=seen_version)
    change = suspension(acceptance, reason=reason, following=following)
    return _withdraw(change, acceptance, by=by, at=at, reason=reason)


def restrict(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    reason: str,
    limits: str,
    waived_until: datetime | None = None,
    software_from: str | None = None,
    software_until: str | None = None,
    document: str = "",
    seen_version: int | None = None,
) -> Stopped:
    """Limit the approval, on the word of the host; a range of software that is None stays. Raises as `suspend`."""
    following = following_of(by, document=document, seen_version=seen_version)
    change = RestrictApproval(
        fact_id=_approval_of(acceptance),
        reason_code=REASONS["restrict"],
        limits=limits,
        waived_until=waived_until,
        software_from=software_from,
        software_until=software_until,
        following=following,
    )
    return _withdraw(change, acceptance, by=by, at=at, reason=reason)


def revoke(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    reason: str,
    effective_at: datetime | None = None,
    document: str = "",
    phase_out_until: datetime | None = None,
    seen_version: int | None = None,
) -> Stopped:
    """Revoke the approval, on the word of the host. Raises InvalidFact, MoveRefused, WorldMoved."""
    following = following_of(
        by, document=document, phase_out_until=phase_out_until, seen_version=seen_version
    )
    change = revocation(acceptance, following=following)
    return _withdraw(change, acceptance, by=by, at=at, reason=reason, effective_at=effective_at)


# Moves that take authority away, by code.
BY_MOVE: dict[str, Callable[..., Stopped]] = {"suspend": suspend, "restrict": restrict, "revoke": revoke}


def following_of(
    by: Doer,
    *,
    document: str = "",
    phase_out_until: datetime | None = None,
    seen_version: int | None = None,
) -> Following:
    """Whose move the withdrawal is: the write asks under its lock whether the acceptance is theirs to move."""
    return Following(
        party=by.party,
        document=document,
        phase_out_until=phase_out_until,
        seen_version=seen_version,
        host_id=by.host_id,
        organization_id=by.organization_id,
    )


def suspension(
    acceptance: Acceptance, *, following: Following, reason: str = "", reason_code: str = REASONS["suspend"]
) -> PlaceHold:
    """The change that a suspension is."""
    return PlaceHold(
        code=process.free_hold_code(acceptance),
        placed_by=acceptance.host.name,
        reason_code=reason_code,
        note=reason,
        targets=(("fact", str(_approval_of(acceptance))),),
        following=following,
    )


def revocation(
    acceptance: Acceptance, *, following: Following, reason_code: str = REASONS["revoke"]
) -> RevokeApproval:
    """The change that a revocation is."""
    return RevokeApproval(_approval_of(acceptance), reason_code, following=following)


def _approval_of(acceptance: Acceptance) -> int:
    if acceptance.approval_id is None:
        raise MoveRefused(f"{acceptance.code} led to no approval; there is nothing to take away.")
    return acceptance.approval_id


def _withdraw(
    change: Change,
    acceptance: Acceptance,
    *,
    by: Doer,
    at: datetime,
    reason: str,
    effective_at: datetime | None = None,
) -> Stopped:
    seen = withdrawals.preview(change, at=at, effective_at=effective_at).impact
    left = ATTEMPTS
    while True:
        left -= 1
        try:
            made = withdrawals.confirm(
                change,
                digest=seen.digest,
                token=seen.token,
                requested_by=acceptance.host.name,
                # The call is the word.
                word_received_at=at,
                note=reason,
                by=by.actor,
                at=at,
                effective_at=effective_at,
            )
        except WorldMoved as moved:
            if not left or moved.preview is None:
                raise
            seen = moved.preview
        else:
            return Stopped(made)
