"""People of host carriers at the desk: the acceptances of their own host, and nothing else of it."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from authorization import clock
from authorization.acceptances import process
from authorization.models import Acceptance, LedgerEntry, Revocation
from authorization.revocations import RevokeApproval
from catalog.models import ListingHost
from seeds import factories
from seeds.factories import HostCarrierFactory, make_acceptance, make_sellable
from storefront import accounts, carrier_gate, withdrawals
from storefront.accounts import Duties, InvalidMember
from storefront.admin.acceptances import AcceptanceAdmin
from storefront.carrier_gate import HOME, OPEN_PAGES
from storefront.models import CarrierKey, CarrierMember
from storefront.roles import AUDITOR, CARRIER, CATALOG, DESK, ensure_roles
from tests.storefront.conftest import DESK as SOMEBODY
from tests.storefront.desk_pages import client_of, list_url, page

pytestmark = pytest.mark.django_db

ALL_DUTIES = Duties(is_desk=True, is_lab=True, is_approver=True)


def person_of(host, duties=ALL_DUTIES, name="jane"):
    user = User.objects.create(username=name)
    accounts.assign_member(user=user, host=host, duties=duties, by=SOMEBODY, at=clock.now())
    client = Client()
    client.force_login(user)
    return client


def url_of(row, name="authorization_acceptance_change", *rest):
    return reverse(f"admin:{name}", args=[row.pk, *rest])


@pytest.fixture
def north():
    return HostCarrierFactory.create(code="north", name="North Wireless")


@pytest.fixture
def south():
    return HostCarrierFactory.create(code="south", name="South Mobile")


@pytest.fixture
def mine(north):
    return make_acceptance(host=north, state="APPROVED", code="TA-MINE")


@pytest.fixture
def theirs(south):
    return make_acceptance(host=south, state="APPROVED", code="TA-THEIRS")


# --- every page of the desk -----------------------------------------------------------------------------------


def admin_pages(patterns=None, prefix="", names=""):
    """Every address under /admin/ with its full name, made up where it takes something."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        text = prefix + str(entry.pattern).lstrip("^")
        if patterns is None and not text.startswith("admin/"):
            continue
        if isinstance(entry, URLResolver):
            space = f"{entry.namespace}:" if entry.namespace else ""
            yield from admin_pages(entry.url_patterns, text, names + space)
        elif isinstance(entry, URLPattern):
            yield f"{names}{entry.name}", text


def address(text, row, sha256):
    known = {"sha256": sha256, "app_label": "authorization", "move": "suspend", "kind": "approval"}
    text = re.sub(r"\(\?P<app_label>[^)]*\)", "authorization", text)
    text = re.sub(r"\(\?P<url>[^)]*\)\$?", "nothing/here/", text)
    text = re.sub(r"<path:(content_type_id|object_id)>", str(row.pk), text)
    text = re.sub(r"<int:\w+>", str(row.pk), text)
    text = re.sub(r"<uuid:\w+>", "7d444840-9dc0-11d1-b245-5ffdce74fad2", text)
    text = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: known.get(found.group(1), "1"), text)
    return "/" + text.replace("$", "").replace("\\Z", "")


def test_the_walk_sees_the_desk():
    names = {name for name, _ in admin_pages()}
    assert names >= OPEN_PAGES
    assert {
        "ask_the_engine",
        "admin:index",
        "admin:search",
        "admin:autocomplete",
        "admin:view_on_site",
    } <= names
    assert len(names) > 150


def test_to_a_carriers_user_every_other_page_is_one_that_there_is_not(mine):
    jane = person_of(mine.host)
    sha256 = mine.files.get().sha256
    for name, text in admin_pages():
        url = address(text, mine, sha256)
        for method in ("get", "post"):
            if name in ("admin:logout", "admin:login", "admin:password_change"):
                continue
            answer = getattr(jane, method)(url)
            if name in ("admin:index", "admin:app_list"):
                assert (answer.status_code, answer.url) == (302, reverse(HOME))
            elif name in OPEN_PAGES:
                assert answer.status_code in (200, 302, 405), (name, url, method)
            else:
                assert answer.status_code == 404, (name, url, method)
    mine.refresh_from_db()
    assert mine.state == "APPROVED"


def test_a_right_given_by_mistake_opens_nothing(mine):
    jane = person_of(mine.host)
    user = User.objects.get(username="jane")
    ensure_roles()
    user.groups.add(Group.objects.get(name=DESK))
    user.user_permissions.set(Permission.objects.all())
    User.objects.update(is_superuser=True)
    for name in ("storefront_order", "authorization_revocation", "auth_user", "storefront_carrierkey"):
        assert jane.get(reverse(f"admin:{name}_changelist")).status_code == 404
    assert jane.get(reverse("admin:place_hold")).status_code == 404
    assert jane.get("/admin/numbers/").status_code == 404


