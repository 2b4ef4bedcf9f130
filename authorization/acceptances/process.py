"""The moves of a technical acceptance: one named act for each, and `perform`, which dispatches to them.

Every act locks the acceptance, checks state, party and inputs against the table (authorization.acceptances.moves),
changes it, and writes the move, its ledger entry and its event, in one transaction. An act that gives authority takes
the exclusive fence first and writes the carrier approval in the same transaction. What takes authority away (suspend,
revoke, restrict) goes through the front door, `authorization.revocations`, which shows first what falls; the
acceptance then follows its approval (authorization.acceptances.following).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.db import transaction

from authorization import approvals, doors, holds, ledger, reinstatements
from authorization.acceptances import builds, criteria, evidence, following, moves
from authorization.acceptances.criteria import Missing as Missing
from authorization.acceptances.criteria import missing as missing
from authorization.acceptances.criteria import phases_of as phases_of
from authorization.acceptances.following import effective_state as effective_state
from authorization.acceptances.following import effective_states as effective_states
from authorization.acceptances.moves import MoveRefused
from authorization.acceptances.steps import Doer as Doer
from authorization.acceptances.steps import NotReady as NotReady
from authorization.acceptances.steps import (
    Step,
    check_inputs,
    check_stands_for,
    locked,
    moving,
)
from authorization.facts import InvalidFact
from authorization.models import (
    Acceptance,
    AcceptanceFile,
    AcceptanceMove,
    AcceptanceResult,
    Fact,
    Party,
    Revocation,
)
from authorization.software import sort_key
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Organization, Variant

State = Acceptance.State

# In which a build is with the lab, or may be tested again.
TESTED_IN = (State.IN_TEST, State.WAIVER_PENDING, State.CONDITIONAL, State.MR_REVIEW)
RESULTS_AT_ONCE = 2000
# They are read under the fence.
RESULTS_OF_A_BUILD = 20_000
_REQUEST_TYPES = (
    Acceptance.RequestType.INITIAL,
    Acceptance.RequestType.VARIANT,
    Acceptance.RequestType.ECO,
)


@dataclass(frozen=True)
class Result:
    """The outcome of one test case. `phase` and `outcome` are those of AcceptanceResult."""

    phase: str
    case: str
    outcome: str
    note: str = ""


class Said(TypedDict, total=False):
    """What may be said with most moves. `seen_version`: the version of the acceptance that who acts has looked at."""

    seen_version: int | None
    reason: str
    document: str


class Terms(Said, total=False):
    """Of an approval. What is left out is as it was asked for, or stays; its end: none."""

    valid_until: datetime | None
    software_from: str | None
    software_until: str | None


class LimitedTerms(Terms, total=False):
    limits: str
    waived_until: datetime | None


def perform(
    *,
    acceptance: Acceptance,
    move: str,
    by: Doer,
    at: datetime,
    seen_version: int | None = None,
    **inputs: Any,
) -> AcceptanceMove:
    """Make this move with these inputs (those of `Move.needs_of` and `takes_of`; None and "" count as not given).

    `seen_version`: the version of the acceptance that who acts has looked at. Raises InvalidFact for an input;
    MoveRefused for a state, a party or a version that has passed, NotReady for what an approval lacks.
    """
    asked = moves.find(move)
    act = _ACTS.get(move)
    if act is None or by.party not in asked.parties:
        state = effective_state(acceptance, at=at)
        if act is None and not asked.at_door:
            allowed = moves.codes_for(acceptance, by.party, state=state)
            raise MoveRefused(f"Nobody makes the move {move}: it follows by itself.", allowed)
        following.check_turn(acceptance, move, by.party, state=state)
        raise MoveRefused(
            f"{asked.title} takes authority away: it goes through the two pages of a withdrawal, which show first what "
            "falls.",
        )
    given = {name: value for name, value in inputs.items() if value not in (None, "", (), [])}
    known = (*asked.needs_of(by.party), *asked.takes_of(by.party))
    for name in given:
        if name not in known:
            raise InvalidFact(name, f"The move {move} takes no {name}; leave it out.")
    return act(acceptance=acceptance, by=by, at=at, seen_version=seen_version, **given)


# --- asking -----------------------------------------------------------------------------------------------------


def request(
    *,
    host: HostCarrier,
    variant: Variant,
    sponsor: Organization | None,
    request_type: str,
    by: Doer,
    at: datetime,
    hardware_revision: str = "",
    software_from: str = "",
    software_until: str = "",
    tacs: Sequence[str] = (),
    fcc_id: str = "",
    certificate: str = "",
    code: str = "",
) -> Acceptance:
    """Ask a host to accept one build of a variant. It grants nothing. Without a `code` it gets the next of its year.

    `sponsor`: who asks, None for the shop itself. Raises InvalidFact, MoveRefused.
    """
    doors.check_instant("at", at)
    if by.party != Party.SPONSOR:
        raise MoveRefused("The sponsor asks: the vendor, the maker or the shop.")
    if by.organization_id != (None if sponsor is None else sponsor.pk):
        raise MoveRefused("Nobody asks in another's name.")
    if request_type not in _REQUEST_TYPES:
        raise InvalidFact(
            "request_type",
            f"Take one of {', '.join(_REQUEST_TYPES)}. A maintenance release is reported on the acceptance before it.",
        )
    fields: dict[str, Any] = {
        "host": host,
        "variant": variant,
        "request_type": request_type,
        "sponsor": sponsor,
        "hardware_revision": doors.clean_text("hardware_revision", hardware_revision, at_most=64),
        **approvals.software_range(software_from, software_until),
        **builds.papers_of(variant, fcc_id=fcc_id, certificate=certificate, tacs=tacs),
    }
    return builds.open_acceptance(
        fields, state=State.REQUESTED, move="request", code=code, prefix=f"TA-{at:%Y}", by=by, at=at
    )


def amend(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    seen_version: int | None = None,
    fcc_id: str = "",
    certificate: str = "",
    tacs: Sequence[str] = (),
) -> AcceptanceMove:
    """The sponsor completes or corrects the papers; what is empty stays."""
    with moving(acceptance, "amend", by, at, seen_version) as step:
        row = step.row
        papers = builds.papers_of(
            row.variant,
            fcc_id=fcc_id or row.fcc_id,
            certificate=certificate or row.certificate,
            tacs=tacs or row.tacs,
        )
        changed = {name: value for name, value in papers.items() if getattr(row, name) != value}
        if not changed:
            raise InvalidFact("fcc_id", "The papers say exactly that already; change at least one.")
        return step.to(row.state, changed, detail=changed)


def withdraw(
    *, acceptance: Acceptance, by: Doer, at: datetime, seen_version: int | None = None, reason: str = ""
) -> AcceptanceMove:
    """The sponsor takes back what nobody has decided on."""
    with moving(acceptance, "withdraw", by, at, seen_version, reason=reason) as step:
        return step.to(State.WITHDRAWN)


# --- the host's desk and lab ------------------------------------------------------------------------------------


def take_in(*, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[Said]) -> AcceptanceMove:
    """The host's desk has the papers and looks at them. It makes nothing sellable."""
    with moving(acceptance, "take_in", by, at, **said) as step:
        step.refuse(criteria.missing_papers(step.row))
        return step.to(State.INTAKE_REVIEW)


