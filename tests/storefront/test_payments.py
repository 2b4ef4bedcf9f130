"""Money: reserved once, taken once or given back, and not taken while an order is held."""

import os
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import pytest
from django.db import connection, transaction

from authorization import clock, fence, outbox
from authorization.fence import FenceMisuse
from authorization.models import LedgerEntry, OutboxRow
from seeds import payment_provider
from storefront import carts, orders, payments, tasks
from storefront.models import Order, PaymentIntent, RefusedCheckout
from storefront.orders import CheckoutRefused
from storefront.payments import Authorization, PaymentRefused, ProviderConflict, ProviderUnreachable
from tests.storefront.conftest import DESK, EMPTY_CARD, GOOD_CARD, KEY, check_out

pytestmark = pytest.mark.django_db
State = PaymentIntent.State


@pytest.fixture
def filled(cart, world):
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return cart


@pytest.fixture
def order(provider, filled):
    return check_out(filled)


@pytest.fixture
def intent(cart):
    return payments.open_intent(
        checkout_key=uuid4(), cart=cart, amount=Decimal("10.00"), currency="USD", at=clock.now()
    )


def later(**delta):
    """The pump, at a later instant of the business day."""
    outbox.pump(at=lambda: clock.now() + timedelta(**delta))


def state_of(intent_id):
    return PaymentIntent.objects.get(pk=intent_id).state


# --- the way in ---------------------------------------------------------------------------------------------


def test_a_declined_card_is_said_and_nothing_is_sold(provider, filled):
    key = uuid4()
    with pytest.raises(CheckoutRefused, match="declined") as refused:
        check_out(filled, checkout_key=key, card=EMPTY_CARD)
    assert refused.value.reason_codes == ["CARD_DECLINED"]
    assert PaymentIntent.objects.get().state == State.DECLINED
    assert filled.lines.count() == 1
    assert not Order.objects.exists()
    with pytest.raises(CheckoutRefused, match="declined"):
        check_out(filled, checkout_key=key)
    assert check_out(filled, checkout_key=uuid4()).total_amount == Decimal("199.00"), "a new form, a new card"


def test_a_card_that_the_provider_does_not_know_is_refused(provider, filled):
    with pytest.raises(CheckoutRefused, match="does not accept") as refused:
        check_out(filled, card=payments.CardDetails("5555555555554444"))
    assert refused.value.reason_codes == ["CARD_INVALID"]
    assert not Order.objects.exists()


def test_a_silent_provider_leaves_an_intent_that_can_be_paid_later(provider, filled, settings):
    key = uuid4()
    settings.PAYMENT_PROVIDER_URL = f"http://127.0.0.1:{_unused_port()}"
    with pytest.raises(CheckoutRefused, match="does not answer") as refused:
        check_out(filled, checkout_key=key)
    assert refused.value.reason_codes == ["PAYMENT_UNAVAILABLE"]
    assert PaymentIntent.objects.get().state == State.CREATED
    assert RefusedCheckout.objects.get().reason_codes == ["PAYMENT_UNAVAILABLE"]
    settings.PAYMENT_PROVIDER_URL = provider.url
    assert check_out(filled, checkout_key=key).intent.state == State.AUTHORIZED


