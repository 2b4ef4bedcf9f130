"""What the tests of the store share: a small world, a cart, and a payment provider that really listens."""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from authorization import clock, revocations
from authorization.actors import Actor
from seeds.factories import World, make_sellable
from seeds.payment_provider import Authorization, Book, Provider
from storefront import orders, payments
from storefront.models import Cart, Order
from storefront.payments import CardDetails

SHOPPER = Actor("shopper", "test")
DESK = Actor("user", "desk")
GOOD_CARD = CardDetails("4242 4242 4242 4242")
EMPTY_CARD = CardDetails("4000000000000002")
KEY = "only-for-tests"


class TalkativeBook(Book):
    """The provider's book, which lets a test do something while a shopper's money is being reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None
        self.asked: list[str] = []

    def authorize(self, **payment: str) -> Authorization:
        made = super().authorize(**payment)
        self.asked.append(payment["intent_id"])
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            try:
                act()
            finally:
                # This is the server's own thread, with its own connection.
                connection.close()
        return made


class Till(Provider):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), key=KEY)
        self.book: TalkativeBook = TalkativeBook()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def money(self) -> list[str]:
        """What became of each authorization."""
        return sorted(authorization.status for authorization in self.book._by_id.values())


@pytest.fixture(autouse=True)
def patient_fence(settings: Any) -> None:
    """A test is one long transaction: on a loaded machine PostgreSQL would end it between two statements."""
    settings.FENCE_TIMEOUT_MS = 60_000


@pytest.fixture(scope="session")
def provider_process() -> Iterator[Till]:
    """One server for all tests: the shop keeps its connections to it open."""
    with Till() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        payments._client(server.url, KEY, os.getpid()).close()
        payments._client.cache_clear()
        server.shutdown()
        thread.join()


@pytest.fixture
def provider(provider_process: Till, settings: Any) -> Till:
    provider_process.book = TalkativeBook()
    settings.PAYMENT_PROVIDER_URL = provider_process.url
    settings.PAYMENT_PROVIDER_KEY = KEY
    return provider_process


@pytest.fixture
def world() -> World:
    return make_sellable()


@pytest.fixture
def cart() -> Cart:
    return Cart.objects.create(created_at=clock.now())


def check_out(cart: Cart, **changes: Any) -> Order:
    wanted: dict[str, Any] = {
        "cart": cart,
        "checkout_key": uuid4(),
        "card": GOOD_CARD,
        "buyer_name": "Ada Buyer",
        "buyer_email": "ada@example.com",
        "ship_to": "1 Main Street, Springfield",
        "by": SHOPPER,
        "at": clock.now(),
    }
    return orders.check_out(**(wanted | changes))


def withdraw(change: revocations.Change, *, at: datetime | None = None) -> None:
    """Take authority away, as the desk does."""
    at = at or clock.now()
    seen = revocations.preview(change, at=at)
    revocations.execute(
        change,
        digest=seen.digest,
        requested_by="the manufacturer",
        word_received_at=at - timedelta(minutes=1),
        note="test",
        by=DESK,
        at=at,
    )


def revoke_agreement(world: World) -> None:
    withdraw(revocations.RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))


def revoke_approval(world: World) -> None:
    withdraw(revocations.RevokeApproval(world.approval.pk, "CARRIER_TESTS_PENDING"))


def place_hold(*targets: tuple[str, object], code: str = "HOLD-1") -> None:
    withdraw(
        revocations.PlaceHold(
            code=code,
            placed_by="the shop",
            reason_code="SHOP_REVIEW",
            note="test",
            targets=tuple((dimension, str(value)) for dimension, value in targets),
        )
    )
