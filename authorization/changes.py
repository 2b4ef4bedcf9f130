"""What the front door may be asked: each way of taking authority away, and what can only be looked at."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authorization import (
    affiliations,
    agreements,
    approvals,
    equipment,
    groundwork,
    holds,
    policies,
    reinstatements,
)
from authorization.acceptances.following import Following
from authorization.facts import InvalidFact
from authorization.models import Fact, HoldVersion
from authorization.rules import ALL
from catalog.models import Variant

# Why authority is withdrawn. The word of a party, not the ground that a decision then gives.
WITHDRAWAL_REASONS: dict[str, str] = {
    "MANUFACTURER_DISCLAIMS": "The manufacturer says that the seller has no authority",
    "AGREEMENT_TERMINATED": "The grantor ended the agreement",
    "GRANTEE_WITHDRAWS": "The grantee gave the agreement back",
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


def fact_of(change: AboutFact) -> Fact:
    fact = Fact.objects.filter(pk=change.fact_id).first()
    kind = _KIND_OF.get(type(change))
    if fact is None or (kind is not None and fact.kind != kind):
        raise InvalidFact(
            "fact", f"There is no {kind or 'record'} with id {change.fact_id}; choose one that exists."
        )
    return fact


def current_of(fact: Fact) -> Any:
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


def restrict(change: RestrictApproval, fact: Fact, **stamp: Any) -> None:
    approvals.restrict_under_fence(
        fact=fact,
        limits=change.limits,
        waived_until=change.waived_until,
        software_from=change.software_from,
        software_until=change.software_until,
        following=change.following,
        **stamp,
    )


def narrower_terms(change: NarrowAgreement) -> agreements.NarrowerTerms:
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


def policy_terms(change: SetPolicy) -> policies.PolicyTerms:
    return policies.check_terms(
        **{name: getattr(change, name) for name in policies.PolicyTerms.__annotations__}
    )


def following_of(change: Imaginable) -> Following | None:
    """The move of a technical acceptance that this change is."""
    match change:
        case RevokeApproval() | RestrictApproval() | PlaceHold():
            return change.following
    return None
