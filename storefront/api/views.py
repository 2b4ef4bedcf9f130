"""What every call of a vendor shares: deny first, then read the query, then act."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authorization import clock
from storefront.api.fields import Members, read_query
from storefront.api.keys import VendorPrincipal


class VendorView(APIView):
    """Who may call, and in which format, stands in settings.REST_FRAMEWORK."""

    # method -> the query parameters it takes; a method that is not named takes none
    queries: ClassVar[Mapping[str, type[Members]]] = {}

    caller: VendorPrincipal
    query: dict[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.caller = cast(VendorPrincipal, request.user)
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
