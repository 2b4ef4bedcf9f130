"""The desk: an agreement narrowed or renewed, a hold released or exempted from, an affiliation ended."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from authorization import affiliations, agreements, clock, holds, outbox, revocations
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    Decision,
    HoldVersion,
    LedgerEntry,
    PendingChange,
    Revision,
    Revocation,
)
from authorization.revocations import EndExemption
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState
from seeds.factories import (
    BUILDER,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_agreement,
    make_equipment,
    make_hold,
    make_policy,
    make_sellable,
)
from storefront import carts
from storefront.admin.desk import say_list
from storefront.models import Cart
from storefront.roles import AUDITOR, CATALOG, DESK, ensure_roles
from tests.storefront.conftest import check_out, revoke_agreement
from tests.storefront.desk_pages import go_through, review, word

pytestmark = pytest.mark.django_db


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


def act_url(row, act):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{act}", args=[row.pk])


def page(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def hidden(response, name):
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found, f"no hidden {name}"
    return found.group(1).replace("&quot;", '"')


def text(instant):
    return f"{instant:%Y-%m-%dT%H:%M:%S}"


def state_of(world):
    return ListingHost.objects.get(pk=world.offer.pk).state


def agreement_of(world):
    return agreements.current(world.agreement)


def hold_on(world, *, also=(), **terms):
    """A hold on the world's maker, with its pages down."""
    hold = make_hold(
        targets=[("manufacturer", str(world.variant.device.manufacturer_id)), *also], at=clock.now(), **terms
    )
    outbox.pump()
    return hold


def exempt(hold, *targets, **terms):
    at = clock.now()
    exemption = holds.Exemption(
        tuple((dimension, str(value)) for dimension, value in targets), **{"valid_from": at} | terms
    )
    holds.exempt(fact=hold, exemption=exemption, by=BUILDER, at=at, reason="told")
    outbox.pump()


def end_url(hold, part=1):
    return reverse("admin:end_exemption", args=[hold.pk, part])


# --- who may ------------------------------------------------------------------------------------------------


@pytest.fixture
def screens(world):
    """Every screen of this module, with what would be done there."""
    at = clock.now()
    parent = OrganizationFactory.create(kind="manufacturer", slug="parent")
    family = make_affiliation(parent=parent, child=world.variant.device.manufacturer, at=at)
    elsewhere = OrganizationFactory.create(kind="manufacturer", slug="elsewhere")
    hold = make_hold(targets=[("manufacturer", str(elsewhere.pk))], at=at)
    exempt(hold, ("vendor", world.vendor.pk))
    agreement, hold_version = agreement_of(world), holds.current(hold)
    typed = {"reason": "x", "note": "x", "step": "confirm", "seen": ""}
    return {
        reverse("admin:narrow_agreement", args=[world.agreement.pk]): narrowing(territories="US") | typed,
        act_url(agreement, "narrow"): typed,
        act_url(agreement, "renew"): typed | {"has_no_end": "on"},
        act_url(hold_version, "release"): typed,
        act_url(hold_version, "exempt"): typed | {"vendors": [world.vendor.pk]},
        end_url(hold): typed,
        act_url(affiliations.current(family), "end"): typed,
    }


@pytest.mark.parametrize("role", [AUDITOR, CATALOG])
def test_the_wrong_role_is_refused_and_nothing_is_written(screens, role):
    client = client_of(role)
    before = Revision.objects.count()

    for url, typed in screens.items():
        assert client.get(url).status_code == 403, url
        assert client.post(url, typed).status_code == 403, url
    assert Revision.objects.count() == before


def test_strangers_are_sent_to_the_login(client, screens):
    before = Revision.objects.count()

    for url, typed in screens.items():
        for response in (client.get(url), client.post(url, typed)):
            assert response.status_code == 302
            assert response.url.startswith("/admin/login/"), url
    assert Revision.objects.count() == before


def test_looking_writes_nothing(desk, screens):
    before = Revision.objects.count(), LedgerEntry.objects.count()

    for url, typed in screens.items():
        assert desk.get(url, typed, follow=True).status_code == 200, url
    assert (Revision.objects.count(), LedgerEntry.objects.count()) == before


def test_who_may_only_lift_a_hold_does_not_end_its_exemptions(world):
    hold = hold_on(world)
    exempt(hold, ("vendor", world.vendor.pk))
    client = client_of(AUDITOR)
    lifts = Permission.objects.get(codename="change_holdversion")
    User.objects.get(username=AUDITOR).user_permissions.add(lifts)
    version = holds.current(hold)

    shown = page(client.get(act_url(version, "change")))

    assert act_url(version, "exempt") in shown
    assert f"vendor {world.vendor.name}" in shown
    assert "End now" not in shown
    assert client.get(end_url(hold)).status_code == 403


