"""What is wrong with listings now, and what will be within thirty days, as data: issues with what follows from them.

An issue is a reason of the decision on one host, with its enforcement. Of a live offer that falls by itself it is a
warning, and says when.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from authorization.decisions import Answer
from authorization.foresight import foresee
from authorization.models import HoldVersion
from catalog.models import ListingHost, OfferState
from storefront.api.reasons import Papers, present_answer, present_foretold
from storefront.api.times import rfc3339

# Listings say of so long ahead what will take them off sale. GET /v1/exposure looks further.
FORESEEN = timedelta(days=30)

SUSPEND, REFUSE_PUBLISH = "SUSPEND", "REFUSE_PUBLISH"
ACTIONS = (SUSPEND, REFUSE_PUBLISH)
NOT_EXEMPT, EXEMPT = "NOT_EXEMPT", "EXEMPT_UNTIL_EXPIRY_DATE"
EXEMPTIONS = (NOT_EXEMPT, EXEMPT)

# Which members of the listing a reason is about; of those not here, none: no other listing would help.
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "NO_AGREEMENT": ("variant", "territory"),
    "AGREEMENT_SCOPE_MODEL": ("variant",),
    "AGREEMENT_SCOPE_TERRITORY": ("territory",),
    "AGREEMENT_SCOPE_CHANNEL": ("channel",),
    "AGREEMENT_SCOPE_CONDITION": ("condition",),
    "HOST_NOT_SERVED": ("hosts",),
    "CARRIER_NOT_APPROVED": ("variant", "hosts"),
    "CARRIER_APPROVAL_SOFTWARE": ("software",),
    "EQUIPMENT_NOT_AUTHORIZED": ("variant", "territory"),
    "RADIO_INCOMPATIBLE": ("variant", "hosts"),
    "RADIO_UNKNOWN": ("variant", "hosts"),
}


@dataclass(frozen=True)
class Outlook:
    """What the offers of a page will lose by themselves.

    `falls`: by the identity of the offer's row object, the answer of then. `holds`: since when the holds are in force
    that such an answer names. `seen_until`: None, or the instant up to which was looked, where there was too much.
    """

    falls: Mapping[int, Answer] = field(default_factory=dict)
    holds: Mapping[str, datetime] = field(default_factory=dict)
    seen_until: datetime | None = None


def look_ahead(offers: Iterable[ListingHost], answers: Mapping[int, Answer]) -> Outlook:
    """Of live offers, in a bounded number of statements whatever their number. Raises DecisionUnavailable."""
    live = [offer for offer in offers if offer.state == OfferState.LIVE and id(offer) in answers]
    given = [answers[id(offer)] for offer in live]
    seen = foresee(given, within=FORESEEN)
    falls = {id(live[fall.n]): fall.after for fall in seen.falls}
    codes = {
        reason.document
        for answer in falls.values()
        for reason in answer.reasons
        if reason.check in ("hold", "vendor", "equipment") and reason.document
    }
    holds: dict[str, datetime] = {}
    if codes:
        rows = HoldVersion.objects.current().filter(head__code__in=codes)
        holds = dict(rows.values_list("head__code", "valid_from"))
    is_cut = bool(given) and seen.until < given[0].valid_at + FORESEEN
    return Outlook(falls, holds, seen.until if is_cut else None)


def present_issues(
    offers: Sequence[ListingHost], answers: Mapping[int, Answer], outlook: Outlook, papers: Papers
) -> list[dict[str, Any]]:
    """By host, in the fixed order of the reasons."""
    issues = []
    for offer in offers:
        answer = answers.get(id(offer))
        if answer is None:
            continue
        issues += [_issue(offer, reason, [_enforced_now(offer)]) for reason in present_answer(answer, papers)]
        if id(offer) in outlook.falls:
            issues += _warnings(offer, outlook.falls[id(offer)], outlook, papers, now=answer.valid_at)
    return issues


def _issue(offer: ListingHost, reason: dict[str, Any], enforcements: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        **reason,
        "host": offer.host.code,
        "attribute_names": list(_ATTRIBUTES.get(reason["code"], ())),
        "enforcements": enforcements if reason["severity"] != "INFO" else [],
    }


def _enforced_now(offer: ListingHost) -> dict[str, Any]:
    """Of an offer that is refused. A live one is not for sale from the very change on; its sweep writes down when."""
    action = SUSPEND if offer.state in (OfferState.LIVE, OfferState.SUSPENDED) else REFUSE_PUBLISH
    is_recorded = offer.state in (OfferState.SUSPENDED, OfferState.BLOCKED)
    at = rfc3339(offer.state_changed_at) if is_recorded and offer.pk is not None else None
    return {
        "action": action,
        "effective_at": at,
        "exemption": {"status": NOT_EXEMPT, "expires_at": None},
    }


def _warnings(
    offer: ListingHost, then: Answer, outlook: Outlook, papers: Papers, *, now: datetime
) -> list[dict[str, Any]]:
    falls_at = rfc3339(then.valid_at)
    warnings: dict[tuple[str, str], dict[str, Any]] = {}
    for raw in then.reasons:
        # A hold that is in force already, and does not stop this offer: an exemption from it ends then.
        held_since = outlook.holds.get(raw.document)
        exempt = held_since is not None and held_since <= now
        enforcement = {
            "action": SUSPEND,
            "effective_at": rfc3339(held_since) if exempt and held_since is not None else falls_at,
            "exemption": {
                "status": EXEMPT if exempt else NOT_EXEMPT,
                "expires_at": falls_at if exempt else None,
            },
        }
        reason = present_foretold(raw, then.valid_at, papers.documents)
        warnings.setdefault((reason["code"], reason["message"]), _issue(offer, reason, [enforcement]))
    return list(warnings.values())
