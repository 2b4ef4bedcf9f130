"""GET /v1/listing-summary: how many of a vendor's listings are in which status, and which reasons stand against them.

The one place with totals: lists have none. As recorded; a sweep may be about to change it.
"""

import json
from collections import defaultdict
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Case, Count, IntegerField, Min, Q, Value, When
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import Listing, ListingHost, OfferState, Organization
from storefront import events
from storefront.api.listing_issues import FORESEEN
from storefront.api.listing_output import STATUS_ORDER
from storefront.api.listing_shapes import ListingSummaryShape
from storefront.api.reasons import ERROR, title_of
from storefront.api.times import rfc3339
from storefront.api.views import VendorView


class ListingSummaryView(VendorView):
    """Counts of all your listings by status, host and reason, with the date of the oldest."""

    scopes: ClassVar = {"GET": "listings:read"}
    answers: ClassVar = {"GET": {200: ListingSummaryShape}}

    def get(self, request: Request) -> Response:
        # Asked first: what is stamped meanwhile is told to whoever reads on from there.
        synced_to = events.newest_position()
        return Response({**summary_of(self.caller.vendor, at=self.at), "synced_to": str(synced_to)})


def summary_of(vendor: Organization, *, at: datetime) -> dict[str, Any]:
    """Two passes over the vendor's offers, made by the database: few combinations come of any number of them."""
    by_host: dict[str, dict[str, int]] = {}
    by_code: dict[str, list[tuple[int, datetime]]] = defaultdict(list)
    ending = 0
    for host, state, codes, count, since, ends_soon in _offers(vendor, at=at):
        on_host = by_host.setdefault(host, {})
        on_host[state] = on_host.get(state, 0) + count
        ending += ends_soon
        if state in (OfferState.BLOCKED, OfferState.SUSPENDED):
            for code in codes if isinstance(codes, list) else json.loads(codes):
                by_code[code].append((count, since))
    reasons = [
        {
            "code": code,
            "severity": ERROR,
            "title": title_of(code),
            "offers": sum(count for count, _ in found),
            "since": rfc3339(min(since for _, since in found)),
        }
        for code, found in by_code.items()
    ]
    return {
        "listings": _statuses(vendor),
        "by_host": [{"host": host, "offers": found} for host, found in sorted(by_host.items())],
        "reasons": sorted(reasons, key=lambda each: (-each["offers"], each["code"])),
        "ending_within_30_days": ending,
    }


def _offers(vendor: Organization, *, at: datetime) -> Any:
    ends_soon = Count("pk", filter=Q(state=OfferState.LIVE, clearance_expires_at__lte=at + FORESEEN))
    groups = ListingHost.objects.filter(listing__vendor=vendor).order_by()
    return groups.values_list("host__code", "state", "reason_codes").annotate(
        count=Count("pk"), since=Min("state_changed_at"), ends_soon=ends_soon
    )


def _statuses(vendor: Organization) -> dict[str, int]:
    """How many listings are in which status: the strongest of their offers' states."""
    ranks = [When(offers__state=state, then=Value(rank)) for rank, state in enumerate(STATUS_ORDER)]
    # One without an offer is a draft, as everywhere.
    draft = STATUS_ORDER.index(OfferState.DRAFT)
    strongest = Min(Case(*ranks, default=Value(draft), output_field=IntegerField()))
    ranked = Listing.objects.filter(vendor=vendor).annotate(rank=strongest).order_by()
    counts = ranked.aggregate(
        **{str(state): Count("pk", filter=Q(rank=rank)) for rank, state in enumerate(STATUS_ORDER)}
    )
    return {str(state): counts[str(state)] for state in STATUS_ORDER}
