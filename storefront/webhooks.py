"""Webhooks: a vendor's events, sent to where it wants them, signed by Standard Webhooks.

An event becomes one delivery per endpoint (`fan_out`), and a delivery is sent until it is taken or given up
(`send_due`). Both are rung by beat each second and work off rows, outside the outbox: a hundred thousand deliveries
must not stand in the queue before the next withdrawal. `WebhookDelivery.due_at` is the due row of the retry schedule.

An endpoint that does not answer is left in peace for a while, and is asked by one call at a time after that: it costs
the others nothing, and its own deliveries wait without using up their attempts.
"""

import json
import random
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from standardwebhooks import Webhook

from authorization import clock, fence, ledger, outbox
from authorization.actors import SYSTEM, Actor
from authorization.models import OutboxRow
from catalog.models import Organization
from storefront import events
from storefront.models import WebhookDelivery, WebhookEndpoint
from storefront.webhook_calls import ForbiddenAddress, Line, Outcome, check_address

logger = structlog.get_logger(__name__)

PING = "webhook.ping"
# Seconds from one attempt to the next; after the last one the delivery is given up.
RETRY_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
ATTEMPTS = len(RETRY_AFTER_S) + 1
# Up to a tenth more, so that what failed together is not tried again together.
JITTER = 0.1
# What an answer may ask for in its Retry-After.
LONGEST_WAIT_S = 86_400
# The old secret signs beside the new one for so long.
ROTATION = timedelta(hours=24)
# An endpoint that took nothing for so long is switched off; its vendor is told.
PATIENCE = timedelta(days=5)
MAX_ENDPOINTS = 10
SECRET_BYTES = 32
# Attempts that a delivery remembers.
LOGGED = 20

# Events made into deliveries in one transaction, and deliveries sent in one go before others have their turn.
FAN_OUT_BATCH = 1000
FAN_OUT_S = 10.0
SEND_BATCH = 50
# Failures in a row after which an endpoint is left in peace though it answers.
FAILURES_IN_A_ROW = 5
REST_S = (5.0, 300.0)
# Endpoints that one sender talks to at a time, and for how long one bell keeps it at it. With one call more it stays
# below the time limit of a task.
LINES = 8
SEND_S = 15.0
# So often a sender whose lines are all waiting looks for what else has fallen due.
LOOK_EVERY_S = 0.5
# Longer than one sender may live.
LEASE = timedelta(seconds=60)


