"""Webhook endpoints of the vendors and what was sent to them. A secret is on one page, once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextInputWidget,
    UnfoldAdminURLInputWidget,
    UnfoldBooleanSwitchWidget,
)

from authorization import clock
from authorization.actors import Actor
from catalog.models import Organization
from storefront import events, webhooks
from storefront.admin.desk import (
    ActForm,
    InstantField,
    ReadOnlyAdmin,
    RecordAdmin,
    act_page,
    change_url,
    changelist_url,
    desk_page,
    require,
    subject_or_404,
)
from storefront.models import WebhookDelivery, WebhookEndpoint
from storefront.requests import actor_of
from storefront.webhooks import EndpointDisabled, InvalidEndpoint, TooManyEndpoints

_REFUSALS = (InvalidEndpoint, TooManyEndpoints, EndpointDisabled)
_MAY_CHANGE = "storefront.change_webhookendpoint"


class _EndpointForm(ActForm):
    url = forms.CharField(
        label="Address", max_length=500, widget=UnfoldAdminURLInputWidget, help_text="https only"
    )
    label = forms.CharField(max_length=64, required=False, widget=UnfoldAdminTextInputWidget)
    event_types = forms.MultipleChoiceField(
        choices=[(name, name) for name in events.EVENT_TYPES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all, also those to come",
    )


class MakeForm(_EndpointForm):
    submit_label = "Make the endpoint"

    vendor = forms.ModelChoiceField(
        Organization.objects.filter(kind=Organization.Kind.VENDOR).order_by("name"),
        widget=UnfoldAdminSelect2Widget,
    )
    field_order = ("vendor", "url", "label", "event_types")


class ChangeForm(_EndpointForm):
    subject: WebhookEndpoint

    is_enabled = forms.BooleanField(label="Switched on", required=False, widget=UnfoldBooleanSwitchWidget)

    def run(self, *, by: Actor, at: datetime) -> str:
        webhooks.change_endpoint(endpoint=self.subject, **self.cleaned_data, by=by, at=at)
        return "The endpoint is changed."


class RotateForm(ActForm):
    submit_label = "Make a new secret"


class PingForm(ActForm):
    submit_label = "Send a ping"
    subject: WebhookEndpoint

    def run(self, *, by: Actor, at: datetime) -> str:
        delivery = webhooks.ping(endpoint=self.subject, by=by, at=at)
        return f"A ping is on its way: delivery {delivery.event_id}."


class DeleteForm(ActForm):
    submit_label = "Delete the endpoint"
    subject: WebhookEndpoint

    def run(self, *, by: Actor, at: datetime) -> str:
        webhooks.delete_endpoint(endpoint=self.subject, by=by, at=at)
        return "The endpoint is deleted: nothing more is sent to it."


class PeriodForm(ActForm):
    submit_label = "Send all of it again"
    subject: WebhookEndpoint

    since = InstantField(label="From (UTC)")
    until = InstantField(label="Until (UTC)")

    def run(self, *, by: Actor, at: datetime) -> str:
        count = webhooks.replay_period(endpoint=self.subject, **self.cleaned_data, by=by, at=at)
        return f"{count} deliveries are sent again."


class ReplayForm(ActForm):
    submit_label = "Send it again"
    subject: WebhookDelivery

    def run(self, *, by: Actor, at: datetime) -> str:
        webhooks.replay(delivery=self.subject, by=by, at=at)
        return f"Delivery {self.subject.event_id} is sent again."


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    secret_fields = ("secret", "previous_secret")
    list_display = ("vendor", "url", "label", "show_state", "failing_since", "created_at")
    list_filter = ("vendor", "is_enabled", ("failing_since", admin.EmptyFieldListFilter))
    list_select_related = ("vendor",)
    search_fields = ("vendor__name", "url", "label", "=public_id")
    ordering = ("-id",)
    # Without the secrets: they are shown once, to who makes them.
    fields = (
        "vendor",
        "public_id",
        "url",
        "label",
        "event_types",
        ("is_enabled", "disabled_reason"),
        ("failing_since", "rests_until"),
        "previous_secret_until",
        ("created_at", "deleted_at"),
        "position",
    )
    actions_row = actions_detail = ("edit", "ping", "replay_period", "rotate_secret", "delete_endpoint")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("storefront.add_webhookendpoint"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        require(request, "storefront.add_webhookendpoint")
        form = MakeForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                endpoint, secret = webhooks.make_endpoint(
                    **form.cleaned_data, by=actor_of(request), at=clock.now()
                )
            except (InvalidEndpoint, TooManyEndpoints) as error:
                form.refuse(getattr(error, "field", ""), str(error))
            else:
                return self._secret_page(request, endpoint, secret)
        return desk_page(
            self,
            request,
            "desk/act.html",
            title="Make a webhook endpoint",
            form=form,
            intro="Its secret is shown once, on the next page. It is sent what happens from then on.",
            cancel_url=changelist_url(self),
        )

    @display(
        description="state",
        label={"on": "success", "failing": "warning", "switched off": "danger", "deleted": "default"},
    )
    def show_state(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.deleted_at:
            return "deleted"
        if not endpoint.is_enabled:
            return "switched off"
        return "failing" if endpoint.failing_since else "on"

    def fits(self, action: str, row: WebhookEndpoint) -> bool:
        if row.deleted_at is not None:
            return False
        return row.is_enabled or action not in ("ping", "replay_period")

    @action(description="Change", icon="edit", permissions=["act"])
    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        endpoint = self._existing(request, object_id)
        shown = {name: getattr(endpoint, name) for name in ("url", "label", "event_types", "is_enabled")}
        return self._act(request, endpoint, ChangeForm, title=f"Change {endpoint}", initial=shown)

    @action(description="Ping", icon="network_ping", permissions=["act"])
    def ping(self, request: HttpRequest, object_id: str) -> HttpResponse:
        endpoint = self._existing(request, object_id)
        return self._act(
            request,
            endpoint,
            PingForm,
            title=f"Ping {endpoint}",
            intro="It tells of nothing. How it went stands with the deliveries.",
        )

    @action(description="Send a period again", icon="replay", permissions=["act"])
    def replay_period(self, request: HttpRequest, object_id: str) -> HttpResponse:
        endpoint = self._existing(request, object_id)
        return self._act(
            request,
            endpoint,
            PeriodForm,
            title=f"Send a period again to {endpoint}",
            intro="Everything that was made for it in this time, delivered or not, under the same ids.",
        )

    @action(description="New secret", icon="key", permissions=["act"])
    def rotate_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, _MAY_CHANGE)
        endpoint = self._existing(request, object_id)
        if request.method == "POST":
            endpoint, secret = webhooks.rotate_secret(endpoint=endpoint, by=actor_of(request), at=clock.now())
            return self._secret_page(request, endpoint, secret)
        return desk_page(
            self,
            request,
            "desk/act.html",
            title=f"A new secret for {endpoint}",
            form=RotateForm(),
            intro="The old one signs beside it for 24 hours. One that is being replaced already ends now.",
            cancel_url=change_url(endpoint),
            original=endpoint,
        )

    @action(description="Delete", icon="delete", permissions=["act"], variant=ActionVariant.DANGER)
    def delete_endpoint(self, request: HttpRequest, object_id: str) -> HttpResponse:
        endpoint = self._existing(request, object_id)
        return self._act(
            request,
            endpoint,
            DeleteForm,
            title=f"Delete {endpoint}",
            intro="Nothing more is sent to it. What was sent stays on record. This cannot be undone.",
            is_danger=True,
        )

    def _existing(self, request: HttpRequest, object_id: str) -> WebhookEndpoint:
        endpoint: WebhookEndpoint = subject_or_404(self, request, object_id)
        require(request, _MAY_CHANGE)
        if endpoint.deleted_at is not None:
            subject_or_404(self, request, -1)
        return endpoint

    def _act(
        self,
        request: HttpRequest,
        endpoint: WebhookEndpoint,
        form_class: type[ActForm],
        *,
        title: str,
        intro: str = "",
        initial: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> HttpResponse:
        return act_page(
            self,
            request,
            form_class,
            title=title,
            permission=_MAY_CHANGE,
            subject=endpoint,
            intro=intro,
            initial=initial,
            done_url=change_url(endpoint),
            refusals=_REFUSALS,
            **context,
        )

    def _secret_page(self, request: HttpRequest, endpoint: WebhookEndpoint, secret: str) -> HttpResponse:
        # The desk's pages are never cached, so the Back button does not bring it back either.
        return desk_page(
            self,
            request,
            "desk/webhook_secret.html",
            title="The secret",
            endpoint=endpoint,
            secret=secret,
            done_url=change_url(endpoint),
        )


class _StateFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pending", "to be sent"), ("delivered", "delivered"), ("given_up", "given up")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]
    ) -> QuerySet[WebhookDelivery]:
        return webhooks.in_state(queryset, self.value() or "")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(RecordAdmin):
    list_display = ("created_at", "endpoint", "event", "show_state", "attempts", "last_status", "due_at")
    list_filter = (_StateFilter, "event", "created_at")
    list_select_related = ("endpoint__vendor",)
    search_fields = ("=event_id", "endpoint__url", "endpoint__vendor__name")
    ordering = ("-id",)
    fields = (
        "endpoint",
        ("event", "event_id", "position"),
        ("created_at", "due_at", "delivered_at", "given_up_at"),
        ("attempts", "last_status"),
        "tries",
    )
    readonly_fields = ("tries",)
    actions_row = actions_detail = ("replay",)

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(_MAY_CHANGE))

    @display(description="state", label={"delivered": "success", "to be sent": "info", "given up": "danger"})
    def show_state(self, delivery: WebhookDelivery) -> str:
        return {"pending": "to be sent", "given_up": "given up"}.get(webhooks.state_of(delivery), "delivered")

    @display(description="last attempts")
    def tries(self, delivery: WebhookDelivery) -> SafeString:
        rows = (
            (entry["at"], entry["status"] or "no answer", entry["error"], entry["took_ms"])
            for entry in delivery.log
        )
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {} {} ({} ms)</li>", rows))

    def fits(self, action: str, row: WebhookDelivery) -> bool:
        return row.endpoint.is_enabled

    @action(description="Send it again", icon="replay", permissions=["act"])
    def replay(self, request: HttpRequest, object_id: str) -> HttpResponse:
        delivery: WebhookDelivery = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            ReplayForm,
            title=f"Send {delivery.event} again",
            permission=_MAY_CHANGE,
            subject=delivery,
            intro=f"To {delivery.endpoint}, under the same id.",
            done_url=change_url(delivery),
            refusals=_REFUSALS,
        )
