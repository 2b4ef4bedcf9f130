"""/v1/feeds: files of many rows, worked off in the background. The rules of a row are those of the call for one."""

from collections.abc import Mapping
from email.message import Message
from typing import IO, Any, ClassVar

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from storefront import feeds
from storefront.api.feed_shapes import FeedShape
from storefront.api.fields import Members, OneOf, Text, WriteQuery, read_body
from storefront.api.files import AsItIs
from storefront.api.pagination import PageQuery, read_latest
from storefront.api.problems import FieldError, Problem, invalid
from storefront.api.shapes import file_of, page_of
from storefront.api.times import rfc3339
from storefront.api.views import VendorView
from storefront.feed_files import (
    MAX_BYTES,
    CheckedFile,
    Fault,
    FileTooLarge,
    RefusedFile,
    SpooledFile,
    check_file,
    spool,
)
from storefront.feed_rows import COLUMNS, OUTCOMES
from storefront.feeds import FeedEnded, FeedNotEnded, Progress, ResultsForgotten, TooManyFeeds
from storefront.models import Feed

JSONL, CSV = "application/jsonl", "text/csv"
# What senders call JSON Lines and CSV. No name of JSON Lines is registered.
_FORMATS: Mapping[str, str] = {
    JSONL: Feed.Format.JSONL,
    "application/x-ndjson": Feed.Format.JSONL,
    "application/x-jsonlines": Feed.Format.JSONL,
    CSV: Feed.Format.CSV,
}
_SEND_AS = f"Send the file itself with Content-Type {JSONL} or {CSV}, in UTF-8."


