"""The IMEI check: what it answers, that it keeps nothing, and that selling and bringing stay apart."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as configured
from django.core.signals import got_request_exception
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.views.debug import ExceptionReporter
from stdnum import luhn

from authorization import clock, decisions, holds, offers
from authorization.acceptances.models import Acceptance
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from carriers import imei
from carriers.admission import Outcome
from carriers.models import HostCarrier
from catalog.models import Tac, Variant
from seeds.factories import (
    HostCarrierFactory,
    HostingFactory,
    VariantFactory,
    World,
    make_acceptance,
    make_approval,
    make_hold,
    make_network,
    make_radio,
    make_sellable,
)
from seeds.reference import loader
from seeds.reference.tables import read_tables
from storefront import accounts, imei_check
from storefront.imei_check import HostAnswer, ImeiAnswer, Kind, Number
from tests.storefront.conftest import place_hold, revoke_agreement, revoke_approval
from tests.storefront.test_pages import device_path, text_of

pytestmark = pytest.mark.django_db

SERIAL = "271828"
LTE_ONLY = (("LTE", "B2"), ("LTE", "B12"))
# Of the test body, and of no variant.
UNKNOWN = "00999999" + SERIAL


def imei_of(variant: Variant) -> str:
    """A number of this variant's, on record from now on."""
    tac, _ = Tac.objects.get_or_create(
        variant=variant, defaults={"code": f"00{variant.pk % 1_000_000:06d}", "is_synthetic": True}
    )
    return tac.code + SERIAL + luhn.calc_check_digit(tac.code + SERIAL)


def ask(variant: Variant, **said: Any) -> ImeiAnswer:
    return imei_check.check(imei_of(variant), at=clock.now(), **said)


def only_host(answer: ImeiAnswer) -> HostAnswer:
    (host,) = answer.hosts
    return host


def codes(words: Any) -> list[str]:
    return [word.code for word in words]


@pytest.fixture
def shopper() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def sold(world: World) -> World:
    """An offer that is live, of a phone that fits its network in full."""
    make_network(host=world.host, at=clock.now())
    make_radio(variant=world.variant, at=clock.now(), ims={world.host.code: "yes"})
    return world


# --- what it answers ----------------------------------------------------------------------------------------


def test_a_phone_that_is_sold_and_may_be_brought(sold):
    answer = ask(sold.variant)
    assert (answer.kind, answer.variant) == (Kind.KNOWN, sold.variant)
    host = only_host(answer)
    assert host.is_sold_here
    assert host.admission.outcome == Outcome.ADMITTED
    assert host.badge.kind == "approved"
    assert answer.on == clock.now().date()
    assert answer.number == Number(imei.Kind.IMEI, imei_of(sold.variant)[:8], is_test=True)


def test_an_unknown_model_and_a_mistyped_number():
    known = imei_check.check(UNKNOWN + luhn.calc_check_digit(UNKNOWN), at=clock.now())
    assert (known.kind, known.variant, known.hosts) == (Kind.UNKNOWN_MODEL, None, ())
    mistyped = imei_check.check("49015420323751", at=clock.now())
    assert mistyped.kind == Kind.MISTYPED
    assert mistyped.refusal is not None
    assert mistyped.refusal.fault == "CHECK_DIGIT_MISSING"


def test_both_numbers_with_and_without_a_check_digit_lead_to_the_model(sold):
    number = imei_of(sold.variant)
    for text in (number, number[:14] + "07", f"{number[:2]}-{number[2:8]}-{number[8:14]}-{number[14]} / 07"):
        assert imei_check.check(text, at=clock.now()).variant == sold.variant


@pytest.mark.parametrize(
    "withdraw", [revoke_agreement, lambda world: place_hold(("vendor", world.vendor.pk))]
)
def test_the_trouble_of_a_vendor_stops_the_sale_and_no_activation(sold, withdraw):
    before = only_host(ask(sold.variant))
    withdraw(sold)
    after = only_host(ask(sold.variant))
    assert (before.is_sold_here, after.is_sold_here) == (True, False)
    assert after.admission == before.admission
    assert after.badge.text == before.badge.text


