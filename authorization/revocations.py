"""Authority is taken away: the one front door. Preview what falls, then execute.

What admin, API and exercises reach through `storefront.withdrawals`, which adds carts and orders. From the commit of
`execute` on (or, of a withdrawal for a later day, from its instant on) nothing of it can be sold; pages and listings
follow by the sweep.

A preview is exact because nothing in it guesses: either the engine is told what would be different (`WhatIf`, a
changed setting), or the change is rehearsed: written by the code that executes it, in a transaction that is rolled
back page by page.
"""

import hashlib
import json
import time
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.signing import BadSignature, Signer
from django.db import connection, transaction
from django.db.models import BigIntegerField, Count, ExpressionWrapper, F, Min, QuerySet, Sum
from django.db.models.functions import Coalesce

from authorization import (
    affiliations,
    agreements,
    approvals,
    decisions,
    delisting,
    equipment,
    fence,
    holds,
    ledger,
    outbox,
    pending_changes,
    policies,
)
from authorization.acceptances.following import check as check_following
from authorization.acceptances.following import follow_under_fence
from authorization.actors import SYSTEM, Actor
from authorization.changes import SCHEDULABLE as SCHEDULABLE
from authorization.changes import WITHDRAWAL_REASONS as WITHDRAWAL_REASONS
from authorization.changes import (
    AboutFact,
    current_of,
    fact_of,
    following_of,
    narrower_terms,
    policy_terms,
    restrict,
)
from authorization.changes import Change as Change
from authorization.changes import CorrectGroundwork as CorrectGroundwork
from authorization.changes import EndAffiliation as EndAffiliation
from authorization.changes import EndExemption as EndExemption
from authorization.changes import ExemptFromHold as ExemptFromHold
from authorization.changes import Expire as Expire
from authorization.changes import Imaginable as Imaginable
from authorization.changes import NarrowAgreement as NarrowAgreement
from authorization.changes import PlaceHold as PlaceHold
from authorization.changes import ReleaseHold as ReleaseHold
from authorization.changes import RestrictApproval as RestrictApproval
from authorization.changes import RevokeAgreement as RevokeAgreement
from authorization.changes import RevokeApproval as RevokeApproval
from authorization.changes import RevokeEquipment as RevokeEquipment
from authorization.changes import SetPolicy as SetPolicy
from authorization.changes import Undo as Undo
from authorization.decision_setting import Setting
from authorization.decisions import Answer
from authorization.delisting import Offer
from authorization.facts import InvalidFact
from authorization.garbage import uncollected
from authorization.imagined import NEW_POLICY, Imagined
from authorization.imagined import imagine as imagine
from authorization.models import Fact, Revision, Revocation
from authorization.rules import Evidence
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState

# Offers judged at a time: what they have in common is worked out once for all of them, and memory stays flat.
PAGE = 2500
# Changes of authority that may slip in between the last preview and the fence, before we ask to look again.
ATTEMPTS = 3
FURTHEST_AHEAD = timedelta(days=3 * 366)
_SALT = "clearline.withdrawal-preview"
_RECORDED_AS: dict[type, str] = {
    RevokeAgreement: Revocation.Kind.AGREEMENT,
    RevokeApproval: Revocation.Kind.APPROVAL,
    RestrictApproval: Revocation.Kind.RESTRICTION,
    RevokeEquipment: Revocation.Kind.EQUIPMENT,
    NarrowAgreement: Revocation.Kind.NARROWING,
    PlaceHold: Revocation.Kind.HOLD,
    EndExemption: Revocation.Kind.EXEMPTION,
    EndAffiliation: Revocation.Kind.AFFILIATION,
    SetPolicy: Revocation.Kind.POLICY,
    CorrectGroundwork: Revocation.Kind.GROUNDWORK,
}


@dataclass(frozen=True)
class OfferImpact:
    """One host offer that falls (`reason_codes`), survives or returns (`evidence_codes`: what it then rests on)."""

    offer_id: int
    listing_id: int
    sku: str
    vendor_name: str
    device_name: str
    model_number: str
    host_code: str
    reason_codes: tuple[str, ...] = ()
    evidence_codes: tuple[str, ...] = ()


