"""The published description of the API (OpenAPI 3.1), made from what the views declare.

drf-spectacular walks the routes and turns serializers into schemas. Who may call, with which scope, query, body and
answers stands on each view (storefront.api.views.KeyedView), which works by the same declarations, so that the two
cannot part. `manage.py openapi` writes the description to docs/openapi.json; a test compares.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import patched_settings
from rest_framework import serializers

from storefront.api import fields, verdicts
from storefront.api.description_examples import add_examples
from storefront.api.description_links import add_links
from storefront.api.description_words import (
    DESCRIPTION,
    EVENT_MEMBERS,
    EVENTS,
    HEADERS,
    PARAMETERS,
    PING_MEMBERS,
    REQUEST_HEADERS,
    SECURITY_SCHEME,
    TITLE,
    VERSION,
    WEBHOOK_HEADERS,
    WEBHOOK_WORDS,
    WHOSE_KEYS,
)
from storefront.api.event_shapes import EventShape
from storefront.api.problem_shapes import ProblemShape
from storefront.api.problem_types import PROBLEM_TYPES
from storefront.api.problems import PROBLEM_JSON
from storefront.api.shapes import FileShape, OpenEnum
from storefront.api.views import ANY_KEY, KeyedView
from storefront.events import EVENT_TYPES

_JSON = "application/json"
_SETTINGS = {
    # No view reads a request to say what it takes.
    "GET_MOCK_REQUEST": lambda method, path, view, original: None,
    "OAS_VERSION": "3.1.1",
    "TITLE": TITLE,
    "VERSION": VERSION,
    "DESCRIPTION": DESCRIPTION,
    "SCHEMA_PATH_PREFIX": "/v1",
    # Words that stand in few places are said in place: a shared component of them would be renamed by the next one.
    "POSTPROCESSING_HOOKS": [],
    "SORT_OPERATION_PARAMETERS": False,
    "AUTHENTICATION_WHITELIST": [],
    "SERVERS": [{"url": "/", "description": "The shop that this description was read from."}],
}
# What any call may come to, whatever it does.
_ALWAYS = ("unauthenticated", "not_for_this_key", "missing_scope", "not_acceptable", "method_not_allowed")
_FAULTS = ("quota_exceeded", "internal_error", "temporarily_unavailable")
_WITH_BODY = ("payload_too_large", "unsupported_media_type", "length_required")
_WITH_KEY = ("idempotency_in_progress", "idempotency_key_reused")


class DescriptionFailed(Exception):
    """Something is declared that cannot be described."""


class ViewSchema(AutoSchema):
    """One operation, read off the declarations of its view."""

    view: KeyedView  # type: ignore[override]

    def __init__(self, responses: dict[str, Any]) -> None:
        super().__init__()
        # Of the whole description: answers that many operations share.
        self.responses = responses

    # --- what it is called and what is said of it ---

    def get_operation_id(self) -> str:
        given: Mapping[str, str] = getattr(self.view, "operation_ids", {})
        return given.get(self.method) or _operation_id(
            self.method, self.path, is_page=self._answers_with_page
        )

    def get_tags(self) -> list[str]:
        return [self.path.split("/")[2].replace("-", " ").capitalize()]

    def get_summary(self) -> str | None:
        return self._words()[0]

    def get_description(self) -> str:  # type: ignore[override]
        scope = self.view.scopes.get(self.method, "")
        needs = "any key" if scope == ANY_KEY else f"a key with the scope `{scope}`"
        whose = " and ".join(WHOSE_KEYS[kind] for kind in self.view.kinds_for(self.method))
        who = f"For {whose}; takes {needs}."
        return "\n\n".join(part for part in (self._words()[1], who) if part)

    def _words(self) -> tuple[str, str]:
        """The first paragraph of the handler's docstring, or of its view's own, and the rest."""
        handler = getattr(self.view, self.method.lower())
        text = handler.__doc__ or type(self.view).__dict__.get("__doc__") or ""
        head, _, rest = inspect.cleandoc(text).partition("\n\n")
        return " ".join(head.split()), rest

    def get_auth(self) -> list[dict[str, list[str]]]:
        scope = self.view.scopes.get(self.method, "")
        return [{"key": [] if scope == ANY_KEY else [scope]}]

    def is_deprecated(self) -> bool:
        return self.method in self.view.deprecated

    # --- what is sent ---

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters = [
            self._path_parameter(each) for each in self._resolve_path_parameters(self._path_names())
        ]
        parameters += self._query_parameters(self.view.query_members(self.method)())
        wanted = list(getattr(self.view, "request_headers", {}).get(self.method, ()))
        if self._is_repeatable:
            wanted.append("Idempotency-Key")
        for name in wanted:
            is_required = name == "Idempotency-Key" and self.view.needs_idempotency_key
            parameters.append(
                {"in": "header", "name": name, **REQUEST_HEADERS[name], "required": is_required}
            )
        return parameters

    @property
    def _is_repeatable(self) -> bool:
        """Does it take an Idempotency-Key?"""
        return self.method == "POST" and not self.view.is_question

    def _path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    def _path_parameter(self, parameter: dict[str, Any]) -> dict[str, Any]:
        said = PARAMETERS.get(parameter["name"], {})
        return {
            **parameter,
            **({"description": said["description"]} if "description" in said else {}),
            "schema": {**parameter["schema"], **said.get("schema", {})},
        }

    def _query_parameters(self, members: fields.Members) -> list[dict[str, Any]]:
        found = []
        for name, field in members.fields.items():
            schema = self._map_serializer_field(field, "request")
            self._insert_field_validators(field, schema)
            parameter = {"in": "query", "name": name, "required": field.required, "schema": schema}
            if "description" in schema:
                parameter["description"] = schema.pop("description")
            elif name in PARAMETERS:
                parameter["description"] = PARAMETERS[name]["description"]
            found.append(parameter)
        return found

    def get_request_serializer(self) -> Any:
        members = self.view.bodies.get(self.method)
        if members is None:
            return {}
        if self.method == "PATCH":
            return {"application/merge-patch+json": members}
        given: Mapping[str, Mapping[str, Any]] = getattr(self.view, "body_types", {})
        return dict(given.get(self.method) or {_JSON: members})

    def _get_request_for_media_type(self, serializer: Any, direction: str = "request") -> tuple[Any, bool]:
        if isinstance(serializer, dict):
            return serializer, True
        schema, is_required = super()._get_request_for_media_type(serializer, direction)
        return schema, is_required or self.method != "POST"

    # --- what is answered ---

    @property
    def _answers_with_page(self) -> bool:
        shape = self.view.answers.get(self.method, {}).get(200)
        return shape is not None and "has_more" in shape().fields

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        found = {}
        answers = dict(self.view.answers.get(self.method, {}))
        for status in (201, 202):
            if status in answers and self._takes_dry_run:
                # Of a dry run nothing is made or begun.
                answers.setdefault(200, answers[status])
        for status, shape in answers.items():
            found[str(status)] = self._answer(status, shape, direction)
        for status, codes in self._problems().items():
            found[str(status)] = {"$ref": f"#/components/responses/{self._share(status, codes)}"}
        return dict(sorted(found.items()))

    @property
    def _takes_dry_run(self) -> bool:
        return "validate_only" in self.view.query_members(self.method)().fields

    def _answer(self, status: int, shape: type[serializers.Serializer[Any]] | None, direction: str) -> Any:
        answer: dict[str, Any] = {
            "description": _ANSWER_WORDS.get(status, "Done."),
            "headers": self._headers(status),
        }
        if shape is None:
            return answer
        if issubclass(shape, FileShape):
            answer["description"] = shape.words
            content: dict[str, Any] = {"schema": {"type": "string"}}
            if shape.example:
                content["example"] = shape.example
            answer["content"] = dict.fromkeys(shape.media_types, content)
            return answer
        component = self.resolve_serializer(shape, cast(Any, direction))
        schema = component.ref if component else {"type": "object"}
        return {**answer, "content": {_JSON: {"schema": schema}}}

    def _headers(self, status: int) -> dict[str, Any]:
        named: Iterable[str] = self.view.answer_headers.get(self.method, {}).get(status, ())
        names = ["Request-Id", "RateLimit-Policy", "RateLimit", *named]
        if status == 201 or (status == 202 and "Location" in named):
            names.append("Location")
        if self._is_repeatable:
            names.append("Idempotent-Replayed")
        if self.method in self.view.deprecated:
            names += ["Deprecation", "Sunset"]
        return {name: {"$ref": f"#/components/headers/{name}"} for name in dict.fromkeys(names)}

    def _problems(self) -> dict[int, list[str]]:
        """By status, the codes of all problems that this operation may be answered with."""
        codes = {
            *_ALWAYS,
            *_FAULTS,
            *getattr(self.view, "problems", {}).get(self.method, ()),
            "invalid_request",
        }
        if self._path_names():
            codes.add("not_found")
        if self.method in self.view.bodies:
            codes.update(_WITH_BODY)
        if self._is_repeatable:
            codes.update(_WITH_KEY)
            if self.view.needs_idempotency_key:
                codes.add("idempotency_key_required")
        if self.method in self.view.deprecated:
            codes.add("call_ended")
        found: dict[int, list[str]] = {}
        for code, problem_type in PROBLEM_TYPES.items():
            if code in codes:
                found.setdefault(problem_type.status, []).append(code)
        return found

    def _share(self, status: int, codes: list[str]) -> str:
        name = "Or".join("".join(part.capitalize() for part in code.split("_")) for code in codes)
        self.responses.setdefault(name, _problem_answer(status, codes))
        return name

    # --- schemas ---

    def get_serializer_name(self, serializer: Any, direction: str) -> str:
        if type(serializer) is fields.Members:
            return "Empty"
        name = type(serializer).__name__
        if isinstance(serializer, fields.Members) and not name.endswith(("Body", "Form")):
            # What is sent and what is answered of one thing are two.
            return f"{name}Body"
        return name.removesuffix("Shape")

    def _map_basic_serializer(self, serializer: Any, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)
        schema.pop("description", None)
        if doc := _own_doc(type(serializer)):
            schema["description"] = doc
        if isinstance(serializer, fields.Members):
            # What nobody knows is refused, never ignored.
            schema["additionalProperties"] = False
        return schema

    def _map_serializer_field(self, field: Any, direction: str, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)
        if isinstance(field, serializers.ListField) and any(
            isinstance(validator, fields.Distinct) for validator in field.validators
        ):
            schema["uniqueItems"] = True
        if isinstance(field, serializers.ListField) and not field.allow_empty:
            schema["minItems"] = max(1, field.min_length or 0)
        if isinstance(field, OpenEnum):
            schema["x-extensible-enum"] = list(field.known)
            if field.allow_null:
                schema["x-extensible-enum"].append(None)
        elif isinstance(field, fields.OneOf):
            schema = {"type": "string", **schema}
            schema.pop("description", None)
            if field.help_text:
                schema["description"] = str(field.help_text)
        elif isinstance(field, fields.Amount):
            schema["pattern"] = r"^([1-9][0-9]{0,9}(\.[0-9]{1,2})?|0\.(0[1-9]|[1-9][0-9]?))$"
        elif isinstance(field, fields.Names):
            one_of = "|".join(field.known)
            schema["pattern"] = f"^({one_of})(,({one_of}))*$"
        elif isinstance(field, fields.Since):
            instant = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
            schema["pattern"] = f"^([0-9]{{1,18}}|{instant})$"
        elif isinstance(field, serializers.FileField):
            schema["format"] = "binary"
        elif type(field) is serializers.JSONField and direction == "request" and not field.allow_null:
            schema["type"] = ["object", "array", "string", "number", "boolean"]
        elif isinstance(field, verdicts.Day):
            schema["format"] = "date"
        elif isinstance(field, fields.Pattern):
            schema["pattern"] = f"^({field.pattern.pattern})$"
            schema.setdefault("description", field.hint)
        elif isinstance(field, fields.Instant):
            schema["format"] = "date-time"
        elif isinstance(field, fields.Text):
            # No database keeps a NUL.
            schema["pattern"] = r"^[^\u0000]*$"
        if isinstance(field, fields.Text) and not field.allow_blank:
            schema.setdefault("minLength", 1)
            if schema.get("default") == "":
                # What stands for "nothing was sent" cannot be sent.
                del schema["default"]
        return schema

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        pattern = schema.get("pattern") if isinstance(field, fields.Text) else None
        if pattern == r"^[^\u0000]*$":
            # It takes the empty text too: nothing is to be said apart of that.
            schema.pop("pattern")
        super()._insert_field_validators(field, schema)
        if pattern == r"^[^\u0000]*$":
            schema["pattern"] = pattern


_ANSWER_WORDS = {
    200: "Done.",
    201: "Made.",
    202: "Taken on; it is done in the background.",
    204: "Done; there is nothing to say.",
    207: "One result per row: some may have failed.",
    304: "It is what you have: your If-None-Match holds.",
}


def _own_doc(serializer: type) -> str:
    """The first paragraph that is said of this class itself, or of a base of the same kind of thing."""
    text = serializer.__dict__.get("__doc__") or ""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


_PLURALS = re.compile(r"(?P<stem>.+?)(?P<end>ies|sses|xes|ches|s)$")
_SINGULAR_END = {"ies": "y", "sses": "ss", "xes": "x", "ches": "ch", "s": ""}


def _singular(word: str) -> str:
    found = _PLURALS.fullmatch(word)
    return found["stem"] + _SINGULAR_END[found["end"]] if found else word


def _operation_id(method: str, path: str, *, is_page: bool) -> str:
    """`get_listing`, `list_listings`, `publish_listing`: as the functions of a generated client are called."""
    segments = path.strip("/").split("/")[1:]
    ends_in_one = segments[-1].startswith("{")
    names = [segment.replace("-", "_") for segment in segments if not segment.startswith("{")]
    owners = [_singular(name) for name in names[:-1]]
    last = names[-1]
    if ends_in_one:
        return "_".join([method.lower(), *owners, _singular(last)])
    if method == "GET":
        return "_".join(["list" if is_page else "get", *owners, last])
    if method != "POST":
        return "_".join([method.lower(), *owners, last])
    if _singular(last) == last:
        return "_".join([last, *owners])
    return "_".join(["create", *owners, _singular(last)])


def _problem_answer(status: int, codes: list[str]) -> dict[str, Any]:
    headers = ["Request-Id"]
    if status == 401:
        headers.append("WWW-Authenticate")
    else:
        # Where the key is good, the call was counted.
        headers += ["RateLimit-Policy", "RateLimit"]
    if status == 405:
        headers.append("Allow")
    if status in (429, 503) or not {"idempotency_in_progress", "feed_not_ended"}.isdisjoint(codes):
        headers.append("Retry-After")
    return {
        "description": "\n".join(f"`{code}`: {PROBLEM_TYPES[code].title}." for code in codes),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {
            PROBLEM_JSON: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"value": _example_problem(code)} for code in codes},
            }
        },
        "x-problem-codes": codes,
    }


def _example_problem(code: str) -> dict[str, Any]:
    problem_type = PROBLEM_TYPES[code]
    return {
        "type": f"https://shop.example/v1/problems/{code}",
        "title": problem_type.title,
        "status": problem_type.status,
        "code": code,
        "detail": problem_type.meaning,
        "instance": "/v1/listings/PX9-128-BLK",
        "request_id": "5d6ae2e4-9d1e-4b1c-8c43-3c50a2f3a0fe",
    }


class _Generator(SchemaGenerator):
    def __init__(self) -> None:
        super().__init__(urlconf="storefront.urls")
        self.responses: dict[str, Any] = {}

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        view = super().create_view(callback, method, request)
        self._set_schema_to_view(view, ViewSchema(self.responses))
        return view


def describe() -> dict[str, Any]:
    """The whole description, as docs/openapi.json has it. Raises DescriptionFailed."""
    with patched_settings(_SETTINGS):
        generator = _Generator()
        # What many operations share, and no view names by itself.
        shared = ViewSchema(generator.responses)
        shared.registry = generator.registry
        shared.view = KeyedView()
        shared.view.request = None  # type: ignore[assignment]
        shared.method = "GET"
        for shape in (ProblemShape, EventShape):
            shared.resolve_serializer(shape, "response")
        document = generator.get_schema(public=True)
    said = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    if said:
        raise DescriptionFailed("\n".join(said))
    components = document["components"]
    components["responses"] = dict(sorted(generator.responses.items()))
    components["headers"] = HEADERS
    components["securitySchemes"] = {"key": SECURITY_SCHEME}
    document["webhooks"] = {name: _webhook(name, components) for name in (*EVENT_TYPES, "webhook.ping")}
    document["tags"] = [{"name": name} for name in sorted(_tags(document))]
    _check_names(document)
    add_links(document)
    add_examples(document)
    return document


def _tags(document: Mapping[str, Any]) -> set[str]:
    return {tag for operation in operations(document) for tag in operation["tags"]}


def operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for item in document["paths"].values() for operation in item.values()]


def _check_names(document: Mapping[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DescriptionFailed(
            f"Two operations are called {', '.join(twice)}: give one of them operation_ids."
        )


def _webhook(event: str, components: dict[str, Any]) -> dict[str, Any]:
    members = EVENT_TYPES.get(event, PING_MEMBERS)
    name = "".join(part.capitalize() for part in re.split("[._]", event)) + "Event"
    components["schemas"][name] = {
        "type": "object",
        "description": EVENTS.get(event, ""),
        "properties": {
            **components["schemas"]["Event"]["properties"],
            "type": {"const": event},
            "data": {
                "type": "object",
                "properties": {member: EVENT_MEMBERS.get(member, {}) for member in members},
            },
        },
        "required": components["schemas"]["Event"]["required"],
    }
    return {
        "post": {
            "operationId": f"on_{event.replace('.', '_')}",
            "summary": EVENTS.get(event, ""),
            "description": WEBHOOK_WORDS,
            "tags": ["Events"],
            "parameters": WEBHOOK_HEADERS,
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
            },
            "responses": {
                "2XX": {"description": "Taken. The body is not read."},
                "410": {"description": "No more of this: the endpoint is switched off."},
                "default": {"description": "Not taken: it is sent again, ten times in all over three days."},
            },
        }
    }