def test_the_gate_is_needed_for_that(mine, monkeypatch):
    jane = person_of(mine.host)
    User.objects.update(is_superuser=True)
    monkeypatch.setattr(carrier_gate, "member_on", lambda request: None)
    assert jane.get(reverse("admin:storefront_order_changelist")).status_code == 200


def test_without_the_gate_the_screens_refuse_too(mine, monkeypatch):
    jane = person_of(mine.host)
    monkeypatch.setattr(carrier_gate, "OPEN_PAGES", frozenset(name for name, _ in admin_pages()))
    sha256 = mine.files.get().sha256
    shown = 0
    for name, text in admin_pages():
        if name in OPEN_PAGES or name in ("admin:index", "admin:jsi18n", "admin:search", "admin:app_list"):
            continue
        if name.startswith("admin:authorization_acceptance"):
            continue
        answer = jane.get(address(text, mine, sha256))
        assert answer.status_code in (302, 403, 404), (name, answer.status_code)
        shown += 1
    assert shown > 100


# --- the list and its filters ---------------------------------------------------------------------------------


def test_the_list_has_the_own_hosts_rows_and_no_word_of_others(mine, theirs):
    jane = person_of(mine.host)
    shown = page(jane.get(reverse(HOME)))
    assert "TA-MINE" in shown
    for word in ("TA-THEIRS", theirs.host.name, theirs.sponsor.name, str(theirs.variant.model_number)):
        assert word not in shown
    assert "Search apps and models" not in shown
    assert "Agreements" not in shown
    for word in ("TA-THEIRS", theirs.sponsor.name, theirs.variant.model_number):
        assert ">TA-" not in page(jane.get(reverse(HOME), {"q": word}))
    assert theirs.code not in page(jane.get(reverse(HOME), {"variant": theirs.variant.pk}))


# By a lookup that is no filter: what of the row would answer it, were it asked.
LOOKUPS = {
    "host__api_keys__key_hash__startswith": lambda row: "00",
    "host__contact_email__startswith": lambda row: row.host.contact_email[:2],
    "sponsor__contact_email__startswith": lambda row: row.sponsor.contact_email[:2],
    "variant__listings__price_amount__gte": lambda row: "0.01",
    "variant__device__brand": lambda row: row.variant.device.brand,
    "approval__code": lambda row: row.approval.code,
    "hold__isnull": lambda row: "1",
    "host__id__exact": lambda row: row.host_id,
    "variant__id__exact": lambda row: row.variant_id,
    "files__sha256": lambda row: row.files.get().sha256,
    "moves__actor__startswith": lambda row: row.moves.get(move="request").actor[:4],
    "sponsor__name": lambda row: row.sponsor.name,
    "state__startswith": lambda row: "APP",
}


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_an_address_asks_nothing_that_the_filters_do_not(mine, lookup, monkeypatch):
    jane = person_of(mine.host)
    on_sale(mine)
    CarrierKey.objects.create(
        host=mine.host,
        label="lab",
        key_hash="00" * 32,
        prefix="ck_live_00",
        last_four="0000",
        is_lab=True,
        created_at=clock.now(),
        expires_at=clock.now() + timedelta(days=1),
    )
    query = {lookup: LOOKUPS[lookup](mine)}
    assert jane.get(reverse(HOME), query).status_code == 400
    # It would be answered: with the row for this value, and without it for another.
    monkeypatch.setattr(AcceptanceAdmin, "lookup_allowed", lambda self, lookup, value, request: True)
    answered = jane.get(reverse(HOME), query)
    assert answered.status_code == 200
    assert ">TA-MINE<" in page(answered)
    other = {"hold__isnull": "0", "variant__listings__price_amount__gte": "999999"}.get(lookup, "1234567")
    assert ">TA-MINE<" not in page(jane.get(reverse(HOME), {lookup: other}))


def test_a_filter_with_a_nul_is_a_bad_request(mine):
    jane = person_of(mine.host)
    for query in ({"state__exact": "\x00"}, {"next": "\x00"}, {"sponsor__id__exact": "\x00"}, {"\x00": "x"}):
        assert jane.get(reverse(HOME), query).status_code == 400


