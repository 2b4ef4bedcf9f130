"""Equipment authorizations: a regulator lets this exact variant be marketed in this territory."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import doors, facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import EquipmentVersion, Fact, Revision
from carriers.versions import FOREVER
from catalog.models import Variant


def record_authorization(
    *,
    code: str,
    variant: Variant,
    territory: str,
    regulator: str,
    identifier: str = "",
    granted_at: datetime,
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    document: str = "",
    by: Actor,
    at: datetime,
) -> Fact:
    """Record what a regulator granted. `granted_at` is what prospective lists go by. Raises InvalidFact."""
    doors.check_instant("at", at)
    doors.check_instant("granted_at", granted_at)
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    if granted_at > valid_from:
        raise InvalidFact(
            "granted_at",
            f"It cannot be in force ({valid_from:%Y-%m-%d}) before it was granted; correct one of the two.",
        )
    doors.check_territory("territory", territory)
    fields = {
        "variant": variant,
        "territory": territory,
        "regulator": doors.clean_text(
            "regulator", regulator, at_most=64, cure="Say which regulator granted it, e.g. FCC."
        ),
        "identifier": doors.clean_text("identifier", identifier, at_most=64),
        "granted_at": granted_at,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "document": document,
    }
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"equipment authorization {code} recorded", at=at)
        _refuse_twice(fields)
        head = facts.open_head(kind=Fact.Kind.EQUIPMENT, code=code)
        facts.write_version(EquipmentVersion, head=head, revision=revision, fields=fields)
        _publish("equipment.recorded", head, revision, by, at, document, fields, (valid_from, valid_until))
    return head


def revoke_under_fence(
    *,
    fact: Fact,
    revision: Revision,
    reason_code: str,
    by: Actor,
    at: datetime,
    reason: str,
    effective_at: datetime | None = None,
) -> None:
    """The write of a revocation, from `at` on or from later. `authorization.revocations` is the door to it and holds
    the fence.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.EQUIPMENT)
    version = current(fact)
    effective_at = effective_at or at
    check_revocable(version, effective_at=effective_at)
    fields = record_of(version) | {
        "state": EquipmentVersion.State.REVOKED,
        "revoked_at": effective_at,
        "reason_code": reason_code,
    }
    facts.write_version(EquipmentVersion, head=fact, revision=revision, fields=fields)
    _publish("equipment.revoked", fact, revision, by, at, reason, fields, (effective_at,))


def unrevoke_under_fence(*, fact: Fact, revision: Revision, by: Actor, at: datetime, reason: str) -> None:
    """The way back from a revocation that is still to come. The caller holds the fence. Raises InvalidFact."""
    version = current(fact)
    if version.revoked_at is None or version.revoked_at <= at:
        raise InvalidFact("fact", f"No revocation of {fact.code} is to come; there is nothing to cancel.")
    fields = record_of(version) | {
        "state": EquipmentVersion.State.ACTIVE,
        "revoked_at": None,
        "reason_code": "",
    }
    facts.write_version(EquipmentVersion, head=fact, revision=revision, fields=fields)
    _publish("equipment.revocation_cancelled", fact, revision, by, at, reason, fields)


def reopen_under_fence(
    *, version: EquipmentVersion, code: str, revision: Revision, by: Actor, at: datetime, reason: str
) -> Fact:
    """A new record that says what this version said, from now on. The caller holds the fence. Raises InvalidFact.

    `granted_at` stays: a prospective list that came after the grant does not reach it.
    """
    if version.valid_until <= at:
        raise InvalidFact(
            "fact", f"{version.head.code} would have ended on {version.valid_until:%Y-%m-%d} anyway."
        )
    fields = record_of(version) | {
        "state": EquipmentVersion.State.ACTIVE,
        "revoked_at": None,
        "reason_code": "",
        "valid_from": max(version.valid_from, at),
    }
    head = facts.open_head(kind=Fact.Kind.EQUIPMENT, code=code)
    facts.write_version(EquipmentVersion, head=head, revision=revision, fields=fields)
    boundaries = (fields["valid_from"], fields["valid_until"])
    _publish("equipment.reinstated", head, revision, by, at, reason, fields, boundaries)
    return head


def check_revocable(version: EquipmentVersion, *, effective_at: datetime) -> None:
    """A revocation to come may be brought forward, never put off."""
    if version.revoked_at is not None and version.revoked_at <= effective_at:
        raise InvalidFact(
            "fact",
            f"{version.head.code} is revoked from {version.revoked_at:%Y-%m-%d} on; nothing is left to revoke then.",
        )


def current(fact: Fact) -> EquipmentVersion:
    return EquipmentVersion.objects.select_related("head", "variant").get(head=fact, rev_to__isnull=True)


def record_of(version: EquipmentVersion) -> dict[str, Any]:
    """The whole record of a version: what the next version starts from."""
    names = (
        "variant", "territory", "regulator", "identifier", "granted_at", "state", "revoked_at", "reason_code",
        "document", "valid_from", "valid_until",
    )  # fmt: skip
    return {name: getattr(version, name) for name in names}


def _refuse_twice(fields: Mapping[str, Any]) -> None:
    """The same authorization twice at one time: to revoke one would leave the other in force."""
    same = ("variant", "territory", "regulator", "identifier")
    others = EquipmentVersion.objects.current().filter(
        **{name: fields[name] for name in same},
        revoked_at=None,
        valid_from__lt=fields["valid_until"],
        valid_until__gt=fields["valid_from"],
    )
    other = others.select_related("head").first()
    if other is not None:
        raise InvalidFact(
            "code",
            f"{other.head} says the same for that time; take that one, or give another time or identifier.",
        )


def _publish(
    act: str,
    head: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    fields: Mapping[str, Any],
    boundaries: tuple[datetime, ...] = (),
) -> None:
    evidence = {
        "code": head.code,
        "variant": fields["variant"].slug,
        "territory": fields["territory"],
        "regulator": fields["regulator"],
        "identifier": fields["identifier"],
        "granted_at": fields["granted_at"].isoformat(),
        "valid_from": fields["valid_from"].isoformat(),
        "valid_until": fields["valid_until"].isoformat(),
    }
    facts.publish_change(
        act=act,
        subject_kind="fact",
        subject_id=head.pk,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence=evidence,
        boundaries=boundaries,
    )
