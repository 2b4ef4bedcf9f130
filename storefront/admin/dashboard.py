"""The desk's first page: what should be 0, what waits for somebody, and what is under way.

Each number is one cheap statement, asked when the page is: nothing is cached. Whoever may not read the rows neither
sees their number nor has it asked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, Sum
from django.http import HttpRequest
from django.urls import reverse

from authorization import clock, outbox, reconciler
from authorization.models import OutboxRow, PendingChange, Sweep, SweepChunk
from catalog.models import ListingHost, OfferState
from storefront import held_orders
from storefront.admin.numbers import say_span
from storefront.admin.sweeps import say_seconds
from storefront.health import OUTBOX_LATE_S
from storefront.models import Notice, WebhookEndpoint

# A round is begun every minute: without one for so long nobody looks.
ROUND_LATE_S = 180
DAY = timedelta(days=1)
AHEAD = (1, 7, 30)


@dataclass(frozen=True)
class Card:
    """`alarm`: words of what is wrong, for the eye and the ear; empty when all is well."""

    label: str
    number: str
    note: str
    url: str
    alarm: str = ""


@dataclass(frozen=True)
class _Asked:
    """Cards and what somebody must be allowed to read to see them."""

    permission: str
    ask: Callable[[datetime], Iterator[Card]]


@dataclass(frozen=True)
class Group:
    title: str
    cards: tuple[Card, ...]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK."""
    at = clock.now()
    groups = []
    for title, asked in _GROUPS:
        cards = [card for part in asked if request.user.has_perm(part.permission) for card in part.ask(at)]
        if cards:
            groups.append(Group(title, tuple(cards)))
    context["groups"] = groups
    context["as_of"] = at
    return context


def _list(model: str, **query: Any) -> str:
    url = reverse(f"admin:{model}_changelist")
    return f"{url}?{urlencode(query)}" if query else url


# --- should be 0 ------------------------------------------------------------------------------------------------


def _reconciler(at: datetime) -> Iterator[Card]:
    found = reconciler.findings(at - DAY)
    wrong = found.found_live + found.found_suspended
    last = found.last_finished_at
    waited = None if last is None else max(0.0, (at - last).total_seconds())
    if waited is None:
        alarm = "No round in 24 hours: nobody looks."
    elif waited > ROUND_LATE_S:
        alarm = f"Late: the last round was {say_seconds(waited)} ago."
    elif wrong:
        alarm = "Missed by the events: look why."
    else:
        alarm = f"{found.failed} of {found.rounds} rounds failed." if found.failed else ""
    said = "no round" if last is None else f"last round {last:%H:%M:%S} UTC"
    note = (
        f"{found.found_live:,} live without authority, {found.found_suspended:,} down though allowed; {said}"
    )
    yield Card(
        "found by the reconciler, 24 h", f"{wrong:,}", note, _list("authorization_reconcilerrun"), alarm
    )


def _outbox(at: datetime) -> Iterator[Card]:
    dead = OutboxRow.objects.filter(is_dead=True, settled_at__isnull=True).count()
    alarm = "Given up: somebody must look." if dead else ""
    yield Card(
        "dead letters",
        f"{dead:,}",
        "work that was given up",
        _list("authorization_outboxrow", work="dead"),
        alarm,
    )
    lag = outbox.oldest_open_age_s(at) or 0.0
    alarm = "Late: are the workers at work?" if lag > OUTBOX_LATE_S else ""
    url = _list("authorization_outboxrow", work="open")
    yield Card("outbox lag", say_span(lag), "how long the oldest work that is due has waited", url, alarm)


def _webhooks(at: datetime) -> Iterator[Card]:
    kept = WebhookEndpoint.objects.filter(deleted_at__isnull=True)
    failing = kept.filter(
        Q(failing_since__isnull=False) | (Q(is_enabled=False) & ~Q(disabled_reason=""))
    ).count()
    alarm = "Their vendors do not hear from us." if failing else ""
    url = _list("storefront_webhookendpoint")
    yield Card(
        "webhooks failing", f"{failing:,}", "endpoints that take nothing, or were switched off", url, alarm
    )


