"""A vendor's listings, by its own SKU."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Exists, OuterRef, QuerySet, TextField
from django.db.models.functions import Cast
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import offers
from authorization.offers import ListingMoved, ListingRemoved, SavedListing, TermsOf
from catalog.models import Listing, ListingHost, OfferState
from storefront import events
from storefront.api.conditions import check_preconditions, conditional
from storefront.api.fields import Members, WriteQuery, read_body
from storefront.api.listing_decisions import present_decisions
from storefront.api.listing_input import (
    IncludeQuery,
    ListingBody,
    ListingFilters,
    ListingPatch,
    ListingsQuery,
    check_sku,
    is_sku,
    read_filters,
    read_patched,
    read_terms,
)
from storefront.api.listing_issues import FORESEEN
from storefront.api.listing_output import (
    STATUS_ORDER,
    etag_of,
    kept_decisions,
    listings_of,
    present_listing,
    present_listings,
    present_outcomes,
    present_outlook,
    present_trial,
)
from storefront.api.listing_shapes import (
    DecisionShape,
    ListingPageShape,
    ListingShape,
    PublishedListingShape,
    SavedListingShape,
)
from storefront.api.pagination import (
    MAX_LIMIT,
    PageQuery,
    make_cursor,
    open_cursor,
    read_newest_first,
    read_page,
)
from storefront.api.problems import Problem
from storefront.api.reasons import ERROR
from storefront.api.restrictions import undecided
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.api.views import VendorView

# States with reasons on record.
_REFUSED = (OfferState.BLOCKED, OfferState.SUSPENDED)


class ListingView(VendorView):
    """What the calls on one listing share."""

    def find(self, sku: str) -> Listing | None:
        # Not even asked for where none can be: PostgreSQL refuses a NUL.
        return listings_of(self.caller.vendor).filter(sku=sku).first() if is_sku(sku) else None

    def get_listing(self, sku: str) -> Listing:
        listing = self.find(sku)
        if listing is None:
            raise Problem("not_found", "You have no listing under this SKU.")
        return listing

    def show(self, listing: Listing) -> dict[str, Any]:
        return present_listing(listing, vendor=self.caller.vendor, at=self.at)

    def check_preconditions(self, sku: str) -> None:
        """Raises Problem unless If-Match and If-None-Match hold for what is stored now."""

        def current() -> str | None:
            listing = self.find(sku)
            return etag_of(self.show(listing)) if listing is not None else None

        check_preconditions(self.request, current, what="listing")

    def answer_saved(self, sku: str, saved: SavedListing) -> Response:
        shown = self.show(self.get_listing(sku))
        headers = {"ETag": etag_of(shown)} | ({"Location": self.request.path} if saved.is_new else {})
        is_unchanged = not (saved.is_new or saved.is_changed)
        return Response(
            {**shown, "unchanged": is_unchanged}, status=201 if saved.is_new else 200, headers=headers
        )

    def preview(self, sku: str, terms_of: TermsOf) -> Response:
        listing, found, answers = offers.try_saving(
            vendor=self.caller.vendor,
            sku=sku,
            terms_of=terms_of,
            by=self.caller.actor,
            at=self.at,
            precondition=lambda: self.check_preconditions(sku),
        )
        return Response(present_trial(listing, found, answers, vendor=self.caller.vendor))


class ListingsView(VendorView):
    """Your listings, in the order in which they were made; with `updated_since`, those that changed since then.

    An initial copy takes all pages and keeps `synced_to`; each later round gives it as `updated_since`.
    """

    scopes: ClassVar = {"GET": "listings:read"}
    queries: ClassVar = {"GET": ListingsQuery}
    answers: ClassVar = {"GET": {200: ListingPageShape}}
    problems: ClassVar = {"GET": ("decision_unavailable", "events_expired")}

    def get(self, request: Request) -> Response:
        vendor = self.caller.vendor
        rows = listings_like(listings_of(vendor), read_filters(self.query), at=self.at)
        if "updated_since" in self.query:
            return Response(self.changed(rows))
        page = read_page(rows, self.query, bound_to=["listings", vendor.pk], carry=events.newest_position)
        return Response({**page.as_json(self.present(page.rows)), "synced_to": str(page.carried)})

    def changed(self, rows: QuerySet[Listing]) -> dict[str, Any]:
        """By the events of what changed, in the order of their commit: one that is committed late comes late."""
        vendor = self.caller.vendor
        bound_to = ["listings changed", vendor.pk]
        went_on = open_cursor(self.query, bound_to=bound_to)
        if went_on is None:
            after, up_to = events.sync_window(self.query["updated_since"], at=self.at)
        else:
            after, up_to = went_on
            # Raises where the events that follow are not kept any more.
            events.sync_window(after, at=self.at)
        limit = min(self.query["limit"], MAX_LIMIT)
        ids, reached = events.listings_changed(vendor.pk, after=after, up_to=up_to, limit=limit)
        found = rows.in_bulk(ids)
        has_more = reached < up_to
        return {
            "data": self.present([found[pk] for pk in ids if pk in found]),
            "next_cursor": make_cursor(self.query, reached, up_to, bound_to=bound_to) if has_more else None,
            "has_more": has_more,
            "synced_to": str(reached),
        }

    def present(self, listings: Sequence[Listing]) -> list[dict[str, Any]]:
        return present_listings(
            listings, vendor=self.caller.vendor, at=self.at, include=self.query.get("include", ())
        )


class OneListingView(ListingView):
    scopes: ClassVar = {
        "GET": "listings:read",
        "PUT": "listings:write",
        "PATCH": "listings:write",
        "DELETE": "listings:write",
    }
    queries: ClassVar = {"GET": IncludeQuery, "PUT": WriteQuery, "PATCH": WriteQuery, "DELETE": WriteQuery}
    bodies: ClassVar = {"PUT": ListingBody, "PATCH": ListingPatch}
    answers: ClassVar = {
        "GET": {200: ListingShape, 304: None},
        "PUT": {200: SavedListingShape, 201: SavedListingShape},
        "PATCH": {200: SavedListingShape},
        "DELETE": {204: None},
    }
    answer_headers: ClassVar = {
        "GET": {200: ("ETag",), 304: ("ETag",)},
        "PUT": {200: ("ETag",), 201: ("ETag", "Location")},
        "PATCH": {200: ("ETag",)},
    }
    request_headers: ClassVar = {
        "GET": ("If-None-Match",),
        "PUT": ("If-Match", "If-None-Match"),
        "PATCH": ("If-Match",),
        "DELETE": ("If-Match",),
    }
    problems: ClassVar = {
        "GET": ("decision_unavailable",),
        "PUT": ("decision_unavailable", "invalid_transition", "concurrent_change", "version_conflict"),
        "PATCH": ("decision_unavailable", "invalid_transition", "concurrent_change", "version_conflict"),
        "DELETE": ("concurrent_change", "version_conflict"),
    }

    def get(self, request: Request, sku: str) -> Response:
        """One listing, with its offer on each host, and beside it what `include` asks for."""
        include = self.query.get("include", ())
        listing = self.get_listing(sku)
        shown = present_listing(listing, vendor=self.caller.vendor, at=self.at, include=include)
        if include:
            # The tag is that of the listing alone: it does not say whether what stands beside it is the same.
            return Response(shown, headers={"ETag": etag_of(shown)})
        return conditional(request, etag_of(shown), shown)

    def put(self, request: Request, sku: str) -> Response:
        """Save a listing as a whole. It is stored also where it may not be sold, and says why; nothing goes on sale."""
        check_sku(sku)
        terms = read_terms(read_body(request, ListingBody))
        if self.is_dry_run:
            return self.preview(sku, lambda _: terms)

        def save() -> SavedListing:
            return offers.save_listing(
                vendor=self.caller.vendor,
                sku=sku,
                terms=terms,
                by=self.caller.actor,
                at=self.at,
                precondition=lambda: self.check_preconditions(sku),
            )

        try:
            saved = save()
        except ListingMoved:
            # Two first requests at once: the second finds what the first has stored. A PUT may be repeated.
            saved = save()
        return self.answer_saved(sku, saved)

    def patch(self, request: Request, sku: str) -> Response:
        """Change members of a listing (RFC 7396); what is not named stays, the stock that sales move too."""
        listing = self.get_listing(sku)

        def terms_of(stored: Listing | None) -> offers.ListingTerms:
            return read_patched(request, stored or listing)

        if self.is_dry_run:
            return self.preview(sku, terms_of)
        saved = offers.change_listing(
            listing=listing,
            terms_of=terms_of,
            by=self.caller.actor,
            at=self.at,
            precondition=lambda: self.check_preconditions(sku),
        )
        return self.answer_saved(sku, saved)

    def delete(self, request: Request, sku: str) -> Response:
        """Withdraw a listing from all its hosts, for good."""
        listing = self.get_listing(sku)
        if self.is_dry_run:
            self.check_preconditions(sku)
        else:
            offers.withdraw_listing(
                listing=listing,
                by=self.caller.actor,
                at=self.at,
                precondition=lambda: self.check_preconditions(sku),
            )
        return Response(status=204)


class PublishView(ListingView):
    scopes: ClassVar = {"POST": "listings:write"}
    queries: ClassVar = {"POST": WriteQuery}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {200: PublishedListingShape}}
    request_headers: ClassVar = {"POST": ("If-Match",)}
    problems: ClassVar = {
        "POST": (
            "listing_not_authorized",
            "decision_unavailable",
            "invalid_transition",
            "concurrent_change",
            "version_conflict",
        )
    }

    def post(self, request: Request, sku: str) -> Response:
        """Ask leave to sell on each host. What is allowed goes on sale at once; 409 where no host is live after it."""
        listing, vendor = self.get_listing(sku), self.caller.vendor
        read_body(request, Members)
        self.check_preconditions(sku)
        check_not_removed(listing)
        if self.is_dry_run:
            outlook = present_outlook(listing, vendor=vendor, at=self.at)
            check_published(outlook, at=self.at)
            return Response({**self.show(listing), "results": outlook, "validate_only": True})
        outcomes = offers.publish_listing(
            listing=listing,
            by=self.caller.actor,
            at=self.at,
            precondition=lambda: self.check_preconditions(sku),
        )
        results = present_outcomes(outcomes, vendor=vendor)
        check_published(results, at=self.at)
        return Response({**self.show(self.get_listing(sku)), "results": results})


class DecisionsView(ListingView):
    scopes: ClassVar = {"GET": "listings:read"}
    queries: ClassVar = {"GET": PageQuery}
    answers: ClassVar = {"GET": {200: page_of(DecisionShape)}}

    def get(self, request: Request, sku: str) -> Response:
        """The decisions on record, newest first: check by check, on which papers, and what was nearly enough."""
        listing = self.get_listing(sku)
        rows = kept_decisions().filter(offer__listing=listing).select_related("offer__host", "offer__listing")
        page = read_newest_first(rows, self.query, by="valid_at", bound_to=["decisions", listing.pk])
        return Response(page.as_json(present_decisions(page.rows, vendor=self.caller.vendor)))


def check_not_removed(listing: Listing | None) -> None:
    """Raises ListingRemoved, as saving and publishing would."""
    if listing is not None and all(offer.state == OfferState.REMOVED for offer in listing.offers.all()):
        raise ListingRemoved(listing.sku)


def check_published(results: list[dict[str, Any]], *, at: datetime) -> None:
    """Raises Problem unless at least one host is live. What was decided stays on record."""
    if any(result["is_live"] for result in results):
        return
    if any(result["answer"] == "undetermined" for result in results):
        raise undecided()
    reasons = {
        (reason["code"], reason["message"]): reason for result in results for reason in result["reasons"]
    }
    raise Problem(
        "listing_not_authorized",
        _every_host_refused(hosts=len(results), reasons=len(reasons)),
        keeps_effect=True,
        results=results,
        reasons=list(reasons.values()),
        evaluated_at=rfc3339(at),
    )


def _every_host_refused(*, hosts: int, reasons: int) -> str:
    who = "The one host refused" if hosts == 1 else f"Every host refused ({hosts})"
    return f"{who}, for {reasons} reason{'' if reasons == 1 else 's in all'}."


def listings_like(listings: QuerySet[Listing], filters: ListingFilters, *, at: datetime) -> QuerySet[Listing]:
    """By what is recorded, which a sweep may be about to change. With a host, what is asked of its offer."""
    offers_of = ListingHost.objects.filter(listing=OuterRef("pk"))
    if filters.variant is not None:
        listings = listings.filter(variant=filters.variant)
    if filters.host is not None:
        offers_of = offers_of.filter(host=filters.host)
        if filters.status is None:
            listings = listings.filter(Exists(offers_of.exclude(state=OfferState.REMOVED)))
    if filters.status is not None:
        listings = listings.filter(Exists(offers_of.filter(state=filters.status)))
        if filters.host is None:
            stronger = STATUS_ORDER[: STATUS_ORDER.index(OfferState(filters.status))]
            listings = listings.exclude(Exists(offers_of.filter(state__in=stronger)))
    if filters.reason is not None:
        # JSON lists cannot be searched alike on both databases; their text can.
        refused = offers_of.filter(state__in=_REFUSED).annotate(codes=Cast("reason_codes", TextField()))
        listings = listings.filter(Exists(refused.filter(codes__contains=f'"{filters.reason}"')))
    if filters.severity == ERROR:
        listings = listings.filter(Exists(offers_of.filter(state__in=_REFUSED)))
    elif filters.severity is not None:
        ending = offers_of.filter(state=OfferState.LIVE, clearance_expires_at__lte=at + FORESEEN)
        listings = listings.filter(Exists(ending))
    return listings
