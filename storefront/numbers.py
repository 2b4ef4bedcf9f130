"""How long a withdrawal took: from the word to the decision, to the stop of sales, to the last page, vendor and reader.

Read from what each step left behind, for one withdrawal or a page of them, in a fixed number of statements. What has
not come about yet has no end, and says how far it is. The pages of a finished sweep, which may be a million, are added
up once (`count_finished`), so that who reads after that asks for one row of each withdrawal.

The sale stops at the commit of the decision, or at `effective_at` where that lies ahead; everything that follows is
counted from there.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Case, Count, F, Max, Min, Q, QuerySet, Sum, When
from django.db.models.functions import Coalesce

from authorization import outbox
from authorization.models import Delisting, PendingChange, Revocation, Sweep, SweepChunk
from storefront import events, webhooks
from storefront.models import CountedSweep, Notice, Order, SentMessage, WebhookDelivery
from storefront.vendors_told import DELISTED

# Steps by name, as people read them.
STEPS: dict[str, str] = {
    "decided": "Decided",
    "unsellable": "Not for sale",
    "first_page": "First page down",
    "last_page": "Last page down",
    "vendors_told": "Last vendor told",
    "notice_drafted": "Notice drafted",
    "notice_published": "Notice published",
    "proof": "Proof issued",
}
# How a step stands.
DONE, UNDER_WAY, WAITING, NOTHING, NOT_YET, UNKNOWN = (
    "done",
    "under way",
    "waits for a second person",
    "nothing to do",
    "not yet",
    "not measured",
)
# By sweep, what was found of it.
type _BySweep = dict[int, dict[str, Any]]
# Of a longer period the newest so many withdrawals are counted.
COUNTED = 1000


@dataclass(frozen=True)
class Step:
    """From when until when (empty: not yet). `done` of `total` says how far a step is that has several parts."""

    name: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    done: int | None = None
    total: int | None = None

    @property
    def title(self) -> str:
        return STEPS[self.name]

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True)
class Timeline:
    """`steps` in the order of STEPS. `held`: orders that it holds and nobody has decided on yet."""

    revocation: Revocation
    steps: tuple[Step, ...]
    is_cancelled: bool
    held: int

    @property
    def is_planned(self) -> bool:
        """Was it decided for a later day?"""
        return self.revocation.effective_at > self.revocation.revision.recorded_at

    def seconds(self, name: str) -> float | None:
        return next(step.seconds for step in self.steps if step.name == name)


@dataclass(frozen=True)
class Spread:
    """Of so many withdrawals, how long a step took, in seconds. None where none has come to it."""

    name: str
    count: int
    p50_s: float | None
    p95_s: float | None
    max_s: float | None

    @property
    def title(self) -> str:
        return STEPS[self.name]


def timeline_of(revocation: Revocation, *, at: datetime) -> Timeline:
    return timelines([revocation], at=at)[0]


def timelines(revocations: Sequence[Revocation], *, at: datetime, adds_up: bool = True) -> list[Timeline]:
    """In their order. They come with `with_steps`, or one that was fetched alone is asked again for its parts.

    Without `adds_up` what was not counted yet has no end: then it costs the same whatever the sweeps took down.
    """
    parts = _Parts(revocations, adds_up=adds_up)
    return [_timeline(revocation, parts, at) for revocation in revocations]


def with_steps(revocations: QuerySet[Revocation]) -> QuerySet[Revocation]:
    """What a timeline reads of the row and beside it."""
    return revocations.select_related("fact", "revision", "sweep", "removal_proof")


def decided_between(since: datetime, until: datetime) -> QuerySet[Revocation]:
    """The withdrawals that were decided in this period, the newest first."""
    rows = Revocation.objects.filter(revision__recorded_at__gte=since, revision__recorded_at__lt=until)
    return with_steps(rows).order_by("-id")


def spreads(found: Iterable[Timeline]) -> list[Spread]:
    """Each step over all of them, those that were cancelled before they took effect aside.

    How long the stop of sales took says nothing where it was meant for a later day.
    """
    counted = [timeline for timeline in found if not timeline.is_cancelled]
    at_once = [timeline for timeline in counted if not timeline.is_planned]
    return [
        _spread(name, [timeline.seconds(name) for timeline in (at_once if name == "unsellable" else counted)])
        for name in STEPS
    ]


def _spread(name: str, durations: Iterable[float | None]) -> Spread:
    known = sorted(seconds for seconds in durations if seconds is not None)
    if not known:
        return Spread(name, 0, None, None, None)

    def percentile(share: float) -> float:
        """The smallest that at least this share of them does not exceed: a duration that one of them had."""
        return known[ceil(len(known) * share) - 1]

    return Spread(name, len(known), percentile(0.5), percentile(0.95), known[-1])


# --- what is counted once ------------------------------------------------------------------------------------


def count_finished(*, at: datetime, within_s: float = 20) -> int:
    """Add up, once, what finished sweeps took down, and when the last vendor was told. Returns how many were written.

    What there is no time for is left to the next time, and shown as not counted until then.
    """
    until = time.monotonic() + within_s
    finished = Sweep.objects.filter(revocation__isnull=False, finished_at__isnull=False, counted_pages=None)
    written = 0
    # The newest first: those are what people look at.
    for sweep in finished.order_by("-id")[:COUNTED]:
        if time.monotonic() > until:
            return written
        _count(sweep)
        written += 1
    untold = CountedSweep.objects.filter(told_at__isnull=True, pages__gt=0, last_page_at__gt=at - events.KEPT)
    for counted in untold.order_by("-id")[:COUNTED]:
        if time.monotonic() > until:
            break
        last = _last_told(counted)
        if last is not None:
            CountedSweep.objects.filter(pk=counted.pk, told_at__isnull=True).update(told_at=last)
            written += 1
    return written


def _count(sweep: Sweep) -> None:
    outbox.stamp_positions()
    position = events.newest_position()
    found = Delisting.objects.filter(sweep=sweep).aggregate(**_ADDED_UP)
    row = CountedSweep(
        sweep=sweep,
        pages=found["count"],
        vendors=found["of"],
        first_page_at=found["first"],
        last_page_at=found["last"],
        position=position,
    )
    # Another worker may have been at it as well, and found the same.
    CountedSweep.objects.bulk_create([row], ignore_conflicts=True)


def _last_told(counted: CountedSweep) -> datetime | None:
    """When the last vendor was told; None while one is not. What is cheap is asked first."""
    mails = _mails([counted.sweep_id])
    if mails.get(counted.sweep_id, {"told": 0})["told"] < counted.vendors:
        return None
    if not webhooks.are_made(up_to=counted.position):
        return None
    its = Delisting.objects.filter(sweep=counted.sweep_id)
    due = WebhookDelivery.objects.filter(due_at__isnull=False, event_id__in=its.values("decision_id"))
    if due.exists():
        return None
    return _told(counted.sweep_id, counted.vendors, mails, _webhooks([counted.sweep_id])).last


# --- what the steps left behind ---------------------------------------------------------------------------------


_ADDED_UP = {
    "count": Count("id"),
    "of": Count("offer__listing__vendor", distinct=True),
    "first": Min("at"),
    "last": Max("at"),
}


class _Parts:
    """Of all these withdrawals at once; by sweep or by withdrawal."""

    def __init__(self, revocations: Sequence[Revocation], *, adds_up: bool) -> None:
        ids = [revocation.pk for revocation in revocations]
        sweeps = [sweep for sweep in map(_sweep_of, revocations) if sweep is not None]
        rows = CountedSweep.objects.filter(sweep__in=[sweep.pk for sweep in sweeps])
        counted = _by(
            rows.values("sweep", "told_at", count=F("pages"), of=F("vendors"), first=F("first_page_at"),
                        last=F("last_page_at")),
            "sweep",
        )  # fmt: skip
        uncounted = [sweep.pk for sweep in sweeps if adds_up and sweep.pk not in counted]
        added_up = Delisting.objects.filter(sweep__in=uncounted).values("sweep").annotate(**_ADDED_UP)
        # Only of those that took anything down.
        self.pages = {sweep_id: pages for sweep_id, pages in counted.items() if pages["count"]}
        self.pages |= _by(added_up, "sweep")
        untold = [pk for pk, pages in self.pages.items() if adds_up and pages.get("told_at") is None]
        open_ids = [sweep.pk for sweep in sweeps if adds_up and sweep.finished_at is None]
        self.chunks = _by(
            SweepChunk.objects.filter(sweep__in=open_ids).values("sweep").annotate(decided=Sum("decided")),
            "sweep",
        )
        self.mails = _mails(untold)
        self.webhooks = _webhooks(untold)
        self.notices = _by(
            Notice.objects.filter(revocations__in=ids).values("revocations").annotate(
                drafted=Min("drafted_at"), published=Min("published_at")
            ),
            "revocations",
        )  # fmt: skip
        self.held = _by(
            Order.objects.filter(state=Order.State.HELD, held_on__in=ids).values("held_on").annotate(count=Count("id")),
            "held_on",
        )  # fmt: skip
        kinds, states = PendingChange.Kind, PendingChange.State
        pending = PendingChange.objects.filter(revocation__in=ids)
        waiting = Q(kind=kinds.REMOVAL, state=states.OPEN)
        cancelled = Q(kind=kinds.WITHDRAWAL, state=states.CANCELLED)
        self.waiting: set[int] = set()
        self.cancelled: set[int] = set()
        for kind, revocation_id in pending.filter(waiting | cancelled).values_list("kind", "revocation_id"):
            (self.waiting if kind == kinds.REMOVAL else self.cancelled).add(revocation_id)


def _by(rows: Iterable[Any], name: str) -> dict[int, dict[str, Any]]:
    return {row[name]: row for row in rows}


def _sweep_of(revocation: Revocation) -> Any:
    return getattr(revocation, "sweep", None)


def _mails(sweep_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    # A party without an address is told by the log, and the message that is kept for it.
    told_at = Coalesce("mailed_at", Case(When(address="", then=F("sent_at"))))
    mails = SentMessage.objects.filter(sweep__in=sweep_ids, kind=DELISTED).annotate(told_at=told_at)
    return _by(mails.values("sweep").annotate(told=Count("told_at"), last=Max("told_at")), "sweep")


def _webhooks(sweep_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Deliveries of the events of each sweep. The id of a delisting's event is that of its decision."""
    if not sweep_ids:
        return {}
    places = ", ".join(["%s"] * len(sweep_ids))
    sql = f"""
        SELECT d.sweep_id, COUNT(w.id), COUNT(w.delivered_at), COUNT(w.given_up_at), MAX(w.delivered_at) AS "delivered"
          FROM authorization_delisting d JOIN storefront_webhookdelivery w ON w.event_id = d.decision_id
         WHERE d.sweep_id IN ({places}) GROUP BY d.sweep_id"""  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, list(sweep_ids))
        rows = cursor.fetchall()
    converted = Order._meta.get_field("sold_at")
    return {
        sweep_id: {"count": count, "told": told, "given_up": given_up, "last": _instant(converted, last)}
        for sweep_id, count, told, given_up, last in rows
    }


