"""Acts on a vendor's listings: save, publish, withdraw. Each writes its ledger row and announces what it did."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from authorization import decisions, doors, fence, ledger, outbox
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.facts import InvalidFact
from authorization.models import Decision
from authorization.software import sort_key
from carriers.models import HostCarrier
from catalog import listings
from catalog.listings import content_hash
from catalog.models import Listing, ListingHost, OfferState, Organization, Stock, Variant


class ListingRemoved(Exception):
    """The vendor withdrew this listing for good."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"{sku} was withdrawn and stays so; list the device again under another SKU.")


class ListingMoved(Exception):
    """Somebody changed the listing at the same time. Read it again and repeat."""


@dataclass(frozen=True)
class ListingTerms:
    """What a vendor says of a listing: the whole of it."""

    variant: Variant
    hosts: tuple[HostCarrier, ...]
    condition: str
    territory: str
    channel: str
    description: str
    price_amount: Decimal
    price_currency: str
    # None: as it is. Sales move it, so whoever does not mean to set it must not write back what he has read.
    on_hand: int | None
    # The version that the phone ships with, as its maker writes it; empty: not stated.
    software: str = ""


@dataclass(frozen=True)
class SavedListing:
    listing: Listing
    is_new: bool
    is_changed: bool


@dataclass(frozen=True)
class PublishOutcome:
    offer: ListingHost
    answer: Answer
    is_live: bool
    decision: Decision


# What becomes of a listing, worked out from what is stored of it; None where nothing is.
type TermsOf = Callable[[Listing | None], ListingTerms]


def always() -> None:
    """The precondition of an act that has none."""


def save_listing(
    *,
    vendor: Organization,
    sku: str,
    terms: ListingTerms,
    by: Actor,
    at: datetime,
    precondition: Callable[[], None] = always,
) -> SavedListing:
    """Store the listing as the vendor sends it. The same content again changes nothing.

    `precondition` is called under the lock on the listing, before anything is written; it raises to refuse.

    A new or changed host offer becomes DRAFT, or BLOCKED where a decision refuses it; a live one whose terms did not
    change stays live. Raises ListingRemoved, ListingMoved, InvalidFact.
    """
    try:
        with transaction.atomic():
            return _save_under_fence(
                vendor=vendor, sku=sku, terms_of=lambda _: terms, by=by, at=at, precondition=precondition
            )
    except IntegrityError as error:
        raise ListingMoved(f"{sku} was saved by another request at the same time; send it again.") from error


def change_listing(
    *,
    listing: Listing,
    terms_of: TermsOf,
    by: Actor,
    at: datetime,
    precondition: Callable[[], None] = always,
) -> SavedListing:
    """Store what `terms_of` makes of the listing as it is under the lock: of two changes at a time none is lost.

    `terms_of` raises to refuse. All else is as `save_listing` has it.
    """
    with transaction.atomic():
        return _save_under_fence(
            vendor=listing.vendor,
            sku=listing.sku,
            terms_of=terms_of,
            by=by,
            at=at,
            precondition=precondition,
        )


def try_saving(
    *,
    vendor: Organization,
    sku: str,
    terms_of: TermsOf,
    by: Actor,
    at: datetime,
    precondition: Callable[[], None] = always,
) -> tuple[Listing, list[ListingHost], list[Answer]]:
    """What saving would make of the listing: its offers, each with its answer. It is saved, and rolled back.

    Raises what saving, or changing, would.
    """
    with transaction.atomic():
        saved = _save_under_fence(
            vendor=vendor, sku=sku, terms_of=terms_of, by=by, at=at, precondition=precondition
        )
        listing = Listing.objects.select_related("stock", "variant__device").get(pk=saved.listing.pk)
        found = list(_offers_of(listing).exclude(state=OfferState.REMOVED).order_by("id"))
        answers = decisions.decide_offers(found, at=at)
        transaction.set_rollback(True)
    return listing, found, answers


