"""Keys: which are refused, what one opens, and how an organization makes, replaces and ends its own.

Who may call what, over every route, is in test_roles.py.
"""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from authorization import clock, outbox
from authorization.models import LedgerEntry
from catalog.models import Listing
from seeds import factories
from storefront import accounts, keys_told
from storefront.api.account import MeView
from storefront.models import CarrierKey, OrganizationKey
from storefront.scopes import scopes_of, usual_scopes
from tests.api.conftest import Caller, SmallWorld, caller_of, carrier_caller, pointers, problem


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


def test_a_route_that_names_nobody_opens_to_nobody(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeView, "open_to", ())
    for caller in (api, carrier_caller(world.north)):
        problem(caller.get("/v1/me"), 403, "not_for_this_key")


def test_what_there_is_not_is_404_for_all(stranger: Caller) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        for path in ("/v1/", "/v1/no/such"):
            problem(stranger.call(method, path), 404, "not_found")


def test_a_key_of_a_host_that_ended_is_401(world: SmallWorld) -> None:
    carrier = carrier_caller(world.north)
    assert carrier.get("/v1/me").status_code == 200
    CarrierKey.objects.update(revoked_at=clock.now())
    problem(carrier.get("/v1/me"), 401, "unauthenticated")
    CarrierKey.objects.update(revoked_at=None, expires_at=clock.now())
    problem(carrier.get("/v1/me"), 401, "unauthenticated")


def test_revoking_a_key_acts_on_the_next_request(world: SmallWorld, api: Caller) -> None:
    assert api.get("/v1/me").status_code == 200
    accounts.revoke_organization_key(key=OrganizationKey.objects.get(), by=factories.BUILDER, at=clock.now())
    problem(api.get("/v1/me"), 401, "unauthenticated")


def test_an_expired_key_is_401(world: SmallWorld, api: Caller) -> None:
    OrganizationKey.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    problem(api.get("/v1/me"), 401, "unauthenticated")


def test_me(world: SmallWorld, api: Caller) -> None:
    body = json.loads(api.get("/v1/me").content)
    assert body["vendor"] == {"slug": "vendor-one", "name": world.vendor.name}
    assert api.secret.startswith(body["key"]["prefix"])
    assert api.secret not in json.dumps(body)
    assert body["key"]["expires_at"].endswith("Z")
    assert body["scopes"] == list(usual_scopes("vendor"))
    assert body["mode"] == "live"


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


# --- keys of one's own ------------------------------------------------------------------------------------------


def key_with(organization: Any, *names: str, **more: Any) -> Caller:
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=organization,
        label="master",
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=100),
        scopes=names or scopes_of(organization.kind),
        **more,
    )
    return Caller(secret)


@pytest.fixture
def master(world: SmallWorld) -> Caller:
    return key_with(world.vendor)


