"""What every answer carries: its own id and a content policy; and who is named in the logs."""

from uuid import UUID

import pytest
import structlog
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import Client, RequestFactory

from seeds.factories import UserFactory
from storefront.requests import RequestIdMiddleware, actor_of

pytestmark = pytest.mark.django_db


def policy(path: str) -> dict[str, set[str]]:
    header = Client().get(path)["Content-Security-Policy"]
    directives = [part.split() for part in header.split(";")]
    return {name: set(values) for name, *values in directives}


def test_every_answer_has_its_own_request_id():
    ids = {UUID(Client().get(path)["Request-Id"]) for path in ("/", "/livez", "/nowhere", "/v1/nowhere", "/")}
    assert len(ids) == 5


@pytest.mark.parametrize("header", ["Request-Id", "X-Request-Id", "X-Correlation-Id"])
def test_an_id_that_came_with_the_request_is_not_used(header):
    assert Client().get("/", headers={header: "forged"})["Request-Id"] != "forged"


def test_the_id_is_the_one_in_the_logs():
    seen = {}

    def view(request):
        seen.update(structlog.contextvars.get_contextvars())
        return HttpResponse()

    with structlog.contextvars.bound_contextvars(request_id="made-here"):
        response = RequestIdMiddleware(view)(RequestFactory().get("/"))
    assert response["Request-Id"] == seen["request_id"] == "made-here"


def test_staff_act_in_their_own_name_at_the_desk_only():
    alice = UserFactory.create(username="alice")
    for path, user, actor in (
        ("/admin/", alice, "user:alice"),
        ("/admin/", AnonymousUser(), "shopper:anonymous"),
        ("/", alice, "shopper:anonymous"),
    ):
        request = RequestFactory().get(path)
        request.user = user
        assert str(actor_of(request)) == actor


def test_the_shops_policy_is_strict():
    for path in ("/", "/nowhere", "/how-we-decide/"):
        directives = policy(path)
        assert directives["script-src"] == directives["style-src"] == {"'self'"}
        assert directives["frame-ancestors"] == {"'none'"}


def test_the_desk_gets_what_its_theme_needs_and_no_more():
    directives = policy("/admin/login/")
    assert directives["script-src"] == {"'self'", "'unsafe-eval'"}
    assert directives["style-src"] == {"'self'", "'unsafe-inline'"}
    assert directives["default-src"] == {"'self'"}