class InvalidEndpoint(ValueError):
    """An endpoint that is not kept so. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class TooManyEndpoints(Exception):
    """A vendor has as many endpoints as it may."""


class EndpointDisabled(Exception):
    """Nothing is sent to an endpoint that is switched off."""


# --- acts ---------------------------------------------------------------------------------------------------


def make_endpoint(
    *, vendor: Organization, url: str, label: str, event_types: Sequence[str], by: Actor, at: datetime
) -> tuple[WebhookEndpoint, str]:
    """The endpoint and its secret, which is not shown again. It is told what happens from now on."""
    check_endpoint(url=url, label=label, event_types=event_types)
    secret = _new_secret()
    with transaction.atomic():
        # The vendor's row is what two requests at once wait at.
        Organization.objects.select_for_update(no_key=True).get(pk=vendor.pk)
        if endpoints_of(vendor).count() >= MAX_ENDPOINTS:
            raise TooManyEndpoints(f"A vendor has at most {MAX_ENDPOINTS} endpoints; delete one first.")
        endpoint = WebhookEndpoint.objects.create(
            vendor=vendor,
            url=url,
            label=label.strip(),
            event_types=sorted(event_types),
            secret=secret,
            created_at=at,
            position=events.newest_position(),
        )
        _record("made", endpoint, by, at, url=url, event_types=endpoint.event_types)
    return endpoint, secret


def change_endpoint(
    *,
    endpoint: WebhookEndpoint,
    url: str,
    label: str,
    event_types: Sequence[str],
    is_enabled: bool,
    by: Actor,
    at: datetime,
) -> WebhookEndpoint:
    """The whole of what its owner may say of it. Switched on again it is sent what it missed, as far as it is kept."""
    check_endpoint(url=url, label=label, event_types=event_types)
    with transaction.atomic():
        locked = _lock(endpoint)
        locked.url, locked.label, locked.event_types = url, label.strip(), sorted(event_types)
        if is_enabled and not locked.is_enabled:
            locked.disabled_reason, locked.failing_since = "", None
        elif locked.is_enabled and not is_enabled:
            locked.disabled_reason = "Switched off by its owner."
        locked.is_enabled = is_enabled
        # What was wrong with it may be mended by this.
        locked.rests_until = None
        fields = ["url", "label", "event_types", "is_enabled", "disabled_reason", "failing_since"]
        locked.save(update_fields=[*fields, "rests_until"])
        _record(
            "changed", locked, by, at, url=url, event_types=locked.event_types, is_enabled=locked.is_enabled
        )
    return locked


def rotate_secret(*, endpoint: WebhookEndpoint, by: Actor, at: datetime) -> tuple[WebhookEndpoint, str]:
    """A new secret. The old one signs beside it for ROTATION; one that was being replaced already ends now."""
    secret = _new_secret()
    with transaction.atomic():
        locked = _lock(endpoint)
        locked.previous_secret, locked.previous_secret_until = locked.secret, at + ROTATION
        locked.secret = secret
        locked.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
        _record("secret_rotated", locked, by, at, previous_until=locked.previous_secret_until.isoformat())
    return locked, secret


def delete_endpoint(*, endpoint: WebhookEndpoint, by: Actor, at: datetime) -> None:
    """Nothing more is sent to it. What was stays on record, its secrets do not. Deleting twice is as good as once."""
    with transaction.atomic():
        locked = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
        if locked.deleted_at is not None:
            return
        locked.deleted_at, locked.is_enabled, locked.disabled_reason = at, False, "Deleted by its owner."
        locked.secret = locked.previous_secret = ""
        locked.save(
            update_fields=["deleted_at", "is_enabled", "disabled_reason", "secret", "previous_secret"]
        )
        WebhookDelivery.objects.filter(endpoint=locked, due_at__isnull=False).update(
            due_at=None, given_up_at=at
        )
        _record("deleted", locked, by, at, url=locked.url)


def ping(*, endpoint: WebhookEndpoint, by: Actor, at: datetime) -> WebhookDelivery:
    """Send it something that tells of nothing, now. Raises EndpointDisabled."""
    with transaction.atomic():
        locked = _lock_enabled(endpoint)
        delivery = WebhookDelivery.objects.create(
            endpoint=locked, event_id=uuid4(), event=PING, position=0, created_at=at, due_at=at
        )
        _record("pinged", locked, by, at, event_id=str(delivery.event_id))
    return delivery


def replay(*, delivery: WebhookDelivery, by: Actor, at: datetime) -> WebhookDelivery:
    """Send one delivery again, from the first attempt on. Raises EndpointDisabled."""
    with transaction.atomic():
        endpoint = _lock_enabled(delivery.endpoint)
        _again(WebhookDelivery.objects.filter(pk=delivery.pk), at)
        _record("replayed", endpoint, by, at, event_id=str(delivery.event_id))
    return WebhookDelivery.objects.get(pk=delivery.pk)


def replay_period(
    *, endpoint: WebhookEndpoint, since: datetime, until: datetime, by: Actor, at: datetime
) -> int:
    """Send all again that was made for it in [since, until). Returns how many. Raises EndpointDisabled."""
    if since >= until:
        raise InvalidEndpoint("since", "The period ends before it begins; take an earlier `since`.")
    with transaction.atomic():
        locked = _lock_enabled(endpoint)
        in_period = WebhookDelivery.objects.filter(
            endpoint=locked, created_at__gte=max(since, at - events.KEPT), created_at__lt=until
        )
        count = _again(in_period.exclude(event=PING), at)
        _record(
            "period_replayed",
            locked,
            by,
            at,
            since=since.isoformat(),
            until=until.isoformat(),
            deliveries=count,
        )
    return count


def endpoints_of(vendor: Organization) -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.filter(vendor=vendor, deleted_at__isnull=True)


def state_of(delivery: WebhookDelivery) -> str:
    """pending, delivered or given_up."""
    if delivery.delivered_at is not None:
        return "delivered"
    return "given_up" if delivery.given_up_at is not None else "pending"


def in_state(deliveries: QuerySet[WebhookDelivery], state: str) -> QuerySet[WebhookDelivery]:
    """Those in this state; all of them where it is empty."""
    match state:
        case "delivered":
            return deliveries.filter(delivered_at__isnull=False)
        case "given_up":
            return deliveries.filter(given_up_at__isnull=False)
        case "pending":
            return deliveries.filter(delivered_at__isnull=True, given_up_at__isnull=True)
    return deliveries


def check_endpoint(*, url: str, label: str, event_types: Iterable[str]) -> None:
    """Raises InvalidEndpoint. Where the name leads is checked with every call."""
    _check_url(url)
    if len(label.strip()) > 64:
        raise InvalidEndpoint("label", "Take a label of at most 64 characters.")
    unknown = sorted(set(event_types) - set(events.EVENT_TYPES))
    if unknown:
        known = ", ".join(events.EVENT_TYPES)
        raise InvalidEndpoint("event_types", f"Not known: {', '.join(unknown)[:200]}. Known: {known}.")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidEndpoint("url", "This is no address. Example: https://hooks.example.com/shop") from error
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > 500:
        raise InvalidEndpoint(
            "url", "Give at most 500 ASCII characters without spaces; encode a name or path that has others."
        )
    to_loopback = settings.WEBHOOKS_TO_LOOPBACK
    if parts.scheme != "https" and not (parts.scheme == "http" and to_loopback):
        raise InvalidEndpoint("url", "Give an https address, e.g. https://hooks.example.com/shop")
    if not host or port == 0:
        raise InvalidEndpoint("url", "The address names no host. Example: https://hooks.example.com/shop")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidEndpoint("url", "Leave out user, password and fragment; the signature says who sends.")
    try:
        address = ip_address(host)
    except ValueError:
        return
    try:
        check_address(
            address, host=host, is_tls=parts.scheme == "https", may_be_loopback=settings.WEBHOOKS_TO_LOOPBACK
        )
    except ForbiddenAddress as refusal:
        raise InvalidEndpoint("url", str(refusal)) from refusal


def _lock(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    return WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk, deleted_at__isnull=True)


def _lock_enabled(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    locked = _lock(endpoint)
    if not locked.is_enabled:
        raise EndpointDisabled(f"The endpoint is switched off: {locked.disabled_reason} Switch it on first.")
    # Who asks for it now does not wait until the endpoint's rest is over.
    WebhookEndpoint.objects.filter(pk=locked.pk).update(rests_until=None)
    return locked


def _again(deliveries: QuerySet[WebhookDelivery], at: datetime) -> int:
    return deliveries.update(due_at=at, attempts=0, delivered_at=None, given_up_at=None)


def _new_secret() -> str:
    return f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def _record(act: str, endpoint: WebhookEndpoint, by: Actor, at: datetime, **evidence: Any) -> None:
    ledger.record(
        act=f"webhook_endpoint.{act}",
        subject_kind="webhook_endpoint",
        subject_id=endpoint.pk,
        by=by,
        at=at,
        evidence={"vendor_id": endpoint.vendor_id, **evidence},
    )


# --- events become deliveries ---------------------------------------------------------------------------------

# Which of the vendor's events come next; every value is a parameter. Spelled as the index auth_outbox_vendor has it.
_NEXT = f"""
    FROM authorization_outboxrow
    WHERE {events.OF_VENDOR.replace("%s", "%(vendor)s")} AND handler = '' AND position IS NOT NULL
      AND position > %(after)s AND position <= %(until)s AND created_at >= %(since)s
      AND event IN ({{wanted}})
