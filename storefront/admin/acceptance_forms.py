"""The forms of technical acceptances: a request, a move with the inputs that the table names, results, files."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from authorization import clock
from authorization.acceptances.evidence import MAX_BYTES
from authorization.acceptances.following import Following
from authorization.acceptances.moves import Input
from authorization.acceptances.process import Doer, Result
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import Acceptance, AcceptanceFile, AcceptanceResult, Party
from authorization.revocations import Change, PlaceHold, RestrictApproval, RevokeApproval
from carriers.models import HostCarrier
from catalog.models import Variant
from storefront import acceptance_limits, acceptance_withdrawals
from storefront.acceptance_access import Open, Standing
from storefront.acceptance_files import TYPES
from storefront.acceptance_results import read_pasted
from storefront.admin.desk import ActForm, InstantField
from storefront.admin.withdrawal_forms import (
    RestrictApprovalForm,
    RevokeApprovalForm,
    WithdrawalForm,
    reasons_without,
)

# Results that the form has lines for; more are pasted.
LINES = 8
# The reasons that a host carrier gives itself.
_OF_CARRIERS = ("CARRIER_TESTS_PENDING", "CARRIER_WITHDRAWS", "SAFETY", "REGULATOR_ORDER", "RECORD_MISTAKEN")


@dataclass(frozen=True)
class Acting:
    """Somebody about to make a move of an acceptance."""

    acceptance: Acceptance
    standing: Standing
    opened: Open

    @property
    def doer(self) -> Doer:
        return self.standing.doer(self.opened.party)


def _line(at_most: int, **kwargs: Any) -> forms.CharField:
    return forms.CharField(max_length=at_most, widget=UnfoldAdminTextInputWidget, **kwargs)


def _lines(at_most: int, **kwargs: Any) -> forms.CharField:
    return forms.CharField(max_length=at_most, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), **kwargs)


# Of one acceptance, as by API. A code has 8 digits, with a comma and a space behind it.
MAX_TACS = 100
_LONGEST_TACS = MAX_TACS * 10


class TacsField(forms.CharField):
    """Type allocation codes with commas or spaces between."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=_LONGEST_TACS, **kwargs)

    def clean(self, value: Any) -> list[str]:
        codes: list[str] = super().clean(value).replace(",", " ").split()
        if len(codes) > MAX_TACS:
            raise forms.ValidationError(
                f"These are {len(codes)} codes; name at most {MAX_TACS} with one request."
            )
        return codes

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


_LIMITS_HELP = (
    "In plain words; a band as LTE B12 off, each by itself, a rule of certification as VOLTE_REQUIRED waived"
)


def _field(name: Input, *, is_needed: bool) -> forms.Field:
    """The widget and the words of one input of a move."""
    needed: dict[str, Any] = {"required": is_needed}
    match name:
        case Input.REASON:
            return _lines(
                500, help_text="Why; it is kept with the move, and the other side reads it", **needed
            )
        case Input.DOCUMENT:
            return _line(
                500,
                help_text="The paper that says so, e.g. number and date of the carrier's letter",
                **needed,
            )
        case Input.SOFTWARE:
            return _line(64, label="Software of the build", help_text="As its maker writes it", **needed)
        case Input.HARDWARE_REVISION:
            return _line(64, help_text="As the samples show it", **needed)
        case Input.LAB_SLOT_FROM:
            return InstantField(label="Lab slot begins (UTC)", **needed)
        case Input.LAB_SLOT_UNTIL:
            return InstantField(label="Lab slot ends (UTC)", **needed)
        case Input.DEVIATION:
            return _lines(4000, help_text="What is known to deviate, and where it shows", **needed)
        case Input.LIMITS:
            return _line(
                300,
                help_text=_LIMITS_HELP,
                **needed,
            )
        case Input.WAIVED_UNTIL:
            return InstantField(
                label="Waived until (UTC)",
                help_text="When the waiver runs out, and the approval with it",
                **needed,
            )
        case Input.VALID_UNTIL:
            return InstantField(
                label="Valid until (UTC)",
                help_text="The end itself no longer counts; empty: no end",
                **needed,
            )
        case Input.PHASE_OUT_UNTIL:
            return InstantField(
                label="Phase-out until (UTC)",
                help_text="Until then existing lines keep working; nothing is sold",
                **needed,
            )
        case Input.EFFECTIVE_AT:
            return InstantField(label="Takes effect at (UTC)", help_text="Empty: at once", **needed)
        case Input.SOFTWARE_FROM:
            return _line(64, help_text="The first version; empty: as asked for", **needed)
        case Input.SOFTWARE_UNTIL:
            return _line(64, help_text="The first version after it; empty: as asked for", **needed)
        case Input.TACS:
            return TacsField(
                label="TACs", help_text="Type allocation codes, 8 digits each, with commas between", **needed
            )
        case Input.FCC_ID:
            return _line(32, label="FCC ID", **needed)
        case Input.CERTIFICATE:
            return _line(64, label="PTCRB or GCF number", **needed)


