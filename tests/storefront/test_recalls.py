"""Who bought goods that were withdrawn for safety is found, shipped or not, and told once what to do."""

import smtplib
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from authorization import clock, fence, groundwork, holds, outbox, revocations
from authorization.holds import Exemption
from authorization.models import (
    Fact,
    LedgerEntry,
    OutboxRow,
    PendingChange,
    Reinstatement,
    Revision,
    Revocation,
)
from authorization.revocations import (
    NarrowAgreement,
    PlaceHold,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
)
from catalog.models import Organization
from seeds.factories import (
    BUILDER,
    LONG_AGO,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_equipment,
    make_sellable,
)
from storefront import carts, messages, orders, recalls
from storefront.models import Cart, Notice, Order, Recall, SentMessage
from tests.storefront.conftest import DESK, check_out, withdraw

pytestmark = pytest.mark.django_db


def buy(*offers, quantity=1, **buyer):
    cart = Cart.objects.create(created_at=clock.now())
    for offer in offers:
        carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=quantity, at=clock.now())
    return check_out(cart, **buyer)


def ship(order):
    return orders.ship_order(order=order, by=DESK, at=clock.now())


def recall(*targets, reason_code="SAFETY", code="RECALL-1", exemptions=()):
    chosen = tuple((dimension, str(value)) for dimension, value in targets)
    withdraw(PlaceHold(code, "CPSC", reason_code, "batteries", chosen, exemptions=tuple(exemptions)))
    return Revocation.objects.order_by("-pk")[0]


def react():
    outbox.pump(at=lambda: clock.now())


def recalled():
    return {row.line.order for row in Recall.objects.select_related("line__order")}


def warnings():
    return SentMessage.objects.filter(kind="recall")


@pytest.fixture
def shipped(provider, world):
    return ship(buy(world.offer))


@pytest.fixture
def other(world):
    """Another phone of the same vendor on the same host."""
    return make_sellable(vendor=world.vendor, host=world.host)


# --- who is found ---------------------------------------------------------------------------------------------


def test_every_unit_ever_sold_is_found_and_no_other_phone(provider, world, other):
    sold = [ship(buy(world.offer)), buy(world.offer), ship(buy(world.offer, other.offer))]
    bystander = ship(buy(other.offer))

    recall(("variant", world.variant.pk))
    react()

    assert recalled() == set(sold)
    assert {row.line.listing_id for row in Recall.objects.all()} == {world.listing.pk}
    assert bystander.pk not in warnings().values_list("recipient", flat=True)


@pytest.mark.parametrize("reason_code", ["REGULATOR_ORDER", "SHOP_REVIEW", "MANUFACTURER_DISCLAIMS"])
def test_only_safety_is_told_to_those_who_bought(shipped, world, reason_code):
    recall(("variant", world.variant.pk), reason_code=reason_code)
    react()
    assert not Recall.objects.exists()
    assert not warnings().exists()


def targets_of(world):
    return {
        "manufacturer": world.variant.device.manufacturer_id,
        "device": world.variant.device_id,
        "variant": world.variant.pk,
        "vendor": world.vendor.pk,
        "listing": world.listing.pk,
        "host": world.host.pk,
        "territory": world.listing.territory,
        "channel": world.listing.channel,
        "condition": world.listing.condition,
        "fact": world.agreement.pk,
    }


@pytest.mark.parametrize(
    "dimension",
    [
        "manufacturer",
        "device",
        "variant",
        "vendor",
        "listing",
        "host",
        "territory",
        "channel",
        "condition",
        "fact",
    ],
)
def test_a_recall_goes_by_whatever_its_targets_name(shipped, world, dimension):
    recall((dimension, targets_of(world)[dimension]))
    react()
    assert recalled() == {shipped}


@pytest.mark.parametrize("few", [0, 500])
def test_all_targets_must_match(provider, world, other, monkeypatch, few):
    """Whether SQL narrows by them or each line is looked at."""
    monkeypatch.setattr("storefront.goods._FEW", few)
    order = ship(buy(world.offer, other.offer))
    recall(("variant", world.variant.pk), ("condition", "used"))
    react()
    assert not Recall.objects.exists()
    recall(("variant", world.variant.pk), ("vendor", world.vendor.pk), code="RECALL-2")
    react()
    assert [row.line for row in Recall.objects.all()] == [order.lines.get(listing=world.listing)]


def record_attribute(variant, name, value):
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="test") as recorder:
        recorder.variant_radio(
            variant=variant, fields={}, bands=[], ims={}, attributes=[(name, value)], valid_from=LONG_AGO
        )


