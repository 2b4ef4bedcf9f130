"""Reading: which offers a fact touches, and whether a page may offer one."""

from collections.abc import Iterable, Mapping

from django.db.models import Q, QuerySet

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
    if fact.kind == Fact.Kind.AGREEMENT:
        version = AgreementVersion.objects.get(head=fact, rev_to__isnull=True)
        return offers.filter(listing__vendor_id__in=_downstream({version.grantee_id}))
    if fact.kind == Fact.Kind.APPROVAL:
        approval = ApprovalVersion.objects.get(head=fact, rev_to__isnull=True)
        return offers.filter(host_id=approval.host_id, listing__variant_id=approval.variant_id)
    if fact.kind == Fact.Kind.HOLD:
        hold = HoldVersion.objects.prefetch_related("targets").get(head=fact, rev_to__isnull=True)
        targets: dict[str, set[str]] = {}
        for target in hold.targets.all():
            targets.setdefault(target.dimension, set()).add(target.value)
        return offers_matching(offers, targets)
    return offers


def offers_matching(
    offers: QuerySet[ListingHost], targets: Mapping[str, Iterable[str]]
) -> QuerySet[ListingHost]:
    """The offers that a hold with these targets matches, or whose suspended evidence it names."""
    if not targets:
        return offers.none()
    for dimension, values in targets.items():
        if dimension == "fact":
            facts = Fact.objects.filter(pk__in=[int(value) for value in values])
            touched = Q(pk__in=[])
            for fact in facts:
                touched |= Q(pk__in=offers_touched_by(ListingHost.objects.all(), fact).values("pk"))
            offers = offers.filter(touched)
        else:
            offers = offers.filter(**{f"{_COLUMNS[dimension]}__in": list(values)})
    return offers


def _downstream(organization_ids: set[int]) -> set[int]:
    """These organizations and all that hold agreements from them, directly or through others."""
    found, frontier = set(organization_ids), set(organization_ids)
    while frontier:
        grantees = AgreementVersion.objects.current().filter(grantor_id__in=frontier)
        frontier = set(grantees.values_list("grantee_id", flat=True)) - found
        found |= frontier
    return found
