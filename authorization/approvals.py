"""Carrier approvals: this exact variant may be sold for this host carrier."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict, Unpack

from django.db import transaction

from authorization import doors, facts, fence
from authorization.acceptances.following import (
    Following,
    follow_under_fence,
    reopened_under_fence,
)
from authorization.actors import SYSTEM, Actor
from authorization.facts import InvalidFact
from authorization.models import Acceptance, ApprovalVersion, Fact, Revision
from authorization.software import sort_key
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Variant

State = ApprovalVersion.State
IN_FORCE = (State.APPROVED, State.CONDITIONAL)


class NewApproval(TypedDict):
    """Where a variant stands with a host.

    `waived_until` ends a conditional approval with the waiver that it rests on. The software range is half-open, as
    the host writes its versions; empty is unbounded.
    """

    host: HostCarrier
    variant: Variant
    state: str
    valid_from: datetime
    valid_until: NotRequired[datetime]
    limits: NotRequired[str]
    waived_until: NotRequired[datetime | None]
    software_from: NotRequired[str]
    software_until: NotRequired[str]
    document: NotRequired[str]


class OtherTerms(TypedDict):
    """Where the host's tests led: the state with its limits and its waiver. A software range that is None stays."""

    state: str
    limits: NotRequired[str]
    waived_until: NotRequired[datetime | None]
    software_from: NotRequired[str | None]
    software_until: NotRequired[str | None]


def record_approval(*, code: str, by: Actor, at: datetime, **record: Unpack[NewApproval]) -> Fact:
    """Record an approval, or that one is asked for. Raises InvalidFact."""
    doors.check_instant("at", at)
    fields = _new_record(**record)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"approval {code} recorded", at=at)
        return _open(code, fields, revision, by, at, led=False)


def record_under_fence(
    *, code: str, revision: Revision, by: Actor, at: datetime, **record: Unpack[NewApproval]
) -> Fact:
    """The write of an approval that a technical acceptance leads to. The caller holds the exclusive fence.

    Raises InvalidFact.
    """
    doors.check_instant("at", at)
    return _open(code, _new_record(**record), revision, by, at, led=True)


def _new_record(
    *,
    host: HostCarrier,
    variant: Variant,
    state: str,
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    limits: str = "",
    waived_until: datetime | None = None,
    software_from: str = "",
    software_until: str = "",
    document: str = "",
) -> dict[str, Any]:
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    limits = _check_state(state, limits)
    _check_waiver(state, waived_until, after=valid_from)
    return {
        "host": host,
        "variant": variant,
        "state": state,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "limits": limits,
        "waived_until": waived_until,
        "document": document,
        **software_range(software_from, software_until),
    }


def _open(
    code: str, fields: Mapping[str, Any], revision: Revision, by: Actor, at: datetime, *, led: bool
) -> Fact:
    """`led`: by a technical acceptance."""
    _refuse_twice(fields, field="code")
    _refuse_overlap(fields, field="software_from", led=led)
    head = facts.open_head(kind=Fact.Kind.APPROVAL, code=code)
    facts.write_version(ApprovalVersion, head=head, revision=revision, fields=fields)
    boundaries = (fields["valid_from"], fields["valid_until"], *_waiver_end(fields))
    _publish("approval.recorded", head, revision, by, at, fields["document"], fields, boundaries)
    return head


