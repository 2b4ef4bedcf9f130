"""Rounds of the reconciler: what it looked at, and what the events had missed."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from authorization.models import ReconcilerRun
from storefront.admin.desk import RecordAdmin


class FoundFilter(admin.SimpleListFilter):
    title = "found"
    parameter_name = "found"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("something", "something that was missed"), ("error", "an error")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ReconcilerRun]) -> QuerySet[ReconcilerRun]:
        match self.value():
            case "something":
                return queryset.filter(Q(found_live__gt=0) | Q(found_suspended__gt=0))
            case "error":
                return queryset.exclude(error="")
        return queryset


@admin.register(ReconcilerRun)
class ReconcilerRunAdmin(RecordAdmin):
    list_display = (
        "started_at", "finished_at", "live", "decided", "found_live", "found_suspended", "renewed", "revision", "error",
    )  # fmt: skip
    list_filter = (FoundFilter, "started_at")
    ordering = ("-id",)
