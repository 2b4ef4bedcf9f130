"""Affiliations: which manufacturer belongs to which."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from authorization import affiliations, clock, selectors
from authorization.actors import Actor
from authorization.models import AffiliationVersion, Fact
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState, Organization
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


class EndForm(ActForm):
    submit_label = "Set the end"

    valid_until = InstantField(
        required=False, label="Valid until (UTC)", help_text="The end itself no longer counts; empty: now"
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Who said so, and when",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        ends = self.cleaned_data["valid_until"] or at
        affiliations.end_affiliation(
            fact=fact, valid_until=ends, by=by, at=at, reason=self.cleaned_data["reason"]
        )
        return f"Affiliation {fact.code} ends on {ends:%Y-%m-%d %H:%M:%S}. What rests on it is decided again."


def _reach(fact: Fact) -> str:
    """What an end bears on. What exactly falls cannot be shown: nothing can be asked as if a family had ended."""
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    touched = selectors.offers_touched_by(live, fact).count()
    offers = "1 live offer" if touched == 1 else f"{touched} live offers"
    return (
        f"There is no preview of this. {offers} of the two companies, and of those that belong to them, "
        f"{'is' if touched == 1 else 'are'} decided again at the end that you set, at once where that is now: from "
        "then on nothing can be sold that has no leave but through this affiliation, and a hold on one company no "
        "longer stops the other through it."
    )


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
    actions_row = actions_detail = ("end",)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return act_page(
            self,
            request,
            AffiliationForm,
            title="Record an affiliation",
            permission="authorization.add_affiliationversion",
            initial={"code": next_code("AF", Fact.Kind.AFFILIATION)},
        )

    def fits(self, action: str, row: AffiliationVersion) -> bool:
        return row.rev_to is None and row.valid_until > clock.now()

    @action(description="Set its end", icon="event_busy", permissions=["withdraw"])
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            EndForm,
            title=f"Set the end of affiliation {version.head}",
            permission="authorization.add_revocation",
            subject=version,
            intro=(
                f"{version.child} belongs to {version.parent}. Valid until (UTC): {say_end(version.valid_until)}.\n"
                f"{_reach(version.head)}"
            ),
            is_danger=True,
            link=(
                reverse("resting_on", args=[Fact.Kind.AFFILIATION, version.head_id]),
                "What rests on it now",
            ),
        )