def test_the_filters_work(mine):
    jane = person_of(mine.host)
    make_acceptance(host=mine.host, code="TA-NEW")
    for query, codes in (
        ({"state__exact": "REQUESTED"}, {"TA-NEW"}),
        ({"next": "nobody"}, {"TA-MINE"}),
        ({"next": "host's certification desk"}, {"TA-NEW"}),
        ({"variant": mine.variant.pk}, {"TA-MINE"}),
        ({"sponsor__id__exact": mine.sponsor.pk}, {"TA-MINE"}),
    ):
        shown = page(jane.get(reverse(HOME), query))
        found = {code for code in ("TA-MINE", "TA-NEW") if f">{code}<" in shown}
        assert found == codes, query


def test_anothers_row_is_not_there_in_any_page_of_it(mine, theirs):
    jane = person_of(mine.host)
    for name, rest in (
        ("authorization_acceptance_change", ()),
        ("acceptance_move", ("approve",)),
        ("acceptance_withdraw", ("revoke",)),
        ("acceptance_results", ()),
        ("acceptance_add_file", ()),
        ("acceptance_file", (theirs.files.get().sha256,)),
    ):
        for method in ("get", "post"):
            assert getattr(jane, method)(url_of(theirs, name, *rest)).status_code == 404, name
    # A file of another acceptance under the own one's address.
    assert jane.get(url_of(mine, "acceptance_file", "ab" * 32)).status_code == 404


def test_duties_are_the_moves_that_a_person_has(mine, north):
    row = make_acceptance(host=north, state="INTAKE_REVIEW", code="TA-INTAKE")
    lab = person_of(north, Duties(is_lab=True), "lab")
    approver = person_of(north, Duties(is_approver=True), "approver")
    assert "Give a lab slot" in page(lab.get(url_of(row)))
    assert "Give a lab slot" not in page(approver.get(url_of(row)))
    assert "Revoke" in page(approver.get(url_of(mine)))
    assert "Revoke" not in page(lab.get(url_of(mine)))
    for name, move in (("acceptance_withdraw", "revoke"), ("acceptance_move", "approve")):
        refused = lab.post(url_of(mine, name, move), {"step": "confirm"})
        assert refused.status_code == 302
    assert approver.get(url_of(row, "acceptance_results")).status_code == 403
    mine.refresh_from_db()
    assert mine.state == "APPROVED"
    assert not Revocation.objects.exists()


def test_the_page_names_no_one_of_the_other_side_and_no_record_of_the_shop(mine):
    jane = person_of(mine.host)
    shown = page(jane.get(url_of(mine)))
    assert "exercise:asks" not in shown.lower()
    sponsors = mine.moves.get(move="request")
    assert sponsors.actor not in shown
    assert "revision" not in shown.lower().replace("hardware revision", "")
    assert "/admin/authorization/approvalversion/" not in shown


def test_what_the_desk_notes_for_itself_is_not_on_the_page(mine):
    desk, secret = client_of(DESK), "Their lawyer called."
    jane = person_of(mine.host)
    change = RevokeApproval(mine.approval_id, "SHOP_REVIEW")
    seen = withdrawals.preview(change, at=clock.now()).impact
    withdrawals.confirm(
        change,
        digest=seen.digest,
        token=seen.token,
        requested_by="the shop",
        word_received_at=clock.now(),
        note=secret,
        by=SOMEBODY,
        at=clock.now(),
    )
    for client in (jane, desk):
        shown = page(client.get(url_of(mine)))
        assert secret not in shown
        assert "Reason: The shop reviews the case" in shown


def test_who_writes_a_reason_is_told_that_it_is_read(mine, north):
    for client in (person_of(north), client_of(DESK)):
        for move in ("suspend", "restrict", "revoke"):
            shown = page(client.get(url_of(mine, "acceptance_withdraw", move)))
            assert "the other side reads it" in shown, move
            assert "kept in the ledger" not in shown


def test_a_request_that_nobody_was_asked_for_yet_is_nobodys(rf):
    assert carrier_gate.member_on(rf.get("/admin/")) is None


# --- revoking --------------------------------------------------------------------------------------------------


def on_sale(row):
    """A live offer that rests on this acceptance alone."""
    return make_sellable(variant=row.variant, host=row.host, software="7.0.5")


