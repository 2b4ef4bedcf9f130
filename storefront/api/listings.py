"""A vendor's listings, by its own SKU."""

from typing import Any, ClassVar

from django.db.models import Exists, OuterRef, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import offers
from authorization.models import Decision
from authorization.offers import ListingMoved, ListingRemoved, ListingTerms, SavedListing
from catalog.models import Listing, ListingHost, OfferState
from storefront.api.fields import Members, read_body
from storefront.api.listing_input import ListingBody, ListingsQuery, WriteQuery, check_sku, is_sku, read_terms
from storefront.api.listing_output import (
    STATUS_ORDER,
    etag_of,
    listings_of,
    present_decisions,
    present_listing,
    present_listings,
    present_outcomes,
    present_outlook,
    present_trial,
)
from storefront.api.pagination import PageQuery, read_newest_first, read_page
from storefront.api.problems import Problem
from storefront.api.restrictions import undecided
from storefront.api.views import VendorView


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

    def check_preconditions(self, listing: Listing | None) -> None:
        """Raises Problem unless If-Match and If-None-Match hold for what is stored now."""
        headers = self.request.headers
        if "If-Match" not in headers and "If-None-Match" not in headers:
            return
        etag = etag_of(self.show(listing)) if listing is not None else None
        if "If-Match" in headers and not _matches(headers["If-Match"], etag):
            raise Problem("version_conflict", "The listing is not the one of your If-Match.")
        if "If-None-Match" in headers and _matches(headers["If-None-Match"], etag):
            raise Problem("version_conflict", "There is a listing under this SKU already.")

    @property
    def is_dry_run(self) -> bool:
        return bool(self.query["validate_only"] == "true")


class ListingsView(VendorView):
    queries: ClassVar = {"GET": ListingsQuery}

    def get(self, request: Request) -> Response:
        vendor = self.caller.vendor
        rows = _filtered(listings_of(vendor), self.query)
        page = read_page(rows, self.query, bound_to=["listings", vendor.pk])
        return Response(page.as_json(present_listings(page.rows, vendor=vendor, at=self.at)))


class OneListingView(ListingView):
    queries: ClassVar = {"PUT": WriteQuery, "DELETE": WriteQuery}

    def get(self, request: Request, sku: str) -> Response:
        shown = self.show(self.get_listing(sku))
        etag = etag_of(shown)
        if _matches(request.headers.get("If-None-Match", ""), etag, is_weak_enough=True):
            return Response(status=304, headers={"ETag": etag})
        return Response(shown, headers={"ETag": etag})

    def put(self, request: Request, sku: str) -> Response:
        check_sku(sku)
        terms = read_terms(read_body(request, ListingBody))
        if self.is_dry_run:
            return Response(self.preview(sku, terms))
        try:
            saved = self.save(sku, terms)
        except ListingMoved:
            # Two first requests at once: the second finds what the first has stored. A PUT may be repeated.
            saved = self.save(sku, terms)
        shown = self.show(self.get_listing(sku))
        headers = {"ETag": etag_of(shown)} | ({"Location": request.path} if saved.is_new else {})
        is_unchanged = not (saved.is_new or saved.is_changed)
        return Response(
            {**shown, "unchanged": is_unchanged}, status=201 if saved.is_new else 200, headers=headers
        )

    def delete(self, request: Request, sku: str) -> Response:
        listing = self.get_listing(sku)
        if self.is_dry_run:
            self.check_preconditions(listing)
        else:
            offers.withdraw_listing(
                listing=listing,
                by=self.caller.actor,
                at=self.at,
                precondition=lambda: self.check_preconditions(self.find(sku)),
            )
        return Response(status=204)

    def preview(self, sku: str, terms: ListingTerms) -> dict[str, Any]:
        listing, found, answers = offers.try_saving(
            vendor=self.caller.vendor,
            sku=sku,
            terms=terms,
            by=self.caller.actor,
            at=self.at,
            precondition=lambda: self.check_preconditions(self.find(sku)),
        )
        return present_trial(listing, found, answers, vendor=self.caller.vendor)

    def save(self, sku: str, terms: ListingTerms) -> SavedListing:
        return offers.save_listing(
            vendor=self.caller.vendor,
            sku=sku,
            terms=terms,
            by=self.caller.actor,
            at=self.at,
            precondition=lambda: self.check_preconditions(self.find(sku)),
        )


class PublishView(ListingView):
    queries: ClassVar = {"POST": WriteQuery}

    def post(self, request: Request, sku: str) -> Response:
        read_body(request, Members)
        listing, vendor = self.get_listing(sku), self.caller.vendor
        self.check_preconditions(listing)
        check_not_removed(listing)
        if self.is_dry_run:
            outlook = present_outlook(listing, vendor=vendor, at=self.at)
            check_published(outlook)
            return Response({**self.show(listing), "results": outlook, "validate_only": True})
        outcomes = offers.publish_listing(
            listing=listing,
            by=self.caller.actor,
            at=self.at,
            precondition=lambda: self.check_preconditions(self.find(sku)),
        )
        results = present_outcomes(outcomes, vendor=vendor)
        check_published(results)
        return Response({**self.show(self.get_listing(sku)), "results": results})


class DecisionsView(ListingView):
    queries: ClassVar = {"GET": PageQuery}

    def get(self, request: Request, sku: str) -> Response:
        listing = self.get_listing(sku)
        # "Undetermined" is an answer nobody rests on: it is told with 503 and never listed.
        kept = Decision.objects.filter(offer__listing=listing).exclude(outcome=Decision.Outcome.UNDETERMINED)
        rows = kept.select_related("offer__host")
        page = read_newest_first(rows, self.query, by="valid_at", bound_to=["decisions", listing.pk])
        return Response(
            page.as_json(present_decisions(page.rows, listing=listing, vendor=self.caller.vendor))
        )


def check_not_removed(listing: Listing | None) -> None:
    """Raises ListingRemoved, as saving and publishing would."""
    if listing is not None and all(offer.state == OfferState.REMOVED for offer in listing.offers.all()):
        raise ListingRemoved(listing.sku)


def check_published(results: list[dict[str, Any]]) -> None:
    """Raises Problem unless at least one host is live."""
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
        results=results,
        reasons=list(reasons.values()),
    )


def _every_host_refused(*, hosts: int, reasons: int) -> str:
    who = "The one host refused" if hosts == 1 else f"Every host refused ({hosts})"
    return f"{who}, for {reasons} reason{'' if reasons == 1 else 's in all'}."


def _matches(header: str, etag: str | None, *, is_weak_enough: bool = False) -> bool:
    """RFC 9110, section 13.1. `etag` is None where nothing is stored."""
    given = parse_etags(header)
    if is_weak_enough:
        given = [each.removeprefix("W/") for each in given]
    return etag is not None and ("*" in given or etag in given)


def _filtered(listings: QuerySet[Listing], query: dict[str, Any]) -> QuerySet[Listing]:
    offers_of = ListingHost.objects.filter(listing=OuterRef("pk"))
    if "status" in query:
        stronger = STATUS_ORDER[: STATUS_ORDER.index(OfferState(query["status"]))]
        listings = listings.filter(Exists(offers_of.filter(state=query["status"])))
        listings = listings.exclude(Exists(offers_of.filter(state__in=stronger)))
    if "reason" in query:
        # JSON lists cannot be searched alike on both databases; their text can.
        with_text = offers_of.annotate(codes=Cast("reason_codes", TextField()))
        listings = listings.filter(Exists(with_text.filter(codes__contains=f'"{query["reason"]}"')))
    return listings
