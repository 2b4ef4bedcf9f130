"""The shopper's pages: what they say, what they never say, and what they do with what shoppers send."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import clock, holds, offers, outbox, policies, revocations
from authorization.models import ApprovalVersion, Assurance, Fact
from carriers.compatibility import Confidence, Data, Level, Sub, Verdict, Voice
from catalog.models import Condition, Device, ListingHost, OfferState, Organization, Stock, Variant
from seeds.factories import (
    BUILDER,
    DeviceFactory,
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    PlanFactory,
    VariantFactory,
    World,
    make_agreement,
    make_approval,
    make_policy,
    make_sellable,
    make_terms,
)
from storefront import notices, orders
from storefront.models import Cart, CartLine, Notice, Order, PaymentIntent, RemovalProof
from storefront.shop import presenters, selectors, views
from storefront.shop.urls import urlpatterns
from tests.storefront.conftest import Till, check_out, place_hold, revoke_agreement, revoke_approval, withdraw

pytestmark = pytest.mark.django_db

BUYER = {
    "buyer_name": "Ada Buyer",
    "buyer_email": "ada@example.com",
    "ship_to": "1 Main Street\nSpringfield, IL 62701",
    "card_number": "4242 4242 4242 4242",
}


@pytest.fixture
def shopper() -> Client:
    return Client()


def text_of(response: Any) -> str:
    """What is read on the page: without tags, in single spaces."""
    body = re.sub(r"<(script|head)\b.*?</\1>", " ", response.content.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def device_path(world: World) -> str:
    return f"/devices/{world.variant.device.slug}/"


def product_data(response: Any) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', response.content.decode(), re.S)
    return json.loads(found[1]) if found else []


def is_hidden_from_search(response: Any) -> bool:
    return b'<meta name="robots" content="noindex">' in response.content


def says_nothing_is_for_sale(response: Any, price: str = "$199.00") -> bool:
    body = response.content.decode()
    return price not in body and "Add to cart" not in body and not product_data(response)


def put_in_cart(shopper: Client, world: World, **sent: Any) -> Any:
    return shopper.post("/cart/add/", {"offer": world.offer.pk, "plan": "", "quantity": 1} | sent)


def seen_in(form: Any) -> dict[str, str]:
    """What the checkout form says that the shopper saw."""
    body = form.content.decode()
    found = {
        name: re.search(rf'name="{name}" value="([^"]*)"', body) for name in ("seen_lines", "seen_total")
    }
    return {name: match[1] for name, match in found.items() if match}


def pay(shopper: Client, **changes: Any) -> Any:
    return shopper.post("/checkout/", {"checkout_key": str(uuid4())} | BUYER | changes)


# --- the list -----------------------------------------------------------------------------------------------


def test_the_list_shows_what_may_be_sold_now(shopper, world):
    response = shopper.get("/")
    shown = text_of(response)
    assert str(world.variant.device) in shown
    assert f"Model {world.variant.model_number}" in shown
    assert "$199.00" in shown
    assert f"Approved on {world.host.name}" in shown


def test_looking_sets_no_cookie_and_keeps_no_copy(shopper, world):
    for path in (
        "/",
        "/how-we-decide/",
        "/notices/",
        "/accessibility/",
        "/feeds/products.xml",
        "/sitemap.xml",
    ):
        assert not shopper.get(path).cookies
        assert "no-store" in shopper.get(path)["Cache-Control"]
    for path in (device_path(world), "/cart/", "/nowhere", "/devices/no-such-phone/", "/notices/none/"):
        assert "no-store" in shopper.get(path)["Cache-Control"], path


@pytest.mark.parametrize("name", sorted(str(pattern.name) for pattern in urlpatterns))
def test_every_page_of_the_shop_says_that_it_is_not_to_be_kept(shopper, name):
    """Where a new page forgets it, somebody's cache would go on offering what may not be sold."""
    pattern = next(pattern for pattern in urlpatterns if pattern.name == name)
    examples = {"SlugConverter": "none", "IntConverter": 1, "UUIDConverter": uuid4()}
    given = pattern.pattern.converters.items()
    path = reverse(f"shop:{name}", kwargs={each: examples[type(kind).__name__] for each, kind in given})
    response = shopper.get(path)
    if response.status_code == 405:
        response = shopper.post(path)
    assert response["Cache-Control"] == (
        "public, max-age=3600"
        if name == "robots"
        else "max-age=0, no-cache, no-store, must-revalidate, private"
    )


def test_an_empty_shop_says_so(shopper):
    assert "Nothing is for sale at the moment" in text_of(shopper.get("/"))


def test_a_live_offer_that_the_decision_refuses_is_listed_without_a_price(shopper, world):
    revoke_agreement(world)
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.LIVE, "the sweep has not run"
    response = shopper.get("/")
    assert "Not for sale now" in text_of(response)
    assert "$199.00" not in text_of(response)


def test_search_finds_by_brand_name_and_model_number(shopper):
    device = DeviceFactory.create(brand="Xiaomi", marketing_name="Mi 4")
    found = make_sellable(
        variant=VariantFactory.create(device=device, model_number="MI-4-W"), price_amount=Decimal("101.00")
    )
    make_sellable(price_amount=Decimal("102.00"))
    for words in ("xiaomi", "mi 4", "  XIAOMI   Mi ", "MI-4-W", "mi-4"):
        shown = text_of(shopper.get("/", {"q": words}))
        assert "$101.00" in shown, words
        assert "$102.00" not in shown, words
    assert "No phone on sale fits this search" in text_of(shopper.get("/", {"q": "nokia"}))
    assert "No phone on sale" in text_of(shopper.get("/", {"q": "%"})), "no wildcard"
    both = shopper.get("/", {"q": "xiaomi", "host": found.host.code})
    assert f'href="/?host={found.host.code}"' in unescape(both.content.decode()), (
        "the search can be taken away"
    )
    assert 'value="xiaomi"' in both.content.decode()
    assert "All are shown" in text_of(shopper.get("/", {"q": "x" * 101}))


