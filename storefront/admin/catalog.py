"""Organizations, devices and their exact variants.

What a decision reads of them (a kind, a manufacturer, a device) is fixed once the row exists: changing it
would change what is authorized without a revision.
"""

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action

from authorization import groundwork
from catalog.models import (
    Device,
    Organization,
    Tac,
    Variant,
    VariantAttribute,
    VariantBand,
    VariantIms,
    VariantSource,
    VariantVersion,
)
from storefront.admin import provenance
from storefront.admin.corrections import CorrectableAdmin, ProvenanceAdmin
from storefront.admin.desk import (
    KnownFilter,
    PlainFormAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    change_url,
    subject_or_404,
)
from storefront.admin.groundwork_forms import AttributesForm, RadioForm


@admin.register(Organization)
class OrganizationAdmin(PlainFormAdmin):
    list_display = ("name", "kind", "country", "contact_email", "is_simulated", "created_at")
    list_filter = ("kind", "is_simulated")
    search_fields = ("name", "slug")
    fields = ("kind", "name", "slug", "country", "contact_email", "is_simulated", "created_at")
    actions_row = actions_detail = ("suspend",)

    def fits(self, action: str, row: Organization) -> bool:
        return row.kind == Organization.Kind.VENDOR

    @action(
        description="Suspend",
        icon="front_hand",
        permissions=["withdraw"],
        extra_options={"display_in_dropdown": False},
    )
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        organization = subject_or_404(self, request, object_id)
        if organization.kind != Organization.Kind.VENDOR:
            messages.error(
                request,
                f"{organization} is a {organization.get_kind_display()}: only vendors are suspended. Place a hold on "
                "what it makes, or revoke its agreements.",
            )
            return HttpResponseRedirect(change_url(organization))
        return HttpResponseRedirect(f"{reverse('admin:place_hold')}?vendor={organization.pk}")

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


class TacInline(ReadOnlyInline):
    model = Tac
    fields = ("code", "is_synthetic", "source")
    show_change_link = False
    show_title = False
    ordering = ("code",)


@admin.register(Variant)
class VariantAdmin(CorrectableAdmin, PlainFormAdmin):
    list_display = (
        "model_number",
        "device",
        "codename",
        "sales_version",
        "launched_in",
        "fcc_id",
        "checked_at",
    )
    list_filter = ("device__brand", ("checked_at", admin.EmptyFieldListFilter))
    list_select_related = ("device",)
    search_fields = (
        "model_number",
        "slug",
        "codename",
        "device__brand",
        "device__marketing_name",
        "fcc_id",
        "=tacs__code",
    )
    autocomplete_fields = ("device",)
    inlines = (VariantVersionInline, TacInline)
    actions_detail = ("correct_radio", "record_attributes", "mark_checked")

    def provenance_of(self, row: Variant, *, at: datetime) -> provenance.Provenance:
        return provenance.of_variant(row, groundwork.read_ahead([row]).get(row.pk), at=at)

    @action(description="Correct its radio", icon="cell_tower", permissions=["correct"])
    def correct_radio(self, request: HttpRequest, object_id: str) -> HttpResponse:
        variant = subject_or_404(self, request, object_id)
        return self.correct(request, RadioForm, variant, title=f"Correct the radio of {variant}")

    @action(description="Record attributes", icon="memory", permissions=["correct"])
    def record_attributes(self, request: HttpRequest, object_id: str) -> HttpResponse:
        variant = subject_or_404(self, request, object_id)
        if not VariantVersion.objects.current().filter(head=variant).exists():
            messages.error(
                request,
                f"Nothing is recorded of the radio of {variant} yet, to which its attributes belong; correct its "
                "radio first.",
            )
            return HttpResponseRedirect(change_url(variant))
        return self.correct(request, AttributesForm, variant, title=f"Record attributes of {variant}")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # An act of its own says that it was checked.
        return ("device", "model_number", "checked_at") if obj is not None else ("checked_at",)


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


class VariantSourceInline(ReadOnlyInline):
    model = VariantSource
    fields = ("value", "source", "confidence")
    show_change_link = False
    show_title = False


class VariantAttributeInline(ReadOnlyInline):
    model = VariantAttribute
    fields = ("name", "value")
    show_change_link = False
    show_title = False


@admin.register(VariantVersion)
class VariantVersionAdmin(ProvenanceAdmin, ReadOnlyAdmin):
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
    inlines = (VariantBandInline, VariantImsInline, VariantSourceInline, VariantAttributeInline)

    def provenance_of(self, row: VariantVersion, *, at: datetime) -> provenance.Provenance:
        return provenance.of_variant(row.head, row, at=at)
