"""The outbox: events, and the work that follows from them. Rows that were given up are what to look at."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from authorization.models import OutboxRow
from storefront.admin.desk import RecordAdmin


class WorkFilter(SimpleListFilter):
    title = "work"
    parameter_name = "work"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "to do"),
            ("dead", "given up"),
            ("failed", "failed attempts"),
            ("events", "events only"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxRow]) -> QuerySet[OutboxRow]:
        match self.value():
            case "open":
                return queryset.filter(done_at__isnull=True, failed_at__isnull=True).exclude(handler="")
            case "dead":
                return queryset.filter(is_dead=True)
            case "failed":
                return queryset.filter(failed_at__isnull=False)
            case "events":
                return queryset.filter(handler="")
        return queryset


@admin.register(OutboxRow)
class OutboxRowAdmin(RecordAdmin):
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
            "event": "default",
        },
    )
    def show_state(self, row: OutboxRow) -> str:
        if not row.handler:
            return "event"
        if row.done_at:
            return "done"
        if row.is_dead:
            return "given up"
        return "failed" if row.failed_at else "to do"
