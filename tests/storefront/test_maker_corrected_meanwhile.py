"""Somebody corrects who makes a device while an answer about it is on its way: the answer is about the old maker."""

from datetime import timedelta

import pytest

from authorization import clock, decision_setting, groundwork, reconciler
from catalog.models import Device, OfferState, Organization
from seeds.factories import BUILDER, OrganizationFactory, make_sellable
from storefront import carts
from storefront.models import Order
from storefront.orders import CheckoutRefused
from tests.storefront.conftest import check_out

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def corrected(monkeypatch):
    """The correction commits just before the next decision reads the revision, after it has read its rows."""

    def arm(world):
        other = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
        read_setting, waiting = decision_setting.read_setting, [True]

        def late(**asked):
            if waiting:
                waiting.clear()
                device = Device.objects.get(pk=world.variant.device_id)
                device.manufacturer = other
                with groundwork.recording(by=BUILDER, at=clock.now(), reason="it is theirs") as recorder:
                    recorder.change(device, ["manufacturer"], is_ground=True)
            return read_setting(**asked)

        monkeypatch.setattr(decision_setting, "read_setting", late)

    return arm


def test_nothing_is_sold_on_an_answer_about_the_old_maker(provider, cart, world, corrected):
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    corrected(world)
    with pytest.raises(CheckoutRefused):
        check_out(cart)
    assert not Order.objects.exists()


def test_nothing_stays_live_on_an_answer_about_the_old_maker(corrected):
    world = make_sellable()
    corrected(world)
    reconciler.reconcile(at=clock.now() + timedelta(minutes=2))
    world.offer.refresh_from_db()
    assert world.offer.state == OfferState.SUSPENDED