def test_a_provider_that_answers_too_late_has_reserved_money_that_is_found(
    provider, filled, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(payments, "TIMEOUT", httpx.Timeout(0.2))
    let_go = threading.Event()
    provider.book.meanwhile = lambda: let_go.wait(10)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert refused.value.reason_codes == ["PAYMENT_UNAVAILABLE"]
    let_go.set()
    assert provider.money() == ["authorized"], "reserved, though nobody heard of it"
    monkeypatch.undo()
    assert payments.void_orphans(clock.now() + timedelta(minutes=16)) == 1
    later(minutes=17)
    assert provider.money() == ["voided"]


@pytest.mark.parametrize("key", ["", "another key"])
def test_a_key_that_is_refused_sells_nothing(provider, filled, settings, key):
    settings.PAYMENT_PROVIDER_KEY = key
    with pytest.raises(CheckoutRefused, match="does not answer"):
        check_out(filled)
    assert not Order.objects.exists()
    payments._client(provider.url, key, os.getpid()).close()


def test_one_key_is_one_payment(provider, cart, intent):
    again = payments.open_intent(
        checkout_key=intent.checkout_key, cart=cart, amount=Decimal("10.00"), currency="USD", at=clock.now()
    )
    assert again == intent
    with pytest.raises(PaymentRefused, match="cart has changed"):
        payments.open_intent(
            checkout_key=intent.checkout_key,
            cart=cart,
            amount=Decimal("11.00"),
            currency="USD",
            at=clock.now(),
        )


def test_another_card_for_the_same_payment_is_refused(provider, intent):
    payments.authorize(intent=intent, card=GOOD_CARD, at=clock.now())
    with pytest.raises(PaymentRefused, match="another card"):
        payments.authorize(intent=intent, card=EMPTY_CARD, at=clock.now())
    assert state_of(intent.pk) == State.AUTHORIZED


def test_the_providers_word_counts_once(intent):
    said = Authorization(id="auth_1", status="authorized", decline_reason="")
    for minutes in (0, 1):
        at = clock.now() + timedelta(minutes=minutes)
        payments.record_authorization(intent_id=intent.pk, authorization=said, at=at)
    kept = PaymentIntent.objects.get()
    assert (kept.state, kept.provider_id) == (State.AUTHORIZED, "auth_1")
    assert kept.updated_at < clock.now()


@pytest.mark.parametrize("status", ["pending", "voided", "refunded", ""])
def test_only_reserved_money_is_sold_on(intent, status):
    for said in (status, "authorized"):
        payments.record_authorization(
            intent_id=intent.pk, authorization=Authorization("auth_1", said, ""), at=clock.now()
        )
        assert state_of(intent.pk) == (State.AUTHORIZED if said == "authorized" else State.CREATED)


@pytest.mark.parametrize(
    ("status", "code"), [("pending", "PAYMENT_UNAVAILABLE"), ("voided", "CHECKOUT_ENDED")]
)
def test_a_status_that_reserves_nothing_sells_nothing(provider, filled, status, code, monkeypatch):
    monkeypatch.setitem(payment_provider.CARDS, GOOD_CARD.digits, status)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert refused.value.reason_codes == [code]
    assert not Order.objects.exists()
    assert filled.lines.count() == 1


def test_money_reserved_after_we_gave_up_goes_back(provider, intent):
    assert payments.void_orphans(clock.now() + timedelta(minutes=16)) == 1
    later(minutes=17)
    assert state_of(intent.pk) == State.VOIDED, "the provider knew nothing of it"
    # The request was slow, not lost.
    payments.authorize(intent=intent, card=GOOD_CARD, at=clock.now())
    later()
    assert state_of(intent.pk) == State.VOIDED
    assert provider.money() == ["voided"]


def test_the_provider_is_not_called_under_the_fence(provider, intent):
    with transaction.atomic():
        fence.shared()
        with pytest.raises(FenceMisuse):
            payments.find_authorization(intent.pk)


# --- capture ------------------------------------------------------------------------------------------------


def test_money_is_taken_when_due_and_once(provider, order, settings):
    later(seconds=settings.CAPTURE_DELAY_S - 60)
    assert provider.money() == ["authorized"]
    later(seconds=settings.CAPTURE_DELAY_S + 60)
    assert provider.money() == ["captured"]
    assert state_of(order.intent_id) == State.CAPTURED
    payments.capture_payment(payload={"intent_id": str(order.intent_id)}, event_id=uuid4(), at=clock.now())
    assert LedgerEntry.objects.filter(act="payment.captured").count() == 1


def test_a_worker_that_died_after_the_provider_took_the_money_is_made_good(provider, order):
    provider.book.move(PaymentIntent.objects.get().provider_id, "capture")
    payments.capture_payment(payload={"intent_id": str(order.intent_id)}, event_id=uuid4(), at=clock.now())
    assert state_of(order.intent_id) == State.CAPTURED


def test_money_of_a_held_order_is_not_taken_until_its_release(provider, order, settings):
    orders.hold_order(order=order, reason="why", by=DESK, at=clock.now())
    later(seconds=settings.CAPTURE_DELAY_S + 60)
    assert provider.money() == ["authorized"]
    orders.release_order(order=order, by=DESK, at=clock.now() + timedelta(days=1))
    later(days=1, minutes=1)
    assert provider.money() == ["captured"]


def test_an_order_held_and_released_before_the_capture_is_due_is_captured_once_and_not_early(
    provider, order, settings
):
    orders.hold_order(order=order, reason="why", by=DESK, at=clock.now())
    orders.release_order(order=order, by=DESK, at=clock.now())
    later(seconds=settings.CAPTURE_DELAY_S - 60)
    assert provider.money() == ["authorized"]
    later(seconds=settings.CAPTURE_DELAY_S + 60)
    assert LedgerEntry.objects.filter(act="payment.captured").count() == 1


def test_a_refund_before_capture_voids_and_the_capture_is_passed_over(provider, order, settings):
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="why")
    later(seconds=settings.CAPTURE_DELAY_S + 60)
    assert provider.money() == ["voided"]
    assert state_of(order.intent_id) == State.VOIDED