# --- narrowing ----------------------------------------------------------------------------------------------


def narrowing(**changes):
    return {
        "requested_by": "Xiaomi",
        "reason_code": "AGREEMENT_TERMINATED",
        "word_received_at": text(clock.now() - timedelta(minutes=5)),
        "note": "By e-mail from their press office.",
        "territories": "US",
        "channels": ["*"],
        "conditions": ["*"],
        "valid_until": "",
    } | changes


@pytest.fixture
def bounded(world):
    """An agreement on two models, in two territories, that may be granted on and has an end. The offer rests on it."""
    second = VariantFactory.create(device=world.variant.device)
    fact = make_agreement(
        grantor=world.variant.device.manufacturer,
        grantee=world.vendor,
        models=[world.variant, second],
        territories=["PR", "US"],
        channels=["retail", "web"],
        conditions=["new", "used"],
        may_sublicense=True,
        valid_until=clock.now() + timedelta(days=90),
        at=clock.now(),
    )
    revoke_agreement(world)
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    return fact


AS_IT_IS = {
    "territories": "PR, US",
    "channels": ["retail", "web"],
    "conditions": ["new", "used"],
    "may_sublicense": "on",
}


def confirm_narrowing(desk, url, typed):
    second = desk.post(url, typed | {"step": "review"})
    return second, desk.post(
        url,
        typed | {"step": "confirm", "seen": hidden(second, "seen"), "digest": hidden(second, "digest")},
    )


def test_a_model_is_taken_out_after_a_look_at_what_falls(desk, world, bounded, provider):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    order = check_out(cart)
    start = desk.get(act_url(agreements.current(bounded), "narrow"))
    form = page(desk.get(start.url))
    assert "Models to take out" in form
    assert 'value="PR, US"' in form
    typed = narrowing(**AS_IT_IS, models=[world.variant.pk])

    looked = page(desk.post(start.url, typed | {"step": "look", "note": ""}))
    assert world.listing.sku in looked
    assert "This field is required" not in looked
    before = Revocation.objects.count()
    second, done = confirm_narrowing(desk, start.url, typed)

    shown = page(second)
    assert "Stop the sale now" in shown
    assert f"without {world.variant.model_number}" in shown
    assert "PR, US →" not in shown
    assert "retail, web →" not in shown
    assert f"Order {order.pk}" in shown
    revocation = Revocation.objects.latest("pk")
    assert Revocation.objects.count() == before + 1
    assert (revocation.kind, revocation.fact, revocation.preview_falls) == ("narrowing", bounded, 1)
    assert done.url == reverse("admin:authorization_revocation_change", args=[revocation.pk])
    assert "What lost its ground by it could not be sold from" in page(desk.get(done.url))
    scope = agreements.scope_of(agreements.current(bounded))
    assert str(world.variant.pk) not in scope.pop("model")
    assert scope == {
        "territory": ["PR", "US"],
        "channel": ["retail", "web"],
        "condition": ["new", "used"],
    }
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED


def test_every_other_term_can_be_narrowed_and_is_said(desk, admin_client, world, bounded, settings):
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0
    url = reverse("admin:narrow_agreement", args=[bounded.pk])
    ends = clock.now() + timedelta(days=3)
    typed = narrowing(
        territories="us", channels=["web"], conditions=["new"], valid_until=text(ends), may_sublicense=""
    )

    second, done = confirm_narrowing(desk, url, typed)

    shown = page(second)
    assert "PR, US → US" in shown
    assert "retail, web → web" in shown
    assert "new, used → new" in shown
    assert "What rests on it alone falls then, not now." in shown
    assert "yes → no" in shown
    assert "No offer falls now." in shown
    assert f"What falls on {ends:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert world.listing.sku in shown
    assert "The sale stops on its day all the same." in shown
    assert done.status_code == 302
    shown = page(desk.get(done.url))
    assert (
        "No offer fell with it. 1 falls later, by a day that it sets. The removal of its pages waits" in shown
    )
    assert "1 more was to fall later" in shown
    assert "Its pages wait for a second person" in shown
    assert "Nothing of it is sold" not in shown
    pending = PendingChange.objects.get()
    approval = page(admin_client.get(act_url(pending, "approve")))
    assert "1 offers are taken down, 1 of them on a day that it sets" in approval
    approved = page(admin_client.post(act_url(pending, "approve"), follow=True))
    assert "once the day that it sets has come" in approved
    version = agreements.current(bounded)
    assert (version.valid_until, version.may_sublicense) == (ends.replace(microsecond=0), False)
    scope = agreements.scope_of(version)
    assert (scope["territory"], scope["channel"], scope["condition"]) == (["US"], ["web"], ["new"])
    assert len(scope["model"]) == 2


