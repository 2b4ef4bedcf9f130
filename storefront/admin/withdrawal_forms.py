"""The forms of a withdrawal: the word behind it, what is taken away, and from when on."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.db.models import CharField, QuerySet
from django.db.models.functions import Cast
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from authorization import agreements, approvals, clock, policies
from authorization.actors import Actor
from authorization.holds import SUSPENDABLE
from authorization.models import (
    Assurance,
    Fact,
    HoldTarget,
    HoldVersion,
    PolicyVersion,
    Revocation,
    ScopeTerm,
)
from authorization.policies import PolicyTerms
from authorization.revocations import (
    WITHDRAWAL_REASONS,
    Change,
    EndAffiliation,
    EndExemption,
    NarrowAgreement,
    PlaceHold,
    RestrictApproval,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
    SetPolicy,
)
from authorization.rules import ALL
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Device, Listing, Organization, Variant
from storefront.admin.desk import ANY, InstantField, say_end, say_list

_NOT_OF_AGREEMENTS = {"CARRIER_TESTS_PENDING", "CARRIER_WITHDRAWS"}
_NOT_OF_APPROVALS = {
    "MANUFACTURER_DISCLAIMS",
    "AGREEMENT_TERMINATED",
    "GRANTEE_WITHDRAWS",
    "VENDOR_CONDUCT",
}
_NOT_OF_EQUIPMENT = _NOT_OF_AGREEMENTS | _NOT_OF_APPROVALS
# Fields that say on whose word and why; the others say what, and from when on.
_WORD = ("requested_by", "reason_code", "word_received_at", "note", "seen")


def reasons_without(without: set[str]) -> list[tuple[str, str]]:
    return [(code, f"{title} ({code})") for code, title in WITHDRAWAL_REASONS.items() if code not in without]


class WithdrawalForm(forms.Form):
    """The word behind a withdrawal. `seen` is the impact that the last page showed; `subject` what it is about."""

    requested_by = forms.CharField(
        max_length=150,
        widget=UnfoldAdminTextInputWidget,
        label="On whose word",
        help_text="The party: a manufacturer, a host carrier, the shop. The proof of removal goes to it.",
    )
    reason_code = forms.ChoiceField(widget=UnfoldAdminSelectWidget, label="Reason")
    word_received_at = InstantField(
        label="When the word was received (UTC)", help_text="Not when you act on it"
    )
    note = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="What was said, by whom, by which way; kept in the ledger",
    )
    effective_at = InstantField(
        required=False,
        label="Takes effect at (UTC)",
        help_text="Empty: at once. Of a later time: until then all stays on sale, and it can be cancelled",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    reasons: list[tuple[str, str]] = []
    # What confirming it records, and the words for it where no offer falls.
    noun = "revocation"
    record_label = "Record the revocation"
    # What cannot be sold any more, as "nothing of ... can be sold".
    said_of = "it"
    # What it does is typed in, not given: the first page asks before it can show an impact.
    asks_first = False
    # May be decided now for a time to come.
    can_wait = True
    hint = ""

    def __init__(self, *args: Any, subject: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subject = subject
        self.fields["reason_code"].choices = self.reasons  # type: ignore[attr-defined]
        if not self.can_wait:
            del self.fields["effective_at"]

    def clean_word_received_at(self) -> datetime | None:
        value: datetime | None = self.cleaned_data["word_received_at"]
        if value is not None and value > clock.now():
            raise forms.ValidationError("The word cannot have been received in the future; correct the time.")
        return value

    def clean_effective_at(self) -> datetime | None:
        value: datetime | None = self.cleaned_data["effective_at"]
        if value is not None and value <= clock.now():
            raise forms.ValidationError("That time is past; leave it empty for at once, or take a later one.")
        return value

    def change(self, *, by: Actor, at: datetime) -> Change:
        raise NotImplementedError

    def was_recorded(self, revocation: Revocation) -> None:
        """Called once it is done."""

    def look_again(self) -> None:
        """Called when what it is about has moved: the page that comes back shows it as it is now."""

    def takes_effect_at(self) -> datetime | None:
        """When it is to take effect, if not at once."""
        value: datetime | None = getattr(self, "cleaned_data", {}).get("effective_at")
        return value

    def asked(self) -> str:
        """What is asked for, apart from the word behind it: a short hash."""
        asked = {name: str(self[name].value() or "") for name in self.fields if name not in _WORD}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def is_imaginable(self) -> bool:
        """Whether there is a change to look at, though the rest of the form may be wrong."""
        return not any(name not in _WORD for name in self.errors)

    def says(self) -> tuple[tuple[str, str], ...]:
        """What was chosen beside the word, for the page that asks to confirm it."""
        later = self.takes_effect_at()
        return () if later is None else (("Takes effect (UTC)", f"{later:%Y-%m-%d %H:%M:%S}"),)

    def named_attributes(self) -> list[tuple[str, str]]:
        """Attributes of variants that it names, as targets of a hold."""
        return []

    def chosen_reason(self) -> str:
        """The reason on the page, also before the rest of the form is valid."""
        return str(self.data.get("reason_code") or self.initial.get("reason_code") or self.reasons[0][0])


class RevokeAgreementForm(WithdrawalForm):
    reasons = reasons_without(_NOT_OF_AGREEMENTS)

    def change(self, *, by: Actor, at: datetime) -> Change:
        return RevokeAgreement(self.subject.pk, self.chosen_reason())


class NarrowAgreementForm(WithdrawalForm):
    """What an agreement is still to cover. It opens on what it covers now; a term left as it is stays."""

    reasons = reasons_without(_NOT_OF_AGREEMENTS)
    noun = "narrower agreement"
    record_label = "Record the narrower agreement"
    said_of = "what it covers no longer"
    asks_first = True
    # Its own end says from when on.
    can_wait = False
    hint = "The form opens on what it covers now. Take away what it is to cover no longer; nothing can be added here."
    term_fields = ("models", "territories", "channels", "conditions", "valid_until", "may_sublicense")

    models = forms.ModelMultipleChoiceField(
        Variant.objects.none(), required=False, widget=UnfoldAdminSelect2MultipleWidget
    )
    territories = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        label="Territories that stay",
        help_text="ISO 3166-1 codes with commas between",
    )
    channels = forms.MultipleChoiceField(
        widget=UnfoldAdminCheckboxSelectMultipleWidget, label="Channels that stay"
    )
    conditions = forms.MultipleChoiceField(
        widget=UnfoldAdminCheckboxSelectMultipleWidget, label="Conditions that stay"
    )
    valid_until = InstantField(
        required=False,
        label="Earlier end (UTC)",
    )
    may_sublicense = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget, label="The grantee may still grant it on to others"
    )

    field_order = term_fields

    def __init__(
        self, *args: Any, subject: Fact, initial: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self.version = agreements.current(subject)
        self.scope: dict[str, list[str]] = {dimension: [] for dimension in ScopeTerm.Dimension.values}
        self.scope |= agreements.scope_of(self.version)
        now = {
            "territories": ", ".join(self.scope["territory"]),
            "channels": self.scope["channel"],
            "conditions": self.scope["condition"],
            "may_sublicense": self.version.may_sublicense,
        }
        super().__init__(*args, subject=subject, initial=now | (initial or {}), **kwargs)
        ends = say_end(self.version.valid_until)
        self.fields[
            "valid_until"
        ].help_text = f"Now: {ends}. The end itself no longer counts; empty: it stays as it is"
        self.fields["territories"].required = bool(self.scope["territory"])
        models: Any = self.fields["models"]
        models.queryset = self._models()
        if self.covers_all_models:
            models.label, models.help_text = "Models that stay", "Empty: all models stay, also those to come"
        else:
            models.label, models.help_text = "Models to take out", "Empty: all of them stay"
        for name, dimension, choices in (
            ("channels", "channel", Channel.choices),
            ("conditions", "condition", Condition.choices),
        ):
            has_all = ALL in self.scope[dimension]
            choosable: Any = self.fields[name]
            choosable.choices = [ANY] * has_all + [
                choice for choice in choices if has_all or choice[0] in self.scope[dimension]
            ]
            # One that was recorded without any covers nothing, and cannot be asked for some.
            choosable.required = bool(self.scope[dimension])
        if not self.version.may_sublicense:
            del self.fields["may_sublicense"]

    @property
    def covers_all_models(self) -> bool:
        return ALL in self.scope["model"]

    def clean_territories(self) -> list[str]:
        return self._one_or_all([part.upper() for part in _parts(self.cleaned_data["territories"])])

    def clean_channels(self) -> list[str]:
        return self._one_or_all(self.cleaned_data["channels"])

    def clean_conditions(self) -> list[str]:
        return self._one_or_all(self.cleaned_data["conditions"])

    def change(self, *, by: Actor, at: datetime) -> NarrowAgreement:
        return self._narrower()

    def _narrower(self) -> NarrowAgreement:
        cleaned, version = self.cleaned_data, self.version
        chosen = {variant.pk for variant in cleaned["models"]}
        models = None
        if chosen and self.covers_all_models:
            models = tuple(sorted(chosen))
        elif chosen:
            models = tuple(sorted({int(value) for value in self.scope["model"]} - chosen))
        may_sublicense = cleaned.get("may_sublicense", False)
        return NarrowAgreement(
            fact_id=version.head_id,
            reason_code=self.chosen_reason(),
            models=models,
            territories=self._unless_same("territory", cleaned["territories"]),
            channels=self._unless_same("channel", cleaned["channels"]),
            conditions=self._unless_same("condition", cleaned["conditions"]),
            valid_until=cleaned["valid_until"],
            may_sublicense=None if may_sublicense == version.may_sublicense else may_sublicense,
        )

    def says(self) -> tuple[tuple[str, str], ...]:
        """The terms that change, each as it is and as it would be."""
        change = self._narrower()
        said: list[tuple[str, str]] = []
        if change.models is not None:
            named = say_list([variant.model_number for variant in self.cleaned_data["models"]])
            said.append(("Models", f"all → {named}" if self.covers_all_models else f"without {named}"))
        for label, dimension, values in (
            ("Territories", "territory", change.territories),
            ("Channels", "channel", change.channels),
            ("Conditions", "condition", change.conditions),
        ):
            if values is not None:
                said.append((label, f"{_say_terms(self.scope[dimension])} → {_say_terms(values)}"))
        if change.valid_until is not None:
            ends = f"{say_end(self.version.valid_until)} → {say_end(change.valid_until)}"
            said.append(("Ends (UTC)", f"{ends}. What rests on it alone falls then, not now."))
        if change.may_sublicense is not None:
            said.append(("May be granted on", "yes → no"))
        return tuple(said)

    def _models(self) -> QuerySet[Variant]:
        variants = Variant.objects.select_related("device").order_by("device__brand", "model_number")
        if self.covers_all_models:
            return variants
        # A term is text, and there may be thousands: they are compared in the database.
        covered = ScopeTerm.objects.filter(version=self.version, dimension=ScopeTerm.Dimension.MODEL)
        return variants.annotate(as_text=Cast("pk", CharField())).filter(as_text__in=covered.values("value"))

    def _one_or_all(self, values: list[str]) -> list[str]:
        if ALL in values and len(values) > 1:
            raise forms.ValidationError("Name all, or the ones that stay: one of the two.")
        return values

    def _unless_same(self, dimension: str, values: list[str]) -> tuple[str, ...] | None:
        wanted = tuple(sorted(set(values)))
        return None if wanted == tuple(sorted(self.scope[dimension])) else wanted


class RevokeApprovalForm(WithdrawalForm):
    reasons = reasons_without(_NOT_OF_APPROVALS)

    def change(self, *, by: Actor, at: datetime) -> Change:
        return RevokeApproval(self.subject.pk, self.chosen_reason())


class RestrictApprovalForm(WithdrawalForm):
    """Limits on an approval in force. It opens on what it says now."""

    reasons = reasons_without(_NOT_OF_APPROVALS)
    noun = "limits"
    record_label = "Record the limits"
    said_of = "what it approves no longer"
    asks_first = True
    can_wait = False
    hint = "It stays an approval, with limits. Software that you leave out is no longer approved from now on."

    limits = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="What is limited, in plain words, e.g. LTE B12 off",
    )
    waived_until = InstantField(
        required=False,
        label="Waived until (UTC)",
        help_text="When the waiver runs out, and the approval with it; empty: it rests on none",
    )
    software_from = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first software version that is approved; empty: any",
    )
    software_until = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="The first one that is no longer; empty: all later ones are",
    )

    term_fields = ("limits", "waived_until", "software_from", "software_until")
    field_order = term_fields

    def __init__(
        self, *args: Any, subject: Fact, initial: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self.version = approvals.current(subject)
        now = {name: getattr(self.version, name) for name in self.term_fields}
        super().__init__(*args, subject=subject, initial=now | (initial or {}), **kwargs)

    def change(self, *, by: Actor, at: datetime) -> Change:
        terms = {name: self.cleaned_data[name] for name in self.term_fields}
        return RestrictApproval(fact_id=self.subject.pk, reason_code=self.chosen_reason(), **terms)

    def says(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (str(self.fields[name].label or name.replace("_", " ").capitalize()), f"{now} → {then}")
            for name in self.term_fields
            if (now := _say_term(getattr(self.version, name))) != (then := _say_term(self.cleaned_data[name]))
        )


class RevokeEquipmentForm(WithdrawalForm):
    reasons = reasons_without(_NOT_OF_EQUIPMENT)

    def change(self, *, by: Actor, at: datetime) -> Change:
        return RevokeEquipment(self.subject.pk, self.chosen_reason())


class EndAffiliationForm(WithdrawalForm):
    reasons = reasons_without(_NOT_OF_AGREEMENTS)
    noun = "end of the affiliation"
    record_label = "End the affiliation"
    said_of = "what had leave through it alone"

    def change(self, *, by: Actor, at: datetime) -> Change:
        return EndAffiliation(self.subject.pk, self.chosen_reason())


class EndExemptionForm(WithdrawalForm):
    """`subject`: the hold, and the number of its exemption."""

    reasons = reasons_without(set())
    noun = "end of the exemption"
    record_label = "End the exemption"
    said_of = "what it let through"

    def change(self, *, by: Actor, at: datetime) -> Change:
        fact, part = self.subject
        return EndExemption(fact.pk, part, self.chosen_reason())


class PolicyForm(WithdrawalForm):
    """Which grounds the shop enforces from now on."""

    reasons = reasons_without(_NOT_OF_AGREEMENTS | {"MANUFACTURER_DISCLAIMS", "AGREEMENT_TERMINATED"})
    noun = "policy"
    record_label = "Set the policy"
    said_of = "what it forbids"
    asks_first = True
    can_wait = False
    hint = "The form opens on the policy in force."

    name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget, help_text="Shoppers may read it"
    )
    territory = forms.CharField(
        required=False,
        max_length=2,
        initial=ALL,
        widget=UnfoldAdminTextInputWidget,
        help_text="ISO 3166-1 code, or * for all; one for a territory stands before the one for all",
    )
    is_agreement_enforced = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
        label="A vendor needs agreements that lead to the manufacturer",
    )
    minimum_assurance = forms.ChoiceField(
        choices=Assurance.choices,
        initial=Assurance.VERIFIED,
        widget=UnfoldAdminSelectWidget,
        help_text="What an agreement must at least be",
    )
    is_carrier_approval_enforced = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
        label="A phone needs the host carrier's approval",
    )
    is_conditional_approval_enough = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
        label="An approval with limits is enough",
    )
    is_equipment_authorization_enforced = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        label="A phone needs the regulator's equipment authorization",
    )
    minimum_radio = forms.ChoiceField(
        choices=PolicyVersion.Radio.choices,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="What a phone must at least do on the host's network",
    )

    term_fields = tuple(PolicyTerms.__annotations__)
    field_order = term_fields

    def clean_territory(self) -> str:
        return self.cleaned_data["territory"].upper() or ALL

    def change(self, *, by: Actor, at: datetime) -> Change:
        terms = {name: self.cleaned_data[name] for name in self.term_fields}
        return SetPolicy(reason_code=self.chosen_reason(), **terms)

    def says(self) -> tuple[tuple[str, str], ...]:
        """All of it, and what the policy before said of each where that differs."""
        before = policies.current_policy(clock.now(), self.cleaned_data["territory"])
        said = []
        for name in self.term_fields:
            now = _say_term(self.cleaned_data[name])
            was = now if before is None else _say_term(getattr(before, name))
            label = str(self.fields[name].label or name.replace("_", " ").capitalize())
            said.append((label, now if was == now else f"{was} → {now}"))
        return tuple(said)


class TargetsForm(forms.Form):
    """Goods, by what they are. Values of one field are alternatives, the fields hold together."""

    target_fields: tuple[str, ...] = (
        "manufacturers",
        "vendors",
        "devices",
        "variants",
        "hosts",
        "territories",
        "channels",
        "conditions",
        "attributes",
        "listings",
    )
    # What is said when none of them is filled in.
    no_targets = ""

    manufacturers = forms.ModelMultipleChoiceField(
        Organization.objects.filter(kind=Organization.Kind.MANUFACTURER).order_by("name"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
    )
    vendors = forms.ModelMultipleChoiceField(
        Organization.objects.filter(kind=Organization.Kind.VENDOR).order_by("name"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
    )
    devices = forms.ModelMultipleChoiceField(
        Device.objects.order_by("brand", "marketing_name"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
    )
    variants = forms.ModelMultipleChoiceField(
        Variant.objects.select_related("device").order_by("device__brand", "model_number"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text="Exact model numbers",
    )
    hosts = forms.ModelMultipleChoiceField(
        HostCarrier.objects.order_by("name"),
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        label="Host carriers",
    )
    territories = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget, help_text="ISO 3166-1 codes with commas between"
    )
    channels = forms.MultipleChoiceField(
        choices=Channel.choices, required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    conditions = forms.MultipleChoiceField(
        choices=Condition.choices, required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    attributes = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Of the variant, as name=value with commas between, e.g. chipset_vendor=Qualcomm",
    )
    listings = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="SKUs with commas between; vendor-slug/SKU where two vendors have the same",
    )

    def clean_territories(self) -> list[str]:
        return [part.upper() for part in _parts(self.cleaned_data["territories"])]

    def clean_attributes(self) -> list[tuple[str, str]]:
        named = []
        for part in _parts(self.cleaned_data["attributes"]):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not (name and equals and value):
                raise forms.ValidationError(f"Write {part} as name=value, e.g. chipset_vendor=Qualcomm.")
            named.append((f"{HoldTarget.ATTRIBUTE}{name}", value))
        return named

    def clean_listings(self) -> list[int]:
        return [_listing_id(part) for part in _parts(self.cleaned_data["listings"])]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not any(cleaned.get(name) for name in self.target_fields) and not self.has_target_errors():
            self.add_error(None, self.no_targets)
        return cleaned

    def has_target_errors(self) -> bool:
        return any(name in self.errors for name in self.target_fields)

    def targets(self) -> list[tuple[str, str]]:
        cleaned = self.cleaned_data
        rows = (
            ("manufacturer", "manufacturers"),
            ("vendor", "vendors"),
            ("device", "devices"),
            ("variant", "variants"),
            ("host", "hosts"),
        )
        targets = [(dimension, str(row.pk)) for dimension, name in rows for row in cleaned[name]]
        targets += [("territory", code) for code in cleaned["territories"]]
        targets += [("channel", code) for code in cleaned["channels"]]
        targets += [("condition", code) for code in cleaned["conditions"]]
        targets += cleaned["attributes"]
        return targets + [("listing", str(pk)) for pk in cleaned["listings"]]


class HoldForm(TargetsForm, WithdrawalForm):
    """A hold also says what it stops."""

    reasons = reasons_without(set())
    noun = "hold"
    record_label = "Place the hold"
    asks_first = True
    target_fields = (*TargetsForm.target_fields, "facts")
    no_targets = "A hold without targets stops nothing; name at least one below."

    code = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="What people call it; cannot be changed later",
    )
    reach = forms.ChoiceField(
        choices=HoldVersion.Reach.choices,
        initial=HoldVersion.Reach.SALE,
        required=False,
        widget=UnfoldAdminSelectWidget,
        label="What it stops",
        help_text="The sale itself; or, for a regulator's list, what equipment authorizations are worth",
    )
    facts = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label="Suspend agreements, approvals or equipment authorizations",
        help_text="Their codes with commas between. Offers that other evidence covers stay on sale.",
    )

    field_order = ("code", "reach", *target_fields)

    def clean_reach(self) -> str:
        return self.cleaned_data["reach"] or HoldVersion.Reach.SALE

    def clean_facts(self) -> list[int]:
        codes = _parts(self.cleaned_data["facts"])
        found = dict(Fact.objects.filter(code__in=codes, kind__in=SUSPENDABLE).values_list("code", "pk"))
        if missing := [code for code in codes if code not in found]:
            raise forms.ValidationError(
                f"There is no agreement, approval or equipment authorization called {', '.join(missing)}. "
                "Look it up in its list."
            )
        return list(found.values())

    def is_imaginable(self) -> bool:
        is_wrong = self.has_target_errors() or "effective_at" in self.errors
        return not is_wrong and bool(self._all_targets())

    def named_attributes(self) -> list[tuple[str, str]]:
        return getattr(self, "cleaned_data", {}).get("attributes") or []

    def _all_targets(self) -> list[tuple[str, str]]:
        return self.targets() + [("fact", str(pk)) for pk in self.cleaned_data["facts"]]

    def change(self, *, by: Actor, at: datetime) -> PlaceHold:
        cleaned = self.cleaned_data
        targets = self._all_targets()
        return PlaceHold(
            code=cleaned.get("code", ""),
            placed_by=cleaned.get("requested_by", ""),
            reason_code=self.chosen_reason(),
            note=cleaned.get("note", ""),
            targets=tuple(sorted(targets)),
            reach=cleaned["reach"],
        )


def _say_term(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return say_end(value)
    return str(value or "none")


def _say_terms(values: Iterable[str]) -> str:
    return "all" if ALL in values else ", ".join(values)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _listing_id(named: str) -> int:
    vendor, slash, sku = named.rpartition("/")
    found = Listing.objects.filter(sku=sku, **({"vendor__slug": vendor} if slash else {}))
    ids = list(found.values_list("pk", flat=True)[:2])
    if not ids:
        raise forms.ValidationError(f"There is no listing {named}. Write the SKU, or vendor-slug/SKU.")
    if len(ids) > 1:
        raise forms.ValidationError(f"Several vendors have a listing {named}. Write vendor-slug/SKU.")
    return ids[0]
