"""Who calls: a vendor, a distributor, a manufacturer or a host carrier, known by its key."""

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
from storefront.models import CarrierKey, OrganizationKey


@dataclass(frozen=True)
class OrganizationPrincipal:
    """`request.user` of an organization's call. A call of test mode has the organization of its test store."""

    organization: Organization
    key: OrganizationKey
    is_authenticated: bool = True

    @property
    def actor(self) -> Actor:
        return Actor(self.organization.kind, self.organization.slug)


class VendorPrincipal(OrganizationPrincipal):
    @property
    def vendor(self) -> Organization:
        return self.organization


class DistributorPrincipal(OrganizationPrincipal):
    pass


class ManufacturerPrincipal(OrganizationPrincipal):
    pass


@dataclass(frozen=True)
class CarrierPrincipal:
    """`request.user` of a host carrier's call."""

    host: HostCarrier
    key: CarrierKey
    is_authenticated: bool = True

    @property
    def actor(self) -> Actor:
        return Actor("carrier", self.host.code)


Principal = VendorPrincipal | DistributorPrincipal | ManufacturerPrincipal | CarrierPrincipal
PARTNERS = (VendorPrincipal, DistributorPrincipal, ManufacturerPrincipal)
_PRINCIPAL_OF: dict[str, type[VendorPrincipal | DistributorPrincipal | ManufacturerPrincipal]] = {
    Organization.Kind.VENDOR: VendorPrincipal,
    Organization.Kind.DISTRIBUTOR: DistributorPrincipal,
    Organization.Kind.MANUFACTURER: ManufacturerPrincipal,
}


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer sk_live_…`, `sk_test_…` or `ck_live_…`.

    Looked up on every request: revoking a key acts on the next. Whose keys a route is open to the route says
    (`storefront.api.views.KeyedView.open_to`).
    """

    def authenticate(self, request: Request) -> tuple[Principal, OrganizationKey | CarrierKey] | None:
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
        mode = {"mode": "test"} if getattr(principal.key, "is_test", False) else {}
        structlog.contextvars.bind_contextvars(actor=str(principal.actor), **mode)
        return principal, principal.key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def principal_of(
    organization: Organization, key: OrganizationKey
) -> VendorPrincipal | DistributorPrincipal | ManufacturerPrincipal:
    return _PRINCIPAL_OF[organization.kind](organization=organization, key=key)


def _principal_of(secret: str) -> Principal | None:
    at = clock.now()
    if (key := accounts.find_organization_key(secret, at)) is not None:
        return principal_of(key.organization, key)
    if (carrier_key := accounts.find_carrier_key(secret, at)) is not None:
        return CarrierPrincipal(host=carrier_key.host, key=carrier_key)
    return None