# Of an offer: its id, and the codes of its reasons or of its evidence.
_Fate = tuple[int, tuple[str, ...]]


class Impacts(Collection[OfferImpact]):
    """Offers of a preview, however many: all are counted, known by id and covered by the digest, the first are named.

    Iterating is for those that fit (`NAMED`); of more it raises rather than leaving some out in silence.
    """

    NAMED = 5000

    def __init__(self, codes: str) -> None:
        """`codes`: the field of an impact that holds them, `reason_codes` or `evidence_codes`."""
        self._codes = codes
        self._named: list[OfferImpact] = []
        self.offer_ids = array("q")
        self._hash = hashlib.sha256()

    def add(self, fates: Sequence[_Fate]) -> None:
        for fate in fates:
            self.offer_ids.append(fate[0])
            self._hash.update(json.dumps(fate).encode())
        self._named += _named(fates[: self.NAMED - len(self._named)], self._codes)

    @property
    def first(self) -> tuple[OfferImpact, ...]:
        return tuple(self._named)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __len__(self) -> int:
        return len(self.offer_ids)

    def __iter__(self) -> Iterator[OfferImpact]:
        if len(self) > self.NAMED:
            raise ValueError(f"Of {len(self)} offers only the first {self.NAMED} are named; take `first`.")
        return iter(self._named)

    def __contains__(self, impact: object) -> bool:
        return impact in self._named

    def __repr__(self) -> str:
        return f"<{len(self)} offers>"


@dataclass(frozen=True)
class _Seen:
    """What a preview rests on. `counts`: falls, survives, returns. `holds_until`: when the first answer in it ends.

    `change`: what it was a preview of, as a hash: of that and of nothing else it may stand in for a new one.
    """

    digest: str
    change: str
    revision: int
    world: list[int]
    holds_until: str
    counts: list[int]
    falls_later: int
    wants_two: bool


@dataclass(frozen=True)
class FallsLater:
    """What stays on sale at first and falls at this instant, which the change itself sets."""

    at: datetime
    falls: Impacts


@dataclass(frozen=True)
class Preview:
    """`digest` covers the offers that fall, survive or return and their evidence; a confirmation quotes it.

    `token` says the same, signed, with the state of the world that it was computed in: while nothing of that has
    changed, a confirmation need not compute it all again.
    """

    change: Imaginable
    falls: Impacts
    survives: Impacts
    digest: str
    revision: int
    # Suspended offers that would come back.
    returns: Impacts
    seen: _Seen
    token: str
    effective_at: datetime | None = None
    # Of an earlier end, a waiver that runs out: by instant. None of these is among `falls` or `survives`.
    later: tuple[FallsLater, ...] = ()

    @property
    def falls_later(self) -> int:
        return sum(len(each.falls) for each in self.later)


class WorldMoved(Exception):
    """What was previewed is no longer what would happen. `preview` is the new picture.

    None where it happened inside a transaction of the caller's: that one is lost, and the picture is for its next try.
    """

    def __init__(self, preview: Preview | None) -> None:
        super().__init__("The impact has changed since the preview. Look at the new one and confirm again.")
        self.preview = preview


def preview(change: Imaginable, *, at: datetime, effective_at: datetime | None = None) -> Preview:
    """Exactly which offers would fall, survive on other evidence, or return, now or at `effective_at`; and which fall
    after that by a day that the change sets.

    Writes nothing. Raises InvalidFact.
    """
    _check_effective(change, effective_at, at=at)
    _check_move(change, at=at, effective_at=effective_at)
    imagined = imagine(change, at=effective_at or at)
    if not imagined.is_act:
        # Time passes until then: what may be sold now is compared with what may be then.
        imagined = replace(imagined, before_at=at)
    setting = decisions.read_setting(at=at, known_at=None)
    world = _fingerprint(imagined.offers)
    falls, survives, returns = Impacts("reason_codes"), Impacts("evidence_codes"), Impacts("evidence_codes")
    later = tuple(FallsLater(instant, Impacts("reason_codes")) for instant in imagined.later)
    holds_until = FOREVER
    for offers in _pages(imagined.offers):
        with uncollected():
            fates = _fates(offers, imagined, setting)
        for impacts, of_page in ((falls, fates.falls), (survives, fates.survives), (returns, fates.returns)):
            impacts.add(of_page)
        for each in later:
            each.falls.add(fates.later[each.at])
        holds_until = min(holds_until, fates.holds_until)
    digest = _digest(change, effective_at, falls, survives, returns, later)
    falling = sum((each.falls.offer_ids for each in later), falls.offer_ids)
    is_withdrawal = not isinstance(change, ReleaseHold | ExemptFromHold | Undo | Expire)
    seen = _Seen(
        digest=digest,
        change=_hash_of(change, effective_at),
        revision=setting.revision,
        world=world,
        holds_until=holds_until.isoformat(),
        counts=[len(falls), len(survives), len(returns)],
        falls_later=len(falling) - len(falls),
        wants_two=is_withdrawal and pending_changes.needs_second_person(falling),
    )
    return Preview(
        change=change,
        falls=falls,
        survives=survives,
        returns=returns,
        digest=digest,
        revision=setting.revision,
        seen=seen,
        token=_sign(seen, at),
        effective_at=effective_at,
        later=later,
    )


