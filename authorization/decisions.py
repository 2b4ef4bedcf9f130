"""Questions answered from the database: one check, a list, or a page of offers, by the same code.

The revision is read first and the evidence as known at that revision, so that an answer never carries a newer stamp
than what it rests on. The number of queries does not grow with the number of questions. Answers are never cached.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q

from authorization import fence, rules
from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    Assurance,
    Decision,
    DecisionEvidence,
    HoldVersion,
    PolicyVersion,
)
from authorization.rules import Evidence, Finding, Question, Reason, World
from carriers.models import HostCarrier, HostingVersion
from catalog.listings import TERMS, Clearance, content_hash
from catalog.models import ListingHost, Organization, Variant

# No answer is promised for longer than this, whatever its evidence says.
HORIZON = timedelta(days=365)


class DecisionUnavailable(Exception):
    """It could not be decided. Neither an allow nor a refusal: ask again."""


@dataclass(frozen=True)
class Answer:
    question: Question
    finding: Finding
    valid_at: datetime
    revision: int

    @property
    def outcome(self) -> str:
        return self.finding.outcome

    @property
    def is_allowed(self) -> bool:
        return self.finding.outcome == "allow"

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.finding.reasons

    @property
    def reason_codes(self) -> list[str]:
        return list(dict.fromkeys(reason.code for reason in self.finding.reasons))

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.finding.evidence

    @property
    def expires_at(self) -> datetime:
        return self.finding.expires_at


def decide(question: Question, *, at: datetime, known_at: int | None = None) -> Answer:
    return decide_many([question], at=at, known_at=known_at)[0]


def decide_many(questions: Sequence[Question], *, at: datetime, known_at: int | None = None) -> list[Answer]:
    """Answers in the order of the questions. Raises DecisionUnavailable when the evidence cannot be read."""
    try:
        revision = fence.current_revision() if known_at is None else known_at
        world = load_world(questions, revision=revision, at=at)
    except DatabaseError as error:
        raise DecisionUnavailable("The evidence could not be read.") from error
    return answer_from(questions, world, at=at, revision=revision)


def answer_from(questions: Sequence[Question], world: World, *, at: datetime, revision: int) -> list[Answer]:
    horizon = at + HORIZON
    return [
        Answer(question, rules.evaluate(question, world, at, horizon), at, revision) for question in questions
    ]


def question_for(
    *, vendor: Organization, variant: Variant, host: HostCarrier, territory: str, channel: str, condition: str
) -> Question:
    return Question(
        vendor_id=vendor.pk,
        manufacturer_id=variant.device.manufacturer_id,
        device_id=variant.device_id,
        variant_id=variant.pk,
        host_id=host.pk,
        territory=territory,
        channel=channel,
        condition=condition,
    )


def question_for_offer(offer: ListingHost) -> Question:
    """The offer comes with `listing__variant__device` selected."""
    listing = offer.listing
    return Question(
        vendor_id=listing.vendor_id,
        manufacturer_id=listing.variant.device.manufacturer_id,
        device_id=listing.variant.device_id,
        variant_id=listing.variant_id,
        host_id=offer.host_id,
        territory=listing.territory,
        channel=listing.channel,
        condition=listing.condition,
        listing_id=listing.pk,
    )


def decide_offers(offers: Sequence[ListingHost], *, at: datetime) -> list[Answer]:
    """May these offers be sold now? `at` is the caller's now, which may be a little old by the time it is used."""
    try:
        revision, instant = present(at)
    except DatabaseError as error:
        raise DecisionUnavailable("The evidence could not be read.") from error
    return decide_many([question_for_offer(offer) for offer in offers], at=instant, known_at=revision)


def present(at: datetime) -> tuple[int, datetime]:
    """The newest revision, and the caller's now, but not before it.

    Whoever took its `at` before a revocation, or on a host whose clock is behind, would otherwise still be answered
    for the time before.
    """
    revision, recorded_at = fence.newest()
    return revision, at if recorded_at is None else max(at, recorded_at)


# --- the record -------------------------------------------------------------------------------------------------


def record_decision(*, answer: Answer, offer: ListingHost) -> Decision:
    return record_decisions([(answer, offer)])[0]


def record_decisions(pairs: Iterable[tuple[Answer, ListingHost]]) -> list[Decision]:
    """Keep answers that something will rest on. Inside the transaction of what rests on them."""
    decisions = [
        Decision(
            id=uuid4(),
            offer=offer,
            outcome=answer.outcome,
            question=_question_json(answer.question),
            reasons=[reason.as_json() for reason in answer.reasons],
            evidence=[item.as_json() for item in answer.evidence],
            valid_at=answer.valid_at,
            revision=answer.revision,
            expires_at=answer.expires_at,
        )
        for answer, offer in pairs
    ]
    Decision.objects.bulk_create(decisions)
    DecisionEvidence.objects.bulk_create(
        [
            DecisionEvidence(decision=decision, fact_id=item["fact_id"], version_no=item["version_no"])
            for decision in decisions
            for item in decision.evidence
        ]
    )
    return decisions


