"""Policies: which grounds the shop enforces. A new one ends the one before it for the same territory."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from authorization import clock, policies
from authorization.models import PolicyVersion
from authorization.policies import PolicyTerms
from storefront.admin.desk import FactVersionAdmin, KnownFilter
from storefront.admin.front_door import withdraw
from storefront.admin.withdrawal_forms import PolicyForm


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
        in_force = policies.current_policy(clock.now())
        initial = {name: getattr(in_force, name) for name in PolicyTerms.__annotations__} if in_force else {}
        return withdraw(
            self,
            request,
            PolicyForm,
            title="Set the policy",
            about=(
                "It takes effect at once and ends the present policy of its territory. Nothing is overwritten. What it "
                "forbids falls, what it allows returns: both are shown first."
            ),
            initial={"requested_by": settings.SHOP_NAME, "reason_code": "POLICY_TIGHTENED", **initial},
            permission="authorization.add_policyversion",
        )
