"""Parties of reseller agreements are told of them: what the desk decided, what ends soon, what was revoked.

Each is an event of the grantee, in its log and its webhooks, and a mail with the same id. Who grants by its own key
knows what it did; the grantee hears of it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction

from authorization import agreements, outbox, selectors
from authorization.agreements import WARNED_BEFORE
from authorization.models import AgreementVersion, Assurance, Fact, OutboxRow, Revocation
from authorization.revocations import WITHDRAWAL_REASONS
from catalog.models import ListingHost, OfferState, Organization
from storefront.messages import send_message
from storefront.models import AgreementSubmission

# From these ids follows which event is which: each is written once, however often its work is done.
_EVENTS = UUID("6c2f5a54-98a0-5f6e-8a0b-2f1c7a3d9e10")


# --- what ends soon ---------------------------------------------------------------------------------------------


def warn_of_end(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `agreement.to_warn`, due so many days before an end. Payload: `fact_id`, `valid_until`, `days`.

    One that was renewed, narrowed or revoked meanwhile has another end, and other rows.
    """
    until = datetime.fromisoformat(payload["valid_until"])
    fact = Fact.objects.get(pk=payload["fact_id"])
    version = agreements.current(fact)
    is_open = version.state == AgreementVersion.State.ACTIVE and version.valid_until == until
    if not is_open or at >= until:
        return
    # A worker that was away for a week says what is true when it comes.
    days = min(each for each in WARNED_BEFORE if until - timedelta(days=each) <= at)
    own_id = uuid5(_EVENTS, f"expiring {fact.pk} {until.timestamp()} {days}")
    with transaction.atomic():
        if _is_written(own_id):
            return
        outbox.announce(
            event="agreement.expiring",
            payload={
                "vendor_id": version.grantee_id,
                "code": fact.code,
                "valid_until": until.isoformat().replace("+00:00", "Z"),
                "days": days,
            },
            at=at,
            event_id=own_id,
        )
        agreements.announce_next_warning(fact_id=fact.pk, valid_until=until, after=at, at=at)