def publish_listing(
    *, listing: Listing, by: Actor, at: datetime, precondition: Callable[[], None] = always
) -> list[PublishOutcome]:
    """Ask leave to sell on each host. What is allowed goes live; what is not is BLOCKED, with its reasons.

    `precondition` is called under the locks, before anything is decided; it raises to refuse.
    """
    with transaction.atomic():
        fence.shared()
        offers = _locked_offers(listing)
        precondition()
        if all(offer.state == OfferState.REMOVED for offer in offers):
            raise ListingRemoved(listing.sku)
        open_offers = [offer for offer in offers if offer.state != OfferState.REMOVED]
        # Under the fence no revision can come between this decision and the commit.
        answers = decisions.decide_offers(open_offers, at=at)
        recorded = decisions.record_decisions(zip(answers, open_offers, strict=True))
        outcomes = [
            _publish_offer(offer, answer, decision, by, at)
            for offer, answer, decision in zip(open_offers, answers, recorded, strict=True)
        ]
    return outcomes


def withdraw_listing(
    *, listing: Listing, by: Actor, at: datetime, precondition: Callable[[], None] = always
) -> None:
    """The vendor ends its own listing, on every host and for good."""
    with transaction.atomic():
        offers = _locked_offers(listing)
        precondition()
        for offer in offers:
            if offer.state == OfferState.REMOVED:
                continue
            _move(offer, OfferState.REMOVED, at)
            ledger.record(
                act="listing.removed",
                subject_kind="offer",
                subject_id=offer.pk,
                by=by,
                at=at,
                evidence={"sku": listing.sku},
            )
            outbox.announce(
                event="listing.removed", payload=offer_payload(offer, OfferState.REMOVED, None), at=at
            )


def offer_payload(
    offer: ListingHost, state: str, decision: Decision | None, **more: object
) -> dict[str, object]:
    """What an event tells of one host offer. The offer comes with listing, vendor and host selected."""
    return {
        "offer_id": offer.pk,
        "listing_id": offer.listing_id,
        "sku": offer.listing.sku,
        "vendor_id": offer.listing.vendor_id,
        "host": offer.host.code,
        "state": str(state),
        "reason_codes": _codes(decision),
        "decision_id": str(decision.pk) if decision else None,
        "revision": decision.revision if decision else None,
        **more,
    }


def listing_payload(listing: Listing, *, is_new: bool, changed: Sequence[str]) -> dict[str, object]:
    """What `listing.updated` tells. `changed`: the names of what the vendor says that are new or other than before."""
    return {
        "listing_id": listing.pk,
        "sku": listing.sku,
        "vendor_id": listing.vendor_id,
        "version": listing.version,
        "is_new": is_new,
        "changed": list(changed),
    }


def _save_under_fence(
    *,
    vendor: Organization,
    sku: str,
    terms_of: TermsOf,
    by: Actor,
    at: datetime,
    precondition: Callable[[], None],
) -> SavedListing:
    # The fence first (it stands before the listings in the order of locks): what is decided here is current.
    fence.shared()
    # No stronger: a sale's order line refers to this row while it holds the offers that we want next.
    stored = Listing.objects.select_for_update(no_key=True).filter(vendor=vendor, sku=sku).first()
    precondition()
    if stored is not None and set(stored.offers.values_list("state", flat=True)) == {OfferState.REMOVED}:
        raise ListingRemoved(sku)
    terms = terms_of(stored)
    check_software(terms.software)
    listing, changed = _save_row(stored, vendor=vendor, sku=sku, terms=terms, at=at)
    are_offers_changed, are_hosts_changed = _save_offers(listing, terms, by, at)
    if are_hosts_changed:
        changed.append("hosts")
    # Stock stands last in the order of locks: a sale takes it after the offers.
    if _save_stock(listing, terms.on_hand):
        changed.append("on_hand")
    is_new, is_changed = stored is None, are_offers_changed or bool(changed)
    if is_changed:
        ledger.record(
            act="listing.saved",
            subject_kind="listing",
            subject_id=listing.pk,
            by=by,
            at=at,
            evidence={"sku": sku, "version": listing.version, "price": str(terms.price_amount)},
        )
        outbox.announce(
            event="listing.updated", payload=listing_payload(listing, is_new=is_new, changed=changed), at=at
        )
    return SavedListing(listing, is_new, is_changed and not is_new)


def check_software(version: str) -> None:
    """Raises InvalidFact unless approvals of a range of software can be held against it."""
    if version != doors.clean_text("software", version, at_most=64):
        raise InvalidFact("software", "There is space around the software version; take it out.")
    sort_key(version)


