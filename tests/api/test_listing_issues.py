"""What is wrong with a listing, what will be, what was decided on it check by check, and what falls when."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import agreements, clock, foresight, holds
from authorization.models import Decision, Fact
from catalog.models import Organization
from seeds import factories
from storefront.api import listing_issues
from storefront.api.times import rfc3339
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem

DAY = timedelta(days=1)


def read(api: Caller, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def issues(api: Caller, sku: str = "A-1") -> list[Any]:
    found: list[Any] = read(api, f"/v1/listings/{sku}?include=issues")["issues"]
    return found


def ending(world: SmallWorld, days: int, **terms: Any) -> tuple[Caller, Any]:
    """A vendor of its own whose one agreement ends in so many days."""
    vendor = factories.OrganizationFactory.create(slug=f"ends-in-{days}")
    until = world.at + days * DAY
    factories.make_agreement(
        grantor=world.approved.device.manufacturer, grantee=vendor, at=world.at, code=f"AG-{days}",
        valid_until=until, **terms,
    )  # fmt: skip
    api = caller_of(vendor)
    api.put("/v1/listings/A-1", world.body())
    assert api.post("/v1/listings/A-1/publish").status_code == 200
    return api, until


def test_issues_say_what_follows(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    api.post("/v1/listings/A-1/publish")
    [issue] = issues(api)
    assert (issue["code"], issue["severity"], issue["host"]) == ("CARRIER_NOT_APPROVED", "ERROR", "south")
    assert issue["attribute_names"] == ["variant", "hosts"]
    [enforcement] = issue["enforcements"]
    assert enforcement["action"] == "REFUSE_PUBLISH"
    assert enforcement["exemption"] == {"status": "NOT_EXEMPT", "expires_at": None}
    state_since = {o["host"]: o["state_changed_at"] for o in read(api, "/v1/listings/A-1")["offers"]}
    assert enforcement["effective_at"] == state_since["south"]
    assert "issues" not in read(api, "/v1/listings/A-1"), "only where it is asked for"


def test_a_live_offer_says_what_will_take_it_off_sale_and_when(world: SmallWorld) -> None:
    api, until = ending(world, 10)
    [warning] = issues(api)
    assert (warning["code"], warning["severity"]) == ("AGREEMENT_EXPIRED", "WARNING")
    assert warning["document"] == "AG-10"
    assert warning["cure"] == "Renew AG-10 before it ends."
    assert {"rel": "renew", "method": "POST"}.items() <= warning["links"][1].items()
    [enforcement] = warning["enforcements"]
    assert (enforcement["action"], enforcement["effective_at"]) == ("SUSPEND", rfc3339(until))
    assert [row["sku"] for row in read(api, "/v1/listings?severity=WARNING")["data"]] == ["A-1"]
    later, _ = ending(world, 40)
    assert issues(later) == [], "thirty days ahead"
    assert read(later, "/v1/listings?severity=WARNING")["data"] == []
    # Another paper carries it on from then: nothing falls.
    factories.make_agreement(
        grantor=world.approved.device.manufacturer,
        grantee=Organization.objects.get(slug="ends-in-10"),
        at=world.at,
        channels=["web"],
        valid_from=until - DAY,
    )
    assert issues(api) == []


def test_grace_is_data(world: SmallWorld) -> None:
    """A hold that is in force, with an exemption that ends: exempt until then, suspended after."""
    api, _ = ending(world, 200)
    at = clock.now()
    maker = world.approved.device.manufacturer
    exemption = holds.Exemption(
        (("variant", str(world.approved.pk)),), at - DAY, at + 5 * DAY, "while stocks last"
    )
    factories.make_hold(
        targets=[("manufacturer", str(maker.pk))], at=at, placed_by="Court", exemptions=[exemption], code="H-1",
        valid_from=at,
    )  # fmt: skip
    [warning] = issues(api)
    assert (warning["code"], warning["severity"]) == ("ON_HOLD", "WARNING")
    assert warning["enforcements"] == [
        {
            "action": "SUSPEND",
            "effective_at": rfc3339(at),
            "exemption": {"status": "EXEMPT_UNTIL_EXPIRY_DATE", "expires_at": rfc3339(at + 5 * DAY)},
        }
    ]
    assert "document" not in warning, "the hold is the paper of others"


def test_what_was_not_looked_at_is_said(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    api, until = ending(world, 10)
    assert read(api, "/v1/listings/A-1?include=issues")["issues_seen_until"] is None
    monkeypatch.setattr(foresight, "INSTANTS", 0)
    shown = read(api, "/v1/listings/A-1?include=issues")
    assert (shown["issues"], shown["issues_seen_until"]) == ([], rfc3339(until))
    assert read(api, "/v1/listings/A-1?include=decisions")["decisions"][0]["outcome"] == "allow"
    body = problem(api.get("/v1/listings/A-1?include=issues,offers"), 400, "invalid_request")
    assert pointers(body) == {"/include"}
    assert listing_issues.FORESEEN == 30 * DAY


# --- decisions ------------------------------------------------------------------------------------------------


def decision(api: Caller, sku: str = "A-1") -> Any:
    return read(api, f"/v1/listings/{sku}/decisions?limit=1")["data"][0]


def checks(api: Caller, sku: str = "A-1") -> dict[str, Any]:
    return {check["check"]: check for check in decision(api, sku)["checks"]}


def test_an_allow_names_what_each_check_rests_on(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    api.post("/v1/listings/A-1/publish")
    shown = decision(api)
    assert (shown["outcome"], shown["reasons"]) == ("allow", [])
    found = {check["check"]: check for check in shown["checks"]}
    assert list(found) == ["policy", "vendor", "host", "agreement", "approval", "equipment", "radio", "hold"]
    assert {name: check["result"] for name, check in found.items()} == {
        "policy": "passed", "vendor": "passed", "host": "passed", "agreement": "passed", "approval": "passed",
        "equipment": "not_enforced", "radio": "not_enforced", "hold": "passed",
    }  # fmt: skip
    assert found["agreement"]["rests_on"] == [{"kind": "agreement", "version": 1, "document": "AG-77"}]
    assert found["approval"]["rests_on"] == [{"kind": "approval", "version": 1}], "not the vendor's paper"
    assert found["approval"]["rule"] == "approval-in-force"
    assert shown["policy_version"].endswith("/1")
    assert read(api, "/v1/listings/A-1?include=decisions")["decisions"] == [shown]


def test_a_deny_names_the_nearest_miss_of_every_check(world: SmallWorld, api: Caller) -> None:
    vendor = factories.OrganizationFactory.create(slug="vendor-two")
    maker, at = world.approved.device.manufacturer, world.at
    factories.make_agreement(
        grantor=maker, grantee=vendor, at=at, code="AG-SCOPE", territories=["CA", "MX"], channels=["web"]
    )
    factories.make_approval(host=world.south, variant=world.approved, at=at, state="in_test")
    other = caller_of(vendor)
    other.put("/v1/listings/A-1", world.body(hosts=["south"]))
    other.post("/v1/listings/A-1/publish")
    found = checks(other)
    assert {name: check["result"] for name, check in found.items() if check["result"] == "failed"} == {
        "agreement": "failed",
        "approval": "failed",
    }
    assert found["agreement"]["nearest_miss"] == {
        "document": "AG-SCOPE", "version": 1, "field": "territories", "has": "CA, MX", "needs": "US",
    }  # fmt: skip
    assert found["agreement"]["reason_codes"] == ["AGREEMENT_SCOPE_TERRITORY"]
    assert found["approval"]["nearest_miss"] == {"field": "state", "has": "in_test", "needs": "approved"}
    api.put("/v1/listings/A-1", world.body(variant="PX9-U2", hosts=["south"]))
    api.post("/v1/listings/A-1/publish")
    assert checks(api)["approval"]["nearest_miss"] is None, "nothing is on record"


@pytest.mark.parametrize(
    ("terms", "field", "has", "needs"),
    [
        ({"assurance": "claimed"}, "assurance", "claimed", "verified"),
        ({"conditions": ["used"]}, "conditions", "used", "new"),
        ({"models": []}, "models", None, "maker-px9-u1"),
    ],
)
def test_the_nearest_miss_of_an_agreement(
    world: SmallWorld, terms: dict[str, Any], field: str, has: str | None, needs: str
) -> None:
    vendor = factories.OrganizationFactory.create(slug="vendor-two")
    if terms.get("models") == []:
        terms = {"models": [world.untested]}
    factories.make_agreement(
        grantor=world.approved.device.manufacturer,
        grantee=vendor,
        at=world.at,
        code="AG-1",
        valid_until=world.at + 400 * DAY,
        **terms,
    )
    other = caller_of(vendor)
    other.put("/v1/listings/A-1", world.body())
    other.post("/v1/listings/A-1/publish")
    missed = checks(other)["agreement"]["nearest_miss"]
    assert (missed["field"], missed["has"], missed["needs"]) == (field, has, needs)
    # As it was known then, whatever became of the record since.
    kept = decision(other)
    fact = Fact.objects.get(code="AG-1")
    agreements.renew_agreement(
        fact=fact, valid_until=world.at + 900 * DAY, by=factories.BUILDER, at=clock.now(), reason="renewed"
    )
    assert decision(other) == kept
    assert kept["checks"][3]["nearest_miss"]["version"] == 1


def test_decisions_cost_as_many_queries_for_many_as_for_few(world: SmallWorld, api: Caller) -> None:
    vendor = factories.OrganizationFactory.create(slug="vendor-two")
    other = caller_of(vendor)
    other.put("/v1/listings/A-1", world.body(hosts=["north", "south"]))
    for number in range(4):
        other.post("/v1/listings/A-1/publish")
        factories.make_agreement(
            grantor=world.approved.device.manufacturer,
            grantee=vendor,
            at=clock.now(),
            code=f"AG-{number}",
            territories=["CA", "MX", "BR", "CL"][number:],
        )
    assert Decision.objects.count() == 8

    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert len(read(other, f"/v1/listings/A-1/decisions?limit={limit}")["data"]) == limit
        return len(captured)

    queries(1)
    assert queries(2) == queries(8)


# --- exposure -------------------------------------------------------------------------------------------------


def test_exposure_names_own_offers_with_their_day_and_paper(world: SmallWorld, api: Caller) -> None:
    mine, until = ending(world, 10)
    theirs, _ = ending(world, 12)
    shown = read(mine, "/v1/exposure?within=30d")
    [fall] = shown["data"]
    assert (fall["sku"], fall["host"], fall["falls_at"]) == ("A-1", "north", rfc3339(until))
    assert fall["record"] == {"kind": "agreement", "version": 1, "document": "AG-10"}
    assert [reason["code"] for reason in fall["reasons"]] == ["AGREEMENT_EXPIRED"]
    assert shown["has_more"] is False
    assert read(mine, "/v1/exposure?within=9d")["data"] == []
    assert [fall["record"]["document"] for fall in read(theirs, "/v1/exposure")["data"]] == ["AG-12"]
    assert read(api, "/v1/exposure?within=365d")["data"] == []
    for query in ("within=0d", "within=30", "within=366d", "within=x", "limit=0", "cursor=x"):
        problem(mine.get(f"/v1/exposure?{query}"), 400, "invalid_request")


def test_exposure_names_no_paper_of_others(world: SmallWorld, api: Caller) -> None:
    """The approval ends: which one it is is the host's and its maker's business."""
    vendor = world.vendor
    until = world.at + 5 * DAY
    factories.make_approval(
        host=world.south, variant=world.approved, at=world.at, code="CA-2", valid_until=until
    )
    api.put("/v1/listings/A-1", world.body(hosts=["south"]))
    api.post("/v1/listings/A-1/publish")
    [fall] = read(api, "/v1/exposure")["data"]
    assert (fall["record"], fall["falls_at"]) == ({"kind": "approval", "version": 1}, rfc3339(until))
    assert "CA-2" not in json.dumps(fall)
    for number in range(3):
        api.put(f"/v1/listings/B-{number}", world.body(hosts=["south"]))
        api.post(f"/v1/listings/B-{number}/publish")
    first = read(api, "/v1/exposure?limit=3")
    rest = read(api, f"/v1/exposure?limit=3&cursor={first['next_cursor']}")
    assert [row["sku"] for row in first["data"] + rest["data"]] == ["A-1", "B-0", "B-1", "B-2"]
    assert first["valid_at"] == rest["valid_at"]
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    problem(other.get(f"/v1/exposure?limit=3&cursor={first['next_cursor']}"), 400, "invalid_request")
    assert vendor.listings.count() == 4


# --- summary --------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_the_lists_show(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/LIVE-1", world.body(hosts=["north", "south"]))
    api.post("/v1/listings/LIVE-1/publish")
    api.put("/v1/listings/BLOCKED-1", world.body(variant="PX9-U2"))
    api.put("/v1/listings/DRAFT-1", world.body())
    api.put("/v1/listings/GONE-1", world.body())
    api.delete("/v1/listings/GONE-1")
    caller_of(factories.OrganizationFactory.create(slug="vendor-two")).put("/v1/listings/X", world.body())
    shown = read(api, "/v1/listing-summary")
    assert shown["listings"] == {"LIVE": 1, "SUSPENDED": 0, "BLOCKED": 1, "DRAFT": 1, "REMOVED": 1}
    for status, count in shown["listings"].items():
        assert len(read(api, f"/v1/listings?status={status}")["data"]) == count
    assert shown["by_host"] == [
        {"host": "north", "offers": {"LIVE": 1, "BLOCKED": 1, "DRAFT": 1, "REMOVED": 1}},
        {"host": "south", "offers": {"BLOCKED": 1}},
    ]
    [reason] = shown["reasons"]
    assert (reason["code"], reason["offers"]) == ("CARRIER_NOT_APPROVED", 2)
    oldest = min(
        row["offers"][-1]["state_changed_at"] for row in read(api, "/v1/listings?severity=ERROR")["data"]
    )
    assert reason["since"] == oldest
    assert shown["ending_within_30_days"] == 0


def test_filters_by_host_variant_and_severity(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/BOTH", world.body(hosts=["north", "south"]))
    api.post("/v1/listings/BOTH/publish")
    api.put("/v1/listings/U2", world.body(variant="PX9-U2"))

    def skus(query: str) -> list[str]:
        return [row["sku"] for row in read(api, f"/v1/listings?{query}")["data"]]

    assert skus("host=south") == ["BOTH"]
    assert skus("variant=PX9-U2") == skus("variant=maker-px9-u2") == ["U2"]
    assert skus("host=south&status=BLOCKED") == ["BOTH"], "with a host, its own state is asked for"
    assert skus("status=BLOCKED") == ["U2"]
    assert skus("host=north&severity=ERROR") == ["U2"]
    assert skus("severity=ERROR&reason=CARRIER_NOT_APPROVED") == ["BOTH", "U2"]
    assert skus("host=north&reason=NO_AGREEMENT") == []
    for query, pointer in (
        ("host=nowhere", "/host"),
        ("variant=PX9-U9", "/variant"),
        ("severity=BAD", "/severity"),
    ):
        assert pointers(problem(api.get(f"/v1/listings?{query}"), 400, "invalid_request")) == {pointer}