def test_of_all_models_the_ones_that_stay_are_named(desk, world):
    make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now(), code="AG-ALL"
    )
    fact = agreements.current(AgreementVersion.objects.get(head__code="AG-ALL").head).head
    url = reverse("admin:narrow_agreement", args=[fact.pk])
    form = page(desk.get(url))
    assert "Models that stay" in form
    assert "may still grant it on" not in form

    confirm_narrowing(desk, url, narrowing(models=[world.variant.pk], channels=["web"]))

    scope = agreements.scope_of(agreements.current(fact))
    assert (scope["model"], scope["channel"], scope["condition"]) == ([str(world.variant.pk)], ["web"], ["*"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "says exactly that already; change at least one of its terms"),
        ({"territories": "US, CA"}, "CA would be added; leave that out"),
        ({"territories": ""}, "This field is required"),
        ({"territories": "Bavaria"}, "Bavaria"),
        ({"channels": []}, "This field is required"),
        ({"conditions": ["refurbished"]}, "Select a valid choice"),
        ({"models": ["999999"]}, "Select a valid choice"),
        ({"valid_until": "2999-01-01T00:00:00"}, "give an earlier end, or renew it"),
        ({"valid_until": "2020-01-01T00:00:00"}, "after the beginning"),
        ({"territories": "US", "note": ""}, "This field is required"),
        ({"territories": "US", "reason_code": "CARRIER_WITHDRAWS"}, "Select a valid choice"),
    ],
)
def test_what_narrows_nothing_or_adds_something_is_refused_with_the_cure(desk, bounded, changes, said):
    url = reverse("admin:narrow_agreement", args=[bounded.pk])
    before = Revision.objects.count()

    for step in ("look", "review", "confirm"):
        if step == "look" and "note" in changes:
            continue
        shown = page(desk.post(url, narrowing(**AS_IT_IS) | changes | {"step": step}))
        assert said in shown
        assert "By e-mail from their press office." in shown or "note" in changes
    assert Revision.objects.count() == before


def test_all_models_cannot_be_taken_out(desk, world, bounded):
    models = [int(value) for value in agreements.scope_of(agreements.current(bounded))["model"]]

    shown = page(
        desk.post(
            reverse("admin:narrow_agreement", args=[bounded.pk]),
            narrowing(**AS_IT_IS, models=models, step="review"),
        )
    )

    assert "revoke the agreement instead" in shown


def test_all_and_some_at_once_is_refused(desk, world):
    fact = make_agreement(
        grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now(), code="AG-ALL"
    )
    make_narrow = reverse("admin:narrow_agreement", args=[fact.pk])

    for both in ({"channels": ["*", "web"]}, {"conditions": ["*", "new"]}, {"territories": "*, US"}):
        shown = page(desk.post(make_narrow, narrowing(**both) | {"step": "review"}))
        assert "Name all, or the ones that stay: one of the two." in shown


def test_when_the_world_moved_the_difference_is_shown_and_nothing_is_narrowed(desk, world, bounded):
    url = reverse("admin:narrow_agreement", args=[bounded.pk])
    typed = narrowing(**AS_IT_IS, models=[world.variant.pk])
    second = desk.post(url, typed | {"step": "review"})
    make_agreement(grantor=world.variant.device.manufacturer, grantee=world.vendor, at=clock.now())
    before = Revocation.objects.count()

    stale = typed | {"step": "confirm", "seen": hidden(second, "seen"), "digest": hidden(second, "digest")}
    shown = page(desk.post(url, stale))

    assert "The world moved since you looked. Nothing was done." in shown
    assert "1 that would fall before would not now." in shown
    assert Revocation.objects.count() == before


def test_an_agreement_that_is_over_has_no_button_and_no_page(desk, world):
    revoke_agreement(world)
    version = agreement_of(world)

    shown = page(desk.get(act_url(version, "change")))
    assert "Narrow" not in shown
    assert "Renew" not in shown
    refused = desk.get(reverse("admin:narrow_agreement", args=[world.agreement.pk]), follow=True)
    assert "is over; nothing is left of it to narrow" in page(refused)


