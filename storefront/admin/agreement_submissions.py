"""What vendors and distributors submitted of agreements: looked at here, then accepted or declined.

A submission is a claim. Nothing is sold on it before somebody here has accepted it and said how they know.
"""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget

from authorization import agreements, clock
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Assurance
from authorization.rules import ALL
from catalog.models import Variant
from storefront import agreement_submissions
from storefront.acceptance_files import download
from storefront.admin.desk import (
    ActForm,
    ReadOnlyAdmin,
    act_page,
    change_url,
    desk_page,
    number_in,
    require,
    say_end,
    say_list,
    subject_or_404,
)
from storefront.agreement_submissions import MAX_NOTE, SubmissionRefused
from storefront.models import AgreementFile, AgreementSubmission

Kind, State = AgreementSubmission.Kind, AgreementSubmission.State

MAY_DECIDE = "storefront.change_agreementsubmission"
# To accept is to record an agreement, or to change one.
MAY_RECORD = "authorization.add_agreementversion"
_COLOURS = {"submitted": "info", "accepted": "success", "declined": "danger", "withdrawn": "default"}
# Of models on a page; all of them are what is decided on.
_NAMED = 200


class _DecisionForm(ActForm):
    # What the page showed: of one that was changed meanwhile the act says so, and it is looked at again.
    version = forms.IntegerField(widget=forms.HiddenInput)


