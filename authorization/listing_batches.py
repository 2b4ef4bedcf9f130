"""Acts on many listings of one vendor at once: what `authorization.offers` does for one, in a few statements for all.

Each row comes out as if it had been sent alone, with the same ledger entries and the same events (the tests compare
the two). A row that is refused leaves the others alone. The caller opens the transaction, so that what it keeps of
the batch commits with it; nothing is done of a batch whose transaction fails.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError

from authorization import decisions, fence, ledger, outbox
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.facts import InvalidFact
from authorization.models import Decision
from authorization.offers import (
    SAID,
    ListingMoved,
    ListingRemoved,
    ListingTerms,
    check_software,
    listing_payload,
    offer_payload,
)
from authorization.rules import Question
from carriers.models import HostCarrier
from catalog.listing_writes import OfferMove, move_offers, set_stock, update_listings
from catalog.listings import content_hash
from catalog.models import Listing, ListingHost, OfferState, Organization, Stock, Variant


class NoSuchListing(Exception):
    """The vendor has no listing under this SKU."""


@dataclass(frozen=True)
class Inventory:
    """Price and stock alone of a listing that is there. None: as it is."""

    price: tuple[Decimal, str] | None
    on_hand: int | None


@dataclass
class SavedRow:
    """A listing as it is stored now. `answers`: host id -> what was decided, where it was asked."""

    listing: Listing
    is_new: bool = False
    is_changed: bool = False
    offers: list[ListingHost] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)


type Refusal = ListingRemoved | NoSuchListing | InvalidFact


# --- saved ------------------------------------------------------------------------------------------------------


def save_listings(
    *, vendor: Organization, rows: Mapping[str, ListingTerms | Inventory], by: Actor, at: datetime
) -> dict[str, SavedRow | Refusal]:
    """`offers.save_listing` of each row, by SKU. Inside the caller's transaction.

    Raises ListingMoved where somebody else stores the same SKU for the first time: repeat the transaction.
    """
    results: dict[str, SavedRow | Refusal] = {}
    # The order of locks is everybody's: the fence, listings, offers, stock, each by id.
    fence.shared()
    stored = _lock_listings(vendor, rows)
    offers_of = _lock_offers(stored.values())
    saves: list[_Save] = []
    for sku, terms in rows.items():
        listing = stored.get(sku)
        known = offers_of.get(listing.pk, []) if listing is not None else []
        if known and all(offer.state == OfferState.REMOVED for offer in known):
            results[sku] = ListingRemoved(sku)
        elif isinstance(terms, ListingTerms):
            try:
                check_software(terms.software)
            except InvalidFact as error:
                results[sku] = error
            else:
                saves.append(_save_of(vendor, sku, listing, terms, known, at))
        elif listing is None:
            results[sku] = NoSuchListing(f"You have no listing {sku}.")
        else:
            saves.append(_save_of_inventory(listing, terms, known, at))
    _store_listings([save for save in saves if save.is_new], [save for save in saves if save.is_touched])
    _decide(saves, at)
    _store_offers(saves, at)
    _store_stock(saves)
    _tell(saves, by, at)
    results |= {save.listing.sku: save.result() for save in saves}
    return results


@dataclass
class _Edit:
    """What becomes of one offer: stored anew, or moved along `way`. `was` is how it was read."""

    offer: ListingHost
    host: HostCarrier
    is_new: bool
    was_state: str
    was_codes: list[str]
    content_hash: str
    way: tuple[str, ...]
    answer: Answer | None = None

    @property
    def state(self) -> str:
        return self.way[-1] if self.way else self.offer.state


@dataclass
class _Save:
    """One listing on its way. `changed`: the words for what is new of it (offers.SAID)."""

    listing: Listing
    known: list[ListingHost]
    is_new: bool
    # Has its own row changed, so that it is a new version?
    is_touched: bool
    changed: list[str]
    price_amount: Decimal
    on_hand: int | None
    edits: list[_Edit] = field(default_factory=list)
    # Offers that stay refused: asked again to say why, by host id.
    still_refused: dict[int, Answer] = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        return bool(self.changed or self.edits)

    def result(self) -> SavedRow:
        answers = {edit.host.pk: edit.answer for edit in self.edits if edit.answer is not None}
        made = [edit.offer for edit in self.edits if edit.is_new]
        return SavedRow(
            self.listing,
            self.is_new,
            self.is_changed and not self.is_new,
            [*self.known, *made],
            answers | self.still_refused,
        )


def _lock_listings(vendor: Organization, skus: Iterable[str]) -> dict[str, Listing]:
    # No stronger: a sale's order line refers to this row while it holds the offers that we want next.
    rows = Listing.objects.select_for_update(no_key=True).filter(vendor=vendor, sku__in=list(skus))
    return {listing.sku: listing for listing in rows.order_by("id")}


def _lock_offers(listings: Iterable[Listing]) -> dict[int, list[ListingHost]]:
    """By listing id, in the order of their ids. Of one table alone: a row that was waited for is read as it is now."""
    by_id = {listing.pk: listing for listing in listings}
    found: dict[int, list[ListingHost]] = {}
    if not by_id:
        return found
    rows = (
        ListingHost.objects.select_for_update(no_key=True).filter(listing_id__in=list(by_id)).order_by("id")
    )
    offers = list(rows)
    hosts = HostCarrier.objects.in_bulk({offer.host_id for offer in offers})
    for offer in offers:
        offer.listing, offer.host = by_id[offer.listing_id], hosts[offer.host_id]
        found.setdefault(offer.listing_id, []).append(offer)
    return found


def _save_of(
    vendor: Organization,
    sku: str,
    stored: Listing | None,
    terms: ListingTerms,
    known: list[ListingHost],
    at: datetime,
) -> _Save:
    said = {name: getattr(terms, name) for name in SAID if name != "variant"}
    if stored is None:
        listing = Listing(vendor=vendor, sku=sku, variant=terms.variant, created_at=at, updated_at=at, **said)
        changed = list(SAID)
    else:
        listing = stored
        changed = [name for name, value in said.items() if getattr(listing, name) != value]
        if listing.variant_id != terms.variant.pk:
            changed.insert(0, "variant")
        else:
            # With its device, read for all rows together: each row would read its own.
            listing.variant = terms.variant
        _change(listing, {**said, "variant": terms.variant} if changed else {}, at)
    words = list(dict.fromkeys(SAID[name] for name in changed))
    is_new = stored is None
    save = _Save(
        listing,
        known,
        is_new,
        bool(changed) and not is_new,
        words,
        terms.price_amount,
        terms.on_hand,
    )
    _edit_offers(save, terms, at)
    return save


def _save_of_inventory(listing: Listing, sent: Inventory, known: list[ListingHost], at: datetime) -> _Save:
    said: dict[str, Any] = {}
    if sent.price is not None and sent.price != (listing.price_amount, listing.price_currency):
        said = {"price_amount": sent.price[0], "price_currency": sent.price[1]}
    _change(listing, said, at)
    words = list(dict.fromkeys(SAID[name] for name in said))
    return _Save(listing, known, False, bool(said), words, listing.price_amount, sent.on_hand)


def _change(listing: Listing, said: Mapping[str, Any], at: datetime) -> None:
    for name, value in said.items():
        setattr(listing, name, value)
    if said:
        listing.version += 1
        listing.updated_at = at


def _edit_offers(save: _Save, terms: ListingTerms, at: datetime) -> None:
    by_host = {offer.host_id: offer for offer in save.known}
    wanted = {host.pk for host in terms.hosts}
    for host in terms.hosts:
        terms_hash = content_hash(
            variant_id=terms.variant.pk,
            host_id=host.pk,
            territory=terms.territory,
            channel=terms.channel,
            condition=terms.condition,
            software=terms.software,
        )
        offer = by_host.get(host.pk)
        if offer is None:
            made = ListingHost(listing=save.listing, host=host, content_hash=terms_hash, state_changed_at=at)
            save.edits.append(_Edit(made, host, True, "", [], terms_hash, ()))
        elif offer.content_hash != terms_hash or offer.state == OfferState.REMOVED:
            # The clearance was given for other terms: the offer leaves the sale.
            way = () if offer.state == OfferState.DRAFT else (OfferState.DRAFT,)
            save.edits.append(_edit(offer, terms_hash, way))
    for offer in save.known:
        if offer.host_id not in wanted and offer.state != OfferState.REMOVED:
            save.edits.append(_edit(offer, offer.content_hash, (OfferState.REMOVED,)))
    if wanted != {offer.host_id for offer in save.known if offer.state != OfferState.REMOVED}:
        save.changed.append("hosts")


def _edit(offer: ListingHost, terms_hash: str, way: tuple[str, ...]) -> _Edit:
    return _Edit(offer, offer.host, False, offer.state, offer.reason_codes, terms_hash, way)


def _store_listings(new: Sequence[_Save], touched: Sequence[_Save]) -> None:
    # By SKU: of two batches that bring the same ones the second waits, and neither for the other.
    ordered = sorted((save.listing for save in new), key=lambda listing: listing.sku)
    try:
        Listing.objects.bulk_create(ordered)
    except IntegrityError as error:
        raise ListingMoved("Another request saved one of these listings at the same time.") from error
    update_listings([save.listing for save in touched])


def _decide(saves: Sequence[_Save], at: datetime) -> None:
    """Every offer that is a draft now; and those that stay refused, so that each row can say why."""
    asked: list[tuple[_Save, _Edit | None, int]] = []
    for save in saves:
        edited = {edit.host.pk for edit in save.edits}
        asking = [(edit, edit.host.pk) for edit in save.edits if edit.state == OfferState.DRAFT]
        refused = (OfferState.BLOCKED, OfferState.SUSPENDED)
        quiet = [
            offer.host_id for offer in save.known if offer.state in refused and offer.host_id not in edited
        ]
        asked += [(save, edit, host_id) for edit, host_id in asking]
        asked += [(save, None, host_id) for host_id in quiet]
    if not asked:
        return
    _read_variants(save.listing for save, _, _ in asked)
    questions = [_question(save, host_id) for save, _, host_id in asked]
    setting = decisions.read_setting(at=at, known_at=None)
    answers = decisions.answers_in(setting, questions, at=decisions.instant_of(setting, at))
    for (save, edit, host_id), answer in zip(asked, answers, strict=True):
        if edit is None:
            save.still_refused[host_id] = answer
            continue
        edit.answer = answer
        if answer.outcome == Decision.Outcome.DENY:
            edit.way = (*edit.way, OfferState.BLOCKED)


def _read_variants(listings: Iterable[Listing]) -> None:
    """Of those that came without: in one statement, with their devices."""
    bare = [listing for listing in listings if not Listing.variant.is_cached(listing)]
    if bare:
        found = Variant.objects.select_related("device").in_bulk({listing.variant_id for listing in bare})
        for listing in bare:
            listing.variant = found[listing.variant_id]


def _question(save: _Save, host_id: int) -> Question:
    listing, variant = save.listing, save.listing.variant
    return Question(
        vendor_id=listing.vendor_id,
        manufacturer_id=variant.device.manufacturer_id,
        device_id=variant.device_id,
        variant_id=variant.pk,
        host_id=host_id,
        territory=listing.territory,
        channel=listing.channel,
        condition=listing.condition,
        listing_id=listing.pk,
        software=listing.software,
    )


def _store_offers(saves: Sequence[_Save], at: datetime) -> None:
    edits = [edit for save in saves for edit in save.edits]
    moves = [
        OfferMove(edit.offer, edit.way, edit.content_hash, _codes(edit)) for edit in edits if not edit.is_new
    ]
    if move_offers(moves, at=at) != len(moves):
        raise ListingMoved("Another request changed one of these listings at the same time.")
    for edit in edits:
        offer = edit.offer
        offer.state, offer.content_hash, offer.reason_codes = edit.state, edit.content_hash, _codes(edit)
        offer.version += len(edit.way)
    new = [edit.offer for edit in edits if edit.is_new]
    for offer in new:
        # Its listing has an id by now.
        # Anew, now that the listing has its id: setting the id alone would forget the listing, and each be read again.
        listing = offer.listing
        offer.listing = listing
    ListingHost.objects.bulk_create(new)


def _codes(edit: _Edit) -> list[str]:
    return edit.answer.reason_codes if edit.answer is not None and edit.state == OfferState.BLOCKED else []


def _store_stock(saves: Sequence[_Save]) -> None:
    """Last in the order of locks: a sale takes it after the offers."""
    given = {save.listing.pk: save for save in saves if save.on_hand is not None}
    had: dict[int, int] = {}
    if any(not save.is_new for save in given.values()):
        rows = Stock.objects.select_for_update(no_key=True).filter(listing_id__in=list(given)).order_by("id")
        had = dict(rows.values_list("listing_id", "on_hand"))
    new: list[Stock] = []
    moved: list[tuple[int, int]] = []
    for listing_id, save in given.items():
        if had.get(listing_id) == save.on_hand or save.on_hand is None:
            continue
        save.changed.append("on_hand")
        if listing_id in had:
            moved.append((save.on_hand, listing_id))
        else:
            new.append(Stock(listing_id=listing_id, on_hand=save.on_hand))
    Stock.objects.bulk_create(new)
    set_stock(moved)


def _tell(saves: Sequence[_Save], by: Actor, at: datetime) -> None:
    entries: list[dict[str, Any]] = []
    unpublished, removed, other_issues, updated = [], [], [], []
    for save in saves:
        if not save.is_changed:
            continue
        sku = {"sku": save.listing.sku}
        gone = [edit for edit in save.edits if edit.state == OfferState.REMOVED]
        kept = [edit for edit in save.edits if edit.state != OfferState.REMOVED]
        for edit in kept:
            if edit.was_state == OfferState.LIVE:
                unpublished.append(offer_payload(edit.offer, OfferState.DRAFT, None))
                entries.append(_entry("listing.unpublished", edit.offer, by, at, sku))
        for edit in gone:
            removed.append(offer_payload(edit.offer, OfferState.REMOVED, None))
            entries.append(_entry("listing.removed", edit.offer, by, at, sku))
        for edit in kept:
            answer = edit.answer
            if answer is None:
                continue
            if edit.state == OfferState.BLOCKED:
                said = {"reasons": [reason.as_json() for reason in answer.reasons]}
                entries.append(_entry("listing.blocked", edit.offer, by, at, said, answer.revision))
            codes = _codes(edit)
            if codes != edit.was_codes:
                told = {"reason_codes": codes, "revision": answer.revision}
                other_issues.append(offer_payload(edit.offer, edit.state, None, **told))
        entries.append(
            ledger.entry_fields(
                act="listing.saved",
                subject_kind="listing",
                subject_id=save.listing.pk,
                by=by,
                at=at,
                evidence={**sku, "version": save.listing.version, "price": str(save.price_amount)},
            )
        )
        updated.append(listing_payload(save.listing, is_new=save.is_new, changed=save.changed))
    ledger.record_many(entries)
    for event, payloads in (
        ("listing.unpublished", unpublished),
        ("listing.removed", removed),
        ("listing.issues_changed", other_issues),
        ("listing.updated", updated),
    ):
        outbox.announce_many(event=event, payloads=payloads, at=at)


def _entry(
    act: str,
    offer: ListingHost,
    by: Actor,
    at: datetime,
    evidence: Mapping[str, object],
    revision: int | None = None,
) -> dict[str, Any]:
    return ledger.entry_fields(
        act=act, subject_kind="offer", subject_id=offer.pk, by=by, at=at, evidence=evidence, revision=revision
    )


# --- published --------------------------------------------------------------------------------------------------


@dataclass
class PublishedRow:
    """A listing after leave to sell it was asked for. `answers`: host id -> what was decided."""

    listing: Listing
    is_changed: bool
    offers: list[ListingHost]
    answers: dict[int, Answer]


def publish_listings(
    *, vendor: Organization, skus: Sequence[str], by: Actor, at: datetime
) -> dict[str, PublishedRow | Refusal]:
    """`offers.publish_listing` of each, by SKU. Inside the caller's transaction.

    An offer that is as it would become is left alone, without another decision on record: what is live and allowed,
    and what is blocked for the same reasons. Raises ListingMoved: repeat the transaction.
    """
    results: dict[str, PublishedRow | Refusal] = {}
    fence.shared()
    stored = _lock_listings(vendor, skus)
    offers_of = _lock_offers(stored.values())
    open_offers: list[ListingHost] = []
    for sku in skus:
        listing = stored.get(sku)
        if listing is None:
            results[sku] = NoSuchListing(f"You have no listing {sku}.")
            continue
        known = offers_of.get(listing.pk, [])
        if all(offer.state == OfferState.REMOVED for offer in known):
            results[sku] = ListingRemoved(sku)
            continue
        results[sku] = PublishedRow(listing, False, known, {})
        open_offers += [offer for offer in known if offer.state != OfferState.REMOVED]
    _read_variants(offer.listing for offer in open_offers)
    # Under the fence no revision can come between these answers and the commit.
    answers = decisions.decide_offers(open_offers, at=at)
    moves = []
    for offer, answer in zip(open_offers, answers, strict=True):
        row = results[offer.listing.sku]
        if isinstance(row, PublishedRow):
            row.answers[offer.host_id] = answer
            if (to_state := _published(offer, answer)) is not None:
                row.is_changed = True
                moves.append((offer, answer, to_state))
    _publish(moves, by, at)
    return results


def _published(offer: ListingHost, answer: Answer) -> str | None:
    """Where this answer takes the offer; None where it stays as it is.

    A live one that is refused is the sweep's business, a suspended one stays as it is. And "could not decide" is no
    refusal: the offer waits as it was.
    """
    if answer.is_allowed:
        return None if offer.state == OfferState.LIVE else OfferState.LIVE
    if answer.outcome != Decision.Outcome.DENY:
        return None
    if offer.state == OfferState.DRAFT or (
        offer.state == OfferState.BLOCKED and offer.reason_codes != answer.reason_codes
    ):
        return OfferState.BLOCKED
    return None


def _publish(moves: Sequence[tuple[ListingHost, Answer, str]], by: Actor, at: datetime) -> None:
    recorded = decisions.record_decisions((answer, offer) for offer, answer, _ in moves)
    entries, written = [], []
    told: dict[str, list[dict[str, object]]] = {
        "listing.published": [], "listing.blocked": [], "listing.issues_changed": [],
    }  # fmt: skip
    for (offer, answer, to_state), decision in zip(moves, recorded, strict=True):
        is_live = to_state == OfferState.LIVE
        codes = [] if is_live else answer.reason_codes
        way = () if offer.state == to_state else (to_state,)
        leave = decisions.clearance(decision) if is_live else None
        written.append(OfferMove(offer, way, offer.content_hash, codes, leave))
        act = "listing.published" if is_live else "listing.blocked"
        event = act if way else "listing.issues_changed"
        evidence = {"decision": str(decision.pk), "reason_codes": answer.reason_codes}
        entries.append(_entry(act, offer, by, at, evidence, decision.revision))
        told[event].append(offer_payload(offer, to_state, decision))
    if move_offers(written, at=at) != len(written):
        raise ListingMoved("Another request changed one of these listings at the same time.")
    for move in written:
        move.offer.state, move.offer.reason_codes = move.to_state, list(move.reason_codes)
        move.offer.version += len(move.way)
    ledger.record_many(entries)
    for event, payloads in told.items():
        outbox.announce_many(event=event, payloads=payloads, at=at)
