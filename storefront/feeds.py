"""Feeds: files of many rows, accepted as a whole, worked off in chunks, answered row by row.

A chunk is one transaction, which writes what the rows ask for, their answers, and the outbox row of a later chunk: all
of it or nothing, so that a worker may be killed at any step. A few chunks of a feed stand in the outbox at a time, each
behind what others have asked for meanwhile, so that a large feed does not keep a small one waiting. The feeds of one
vendor run one after the other, in the order in which they were sent: of two rows for one SKU the later one stays.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, transaction
from django.db.models import Q, QuerySet

from authorization import clock, fence, ledger, outbox
from authorization.actors import SYSTEM, Actor
from authorization.decisions import DecisionUnavailable
from authorization.models import OutboxRow
from authorization.offers import ListingMoved
from catalog.models import Organization
from storefront import feed_rows
from storefront.feed_files import BOM, CheckedFile, csv_rows, json_rows, neutralised
from storefront.feed_rows import CANCELLED, GOOD, OUTCOMES, SYSTEM_ERROR, ReadRows, RowResult
from storefront.models import Feed, FeedChunk

logger = structlog.get_logger(__name__)

# Chunks of one feed that stand in the outbox at a time: work for some workers, and not the whole lane.
WINDOW = 4
# Once so many attempts at a chunk have failed, its rows are tried one by one; and then they are given up.
ONE_BY_ONE_AFTER = 3
GIVEN_UP_AFTER = 6
# How often a chunk is thought through again at once when somebody changed one of its listings, and how often a single
# row is tried.
AT_ONCE = 3
# Answers are kept for so long after the end, and the rows as they came with them.
KEPT = timedelta(days=30)
FORGOTTEN_AT_ONCE = 20
# A feed that should have begun and has not is started again after this.
OVERDUE = timedelta(seconds=60)

ENDED = (Feed.State.DONE, Feed.State.FAILED, Feed.State.CANCELLED)
OPEN = (Feed.State.QUEUED, Feed.State.RUNNING)
ALL_OK, PARTIAL, NONE_OK = "ALL_OK", "PARTIAL", "NONE_OK"
RESULT_COLUMNS = ("row", "sku", "outcome", "listing_status", "retryable", "codes", "pointers", "messages")

_RUN_CHUNK = "storefront.feeds.run_chunk"
_HANDLERS = ("storefront.feeds.start_feed", _RUN_CHUNK)
# Of the database or of the engine, not of a row: the same again may do.
_PASSING = (OperationalError, InterfaceError, InternalError, DecisionUnavailable, ListingMoved)


class TooManyFeeds(Exception):
    """The vendor has as many open feeds as it may. `wait_s`: seconds after which to look again."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"You have {most} feeds that are queued or running, and may not have more. Wait for one to end."
        )
        self.wait_s = 10


class FeedEnded(Exception):
    """What has ended cannot be cancelled."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The feed is {state}; only one that is QUEUED or RUNNING can be cancelled.")


class FeedNotEnded(Exception):
    """There are no results yet. `wait_s`: seconds after which to look again."""

    def __init__(self, wait_s: int) -> None:
        super().__init__("The feed has not ended; its results come with its end.")
        self.wait_s = wait_s


class ResultsForgotten(Exception):
    """The results were kept as long as was promised."""

    def __init__(self) -> None:
        super().__init__(f"Results are kept for {KEPT.days} days after the end of a feed.")


# --- sent -------------------------------------------------------------------------------------------------------


def check_room(vendor: Organization) -> None:
    """Raises TooManyFeeds. Asked before a large file is read; what counts is asked again when it is accepted."""
    if feeds_of(vendor).filter(state__in=OPEN).count() >= settings.FEEDS_PER_VENDOR:
        raise TooManyFeeds(settings.FEEDS_PER_VENDOR)


def submit_feed(
    *,
    vendor: Organization,
    file: CheckedFile,
    kind: str,
    client_label: str = "",
    is_dry_run: bool = False,
    by: Actor,
    at: datetime,
) -> Feed:
    """Accept a file that the door has looked through. Raises TooManyFeeds."""
    with transaction.atomic():
        # Of two files at the same time the second counts the first.
        Organization.objects.select_for_update(no_key=True).only("pk").get(pk=vendor.pk)
        check_room(vendor)
        feed = Feed.objects.create(
            vendor=vendor,
            kind=kind,
            format=file.format,
            client_label=client_label,
            is_dry_run=is_dry_run,
            header=file.header,
            sha256=file.spooled.sha256,
            size=file.spooled.size,
            rows=file.rows,
            submitted_by=str(by),
            submitted_at=at,
        )
        for number, (cut, content) in enumerate(file.contents(), 1):
            FeedChunk.objects.create(
                feed=feed, number=number, first_row=cut.first_row, rows=cut.rows, content=content
            )
        told = {"kind": kind, "rows": file.rows, "sha256": file.spooled.sha256, "dry_run": is_dry_run}
        _record("feed.submitted", feed, by, at, told)
        outbox.announce(event="feed.submitted", payload={"feed_id": feed.pk}, at=at)
    return feed


def cancel_feed(*, feed: Feed, by: Actor, at: datetime, reason: str = "") -> Feed:
    """What has not begun of it is not done any more. Again: nothing. Raises FeedEnded."""
    with transaction.atomic():
        locked = _lock(feed.pk)
        if locked.state == Feed.State.CANCELLED:
            return locked
        if locked.state in ENDED:
            raise FeedEnded(locked.state)
        _end(locked, Feed.State.CANCELLED, by=by, at=at, reason=reason)
    return locked


# --- worked off -------------------------------------------------------------------------------------------------


def start_feed(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `feed.submitted`: begin, unless an earlier feed of the vendor has not ended."""
    vendor_id = Feed.objects.values_list("vendor_id", flat=True).get(pk=payload["feed_id"])
    with transaction.atomic():
        _start_next(vendor_id, at)