def _instant(instants: Any, value: Any) -> datetime | None:
    """SQLite hands the aggregate of instants over as text."""
    expression = instants.cached_col
    for converter in connection.ops.get_db_converters(expression):
        value = converter(value, expression, connection)
    return value


# --- one withdrawal ---------------------------------------------------------------------------------------------


def _timeline(revocation: Revocation, parts: _Parts, at: datetime) -> Timeline:
    is_cancelled = revocation.pk in parts.cancelled
    decided_at = revocation.revision.recorded_at
    steps = [Step("decided", DONE, revocation.word_received_at, decided_at)]
    steps.append(_unsellable(revocation, decided_at, at))
    # Of what was decided for a later day nothing follows before that day.
    start = max(decided_at, revocation.effective_at)
    if is_cancelled:
        steps = [steps[0], *(Step(name, NOTHING) for name in list(STEPS)[1:])]
    elif start > at:
        steps += [Step(name, NOT_YET, start) for name in list(STEPS)[2:]]
    else:
        steps += [*_pages(revocation, parts, start), _vendors(revocation, parts, start)]
        steps += _statements(revocation, parts, start)
    held = parts.held.get(revocation.pk, {}).get("count", 0)
    return Timeline(revocation, tuple(steps), is_cancelled, held)


def _unsellable(revocation: Revocation, decided_at: datetime, at: datetime) -> Step:
    if revocation.effective_at > decided_at:
        # Planned for a later day: from then on nothing of it is sold, workers or not.
        if revocation.effective_at > at:
            return Step("unsellable", NOT_YET, decided_at)
        return Step("unsellable", DONE, decided_at, revocation.effective_at)
    if revocation.commit_s is None:
        return Step("unsellable", UNKNOWN, decided_at)
    return Step("unsellable", DONE, decided_at, decided_at + timedelta(seconds=revocation.commit_s))


