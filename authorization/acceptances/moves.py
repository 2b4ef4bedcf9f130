"""The one table of moves of a technical acceptance: from which state to which, by whom, on what, to what effect.

Process, pages, API and the diagram of docs/acceptances.md read it; nothing else says what may follow what. The states
and most moves are generic practice (no carrier's own), the names of papers and request types are the field's. What is
this project's own choice is in docs/decisions/0014. Nothing here reads a database or a clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from authorization.acceptances.models import Acceptance, Party

State = Acceptance.State

UNDECIDED = (
    State.REQUESTED,
    State.INTAKE_REVIEW,
    State.LAB_ENTRY,
    State.IN_TEST,
    State.ISSUES_OPEN,
    State.WAIVER_PENDING,
)
# Led to an approval that has not ended.
DECIDED = (State.CONDITIONAL, State.APPROVED, State.SUSPENDED)

HOST = (Party.HOST_DESK, Party.HOST_LAB, Party.HOST_APPROVER)


class Effect(StrEnum):
    """What it does to the shop."""

    NONE = "none"
    GIVES = "may be listed"
    TAKES = "delisted at once"


class Input(StrEnum):
    """What a move is told. Instants: lab_slot_*, waived_until, valid_until, phase_out_until, effective_at."""

    REASON = "reason"
    DOCUMENT = "document"
    SOFTWARE = "software"
    HARDWARE_REVISION = "hardware_revision"
    LAB_SLOT_FROM = "lab_slot_from"
    LAB_SLOT_UNTIL = "lab_slot_until"
    DEVIATION = "deviation"
    LIMITS = "limits"
    WAIVED_UNTIL = "waived_until"
    VALID_UNTIL = "valid_until"
    PHASE_OUT_UNTIL = "phase_out_until"
    EFFECTIVE_AT = "effective_at"
    SOFTWARE_FROM = "software_from"
    SOFTWARE_UNTIL = "software_until"
    TACS = "tacs"
    FCC_ID = "fcc_id"
    CERTIFICATE = "certificate"


class MoveRefused(Exception):
    """Not from this state, not by this party, or the acceptance has moved since. `moves_allowed`: codes, what may be
    done instead.
    """

    def __init__(self, message: str, moves_allowed: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.moves_allowed = tuple(moves_allowed)


@dataclass(frozen=True)
class Move:
    """`ways`: pairs of states; the same twice where it stays, an empty first where it opens an acceptance.

    `needs` and `takes` name inputs that must and may be given. `opens`: the state of the child that it opens.
    `at_door`: it takes authority away and goes through the front door, which shows first what falls.
    """

    code: str
    title: str
    ways: tuple[tuple[str, str], ...]
    parties: tuple[Party, ...]
    guard: str = ""
    needs: tuple[Input, ...] = ()
    takes: tuple[Input, ...] = ()
    effect: Effect = Effect.NONE
    opens: str = ""
    at_door: bool = False

    @property
    def from_states(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(before for before, _ in self.ways if before))

    @property
    def to_states(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(after for _, after in self.ways))

    @property
    def to_state(self) -> str:
        """The only state that it leads to; empty where that depends on the one before, or on the approval."""
        return self.to_states[0] if len(self.to_states) == 1 else ""

    @property
    def gives(self) -> bool:
        return self.effect == Effect.GIVES

    def needs_of(self, party: str) -> tuple[Input, ...]:
        """The shop's desk acts on the word of a host: it says why, and which document says so."""
        if party != Party.SHOP:
            return self.needs
        return tuple(dict.fromkeys((*self.needs, Input.REASON, Input.DOCUMENT)))

    def takes_of(self, party: str) -> tuple[Input, ...]:
        needed = self.needs_of(party)
        return tuple(name for name in self.takes if name not in needed)

    def leads(self, before: str, after: str) -> bool:
        return (before, after) in self.ways


def _to(after: str, *before: str) -> tuple[tuple[str, str], ...]:
    return tuple((state, after) for state in before)


def _stays(*states: str) -> tuple[tuple[str, str], ...]:
    return tuple((state, state) for state in states)


_SPONSOR = (Party.SPONSOR,)
_DESK = (Party.HOST_DESK, Party.SHOP)
_LAB = (Party.HOST_LAB, Party.SHOP)
_APPROVER = (Party.HOST_APPROVER, Party.SHOP)
# What was decided for a later day happens on it.
_APPROVER_OR_CLOCK = (*_APPROVER, Party.CLOCK)
_CLOCK = (Party.CLOCK,)
_WORD = (Input.REASON, Input.DOCUMENT)
_BUILD = (Input.HARDWARE_REVISION, *_WORD)
_TERMS = (Input.VALID_UNTIL, Input.SOFTWARE_FROM, Input.SOFTWARE_UNTIL, Input.REASON)
_WAIVER = (Input.LIMITS, Input.WAIVED_UNTIL, Input.DOCUMENT)

