"""Authority is taken away: the one front door. Preview what falls, then execute.

What admin, API and exercises reach through `storefront.withdrawals`, which adds carts and orders. From the commit of
`execute` on (or, of a withdrawal for a later day, from its instant on) nothing of it can be sold; pages and listings
follow by the sweep.

A preview is exact because nothing in it guesses: either the engine is told what would be different (`WhatIf`, a
changed setting), or the change is rehearsed: written by the code that executes it, in a transaction that is rolled
back page by page.
"""

import copy
import hashlib
import json
import time
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import BigIntegerField, Count, ExpressionWrapper, F, Min, QuerySet, Sum
from django.db.models.functions import Coalesce

from authorization import (
    affiliations,
    agreements,
    approvals,
    clock,
    decisions,
    equipment,
    facts,
    fence,
    groundwork,
    holds,
    ledger,
    outbox,
    pending_changes,
    policies,
    reinstatements,
    selectors,
)
from authorization.acceptances.following import Following, follow_under_fence
from authorization.acceptances.following import check as check_following
from authorization.actors import SYSTEM, Actor
from authorization.decisions import Answer
from authorization.evaluator import NOTHING_CHANGED, HypotheticalHold, Policy, Setting, WhatIf
from authorization.facts import InvalidFact
from authorization.models import Assurance, Fact, HoldVersion, Revision, Revocation
from authorization.rules import ALL, Evidence, Question
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState, Variant

# Why authority is withdrawn. The word of a party, not the ground that a decision then gives.
WITHDRAWAL_REASONS: dict[str, str] = {
    "MANUFACTURER_DISCLAIMS": "The manufacturer says that the seller has no authority",
    "AGREEMENT_TERMINATED": "The grantor ended the agreement",
    "CARRIER_TESTS_PENDING": "The host carrier asks for removal until the device is tested",
    "CARRIER_WITHDRAWS": "The host carrier withdrew its approval",
    "REGULATOR_ORDER": "A regulator ordered it",
    "SAFETY": "Safety of buyers",
    "VENDOR_CONDUCT": "The vendor broke the rules of the shop",
    "POLICY_TIGHTENED": "The shop asks for more than before",
    "DATA_CORRECTED": "What was recorded of a radio, a network or a hosting was corrected",
    "RECORD_MISTAKEN": "The record was a mistake",
    "SHOP_REVIEW": "The shop reviews the case",
}

PAGE = 1000
# Changes of authority that may slip in between the last preview and the fence, before we ask to look again.
ATTEMPTS = 3
FURTHEST_AHEAD = timedelta(days=3 * 366)
_SALT = "clearline.withdrawal-preview"
# Whoever rehearses: the rows are gone before anybody could read the name.
_NOBODY = SYSTEM


@dataclass(frozen=True)
class RevokeAgreement:
    fact_id: int
    reason_code: str


@dataclass(frozen=True)
class RevokeApproval:
    """`following`: the move of its technical acceptance that it is; None: in the shop's own name."""

    fact_id: int
    reason_code: str
    following: Following | None = None


@dataclass(frozen=True)
class RevokeEquipment:
    """The regulator takes its equipment authorization back."""

    fact_id: int
    reason_code: str


@dataclass(frozen=True)
class NarrowAgreement:
    """An agreement that covers less from now on. None leaves a term as it is; `models` are variant ids."""

    fact_id: int
    reason_code: str
    models: tuple[int, ...] | None = None
    territories: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    conditions: tuple[str, ...] | None = None
    valid_until: datetime | None = None
    may_sublicense: bool | None = None


@dataclass(frozen=True)
class PlaceHold:
    """`targets`: pairs (dimension, value) as in HoldTarget, e.g. ("host", "3")."""

    code: str
    placed_by: str
    reason_code: str
    note: str
    targets: tuple[tuple[str, str], ...]
    reach: str = HoldVersion.Reach.SALE
    exemptions: tuple[holds.Exemption, ...] = ()
    # Of a hold on one approval: the move of its technical acceptance that it is.
    following: Following | None = None