def test_search_and_list_lose_a_phone_at_its_sweep_and_its_price_at_the_commit(shopper, world):
    find = {"q": world.variant.model_number}
    assert "$199.00" in text_of(shopper.get("/", find))
    revoke_agreement(world)
    shown = text_of(shopper.get("/", find))
    assert "Not for sale now" in shown
    assert "$199.00" not in shown
    outbox.pump()
    assert "No phone on sale fits this search" in text_of(shopper.get("/", find))


def test_filters_narrow_the_list_and_can_be_taken_away_one_by_one(shopper):
    first, second = (
        make_sellable(price_amount=Decimal("101.00")),
        make_sellable(price_amount=Decimal("102.00")),
    )
    maker = first.variant.device.manufacturer
    response = shopper.get("/", {"maker": maker.slug, "host": first.host.code, "condition": "new"})
    assert "$101.00" in text_of(response)
    assert "$102.00" not in text_of(response)
    body = unescape(response.content.decode())
    for kept in ("host", "condition"):
        assert re.search(rf'href="/\?[^"]*{kept}=[^"]*"', body)
    assert f'href="/?host={first.host.code}&condition=new"' in body
    assert "$102.00" in text_of(shopper.get("/", {"host": second.host.code}))
    assert "No phone fits these filters" in text_of(shopper.get("/", {"condition": "used"}))


@pytest.mark.parametrize("name", ["maker", "host", "condition"])
def test_a_filter_that_means_nothing_is_named_and_left_out(shopper, world, name):
    response = shopper.get("/", {name: "no-such-thing"})
    assert response.status_code == 200
    assert "$199.00" in text_of(response)
    assert "are shown" in text_of(response)


def test_long_lists_have_pages_and_a_wrong_number_finds_one(shopper, monkeypatch):
    monkeypatch.setattr("storefront.shop.pages.VARIANTS_PER_PAGE", 1)
    make_sellable(price_amount=Decimal("101.00"))
    make_sellable(price_amount=Decimal("102.00"))
    assert "page 1 of 2" in text_of(shopper.get("/"))
    assert "page 2 of 2" in text_of(shopper.get("/", {"page": 2}))
    assert "page 2 of 2" in text_of(shopper.get("/", {"page": 99}))
    assert "page 1 of 2" in text_of(shopper.get("/", {"page": "x"}))