def test_the_two_pages_of_a_carrier_say_how_many_offers_fall_and_no_more(north):
    row = make_acceptance(host=north, state="APPROVED", code="TA-SOLD")
    world = on_sale(row)
    other = make_sellable(
        variant=row.variant,
        host=HostCarrierFactory.create(code="south", name="South Mobile"),
        sku="SKU-SOUTH",
    )
    jane = person_of(north)
    url = url_of(row, "acceptance_withdraw", "revoke")

    first = jane.get(url)
    typed = {"reason_code": "CARRIER_WITHDRAWS", "note": "Emergency calls fail.", "requested_by": "Xiaomi"}
    typed["seen_version"] = first.context["form"].initial["seen_version"]
    typed["word_received_at"] = "2016-01-01T00:00:00"
    second = jane.post(url, typed | {"step": "review"})

    for answer in (first, second):
        shown = page(answer)
        assert 'text-important">1</div> <div class="font-semibold text-important">offers fall' in shown
        for secret in (
            world.vendor.name,
            world.listing.sku,
            other.host.name,
            other.listing.sku,
            "cart",
            "unshipped",
            "revision",
            f"[{world.offer.pk}]",
        ):
            assert secret not in shown, secret
    sends = {
        name: re.findall(rf'name="{name}" value="([^"]*)"', second.content.decode())[0].replace("&quot;", '"')
        for name in ("seen", "digest")
    }
    done = jane.post(url, typed | sends | {"step": "confirm"}, follow=True)

    assert done.redirect_chain[-1][0] == url_of(row)
    revocation = Revocation.objects.get()
    assert revocation.requested_by == north.name, "nobody speaks for another"
    assert revocation.word_received_at > clock.now() - timedelta(minutes=1)
    assert revocation.actor == "user:jane"
    row.refresh_from_db()
    assert row.state == "REVOKED"
    last = row.moves.latest("number")
    assert (last.move, last.party, last.actor) == ("revoke", "host_approver", "user:jane")
    assert ListingHost.objects.get(pk=other.offer.pk).state == "LIVE"


def test_when_it_moved_meanwhile_the_page_says_so_keeps_what_was_typed_and_works_then(north):
    row = make_acceptance(host=north, state="APPROVED", software_until="8", code="TA-SOLD")
    jane = person_of(north)
    url = url_of(row, "acceptance_withdraw", "suspend")
    typed = {
        "reason_code": "SAFETY",
        "note": "Batteries swell.",
        "seen_version": row.version,
        "step": "review",
    }
    process.perform(
        acceptance=row,
        move="report_release",
        by=factories.doer_of(row, "sponsor"),
        at=clock.now(),
        software="8.1",
    )

    stale = page(jane.post(url, typed))

    assert "has moved since" in stale
    assert "Batteries swell." in stale
    assert not Revocation.objects.exists()
    now = re.findall(r'name="seen_version" value="(\d+)"', stale)[0]
    assert int(now) == row.version + 1
    assert "confirm" in page(jane.post(url, typed | {"seen_version": now}))


# --- who is one ------------------------------------------------------------------------------------------------


def test_leaving_acts_on_the_next_request(mine):
    jane = person_of(mine.host)
    assert jane.get(url_of(mine)).status_code == 200
    accounts.dismiss_member(member=CarrierMember.objects.get(), by=SOMEBODY, at=clock.now())
    assert jane.get(url_of(mine)).status_code == 302
    user = User.objects.get(username="jane")
    assert not user.is_staff
    assert not user.groups.exists()
    assert [
        entry.act for entry in LedgerEntry.objects.filter(subject_kind="carrier_member").order_by("id")
    ] == [
        "carrier_member.assigned",
        "carrier_member.dismissed",
    ]


def test_the_group_alone_opens_nothing(mine):
    ensure_roles()
    group = Group.objects.get(name=CARRIER)
    assert not group.permissions.exists()
    client = client_of(CARRIER)
    assert client.get(reverse(HOME)).status_code == 403
    assert client.get(url_of(mine)).status_code == 403


def test_the_group_is_kept_empty():
    ensure_roles()
    Group.objects.get(name=CARRIER).permissions.set(Permission.objects.all()[:3])
    ensure_roles()
    assert not Group.objects.get(name=CARRIER).permissions.exists()


def test_people_of_the_shop_are_not_made_a_carriers(north):
    ensure_roles()
    boss = User.objects.create(username="boss", is_staff=True, is_superuser=True)
    of_desk = User.objects.create(username="of-desk", is_staff=True)
    of_desk.groups.add(Group.objects.get(name=DESK))
    single = User.objects.create(username="single")
    single.user_permissions.add(Permission.objects.all()[0])
    gone = User.objects.create(username="gone", is_active=False)
    for user in (boss, of_desk, single, gone):
        with pytest.raises(InvalidMember) as refused:
            accounts.assign_member(user=user, host=north, duties=ALL_DUTIES, by=SOMEBODY, at=clock.now())
        assert refused.value.field == "user"
    assert not CarrierMember.objects.exists()