def _publish_offer(
    offer: ListingHost, answer: Answer, decision: Decision, by: Actor, at: datetime
) -> PublishOutcome:
    if answer.is_allowed:
        leave = decisions.clearance(decision)
        if offer.state == OfferState.LIVE:
            listings.renew_clearance(offer=offer, clearance=leave)
            return PublishOutcome(offer, answer, True, decision)
        moved = listings.move_offer(offer=offer, to_state=OfferState.LIVE, at=at, clearance=leave)
        event, state = "listing.published", OfferState.LIVE
    elif answer.outcome == Decision.Outcome.DENY and offer.state in (OfferState.DRAFT, OfferState.BLOCKED):
        if offer.state == OfferState.BLOCKED:
            if offer.reason_codes != answer.reason_codes:
                ListingHost.objects.filter(pk=offer.pk).update(reason_codes=answer.reason_codes)
                evidence = {"decision": str(decision.pk), "reason_codes": answer.reason_codes}
                entry = _entry("listing.blocked", offer, by, at, evidence, decision.revision)
                ledger.record_many([entry])
                told = offer_payload(offer, OfferState.BLOCKED, decision)
                outbox.announce(event="listing.issues_changed", payload=told, at=at)
            return PublishOutcome(offer, answer, False, decision)
        moved = listings.move_offer(
            offer=offer, to_state=OfferState.BLOCKED, at=at, reason_codes=answer.reason_codes
        )
        event, state = "listing.blocked", OfferState.BLOCKED
    else:
        # A live one that is refused is the sweep's business, a suspended one stays as it is. And "could not decide"
        # is no refusal: the offer waits as it was.
        return PublishOutcome(offer, answer, False, decision)
    if not moved:
        raise ListingMoved(f"{offer.listing.sku} was changed at the same time; read it again and repeat.")
    ledger.record(
        act=event,
        subject_kind="offer",
        subject_id=offer.pk,
        by=by,
        at=at,
        evidence={"decision": str(decision.pk), "reason_codes": answer.reason_codes},
        revision=decision.revision,
    )
    outbox.announce(event=event, payload=offer_payload(offer, state, decision), at=at)
    return PublishOutcome(offer, answer, answer.is_allowed, decision)


# What a vendor says of a listing: column -> the word for it.
SAID = {
    "variant": "variant",
    "condition": "condition",
    "territory": "territory",
    "channel": "channel",
    "software": "software",
    "description": "description",
    "price_amount": "price",
    "price_currency": "price",
}


def _save_row(
    stored: Listing | None, *, vendor: Organization, sku: str, terms: ListingTerms, at: datetime
) -> tuple[Listing, list[str]]:
    """The row, and the words for what is new of it."""
    fields = {name: getattr(terms, name) for name in SAID}
    if stored is None:
        made = Listing.objects.create(vendor=vendor, sku=sku, created_at=at, updated_at=at, **fields)
        return made, list(dict.fromkeys(SAID.values()))
    changed = [name for name, value in fields.items() if getattr(stored, name) != value]
    if not changed:
        return stored, []
    for name, value in fields.items():
        setattr(stored, name, value)
    stored.version += 1
    stored.updated_at = at
    stored.save(update_fields=[*fields, "version", "updated_at"])
    return stored, list(dict.fromkeys(SAID[name] for name in changed))


def _save_stock(listing: Listing, on_hand: int | None) -> bool:
    if on_hand is None:
        return False
    _, is_new = Stock.objects.get_or_create(listing=listing, defaults={"on_hand": on_hand})
    return is_new or bool(
        Stock.objects.filter(listing=listing).exclude(on_hand=on_hand).update(on_hand=on_hand)
    )


