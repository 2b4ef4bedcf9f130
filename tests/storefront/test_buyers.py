"""Buyers are told what becomes of their orders, once per event."""

import pytest
from django.core import mail

from authorization import clock, outbox
from authorization.models import OutboxRow
from storefront import carts, orders
from storefront.models import SentMessage
from tests.storefront.conftest import DESK, check_out, revoke_agreement

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(world, cart, provider):
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return check_out(cart)


def test_a_withdrawal_holds_the_order_and_tells_its_buyer_without_the_vendors_trouble(order, world):
    revoke_agreement(world)
    outbox.pump()
    (message,) = SentMessage.objects.filter(kind="order.held")
    assert message.address == order.buyer_email
    assert str(order.public_id) in message.body
    assert world.vendor.name not in message.body
    assert "agreement" not in message.body.lower()
    assert [sent.to for sent in mail.outbox if "hold" in sent.subject] == [[order.buyer_email]]


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda order, at: orders.ship_order(order=order, by=DESK, at=at), "order.shipped"),
        (lambda order, at: orders.refund_order(order=order, by=DESK, at=at, reason="r"), "order.refunded"),
        (lambda order, at: orders.hold_order(order=order, by=DESK, at=at, reason="r"), "order.held"),
    ],
)
def test_each_act_of_the_desk_tells_the_buyer(order, act, kind):
    act(order, clock.now())
    outbox.pump()
    assert SentMessage.objects.get(kind=kind).recipient == order.buyer_name


def test_an_event_that_is_delivered_twice_is_told_once(order):
    orders.hold_order(order=order, by=DESK, at=clock.now(), reason="r")
    outbox.pump()
    OutboxRow.objects.filter(event="order.held").exclude(handler="").update(done_at=None, claimed_until=None)
    outbox.pump()
    assert len([sent for sent in mail.outbox if "hold" in sent.subject]) == 1