def test_a_refund_after_capture_pays_back(provider, order, settings):
    later(seconds=settings.CAPTURE_DELAY_S + 60)
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="why")
    later(seconds=settings.CAPTURE_DELAY_S + 120)
    assert provider.money() == ["refunded"]
    assert state_of(order.intent_id) == State.REFUNDED


def test_a_capture_that_crosses_a_refund_ends_with_the_money_given_back(provider, order):
    """The refund commits between the worker's look at the order and its call; the provider took the money."""
    provider_id = PaymentIntent.objects.get().provider_id
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="why")
    provider.book.move(provider_id, "capture")
    later()
    assert provider.money() == ["refunded"]


def test_a_capture_that_the_provider_refuses_for_no_reason_of_ours_is_tried_again(provider, order):
    provider.book.move(PaymentIntent.objects.get().provider_id, "void")
    with pytest.raises(ProviderConflict):
        payments.capture_payment(
            payload={"intent_id": str(order.intent_id)}, event_id=uuid4(), at=clock.now()
        )
    assert state_of(order.intent_id) == State.AUTHORIZED


# --- giving back --------------------------------------------------------------------------------------------


def test_orphans_are_given_back_and_nothing_else(provider, filled, cart, settings):
    sold = check_out(filled)
    at = clock.now()
    orphan = payments.open_intent(
        checkout_key=uuid4(), cart=cart, amount=Decimal("5.00"), currency="USD", at=at
    )
    payments.authorize(intent=orphan, card=GOOD_CARD, at=at)
    never_asked = payments.open_intent(
        checkout_key=uuid4(), cart=cart, amount=Decimal("6.00"), currency="USD", at=at
    )
    assert payments.void_orphans(at + timedelta(minutes=14)) == 0
    young = payments.open_intent(
        checkout_key=uuid4(), cart=cart, amount=Decimal("7.00"), currency="USD", at=at + timedelta(minutes=10)
    )
    assert payments.void_orphans(at + timedelta(minutes=16)) == 2
    assert payments.void_orphans(at + timedelta(minutes=16)) == 0
    later(minutes=16)
    assert [state_of(x.pk) for x in (orphan, never_asked, young)] == [
        State.VOIDED,
        State.VOIDED,
        State.CREATED,
    ]
    assert state_of(sold.intent_id) == State.AUTHORIZED
    assert provider.money() == ["authorized", "voided"]


def test_an_orphan_that_was_given_up_can_no_longer_be_sold_on(provider, filled):
    """A process that slept through its own voiding must not sell on money that is no longer there."""
    provider.book.meanwhile = None
    key = uuid4()
    lines = carts.load_lines(filled)
    intent = payments.open_intent(
        checkout_key=key, cart=filled, amount=carts.total_of(lines), currency="USD", at=clock.now()
    )
    payments.authorize(intent=intent, card=GOOD_CARD, at=clock.now())
    payments.void_orphans(clock.now() + timedelta(minutes=16))
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled, checkout_key=key)
    assert refused.value.reason_codes == ["CHECKOUT_ENDED"]
    assert not Order.objects.exists()


def test_an_orphan_that_is_sold_while_the_voider_looks_is_left_alone(provider, filled):
    key = uuid4()
    intent = payments.open_intent(
        checkout_key=key, cart=filled, amount=Decimal("199.00"), currency="USD", at=clock.now()
    )
    payments.authorize(intent=intent, card=GOOD_CARD, at=clock.now())
    sold: list[Order] = []

    def sell_after_the_look(execute, sql, params, many, context):
        found = execute(sql, params, many, context)
        if "LIMIT 500" in sql and not sold:
            sold.append(check_out(filled, checkout_key=key))
        return found

    with connection.execute_wrapper(sell_after_the_look):
        assert payments.void_orphans(clock.now() + timedelta(minutes=16)) == 0
    assert [order.intent_id for order in sold] == [intent.pk]
    assert state_of(intent.pk) == State.AUTHORIZED


def test_voiding_is_tried_again_until_the_provider_answers(provider, intent, settings):
    payments.authorize(intent=intent, card=GOOD_CARD, at=clock.now())
    payments.void_orphans(clock.now() + timedelta(minutes=16))
    settings.PAYMENT_PROVIDER_URL = f"http://127.0.0.1:{_unused_port()}"
    later(minutes=16)
    assert state_of(intent.pk) == State.VOIDING
    assert provider.money() == ["authorized"]
    settings.PAYMENT_PROVIDER_URL = provider.url
    later(minutes=17)
    assert state_of(intent.pk) == State.VOIDED
    assert provider.money() == ["voided"]