@dataclass(frozen=True)
class RestrictApproval:
    """An approval in force gets limits: named ones, a waiver that ends, less software. None: the software stays."""

    fact_id: int
    reason_code: str
    limits: str
    waived_until: datetime | None = None
    software_from: str | None = None
    software_until: str | None = None
    following: Following | None = None


@dataclass(frozen=True)
class EndExemption:
    """The hold stops again what this exemption (its `part`) let through."""

    fact_id: int
    part: int
    reason_code: str


@dataclass(frozen=True)
class EndAffiliation:
    fact_id: int
    reason_code: str


@dataclass(frozen=True)
class SetPolicy:
    """What the shop enforces in a territory from now on; the terms are those of `policies.PolicyTerms`."""

    reason_code: str
    name: str
    minimum_assurance: str
    is_carrier_approval_enforced: bool
    territory: str = ALL
    is_agreement_enforced: bool = True
    is_conditional_approval_enough: bool = True
    is_equipment_authorization_enforced: bool = False
    minimum_radio: str = ""


@dataclass(frozen=True)
class CorrectGroundwork:
    """Bands, voice over LTE or attributes of variants, networks, hostings: what the recorder asks for and is not yet
    made. `subject` is what people call the correction, e.g. the variant or the file.
    """

    reason_code: str
    subject: str
    recorder: groundwork.Recorder


@dataclass(frozen=True)
class ReleaseHold:
    """The way back: one hold is lifted. For previews; `release_hold` does it."""

    fact_id: int


@dataclass(frozen=True)
class ExemptFromHold:
    """The way back in part. For previews; `holds.exempt` does it."""

    fact_id: int
    exemption: holds.Exemption


@dataclass(frozen=True)
class Undo:
    """The way back from a withdrawal. For previews; `reinstatements.undo` does it."""

    revocation_id: int
    part: reinstatements.Part | None = None


@dataclass(frozen=True)
class Expire:
    """Nobody does anything until then. For previews: what the end of this record alone would bring."""

    fact_id: int


# What `execute` does; the others are only looked at.
Change = (
    RevokeAgreement
    | RevokeApproval
    | RestrictApproval
    | RevokeEquipment
    | NarrowAgreement
    | PlaceHold
    | EndExemption
    | EndAffiliation
    | SetPolicy
    | CorrectGroundwork
)
Imaginable = Change | ReleaseHold | ExemptFromHold | Undo | Expire
AboutFact = (
    RevokeAgreement
    | RevokeApproval
    | RestrictApproval
    | RevokeEquipment
    | NarrowAgreement
    | EndExemption
    | EndAffiliation
    | ReleaseHold
    | ExemptFromHold
    | Expire
)
# Those that can be made for a later day: the record says the instant, so that no worker is needed then.
SCHEDULABLE = (RevokeAgreement, RevokeApproval, RevokeEquipment, PlaceHold, EndExemption, EndAffiliation)
_KIND_OF: dict[type, str] = {
    RevokeAgreement: Fact.Kind.AGREEMENT,
    RevokeApproval: Fact.Kind.APPROVAL,
    RestrictApproval: Fact.Kind.APPROVAL,
    RevokeEquipment: Fact.Kind.EQUIPMENT,
    NarrowAgreement: Fact.Kind.AGREEMENT,
    EndExemption: Fact.Kind.HOLD,
    EndAffiliation: Fact.Kind.AFFILIATION,
    ReleaseHold: Fact.Kind.HOLD,
    ExemptFromHold: Fact.Kind.HOLD,
}
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


class Impacts(Collection[OfferImpact]):
    """Offers of a preview, however many: all are counted, known by id and covered by the digest, the first are named.

    Iterating is for those that fit (`NAMED`); of more it raises rather than leaving some out in silence.
    """

    NAMED = 5000

    def __init__(self) -> None:
        self._named: list[OfferImpact] = []
        self.offer_ids = array("q")
        self._hash = hashlib.sha256()

    def add(self, impact: OfferImpact, codes: Sequence[str]) -> None:
        self.offer_ids.append(impact.offer_id)
        self._hash.update(json.dumps([impact.offer_id, list(codes)]).encode())
        if len(self._named) < self.NAMED:
            self._named.append(impact)

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
    wants_two: bool = False


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