def queries_of(look: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert look().status_code == 200
    return len(seen)


def test_the_number_of_queries_does_not_grow_with_the_list(shopper):
    host = HostCarrierFactory.create()
    make_sellable(host=host)
    few = queries_of(lambda: shopper.get("/"))
    for _ in range(5):
        make_sellable(host=host)
    assert queries_of(lambda: shopper.get("/")) == few
    assert few <= 20


def test_the_number_of_queries_does_not_grow_with_the_offers_of_a_phone(shopper, world):
    few = queries_of(lambda: shopper.get(device_path(world)))
    for place in range(4):
        make_sellable(variant=world.variant, host=world.host, sku=f"SKU-{place}")
    VariantFactory.create(device=world.variant.device)
    assert queries_of(lambda: shopper.get(device_path(world))) == few
    assert few <= 28


# --- one phone ----------------------------------------------------------------------------------------------


def test_a_phone_for_sale_says_who_sells_it_and_what_the_network_says(shopper, world):
    shown = text_of(shopper.get(device_path(world)))
    maker = world.variant.device.manufacturer
    today = f"{clock.now():%-d %B %Y}"
    seller = f"Sold by {world.vendor.name} (simulated), authorised reseller of {maker.name} (simulated)"
    assert f"{seller} (checked {today})" in shown
    assert f"Approved on {world.host.name}" in shown
    assert f"As of {today}" in shown
    assert "Its radio bands are not on record (unverified)" in shown
    assert "Phone only, no plan" in shown


def test_a_claimed_agreement_is_not_called_authorised(shopper):
    at = clock.now()
    policies.set_policy(**policies.POLICY_2016, by=BUILDER, at=at, reason="test")
    vendor, variant = OrganizationFactory.create(is_simulated=False), VariantFactory.create()
    host = HostingFactory.create(at=at).host
    make_agreement(
        grantor=variant.device.manufacturer,
        grantee=vendor,
        models=[variant],
        at=at,
        assurance=Assurance.CLAIMED,
    )
    publish(vendor, variant, host)
    shown = text_of(shopper.get(f"/devices/{variant.device.slug}/"))
    assert f"Sold by {vendor.name}, which says it may sell" in shown
    assert "authorised reseller" not in shown
    assert f"Not checked on {host.name}" in shown


def publish(vendor: Organization, variant: Variant, host: Any, **terms: Any) -> None:
    at = clock.now()
    saved = offers.save_listing(
        vendor=vendor,
        sku=f"SKU-{variant.model_number}",
        terms=replace(make_terms(variant=variant, hosts=[host]), **terms),
        by=BUILDER,
        at=at,
    )
    assert all(
        outcome.is_live for outcome in offers.publish_listing(listing=saved.listing, by=BUILDER, at=at)
    )


def test_a_maker_that_sells_its_own_phones_says_so(shopper):
    at = clock.now()
    policies.set_policy(**policies.POLICY_GATE_SHUT, by=BUILDER, at=at, reason="test")
    variant, host = VariantFactory.create(), HostingFactory.create(at=at).host
    make_approval(host=host, variant=variant, at=at)
    publish(variant.device.manufacturer, variant, host)
    assert ", the maker" in text_of(shopper.get(f"/devices/{variant.device.slug}/"))


@pytest.mark.parametrize("take_away", [revoke_agreement, revoke_approval])
def test_no_page_offers_what_the_decision_refuses_now(shopper, world, take_away):
    assert not says_nothing_is_for_sale(shopper.get(device_path(world)))
    take_away(world)
    before_sweep = shopper.get(device_path(world))
    outbox.pump()
    after_sweep = shopper.get(device_path(world))
    for response in (before_sweep, after_sweep):
        assert response.status_code == 200
        assert says_nothing_is_for_sale(response)
        assert is_hidden_from_search(response)
        assert "Not for sale now" in text_of(response)
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.SUSPENDED


def test_the_reason_is_in_shopper_words(shopper, world):
    revoke_agreement(world)
    shown = text_of(shopper.get(device_path(world)))
    assert "We are not able to sell this phone at the moment." in shown
    assert world.vendor.name not in shown
    for word in ("revoked", "agreement", world.agreement.code, "AGREEMENT_REVOKED"):
        assert word not in shown


def test_alternatives_come_first_and_only_those_that_may_be_sold(shopper, world):
    good = make_sellable(price_amount=Decimal("210.00"))
    bad = make_sellable(price_amount=Decimal("205.00"))
    revoke_agreement(world)
    place_hold(("variant", bad.variant.pk))
    shown = text_of(shopper.get(device_path(world)))
    assert "$210.00" in shown
    assert "$205.00" not in shown
    assert shown.index(str(good.variant.device)) < shown.index(f"Model {world.variant.model_number}")


def test_alternatives_are_of_different_phones_however_many_sellers_one_has(world, monkeypatch):
    monkeypatch.setattr(selectors, "NEIGHBOURS", 2)
    popular = make_sellable(price_amount=Decimal("200.00"))
    for _ in range(5):
        make_sellable(variant=popular.variant, host=popular.host, price_amount=Decimal("200.00"))
    others = [make_sellable(price_amount=Decimal(price)) for price in ("190.00", "240.00", "500.00")]
    found = selectors.alternatives_to(world.variant.device, near=Decimal("199.00"))
    assert {offer.listing.variant.device_id for offer in found[:3]} >= {
        popular.variant.device_id,
        others[0].variant.device_id,
    }
    assert len(found) == len({offer.listing.variant.device_id for offer in found}) == 4
    cheapest = selectors.alternatives_to(world.variant.device, near=None)
    assert cheapest[0].listing.price_amount == Decimal("190.00")


def test_notices_come_in_pages(shopper, monkeypatch):
    monkeypatch.setattr(views, "NOTICES_PER_PAGE", 2)
    for number in range(3):
        Notice.objects.create(
            slug=f"n{number}", title=f"Notice {number}", body="b", drafted_at=clock.now(),
            published_at=clock.now(), published_by="user:desk",
        )  # fmt: skip
    first, second = shopper.get("/notices/"), shopper.get("/notices/?page=2")
    assert "Notice 2" in text_of(first)
    assert "Notice 0" not in text_of(first)
    assert "Older notices" in text_of(first)
    assert "Notice 0" in text_of(second)


def test_an_offer_that_falls_leaves_the_phones_other_network_alone(shopper, world):
    other = make_sellable(
        vendor=world.vendor, variant=world.variant, sku="OTHER", price_amount=Decimal("188.00")
    )
    place_hold(("host", world.host.pk))
    response = shopper.get(device_path(world))
    shown = text_of(response)
    assert "$188.00" in shown
    assert "$199.00" not in shown
    assert f"Not for sale on {world.host.name} now." in shown
    assert f"Approved on {other.host.name}" in shown
    assert not is_hidden_from_search(response)
    assert [offer["price"] for product in product_data(response) for offer in product["offers"]] == ["188.00"]


def test_out_of_stock_is_no_delisting(shopper, world):
    Stock.objects.filter(listing=world.listing).update(on_hand=0)
    response = shopper.get(device_path(world))
    shown = text_of(response)
    assert "Out of stock" in shown
    assert "$199.00" in shown
    assert "Add to cart" not in shown
    assert "Not for sale" not in shown
    assert product_data(response)[0]["offers"][0]["availability"] == "https://schema.org/OutOfStock"


def test_three_states_have_three_texts(shopper, world):
    delisted, hidden, sold_out = world, make_sellable(), make_sellable()
    revoke_agreement(delisted)
    outbox.pump()
    terms = replace(make_terms(variant=hidden.variant, hosts=[hidden.host]), condition=Condition.USED)
    offers.save_listing(vendor=hidden.vendor, sku=hidden.listing.sku, terms=terms, by=BUILDER, at=clock.now())
    assert ListingHost.objects.get(pk=hidden.offer.pk).state == OfferState.DRAFT
    Stock.objects.filter(listing=sold_out.listing).update(on_hand=0)

    said = {
        "Not for sale now": delisted,
        "Put aside by its seller": hidden,
        "It may be sold, and none is left": sold_out,
    }
    for words, each in said.items():
        response = shopper.get(device_path(each))
        shown = text_of(response)
        assert response.status_code == 200
        assert [other for other in said if other in shown] == [words]
        assert is_hidden_from_search(response) == (each is not sold_out)
        assert says_nothing_is_for_sale(response) == (each is not sold_out)
        assert "Tell me when it is back" in shown
        assert shown.index("Phones you can buy instead") < shown.index("Tell me when it is back")
    assert "you wait for stock" in text_of(shopper.get(device_path(sold_out)))
    assert "you wait until it may be" in text_of(shopper.get(device_path(delisted)))
    assert "you wait until it is offered again" in text_of(shopper.get(device_path(hidden)))


def test_out_of_stock_is_said_on_the_list(shopper, world):
    assert "Out of stock" not in text_of(shopper.get("/"))
    Stock.objects.filter(listing=world.listing).update(on_hand=0)
    assert "Out of stock" in text_of(shopper.get("/"))


def test_one_model_removed_for_good_leaves_the_phone_its_page(shopper, world):
    sibling = VariantFactory.create(device=world.variant.device)
    other = make_sellable(variant=sibling, price_amount=Decimal("150.00"))
    offers.withdraw_listing(listing=world.listing, by=BUILDER, at=clock.now())
    response = shopper.get(device_path(world))
    assert response.status_code == 200
    assert "$150.00" in text_of(response)
    assert "Tell me when it is back" not in text_of(response), "what is gone for good is not waited for"
    offers.withdraw_listing(listing=other.listing, by=BUILDER, at=clock.now())
    assert shopper.get(device_path(world)).status_code == 410


def test_what_we_cannot_check_is_not_waited_for(shopper, world):
    def fail(execute, sql, params, many, context):
        if "authorization_agreementversion" in sql:
            raise OperationalError("the evidence cannot be read")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        assert "Tell me when it is back" not in text_of(shopper.get(device_path(world)))


def test_removed_for_good_is_gone_with_alternatives(shopper, world):
    other = make_sellable(price_amount=Decimal("150.00"))
    offers.withdraw_listing(listing=world.listing, by=BUILDER, at=clock.now())
    response = shopper.get(device_path(world))
    assert response.status_code == 410
    assert says_nothing_is_for_sale(response)
    assert "No longer sold here" in text_of(response)
    assert str(other.variant.device) in text_of(response)


def test_a_phone_never_offered_is_no_delisted_one(shopper):
    device = VariantFactory.create().device
    response = shopper.get(f"/devices/{device.slug}/")
    assert response.status_code == 200
    assert is_hidden_from_search(response)
    assert "We do not sell this phone." in text_of(response)


def test_no_such_phone(shopper):
    response = shopper.get("/devices/no-such-phone/")
    assert response.status_code == 404
    assert "There is no such page" in text_of(response)


def test_evidence_that_cannot_be_read_sells_nothing_and_approves_nothing(shopper, world):
    def fail(execute, sql, params, many, context):
        if "authorization_agreementversion" in sql:
            raise OperationalError("the evidence cannot be read")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        for path in ("/", device_path(world)):
            response = shopper.get(path)
            assert says_nothing_is_for_sale(response)
            assert "We cannot check just now" in text_of(response)
            assert f"Approved on {world.host.name}" not in text_of(response)


# --- badges -------------------------------------------------------------------------------------------------


def badge_on_page(shopper: Client, world: World) -> str:
    shown = text_of(shopper.get(device_path(world)))
    return shown[shown.index("Model ") :]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("in_test", "has not finished testing it"),
        ("requested", "has not finished testing it"),
        ("rejected", "refused it"),
    ],
)
def test_what_is_not_approved_yet_is_not_shown_as_approved(shopper, world, state, words):
    host = HostingFactory.create().host
    make_approval(host=host, variant=world.variant, at=clock.now(), state=state)
    shown = text_of(shopper.get(device_path(world)))
    assert f"Not approved on {host.name}" in shown
    badge = presenters_badge(world.variant, host)
    assert words in badge.detail


