"""The desk's page that asks the engine: who may, what it says at two pairs of moments, and that it writes nothing."""

import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from authorization import clock, groundwork
from authorization.models import Decision, LedgerEntry, Revision
from authorization.rules import Question
from catalog.models import Device, Listing, Organization
from seeds.factories import OrganizationFactory, VariantFactory
from storefront import carts
from storefront.admin.desk import navigation
from storefront.models import Cart, OrderLine
from storefront.roles import AUDITOR, CATALOG, DESK, ensure_roles
from tests.storefront.conftest import DESK as BY
from tests.storefront.conftest import check_out, revoke_agreement

pytestmark = pytest.mark.django_db

URL = "/admin/ask/"


def client_of(role):
    ensure_roles()
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def auditor():
    return client_of(AUDITOR)


def asked(world, **more):
    return {"vendor": world.vendor.slug, "variant": world.variant.slug, "host": world.host.code} | more


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def outcomes(response):
    return [column.answer.outcome for column in response.context["columns"]]


def differing(response):
    return [row["check"] for row in response.context["rows"] if row["differs"]]


def picked(instant):
    """As the browser's picker writes it."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}"


# --- who may ------------------------------------------------------------------------------------------------


def test_strangers_are_sent_to_the_login(client):
    response = client.get(URL)

    assert response.status_code == 302
    assert reverse("admin:login") in response["Location"]


def test_a_role_that_may_not_read_decisions_is_refused():
    assert client_of(CATALOG).get(URL).status_code == 403


@pytest.mark.parametrize("role", [AUDITOR, DESK])
def test_who_reads_decisions_may_ask(role, world):
    assert outcomes(client_of(role).get(URL, asked(world))) == ["allow", "allow"]


def test_it_stands_in_the_menu_for_those_who_may(rf):
    ensure_roles()
    request = rf.get("/admin/")
    item = next(
        item for part in navigation(request) for item in part["items"] if item["title"] == "Ask the engine"
    )
    seen = {}
    for role in (AUDITOR, CATALOG):
        request.user = User.objects.create(username=role, is_staff=True)
        request.user.groups.add(Group.objects.get(name=role))
        seen[role] = item["permission"](request)

    assert item["link"] == URL
    assert seen == {AUDITOR: True, CATALOG: False}


# --- what it says -------------------------------------------------------------------------------------------


def test_an_empty_page_asks_for_the_question(auditor):
    said = text(auditor.get(URL))

    assert "Ask the engine" in said
    assert 'id="answers"' not in said
    assert 'role="alert"' not in said


def test_both_columns_are_now_unless_told_otherwise(auditor, world):
    response = auditor.get(URL, asked(world))

    assert "both columns ask about the same moments" in text(response)
    assert world.agreement.code in text(response)


def test_a_fact_recorded_later_makes_the_pairs_differ_and_neither_changes_afterwards(auditor, world):
    known_then = Revision.objects.order_by("-n")[0].n
    revoke_agreement(world)
    question = asked(world, left_revision=known_then)

    first = auditor.get(URL, question)
    assert outcomes(first) == ["allow", "deny"]
    assert differing(first) == ["agreement"]
    said = text(first)
    assert 'data-differs="agreement"' in said
    assert "≠ differs" in said
    assert "AGREEMENT_REVOKED" in said
    assert "up to manufacturer" in said

    again = auditor.get(URL, question)
    assert [row["left"]["result"] for row in again.context["rows"]] == [
        row["left"]["result"] for row in first.context["rows"]
    ]
    assert outcomes(again) == ["allow", "deny"]


def test_then_as_we_knew_it_then_and_with_hindsight(auditor, world):
    was = clock.now()
    response = auditor.get(URL, asked(world, left_valid_at=picked(was), moments="hindsight"))
    form = response.context["form"]

    assert form["left_known_at"].value() == form["right_valid_at"].value() == picked(was)
    assert form["right_known_at"].value() == ""
    assert "as we knew it on" in text(response)


def test_then_and_now_and_back_to_now(auditor, world):
    was = picked(clock.now())
    form = auditor.get(URL, asked(world, left_valid_at=was, moments="then_and_now")).context["form"]
    assert (form["left_known_at"].value(), form["right_valid_at"].value()) == (was, "")

    form = auditor.get(URL, asked(world, left_valid_at=was, left_known_at=was, moments="now")).context["form"]
    assert (form["left_valid_at"].value(), form["left_known_at"].value()) == ("", "")


def test_asking_writes_nothing(auditor, world):
    before = Decision.objects.count(), LedgerEntry.objects.count(), Revision.objects.count()
    auditor.get(URL, asked(world))

    assert (Decision.objects.count(), LedgerEntry.objects.count(), Revision.objects.count()) == before


# --- wrong input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"vendor": "nobody"}, "vendor", "There is no such vendor."),
        ({"variant": ""}, "variant", "Choose the exact phone."),
        ({"host": "mars"}, "host", "There is no such host."),
        ({"territory": "USA"}, "territory", "two letters"),
        ({"software": "?"}, "software", "write letters or digits"),
        ({"listing": "999"}, "listing", "There is no listing 999"),
        ({"left_valid_at": "soon"}, "left_valid_at", "Enter a valid date/time."),
        ({"left_revision": "999"}, "left_revision", "There is no revision 999 yet"),
        ({"right_revision": "999"}, "right_revision", "There is no revision 999 yet"),
        ({"right_known_at": "2016-02-01T12:00:00", "right_revision": "1"}, "right_revision", "not both"),
        ({"left_valid_at": "9999-12-31T23:59:59"}, "left_valid_at", "take an instant before 9999-01-01"),
        ({"right_valid_at": "9999-12-31T23:59:59"}, "right_valid_at", "take an instant before 9999-01-01"),
        ({"right_known_at": "9998-02-01T12:00:00"}, "right_known_at", "is to come"),
        ({"left_known_at": "9999-12-31T23:59:59"}, "left_known_at", "is to come"),
        ({"moments": "hindsight"}, "left_valid_at", "Say which moment is meant"),
    ],
)
def test_a_wrong_field_is_named_and_the_input_kept(auditor, world, changes, field, said):
    response = auditor.get(URL, asked(world, software="7.0.5") | changes)
    form = response.context["form"]

    assert said in str(form.errors[field])
    assert not response.context["columns"]
    if "software" not in changes:
        assert 'value="7.0.5"' in text(response)


@pytest.mark.parametrize("decision", ["xx", "00000000-0000-0000-0000-000000000000"])
def test_a_decision_that_is_none_is_said(auditor, decision):
    response = auditor.get(URL, {"decision": decision})

    assert "There is no such decision" in text(response)
    # Nothing was asked yet: no field is to blame.
    assert not response.context["form"].errors


# --- what was sold ------------------------------------------------------------------------------------------


@pytest.fixture
def line(provider, world):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return OrderLine.objects.get(order=check_out(cart))


def test_the_decision_that_a_phone_was_sold_under_is_asked_again(auditor, line, world):
    revoke_agreement(world)
    response = auditor.get(URL, {"decision": str(line.decision_id)})

    left, right = response.context["columns"]
    assert (left.answer.valid_at, left.answer.revision) == (line.decision.valid_at, line.decision.revision)
    assert left.answer.question.listing_id == world.listing.pk
    assert right.answer.revision > left.answer.revision
    assert response.context["recorded"]["is_same"] is True
    said = text(response)
    assert "Asked again as known then, the engine says the same." in said
    assert reverse("admin:authorization_decision_change", args=[line.decision_id]) in said


def test_what_its_page_was_changed_to_is_kept(auditor, line, world):
    response = auditor.get(URL, asked(world, decision=str(line.decision_id), territory="CA"))

    assert outcomes(response) == ["deny", "deny"]
    assert response.context["recorded"]["is_same"] is None


def test_an_order_shows_for_each_line_the_decision_it_was_sold_under(auditor, line):
    page = text(auditor.get(reverse("admin:storefront_order_change", args=[line.order_id])))

    assert reverse("admin:authorization_decision_change", args=[line.decision_id]) in page


def test_a_recorded_decision_is_asked_again_as_it_was_asked(auditor, line, world):
    """Whatever the catalog says by now of the device and its manufacturer, and the listing of its vendor."""
    device = Device.objects.get(pk=world.variant.device_id)
    device.manufacturer = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    with groundwork.recording(by=BY, at=clock.now(), reason="corrected") as recorder:
        recorder.change(device, ["manufacturer"], is_ground=True)
    other = VariantFactory.create()
    Listing.objects.filter(pk=world.listing.pk).update(variant=other)

    response = auditor.get(URL, {"decision": str(line.decision_id)})

    assert response.context["recorded"]["is_same"] is True
    left, right = response.context["columns"]
    assert left.answer.question == right.answer.question == Question(**line.decision.question)

    kept = response.context["form"].data
    assert auditor.get(URL, kept.dict()).context["recorded"]["is_same"] is True


def test_the_last_year_that_is_recorded_can_be_asked_about(auditor, world):
    assert outcomes(auditor.get(URL, asked(world, left_valid_at="9998-12-31T23:59:59"))) == ["allow", "allow"]
