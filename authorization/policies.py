"""Policies: which grounds the shop enforces, from when on. A new policy ends the one before; none is overwritten."""

from datetime import datetime
from typing import TypedDict

from django.db import transaction

from authorization import facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Assurance, Fact, PolicyVersion
from carriers.versions import FOREVER


class PolicyTerms(TypedDict):
    name: str
    minimum_assurance: str
    is_carrier_approval_enforced: bool


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


def set_policy(
    *,
    name: str,
    minimum_assurance: str,
    is_carrier_approval_enforced: bool,
    by: Actor,
    at: datetime,
    reason: str,
) -> Fact:
    """From `at` on the shop enforces this. Raises InvalidFact."""
    if minimum_assurance not in Assurance.values:
        raise InvalidFact("minimum_assurance", f"Take one of {', '.join(Assurance.values)}.")
    if not name.strip():
        raise InvalidFact("name", "Give the policy a name that a shopper may read.")
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"policy: {name}", at=at)
        for version in PolicyVersion.objects.current().filter(valid_until__gt=at):
            if version.valid_from >= at:
                raise InvalidFact(
                    "at", f"The policy {version.name!r} begins at that very instant or later; wait for it."
                )
            ended = {
                "name": version.name,
                "minimum_assurance": version.minimum_assurance,
                "is_carrier_approval_enforced": version.is_carrier_approval_enforced,
                "valid_from": version.valid_from,
                "valid_until": at,
            }
            facts.write_version(PolicyVersion, head=version.head, revision=revision, fields=ended)
        head = facts.open_head(kind=Fact.Kind.POLICY, code=f"POLICY-{revision.n}")
        terms: PolicyTerms = {
            "name": name,
            "minimum_assurance": minimum_assurance,
            "is_carrier_approval_enforced": is_carrier_approval_enforced,
        }
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


def current_policy(at: datetime) -> PolicyVersion | None:
    return (
        PolicyVersion.objects.current()
        .filter(valid_from__lte=at, valid_until__gt=at)
        .select_related("head")
        .order_by("-valid_from")
        .first()
    )
