"""Public notices: drafted from what a withdrawal took down, published by a person, then left as they are.

Drafts are made when a sweep is done, so that they name what was really taken down, and what came back. How many
queries that takes depends neither on the offers nor on the drafts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.utils.text import slugify

from authorization import ledger
from authorization.actors import SYSTEM, Actor
from authorization.models import Delisting, LedgerEntry, Reinstatement, Revocation, Sweep
from authorization.revocations import WITHDRAWAL_REASONS
from carriers.models import HostCarrier
from catalog.models import OfferState, Organization, Variant
from storefront.models import Notice
from storefront.withdrawals import delistings_of

# Withdrawals of one vendor's phones that come this close together are one story.
ONE_STORY = timedelta(days=3)
NAMED_IN_NOTICE = 40
# Of a withdrawal that reaches more vendors, the first decide whether it is the story of an open draft.
VENDORS_MATCHED = 1000
# SQLite takes a limited number of values in one statement.
IDS_PER_QUERY = 10_000


class InvalidNotice(ValueError):
    """A notice that cannot be saved or published so. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Goods:
    """What offers are of, by name: at most NAMED_IN_NOTICE of each, and how many there are."""

    offers: int
    vendor_ids: Sequence[int]
    vendors: Sequence[str]
    vendor_count: int
    hosts: Sequence[str]
    host_count: int
    phones: Sequence[str]
    phone_count: int


@dataclass(frozen=True)
class Section:
    """A part of a notice that tells of one thing. `about` names that thing in the ledger: it is told once."""

    about: dict[str, int]
    text: str


