"""Reseller agreements: who lets whom sell what. Every change of one calls its named function."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import CharField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from authorization import agreements, clock
from authorization.actors import Actor
from authorization.models import AgreementVersion, Assurance, Fact, ScopeTerm
from authorization.rules import ALL
from carriers.versions import FOREVER
from catalog.models import Channel, Condition, Organization, Variant
from storefront.admin.desk import (
    ANY,
    REVOCATION_TO_COME,
    ActForm,
    InstantField,
    KnownFilter,
    ReadOnlyInline,
    WithdrawableAdmin,
    act_page,
    is_revocation_to_come,
    next_code,
    number_in,
    say_end,
    subject_or_404,
)


class AgreementForm(ActForm):
    submit_label = "Record the agreement"

    code = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="What people call it; cannot be changed later",
    )
    grantor = forms.ModelChoiceField(
        Organization.objects.exclude(kind=Organization.Kind.VENDOR).order_by("name"),
        widget=UnfoldAdminSelect2Widget,
        help_text="Who lets sell: a manufacturer or a distributor",
    )
    grantee = forms.ModelChoiceField(
        Organization.objects.exclude(kind=Organization.Kind.MANUFACTURER).order_by("name"),
        widget=UnfoldAdminSelect2Widget,
        help_text="Who may sell: a distributor or a vendor",
    )
    assurance = forms.ChoiceField(
        choices=Assurance.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Verified means that the grantor itself confirmed it to us",
    )
    may_sublicense = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, label="The grantee may grant it on to others"
    )
    covers_all_models = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, label="Covers all models, also those to come"
    )
    models = forms.ModelMultipleChoiceField(
        Variant.objects.select_related("device__manufacturer").order_by("device__brand", "model_number"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text="The exact model numbers in the agreement",
    )
    territories = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        initial="US",
        help_text="ISO 3166-1 codes with commas between, or *",
    )
    channels = forms.MultipleChoiceField(
        choices=[ANY, *Channel.choices], widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    conditions = forms.MultipleChoiceField(
        choices=[ANY, *Condition.choices], widget=UnfoldAdminCheckboxSelectMultipleWidget
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
        help_text="What was shown: a letter, a contract, its number",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "models" in cleaned and bool(cleaned["models"]) == cleaned["covers_all_models"]:
            self.add_error("models", "Choose models, or tick that all are covered: one of the two.")
        return cleaned

    def run(self, *, by: Actor, at: datetime) -> str:
        cleaned = dict(self.cleaned_data)
        covers_all = cleaned.pop("covers_all_models")
        fact = agreements.record_agreement(
            **cleaned
            | {
                "models": ALL if covers_all else cleaned["models"],
                "territories": [
                    code.strip().upper() for code in cleaned["territories"].split(",") if code.strip()
                ],
                "valid_until": cleaned["valid_until"] or FOREVER,
            },
            by=by,
            at=at,
        )
        return f"Agreement {fact.code} is recorded."


class VerifyForm(ActForm):
    submit_label = "It is verified"

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        label="How was it verified?",
        help_text="Who of the grantor confirmed it, when, and by which way",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        agreements.verify_agreement(fact=fact, by=by, at=at, reason=self.cleaned_data["reason"])
        return f"Agreement {fact.code} is verified. The offers that wait for it are decided again."


class RenewForm(ActForm):
    submit_label = "Renew the agreement"

    valid_until = InstantField(
        required=False, label="New end (UTC)", help_text="Later than now recorded; it itself no longer counts"
    )
    has_no_end = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, label="It has no end from now on"
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Who of the grantor renewed it, when, and by which way",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "valid_until" in cleaned and bool(cleaned["valid_until"]) == cleaned["has_no_end"]:
            self.add_error("valid_until", "Give the new end, or tick that it has none: one of the two.")
        return cleaned

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        until = self.cleaned_data["valid_until"] or FOREVER
        agreements.renew_agreement(
            fact=fact, valid_until=until, by=by, at=at, reason=self.cleaned_data["reason"]
        )
        lasts = "it has" if until >= FOREVER else "it lasts until"
        return f"Agreement {fact.code} is renewed: {lasts} {say_end(until)}."


class ScopeTermInline(ReadOnlyInline):
    model = ScopeTerm
    fields = ("dimension", "value", "named")
    readonly_fields = ("named",)
    show_change_link = False
    show_title = False
    verbose_name_plural = "what it covers"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScopeTerm]:
        rows: QuerySet[ScopeTerm] = super().get_queryset(request)
        models = Variant.objects.annotate(as_text=Cast("pk", CharField())).filter(as_text=OuterRef("value"))
        return rows.annotate(model_number=Subquery(models.values("model_number")[:1])).order_by(
            "dimension", "value"
        )

    @display(description="that is")
    def named(self, term: Any) -> str:
        if term.value == ALL:
            return "all"
        return str(term.model_number) if term.dimension == ScopeTerm.Dimension.MODEL else str(term.value)


def _terms_of(version: AgreementVersion) -> dict[str, Any]:
    """What an agreement says, from now on, as the form writes it."""
    scope = agreements.scope_of(version)
    models = scope.get("model", [])
    return {
        "grantor": version.grantor_id,
        "grantee": version.grantee_id,
        "assurance": version.assurance,
        "may_sublicense": version.may_sublicense,
        "covers_all_models": ALL in models,
        "models": [int(value) for value in models if value != ALL],
        "territories": ", ".join(scope.get("territory", [])),
        "channels": scope.get("channel", []),
        "conditions": scope.get("condition", []),
        "valid_from": max(version.valid_from, clock.now().replace(microsecond=0)),
        "valid_until": None if version.valid_until >= FOREVER else version.valid_until,
        "document": version.document,
    }


@admin.register(AgreementVersion)
class AgreementAdmin(WithdrawableAdmin):
    revoke_page = "revoke_agreement"
    list_display = (
        "code",
        "grantor",
        "grantee",
        "show_assurance",
        "show_state",
        "may_sublicense",
        "covers",
        "valid_from",
        "ends",
        "version_no",
    )
    list_filter = (KnownFilter, "state", "assurance", "grantor", "grantee")
    list_select_related = ("head", "grantor", "grantee")
    search_fields = ("head__code", "grantor__name", "grantee__name", "document")
    ordering = ("-rev_from",)
    fields = (
        "head",
        ("grantor", "grantee"),
        ("assurance", "may_sublicense"),
        ("state", "revoked_at", "reason_code"),
        ("valid_from", "ends"),
        "document",
        ("version_no", "rev_from", "rev_to"),
    )
    readonly_fields = ("ends",)
    inlines = (ScopeTermInline,)
    actions_row = actions_detail = ("revoke", "narrow", "renew", "verify", "suspend")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgreementVersion]:
        rows: QuerySet[AgreementVersion] = super().get_queryset(request).prefetch_related("scope_terms")
        return rows

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        initial = {"code": next_code("AG", Fact.Kind.AGREEMENT), "channels": [ALL], "conditions": ["new"]}
        like = AgreementVersion.objects.current().filter(head=number_in(request.GET.get("like"))).first()
        intro = ""
        if like is not None:
            initial |= _terms_of(like)
            intro = f"The form opens on what {like.head} said. Take out what is not to come back."
        return act_page(
            self,
            request,
            AgreementForm,
            title="Record an agreement",
            permission="authorization.add_agreementversion",
            initial=initial,
            intro=intro,
        )

    @display(
        description="state",
        ordering="state",
        label={
            "active": "success",
            "not begun": "info",
            "ended": "warning",
            "revoked": "danger",
            REVOCATION_TO_COME: "warning",
        },
    )
    def show_state(self, version: AgreementVersion) -> str:
        if is_revocation_to_come(version):
            return REVOCATION_TO_COME
        if version.state != AgreementVersion.State.ACTIVE:
            return version.state
        now = clock.now()
        if version.valid_until <= now:
            return "ended"
        return "not begun" if version.valid_from > now else version.state

    @display(
        description="assurance", ordering="assurance", label={"verified": "success", "claimed": "warning"}
    )
    def show_assurance(self, version: AgreementVersion) -> str:
        return version.assurance

    @display(description="covers")
    def covers(self, version: AgreementVersion) -> str:
        terms: dict[str, list[str]] = {}
        for term in version.scope_terms.all():
            terms.setdefault(term.dimension, []).append(term.value)
        models = terms.pop("model", [])
        said = ["all models" if ALL in models else f"{len(models)} model{'' if len(models) == 1 else 's'}"]
        said += [
            f"all {name}s" if ALL in values else "/".join(sorted(values))
            for name, values in sorted(terms.items())
        ]
        return ", ".join(said)

    def fits(self, action: str, row: AgreementVersion) -> bool:
        if action == "verify" and row.assurance == Assurance.VERIFIED:
            return False
        if action == "renew" and row.valid_until >= FOREVER:
            return False
        if action in ("narrow", "renew") and row.valid_until <= clock.now():
            return False
        if is_revocation_to_come(row):
            # It may be brought forward, and until then the rest of it counts.
            return action in ("revoke", "suspend")
        return row.rev_to is None and row.state == AgreementVersion.State.ACTIVE

    @action(description="Narrow", icon="compress", permissions=["withdraw"])
    def narrow(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return HttpResponseRedirect(reverse("admin:narrow_agreement", args=[version.head_id]))

    @action(description="Renew", icon="update", permissions=["act"])
    def renew(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        now = agreements.current(version.head)
        return act_page(
            self,
            request,
            RenewForm,
            title=f"Renew agreement {version.head}",
            permission="authorization.change_agreementversion",
            subject=version,
            intro=(
                f"{now.grantor} lets {now.grantee} sell, {now.get_assurance_display()}. "
                f"Valid until (UTC): {say_end(now.valid_until)}. Nothing else of it changes."
            ),
        )

    @action(description="Verify", icon="verified", permissions=["act"])
    def verify(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            VerifyForm,
            title=f"Verify agreement {version.head}",
            permission="authorization.change_agreementversion",
            subject=version,
            intro=f"{version.grantor} lets {version.grantee} sell, {version.get_assurance_display()}.",
        )
