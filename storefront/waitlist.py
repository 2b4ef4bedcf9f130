"""The waitlist: who wants to hear when a phone can be bought again, asked twice, told once, forgotten after.

An entry is one address and one variant. It is confirmed by the link in a mail, ended by the same link, by word that
the phone can be bought, or by word that it is gone for good. Nobody learns from the pages whether an address is known
here. A mail is an outbox row of its own with the entry's number in it; the address stands in the entry alone, so that
erasing it there erases it.
"""

import secrets
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse

from authorization import decisions, fence, ledger, outbox
from authorization.actors import SYSTEM, Actor
from authorization.models import OutboxRow
from authorization.selectors import for_sale
from catalog.models import ListingHost, OfferState, Variant
from storefront.assortment import cheapest_offers, live_offers, shop_offers
from storefront.models import WaitlistEntry

logger = structlog.get_logger(__name__)

# A link of a mail can be used to confirm for so long; an entry that nobody confirmed is deleted after it.
CONFIRM_WITHIN = timedelta(days=2)
# Asked again before: no second mail.
MAIL_AGAIN_AFTER = timedelta(hours=1)
# Of one address, in an hour; and of all, so that nobody makes this shop mail the world.
ASKS_PER_ADDRESS = 5
ASKS_IN_ALL = 2000
# A seller may take a listing away and list the phone anew under another number.
GONE_AFTER = timedelta(days=1)
# Mails announced at once: a sweep that begins meanwhile must not wait behind thousands of them.
MAILS_PER_ROUND = 100
# As the phone's page: of a variant that a thousand vendors sell, the cheapest are asked about.
OFFERS_PER_VARIANT = 20
VARIANTS_AT_ONCE = 100

RETURNED, GONE, ASKED = "waitlist.returned", "waitlist.gone", "waitlist.asked"


