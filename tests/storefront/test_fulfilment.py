"""Orders of several vendors: each sees and ships its own part; what is left is held, called off or shipped alone."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, outbox
from authorization.models import LedgerEntry, OutboxRow
from authorization.revocations import PlaceHold, RevokeAgreement
from catalog.models import Stock
from seeds.factories import OrganizationFactory, make_sellable
from storefront import carts, events, orders
from storefront.models import Cart, Order, PaymentIntent, Recall, Shipment
from storefront.orders import InvalidOrderMove
from tests.api.conftest import Caller, caller_of, problem
from tests.storefront.conftest import DESK, check_out, withdraw

pytestmark = pytest.mark.django_db

UPS = {"carrier": "UPS", "tracking_number": "1Z 999"}


def buy(*offers, quantity=1, **buyer):
    cart = Cart.objects.create(created_at=clock.now())
    for offer in offers:
        carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=quantity, at=clock.now())
    return check_out(cart, **buyer)


@pytest.fixture
def other(world):
    """Another vendor's phone."""
    return make_sellable(host=world.host)


@pytest.fixture
def order(provider, world, other):
    """Two phones of each of the two vendors."""
    return buy(world.offer, other.offer, quantity=2)


def ship(order, vendor, **parcel):
    said = {"order": order, "vendor": vendor, "by": DESK, "at": clock.now(), **UPS}
    return orders.ship_part(**said | parcel)


def read(api: Caller, path: str):
    response = api.get(path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def post(api: Caller, order, query="", **parcel):
    return api.post(f"/v1/orders/{order.public_id}/ship{query}", {**UPS, **parcel})


def state_of(order):
    return str(Order.objects.get(pk=order.pk).state)


def told(vendor):
    """Types and states of the vendor's events of orders, in their order."""
    outbox.pump()
    rows = events.read_events(vendor, after=0, limit=100, at=clock.now()).events
    shown = [events.present_event(row) for row in rows if row.event.startswith("order.")]
    assert all("order_pk" not in event["data"] for event in shown)
    return [(event["type"], event["data"]["state"]) for event in shown]


# --- by API -----------------------------------------------------------------------------------------------------


def test_each_vendor_sees_and_ships_its_own_part(order, world, other):
    first, second = caller_of(world.vendor), caller_of(other.vendor)
    [seen] = read(first, "/v1/orders")["data"]
    assert seen == read(first, f"/v1/orders/{order.public_id}")
    assert [(line["sku"], line["quantity"]) for line in seen["lines"]] == [(world.listing.sku, 2)]
    assert (seen["state"], seen["shipment"]) == ("placed", None)
    assert seen["ship_to"] == {"name": order.buyer_name, "address": order.ship_to}
    assert order.buyer_email not in json.dumps(seen)

    shipped = json.loads(post(first, order).content)

    assert (shipped["state"], shipped["ship_to"]) == ("shipped", None)
    assert shipped["shipment"]["tracking_number"] == "1Z 999"
    assert state_of(order) == "placed"
    assert read(second, f"/v1/orders/{order.public_id}")["state"] == "placed"
    outbox.pump()
    assert "on its way in part" in mail.outbox[-1].subject
    assert "with UPS, 1Z 999." in mail.outbox[-1].body

    assert post(second, order, carrier="Post", tracking_number="77").status_code == 200
    assert state_of(order) == "shipped"
    outbox.pump()
    assert "with Post, 77." in mail.outbox[-1].body
    for vendor in (world.vendor, other.vendor):
        assert told(vendor) == [("order.placed", "placed"), ("order.shipped", "shipped")]
    acts = LedgerEntry.objects.filter(subject_kind="order", subject_id=str(order.pk)).order_by("id")
    assert list(acts.values_list("act", flat=True)) == [
        "order.placed", "order.ship_part", "order.ship_part", "order.ship",
    ]  # fmt: skip


def test_an_order_of_others_is_not_there(order, world):
    api = caller_of(OrganizationFactory.create())
    assert read(api, "/v1/orders")["data"] == []
    missing = problem(api.get(f"/v1/orders/{uuid4()}"), 404, "not_found")
    for response in (api.get(f"/v1/orders/{order.public_id}"), post(api, order)):
        assert problem(response, 404, "not_found")["detail"] == missing["detail"]
    assert not Shipment.objects.exists()
    problem(Caller().get("/v1/orders"), 401, "unauthenticated")


def test_shipping_is_said_once(order, world):
    api = caller_of(world.vendor)
    assert post(api, order).content == post(api, order).content
    assert "1Z 999" in problem(post(api, order, tracking_number="other"), 409, "invalid_transition")["detail"]
    assert Shipment.objects.get().tracking_number == "1Z 999"
    assert LedgerEntry.objects.filter(act="order.ship_part").count() == 1


def test_a_rehearsal_checks_all_and_changes_nothing(order, world):
    api = caller_of(world.vendor)
    body = json.loads(post(api, order, "?validate_only=true").content)
    assert (body["validate_only"], body["state"]) == (True, "shipped")
    assert not Shipment.objects.exists()
    orders.hold_order(order=order, reason="why", by=DESK, at=clock.now())
    problem(post(api, order, "?validate_only=true"), 409, "invalid_transition")


def test_a_parcel_without_its_words_is_refused(order, world):
    api = caller_of(world.vendor)
    for wrong in (
        {"carrier": ""},
        {"tracking_number": "http://evil.example"},
        {"carrier": "www.evil.example"},
        {"carrier": "a" * 65},
        {"carrier": "a\nb"},
        {"weight": 1},
    ):
        problem(post(api, order, **wrong), 400, "invalid_request")
    assert not Shipment.objects.exists()


def test_what_is_held_or_called_off_shows_no_address_and_does_not_ship(order, world, other):
    api = caller_of(world.vendor)
    orders.hold_order(order=order, reason="A dispute between others.", by=DESK, at=clock.now())
    held = read(api, f"/v1/orders/{order.public_id}")
    assert (held["state"], held["ship_to"]) == ("held", None)
    assert held["decide_by"]
    assert "dispute" not in json.dumps(held)
    problem(post(api, order), 409, "invalid_transition")

    orders.release_order(order=order, by=DESK, at=clock.now())
    assert read(api, f"/v1/orders/{order.public_id}")["ship_to"]

    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="why")
    assert read(api, f"/v1/orders/{order.public_id}")["state"] == "refunded"
    problem(post(api, order), 409, "invalid_transition")
    assert not Shipment.objects.exists()
    assert [event for event, _ in told(other.vendor)] == [
        "order.placed", "order.held", "order.released", "order.refunded",
    ]  # fmt: skip


