"""What search engines are told of: the shop's own pages, and the phones that are on sale.

An index of pages, each a range of device ids: a page is one statement, whatever the number of phones and offers.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from xml.sax.saxutils import escape

from django.conf import settings
from django.db.models import F, Max
from django.http import HttpRequest
from django.urls import reverse

from storefront.assortment import live_offers
from storefront.models import Notice

# The protocol takes 50,000 addresses in a file.
DEVICES_PER_PAGE = 10_000
NEWEST_NOTICES = 1_000
# More than a column of ids holds; SQLite takes no such number at all.
_BEYOND_ANY_ID = 2**62
_NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def base_url(request: HttpRequest) -> str:
    """Where people reach the shop, without the slash at the end."""
    return settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")


def sitemap_index(base: str) -> str:
    """Of the pages that name something."""
    page = F("listing__variant__device_id") / DEVICES_PER_PAGE
    numbers = live_offers().annotate(page=page).order_by("page").values_list("page", flat=True).distinct()
    paths = [
        reverse("shop:sitemap_pages"),
        *(reverse("shop:sitemap_devices", args=[number]) for number in numbers),
    ]
    entries = "".join(f"<sitemap><loc>{escape(base + path)}</loc></sitemap>\n" for path in paths)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<sitemapindex {_NAMESPACE}>\n{entries}</sitemapindex>\n'


def pages(base: str) -> str:
    notices = Notice.objects.filter(published_at__isnull=False).order_by("-published_at")
    rows = notices.values_list("slug", "published_at")[:NEWEST_NOTICES]
    return _url_set(
        [
            *(
                (base + reverse(f"shop:{name}"), None)
                for name in ("list", "imei", "how", "notices", "accessibility")
            ),
            *((base + reverse("shop:notice", args=[slug]), published_at) for slug, published_at in rows),
        ]
    )


def devices(base: str, number: int) -> str:
    """The devices of one page; `lastmod` is when the newest of their live offers came, or was last edited."""
    first = number * DEVICES_PER_PAGE
    if first >= _BEYOND_ANY_ID:
        return _url_set([])
    rows = (
        live_offers()
        .filter(
            listing__variant__device_id__gte=first, listing__variant__device_id__lt=first + DEVICES_PER_PAGE
        )
        .values_list("listing__variant__device__slug")
        .annotate(live_since=Max("state_changed_at"), edited_at=Max("listing__updated_at"))
        .order_by("listing__variant__device__slug")
    )
    return _url_set(
        (base + reverse("shop:device", args=[slug]), max(live_since, edited_at))
        for slug, live_since, edited_at in rows
    )


def robots(base: str) -> str:
    if settings.CLOCK_FILE:
        # An exercise: nothing of it is for sale, and nothing of it belongs into a search engine.
        return "User-agent: *\nDisallow: /\n"
    # Pages of phones that are not for sale say noindex themselves; a search engine must read them to know.
    closed = ["/cart/", "/checkout/", "/orders/", "/waitlist/", "/proofs/", "/admin/", "/v1/"]
    lines = [
        "User-agent: *",
        *(f"Disallow: {path}" for path in closed),
        "",
        f"Sitemap: {base}{reverse('shop:sitemap')}",
    ]
    return "\n".join(lines) + "\n"


def _url_set(urls: Iterable[tuple[str, datetime | None]]) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {_NAMESPACE}>\n{"".join(_entries(urls))}</urlset>\n'
    )


def _entries(urls: Iterable[tuple[str, datetime | None]]) -> Iterator[str]:
    for address, changed_at in urls:
        lastmod = f"<lastmod>{changed_at.isoformat(timespec='seconds')}</lastmod>" if changed_at else ""
        yield f"<url><loc>{escape(address)}</loc>{lastmod}</url>\n"
