"""Who has rights in goods that others sell, and which goods those are.

A manufacturer speaks for its brands: its own devices, those of the companies that belong to it, and those of a parent
that it may grant for (affiliations in force; docs/decisions/0009). A host carrier speaks for its network. Neither has a
word on anything else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.db.models import QuerySet

from authorization.dialect import listed_ids
from authorization.models import AffiliationVersion
from carriers.models import HostCarrier
from catalog.models import ListingHost, OfferState, Organization, Variant


@dataclass(frozen=True)
class Brands:
    """Ids of manufacturers. `own`: the company itself and what belongs to it, directly or through others.

    `granted`: parents that it may grant for: their own devices only, not those of the parents' other children.
    """

    own: frozenset[int]
    granted: frozenset[int] = frozenset()

    def __contains__(self, manufacturer_id: object) -> bool:
        return manufacturer_id in self.own or manufacturer_id in self.granted


@dataclass(frozen=True)
class Party:
    """With whom the desk has a matter: an organization or a host carrier, one of the two."""

    organization: Organization | None = None
    host: HostCarrier | None = None

    def __post_init__(self) -> None:
        if (self.organization is None) == (self.host is None):
            raise ValueError("A party is an organization or a host carrier.")

    @property
    def row(self) -> Organization | HostCarrier:
        return cast(Organization | HostCarrier, self.organization or self.host)

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def columns(self) -> Mapping[str, Any]:
        """As rows of cases name it."""
        return {"organization": self.organization, "host": self.host}

    @property
    def is_vendor(self) -> bool:
        return self.organization is not None and self.organization.kind == Organization.Kind.VENDOR

    @property
    def is_manufacturer(self) -> bool:
        return self.organization is not None and self.organization.kind == Organization.Kind.MANUFACTURER

    @property
    def may_claim(self) -> bool:
        """Has it rights in goods that others sell?"""
        return self.host is not None or self.is_manufacturer


def brands_of(company: Organization, *, at: datetime) -> Brands:
    """The brands that this manufacturer speaks for at this instant. One query, whatever belongs to whom."""
    in_force = AffiliationVersion.objects.current().filter(valid_from__lte=at, valid_until__gt=at)
    pairs = list(in_force.values_list("parent_id", "child_id", "may_grant_for_parent"))
    own = _with_all_below([company.pk], [(parent, child) for parent, child, _ in pairs])
    granted = {parent for parent, child, may_grant in pairs if may_grant and child == company.pk}
    return Brands(own, frozenset(granted) - own)


def owned_by(companies: Iterable[int], *, at: datetime) -> frozenset[int]:
    """These companies and all that belong to them at this instant, directly or through others."""
    in_force = AffiliationVersion.objects.current().filter(valid_from__lte=at, valid_until__gt=at)
    return _with_all_below(companies, list(in_force.values_list("parent_id", "child_id")))


def _with_all_below(companies: Iterable[int], pairs: Sequence[tuple[int, int]]) -> frozenset[int]:
    found = set(companies)
    frontier = set(found)
    while frontier:
        frontier = {child for parent, child in pairs if parent in frontier} - found
        found |= frontier
    return frozenset(found)


def offers_concerning(party: Party, *, at: datetime) -> QuerySet[ListingHost]:
    """The host offers of other parties' listings that this one has rights in: live ones."""
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    if party.host is not None:
        return live.filter(host=party.host)
    if not party.is_manufacturer or party.organization is None:
        return live.none()
    brands = brands_of(party.organization, at=at)
    made = Variant.objects.filter(device__manufacturer__in=sorted(brands.own | brands.granted))
    # By the listings' own column: a brand is some hundred variants, and the index on those leads to its offers.
    return live.filter(listing__variant__in=listed_ids(made.values_list("pk", flat=True)))
