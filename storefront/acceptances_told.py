"""Sponsors and hosts are told by mail when a technical acceptance moves and they did not move it.

The sponsor hears of every move but its own. The host hears what the sponsor, the clock and the shop (on the host's own
word, so that it can object) did. However many acceptances move at once, each party gets a mail for some hundreds.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from authorization.acceptances import moves
from authorization.models import Acceptance, AcceptanceMove, Party
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.acceptance_words import reason_told
from storefront.messages import send_message

# Acceptances named in one mail; of more it says how many.
NAMED = 50


def tell_of_moves(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `acceptance.to_tell`. Payload: `to` (sponsor or host), the party's `id`, and the ids of `moves`."""
    party: Organization | HostCarrier
    if payload["to"] == Party.SPONSOR:
        party = Organization.objects.get(pk=payload["id"])
    else:
        party = HostCarrier.objects.get(pk=payload["id"])
    rows = AcceptanceMove.objects.filter(pk__in=payload["moves"]).order_by("pk")
    made = list(rows.select_related("acceptance__variant__device", "acceptance__host"))
    subject, body = _mail(party, payload["to"], made)
    send_message(
        event_id=event_id,
        kind="acceptance_moved",
        recipient=party.name,
        address=party.contact_email,
        subject=subject,
        body=body,
        at=at,
    )


def _mail(party: Organization | HostCarrier, to: str, made: Sequence[AcceptanceMove]) -> tuple[str, str]:
    first = made[0].acceptance
    if len(made) == 1:
        subject = f"Technical acceptance {first.code}: {Acceptance.State(made[0].to_state).label}"
    else:
        subject = f"{len(made)} technical acceptances moved"
    lines = [f"To {party.name}:", "", "this happened to technical acceptances that you take part in:", ""]
    for row in made[:NAMED]:
        lines += _lines(row, to)
    if len(made) > NAMED:
        lines += [f"- and {len(made) - NAMED} more: see GET /v1/technical-acceptances", ""]
    lines += [
        "An acceptance grants nothing by itself: what may be sold follows from the host's approval alone.",
        f"All of it, with its history: {settings.PUBLIC_URL}/v1/technical-acceptances",
    ]
    return subject, "\n".join(lines)


def _lines(row: AcceptanceMove, to: str) -> list[str]:
    acceptance = row.acceptance
    move = moves.BY_CODE[row.move]
    was = f", was {row.from_state}" if row.from_state not in ("", row.to_state) else ""
    lines = [
        f"- {acceptance.code}: {acceptance.variant} on {acceptance.host} is {row.to_state}{was}.",
        f"  {move.title}, by the {Party(row.party).label}, as of {row.effective_at:%Y-%m-%d %H:%M} UTC.",
    ]
    if reason := reason_told(row):
        lines.append(f"  Reason: {reason}")
    if child := row.detail.get("child"):
        lines.append(f"  The release is reviewed as {child}.")
    yours = (Party.SPONSOR,) if to == Party.SPONSOR else moves.HOST
    open_now = {
        one.title: None for party in yours for one in moves.moves_for(acceptance, party, state=row.to_state)
    }
    if open_now:
        lines.append(f"  You may now: {', '.join(open_now)}.")
    return [*lines, ""]
