"""What search engines read: the same offers that the page shows, and none when none is for sale."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.safestring import SafeString, mark_safe

from catalog.models import Condition
from storefront.shop.presenters import VariantBlock, name_of

_SCHEMA_CONDITIONS: Mapping[str, str] = {
    Condition.NEW: "https://schema.org/NewCondition",
    Condition.REFURBISHED: "https://schema.org/RefurbishedCondition",
    Condition.USED: "https://schema.org/UsedCondition",
}


def product_data(blocks: Iterable[VariantBlock], *, url: str) -> SafeString:
    """schema.org Products with the offers that the page shows; nothing at all when none is for sale."""
    products = [_product(block, url) for block in blocks if block.is_for_sale]
    return json_for_script(products) if products else SafeString("")


def _product(block: VariantBlock, url: str) -> dict[str, Any]:
    device = block.variant.device
    return {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": str(device),
        "mpn": block.variant.model_number,
        "brand": {"@type": "Brand", "name": device.brand},
        "offers": [
            {
                "@type": "Offer",
                "url": url,
                "price": str(shown.row.listing.price_amount),
                "priceCurrency": shown.row.listing.price_currency,
                "availability": "https://schema.org/" + ("InStock" if shown.in_stock else "OutOfStock"),
                "itemCondition": _SCHEMA_CONDITIONS[shown.row.listing.condition],
                "seller": {"@type": "Organization", "name": name_of(shown.row.listing.vendor)},
            }
            for panel in block.panels
            for shown in panel.offers
        ],
    }


def json_for_script(value: Any) -> SafeString:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False)
    for character, escape in (("<", "\\u003C"), (">", "\\u003E"), ("&", "\\u0026")):
        text = text.replace(character, escape)
    return mark_safe(text)  # noqa: S308  escaped above
