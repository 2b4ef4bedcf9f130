"""Holds: stop selling what the targets match, until released. Each is independent; lifting one lifts one.

A hold may carry exemptions: what they match goes on being sold while they last. They are numbered (`part`), and keep
their numbers through all versions of the hold.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from authorization import doors, facts, fence
from authorization.acceptances.following import Following, follow_under_fence, on_word_of_host
from authorization.acceptances.moves import DECIDED
from authorization.actors import Actor
from authorization.dialect import listed_ids
from authorization.facts import InvalidFact
from authorization.models import Acceptance, Fact, HoldExemption, HoldTarget, HoldVersion, Revision
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Channel, Condition, Device, Listing, Organization, Variant

Target = tuple[str, str]
Reach = HoldVersion.Reach

# What a target may suspend.
SUSPENDABLE = (Fact.Kind.AGREEMENT, Fact.Kind.APPROVAL, Fact.Kind.EQUIPMENT)

_ROWS: dict[str, Any] = {
    "manufacturer": Organization.objects.filter(kind=Organization.Kind.MANUFACTURER),
    "device": Device.objects.all(),
    "variant": Variant.objects.all(),
    "vendor": Organization.objects.filter(kind=Organization.Kind.VENDOR),
    "listing": Listing.objects.all(),
    "host": HostCarrier.objects.all(),
    "fact": Fact.objects.filter(kind__in=SUSPENDABLE),
}
_CHOICES: dict[str, list[str]] = {"channel": Channel.values, "condition": Condition.values}
# One statement of SQLite takes so many values and more.
_IDS = 500


@dataclass(frozen=True)
class Exemption:
    """What goes on being sold under a hold, from when until when. `targets` match as those of a hold do."""

    targets: tuple[Target, ...]
    valid_from: datetime
    valid_until: datetime = FOREVER
    note: str = ""


def check_targets(
    targets: Iterable[Target], *, reach: str = Reach.SALE, field: str = "targets"
) -> tuple[Target, ...]:
    """The targets, each once and in order. Raises InvalidFact for one that names nothing."""
    unique = tuple(sorted(set(targets)))
    if not unique:
        raise InvalidFact(field, "Without targets it matches nothing; name at least one.")
    ids: dict[str, list[str]] = defaultdict(list)
    for dimension, value in unique:
        if dimension in _ROWS:
            # In the one spelling that it is compared in: "03" would match nothing.
            if not (len(value) < 19 and value.isascii() and value.isdecimal() and value == str(int(value))):
                raise _unknown_row(field, dimension, value)
            ids[dimension].append(value)
        elif dimension == "territory":
            doors.check_territory(field, value)
        elif dimension in _CHOICES:
            if value not in _CHOICES[dimension]:
                raise InvalidFact(
                    field, f"{value!r} is no {dimension}; take one of {', '.join(_CHOICES[dimension])}."
                )
        else:
            _check_attribute(field, dimension, value)
    if "fact" in ids and reach != Reach.SALE:
        raise InvalidFact(
            field, "A list names goods, not records; place a hold on the sale to suspend a record."
        )
    for dimension, values in ids.items():
        known: set[str] = set()
        for start in range(0, len(values), _IDS):
            rows = _ROWS[dimension].filter(pk__in=[int(value) for value in values[start : start + _IDS]])
            known |= {str(pk) for pk in rows.values_list("pk", flat=True)}
        for value in values:
            if value not in known:
                raise _unknown_row(field, dimension, value)
    return unique


def check_exemption(exemption: Exemption, *, at: datetime) -> Exemption:
    """The exemption as it is kept. Raises InvalidFact."""
    field = "exemptions"
    for value in (exemption.valid_from, exemption.valid_until):
        doors.check_instant(field, value)
    try:
        facts.check_interval(valid_from=exemption.valid_from, valid_until=exemption.valid_until)
    except InvalidFact as error:
        raise InvalidFact(field, error.message) from error
    if exemption.valid_until <= at:
        raise InvalidFact(
            field, f"It was over on {exemption.valid_until:%Y-%m-%d}; give an end that is to come."
        )
    if any(dimension == "fact" for dimension, _ in exemption.targets):
        raise InvalidFact(field, "An exemption names goods, not records; name what may be sold.")
    return replace(
        exemption,
        targets=check_targets(exemption.targets, field=field),
        note=doors.clean_text(field, exemption.note, at_most=300),
    )


def check_placer(placed_by: str) -> str:
    return doors.clean_text("placed_by", placed_by, at_most=150, cure="Say who places the hold.")


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
    valid_from: datetime | None = None,
    valid_until: datetime = FOREVER,
    reach: str = Reach.SALE,
    exemptions: tuple[Exemption, ...] = (),
    following: Following | None = None,
) -> Fact:
    """The write of a hold. `authorization.revocations` is the door to it and holds the fence.

    It begins at `at` unless it is given a later start. A reach other than `sale` makes it a regulator's list: it stops
    no sale itself, but equipment authorizations that it reaches. Raises InvalidFact.
    """
    doors.check_instant("at", at)
    starts = at if valid_from is None else valid_from
    facts.check_interval(valid_from=starts, valid_until=valid_until)
    if starts < at:
        raise InvalidFact(
            "valid_from",
            "A hold stops nothing that was sold already; leave its start out, or take a later one.",
        )
    if reach not in Reach.values:
        raise InvalidFact("reach", f"Take one of {', '.join(Reach.values)}.")
    targets = check_targets(targets, reach=reach)
    kept = {part: check_exemption(each, at=at) for part, each in enumerate(exemptions, start=1)}
    if kept:
        _refuse_exemption(targets)
    fields = {
        "reach": reach,
        "placed_by": check_placer(placed_by),
        "reason_code": doors.clean_text(
            "reason_code", reason_code, at_most=64, cure="Give the reason's code, e.g. REGULATOR_ORDER."
        ),
        "note": note,
        "valid_from": starts,
        "valid_until": valid_until,
    }
    head = facts.open_head(kind=Fact.Kind.HOLD, code=code)
    _write(head=head, revision=revision, fields=fields, targets=targets, exemptions=kept)
    boundaries = (starts, valid_until, *_ends(kept.values()))
    _publish("hold.placed", head, revision, by, at, note, fields, targets, kept, boundaries)
    # A technical acceptance is suspended with its approval.
    follow_under_fence(
        approval_ids=_facts_in(targets),
        revision=revision,
        by=by,
        at=at,
        reason=note,
        terms_by="suspend" if following else "",
        following=following,
    )
    return head


def release_hold(*, fact: Fact, by: Actor, at: datetime, reason: str) -> Revision:
    """Lift this hold and no other. What it stopped comes back where nothing else stops it."""
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.HOLD)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"hold {fact.code} released", at=at)
        release_under_fence(fact=fact, revision=revision, by=by, at=at, reason=reason)
    return revision


def release_under_fence(
    *,
    fact: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    following: Following | None = None,
) -> None:
    """The write of a release; the caller holds the fence. A technical acceptance resumes with its approval."""
    version = current(fact)
    refuse_released(version)
    fields = record_of(version) | {"released_at": at}
    targets, exemptions = targets_of(version), exemptions_of(version)
    if following is None and version.valid_from <= at and on_word_of_host(fact.pk):
        suspended = _accepted(targets).values_list("code", flat=True).first()
        if suspended is not None:
            raise InvalidFact(
                "fact",
                f"{fact.code} was placed on the word of the host: resume {suspended} instead, which asks who says so.",
            )
    _write(head=fact, revision=revision, fields=fields, targets=targets, exemptions=exemptions)
    _publish("hold.released", fact, revision, by, at, reason, fields, targets, exemptions)
    follow_under_fence(
        approval_ids=_facts_in(targets), revision=revision, by=by, at=at, reason=reason, following=following
    )


def exempt(*, fact: Fact, exemption: Exemption, by: Actor, at: datetime, reason: str) -> Revision:
    """Let what the exemption matches go on being sold under this hold while it lasts. Raises InvalidFact."""
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.HOLD)
    exemption = check_exemption(exemption, at=at)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"exemption from hold {fact.code}", at=at)
        exempt_under_fence(fact=fact, exemption=exemption, revision=revision, by=by, at=at, reason=reason)
    return revision


def exempt_under_fence(
    *, fact: Fact, exemption: Exemption, revision: Revision, by: Actor, at: datetime, reason: str
) -> None:
    version = current(fact)
    refuse_over(version, at)
    fields, targets, exemptions = record_of(version), targets_of(version), exemptions_of(version)
    _refuse_exemption(targets)
    # Over all versions: the number of an exemption that was dropped is not given again.
    numbers = HoldExemption.objects.filter(version__head=fact).values_list("part", flat=True)
    exemptions[max(numbers, default=0) + 1] = exemption
    _write(head=fact, revision=revision, fields=fields, targets=targets, exemptions=exemptions)
    _publish("hold.exempted", fact, revision, by, at, reason, fields, targets, exemptions, _ends([exemption]))


def without_exemption(version: HoldVersion, part: int, *, ends_at: datetime) -> dict[int, Exemption]:
    """The exemptions of the hold when this one ends then; one that would not have begun by then is dropped.

    Raises InvalidFact.
    """
    refuse_over(version, ends_at)
    exemptions = exemptions_of(version)
    if part not in exemptions:
        known = ", ".join(map(str, exemptions)) or "none"
        raise InvalidFact("part", f"{version.head.code} has no exemption {part}; it has: {known}.")
    exemption = exemptions[part]
    if exemption.valid_until <= ends_at:
        raise InvalidFact(
            "part", f"That exemption ends on {exemption.valid_until:%Y-%m-%d}; nothing is left to end then."
        )
    if exemption.valid_from < ends_at:
        exemptions[part] = replace(exemption, valid_until=ends_at)
    else:
        del exemptions[part]
    return exemptions


def end_exemption(*, fact: Fact, part: int, by: Actor, at: datetime, reason: str) -> Revision:
    """End this exemption now, or drop one that has not begun: the hold stops what it let through.

    The desk goes through `authorization.revocations`, which shows first what falls.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.HOLD)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"exemption {part} from hold {fact.code} ends", at=at)
        end_exemption_under_fence(fact=fact, part=part, revision=revision, by=by, at=at, reason=reason)
    return revision


