"""The proof that no order is late finds every kind of late order, and none in a good history.

Late orders are made here by hand, in the ways that the sale forbids. Each test needs real transactions: they
are what the proof is about.
"""

import json
import threading
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from authorization import (
    affiliations,
    agreements,
    clock,
    decisions,
    fence,
    groundwork,
    holds,
    policies,
    revocations,
)
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    Decision,
    DecisionEvidence,
    EquipmentVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    LedgerEntry,
    PolicyVersion,
    Revision,
    ScopeTerm,
)
from authorization.software import sort_key
from carriers.models import HostingVersion, NetworkVersion
from carriers.versions import FOREVER
from catalog.models import Device, Organization, Variant, VariantVersion
from seeds.factories import (
    BUILDER,
    LONG_AGO,
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_agreement,
    make_equipment,
    make_hold,
    make_policy,
    make_sellable,
)
from storefront import audit, carts
from storefront.models import Cart, Order, OrderLine, PaymentIntent
from tests.authorization.tampering import tampering
from tests.storefront.conftest import DESK, check_out, place_hold, revoke_agreement, revoke_approval, withdraw

pytestmark = pytest.mark.django_db(transaction=True)


def buy(world):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return check_out(cart)


def old_answer(world):
    return decisions.decide(decisions.question_for_offer(world.offer), at=clock.now())


def forge(world, answer, *, others=(), **lies):
    """Insert an order on an answer that may be stale, without asking again. Its transaction is its own.

    `others`: more lines, as pairs of world and answer.
    """
    with transaction.atomic():
        fence.shared()
        order = insert_order(world, answer, **({"transaction_id": fence.transaction_id()} | lies))
        for other, its_answer in others:
            insert_line(order, other, its_answer)
        return order


def insert_order(world, answer, **fields):
    at = clock.now()
    intent = PaymentIntent.objects.create(
        checkout_key=uuid4(), cart_id=uuid4(), amount=1, currency="USD", created_at=at, updated_at=at
    )
    rest = {"sold_at": at, "revision": answer.revision, "total_amount": 1, "total_currency": "USD"}
    order = Order.objects.create(intent=intent, **(rest | fields))
    insert_line(order, world, answer)
    return order


def insert_line(order, world, answer):
    OrderLine.objects.create(
        order=order,
        offer=world.offer,
        listing=world.listing,
        vendor=world.vendor,
        decision=decisions.record_decision(answer=answer, offer=world.offer),
        quantity=1,
        price_amount=1,
        price_currency="USD",
    )


def found():
    return [(late.order_id, late.why, late.fact_code) for late in audit.late_orders()]


def release(code):
    revocations.release_hold(fact=Fact.objects.get(code=code), by=DESK, at=clock.now(), reason="test")


# --- a good history -----------------------------------------------------------------------------------------


def test_nothing_sold_is_nothing_late():
    assert audit.late_orders() == []


def test_a_good_history_has_no_late_order(provider):
    one, two = make_sellable(), make_sellable()
    buy(one)
    buy(two)
    place_hold(("vendor", one.vendor.pk))
    buy(two)
    release("HOLD-1")
    buy(one)
    revoke_agreement(one)
    buy(two)
    another = make_agreement(
        grantor=one.variant.device.manufacturer, grantee=one.vendor, assurance="claimed", at=clock.now()
    )
    # The order cites the second version; the end of the first is no concern of it.
    agreements.verify_agreement(fact=another, by=DESK, at=clock.now(), reason="test")
    buy(one)
    revoke_approval(two)
    policies.set_policy(**policies.POLICY_2016, by=DESK, at=clock.now(), reason="test")
    buy(two)
    policies.set_policy(**policies.POLICY_GATE_SHUT, by=DESK, at=clock.now(), reason="test")
    place_hold(("territory", "US"), code="HOLD-2")
    assert Order.objects.count() == 7
    assert found() == []


# --- evidence that was closed -------------------------------------------------------------------------------


def test_an_order_after_the_revocation_of_its_agreement_is_late(provider):
    world = make_sellable()
    answer = old_answer(world)
    forge(world, answer)
    revoke_agreement(world)
    late = forge(world, answer)
    assert found() == [(late.pk, "evidence_closed", world.agreement.code)]


def test_an_order_after_the_revocation_of_its_carrier_approval_is_late():
    world = make_sellable()
    answer = old_answer(world)
    revoke_approval(world)
    late = forge(world, answer)
    assert found() == [(late.pk, "evidence_closed", world.approval.code)]


def test_an_order_after_a_change_of_the_policy_that_it_cites_is_late():
    world = make_sellable()
    answer = old_answer(world)
    policies.set_policy(**policies.POLICY_2016, by=DESK, at=clock.now(), reason="test")
    late = forge(world, answer)
    cited = next(item.code for item in answer.evidence if item.kind == "policy")
    assert found() == [(late.pk, "evidence_closed", cited)]


def test_every_line_of_an_order_is_looked_at():
    good, bad = make_sellable(), make_sellable()
    answer = old_answer(bad)
    revoke_agreement(bad)
    order = forge(good, old_answer(good), others=[(bad, answer)])
    assert found() == [(order.pk, "evidence_closed", bad.agreement.code)]


def test_what_the_order_says_of_itself_does_not_help_it():
    world = make_sellable()
    answer = old_answer(world)
    before = clock.now()
    revoke_agreement(world)
    late = forge(
        world, answer, revision=Revision.objects.latest("n").n + 7, sold_at=before - timedelta(days=1)
    )
    # That it says to be older than a change that it came after is no proof either.
    assert found() == [(late.pk, "evidence_closed", world.agreement.code), (late.pk, "unproven", "")]


