"""Withdrawals seen from the shop: carts and orders in the preview, and what follows the commit."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.core.mail import send_mail
from django.db import transaction

from authorization import clock, decisions, fence, groundwork, offers, outbox
from authorization.fence import FenceMisuse
from authorization.holds import Exemption
from authorization.models import AgreementVersion, ApprovalVersion, Revocation
from authorization.revocations import (
    Change,
    NarrowAgreement,
    PlaceHold,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
    WorldMoved,
)
from catalog.models import Organization
from seeds.factories import (
    BUILDER,
    LONG_AGO,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_agreement,
    make_approval,
    make_equipment,
    make_policy,
    make_sellable,
    make_terms,
)
from storefront import carts, messages, orders, withdrawals
from storefront.models import Cart, Order, SentMessage
from tests.authorization.tampering import tampering
from tests.authorization.test_front_door import KINDS
from tests.storefront.conftest import DESK, check_out, place_hold, revoke_agreement, withdraw

pytestmark = pytest.mark.django_db


def buy(world):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return check_out(cart)


def hold(world, *targets):
    return PlaceHold("HOLD-1", "the shop", "SHOP_REVIEW", "test", targets)


def react():
    """What the workers do, until nothing is left to do, on the clock of the test."""
    outbox.pump(at=lambda: clock.now())


# --- the preview --------------------------------------------------------------------------------------------


def test_the_preview_counts_open_carts_and_unshipped_orders(world, provider, cart):
    order = buy(world)
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())

    seen = withdrawals.preview(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"), at=clock.now())

    assert [offer.sku for offer in seen.impact.falls] == [world.listing.sku]
    assert (seen.open_carts, seen.unshipped_orders) == (1, 1)
    assert seen.first_orders == (order,)


def test_orders_and_carts_of_offers_that_survive_are_not_counted(world, provider, cart):
    buy(world)
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    distributor = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    maker = world.variant.device.manufacturer
    make_agreement(grantor=maker, grantee=distributor, may_sublicense=True, at=clock.now())
    make_agreement(grantor=distributor, grantee=world.vendor, at=clock.now())

    seen = withdrawals.preview(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"), at=clock.now())

    assert (len(seen.impact.falls), len(seen.impact.survives)) == (0, 1)
    assert (seen.open_carts, seen.unshipped_orders) == (0, 0)


@pytest.mark.parametrize(
    "dimension", ["manufacturer", "device", "variant", "vendor", "listing", "host", "territory", "fact"]
)
def test_a_hold_counts_the_orders_that_its_targets_match(world, provider, dimension):
    buy(world)
    value = {
        "manufacturer": world.variant.device.manufacturer_id,
        "device": world.variant.device_id,
        "variant": world.variant.pk,
        "vendor": world.vendor.pk,
        "listing": world.listing.pk,
        "host": world.host.pk,
        "territory": world.listing.territory,
        "fact": world.agreement.pk,
    }[dimension]

    assert withdrawals.preview(hold(world, (dimension, str(value))), at=clock.now()).unshipped_orders == 1


def hold_of_retail(world):
    return [("channel", world.listing.channel)]


def hold_of_condition(world):
    return [("condition", world.listing.condition)]


def hold_of_attribute(world):
    record_attribute(world.variant, "chipset", "A")
    return [("attribute:chipset", "A")]


def hold_of_parent(world):
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    make_affiliation(parent=parent, child=world.variant.device.manufacturer, at=clock.now())
    return [("manufacturer", str(parent.pk))]


def record_attribute(variant, name, value):
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="test") as recorder:
        recorder.variant_radio(
            variant=variant, fields={}, bands=[], ims={}, attributes=[(name, value)], valid_from=LONG_AGO
        )


@pytest.mark.parametrize("targets_of", [hold_of_retail, hold_of_condition, hold_of_attribute, hold_of_parent])
def test_a_hold_by_other_terms_counts_and_holds_orders_too(world, provider, targets_of):
    order = buy(world)
    targets = targets_of(world)

    revoke(hold(world, *targets))

    assert Order.objects.get(pk=order.pk).state == Order.State.HELD


def test_what_an_exemption_lets_through_is_neither_counted_nor_held(world, provider):
    order, others = buy(world), make_sellable(host=world.host)
    other_order = buy(others)
    now = clock.now()
    exemption = Exemption((("vendor", str(world.vendor.pk)),), now, now + timedelta(days=9))
    change = PlaceHold(
        "HOLD-1",
        "the shop",
        "SHOP_REVIEW",
        "test",
        (("host", str(world.host.pk)),),
        exemptions=(exemption,),
    )

    revoke(change)

    assert Order.objects.get(pk=order.pk).state == Order.State.PLACED
    assert Order.objects.get(pk=other_order.pk).state == Order.State.HELD


def demand_equipment(world):
    fact = make_equipment(variant=world.variant, at=clock.now())
    make_policy(is_equipment_authorization_enforced=True, at=clock.now())
    # Every offer is decided again, and rests on the authorization from then on.
    react()
    return fact


@pytest.mark.parametrize("kind", ["revoked", "listed", "suspended"])
def test_an_order_whose_equipment_authorization_is_withdrawn_is_held_and_not_released(world, provider, kind):
    equipment = demand_equipment(world)
    order = buy(world)
    change: Change = {
        "revoked": RevokeEquipment(equipment.pk, "REGULATOR_ORDER"),
        "suspended": hold(world, ("fact", str(equipment.pk))),
        "listed": PlaceHold(
            "LIST-1",
            "FCC",
            "REGULATOR_ORDER",
            "test",
            (("variant", str(world.variant.pk)),),
            reach="all_grants",
        ),
    }[kind]

    revoke(change)

    order.refresh_from_db()
    assert order.state == Order.State.HELD
    react()
    assert withdrawals.delistings_of(Revocation.objects.get(), at=clock.now()).count() == 1
    with pytest.raises(orders.InvalidOrderMove, match="EQUIPMENT_"):
        orders.release_order(order=order, by=DESK, at=clock.now())


def test_a_prospective_list_does_not_reach_what_was_granted_before(world, provider):
    demand_equipment(world)
    order = buy(world)
    targets = (("variant", str(world.variant.pk)),)

    revoke(PlaceHold("LIST-1", "FCC", "REGULATOR_ORDER", "test", targets, reach="new_grants"))

    assert Order.objects.get(pk=order.pk).state == Order.State.PLACED


def test_a_narrower_agreement_holds_what_it_no_longer_covers_and_nothing_else(world, provider):
    order = buy(world)
    second = VariantFactory.create(device=world.variant.device)
    wide = second_agreement(world)
    withdraw(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"))
    make_approval(host=world.host, variant=second, at=clock.now(), code="CA-2nd")
    kept = make_sellable(vendor=world.vendor, variant=second, host=world.host, sku="SKU-2nd")
    kept_order = buy(kept)
    react()

    revoke(NarrowAgreement(wide.pk, "MANUFACTURER_DISCLAIMS", models=(second.pk,)))

    order.refresh_from_db()
    assert order.state == Order.State.HELD
    assert "narrowed" in order.held_reason
    assert Order.objects.get(pk=kept_order.pk).state == Order.State.PLACED


def test_an_order_held_for_a_narrower_agreement_is_not_released(world, provider):
    order = buy(world)

    revoke(NarrowAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS", conditions=("used",)))

    order.refresh_from_db()
    assert order.state == Order.State.HELD
    with pytest.raises(orders.InvalidOrderMove, match="AGREEMENT_SCOPE_CONDITION"):
        orders.release_order(order=order, by=DESK, at=clock.now())


def test_a_narrowing_does_not_hold_what_it_still_covers_though_another_paper_ended(
    world, provider, monkeypatch
):
    with tampering():
        ApprovalVersion.objects.update(valid_until=clock.now() + timedelta(days=10))
    order = buy(world)
    now = clock.now() + timedelta(days=20)
    monkeypatch.setattr(clock, "now", lambda: now)

    revoke(NarrowAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS", conditions=("new",)))

    assert Order.objects.get(pk=order.pk).state == Order.State.PLACED


def test_a_ground_that_still_held_counts_though_another_had_failed(world, provider, monkeypatch):
    """The order was sold on another agreement; the one that came after it falls, when an approval is over too."""
    with tampering():
        ApprovalVersion.objects.update(valid_until=clock.now() + timedelta(days=10))
    order = buy(world)
    second = second_agreement(world)
    withdraw(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    react()
    assert Order.objects.get(pk=order.pk).state == Order.State.PLACED
    now = clock.now() + timedelta(days=20)
    monkeypatch.setattr(clock, "now", lambda: now)

    revoke(RevokeAgreement(second.pk, "MANUFACTURER_DISCLAIMS"))

    assert Order.objects.get(pk=order.pk).state == Order.State.HELD


def test_a_hold_on_another_vendor_counts_no_orders(world, provider):
    buy(world)
    other = OrganizationFactory.create()

    assert withdrawals.preview(hold(world, ("vendor", str(other.pk))), at=clock.now()).unshipped_orders == 0


def test_a_confirmation_of_another_preview_is_refused(world):
    with pytest.raises(WorldMoved):
        withdrawals.confirm(
            RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"),
            digest="0" * 64,
            requested_by="the manufacturer",
            word_received_at=clock.now(),
            note="",
            by=DESK,
            at=clock.now(),
        )
    assert not Revocation.objects.exists()


# --- unshipped orders ---------------------------------------------------------------------------------------


def test_unshipped_orders_are_held_and_say_why(world, provider):
    order = buy(world)

    revoke_agreement(world)
    react()

    order.refresh_from_db()
    assert order.state == Order.State.HELD
    assert world.agreement.code in order.held_reason


def test_an_order_that_another_chain_still_covers_is_left_alone(world, provider):
    order = buy(world)
    distributor = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    make_agreement(
        grantor=world.variant.device.manufacturer, grantee=distributor, may_sublicense=True, at=clock.now()
    )
    make_agreement(grantor=distributor, grantee=world.vendor, at=clock.now())

    revoke_agreement(world)
    react()

    order.refresh_from_db()
    assert order.state == Order.State.PLACED


def second_agreement(world, **changes):
    return make_agreement(
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        at=clock.now(),
        code="AG-2nd",
        **changes,
    )


def state_software(world):
    """Two approvals of one variant on one host differ by their software."""
    offers.save_listing(
        vendor=world.vendor,
        sku=world.listing.sku,
        terms=make_terms(variant=world.variant, hosts=[world.host], software="7.0"),
        by=BUILDER,
        at=clock.now(),
    )
    world.listing.refresh_from_db()
    offers.publish_listing(listing=world.listing, by=BUILDER, at=clock.now())
    world.offer.refresh_from_db()


def second_approval(world):
    return make_approval(
        host=world.host, variant=world.variant, software_from="6.0", at=clock.now(), code="CA-2nd"
    )


def revoke(change):
    """As the desk does; what the preview promised of orders is what then happens."""
    unshipped = withdrawals.preview(change, at=clock.now()).unshipped_orders
    held = Order.objects.filter(state=Order.State.HELD).count()
    withdraw(change)
    react()
    assert Order.objects.filter(state=Order.State.HELD).count() - held == unshipped


@pytest.mark.parametrize("kind", ["agreement", "approval", "fact on hold"])
def test_an_order_whose_second_ground_falls_is_held_too(world, provider, kind):
    if kind == "approval":
        state_software(world)
    order = buy(world)
    steps: list[Change]
    if kind == "approval":
        second = second_approval(world)
        steps = [RevokeApproval(fact.pk, "CARRIER_WITHDRAWS") for fact in (world.approval, second)]
    else:
        second = second_agreement(world)
        steps = [RevokeAgreement(fact.pk, "MANUFACTURER_DISCLAIMS") for fact in (world.agreement, second)]
    if kind == "fact on hold":
        steps[1] = hold(world, ("fact", str(second.pk)))

    for step, state in zip(steps, (Order.State.PLACED, Order.State.HELD), strict=True):
        revoke(step)
        order.refresh_from_db()
        assert order.state == state


def test_an_order_of_a_vendor_further_down_is_held_when_its_second_chain_falls(world, provider):
    order = buy(world)
    distributor = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    upstream = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=distributor, may_sublicense=True, at=clock.now()
    )
    make_agreement(grantor=distributor, grantee=world.vendor, at=clock.now())

    revoke(RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS"))
    assert Order.objects.get(pk=order.pk).state == Order.State.PLACED

    revoke(RevokeAgreement(upstream.pk, "MANUFACTURER_DISCLAIMS"))
    assert Order.objects.get(pk=order.pk).state == Order.State.HELD


def test_a_lawful_sale_whose_paper_has_ended_since_is_not_held_for_another_one(world, provider, monkeypatch):
    with tampering():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=400))
    other = second_agreement(world, valid_until=clock.now() + timedelta(days=300))
    order = buy(world)
    assert other.pk not in cited_by(order)
    # Both papers end; then the one that the order never rested on is revoked.
    now = clock.now() + timedelta(days=500)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert decisions.decide_offers([world.offer], at=now)[0].reason_codes == ["AGREEMENT_EXPIRED"]

    revoke(RevokeAgreement(other.pk, "MANUFACTURER_DISCLAIMS"))

    assert Order.objects.get(pk=order.pk).state == Order.State.PLACED


def cited_by(order):
    return {item["fact_id"] for item in order.lines.get().decision.evidence}


def test_a_host_whose_clock_is_behind_holds_all_the_same(world, provider):
    order = buy(world)
    behind = clock.now()
    revoke_agreement(world)

    withdrawals.hold_unshipped_orders(
        payload={"revocation_id": Revocation.objects.get().pk}, event_id=uuid4(), at=behind
    )

    assert Order.objects.get(pk=order.pk).state == Order.State.HELD


def test_shipped_orders_and_orders_of_others_are_left_alone(world, provider):
    shipped = buy(world)
    orders.ship_order(order=shipped, by=DESK, at=clock.now())
    others = buy(make_sellable())

    revoke_agreement(world)
    react()

    assert Order.objects.get(pk=shipped.pk).state == Order.State.SHIPPED
    assert Order.objects.get(pk=others.pk).state == Order.State.PLACED


def test_holding_runs_through_every_chunk_and_twice_is_once(world, provider, monkeypatch):
    monkeypatch.setattr(withdrawals, "CHUNK_SIZE", 2)
    placed = [buy(world) for _ in range(5)]
    revoke_agreement(world)
    payload = {"revocation_id": Revocation.objects.get().pk}

    for _ in range(2):
        withdrawals.hold_unshipped_orders(payload=payload, event_id=uuid4(), at=clock.now())

    assert Order.objects.filter(state=Order.State.HELD).count() == len(placed)


def test_a_hold_holds_the_orders_that_it_matches(world, provider):
    order = buy(world)
    others = buy(make_sellable())

    place_hold(("vendor", world.vendor.pk))
    react()

    assert Order.objects.get(pk=order.pk).state == Order.State.HELD
    assert Order.objects.get(pk=others.pk).state == Order.State.PLACED


def test_an_order_sold_before_its_listing_was_edited_is_still_found(world, provider):
    order = buy(world)
    # The vendor's listing is another phone by now; the sold one is what the hold is about.
    other = VariantFactory.create(device=world.variant.device)
    offers.save_listing(
        vendor=world.vendor,
        sku=world.listing.sku,
        terms=make_terms(variant=other, hosts=[world.host]),
        by=BUILDER,
        at=clock.now(),
    )

    place_hold(("variant", world.variant.pk))
    react()

    assert Order.objects.get(pk=order.pk).state == Order.State.HELD


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_the_preview_counts_the_orders_that_each_kind_of_withdrawal_holds(build, provider):
    case = build()
    outbox.pump()
    bought, beside = buy(case.falls), buy(case.stays)
    preview = withdrawals.preview(case.change, at=clock.now())
    assert preview.unshipped_orders == 1
    assert [order.pk for order in preview.first_orders] == [bought.pk]
    revocation = withdrawals.confirm(
        case.change,
        digest=preview.impact.digest,
        requested_by="the manufacturer",
        word_received_at=clock.now(),
        note="",
        by=DESK,
        at=clock.now(),
    )
    outbox.pump()
    bought.refresh_from_db()
    beside.refresh_from_db()
    assert (bought.state, beside.state) == (Order.State.HELD, Order.State.PLACED)
    assert bought.held_on == revocation
    assert revocation.name in bought.held_reason
    assert withdrawals.delistings_of(revocation, at=clock.now()).count() == 1


def test_a_later_withdrawal_holds_orders_on_its_day(world, provider, monkeypatch):
    order = buy(world)
    day = clock.now() + timedelta(days=2)
    change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
    preview = withdrawals.preview(change, at=clock.now(), effective_at=day)
    assert preview.unshipped_orders == 1
    withdrawals.confirm(
        change,
        digest=preview.impact.digest,
        requested_by="the manufacturer",
        word_received_at=clock.now(),
        note="",
        by=DESK,
        at=clock.now(),
        effective_at=day,
    )
    outbox.pump()
    order.refresh_from_db()
    assert order.state == Order.State.PLACED
    monkeypatch.setattr(clock, "now", lambda: day + timedelta(seconds=1))
    outbox.pump(at=clock.now)
    order.refresh_from_db()
    assert order.state == Order.State.HELD


# --- vendors ------------------------------------------------------------------------------------------------


def test_each_vendor_gets_one_message_with_its_own_offers(world):
    Organization.objects.filter(pk=world.vendor.pk).update(contact_email="vendor@example.com")
    other = make_sellable(host=world.host)
    second = VariantFactory.create(device=world.variant.device)
    make_agreement(
        grantor=second.device.manufacturer,
        grantee=world.vendor,
        models=[second],
        at=clock.now(),
        code="AG-2nd",
    )
    make_approval(host=world.host, variant=second, at=clock.now(), code="CA-2nd")
    third = make_listing(world, second, "SKU-2nd")
    # The sweeps of what was just recorded would come first, and be told of apart.
    react()

    place_hold(("host", world.host.pk))
    react()

    message = SentMessage.objects.get(kind="delisted", recipient=world.vendor.name)
    assert world.listing.sku in message.body
    assert third.sku in message.body
    assert other.listing.sku not in message.body
    assert "ON_HOLD" in message.body
    assert SentMessage.objects.filter(kind="delisted").count() == 2
    assert ["vendor@example.com"] in [sent.to for sent in mail.outbox if "off sale" in sent.subject]


def make_listing(world, variant, sku):
    saved = offers.save_listing(
        vendor=world.vendor,
        sku=sku,
        terms=make_terms(variant=variant, hosts=[world.host]),
        by=BUILDER,
        at=clock.now(),
    )
    offers.publish_listing(listing=saved.listing, by=BUILDER, at=clock.now())
    return saved.listing


def test_one_dead_address_does_not_keep_the_others_from_their_mail(world, monkeypatch):
    other = make_sellable(host=world.host)
    for vendor, address in ((world.vendor, "dead@example.com"), (other.vendor, "good@example.com")):
        Organization.objects.filter(pk=vendor.pk).update(contact_email=address)
    monkeypatch.setattr(messages, "send_mail", lambda *args: refuse_dead(send_mail, *args))

    place_hold(("host", world.host.pk))
    react()

    assert [m.to for m in mail.outbox] == [["good@example.com"]]
    assert SentMessage.objects.get(recipient=world.vendor.name, kind="delisted").mailed_at is None

    # The next attempt reaches the one that is still owed, and only that one.
    monkeypatch.setattr(messages, "send_mail", send_mail)
    outbox.pump(at=lambda: clock.now() + timedelta(minutes=1))
    assert [m.to for m in mail.outbox] == [["good@example.com"], ["dead@example.com"]]


def refuse_dead(send, subject, body, sender, recipients):
    if recipients == ["dead@example.com"]:
        raise ConnectionRefusedError("no such mailbox")
    return send(subject, body, sender, recipients)


def test_no_mail_inside_the_fence(world):
    message: dict[str, Any] = {
        "kind": "test",
        "recipient": "Ada",
        "address": "ada@example.com",
        "subject": "s",
        "body": "b",
    }
    with transaction.atomic():
        fence.shared()
        with pytest.raises(FenceMisuse):
            messages.send_message(**message, event_id=uuid4(), at=clock.now())


def test_a_line_break_in_a_name_cannot_end_the_subject():
    message = messages.send_message(
        event_id=uuid4(),
        kind="test",
        recipient="Ada",
        address="ada@example.com",
        subject="Hello\nBcc: all@example.com",
        body="b",
        at=clock.now(),
    )

    assert message.subject == "Hello Bcc: all@example.com"
    assert mail.outbox[0].subject == message.subject
