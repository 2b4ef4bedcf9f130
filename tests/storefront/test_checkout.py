"""The sale: from a cart to an order, every refusal on the way, and what happens to the order afterwards.

The races of many buyers against many revocations are in tests/flows.
"""

import threading
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction

from authorization import agreements, clock, fence, offers, outbox, policies, revocations
from authorization.fence import FenceMisuse
from authorization.models import DecisionEvidence, LedgerEntry, OutboxRow, Revision
from carriers.versions import FOREVER
from catalog.models import Listing, ListingHost, OfferState, Stock, Variant
from seeds.factories import BUILDER, PlanFactory, VariantFactory, make_approval, make_sellable, make_terms
from storefront import carts, orders, payments, sales
from storefront.models import (
    Cart,
    CartLine,
    Order,
    OrderLine,
    PaymentIntent,
    PrepaidPlan,
    RefusedCheckout,
    Shipment,
)
from storefront.orders import CardDetails, CheckoutRefused, InvalidOrderMove
from tests.storefront.conftest import (
    DESK,
    SHOPPER,
    check_out,
    place_hold,
    revoke_agreement,
    revoke_approval,
    withdraw,
)

on_one_connection = pytest.mark.django_db
# The provider's thread changes the world while a shopper pays, on a connection of its own.
on_many_connections = pytest.mark.django_db(transaction=True)


@pytest.fixture
def filled(cart, world):
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return cart


def stock_of(world):
    return Stock.objects.get(listing=world.listing).on_hand


def assert_nothing_was_sold(world, cart):
    assert not Order.objects.exists()
    assert stock_of(world) == 20
    assert cart.lines.count() == 1, "a refusal takes nothing out of the cart"


def due(event):
    return OutboxRow.objects.filter(event=event).exclude(handler="")


# --- the sale -----------------------------------------------------------------------------------------------


@on_one_connection
def test_a_sale_writes_down_all_that_it_rests_on(provider, cart, world, settings):
    plan = PlanFactory.create(hosting=world.hosting, price_amount=Decimal("25.00"))
    carts.add_to_cart(cart=cart, offer=world.offer, plan=plan, quantity=2, at=clock.now())
    order = check_out(cart)

    assert order.state == Order.State.PLACED
    assert (order.total_amount, order.total_currency) == (Decimal("448.00"), "USD")
    assert (order.buyer_name, order.buyer_email) == ("Ada Buyer", "ada@example.com")
    assert order.revision == fence.current_revision()
    assert order.transaction_id.isdecimal()
    line = OrderLine.objects.select_related("decision").get(order=order)
    assert (line.offer, line.listing, line.vendor, line.plan) == (
        world.offer,
        world.listing,
        world.vendor,
        plan,
    )
    assert (line.quantity, line.price_amount, line.plan_price_amount) == (
        2,
        Decimal("199.00"),
        Decimal("25.00"),
    )
    assert line.decision.outcome == "allow"
    assert line.decision.expires_at > order.sold_at
    cited = set(DecisionEvidence.objects.filter(decision=line.decision).values_list("kind", flat=True))
    assert cited == {"policy", "hosting", "agreement", "approval"}

    assert stock_of(world) == 18
    assert not cart.lines.exists()
    intent = PaymentIntent.objects.get()
    assert (intent.state, intent.amount) == (PaymentIntent.State.AUTHORIZED, Decimal("448.00"))
    assert provider.money() == ["authorized"]
    capture = due("payment.capture_due").get()
    assert capture.payload == {"intent_id": str(intent.pk)}
    assert capture.due_at == order.sold_at + timedelta(seconds=settings.CAPTURE_DELAY_S)
    entry = LedgerEntry.objects.get(act="order.placed")
    assert (entry.actor, entry.subject_id, entry.revision) == (str(SHOPPER), str(order.pk), order.revision)


