"""The forms of a withdrawal: the word behind it, and for a hold what it stops."""

from datetime import datetime
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from authorization import clock
from authorization.holds import SUSPENDABLE
from authorization.models import Fact, HoldTarget, HoldVersion
from authorization.revocations import (
    WITHDRAWAL_REASONS,
    Change,
    PlaceHold,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
)
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Device, Listing, Organization, Variant
from storefront.admin.desk import InstantField

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

    def chosen_reason(self) -> str:
        """The reason on the page, also before the rest of the form is valid."""
        return str(self.data.get("reason_code") or self.initial.get("reason_code") or self.reasons[0][0])


class RevokeAgreementForm(WithdrawalForm):
    reasons = _reasons(without=_NOT_OF_AGREEMENTS)

    def change(self) -> Change:
        return RevokeAgreement(self.fact.pk, self.chosen_reason())  # type: ignore[union-attr]


class RevokeApprovalForm(WithdrawalForm):
    reasons = _reasons(without=_NOT_OF_APPROVALS)

    def change(self) -> Change:
        return RevokeApproval(self.fact.pk, self.chosen_reason())  # type: ignore[union-attr]


class RevokeEquipmentForm(WithdrawalForm):
    reasons = _reasons(without=_NOT_OF_EQUIPMENT)

    def change(self) -> Change:
        return RevokeEquipment(self.fact.pk, self.chosen_reason())  # type: ignore[union-attr]


class HoldForm(WithdrawalForm):
    """A hold also says what it stops. Values of one field are alternatives, the fields hold together."""

    reasons = _reasons(without=set())
    noun = "hold"
    record_label = "Place the hold"
    target_fields = (
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
        "facts",
    )

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
    facts = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label="Suspend agreements, approvals or equipment authorizations",
        help_text="Their codes with commas between. Offers that other evidence covers stay on sale.",
    )

    field_order = ("code", "reach", *target_fields)

    def clean_reach(self) -> str:
        return self.cleaned_data["reach"] or HoldVersion.Reach.SALE

    def clean_territories(self) -> list[str]:
        return [part.upper() for part in _parts(self.cleaned_data["territories"])]

    def clean_facts(self) -> list[int]:
        codes = _parts(self.cleaned_data["facts"])
        found = dict(Fact.objects.filter(code__in=codes, kind__in=SUSPENDABLE).values_list("code", "pk"))
        if missing := [code for code in codes if code not in found]:
            raise forms.ValidationError(
                f"There is no agreement, approval or equipment authorization called {', '.join(missing)}. "
                "Look it up in its list."
            )
        return list(found.values())

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
            self.add_error(None, "A hold without targets stops nothing; name at least one below.")
        return cleaned

    def has_target_errors(self) -> bool:
        return any(name in self.errors for name in self.target_fields)

    def change(self) -> PlaceHold:
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
        targets += [("listing", str(pk)) for pk in cleaned["listings"]]
        targets += [("fact", str(pk)) for pk in cleaned["facts"]]
        return PlaceHold(
            code=cleaned.get("code", ""),
            placed_by=cleaned.get("requested_by", ""),
            reason_code=self.chosen_reason(),
            note=cleaned.get("note", ""),
            targets=tuple(sorted(targets)),
            reach=cleaned["reach"],
        )


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
