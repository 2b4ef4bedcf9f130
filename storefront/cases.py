"""Cases: a matter between the desk and one party, said in messages and closed with an outcome.

A takedown request has one (storefront.takedowns), an appeal is one (storefront.appeals). What is said in a case is seen
by the desk and by that party, and by nobody else: of another vendor's matter a vendor learns nothing.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from authorization import doors, ledger, outbox
from authorization.actors import SYSTEM, Actor
from authorization.models import Decision, LedgerEntry, Revocation
from catalog.models import ListingHost
from storefront.models import Case, CaseMessage
from storefront.rights import Party

logger = structlog.get_logger(__name__)

State, Kind, Outcome = Case.State, Case.Kind, Case.Outcome

LONGEST_MESSAGE = 4000
# Messages that a party may add to one case: more is a conversation for the telephone.
MESSAGES_OF_PARTY = 200
# Letters and digits that are not taken for each other (Crockford's base 32).
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
OVERDUE = "case.overdue"


class CaseRefused(ValueError):
    """The case does not allow this now. The message says why, and what does."""


def cases_of(party: Party) -> QuerySet[Case]:
    """All that this party may know of."""
    rows = Case.objects.select_related("offer__listing", "offer__host", "decision", "revocation", "takedown")
    return rows.filter(**{name: row for name, row in party.columns.items() if row is not None})


def party_of(case: Case) -> Party:
    return Party(organization=case.organization, host=case.host)


def new_code(prefix: str) -> str:
    """Eight random signs: nobody learns from a code how many cases there are."""
    return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(8))}"


# --- acts -------------------------------------------------------------------------------------------------------


def open_case(
    *,
    kind: str,
    party: Party,
    subject: str,
    statement: str,
    by: Actor,
    at: datetime,
    code: str = "",
    offer: ListingHost | None = None,
    decision: Decision | None = None,
    revocation: Revocation | None = None,
) -> Case:
    """Open one, with what the party says as its first message. Inside the transaction that gives the cause.

    Raises InvalidFact.
    """
    statement = check_text("statement", statement)
    case = Case.objects.create(
        code=code or new_code("CASE"),
        kind=kind,
        subject=" ".join(subject.split())[:200],
        **party.columns,
        offer=offer,
        decision=decision,
        revocation=revocation,
        opened_by=str(by),
        opened_at=at,
        answer_by=_answer_by(at),
    )
    CaseMessage.objects.create(case=case, is_from_desk=False, body=statement, actor=str(by), at=at)
    _record("case.opened", case, by=by, at=at, evidence={"kind": kind, "subject": case.subject})
    _announce("case.opened", case, at=at)
    _await_answer(case, at=at)
    return case


def say(*, case: Case, body: str, by: Actor, at: datetime) -> CaseMessage:
    """The party says something: it is the desk's turn again. Raises CaseRefused, InvalidFact."""
    body = check_text("body", body)
    with transaction.atomic():
        locked = lock_open(case)
        if locked.messages.filter(is_from_desk=False).count() >= MESSAGES_OF_PARTY:
            raise CaseRefused(
                f"{locked.code} has {MESSAGES_OF_PARTY} messages of yours. Call the desk, or wait for its decision."
            )
        message = CaseMessage.objects.create(case=locked, is_from_desk=False, body=body, actor=str(by), at=at)
        # Whoever adds a word while the desk is at it does not put its deadline off.
        answer_by = _answer_by(at) if locked.state == State.WAITING else locked.answer_by
        was_waiting = locked.state == State.WAITING
        _move(locked, state=State.OPEN, answer_by=answer_by)
        _record("case.said", locked, by=by, at=at, evidence={"message": message.pk})
        if was_waiting:
            _await_answer(locked, at=at)
    return message


def answer(
    *, case: Case, body: str, is_internal: bool, by: Actor, at: datetime, seen_version: int | None = None
) -> CaseMessage:
    """The desk answers, and waits for the party; or keeps a note that stays with the desk.

    Raises CaseRefused, InvalidFact.
    """
    body = check_text("body", body)
    with transaction.atomic():
        locked = lock_open(case, seen_version=seen_version)
        message = CaseMessage.objects.create(
            case=locked, is_from_desk=True, is_internal=is_internal, body=body, actor=str(by), at=at
        )
        act = "case.noted" if is_internal else "case.answered"
        _record(act, locked, by=by, at=at, evidence={"message": message.pk})
        if not is_internal:
            _move(locked, state=State.WAITING)
            _announce("case.answered", locked, at=at, message_id=message.pk)
    return message


def withdraw(*, case: Case, by: Actor, at: datetime) -> Case:
    """The party lets its appeal be. Raises CaseRefused."""
    if case.kind != Kind.APPEAL:
        raise CaseRefused("This is the case of a takedown request: lift the request, and the case is closed.")
    with transaction.atomic():
        return close(
            case=case,
            outcome=Outcome.WITHDRAWN,
            resolution="Withdrawn by the party that opened it.",
            by=by,
            at=at,
        )


