"""The compliance desk: what each screen shows, who may do what, and that buttons call named functions."""

import json
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import agreements, approvals, clock, offers, outbox, policies
from authorization.actors import Actor
from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    Decision,
    EquipmentVersion,
    Fact,
    HoldTarget,
    HoldVersion,
    LedgerEntry,
    PolicyVersion,
    Revision,
    Revocation,
)
from catalog.models import Device, ListingHost, OfferState, Organization
from seeds.factories import (
    BUILDER,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_agreement,
    make_equipment,
    make_policy,
    make_sellable,
)
from storefront import accounts, carts, orders, test_mode
from storefront.admin.desk import say_reasons, site
from storefront.carts import SHOP_REASONS
from storefront.models import Cart, Notice, Order, OrganizationKey, RefusedCheckout, RemovalProof, TestStore
from storefront.roles import AUDITOR, CATALOG, DESK, ensure_roles
from storefront.scopes import usual_scopes
from tests.authorization.tampering import tampering
from tests.storefront.conftest import check_out, place_hold, revoke_agreement

pytestmark = pytest.mark.django_db

SHOP_APPS = ("carriers", "catalog", "authorization", "storefront")
OUR_MODELS = [model for label in SHOP_APPS for model in apps.get_app_config(label).get_models()]
SCREENS = [model for model in OUR_MODELS if model in site._registry]
# `manage.py ledger` speaks of them; thousands of hashes tell nobody anything. Parts of a proof are gone when it stands.
WITHOUT_SCREEN = {"ledgerseal", "ledgerleaf", "ratecount", "proofpart"}
PLAIN_FORMS = {"referencesource", "hostcarrier", "organization", "device", "variant", "prepaidplan"}


def names(models):
    return [model._meta.model_name for model in models]


def client_of(role=None):
    ensure_roles()
    # Nobody types a password here, and hashing one is slow.
    user = User.objects.create(username=role or "boss", is_staff=True, is_superuser=role is None)
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss():
    return client_of()


@pytest.fixture
def desk():
    return client_of(DESK)


@pytest.fixture
def auditor():
    return client_of(AUDITOR)


def list_url(model):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def act_url(row, act):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{act}", args=[row.pk])