def change_approval_state(
    *, fact: Fact, by: Actor, at: datetime, reason: str, **terms: Unpack[OtherTerms]
) -> Revision:
    """Another state, or wider terms.

    Revoking goes through `authorization.revocations`; an approval that a technical acceptance led to is changed by
    the moves of that (authorization.acceptances.process). Raises InvalidFact.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.APPROVAL)
    _refuse_decided_elsewhere(fact)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"approval {fact.code} is {terms['state']}", at=at)
        change_under_fence(fact=fact, revision=revision, by=by, at=at, reason=reason, **terms)
    return revision


def _refuse_decided_elsewhere(fact: Fact) -> None:
    code = Acceptance.objects.filter(approval=fact).values_list("code", flat=True).first()
    if code is not None:
        raise InvalidFact(
            "fact",
            f"{fact.code} is what technical acceptance {code} led to; move that, where the tests are checked.",
        )


def change_under_fence(
    *,
    fact: Fact,
    state: str,
    limits: str = "",
    waived_until: datetime | None = None,
    software_from: str | None = None,
    software_until: str | None = None,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    valid_until: datetime | None = None,
    document: str | None = None,
) -> None:
    """The write of another state or of wider terms: never of less. A range of software, an end and a document that are
    None stay.

    The caller holds the exclusive fence. Raises InvalidFact.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.APPROVAL)
    limits = _check_state(state, limits)
    _check_waiver(state, waived_until, after=at)
    version = current(fact)
    if version.state in (State.REVOKED, State.REJECTED):
        raise InvalidFact("fact", f"{fact.code} is {version.state}, which is final; record a new approval.")
    if version.state in IN_FORCE and state not in IN_FORCE:
        raise InvalidFact(
            "state",
            f"{fact.code} is in force. To take it away revoke it, or place a hold on it: both show first what "
            "falls, and hold the orders that rest on it.",
        )
    if _end(record_of(version)) <= at:
        raise InvalidFact(
            "fact",
            f"{fact.code} ended on {_end(record_of(version)):%Y-%m-%d}, which is final; record a new approval.",
        )
    software = software_range(
        version.software_from if software_from is None else software_from,
        version.software_until if software_until is None else software_until,
    )
    if version.state in IN_FORCE:
        _refuse_narrower(version, software)
        _refuse_limits(version, state, waived_until)
    fields = record_of(version) | {
        "state": state,
        "limits": limits,
        "waived_until": waived_until,
        **software,
    }
    boundaries = _waiver_end(fields)
    if document is not None:
        fields["document"] = document
    if valid_until is not None and valid_until != version.valid_until:
        if valid_until < version.valid_until:
            raise InvalidFact(
                "valid_until",
                f"{fact.code} is in force until {version.valid_until:%Y-%m-%d}: an earlier end takes authority away. "
                "Leave it out, or revoke the approval for that day.",
            )
        facts.check_interval(valid_from=version.valid_from, valid_until=valid_until)
        fields["valid_until"] = valid_until
        boundaries = (valid_until, *boundaries)
    if version.state not in IN_FORCE and state in IN_FORCE:
        # While it was tested it was no approval, whenever the request was filed: that was the mistake of 2016.
        fields["valid_from"] = max(version.valid_from, at)
    _refuse_twice(fields, field="state", but=fact)
    _refuse_overlap(fields, field="software_until", led=_is_led(fact), but=fact)
    facts.write_version(ApprovalVersion, head=fact, revision=revision, fields=fields)
    _publish("approval.changed", fact, revision, by, at, reason, fields, boundaries)


