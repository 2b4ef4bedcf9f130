"""A vendor's listings as the API shows them: what is stored, and what the decision says of it now."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, QuerySet

from authorization.decisions import Answer, decide_offers
from authorization.models import Decision
from authorization.offers import PublishOutcome
from catalog.models import Listing, ListingHost, OfferState, Organization, Variant
from storefront.api.reasons import own_documents, present_reasons
from storefront.api.times import rfc3339

# The status of a listing is the first of these that one of its hosts is in.
STATUS_ORDER = (
    OfferState.LIVE,
    OfferState.SUSPENDED,
    OfferState.BLOCKED,
    OfferState.DRAFT,
    OfferState.REMOVED,
)


def listings_of(vendor: Organization) -> QuerySet[Listing]:
    """This vendor's listings with all that is shown of them."""
    offers = ListingHost.objects.select_related("host").order_by("id")
    return (
        Listing.objects.filter(vendor=vendor)
        .select_related("variant__device__manufacturer", "stock")
        .prefetch_related(Prefetch("offers", offers))
    )


def present_listings(
    listings: Sequence[Listing], *, vendor: Organization, at: datetime
) -> list[dict[str, Any]]:
    """Listings from `listings_of`, decided on together. Raises DecisionUnavailable."""
    offers = [offer for listing in listings for offer in listing.offers.all()]
    answers = _answers_by_offer(offers, at=at)
    own = own_documents(vendor, _documents(answers.values()))
    return [_present(listing, list(listing.offers.all()), answers, own) for listing in listings]


def present_listing(listing: Listing, *, vendor: Organization, at: datetime) -> dict[str, Any]:
    return present_listings([listing], vendor=vendor, at=at)[0]


def present_trial(
    listing: Listing, offers: Sequence[ListingHost], answers: Sequence[Answer], *, vendor: Organization
) -> dict[str, Any]:
    """What saving would have made of the listing (`authorization.offers.try_saving`)."""
    own = own_documents(vendor, _documents(answers))
    answer_of = dict(zip(map(id, offers), answers, strict=True))
    return {**_present(listing, offers, answer_of, own), "validate_only": True}


