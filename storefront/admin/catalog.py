"""Organizations, devices and their exact variants.

What a decision reads of them (a kind, a manufacturer, a device) is fixed once the row exists: changing it
would change what is authorized without a revision.
"""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization import attributes
from authorization.actors import Actor
from catalog.models import (
    Device,
    Organization,
    Variant,
    VariantAttribute,
    VariantBand,
    VariantIms,
    VariantVersion,
)
from storefront.admin.desk import (
    ActForm,
    KnownFilter,
    PlainFormAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    act_page,
    change_url,
    subject_or_404,
)


@admin.register(Organization)
class OrganizationAdmin(PlainFormAdmin):
    list_display = ("name", "kind", "country", "contact_email", "is_simulated", "created_at")
    list_filter = ("kind", "is_simulated")
    search_fields = ("name", "slug")
    fields = ("kind", "name", "slug", "country", "contact_email", "is_simulated", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("kind", "created_at") if obj is not None else ("created_at",)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, tuple[str, ...]]:
        return {} if obj is not None else {"slug": ("name",)}


@admin.register(Device)
class DeviceAdmin(PlainFormAdmin):
    list_display = ("marketing_name", "brand", "manufacturer", "slug")
    list_filter = ("brand",)
    list_select_related = ("manufacturer",)
    search_fields = ("brand", "marketing_name", "slug", "variants__model_number")
    autocomplete_fields = ("manufacturer",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("manufacturer",) if obj is not None else ()

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, tuple[str, ...]]:
        return {} if obj is not None else {"slug": ("brand", "marketing_name")}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Device], search_term: str
    ) -> tuple[QuerySet[Device], bool]:
        # A term may match several variants of one device; it is still one device.
        found, _ = super().get_search_results(request, queryset, search_term)
        return found, bool(search_term)


class VariantVersionInline(ReadOnlyInline):
    model = VariantVersion
    fields = (
        "version_no",
        "lte_confidence",
        "ims_source",
        "ims_confidence",
        "valid_from",
        "rev_from",
        "rev_to",
    )


class AttributesForm(ActForm):
    submit_label = "Record the attributes"

    attributes = forms.CharField(
        required=False,
        max_length=20_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="One a line, as name=value, e.g. chipset_vendor=Qualcomm; a name may have several values",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Where it is from: a teardown, a data sheet, a filing",
    )

    def clean_attributes(self) -> list[tuple[str, str]]:
        named = []
        for line in self.cleaned_data["attributes"].splitlines():
            if not line.strip():
                continue
            name, equals, value = (piece.strip() for piece in line.partition("="))
            if not (name and equals and value):
                raise forms.ValidationError(
                    f"Write {line.strip()} as name=value, e.g. chipset_vendor=Qualcomm."
                )
            named.append((name, value))
        return named

    def run(self, *, by: Actor, at: datetime) -> str:
        differs = attributes.record_attributes(
            variant=self.subject,
            attributes=self.cleaned_data["attributes"],
            by=by,
            at=at,
            reason=self.cleaned_data["reason"],
        )
        if not differs:
            return f"{self.subject} has these attributes already; nothing was written."
        return f"The attributes of {self.subject} are recorded. The offers that holds reach by them are decided again."


@admin.register(Variant)
class VariantAdmin(PlainFormAdmin):
    list_display = ("model_number", "device", "codename", "sales_version", "launched_in", "fcc_id")
    list_filter = ("device__brand",)
    list_select_related = ("device",)
    search_fields = ("model_number", "slug", "codename", "device__brand", "device__marketing_name", "fcc_id")
    autocomplete_fields = ("device",)
    inlines = (VariantVersionInline,)
    actions_detail = ("record_attributes",)

    @action(description="Record attributes", icon="memory", permissions=["act"])
    def record_attributes(self, request: HttpRequest, object_id: str) -> HttpResponse:
        variant = subject_or_404(self, request, object_id)
        known = attributes.attributes_of(variant)
        return act_page(
            self,
            request,
            AttributesForm,
            title=f"Record attributes of {variant}",
            permission="catalog.change_variant",
            subject=variant,
            intro=(
                "What holds and regulators' lists may name besides the model. The list is the whole: a line that you "
                "take out is no longer known, and a hold that names it no longer stops this phone. Its radio stays as "
                "it is."
            ),
            initial={"attributes": "\n".join(f"{name}={value}" for name, value in known)},
            done_url=change_url(variant),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("device", "model_number") if obj is not None else ()


class VariantBandInline(ReadOnlyInline):
    model = VariantBand
    fields = ("rat", "band", "is_sw_disabled", "source", "confidence")
    show_change_link = False
    show_title = False


class VariantImsInline(ReadOnlyInline):
    model = VariantIms
    fields = ("host", "status")
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[VariantIms]:
        rows: QuerySet[VariantIms] = super().get_queryset(request).select_related("host")
        return rows


class VariantAttributeInline(ReadOnlyInline):
    model = VariantAttribute
    fields = ("name", "value")
    show_change_link = False
    show_title = False


@admin.register(VariantVersion)
class VariantVersionAdmin(ReadOnlyAdmin):
    """The radio of a variant as known from one revision on."""

    list_display = (
        "head",
        "version_no",
        "lte_confidence",
        "ims_source",
        "ims_confidence",
        "rev_from",
        "rev_to",
    )
    list_filter = (KnownFilter, "lte_confidence", "head__device__brand")
    list_select_related = ("head__device",)
    search_fields = ("head__model_number", "head__device__marketing_name")
    inlines = (VariantBandInline, VariantImsInline, VariantAttributeInline)