def uphold(*, case: Case, resolution: str, by: Actor, at: datetime, seen_version: int | None = None) -> Case:
    """The desk has looked at a takedown that is in force, and it stands. Raises CaseRefused, InvalidFact."""
    with transaction.atomic():
        return close(
            case=case,
            outcome=Outcome.UPHELD,
            resolution=resolution,
            by=by,
            at=at,
            seen_version=seen_version,
        )


def close(
    *,
    case: Case,
    outcome: str,
    resolution: str,
    by: Actor,
    at: datetime,
    seen_version: int | None = None,
) -> Case:
    """Close it, for good. Inside the transaction of what was decided. Raises CaseRefused, InvalidFact."""
    resolution = check_text("resolution", resolution)
    locked = lock_open(case, seen_version=seen_version)
    _move(
        locked,
        state=State.CLOSED,
        outcome=outcome,
        resolution=resolution,
        closed_by=str(by),
        closed_at=at,
    )
    _record("case.closed", locked, by=by, at=at, reason=resolution, evidence={"outcome": str(outcome)})
    if outcome != Outcome.WITHDRAWN:
        _announce("review.decided", locked, at=at)
    _announce("case.closed", locked, at=at)
    return locked


def lock_open(case: Case, *, seen_version: int | None = None) -> Case:
    """The row, locked, if it is open still and what was looked at. Raises CaseRefused."""
    rows = Case.objects.select_for_update(of=("self",), no_key=True).select_related("organization", "host")
    locked = rows.get(pk=case.pk)
    if locked.state == State.CLOSED:
        raise CaseRefused(f"{locked.code} was closed on {locked.closed_at:%Y-%m-%d %H:%M} UTC, for good.")
    if seen_version is not None and locked.version != seen_version:
        raise CaseRefused(f"{locked.code} has gone on since you opened it. Read what is new, then decide.")
    return locked


def check_text(field: str, text: str) -> str:
    """Raises InvalidFact."""
    return doors.clean_text(field, text, at_most=LONGEST_MESSAGE, cure="Say what it is about, in words.")


# --- deadlines --------------------------------------------------------------------------------------------------


def is_overdue(case: Case, *, at: datetime) -> bool:
    return case.state == State.OPEN and case.answer_by <= at


def overdue(*, at: datetime) -> QuerySet[Case]:
    """Cases that the desk should have answered by now, the oldest first."""
    return Case.objects.filter(state=State.OPEN, answer_by__lte=at).order_by("answer_by", "id")


def alarm_overdue(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `case.answer_due`: the alarm stands in the ledger once. Where the desk has answered there is none."""
    with transaction.atomic():
        case = Case.objects.select_for_update(no_key=True).get(pk=payload["case_id"])
        if case.state != State.OPEN or case.answer_by != datetime.fromisoformat(payload["answer_by"]):
            return
        entries = LedgerEntry.objects.filter(subject_kind="case", subject_id=str(case.pk), act=OVERDUE)
        if any(entry.evidence["answer_by"] == payload["answer_by"] for entry in entries):
            return
        _record(OVERDUE, case, by=SYSTEM, at=at, evidence={"answer_by": payload["answer_by"]})
        # Before the commit: an alarm that is given twice is better than none.
        logger.error(OVERDUE, case=case.code, answer_by=payload["answer_by"])


def _answer_by(at: datetime) -> datetime:
    return at + timedelta(seconds=settings.CASE_ANSWER_S)


def _await_answer(case: Case, *, at: datetime) -> None:
    outbox.announce(
        event="case.answer_due",
        payload={"case_id": case.pk, "answer_by": case.answer_by.isoformat()},
        at=at,
        due_at=case.answer_by,
    )


# --- rows -------------------------------------------------------------------------------------------------------


def _move(case: Case, **fields: Any) -> None:
    case.version += 1
    for name, value in fields.items():
        setattr(case, name, value)
    case.save(update_fields=[*fields, "version"])


def _record(
    act: str, case: Case, *, by: Actor, at: datetime, evidence: Mapping[str, Any], reason: str = ""
) -> None:
    ledger.record(
        act=act,
        subject_kind="case",
        subject_id=case.pk,
        by=by,
        at=at,
        reason=reason,
        evidence={"code": case.code, **evidence},
    )


def _announce(event: str, case: Case, *, at: datetime, **also: Any) -> None:
    """To the party by mail, and to a vendor in its log of events and by webhook, under one id."""
    payload: dict[str, Any] = {
        "event": event,
        "case_id": case.pk,
        "code": case.code,
        "kind": str(case.kind),
        "state": str(case.state),
        "outcome": str(case.outcome) or None,
        **also,
    }
    if party_of(case).is_vendor:
        payload["vendor_id"] = case.organization_id
    if case.offer is not None:
        payload |= {"sku": case.offer.listing.sku, "host": case.offer.host.code}
    outbox.announce(event=event, payload=payload, at=at)