def test_a_hold_of_the_shop_on_the_model_is_not_the_hosts_word(sold):
    place_hold(("variant", sold.variant.pk))
    host = only_host(ask(sold.variant))
    assert not host.is_sold_here
    assert host.admission.outcome == Outcome.ADMITTED


def test_a_hold_that_names_the_host_stops_the_sale_for_it_and_takes_nothing_off_its_list():
    at, variant = clock.now(), VariantFactory.create()
    host = HostCarrierFactory.create()
    make_network(host=host, at=at, admission="list")
    make_radio(variant=variant, at=at)
    make_sellable(variant=variant, host=host)
    assert only_host(ask(variant)).admission.is_admitted
    place_hold(("host", host.pk), ("variant", variant.pk))
    stopped = only_host(ask(variant))
    assert not stopped.is_sold_here
    assert stopped.badge.kind == "refused"
    assert stopped.admission.is_admitted


def test_a_revoked_approval_stops_both(sold):
    revoke_approval(sold)
    host = only_host(ask(sold.variant))
    assert not host.is_sold_here
    assert codes(host.admission.reasons) == ["ACTIVATION_REVOKED"]


@pytest.mark.parametrize(
    "of_the_host", [{"placed_by": ""}, {"reason_code": "CARRIER_TESTS_PENDING"}], ids=["placed", "asked for"]
)
def test_a_hold_of_the_host_on_its_approval_stops_both(sold, of_the_host):
    if "placed_by" in of_the_host:
        of_the_host = {"placed_by": sold.host.name}
    make_hold(targets=[("fact", str(sold.approval.pk))], at=clock.now(), **of_the_host)
    host = only_host(ask(sold.variant))
    assert not host.is_sold_here
    assert codes(host.admission.reasons) == ["ACTIVATION_SUSPENDED"]


def test_a_hold_of_the_shop_on_an_approval_is_not_called_the_networks(sold):
    place_hold(("fact", sold.approval.pk))
    host = only_host(ask(sold.variant))
    assert not host.is_sold_here
    assert host.admission.outcome == Outcome.ADMITTED


def test_a_hold_of_the_host_that_was_released_suspends_nothing_beside_one_of_the_shop(sold):
    at = clock.now()
    hold = make_hold(targets=[("fact", str(sold.approval.pk))], at=at, placed_by=sold.host.name)
    place_hold(("fact", sold.approval.pk))
    assert codes(only_host(ask(sold.variant)).admission.reasons) == ["ACTIVATION_SUSPENDED"]
    holds.release_hold(fact=hold, by=Actor("user", "desk"), at=clock.now(), reason="tested")
    assert only_host(ask(sold.variant)).admission.is_admitted


# --- calls in the headline ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ims", "said"),
    [
        ("no", "data only: no calls, 911 included"),
        ("unknown", "not known whether calls work, 911 included"),
        (None, "not known what works, calls and 911 included"),
    ],
)
def test_no_headline_says_yes_without_what_is_wrong_with_calls(world, shopper, ims, said):
    """The approval in force lets it in; 911 hangs on the calls."""
    make_network(host=world.host, at=clock.now())
    if ims is not None:
        make_radio(variant=world.variant, at=clock.now(), bands=LTE_ONLY, ims={world.host.code: ims})
    page = shopper.post("/imei/", {"imei": imei_of(world.variant)}).content.decode()
    headline = re.search(r"<h2>(?:(?!</h2>).)*You may bring it(?:(?!</h2>).)*</h2>", page, re.DOTALL)
    assert headline is not None
    assert f"You may bring it to {world.host.name} ({said})" in headline[0]
    assert f"Yes, {world.host.name} lets it in, but {said}" in page
    assert f"Yes, {world.host.name} lets it in, but {said}" in text_of(shopper.get(device_path(world)))


