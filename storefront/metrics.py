"""GET /metrics for Prometheus. What each number means: docs/numbers.md.

All of it is read from the database at the scrape: a counter kept by one process would be a part of the truth only, and
several of them behind one address would take turns. Nobody without the token gets an answer; without a token in the
settings there is no such page.
"""

import secrets
from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Q, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from authorization import clock, fence, outbox, sealing
from authorization.models import (
    LedgerSeal,
    OutboxRow,
    PendingChange,
    ReconcilerRun,
    Revocation,
    Sweep,
    SweepChunk,
)
from catalog.models import ListingHost, OfferState
from storefront import numbers
from storefront.models import Notice, Order, WebhookDelivery, WebhookEndpoint

# Over so many withdrawals the durations are given.
LAST_WITHDRAWALS = 100


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    if not settings.METRICS_TOKEN:
        raise Http404
    if not _is_allowed(request):
        answer = HttpResponse(
            "Give the token: Authorization: Bearer ...\n", status=401, content_type="text/plain"
        )
        answer["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return answer
    registry = CollectorRegistry()
    registry.register(_Shop(clock.now()))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _is_allowed(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # As bytes, in constant time: how long the answer takes must not tell how much of the token was right.
    is_right = secrets.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    return scheme.lower() == "bearer" and is_right


class _Shop(Collector):
    """The shop at one instant."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def describe(self) -> list[Metric]:
        # Else the registry would ask for all of it once more, to learn the names.
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._outbox()
        yield from self._reconciler()
        yield from self._sweeps()
        yield from self._withdrawals()
        yield from self._shop()
        yield from self._webhooks()
        yield from self._records()

    def _outbox(self) -> Iterator[Metric]:
        lag = outbox.oldest_open_age_s(self._at) or 0.0
        yield _gauge("clearline_outbox_lag_seconds", "How long the oldest work that is due has waited.", lag)
        due = outbox.open_rows(self._at).count()
        yield _gauge("clearline_outbox_due_rows", "Work that is due and not done.", due)
        dead = OutboxRow.objects.filter(is_dead=True, settled_at__isnull=True).count()
        yield _gauge("clearline_outbox_dead_rows", "Work that was given up, and nobody has looked at.", dead)

    def _reconciler(self) -> Iterator[Metric]:
        # Rounds that found nothing are deleted after a while, the others are kept: the sums never fall.
        sums = ReconcilerRun.objects.aggregate(
            live=Sum("found_live", default=0), down=Sum("found_suspended", default=0)
        )
        found = CounterMetricFamily(
            "clearline_reconciler_found",
            "Offers that the events had missed: live without authority, or suspended though allowed. Should be 0.",
            labels=["what"],
        )
        found.add_metric(["live"], sums["live"])
        found.add_metric(["suspended"], sums["down"])
        yield found
        last = ReconcilerRun.objects.filter(finished_at__isnull=False).order_by("-started_at").first()
        if last is not None and last.finished_at is not None:
            yield _gauge(
                "clearline_reconciler_last_run_timestamp_seconds",
                "When the last round ended, on the shop's clock.",
                last.finished_at.timestamp(),
            )
            yield _gauge(
                "clearline_reconciler_last_run_duration_seconds",
                "How long the last round took.",
                (last.finished_at - last.started_at).total_seconds(),
            )
            yield _gauge(
                "clearline_reconciler_last_run_failed",
                "1 if the last round could not decide all offers.",
                bool(last.error),
            )

    def _sweeps(self) -> Iterator[Metric]:
        opened = Sweep.objects.filter(finished_at__isnull=True).aggregate(
            count=Count("id"), planned=Sum("planned_offers", default=0)
        )
        decided = SweepChunk.objects.filter(sweep__finished_at__isnull=True).aggregate(
            sum=Sum("decided", default=0)
        )
        yield _gauge("clearline_sweeps_open", "Sweeps that are not done.", opened["count"])
        yield _gauge(
            "clearline_sweep_offers_planned", "Offers that open sweeps have to look at.", opened["planned"]
        )
        yield _gauge("clearline_sweep_offers_decided", "Of these, those that were looked at.", decided["sum"])

    def _withdrawals(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "clearline_withdrawals", "Withdrawals of authority, those to come included."
        )
        total.add_metric([], Revocation.objects.count())
        yield total
        waiting = PendingChange.objects.filter(state=PendingChange.State.OPEN).aggregate(
            removals=Count("id", filter=Q(kind=PendingChange.Kind.REMOVAL)),
            planned=Count("id", filter=Q(kind=PendingChange.Kind.WITHDRAWAL)),
        )
        yield _gauge(
            "clearline_removals_pending", "Removals that wait for a second person.", waiting["removals"]
        )
        yield _gauge("clearline_withdrawals_planned", "Withdrawals for a later day.", waiting["planned"])
        durations = GaugeMetricFamily(
            "clearline_withdrawal_step_seconds",
            f"How long the steps of a withdrawal took, over the last {LAST_WITHDRAWALS}: median, 95 % and longest.",
            labels=["step", "quantile"],
        )
        counts = GaugeMetricFamily(
            "clearline_withdrawal_steps_measured",
            f"How many of the last {LAST_WITHDRAWALS} withdrawals have come to this step.",
            labels=["step"],
        )
        for spread in self._spreads():
            counts.add_metric([spread.name], spread.count)
            for quantile, seconds in (("0.5", spread.p50_s), ("0.95", spread.p95_s), ("1", spread.max_s)):
                if seconds is not None:
                    durations.add_metric([spread.name, quantile], seconds)
        yield durations
        yield counts

    def _spreads(self) -> list[numbers.Spread]:
        newest = numbers.with_steps(Revocation.objects.order_by("-id"))[:LAST_WITHDRAWALS]
        return numbers.spreads(numbers.timelines(list(newest), at=self._at, adds_up=False))

    def _shop(self) -> Iterator[Metric]:
        by_state = dict(ListingHost.objects.order_by().values_list("state").annotate(count=Count("id")))
        offers = GaugeMetricFamily("clearline_offers", "Host offers by state.", labels=["state"])
        for state in OfferState.values:
            offers.add_metric([state.lower()], by_state.get(state, 0))
        yield offers
        held = Order.objects.filter(state=Order.State.HELD).aggregate(
            count=Count("id"), overdue=Count("id", filter=Q(decide_by__lte=self._at))
        )
        yield _gauge("clearline_orders_held", "Orders that wait for a decision of the desk.", held["count"])
        yield _gauge("clearline_orders_overdue", "Of these, those past their deadline.", held["overdue"])
        drafts = Notice.objects.filter(published_at__isnull=True).count()
        yield _gauge("clearline_notices_unpublished", "Notices that were drafted and not published.", drafts)

    def _webhooks(self) -> Iterator[Metric]:
        endpoints = WebhookEndpoint.objects.filter(deleted_at__isnull=True).aggregate(
            failing=Count("id", filter=Q(failing_since__isnull=False)),
            disabled=Count("id", filter=Q(is_enabled=False) & ~Q(disabled_reason="")),
        )
        yield _gauge(
            "clearline_webhook_endpoints_failing", "Endpoints that take nothing now.", endpoints["failing"]
        )
        yield _gauge(
            "clearline_webhook_endpoints_disabled", "Endpoints that were switched off.", endpoints["disabled"]
        )
        due = WebhookDelivery.objects.filter(due_at__lte=self._at).count()
        yield _gauge("clearline_webhook_deliveries_due", "Deliveries that are due and not made.", due)

    def _records(self) -> Iterator[Metric]:
        yield _gauge("clearline_revision", "The newest change of authority.", fence.current_revision())
        newest = LedgerSeal.objects.order_by("-number").first()
        unsealed = sealing.unsealed(above=newest.settled_id if newest is not None else 0).count()
        yield _gauge(
            "clearline_ledger_unsealed_rows", "Entries of the ledger that no seal lists yet.", unsealed
        )
        if newest is not None:
            yield _gauge(
                "clearline_ledger_last_seal_timestamp_seconds",
                "When the ledger was sealed last, on the shop's clock.",
                newest.sealed_at.timestamp(),
            )


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=float(value))
