"""The outbox: events, and the work that follows from them. Rows that were given up are what to look at."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from authorization import outbox
from authorization.actors import Actor
from authorization.models import OutboxRow
from storefront.admin.desk import ActForm, RecordAdmin, act_page, change_url, subject_or_404


class WorkFilter(SimpleListFilter):
    title = "work"
    parameter_name = "work"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "to do"),
            ("dead", "given up: to be settled"),
            ("settled", "given up: settled"),
            ("failed", "failed attempts"),
            ("events", "events only"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxRow]) -> QuerySet[OutboxRow]:
        match self.value():
            case "open":
                return queryset.filter(done_at__isnull=True, failed_at__isnull=True).exclude(handler="")
            case "dead":
                return queryset.filter(is_dead=True, settled_at__isnull=True)
            case "settled":
                return queryset.filter(is_dead=True, settled_at__isnull=False)
            case "failed":
                return queryset.filter(failed_at__isnull=False)
            case "events":
                return queryset.filter(handler="")
        return queryset


class RetryForm(ActForm):
    submit_label = "Try it again"
    subject: OutboxRow

    def run(self, *, by: Actor, at: datetime) -> str:
        outbox.retry_dead(row=self.subject, by=by, at=at)
        return f"{self.subject.handler} will be tried again at once."


class DismissForm(ActForm):
    submit_label = "It is not needed"
    subject: OutboxRow

    reason = forms.CharField(
        max_length=500, widget=UnfoldAdminTextInputWidget, help_text="Why not; it is kept in the ledger"
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        outbox.dismiss_dead(row=self.subject, reason=self.cleaned_data["reason"], by=by, at=at)
        return f"{self.subject.handler} is settled; nothing is done for this event any more."


@admin.register(OutboxRow)
class OutboxRowAdmin(RecordAdmin):
    actions_detail = ("retry", "dismiss")
    list_display = ("id", "event", "handler", "show_state", "attempt", "due_at", "done_at", "last_error")
    list_filter = (WorkFilter, "event")
    search_fields = ("event", "handler", "=event_id", "last_error")
    ordering = ("-id",)

    @display(
        description="state",
        label={
            "done": "success",
            "to do": "info",
            "failed": "warning",
            "given up": "danger",
            "settled": "default",
            "event": "default",
        },
    )
    def show_state(self, row: OutboxRow) -> str:
        if not row.handler:
            return "event"
        if row.done_at:
            return "done"
        if row.is_dead:
            return "settled" if row.settled_at else "given up"
        return "failed" if row.failed_at else "to do"

    def fits(self, action: str, row: OutboxRow) -> bool:
        return row.is_dead and row.settled_at is None

    @action(
        description="Try again",
        icon="refresh",
        permissions=["act"],
        variant=ActionVariant.PRIMARY,
        extra_options={"display_in_dropdown": False},
    )
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, RetryForm, "Try again what was given up")

    @action(description="Dismiss", icon="done", permissions=["act"])
    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, DismissForm, "Dismiss what was given up")

    def _act(
        self, request: HttpRequest, object_id: str, form_class: type[ActForm], title: str
    ) -> HttpResponse:
        row: OutboxRow = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            form_class,
            title=title,
            permission="authorization.change_outboxrow",
            subject=row,
            intro=f"{row.event}, {row.handler}, {row.attempt} attempts. The last failed with: {row.last_error}",
            done_url=change_url(row),
            refusals=(ValueError,),
        )
