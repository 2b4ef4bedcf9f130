"""Keys of the API, of vendors and of host carriers. The secret is on one page, once."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from authorization import clock
from authorization.actors import Actor
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront import accounts
from storefront.acceptance_access import DUTIES
from storefront.accounts import Duties, InvalidKey, TooManyKeys
from storefront.admin.desk import (
    ActForm,
    InstantField,
    ReadOnlyAdmin,
    act_page,
    changelist_url,
    desk_page,
    require,
    subject_or_404,
)
from storefront.models import CarrierDuties, CarrierKey, OrganizationKey
from storefront.requests import actor_of
from storefront.scopes import CARRIER, SCOPES, Scope, scopes_of


class DutiesField(forms.MultipleChoiceField):
    """What somebody does in the name of a host carrier."""

    def __init__(self) -> None:
        super().__init__(
            choices=[(field, party.label) for _, field, party in DUTIES],
            widget=UnfoldAdminCheckboxSelectMultipleWidget,
            help_text="Each duty makes the moves of its own party, and no others",
        )

    def clean(self, value: Any) -> Duties:
        return Duties(**dict.fromkeys(super().clean(value), True))


def say_duties(row: CarrierDuties) -> str:
    return ", ".join(name for name, field, _ in DUTIES if getattr(row, field))


class ScopesField(forms.MultipleChoiceField):
    """What the key opens; None where nothing is ticked, which gives the usual ones of its kind."""

    def __init__(self, scopes: Iterable[Scope]) -> None:
        super().__init__(
            choices=[(scope.name, f"{scope.name}: {scope.words}") for scope in scopes],
            required=False,
            widget=UnfoldAdminCheckboxSelectMultipleWidget,
            help_text="None ticked: the usual ones of its kind, which are all but those that have to be asked for",
        )

    def clean(self, value: Any) -> list[str] | None:
        return super().clean(value) or None


class KeyForm(ActForm):
    """What keys of all kinds are asked; each kind adds whose it is."""

    submit_label = "Make the key"
    field_order = ("organization", "is_test", "host", "duties", "label", "expires_at", "scopes")

    label = forms.CharField(
        max_length=64, widget=UnfoldAdminTextInputWidget, help_text="Where it is used, e.g. stock system"
    )
    expires_at = InstantField(label="Expires (UTC)")

    def make(self, *, by: Actor, at: datetime) -> tuple[Any, str]:
        """The key and its secret. Raises InvalidKey, TooManyKeys."""
        raise NotImplementedError


class OrganizationKeyForm(KeyForm):
    organization = forms.ModelChoiceField(
        Organization.objects.order_by("name"),
        widget=UnfoldAdminSelect2Widget,
        help_text="A vendor, a distributor or a manufacturer: its kind decides what the key may open",
    )
    is_test = forms.BooleanField(
        label="Test mode",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="It opens the organization's test store, and nothing of the shop",
    )
    scopes = ScopesField(
        scope for scope in SCOPES.values() if set(scope.kinds) & set(Organization.Kind.values)
    )
    representative = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Whom you have verified to speak for the organization; wanted for takedowns:write",
    )

    def make(self, *, by: Actor, at: datetime) -> tuple[OrganizationKey, str]:
        return accounts.make_organization_key(**self.cleaned_data, by=by, at=at)


class CarrierKeyForm(KeyForm):
    host = forms.ModelChoiceField(
        HostCarrier.objects.order_by("name"), widget=UnfoldAdminSelectWidget, label="Host carrier"
    )
    duties = DutiesField()
    scopes = ScopesField(SCOPES[name] for name in scopes_of(CARRIER))

    def make(self, *, by: Actor, at: datetime) -> tuple[CarrierKey, str]:
        return accounts.make_carrier_key(**self.cleaned_data, by=by, at=at)


class RevokeForm(ActForm):
    submit_label = "Revoke the key"
    subject: OrganizationKey | CarrierKey

    def run(self, *, by: Actor, at: datetime) -> str:
        if isinstance(self.subject, CarrierKey):
            accounts.revoke_carrier_key(key=self.subject, by=by, at=at)
        else:
            accounts.revoke_organization_key(key=self.subject, by=by, at=at)
        return f"{self.subject} is revoked: the next request with it is refused."


class KeyAdmin(ReadOnlyAdmin):
    """What the screens of all keys share. `owner` is the field that says whose they are."""

    owner = ""
    form_class: type[KeyForm]
    # Parts that only one kind has, behind the owner.
    own_columns: tuple[str, ...] = ()
    secret_fields = ("key_hash",)
    ordering = ("-id",)
    actions_row = actions_detail = ("revoke",)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        columns = ("label", "shown_as", "show_state", "created_at", "expires_at", "last_used_at")
        return (self.owner, *self.own_columns, *columns)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        columns = ("label", "prefix", "last_four", "created_at", "expires_at", "revoked_at", "last_used_at")
        return (self.owner, *self.own_columns, *columns, "opens", "successor")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(self._permission("add")))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        require(request, self._permission("add"))
        at = clock.now()
        form = self.form_class(request.POST or None, initial={"expires_at": at + accounts.USUAL_LIFE})
        if request.method == "POST" and form.is_valid():
            try:
                key, secret = form.make(by=actor_of(request), at=at)
            except InvalidKey as error:
                form.refuse(error.field, error.message)
            except TooManyKeys as error:
                form.refuse("", str(error))
            else:
                # The desk's pages are never cached, so the Back button does not bring it back either.
                return desk_page(
                    self,
                    request,
                    "desk/key.html",
                    title="The key",
                    key=key,
                    whose=getattr(key, self.owner),
                    secret=secret,
                    done_url=changelist_url(self),
                )
        return desk_page(
            self,
            request,
            "desk/act.html",
            title="Make a key",
            form=form,
            intro="The key is shown once, on the next page. Only its hash is kept.",
            cancel_url=changelist_url(self),
        )

    def _permission(self, act: str) -> str:
        return f"{self.opts.app_label}.{act}_{self.opts.model_name}"

    @display(description="key")
    def shown_as(self, key: OrganizationKey | CarrierKey) -> str:
        return f"{key.prefix}…{key.last_four}"

    @display(description="scopes")
    def opens(self, key: OrganizationKey | CarrierKey) -> str:
        return ", ".join(key.scopes) or "nothing"

    @display(description="state", label={"in force": "success", "revoked": "danger", "expired": "warning"})
    def show_state(self, key: OrganizationKey | CarrierKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at <= clock.now() else "in force"

    def fits(self, action: str, row: OrganizationKey | CarrierKey) -> bool:
        return row.revoked_at is None

    @action(description="Revoke", icon="block", permissions=["act"], variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            RevokeForm,
            title=f"Revoke key {key}",
            permission=self._permission("change"),
            subject=key,
            intro="The next request with this key is refused. This cannot be undone; make a new key instead.",
        )


@admin.register(OrganizationKey)
class OrganizationKeyAdmin(KeyAdmin):
    owner = "organization"
    own_columns = ("kind", "is_test", "representative")
    readonly_fields = ("kind", "opens")
    form_class = OrganizationKeyForm
    list_filter = (
        "organization__kind",
        "is_test",
        "organization",
        ("revoked_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("organization",)
    search_fields = ("organization__name", "representative", "label", "prefix", "last_four")

    @display(description="kind", ordering="organization__kind")
    def kind(self, key: OrganizationKey) -> str:
        return key.organization.kind


@admin.register(CarrierKey)
class CarrierKeyAdmin(KeyAdmin):
    owner = "host"
    own_columns = ("duties",)
    readonly_fields = ("duties", "opens")
    form_class = CarrierKeyForm
    list_filter = ("host", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("host",)
    search_fields = ("host__name", "label", "prefix", "last_four")

    @display(description="duties")
    def duties(self, key: CarrierKey) -> str:
        return say_duties(key)
