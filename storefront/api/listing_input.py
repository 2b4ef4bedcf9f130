"""What a vendor sends of a listing, checked, as the terms that authorization.offers takes."""

import re
from typing import Any, ClassVar

from authorization.offers import ListingTerms
from catalog.models import Channel, Condition, OfferState
from catalog.selectors import find_variants
from storefront.api.fields import Amount, Members, OneOf, Pattern, SoftwareVersion, Text, Whole, name_list
from storefront.api.hosts import find_hosts
from storefront.api.pagination import PageQuery
from storefront.api.problems import FieldError, invalid
from storefront.api.restrictions import check_names, territory_field
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


class WriteQuery(Members):
    validate_only = OneOf(choices=["true", "false"], required=False, default="false")


class ListingsQuery(PageQuery):
    status = OneOf(choices=OfferState.values, required=False)
    # The set of codes is open: one that nobody has finds nothing.
    reason = Pattern("[A-Z_]{1,64}", "Give a reason code, e.g. AGREEMENT_EXPIRED.", required=False)


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