def give_slot(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    lab_slot_from: datetime | None = None,
    lab_slot_until: datetime | None = None,
    software: str = "",
    hardware_revision: str = "",
    **said: Unpack[Said],
) -> AcceptanceMove:
    """The entry criteria are met: a slot in the lab, and the build that is frozen for it."""
    build = {"lab_slot_from": lab_slot_from, "lab_slot_until": lab_slot_until, "software": software}
    with moving(acceptance, "give_slot", by, at, **build, **said) as step:
        row = step.row
        starts, ends = step.instant("lab_slot_from"), step.instant("lab_slot_until")
        if starts >= ends:
            raise InvalidFact("lab_slot_until", "The slot ends before it begins; give a later end.")
        if ends <= at:
            raise InvalidFact("lab_slot_until", "The slot is over already; give one that is to come.")
        step.refuse(criteria.missing_papers(row))
        changes: dict[str, Any] = {
            "lab_slot_from": starts,
            "lab_slot_until": ends,
            "build_no": row.build_no + 1,
            "software_in_test": builds.software_asked_for(row, software),
        }
        if hardware_revision:
            changes["hardware_revision"] = builds.hardware_of(row, hardware_revision)
        return step.to(State.LAB_ENTRY, changes, detail={"software": software})


def reject(*, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[Said]) -> AcceptanceMove:
    """Entry criteria or defects stay unresolved. For good: a new acceptance is asked for."""
    with moving(acceptance, "reject", by, at, **said) as step:
        return step.to(State.REJECTED)