# --- waits for somebody -----------------------------------------------------------------------------------------


def _removals(at: datetime) -> Iterator[Card]:
    waiting = PendingChange.objects.filter(kind=PendingChange.Kind.REMOVAL, state=PendingChange.State.OPEN)
    note = "nothing of it is sold; the pages wait"
    url = _list("authorization_pendingchange", kind__exact="removal")
    yield Card("removals for a second person", f"{waiting.count():,}", note, url)


def _orders(at: datetime) -> Iterator[Card]:
    overdue, waiting = held_orders.overdue(at=at).count(), held_orders.waiting().count()
    alarm = f"{overdue:,} overdue." if overdue else ""
    note = "held, paid and not shipped"
    yield Card(
        "orders to decide", f"{waiting:,}", note, _list("storefront_order", state__exact="held"), alarm
    )


def _notices(at: datetime) -> Iterator[Card]:
    drafts = Notice.objects.filter(published_at__isnull=True).count()
    url = _list("storefront_notice", published_at__isempty=1)
    yield Card("notices to publish", f"{drafts:,}", "drafted from the facts", url)


# --- under way and to come --------------------------------------------------------------------------------------


def _sweeps(at: datetime) -> Iterator[Card]:
    opened = Sweep.objects.filter(finished_at__isnull=True)
    planned = opened.aggregate(offers=Sum("planned_offers", default=0))["offers"]
    done = SweepChunk.objects.filter(sweep__finished_at__isnull=True, done_at__isnull=False)
    decided = done.aggregate(offers=Sum("decided", default=0))["offers"]
    rows = list(opened.order_by("id").values_list("started_at", "planned_at")[:1000])
    note = f"{decided:,} of {planned:,} offers looked at"
    if rows and decided and all(planned_at is not None for _, planned_at in rows):
        elapsed_s = (at - min(started_at for started_at, _ in rows)).total_seconds()
        note += f", about {say_seconds(max(0, planned - decided) * elapsed_s / decided)} to go"
    url = _list("authorization_sweep", finished_at__isempty=1)
    yield Card("sweeps under way", f"{len(rows):,}", note if rows else "all pages have followed", url)


def _withdrawals_to_come(at: datetime) -> Iterator[Card]:
    planned = PendingChange.objects.filter(kind=PendingChange.Kind.WITHDRAWAL, state=PendingChange.State.OPEN)
    next_at = planned.order_by("due_at").values_list("due_at", flat=True).first()
    note = "none is planned" if next_at is None else f"the next on {next_at:%Y-%m-%d %H:%M} UTC"
    url = _list("authorization_pendingchange", kind__exact="withdrawal")
    yield Card("withdrawals to come", f"{planned.count():,}", note, url)


def _ends(at: datetime) -> Iterator[Card]:
    """Clearances that end by themselves: an upper bound of what falls, which the page behind it works out."""
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    for days in AHEAD:
        count = live.filter(clearance_expires_at__lte=at + timedelta(days=days)).count()
        label = f"live offers whose leave ends in {days} day{'' if days == 1 else 's'}"
        note = "unless it is renewed, or something else carries them"
        yield Card(label, f"{count:,}", note, f"{reverse('exposure')}?days={days}")


_GROUPS: tuple[tuple[str, tuple[_Asked, ...]], ...] = (
    (
        "Should be 0",
        (
            _Asked("authorization.view_reconcilerrun", _reconciler),
            _Asked("authorization.view_outboxrow", _outbox),
            _Asked("storefront.view_webhookendpoint", _webhooks),
        ),
    ),
    (
        "Waits for somebody",
        (
            _Asked("storefront.view_order", _orders),
            _Asked("authorization.view_pendingchange", _removals),
            _Asked("storefront.view_notice", _notices),
        ),
    ),
    (
        "Under way, and to come",
        (
            _Asked("authorization.view_sweep", _sweeps),
            _Asked("authorization.view_pendingchange", _withdrawals_to_come),
            _Asked("authorization.view_decision", _ends),
        ),
    ),
)
