"""What was decided and waits: withdrawals for their day, and the removal of many pages for a second person."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization import clock, pending_changes, reinstatements
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import PendingChange
from authorization.pending_changes import NotPending
from storefront.admin.desk import ActForm, ReadOnlyAdmin, act_page, change_url, subject_or_404
from storefront.admin.sweeps import say_seconds
from storefront.requests import actor_of

Kind, State = PendingChange.Kind, PendingChange.State
MAY_DECIDE = "authorization.change_pendingchange"
# The parts of the list: address -> (words, states).
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "waiting": ("Waiting", (State.OPEN,)),
    "executed": ("Executed", (State.DONE,)),
    "cancelled": ("Cancelled", (State.CANCELLED, State.DECLINED)),
}


class ApproveForm(ActForm):
    submit_label = "Take the pages down"

    def run(self, *, by: Actor, at: datetime) -> str:
        pending_changes.approve_removal(pending=self.subject, by=by, at=at)
        if not self.subject.revocation.preview_falls:
            return "Approved. The pages are taken down once the day that it sets has come."
        return "Approved. The pages are taken down now; the page of the withdrawal shows how far it is."


class ReasonForm(ActForm):
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


class DeclineForm(ReasonForm):
    submit_label = "Decline: undo the withdrawal"

    def run(self, *, by: Actor, at: datetime) -> str:
        reinstatements.decline_removal(pending=self.subject, by=by, at=at, reason=self.cleaned_data["reason"])
        return "Declined. The withdrawal is undone, and kept on record with your reason; what it stopped comes back."


class CancelForm(ReasonForm):
    submit_label = "Cancel the withdrawal"

    def run(self, *, by: Actor, at: datetime) -> str:
        pending_changes.cancel_withdrawal(
            pending=self.subject, by=by, at=at, reason=self.cleaned_data["reason"]
        )
        return "Cancelled. Nothing of it takes effect; it stays on record with your reason."


class PartFilter(SimpleListFilter):
    """Of what ever waited, what waits now unless another part is asked for."""

    title = "part"
    parameter_name = "part"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in PARTS.items()] + [("all", "All")]

    def choices(self, changelist: Any) -> Any:
        # The choice of "all" that a filter brings along is one of ours.
        yield from list(super().choices(changelist))[1:]

    def value(self) -> str:
        return super().value() or "waiting"

    def queryset(self, request: HttpRequest, queryset: QuerySet[PendingChange]) -> QuerySet[PendingChange]:
        if self.value() not in PARTS:
            return queryset
        return queryset.filter(state__in=PARTS[self.value()][1])


@admin.register(PendingChange)
class PendingChangeAdmin(ReadOnlyAdmin):
    list_display = ("what", "show_state", "falls", "made_by", "waits", "show_kind", "decided_by")
    list_display_links = ("what",)
    list_filter = (PartFilter, "kind")
    list_select_related = ("revocation__fact",)
    search_fields = ("revocation__fact__code", "revocation__subject", "made_by", "decided_by", "reason")
    # What waits longest, or takes effect soonest, first.
    ordering = ("due_at", "id")
    list_before_template = "desk/pending_parts.html"
    fields = (
        "withdrawal",
        ("kind", "state"),
        "falls",
        ("made_by", "made_at"),
        "due_at",
        "waits",
        ("decided_by", "decided_at"),
        "reason",
    )
    readonly_fields = ("withdrawal", "falls", "waits")
    actions_row = actions_detail = ("approve", "decline", "cancel")

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        # Of what waits the state says what it is, and nobody has decided yet; the room is for its buttons.
        shown: tuple[str, ...] = tuple(self.list_display)
        return shown if request.GET.get("part", "waiting") != "waiting" else shown[:-2]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        rows = PendingChange.objects.order_by("state").values_list("state").annotate(count=Count("pk"))
        counts = dict(rows)
        chosen = request.GET.get("part") or "waiting"
        parts = [
            (words, f"?part={name}", sum(counts.get(state, 0) for state in states), name == chosen)
            for name, (words, states) in PARTS.items()
        ]
        return super().changelist_view(request, {**(extra_context or {}), "parts": parts})

    # --- what a row says ------------------------------------------------------------------------------------

    @display(description="withdrawal", ordering="revocation")
    def what(self, pending: PendingChange) -> str:
        return capfirst(str(pending.revocation))

    @display(description="withdrawal")
    def withdrawal(self, pending: PendingChange) -> SafeString:
        return format_html(
            '<a class="text-primary-600 underline dark:text-primary-500" href="{}">{}</a>',
            change_url(pending.revocation),
            pending.revocation,
        )

    @display(description="what waits", ordering="kind")
    def show_kind(self, pending: PendingChange) -> str:
        return "the removal of its pages" if pending.kind == Kind.REMOVAL else "the withdrawal itself"

    @display(description="offers that fall")
    def falls(self, pending: PendingChange) -> str:
        return f"{_falls(pending):,}"

    @display(description="for how long")
    def waits(self, pending: PendingChange) -> str:
        return say_wait(pending, clock.now())

    @display(
        description="state",
        ordering="state",
        label={
            "to come": "info",
            "waits for a second person": "warning",
            "took effect": "success",
            "approved": "success",
            "cancelled": "default",
            "declined": "danger",
        },
    )
    def show_state(self, pending: PendingChange) -> str:
        return say_pending(pending, clock.now())

    # --- what may be done -----------------------------------------------------------------------------------

    def fits(self, action: str, row: PendingChange) -> bool:
        if row.state != State.OPEN:
            return False
        return (row.kind == Kind.WITHDRAWAL) == (action == "cancel")

    def is_for(self, request: HttpRequest, action: str, row: PendingChange) -> bool:
        # Nobody agrees with himself; to cancel is anybody's, its maker's included.
        return action == "cancel" or row.made_by != str(actor_of(request))

    @action(
        description="Approve",
        icon="check",
        permissions=["act"],
        extra_options={"display_in_dropdown": False},
    )
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._decide(
            request,
            object_id,
            ApproveForm,
            verb="Approve the removal",
            says=lambda row: (
                f"{row.made_by} stopped the sale of it from {row.revocation.effective_at:%Y-%m-%d %H:%M:%S} UTC on, on "
                f"the word of {row.revocation.requested_by}. When you approve, the pages of "
                f"{_falls(row):,} offers are taken down{_each_on_its_day(row)}, and their vendors are told."
            ),
            is_danger=True,
        )

    @action(description="Decline", icon="close", permissions=["act"], variant=ActionVariant.DANGER)
    def decline(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._decide(
            request,
            object_id,
            DeclineForm,
            verb="Decline the removal",
            says=lambda row: (
                f"{row.made_by} stopped the sale of it on the word of {row.revocation.requested_by}. When you decline, "
                "the withdrawal is undone as a mistake: what nothing else stops can be sold again. It stays on record, "
                "with your reason."
            ),
            is_danger=True,
        )

    @action(
        description="Cancel",
        icon="event_busy",
        permissions=["act"],
        extra_options={"display_in_dropdown": False},
    )
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._decide(
            request,
            object_id,
            CancelForm,
            verb="Cancel the withdrawal",
            says=lambda row: (
                f"It takes effect on {row.due_at:%Y-%m-%d %H:%M:%S} UTC. Until then all of it stays on sale; when you "
                "cancel it, it goes on being so."
            ),
        )

    def _decide(
        self,
        request: HttpRequest,
        object_id: str,
        form_class: type[ActForm],
        *,
        verb: str,
        says: Callable[[PendingChange], str],
        is_danger: bool = False,
    ) -> HttpResponse:
        row = subject_or_404(self, request, object_id)
        action_name = {"Approve": "approve", "Decline": "decline"}.get(verb.split()[0], "cancel")
        back = change_url(row.revocation)
        refusal = ""
        if row.state != State.OPEN:
            refusal = f"Nothing is left to decide: {say_pending(row, clock.now())}."
        elif took_effect(row, clock.now()) and request.method != "POST":
            refusal = f"It took effect on {row.due_at:%Y-%m-%d %H:%M:%S} UTC. Undo the withdrawal instead."
        elif not self.fits(action_name, row):
            refusal = f"That is {self.show_kind(row)}, which cannot be decided so."
        elif not self.is_for(request, action_name, row):
            refusal = "You made this withdrawal: a second person must agree to the removal."
        if refusal:
            messages.error(request, refusal)
            return HttpResponseRedirect(back)
        return act_page(
            self,
            request,
            form_class,
            title=f"{verb}: {row.revocation}",
            permission=MAY_DECIDE,
            subject=row,
            intro=says(row),
            done_url=back,
            refusals=(InvalidFact, NotPending),
            is_danger=is_danger,
        )


def _falls(pending: PendingChange) -> int:
    return pending.revocation.preview_falls + pending.revocation.preview_falls_later


def _each_on_its_day(pending: PendingChange) -> str:
    later = pending.revocation.preview_falls_later
    return f", {later:,} of them on a day that it sets" if later else ""


def took_effect(pending: PendingChange, at: datetime) -> bool:
    """The day of a withdrawal has come, also where no worker has met it yet."""
    return pending.due_at is not None and pending.due_at <= at


def say_pending(pending: PendingChange, at: datetime) -> str:
    match pending.kind, pending.state:
        case Kind.WITHDRAWAL, State.OPEN if took_effect(pending, at):
            return "took effect"
        case Kind.WITHDRAWAL, State.OPEN:
            return "to come"
        case Kind.WITHDRAWAL, State.DONE:
            return "took effect"
        case Kind.REMOVAL, State.OPEN:
            return "waits for a second person"
        case Kind.REMOVAL, State.DONE:
            return "approved"
        case _:
            return str(pending.state)


def say_wait(pending: PendingChange, at: datetime) -> str:
    """How long it has waited, or waits still."""
    if pending.state == State.OPEN and pending.due_at is not None:
        if pending.due_at <= at:
            return "its time has come"
        return f"takes effect in {say_seconds((pending.due_at - at).total_seconds())}"
    until = pending.decided_at or at
    waited = say_seconds((until - pending.made_at).total_seconds())
    return f"waited {waited}" if pending.decided_at else f"for {waited}"