class NothingToWaitFor(Exception):
    """It can be bought now, or never again. The message is for the shopper."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TooManyAsk(Exception):
    """The shop takes no more entries at the moment, from anybody."""


@dataclass(frozen=True)
class Chance:
    """How it stands with buying one variant now."""

    can_be_bought: bool
    is_out_of_stock: bool
    is_gone: bool

    @property
    def waits_for(self) -> str:
        return WaitlistEntry.WaitsFor.STOCK if self.is_out_of_stock else WaitlistEntry.WaitsFor.APPROVAL


# --- acts ---------------------------------------------------------------------------------------------------


def ask(*, email: str, variant: Variant, by: Actor, at: datetime) -> None:
    """Somebody asks to be told. Whether the address is on the list already, the answer is the same: none.

    Raises NothingToWaitFor and TooManyAsk, neither of which tells of any address, and DecisionUnavailable.
    """
    email = email.strip().lower()
    chance = chance_of(variant, at=at)
    if chance.can_be_bought:
        raise NothingToWaitFor("You can buy this phone now: there is nothing to wait for.")
    if chance.is_gone:
        raise NothingToWaitFor("Its sellers have taken this phone out of the shop for good.")
    lately = WaitlistEntry.objects.filter(created_at__gt=at - timedelta(hours=1))
    if lately.count() >= ASKS_IN_ALL:
        logger.warning("waitlist.too_many_ask")
        raise TooManyAsk
    if lately.filter(email=email).count() >= ASKS_PER_ADDRESS:
        logger.warning("waitlist.address_asks_too_often")
        return
    try:
        with transaction.atomic():
            _open_entry(email, variant, chance.waits_for, by=by, at=at)
    except IntegrityError:
        # Sent twice at once: the other one opened it, and its mail is on the way.
        return


def _open_entry(email: str, variant: Variant, waits_for: str, *, by: Actor, at: datetime) -> None:
    found = open_entries().filter(email=email, variant=variant)
    entry = found.select_for_update(no_key=True).first()
    if entry is not None and (entry.confirmed_at is not None or at < entry.created_at + MAIL_AGAIN_AFTER):
        return
    if entry is None:
        entry = WaitlistEntry(email=email, variant=variant)
    # A new link: the old one ends with it.
    entry.waits_for, entry.created_at, entry.token = waits_for, at, secrets.token_urlsafe(32)
    entry.save()
    _record("waitlist.asked", entry, by=by, at=at, variant=variant.slug, waits_for=waits_for)
    outbox.announce(event=ASKED, payload={"entry_id": entry.pk}, at=at)


def confirm(*, token: str, by: Actor, at: datetime) -> WaitlistEntry | None:
    """Whoever has the link of the mail has the address. None where it leads nowhere any more."""
    with transaction.atomic():
        entry = open_entries().select_for_update(no_key=True).filter(token=token).first()
        if entry is None or has_run_out(entry, at=at):
            return None
        if entry.confirmed_at is None:
            entry.confirmed_at = at
            entry.save(update_fields=["confirmed_at"])
            _record("waitlist.confirmed", entry, by=by, at=at)
    return entry


def end(*, token: str, by: Actor, at: datetime) -> WaitlistEntry | None:
    """Take an entry off the list. Doing it again changes nothing; None for a token that nobody has."""
    with transaction.atomic():
        entry = WaitlistEntry.objects.select_for_update(no_key=True).filter(token=token).first()
        if entry is not None and is_open(entry):
            entry.ended_at = at
            entry.save(update_fields=["ended_at"])
            _record("waitlist.ended", entry, by=by, at=at)
    return entry


def erase_old(*, at: datetime) -> int:
    """Forget whom nothing is owed any more: addresses of entries that are over, entries that nobody confirmed."""
    kept_since = at - timedelta(days=settings.WAITLIST_KEEP_DAYS)
    with transaction.atomic():
        over = WaitlistEntry.objects.filter(Q(ended_at__lt=kept_since) | Q(told_at__lt=kept_since))
        erased = over.exclude(email="").update(email="")
        unconfirmed = open_entries().filter(confirmed_at__isnull=True, created_at__lt=at - CONFIRM_WITHIN)
        deleted, _ = unconfirmed.delete()
        if erased or deleted:
            ledger.record(
                act="waitlist.erased",
                subject_kind="waitlist",
                subject_id="all",
                by=SYSTEM,
                at=at,
                evidence={"addresses": erased, "unconfirmed": deleted},
            )
    return erased + deleted


def _record(act: str, entry: WaitlistEntry, *, by: Actor, at: datetime, **evidence: object) -> None:
    # Never the address: the ledger keeps for ever.
    ledger.record(act=act, subject_kind="waitlistentry", subject_id=entry.pk, by=by, at=at, evidence=evidence)


# --- who is to be told --------------------------------------------------------------------------------------


def tell_waiting(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.finished`: what it brought back may be waited for."""
    announce_returns(at=at)


def announce_returns(*, at: datetime) -> int:
    """A mail each for those whose phone can be bought again, and for those whose phone is gone. Returns how many.

    After a sweep, and every minute besides: for what a vendor published, and for stock that was filled up.
    """
    returned = _returned(at=at)
    told = _announce(RETURNED, returned, at=at) if returned else 0
    gone = _gone(at=at)
    return told + (_announce(GONE, gone, at=at) if gone else 0)


def _returned(*, at: datetime) -> list[int]:
    """Variants that somebody waits for and that can be bought now; as many as fill a round."""
    in_stock = live_offers().filter(listing__variant=OuterRef("variant"), listing__stock__on_hand__gt=0)
    found: list[int] = []
    waiting = 0
    for variant_ids in _variants_waited_for(Q(Exists(in_stock))):
        offers = live_offers().filter(listing__variant__in=variant_ids, listing__stock__on_hand__gt=0)
        rows = cheapest_offers(offers, limit=OFFERS_PER_VARIANT)
        answers = decisions.decide_offers(rows, at=at)
        allowed = {
            row.listing.variant_id for row, answer in zip(rows, answers, strict=True) if for_sale(row, answer)
        }
        found += sorted(allowed)
        waiting += _untold().filter(variant__in=allowed).count()
        if waiting >= MAILS_PER_ROUND:
            break
    return found


