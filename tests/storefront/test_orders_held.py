"""A held order is released only while nobody has taken the authority for its goods away."""

from datetime import timedelta

import pytest
from django.db import OperationalError

from authorization import (
    affiliations,
    clock,
    decision_setting,
    decisions,
    fence,
    offers,
    outbox,
    policies,
    revocations,
)
from authorization.decisions import DecisionUnavailable
from authorization.models import AgreementVersion, Fact, LedgerEntry
from authorization.revocations import NarrowAgreement, RestrictApproval
from catalog.models import ListingHost, Organization
from seeds.factories import (
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    ensure_policy,
    make_affiliation,
    make_agreement,
    make_approval,
    make_terms,
)
from storefront import carts, orders
from storefront.models import Order
from storefront.orders import InvalidOrderMove
from tests.authorization.tampering import tampering
from tests.storefront.conftest import DESK, check_out, place_hold, revoke_agreement, revoke_approval, withdraw

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(provider, cart, world):
    """An order that the desk holds for a reason of its own."""
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    order = check_out(cart)
    return orders.hold_order(order=order, reason="The buyer rang.", by=DESK, at=clock.now())


def release(order, *, at=None):
    return orders.release_order(order=order, by=DESK, at=at or clock.now(), reason="settled")


def lift(code):
    revocations.release_hold(fact=Fact.objects.get(code=code), by=DESK, at=clock.now(), reason="over")


@pytest.mark.parametrize(
    ("withdraw", "reason_code"),
    [
        (revoke_agreement, "AGREEMENT_REVOKED"),
        (revoke_approval, "CARRIER_APPROVAL_REVOKED"),
        (lambda world: place_hold(("fact", world.agreement.pk)), "AGREEMENT_SUSPENDED"),
        (lambda world: place_hold(("fact", world.approval.pk)), "CARRIER_APPROVAL_SUSPENDED"),
        (lambda world: place_hold(("variant", world.variant.pk)), "ON_HOLD"),
        (lambda world: place_hold(("vendor", world.vendor.pk)), "VENDOR_SUSPENDED"),
    ],
)
def test_no_release_into_a_withdrawal(held, world, withdraw, reason_code):
    withdraw(world)
    outbox.pump()

    with pytest.raises(InvalidOrderMove, match=f"cannot be released.*{world.listing.sku}: {reason_code} "):
        release(held)

    held.refresh_from_db()
    assert (held.state, held.held_reason) == (Order.State.HELD, "The buyer rang.")
    assert not LedgerEntry.objects.filter(act="order.release").exists()


def test_no_release_while_a_second_withdrawal_stands(held, world):
    place_hold(("variant", world.variant.pk), code="FIRST")
    revoke_agreement(world)
    outbox.pump()
    lift("FIRST")

    with pytest.raises(InvalidOrderMove, match="AGREEMENT_REVOKED"):
        release(held)


def test_a_release_from_a_host_whose_clock_is_behind_sees_the_withdrawal(held, world):
    behind = clock.now()
    revoke_agreement(world)

    with pytest.raises(InvalidOrderMove, match="AGREEMENT_REVOKED"):
        release(held, at=behind)


def test_an_order_is_released_when_its_goods_are_authorized_again(held, world):
    revoke_agreement(world)
    place_hold(("host", world.host.pk), code="SECOND")
    lift("SECOND")
    make_agreement(
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        models=[world.variant],
        at=clock.now(),
        code="AG-2nd",
    )

    assert release(held).state == Order.State.PLACED


def test_paper_that_has_ended_since_a_lawful_sale_does_not_stop_its_release(held, world):
    with tampering():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=400))
    at = clock.now() + timedelta(days=500)
    assert decisions.decide_offers([world.offer], at=at)[0].reason_codes == ["AGREEMENT_EXPIRED"]
    assert release(held, at=at).state == Order.State.PLACED


def test_what_is_not_held_is_refused_as_such_whatever_was_withdrawn(held, world):
    orders.refund_order(order=held, by=DESK, at=clock.now(), reason="the buyer asked")
    revoke_agreement(world)

    with pytest.raises(InvalidOrderMove, match="is refunded: it cannot become placed"):
        release(held)


def test_no_withdrawal_comes_between_the_look_and_the_release(held, monkeypatch):
    seen: list[bool] = []
    real = orders._refuse_withdrawn

    def look(*args, **kwargs):
        seen.append(fence.is_held())
        real(*args, **kwargs)

    monkeypatch.setattr(orders, "_refuse_withdrawn", look)
    release(held)
    assert seen == [True]


# --- whatever way the authority went, and whatever lies beside it now ------------------------------------------


def sold(cart, offer):
    carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=1, at=clock.now())
    return orders.hold_order(order=check_out(cart), reason="The buyer rang.", by=DESK, at=clock.now())


def soon():
    return clock.now() + timedelta(seconds=5)


