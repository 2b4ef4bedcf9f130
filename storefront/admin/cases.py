"""Cases: what parties say to the desk, what it answers, and how a matter ends."""

from datetime import datetime
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from authorization import clock
from authorization.actors import Actor
from authorization.facts import InvalidFact
from storefront import appeals, cases
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    act_page,
    change_url,
    desk_page,
    number_in,
    require,
    say_reasons,
    subject_or_404,
)
from storefront.appeals import Remedy
from storefront.cases import CaseRefused, is_overdue, party_of
from storefront.models import Case, CaseMessage
from storefront.takedowns import TakedownRefused

MAY_ACT = "storefront.change_case"
MAY_GIVE_BACK = "authorization.add_reinstatement"
REFUSALS = (InvalidFact, CaseRefused, TakedownRefused)

State, Kind, Outcome = Case.State, Case.Kind, Case.Outcome
DESKS_TURN, PARTYS_TURN, OVERDUE, CLOSED = "the desk's turn", "waits for the party", "overdue", "closed"


def words_field(label: str, help_text: str = "", rows: int = 6) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=cases.LONGEST_MESSAGE,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": rows}),
        help_text=help_text,
    )


class AnswerForm(ActForm):
    submit_label = "Send the answer"
    subject: Case

    body = words_field("Answer", "The party reads it as it stands here. Name nobody else's matter.")
    version = forms.IntegerField(widget=forms.HiddenInput)

    def run(self, *, by: Actor, at: datetime) -> str:
        cases.answer(
            case=self.subject,
            body=self.cleaned_data["body"],
            is_internal=False,
            by=by,
            at=at,
            seen_version=self.cleaned_data["version"],
        )
        return f"Answered. {self.subject} waits for {party_of(self.subject).name}."


class NoteForm(ActForm):
    submit_label = "Keep the note"
    subject: Case

    body = words_field("Note", "For the desk only; the party never sees it.")

    def run(self, *, by: Actor, at: datetime) -> str:
        cases.answer(case=self.subject, body=self.cleaned_data["body"], is_internal=True, by=by, at=at)
        return "The note is kept."


class DecideForm(ActForm):
    submit_label = "Decide, and close the case"
    subject: Case

    outcome = forms.ChoiceField(
        choices=[
            (value, Outcome(value).label) for value in (Outcome.UPHELD, Outcome.REVERSED, Outcome.PARTLY)
        ],
        widget=UnfoldAdminSelectWidget,
    )
    remedy = forms.ChoiceField(
        label="What comes back", choices=Remedy.choices, widget=UnfoldAdminSelectWidget, initial=Remedy.NONE
    )
    resolution = words_field("Why", "The party reads it as it stands here.")
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, subject: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, subject=subject, **kwargs)
        open_to_it = appeals.remedies_of(subject)
        remedy = cast(forms.ChoiceField, self.fields["remedy"])
        remedy.choices = [(value, label) for value, label in Remedy.choices if value in open_to_it]

    def run(self, *, by: Actor, at: datetime) -> str:
        typed = dict(self.cleaned_data)
        version = typed.pop("version")
        appeals.decide(case=self.subject, **typed, by=by, at=at, seen_version=version)
        return f"{self.subject} is closed: {Outcome(typed['outcome']).label}."


class CloseForm(ActForm):
    submit_label = "Close: the takedown stands"
    subject: Case

    resolution = words_field("Why", "The party reads it as it stands here.")
    version = forms.IntegerField(widget=forms.HiddenInput)

    def run(self, *, by: Actor, at: datetime) -> str:
        cases.uphold(
            case=self.subject,
            resolution=self.cleaned_data["resolution"],
            by=by,
            at=at,
            seen_version=self.cleaned_data["version"],
        )
        return f"{self.subject} is closed; what was stopped stays so."