MOVES: tuple[Move, ...] = (
    Move(
        "request",
        "Ask for acceptance",
        _to(State.REQUESTED, ""),
        _SPONSOR,
        "the variant exists; nothing of the same build is open with the host",
    ),
    Move(
        "amend",
        "Complete the papers",
        _stays(State.REQUESTED, State.INTAKE_REVIEW),
        _SPONSOR,
        "at least one paper changes",
        takes=(Input.FCC_ID, Input.CERTIFICATE, Input.TACS),
    ),
    Move(
        "take_in",
        "Take in",
        _to(State.INTAKE_REVIEW, State.REQUESTED),
        _DESK,
        "papers present: FCC ID, PTCRB or GCF number, TACs, a declaration of bands and software",
        takes=_WORD,
    ),
    Move(
        "give_slot",
        "Give a lab slot",
        _to(State.LAB_ENTRY, State.INTAKE_REVIEW),
        (Party.HOST_DESK, Party.HOST_LAB, Party.SHOP),
        "papers present; each TAC is of no other model; the software is in the range asked for, and frozen by it",
        needs=(Input.LAB_SLOT_FROM, Input.LAB_SLOT_UNTIL, Input.SOFTWARE),
        takes=_BUILD,
    ),
    Move(
        "reject",
        "Reject",
        _to(State.REJECTED, State.INTAKE_REVIEW, State.ISSUES_OPEN, State.MR_REVIEW),
        _DESK,
        "reason given",
        needs=(Input.REASON,),
        takes=(Input.DOCUMENT,),
    ),
    Move(
        "start_tests",
        "Start the tests",
        _to(State.IN_TEST, State.LAB_ENTRY),
        _LAB,
        "the samples match the frozen build",
        needs=(Input.SOFTWARE,),
        takes=_BUILD,
    ),
    Move(
        "open_issues",
        "Open issues",
        _to(State.ISSUES_OPEN, State.IN_TEST),
        _LAB,
        "at least one case failed on this build",
        needs=(Input.REASON,),
        takes=(Input.DOCUMENT,),
    ),
    Move(
        "submit_build",
        "Take in a new build",
        _to(State.IN_TEST, State.ISSUES_OPEN),
        _LAB,
        "another software or hardware than the build before; in the range asked for",
        needs=(Input.SOFTWARE,),
        takes=_BUILD,
    ),
    Move(
        "ask_waiver",
        "Ask for a waiver",
        _to(State.WAIVER_PENDING, State.IN_TEST, State.ISSUES_OPEN),
        _SPONSOR,
        "the deviation is described",
        needs=(Input.DEVIATION,),
        takes=_WORD,
    ),
    Move(
        "refuse_waiver",
        "Refuse the waiver",
        _to(State.ISSUES_OPEN, State.WAIVER_PENDING),
        _APPROVER,
        "reason given",
        needs=(Input.REASON,),
        takes=(Input.DOCUMENT,),
    ),
    Move(
        "grant_waiver",
        "Grant the waiver",
        _to(State.CONDITIONAL, State.WAIVER_PENDING),
        _APPROVER,
        "every needed phase has results; limits and expiry set; what the limits call off is off; no blocker that the "
        "limits do not name; approver and sponsor are two",
        needs=_WAIVER,
        takes=_TERMS,
        effect=Effect.GIVES,
    ),
    Move(
        "approve",
        "Approve",
        _to(State.APPROVED, State.IN_TEST, State.CONDITIONAL, State.MR_REVIEW),
        _APPROVER,
        "every needed phase passed on this build, no case failed, no certification blocker; letter named; approver "
        "and sponsor are two",
        needs=(Input.DOCUMENT,),
        takes=_TERMS,
        effect=Effect.GIVES,
    ),
    Move(
        "approve_with_limits",
        "Approve with limits",
        _to(State.CONDITIONAL, State.MR_REVIEW),
        _APPROVER,
        "as for a waiver",
        needs=_WAIVER,
        takes=_TERMS,
        effect=Effect.GIVES,
    ),
    Move(
        "report_release",
        "Report a maintenance release",
        _stays(State.CONDITIONAL, State.APPROVED, State.SUSPENDED),
        _SPONSOR,
        "new software or hardware; what was approved stays as it is",
        needs=(Input.SOFTWARE,),
        takes=(Input.SOFTWARE_FROM, Input.SOFTWARE_UNTIL, Input.HARDWARE_REVISION, Input.TACS, *_WORD),
        opens=State.MR_REVIEW,
    ),
    Move(
        "restrict",
        "Limit",
        (
            (State.APPROVED, State.CONDITIONAL),
            (State.CONDITIONAL, State.CONDITIONAL),
            (State.SUSPENDED, State.SUSPENDED),
        ),
        _APPROVER,
        "limits named; less than before",
        needs=(Input.REASON, Input.LIMITS),
        takes=(Input.WAIVED_UNTIL, Input.SOFTWARE_FROM, Input.SOFTWARE_UNTIL),
        effect=Effect.TAKES,
        at_door=True,
    ),
    Move(
        "suspend",
        "Suspend",
        _to(State.SUSPENDED, State.CONDITIONAL, State.APPROVED, State.SUSPENDED),
        _APPROVER_OR_CLOCK,
        "reason given: a field fault, safety, a dispute; beside a suspension by somebody else too",
        needs=(Input.REASON,),
        effect=Effect.TAKES,
        at_door=True,
    ),
    Move(
        "resume",
        "Resume",
        _to(State.APPROVED, State.SUSPENDED) + _to(State.CONDITIONAL, State.SUSPENDED),
        _APPROVER_OR_CLOCK,
        "the cause is removed, and no other hold suspends it; approver and sponsor are two",
        needs=(Input.REASON,),
        takes=(Input.DOCUMENT,),
        effect=Effect.GIVES,
    ),
    Move(
        "lift_limits",
        "Take limits back",
        (
            (State.CONDITIONAL, State.APPROVED),
            (State.CONDITIONAL, State.CONDITIONAL),
            (State.SUSPENDED, State.SUSPENDED),
        ),
        (Party.SHOP,),
        "the limiting is undone at the desk: the terms of before hold again",
        effect=Effect.GIVES,
    ),
    Move(
        "revoke",
        "Revoke",
        _to(State.REVOKED, State.CONDITIONAL, State.APPROVED, State.SUSPENDED),
        _APPROVER_OR_CLOCK,
        "reason given; a phase-out of existing lines ends after it",
        needs=(Input.REASON,),
        takes=(Input.EFFECTIVE_AT, Input.PHASE_OUT_UNTIL),
        effect=Effect.TAKES,
        at_door=True,
    ),
    Move(
        "expire",
        "Expire",
        _to(State.EXPIRED, State.CONDITIONAL, State.APPROVED, State.SUSPENDED),
        _CLOCK,
        "term or waiver has run out",
        effect=Effect.TAKES,
    ),
    Move(
        "fall_with_parent",
        "End with the release before",
        _to(State.REVOKED, State.MR_REVIEW) + _to(State.EXPIRED, State.MR_REVIEW),
        _CLOCK,
        "what it was compared with was revoked, or expired",
    ),
    Move(
        "reinstate",
        "Reinstate",
        _to(State.APPROVED, "") + _to(State.CONDITIONAL, ""),
        (Party.SHOP,),
        "its predecessor's revocation was undone at the desk; a new record stands in its place",
        effect=Effect.GIVES,
    ),
    Move(
        "withdraw",
        "Withdraw",
        _to(State.WITHDRAWN, *UNDECIDED, State.MR_REVIEW),
        _SPONSOR,
        "nothing is decided yet",
        takes=(Input.REASON,),
    ),
)

