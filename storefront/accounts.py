"""Who may call the API, and who works for a host carrier.

A key is shown once and kept as its SHA-256: a stolen database opens nothing. Keys of organizations and of host carriers
are of one make; only whose they are and what they open differs.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.db.models import Q

from authorization import ledger, outbox
from authorization.actors import Actor
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.models import CarrierKey, CarrierMember, OrganizationKey
from storefront.roles import CARRIER
from storefront.scopes import CARRIER as CARRIER_KIND
from storefront.scopes import foreign_scopes, scopes_of, usual_scopes

PREFIX = "sk_live_"
TEST_PREFIX = "sk_test_"
CARRIER_PREFIX = "ck_live_"
# Only a key with a verified representative has it.
TAKES_DOWN = "takedowns:write"
# The secret has 256 random bits, so a plain hash keeps it: there is nothing to guess, and no salt to look it
# up by.
SECRET_BYTES = 32
# What a key lives for when nobody says, and at most.
USUAL_LIFE = timedelta(days=365)
LONGEST_LIFE = timedelta(days=5 * 365)
# For so long at most the old key works beside its successor (storefront.accounts.rotate_organization_key).
LONGEST_OVERLAP = timedelta(days=7)
# Keys in force that one organization has at most in each mode, and one host carrier in all.
MAX_KEYS = 50
# `last_used_at` is for people; writing it with every request would make each read of the API a write.
USE_IS_NOTED_EVERY = timedelta(minutes=1)


class TooManyKeys(Exception):
    """An owner has as many keys in force as it may."""


class KeyOver(Exception):
    """The key is not in force any more, or is being replaced already. The message says which."""


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


def make_organization_key(
    *,
    organization: Organization,
    label: str,
    by: Actor,
    at: datetime,
    expires_at: datetime,
    scopes: Iterable[str] | None = None,
    is_test: bool = False,
    representative: str = "",
) -> tuple[OrganizationKey, str]:
    """The key's row, and the secret: it is not kept anywhere and cannot be shown again.

    Raises InvalidKey, TooManyKeys.

    Without `scopes` the key gets the usual ones of its kind. `representative`: whom the desk has verified; only who is
    named may take goods of others down.
    """
    representative = representative.strip()
    chosen = check_scopes(organization.kind, scopes)
    if TAKES_DOWN in chosen and not (representative or is_test):
        raise InvalidKey(
            "representative",
            f"A key with {TAKES_DOWN} takes goods of others off sale: name the representative that was verified.",
        )
    if len(representative) > 100:
        raise InvalidKey("representative", "Take a name of at most 100 characters.")
    owner = {
        "organization": organization,
        "scopes": chosen,
        "is_test": is_test,
        "representative": representative,
    }
    prefix = TEST_PREFIX if is_test else PREFIX
    made = _make(OrganizationKey, prefix, owner, label=label, by=by, at=at, expires_at=expires_at)
    if is_test:
        # So that the first call with it need not wait until its store is made.
        prepare = partial(outbox.send_bell, "storefront.prepare_test_store", organization_id=organization.pk)
        transaction.on_commit(prepare, robust=True)
    return made


def make_carrier_key(
    *,
    host: HostCarrier,
    label: str,
    duties: Duties,
    by: Actor,
    at: datetime,
    expires_at: datetime,
    scopes: Iterable[str] | None = None,
) -> tuple[CarrierKey, str]:
    """As `make_organization_key`, for a host carrier. Raises InvalidKey."""
    if not duties:
        raise InvalidKey("duties", "Give the key at least one duty: certification desk, lab or approver.")
    owner = {"host": host, "scopes": check_scopes(CARRIER_KIND, scopes), **asdict(duties)}
    return _make(CarrierKey, CARRIER_PREFIX, owner, label=label, by=by, at=at, expires_at=expires_at)


def rotate_organization_key(
    *,
    key: OrganizationKey,
    overlap: timedelta,
    by: Actor,
    at: datetime,
    expires_at: datetime | None = None,
) -> tuple[OrganizationKey, str]:
    """A new key with the same label and scopes, and its secret. The old one ends after `overlap`, or earlier by itself.

    Without `expires_at` the new one lives as long as the old one was made to. Raises KeyOver, InvalidKey, TooManyKeys.
    """
    if not timedelta() <= overlap <= LONGEST_OVERLAP:
        raise InvalidKey("old_ends_in_hours", f"Take 0 to {LONGEST_OVERLAP // timedelta(hours=1)} hours.")
    with transaction.atomic():
        old = OrganizationKey.objects.select_for_update(no_key=True).get(pk=key.pk)
        _refuse_over(old, at)
        successor, secret = make_organization_key(
            organization=key.organization,
            label=old.label,
            by=by,
            at=at,
            expires_at=expires_at or at + min(old.expires_at - old.created_at, LONGEST_LIFE),
            # One that was named before may be known no more.
            scopes=set(old.scopes) & set(scopes_of(key.organization.kind)),
            is_test=old.is_test,
            representative=old.representative,
        )
        old.successor, old.expires_at = successor, min(old.expires_at, at + overlap)
        old.save(update_fields=["successor", "expires_at"])
        _record("rotated", old, by, at, {"successor": successor.pk, "ends_at": old.expires_at.isoformat()})
    return successor, secret


def revoke_organization_key(*, key: OrganizationKey, by: Actor, at: datetime) -> None:
    """The next request with it is refused. Revoking twice keeps the first instant."""
    _revoke(key, by=by, at=at)


def revoke_carrier_key(*, key: CarrierKey, by: Actor, at: datetime) -> None:
    """As `revoke_organization_key`."""
    _revoke(key, by=by, at=at)


def find_organization_key(secret: str, at: datetime) -> OrganizationKey | None:
    """The key in force with this secret, with its organization; None if unknown, expired or revoked."""
    if not secret.startswith((PREFIX, TEST_PREFIX)):
        return None
    return _find(OrganizationKey, "organization", secret, at)


def find_carrier_key(secret: str, at: datetime) -> CarrierKey | None:
    """The key in force with this secret, with its host; None if unknown, expired or revoked."""
    return _find(CarrierKey, "host", secret, at) if secret.startswith(CARRIER_PREFIX) else None


def _make[K: (OrganizationKey, CarrierKey)](
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
        _refuse_too_many(rows, owner, at)
        key: K = rows.create(
            **owner,
            label=label,
            prefix=secret[:12],
            last_four=secret[-4:],
            key_hash=_hash(secret),
            created_at=at,
            expires_at=expires_at,
        )
        _record("made", key, by, at, {"expires_at": expires_at.isoformat(), "scopes": key.scopes})
    return key, secret


def _refuse_too_many(rows: Any, owner: Mapping[str, Any], at: datetime) -> None:
    """Raises TooManyKeys. The owner's row is what two requests at once wait at."""
    name = "organization" if "organization" in owner else "host"
    whose = owner[name]
    type(whose)._default_manager.select_for_update(no_key=True).get(pk=whose.pk)
    # By mode: a key of test mode that makes others must not keep the live ones from being replaced.
    counted = {part: owner[part] for part in (name, "is_test") if part in owner}
    if rows.filter(revoked_at__isnull=True, expires_at__gt=at, **counted).count() >= MAX_KEYS:
        of_mode = " of test mode" if owner.get("is_test") else ""
        raise TooManyKeys(f"{whose} has {MAX_KEYS} keys{of_mode} in force; revoke one first.")


