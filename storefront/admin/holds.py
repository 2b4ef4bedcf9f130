"""Holds: what may not be sold until somebody lifts it. Placing one goes through the page of withdrawals."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization import clock, holds, revocations
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.holds import Exemption
from authorization.models import Fact, HoldExemption, HoldTarget, HoldVersion
from authorization.revocations import ExemptFromHold, ReleaseHold
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Device, Listing, ListingHost, Organization, Variant
from storefront import withdrawals
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
    say_list,
    say_reasons,
    subject_or_404,
    undecided_page,
)
from storefront.admin.withdrawal_forms import TargetsForm
from storefront.admin.withdrawals import SHOWN, returns_context
from storefront.requests import actor_of

# To lift a hold or a part of it, and to take such a part back.
MAY_LIFT, MAY_STOP = "authorization.change_holdversion", "authorization.add_revocation"
# Of the offers that a page showed it carries the ids along, of very many their digest.
LONGEST_SEEN = 2000

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
        holds.exempt(fact=fact, exemption=self.exemption(at), by=by, at=at, reason=self.cleaned_data["note"])
        return f"Hold {fact.code} has one more exemption. What nothing else stops comes back within moments."


class EndExemptionForm(ActForm):
    submit_label = "End the exemption now"

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why it may no longer be sold: who said so, and when",
    )
    # The offers that the page showed.
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def run(self, *, by: Actor, at: datetime) -> str:
        hold, part = self.subject
        holds.end_exemption(fact=hold.head, part=part, by=by, at=at, reason=self.cleaned_data["reason"])
        return f"Exemption {part} from hold {hold.head.code} is over: the hold stops what it let through."


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
        can_end = obj is not None and _is_in_force(obj) and request.user.has_perm(MAY_STOP)
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
        return _say_targets(targets)

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
    readonly_fields = ("ends",)
    inlines = (HoldTargetInline, HoldExemptionInline)
    actions_list = ("place",)
    actions_row = actions_detail = ("release", "exempt")

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
        return _is_in_force(row)

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
                f"{_say_targets(holds.targets_of(hold))}.\n"
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

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.end_exemption)
        own = path("<int:fact_id>/exemptions/<int:part>/end/", view, name="end_exemption")
        return [own, *super().get_urls()]

    def end_exemption(self, request: HttpRequest, fact_id: int, part: int) -> HttpResponse:
        require(request, MAY_STOP)
        fact = get_object_or_404(Fact, pk=fact_id, kind=Fact.Kind.HOLD)
        hold = holds.current(fact)
        exemption = holds.exemptions_of(hold).get(part)
        if exemption is None:
            raise Http404
        at = clock.now()
        if not _is_in_force(hold) or exemption.valid_until <= at:
            messages.error(request, f"Exemption {part} from hold {fact} is over; nothing is left to end.")
            return HttpResponseRedirect(change_url(hold))
        try:
            fallen = withdrawals.falls_with_exemption(hold, part, at=at)
        except DecisionUnavailable:
            return undecided_page(
                self,
                request,
                title=f"End exemption {part} from hold {fact}",
                form=EndExemptionForm(request.POST or None, subject=(hold, part)),
                original=hold,
                cancel_url=change_url(hold),
            )
        seen = " ".join(str(offer.pk) for offer, _ in fallen)
        if len(seen) > LONGEST_SEEN:
            seen = hashlib.sha256(seen.encode()).hexdigest()
        falls = [(_as_impact(offer), say_reasons(answer.reason_codes)) for offer, answer in fallen[:SHOWN]]
        vendors = len({offer.listing.vendor_id for offer, _ in fallen})
        count = "1 live offer falls" if len(fallen) == 1 else f"{len(fallen)} live offers fall"
        if fallen:
            count += f", of {vendors} vendor{'' if vendors == 1 else 's'}"
        context: dict[str, Any] = {
            "title": f"End exemption {part} from hold {fact}",
            "intro": (
                f"It lets through {_say_targets(exemption.targets)}.\n"
                f"When you end it {count}: from that moment on none of it can be sold, and the pages follow within "
                "seconds. Orders already placed go their way."
            ),
            "original": hold,
            "cancel_url": change_url(hold),
            "falls": falls,
            "falling": len(fallen),
            "shown": SHOWN,
            "is_danger": True,
        }
        form = EndExemptionForm(initial={"seen": seen}, subject=(hold, part))
        if request.method == "POST":
            form = EndExemptionForm(request.POST, subject=(hold, part))
            if request.POST.get("seen") != seen:
                context["moved"] = (
                    "The world moved since you looked. Nothing was done. This is what falls now."
                )
                typed = request.POST.copy()
                typed["seen"] = seen
                form = EndExemptionForm(typed, subject=(hold, part))
            elif form.is_valid():
                try:
                    messages.success(request, form.run(by=actor_of(request), at=at))
                    return HttpResponseRedirect(change_url(holds.current(fact)))
                except InvalidFact as error:
                    form.refuse(error.field, error.message)
        return desk_page(self, request, "desk/act.html", form=form, **context)


def _is_in_force(hold: HoldVersion) -> bool:
    return hold.rev_to is None and hold.released_at is None and hold.valid_until > clock.now()


def _say_targets(targets: Iterable[tuple[str, str]]) -> str:
    """Values of one dimension are alternatives, the dimensions hold together."""
    values: dict[str, list[str]] = defaultdict(list)
    for (dimension, _), name in name_targets(targets).items():
        values[dimension].append(name)
    return " and ".join(
        f"{dimension} {say_list(sorted(names), last=' or ')}" for dimension, names in sorted(values.items())
    )


def _say_end(until: datetime) -> str:
    return "as long as the hold stands" if until >= FOREVER else say_end(until)


def _say_exemption(exemption: Exemption, at: datetime) -> list[tuple[str, str]]:
    starts = "now" if exemption.valid_from == at else say_end(exemption.valid_from)
    if exemption.valid_from > at:
        starts += "; nothing comes back before"
    return [
        ("Goes on being sold", _say_targets(exemption.targets)),
        ("From (UTC)", starts),
        ("Until (UTC)", _say_end(exemption.valid_until)),
        ("Note", exemption.note),
    ]


def _as_impact(offer: ListingHost) -> dict[str, Any]:
    """As the tables of a preview name an offer."""
    return {
        "sku": offer.listing.sku,
        "vendor_name": offer.listing.vendor.name,
        "device_name": str(offer.listing.variant.device),
        "model_number": offer.listing.variant.model_number,
        "host_code": offer.host.code,
    }