def test_the_beat_finds_orphans(provider, intent):
    PaymentIntent.objects.update(created_at=clock.now() - timedelta(minutes=16))
    tasks.void_orphans()
    assert OutboxRow.objects.filter(event="payment.void_due").exclude(handler="").count() == 1


# --- the provider itself ------------------------------------------------------------------------------------


def call(provider, method, path, *, key=KEY, **request):
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    return httpx.request(method, provider.url + path, headers=headers, trust_env=False, **request)


def payment(**changes):
    fields = {
        "intent_id": str(uuid4()),
        "amount": "10.00",
        "currency": "USD",
        "card_number": "4242424242424242",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def test_the_provider_answers_the_same_payment_the_same(provider):
    asked = payment()
    first, second = (call(provider, "POST", "/authorizations", json=asked).json() for _ in range(2))
    assert first == second
    assert first["status"] == "authorized"
    assert "4242" not in str(first)
    found = call(provider, "GET", "/authorizations", params={"intent_id": asked["intent_id"]}).json()
    assert found == {"authorizations": [first]}
    changed = call(provider, "POST", "/authorizations", json=asked | {"amount": "11.00"})
    assert (changed.status_code, changed.json()["error"]["code"]) == (409, "intent_conflict")


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({"amount": "ten"}, 422, "amount"),
        ({"amount": "0"}, 422, "amount"),
        ({"amount": "NaN"}, 422, "amount"),
        ({"amount": "Infinity"}, 422, "amount"),
        ({"amount": 10.0}, 422, "strings"),
        ({"currency": "usd"}, 422, "currency"),
        ({"card_number": "12"}, 422, "card_number"),
        ({"card_number": "5555555555554444"}, 422, "card_number"),
        ({"intent_id": "7"}, 422, "intent_id"),
        ({"intent_id": None}, 422, "intent_id"),
        ({"tip": "1.00"}, 422, "fields"),
    ],
)
def test_the_provider_says_what_is_wrong(provider, changes, status, named):
    answer = call(provider, "POST", "/authorizations", json=payment(**changes))
    assert answer.status_code == status
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/authorizations", 422),
        ("POST", "/authorizations/auth_0/capture", 404),
        ("POST", "/authorizations", 400),
    ],
)
def test_the_provider_refuses_what_it_does_not_have(provider, method, path, status):
    answer = call(provider, method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("key", [None, "wrong", KEY + "x"])
def test_the_provider_wants_its_key(provider, key):
    for method, path in (
        ("GET", "/authorizations"),
        ("POST", "/authorizations"),
        ("POST", "/authorizations/x/void"),
    ):
        assert call(provider, method, path, key=key).status_code == 401
    assert call(provider, "GET", "/health", key=key).status_code == 200


def test_the_provider_does_not_read_endless_bodies(provider):
    assert call(provider, "POST", "/authorizations", content=b"x" * 20_000).status_code == 413


@pytest.mark.parametrize("damage", [b"<html>", b"[]", b"{}"])
def test_an_answer_that_makes_no_sense_is_no_answer(intent, settings, damage):
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.PAYMENT_PROVIDER_URL = f"http://127.0.0.1:{server.getsockname()[1]}"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(damage)}\r\nConnection: close\r\n\r\n".encode()
        thread = threading.Thread(target=_answer_once, args=(server, head + damage))
        thread.start()
        with pytest.raises(ProviderUnreachable):
            payments.find_authorization(intent.pk)
        thread.join()


def test_the_provider_runs_as_a_process_of_its_own():
    port = _unused_port()
    command = [sys.executable, "-m", "seeds.payment_provider", "--port", str(port), "--key", KEY]
    with subprocess.Popen(command) as process:
        try:
            assert _health(port) == {"status": "ok"}
            second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            assert second.returncode == 1
            assert "Choose another --port" in second.stderr
        finally:
            process.terminate()
        assert process.wait(timeout=10) == 0


def test_the_provider_does_not_start_without_a_key(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.delenv("PAYMENT_PROVIDER_KEY", raising=False)
    with pytest.raises(SystemExit):
        payment_provider.main(["--port", "1"])
    assert "PAYMENT_PROVIDER_KEY" in capsys.readouterr().err


def _answer_once(server, answer):
    client, _ = server.accept()
    with client:
        client.recv(65536)
        client.sendall(answer)


def _unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _health(port):
    transport = httpx.HTTPTransport(retries=8)
    with httpx.Client(transport=transport, trust_env=False) as client:
        return client.get(f"http://127.0.0.1:{port}/health").json()