def page(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def agreement_version(world):
    return AgreementVersion.objects.get(head=world.agreement, rev_to__isnull=True)


def buy(world):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    return check_out(cart)


def now_text(ago=timedelta(0)):
    return f"{clock.now() - ago:%Y-%m-%dT%H:%M:%S}"


def request_of_a_superuser():
    request = RequestFactory().get("/admin/")
    request.user = User(username="boss", is_staff=True, is_superuser=True)
    return request


# --- all screens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", OUR_MODELS, ids=names(OUR_MODELS))
def test_every_model_has_a_screen_or_stands_on_one(model):
    inlines = {inline.model for screen in site._registry.values() for inline in screen.inlines}
    inlines |= {model for screen in site._registry.values() for model in getattr(screen, "shows", ())}

    assert (model in site._registry or model in inlines) != (model._meta.model_name in WITHOUT_SCREEN)


@pytest.mark.parametrize("model", SCREENS, ids=names(SCREENS))
def test_nothing_is_deleted_at_the_desk(model):
    request = request_of_a_superuser()
    screen = site._registry[model]

    assert not screen.has_delete_permission(request)
    assert "delete_selected" not in screen.get_actions(request)
    assert not any(inline.can_delete for inline in screen.inlines)


@pytest.mark.parametrize("model", SCREENS, ids=names(SCREENS))
def test_only_rows_that_no_decision_reads_have_forms_that_write(model):
    request = request_of_a_superuser()

    assert site._registry[model].has_change_permission(request) == (model._meta.model_name in PLAIN_FORMS)


@pytest.fixture
def busy_shop(provider):
    """At least two rows of what lists are made of. Returns a function that makes it busier."""

    def more():
        world = make_sellable()
        buy(world)
        orders.hold_order(order=buy(world), reason="test", by=BOSS, at=clock.now())
        cart = Cart.objects.create(created_at=clock.now())
        carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
        accounts.make_organization_key(
            organization=world.vendor,
            label="stock",
            by=BOSS,
            at=clock.now(),
            expires_at=clock.now() + timedelta(days=1),
        )
        place_hold(("listing", world.listing.pk), ("host", world.host.pk), code=f"HOLD-{world.listing.pk}")
        revoke_agreement(world)
        with pytest.raises(orders.CheckoutRefused):
            check_out(cart)
        outbox.pump()

    more()
    more()
    return more


BOSS = Actor("user", "boss")


def count_queries(client, url):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_no_list_asks_more_queries_for_more_rows(boss, busy_shop):
    urls = {list_url(model): 0 for model in SCREENS}
    for url in urls:
        boss.get(url)
        urls[url] = count_queries(boss, url)
    for _ in range(4):
        busy_shop()

    grown = {url: (few, many) for url, few in urls.items() if (many := count_queries(boss, url)) > few}

    assert not grown


def test_every_row_has_a_page(boss, busy_shop):
    for model in SCREENS:
        row = model._default_manager.last()
        if row is None:
            continue
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
        assert boss.get(url).status_code == 200, url


def test_every_list_can_be_searched_and_filtered(boss, busy_shop):
    for model in SCREENS:
        assert boss.get(list_url(model), {"q": "1"}).status_code == 200, model
    for url in (
        f"{list_url(AgreementVersion)}?known=all",
        f"{list_url(ListingHost)}?state__exact=SUSPENDED",
        f"{list_url(apps.get_model('authorization.OutboxRow'))}?work=dead",
        f"{list_url(apps.get_model('authorization.OutboxRow'))}?work=open",
        f"{list_url(apps.get_model('authorization.OutboxRow'))}?work=failed",
        f"{list_url(apps.get_model('authorization.OutboxRow'))}?work=events",
        f"{list_url(apps.get_model('authorization.Decision'))}?offer__id__exact={ListingHost.objects.earliest('pk').pk}",
    ):
        assert boss.get(url).status_code == 200, url


def test_lists_of_facts_show_the_current_version_unless_all_are_asked_for(boss, world):
    revoke_agreement(world)

    assert page(boss.get(list_url(AgreementVersion))).count(f">{world.agreement.code}<") == 1
    assert (
        page(boss.get(list_url(AgreementVersion), {"known": "all"})).count(f">{world.agreement.code}<") == 2
    )


def test_holds_name_what_they_stop(boss, world):
    place_hold(("vendor", world.vendor.pk), ("host", world.host.pk), ("territory", "US"))

    shown = page(boss.get(list_url(HoldVersion)))

    assert f"host: {world.host.name}; territory: US; vendor: {world.vendor.name}" in shown


# --- who may do what ----------------------------------------------------------------------------------------


def test_the_auditor_reads_all_and_writes_none(auditor):
    for model in SCREENS:
        assert auditor.get(list_url(model)).status_code == 200, model
        add = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
        assert auditor.get(add).status_code == 403, model
        assert auditor.post(add, {}).status_code == 403, model


def test_the_auditor_cannot_use_any_button(auditor, world):
    place_hold(("host", world.host.pk))
    agreement = agreement_version(world)
    approval = ApprovalVersion.objects.get(head=world.approval)
    hold = HoldVersion.objects.get()
    urls = [
        reverse("admin:place_hold"),
        reverse("admin:revoke_agreement", args=[world.agreement.pk]),
        reverse("admin:revoke_approval", args=[world.approval.pk]),
        *(act_url(agreement, act) for act in ("revoke", "verify", "suspend")),
        *(act_url(approval, act) for act in ("revoke", "change_state", "suspend")),
        act_url(hold, "release"),
        act_url(world.listing, "place_hold"),
    ]
    before = Revision.objects.count()

    for url in urls:
        assert auditor.get(url).status_code == 403, url
        assert auditor.post(url, {"reason": "x", "step": "confirm"}).status_code == 403, url
    assert Revision.objects.count() == before


def test_strangers_are_sent_to_the_login(client, world):
    for url in (list_url(Fact), reverse("admin:place_hold"), act_url(agreement_version(world), "revoke")):
        response = client.get(url)
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")


def test_the_catalog_role_keeps_the_catalog_and_sees_no_authority():
    keeper = client_of(CATALOG)

    assert keeper.get(list_url(Organization)).status_code == 200
    assert keeper.get(reverse("admin:catalog_device_add")).status_code == 200
    assert keeper.get(list_url(AgreementVersion)).status_code == 403
    assert keeper.get(reverse("admin:place_hold")).status_code == 403


def test_the_menu_shows_what_a_person_may_read(boss):
    shown = page(client_of(CATALOG).get("/admin/"))

    assert "Devices" in shown
    assert "Withdrawals" not in shown
    assert "Withdrawals" in page(boss.get("/admin/"))


def test_roles_are_brought_back_to_what_they_are():
    ensure_roles()
    auditors = Group.objects.get(name=AUDITOR)
    kept = set(auditors.permissions.values_list("codename", flat=True))
    auditors.permissions.clear()

    ensure_roles()

    assert set(auditors.permissions.values_list("codename", flat=True)) == kept
    assert all(codename.startswith("view_") for codename in kept)


# --- revoking -----------------------------------------------------------------------------------------------


def hidden(response, name):
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found, f"no hidden {name}"
    return found.group(1).replace("&quot;", '"')


def word(**changes):
    typed = {
        "requested_by": "Xiaomi",
        "reason_code": "MANUFACTURER_DISCLAIMS",
        "word_received_at": now_text(timedelta(minutes=5)),
        "note": "By e-mail from their press office.",
    }
    return typed | changes


def test_revoking_shows_the_impact_asks_for_the_word_and_then_does_it(desk, world, provider):
    order = buy(world)
    start = desk.get(act_url(agreement_version(world), "revoke"))
    assert start.status_code == 302

    first = desk.get(start.url)
    shown = page(first)
    assert world.listing.sku in shown
    assert "The agreement was revoked" in shown
    assert f"Order {order.pk}" in shown
    assert f'value="{world.variant.device.manufacturer.name}"' in shown

    second = desk.post(start.url, word(step="review", seen=hidden(first, "seen")))
    assert "Stop the sale now" in page(second)
    assert not Revocation.objects.exists(), "looking does nothing"

    done = desk.post(
        start.url, word(step="confirm", seen=hidden(second, "seen"), digest=hidden(second, "digest"))
    )
    revocation = Revocation.objects.get()
    assert done.status_code == 302
    assert done.url == reverse("admin:authorization_revocation_change", args=[revocation.pk])
    assert revocation.requested_by == "Xiaomi"
    assert revocation.note == "By e-mail from their press office."
    assert revocation.word_received_at < revocation.effective_at
    assert revocation.actor.startswith("user:")

    waiting = page(desk.get(done.url))
    assert 'http-equiv="refresh"' in waiting
    assert "for a worker; the sale has stopped already" in waiting
    assert 'http-equiv="refresh"' not in page(desk.get(done.url + "?still=1"))

    outbox.pump()
    finished = page(desk.get(done.url))
    assert 'http-equiv="refresh"' not in finished
    assert f"/proofs/{RemovalProof.objects.get().public_id}/" in finished
    assert Notice.objects.get().title in finished
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.SUSPENDED


def test_the_preview_says_what_survives_and_on_what(desk, world):
    distributor = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    maker = world.variant.device.manufacturer
    upper = make_agreement(grantor=maker, grantee=distributor, may_sublicense=True, at=clock.now())
    lower = make_agreement(grantor=distributor, grantee=world.vendor, at=clock.now())

    shown = page(desk.get(reverse("admin:revoke_agreement", args=[world.agreement.pk])))

    assert "No offer that is on sale now would fall." in shown
    assert upper.code in shown
    assert lower.code in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"note": ""}, "This field is required"),
        ({"requested_by": " "}, "This field is required"),
        ({"reason_code": "CARRIER_WITHDRAWS"}, "Select a valid choice"),
        ({"word_received_at": "2999-01-01T00:00:00"}, "cannot have been received in the future"),
        ({"word_received_at": "yesterday"}, "Enter a valid date/time"),
    ],
)
def test_a_wrong_word_is_refused_at_its_field_and_nothing_typed_is_lost(desk, world, changes, said):
    url = reverse("admin:revoke_agreement", args=[world.agreement.pk])
    typed = word(**changes)

    for step in ("review", "confirm"):
        shown = page(desk.post(url, typed | {"step": step}))
        assert said in shown
        assert world.listing.sku in shown, "the impact stays in sight"
        assert typed["note"] in shown
    assert not Revocation.objects.exists()


