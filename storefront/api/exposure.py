"""GET /v1/exposure: which of the vendor's offers fall by themselves, when, and for want of which record.

The same question as the desk's, of the vendor's own offers; the engine that expires them answers it.
"""

from datetime import timedelta
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from authorization import directions
from authorization.decisions import present
from authorization.directions import FallingOffer, InvalidCursor
from catalog.models import ListingHost
from storefront.api.fields import Pattern
from storefront.api.listing_shapes import ExposureShape
from storefront.api.pagination import MAX_LIMIT, PageQuery
from storefront.api.problems import FieldError, invalid
from storefront.api.reasons import own_documents, present_foretold
from storefront.api.times import rfc3339
from storefront.api.views import VendorView

MOST_DAYS = 365


class ExposureQuery(PageQuery):
    within = Pattern(
        "([1-9]|[1-9][0-9]|[12][0-9]{2}|3[0-5][0-9]|36[0-5])d",
        f"Give a number of days from 1 to {MOST_DAYS}, e.g. 30d.",
        required=False,
        default="30d",
    )


class ExposureView(VendorView):
    """What of yours will be taken off sale by time alone, and the record that ends: renew it before.

    All pages of a walk are one answer, for the instant and revision of its first page.
    """

    scopes: ClassVar = {"GET": "listings:read"}
    queries: ClassVar = {"GET": ExposureQuery}
    answers: ClassVar = {"GET": {200: ExposureShape}}
    problems: ClassVar = {"GET": ("decision_unavailable",)}

    def get(self, request: Request) -> Response:
        within = timedelta(days=int(self.query["within"].removesuffix("d")))
        try:
            page = directions.exposure(
                within,
                at=present(self.at)[1],
                vendor=self.caller.vendor,
                after=self.query.get("cursor"),
                limit=min(self.query["limit"], MAX_LIMIT),
            )
        except InvalidCursor as error:
            detail = "This cursor was not made for this question. Start again without a cursor."
            raise invalid([FieldError("/cursor", "invalid_cursor", detail, "query")]) from error
        return Response(
            {
                "data": self.present(page.items),
                "next_cursor": page.next_cursor,
                "has_more": page.next_cursor is not None,
                "valid_at": rfc3339(page.valid_at),
                "revision": page.revision,
                "until": rfc3339(page.valid_at + within),
            }
        )

    def present(self, falls: tuple[FallingOffer, ...]) -> list[dict[str, Any]]:
        rows = ListingHost.objects.select_related("listing__variant", "host")
        offers = rows.in_bulk([fall.offer_id for fall in falls])
        codes = [reason.document for fall in falls for reason in fall.reasons]
        codes += [fall.record.code for fall in falls if fall.record is not None]
        own = own_documents(self.caller.vendor, codes)
        return [_present_fall(fall, offers[fall.offer_id], own) for fall in falls]


def _present_fall(fall: FallingOffer, offer: ListingHost, own: frozenset[str]) -> dict[str, Any]:
    record: dict[str, Any] | None = None
    if fall.record is not None:
        record = {"kind": fall.record.kind, "version": fall.record.version_no}
        if fall.record.code in own:
            record["document"] = fall.record.code
    return {
        "sku": offer.listing.sku,
        "host": offer.host.code,
        "variant": offer.listing.variant.slug,
        "falls_at": rfc3339(fall.falls_at),
        "record": record,
        "reasons": [present_foretold(reason, fall.falls_at, own) for reason in fall.reasons],
    }