def _pages(revocation: Revocation, parts: _Parts, start: datetime) -> list[Step]:
    sweep = _sweep_of(revocation)
    pages = parts.pages.get(sweep.pk) if sweep is not None else None
    if revocation.pk in parts.waiting:
        return [Step("first_page", WAITING, start), Step("last_page", WAITING, start)]
    if sweep is None:
        return [Step("first_page", NOT_YET, start), Step("last_page", NOT_YET, start)]
    is_done = sweep.finished_at is not None
    if pages is None:
        state = NOTHING if is_done else UNDER_WAY
        first = Step("first_page", state, start)
    else:
        state = DONE if is_done else UNDER_WAY
        first = Step("first_page", DONE, start, pages["first"])
    if is_done:
        return [first, Step("last_page", state, start, pages["last"] if pages else None)]
    looked_at = parts.chunks.get(sweep.pk, {}).get("decided") or 0
    total = sweep.planned_offers if sweep.planned_at is not None else None
    return [first, Step("last_page", UNDER_WAY, start, None, looked_at, total)]


def _vendors(revocation: Revocation, parts: _Parts, start: datetime) -> Step:
    """By mail and by webhook, whichever came last. A webhook that was given up is no more waited for."""
    sweep = _sweep_of(revocation)
    pages = parts.pages.get(sweep.pk) if sweep is not None else None
    if sweep is None or sweep.finished_at is None:
        return Step("vendors_told", WAITING if revocation.pk in parts.waiting else NOT_YET, start)
    if pages is None:
        return Step("vendors_told", NOTHING, start)
    if pages.get("told_at") is not None:
        return Step("vendors_told", DONE, start, pages["told_at"])
    told = _told(sweep.pk, pages["of"], parts.mails, parts.webhooks)
    return Step(
        "vendors_told", UNDER_WAY if told.last is None else DONE, start, told.last, told.done, told.of
    )