@on_one_connection
def test_several_lines_are_one_sale(provider, filled, world):
    other = make_sellable()
    carts.add_to_cart(cart=filled, offer=other.offer, plan=None, quantity=3, at=clock.now())
    order = check_out(filled)
    assert order.lines.count() == 2
    assert len({line.decision_id for line in order.lines.all()}) == 2, "each line has a decision of its own"
    assert (stock_of(world), stock_of(other)) == (19, 17)


@pytest.fixture
def two_currencies(filled):
    """As two tabs leave it that each filled the empty cart: neither saw the other's phone."""
    other = make_sellable()
    Listing.objects.filter(pk=other.listing.pk).update(price_currency="JPY")
    line = filled.lines.get()
    CartLine.objects.create(
        cart=filled,
        offer=other.offer,
        quantity=1,
        price_amount=other.listing.price_amount,
        price_currency="JPY",
        added_at=line.added_at,
    )
    return filled


@on_one_connection
def test_a_cart_with_two_currencies_is_refused_and_its_page_says_so(provider, two_currencies):
    view = carts.view_cart(two_currencies, at=clock.now())
    assert [line.is_available for line in view.lines] == [True, False]
    assert (view.total_amount, view.currency) == (Decimal("199.00"), "USD")

    with pytest.raises(CheckoutRefused) as refused:
        check_out(two_currencies)

    assert refused.value.reason_codes == ["CURRENCIES_DIFFER"]
    assert not Order.objects.exists()
    assert provider.money() == []


@on_many_connections
def test_the_same_amount_in_another_currency_is_not_what_was_paid_for(provider, filled, world):
    def reprice():
        Listing.objects.filter(pk=world.listing.pk).update(price_currency="EUR")
        carts.change_line(line=filled.lines.get(), plan=None, quantity=1, at=clock.now())

    provider.book.meanwhile = reprice
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)

    assert refused.value.reason_codes == ["CART_CHANGED"]
    assert not Order.objects.exists()


@on_one_connection
def test_the_same_key_again_is_the_same_order(provider, filled, world):
    key = uuid4()
    order = check_out(filled, checkout_key=key)
    assert check_out(filled, checkout_key=key) == order
    # Also when the shopper has filled the cart anew: the form that was sent twice is the old one.
    carts.add_to_cart(cart=filled, offer=world.offer, plan=None, quantity=1, at=clock.now())
    assert check_out(filled, checkout_key=key) == order
    assert stock_of(world) == 19
    assert len(provider.book.asked) == 1


@on_one_connection
def test_a_key_shows_its_order_to_its_own_cart_only(provider, filled, world):
    key = uuid4()
    check_out(filled, checkout_key=key)
    stranger = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=stranger, offer=world.offer, plan=None, quantity=1, at=clock.now())
    with pytest.raises(CheckoutRefused) as refused:
        check_out(stranger, checkout_key=key)
    assert refused.value.reason_codes == ["CHECKOUT_ENDED"]
    assert Order.objects.count() == 1


@on_one_connection
def test_a_checkout_is_refused_under_the_fence(filled):
    with transaction.atomic():
        fence.shared()
        with pytest.raises(FenceMisuse):
            check_out(filled)


# --- refused at the door ------------------------------------------------------------------------------------


def withdraw_listing(world):
    offers.withdraw_listing(listing=world.listing, by=BUILDER, at=clock.now())


def raise_price(world):
    terms = make_terms(variant=world.variant, hosts=[world.host], price_amount=Decimal("219.00"))
    offers.save_listing(vendor=world.vendor, sku=world.listing.sku, terms=terms, by=BUILDER, at=clock.now())


def sell_out(world):
    Stock.objects.filter(listing=world.listing).update(on_hand=0)


def place_a_hold(world):
    place_hold(("vendor", world.vendor.pk))


