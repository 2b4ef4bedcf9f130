"""The eve of the incident: what the two policies say of it, before anybody acts."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from authorization import decisions, offers, policies
from authorization.acceptances import process
from authorization.actors import Actor
from authorization.models import Acceptance, ApprovalVersion
from authorization.policies import PolicyTerms
from carriers.compatibility import Level
from catalog.models import Listing, ListingHost, OfferState, Organization
from catalog.selectors import judged_for
from seeds import world2016
from seeds.factories import make_terms
from seeds.reference.loader import Report
from seeds.world2016 import HONEST_PHONES, OMNI_PHONES, Phone, World2016
from storefront.models import PrepaidPlan

pytestmark = pytest.mark.django_db


def build(policy: PolicyTerms, eve: datetime) -> World2016:
    return world2016.build(policy=policy, at=eve)


def list_phones(world: World2016, eve: datetime) -> Iterator[tuple[Phone, offers.PublishOutcome]]:
    for phone, variant in zip(OMNI_PHONES, world.omni_variants, strict=True):
        by = Actor("vendor", world.omni.slug)
        terms = make_terms(
            variant=variant, hosts=[world.host], price_amount=phone.price_amount, on_hand=phone.on_hand
        )
        listing = offers.save_listing(vendor=world.omni, sku=phone.sku, terms=terms, by=by, at=eve).listing
        (outcome,) = offers.publish_listing(listing=listing, by=by, at=eve)
        yield phone, outcome


def test_in_2016_a_letter_was_enough_for_all_four(reference: Report, eve: datetime) -> None:
    world = build(policies.POLICY_2016, eve)
    outcomes = dict(list_phones(world, eve))
    assert len(outcomes) == 4
    assert all(outcome.is_live for outcome in outcomes.values())


def test_with_the_gate_shut_none_of_the_four_goes_live(reference: Report, eve: datetime) -> None:
    world = build(policies.POLICY_GATE_SHUT, eve)
    for phone, outcome in list_phones(world, eve):
        assert not outcome.is_live, phone
        assert set(outcome.answer.reason_codes) == {"AGREEMENT_NOT_VERIFIED", "CARRIER_NOT_APPROVED"}
    states = ListingHost.objects.filter(listing__vendor=world.omni).values_list("state", flat=True)
    assert set(states) == {OfferState.BLOCKED}


@pytest.mark.parametrize(
    "policy", [policies.POLICY_2016, policies.POLICY_GATE_SHUT], ids=["2016", "gate-shut"]
)
def test_the_honest_vendor_sells_under_either_policy(
    reference: Report, eve: datetime, policy: PolicyTerms
) -> None:
    world = build(policy, eve)
    live = ListingHost.objects.filter(listing__vendor=world.honest, state=OfferState.LIVE)
    assert set(live.values_list("listing__sku", flat=True)) == {phone.sku for phone in HONEST_PHONES}
    answers = decisions.decide_offers(list(live.select_related("listing__variant__device")), at=eve)
    assert all(answer.is_allowed for answer in answers)


def test_prices_are_the_reported_ones() -> None:
    assert {phone.sku: str(phone.price_amount) for phone in OMNI_PHONES} == {
        "OMNI-REDMI2": "119.00",
        "OMNI-MI3": "135.00",
        "OMNI-MI4": "219.00",
        "OMNI-M2NOTE": "149.00",
    }


def test_what_is_invented_says_so(reference: Report, eve: datetime) -> None:
    world = build(policies.POLICY_2016, eve)
    simulated = set(Organization.objects.filter(is_simulated=True).values_list("slug", flat=True))
    assert simulated == {world.distributor.slug, world.honest.slug}
    # The $25 plan is reported with what it buys; of the others something is invented.
    reported = PrepaidPlan.objects.filter(is_simulated=False)
    assert [str(plan.price_amount) for plan in reported] == ["25.00"]
    assert PrepaidPlan.objects.filter(price_amount="7.00").exists()


def test_nothing_of_the_importer_is_listed_on_the_eve(reference: Report, eve: datetime) -> None:
    world = build(policies.POLICY_2016, eve)
    assert not Listing.objects.filter(vendor=world.omni).exists()


def test_without_reference_tables_the_cure_is_said(db: None, eve: datetime) -> None:
    with pytest.raises(world2016.ReferenceMissing, match="load_reference"):
        build(policies.POLICY_2016, eve)


def test_a_request_to_the_host_makes_none_of_the_four_sellable(reference: Report, eve: datetime) -> None:
    """A mere intake was taken for a permission once."""
    world = build(policies.POLICY_GATE_SHUT, eve)
    asked = Acceptance.objects.filter(variant__in=world.omni_variants)
    assert set(asked.values_list("state", flat=True)) == {Acceptance.State.REQUESTED}
    assert asked.count() == 4
    assert not ApprovalVersion.objects.filter(variant__in=world.omni_variants).exists()
    for acceptance in asked:
        assert "PHASE_NOT_RUN:field" in [one.code for one in process.missing(acceptance, at=eve)]


def test_the_accepted_phones_tell_their_whole_history(reference: Report, eve: datetime) -> None:
    build(policies.POLICY_GATE_SHUT, eve)
    whole = ["request", "take_in", "give_slot", "start_tests"]
    partial = Acceptance.objects.get(variant__slug=world2016.SOLD_THOUGH_PARTIAL)
    assert [row.move for row in partial.moves.order_by("number")] == [*whole, "approve"]
    assert partial.state == Acceptance.State.APPROVED
    blocked = Acceptance.objects.get(variant__slug=world2016.FITS_AND_IS_BLOCKED)
    assert [row.move for row in blocked.moves.order_by("number")] == [*whole, "ask_waiver", "grant_waiver"]
    assert "B12_REQUIRES_VOLTE_E911" in blocked.limits
    judged = judged_for([partial.variant, blocked.variant], [partial.host], at=eve)
    found = {
        variant_id: (one.verdict.level, one.verdict.certification_blockers)
        for (variant_id, _), one in judged.items()
    }
    assert found == {
        partial.variant_id: (Level.PARTIAL, ()),
        blocked.variant_id: (Level.FULL, ("B12_REQUIRES_VOLTE_E911",)),
    }
