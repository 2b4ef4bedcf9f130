"""Feeds: files that vendors sent, how far they are, and what became of their rows."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from authorization.actors import Actor
from storefront import feeds
from storefront.admin.desk import ActForm, ReadOnlyInline, RecordAdmin, act_page, change_url, subject_or_404
from storefront.feed_rows import CANCELLED
from storefront.models import Feed, FeedChunk

_COLOURS = {
    Feed.State.DONE: "success",
    Feed.State.RUNNING: "info",
    Feed.State.QUEUED: "default",
    Feed.State.CANCELLED: "warning",
    Feed.State.FAILED: "danger",
}


class CancelForm(ActForm):
    submit_label = "Cancel the feed"
    subject: Feed

    reason = forms.CharField(
        max_length=300, widget=UnfoldAdminTextInputWidget, help_text="Why; its vendor reads it"
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        feed = feeds.cancel_feed(feed=self.subject, by=by, at=at, reason=self.cleaned_data["reason"])
        left = feed.counts.get(CANCELLED, 0)
        return f"The feed is cancelled: {left:,} of its {feed.rows:,} rows were not tried."


class FeedChunkInline(ReadOnlyInline):
    model = FeedChunk
    fields = ("number", "first_row", "rows", "done_at", "counts")
    ordering = ("number",)
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[FeedChunk]:
        """Without the rows and their answers, which may be of megabytes."""
        rows: QuerySet[FeedChunk] = super().get_queryset(request).select_related("feed__vendor")
        return rows.defer("content", "results")


@admin.register(Feed)
class FeedAdmin(RecordAdmin):
    list_display = (
        "public_id",
        "vendor",
        "kind",
        "show_state",
        "rows",
        "how_far",
        "is_dry_run",
        "submitted_at",
    )
    list_filter = ("state", "kind", "is_dry_run", "vendor")
    list_select_related = ("vendor",)
    search_fields = ("=public_id", "client_label", "vendor__name", "=sha256")
    ordering = ("-id",)
    fields = (
        "public_id",
        ("vendor", "submitted_by", "client_label"),
        ("kind", "format", "is_dry_run"),
        ("state", "how_far", "failed_reason"),
        ("rows", "size", "sha256"),
        ("submitted_at", "started_at", "finished_at"),
        "counted",
    )
    readonly_fields = ("how_far", "counted")
    inlines = (FeedChunkInline,)
    actions_detail = ("cancel",)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Chunks are counted for the whole page of feeds at once."""
        changelist = super().get_changelist_instance(request)
        progress = feeds.progress_of(changelist.result_list)
        for feed in changelist.result_list:
            feed.progress = progress[feed.pk]
        return changelist

    @display(description="state", ordering="state", label=_COLOURS)
    def show_state(self, feed: Feed) -> str:
        return feed.state

    @display(description="how far")
    def how_far(self, feed: Feed) -> str:
        if feed.state in feeds.ENDED:
            said = {
                feeds.ALL_OK: "all rows taken",
                feeds.PARTIAL: "some rows refused or blocked",
                feeds.NONE_OK: "every row refused or blocked",
            }
            return said[str(feeds.outcome_of(feed))]
        return f"{_progress(feed).rows_done:,} of {feed.rows:,} rows"

    @display(description="rows by outcome")
    def counted(self, feed: Feed) -> str:
        counts = sorted(_progress(feed).counts.items())
        return ", ".join(f"{outcome}: {count:,}" for outcome, count in counts) or "none yet"

    def fits(self, action: str, row: Feed) -> bool:
        return row.state not in feeds.ENDED

    @action(
        description="Cancel",
        icon="cancel",
        permissions=["act"],
        variant=ActionVariant.DANGER,
        extra_options={"display_in_dropdown": False},
    )
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        feed: Feed = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            CancelForm,
            title="Cancel a feed",
            permission="storefront.change_feed",
            subject=feed,
            intro=f"{feed.rows:,} rows of {feed.vendor}, sent {feed.submitted_at:%Y-%m-%d %H:%M} UTC. What is done of "
            "it stays; what has not begun is not done.",
            done_url=change_url(feed),
            refusals=(feeds.FeedEnded,),
        )


def _progress(feed: Any) -> feeds.Progress:
    found: feeds.Progress = getattr(feed, "progress", None) or feeds.progress_of([feed])[feed.pk]
    return found
