"""Who may call the API, and who works for a host carrier.

A key is shown once and kept as its SHA-256: a stolen database opens nothing. Keys of vendors and of host carriers are
of one make; only whose they are and what they open differs.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.db.models import Q

from authorization import ledger
from authorization.actors import Actor
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.models import CarrierKey, CarrierMember, VendorKey
from storefront.roles import CARRIER

PREFIX = "sk_live_"
CARRIER_PREFIX = "ck_live_"
# The secret has 256 random bits, so a plain hash keeps it: there is nothing to guess, and no salt to look it
# up by.
SECRET_BYTES = 32
# `last_used_at` is for people; writing it with every request would make each read of the API a write.
USE_IS_NOTED_EVERY = timedelta(minutes=1)


class InvalidAccount(ValueError):
    """A key or a membership that is not made. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class InvalidKey(InvalidAccount):
    """A key that is not made."""


class InvalidMember(InvalidAccount):
    """Somebody who is not made a user of a host carrier."""


@dataclass(frozen=True)
class Duties:
    """What somebody does in the name of a host carrier. At least one."""

    is_desk: bool = False
    is_lab: bool = False
    is_approver: bool = False

    def __bool__(self) -> bool:
        return self.is_desk or self.is_lab or self.is_approver


# --- keys ---------------------------------------------------------------------------------------------------


def make_vendor_key(
    *, vendor: Organization, label: str, by: Actor, at: datetime, expires_at: datetime
) -> tuple[VendorKey, str]:
    """The key's row, and the secret: it is not kept anywhere and cannot be shown again. Raises InvalidKey."""
    if vendor.kind != Organization.Kind.VENDOR:
        raise InvalidKey(
            "vendor", f"{vendor.name} is a {vendor.kind}; only vendors list phones. Choose a vendor."
        )
    return _make(VendorKey, PREFIX, {"vendor": vendor}, label=label, by=by, at=at, expires_at=expires_at)


def make_carrier_key(
    *, host: HostCarrier, label: str, duties: Duties, by: Actor, at: datetime, expires_at: datetime
) -> tuple[CarrierKey, str]:
    """As `make_vendor_key`, for a host carrier. Raises InvalidKey."""
    if not duties:
        raise InvalidKey("duties", "Give the key at least one duty: certification desk, lab or approver.")
    owner = {"host": host, **asdict(duties)}
    return _make(CarrierKey, CARRIER_PREFIX, owner, label=label, by=by, at=at, expires_at=expires_at)


def revoke_vendor_key(*, key: VendorKey, by: Actor, at: datetime) -> None:
    """The next request with it is refused. Revoking twice keeps the first instant."""
    _revoke(key, by=by, at=at)


def revoke_carrier_key(*, key: CarrierKey, by: Actor, at: datetime) -> None:
    """As `revoke_vendor_key`."""
    _revoke(key, by=by, at=at)


def find_vendor_key(secret: str, at: datetime) -> VendorKey | None:
    """The key in force with this secret, with its vendor; None if unknown, expired or revoked."""
    return _find(VendorKey, "vendor", secret, at) if secret.startswith(PREFIX) else None


def find_carrier_key(secret: str, at: datetime) -> CarrierKey | None:
    """The key in force with this secret, with its host; None if unknown, expired or revoked."""
    return _find(CarrierKey, "host", secret, at) if secret.startswith(CARRIER_PREFIX) else None


def _make[K: (VendorKey, CarrierKey)](
    model: type[K],
    prefix: str,
    owner: Mapping[str, Any],
    *,
    label: str,
    by: Actor,
    at: datetime,
    expires_at: datetime,
) -> tuple[K, str]:
    label = label.strip()
    _check_key(label, at, expires_at)
    secret = prefix + secrets.token_urlsafe(SECRET_BYTES)
    # Abstract models have no manager of their own that the type checker would know.
    rows: Any = model._default_manager
    with transaction.atomic():
        key: K = rows.create(
            **owner,
            label=label,
            prefix=secret[:12],
            last_four=secret[-4:],
            key_hash=_hash(secret),
            created_at=at,
            expires_at=expires_at,
        )
        _record("made", key, by, at, {"expires_at": expires_at.isoformat()})
    return key, secret