@pytest.mark.parametrize("few", [0, 500])
def test_by_an_attribute_that_the_phone_had_when_it_was_sold(provider, world, other, monkeypatch, few):
    monkeypatch.setattr("storefront.goods._FEW", few)
    record_attribute(world.variant, "battery", "A")
    order = ship(buy(world.offer, other.offer))
    record_attribute(world.variant, "battery", "B")

    recall(("attribute:battery", "A"))
    react()

    assert [row.line for row in Recall.objects.all()] == [order.lines.get(listing=world.listing)]


def test_what_is_recalled_and_not_shipped_stays_though_it_may_be_sold(provider, world):
    record_attribute(world.variant, "battery", "A")
    order = buy(world.offer)
    record_attribute(world.variant, "battery", "B")
    recall(("attribute:battery", "A"))
    react()
    order.refresh_from_db()
    assert order.state == Order.State.HELD, "the engine would allow it: the recall knows better"
    for act in (
        lambda: orders.release_order(order=order, by=DESK, at=clock.now()),
        lambda: orders.ship_held_order(order=order, by=DESK, at=clock.now(), reason="it may be sold"),
    ):
        with pytest.raises(orders.InvalidOrderMove, match="recalled for safety"):
            act()
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="recalled")


def test_by_the_company_that_the_maker_belongs_to(shipped, world):
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    make_affiliation(parent=parent, child=world.variant.device.manufacturer, at=clock.now())
    recall(("manufacturer", parent.pk))
    react()
    assert recalled() == {shipped}


def test_by_the_terms_of_the_sale_though_the_listing_was_edited_since(shipped, world):
    new = VariantFactory.create(device=world.variant.device)
    type(world.listing).objects.filter(pk=world.listing.pk).update(variant=new)
    recall(("variant", world.variant.pk))
    recall(("variant", new.pk), code="RECALL-2")
    react()
    assert list(Recall.objects.values_list("revocation__fact__code", flat=True)) == ["RECALL-1"]


def test_what_an_exemption_lets_through_is_not_recalled(provider, world, other):
    mine, theirs = ship(buy(world.offer)), ship(buy(other.offer))
    now = clock.now()
    spared = Exemption((("variant", str(world.variant.pk)),), now, now + timedelta(days=9))
    over = Exemption((("variant", str(other.variant.pk)),), now, now + timedelta(seconds=0.001))
    recall(("host", world.host.pk), exemptions=[spared, over])
    react()
    assert recalled() == {theirs}
    assert mine not in recalled()


def test_what_was_sold_on_an_agreement_that_is_revoked_for_safety(provider, world, other):
    order, bystander = ship(buy(world.offer)), ship(buy(other.offer))
    withdraw(RevokeAgreement(world.agreement.pk, "SAFETY"))
    react()
    assert recalled() == {order}
    assert bystander not in recalled()


def test_what_a_narrowed_agreement_covers_no_longer(provider, world):
    order = ship(buy(world.offer))
    withdraw(NarrowAgreement(world.agreement.pk, "SAFETY", conditions=("new", "used")))
    react()
    assert not Recall.objects.exists(), "it still covers new phones"
    withdraw(NarrowAgreement(world.agreement.pk, "SAFETY", conditions=("used",)))
    react()
    assert recalled() == {order}


def test_by_variant_and_host_of_an_approval_and_by_territory_of_an_authorization(provider, world):
    elsewhere = make_sellable(vendor=world.vendor, variant=world.variant, sku="SKU-elsewhere")
    here, there = ship(buy(world.offer)), ship(buy(elsewhere.offer))
    withdraw(RevokeApproval(world.approval.pk, "SAFETY"))
    react()
    assert recalled() == {here}
    equipment = make_equipment(variant=world.variant, at=clock.now())
    withdraw(RevokeEquipment(equipment.pk, "SAFETY"))
    react()
    assert recalled() == {here, there}


def test_what_was_given_back_is_not_recalled(provider, world, other):
    refunded = buy(world.offer)
    orders.refund_order(order=refunded, by=DESK, at=clock.now(), reason="r")
    partly = orders.hold_order(order=buy(world.offer, other.offer), by=DESK, at=clock.now(), reason="r")
    given_back = partly.lines.get(listing=world.listing)
    orders.refund_lines(order=partly, lines={given_back.pk: 1}, by=DESK, at=clock.now(), reason="r")
    recall(("variant", world.variant.pk))
    react()
    assert not Recall.objects.exists()