def forbid_all(world):
    policies.set_policy(
        name="nothing without approval of another kind",
        minimum_assurance="verified",
        is_carrier_approval_enforced=True,
        by=BUILDER,
        at=clock.now(),
        reason="test",
    )
    revoke_approval(world)


CHANGES = [
    pytest.param(revoke_agreement, "AGREEMENT_REVOKED", id="agreement revoked"),
    pytest.param(revoke_approval, "CARRIER_APPROVAL_REVOKED", id="approval revoked"),
    pytest.param(forbid_all, "CARRIER_APPROVAL_REVOKED", id="policy and approval changed"),
    pytest.param(place_a_hold, "VENDOR_SUSPENDED", id="vendor on hold"),
    pytest.param(withdraw_listing, "OFFER_NOT_LIVE", id="withdrawn by its vendor"),
    pytest.param(raise_price, "PRICE_CHANGED", id="price changed"),
]


@on_one_connection
@pytest.mark.parametrize(("change", "code"), CHANGES)
def test_refused_before_any_money_is_asked_for(provider, filled, world, change, code):
    change(world)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert code in refused.value.reason_codes
    assert [line.line.offer_id for line in refused.value.lines] == [world.offer.pk]
    assert_nothing_was_sold(world, filled)
    assert not PaymentIntent.objects.exists()
    assert provider.book.asked == []
    row = RefusedCheckout.objects.get()
    assert (row.cart_id, row.offer_id, row.reason_codes) == (
        filled.pk,
        world.offer.pk,
        refused.value.reason_codes,
    )
    entry = LedgerEntry.objects.get(act="checkout.refused")
    assert entry.evidence == {"reason_codes": refused.value.reason_codes, "offers": [world.offer.pk]}
    assert entry.actor == str(SHOPPER)


@on_one_connection
def test_sold_out_is_refused(provider, filled, world):
    sell_out(world)
    with pytest.raises(CheckoutRefused, match="not enough") as refused:
        check_out(filled)
    assert refused.value.reason_codes == ["OUT_OF_STOCK"]
    assert not Order.objects.exists()


@on_one_connection
def test_one_line_that_may_not_be_sold_stops_the_whole_sale_and_is_named(provider, filled, world):
    other = make_sellable()
    carts.add_to_cart(cart=filled, offer=other.offer, plan=None, quantity=1, at=clock.now())
    revoke_agreement(world)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert str(world.variant.device) in refused.value.message
    assert str(other.variant.device) not in refused.value.message
    assert filled.lines.count() == 2
    assert stock_of(other) == 20


@on_one_connection
def test_an_empty_cart_is_refused(provider, cart):
    with pytest.raises(CheckoutRefused, match="empty"):
        check_out(cart)


@on_one_connection
@pytest.mark.parametrize(
    "number",
    [
        "",
        "4242",
        "4242424242424243",
        "4242 4242 4242 424x",
        "4" * 20,
        "\uff14\uff12" * 8,
        "4242.4242.4242.4242",
    ],
)
def test_a_card_number_with_an_error_never_leaves_the_shop(provider, filled, world, number):
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled, card=CardDetails(number))
    assert refused.value.reason_codes == ["CARD_INVALID"]
    assert "card number" in refused.value.message
    assert_nothing_was_sold(world, filled)
    assert provider.book.asked == []
    assert RefusedCheckout.objects.get().reason_codes == ["CARD_INVALID"]


def test_a_card_number_is_not_shown_by_accident():
    assert "4242" not in repr(CardDetails("4242424242424242"))


@on_one_connection
@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("buyer_name", "  ", "name"),
        ("buyer_name", "x" * 151, "name"),
        ("buyer_email", "nobody", "e-mail"),
        ("ship_to", "", "shipping address"),
    ],
)
def test_bad_details_of_the_buyer_are_named(provider, filled, world, field, value, named):
    with pytest.raises(CheckoutRefused, match=named) as refused:
        check_out(filled, **{field: value})
    assert refused.value.reason_codes == ["BUYER_INVALID"]
    assert_nothing_was_sold(world, filled)
    assert provider.book.asked == []


