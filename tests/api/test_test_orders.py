"""Orders of test mode: bought by the shop's own checkout, shipped, paid for with nobody's money."""

import json
from datetime import timedelta

import pytest

from authorization import clock
from seeds.factories import BUILDER
from storefront import test_mode, test_workers
from storefront.models import Order, PaymentIntent, TestStore
from tests.api.conftest import Caller, SmallWorld, problem
from tests.api.test_test_mode import SKU, body, no_bells, test_caller_of  # noqa: F401  a fixture

pytestmark = pytest.mark.django_db

HERE = {"sku": "T-1", "host": "always-approved"}


@pytest.fixture
def tester(world: SmallWorld, settings) -> Caller:
    # Whoever asked a provider would find none.
    settings.PAYMENT_PROVIDER_URL = "http://127.0.0.1:1"
    return test_caller_of(world.vendor)


def work() -> TestStore:
    """As the workers do: until the clock has arrived."""
    for _ in range(20):
        store = TestStore.objects.get()
        test_workers.visit(store.pk)
        store.refresh_from_db()
        if store.advancing_to is None:
            return store
    raise AssertionError("The clock does not arrive.")


def test_from_a_sale_to_its_shipment(tester: Caller, api: Caller) -> None:
    tester.put(SKU, body("AA-ONE-64"))
    # Stored, and not on sale yet.
    problem(tester.post("/v1/test-orders", HERE), 409, "invalid_transition")
    assert tester.post(f"{SKU}/publish").status_code == 200
    placed = tester.post("/v1/test-orders", {**HERE, "quantity": 2})
    assert placed.status_code == 201, placed.content
    order = json.loads(placed.content)
    assert (order["state"], order["lines"][0]["quantity"]) == ("placed", 2)
    assert order["ship_to"]["name"] == "Test Buyer"
    shipped = tester.post(f"{placed['Location']}/ship", {"carrier": "UPS", "tracking_number": "1Z"})
    assert json.loads(shipped.content)["state"] == "shipped"
    # Its money falls due an hour after the sale, and nobody is asked for it.
    at = clock.now()
    test_mode.advance_clock(store=TestStore.objects.get(), to=at + timedelta(hours=2), by=BUILDER, at=at)
    with test_mode.inside(work()):
        assert Order.objects.get().state == Order.State.SHIPPED
        assert PaymentIntent.objects.get().state == PaymentIntent.State.CAPTURED
    assert not Order.objects.exists()
    problem(api.post("/v1/test-orders", HERE), 409, "test_mode_only")


def test_what_is_not_there_is_not_bought(tester: Caller) -> None:
    problem(tester.post("/v1/test-orders", HERE), 404, "not_found")
    tester.put(SKU, body("AA-ONE-64"))
    tester.post(f"{SKU}/publish")
    problem(tester.post("/v1/test-orders", {**HERE, "host": "never-approved"}), 409, "invalid_transition")
    # More than there are.
    problem(tester.post("/v1/test-orders", {**HERE, "quantity": 10}), 409, "invalid_transition")
