"""What a key of the API may be made to open. Each call names the one scope that it takes.

A scope is for some kinds of callers only: a vendor's key never opens what is a manufacturer's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from catalog.models import Organization

VENDOR, DISTRIBUTOR, MANUFACTURER = (
    str(Organization.Kind.VENDOR),
    str(Organization.Kind.DISTRIBUTOR),
    str(Organization.Kind.MANUFACTURER),
)
CARRIER = "carrier"
_PARTNERS = (VENDOR, DISTRIBUTOR, MANUFACTURER)
_ALL = (*_PARTNERS, CARRIER)
# Who has rights in goods that others sell.
_CLAIMANTS = (MANUFACTURER, CARRIER)


@dataclass(frozen=True)
class Scope:
    """`needs_asking`: no key has it unless whoever makes the key says so."""

    name: str
    words: str
    kinds: tuple[str, ...]
    needs_asking: bool = False


_TABLE = (
    Scope("catalog:read", "Devices, variants, hosts, restrictions and IMEI checks", _ALL),
    Scope("listings:read", "Listings, their decisions, what expires, sweeps", (VENDOR,)),
    Scope("listings:write", "Save, publish and withdraw listings", (VENDOR,)),
    Scope("feeds:read", "Feeds and their results", (VENDOR,)),
    Scope("feeds:write", "Send and cancel feeds", (VENDOR,)),
    Scope("orders:read", "Orders to fulfil, with the address of the buyer", (VENDOR,)),
    Scope("orders:write", "Say that goods were shipped", (VENDOR,)),
    Scope("agreements:read", "Reseller agreements and submissions", _PARTNERS),
    Scope("agreements:write", "Submit, renew, narrow and end reseller agreements", _PARTNERS),
    Scope("acceptances:read", "Technical acceptances", (VENDOR, CARRIER)),
    Scope("acceptances:write", "Ask for technical acceptances and move them on", (VENDOR, CARRIER)),
    Scope("claims:read", "What is on sale of a brand or on a network, and on which grounds", _CLAIMANTS),
    Scope("takedowns:read", "Takedown requests", _CLAIMANTS),
    Scope("takedowns:write", "Take goods off sale in the name of their maker or network", _CLAIMANTS, True),
    Scope("cases:read", "Cases and appeals", _ALL),
    Scope("cases:write", "Appeal, and answer in a case", _ALL),
    Scope("events:read", "The log of events", (VENDOR,)),
    Scope("webhooks:read", "Webhook endpoints and deliveries", (VENDOR,)),
    Scope("webhooks:write", "Make, change and replay webhook endpoints", (VENDOR,)),
    Scope("keys:read", "Keys of one's own", _PARTNERS),
    Scope("keys:write", "Make, rotate and revoke keys of one's own", _PARTNERS, True),
    Scope("test_clock:write", "In test mode: move the clock on, begin anew", _PARTNERS),
)
SCOPES = {scope.name: scope for scope in _TABLE}


def scopes_of(kind: str) -> tuple[str, ...]:
    """All that a key of this kind of caller may have."""
    return tuple(scope.name for scope in _TABLE if kind in scope.kinds)


def usual_scopes(kind: str) -> tuple[str, ...]:
    """What a key gets when nobody says more."""
    return tuple(name for name in scopes_of(kind) if not SCOPES[name].needs_asking)


def foreign_scopes(kind: str, names: Iterable[str]) -> list[str]:
    """Of these, what no key of this kind may have: unknown ones too."""
    return sorted(set(names) - set(scopes_of(kind)))
