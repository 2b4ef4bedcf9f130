"""Orders and what leads to them: carts, payments, refused checkouts. An order moves by its own acts only."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization.actors import Actor
from storefront import orders
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    ReadOnlyInline,
    RecordAdmin,
    act_page,
    ask_url,
    change_url,
    say_amount,
    say_reasons,
    subject_or_404,
)
from storefront.models import Cart, CartLine, Order, OrderLine, PaymentIntent, RefusedCheckout
from storefront.orders import InvalidOrderMove


class _OrderForm(ActForm):
    reason = forms.CharField(
        max_length=300, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="Kept in the ledger"
    )
    subject: Order


class HoldForm(_OrderForm):
    submit_label = "Hold the order"

    def run(self, *, by: Actor, at: datetime) -> str:
        orders.hold_order(order=self.subject, reason=self.cleaned_data["reason"], by=by, at=at)
        return f"Order {self.subject.pk} is on hold: it is not shipped and its money is not taken."


class ReleaseForm(_OrderForm):
    submit_label = "Release the order"

    def run(self, *, by: Actor, at: datetime) -> str:
        orders.release_order(order=self.subject, reason=self.cleaned_data["reason"], by=by, at=at)
        return f"Order {self.subject.pk} goes its way again."


class RefundForm(_OrderForm):
    submit_label = "Refund the order"

    def run(self, *, by: Actor, at: datetime) -> str:
        orders.refund_order(order=self.subject, reason=self.cleaned_data["reason"], by=by, at=at)
        return f"Order {self.subject.pk} is refunded; its phones are in stock again."


class ShipForm(ActForm):
    submit_label = "It has shipped"
    subject: Order

    def run(self, *, by: Actor, at: datetime) -> str:
        orders.ship_order(order=self.subject, by=by, at=at)
        return f"Order {self.subject.pk} has shipped."


class OrderLineInline(ReadOnlyInline):
    model = OrderLine
    fields = (
        "offer",
        "vendor",
        "plan",
        "quantity",
        "price",
        "plan_price",
        "decision",
        "ask",
    )
    readonly_fields = ("price", "plan_price", "ask")
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderLine]:
        rows: QuerySet[OrderLine] = super().get_queryset(request)
        return rows.select_related(
            "offer__listing__vendor", "offer__host", "listing__vendor", "vendor", "plan", "decision"
        )

    @display(description="price")
    def price(self, line: OrderLine) -> str:
        return say_amount(line.price_amount, line.price_currency)

    @display(description="price of the plan")
    def plan_price(self, line: OrderLine) -> str:
        return say_amount(line.plan_price_amount, line.price_currency) if line.plan_price_amount else ""

    @display(description="why it was sold")
    def ask(self, line: OrderLine) -> SafeString:
        return format_html(
            '<a class="text-primary-600 underline dark:text-primary-500" href="{}">Ask the engine about it</a>',
            ask_url(line.decision_id),
        )


@admin.register(Order)
class OrderAdmin(RecordAdmin):
    list_display = (
        "id",
        "show_state",
        "buyer_name",
        "total",
        "sold_at",
        "revision",
        "held_reason",
    )
    list_filter = ("state", "sold_at", "lines__vendor")
    search_fields = ("=id", "=public_id", "buyer_name", "buyer_email", "lines__listing__sku")
    ordering = ("-id",)
    inlines = (OrderLineInline,)
    list_select_related = ("intent",)
    actions_row = actions_detail = ("hold", "release", "refund", "ship")

    @display(
        description="state",
        ordering="state",
        label={"placed": "info", "held": "danger", "shipped": "success", "refunded": "warning"},
    )
    def show_state(self, order: Order) -> str:
        return order.state

    @display(description="total", ordering="total_amount")
    def total(self, order: Order) -> str:
        return say_amount(order.total_amount, order.total_currency)

    def fits(self, action: str, row: Order) -> bool:
        return action in orders.MOVES[row.state].values()

    @action(description="Hold", icon="front_hand", permissions=["act"])
    def hold(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, HoldForm, "Hold")

    @action(description="Release", icon="lock_open", permissions=["act"])
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, ReleaseForm, "Release")

    @action(description="Refund", icon="undo", permissions=["act"], variant=ActionVariant.WARNING)
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, RefundForm, "Refund")

    @action(description="Ship", icon="local_shipping", permissions=["act"])
    def ship(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, ShipForm, "Ship")

    def _act(
        self, request: HttpRequest, object_id: str, form_class: type[ActForm], verb: str
    ) -> HttpResponse:
        order = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            form_class,
            title=f"{verb} order {order.pk}",
            permission="storefront.change_order",
            subject=order,
            intro=f"{order.buyer_name}, {self.total(order)}, {order.state}.",
            done_url=change_url(order),
            refusals=(InvalidOrderMove,),
        )


@admin.register(PaymentIntent)
class PaymentIntentAdmin(RecordAdmin):
    list_display = (
        "id",
        "total",
        "state",
        "provider_id",
        "decline_reason",
        "created_at",
        "updated_at",
    )
    list_filter = ("state", "created_at")
    search_fields = ("=id", "=checkout_key", "=cart_id", "provider_id")
    ordering = ("-created_at",)

    @display(description="amount", ordering="amount")
    def total(self, intent: PaymentIntent) -> str:
        return say_amount(intent.amount, intent.currency)


class CartLineInline(ReadOnlyInline):
    model = CartLine
    fields = ("offer", "plan", "quantity", "price", "added_at")
    readonly_fields = ("price",)
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[CartLine]:
        rows: QuerySet[CartLine] = super().get_queryset(request)
        return rows.select_related("offer__listing__vendor", "offer__host", "plan")

    @display(description="price")
    def price(self, line: CartLine) -> str:
        return say_amount(line.price_amount, line.price_currency)


@admin.register(Cart)
class CartAdmin(RecordAdmin):
    list_display = ("id", "created_at", "phones")
    list_filter = ("created_at",)
    search_fields = ("=id",)
    ordering = ("-created_at",)
    inlines = (CartLineInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cart]:
        rows: QuerySet[Cart] = super().get_queryset(request).annotate(phone_count=Sum("lines__quantity"))
        return rows

    @display(description="phones")
    def phones(self, cart: Any) -> int:
        return cart.phone_count or 0


@admin.register(RefusedCheckout)
class RefusedCheckoutAdmin(ReadOnlyAdmin):
    list_display = ("at", "offer", "why", "message", "cart_id")
    list_filter = ("at", "offer__host", "offer__listing__vendor")
    list_select_related = ("offer__listing__vendor", "offer__host")
    search_fields = ("=cart_id", "offer__listing__sku", "message")
    ordering = ("-id",)

    @display(description="why")
    def why(self, refused: RefusedCheckout) -> str:
        return say_reasons(refused.reason_codes)
