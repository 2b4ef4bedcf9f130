"""Withdrawals of authority that were made: how far each is, what waits, and the way back.

Where one begins is storefront.admin.beginnings, its two pages are storefront.admin.front_door.
"""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from authorization import clock, reinstatements, revocations, sweeps
from authorization.actors import Actor
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.models import Delisting, Fact, PendingChange, Reinstatement, Revocation
from authorization.revocations import WITHDRAWAL_REASONS, Preview, Undo
from storefront import withdrawals
from storefront.admin import way_back
from storefront.admin.beginnings import Beginnings
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    RecordAdmin,
    change_url,
    desk_page,
    number_in,
    require,
    say_reasons,
    undecided_page,
)
from storefront.admin.front_door import SHOWN, returns_context
from storefront.admin.numbers import steps_for_page
from storefront.admin.pending import MAY_DECIDE, say_wait, took_effect
from storefront.admin.sweeps import say_progress
from storefront.models import CountedSweep, Order
from storefront.numbers import timeline_of
from storefront.proofs import proof_link
from storefront.requests import actor_of

MAY_UNDO = "authorization.add_reinstatement"

Kind, State = PendingChange.Kind, PendingChange.State

# What a withdrawal is at, in the words of lists and pages, each with its colour.
TO_COME, CANCELLED, UNDONE = "to come", "cancelled", "undone"
WAITS_FOR_PERSON, WAITS_FOR_WORKER, GOING, DONE = (
    "waits for a second person",
    "waits for a worker",
    "pages going",
    "done",
)
STATE_COLOURS = {
    TO_COME: "info",
    CANCELLED: "default",
    UNDONE: "default",
    WAITS_FOR_PERSON: "warning",
    WAITS_FOR_WORKER: "warning",
    GOING: "info",
    DONE: "success",
}


class UndoForm(ActForm):
    submit_label = "Undo the withdrawal"

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why it is undone, and who said so; kept beside the withdrawal, which stays on record",
    )
    is_mistake = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        label="It was a mistake: the withdrawal should not have been made",
    )
    # What the page showed.
    digest = forms.CharField(required=False, widget=forms.HiddenInput)

    def run(self, *, by: Actor, at: datetime) -> str:
        impact: Preview = self.subject[1]
        withdrawals.undo(
            revocation=self.subject[0],
            reason=self.cleaned_data["reason"],
            is_mistake=self.cleaned_data["is_mistake"],
            by=by,
            at=at,
            returns=len(impact.returns),
        )
        return "Undone. What nothing else stops comes back within moments; this page says what did."


