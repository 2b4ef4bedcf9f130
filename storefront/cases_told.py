"""Parties are told by mail of their cases: that one is open, what the desk answered, how it ended.

Under the id of the event in the log and in the webhooks. To each party its own case and nothing of another's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from authorization.changes import WITHDRAWAL_REASONS
from storefront import takedowns
from storefront.cases import party_of
from storefront.messages import send_message
from storefront.models import Case, CaseMessage, TakedownRequest

_OUTCOMES = {
    Case.Outcome.UPHELD: "What was decided stays.",
    Case.Outcome.REVERSED: "What was decided is reversed.",
    Case.Outcome.PARTLY: "What was decided is reversed in part.",
    Case.Outcome.WITHDRAWN: "It was withdrawn.",
}
# Of a takedown request the same outcomes mean the goods.
_OUTCOMES_OF_TAKEDOWN = {
    Case.Outcome.UPHELD: "The takedown stands: these goods are not sold.",
    Case.Outcome.REVERSED: "The desk does not stop these goods, or no longer.",
    Case.Outcome.PARTLY: "The takedown stands in part.",
    Case.Outcome.WITHDRAWN: "You lifted the request.",
}


def tell_party(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `case.opened`, `case.answered`, `case.closed` and `takedown.lifted`."""
    rows = Case.objects.select_related("organization", "host", "offer__listing", "offer__host")
    case = rows.get(pk=payload["case_id"])
    request = TakedownRequest.objects.filter(case=case).first()
    event = payload["event"]
    party = party_of(case)
    if event == "case.opened":
        subject, lines = f"Your case {case.code} is open", _opened(case, request)
    elif event == "case.answered":
        subject, lines = f"The desk answered in your case {case.code}", _answered(case, payload["message_id"])
    elif event == "case.closed":
        subject, lines = f"Your case {case.code} is closed", _closed(case, request)
    else:
        subject, lines = f"Your takedown request {case.code} was lifted", _lifted()
    send_message(
        event_id=event_id,
        kind=event.replace(".", "_"),
        recipient=party.name,
        address=party.row.contact_email,
        subject=subject,
        body="\n".join([f"To {party.name}:", "", *lines, "", *_where(case, request)]),
        at=at,
    )


def _opened(case: Case, request: TakedownRequest | None) -> list[str]:
    lines = [f"{case.subject}.", f"The desk answers by {case.answer_by:%Y-%m-%d %H:%M} UTC."]
    if request is None:
        return lines
    why = WITHDRAWAL_REASONS[request.reason_code]
    who = f"{request.representative}, in your name"
    if request.state == TakedownRequest.State.WAITING:
        return [*lines, f"{who}: {why}. The desk looks at it before anything is stopped."]
    return [
        *lines,
        f"{who}: {why}. The sale of these goods has stopped. When their pages are gone you get a proof of removal.",
        "If you did not ask for this, answer this mail at once.",
    ]


def _answered(case: Case, message_id: int) -> list[str]:
    message = CaseMessage.objects.get(pk=message_id, case=case, is_internal=False)
    return [f"{case.subject}.", "", message.body, "", "It is your turn: the desk waits for your answer."]


def _closed(case: Case, request: TakedownRequest | None) -> list[str]:
    outcomes = _OUTCOMES if request is None else _OUTCOMES_OF_TAKEDOWN
    lines = [f"{case.subject}.", outcomes[Case.Outcome(case.outcome)]]
    if case.outcome != Case.Outcome.WITHDRAWN:
        lines += ["", case.resolution]
    if request is None and case.outcome in (Case.Outcome.REVERSED, Case.Outcome.PARTLY):
        lines += ["", "What nothing else stops is on sale again within moments; you are told of each offer."]
    return lines


def _lifted() -> list[str]:
    return [
        "the desk lifted it: what nothing else stops is on sale again. It stays on record, with the reason."
    ]


def _where(case: Case, request: TakedownRequest | None) -> Sequence[str]:
    lines = [f"The case: GET {settings.PUBLIC_URL}/v1/cases/{case.code}"]
    if case.state != Case.State.CLOSED:
        lines.append(f"To add something: POST {settings.PUBLIC_URL}/v1/cases/{case.code}/messages")
    if request is not None and request.state in (
        takedowns.State.WAITING,
        takedowns.State.IN_FORCE,
    ):
        lines.append(f"To lift it: POST {settings.PUBLIC_URL}/v1/takedown-requests/{request.public_id}/lift")
    return lines
