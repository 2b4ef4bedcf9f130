"""The forms of a withdrawal: the word behind it, and for a hold what it stops."""

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

from authorization import agreements, clock
from authorization.holds import SUSPENDABLE
from authorization.models import Fact, HoldTarget, HoldVersion, ScopeTerm
from authorization.revocations import (
    WITHDRAWAL_REASONS,
    Change,
    NarrowAgreement,
    PlaceHold,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
)
from authorization.rules import ALL
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Device, Listing, Organization, Variant
from storefront.admin.desk import ANY, InstantField, say_end, say_list

_NOT_OF_AGREEMENTS = {"CARRIER_TESTS_PENDING", "CARRIER_WITHDRAWS"}
_NOT_OF_APPROVALS = {"MANUFACTURER_DISCLAIMS", "AGREEMENT_TERMINATED", "VENDOR_CONDUCT"}
_NOT_OF_EQUIPMENT = _NOT_OF_AGREEMENTS | _NOT_OF_APPROVALS


def _reasons(*, without: set[str]) -> list[tuple[str, str]]:
    return [(code, f"{title} ({code})") for code, title in WITHDRAWAL_REASONS.items() if code not in without]


class WithdrawalForm(forms.Form):
    """The word behind a withdrawal. `seen` is the impact that the last page showed."""

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
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    reasons: list[tuple[str, str]] = []
    # What confirming it records, and the words for it where no offer falls.
    noun = "revocation"
    record_label = "Record the revocation"
    # What it does is typed in, not given: the first page asks before it can show an impact.
    asks_first = False
    hint = ""

    def __init__(self, *args: Any, fact: Fact | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fact = fact
        self.fields["reason_code"].choices = self.reasons  # type: ignore[attr-defined]

    def clean_word_received_at(self) -> datetime:
        value: datetime = self.cleaned_data["word_received_at"]
        if value > clock.now():
            raise forms.ValidationError("The word cannot have been received in the future; correct the time.")
        return value

    def change(self) -> Change:
        raise NotImplementedError

    def is_imaginable(self) -> bool:
        """Whether there is a change to look at, though the rest of the form may be wrong."""
        return True

    def says(self) -> tuple[tuple[str, str], ...]:
        """What was chosen beside the word, for the page that asks to confirm it."""
        return ()

    def chosen_reason(self) -> str:
        """The reason on the page, also before the rest of the form is valid."""
        return str(self.data.get("reason_code") or self.initial.get("reason_code") or self.reasons[0][0])


class RevokeAgreementForm(WithdrawalForm):
    reasons = _reasons(without=_NOT_OF_AGREEMENTS)

    def change(self) -> Change:
        return RevokeAgreement(self.fact.pk, self.chosen_reason())  # type: ignore[union-attr]


class NarrowAgreementForm(WithdrawalForm):
    """What an agreement is still to cover. It opens on what it covers now; a term left as it is stays."""

    reasons = _reasons(without=_NOT_OF_AGREEMENTS)
    noun = "narrower agreement"
    record_label = "Record the narrower agreement"
    asks_first = True
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
        self, *args: Any, fact: Fact | None = None, initial: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if fact is None:
            raise TypeError("An agreement to narrow is needed.")
        self.version = agreements.current(fact)
        self.scope: dict[str, list[str]] = {dimension: [] for dimension in ScopeTerm.Dimension.values}
        self.scope |= agreements.scope_of(self.version)
        now = {
            "territories": ", ".join(self.scope["territory"]),
            "channels": self.scope["channel"],
            "conditions": self.scope["condition"],
            "may_sublicense": self.version.may_sublicense,
        }
        super().__init__(*args, fact=fact, initial=now | (initial or {}), **kwargs)
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

    def is_imaginable(self) -> bool:
        return not any(name in self.errors for name in self.term_fields)

    def change(self) -> NarrowAgreement:
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
        change = self.change()
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
    reasons = _reasons(without=_NOT_OF_APPROVALS)

    def change(self) -> Change:
        return RevokeApproval(self.fact.pk, self.chosen_reason())  # type: ignore[union-attr]


class RevokeEquipmentForm(WithdrawalForm):
    reasons = _reasons(without=_NOT_OF_EQUIPMENT)

    def change(self) -> Change:
        return RevokeEquipment(self.fact.pk, self.chosen_reason())  # type: ignore[union-attr]


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

    reasons = _reasons(without=set())
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
        return not self.has_target_errors() and bool(self.change().targets)

    def change(self) -> PlaceHold:
        cleaned = self.cleaned_data
        targets = self.targets() + [("fact", str(pk)) for pk in cleaned["facts"]]
        return PlaceHold(
            code=cleaned.get("code", ""),
            placed_by=cleaned.get("requested_by", ""),
            reason_code=self.chosen_reason(),
            note=cleaned.get("note", ""),
            targets=tuple(sorted(targets)),
            reach=cleaned["reach"],
        )


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