def test_a_clock_that_ran_ahead_does_not_make_a_good_order_late():
    world = make_sellable()
    forge(world, old_answer(world), sold_at=clock.now() + timedelta(days=2), revision=0)
    revoke_agreement(world)
    assert found() == []


@pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has one writer at a time: it cannot make this history"
)
def test_an_order_that_commits_after_the_revocation_though_it_began_before_is_late():
    world = make_sellable()
    answer = old_answer(world)
    started, revoked = threading.Event(), threading.Event()

    def sleepy_buyer():
        try:
            with transaction.atomic():
                # No fence: the transaction has its id, and commits when all is over.
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_current_xact_id()::text")
                    transaction_id = cursor.fetchone()[0]
                started.set()
                assert revoked.wait(10)
                insert_order(world, answer, transaction_id=transaction_id)
        finally:
            connection.close()

    thread = threading.Thread(target=sleepy_buyer)
    thread.start()
    assert started.wait(10)
    # Transactions that end meanwhile make the sleeper's number an old one: numbers alone would clear it.
    make_sellable()
    revoke_agreement(world)
    revoked.set()
    thread.join()
    assert [why for _, why, _ in found()] == ["evidence_closed"]


# --- evidence of every kind ---------------------------------------------------------------------------------


def recording():
    return groundwork.recording(by=BUILDER, at=clock.now(), reason="test")


def record_radio(variant, *bands, host=None, attributes=None, valid_from=LONG_AGO):
    with recording() as recorder:
        recorder.variant_radio(
            variant=variant,
            fields={"gsm_confidence": "H", "umts_confidence": "H", "lte_confidence": "H"},
            bands=[{"rat": "LTE", "band": band} for band in bands],
            ims={host.code: "yes"} if host else {},
            attributes=attributes,
            valid_from=valid_from,
        )


def record_network(host, *bands):
    rows = [{"rat": "LTE", "band": band, "role": "", "group": "lte_core", "voice": "VoLTE"} for band in bands]
    with recording() as recorder:
        recorder.network(host=host, era="2026", fields={"admission": "open"}, bands=rows, valid_from=LONG_AGO)


def make_regulated():
    """An offer whose sale rests on a record of every kind."""
    world = make_sellable()
    maker = world.variant.device.manufacturer
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    make_affiliation(parent=parent, child=maker, at=clock.now())
    make_agreement(grantor=parent, grantee=world.vendor, at=clock.now())
    revoke_agreement(world)
    make_equipment(variant=world.variant, at=clock.now())
    record_radio(world.variant, "B2", "B4", host=world.host)
    record_network(world.host, "B2", "B4")
    make_policy(is_equipment_authorization_enforced=True, minimum_radio="DATA_ONLY", at=clock.now())
    return world, parent


def head_of(answer, kind):
    return Fact.objects.get(pk=next(item.fact_id for item in answer.evidence if item.kind == kind))


def change_hosting(world, answer):
    with recording() as recorder:
        recorder.hosting(
            mvno=world.hosting.mvno,
            host=world.host,
            product_name=world.hosting.product_name,
            fields={"note": "it ends"},
            valid_from=LONG_AGO,
            valid_until=clock.now(),
        )


def end_now(affiliation):
    now = clock.now()
    affiliations.end_affiliation(fact=affiliation, valid_until=now, by=DESK, at=now, reason="test")