def start_tests(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    software: str = "",
    hardware_revision: str = "",
    **said: Unpack[Said],
) -> AcceptanceMove:
    """The samples are here and are what was frozen: `software` and `hardware_revision` are what they show."""
    with moving(acceptance, "start_tests", by, at, software=software, **said) as step:
        row = step.row
        if row.build_no == 0:
            raise MoveRefused("No build is frozen; the lab gives a slot first.", step.allowed)
        if sort_key(software) != sort_key(row.software_in_test):
            raise InvalidFact(
                "software",
                f"The samples bear {software}; frozen is {row.software_in_test}. Ask for other samples.",
            )
        if hardware_revision.strip() != row.hardware_revision:
            raise InvalidFact(
                "hardware_revision",
                f"Frozen is hardware {row.hardware_revision or 'without a revision'}; say what the samples show, or "
                "ask for others.",
            )
        return step.to(State.IN_TEST, detail={"software": software, "hardware_revision": hardware_revision})


def open_issues(*, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[Said]) -> AcceptanceMove:
    """Defects were found: the maker owes another build."""
    with moving(acceptance, "open_issues", by, at, **said) as step:
        failed = criteria.failed_cases(step.row)
        if not failed:
            raise MoveRefused(
                "No case of this build has failed; record the result that did first.", step.allowed
            )
        return step.to(State.ISSUES_OPEN, detail={"failed": list(failed)})


def submit_build(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    software: str = "",
    hardware_revision: str = "",
    **said: Unpack[Said],
) -> AcceptanceMove:
    """A new build is frozen and tested: what the one before passed does not count for it."""
    with moving(acceptance, "submit_build", by, at, software=software, **said) as step:
        row = step.row
        changes: dict[str, Any] = {
            "build_no": row.build_no + 1,
            "software_in_test": builds.software_asked_for(row, software),
        }
        if hardware_revision:
            changes["hardware_revision"] = builds.hardware_of(row, hardware_revision)
        same_hardware = changes.get("hardware_revision", row.hardware_revision) == row.hardware_revision
        if same_hardware and sort_key(software) == sort_key(row.software_in_test):
            raise InvalidFact(
                "software", f"Build {row.build_no} bears {software} already; a new build differs."
            )
        detail = {"software": software, "build_no": changes["build_no"]}
        return step.to(State.IN_TEST, changes, detail=detail)


def ask_waiver(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    deviation: str = "",
    **said: Unpack[Said],
) -> AcceptanceMove:
    """The maker asks to ship with a known deviation."""
    with moving(acceptance, "ask_waiver", by, at, deviation=deviation, **said) as step:
        words = step.said["deviation"]
        return step.to(State.WAIVER_PENDING, {"deviation": words}, detail={"deviation": words})