# --- renewing -----------------------------------------------------------------------------------------------


def test_an_agreement_is_renewed_to_a_later_end_and_to_none(desk, bounded):
    version = agreements.current(bounded)
    assert "Renew" in page(desk.get(act_url(version, "change")))
    later = clock.now() + timedelta(days=400)

    renewed = desk.post(
        act_url(version, "renew"), {"valid_until": text(later), "reason": "By letter."}, follow=True
    )
    assert "is renewed: it lasts until" in page(renewed)
    version = agreements.current(bounded)
    assert version.valid_until == later.replace(microsecond=0)
    assert LedgerEntry.objects.get(act="agreement.renewed").reason == "By letter."

    desk.post(act_url(version, "renew"), {"has_no_end": "on", "reason": "By letter."})
    version = agreements.current(bounded)
    assert version.valid_until == FOREVER
    assert "Renew" not in page(desk.get(act_url(version, "change")))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({}, "Give the new end, or tick that it has none: one of the two."),
        (
            {"valid_until": "2999-01-01T00:00:00", "has_no_end": "on"},
            "Give the new end, or tick that it has none",
        ),
        ({"valid_until": "2026-01-01T00:00:00"}, "after the beginning"),
        ({"valid_until": "soon"}, "Enter a valid date/time"),
        ({"has_no_end": "on", "reason": ""}, "This field is required"),
    ],
)
def test_a_wrong_renewal_is_refused_and_nothing_typed_is_lost(desk, bounded, typed, said):
    before = Revision.objects.count()

    shown = page(desk.post(act_url(agreements.current(bounded), "renew"), {"reason": "By letter."} | typed))

    assert said in shown
    assert ("By letter." in shown) == (typed.get("reason") != "")
    assert Revision.objects.count() == before


def test_a_renewal_that_is_no_later_names_the_cure(desk, bounded):
    version = agreements.current(bounded)
    sooner = text(clock.now() + timedelta(days=2))

    shown = page(desk.post(act_url(version, "renew"), {"valid_until": sooner, "reason": "x"}))

    assert "give a later end, or narrow it" in shown
    assert f'value="{sooner}"' in shown


# --- releasing a hold, and exempting from one ---------------------------------------------------------------


def test_a_release_shows_first_what_returns(desk, world):
    other = make_sellable(host=world.host)
    hold = hold_on(world)
    make_hold(targets=[("listing", str(other.listing.pk))], at=clock.now())
    release = act_url(holds.current(hold), "release")

    shown = page(desk.get(release))
    assert "What would return: 1 offer" in shown
    assert world.listing.sku in shown
    assert other.listing.sku not in shown
    refused = page(desk.post(release, {"reason": ""}))
    assert "This field is required" in refused
    assert world.listing.sku in refused

    desk.post(release, {"reason": "Settled."})
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    assert "was released on" in page(desk.get(release, follow=True))


def test_a_release_that_brings_nothing_back_says_so(desk, world):
    hold = hold_on(world)
    make_hold(targets=[("vendor", str(world.vendor.pk))], at=clock.now())

    shown = page(desk.get(act_url(holds.current(hold), "release")))

    assert "No suspended offer would come back" in shown


def exemption(**changes):
    return {"valid_from": "", "valid_until": "", "note": "The carrier's list does not name it."} | changes


def test_an_exemption_is_looked_at_and_then_made(desk, world):
    hold = hold_on(world, also=[("territory", "US")])
    url = act_url(holds.current(hold), "exempt")
    ends = clock.now() + timedelta(days=7)
    form = page(desk.get(url))
    assert f"manufacturer {world.variant.device.manufacturer.name} and territory US" in form
    assert "Suspend agreements" not in form
    typed = exemption(vendors=[world.vendor.pk], territories="us", valid_until=text(ends))

    looked = page(desk.post(url, typed))
    assert "What would return: 1 offer" in looked
    assert world.listing.sku in looked
    assert f"territory US and vendor {world.vendor.name}" in looked
    assert not holds.exemptions_of(holds.current(hold))
    back = page(desk.post(url, typed | {"step": "back"}))
    assert "The carrier&#x27;s list does not name it." in back
    assert "Continue: nothing is done yet" in back

    done = desk.post(url, typed | {"step": "confirm"}, follow=True)
    assert "has one more exemption" in page(done)
    made = holds.exemptions_of(holds.current(hold))[1]
    assert made.targets == (("territory", "US"), ("vendor", str(world.vendor.pk)))
    assert (made.valid_until, made.note) == (
        ends.replace(microsecond=0),
        "The carrier's list does not name it.",
    )
    assert LedgerEntry.objects.get(act="hold.exempted").actor == f"user:{DESK}"
    outbox.pump()
    assert state_of(world) == OfferState.LIVE