def execute(
    change: Change,
    *,
    digest: str,
    requested_by: str,
    word_received_at: datetime,
    note: str,
    by: Actor,
    at: datetime,
    effective_at: datetime | None = None,
    token: str = "",
) -> Revocation:
    """Take the authority away, now or from `effective_at` on.

    Raises WorldMoved when `digest` is not that of the present preview, InvalidFact.
    """
    started = time.monotonic()
    _check_effective(change, effective_at, at=at)
    if not requested_by.strip():
        raise InvalidFact("requested_by", "Say whose word it is: the manufacturer, the carrier, the shop.")
    if word_received_at > at:
        raise InvalidFact(
            "word_received_at", "The word cannot have been received in the future; correct the time."
        )
    if following_of(change) is not None and not note.strip():
        raise InvalidFact("note", "Say why; the reason is kept beside the move.")
    withdrawal = _Withdrawal(change, requested_by, word_received_at, note, by, at, effective_at)
    for _ in range(ATTEMPTS):
        # All that is computed comes before the fence: behind it buyers wait.
        seen = _still_seen(change, token, digest, at=at, effective_at=effective_at)
        if seen is None:
            present = preview(change, at=at, effective_at=effective_at)
            if present.digest != digest:
                raise WorldMoved(present)
            seen = present.seen
        done = _execute_if_unmoved(withdrawal, seen)
        if done is not None:
            done.commit_s = time.monotonic() - started
            # A figure for people; it may be lost without harm.
            Revocation.objects.filter(pk=done.pk).update(commit_s=done.commit_s)
            return done
        if connection.needs_rollback:
            # Of several acts in one transaction (authorization.transactions): nothing more can be asked in it.
            raise WorldMoved(None)
    raise WorldMoved(preview(change, at=at, effective_at=effective_at))


def release_hold(*, fact: Fact, by: Actor, at: datetime, reason: str) -> Revision:
    """Lift one hold. The sweep brings back what nothing else stops."""
    return holds.release_hold(fact=fact, by=by, at=at, reason=reason)


@dataclass(frozen=True)
class _Withdrawal:
    """A change with the word behind it."""

    change: Change
    requested_by: str
    word_received_at: datetime
    note: str
    by: Actor
    at: datetime
    effective_at: datetime | None


