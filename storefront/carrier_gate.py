"""People of host carriers see one part of the desk and nothing else.

Their accounts carry no permission at all, so every screen refuses them by itself. The gate stands before the screens
all the same: what a new page, a shortcut or a lookup forgets to ask cannot be reached by them. A page that is to be
open to them is named here.
"""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from storefront.models import CarrierMember
from storefront.requests import ADMIN_PREFIX

HOME = "admin:authorization_acceptance_changelist"
OPEN_PAGES = frozenset(
    {
        HOME,
        "admin:authorization_acceptance_change",
        "admin:acceptance_move",
        "admin:acceptance_withdraw",
        "admin:acceptance_results",
        "admin:acceptance_add_file",
        "admin:acceptance_file",
        # The words of the pages' own scripts.
        "admin:jsi18n",
        # Logging in, one's own password, logging out.
        "admin:login",
        "admin:logout",
        "admin:password_change",
        "admin:password_change_done",
    }
)


def member_on(request: HttpRequest) -> CarrierMember | None:
    """Whom of a host carrier this request comes from; None: nobody.

    Asked once per request, so that ending it acts on the next: the answer, also that there is none, stays with the
    request's own user. A request that failed before anybody asked who it is has no user.
    """
    member: CarrierMember | None = getattr(getattr(request, "user", None), "carrier_member", None)
    return member


class CarrierGateMiddleware:
    """To somebody of a host carrier every other page of the desk is one that there is not."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        match = request.resolver_match
        if not request.path_info.startswith(ADMIN_PREFIX) or match is None:
            return None
        if match.view_name in OPEN_PAGES or member_on(request) is None:
            return None
        if match.view_name in ("admin:index", "admin:app_list"):
            # Where the pages' own way back leads.
            return redirect(HOME)
        raise Http404
