"""Carrier approvals: where an exact variant stands with a host carrier."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from authorization import approvals
from authorization.actors import Actor
from authorization.models import ApprovalVersion, Fact
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Variant
from storefront.admin.desk import (
    REVOCATION_TO_COME,
    ActForm,
    InstantField,
    KnownFilter,
    WithdrawableAdmin,
    act_page,
    is_revocation_to_come,
    next_code,
    subject_or_404,
)

State = ApprovalVersion.State
# Revoking is an act of its own, with a preview.
_STATES = [choice for choice in State.choices if choice[0] != State.REVOKED]


class ApprovalForm(ActForm):
    submit_label = "Record the approval"

    code = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="What people call it; cannot be changed later",
    )
    host = forms.ModelChoiceField(
        HostCarrier.objects.order_by("name"), widget=UnfoldAdminSelectWidget, label="Host carrier"
    )
    variant = forms.ModelChoiceField(
        Variant.objects.select_related("device").order_by("device__brand", "model_number"),
        widget=UnfoldAdminSelect2Widget,
        help_text="The exact model number that was tested",
    )
    state = forms.ChoiceField(choices=_STATES, widget=UnfoldAdminSelectWidget)
    limits = forms.CharField(
        required=False,
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="What is limited, in plain words; needed for an approval with limits",
    )
    waived_until = InstantField(
        required=False,
        label="Waived until (UTC)",
        help_text="Of an approval with limits: when the waiver runs out, and the approval with it",
    )
    software_from = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first software version that was approved; empty: any",
    )
    software_until = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first one that is no longer; empty: all later ones are",
    )
    valid_from = InstantField(label="Valid from (UTC)")
    valid_until = InstantField(
        required=False,
        label="Valid until (UTC)",
        help_text="The end itself no longer counts; empty: no end",
    )
    document = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Number of the letter of technical acceptance",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        cleaned = self.cleaned_data
        fact = approvals.record_approval(
            **cleaned | {"valid_until": cleaned["valid_until"] or FOREVER}, by=by, at=at
        )
        return f"Approval {fact.code} is recorded."


class StateForm(ActForm):
    submit_label = "Change the state"

    state = forms.ChoiceField(choices=_STATES, widget=UnfoldAdminSelectWidget)
    limits = forms.CharField(
        required=False,
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="What is limited, in plain words; needed for an approval with limits",
    )
    waived_until = InstantField(
        required=False,
        label="Waived until (UTC)",
        help_text="Of an approval with limits: when the waiver runs out, and the approval with it",
    )
    software_from = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first software version that was approved; empty: any",
    )
    software_until = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first one that is no longer; empty: all later ones are",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="What the host carrier said, and when",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        approvals.change_approval_state(fact=fact, **self.cleaned_data, by=by, at=at)
        return f"Approval {fact.code} is now: {dict(_STATES)[self.cleaned_data['state']]}."


@admin.register(ApprovalVersion)
class ApprovalAdmin(WithdrawableAdmin):
    revoke_page = "revoke_approval"
    list_display = (
        "code",
        "variant",
        "host",
        "show_state",
        "limits",
        "software",
        "valid_from",
        "ends",
        "version_no",
    )
    list_filter = (KnownFilter, "state", "host", "variant__device__brand")
    list_select_related = ("head", "host", "variant__device")
    search_fields = (
        "head__code",
        "variant__model_number",
        "variant__device__marketing_name",
        "host__name",
        "document",
    )
    ordering = ("-rev_from",)
    fields = (
        "head",
        ("variant", "host"),
        ("state", "limits", "waived_until"),
        ("software_from", "software_until"),
        ("revoked_at", "reason_code"),
        ("valid_from", "ends"),
        "document",
        ("version_no", "rev_from", "rev_to"),
    )
    readonly_fields = ("ends",)
    actions_row = actions_detail = ("revoke", "limit", "change_state", "suspend")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return act_page(
            self,
            request,
            ApprovalForm,
            title="Record a carrier approval",
            permission="authorization.add_approvalversion",
            initial={"code": next_code("CA", Fact.Kind.APPROVAL)},
        )

    @display(
        description="state",
        ordering="state",
        label={
            "approved": "success",
            "conditional": "success",
            "in_test": "info",
            "requested": "info",
            "rejected": "danger",
            "revoked": "danger",
            REVOCATION_TO_COME: "warning",
        },
    )
    def show_state(self, version: ApprovalVersion) -> str:
        return REVOCATION_TO_COME if is_revocation_to_come(version) else version.state

    @display(description="software")
    def software(self, version: ApprovalVersion) -> str:
        starts, ends = version.software_from, version.software_until
        return " ".join(filter(None, [starts and f"from {starts}", ends and f"before {ends}"])) or "any"

    def fits(self, action: str, row: ApprovalVersion) -> bool:
        if is_revocation_to_come(row):
            return action in ("revoke", "suspend")
        if row.rev_to is not None or row.state in (State.REVOKED, State.REJECTED):
            return False
        return action == "change_state" or row.state in approvals.IN_FORCE

    @action(description="Limit", icon="compress", permissions=["withdraw"])
    def limit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return HttpResponseRedirect(reverse("admin:restrict_approval", args=[version.head_id]))

    @action(description="Change the state", icon="edit", permissions=["act"])
    def change_state(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            StateForm,
            title=f"Change approval {version.head}",
            permission="authorization.change_approvalversion",
            subject=version,
            intro=(
                f"{version.variant} on {version.host}. So far: {version.get_state_display()}."
                + (
                    " It is in force: what takes authority away (limits, less software) has a page of its own, Limit."
                    if version.state in approvals.IN_FORCE
                    else ""
                )
            ),
            initial={
                name: getattr(version, name)
                for name in ("state", "limits", "waived_until", "software_from", "software_until")
            },
        )
