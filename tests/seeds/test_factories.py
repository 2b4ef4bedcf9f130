"""The builders: what they make is live by a real decision, and stands on what they say."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import authenticate

from authorization import decisions
from authorization.models import Decision, PolicyVersion
from catalog.models import ListingHost, OfferState, Organization
from seeds import factories

pytestmark = pytest.mark.django_db
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_the_small_world_is_live_by_a_decision_that_cites_its_papers() -> None:
    world = factories.make_sellable(at=AT)
    assert world.offer.state == OfferState.LIVE
    assert world.offer.decision_id is not None
    decision = Decision.objects.get(pk=world.offer.decision_id)
    cited = {item["code"] for item in decision.evidence}
    assert {world.agreement.code, world.approval.code} <= cited


def test_two_small_worlds_share_vendor_and_host() -> None:
    first = factories.make_sellable(at=AT)
    later = AT + timedelta(hours=1)
    second = factories.make_sellable(vendor=first.vendor, host=first.host, at=later)
    assert second.hosting == first.hosting
    assert second.variant != first.variant
    assert ListingHost.objects.filter(state=OfferState.LIVE, listing__vendor=first.vendor).count() == 2
    assert PolicyVersion.objects.count() == 1


def test_without_an_approval_the_gate_is_shut() -> None:
    factories.ensure_policy(at=AT)
    variant = factories.VariantFactory.create()
    vendor = factories.OrganizationFactory.create()
    hosting = factories.HostingFactory.create(at=AT)
    factories.make_agreement(grantor=variant.device.manufacturer, grantee=vendor, models=[variant], at=AT)
    terms = factories.make_terms(variant=variant, hosts=[hosting.host])
    question = decisions.question_for(
        vendor=vendor,
        variant=variant,
        host=hosting.host,
        territory=terms.territory,
        channel=terms.channel,
        condition=terms.condition,
    )
    assert decisions.decide(question, at=AT).reason_codes == ["CARRIER_NOT_APPROVED"]


def test_rows_are_marked_simulated_where_they_can_be() -> None:
    assert factories.OrganizationFactory.create().is_simulated
    plan = factories.PlanFactory.create(hosting=factories.HostingFactory.create(at=AT))
    assert plan.is_simulated


def test_a_factory_user_can_log_in() -> None:
    user = factories.UserFactory.create()
    assert authenticate(username=user.username, password=factories.PASSWORD) == user


def test_organizations_of_each_kind() -> None:
    for kind in Organization.Kind:
        assert factories.OrganizationFactory.create(kind=kind).kind == kind