def test_a_second_recall_of_the_same_phone_is_told_again(shipped, world):
    """The second wave says more than the first: replaced units, another remedy."""
    recall(("variant", world.variant.pk))
    recall(("device", world.variant.device_id), code="RECALL-2")
    react()
    assert Recall.objects.count() == 2
    assert warnings().count() == 2


def test_the_end_of_an_exemption_finds_only_those_that_it_had_spared(provider, world, other):
    first, second = ship(buy(world.offer)), ship(buy(other.offer))
    now = clock.now()
    spared = Exemption((("variant", str(world.variant.pk)),), now, now + timedelta(days=9))
    revocation = recall(("host", world.host.pk), exemptions=[spared])
    react()
    assert recalled() == {second}
    holds.end_exemption(fact=revocation.fact, part=1, by=DESK, at=clock.now(), reason="r")
    ended = copy_of(revocation, kind=Revocation.Kind.EXEMPTION)
    recalls.find_recalls(payload={"revocation_id": ended.pk}, event_id=uuid4(), at=clock.now())
    react()
    assert [row.line.order for row in Recall.objects.filter(revocation=ended)] == [first]


def copy_of(revocation, **changes):
    """Another withdrawal at the newest revision."""
    fields = {f.attname: getattr(revocation, f.attname) for f in Revocation._meta.concrete_fields}
    fields |= {"revision_id": Revision.objects.order_by("-n")[0].pk, "id": None} | changes
    return Revocation.objects.create(**fields)


def test_a_corrected_variant_names_its_units_and_a_policy_none(shipped, world):
    revocation = recall(("vendor", OrganizationFactory.create().pk))
    corrected = newest_revision_copy(
        revocation, kind=Revocation.Kind.GROUNDWORK, fact_id=None, scope={"variant_ids": [world.variant.pk]}
    )
    policy = newest_revision_copy(revocation, kind=Revocation.Kind.POLICY, fact_id=None, scope={})
    for each in (corrected, policy):
        recalls.find_recalls(payload={"revocation_id": each.pk}, event_id=uuid4(), at=clock.now())
    react()
    assert [row.revocation for row in Recall.objects.all()] == [corrected]


def newest_revision_copy(revocation, **changes):
    with transaction.atomic():
        fence.exclusive(by=DESK, reason="test", at=clock.now())
    return copy_of(revocation, **changes)


# --- in windows -----------------------------------------------------------------------------------------------


def test_the_search_goes_on_in_windows_until_the_end(provider, world, monkeypatch):
    monkeypatch.setattr(recalls, "WINDOW", 2)
    monkeypatch.setattr(recalls, "ORDERS_PER_ROW", 1)
    sold = {ship(buy(world.offer)) for _ in range(5)}
    recall(("variant", world.variant.pk))
    react()
    assert recalled() == sold
    events = OutboxRow.objects.exclude(handler="")
    assert events.filter(event="recall.search_due").count() == 3
    assert events.filter(event="recall.found").count() == 5
    assert warnings().exclude(mailed_at=None).count() == 5
    entry = LedgerEntry.objects.get(act="recall.searched")
    assert entry.evidence == {"orders": 5, "lines": 5}


def test_whatever_is_delivered_again_finds_and_tells_nobody_twice(provider, world, monkeypatch):
    monkeypatch.setattr(recalls, "WINDOW", 2)
    for _ in range(3):
        ship(buy(world.offer))
    recall(("variant", world.variant.pk))
    react()
    rows = OutboxRow.objects.exclude(handler="").filter(handler__startswith="storefront.recalls")
    for _ in range(2):
        rows.update(done_at=None, claimed_until=None)
        react()
    assert Recall.objects.count() == warnings().count() == 3
    assert len([sent for sent in mail.outbox if "Safety" in sent.subject]) == 3
    assert rows.count() == 1 + 2 + 2
    assert LedgerEntry.objects.filter(act="recall.searched").count() == 1


def test_a_worker_that_dies_in_a_window_leaves_nothing_half_done(provider, world, monkeypatch):
    order = ship(buy(world.offer))
    revocation = recall(("variant", world.variant.pk))
    payload = {"revocation_id": revocation.pk, "after_order_id": 0}

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(recalls, "_record_search", die)
        with pytest.raises(Killed):
            recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
    assert not Recall.objects.exists()
    assert not OutboxRow.objects.filter(event="recall.found").exists()
    react()
    assert recalled() == {order}
    assert warnings().count() == 1


