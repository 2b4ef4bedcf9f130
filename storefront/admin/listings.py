"""What vendors list, offer by offer, and what was taken down.

Read only: vendors write through the API, and an offer's state is moved by decisions alone.
"""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action, display

from authorization.models import Delisting
from catalog.models import Listing, ListingHost, OfferState, Stock
from storefront.admin.desk import ReadOnlyInline, RecordAdmin, say_amount, say_reasons

STATE_COLOURS = {
    OfferState.LIVE: "success",
    OfferState.DRAFT: "info",
    OfferState.BLOCKED: "warning",
    OfferState.SUSPENDED: "danger",
}


class OfferInline(ReadOnlyInline):
    model = ListingHost
    fields = ("host", "state", "reason_codes", "state_changed_at", "cleared_revision", "clearance_expires_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ListingHost]:
        rows: QuerySet[ListingHost] = super().get_queryset(request).select_related("host", "listing__vendor")
        return rows


class StockInline(ReadOnlyInline):
    model = Stock
    fields = ("on_hand",)
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stock]:
        rows: QuerySet[Stock] = super().get_queryset(request).select_related("listing__vendor")
        return rows


@admin.register(Listing)
class ListingAdmin(RecordAdmin):
    list_display = (
        "sku",
        "vendor",
        "variant",
        "show_states",
        "condition",
        "territory",
        "price",
        "on_hand",
    )
    list_filter = ("offers__state", "vendor", "condition", "territory")
    list_select_related = ("vendor", "variant__device", "stock")
    search_fields = ("sku", "vendor__name", "variant__model_number", "variant__device__marketing_name")
    inlines = (OfferInline, StockInline)
    actions_row = actions_detail = ("place_hold",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Listing]:
        rows: QuerySet[Listing] = super().get_queryset(request).prefetch_related("offers__host")
        return rows

    @display(description="offers")
    def show_states(self, listing: Listing) -> str:
        return ", ".join(f"{offer.host.code}: {offer.state}" for offer in listing.offers.all())

    @display(description="price", ordering="price_amount")
    def price(self, listing: Listing) -> str:
        return say_amount(listing.price_amount, listing.price_currency)

    @display(description="on hand", ordering="stock__on_hand")
    def on_hand(self, listing: Listing) -> int:
        return listing.stock.on_hand if hasattr(listing, "stock") else 0

    @action(description="Place a hold", icon="front_hand", permissions=["withdraw"])
    def place_hold(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(f"{reverse('admin:place_hold')}?listing={object_id}")


@admin.register(ListingHost)
class OfferAdmin(RecordAdmin):
    list_display = ("listing", "host", "show_state", "why", "price", "state_changed_at", "cleared_revision")
    list_filter = ("state", "host", "listing__vendor")
    list_select_related = ("listing__vendor", "host")
    search_fields = ("listing__sku", "listing__vendor__name", "listing__variant__model_number")
    actions_detail = ("decisions",)

    @display(description="state", ordering="state", label=STATE_COLOURS)
    def show_state(self, offer: ListingHost) -> str:
        return offer.state

    @display(description="why")
    def why(self, offer: ListingHost) -> str:
        return say_reasons(offer.reason_codes)

    @display(description="price")
    def price(self, offer: ListingHost) -> str:
        return say_amount(offer.listing.price_amount, offer.listing.price_currency)

    @action(description="Decisions about it", icon="gavel", permissions=["view"])
    def decisions(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(
            f"{reverse('admin:authorization_decision_changelist')}?offer__id__exact={object_id}"
        )


@admin.register(Delisting)
class DelistingAdmin(RecordAdmin):
    list_display = ("offer", "why", "at", "sweep")
    list_filter = ("at", "offer__host")
    list_select_related = ("offer__listing__vendor", "offer__host", "sweep__revision")
    search_fields = (
        "offer__listing__sku",
        "offer__listing__vendor__name",
        "offer__listing__variant__model_number",
    )

    @display(description="why")
    def why(self, delisting: Delisting) -> str:
        return say_reasons(delisting.reason_codes)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("offer", "decision", "sweep", "reason_codes", "at")
