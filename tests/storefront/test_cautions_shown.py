"""How sure a verdict is stands beside it: on the phone's page, in the cart, at the checkout, at the desk."""

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from authorization import clock, groundwork
from authorization.models import Revision
from carriers.models import HostCarrier, Network
from catalog.models import Variant
from seeds.factories import BUILDER, PlanFactory, VariantFactory, World, make_sellable
from storefront import carts
from storefront.models import CartLine
from storefront.roles import AUDITOR, ensure_roles

pytestmark = pytest.mark.django_db

SINCE = datetime(2014, 1, 1, tzinfo=UTC)
UNVERIFIED = "LTE bands of this model are unverified: nobody confirmed them"
NEVER = "no check is on record"
OLD = "What is recorded of this model was last checked on 2020-01-05"


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def record(variant: Variant, host: HostCarrier, *, mark: str = "L", ims: str = "no") -> None:
    with groundwork.recording(by=BUILDER, at=SINCE, reason="a radio and a network") as recorder:
        recorder.variant_radio(
            variant=variant,
            fields={"lte_confidence": mark},
            bands=[{"rat": "LTE", "band": "B12"}],
            ims={host.code: ims},
            valid_from=SINCE,
        )
        recorder.network(
            host=host,
            era="2026",
            fields={"admission": "open"},
            bands=[{"rat": "LTE", "band": "B12", "group": "lte_core", "voice": "VoLTE"}],
            valid_from=SINCE,
        )


@pytest.fixture
def recorded(world: World) -> World:
    record(world.variant, world.host)
    Variant.objects.filter(pk=world.variant.pk).update(checked_at=datetime(2020, 1, 5, tzinfo=UTC))
    return world


def put_in_cart(shopper: Client, world: World, plan: str = "") -> None:
    shopper.post("/cart/add/", {"offer": world.offer.pk, "plan": plan, "quantity": 1})


def test_the_phones_page_says_it_of_each_host_and_each_namesake(client: Client, recorded: World) -> None:
    namesake = VariantFactory.create(device=recorded.variant.device)
    with groundwork.recording(by=BUILDER, at=SINCE, reason="another radio") as recorder:
        recorder.variant_radio(
            variant=namesake,
            fields={"lte_confidence": "L"},
            bands=[{"rat": "LTE", "band": "B4"}],
            ims={},
            valid_from=SINCE,
        )
    shown = text_of(client.get(f"/devices/{recorded.variant.device.slug}/"))
    assert shown.count(UNVERIFIED) == 2
    assert shown.count(OLD) == 1


def test_what_is_sure_and_fresh_is_shown_without_a_word(client: Client, world: World) -> None:
    record(world.variant, world.host, mark="H")
    for model in (Variant, Network):
        model.objects.update(checked_at=clock.now())
    shown = text_of(client.get(f"/devices/{world.variant.device.slug}/"))
    assert "Data only" in shown
    assert "unverified" not in shown
    assert "last checked" not in shown
    assert NEVER not in shown
    Network.objects.update(checked_at=None)
    assert NEVER in text_of(client.get(f"/devices/{world.variant.device.slug}/"))


@pytest.mark.parametrize("path", ["/cart/", "/checkout/"])
def test_the_cart_says_whether_the_plan_fits_and_how_sure_that_is(
    client: Client, recorded: World, path: str
) -> None:
    plan = PlanFactory.create(hosting=recorded.hosting, needs_voice=False, needs_data=True)
    put_in_cart(client, recorded, plan.slug)
    shown = text_of(client.get(path))
    assert "The plan fits this phone." in shown
    assert UNVERIFIED in shown
    assert OLD in shown


def test_a_plan_that_does_not_fit_is_refused_though_the_page_is_passed_by(
    client: Client, recorded: World
) -> None:
    """A plan with calls is not sold on hope: 911 hangs on them."""
    plan = PlanFactory.create(hosting=recorded.hosting, needs_voice=True, needs_data=True)
    refused = client.post("/cart/add/", {"offer": recorded.offer.pk, "plan": plan.slug, "quantity": 1})
    assert refused.status_code == 409
    assert "choose another plan, or the phone only" in refused.content.decode()
    assert not CartLine.objects.exists()


def test_a_plan_that_fits_no_more_keeps_its_line_from_being_bought(client: Client, world: World) -> None:
    plan = PlanFactory.create(hosting=world.hosting, needs_voice=True, needs_data=True)
    put_in_cart(client, world, plan.slug)
    assert "Unavailable" not in text_of(client.get("/cart/"))
    record(world.variant, world.host)
    shown = text_of(client.get("/cart/"))
    assert "Unavailable. The plan chosen with this phone does not work on it." in shown
    assert "The plan does not fit this phone: no calls on this network, 911 included." in shown
    # Neither may it be paid for, whatever was on the page.
    line = CartLine.objects.get()
    view = carts.view_cart(line.cart, at=clock.now())
    assert not view.can_check_out
    answers = carts.decide_lines([line], at=clock.now())
    obstacle = carts.find_obstacles([line], answers, at=clock.now())[0]
    assert obstacle is not None
    assert obstacle.reason_codes == ("PLAN_DOES_NOT_FIT",)


def test_the_cart_says_that_a_phone_without_a_recorded_radio_was_not_checked(
    client: Client, world: World
) -> None:
    put_in_cart(client, world, PlanFactory.create(hosting=world.hosting).slug)
    assert "Whether the plan works on this phone was not checked" in text_of(client.get("/cart/"))


def test_a_cart_without_plans_asks_nothing_of_radios_and_with_them_once(
    client: Client, recorded: World
) -> None:
    counts = []
    put_in_cart(client, recorded)
    for number in range(3):
        with CaptureQueriesContext(connection) as seen:
            text_of(client.get("/cart/"))
        counts.append(
            sum("carriers_network" in query["sql"] and "admission" in query["sql"] for query in seen)
        )
        another = make_sellable(vendor=recorded.vendor, host=recorded.host, sku=f"MORE-{number}")
        put_in_cart(client, another, PlanFactory.create(hosting=recorded.hosting).slug)
    # The decision reads networks only where a policy demands radio.
    assert counts == [0, 1, 1]


class TestAskTheEngine:
    @pytest.fixture
    def auditor(self) -> Client:
        ensure_roles()
        user = User.objects.create(username="auditor", is_staff=True)
        user.groups.add(Group.objects.get(name=AUDITOR))
        client = Client()
        client.force_login(user)
        return client

    def ask(self, auditor: Client, world: World, **more: Any) -> str:
        question = {"vendor": world.vendor.slug, "variant": world.variant.slug, "host": world.host.code}
        return text_of(auditor.get("/admin/ask/", question | more))

    def test_both_columns_show_the_verdict_and_its_cautions(self, auditor: Client, recorded: World) -> None:
        said = self.ask(auditor, recorded)
        assert said.count("DATA_ONLY : Data only: no calls on this network") == 2
        assert said.count(f"BANDS_UNVERIFIED {UNVERIFIED}") == 2
        assert said.count("BANDS_STALE") == 2

    def test_each_column_is_judged_as_known_then(self, auditor: Client, recorded: World) -> None:
        known = Revision.objects.order_by("-n")[0].n
        record(recorded.variant, recorded.host, mark="H", ims="yes")
        said = self.ask(auditor, recorded, left_revision=known)
        assert said.count(UNVERIFIED) == 1
        assert said.index("DATA_ONLY") < said.index("FULL : Calls and LTE on all main bands")

    def test_what_is_not_on_record_is_said(self, auditor: Client, world: World) -> None:
        assert self.ask(auditor, world).count("is not on record for this moment") == 2
