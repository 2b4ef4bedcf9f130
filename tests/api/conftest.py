"""A small world of two hosts and two variants, and vendors who call the API over HTTP."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import structlog
from django.http import HttpResponse
from django.test import Client

from authorization import clock
from carriers.models import HostCarrier
from catalog.models import Organization, Variant
from seeds import factories
from storefront import accounts
from tests.api import described


class Answer(HttpResponse):
    """As the test client gives it."""

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Caller:
    """Somebody who calls the API. Without a key: a stranger."""

    secret: str = ""
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        if self.secret:
            headers.setdefault("Authorization", f"Bearer {self.secret}")
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        content_type = headers.pop("Content-Type", "application/json")
        response = self.client.generic(method, path, raw, content_type=content_type, headers=headers)
        described.check(method, path, body, response)
        return cast(Answer, response)

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Answer:
        return self.call("PUT", path, body, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.call("DELETE", path, **headers)


@dataclass
class SmallWorld:
    """The vendor may sell `approved` on `north`; `untested`, and all on `south`, lack an approval."""

    at: datetime
    vendor: Organization
    approved: Variant
    untested: Variant
    north: HostCarrier
    south: HostCarrier
    agreement_code: str

    def body(self, **changes: Any) -> dict[str, Any]:
        return {
            "variant": self.approved.slug,
            "hosts": [self.north.code],
            "condition": "new",
            "territory": "US",
            "channel": "web",
            "description": "Sealed box",
            "price": {"amount": "199.00", "currency": "USD"},
            "on_hand": 5,
        } | changes


@pytest.fixture(autouse=True)
def patient_fence(settings: Any) -> None:
    """A test is one transaction to PostgreSQL, with pauses that no request has between its statements."""
    settings.FENCE_TIMEOUT_MS = 60_000


@pytest.fixture(autouse=True)
def fresh_log_context() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def world(db: None) -> SmallWorld:
    return make_world()


def make_world() -> SmallWorld:
    at = clock.now()
    factories.ensure_policy(at=at)
    maker = factories.OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER, slug="maker")
    vendor = factories.OrganizationFactory.create(slug="vendor-one")
    device = factories.DeviceFactory.create(
        manufacturer=maker, brand="Maker", marketing_name="PX 9", slug="px-9"
    )
    approved = factories.VariantFactory.create(device=device, slug="maker-px9-u1", model_number="PX9-U1")
    untested = factories.VariantFactory.create(device=device, slug="maker-px9-u2", model_number="PX9-U2")
    north = factories.HostCarrierFactory.create(code="north")
    south = factories.HostCarrierFactory.create(code="south")
    for host in (north, south):
        factories.HostingFactory.create(host=host, at=at)
    agreement = factories.make_agreement(grantor=maker, grantee=vendor, at=at, code="AG-77")
    factories.make_approval(host=north, variant=approved, at=at, code="CA-1")
    return SmallWorld(at, vendor, approved, untested, north, south, agreement.code)


@pytest.fixture
def make_caller(db: None) -> Callable[[Organization], Caller]:
    return caller_of


def caller_of(vendor: Organization) -> Caller:
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=vendor, label="test", by=factories.BUILDER, at=at, expires_at=at + timedelta(days=1)
    )
    return Caller(secret)


def carrier_caller(host: HostCarrier, *duties: str) -> Caller:
    """Somebody of a host carrier; without duties all of them."""
    at = clock.now()
    given = accounts.Duties(**{f"is_{name}": True for name in duties or ("desk", "lab", "approver")})
    _, secret = accounts.make_carrier_key(
        host=host,
        label="test",
        duties=given,
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
    )
    return Caller(secret)


@pytest.fixture
def api(world: SmallWorld) -> Caller:
    return caller_of(world.vendor)


@pytest.fixture
def stranger() -> Caller:
    return Caller()


def problem(response: HttpResponse, status: int, code: str) -> dict[str, Any]:
    """The body of an answer that must be this problem, in the one shape of all problems."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(response.content)
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"].endswith(f"/v1/problems/{code}")
    assert {"title", "detail", "instance", "request_id"} <= body.keys()
    assert body["request_id"] == response["Request-Id"]
    for error in body.get("errors", []):
        assert error.keys() == {"in", "pointer", "code", "detail"}
    return body


def pointers(body: dict[str, Any]) -> set[str]:
    return {error["pointer"] for error in body["errors"]}
