"""What was decided and waits: withdrawals for their day, removals of many pages for a second person.

Neither delays the stop of sales. A withdrawal to come stands in the record with its instant, so that it takes effect
with every worker dead; until then it can be cancelled. A removal that waits leaves offers LIVE that nobody can buy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet

from authorization import (
    affiliations,
    agreements,
    approvals,
    decisions,
    equipment,
    fence,
    holds,
    ledger,
    outbox,
    selectors,
)
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.facts import InvalidFact
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    HoldVersion,
    PendingChange,
    Revision,
    Revocation,
    ScopeTerm,
)
from authorization.what_if import WhatIf
from catalog.models import ListingHost, OfferState

Kind, State = PendingChange.Kind, PendingChange.State
# In the ledger: a withdrawal was undone on its day, before any worker met it. No event tells of it.
SETTLED_UNMET = "withdrawal.settled_unmet"

# SQLite takes a limited number of values in one statement.
_IDS = 10_000
# A share of a brand says little of a brand with fewer offers.
SMALL_BRAND = 20


class NotPending(Exception):
    """What was to be decided or cancelled is so already. The message is for the desk."""


# --- the second person ------------------------------------------------------------------------------------------


def needs_second_person(offer_ids: Sequence[int]) -> bool:
    """Are these so many, or so much of one brand's live offers, that a second person must agree to their removal?"""
    if len(offer_ids) > settings.TWO_PEOPLE_ABOVE_OFFERS:
        return True
    falling: dict[str, int] = {}
    for start in range(0, len(offer_ids), _IDS):
        rows = ListingHost.objects.filter(pk__in=offer_ids[start : start + _IDS])
        for brand, count in _by_brand(rows):
            falling[brand] = falling.get(brand, 0) + count
    large = {brand: count for brand, count in falling.items() if count >= SMALL_BRAND}
    if not large:
        return False
    live = ListingHost.objects.filter(state=OfferState.LIVE, listing__variant__device__brand__in=large)
    return any(
        large[brand] * 100 >= count * settings.TWO_PEOPLE_ABOVE_BRAND_PERCENT
        for brand, count in _by_brand(live)
    )


def _by_brand(offers: QuerySet[ListingHost]) -> Iterable[tuple[str, int]]:
    column = "listing__variant__device__brand"
    return offers.order_by(column).values_list(column).annotate(count=Count("pk"))


def open_removal(*, revocation: Revocation, by: Actor, at: datetime) -> PendingChange:
    """Let the pages of this withdrawal wait. Inside the transaction that makes it."""
    return _open(Kind.REMOVAL, revocation, by=by, at=at)


def approve_removal(*, pending: PendingChange, by: Actor, at: datetime) -> PendingChange:
    """A second person agrees: the pages are taken down. Raises NotPending, InvalidFact."""
    with transaction.atomic():
        row = lock_open(pending, Kind.REMOVAL)
        refuse_same_person(row, by)
        _close(row, State.DONE, by=by, at=at)
        _record("removal.approved", row, by=by, at=at)
        outbox.announce(event="removal.settled", payload={"revocation_id": row.revocation_id}, at=at)
    return row


def close_removal_of(*, revocation: Revocation, by: Actor, at: datetime, reason: str) -> None:
    """An undone withdrawal has no pages to remove. Inside the transaction that undoes it, under the fence.

    By the second person it is declined; by its maker it is cancelled.
    """
    rows = PendingChange.objects.select_for_update(no_key=True).filter(
        revocation=revocation, kind=Kind.REMOVAL, state=State.OPEN
    )
    for row in rows:
        if row.made_by == str(by):
            # Nobody decides on his own removal; he may take the withdrawal itself back.
            _close(row, State.CANCELLED, by=None, at=at, reason=reason)
            _record("removal.cancelled", row, by=by, at=at, reason=reason)
        else:
            _close(row, State.DECLINED, by=by, at=at, reason=reason)
            _record("removal.declined", row, by=by, at=at, reason=reason)
        outbox.announce(event="removal.settled", payload={"revocation_id": row.revocation_id}, at=at)


# --- a later day ------------------------------------------------------------------------------------------------


def schedule(*, revocation: Revocation, by: Actor, at: datetime) -> PendingChange:
    """A withdrawal that takes effect later. Inside the transaction that makes it."""
    return _open(Kind.WITHDRAWAL, revocation, by=by, at=at, due_at=revocation.effective_at)