def _refuse_over(key: OrganizationKey, at: datetime) -> None:
    if key.revoked_at is not None:
        raise KeyOver(f"The key was revoked on {key.revoked_at:%Y-%m-%d}; make a new one.")
    if key.expires_at <= at:
        raise KeyOver(f"The key expired on {key.expires_at:%Y-%m-%d}; make a new one.")
    if key.successor_id is not None:
        raise KeyOver(
            f"The key is being replaced already, until {key.expires_at:%Y-%m-%d %H:%M} UTC; rotate its successor."
        )


def _revoke(key: OrganizationKey | CarrierKey, *, by: Actor, at: datetime) -> None:
    rows: Any = type(key)._default_manager
    with transaction.atomic():
        if rows.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=at):
            _record("revoked", key, by, at, {})


def _find[K: (OrganizationKey, CarrierKey)](
    model: type[K], owner: str, secret: str, at: datetime
) -> K | None:
    """Looked up by hash, so no comparison takes longer for a better guess. Read afresh with every request."""
    rows: Any = model._default_manager
    in_force = rows.filter(revoked_at__isnull=True, created_at__lte=at, expires_at__gt=at)
    key: K | None = in_force.select_related(owner).filter(key_hash=_hash(secret)).first()
    if key is not None and (key.last_used_at is None or at - key.last_used_at >= USE_IS_NOTED_EVERY):
        rows.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=at), pk=key.pk).update(last_used_at=at)
    return key


def _record(
    what: str, key: OrganizationKey | CarrierKey, by: Actor, at: datetime, evidence: Mapping[str, Any]
) -> None:
    if isinstance(key, OrganizationKey):
        kind, whose = "organization_key", {"organization_id": key.organization_id, "is_test": key.is_test}
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


def check_scopes(kind: str, scopes: Iterable[str] | None) -> list[str]:
    """In the order of the table, each once. Raises InvalidKey."""
    if scopes is None:
        return list(usual_scopes(kind))
    wanted = set(scopes)
    foreign = foreign_scopes(kind, wanted)
    if foreign:
        raise InvalidKey(
            "scopes",
            f"No key of a {kind} has {', '.join(foreign)[:200]}. Known: {', '.join(scopes_of(kind))}.",
        )
    if not wanted:
        raise InvalidKey("scopes", "A key without scopes opens nothing; give it at least one.")
    return [name for name in scopes_of(kind) if name in wanted]


def _check_key(label: str, at: datetime, expires_at: datetime) -> None:
    if not label:
        raise InvalidKey("label", "Give the key a label that tells where it is used, e.g. `stock system`.")
    if len(label) > 64:
        raise InvalidKey("label", f"The label has {len(label)} characters; take at most 64.")
    if expires_at.tzinfo is None:
        raise InvalidKey("expires_at", "expires_at has no time zone; give one, e.g. 2027-01-01T00:00:00Z.")
    if expires_at <= at:
        raise InvalidKey("expires_at", "The key would have expired already; take a later date.")
    if expires_at > at + LONGEST_LIFE:
        latest = at + LONGEST_LIFE
        raise InvalidKey(
            "expires_at", f"A key lives at most five years; take a date until {latest:%Y-%m-%d}."
        )


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