def test_a_window_takes_as_many_queries_whatever_it_finds(provider, world):
    revocation = recall(("variant", world.variant.pk))
    Revocation.objects.filter(pk=revocation.pk).exists()
    revocations.release_hold(fact=Fact.objects.get(code="RECALL-1"), by=DESK, at=clock.now(), reason="r")
    react()
    counts = []
    for number in range(2):
        for _ in range(1 + 8 * number):
            ship(buy(world.offer))
        revocation = recall(("variant", world.variant.pk), code=f"RECALL-N{number}")
        payload = {"revocation_id": revocation.pk, "after_order_id": 0}
        with CaptureQueriesContext(connection) as captured:
            recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
        counts.append(len(captured))
        assert Recall.objects.filter(revocation=revocation).exists()
        revocations.release_hold(fact=revocation.fact, by=DESK, at=clock.now(), reason="r")
        react()
    assert counts[0] == counts[1] <= 20


# --- what they are told ---------------------------------------------------------------------------------------


def test_the_buyer_of_a_shipped_phone_is_told_what_to_do(provider, world):
    order = ship(buy(world.offer, quantity=2))
    recall(("variant", world.variant.pk))
    react()
    message = warnings().get()
    assert message.address == order.buyer_email
    assert message.subject == f"Safety warning: please stop using the phone of your order {order.pk}"
    assert f"- 2 x {world.variant.device}, model {world.variant.model_number}" in message.body
    assert "1. Switch the phone off" in message.body
    assert str(order.public_id) in message.body
    assert Recall.objects.get().told_at is not None


def test_the_buyer_of_one_that_has_not_left_us_need_do_nothing(provider, world):
    order = buy(world.offer)
    recall(("variant", world.variant.pk))
    react()
    order.refresh_from_db()
    assert order.state == Order.State.HELD
    assert "It has not left us: you need do nothing." in warnings().get().body
    assert "Switch" not in warnings().get().body


def test_the_notice_is_named_once_it_is_published(shipped, world):
    revocation = recall(("variant", world.variant.pk))
    notice = Notice.objects.create(slug="batteries", title="t", body="b", drafted_at=clock.now())
    notice.revocations.add(revocation)
    Notice.objects.update(published_at=clock.now())
    react()
    assert "/notices/batteries/" in warnings().get().body


def test_two_buyers_of_one_name_are_both_told(provider, world):
    for address in ("ada@example.com", "other.ada@example.com"):
        ship(buy(world.offer, buyer_email=address))
    recall(("variant", world.variant.pk))
    react()
    assert {message.address for message in warnings()} == {"ada@example.com", "other.ada@example.com"}


def test_an_address_that_refuses_its_mail_keeps_no_other_from_it_and_is_tried_again(
    provider, world, monkeypatch
):
    bad, good = (ship(buy(world.offer, buyer_email=f"{name}@example.com")) for name in ("bad", "good"))
    real, refuses = mail.send_mail, [True]

    def send(subject, body, sender, to, **kwargs):
        if to == ["bad@example.com"] and refuses[0]:
            raise smtplib.SMTPRecipientsRefused({})
        return real(subject, body, sender, to, **kwargs)

    monkeypatch.setattr(messages, "send_mail", send)
    recall(("variant", world.variant.pk))
    react()
    told = Recall.objects.exclude(told_at=None)
    assert [row.line.order for row in told] == [good]
    refuses[0] = False
    outbox.pump(at=lambda: clock.now() + timedelta(seconds=2))
    assert {row.line.order for row in told.all()} == {good, bad}
    assert len([sent for sent in mail.outbox if "Safety" in sent.subject]) == 2


def test_who_was_refunded_before_the_message_went_is_not_told(provider, world):
    order = buy(world.offer)
    revocation = recall(("variant", world.variant.pk))
    payload = {"revocation_id": revocation.pk, "after_order_id": 0}
    recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
    orders.refund_order(order=order, by=DESK, at=clock.now(), reason="r")
    react()
    assert not warnings().exists()


# --- undone ---------------------------------------------------------------------------------------------------


def undo(revocation, *, is_mistake):
    revision = revocations.release_hold(fact=revocation.fact, by=DESK, at=clock.now(), reason="r")
    done = Reinstatement.objects.create(
        revocation=revocation,
        revision=revision,
        is_mistake=is_mistake,
        reason="r",
        actor=str(DESK),
        at=clock.now(),
    )
    outbox.announce(event="authority.reinstated", payload={"reinstatement_id": done.pk}, at=clock.now())


