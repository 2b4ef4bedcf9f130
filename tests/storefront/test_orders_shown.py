"""Held orders and recalls as the desk and the buyer see them."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from authorization import clock, decision_setting, outbox, revocations
from authorization.models import Fact, Revocation
from authorization.revocations import PlaceHold, RevokeAgreement
from seeds.factories import make_sellable
from storefront import carts, orders
from storefront.models import Cart, Order, PaymentIntent, Recall
from storefront.roles import AUDITOR, ensure_roles
from tests.storefront.conftest import DESK, check_out, withdraw
from tests.storefront.test_orders_held import unreadable

pytestmark = pytest.mark.django_db


def client_of(role=None):
    ensure_roles()
    user = User.objects.create(username=role or "boss", is_staff=True, is_superuser=role is None)
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss():
    return client_of()


def text(response, status=200):
    assert response.status_code == status
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def html(response):
    assert response.status_code == 200
    return response.content.decode()


def buy(*offers, quantity=1, **buyer):
    cart = Cart.objects.create(created_at=clock.now())
    for offer in offers:
        carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=quantity, at=clock.now())
    return check_out(cart, **buyer)


@pytest.fixture
def held(provider, world):
    """Two phones, whose agreement was revoked."""
    order = buy(world.offer, quantity=2)
    withdraw(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    on = Revocation.objects.get()
    reason = f"{on}. The maker says so."
    return orders.hold_order(order=order, reason=reason, by=DESK, at=clock.now(), on=on)


def desk_url(order, act="change"):
    return reverse(f"admin:storefront_order_{act}", args=[order.pk])


LIST = reverse("admin:storefront_order_changelist")


def recall(world, code="RECALL-1"):
    targets = (("variant", str(world.variant.pk)),)
    withdraw(PlaceHold(code, "CPSC", "SAFETY", "batteries", targets))
    outbox.pump(at=lambda: clock.now())


def offers_act(page, order, act):
    return desk_url(order, act) in page


# --- the list -------------------------------------------------------------------------------------------------


def test_the_list_counts_what_waits_and_shows_the_most_urgent_first(boss, provider, world):
    late, soon, plain = (buy(world.offer, buyer_name=name) for name in ("Late", "Soon", "Plain"))
    orders.hold_order(order=soon, reason="r", by=DESK, at=clock.now())
    orders.hold_order(order=late, reason="r", by=DESK, at=clock.now() - timedelta(days=5))

    page = text(boss.get(LIST))
    assert "2 held orders wait for a decision, 1 overdue." in page
    assert "Plain" in page
    assert "overdue by 2 days" in page
    assert "in 2 days" in page

    page = text(boss.get(LIST, {"decide": "open"}))
    assert page.index("Late") < page.index("Soon")
    assert "Plain" not in page
    page = text(boss.get(LIST, {"decide": "overdue"}))
    assert "Late" in page
    assert "Soon" not in page
    assert plain.state == Order.State.PLACED


def test_one_waits_and_none_does(boss, provider, world):
    order = orders.hold_order(order=buy(world.offer), reason="r", by=DESK, at=clock.now())
    assert "1 held order waits for a decision." in text(boss.get(LIST))
    orders.release_order(order=order, by=DESK, at=clock.now())
    assert "for a decision" not in text(boss.get(LIST))


# --- the page of one ------------------------------------------------------------------------------------------


def test_the_page_says_why_it_is_held_and_what_each_decision_would_do(boss, held, world):
    response = boss.get(desk_url(held))
    page = text(response)
    assert "On hold: decide in 2 days" in page
    assert "The agreement was revoked (AGREEMENT_REVOKED)" in page
    assert "on the word of the manufacturer. The maker says so." in page
    assert reverse("admin:authorization_revocation_change", args=[held.held_on_id]) in html(response)
    assert "Cannot be done. Not while authority is taken away" in page
    assert "398.00 USD is then charged." in page
    assert "398.00 USD was only reserved, and is released, and 2 phones go back" in page
    acts = {act for act in orders.MOVES if offers_act(html(response), held, act)}
    assert acts == {"ship_held", "refund_lines", "refund"}


def test_against_safety_no_button_ships_it(boss, held, world):
    recall(world)
    page = html(boss.get(desk_url(held)))
    assert "Not against hold RECALL-1 of CPSC (SAFETY)." in page
    assert not offers_act(page, held, "ship_held")


def test_what_may_go_is_released_and_a_single_unit_is_not_refunded_in_part(boss, provider, world):
    order = orders.hold_order(order=buy(world.offer), reason="The buyer rang.", by=DESK, at=clock.now())
    response = boss.get(desk_url(order))
    assert "by the desk itself. The buyer rang." in text(response)
    acts = {act for act in orders.MOVES if offers_act(html(response), order, act)}
    assert acts == {"release", "refund"}


def test_what_was_charged_already_is_said(boss, held):
    PaymentIntent.objects.update(state=PaymentIntent.State.CAPTURED)
    assert "398.00 USD is paid back" in text(boss.get(desk_url(held)))


def test_while_it_cannot_be_computed_the_page_says_so_and_still_refunds(boss, held, monkeypatch):
    monkeypatch.setattr(decision_setting, "read_setting", unreadable)
    response = boss.get(desk_url(held))
    assert "could not be computed right now" in text(response)
    assert offers_act(html(response), held, "refund")
    assert boss.get(desk_url(held, "refund_lines")).status_code == 200


def test_an_auditor_reads_why_and_has_no_button(held):
    page = html(client_of(AUDITOR).get(desk_url(held)))
    assert "AGREEMENT_REVOKED" in page
    assert not any(offers_act(page, held, act) for act in orders.MOVES)


@pytest.mark.parametrize("act", ["ship_held", "refund_lines", "refund", "release"])
def test_only_who_may_act_decides(held, act):
    auditor = client_of(AUDITOR)
    assert auditor.post(desk_url(held, act), {"reason": "r"}).status_code == 403
    held.refresh_from_db()
    assert held.state == Order.State.HELD


def test_the_desk_ships_it_all_the_same_with_a_reason(boss, held):
    assert "required" in text(boss.post(desk_url(held, "ship_held"), {"reason": ""}))
    boss.post(desk_url(held, "ship_held"), {"reason": "lawful"})
    held.refresh_from_db()
    assert held.state == Order.State.SHIPPED


def test_the_desk_refunds_a_part_and_the_form_proposes_what_may_not_go(boss, provider, world):
    other = make_sellable(vendor=world.vendor, host=world.host)
    order = buy(world.offer, other.offer)
    withdraw(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    orders.hold_order(order=order, reason="r", by=DESK, at=clock.now())
    mine, theirs = (order.lines.get(listing=each.listing) for each in (world, other))

    form = boss.get(desk_url(order, "refund_lines")).context["form"]
    assert (form[f"units_{mine.pk}"].value(), form[f"units_{theirs.pk}"].value()) == (1, 0)

    typed = {f"units_{mine.pk}": "9", f"units_{theirs.pk}": "0", "reason": "r"}
    typed["seen"] = form["seen"].value()
    assert "less than or equal to 1" in text(boss.post(desk_url(order, "refund_lines"), typed))
    typed[f"units_{mine.pk}"] = "0"
    assert "none is named" in text(boss.post(desk_url(order, "refund_lines"), typed))
    typed[f"units_{mine.pk}"] = "1"
    page = text(boss.post(desk_url(order, "refund_lines"), typed, follow=True))
    assert f"1 refunded of order {order.pk}. What is left goes its way again." in page
    order.refresh_from_db()
    assert order.state == Order.State.PLACED
    assert order.intent.refunded_amount == Decimal("199.00")
    assert "199.00 USD" in text(boss.get(LIST))


# --- recalls --------------------------------------------------------------------------------------------------


def test_the_desk_sees_who_was_told_of_which_recall(boss, provider, world):
    shipped = orders.ship_order(order=buy(world.offer), by=DESK, at=clock.now())
    waiting = buy(world.offer)
    recall(world)
    Recall.objects.filter(line__order=waiting).update(told_at=None)
    url = reverse("admin:storefront_recall_changelist")
    (revocation,) = Revocation.objects.all()

    page = text(boss.get(url))
    assert "1 of 2" in page
    assert "1 of 2 told" in page
    told = text(boss.get(url, {"told": "yes"}))
    untold = text(boss.get(url, {"told": "no"}))
    assert (f"{shipped.pk}, shipped" in told, f"{shipped.pk}, shipped" in untold) == (True, False)
    assert "not yet" in untold
    assert f"{waiting.pk}, held" in text(boss.get(url, {"revocation": str(revocation.pk)}))
    assert f"{waiting.pk}, held" not in text(boss.get(url, {"revocation": "987654"}))

    revocations.release_hold(fact=Fact.objects.get(code="RECALL-1"), by=DESK, at=clock.now(), reason="r")
    assert "(undone or released)" in text(boss.get(url))
    assert "over before" in text(boss.get(url, {"told": "none"}))
    assert (
        boss.get(reverse("admin:storefront_recall_change", args=[Recall.objects.all()[0].pk])).status_code
        == 200
    )


# --- what the buyer sees --------------------------------------------------------------------------------------


def shopper_page(order):
    return text(Client().get(f"/orders/{order.public_id}/"))


def test_the_buyer_sees_by_when_it_is_decided_and_when_that_has_passed(held):
    assert f"We decide by {held.decide_by:%-d %B %Y, %H:%M} UTC, and tell you" in shopper_page(held)
    Order.objects.update(decide_by=clock.now() - timedelta(minutes=1))
    page = shopper_page(held)
    assert "takes longer than we thought" in page
    assert "We decide by" not in page


def test_the_buyer_sees_what_was_called_off_and_what_is_paid(held, world):
    line = held.lines.get()
    orders.refund_lines(order=held, lines={line.pk: 1}, by=DESK, at=clock.now(), reason="r")
    page = shopper_page(held)
    assert "1 of them called off: you get $199.00 back." in page
    assert "Given back $199.00" in page
    assert "Remains $199.00" in page
    assert "AGREEMENT" not in page


def test_an_order_in_full_has_no_line_of_refunds(held):
    assert "Given back" not in shopper_page(held)
    orders.refund_order(order=held, by=DESK, at=clock.now(), reason="r")
    assert "called off" not in shopper_page(held)


def test_the_buyer_of_a_recalled_phone_is_warned_on_the_page_while_it_stands(provider, world):
    shipped = orders.ship_order(order=buy(world.offer), by=DESK, at=clock.now())
    waiting = buy(world.offer)
    assert "Safety warning" not in shopper_page(shipped)
    recall(world)
    page = shopper_page(shipped)
    assert "Safety warning" in page
    assert "Switch the phone off" in page
    assert "Thank you" not in page
    assert "It has not left us" in shopper_page(waiting)
    revocations.release_hold(fact=Fact.objects.get(code="RECALL-1"), by=DESK, at=clock.now(), reason="r")
    assert "Safety warning" not in shopper_page(shipped)