@admin.register(Revocation)
class RevocationAdmin(Beginnings, ReadOnlyAdmin):
    """A row's page shows how far the removal is, and where its proof is."""

    shows = (CountedSweep,)
    list_display = (
        "what",
        "show_state",
        "falls",
        "requested_by",
        "reason_code",
        "effective_at",
        "word_received_at",
        "actor",
    )
    list_filter = ("kind", "reason_code", "effective_at")
    list_select_related = ("fact", "sweep")
    search_fields = ("fact__code", "subject", "requested_by", "note", "actor")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revocation]:
        rows: QuerySet[Revocation] = super().get_queryset(request)
        return rows.prefetch_related("pending_changes", "reinstatements__fact")

    @display(description="withdrawal", ordering="kind")
    def what(self, revocation: Revocation) -> str:
        return capfirst(str(revocation))

    @display(description="offers that fell", ordering="preview_falls")
    def falls(self, revocation: Revocation) -> str:
        return f"{revocation.preview_falls:,}"

    @display(description="state", label=STATE_COLOURS)
    def show_state(self, revocation: Revocation) -> str:
        return say_state(revocation, clock.now())

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.undo)
        return [path("<int:revocation_id>/undo/", view, name="undo_withdrawal"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        require(request, "authorization.view_revocation")
        rows = self.get_queryset(request).select_related("fact", "revision", "sweep")
        revocation = get_object_or_404(rows, pk=number_in(object_id))
        at = clock.now()
        state = say_state(revocation, at)
        sweep = getattr(revocation, "sweep", None)
        progress = sweeps.progress(sweep) if sweep else None
        proof = getattr(revocation, "removal_proof", None)
        # While the sweep runs the page is asked for every few seconds: its own count does until then.
        delisted = withdrawals.delistings_of(revocation, at=at) if proof else Delisting.objects.none()
        delisted = delisted.select_related("offer__listing__vendor", "offer__host")
        # Without a proof yet, though all offers were looked at: the party is told in a moment.
        is_going = state in (WAITS_FOR_WORKER, GOING) or (state == DONE and proof is None)
        return desk_page(
            self,
            request,
            "desk/withdrawal.html",
            title=str(revocation),
            original=revocation,
            revocation=revocation,
            reason=WITHDRAWAL_REASONS.get(revocation.reason_code, revocation.reason_code),
            state=state,
            sweep=sweep,
            progress=progress,
            progress_lines=say_progress(sweep, progress, at) if sweep and progress else [],
            previewed=f"of {revocation.preview_falls:,} in the preview",
            delisted_count=delisted.count() if proof else (progress.delisted if progress else 0),
            delisted=[(row, say_reasons(row.reason_codes)) for row in delisted[:SHOWN]],
            shown=SHOWN,
            held_orders=Order.objects.filter(state=Order.State.HELD, held_on=revocation).count(),
            proof=proof,
            proof_link=proof_link(proof) if proof else "",
            notices=[(notice, change_url(notice)) for notice in revocation.notices.all()],
            numbers=steps_for_page(timeline_of(revocation, at=at)),
            # Looks again by itself until the pages are gone and the proof is written.
            is_going=is_going,
            refreshes=is_going and "still" not in request.GET,
            **_waiting_context(request, revocation, at),
            **_undone_context(revocation, at),
            undo_url=_undo_url(request, revocation, state),
            narrower_url=_narrower_url(request, revocation, state),
        )

    def undo(self, request: HttpRequest, revocation_id: int) -> HttpResponse:
        """What would come back, and the button that does it."""
        require(request, MAY_UNDO)
        revocation = get_object_or_404(Revocation.objects.select_related("fact"), pk=revocation_id)
        back = change_url(revocation)
        context: dict[str, Any] = {
            "title": f"Undo: {revocation}",
            "intro": (
                f"Done by {revocation.actor} on the word of {revocation.requested_by}, in effect since "
                f"{revocation.effective_at:%Y-%m-%d %H:%M:%S} UTC.\n{_IN_ITS_PLACE[revocation.kind]} What something "
                "else stops as well stays down; the page of the withdrawal then says what and why."
            ),
            "original": revocation,
            "cancel_url": back,
        }
        at = clock.now()
        try:
            reinstatements.check_undoable(revocation, at=at)
            impact = revocations.preview(Undo(revocation.pk), at=at)
        except InvalidFact as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(back)
        except DecisionUnavailable:
            form = UndoForm(request.POST or None, subject=(revocation, None))
            return undecided_page(self, request, form=form, **context)
        form = UndoForm(initial={"digest": impact.digest}, subject=(revocation, impact))
        if request.method == "POST":
            typed = request.POST.copy()
            typed["digest"] = impact.digest
            form = UndoForm(typed, subject=(revocation, impact))
            if request.POST.get("digest") != impact.digest:
                context["moved"] = (
                    "The world moved since you looked. Nothing was done. This is what would return now."
                )
            elif form.is_valid():
                try:
                    messages.success(request, form.run(by=actor_of(request), at=at))
                    return HttpResponseRedirect(back)
                except InvalidFact as error:
                    form.refuse(error.field, error.message)
        return desk_page(self, request, "desk/act.html", form=form, **context, **returns_context(impact))


@admin.register(Reinstatement)
class ReinstatementAdmin(RecordAdmin):
    """Every way back that was gone. What came back by it is on the page of its withdrawal."""

    list_display = ("withdrawal", "is_mistake", "is_partial", "preview_returns", "actor", "at", "reason")
    list_display_links = ("withdrawal",)
    list_filter = ("is_mistake", "is_partial", "at")
    list_select_related = ("revocation__fact",)
    search_fields = ("revocation__fact__code", "revocation__subject", "fact__code", "actor", "reason")
    ordering = ("-id",)

    @display(description="withdrawal", ordering="revocation")
    def withdrawal(self, reinstatement: Reinstatement) -> str:
        return capfirst(str(reinstatement.revocation))


# What an undo writes, kind by kind.
_AGAIN = "What was revoked stays revoked; a new record that says the same stands in its place from now on."
_IN_ITS_PLACE: dict[str, str] = {
    Revocation.Kind.AGREEMENT: _AGAIN,
    Revocation.Kind.NARROWING: "A new agreement stands beside it, which covers what it covered before.",
    Revocation.Kind.APPROVAL: _AGAIN,
    Revocation.Kind.RESTRICTION: "A new approval stands beside it, with the terms from before.",
    Revocation.Kind.EQUIPMENT: _AGAIN,
    Revocation.Kind.HOLD: "This hold is released, and no other.",
    Revocation.Kind.EXEMPTION: "The exemption is made again, until the end that it had.",
    Revocation.Kind.AFFILIATION: _AGAIN,
    Revocation.Kind.POLICY: "The policy from before is set again.",
    Revocation.Kind.GROUNDWORK: "What was recorded before is recorded again.",
}


def say_state(revocation: Revocation, at: datetime) -> str:
    """One of STATE_COLOURS. Pending changes and reinstatements come prefetched, the sweep selected.

    Of a withdrawal for a later day its instant counts, not whether a worker has met it.
    """
    waiting = {row.kind: row.state for row in revocation.pending_changes.all()}
    if any(not row.is_partial for row in revocation.reinstatements.all()):
        return UNDONE
    if waiting.get(Kind.WITHDRAWAL) == State.CANCELLED:
        return CANCELLED
    if waiting.get(Kind.WITHDRAWAL) == State.OPEN and revocation.effective_at > at:
        return TO_COME
    if waiting.get(Kind.REMOVAL) == State.OPEN:
        return WAITS_FOR_PERSON
    sweep = getattr(revocation, "sweep", None)
    if sweep is None:
        return WAITS_FOR_WORKER
    return GOING if sweep.finished_at is None else DONE


def _waiting_context(request: HttpRequest, revocation: Revocation, at: datetime) -> dict[str, Any]:
    """What of it waits or waited, with the buttons that this person has."""
    me = str(actor_of(request))
    may_decide = request.user.has_perm(MAY_DECIDE)
    context: dict[str, Any] = {"planned": None, "removal": None}
    for row in revocation.pending_changes.all():
        is_open = row.state == State.OPEN and not took_effect(row, at)
        acts: list[tuple[str, str, bool]] = []
        if is_open and may_decide and row.kind == Kind.WITHDRAWAL:
            acts = [("Cancel it", _act_url(row, "cancel"), False)]
        elif is_open and may_decide and row.made_by != me:
            acts = [
                ("Approve: take the pages down", _act_url(row, "approve"), True),
                ("Decline: undo the withdrawal", _act_url(row, "decline"), False),
            ]
        name = "planned" if row.kind == Kind.WITHDRAWAL else "removal"
        context[name] = {
            "row": row,
            "is_open": is_open,
            "wait": say_wait(row, at),
            "acts": acts,
            "is_mine": row.made_by == me,
        }
    return context


def _act_url(row: PendingChange, act: str) -> str:
    return reverse(f"admin:authorization_pendingchange_{act}", args=[row.pk])


def _undone_context(revocation: Revocation, at: datetime) -> dict[str, Any]:
    rows: list[Reinstatement] = list(revocation.reinstatements.all())
    if not rows:
        return {"undone": [], "came_back": None}
    try:
        came_back = way_back.of_withdrawal(revocation, until=max(row.at for row in rows), at=at)
    except DecisionUnavailable:
        came_back = None
    return {"undone": [(row, fact_url(row.fact)) for row in rows], "came_back": came_back}


def fact_url(fact: Fact | None) -> str:
    return "" if fact is None else change_url(fact)


def _undo_url(request: HttpRequest, revocation: Revocation, state: str) -> str:
    if state in (TO_COME, CANCELLED, UNDONE) or not request.user.has_perm(MAY_UNDO):
        return ""
    return reverse("admin:undo_withdrawal", args=[revocation.pk])


def _narrower_url(request: HttpRequest, revocation: Revocation, state: str) -> str:
    """Of a revoked agreement a part may come back as a new, narrower one."""
    may_add = request.user.has_perm("authorization.add_agreementversion")
    if revocation.kind != Revocation.Kind.AGREEMENT or state in (TO_COME, CANCELLED, UNDONE) or not may_add:
        return ""
    return f"{reverse('admin:authorization_agreementversion_add')}?like={revocation.fact_id}"
