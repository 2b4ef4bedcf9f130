"""Carrier approvals: this exact variant may be sold for this host carrier."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import facts, fence
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import ApprovalVersion, Fact, Revision
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Variant

State = ApprovalVersion.State
IN_FORCE = (State.APPROVED, State.CONDITIONAL)


def record_approval(
    *,
    code: str,
    host: HostCarrier,
    variant: Variant,
    state: str,
    valid_from: datetime,
    valid_until: datetime = FOREVER,
    limits: str = "",
    document: str = "",
    by: Actor,
    at: datetime,
) -> Fact:
    """Record where a variant stands with a host. Raises InvalidFact."""
    facts.check_interval(valid_from=valid_from, valid_until=valid_until)
    _check_state(state, limits)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"approval {code} recorded", at=at)
        head = facts.open_head(kind=Fact.Kind.APPROVAL, code=code)
        fields = {
            "host": host,
            "variant": variant,
            "state": state,
            "valid_from": valid_from,
            "valid_until": valid_until,
            "limits": limits,
            "document": document,
        }
        facts.write_version(ApprovalVersion, head=head, revision=revision, fields=fields)
        _publish("approval.recorded", head, revision, by, at, document, fields, (valid_from, valid_until))
    return head


def change_approval_state(
    *, fact: Fact, state: str, by: Actor, at: datetime, reason: str, limits: str = ""
) -> Revision:
    """Where the host's tests led. Revoking goes through `authorization.revocations`."""
    _check_state(state, limits)
    with transaction.atomic():
        revision = fence.exclusive(by=by, reason=f"approval {fact.code} is {state}", at=at)
        version = current(fact)
        if version.state in (State.REVOKED, State.REJECTED):
            raise InvalidFact(
                "fact", f"{fact.code} is {version.state}, which is final; record a new approval."
            )
        if version.state in IN_FORCE and state not in IN_FORCE:
            raise InvalidFact(
                "state",
                f"{fact.code} is in force. To take it away revoke it, or place a hold on it: both show first what "
                "falls, and hold the orders that rest on it.",
            )
        fields = record_of(version) | {"state": state, "limits": limits}
        facts.write_version(ApprovalVersion, head=fact, revision=revision, fields=fields)
        _publish("approval.changed", fact, revision, by, at, reason, fields)
    return revision


def revoke_under_fence(
    *, fact: Fact, revision: Revision, reason_code: str, by: Actor, at: datetime, reason: str
) -> None:
    """The write of a revocation. `authorization.revocations` is the door to it and holds the fence."""
    version = current(fact)
    if version.state not in IN_FORCE:
        raise InvalidFact(
            "fact", f"{fact.code} is {version.state}; only an approval in force can be revoked."
        )
    fields = record_of(version) | {"state": State.REVOKED, "revoked_at": at, "reason_code": reason_code}
    facts.write_version(ApprovalVersion, head=fact, revision=revision, fields=fields)
    _publish("approval.revoked", fact, revision, by, at, reason, fields)


def current(fact: Fact) -> ApprovalVersion:
    return ApprovalVersion.objects.select_related("host", "variant").get(head=fact, rev_to__isnull=True)


def record_of(version: ApprovalVersion) -> dict[str, Any]:
    names = (
        "host", "variant", "state", "revoked_at", "limits", "reason_code", "document", "valid_from", "valid_until",
    )  # fmt: skip
    return {name: getattr(version, name) for name in names}


def _check_state(state: str, limits: str) -> None:
    allowed = [value for value in State.values if value != State.REVOKED]
    if state not in allowed:
        raise InvalidFact(
            "state", f"Take one of {', '.join(allowed)}. To revoke an approval use the revoke action."
        )
    if state == State.CONDITIONAL and not limits.strip():
        raise InvalidFact("limits", "A conditional approval says what is limited, e.g. 'LTE B12 off'.")


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
