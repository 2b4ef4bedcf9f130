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

from django.db import connection
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


def lock_offers(offer_ids: Sequence[int]) -> None:
    """Keep these from being moved or edited until commit. By id, as everywhere, so that no two wait for each other."""
    if not offer_ids or connection.vendor != "postgresql":
        # Every transaction on SQLite is the only writer.
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM catalog_listinghost WHERE id = ANY(%s::bigint[]) ORDER BY id FOR NO KEY UPDATE",
            ["{" + ",".join(map(str, offer_ids)) + "}"],
        )


def suspend_offers(*, moves: Sequence[tuple[int, int, Sequence[str]]], at: datetime) -> int:
    """Delist many live offers in one statement, each for its reasons: (id, version, reason codes).

    As `move_offer`, only where nobody moved the offer since. Returns how many were; the caller holds their locks.
    """
    check_move(OfferState.LIVE, OfferState.SUSPENDED)
    return _update_many(
        [(offer_id, version, list(reason_codes)) for offer_id, version, reason_codes in moves],
        {"reason_codes": "json"},
        "state = 'SUSPENDED', state_changed_at = %(at)s, reason_codes = given.reason_codes",
        from_state=OfferState.LIVE,
        at=at,
    )


def reinstate_offers(*, moves: Sequence[tuple[int, int, Clearance]], at: datetime) -> int:
    """Bring many suspended offers back in one statement: (id, version, clearance). As `suspend_offers`."""
    check_move(OfferState.SUSPENDED, OfferState.LIVE)
    return _update_many(
        [_cleared(*move) for move in moves],
        _CLEARANCE,
        f"state = 'LIVE', state_changed_at = %(at)s, reason_codes = '[]', {_SET_CLEARANCE}",
        from_state=OfferState.SUSPENDED,
        at=at,
    )


def renew_clearances(*, moves: Sequence[tuple[int, int, Clearance]]) -> int:
    """`renew_clearance` of many offers in one statement: (id, version, clearance)."""
    return _update_many(
        [_cleared(*move) for move in moves], _CLEARANCE, _SET_CLEARANCE, from_state=OfferState.LIVE
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


# --- many at once -----------------------------------------------------------------------------------------------

_CLEARANCE = {
    "decision_id": "uuid",
    "cleared_revision": "bigint",
    "cleared_hash": "text",
    "clearance_expires_at": "timestamptz",
}
_SET_CLEARANCE = ", ".join(f"{column} = given.{column}" for column in _CLEARANCE)


def _cleared(offer_id: int, version: int, clearance: Clearance) -> tuple[Any, ...]:
    expires_at: Any = clearance.expires_at.isoformat()
    decision_id = str(clearance.decision_id)
    if connection.vendor != "postgresql":
        expires_at = connection.ops.adapt_datetimefield_value(clearance.expires_at)
        decision_id = clearance.decision_id.hex
    return offer_id, version, decision_id, clearance.revision, clearance.content_hash, expires_at


def _update_many(
    rows: list[tuple[Any, ...]],
    columns: dict[str, str],
    changes: str,
    *,
    from_state: str,
    at: datetime | None = None,
) -> int:
    """One UPDATE of the offers given as (id, version, *columns) that are still of that version and state."""
    if not rows:
        return 0
    if connection.vendor == "postgresql":
        types = {"id": "bigint", "version": "bigint", **columns}
        listed = ", ".join(
            f"e.value->{place} AS {name}" if kind == "json" else f"(e.value->>{place})::{kind} AS {name}"
            for place, (name, kind) in enumerate(types.items())
        )
        source = "jsonb_array_elements(%(rows)s::jsonb) AS e(value)"
    else:
        names = ["id", "version", *columns]
        listed = ", ".join(
            f"json_extract(e.value, '$[{place}]') AS {name}" for place, name in enumerate(names)
        )
        source = "json_each(%(rows)s) AS e"
    # The text is made of names of our own; every value is a parameter.
    sql = f"""UPDATE catalog_listinghost SET version = catalog_listinghost.version + 1, {changes}
  FROM (SELECT {listed} FROM {source}) AS given
 WHERE catalog_listinghost.id = given.id AND catalog_listinghost.version = given.version
   AND catalog_listinghost.state = %(state)s"""  # noqa: S608
    given: dict[str, Any] = {"rows": json.dumps(rows), "state": str(from_state)}
    if at is not None:
        given["at"] = connection.ops.adapt_datetimefield_value(at)
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        return int(cursor.rowcount)