def test_one_account_works_for_one_host(north, south):
    person_of(north)
    user = User.objects.get(username="jane")
    with pytest.raises(InvalidMember, match="works for North Wireless"):
        accounts.assign_member(user=user, host=south, duties=ALL_DUTIES, by=SOMEBODY, at=clock.now())
    with pytest.raises(InvalidMember, match="at least one duty"):
        accounts.assign_member(user=user, host=north, duties=Duties(), by=SOMEBODY, at=clock.now())
    accounts.assign_member(user=user, host=north, duties=Duties(is_lab=True), by=SOMEBODY, at=clock.now())
    member = CarrierMember.objects.get()
    assert (member.is_desk, member.is_lab, member.is_approver) == (False, True, False)


def test_the_desk_assigns_changes_and_ends(north):
    desk = client_of(DESK)
    user = User.objects.create(username="jane")
    User.objects.create(username="root", is_superuser=True)
    add = reverse("admin:storefront_carriermember_add")
    assert ">root<" not in page(desk.get(add))
    assert "This field is required" in page(desk.post(add, {"user": user.pk, "host": north.pk}))
    assert (
        desk.post(add, {"user": user.pk, "host": north.pk, "duties": ["is_desk", "is_lab"]}).status_code
        == 302
    )
    member = CarrierMember.objects.get()
    assert "desk, lab" in page(desk.get(list_url(CarrierMember)))
    change = reverse("admin:storefront_carriermember_change_duties", args=[member.pk])
    assert desk.post(change, {"duties": ["is_approver"]}).status_code == 302
    member.refresh_from_db()
    assert member.is_approver
    assert not member.is_desk
    dismiss = reverse("admin:storefront_carriermember_dismiss", args=[member.pk])
    assert desk.post(dismiss).status_code == 302
    assert not CarrierMember.objects.exists()


def test_the_secret_of_a_carriers_key_is_shown_once_and_revoking_acts_at_once(north):
    desk = client_of(DESK)
    add = reverse("admin:storefront_carrierkey_add")
    typed = {
        "host": north.pk,
        "label": "certification portal",
        "expires_at": f"{clock.now() + timedelta(days=30):%Y-%m-%dT%H:%M:%S}",
    }
    assert "This field is required" in page(desk.post(add, typed))
    made = desk.post(add, typed | {"duties": ["is_lab"]})
    (secret,) = set(re.findall(r"ck_live_[\w-]{20,}", made.content.decode()))
    key = CarrierKey.objects.get()
    assert (key.is_desk, key.is_lab, key.is_approver) == (False, True, False)
    assert accounts.find_carrier_key(secret, clock.now()) == key
    assert accounts.find_organization_key(secret, clock.now()) is None
    for url in (list_url(CarrierKey), reverse("admin:storefront_carrierkey_change", args=[key.pk])):
        assert secret not in page(desk.get(url))
        assert key.key_hash not in page(desk.get(url))
    leak = desk.get(list_url(CarrierKey), {"key_hash__startswith": key.key_hash[:1]})
    assert leak.status_code in (302, 400)
    revoke = reverse("admin:storefront_carrierkey_revoke", args=[key.pk])
    assert desk.post(revoke).status_code == 302
    assert accounts.find_carrier_key(secret, clock.now()) is None
    acts = LedgerEntry.objects.filter(subject_kind="carrier_key").order_by("id")
    assert [entry.act for entry in acts] == ["carrier_key.made", "carrier_key.revoked"]
    assert secret not in str(list(acts.values()))


@pytest.mark.parametrize("role", [AUDITOR, CATALOG])
def test_others_of_the_shop_read_acceptances_and_make_no_keys(mine, role):
    reader = client_of(role)
    assert "TA-MINE" in page(reader.get(reverse(HOME)))
    shown = page(reader.get(url_of(mine)))
    assert "What you may do now" not in shown
    for name, rest in (
        ("acceptance_move", ("report_release",)),
        ("acceptance_withdraw", ("revoke",)),
        ("acceptance_results", ()),
        ("acceptance_add_file", ()),
    ):
        for method in ("get", "post"):
            assert getattr(reader, method)(url_of(mine, name, *rest)).status_code == 403
    for model in ("acceptance", "carrierkey", "carriermember"):
        app = "authorization" if model == "acceptance" else "storefront"
        add = reverse(f"admin:{app}_{model}_add")
        assert reader.get(add).status_code == 403
        assert reader.post(add).status_code == 403
    assert Acceptance.objects.get().state == "APPROVED"