def test_back_returns_to_the_first_page_with_everything_typed(desk, world):
    url = reverse("admin:revoke_agreement", args=[world.agreement.pk])
    second = desk.post(url, word(step="review"))

    shown = page(desk.post(url, word(step="back", seen=hidden(second, "seen"))))

    assert "Continue: nothing is done yet" in shown
    assert "By e-mail from their press office." in shown
    assert "The world moved" not in shown


def test_when_the_world_moved_the_difference_is_shown_and_nothing_is_lost_or_done(desk, world):
    url = reverse("admin:revoke_agreement", args=[world.agreement.pk])
    second = desk.post(url, word(step="review"))
    # In between another chain is recorded: the offer would survive now.
    distributor = OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)
    maker = world.variant.device.manufacturer
    make_agreement(grantor=maker, grantee=distributor, may_sublicense=True, at=clock.now())
    make_agreement(grantor=distributor, grantee=world.vendor, at=clock.now())

    stale = word(step="confirm", seen=hidden(second, "seen"), digest=hidden(second, "digest"))
    again = desk.post(url, stale)

    shown = page(again)
    assert "The world moved since you looked. Nothing was done." in shown
    assert "1 that would fall before would not now." in shown
    assert f"Now also would survive: {world.listing.sku} of {world.vendor.name}" in shown
    assert "By e-mail from their press office." in shown
    assert not Revocation.objects.exists()

    second = desk.post(url, word(step="review", seen=hidden(again, "seen")))
    desk.post(url, word(step="confirm", seen=hidden(second, "seen"), digest=hidden(second, "digest")))
    assert Revocation.objects.get().preview_survives == 1


def test_evidence_that_moved_under_the_same_offers_is_noticed_too(desk, world):
    url = reverse("admin:revoke_agreement", args=[world.agreement.pk])
    second = desk.post(url, word(step="review"))

    shown = page(desk.post(url, word(step="confirm", seen=hidden(second, "seen"), digest="0" * 64)))

    assert "The evidence behind an offer has changed." in shown
    assert not Revocation.objects.exists()