def etag_of(shown: Mapping[str, Any]) -> str:
    """Strong: it changes with anything shown, the row versions and the decision's answer included."""
    text = json.dumps(shown, sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def status_of(states: Sequence[str]) -> str:
    return next((str(status) for status in STATUS_ORDER if status in states), str(OfferState.DRAFT))


def present_outcomes(outcomes: Sequence[PublishOutcome], *, vendor: Organization) -> list[dict[str, Any]]:
    """Per host, what publishing came to."""
    own = own_documents(vendor, _documents(outcome.answer for outcome in outcomes))
    return [
        {
            **_present_result(outcome.offer, outcome.answer, own, is_live=outcome.is_live),
            "decision_id": str(outcome.decision.pk),
        }
        for outcome in outcomes
    ]


def present_outlook(listing: Listing, *, vendor: Organization, at: datetime) -> list[dict[str, Any]]:
    """Per host, what publishing would come to. Writes nothing."""
    open_offers = [offer for offer in listing.offers.all() if offer.state != OfferState.REMOVED]
    answers = decide_offers(open_offers, at=at)
    own = own_documents(vendor, _documents(answers))
    return [
        _present_result(offer, answer, own, is_live=answer.is_allowed)
        for offer, answer in zip(open_offers, answers, strict=True)
    ]


def _present_result(
    offer: ListingHost, answer: Answer, own: frozenset[str], *, is_live: bool
) -> dict[str, Any]:
    return {
        "host": offer.host.code,
        "is_live": is_live,
        "answer": answer.outcome,
        "reasons": present_reasons((reason.as_json() for reason in answer.reasons), own),
    }


def present_decisions(
    decisions: Sequence[Decision], *, listing: Listing, vendor: Organization
) -> list[dict[str, Any]]:
    """Kept decisions. Of all documents that they rest on, only the vendor's own are named."""
    codes = [item["code"] for decision in decisions for item in decision.evidence]
    codes += [reason["document"] for decision in decisions for reason in decision.reasons]
    own = own_documents(vendor, codes)
    # A listing may have been edited since: each decision names the variant it was asked about.
    variants = Variant.objects.in_bulk({decision.question["variant_id"] for decision in decisions})
    return [
        {
            "id": str(decision.pk),
            "host": decision.offer.host.code,
            "outcome": decision.outcome,
            "question": {
                "sku": listing.sku,
                "variant": variants[decision.question["variant_id"]].slug,
                "host": decision.offer.host.code,
                **{name: decision.question[name] for name in ("condition", "territory", "channel")},
                **_stated_software(decision),
            },
            "reasons": present_reasons(decision.reasons, own),
            "evidence": [
                {"kind": item["kind"], "document": item["code"], "version": item["version_no"]}
                for item in decision.evidence
                if item["code"] in own
            ],
            "revision": decision.revision,
            "valid_at": rfc3339(decision.valid_at),
            "expires_at": rfc3339(decision.expires_at),
        }
        for decision in decisions
    ]


def _stated_software(decision: Decision) -> dict[str, str]:
    """Where it was stated. Decisions from before it could be do not have it at all."""
    software = decision.question.get("software", "")
    return {"software": software} if software else {}


def _answers_by_offer(offers: Sequence[ListingHost], *, at: datetime) -> dict[int, Answer]:
    """By the identity of the row object, so that rows that are not stored yet have answers too."""
    open_offers = [offer for offer in offers if offer.state != OfferState.REMOVED]
    return dict(zip(map(id, open_offers), decide_offers(open_offers, at=at), strict=True))


def _documents(answers: Iterable[Answer]) -> list[str]:
    return [reason.document for answer in answers for reason in answer.reasons]


def _present(
    listing: Listing, offers: Sequence[ListingHost], answers: Mapping[int, Answer], own: frozenset[str]
) -> dict[str, Any]:
    kept = [offer for offer in offers if offer.state != OfferState.REMOVED]
    shown: dict[str, Any] = {
        "sku": listing.sku,
        "status": status_of([offer.state for offer in offers]),
        "variant": listing.variant.slug,
        "model_number": listing.variant.model_number,
        "device": str(listing.variant.device),
        "hosts": [offer.host.code for offer in kept or offers],
        "condition": listing.condition,
        "territory": listing.territory,
        "channel": listing.channel,
        "software": listing.software,
        "description": listing.description,
        "price": {"amount": f"{listing.price_amount:.2f}", "currency": listing.price_currency},
        "on_hand": listing.stock.on_hand,
        "offers": [_present_offer(offer, answers.get(id(offer)), own) for offer in offers],
    }
    if listing.created_at is not None:
        shown |= {
            "version": listing.version,
            "created_at": rfc3339(listing.created_at),
            "updated_at": rfc3339(listing.updated_at),
        }
    return shown


def _present_offer(offer: ListingHost, answer: Answer | None, own: frozenset[str]) -> dict[str, Any]:
    """`state` and `reason_codes` are what is recorded; `answer` and `reasons` what the decision says now.

    Between the commit of a revocation and the end of its sweep they differ, and nothing is for sale.
    """
    shown: dict[str, Any] = {
        "host": offer.host.code,
        "state": str(offer.state),
        "is_for_sale": offer.state == OfferState.LIVE and answer is not None and answer.is_allowed,
        "reason_codes": offer.reason_codes,
    }
    if answer is not None:
        shown["answer"] = answer.outcome
        shown["reasons"] = present_reasons((reason.as_json() for reason in answer.reasons), own)
    if offer.state == OfferState.LIVE and offer.decision_id:
        shown["decision_id"] = str(offer.decision_id)
    if offer.pk is not None:
        shown["version"] = offer.version
        shown["state_changed_at"] = rfc3339(offer.state_changed_at)
    return shown