def end_exemption_under_fence(
    *,
    fact: Fact,
    part: int,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    ends_at: datetime | None = None,
) -> None:
    """The write of an exemption's end, at `at` or later: the hold then stops what it let through.

    It takes authority away: `authorization.revocations` is the door to it and holds the fence. Raises InvalidFact.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.HOLD)
    version = current(fact)
    ends_at = ends_at or at
    exemptions = without_exemption(version, part, ends_at=ends_at)
    fields, targets = record_of(version), targets_of(version)
    _write(head=fact, revision=revision, fields=fields, targets=targets, exemptions=exemptions)
    _publish("hold.exemption_ended", fact, revision, by, at, reason, fields, targets, exemptions, (ends_at,))


def restore_exemption_under_fence(
    *,
    fact: Fact,
    part: int,
    exemption: Exemption,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
) -> None:
    """The way back from an exemption's end that has not come yet: it is as it was. The caller holds the fence."""
    version = current(fact)
    fields, targets, exemptions = record_of(version), targets_of(version), exemptions_of(version)
    exemptions[part] = exemption
    _write(head=fact, revision=revision, fields=fields, targets=targets, exemptions=exemptions)
    _publish("hold.exempted", fact, revision, by, at, reason, fields, targets, exemptions, _ends([exemption]))