def _execute_if_unmoved(wanted: _Withdrawal, seen: _Seen) -> Revocation | None:
    change, by, at = wanted.change, wanted.by, wanted.at
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"{change.reason_code}: {wanted.note}", at=at)
        if revision.n != seen.revision + 1:
            transaction.set_rollback(True)
            return None
        scope: dict[str, Any] = {}
        if isinstance(change, CorrectGroundwork):
            scope = change.recorder.scope() or {}
        elif isinstance(change, EndExemption):
            scope = {"exemption": change.part}
        elif (following := following_of(change)) is not None:
            scope = {"following": following.told()}
        moved = _check_move(change, at=at, effective_at=wanted.effective_at)
        # What is due by now and no worker has written comes first: a move each.
        follow_under_fence(approval_ids=moved, revision=revision, by=SYSTEM, at=at)
        fact = _write(wanted, revision)
        effective_at = wanted.effective_at or at
        revocation = Revocation.objects.create(
            kind=_RECORDED_AS[type(change)],
            fact=fact,
            subject=_subject(change, fact),
            scope=scope,
            revision=revision,
            requested_by=wanted.requested_by,
            reason_code=change.reason_code,
            note=wanted.note,
            actor=str(by),
            word_received_at=wanted.word_received_at,
            effective_at=effective_at,
            preview_digest=seen.digest,
            preview_falls=seen.counts[0],
            preview_survives=seen.counts[1],
            preview_falls_later=seen.falls_later,
        )
        ledger.record(
            act="authority.withdrawn",
            subject_kind="revocation",
            subject_id=revocation.pk,
            by=by,
            at=at,
            reason=wanted.note,
            evidence={
                "requested_by": wanted.requested_by,
                "reason_code": change.reason_code,
                "digest": seen.digest,
                "falls": seen.counts[0],
                "falls_later": seen.falls_later,
                "effective_at": effective_at.isoformat(),
            },
            revision=revision.n,
        )
        pending_changes.supersede(revocation=revocation, by=by, at=at)
        if wanted.effective_at is None:
            outbox.announce(event="authority.withdrawn", payload={"revocation_id": revocation.pk}, at=at)
        else:
            # Its day announces it (pending_changes.take_effect).
            pending_changes.schedule(revocation=revocation, by=by, at=at)
        if seen.wants_two:
            pending_changes.open_removal(revocation=revocation, by=by, at=at)
    return revocation


def _write(wanted: _Withdrawal, revision: Revision) -> Fact | None:
    change = wanted.change
    stamp: dict[str, Any] = {"revision": revision, "by": wanted.by, "at": wanted.at}
    if isinstance(change, PlaceHold):
        return holds.place_under_fence(
            code=change.code,
            placed_by=change.placed_by,
            reason_code=change.reason_code,
            note=change.note or wanted.note,
            targets=change.targets,
            reach=change.reach,
            exemptions=change.exemptions,
            valid_from=wanted.effective_at,
            following=change.following,
            **stamp,
        )
    stamp["reason"] = wanted.note
    if isinstance(change, SetPolicy):
        return policies.set_under_fence(terms=policy_terms(change), **stamp)
    if isinstance(change, CorrectGroundwork):
        change.recorder.write(revision)
        return None
    fact = Fact.objects.get(pk=change.fact_id)
    match change:
        case NarrowAgreement():
            agreements.narrow_under_fence(fact=fact, terms=narrower_terms(change), **stamp)
        case RestrictApproval():
            restrict(change, fact, **stamp)
        case EndExemption():
            ends_at = wanted.effective_at
            holds.end_exemption_under_fence(fact=fact, part=change.part, ends_at=ends_at, **stamp)
        case EndAffiliation():
            valid_until = wanted.effective_at or wanted.at
            affiliations.end_under_fence(fact=fact, valid_until=valid_until, **stamp)
        case RevokeApproval():
            approvals.revoke_under_fence(
                fact=fact,
                reason_code=change.reason_code,
                effective_at=wanted.effective_at,
                following=change.following,
                **stamp,
            )
        case _:
            revoke = {
                RevokeAgreement: agreements.revoke_under_fence,
                RevokeEquipment: equipment.revoke_under_fence,
            }[type(change)]
            revoke(fact=fact, reason_code=change.reason_code, effective_at=wanted.effective_at, **stamp)
    return fact


def _check_move(change: Imaginable, *, at: datetime, effective_at: datetime | None) -> set[int]:
    """A change that is a move of a technical acceptance is one that may be made. Returns its approval, if it is one.

    Raises MoveRefused, InvalidFact.
    """
    following = following_of(change)
    if following is None:
        return set()
    match change:
        case RevokeApproval():
            approval_ids, move = {change.fact_id}, "revoke"
        case RestrictApproval():
            approval_ids, move = {change.fact_id}, "restrict"
        case PlaceHold():
            if any(dimension != "fact" for dimension, _ in change.targets) or change.exemptions:
                raise InvalidFact("targets", "A suspension names the approval and nothing else.")
            approval_ids, move = {int(value) for _, value in holds.check_targets(change.targets)}, "suspend"
        case _:
            return set()
    check_following(following, move=move, approval_ids=approval_ids, at=at, effective_at=effective_at)
    return approval_ids