def test_an_exemption_to_come_says_that_nothing_comes_back_before(desk, world):
    url = act_url(holds.current(hold_on(world)), "exempt")
    typed = exemption(vendors=[world.vendor.pk], valid_from=text(clock.now() + timedelta(days=1)))

    shown = page(desk.post(url, typed))

    assert "nothing comes back before" in shown
    assert "No suspended offer would come back" in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "An exemption without goods lets nothing through; name at least one below."),
        ({"territories": "Bavaria"}, "is no ISO 3166-1 code"),
        ({"listings": "no-such-sku"}, "There is no listing no-such-sku"),
        ({"attributes": "chipset"}, "name=value"),
        ({"hosts": ["999999"]}, "Select a valid choice"),
        ({"channels": ["web"], "note": ""}, "This field is required"),
        (
            {"channels": ["web"], "valid_from": "2016-01-01T00:00:00", "valid_until": "2016-02-01T00:00:00"},
            "give an end that is to come",
        ),
        (
            {"channels": ["web"], "valid_from": "2999-01-01T00:00:00", "valid_until": "2998-01-01T00:00:00"},
            "after the beginning",
        ),
    ],
)
def test_a_wrong_exemption_is_refused_and_nothing_typed_is_lost(desk, world, changes, said):
    hold = hold_on(world)
    url = act_url(holds.current(hold), "exempt")

    for step in ("", "confirm"):
        shown = page(desk.post(url, exemption(**changes) | {"step": step}))
        assert said in shown
        assert "The carrier&#x27;s list does not name it." in shown or "note" in changes
    assert not holds.exemptions_of(holds.current(hold))


def test_a_released_hold_takes_no_exemption(desk, world):
    hold = hold_on(world)
    revocations.release_hold(fact=hold, by=BUILDER, at=clock.now(), reason="settled")
    version = holds.current(hold)

    shown = page(desk.get(act_url(version, "change")))
    assert act_url(version, "exempt") not in shown
    assert act_url(version, "release") not in shown
    assert "was released on" in page(desk.get(act_url(version, "exempt"), follow=True))
    assert not HoldVersion.objects.filter(exemptions__isnull=False).exists()


# --- ending an exemption ------------------------------------------------------------------------------------


@pytest.fixture
def exempted(world):
    hold = hold_on(world)
    exempt(hold, ("vendor", world.vendor.pk), note="told")
    assert state_of(world) == OfferState.LIVE
    return hold


def test_an_exemption_is_ended_after_a_look_at_what_falls(desk, world, exempted):
    shown = page(desk.get(act_url(holds.current(exempted), "change")))
    assert end_url(exempted) in shown
    assert "in force" in shown
    asked = page(desk.get(end_url(exempted)))
    assert world.listing.sku in asked
    assert "of 1 vendor" in asked
    refused = page(desk.post(end_url(exempted), word(note="", step="review")))
    assert "This field is required" in refused
    assert world.listing.sku in refused

    done = go_through(desk, end_url(exempted), word(note="They called."))
    revocation = Revocation.objects.latest("pk")
    assert done.url == reverse("admin:authorization_revocation_change", args=[revocation.pk])
    assert (revocation.kind, revocation.preview_falls) == ("exemption", 1)
    assert end_url(exempted) not in page(desk.get(act_url(holds.current(exempted), "change")))
    assert holds.exemptions_of(holds.current(exempted))[1].valid_until <= clock.now()
    assert LedgerEntry.objects.get(act="hold.exemption_ended").reason == "They called."
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED
    again = desk.get(end_url(exempted), follow=True)
    assert "is over; nothing is left to end" in page(again)


def test_what_moved_since_the_look_is_shown_and_nothing_is_ended(desk, world, exempted):
    _, sends = review(desk, end_url(exempted), word(note="They called."))
    exempt(exempted, ("listing", world.listing.pk))

    shown = page(desk.post(end_url(exempted), sends))

    assert "The world moved since you looked. Nothing was done." in shown
    assert "1 that would fall before would not now." in shown
    assert "They called." in shown
    assert holds.exemptions_of(holds.current(exempted))[1].valid_until == FOREVER
    assert go_through(desk, end_url(exempted), word()).status_code == 302