def test_pages_states_and_what_changed(provider, world, other):
    api = caller_of(world.vendor)
    first, second, third = (buy(world.offer, other.offer) for _ in range(3))
    buy(other.offer)
    outbox.pump()
    page = read(api, "/v1/orders?limit=2")
    assert [row["id"] for row in page["data"]] == [str(first.public_id), str(second.public_id)]
    rest = read(api, f"/v1/orders?limit=2&cursor={page['next_cursor']}")
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == ([str(third.public_id)], False)

    def changed(since):
        found = read(api, f"/v1/orders?updated_since={since}")
        return {row["id"] for row in found["data"]}

    synced = page["synced_to"]
    assert changed(synced) == set()
    ship(second, other.vendor)
    orders.hold_order(order=third, reason="why", by=DESK, at=clock.now())
    outbox.pump()
    # What another vendor did in an order of both is nothing that this one is told.
    assert changed(synced) == {str(third.public_id)}
    since = first.sold_at.isoformat().replace("+00:00", "Z")
    assert changed(since) == {str(order.public_id) for order in (first, second, third)}
    for state, count in (("placed", 2), ("held", 1), ("shipped", 0), ("refunded", 0)):
        assert len(read(api, f"/v1/orders?state={state}")["data"]) == count
    assert len(read(caller_of(other.vendor), "/v1/orders?state=shipped")["data"]) == 1
    problem(api.get("/v1/orders?updated_since=999999"), 400, "invalid_request")
    problem(api.get("/v1/orders?updated_since=2020-01-01T00:00:00Z"), 410, "events_expired")
    problem(api.get("/v1/orders?updated_since=yesterday"), 400, "invalid_request")

    with CaptureQueriesContext(connection) as one:
        read(api, "/v1/orders?limit=1")
    with CaptureQueriesContext(connection) as all_of_them:
        read(api, "/v1/orders?limit=100")
    assert len(all_of_them) == len(one)


# --- what becomes of the rest -----------------------------------------------------------------------------------


