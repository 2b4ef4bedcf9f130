"""What the shop shows: its offers, whatever their state, and the few of them that a page has room for."""

from django.conf import settings
from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber

from catalog.models import Channel, ListingHost, OfferState


def shop_offers() -> QuerySet[ListingHost]:
    """The offers of this shop's pages, whatever their state."""
    return ListingHost.objects.filter(
        listing__channel=Channel.WEB, listing__territory=settings.SHOP_TERRITORY
    )


def live_offers() -> QuerySet[ListingHost]:
    return shop_offers().filter(state=OfferState.LIVE)


def cheapest_offers(offers: QuerySet[ListingHost], *, limit: int) -> list[ListingHost]:
    """Up to `limit` per variant, host and state, cheapest first, with all that a decision and a page read."""
    place = Window(
        RowNumber(),
        partition_by=[F("listing__variant_id"), F("host_id"), F("state")],
        order_by=[F("listing__price_amount"), F("pk")],
    )
    return list(
        offers.annotate(place=place)
        .filter(place__lte=limit)
        .select_related("host", "listing__vendor", "listing__stock", "listing__variant__device__manufacturer")
        .order_by("listing__price_amount", "pk")
    )