CHANGES = {
    "hosting": change_hosting,
    "network": lambda world, answer: record_network(world.host, "B66"),
    "variant": lambda world, answer: record_radio(world.variant, "B66"),
    "equipment": lambda world, answer: withdraw(
        revocations.RevokeEquipment(head_of(answer, "equipment").pk, "REGULATOR_ORDER")
    ),
    "affiliation": lambda world, answer: end_now(head_of(answer, "affiliation")),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_an_order_after_a_change_of_any_record_that_it_cites_is_late(kind):
    world, _ = make_regulated()
    answer = old_answer(world)
    forge(world, answer)
    CHANGES[kind](world, answer)
    late = forge(world, answer)
    cited = next(item.code for item in answer.evidence if item.kind == kind)
    assert found() == [(late.pk, "evidence_closed", cited)]


def test_a_change_of_another_record_with_the_same_id_makes_nothing_late():
    """Ids are of a kind: hosting 1 is not variant 1."""
    world = make_sellable()
    answer = old_answer(world)
    [hosting_id] = [item.fact_id for item in answer.evidence if item.kind == "hosting"]
    if not Variant.objects.filter(pk=hosting_id).exists():
        VariantFactory.create(pk=hosting_id)
    for bands in (["B2"], ["B4"]):
        for variant in Variant.objects.all():
            record_radio(variant, *bands)
    forge(world, answer)
    assert found() == []


def test_an_id_counts_within_its_kind_only():
    world = make_sellable()
    equipment = make_equipment(variant=world.variant, at=clock.now())
    answer = old_answer(world)
    place_hold(("fact", equipment.pk))
    make_list(world, "all_grants")
    order = forge(world, answer)
    assert found() == []
    # A network of that id there is none: no proof, and no suspended authorization either.
    cited = {"kind": "network", "fact_id": equipment.pk, "version_no": 1}
    DecisionEvidence.objects.create(decision=order.lines.get().decision, **cited)
    assert found() == [(order.pk, "unproven", "")]


def test_a_sale_that_rests_on_everything_is_good_while_nothing_changes(provider):
    world, _ = make_regulated()
    buy(world)
    assert {item.kind for item in old_answer(world).evidence} == {
        "policy", "hosting", "affiliation", "agreement", "approval", "equipment", "variant", "network"
    }  # fmt: skip
    assert found() == []


# --- holds --------------------------------------------------------------------------------------------------


TARGETS = {
    "vendor": lambda world: world.vendor.pk,
    "listing": lambda world: world.listing.pk,
    "host": lambda world: world.host.pk,
    "variant": lambda world: world.variant.pk,
    "device": lambda world: world.variant.device_id,
    "manufacturer": lambda world: world.variant.device.manufacturer_id,
    "territory": lambda world: "US",
    "channel": lambda world: "web",
    "condition": lambda world: "new",
    "fact": lambda world: world.approval.pk,
}


@pytest.mark.parametrize("dimension", TARGETS)
def test_an_order_under_a_hold_is_late_and_one_before_it_is_not(dimension):
    world = make_sellable()
    answer = old_answer(world)
    forge(world, answer)
    place_hold((dimension, TARGETS[dimension](world)))
    late = forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


@pytest.mark.parametrize(
    "dimension",
    [dimension for dimension in TARGETS if dimension not in ("territory", "channel", "condition")],
)
def test_a_hold_on_something_else_makes_nothing_late(dimension):
    world, other = make_sellable(), make_sellable()
    answer = old_answer(world)
    place_hold((dimension, TARGETS[dimension](other)))
    forge(world, answer)
    assert found() == []


@pytest.mark.parametrize(("dimension", "value"), [("channel", "retail"), ("condition", "used")])
def test_a_hold_on_other_terms_makes_nothing_late(dimension, value):
    world = make_sellable()
    place_hold((dimension, value))
    forge(world, old_answer(world))
    assert found() == []


@pytest.mark.parametrize(("value", "is_late"), [("A", True), ("B", True), ("C", False)])
def test_a_hold_on_an_attribute_stops_the_phones_that_have_it(value, is_late):
    world = make_sellable()
    record_radio(world.variant, attributes=[("chipset", "A"), ("chipset", "B"), ("module", "C")])
    answer = old_answer(world)
    place_hold(("attribute:chipset", value))
    forge(world, answer)
    assert bool(found()) is is_late


def test_an_attribute_counts_as_it_was_known_at_the_sale():
    world = make_sellable()
    answer = old_answer(world)
    place_hold(("attribute:chipset", "A"))
    forge(world, answer)
    record_radio(world.variant, attributes=[("chipset", "A")])
    late = forge(world, answer)
    record_radio(world.variant, attributes=[("chipset", "B")])
    forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_an_attribute_of_a_version_that_is_not_in_force_stops_nothing():
    world = make_sellable()
    record_radio(world.variant, attributes=[("chipset", "A")], valid_from=clock.now() + timedelta(days=30))
    place_hold(("attribute:chipset", "A"))
    answer = old_answer(world)
    forge(world, answer)
    assert found() == []
    late = forge(world, answer, sold_at=clock.now() + timedelta(days=31))
    assert (late.pk, "on_hold", "HOLD-1") in found()


def belong(*companies):
    """Each to the next."""
    return [
        make_affiliation(child=child, parent=parent, at=clock.now()) for child, parent in pairwise(companies)
    ]


def test_a_hold_on_a_company_stops_what_belongs_to_it_at_any_depth():
    world, other = make_sellable(), make_sellable()
    between, top = (OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER) for _ in range(2))
    belong(world.variant.device.manufacturer, between, top)
    answer, other_answer = old_answer(world), old_answer(other)
    place_hold(("manufacturer", top.pk))
    late = forge(world, answer)
    forge(other, other_answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_whom_a_maker_belonged_to_counts_as_it_was_known_at_the_sale():
    world = make_sellable()
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    answer = old_answer(world)
    place_hold(("manufacturer", parent.pk))
    forge(world, answer)
    [affiliation] = belong(world.variant.device.manufacturer, parent)
    late = forge(world, answer)
    end_now(affiliation)
    forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_a_hold_on_a_company_does_not_stop_its_parent():
    world = make_sellable()
    child = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    belong(child, world.variant.device.manufacturer)
    place_hold(("manufacturer", child.pk))
    forge(world, old_answer(world))
    assert found() == []


def exemption(*targets, start=timedelta(), end=timedelta(days=30)):
    now = clock.now()
    named = tuple((dimension, str(value)) for dimension, value in targets)
    return holds.Exemption(targets=named, valid_from=now + start, valid_until=now + end)


def hold_host(world, *exemptions):
    return make_hold(
        targets=[("host", str(world.host.pk))], exemptions=exemptions, at=clock.now(), code="HOLD-1"
    )


def test_an_exemption_that_matches_excuses_while_it_lasts():
    world = make_sellable()
    hold_host(world, exemption(("variant", world.variant.pk), ("vendor", world.vendor.pk)))
    answer = old_answer(world)
    forge(world, answer)
    assert found() == []
    late = forge(world, answer, sold_at=clock.now() + timedelta(days=30))
    # The decision ended with the exemption.
    assert found() == [(late.pk, "expired", ""), (late.pk, "on_hold", "HOLD-1")]


def test_an_exemption_excuses_nothing_before_it_begins():
    world = make_sellable()
    answer = old_answer(world)
    hold_host(world, exemption(("variant", world.variant.pk), start=timedelta(days=2)))
    late = forge(world, answer)
    forge(world, answer, sold_at=clock.now() + timedelta(days=3))
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_an_exemption_of_something_else_excuses_nothing():
    world, other = make_sellable(), make_sellable()
    answer = old_answer(world)
    hold_host(world, exemption(("variant", world.variant.pk), ("vendor", other.vendor.pk)))
    late = forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_an_exemption_names_nothing_that_is_stopped():
    """Its targets are rows of the same hold, and of the same dimensions."""
    world, other = make_sellable(), make_sellable()
    hold_host(world, exemption(("host", other.host.pk), ("variant", world.variant.pk)))
    forge(other, old_answer(other))
    assert found() == []


def test_an_exemption_without_targets_excuses_nothing():
    world = make_sellable()
    answer = old_answer(world)
    hold_host(world, exemption(("vendor", world.vendor.pk)))
    with tampering():
        HoldTarget.objects.filter(part=1).delete()
    late = forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_an_exemption_excuses_from_when_it_was_granted_until_it_is_taken_back():
    world = make_sellable()
    answer = old_answer(world)
    hold = hold_host(world)
    first = forge(world, answer)
    now = clock.now()
    holds.exempt(fact=hold, exemption=exemption(("vendor", world.vendor.pk)), by=DESK, at=now, reason="test")
    forge(world, answer)
    at = clock.now()
    holds.end_exemption(fact=hold, part=1, by=DESK, at=at, reason="test")
    # The clock of that host was behind.
    last = forge(world, answer, sold_at=at - timedelta(microseconds=1))
    assert found() == [
        (first.pk, "on_hold", "HOLD-1"),
        (last.pk, "on_hold", "HOLD-1"),
        (last.pk, "unproven", ""),
    ]


def test_a_hold_that_begins_after_the_sale_stops_it_not():
    world = make_sellable()
    answer = old_answer(world)
    starts = clock.now() + timedelta(days=2)
    make_hold(targets=[("host", str(world.host.pk))], at=clock.now(), valid_from=starts, code="HOLD-1")
    forge(world, answer)
    forge(world, answer, sold_at=starts - timedelta(microseconds=1))
    late = forge(world, answer, sold_at=starts)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_a_clock_that_is_behind_does_not_put_a_sale_before_a_hold_that_began_at_once():
    world = make_sellable()
    answer = old_answer(world)
    before = clock.now() - timedelta(days=1)
    place_hold(("host", world.host.pk))
    late = forge(world, answer, sold_at=before)
    assert found() == [(late.pk, "on_hold", "HOLD-1"), (late.pk, "unproven", "")]


def make_list(world, reach):
    return make_hold(
        targets=[("manufacturer", str(world.variant.device.manufacturer_id))],
        reach=reach,
        placed_by="FCC",
        at=clock.now(),
        code="LIST-1",
    )


@pytest.mark.parametrize(("reach", "is_late"), [("all_grants", True), ("new_grants", False)])
def test_a_list_stops_what_rests_on_the_authorizations_that_it_bars(reach, is_late):
    world, _ = make_regulated()
    answer = old_answer(world)
    make_list(world, reach)
    forge(world, answer)
    assert bool(found()) is is_late


def test_a_prospective_list_stops_what_was_granted_after_it():
    world = make_sellable()
    make_list(world, "new_grants")
    make_equipment(variant=world.variant, at=clock.now(), valid_from=clock.now())
    # An exemption was in force when it was decided, and is none that the proof can see: forged.
    make_policy(is_equipment_authorization_enforced=True, at=clock.now())
    with tampering():
        HoldVersion.objects.update(reach="all_grants", valid_until=clock.now())
    answer = old_answer(world)
    assert answer.is_allowed
    with tampering():
        HoldVersion.objects.update(reach="new_grants", valid_until=FOREVER)
    late = forge(world, answer)
    assert found() == [(late.pk, "on_hold", "LIST-1")]


def test_a_list_stops_nothing_that_rests_on_no_equipment_authorization():
    world = make_sellable()
    make_list(world, "all_grants")
    forge(world, old_answer(world))
    assert found() == []


def test_a_hold_of_several_dimensions_stops_only_where_all_match():
    world, other = make_sellable(), make_sellable()
    answer, other_answer = old_answer(world), old_answer(other)
    place_hold(("vendor", world.vendor.pk), ("vendor", other.vendor.pk), ("host", world.host.pk))
    late = forge(world, answer)
    forge(other, other_answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_a_release_excuses_what_comes_after_it_and_nothing_before():
    world = make_sellable()
    answer = old_answer(world)
    place_hold(("host", world.host.pk))
    late = forge(world, answer)
    release("HOLD-1")
    forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]
    place_hold(("host", world.host.pk), code="HOLD-2")
    later = forge(world, answer)
    assert found() == [(late.pk, "on_hold", "HOLD-1"), (later.pk, "on_hold", "HOLD-2")]


def test_a_hold_does_not_follow_a_listing_that_became_another_phone():
    world, other = make_sellable(), make_sellable()
    place_hold(("variant", other.variant.pk))
    forge(world, old_answer(world))
    world.listing.variant = other.variant
    world.listing.save(update_fields=["variant"])
    assert found() == [], "what was sold is the phone of the decision"


# --- records that take the place of the cited one -----------------------------------------------------------


def test_an_order_past_a_stricter_policy_of_its_territory_is_late():
    """It closes no version of the policy for all."""
    world = make_sellable()
    answer = old_answer(world)
    forge(world, answer)
    policy = make_policy(territory="US", is_equipment_authorization_enforced=True, at=clock.now())
    late = forge(world, answer)
    [found_one] = audit.late_orders()
    assert (found_one.order_id, found_one.why, found_one.fact_code) == (late.pk, "superseded", policy.code)
    assert found_one.revision == Revision.objects.latest("n").n


def test_a_policy_of_the_territory_stands_before_one_for_all_that_began_later():
    world = make_sellable()
    answer = old_answer(world)
    policy = make_policy(territory="US", at=clock.now())
    with tampering():
        PolicyVersion.objects.filter(head=policy).update(valid_from=LONG_AGO)
    late = forge(world, answer)
    assert found() == [(late.pk, "superseded", policy.code)]


def test_a_policy_of_another_territory_takes_no_place():
    world = make_sellable()
    answer = old_answer(world)
    make_policy(territory="CA", is_equipment_authorization_enforced=True, at=clock.now())
    forge(world, answer)
    assert found() == []


def test_a_policy_for_all_takes_no_place_of_one_for_the_territory():
    world = make_sellable()
    make_policy(territory="US", at=clock.now())
    answer = old_answer(world)
    make_policy(is_equipment_authorization_enforced=True, at=clock.now())
    forge(world, answer)
    assert found() == []


def test_a_policy_that_began_later_stands_before_the_cited_one():
    world = make_sellable()
    answer = old_answer(world)
    starts = clock.now() + timedelta(days=2)
    policy = make_policy(territory="US", at=clock.now())
    with tampering():
        PolicyVersion.objects.filter(head=policy).update(valid_from=starts)
    forge(world, answer, sold_at=starts - timedelta(microseconds=1))
    late = forge(world, answer, sold_at=starts)
    assert found() == [(late.pk, "superseded", policy.code)]
    # Two for all at once, as `set_policy` never leaves them: the one that began last.
    cited = next(item.fact_id for item in answer.evidence if item.kind == "policy")
    with tampering():
        PolicyVersion.objects.filter(head=policy).update(territory="*", valid_from=LONG_AGO)
        PolicyVersion.objects.filter(head=cited).update(valid_from=LONG_AGO - timedelta(days=1))
    assert {row[1:] for row in found()} == {("superseded", policy.code)}
    with tampering():
        PolicyVersion.objects.filter(head=cited).update(valid_from=LONG_AGO)
    assert {row[1:] for row in found()} == {("superseded", policy.code)}, "else the highest id"
    with tampering():
        PolicyVersion.objects.filter(head=cited).update(valid_from=LONG_AGO + timedelta(days=1))
    assert found() == []


def record_era(host, era, valid_from, admission="open"):
    rows = [{"rat": "LTE", "band": "B2", "role": "", "group": "lte_core", "voice": "VoLTE"}]
    with recording() as recorder:
        recorder.network(
            host=host, era=era, fields={"admission": admission}, bands=rows, valid_from=valid_from
        )


def test_an_order_past_a_newer_network_of_its_host_is_late():
    """A network of another era closes no version of the one before."""
    world, _ = make_regulated()
    answer = old_answer(world)
    forge(world, answer)
    record_era(world.host, "2030", LONG_AGO + timedelta(days=1))
    late = forge(world, answer)
    assert found() == [(late.pk, "superseded", f"{world.host.code} 2030")]


@pytest.mark.parametrize(
    ("valid_from", "admission"), [(LONG_AGO - timedelta(days=1), "open"), (LONG_AGO + timedelta(days=1), "")]
)
def test_an_older_network_or_one_without_an_admission_rule_takes_no_place(valid_from, admission):
    world, _ = make_regulated()
    answer = old_answer(world)
    record_era(world.host, "2030", valid_from, admission)
    forge(world, answer)
    assert found() == []


def test_another_hosting_takes_no_place():
    """Of hostings, agreements and approvals any that is in force will do."""
    world = make_sellable()
    answer = old_answer(world)
    HostingFactory.create(host=world.host, product_name="another", at=clock.now())
    forge(world, answer)
    assert found() == []


def correct_maker(world):
    """The device is now somebody else's; no version of anything says so."""
    device = Device.objects.get(pk=world.variant.device_id)
    device.manufacturer = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    with recording() as recorder:
        recorder.change(device, ["manufacturer"], is_ground=True)
    return Revision.objects.latest("n").n


def test_an_order_past_the_correction_of_its_maker_is_late():
    world = make_sellable()
    answer = old_answer(world)
    forge(world, answer)
    corrected_at = correct_maker(world)
    late = forge(world, answer)
    assert [(row.order_id, row.why, row.fact_code, row.revision) for row in audit.late_orders()] == [
        (late.pk, "superseded", world.variant.slug, corrected_at)
    ]
    assert audit.examine().unprovable == 0


def test_an_order_past_the_move_of_its_phone_to_another_device_is_late():
    world, other = make_sellable(), make_sellable()
    answer = old_answer(world)
    forge(world, answer)
    variant = Variant.objects.get(pk=world.variant.pk)
    variant.device = other.variant.device
    with recording() as recorder:
        recorder.change(variant, ["device"], is_ground=True)
    late = forge(world, answer)
    assert found() == [(late.pk, "superseded", world.variant.slug)]


def test_a_maker_that_was_corrected_twice_is_judged_by_what_stood_at_the_sale():
    world = make_sellable()
    answer = old_answer(world)
    first = world.variant.device.manufacturer
    correct_maker(world)
    late = forge(world, answer)
    device = Device.objects.get(pk=world.variant.device_id)
    device.manufacturer = first
    with recording() as recorder:
        recorder.change(device, ["manufacturer"], is_ground=True)
    forge(world, answer)
    assert found() == [(late.pk, "superseded", world.variant.slug)]


def test_a_correction_that_kept_no_word_of_the_maker_before_is_said_to_leave_it_open(capsys):
    """Neither late nor good: nothing is left that could tell."""
    world, other = make_sellable(), make_sellable()
    forge(world, old_answer(world))
    forge(other, old_answer(other))
    revision = correct_maker(world)
    with tampering():
        for entry in LedgerEntry.objects.filter(act="groundwork.recorded", revision=revision):
            entry.evidence = {name: value for name, value in entry.evidence.items() if name != "moved_from"}
            entry.save(update_fields=["evidence"])
    done = audit.examine()
    assert (done.late, done.unprovable) == ([], 1)
    call_command("audit", "sales")
    assert "1 cannot be judged" in capsys.readouterr().out


def test_a_maker_that_was_changed_without_a_word_is_found():
    world = make_sellable()
    order = forge(world, old_answer(world))
    maker = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    Device.objects.filter(pk=world.variant.device_id).update(manufacturer=maker)
    assert [(row.order_id, row.missing) for row in audit.late_orders()] == [(order.pk, "maker")]


# --- what one change is to answer for -----------------------------------------------------------------------


def test_a_change_answers_for_the_orders_that_its_own_record_makes_late():
    one, two = make_sellable(), make_sellable()
    answers = old_answer(one), old_answer(two)
    forge(one, answers[0])
    revoke_agreement(one)
    first = Revision.objects.latest("n").n
    late_one = forge(one, answers[0])
    place_hold(("vendor", two.vendor.pk))
    second = Revision.objects.latest("n").n
    late_two = forge(two, answers[1])
    again = forge(one, answers[0])
    assert [row.order_id for row in audit.late_orders(revision=first)] == [late_one.pk, again.pk]
    assert [row.order_id for row in audit.late_orders(revision=second)] == [late_two.pk]
    assert audit.late_orders(revision=first - 1) == []
    assert audit.examine(revision=second).orders == 2, "those that came after it"


def test_a_hold_answers_though_an_exemption_was_added_to_it_since():
    world, other = make_sellable(), make_sellable()
    answer = old_answer(world)
    hold = hold_host(world)
    placed_at = Revision.objects.latest("n").n
    added = exemption(("vendor", other.vendor.pk))
    holds.exempt(fact=hold, exemption=added, by=DESK, at=clock.now(), reason="test")
    late = forge(world, answer)
    assert [row.order_id for row in audit.late_orders(revision=placed_at)] == [late.pk]


# --- dates, and what cannot be proven -----------------------------------------------------------------------


def test_an_order_at_the_end_of_its_decision_is_late_and_one_just_before_is_not():
    world = make_sellable()
    answer = old_answer(world)
    forge(world, answer, sold_at=answer.expires_at - timedelta(microseconds=1))
    late = forge(world, answer, sold_at=answer.expires_at)
    assert found() == [(late.pk, "expired", "")]


def promising(answer):
    """The same answer, which says of itself that it holds for ever."""
    return answer._replace(finding=answer.finding._replace(expires_at=FOREVER))


ENDS = [
    ("agreement", AgreementVersion, "revoked_at", {"state": "revoked"}),
    ("agreement", AgreementVersion, "valid_until", {}),
    ("approval", ApprovalVersion, "revoked_at", {"state": "revoked"}),
    ("approval", ApprovalVersion, "waived_until", {"state": "conditional"}),
    ("approval", ApprovalVersion, "valid_until", {}),
    ("equipment", EquipmentVersion, "revoked_at", {"state": "revoked"}),
    ("equipment", EquipmentVersion, "valid_until", {}),
    ("affiliation", AffiliationVersion, "valid_until", {}),
    ("policy", PolicyVersion, "valid_until", {}),
    ("hosting", HostingVersion, "valid_until", {}),
    ("network", NetworkVersion, "valid_until", {}),
    ("variant", VariantVersion, "valid_until", {}),
]


@pytest.mark.parametrize(("kind", "model", "column", "more"), ENDS)
def test_an_order_at_the_end_of_a_version_that_it_cites_is_late_whatever_its_decision_says(
    kind, model, column, more
):
    """A withdrawal for a later day is a version with its end ahead: it closes none."""
    world, _ = make_regulated()
    ends = clock.now() + timedelta(days=3)
    answer = promising(old_answer(world))
    cited = next(item for item in answer.evidence if item.kind == kind)
    with tampering():
        rows = model.objects.filter(head=cited.fact_id, version_no=cited.version_no)
        assert rows.update(**{column: ends}, **more) == 1
        written_at = rows.get().rev_from
    forge(world, answer, sold_at=ends - timedelta(microseconds=1))
    late = forge(world, answer, sold_at=ends)
    assert [(row.order_id, row.why, row.fact_code, row.revision) for row in audit.late_orders()] == [
        (late.pk, "expired", cited.code, written_at)
    ]


def test_an_exemption_that_ended_excuses_no_more_whatever_the_decision_says():
    world = make_sellable()
    now = clock.now()
    ends = now + timedelta(days=3)
    hold_host(
        world, holds.Exemption(targets=(("vendor", str(world.vendor.pk)),), valid_from=now, valid_until=ends)
    )
    answer = promising(old_answer(world))
    forge(world, answer, sold_at=ends - timedelta(microseconds=1))
    late = forge(world, answer, sold_at=ends)
    assert found() == [(late.pk, "on_hold", "HOLD-1")]


def test_an_order_that_says_to_be_older_than_the_end_is_judged_by_the_change_that_it_came_after():
    world = make_sellable()
    answer = promising(old_answer(world))
    ends = clock.now()
    with tampering():
        AgreementVersion.objects.filter(head=world.agreement).update(valid_until=ends)
    terms = policies.POLICY_2016 | {"territory": "CA"}
    policies.set_policy(**terms, by=DESK, at=clock.now(), reason="any change")
    late = forge(world, answer, sold_at=ends - timedelta(days=1))
    assert (late.pk, "expired", world.agreement.code) in found()


def test_evidence_that_had_not_begun_proves_nothing():
    world = make_sellable()
    answer = old_answer(world)
    starts = clock.now() + timedelta(days=3)
    with tampering():
        AgreementVersion.objects.filter(head=world.agreement).update(valid_from=starts)
    order = forge(world, answer)
    forge(world, answer, sold_at=starts)
    [late] = audit.late_orders()
    assert (late.order_id, late.why, late.missing) == (order.pk, "unproven", "begun")


def test_evidence_that_was_written_after_the_sale_proves_nothing():
    world = make_sellable()
    order = forge(world, old_answer(world))
    agreements_since = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now()
    )
    with tampering():
        DecisionEvidence.objects.filter(kind="agreement").update(fact_id=agreements_since.pk)
    late = {(row.order_id, row.why, row.fact_code, row.missing) for row in audit.late_orders()}
    assert late == {(order.pk, "unproven", agreements_since.code, "begun")}


