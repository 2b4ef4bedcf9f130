"""Public notices: drafted from the facts of a withdrawal, published by a person, then left as they are."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.text import slugify

from authorization import ledger
from authorization.actors import SYSTEM, Actor
from authorization.models import LedgerEntry, Revocation
from authorization.revocations import WITHDRAWAL_REASONS
from catalog.models import ListingHost, Organization
from storefront.models import Notice
from storefront.withdrawals import offers_taken_down

# Withdrawals of one vendor's phones that come this close together are one story.
ONE_STORY = timedelta(days=3)
NAMED_IN_NOTICE = 40


class InvalidNotice(ValueError):
    """A notice that cannot be saved or published so. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def draft_notice(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Draft a notice of what a withdrawal took off sale, or add it to the draft of the same story.

    What nobody could buy before needs no notice.
    """
    revocation = Revocation.objects.select_related("fact").get(pk=payload["revocation_id"])
    offers = offers_taken_down(revocation, at=at)
    if not offers:
        return
    vendors = sorted({offer.listing.vendor for offer in offers}, key=lambda vendor: vendor.pk)
    with transaction.atomic():
        # Two withdrawals of one vendor's phones at once: the second waits here, then finds the first's draft.
        rows = Organization.objects.filter(pk__in=[vendor.pk for vendor in vendors]).order_by("pk")
        list(rows.select_for_update(no_key=True))
        if revocation.notices.exists():
            return
        notice = _open_draft(revocation, vendors, at=at)
        if notice is None:
            notice = Notice.objects.create(
                slug=_free_slug(f"{revocation.effective_at:%Y-%m-%d}-{slugify(vendors[0].name)}"),
                title=_title(vendors),
                body=f"{_what_happened(revocation, offers)}\n\n{_WHAT_NEXT}",
                drafted_at=at,
            )
            act = "notice.drafted"
        else:
            notice.body = _with_section(notice, _what_happened(revocation, offers))
            notice.save(update_fields=["body"])
            act = "notice.extended"
        notice.revocations.add(revocation)
        ledger.record(
            act=act,
            subject_kind="notice",
            subject_id=notice.pk,
            by=SYSTEM,
            at=at,
            evidence={"revocation": revocation.pk, "offers": len(offers)},
        )


def edit_notice(
    *, notice: Notice, title: str, body: str, by: Actor, at: datetime, seen_body: str | None = None
) -> Notice:
    """Change a draft. Raises InvalidNotice; a published notice is left as it is.

    `seen_body` is the text that the editor began from: what was added to the draft since must not be lost.
    """
    title, body = title.strip(), body.strip()
    if not title:
        raise InvalidNotice("title", "Give the notice a title that says what was taken off sale.")
    if len(title) > 200:
        raise InvalidNotice("title", f"The title has {len(title)} characters; take at most 200.")
    if not body:
        raise InvalidNotice(
            "body", "Write the notice: what happened, why, what becomes of orders, what next."
        )
    with transaction.atomic():
        draft = _locked_draft(notice, seen_body)
        before = {"title": draft.title, "body": draft.body}
        draft.title, draft.body = title, body
        draft.save(update_fields=["title", "body"])
        ledger.record(
            act="notice.edited",
            subject_kind="notice",
            subject_id=draft.pk,
            by=by,
            at=at,
            evidence={"before": before},
        )
    return draft


def publish_notice(*, notice: Notice, by: Actor, at: datetime, seen_body: str | None = None) -> Notice:
    """Make a draft public, in the name of a person, who read `seen_body`. Raises InvalidNotice."""
    if by == SYSTEM:
        raise InvalidNotice("by", "A notice is published by a person who answers for it.")
    with transaction.atomic():
        draft = _locked_draft(notice, seen_body)
        draft.published_at, draft.published_by = at, str(by)
        draft.save(update_fields=["published_at", "published_by"])
        ledger.record(
            act="notice.published",
            subject_kind="notice",
            subject_id=draft.pk,
            by=by,
            at=at,
            evidence={"title": draft.title, "body": draft.body},
        )
    return draft


def _plain(text: str) -> str:
    # Browsers send line ends in their own way.
    return "\n".join(text.strip().splitlines())


def _locked_draft(notice: Notice, seen_body: str | None) -> Notice:
    locked = Notice.objects.select_for_update(no_key=True).get(pk=notice.pk)
    if locked.published_at is not None:
        raise InvalidNotice(
            "body", "This notice is published and stays as it is. Say what is new in a new one."
        )
    if seen_body is not None and _plain(seen_body) != _plain(locked.body):
        raise InvalidNotice(
            "body", "The draft was changed since you opened it. Copy what you wrote, and open it again."
        )
    return locked


def _open_draft(revocation: Revocation, vendors: Iterable[Organization], *, at: datetime) -> Notice | None:
    """The newest unpublished draft that tells of these vendors' phones, within a few days."""
    nearby = Revocation.objects.filter(
        effective_at__gte=revocation.effective_at - ONE_STORY,
        effective_at__lte=revocation.effective_at + ONE_STORY,
    )
    ids = Notice.objects.filter(published_at__isnull=True, revocations__in=nearby).values("pk")
    # Locked, so that nobody edits or publishes between here and the addition.
    drafts = Notice.objects.select_for_update(no_key=True).filter(pk__in=ids, published_at__isnull=True)
    wanted = {vendor.pk for vendor in vendors}
    for draft in drafts.order_by("-id"):
        for told in draft.revocations.select_related("fact"):
            if wanted & {offer.listing.vendor_id for offer in offers_taken_down(told, at=at)}:
                return draft
    return None


def _free_slug(wanted: str) -> str:
    stem = wanted[:90].strip("-")
    taken = set(Notice.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    number = 1
    while (slug := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return slug


def _title(vendors: list[Organization]) -> str:
    if len(vendors) == 1:
        return f"Phones sold by {vendors[0].name[:160]} taken off sale"
    return f"Phones of {len(vendors)} vendors taken off sale"


# How an order ends is the desk's word, per order; these sentences hold for all of them.
_WHAT_NEXT = "\n\n".join(
    [
        "If you ordered one of these phones: an order that had not been shipped is on hold. We will either ship it, "
        "once it may be sold again, or refund it, and tell you which. An order that had been shipped is yours.",
        "What next: these phones come back only when whoever must authorize their sale has done so. The vendors are "
        "told which of their offers this concerns.",
    ]
)


def _with_section(notice: Notice, section: str) -> str:
    """The draft with one withdrawal more. A text that a person has edited is added to, and else left as it is."""
    edits = LedgerEntry.objects.filter(act="notice.edited", subject_kind="notice", subject_id=str(notice.pk))
    if not notice.body.endswith(_WHAT_NEXT) or edits.exists():
        return f"{notice.body}\n\n{section}"
    return f"{notice.body.removesuffix(_WHAT_NEXT)}{section}\n\n{_WHAT_NEXT}"


def _what_happened(revocation: Revocation, offers: list[ListingHost]) -> str:
    """One withdrawal. Its first line is its heading, in plain text."""
    vendors = ", ".join(sorted({offer.listing.vendor.name for offer in offers}))
    hosts = ", ".join(sorted({offer.host.name for offer in offers}))
    phones = sorted({str(offer.listing.variant) for offer in offers})
    named = phones[:NAMED_IN_NOTICE]
    if len(phones) > len(named):
        named.append(f"and {len(phones) - len(named)} more")
    return "\n\n".join(
        [
            f"{_when(revocation.effective_at)}, {hosts}",
            f"On {_when(revocation.effective_at)} we stopped selling these phones, sold by {vendors}, on "
            f"{hosts}: {'; '.join(named)}.",
            f"Why: {WITHDRAWAL_REASONS[revocation.reason_code]}. The word came from "
            f"{revocation.requested_by}; we received it on {_when(revocation.word_received_at)}.",
        ]
    )


def _when(instant: datetime) -> str:
    return f"{instant.day} {instant:%B %Y} at {instant:%H:%M} UTC"
