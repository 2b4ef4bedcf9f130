"""Screens of what decisions stand on besides authority: their rows are corrected through the front door."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from storefront.admin.desk import DeskAdmin, change_url
from storefront.admin.front_door import MAY_WITHDRAW, withdraw
from storefront.admin.groundwork_forms import CorrectionForm


class CorrectableAdmin(DeskAdmin):
    """Who keeps the rows may correct what is recorded of them, and so may who takes authority away."""

    def has_correct_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(request.user.has_perm(self._permission(request)))

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