def _start_next(vendor_id: int, at: datetime) -> None:
    # Locked: one that is just ending is waited for. By id, as everywhere.
    rows = Feed.objects.filter(vendor_id=vendor_id, state__in=OPEN).order_by("id")
    oldest = next(iter(rows.select_for_update(no_key=True)), None)
    if oldest is None or oldest.state != Feed.State.QUEUED:
        return
    Feed.objects.filter(pk=oldest.pk).update(state=Feed.State.RUNNING, started_at=at)
    first = oldest.chunks.filter(number__lte=WINDOW).order_by("number").values_list("pk", flat=True)
    for chunk_id in first:
        _call_for(chunk_id, at)


def _call_for(chunk_id: int, at: datetime) -> None:
    outbox.announce(event="feed.chunk_due", payload={"chunk_id": chunk_id}, at=at)


def run_chunk(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `feed.chunk_due`."""
    chunk = FeedChunk.objects.select_related("feed__vendor").filter(pk=payload["chunk_id"]).first()
    if chunk is None:
        # Forgotten with its feed, which therefore has ended.
        return
    if chunk.done_at is None:
        failed = OutboxRow.objects.filter(event_id=event_id, handler=_RUN_CHUNK, failed_at__isnull=False)
        _Work(chunk).do(failures=failed.count())
    _finish_if_done(chunk.feed_id)


class _Work:
    """One chunk in the hands of one worker."""

    def __init__(self, chunk: FeedChunk) -> None:
        self.chunk = chunk
        self.feed = chunk.feed
        self.by = Actor(self.feed.vendor.kind, self.feed.vendor.slug)

    def do(self, *, failures: int) -> None:
        """`failures`: attempts at this chunk that came to nothing, those of workers that died included."""
        if failures < ONE_BY_ONE_AFTER and not self.chunk.results:
            try:
                self._at_once()
                return
            except _PASSING:
                raise
            except Exception:
                # One of the rows does what nobody foresaw. Which one shows when they are tried one by one.
                logger.exception("feed.chunk_failed", feed=self.feed.pk, chunk=self.chunk.number)
        with suppress(_TakenOver):
            self._one_by_one(gives_up=failures >= GIVEN_UP_AFTER)

    def _at_once(self) -> None:
        # Before the fence: what waits for it need not wait for this.
        read = self._read()
        for attempt in range(1, AT_ONCE + 1):
            try:
                self._write(read)
                return
            except ListingMoved:
                # Saved by somebody else at the same time: now it is found.
                if attempt == AT_ONCE:
                    raise

    def _write(self, read: ReadRows) -> None:
        if self.feed.is_dry_run:
            results = self._rehearse(read)
            with transaction.atomic():
                if self._mark(clock.now()):
                    self._keep(results)
            return
        with transaction.atomic():
            fence.shared()
            at = clock.now()
            # First: who is given the same chunk at the same time waits here, and then finds it done.
            if self._mark(at):
                self._keep(self._write_rows(read, at))

    def _rehearse(self, read: ReadRows) -> list[RowResult]:
        with transaction.atomic():
            results = self._write_rows(read, clock.now())
            transaction.set_rollback(True)
        return results

    def _write_rows(self, read: ReadRows, at: datetime) -> list[RowResult]:
        return feed_rows.write_rows(read, vendor=self.feed.vendor, by=self.by, at=at)

    def _mark(self, at: datetime) -> bool:
        return FeedChunk.objects.filter(pk=self.chunk.pk, done_at__isnull=True).update(done_at=at) == 1

    def _keep(self, results: list[RowResult]) -> None:
        if len(results) != self.chunk.rows:
            raise AssertionError(f"{len(results)} answers to {self.chunk.rows} rows.")
        self._close(feed_rows.as_lines(results), feed_rows.count_outcomes(results))

    def _close(self, lines: str, counts: Mapping[str, int]) -> None:
        FeedChunk.objects.filter(pk=self.chunk.pk).update(results=lines, counts=dict(counts))
        following = FeedChunk.objects.filter(feed_id=self.feed.pk, number=self.chunk.number + WINDOW)
        for chunk_id in following.values_list("pk", flat=True):
            _call_for(chunk_id, clock.now())

    def _read(self) -> ReadRows:
        rows = _rows_of(self.chunk, self.feed.header, self.feed.format)
        return self._reader(rows, kind=self.feed.kind, first_row=self.chunk.first_row)

    @property
    def _reader(self) -> Callable[..., ReadRows]:
        is_csv = self.feed.format == Feed.Format.CSV
        return feed_rows.read_csv_rows if is_csv else feed_rows.read_json_rows

    # --- one by one ---

    def _one_by_one(self, *, gives_up: bool) -> None:
        """Each row in a transaction of its own, which keeps its answer: who comes after a dead worker goes on there."""
        lines = self.chunk.results
        rows = _rows_of(self.chunk, self.feed.header, self.feed.format)
        for place in range(lines.count("\n"), len(rows)):
            number = self.chunk.first_row + place
            line = "" if gives_up else self._try_row(rows[place], number, lines)
            if not line:
                line = feed_rows.as_lines([feed_rows.not_tried(number, _sku_of(rows[place]))])
                with transaction.atomic():
                    if not self._append(line, lines):
                        raise _TakenOver
            lines += line
        with transaction.atomic():
            if self._mark(clock.now()):
                self._close(lines, Counter(json.loads(line)["outcome"] for line in lines.splitlines()))

    def _try_row(self, row: Any, number: int, lines: str) -> str:
        """The answer to the row, kept; empty where it could not be done."""
        for attempt in range(1, AT_ONCE + 1):
            try:
                return self._do_row(row, number, lines)
            except _TakenOver:
                raise
            except Exception as error:
                # What passes by itself may have passed.
                if not isinstance(error, _PASSING) or attempt == AT_ONCE:
                    logger.exception("feed.row_failed", feed=self.feed.pk, row=number)
                    break
        return ""

    def _do_row(self, row: Any, number: int, lines: str) -> str:
        read = self._reader([row], kind=self.feed.kind, first_row=number)
        rehearsed = self._rehearse(read) if self.feed.is_dry_run else None
        with transaction.atomic():
            fence.shared()
            line = feed_rows.as_lines(rehearsed or self._write_rows(read, clock.now()))
            if not self._append(line, lines):
                raise _TakenOver
        return line

    def _append(self, line: str, lines: str) -> bool:
        """Behind the answers that are kept, unless somebody else has gone on with this chunk."""
        kept = FeedChunk.objects.filter(pk=self.chunk.pk, done_at__isnull=True, results=lines)
        return kept.update(results=lines + line) == 1


def _rows_of(chunk: FeedChunk, header: list[str], format: str) -> list[Any]:
    """As they came: of CSV the cells by column, of JSON Lines the lines."""
    return list(csv_rows(chunk.content, header) if format == Feed.Format.CSV else json_rows(chunk.content))


def _sku_of(row: Any) -> str | None:
    """For the answer to a row that was not read."""
    try:
        value = row if isinstance(row, dict) else json.loads(row)
        return str(value["sku"])[:64]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class _TakenOver(Exception):
    """Another worker goes on with the chunk, or it was closed."""


# --- ended ------------------------------------------------------------------------------------------------------


def _finish_if_done(feed_id: int) -> None:
    """Asked after each chunk, after the commit, also when told twice: who did the last may have died."""
    is_open = Q(feed=feed_id, done_at__isnull=True)
    if FeedChunk.objects.filter(is_open).exists():
        return
    at = clock.now()
    with transaction.atomic():
        feed = _lock(feed_id)
        if feed.state == Feed.State.RUNNING and not FeedChunk.objects.filter(is_open).exists():
            _end(feed, Feed.State.DONE, by=SYSTEM, at=at)


def _end(feed: Feed, state: str, *, by: Actor, at: datetime, reason: str = "") -> None:
    """The feed is locked. What has not begun is closed; what a worker has in hand is waited for, and counts."""
    FeedChunk.objects.filter(feed=feed, done_at__isnull=True).update(done_at=at)
    counts = _counts_of(
        feed, is_ended=True, left=CANCELLED if state == Feed.State.CANCELLED else SYSTEM_ERROR
    )
    feed.state, feed.counts, feed.finished_at, feed.failed_reason = state, counts, at, reason[:300]
    feed.save(update_fields=["state", "counts", "finished_at", "failed_reason"])
    _record(f"feed.{state.lower()}", feed, by, at, {"counts": counts}, reason=reason)
    outbox.announce(event="feed.finished", payload=_told(feed), at=at)
    _start_next(feed.vendor_id, at)


def _told(feed: Feed) -> dict[str, Any]:
    return {
        "vendor_id": feed.vendor_id,
        "feed_id": str(feed.public_id),
        "client_label": feed.client_label,
        "kind": feed.kind,
        "state": str(feed.state),
        "outcome": outcome_of(feed),
        "validate_only": feed.is_dry_run,
        "counts": shown_counts(feed.rows, feed.counts),
    }


def _lock(feed_id: int) -> Feed:
    """With the vendor's open feeds, by id: whoever ends one starts the next, and two would wait for each other."""
    vendor_id = Feed.objects.values_list("vendor_id", flat=True).get(pk=feed_id)
    wanted = Feed.objects.filter(Q(pk=feed_id) | Q(vendor=vendor_id, state__in=OPEN)).order_by("id")
    return next(feed for feed in wanted.select_for_update(no_key=True) if feed.pk == feed_id)


def _record(
    act: str, feed: Feed, by: Actor, at: datetime, evidence: Mapping[str, Any], reason: str = ""
) -> None:
    ledger.record(
        act=act, subject_kind="feed", subject_id=feed.pk, by=by, at=at, evidence=evidence, reason=reason
    )


def tend(*, at: datetime) -> None:
    """What nobody else does: fail what was given up, start what was missed."""
    for row in outbox.dead_letters().filter(handler__in=_HANDLERS).only("payload"):
        _fail(_feed_of(row.payload), at)
    overdue = Feed.objects.filter(state=Feed.State.QUEUED, submitted_at__lt=at - OVERDUE)
    for vendor_id in list(overdue.values_list("vendor_id", flat=True).distinct().order_by("vendor_id")):
        with transaction.atomic():
            _start_next(vendor_id, at)
    for feed_id in list(Feed.objects.filter(state=Feed.State.RUNNING).values_list("pk", flat=True)):
        _finish_if_done(feed_id)


def _feed_of(payload: Mapping[str, Any]) -> int | None:
    if "feed_id" in payload:
        return int(payload["feed_id"])
    return FeedChunk.objects.filter(pk=payload["chunk_id"]).values_list("feed_id", flat=True).first()


def _fail(feed_id: int | None, at: datetime) -> None:
    if feed_id is None:
        return
    with transaction.atomic():
        feed = _lock(feed_id)
        if feed.state not in ENDED:
            reason = "The shop could not work it off. Rows that were not tried say so; send those again."
            _end(feed, Feed.State.FAILED, by=SYSTEM, at=at, reason=reason)


def forget_old(*, at: datetime) -> int:
    """Drop rows and answers of feeds that ended longer ago than KEPT. Returns how many chunks."""
    old = FeedChunk.objects.filter(feed__in=Feed.objects.filter(finished_at__lt=at - KEPT))
    forgotten = 0
    while ids := list(old.order_by("pk").values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]):
        forgotten += FeedChunk.objects.filter(pk__in=ids).delete()[0]
    return forgotten


