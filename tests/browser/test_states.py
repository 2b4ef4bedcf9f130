"""What is met in a browser when authority goes and comes back: landmarks, labels, keyboard, 320 pixels."""

from dataclasses import replace
from decimal import Decimal

import pytest
from playwright.sync_api import Page

from authorization import clock, holds, offers, outbox
from authorization.models import Fact
from catalog.models import Condition, Stock
from seeds.factories import BUILDER, DeviceFactory, VariantFactory, World, make_sellable, make_terms
from storefront.models import Order, WaitlistEntry
from tests.browser.conftest import Visit
from tests.browser.test_shopping import NARROW, SMALL_TARGETS, fill_in, send
from tests.storefront.conftest import Till, place_hold, revoke_agreement

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# What a screen reader goes by: one main, one h1, headings that skip no level, a name for every control and landmark,
# no id twice, no two landmarks of one kind with one name.
UNFIT = """
() => {
  const found = [];
  const all = query => [...document.querySelectorAll(query)];
  if (all("main").length !== 1) found.push("not one main");
  if (all("h1").length !== 1) found.push("not one h1");
  let last = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const level = Number(heading.tagName[1]);
    if (level > last + 1) found.push(`${heading.tagName} ${heading.textContent} after h${last}`);
    last = level;
  }
  for (const control of all("input:not([type=hidden]), select, textarea"))
    if (!control.labels.length && !control.getAttribute("aria-label"))
      found.push(`no label: ${control.outerHTML.slice(0, 80)}`);
  for (const control of all("a, button"))
    if (!control.textContent.trim() && !control.getAttribute("aria-label"))
      found.push(`no name: ${control.outerHTML.slice(0, 80)}`);
  for (const described of all("[aria-describedby], [aria-labelledby]"))
    for (const name of ["aria-describedby", "aria-labelledby"])
      for (const id of (described.getAttribute(name) || "").split(" ").filter(Boolean))
        if (!document.getElementById(id)) found.push(`refers to nothing: ${id}`);
  const names = all("nav").map(nav => nav.getAttribute("aria-label"));
  if (new Set(names).size !== names.length || names.includes(null)) found.push(`navs: ${names}`);
  const ids = all("[id]").map(element => element.id);
  if (new Set(ids).size !== ids.length) found.push("an id twice");
  if (!document.title || !document.documentElement.lang) found.push("no title or language");
  return found;
}
"""


def check(visit: Visit, path: str = "") -> None:
    """Open it (or take the page that is open) and hold it against the basics, narrow."""
    page = visit.page
    if path:
        visit.open(path)
    assert page.evaluate(UNFIT) == [], page.url
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], page.url
    assert page.evaluate(SMALL_TARGETS) == [], page.url


def path_of(world: World) -> str:
    return f"/devices/{world.variant.device.slug}/"


def tab_to(page: Page, selector: str, *, at_most: int = 40) -> None:
    for _ in range(at_most):
        page.keyboard.press("Tab")
        if page.evaluate("query => document.activeElement.matches(query)", selector):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    pytest.fail(f"The keyboard does not reach {selector}.")


def test_every_state_of_a_phone(visit: Visit) -> None:
    device = DeviceFactory.create()
    # Two models of one name are delisted: the form asks which.
    first, second = (make_sellable(variant=VariantFactory.create(device=device)) for _ in range(2))
    live, hidden, sold_out, gone = (make_sellable() for _ in range(4))
    for world in (first, second):
        revoke_agreement(world)
    check(visit, path_of(first))
    assert "Not for sale now" in visit.page.inner_text("main")
    outbox.pump()
    terms = replace(make_terms(variant=hidden.variant, hosts=[hidden.host]), condition=Condition.USED)
    offers.save_listing(vendor=hidden.vendor, sku=hidden.listing.sku, terms=terms, by=BUILDER, at=clock.now())
    Stock.objects.filter(listing=sold_out.listing).update(on_hand=0)
    offers.withdraw_listing(listing=gone.listing, by=BUILDER, at=clock.now())
    for world in (first, live, hidden, sold_out, gone):
        check(visit, path_of(world))
    for path in ("/", "/?q=nothing-of-that-name", f"/?q={live.variant.model_number}", "/notices/"):
        check(visit, path)


def test_waiting_by_keyboard_from_the_page_to_the_word(visit: Visit) -> None:
    world = make_sellable()
    place_hold(("variant", world.variant.pk))
    page = visit.page
    visit.open(path_of(world))

    tab_to(page, "[name=email]")
    page.keyboard.type("ada at example")
    page.keyboard.press("Enter")
    page.wait_for_selector("#errors:focus")
    check(visit)
    tab_to(page, "#errors a", at_most=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.name") == "email"
    assert page.input_value("[name=email]") == "ada at example"
    page.fill("[name=email]", "ada@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url("**/wait/asked/")
    check(visit)

    entry = WaitlistEntry.objects.get()
    check(visit, f"/waitlist/{entry.token}/")
    tab_to(page, "main form button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=You are on the list")
    check(visit)
    page.click("text=Take me off the list")
    assert "You are not on the list" in page.inner_text("main")
    check(visit)
    check(visit, "/waitlist/no-such-token/")
    check(visit, f"{path_of(world)}wait/")


def test_the_rest_of_a_cart_is_bought_and_what_fell_comes_back(visit: Visit, provider: Till) -> None:
    falls, stays = make_sellable(), make_sellable(price_amount=Decimal("50.00"))
    page = visit.page
    for world in (falls, stays):
        visit.open(path_of(world))
        page.click("text=Add to cart")
    place_hold(("variant", falls.variant.pk))

    check(visit, "/cart/")
    assert "You can buy the rest now." in page.inner_text("[role=alert]")
    page.click(".sum [role=button]")
    check(visit)
    fill_in(visit)
    send(visit)
    page.wait_for_url("**/orders/**")
    assert Order.objects.get().total_amount == Decimal("50.00")

    visit.open("/cart/")
    assert "Unavailable" in page.inner_text(".line.unavailable")
    hold = Fact.objects.get(kind=Fact.Kind.HOLD)
    holds.release_hold(fact=hold, by=BUILDER, at=clock.now(), reason="tested")
    visit.open("/cart/")
    assert "Unavailable" not in page.inner_text("main")
    assert page.is_visible("text=Go to checkout")