def clearance(decision: Decision) -> Clearance:
    """Leave to be live. Only a decision that allows gives it, and only for the terms that were decided."""
    if decision.outcome != Decision.Outcome.ALLOW:
        raise ValueError("Only a decision that allows clears an offer.")
    decided = {name: decision.question[name] for name in TERMS}
    return Clearance(
        decision_id=decision.pk,
        revision=decision.revision,
        content_hash=content_hash(**decided),
        expires_at=decision.expires_at,
    )


def _question_json(question: Question) -> dict[str, Any]:
    return {name: getattr(question, name) for name in question.__dataclass_fields__}


# --- the evidence -----------------------------------------------------------------------------------------------


def load_world(questions: Sequence[Question], *, revision: int, at: datetime) -> World:
    """Everything known at this revision that may bear on these questions, at this instant or later."""
    if not questions:
        return World()
    return World(
        policies=_policies(revision),
        agreements=_agreements({question.vendor_id for question in questions}, revision),
        approvals=_approvals(questions, revision),
        holds=_holds(revision, at),
        hostings=_hostings({question.host_id for question in questions}, revision),
    )


def _policies(revision: int) -> tuple[rules.Policy, ...]:
    versions = PolicyVersion.objects.known_at(revision).select_related("head")
    return tuple(
        rules.Policy(
            fact_id=version.head_id,
            code=version.head.code,
            version_no=version.version_no,
            name=version.name,
            demands_verified=version.minimum_assurance == Assurance.VERIFIED,
            enforces_approval=version.is_carrier_approval_enforced,
            valid_from=version.valid_from,
            valid_until=version.valid_until,
        )
        for version in versions
    )


def _agreements(vendor_ids: set[int], revision: int) -> tuple[rules.Agreement, ...]:
    """All agreements upstream of these vendors: one query per link of the longest chain."""
    found: dict[int, rules.Agreement] = {}
    seen: set[int] = set()
    grantees = set(vendor_ids)
    while grantees:
        seen |= grantees
        versions = (
            AgreementVersion.objects.known_at(revision)
            .filter(grantee_id__in=grantees)
            .select_related("head")
            .prefetch_related("scope_terms")
        )
        links = [agreement_value(version) for version in versions]
        found |= {link.fact_id: link for link in links}
        grantees = {link.grantor_id for link in links} - seen
    return tuple(found.values())


def agreement_value(version: AgreementVersion) -> rules.Agreement:
    return rules.Agreement(
        fact_id=version.head_id,
        code=version.head.code,
        version_no=version.version_no,
        grantor_id=version.grantor_id,
        grantee_id=version.grantee_id,
        may_sublicense=version.may_sublicense,
        is_verified=version.assurance == Assurance.VERIFIED,
        valid_from=version.valid_from,
        valid_until=version.valid_until,
        revoked_at=version.revoked_at,
        scope=_by_dimension((term.dimension, term.value) for term in version.scope_terms.all()),
    )


def _approvals(questions: Sequence[Question], revision: int) -> tuple[rules.Approval, ...]:
    versions = (
        ApprovalVersion.objects.known_at(revision)
        .filter(
            variant_id__in={question.variant_id for question in questions},
            host_id__in={question.host_id for question in questions},
        )
        .select_related("head")
    )
    return tuple(
        rules.Approval(
            fact_id=version.head_id,
            code=version.head.code,
            version_no=version.version_no,
            host_id=version.host_id,
            variant_id=version.variant_id,
            state=version.state,
            valid_from=version.valid_from,
            valid_until=version.valid_until,
            revoked_at=version.revoked_at,
        )
        for version in versions
    )


def _holds(revision: int, at: datetime) -> tuple[rules.Hold, ...]:
    # Only those that have not ended: a shop keeps every hold it ever placed.
    not_ended = Q(released_at__isnull=True) | Q(released_at__gt=at)
    versions = (
        HoldVersion.objects.known_at(revision)
        .filter(not_ended, valid_until__gt=at)
        .select_related("head")
        .prefetch_related("targets")
    )
    return tuple(
        rules.Hold(
            fact_id=version.head_id,
            code=version.head.code,
            version_no=version.version_no,
            placed_by=version.placed_by,
            reason_code=version.reason_code,
            valid_from=version.valid_from,
            valid_until=version.valid_until,
            released_at=version.released_at,
            targets=_by_dimension((target.dimension, target.value) for target in version.targets.all()),
        )
        for version in versions
    )


def _hostings(host_ids: set[int], revision: int) -> tuple[rules.Hosting, ...]:
    versions = (
        HostingVersion.objects.known_at(revision)
        .filter(Q(head__host_id__in=host_ids), head__mvno=settings.SHOP_MVNO)
        .select_related("head")
    )
    return tuple(
        rules.Hosting(
            host_id=version.head.host_id,
            version_no=version.version_no,
            valid_from=version.valid_from,
            valid_until=version.valid_until,
        )
        for version in versions
    )


def _by_dimension(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    values: defaultdict[str, set[str]] = defaultdict(set)
    for dimension, value in pairs:
        values[dimension].add(value)
    return {dimension: frozenset(members) for dimension, members in values.items()}