def spoil_transaction(line):
    Order.objects.filter(pk=line.order_id).update(transaction_id="")


def spoil_transaction_with_words(line):
    Order.objects.filter(pk=line.order_id).update(transaction_id="12; DROP")


def spoil_transaction_of_another(line):
    Order.objects.filter(pk=line.order_id).update(transaction_id="9" * 17)


def spoil_instant(line):
    newest = Revision.objects.latest("n").recorded_at
    Order.objects.filter(pk=line.order_id).update(sold_at=newest - timedelta(microseconds=1))


def spoil_outcome(line):
    with tampering():
        Decision.objects.filter(pk=line.decision_id).update(outcome="deny")


def spoil_evidence(line):
    with tampering():
        DecisionEvidence.objects.filter(decision=line.decision_id).delete()


def spoil_line(line):
    OrderLine.objects.filter(pk=line.pk).delete()


def spoil_offer(line):
    other = make_sellable()
    with tampering():
        Decision.objects.filter(pk=line.decision_id).update(offer=other.offer)


def spoil_question(name, value):
    def spoil(line):
        question = line.decision.question | {name: value}
        with tampering():
            Decision.objects.filter(pk=line.decision_id).update(question=question)

    spoil.__name__ = f"spoil_{name}_by_{value}"
    return spoil


