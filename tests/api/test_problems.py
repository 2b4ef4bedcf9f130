"""Every error has the one shape, also those that no view sees."""

import json
from typing import Any, cast

import pytest
from django.db import InterfaceError, InternalError, OperationalError
from django.http import HttpResponse
from django.test import override_settings

from authorization.decisions import InvalidQuestion
from storefront.api import account, listing_output
from storefront.api.problem_types import PROBLEM_TYPES
from storefront.api.problems import field_errors, json_pointer
from storefront.api.times import rfc3339
from tests.api.conftest import Caller, SmallWorld, pointers, problem


def test_an_unknown_path(stranger: Caller, db: None) -> None:
    assert problem(stranger.get("/v1/nothing"), 404, "not_found")["instance"] == "/v1/nothing"
    problem(stranger.get("/v1/"), 404, "not_found")
    problem(stranger.get("/v1/listings/"), 404, "not_found")
    problem(stranger.get("/v1/problems/nothing"), 404, "not_found")


def test_other_paths_keep_their_own_errors(stranger: Caller, db: None) -> None:
    assert stranger.get("/v10/nothing")["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(("field", "pointer"), [("software", "/software"), ("variant_id", "/variant")])
def test_a_question_that_the_engine_refuses_is_a_fault_of_the_request(
    world: SmallWorld, api: Caller, monkeypatch: pytest.MonkeyPatch, field: str, pointer: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InvalidQuestion(field, "It names nothing; choose another.")

    api.put("/v1/listings/A-1", world.body())
    monkeypatch.setattr(listing_output, "decide_offers", refuse)
    shown = problem(api.get("/v1/listings/A-1"), 400, "invalid_request")
    assert [(error["in"], error["pointer"], error["detail"]) for error in shown["errors"]] == [
        ("query", pointer, "It names nothing; choose another.")
    ]


def test_a_method_that_the_path_lacks(api: Caller) -> None:
    response = api.post("/v1/listings", {})
    problem(response, 405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD, OPTIONS"
    problem(api.call("PATCH", "/v1/me", {}), 405, "method_not_allowed")
    problem(api.post("/v1/problems"), 405, "method_not_allowed")


def test_an_answer_in_another_format(api: Caller) -> None:
    problem(api.get("/v1/me", Accept="text/html"), 406, "not_acceptable")
    assert api.get("/v1/me", Accept="text/html, */*;q=0.1").status_code == 200


def test_a_body_of_another_type(world: SmallWorld, api: Caller) -> None:
    for content_type in ("text/plain", "application/xml", "multipart/form-data; boundary=x", ""):
        response = api.put("/v1/listings/A-1", b"{}", **{"Content-Type": content_type})
        problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b"true",
        b"0",
        b'""',
        b'{"on_hand": NaN}',
        b'{"on_hand": Infinity}',
        b'{"on_hand": 1e999}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b'{"description": "\\u0000"}',
        b'{"description": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"\\u0000": 1}',
        b'{"on_hand": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"hosts": ' + b"[" * 100 + b"]" * 100 + b"}",
        "\ufeff{}".encode(),
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_a_malformed_body(world: SmallWorld, api: Caller, raw: bytes) -> None:
    body = problem(api.put("/v1/listings/A-1", raw), 400, "invalid_request")
    assert body["errors"]
    assert problem(api.get("/v1/listings/A-1"), 404, "not_found")


def test_a_body_over_the_limit(world: SmallWorld, api: Caller) -> None:
    body = problem(api.put("/v1/listings/A-1", b" " * 1_048_577), 413, "payload_too_large")
    assert "1048576" in body["detail"]


def test_a_body_in_chunks(world: SmallWorld, api: Caller) -> None:
    environ: Any = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    headers = {"Authorization": f"Bearer {api.secret}"}
    response = api.client.generic(
        "PUT", "/v1/listings/A-1", b"", content_type="application/json", headers=headers, **environ
    )
    problem(cast(HttpResponse, response), 411, "length_required")


def test_a_host_that_the_shop_does_not_answer_for(stranger: Caller, db: None) -> None:
    body = problem(stranger.get("/v1/me", Host="evil.example"), 400, "invalid_request")
    assert "evil.example" not in json.dumps(body)
    with override_settings(SECURE_SSL_REDIRECT=True):
        problem(Caller().get("/v1/me", Host="evil.example"), 400, "invalid_request")


def test_a_crash_tells_nothing_but_the_request_id(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(instant: Any) -> str:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(account, "rfc3339", crash)
    body = problem(api.get("/v1/me"), 500, "internal_error")
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError, InternalError])
def test_a_database_that_does_not_answer(
    api: Caller, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(instant: Any) -> str:
        raise kind("database is locked")

    monkeypatch.setattr(account, "rfc3339", fail)
    response = api.get("/v1/me")
    body = problem(response, 503, "temporarily_unavailable")
    assert response["Retry-After"] == "5"
    assert "locked" not in json.dumps(body)


@pytest.mark.parametrize("code", sorted(PROBLEM_TYPES))
def test_each_type_resolves_to_its_page(stranger: Caller, code: str) -> None:
    page = stranger.get(f"/v1/problems/{code}").content.decode()
    assert "`" not in page
    assert "shop/shop.css" in page
    assert code in page
    assert "What to do" in page


def test_the_type_of_a_problem_can_be_opened(stranger: Caller, db: None) -> None:
    body = problem(stranger.get("/v1/me"), 401, "unauthenticated")
    assert "Authorization: Bearer sk_live_" in body["detail"]
    url = body["type"]
    assert url == "http://testserver/v1/problems/unauthenticated"
    assert stranger.get(url.removeprefix("http://testserver")).status_code == 200


def test_every_route_refuses_unknown_parameters(world: SmallWorld, api: Caller) -> None:
    api.put("/v1/listings/A-1", world.body())
    for method, path in [
        ("GET", "/v1/me"),
        ("GET", "/v1/hosts"),
        ("GET", "/v1/variants"),
        ("GET", "/v1/listings"),
        ("GET", "/v1/listings/A-1"),
        ("GET", "/v1/listings/A-1/decisions"),
        ("GET", "/v1/listing-restrictions"),
        ("POST", "/v1/listing-restrictions/query"),
        ("PUT", "/v1/listings/A-1"),
        ("POST", "/v1/listings/A-1/publish"),
        ("DELETE", "/v1/listings/A-1"),
    ]:
        body = problem(api.call(method, f"{path}?format=xml&region=US"), 400, "invalid_request")
        unknown = {(e["in"], e["pointer"]) for e in body["errors"] if e["code"] == "unknown_member"}
        assert unknown == {("query", "/format"), ("query", "/region")}


def test_parameters_that_are_no_text(world: SmallWorld, api: Caller) -> None:
    assert pointers(problem(api.get("/v1/listings?limit=1&limit=2"), 400, "invalid_request")) == {"/limit"}
    problem(api.get("/v1/variants?q=%00"), 400, "invalid_request")
    problem(api.get("/v1/variants?%00=1"), 400, "invalid_request")
    assert api.get("/v1/variants?q=%ff%fe").status_code == 200


def test_options_and_head(world: SmallWorld, api: Caller) -> None:
    options = api.call("OPTIONS", "/v1/listings/A-1")
    assert options.status_code == 204
    assert options["Allow"] == "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"
    head = api.call("HEAD", "/v1/variants?q=PX9&limit=1")
    assert head.status_code == 200
    assert head.content == b""


def test_answers_are_not_kept(api: Caller) -> None:
    response = api.get("/v1/me")
    assert response["Cache-Control"] == "private, no-cache"
    assert "Authorization" in response["Vary"]


def test_pointers_are_escaped() -> None:
    assert json_pointer(["a/b", "c~d", 0]) == "/a~1b/c~0d/0"
    nested = {"price": {"amount": ["wrong"]}, "hosts": {1: ["wrong"]}, "non_field_errors": ["all wrong"]}
    assert {error.pointer for error in field_errors(nested)} == {"/price/amount", "/hosts/1", ""}


def test_instants_end_in_z(world: SmallWorld) -> None:
    assert rfc3339(world.at).endswith("Z")