class VersionField(forms.IntegerField):
    """The version of the acceptance that the page showed. It has been at the browser: nonsense counts as stale."""

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(required=False, min_value=0, max_value=2**31 - 1)

    def clean(self, value: Any) -> int:
        try:
            return super().clean(value) or 0
        except forms.ValidationError:
            return 0


class MoveForm(ActForm):
    """One move: its fields are the inputs that the table names for it and for who makes it."""

    subject: Acting

    def __init__(self, *args: Any, subject: Acting, initial: Any = None, **kwargs: Any) -> None:
        acceptance, opened = subject.acceptance, subject.opened
        super().__init__(
            *args, subject=subject, initial={**_suggestions(subject), **(initial or {})}, **kwargs
        )
        self.submit_label = opened.move.title
        needs = opened.move.needs_of(opened.party)
        for name in (*needs, *opened.move.takes_of(opened.party)):
            self.fields[name.value] = _field(name, is_needed=name in needs)
        self.fields["version"] = VersionField()
        self.initial["version"] = acceptance.version

    def run(self, *, by: Actor, at: datetime) -> str:
        acting, given = self.subject, dict(self.cleaned_data)
        made = acceptance_limits.perform(
            standing=acting.standing,
            acceptance=acting.acceptance,
            opened=acting.opened,
            at=at,
            seen_version=given.pop("version"),
            **{name: value for name, value in given.items() if value not in (None, "", [])},
        )
        child = made.detail.get("child")
        if child:
            return f"Reported: {child} is the maintenance release. What was approved stays as it is."
        state = Acceptance.State(made.to_state).label
        return f"{acting.acceptance.code}: done. It is {state}."


def _suggestions(acting: Acting) -> dict[str, Any]:
    """What is known already of a move's inputs."""
    acceptance, code = acting.acceptance, acting.opened.move.code
    if code == "amend":
        return {name: getattr(acceptance, name) for name in ("fcc_id", "certificate", "tacs")}
    if code == "start_tests":
        return {"hardware_revision": acceptance.hardware_revision}
    return {}


class RequestForm(ActForm):
    """The shop itself asks a host for acceptance."""

    submit_label = "Ask for acceptance"

    host = forms.ModelChoiceField(
        HostCarrier.objects.order_by("name"), widget=UnfoldAdminSelectWidget, label="Host carrier"
    )
    variant = forms.ModelChoiceField(
        Variant.objects.select_related("device").order_by("device__brand", "model_number"),
        widget=UnfoldAdminSelect2Widget,
        help_text="The exact model number",
    )
    request_type = forms.ChoiceField(
        choices=[choice for choice in Acceptance.RequestType.choices if choice[0] != "mr"],
        widget=UnfoldAdminSelectWidget,
    )
    hardware_revision = _line(64, required=False)
    software_from = _line(64, required=False, help_text="The first version it is asked for; empty: any")
    software_until = _line(64, required=False, help_text="The first version after it; empty: all later ones")
    tacs = TacsField(
        label="TACs", required=False, help_text="Type allocation codes, 8 digits each, with commas between"
    )
    fcc_id = _line(32, required=False, label="FCC ID", help_text="Empty: that of the variant's record")
    certificate = _line(64, required=False, label="PTCRB or GCF number")

    def run(self, *, by: Actor, at: datetime) -> str:
        shop = Standing(by, (Party.SPONSOR,))
        made = acceptance_limits.request(standing=shop, **self.cleaned_data, at=at)
        return f"{made.code} is asked for. Nothing may be sold on it before {made.host} approves it."


# --- results and files --------------------------------------------------------------------------------------