def record_results(
    *,
    acceptance: Acceptance,
    results: Sequence[Result],
    by: Doer,
    at: datetime,
    build_no: int | None = None,
) -> list[AcceptanceResult]:
    """What the lab found on the present build. A case that is run again is a new row; the last one counts.

    `build_no`: the build that was tested; MoveRefused where another one is in the lab by now.

    All or nothing. Raises InvalidFact (its field names the row, e.g. results[3].case), MoveRefused.
    """
    doors.check_instant("at", at)
    if not results:
        raise InvalidFact("results", "There is no result; record at least one.")
    if len(results) > RESULTS_AT_ONCE:
        raise InvalidFact(
            "results", f"Record at most {RESULTS_AT_ONCE} results at once; send the rest after them."
        )
    checked = [_checked_result(number, result) for number, result in enumerate(results)]
    with transaction.atomic():
        row = locked(acceptance)
        check_stands_for(row, by)
        state = effective_state(row, at=at)
        allowed = moves.codes_for(row, by.party, state=state)
        if by.party not in (Party.HOST_LAB, Party.SHOP):
            raise MoveRefused("Results are recorded by the lab of the host.", allowed)
        if state not in TESTED_IN:
            raise MoveRefused(f"{row.code} is {state}; results are recorded of a build in test.", allowed)
        if build_no is not None and build_no != row.build_no:
            raise MoveRefused(
                f"These are results of build {build_no}; in the lab is build {row.build_no} ({row.software_in_test}).",
                allowed,
            )
        if row.results.filter(build_no=row.build_no).count() + len(checked) > RESULTS_OF_A_BUILD:
            raise MoveRefused(
                f"A build has at most {RESULTS_OF_A_BUILD} results; send those that count.", allowed
            )
        rows = AcceptanceResult.objects.bulk_create(
            [
                AcceptanceResult(
                    acceptance=row,
                    build_no=row.build_no,
                    phase=result.phase,
                    case=result.case,
                    outcome=result.outcome,
                    note=result.note,
                    actor=str(by.actor),
                    at=at,
                )
                for result in checked
            ]
        )
        failed = [
            f"{one.phase} {one.case}" for one in checked if one.outcome == AcceptanceResult.Outcome.FAILED
        ]
        ledger.record(
            act="acceptance.results",
            subject_kind="acceptance",
            subject_id=row.pk,
            by=by.actor,
            at=at,
            evidence={
                "code": row.code,
                "build_no": row.build_no,
                "results": len(rows),
                "failed": len(failed),
                "failed_cases": failed[:50],
                "party": by.party,
            },
        )
    return rows


def attach_file(
    *, acceptance: Acceptance, kind: str, name: str, content: bytes, by: Doer, at: datetime
) -> AcceptanceFile:
    """Keep a file as evidence: PDF, PNG, JPEG, CSV or plain text, by its content; the same content is kept once.

    Raises InvalidFact, MoveRefused.
    """
    doors.check_instant("at", at)
    checked = evidence.check(kind=kind, name=name, content=content)
    with transaction.atomic():
        row = locked(acceptance)
        check_stands_for(row, by)
        if by.party == Party.CLOCK:
            raise MoveRefused("Somebody attaches a file.")
        state = effective_state(row, at=at)
        if state in Acceptance.FINAL:
            raise MoveRefused(f"{row.code} is {state}, which is final; nothing is attached to it any more.")
        return evidence.keep(row, checked, party=by.party, actor=by.actor, at=at)


# --- the host's approver ----------------------------------------------------------------------------------------


def refuse_waiver(*, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[Said]) -> AcceptanceMove:
    with moving(acceptance, "refuse_waiver", by, at, **said) as step:
        return step.to(State.ISSUES_OPEN)


def grant_waiver(
    *, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[LimitedTerms]
) -> AcceptanceMove:
    """Approve with limits, for the time of the waiver. Its approval is in force from this commit on."""
    return _give(acceptance, "grant_waiver", by, at, **said)


def approve_with_limits(
    *, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[LimitedTerms]
) -> AcceptanceMove:
    """A maintenance release is accepted with limits."""
    return _give(acceptance, "approve_with_limits", by, at, **said)


def approve(*, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[Terms]) -> AcceptanceMove:
    """The letter of technical acceptance, its number in `document`. From CONDITIONAL it takes the limits away."""
    return _give(acceptance, "approve", by, at, **said)


def resume(*, acceptance: Acceptance, by: Doer, at: datetime, **said: Unpack[Said]) -> AcceptanceMove:
    """The cause of the suspension is gone: its hold is released, and it alone.

    A host lifts what was suspended in its name. Raises MoveRefused where the shop or somebody else suspended it.
    """
    with moving(acceptance, "resume", by, at, **said) as step:
        row = step.row
        hold = _hold_to_release(step)
        named = following.Following(by.party, step.said.get("document", ""))
        stamp: dict[str, Any] = {
            "revision": step.revision_held,
            "by": by.actor,
            "at": at,
            "reason": step.said["reason"],
        }
        placed = Revocation.objects.filter(fact=hold, kind=Revocation.Kind.HOLD).order_by("-id").first()
        if placed is None:
            holds.release_under_fence(fact=hold, following=named, **stamp)
        else:
            reinstatements.undo_under_fence(revocation=placed, is_mistake=False, following=named, **stamp)
        last = row.moves.order_by("-number")[0]
        if last.move != "resume" or last.number != row.version + 1:
            raise MoveRefused(
                f"{row.code} stays suspended: another hold stops it too, and is released first, by the shop's desk.",
                step.allowed,
            )
        return last