# --- refused under the fence --------------------------------------------------------------------------------


@on_many_connections
@pytest.mark.parametrize(
    ("change", "code"), [*CHANGES, pytest.param(sell_out, "OUT_OF_STOCK", id="sold out")]
)
def test_refused_though_the_world_changed_while_the_shopper_paid(provider, filled, world, change, code):
    provider.book.meanwhile = lambda: change(world)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert code in refused.value.reason_codes
    assert not Order.objects.exists()
    assert filled.lines.count() == 1
    assert RefusedCheckout.objects.get().offer_id == world.offer.pk
    assert LedgerEntry.objects.filter(act="checkout.refused").count() == 1
    # The money was reserved, so it has to go back.
    intent = PaymentIntent.objects.get()
    assert intent.state == PaymentIntent.State.VOIDING
    assert due("payment.void_due").get().payload == {"intent_id": str(intent.pk)}


@on_many_connections
def test_a_change_that_does_not_touch_it_lets_the_sale_through_on_new_evidence(provider, filled, world):
    other = make_sellable()
    provider.book.meanwhile = lambda: revoke_agreement(other)
    order = check_out(filled)
    assert order.revision == fence.current_revision()
    assert order.lines.get().decision.revision == order.revision, "decided again, at the newest revision"


@on_many_connections
def test_evidence_written_anew_while_the_shopper_paid_is_cited_in_its_new_version(provider, filled, world):
    claimed = agreements.record_agreement(
        code="CLAIMED",
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        may_sublicense=False,
        assurance="claimed",
        models="*",
        territories="*",
        channels="*",
        conditions="*",
        valid_from=clock.now() - timedelta(days=1),
        valid_until=FOREVER,
        by=DESK,
        at=clock.now(),
    )

    def swap():
        agreements.verify_agreement(fact=claimed, by=DESK, at=clock.now(), reason="test")
        revoke_agreement(world)

    provider.book.meanwhile = swap
    order = check_out(filled)
    cited = DecisionEvidence.objects.get(decision=order.lines.get().decision, kind="agreement")
    assert (cited.fact_id, cited.version_no) == (claimed.pk, 2)


@on_many_connections
def test_an_answer_that_runs_out_while_the_shopper_pays_is_not_sold_on(provider, cart, settings, tmp_path):
    settings.CLOCK_FILE = str(tmp_path / "clock.json")
    opening = FOREVER.replace(year=2016, month=2, day=1)
    clock.write_clock(tmp_path / "clock.json", virtual=opening, rate=1.0)
    world = make_sellable()
    ends_at = opening + timedelta(hours=1)
    revoke_approval(world)
    make_approval(host=world.host, variant=world.variant, at=opening, valid_until=ends_at)
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    # No revision is written at the end: only the instant, read under the fence, tells.
    provider.book.meanwhile = lambda: clock.write_clock(tmp_path / "clock.json", virtual=ends_at, rate=0.0)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(cart)
    assert "CARRIER_APPROVAL_EXPIRED" in refused.value.reason_codes
    assert not Order.objects.exists()


@on_many_connections
def test_an_offer_edited_and_cleared_again_is_not_sold_on_the_old_answer(provider, filled, world):
    """The fence keeps authority still, not a vendor: the listing may have become another phone."""
    other_phone = VariantFactory.create(device=world.variant.device)
    agreements.record_agreement(
        code="BOTH",
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        may_sublicense=False,
        assurance="verified",
        models="*",
        territories="*",
        channels="*",
        conditions="*",
        valid_from=clock.now() - timedelta(days=1),
        valid_until=FOREVER,
        by=DESK,
        at=clock.now(),
    )
    make_approval(host=world.host, variant=other_phone, at=clock.now())

    def become_another_phone():
        terms = make_terms(variant=other_phone, hosts=[world.host])
        saved = offers.save_listing(
            vendor=world.vendor, sku=world.listing.sku, terms=terms, by=BUILDER, at=clock.now()
        )
        offers.publish_listing(listing=saved.listing, by=BUILDER, at=clock.now())

    provider.book.meanwhile = become_another_phone
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.LIVE
    assert refused.value.reason_codes == ["OFFER_CHANGED"]


