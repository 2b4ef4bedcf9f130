"""Prepaid plans that the shop sells with a phone."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from storefront.admin.desk import PlainFormAdmin, say_amount
from storefront.models import PrepaidPlan


@admin.register(PrepaidPlan)
class PlanAdmin(PlainFormAdmin):
    list_display = (
        "name",
        "hosting",
        "price",
        "allowance",
        "needs_volte",
        "is_on_sale",
        "is_simulated",
    )
    list_filter = ("is_on_sale", "hosting__host", "is_simulated")
    list_select_related = ("hosting__host",)
    search_fields = ("name", "slug", "allowance")
    autocomplete_fields = ("hosting",)

    @display(description="price", ordering="price_amount")
    def price(self, plan: PrepaidPlan) -> str:
        return say_amount(plan.price_amount, plan.price_currency)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Orders name the plan: on another host it would be another plan.
        return ("hosting",) if obj is not None else ()
