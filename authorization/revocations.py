"""Authority is taken away: preview what falls, then execute. What admin, API and exercises reach through
`storefront.withdrawals`, which adds carts and orders.

From the commit of `execute` on nothing of it can be sold; pages and listings follow by the sweep.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice

from django.db import transaction
from django.db.models import QuerySet

from authorization import agreements, approvals, decisions, fence, holds, ledger, outbox, selectors
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.facts import InvalidFact
from authorization.models import Fact, Revision, Revocation
from authorization.rules import Hold, World
from carriers.versions import FOREVER
from catalog.models import ListingHost, OfferState

# Why authority is withdrawn. The word of a party, not the ground that a decision then gives.
WITHDRAWAL_REASONS: dict[str, str] = {
    "MANUFACTURER_DISCLAIMS": "The manufacturer says that the seller has no authority",
    "AGREEMENT_TERMINATED": "The grantor ended the agreement",
    "CARRIER_TESTS_PENDING": "The host carrier asks for removal until the device is tested",
    "CARRIER_WITHDRAWS": "The host carrier withdrew its approval",
    "REGULATOR_ORDER": "A regulator ordered it",
    "SAFETY": "Safety of buyers",
    "VENDOR_CONDUCT": "The vendor broke the rules of the shop",
    "RECORD_MISTAKEN": "The record was a mistake",
    "SHOP_REVIEW": "The shop reviews the case",
}

PAGE = 1000
# Changes of authority that may slip in between the last preview and the fence, before we ask to look again.
ATTEMPTS = 3


@dataclass(frozen=True)
class RevokeAgreement:
    fact_id: int
    reason_code: str


@dataclass(frozen=True)
class RevokeApproval:
    fact_id: int
    reason_code: str


@dataclass(frozen=True)
class PlaceHold:
    """`targets`: pairs (dimension, value) as in HoldTarget, e.g. ("host", "3")."""

    code: str
    placed_by: str
    reason_code: str
    note: str
    targets: tuple[tuple[str, str], ...]


Change = RevokeAgreement | RevokeApproval | PlaceHold


@dataclass(frozen=True)
class OfferImpact:
    """One host offer that falls (`reason_codes`) or survives (`evidence_codes`: what it then rests on)."""

    offer_id: int
    listing_id: int
    sku: str
    vendor_name: str
    device_name: str
    model_number: str
    host_code: str
    reason_codes: tuple[str, ...] = ()
    evidence_codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preview:
    """`digest` covers the offers that fall or survive and their evidence; a confirmation quotes it."""

    change: Change
    falls: tuple[OfferImpact, ...]
    survives: tuple[OfferImpact, ...]
    digest: str
    revision: int


class WorldMoved(Exception):
    """What was previewed is no longer what would happen. `preview` is the new picture."""

    def __init__(self, preview: Preview) -> None:
        super().__init__("The impact has changed since the preview. Look at the new one and confirm again.")
        self.preview = preview


def preview(change: Change, *, at: datetime) -> Preview:
    """Exactly which live offers would fall, and which survive on other evidence. Writes nothing."""
    _check(change)
    revision = fence.current_revision()
    falls: list[OfferImpact] = []
    survives: list[OfferImpact] = []
    for offers in _pages(_candidates(change)):
        questions = [decisions.question_for_offer(offer) for offer in offers]
        world = decisions.load_world(questions, revision=revision, at=at)
        before = decisions.answer_from(questions, world, at=at, revision=revision)
        after = decisions.answer_from(questions, changed_world(world, change, at), at=at, revision=revision)
        for offer, now, then in zip(offers, before, after, strict=True):
            if now.is_allowed and not then.is_allowed:
                falls.append(_impact(offer, reason_codes=tuple(then.reason_codes)))
            elif now.is_allowed and _cites(now, change):
                survives.append(_impact(offer, evidence_codes=tuple(item.code for item in then.evidence)))
    return Preview(change, tuple(falls), tuple(survives), _digest(change, falls, survives), revision)


def execute(
    change: Change,
    *,
    digest: str,
    requested_by: str,
    word_received_at: datetime,
    note: str,
    by: Actor,
    at: datetime,
) -> Revocation:
    """Take the authority away. Raises WorldMoved when `digest` is not that of the present preview, InvalidFact."""
    if not requested_by.strip():
        raise InvalidFact("requested_by", "Say whose word it is: the manufacturer, the carrier, the shop.")
    if word_received_at > at:
        raise InvalidFact(
            "word_received_at", "The word cannot have been received in the future; correct the time."
        )
    for _ in range(ATTEMPTS):
        # The whole preview is computed before the fence: behind it buyers wait.
        present = preview(change, at=at)
        if present.digest != digest:
            raise WorldMoved(present)
        done = _execute_if_unmoved(change, present, requested_by, word_received_at, note, by, at)
        if done is not None:
            return done
    raise WorldMoved(preview(change, at=at))


def release_hold(*, fact: Fact, by: Actor, at: datetime, reason: str) -> Revision:
    """Lift one hold. The sweep brings back what nothing else stops."""
    return holds.release_hold(fact=fact, by=by, at=at, reason=reason)


def _execute_if_unmoved(
    change: Change,
    present: Preview,
    requested_by: str,
    word_received_at: datetime,
    note: str,
    by: Actor,
    at: datetime,
) -> Revocation | None:
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"{change.reason_code}: {note}", at=at)
        if revision.n != present.revision + 1:
            transaction.set_rollback(True)
            return None
        fact, kind = _write(change, revision, note, by, at)
        revocation = Revocation.objects.create(
            kind=kind,
            fact=fact,
            revision=revision,
            requested_by=requested_by,
            reason_code=change.reason_code,
            note=note,
            actor=str(by),
            word_received_at=word_received_at,
            effective_at=at,
            preview_digest=present.digest,
            preview_falls=len(present.falls),
            preview_survives=len(present.survives),
        )
        ledger.record(
            act="authority.withdrawn",
            subject_kind="revocation",
            subject_id=revocation.pk,
            by=by,
            at=at,
            reason=note,
            evidence={
                "requested_by": requested_by,
                "reason_code": change.reason_code,
                "digest": present.digest,
                "falls": len(present.falls),
            },
            revision=revision.n,
        )
        outbox.announce(event="authority.withdrawn", payload={"revocation_id": revocation.pk}, at=at)
    return revocation


def _write(change: Change, revision: Revision, note: str, by: Actor, at: datetime) -> tuple[Fact, str]:
    if isinstance(change, PlaceHold):
        fact = holds.place_under_fence(
            code=change.code,
            revision=revision,
            placed_by=change.placed_by,
            reason_code=change.reason_code,
            note=change.note or note,
            targets=holds.check_targets(change.targets),
            by=by,
            at=at,
        )
        return fact, Revocation.Kind.HOLD
    fact = Fact.objects.get(pk=change.fact_id)
    revoke = (
        agreements.revoke_under_fence if isinstance(change, RevokeAgreement) else approvals.revoke_under_fence
    )
    revoke(fact=fact, revision=revision, reason_code=change.reason_code, by=by, at=at, reason=note)
    return fact, (
        Revocation.Kind.AGREEMENT if isinstance(change, RevokeAgreement) else Revocation.Kind.APPROVAL
    )


def _check(change: Change) -> None:
    if change.reason_code not in WITHDRAWAL_REASONS:
        raise InvalidFact("reason_code", f"Take one of {', '.join(WITHDRAWAL_REASONS)}.")
    if isinstance(change, PlaceHold):
        holds.check_targets(change.targets)
        if Fact.objects.filter(code=change.code).exists():
            raise InvalidFact("code", f"{change.code} exists already; take another code.")
        if not change.placed_by.strip():
            raise InvalidFact("placed_by", "Say who places the hold.")
        return
    kind = Fact.Kind.AGREEMENT if isinstance(change, RevokeAgreement) else Fact.Kind.APPROVAL
    fact = Fact.objects.filter(pk=change.fact_id, kind=kind).first()
    if fact is None:
        raise InvalidFact("fact", f"There is no {kind} with id {change.fact_id}.")
    version = agreements.current(fact) if kind == Fact.Kind.AGREEMENT else approvals.current(fact)
    if version.revoked_at is not None:
        raise InvalidFact("fact", f"{fact.code} was revoked on {version.revoked_at:%Y-%m-%d} already.")


def _candidates(change: Change) -> QuerySet[ListingHost]:
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    if isinstance(change, PlaceHold):
        return selectors.offers_matching(live, _by_dimension(change.targets))
    return selectors.offers_touched_by(live, Fact.objects.get(pk=change.fact_id))


def _pages(offers: QuerySet[ListingHost]) -> Iterator[list[ListingHost]]:
    rows = offers.select_related("listing__variant__device", "listing__vendor", "host").order_by("id")
    found = rows.iterator(chunk_size=PAGE)
    while page := list(islice(found, PAGE)):
        yield page


def changed_world(world: World, change: Change, at: datetime) -> World:
    """The evidence as it would be after this change, for what-if questions."""
    if isinstance(change, RevokeAgreement):
        return replace(
            world,
            agreements=tuple(
                replace(a, revoked_at=at) if a.fact_id == change.fact_id else a for a in world.agreements
            ),
        )
    if isinstance(change, RevokeApproval):
        return replace(
            world,
            approvals=tuple(
                replace(a, revoked_at=at, state="revoked") if a.fact_id == change.fact_id else a
                for a in world.approvals
            ),
        )
    hold = Hold(
        fact_id=0,
        code=change.code,
        version_no=1,
        placed_by=change.placed_by,
        reason_code=change.reason_code,
        valid_from=at,
        valid_until=FOREVER,
        released_at=None,
        targets=_by_dimension(change.targets),
    )
    return replace(world, holds=(*world.holds, hold))


def _cites(answer: Answer, change: Change) -> bool:
    if isinstance(change, PlaceHold):
        suspended = {int(value) for dimension, value in change.targets if dimension == "fact"}
    else:
        suspended = {change.fact_id}
    return any(item.fact_id in suspended for item in answer.evidence)


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


def _digest(change: Change, falls: Sequence[OfferImpact], survives: Sequence[OfferImpact]) -> str:
    content = [
        [type(change).__name__, asdict(change)],
        [[impact.offer_id, list(impact.reason_codes)] for impact in falls],
        [[impact.offer_id, list(impact.evidence_codes)] for impact in survives],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _by_dimension(targets: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {
        dimension: frozenset(value for other, value in targets if other == dimension)
        for dimension in {dimension for dimension, _ in targets}
    }
