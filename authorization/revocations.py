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
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from authorization import (
    affiliations,
    agreements,
    approvals,
    decisions,
    equipment,
    facts,
    fence,
    holds,
    ledger,
    outbox,
    selectors,
)
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.evaluator import HypotheticalHold, WhatIf
from authorization.facts import InvalidFact
from authorization.models import Fact, HoldVersion, Revision, Revocation
from authorization.rules import Evidence
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
class Expire:
    """Nobody does anything until then. For previews: what the end of this record alone would bring."""

    fact_id: int


# What `execute` does; the others are only looked at.
Change = RevokeAgreement | RevokeApproval | RevokeEquipment | NarrowAgreement | PlaceHold
Imaginable = Change | ReleaseHold | ExemptFromHold | Expire
AboutFact = (
    RevokeAgreement
    | RevokeApproval
    | RevokeEquipment
    | NarrowAgreement
    | ReleaseHold
    | ExemptFromHold
    | Expire
)
_KIND_OF: dict[type, str] = {
    RevokeAgreement: Fact.Kind.AGREEMENT,
    RevokeApproval: Fact.Kind.APPROVAL,
    RevokeEquipment: Fact.Kind.EQUIPMENT,
    NarrowAgreement: Fact.Kind.AGREEMENT,
    ReleaseHold: Fact.Kind.HOLD,
    ExemptFromHold: Fact.Kind.HOLD,
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


@dataclass(frozen=True)
class Preview:
    """`digest` covers the offers that fall, survive or return and their evidence; a confirmation quotes it."""

    change: Imaginable
    falls: tuple[OfferImpact, ...]
    survives: tuple[OfferImpact, ...]
    digest: str
    revision: int
    # Suspended offers that the way back would bring back.
    returns: tuple[OfferImpact, ...] = ()


class WorldMoved(Exception):
    """What was previewed is no longer what would happen. `preview` is the new picture."""

    def __init__(self, preview: Preview) -> None:
        super().__init__("The impact has changed since the preview. Look at the new one and confirm again.")
        self.preview = preview


def preview(change: Imaginable, *, at: datetime) -> Preview:
    """Exactly which offers would fall, survive on other evidence, or return. Writes nothing. Raises InvalidFact."""
    imagined = imagine(change, at=at)
    setting = decisions.read_setting(at=at, known_at=None)
    instant = max(decisions.instant_of(setting, at), imagined.at)
    falls: list[OfferImpact] = []
    survives: list[OfferImpact] = []
    returns: list[OfferImpact] = []
    for offers in _pages(imagined.offers):
        questions = [decisions.question_for_offer(offer) for offer in offers]
        before = decisions.answers_in(
            setting, questions, at=instant if imagined.is_act else at, is_explained=False
        )
        after = decisions.answers_in(setting, questions, at=instant, what_if=imagined.what_if)
        for offer, now, then in zip(offers, before, after, strict=True):
            if offer.state == OfferState.SUSPENDED:
                if then.is_allowed and not now.is_allowed:
                    returns.append(_impact(offer, evidence_codes=_codes(then)))
            elif now.is_allowed and not then.is_allowed:
                falls.append(_impact(offer, reason_codes=tuple(then.reason_codes)))
            elif now.is_allowed and any(item.fact_id in imagined.fact_ids for item in _facts(now)):
                survives.append(_impact(offer, evidence_codes=_codes(then)))
    digest = _digest(change, falls, survives, returns)
    return Preview(change, tuple(falls), tuple(survives), digest, setting.revision, tuple(returns))


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
            targets=change.targets,
            reach=change.reach,
            exemptions=change.exemptions,
            by=by,
            at=at,
        )
        return fact, Revocation.Kind.HOLD
    fact = Fact.objects.get(pk=change.fact_id)
    if isinstance(change, NarrowAgreement):
        agreements.narrow_under_fence(
            fact=fact, revision=revision, terms=_narrower_terms(change), by=by, at=at, reason=note
        )
        return fact, Revocation.Kind.NARROWING
    revoke = {
        RevokeAgreement: agreements.revoke_under_fence,
        RevokeApproval: approvals.revoke_under_fence,
        RevokeEquipment: equipment.revoke_under_fence,
    }[type(change)]
    revoke(fact=fact, revision=revision, reason_code=change.reason_code, by=by, at=at, reason=note)
    return fact, _KIND_OF[type(change)]


