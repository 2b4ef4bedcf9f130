"""The desk finds out whether a request was repeated, and reads nobody's answers."""

import json

import pytest
from django.test import Client

from seeds.factories import OrganizationFactory, UserFactory
from storefront.models import IdempotentRequest
from tests.api.conftest import caller_of, problem

pytestmark = pytest.mark.django_db
LIST = "/admin/storefront/idempotentrequest/"


def test_a_kept_answer_is_found_by_the_id_that_its_caller_knows():
    caller = caller_of(OrganizationFactory.create())
    body, path = {"url": "https://shop.example/hooks"}, "/v1/webhook-endpoints"
    first, other = (caller.post(path, body, **{"Idempotency-Key": key}) for key in ("one", "two"))
    assert caller.post(path, body, **{"Idempotency-Key": "one"})["Idempotent-Replayed"] == "true"
    problem(caller.post(path, {}, **{"Idempotency-Key": "one"}), 422, "idempotency_key_reused")

    desk = Client()
    desk.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    page = desk.get(LIST, {"q": first["Request-Id"]}).content.decode()
    assert first["Location"] in page
    assert other["Location"] not in page
    row = IdempotentRequest.objects.get(**{"headers__Original-Request-Id": first["Request-Id"]})
    shown = desk.get(f"{LIST}{row.pk}/change/")
    assert shown.status_code == 200
    assert body["url"] not in shown.content.decode()
    assert json.loads(first.content)["secret"] not in shown.content.decode()
    # It is a record: nobody writes one.
    assert desk.get(f"{LIST}add/").status_code == 403
    assert desk.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403