def tell_of_end(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `agreement.expiring`: the mail. It counts the offers that may rest on the agreement."""
    fact = Fact.objects.get(code=payload["code"])
    version = agreements.current(fact)
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    count = selectors.offers_touched_by(live, fact).count()
    days = payload["days"]
    within = "1 day" if days == 1 else f"{days} days"
    can = f"Send the paper that prolongs it: POST {_address(fact.code, '/documents')}?valid_until=..."
    whose = "of yours" if version.grantee.kind == Organization.Kind.VENDOR else "of vendors"
    _send(
        version.grantee,
        event_id,
        "agreement_expiring",
        f"Agreement {fact.code} ends within {within}",
        [
            f"agreement {fact.code}, by which {version.grantor.name} lets you sell, ends on "
            f"{version.valid_until:%Y-%m-%d %H:%M} UTC.",
            "",
            f"Live offers {whose} that may rest on it: {count}. What nothing else covers cannot be sold then.",
            "",
            "What you can do:",
            f"- {can}",
            f"  or POST {_address(fact.code, '/renew')} with the new end; it counts once the desk has accepted it.",
            f"- Or ask {version.grantor.name} to renew it with its own key, which counts at once.",
        ],
        at,
    )


# --- what the desk decided --------------------------------------------------------------------------------------


def tell_of_decision(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `agreement.decided`: the mail to whoever submitted it."""
    row = AgreementSubmission.objects.select_related("grantor", "grantee", "agreement").get(
        pk=payload["submission_id"]
    )
    lines = [
        f"your submission {row.code} of an agreement with {row.grantor.name} was {row.get_state_display()}.",
        "",
        f"The desk says: {row.decision_note}",
        "",
    ]
    if row.state == AgreementSubmission.State.ACCEPTED and row.agreement is not None:
        lines += _what_now(row)
    else:
        lines += [
            "Nothing was put on record. Send what is missing as a new submission:",
            f"POST {_url()}/v1/agreements",
        ]
    _send(row.grantee, event_id, "agreement_decided", f"Submission {row.code} was {row.state}", lines, at)


def _what_now(row: AgreementSubmission) -> Sequence[str]:
    fact = row.agreement
    if fact is None:
        return []
    version = agreements.current(fact)
    lines = [f"It is on record as {fact.code}: GET {_address(fact.code)}"]
    if version.assurance == Assurance.CLAIMED:
        lines.append(
            "It is recorded as claimed: the grantor itself has not confirmed it yet. Offers stay blocked as "
            "AGREEMENT_NOT_VERIFIED for as long as the shop asks for more than a claim."
        )
    lines.append("Publish the listings that waited for it: POST /v1/listings/{sku}/publish.")
    return lines


# --- what was revoked -------------------------------------------------------------------------------------------


def announce_revoked(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `authority.withdrawn`: of a revoked agreement, one event for its grantee."""
    revocation = Revocation.objects.select_related("fact").get(pk=payload["revocation_id"])
    if revocation.kind != Revocation.Kind.AGREEMENT:
        return
    fact = revocation.named_fact
    version = agreements.current(fact)
    own_id = uuid5(_EVENTS, f"revoked {revocation.pk} {version.grantee_id}")
    with transaction.atomic():
        if _is_written(own_id):
            return
        outbox.announce(
            event="agreement.revoked",
            payload={
                "vendor_id": version.grantee_id,
                "revocation_id": revocation.pk,
                "code": fact.code,
                "reason_code": revocation.reason_code,
                "effective_at": revocation.effective_at.isoformat().replace("+00:00", "Z"),
                "revision": revocation.revision_id,
            },
            at=at,
            event_id=own_id,
        )


def tell_of_revocation(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `agreement.revoked`: the mail, to whom no other tells of it.

    A person gets one mail for one decision: a vendor whose offers fall gets the one that names them.
    """
    revocation = Revocation.objects.select_related("fact").get(pk=payload["revocation_id"])
    fact = revocation.named_fact
    version = agreements.current(fact)
    if version.grantee.kind == Organization.Kind.VENDOR and revocation.preview_falls:
        return
    lines = [
        f"agreement {fact.code} with {version.grantor.name} counts no more since "
        f"{revocation.effective_at:%Y-%m-%d %H:%M:%S} UTC.",
        "",
        f"Reason: {WITHDRAWAL_REASONS[revocation.reason_code]} ({revocation.reason_code}), on the word of "
        f"{revocation.requested_by}.",
        "",
        "What rests on it alone cannot be sold any more. An offer that another agreement covers stays on sale.",
    ]
    if revocation.reason_code != "GRANTEE_WITHDRAWS":
        lines += [
            "",
            f"If you think that it is wrong, talk to {version.grantor.name}, or appeal: POST {_url()}/v1/cases",
        ]
    _send(version.grantee, event_id, "agreement_revoked", f"Agreement {fact.code} was revoked", lines, at)


# --- writing ----------------------------------------------------------------------------------------------------


def _send(
    party: Organization, event_id: UUID, kind: str, subject: str, lines: Sequence[str], at: datetime
) -> None:
    body = [
        f"To {party.name}:",
        "",
        *lines,
        "",
        f"This is event {event_id}: it has the same id here, in GET /v1/events and in your webhooks.",
    ]
    send_message(
        event_id=event_id,
        kind=kind,
        recipient=party.name,
        address=party.contact_email,
        subject=subject,
        body="\n".join(body),
        at=at,
    )


def _is_written(event_id: UUID) -> bool:
    return OutboxRow.objects.filter(event_id=event_id, handler="").exists()


def _address(code: str, rest: str = "") -> str:
    return f"{_url()}/v1/agreements/{code}{rest}"


def _url() -> str:
    return str(settings.PUBLIC_URL)