def cancel_withdrawal(*, pending: PendingChange, by: Actor, at: datetime, reason: str) -> Revision:
    """Take back a withdrawal that has not taken effect. Raises NotPending once it has, InvalidFact."""
    if not reason.strip():
        raise InvalidFact("reason", "Say why it is cancelled; the reason is kept.")
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"cancelled: {pending.revocation.name}", at=at)
        row = lock_open(pending, Kind.WITHDRAWAL)
        # Under the fence: no sale can have been refused for it before this commits.
        if row.due_at is not None and row.due_at <= max(at, revision.recorded_at):
            raise NotPending(
                f"It took effect on {row.due_at:%Y-%m-%d %H:%M:%S} UTC. Undo the withdrawal instead."
            )
        _refuse_to_forget(row)
        _unwrite(row.revocation, revision, by=by, at=at, reason=reason)
        _close(row, State.CANCELLED, by=by, at=at, reason=reason)
        _record("withdrawal.cancelled", row, by=by, at=at, reason=reason, revision=revision.n)
        _call_off_removal(row.revocation, at=at, reason=reason)
    return revision


def _refuse_to_forget(row: PendingChange) -> None:
    """One that brought an earlier word forward: without it that word would be forgotten."""
    earlier = PendingChange.objects.filter(
        kind=Kind.WITHDRAWAL,
        state=State.CANCELLED,
        revocation__fact=row.revocation.fact,
        revocation__kind=row.revocation.kind,
        decided_at=row.made_at,
        due_at__gt=row.due_at,
    ).select_related("revocation")
    if any(_is_about_the_same(other.revocation, row.revocation) for other in earlier):
        raise InvalidFact(
            "revocation",
            "It brought an earlier withdrawal forward, which would be forgotten. Let it take effect, and record "
            "what is to hold instead.",
        )


def take_effect(*, fact_id: int | None, boundary: datetime, by: Actor, at: datetime) -> int | None:
    """The day of a withdrawal has come: what reacts to it is announced. Returns the withdrawal's id; None if there is
    none of this fact at that instant. Inside the transaction that crosses the boundary.
    """
    if fact_id is None:
        return None
    rows = PendingChange.objects.select_for_update(no_key=True).filter(
        kind=Kind.WITHDRAWAL, state=State.OPEN, due_at=boundary, revocation__fact_id=fact_id
    )
    row = rows.order_by("-id").first()
    if row is None:
        return None
    _close(row, State.DONE, by=by, at=at)
    _record("withdrawal.took_effect", row, by=by, at=at)
    outbox.announce(event="authority.withdrawn", payload={"revocation_id": row.revocation_id}, at=at)
    return row.revocation_id


def settle_due(*, revocation: Revocation, by: Actor, at: datetime) -> None:
    """A withdrawal whose day has come and that no worker has met yet took effect all the same: it is settled as such.

    Nothing reacts to it and no event tells of it: it is being undone. Inside the transaction that undoes it, under the
    fence. The act has a name of its own, so that whoever compares acts with events knows this one from a lost event.
    """
    rows = PendingChange.objects.select_for_update(no_key=True).filter(
        revocation=revocation, kind=Kind.WITHDRAWAL, state=State.OPEN, due_at__lte=at
    )
    for row in rows:
        _close(row, State.DONE, by=by, at=at)
        _record(SETTLED_UNMET, row, by=by, at=at)


def supersede(*, revocation: Revocation, by: Actor, at: datetime) -> None:
    """A withdrawal of the same record now, or sooner, takes the place of those to come."""
    if revocation.fact is None:
        return
    rows = PendingChange.objects.select_for_update(no_key=True).filter(
        kind=Kind.WITHDRAWAL,
        state=State.OPEN,
        revocation__fact=revocation.fact,
        revocation__kind=revocation.kind,
        due_at__gt=revocation.effective_at,
    )
    for row in rows.exclude(revocation=revocation):
        if not _is_about_the_same(row.revocation, revocation):
            # Another exemption of the same hold.
            continue
        reason = f"It was brought forward to {revocation.effective_at:%Y-%m-%d %H:%M} UTC."
        _close(row, State.CANCELLED, by=by, at=at, reason=reason)
        _record("withdrawal.superseded", row, by=by, at=at, reason=reason)
        _call_off_removal(row.revocation, at=at, reason=reason)


