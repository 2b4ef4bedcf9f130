"""The other directions as staff sees them: the pages of the desk, and the command."""

import json
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.urls import reverse

from authorization import clock, decision_setting, decisions
from authorization.models import Fact
from catalog.models import ListingHost
from seeds.factories import HostCarrierFactory, HostingFactory, make_agreement, make_policy, make_sellable
from storefront.admin import exposure as screen
from storefront.roles import AUDITOR, CATALOG
from tests.storefront.conftest import place_hold, revoke_agreement
from tests.storefront.test_admin import client_of, page

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def auditor():
    return client_of(AUDITOR)


@pytest.fixture
def ending():
    """Three live offers of one vendor, each of a variant of its own, that fall in ten days; a fourth does not."""
    at = clock.now()
    lasting = make_sellable(at=at)
    worlds = []
    for _ in range(3):
        world = make_sellable(at=at, vendor=lasting.vendor)
        make_agreement(
            grantor=world.variant.device.manufacturer, grantee=world.vendor, at=at, code=f"AG-TEN-{world.listing.pk}",
            valid_until=at + 10 * DAY, conditions=["new"],
        )  # fmt: skip
        revoke_agreement(world)
        worlds.append(world)
    return worlds


def next_link(html):
    found = re.search(r'href="([^"]+)" rel="next"', html)
    return None if found is None else found[1].replace("&amp;", "&")


def test_the_page_shows_what_falls_with_when_and_why(auditor, ending):
    html = page(auditor.get(reverse("exposure")))
    for world in ending:
        assert world.listing.sku in html
        assert f"AG-TEN-{world.listing.pk}" in html
    assert html.count("The agreement has ended") == 3
    end = decisions.decide_offers([ending[0].offer], at=clock.now())[0].expires_at
    assert f"{end:%Y-%m-%d %H:%M:%S}" in html
    shorter = page(auditor.get(reverse("exposure"), {"days": "9"}))
    assert "Nothing falls by itself until then." in shorter


def test_the_page_leads_on_to_the_end(auditor, ending, monkeypatch):
    monkeypatch.setattr(screen, "SHOWN", 2)
    first = page(auditor.get(reverse("exposure"), {"days": "30"}))
    second = page(auditor.get(next_link(first)))
    assert [world.listing.sku in first for world in ending] == [True, True, False]
    assert [world.listing.sku in second for world in ending] == [False, False, True]
    assert next_link(second) is None
    assert "From the beginning, as of now" in second
    as_of = re.compile(r"As of [^,]+, revision \d+")
    assert as_of.findall(first)[:1] == as_of.findall(second)[:1] != []


@pytest.mark.parametrize("days", ["0", "-1", "366", "ten", "99999999999", "\u0661"])
def test_days_that_are_none_are_refused_with_the_cure(auditor, ending, days):
    html = page(auditor.get(reverse("exposure"), {"days": days}))
    assert "Take from 1 to 365 days." in html
    assert ending[0].listing.sku in html, "shown for 30 days meanwhile"


def test_a_spoiled_address_leads_back_to_the_beginning(auditor, ending):
    response = auditor.get(reverse("exposure"), {"days": "30", "after": "spoiled"}, follow=True)
    assert response.redirect_chain == [(f"{reverse('exposure')}?days=30", 302)]
    assert "here is the list from its beginning" in page(response)


def test_who_may_not_read_decisions_may_not_see_it(ending):
    client = client_of(CATALOG)
    assert client.get(reverse("exposure")).status_code == 403
    assert client.get(reverse("resting_on", args=["agreement", ending[0].agreement.pk])).status_code == 403


def test_the_menu_leads_there(auditor):
    assert f'href="{reverse("exposure")}"' in page(auditor.get(reverse("admin:index")))
    assert f'href="{reverse("exposure")}"' not in page(client_of(CATALOG).get(reverse("admin:index")))


def test_an_engine_that_cannot_read_is_said_so(auditor, monkeypatch):
    def fails(**_):
        raise DatabaseError("gone")

    hosting = HostingFactory.create()
    monkeypatch.setattr(decision_setting, "read_setting", fails)
    for url in (reverse("exposure"), reverse("resting_on", args=["hosting", hosting.pk])):
        response = auditor.get(url)
        assert response.status_code == 503
        assert "could not be answered" in response.content.decode()


def test_a_fact_leads_to_what_rests_on_it(auditor, ending):
    world = make_sellable()
    fact = world.agreement
    detail = page(auditor.get(reverse("admin:authorization_fact_change", args=[fact.pk])))
    assert "What rests on it" in detail
    response = auditor.get(reverse("admin:authorization_fact_resting_on", args=[fact.pk]), follow=True)
    html = page(response)
    assert world.listing.sku in html
    assert ending[0].listing.sku not in html
    revoke_agreement(world)
    assert "Nothing rests on it now." in page(auditor.get(reverse("resting_on", args=["agreement", fact.pk])))


def test_a_hold_is_nothing_to_rest_on(auditor):
    place_hold(("variant", make_sellable().variant.pk))
    hold = Fact.objects.get(code="HOLD-1")
    detail = page(auditor.get(reverse("admin:authorization_fact_change", args=[hold.pk])))
    assert "What rests on it" not in detail
    assert auditor.get(reverse("resting_on", args=["hold", hold.pk])).status_code == 404
    assert auditor.get(reverse("resting_on", args=["agreement", 987_654])).status_code == 404


