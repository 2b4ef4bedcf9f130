"""GET /v1/me: whose key is this?"""

from rest_framework.request import Request
from rest_framework.response import Response

from storefront.api.times import rfc3339
from storefront.api.views import VendorView


class MeView(VendorView):
    def get(self, request: Request) -> Response:
        vendor, key = self.caller.vendor, self.caller.key
        return Response(
            {
                "vendor": {"slug": vendor.slug, "name": vendor.name},
                "key": {
                    "label": key.label,
                    "prefix": key.prefix,
                    "last_four": key.last_four,
                    "expires_at": rfc3339(key.expires_at),
                },
                "scopes": [],
            }
        )