@on_many_connections
def test_a_cart_changed_in_another_window_is_not_sold_at_the_old_total(provider, filled, world):
    provider.book.meanwhile = lambda: carts.add_to_cart(
        cart=filled, offer=world.offer, plan=None, quantity=1, at=clock.now()
    )
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert refused.value.reason_codes == ["CART_CHANGED"]
    assert filled.lines.get().quantity == 2
    assert not Order.objects.exists()


@on_many_connections
def test_a_payment_given_up_while_the_shopper_paid_is_not_sold_on(provider, filled, world):
    """A checkout that slept past the orphan voider: its money is on the way back."""
    provider.book.meanwhile = lambda: payments.void_orphans(clock.now() + timedelta(minutes=16))
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert refused.value.reason_codes == ["CHECKOUT_ENDED"]
    assert_nothing_was_sold(world, filled)
    outbox.pump(at=lambda: clock.now() + timedelta(minutes=17))
    assert provider.money() == ["voided"]


@on_many_connections
def test_a_plan_repriced_while_the_shopper_paid_is_refused(provider, cart, world):
    plan = PlanFactory.create(hosting=world.hosting)
    carts.add_to_cart(cart=cart, offer=world.offer, plan=plan, quantity=1, at=clock.now())
    provider.book.meanwhile = lambda: PrepaidPlan.objects.update(price_amount=Decimal("99.00"))
    with pytest.raises(CheckoutRefused) as refused:
        check_out(cart)
    assert refused.value.reason_codes == ["PRICE_CHANGED"]


