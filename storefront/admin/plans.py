"""Prepaid plans that the shop sells with a phone."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from storefront.admin.desk import PlainFormAdmin
from storefront.models import PrepaidPlan


@admin.register(PrepaidPlan)
class PlanAdmin(PlainFormAdmin):
    list_display = (
        "name",
        "hosting",
        "price_amount",
        "price_currency",
        "allowance",
        "needs_volte",
        "is_on_sale",
        "is_simulated",
    )
    list_filter = ("is_on_sale", "hosting__host", "is_simulated")
    list_select_related = ("hosting__host",)
    search_fields = ("name", "slug", "allowance")
    autocomplete_fields = ("hosting",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Orders name the plan: on another host it would be another plan.
        return ("hosting",) if obj is not None else ()
