"""What every call shares: tags, merge patches, dry runs, calls that end, and the shape of what no view answers."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import clock
from storefront.api import conditions, parsing
from storefront.api.deprecations import NOTICE, Deprecation
from storefront.api.fields import Members, Names, Text, Whole, read_patch
from storefront.api.views import ANY_KEY, VendorView
from tests.api.conftest import Caller, SmallWorld, pointers, problem


class Size(Members):
    width = Whole()
    height = Whole(required=False, default=0)


class Thing(Members):
    output_only: ClassVar = {"state": "It follows from what you do."}

    name = Text(max_length=10)
    note = Text(required=False, default="")
    size = Size(required=False)
    tags = serializers.ListField(child=Text(), required=False, default=list)


class ThingQuery(Members):
    include = Names(("issues", "decisions"), required=False, default=())


CURRENT = {"name": "one", "note": "kept", "size": {"width": 1, "height": 2}, "tags": ["a"]}


class ThingView(VendorView):
    scopes: ClassVar = {"GET": ANY_KEY, "PATCH": ANY_KEY, "DELETE": ANY_KEY}
    queries: ClassVar = {"GET": ThingQuery}
    deprecated: ClassVar[dict[str, Deprecation]] = {}
    versions: ClassVar = [1, 7]

    def get(self, request: Request) -> Response:
        shown = {"include": list(self.query["include"])}
        return conditions.conditional(request, conditions.version_etag(*self.versions), shown)

    def patch(self, request: Request) -> Response:
        etag = conditions.version_etag(*self.versions)
        conditions.check_preconditions(request, lambda: etag, what="thing")
        changed, named = read_patch(request, CURRENT, Thing)
        return Response({"changed": changed, "named": sorted(named)})

    def delete(self, request: Request) -> Response:
        conditions.check_preconditions(request, lambda: None, what="thing")
        return Response(status=204)


class ThingCaller:
    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __call__(
        self, method: str, path: str = "/v1/thing", body: Any = None, **headers: str
    ) -> HttpResponse:
        headers.setdefault("Content-Type", "application/merge-patch+json")
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        request = RequestFactory().generic(
            method,
            path,
            raw,
            content_type=headers.pop("Content-Type"),
            headers={"Authorization": f"Bearer {self.secret}", **headers},
        )
        response: HttpResponse = ThingView.as_view()(request)
        return response.render() if isinstance(response, Response) else response


@pytest.fixture
def thing(api: Caller) -> ThingCaller:
    return ThingCaller(api.secret)


def code_of(response: HttpResponse) -> tuple[int, str]:
    return response.status_code, json.loads(response.content).get("code", "")


# --- tags -------------------------------------------------------------------------------------------------------


def test_a_tag_is_strong_and_follows_the_versions(thing: ThingCaller) -> None:
    first = thing("GET")
    assert first["ETag"].startswith('"')
    assert conditions.version_etag(1, 7) == first["ETag"] != conditions.version_etag(17)
    # The same rows, looked at in another way.
    assert thing("GET", "/v1/thing?include=issues")["ETag"] == first["ETag"]
    for header in (first["ETag"], f'"x", {first["ETag"]}', f"W/{first['ETag']}", "*"):
        unchanged = thing("GET", **{"If-None-Match": header})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged["ETag"] == first["ETag"]
    assert thing("GET", **{"If-None-Match": '"x"'}).status_code == 200


def test_a_write_on_what_is_not_there_any_more(thing: ThingCaller) -> None:
    etag = thing("GET")["ETag"]
    for header in (etag, "*", f'"x", {etag}'):
        assert thing("PATCH", body={}, **{"If-Match": header}).status_code == 200
    # A weak tag never says that it is the same (RFC 9110, section 13.1.1).
    for headers in ({"If-Match": '"x"'}, {"If-Match": f"W/{etag}"}, {"If-None-Match": "*"}):
        assert code_of(thing("PATCH", body={}, **headers)) == (412, "version_conflict")
    assert code_of(thing("DELETE", **{"If-Match": "*"})) == (412, "version_conflict")
    assert thing("DELETE", **{"If-None-Match": "*"}).status_code == 204


# --- merge patch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    # RFC 7396, appendix A.
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_standard(target: Any, patch: Any, result: Any) -> None:
    before = json.dumps(target)
    assert parsing.merge_patch(target, patch) == result
    assert json.dumps(target) == before


def test_a_patch_changes_what_it_names(thing: ThingCaller) -> None:
    answer = thing("PATCH", body={"note": None, "size": {"height": 9}, "tags": ["b"]})
    assert json.loads(answer.content) == {
        "changed": {"name": "one", "note": "", "size": {"width": 1, "height": 9}, "tags": ["b"]},
        "named": ["note", "size", "tags"],
    }


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"name": 7}, "/name"),
        ({"other": 1}, "/other"),
        ({"other": None}, "/other"),
        ({"state": None}, "/state"),
        ({"size": {"width": None}}, "/size/width"),
        ({"size": {"depth": None}}, "/size/depth"),
        (["name"], ""),
        (b"null", ""),
        (b"", ""),
        (b"{", ""),
    ],
)
def test_a_patch_that_makes_no_whole(thing: ThingCaller, patch: Any, pointer: str) -> None:
    answer = thing("PATCH", body=patch)
    assert code_of(answer) == (400, "invalid_request")
    assert pointers(json.loads(answer.content)) == {pointer}


def test_a_patch_is_of_one_type_only(thing: ThingCaller) -> None:
    for content_type in ("application/json", "application/json-patch+json", "text/plain"):
        answer = thing("PATCH", body={}, **{"Content-Type": content_type})
        assert code_of(answer) == (415, "unsupported_media_type")
        assert answer["Accept-Patch"] == "application/merge-patch+json"
    charset = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    assert thing("PATCH", body={}, **charset).status_code == 200


def test_other_methods_say_what_they_read(world: SmallWorld, api: Caller) -> None:
    merge = {"Content-Type": "application/merge-patch+json"}
    answer = api.call("PUT", "/v1/listings/A-1", world.body(), **merge)
    assert "application/json" in problem(answer, 415, "unsupported_media_type")["detail"]
    assert answer["Accept"] == "application/json"


# --- what is shown along ------------------------------------------------------------------------------------------


def test_include_takes_names_from_a_list(thing: ThingCaller) -> None:
    shown = json.loads(thing("GET", "/v1/thing?include=decisions,issues,decisions").content)
    assert shown == {"include": ["decisions", "issues"]}
    for wrong in ("other", "issues,", "issues,%20decisions", "issues.more"):
        answer = thing("GET", f"/v1/thing?include={wrong}")
        assert code_of(answer) == (400, "invalid_request")
        assert pointers(json.loads(answer.content)) == {"/include"}


# --- calls that end ---------------------------------------------------------------------------------------------

SINCE = datetime(2027, 1, 1, tzinfo=UTC)


def test_how_an_end_is_announced() -> None:
    told = Deprecation(since=SINCE, sunset=SINCE + NOTICE, successor="/v1/other").headers()
    # RFC 9745: a date of structured fields; RFC 8594: an HTTP date.
    assert told["Deprecation"] == "@1798761600"
    assert told["Sunset"] == "Wed, 30 Jun 2027 00:00:00 GMT"
    assert '</v1/other>; rel="successor-version"' in told["Link"]


def test_a_call_that_ends_says_so_and_ends_on_that_day(
    thing: ThingCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = clock.machine_now()
    ending = Deprecation(since=at - NOTICE, sunset=at + timedelta(seconds=30), successor="/v1/other")
    monkeypatch.setattr(ThingView, "deprecated", {"GET": ending})
    monkeypatch.setattr(clock, "machine_now", lambda: at)
    answer = thing("GET")
    assert answer.status_code == 200
    assert answer.headers.items() >= ending.headers().items()
    assert "Deprecation" not in thing("DELETE")
    monkeypatch.setattr(clock, "machine_now", lambda: ending.sunset)
    answer = thing("GET")
    assert code_of(answer) == (410, "call_ended")
    assert json.loads(answer.content)["successor"] == "/v1/other"
    assert answer["Sunset"] == ending.headers()["Sunset"]


def test_who_still_calls_it_can_be_found(
    thing: ThingCaller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ending = Deprecation(since=SINCE, sunset=SINCE + NOTICE, successor="/v1/other")
    monkeypatch.setattr(ThingView, "deprecated", {"GET": ending})
    with caplog.at_level(logging.INFO, logger="storefront.api.views"):
        thing("GET")
    said = [record for record in caplog.records if record.getMessage() == "api.deprecated_call"]
    assert [(r.caller, r.path) for r in said] == [("vendor:vendor-one", "/v1/thing")]  # type: ignore[attr-defined]


def test_no_call_ends_without_notice() -> None:
    with pytest.raises(ValueError, match="180 days"):
        Deprecation(since=SINCE, sunset=SINCE + timedelta(days=179), successor="/v1/other")
    with pytest.raises(ValueError, match="time zone"):
        Deprecation(since=datetime(2027, 1, 1), sunset=SINCE, successor="/v1/other")  # noqa: DTZ001
