"""What can be bought of a cart is bought, at the total that was seen; what cannot stays in it."""

from decimal import Decimal
from typing import Any

import pytest

from authorization import clock
from catalog.models import ListingHost
from seeds.factories import World, make_sellable
from storefront import carts
from storefront.models import Cart, CartLine, Order
from storefront.orders import CheckoutRefused
from tests.storefront.conftest import Till, check_out, revoke_agreement

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stays() -> World:
    return make_sellable(price_amount=Decimal("50.00"))


@pytest.fixture
def both(cart: Cart, world: World, stays: World) -> Cart:
    for each in (world, stays):
        carts.add_to_cart(cart=cart, offer=each.offer, plan=None, quantity=1, at=clock.now())
    return cart


def seen(cart: Cart) -> dict[str, Any]:
    view = carts.view_cart(cart, at=clock.now())
    return {"line_ids": [line.pk for line in view.available], "total": view.total_amount}


def sold(order: Order) -> list[int]:
    return [line.offer_id for line in order.lines.all()]


def left(cart: Cart) -> list[int]:
    return list(cart.lines.order_by("id").values_list("offer_id", flat=True))


def test_the_rest_is_bought_and_what_fell_stays(both, world, stays, provider: Till):
    revoke_agreement(world)
    order = check_out(both, **seen(both))
    assert sold(order) == [stays.offer.pk]
    assert order.total_amount == Decimal("50.00")
    assert left(both) == [world.offer.pk]
    assert provider.money() == ["authorized"]


def test_a_line_that_cannot_be_bought_is_refused_though_it_is_asked_for(both, world, provider: Till):
    everything = seen(both)
    revoke_agreement(world)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(both, **everything)
    assert refused.value.reason_codes == ["AGREEMENT_REVOKED"]
    assert not Order.objects.exists()
    assert provider.money() == []


def test_what_falls_while_paying_is_neither_sold_nor_silently_left_out(both, world, provider: Till):
    provider.book.meanwhile = lambda: revoke_agreement(world)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(both, **seen(both))
    assert refused.value.reason_codes == ["AGREEMENT_REVOKED"]
    assert not Order.objects.exists(), "the total of the rest is not what was seen"
    assert len(left(both)) == 2


def test_what_happens_meanwhile_to_lines_that_are_not_bought_is_nothing_to_the_sale(
    both, world, stays, provider: Till
):
    chosen = seen(both) | {"line_ids": [both.lines.get(offer=stays.offer).pk], "total": Decimal("50.00")}
    other = make_sellable()

    def meanwhile() -> None:
        CartLine.objects.filter(offer=world.offer).delete()
        carts.add_to_cart(cart=both, offer=other.offer, plan=None, quantity=1, at=clock.now())

    provider.book.meanwhile = meanwhile
    assert sold(check_out(both, **chosen)) == [stays.offer.pk]
    assert left(both) == [other.offer.pk]


@pytest.mark.parametrize("change", [{"quantity": 2}, {"price_amount": Decimal("40.00")}])
def test_a_line_that_changes_while_paying_is_not_sold_at_the_old_total(both, stays, provider: Till, change):
    provider.book.meanwhile = lambda: CartLine.objects.filter(offer=stays.offer).update(**change)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(both, **seen(both))
    assert refused.value.reason_codes == ["CART_CHANGED"]
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    "said",
    [
        {"line_ids": []},
        {"line_ids": [0]},
        {"line_ids": [], "total": None},
        {"total": Decimal("249.01")},
        {"total": Decimal("0")},
    ],
)
def test_what_was_not_seen_so_is_refused_before_any_money_is_asked_for(both, provider: Till, said):
    with pytest.raises(CheckoutRefused) as refused:
        check_out(both, **seen(both) | said)
    assert refused.value.reason_codes == ["CART_CHANGED"]
    assert provider.book.asked == []


def test_lines_of_another_cart_cannot_be_bought(both, provider: Till):
    stranger = Cart.objects.create(created_at=clock.now())
    extra = make_sellable(price_amount=Decimal("10.00"))
    carts.add_to_cart(cart=stranger, offer=extra.offer, plan=None, quantity=1, at=clock.now())
    with pytest.raises(CheckoutRefused) as refused:
        check_out(stranger, **seen(both))
    assert refused.value.reason_codes == ["CART_CHANGED"]
    assert ListingHost.objects.count() == 3