def test_who_was_warned_by_mistake_is_told_so_once(provider, world, monkeypatch):
    monkeypatch.setattr(recalls, "ORDERS_PER_ROW", 2)
    for _ in range(3):
        ship(buy(world.offer))
    revocation = recall(("variant", world.variant.pk))
    react()
    undo(revocation, is_mistake=True)
    react()
    rows = OutboxRow.objects.exclude(handler="").filter(
        event__in=["recall.taken_back", "authority.reinstated"]
    )
    rows.update(done_at=None, claimed_until=None)
    react()
    taken_back = SentMessage.objects.filter(kind="recall.mistake")
    assert taken_back.count() == 3
    assert "That was a mistake" in taken_back[0].body
    assert len([sent for sent in mail.outbox if "mistake" in sent.subject]) == 3
    assert rows.count() == 1 + 3


def test_a_recall_that_is_over_was_no_mistake(shipped, world):
    revocation = recall(("variant", world.variant.pk))
    react()
    undo(revocation, is_mistake=False)
    react()
    assert not SentMessage.objects.filter(kind="recall.mistake").exists()


def test_nobody_is_warned_of_what_was_undone_before(shipped, world):
    revocation = recall(("variant", world.variant.pk))
    payload = {"revocation_id": revocation.pk, "after_order_id": 0}
    recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
    undo(revocation, is_mistake=True)
    react()
    assert not warnings().exists()
    assert not SentMessage.objects.filter(kind="recall.mistake").exists()


@pytest.mark.parametrize("state", ["open", "cancelled"])
def test_what_is_still_to_come_or_was_cancelled_recalls_nothing(shipped, world, state):
    revocation = recall(("variant", world.variant.pk))
    OutboxRow.objects.all().delete()
    later = clock.now() + timedelta(days=1)
    Revocation.objects.filter(pk=revocation.pk).update(effective_at=later if state == "open" else clock.now())
    PendingChange.objects.create(
        kind="withdrawal", revocation=revocation, state=state, made_by="a", made_at=clock.now(), due_at=later,
        decided_at=None if state == "open" else clock.now(),
    )  # fmt: skip
    payload = {"revocation_id": revocation.pk, "after_order_id": 0}
    recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
    assert not Recall.objects.exists()


def test_who_is_warned_while_it_is_undone_hears_that_it_was_a_mistake(provider, world, monkeypatch):
    for _ in range(3):
        ship(buy(world.offer))
    revocation = recall(("variant", world.variant.pk))
    payload = {"revocation_id": revocation.pk, "after_order_id": 0}
    recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
    found = OutboxRow.objects.exclude(handler="").get(event="recall.found")
    send = messages.send_message

    def undone_after_the_first(**message):
        sent = send(**message)
        if message["kind"] == "recall":
            monkeypatch.setattr(recalls, "send_message", send)
            undo(revocation, is_mistake=True)
            # The round of the undo is over before the mail is marked as sent.
            row = OutboxRow.objects.exclude(handler="").get(event="authority.reinstated")
            recalls.take_back_recalls(payload=row.payload, event_id=row.event_id, at=clock.now())
            recalls.tell_of_mistake(payload=payload, event_id=uuid4(), at=clock.now())
            rows = OutboxRow.objects.exclude(handler="").filter(
                event__in=["authority.reinstated", "recall.taken_back"]
            )
            rows.update(done_at=clock.now())
        return sent

    monkeypatch.setattr(recalls, "send_message", undone_after_the_first)
    recalls.tell_of_recalls(payload=found.payload, event_id=found.event_id, at=clock.now())
    assert warnings().count() == 1
    react()
    assert SentMessage.objects.filter(kind="recall.mistake").count() == 1
    assert warnings().count() == 1


def test_a_warning_whose_sender_died_is_corrected_too(shipped, world, monkeypatch):
    """The mail may have gone out: nobody lived to say so, and the recall was undone before the work was taken up."""
    revocation = recall(("variant", world.variant.pk))
    payload = {"revocation_id": revocation.pk, "after_order_id": 0}
    recalls.search_on(payload=payload, event_id=uuid4(), at=clock.now())
    found = OutboxRow.objects.exclude(handler="").get(event="recall.found")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(messages, "send_mail", killed)
        with pytest.raises(KeyboardInterrupt):
            recalls.tell_of_recalls(payload=found.payload, event_id=found.event_id, at=clock.now())
    undo(revocation, is_mistake=True)
    react()
    assert warnings().get().mailed_at is None
    assert SentMessage.objects.filter(kind="recall.mistake", mailed_at__isnull=False).count() == 1
