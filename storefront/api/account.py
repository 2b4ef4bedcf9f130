"""GET /v1/me: whose key is this?"""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from storefront.acceptance_access import DUTIES
from storefront.api.keys import CarrierPrincipal, VendorPrincipal
from storefront.api.times import rfc3339
from storefront.api.views import KeyedView


class MeView(KeyedView):
    open_to: ClassVar = (VendorPrincipal, CarrierPrincipal)

    def get(self, request: Request) -> Response:
        caller, key = self.principal, self.principal.key
        whose: dict[str, Any]
        if isinstance(caller, VendorPrincipal):
            whose = {"vendor": {"slug": caller.vendor.slug, "name": caller.vendor.name}}
        else:
            whose = {
                "host": {"host": caller.host.code, "name": caller.host.name},
                "duties": [name for name, field, _ in DUTIES if getattr(caller.key, field)],
            }
        return Response(
            {
                **whose,
                "key": {
                    "label": key.label,
                    "prefix": key.prefix,
                    "last_four": key.last_four,
                    "expires_at": rfc3339(key.expires_at),
                },
                "scopes": [],
            }
        )