@on_one_connection
def test_a_revocation_by_a_host_whose_clock_is_ahead_holds_at_once(provider, filled, world):
    """Two hosts, two clocks: the revision has committed, so its instant has come, whatever our clock says."""
    ahead = clock.now() + timedelta(minutes=5)
    withdraw(revocations.RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"), at=ahead)
    with pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert "AGREEMENT_REVOKED" in refused.value.reason_codes
    assert not Order.objects.exists()


@on_one_connection
def test_a_sale_is_never_dated_before_the_newest_change_of_authority(provider, filled):
    with transaction.atomic():
        ahead = fence.exclusive(by=DESK, reason="test", at=clock.now() + timedelta(minutes=5))
    assert check_out(filled).sold_at == ahead.recorded_at


# --- under pressure -----------------------------------------------------------------------------------------


class Interruptions:
    """The database ends the fenced transaction, as PostgreSQL's timeouts do, the first few times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, execute, sql, params, many, context):
        if self.left and 'INSERT INTO "storefront_order"' in sql:
            self.left -= 1
            raise OperationalError("canceling statement due to statement timeout")
        return execute(sql, params, many, context)


@on_many_connections
def test_an_interrupted_sale_is_tried_again(provider, filled, world):
    with connection.execute_wrapper(Interruptions(2)):
        order = check_out(filled)
    assert Order.objects.get() == order
    assert stock_of(world) == 19


@on_many_connections
def test_a_sale_that_stays_interrupted_is_refused_kindly_and_its_money_goes_back(provider, filled, world):
    with connection.execute_wrapper(Interruptions(3)), pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert refused.value.reason_codes == ["SHOP_BUSY"]
    assert "Nothing was charged" in refused.value.message
    assert_nothing_was_sold(world, filled)
    assert PaymentIntent.objects.get().state == PaymentIntent.State.VOIDING


@on_one_connection
def test_a_sale_whose_commit_was_not_heard_of_is_found_and_not_sold_twice(provider, filled, world):
    key = uuid4()
    order = check_out(filled, checkout_key=key)
    intent = PaymentIntent.objects.get()
    # The line is back in the cart, as if the answer of the first commit had been lost with its session.
    carts.add_to_cart(cart=filled, offer=world.offer, plan=None, quantity=1, at=clock.now())
    lines = carts.load_lines(filled)
    answers = carts.decide_lines(lines, at=clock.now())
    again = sales.sell(
        intent=intent, lines=lines, answers=answers, buyer=sales.Buyer("A", "a@example.com", "x"), by=SHOPPER
    )
    assert again == order
    assert stock_of(world) == 19


@on_one_connection
def test_a_phone_that_went_between_the_look_at_the_stock_and_the_taking_is_not_sold(provider, filled, world):
    """The buyer of another host's offer of this listing holds no lock of ours; only the stock's own row says."""

    def take_the_last(execute, sql, params, many, context):
        if sql.startswith('UPDATE "catalog_stock"') and fence.is_held():
            execute('UPDATE "catalog_stock" SET "on_hand" = 0', (), False, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(take_the_last), pytest.raises(CheckoutRefused) as refused:
        check_out(filled)
    assert refused.value.reason_codes == ["OUT_OF_STOCK"]
    assert_nothing_was_sold(world, filled)


@on_many_connections
def test_two_requests_with_one_key_sell_once(provider, filled, world):
    key, gate = uuid4(), threading.Barrier(2)
    results: list[object] = []

    def buy():
        try:
            gate.wait(timeout=10)
            results.append(check_out(filled, checkout_key=key).pk)
        except BaseException as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=buy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Order.objects.get().pk] * 2
    assert stock_of(world) == 19
    assert provider.money() == ["authorized"]
    assert PaymentIntent.objects.get().state == PaymentIntent.State.AUTHORIZED


@on_many_connections
def test_the_orphan_voider_waits_for_a_sale_under_way(provider, filled):
    """It looks for an order before it gives a payment up; one that is about to commit must count."""
    given_up: list[int] = []

    def void():
        try:
            given_up.append(payments.void_orphans(clock.now() + timedelta(minutes=16)))
        finally:
            connection.close()

    voider = threading.Thread(target=void)

    def meet_the_voider(execute, sql, params, many, context):
        if 'INSERT INTO "storefront_order"' in sql:
            voider.start()
            voider.join(timeout=0.2)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meet_the_voider):
        order = check_out(filled)
    voider.join()
    assert given_up == [0]
    assert PaymentIntent.objects.get().state == PaymentIntent.State.AUTHORIZED
    assert order.intent == PaymentIntent.objects.get()


@on_many_connections
def test_the_last_phone_is_sold_once(provider, world):
    Stock.objects.filter(listing=world.listing).update(on_hand=1)
    baskets = []
    for _ in range(4):
        basket = Cart.objects.create(created_at=clock.now())
        carts.add_to_cart(cart=basket, offer=world.offer, plan=None, quantity=1, at=clock.now())
        baskets.append(basket)
    gate, outcomes = threading.Barrier(4), []

    def buy(basket):
        try:
            gate.wait(timeout=10)
            check_out(basket)
            outcomes.append("sold")
        except CheckoutRefused as refusal:
            outcomes.append(refusal.reason_codes[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=buy, args=(basket,)) for basket in baskets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["OUT_OF_STOCK"] * 3 + ["sold"]
    assert stock_of(world) == 0


@on_many_connections
def test_a_vendor_who_edits_while_shoppers_buy_is_not_in_their_way_nor_they_in_its(provider, world):
    """Both lock the listing's rows; in another order, or too strongly, they would wait for each other."""
    failures: list[object] = []
    sold = threading.Event()

    def edit():
        try:
            number = 0
            while not sold.wait(0.02):
                number += 1
                terms = make_terms(
                    variant=world.variant,
                    hosts=[world.host],
                    description=f"edition {number}",
                    on_hand=100 + number,
                )
                offers.save_listing(
                    vendor=world.vendor, sku=world.listing.sku, terms=terms, by=BUILDER, at=clock.now()
                )
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    def buy():
        try:
            for _ in range(8):
                basket = Cart.objects.create(created_at=clock.now())
                carts.add_to_cart(cart=basket, offer=world.offer, plan=None, quantity=1, at=clock.now())
                check_out(basket)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    vendor, buyers = threading.Thread(target=edit), [threading.Thread(target=buy) for _ in range(3)]
    for thread in (vendor, *buyers):
        thread.start()
    for thread in buyers:
        thread.join()
    sold.set()
    vendor.join()
    assert failures == []
    assert Order.objects.count() == 24


@on_one_connection
def test_how_many_statements_a_sale_makes_under_the_fence(provider, filled, world):
    """Everybody who withdraws authority waits for these."""
    inside = []

    def note(execute, sql, params, many, context):
        if fence.is_held():
            inside.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        check_out(filled)
    statements = [sql for sql in inside if not sql.startswith(("SAVEPOINT", "RELEASE"))]
    assert len(statements) <= 16, "\n".join(statements)


# --- after the sale -----------------------------------------------------------------------------------------


@pytest.fixture
def order(provider, filled):
    return check_out(filled)


@on_one_connection
def test_the_table_of_moves(order):
    moves = {
        Order.State.HELD: lambda: orders.hold_order(order=order, reason="why", by=DESK, at=clock.now()),
        Order.State.PLACED: lambda: orders.release_order(order=order, by=DESK, at=clock.now()),
        Order.State.SHIPPED: lambda: orders.ship_order(order=order, by=DESK, at=clock.now()),
        Order.State.REFUNDED: lambda: orders.refund_order(order=order, by=DESK, at=clock.now(), reason="why"),
    }
    allowed = set()
    for start in Order.State.values:
        for target, move in moves.items():
            Order.objects.update(state=start)
            Shipment.objects.all().delete()
            with suppress(InvalidOrderMove):
                assert move().state == target
                allowed.add((start, str(target)))
    assert allowed == {
        ("placed", "held"),
        ("placed", "shipped"),
        ("placed", "refunded"),
        ("held", "placed"),
        ("held", "refunded"),
    }


@on_one_connection
def test_hold_and_release_say_why_and_by_whom(order):
    held = orders.hold_order(order=order, reason="The approval was revoked.", by=DESK, at=clock.now())
    assert held.held_reason == "The approval was revoked."
    released = orders.release_order(order=held, by=DESK, at=clock.now(), reason="approved again")
    assert released.held_reason == ""
    acts = LedgerEntry.objects.filter(subject_kind="order", subject_id=str(order.pk)).order_by("id")
    assert [(entry.act, entry.reason) for entry in acts] == [
        ("order.placed", ""),
        ("order.hold", "The approval was revoked."),
        ("order.release", "approved again"),
    ]


@on_one_connection
def test_a_refund_gives_the_phones_back_to_the_stock_and_the_money_to_the_buyer(order, world):
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="buyer asked")
    assert stock_of(world) == 20
    assert PaymentIntent.objects.get().state == PaymentIntent.State.VOIDING
    assert due("payment.void_due").count() == 1
    with pytest.raises(InvalidOrderMove):
        orders.refund_order(order=order, by=DESK, at=clock.now(), reason="again")
    assert stock_of(world) == 20


@on_one_connection
def test_revisions_listings_and_variants_are_left_alone_by_a_sale(provider, filled):
    before = [model.objects.count() for model in (Revision, Listing, Variant, ListingHost)]
    check_out(filled)
    assert [model.objects.count() for model in (Revision, Listing, Variant, ListingHost)] == before
    assert not CartLine.objects.exists()