# --- what would be ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imagined:
    """A change thought through: what the evaluator is told, whom it may touch, and when it is.

    `is_act`: something is done at `at`; otherwise time passes until `at`.
    """

    what_if: WhatIf
    offers: QuerySet[ListingHost]
    fact_ids: frozenset[int]
    at: datetime
    is_act: bool = True


def imagine(change: Imaginable, *, at: datetime) -> Imagined:
    """Raises InvalidFact for a change that could not be made."""
    if at.tzinfo is None:
        raise InvalidFact("at", "The time has no time zone; give one, e.g. 2016-02-01T12:00:00Z.")
    reason_code = getattr(change, "reason_code", None)
    if reason_code is not None and reason_code not in WITHDRAWAL_REASONS:
        raise InvalidFact("reason_code", f"Take one of {', '.join(WITHDRAWAL_REASONS)}.")
    live = ListingHost.objects.filter(state=OfferState.LIVE)
    if isinstance(change, PlaceHold):
        return _imagine_hold(change, live, at)
    fact = _fact_of(change)
    fact_ids = frozenset({fact.pk})
    offers = selectors.offers_touched_by(live, fact)
    if isinstance(change, RevokeAgreement | RevokeApproval | RevokeEquipment):
        _check_revocable(fact)
        return Imagined(WhatIf(revoked={fact.pk: at}), offers, fact_ids, at)
    if isinstance(change, NarrowAgreement):
        return Imagined(_narrower(change, fact, at), offers, fact_ids, at)
    swept = ListingHost.objects.filter(state__in=[OfferState.LIVE, OfferState.SUSPENDED])
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


def _check_revocable(fact: Fact) -> None:
    match Fact.Kind(fact.kind):
        case Fact.Kind.AGREEMENT:
            agreements.check_revocable(agreements.current(fact))
        case Fact.Kind.APPROVAL:
            approvals.check_revocable(approvals.current(fact))
        case _:
            equipment.check_revocable(equipment.current(fact))


def _with_exemption(hold: HoldVersion, exemption: holds.Exemption) -> HypotheticalHold:
    parts: dict[int, tuple[tuple[str, str], ...]] = {}
    for target in hold.targets.all():
        parts[target.part] = (*parts.get(target.part, ()), (target.dimension, target.value))
    number = max([0, *[row.part for row in hold.exemptions.all()]]) + 1
    return HypotheticalHold(
        fact_id=hold.head_id,
        code=hold.head.code,
        reach=hold.reach,
        placed_by=hold.placed_by,
        reason_code=hold.reason_code,
        valid_from=hold.valid_from,
        valid_until=hold.valid_until,
        parts=parts | {number: exemption.targets},
        exemptions={row.part: (row.valid_from, row.valid_until) for row in hold.exemptions.all()}
        | {number: (exemption.valid_from, exemption.valid_until)},
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


def _pages(offers: QuerySet[ListingHost]) -> Iterator[list[ListingHost]]:
    rows = offers.select_related("listing__variant__device", "listing__vendor", "host").order_by("id")
    found = rows.iterator(chunk_size=PAGE)
    while page := list(islice(found, PAGE)):
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
    change: Imaginable,
    falls: Sequence[OfferImpact],
    survives: Sequence[OfferImpact],
    returns: Sequence[OfferImpact],
) -> str:
    content = [
        [type(change).__name__, asdict(change)],
        [[impact.offer_id, list(impact.reason_codes)] for impact in falls],
        [[impact.offer_id, list(impact.evidence_codes)] for impact in survives],
        [[impact.offer_id, list(impact.evidence_codes)] for impact in returns],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _by_dimension(targets: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {
        dimension: frozenset(value for other, value in targets if other == dimension)
        for dimension in {dimension for dimension, _ in targets}
    }