def test_a_revocation_that_nothing_falls_with_says_that_it_is_only_recorded(desk, world):
    offers.withdraw_listing(listing=world.listing, by=BUILDER, at=clock.now())
    url = reverse("admin:revoke_agreement", args=[world.agreement.pk])

    shown = page(desk.post(url, word(step="review", seen=hidden(desk.get(url), "seen"))))

    assert "No offer is affected; this only records the revocation." in shown
    assert "Record the revocation" in shown
    assert "Stop the sale now" not in shown


def test_a_refused_checkout_is_said_in_words(desk, world):
    codes = ["OFFER_NOT_LIVE", "CARD_DECLINED", "AGREEMENT_REVOKED"]
    RefusedCheckout.objects.create(cart_id=uuid4(), reason_codes=codes, message="No.", at=clock.now())

    shown = page(desk.get(list_url(RefusedCheckout)))

    assert "The offer was not live; The card was declined; The agreement was revoked" in shown


def test_every_reason_of_the_shop_has_words_at_the_desk():
    assert not [code for code in SHOP_REASONS if say_reasons([code]) == code]


def test_what_is_revoked_already_is_said_so(desk, world):
    revoke_agreement(world)

    response = desk.get(reverse("admin:revoke_agreement", args=[world.agreement.pk]), follow=True)

    assert "nothing is left to revoke" in page(response)


def test_a_broken_or_forged_memory_of_the_last_page_does_no_harm(desk, world):
    url = reverse("admin:revoke_agreement", args=[world.agreement.pk])
    for seen in ("{", "[]", '"x"', '{"falls": 3}', '{"falls": [[1]], "counts": []}'):
        assert desk.post(url, word(step="review", seen=seen)).status_code == 200, seen


def test_an_approval_is_revoked_in_the_same_way(desk, world):
    version = ApprovalVersion.objects.get(head=world.approval)
    url = desk.get(act_url(version, "revoke")).url
    typed = word(requested_by=world.host.name, reason_code="CARRIER_WITHDRAWS")
    assert f'value="{world.host.name}"' in page(desk.get(url))

    second = desk.post(url, typed | {"step": "review"})
    desk.post(
        url, typed | {"step": "confirm", "seen": hidden(second, "seen"), "digest": hidden(second, "digest")}
    )

    assert Revocation.objects.get().kind == Revocation.Kind.APPROVAL
    assert approvals.current(world.approval).state == "revoked"


# --- holds --------------------------------------------------------------------------------------------------


def hold(**changes):
    return word(code="HOLD-7", reason_code="CARRIER_TESTS_PENDING", requested_by="T-Mobile US") | changes


def test_a_hold_is_looked_at_confirmed_and_released(desk, world):
    url = reverse("admin:place_hold")
    targets = {"hosts": [world.host.pk], "variants": [world.variant.pk]}

    looked = page(desk.post(url, hold(**targets, step="look", note="")))
    assert world.listing.sku in looked
    assert "This field is required" not in looked

    second = desk.post(url, hold(**targets, step="review"))
    desk.post(
        url, hold(**targets, step="confirm", seen=hidden(second, "seen"), digest=hidden(second, "digest"))
    )
    version = HoldVersion.objects.get()
    assert (version.head.code, version.placed_by) == ("HOLD-7", "T-Mobile US")
    assert set(version.targets.values_list("dimension", "value")) == {
        ("host", str(world.host.pk)),
        ("variant", str(world.variant.pk)),
    }
    outbox.pump()
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.SUSPENDED

    release = act_url(version, "release")
    assert "This field is required" in page(desk.post(release, {"reason": ""}))
    assert desk.post(release, {"reason": "The tests are passed."}).status_code == 302
    assert HoldVersion.objects.get(rev_to__isnull=True).released_at is not None
    outbox.pump()
    assert ListingHost.objects.get(pk=world.offer.pk).state == OfferState.LIVE

    again = page(
        desk.post(act_url(HoldVersion.objects.get(rev_to__isnull=True), "release"), {"reason": "Again."})
    )
    assert "was released on" in again


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ({}, "A hold without targets stops nothing"),
        ({"territories": "Bavaria"}, "is no ISO 3166-1 code"),
        ({"listings": "no-such-sku"}, "There is no listing no-such-sku"),
        ({"facts": "AG-none"}, "There is no agreement, approval or equipment authorization called AG-none"),
        ({"hosts": ["999999"]}, "Select a valid choice"),
    ],
)
def test_a_hold_on_nothing_is_refused_with_the_cure(desk, world, targets, said):
    for step in ("look", "review", "confirm"):
        shown = page(desk.post(reverse("admin:place_hold"), hold(**targets, step=step)))
        assert said in shown
        assert "HOLD-7" in shown
    assert not HoldVersion.objects.exists()