"""
_UP_TO = (
    f"SELECT COUNT(*), MAX(position) FROM (SELECT position {_NEXT} ORDER BY position LIMIT %(limit)s) batch"  # noqa: S608
)
# Endpoints whose vendor has events to come. Those of the others are left alone, however far the log has moved on.
_BEHIND = f"""
    SELECT endpoint.id FROM storefront_webhookendpoint endpoint
    WHERE endpoint.is_enabled AND endpoint.deleted_at IS NULL AND EXISTS (
        SELECT 1 FROM authorization_outboxrow
        WHERE {events.OF_VENDOR.replace("%s", "endpoint.vendor_id")} AND handler = '' AND position IS NOT NULL
          AND position > endpoint.position AND position <= %(newest)s)
    ORDER BY endpoint.id
"""  # noqa: S608
_INSERT = f"""
    INSERT INTO storefront_webhookdelivery
           (endpoint_id, event_id, event, position, created_at, due_at, attempts, last_error, log)
    SELECT %(endpoint)s, event_id, event, position, {{at}}, {{at}}, 0, '', {{empty}} {_NEXT}
    ORDER BY position
    ON CONFLICT DO NOTHING
"""


def are_made(*, up_to: int) -> bool:
    """Has every endpoint the deliveries of its vendor's events up to this position?"""
    return not _behind(up_to)


