"""A vendor's listings as the API shows them: what is stored, and what the decision says of it now."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Prefetch, QuerySet, Subquery

from authorization.decisions import Answer, decide_offers
from authorization.models import Decision
from authorization.offers import PublishOutcome
from catalog.models import Listing, ListingHost, OfferState, Organization
from storefront.api.listing_decisions import present_decisions
from storefront.api.listing_issues import Outlook, look_ahead, present_issues
from storefront.api.reasons import Papers, papers_beside, present_answer
from storefront.api.times import rfc3339

# The status of a listing is the first of these that one of its hosts is in.
STATUS_ORDER = (
    OfferState.LIVE,
    OfferState.SUSPENDED,
    OfferState.BLOCKED,
    OfferState.DRAFT,
    OfferState.REMOVED,
)


# What may be asked for beside a listing.
ISSUES, DECISIONS = "issues", "decisions"
INCLUDES = (ISSUES, DECISIONS)


def listings_of(vendor: Organization) -> QuerySet[Listing]:
    """This vendor's listings with all that is shown of them."""
    offers = ListingHost.objects.select_related("host").order_by("id")
    # The stock apart: joined, PostgreSQL merges it by its index from the first row on, and page 10,000 of a million
    # listings waits for half a million rows of stock.
    return (
        Listing.objects.filter(vendor=vendor)
        .select_related("variant__device__manufacturer")
        .prefetch_related("stock", Prefetch("offers", offers))
    )


def present_listings(
    listings: Sequence[Listing], *, vendor: Organization, at: datetime, include: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Listings from `listings_of`, decided on together. Raises DecisionUnavailable."""
    offers = [offer for listing in listings for offer in listing.offers.all()]
    answers = _answers_by_offer(offers, at=at)
    outlook = look_ahead(offers, answers) if ISSUES in include else Outlook()
    papers = papers_beside(vendor, [*answers.values(), *outlook.falls.values()])
    newest = _newest_decisions(offers, vendor) if DECISIONS in include else {}
    data = []
    for listing in listings:
        its = list(listing.offers.all())
        shown = _present(listing, its, answers, papers)
        if ISSUES in include:
            shown["issues"] = present_issues(its, answers, outlook, papers)
            shown["issues_seen_until"] = rfc3339(outlook.seen_until) if outlook.seen_until else None
        if DECISIONS in include:
            shown["decisions"] = [newest[offer.pk] for offer in its if offer.pk in newest]
        data.append(shown)
    return data


def present_listing(
    listing: Listing, *, vendor: Organization, at: datetime, include: Collection[str] = ()
) -> dict[str, Any]:
    return present_listings([listing], vendor=vendor, at=at, include=include)[0]


def present_trial(
    listing: Listing, offers: Sequence[ListingHost], answers: Sequence[Answer], *, vendor: Organization
) -> dict[str, Any]:
    """What saving would have made of the listing (`authorization.offers.try_saving`)."""
    answer_of = dict(zip(map(id, offers), answers, strict=True))
    return {**_present(listing, offers, answer_of, papers_beside(vendor, answers)), "validate_only": True}


def etag_of(shown: Mapping[str, Any]) -> str:
    """Strong: it changes with anything shown of the listing itself, the decision's answer included.

    What was asked for beside it is left out: the tag is the same from every view, so that If-Match knows it.
    """
    base = {name: value for name, value in shown.items() if name not in (*INCLUDES, "issues_seen_until")}
    text = json.dumps(base, sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def status_of(states: Sequence[str]) -> str:
    return next((str(status) for status in STATUS_ORDER if status in states), str(OfferState.DRAFT))


def present_outcomes(outcomes: Sequence[PublishOutcome], *, vendor: Organization) -> list[dict[str, Any]]:
    """Per host, what publishing came to."""
    papers = papers_beside(vendor, [outcome.answer for outcome in outcomes])
    return [
        {
            **_present_result(outcome.offer, outcome.answer, papers, is_live=outcome.is_live),
            "decision_id": str(outcome.decision.pk),
        }
        for outcome in outcomes
    ]


def present_outlook(listing: Listing, *, vendor: Organization, at: datetime) -> list[dict[str, Any]]:
    """Per host, what publishing would come to. Writes nothing."""
    open_offers = [offer for offer in listing.offers.all() if offer.state != OfferState.REMOVED]
    answers = decide_offers(open_offers, at=at)
    papers = papers_beside(vendor, answers)
    return [
        _present_result(offer, answer, papers, is_live=answer.is_allowed)
        for offer, answer in zip(open_offers, answers, strict=True)
    ]


def _present_result(offer: ListingHost, answer: Answer, papers: Papers, *, is_live: bool) -> dict[str, Any]:
    return {
        "host": offer.host.code,
        "is_live": is_live,
        "answer": answer.outcome,
        "reasons": present_answer(answer, papers),
    }


def _newest_decisions(offers: Sequence[ListingHost], vendor: Organization) -> dict[int, dict[str, Any]]:
    """By offer, the newest decision on record."""
    kept = kept_decisions().filter(offer=OuterRef("pk")).order_by("-revision", "-valid_at", "-pk")
    newest = ListingHost.objects.filter(pk__in=[offer.pk for offer in offers])
    ids = newest.annotate(newest=Subquery(kept.values("pk")[:1])).values_list("newest", flat=True)
    rows = list(
        Decision.objects.filter(pk__in=[pk for pk in ids if pk is not None]).select_related(
            "offer__host", "offer__listing"
        )
    )
    return {
        row.offer_id: shown for row, shown in zip(rows, present_decisions(rows, vendor=vendor), strict=True)
    }


def kept_decisions() -> QuerySet[Decision]:
    """ "Undetermined" is an answer nobody rests on: it is told with 503 and never listed."""
    return Decision.objects.exclude(outcome=Decision.Outcome.UNDETERMINED)


def _answers_by_offer(offers: Sequence[ListingHost], *, at: datetime) -> dict[int, Answer]:
    """By the identity of the row object, so that rows that are not stored yet have answers too."""
    open_offers = [offer for offer in offers if offer.state != OfferState.REMOVED]
    return dict(zip(map(id, open_offers), decide_offers(open_offers, at=at), strict=True))


def _present(
    listing: Listing, offers: Sequence[ListingHost], answers: Mapping[int, Answer], papers: Papers
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
        "offers": [_present_offer(offer, answers.get(id(offer)), papers) for offer in offers],
    }
    if listing.created_at is not None:
        shown |= {
            "version": listing.version,
            "created_at": rfc3339(listing.created_at),
            "updated_at": rfc3339(listing.updated_at),
        }
    return shown


def _present_offer(offer: ListingHost, answer: Answer | None, papers: Papers) -> dict[str, Any]:
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
        shown["reasons"] = present_answer(answer, papers)
    if offer.state == OfferState.LIVE and offer.decision_id:
        shown["decision_id"] = str(offer.decision_id)
    if offer.pk is not None:
        shown["version"] = offer.version
        shown["state_changed_at"] = rfc3339(offer.state_changed_at)
    return shown
