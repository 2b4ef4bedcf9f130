"""Listings, their offers and stock written many at once, for feeds: as the functions for one do, a row each.

Nothing here decides, records or announces. Whoever calls holds the locks on what is written.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from catalog.listings import Clearance, check_move
from catalog.models import Listing, ListingHost, OfferState

_UPDATE_LISTING = """
UPDATE catalog_listing
   SET variant_id = %s, condition = %s, territory = %s, channel = %s, software = %s, description = %s,
       price_amount = %s, price_currency = %s, version = %s, updated_at = %s
 WHERE id = %s"""
_UPDATE_STOCK = "UPDATE catalog_stock SET on_hand = %s WHERE listing_id = %s"
_MOVE = """
UPDATE catalog_listinghost
   SET state = %s, version = version + %s, state_changed_at = %s, reason_codes = %s, content_hash = %s
 WHERE id = %s AND version = %s AND state = %s"""
_CLEAR = """
UPDATE catalog_listinghost
   SET state = %s, version = version + %s, state_changed_at = %s, reason_codes = %s, content_hash = %s,
       decision_id = %s, cleared_revision = %s, cleared_hash = %s, clearance_expires_at = %s
 WHERE id = %s AND version = %s AND state = %s"""


@dataclass(frozen=True)
class OfferMove:
    """Where one offer goes, by the states on its way there; each is a version. None: only its terms changed.

    `offer` is as it was read.
    """

    offer: ListingHost
    way: tuple[str, ...]
    content_hash: str
    reason_codes: Sequence[str] = ()
    clearance: Clearance | None = None

    @property
    def to_state(self) -> str:
        return self.way[-1] if self.way else self.offer.state


def move_offers(moves: Sequence[OfferMove], *, at: datetime) -> int:
    """Move these offers, only where nobody moved them since they were read. Returns how many were.

    Raises InvalidMove where the table has no such move, ValueError where LIVE comes without a clearance.
    """
    bare: list[tuple[Any, ...]] = []
    cleared: list[tuple[Any, ...]] = []
    adapt = connection.ops.adapt_datetimefield_value
    for move in moves:
        offer, state = move.offer, move.offer.state
        for to_state in move.way:
            check_move(state, to_state)
            state = to_state
        if (state == OfferState.LIVE and bool(move.way)) != (move.clearance is not None):
            raise ValueError("An offer becomes live only with a clearance from authorization.")
        changed_at = at if move.way else offer.state_changed_at
        head = (
            str(state),
            len(move.way),
            adapt(changed_at),
            json.dumps(list(move.reason_codes)),
            move.content_hash,
        )
        as_read = (offer.pk, offer.version, str(offer.state))
        if move.clearance is None:
            bare.append((*head, *as_read))
        else:
            cleared.append((*head, *_clearance(move.clearance), *as_read))
    return _many(_MOVE, bare) + _many(_CLEAR, cleared)


def update_listings(changed: Iterable[Listing]) -> None:
    """What a vendor says of these listings, with version and time of change, as the instances have them."""
    ops = connection.ops
    _many(
        _UPDATE_LISTING,
        [
            (
                listing.variant_id,
                listing.condition,
                listing.territory,
                listing.channel,
                listing.software,
                listing.description,
                ops.adapt_decimalfield_value(listing.price_amount, 12, 2),
                listing.price_currency,
                listing.version,
                ops.adapt_datetimefield_value(listing.updated_at),
                listing.pk,
            )
            for listing in changed
        ],
    )


def set_stock(on_hand: Iterable[tuple[int, int]]) -> None:
    """Pairs (units on hand, listing id) of listings that have a row of stock."""
    _many(_UPDATE_STOCK, list(on_hand))


def _clearance(clearance: Clearance) -> tuple[Any, ...]:
    is_postgresql = connection.vendor == "postgresql"
    return (
        clearance.decision_id if is_postgresql else clearance.decision_id.hex,
        clearance.revision,
        clearance.content_hash,
        connection.ops.adapt_datetimefield_value(clearance.expires_at),
    )


def _many(sql: str, rows: list[tuple[Any, ...]]) -> int:
    """One statement that the driver runs through its rows. Returns how many rows it found in all."""
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)
        return int(cursor.rowcount)