def read(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def test_a_key_is_made_shown_once_and_opens_what_it_names(world: SmallWorld, master: Caller) -> None:
    wanted = {"label": "stock system", "scopes": ["listings:read", "catalog:read"]}
    answer = master.post("/v1/keys", wanted)
    made = read(answer, 201)
    assert made["scopes"] == ["catalog:read", "listings:read"]
    assert (made["mode"], made["state"], made["label"]) == ("live", "in_force", "stock system")
    assert made["secret"].startswith(made["prefix"])
    assert made["secret"].endswith(made["last_four"])
    assert answer["Location"] == f"/v1/keys/{made['id']}"
    shown = read(master.get(answer["Location"]))
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert made["secret"] not in json.dumps(read(master.get("/v1/keys")))
    caller = Caller(made["secret"])
    assert read(caller.get("/v1/listings"))["data"] == []
    problem(caller.put("/v1/listings/A-1", world.body()), 403, "missing_scope")
    entry = LedgerEntry.objects.filter(act="organization_key.made").latest("pk")
    assert entry.actor == "vendor:vendor-one"
    assert made["secret"] not in json.dumps(entry.evidence)


def test_no_key_gives_more_than_it_has(world: SmallWorld) -> None:
    weak = key_with(world.vendor, "keys:write", "keys:read", "listings:read")
    body = problem(
        weak.post("/v1/keys", {"label": "x", "scopes": ["listings:read", "orders:read"]}),
        403,
        "missing_scope",
    )
    assert body["scope"] == "orders:read"
    # Neither by replacing a stronger one: whoever asks is told the secret.
    strong = OrganizationKey.objects.get(
        pk=read(key_with(world.vendor).post("/v1/keys", {"label": "y"}), 201)["id"]
    )
    assert problem(weak.post(f"/v1/keys/{strong.pk}/rotate", {}), 403, "missing_scope")["scope"]
    strong.refresh_from_db()
    assert strong.successor_id is None
    # What a key gets when nothing is said is no key to more keys.
    assert read(weak.post("/v1/keys", {"label": "z"}), 201)["scopes"] == ["listings:read", "keys:read"]
    # To end one is not to gain anything.
    assert weak.delete(f"/v1/keys/{strong.pk}").status_code == 204


def test_takedowns_stay_with_the_representative_that_was_verified(world: SmallWorld) -> None:
    maker = world.approved.device.manufacturer
    named = key_with(maker, representative="R. Presentative")
    wanted = {"label": "legal", "scopes": ["takedowns:read", "takedowns:write"]}
    made = OrganizationKey.objects.get(pk=read(named.post("/v1/keys", wanted), 201)["id"])
    assert made.representative == "R. Presentative"
    plain = key_with(maker, "keys:write", "claims:read", representative="R. Presentative")
    problem(plain.post("/v1/keys", wanted), 403, "missing_scope")
    # Nor is it had by replacing: what the named one may say for its organization, the other may not.
    at = clock.now()
    speaker, _ = accounts.make_organization_key(
        organization=maker,
        label="grants",
        scopes=["agreements:write"],
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        representative="R. Presentative",
    )
    master = key_with(maker, "keys:write", "agreements:write")
    problem(master.post(f"/v1/keys/{speaker.pk}/rotate", {}), 403, "not_for_this_key")
    speaker.refresh_from_db()
    assert speaker.successor_id is None
    successor = read(named.post(f"/v1/keys/{speaker.pk}/rotate", {}), 201)["id"]
    assert OrganizationKey.objects.get(pk=successor).representative == "R. Presentative"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/label"),
        ({"label": " "}, "/label"),
        ({"label": "x", "scopes": []}, "/scopes"),
        ({"label": "x", "scopes": ["no:such"]}, "/scopes"),
        ({"label": "x", "scopes": ["claims:read"]}, "/scopes"),
        ({"label": "x", "mode": "sandbox"}, "/mode"),
        ({"label": "x", "expires_at": "2016-01-01T00:00:00Z"}, "/expires_at"),
        ({"label": "x", "expires_at": "2090-01-01T00:00:00Z"}, "/expires_at"),
        ({"label": "x", "secret": "mine"}, "/secret"),
    ],
)
def test_a_faulty_wish_for_a_key_is_refused_at_its_member(
    master: Caller, body: dict[str, Any], pointer: str
) -> None:
    assert pointers(problem(master.post("/v1/keys", body), 400, "invalid_request")) == {pointer}
    assert OrganizationKey.objects.count() == 1


def test_two_keys_live_while_one_replaces_the_other(world: SmallWorld, master: Caller) -> None:
    old = read(master.post("/v1/keys", {"label": "stock", "scopes": ["listings:read"]}), 201)
    path = f"/v1/keys/{old['id']}"
    new = read(master.post(f"{path}/rotate", {"old_ends_in_hours": 48}), 201)
    assert (new["label"], new["scopes"]) == ("stock", ["listings:read"])
    for secret in (old["secret"], new["secret"]):
        assert Caller(secret).get("/v1/listings").status_code == 200
    replaced = read(master.get(path))
    assert replaced["replaced_by"] == new["id"]
    ends_at = datetime.fromisoformat(replaced["expires_at"])
    assert timedelta(hours=47) < ends_at - clock.now() <= timedelta(hours=48)
    problem(master.post(f"{path}/rotate", {}), 409, "key_over")
    # At once, of a key that has leaked.
    third = read(master.post(f"/v1/keys/{new['id']}/rotate", {"old_ends_in_hours": 0}), 201)
    problem(Caller(new["secret"]).get("/v1/me"), 401, "unauthenticated")
    assert Caller(third["secret"]).get("/v1/me").status_code == 200
    problem(master.post(f"/v1/keys/{new['id']}/rotate", {}), 409, "key_over")
    body = problem(
        master.post(f"/v1/keys/{third['id']}/rotate", {"old_ends_in_hours": 169}), 400, "invalid_request"
    )
    assert pointers(body) == {"/old_ends_in_hours"}


