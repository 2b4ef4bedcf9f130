"""Which goods a withdrawal names, among those that were sold: by the terms of the sale, not by what may be sold now.

A hold names what its targets match. An approval names a variant on a host, an equipment authorization a variant in a
territory, an agreement what was sold on it; one that was narrowed, what was sold on it and is covered no longer. A
corrected variant names its units. A policy names no goods.

Where the record of a variant or of a maker changed over time, each state that it ever had counts: rather one buyer is
told too many than one too few. For an exemption, which spares people the telling, only what is so now counts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from authorization import selectors
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    DecisionEvidence,
    EquipmentVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    Revocation,
    ScopeTerm,
)
from authorization.rules import ALL
from catalog.models import VariantAttribute
from storefront.models import OrderLine

# Dimensions that a question writes as they are; the others it names by the id of a row.
_SPELLED_OUT = ("territory", "channel", "condition")
# So many values one statement is given; of more the rows are read and looked at one by one.
_FEW = 500

# What was asked when a line was sold: rules.Question as it is kept.
type Terms = Mapping[str, Any]


@dataclass(frozen=True)
class Goods:
    """`narrow` leaves out in SQL what cannot be meant; `is_named` has the last word."""

    narrow: Callable[[QuerySet[OrderLine]], QuerySet[OrderLine]]
    is_named: Callable[[OrderLine], bool]

    def among(self, lines: QuerySet[OrderLine]) -> list[OrderLine]:
        """The lines come with `decision` selected."""
        return [line for line in self.narrow(lines) if self.is_named(line)]


def named_by(revocation: Revocation, *, at: datetime) -> Goods:
    kind, fact = revocation.kind, revocation.fact
    if fact is None:
        return _of_variants(revocation.scope.get("variant_ids", []))
    if fact.kind == Fact.Kind.HOLD:
        return named_by_hold(HoldVersion.objects.current().get(head=fact), at=at)
    if kind == Revocation.Kind.NARROWING:
        return _of_narrowing(fact, revocation)
    return _of_facts([fact.pk])


def named_by_hold(hold: HoldVersion, *, at: datetime) -> Goods:
    """What its targets match and no exemption in force lets through."""
    targets: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for part, dimension, value in hold.targets.values_list("part", "dimension", "value"):
        targets[part][dimension].add(value)
    stopped = _of_targets(targets[0])
    in_force = hold.exemptions.filter(valid_from__lte=at, valid_until__gt=at)
    exempt = [_of_targets(targets[part], is_so_now=True) for part in in_force.values_list("part", flat=True)]
    return Goods(
        stopped.narrow,
        lambda line: stopped.is_named(line) and not any(goods.is_named(line) for goods in exempt),
    )


def _of_targets(targets: Mapping[str, Iterable[str]], *, is_so_now: bool = False) -> Goods:
    """One of each dimension that is named must match. Without targets nothing does."""
    if not targets:
        return _NOTHING
    terms: dict[str, frozenset[Any]] = {}
    variants: list[frozenset[int]] = []
    on_facts = None
    for dimension, values in targets.items():
        if dimension == HoldTarget.Dimension.FACT:
            on_facts = _of_facts([int(value) for value in values])
        elif dimension in _SPELLED_OUT:
            terms[dimension] = frozenset(values)
        elif dimension.startswith(HoldTarget.ATTRIBUTE):
            variants.append(_variants_with(dimension, values, is_so_now=is_so_now))
        else:
            ids = frozenset(int(value) for value in values)
            if dimension == HoldTarget.Dimension.MANUFACTURER:
                ids = _makers_under(ids, is_so_now=is_so_now)
            terms[f"{dimension}_id"] = ids

    def narrow(lines: QuerySet[OrderLine]) -> QuerySet[OrderLine]:
        lines = lines if on_facts is None else on_facts.narrow(lines)
        for name, values in terms.items():
            if len(values) <= _FEW:
                lines = lines.filter(**{f"decision__question__{name}__in": sorted(values)})
        for ids in variants:
            if len(ids) <= _FEW:
                lines = lines.filter(decision__question__variant_id__in=sorted(ids))
        return lines

    def is_named(line: OrderLine) -> bool:
        sold: Terms = line.decision.question
        return (
            all(sold.get(name) in values for name, values in terms.items())
            and all(sold["variant_id"] in ids for ids in variants)
            and (on_facts is None or on_facts.is_named(line))
        )

    return Goods(narrow, is_named)


def _of_facts(fact_ids: list[int]) -> Goods:
    """What these records are about; of agreements and affiliations, what was sold on them."""
    approvals = ApprovalVersion.objects.filter(head_id__in=fact_ids)
    on_hosts = set(approvals.values_list("host_id", "variant_id"))
    authorizations = EquipmentVersion.objects.filter(head_id__in=fact_ids)
    in_territories = set(authorizations.values_list("variant_id", "territory"))
    chains = Fact.objects.filter(pk__in=fact_ids, kind__in=[Fact.Kind.AGREEMENT, Fact.Kind.AFFILIATION])
    chain_ids = set(chains.values_list("pk", flat=True))

    def narrow(lines: QuerySet[OrderLine]) -> QuerySet[OrderLine]:
        if len(on_hosts) + len(in_territories) + len(chain_ids) > _FEW:
            return lines
        meant = Q(pk__in=[])
        for host_id, variant_id in on_hosts:
            meant |= Q(decision__question__host_id=host_id, decision__question__variant_id=variant_id)
        for variant_id, territory in in_territories:
            meant |= Q(decision__question__variant_id=variant_id, decision__question__territory=territory)
        if chain_ids:
            cited = DecisionEvidence.objects.filter(
                kind__in=[Fact.Kind.AGREEMENT, Fact.Kind.AFFILIATION], fact_id__in=sorted(chain_ids)
            )
            meant |= Q(decision_id__in=cited.values("decision_id"))
        return lines.filter(meant)

    def is_named(line: OrderLine) -> bool:
        sold: Terms = line.decision.question
        return (
            (sold["host_id"], sold["variant_id"]) in on_hosts
            or (sold["variant_id"], sold["territory"]) in in_territories
            or bool(chain_ids & facts_cited_by(line))
        )

    return Goods(narrow, is_named)


def _of_narrowing(agreement: Fact, revocation: Revocation) -> Goods:
    sold_on_it = _of_facts([agreement.pk])
    # As it was written then: a later version may cover more or less again.
    version = AgreementVersion.objects.get(head=agreement, rev_from=revocation.revision_id)
    covered: dict[str, set[str]] = defaultdict(set)
    for dimension, value in ScopeTerm.objects.filter(version=version).values_list("dimension", "value"):
        covered[dimension].add(value)

    def is_covered(sold: Terms) -> bool:
        terms = {
            "model": str(sold["variant_id"]),
            "territory": sold["territory"],
            "channel": sold["channel"],
            "condition": sold["condition"],
        }
        return all(ALL in covered[name] or value in covered[name] for name, value in terms.items())

    return Goods(
        sold_on_it.narrow,
        lambda line: sold_on_it.is_named(line) and not is_covered(line.decision.question),
    )


def _of_variants(variant_ids: Iterable[int]) -> Goods:
    return _of_targets({"variant": [str(variant_id) for variant_id in variant_ids]} if variant_ids else {})


_NOTHING = Goods(lambda lines: lines.none(), lambda line: False)


def facts_cited_by(line: OrderLine) -> set[int]:
    """The records that this line was sold on."""
    return {item["fact_id"] for item in line.decision.evidence if item["kind"] in Fact.Kind.values}


def _variants_with(dimension: str, values: Iterable[str], *, is_so_now: bool) -> frozenset[int]:
    if not is_so_now:
        return frozenset(selectors.variants_with(dimension, values))
    rows = VariantAttribute.objects.filter(
        name=dimension.removeprefix(HoldTarget.ATTRIBUTE),
        value__in=list(values),
        version__rev_to__isnull=True,
    )
    return frozenset(rows.values_list("version__head_id", flat=True))


def _makers_under(maker_ids: frozenset[int], *, is_so_now: bool) -> frozenset[int]:
    """These makers and whoever belongs to them, directly or through others."""
    affiliations = AffiliationVersion.objects.all()
    if is_so_now:
        affiliations = affiliations.filter(rev_to__isnull=True)
    found = set(maker_ids)
    frontier = set(found)
    while frontier:
        children = affiliations.filter(parent_id__in=sorted(frontier)).values_list("child_id", flat=True)
        frontier = set(children) - found
        found |= frontier
    return frozenset(found)
