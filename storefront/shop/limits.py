"""How often one client may ask the shop for something, over all its web processes (storefront.rates)."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

from storefront import rates

# A hop that is not an address alone: 1.2.3.4:5001, [2001:db8::1]:5001. The port is new for each connection.
_HOP = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d+)?|(?P<v4>[\d.]+):\d+")


def seconds_to_wait(request: HttpRequest, what: str, *, most: int, within_s: int) -> int:
    """Count one more of this client. 0 if it may go on, else in how many seconds it may ask again."""
    return rates.seconds_to_wait(what, client_of(request), most=most, within_s=within_s)


def client_of(request: HttpRequest) -> str:
    """The address that asks; of an IPv6 one its network, for one household has more addresses than there are stars."""
    said = str(request.META.get("REMOTE_ADDR", ""))
    address = _address(said)
    if settings.SECURE_PROXY_SSL_HEADER is not None:
        # Behind our own proxy: the last hop is what that has seen itself, the others are the client's word.
        address = _address(request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()) or address
    if address is None:
        # A socket has none. All such clients are one.
        return said
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))


def _address(hop: str) -> IPv4Address | IPv6Address | None:
    match = _HOP.fullmatch(hop)
    try:
        return ip_address((match["v6"] or match["v4"] or "") if match else hop)
    except ValueError:
        return None
