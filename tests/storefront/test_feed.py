"""What machines read: the product feed, the sitemap, robots.txt. Nothing that may not be sold now, in flat memory."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from authorization import clock, outbox
from catalog.models import Device, Listing, ListingHost, OfferState, Stock
from seeds.factories import BUILDER, HostCarrierFactory, make_sellable
from storefront import notices
from storefront.models import Notice
from storefront.shop import feed
from tests.storefront.conftest import place_hold, revoke_agreement

pytestmark = pytest.mark.django_db

G = "{http://base.google.com/ns/1.0}"
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
FEED = "/feeds/products.xml"


@pytest.fixture
def shopper() -> Client:
    return Client()


def body_of(response: Any) -> str:
    content: bytes = b"".join(response.streaming_content) if response.streaming else response.content
    return content.decode()


def items(shopper: Client) -> list[dict[str, str]]:
    response = shopper.get(FEED)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/xml; charset=utf-8"
    root = ET.fromstring(body_of(response))  # noqa: S314  our own
    return [{field.tag: field.text or "" for field in item} for item in root.iter("item")]


def addresses(shopper: Client, path: str) -> list[str]:
    response = shopper.get(path)
    assert response.status_code == 200
    root = ET.fromstring(response.content)  # noqa: S314  our own
    return [found.text or "" for found in root.iter(f"{SITEMAP}loc")]


def queries_of(look: Any) -> int:
    with CaptureQueriesContext(connection) as seen:
        look()
    return len(seen)


# --- the feed -----------------------------------------------------------------------------------------------


def test_an_item_says_what_the_page_says(shopper, world):
    (item,) = items(shopper)
    variant = world.variant
    assert item == {
        f"{G}id": f"offer-{world.offer.pk}",
        f"{G}item_group_id": variant.slug,
        "title": f"{variant.device} ({variant.model_number}) for {world.host.name}",
        "description": f"{variant.device} ({variant.model_number}) for {world.host.name}",
        "link": f"http://testserver/devices/{variant.device.slug}/#{variant.slug}",
        f"{G}price": "199.00 USD",
        f"{G}availability": "in_stock",
        f"{G}condition": "new",
        f"{G}brand": variant.device.brand,
        f"{G}mpn": variant.model_number,
        f"{G}external_seller_id": world.vendor.slug,
    }


def test_what_may_not_be_sold_leaves_the_feed_at_the_commit(shopper, world):
    stays = make_sellable(price_amount=Decimal("50.00"))
    revoke_agreement(world)
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.LIVE, "the sweep has not run"
    assert [item[f"{G}price"] for item in items(shopper)] == ["50.00 USD"]
    outbox.pump()
    assert [item[f"{G}id"] for item in items(shopper)] == [f"offer-{stays.offer.pk}"]


def test_what_falls_while_the_feed_is_written_is_not_in_the_rest_of_it(shopper, world, monkeypatch):
    monkeypatch.setattr(feed, "OFFERS_PER_PAGE", 1)
    falls = make_sellable()
    parts = feed.product_feed("https://shop.example")
    assert f"offer-{world.offer.pk}" in next(parts)
    revoke_agreement(falls)
    assert f"offer-{falls.offer.pk}" not in "".join(parts)


def test_out_of_stock_is_said(shopper, world):
    Stock.objects.filter(listing=world.listing).update(on_hand=0)
    assert items(shopper)[0][f"{G}availability"] == "out_of_stock"


def test_an_empty_shop_has_an_empty_feed(shopper):
    assert items(shopper) == []


def test_no_text_of_a_vendor_breaks_the_feed(shopper, world):
    Listing.objects.update(description='</item><script> & "\x0b\x00"'.replace("\x00", ""))
    Device.objects.update(marketing_name="A & B <C>")
    assert items(shopper)[0]["description"] == '</item><script> & ""'


def test_a_feed_that_cannot_be_decided_is_no_empty_shop(shopper, world, monkeypatch):
    def fail(execute, sql, params, many, context):
        if "authorization_agreementversion" in sql:
            raise OperationalError("the evidence cannot be read")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        response = shopper.get(FEED)
    assert response.status_code == 503
    assert "no-store" in response["Cache-Control"]

    # On its way already: it breaks off, and no reader takes half of it for the whole.
    monkeypatch.setattr(feed, "OFFERS_PER_PAGE", 1)
    make_sellable()
    parts = feed.product_feed("https://shop.example")
    begun = next(parts)
    with connection.execute_wrapper(fail), pytest.raises(Exception, match="could not be read"):
        begun += "".join(parts)
    with pytest.raises(ET.ParseError):
        ET.fromstring(begun)  # noqa: S314  our own


def test_a_page_of_the_feed_costs_the_same_whatever_is_on_it(shopper, world, monkeypatch):
    few = queries_of(lambda: items(shopper))
    for _ in range(4):
        make_sellable()
    assert queries_of(lambda: items(shopper)) == few <= 6
    monkeypatch.setattr(feed, "OFFERS_PER_PAGE", 2)
    assert len(items(shopper)) == 5, "pages join without a gap"
    assert queries_of(lambda: items(shopper)) == 3 * few


# --- the sitemap --------------------------------------------------------------------------------------------


def test_the_sitemap_names_live_devices_with_the_date_of_their_last_change(shopper, world):
    (pages, devices) = addresses(shopper, "/sitemap.xml")
    assert pages == "http://testserver/sitemap-pages.xml"
    path = devices.removeprefix("http://testserver")
    assert addresses(shopper, path) == [f"http://testserver/devices/{world.variant.device.slug}/"]
    changed = ListingHost.objects.get(pk=world.offer.pk).state_changed_at
    assert changed.isoformat(timespec="seconds") in shopper.get(path).content.decode()
    edited = clock.now().replace(year=2030)
    Listing.objects.update(updated_at=edited)
    assert edited.isoformat(timespec="seconds") in shopper.get(path).content.decode()


def test_a_suspended_device_leaves_the_sitemap_at_its_sweep(shopper, world):
    other = make_sellable(host=HostCarrierFactory.create())
    place_hold(("variant", world.variant.pk))
    outbox.pump()
    path = addresses(shopper, "/sitemap.xml")[1].removeprefix("http://testserver")
    assert addresses(shopper, path) == [f"http://testserver/devices/{other.variant.device.slug}/"]
    place_hold(("variant", other.variant.pk), code="HOLD-2")
    outbox.pump()
    assert len(addresses(shopper, "/sitemap.xml")) == 1
    assert shopper.get(path).status_code == 404
    assert shopper.get("/sitemap-devices-99999999999999999999.xml").status_code == 404


def test_many_devices_are_cut_in_pages_of_one_query_each(shopper, monkeypatch):
    monkeypatch.setattr("storefront.shop.sitemap.DEVICES_PER_PAGE", 2)
    worlds = [make_sellable() for _ in range(5)]
    paths = [each.removeprefix("http://testserver") for each in addresses(shopper, "/sitemap.xml")[1:]]
    assert len(paths) >= 3
    found = [address for path in paths for address in addresses(shopper, path)]
    assert sorted(found) == sorted(
        f"http://testserver/devices/{world.variant.device.slug}/" for world in worlds
    )
    for path in (*paths, "/sitemap.xml", "/sitemap-pages.xml"):
        assert queries_of(lambda path=path: shopper.get(path)) == 1


def test_published_notices_are_in_the_sitemap(shopper, settings):
    settings.PUBLIC_URL = "https://shop.example"
    for slug in ("drafted", "published"):
        Notice.objects.create(slug=slug, title=slug, body="Why.", drafted_at=clock.now())
    notices.publish_notice(notice=Notice.objects.get(slug="published"), by=BUILDER, at=clock.now())
    found = addresses(shopper, "/sitemap-pages.xml")
    assert "https://shop.example/notices/published/" in found
    assert "https://shop.example/notices/drafted/" not in found
    assert "https://shop.example/" in found


def test_robots_name_the_sitemap_and_keep_out_of_carts(shopper, settings, tmp_path: Path):
    said = shopper.get("/robots.txt")
    assert said["Content-Type"] == "text/plain; charset=utf-8"
    text = said.content.decode()
    assert "Sitemap: http://testserver/sitemap.xml\n" in text
    assert "Disallow: /cart/\n" in text
    assert "/devices/" not in text, "a page must be read for its noindex to be seen"
    settings.CLOCK_FILE = str(tmp_path / "clock.json")
    clock.write_clock(Path(settings.CLOCK_FILE), virtual=datetime(2016, 2, 1, 12, tzinfo=UTC), rate=1)
    assert shopper.get("/robots.txt").content.decode() == "User-agent: *\nDisallow: /\n"
