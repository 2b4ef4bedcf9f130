"""Policies: which grounds the shop enforces. A new one ends the one before it for the same territory."""

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
from authorization.rules import ALL
from storefront.admin.desk import ActForm, FactVersionAdmin, KnownFilter, act_page


class PolicyForm(ActForm):
    submit_label = "Set the policy"

    name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget, help_text="Shoppers may read it"
    )
    territory = forms.CharField(
        required=False,
        max_length=2,
        initial=ALL,
        widget=UnfoldAdminTextInputWidget,
        help_text="ISO 3166-1 code, or * for all; one for a territory stands before the one for all",
    )
    is_agreement_enforced = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
        label="A vendor needs agreements that lead to the manufacturer",
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
    is_conditional_approval_enough = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
        label="An approval with limits is enough",
    )
    is_equipment_authorization_enforced = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        label="A phone needs the regulator's equipment authorization",
    )
    minimum_radio = forms.ChoiceField(
        choices=PolicyVersion.Radio.choices,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="What a phone must at least do on the host's network",
    )
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))

    def run(self, *, by: Actor, at: datetime) -> str:
        territory = self.cleaned_data["territory"].upper() or ALL
        policies.set_policy(**self.cleaned_data | {"territory": territory}, by=by, at=at)
        return f"From now on: {self.cleaned_data['name']}. Every offer is decided again."


@admin.register(PolicyVersion)
class PolicyAdmin(FactVersionAdmin):
    list_display = (
        "name",
        "code",
        "territory",
        "minimum_assurance",
        "is_carrier_approval_enforced",
        "is_equipment_authorization_enforced",
        "minimum_radio",
        "valid_from",
        "ends",
        "version_no",
    )
    list_filter = (KnownFilter, "territory", "minimum_assurance", "is_carrier_approval_enforced")
    list_select_related = ("head",)
    search_fields = ("name", "head__code")
    fields = (
        "name",
        "head",
        "territory",
        ("is_agreement_enforced", "minimum_assurance"),
        ("is_carrier_approval_enforced", "is_conditional_approval_enough"),
        ("is_equipment_authorization_enforced", "minimum_radio"),
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
            intro="It takes effect at once and ends the present policy of its territory. Nothing is overwritten.",
        )
