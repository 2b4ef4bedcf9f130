"""What shoppers send, parsed and checked. Each message says how to put it right."""

from uuid import uuid4

from django import forms

from carriers.models import HostCarrier
from catalog.models import Condition, Device, ListingHost, Organization, Variant
from storefront.assortment import shop_offers
from storefront.models import PrepaidPlan
from storefront.payments import CardDetails, PaymentRefused
from storefront.shop.selectors import Filters

MOST_PER_LINE = 10


class FilterForm(forms.Form):
    """The list's filters. What is not on sale now still filters: a shared address keeps its meaning."""

    q = forms.CharField(
        max_length=100,
        required=False,
        error_messages={"max_length": "Search for less: a brand, a name or a model number. All are shown."},
    )
    maker = forms.ModelChoiceField(
        Organization.objects.filter(kind=Organization.Kind.MANUFACTURER),
        to_field_name="slug",
        required=False,
        error_messages={"invalid_choice": "We do not know this maker; phones of all makers are shown."},
    )
    host = forms.ModelChoiceField(
        HostCarrier.objects.all(),
        to_field_name="code",
        required=False,
        error_messages={"invalid_choice": "We do not know this network; phones for all networks are shown."},
    )
    condition = forms.ChoiceField(
        choices=Condition.choices,
        required=False,
        error_messages={"invalid_choice": "A phone is new, refurbished or used; all conditions are shown."},
    )

    def filters(self) -> Filters:
        """Of what could be read; the rest is said in `errors`."""
        self.full_clean()
        return Filters(
            maker=self.cleaned_data.get("maker"),
            host=self.cleaned_data.get("host"),
            condition=self.cleaned_data.get("condition", ""),
            words=" ".join(self.cleaned_data.get("q", "").split()),
        )


class AddToCartForm(forms.Form):
    offer = forms.ModelChoiceField(
        ListingHost.objects.none(),
        error_messages={
            "required": "Choose an offer on the phone's page.",
            "invalid_choice": "This offer does not exist. Choose one on the phone's page.",
        },
    )
    plan = forms.ModelChoiceField(
        PrepaidPlan.objects.filter(is_on_sale=True).select_related("hosting"),
        to_field_name="slug",
        required=False,
        error_messages={"invalid_choice": "This plan is not on sale. Choose another one, or the phone only."},
    )
    quantity = forms.IntegerField(
        min_value=1,
        max_value=MOST_PER_LINE,
        error_messages={
            "required": "Say how many you want.",
            "invalid": "Give the number of phones in digits.",
            "min_value": "Take at least one.",
            "max_value": f"Take at most {MOST_PER_LINE} at a time.",
        },
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        offers = shop_offers().select_related(
            "host", "listing__vendor", "listing__variant__device__manufacturer"
        )
        self.fields["offer"].queryset = offers  # type: ignore[attr-defined]


class UnkeptInput(forms.TextInput):
    """Never sends back what was typed: a card number belongs in no page, and in no cache of one."""

    def format_value(self, value: object) -> None:
        return None


_LONGEST_EMAIL = 254
_EMAIL_ERRORS = {
    "required": "Enter an e-mail address, like name@example.com.",
    "invalid": "Enter an e-mail address in the form name@example.com.",
    "max_length": f"The e-mail address is too long: take at most {_LONGEST_EMAIL} characters.",
}
_OPEN_AGAIN = "Open the checkout again from your cart."


class CheckoutForm(forms.Form):
    # One form is one attempt to pay: sending it twice makes one order.
    checkout_key = forms.UUIDField(
        label="Checkout",
        initial=uuid4,
        widget=forms.HiddenInput,
        error_messages={"required": _OPEN_AGAIN, "invalid": _OPEN_AGAIN},
    )
    # What the page showed as to be bought, and its price: what is charged is that or nothing.
    seen_lines = forms.RegexField(
        r"\A[0-9]{1,18}(,[0-9]{1,18}){0,999}\Z",
        label="Checkout",
        required=False,
        widget=forms.HiddenInput,
        error_messages={"invalid": _OPEN_AGAIN},
    )
    seen_total = forms.DecimalField(
        label="Checkout",
        max_digits=12,
        decimal_places=2,
        required=False,
        widget=forms.HiddenInput,
        error_messages=dict.fromkeys(
            ("invalid", "max_digits", "max_decimal_places", "max_whole_digits"), _OPEN_AGAIN
        ),
    )
    buyer_name = forms.CharField(
        label="Full name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": "Enter the name of the person who receives the parcel."},
    )
    buyer_email = forms.EmailField(
        label="E-mail",
        max_length=_LONGEST_EMAIL,
        help_text="For the receipt, and for word if anything about your order changes.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        error_messages=_EMAIL_ERRORS,
    )
    ship_to = forms.CharField(
        label="Delivery address",
        max_length=500,
        widget=forms.Textarea(attrs={"autocomplete": "street-address", "rows": 3}),
        error_messages={
            "required": "Enter the street, the town and the ZIP code.",
            "max_length": "The address is too long for a label: take at most 500 characters.",
        },
    )
    card_number = forms.CharField(
        label="Card number",
        help_text="Spaces and dashes are fine. We pass it on to the payment provider and do not keep it.",
        max_length=40,
        widget=UnkeptInput(attrs={"autocomplete": "cc-number", "inputmode": "numeric"}),
        error_messages={"required": "Enter the number on the front of your card."},
    )

    def clean_card_number(self) -> CardDetails:
        card = CardDetails(self.cleaned_data["card_number"])
        try:
            card.check()
        except PaymentRefused as refusal:
            raise forms.ValidationError(refusal.message) from refusal
        return card

    def clean_seen_lines(self) -> list[int] | None:
        seen = self.cleaned_data["seen_lines"]
        return [int(line_id) for line_id in seen.split(",")] if seen else None

    def for_another_try(self, *, keep_key: bool) -> "CheckoutForm":
        """The same entries in a new attempt, without the card.

        The old key is kept only where nobody knows how the attempt ended: the provider must see it again then,
        so that money is not reserved twice.
        """
        kept = {name: self.cleaned_data[name] for name in ("buyer_name", "buyer_email", "ship_to")}
        if keep_key:
            kept["checkout_key"] = self.cleaned_data["checkout_key"]
        return CheckoutForm(initial=kept)


class ChangeLineForm(forms.Form):
    quantity = AddToCartForm.base_fields["quantity"]


class WaitForm(forms.Form):
    """Tell me when it is back: one model of one device, one address."""

    variant = forms.ModelChoiceField(
        Variant.objects.none(),
        label="Model",
        to_field_name="slug",
        empty_label=None,
        error_messages={
            "required": "Choose the model that you wait for.",
            "invalid_choice": "This model is not one of this phone's. Choose one from the list.",
        },
    )
    email = forms.EmailField(
        label="E-mail",
        max_length=_LONGEST_EMAIL,
        help_text="We use it for this and nothing else: one mail to confirm, one when it is back. Then we forget it.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        error_messages=_EMAIL_ERRORS,
    )

    def __init__(self, *args: object, device: Device, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        variants = device.variants.select_related("device").order_by("model_number")
        self.fields["variant"].queryset = variants  # type: ignore[attr-defined]
        self.fields["variant"].label_from_instance = lambda variant: f"Model {variant.model_number}"  # type: ignore[attr-defined]