def test_a_rotation_sent_again_makes_one_key_and_shows_its_secret_once(master: Caller) -> None:
    old = read(master.post("/v1/keys", {"label": "stock"}), 201)
    once = {"Idempotency-Key": "7d444840-9dc0-11d1-b245-5ffdce74fad2"}
    first = read(master.post(f"/v1/keys/{old['id']}/rotate", {}, **once), 201)
    again = read(master.post(f"/v1/keys/{old['id']}/rotate", {}, **once), 201)
    assert "secret" in first
    assert again == {name: value for name, value in first.items() if name != "secret"}


def test_a_key_is_revoked_by_its_owner_and_by_nobody_else(world: SmallWorld, master: Caller) -> None:
    made = read(master.post("/v1/keys", {"label": "stock"}), 201)
    path = f"/v1/keys/{made['id']}"
    other = key_with(factories.OrganizationFactory.create(slug="vendor-two"))
    for method, at in (("GET", path), ("DELETE", path), ("POST", f"{path}/rotate")):
        problem(other.call(method, at, {}), 404, "not_found")
    assert master.delete(path).status_code == 204
    problem(Caller(made["secret"]).get("/v1/me"), 401, "unauthenticated")
    assert read(master.get(path))["state"] == "revoked"
    assert master.delete(path).status_code == 204
    assert [key["id"] for key in read(master.get("/v1/keys?state=revoked"))["data"]] == [made["id"]]


def test_a_live_key_makes_keys_of_test_mode_and_those_make_no_live_ones(
    world: SmallWorld, master: Caller
) -> None:
    wanted = {"label": "trials", "mode": "test", "scopes": ["keys:read", "keys:write", "listings:read"]}
    made = read(master.post("/v1/keys", wanted), 201)
    assert made["secret"].startswith("sk_test_")
    trial = Caller(made["secret"])
    assert read(trial.get("/v1/me"))["mode"] == "test"
    body = problem(trial.post("/v1/keys", {"label": "x", "mode": "live"}), 400, "invalid_request")
    assert pointers(body) == {"/mode"}
    assert read(trial.post("/v1/keys", {"label": "x"}), 201)["mode"] == "test"
    # It sees no live key, and ends none.
    assert {key["mode"] for key in read(trial.get("/v1/keys"))["data"]} == {"test"}
    live = OrganizationKey.objects.get(is_test=False)
    problem(trial.delete(f"/v1/keys/{live.pk}"), 404, "not_found")


def test_an_organization_has_so_many_keys_and_no_more(
    master: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MAX_KEYS", 2)
    made = read(master.post("/v1/keys", {"label": "second"}), 201)
    problem(master.post("/v1/keys", {"label": "third"}), 409, "limit_reached")
    # Those of test mode are counted apart: they keep no live one from being made or replaced.
    for _ in range(2):
        tester = Caller(read(master.post("/v1/keys", {"label": "t", "mode": "test"}), 201)["secret"])
    problem(master.post("/v1/keys", {"label": "t", "mode": "test"}), 409, "limit_reached")
    assert read(tester.get("/v1/me"))["mode"] == "test"
    assert master.delete(f"/v1/keys/{made['id']}").status_code == 204
    read(master.post("/v1/keys", {"label": "third"}), 201)


def test_the_log_tells_of_a_key_that_ends(world: SmallWorld, master: Caller) -> None:
    ends_at = (clock.now() + timedelta(days=40)).isoformat().replace("+00:00", "Z")
    made = read(master.post("/v1/keys", {"label": "stock", "expires_at": ends_at}), 201)
    keys_told.announce_expiring(at=clock.now() + timedelta(days=33, hours=1))
    outbox.stamp_positions()
    [event] = read(master.get("/v1/events"))["data"]
    assert event["type"] == "api_key.expiring"
    assert (event["data"]["key_id"], event["data"]["days"]) == (made["id"], 7)
    assert event["data"]["expires_at"] == made["expires_at"]
