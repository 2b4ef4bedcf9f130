"""Buyers against revocations: no order is late (I1). Each guard taken out makes the same race fail.

Lateness is proved by the database's own snapshots (storefront.audit), never by what a sale says of itself. A control
without the guard runs first, until it sells late; then the guarded shop runs ten times as many rounds.
"""

import random
import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import connection

from authorization import clock, fence, revocations
from authorization.actors import Actor
from authorization.revocations import RevokeAgreement
from seeds.factories import World, make_sellable
from storefront import audit, carts, orders, sales
from storefront.models import Cart, Order
from storefront.orders import CheckoutRefused
from storefront.payments import CardDetails

BUYERS = 4
DESK, SHOPPER = Actor("user", "desk"), Actor("shopper", "racer")


def buy(world: World) -> bool:
    cart = Cart.objects.create(created_at=clock.now())
    try:
        carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
        orders.check_out(
            cart=cart, checkout_key=uuid4(), card=CardDetails("4242424242424242"), buyer_name="Ada",
            buyer_email="ada@example.com", ship_to="1 Main Street", by=SHOPPER, at=clock.now(),
        )  # fmt: skip
    except (CheckoutRefused, carts.CartRefused):
        return False
    return True


def revoke(world: World) -> None:
    change = RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS")
    at = clock.now()
    digest = revocations.preview(change, at=at).digest
    revocations.execute(
        change, digest=digest, requested_by="maker", word_received_at=at, note="race", by=DESK, at=at
    )


def run_round(seed: int) -> int:
    """Buyers buy until they are refused; somewhere in between the authority goes. Returns how many were sold."""
    world = make_sellable(on_hand=10_000)
    revoke_after = random.Random(seed).randint(1, BUYERS * 3)
    sold, failures, enough = [], [], threading.Event()

    def shop() -> None:
        try:
            while buy(world):
                sold.append(1)
                if len(sold) >= revoke_after:
                    enough.set()
        except Exception as error:
            failures.append(error)
        finally:
            enough.set()
            connection.close()

    threads = [threading.Thread(target=shop) for _ in range(BUYERS)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    revoke(world)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures, failures
    return len(sold)


def rounds_until_late(limit: int) -> int:
    for number in range(1, limit + 1):
        run_round(number)
        if audit.late_orders():
            return number
    raise AssertionError(f"The control sold nothing late in {limit} rounds: this race proves nothing.")


def no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "_lock_postgresql", lambda mode: None)


def counter_read_before_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared() -> int:
        revision = fence.current_revision()
        fence._take("shared")
        return revision

    monkeypatch.setattr(fence, "shared", shared)


def trust_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shop does that decides when the shopper opens the checkout, or keeps allows in a cache."""
    monkeypatch.setattr(sales, "_current_answers", lambda lines, answers, **_: list(answers))


@pytest.mark.timeout(300)
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("take_out", [trust_the_first_answer, no_lock, counter_read_before_the_lock])
def test_no_late_order(take_out: Callable[[pytest.MonkeyPatch], None]) -> None:
    if connection.vendor == "sqlite" and take_out is not trust_the_first_answer:
        pytest.skip("SQLite's lock is the transaction itself; it cannot be taken out alone")
    with pytest.MonkeyPatch.context() as patch:
        take_out(patch)
        needed = rounds_until_late(limit=40)
    last_of_control = Order.objects.order_by("-pk").values_list("pk", flat=True)[0]
    for number in range(min(needed * 10, 60)):
        assert run_round(1000 + number) > 0
    assert [late for late in audit.late_orders() if late.order_id > last_of_control] == []