def _revoke(key: VendorKey | CarrierKey, *, by: Actor, at: datetime) -> None:
    rows: Any = type(key)._default_manager
    with transaction.atomic():
        if rows.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=at):
            _record("revoked", key, by, at, {})


def _find[K: (VendorKey, CarrierKey)](model: type[K], owner: str, secret: str, at: datetime) -> K | None:
    """Looked up by hash, so no comparison takes longer for a better guess. Read afresh with every request."""
    rows: Any = model._default_manager
    in_force = rows.filter(revoked_at__isnull=True, created_at__lte=at, expires_at__gt=at)
    key: K | None = in_force.select_related(owner).filter(key_hash=_hash(secret)).first()
    if key is not None and (key.last_used_at is None or at - key.last_used_at >= USE_IS_NOTED_EVERY):
        rows.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=at), pk=key.pk).update(last_used_at=at)
    return key


def _record(
    what: str, key: VendorKey | CarrierKey, by: Actor, at: datetime, evidence: Mapping[str, Any]
) -> None:
    if isinstance(key, VendorKey):
        kind, whose = "vendor_key", {"vendor_id": key.vendor_id}
    else:
        kind, whose = "carrier_key", {"host_id": key.host_id, **_duties_of(key)}
    ledger.record(
        act=f"{kind}.{what}",
        subject_kind=kind,
        subject_id=key.pk,
        by=by,
        at=at,
        evidence={**whose, "label": key.label, **evidence},
    )


def _check_key(label: str, at: datetime, expires_at: datetime) -> None:
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


# --- people of host carriers --------------------------------------------------------------------------------


def assign_member(*, user: User, host: HostCarrier, duties: Duties, by: Actor, at: datetime) -> CarrierMember:
    """Make an account that of a host carrier: at the desk it opens that carrier's acceptances and nothing else.

    Assigned again to the same host it gets the duties given now. Raises InvalidMember: an account that has rights of
    the shop's staff keeps the two worlds apart only if it is not used for both.
    """
    if not duties:
        raise InvalidMember("duties", "Give at least one duty: certification desk, lab or approver.")
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user.pk)
        member = CarrierMember.objects.select_related("host").filter(user=user).first()
        if member is not None and member.host_id != host.pk:
            raise InvalidMember(
                "user", f"{user} works for {member.host}. End that first, or take another account."
            )
        has_rights = user.is_superuser or user.groups.exclude(name=CARRIER).exists()
        if has_rights or user.user_permissions.exists():
            raise InvalidMember(
                "user",
                f"{user} has rights of the shop's staff. Take an account without groups and permissions: make one "
                "under Users.",
            )
        if not user.is_active:
            raise InvalidMember("user", f"{user} is switched off; switch the account on under Users first.")
        if member is None:
            try:
                with transaction.atomic():
                    member = CarrierMember.objects.create(user=user, host=host, **asdict(duties))
            except IntegrityError as error:
                raise InvalidMember("user", f"{user} was assigned meanwhile; look at the list.") from error
        else:
            CarrierMember.objects.filter(pk=member.pk).update(**asdict(duties))
            member.refresh_from_db()
        user.groups.add(Group.objects.get_or_create(name=CARRIER)[0])
        # Who may log in to the desk at all.
        User.objects.filter(pk=user.pk).update(is_staff=True)
        _record_member("assigned", member, by, at)
    return member


def dismiss_member(*, member: CarrierMember, by: Actor, at: datetime) -> None:
    """The account opens nothing from the next request on. What it did stays on record."""
    with transaction.atomic():
        kept = CarrierMember.objects.select_for_update().filter(pk=member.pk).first()
        if kept is None:
            return
        _record_member("dismissed", kept, by, at)
        user = User.objects.get(pk=kept.user_id)
        user.groups.remove(*Group.objects.filter(name=CARRIER))
        User.objects.filter(pk=user.pk).update(is_staff=False)
        kept.delete()


def _record_member(what: str, member: CarrierMember, by: Actor, at: datetime) -> None:
    ledger.record(
        act=f"carrier_member.{what}",
        subject_kind="carrier_member",
        subject_id=member.pk,
        by=by,
        at=at,
        evidence={"user": member.user.get_username(), "host_id": member.host_id, **_duties_of(member)},
    )


def _duties_of(row: CarrierKey | CarrierMember) -> dict[str, bool]:
    return {name: getattr(row, name) for name in ("is_desk", "is_lab", "is_approver")}