SPOILS = {
    spoil_transaction: {"transaction"},
    spoil_transaction_with_words: {"transaction"},
    spoil_transaction_of_another: {"transaction"},
    spoil_instant: {"instant"},
    spoil_outcome: {"decision"},
    spoil_evidence: {"policy", "hosting"},
    spoil_line: {"lines"},
    spoil_offer: {"decision"},
    spoil_question("vendor_id", 10**9): {"decision"},
    spoil_question("host_id", "none"): {"decision"},
    spoil_question("listing_id", None): {"decision"},
    spoil_question("variant_id", "7 or more"): {"maker"},
    spoil_question("manufacturer_id", 10**9): {"maker"},
    spoil_question("device_id", 10**9): {"maker"},
    spoil_question("territory", "CA"): {"agreement"},
}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_proven_counts_as_late(spoil):
    world = make_sellable()
    order = forge(world, old_answer(world))
    assert found() == []
    spoil(order.lines.get())
    late = audit.late_orders()
    assert {(row.order_id, row.why) for row in late} == {(order.pk, "unproven")}
    # PostgreSQL tells a decision that was written over by the transaction that did it.
    also = {"transaction"} if connection.vendor == "postgresql" else set()
    assert SPOILS[spoil] <= {row.missing for row in late} <= SPOILS[spoil] | also