def test_a_regulators_list_is_placed_with_all_that_it_names(desk, world):
    url = reverse("admin:place_hold")
    typed = hold(
        reach="new_grants",
        channels=["web"],
        conditions=["new", "used"],
        attributes="chipset_vendor = Qualcomm, module=FGH75D",
        reason_code="REGULATOR_ORDER",
    )

    second = desk.post(url, typed | {"step": "review"})
    desk.post(
        url, typed | {"step": "confirm", "seen": hidden(second, "seen"), "digest": hidden(second, "digest")}
    )

    version = HoldVersion.objects.get()
    assert version.reach == HoldVersion.Reach.NEW_GRANTS
    assert set(version.targets.values_list("dimension", "value")) == {
        ("channel", "web"),
        ("condition", "new"),
        ("condition", "used"),
        ("attribute:chipset_vendor", "Qualcomm"),
        ("attribute:module", "FGH75D"),
    }


def test_an_attribute_without_a_value_is_refused_at_its_field(desk, world):
    shown = page(desk.post(reverse("admin:place_hold"), hold(attributes="chipset_vendor", step="look")))
    assert "Write chipset_vendor as name=value" in shown


# --- equipment authorizations, decisions in full ------------------------------------------------------------


@pytest.fixture
def equipment(world):
    fact = make_equipment(variant=world.variant, identifier="2AFZZ-1", at=clock.now())
    make_policy(is_equipment_authorization_enforced=True, minimum_radio="FULL", at=clock.now())
    return fact


def test_an_equipment_authorization_is_revoked_on_its_regulators_word(desk, world):
    fact = make_equipment(variant=world.variant, at=clock.now())
    make_policy(is_equipment_authorization_enforced=True, at=clock.now())
    version = EquipmentVersion.objects.get(head=fact)
    start = desk.get(act_url(version, "revoke"))
    assert start.url == reverse("admin:revoke_equipment", args=[fact.pk])
    shown = page(desk.get(start.url))
    assert world.listing.sku in shown
    typed = word(requested_by="FCC", reason_code="REGULATOR_ORDER")

    second = desk.post(start.url, typed | {"step": "review"})
    done = desk.post(
        start.url,
        typed | {"step": "confirm", "seen": hidden(second, "seen"), "digest": hidden(second, "digest")},
    )

    assert done.status_code == 302
    assert "equipment authorization revoked" in page(desk.get(done.url))
    assert EquipmentVersion.objects.get(head=fact, rev_to__isnull=True).state == "revoked"


def test_an_equipment_authorization_can_be_suspended_by_a_hold(desk, world):
    fact = make_equipment(variant=world.variant, at=clock.now())
    start = desk.get(act_url(EquipmentVersion.objects.get(head=fact), "suspend"))
    shown = page(desk.post(start.url.partition("?")[0], hold(facts=fact.code, step="look")))
    assert "There is no" not in shown


def test_only_the_desk_revokes_an_equipment_authorization(auditor, world):
    fact = make_equipment(variant=world.variant, at=clock.now())
    version = EquipmentVersion.objects.get(head=fact)
    for url in (reverse("admin:revoke_equipment", args=[fact.pk]), act_url(version, "revoke")):
        assert auditor.get(url).status_code == 403
        assert auditor.post(url, word(step="confirm")).status_code == 403
    assert Revocation.objects.count() == 0


def test_a_decision_says_its_grounds_what_they_rest_on_and_what_would_cure_them(boss, world, equipment):
    allowed = Decision.objects.filter(outcome="allow").latest("revision")
    shown = page(boss.get(reverse("admin:authorization_decision_change", args=[allowed.pk])))
    assert f"<b>agreement</b>: on {world.agreement.code} v1" in shown
    assert "<b>host</b>: on " in shown
    outbox.pump()
    denied = Decision.objects.filter(outcome="deny").latest("revision")
    shown = page(boss.get(reverse("admin:authorization_decision_change", args=[denied.pk])))
    assert "<b>radio</b>: RADIO_UNKNOWN" in shown
    assert "Cure, by shop: The shop&#x27;s data desk records them." in shown


def test_a_decision_from_before_cures_were_said_still_has_its_page(boss, world):
    place_hold(("host", world.host.pk))
    outbox.pump()
    denied = Decision.objects.get(outcome="deny")
    reasons = [{name: reason[name] for name in reason if name != "cure"} for reason in denied.reasons]
    with tampering():
        Decision.objects.filter(pk=denied.pk).update(reasons=reasons)
    shown = page(boss.get(reverse("admin:authorization_decision_change", args=[denied.pk])))
    assert "Cure, by who placed it: none on record" in shown


def test_the_page_of_a_fact_shows_its_versions_whatever_its_kind(boss, world, equipment):
    parent = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    affiliation = make_affiliation(parent=parent, child=world.variant.device.manufacturer, at=clock.now())
    for fact, said in ((equipment, "2AFZZ-1"), (affiliation, parent.name)):
        assert said in page(boss.get(reverse("admin:authorization_fact_change", args=[fact.pk])))


def test_a_code_that_is_taken_is_refused_at_its_field(desk, world):
    shown = page(
        desk.post(
            reverse("admin:place_hold"), hold(code=world.agreement.code, territories="US", step="review")
        )
    )

    assert "take another code" in shown


