"""Recalls: who bought goods that were withdrawn for safety, and who of them has been told."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from authorization.models import HoldVersion, Reinstatement, Revocation
from storefront.admin.desk import RecordAdmin, change_url
from storefront.models import Order, Recall

# Withdrawals named above the list and in its filter, the newest first.
SHOWN = 20
_COUNTED = "_clearline_recalled"


def is_over(revocation: str) -> Q:
    """Is the withdrawal at the end of this path undone, or its hold released?"""
    undone = Reinstatement.objects.filter(revocation=OuterRef(revocation), is_partial=False)
    path = "" if revocation == "pk" else f"{revocation}__"
    released = HoldVersion.objects.filter(
        head_id=OuterRef(f"{path}fact_id"), rev_to__isnull=True, released_at__isnull=False
    )
    return Q(Exists(undone)) | Q(Exists(released))


def recalled(request: HttpRequest) -> list[Any]:
    """The newest withdrawals that buyers are told of, with how many orders each found and how many were told.

    Counted once for a page: of a large recall that reads all of its rows.
    """
    if not hasattr(request, _COUNTED):
        has_any = Exists(Recall.objects.filter(revocation=OuterRef("pk")))
        newest = list(Revocation.objects.filter(has_any).order_by("-pk").values_list("pk", flat=True)[:SHOWN])
        is_told = Q(recalls__told_at__isnull=False)
        rows = Revocation.objects.filter(pk__in=newest).annotate(
            found=Count("recalls__line__order_id", distinct=True),
            told=Count("recalls__line__order_id", distinct=True, filter=is_told),
            is_over=is_over("pk"),
        )
        setattr(request, _COUNTED, list(rows.select_related("fact").order_by("-pk")))
    found: list[Any] = getattr(request, _COUNTED)
    return found


class ToldFilter(SimpleListFilter):
    title = "the buyer was told"
    parameter_name = "told"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "told"), ("no", "not told yet"), ("none", "not to be told: refunded or over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recall]) -> QuerySet[Recall]:
        is_moot = Q(line__order__state=Order.State.REFUNDED) | Q(is_over=True)
        match self.value():
            case "yes":
                return queryset.filter(told_at__isnull=False)
            case "no":
                return queryset.filter(~is_moot, told_at__isnull=True)
            case "none":
                return queryset.filter(is_moot, told_at__isnull=True)
        return queryset


class WithdrawalFilter(SimpleListFilter):
    title = "withdrawal"
    parameter_name = "revocation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(row.pk), f"{row} ({row.told} of {row.found} told)") for row in recalled(request)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recall]) -> QuerySet[Recall]:
        value = self.value() or ""
        return queryset.filter(revocation_id=int(value)) if value.isdecimal() else queryset


@admin.register(Recall)
class RecallAdmin(RecordAdmin):
    list_display = ("order", "phone", "units", "shows_told", "found_at", "withdrawal")
    list_filter = (ToldFilter, WithdrawalFilter, "found_at")
    search_fields = ("=line__order__id", "line__order__buyer_name", "line__listing__sku")
    ordering = ("-id",)
    list_before_template = "desk/recalls_found.html"
    fields = ("withdrawal", "order", "phone", "units", "found_at", "shows_told")
    readonly_fields = ("withdrawal", "order", "phone", "units", "shows_told")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recall]:
        rows: QuerySet[Recall] = super().get_queryset(request)
        return rows.annotate(is_over=is_over("revocation")).select_related(
            "revocation__fact", "line__order", "line__listing__variant__device"
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        rows = [(row, change_url(row)) for row in recalled(request)]
        page: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "recalled": rows})
        return page

    @display(description="order", ordering="line__order_id")
    def order(self, recall: Recall) -> SafeString:
        order = recall.line.order
        return _link(change_url(order), f"{order.pk}, {order.state}")

    @display(description="phone")
    def phone(self, recall: Recall) -> str:
        variant = recall.line.listing.variant
        return f"{variant.device}, {variant.model_number}"

    @display(description="units")
    def units(self, recall: Recall) -> int:
        return recall.line.quantity - recall.line.refunded_quantity

    @display(description="told", ordering="told_at")
    def shows_told(self, recall: Any) -> str:
        if recall.told_at is not None:
            return f"told {recall.told_at:%Y-%m-%d %H:%M}"
        if recall.line.order.state == Order.State.REFUNDED:
            return "refunded before"
        return "over before" if recall.is_over else "not yet"

    @display(description="withdrawal", ordering="revocation_id")
    def withdrawal(self, recall: Any) -> SafeString:
        over = " (over)" if recall.is_over else ""
        return _link(change_url(recall.revocation), f"{recall.revocation}{over}")


def _link(url: str, label: str) -> SafeString:
    return format_html(
        '<a class="text-primary-600 underline dark:text-primary-500" href="{}">{}</a>', url, label
    )
