"""GET /v1/me: whose key is this?"""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from storefront.acceptance_access import DUTIES
from storefront.api.account_shapes import MeShape
from storefront.api.keys import PARTNERS, CarrierPrincipal, OrganizationPrincipal
from storefront.api.times import rfc3339
from storefront.api.views import ANY_KEY, KeyedView


class MeView(KeyedView):
    open_to: ClassVar = (*PARTNERS, CarrierPrincipal)
    # Of the key, which is the shop's also in test mode.
    is_of_a_store: ClassVar = False
    scopes: ClassVar = {"GET": ANY_KEY}
    answers: ClassVar = {"GET": {200: MeShape}}

    def get(self, request: Request) -> Response:
        """Whose key is this, and what does it open?"""
        caller, key = self.principal, self.principal.key
        whose: dict[str, Any]
        if isinstance(caller, OrganizationPrincipal):
            organization = caller.organization
            whose = {organization.kind: {"slug": organization.slug, "name": organization.name}}
        else:
            whose = {
                "host": {"host": caller.host.code, "name": caller.host.name},
                "duties": [name for name, field, _ in DUTIES if getattr(caller.key, field)],
            }
        return Response(
            {
                **whose,
                "mode": "test" if getattr(key, "is_test", False) else "live",
                "key": {
                    "label": key.label,
                    "prefix": key.prefix,
                    "last_four": key.last_four,
                    "expires_at": rfc3339(key.expires_at),
                },
                "scopes": key.scopes,
            }
        )
