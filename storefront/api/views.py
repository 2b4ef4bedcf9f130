"""What every call shares: deny first, then read the query, then act."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authorization import clock
from storefront.api.fields import Members, read_query
from storefront.api.keys import CarrierPrincipal, Principal, VendorPrincipal
from storefront.api.problems import Problem

_WHOSE: dict[type, str] = {VendorPrincipal: "vendors", CarrierPrincipal: "host carriers"}


class KeyedView(APIView):
    """A call with a key. Who may call, and in which format, stands in settings.REST_FRAMEWORK."""

    # Whose keys open it. A route says so itself: one that forgets to opens to nobody.
    open_to: ClassVar[tuple[type, ...]] = ()
    # method -> the query parameters it takes; a method that is not named takes none
    queries: ClassVar[Mapping[str, type[Members]]] = {}

    query: dict[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.principal = cast(Principal, request.user)
        if not isinstance(self.principal, self.open_to):
            whose = " and ".join(_WHOSE[kind] for kind in self.open_to) or "nobody"
            raise Problem("not_for_this_key", f"This call is for keys of {whose}.")
        self.at = clock.now()
        method = "GET" if request.method == "HEAD" else str(request.method)
        self.query = read_query(request, self.queries.get(method, Members))

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The Allow header, which every answer carries, is all there is to say."""
        return Response(status=204)

    @property
    def default_response_headers(self) -> dict[str, str]:
        # What a vendor may list changes with the next revocation: nobody keeps an answer unasked.
        return {
            **super().default_response_headers,
            "Cache-Control": "private, no-cache",
            "Vary": "Accept, Authorization",
        }


class VendorView(KeyedView):
    """A call for vendors' keys only."""

    open_to: ClassVar[tuple[type, ...]] = (VendorPrincipal,)

    @property
    def caller(self) -> VendorPrincipal:
        return cast(VendorPrincipal, self.principal)