def current(fact: Fact) -> HoldVersion:
    return HoldVersion.objects.select_related("head").get(head=fact, rev_to__isnull=True)


def record_of(version: HoldVersion) -> dict[str, Any]:
    """The whole record of a version without targets and exemptions: what the next version starts from."""
    names = ("reach", "placed_by", "reason_code", "note", "valid_from", "valid_until", "released_at")
    return {name: getattr(version, name) for name in names}


def targets_of(version: HoldVersion, *, part: int = 0) -> tuple[Target, ...]:
    """What is stopped; of a `part` above 0, what that exemption lets through."""
    rows = version.targets.filter(part=part).order_by("dimension", "value")
    return tuple(rows.values_list("dimension", "value"))


def exemptions_of(version: HoldVersion) -> dict[int, Exemption]:
    """By part, those that are over included."""
    targets: dict[int, list[Target]] = defaultdict(list)
    for target in version.targets.filter(part__gt=0).order_by("dimension", "value"):
        targets[target.part].append((target.dimension, target.value))
    return {
        row.part: Exemption(tuple(targets[row.part]), row.valid_from, row.valid_until, row.note)
        for row in version.exemptions.order_by("part")
    }


def _accepted(targets: Iterable[Target]) -> QuerySet[Acceptance]:
    """The acceptances that a hold of these targets suspends: it names records and nothing else."""
    named = list(targets)
    if any(dimension != "fact" for dimension, _ in named):
        return Acceptance.objects.none()
    return Acceptance.objects.filter(approval__in=listed_ids(_facts_in(named)), state__in=DECIDED)