def _hold_to_release(step: Step) -> Fact:
    """Of the holds on it the one that names it alone: for a host the one that was placed on its word."""
    row, by = step.row, step.by
    for hold in following.holds_on(row, at=step.at):
        if len(holds.targets_of(hold)) == 1 and (
            by.party == Party.SHOP or following.on_word_of_host(hold.head_id)
        ):
            return hold.head
    if by.party == Party.SHOP:
        raise MoveRefused(
            f"What suspends {row.code} stops more than that; release it at the desk.", step.allowed
        )
    raise MoveRefused(f"{row.code} was suspended by the shop; the shop's desk releases it.", step.allowed)


def report_release(
    *,
    acceptance: Acceptance,
    by: Doer,
    at: datetime,
    software: str = "",
    software_from: str = "",
    software_until: str = "",
    hardware_revision: str = "",
    tacs: Sequence[str] = (),
    **said: Unpack[Said],
) -> AcceptanceMove:
    """New software or hardware of what is approved: a child acceptance under review. What was approved stays so.

    Returns the parent's move, its detail names the child. Without `software_from` the child's range begins with the
    software that is reported. A new hardware revision makes it an engineering change.
    """
    with moving(acceptance, "report_release", by, at, software=software, **said) as step:
        row = step.row
        software = step.said["software"]
        hardware = (
            doors.clean_text("hardware_revision", hardware_revision, at_most=64) or row.hardware_revision
        )
        span = approvals.software_range(software_from or software, software_until)
        key = sort_key(software)
        if not builds.covers(span, key):
            raise InvalidFact(
                "software", f"{software} is not in the range that is reported; correct one of them."
            )
        is_new_hardware = hardware != row.hardware_revision
        approved = approvals.record_of(approvals.current(_approval_of(row)))
        if not is_new_hardware and builds.covers(approved, key):
            raise InvalidFact(
                "software",
                f"{row.code} covers {software} already. A release that the host is to look at lies outside its range.",
            )
        types = Acceptance.RequestType
        fields: dict[str, Any] = {
            "host": row.host,
            "variant": row.variant,
            "parent": row,
            "request_type": types.ECO if is_new_hardware else types.MR,
            "sponsor": row.sponsor,
            "hardware_revision": hardware,
            **span,
            **builds.papers_of(
                row.variant, fcc_id=row.fcc_id, certificate=row.certificate, tacs=sorted({*row.tacs, *tacs})
            ),
            "build_no": 1,
            "software_in_test": software,
        }
        child = builds.open_acceptance(
            fields,
            state=State.MR_REVIEW,
            move="report_release",
            code=builds.code_of_child(row),
            prefix="",
            by=by,
            at=at,
            reason=step.said.get("reason", ""),
            detail={"parent": row.code, "software": software},
        )
        return step.to(row.state, detail={"child": child.code, "software": software})


def free_hold_code(acceptance: Acceptance) -> str:
    """For the hold of a suspension: TA-2016-0007-S1, -S2, ..."""
    return builds.free_code(f"{acceptance.code[:58]}-S", Fact)


