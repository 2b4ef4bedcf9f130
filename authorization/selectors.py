"""Reading: which offers a fact touches, and whether a page may offer one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from authorization.decisions import Answer
from authorization.dialect import listed_ids
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    PolicyVersion,
    ScopeTerm,
)
from authorization.rules import ALL
from catalog.models import ListingHost, OfferState, Organization, VariantAttribute

# The column of an offer that each dimension of a hold looks at.
_COLUMNS = {
    "manufacturer": "listing__variant__device__manufacturer_id",
    "device": "listing__variant__device_id",
    "variant": "listing__variant_id",
    "vendor": "listing__vendor_id",
    "listing": "listing_id",
    "host": "host_id",
    "territory": "listing__territory",
    "channel": "listing__channel",
    "condition": "listing__condition",
}


# Up to so many holds are looked at one by one.
_SINGLE_HOLDS = 50
# Up to so many records lead to their offers by their variants.
_BY_VARIANT = 100


def for_sale(offer: ListingHost, answer: Answer) -> bool:
    """For sale is live *and* allowed now: lists may lag behind a withdrawal, offers may not."""
    return offer.state == OfferState.LIVE and answer.is_allowed


def offers_in_scope(offers: QuerySet[ListingHost], scope: Mapping[str, Any]) -> QuerySet[ListingHost]:
    """The offers that a change of no one fact bears on; an empty scope is all of them.

    `scope`: lists under `variant_ids`, `host_ids`, `territories`, and `facts` (kind -> ids) where many begin or end at
    one instant; what any of them names is in it.
    """
    if not scope:
        return offers
    reach = Q(pk__in=[])
    if scope.get("facts"):
        touched = _touched_by(scope["facts"])
        if touched is None:
            return offers
        reach |= touched
    for name, column in (
        ("variant_ids", "listing__variant_id"),
        ("host_ids", "host_id"),
        ("territories", "listing__territory"),
    ):
        if scope.get(name):
            reach |= Q(**{f"{column}__in": scope[name]})
    return offers.filter(reach)


def offers_concerned(
    offers: QuerySet[ListingHost], *, fact_id: int | None, scope: Mapping[str, Any]
) -> QuerySet[ListingHost]:
    """Whose answer a change may change: one of a fact, or one with a scope."""
    if fact_id is None:
        return offers_in_scope(offers, scope)
    return offers_touched_by_any(offers, [fact_id])


def offers_touched_by(offers: QuerySet[ListingHost], fact: Fact) -> QuerySet[ListingHost]:
    """The offers whose answer a change of this fact may change. Wider than what falls, never narrower."""
    return offers_touched_by_any(offers, [fact.pk])


def offers_touched_by_any(offers: QuerySet[ListingHost], fact_ids: Iterable[int]) -> QuerySet[ListingHost]:
    """The same for many facts at once: the number of queries does not grow with agreements and approvals."""
    of_kind: dict[str, list[int]] = {}
    for kind, fact_id in Fact.objects.filter(pk__in=listed_ids(fact_ids)).values_list("kind", "pk"):
        of_kind.setdefault(kind, []).append(fact_id)
    touched = _touched_by(of_kind)
    return offers if touched is None else offers.filter(touched)


def _touched_by(of_kind: Mapping[str, Sequence[int]]) -> Q | None:
    """The condition of `offers_touched_by_any` for facts by their kind; None where it is all offers."""
    territories: set[str] = set()
    if of_kind.get(Fact.Kind.POLICY):
        policies = PolicyVersion.objects.filter(head_id__in=listed_ids(of_kind[Fact.Kind.POLICY]))
        territories = set(policies.values_list("territory", flat=True))
    if ALL in territories:
        return None
    touched = Q(listing__territory__in=sorted(territories)) if territories else Q(pk__in=[])
    if of_kind.get(Fact.Kind.AGREEMENT):
        touched |= _in_reach_of_agreements(of_kind[Fact.Kind.AGREEMENT])
    if of_kind.get(Fact.Kind.APPROVAL):
        named = ApprovalVersion.objects.current().filter(head_id__in=listed_ids(of_kind[Fact.Kind.APPROVAL]))
        approvals = named.filter(host_id=OuterRef("host_id"), variant_id=OuterRef("listing__variant_id"))
        touched |= Q(Exists(approvals)) & _of_variants(named, of_kind[Fact.Kind.APPROVAL])
    if of_kind.get(Fact.Kind.EQUIPMENT):
        named_of = EquipmentVersion.objects.current().filter(
            head_id__in=listed_ids(of_kind[Fact.Kind.EQUIPMENT])
        )
        authorizations = named_of.filter(
            territory=OuterRef("listing__territory"), variant_id=OuterRef("listing__variant_id")
        )
        touched |= Q(Exists(authorizations)) & _of_variants(named_of, of_kind[Fact.Kind.EQUIPMENT])
    if of_kind.get(Fact.Kind.AFFILIATION):
        versions = AffiliationVersion.objects.filter(head_id__in=listed_ids(of_kind[Fact.Kind.AFFILIATION]))
        pairs = versions.values_list("parent_id", "child_id")
        makers = family_of({organization for pair in pairs for organization in pair})
        touched |= Q(listing__variant__device__manufacturer_id__in=listed_ids(sorted(makers)))
    if of_kind.get(Fact.Kind.HOLD):
        for targets in _named_by_holds(of_kind[Fact.Kind.HOLD]):
            touched |= Q(pk__in=offers_matching(ListingHost.objects.all(), targets).values("pk"))
    return touched


def _of_variants(named: QuerySet[Any], fact_ids: Sequence[int]) -> Q:
    """Lets SQLite go by the listings of the variants; of many it had better go by the offers that are asked for."""
    return Q(listing__variant_id__in=named.values("variant_id")) if len(fact_ids) <= _BY_VARIANT else Q()


def _named_by_holds(fact_ids: Sequence[int]) -> list[dict[str, set[str]]]:
    """What these holds name. Of very many, those that name the same dimensions are taken together: the union is wider
    than each, never narrower, and an SQL statement has no room for thousands of conditions.
    """
    named: dict[int, dict[str, set[str]]] = {}
    targets = HoldTarget.objects.filter(
        version__in=HoldVersion.objects.current().filter(head_id__in=listed_ids(fact_ids)), part=0
    )
    for version_id, dimension, value in targets.values_list("version_id", "dimension", "value"):
        named.setdefault(version_id, {}).setdefault(dimension, set()).add(value)
    if len(named) <= _SINGLE_HOLDS:
        return list(named.values())
    together: dict[frozenset[str], dict[str, set[str]]] = {}
    for dimensions in named.values():
        union = together.setdefault(frozenset(dimensions), {})
        for dimension, values in dimensions.items():
            union.setdefault(dimension, set()).update(values)
    return list(together.values())


def _in_reach_of_agreements(fact_ids: Sequence[int]) -> Q:
    """Offers of whoever holds agreements from these on, whose terms some version of one of these covers.

    An agreement that covered an offer in no version stood in no chain of it. Scopes of several are taken together.
    """
    parties = (
        AgreementVersion.objects.filter(head_id__in=listed_ids(fact_ids))
        .values_list("grantor_id", "grantee_id")
        .distinct()
    )
    grantors, grantees = {grantor for grantor, _ in parties}, {grantee for _, grantee in parties}
    covered: dict[str, set[str]] = {}
    terms = ScopeTerm.objects.filter(version__head_id__in=listed_ids(fact_ids))
    for dimension, value in terms.values_list("dimension", "value").distinct():
        covered.setdefault(dimension, set()).add(value)
    reach = Q(listing__vendor_id__in=downstream_of(grantees))
    for dimension, column in (("territory", "territory"), ("channel", "channel"), ("condition", "condition")):
        if ALL not in covered.get(dimension, set()):
            reach &= Q(**{f"listing__{column}__in": sorted(covered.get(dimension, set()))})
    models = covered.get("model", set())
    if ALL not in models:
        reach &= Q(listing__variant_id__in=sorted(int(value) for value in models))
    elif (
        not Organization.objects.filter(pk__in=grantors).exclude(kind=Organization.Kind.MANUFACTURER).exists()
    ):
        # All models, of those who may grant them: a manufacturer can for its own, and for what belongs to it.
        reach &= Q(listing__variant__device__manufacturer_id__in=sorted(family_of(grantors)))
    return reach


def offers_matching(
    offers: QuerySet[ListingHost], targets: Mapping[str, Iterable[str]]
) -> QuerySet[ListingHost]:
    """The offers that a hold with these targets may match, or whose suspended evidence it names.

    Wider than what it stops where it names manufacturers (whoever may belong to them) or attributes (any version).
    """
    if not targets:
        return offers.none()
    for dimension, values in targets.items():
        if dimension == "fact":
            suspended = offers_touched_by_any(ListingHost.objects.all(), [int(value) for value in values])
            offers = offers.filter(pk__in=suspended.values("pk"))
        elif dimension.startswith(HoldTarget.ATTRIBUTE):
            offers = offers.filter(listing__variant_id__in=variants_with(dimension, values))
        else:
            named: list[Any] = list(values)
            if dimension == "manufacturer":
                named = sorted(family_of({int(value) for value in values}))
            offers = offers.filter(**{f"{_COLUMNS[dimension]}__in": named})
    return offers


def variants_with(dimension: str, values: Iterable[str]) -> QuerySet[VariantAttribute, int]:
    """Ids of the variants of which some version has one of these values of the attribute."""
    name = dimension.removeprefix(HoldTarget.ATTRIBUTE)
    rows = VariantAttribute.objects.filter(name=name, value__in=list(values))
    return rows.values_list("version__head_id", flat=True)


def family_of(organization_ids: Iterable[int]) -> set[int]:
    """These organizations and all that ever belonged to them, directly or through others.

    And whomever they may grant for: an affiliation bears on both its sides.
    """
    found = set(organization_ids)
    granting = AffiliationVersion.objects.filter(child_id__in=found, may_grant_for_parent=True)
    found |= set(granting.values_list("parent_id", flat=True))
    frontier = set(found)
    while frontier:
        children = AffiliationVersion.objects.filter(parent_id__in=frontier)
        frontier = set(children.values_list("child_id", flat=True)) - found
        found |= frontier
    return found


def downstream_of(organization_ids: Iterable[int]) -> set[int]:
    """These organizations and all that hold agreements from them, directly or through others."""
    found = set(organization_ids)
    frontier = set(found)
    while frontier:
        grantees = AgreementVersion.objects.current().filter(grantor_id__in=frontier)
        frontier = set(grantees.values_list("grantee_id", flat=True)) - found
        found |= frontier
    return found
