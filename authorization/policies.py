"""Policies: which grounds the shop enforces, from when on. A new policy ends the one before it for the same territory;
none is overwritten. A policy for one territory stands before the one for all ("*").
"""

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from django.db import transaction
from django.db.models import Case, Value, When

from authorization import doors, facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Assurance, Fact, PolicyVersion, Revision
from authorization.rules import ALL
from carriers.versions import FOREVER


class PolicyTerms(TypedDict):
    name: str
    territory: NotRequired[str]
    is_agreement_enforced: NotRequired[bool]
    minimum_assurance: str
    is_carrier_approval_enforced: bool
    is_conditional_approval_enough: NotRequired[bool]
    is_equipment_authorization_enforced: NotRequired[bool]
    minimum_radio: NotRequired[str]


POLICY_2016: PolicyTerms = {
    "name": "2016: a distributor's letter is enough",
    "minimum_assurance": "claimed",
    "is_carrier_approval_enforced": False,
}
POLICY_GATE_SHUT: PolicyTerms = {
    "name": "gate shut: verified agreements and carrier approval",
    "minimum_assurance": "verified",
    "is_carrier_approval_enforced": True,
}
# PARTIAL_3G: calls work, 911 among them, and data is better than 2G. PARTIAL_LTE would also refuse what a host still
# approves for its 3G network, and where 3G is switched off PARTIAL_3G demands LTE anyway.
POLICY_TODAY: PolicyTerms = {
    "name": "today: verified agreements, carrier approval, equipment authorization, and calls that work",
    "minimum_assurance": "verified",
    "is_carrier_approval_enforced": True,
    "is_equipment_authorization_enforced": True,
    "minimum_radio": "PARTIAL_3G",
}


def set_policy(
    *,
    name: str,
    territory: str = ALL,
    is_agreement_enforced: bool = True,
    minimum_assurance: str,
    is_carrier_approval_enforced: bool,
    is_conditional_approval_enough: bool = True,
    is_equipment_authorization_enforced: bool = False,
    minimum_radio: str = "",
    by: Actor,
    at: datetime,
    reason: str,
) -> Fact:
    """From `at` on the shop enforces this in the territory. Raises InvalidFact.

    One that takes authority away goes through `authorization.revocations`, which shows first what falls.
    """
    doors.check_instant("at", at)
    terms = check_terms(
        name=name,
        territory=territory,
        is_agreement_enforced=is_agreement_enforced,
        minimum_assurance=minimum_assurance,
        is_carrier_approval_enforced=is_carrier_approval_enforced,
        is_conditional_approval_enough=is_conditional_approval_enough,
        is_equipment_authorization_enforced=is_equipment_authorization_enforced,
        minimum_radio=minimum_radio,
    )
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"policy: {terms['name']}", at=at)
        return set_under_fence(terms=terms, revision=revision, by=by, at=at, reason=reason)


def check_terms(
    *,
    name: str,
    territory: str = ALL,
    is_agreement_enforced: bool = True,
    minimum_assurance: str,
    is_carrier_approval_enforced: bool,
    is_conditional_approval_enough: bool = True,
    is_equipment_authorization_enforced: bool = False,
    minimum_radio: str = "",
) -> PolicyTerms:
    """The whole terms of a policy, as they are kept. Raises InvalidFact."""
    if minimum_assurance not in Assurance.values:
        raise InvalidFact("minimum_assurance", f"Take one of {', '.join(Assurance.values)}.")
    if minimum_radio not in PolicyVersion.Radio.values:
        known = ", ".join(filter(None, PolicyVersion.Radio.values))
        raise InvalidFact("minimum_radio", f"Take one of {known}, or leave it empty to demand none.")
    doors.check_territory_or_all("territory", territory)
    name = doors.clean_text("name", name, at_most=100, cure="Give the policy a name that a shopper may read.")
    return {
        "name": name,
        "territory": territory,
        "is_agreement_enforced": is_agreement_enforced,
        "minimum_assurance": minimum_assurance,
        "is_carrier_approval_enforced": is_carrier_approval_enforced,
        "is_conditional_approval_enough": is_conditional_approval_enough,
        "is_equipment_authorization_enforced": is_equipment_authorization_enforced,
        "minimum_radio": minimum_radio,
    }


def set_under_fence(*, terms: PolicyTerms, revision: Revision, by: Actor, at: datetime, reason: str) -> Fact:
    """The write of a policy. The caller holds the fence. Raises InvalidFact."""
    doors.check_instant("at", at)
    for version in ended_by(terms, at=at):
        ended = record_of(version) | {"valid_until": at}
        facts.write_version(PolicyVersion, head=version.head, revision=revision, fields=ended)
    head = facts.open_head(kind=Fact.Kind.POLICY, code=f"POLICY-{revision.n}")
    fields = {**terms, "valid_from": at, "valid_until": FOREVER}
    facts.write_version(PolicyVersion, head=head, revision=revision, fields=fields)
    facts.publish_change(
        act="policy.set",
        subject_kind="fact",
        subject_id=head.pk,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence={**terms, "code": head.code},
    )
    return head


def end_under_fence(*, fact: Fact, revision: Revision, by: Actor, at: datetime, reason: str) -> None:
    """The policy of a territory ends; the one for all stands there again. The caller holds the fence.

    Raises InvalidFact where none would stand.
    """
    version = PolicyVersion.objects.select_related("head").get(head=fact, rev_to__isnull=True)
    if version.territory == ALL or current_policy(at) is None:
        raise InvalidFact("fact", "Without it no policy would stand there; set the one that is to hold.")
    fields = record_of(version) | {"valid_until": at}
    facts.write_version(PolicyVersion, head=fact, revision=revision, fields=fields)
    facts.publish_change(
        act="policy.ended",
        subject_kind="fact",
        subject_id=fact.pk,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence={"code": fact.code, "territory": version.territory},
    )


def ended_by(terms: PolicyTerms, *, at: datetime) -> list[PolicyVersion]:
    """The policies whose place this one takes. Raises InvalidFact where one is yet to begin."""
    found = PolicyVersion.objects.current().filter(territory=terms.get("territory", ALL), valid_until__gt=at)
    versions = list(found.select_related("head"))
    for version in versions:
        if version.valid_from >= at:
            raise InvalidFact(
                "at", f"The policy {version.name!r} begins at that very instant or later; wait for it."
            )
    return versions


def current_policy(at: datetime, territory: str = ALL) -> PolicyVersion | None:
    """The one for this territory, else the one for all."""
    in_force = PolicyVersion.objects.current().filter(
        territory__in={territory, ALL}, valid_from__lte=at, valid_until__gt=at
    )
    is_for_all = Case(When(territory=ALL, then=Value(1)), default=Value(0))
    return in_force.select_related("head").order_by(is_for_all, "-valid_from", "-head_id").first()


def record_of(version: PolicyVersion) -> dict[str, Any]:
    """The whole record of a version: what the next version starts from."""
    names = (*PolicyTerms.__annotations__, "valid_from", "valid_until")
    return {name: getattr(version, name) for name in names}
