"""The way back: what a withdrawal took away is given again, in the same way and by the same sweep.

A withdrawal is never erased. What was revoked stays revoked (its date never moves), and a new record stands in its
place from now on; a hold is released, and it alone; a policy is set as it was. What returns is what nothing else
stops: an offer that lost another ground meanwhile stays down, and says why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import (
    affiliations,
    agreements,
    approvals,
    equipment,
    facts,
    fence,
    groundwork,
    holds,
    ledger,
    outbox,
    pending_changes,
    policies,
)
from authorization.acceptances import steps
from authorization.acceptances.following import Following
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    HoldExemption,
    HoldTarget,
    PendingChange,
    PolicyVersion,
    Reinstatement,
    Revision,
    Revocation,
)

Kind = Revocation.Kind


# Less than all: of an agreement narrower terms, of a hold what goes on being sold under it.
type Part = agreements.NarrowerTerms | holds.Exemption


@dataclass(frozen=True)
class _Act:
    """What an undo has at hand."""

    revocation: Revocation
    revision: Revision
    by: Actor
    at: datetime
    reason: str
    part: Part | None = None
    following: Following | None = None

    @property
    def fact(self) -> Fact:
        return self.revocation.named_fact

    @property
    def stamp(self) -> dict[str, Any]:
        return {"revision": self.revision, "by": self.by, "at": self.at, "reason": self.reason}


def undo(
    *,
    revocation: Revocation,
    reason: str,
    is_mistake: bool,
    by: Actor,
    at: datetime,
    returns: int = 0,
    part: Part | None = None,
    declines: PendingChange | None = None,
) -> Reinstatement:
    """Give back what this withdrawal took, or a part of it. `returns`: how many offers the preview named.

    `declines`: the removal that a second person decides on by it; NotPending is raised where somebody was faster.

    Raises InvalidFact where nothing can be given back: it is undone already, has not taken effect (then it is
    cancelled instead), or would have ended by now.
    """
    if not reason.strip():
        raise InvalidFact("reason", "Say why it is undone; the reason is kept beside the withdrawal.")
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"undone: {revocation.name}", at=at)
        return undo_under_fence(
            revocation=revocation,
            revision=revision,
            reason=reason,
            is_mistake=is_mistake,
            by=by,
            at=at,
            returns=returns,
            part=part,
            declines=declines,
        )


def undo_under_fence(
    *,
    revocation: Revocation,
    revision: Revision,
    reason: str,
    is_mistake: bool,
    by: Actor,
    at: datetime,
    returns: int = 0,
    part: Part | None = None,
    declines: PendingChange | None = None,
    following: Following | None = None,
) -> Reinstatement:
    """The writes of an undo; the caller holds the exclusive fence. `following`: the move of an acceptance that it is.

    Raises InvalidFact, NotPending.
    """
    check_undoable(revocation, at=at)
    pending_changes.settle_due(revocation=revocation, by=by, at=at)
    if declines is not None:
        pending_changes.lock_open(declines, PendingChange.Kind.REMOVAL)
    fact = write(revocation, revision, by=by, at=at, reason=reason, part=part, following=following)
    done = Reinstatement.objects.create(
        revocation=revocation,
        revision=revision,
        fact=fact,
        is_partial=part is not None,
        is_mistake=is_mistake,
        reason=reason,
        actor=str(by),
        at=at,
        preview_returns=returns,
    )
    ledger.record(
        act="authority.reinstated",
        subject_kind="revocation",
        subject_id=revocation.pk,
        by=by,
        at=at,
        reason=reason,
        evidence={
            "reinstatement": done.pk,
            "is_mistake": is_mistake,
            "in_its_place": fact.code if fact else "",
            "returns": returns,
        },
        revision=revision.n,
    )
    outbox.announce(event="authority.reinstated", payload={"reinstatement_id": done.pk}, at=at)
    if part is None:
        pending_changes.close_removal_of(revocation=revocation, by=by, at=at, reason=reason)
    return done


def decline_removal(*, pending: PendingChange, by: Actor, at: datetime, reason: str) -> Reinstatement:
    """A second person disagrees: the withdrawal is undone as a mistake, and kept on record with the reason.

    Raises InvalidFact.
    """
    pending_changes.refuse_same_person(pending, by)
    return undo(revocation=pending.revocation, reason=reason, is_mistake=True, by=by, at=at, declines=pending)


def write(
    revocation: Revocation,
    revision: Revision,
    *,
    by: Actor,
    at: datetime,
    reason: str,
    part: Part | None = None,
    following: Following | None = None,
) -> Fact | None:
    """The write of an undo; also what a preview rehearses. The caller holds the fence. Raises InvalidFact."""
    if part is not None and not isinstance(part, _PARTS.get(Kind(revocation.kind), ())):
        raise InvalidFact(
            "part",
            f"Of a withdrawal of this kind ({revocation.get_kind_display()}) all or nothing comes back.",
        )
    return _WRITES[Kind(revocation.kind)](_Act(revocation, revision, by, at, reason, part, following))


def check_undoable(revocation: Revocation, *, at: datetime) -> None:
    """Raises InvalidFact for a withdrawal that is undone, or has not taken effect by `at`."""
    earlier = Reinstatement.objects.filter(revocation=revocation, is_partial=False).first()
    if earlier is not None:
        raise InvalidFact(
            "revocation", f"It was undone on {earlier.at:%Y-%m-%d %H:%M} UTC by {earlier.actor} already."
        )
    waiting = PendingChange.objects.filter(revocation=revocation, kind=PendingChange.Kind.WITHDRAWAL)
    row = waiting.first()
    if row is None:
        return
    # Its instant counts, not whether a worker has met it.
    if row.state == PendingChange.State.OPEN and row.due_at is not None and row.due_at > at:
        raise InvalidFact("revocation", "It has not taken effect yet; cancel it instead.")
    if row.state == PendingChange.State.CANCELLED:
        raise InvalidFact("revocation", "It was cancelled before it took effect; nothing is to be undone.")


# --- one for each kind ------------------------------------------------------------------------------------------


def _agreement(act: _Act) -> Fact:
    return _reopened(act, agreements.current(act.fact))


def _narrowing(act: _Act) -> Fact:
    before = AgreementVersion.objects.select_related("head", "grantor", "grantee").get(
        head=act.fact, rev_to=act.revocation.revision_id
    )
    _refuse_withdrawn_since(act)
    if before.revoked_at is not None:
        raise InvalidFact(
            "revocation", f"{act.fact} is to be revoked on {before.revoked_at:%Y-%m-%d}; cancel that first."
        )
    return _reopened(act, before)


def _refuse_withdrawn_since(act: _Act) -> None:
    """What was taken away further since would come back with it.

    By another withdrawal of the same record that was neither undone nor cancelled. Raises InvalidFact.
    """
    later = Revocation.objects.filter(fact=act.fact, revision_id__gt=act.revocation.revision_id)
    undone = Reinstatement.objects.filter(is_partial=False).values("revocation")
    cancelled = PendingChange.objects.filter(
        kind=PendingChange.Kind.WITHDRAWAL, state=PendingChange.State.CANCELLED
    ).values("revocation")
    if later.exclude(pk__in=undone).exclude(pk__in=cancelled).exists():
        raise InvalidFact(
            "revocation",
            f"{act.fact} was withdrawn further since, or is to be. Undo or cancel that first, or record what is "
            "to hold.",
        )


def _reopened(act: _Act, version: AgreementVersion) -> Fact:
    _refuse_held(act)
    terms = act.part if isinstance(act.part, agreements.NarrowerTerms) else None
    return agreements.reopen_under_fence(version=version, code=_free_code(act.fact), terms=terms, **act.stamp)


def _approval(act: _Act) -> Fact:
    if act.revocation.kind == Kind.RESTRICTION:
        _refuse_withdrawn_since(act)
        if approvals.current(act.fact).state not in approvals.IN_FORCE:
            raise InvalidFact("revocation", f"{act.fact} is no longer in force; record a new approval.")
        if Acceptance.objects.filter(approval=act.fact).exists():
            _refuse_changed_since(act)
            _refuse_own_word(act)
            approvals.widen_again_under_fence(fact=act.fact, version=_approval_before(act), **act.stamp)
            return act.fact
    else:
        _refuse_held(act)
        _refuse_own_word(act)
    return approvals.reopen_under_fence(version=_approval_before(act), code=_free_code(act.fact), **act.stamp)


def _refuse_changed_since(act: _Act) -> None:
    """Its terms are those that the limiting wrote, or taking it back would take away what was given since."""
    written = ApprovalVersion.objects.get(head=act.fact, rev_from=act.revocation.revision_id)
    if approvals.terms_of(approvals.current(act.fact)) != approvals.terms_of(written):
        raise InvalidFact(
            "revocation", f"{act.fact} was changed since: what it says now is not what this withdrawal left."
        )


def _refuse_held(act: _Act) -> None:
    """A hold names the record that was revoked, and would not name the one in its place."""
    held = HoldTarget.objects.filter(
        version__rev_to__isnull=True,
        version__released_at__isnull=True,
        version__valid_until__gt=act.at,
        part=0,
        dimension=HoldTarget.Dimension.FACT,
        value=str(act.fact.pk),
    )
    target = held.select_related("version__head").first()
    if target is not None:
        raise InvalidFact(
            "revocation",
            f"{target.version.head.code} suspends {act.fact}, and would not suspend what stands in its place. Release "
            "it first, or leave the withdrawal as it is.",
        )


def _refuse_own_word(act: _Act) -> None:
    """What a host took away is not given back by whoever asked it for acceptance. Raises InvalidFact."""
    acceptance = Acceptance.objects.filter(approval=act.fact).first()
    if acceptance is None or "following" not in act.revocation.scope:
        return
    if acceptance.sponsor_id is None or steps.has_sponsored(acceptance, act.by):
        raise InvalidFact(
            "revocation",
            f"The host took {acceptance.code} away, and you asked for it: nobody approves what they sponsored. Ask the "
            "host anew.",
        )


def _approval_before(act: _Act) -> ApprovalVersion:
    """The last version that was in force."""
    versions = ApprovalVersion.objects.filter(head=act.fact, rev_from__lt=act.revocation.revision_id)
    in_force = versions.filter(state__in=approvals.IN_FORCE).select_related("head", "host", "variant")
    return in_force.order_by("-version_no")[0]


def _equipment(act: _Act) -> Fact:
    _refuse_held(act)
    version = EquipmentVersion.objects.select_related("head", "variant").get(
        head=act.fact, rev_to__isnull=True
    )
    return equipment.reopen_under_fence(version=version, code=_free_code(act.fact), **act.stamp)


def _hold(act: _Act) -> Fact:
    if isinstance(act.part, holds.Exemption):
        exemption = holds.check_exemption(act.part, at=act.at)
        holds.exempt_under_fence(fact=act.fact, exemption=exemption, **act.stamp)
        return act.fact
    holds.release_under_fence(fact=act.fact, following=act.following, **act.stamp)
    return act.fact


def _exemption(act: _Act) -> Fact:
    part = act.revocation.scope["exemption"]
    before = HoldExemption.objects.select_related("version").get(
        version__head=act.fact, version__rev_to=act.revocation.revision_id, part=part
    )
    if before.valid_until <= act.at:
        raise InvalidFact(
            "revocation", f"The exemption would have ended on {before.valid_until:%Y-%m-%d} anyway."
        )
    exemption = holds.Exemption(
        targets=holds.targets_of(before.version, part=part),
        valid_from=max(before.valid_from, act.at),
        valid_until=before.valid_until,
        note=before.note,
    )
    holds.exempt_under_fence(fact=act.fact, exemption=exemption, **act.stamp)
    return act.fact


def _affiliation(act: _Act) -> Fact:
    before = AffiliationVersion.objects.select_related("head", "parent", "child").get(
        head=act.fact, rev_to=act.revocation.revision_id
    )
    return affiliations.reopen_under_fence(version=before, code=_free_code(act.fact), **act.stamp)


def _policy(act: _Act) -> Fact:
    """The policy that stood before in its territory; where none did, the one for all stands again."""
    current = PolicyVersion.objects.get(head=act.fact, rev_to__isnull=True)
    if current.valid_until <= act.at:
        raise InvalidFact("revocation", "Another policy has taken its place since; set a new one instead.")
    ended = PolicyVersion.objects.filter(rev_to=act.revocation.revision_id).order_by("-head_id").first()
    if ended is None:
        policies.end_under_fence(fact=act.fact, **act.stamp)
        return act.fact
    record = policies.record_of(ended)
    terms = policies.check_terms(**{name: record[name] for name in policies.PolicyTerms.__annotations__})
    return policies.set_under_fence(terms=terms, **act.stamp)


def _groundwork(act: _Act) -> None:
    groundwork.restore_under_fence(corrected_at=act.revocation.revision_id, **act.stamp)


_WRITES: dict[str, Callable[[_Act], Fact | None]] = {
    Kind.AGREEMENT: _agreement,
    Kind.NARROWING: _narrowing,
    Kind.APPROVAL: _approval,
    Kind.RESTRICTION: _approval,
    Kind.EQUIPMENT: _equipment,
    Kind.HOLD: _hold,
    Kind.EXEMPTION: _exemption,
    Kind.AFFILIATION: _affiliation,
    Kind.POLICY: _policy,
    Kind.GROUNDWORK: _groundwork,
}


_PARTS: dict[str, type] = {
    Kind.AGREEMENT: agreements.NarrowerTerms,
    Kind.NARROWING: agreements.NarrowerTerms,
    Kind.HOLD: holds.Exemption,
}


def _free_code(fact: Fact) -> str:
    """AG-812 is followed by AG-812-R1."""
    number = 1
    while Fact.objects.filter(code=f"{fact.code[:58]}-R{number}").exists():
        number += 1
    return facts.check_code(f"{fact.code[:58]}-R{number}")