class TurnFilter(SimpleListFilter):
    """What waits for the desk, unless another part is asked for."""

    title = "part"
    parameter_name = "part"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "For the desk to answer"),
            ("overdue", "Overdue"),
            ("waiting", "Waiting for the party"),
            ("closed", "Closed"),
            ("all", "All"),
        ]

    def choices(self, changelist: Any) -> Any:
        # The choice of "all" that a filter brings along is one of ours.
        yield from list(super().choices(changelist))[1:]

    def value(self) -> str:
        return super().value() or "open"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Case]) -> QuerySet[Case]:
        if self.value() == "overdue":
            return queryset.filter(state=State.OPEN, answer_by__lte=clock.now())
        return queryset.filter(state=self.value()) if self.value() in State.values else queryset


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    """A row's page shows what was said, and what the desk may do now."""

    shows = (CaseMessage,)
    list_display = ("code", "subject", "party", "kind", "show_state", "answer_by", "opened_at", "outcome")
    list_display_links = ("code",)
    list_filter = (TurnFilter, "kind", "outcome", "opened_at")
    list_select_related = ("organization", "host")
    search_fields = ("code", "subject", "organization__name", "host__name", "offer__listing__sku")
    search_help_text = "Code, subject, party or SKU"
    ordering = ("answer_by", "id")
    actions_detail = ("answer", "decide", "close", "note")

    @display(description="party")
    def party(self, case: Case) -> str:
        return party_of(case).name

    @display(
        description="state",
        ordering="state",
        label={DESKS_TURN: "info", OVERDUE: "danger", PARTYS_TURN: "warning", CLOSED: "default"},
    )
    def show_state(self, case: Case) -> str:
        if case.state == State.CLOSED:
            return CLOSED
        if case.state == State.WAITING:
            return PARTYS_TURN
        return OVERDUE if is_overdue(case, at=clock.now()) else DESKS_TURN

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        require(request, "storefront.view_case")
        rows = Case.objects.select_related(
            "organization",
            "host",
            "offer__listing",
            "offer__host",
            "decision",
            "revocation__fact",
            "takedown",
        )
        case = get_object_or_404(rows, pk=number_in(object_id))
        request_row = getattr(case, "takedown", None)
        may_act = request.user.has_perm(MAY_ACT)
        return desk_page(
            self,
            request,
            "desk/case.html",
            title=f"{case.code}: {case.subject}",
            original=case,
            case=case,
            party=party_of(case),
            party_url=change_url(party_of(case).row),
            state=self.show_state(case),
            said=list(case.messages.order_by("id")),
            buttons=self._buttons(request, case) if may_act else [],
            offer_url=change_url(case.offer) if case.offer is not None else "",
            decision_url=change_url(case.decision) if case.decision is not None else "",
            reasons=say_reasons([reason["code"] for reason in case.decision.reasons])
            if case.decision
            else "",
            revocation_url=change_url(case.revocation) if case.revocation is not None else "",
            request_row=request_row,
            request_url=change_url(request_row) if request_row is not None else "",
        )

    def _buttons(self, request: HttpRequest, case: Case) -> list[dict[str, Any]]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        buttons = []
        for each in self.get_actions_detail(request, case.pk):
            name = each.action_name.removeprefix(prefix)
            buttons.append(
                {
                    "title": each.description,
                    "url": reverse(f"{self.admin_site.name}:{each.action_name}", args=[case.pk]),
                    "is_next": name in ("answer", "decide"),
                }
            )
        return buttons

    def fits(self, action: str, row: Case) -> bool:
        if row.state == State.CLOSED:
            return False
        if action == "decide":
            return row.kind == Kind.APPEAL
        if action == "close":
            request = getattr(row, "takedown", None)
            # A request that waits is decided on its own page.
            return request is not None and request.state == "in_force"
        return True

    @action(description="Answer", icon="reply", permissions=["act"])
    def answer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        case = self._open(request, object_id)
        return self._act(request, case, AnswerForm, title=f"Answer in {case.code}")

    @action(description="Decide", icon="gavel", permissions=["act"], variant=ActionVariant.PRIMARY)
    def decide(self, request: HttpRequest, object_id: str) -> HttpResponse:
        case = self._open(request, object_id)
        if request.method == "POST" and request.POST.get("remedy") != Remedy.NONE:
            require(request, MAY_GIVE_BACK)
        return self._act(
            request,
            case,
            DecideForm,
            title=f"Decide on {case.code}",
            intro=(
                f"{case.subject}, of {party_of(case).name}. What is given back comes back at once, where nothing else "
                "stops it; the withdrawal stays on record."
            ),
        )

    @action(description="Close: it stands", icon="check", permissions=["act"])
    def close(self, request: HttpRequest, object_id: str) -> HttpResponse:
        case = self._open(request, object_id)
        return self._act(request, case, CloseForm, title=f"Close {case.code}: the takedown stands")

    @action(description="Note for the desk", icon="sticky_note_2", permissions=["act"])
    def note(self, request: HttpRequest, object_id: str) -> HttpResponse:
        case = self._open(request, object_id)
        return self._act(request, case, NoteForm, title=f"A note in {case.code}")

    def _open(self, request: HttpRequest, object_id: str) -> Case:
        case: Case = subject_or_404(self, request, object_id)
        return case

    def _act(
        self, request: HttpRequest, case: Case, form_class: type[ActForm], *, title: str, intro: str = ""
    ) -> HttpResponse:
        return act_page(
            self,
            request,
            form_class,
            title=title,
            permission=MAY_ACT,
            subject=case,
            intro=intro or f"{case.subject}, of {party_of(case).name}.",
            initial={"version": case.version},
            done_url=change_url(case),
            refusals=REFUSALS,
        )