def test_a_listing_of_two_vendors_is_named_with_its_vendor(desk, world):
    twin = make_sellable(sku=world.listing.sku)
    url = reverse("admin:place_hold")

    assert "Several vendors have a listing" in page(
        desk.post(url, hold(listings=world.listing.sku, step="look"))
    )
    named = f"{twin.vendor.slug}/{twin.listing.sku}"
    assert twin.vendor.name in page(desk.post(url, hold(listings=named, step="look")))


def test_an_agreement_is_suspended_and_a_listing_held_from_their_own_pages(desk, world):
    suspend = desk.get(act_url(agreement_version(world), "suspend")).url
    assert f'value="{world.agreement.code}"' in page(desk.get(suspend))
    listing = desk.get(act_url(world.listing, "place_hold")).url
    assert f'value="{world.vendor.slug}/{world.listing.sku}"' in page(desk.get(listing))

    typed = hold(facts=world.agreement.code)
    second = desk.post(suspend, typed | {"step": "review"})
    assert "The agreement is suspended by a hold" in page(second)
    desk.post(
        suspend,
        typed | {"step": "confirm", "seen": hidden(second, "seen"), "digest": hidden(second, "digest")},
    )
    assert list(HoldTarget.objects.values_list("dimension", "value")) == [("fact", str(world.agreement.pk))]


# --- facts --------------------------------------------------------------------------------------------------


def agreement_form(world, **changes):
    return {
        "code": "AG-812",
        "grantor": world.variant.device.manufacturer_id,
        "grantee": world.vendor.pk,
        "assurance": "claimed",
        "models": [world.variant.pk],
        "territories": "us, ca",
        "channels": ["web"],
        "conditions": ["*"],
        "valid_from": "2016-01-01T00:00:00",
        "valid_until": "",
        "document": "A letter of 12 January.",
    } | changes


def test_an_agreement_is_recorded_by_its_function_and_verified(desk, world):
    url = reverse("admin:authorization_agreementversion_add")
    assert "Record the agreement" in page(desk.get(url))

    assert desk.post(url, agreement_form(world)).status_code == 302

    version = AgreementVersion.objects.get(head__code="AG-812")
    assert agreements.scope_of(version) == {
        "model": [str(world.variant.pk)],
        "territory": ["CA", "US"],
        "channel": ["web"],
        "condition": ["*"],
    }
    assert LedgerEntry.objects.get(
        act="agreement.recorded", subject_id=str(version.head_id)
    ).actor.startswith("user:")

    assert desk.post(act_url(version, "verify"), {"reason": "Their lawyer called back."}).status_code == 302
    assert agreements.current(version.head).assurance == "verified"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"valid_until": "2015-01-01T00:00:00"}, "The end must be after the beginning"),
        ({"territories": "Bavaria"}, "is no ISO 3166-1 code"),
        ({"valid_from": "1916-01-01T00:00:00"}, "take a year from 1980 on"),
        ({"models": []}, "Choose models, or tick that all are covered"),
        ({"covers_all_models": "on"}, "one of the two"),
        ({"grantor": ""}, "This field is required"),
        ({"valid_from": "soon"}, "Enter a valid date/time"),
    ],
)
def test_a_wrong_agreement_is_refused_at_its_field_and_nothing_typed_is_lost(desk, world, changes, said):
    before = Revision.objects.count()

    shown = page(
        desk.post(reverse("admin:authorization_agreementversion_add"), agreement_form(world, **changes))
    )

    assert said in shown
    assert "A letter of 12 January." in shown
    assert Revision.objects.count() == before


def test_a_model_of_somebody_else_is_refused_at_the_models(desk, world):
    other = VariantFactory.create()

    shown = page(
        desk.post(
            reverse("admin:authorization_agreementversion_add"), agreement_form(world, models=[other.pk])
        )
    )

    assert "is not a model of" in shown


def test_an_approval_is_recorded_and_moved_but_not_revoked_by_its_state(desk, world):
    variant = VariantFactory.create()
    url = reverse("admin:authorization_approvalversion_add")
    typed = {
        "code": "TA-9",
        "host": world.host.pk,
        "variant": variant.pk,
        "state": "in_test",
        "valid_from": "2016-01-01T00:00:00",
    }
    assert "revoked" not in re.findall(r'<option value="(\w+)"', page(desk.get(url)))

    assert desk.post(url, typed).status_code == 302
    version = ApprovalVersion.objects.get(head__code="TA-9")
    change = act_url(version, "change_state")
    limited = {"state": "conditional", "limits": "", "reason": "Letter of 3 February."}
    assert "says what is limited" in page(desk.post(change, limited))
    assert "Select a valid choice" in page(desk.post(change, limited | {"state": "revoked"}))
    assert desk.post(change, limited | {"limits": "LTE B12 off"}).status_code == 302
    assert approvals.current(version.head).state == "conditional"


