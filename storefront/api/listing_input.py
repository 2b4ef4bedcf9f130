"""What a vendor sends of a listing, checked, as the terms that authorization.offers takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rest_framework.request import Request

from authorization.offers import ListingTerms
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Listing, OfferState, Variant
from catalog.selectors import find_variants
from storefront.api.fields import (
    Amount,
    Members,
    Names,
    OneOf,
    Pattern,
    Since,
    SoftwareVersion,
    Text,
    Whole,
    name_list,
    read_patch,
)
from storefront.api.hosts import find_hosts, unknown_host_message
from storefront.api.listing_output import INCLUDES
from storefront.api.pagination import PageQuery
from storefront.api.problems import FieldError, invalid
from storefront.api.reasons import ERROR, WARNING
from storefront.api.restrictions import check_names, territory_field
from storefront.api.variants import unknown_variant_messages
from storefront.plans import SHOP_CURRENCY

MAX_ON_HAND = 1_000_000
_SKU = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BY_VERB = (
    "It follows from what you do: POST /v1/listings/{sku}/publish to go live, "
    "DELETE /v1/listings/{sku} to end it."
)


class PriceBody(Members):
    amount = Amount()
    currency = Pattern(
        SHOP_CURRENCY, f"The shop sells in {SHOP_CURRENCY}: give the price in {SHOP_CURRENCY}."
    )


class PricePatch(Members):
    amount = Amount(required=False)
    currency = Pattern(
        SHOP_CURRENCY,
        f"The shop sells in {SHOP_CURRENCY}: give the price in {SHOP_CURRENCY}.",
        required=False,
    )


class ListingBody(Members):
    output_only: ClassVar = {"status": _BY_VERB, "state": _BY_VERB, "offers": _BY_VERB}

    variant = Text(max_length=100)
    hosts = name_list(allow_empty=False)
    condition = OneOf(choices=Condition.values)
    territory = territory_field()
    channel = OneOf(choices=Channel.values)
    software = SoftwareVersion(required=False, default="", allow_blank=True)
    description = Text(required=False, default="", allow_blank=True, max_length=4000)
    price = PriceBody()
    on_hand = Whole(min_value=0, max_value=MAX_ON_HAND)


class ListingPatch(Members):
    """What a merge patch may name. It is checked as the whole listing that it makes."""

    output_only: ClassVar = ListingBody.output_only

    variant = Text(max_length=100, required=False)
    hosts = name_list(allow_empty=False, required=False)
    condition = OneOf(choices=Condition.values, required=False)
    territory = territory_field(required=False)
    channel = OneOf(choices=Channel.values, required=False)
    software = SoftwareVersion(required=False, allow_blank=True, allow_null=True)
    description = Text(required=False, allow_blank=True, allow_null=True, max_length=4000)
    price = PricePatch(required=False)
    on_hand = Whole(min_value=0, max_value=MAX_ON_HAND, required=False)


class IncludeQuery(Members):
    include = Names(INCLUDES, required=False)


class ListingsQuery(PageQuery, IncludeQuery):
    """With `host`, the others are asked of the offer on that host."""

    status = OneOf(choices=OfferState.values, required=False)
    host = Text(max_length=100, required=False)
    variant = Text(max_length=100, required=False)
    # The set of codes is open: one that nobody has finds nothing.
    reason = Pattern("[A-Z_]{1,64}", "Give a reason code, e.g. AGREEMENT_EXPIRED.", required=False)
    severity = OneOf(choices=[ERROR, WARNING], required=False)
    updated_since = Since(required=False)


@dataclass(frozen=True)
class ListingFilters:
    """Which listings are asked for; None: any. `listings_like` says what each means."""

    status: str | None = None
    host: HostCarrier | None = None
    variant: Variant | None = None
    reason: str | None = None
    severity: str | None = None


def read_filters(query: Mapping[str, Any]) -> ListingFilters:
    """Raises Problem that points at an unknown variant or host."""
    variants = find_variants([query["variant"]]) if "variant" in query else {}
    hosts = find_hosts([query["host"]]) if "host" in query else {}
    faults = []
    if "variant" in query and not variants:
        said = unknown_variant_messages([query["variant"]])[query["variant"]]
        faults.append(FieldError("/variant", "unknown_variant", said, "query"))
    if "host" in query and not hosts:
        faults.append(FieldError("/host", "unknown_host", unknown_host_message(), "query"))
    if faults:
        raise invalid(faults)
    return ListingFilters(
        status=query.get("status"),
        host=next(iter(hosts.values()), None),
        variant=next(iter(variants.values()), None),
        reason=query.get("reason"),
        severity=query.get("severity"),
    )


def is_sku(sku: str) -> bool:
    return _SKU.fullmatch(sku) is not None


def check_sku(sku: str) -> None:
    """Raises Problem unless a listing can be stored under this SKU."""
    if not is_sku(sku):
        hint = "A SKU has 1 to 64 of these characters: A-Z a-z 0-9 . _ -"
        raise invalid([FieldError("/sku", "invalid_form", hint, "path")])


def read_terms(body: dict[str, Any]) -> ListingTerms:
    """Raises Problem that points at an unknown variant or host."""
    variants = find_variants([body["variant"]])
    hosts = find_hosts(body["hosts"])
    places = {"variant": ("/variant", "body"), "hosts": ("/hosts", "body")}
    check_names([body], [places], variants=variants, hosts=hosts)
    return terms_of_body(body, variants=variants, hosts=hosts)


def terms_of_body(
    body: dict[str, Any], *, variants: Mapping[str, Variant], hosts: Mapping[str, HostCarrier]
) -> ListingTerms:
    """Of a checked body whose names were found."""
    return ListingTerms(
        variant=variants[body["variant"]],
        hosts=tuple(hosts[code] for code in body["hosts"]),
        condition=body["condition"],
        territory=body["territory"],
        channel=body["channel"],
        description=body["description"],
        price_amount=body["price"]["amount"],
        price_currency=body["price"]["currency"],
        on_hand=body["on_hand"],
        software=body["software"],
    )


def read_patched(request: Request, listing: Listing) -> ListingTerms:
    """The terms that a merge patch makes of what is stored. Raises Problem that points at the faults of the whole.

    The stock is left as it is unless the patch names it: sales have moved it since anybody read it.
    """
    whole, named = read_patch(request, _stored_body(listing), ListingBody)
    terms = read_terms(whole)
    return terms if "on_hand" in named else replace(terms, on_hand=None)


def _stored_body(listing: Listing) -> dict[str, Any]:
    """The listing as its vendor would send it."""
    offers = listing.offers.exclude(state=OfferState.REMOVED).select_related("host").order_by("id")
    return {
        "variant": listing.variant.slug,
        "hosts": [offer.host.code for offer in offers],
        "condition": listing.condition,
        "territory": listing.territory,
        "channel": listing.channel,
        "software": listing.software,
        "description": listing.description,
        "price": {"amount": f"{listing.price_amount:.2f}", "currency": listing.price_currency},
        "on_hand": listing.stock.on_hand,
    }
