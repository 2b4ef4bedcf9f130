"""The desk on what the engine reads besides agreements: forms call named functions, pages show all of it."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from authorization import affiliations, approvals, clock, equipment, policies
from authorization.holds import Exemption
from authorization.models import (
    AffiliationVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    HoldVersion,
    LedgerEntry,
    PolicyVersion,
    Revision,
)
from carriers.versions import FOREVER
from seeds.factories import (
    HostCarrierFactory,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_approval,
    make_equipment,
    make_hold,
)
from storefront.roles import AUDITOR, CATALOG, DESK, ensure_roles
from tests.storefront.desk_pages import go_through, word

pytestmark = pytest.mark.django_db

NEW_SCREENS = (EquipmentVersion, AffiliationVersion)


def client_of(role):
    ensure_roles()
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def desk():
    return client_of(DESK)


@pytest.fixture
def maker():
    return OrganizationFactory.create(kind="manufacturer", slug="maker")


def url(model, page, *args):
    return reverse(f"admin:authorization_{model._meta.model_name}_{page}", args=args)


def page(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def text(instant):
    return f"{instant:%Y-%m-%dT%H:%M:%S}"


def current(model, fact):
    return model.objects.get(head=fact, rev_to__isnull=True)


# --- equipment authorizations ---------------------------------------------------------------------------------------


def equipment_form(variant, **changes):
    return {
        "code": "EA-7", "variant": variant.pk, "territory": "us", "regulator": "FCC", "identifier": "2AFZZ-RMS",
        "granted_at": "2015-12-01T00:00:00", "valid_from": "2016-01-01T00:00:00", "valid_until": "", "document": "D",
    } | changes  # fmt: skip


def test_an_equipment_authorization_is_recorded_by_its_function(desk):
    variant = VariantFactory.create()
    assert "EA-0001" in page(desk.get(url(EquipmentVersion, "add")))
    response = desk.post(url(EquipmentVersion, "add"), equipment_form(variant))
    assert response.status_code == 302
    version = equipment.current(Fact.objects.get(code="EA-7"))
    assert (version.variant, version.territory, version.identifier) == (variant, "US", "2AFZZ-RMS")
    assert (version.granted_at.year, version.valid_until) == (2015, FOREVER)
    assert LedgerEntry.objects.get(act="equipment.recorded").actor == f"user:{DESK}"
    shown = page(desk.get(url(EquipmentVersion, "changelist")))
    assert "2AFZZ-RMS" in shown
    assert "no end" in shown
    assert "2AFZZ-RMS" in page(desk.get(url(EquipmentVersion, "change", version.pk)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"granted_at": "2016-02-01T00:00:00"}, "correct one of the two"),
        ({"territory": "*"}, "write two capitals"),
        ({"regulator": ""}, "This field is required"),
        ({"valid_until": "2015-01-01T00:00:00"}, "after the beginning"),
        ({"identifier": "x" * 65}, "at most 64 characters"),
    ],
)
def test_a_wrong_equipment_authorization_is_refused_and_nothing_typed_is_lost(desk, changes, said):
    response = desk.post(url(EquipmentVersion, "add"), equipment_form(VariantFactory.create(), **changes))
    shown = page(response)
    assert said in shown
    assert "EA-7" in shown
    assert not Revision.objects.exists()


# --- affiliations ---------------------------------------------------------------------------------------------------


def test_an_affiliation_is_recorded_and_given_an_end(desk, maker):
    parent = OrganizationFactory.create(kind="manufacturer", slug="parent")
    vendor = OrganizationFactory.create(slug="somebody-who-sells", name="Somebody who sells")
    form = page(desk.get(url(AffiliationVersion, "add")))
    assert "AF-0001" in form
    assert vendor.name not in form
    typed = {
        "code": "AF-7", "parent": parent.pk, "child": maker.pk, "may_grant_for_parent": "on",
        "valid_from": "2016-01-01T00:00:00", "valid_until": "", "document": "register",
    }  # fmt: skip
    refused = desk.post(url(AffiliationVersion, "add"), typed | {"child": parent.pk})
    assert "choose another child" in page(refused)
    assert not Revision.objects.exists()
    assert desk.post(url(AffiliationVersion, "add"), typed).status_code == 302
    fact = Fact.objects.get(code="AF-7")
    version = affiliations.current(fact)
    assert (version.parent, version.child, version.may_grant_for_parent) == (parent, maker, True)
    assert "AF-7" in page(desk.get(url(AffiliationVersion, "changelist")))
    shown = page(desk.get(url(AffiliationVersion, "change", version.pk)))
    assert "End it" in shown
    assert "Extend" not in shown, "it has no end to put off"

    end = desk.get(url(AffiliationVersion, "end", version.pk)).url
    assert end == reverse("admin:end_affiliation", args=[fact.pk])
    late = word(effective_at=text(clock.now() - timedelta(days=1)), step="review")
    assert "That time is past" in page(desk.post(end, late))
    ends = clock.now() + timedelta(days=3)
    assert go_through(desk, end, word(effective_at=text(ends), note="sold")).status_code == 302
    version = affiliations.current(fact)
    assert version.valid_until == ends.replace(microsecond=0)
    assert LedgerEntry.objects.get(act="affiliation.ended").reason == "sold"

    extend = url(AffiliationVersion, "extend", version.pk)
    sooner = {"valid_until": text(clock.now() + timedelta(days=1)), "reason": "a slip"}
    assert "Give a later end than now recorded" in page(desk.post(extend, sooner))
    later = clock.now() + timedelta(days=30)
    assert desk.post(extend, {"valid_until": text(later), "reason": "not yet"}).status_code == 302
    version = affiliations.current(fact)
    assert version.valid_until == later.replace(microsecond=0)

    # Empty means now, and then there is nothing left to end.
    assert go_through(desk, end, word()).status_code == 302
    version = affiliations.current(fact)
    assert version.valid_until <= clock.now()
    assert "End it" not in page(desk.get(url(AffiliationVersion, "change", version.pk)))
    assert "nothing is left to end" in page(desk.get(end, follow=True))


# --- approvals and policies -----------------------------------------------------------------------------------------


def test_an_approval_is_recorded_with_its_waiver_and_range_and_changed(desk):
    host, variant = HostCarrierFactory.create(), VariantFactory.create()
    waived = clock.now() + timedelta(days=30)
    typed = {
        "code": "CA-7", "host": host.pk, "variant": variant.pk, "state": "conditional", "limits": "B12 off",
        "waived_until": text(waived), "software_from": "7.0", "software_until": "7.1",
        "valid_from": "2016-01-01T00:00:00", "valid_until": "", "document": "",
    }  # fmt: skip
    add = url(ApprovalVersion, "add")
    assert "Only a conditional approval has limits" in page(desk.post(add, typed | {"state": "approved"}))
    assert "give a later end" in page(desk.post(add, typed | {"software_until": "6.0"}))
    assert not Revision.objects.exists()
    assert desk.post(add, typed).status_code == 302
    version = approvals.current(Fact.objects.get(code="CA-7"))
    assert (version.software_from, version.software_until) == ("7.0", "7.1")
    assert version.waived_until == waived.replace(microsecond=0)
    assert "from 7.0 before 7.1" in page(desk.get(url(ApprovalVersion, "changelist")))
    assert "CA-7 approves the same" in page(desk.post(add, typed | {"code": "CA-8"}))

    change = url(ApprovalVersion, "change_state", version.pk)
    form = page(desk.get(change))
    assert 'value="7.1"' in form
    assert f'value="{text(waived)}"' in form
    kept = {"state": "approved", "limits": "", "reason": "tested", "software_from": "7.0", "waived_until": ""}
    assert "revoke this one" in page(desk.post(change, kept | {"software_until": "7.0.5"}))
    assert desk.post(change, kept | {"software_until": ""}).status_code == 302
    version = approvals.current(version.head)
    assert (version.state, version.waived_until, version.software_from, version.software_until) == (
        "approved", None, "7.0", "",
    )  # fmt: skip


def test_an_approval_without_a_range_says_any(desk):
    make_approval(host=HostCarrierFactory.create(), variant=VariantFactory.create(), at=clock.now())
    assert "any" in page(desk.get(url(ApprovalVersion, "changelist")))


def test_a_policy_for_one_territory_is_set_with_all_its_terms(desk):
    add = url(PolicyVersion, "add")
    typed = {
        "name": "strict", "territory": "us", "minimum_assurance": "claimed", "minimum_radio": "PARTIAL_LTE",
        "is_equipment_authorization_enforced": "on",
    } | word()  # fmt: skip
    assert "or *" in page(desk.post(add, typed | {"territory": "1", "step": "review"}))
    assert go_through(desk, add, typed).status_code == 302
    version = policies.current_policy(clock.now(), "US")
    assert version is not None
    assert policies.record_of(version) | {"valid_from": None} == {
        "name": "strict", "territory": "US", "is_agreement_enforced": False, "minimum_assurance": "claimed",
        "is_carrier_approval_enforced": False, "is_conditional_approval_enough": False,
        "is_equipment_authorization_enforced": True, "minimum_radio": "PARTIAL_LTE",
        "valid_from": None, "valid_until": FOREVER,
    }  # fmt: skip
    assert "strict" in page(desk.get(url(PolicyVersion, "changelist")))
    form = re.sub(r'class="[^"]*"', "", page(desk.get(add)))
    ticked = re.findall(r'<input type="checkbox" name="(\w+)"[^>]* checked', form)
    assert ticked == [
        "is_agreement_enforced", "is_carrier_approval_enforced", "is_conditional_approval_enough",
    ], "what a policy is unless somebody says otherwise"  # fmt: skip
    assert policies.current_policy(clock.now()) is None
    # No territory is all of them.
    assert go_through(desk, add, typed | {"territory": ""}).status_code == 302
    for_all = policies.current_policy(clock.now())
    assert for_all is not None
    assert for_all.territory == "*"


# --- holds ----------------------------------------------------------------------------------------------------------


def test_a_hold_shows_its_reach_what_it_stops_and_its_exemptions(desk, maker):
    at = clock.now()
    exemption = Exemption(
        (("attribute:chipset_vendor", "Qualcomm"),), at, at + timedelta(days=50), "Rs 100 per unit deposited"
    )
    fact = make_hold(
        targets=[("manufacturer", str(maker.pk)), ("channel", "retail")],
        at=at,
        reach="all_grants",
        exemptions=[exemption],
    )
    shown = page(desk.get(url(HoldVersion, "changelist")))
    assert "channel: retail; manufacturer: Maker" in shown
    assert "whenever granted" in shown
    assert "Qualcomm" not in shown, "what is exempt is not what it stops"
    shown = page(desk.get(url(HoldVersion, "change", current(HoldVersion, fact).pk)))
    for words in (
        "whenever granted",
        "retail",
        "Maker",
        "exemption 1",
        "Qualcomm",
        "Rs 100 per unit deposited",
    ):
        assert words in shown


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", NEW_SCREENS)
def test_the_auditor_reads_and_the_catalog_role_does_not(model, maker):
    affiliation = make_affiliation(
        parent=OrganizationFactory.create(kind="manufacturer"), child=maker, at=clock.now()
    )
    make_equipment(variant=VariantFactory.create(), at=clock.now())
    auditor, catalog = client_of(AUDITOR), client_of(CATALOG)
    before = Revision.objects.count()
    assert auditor.get(url(model, "changelist")).status_code == 200
    assert auditor.get(url(model, "add")).status_code == 403
    assert auditor.post(url(model, "add"), {}).status_code == 403
    row = current(AffiliationVersion, affiliation)
    assert auditor.post(url(AffiliationVersion, "end", row.pk), {"reason": "x"}).status_code == 403
    assert catalog.get(url(model, "changelist")).status_code == 403
    assert Revision.objects.count() == before


def test_they_stand_in_the_menu(desk):
    shown = page(desk.get(reverse("admin:index")))
    for model in NEW_SCREENS:
        assert url(model, "changelist") in shown
