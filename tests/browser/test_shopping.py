"""The main path in a browser: from the list to an order, and what is met when a phone falls on the way."""

from decimal import Decimal

import pytest
from playwright.sync_api import ViewportSize

from seeds.factories import PlanFactory, make_sellable
from storefront.models import Order
from tests.browser.conftest import Visit
from tests.storefront.conftest import Till, revoke_agreement

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

NARROW: ViewportSize = {"width": 320, "height": 640}
# Links inside a sentence are exempt from the least size of targets (WCAG 2.2, 2.5.8).
SMALL_TARGETS = """
() => [...document.querySelectorAll("button, input:not([type=hidden]), select, textarea, summary")]
  .concat([...document.querySelectorAll("nav a, [role=button]")])
  .filter(element => element.offsetParent !== null)
  .map(element => [element, element.getBoundingClientRect()])
  .filter(([element, box]) => box.width < 24 || box.height < 24)
  .map(([element]) => element.outerHTML.slice(0, 120))
"""


def fill_in(visit: Visit, **changes: str) -> None:
    entries = {
        "buyer_name": "Ada Buyer",
        "buyer_email": "ada@example.com",
        "ship_to": "1 Main Street, Springfield, IL 62701",
        "card_number": "4242 4242 4242 4242",
    }
    for name, value in (entries | changes).items():
        visit.page.fill(f"[name={name}]", value)


def send(visit: Visit) -> None:
    visit.page.click("main form button[type=submit]")


def test_from_the_list_to_an_order(visit: Visit, provider: Till) -> None:
    world = make_sellable()
    plan = PlanFactory.create(hosting=world.hosting, price_amount=Decimal("25.00"))
    page = visit.page
    visit.open("/")
    page.select_option("[name=condition]", "new")
    page.click("text=Show phones")
    page.click(f"text={world.variant.device}")
    page.select_option("[name=plan]", plan.slug)
    page.click("text=Add to cart")
    assert "$224.00" in page.inner_text("main")
    page.click("text=Go to checkout")

    fill_in(visit, buyer_email="ada at example")
    send(visit)
    page.wait_for_selector("#errors:focus")
    page.click("#errors a")
    assert page.input_value("[name=buyer_email]") == "ada at example"
    assert page.input_value("[name=card_number]") == ""

    fill_in(visit)
    send(visit)
    order = Order.objects.get()
    assert page.url.endswith(f"/orders/{order.public_id}/")
    assert "Reserved on your card" in page.inner_text("main")


def test_a_phone_that_falls_on_the_way_to_the_till(visit: Visit, provider: Till) -> None:
    falls, stays = make_sellable(), make_sellable(price_amount=Decimal("50.00"))
    page = visit.page
    for world in (falls, stays):
        visit.open(f"/devices/{world.variant.device.slug}/")
        page.click("text=Add to cart")
    page.click("text=Go to checkout")
    fill_in(visit)
    revoke_agreement(falls)
    send(visit)
    page.wait_for_selector("#errors:focus")
    assert "We are not able to sell this phone at the moment." in page.inner_text("#errors")
    assert "You can buy the rest below, for $50.00." in page.inner_text("#errors")

    fill_in(visit)
    send(visit)
    page.wait_for_url("**/orders/**")
    assert Order.objects.get().total_amount == Decimal("50.00")
    visit.open("/cart/")
    assert "Unavailable" in page.inner_text(".line.unavailable")


def test_the_keyboard_reaches_the_cart(visit: Visit) -> None:
    world = make_sellable()
    page = visit.page
    visit.open(f"/devices/{world.variant.device.slug}/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, (
        "in sight when it has focus"
    )
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Add to cart":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/cart/")


def test_nothing_is_cut_off_or_too_small_at_320_pixels(visit: Visit) -> None:
    world, falls = make_sellable(), make_sellable()
    PlanFactory.create(hosting=world.hosting)
    page = visit.page
    page.set_viewport_size(NARROW)
    visit.open(f"/devices/{world.variant.device.slug}/")
    page.click("text=Add to cart")
    revoke_agreement(falls)
    good, fallen = (f"/devices/{each.variant.device.slug}/" for each in (world, falls))
    said = ("/notices/", "/how-we-decide/", "/accessibility/", "/nowhere")
    for path in ("/", good, fallen, "/cart/", "/checkout/", *said):
        visit.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
        assert page.evaluate(SMALL_TARGETS) == [], path
