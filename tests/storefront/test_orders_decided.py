"""What the desk decides of a held order, by when, and what becomes of the goods, the money and the buyer."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection
from structlog.testing import capture_logs

from authorization import clock, fence, outbox, revocations
from authorization.models import AgreementVersion, Fact, LedgerEntry, OutboxRow, Revocation
from authorization.revocations import PlaceHold, RevokeAgreement, RevokeApproval, RevokeEquipment
from catalog.models import Stock
from seeds.factories import make_agreement, make_equipment, make_hold, make_policy, make_sellable
from storefront import carts, held_orders, orders, standing, withdrawals
from storefront.models import Cart, Order, PaymentIntent, SentMessage
from storefront.orders import InvalidOrderMove
from tests.authorization.tampering import tampering
from tests.storefront.conftest import DESK, check_out, place_hold, withdraw

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has one writer at a time: nothing races"
)


def buy(*offers, quantity=1):
    cart = Cart.objects.create(created_at=clock.now())
    for offer in offers:
        carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=quantity, at=clock.now())
    return check_out(cart)


@pytest.fixture
def order(provider, world):
    return buy(world.offer)


@pytest.fixture
def other(world):
    """Another phone of the same vendor, on an agreement of its own."""
    return make_sellable(vendor=world.vendor, host=world.host)


@pytest.fixture
def two_lines(provider, world, other):
    """Two of each phone, 199.00 a unit; the first phone is then withdrawn."""
    order = buy(world.offer, other.offer, quantity=2)
    revocation = revoke(world)
    return orders.hold_order(order=order, reason="withdrawn", by=DESK, at=clock.now(), on=revocation)


def revoke(world, reason_code="MANUFACTURER_DISCLAIMS"):
    withdraw(RevokeAgreement(world.agreement.pk, reason_code))
    return Revocation.objects.order_by("-pk")[0]


def hold(order, *, on=None):
    return orders.hold_order(order=order, reason="withdrawn", by=DESK, at=clock.now(), on=on)


def refund_lines(order, units, **changes):
    said: dict[str, Any] = {"by": DESK, "at": clock.now(), "reason": "they may not go"}
    return orders.refund_lines(order=order, lines=units, **said | changes)


def line_of(order, world):
    return order.lines.get(listing=world.listing)


def stock_of(world):
    return Stock.objects.get(listing=world.listing).on_hand


def acts_of(order):
    entries = LedgerEntry.objects.filter(subject_kind="order", subject_id=str(order.pk))
    return [entry.act for entry in entries.order_by("id")]


def later(**delta):
    outbox.pump(at=lambda: clock.now() + timedelta(**delta))


def messages_to(order, kind):
    return SentMessage.objects.filter(kind=kind, recipient=order.buyer_name)


# --- held, until when -----------------------------------------------------------------------------------------


def test_a_hold_says_since_when_on_what_and_by_when_it_is_decided(order, world, settings):
    settings.HELD_ORDER_DECIDE_S = 7200
    revocation = revoke(world)
    at = clock.now()

    orders.hold_order(order=order, reason="withdrawn", by=DESK, at=at, on=revocation)

    order.refresh_from_db()
    assert (order.held_at, order.held_on, order.decide_by) == (at, revocation, at + timedelta(hours=2))


def test_a_hold_of_the_desk_itself_needs_no_withdrawal(order):
    hold(order)
    order.refresh_from_db()
    assert order.held_on is None
    assert order.decide_by is not None


@pytest.mark.parametrize(
    ("act", "is_kept"),
    [
        (lambda order: orders.release_order(order=order, by=DESK, at=clock.now()), False),
        (lambda order: orders.ship_held_order(order=order, by=DESK, at=clock.now(), reason="r"), True),
        (lambda order: orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r"), True),
    ],
)
def test_a_decision_ends_the_deadline_and_only_a_release_forgets_why_it_was_held(order, act, is_kept):
    act(hold(order))
    order.refresh_from_db()
    assert order.decide_by is None
    assert (order.held_at is not None, bool(order.held_reason)) == (is_kept, is_kept)


def test_a_shipped_order_cannot_be_held(order):
    orders.ship_order(order=order, by=DESK, at=clock.now())
    with pytest.raises(InvalidOrderMove, match="is shipped: it cannot become held"):
        hold(order)
    assert not OutboxRow.objects.filter(event="order.decision_due").exists()


def test_the_buyer_hears_by_when_it_is_decided(order):
    held = hold(order)
    outbox.pump()
    assert f"{held.decide_by:%-d %B %Y, %H:%M} UTC" in messages_to(order, "order.held").get().body


# --- the deadline ---------------------------------------------------------------------------------------------


def test_an_order_that_nobody_decides_alarms_once_and_no_money_moves(order, provider):
    hold(order)
    with capture_logs() as logs:
        later(days=2)
        assert not [line for line in logs if line["event"] == "order.overdue"]
        later(days=4)
        OutboxRow.objects.filter(event="order.decision_due").exclude(handler="").update(
            done_at=None, claimed_until=None
        )
        later(days=5)
    assert [line["log_level"] for line in logs if line["event"] == "order.overdue"] == ["error"]
    assert acts_of(order) == ["order.placed", "order.hold", "order.overdue"]
    assert messages_to(order, "order.overdue").count() == 1
    order.refresh_from_db()
    assert order.state == Order.State.HELD
    assert provider.money() == ["authorized"]


def test_a_deadline_is_void_when_the_order_was_decided_meanwhile(order):
    orders.release_order(order=hold(order), by=DESK, at=clock.now())
    later(days=4)
    assert "order.overdue" not in acts_of(order)


def test_the_deadline_of_an_earlier_hold_does_not_end_a_later_one(order, settings):
    settings.HELD_ORDER_REFUND_WHEN_OVERDUE = True
    orders.release_order(order=hold(order), by=DESK, at=clock.now())
    orders.hold_order(order=order, reason="again", by=DESK, at=clock.now() + 2 * DAY)

    later(days=4)
    order.refresh_from_db()
    assert order.state == Order.State.HELD

    later(days=6)
    order.refresh_from_db()
    assert order.state == Order.State.REFUNDED


def test_the_shop_may_say_that_what_nobody_decides_is_refunded(order, provider, settings, world):
    settings.HELD_ORDER_REFUND_WHEN_OVERDUE = True
    hold(order)
    later(days=4)
    order.refresh_from_db()
    assert order.state == Order.State.REFUNDED
    assert acts_of(order)[-2:] == ["order.overdue", "order.refund"]
    assert provider.money() == ["voided"]
    assert stock_of(world) == 20
    # One message says it: that it is off. No other that it still waits.
    assert messages_to(order, "order.refunded").count() == 1
    assert not messages_to(order, "order.overdue").exists()


def test_those_to_decide_come_by_their_deadline(provider, world):
    first, second, third = (buy(world.offer) for _ in range(3))
    now = clock.now()
    for order, at in ((second, now - 5 * DAY), (first, now), (third, now - DAY)):
        orders.hold_order(order=order, reason="r", by=DESK, at=at)
    assert list(held_orders.waiting()) == [second, third, first]
    assert list(held_orders.overdue(at=now)) == [second]


# --- shipped all the same -------------------------------------------------------------------------------------


def ship_held(order, *, reason="It was lawfully sold, and the maker does not mind."):
    return orders.ship_held_order(order=order, by=DESK, at=clock.now(), reason=reason)


def test_a_lawful_sale_may_be_shipped_although_its_agreement_was_revoked(order, world, provider):
    hold(order, on=revoke(world))
    later(hours=2)
    assert provider.money() == ["authorized"]

    assert ship_held(order).state == Order.State.SHIPPED

    entry = LedgerEntry.objects.get(act="order.ship_held")
    assert "maker does not mind" in entry.reason
    assert "AGREEMENT_REVOKED" in entry.evidence["although"][0]
    later(hours=2)
    assert provider.money() == ["captured"]
    assert messages_to(order, "order.shipped").count() == 1


@pytest.mark.parametrize("reason", ["", "  "])
def test_shipping_it_all_the_same_needs_a_reason(order, world, reason):
    hold(order, on=revoke(world))
    with pytest.raises(InvalidOrderMove, match="Say why"):
        ship_held(order, reason=reason)


def test_what_is_not_held_ships_by_the_plain_act_only(order):
    with pytest.raises(InvalidOrderMove, match="is placed: it cannot become shipped"):
        ship_held(order)
    hold(order)
    with pytest.raises(InvalidOrderMove, match="is held: it cannot become shipped"):
        orders.ship_order(order=order, by=DESK, at=clock.now())


def hold_for(reason_code, *targets, placed_by="the shop"):
    chosen = tuple((dimension, str(value)) for dimension, value in targets)
    withdraw(PlaceHold("HOLD-S", placed_by, reason_code, "test", chosen))
    return Revocation.objects.order_by("-pk")[0]


@pytest.mark.parametrize("reason_code", ["SAFETY", "REGULATOR_ORDER"])
@pytest.mark.parametrize(
    "withdrawing",
    [
        lambda world, code: withdraw(RevokeAgreement(world.agreement.pk, code)),
        lambda world, code: withdraw(RevokeApproval(world.approval.pk, code)),
        lambda world, code: hold_for(code, ("variant", world.variant.pk)),
        lambda world, code: hold_for(code, ("manufacturer", world.variant.device.manufacturer_id)),
        lambda world, code: hold_for(code, ("fact", world.agreement.pk)),
        lambda world, code: hold_for(code, ("host", world.host.pk), ("condition", "new")),
    ],
)
def test_nothing_ships_against_safety_or_a_regulator(order, world, withdrawing, reason_code):
    withdrawing(world, reason_code)
    hold(order)

    with pytest.raises(InvalidOrderMove, match=f"{reason_code}.* stands against it. Refund it"):
        ship_held(order)

    order.refresh_from_db()
    assert order.state == Order.State.HELD


def test_what_it_is_held_for_bars_it_though_the_sale_did_not_rest_on_it(order, world):
    """It was covered by a second agreement when the first fell; that one is withdrawn for safety."""
    second = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now(), code="AG-2nd"
    )
    revoke(world)
    withdraw(RevokeAgreement(second.pk, "SAFETY"))
    hold(order, on=Revocation.objects.get(fact=second))

    with pytest.raises(InvalidOrderMove, match="SAFETY"):
        ship_held(order)


def test_a_regulator_who_took_its_authorization_back_bars_it_whatever_the_reason_says(provider, world):
    equipment = make_equipment(variant=world.variant, at=clock.now())
    make_policy(is_equipment_authorization_enforced=True, at=clock.now())
    outbox.pump()
    order = buy(world.offer)
    withdraw(RevokeEquipment(equipment.pk, "SHOP_REVIEW"))
    hold(order)

    with pytest.raises(InvalidOrderMove, match="EQUIPMENT_AUTHORIZATION_REVOKED"):
        ship_held(order)


def test_a_hold_that_names_other_goods_or_was_released_bars_nothing(order, world, other):
    hold_for("SAFETY", ("variant", other.variant.pk))
    make_hold(
        targets=[("host", str(world.host.pk)), ("condition", "used")], reason_code="SAFETY", at=clock.now()
    )
    revocation = revoke(world)
    hold(order, on=revocation)
    assert ship_held(order).state == Order.State.SHIPPED


def test_once_the_safety_hold_is_lifted_a_lawful_sale_may_ship(order, world):
    hold_for("SAFETY", ("variant", world.variant.pk))
    revoke(world)
    hold(order)
    with pytest.raises(InvalidOrderMove, match="SAFETY"):
        ship_held(order)

    revocations.release_hold(fact=Fact.objects.get(code="HOLD-S"), by=DESK, at=clock.now(), reason="tested")

    assert ship_held(order).state == Order.State.SHIPPED


def test_a_word_of_before_the_fence_does_not_slip_by(order, world, monkeypatch):
    seen = []
    real = standing.look

    def look(*args, **kwargs):
        seen.append(fence.is_held())
        return real(*args, **kwargs)

    monkeypatch.setattr(standing, "look", look)
    hold(order)
    ship_held(order)
    assert seen == [True]


# --- refunded in part -----------------------------------------------------------------------------------------


def test_the_withdrawn_units_are_given_back_and_the_rest_goes_its_way(two_lines, world, other, provider):
    order = refund_lines(two_lines, {line_of(two_lines, world).pk: 2})

    assert (order.state, order.held_reason, order.decide_by) == (Order.State.PLACED, "", None)
    assert line_of(order, world).refunded_quantity == 2
    assert (stock_of(world), stock_of(other)) == (20, 18)
    assert acts_of(order)[-2:] == ["order.refund_lines", "order.release"]
    later(hours=2)
    (taken,) = provider.book._by_id.values()
    assert (taken.status, taken.captured_amount) == ("captured", "398.00")
    assert order.intent.amount == Decimal("796.00")


def test_units_that_may_not_go_keep_the_rest_on_hold(two_lines, world, other, provider):
    order = refund_lines(two_lines, {line_of(two_lines, world).pk: 1})

    order.refresh_from_db()
    assert order.state == Order.State.HELD
    assert order.decide_by == two_lines.decide_by
    later(hours=2)
    assert provider.money() == ["authorized"]

    order = refund_lines(order, {line_of(order, world).pk: 1, line_of(order, other).pk: 1})
    assert order.state == Order.State.PLACED
    assert (stock_of(world), stock_of(other)) == (20, 19)
    later(hours=2)
    (taken,) = provider.book._by_id.values()
    assert taken.captured_amount == "199.00"


def test_all_units_are_a_refund_of_the_order(two_lines, world, other, provider):
    refund_lines(two_lines, {line_of(two_lines, world).pk: 1})
    order = refund_lines(two_lines, {line_of(two_lines, world).pk: 1, line_of(two_lines, other).pk: 2})

    assert order.state == Order.State.REFUNDED
    assert (stock_of(world), stock_of(other)) == (20, 20)
    order.intent.refresh_from_db()
    assert order.intent.refunded_amount == order.intent.amount
    later(hours=2)
    assert provider.money() == ["voided"]
    assert messages_to(order, "order.partly_refunded").count() == 1
    assert messages_to(order, "order.refunded").count() == 1


def test_a_refund_after_one_in_part_gives_back_what_is_left_and_no_unit_twice(two_lines, world, other):
    refund_lines(two_lines, {line_of(two_lines, other).pk: 1})
    orders.refund_order(order=two_lines, by=DESK, at=clock.now(), reason="r")
    assert (stock_of(world), stock_of(other)) == (20, 20)


@pytest.mark.parametrize(
    ("units", "said"),
    [
        (lambda line: {}, "none is named"),
        (lambda line: {line.pk: 0}, "none is named"),
        (lambda line: {line.pk: 3}, "take a number up to 2"),
        (lambda line: {line.pk: -1}, "take a number up to 2"),
        (lambda line: {line.pk + 1000: 1}, "has no unit left in a line"),
    ],
)
def test_units_that_the_order_does_not_have_are_not_refunded(two_lines, world, units, said):
    with pytest.raises(InvalidOrderMove, match=said):
        refund_lines(two_lines, units(line_of(two_lines, world)))
    two_lines.refresh_from_db()
    assert two_lines.state == Order.State.HELD
    assert PaymentIntent.objects.get().refunded_amount == 0
    assert stock_of(world) == 18


def test_a_page_that_is_old_gives_nothing_back_twice(provider, world):
    order = buy(world.offer, quantity=3)
    hold(order, on=revoke(world))
    line, seen = line_of(order, world), orders.given_back(order)
    refund_lines(order, {line.pk: 1}, seen=seen)
    with pytest.raises(InvalidOrderMove, match="since you opened"):
        refund_lines(order, {line.pk: 1}, seen=seen)
    assert line_of(order, world).refunded_quantity == 1


def test_only_a_held_order_is_refunded_in_part(order, world):
    with pytest.raises(InvalidOrderMove, match="is placed"):
        refund_lines(order, {line_of(order, world).pk: 1})


def test_what_was_given_back_stands_in_the_way_of_nothing(two_lines, world):
    """Only the refunded phones are withdrawn: the rest may be held and released again."""
    order = refund_lines(two_lines, {line_of(two_lines, world).pk: 2})
    hold(order)
    assert orders.release_order(order=order, by=DESK, at=clock.now()).state == Order.State.PLACED


def test_a_redelivered_withdrawal_does_not_hold_again_what_is_left(two_lines, world):
    order = refund_lines(two_lines, {line_of(two_lines, world).pk: 2})
    revocation = Revocation.objects.get()
    withdrawals.hold_unshipped_orders(
        payload={"revocation_id": revocation.pk}, event_id=uuid4(), at=clock.now()
    )
    order.refresh_from_db()
    assert order.state == Order.State.PLACED


def test_the_buyer_is_told_once_what_is_off_and_what_comes(two_lines, world):
    refund_lines(two_lines, {line_of(two_lines, world).pk: 2})
    outbox.pump()
    (message,) = messages_to(two_lines, "order.partly_refunded")
    assert "398.00 USD of your payment is given back. The rest of it ships as ordered." in message.body
    assert not messages_to(two_lines, "order.released").exists()
    assert OutboxRow.objects.filter(event="order.released").exclude(handler="").count() == 1
    assert [sent.to for sent in mail.outbox if "in part" in sent.subject] == [["ada@example.com"]]


def test_the_buyer_is_told_when_the_rest_waits(two_lines, world):
    refund_lines(two_lines, {line_of(two_lines, world).pk: 1})
    outbox.pump()
    assert "The rest of it is still on hold" in messages_to(two_lines, "order.partly_refunded").get().body


def test_paper_that_merely_ended_lets_the_rest_go(two_lines, world, other, monkeypatch):
    with tampering():
        AgreementVersion.objects.filter(head=other.agreement).update(valid_until=clock.now() + 400 * DAY)
    now = clock.now() + 500 * DAY
    monkeypatch.setattr(clock, "now", lambda: now)
    assert refund_lines(two_lines, {line_of(two_lines, world).pk: 2}).state == Order.State.PLACED


# --- at the same time -----------------------------------------------------------------------------------------


def at_once(*acts):
    """All acts on connections of their own, begun together. Returns what each raised or None."""
    barrier = threading.Barrier(len(acts))
    raised: list[Exception | None] = [None] * len(acts)

    def run(place, act):
        try:
            barrier.wait(10)
            act()
        except Exception as error:
            raised[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return raised


def refused(raised):
    assert all(error is None or isinstance(error, InvalidOrderMove) for error in raised), raised
    return [error is not None for error in raised]


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_hold_and_a_shipping_at_once_are_one_of_the_two(provider, world):
    seen = set()
    for _ in range(12):
        order = buy(world.offer)
        raised = at_once(
            lambda order=order: hold(order),
            lambda order=order: orders.ship_order(order=order, by=DESK, at=clock.now()),
        )
        order.refresh_from_db()
        assert sorted(refused(raised)) == [False, True]
        assert acts_of(order) == ["order.placed", "order.hold" if raised[0] is None else "order.ship"]
        assert order.state == (Order.State.HELD if raised[0] is None else Order.State.SHIPPED)
        seen.add(order.state)
    assert seen


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_the_same_unit_is_not_refunded_twice_at_once(provider, world, other):
    for _ in range(5):
        order = hold(buy(world.offer, other.offer))
        units = {line_of(order, world).pk: 1}
        before = stock_of(world)
        raised = at_once(*[lambda order=order, units=units: refund_lines(order, units)] * 3)
        assert sorted(refused(raised)) == [False, True, True]
        assert stock_of(world) == before + 1
        assert PaymentIntent.objects.get(pk=order.intent_id).refunded_amount == Decimal("199.00")


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_refund_in_part_and_one_in_full_at_once_give_every_unit_back_once(provider, world, other):
    for _ in range(5):
        order = hold(buy(world.offer, other.offer))
        units = {line_of(order, world).pk: 1}
        before = stock_of(world), stock_of(other)
        raised = at_once(
            lambda order=order, units=units: refund_lines(order, units),
            lambda order=order: orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r"),
        )
        refused(raised)
        order.refresh_from_db()
        assert order.state == Order.State.REFUNDED
        assert (stock_of(world), stock_of(other)) == (before[0] + 1, before[1] + 1)


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_deadline_and_a_release_at_once_never_refund_what_was_released(provider, world, settings):
    settings.HELD_ORDER_REFUND_WHEN_OVERDUE = True
    for _ in range(8):
        order = hold(buy(world.offer))
        due = {"order_id": order.pk, "decide_by": order.decide_by.isoformat()}
        raised = at_once(
            lambda due=due: held_orders.call_for_decision(
                payload=due, event_id=uuid4(), at=clock.now() + 4 * DAY
            ),
            lambda order=order: orders.release_order(order=order, by=DESK, at=clock.now()),
        )
        order.refresh_from_db()
        is_released = refused(raised) == [False, False]
        assert order.state == (Order.State.PLACED if is_released else Order.State.REFUNDED)
        assert ("order.refund" in acts_of(order)) != is_released


def test_placing_a_hold_reaches_the_order_and_its_page_of_why(order, world):
    place_hold(("variant", world.variant.pk))
    outbox.pump()
    order.refresh_from_db()
    assert order.state == Order.State.HELD
    assert order.held_on == Revocation.objects.get()
