"""Orders and what leads to them: carts, payments, refused checkouts. An order moves by its own acts only.

A held order waits for a decision with a deadline: its page says why it is held, and what each act would do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from authorization import clock
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from storefront import held_orders, orders, payments, standing
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
from storefront.models import Cart, CartLine, Order, OrderLine, PaymentIntent, RefusedCheckout, Shipment
from storefront.orders import InvalidOrderMove
from storefront.standing import LineStanding


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


class ShipHeldForm(_OrderForm):
    submit_label = "Ship it although it is held"

    def run(self, *, by: Actor, at: datetime) -> str:
        orders.ship_held_order(order=self.subject, reason=self.cleaned_data["reason"], by=by, at=at)
        return f"Order {self.subject.pk} has shipped, as it was sold."


class RefundForm(_OrderForm):
    submit_label = "Refund the order"

    def run(self, *, by: Actor, at: datetime) -> str:
        orders.refund_order(order=self.subject, reason=self.cleaned_data["reason"], by=by, at=at)
        return f"Order {self.subject.pk} is refunded; its phones are in stock again."


class RefundLinesForm(_OrderForm):
    """A number for each line of which a unit is left."""

    submit_label = "Refund these units"

    def __init__(self, *args: Any, subject: Order, **kwargs: Any) -> None:
        super().__init__(*args, subject=subject, **kwargs)
        for line in orders.lines_left(subject):
            left = orders.units_left(line)
            each = say_amount(orders.price_of(line), line.price_currency)
            self.fields[_units_field(line)] = forms.IntegerField(
                label=f"How many of {line.listing.sku}",
                min_value=0,
                max_value=left,
                initial=0,
                widget=UnfoldAdminIntegerFieldWidget(attrs={"class": "max-w-xs"}),
                help_text=f"0 to {left}, at {each} each",
            )
        # Sent twice, or from a page that is old by now, it would give back twice.
        self.fields["seen"] = forms.CharField(
            widget=forms.HiddenInput, initial=orders.given_back(subject), required=False
        )
        self.order_fields([name for name in self.fields if name != "reason"])

    def run(self, *, by: Actor, at: datetime) -> str:
        wanted = {
            int(name.removeprefix("units_")): units
            for name, units in self.cleaned_data.items()
            if name.startswith("units_")
        }
        order = orders.refund_lines(
            order=self.subject,
            lines=wanted,
            seen=self.cleaned_data["seen"],
            reason=self.cleaned_data["reason"],
            by=by,
            at=at,
        )
        became = {
            Order.State.PLACED: "What is left goes its way again.",
            Order.State.HELD: "What is left stays on hold.",
            Order.State.REFUNDED: "Nothing is left of it.",
        }
        return f"{sum(wanted.values())} refunded of order {order.pk}. {became[Order.State(order.state)]}"


def _units_field(line: OrderLine) -> str:
    return f"units_{line.pk}"


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
        "refunded_quantity",
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


class ShipmentInline(ReadOnlyInline):
    model = Shipment
    fields = ("vendor", "shipped_at", "carrier", "tracking_number", "actor")
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Shipment]:
        rows: QuerySet[Shipment] = super().get_queryset(request)
        return rows.select_related("vendor").order_by("id")


@dataclass(frozen=True)
class Option:
    """One thing that the desk may decide. `why_not` is said in the place of the button where it would be refused."""

    act: str
    label: str
    does: str
    url: str
    why_not: str = ""


@dataclass(frozen=True)
class HeldOrder:
    """A held order as its page shows it. Without `lines` it could not be told how they stand."""

    order: Order
    deadline: str
    is_overdue: bool
    held_on_url: str
    why: str
    lines: Sequence[LineStanding]
    options: Sequence[Option]

    @property
    def open_acts(self) -> set[str]:
        return {option.act for option in self.options if not option.why_not}


def look_at_held(order: Order, *, at: datetime) -> HeldOrder:
    left = orders.lines_left(order)
    try:
        lines = standing.look(left, held_on=order.held_on, at=at)
    except DecisionUnavailable:
        lines = []
    return HeldOrder(
        order=order,
        deadline=say_deadline(order, at=at),
        is_overdue=order.decide_by is not None and order.decide_by <= at,
        held_on_url=change_url(order.held_on) if order.held_on else "",
        # The withdrawal is named beside it.
        why=order.held_reason.removeprefix(f"{order.held_on}. "),
        lines=lines,
        options=_options(order, left, lines),
    )


def _options(order: Order, left: Sequence[OrderLine], lines: Sequence[LineStanding]) -> list[Option]:
    kept = say_amount(payments.kept_of(order.intent), order.total_currency)
    is_taken = order.intent.state == PaymentIntent.State.CAPTURED
    captured = f"{kept} was charged already." if is_taken else f"{kept} is then charged."
    # Less than what is kept where a part of the order has shipped.
    worth = sum((orders.price_of(line) * orders.units_left(line) for line in left), Decimal(0))
    given = say_amount(worth, order.total_currency)
    back = f"{given} is paid back" if is_taken else f"{given} was only reserved, and is released"
    units = sum(map(orders.units_left, left))
    codes = say_reasons(list(dict.fromkeys(code for line in lines for code in line.codes)))
    bars = "; ".join(dict.fromkeys(bar for line in lines for bar in line.bars))
    if not codes:
        not_held = "Nothing stands against it: release it." if lines else ""
    else:
        not_held = f"Not against {bars}." if bars else ""
    said = (
        (
            "release",
            "Release it",
            f"It ships as ordered. {captured}",
            f"Not while authority is taken away: {codes}." if codes else "",
        ),
        (
            "ship_held",
            "Ship it all the same",
            "The sale was lawful when it was made; it ships as sold, on the desk's word, with the reason in the "
            f"ledger. {captured}",
            not_held,
        ),
        (
            "refund_lines",
            "Refund a part",
            "The units that you choose are given back in money and stock. What is left is released if all of it may "
            "go, and stays on hold if not.",
            "" if units > 1 else "It is a single unit: refund the order.",
        ),
        (
            "refund",
            "Refund it",
            f"{back}, and {units} {'phone goes' if units == 1 else 'phones go'} back to the stock.",
            "",
        ),
    )
    return [
        Option(act, label, does, reverse(f"admin:storefront_order_{act}", args=[order.pk]), why_not)
        for act, label, does, why_not in said
    ]


def say_deadline(order: Order, *, at: datetime) -> str:
    """By when it is to be decided, in words: overdue is no colour only."""
    if order.state != Order.State.HELD:
        return ""
    if order.decide_by is None:
        return "no deadline: decide now"
    when = f"{order.decide_by:%Y-%m-%d %H:%M}"
    if order.decide_by <= at:
        return f"overdue by {_say_span(at - order.decide_by)} ({when})"
    return f"in {_say_span(order.decide_by - at)} ({when})"


def _say_span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    for size, name in ((1440, "day"), (60, "hour")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{minutes} min"


class ToDecideFilter(SimpleListFilter):
    title = "to decide"
    parameter_name = "decide"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        at = clock.now()
        return [
            ("open", f"to decide ({held_orders.waiting().count()})"),
            ("overdue", f"overdue ({held_orders.overdue(at=at).count()})"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        match self.value():
            case "open":
                return queryset.filter(state=Order.State.HELD)
            case "overdue":
                return queryset.filter(state=Order.State.HELD, decide_by__lte=clock.now())
        return queryset


# What the page of a held order found out, for the buttons above it.
_LOOKED_AT = "_clearline_held_order"


@admin.register(Order)
class OrderAdmin(RecordAdmin):
    list_display = (
        "id",
        "show_state",
        "deadline",
        "buyer_name",
        "total",
        "refunded",
        "sold_at",
        "held_reason",
    )
    list_filter = (ToDecideFilter, "state", "sold_at", "lines__vendor")
    search_fields = ("=id", "=public_id", "buyer_name", "buyer_email", "lines__listing__sku")
    inlines = (OrderLineInline, ShipmentInline)
    list_select_related = ("intent", "held_on__fact")
    list_before_template = "desk/orders_to_decide.html"
    change_form_outer_before_template = "desk/order_held.html"
    actions_row = ("hold", "release", "refund", "ship")
    actions_detail = ("hold", "release", "ship_held", "refund_lines", "refund", "ship")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Of those to decide, the most urgent first.
        return ("decide_by", "id") if request.GET.get("decide") else ("-id",)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        at = clock.now()
        counts = {
            "waiting": held_orders.waiting().count(),
            "overdue": held_orders.overdue(at=at).count(),
            "is_chosen": bool(request.GET.get("decide")),
        }
        page: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "decide": counts})
        return page

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        order = self.get_object(request, object_id)
        held = None
        if order is not None and order.state == Order.State.HELD and self.has_view_permission(request, order):
            held = look_at_held(order, at=clock.now())
        setattr(request, _LOOKED_AT, held)
        may_act = self.has_act_permission(request, order)
        page: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "held": held, "may_act": may_act}
        )
        return page

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[Any]:
        """Of a held order only the buttons that would not be refused for how its goods stand."""
        actions = super().get_actions_detail(request, object_id)
        held: HeldOrder | None = getattr(request, _LOOKED_AT, None)
        if held is None:
            return actions
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        return [a for a in actions if a.action_name.removeprefix(prefix) in held.open_acts]

    @display(
        description="state",
        ordering="state",
        label={"placed": "info", "held": "danger", "shipped": "success", "refunded": "warning"},
    )
    def show_state(self, order: Order) -> str:
        return order.state

    @display(description="decide by (UTC)", ordering="decide_by")
    def deadline(self, order: Order) -> str:
        return say_deadline(order, at=clock.now())

    @display(description="total", ordering="total_amount")
    def total(self, order: Order) -> str:
        return say_amount(order.total_amount, order.total_currency)

    @display(description="given back")
    def refunded(self, order: Order) -> str:
        amount = order.intent.refunded_amount
        return say_amount(amount, order.total_currency) if amount else ""

    def fits(self, action: str, row: Order) -> bool:
        return action in orders.acts_open_to(row)

    @action(description="Hold", icon="front_hand", permissions=["act"])
    def hold(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, HoldForm, "Hold")

    @action(description="Release", icon="lock_open", permissions=["act"])
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, ReleaseForm, "Release")

    @action(description="Ship all the same", icon="local_shipping", permissions=["act"])
    def ship_held(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, ShipHeldForm, "Ship")

    @action(description="Refund a part", icon="undo", permissions=["act"], variant=ActionVariant.WARNING)
    def refund_lines(self, request: HttpRequest, object_id: str) -> HttpResponse:
        order = subject_or_404(self, request, object_id)
        return self._act(request, object_id, RefundLinesForm, "Refund a part of", _withdrawn_units(order))

    @action(description="Refund", icon="undo", permissions=["act"], variant=ActionVariant.WARNING)
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, RefundForm, "Refund")

    @action(description="Ship", icon="local_shipping", permissions=["act"])
    def ship(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._act(request, object_id, ShipForm, "Ship")

    def _act(
        self,
        request: HttpRequest,
        object_id: str,
        form_class: type[ActForm],
        verb: str,
        initial: Mapping[str, Any] | None = None,
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
            initial=initial,
            done_url=change_url(order),
            refusals=(InvalidOrderMove,),
        )


def _withdrawn_units(order: Order) -> dict[str, int]:
    """What the form proposes: all units that may not go."""
    if order.state != Order.State.HELD:
        return {}
    try:
        lines = standing.look(orders.lines_left(order), at=clock.now())
    except DecisionUnavailable:
        return {}
    return {_units_field(each.line): orders.units_left(each.line) for each in lines if each.codes}


@admin.register(PaymentIntent)
class PaymentIntentAdmin(RecordAdmin):
    list_display = (
        "id",
        "total",
        "given_back",
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

    @display(description="given back", ordering="refunded_amount")
    def given_back(self, intent: PaymentIntent) -> str:
        return say_amount(intent.refunded_amount, intent.currency) if intent.refunded_amount else ""


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
