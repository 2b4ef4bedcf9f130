"""Host carriers, their networks and bands, and hostings. All but the host's own card is versioned."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action

from carriers.models import (
    HostCarrier,
    Hosting,
    HostingVersion,
    HostPlmn,
    Network,
    NetworkBand,
    NetworkVersion,
    ReferenceSource,
)
from storefront.admin import provenance
from storefront.admin.corrections import CorrectableAdmin, ProvenanceAdmin
from storefront.admin.desk import KnownFilter, PlainFormAdmin, ReadOnlyAdmin, ReadOnlyInline, subject_or_404
from storefront.admin.groundwork_forms import HostingForm, NetworkForm


@admin.register(ReferenceSource)
class ReferenceSourceAdmin(PlainFormAdmin):
    """What the codes beside values stand for. An import takes only codes that are here."""

    list_display = ("code", "kind", "source", "url", "terms")
    list_filter = ("kind",)
    search_fields = ("code", "source", "url")
    ordering = ("code",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # Values name it by its code.
        return ("code",) if obj is not None else ()


class HostPlmnInline(ReadOnlyInline):
    model = HostPlmn
    fields = ("plmn", "source", "confidence", "note")
    show_change_link = False
    show_title = False
    ordering = ("plmn",)


@admin.register(HostCarrier)
class HostCarrierAdmin(PlainFormAdmin):
    list_display = ("name", "code", "plmn", "contact_email")
    search_fields = ("name", "code", "plmn", "=plmns__plmn")
    inlines = (HostPlmnInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # The code is what API, proofs and reference data call the host by.
        return ("code",) if obj is not None else ()


class NetworkVersionInline(ReadOnlyInline):
    model = NetworkVersion
    fields = ("version_no", "admission", "cs_voice", "valid_from", "valid_until", "rev_from", "rev_to")


@admin.register(Network)
class NetworkAdmin(CorrectableAdmin, ReadOnlyAdmin):
    list_display = ("host", "era", "checked_at")
    list_filter = ("host", "era", ("checked_at", admin.EmptyFieldListFilter))
    list_select_related = ("host",)
    search_fields = ("host__name", "era")
    inlines = (NetworkVersionInline,)
    actions_row = ("correct_network",)
    actions_detail = ("correct_network", "mark_checked")

    def provenance_of(self, row: Network, *, at: datetime) -> provenance.Provenance | None:
        version = NetworkVersion.objects.current().filter(head=row).select_related("head").first()
        return None if version is None else provenance.of_network(version, at=at)

    @action(
        description="Correct it",
        icon="edit",
        permissions=["correct"],
        extra_options={"display_in_dropdown": False},
    )
    def correct_network(self, request: HttpRequest, object_id: str) -> HttpResponse:
        network = subject_or_404(self, request, object_id)
        return self.correct(request, NetworkForm, network, title=f"Correct the network of {network}")


class NetworkBandInline(ReadOnlyInline):
    model = NetworkBand
    fields = (
        "position",
        "rat",
        "band",
        "group",
        "voice",
        "in_service_from",
        "in_service_until",
        "source",
        "confidence",
    )
    ordering = ("position",)
    show_change_link = False
    show_title = False


@admin.register(NetworkVersion)
class NetworkVersionAdmin(ProvenanceAdmin, ReadOnlyAdmin):
    list_display = ("head", "version_no", "admission", "cs_voice", "valid_from", "rev_from", "rev_to")
    list_filter = (KnownFilter, "admission", "head__host")
    list_select_related = ("head__host",)
    search_fields = ("head__host__name", "head__era")
    inlines = (NetworkBandInline,)

    def provenance_of(self, row: NetworkVersion, *, at: datetime) -> provenance.Provenance:
        return provenance.of_network(row, at=at)


class HostingVersionInline(ReadOnlyInline):
    model = HostingVersion
    fields = (
        "version_no",
        "plmn",
        "apn",
        "valid_from",
        "valid_until",
        "source",
        "confidence",
        "note",
        "rev_from",
        "rev_to",
    )
    show_change_link = False
    show_title = False


@admin.register(Hosting)
class HostingAdmin(CorrectableAdmin, ReadOnlyAdmin):
    list_display = ("mvno", "product_name", "host", "checked_at")
    list_filter = ("host", ("checked_at", admin.EmptyFieldListFilter))
    list_select_related = ("host",)
    search_fields = ("mvno", "product_name", "host__name")
    inlines = (HostingVersionInline,)
    actions_row = ("correct_hosting",)
    actions_detail = ("correct_hosting", "mark_checked")

    def provenance_of(self, row: Hosting, *, at: datetime) -> provenance.Provenance | None:
        version = HostingVersion.objects.current().filter(head=row).select_related("head").first()
        return None if version is None else provenance.of_hosting(version, at=at)

    @action(
        description="Correct or end it",
        icon="edit",
        permissions=["correct"],
        extra_options={"display_in_dropdown": False},
    )
    def correct_hosting(self, request: HttpRequest, object_id: str) -> HttpResponse:
        hosting = subject_or_404(self, request, object_id)
        return self.correct(request, HostingForm, hosting, title=f"Correct the hosting of {hosting}")
