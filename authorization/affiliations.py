"""Affiliations: a manufacturer belongs to another one, from when until when.

The parent may grant for the devices of the child, and what stops the parent stops the child. With
`may_grant_for_parent` the child may grant for the devices of the parent too.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import doors, facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AffiliationVersion, Fact, Revision
from carriers.versions import FOREVER, FactVersionQuerySet
from catalog.models import Organization


def record_affiliation(
    *,
    code: str,
    parent: Organization,
    child: Organization,
    may_grant_for_parent: bool = False,
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    document: str = "",
    by: Actor,
    at: datetime,
) -> Fact:
    """Record that `child` belongs to `parent`. Raises InvalidFact."""
    doors.check_instant("at", at)
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    for field, organization in (("parent", parent), ("child", child)):
        if organization.kind != Organization.Kind.MANUFACTURER:
            raise InvalidFact(
                field,
                f"{organization} is a {organization.kind}; choose a manufacturer: only they make devices.",
            )
    if parent.pk == child.pk:
        raise InvalidFact("child", "A company does not belong to itself; choose another child.")
    fields = {
        "parent": parent,
        "child": child,
        "may_grant_for_parent": may_grant_for_parent,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "document": document,
    }
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"affiliation {code} recorded", at=at)
        _refuse_twice(fields, field="child")
        _refuse_cycle(fields, field="child")
        head = facts.open_head(kind=Fact.Kind.AFFILIATION, code=code)
        facts.write_version(AffiliationVersion, head=head, revision=revision, fields=fields)
        _publish("affiliation.recorded", head, revision, by, at, document, fields, (valid_from, valid_until))
    return head


def end_affiliation(*, fact: Fact, valid_until: datetime, by: Actor, at: datetime, reason: str) -> Revision:
    """Set another end, now or to come. One that is over stays over: a later end is a new record. Raises InvalidFact."""
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.AFFILIATION)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"affiliation {fact.code} ends", at=at)
        end_under_fence(fact=fact, valid_until=valid_until, revision=revision, by=by, at=at, reason=reason)
    return revision


def end_under_fence(
    *, fact: Fact, valid_until: datetime, revision: Revision, by: Actor, at: datetime, reason: str
) -> None:
    """The write of another end. An earlier one takes authority away: `authorization.revocations` is the door to that
    one and holds the fence. Raises InvalidFact.
    """
    version = current(fact)
    check_end(version, valid_until, at=at)
    fields = record_of(version) | {"valid_until": valid_until}
    if valid_until > version.valid_until:
        _refuse_twice(fields, field="valid_until", but=fact)
        _refuse_cycle(fields, field="valid_until")
    facts.write_version(AffiliationVersion, head=fact, revision=revision, fields=fields)
    _publish("affiliation.ended", fact, revision, by, at, reason, fields, (valid_until,))


def reopen_under_fence(
    *, version: AffiliationVersion, code: str, revision: Revision, by: Actor, at: datetime, reason: str
) -> Fact:
    """A new affiliation that says what this version said, from now on. The caller holds the fence.

    Raises InvalidFact.
    """
    if version.valid_until <= at:
        raise InvalidFact(
            "fact", f"{version.head.code} would have ended on {version.valid_until:%Y-%m-%d} anyway."
        )
    fields = record_of(version) | {"valid_from": max(version.valid_from, at)}
    _refuse_twice(fields, field="fact")
    _refuse_cycle(fields, field="fact")
    head = facts.open_head(kind=Fact.Kind.AFFILIATION, code=code)
    facts.write_version(AffiliationVersion, head=head, revision=revision, fields=fields)
    boundaries = (fields["valid_from"], fields["valid_until"])
    _publish("affiliation.reinstated", head, revision, by, at, reason, fields, boundaries)
    return head


def check_end(version: AffiliationVersion, valid_until: datetime, *, at: datetime) -> None:
    """Raises InvalidFact for an end that cannot be set."""
    code = version.head.code
    facts.check_interval(valid_from=version.valid_from, valid_until=valid_until)
    if version.valid_until <= at:
        raise InvalidFact(
            "fact", f"{code} ended on {version.valid_until:%Y-%m-%d}, which is final; record a new one."
        )
    if valid_until < at:
        raise InvalidFact(
            "valid_until", f"What was in force until now stays so; take an end from {at:%Y-%m-%d} on."
        )
    if valid_until == version.valid_until:
        raise InvalidFact("valid_until", f"{code} ends then already; give another end.")


def current(fact: Fact) -> AffiliationVersion:
    return AffiliationVersion.objects.select_related("head", "parent", "child").get(
        head=fact, rev_to__isnull=True
    )


def record_of(version: AffiliationVersion) -> dict[str, Any]:
    """The whole record of a version: what the next version starts from."""
    names = ("parent", "child", "may_grant_for_parent", "document", "valid_from", "valid_until")
    return {name: getattr(version, name) for name in names}


def ancestors(organizations: Iterable[int], *, valid_from: datetime, valid_until: datetime) -> set[int]:
    """These companies, and all that they may belong to at some time of the interval."""
    within = _within(valid_from, valid_until)
    found = set(organizations)
    frontier = set(found)
    while frontier:
        above = within.filter(child_id__in=frontier).values_list("parent_id", flat=True)
        frontier = set(above) - found
        found |= frontier
    return found


def roots(manufacturer: int, *, valid_from: datetime, valid_until: datetime) -> set[int]:
    """Who may grant for the devices of this manufacturer at some time of the interval."""
    granting = _within(valid_from, valid_until).filter(parent_id=manufacturer, may_grant_for_parent=True)
    return ancestors([manufacturer], valid_from=valid_from, valid_until=valid_until) | set(
        granting.values_list("child_id", flat=True)
    )


def _within(valid_from: datetime, valid_until: datetime) -> FactVersionQuerySet:
    return AffiliationVersion.objects.current().filter(valid_from__lt=valid_until, valid_until__gt=valid_from)


def _refuse_twice(fields: Mapping[str, Any], *, field: str, but: Fact | None = None) -> None:
    others = _within(fields["valid_from"], fields["valid_until"]).exclude(head=but)
    other = others.filter(parent=fields["parent"], child=fields["child"]).select_related("head").first()
    if other is not None:
        raise InvalidFact(
            field,
            f"{other.head} says so already, from {other.valid_from:%Y-%m-%d} until {other.valid_until:%Y-%m-%d}; "
            "end that one first, or take another time.",
        )


def _refuse_cycle(fields: Mapping[str, Any], *, field: str) -> None:
    """Two companies that own each other say nothing about who grants."""
    parent, child = fields["parent"], fields["child"]
    above = ancestors([parent.pk], valid_from=fields["valid_from"], valid_until=fields["valid_until"])
    if child.pk in above:
        raise InvalidFact(
            field,
            f"{parent} already belongs to {child} at that time, directly or through others; end that affiliation "
            "first, or take another time.",
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
        "parent": fields["parent"].slug,
        "child": fields["child"].slug,
        "may_grant_for_parent": fields["may_grant_for_parent"],
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