def spoil_version(model, **fields):
    with tampering():
        model.objects.filter(rev_to__isnull=True).update(**fields)


@pytest.mark.parametrize(
    ("missing", "spoil"),
    [
        ("agreement", lambda: spoil_version(AgreementVersion, assurance="claimed")),
        ("agreement", lambda: spoil_version(AgreementVersion, grantor=OrganizationFactory.create().pk)),
        ("agreement", lambda: spoil_version(AgreementVersion, grantee=OrganizationFactory.create().pk)),
        ("approval", lambda: spoil_version(ApprovalVersion, state="in_test")),
        ("approval", lambda: spoil_version(ApprovalVersion, variant=VariantFactory.create().pk)),
        ("approval", lambda: spoil_version(ApprovalVersion, host=HostCarrierFactory.create().pk)),
        (
            "approval",
            lambda: spoil_version(ApprovalVersion, software_from="7", software_from_key=sort_key("7")),
        ),
        ("equipment", lambda: spoil_version(EquipmentVersion, territory="CA")),
        ("equipment", lambda: spoil_version(EquipmentVersion, variant=VariantFactory.create().pk)),
        ("policy", lambda: spoil_version(PolicyVersion, territory="CA")),
    ],
)
def test_evidence_that_does_not_carry_the_sale_proves_nothing(missing, spoil):
    world, _ = make_regulated()
    order = forge(world, old_answer(world))
    assert found() == []
    spoil()
    late = audit.late_orders()
    assert missing in {row.missing for row in late}
    assert {row.order_id for row in late} == {order.pk}


