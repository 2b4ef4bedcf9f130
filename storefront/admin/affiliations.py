"""Affiliations: which manufacturer belongs to which."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from authorization import affiliations, clock
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AffiliationVersion, Fact
from carriers.versions import FOREVER
from catalog.models import Organization
from storefront.admin.desk import (
    ActForm,
    FactVersionAdmin,
    InstantField,
    KnownFilter,
    act_page,
    next_code,
    say_end,
    subject_or_404,
)

_MANUFACTURERS = Organization.objects.filter(kind=Organization.Kind.MANUFACTURER).order_by("name")


class AffiliationForm(ActForm):
    submit_label = "Record the affiliation"

    code = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="What people call it; cannot be changed later",
    )
    parent = forms.ModelChoiceField(
        _MANUFACTURERS,
        widget=UnfoldAdminSelect2Widget,
        help_text="It may grant for the devices of the child; what stops it stops the child",
    )
    child = forms.ModelChoiceField(
        _MANUFACTURERS, widget=UnfoldAdminSelect2Widget, help_text="The sub-brand, or affiliated company"
    )
    may_grant_for_parent = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        label="The child may grant for the devices of the parent too",
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
        help_text="How it is known: a register, a letter",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        cleaned = self.cleaned_data
        fact = affiliations.record_affiliation(
            **cleaned | {"valid_until": cleaned["valid_until"] or FOREVER}, by=by, at=at
        )
        return f"Affiliation {fact.code} is recorded. What it touches is decided again."


class ExtendForm(ActForm):
    submit_label = "Set the later end"

    valid_until = InstantField(
        required=False, label="Valid until (UTC)", help_text="The end itself no longer counts; empty: no end"
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Who said so, and when",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        ends = self.cleaned_data["valid_until"] or FOREVER
        if ends <= affiliations.current(fact).valid_until:
            raise InvalidFact(
                "valid_until", "Give a later end than now recorded; to end it sooner use End it."
            )
        affiliations.end_affiliation(
            fact=fact, valid_until=ends, by=by, at=at, reason=self.cleaned_data["reason"]
        )
        return f"Affiliation {fact.code} lasts until {say_end(ends)}. What rests on it is decided again."


@admin.register(AffiliationVersion)
class AffiliationAdmin(FactVersionAdmin):
    list_display = ("code", "child", "parent", "may_grant_for_parent", "valid_from", "ends", "version_no")
    list_filter = (KnownFilter, "may_grant_for_parent", "parent")
    list_select_related = ("head", "parent", "child")
    search_fields = ("head__code", "parent__name", "child__name", "document")
    ordering = ("-rev_from",)
    fields = (
        "head",
        ("child", "parent"),
        "may_grant_for_parent",
        ("valid_from", "ends"),
        "document",
        ("version_no", "rev_from", "rev_to"),
    )
    readonly_fields = ("ends",)
    actions_row = actions_detail = ("end", "extend")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return act_page(
            self,
            request,
            AffiliationForm,
            title="Record an affiliation",
            permission="authorization.add_affiliationversion",
            initial={"code": next_code("AF", Fact.Kind.AFFILIATION)},
        )

    def has_extend_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_add_permission(request)

    def fits(self, action: str, row: AffiliationVersion) -> bool:
        if action == "extend" and row.valid_until >= FOREVER:
            return False
        return row.rev_to is None and row.valid_until > clock.now()

    @action(
        description="End it",
        icon="event_busy",
        permissions=["withdraw"],
        extra_options={"display_in_dropdown": False},
    )
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return HttpResponseRedirect(reverse("admin:end_affiliation", args=[version.head_id]))

    @action(description="Extend", icon="update", permissions=["extend"])
    def extend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            ExtendForm,
            title=f"Extend affiliation {version.head}",
            permission="authorization.add_affiliationversion",
            subject=version,
            intro=(
                f"{version.child} belongs to {version.parent}. Valid until (UTC): {say_end(version.valid_until)}. "
                "A longer affiliation gives leave, and lets holds on one company stop the other."
            ),
        )