class AcceptForm(_DecisionForm):
    submit_label = "Accept it: put it on record"

    assurance = forms.ChoiceField(
        choices=Assurance.choices,
        widget=UnfoldAdminRadioSelectWidget,
        label="How do you know?",
        help_text=(
            "Verified only if the grantor itself said so to you, by a way that you chose, not by what the vendor sent. "
            "A letter that the vendor shows is a claim, however good it looks."
        ),
    )
    note = forms.CharField(
        max_length=MAX_NOTE,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        label="How it was checked",
        help_text="Who of the grantor was asked, when, by which way; kept, and read by the vendor",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        fact = agreement_submissions.accept(
            submission=self.subject,
            assurance=self.cleaned_data["assurance"],
            note=self.cleaned_data["note"],
            by=by,
            at=at,
            seen_version=self.cleaned_data["version"],
        )
        return f"{self.subject.code} is accepted: agreement {fact.code} is on record. Its vendor is told."


class DeclineForm(_DecisionForm):
    submit_label = "Decline it"

    note = forms.CharField(
        max_length=MAX_NOTE,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        label="Why",
        help_text="What is missing or wrong; the vendor reads it",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        agreement_submissions.decline(
            submission=self.subject,
            note=self.cleaned_data["note"],
            by=by,
            at=at,
            seen_version=self.cleaned_data["version"],
        )
        return f"{self.subject.code} is declined. Its vendor is told why."


_FORMS: dict[str, tuple[type[_DecisionForm], str]] = {
    "accept": (AcceptForm, "Accept"),
    "decline": (DeclineForm, "Decline"),
}


@admin.register(AgreementSubmission)
class AgreementSubmissionAdmin(ReadOnlyAdmin):
    shows = (AgreementFile,)
    list_display = ("code", "grantee", "grantor", "show_kind", "show_state", "files", "submitted_at", "ends")
    list_display_links: ClassVar = ("code",)
    list_filter = (
        "state",
        "kind",
        ("grantor", admin.RelatedOnlyFieldListFilter),
        ("grantee", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("grantor", "grantee", "agreement")
    search_fields = ("code", "grantor__name", "grantee__name", "document", "agreement__code")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgreementSubmission]:
        rows: QuerySet[AgreementSubmission] = super().get_queryset(request)
        return rows.annotate(file_count=Count("files"))

    @display(description="kind", ordering="kind")
    def show_kind(self, row: AgreementSubmission) -> str:
        return "renewal" if row.kind == Kind.RENEWAL else "new"

    @display(description="state", ordering="state", label=_COLOURS)
    def show_state(self, row: AgreementSubmission) -> str:
        return str(row.state)

    @display(description="files")
    def files(self, row: Any) -> int:
        return int(row.file_count)

    @display(description="until", ordering="valid_until")
    def ends(self, row: AgreementSubmission) -> str:
        return say_end(row.valid_until)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("<int:row_id>/decide/<slug:act>/", view(self.decide), name="submission_decide"),
            path("<int:row_id>/files/<slug:sha256>/", view(self.file), name="submission_file"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        require(request, "storefront.view_agreementsubmission")
        row: AgreementSubmission = subject_or_404(self, request, number_in(object_id))
        may_decide = request.user.has_perm(MAY_DECIDE) and request.user.has_perm(MAY_RECORD)
        buttons = []
        if row.state == State.SUBMITTED and may_decide:
            buttons = [
                {
                    "title": title,
                    "url": reverse("admin:submission_decide", args=[row.pk, act]),
                    "is_danger": act == "decline",
                }
                for act, (_, title) in _FORMS.items()
            ]
        return desk_page(
            self,
            request,
            "desk/agreement_submission.html",
            title=row.code,
            original=row,
            row=row,
            is_open=row.state == State.SUBMITTED,
            cautions=_cautions(row) if row.state == State.SUBMITTED else [],
            buttons=buttons,
            facts=_facts(row),
            files=[
                (file, reverse("admin:submission_file", args=[row.pk, file.sha256]))
                for file in row.files.defer("content").order_by("id")
            ],
        )

    def decide(self, request: HttpRequest, row_id: int, act: str) -> HttpResponse:
        if act not in _FORMS:
            raise Http404
        require(request, MAY_DECIDE)
        require(request, MAY_RECORD)
        row: AgreementSubmission = subject_or_404(self, request, row_id)
        if row.state != State.SUBMITTED:
            messages.error(request, f"{row.code} is {row.state}: it was decided on.")
            return HttpResponseRedirect(change_url(row))
        form, title = _FORMS[act]
        return act_page(
            self,
            request,
            form,
            title=f"{title} {row.code}",
            permission=None,
            subject=row,
            initial={"version": row.version},
            intro="\n".join([_say_what(row), *_cautions(row)]),
            done_url=change_url(row),
            refusals=(InvalidFact, SubmissionRefused),
            is_danger=act == "decline",
        )

    def file(self, request: HttpRequest, row_id: int, sha256: str) -> HttpResponse:
        require(request, "storefront.view_agreementsubmission")
        return download(get_object_or_404(AgreementFile, submission=row_id, sha256=sha256))


# --- how things are said ------------------------------------------------------------------------------------------


def _say_what(row: AgreementSubmission) -> str:
    until = say_end(row.valid_until)
    if row.kind == Kind.RENEWAL and row.agreement is not None:
        return f"{row.grantee} says that {row.grantor} prolongs agreement {row.agreement}: valid until (UTC) {until}."
    return f"{row.grantee} says that {row.grantor} lets it sell; valid until (UTC) {until}."


def _cautions(row: AgreementSubmission) -> list[str]:
    """What whoever decides should see before they do."""
    said = []
    if not row.files.exists():
        said.append("No file was shown with it.")
    if row.agreement is not None and row.kind == Kind.RENEWAL:
        version = agreements.current(row.agreement)
        at = clock.now()
        if version.state == AgreementVersion.State.REVOKED:
            said.append(f"{row.agreement} was revoked: it cannot be renewed. Decline it.")
        elif version.valid_until <= at:
            said.append(f"{row.agreement} has ended: accepted, it becomes a new agreement, {row.code}.")
        elif version.assurance == Assurance.VERIFIED:
            said.append(
                f"{row.agreement} is verified. Accepted as a claim, its renewal becomes an agreement of its own, "
                f"{row.code}, from the end of that one on: what was verified does not last longer on a claim."
            )
    declined = AgreementSubmission.objects.filter(
        grantee=row.grantee, grantor=row.grantor, state=State.DECLINED
    ).count()
    if declined:
        times = "once" if declined == 1 else f"{declined} times"
        said.append(f"Papers of {row.grantee} from {row.grantor} were declined {times} before.")
    return said


def _facts(row: AgreementSubmission) -> list[tuple[str, str, str]]:
    """Label, words, and an address where there is more."""
    facts = [
        ("Shown by", f"{row.grantee} ({row.grantee.get_kind_display()})", change_url(row.grantee)),
        (
            "Said to be granted by",
            f"{row.grantor} ({row.grantor.get_kind_display()})",
            change_url(row.grantor),
        ),
        ("Kind", row.get_kind_display(), ""),
    ]
    if row.agreement is not None:
        current = AgreementVersion.objects.current().filter(head=row.agreement_id).first()
        label = "Renews" if row.kind == Kind.RENEWAL else "On record as"
        facts.append((label, row.agreement.code, change_url(current) if current is not None else ""))
    facts += [
        ("Models", _say_models(row), ""),
        ("Territories", ", ".join(row.territories), ""),
        ("Channels", ", ".join(row.channels), ""),
        ("Conditions", ", ".join(row.conditions), ""),
        ("May grant it on", "yes" if row.may_sublicense else "no", ""),
        ("Valid from (UTC)", f"{row.valid_from:%Y-%m-%d %H:%M:%S}", ""),
        ("Valid until (UTC)", say_end(row.valid_until), ""),
        ("In its words", row.document or "nothing", ""),
        ("Submitted", f"{row.submitted_at:%Y-%m-%d %H:%M:%S} UTC by {row.submitted_by}", ""),
    ]
    if row.decided_at is not None:
        facts.append(
            (row.state.capitalize(), f"{row.decided_at:%Y-%m-%d %H:%M:%S} UTC by {row.decided_by}", "")
        )
        facts.append(("Note", row.decision_note or "none", ""))
    return facts


def _say_models(row: AgreementSubmission) -> str:
    if row.model_ids == [ALL]:
        return "all, also those to come"
    named = Variant.objects.filter(pk__in=row.model_ids).order_by("model_number")
    return say_list(list(named.values_list("model_number", flat=True)), at_most=_NAMED)
