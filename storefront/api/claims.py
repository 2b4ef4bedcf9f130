"""/v1/claims: what is on sale of a manufacturer's brands or on a carrier's network, and "not authorized by us"."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import ListingHost
from storefront import claims, takedowns
from storefront.api.fields import Members, OneOf, Pattern, Text, read_body
from storefront.api.pagination import MAX_LIMIT, Page, PageQuery, make_cursor, open_cursor
from storefront.api.problems import Problem
from storefront.api.rights import MAX_ID, ClaimantView, representative_of
from storefront.api.rights_shapes import ClaimShape
from storefront.api.shapes import page_of
from storefront.api.takedowns import MakingView
from storefront.api.times import rfc3339
from storefront.cases import LONGEST_MESSAGE
from storefront.claims import COVERS, OF_BRAND, Claim
from storefront.takedowns import REASONS, Wanted


class ClaimsQuery(PageQuery):
    vendor = Text(required=False, max_length=64, help_text="Slug.")
    variant = Text(required=False, max_length=100, help_text="Slug or model number.")
    host = Text(required=False, max_length=64, help_text="Code of the host carrier.")
    territory = Pattern(r"[A-Z]{2}", "Two capitals, ISO 3166-1.", required=False)


class DisclaimBody(Members):
    statement = Text(max_length=LONGEST_MESSAGE, help_text="What you say, in your words. It opens the case.")
    covers = OneOf(
        choices=COVERS,
        required=False,
        default=OF_BRAND,
        help_text="This vendor's goods of the device's brand, of this model, or this listing alone.",
    )
    reason = OneOf(choices=[code for codes in REASONS.values() for code in codes], required=False)


class ClaimView(ClaimantView):
    """What the calls on one claim share."""

    def get_claim(self, offer_id: int) -> ListingHost:
        rows = claims.claims_on(self.party, at=self.at)
        found = rows.filter(pk=offer_id).first() if offer_id <= MAX_ID else None
        if found is None:
            raise Problem("not_found", "Nobody claims this of your brands or your network, or no longer.")
        return found


class ClaimsView(ClaimantView):
    """Every live offer of your brands, or on your network, and what it rests on as far as you are a party to it."""

    scopes: ClassVar = {"GET": "claims:read"}
    queries: ClassVar = {"GET": ClaimsQuery}
    answers: ClassVar = {"GET": {200: page_of(ClaimShape)}}
    problems: ClassVar = {"GET": ("decision_unavailable",)}

    def get(self, request: Request) -> Response:
        rows = claims.claims_on(self.party, at=self.at)
        if "vendor" in self.query:
            rows = rows.filter(listing__vendor__slug=self.query["vendor"])
        if "variant" in self.query:
            rows = rows.filter(listing__variant__in=claims.variants_named(self.query["variant"]))
        if "host" in self.query:
            rows = rows.filter(host__code=self.query["host"])
        if "territory" in self.query:
            rows = rows.filter(listing__territory=self.query["territory"])
        page = self.read_page(rows)
        found = claims.read_claims(self.party, page.rows, at=self.at)
        return Response(page.as_json([present_claim(claim) for claim in found]))

    def read_page(self, rows: QuerySet[ListingHost]) -> Page[ListingHost]:
        bound_to = ["claims", self.principal.actor]
        [after] = open_cursor(self.query, bound_to=bound_to) or [0]
        limit = min(self.query["limit"], MAX_LIMIT)
        found = claims.next_claims(rows, self.party, after=after, at_most=limit + 1)
        page = found[:limit]
        if len(found) <= limit:
            return Page(page, None)
        return Page(page, make_cursor(self.query, page[-1].pk, bound_to=bound_to))


class OneClaimView(ClaimView):
    """One claim on your brands or your network."""

    scopes: ClassVar = {"GET": "claims:read"}
    answers: ClassVar = {"GET": {200: ClaimShape}}
    problems: ClassVar = {"GET": ("decision_unavailable",)}

    def get(self, request: Request, claim_id: int) -> Response:
        [claim] = claims.read_claims(self.party, [self.get_claim(claim_id)], at=self.at)
        return Response(present_claim(claim))


class DisclaimView(MakingView, ClaimView):
    """Not authorized by us: a takedown of this vendor's goods of this brand, as far as they are yours to stop."""

    scopes: ClassVar = {"POST": "takedowns:write"}
    bodies: ClassVar = {"POST": DisclaimBody}
    problems: ClassVar = {"POST": ("already_open", "decision_unavailable")}

    def post(self, request: Request, claim_id: int) -> Response:
        return self.make()

    def want(self, request: Request, **kwargs: Any) -> Wanted:
        offer = self.get_claim(kwargs["claim_id"])
        body = read_body(request, DisclaimBody)
        return takedowns.check(
            party=self.party,
            representative=representative_of(self.principal),
            reason_code=body.get("reason") or takedowns.reasons_of(self.party)[0],
            statement=body["statement"],
            goods=claims.disclaimed(offer, covers=body["covers"]),
            at=self.at,
        )


def present_claim(claim: Claim) -> dict[str, Any]:
    listing, offer = claim.offer.listing, claim.offer
    return {
        "id": str(offer.pk),
        "vendor": {"slug": listing.vendor.slug, "name": listing.vendor.name},
        "sku": listing.sku,
        "manufacturer": listing.variant.device.manufacturer.slug,
        "device": str(listing.variant.device),
        "variant": listing.variant.slug,
        "model_number": listing.variant.model_number,
        "host": offer.host.code,
        "condition": str(listing.condition),
        "territory": listing.territory,
        "channel": str(listing.channel),
        "live_since": rfc3339(offer.state_changed_at),
        "is_for_sale": claim.is_for_sale,
        "evidence": [
            {
                "kind": each.kind,
                "document": each.code or None,
                "version": each.version,
                "assurance": each.assurance or None,
            }
            for each in claim.evidence
        ],
    }