class WorldMoved(Exception):
    """What was previewed is no longer what would happen. `preview` is the new picture."""

    def __init__(self, preview: Preview) -> None:
        super().__init__("The impact has changed since the preview. Look at the new one and confirm again.")
        self.preview = preview


def preview(change: Imaginable, *, at: datetime, effective_at: datetime | None = None) -> Preview:
    """Exactly which offers would fall, survive on other evidence, or return, now or at `effective_at`.

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
    falls, survives, returns = Impacts(), Impacts(), Impacts()
    holds_until = FOREVER
    for offers in _pages(imagined.offers):
        before, after = imagined.judge_offers(setting, offers)
        for offer, now, then in zip(offers, before, after, strict=True):
            holds_until = min(
                [holds_until, *(answer.expires_at for answer in (now, then) if answer.is_allowed)]
            )
            if offer.state == OfferState.SUSPENDED:
                if then.is_allowed and not now.is_allowed:
                    codes = _codes(then)
                    returns.add(_impact(offer, evidence_codes=codes), codes)
            elif now.is_allowed and not then.is_allowed:
                reason_codes = tuple(then.reason_codes)
                falls.add(_impact(offer, reason_codes=reason_codes), reason_codes)
            elif now.is_allowed and any(item.fact_id in imagined.fact_ids for item in _facts(now)):
                codes = _codes(then)
                survives.add(_impact(offer, evidence_codes=codes), codes)
    digest = _digest(change, effective_at, falls, survives, returns)
    counts = [len(falls), len(survives), len(returns)]
    seen = _Seen(
        digest, _hash_of(change, effective_at), setting.revision, world, holds_until.isoformat(), counts
    )
    if falls and not isinstance(change, ReleaseHold | ExemptFromHold | Undo | Expire):
        seen = replace(seen, wants_two=pending_changes.needs_second_person(falls.offer_ids))
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
    if getattr(change, "following", None) is not None and not note.strip():
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
        elif (following := getattr(change, "following", None)) is not None:
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
        return policies.set_under_fence(terms=_policy_terms(change), **stamp)
    if isinstance(change, CorrectGroundwork):
        change.recorder.write(revision)
        return None
    fact = Fact.objects.get(pk=change.fact_id)
    match change:
        case NarrowAgreement():
            agreements.narrow_under_fence(fact=fact, terms=_narrower_terms(change), **stamp)
        case RestrictApproval():
            _restrict(change, fact, **stamp)
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


def _restrict(change: RestrictApproval, fact: Fact, **stamp: Any) -> None:
    approvals.restrict_under_fence(
        fact=fact,
        limits=change.limits,
        waived_until=change.waived_until,
        software_from=change.software_from,
        software_until=change.software_until,
        following=change.following,
        **stamp,
    )


def _check_move(change: Imaginable, *, at: datetime, effective_at: datetime | None) -> set[int]:
    """A change that is a move of a technical acceptance is one that may be made. Returns its approval, if it is one.

    Raises MoveRefused, InvalidFact.
    """
    if getattr(change, "following", None) is None:
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
    check_following(change.following, move=move, approval_ids=approval_ids, at=at, effective_at=effective_at)
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
    if isinstance(change, RevokeAgreement | RevokeApproval | RevokeEquipment):
        _refuse_after_its_end(change, effective_at)


def _refuse_after_its_end(change: AboutFact, effective_at: datetime) -> None:
    version = _current(_fact_of(change))
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


# --- what would be ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imagined:
    """A change thought through: what the engine is told, whom it may touch, and when it is.

    `is_act`: something is done at `at`; otherwise time passes until `at`, from `before_at` on.
    """

    what_if: WhatIf
    offers: QuerySet[ListingHost]
    fact_ids: frozenset[int]
    at: datetime
    is_act: bool = True
    before_at: datetime | None = None
    # What would be different in the setting, e.g. the policy.
    change_setting: Callable[[Setting], Setting] | None = None
    # Writes the change, where the engine cannot be told of it.
    rehearse: Callable[[Revision], None] | None = None

    def judge_offers(self, setting: Setting, offers: list[ListingHost]) -> tuple[list[Answer], list[Answer]]:
        """Before and after, in the order of the offers."""

        def ask() -> list[Question]:
            rows = offers
            if self.rehearse is not None:
                # Whose device a variant is may be what would change.
                found = {
                    offer.pk: offer
                    for offer in _with_terms(
                        ListingHost.objects.filter(pk__in=[offer.pk for offer in offers])
                    )
                }
                rows = [found[offer.pk] for offer in offers]
            return [decisions.question_for_offer(offer) for offer in rows]

        return self.judge(setting, ask, is_explained_before=False)

    def judge(
        self, setting: Setting, ask: Callable[[], list[Question]], *, is_explained_before: bool = True
    ) -> tuple[list[Answer], list[Answer]]:
        """Answers before and after. `ask` gives the questions; it is called again inside a rehearsal."""
        instant = max(decisions.instant_of(setting, self.at), self.at)
        before = decisions.answers_in(
            setting, ask(), at=self.before_at or instant, is_explained=is_explained_before
        )
        if self.rehearse is None:
            then = setting if self.change_setting is None else self.change_setting(setting)
            return before, decisions.answers_in(then, ask(), at=instant, what_if=self.what_if)
        with _rehearsal(self.rehearse, at=instant):
            then = decisions.read_setting(at=instant, known_at=None)
            return before, decisions.answers_in(then, ask(), at=decisions.instant_of(then, instant))


@contextmanager
def _rehearsal(write: Callable[[Revision], None], *, at: datetime) -> Iterator[None]:
    """Inside the block the change is made; nobody else sees it, and nothing of it stays."""
    with transaction.atomic():
        write(fence.rehearsal(at=at))
        yield
        transaction.set_rollback(True)


def imagine(change: Imaginable, *, at: datetime) -> Imagined:
    """Raises InvalidFact for a change that could not be made."""
    if at.tzinfo is None:
        raise InvalidFact("at", "The time has no time zone; give one, e.g. 2016-02-01T12:00:00Z.")
    reason_code = getattr(change, "reason_code", None)
    if reason_code is not None and reason_code not in WITHDRAWAL_REASONS:
        raise InvalidFact("reason_code", f"Take one of {', '.join(WITHDRAWAL_REASONS)}.")
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    swept = ListingHost.objects.filter(state__in=[OfferState.LIVE, OfferState.SUSPENDED])
    match change:
        case PlaceHold():
            return _imagine_hold(change, live, at)
        case SetPolicy():
            return _imagine_policy(change, swept, at)
        case CorrectGroundwork():
            return _imagine_correction(change, swept, at)
        case Undo():
            return _imagine_undo(change, swept, at)
    fact = _fact_of(change)
    fact_ids = frozenset({fact.pk})
    offers = selectors.offers_touched_by(live, fact)
    if isinstance(change, RevokeAgreement | RevokeApproval | RevokeEquipment):
        _check_revocable(fact, effective_at=at)
        return Imagined(WhatIf(revoked={fact.pk: at}), offers, fact_ids, at)
    if isinstance(change, NarrowAgreement):
        return Imagined(_narrower(change, fact, at), offers, fact_ids, at)
    if isinstance(change, RestrictApproval):
        return _imagine_restriction(change, fact, selectors.offers_touched_by(swept, fact), at)
    if isinstance(change, EndAffiliation):
        return _imagine_end_of_affiliation(fact, selectors.offers_touched_by(swept, fact), at)
    if isinstance(change, Expire):
        until = _end_of(fact)
        if until >= FOREVER:
            raise InvalidFact("fact", f"{fact.code} has no end; nothing of it expires.")
        if until <= at:
            raise InvalidFact("fact", f"{fact.code} ended on {until:%Y-%m-%d}; there is nothing to wait for.")
        if fact.kind == Fact.Kind.HOLD:
            offers = selectors.offers_touched_by(swept, fact)
        return Imagined(WhatIf(), offers, fact_ids, until, is_act=False)
    hold = (
        HoldVersion.objects.select_related("head")
        .prefetch_related("targets", "exemptions")
        .get(head=fact, rev_to__isnull=True)
    )
    if isinstance(change, EndExemption):
        exemptions = holds.without_exemption(hold, change.part, ends_at=at)
        ended = _with_exemptions(hold, exemptions)
        world = WhatIf(without_holds=fact_ids, holds=(ended,))
        return Imagined(world, offers, frozenset(), at)
    if isinstance(change, ReleaseHold):
        holds.refuse_released(hold)
    else:
        holds.refuse_over(hold, at)
    named = {int(target.value) for target in hold.targets.all() if target.dimension == "fact"}
    back = WhatIf(without_holds=fact_ids)
    if isinstance(change, ExemptFromHold):
        exemption = holds.check_exemption(change.exemption, at=at)
        back = replace(back, holds=(_with_exemption(hold, exemption),))
    return Imagined(back, selectors.offers_touched_by(swept, fact), frozenset(named), at)


def _imagine_hold(change: PlaceHold, live: QuerySet[ListingHost], at: datetime) -> Imagined:
    targets = holds.check_targets(change.targets, reach=change.reach)
    facts.check_code(change.code)
    holds.check_placer(change.placed_by)
    exemptions = [holds.check_exemption(exemption, at=at) for exemption in change.exemptions]
    hold = HypotheticalHold(
        fact_id=0,
        code=change.code,
        reach=change.reach,
        placed_by=change.placed_by,
        reason_code=change.reason_code,
        valid_from=at,
        valid_until=FOREVER,
        parts={0: targets} | {n: exemption.targets for n, exemption in enumerate(exemptions, start=1)},
        exemptions={
            n: (exemption.valid_from, exemption.valid_until)
            for n, exemption in enumerate(exemptions, start=1)
        },
    )
    named = frozenset({int(value) for dimension, value in targets if dimension == "fact"})
    offers = selectors.offers_matching(live, _by_dimension(targets))
    return Imagined(WhatIf(holds=(hold,)), offers, named, at)


def _narrower(change: NarrowAgreement, fact: Fact, at: datetime) -> WhatIf:
    fields, scope = agreements.narrowed(agreements.current(fact), _narrower_terms(change), at=at)
    return WhatIf(
        scopes={fact.pk: {dimension: frozenset(values) for dimension, values in scope.items()}},
        ends={fact.pk: fields["valid_until"]},
        sublicenses={fact.pk: fields["may_sublicense"]},
    )


def _narrower_terms(change: NarrowAgreement) -> agreements.NarrowerTerms:
    models = None
    if change.models is not None:
        models = tuple(Variant.objects.select_related("device").filter(pk__in=change.models))
        missing = set(change.models) - {variant.pk for variant in models}
        if missing:
            raise InvalidFact("models", f"There is no variant {min(missing)}; choose models that exist.")
    return agreements.NarrowerTerms(
        models=models,
        territories=change.territories,
        channels=change.channels,
        conditions=change.conditions,
        valid_until=change.valid_until,
        may_sublicense=change.may_sublicense,
    )


def _imagine_policy(change: SetPolicy, swept: QuerySet[ListingHost], at: datetime) -> Imagined:
    terms = _policy_terms(change)
    ended = {version.head_id for version in policies.ended_by(terms, at=at)}
    new = Policy(
        fact_id=0,
        code="the new policy",
        version_no=1,
        territory=change.territory,
        enforces_agreement=change.is_agreement_enforced,
        demands_verified=change.minimum_assurance == Assurance.VERIFIED,
        enforces_approval=change.is_carrier_approval_enforced,
        takes_conditional=change.is_conditional_approval_enough,
        enforces_equipment=change.is_equipment_authorization_enforced,
        minimum_radio=change.minimum_radio,
        valid_from=at,
        valid_until=FOREVER,
    )

    def set_policy(setting: Setting) -> Setting:
        kept = (
            policy._replace(valid_until=at) if policy.fact_id in ended else policy
            for policy in setting.policies
        )
        return replace(setting, policies=(*kept, new))

    offers = swept if change.territory == ALL else swept.filter(listing__territory=change.territory)
    return Imagined(NOTHING_CHANGED, offers, frozenset(), at, change_setting=set_policy)


def _imagine_end_of_affiliation(fact: Fact, offers: QuerySet[ListingHost], at: datetime) -> Imagined:
    affiliations.check_end(affiliations.current(fact), at, at=min(at, clock.now()))

    def end(setting: Setting) -> Setting:
        found = (
            row._replace(valid_until=at) if row.fact_id == fact.pk else row for row in setting.affiliations
        )
        return replace(setting, affiliations=tuple(found))

    return Imagined(NOTHING_CHANGED, offers, frozenset({fact.pk}), at, change_setting=end)


def _imagine_restriction(
    change: RestrictApproval, fact: Fact, offers: QuerySet[ListingHost], at: datetime
) -> Imagined:
    def write(revision: Revision) -> None:
        _restrict(change, fact, revision=revision, by=_NOBODY, at=at, reason="")

    return _rehearsed(write, offers, frozenset({fact.pk}), at)


def _imagine_correction(change: CorrectGroundwork, swept: QuerySet[ListingHost], at: datetime) -> Imagined:
    recorder = change.recorder
    if recorder.is_empty:
        raise InvalidFact("records", "All of it is recorded so already; there is nothing to correct.")
    scope = recorder.scope()
    offers = swept if scope is None else selectors.offers_in_scope(swept, scope)
    if not recorder.is_ground:
        offers = swept.none()

    def write(revision: Revision) -> None:
        # A rehearsal must leave no trace in what will be written in earnest: rows get their numbers by writing.
        copy.deepcopy(recorder).write(revision)

    return Imagined(NOTHING_CHANGED, offers, frozenset(), at, rehearse=write)


def _imagine_undo(change: Undo, swept: QuerySet[ListingHost], at: datetime) -> Imagined:
    revocation = Revocation.objects.select_related("fact").get(pk=change.revocation_id)
    reinstatements.check_undoable(revocation, at=at)
    offers = selectors.offers_concerned(swept, fact_id=revocation.fact_id, scope=revocation.scope)

    def write(revision: Revision) -> None:
        reinstatements.write(revocation, revision, by=_NOBODY, at=at, reason="", part=change.part)

    fact_ids = frozenset() if revocation.fact_id is None else frozenset({revocation.fact_id})
    return _rehearsed(write, offers, fact_ids, at)


def _rehearsed(
    write: Callable[[Revision], None],
    offers: QuerySet[ListingHost],
    fact_ids: frozenset[int],
    at: datetime,
) -> Imagined:
    with _rehearsal(write, at=at):
        # Once without questions: what would be refused is refused although nothing is on sale.
        pass
    return Imagined(NOTHING_CHANGED, offers, fact_ids, at, rehearse=write)


def _policy_terms(change: SetPolicy) -> policies.PolicyTerms:
    return policies.check_terms(
        **{name: getattr(change, name) for name in policies.PolicyTerms.__annotations__}
    )


def _check_revocable(fact: Fact, *, effective_at: datetime) -> None:
    match Fact.Kind(fact.kind):
        case Fact.Kind.AGREEMENT:
            agreements.check_revocable(agreements.current(fact), effective_at=effective_at)
        case Fact.Kind.APPROVAL:
            approvals.check_revocable(approvals.current(fact), effective_at=effective_at)
        case _:
            equipment.check_revocable(equipment.current(fact), effective_at=effective_at)


def _with_exemption(hold: HoldVersion, exemption: holds.Exemption) -> HypotheticalHold:
    exemptions = holds.exemptions_of(hold)
    return _with_exemptions(hold, exemptions | {max(exemptions, default=0) + 1: exemption})


def _with_exemptions(hold: HoldVersion, exemptions: Mapping[int, holds.Exemption]) -> HypotheticalHold:
    return HypotheticalHold(
        fact_id=hold.head_id,
        code=hold.head.code,
        reach=hold.reach,
        placed_by=hold.placed_by,
        reason_code=hold.reason_code,
        valid_from=hold.valid_from,
        valid_until=hold.valid_until,
        parts={0: holds.targets_of(hold)} | {part: row.targets for part, row in exemptions.items()},
        exemptions={part: (row.valid_from, row.valid_until) for part, row in exemptions.items()},
    )


def _fact_of(change: AboutFact) -> Fact:
    fact = Fact.objects.filter(pk=change.fact_id).first()
    kind = _KIND_OF.get(type(change))
    if fact is None or (kind is not None and fact.kind != kind):
        raise InvalidFact(
            "fact", f"There is no {kind or 'record'} with id {change.fact_id}; choose one that exists."
        )
    return fact


def _current(fact: Fact) -> Any:
    records = {
        Fact.Kind.AGREEMENT: agreements,
        Fact.Kind.APPROVAL: approvals,
        Fact.Kind.EQUIPMENT: equipment,
        Fact.Kind.AFFILIATION: affiliations,
        Fact.Kind.HOLD: holds,
    }
    if fact.kind not in records:
        raise InvalidFact("fact", f"{fact.code} is a {fact.get_kind_display()}; that is changed elsewhere.")
    return records[Fact.Kind(fact.kind)].current(fact)


def _end_of(fact: Fact) -> datetime:
    version = _current(fact)
    names = ("valid_until", "waived_until", "revoked_at", "released_at")
    ends = [getattr(version, name, None) for name in names]
    return min([end for end in ends if end is not None])


def _facts(answer: Answer) -> list[Evidence]:
    return [item for item in answer.evidence if item.kind in Fact.Kind.values]


def _codes(answer: Answer) -> tuple[str, ...]:
    return tuple(item.code for item in answer.evidence)


def _with_terms(offers: QuerySet[ListingHost]) -> QuerySet[ListingHost]:
    return offers.select_related("listing__variant__device", "listing__vendor", "host")


def _pages(offers: QuerySet[ListingHost]) -> Iterator[list[ListingHost]]:
    # By key, never with a cursor left open: on SQLite an open read would keep a rehearsal from writing.
    last = 0
    rows = _with_terms(offers).order_by("id")
    while page := list(rows.filter(id__gt=last)[:PAGE]):
        last = page[-1].pk
        yield page


def _impact(
    offer: ListingHost, *, reason_codes: tuple[str, ...] = (), evidence_codes: tuple[str, ...] = ()
) -> OfferImpact:
    variant = offer.listing.variant
    return OfferImpact(
        offer_id=offer.pk,
        listing_id=offer.listing_id,
        sku=offer.listing.sku,
        vendor_name=offer.listing.vendor.name,
        device_name=str(variant.device),
        model_number=variant.model_number,
        host_code=offer.host.code,
        reason_codes=reason_codes,
        evidence_codes=evidence_codes,
    )


def _digest(
    change: Imaginable, effective_at: datetime | None, falls: Impacts, survives: Impacts, returns: Impacts
) -> str:
    content = [
        _hash_of(change, effective_at),
        [impacts.digest for impacts in (falls, survives, returns)],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _hash_of(change: Imaginable, effective_at: datetime | None) -> str:
    content = [type(change).__name__, _content_of(change), effective_at]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _content_of(change: Imaginable) -> Any:
    if isinstance(change, CorrectGroundwork):
        return [change.reason_code, change.subject, change.recorder.fingerprint()]
    return asdict(change)


def _by_dimension(targets: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {
        dimension: frozenset(value for other, value in targets if other == dimension)
        for dimension in {dimension for dimension, _ in targets}
    }