def test_a_policy_is_looked_at_and_set(desk, world):
    url = reverse("admin:authorization_policyversion_add")
    typed = word(name="a letter is enough", minimum_assurance="claimed", reason_code="SHOP_REVIEW")

    assert "Set the policy" in page(desk.get(url))
    second = desk.post(url, typed | {"step": "review"})
    assert "verified → claimed" in page(second)
    assert "Set the policy" in page(second), "it only loosens: nothing falls"
    assert PolicyVersion.objects.current().count() == 1
    sends = {name: hidden(second, name) for name in ("seen", "digest", "token")}
    assert desk.post(url, typed | sends | {"step": "confirm"}).status_code == 302

    policy = policies.current_policy(clock.now())
    assert policy is not None
    assert (policy.name, policy.is_carrier_approval_enforced) == ("a letter is enough", False)
    assert PolicyVersion.objects.current().count() == 2


def test_buttons_that_a_state_has_no_use_for_are_not_shown(desk, world):
    revoke_agreement(world)
    current, old = AgreementVersion.objects.filter(head=world.agreement).order_by("-version_no")

    for version in (current, old):
        url = reverse("admin:authorization_agreementversion_change", args=[version.pk])
        assert act_url(version, "revoke") not in page(desk.get(url))


# --- rows with plain forms ----------------------------------------------------------------------------------


def test_an_organization_is_added_with_its_time_and_a_ledger_entry():
    keeper = client_of(CATALOG)
    added = {
        "kind": "vendor",
        "name": "Omni Electronics HK",
        "slug": "omni",
        "country": "HK",
        "contact_email": "",
    }

    assert keeper.post(reverse("admin:catalog_organization_add"), added).status_code == 302

    omni = Organization.objects.get(slug="omni")
    assert abs(clock.now() - omni.created_at) < timedelta(minutes=1)
    assert LedgerEntry.objects.get(act="organization.added").subject_id == str(omni.pk)

    url = reverse("admin:catalog_organization_change", args=[omni.pk])
    keeper.post(url, added | {"kind": "manufacturer", "contact_email": "omni@example.com"})
    omni.refresh_from_db()
    assert (omni.kind, omni.contact_email) == ("vendor", "omni@example.com"), "what a decision reads stays"
    assert LedgerEntry.objects.get(act="organization.edited").evidence == {"fields": ["contact_email"]}


def test_a_device_cannot_change_hands_without_a_revision(world):
    device = world.variant.device
    other = OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER)
    url = reverse("admin:catalog_device_change", args=[device.pk])
    typed = {"manufacturer": other.pk, "brand": "New", "marketing_name": "Name", "slug": device.slug}

    client_of(CATALOG).post(url, typed)

    assert Device.objects.get(pk=device.pk).manufacturer_id == device.manufacturer_id
    assert Device.objects.get(pk=device.pk).brand == "New"


# --- keys, notices, orders ----------------------------------------------------------------------------------


def test_the_secret_of_a_key_is_shown_exactly_once(desk, world):
    url = reverse("admin:storefront_organizationkey_add")
    expires = f"{clock.now() + timedelta(days=30):%Y-%m-%dT%H:%M:%S}"

    made = desk.post(url, {"organization": world.vendor.pk, "label": "stock system", "expires_at": expires})

    (secret,) = set(re.findall(r"sk_live_[\w-]{20,}", made.content.decode()))
    assert "no-store" in made["Cache-Control"]
    key = OrganizationKey.objects.get()
    assert accounts.find_organization_key(secret, clock.now()) == key
    row = reverse("admin:storefront_organizationkey_change", args=[key.pk])
    for later in (list_url(OrganizationKey), row, url):
        shown = page(desk.get(later))
        assert secret not in shown
        assert key.key_hash not in shown
    assert secret not in json.dumps(list(LedgerEntry.objects.values_list("evidence", flat=True)))

    assert desk.post(act_url(key, "revoke")).status_code == 302
    assert accounts.find_organization_key(secret, clock.now()) is None


def test_the_desk_says_what_a_key_opens_and_in_which_mode(desk, world):
    url = reverse("admin:storefront_organizationkey_add")
    maker = world.variant.device.manufacturer
    typed = {"organization": maker.pk, "label": "legal", "expires_at": now_text(ago=-timedelta(days=30))}
    wanted = typed | {"scopes": ["claims:read", "takedowns:write"]}
    assert "name the representative that was verified" in page(desk.post(url, wanted))
    assert "No key of a manufacturer has listings:write" in page(
        desk.post(url, typed | {"scopes": "listings:write"})
    )
    assert not OrganizationKey.objects.exists()
    made = desk.post(url, wanted | {"representative": "R. Presentative"})
    assert "sk_live_" in page(made)
    key = OrganizationKey.objects.get()
    assert (key.scopes, key.representative) == (["claims:read", "takedowns:write"], "R. Presentative")
    assert "sk_test_" in page(desk.post(url, typed | {"is_test": "on"}))
    trial = OrganizationKey.objects.get(is_test=True)
    assert trial.scopes == list(usual_scopes("manufacturer"))
    shown = page(desk.get(reverse("admin:storefront_organizationkey_change", args=[key.pk])))
    assert "claims:read, takedowns:write" in shown