def revoke_under_fence(
    *,
    fact: Fact,
    revision: Revision,
    reason_code: str,
    by: Actor,
    at: datetime,
    reason: str,
    effective_at: datetime | None = None,
    following: Following | None = None,
) -> None:
    """The write of a revocation, from `at` on or from later. `authorization.revocations` is the door to it and holds
    the fence. The technical acceptance that led here follows.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.APPROVAL)
    version = current(fact)
    effective_at = effective_at or at
    check_revocable(version, effective_at=effective_at)
    fields = record_of(version) | {
        "state": State.REVOKED,
        "revoked_at": effective_at,
        "reason_code": reason_code,
    }
    facts.write_version(ApprovalVersion, head=fact, revision=revision, fields=fields)
    _publish("approval.revoked", fact, revision, by, at, reason, fields, (effective_at,))
    _let_follow(fact, revision, by, at, reason, following=following)


def restrict_under_fence(
    *,
    fact: Fact,
    revision: Revision,
    limits: str,
    waived_until: datetime | None,
    software_from: str | None,
    software_until: str | None,
    by: Actor,
    at: datetime,
    reason: str,
    following: Following | None = None,
) -> None:
    """The write of limits on an approval in force: named limits, a waiver that ends, a narrower range of software.

    It takes authority away: `authorization.revocations` is the door to it and holds the fence. What is None stays: a
    bound of the range of software, and the end of a waiver that it rests on already. Raises InvalidFact for more than
    before.
    """
    doors.check_instant("at", at)
    doors.check_kind(fact, Fact.Kind.APPROVAL)
    version = current(fact)
    if version.state not in IN_FORCE or _end(record_of(version)) <= at:
        raise InvalidFact("fact", f"{fact.code} is not in force; there is nothing to limit.")
    limits = _check_state(State.CONDITIONAL, limits)
    if waived_until is None:
        waived_until = version.waived_until
    _check_waiver(State.CONDITIONAL, waived_until, after=at)
    if version.waived_until is not None and (waived_until is None or waived_until > version.waived_until):
        raise InvalidFact(
            "waived_until",
            f"{fact.code} rests on a waiver until {version.waived_until:%Y-%m-%d}; take that end or an earlier one.",
        )
    software = software_range(
        version.software_from if software_from is None else software_from,
        version.software_until if software_until is None else software_until,
    )
    _refuse_wider(version, software)
    fields = record_of(version) | {
        "state": State.CONDITIONAL,
        "limits": limits,
        "waived_until": waived_until,
        **software,
    }
    if fields == record_of(version):
        raise InvalidFact(
            "limits", f"{fact.code} says exactly that already; change at least one of its terms."
        )
    _refuse_twice(fields, field="software_from", but=fact)
    facts.write_version(ApprovalVersion, head=fact, revision=revision, fields=fields)
    _publish("approval.limited", fact, revision, by, at, reason, fields, _waiver_end(fields))
    _let_follow(fact, revision, by, at, reason, terms_by="restrict", following=following)


def unrevoke_under_fence(*, fact: Fact, revision: Revision, by: Actor, at: datetime, reason: str) -> None:
    """The way back from a revocation that is still to come. The caller holds the fence. Raises InvalidFact."""
    version = current(fact)
    if version.revoked_at is None or version.revoked_at <= at:
        raise InvalidFact("fact", f"No revocation of {fact.code} is to come; there is nothing to cancel.")
    before = ApprovalVersion.objects.filter(head=fact, state__in=IN_FORCE).order_by("-version_no")
    fields = record_of(version) | {"state": before[0].state, "revoked_at": None, "reason_code": ""}
    facts.write_version(ApprovalVersion, head=fact, revision=revision, fields=fields)
    _publish("approval.revocation_cancelled", fact, revision, by, at, reason, fields)


def widen_again_under_fence(
    *, fact: Fact, version: ApprovalVersion, revision: Revision, by: Actor, at: datetime, reason: str
) -> None:
    """The way back from limits: this approval says again what its `version` said. The caller holds the fence.

    For one that a technical acceptance led to: an acceptance has one approval, so that none stands in its place.
    Raises InvalidFact.
    """
    change_under_fence(
        fact=fact,
        state=version.state,
        limits=version.limits,
        waived_until=version.waived_until,
        software_from=version.software_from,
        software_until=version.software_until,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
    )
    _let_follow(fact, revision, by, at, reason, terms_by="lift_limits")


def reopen_under_fence(
    *, version: ApprovalVersion, code: str, revision: Revision, by: Actor, at: datetime, reason: str
) -> Fact:
    """A new approval that says what this version said, from now on: what was revoked stays revoked.

    `version` is one that was in force. The caller holds the fence. Raises InvalidFact.
    """
    if _end(record_of(version)) <= at:
        raise InvalidFact(
            "fact", f"{version.head.code} would have ended on {_end(record_of(version)):%Y-%m-%d} anyway."
        )
    fields = record_of(version) | {"valid_from": max(version.valid_from, at)}
    _refuse_twice(fields, field="revocation", but=version.head)
    _refuse_overlap(fields, field="revocation", led=_is_led(version.head), but=version.head)
    # What is due by now and no worker has written comes first.
    _let_follow(version.head, revision, SYSTEM, at, "")
    head = facts.open_head(kind=Fact.Kind.APPROVAL, code=code)
    opened = facts.write_version(ApprovalVersion, head=head, revision=revision, fields=fields)
    boundaries = (fields["valid_from"], fields["valid_until"], *_waiver_end(fields))
    _publish("approval.reinstated", head, revision, by, at, reason, fields, boundaries)
    reopened_under_fence(before=version.head, version=opened, revision=revision, by=by, at=at, reason=reason)
    return head


def check_revocable(version: ApprovalVersion, *, effective_at: datetime) -> None:
    """A revocation to come may be brought forward, never put off."""
    is_to_come = version.revoked_at is not None and version.revoked_at > effective_at
    if version.state not in IN_FORCE and not is_to_come:
        raise InvalidFact(
            "fact", f"{version.head.code} is {version.state}; only an approval in force can be revoked."
        )


def current(fact: Fact) -> ApprovalVersion:
    return ApprovalVersion.objects.select_related("head", "host", "variant").get(
        head=fact, rev_to__isnull=True
    )


def record_of(version: ApprovalVersion) -> dict[str, Any]:
    names = (
        "host", "variant", "state", "revoked_at", "limits", "waived_until", "software_from", "software_until",
        "software_from_key", "software_until_key", "reason_code", "document", "valid_from", "valid_until",
    )  # fmt: skip
    return {name: getattr(version, name) for name in names}


def terms_of(version: ApprovalVersion) -> dict[str, Any]:
    """What it lets be sold, and until when."""
    names = ("state", "limits", "waived_until", "software_from_key", "software_until_key", "valid_until")
    return {name: getattr(version, name) for name in names}


def _check_state(state: str, limits: str) -> str:
    """The limits as they are kept."""
    allowed = [value for value in State.values if value != State.REVOKED]
    if state not in allowed:
        raise InvalidFact(
            "state", f"Take one of {', '.join(allowed)}. To revoke an approval use the revoke action."
        )
    if state == State.CONDITIONAL and not limits.strip():
        raise InvalidFact("limits", "A conditional approval says what is limited, e.g. 'LTE B12 off'.")
    if state != State.CONDITIONAL and limits.strip():
        raise InvalidFact(
            "limits", "Only a conditional approval has limits; clear them, or make it conditional."
        )
    return doors.clean_text("limits", limits, at_most=300)


def _check_waiver(state: str, waived_until: datetime | None, *, after: datetime) -> None:
    if waived_until is None:
        return
    doors.check_instant("waived_until", waived_until)
    if state != State.CONDITIONAL:
        raise InvalidFact(
            "waived_until",
            "Only an approval with limits rests on a waiver; leave it out, or take conditional.",
        )
    if waived_until <= after:
        raise InvalidFact(
            "waived_until",
            f"The waiver would be over from the start; give an end after {after:%Y-%m-%d %H:%M}.",
        )
    if waived_until > FOREVER:
        raise InvalidFact("waived_until", f"The latest end is {FOREVER:%Y-%m-%d}; leave it out for no end.")


def _waiver_end(fields: Mapping[str, Any]) -> tuple[datetime, ...]:
    return () if fields["waived_until"] is None else (fields["waived_until"],)


def _end(fields: Mapping[str, Any]) -> datetime:
    """When it ends by itself."""
    end: datetime = min([fields["valid_until"], *_waiver_end(fields)])
    return end


def software_range(software_from: str, software_until: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, version in (("software_from", software_from), ("software_until", software_until)):
        fields[name] = doors.clean_text(name, version, at_most=64)
        fields[f"{name}_key"] = sort_key(fields[name], field=name)
    if fields["software_until_key"] and fields["software_from_key"] >= fields["software_until_key"]:
        raise InvalidFact(
            "software_until",
            "The range ends before it begins (the end itself no longer counts); give a later end.",
        )
    return fields


def _refuse_narrower(version: ApprovalVersion, software: Mapping[str, str]) -> None:
    starts, ends = software["software_from_key"], software["software_until_key"]
    until = version.software_until_key
    is_wider = starts <= version.software_from_key and (not ends or (bool(until) and until <= ends))
    if not is_wider:
        raise InvalidFact(
            "software_from" if starts > version.software_from_key else "software_until",
            f"{version.head.code} is in force: less software takes authority away. Record the narrower range as a new "
            "approval, then revoke this one.",
        )


def _refuse_limits(version: ApprovalVersion, state: str, waived_until: datetime | None) -> None:
    field = ""
    if state == State.CONDITIONAL and version.state == State.APPROVED:
        field = "state"
    elif waived_until is not None and waived_until < (version.waived_until or FOREVER):
        field = "waived_until"
    if field:
        raise InvalidFact(
            field,
            f"{version.head.code} is in force: new limits and an earlier end of a waiver take authority away. Limit it "
            "instead, which shows first what falls.",
        )


def _refuse_twice(fields: Mapping[str, Any], *, field: str, but: Fact | None = None) -> None:
    """The same approval twice at one time: a slip of the hand, and a revocation would leave the other one in force.

    Ranges of software that overlap in part are two things: a maintenance release is approved beside the one before.
    """
    if fields["state"] not in IN_FORCE:
        return
    others = ApprovalVersion.objects.current().filter(
        host=fields["host"],
        variant=fields["variant"],
        state__in=IN_FORCE,
        software_from_key=fields["software_from_key"],
        software_until_key=fields["software_until_key"],
        valid_from__lt=_end(fields),
    )
    for other in others.exclude(head=but).select_related("head"):
        if _end(record_of(other)) > fields["valid_from"]:
            raise InvalidFact(
                field,
                f"{other.head} approves the same for the same time, {other.valid_from:%Y-%m-%d} until "
                f"{_end(record_of(other)):%Y-%m-%d}; change that one, or give another time or range of software.",
            )


def _is_led(fact: Fact) -> bool:
    return Acceptance.objects.filter(approval=fact).exists()


def _refuse_overlap(fields: Mapping[str, Any], *, field: str, led: bool, but: Fact | None = None) -> None:
    """One build, one acceptance: if two that cover it were in force, suspending one would leave it on sale.

    Of approvals that the desk recorded by themselves, ranges may overlap in part.
    """
    if fields["state"] not in IN_FORCE:
        return
    others = ApprovalVersion.objects.current().filter(
        host=fields["host"],
        variant=fields["variant"],
        valid_from__lt=_end(fields),
        state__in=(*IN_FORCE, State.REVOKED),
    )
    if not led:
        others = others.filter(head__acceptance__isnull=False)
    for other in others.exclude(head=but).select_related("head"):
        if _over(record_of(other)) > fields["valid_from"] and _overlap(fields, record_of(other)):
            raise InvalidFact(
                field,
                f"{other.head} covers some of this software for this time, and what is accepted is accepted once. "
                "Give a range beside it, or limit or revoke that one first.",
            )


def _over(fields: Mapping[str, Any]) -> datetime:
    """When it is over, by itself or by a revocation that is to come."""
    return min(_end(fields), fields["revoked_at"] or FOREVER)


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def begins_before_end(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
        ends = second["software_until_key"]
        return not ends or first["software_from_key"] < ends

    return begins_before_end(one, other) and begins_before_end(other, one)


def _refuse_wider(version: ApprovalVersion, software: Mapping[str, str]) -> None:
    starts, ends = software["software_from_key"], software["software_until_key"]
    until = version.software_until_key
    for field, is_wider in (
        ("software_from", starts < version.software_from_key),
        ("software_until", bool(until) and (not ends or ends > until)),
    ):
        if is_wider:
            raise InvalidFact(
                field,
                f"{version.head.code} covers less than that; limits take away. Leave it out to keep the bound.",
            )


def _let_follow(
    fact: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    *,
    terms_by: str = "",
    following: Following | None = None,
) -> None:
    follow_under_fence(
        approval_ids=(fact.pk,),
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        terms_by=terms_by,
        following=following,
    )


def _publish(
    act: str,
    head: Fact,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    fields: Mapping[str, Any],
    boundaries: tuple[datetime, ...] = (),
) -> None:
    evidence = {
        "code": head.code,
        "host": fields["host"].code,
        "variant": fields["variant"].slug,
        "state": fields["state"],
        "limits": fields["limits"],
        "software_from": fields["software_from"],
        "software_until": fields["software_until"],
        "waived_until": fields["waived_until"].isoformat() if fields["waived_until"] else None,
        "valid_from": fields["valid_from"].isoformat(),
        "valid_until": fields["valid_until"].isoformat(),
    }
    facts.publish_change(
        act=act,
        subject_kind="fact",
        subject_id=head.pk,
        revision=revision,
        by=by,
        at=at,
        reason=reason,
        evidence=evidence,
        boundaries=boundaries,
    )
