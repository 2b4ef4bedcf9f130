"""Ask the engine: one question at two pairs of moments, answered rule by rule side by side. It writes nothing.

`?decision=<id>` asks the question of a recorded decision again: as known when it was made, and as known now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from authorization import clock, decisions, explanations, revisions
from authorization.decisions import Answer, DecisionUnavailable, InvalidQuestion
from authorization.models import Decision, Fact
from authorization.rules import Question
from carriers.models import HostCarrier
from carriers.verdict_words import describe
from catalog.models import Channel, Condition, Listing, Organization, Variant
from catalog.selectors import Judged, judged_for
from storefront.admin.desk import InstantField, change_url, desk_page, require, site

PERMISSION = "authorization.view_decision"
SIDES = ("left", "right")
QUESTION = ("vendor", "variant", "host", "territory", "channel", "condition", "software", "listing")

# Buttons that set both pairs of moments, from the moment in the left column.
PRESETS = {
    "now": "Now, as we know it now",
    "hindsight": "Then: as we knew it then, and as we know it now",
    "then_and_now": "Then as we knew it then, and now",
}


class AskForm(forms.Form):
    """The question, and for each column when it is asked about and as known when."""

    vendor = forms.ModelChoiceField(
        Organization.objects.filter(kind=Organization.Kind.VENDOR).order_by("name"),
        to_field_name="slug",
        widget=UnfoldAdminSelect2Widget,
        error_messages={"required": "Choose who sells it.", "invalid_choice": "There is no such vendor."},
    )
    variant = forms.ModelChoiceField(
        Variant.objects.select_related("device").order_by(
            "device__brand", "device__marketing_name", "model_number"
        ),
        to_field_name="slug",
        widget=UnfoldAdminSelect2Widget,
        error_messages={"required": "Choose the exact phone.", "invalid_choice": "There is no such variant."},
    )
    host = forms.ModelChoiceField(
        HostCarrier.objects.order_by("name"),
        to_field_name="code",
        widget=UnfoldAdminSelectWidget,
        error_messages={"required": "Choose the host carrier.", "invalid_choice": "There is no such host."},
    )
    territory = forms.RegexField(
        r"^[A-Za-z]{2}$",
        widget=UnfoldAdminTextInputWidget,
        help_text="ISO 3166-1 code, e.g. US",
        error_messages={"invalid": "Write the two letters of a territory, e.g. US."},
    )
    channel = forms.ChoiceField(choices=Channel.choices, widget=UnfoldAdminSelectWidget)
    condition = forms.ChoiceField(choices=Condition.choices, widget=UnfoldAdminSelectWidget)
    software = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="What it ships with; empty: not stated",
    )
    listing = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2**63 - 1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Number of the listing, for holds that name one; empty: none",
    )
    left_valid_at = InstantField(required=False, label="Valid at (UTC)", help_text="Empty: now")
    left_known_at = InstantField(
        required=False, label="As known at (UTC)", help_text="Empty: as we know it now"
    )
    left_revision = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**63 - 1,
        widget=UnfoldAdminIntegerFieldWidget,
        label="Or as known at revision",
    )
    right_valid_at = InstantField(required=False, label="Valid at (UTC)", help_text="Empty: now")
    right_known_at = InstantField(
        required=False, label="As known at (UTC)", help_text="Empty: as we know it now"
    )
    right_revision = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**63 - 1,
        widget=UnfoldAdminIntegerFieldWidget,
        label="Or as known at revision",
    )
    decision = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, recorded: Question | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of a recorded decision whose fields nobody edited: its very question, whatever the catalog says by now.
        self.recorded = recorded

    def clean_territory(self) -> str:
        return str(self.cleaned_data["territory"]).upper()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        for side in SIDES:
            if cleaned.get(f"{side}_known_at") and cleaned.get(f"{side}_revision") is not None:
                self.add_error(f"{side}_revision", "Give the instant or the revision, not both.")
        if (listing_id := cleaned.get("listing")) and self.recorded is None:
            listing = Listing.objects.filter(pk=listing_id).first()
            asked = cleaned.get("vendor"), cleaned.get("variant")
            if listing is None:
                self.add_error(
                    "listing", f"There is no listing {listing_id}; leave it empty, or take its number."
                )
            elif None not in asked and (listing.vendor, listing.variant) != asked:
                self.add_error("listing", f"{listing} is of another vendor or variant; ask about those.")
        return cleaned

    def question(self) -> Question:
        if self.recorded is not None:
            return self.recorded
        asked = decisions.question_for(
            **{name: self.cleaned_data[name] for name in QUESTION if name != "listing"},
        )
        return asked._replace(listing_id=self.cleaned_data["listing"])


@dataclass(frozen=True)
class Column:
    """One answer with the words for its pair of moments."""

    heading: str
    answer: Answer
    tree: explanations.Tree
    # What the radio check reads, whether the policy demands anything of it or not.
    radio: Judged | None

    @property
    def radio_words(self) -> str:
        if self.radio is None:
            return "The radio of the variant, or the network of the host, is not on record for this moment"
        return describe(self.radio.verdict)


def ask(request: HttpRequest) -> HttpResponse:
    require(request, PERMISSION)
    decision, complaint = _decision(request.GET.get("decision", ""))
    data = _filled(request.GET, decision)
    if complaint and "vendor" not in data:
        # Nothing was asked yet: no field is to blame.
        return _page(request, AskForm(initial=_defaults()), complaint=complaint)
    if not data:
        return _page(request, AskForm(initial=_defaults()))
    refusal = _apply_preset(data)
    form = AskForm(data, recorded=_recorded_question(data, decision))
    if refusal:
        form.add_error("left_valid_at", refusal)
    if complaint:
        form.add_error(None, complaint)
    columns: list[Column] = []
    is_answered = True
    if form.is_valid():
        try:
            columns = _columns(form, decision)
        except DecisionUnavailable as error:
            form.add_error(None, f"{error} Ask again.")
            is_answered = False
    page = _page(request, form, columns, decision)
    if not is_answered:
        page.status_code = 503
    return page


def _page(
    request: HttpRequest,
    form: AskForm,
    columns: Sequence[Column] = (),
    decision: Decision | None = None,
    complaint: str = "",
) -> HttpResponse:
    rows: list[dict[str, Any]] = []
    if columns:
        rows = explanations.compare(columns[0].tree, columns[1].tree)
        for row in rows:
            for side in SIDES:
                row[side] = _with_links(row[side], request)
    return desk_page(
        site.get_model_admin(Decision),
        request,
        "desk/ask.html",
        title="Ask the engine",
        form=form,
        question_fields=[form[name] for name in QUESTION],
        sides=[
            (title, [form[f"{side}_{name}"] for name in ("valid_at", "known_at", "revision")])
            for side, title in zip(SIDES, ("Left column", "Right column"), strict=True)
        ],
        presets=PRESETS.items(),
        columns=columns,
        rows=rows,
        differing=sum(row["differs"] for row in rows),
        same_moments=bool(columns) and columns[0].heading == columns[1].heading,
        recorded=_recorded(decision, columns) if decision is not None and columns else None,
        complaint=complaint,
        ask_url=reverse("ask_the_engine"),
    )


# --- input ------------------------------------------------------------------------------------------------------


def _defaults() -> dict[str, str]:
    return {"territory": settings.SHOP_TERRITORY, "channel": Channel.WEB, "condition": Condition.NEW}


def _decision(text: str) -> tuple[Decision | None, str]:
    """The recorded decision of an address, and what is wrong with it."""
    if not text:
        return None, ""
    try:
        found = Decision.objects.filter(pk=UUID(text)).first()
    except ValueError:
        found = None
    if found is None:
        return None, "There is no such decision; take the link from an order or from the list of decisions."
    return found, ""


def _filled(asked: QueryDict, decision: Decision | None) -> QueryDict:
    """What was asked; of a decision that is asked about anew, its own question at its own moments."""
    data = asked.copy()
    if decision is not None and "vendor" not in data:
        for name, value in _fields_of(decision).items():
            data[name] = value
        for side in SIDES:
            data[f"{side}_valid_at"] = _written(decision.valid_at)
        data["left_revision"] = str(decision.revision)
    if data:
        for name, value in _defaults().items():
            data.setdefault(name, value)
    return data


def _fields_of(decision: Decision) -> dict[str, str]:
    """The question of a recorded decision, as the form's fields say it."""
    question = decision.question
    return {
        "vendor": _text(Organization.objects.filter(pk=question["vendor_id"]), "slug"),
        "variant": _text(Variant.objects.filter(pk=question["variant_id"]), "slug"),
        "host": _text(HostCarrier.objects.filter(pk=question["host_id"]), "code"),
        **{name: question[name] for name in ("territory", "channel", "condition")},
        # What was decided before the question knew of software was decided for none stated.
        "software": question.get("software", ""),
        "listing": str(question.get("listing_id") or ""),
    }