def _behind(newest: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND, {"newest": newest})
        return [endpoint_id for (endpoint_id,) in cursor.fetchall()]


def fan_out(*, at: datetime) -> int:
    """Make the deliveries of the events that have got their place in the order. Returns how many.

    What FAN_OUT_S is too short for is left to the next bell.
    """
    newest = events.newest_position()
    made, until = 0, time.monotonic() + FAN_OUT_S
    for endpoint_id in _behind(newest):
        count = FAN_OUT_BATCH
        while count == FAN_OUT_BATCH and time.monotonic() < until:
            count = _fan_out_batch(endpoint_id, newest, at)
            made += count
    return made


def _fan_out_batch(endpoint_id: int, newest: int, at: datetime) -> int:
    """Cursor and deliveries in one transaction, so that each event is taken once whatever breaks."""
    with transaction.atomic():
        rows = WebhookEndpoint.objects.filter(pk=endpoint_id, is_enabled=True, position__lt=newest)
        # One that another bell is at is left to it.
        endpoint = rows.select_for_update(no_key=True, skip_locked=True).first()
        if endpoint is None:
            return 0
        wanted = endpoint.event_types or list(events.EVENT_TYPES)
        names = {f"event_{place}": event for place, event in enumerate(wanted)}
        parts = {
            "wanted": ", ".join(f"%({name})s" for name in names),
            "at": "CAST(%(at)s AS timestamptz)" if connection.vendor == "postgresql" else "%(at)s",
            "empty": "CAST('[]' AS jsonb)" if connection.vendor == "postgresql" else "'[]'",
        }
        instant = connection.ops.adapt_datetimefield_value
        parameters: dict[str, Any] = {
            **names,
            "endpoint": endpoint.pk,
            "vendor": endpoint.vendor_id,
            "after": endpoint.position,
            "until": newest,
            "since": instant(at - events.KEPT),
            "at": instant(at),
            "limit": FAN_OUT_BATCH,
        }
        with connection.cursor() as cursor:
            cursor.execute(_UP_TO.format(**parts), parameters)
            count, last = cursor.fetchone()
            if count:
                cursor.execute(_INSERT.format(**parts), parameters | {"until": last})
        # A full batch ends with its last event; less than that means that nothing is left up to the newest.
        position = last if count == FAN_OUT_BATCH else newest
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(position=position)
    return int(count)


def forget_old(*, at: datetime, limit: int = 5000) -> int:
    """Drop the oldest deliveries whose events are not kept any more. Returns how many."""
    # Ids follow the clock closely enough: nobody looks for old ones among all.
    first = WebhookDelivery.objects.order_by("pk").values_list("pk", "created_at")[:limit]
    ids = [pk for pk, made_at in first if made_at < at - events.KEPT]
    for start in range(0, len(ids), 500):
        WebhookDelivery.objects.filter(pk__in=ids[start : start + 500]).delete()
    return len(ids)


# --- deliveries are sent --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parcel:
    """One delivery, ready to be sent."""

    delivery: WebhookDelivery
    webhook_id: str
    body: str


