"""The table of moves of a host offer, and the compare-and-swap functions that make them.

Nothing here records or announces: the acts that do (`authorization.offers`, `authorization.sweeps`) call these
inside their own transaction.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F

from catalog.models import ListingHost, OfferState

# from -> {to: the act that makes the move}
MOVES: dict[str, dict[str, str]] = {
    OfferState.DRAFT: {
        OfferState.BLOCKED: "refuse",
        OfferState.LIVE: "publish",
        OfferState.REMOVED: "withdraw",
    },
    OfferState.BLOCKED: {
        OfferState.DRAFT: "edit",
        OfferState.LIVE: "publish",
        OfferState.REMOVED: "withdraw",
    },
    OfferState.LIVE: {
        OfferState.SUSPENDED: "delist",
        OfferState.DRAFT: "edit",
        OfferState.BLOCKED: "edit",
        OfferState.REMOVED: "withdraw",
    },
    OfferState.SUSPENDED: {
        OfferState.LIVE: "reinstate",
        OfferState.DRAFT: "edit",
        OfferState.BLOCKED: "edit",
        OfferState.REMOVED: "withdraw",
    },
    # A host that the vendor had left out and lists again. A listing whose every offer is removed stays removed.
    OfferState.REMOVED: {OfferState.DRAFT: "list again"},
}


# What a decision reads of a listing and its host. The price is not one of them.
TERMS = ("variant_id", "host_id", "territory", "channel", "condition", "software")


class InvalidMove(Exception):
    """The table of moves has no such move."""

    def __init__(self, from_state: str, to_state: str) -> None:
        super().__init__(f"An offer that is {from_state} cannot become {to_state}.")
        self.from_state = from_state
        self.to_state = to_state


@dataclass(frozen=True)
class Clearance:
    """Leave to be live. Made only by `authorization`, from a decision that allows."""

    decision_id: UUID
    revision: int
    content_hash: str
    expires_at: datetime


def content_hash(
    *, variant_id: int, host_id: int, territory: str, channel: str, condition: str, software: str = ""
) -> str:
    """SHA-256 (hex) over TERMS."""
    terms = [variant_id, host_id, territory, channel, condition]
    # Where no software is stated the hash is that of the time before it could be: clearances given then stay good.
    if software:
        terms.append(software)
    return hashlib.sha256(json.dumps(terms).encode()).hexdigest()


def check_move(from_state: str, to_state: str) -> None:
    if to_state not in MOVES[from_state]:
        raise InvalidMove(from_state, to_state)


def move_offer(
    *,
    offer: ListingHost,
    to_state: str,
    at: datetime,
    clearance: Clearance | None = None,
    reason_codes: Sequence[str] = (),
) -> bool:
    """Move one offer if nobody moved it since it was read. False if somebody did.

    Raises InvalidMove where the table has no such move, ValueError where LIVE comes without a clearance.
    """
    check_move(offer.state, to_state)
    changes: dict[str, Any] = {
        "state": to_state,
        "version": F("version") + 1,
        "state_changed_at": at,
        "reason_codes": list(reason_codes),
    }
    if to_state == OfferState.LIVE:
        if clearance is None:
            raise ValueError("An offer becomes live only with a clearance from authorization.")
        changes |= _clearance_columns(clearance)
    moved = ListingHost.objects.filter(pk=offer.pk, version=offer.version, state=offer.state).update(
        **changes
    )
    return moved == 1


def suspend_offers(*, offer_ids: Sequence[int], at: datetime, reason_codes: Sequence[str]) -> int:
    """Delist many live offers for the same reasons, in one statement. The caller holds their locks."""
    check_move(OfferState.LIVE, OfferState.SUSPENDED)
    live = ListingHost.objects.filter(pk__in=offer_ids, state=OfferState.LIVE)
    return live.update(
        state=OfferState.SUSPENDED,
        version=F("version") + 1,
        state_changed_at=at,
        reason_codes=list(reason_codes),
    )


def renew_clearance(*, offer: ListingHost, clearance: Clearance) -> bool:
    """Let a live offer rest on newer evidence. It is no move: the offer stays live."""
    kept = ListingHost.objects.filter(pk=offer.pk, version=offer.version, state=OfferState.LIVE)
    return kept.update(version=F("version") + 1, **_clearance_columns(clearance)) == 1


def _clearance_columns(clearance: Clearance) -> dict[str, Any]:
    return {
        "decision_id": clearance.decision_id,
        "cleared_revision": clearance.revision,
        "cleared_hash": clearance.content_hash,
        "clearance_expires_at": clearance.expires_at,
    }
