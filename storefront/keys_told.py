"""Owners are told of keys that are about to expire: 30 days before, 7 days, and the day before.

An hourly round looks at the keys themselves, so that one made long ago, or cut short by its rotation, is met as any
other. The ledger remembers what was told.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from authorization import ledger, outbox
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.messages import send_message
from storefront.models import CarrierKey, OrganizationKey

DAYS_BEFORE = (30, 7, 1)
_KINDS: dict[type[OrganizationKey | CarrierKey], tuple[str, str]] = {
    OrganizationKey: ("organization_key", "organization"),
    CarrierKey: ("carrier_key", "host"),
}


def announce_expiring(*, at: datetime) -> int:
    """Announce what has come near its end since the last round. Returns how many. However often it runs, once each."""
    told = 0
    for model in _KINDS:
        rows: Any = model._default_manager
        near = rows.filter(
            revoked_at__isnull=True,
            successor__isnull=True,
            expires_at__gt=at,
            expires_at__lte=at + timedelta(days=max(DAYS_BEFORE)),
        )
        told += sum(_announce(model, pk, at) for pk in near.values_list("pk", flat=True))
    return told


def _announce(model: type[OrganizationKey | CarrierKey], pk: int, at: datetime) -> bool:
    kind, owner = _KINDS[model]
    rows: Any = model._default_manager
    with transaction.atomic():
        key = rows.select_for_update(no_key=True, of=("self",)).select_related(owner).get(pk=pk)
        if key.revoked_at is not None or key.successor_id is not None:
            # Since it was looked for.
            return False
        days = _days_left(key, at)
        act = f"{kind}.expiring"
        told = LedgerEntry.objects.filter(act=act, subject_kind=kind, subject_id=str(pk))
        if days is None or any(entry.evidence["days"] <= days for entry in told):
            return False
        whose = getattr(key, owner)
        is_vendors = isinstance(whose, Organization) and whose.kind == Organization.Kind.VENDOR
        payload = {
            # Whose log it stands in.
            **({"vendor_id": whose.pk} if is_vendors else {}),
            "owner": owner,
            "owner_id": whose.pk,
            "key_id": key.pk,
            "label": key.label,
            "prefix": key.prefix,
            "last_four": key.last_four,
            "expires_at": key.expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "days": days,
            "is_test": getattr(key, "is_test", False),
        }
        ledger.record(act=act, subject_kind=kind, subject_id=pk, by=SYSTEM, at=at, evidence={"days": days})
        outbox.announce(event="api_key.expiring", payload=payload, at=at)
    return True


def _days_left(key: OrganizationKey | CarrierKey, at: datetime) -> int | None:
    """Which of DAYS_BEFORE has passed last; None where it was made later than that."""
    passed = [
        days
        for days in DAYS_BEFORE
        if key.created_at < key.expires_at - timedelta(days=days) <= at < key.expires_at
    ]
    return min(passed, default=None)


def tell_owner(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `api_key.expiring`: whoever reads no webhooks reads mail."""
    model: Any = Organization if payload["owner"] == "organization" else HostCarrier
    owner: Organization | HostCarrier = model.objects.get(pk=payload["owner_id"])
    day = payload["expires_at"][:16].replace("T", " ")
    may_itself = isinstance(owner, Organization)
    cure = (
        "Replace it by POST /v1/keys/{id}/rotate with a key that has keys:write: both work for up to seven days, so"
        " that nothing stops. Or ask the shop's desk for a new one."
        if may_itself
        else "Ask the shop's desk for a new one; both work until the old one ends, so that nothing stops."
    )
    body = [
        f"To {owner.name}:",
        "",
        f"your key of the API for “{payload['label']}” ({payload['prefix']}…{payload['last_four']},",
        f"id {payload['key_id']}) ends on {day} UTC: after that every call with it is answered with 401.",
        "",
        cure,
    ]
    send_message(
        event_id=event_id,
        kind="api_key_expiring",
        recipient=owner.name,
        address=owner.contact_email,
        subject=f"Your API key {payload['prefix']}… ends on {day[:10]}",
        body="\n".join(body),
        at=at,
    )
