"""Every error of the API in one shape: problem details (RFC 9457).

`exception_handler` turns what a view raises into a problem; `ProblemMiddleware` does it for what no view ever
sees: unknown paths, disallowed hosts, crashes. Each `type` is the address of a page that says what to do.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.core.signals import got_request_exception
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.settings import api_settings

from authorization.decisions import DecisionUnavailable, InvalidQuestion
from authorization.facts import InvalidFact
from authorization.offers import ListingMoved, ListingRemoved
from authorization.revocations import WorldMoved
from catalog.listings import InvalidMove
from storefront.api.problem_types import PROBLEM_TYPES
from storefront.events import EventsExpired, NoSuchPosition
from storefront.webhooks import EndpointDisabled, InvalidEndpoint, TooManyEndpoints

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 5
SEND_THE_KEY = "Send your key as: Authorization: Bearer sk_live_… (of a host carrier: ck_live_…)"

logger = logging.getLogger(__name__)


_CODE_OF_STATUS = {
    400: "invalid_request",
    403: "not_for_this_key",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    503: "temporarily_unavailable",
}


@dataclass(frozen=True)
class FieldError:
    """One fault. `pointer` is a JSON pointer into what `place` names: body, query, path or header."""

    pointer: str
    code: str
    detail: str
    place: str = "body"

    def as_json(self) -> dict[str, str]:
        fields = asdict(self)
        return {"in": fields.pop("place"), **fields}


class Problem(Exception):
    """Raised by a view: it becomes the answer.

    Of a request with an Idempotency-Key it undoes what was done, and is not kept. With `keeps_effect` it undoes nothing
    and is kept, as a success would be: what was refused stands in the records.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        keeps_effect: bool = False,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.keeps_effect = keeps_effect
        self.extensions = extensions


def invalid(errors: Iterable[FieldError]) -> Problem:
    found = tuple(errors)
    detail = found[0].detail if len(found) == 1 else f"{len(found)} faults; see errors."
    return Problem("invalid_request", detail, errors=found)