def presenters_badge(variant: Variant, host: Any) -> presenters.Badge:
    at = clock.now()
    judgement = selectors.judge([], at=at, variants=[variant], hosts=[host])
    word = judgement.words[variant.pk, host.pk]
    return presenters.badge(host, word, at=at)


def test_limits_are_named(shopper, world):
    withdraw(
        revocations.RestrictApproval(world.approval.pk, "CARRIER_TESTS_PENDING", limits="no 5G on band n77")
    )
    shown = text_of(shopper.get(device_path(world)))
    assert f"Works with limits on {world.host.name}" in shown
    assert "Limits: no 5G on band n77." in shown


def test_an_approval_for_some_software_says_which(world):
    host = HostingFactory.create().host
    fact = make_approval(
        host=host, variant=world.variant, at=clock.now(), software_from="7.0", software_until="9"
    )
    badge = presenters_badge(world.variant, host)
    assert badge.kind == "limits"
    assert "with software from 7.0 on and before 9 only" in badge.detail
    withdraw(revocations.RevokeApproval(fact.pk, "CARRIER_WITHDRAWS"))
    assert presenters_badge(world.variant, host).kind == "refused"


def test_a_hold_that_does_not_name_the_host_is_not_the_carriers_word(world):
    place_hold(("territory", "US"))
    assert presenters_badge(world.variant, world.host).kind == "approved"


def test_the_words_of_carriers_are_looked_up_at_once(world, django_assert_num_queries):
    other = make_sellable()
    place_hold(("host", other.host.pk))
    variants, hosts = [world.variant, other.variant], [world.host, other.host]
    with CaptureQueriesContext(connection) as few:
        selectors.judge([], at=clock.now(), variants=variants[1:], hosts=hosts[1:])
    with django_assert_num_queries(len(few)):
        selectors.judge([], at=clock.now(), variants=variants, hosts=hosts)
    assert len(few) == 4


def test_a_withdrawn_approval_is_said(shopper, world):
    revoke_approval(world)
    shown = text_of(shopper.get(device_path(world)))
    assert f"Not approved on {world.host.name}" in shown
    assert "has withdrawn its approval" in shown


def test_an_approval_that_has_ended_is_said(world):
    at = clock.now()
    host = HostingFactory.create().host
    make_approval(
        host=host, variant=world.variant, at=at - timedelta(days=9), valid_until=at - timedelta(days=2)
    )
    assert presenters_badge(world.variant, host).detail == "The approval has ended."


def test_a_hold_on_the_approval_or_of_the_host_takes_the_badge(world):
    place_hold(("fact", world.approval.pk), code="HOLD-A")
    assert presenters_badge(world.variant, world.host).kind == "refused"
    other = make_sellable()
    place_hold(("host", other.host.pk), code="HOLD-B")
    assert presenters_badge(other.variant, other.host).kind == "refused"


@pytest.mark.parametrize(
    ("reason_code", "said"),
    [
        ("CARRIER_TESTS_PENDING", "On hold by the network: {host} has not finished testing it."),
        ("CARRIER_WITHDRAWS", "On hold by the network: {host} has not approved it."),
        ("SHOP_REVIEW", "On hold, and {host} has not told us that it approved this exact model."),
    ],
)
def test_a_hold_where_no_approval_is_on_record_speaks_of_none(world, reason_code, said):
    sibling = VariantFactory.create(device=world.variant.device)
    withdraw(
        revocations.PlaceHold(
            code="HOLD-N",
            placed_by=world.host.name,
            reason_code=reason_code,
            note="test",
            targets=(("host", str(world.host.pk)), ("variant", str(sibling.pk))),
        )
    )
    assert presenters_badge(sibling, world.host).detail == said.format(host=world.host.name)


