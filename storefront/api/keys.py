"""Who calls: a vendor, known by its key."""

from dataclasses import dataclass

import structlog
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from authorization import clock
from authorization.actors import Actor
from catalog.models import Organization
from storefront import accounts
from storefront.api.problems import SEND_THE_KEY
from storefront.models import VendorKey


@dataclass(frozen=True)
class VendorPrincipal:
    """`request.user` of an API call."""

    vendor: Organization
    key: VendorKey
    is_authenticated: bool = True

    @property
    def actor(self) -> Actor:
        return Actor("vendor", self.vendor.slug)


class VendorKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer sk_live_…`, looked up on every request: revoking a key acts on the next one."""

    def authenticate(self, request: Request) -> tuple[VendorPrincipal, VendorKey] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise AuthenticationFailed(SEND_THE_KEY)
        key = accounts.find_vendor_key(secret.strip(), clock.now())
        if key is None:
            # One answer for unknown, revoked and expired: a stranger learns nothing from it.
            raise AuthenticationFailed("This key is unknown, revoked or expired.")
        principal = VendorPrincipal(vendor=key.vendor, key=key)
        structlog.contextvars.bind_contextvars(actor=str(principal.actor))
        return principal, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="vendors"'