@pytest.mark.parametrize(
    "kind", ["policy", "hosting", "agreement", "affiliation", "approval", "equipment", "network", "variant"]
)
def test_a_ground_without_its_evidence_is_not_proven(kind):
    world, _ = make_regulated()
    order = forge(world, old_answer(world))
    with tampering():
        DecisionEvidence.objects.filter(decision__order_lines__order=order, kind=kind).delete()
    ground = {"affiliation": "agreement", "network": "radio", "variant": "radio"}.get(kind, kind)
    assert {(row.order_id, row.why, row.missing) for row in audit.late_orders()} == {
        (order.pk, "unproven", ground)
    }


@pytest.mark.parametrize(
    ("software", "is_proven"), [("7.0.4", False), ("7.0.5", True), ("7.0.10", True), ("8", False)]
)
def test_an_approval_of_other_software_carries_nothing(software, is_proven):
    world = make_sellable(software=software)
    order = forge(world, old_answer(world))
    limits = {"software_from": "7.0.5", "software_until": "8"}
    spoil_version(
        ApprovalVersion, **limits, **{f"{name}_key": sort_key(value) for name, value in limits.items()}
    )
    late = [(row.order_id, row.missing) for row in audit.late_orders()]
    assert late == ([] if is_proven else [(order.pk, "approval")])