def test_the_desk_is_told_when_there_are_keys_enough(desk, world, monkeypatch):
    monkeypatch.setattr(accounts, "MAX_KEYS", 1)
    typed = {
        "organization": world.vendor.pk,
        "label": "stock",
        "expires_at": now_text(ago=-timedelta(days=30)),
    }
    url = reverse("admin:storefront_organizationkey_add")
    assert "sk_live_" in page(desk.post(url, typed))
    assert "1 keys in force; revoke one first" in page(desk.post(url, typed))
    assert OrganizationKey.objects.count() == 1


def test_a_test_store_is_begun_anew_at_the_desk(desk, world):
    store = test_mode.store_of(world.vendor, at=clock.now())
    TestStore.objects.filter(pk=store.pk).update(ahead_s=86_400)
    assert f"{clock.now() + timedelta(days=1):%Y-%m-%d}" in page(desk.get(list_url(TestStore)))
    assert desk.post(act_url(store, "begin_anew")).status_code == 302
    anew = TestStore.objects.get()
    assert anew.public_id != store.public_id
    assert anew.ahead_s == 0
    assert LedgerEntry.objects.get(act="test_store.begun_anew").actor.startswith("user:")
    assert client_of(AUDITOR).post(act_url(store, "begin_anew")).status_code == 403


def test_a_key_that_would_have_expired_is_refused_at_its_field(desk, world):
    for expires_at, said in (
        ("2016-01-01T00:00:00", "expired already"),
        ("0216-01-01T00:00:00", "take a year from 1980 on"),
        ("9998-01-01T00:00:00", "at most five years"),
    ):
        typed = {"organization": world.vendor.pk, "label": "stock system", "expires_at": expires_at}

        shown = page(desk.post(reverse("admin:storefront_organizationkey_add"), typed))

        assert said in shown
        assert "stock system" in shown
    assert not OrganizationKey.objects.exists()


def test_a_draft_is_edited_and_published_by_a_person(desk, world):
    revoke_agreement(world)
    outbox.pump()
    notice = Notice.objects.get()

    begun = desk.get(act_url(notice, "edit")).context["form"].initial
    typed = {"title": "What happened", "body": "Text.", "seen_body": begun["seen_body"].replace("\n", "\r\n")}
    assert desk.post(act_url(notice, "edit"), typed).status_code == 302
    read = desk.get(act_url(notice, "publish"))
    assert "Text." in page(read)
    typed = {"seen_body": read.context["form"].initial["seen_body"]}
    assert desk.post(act_url(notice, "publish"), typed).status_code == 302

    notice.refresh_from_db()
    assert notice.title == "What happened"
    assert notice.published_by.startswith("user:")
    for act, typed in (("edit", {"title": "New", "body": "New"}), ("publish", {})):
        answer = page(desk.post(act_url(notice, act), typed, follow=True))
        assert "This notice was published on" in answer
        assert "stays as it is" in answer
    notice.refresh_from_db()
    assert notice.title == "What happened"


@pytest.mark.parametrize(
    ("act", "typed", "state"),
    [("release", {"reason": "settled"}, "placed"), ("refund", {"reason": "the buyer asked"}, "refunded")],
)
def test_a_held_order_is_released_or_refunded_with_a_reason(desk, world, provider, act, typed, state):
    order = buy(world)
    assert desk.post(act_url(order, "hold"), {"reason": "to be looked at"}).status_code == 302

    assert "This field is required" in page(desk.post(act_url(order, act), {"reason": ""}))
    assert desk.post(act_url(order, act), typed).status_code == 302

    order.refresh_from_db()
    assert order.state == state
    assert LedgerEntry.objects.get(act=f"order.{act}").reason == typed["reason"]


def test_an_order_makes_no_move_that_its_table_does_not_have(desk, world, provider):
    order = buy(world)
    assert desk.post(act_url(order, "ship")).status_code == 302

    assert "cannot become" in page(desk.post(act_url(order, "refund"), {"reason": "too late"}))
    assert Order.objects.get().state == Order.State.SHIPPED
    shown = page(desk.get(reverse("admin:storefront_order_change", args=[order.pk])))
    assert act_url(order, "refund") not in shown


def test_the_proofs_page_says_whether_its_signature_fits(desk, world):
    revoke_agreement(world)
    outbox.pump()
    proof = RemovalProof.objects.get()
    url = reverse("admin:storefront_removalproof_change", args=[proof.pk])
    assert str(proof.public_id) in page(desk.get(url))
    assert desk.get(act_url(proof, "open")).url.endswith(f"/proofs/{proof.public_id}/")


def test_reading_the_desk_writes_nothing(boss, world):
    before = (Revision.objects.count(), LedgerEntry.objects.count())

    boss.get(reverse("admin:revoke_agreement", args=[world.agreement.pk]))
    boss.post(reverse("admin:revoke_agreement", args=[world.agreement.pk]), word(step="review"))
    boss.post(reverse("admin:place_hold"), hold(territories="US", step="look"))

    assert (Revision.objects.count(), LedgerEntry.objects.count()) == before
