"""Policies: which grounds the shop enforces. A new one ends the one before."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from authorization import policies
from authorization.actors import Actor
from authorization.models import Assurance, PolicyVersion
from storefront.admin.desk import ActForm, FactVersionAdmin, KnownFilter, act_page


class PolicyForm(ActForm):
    submit_label = "Set the policy"

    name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget, help_text="Shoppers may read it"
    )
    minimum_assurance = forms.ChoiceField(
        choices=Assurance.choices,
        widget=UnfoldAdminSelectWidget,
        initial=Assurance.VERIFIED,
        help_text="What an agreement must at least be",
    )
    is_carrier_approval_enforced = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
        label="A phone needs the host carrier's approval",
    )
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))

    def run(self, *, by: Actor, at: datetime) -> str:
        policies.set_policy(**self.cleaned_data, by=by, at=at)
        return f"From now on: {self.cleaned_data['name']}. Every offer is decided again."


@admin.register(PolicyVersion)
class PolicyAdmin(FactVersionAdmin):
    list_display = (
        "name",
        "code",
        "minimum_assurance",
        "is_carrier_approval_enforced",
        "valid_from",
        "ends",
        "version_no",
    )
    list_filter = (KnownFilter, "minimum_assurance", "is_carrier_approval_enforced")
    list_select_related = ("head",)
    search_fields = ("name", "head__code")
    fields = (
        "name",
        "head",
        ("minimum_assurance", "is_carrier_approval_enforced"),
        ("valid_from", "ends"),
        ("version_no", "rev_from", "rev_to"),
    )
    readonly_fields = ("ends",)
    ordering = ("-valid_from",)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return act_page(
            self,
            request,
            PolicyForm,
            title="Set the policy",
            permission="authorization.add_policyversion",
            intro="The new policy takes effect at once and ends the present one. Nothing is overwritten.",
        )