def narrow(fact, **terms):
    withdraw(NarrowAgreement(fact.pk, "AGREEMENT_TERMINATED", **terms))


def test_an_end_that_was_brought_forward_is_a_withdrawal(held, world):
    narrow(world.agreement, valid_until=clock.now() + timedelta(seconds=30))
    answer = decisions.decide_offers([world.offer], at=clock.now())[0]
    assert answer.is_allowed
    # As the sweep does, which finds it allowed until then.
    decisions.record_decision(answer=answer, offer=world.offer)

    with pytest.raises(InvalidOrderMove, match="AGREEMENT_EXPIRED"):
        release(held, at=clock.now() + timedelta(minutes=1))


def test_an_end_that_was_brought_forward_stays_so_when_the_old_one_has_come(held, world):
    with tampering():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=400))
    narrow(world.agreement, valid_until=clock.now() + timedelta(days=10))

    with pytest.raises(InvalidOrderMove, match="AGREEMENT_EXPIRED"):
        release(held, at=clock.now() + timedelta(days=500))


@pytest.mark.parametrize(
    ("terms", "reason_code"),
    [
        ({"conditions": ("used",)}, "AGREEMENT_SCOPE_CONDITION"),
        ({"channels": ("retail",)}, "AGREEMENT_SCOPE_CHANNEL"),
    ],
)
def test_a_narrower_scope_is_a_withdrawal(held, world, terms, reason_code):
    narrow(world.agreement, **terms)

    with pytest.raises(InvalidOrderMove, match=reason_code):
        release(held)


def test_a_grantee_that_may_no_longer_grant_on_is_a_withdrawal(provider, cart):
    variant = VariantFactory.create()
    vendor = OrganizationFactory.create(kind=Organization.Kind.VENDOR)
    between = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    first = make_agreement(
        grantor=variant.device.manufacturer, grantee=between, may_sublicense=True, at=clock.now()
    )
    make_agreement(grantor=between, grantee=vendor, at=clock.now())
    order = sold(cart, through_others(vendor, variant))
    narrow(first, may_sublicense=False)

    with pytest.raises(InvalidOrderMove, match="SUBLICENSE_MISSING"):
        release(order)


def test_new_tests_beside_a_revoked_approval_do_not_open_the_gate(held, world):
    revoke_approval(world)
    make_approval(host=world.host, variant=world.variant, state="in_test", at=clock.now(), code="CA-again")
    assert decisions.decide_offers([world.offer], at=clock.now())[0].reason_codes == ["CARRIER_NOT_APPROVED"]

    with pytest.raises(InvalidOrderMove, match="cannot be released"):
        release(held)


@pytest.mark.parametrize(
    "paper",
    [
        {"assurance": "claimed"},
        {"valid_from": clock.now() + timedelta(days=9000)},
    ],
)
@pytest.mark.parametrize(
    "withdrawing",
    [
        revoke_agreement,
        lambda world: place_hold(("fact", world.agreement.pk)),
        lambda world: narrow(world.agreement, valid_until=soon()),
    ],
)
def test_a_letter_beside_a_withdrawn_agreement_does_not_open_the_gate(held, world, withdrawing, paper):
    withdrawing(world)
    maker = world.variant.device.manufacturer
    make_agreement(grantor=maker, grantee=world.vendor, at=clock.now(), code="AG-letter", **paper)

    with pytest.raises(InvalidOrderMove, match="cannot be released"):
        release(held, at=clock.now() + timedelta(minutes=1))


def test_an_affiliation_that_was_ended_is_a_withdrawal_and_one_that_ends_is_not(provider, cart):
    order, affiliation = sold_through_an_affiliation(cart)
    later = clock.now() + timedelta(days=500)
    assert release(order, at=later).state == Order.State.PLACED

    orders.hold_order(order=order, reason="again", by=DESK, at=clock.now())
    affiliations.end_affiliation(fact=affiliation, valid_until=soon(), by=DESK, at=clock.now(), reason="sold")
    for at in (clock.now() + timedelta(minutes=1), later):
        with pytest.raises(InvalidOrderMove, match="cannot be released"):
            release(order, at=at)


def test_a_revoked_paper_that_nothing_was_sold_on_does_not_stop_what_merely_ended(held, world):
    """Though it is the nearest miss."""
    with tampering():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=400))
    other = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now(), code="AG-other"
    )
    withdraw(revocations.RevokeAgreement(other.pk, "AGREEMENT_TERMINATED"))
    with tampering():
        AgreementVersion.objects.filter(head=other, state="revoked").update(
            revoked_at=clock.now() + timedelta(days=450)
        )
    at = clock.now() + timedelta(days=500)
    assert decisions.decide_offers([world.offer], at=at)[0].reason_codes == ["AGREEMENT_REVOKED"]

    assert release(held, at=at).state == Order.State.PLACED