@pytest.mark.parametrize(
    ("ims", "outcome"),
    [("no", Outcome.NOT_ADMITTED), ("unknown", Outcome.NOT_KNOWN), (None, Outcome.NOT_KNOWN)],
)
def test_without_an_approval_nobody_is_told_to_bring_what_cannot_call(ims, outcome):
    host, variant = HostCarrierFactory.create(), VariantFactory.create()
    make_network(host=host, at=clock.now())
    if ims is not None:
        make_radio(variant=variant, at=clock.now(), bands=LTE_ONLY, ims={host.code: ims})
    assert only_host(ask(variant, hosts=[host])).admission.outcome == outcome


def test_a_phone_that_nobody_offers_any_more_may_still_be_brought(sold):
    offers.withdraw_listing(listing=sold.listing, by=Actor("user", "desk"), at=clock.now())
    host = only_host(ask(sold.variant))
    assert not host.is_sold_here
    assert host.admission.is_admitted


def test_software_and_limits_of_an_approval_are_limits_of_who_brings_it(sold):
    other = HostCarrierFactory.create()
    HostingFactory.create(host=other)
    make_network(host=other, at=clock.now())
    make_approval(
        host=other,
        variant=sold.variant,
        at=clock.now(),
        state="conditional",
        limits="no 5G",
        software_from="6.0",
        software_until="7.1",
    )
    answer = next(each for each in ask(sold.variant).hosts if each.host == other)
    words = [word.words for word in answer.admission.limits]
    assert words[:2] == [
        "The network approved it with limits: no 5G",
        "The network approved it with some software only: from 6.0 on and before 7.1",
    ]


def test_only_the_hosts_of_the_shop_are_asked_unless_others_are_named(sold):
    stranger = HostCarrierFactory.create()
    assert [each.host for each in ask(sold.variant).hosts] == [sold.host]
    asked = ask(sold.variant, hosts=[stranger, sold.host])
    assert [each.host for each in asked.hosts] == [stranger, sold.host]
    assert asked.hosts[0].admission.outcome == Outcome.NOT_KNOWN