class FeedBodyParser(BaseParser):
    """Copies the body to the disk, as a SpooledFile: a file of a feed is never held in memory."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        if format_of(media_type or "") is None:
            raise Problem("unsupported_media_type", _SEND_AS)
        try:
            return spool(stream)
        except FileTooLarge as error:
            raise _too_large() from error


def format_of(content_type: str) -> str | None:
    """None where it is none that a feed comes in."""
    header = Message()
    header["Content-Type"] = content_type
    if str(header.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8", "us-ascii"):
        return None
    return _FORMATS.get(header.get_content_type()) if content_type else None


class FeedsQuery(PageQuery):
    state = OneOf(choices=Feed.State.values, required=False)
    kind = OneOf(choices=Feed.Kind.values, required=False, help_text="Only those of this kind.")
    client_label = Text(required=False, max_length=255, help_text="Only those with exactly this label.")


class FeedQuery(WriteQuery):
    kind = OneOf(
        choices=Feed.Kind.values, required=False, default=Feed.Kind.LISTINGS, help_text="What a row of it is."
    )
    client_label = Text(
        required=False, max_length=255, default="", help_text="A name of your own for it, shown with it."
    )


class ResultsQuery(Members):
    # The set of outcomes is open: one that no row has finds none.
    outcome = OneOf(choices=OUTCOMES, required=False, help_text="Only the rows that came to this.")


class FeedsView(VendorView):
    """Send a file of listings, of price and stock, or of listings to publish; and see what became of yours."""

    scopes: ClassVar = {"GET": "feeds:read", "POST": "feeds:write"}
    queries: ClassVar = {"GET": FeedsQuery, "POST": FeedQuery}
    bodies: ClassVar = {"POST": Members}
    body_types: ClassVar = {"POST": {JSONL: {"type": "string"}, CSV: {"type": "string"}}}
    answers: ClassVar = {"GET": {200: page_of(FeedShape)}, "POST": {202: FeedShape}}
    answer_headers: ClassVar = {"POST": {202: ("Location", "Retry-After")}}
    problems: ClassVar = {"POST": ("too_many_feeds",)}
    is_feed: ClassVar = True
    max_body: ClassVar = MAX_BYTES
    parser_classes = (FeedBodyParser,)

    spooled: SpooledFile | None = None
    checked: CheckedFile

    def get(self, request: Request) -> Response:
        """Your feeds, the newest first."""
        rows = feeds.feeds_of(self.caller.vendor)
        names = ("state", "kind", "client_label")
        rows = rows.filter(**{name: self.query[name] for name in names if name in self.query})
        page = read_latest(rows, self.query, bound_to=["feeds", self.caller.vendor.pk])
        progress = feeds.progress_of(page.rows)
        return Response(page.as_json([self.present(feed, progress[feed.pk]) for feed in page.rows]))

    def respond(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().respond(request, *args, **kwargs)
        finally:
            if self.spooled is not None:
                self.spooled.file.close()

    def prepare(self, request: Request, **kwargs: Any) -> None:
        """The file is read and looked through before any transaction begins: that may take seconds."""
        if self.spooled is not None:
            return
        self.check_room()
        announced = request.META.get("CONTENT_LENGTH") or ""
        if not announced and "Transfer-Encoding" in request.headers:
            raise Problem("length_required", "Send the file with a Content-Length header.")
        if announced.isdecimal() and int(announced) > MAX_BYTES:
            raise _too_large()
        sent_as = format_of(request.content_type or "")
        if sent_as is None:
            raise Problem("unsupported_media_type", _SEND_AS)
        # Without any body the framework parses nothing.
        sent = request.data
        if not isinstance(sent, SpooledFile):
            raise _refused(RefusedFile(Fault("empty", "The file is empty. Send at least one row.")))
        self.spooled = sent
        try:
            self.checked = check_file(
                sent,
                format=sent_as,
                columns=COLUMNS[self.query["kind"]],
                chunk_rows=settings.FEED_CHUNK_ROWS,
            )
        except RefusedFile as error:
            raise _refused(error) from error

    def check_room(self) -> None:
        try:
            feeds.check_room(self.caller.vendor)
        except TooManyFeeds as error:
            raise _too_many(error) from error

    def post(self, request: Request) -> Response:
        """Send a feed. It is accepted as a whole or refused as a whole; then each row has its own outcome."""
        try:
            feed = feeds.submit_feed(
                vendor=self.caller.vendor,
                file=self.checked,
                kind=self.query["kind"],
                client_label=self.query["client_label"],
                is_dry_run=self.is_dry_run,
                by=self.caller.actor,
                at=self.at,
            )
        except TooManyFeeds as error:
            raise _too_many(error) from error
        progress = feeds.progress_of([feed])[feed.pk]
        headers = {"Location": f"{request.path}/{feed.public_id}", "Retry-After": str(progress.wait_s)}
        return Response(self.present(feed, progress), status=202, headers=headers)

    def present(self, feed: Feed, progress: Progress) -> dict[str, Any]:
        return present_feed(feed, progress, is_kept=_is_kept(self, feed))


class FeedView(VendorView):
    """What the calls on one feed share."""

    def get_feed(self, feed_id: str) -> Feed:
        feed = feeds.feeds_of(self.caller.vendor).filter(public_id=feed_id).first()
        if feed is None:
            raise Problem("not_found", "You have no feed with this id.")
        return feed

    def show(self, feed: Feed) -> Response:
        progress = feeds.progress_of([feed])[feed.pk]
        headers = {} if feed.state in feeds.ENDED else {"Retry-After": str(progress.wait_s)}
        return Response(present_feed(feed, progress, is_kept=_is_kept(self, feed)), headers=headers)


class OneFeedView(FeedView):
    """How far a feed is. Until it has ended, `Retry-After` says when to look again."""

    scopes: ClassVar = {"GET": "feeds:read"}
    answers: ClassVar = {"GET": {200: FeedShape}}
    answer_headers: ClassVar = {"GET": {200: ("Retry-After",)}}

    def get(self, request: Request, feed_id: str) -> Response:
        return self.show(self.get_feed(feed_id))


class CancelFeedView(FeedView):
    """Cancel a feed: of one that is running, what has not begun."""

    scopes: ClassVar = {"POST": "feeds:write"}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {200: FeedShape}}
    problems: ClassVar = {"POST": ("invalid_transition",)}

    def post(self, request: Request, feed_id: str) -> Response:
        feed = self.get_feed(feed_id)
        read_body(request, Members)
        try:
            feed = feeds.cancel_feed(feed=feed, by=self.caller.actor, at=self.at)
        except FeedEnded as error:
            raise Problem("invalid_transition", str(error)) from error
        return self.show(feed)


class FeedResultsView(FeedView):
    """The outcome of each row, once the feed has ended: in the order and the format of the file."""

    scopes: ClassVar = {"GET": "feeds:read"}
    queries: ClassVar = {"GET": ResultsQuery}
    answers: ClassVar = {"GET": {200: file_of(JSONL, CSV, words="A line for each row.")}}
    problems: ClassVar = {"GET": ("feed_not_ended", "results_expired")}
    content_negotiation_class = AsItIs

    def get(self, request: Request, feed_id: str) -> StreamingHttpResponse:
        feed = self.get_feed(feed_id)
        wanted = [self.query["outcome"]] if "outcome" in self.query else []
        try:
            pieces = feeds.results_of(feed, outcomes=wanted)
        except FeedNotEnded as error:
            raise Problem("feed_not_ended", str(error), headers={"Retry-After": str(error.wait_s)}) from error
        except ResultsForgotten as error:
            raise Problem("results_expired", str(error)) from error
        is_csv = feed.format == Feed.Format.CSV
        name = f"feed-{feed.public_id}-results.{'csv' if is_csv else 'jsonl'}"
        return StreamingHttpResponse(
            pieces,
            content_type=f"{CSV}; charset=utf-8" if is_csv else JSONL,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def present_feed(feed: Feed, progress: Progress, *, is_kept: bool) -> dict[str, Any]:
    return {
        "id": str(feed.public_id),
        "kind": feed.kind,
        "format": feed.format,
        "client_label": feed.client_label,
        "state": str(feed.state),
        "outcome": feeds.outcome_of(feed),
        "validate_only": feed.is_dry_run,
        "sha256": feed.sha256,
        "submitted_at": rfc3339(feed.submitted_at),
        "started_at": rfc3339(feed.started_at) if feed.started_at else None,
        "finished_at": rfc3339(feed.finished_at) if feed.finished_at else None,
        "failed_reason": feed.failed_reason,
        "counts": feeds.shown_counts(feed.rows, progress.counts),
        "rows_done": progress.rows_done,
        "results_href": f"/v1/feeds/{feed.public_id}/results" if is_kept else None,
    }


def _is_kept(view: VendorView, feed: Feed) -> bool:
    return feed.finished_at is not None and feed.finished_at >= view.at - feeds.KEPT


def _refused(error: RefusedFile) -> Problem:
    return invalid([FieldError("", fault.code, fault.message) for fault in error.faults])


def _too_large() -> Problem:
    return Problem("payload_too_large", f"A feed has at most {MAX_BYTES:,} bytes. Send several.")


def _too_many(error: TooManyFeeds) -> Problem:
    return Problem("too_many_feeds", str(error), headers={"Retry-After": str(error.wait_s)})
