"""POST /v1/imei-checks: for vendors on all networks, for a host carrier on its own, and how often."""

import json
from datetime import timedelta
from typing import Any

import pytest
from stdnum import luhn

from authorization import clock
from catalog.models import Tac
from seeds import factories
from storefront import accounts
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem

pytestmark = pytest.mark.django_db

PATH = "/v1/imei-checks"
TAC = "00424242"
NUMBER = TAC + "314159" + luhn.calc_check_digit(TAC + "314159")


@pytest.fixture
def known(world: SmallWorld) -> SmallWorld:
    """A phone that fits `north`, by its number."""
    Tac.objects.create(code=TAC, variant=world.approved, is_synthetic=True)
    factories.make_network(host=world.north, at=world.at)
    factories.make_radio(variant=world.approved, at=world.at, ims={"north": "yes"})
    return world


def carrier(world: SmallWorld) -> Caller:
    at = clock.now()
    _, secret = accounts.make_carrier_key(
        host=world.north,
        label="test",
        duties=accounts.Duties(is_desk=True),
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
    )
    return Caller(secret)


def check(caller: Caller, **body: Any) -> dict[str, Any]:
    response = caller.post(PATH, {"imei": NUMBER} | body)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = json.loads(response.content)
    return found


def test_a_vendor_learns_model_fit_admission_and_sale_per_host(known, api):
    answer = check(api)
    assert answer["kind"] == "known"
    assert answer["number"] == {"kind": "IMEI", "tac": TAC, "is_test": True}
    assert answer["variant"]["variant"] == known.approved.slug
    assert [host["host"] for host in answer["hosts"]] == ["north", "south"]
    north, south = answer["hosts"]
    assert north["fit"]["verdict"] == "FULL"
    assert isinstance(north["fit"]["cautions"], list)
    assert north["admission"] == {"outcome": "ADMITTED", "reasons": [], "limits": [], "cautions": []}
    assert north["approval"]["state"] == "approved"
    assert north["is_sold_here"] is False
    assert south["fit"] is None
    assert south["admission"]["outcome"] == "NOT_KNOWN"
    assert [reason["code"] for reason in south["admission"]["reasons"]] == ["RADIO_NOT_RECORDED"]
    assert south["approval"]["state"] == "unknown"


def test_what_is_on_sale_is_said_to_be(known, api):
    api.put("/v1/listings/PX9", known.body())
    assert api.post("/v1/listings/PX9/publish").status_code == 200
    assert [host["is_sold_here"] for host in check(api)["hosts"]] == [True, False]
    assert check(api, on="2016-02-02")["hosts"][0]["is_sold_here"] is True, (
        "of now, whatever day is asked about"
    )


def test_one_host_and_another_day(known, api):
    answer = check(api, host="north", on="2013-06-01")
    assert answer["on"] == "2013-06-01"
    assert [host["host"] for host in answer["hosts"]] == ["north"]
    assert answer["hosts"][0]["fit"] is None
    assert answer["hosts"][0]["approval"]["state"] == "refused", "it had not begun"


def test_a_model_that_nobody_recorded(known, api):
    number = "00777777314159"
    answer = check(api, imei=number + luhn.calc_check_digit(number))
    assert (answer["kind"], answer["variant"], answer["hosts"]) == ("unknown_model", None, [])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (NUMBER[:14], "check_digit_missing"),
        (NUMBER[:14] + str((int(NUMBER[14]) + 5) % 10), "check_digit_wrong"),
        ("0" * 15, "all_the_same"),
        ("8901260123456789012", "sim_number"),
        ("3.5E+14", "spreadsheet"),
        ("", "empty"),
        ("x" * 5000, "too_long"),
    ],
)
def test_a_number_that_cannot_be_read_is_answered_with_the_cure_and_not_repeated(known, api, sent, code):
    response = api.post(PATH, {"imei": sent})
    body = problem(response, 400, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in body["errors"]] == [("/imei", code)]
    assert len(sent) < 4 or sent not in response.content.decode()


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, {"/imei"}),
        ({"imei": None}, {"/imei"}),
        ({"imei": int(NUMBER)}, {"/imei"}),
        ({"imei": True}, {"/imei"}),
        ({"imei": [NUMBER]}, {"/imei"}),
        ({"imei": NUMBER, "host": "nowhere"}, {"/host"}),
        ({"imei": NUMBER, "host": 7}, {"/host"}),
        ({"imei": NUMBER, "on": "yesterday"}, {"/on"}),
        ({"imei": NUMBER, "on": "2016-2-2"}, {"/on"}),
        ({"imei": NUMBER, "on": "9999-01-01"}, {"/on"}),
        ({"imei": NUMBER, "color": "red"}, {"/color"}),
    ],
)
def test_what_is_wrong_with_the_body_is_said_without_its_values(known, api, body, at):
    response = api.post(PATH, body)
    assert pointers(problem(response, 400, "invalid_request")) == at
    assert NUMBER not in response.content.decode()


def test_every_day_there_is_can_be_asked_about(known, api):
    for on in ("0001-01-01", "1970-01-01", "9998-12-31"):
        assert check(api, on=on)["on"] == on


def test_without_a_key_there_is_no_answer(known, stranger):
    problem(stranger.post(PATH, {"imei": NUMBER}), 401, "unauthenticated")


def test_it_is_asked_by_post_and_without_parameters(known, api):
    problem(api.get(PATH), 405, "method_not_allowed")
    problem(api.post(f"{PATH}?validate_only=true", {"imei": NUMBER}), 400, "invalid_request")


def test_a_host_carrier_is_answered_for_its_own_network(known):
    caller = carrier(known)
    for body in ({}, {"host": "north"}):
        assert [host["host"] for host in check(caller, **body)["hosts"]] == ["north"]
    for other in ("south", "nowhere"):
        problem(caller.post(PATH, {"imei": NUMBER, "host": other}), 404, "not_found")


def test_nobody_keeps_the_answer(known, api):
    for number in (NUMBER, NUMBER[:14]):
        response = api.post(PATH, {"imei": number})
        assert response["Cache-Control"] == "no-store"
        assert NUMBER[:14] not in response.content.decode()


def test_each_key_is_counted_by_itself(known, api, settings, monkeypatch):
    settings.IMEI_CHECKS_PER_KEY = 2
    # A vendor's key and a carrier's may have the same number in their tables.
    others = [carrier(known), caller_of(known.vendor)]
    check(api)
    assert api.post(PATH, {"imei": "1"}).status_code == 400, "what is mistyped counts"
    response = api.post(PATH, {"imei": NUMBER})
    body = problem(response, 429, "too_many_requests")
    assert body["detail"] == "One key may check 2 numbers in an hour."
    assert 3590 <= int(response["Retry-After"]) <= 3600
    for other in others:
        check(other)
    later = clock.machine_now() + timedelta(hours=1)
    monkeypatch.setattr(clock, "machine_now", lambda: later)
    check(api)
