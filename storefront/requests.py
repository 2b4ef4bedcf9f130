"""What holds for every request: its own id, who acts, and which content policy its answer carries."""

from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse

from authorization.actors import Actor

type GetResponse = Callable[[HttpRequest], HttpResponse]

ADMIN_PREFIX = "/admin/"
API_PREFIX = "/v1/"

# Unfold's pages run on Alpine.js, which evaluates expressions, and carry style attributes.
_ADMIN_POLICY = {"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]}


class RequestIdMiddleware:
    """Every answer carries the id under which its log lines and ledger entries can be found.

    The id is the one that django-structlog made, a step further out. A value that came with the request is
    never used: a caller could otherwise write another's id into the ledger.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = structlog.contextvars.get_contextvars()["request_id"]
        response = self.get_response(request)
        response["Request-Id"] = request_id
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Here, because who is logged in is known only behind the middleware that reads the session.

        The API binds its vendor when it has checked the key.
        """
        if not request.path_info.startswith(API_PREFIX):
            structlog.contextvars.bind_contextvars(actor=str(actor_of(request)))


def actor_of(request: HttpRequest) -> Actor:
    """Who acts through a page: staff at the desk, shoppers everywhere else, staff included."""
    if request.path_info.startswith(ADMIN_PREFIX) and request.user.is_authenticated:
        return Actor("user", request.user.get_username())
    return Actor("shopper", "anonymous")


class AdminContentPolicyMiddleware:
    """The desk gets the policy that its theme needs. The shop's stays strict."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith(ADMIN_PREFIX):
            # django-csp reads it from the answer; its decorators do no more than this, view by view.
            response._csp_update = _ADMIN_POLICY  # type: ignore[attr-defined]
        return response