def _give(
    acceptance: Acceptance, code: str, by: Doer, at: datetime, **said: Unpack[LimitedTerms]
) -> AcceptanceMove:
    """An approval in force, and the move that says so, in one transaction under the exclusive fence."""
    _look_first(acceptance, code, by, at, said)
    with moving(acceptance, code, by, at, **said) as step:
        row = step.row
        limits = step.said.get("limits", "")
        _refuse_unready(row, code, step.allowed, at=at, limits=limits)
        state = State.APPROVED if code == "approve" else State.CONDITIONAL
        valid_until = said.get("valid_until")
        if valid_until is not None:
            doors.check_instant("valid_until", valid_until)
        span = builds.approved_span(row, said.get("software_from"), said.get("software_until"))
        stamp: dict[str, Any] = {"revision": step.revision_held, "by": by.actor, "at": at}
        record: dict[str, Any] = {
            "state": _APPROVAL_STATES[state],
            "limits": limits,
            "waived_until": said.get("waived_until"),
            "software_from": span["software_from"],
            "software_until": span["software_until"],
            "document": step.said["document"],
        }
        if row.approval is None:
            fact = approvals.record_under_fence(
                code=builds.code_of_approval(row),
                host=row.host,
                variant=row.variant,
                valid_from=at,
                valid_until=valid_until or FOREVER,
                **record,
                **stamp,
            )
        else:
            fact = row.approval
            reason = step.said.get("reason") or step.said["document"]
            approvals.change_under_fence(fact=fact, valid_until=valid_until, reason=reason, **record, **stamp)
        version = approvals.current(fact)
        changes: dict[str, Any] = {
            "approval": fact,
            "limits": version.limits,
            "waived_until": version.waived_until,
            "valid_until": None if version.valid_until >= FOREVER else version.valid_until,
        }
        detail = {
            "approval": fact.code,
            "limits": version.limits,
            "waived_until": _iso(version.waived_until),
            "valid_until": _iso(changes["valid_until"]),
            "software_from": version.software_from,
            "software_until": version.software_until,
            "build_no": row.build_no,
            "software": row.software_in_test,
            "failed": list(criteria.failed_cases(row)),
        }
        return step.to(state, changes, detail=detail)


_APPROVAL_STATES = {State.APPROVED: approvals.State.APPROVED, State.CONDITIONAL: approvals.State.CONDITIONAL}


def _look_first(acceptance: Acceptance, code: str, by: Doer, at: datetime, said: LimitedTerms) -> None:
    """What is refused anyway is refused before the fence, behind which buyers wait.

    All that may change until then is checked again behind it.
    """
    row = Acceptance.objects.select_related("host", "variant", "approval").get(pk=acceptance.pk)
    check_stands_for(row, by)
    state = effective_state(row, at=at)
    allowed = following.check_turn(row, code, by.party, state=state, seen_version=said.get("seen_version"))
    limits = check_inputs(moves.find(code), by, said).get("limits", "")
    criteria.check_limits(limits)
    _refuse_unready(row, code, allowed, at=at, limits=limits)


def _refuse_unready(row: Acceptance, code: str, allowed: Sequence[str], *, at: datetime, limits: str) -> None:
    waives = code != "approve"
    if still_on := criteria.bands_still_on(row, limits, at=at):
        raise InvalidFact(
            "limits",
            f"{', '.join(still_on)} is off by these limits, but on in the record of {row.variant}: correct the "
            "bands of the variant first, or word the limits otherwise.",
        )
    lacks = criteria.missing(row, at=at, limits=limits, waives=waives)
    if lacks:
        raise NotReady(row, lacks, [one for one in allowed if one != code])


def _approval_of(row: Acceptance) -> Fact:
    if row.approval is None:
        raise MoveRefused(f"{row.code} led to no approval.")
    return row.approval


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _checked_result(number: int, result: Result) -> Result:
    where = f"results[{number}]"
    if result.phase not in AcceptanceResult.Phase.values:
        raise InvalidFact(f"{where}.phase", f"Take one of {', '.join(AcceptanceResult.Phase.values)}.")
    if result.outcome not in AcceptanceResult.Outcome.values:
        raise InvalidFact(f"{where}.outcome", f"Take one of {', '.join(AcceptanceResult.Outcome.values)}.")
    case = doors.clean_text(
        f"{where}.case", result.case, at_most=64, cure="Give the lab's number or name of the case."
    )
    return Result(
        result.phase, case, result.outcome, doors.clean_text(f"{where}.note", result.note, at_most=500)
    )


_ACTS: dict[str, Callable[..., AcceptanceMove]] = {
    act.__name__: act
    for act in (
        amend,
        take_in,
        give_slot,
        reject,
        start_tests,
        open_issues,
        submit_build,
        ask_waiver,
        refuse_waiver,
        grant_waiver,
        approve,
        approve_with_limits,
        report_release,
        resume,
        withdraw,
    )
}
