"""Screens of what decisions stand on besides authority: their rows are corrected through the front door."""

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from authorization import clock, groundwork
from authorization.actors import Actor
from storefront.admin.desk import ActForm, DeskAdmin, act_page, change_url, subject_or_404
from storefront.admin.front_door import MAY_WITHDRAW, withdraw
from storefront.admin.groundwork_forms import CorrectionForm
from storefront.admin.provenance import Provenance, say_checked


class CheckedForm(ActForm):
    submit_label = "Checked: still right"

    note = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        label="What you compared it with",
        help_text="E.g. the operator's page of today; kept in the ledger",
    )

    def run(self, *, by: Actor, at: datetime) -> str:
        groundwork.mark_checked(record=self.subject, note=self.cleaned_data["note"], by=by, at=at)
        return f"{self.subject} is marked as checked. Nothing of what is recorded was changed."


class ProvenanceAdmin(DeskAdmin):
    """A screen that says of each value where it comes from, and how sure it is."""

    change_form_outer_before_template = "desk/provenance.html"

    def provenance_of(self, row: Any, *, at: datetime) -> Provenance | None:
        """None where nothing is recorded yet."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        shown = None
        if row is not None and self.has_view_permission(request, row):
            shown = self.provenance_of(row, at=clock.now())
        said = {"provenance": shown, "may_check": self.may_check(request)}
        page: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **said}
        )
        return page

    def may_check(self, request: HttpRequest) -> bool:
        return False


class CorrectableAdmin(ProvenanceAdmin):
    """Who keeps the rows may correct what is recorded of them, and so may who takes authority away."""

    def has_correct_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(request.user.has_perm(self._permission(request)))

    def may_check(self, request: HttpRequest) -> bool:
        return self.has_correct_permission(request)

    @action(description="Checked: still right", icon="fact_check", permissions=["correct"])
    def mark_checked(self, request: HttpRequest, object_id: str) -> HttpResponse:
        record = subject_or_404(self, request, object_id)
        checked, _ = say_checked(record, at=clock.now())
        return act_page(
            self,
            request,
            CheckedForm,
            title=f"Checked: {record} is still right",
            permission=self._permission(request),
            subject=record,
            intro=(
                f"{checked} You have compared all of it with its sources, and it still holds. What is not right "
                "is corrected instead."
            ),
            done_url=change_url(record),
        )

    def correct(
        self, request: HttpRequest, form_class: type[CorrectionForm], subject: Any, *, title: str
    ) -> HttpResponse:
        return withdraw(
            self,
            request,
            form_class,
            title=title,
            about="What loses its ground by it can no longer be sold; what gains one returns. Both are shown first.",
            initial={"requested_by": settings.SHOP_NAME, "reason_code": "DATA_CORRECTED"},
            subject=subject,
            back_url=change_url(subject),
            permission=self._permission(request),
        )

    def _permission(self, request: HttpRequest) -> str:
        own = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return own if request.user.has_perm(own) else MAY_WITHDRAW
