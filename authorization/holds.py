"""Holds: stop selling what the targets match, until released. Each is independent; lifting one lifts one."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Fact, HoldTarget, HoldVersion, Revision
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Device, Listing, Organization, Variant

Target = tuple[str, str]

_ROWS: dict[str, Any] = {
    "manufacturer": Organization.objects.filter(kind=Organization.Kind.MANUFACTURER),
    "device": Device.objects.all(),
    "variant": Variant.objects.all(),
    "vendor": Organization.objects.filter(kind=Organization.Kind.VENDOR),
    "listing": Listing.objects.all(),
    "host": HostCarrier.objects.all(),
    "fact": Fact.objects.filter(kind__in=[Fact.Kind.AGREEMENT, Fact.Kind.APPROVAL]),
}


def check_targets(targets: Iterable[Target]) -> tuple[Target, ...]:
    """The targets, each once and in order. Raises InvalidFact for one that names nothing."""
    unique = tuple(sorted(set(targets)))
    if not unique:
        raise InvalidFact("targets", "A hold without targets stops nothing; name at least one.")
    for dimension, value in unique:
        if dimension == "territory":
            if not (len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()):
                raise InvalidFact("targets", f"{value!r} is no ISO 3166-1 code; write two capitals, e.g. US.")
            continue
        rows = _ROWS.get(dimension)
        if rows is None:
            raise InvalidFact(
                "targets", f"{dimension!r} is not known; take {', '.join(HoldTarget.Dimension.values)}."
            )
        # In the one spelling that it is compared in: "03" would match nothing.
        is_id = value.isascii() and value.isdecimal() and value == str(int(value))
        if not is_id or not rows.all().filter(pk=int(value)).exists():
            raise InvalidFact("targets", f"There is no {dimension} {value!r}; choose one that exists.")
    return unique


def place_under_fence(
    *,
    code: str,
    revision: Revision,
    placed_by: str,
    reason_code: str,
    note: str,
    targets: tuple[Target, ...],
    by: Actor,
    at: datetime,
    valid_until: datetime = FOREVER,
) -> Fact:
    """The write of a hold. `authorization.revocations` is the door to it and holds the fence."""
    head = facts.open_head(kind=Fact.Kind.HOLD, code=code)
    fields = {
        "placed_by": placed_by,
        "reason_code": reason_code,
        "note": note,
        "valid_from": at,
        "valid_until": valid_until,
    }
    _write(head=head, revision=revision, fields=fields, targets=targets)
    _publish("hold.placed", head, revision, by, at, note, placed_by, targets, (valid_until,))
    return head


def release_hold(*, fact: Fact, by: Actor, at: datetime, reason: str) -> Revision:
    """Lift this hold and no other. What it stopped comes back where nothing else stops it."""
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"hold {fact.code} released", at=at)
        version = HoldVersion.objects.prefetch_related("targets").get(head=fact, rev_to__isnull=True)
        if version.released_at is not None:
            raise InvalidFact("fact", f"{fact.code} was released on {version.released_at:%Y-%m-%d} already.")
        fields = {
            "placed_by": version.placed_by,
            "reason_code": version.reason_code,
            "note": version.note,
            "valid_from": version.valid_from,
            "valid_until": version.valid_until,
            "released_at": at,
        }
        targets = tuple((target.dimension, target.value) for target in version.targets.all())
        _write(head=fact, revision=revision, fields=fields, targets=targets)
        _publish("hold.released", fact, revision, by, at, reason, version.placed_by, targets)
    return revision


def _write(*, head: Fact, revision: Revision, fields: dict[str, Any], targets: tuple[Target, ...]) -> None:
    version = facts.write_version(HoldVersion, head=head, revision=revision, fields=fields)
    HoldTarget.objects.bulk_create(
        [HoldTarget(version=version, dimension=dimension, value=value) for dimension, value in targets]
    )


def _publish(
    act: str,
    head: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    placed_by: str,
    targets: tuple[Target, ...],
    boundaries: tuple[datetime, ...] = (),
) -> None:
    facts.publish_change(
        act=act,
        subject_kind="fact",
        subject_id=head.pk,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence={"code": head.code, "placed_by": placed_by, "targets": [list(target) for target in targets]},
        boundaries=boundaries,
    )