def _is_about_the_same(one: Revocation, other: Revocation) -> bool:
    """Of one record and kind: the same exemption, where it is about one."""
    return bool(one.scope.get("exemption") == other.scope.get("exemption"))


def _call_off_removal(revocation: Revocation, *, at: datetime, reason: str) -> None:
    """What will not take effect has no pages to remove."""
    removals = PendingChange.objects.filter(revocation=revocation, kind=Kind.REMOVAL, state=State.OPEN)
    removals.update(state=State.CANCELLED, decided_at=at, reason=reason[:500])


def is_scheduled(revocation: Revocation) -> bool:
    """Has it been decided for a day that has not come, or was it cancelled before?"""
    return PendingChange.objects.filter(
        revocation=revocation, kind=Kind.WITHDRAWAL, state__in=[State.OPEN, State.CANCELLED]
    ).exists()


def waits_for_second_person(revocation: Revocation) -> bool:
    return PendingChange.objects.filter(revocation=revocation, kind=Kind.REMOVAL, state=State.OPEN).exists()


def _unwrite(revocation: Revocation, revision: Revision, *, by: Actor, at: datetime, reason: str) -> None:
    fact = revocation.named_fact
    match revocation.kind:
        case Revocation.Kind.AGREEMENT:
            agreements.unrevoke_under_fence(fact=fact, revision=revision, by=by, at=at, reason=reason)
        case Revocation.Kind.APPROVAL:
            approvals.unrevoke_under_fence(fact=fact, revision=revision, by=by, at=at, reason=reason)
        case Revocation.Kind.EQUIPMENT:
            equipment.unrevoke_under_fence(fact=fact, revision=revision, by=by, at=at, reason=reason)
        case Revocation.Kind.HOLD:
            holds.release_under_fence(fact=fact, revision=revision, by=by, at=at, reason=reason)
        case Revocation.Kind.AFFILIATION:
            before = AffiliationVersion.objects.get(head=fact, rev_to=revocation.revision_id)
            affiliations.end_under_fence(
                fact=fact, valid_until=before.valid_until, revision=revision, by=by, at=at, reason=reason
            )
        case Revocation.Kind.EXEMPTION:
            before_it = HoldVersion.objects.get(head=fact, rev_to=revocation.revision_id)
            part = revocation.scope["exemption"]
            holds.restore_exemption_under_fence(
                fact=fact,
                part=part,
                exemption=holds.exemptions_of(before_it)[part],
                revision=revision,
                by=by,
                at=at,
                reason=reason,
            )
        case kind:
            raise InvalidFact("revocation", f"A withdrawal of the kind {kind} takes effect at once.")


# --- what waiting removals leave alone --------------------------------------------------------------------------


@dataclass(frozen=True)
class LeftToAPerson:
    """The removals that wait for a second person, and which offers sweeps and the reconciler leave to them."""

    revocations: tuple[Revocation, ...]

    @classmethod
    def now(cls) -> "LeftToAPerson":
        open_rows = PendingChange.objects.filter(kind=Kind.REMOVAL, state=State.OPEN)
        # There is hardly ever one, and each chunk of a sweep asks: the ids first.
        ids = list(open_rows.order_by("id").values_list("revocation_id", flat=True))
        found = Revocation.objects.select_related("fact").in_bulk(ids) if ids else {}
        return cls(tuple(found[revocation_id] for revocation_id in ids if revocation_id in found))

    def __bool__(self) -> bool:
        return bool(self.revocations)

    def touches(self, offers: QuerySet[ListingHost]) -> QuerySet[ListingHost]:
        """Of these offers, those that a waiting removal may concern."""
        concerned = Q(pk__in=[])
        for revocation in self.revocations:
            found = selectors.offers_concerned(
                ListingHost.objects.all(), fact_id=revocation.fact_id, scope=revocation.scope
            )
            concerned |= Q(pk__in=found.values("pk"))
        return offers.filter(concerned)

    def spared(self, denied: Sequence[tuple[int, Answer]], *, at: datetime) -> set[int]:
        """Of live offers that are denied now, those that would be allowed were it not for withdrawals whose removal
        waits: the person decides on their pages, not a worker.
        """
        if not self.revocations or not denied:
            return set()
        concerned: set[int] = set()
        ids = [offer_id for offer_id, _ in denied]
        for start in range(0, len(ids), _IDS):
            part = ListingHost.objects.filter(pk__in=ids[start : start + _IDS])
            concerned |= set(self.touches(part).values_list("pk", flat=True))
        asked = [(offer_id, answer.question) for offer_id, answer in denied if offer_id in concerned]
        if not asked:
            return set()
        imagined, since = without(self.revocations)
        known_at = None if since is None else since - 1
        setting = decisions.read_setting(at=at, known_at=known_at)
        answers = decisions.answers_in(
            setting,
            [question for _, question in asked],
            at=decisions.instant_of(setting, at),
            what_if=imagined,
            is_explained=False,
        )
        return {offer_id for (offer_id, _), answer in zip(asked, answers, strict=True) if answer.is_allowed}