BY_CODE = {move.code: move for move in MOVES}
# Nobody asks for these: they follow from what happened to the approval.
FOLLOWING = ("expire", "fall_with_parent", "lift_limits", "reinstate")


class Acceptable(Protocol):
    """What of an acceptance decides on its moves."""

    @property
    def state(self) -> str: ...

    @property
    def sponsor_id(self) -> int | None: ...


def moves_for(acceptance: Acceptable, party: str, *, state: str | None = None) -> tuple[Move, ...]:
    """What this party may do now, in the order of the table. `state`: the one that counts, if not the stored one."""
    present = acceptance.state if state is None else state
    return tuple(
        move
        for move in MOVES
        if present in move.from_states
        and party in move.parties
        and move.code not in FOLLOWING
        and not (move.gives and party == Party.SHOP and acceptance.sponsor_id is None)
    )


def codes_for(acceptance: Acceptable, party: str, *, state: str) -> tuple[str, ...]:
    return tuple(move.code for move in moves_for(acceptance, party, state=state))


def find(code: str) -> Move:
    """Raises MoveRefused for a code that is not in the table."""
    if code not in BY_CODE:
        raise MoveRefused(f"There is no move {code!r}; take one of {', '.join(BY_CODE)}.")
    return BY_CODE[code]


def _cell(values: Sequence[str]) -> str:
    return ", ".join(values) or "-"


def as_table() -> str:
    """The moves as a Markdown table."""
    lines = ["| move | from | to | by | guard | on the shop |", "|---|---|---|---|---|---|"]
    for move in MOVES:
        if move.opens:
            to = f"stays; opens a child in {move.opens}"
        elif all(before == after for before, after in move.ways):
            to = "stays"
        else:
            to = _cell([str(state) for state in move.to_states])
        lines.append(
            f"| `{move.code}` | {_cell([str(state) for state in move.from_states])} | {to} | "
            f"{_cell([str(party.value) for party in move.parties])} | {move.guard} | {move.effect.value} |"
        )
    return "\n".join(lines)


def as_diagram() -> str:
    """The moves as a state diagram in Mermaid's notation; what stays is left to the table."""
    lines = ["stateDiagram-v2"]
    for move in MOVES:
        lines += [
            f"    {before or '[*]'} --> {after} : {move.code}"
            for before, after in move.ways
            if before != after
        ]
        if move.opens:
            lines += [f"    {state} --> {move.opens} : {move.code} (child)" for state in move.from_states]
    lines += [f"    {state} --> [*]" for state in Acceptance.FINAL]
    return "\n".join(lines)