class _Told(NamedTuple):
    """`last` is empty until all are told."""

    done: int
    of: int
    last: datetime | None


def _told(sweep_id: int, vendors: int, all_mails: _BySweep, all_webhooks: _BySweep) -> _Told:
    mails = all_mails.get(sweep_id, {"told": 0, "last": None})
    calls = all_webhooks.get(sweep_id, {"count": 0, "told": 0, "given_up": 0, "last": None})
    done = mails["told"] + calls["told"]
    of = vendors + calls["count"] - calls["given_up"]
    last = [instant for instant in (mails["last"], calls["last"]) if instant is not None]
    return _Told(done, of, max(last) if done >= of and last else None)


def _statements(revocation: Revocation, parts: _Parts, start: datetime) -> list[Step]:
    notice = parts.notices.get(revocation.pk)
    proof = getattr(revocation, "removal_proof", None)
    if notice is None:
        state = NOT_YET if revocation.preview_falls else NOTHING
        steps = [Step("notice_drafted", state, start), Step("notice_published", state, start)]
    else:
        steps = [
            Step("notice_drafted", DONE, start, notice["drafted"]),
            Step("notice_published", DONE if notice["published"] else NOT_YET, start, notice["published"]),
        ]
    issued_at = proof.issued_at if proof is not None else None
    return [*steps, Step("proof", DONE if proof is not None else NOT_YET, start, issued_at)]