@dataclass
class _Round:
    """What one endpoint is sent in one go. Threads read it and talk; they touch no database."""

    endpoint: WebhookEndpoint
    parcels: list[_Parcel]
    secrets: list[str]
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, until: float) -> "_Round":
        line = Line(self.endpoint.url, may_be_loopback=settings.WEBHOOKS_TO_LOOPBACK)
        failures = 0
        try:
            for parcel in self.parcels:
                if self.outcomes and time.monotonic() > until:
                    break
                try:
                    outcome = line.post(parcel.body.encode(), self._headers(parcel))
                except Exception as error:
                    # A fault of ours: it must not keep the other endpoints from what is theirs.
                    logger.exception("webhook.not_sent", endpoint=str(self.endpoint.public_id))
                    outcome = Outcome(None, f"It could not be sent: {type(error).__name__}.", 0.0)
                self.outcomes.append(outcome)
                failures = 0 if outcome.is_success else failures + 1
                if outcome.status in (None, 410) or outcome.retry_after_s or failures >= FAILURES_IN_A_ROW:
                    break
        finally:
            line.close()
        return self

    def _headers(self, parcel: _Parcel) -> dict[str, str]:
        # Receivers refuse what is old by their own clocks: the machine's, not the shop's of an exercise.
        now = clock.machine_now()
        signatures = [Webhook(secret).sign(parcel.webhook_id, now, parcel.body) for secret in self.secrets]
        return {
            "Content-Type": "application/json",
            "User-Agent": "Clearline-Webhooks/1",
            "webhook-id": parcel.webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def send_due(*, at: Callable[[], datetime] = clock.now) -> int:
    """Send what is due, until nothing is or SEND_S is spent. Returns how many attempts were made.

    One sender at a time, with a line to each of a few endpoints: one that hangs keeps its own line busy only.
    """
    _refuse_inside()
    if _is_sender_at_work():
        return 0
    until, made = time.monotonic() + SEND_S, 0
    pool = ThreadPoolExecutor(max_workers=LINES, thread_name_prefix="webhook")
    under_way: set[Future[_Round]] = set()
    try:
        while True:
            while len(under_way) < LINES and time.monotonic() < until:
                round_ = _next_round(at())
                if round_ is None:
                    break
                under_way.add(pool.submit(round_.run, until))
            if not under_way:
                return made
            done, under_way = wait(under_way, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            for future in done:
                made += _record_round(future.result(), at())
    finally:
        pool.shutdown(wait=True)


def _refuse_inside() -> None:
    fence.refuse_inside("webhook")
    # As the fence does: the block that a test case wraps around everything is not ours.
    if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise fence.FenceMisuse("No webhook is sent inside a transaction.")


def _is_sender_at_work() -> bool:
    """Does another one still take up endpoints? Then this worker is left to more urgent work.

    Asked without a lock: two that start at the same instant both work, on different endpoints.
    """
    taken_lately = _machine_now() + LEASE - timedelta(seconds=SEND_S)
    return WebhookEndpoint.objects.filter(busy_until__gt=taken_lately).exists()


def _next_round(at: datetime) -> _Round | None:
    """The next endpoint that something is due for, claimed; the one that waited longest first."""
    due = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), due_at__lte=at)
    now = _machine_now()
    free = WebhookEndpoint.objects.filter(
        Q(rests_until__isnull=True) | Q(rests_until__lte=at),
        Q(busy_until__isnull=True) | Q(busy_until__lte=now),
        Exists(due),
        is_enabled=True,
        deleted_at__isnull=True,
    )
    for endpoint in free.order_by(F("busy_until").asc(nulls_first=True), "pk")[:LINES]:
        mine = WebhookEndpoint.objects.filter(pk=endpoint.pk, busy_until=endpoint.busy_until)
        if not mine.update(busy_until=now + LEASE):
            continue
        parcels = _pack(endpoint, at)
        if parcels:
            return _Round(endpoint, parcels, secrets_in_force(endpoint, at))
        _release(endpoint)
    return None


def _pack(endpoint: WebhookEndpoint, at: datetime) -> list[_Parcel]:
    rows = endpoint.deliveries.filter(due_at__lte=at).order_by("due_at", "position")[:SEND_BATCH]
    deliveries = list(rows)
    found = OutboxRow.objects.filter(event_id__in=[row.event_id for row in deliveries], handler="")
    told = {row.event_id: row for row in found}
    parcels, gone = [], []
    for delivery in deliveries:
        if delivery.event == PING:
            endpoint_id = {"endpoint_id": str(endpoint.public_id)}
            shown = events.present(delivery.event_id, PING, delivery.created_at, None, endpoint_id)
        elif delivery.event_id in told:
            shown = events.present_event(told[delivery.event_id])
        else:
            gone.append(delivery.pk)
            continue
        body = json.dumps(shown, separators=(",", ":"), ensure_ascii=False)
        parcels.append(_Parcel(delivery, str(delivery.event_id), body))
    if gone:
        WebhookDelivery.objects.filter(pk__in=gone).update(
            due_at=None, given_up_at=at, last_error="The event is not kept any more."
        )
    return parcels


