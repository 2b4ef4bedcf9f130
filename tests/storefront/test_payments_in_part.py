"""Money given back in part: in the end the shop keeps exactly what it sold, whatever died or crossed on the way."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import pytest
from django.db import connection
from django.utils.module_loading import import_string

from authorization import clock, outbox
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import Stock
from seeds.payment_provider import Authorization
from storefront import carts, orders, payments
from storefront.models import Cart, Order, PaymentIntent
from storefront.payments import ProviderConflict, ProviderUnreachable
from tests.storefront.conftest import DESK, GOOD_CARD, KEY, TalkativeBook, check_out

pytestmark = pytest.mark.django_db
State = PaymentIntent.State
PRICE = Decimal("199.00")


class Interrupted(TalkativeBook):
    """Lets a test act while the provider does what it was told, and before it answers."""

    def __init__(self):
        super().__init__()
        self.during = {}

    def move(self, authorization_id, act, money=None):
        done = super().move(authorization_id, act, money)
        if meanwhile := self.during.pop(act, None):
            try:
                meanwhile()
            finally:
                connection.close()
        return done


@pytest.fixture
def book(provider):
    provider.book = Interrupted()
    return provider.book


def buy_three(world):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=3, at=clock.now())
    return check_out(cart)


@pytest.fixture
def order(book, world):
    """Three phones at 199.00."""
    return buy_three(world)


def hold(order):
    return orders.hold_order(order=order, reason="r", by=DESK, at=clock.now())


def refund(order, units):
    line = order.lines.get()
    return orders.refund_lines(order=order, lines={line.pk: units}, by=DESK, at=clock.now(), reason="r")


def capture(order):
    payments.capture_payment(payload={"intent_id": str(order.intent_id)}, event_id=uuid4(), at=clock.now())


def later(**delta):
    outbox.pump(at=lambda: clock.now() + timedelta(**delta))


def at_provider(order, book) -> Authorization:
    found = book.find(str(order.intent_id))
    assert found is not None
    return found


def kept(order, book):
    found = at_provider(order, book)
    return Decimal(found.captured_amount) - Decimal(found.refunded_amount)


def written(order, act):
    entries = LedgerEntry.objects.filter(subject_id=str(order.intent_id), act=act)
    return [entry.evidence["amount"] for entry in entries.order_by("id")]


# --- before the capture and after it --------------------------------------------------------------------------


def test_before_the_capture_it_takes_less(order, book):
    refund(hold(order), 1)
    later(hours=2)
    found = at_provider(order, book)
    assert (found.status, found.captured_amount, found.refunded_amount) == ("captured", "398.00", "0.00")
    assert written(order, "payment.captured") == ["398.00"]
    assert not OutboxRow.objects.filter(event="payment.refund_due").exists()


def test_after_the_capture_it_is_paid_back(order, book):
    later(hours=2)
    refund(hold(order), 1)
    later(hours=3)
    found = at_provider(order, book)
    assert (found.status, found.captured_amount, found.refunded_amount) == ("captured", "597.00", "199.00")
    assert written(order, "payment.partly_refunded") == ["199.00"]
    assert PaymentIntent.objects.get().state == State.CAPTURED


def test_paid_back_twice_and_then_whole(order, book):
    later(hours=2)
    for _ in range(2):
        hold(order)
        refund(order, 1)
        later(hours=3)
    assert at_provider(order, book).refunded_amount == "398.00"
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r")
    later(hours=4)
    found = at_provider(order, book)
    assert (found.status, found.refunded_amount) == ("refunded", "597.00")
    assert written(order, "payment.partly_refunded") == ["199.00", "398.00"]
    assert PaymentIntent.objects.get().state == State.REFUNDED


@pytest.mark.parametrize("handler", ["refund_payment", "capture_payment", "void_payment"])
@pytest.mark.parametrize("is_captured", [True, False])
def test_each_provider_call_delivered_again_is_one_effect(order, book, handler, is_captured):
    if is_captured:
        later(hours=2)
    refund(hold(order), 1)
    if handler == "void_payment":
        orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r")
    later(hours=3)
    found, ledger = vars(at_provider(order, book)).copy(), LedgerEntry.objects.count()
    for _ in range(2):
        getattr(payments, handler)(
            payload={"intent_id": str(order.intent_id)}, event_id=uuid4(), at=clock.now()
        )
    assert vars(at_provider(order, book)) == found
    assert LedgerEntry.objects.count() == ledger


def test_late_refunds_out_of_order_give_back_no_more(order, book):
    """The word of the first part comes after that of the second, which had named both."""
    later(hours=2)
    hold(order)
    refund(order, 1)
    hold(order)
    refund(order, 1)
    later(hours=3)
    provider_id = PaymentIntent.objects.get().provider_id
    book.move(provider_id, "refund", PRICE)
    assert kept(order, book) == PRICE


def test_more_than_is_kept_is_never_given_back(order):
    for amount in (Decimal(0), -PRICE, 3 * PRICE, 4 * PRICE):
        with pytest.raises(ValueError, match="cannot be given back"):
            payments.give_back_part(intent_id=order.intent_id, amount=amount, at=clock.now())
    assert PaymentIntent.objects.get().refunded_amount == 0


def test_a_provider_that_never_captured_is_a_fault_that_is_tried_again(order):
    PaymentIntent.objects.update(state=State.CAPTURED, refunded_amount=PRICE)
    with pytest.raises(ProviderConflict, match="not_captured"):
        payments.refund_payment(payload={"intent_id": str(order.intent_id)}, event_id=uuid4(), at=clock.now())


# --- a capture under way --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_units_given_back_while_the_provider_takes_the_money_are_paid_back(order, book):
    book.during["capture"] = lambda: refund(hold(order), 1)

    capture(order)

    assert at_provider(order, book).captured_amount == "597.00"
    later()
    assert kept(order, book) == 2 * PRICE
    assert written(order, "payment.captured") == ["597.00"]
    assert written(order, "payment.partly_refunded") == ["199.00"]


@pytest.mark.django_db(transaction=True)
def test_a_hold_that_commits_while_the_provider_takes_the_money_leaves_the_books_right(order, book):
    book.during["capture"] = lambda: hold(order)

    capture(order)

    order.refresh_from_db()
    assert (order.state, order.intent.state) == (Order.State.HELD, State.CAPTURED)
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r")
    later()
    assert kept(order, book) == 0


def test_a_capture_whose_worker_died_before_the_hold_is_written_down_though_held(order, book):
    """Else the buyer would read that nothing is charged."""
    book.move(PaymentIntent.objects.get().provider_id, "capture", 3 * PRICE)
    hold(order)

    capture(order)

    assert PaymentIntent.objects.get().state == State.CAPTURED
    assert written(order, "payment.captured") == ["597.00"]


def test_a_capture_whose_worker_died_before_a_refund_in_part_is_paid_back(order, book):
    book.move(PaymentIntent.objects.get().provider_id, "capture", 3 * PRICE)
    refund(hold(order), 1)
    later(hours=2)
    assert kept(order, book) == 2 * PRICE
    assert PaymentIntent.objects.get().state == State.CAPTURED


def test_nothing_is_taken_of_a_held_order(order, book):
    hold(order)
    capture(order)
    assert at_provider(order, book).status == "authorized"


# --- killed between any two steps -----------------------------------------------------------------------------


class Killed(BaseException):
    """As kill -9 does, it passes every `except Exception`."""


class Reaper:
    """Kills at the n-th step: a statement, a call of the provider, or the way back from one."""

    def __init__(self, monkeypatch):
        self.left = -1
        self.steps = 0
        ask = payments._ask

        def killing(*args, **kwargs):
            self.step()
            answer = ask(*args, **kwargs)
            self.step()
            return answer

        monkeypatch.setattr(payments, "_ask", killing)

    def step(self):
        self.steps += 1
        if self.left == 0:
            self.left = -1
            raise Killed
        self.left -= self.left > 0

    def __call__(self, execute, sql, params, many, context):
        if not sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            self.step()
        return execute(sql, params, many, context)


def deliver(at):
    """What the pump does, less its patience: a row that was not done is delivered again."""
    for row in OutboxRow.objects.filter(done_at=None, due_at__lte=at).exclude(handler="").order_by("id"):
        if row.event.startswith("payment."):
            import_string(row.handler)(payload=row.payload, event_id=row.event_id, at=at)
        OutboxRow.objects.filter(pk=row.pk).update(done_at=at)


def until_done(work):
    for _ in range(10):
        try:
            return work()
        except Killed:
            continue
    raise AssertionError("It was killed once, and never came to its end.")


# Acts of the desk, who looks before it tries again.
def held(order):
    if Order.objects.get(pk=order.pk).state == Order.State.PLACED:
        hold(order)


def in_part(order):
    if not order.lines.get().refunded_quantity:
        refund(order, 1)


def in_full(order):
    if Order.objects.get(pk=order.pk).state != Order.State.REFUNDED:
        orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r")


def worked_off(order):
    deliver(clock.now() + timedelta(hours=2))


STORIES = {
    "in part, then captured": ([held, in_part, worked_off], 2),
    "captured, then in part": ([worked_off, held, in_part, worked_off], 2),
    "captured, in part, in full": ([worked_off, held, in_part, in_full, worked_off], 0),
    "in part, captured, in full": ([held, in_part, worked_off, in_full, worked_off], 0),
    "in part, then in full": ([held, in_part, in_full, worked_off], 0),
}


def stories():
    """All of them on SQLite; on PostgreSQL, where each step takes longer, the two that meet every act."""
    slow_too = ("captured, then in part", "in part, captured, in full")
    return slow_too if connection.vendor == "postgresql" else STORIES


@pytest.mark.parametrize("story", stories())
def test_killed_at_any_step_the_money_comes_right(book, world, monkeypatch, story):
    acts, units = STORIES[story]
    reaper = Reaper(monkeypatch)
    n, steps = 0, 1

    # At each step in turn, until no step is left to die at.
    while n <= steps:
        order = buy_three(world)
        reaper.left, reaper.steps = n, 0
        with connection.execute_wrapper(reaper):
            for act in acts:
                until_done(lambda act=act, order=order: act(order))
        reaper.left, steps, n = -1, max(steps, reaper.steps), n + 1

        where = f"{story}, killed at step {n - 1}"
        assert kept(order, book) == units * PRICE, where
        assert Stock.objects.get(listing=world.listing).on_hand == 20 - units, where
        written_once = Counter(
            LedgerEntry.objects.filter(subject_id=str(order.intent_id)).values_list("act", flat=True)
        )
        assert max(written_once.values()) == 1, where
        Stock.objects.update(on_hand=20)
        OutboxRow.objects.filter(done_at=None).update(done_at=clock.now())
    assert n > 30


# --- the provider ---------------------------------------------------------------------------------------------


def call(provider, path, body=None):
    return httpx.post(
        provider.url + path, json=body, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False
    )


@pytest.fixture
def authorized(provider):
    cart = Cart.objects.create(created_at=clock.now())
    intent = payments.open_intent(
        checkout_key=uuid4(), cart=cart, amount=Decimal("10.00"), currency="USD", at=clock.now()
    )
    payments.authorize(intent=intent, card=GOOD_CARD, at=clock.now())
    return f"/authorizations/{PaymentIntent.objects.get(pk=intent.pk).provider_id}"


def test_the_provider_takes_what_it_is_told_once(provider, authorized):
    assert call(provider, f"{authorized}/capture", {"amount": "10.01"}).status_code == 422
    for _ in range(2):
        answer = call(provider, f"{authorized}/capture", {"amount": "7.00"})
        assert answer.json()["captured_amount"] == "7.00"
    other = call(provider, f"{authorized}/capture", {"amount": "6.00"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "already_captured")
    assert call(provider, f"{authorized}/void").status_code == 409


def test_the_provider_gives_back_up_to_a_total_and_no_more_than_it_took(provider, authorized):
    call(provider, f"{authorized}/capture", {"amount": "7.00"})
    for total, refunded in (("2.00", "2.00"), ("2.00", "2.00"), ("5.00", "5.00"), ("3.00", "5.00")):
        answer = call(provider, f"{authorized}/refund", {"total": total}).json()
        assert (answer["refunded_amount"], answer["status"]) == (refunded, "captured")
    assert (
        call(provider, f"{authorized}/refund", {"total": "7.01"}).json()["error"]["code"] == "total_too_large"
    )
    assert call(provider, f"{authorized}/refund").json()["status"] == "refunded"


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("capture", {"amount": "ten"}, "amount"),
        ("capture", {"amount": 7}, "amount"),
        ("capture", {"amount": "-1"}, "amount"),
        ("capture", {"total": "1"}, "amount"),
        ("refund", {"amount": "1"}, "total"),
        ("refund", {"total": "NaN"}, "total"),
        ("void", {"amount": "1"}, "no body"),
    ],
)
def test_the_provider_says_what_is_wrong_with_an_amount(provider, authorized, path, body, named):
    answer = call(provider, f"{authorized}/{path}", body)
    assert answer.status_code == 422
    assert named in answer.json()["error"]["message"]


def test_an_answer_without_amounts_is_no_answer(provider, authorized, monkeypatch):
    monkeypatch.setattr(Authorization, "as_json", lambda self: {"id": self.id, "status": self.status})
    with pytest.raises(ProviderUnreachable):
        payments.find_authorization(PaymentIntent.objects.get().pk)
