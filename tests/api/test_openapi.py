"""The published description: true, whole, valid, and of use to a machine."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from openapi_spec_validator import OpenAPIV31SpecValidator

from authorization.rules import REASON_CODES
from storefront.api import description_words as words
from storefront.api.description import DescriptionFailed, _check_names, operations
from storefront.api.docs_pages import DESCRIPTION_FILE
from storefront.api.problem_types import PROBLEM_TYPES
from storefront.api.reason_pages import NEXT_STEPS, known_codes
from storefront.events import EVENT_TYPES
from storefront.management.commands.openapi import written
from tests.api import described
from tests.api.conftest import Caller, SmallWorld, problem

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return described.description().document


def test_the_committed_file_is_what_the_code_says(document: dict[str, Any]) -> None:
    """Else: ./dev manage openapi"""
    assert (settings.BASE_DIR / DESCRIPTION_FILE).read_text(encoding="utf-8") == written(document)


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.1"
    assert not [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    # Words of 3.0, which a validator of 3.1 takes for an extension.
    assert '"nullable"' not in json.dumps(document)


def test_every_call_says_who_may_make_it_and_what_is_answered(document: dict[str, Any]) -> None:
    for operation in operations(document):
        name = operation["operationId"]
        assert operation["summary"], name
        assert "takes a" in operation["description"], name
        assert operation["security"], name
        done = [status for status in operation["responses"] if status.startswith("2")]
        assert done, f"{name}: its view declares no answers"
        refused = {"400", "401", "403", "405", "406", "429", "500", "503"} - operation["responses"].keys()
        assert not refused, f"{name} does not describe {refused}"


def test_every_error_is_described_somewhere(document: dict[str, Any]) -> None:
    codes = {
        code for answer in document["components"]["responses"].values() for code in answer["x-problem-codes"]
    }
    # No call has ended yet.
    assert codes == PROBLEM_TYPES.keys() - {"call_ended"}


def test_every_example_is_as_described(document: dict[str, Any]) -> None:
    described_examples = 0
    items = [item for part in ("paths", "webhooks") for item in document[part].values()]
    answers = list(document["components"]["responses"].values())
    for operation in (operation for item in items for operation in item.values()):
        answers += [operation.get("requestBody", {}), *operation["responses"].values()]
    for media_type, media in (each for answer in answers for each in answer.get("content", {}).items()):
        if "json" not in media_type or "jsonl" in media_type:
            continue
        shown = (
            [media["example"]]
            if "example" in media
            else [each["value"] for each in media["examples"].values()]
        )
        for example in shown:
            described_examples += 1
            assert not described.description().faults_of(media["schema"], example), example
    assert described_examples > len(operations(document))


def test_every_event_is_announced(document: dict[str, Any]) -> None:
    assert document["webhooks"].keys() == {*EVENT_TYPES, "webhook.ping"}
    assert not set(EVENT_TYPES) - words.EVENTS.keys(), "give it a line in description_words.EVENTS"
    members = {member for members in EVENT_TYPES.values() for member in members}
    assert not members - words.EVENT_MEMBERS.keys(), "say what it is in description_words.EVENT_MEMBERS"


def test_two_calls_of_one_name_are_refused() -> None:
    twice = {"get": {"operationId": "get_listing"}}
    with pytest.raises(DescriptionFailed, match="get_listing"):
        _check_names({"paths": {"/v1/a": twice, "/v1/b": twice}})


def test_a_member_that_is_not_described_is_found(world: SmallWorld, api: Caller) -> None:
    """The guard of all tests of the API: what it would say of an answer that has more than the description."""
    response = api.get("/v1/me")
    body = json.loads(response.content)
    response.content = json.dumps({**body, "surprise": 1}).encode()
    assert any("surprise" in fault for fault in described.faults_of_answer("GET", "/v1/me", None, response))
    response.content = json.dumps({**body, "scopes": ["made:up"]}).encode()
    assert any("made:up" in fault for fault in described.faults_of_answer("GET", "/v1/me", None, response))
    response.status_code = 418
    assert any(
        "not described" in fault for fault in described.faults_of_answer("GET", "/v1/me", None, response)
    )


# --- pages ----------------------------------------------------------------------------------------------------


def test_the_description_is_served(stranger: Caller, document: dict[str, Any]) -> None:
    response = stranger.get("/v1/openapi.json")
    assert json.loads(response.content) == document
    assert stranger.get("/v1/openapi.json", **{"If-None-Match": response["ETag"]}).status_code == 304
    problem(stranger.post("/v1/openapi.json"), 405, "method_not_allowed")


def test_the_page_of_all_calls_loads_what_is_ours_only(stranger: Caller) -> None:
    response = stranger.get("/v1/docs")
    page = response.content.decode()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any("swagger-ui-bundle" in address for address in addresses)
    assert all(address.startswith("/") and not address.startswith("//") for address in addresses)
    # Nothing stands in the page that the content policy would have to let pass.
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|onload=", page)
    assert "script-src 'self'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]


def test_every_reason_has_a_page_that_names_calls_that_exist(
    stranger: Caller, document: dict[str, Any]
) -> None:
    assert NEXT_STEPS.keys() == known_codes().keys() >= REASON_CODES.keys()
    calls = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    calls = {re.sub(r"{\w+}", "{}", call) for call in calls}
    index = stranger.get("/v1/reasons").content.decode()
    for code, step in NEXT_STEPS.items():
        page = stranger.get(f"/v1/reasons/{code}").content.decode()
        assert "What to do next" in page
        assert code in index
        named = {re.sub(r"{\w+}", "{}", call.partition("?")[0]) for call in step.calls}
        assert not named - calls, code
    problem(stranger.get("/v1/reasons/NOBODY_KNOWS"), 404, "not_found")


# --- a client made from it --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client_package(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a vendor's engineer gets from the description with a generator of clients."""
    folder = tmp_path_factory.mktemp("client")
    source, made = folder / "openapi.json", folder / "clearline_client"
    # What makes no code would only be copied about.
    source.write_text(json.dumps(_without(document, {"links", "example", "examples"})), encoding="utf-8")
    config = folder / "config.json"
    # As docs/openapi.md says; and its code is not tidied, because nobody reads it here.
    files = dict.fromkeys(("application/jsonl", "text/csv"), "application/octet-stream")
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": files}), encoding="utf-8")
    generator = Path(sys.executable).parent / "openapi-python-client"
    words_of_command = [
        str(generator),
        "generate",
        "--meta",
        "none",
        "--path",
        str(source),
        "--config",
        str(config),
    ]
    done = subprocess.run(
        [*words_of_command, "--output-path", str(made)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module(made.name)
    sys.path.remove(str(folder))
    shutil.rmtree(folder)


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, list):
        return [_without(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    # A member of that name is a schema; what is left out is a list or has examples in it.
    return {
        name: _without(inner, names) for name, inner in value.items() if name not in names or "type" in inner
    }


def answer_to(request: httpx.Request, caller: Caller) -> httpx.Response:
    """What the API answers to this request, without a network."""
    path = request.url.raw_path.decode()
    response = caller.call(request.method, path, request.read() or None, **request.headers)
    return httpx.Response(response.status_code, headers=dict(response.headers), content=response.content)


def test_a_generated_client_lists_a_device(world: SmallWorld, api: Caller, client_package: Any) -> None:
    name = client_package.__name__
    calls = {
        call: importlib.import_module(f"{name}.api.{tag}.{call}")
        for tag, call in (
            ("variants", "list_variants"),
            ("listings", "put_listing"),
            ("listings", "publish_listing"),
            ("listings", "get_listing"),
        )
    }
    models = importlib.import_module(f"{name}.models")
    client = client_package.AuthenticatedClient(
        base_url="http://testserver",
        token=api.secret,
        httpx_args={"transport": httpx.MockTransport(lambda request: answer_to(request, api))},
        raise_on_unexpected_status=True,
    )
    found = calls["list_variants"].sync(client=client, q="PX9-U1")
    [variant] = found.data
    body = models.ListingBody.from_dict(world.body(variant=variant.variant))
    saved = calls["put_listing"].sync_detailed("A-1", client=client, body=body)
    assert saved.status_code == 201
    published = calls["publish_listing"].sync("A-1", client=client, body=models.Empty())
    assert [result.is_live for result in published.results] == [True]
    shown = calls["get_listing"].sync("A-1", client=client)
    assert (shown.status, shown.price.amount) == ("LIVE", "199.00")
    # An error comes as the model of errors, not as an exception.
    missing = calls["get_listing"].sync("NOT-MINE", client=client)
    assert (missing.code, missing.status) == ("not_found", 404)