def _gone(*, at: datetime) -> list[int]:
    offers = shop_offers().filter(listing__variant=OuterRef("variant"))
    is_gone = (
        Q(Exists(offers.filter(decision_id__isnull=False)))
        & ~Q(Exists(offers.exclude(state=OfferState.REMOVED)))
        & ~Q(Exists(offers.filter(state_changed_at__gt=at - GONE_AFTER)))
    )
    return [pk for variant_ids in _variants_waited_for(is_gone) for pk in variant_ids]


def _variants_waited_for(condition: Q) -> Iterator[tuple[int, ...]]:
    ids = _untold().filter(condition).order_by("variant_id").values_list("variant_id", flat=True).distinct()
    yield from batched(list(ids), VARIANTS_AT_ONCE)


def _announce(event: str, variant_ids: list[int], *, at: datetime) -> int:
    with transaction.atomic():
        # Locked, so that another worker's round waits here and then sees what this one has announced.
        waiting = _untold().filter(variant__in=variant_ids).order_by("id")
        entries = list(waiting.select_for_update(of=("self",), no_key=True)[:MAILS_PER_ROUND])
        on_their_way = set(_announced().values_list("payload__entry_id", flat=True))
        due = [entry for entry in entries if entry.pk not in on_their_way]
        for entry in due:
            outbox.announce(event=event, payload={"entry_id": entry.pk}, at=at)
    return len(due)


def _untold() -> QuerySet[WaitlistEntry]:
    """Who waits, and has no mail on its way."""
    confirmed = open_entries().filter(confirmed_at__isnull=False)
    return confirmed.exclude(pk__in=list(_announced().values_list("payload__entry_id", flat=True)))


def _announced() -> QuerySet[OutboxRow]:
    """Mails of returns that are still to be sent, or were given up and not settled: not to be announced again."""
    rows = OutboxRow.objects.filter(event__in=[RETURNED, GONE]).exclude(handler="")
    is_open = Q(done_at__isnull=True, failed_at__isnull=True)
    return rows.filter(is_open | Q(is_dead=True, settled_at__isnull=True))


# --- mails --------------------------------------------------------------------------------------------------