def test_what_took_the_place_of_a_paper_that_ended_is_missed_when_it_is_revoked(held, world, monkeypatch):
    with tampering():
        AgreementVersion.objects.update(valid_until=clock.now() + timedelta(days=400))
    maker = world.variant.device.manufacturer
    second = make_agreement(grantor=maker, grantee=world.vendor, at=clock.now(), code="AG-2nd")
    at = clock.now() + timedelta(days=500)
    monkeypatch.setattr(clock, "now", lambda: at)
    # As a sweep does: the offer rests on the second one.
    answer = decisions.decide_offers([world.offer], at=at)[0]
    decisions.record_decision(answer=answer, offer=world.offer)
    withdraw(revocations.RevokeAgreement(second.pk, "AGREEMENT_TERMINATED"), at=at)
    make_agreement(grantor=maker, grantee=world.vendor, at=at, code="AG-letter", assurance="claimed")

    with pytest.raises(InvalidOrderMove, match="cannot be released"):
        release(held, at=at)


def test_a_waiver_that_ran_out_is_no_withdrawal_and_its_suspension_is_one(provider, cart):
    offer, approval = conditional(waived_until=clock.now() + timedelta(days=300))
    order = sold(cart, offer)
    at = clock.now() + timedelta(days=500)
    assert decisions.decide_offers([offer], at=at)[0].reason_codes == ["CARRIER_APPROVAL_EXPIRED"]
    assert release(order, at=at).state == Order.State.PLACED

    orders.hold_order(order=order, reason="again", by=DESK, at=clock.now())
    place_hold(("fact", approval.pk))
    with pytest.raises(InvalidOrderMove, match="CARRIER_APPROVAL_"):
        release(order, at=at)


def test_a_waiver_that_was_shortened_is_a_withdrawal(provider, cart):
    offer, approval = conditional(waived_until=clock.now() + timedelta(days=300))
    order = sold(cart, offer)
    until = clock.now() + timedelta(days=30)
    withdraw(RestrictApproval(approval.pk, "CARRIER_TESTS_PENDING", "less", waived_until=until))

    with pytest.raises(InvalidOrderMove, match="CARRIER_APPROVAL_EXPIRED"):
        release(order, at=clock.now() + timedelta(days=500))


def test_a_stricter_policy_takes_nothing_away(held, world):
    policies.set_policy(
        name="strict", minimum_assurance="verified", is_carrier_approval_enforced=True, by=DESK, at=clock.now(),
        is_equipment_authorization_enforced=True, reason="test",
    )  # fmt: skip
    assert decisions.decide_offers([world.offer], at=clock.now())[0].reason_codes == [
        "EQUIPMENT_NOT_AUTHORIZED"
    ]

    assert release(held).state == Order.State.PLACED


def test_nothing_is_released_while_it_cannot_be_told(held, monkeypatch):
    monkeypatch.setattr(decision_setting, "read_setting", unreadable)
    with pytest.raises(DecisionUnavailable):
        release(held)
    held.refresh_from_db()
    assert held.state == Order.State.HELD


def unreadable(**_):
    raise OperationalError("gone")


def offered(*, vendor, variant, host):
    """A live offer on what is recorded already: nothing else is granted or approved for it."""
    at = clock.now()
    ensure_policy(at=at)
    HostingFactory.create(host=host, at=at)
    terms = make_terms(variant=variant, hosts=[host])
    saved = offers.save_listing(vendor=vendor, sku="SKU-1", terms=terms, by=DESK, at=at)
    (outcome,) = offers.publish_listing(listing=saved.listing, by=DESK, at=at)
    assert outcome.is_live
    return ListingHost.objects.select_related("listing__variant__device", "host").get(pk=outcome.offer.pk)


def through_others(vendor, variant):
    host = HostCarrierFactory.create()
    make_approval(host=host, variant=variant, at=clock.now())
    return offered(vendor=vendor, variant=variant, host=host)


def conditional(**terms):
    """The offer and its approval."""
    variant, host = VariantFactory.create(), HostCarrierFactory.create()
    vendor = OrganizationFactory.create(kind=Organization.Kind.VENDOR)
    make_agreement(grantor=variant.device.manufacturer, grantee=vendor, at=clock.now())
    approval = make_approval(host=host, variant=variant, state="conditional", at=clock.now(), **terms)
    return offered(vendor=vendor, variant=variant, host=host), approval


def sold_through_an_affiliation(cart):
    """By a vendor to which the parent of the manufacturer grants; the affiliation ends in 400 days."""
    variant = VariantFactory.create()
    vendor = OrganizationFactory.create(kind=Organization.Kind.VENDOR)
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    affiliation = make_affiliation(
        parent=parent, child=variant.device.manufacturer, at=clock.now(),
        valid_until=clock.now() + timedelta(days=400),
    )  # fmt: skip
    make_agreement(grantor=parent, grantee=vendor, at=clock.now())
    return sold(cart, through_others(vendor, variant)), affiliation
