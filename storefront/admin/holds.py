"""Holds: what may not be sold until somebody lifts it. Placing one goes through the page of withdrawals."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization import clock, holds, revocations
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.holds import Exemption
from authorization.models import Fact, HoldExemption, HoldTarget, HoldVersion, Revocation
from authorization.revocations import ExemptFromHold, ReleaseHold
from carriers.versions import FOREVER
from storefront import withdrawals
from storefront.admin import way_back
from storefront.admin.desk import (
    ActForm,
    FactVersionAdmin,
    InstantField,
    KnownFilter,
    ReadOnlyInline,
    act_page,
    change_url,
    changelist_url,
    desk_page,
    require,
    say_end,
    subject_or_404,
    undecided_page,
)
from storefront.admin.front_door import MAY_WITHDRAW, returns_context
from storefront.admin.targets import is_in_force, name_targets, say_targets
from storefront.admin.withdrawal_forms import TargetsForm
from storefront.requests import actor_of

# To lift a hold, or a part of it.
MAY_LIFT = "authorization.change_holdversion"


def withdrawal_of(fact: Fact) -> Revocation | None:
    """The withdrawal that placed this hold; None where it came by another way, e.g. with imported data."""
    return Revocation.objects.filter(kind=Revocation.Kind.HOLD, fact=fact).select_related("fact").first()


class ReleaseForm(ActForm):
    submit_label = "Release the hold"

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why it may be sold again: what was settled, by whom",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        reason = self.cleaned_data["reason"]
        holds.refuse_released(holds.current(fact))
        made = withdrawal_of(fact)
        if made is None:
            revocations.release_hold(fact=fact, by=by, at=at, reason=reason)
        else:
            # The page of its withdrawal then says what came back.
            withdrawals.undo(revocation=made, reason=reason, is_mistake=False, by=by, at=at)
        return f"Hold {fact.code} is released. What nothing else stops comes back within moments."


class ExemptionForm(TargetsForm, ActForm):
    """What goes on being sold under a hold, from when until when."""

    submit_label = "Continue: nothing is done yet"
    no_targets = "An exemption without goods lets nothing through; name at least one below."

    valid_from = InstantField(required=False, label="From (UTC)", help_text="Empty: from now on")
    valid_until = InstantField(
        required=False,
        label="Until (UTC)",
        help_text="The end itself no longer counts; empty: as long as the hold stands",
    )
    note = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why this may be sold, and who said so; kept with the exemption",
    )

    def exemption(self, at: datetime) -> Exemption:
        cleaned = self.cleaned_data
        return Exemption(
            targets=tuple(sorted(self.targets())),
            valid_from=cleaned["valid_from"] or at,
            valid_until=cleaned["valid_until"] or FOREVER,
            note=cleaned["note"],
        )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact: Fact = self.subject.head
        exemption, reason = self.exemption(at), self.cleaned_data["note"]
        made = withdrawal_of(fact)
        if made is None:
            holds.exempt(fact=fact, exemption=exemption, by=by, at=at, reason=reason)
        else:
            withdrawals.undo(revocation=made, reason=reason, is_mistake=False, by=by, at=at, part=exemption)
        return f"Hold {fact.code} has one more exemption. What nothing else stops comes back within moments."


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
    fields: tuple[str, ...] = ("part", "state", "lets_through", "valid_from", "ends", "note", "end")
    readonly_fields = ("state", "lets_through", "ends", "end")
    show_change_link = False
    show_title = False
    ordering = ("part",)
    verbose_name_plural = "exemptions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[HoldExemption]:
        rows: QuerySet[HoldExemption] = super().get_queryset(request).select_related("version__head")
        return rows

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        can_end = obj is not None and is_in_force(obj) and request.user.has_perm(MAY_WITHDRAW)
        return self.fields if can_end else self.fields[:-1]

    @display(description="state")
    def state(self, exemption: HoldExemption) -> str:
        at = clock.now()
        if exemption.valid_until <= at:
            return "over"
        return "to come" if exemption.valid_from > at else "in force"

    @display(description="lets through")
    def lets_through(self, exemption: HoldExemption) -> str:
        targets = holds.targets_of(exemption.version, part=exemption.part)
        return say_targets(targets)

    @display(description="until")
    def ends(self, exemption: HoldExemption) -> str:
        return _say_end(exemption.valid_until)

    @display(description="take back")
    def end(self, exemption: HoldExemption) -> str | SafeString:
        if exemption.valid_until <= clock.now():
            return ""
        return format_html(
            '<a class="text-primary-600 underline dark:text-primary-500" href="{}">End now</a>',
            reverse("admin:end_exemption", args=[exemption.version.head_id, exemption.part]),
        )


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
    readonly_fields = ("ends", "still_stopped")
    inlines = (HoldTargetInline, HoldExemptionInline)
    actions_list = ("place",)
    actions_row = actions_detail = ("release", "exempt")

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Placing a hold takes authority away: it has a preview (the button above the list).
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        is_over = obj is not None and obj.rev_to is None and obj.released_at is not None
        return (*self.fields, "still_stopped") if is_over else self.fields

    @display(description="what still stops the rest")
    def still_stopped(self, hold: HoldVersion) -> str | SafeString:
        """Of a released hold: which of its offers are on sale again, and what keeps the others down."""
        try:
            seen = way_back.of_hold(hold, at=clock.now())
        except DecisionUnavailable:
            return "It could not be decided. Look again in a moment."
        back = f"{seen.live} of the offers that it may have stopped are on sale, {seen.suspended} are not"
        if not seen.stoppers:
            return f"{back}."
        cut = "" if seen.is_all_asked else f" (of the first {len(seen.down)})"
        return format_html(
            "<p>{}{}:</p><ul>{}</ul>",
            back,
            cut,
            format_html_join("", "<li>{}: {}</li>", seen.stoppers),
        )

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
        return is_in_force(row)

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
            permission=MAY_LIFT,
            subject=hold,
            intro=f"Placed by {hold.placed_by} ({hold.reason_code}). Releasing lifts this hold and no other.",
            impact=lambda: returns_context(
                revocations.preview(ReleaseHold(fact_id=hold.head_id), at=clock.now())
            ),
        )

    @action(description="Exempt", icon="rule", permissions=["act"])
    def exempt(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Two pages: what is let through, then what comes back with it and the button that does it."""
        require(request, MAY_LIFT)
        hold = holds.current(subject_or_404(self, request, object_id).head)
        at = clock.now()
        try:
            holds.refuse_over(hold, at)
        except InvalidFact as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(changelist_url(self))
        context: dict[str, Any] = {
            "title": f"Exempt from hold {hold.head}",
            "intro": (
                f"Placed by {hold.placed_by} ({hold.reason_code}). It stops "
                f"{say_targets(holds.targets_of(hold))}.\n"
                "What matches every field that you fill in goes on being sold under it. Several values in one field "
                "are alternatives. Other holds, agreements and approvals count as before."
            ),
            "original": hold,
            "cancel_url": change_url(hold),
        }
        if request.method != "POST":
            return desk_page(self, request, "desk/act.html", form=ExemptionForm(subject=hold), **context)
        form = ExemptionForm(request.POST, subject=hold)
        step = request.POST.get("step")
        if form.is_valid() and step != "back":
            try:
                if step == "confirm":
                    sentence = form.run(by=actor_of(request), at=at)
                    messages.success(request, sentence)
                    return HttpResponseRedirect(change_url(holds.current(hold.head)))
                exemption = form.exemption(at)
                impact = revocations.preview(ExemptFromHold(hold.head_id, exemption), at=at)
            except InvalidFact as error:
                form.refuse(error.field, error.message)
            except DecisionUnavailable:
                return undecided_page(self, request, form=form, **context)
            else:
                context |= {"said": _say_exemption(exemption, at)} | returns_context(impact)
                return desk_page(self, request, "desk/exempt_confirm.html", form=form, **context)
        return desk_page(self, request, "desk/act.html", form=form, **context)


def _say_end(until: datetime) -> str:
    return "as long as the hold stands" if until >= FOREVER else say_end(until)


def _say_exemption(exemption: Exemption, at: datetime) -> list[tuple[str, str]]:
    starts = "now" if exemption.valid_from == at else say_end(exemption.valid_from)
    if exemption.valid_from > at:
        starts += "; nothing comes back before"
    return [
        ("Goes on being sold", say_targets(exemption.targets)),
        ("From (UTC)", starts),
        ("Until (UTC)", _say_end(exemption.valid_until)),
        ("Note", exemption.note),
    ]