def send_confirmation(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `waitlist.asked`: the second question, which only the owner of the address sees."""
    entry = _entry_of(payload)
    if entry is None or entry.confirmed_at is not None or has_run_out(entry, at=at):
        return
    _send(
        entry,
        subject=f"Please confirm: {entry.variant.device}",
        lines=[
            f"somebody, you we hope, asked to be told when the {_name(entry)} can be bought here again.",
            "",
            f"If it was you, confirm it within two days: {link_of(entry)}",
            "",
            "If it was not, do nothing: we write no more, and forget the address.",
        ],
        at=at,
    )


def send_return(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `waitlist.returned`. Asked anew now: what was on sale at the announcement may have fallen since.

    Then the entry waits on. Raises DecisionUnavailable, to be tried again.
    """
    entry = _entry_of(payload)
    if entry is None or entry.confirmed_at is None or not chance_of(entry.variant, at=at).can_be_bought:
        return
    sent = _send(
        entry,
        subject=f"You can buy it again: {entry.variant.device}",
        lines=[
            f"the {_name(entry)} can be bought here again: {device_link(entry.variant)}",
            "",
            "We cannot keep one aside for you, nor promise that it stays on sale.",
            "This was our only mail: you are off the list, and we forget the address in "
            f"{settings.WAITLIST_KEEP_DAYS} days.",
        ],
        at=at,
    )
    if sent:
        _mark_told(entry, at=at, how="returned")


def send_farewell(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `waitlist.gone`."""
    entry = _entry_of(payload)
    if entry is None or entry.confirmed_at is None or not chance_of(entry.variant, at=at).is_gone:
        return
    sent = _send(
        entry,
        subject=f"It will not come back: {entry.variant.device}",
        lines=[
            f"the {_name(entry)}, which you waited for, was taken out of our shop for good.",
            f"What else we sell: {settings.PUBLIC_URL}{reverse('shop:list')}",
            "",
            f"You are off the list, and we forget the address in {settings.WAITLIST_KEEP_DAYS} days.",
        ],
        at=at,
    )
    if sent:
        _mark_told(entry, at=at, how="gone")


def _entry_of(payload: dict[str, Any]) -> WaitlistEntry | None:
    entries = open_entries().select_related("variant__device")
    return entries.filter(pk=payload["entry_id"]).first()


def _send(entry: WaitlistEntry, *, subject: str, lines: list[str], at: datetime) -> bool:
    """Mail it; False where the address takes no mail, which ends the entry. Raises what else the mail server raises."""
    fence.refuse_inside("mail")
    body = "\n".join(["Hello,", "", *lines, "", f"Stop and be forgotten: {link_of(entry)}", ""])
    headers = {}
    if settings.PUBLIC_URL:
        # RFC 8058: the mail program's own button posts to this address.
        headers = {
            "List-Unsubscribe": f"<{link_of(entry)}end/>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    try:
        EmailMessage(" ".join(subject.split()), body, None, [entry.email], headers=headers).send()
    except smtplib.SMTPRecipientsRefused as error:
        if any(code < 500 for code, _ in error.recipients.values()):
            raise
        # No such address: to try again would refuse it again.
        end(token=entry.token, by=SYSTEM, at=at)
        return False
    return True


def _mark_told(entry: WaitlistEntry, *, at: datetime, how: str) -> None:
    """After the mail: a crash between the two mails twice rather than never."""
    with transaction.atomic():
        if open_entries().filter(pk=entry.pk).update(told_at=at):
            _record("waitlist.told", entry, by=SYSTEM, at=at, how=how)


# --- reading ------------------------------------------------------------------------------------------------


def open_entries() -> QuerySet[WaitlistEntry]:
    return WaitlistEntry.objects.filter(ended_at__isnull=True, told_at__isnull=True)


def is_open(entry: WaitlistEntry) -> bool:
    return entry.ended_at is None and entry.told_at is None


def has_run_out(entry: WaitlistEntry, *, at: datetime) -> bool:
    return entry.confirmed_at is None and at >= entry.created_at + CONFIRM_WITHIN


def chance_of(variant: Variant, *, at: datetime) -> Chance:
    """Raises DecisionUnavailable."""
    rows = cheapest_offers(live_offers().filter(listing__variant=variant), limit=OFFERS_PER_VARIANT)
    answers = decisions.decide_offers(rows, at=at)
    may_be_sold = [row for row, answer in zip(rows, answers, strict=True) if for_sale(row, answer)]
    can_be_bought = any(_on_hand(row) for row in may_be_sold)
    offers = shop_offers().filter(listing__variant=variant)
    is_gone = not rows and (
        offers.filter(decision_id__isnull=False).exists()
        and not offers.exclude(state=OfferState.REMOVED).exists()
    )
    return Chance(can_be_bought, bool(may_be_sold) and not can_be_bought, is_gone)


def _on_hand(offer: ListingHost) -> int:
    return offer.listing.stock.on_hand


def link_of(entry: WaitlistEntry) -> str:
    return f"{settings.PUBLIC_URL}{reverse('shop:waitlist', args=[entry.token])}"


def device_link(variant: Variant) -> str:
    return f"{settings.PUBLIC_URL}{reverse('shop:device', args=[variant.device.slug])}#{variant.slug}"


def _name(entry: WaitlistEntry) -> str:
    return f"{entry.variant.device} (model {entry.variant.model_number})"