def test_a_withdrawal_does_not_hold_what_has_left(order, world, other):
    ship(order, world.vendor)
    withdraw(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    outbox.pump()
    assert state_of(order) == "placed"

    withdraw(RevokeAgreement(other.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    outbox.pump()
    assert state_of(order) == "held"
    # To the one it has shipped; the other is told.
    assert told(world.vendor)[-1] == ("order.shipped", "shipped")
    assert told(other.vendor)[-1] == ("order.held", "held")
    with pytest.raises(InvalidOrderMove):
        ship(order, other.vendor)
    with pytest.raises(InvalidOrderMove, match=other.listing.sku):
        orders.release_order(order=order, by=DESK, at=clock.now())


def test_calling_off_the_rest_leaves_what_was_shipped_and_takes_its_money(order, world, other):
    before = {stock.listing_id: stock.on_hand for stock in Stock.objects.all()}
    ship(order, world.vendor)
    orders.hold_order(order=order, reason="why", by=DESK, at=clock.now())

    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="its maker says so")

    assert state_of(order) == "shipped"
    intent = PaymentIntent.objects.get(pk=order.intent_id)
    assert (intent.state, intent.refunded_amount) == (PaymentIntent.State.AUTHORIZED, Decimal("398.00"))
    after = {stock.listing_id: stock.on_hand for stock in Stock.objects.all()}
    assert after[world.listing.pk] == before[world.listing.pk]
    assert after[other.listing.pk] == before[other.listing.pk] + 2
    assert told(world.vendor)[-1] == ("order.shipped", "shipped")
    assert told(other.vendor)[-1] == ("order.refunded", "refunded")
    assert "left us already" in mail.outbox[-1].body
    due = OutboxRow.objects.filter(event="payment.capture_due").exclude(handler="").latest("id")
    outbox.pump(at=lambda: due.due_at)
    intent.refresh_from_db()
    assert intent.state == PaymentIntent.State.CAPTURED


def test_a_part_of_a_part(order, world, other):
    """One unit called off of each vendor in turn: who has some left is told so, who has none ships nothing."""
    orders.hold_order(order=order, reason="why", by=DESK, at=clock.now())
    mine, its = order.lines.get(vendor=world.vendor), order.lines.get(vendor=other.vendor)
    said: dict[str, Any] = {"by": DESK, "at": clock.now(), "reason": "why"}
    orders.refund_lines(order=order, lines={mine.pk: 1, its.pk: 2}, **said)
    assert told(world.vendor)[-2:] == [("order.partly_refunded", "held"), ("order.released", "placed")]
    assert told(other.vendor)[-1] == ("order.refunded", "refunded")
    with pytest.raises(InvalidOrderMove, match="called off"):
        ship(order, other.vendor)
    ship(order, world.vendor)
    assert state_of(order) == "shipped"


def test_the_desk_ships_what_is_left(order, world, other):
    ship(order, world.vendor)
    orders.ship_order(order=order, by=DESK, at=clock.now())
    assert [(sent.vendor, sent.carrier) for sent in Shipment.objects.order_by("id")] == [
        (world.vendor, "UPS"),
        (other.vendor, ""),
    ]
    with pytest.raises(InvalidOrderMove, match="desk has shipped"):
        ship(order, other.vendor)
    assert [event for event, _ in told(other.vendor)] == ["order.placed", "order.shipped"]


def test_a_recalled_phone_is_not_shipped_and_one_that_was_is_warned_of(order, world, other, client):
    ship(order, world.vendor)
    targets = tuple(("variant", str(each.variant.pk)) for each in (world, other))
    withdraw(PlaceHold("RECALL-1", "CPSC", "SAFETY", "batteries", targets))
    outbox.pump()
    assert Recall.objects.count() == 2
    assert any("please stop using the phone" in sent.subject for sent in mail.outbox)
    with pytest.raises(InvalidOrderMove, match="on hold"):
        ship(order, other.vendor)
    # Before the hold has come to the order, the recall stops it already.
    Order.objects.filter(pk=order.pk).update(state=Order.State.PLACED)
    with pytest.raises(InvalidOrderMove, match="recalled"):
        ship(order, other.vendor)
    page = client.get(f"/orders/{order.public_id}/").content.decode()
    assert "Switch the phone off" in page
    assert "Tracking number: 1Z 999" in page


# --- the stock that an order moves ------------------------------------------------------------------------------


def test_a_copy_of_the_listings_follows_what_orders_do_to_the_stock(provider, world, other):
    vendors = {world.vendor: world.listing, other.vendor: other.listing}
    since: dict[Any, str] = {}

    def follow():
        """What each vendor is told to read again, and the units that it then reads."""
        outbox.stamp_positions()
        seen = []
        for vendor, listing in vendors.items():
            page = read(caller_of(vendor), f"/v1/listings?updated_since={since.get(vendor, 0)}")
            since[vendor] = page["synced_to"]
            seen.append([row["on_hand"] for row in page["data"] if row["sku"] == listing.sku])
        return seen

    outbox.pump()
    follow()
    had = [Stock.objects.get(listing=listing).on_hand for listing in vendors.values()]
    order = buy(world.offer, other.offer, quantity=2)
    assert follow() == [[units - 2] for units in had], "sold"
    orders.hold_order(order=order, reason="Asked.", by=DESK, at=clock.now())
    assert follow() == [[], []], "held: no unit moved"
    line = order.lines.get(vendor=world.vendor)
    orders.refund_lines(order=order, lines={line.pk: 1}, by=DESK, at=clock.now(), reason="One less.")
    assert follow() == [[had[0] - 1], []], "its own, and of no other vendor"
    orders.refund_order(order=Order.objects.get(), by=DESK, at=clock.now(), reason="All of it.")
    assert follow() == [[units] for units in had]
