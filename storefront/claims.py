"""Claims: what is on sale of a manufacturer's brands or on a carrier's network, and on what each offer rests.

Whoever puts a device on sale claims that its maker and the network let it. The maker sees every such claim on its
brands and the carrier on its network, each with as much of the evidence as it is a party to: of the others' papers it
learns that there are some, and not which.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import BigIntegerField, ExpressionWrapper, F, Q, QuerySet

from authorization.decisions import Answer, decide_offers
from authorization.models import AffiliationVersion, AgreementVersion, ApprovalVersion, Fact
from authorization.rules import Evidence
from carriers.models import Hosting, Network
from catalog.models import ListingHost, Organization, Variant
from storefront.rights import Party, brands_of, offers_concerning
from storefront.takedowns import Goods

# What a "not authorized by us" covers.
OF_BRAND, OF_MODEL, OF_LISTING = "brand", "model", "listing"
COVERS = (OF_BRAND, OF_MODEL, OF_LISTING)


@dataclass(frozen=True)
class Shown:
    """One record that a claim rests on. `code` is empty where the reader is no party to it."""

    kind: str
    code: str = ""
    version: int | None = None
    # Of an agreement of the reader's: whether its grantor confirmed it.
    assurance: str = ""


@dataclass(frozen=True)
class Claim:
    """`evidence` is empty where the offer may not be sold now: its page is being taken down."""

    offer: ListingHost
    is_for_sale: bool
    evidence: tuple[Shown, ...]


def claims_on(party: Party, *, at: datetime) -> QuerySet[ListingHost]:
    """Every live offer that this party has rights in, with what is shown of it."""
    return offers_concerning(party, at=at).select_related(
        "host", "listing__vendor", "listing__variant__device__manufacturer"
    )


def next_claims(rows: QuerySet[ListingHost], party: Party, *, after: int, at_most: int) -> list[ListingHost]:
    """The next of these, by id.

    A brand is found by its listings and then sorted. Told to read by id, PostgreSQL goes through every live offer of
    the shop for a brand that has none left: with 1,000,000 of them on two busy cores 5 to 19 s, and so less than one.
    """
    rows = rows.filter(pk__gt=after)
    if party.host is not None:
        return list(rows.order_by("pk")[:at_most])
    place = ExpressionWrapper(F("pk") + 0, output_field=BigIntegerField())
    return list(rows.annotate(place=place).order_by("place")[:at_most])


def read_claims(party: Party, offers: Sequence[ListingHost], *, at: datetime) -> list[Claim]:
    """What each of these offers rests on now. A few queries, however many they are. Raises DecisionUnavailable."""
    answers = decide_offers(offers, at=at)
    known = _known_to(party, answers, at=at)
    return [
        Claim(offer, answer.is_allowed, tuple(known[_key(item)] for item in answer.evidence))
        for offer, answer in zip(offers, answers, strict=True)
    ]


def disclaimed(offer: ListingHost, *, covers: str) -> Goods:
    """The goods of a "not authorized by us": this vendor's, of the device's brand, model, or this listing alone."""
    listing = offer.listing
    if covers == OF_LISTING:
        return Goods(listings=((listing.vendor.slug, listing.sku),))
    if covers == OF_MODEL:
        return Goods(models=(listing.variant.slug,), vendors=(listing.vendor.slug,))
    return Goods(brands=(listing.variant.device.manufacturer.slug,), vendors=(listing.vendor.slug,))


# --- what a party may see ---------------------------------------------------------------------------------------


def _key(item: Evidence) -> tuple[str, int, int]:
    return item.kind, item.fact_id, item.version_no


def _known_to(
    party: Party, answers: Iterable[Answer], *, at: datetime
) -> Mapping[tuple[str, int, int], Shown]:
    """Each record that these answers cite, as far as this party is a party to it."""
    cited = {_key(item): item for answer in answers for item in answer.evidence}
    ids: dict[str, set[int]] = {}
    for kind, fact_id, _ in cited:
        ids.setdefault(kind, set()).add(fact_id)
    own: dict[str, set[int]] = {}
    if party.host is not None:
        own = _own_of_host(party.host.pk, ids)
    elif party.organization is not None:
        own = _own_of_company(party.organization, ids, at=at)
    assured = _assurances(own.get(Fact.Kind.AGREEMENT, set()))
    shown = {}
    for key, item in cited.items():
        kind, fact_id, version_no = key
        if fact_id in own.get(kind, set()):
            assurance = assured.get((fact_id, version_no), "") if kind == Fact.Kind.AGREEMENT else ""
            shown[key] = Shown(kind, item.code, version_no, assurance)
        else:
            shown[key] = Shown(kind)
    return shown


def _own_of_company(
    company: Organization, ids: Mapping[str, set[int]], *, at: datetime
) -> dict[str, set[int]]:
    """Agreements that the brands granted or hold, and what belongs to whom among them."""
    brands = brands_of(company, at=at)
    mine = sorted(brands.own | brands.granted)
    agreements = AgreementVersion.objects.filter(head__in=ids.get(Fact.Kind.AGREEMENT, set()))
    either = Q(grantor__in=mine) | Q(grantee__in=mine)
    affiliations = AffiliationVersion.objects.filter(head__in=ids.get(Fact.Kind.AFFILIATION, set()))
    both = Q(parent__in=mine, child__in=mine)
    return {
        Fact.Kind.AGREEMENT: set(agreements.filter(either).values_list("head", flat=True)),
        Fact.Kind.AFFILIATION: set(affiliations.filter(both).values_list("head", flat=True)),
        # What its own phones can do is no secret to their maker.
        "variant": ids.get("variant", set()),
    }


def _own_of_host(host_id: int, ids: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """Its approvals, its networks, and who it hosts."""
    approvals = ApprovalVersion.objects.filter(head__in=ids.get(Fact.Kind.APPROVAL, set()), host=host_id)
    networks = Network.objects.filter(pk__in=ids.get("network", set()), host=host_id)
    hostings = Hosting.objects.filter(pk__in=ids.get("hosting", set()), host=host_id)
    return {
        Fact.Kind.APPROVAL: set(approvals.values_list("head", flat=True)),
        "network": set(networks.values_list("pk", flat=True)),
        "hosting": set(hostings.values_list("pk", flat=True)),
    }


def _assurances(agreement_ids: Iterable[int]) -> dict[tuple[int, int], str]:
    rows = AgreementVersion.objects.filter(head__in=agreement_ids)
    return {
        (head, version): assurance
        for head, version, assurance in rows.values_list("head", "version_no", "assurance")
    }


def variants_named(name: str) -> QuerySet[Variant]:
    """By slug or exact model number, as everywhere; one that nobody has finds nothing."""
    return Variant.objects.filter(Q(slug=name) | Q(model_number=name))
