"""Who waits for which phone. Read only: people put themselves on the list and take themselves off it."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from authorization import clock
from storefront.admin.desk import RecordAdmin
from storefront.models import WaitlistEntry
from storefront.waitlist import CONFIRM_WITHIN

_LABELS = {
    "waits": "success",
    "not confirmed": "warning",
    "link ran out": "default",
    "told": "info",
    "left": "default",
}


class StateFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waits", "waits"), ("unconfirmed", "not confirmed"), ("told", "told"), ("left", "left")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[WaitlistEntry]) -> QuerySet[WaitlistEntry]:
        is_open = queryset.filter(ended_at__isnull=True, told_at__isnull=True)
        match self.value():
            case "waits":
                return is_open.filter(confirmed_at__isnull=False)
            case "unconfirmed":
                return is_open.filter(confirmed_at__isnull=True)
            case "told":
                return queryset.filter(told_at__isnull=False)
            case "left":
                return queryset.filter(ended_at__isnull=False)
        return queryset


@admin.register(WaitlistEntry)
class WaitlistEntryAdmin(RecordAdmin):
    """The token of an entry is shown to nobody: who has it can end the entry."""

    secret_fields = ("token", "email")

    list_display = (
        "variant",
        "waits_for",
        "show_state",
        "created_at",
        "confirmed_at",
        "told_at",
        "ended_at",
    )
    list_filter = (StateFilter, "waits_for", "created_at")
    list_select_related = ("variant__device",)
    search_fields = ("variant__model_number", "variant__device__marketing_name", "variant__device__brand")
    ordering = ("-id",)
    fields = ("variant", "waits_for", "show_state", "created_at", "confirmed_at", "told_at", "ended_at")
    readonly_fields = ("show_state", "masked")

    def _address_field(self, request: HttpRequest) -> str:
        return "email" if self.has_act_permission(request) else "masked"

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return (*self.list_display, self._address_field(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.fields, self._address_field(request))

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        # A search that finds an address tells that it is there.
        return (*self.search_fields, "=email") if self.has_act_permission(request) else self.search_fields

    @display(description="state", label=_LABELS)
    def show_state(self, entry: WaitlistEntry) -> str:
        if entry.told_at:
            return "told"
        if entry.ended_at:
            return "left"
        if entry.confirmed_at:
            return "waits"
        return "link ran out" if clock.now() >= entry.created_at + CONFIRM_WITHIN else "not confirmed"

    @display(description="e-mail")
    def masked(self, entry: WaitlistEntry) -> str:
        """Where it goes without saying to whom."""
        return f"…@{entry.email.rpartition('@')[2]}" if entry.email else "erased"