def draft_notice(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.finished`: draft a notice of what the sweep took off sale, or put back on sale.

    It becomes a part of the draft that tells the same story, or a draft of its own. What nobody could buy before
    needs no notice.
    """
    revocation = _told_by(payload)
    if revocation is None:
        return
    delisted = delistings_of(revocation, at=at)
    goods = _goods(delisted)
    if not goods.offers:
        return
    with transaction.atomic():
        # Two sweeps of one vendor's phones at once: the second waits here, then finds the first's draft.
        vendor_ids = list(goods.vendor_ids[:VENDORS_MATCHED])
        vendors = Organization.objects.filter(pk__in=vendor_ids).order_by("pk")
        list(vendors.select_for_update(no_key=True).values_list("pk"))
        # Asked under the lock: a withdrawal and its undoing may finish in either order, at once.
        new = _untold(revocation, _sections(revocation, goods, delisted))
        if not new:
            return
        notice = _open_draft(revocation, vendor_ids)
        if notice is None:
            notice = Notice.objects.create(
                slug=_free_slug(f"{revocation.effective_at:%Y-%m-%d}-{slugify(goods.vendors[0])}"),
                title=_title(goods),
                body="\n\n".join([*(section.text for section in new), _WHAT_NEXT]),
                drafted_at=at,
            )
            act = "notice.drafted"
        else:
            notice.body = _with_section(notice, "\n\n".join(section.text for section in new))
            notice.save(update_fields=["body"])
            act = "notice.extended"
        notice.revocations.add(revocation)
        for section in new:
            ledger.record(
                act=act,
                subject_kind="notice",
                subject_id=notice.pk,
                by=SYSTEM,
                at=at,
                evidence={"about": section.about, "offers": goods.offers, "vendors": vendor_ids},
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


def _told_by(payload: dict[str, Any]) -> Revocation | None:
    """The withdrawal that this sweep carried out, or undid; None where it did neither."""
    found = Revocation.objects.select_related("fact")
    if payload.get("revocation_id") is not None:
        return found.get(pk=payload["revocation_id"])
    return found.filter(reinstatements__revision__sweep=payload["sweep_id"]).first()


def _sections(revocation: Revocation, goods: Goods, delisted: QuerySet[Delisting]) -> list[Section]:
    """All that there is to tell of a withdrawal by now: that it was, and each time that it was undone."""
    sections = [Section({"revocation": revocation.pk}, _what_happened(revocation, goods))]
    swept = Sweep.objects.filter(revision=OuterRef("revision"), finished_at__isnull=False)
    undone = Reinstatement.objects.filter(Exists(swept), revocation=revocation).order_by("id")
    if undone:
        back = _goods(delisted.filter(offer__state=OfferState.LIVE))
        sections += [
            Section(
                {"revocation": revocation.pk, "reinstatement": each.pk}, _what_came_back(each, goods, back)
            )
            for each in undone
        ]
    return sections


def _untold(revocation: Revocation, sections: list[Section]) -> list[Section]:
    entries = _drafting(str(pk) for pk in revocation.notices.values_list("pk", flat=True))
    told = [entry.evidence["about"] for entry in entries]
    return [section for section in sections if section.about not in told]


def _open_draft(revocation: Revocation, vendor_ids: Sequence[int]) -> Notice | None:
    """The newest unpublished draft that tells of this withdrawal, or of these vendors' phones within a few days."""
    nearby = Revocation.objects.filter(
        effective_at__gte=revocation.effective_at - ONE_STORY,
        effective_at__lte=revocation.effective_at + ONE_STORY,
    )
    drafts = Notice.objects.filter(published_at__isnull=True)
    # Locked, so that nobody edits or publishes between here and the addition.
    ids = drafts.filter(revocations__in=nearby).values("pk")
    found = list(drafts.filter(pk__in=ids).order_by("-id").select_for_update(no_key=True))
    wanted = set(vendor_ids)
    about = {str(notice.pk): set[int]() for notice in found}
    for entry in _drafting(about):
        about[entry.subject_id] |= set(entry.evidence["vendors"])
    own = set(revocation.notices.values_list("pk", flat=True))
    return next((draft for draft in found if draft.pk in own or wanted & about[str(draft.pk)]), None)


def _drafting(notice_ids: Iterable[str]) -> QuerySet[LedgerEntry]:
    """What was drafted of these notices, and of whose phones."""
    return LedgerEntry.objects.filter(
        subject_kind="notice",
        subject_id__in=list(notice_ids),
        act__in=["notice.drafted", "notice.extended"],
        evidence__has_key="vendors",
    )


def _goods(delisted: QuerySet[Delisting]) -> Goods:
    """All from one look at the delistings, which may be very many; names are looked up of what they are of."""
    columns = ("offer__listing__vendor_id", "offer__host_id", "offer__listing__variant_id")
    rows = delisted.order_by().values_list(*columns).annotate(offers=Count("pk"))
    offers, vendor_ids, host_ids, variant_ids = 0, set[int](), set[int](), set[int]()
    for vendor_id, host_id, variant_id, count in rows.iterator(chunk_size=5000):
        offers += count
        vendor_ids.add(vendor_id)
        host_ids.add(host_id)
        variant_ids.add(variant_id)
    vendors = Organization.objects.filter(pk__in=_first(vendor_ids)).order_by("name")
    hosts = HostCarrier.objects.filter(pk__in=_first(host_ids)).order_by("name")
    variants = Variant.objects.filter(pk__in=_first(variant_ids)).select_related("device")
    in_order = variants.order_by("device__brand", "device__marketing_name", "model_number")
    return Goods(
        offers=offers,
        vendor_ids=_first(vendor_ids),
        vendors=list(vendors.values_list("name", flat=True)[:NAMED_IN_NOTICE]),
        vendor_count=len(vendor_ids),
        hosts=list(hosts.values_list("name", flat=True)[:NAMED_IN_NOTICE]),
        host_count=len(host_ids),
        phones=[str(variant) for variant in in_order[:NAMED_IN_NOTICE]],
        phone_count=len(variant_ids),
    )


def _first(ids: set[int]) -> list[int]:
    """As many as go into one statement."""
    return sorted(ids)[:IDS_PER_QUERY]


def _free_slug(wanted: str) -> str:
    stem = wanted[:90].strip("-")
    taken = set(Notice.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    number = 1
    while (slug := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return slug


def _title(goods: Goods) -> str:
    if goods.vendor_count == 1:
        return f"Phones sold by {goods.vendors[0][:160]} taken off sale"
    return f"Phones of {goods.vendor_count} vendors taken off sale"


# How an order ends is the desk's word, per order; these sentences hold for all of them.
_WHAT_NEXT = "\n\n".join(
    [
        "If you ordered one of these phones: an order that had not been shipped is on hold. We will either ship it, "
        "where it may still be sent, or refund it, and tell you which. An order that had been shipped is yours.",
        "What next: these phones come back only when whoever must authorize their sale has done so. The vendors are "
        "told which of their offers this concerns.",
    ]
)
_TO_OWNERS = (
    "If you have one of these phones: switch it off and do not charge it. We write to everybody who bought one here, "
    "and say what to do."
)


def _with_section(notice: Notice, section: str) -> str:
    """The draft with one withdrawal more. A text that a person has edited is added to, and else left as it is."""
    edits = LedgerEntry.objects.filter(act="notice.edited", subject_kind="notice", subject_id=str(notice.pk))
    if not notice.body.endswith(_WHAT_NEXT) or edits.exists():
        return f"{notice.body}\n\n{section}"
    return f"{notice.body.removesuffix(_WHAT_NEXT)}{section}\n\n{_WHAT_NEXT}"


def _what_happened(revocation: Revocation, goods: Goods) -> str:
    """One withdrawal. Its first line is its heading, in plain text."""
    when, hosts = _when(revocation.effective_at), _listed(goods.hosts, goods.host_count)
    buyers = [_TO_OWNERS] if revocation.reason_code == "SAFETY" else []
    why = WITHDRAWAL_REASONS.get(revocation.reason_code, "their authority to be sold was withdrawn")
    return "\n\n".join(
        [
            f"{when}, {hosts}",
            f"On {when} we stopped selling these phones, sold by {_listed(goods.vendors, goods.vendor_count)}, on "
            f"{hosts}: {_listed(goods.phones, goods.phone_count, between='; ')}.",
            f"Why: {why}. The word came from {revocation.requested_by}; we received it on "
            f"{_when(revocation.word_received_at)}.",
            *buyers,
        ]
    )


def _what_came_back(undone: Reinstatement, goods: Goods, back: Goods) -> str:
    """One undoing, in whole or in part, as far as offers are on sale again by now."""
    when = _when(undone.at)
    paragraphs = [f"{when}, back on sale"]
    if undone.is_mistake:
        paragraphs.append("These phones should not have been taken off sale: that was our mistake.")
    if not back.offers:
        paragraphs.append(f"On {when} the stop was lifted. The sellers may offer these phones again.")
    else:
        all_of_it = "These phones are" if back.offers == goods.offers else "A part of them is"
        paragraphs.append(
            f"On {when} the stop was lifted. {all_of_it} on sale again, sold by "
            f"{_listed(back.vendors, back.vendor_count)}, on {_listed(back.hosts, back.host_count)}: "
            f"{_listed(back.phones, back.phone_count, between='; ')}."
        )
    return "\n\n".join(paragraphs)


def _listed(names: Sequence[str], count: int, *, between: str = ", ") -> str:
    said = [*names, f"and {count - len(names)} more"] if count > len(names) else names
    return between.join(said)


def _when(instant: datetime) -> str:
    return f"{instant.day} {instant:%B %Y} at {instant:%H:%M} UTC"
