"""Does what was sold still stand: was authority taken away since, or did paper merely end by itself?

A denial alone does not say: it names the nearest miss, which a newer record may be. So the engine is asked once more,
as if the records that ended by themselves still ran, and under the policy of the sale. What it then still denies was
taken away: revoked, narrowed, suspended, stopped by a hold or a list.

Of what was taken away, the desk may ship what was lawfully sold before, on its own word; not against a regulator, and
not where it is a matter of safety.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Min, Q

from authorization import decisions
from authorization.decision_setting import Policy, Setting
from authorization.decisions import Answer
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    Assurance,
    Decision,
    DecisionEvidence,
    EquipmentVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    PolicyVersion,
    Revocation,
)
from authorization.rules import ALL, FAILED, REASON_CODES, Question
from authorization.what_if import WhatIf
from carriers.versions import FOREVER
from catalog.models import VariantAttribute
from storefront import goods, safety
from storefront.models import OrderLine

# What somebody gives and can take away. A host that is served no more, a radio: nobody's word about the goods.
_GIVEN = frozenset({"policy", "vendor", "agreement", "approval", "equipment", "hold"})

_VERSIONS: dict[str, Any] = {
    Fact.Kind.AGREEMENT: AgreementVersion,
    Fact.Kind.AFFILIATION: AffiliationVersion,
    Fact.Kind.APPROVAL: ApprovalVersion,
    Fact.Kind.EQUIPMENT: EquipmentVersion,
}


@dataclass(frozen=True)
class LineStanding:
    """`codes`: what was taken away of it, by reason code; none where it may be sold, or its paper merely ended.

    `bars`: whose word stands above a lawful sale, a sentence each; none where the desk may ship it all the same.
    """

    line: OrderLine
    codes: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()

    @property
    def units_left(self) -> int:
        return self.line.quantity - self.line.refunded_quantity

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """Each code with its title before it."""
        return [(REASON_CODES[code].title, code) for code in self.codes]

    @property
    def sentences(self) -> list[str]:
        return [f"{self.line.listing.sku}: {code} ({REASON_CODES[code].title})" for code in self.codes]


def look(
    lines: Sequence[OrderLine], *, at: datetime, held_on: Revocation | None = None
) -> list[LineStanding]:
    """How each of these lines stands now. `held_on` is the withdrawal that its order is held for.

    The lines come with `decision` and `listing` selected. Raises DecisionUnavailable.
    """
    setting = decisions.read_setting(at=at, known_at=None)
    instant = decisions.instant_of(setting, at)
    questions = [Question(**line.decision.question) for line in lines]
    answers = decisions.answers_in(setting, questions, at=instant)
    found = []
    for line, question, answer in zip(lines, questions, answers, strict=True):
        codes = () if answer.is_allowed else tuple(_codes_against(line, question, setting, at=instant))
        bars = tuple(_bars(line, codes, held_on, at=instant)) if codes else ()
        found.append(LineStanding(line, codes, bars))
    return found


def taken_away(lines: Sequence[OrderLine], *, at: datetime) -> list[str]:
    """What stands against these lines now, a sentence each; empty: they may be sold, or their paper merely ended.

    The lines come with `decision` and `listing` selected. Raises DecisionUnavailable.
    """
    return list(dict.fromkeys(said for each in look(lines, at=at) for said in each.sentences))


def _bars(
    line: OrderLine, codes: Sequence[str], held_on: Revocation | None, *, at: datetime
) -> Iterable[str]:
    """Who forbids that this line, of which authority was taken away, is shipped as sold."""
    said: dict[str, None] = {}
    for code in codes:
        if REASON_CODES[code].cure_by == "regulator":
            said[f"{REASON_CODES[code].title} ({code})"] = None
    for hold in _holds_that_may_bar(line, at=at):
        if goods.named_by_hold(hold, at=at).is_named(line):
            said[f"hold {hold.head.code} of {hold.placed_by} ({hold.reason_code})"] = None
    revocations = Revocation.objects.filter(
        reason_code__in=safety.BARS_SHIPPING, fact_id__in=_all_cited(line), effective_at__lte=at
    ).exclude(kind__in=[Revocation.Kind.HOLD, Revocation.Kind.EXEMPTION])
    against = list(revocations.select_related("fact").order_by("id"))
    if held_on is not None and safety.bars_shipping(held_on):
        against.append(held_on)
    for revocation in against:
        if safety.stands(revocation, at=at):
            said[f"{revocation}, by {revocation.requested_by} ({revocation.reason_code})"] = None
    return said


def _holds_that_may_bar(line: OrderLine, *, at: datetime) -> Iterable[HoldVersion]:
    """Holds in force for safety or by a regulator that name something of this line.

    Lists of equipment are not among them: what they reach the engine says.
    """
    sold = line.decision.question
    named = Q(dimension=HoldTarget.Dimension.FACT, value__in=[str(each) for each in _all_cited(line)])
    for dimension in ("device", "variant", "vendor", "listing", "host"):
        named |= Q(dimension=dimension, value=str(sold[f"{dimension}_id"]))
    for dimension in ("territory", "channel", "condition"):
        named |= Q(dimension=dimension, value=sold[dimension])
    attributes = VariantAttribute.objects.filter(version__head_id=sold["variant_id"])
    for name, value in attributes.values_list("name", "value").distinct():
        named |= Q(dimension=f"{HoldTarget.ATTRIBUTE}{name}", value=value)
    # Whom a maker belongs to is looked at with the hold.
    named |= Q(dimension=HoldTarget.Dimension.MANUFACTURER)
    targets = HoldTarget.objects.filter(named, part=0)
    in_force = HoldVersion.objects.current().filter(
        reach=HoldVersion.Reach.SALE,
        reason_code__in=safety.BARS_SHIPPING,
        released_at__isnull=True,
        valid_from__lte=at,
        valid_until__gt=at,
    )
    return in_force.filter(pk__in=targets.values("version_id")).select_related("head").order_by("id")


def _all_cited(line: OrderLine) -> set[int]:
    """What it was sold on, and what the goods rested on last."""
    last = {fact_id for facts in _cited(line).values() for fact_id in facts}
    return last | goods.facts_cited_by(line)


def _codes_against(line: OrderLine, question: Question, setting: Setting, *, at: datetime) -> list[str]:
    cited = _cited(line)
    ended = {kind: _ended_by_themselves(kind, numbers, at=at) for kind, numbers in cited.items()}
    ended_affiliations = ended.pop(Fact.Kind.AFFILIATION, frozenset())
    then = replace(
        setting,
        policies=_policy_of_sale(line.decision) or setting.policies,
        affiliations=tuple(
            a._replace(valid_until=FOREVER) if a.fact_id in ended_affiliations else a
            for a in setting.affiliations
        ),
    )
    running = WhatIf(ends=dict.fromkeys(sorted(frozenset[int]().union(*ended.values())), FOREVER))
    answer = decisions.answers_in(then, [question], at=at, what_if=running)[0]
    passed_over = {"approval"} if _has_a_waiver_that_ended(cited, at=at) else set()
    return _failed_codes(answer, _GIVEN - passed_over)


def _failed_codes(answer: Answer, checks: Iterable[str]) -> list[str]:
    failed = [ground for ground in answer.grounds if ground.result == FAILED and ground.check in checks]
    return list(dict.fromkeys(reason.code for ground in failed for reason in ground.reasons))


def _cited(line: OrderLine) -> dict[str, dict[int, int]]:
    """By kind, the records that the goods rested on last, each with the first version cited since the sale.

    What the sale cites may have ended since, while another paper took its place: then that one counts.
    """
    since = Decision.objects.filter(
        offer_id=line.offer_id, outcome=Decision.Outcome.ALLOW, revision__gte=line.decision.revision
    )
    asked = Question(**line.decision.question)
    last = next(
        (
            found
            for found in since.order_by("-revision", "-valid_at").iterator(chunk_size=100)
            # The vendor may have edited its listing.
            if Question(**found.question) == asked
        ),
        line.decision,
    )
    rows = DecisionEvidence.objects.filter(decision__in=since).values_list("kind", "fact_id")
    first = {(kind, fact_id): number for kind, fact_id, number in rows.annotate(first=Min("version_no"))}
    cited: dict[str, dict[int, int]] = {}
    for item in last.evidence:
        if item["kind"] in _VERSIONS:
            number = first.get((item["kind"], item["fact_id"]), item["version_no"])
            cited.setdefault(item["kind"], {})[item["fact_id"]] = number
    return cited


def _ended_by_themselves(kind: str, cited: dict[int, int], *, at: datetime) -> frozenset[int]:
    """Those of these records that are over by now at the end that they had: nobody brought it forward since."""
    ends: dict[int, list[tuple[int, datetime]]] = {}
    versions = _VERSIONS[kind].objects.filter(head_id__in=sorted(cited)).order_by("version_no")
    for fact_id, number, end in versions.values_list("head_id", "version_no", "valid_until"):
        if number >= cited[fact_id]:
            ends.setdefault(fact_id, []).append((number, end))
    return frozenset(
        fact_id
        for fact_id, found in ends.items()
        if found[-1][1] <= at and found[-1][1] == max(end for _, end in found)
    )


def _has_a_waiver_that_ended(cited: dict[str, dict[int, int]], *, at: datetime) -> bool:
    """Is an approval among these over for its waiver only, which ended when it was to end?"""
    approvals = cited.get(Fact.Kind.APPROVAL, {})
    versions = ApprovalVersion.objects.filter(head_id__in=sorted(approvals)).order_by("version_no")
    by_fact: dict[int, list[ApprovalVersion]] = {}
    for version in versions:
        if version.version_no >= approvals[version.head_id]:
            by_fact.setdefault(version.head_id, []).append(version)
    for fact_id, found in by_fact.items():
        waivers = [version.waived_until for version in found]
        now, last = found[-1], waivers[-1]
        if (
            now.state == ApprovalVersion.State.CONDITIONAL
            and last is not None
            and last <= at
            and all(waiver is not None and waiver <= last for waiver in waivers)
            and now.valid_until == max(version.valid_until for version in found)
            and not _is_suspended(fact_id, at=at)
        ):
            return True
    return False


def _is_suspended(fact_id: int, *, at: datetime) -> bool:
    """By any hold that names it, whatever else the hold says."""
    named = HoldTarget.objects.filter(
        dimension=HoldTarget.Dimension.FACT, part=0, value=str(fact_id), version__rev_to__isnull=True
    )
    return named.filter(
        version__released_at__isnull=True, version__valid_from__lte=at, version__valid_until__gt=at
    ).exists()


def _policy_of_sale(decision: Decision) -> tuple[Policy, ...]:
    """The policy that the sale was decided under, as if it stood for ever; none where the decision cites none."""
    for item in decision.evidence:
        if item["kind"] != Fact.Kind.POLICY:
            continue
        version = PolicyVersion.objects.get(head_id=item["fact_id"], version_no=item["version_no"])
        return (
            Policy(
                fact_id=version.head_id,
                code=item["code"],
                version_no=version.version_no,
                territory=ALL,
                enforces_agreement=version.is_agreement_enforced,
                demands_verified=version.minimum_assurance == Assurance.VERIFIED,
                enforces_approval=version.is_carrier_approval_enforced,
                takes_conditional=version.is_conditional_approval_enough,
                enforces_equipment=version.is_equipment_authorization_enforced,
                minimum_radio="",
                valid_from=version.valid_from,
                valid_until=FOREVER,
            ),
        )
    return ()