@pytest.mark.parametrize("failure", [DecisionUnavailable("no"), OperationalError("no")])
def test_without_evidence_nobody_gets_a_yes(sold, monkeypatch, failure):
    def fails(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr(decisions, "read_setting", fails)
    with pytest.raises(DecisionUnavailable):
        ask(sold.variant)


# --- the states of an acceptance ----------------------------------------------------------------------------

STATE = Acceptance.State
# Sold, activated where all phones are let in, activated where listed ones are.
TABLE = {
    STATE.REQUESTED: (True, False),
    STATE.INTAKE_REVIEW: (True, False),
    STATE.REJECTED: (True, False),
    STATE.LAB_ENTRY: (True, False),
    STATE.IN_TEST: (True, False),
    STATE.ISSUES_OPEN: (True, False),
    STATE.WAIVER_PENDING: (True, False),
    STATE.CONDITIONAL: (True, True),
    STATE.APPROVED: (True, True),
    STATE.MR_REVIEW: (True, True),
    STATE.SUSPENDED: (False, False),
    STATE.REVOKED: (False, False),
    STATE.EXPIRED: (True, False),
    STATE.WITHDRAWN: (True, False),
}


@pytest.mark.parametrize("state", STATE)
@pytest.mark.parametrize("place", [0, 1], ids=["open", "list"])
def test_the_table_of_states(state, place):
    at = clock.now()
    host, variant = HostCarrierFactory.create(), VariantFactory.create()
    make_network(host=host, at=at, admission=("open", "list")[place])
    make_radio(variant=variant, at=at)
    make_acceptance(state=state, host=host, variant=variant, at=at)
    # The term of an expired one ended a second after it was given.
    answer = imei_check.check(imei_of(variant), at=at + timedelta(seconds=2), hosts=[host])
    assert only_host(answer).admission.is_admitted is TABLE[state][place]


# --- the world of 2016 --------------------------------------------------------------------------------------


@pytest.fixture
def reference(db: None) -> None:
    tables = read_tables(configured.BASE_DIR / "seeds" / "reference")
    loader.load(tables, by=Actor("system", "test"), at=datetime(2016, 1, 25, tzinfo=UTC))


def at_host(variant: str, host: str, on: date) -> HostAnswer:
    hosts = [HostCarrier.objects.get(code=host)]
    answer = imei_check.check(imei_of(Variant.objects.get(slug=variant)), at=clock.now(), hosts=hosts, on=on)
    assert answer.on == on
    return only_host(answer)


def test_the_case_to_learn_from(reference):
    """In February 2016 nobody might sell it for T-Mobile, which let in who owned one. Ten years on it does not."""
    then = at_host("xiaomi-redmi2-2014811", "tmobile", date(2016, 2, 2))
    assert not then.is_sold_here
    assert then.badge.kind == "unknown"
    assert codes(then.admission.limits) == ["DATA_3G_ONLY"]
    now = at_host("xiaomi-redmi2-2014811", "tmobile", date(2026, 11, 22))
    assert codes(now.admission.reasons) == ["ONLY_SECONDARY_BANDS"]


def test_on_which_day_it_is_asked_decides(reference):
    """3G of T-Mobile ended on 1 July 2022; after that the phone is left with 2G."""
    limits = [
        codes(at_host("xiaomi-mi3-2013062", "tmobile", on).admission.limits)
        for on in (date(2022, 6, 30), date(2022, 7, 1))
    ]
    assert limits == [["DATA_3G_ONLY"], ["DATA_2G_ONLY", "VOICE_2G_ONLY"]]


def test_an_approval_of_another_day_is_of_that_day(reference):
    variant, host = Variant.objects.get(slug="apple-iphone6-a1549"), HostCarrier.objects.get(code="tmobile")
    made = datetime(2016, 1, 26, tzinfo=UTC)
    make_approval(
        host=host, variant=variant, at=made, valid_from=made, valid_until=datetime(2017, 1, 1, tzinfo=UTC)
    )
    kinds = [at_host(variant.slug, "tmobile", on).badge.kind for on in (date(2016, 6, 1), date(2018, 6, 1))]
    assert kinds == ["approved", "refused"]


# --- what it costs ------------------------------------------------------------------------------------------


def test_the_number_of_queries_does_not_grow(sold):
    number = imei_of(sold.variant)
    with CaptureQueriesContext(connection) as few:
        imei_check.check(number, at=clock.now())
    for _ in range(3):
        more = make_sellable(variant=sold.variant)
        make_network(host=more.host, at=clock.now())
        make_sellable(variant=sold.variant, host=sold.host, sku=f"SKU-{more.host.code}")
    with CaptureQueriesContext(connection) as many:
        answer = imei_check.check(number, at=clock.now())
    assert len(answer.hosts) == 4
    assert all(host.is_sold_here for host in answer.hosts)
    assert len(many) == len(few)


# --- that nothing is kept -----------------------------------------------------------------------------------


@pytest.fixture
def all_logs() -> Iterator[io.StringIO]:
    """Every line of every logger, down to the least, as the shop writes them."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    loggers = [
        logging.getLogger(),
        *(each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    before = [(each, each.level, each.propagate) for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG)
        each.propagate = True
    logging.getLogger().addHandler(handler)
    yield heard
    logging.getLogger().removeHandler(handler)
    for each, level, propagate in before:
        each.setLevel(level)
        each.propagate = propagate


def all_rows() -> str:
    found = io.StringIO()
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            cursor.execute(f"SELECT * FROM {model._meta.db_table}")  # noqa: S608  a table of ours
            for row in cursor.fetchall():
                print(row, file=found)
    return found.getvalue()


def traces_of(number: str, text: str) -> list[str]:
    """The number, or enough of it to name the phone."""
    forms = [number, number[:14], f"{number[:2]}-{number[2:8]}-{number[8:14]}", number[8:14]]
    return [form for form in forms if form in text]


def is_written_somewhere(number: str, logs: io.StringIO, queries: CaptureQueriesContext) -> list[str]:
    said = "\n".join(query["sql"] for query in queries.captured_queries)
    return traces_of(number, logs.getvalue()) + traces_of(number, all_rows()) + traces_of(number, said)


def test_the_search_for_traces_finds_some(sold, all_logs):
    number = imei_of(sold.variant)
    logging.getLogger("anything").debug("asked for %s", number)
    with CaptureQueriesContext(connection) as queries:
        Variant.objects.filter(notes=number).exists()
        Variant.objects.filter(pk=sold.variant.pk).update(notes=f"asked: {number}")
    assert len(is_written_somewhere(number, all_logs, queries)) > 6


@pytest.mark.parametrize("kind", ["known", "unknown", "mistyped", "too often", "not decided", "crash"])
@pytest.mark.parametrize("way", ["page", "api"])
def test_the_number_is_kept_nowhere(sold, shopper, all_logs, monkeypatch, settings, kind, way):
    number = imei_of(sold.variant)
    status = 200
    if kind == "unknown":
        number = UNKNOWN + luhn.calc_check_digit(UNKNOWN)
    if kind == "mistyped":
        number, status = number[:14] + str((int(number[14]) + 1) % 10), 400
    if kind == "too often":
        settings.IMEI_CHECKS_PER_CLIENT = settings.IMEI_CHECKS_PER_KEY = 0
        status = 429
    if kind == "not decided":
        monkeypatch.setattr(decisions, "read_setting", raise_it(DecisionUnavailable("The evidence")))
        status = 503
    if kind == "crash":
        monkeypatch.setattr(imei_check, "judged_for", raise_it(RuntimeError("broken")))
        status = 500
    reports: list[str] = []

    def report(**said: Any) -> None:
        kind, error, trace = sys.exc_info()
        reporter = ExceptionReporter(said.get("request"), kind, error, trace, is_email=True)
        reports.append(reporter.get_traceback_html() + reporter.get_traceback_text())

    got_request_exception.connect(report)
    with CaptureQueriesContext(connection) as queries:
        if way == "page":
            response = shopper.post("/imei/", {"imei": number})
        else:
            response = shopper.post(
                "/v1/imei-checks",
                json.dumps({"imei": number}),
                content_type="application/json",
                headers={"Authorization": f"Bearer {key_of(sold)}"},
            )
    got_request_exception.disconnect(report)
    assert response.status_code == status, response.content
    assert status == 500 or "no-store" in response["Cache-Control"]
    assert is_written_somewhere(number, all_logs, queries) == []
    assert "imei" in all_logs.getvalue(), "the request itself is in the log"
    assert bool(reports) is (kind == "crash")
    assert not [trace for said in reports for trace in traces_of(number, said)]
    if way == "api" or kind in ("known", "unknown"):
        assert not traces_of(number, response.content.decode() + str(response.headers))


def raise_it(error: Exception) -> Any:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise error

    return fails


def key_of(world: World) -> str:
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=world.vendor,
        label="test",
        by=Actor("user", "desk"),
        at=at,
        expires_at=at + timedelta(days=1),
    )
    return secret


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_asks_by_post_and_says_what_it_keeps(shopper):
    page = shopper.get("/imei/").content.decode()
    assert '<form method="post" action="/imei/"' in page
    assert 'inputmode="numeric"' in page
    assert 'autocomplete="off"' in page
    assert "We keep neither the number nor the answer." in page
    assert "noindex" not in page


def test_a_number_in_the_address_is_not_looked_at(shopper, sold):
    page = shopper.get("/imei/", {"imei": imei_of(sold.variant)})
    assert text_of(page) == text_of(shopper.get("/imei/"))


def test_a_mistyped_number_comes_back_with_its_cure(shopper):
    response = shopper.post("/imei/", {"imei": "49-015420-323751"})
    page = response.content.decode()
    assert response.status_code == 400
    assert "check digit, is missing" in text_of(response)
    assert 'value="49-015420-323751"' in page
    assert 'id="errors" role="alert" tabindex="-1" autofocus' in page
    assert 'href="#id_imei"' in page
    assert 'aria-invalid="true"' in page


def test_nothing_typed_at_all(shopper):
    for sent in ({}, {"imei": ""}, {"imei": "  "}):
        response = shopper.post("/imei/", sent)
        assert response.status_code == 400
        assert "Type the IMEI: 15 digits" in text_of(response)


def test_the_answer_keeps_the_two_questions_apart(shopper, sold):
    both = text_of(shopper.post("/imei/", {"imei": imei_of(sold.variant)}))
    assert f"You may bring it to {sold.host.name}" in both
    assert "We sell this exact model as well." in both
    assert f"Sold here for {sold.host.name}" in both
    revoke_agreement(sold)
    response = shopper.post("/imei/", {"imei": imei_of(sold.variant)})
    one = text_of(response)
    assert f"You may bring it to {sold.host.name}" in one
    assert "We do not sell this model now." in one
    assert f"Not sold here for {sold.host.name} now" in one
    assert f'href="{device_path(sold)}#{sold.variant.slug}"' in response.content.decode()
    assert "This number begins with 00" in one


def test_a_phone_that_may_not_be_brought(shopper, sold):
    revoke_approval(sold)
    shown = text_of(shopper.post("/imei/", {"imei": imei_of(sold.variant)}))
    assert "You may not bring it" in shown
    assert f"No, {sold.host.name} does not let it in" in shown


def test_an_unknown_model_is_told_the_way_on(shopper):
    response = shopper.post("/imei/", {"imei": UNKNOWN + luhn.calc_check_digit(UNKNOWN)})
    assert response.status_code == 200
    assert "We do not know this model" in text_of(response)
    assert 'name="q"' in response.content.decode()


def test_who_asks_too_often_is_told_when_to_come_back(shopper, sold, settings):
    settings.IMEI_CHECKS_PER_CLIENT = 2
    number = imei_of(sold.variant)
    for _ in range(2):
        assert shopper.post("/imei/", {"imei": number}).status_code == 200
    response = shopper.post("/imei/", {"imei": number})
    assert response.status_code == 429
    assert 590 <= int(response["Retry-After"]) <= 600
    assert "Ask again in 10 minutes." in text_of(response)
    other = Client(REMOTE_ADDR="192.0.2.99")
    assert other.post("/imei/", {"imei": number}).status_code == 200


def test_what_cannot_be_decided_is_said_and_the_number_stays_in_its_field(shopper, sold, monkeypatch):
    monkeypatch.setattr(decisions, "read_setting", raise_it(DecisionUnavailable("no")))
    response = shopper.post("/imei/", {"imei": imei_of(sold.variant)})
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert "We cannot look it up just now." in text_of(response)
    assert imei_of(sold.variant) in response.content.decode()


@pytest.mark.parametrize("text", ["<script>", "\x00", "9" * 10_000, "\U0001f600", "%s %(x)s {0}"])
def test_nothing_that_is_typed_breaks_the_page(shopper, text):
    response = shopper.post("/imei/", {"imei": text})
    assert response.status_code == 400
    assert "<script>" not in response.content.decode()


# --- the page of a phone ------------------------------------------------------------------------------------


def test_a_phones_page_says_both_apart_and_links_to_the_check(shopper, sold):
    page = shopper.get(device_path(sold))
    shown = text_of(page)
    assert f"Sold here for {sold.host.name}: yes." in shown
    assert f"May I bring my own? Yes, {sold.host.name} lets it in" in shown
    assert 'href="/imei/"' in page.content.decode()
    revoke_agreement(sold)
    after = text_of(shopper.get(device_path(sold)))
    assert f"Sold here for {sold.host.name}: not now." in after
    assert f"May I bring my own? Yes, {sold.host.name} lets it in" in after


def test_a_phones_page_and_the_check_say_the_same(shopper, sold):
    make_hold(targets=[("fact", str(sold.approval.pk))], at=clock.now(), placed_by=sold.host.name)
    words = f"No, {sold.host.name} does not let it in"
    assert words in text_of(shopper.get(device_path(sold)))
    assert words in text_of(shopper.post("/imei/", {"imei": imei_of(sold.variant)}))


def test_a_phones_page_without_evidence_says_nothing_of_bringing(shopper, sold, monkeypatch):
    monkeypatch.setattr(decisions, "read_setting", raise_it(DecisionUnavailable("no")))
    assert f"We cannot check just now for {sold.host.name}" in text_of(shopper.get(device_path(sold)))
