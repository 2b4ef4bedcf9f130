"""A technical acceptance as the API shows it: to its sponsor, or to its host carrier."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from authorization.acceptances.moves import Input
from authorization.acceptances.process import effective_states, missing
from authorization.models import Acceptance, AcceptanceFile, AcceptanceMove, AcceptanceResult
from storefront.acceptance_access import Open, Standing
from storefront.acceptance_results import by_phase, last_results
from storefront.acceptance_words import Software, details_of, reason_told, software_approved
from storefront.api.times import rfc3339

PATH = "/v1/technical-acceptances"


def acceptances_of(standing: Standing) -> QuerySet[Acceptance]:
    """What the caller may see, with all that a list shows of it."""
    return standing.acceptances().select_related(
        "host", "variant__device", "sponsor", "parent", "approval", "hold"
    )


def files_of(acceptance: Acceptance) -> QuerySet[AcceptanceFile]:
    """Without their content."""
    return acceptance.files.defer("content").order_by("id")


def present_acceptances(acceptances: Sequence[Acceptance], *, at: datetime) -> list[dict[str, Any]]:
    """`state` is what is recorded, `effective_state` what counts at this instant: what has ended has ended."""
    states, approved = effective_states(acceptances, at=at), software_approved(acceptances)
    return [_present(row, states[row.pk], approved.get(row.pk)) for row in acceptances]


def _present(acceptance: Acceptance, state: str, approved: Software | None) -> dict[str, Any]:
    return {
        "code": acceptance.code,
        "host": acceptance.host.code,
        "variant": acceptance.variant.slug,
        "model_number": acceptance.variant.model_number,
        "device": str(acceptance.variant.device),
        "sponsor": None
        if acceptance.sponsor is None
        else {"slug": acceptance.sponsor.slug, "name": acceptance.sponsor.name},
        "request_type": acceptance.request_type,
        "parent": acceptance.parent.code if acceptance.parent is not None else None,
        "hardware_revision": acceptance.hardware_revision,
        "software_from": acceptance.software_from,
        "software_until": acceptance.software_until,
        "approved_software": None if approved is None else {"from": approved.starts, "until": approved.ends},
        "state": acceptance.state,
        "effective_state": state,
        "state_changed_at": rfc3339(acceptance.state_changed_at),
        "version": acceptance.version,
        "approval": acceptance.approval.code if acceptance.approval is not None else None,
        "limits": acceptance.limits,
        "waived_until": _or_none(acceptance.waived_until),
        "valid_until": _or_none(acceptance.valid_until),
        "phase_out_until": _or_none(acceptance.phase_out_until),
        "created_at": rfc3339(acceptance.created_at),
        "links": [_link("self", "GET", acceptance.code, "", "This technical acceptance")],
    }


def present_whole(acceptance: Acceptance, standing: Standing, *, at: datetime) -> dict[str, Any]:
    """With what may be done next by the caller, what is missing, and all that happened."""
    state = effective_states([acceptance], at=at)[acceptance.pk]
    moves = acceptance.moves.order_by("number")
    return {
        **_present(acceptance, state, software_approved([acceptance]).get(acceptance.pk)),
        "tacs": acceptance.tacs,
        "fcc_id": acceptance.fcc_id,
        "certificate": acceptance.certificate,
        "build_no": acceptance.build_no,
        "software_in_test": acceptance.software_in_test,
        "lab_slot_from": _or_none(acceptance.lab_slot_from),
        "lab_slot_until": _or_none(acceptance.lab_slot_until),
        "deviation": acceptance.deviation,
        "moves_allowed": _present_open(standing.moves(acceptance, state=state)),
        "missing_for_approval": [
            {"code": each.code, "message": each.message} for each in missing(acceptance, at=at)
        ],
        "moves": [present_move(move, standing) for move in moves],
        "results": _present_phases(last_results(acceptance)),
        "files": [present_file(acceptance, file, standing) for file in files_of(acceptance)],
        "maintenance_releases": [
            {"code": child.code, "state": child.state, "software_from": child.software_from}
            for child in acceptance.maintenance_releases.order_by("id")
        ],
        "links": [
            _link("self", "GET", acceptance.code, "", "This technical acceptance"),
            _link("moves", "POST", acceptance.code, "/moves", "Make one of the moves that are open to you"),
            _link("results", "GET", acceptance.code, "/results", "Every result, of all builds"),
            _link("files", "POST", acceptance.code, "/files", "Add a file of evidence"),
        ],
    }


def present_move(move: AcceptanceMove, standing: Standing) -> dict[str, Any]:
    """Of `detail` what was said with the move; who of another side did it, is theirs."""
    shown = {
        "number": move.number,
        "move": move.move,
        "from_state": move.from_state or None,
        "to_state": move.to_state,
        "party": move.party,
        "actor": standing.says_actor(move) or None,
        "reason": reason_told(move),
        "at": rfc3339(move.at),
        "effective_at": rfc3339(move.effective_at),
    }
    told = details_of(move)
    said = {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name in (*Input, "child")
        if (value := told.get(name))
    }
    return {**shown, "said": said}


def present_result(result: AcceptanceResult) -> dict[str, Any]:
    return {
        "build_no": result.build_no,
        "phase": result.phase,
        "case": result.case,
        "outcome": result.outcome,
        "note": result.note,
        "at": rfc3339(result.at),
    }


def present_file(acceptance: Acceptance, file: AcceptanceFile, standing: Standing) -> dict[str, Any]:
    return {
        "sha256": file.sha256,
        "kind": file.kind,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "party": file.party,
        "actor": standing.says_actor(file) or None,
        "at": rfc3339(file.at),
        "href": f"{PATH}/{acceptance.code}/files/{file.sha256}",
    }


def _present_open(opened: Sequence[Open]) -> list[dict[str, Any]]:
    return [
        {
            "move": each.move.code,
            "title": each.move.title,
            "as": each.party.value,
            "needs": [name.value for name in each.move.needs_of(each.party)],
            "takes": [name.value for name in each.move.takes_of(each.party)],
            "leads_to": [str(state) for state in each.move.to_states],
        }
        for each in opened
    ]


def _present_phases(results: Sequence[AcceptanceResult]) -> list[dict[str, Any]]:
    """Of the present build, the last result of each case."""
    return [
        {
            "phase": phase.code,
            "counts": phase.counts,
            "cases": [present_result(result) for result in phase.last],
        }
        for phase in by_phase(results)
    ]


def _link(rel: str, method: str, code: str, rest: str, title: str) -> dict[str, str]:
    return {"rel": rel, "method": method, "href": f"{PATH}/{code}{rest}", "title": title}


def _or_none(instant: datetime | None) -> str | None:
    return rfc3339(instant) if instant is not None else None