def _refuse_exemption(targets: Iterable[Target]) -> None:
    """A suspended acceptance is suspended whole. Raises InvalidFact."""
    suspended = _accepted(targets).values_list("code", flat=True).first()
    if suspended is not None:
        raise InvalidFact(
            "exemptions",
            f"It suspends {suspended}, and nothing is sold on that meanwhile. Hold the goods that are meant instead.",
        )


def _facts_in(targets: Iterable[Target]) -> set[int]:
    return {int(value) for dimension, value in targets if dimension == "fact"}


def _unknown_row(field: str, dimension: str, value: str) -> InvalidFact:
    return InvalidFact(field, f"There is no {dimension} {value!r}; choose one that exists.")


def _check_attribute(field: str, dimension: str, value: str) -> None:
    name = dimension.removeprefix(HoldTarget.ATTRIBUTE)
    if name == dimension:
        known = ", ".join([*HoldTarget.Dimension.values, f"{HoldTarget.ATTRIBUTE}NAME"])
        raise InvalidFact(field, f"{dimension!r} is not known; take {known}.")
    doors.check_attribute(field, name, value)


def refuse_released(version: HoldVersion) -> None:
    if version.released_at is not None:
        raise InvalidFact(
            "fact",
            f"{version.head.code} was released on {version.released_at:%Y-%m-%d} already; choose another.",
        )


def refuse_over(version: HoldVersion, at: datetime) -> None:
    refuse_released(version)
    if version.valid_until <= at:
        raise InvalidFact(
            "fact", f"{version.head.code} ended on {version.valid_until:%Y-%m-%d}; place a new hold."
        )


def _ends(exemptions: Iterable[Exemption]) -> tuple[datetime, ...]:
    return tuple(end for exemption in exemptions for end in (exemption.valid_from, exemption.valid_until))


def _write(
    *,
    head: Fact,
    revision: Revision,
    fields: Mapping[str, Any],
    targets: tuple[Target, ...],
    exemptions: Mapping[int, Exemption],
) -> None:
    version = facts.write_version(HoldVersion, head=head, revision=revision, fields=fields)
    HoldExemption.objects.bulk_create(
        [
            HoldExemption(
                version=version,
                part=part,
                valid_from=exemption.valid_from,
                valid_until=exemption.valid_until,
                note=exemption.note,
            )
            for part, exemption in exemptions.items()
        ]
    )
    parts = {0: targets} | {part: exemption.targets for part, exemption in exemptions.items()}
    HoldTarget.objects.bulk_create(
        [
            HoldTarget(version=version, part=part, dimension=dimension, value=value)
            for part, named in parts.items()
            for dimension, value in named
        ]
    )


def _publish(
    act: str,
    head: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    fields: Mapping[str, Any],
    targets: tuple[Target, ...],
    exemptions: Mapping[int, Exemption],
    boundaries: tuple[datetime, ...] = (),
) -> None:
    evidence = {
        "code": head.code,
        "placed_by": fields["placed_by"],
        "reach": str(fields["reach"]),
        "targets": [list(target) for target in targets],
        "exemptions": [
            {
                "part": part,
                "targets": [list(target) for target in exemption.targets],
                "valid_from": exemption.valid_from.isoformat(),
                "valid_until": exemption.valid_until.isoformat(),
                "note": exemption.note,
            }
            for part, exemption in exemptions.items()
        ],
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
