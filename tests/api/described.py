"""Holds each answer of the API against the description, more strictly than clients are asked to read it.

Here an answer may have no member and no word that is not described: the description would be behind the code.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from storefront.api.description import describe

PROBLEM_JSON = "application/problem+json"


@dataclass
class Description:
    document: dict[str, Any]
    patterns: list[tuple[re.Pattern[str], str]] = field(default_factory=list)
    strict: dict[str, Any] = field(default_factory=dict)
    validators: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Parts in braces last: `/v1/feeds/{id}` must not take what another path names.
        paths = sorted(
            self.document["paths"], key=lambda path: [part[0] == "{" for part in path[1:].split("/")]
        )
        for path in paths:
            parts = [r"[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")]
            self.patterns.append((re.compile("/".join(parts)), path))
        self.strict = {"schemas": {name: strictly(schema) for name, schema in self._schemas()}}

    def _schemas(self) -> Iterator[tuple[str, Any]]:
        yield from self.document["components"]["schemas"].items()

    def item_of(self, path: str) -> Mapping[str, Any] | None:
        return next(
            (self.document["paths"][name] for form, name in self.patterns if form.fullmatch(path)), None
        )

    def faults_of(self, schema: Mapping[str, Any], value: Any, *, is_answer: bool = True) -> list[str]:
        """What in the value is not as the schema has it."""
        key = json.dumps([schema, is_answer], sort_keys=True)
        if key not in self.validators:
            components = self.strict if is_answer else {"schemas": dict(self._schemas())}
            whole = {**(strictly(schema) if is_answer else schema), "components": components}
            self.validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return [
            f"{'/'.join(map(str, error.instance_path))}: {error.message}"
            for error in self.validators[key].iter_errors(value)
        ]

    def faults_of_event(self, event: Mapping[str, Any]) -> list[str]:
        """What in an event is not as the webhook of its type has it."""
        body = self.document["webhooks"][event["type"]]["post"]["requestBody"]["content"]["application/json"]
        return [f"{event['type']}: {fault}" for fault in self.faults_of(body["schema"], event)]

    def answer_of(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in answer:
            answer = self.document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        return answer


def strictly(schema: Any) -> Any:
    """The schema without the leave to add members and words."""
    if isinstance(schema, list):
        return [strictly(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strictly(inner) for name, inner in schema.items() if name not in ("example", "examples")}
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    if "x-extensible-enum" in made:
        made["enum"] = copy.copy(made["x-extensible-enum"])
    return made


@cache
def description() -> Description:
    return Description(describe())


def check(method: str, url: str, sent: Any, response: HttpResponseBase) -> None:
    """Fails where an answer, or a request that was taken, is not as described."""
    if method in ("HEAD", "OPTIONS") or not isinstance(response, HttpResponse):
        return
    faults = faults_of_answer(method, url, sent, response)
    assert not faults, f"{method} {url}, {response.status_code}: " + "; ".join(faults)


def faults_of_answer(method: str, url: str, sent: Any, response: HttpResponse) -> list[str]:
    split = urlsplit(url)
    return list(_faults(method, split.path, dict(parse_qsl(split.query)), sent, response))


def _faults(
    method: str, path: str, query: Mapping[str, str], sent: Any, response: HttpResponse
) -> Iterator[str]:
    said = description()
    item = said.item_of(path)
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if item is None or method.lower() not in item:
        if media_type == PROBLEM_JSON:
            yield from said.faults_of({"$ref": "#/components/schemas/Problem"}, json.loads(response.content))
        return
    operation = item[method.lower()]
    answer = operation["responses"].get(str(response.status_code))
    if answer is None:
        yield f"this status is not described (known: {', '.join(operation['responses'])})"
        return
    answer = said.answer_of(answer)
    yield from _faults_of_headers(answer, response)
    content = answer.get("content", {})
    if not content and response.content:
        yield "a body is not described"
    if not content:
        return
    if media_type not in content:
        yield f"the type {media_type} is not described (known: {', '.join(content)})"
        return
    if not media_type.endswith("json"):
        return
    body = json.loads(response.content)
    if query.get("validate_only") == "true" and isinstance(body, dict) and body.get("validate_only") is True:
        # Every answer to a dry run has it; the parameter says so.
        body = {name: value for name, value in body.items() if name != "validate_only"}
    yield from said.faults_of(content[media_type]["schema"], body)
    if media_type == PROBLEM_JSON and body["code"] not in answer["x-problem-codes"]:
        yield f"the code {body['code']} is not described here (known: {', '.join(answer['x-problem-codes'])})"
    if path == "/v1/events" and response.status_code == 200:
        for event in body["data"]:
            yield from said.faults_of_event(event)
    if response.status_code < 300 and isinstance(sent, dict | list):
        yield from _faults_of_request(operation, query, sent)


def _faults_of_headers(answer: Mapping[str, Any], response: HttpResponse) -> Iterator[str]:
    if "Request-Id" not in response.headers:
        yield "it has no Request-Id"
    known = {
        "Location",
        "ETag",
        "Retry-After",
        "Deprecation",
        "Sunset",
        "RateLimit",
        "RateLimit-Policy",
        "Allow",
    }
    extra = [
        name
        for name in known - {"Allow"}
        if name in response.headers and name not in answer.get("headers", {})
    ]
    if extra:
        yield f"the headers {', '.join(sorted(extra))} are not described"


def _faults_of_request(operation: Mapping[str, Any], query: Mapping[str, str], sent: Any) -> Iterator[str]:
    described = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    if unknown := sorted(query.keys() - described):
        yield f"the parameters {', '.join(unknown)} were taken and are not described"
    content = operation.get("requestBody", {}).get("content", {})
    media = next((inner for name, inner in content.items() if name.endswith("json")), None)
    if media is not None:
        found = description().faults_of(media["schema"], sent, is_answer=False)
        yield from (f"a body was taken that is not described: {fault}" for fault in found)
