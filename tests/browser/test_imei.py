"""The IMEI check in a browser: by keyboard, with JavaScript and without, at 320 pixels, in every state."""

from typing import Any

import pytest
from stdnum import luhn

from authorization import clock, decisions
from authorization.decisions import DecisionUnavailable
from seeds.factories import HostCarrierFactory, HostingFactory, World, make_network, make_radio, make_sellable
from tests.browser.conftest import Visit
from tests.browser.test_states import check, path_of, tab_to
from tests.storefront.conftest import revoke_agreement, revoke_approval
from tests.storefront.test_imei_check import UNKNOWN, imei_of

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world() -> World:
    """Sold on one host, which lets it in with a caution; two more hosts have rules of their own."""
    at = clock.now()
    host = HostCarrierFactory.create(code="tmobile", name="T-Mobile US")
    sold = make_sellable(host=host)
    make_network(host=host, at=at)
    for code, admission in (("att", "voice_list"), ("verizon", "list")):
        other = HostCarrierFactory.create(code=code)
        HostingFactory.create(host=other)
        make_network(host=other, at=at, admission=admission, has_circuits=False)
    make_radio(variant=sold.variant, at=at, ims={"tmobile": "pending", "att": "no", "verizon": "unknown"})
    return sold


def ask(visit: Visit, number: str) -> None:
    visit.open("/imei/")
    visit.page.fill("[name=imei]", number)
    with visit.page.expect_navigation():
        visit.page.press("[name=imei]", "Enter")


def test_by_keyboard_from_a_phones_page_over_a_mistake_to_the_answer(visit: Visit, world: World) -> None:
    page = visit.page
    number = imei_of(world.variant)
    visit.open(path_of(world))
    page.focus("text=Check whether you may bring it")
    page.keyboard.press("Enter")
    page.wait_for_url("**/imei/")
    tab_to(page, "[name=imei]")
    page.keyboard.type(number[:14])
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector("#errors:focus")
    assert "check digit, is missing" in page.inner_text("#errors")
    check(visit)
    tab_to(page, "#errors a", at_most=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.name") == "imei"
    assert page.input_value("[name=imei]") == number[:14]
    page.fill("[name=imei]", f"{number[:2]} {number[2:8]} {number[8:14]} {number[14]}")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "You may bring it to T-Mobile US (with limits)" in page.inner_text("main")
    assert number not in page.content()
    assert page.url.endswith("/imei/")


def test_every_state_can_be_read_used_and_fits_320_pixels(
    visit: Visit, world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, page = imei_of(world.variant), visit.page
    check(visit, "/imei/")
    ask(visit, number)
    check(visit)
    check(visit, path_of(world))
    revoke_agreement(world)
    ask(visit, f"{number[:14]}07")
    assert "We do not sell this model now." in page.inner_text("main")
    check(visit)
    revoke_approval(world)
    ask(visit, number)
    assert "You may not bring it" in page.inner_text("main")
    check(visit)
    ask(visit, UNKNOWN + luhn.calc_check_digit(UNKNOWN))
    assert "We do not know this model" in page.inner_text("main")
    check(visit)
    settings.IMEI_CHECKS_PER_CLIENT = 1
    ask(visit, number)
    page.wait_for_selector("#errors:focus")
    check(visit)
    settings.IMEI_CHECKS_PER_CLIENT = 1000

    def fails(**asked: Any) -> None:
        raise DecisionUnavailable("no")

    monkeypatch.setattr(decisions, "read_setting", fails)
    ask(visit, number)
    assert "That passes: try again in a minute." in page.inner_text("#errors")
    check(visit)