def _recorded_question(data: QueryDict, decision: Decision | None) -> Question | None:
    """The question that was decided, while the fields still say it; None once one was edited."""
    if decision is None:
        return None
    is_edited = any(data.get(name, "").strip() != value for name, value in _fields_of(decision).items())
    return None if is_edited else Question(**decision.question)


def _text(rows: Any, column: str) -> str:
    return rows.values_list(column, flat=True).first() or ""


def _written(instant: datetime) -> str:
    """As the browser's picker writes it: to the second."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}"


def _apply_preset(data: QueryDict) -> str:
    """Set the moments as the pressed button says; returns what is missing for it."""
    preset = (data.pop("moments", None) or [""])[-1]
    if preset not in PRESETS:
        return ""
    then, known = data.get("left_valid_at", ""), data.get("left_revision", "")
    if preset == "now":
        moments = {}
    elif not then:
        return "Say which moment is meant; the buttons take it from here."
    else:
        # A revision says more exactly than the instant what was known.
        moments = {"left_valid_at": then} | ({"left_revision": known} if known else {"left_known_at": then})
        if preset == "hindsight":
            moments["right_valid_at"] = then
    for side in SIDES:
        for name in ("valid_at", "known_at", "revision"):
            data[f"{side}_{name}"] = moments.get(f"{side}_{name}", "")
    return ""


# --- answers ----------------------------------------------------------------------------------------------------


def _columns(form: AskForm, decision: Decision | None) -> list[Column]:
    """Both answers, or none and the refusal at its field. Raises DecisionUnavailable."""
    question, side = form.question(), SIDES[0]
    columns: list[Column] = []
    try:
        newest, now = decisions.present(clock.now())
        for side in SIDES:
            columns += [_column(form, side, question, decision, newest, now)]
    except InvalidQuestion as refused:
        field = f"{side}_revision" if refused.field == "known_at" else refused.field
        form.add_error(field if field in form.fields else None, refused.message)
        return []
    return columns


def _column(
    form: AskForm,
    side: str,
    question: Question,
    decision: Decision | None,
    newest: int,
    now: datetime,
) -> Column:
    said = form.cleaned_data
    valid_at, known_at, revision = (said[f"{side}_{name}"] for name in ("valid_at", "known_at", "revision"))
    at = valid_at or now
    revisions.refuse_endless(at, field=f"{side}_valid_at")
    if decision is not None and valid_at == decision.valid_at.replace(microsecond=0):
        # The picker writes whole seconds; the decision was made at this very instant.
        at = decision.valid_at
    known = newest if revision is None else revision
    if known_at is not None:
        revisions.refuse_future(known_at, at=now, field=f"{side}_known_at")
        known = revisions.revision_at(known_at)
    if form.recorded is None:
        answer = decisions.decide(question, at=at, known_at=known)
    else:
        # It was checked when it was decided, against the catalog of then.
        setting = decisions.read_setting(at=at, known_at=known)
        answer = decisions.answers_in(setting, [question], at=at)[0]
    when = f"{at:%Y-%m-%d %H:%M:%S} UTC" if valid_at else "now"
    if revision is None and known_at is None:
        knowing = "as we know it now"
    elif known_at is not None:
        knowing = f"as we knew it on {known_at:%Y-%m-%d %H:%M:%S} UTC"
    else:
        recorded_at = revisions.recorded_at(known)
        knowing = (
            f"as we knew it on {recorded_at:%Y-%m-%d %H:%M:%S} UTC"
            if recorded_at
            else "before anything was recorded"
        )
    return Column(
        f"Valid {when if valid_at is None else f'at {when}'}, {knowing}",
        answer,
        explanations.explain(answer),
        _judged(question, at=answer.valid_at, known_at=answer.revision),
    )


def _judged(question: Question, *, at: datetime, known_at: int) -> Judged | None:
    variants = Variant.objects.filter(pk=question.variant_id)
    hosts = HostCarrier.objects.filter(pk=question.host_id)
    found = judged_for(variants, hosts, at=at, known_at=known_at)
    return found.get((question.variant_id, question.host_id))


def _with_links(check: explanations.Check, request: HttpRequest) -> explanations.Check:
    """The check with the addresses of the records that it cites, for who may read them."""
    may_read = request.user.has_perm("authorization.view_fact")
    cited = [
        item | {"url": reverse("admin:authorization_fact_change", args=[item["fact_id"]])}
        if may_read and item["kind"] in Fact.Kind.values
        else item
        for item in check["evidence"]
    ]
    return check | {"evidence": cited, "until": _instant(check["until"])}


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _recorded(decision: Decision, columns: Sequence[Column]) -> dict[str, Any]:
    """The decision as it stands in the record, and whether the engine says the same of it today."""
    again = next(
        (
            column.answer
            for column in columns
            if (column.answer.valid_at, column.answer.revision) == (decision.valid_at, decision.revision)
        ),
        None,
    )
    is_same = None
    if again is not None:
        is_same = _gist(decision.outcome, decision.evidence, decision.reasons) == _gist(
            again.outcome,
            [item.as_json() for item in again.evidence],
            [reason.as_json() for reason in again.reasons],
        )
    return {
        "decision": decision,
        "url": change_url(decision),
        "evidence": [explanations.say_evidence(item) for item in decision.evidence],
        "reasons": [reason["code"] for reason in decision.reasons],
        "is_same": is_same,
    }


def _gist(outcome: str, evidence: list[Any], reasons: list[Any]) -> tuple[Any, ...]:
    return (
        outcome,
        sorted((item["kind"], item["fact_id"], item["version_no"]) for item in evidence),
        [reason["code"] for reason in reasons],
    )