# --- shown ------------------------------------------------------------------------------------------------------


def feeds_of(vendor: Organization) -> QuerySet[Feed]:
    return Feed.objects.filter(vendor=vendor)


@dataclass(frozen=True)
class Progress:
    """`counts`: outcome -> rows so far. `rows_done` of all rows have their answer. `wait_s`: when to look again."""

    counts: Mapping[str, int]
    rows_done: int
    wait_s: int


def progress_of(feeds: Iterable[Feed]) -> dict[int, Progress]:
    """By feed id; one statement for all that have not ended."""
    found = list(feeds)
    counts: dict[int, Counter[str]] = {feed.pk: Counter(feed.counts) for feed in found}
    running = [feed.pk for feed in found if feed.state == Feed.State.RUNNING]
    if running:
        done = FeedChunk.objects.filter(feed__in=running, done_at__isnull=False)
        for feed_id, counted in done.values_list("feed_id", "counts"):
            counts[feed_id].update(counted)
    shown = {}
    for feed in found:
        rows_done = sum(counts[feed.pk].values())
        left = 0 if feed.state in ENDED else feed.rows - rows_done
        shown[feed.pk] = Progress(counts[feed.pk], rows_done, min(60, 1 + left // 2000))
    return shown


def _counts_of(feed: Feed, *, is_ended: bool, left: str) -> dict[str, int]:
    """Of all chunks; rows without an answer count as `left`."""
    counts: Counter[str] = Counter()
    for counted in feed.chunks.values_list("counts", flat=True):
        counts.update(counted)
    # A chunk that was given up in the middle of its rows.
    for lines in feed.chunks.filter(counts={}).exclude(results="").values_list("results", flat=True):
        counts.update(json.loads(line)["outcome"] for line in lines.splitlines())
    if is_ended and (rest := feed.rows - sum(counts.values())):
        counts[left] += rest
    return dict(counts)


def shown_counts(rows: int, counts: Mapping[str, int]) -> dict[str, int]:
    return {"rows": rows, **{outcome.lower(): counts.get(outcome, 0) for outcome in OUTCOMES}}


def outcome_of(feed: Feed) -> str | None:
    """Of all rows together; None until the feed has ended."""
    if feed.state not in ENDED:
        return None
    good = sum(feed.counts.get(outcome, 0) for outcome in GOOD)
    if good == feed.rows:
        return ALL_OK
    return PARTIAL if good else NONE_OK


def results_of(feed: Feed, *, outcomes: Iterable[str] = ()) -> Iterator[str]:
    """The result file in pieces: in the order and the format of the feed. `outcomes`: only rows that came to these.

    Raises FeedNotEnded and ResultsForgotten, before the first piece.
    """
    if feed.state not in ENDED:
        raise FeedNotEnded(progress_of([feed])[feed.pk].wait_s)
    if not feed.chunks.exists():
        raise ResultsForgotten
    wanted = frozenset(outcomes)
    is_csv = feed.format == Feed.Format.CSV
    return _result_pieces(feed, wanted, _csv_lines if is_csv else _json_lines, is_csv=is_csv)


def _result_pieces(
    feed: Feed,
    wanted: frozenset[str],
    written: Callable[[list[dict[str, Any]]], str],
    *,
    is_csv: bool,
) -> Iterator[str]:
    if is_csv:
        mark = BOM if feed.header and feed.header[0].startswith(BOM) else ""
        yield f"{mark}{','.join(RESULT_COLUMNS)}\r\n"
    for chunk_id in list(feed.chunks.order_by("number").values_list("pk", flat=True)):
        chunk = FeedChunk.objects.get(pk=chunk_id)
        if not wanted and not is_csv and chunk.results.count("\n") == chunk.rows:
            yield chunk.results
            continue
        rows = [json.loads(line) for line in chunk.results.splitlines()]
        if len(rows) < chunk.rows:
            left = CANCELLED if feed.state == Feed.State.CANCELLED else SYSTEM_ERROR
            rows += [result.as_json() for result in _left_over(feed, chunk, len(rows), left)]
        yield written([row for row in rows if not wanted or row["outcome"] in wanted])


def _left_over(feed: Feed, chunk: FeedChunk, done: int, outcome: str) -> list[RowResult]:
    """Answers to the rows of a chunk that nobody came to."""
    rows = _rows_of(chunk, feed.header, feed.format)[done:]
    return [
        feed_rows.not_tried(number, _sku_of(row), outcome)
        for number, row in enumerate(rows, chunk.first_row + done)
    ]


def _json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _csv_lines(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for row in rows:
        issues = row["issues"]
        cells = (
            row["row"],
            row["sku"] or "",
            row["outcome"],
            row.get("listing_status", ""),
            "true" if row["retryable"] else "false",
            " ".join(dict.fromkeys(issue["code"] for issue in issues)),
            " ".join(issue["pointer"] for issue in issues if issue.get("pointer")),
            " | ".join(dict.fromkeys(issue["message"] for issue in issues)),
        )
        writer.writerow([neutralised(cell) for cell in cells])
    return text.getvalue()