def _subject(change: Change, fact: Fact | None) -> str:
    if isinstance(change, CorrectGroundwork):
        return change.subject[:200]
    if isinstance(change, SetPolicy):
        return f"policy for {change.territory}: {change.name}"[:200]
    if isinstance(change, EndExemption):
        return f"exemption {change.part} of {fact}"
    return str(fact)


def _check_effective(change: Imaginable, effective_at: datetime | None, *, at: datetime) -> None:
    if effective_at is None:
        return
    if effective_at.tzinfo is None:
        raise InvalidFact("effective_at", "The time has no time zone; give one, e.g. 2016-02-01T12:00:00Z.")
    if not isinstance(change, SCHEDULABLE):
        raise InvalidFact("effective_at", "A change of this kind takes effect at once; leave the time out.")
    if effective_at <= at:
        raise InvalidFact("effective_at", "That is past: take a time to come, or leave it out for now.")
    if effective_at > at + FURTHEST_AHEAD:
        raise InvalidFact(
            "effective_at", f"Take a time before {at + FURTHEST_AHEAD:%Y-%m-%d}; nobody remembers longer."
        )
    if isinstance(change, RevokeAgreement | RevokeApproval | RevokeEquipment | EndAffiliation):
        _refuse_after_its_end(change, effective_at)


def _refuse_after_its_end(change: AboutFact, effective_at: datetime) -> None:
    version = current_of(fact_of(change))
    ends = [
        end for name in ("valid_until", "waived_until") if (end := getattr(version, name, None)) is not None
    ]
    if min(ends) <= effective_at:
        raise InvalidFact(
            "effective_at",
            f"{version.head.code} ends by itself on {min(ends):%Y-%m-%d %H:%M} UTC; take a time before that.",
        )


# --- what was seen ----------------------------------------------------------------------------------------------


def _sign(seen: _Seen, at: datetime) -> str:
    return Signer(salt=_SALT).sign_object([asdict(seen), at.isoformat()])


def _unsign(token: str) -> _Seen | None:
    try:
        fields, _ = Signer(salt=_SALT).unsign_object(token)
        return _Seen(**fields)
    except (BadSignature, TypeError, ValueError):
        # Forged, or of another release.
        return None


def _still_seen(
    change: Change, token: str, digest: str, *, at: datetime, effective_at: datetime | None
) -> _Seen | None:
    """What the preview of this token saw, if nothing that it rests on has moved; None: it must be computed again."""
    seen = _unsign(token) if token else None
    if seen is None or (seen.digest, seen.change) != (digest, _hash_of(change, effective_at)):
        return None
    if at >= datetime.fromisoformat(seen.holds_until):
        return None
    if fence.current_revision() != seen.revision:
        return None
    imagined = imagine(change, at=effective_at or at)
    # Which offers it named is in the digest; they are the same as then.
    return seen if _fingerprint(imagined.offers) == seen.world else None


def _fingerprint(offers: QuerySet[ListingHost]) -> list[int]:
    """Changes when any of these offers does, or when one comes or goes."""
    mixed = ExpressionWrapper((F("id") % 1_000_003) * (F("version") + 7), output_field=BigIntegerField())
    counted = offers.order_by().aggregate(
        count=Count("id"), ids=Coalesce(Sum("id"), 0), mixed=Coalesce(Sum(mixed), 0), first=Min("id")
    )
    return [int(counted[name] or 0) for name in ("count", "ids", "mixed", "first")]


def _facts(answer: Answer) -> list[Evidence]:
    return [item for item in answer.evidence if item.kind in Fact.Kind.values]


def _codes(answer: Answer, policy_ids: Collection[int]) -> tuple[str, ...]:
    """`policy_ids`: those on record. One that is only rehearsed has another code at each look, and would make another
    digest of it.
    """
    return tuple(
        NEW_POLICY if item.kind == Fact.Kind.POLICY and item.fact_id not in policy_ids else item.code
        for item in answer.evidence
    )