def secrets_in_force(endpoint: WebhookEndpoint, at: datetime) -> list[str]:
    until = endpoint.previous_secret_until
    is_rotating = bool(endpoint.previous_secret) and until is not None and at < until
    return [endpoint.secret, *([endpoint.previous_secret] if is_rotating else [])]


def _record_round(round_: _Round, at: datetime) -> int:
    """What came of it, in one transaction for the endpoint."""
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=round_.endpoint.pk)
        for parcel, outcome in zip(round_.parcels, round_.outcomes, strict=False):
            _note(parcel.delivery, outcome, at, is_wanted=endpoint.deleted_at is None)
        last = round_.outcomes[-1]
        if any(outcome.is_success for outcome in round_.outcomes):
            endpoint.failing_since = None
        endpoint.rests_until = None
        if not last.is_success:
            endpoint.failing_since = endpoint.failing_since or at
            endpoint.rests_until = at + timedelta(seconds=_rest_s(last, at - endpoint.failing_since))
        endpoint.busy_until = _machine_now()
        endpoint.save(update_fields=["failing_since", "rests_until", "busy_until"])
        if endpoint.is_enabled and last.status == 410:
            _disable(endpoint, "It answered 410 Gone.", at)
        elif endpoint.is_enabled and endpoint.failing_since and at - endpoint.failing_since >= PATIENCE:
            _disable(endpoint, f"It took nothing since {endpoint.failing_since:%Y-%m-%d %H:%M} UTC.", at)
    return len(round_.outcomes)


def _note(delivery: WebhookDelivery, outcome: Outcome, at: datetime, *, is_wanted: bool) -> None:
    attempts = delivery.attempts + 1
    due_at = None
    if not outcome.is_success and attempts < ATTEMPTS and is_wanted:
        due_at = at + timedelta(seconds=_pause_s(attempts, outcome))
    entry = {
        "at": at.isoformat(),
        "status": outcome.status,
        "error": outcome.error,
        "took_ms": round(outcome.took_s * 1000),
    }
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        attempts=attempts,
        last_attempt_at=at,
        last_status=outcome.status,
        last_error=outcome.error,
        due_at=due_at,
        delivered_at=at if outcome.is_success else None,
        given_up_at=at if due_at is None and not outcome.is_success else None,
        log=[*delivery.log, entry][-LOGGED:],
    )


def _pause_s(attempts: int, outcome: Outcome) -> float:
    """Seconds to the next attempt when so many were made."""
    pause = RETRY_AFTER_S[attempts - 1] * (1 + random.uniform(0, JITTER))  # noqa: S311  guards nothing
    return max(pause, min(outcome.retry_after_s or 0, LONGEST_WAIT_S))


def _rest_s(outcome: Outcome, failing: timedelta) -> float:
    """How long the endpoint is left in peace: the longer, the longer it has been failing."""
    if outcome.status == 410:
        return 0.0
    shortest, longest = REST_S
    rest = min(max(failing.total_seconds() / 4, shortest), longest)
    return max(rest, min(outcome.retry_after_s or 0, LONGEST_WAIT_S))


def _disable(endpoint: WebhookEndpoint, reason: str, at: datetime) -> None:
    endpoint.is_enabled, endpoint.disabled_reason = False, reason
    endpoint.save(update_fields=["is_enabled", "disabled_reason"])
    payload = {
        "vendor_id": endpoint.vendor_id,
        "endpoint_id": str(endpoint.public_id),
        "url": endpoint.url,
        "reason": reason,
    }
    _record("disabled", endpoint, SYSTEM, at, reason=reason)
    outbox.announce(event="endpoint.disabled", payload=payload, at=at)
    logger.warning("webhook.endpoint_disabled", endpoint=str(endpoint.public_id), reason=reason)


def _release(endpoint: WebhookEndpoint) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(busy_until=_machine_now())


def _machine_now() -> datetime:
    # Leases are a matter of processes, not of business.
    return clock.machine_now()
