"""Deny first: every route refuses strangers, and a vendor sees nothing of another's."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from structlog.testing import capture_logs

from authorization import clock
from authorization.models import LedgerEntry
from catalog.models import Listing
from seeds import factories
from storefront import accounts
from storefront.api import urls
from storefront.models import CarrierKey, VendorKey
from tests.api.conftest import Caller, SmallWorld, caller_of, carrier_caller, problem

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")
PUBLIC = {"api-problems", "api-problem"}
UNKNOWN = {"api-unknown", "api-root"}


def paths_of(patterns: list[URLPattern]) -> dict[str, str]:
    return {
        str(pattern.name): "/v1/"
        + str(pattern.pattern)
        .replace("<str:sku>", "SKU-1")
        .replace("<str:code>", "not_found")
        .replace("<int:sweep_id>", "1")
        .replace("<uuid:endpoint_id>", "7d444840-9dc0-11d1-b245-5ffdce74fad2")
        .replace("<uuid:event_id>", "7d444840-9dc0-11d1-b245-5ffdce74fad3")
        .replace("<path:rest>", "no/such")
        .replace("<str:acceptance_code>", "TA-2016-0001")
        .replace("<str:sha256>", "ab" * 32)
        .replace("<str:name>", "maker-px9-u1")
        for pattern in patterns
    }


PATHS = paths_of(urls.urlpatterns)


def test_the_walk_below_sees_every_route() -> None:
    [mounted] = [entry for entry in get_resolver().url_patterns if str(entry.pattern) == "v1/"]
    assert isinstance(mounted, URLResolver)
    assert mounted.url_patterns == urls.urlpatterns
    assert len(PATHS) == len(urls.urlpatterns)


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(set(PATHS) - PUBLIC - UNKNOWN))
@pytest.mark.parametrize("method", METHODS)
def test_every_route_refuses_strangers(stranger: Caller, name: str, method: str) -> None:
    response = stranger.call(method, PATHS[name])
    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"].startswith("Bearer")


# --- whose keys open what -----------------------------------------------------------------------------------

VENDORS, CARRIERS = "vendors", "carriers"
# A new route is refused by the tests below until it stands here: whose keys are not refused by it.
OPEN_TO: dict[str, set[str]] = {
    **{name: {VENDORS} for name in set(PATHS) - PUBLIC - UNKNOWN},
    **{name: {VENDORS, CARRIERS} for name in PATHS if name.startswith("api-acceptance")},
    "api-me": {VENDORS, CARRIERS},
    "api-imei-checks": {VENDORS, CARRIERS},
}
CALLERS = {
    "a vendor": VENDORS,
    "another vendor": VENDORS,
    "the host": CARRIERS,
    "another host": CARRIERS,
    "an expired key of a vendor": None,
    "a revoked key of a vendor": None,
    "an expired key of a host": None,
    "a revoked key of a host": None,
}


@pytest.fixture
def callers(world: SmallWorld) -> dict[str, Caller]:
    other = factories.OrganizationFactory.create(slug="vendor-two")
    made = {
        "a vendor": caller_of(world.vendor),
        "another vendor": caller_of(other),
        "the host": carrier_caller(world.north),
        "another host": carrier_caller(world.south),
    }
    for name, make in (
        ("vendor", lambda: caller_of(world.vendor)),
        ("host", lambda: carrier_caller(world.north)),
    ):
        model: type[VendorKey] | type[CarrierKey] = VendorKey if name == "vendor" else CarrierKey
        made[f"an expired key of a {name}"] = make()
        model.objects.filter(pk=model.objects.latest("pk").pk).update(expires_at=clock.now())
        made[f"a revoked key of a {name}"] = make()
        model.objects.filter(pk=model.objects.latest("pk").pk).update(revoked_at=clock.now())
    return made


@pytest.mark.parametrize("name", sorted(set(PATHS) - PUBLIC - UNKNOWN))
def test_every_route_opens_to_those_whom_it_names_and_to_nobody_else(
    callers: dict[str, Caller], name: str
) -> None:
    assert set(callers) == set(CALLERS)
    for who, kind in CALLERS.items():
        for method in METHODS:
            answer = callers[who].call(method, PATHS[name])
            if kind is None:
                assert answer.status_code == 401, (who, method)
            elif kind not in OPEN_TO[name]:
                assert answer.status_code == 403, (who, method)
                assert method == "HEAD" or b"not_for_this_key" in answer.content, (who, method)
            else:
                assert answer.status_code not in (401, 500), (who, method)
                # The sponsor asks: a carrier reads the same list.
                assert answer.status_code != 403 or (name, method, kind) == (
                    "api-acceptances",
                    "POST",
                    CARRIERS,
                ), (who, method)


@pytest.mark.parametrize("name", sorted(set(PATHS) - PUBLIC - UNKNOWN))
def test_a_route_that_names_nobody_opens_to_nobody(
    callers: dict[str, Caller], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pattern] = [each for each in urls.urlpatterns if each.name == name]
    view: Any = pattern.callback
    monkeypatch.setattr(view.view_class, "open_to", ())
    for who in ("a vendor", "the host"):
        assert callers[who].get(PATHS[name]).status_code == 403


@pytest.mark.parametrize("name", sorted(UNKNOWN))
@pytest.mark.parametrize("method", METHODS)
def test_what_there_is_not_is_404_for_all(stranger: Caller, name: str, method: str) -> None:
    response = stranger.call(method, PATHS[name])
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_problem_pages_are_public(stranger: Caller, name: str) -> None:
    response = stranger.get(PATHS[name])
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer sk_live_unknown",
        "sk_live_x",
        "Bearer é\u00ff",
        "Bearer a b",
    ],
)
def test_a_bad_key_is_401(world: SmallWorld, stranger: Caller, header: str) -> None:
    problem(stranger.get("/v1/me", Authorization=header), 401, "unauthenticated")


def test_revoking_a_key_acts_on_the_next_request(world: SmallWorld, api: Caller) -> None:
    assert api.get("/v1/me").status_code == 200
    accounts.revoke_vendor_key(key=VendorKey.objects.get(), by=factories.BUILDER, at=clock.now())
    problem(api.get("/v1/me"), 401, "unauthenticated")


def test_an_expired_key_is_401(world: SmallWorld, api: Caller) -> None:
    VendorKey.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    problem(api.get("/v1/me"), 401, "unauthenticated")


def test_me(world: SmallWorld, api: Caller) -> None:
    body = json.loads(api.get("/v1/me").content)
    assert body["vendor"] == {"slug": "vendor-one", "name": world.vendor.name}
    assert api.secret.startswith(body["key"]["prefix"])
    assert api.secret not in json.dumps(body)
    assert body["key"]["expires_at"].endswith("Z")
    assert body["scopes"] == []


def test_me_of_a_carrier(world: SmallWorld) -> None:
    carrier = carrier_caller(world.north, "lab")
    body = json.loads(carrier.get("/v1/me").content)
    assert body["host"] == {"host": "north", "name": world.north.name}
    assert body["duties"] == ["lab"]
    assert "vendor" not in body
    assert carrier.secret not in json.dumps(body)


def test_a_carriers_key_without_its_prefix_is_no_key(world: SmallWorld, stranger: Caller) -> None:
    secret = carrier_caller(world.north).secret
    for wrong in (secret.replace("ck_live_", "sk_live_"), secret.removeprefix("ck_live_"), secret[:-1]):
        problem(stranger.get("/v1/me", Authorization=f"Bearer {wrong}"), 401, "unauthenticated")


def test_ledger_and_logs_name_the_vendor_and_the_request(world: SmallWorld, api: Caller) -> None:
    with capture_logs() as logs:
        response = api.put("/v1/listings/A-1", world.body())
    entry = LedgerEntry.objects.get(act="listing.saved")
    assert entry.actor == "vendor:vendor-one"
    assert entry.request_id == response["Request-Id"]
    assert api.secret not in str(logs)


def test_an_inbound_request_id_is_not_trusted(world: SmallWorld, api: Caller) -> None:
    response = api.get("/v1/me", **{"X-Request-Id": "mine", "Request-Id": "mine"})
    assert response["Request-Id"] not in ("", "mine")


def test_anothers_listing_is_404_in_every_call_and_stays_as_it_is(world: SmallWorld, api: Caller) -> None:
    assert api.put("/v1/listings/A-1", world.body()).status_code == 201
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    for method, path in [
        ("GET", "/v1/listings/A-1"),
        ("HEAD", "/v1/listings/A-1"),
        ("DELETE", "/v1/listings/A-1"),
        ("POST", "/v1/listings/A-1/publish"),
        ("GET", "/v1/listings/A-1/decisions"),
    ]:
        assert other.call(method, path).status_code == 404
    assert json.loads(other.get("/v1/listings").content)["data"] == []
    # The same SKU is another listing under another vendor.
    assert other.put("/v1/listings/A-1", world.body(description="ours")).status_code == 201
    assert Listing.objects.get(vendor=world.vendor).description == "Sealed box"


def test_a_cursor_of_another_vendor_is_refused(world: SmallWorld, api: Caller) -> None:
    for number in range(2):
        api.put(f"/v1/listings/A-{number}", world.body())
    cursor = json.loads(api.get("/v1/listings?limit=1").content)["next_cursor"]
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    problem(other.get(f"/v1/listings?limit=1&cursor={cursor}"), 400, "invalid_request")
