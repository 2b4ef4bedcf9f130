"""Who calls: a vendor or a host carrier, known by its key."""

from dataclasses import dataclass

import structlog
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from authorization import clock
from authorization.actors import Actor
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront import accounts
from storefront.api.problems import SEND_THE_KEY
from storefront.models import CarrierKey, VendorKey


@dataclass(frozen=True)
class VendorPrincipal:
    """`request.user` of a vendor's call."""

    vendor: Organization
    key: VendorKey
    is_authenticated: bool = True

    @property
    def actor(self) -> Actor:
        return Actor("vendor", self.vendor.slug)


@dataclass(frozen=True)
class CarrierPrincipal:
    """`request.user` of a host carrier's call."""

    host: HostCarrier
    key: CarrierKey
    is_authenticated: bool = True

    @property
    def actor(self) -> Actor:
        return Actor("carrier", self.host.code)


Principal = VendorPrincipal | CarrierPrincipal


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer sk_live_…` or `ck_live_…`, looked up on every request: revoking a key acts on the next.

    Whose keys a route is open to the route says (`storefront.api.views.KeyedView.open_to`).
    """

    def authenticate(self, request: Request) -> tuple[Principal, VendorKey | CarrierKey] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise AuthenticationFailed(SEND_THE_KEY)
        principal = _principal_of(secret.strip())
        if principal is None:
            # One answer for unknown, revoked and expired: a stranger learns nothing from it.
            raise AuthenticationFailed("This key is unknown, revoked or expired.")
        structlog.contextvars.bind_contextvars(actor=str(principal.actor))
        return principal, principal.key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _principal_of(secret: str) -> Principal | None:
    at = clock.now()
    if (vendor_key := accounts.find_vendor_key(secret, at)) is not None:
        return VendorPrincipal(vendor=vendor_key.vendor, key=vendor_key)
    if (carrier_key := accounts.find_carrier_key(secret, at)) is not None:
        return CarrierPrincipal(host=carrier_key.host, key=carrier_key)
    return None