class ResultLine(forms.Form):
    """One line of the table of results; empty lines are left alone."""

    phase = forms.ChoiceField(
        choices=[("", "-"), *AcceptanceResult.Phase.choices], required=False, widget=UnfoldAdminSelectWidget
    )
    case = _line(64, required=False)
    outcome = forms.ChoiceField(
        choices=[("", "-"), *AcceptanceResult.Outcome.choices], required=False, widget=UnfoldAdminSelectWidget
    )
    note = _line(500, required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if any(cleaned.values()):
            for name in ("phase", "case", "outcome"):
                if not cleaned.get(name) and name not in self.errors:
                    self.add_error(name, "Needed where the line says something.")
        return cleaned


ResultLines = forms.formset_factory(ResultLine, extra=LINES, max_num=LINES, absolute_max=LINES)


class PasteForm(ActForm):
    """The table below the lines: pasted from a spreadsheet or a file."""

    # The build that the page showed: the results are those of that one.
    build_no = VersionField()

    pasted = forms.CharField(
        required=False,
        max_length=200_000,
        label="Or paste a table",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        help_text=(
            "Columns phase, case, outcome and perhaps note, with commas, semicolons or tabs between, e.g. "
            f"field,F-17,passed. Phases: {', '.join(AcceptanceResult.Phase.values)}. "
            f"Outcomes: {', '.join(AcceptanceResult.Outcome.values)}"
        ),
    )

    def look_again(self, build_no: int) -> None:
        """Another build is in the lab by now. What was typed stays, and may be sent for that one if it is meant."""
        data: Any = self.data
        data = data.copy()
        data["build_no"] = str(build_no)
        self.data = data

    def clean_pasted(self) -> list[Result]:
        try:
            return read_pasted(self.cleaned_data["pasted"], field="pasted")
        except InvalidFact as error:
            raise forms.ValidationError(error.message) from error


def results_of(lines: Any, paste: PasteForm) -> list[Result]:
    """Of both, the lines first; both must have been found sound."""
    typed = [Result(**line.cleaned_data) for line in lines if line.cleaned_data.get("phase")]
    return [*typed, *paste.cleaned_data["pasted"]]


class FileForm(ActForm):
    submit_label = "Add the file"
    # The acceptance, and who adds to it.
    subject: tuple[Acceptance, Standing, Doer]

    kind = forms.ChoiceField(choices=AcceptanceFile.Kind.choices, widget=UnfoldAdminSelectWidget)
    content = forms.FileField(
        label="File",
        widget=UnfoldAdminFileFieldWidget,
        max_length=150,
        help_text=f"At most 5 MB: {TYPES}. What it is its content says, not its name",
    )

    def clean_content(self) -> Any:
        file: Any = self.cleaned_data["content"]
        if (file.size or 0) > MAX_BYTES:
            raise forms.ValidationError(f"The file has {file.size:,} bytes; at most {MAX_BYTES:,} are taken.")
        return file

    def run(self, *, by: Actor, at: datetime) -> str:
        acceptance, standing, doer = self.subject
        file: Any = self.cleaned_data["content"]
        kept, _ = acceptance_limits.attach(
            standing=standing,
            acceptance=acceptance,
            kind=self.cleaned_data["kind"],
            name=file.name or "",
            content=file.read(),
            by=doer,
            at=at,
        )
        return f"{kept.name} is kept with {acceptance.code}."


# --- what takes authority away ------------------------------------------------------------------------------


class _ByMove(WithdrawalForm):
    """A withdrawal that is a move of an acceptance. A host carrier speaks for itself: its word is its own, now."""

    document = _line(
        500, help_text="The paper that says so, e.g. number and date of the carrier's letter", required=False
    )
    phase_out_until = _field(Input.PHASE_OUT_UNTIL, is_needed=False)
    seen_version = VersionField()

    def __init__(self, *args: Any, subject: Acting, initial: Any = None, **kwargs: Any) -> None:
        self.acting = subject
        acceptance, party = subject.acceptance, subject.opened.party
        known = {"seen_version": acceptance.version, "reason_code": self._usual_reason(), **(initial or {})}
        super().__init__(*args, subject=acceptance.approval, initial=known, **kwargs)
        move = subject.opened.move
        if Input.PHASE_OUT_UNTIL not in move.takes_of(party):
            del self.fields["phase_out_until"]
        # It becomes the reason of the move: not a note of the desk's own.
        self.fields["note"].label = "Reason in words"
        self.fields["note"].help_text = "It is kept, and the other side reads it"
        if party == Party.SHOP:
            self.fields["document"].required = True
        else:
            del self.fields["document"]
            self._speak_for(acceptance.host)

    def _usual_reason(self) -> str:
        return acceptance_withdrawals.REASONS[self.acting.opened.move.code]

    def _speak_for(self, host: HostCarrier) -> None:
        now = clock.now().replace(microsecond=0)
        for name, value in (("requested_by", host.name), ("word_received_at", now)):
            field = self.fields[name]
            # Nobody else's word, whatever the browser sends.
            field.disabled, field.initial, field.widget = True, value, forms.HiddenInput()
            self.initial[name] = value
        choices: Any = self.fields["reason_code"]
        choices.choices = [choice for choice in self.reasons if choice[0] in _OF_CARRIERS]

    def clean_document(self) -> str:
        document: str = self.cleaned_data["document"].strip()
        return document

    def says(self) -> tuple[tuple[str, str], ...]:
        document = self.cleaned_data.get("document")
        return (*super().says(), *((("Document", document),) if document else ()))

    def following(self) -> Following:
        cleaned = getattr(self, "cleaned_data", {})
        return acceptance_withdrawals.following_of(
            self.acting.doer,
            document=cleaned.get("document", ""),
            phase_out_until=cleaned.get("phase_out_until"),
            seen_version=cleaned.get("seen_version", self.initial.get("seen_version")),
        )

    def is_imaginable(self) -> bool:
        return "document" not in self.errors or len(self.errors) == 1

    def look_again(self) -> None:
        """Shows the page as it is now: what was typed stays, what was seen is what stands there."""
        version = (
            Acceptance.objects.filter(pk=self.acting.acceptance.pk).values_list("version", flat=True).get()
        )
        data: Any = self.data
        data = data.copy()
        data["seen_version"] = str(version)
        self.data = data


class SuspendForm(_ByMove):
    reasons = reasons_without({"MANUFACTURER_DISCLAIMS", "AGREEMENT_TERMINATED", "VENDOR_CONDUCT"})
    noun = "suspension"
    record_label = "Record the suspension"
    can_wait = False
    field_order = ("requested_by", "reason_code", "word_received_at", "document", "note")

    def change(self, *, by: Actor, at: datetime) -> PlaceHold:
        note = getattr(self, "cleaned_data", {}).get("note", "")
        return acceptance_withdrawals.suspension(
            self.acting.acceptance,
            following=self.following(),
            reason=note,
            reason_code=self.chosen_reason(),
        )


class RevokeForm(_ByMove, RevokeApprovalForm):
    field_order = (
        "requested_by",
        "reason_code",
        "word_received_at",
        "document",
        "note",
        "effective_at",
        "phase_out_until",
    )

    def change(self, *, by: Actor, at: datetime) -> RevokeApproval:
        return acceptance_withdrawals.revocation(
            self.acting.acceptance, following=self.following(), reason_code=self.chosen_reason()
        )

    def says(self) -> tuple[tuple[str, str], ...]:
        until = self.cleaned_data.get("phase_out_until")
        said = (("Existing lines work until (UTC)", f"{until:%Y-%m-%d %H:%M:%S}"),) if until else ()
        return (*super().says(), *said)


class RestrictForm(_ByMove, RestrictApprovalForm):
    field_order = (*RestrictApprovalForm.term_fields,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["limits"].help_text = _LIMITS_HELP
        for name in self.term_fields[1:]:
            self.fields[name].help_text = "Earlier or less than it is, never more; empty: as it is"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        kept = {name: getattr(self.version, name) for name in self.term_fields[1:]}
        return cleaned | {name: value for name, value in kept.items() if not cleaned.get(name)}

    def change(self, *, by: Actor, at: datetime) -> Change:
        terms = {name: self.cleaned_data[name] for name in self.term_fields}
        return RestrictApproval(
            fact_id=self.subject.pk,
            reason_code=self.chosen_reason(),
            following=self.following(),
            **terms,
        )


DOOR_FORMS: dict[str, type[_ByMove]] = {
    "suspend": SuspendForm,
    "revoke": RevokeForm,
    "restrict": RestrictForm,
}
