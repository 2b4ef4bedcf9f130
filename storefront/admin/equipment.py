"""Equipment authorizations: what a regulator lets be marketed, exact variant by exact variant."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from authorization import equipment
from authorization.actors import Actor
from authorization.models import EquipmentVersion, Fact
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
)


class EquipmentForm(ActForm):
    submit_label = "Record the authorization"

    code = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="What people call it; cannot be changed later",
    )
    variant = forms.ModelChoiceField(
        Variant.objects.select_related("device").order_by("device__brand", "model_number"),
        widget=UnfoldAdminSelect2Widget,
        help_text="The exact model number that was authorized",
    )
    territory = forms.CharField(
        max_length=2, initial="US", widget=UnfoldAdminTextInputWidget, help_text="ISO 3166-1 code"
    )
    regulator = forms.CharField(max_length=64, initial="FCC", widget=UnfoldAdminTextInputWidget)
    identifier = forms.CharField(
        required=False, max_length=64, widget=UnfoldAdminTextInputWidget, help_text="e.g. the FCC ID"
    )
    granted_at = InstantField(
        label="Granted at (UTC)", help_text="A prospective list reaches what was granted after it began"
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
        help_text="What was shown: a grant, its number and date",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        cleaned = self.cleaned_data
        fact = equipment.record_authorization(
            **cleaned
            | {
                "territory": cleaned["territory"].upper(),
                "valid_until": cleaned["valid_until"] or FOREVER,
            },
            by=by,
            at=at,
        )
        return f"Equipment authorization {fact.code} is recorded."


@admin.register(EquipmentVersion)
class EquipmentAdmin(WithdrawableAdmin):
    revoke_page = "revoke_equipment"
    list_display = (
        "code",
        "variant",
        "territory",
        "regulator",
        "identifier",
        "show_state",
        "granted_at",
        "valid_from",
        "ends",
        "version_no",
    )
    list_filter = (KnownFilter, "state", "territory", "regulator", "variant__device__brand")
    list_select_related = ("head", "variant__device")
    search_fields = (
        "head__code",
        "identifier",
        "variant__model_number",
        "variant__device__marketing_name",
        "document",
    )
    ordering = ("-rev_from",)
    fields = (
        "head",
        ("variant", "territory"),
        ("regulator", "identifier", "granted_at"),
        ("state", "revoked_at", "reason_code"),
        ("valid_from", "ends"),
        "document",
        ("version_no", "rev_from", "rev_to"),
    )
    readonly_fields = ("ends",)
    actions_row = actions_detail = ("revoke", "suspend")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return act_page(
            self,
            request,
            EquipmentForm,
            title="Record an equipment authorization",
            permission="authorization.add_equipmentversion",
            initial={"code": next_code("EA", Fact.Kind.EQUIPMENT)},
        )

    @display(
        description="state",
        ordering="state",
        label={"active": "success", "revoked": "danger", REVOCATION_TO_COME: "warning"},
    )
    def show_state(self, version: EquipmentVersion) -> str:
        return REVOCATION_TO_COME if is_revocation_to_come(version) else version.state

    def fits(self, action: str, row: EquipmentVersion) -> bool:
        is_in_force = row.state == EquipmentVersion.State.ACTIVE or is_revocation_to_come(row)
        return row.rev_to is None and is_in_force
