"""While the engine cannot decide, a page of the desk that needs a decision says so, and that nothing was done."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from authorization import clock, decision_setting
from authorization.models import AgreementVersion, Fact, HoldVersion, Revision
from storefront import carts, orders
from storefront.admin.desk import UNDECIDED
from storefront.models import Order
from storefront.roles import DESK, ensure_roles
from tests.storefront.conftest import DESK as BY
from tests.storefront.conftest import check_out, place_hold

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk():
    ensure_roles()
    user = User.objects.create(username="desk", is_staff=True)
    user.groups.add(Group.objects.get(name=DESK))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def break_engine(monkeypatch):
    def fail(**_):
        raise OperationalError("gone")

    return lambda: monkeypatch.setattr(decision_setting, "read_setting", fail)


def said(response):
    assert response.status_code == 503
    page = response.content.decode()
    assert UNDECIDED in page
    return page


def typed(**more):
    return {
        "requested_by": "The very manufacturer",
        "reason_code": "MANUFACTURER_DISCLAIMS",
        "word_received_at": f"{clock.now() - timedelta(minutes=2):%Y-%m-%dT%H:%M:%S}",
        "note": "They rang us up.",
        "seen": "",
    } | more


@pytest.mark.parametrize("name", ["revoke_agreement", "revoke_approval"])
def test_a_withdrawal_that_is_opened(desk, world, break_engine, name):
    fact = world.approval if name == "revoke_approval" else world.agreement
    break_engine()
    said(desk.get(reverse(f"admin:{name}", args=[fact.pk])))


@pytest.mark.parametrize("step", ["", "review", "back", "confirm"])
def test_a_withdrawal_keeps_what_was_typed_and_does_nothing(desk, world, break_engine, step):
    before = Revision.objects.count()
    break_engine()
    page = said(desk.post(reverse("admin:revoke_agreement", args=[world.agreement.pk]), typed(step=step)))

    assert "The very manufacturer" in page
    assert "They rang us up." in page
    assert Revision.objects.count() == before
    assert AgreementVersion.objects.get(head=world.agreement).state == "active"


@pytest.mark.parametrize("step", ["look", "review", "confirm"])
def test_a_hold_keeps_its_targets(desk, world, break_engine, step):
    break_engine()
    page = said(
        desk.post(
            reverse("admin:place_hold"),
            typed(step=step, code="HOLD-kept", reason_code="SHOP_REVIEW", territories="US"),
        )
    )

    assert "HOLD-kept" in page
    assert 'value="US"' in page
    assert not HoldVersion.objects.exists()


def test_the_release_of_a_hold(desk, world, break_engine):
    place_hold(("variant", world.variant.pk))
    hold = HoldVersion.objects.get()
    break_engine()
    said(desk.get(reverse("admin:authorization_holdversion_release", args=[hold.pk])))


def test_an_exemption(desk, world, break_engine):
    place_hold(("variant", world.variant.pk))
    hold = HoldVersion.objects.get()
    break_engine()
    url = reverse("admin:authorization_holdversion_exempt", args=[hold.pk])
    assert "a deposit" in said(desk.post(url, {"territories": "US", "note": "a deposit"}))
    assert not Fact.objects.get(code="HOLD-1").hold_versions.get(rev_to=None).exemptions.exists()


def test_the_release_of_an_order(desk, world, provider, cart, break_engine):
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    order = orders.hold_order(order=check_out(cart), reason="asked", by=BY, at=clock.now())
    break_engine()
    url = reverse("admin:storefront_order_release", args=[order.pk])
    assert "all is well" in said(desk.post(url, {"reason": "all is well"}))
    assert Order.objects.get(pk=order.pk).state == Order.State.HELD


def test_asking(desk, world, break_engine):
    break_engine()
    question = {"vendor": world.vendor.slug, "variant": world.variant.slug, "host": world.host.code}
    response = desk.get(reverse("ask_the_engine"), question | {"software": "7.0.5"})

    assert response.status_code == 503
    assert 'value="7.0.5"' in response.content.decode()
