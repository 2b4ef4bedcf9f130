"""Takedown requests of manufacturers and host carriers: to grant or decline, and to lift what should not stand."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from authorization import clock, revocations
from authorization.actors import Actor
from authorization.changes import WITHDRAWAL_REASONS
from authorization.decisions import DecisionUnavailable
from authorization.facts import InvalidFact
from authorization.revocations import WorldMoved
from storefront import takedowns
from storefront.admin.cases import words_field
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    act_page,
    change_url,
    require,
    subject_or_404,
    undecided_page,
)
from storefront.admin.front_door import MAY_WITHDRAW
from storefront.cases import CaseRefused, party_of
from storefront.models import Case, TakedownRequest
from storefront.proofs import proof_link
from storefront.takedowns import TakedownRefused

MAY_ACT = "storefront.change_takedownrequest"
MAY_LIFT = "authorization.add_reinstatement"
REFUSALS = (InvalidFact, CaseRefused, TakedownRefused, WorldMoved)

State = TakedownRequest.State
_RELEASED = "in force, hold released"


class GrantForm(ActForm):
    submit_label = "Stop the sale of these goods"
    subject: TakedownRequest

    note = words_field("Answer to the party", "It closes the case. Empty: that the desk agreed.", rows=3)
    digest = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["note"].required = False

    def run(self, *, by: Actor, at: datetime) -> str:
        seen = revocations.preview(takedowns.change_of(self.subject), at=at)
        if seen.digest != self.cleaned_data["digest"]:
            raise WorldMoved(seen)
        takedowns.grant(request=self.subject, seen=seen, note=self.cleaned_data["note"], by=by, at=at)
        return f"The sale has stopped: {len(seen.falls):,} offers. Their pages follow."


class ReasonForm(ActForm):
    subject: TakedownRequest

    reason = words_field("Why", "The party reads it as it stands here.", rows=3)


class DeclineForm(ReasonForm):
    submit_label = "Decline the request"

    def run(self, *, by: Actor, at: datetime) -> str:
        takedowns.decline(request=self.subject, **self.cleaned_data, by=by, at=at)
        return "Declined; the party is told why."


class LiftForm(ReasonForm):
    submit_label = "Lift it: these goods may be sold again"

    def run(self, *, by: Actor, at: datetime) -> str:
        takedowns.lift(request=self.subject, **self.cleaned_data, outcome=Case.Outcome.REVERSED, by=by, at=at)
        return "Lifted. What nothing else stops comes back within moments; the party is told why."


@admin.register(TakedownRequest)
class TakedownRequestAdmin(ReadOnlyAdmin):
    list_display = ("case_code", "party", "goods", "show_state", "fell", "requested_at")
    list_display_links = ("case_code",)
    list_filter = ("state", "reason_code", "requested_at")
    list_select_related = ("case__organization", "case__host", "hold", "revocation__removal_proof")
    search_fields = (
        "case__code",
        "=public_id",
        "case__organization__name",
        "case__host__name",
        "representative",
        "statement",
    )
    search_help_text = "Code, id, party, representative or words of the statement"
    ordering = ("-id",)
    fields = (
        "case_link",
        ("party", "representative"),
        "goods",
        "why",
        "said",
        "show_state",
        ("requested_at", "requested_by"),
        ("decided_at", "decided_by"),
        "withdrawal",
        "proof",
        "public_id",
    )
    readonly_fields = ("case_link", "party", "goods", "why", "said", "show_state", "withdrawal", "proof")
    actions_row = actions_detail = ("grant", "decline", "lift")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TakedownRequest]:
        return takedowns.with_standing(super().get_queryset(request))

    # --- what a row says ------------------------------------------------------------------------------------

    @display(description="case", ordering="case__code")
    def case_code(self, row: TakedownRequest) -> str:
        return row.case.code

    @display(description="case")
    def case_link(self, row: TakedownRequest) -> SafeString:
        return _link(change_url(row.case), str(row.case))

    @display(description="party")
    def party(self, row: TakedownRequest) -> str:
        return party_of(row.case).name

    @display(description="goods")
    def goods(self, row: TakedownRequest) -> str:
        return takedowns.say_goods(row.asked)

    @display(description="why", ordering="reason_code")
    def why(self, row: TakedownRequest) -> str:
        return WITHDRAWAL_REASONS.get(row.reason_code, row.reason_code)

    @display(description="statement")
    def said(self, row: TakedownRequest) -> SafeString:
        return format_html('<div style="white-space: pre-line">{}</div>', row.statement)

    @display(
        description="state",
        ordering="state",
        label={
            State.WAITING.label: "warning",
            State.IN_FORCE.label: "success",
            State.LIFTED.label: "default",
            State.DECLINED.label: "danger",
            _RELEASED: "default",
        },
    )
    def show_state(self, row: TakedownRequest) -> str:
        if row.state == State.IN_FORCE and not takedowns.is_stopping(row):
            return _RELEASED
        return State(row.state).label

    @display(description="offers that fell")
    def fell(self, row: TakedownRequest) -> str:
        return f"{row.revocation.preview_falls:,}" if row.revocation is not None else "-"

    @display(description="withdrawal")
    def withdrawal(self, row: TakedownRequest) -> str:
        return _link(change_url(row.revocation), str(row.revocation)) if row.revocation is not None else "-"

    @display(description="proof of removal")
    def proof(self, row: TakedownRequest) -> str:
        proof = getattr(row.revocation, "removal_proof", None)
        return _link(proof_link(proof), "its page") if proof is not None else "-"

    # --- what may be done -----------------------------------------------------------------------------------

    def fits(self, action: str, row: TakedownRequest) -> bool:
        return row.state == (State.IN_FORCE if action == "lift" else State.WAITING)

    @action(
        description="Grant",
        icon="block",
        permissions=["act"],
        variant=ActionVariant.DANGER,
        extra_options={"display_in_dropdown": False},
    )
    def grant(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, MAY_WITHDRAW)
        row = self._row(request, object_id)
        if not self.fits("grant", row):
            return self._nothing_to_do(request, row)
        title = f"Grant {row.case.code}: stop the sale"
        try:
            seen = revocations.preview(takedowns.change_of(row), at=clock.now())
        except DecisionUnavailable:
            form = GrantForm(request.POST or None, subject=row)
            return undecided_page(
                self, request, title=title, form=form, cancel_url=change_url(row), original=row
            )
        named = "\n".join(
            f"- {each.sku} of {each.vendor_name} on {each.host_code}: {each.device_name} ({each.model_number})"
            for each in seen.falls.first[:20]
        )
        more = f"\nand {len(seen.falls) - 20:,} more" if len(seen.falls) > 20 else ""
        return self._act(
            request,
            row,
            GrantForm,
            title=title,
            permission=MAY_ACT,
            intro=(
                f"{party_of(row.case).name} ({row.representative}) asks for it: {self.why(row)}. "
                f"{self.goods(row)}.\n\nOffers that are on sale and would not be from now on: {len(seen.falls):,}."
                f"\n{named}{more}"
            ),
            initial={"digest": seen.digest},
            is_danger=True,
        )

    @action(description="Decline", icon="close", permissions=["act"])
    def decline(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._row(request, object_id)
        if not self.fits("decline", row):
            return self._nothing_to_do(request, row)
        return self._act(request, row, DeclineForm, title=f"Decline {row.case.code}", permission=MAY_ACT)

    @action(description="Lift", icon="undo", permissions=["act"])
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._row(request, object_id)
        if not self.fits("lift", row):
            return self._nothing_to_do(request, row)
        return self._act(
            request,
            row,
            LiftForm,
            title=f"Lift {row.case.code}",
            permission=MAY_LIFT,
            intro=(
                f"{party_of(row.case).name} said: {self.why(row)}. {self.goods(row)}.\n\nWhen you lift it, what "
                "nothing else stops is on sale again. It stays on record, with your reason."
            ),
        )

    def _row(self, request: HttpRequest, object_id: str) -> TakedownRequest:
        row: TakedownRequest = subject_or_404(self, request, object_id)
        require(request, MAY_ACT)
        return row

    def _nothing_to_do(self, request: HttpRequest, row: TakedownRequest) -> HttpResponse:
        messages.error(request, f"Nothing of that is left to do: it is {self.show_state(row)}.")
        return HttpResponseRedirect(change_url(row))

    def _act(
        self,
        request: HttpRequest,
        row: TakedownRequest,
        form_class: type[ActForm],
        *,
        title: str,
        permission: str,
        intro: str = "",
        **context: Any,
    ) -> HttpResponse:
        return act_page(
            self,
            request,
            form_class,
            title=title,
            permission=permission,
            subject=row,
            intro=intro or f"{party_of(row.case).name} asks: {self.goods(row)}. {self.why(row)}.",
            done_url=change_url(row),
            refusals=REFUSALS,
            **context,
        )


def _link(url: str, words: str) -> SafeString:
    return format_html(
        '<a class="text-primary-600 underline dark:text-primary-500" href="{}">{}</a>', url, words
    )
