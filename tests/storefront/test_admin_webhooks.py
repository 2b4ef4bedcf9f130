"""The desk's screens of webhook endpoints and deliveries: secrets once, acts by their functions, rights kept."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from authorization import clock, outbox
from authorization.models import LedgerEntry
from catalog.models import Organization
from seeds.factories import OrganizationFactory
from storefront import webhooks
from storefront.models import WebhookDelivery, WebhookEndpoint
from storefront.roles import AUDITOR, DESK, ensure_roles
from tests.storefront.conftest import DESK as ACTOR

pytestmark = pytest.mark.django_db
URL = "https://hooks.vendor.example/clearline"


def client_of(role):
    ensure_roles()
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def desk():
    return client_of(DESK)


@pytest.fixture
def vendor():
    return OrganizationFactory.create(kind=Organization.Kind.VENDOR)


@pytest.fixture
def endpoint(vendor):
    made, _ = webhooks.make_endpoint(
        vendor=vendor, url=URL, label="", event_types=[], by=ACTOR, at=clock.now()
    )
    return made


@pytest.fixture
def delivery(endpoint):
    outbox.announce(
        event="listing.suspended", payload={"vendor_id": endpoint.vendor_id, "sku": "A"}, at=clock.now()
    )
    outbox.stamp_positions()
    webhooks.fan_out(at=clock.now())
    return WebhookDelivery.objects.get()


def act_url(row, act):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{act}", args=[row.pk])


def secret_on(response):
    assert response.status_code == 200
    [secret] = re.findall(r'id="secret">(whsec_[^<]+)<', response.content.decode())
    return secret


def test_an_endpoint_is_made_and_its_secret_shown_once(desk, vendor):
    add = reverse("admin:storefront_webhookendpoint_add")
    assert desk.get(add).status_code == 200
    secret = secret_on(
        desk.post(add, {"vendor": vendor.pk, "url": URL, "event_types": ["listing.suspended"]})
    )
    endpoint = WebhookEndpoint.objects.get()
    assert endpoint.event_types == ["listing.suspended"]
    assert LedgerEntry.objects.get(act="webhook_endpoint.made").actor == "user:desk"
    for page in ("changelist", "change"):
        args = [endpoint.pk] if page == "change" else []
        shown = desk.get(reverse(f"admin:storefront_webhookendpoint_{page}", args=args)).content.decode()
        assert URL in shown
        assert secret not in shown


@pytest.mark.parametrize("url", ["http://hooks.example/", "https://10.0.0.1/", "nothing"])
def test_a_bad_address_is_refused_at_its_field(desk, vendor, url):
    response = desk.post(reverse("admin:storefront_webhookendpoint_add"), {"vendor": vendor.pk, "url": url})
    assert response.status_code == 200
    assert not WebhookEndpoint.objects.exists()
    assert "url" in response.context["form"].errors


def test_it_is_changed_pinged_and_replayed(desk, endpoint, delivery):
    sent = {"url": f"{URL}/2", "label": "two", "event_types": [], "is_enabled": "on"}
    assert desk.post(act_url(endpoint, "edit"), sent).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.label, endpoint.is_enabled) == (f"{URL}/2", "two", True)
    assert desk.post(act_url(endpoint, "ping")).status_code == 302
    assert WebhookDelivery.objects.filter(event=webhooks.PING).count() == 1
    WebhookDelivery.objects.update(due_at=None, delivered_at=clock.now())
    assert desk.post(act_url(delivery, "replay")).status_code == 302
    delivery.refresh_from_db()
    assert webhooks.state_of(delivery) == "pending"
    at = clock.now()
    period = {
        "since": f"{at - timedelta(days=1):%Y-%m-%dT%H:%M}",
        "until": f"{at + timedelta(days=1):%Y-%m-%dT%H:%M}",
    }
    assert desk.post(act_url(endpoint, "replay_period"), period).status_code == 302


def test_a_new_secret_is_shown_once(desk, endpoint):
    url = act_url(endpoint, "rotate_secret")
    assert "whsec_" not in desk.get(url).content.decode()
    secret = secret_on(desk.post(url))
    endpoint.refresh_from_db()
    assert endpoint.secret == secret


def test_a_deleted_one_takes_no_act(desk, endpoint):
    assert desk.post(act_url(endpoint, "delete_endpoint")).status_code == 302
    endpoint.refresh_from_db()
    assert endpoint.deleted_at is not None
    for act in ("edit", "ping", "rotate_secret", "replay_period", "delete_endpoint"):
        assert desk.get(act_url(endpoint, act)).status_code == 404


def test_what_is_switched_off_is_not_pinged(desk, endpoint):
    webhooks.change_endpoint(
        endpoint=endpoint, url=URL, label="", event_types=[], is_enabled=False, by=ACTOR, at=clock.now()
    )
    response = desk.post(act_url(endpoint, "ping"))
    assert response.status_code == 200
    assert "switched off" in response.content.decode()


def test_attempts_are_shown(desk, delivery):
    entry = {"at": "2026-11-22T12:00:00+00:00", "status": None, "error": "No answer: refused", "took_ms": 7}
    WebhookDelivery.objects.update(log=[entry], attempts=1)
    page = desk.get(reverse("admin:storefront_webhookdelivery_change", args=[delivery.pk])).content.decode()
    assert "No answer: refused" in page
    listed = desk.get(reverse("admin:storefront_webhookdelivery_changelist") + "?state=pending")
    assert listed.status_code == 200


def test_an_auditor_reads_and_does_not_act(endpoint, delivery):
    auditor = client_of(AUDITOR)
    page = auditor.get(reverse("admin:storefront_webhookendpoint_change", args=[endpoint.pk]))
    assert page.status_code == 200
    assert endpoint.secret not in page.content.decode()
    for row, act in [
        (endpoint, "edit"),
        (endpoint, "ping"),
        (endpoint, "rotate_secret"),
        (endpoint, "replay_period"),
        (endpoint, "delete_endpoint"),
        (delivery, "replay"),
    ]:
        assert auditor.post(act_url(row, act)).status_code == 403
    assert auditor.get(reverse("admin:storefront_webhookendpoint_add")).status_code == 403
