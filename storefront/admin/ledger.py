"""The records: what was done, what was decided on which evidence, every fact with its versions. Read only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    Decision,
    DecisionEvidence,
    Fact,
    HoldVersion,
    LedgerEntry,
    PolicyVersion,
    Revision,
    SaleTicket,
)
from storefront.admin.desk import ReadOnlyAdmin, ReadOnlyInline, RecordAdmin


@admin.register(LedgerEntry)
class LedgerEntryAdmin(RecordAdmin):
    list_display = ("at", "actor", "act", "subject_kind", "subject_id", "reason", "revision", "request_id")
    list_display_links = ("at", "act")
    list_filter = ("act", "subject_kind", "at")
    search_fields = ("actor", "act", "=subject_id", "reason", "=request_id")
    ordering = ("-id",)


@admin.register(Revision)
class RevisionAdmin(RecordAdmin):
    list_display = ("n", "recorded_at", "actor", "reason")
    list_filter = ("recorded_at",)
    search_fields = ("=n", "actor", "reason")
    ordering = ("-n",)


class FactVersionInline(ReadOnlyInline):
    """The versions of a fact; shown for the fact's own kind only."""

    kind = ""
    ordering = ("-version_no",)

    @classmethod
    def shows(cls, fact: Fact) -> bool:
        return fact.kind == cls.kind


class AgreementVersionInline(FactVersionInline):
    kind = Fact.Kind.AGREEMENT
    model = AgreementVersion
    fields = (
        "version_no",
        "grantor",
        "grantee",
        "assurance",
        "state",
        "valid_from",
        "valid_until",
        "rev_from",
        "rev_to",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgreementVersion]:
        rows: QuerySet[AgreementVersion] = (
            super().get_queryset(request).select_related("head", "grantor", "grantee")
        )
        return rows


class ApprovalVersionInline(FactVersionInline):
    kind = Fact.Kind.APPROVAL
    model = ApprovalVersion
    fields = (
        "version_no",
        "host",
        "variant",
        "state",
        "limits",
        "valid_from",
        "valid_until",
        "rev_from",
        "rev_to",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalVersion]:
        rows: QuerySet[ApprovalVersion] = super().get_queryset(request)
        return rows.select_related("head", "host", "variant__device")


class HoldVersionInline(FactVersionInline):
    kind = Fact.Kind.HOLD
    model = HoldVersion
    fields = (
        "version_no",
        "placed_by",
        "reason_code",
        "released_at",
        "valid_from",
        "valid_until",
        "rev_from",
        "rev_to",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[HoldVersion]:
        rows: QuerySet[HoldVersion] = super().get_queryset(request).select_related("head")
        return rows


class PolicyVersionInline(FactVersionInline):
    kind = Fact.Kind.POLICY
    model = PolicyVersion
    fields = (
        "version_no",
        "name",
        "minimum_assurance",
        "is_carrier_approval_enforced",
        "valid_from",
        "rev_from",
        "rev_to",
    )


@admin.register(Fact)
class FactAdmin(ReadOnlyAdmin):
    """Everything by the name that people call it, whatever its kind."""

    list_display = ("code", "kind")
    list_filter = ("kind",)
    search_fields = ("code",)
    ordering = ("-id",)
    inlines = (AgreementVersionInline, ApprovalVersionInline, HoldVersionInline, PolicyVersionInline)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[type[FactVersionInline]]:
        return [inline for inline in self.inlines if obj is not None and inline.shows(obj)]


class EvidenceInline(ReadOnlyInline):
    model = DecisionEvidence
    fields = ("fact", "version_no")
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[DecisionEvidence]:
        rows: QuerySet[DecisionEvidence] = super().get_queryset(request).select_related("fact")
        return rows


@admin.register(Decision)
class DecisionAdmin(RecordAdmin):
    list_display = ("id", "offer", "show_outcome", "why", "rests_on", "valid_at", "revision")
    list_filter = ("outcome", "valid_at")
    list_select_related = ("offer__listing__vendor", "offer__host")
    search_fields = ("=id", "offer__listing__sku", "offer__listing__vendor__name")
    ordering = ("-revision", "-valid_at")
    inlines = (EvidenceInline,)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # The button of an offer leads here with it.
        return lookup == "offer__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    @display(
        description="outcome",
        ordering="outcome",
        label={"allow": "success", "deny": "danger", "undetermined": "warning"},
    )
    def show_outcome(self, decision: Decision) -> str:
        return decision.outcome

    @display(description="why not")
    def why(self, decision: Decision) -> str:
        return ", ".join(dict.fromkeys(reason["code"] for reason in decision.reasons))

    @display(description="rests on")
    def rests_on(self, decision: Decision) -> str:
        return ", ".join(f"{item['code']} v{item['version_no']}" for item in decision.evidence)


@admin.register(SaleTicket)
class SaleTicketAdmin(RecordAdmin):
    list_display = ("id",)
    ordering = ("-id",)
