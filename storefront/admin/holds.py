"""Holds: what may not be sold until somebody lifts it. Placing one goes through the page of withdrawals."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization import revocations
from authorization.actors import Actor
from authorization.models import Fact, HoldExemption, HoldTarget, HoldVersion
from carriers.models import HostCarrier
from catalog.models import Device, Listing, Organization, Variant
from storefront.admin.desk import (
    ActForm,
    FactVersionAdmin,
    KnownFilter,
    ReadOnlyInline,
    act_page,
    subject_or_404,
)

_ROWS: dict[str, QuerySet[Any]] = {
    HoldTarget.Dimension.MANUFACTURER: Organization.objects.all(),
    HoldTarget.Dimension.VENDOR: Organization.objects.all(),
    HoldTarget.Dimension.DEVICE: Device.objects.all(),
    HoldTarget.Dimension.VARIANT: Variant.objects.select_related("device"),
    HoldTarget.Dimension.LISTING: Listing.objects.select_related("vendor"),
    HoldTarget.Dimension.HOST: HostCarrier.objects.all(),
    HoldTarget.Dimension.FACT: Fact.objects.all(),
}


def name_targets(targets: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What people call these targets: one query per dimension, however many there are."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for dimension, value in targets:
        wanted[dimension].add(value)
    names: dict[tuple[str, str], str] = {}
    for dimension, values in wanted.items():
        rows = _ROWS.get(dimension)
        found = (
            {}
            if rows is None
            else {str(row.pk): str(row) for row in rows.filter(pk__in=[int(v) for v in values])}
        )
        names |= {(dimension, value): found.get(value, value) for value in values}
    return names


class ReleaseForm(ActForm):
    submit_label = "Release the hold"

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why it may be sold again: what was settled, by whom",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        revocations.release_hold(fact=fact, by=by, at=at, reason=self.cleaned_data["reason"])
        return f"Hold {fact.code} is released. What nothing else stops comes back within moments."


class HoldTargetInline(ReadOnlyInline):
    model = HoldTarget
    fields = ("belongs_to", "dimension", "named")
    readonly_fields = ("belongs_to", "named")
    show_change_link = False
    show_title = False
    ordering = ("part", "dimension", "value")
    verbose_name_plural = "what it stops, and what its exemptions let through: all of one together"

    @display(description="what")
    def belongs_to(self, target: HoldTarget) -> str:
        return f"exemption {target.part}" if target.part else "stopped"

    @display(description="that is")
    def named(self, target: HoldTarget) -> str:
        return name_targets([(target.dimension, target.value)])[target.dimension, target.value]


class HoldExemptionInline(ReadOnlyInline):
    model = HoldExemption
    fields = ("part", "valid_from", "valid_until", "note")
    show_change_link = False
    show_title = False
    ordering = ("part",)
    verbose_name_plural = "exemptions"


@admin.register(HoldVersion)
class HoldAdmin(FactVersionAdmin):
    list_display = (
        "code",
        "placed_by",
        "reason_code",
        "reach",
        "stops",
        "exempts",
        "show_state",
        "valid_from",
        "ends",
        "version_no",
    )
    list_filter = (
        KnownFilter,
        "reach",
        "reason_code",
        "placed_by",
        ("released_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("head",)
    search_fields = ("head__code", "placed_by", "note", "reason_code")
    ordering = ("-rev_from",)
    fields = (
        "head",
        ("placed_by", "reason_code"),
        "reach",
        "note",
        ("valid_from", "ends", "released_at"),
        ("version_no", "rev_from", "rev_to"),
    )
    readonly_fields = ("ends",)
    inlines = (HoldTargetInline, HoldExemptionInline)
    actions_list = ("place",)
    actions_row = actions_detail = ("release",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Placing a hold takes authority away: it has a preview (the button above the list).
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[HoldVersion]:
        rows: QuerySet[HoldVersion] = super().get_queryset(request).prefetch_related("targets", "exemptions")
        return rows

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Targets name rows of seven tables by id: they are looked up for the whole page at once."""
        changelist = super().get_changelist_instance(request)
        pairs = [(t.dimension, t.value) for hold in changelist.result_list for t in hold.targets.all()]
        names = name_targets(pairs)
        for hold in changelist.result_list:
            hold.target_names = [
                f"{t.dimension}: {names[t.dimension, t.value]}" for t in hold.targets.all() if t.part == 0
            ]
        return changelist

    @display(description="stops")
    def stops(self, hold: Any) -> str:
        return "; ".join(hold.target_names)

    @display(description="exemptions")
    def exempts(self, hold: HoldVersion) -> int:
        return len(hold.exemptions.all())

    @display(description="state", label={"in force": "danger", "released": "success"})
    def show_state(self, hold: HoldVersion) -> str:
        return "released" if hold.released_at else "in force"

    def fits(self, action: str, row: HoldVersion) -> bool:
        return row.rev_to is None and row.released_at is None

    @action(description="Place a hold", icon="front_hand", permissions=["withdraw"])
    def place(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:place_hold"))

    @action(
        description="Release",
        icon="lock_open",
        permissions=["act"],
        extra_options={"display_in_dropdown": False},
    )
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        hold = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            ReleaseForm,
            title=f"Release hold {hold.head}",
            permission="authorization.change_holdversion",
            subject=hold,
            intro=f"Placed by {hold.placed_by} ({hold.reason_code}). Releasing lifts this hold and no other.",
        )