def test_a_makers_hold_is_none_of_the_carriers_business(world):
    place_hold(("manufacturer", world.variant.device.manufacturer_id))
    assert presenters_badge(world.variant, world.host).kind == "approved"


def test_an_approval_is_for_one_exact_model(world):
    sibling = VariantFactory.create(device=world.variant.device)
    assert presenters_badge(sibling, world.host).kind == "unknown"
    assert ApprovalVersion.objects.count() == 1


# --- plans --------------------------------------------------------------------------------------------------


def verdict(**changes: Any) -> Verdict:
    return replace(
        Verdict(
            level=Level.FULL,
            sub=Sub.EMPTY,
            voice=Voice.CS_AND_VOLTE,
            data=Data.LTE_FULL,
            reasons=(),
            certification_blockers=(),
            input_confidence=Confidence.HIGH,
        ),
        **changes,
    )


def test_a_plan_says_whether_it_fits_the_phone():
    plan = PlanFactory.build(hosting=None, needs_voice=True, needs_data=True)
    assert presenters.plan_choice(plan, verdict()).fits
    mute = presenters.plan_choice(plan, verdict(level=Level.DATA_ONLY, voice=Voice.NONE))
    assert (mute.fits, mute.note) == (False, "no calls on this network, 911 included")
    slow = presenters.plan_choice(plan, verdict(level=Level.PARTIAL, data=Data.UMTS))
    assert (slow.fits, slow.note) == (True, "3G data only")
    assert presenters.plan_choice(plan, None).note == "not checked with this phone"


def test_the_plans_of_the_network_can_be_chosen(shopper, world):
    plan = PlanFactory.create(hosting=world.hosting, price_amount=Decimal("25.00"))
    PlanFactory.create(hosting=world.hosting, name="Old plan", is_on_sale=False)
    PlanFactory.create(name="Plan elsewhere")
    shown = text_of(shopper.get(device_path(world)))
    assert f"{plan.name}, $25.00 a month" in shown
    assert "Old plan" not in shown
    assert "Plan elsewhere" not in shown
    put_in_cart(shopper, world, plan=plan.slug)
    assert "$224.00" in text_of(shopper.get("/cart/"))


# --- structured data ----------------------------------------------------------------------------------------


def test_structured_data_equals_what_is_shown(shopper, world):
    publish_used = make_sellable(
        variant=world.variant, host=world.host, sku="USED", price_amount=Decimal("99.50")
    )
    response = shopper.get(device_path(world))
    (product,) = product_data(response)
    shown = text_of(response)
    assert product["mpn"] == world.variant.model_number
    assert {offer["price"] for offer in product["offers"]} == {"199.00", "99.50"}
    for offer in product["offers"]:
        assert f"${offer['price']}" in shown
        assert offer["priceCurrency"] == "USD"
        assert f"Sold by {offer['seller']['name']}" in shown
    assert publish_used.listing.condition == Condition.NEW
    assert product["offers"][0]["itemCondition"] == "https://schema.org/NewCondition"


def test_structured_data_cannot_end_its_script(shopper, world):
    Device.objects.filter(pk=world.variant.device_id).update(
        marketing_name="</script><script>alert(1)</script>"
    )
    response = shopper.get(device_path(world))
    assert b"<script>alert" not in response.content
    assert "</script><script>alert(1)</script>" in product_data(response)[0]["name"]


# --- the cart -----------------------------------------------------------------------------------------------


