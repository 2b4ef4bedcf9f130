"""Keys of the vendors' API. A key is shown once and kept as its SHA-256: a stolen database opens nothing."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from authorization import ledger
from authorization.actors import Actor
from catalog.models import Organization
from storefront.models import VendorKey

PREFIX = "sk_live_"
# The secret has 256 random bits, so a plain hash keeps it: there is nothing to guess, and no salt to look it
# up by.
SECRET_BYTES = 32
# `last_used_at` is for people; writing it with every request would make each read of the API a write.
USE_IS_NOTED_EVERY = timedelta(minutes=1)


class InvalidKey(ValueError):
    """A key that is not made. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def make_vendor_key(
    *, vendor: Organization, label: str, by: Actor, at: datetime, expires_at: datetime
) -> tuple[VendorKey, str]:
    """The key's row, and the secret: it is not kept anywhere and cannot be shown again."""
    label = label.strip()
    _check_key(vendor, label, at, expires_at)
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    with transaction.atomic():
        key = VendorKey.objects.create(
            vendor=vendor,
            label=label,
            prefix=secret[:12],
            last_four=secret[-4:],
            key_hash=_hash(secret),
            created_at=at,
            expires_at=expires_at,
        )
        ledger.record(
            act="vendor_key.made",
            subject_kind="vendor_key",
            subject_id=key.pk,
            by=by,
            at=at,
            evidence={"vendor_id": vendor.pk, "label": label, "expires_at": expires_at.isoformat()},
        )
    return key, secret


def revoke_vendor_key(*, key: VendorKey, by: Actor, at: datetime) -> None:
    """The next request with it is refused. Revoking twice keeps the first instant."""
    with transaction.atomic():
        if not VendorKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=at):
            return
        ledger.record(
            act="vendor_key.revoked",
            subject_kind="vendor_key",
            subject_id=key.pk,
            by=by,
            at=at,
            evidence={"vendor_id": key.vendor_id, "label": key.label},
        )


def find_vendor_key(secret: str, at: datetime) -> VendorKey | None:
    """The key in force with this secret, with its vendor; None if unknown, expired or revoked.

    Looked up by hash, so no comparison takes longer for a better guess. Read afresh with every request.
    """
    if not secret.startswith(PREFIX):
        return None
    in_force = VendorKey.objects.filter(revoked_at__isnull=True, created_at__lte=at, expires_at__gt=at)
    key = in_force.select_related("vendor").filter(key_hash=_hash(secret)).first()
    if key is not None and (key.last_used_at is None or at - key.last_used_at >= USE_IS_NOTED_EVERY):
        VendorKey.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=at), pk=key.pk).update(
            last_used_at=at
        )
    return key


def _check_key(vendor: Organization, label: str, at: datetime, expires_at: datetime) -> None:
    if vendor.kind != Organization.Kind.VENDOR:
        raise InvalidKey(
            "vendor", f"{vendor.name} is a {vendor.kind}; only vendors list phones. Choose a vendor."
        )
    if not label:
        raise InvalidKey("label", "Give the key a label that tells where it is used, e.g. `stock system`.")
    if len(label) > 64:
        raise InvalidKey("label", f"The label has {len(label)} characters; take at most 64.")
    if expires_at.tzinfo is None:
        raise InvalidKey("expires_at", "expires_at has no time zone; give one, e.g. 2027-01-01T00:00:00Z.")
    if expires_at <= at:
        raise InvalidKey("expires_at", "The key would have expired already; take a later date.")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