def problem_response(
    request: HttpRequest,
    code: str,
    detail: str,
    *,
    status: int | None = None,
    errors: Iterable[FieldError] = (),
    extensions: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    problem_type = PROBLEM_TYPES[code]
    body: dict[str, Any] = {
        "type": _type_url(request, code),
        "title": problem_type.title,
        "status": status or problem_type.status,
        "code": code,
        "detail": detail,
        "instance": escape_uri_path(request.path),
        "request_id": request_id(),
        **(extensions or {}),
    }
    found = [error.as_json() for error in errors]
    if found:
        body["errors"] = found
    return HttpResponse(
        json.dumps(body),
        status=body["status"],
        content_type=PROBLEM_JSON,
        headers={**_RETRY.get(code, {}), **(headers or {})},
    )


_RETRY = {
    code: {"Retry-After": str(RETRY_AFTER_S)} for code, row in PROBLEM_TYPES.items() if row.status == 503
} | {"idempotency_in_progress": {"Retry-After": "1"}}


def request_id() -> str:
    """Of the request that is being answered, as its header Request-Id will say."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def _type_url(request: HttpRequest, code: str) -> str:
    path = f"/v1/problems/{code}"
    try:
        return request.build_absolute_uri(path)
    except DisallowedHost:
        return path


# --- what views raise ---------------------------------------------------------------------------------------


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """The REST framework's hook. None lets the exception through, to be logged and answered with 500."""
    request = context["request"]._request
    match error:
        case Problem():
            return problem_response(
                request,
                error.code,
                error.detail,
                errors=error.errors,
                extensions=error.extensions,
                headers=error.headers,
            )
        case DecisionUnavailable():
            return problem_response(
                request, "decision_unavailable", str(error) or _meaning("decision_unavailable")
            )
        case InvalidFact():
            # Of a row of a list an act says results[3].case.
            pointer = "/" + error.field.replace("[", "/").replace("]", "").replace(".", "/")
            return exception_handler(invalid([FieldError(pointer, "invalid", error.message)]), context)
        case InvalidQuestion():
            return exception_handler(invalid([_fault_of(error, request)]), context)
        case WorldMoved():
            detail = (
                "The shop changes too fast to do this on what was seen of it a moment ago. Nothing was done."
            )
            return problem_response(request, "temporarily_unavailable", detail)
        case ListingMoved():
            return problem_response(request, "concurrent_change", str(error))
        case ListingRemoved() | InvalidMove():
            return problem_response(request, "invalid_transition", str(error))
        case InvalidEndpoint():
            return exception_handler(
                invalid([FieldError(f"/{error.field}", "invalid", error.message)]), context
            )
        case TooManyEndpoints():
            return problem_response(request, "limit_reached", str(error))
        case EndpointDisabled():
            return problem_response(request, "endpoint_disabled", str(error))
        case EventsExpired():
            return problem_response(request, "events_expired", _meaning("events_expired"))
        case NoSuchPosition():
            return exception_handler(
                invalid([FieldError("/after", "no_such_position", str(error), "query")]), context
            )
        case exceptions.ValidationError():
            return exception_handler(invalid(field_errors(error.detail)), context)
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            # Set by the view from KeyAuthentication.authenticate_header.
            headers = {"WWW-Authenticate": getattr(error, "auth_header", "Bearer")}
            no_key = isinstance(error, exceptions.NotAuthenticated)
            detail = f"No key was sent. {SEND_THE_KEY}" if no_key else str(error.detail)
            return problem_response(request, "unauthenticated", detail, headers=headers)
        case exceptions.UnsupportedMediaType():
            taken = [str(parser.media_type) for parser in context["view"].get_parsers()]
            # RFC 9110, section 15.5.16, and of PATCH RFC 5789, section 2.2.
            header = "Accept-Patch" if request.method == "PATCH" else "Accept"
            return problem_response(
                request,
                "unsupported_media_type",
                f"Send the body as {' or '.join(taken)}.",
                headers={header: ", ".join(taken)},
            )
        case exceptions.APIException():
            code = _code_of(error.status_code)
            return problem_response(request, code, str(error.detail), status=error.status_code)
        case Http404():
            return problem_response(request, "not_found", _meaning("not_found"))
        case RequestDataTooBig():
            return problem_response(request, "payload_too_large", _meaning("payload_too_large"))
        # InternalError: PostgreSQL ended a fenced session that had paused for too long.
        case OperationalError() | InterfaceError() | InternalError():
            logger.error("The database failed under an API call.", exc_info=error)
            return problem_response(request, "temporarily_unavailable", _meaning("temporarily_unavailable"))
    return None


def _fault_of(error: InvalidQuestion, request: HttpRequest) -> FieldError:
    """A question that the engine refused at its door, in the names of the API: `variant_id` is its `variant`."""
    place = "query" if request.method == "GET" else "body"
    return FieldError(json_pointer([error.field.removesuffix("_id")]), "invalid", error.message, place)


def field_errors(detail: Any, path: tuple[str | int, ...] = (), place: str = "body") -> Iterator[FieldError]:
    """The nested errors of a serializer, one by one, each with its JSON pointer."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            inner_path = path if name == api_settings.NON_FIELD_ERRORS_KEY else (*path, name)
            yield from field_errors(inner, inner_path, place)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            # Errors of a list's items come as one mapping or list per item, empty where the item is sound.
            inner_path = (*path, index) if isinstance(inner, Mapping | list) else path
            yield from field_errors(inner, inner_path, place)
    else:
        yield FieldError(json_pointer(path), getattr(detail, "code", "invalid"), str(detail), place)


def json_pointer(path: Iterable[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _code_of(status: int) -> str:
    return _CODE_OF_STATUS.get(status, "invalid_request" if status < 500 else "internal_error")


def _meaning(code: str) -> str:
    return PROBLEM_TYPES[code].meaning


# --- what no view sees --------------------------------------------------------------------------------------


class ProblemMiddleware:
    """Gives every error under /v1/ that is not a problem yet the shape of one.

    What it can it catches early, so that no page of the shop is rendered (or fails) on the way to a problem.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_api_path(request.path):
            return self.get_response(request)
        try:
            request.get_host()
        except DisallowedHost as error:
            logging.getLogger("django.security.DisallowedHost").error(str(error))
            detail = "The Host header names a host that this shop does not answer for."
            return problem_response(request, "invalid_request", detail)
        response = self.get_response(request)
        if response.status_code < 400 or response.headers.get("Content-Type", "").startswith(PROBLEM_JSON):
            return response
        code = _code_of(response.status_code)
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower() not in ("content-type", "content-length")
        }
        return problem_response(request, code, _meaning(code), status=response.status_code, headers=kept)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_api_path(request.path):
            return None
        # As Django does before its own answer: the log of requests hangs on this signal.
        got_request_exception.send(sender=type(self), request=request)
        return problem_response(request, "internal_error", _meaning("internal_error"))


@csrf_exempt
def unknown_path(request: HttpRequest, rest: str = "") -> HttpResponse:
    return problem_response(request, "not_found", "The API has no such path.")


def is_api_path(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")