def test_a_cart_begins_with_its_first_phone(shopper, world):
    assert "Your cart is empty" in text_of(shopper.get("/cart/"))
    assert Cart.objects.count() == 0
    response = put_in_cart(shopper, world, quantity=2)
    assert (response.status_code, response["Location"]) == (302, "/cart/")
    cookie = response.cookies["cart"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    shown = text_of(shopper.get("/cart/"))
    assert "2 \u00d7 $199.00 $398.00" in shown
    assert "Go to checkout" in shown


def test_a_forged_cookie_is_no_cart(shopper, world):
    put_in_cart(shopper, world)
    stranger = Client()
    stranger.cookies["cart"] = str(Cart.objects.get().pk)
    assert "Your cart is empty" in text_of(stranger.get("/cart/"))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"offer": 0}, "This offer does not exist"),
        ({"offer": "x"}, "This offer does not exist"),
        ({"offer": ""}, "Choose an offer"),
        ({"plan": "no-such-plan"}, "This plan is not on sale"),
        ({"quantity": 0}, "Take at least one"),
        ({"quantity": 11}, "Take at most 10"),
        ({"quantity": "many"}, "in digits"),
        ({"quantity": ""}, "Say how many"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_cure(shopper, world, sent, words):
    response = put_in_cart(shopper, world, **sent)
    assert response.status_code == 400
    assert words in text_of(response)
    assert "cart" not in response.cookies
    assert Cart.objects.count() == 0


def test_what_may_not_be_sold_is_not_added(shopper, world):
    revoke_agreement(world)
    response = put_in_cart(shopper, world)
    assert response.status_code == 409
    assert "We are not able to sell this phone at the moment." in text_of(response)
    assert CartLine.objects.count() == 0


def test_a_delisted_line_stays_marked_and_the_rest_can_be_bought(shopper, world, provider: Till):
    other = make_sellable(price_amount=Decimal("50.00"))
    put_in_cart(shopper, world)
    put_in_cart(shopper, other)
    revoke_agreement(world)
    shown = text_of(shopper.get("/cart/"))
    assert f"{world.variant.device} : We are not able to sell this phone at the moment." in shown
    assert "Unavailable. We are not able to sell this phone at the moment." in shown
    assert "Total of what can be bought $50.00" in shown
    assert "$199.00" not in shown
    assert "Buy the rest" in shown

    form = shopper.get("/checkout/")
    assert "Not bought, stays in your cart" in text_of(form)
    response = pay(shopper, **seen_in(form))
    assert response.status_code == 302
    order = Order.objects.get()
    assert order.total_amount == Decimal("50.00")
    assert [line.offer_id for line in order.lines.all()] == [other.offer.pk]
    assert provider.money() == ["authorized"]

    shown = text_of(shopper.get("/cart/"))
    assert "Unavailable" in shown, "what was left out stays, and so does the cart"
    assert "Total" not in shown
    line = CartLine.objects.get()
    assert shopper.post(f"/cart/lines/{line.pk}/remove/").status_code == 302
    assert "Your cart is empty" in text_of(shopper.get("/cart/"))


def test_what_comes_back_between_view_and_checkout_is_not_sold_unseen(shopper, world, provider: Till):
    other = make_sellable(price_amount=Decimal("50.00"))
    put_in_cart(shopper, world)
    put_in_cart(shopper, other)
    place_hold(("variant", world.variant.pk))
    seen = seen_in(shopper.get("/checkout/"))
    hold = Fact.objects.get(kind=Fact.Kind.HOLD)
    holds.release_hold(fact=hold, by=BUILDER, at=clock.now(), reason="test")
    assert "Total $249.00" in text_of(shopper.get("/cart/"))

    assert pay(shopper, **seen).status_code == 302
    assert Order.objects.get().total_amount == Decimal("50.00")
    assert [line.offer_id for line in CartLine.objects.all()] == [world.offer.pk]


@pytest.mark.parametrize(
    "forge",
    [
        lambda seen: seen | {"seen_total": "1.00"},
        lambda seen: seen | {"seen_lines": "999999"},
        lambda seen: seen | {"seen_lines": f"{seen['seen_lines']},999999"},
    ],
)
def test_another_total_or_other_lines_than_seen_are_refused(shopper, world, provider: Till, forge):
    put_in_cart(shopper, world)
    response = pay(shopper, **forge(seen_in(shopper.get("/checkout/"))))
    assert response.status_code == 409
    assert "Your cart changed" in text_of(response)
    assert Order.objects.count() == 0
    assert provider.money() == []


@pytest.mark.parametrize("sent", [{"seen_lines": "1;2"}, {"seen_total": "much"}])
def test_a_checkout_that_says_nonsense_of_what_was_seen_is_opened_again(shopper, world, sent):
    put_in_cart(shopper, world)
    response = pay(shopper, **sent)
    assert response.status_code == 400
    assert "Open the checkout again from your cart" in text_of(response)


def test_nobody_touches_the_line_of_another_cart(shopper, world):
    put_in_cart(shopper, world)
    line = CartLine.objects.get()
    for act in ("remove", "change"):
        assert Client().post(f"/cart/lines/{line.pk}/{act}/", {"quantity": 5}).status_code == 302
    line.refresh_from_db()
    assert line.quantity == 1


def test_a_new_price_is_shown_and_must_be_accepted(shopper, world):
    put_in_cart(shopper, world)
    terms = make_terms(variant=world.variant, hosts=[world.host], price_amount=Decimal("209.00"))
    offers.save_listing(vendor=world.vendor, sku=world.listing.sku, terms=terms, by=BUILDER, at=clock.now())
    shown = text_of(shopper.get("/cart/"))
    assert "Accept the new price, $209.00" in shown
    assert "Go to checkout" not in shown
    line = CartLine.objects.get()
    assert shopper.post(f"/cart/lines/{line.pk}/change/", {"quantity": 0}).status_code == 400
    shopper.post(f"/cart/lines/{line.pk}/change/", {"quantity": 1})
    shown = text_of(shopper.get("/cart/"))
    assert "Total $209.00" in shown
    assert "Go to checkout" in shown


def test_a_line_that_cannot_be_had_so_often_is_left_as_it_is(shopper, world):
    put_in_cart(shopper, world)
    Stock.objects.filter(listing=world.listing).update(on_hand=3)
    response = shopper.post(f"/cart/lines/{CartLine.objects.get().pk}/change/", {"quantity": 4})
    assert response.status_code == 409
    assert "Only 3 of this phone left" in text_of(response)


@pytest.mark.parametrize("path", ["/cart/add/", "/cart/lines/1/remove/", "/cart/lines/1/change/"])
def test_nothing_is_done_by_looking(shopper, path):
    assert shopper.get(path).status_code == 405


def test_a_form_without_its_secret_is_refused_in_the_shops_words(world):
    response = put_in_cart(Client(enforce_csrf_checks=True), world)
    assert response.status_code == 403
    assert "This form is too old" in text_of(response)


# --- checkout -----------------------------------------------------------------------------------------------


def test_a_checkout_without_a_cart_leads_to_the_cart(shopper, world):
    assert shopper.get("/checkout/")["Location"] == "/cart/"
    assert pay(shopper)["Location"] == "/cart/"


def test_buying(shopper, world, provider: Till):
    plan = PlanFactory.create(hosting=world.hosting, price_amount=Decimal("25.00"))
    put_in_cart(shopper, world, plan=plan.slug)
    response = pay(shopper)
    order = Order.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/orders/{order.public_id}/")
    # Whoever has the address sees the order, without a cookie.
    shown_to_all = Client().get(response["Location"])
    shown = text_of(shown_to_all)
    assert is_hidden_from_search(shown_to_all)
    assert f"Sold by {world.vendor.name} (simulated)" in shown
    assert f"With {plan.name} (simulated)" in shown
    assert "Total $224.00" in shown
    assert "Reserved on your card, not charged yet" in shown
    assert "Your cart is empty" in text_of(shopper.get("/cart/"))
    assert provider.money() == ["authorized"]


def test_sending_the_form_twice_makes_one_order(shopper, world, provider: Till):
    put_in_cart(shopper, world)
    cookie = shopper.cookies["cart"].value
    key = str(uuid4())
    first = pay(shopper, checkout_key=key)
    shopper.cookies["cart"] = cookie
    assert pay(shopper, checkout_key=key)["Location"] == first["Location"]
    assert Order.objects.count() == 1


def test_errors_name_the_fields_and_keep_what_was_entered(shopper, world, provider: Till):
    put_in_cart(shopper, world)
    response = pay(shopper, buyer_email="ada at example", ship_to="", card_number="4242 4242 4242 4241")
    assert response.status_code == 400
    body = response.content.decode()
    assert 'id="errors" role="alert" tabindex="-1" autofocus' in body
    for field in ("buyer_email", "ship_to", "card_number"):
        assert f'<a href="#id_{field}">' in body
        assert f'aria-describedby="id_{field}' in body or f"id_{field}_error" in body
    assert 'value="Ada Buyer"' in body
    assert 'value="ada at example"' in body
    assert "4242 4242 4242 4241" not in body, "a card number is never sent back"
    assert "name@example.com" in text_of(response)
    assert not provider.book.asked


def test_a_declined_card_can_be_followed_by_another(shopper, world, provider: Till):
    put_in_cart(shopper, world)
    response = pay(shopper, card_number="4000000000000002")
    assert response.status_code == 409
    assert "Your card was declined" in text_of(response)
    body = response.content.decode()
    assert 'value="ada@example.com"' in body
    key = re.search(r'name="checkout_key" value="([^"]+)"', body)
    assert key is not None
    assert pay(shopper, checkout_key=key[1]).status_code == 302


def test_revoked_between_view_and_checkout_is_refused_in_words(shopper, world, provider: Till):
    other = make_sellable(price_amount=Decimal("50.00"))
    put_in_cart(shopper, world)
    put_in_cart(shopper, other)
    form = shopper.get("/checkout/")
    key = re.search(r'name="checkout_key" value="([^"]+)"', form.content.decode())
    assert key is not None
    revoke_agreement(world)

    response = pay(shopper, checkout_key=key[1], **seen_in(form))
    assert response.status_code == 409
    shown = text_of(response)
    assert "Nothing was bought" in shown
    assert (
        f"{world.variant.device} (model {world.variant.model_number}, for {world.host.name}): We are not able"
        in shown
    )
    assert "Your card is not charged" in shown
    assert "You can buy the rest below, for $50.00." in shown
    assert Order.objects.count() == 0
    assert provider.money() == []

    assert pay(shopper, **seen_in(response)).status_code == 302
    assert [line.offer_id for line in Order.objects.get().lines.all()] == [other.offer.pk]


@pytest.mark.django_db(transaction=True)
def test_revoked_while_paying_is_refused_and_the_hold_on_the_card_released(shopper, world, provider: Till):
    put_in_cart(shopper, world)
    provider.book.meanwhile = lambda: revoke_agreement(world)
    response = pay(shopper)
    assert response.status_code == 409
    assert "money that was reserved on it for this attempt is released" in text_of(response)
    assert Order.objects.count() == 0
    outbox.pump()
    assert provider.money() == ["voided"]


def test_an_email_that_is_too_long_is_marked_at_its_field(shopper, world):
    put_in_cart(shopper, world)
    response = pay(shopper, buyer_email=f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.example")
    assert response.status_code == 400
    assert "take at most 254 characters" in text_of(response)


def test_a_checkout_without_its_key_is_opened_again(shopper, world):
    put_in_cart(shopper, world)
    response = pay(shopper, checkout_key="")
    assert response.status_code == 400
    assert "Open the checkout again from your cart" in text_of(response)


def test_where_nothing_can_be_bought_there_is_no_rest_and_no_total(shopper, world):
    put_in_cart(shopper, world)
    revoke_agreement(world)
    assert shopper.get("/checkout/")["Location"] == "/cart/"
    in_cart, refused = text_of(shopper.get("/cart/")), text_of(pay(shopper))
    assert "nothing in it can be bought" in refused
    for shown in (in_cart, refused):
        assert "the rest" not in shown
        assert "Total" not in shown


def test_the_test_card_is_named_only_where_payments_are_simulated(shopper, world, settings):
    settings.ALLOWED_HOSTS = ["shop.example", "127.0.0.1", "testserver"]
    put_in_cart(shopper, world)
    assert "4242 4242 4242 4242" in text_of(shopper.get("/checkout/", headers={"host": "127.0.0.1:8000"}))
    assert "4242 4242 4242 4242" not in text_of(shopper.get("/checkout/", headers={"host": "shop.example"}))


# --- orders, notices, proofs --------------------------------------------------------------------------------


@pytest.fixture
def order(world, cart, provider: Till) -> Order:
    CartLine.objects.create(
        cart=cart,
        offer=world.offer,
        price_amount=Decimal("199.00"),
        price_currency="USD",
        added_at=clock.now(),
    )
    return check_out(cart)


def order_text(shopper, order: Order) -> str:
    return text_of(shopper.get(f"/orders/{order.public_id}/"))


def test_a_held_order_says_what_happens_and_keeps_the_vendors_trouble_out(shopper, order):
    assert "Thank you, Ada Buyer" in order_text(shopper, order)
    orders.hold_order(order=order, reason="AG-7: AGREEMENT_REVOKED.", by=BUILDER, at=clock.now())

    shown = order_text(shopper, order)

    assert "On hold" in shown
    assert "we may not sell what you ordered" in shown
    assert "do not charge your card meanwhile" in shown
    assert "We will ship it, if it may still be sent, or call off" in shown
    assert "Reserved on your card, not charged yet" in shown
    assert "AG-7" not in shown
    assert "Thank you" not in shown


def test_a_held_order_whose_money_was_taken_before_says_so_everywhere(shopper, order):
    charged_at = datetime(2016, 1, 19, 12, tzinfo=UTC)
    PaymentIntent.objects.update(state=PaymentIntent.State.CAPTURED, updated_at=charged_at)
    orders.hold_order(order=order, reason="test", by=BUILDER, at=clock.now())

    shown = order_text(shopper, order)

    assert "Your card was charged on 19 January 2016; we give it back" in shown
    assert "Charged to your card" in shown
    assert "do not charge" not in shown


@pytest.mark.parametrize(
    ("state", "said", "payment"),
    [
        ("voiding", "is going back", "Being given back"),
        ("voided", "Your card was not charged.", "your card is not charged"),
        ("refunded", "Your money was given back", "Given back to your card"),
    ],
)
def test_a_refunded_order_says_where_the_money_is(shopper, order, state, said, payment):
    orders.refund_order(order=order, reason="test", by=BUILDER, at=clock.now())
    PaymentIntent.objects.update(state=state)

    shown = order_text(shopper, order)

    assert said in shown
    assert payment in shown
    assert "Thank you" not in shown


def test_no_such_order(shopper):
    assert shopper.get(f"/orders/{uuid4()}/").status_code == 404
    assert shopper.get("/orders/1/").status_code == 404


def test_only_published_notices_are_public(shopper):
    notice = Notice.objects.create(
        slug="n", title="Phones taken off sale", body="Why.\n\nWhat next.", drafted_at=clock.now()
    )
    assert "No notices" in text_of(shopper.get("/notices/"))
    assert shopper.get("/notices/n/").status_code == 404
    notices.publish_notice(notice=notice, by=BUILDER, at=clock.now())
    assert "Phones taken off sale" in text_of(shopper.get("/notices/"))
    response = shopper.get("/notices/n/")
    assert b"<p>Why.</p>" in response.content
    assert not is_hidden_from_search(response)


def test_a_proof_of_removal_says_whether_it_is_what_was_signed(shopper, world):
    outbox.pump()
    revoke_agreement(world)
    outbox.pump()
    proof = RemovalProof.objects.get()
    path = f"/proofs/{proof.public_id}/"
    response = shopper.get(path)
    shown = text_of(response)
    assert is_hidden_from_search(response)
    assert "Signature valid" in shown
    assert world.agreement.code in shown
    assert world.listing.sku in shown
    assert "The agreement was revoked" in shown
    assert "The manufacturer says that the seller has no authority" in shown
    assert f"{world.host.name} " in shown
    assert "Orders sold after the sale stopped 0" in shown
    # To the letter, beside the words.
    assert proof.statement["decided_at"] in shown
    proof.statement["late_orders"] = 1
    proof.save(update_fields=["statement"])
    assert "Signature not valid" in text_of(shopper.get(path))


# --- what the shop says of itself ---------------------------------------------------------------------------


def test_how_we_decide_names_the_policy_in_force(shopper, world):
    shown = text_of(shopper.get("/how-we-decide/"))
    assert policies.POLICY_GATE_SHUT["name"] in shown
    assert f"on record since {clock.now():%-d %B %Y}" in shown
    assert "The carrier whose network you will use has approved" in shown


def test_how_we_decide_says_what_the_policy_of_the_territory_demands(shopper, world, settings):
    shown = text_of(shopper.get("/how-we-decide/"))
    assert "regulator" not in shown
    assert "frequency bands of the model and of the network" not in shown
    strict = {"is_equipment_authorization_enforced": True, "minimum_radio": "PARTIAL_3G"}
    make_policy(name="The strict one", territory=settings.SHOP_TERRITORY, at=clock.now(), **strict)
    make_policy(name="For elsewhere", territory="CA", at=clock.now())
    make_policy(name="The lax one for all", at=clock.now())
    shown = text_of(shopper.get("/how-we-decide/"))
    assert "The strict one" in shown
    assert "no list of the regulator bars it" in shown
    assert "At least calls on 3G must." in shown


def test_how_we_decide_without_a_policy_says_that_nothing_is_sold(shopper):
    assert "No rule is in force" in text_of(shopper.get("/how-we-decide/"))


def test_an_exercise_says_so_on_every_page_with_its_date(shopper, world, settings, tmp_path: Path):
    settings.CLOCK_FILE = str(tmp_path / "clock.json")
    clock.write_clock(Path(settings.CLOCK_FILE), virtual=datetime(2016, 2, 1, 12, tzinfo=UTC), rate=1)
    for path in (
        "/",
        device_path(world),
        "/cart/",
        "/notices/",
        "/how-we-decide/",
        "/accessibility/",
        "/nowhere",
    ):
        assert "Exercise Nothing here is for sale. Its clock says 1 February 2016" in text_of(
            shopper.get(path)
        )


def test_the_live_shop_has_no_such_banner(shopper):
    assert "Exercise" not in text_of(shopper.get("/"))


def test_simulated_organizations_are_marked(shopper, world):
    assert f"Made by {world.variant.device.manufacturer.name} (simulated)" in text_of(
        shopper.get(device_path(world))
    )


def test_accessibility_statement(shopper):
    shown = text_of(shopper.get("/accessibility/"))
    assert "WCAG 2.2" in shown
    assert "desk@clearline.example" in shown


# --- when something fails -----------------------------------------------------------------------------------


def test_our_own_fault_is_said_without_what_failed(monkeypatch):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("storefront.shop.pages.list_page", fail)
    response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 500
    assert "Something failed here" in text_of(response)
    assert b"secret" not in response.content


def test_a_request_that_cannot_be_read(settings):
    response = Client(raise_request_exception=False).get("/", headers={"host": "somebody-else.example"})
    assert response.status_code == 400
    assert "This request cannot be read" in text_of(response)


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [("1199.5", "USD", "$1,199.50"), ("7", "USD", "$7.00"), ("20", "EUR", "20.00 EUR")],
)
def test_money(amount, currency, words):
    assert presenters.money(Decimal(amount), currency) == words


def test_a_brand_is_not_said_twice():
    assert str(DeviceFactory.build(brand="OnePlus", marketing_name="OnePlus 2")) == "OnePlus 2"
    assert str(DeviceFactory.build(brand="Xiaomi", marketing_name="Mi 4")) == "Xiaomi Mi 4"
