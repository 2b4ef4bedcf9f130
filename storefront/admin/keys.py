"""Keys of the vendors' API. The secret is on one page, once."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelect2Widget, UnfoldAdminTextInputWidget

from authorization import clock
from authorization.actors import Actor
from catalog.models import Organization
from storefront import accounts
from storefront.accounts import InvalidKey
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
from storefront.models import VendorKey
from storefront.requests import actor_of

USUAL_LIFE = timedelta(days=365)
LONGEST_LIFE = timedelta(days=5 * 365)


class KeyForm(ActForm):
    submit_label = "Make the key"

    vendor = forms.ModelChoiceField(
        Organization.objects.filter(kind=Organization.Kind.VENDOR).order_by("name"),
        widget=UnfoldAdminSelect2Widget,
    )
    label = forms.CharField(
        max_length=64, widget=UnfoldAdminTextInputWidget, help_text="Where it is used, e.g. stock system"
    )
    expires_at = InstantField(label="Expires (UTC)")

    def clean_expires_at(self) -> datetime:
        expires_at: datetime = self.cleaned_data["expires_at"]
        latest = clock.now() + LONGEST_LIFE
        if expires_at > latest:
            raise forms.ValidationError(
                f"A key lives at most five years; take a date until {latest:%Y-%m-%d}."
            )
        return expires_at


class RevokeForm(ActForm):
    submit_label = "Revoke the key"
    subject: VendorKey

    def run(self, *, by: Actor, at: datetime) -> str:
        accounts.revoke_vendor_key(key=self.subject, by=by, at=at)
        return f"{self.subject} is revoked: the next request with it is refused."


@admin.register(VendorKey)
class VendorKeyAdmin(ReadOnlyAdmin):
    secret_fields = ("key_hash",)
    list_display = ("vendor", "label", "shown_as", "show_state", "created_at", "expires_at", "last_used_at")
    list_filter = ("vendor", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("vendor",)
    search_fields = ("vendor__name", "label", "prefix", "last_four")
    ordering = ("-id",)
    fields = (
        "vendor",
        "label",
        "prefix",
        "last_four",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    )
    actions_row = actions_detail = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("storefront.add_vendorkey"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return self.make_key(request)

    def make_key(self, request: HttpRequest) -> HttpResponse:
        require(request, "storefront.add_vendorkey")
        at = clock.now()
        form = KeyForm(request.POST or None, initial={"expires_at": at + USUAL_LIFE})
        if request.method == "POST" and form.is_valid():
            try:
                key, secret = accounts.make_vendor_key(**form.cleaned_data, by=actor_of(request), at=at)
            except InvalidKey as error:
                form.refuse(error.field, error.message)
            else:
                # The desk's pages are never cached, so the Back button does not bring it back either.
                return desk_page(
                    self,
                    request,
                    "desk/key.html",
                    title="The key",
                    key=key,
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

    @display(description="key")
    def shown_as(self, key: VendorKey) -> str:
        return f"{key.prefix}…{key.last_four}"

    @display(description="state", label={"in force": "success", "revoked": "danger", "expired": "warning"})
    def show_state(self, key: VendorKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at <= clock.now() else "in force"

    def fits(self, action: str, row: VendorKey) -> bool:
        return row.revoked_at is None

    @action(description="Revoke", icon="block", permissions=["act"], variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            RevokeForm,
            title=f"Revoke key {key}",
            permission="storefront.change_vendorkey",
            subject=key,
            intro="The next request with this key is refused. This cannot be undone; make a new key instead.",
        )