def test_an_exemption_that_is_not_there_has_no_page(desk, exempted, world):
    assert desk.get(end_url(exempted, part=2)).status_code == 404
    assert desk.get(reverse("admin:end_exemption", args=[world.agreement.pk, 1])).status_code == 404


def test_what_is_said_to_fall_is_what_falls(world):
    device = world.variant.device
    stopped = make_sellable(host=world.host, variant=VariantFactory.create(device=device))
    twice = make_sellable(vendor=world.vendor, host=world.host, variant=VariantFactory.create(device=device))
    hold = hold_on(world)
    exempt(hold, ("vendor", world.vendor.pk), ("host", world.host.pk))
    exempt(hold, ("listing", twice.listing.pk))
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    before = set(live.values_list("pk", flat=True))

    said = revocations.preview(EndExemption(hold.pk, 1, "SHOP_REVIEW"), at=clock.now())
    assert set(live.values_list("pk", flat=True)) == before
    holds.end_exemption(fact=hold, part=1, by=BUILDER, at=clock.now(), reason="told")
    outbox.pump()

    assert before == {world.offer.pk, twice.offer.pk}
    assert set(said.falls.offer_ids) == before - set(live.values_list("pk", flat=True)) == {world.offer.pk}
    assert {state_of(stopped), state_of(world)} == {OfferState.SUSPENDED}
    assert all(offer.reason_codes for offer in said.falls)


@pytest.mark.parametrize("reach", ["new_grants", "all_grants"])
def test_an_exemption_from_a_list_falls_with_what_was_granted_since_the_list_began(reach):
    variant, vendor = VariantFactory.create(), OrganizationFactory.create()
    make_policy(is_equipment_authorization_enforced=True, at=clock.now())
    hold = make_hold(targets=[("variant", str(variant.pk))], reach=reach, at=clock.now())
    exempt(hold, ("vendor", vendor.pk))
    granted = clock.now()
    make_equipment(variant=variant, granted_at=granted, valid_from=granted, at=granted)
    world = make_sellable(vendor=vendor, variant=variant)

    said = revocations.preview(EndExemption(hold.pk, 1, "SHOP_REVIEW"), at=clock.now())
    holds.end_exemption(fact=hold, part=1, by=BUILDER, at=clock.now(), reason="told")
    outbox.pump()

    assert list(said.falls.offer_ids) == [world.offer.pk]
    assert state_of(world) == OfferState.SUSPENDED


# --- ending an affiliation ----------------------------------------------------------------------------------


def test_the_end_of_an_affiliation_shows_first_what_falls(desk, world):
    """The vendor's leave is from the parent: the child's phone may be sold through the affiliation alone."""
    parent = OrganizationFactory.create(kind="manufacturer", slug="parent")
    maker = world.variant.device.manufacturer
    family = make_affiliation(parent=parent, child=maker, at=clock.now())
    make_agreement(grantor=parent, grantee=world.vendor, models=[world.variant], at=clock.now())
    revoke_agreement(world)
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    url = desk.get(act_url(affiliations.current(family), "end")).url

    assert world.listing.sku in page(desk.get(url))
    assert "This field is required" in page(desk.post(url, word(note="", step="review")))
    assert AffiliationVersion.objects.filter(head=family).count() == 1
    assert go_through(desk, url, word(note="Sold.")).status_code == 302
    assert affiliations.current(family).valid_until <= clock.now()
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED


# --- asking about a decision --------------------------------------------------------------------------------


def test_an_order_line_and_a_decision_lead_to_the_engine(desk, world, provider):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    order = check_out(cart)
    decision = Decision.objects.get(pk=order.lines.get().decision_id)
    wanted = f"{reverse('ask_the_engine')}?decision={decision.pk}"

    shown = page(desk.get(act_url(order, "change")))
    assert f'href="{wanted}">Ask the engine about it</a>' in shown
    assert "Ask the engine about it" in page(desk.get(act_url(decision, "change")))
    button = desk.get(act_url(decision, "ask"))
    assert (button.status_code, button.url) == (302, wanted)
    assert "The decision as it was recorded" in page(desk.get(wanted))


@pytest.mark.parametrize(
    ("names", "said"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c", "d"], "a, b and 2 more")],
)
def test_long_lists_are_cut(names, said):
    assert say_list(names, at_most=2) == said
