"""The product feed: what may be sold now, in Google's product format (RSS 2.0 with the g: namespace).

It is decided while it is written, a page of offers at a time, so that memory stays flat and nothing is named that the
authorization service refuses at that moment. A feed that cannot be decided to its end breaks off without closing its
elements: whoever reads it must throw it away, for half a feed would say that the other half is gone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from django.conf import settings
from django.urls import reverse

from authorization import clock, decisions
from authorization.selectors import for_sale
from catalog.models import Condition, ListingHost
from storefront.assortment import live_offers

OFFERS_PER_PAGE = 500
# What XML 1.0 cannot carry, escaped or not.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONDITIONS: Mapping[str, str] = {
    Condition.NEW: "new",
    Condition.REFURBISHED: "refurbished",
    Condition.USED: "used",
}


def product_feed(base_url: str) -> Iterator[str]:
    """The feed in parts, the first of which is decided before it is given out. Raises DecisionUnavailable."""
    parts = _parts(base_url)
    # The head and the first page together, so that a store that cannot decide answers with an error, not with a head.
    yield next(parts) + next(parts)
    yield from parts


def _parts(base_url: str) -> Iterator[str]:
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">\n<channel>\n'
        f"{_element('title', settings.SHOP_NAME)}{_element('link', base_url + reverse('shop:list'))}"
        f"{_element('description', 'Phones that may be sold now')}"
    )
    last = 0
    while True:
        page = _page_after(last)
        yield "".join(_item(offer, base_url) for offer in _sold_now(page))
        if len(page) < OFFERS_PER_PAGE:
            break
        last = page[-1].pk
    yield "</channel>\n</rss>\n"


def _page_after(offer_id: int) -> Sequence[ListingHost]:
    # By key, each page a statement of its own: no cursor stays open while a slow reader takes the feed.
    offers = live_offers().filter(pk__gt=offer_id).order_by("pk")
    return list(
        offers.select_related(
            "host", "listing__vendor", "listing__stock", "listing__variant__device__manufacturer"
        )[:OFFERS_PER_PAGE]
    )


def _sold_now(offers: Sequence[ListingHost]) -> list[ListingHost]:
    answers = decisions.decide_offers(offers, at=clock.now())
    return [offer for offer, answer in zip(offers, answers, strict=True) if for_sale(offer, answer)]


def _item(offer: ListingHost, base_url: str) -> str:
    listing, variant = offer.listing, offer.listing.variant
    title = f"{variant.device} ({variant.model_number}) for {offer.host.name}"
    fields = {
        "g:id": f"offer-{offer.pk}",
        "g:item_group_id": variant.slug,
        "title": title[:150],
        "description": listing.description[:5000] or title,
        "link": f"{base_url}{reverse('shop:device', args=[variant.device.slug])}#{variant.slug}",
        "g:price": f"{listing.price_amount} {listing.price_currency}",
        "g:availability": "in_stock" if listing.stock.on_hand else "out_of_stock",
        "g:condition": _CONDITIONS[listing.condition],
        "g:brand": variant.device.brand,
        "g:mpn": variant.model_number,
        "g:external_seller_id": listing.vendor.slug,
    }
    return f"<item>{''.join(_element(name, value) for name, value in fields.items())}</item>\n"


def _element(name: str, value: str) -> str:
    return f"<{name}>{escape(_UNPRINTABLE.sub('', value))}</{name}>"