def _pages(offers: QuerySet[ListingHost]) -> Iterator[list[Offer]]:
    # By key, never with a cursor left open: on SQLite an open read would keep a rehearsal from writing.
    last = 0
    while page := delisting.read(offers.filter(id__gt=last), first=PAGE):
        last = page[-1].id
        yield page


@dataclass
class _Fates:
    """What becomes of a page of offers. `holds_until`: when the first answer that allows one of them ends."""

    falls: list[_Fate] = field(default_factory=list)
    survives: list[_Fate] = field(default_factory=list)
    returns: list[_Fate] = field(default_factory=list)
    later: dict[datetime, list[_Fate]] = field(default_factory=dict)
    holds_until: datetime = FOREVER


def _fates(offers: list[Offer], imagined: Imagined, setting: Setting) -> _Fates:
    fates = _Fates()
    before, after = imagined.judge_offers(setting, offers)
    kept = [
        offer
        for offer, now, then in zip(offers, before, after, strict=True)
        if offer.state == OfferState.LIVE and now.is_allowed and then.is_allowed
    ]
    fates.later = _falls_later(kept, imagined, setting)
    falls_later = {offer_id for of_then in fates.later.values() for offer_id, _ in of_then}
    policy_ids = {policy.fact_id for policy in setting.policies}
    for offer, now, then in zip(offers, before, after, strict=True):
        for answer in (now, then):
            if answer.is_allowed and answer.expires_at < fates.holds_until:
                fates.holds_until = answer.expires_at
        if offer.state == OfferState.SUSPENDED:
            if then.is_allowed and not now.is_allowed:
                fates.returns.append((offer.id, _codes(then, policy_ids)))
        elif now.is_allowed and not then.is_allowed:
            fates.falls.append((offer.id, tuple(then.reason_codes)))
        elif offer.id in falls_later:
            continue
        elif now.is_allowed and any(item.fact_id in imagined.fact_ids for item in _facts(now)):
            fates.survives.append((offer.id, _codes(then, policy_ids)))
    return fates


def _falls_later(offers: list[Offer], imagined: Imagined, setting: Setting) -> dict[datetime, list[_Fate]]:
    """Of these offers, which stay on sale at first, those that the change fells at an instant that it sets: what would
    fall by then without it is none of its doing.
    """
    later: dict[datetime, list[_Fate]] = {}
    for instant in imagined.later:
        before, after = replace(imagined, at=instant).judge_offers(setting, offers) if offers else ([], [])
        later[instant] = [
            (offer.id, tuple(then.reason_codes))
            for offer, now, then in zip(offers, before, after, strict=True)
            if now.is_allowed and not then.is_allowed
        ]
        fallen = {offer_id for offer_id, _ in later[instant]}
        offers = [offer for offer in offers if offer.id not in fallen]
    return later


def _named(fates: Sequence[_Fate], codes: str) -> list[OfferImpact]:
    if not fates:
        return []
    offers = ListingHost.objects.select_related("listing__variant__device", "listing__vendor", "host")
    found = offers.in_bulk([offer_id for offer_id, _ in fates])
    return [_impact(found[offer_id], **{codes: told}) for offer_id, told in fates if offer_id in found]


def _impact(offer: ListingHost, **codes: tuple[str, ...]) -> OfferImpact:
    variant = offer.listing.variant
    return OfferImpact(
        offer_id=offer.pk,
        listing_id=offer.listing_id,
        sku=offer.listing.sku,
        vendor_name=offer.listing.vendor.name,
        device_name=str(variant.device),
        model_number=variant.model_number,
        host_code=offer.host.code,
        **codes,
    )


def _digest(
    change: Imaginable,
    effective_at: datetime | None,
    falls: Impacts,
    survives: Impacts,
    returns: Impacts,
    later: tuple[FallsLater, ...],
) -> str:
    content = [
        _hash_of(change, effective_at),
        [impacts.digest for impacts in (falls, survives, returns)],
        [(each.at.isoformat(), each.falls.digest) for each in later],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _hash_of(change: Imaginable, effective_at: datetime | None) -> str:
    content = [type(change).__name__, _content_of(change), effective_at]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _content_of(change: Imaginable) -> Any:
    if isinstance(change, CorrectGroundwork):
        return [change.reason_code, change.subject, change.recorder.fingerprint()]
    return asdict(change)