def without(revocations: Iterable[Revocation]) -> tuple[WhatIf, int | None]:
    """The world without these withdrawals, as the engine can imagine it; and, where it cannot, the revision of the
    first of those: it is then asked as of before that one.
    """
    world, since = WhatIf(), None
    for revocation in revocations:
        match revocation.kind:
            case Revocation.Kind.AGREEMENT | Revocation.Kind.APPROVAL | Revocation.Kind.EQUIPMENT:
                world = replace(world, revoked={**world.revoked, revocation.named_fact.pk: None})
            case Revocation.Kind.HOLD:
                world = replace(world, without_holds=world.without_holds | {revocation.named_fact.pk})
            case Revocation.Kind.NARROWING:
                before = AgreementVersion.objects.get(
                    head=revocation.named_fact, rev_to=revocation.revision_id
                )
                scope: dict[str, set[str]] = {}
                for term in ScopeTerm.objects.filter(version=before):
                    scope.setdefault(term.dimension, set()).add(term.value)
                terms = {dimension: frozenset(values) for dimension, values in scope.items()}
                world = replace(
                    world,
                    # Of several the first: before it the agreement covered most.
                    scopes={before.head_id: terms, **world.scopes},
                    ends={before.head_id: before.valid_until, **world.ends},
                    sublicenses={before.head_id: before.may_sublicense, **world.sublicenses},
                )
            case _:
                since = min(revocation.revision_id, since or revocation.revision_id)
    return world, since


# --- rows -------------------------------------------------------------------------------------------------------


def _open(
    kind: str, revocation: Revocation, *, by: Actor, at: datetime, due_at: datetime | None = None
) -> PendingChange:
    row = PendingChange.objects.create(
        kind=kind, revocation=revocation, made_by=str(by), made_at=at, due_at=due_at
    )
    _record(f"{kind}.waits", row, by=by, at=at, revision=revocation.revision_id)
    return row


def lock_open(pending: PendingChange, kind: str) -> PendingChange:
    """The row, locked and open still. Raises NotPending."""
    rows = PendingChange.objects.select_for_update(no_key=True)
    row = rows.get(pk=pending.pk)
    if row.kind != kind:
        raise NotPending(f"That is a {row.kind}, which is not decided here.")
    if row.state != State.OPEN:
        who = f" by {row.decided_by}" if row.decided_by else ""
        raise NotPending(f"It is {row.state} already{who}.")
    return row


def refuse_same_person(row: PendingChange, by: Actor) -> None:
    if row.made_by == str(by):
        raise InvalidFact("by", "You made this withdrawal: a second person must agree to the removal.")


def _close(row: PendingChange, state: str, *, by: Actor | None, at: datetime, reason: str = "") -> None:
    row.state, row.decided_at, row.reason = state, at, reason[:500]
    row.decided_by = "" if by is None else str(by)
    row.save(update_fields=["state", "decided_at", "decided_by", "reason"])


def _record(
    act: str, row: PendingChange, *, by: Actor, at: datetime, reason: str = "", revision: int | None = None
) -> None:
    ledger.record(
        act=act,
        subject_kind="revocation",
        subject_id=row.revocation_id,
        by=by,
        at=at,
        reason=reason,
        evidence={"pending_change": row.pk, "due_at": row.due_at.isoformat() if row.due_at else None},
        revision=revision,
    )
