"""Reading: which offers a fact touches, and whether a page may offer one."""

from collections.abc import Iterable, Mapping

from django.db.models import Exists, OuterRef, Q, QuerySet

from authorization.decisions import Answer
from authorization.models import AgreementVersion, ApprovalVersion, Fact, HoldVersion
from catalog.models import ListingHost, OfferState

# The column of an offer that each dimension of a hold looks at.
_COLUMNS = {
    "manufacturer": "listing__variant__device__manufacturer_id",
    "device": "listing__variant__device_id",
    "variant": "listing__variant_id",
    "vendor": "listing__vendor_id",
    "listing": "listing_id",
    "host": "host_id",
    "territory": "listing__territory",
}


def for_sale(offer: ListingHost, answer: Answer) -> bool:
    """For sale is live *and* allowed now: lists may lag behind a withdrawal, offers may not."""
    return offer.state == OfferState.LIVE and answer.is_allowed


def offers_touched_by(offers: QuerySet[ListingHost], fact: Fact) -> QuerySet[ListingHost]:
    """The offers whose answer a change of this fact may change. Wider than what falls, never narrower."""
    return offers_touched_by_any(offers, [fact.pk])


def offers_touched_by_any(offers: QuerySet[ListingHost], fact_ids: Iterable[int]) -> QuerySet[ListingHost]:
    """The same for many facts at once: the number of queries does not grow with agreements and approvals."""
    facts = list(Fact.objects.filter(pk__in=fact_ids))
    if any(fact.kind == Fact.Kind.POLICY for fact in facts):
        return offers
    of_kind = {kind: [fact.pk for fact in facts if fact.kind == kind] for kind in Fact.Kind.values}
    touched = Q(pk__in=[])
    if of_kind[Fact.Kind.AGREEMENT]:
        versions = AgreementVersion.objects.current().filter(head_id__in=of_kind[Fact.Kind.AGREEMENT])
        touched |= Q(listing__vendor_id__in=downstream_of(versions.values_list("grantee_id", flat=True)))
    if of_kind[Fact.Kind.APPROVAL]:
        approvals = ApprovalVersion.objects.current().filter(
            head_id__in=of_kind[Fact.Kind.APPROVAL],
            host_id=OuterRef("host_id"),
            variant_id=OuterRef("listing__variant_id"),
        )
        touched |= Q(Exists(approvals))
    holds = (
        HoldVersion.objects.current().filter(head_id__in=of_kind[Fact.Kind.HOLD]).prefetch_related("targets")
    )
    for hold in holds:
        targets: dict[str, set[str]] = {}
        for target in hold.targets.all():
            targets.setdefault(target.dimension, set()).add(target.value)
        touched |= Q(pk__in=offers_matching(ListingHost.objects.all(), targets).values("pk"))
    return offers.filter(touched)


def offers_matching(
    offers: QuerySet[ListingHost], targets: Mapping[str, Iterable[str]]
) -> QuerySet[ListingHost]:
    """The offers that a hold with these targets matches, or whose suspended evidence it names."""
    if not targets:
        return offers.none()
    for dimension, values in targets.items():
        if dimension == "fact":
            suspended = offers_touched_by_any(ListingHost.objects.all(), [int(value) for value in values])
            offers = offers.filter(pk__in=suspended.values("pk"))
        else:
            offers = offers.filter(**{f"{_COLUMNS[dimension]}__in": list(values)})
    return offers


def downstream_of(organization_ids: Iterable[int]) -> set[int]:
    """These organizations and all that hold agreements from them, directly or through others."""
    found = set(organization_ids)
    frontier = set(found)
    while frontier:
        grantees = AgreementVersion.objects.current().filter(grantor_id__in=frontier)
        frontier = set(grantees.values_list("grantee_id", flat=True)) - found
        found |= frontier
    return found