def test_what_rests_on_groundwork_leads_on(auditor, ending, monkeypatch):
    monkeypatch.setattr(screen, "SHOWN", 1)
    world = make_sellable(host=ending[0].host)
    for kind, fact_id in (("hosting", world.hosting.pk), ("policy", policy_id())):
        html = page(auditor.get(reverse("resting_on", args=[kind, fact_id])))
        assert next_link(html)
        assert page(auditor.get(next_link(html)))
        gone = auditor.get(reverse("resting_on", args=[kind, fact_id]), {"after": "spoiled"}, follow=True)
        assert "here is the list from its beginning" in page(gone)


def policy_id():
    answer = decisions.decide_offers(
        list(ListingHost.objects.select_related("listing__variant__device")[:1]), at=clock.now()
    )[0]
    return next(item.fact_id for item in answer.evidence if item.kind == "policy")


# --- the command ------------------------------------------------------------------------------------------------


def run(capsys, *words):
    call_command("authority", *words)
    return capsys.readouterr().out


def as_json(capsys, *words):
    return json.loads(run(capsys, *words, "--json"))


def test_the_command_names_who_and_what(capsys):
    world = make_sellable()
    who = as_json(capsys, "who-may-sell", "--variant", world.variant.slug, "--host", world.host.code)
    maker = world.variant.device.manufacturer
    assert {item["vendor"] for item in who["items"]} == {world.vendor.slug, maker.slug}
    assert who["next_cursor"] is None
    other = make_sellable(
        vendor=world.vendor, variant=world.variant, host=HostCarrierFactory.create(), sku="B"
    )
    what = as_json(capsys, "what-may-sell", "--vendor", world.vendor.slug)
    assert [(item["variant"], item["host"]) for item in what["items"]] == [
        (world.variant.slug, world.host.code), (world.variant.slug, other.host.code),
    ]  # fmt: skip
    one = as_json(capsys, "what-may-sell", "--vendor", world.vendor.slug, "--host", other.host.code)
    assert len(one["items"]) == 1
    text = run(capsys, "what-may-sell", "--vendor", world.vendor.slug, "--limit", "1")
    assert "More may follow: ask the same with --after " in text
    [cursor] = re.findall(r"--after (\S+),", text)
    rest = run(capsys, "what-may-sell", "--vendor", world.vendor.slug, "--after", cursor)
    assert other.host.code in rest
    assert world.host.code not in rest.replace(other.host.code, "")
    everything = as_json(capsys, "what-may-sell", "--vendor", world.vendor.slug, "--limit", "1", "--all")
    assert len(everything["items"]) == 2


def test_the_command_shows_what_rests_on_a_record_and_what_falls(capsys, ending):
    code = f"AG-TEN-{ending[1].listing.pk}"
    resting = as_json(capsys, "resting-on", "agreement", code)
    assert [item["sku"] for item in resting["items"]] == [ending[1].listing.sku]
    assert resting["items"][0]["state"] == "LIVE"
    by_id = as_json(capsys, "resting-on", "hosting", str(ending[1].hosting.pk))
    assert [item["sku"] for item in by_id["items"]] == [ending[1].listing.sku]
    falls = as_json(capsys, "exposure", "--within-days", "30", "--limit", "2", "--all")
    assert [item["sku"] for item in falls["items"]] == [world.listing.sku for world in ending]
    assert {item["reasons"] for item in falls["items"]} == {"AGREEMENT_EXPIRED"}
    assert falls["items"][1]["record"] == code
    assert "3 at " in run(capsys, "exposure")
    assert "0 at " in run(capsys, "exposure", "--within-days", "9")


def test_the_command_asks_the_past(capsys):
    world = make_sellable()
    revision = decisions.present(clock.now())[0]
    revoke_agreement(world)
    asked = ("who-may-sell", "--variant", world.variant.slug, "--host", world.host.code)
    assert world.vendor.slug not in run(capsys, *asked)
    assert world.vendor.slug in run(capsys, *asked, "--known-at", str(revision))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("who-may-sell", "--variant", "none", "--host", "none"), "variant: There is no variant 'none'"),
        (("what-may-sell", "--vendor", "none"), "vendor: There is no vendor 'none'"),
        (("resting-on", "agreement", "none"), "record: There is no agreement 'none'"),
        (("resting-on", "hosting", "none"), "record: 'none' is no id"),
        (("resting-on", "hosting", "987654"), "fact_id: There is no hosting with id 987654"),
        (("exposure", "--within-days", "0"), "within-days: Take from 1"),
        (("exposure", "--within-days", "99999999999"), "within-days: Take from 1"),
        (("exposure", "--limit", "0"), "limit: Take from 1 to 1000"),
        (("exposure", "--after", "spoiled"), "after: This cursor was not given"),
        (("exposure", "--at", "yesterday"), "at: "),
        (("exposure", "--known-at", "99999"), "known_at: "),
    ],
)
def test_the_command_refuses_with_the_cure(words, says):
    make_policy(at=clock.now())
    with pytest.raises(CommandError) as refused:
        call_command("authority", *words)
    assert says in str(refused.value)
    assert refused.value.returncode == 2


def test_the_command_says_when_it_could_not_be_answered(monkeypatch):
    def fails(**_):
        raise DatabaseError("gone")

    monkeypatch.setattr(decision_setting, "read_setting", fails)
    with pytest.raises(CommandError, match="could not be answered") as refused:
        call_command("authority", "exposure")
    assert refused.value.returncode == 2


def test_a_territory_that_is_none_is_refused():
    world = make_sellable()
    with pytest.raises(CommandError, match="two capitals"):
        call_command(
            "authority", "who-may-sell", "--variant", world.variant.slug, "--host", world.host.code,
            "--territory", "usa",
        )  # fmt: skip
