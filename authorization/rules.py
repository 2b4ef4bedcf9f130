"""The words of a decision: reason codes, what an answer is made of, why a record fails. Pure: no database, no Django.

What holds when is said in docs/the-rules.md. `authorization.evaluator` finds in SQL what passes and what fails; the
functions here say it so that a person can act on it, and choose which chain of agreements is cited or nearly missed.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

ALL = "*"


@dataclass(frozen=True)
class ReasonCode:
    """One row of the one table of reason codes. `shopper_text` never tells of a vendor's legal trouble."""

    code: str
    check: str
    title: str
    curable: bool
    cure_by: str
    shopper_text: str


_NOT_NOW = "We are not able to sell this phone at the moment."
_HOST_SAYS = "It is not approved for sale on this network."
_DOES_NOT_FIT = "It does not work well enough on this network."
_REGULATOR = "It may not be sold here at the moment."

# What is asked, in the order in which it is asked and answered.
CHECKS = ("policy", "vendor", "host", "agreement", "approval", "equipment", "radio", "hold")


def _table(*rows: tuple[str, str, str, bool, str, str]) -> dict[str, ReasonCode]:
    return {row[0]: ReasonCode(*row) for row in rows}


# In the order in which a decision gives them.
REASON_CODES: dict[str, ReasonCode] = _table(
    ("POLICY_MISSING", "policy", "The shop has no policy in force", False, "shop", _NOT_NOW),
    ("VENDOR_SUSPENDED", "vendor", "The vendor is suspended", False, "shop", _NOT_NOW),
    ("HOST_NOT_SERVED", "host", "The shop has no service on this host", False, "shop", _HOST_SAYS),
    (
        "NO_AGREEMENT",
        "agreement",
        "No agreement leads from the manufacturer to the vendor",
        True,
        "vendor",
        _NOT_NOW,
    ),
    ("AGREEMENT_NOT_YET_VALID", "agreement", "The agreement has not begun", True, "vendor", _NOT_NOW),
    ("AGREEMENT_EXPIRED", "agreement", "The agreement has ended", True, "vendor", _NOT_NOW),
    ("AGREEMENT_REVOKED", "agreement", "The agreement was revoked", False, "manufacturer", _NOT_NOW),
    (
        "AGREEMENT_SUSPENDED",
        "agreement",
        "The agreement is suspended by a hold",
        False,
        "manufacturer",
        _NOT_NOW,
    ),
    ("AGREEMENT_NOT_VERIFIED", "agreement", "The agreement is claimed, not verified", True, "shop", _NOT_NOW),
    (
        "AGREEMENT_SCOPE_MODEL",
        "agreement",
        "The agreement does not cover this model",
        True,
        "vendor",
        _NOT_NOW,
    ),
    (
        "AGREEMENT_SCOPE_TERRITORY",
        "agreement",
        "The agreement does not cover this territory",
        True,
        "vendor",
        _NOT_NOW,
    ),
    (
        "AGREEMENT_SCOPE_CHANNEL",
        "agreement",
        "The agreement does not cover this channel",
        True,
        "vendor",
        _NOT_NOW,
    ),
    (
        "AGREEMENT_SCOPE_CONDITION",
        "agreement",
        "The agreement does not cover this condition",
        True,
        "vendor",
        _NOT_NOW,
    ),
    (
        "SUBLICENSE_MISSING",
        "agreement",
        "A link of the chain may not sublicense",
        True,
        "manufacturer",
        _NOT_NOW,
    ),
    (
        "CARRIER_NOT_APPROVED",
        "approval",
        "The host carrier has not approved this variant",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    ("CARRIER_APPROVAL_EXPIRED", "approval", "The carrier approval has ended", False, "carrier", _HOST_SAYS),
    (
        "CARRIER_APPROVAL_REVOKED",
        "approval",
        "The host carrier revoked its approval",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    (
        "CARRIER_APPROVAL_SUSPENDED",
        "approval",
        "The carrier approval is suspended by a hold",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    (
        "CARRIER_APPROVAL_SOFTWARE",
        "approval",
        "The carrier approval does not cover this software",
        True,
        "vendor",
        _HOST_SAYS,
    ),
    (
        "CARRIER_APPROVAL_CONDITIONAL",
        "approval",
        "The carrier approval has limits that the shop does not accept",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    (
        "EQUIPMENT_NOT_AUTHORIZED",
        "equipment",
        "No equipment authorization for this territory",
        False,
        "manufacturer",
        _REGULATOR,
    ),
    (
        "EQUIPMENT_AUTHORIZATION_EXPIRED",
        "equipment",
        "The equipment authorization has ended",
        False,
        "manufacturer",
        _REGULATOR,
    ),
    (
        "EQUIPMENT_AUTHORIZATION_REVOKED",
        "equipment",
        "The regulator revoked the equipment authorization",
        False,
        "regulator",
        _REGULATOR,
    ),
    (
        "EQUIPMENT_AUTHORIZATION_SUSPENDED",
        "equipment",
        "The equipment authorization is suspended by a hold",
        False,
        "regulator",
        _REGULATOR,
    ),
    (
        "EQUIPMENT_LISTED",
        "equipment",
        "A regulator's list bars this equipment",
        False,
        "regulator",
        _REGULATOR,
    ),
    (
        "RADIO_INCOMPATIBLE",
        "radio",
        "The phone does not work well enough on this host",
        False,
        "manufacturer",
        _DOES_NOT_FIT,
    ),
    (
        "RADIO_UNKNOWN",
        "radio",
        "The radio of the phone or of the host is not recorded",
        True,
        "shop",
        _DOES_NOT_FIT,
    ),
    ("ON_HOLD", "hold", "A hold is in force", False, "who placed it", _NOT_NOW),
)
_ORDER = {code: place for place, code in enumerate(REASON_CODES)}


class Question(NamedTuple):
    """May this vendor sell this variant for this host, there, so? Ids are the catalog's row ids.

    `software` is the version that the phone ships with, as written; empty: not stated.
    """

    vendor_id: int
    manufacturer_id: int
    device_id: int
    variant_id: int
    host_id: int
    territory: str
    channel: str
    condition: str
    listing_id: int | None = None
    software: str = ""


class Reason(NamedTuple):
    """Why not. `message` is the nearest miss and may be shown to the vendor; `document` (a record's code) only to who
    may see that record; `cure` is the smallest thing that would help. `detail` says more to who may see the record.
    """

    code: str
    check: str
    message: str
    curable: bool
    cure_by: str
    document: str = ""
    cure: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


class Evidence(NamedTuple):
    """`fact_id` is the head's id within its kind: agreement, affiliation, approval, equipment, policy (a Fact), or
    hosting, variant, network.
    """

    kind: str
    code: str
    fact_id: int
    version_no: int

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


class Ground(NamedTuple):
    """One check of a decision. `until` is the instant to which its result stands by itself."""

    check: str
    result: str
    until: datetime
    evidence: tuple[Evidence, ...] = ()
    reasons: tuple[Reason, ...] = ()


PASSED, FAILED, NOT_ENFORCED = "passed", "failed", "not_enforced"


class Finding(NamedTuple):
    """`expires_at` is the first instant after the check at which the answer may change by itself."""

    outcome: str
    grounds: tuple[Ground, ...]
    reasons: tuple[Reason, ...]
    evidence: tuple[Evidence, ...]
    expires_at: datetime


def conclude(grounds: Sequence[Ground], horizon: datetime) -> Finding:
    """The answer from its grounds. `horizon` is the latest `expires_at` given: no promise is without end."""
    expires_at = min([horizon, *[ground.until for ground in grounds]])
    reasons = in_order([reason for ground in grounds if ground.reasons for reason in ground.reasons])
    if not reasons:
        evidence = tuple([item for ground in grounds for item in ground.evidence])
        return Finding("allow", tuple(grounds), (), evidence, expires_at)
    undecided = reasons[0].code == "POLICY_MISSING" and all(
        reason.code == "POLICY_MISSING" for reason in reasons
    )
    return Finding("undetermined" if undecided else "deny", tuple(grounds), reasons, (), expires_at)


# --- agreements -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreement:
    fact_id: int
    code: str
    version_no: int
    grantor_id: int
    grantee_id: int
    may_sublicense: bool
    is_verified: bool
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None
    # dimension (model, territory, channel, condition) -> values; absent or empty means nothing
    scope: Mapping[str, frozenset[str]] = field(hash=False)

    @property
    def end(self) -> datetime:
        return self.valid_until if self.revoked_at is None else min(self.valid_until, self.revoked_at)


class Edge(NamedTuple):
    """A step of a chain: from whoever may grant to whoever was granted. `distance` is 0 where nothing fails."""

    source: int
    target: int
    fact_id: int
    end: datetime
    distance: int
    # An affiliation leads to another company that may grant; no agreement stands before it.
    is_affiliation: bool
    subject: Any


Node = tuple[bool, int]


def best_chain(edges: Iterable[Edge], *, start: int, goal: int) -> tuple[Edge, ...] | None:
    """The chain from `start` to `goal` with the least distance; of those the one that lasts longest, then the one with
    the fewest links, then the one with the smallest fact ids. None where nothing leads there.
    """
    if start == goal:
        return ()
    edges = list(edges)
    only = _only_way(edges, start, goal)
    if only is not None:
        return only
    leading: defaultdict[Node, list[tuple[Node, Edge]]] = defaultdict(list)
    for edge in edges:
        if edge.is_affiliation:
            leading[False, edge.source].append(((False, edge.target), edge))
        else:
            for has_left in (False, True):
                leading[has_left, edge.source].append(((True, edge.target), edge))
    goals = ((False, goal), (True, goal))
    if not any(edge.distance for steps in leading.values() for _, edge in steps):
        # Nothing fails anywhere: all ways are as near.
        lasting = _latest_end(leading, (False, start), goals)
        return None if lasting is None else _fewest_links(leading, (False, start), goals, lasting)
    distances = _distances(leading, (False, start))
    reached = [distances[node] for node in goals if node in distances]
    if not reached:
        return None
    least = min(reached)
    # Only steps that lie on some way of least distance; among those the last choices are made.
    tight = {
        node: [
            (after, edge)
            for after, edge in steps
            if distances.get(node, least + 1) + edge.distance == distances.get(after, -1) <= least
        ]
        for node, steps in leading.items()
        if node in distances
    }
    ends = [node for node in goals if distances.get(node) == least]
    lasting = _latest_end(tight, (False, start), ends)
    return _fewest_links(tight, (False, start), ends, lasting)


def _only_way(edges: Sequence[Edge], start: int, goal: int) -> tuple[Edge, ...] | None:
    """The chain, where nobody on it was granted by more than one: then there is nothing to choose. Else None."""
    granting = {edge.target: edge for edge in edges}
    if len(granting) < len(edges) or any(edge.is_affiliation for edge in edges):
        return None
    chain: list[Edge] = []
    node = goal
    while node != start:
        edge = granting.get(node)
        if edge is None or len(chain) == len(edges):
            return None
        chain.append(edge)
        node = edge.source
    return tuple(reversed(chain))


def _distances(leading: Mapping[Node, Sequence[tuple[Node, Edge]]], start: Node) -> dict[Node, int]:
    known: dict[Node, int] = {}
    queue = [(0, start)]
    while queue:
        distance, node = heapq.heappop(queue)
        if node in known:
            continue
        known[node] = distance
        for after, edge in leading.get(node, ()):
            if after not in known:
                heapq.heappush(queue, (distance + edge.distance, after))
    return known


def _latest_end(
    tight: Mapping[Node, Sequence[tuple[Node, Edge]]], start: Node, goals: Sequence[Node]
) -> datetime | None:
    """The latest instant to which some way lasts as a whole; None where the start is the goal."""
    taken: set[Node] = set()
    # A heap gives the least first; counted down from the end of time the latest is the least.
    queue: list[tuple[float, int, Node, datetime | None]] = [(float("-inf"), 0, start, None)]
    pushed = 0
    while queue:
        _, _, node, end = heapq.heappop(queue)
        if node in taken:
            continue
        taken.add(node)
        if node in goals:
            return end
        for after, edge in tight.get(node, ()):
            if after not in taken:
                until = edge.end if end is None else min(end, edge.end)
                pushed += 1
                heapq.heappush(queue, (-until.timestamp(), pushed, after, until))
    return None


def _fewest_links(
    tight: Mapping[Node, Sequence[tuple[Node, Edge]]],
    start: Node,
    goals: Sequence[Node],
    lasting: datetime | None,
) -> tuple[Edge, ...]:
    taken: set[Node] = set()
    queue: list[tuple[int, tuple[int, ...], int, Node, tuple[Edge, ...]]] = [(0, (), 0, start, ())]
    pushed = 0
    while queue:
        length, ids, _, node, chain = heapq.heappop(queue)
        if node in taken:
            continue
        taken.add(node)
        if node in goals:
            return chain
        for after, edge in tight.get(node, ()):
            if after not in taken and (lasting is None or edge.end >= lasting):
                pushed += 1
                heapq.heappush(queue, (length + 1, (*ids, edge.fact_id), pushed, after, (*chain, edge)))
    raise AssertionError("A way of least distance exists, but was not found again.")


def link_failures(
    link: Agreement, question: Question, *, demands_verified: bool, is_suspended: bool, at: datetime
) -> tuple[Reason, ...]:
    """Why this agreement does not carry this question; empty if it does.

    Of an agreement between others the vendor learns neither the name nor the terms, and it is not the vendor who can
    cure it; `detail` is for who may see it.
    """
    full = f"agreement {link.code}"
    failures = _link_failures(link, question, full, demands_verified, is_suspended, at)
    if link.grantee_id == question.vendor_id:
        return tuple([reason(code, message, link.code, cure) for code, message, cure in failures])
    if not link.may_sublicense:
        failures.append(
            (
                "SUBLICENSE_MISSING",
                f"Agreement {link.code} does not allow sublicensing.",
                f"The right to sublicense in {full}.",
            )
        )
    return tuple([_further_up(code, message, link.code, cure) for code, message, cure in failures])


# What a vendor is told of an agreement between others.
_FURTHER_UP = {
    "AGREEMENT_NOT_YET_VALID": "has not begun",
    "AGREEMENT_EXPIRED": "has ended",
    "AGREEMENT_REVOKED": "was revoked",
    "AGREEMENT_SUSPENDED": "is suspended",
    "AGREEMENT_NOT_VERIFIED": "is claimed only",
    "AGREEMENT_SCOPE_MODEL": "does not cover this model",
    "AGREEMENT_SCOPE_TERRITORY": "does not cover this territory",
    "AGREEMENT_SCOPE_CHANNEL": "does not cover this channel",
    "AGREEMENT_SCOPE_CONDITION": "does not cover this condition",
    "SUBLICENSE_MISSING": "does not allow sublicensing",
}


def _further_up(code: str, message: str, document: str, cure: str) -> Reason:
    return Reason(
        code=code,
        check=REASON_CODES[code].check,
        message=f"An agreement further up the chain {_FURTHER_UP[code]}.",
        curable=False,
        cure_by="grantor",
        document=document,
        cure="Its grantor can cure it; ask whoever supplies you.",
        detail=f"{message} Cure: {cure}",
    )


def _link_failures(
    link: Agreement, question: Question, name: str, demands_verified: bool, is_suspended: bool, at: datetime
) -> list[tuple[str, str, str]]:
    """Code, message and cure of each failure that any link can have."""
    says = name[0].upper() + name[1:]
    failures: list[tuple[str, str, str]] = []
    if link.revoked_at is not None and at >= link.revoked_at:
        failures.append(
            (
                "AGREEMENT_REVOKED",
                f"{says} was revoked on {link.revoked_at:%Y-%m-%d}.",
                "A new agreement from its grantor.",
            )
        )
    elif at >= link.valid_until:
        failures.append(
            (
                "AGREEMENT_EXPIRED",
                f"{says} ended on {link.valid_until:%Y-%m-%d}.",
                "A new agreement from its grantor: one that has ended is not renewed.",
            )
        )
    if at < link.valid_from:
        starts = f"{link.valid_from:%Y-%m-%d}"
        failures.append(
            (
                "AGREEMENT_NOT_YET_VALID",
                f"{says} begins on {starts}.",
                f"Wait until {starts}, or have {name} begin earlier.",
            )
        )
    if is_suspended:
        failures.append(
            ("AGREEMENT_SUSPENDED", f"{says} is suspended.", "Release of the hold that suspends it.")
        )
    if demands_verified and not link.is_verified:
        failures.append(
            (
                "AGREEMENT_NOT_VERIFIED",
                f"{says} is claimed only; its grantor has not confirmed it.",
                f"Have the grantor confirm {name} to the shop.",
            )
        )
    for dimension, value in _terms_of(question):
        covered = link.scope.get(dimension, frozenset())
        if ALL not in covered and value not in covered:
            wanted = "this model." if dimension == "model" else f"{value}, or list it otherwise."
            failures.append(
                (
                    f"AGREEMENT_SCOPE_{dimension.upper()}",
                    f"{says} {_covers(dimension, covered, value)}.",
                    f"An agreement with the same grantor that covers {wanted}",
                )
            )
    return failures


def terms_not_covered(link: Agreement, question: Question) -> tuple[str | None, ...]:
    """The question's terms in the order of the scope's dimensions; None for each that this agreement covers."""
    return tuple(
        [
            None if ALL in (covered := link.scope.get(dimension, frozenset())) or value in covered else value
            for dimension, value in _terms_of(question)
        ]
    )


def _terms_of(question: Question) -> tuple[tuple[str, str], ...]:
    return (
        ("model", str(question.variant_id)),
        ("territory", question.territory),
        ("channel", question.channel),
        ("condition", question.condition),
    )


def distance_of(failures: Iterable[Reason]) -> int:
    """One failure more is always further; among as many, one of scope is."""
    return sum(1001 if failure.code.startswith("AGREEMENT_SCOPE_") else 1000 for failure in failures)


def no_agreement(question: Question) -> Reason:
    return reason(
        "NO_AGREEMENT",
        "No agreement on record leads from the manufacturer to you.",
        cure=f"An agreement that leads from the manufacturer to you and covers this model in {question.territory}.",
    )


def _covers(dimension: str, covered: frozenset[str], value: str) -> str:
    if dimension == "model":
        return "does not cover this model"
    if not covered:
        return f"covers no {dimension}"
    *most, last = sorted(covered)
    named = f"{', '.join(most)} and {last}" if most else last
    return f"covers {named}, not {value}"


# --- carrier approvals, equipment authorizations ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Approval:
    """The nearest carrier approval; how it fails is found by `authorization.evaluator` (see `approval_reason`)."""

    fact_id: int
    code: str
    version_no: int
    state: str
    limits: str
    software_from: str
    software_until: str
    valid_from: datetime
    valid_until: datetime
    waived_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Equipment:
    fact_id: int
    code: str
    version_no: int
    regulator: str
    identifier: str
    granted_at: datetime
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None


def approval_reason(failure: str, approval: Approval, question: Question, at: datetime) -> Reason:
    """`failure`: revoked, state, not_begun, expired, suspended, software or conditional."""
    name = "The carrier approval of this variant"
    code, message, cure = {
        "revoked": lambda: (
            "CARRIER_APPROVAL_REVOKED",
            f"{name} was revoked on {approval.revoked_at:%Y-%m-%d}.",
            "A new approval by the host carrier.",
        ),
        "state": lambda: (
            "CARRIER_NOT_APPROVED",
            f"{name} is `{approval.state}`.",
            "The host carrier's approval after its tests.",
        ),
        "not_begun": lambda: (
            "CARRIER_NOT_APPROVED",
            f"{name} begins on {approval.valid_from:%Y-%m-%d}.",
            f"Wait until {approval.valid_from:%Y-%m-%d}.",
        ),
        "expired": lambda: (
            "CARRIER_APPROVAL_EXPIRED",
            (
                f"The waiver that {name[0].lower()}{name[1:]} rests on ended on {approval.waived_until:%Y-%m-%d}."
                if approval.waived_until is not None and approval.waived_until < approval.valid_until
                else f"{name} ended on {approval.valid_until:%Y-%m-%d}."
            ),
            f"Renewal by the host carrier beyond {at:%Y-%m-%d}.",
        ),
        "suspended": lambda: (
            "CARRIER_APPROVAL_SUSPENDED",
            f"{name} is suspended.",
            "Release of the hold that suspends it.",
        ),
        "software": lambda: (
            "CARRIER_APPROVAL_SOFTWARE",
            f"{name} covers software {_software_range(approval)}; "
            + (
                f"this is {question.software}."
                if question.software
                else "the listing does not say which it ships with."
            ),
            "State the software version that it ships with."
            if not question.software
            else f"Ship software {_software_range(approval)}, or have the host carrier test {question.software}.",
        ),
        "conditional": lambda: (
            "CARRIER_APPROVAL_CONDITIONAL",
            f"{name} has limits: {approval.limits or 'not described'}.",
            "An approval without limits.",
        ),
    }[failure]()
    return reason(code, message, approval.code, cure)


def no_approval() -> Reason:
    return reason(
        "CARRIER_NOT_APPROVED",
        "The host carrier has no approval of this variant on record.",
        cure="A technical acceptance of this variant by the host carrier.",
    )


def _software_range(approval: Approval) -> str:
    parts = [f"from {approval.software_from}"] if approval.software_from else []
    return " ".join([*parts, f"before {approval.software_until}"] if approval.software_until else parts)


def equipment_reason(failure: str, equipment: Equipment, at: datetime) -> Reason:
    """`failure`: revoked, not_begun, expired or suspended."""
    name = f"The equipment authorization {equipment.identifier or 'of this variant'}"
    code, message, cure = {
        "revoked": lambda: (
            "EQUIPMENT_AUTHORIZATION_REVOKED",
            f"{name} was revoked on {equipment.revoked_at:%Y-%m-%d}.",
            "A new authorization by the regulator.",
        ),
        "not_begun": lambda: (
            "EQUIPMENT_NOT_AUTHORIZED",
            f"{name} begins on {equipment.valid_from:%Y-%m-%d}.",
            f"Wait until {equipment.valid_from:%Y-%m-%d}.",
        ),
        "expired": lambda: (
            "EQUIPMENT_AUTHORIZATION_EXPIRED",
            f"{name} ended on {equipment.valid_until:%Y-%m-%d}.",
            f"Renewal by the regulator beyond {at:%Y-%m-%d}.",
        ),
        "suspended": lambda: (
            "EQUIPMENT_AUTHORIZATION_SUSPENDED",
            f"{name} is suspended.",
            "Release of the hold that suspends it.",
        ),
    }[failure]()
    return reason(code, message, equipment.code, cure)


def no_equipment(question: Question) -> Reason:
    return reason(
        "EQUIPMENT_NOT_AUTHORIZED",
        f"No equipment authorization of this variant for {question.territory} is on record.",
        cure=f"An equipment authorization of this variant for {question.territory}.",
    )


# --- holds ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    fact_id: int
    code: str
    reach: str
    placed_by: str
    reason_code: str
    names_only_vendor: bool
    valid_from: datetime
    # The earlier of `valid_until` and `released_at`.
    end: datetime


def hold_reason(hold: Hold) -> Reason:
    since = f"{hold.valid_from:%Y-%m-%d}"
    if hold.reach != "sale":
        granted = "granted from then on" if hold.reach == "new_grants" else "whenever granted"
        return reason(
            "EQUIPMENT_LISTED",
            f"On a list of {hold.placed_by} since {since} ({hold.reason_code}): authorizations {granted} do not count.",
            hold.code,
            f"An exemption from the list, or its end, by {hold.placed_by}.",
        )
    cure = f"Release by {hold.placed_by}, or an exemption."
    if hold.names_only_vendor:
        return reason("VENDOR_SUSPENDED", f"Your account is suspended since {since}.", hold.code, cure)
    return reason(
        "ON_HOLD", f"On hold by {hold.placed_by} since {since} ({hold.reason_code}).", hold.code, cure
    )


# --- radio, host, policy ----------------------------------------------------------------------------------------

# What a policy can ask for, from the least on.
RADIO_LEVELS = ("NONE", "DATA_ONLY", "PARTIAL_2G", "PARTIAL_3G", "PARTIAL_LTE", "FULL")


def radio_suffices(found: str, minimum: str) -> bool:
    return RADIO_LEVELS.index(found) >= RADIO_LEVELS.index(minimum)


def radio_incompatible(found: str, minimum: str) -> Reason:
    return reason(
        "RADIO_INCOMPATIBLE",
        f"Its radio is {found} on this host; the shop asks for {minimum} at least.",
        cure="A variant whose bands fit this host.",
    )


def radio_unknown() -> Reason:
    return reason(
        "RADIO_UNKNOWN",
        "The bands of this variant or of this host's network are not recorded.",
        cure="The shop's data desk records them.",
    )


def host_not_served() -> Reason:
    return reason(
        "HOST_NOT_SERVED",
        "The shop sells no service on this host now.",
        cure="Choose a host that the shop serves.",
    )


def policy_missing() -> Reason:
    return reason(
        "POLICY_MISSING",
        "The shop has set no policy, so nothing can be decided.",
        cure="The shop sets a policy.",
    )


# --- order ------------------------------------------------------------------------------------------------------


def reason(code: str, message: str, document: str = "", cure: str = "") -> Reason:
    row = REASON_CODES[code]
    return Reason(code, row.check, message, row.curable, row.cure_by, document, cure)


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Fixed order, each thing once: several links that fail alike are one reason per document."""
    given = tuple(reasons)
    if len(given) < 2:
        return given
    unique = dict.fromkeys(given)
    if len(unique) < 2:
        return tuple(unique)
    return tuple(sorted(unique, key=lambda item: (_ORDER[item.code], item.document, item.message)))
