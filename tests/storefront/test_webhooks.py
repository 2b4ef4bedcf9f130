"""Webhooks: at least once, signed, under the event's id, and an endpoint that fails is its own trouble only (I20)."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import mail
from django.db import connection, transaction
from standardwebhooks import Webhook, WebhookVerificationError

from authorization import clock, fence, outbox
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import Organization
from seeds.factories import OrganizationFactory
from storefront import events, webhook_calls, webhooks
from storefront.models import SentMessage, WebhookDelivery, WebhookEndpoint
from storefront.webhooks import EndpointDisabled, InvalidEndpoint, TooManyEndpoints
from tests.storefront import receiver as receivers
from tests.storefront.conftest import DESK
from tests.storefront.receiver import Receiver, listening, status

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def to_loopback(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as found:
        yield found


@pytest.fixture
def vendor() -> Organization:
    return OrganizationFactory.create(contact_email="ops@vendor.example")


def endpoint_of(vendor: Organization, url: str, **more: Any) -> tuple[WebhookEndpoint, str]:
    wanted: dict[str, Any] = {"label": "", "event_types": [], "by": DESK, "at": clock.now()} | more
    return webhooks.make_endpoint(vendor=vendor, url=url, **wanted)


def happen(vendor: Organization, count: int = 1, event: str = "listing.suspended", **more: Any) -> list[str]:
    """Events of this vendor, committed and stamped. Returns their ids."""
    at = more.pop("at", clock.now())
    payloads = [
        {"vendor_id": vendor.pk, "sku": f"A-{number}", "host": "north", "state": "SUSPENDED"} | more
        for number in range(count)
    ]
    ids = [outbox.announce(event=event, payload=payload, at=at) for payload in payloads]
    while OutboxRow.objects.filter(handler="", position__isnull=True).exists():
        outbox.stamp_positions()
    return [str(event_id) for event_id in ids]


def send(at: datetime | None = None) -> int:
    moment = at or clock.now()
    webhooks.fan_out(at=moment)
    return webhooks.send_due(at=lambda: moment)


# --- what is sent -------------------------------------------------------------------------------------------


def test_an_event_is_sent_signed_under_its_own_id_as_the_log_shows_it(
    vendor: Organization, receiver: Receiver
) -> None:
    _, secret = endpoint_of(vendor, receiver.url)
    [event_id] = happen(vendor, reason_codes=["AGREEMENT_REVOKED"], decision_id="d-1", offer_id=77)
    assert send() == 1
    [seen] = receiver.seen
    assert seen.id == event_id
    body = Webhook(secret).verify(seen.body, seen.headers)
    assert body == events.present_event(OutboxRow.objects.get(event_id=event_id))
    assert body["data"]["reason_codes"] == ["AGREEMENT_REVOKED"]
    # Ids of our rows and of the vendor are not its business.
    assert body["data"].keys().isdisjoint({"offer_id", "vendor_id"})
    assert len(seen.body) < 20_000


def test_a_signature_of_another_secret_or_body_does_not_fit(vendor: Organization, receiver: Receiver) -> None:
    _, secret = endpoint_of(vendor, receiver.url)
    happen(vendor)
    send()
    [seen] = receiver.seen
    with pytest.raises(WebhookVerificationError):
        Webhook(webhooks._new_secret()).verify(seen.body, seen.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(seen.body.replace("SUSPENDED", "LIVE"), seen.headers)


def test_the_test_vector_of_the_conventions() -> None:
    """As `sign` is called here: an aware instant in UTC."""
    body = (
        '{"type":"listing.suspended","timestamp":"2026-11-22T12:00:00Z","data":{"event_id":'
        '"evt_01JDA8Z6Q4W9T2M7K3X5C1V0BN","sku":"PX9-128-BLK","status":"SUSPENDED","decision_id":'
        '"dec_01JDA8Z5N0R6H4G2F8E1D7C3BA","revision":41872,"reasons":["AGREEMENT_REVOKED"]}}'
    )
    secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    at = datetime.fromisoformat("2026-11-22T12:00:03Z")
    assert int(at.timestamp()) == 1795348803
    signed = Webhook(secret).sign("evt_01JDA8Z6Q4W9T2M7K3X5C1V0BN", at, body)
    assert signed == "v1,K3ssRoi+SJeETLjQrSER1grj95cS3fgOekL0bybuSvs="


def test_each_vendor_is_sent_its_own_events_only(vendor: Organization) -> None:
    other = OrganizationFactory.create()
    with listening() as first, listening() as second:
        endpoint_of(vendor, first.url)
        endpoint_of(other, second.url)
        mine, theirs = happen(vendor, 3), happen(other, 2)
        send()
        assert sorted(first.ids) == sorted(mine)
        assert sorted(second.ids) == sorted(theirs)


def test_an_endpoint_is_sent_what_it_wants_and_what_happens_from_now_on(
    vendor: Organization, receiver: Receiver
) -> None:
    happen(vendor)
    endpoint_of(vendor, receiver.url, event_types=["listing.reinstated"])
    happen(vendor, event="listing.suspended")
    [wanted] = happen(vendor, event="listing.reinstated")
    happen(vendor, event="vendor.to_tell")
    send()
    assert receiver.ids == [wanted]


def test_events_come_by_position_and_each_once_however_often_it_is_rung(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint_of(vendor, receiver.url)
    ids = happen(vendor, 120)
    for _ in range(3):
        webhooks.fan_out(at=clock.now())
    assert WebhookDelivery.objects.count() == 120
    while send():
        pass
    assert receiver.ids == ids


def test_a_batch_ends_with_its_last_event_and_the_next_goes_on(
    vendor: Organization, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "FAN_OUT_BATCH", 4)
    other = OrganizationFactory.create()
    endpoint, _ = endpoint_of(vendor, receiver.url)
    for _ in range(9):
        happen(other)
        happen(vendor)
    assert webhooks.fan_out(at=clock.now()) == 9
    endpoint.refresh_from_db()
    assert endpoint.position == events.newest_position()


def test_an_event_without_its_place_in_the_order_waits_for_it(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint_of(vendor, receiver.url)
    outbox.announce(event="listing.suspended", payload={"vendor_id": vendor.pk, "sku": "A"}, at=clock.now())
    assert webhooks.fan_out(at=clock.now()) == 0
    outbox.stamp_positions()
    assert webhooks.fan_out(at=clock.now()) == 1


def test_fan_out_takes_a_few_queries_whatever_their_number(
    vendor: Organization, receiver: Receiver, django_assert_num_queries: Any
) -> None:
    endpoint_of(vendor, receiver.url)
    endpoint_of(OrganizationFactory.create(), receiver.url)
    happen(vendor, 200)
    # Newest position, who is behind, the endpoint locked, how far, the deliveries, the cursor, and the transaction.
    with django_assert_num_queries(8):
        webhooks.fan_out(at=clock.now())
    assert WebhookDelivery.objects.count() == 200


# --- failures -----------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_repeated_by_the_schedule_under_the_same_id_and_then_given_up(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint_of(vendor, receiver.url)
    [event_id] = happen(vendor)
    receiver.otherwise = status(500)
    at = clock.now()
    pauses = []
    while send(at):
        delivery = WebhookDelivery.objects.get()
        if delivery.due_at is None:
            break
        pauses.append((delivery.due_at - at).total_seconds())
        # Not a moment earlier.
        assert send(delivery.due_at - timedelta(milliseconds=1)) == 0
        at = max(delivery.due_at, WebhookEndpoint.objects.get().rests_until or at)
        WebhookEndpoint.objects.update(failing_since=at)
    specified = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert len(pauses) == len(specified)
    assert all(s <= pause <= s * 1.1 for s, pause in zip(specified, pauses, strict=True))
    assert set(receiver.ids) == {event_id}
    assert len({seen.body for seen in receiver.seen}) == 1
    assert len({seen.headers["webhook-signature"] for seen in receiver.seen}) >= 1
    assert (delivery.attempts, delivery.last_status) == (10, 500)
    assert delivery.given_up_at == at
    assert [entry["status"] for entry in delivery.log] == [500] * 10
    # It stands in its row, and not in the outbox: nothing dead there to look at.
    assert not OutboxRow.objects.filter(is_dead=True).exists()


def test_a_failure_then_success_is_delivered(vendor: Organization, receiver: Receiver) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor)
    receiver.answers = [status(503)]
    at = clock.now()
    send(at)
    send(at + timedelta(seconds=6))
    delivery = WebhookDelivery.objects.get()
    assert (delivery.attempts, delivery.delivered_at) == (2, at + timedelta(seconds=6))
    assert WebhookEndpoint.objects.get().failing_since is None


def test_retry_after_is_honoured(vendor: Organization, receiver: Receiver) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor, 3)
    receiver.answers = [status(429, Retry_After="600")]
    at = clock.now()
    assert send(at) == 1
    assert send(at + timedelta(seconds=599)) == 0
    assert send(at + timedelta(seconds=600)) == 3


def test_gone_switches_the_endpoint_off_and_its_vendor_is_told(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url)
    happen(vendor, 3)
    receiver.otherwise = status(410)
    assert send() == 1
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_reason) == (False, "It answered 410 Gone.")
    assert send(clock.now() + timedelta(days=1)) == 0
    outbox.pump()
    [message] = mail.outbox
    assert message.to == ["ops@vendor.example"]
    assert receiver.url in message.body
    assert [row.event for row in events.events_of(vendor.pk)][-1] == "endpoint.disabled"
    assert LedgerEntry.objects.filter(act="webhook_endpoint.disabled").count() == 1


def test_switched_on_again_it_is_sent_what_it_missed(vendor: Organization, receiver: Receiver) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url, event_types=["listing.suspended"])
    missed = happen(vendor, 2)
    receiver.answers = [status(410)]
    send()
    missed += happen(vendor, 2)
    webhooks.change_endpoint(
        endpoint=endpoint,
        url=receiver.url,
        label="",
        event_types=["listing.suspended"],
        is_enabled=True,
        by=DESK,
        at=clock.now(),
    )
    send(clock.now() + timedelta(seconds=10))
    assert sorted(set(receiver.ids)) == sorted(missed)


def test_an_endpoint_that_takes_nothing_for_days_is_switched_off(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor)
    receiver.otherwise = status(500)
    at = clock.now()
    send(at)
    happen(vendor)
    send(at + timedelta(days=5, minutes=1))
    assert not WebhookEndpoint.objects.get().is_enabled


def test_an_endpoint_that_hangs_keeps_no_other_from_its_events(
    vendor: Organization, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_calls, "CALL_S", 0.5)
    other = OrganizationFactory.create()
    endpoint_of(vendor, receiver.url)
    receiver.otherwise = receivers.hang
    happen(vendor, 30)
    with listening() as sound:
        endpoint_of(other, sound.url)
        theirs = happen(other, 30)
        at = clock.now()
        made = send(at)
        assert sorted(sound.ids) == sorted(theirs)
    # Of the thirty for the one that hangs a single call was made, and it rests now.
    assert (made, len(receiver.seen)) == (31, 1)
    assert WebhookDelivery.objects.filter(endpoint__vendor=vendor, attempts=0).count() == 29
    assert send(at + timedelta(seconds=4)) == 0
    assert not OutboxRow.objects.filter(failed_at__isnull=False).exists()


def test_the_longer_it_fails_the_longer_it_rests(vendor: Organization, receiver: Receiver) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url)
    happen(vendor, 50)
    receiver.otherwise = status(500)
    at, rests = clock.now(), []
    for _ in range(12):
        send(at)
        endpoint.refresh_from_db()
        assert endpoint.rests_until is not None
        rests.append((endpoint.rests_until - at).total_seconds())
        at = endpoint.rests_until + timedelta(minutes=5)
    assert rests[0] == 5
    assert rests == sorted(rests)
    assert rests[-1] == 300


def test_one_bad_event_does_not_stop_the_others(vendor: Organization, receiver: Receiver) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor, 5)
    receiver.answers = [status(500)]
    assert send() == 5
    assert WebhookDelivery.objects.filter(delivered_at__isnull=False).count() == 4
    assert WebhookEndpoint.objects.get().rests_until is None


def test_a_fault_of_ours_is_an_attempt_and_not_a_crash(
    vendor: Organization, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint_of(vendor, receiver.url)
    WebhookEndpoint.objects.update(secret="whsec_")
    happen(vendor)
    assert send() == 1
    assert WebhookDelivery.objects.get().last_error.startswith("It could not be sent")


def test_an_address_that_became_a_forbidden_one_is_not_called(
    vendor: Organization, receiver: Receiver, settings: Any
) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor)
    settings.WEBHOOKS_TO_LOOPBACK = False
    send()
    assert receiver.seen == []
    assert "not on the public internet" in WebhookDelivery.objects.get().last_error


def test_an_event_that_is_not_kept_any_more_is_given_up(vendor: Organization, receiver: Receiver) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor)
    webhooks.fan_out(at=clock.now())
    OutboxRow.objects.all().delete()
    assert send() == 0
    assert WebhookDelivery.objects.get().given_up_at is not None


# --- where it is sent from ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_inside_a_transaction() -> None:
    with transaction.atomic(), pytest.raises(fence.FenceMisuse):
        webhooks.send_due()
    with transaction.atomic():
        fence.shared()
        with pytest.raises(fence.FenceMisuse):
            webhooks.send_due()


@pytest.mark.django_db(transaction=True)
def test_two_senders_at_once_send_each_delivery_once(to_loopback: None) -> None:
    vendors = [OrganizationFactory.create() for _ in range(3)]
    with listening() as receiver:
        for vendor in vendors:
            endpoint_of(vendor, receiver.url)
        ids = [event_id for vendor in vendors for event_id in happen(vendor, 20)]

        def work() -> None:
            try:
                webhooks.fan_out(at=clock.now())
                webhooks.send_due()
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while send():
            pass
        assert sorted(receiver.ids) == sorted(ids)


def test_a_sender_that_was_killed_is_followed_by_another_when_its_lease_ends(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor)
    WebhookEndpoint.objects.update(busy_until=webhooks._machine_now() + webhooks.LEASE)
    assert send() == 0
    WebhookEndpoint.objects.update(busy_until=webhooks._machine_now() - timedelta(seconds=1))
    assert send() == 1


# --- acts -----------------------------------------------------------------------------------------------------


def test_while_a_secret_is_replaced_both_sign(vendor: Organization, receiver: Receiver) -> None:
    endpoint, old = endpoint_of(vendor, receiver.url)
    at = clock.now()
    endpoint, new = webhooks.rotate_secret(endpoint=endpoint, by=DESK, at=at)
    assert new != old
    happen(vendor)
    send(at + timedelta(hours=23))
    happen(vendor)
    send(at + timedelta(hours=25))
    during, after = receiver.seen
    Webhook(old).verify(during.body, during.headers)
    Webhook(new).verify(during.body, during.headers)
    Webhook(new).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(after.body, after.headers)


def test_secrets_are_long_different_and_in_no_record(vendor: Organization) -> None:
    endpoint, first = endpoint_of(vendor, "https://hooks.example/a")
    _, second = webhooks.rotate_secret(endpoint=endpoint, by=DESK, at=clock.now())
    assert first.startswith("whsec_")
    assert len(first) == 50
    records = json.dumps(list(LedgerEntry.objects.values_list("evidence", flat=True)))
    assert first not in records
    assert second not in records


def test_a_ping_is_sent_at_once_and_is_no_event(vendor: Organization, receiver: Receiver) -> None:
    endpoint, secret = endpoint_of(vendor, receiver.url)
    webhooks.ping(endpoint=endpoint, by=DESK, at=clock.now())
    send()
    [seen] = receiver.seen
    body = Webhook(secret).verify(seen.body, seen.headers)
    assert body["type"] == "webhook.ping"
    assert body["data"] == {"endpoint_id": str(endpoint.public_id)}
    assert not events.events_of(vendor.pk).exists()


def test_a_delivery_is_replayed_under_its_id(vendor: Organization, receiver: Receiver) -> None:
    endpoint_of(vendor, receiver.url)
    [event_id] = happen(vendor)
    send()
    delivery = webhooks.replay(delivery=WebhookDelivery.objects.get(), by=DESK, at=clock.now())
    assert webhooks.state_of(delivery) == "pending"
    send()
    assert receiver.ids == [event_id, event_id]
    assert len(WebhookDelivery.objects.get().log) == 2


def test_a_day_is_replayed(vendor: Organization, receiver: Receiver) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url)
    at = clock.now()
    first = happen(vendor, 2)
    send(at)
    happen(vendor, 2)
    send(at + timedelta(days=2))
    count = webhooks.replay_period(
        endpoint=endpoint, since=at, until=at + timedelta(days=1), by=DESK, at=at + timedelta(days=3)
    )
    assert count == 2
    before = len(receiver.seen)
    send(at + timedelta(days=3))
    assert sorted(receiver.ids[before:]) == sorted(first)
    with pytest.raises(InvalidEndpoint):
        webhooks.replay_period(endpoint=endpoint, since=at, until=at, by=DESK, at=at)


def test_what_is_asked_for_now_does_not_wait_for_the_end_of_a_rest(
    vendor: Organization, receiver: Receiver
) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url)
    happen(vendor)
    receiver.answers = [status(500)]
    at = clock.now()
    send(at)
    webhooks.ping(endpoint=endpoint, by=DESK, at=at)
    assert send(at) == 1


def test_nothing_is_sent_to_an_endpoint_that_is_deleted(vendor: Organization, receiver: Receiver) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url)
    happen(vendor)
    webhooks.fan_out(at=clock.now())
    for _ in range(2):
        webhooks.delete_endpoint(endpoint=endpoint, by=DESK, at=clock.now())
    happen(vendor)
    assert send() == 0
    endpoint.refresh_from_db()
    assert (endpoint.secret, endpoint.previous_secret) == ("", "")
    assert LedgerEntry.objects.filter(act="webhook_endpoint.deleted").count() == 1
    assert not webhooks.endpoints_of(vendor).exists()


def test_what_is_switched_off_takes_no_ping_and_no_replay(vendor: Organization, receiver: Receiver) -> None:
    endpoint, _ = endpoint_of(vendor, receiver.url)
    happen(vendor)
    send()
    webhooks.change_endpoint(
        endpoint=endpoint,
        url=receiver.url,
        label="",
        event_types=[],
        is_enabled=False,
        by=DESK,
        at=clock.now(),
    )
    with pytest.raises(EndpointDisabled):
        webhooks.ping(endpoint=endpoint, by=DESK, at=clock.now())
    with pytest.raises(EndpointDisabled):
        webhooks.replay(delivery=WebhookDelivery.objects.get(), by=DESK, at=clock.now())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "https://",
        "https:///path",
        "https://user:secret@hooks.example/",
        "https://hooks.example/#part",
        "https://hooks.example:0/",
        "https://hooks.example:99999/",
        "https://hooks.example/a b",
        "https://hooks.example/\n",
        "https://höoks.example/",
        "https://[::1",
        "https://10.0.0.1/",
        "https://[fd00::1]/",
        "https://169.254.169.254/latest/meta-data",
        "http://93.184.216.34/",
        "https://hooks.example/" + "x" * 500,
    ],
)
def test_an_address_that_cannot_be_is_refused_at_once(vendor: Organization, url: str) -> None:
    with pytest.raises(InvalidEndpoint) as refusal:
        endpoint_of(vendor, url)
    assert refusal.value.field == "url"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1/", "http://hooks.example/"])
def test_without_the_switch_for_sandboxes_loopback_and_http_are_refused(
    vendor: Organization, settings: Any, url: str
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = False
    with pytest.raises(InvalidEndpoint):
        endpoint_of(vendor, url)


def test_a_vendor_has_a_bounded_number_of_endpoints(vendor: Organization) -> None:
    for number in range(webhooks.MAX_ENDPOINTS):
        endpoint_of(vendor, f"https://hooks.example/{number}")
    with pytest.raises(TooManyEndpoints):
        endpoint_of(vendor, "https://hooks.example/more")
    endpoint_of(OrganizationFactory.create(), "https://hooks.example/another")


def test_unknown_event_types_are_refused(vendor: Organization) -> None:
    with pytest.raises(InvalidEndpoint) as refusal:
        endpoint_of(vendor, "https://hooks.example/", event_types=["vendor.to_tell"])
    assert refusal.value.field == "event_types"


def test_old_deliveries_are_forgotten(vendor: Organization, receiver: Receiver) -> None:
    endpoint_of(vendor, receiver.url)
    happen(vendor, 3)
    send()
    at = clock.now()
    assert webhooks.forget_old(at=at + timedelta(days=29)) == 0
    assert webhooks.forget_old(at=at + timedelta(days=31)) == 3


def test_the_mail_of_an_endpoint_is_one(vendor: Organization) -> None:
    payload = {
        "vendor_id": vendor.pk,
        "endpoint_id": str(uuid4()),
        "url": "https://x.example",
        "reason": "R.",
    }
    event_id = outbox.announce(event="endpoint.disabled", payload=payload, at=clock.now())
    outbox.pump()
    assert isinstance(event_id, UUID)
    assert SentMessage.objects.get(kind="endpoint_disabled").event_id == event_id
