"""What a shopper may put in a cart, and what the cart says of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, offers
from authorization.models import PolicyVersion
from catalog.models import Channel, Stock
from seeds.factories import BUILDER, HostCarrierFactory, PlanFactory, make_sellable, make_terms
from storefront import carts
from storefront.carts import CartRefused
from storefront.models import CartLine
from tests.authorization.tampering import tampering
from tests.storefront.conftest import place_hold, revoke_agreement

pytestmark = pytest.mark.django_db


def add(cart, offer, *, plan=None, quantity=1):
    return carts.add_to_cart(cart=cart, offer=offer, plan=plan, quantity=quantity, at=clock.now())


def view(cart):
    return carts.view_cart(cart, at=clock.now())


def edit_listing(world, **changes):
    terms = make_terms(variant=world.variant, hosts=[world.host], **changes)
    offers.save_listing(vendor=world.vendor, sku=world.listing.sku, terms=terms, by=BUILDER, at=clock.now())


@contextmanager
def broken_table(name: str) -> Iterator[None]:
    """Every statement that reads this table fails, as it would behind a dead disk or a lost connection."""

    def fail(execute, sql, params, many, context):
        if name in sql:
            raise OperationalError(f"{name} cannot be read")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        yield


def test_a_line_keeps_the_prices_that_the_shopper_saw(cart, world):
    plan = PlanFactory.create(hosting=world.hosting, price_amount=Decimal("25.00"))
    line = add(cart, world.offer, plan=plan, quantity=2)
    assert (line.price_amount, line.plan_price_amount) == (Decimal("199.00"), Decimal("25.00"))
    seen = view(cart)
    assert seen.can_check_out
    assert (seen.total_amount, seen.currency) == (Decimal("448.00"), "USD"), "one plan with each phone"


def test_adding_again_adds_to_the_line_at_the_price_of_today(cart, world):
    add(cart, world.offer)
    edit_listing(world, price_amount=Decimal("149.00"))
    add(cart, world.offer, quantity=2)
    line = CartLine.objects.get()
    assert (line.quantity, line.price_amount) == (3, Decimal("149.00"))


def test_an_empty_cart_cannot_be_checked_out(cart):
    seen = view(cart)
    assert (seen.lines, seen.total_amount, seen.can_check_out) == ([], Decimal("0.00"), False)


@pytest.mark.parametrize(
    ("withdraw", "code"),
    [
        (revoke_agreement, "AGREEMENT_REVOKED"),
        (lambda world: place_hold(("variant", world.variant.pk)), "ON_HOLD"),
        (lambda world: place_hold(("fact", world.approval.pk)), "CARRIER_APPROVAL_SUSPENDED"),
    ],
)
def test_add_to_cart_stops_at_the_commit_of_a_withdrawal(cart, world, withdraw, code):
    withdraw(world)
    # Nothing was swept yet: the offer's own row still says live.
    with pytest.raises(CartRefused) as refused:
        add(cart, world.offer)
    assert refused.value.reason_codes == [code]
    assert "revoke" not in refused.value.message, "a shopper is not told of the vendor's legal trouble"
    assert not CartLine.objects.exists()


def test_a_line_that_lost_its_authority_stays_is_marked_and_is_not_in_the_total(cart, world):
    other = make_sellable(price_amount=Decimal("50.00"))
    add(cart, world.offer)
    add(cart, other.offer)
    revoke_agreement(world)
    seen = view(cart)
    assert [line.is_available for line in seen.lines] == [False, True]
    assert seen.lines[0].message == "We are not able to sell this phone at the moment."
    assert seen.total_amount == Decimal("50.00")
    assert seen.can_check_out, "the rest can be bought without taking it out"
    assert [line.offer_id for line in seen.available] == [other.offer.pk]


def test_a_cart_of_which_nothing_can_be_bought_cannot_be_checked_out(cart, world):
    add(cart, world.offer)
    revoke_agreement(world)
    assert not view(cart).can_check_out


@pytest.mark.parametrize(
    ("quantity", "code"), [(0, "QUANTITY"), (-1, "QUANTITY"), (21, "OUT_OF_STOCK"), (10**9, "OUT_OF_STOCK")]
)
def test_quantities_that_cannot_be_had(cart, world, quantity, code):
    with pytest.raises(CartRefused) as refused:
        add(cart, world.offer, quantity=quantity)
    assert refused.value.reason_codes == [code]


def test_a_refused_change_leaves_the_line_as_it_was(cart, world):
    line = add(cart, world.offer, quantity=2)
    with pytest.raises(CartRefused, match="Only 20 of this phone left"):
        carts.change_line(line=line, plan=None, quantity=21, at=clock.now())
    assert CartLine.objects.get().quantity == 2


def test_a_new_price_is_said_and_can_be_accepted(cart, world):
    line = add(cart, world.offer)
    edit_listing(world, price_amount=Decimal("219.00"))
    seen = view(cart)
    assert "price has changed" in seen.lines[0].message
    carts.change_line(line=line, plan=None, quantity=1, at=clock.now())
    assert view(cart).total_amount == Decimal("219.00")


def test_a_plan_runs_on_one_host_only(cart, world):
    elsewhere = PlanFactory.create()
    with pytest.raises(CartRefused, match="does not run on") as refused:
        add(cart, world.offer, plan=elsewhere)
    assert refused.value.reason_codes == ["PLAN_OF_OTHER_HOST"]


def test_a_plan_taken_off_sale_or_repriced_is_said(cart, world):
    plan = PlanFactory.create(hosting=world.hosting)
    add(cart, world.offer, plan=plan)
    plan.price_amount += 1
    plan.save()
    assert "price has changed" in view(cart).lines[0].message
    plan.price_amount -= 1
    plan.is_on_sale = False
    plan.save()
    assert "plan" in view(cart).lines[0].message
    with pytest.raises(CartRefused) as refused:
        add(cart, world.offer, plan=plan)
    assert refused.value.reason_codes == ["PLAN_NOT_ON_SALE"]


def test_the_lines_of_one_listing_share_its_stock(cart, world):
    at = clock.now()
    other_host = HostCarrierFactory.create()
    second = make_sellable(
        vendor=world.vendor, variant=world.variant, host=other_host, sku="SECOND", on_hand=1, at=at
    )
    both = make_terms(variant=world.variant, hosts=[other_host, world.host], on_hand=3)
    saved = offers.save_listing(vendor=world.vendor, sku="SECOND", terms=both, by=BUILDER, at=at)
    offers.publish_listing(listing=saved.listing, by=BUILDER, at=at)
    here, there = second.listing.offers.order_by("id")
    add(cart, here, quantity=2)
    add(cart, there, quantity=1)
    assert view(cart).can_check_out
    Stock.objects.filter(listing=second.listing).update(on_hand=2)
    assert [line.is_available for line in view(cart).lines] == [False, False]


def test_a_line_that_fell_takes_no_stock_from_the_rest(cart, world):
    at = clock.now()
    other_host = HostCarrierFactory.create()
    second = make_sellable(
        vendor=world.vendor, variant=world.variant, host=other_host, sku="SECOND", on_hand=2, at=at
    )
    both = make_terms(variant=world.variant, hosts=[other_host, world.host], on_hand=2)
    saved = offers.save_listing(vendor=world.vendor, sku="SECOND", terms=both, by=BUILDER, at=at)
    offers.publish_listing(listing=saved.listing, by=BUILDER, at=at)
    falls, stays = second.listing.offers.order_by("id")
    add(cart, falls, quantity=2)
    line = CartLine.objects.create(
        cart=cart, offer=stays, price_amount=Decimal("199.00"), price_currency="USD", added_at=at
    )
    assert [each.is_available for each in view(cart).lines] == [False, False], "three wanted, two there"
    place_hold(("host", falls.host_id))
    assert view(cart).available == [line]


def test_a_line_that_fell_sets_no_currency_for_the_rest(cart, world):
    other = make_sellable(price_amount=Decimal("50.00"))
    add(cart, world.offer)
    other.listing.price_currency = "EUR"
    other.listing.save(update_fields=["price_currency"])
    # Two tabs may each have filled an empty cart.
    CartLine.objects.create(
        cart=cart,
        offer=other.offer,
        price_amount=Decimal("50.00"),
        price_currency="EUR",
        added_at=clock.now(),
    )
    assert [line.is_available for line in view(cart).lines] == [True, False]
    revoke_agreement(world)
    seen = view(cart)
    assert [line.is_available for line in seen.lines] == [False, True]
    assert (seen.total_amount, seen.currency) == (Decimal("50.00"), "EUR")


@pytest.mark.parametrize(("field", "value"), [("channel", Channel.RETAIL), ("territory", "CA")])
def test_what_is_listed_for_another_channel_or_territory_is_not_sold_here(cart, world, field, value):
    # A decision might well allow it: it is about the listing's own channel and territory.
    setattr(world.listing, field, value)
    world.listing.save(update_fields=[field])
    with pytest.raises(CartRefused) as refused:
        add(cart, world.offer)
    assert "NOT_SOLD_HERE" in refused.value.reason_codes


def test_an_offer_edited_and_not_cleared_again_is_not_sold(cart, world):
    add(cart, world.offer)
    world.listing.condition = "used"
    world.listing.save(update_fields=["condition"])
    # The terms differ from what the offer was cleared on, though nobody told the offer's own row.
    assert not view(cart).lines[0].is_available


def test_two_currencies_are_not_added_up(cart, world):
    other = make_sellable()
    add(cart, world.offer)
    other.listing.price_currency = "EUR"
    other.listing.save(update_fields=["price_currency"])
    with pytest.raises(CartRefused) as refused:
        add(cart, other.offer)
    assert refused.value.reason_codes == ["CURRENCIES_DIFFER"]


def test_without_a_policy_nothing_is_available(cart, world):
    add(cart, world.offer)
    with tampering():
        PolicyVersion.objects.all().delete()
    seen = view(cart)
    assert not seen.lines[0].is_available
    assert "cannot check" in seen.lines[0].message


@pytest.mark.parametrize(
    "table",
    [
        "authorization_revision",
        "authorization_policyversion",
        "authorization_agreementversion",
        "authorization_approvalversion",
        "authorization_holdversion",
    ],
)
def test_evidence_that_cannot_be_read_never_allows(cart, world, table):
    line = add(cart, world.offer)
    with broken_table(table):
        seen = view(cart)
        with pytest.raises(CartRefused) as refused:
            carts.change_line(line=line, plan=None, quantity=2, at=clock.now())
    assert not seen.lines[0].is_available
    assert seen.lines[0].answer is None
    assert not seen.can_check_out
    assert refused.value.reason_codes == ["NOT_DECIDED"]


def test_the_number_of_queries_does_not_grow_with_the_lines(cart, world):
    def queries_of_a_view() -> int:
        with CaptureQueriesContext(connection) as counted:
            view(cart)
        return len(counted)

    add(cart, world.offer, plan=PlanFactory.create(hosting=world.hosting))
    for_one = queries_of_a_view()
    for _ in range(3):
        add(cart, make_sellable().offer)
    assert queries_of_a_view() == for_one <= 12
