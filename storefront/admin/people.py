"""Staff accounts and their groups (see storefront.roles), and the people of host carriers."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelect2Widget, UnfoldAdminSelectWidget

from authorization.actors import Actor
from carriers.models import HostCarrier
from storefront import accounts
from storefront.acceptance_access import DUTIES
from storefront.accounts import InvalidMember
from storefront.admin.desk import ActForm, ReadOnlyAdmin, act_page, subject_or_404
from storefront.admin.keys import DutiesField, say_duties
from storefront.models import CarrierMember
from storefront.roles import CARRIER

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(StockUserAdmin, ModelAdmin):  # type: ignore[type-arg]  # generic in its stubs only
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(StockGroupAdmin, ModelAdmin):
    pass


class AssignForm(ActForm):
    submit_label = "Assign"

    user = forms.ModelChoiceField(
        User.objects.none(),
        widget=UnfoldAdminSelect2Widget,
        help_text="An account without rights of the shop's staff; an administrator makes it under Users",
    )
    host = forms.ModelChoiceField(
        HostCarrier.objects.order_by("name"), widget=UnfoldAdminSelectWidget, label="Host carrier"
    )
    duties = DutiesField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        users: Any = self.fields["user"]
        users.queryset = (
            User.objects.filter(is_active=True, is_superuser=False, user_permissions__isnull=True)
            .exclude(groups__in=Group.objects.exclude(name=CARRIER))
            .order_by("username")
        )

    def run(self, *, by: Actor, at: datetime) -> str:
        member = accounts.assign_member(**self.cleaned_data, by=by, at=at)
        return f"{member.user} works for {member.host} now, and sees its technical acceptances only."


class DutiesForm(ActForm):
    submit_label = "Change the duties"
    subject: CarrierMember

    duties = DutiesField()

    def run(self, *, by: Actor, at: datetime) -> str:
        member = self.subject
        accounts.assign_member(user=member.user, host=member.host, **self.cleaned_data, by=by, at=at)
        return f"{member.user} has other duties for {member.host} from the next request on."


class DismissForm(ActForm):
    submit_label = "End the access"
    subject: CarrierMember

    def run(self, *, by: Actor, at: datetime) -> str:
        accounts.dismiss_member(member=self.subject, by=by, at=at)
        return f"{self.subject.user} sees nothing of {self.subject.host} from the next request on."


@admin.register(CarrierMember)
class CarrierMemberAdmin(ReadOnlyAdmin):
    list_display = ("user", "host", "duties")
    list_filter = ("host",)
    list_select_related = ("user", "host")
    search_fields = ("user__username", "host__name")
    ordering = ("host__name", "user__username")
    fields = readonly_fields = ("user", "host", "duties")
    secret_fields = ("password",)
    actions_row = actions_detail = ("change_duties", "dismiss")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("storefront.add_carriermember"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return act_page(
            self,
            request,
            AssignForm,
            title="Assign somebody to a host carrier",
            permission="storefront.add_carriermember",
            intro=(
                "Logged in at the desk, they see the technical acceptances of this host carrier and make the moves "
                "of their duties. Nothing else of the shop is open to them."
            ),
            refusals=(InvalidMember,),
        )

    @display(description="duties")
    def duties(self, member: CarrierMember) -> str:
        return say_duties(member)

    @action(description="Change the duties", icon="edit", permissions=["act"])
    def change_duties(self, request: HttpRequest, object_id: str) -> HttpResponse:
        member = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            DutiesForm,
            title=f"Duties of {member}",
            permission="storefront.change_carriermember",
            subject=member,
            initial={"duties": [field for _, field, _ in DUTIES if getattr(member, field)]},
            refusals=(InvalidMember,),
        )

    @action(
        description="End the access", icon="person_remove", permissions=["act"], variant=ActionVariant.DANGER
    )
    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponse:
        member = subject_or_404(self, request, object_id)
        return act_page(
            self,
            request,
            DismissForm,
            title=f"End the access of {member}",
            permission="storefront.change_carriermember",
            subject=member,
            intro="What they did stays on record. The account itself stays, and opens nothing.",
            is_danger=True,
        )
