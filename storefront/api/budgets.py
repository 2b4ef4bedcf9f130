"""How many calls one key may make in a minute: reads, writes and feeds sent, each with a budget of its own.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10, an Internet-Draft and no RFC: `RateLimit-Policy` says
what may be had, `RateLimit` what is left of it and in how many seconds all of it is there again.
"""

import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError

from storefront import rates
from storefront.api.keys import Principal
from storefront.api.problems import Problem

logger = logging.getLogger(__name__)

READ, WRITE, FEED = "read", "write", "feed"
# budget -> the setting that says how many
SETTING_OF = {READ: "API_READS_PER_MINUTE", WRITE: "API_WRITES_PER_MINUTE", FEED: "API_FEEDS_PER_MINUTE"}
WITHIN_S = 60


@dataclass(frozen=True)
class Spent:
    """What one call left of its budget: the headers of its answer, and whether it may go on."""

    name: str
    headers: dict[str, str]
    is_exceeded: bool
    reset_s: int


def spend(name: str, principal: Principal) -> Spent:
    """Count one call. Raises Problem for a write that cannot be counted; a read then goes on uncounted."""
    most = getattr(settings, SETTING_OF[name])
    try:
        budget = rates.spend(f"api {name}", caller_of(principal), most=most, within_s=WITHIN_S)
    except (OperationalError, InterfaceError, InternalError) as error:
        if name != READ:
            raise
        logger.warning("A read could not be counted.", exc_info=error)
        return Spent(name, {}, is_exceeded=False, reset_s=0)
    headers = {
        "RateLimit-Policy": f'"{name}";q={most};w={WITHIN_S}',
        "RateLimit": f'"{name}";r={budget.left};t={budget.reset_s}',
    }
    return Spent(name, headers, budget.is_exceeded, budget.reset_s)


def refusal(spent: Spent) -> Problem:
    # So spelled by the draft.
    policies: dict[str, Any] = {"violated-policies": [spent.name]}
    return Problem(
        "quota_exceeded",
        f"This key has used up its budget of {spent.name}s; there is a new one in {spent.reset_s} s.",
        headers={"Retry-After": str(spent.reset_s)},
        **policies,
    )


def caller_of(principal: Principal) -> str:
    return f"{type(principal.key).__name__} {principal.key.pk}"
