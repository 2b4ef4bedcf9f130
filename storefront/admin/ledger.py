"""The records: what was done, what was decided on which evidence, every fact with its versions. Read only."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    Decision,
    DecisionEvidence,
    EquipmentVersion,
    Fact,
    HoldVersion,
    LedgerEntry,
    PolicyVersion,
    Revision,
    SaleTicket,
)
from authorization.rules import CHECKS
from storefront.admin.desk import ReadOnlyAdmin, ReadOnlyInline, RecordAdmin, ask_url, subject_or_404

# Which check a record of this kind is evidence of; of the other kinds it is the one of that name.
_CHECK_OF = {"hosting": "host", "affiliation": "agreement", "variant": "radio", "network": "radio"}


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


class EquipmentVersionInline(FactVersionInline):
    kind = Fact.Kind.EQUIPMENT
    model = EquipmentVersion
    fields = (
        "version_no",
        "variant",
        "territory",
        "regulator",
        "identifier",
        "state",
        "granted_at",
        "valid_from",
        "valid_until",
        "rev_from",
        "rev_to",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[EquipmentVersion]:
        rows: QuerySet[EquipmentVersion] = super().get_queryset(request)
        return rows.select_related("head", "variant__device")


class AffiliationVersionInline(FactVersionInline):
    kind = Fact.Kind.AFFILIATION
    model = AffiliationVersion
    fields = (
        "version_no",
        "child",
        "parent",
        "may_grant_for_parent",
        "valid_from",
        "valid_until",
        "rev_from",
        "rev_to",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AffiliationVersion]:
        rows: QuerySet[AffiliationVersion] = super().get_queryset(request)
        return rows.select_related("head", "parent", "child")


class HoldVersionInline(FactVersionInline):
    kind = Fact.Kind.HOLD
    model = HoldVersion
    fields = (
        "version_no",
        "placed_by",
        "reason_code",
        "reach",
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
        "territory",
        "minimum_assurance",
        "is_carrier_approval_enforced",
        "is_equipment_authorization_enforced",
        "minimum_radio",
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
    inlines = (
        AgreementVersionInline,
        AffiliationVersionInline,
        ApprovalVersionInline,
        EquipmentVersionInline,
        HoldVersionInline,
        PolicyVersionInline,
    )
    actions_detail = ("resting_on",)

    @action(description="What rests on it", icon="foundation", permissions=["view"])
    def resting_on(self, request: HttpRequest, object_id: str) -> HttpResponse:
        fact = subject_or_404(self, request, object_id)
        return HttpResponseRedirect(reverse("resting_on", args=[fact.kind, fact.pk]))

    def fits(self, action: str, row: Fact) -> bool:
        return row.kind != Fact.Kind.HOLD

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[type[FactVersionInline]]:
        return [inline for inline in self.inlines if obj is not None and inline.shows(obj)]


class EvidenceInline(ReadOnlyInline):
    model = DecisionEvidence
    fields = ("kind", "code", "fact_id", "version_no")
    readonly_fields = ("code",)
    show_change_link = False
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[DecisionEvidence]:
        rows: QuerySet[DecisionEvidence] = super().get_queryset(request).select_related("decision")
        return rows

    @display(description="called")
    def code(self, row: DecisionEvidence) -> str:
        codes = {(item["kind"], item["fact_id"]): item["code"] for item in row.decision.evidence}
        return str(codes.get((row.kind, row.fact_id), ""))


@admin.register(Decision)
class DecisionAdmin(RecordAdmin):
    list_display = ("id", "offer", "show_outcome", "why", "rests_on", "valid_at", "revision")
    list_filter = ("outcome", "valid_at")
    list_select_related = ("offer__listing__vendor", "offer__host")
    search_fields = ("=id", "offer__listing__sku", "offer__listing__vendor__name")
    ordering = ("-revision", "-valid_at")
    fields = ("id", "offer", "outcome", "grounds", "question", ("valid_at", "expires_at"), "revision")
    readonly_fields = ("grounds",)
    inlines = (EvidenceInline,)
    actions_detail = ("ask",)

    @action(description="Ask the engine about it", icon="contact_support", permissions=["view"])
    def ask(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(ask_url(subject_or_404(self, request, object_id).pk))

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

    @display(description="grounds")
    def grounds(self, decision: Decision) -> SafeString:
        """What failed and what would cure it, or what each ground rests on, in the order in which it is asked."""
        return format_html("<ul>{}</ul>", format_html_join("", "<li><b>{}</b>: {}</li>", _grounds(decision)))


def _grounds(decision: Decision) -> Iterator[tuple[str, str]]:
    for check in CHECKS:
        cited = [item for item in decision.evidence if _CHECK_OF.get(item["kind"], item["kind"]) == check]
        if cited:
            yield check, "on " + ", ".join(f"{item['code']} v{item['version_no']}" for item in cited)
        for reason in decision.reasons:
            if reason["check"] == check:
                # Decisions from before cures were said do not have one.
                cure = reason.get("cure") or "none on record"
                document = f" ({reason['document']})" if reason["document"] else ""
                # What is for the vendor leaves out the papers of others.
                said = reason.get("detail") or reason["message"]
                yield (
                    check,
                    f"{reason['code']}{document}: {said} Cure, by {reason['cure_by']}: {cure}",
                )


@admin.register(SaleTicket)
class SaleTicketAdmin(RecordAdmin):
    list_display = ("id",)
    ordering = ("-id",)