def test_a_conditional_approval_is_not_enough_where_the_policy_says_so():
    world = make_sellable()
    order = forge(world, old_answer(world))
    spoil_version(ApprovalVersion, state="conditional", limits="no tethering")
    assert found() == []
    spoil_version(PolicyVersion, is_conditional_approval_enough=False)
    assert [(row.order_id, row.missing) for row in audit.late_orders()] == [(order.pk, "approval")]


@pytest.mark.parametrize("dimension", ["model", "territory", "channel", "condition"])
def test_an_agreement_carries_what_its_scope_names(dimension):
    world = make_sellable()
    order = forge(world, old_answer(world))
    with tampering():
        ScopeTerm.objects.filter(version__head=world.agreement, dimension=dimension).update(value="none")
    assert [(row.order_id, row.missing) for row in audit.late_orders()] == [(order.pk, "agreement")]


def test_a_link_that_may_not_sublicense_carries_nobody_but_its_holder():
    world = make_sellable()
    distributor = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    upper = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=distributor, may_sublicense=True, at=clock.now()
    )
    make_agreement(grantor=distributor, grantee=world.vendor, at=clock.now())
    revoke_agreement(world)
    order = forge(world, old_answer(world))
    assert found() == []
    with tampering():
        AgreementVersion.objects.filter(head=upper).update(may_sublicense=False)
    assert [(row.order_id, row.missing) for row in audit.late_orders()] == [(order.pk, "agreement")]


def test_a_version_that_was_never_written_proves_nothing():
    world = make_sellable()
    order = forge(world, old_answer(world))
    with tampering():
        DecisionEvidence.objects.filter(kind="agreement", fact_id=world.agreement.pk).update(version_no=9)
    assert found() == [(order.pk, "unproven", world.agreement.code)]


def test_verification_of_an_agreement_is_a_change_too():
    """No withdrawal; but a sale under the fence would have cited the new version, so it had no fence."""
    world = make_sellable()
    policies.set_policy(**policies.POLICY_2016, by=DESK, at=clock.now(), reason="test")
    claimed = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, assurance="claimed", at=clock.now()
    )
    revoke_agreement(world)
    answer = old_answer(world)
    assert claimed.pk in {item.fact_id for item in answer.evidence}
    agreements.verify_agreement(fact=claimed, by=DESK, at=clock.now(), reason="test")
    late = forge(world, answer)
    assert found() == [(late.pk, "evidence_closed", claimed.code)]


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_says_that_all_is_well(provider, capsys):
    buy(make_sellable())
    call_command("audit", "sales")
    assert capsys.readouterr().out == "1 orders, 0 late\n"
    call_command("audit", "sales", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told == {"orders": 1, "up_to_order": Order.objects.get().pk, "late": [], "unprovable": 0}


def test_the_command_fails_and_names_late_orders(capsys):
    world = make_sellable()
    answer = old_answer(world)
    revoke_agreement(world)
    late = forge(world, answer)
    with pytest.raises(CommandError) as failed:
        call_command("audit", "sales", "--json")
    assert failed.value.returncode == 1
    told = json.loads(capsys.readouterr().out)
    assert [(row["order_id"], row["why"], row["fact_code"]) for row in told["late"]] == [
        (late.pk, "evidence_closed", world.agreement.code)
    ]
    with pytest.raises(CommandError):
        call_command("audit", "sales")
    assert f"order {late.pk} of " in capsys.readouterr().out


def test_the_command_can_go_on_where_it_ended(capsys):
    world = make_sellable()
    answer = old_answer(world)
    revoke_agreement(world)
    first, second = forge(world, answer), forge(world, answer)
    with pytest.raises(CommandError):
        call_command("audit", "sales", "--since-order", str(first.pk), "--json")
    told = json.loads(capsys.readouterr().out)
    assert [row["order_id"] for row in told["late"]] == [second.pk]
    assert (told["orders"], told["up_to_order"]) == (1, second.pk)
    call_command("audit", "sales", "--since-order", str(second.pk), "--json")
    assert json.loads(capsys.readouterr().out)["up_to_order"] == second.pk


def test_the_number_of_queries_is_fixed(provider, django_assert_num_queries):
    # PostgreSQL is asked whether somebody is still writing orders.
    base = 11 if connection.vendor == "sqlite" else 12
    for _ in range(3):
        buy(make_sellable())
    with django_assert_num_queries(base):
        audit.late_orders()
    for _ in range(3):
        buy(make_sellable())
    place_hold(("vendor", make_sellable().vendor.pk))
    with django_assert_num_queries(base):
        audit.late_orders()
    buy(make_sellable())
    # One more where a hold may match.
    with django_assert_num_queries(base + 1):
        audit.late_orders()


def test_orders_are_looked_at_range_by_range(monkeypatch):
    world = make_sellable()
    answer = old_answer(world)
    good = [forge(world, answer) for _ in range(3)]
    revoke_agreement(world)
    late = [forge(world, answer) for _ in range(4)]
    monkeypatch.setattr(audit, "SPAN", 2)
    done = audit.examine()
    assert [row.order_id for row in done.late] == [order.pk for order in late]
    assert (done.orders, done.up_to_order_id) == (len(good) + len(late), late[-1].pk)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_nothing_is_said_to_be_settled_while_somebody_may_still_write_below():
    world = make_sellable()
    answer = old_answer(world)
    done = threading.Event()
    drawn = threading.Event()

    def slow_buyer():
        try:
            with transaction.atomic():
                fence.shared()
                insert_order(world, answer, transaction_id=fence.transaction_id())
                drawn.set()
                assert done.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=slow_buyer)
    thread.start()
    assert drawn.wait(10)
    later = forge(world, answer)
    assert audit.examine().up_to_order_id == 0
    done.set()
    thread.join()
    assert audit.examine().up_to_order_id == later.pk
