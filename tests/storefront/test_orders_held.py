"""A held order is released only while nobody has taken the authority for its goods away."""

from datetime import timedelta

import pytest

from authorization import clock, decisions, fence, outbox, revocations
from authorization.models import AgreementVersion, Fact, LedgerEntry
from seeds.factories import make_agreement
from storefront import carts, orders
from storefront.models import Order
from storefront.orders import InvalidOrderMove
from tests.authorization.tampering import tampering
from tests.storefront.conftest import DESK, check_out, place_hold, revoke_agreement, revoke_approval

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(provider, cart, world):
    """An order that the desk holds for a reason of its own."""
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    order = check_out(cart)
    return orders.hold_order(order=order, reason="The buyer rang.", by=DESK, at=clock.now())


def release(order, *, at=None):
    return orders.release_order(order=order, by=DESK, at=at or clock.now(), reason="settled")


def lift(code):
    revocations.release_hold(fact=Fact.objects.get(code=code), by=DESK, at=clock.now(), reason="over")


@pytest.mark.parametrize(
    ("withdraw", "reason_code"),
    [
        (revoke_agreement, "AGREEMENT_REVOKED"),
        (revoke_approval, "CARRIER_APPROVAL_REVOKED"),
        (lambda world: place_hold(("fact", world.agreement.pk)), "AGREEMENT_SUSPENDED"),
        (lambda world: place_hold(("fact", world.approval.pk)), "CARRIER_APPROVAL_SUSPENDED"),
        (lambda world: place_hold(("variant", world.variant.pk)), "ON_HOLD"),
        (lambda world: place_hold(("vendor", world.vendor.pk)), "VENDOR_SUSPENDED"),
    ],
)
def test_no_release_into_a_withdrawal(held, world, withdraw, reason_code):
    withdraw(world)
    outbox.pump()

    with pytest.raises(InvalidOrderMove, match=f"cannot be released.*{world.listing.sku}: {reason_code} "):
        release(held)

    held.refresh_from_db()
    assert (held.state, held.held_reason) == (Order.State.HELD, "The buyer rang.")
    assert not LedgerEntry.objects.filter(act="order.release").exists()


def test_no_release_while_a_second_withdrawal_stands(held, world):
    place_hold(("variant", world.variant.pk), code="FIRST")
    revoke_agreement(world)
    outbox.pump()
    lift("FIRST")

    with pytest.raises(InvalidOrderMove, match="AGREEMENT_REVOKED"):
        release(held)


def test_a_release_from_a_host_whose_clock_is_behind_sees_the_withdrawal(held, world):
    behind = clock.now()
    revoke_agreement(world)

    with pytest.raises(InvalidOrderMove, match="AGREEMENT_REVOKED"):
        release(held, at=behind)


def test_an_order_is_released_when_its_goods_are_authorized_again(held, world):
    revoke_agreement(world)
    place_hold(("host", world.host.pk), code="SECOND")
    lift("SECOND")
    make_agreement(
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        models=[world.variant],
        at=clock.now(),
        code="AG-2nd",
    )

    assert release(held).state == Order.State.PLACED


def test_paper_that_has_ended_since_a_lawful_sale_does_not_stop_its_release(held, world):
    with tampering():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=400))
    at = clock.now() + timedelta(days=500)
    assert decisions.decide_offers([world.offer], at=at)[0].reason_codes == ["AGREEMENT_EXPIRED"]
    assert release(held, at=at).state == Order.State.PLACED


def test_what_is_not_held_is_refused_as_such_whatever_was_withdrawn(held, world):
    orders.refund_order(order=held, by=DESK, at=clock.now(), reason="the buyer asked")
    revoke_agreement(world)

    with pytest.raises(InvalidOrderMove, match="is refunded: it cannot become placed"):
        release(held)


def test_no_withdrawal_comes_between_the_look_and_the_release(held, monkeypatch):
    seen: list[bool] = []
    real = orders._refuse_withdrawn

    def look(*args, **kwargs):
        seen.append(fence.is_held())
        real(*args, **kwargs)

    monkeypatch.setattr(orders, "_refuse_withdrawn", look)
    release(held)
    assert seen == [True]