def _save_offers(listing: Listing, terms: ListingTerms, by: Actor, at: datetime) -> tuple[bool, bool]:
    """Whether an offer is new or other than before, and whether the listing is offered on other hosts."""
    known = {offer.host_id: offer for offer in _locked_offers(listing)}
    was_live = {offer.pk for offer in known.values() if offer.state == OfferState.LIVE}
    was_open = {offer.host_id for offer in known.values() if offer.state != OfferState.REMOVED}
    codes_of = {offer.pk: offer.reason_codes for offer in known.values()}
    changed = [
        offer for host in terms.hosts if (offer := _save_offer(listing, host, known.get(host.pk), terms, at))
    ]
    entries = [
        _entry("listing.unpublished", offer, by, at, {"sku": listing.sku})
        for offer in changed
        if offer.pk in was_live
    ]
    wanted = {host.pk for host in terms.hosts}
    for offer in known.values():
        if offer.host_id not in wanted and offer.state != OfferState.REMOVED:
            _move(offer, OfferState.REMOVED, at)
            outbox.announce(
                event="listing.removed", payload=offer_payload(offer, OfferState.REMOVED, None), at=at
            )
            entries.append(_entry("listing.removed", offer, by, at, {"sku": listing.sku}))
            changed.append(offer)
    open_offers = [offer for offer in changed if offer.state == OfferState.DRAFT]
    answers = decisions.decide_offers(open_offers, at=at)
    other_issues = []
    for offer, answer in zip(open_offers, answers, strict=True):
        is_refused = answer.outcome == Decision.Outcome.DENY
        codes = answer.reason_codes if is_refused else []
        if is_refused:
            listings.move_offer(offer=offer, to_state=OfferState.BLOCKED, at=at, reason_codes=codes)
            evidence = {"reasons": [reason.as_json() for reason in answer.reasons]}
            entries.append(_entry("listing.blocked", offer, by, at, evidence, answer.revision))
        if codes != codes_of.get(offer.pk, []):
            state = OfferState.BLOCKED if is_refused else OfferState.DRAFT
            told = offer_payload(offer, state, None, reason_codes=codes, revision=answer.revision)
            other_issues.append(told)
    ledger.record_many(entries)
    outbox.announce_many(event="listing.issues_changed", payloads=other_issues, at=at)
    return bool(changed), wanted != was_open


def _entry(
    act: str,
    offer: ListingHost,
    by: Actor,
    at: datetime,
    evidence: Mapping[str, object],
    revision: int | None = None,
) -> dict[str, object]:
    return ledger.entry_fields(
        act=act,
        subject_kind="offer",
        subject_id=offer.pk,
        by=by,
        at=at,
        evidence=evidence,
        revision=revision,
    )


def _save_offer(
    listing: Listing, host: HostCarrier, offer: ListingHost | None, terms: ListingTerms, at: datetime
) -> ListingHost | None:
    """The offer if it is new or its terms changed, as DRAFT; None if nothing changed."""
    terms_hash = content_hash(
        variant_id=terms.variant.pk,
        host_id=host.pk,
        territory=terms.territory,
        channel=terms.channel,
        condition=terms.condition,
        software=terms.software,
    )
    if offer is None:
        return ListingHost.objects.create(
            listing=listing, host=host, content_hash=terms_hash, state_changed_at=at
        )
    if offer.content_hash == terms_hash and offer.state != OfferState.REMOVED:
        return None
    # The clearance was given for other terms: the offer leaves the sale before its hash changes.
    if offer.state != OfferState.DRAFT:
        was_live = offer.state == OfferState.LIVE
        _move(offer, OfferState.DRAFT, at)
        if was_live:
            outbox.announce(
                event="listing.unpublished", payload=offer_payload(offer, OfferState.DRAFT, None), at=at
            )
    ListingHost.objects.filter(pk=offer.pk).update(content_hash=terms_hash)
    return _offers_of(listing).get(pk=offer.pk)


def _move(offer: ListingHost, to_state: str, at: datetime) -> None:
    if not listings.move_offer(offer=offer, to_state=to_state, at=at):
        raise ListingMoved(f"{offer.listing.sku} was changed at the same time; read it again and repeat.")


def _locked_offers(listing: Listing) -> list[ListingHost]:
    # Locked first and read after, in a statement of its own: a row that was waited for is read in its new state, the
    # rows joined to it would not be.
    bare = ListingHost.objects.filter(listing=listing).order_by("id")
    list(bare.select_for_update(no_key=True).values_list("pk"))
    return list(_offers_of(listing).order_by("id"))


def _offers_of(listing: Listing) -> QuerySet[ListingHost]:
    return ListingHost.objects.filter(listing=listing).select_related("listing__variant__device", "host")


def _codes(decision: Decision | None) -> list[str]:
    if decision is None:
        return []
    return list(dict.fromkeys(reason["code"] for reason in decision.reasons))
