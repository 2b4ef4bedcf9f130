"""The replay's shoppers, on the real pages: the store is called in this process, no network is used."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections

from authorization import clock
from authorization.revocations import RevokeAgreement
from seeds import factories
from seeds.factories import BUILDER, World
from seeds.replay.pages import offers_something, read_forms
from seeds.replay.shoppers import Lost, Outcome, Shopper, Wish
from storefront import withdrawals
from storefront.models import CartLine, Order, RefusedCheckout

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    made = factories.make_sellable(at=clock.now() - timedelta(hours=1))
    factories.PlanFactory.create(hosting=made.hosting, slug="everyday")
    return made


@pytest.fixture
def shopper() -> Iterator[Shopper]:
    # As Django's own test client does: the end of a request must not close the test's connection.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    transport = httpx.WSGITransport(app=get_wsgi_application())
    with Shopper("https://localhost", "Shopper 1", transport=transport) as one:
        yield one
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def withdraw(world: World) -> None:
    change = RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS")
    preview = withdrawals.preview(change, at=clock.now())
    at = clock.now()
    withdrawals.confirm(
        change,
        digest=preview.impact.digest,
        requested_by="the manufacturer",
        word_received_at=at,
        note="a test",
        by=BUILDER,
        at=at,
    )


def test_a_shopper_finds_the_offer_and_its_plan(world: World, shopper: Shopper) -> None:
    form = shopper.look(world.variant.device.slug)
    assert form is not None
    assert form.fields["offer"] == str(world.offer.pk)
    assert shopper.add(form, "everyday")
    line = CartLine.objects.get()
    assert line.offer == world.offer
    assert line.plan is not None
    assert line.plan.slug == "everyday"


def test_a_plan_that_the_page_does_not_offer_is_said(world: World, shopper: Shopper) -> None:
    form = shopper.look(world.variant.device.slug)
    assert form is not None
    with pytest.raises(Lost, match="no plan 'golden'"):
        shopper.add(form, "golden")


def test_who_stands_at_the_checkout_when_the_word_comes_is_refused(world: World, shopper: Shopper) -> None:
    assert shopper.go_to_checkout(Wish(world.variant.device.slug))
    withdraw(world)
    assert shopper.pay() is Outcome.REFUSED
    assert not Order.objects.exists()
    assert RefusedCheckout.objects.exists()


def test_after_the_word_the_page_offers_nothing(world: World, shopper: Shopper) -> None:
    withdraw(world)
    assert shopper.look(world.variant.device.slug) is None
    assert shopper.buy(Wish(world.variant.device.slug)) is Outcome.NOT_OFFERED


def test_a_form_from_before_the_word_puts_nothing_into_the_cart(world: World, shopper: Shopper) -> None:
    form = shopper.look(world.variant.device.slug)
    assert form is not None
    withdraw(world)
    assert not shopper.add(form)
    assert not CartLine.objects.exists()


def test_paying_without_a_form_is_a_mistake_of_the_replay(shopper: Shopper) -> None:
    with pytest.raises(Lost, match="no checkout form"):
        shopper.pay()


def test_forms_are_read_as_a_browser_reads_them() -> None:
    html = """
    <form action="/cart/add/" method="post"><input type=hidden name=offer value="7">
      <select name="plan"><option value="">none</option><option value="p1" selected>P1</option>
      <option value="p2" disabled>P2</option></select>
      <label><input type="radio" name="colour" value="red" checked> red</label>
      <label><input type="radio" name="colour" value="blue"> blue</label>
      <textarea name="note">\n two words</textarea>
      <input name="off" value="x" disabled><button name="b" value="1">Go</button></form>
    """
    (form,) = read_forms(html)
    assert form.method == "post"
    assert form.fields == {"offer": "7", "plan": "p1", "colour": "red", "note": " two words"}
    assert form.choices == {"plan": ["", "p1"], "colour": ["red", "blue"]}
    assert offers_something(html)
    assert not offers_something("<p>Not for sale now</p>")
    assert offers_something('<script type="application/ld+json">{"@type": "Offer"}</script>')
