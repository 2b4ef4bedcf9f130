"""The rules: may this be sold here, now, and why not. Pure functions over plain values; no database, no Django.

A check is a point (variant, territory, channel, condition, instant), so a chain of agreements is reachability:
from the variant's manufacturer to the vendor through links that each cover the point, every link but the last
allowed to sublicense.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

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


def _table(*rows: ReasonCode) -> dict[str, ReasonCode]:
    return {row.code: row for row in rows}


# In the order in which a decision gives them.
REASON_CODES: dict[str, ReasonCode] = _table(
    ReasonCode("POLICY_MISSING", "policy", "The shop has no policy in force", False, "shop", _NOT_NOW),
    ReasonCode("VENDOR_SUSPENDED", "vendor", "The vendor is suspended", False, "shop", _NOT_NOW),
    ReasonCode("HOST_NOT_SERVED", "host", "The shop has no service on this host", False, "shop", _HOST_SAYS),
    ReasonCode(
        "NO_AGREEMENT",
        "agreement",
        "No agreement leads from the manufacturer to the vendor",
        True,
        "vendor",
        _NOT_NOW,
    ),
    ReasonCode(
        "AGREEMENT_NOT_YET_VALID", "agreement", "The agreement has not begun", True, "vendor", _NOT_NOW
    ),
    ReasonCode("AGREEMENT_EXPIRED", "agreement", "The agreement has ended", True, "vendor", _NOT_NOW),
    ReasonCode(
        "AGREEMENT_REVOKED", "agreement", "The agreement was revoked", False, "manufacturer", _NOT_NOW
    ),
    ReasonCode(
        "AGREEMENT_SUSPENDED",
        "agreement",
        "The agreement is suspended by a hold",
        False,
        "manufacturer",
        _NOT_NOW,
    ),
    ReasonCode(
        "AGREEMENT_NOT_VERIFIED",
        "agreement",
        "The agreement is claimed, not verified",
        True,
        "shop",
        _NOT_NOW,
    ),
    ReasonCode(
        "AGREEMENT_SCOPE_MODEL",
        "agreement",
        "The agreement does not cover this model",
        True,
        "vendor",
        _NOT_NOW,
    ),
    ReasonCode(
        "AGREEMENT_SCOPE_TERRITORY",
        "agreement",
        "The agreement does not cover this territory",
        True,
        "vendor",
        _NOT_NOW,
    ),
    ReasonCode(
        "AGREEMENT_SCOPE_CHANNEL",
        "agreement",
        "The agreement does not cover this channel",
        True,
        "vendor",
        _NOT_NOW,
    ),
    ReasonCode(
        "AGREEMENT_SCOPE_CONDITION",
        "agreement",
        "The agreement does not cover this condition",
        True,
        "vendor",
        _NOT_NOW,
    ),
    ReasonCode(
        "SUBLICENSE_MISSING",
        "agreement",
        "A link of the chain may not sublicense",
        True,
        "manufacturer",
        _NOT_NOW,
    ),
    ReasonCode(
        "CARRIER_NOT_APPROVED",
        "approval",
        "The host carrier has not approved this variant",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    ReasonCode(
        "CARRIER_APPROVAL_EXPIRED", "approval", "The carrier approval has ended", False, "carrier", _HOST_SAYS
    ),
    ReasonCode(
        "CARRIER_APPROVAL_REVOKED",
        "approval",
        "The host carrier revoked its approval",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    ReasonCode(
        "CARRIER_APPROVAL_SUSPENDED",
        "approval",
        "The carrier approval is suspended by a hold",
        False,
        "carrier",
        _HOST_SAYS,
    ),
    ReasonCode("ON_HOLD", "hold", "A hold is in force", False, "who placed it", _NOT_NOW),
)
_ORDER = {code: place for place, code in enumerate(REASON_CODES)}


@dataclass(frozen=True)
class Question:
    """May this vendor sell this variant for this host, there, so? Ids are the catalog's row ids."""

    vendor_id: int
    manufacturer_id: int
    device_id: int
    variant_id: int
    host_id: int
    territory: str
    channel: str
    condition: str
    listing_id: int | None = None


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Approval:
    fact_id: int
    code: str
    version_no: int
    host_id: int
    variant_id: int
    state: str
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class Hold:
    fact_id: int
    code: str
    version_no: int
    placed_by: str
    reason_code: str
    valid_from: datetime
    valid_until: datetime
    released_at: datetime | None
    # dimension -> values, as text; no dimension at all matches nothing
    targets: Mapping[str, frozenset[str]] = field(hash=False)


@dataclass(frozen=True)
class Policy:
    fact_id: int
    code: str
    version_no: int
    name: str
    demands_verified: bool
    enforces_approval: bool
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True)
class Hosting:
    host_id: int
    version_no: int
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True)
class World:
    """All evidence that may bear on a set of questions, as known at one revision."""

    policies: tuple[Policy, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    approvals: tuple[Approval, ...] = ()
    holds: tuple[Hold, ...] = ()
    hostings: tuple[Hosting, ...] = ()


@dataclass(frozen=True)
class Reason:
    """Why not. `message` may be shown to the vendor; `document` (a fact's code) only to who may see that fact."""

    code: str
    check: str
    message: str
    curable: bool
    cure_by: str
    document: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Evidence:
    kind: str
    code: str
    fact_id: int
    version_no: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """`expires_at` is the first instant after the check at which the answer may change by itself."""

    outcome: str
    reasons: tuple[Reason, ...]
    evidence: tuple[Evidence, ...]
    expires_at: datetime


def evaluate(question: Question, world: World, at: datetime, horizon: datetime) -> Finding:
    """The answer for one instant. Every failing ground is given, in the order of REASON_CODES.

    `horizon` is the latest `expires_at` given (an allow without end would be a promise without end).
    """
    policy = _latest_in_force(world.policies, at)
    if policy is None:
        unknown = _reason("POLICY_MISSING", "The shop has set no policy, so nothing can be decided.")
        return Finding("undetermined", (unknown,), (), _next_change(world.policies, (), at, horizon))
    suspended = _suspended_facts(question, world.holds, at)
    reasons: list[Reason] = []
    evidence = [Evidence("policy", policy.code, policy.fact_id, policy.version_no)]
    ends = [policy.valid_until]

    hosting = _latest_in_force([h for h in world.hostings if h.host_id == question.host_id], at)
    if hosting is None:
        reasons.append(_reason("HOST_NOT_SERVED", "The shop sells no service on this host now."))
    else:
        ends.append(hosting.valid_until)

    chain = _best_chain(question, world.agreements, policy, suspended, at)
    reasons += chain.reasons
    for link in chain.links:
        evidence.append(Evidence("agreement", link.code, link.fact_id, link.version_no))
        ends.append(_end(link.valid_until, link.revoked_at))

    if policy.enforces_approval:
        approval, failures = _nearest_approval(question, world.approvals, suspended, at)
        reasons += failures
        if approval is not None and not failures:
            evidence.append(Evidence("approval", approval.code, approval.fact_id, approval.version_no))
            ends.append(_end(approval.valid_until, approval.revoked_at))

    reasons += [_hold_reason(hold, question) for hold in world.holds if _hold_stops(hold, question, at)]
    if reasons:
        return Finding("deny", _in_order(reasons), (), _next_change(_timed(world), world.holds, at, horizon))
    starts = [
        hold.valid_from for hold in world.holds if at < hold.valid_from and _touches(hold, question, evidence)
    ]
    return Finding("allow", (), tuple(evidence), min([*ends, *starts, horizon]))


# --- agreements -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chain:
    links: tuple[Agreement, ...]
    reasons: tuple[Reason, ...]


def _best_chain(
    question: Question, agreements: Iterable[Agreement], policy: Policy, suspended: set[int], at: datetime
) -> _Chain:
    """The chain with the fewest failures; of those, the one that lasts longest, then the shortest.

    With no failure it is the evidence; otherwise its failures are the nearest miss. A chain that once covered the
    point and ended is nearer than one that never did: after a revocation the reason is the revocation.
    """
    if question.vendor_id == question.manufacturer_id:
        return _Chain((), ())
    by_grantor: dict[int, list[Agreement]] = {}
    for agreement in agreements:
        by_grantor.setdefault(agreement.grantor_id, []).append(agreement)
    # (failures, -end, links, tie-break) only grow along a path, so the first time a node is taken is the best.
    queue: list[tuple[int, float, int, tuple[int, ...], int, tuple[Agreement, ...], tuple[Reason, ...]]] = [
        (0, float("-inf"), 0, (), question.manufacturer_id, (), ())
    ]
    taken: set[int] = set()
    while queue:
        cost, negative_end, length, ids, node, links, reasons = heapq.heappop(queue)
        if node in taken:
            continue
        taken.add(node)
        if node == question.vendor_id:
            return _Chain(links if not reasons else (), _in_order(reasons))
        for link in by_grantor.get(node, ()):
            if link.grantee_id in taken:
                continue
            failures = _link_failures(link, question, policy, suspended, at)
            end = _end(link.valid_until, link.revoked_at).timestamp()
            heapq.heappush(
                queue,
                (
                    cost + sum(_distance(failure) for failure in failures),
                    max(negative_end, -end),
                    length + 1,
                    (*ids, link.fact_id),
                    link.grantee_id,
                    (*links, link),
                    (*reasons, *failures),
                ),
            )
    return _Chain(
        (), (_reason("NO_AGREEMENT", "No agreement on record leads from the manufacturer to you."),)
    )


def _distance(failure: Reason) -> int:
    """One failure more is always further; among as many, one of scope is."""
    return 1001 if failure.code.startswith("AGREEMENT_SCOPE_") else 1000


def _link_failures(
    link: Agreement, question: Question, policy: Policy, suspended: set[int], at: datetime
) -> tuple[Reason, ...]:
    is_own = link.grantee_id == question.vendor_id
    name = f"Agreement {link.code}" if is_own else "An agreement further up the chain"
    failures: list[tuple[str, str]] = []
    if link.revoked_at is not None and at >= link.revoked_at:
        failures.append(("AGREEMENT_REVOKED", f"{name} was revoked on {link.revoked_at:%Y-%m-%d}."))
    elif at >= link.valid_until:
        failures.append(("AGREEMENT_EXPIRED", f"{name} ended on {link.valid_until:%Y-%m-%d}."))
    if at < link.valid_from:
        failures.append(("AGREEMENT_NOT_YET_VALID", f"{name} begins on {link.valid_from:%Y-%m-%d}."))
    if link.fact_id in suspended:
        failures.append(("AGREEMENT_SUSPENDED", f"{name} is suspended."))
    if policy.demands_verified and not link.is_verified:
        failures.append(
            ("AGREEMENT_NOT_VERIFIED", f"{name} is claimed only; its grantor has not confirmed it.")
        )
    for dimension, code, value in (
        ("model", "AGREEMENT_SCOPE_MODEL", str(question.variant_id)),
        ("territory", "AGREEMENT_SCOPE_TERRITORY", question.territory),
        ("channel", "AGREEMENT_SCOPE_CHANNEL", question.channel),
        ("condition", "AGREEMENT_SCOPE_CONDITION", question.condition),
    ):
        covered = link.scope.get(dimension, frozenset())
        if ALL not in covered and value not in covered:
            said = _covers(dimension, covered, value) if is_own else f"does not cover this {dimension}"
            failures.append((code, f"{name} {said}."))
    if not is_own and not link.may_sublicense:
        failures.append(("SUBLICENSE_MISSING", f"{name} does not allow sublicensing."))
    return tuple(_reason(code, message, link.code) for code, message in failures)


def _covers(dimension: str, covered: frozenset[str], value: str) -> str:
    if dimension == "model":
        return "does not cover this model"
    if not covered:
        return f"covers no {dimension}"
    return f"covers {', '.join(sorted(covered))}, not {value}"


# --- carrier approvals ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CarrierWord:
    """What a host carrier itself says of a variant, whatever the policy demands and whoever sells it.

    `approval` is the nearest record, None if there is none; with reasons, it is not in force. `hold_reasons` are
    the reason codes of the holds that name the host: why they were placed.
    """

    approval: Approval | None
    reasons: tuple[Reason, ...]
    hold_reasons: frozenset[str] = frozenset()


def carrier_word(question: Question, world: World, at: datetime) -> CarrierWord:
    """For badges. A hold that names the host stops its word too; one that does not is none of the carrier's."""
    suspended = _suspended_facts(question, world.holds, at)
    nearest, failures = _nearest_approval(question, world.approvals, suspended, at)
    stops = [hold for hold in world.holds if "host" in hold.targets and _hold_stops(hold, question, at)]
    return CarrierWord(
        nearest,
        (*failures, *(_hold_reason(hold, question) for hold in stops)),
        frozenset(hold.reason_code for hold in stops),
    )


def _nearest_approval(
    question: Question, approvals: Iterable[Approval], suspended: set[int], at: datetime
) -> tuple[Approval | None, tuple[Reason, ...]]:
    """The approval with the fewest failures; of those, the one that lasts longest. Without failures it is in force."""
    candidates = [
        a for a in approvals if a.host_id == question.host_id and a.variant_id == question.variant_id
    ]
    if not candidates:
        return None, (
            _reason("CARRIER_NOT_APPROVED", "The host carrier has no approval of this variant on record."),
        )
    judged = [(_approval_failures(approval, suspended, at), approval) for approval in candidates]
    failures, nearest = min(
        judged,
        key=lambda pair: (
            len(pair[0]),
            -_end(pair[1].valid_until, pair[1].revoked_at).timestamp(),
            pair[1].fact_id,
        ),
    )
    return nearest, failures


def _approval_failures(approval: Approval, suspended: set[int], at: datetime) -> tuple[Reason, ...]:
    name = "The carrier approval of this variant"
    failures: list[tuple[str, str]] = []
    if approval.revoked_at is not None and at >= approval.revoked_at:
        failures.append(
            ("CARRIER_APPROVAL_REVOKED", f"{name} was revoked on {approval.revoked_at:%Y-%m-%d}.")
        )
    elif at >= approval.valid_until:
        failures.append(("CARRIER_APPROVAL_EXPIRED", f"{name} ended on {approval.valid_until:%Y-%m-%d}."))
    if at < approval.valid_from:
        failures.append(("CARRIER_NOT_APPROVED", f"{name} begins on {approval.valid_from:%Y-%m-%d}."))
    # A revoked approval was one before it was revoked; a mere request never was: that was the mistake of 2016.
    if approval.state not in ("approved", "conditional", "revoked"):
        failures.append(("CARRIER_NOT_APPROVED", f"{name} is `{approval.state}`."))
    if approval.fact_id in suspended:
        failures.append(("CARRIER_APPROVAL_SUSPENDED", f"{name} is suspended."))
    return tuple(_reason(code, message, approval.code) for code, message in failures)


# --- holds ------------------------------------------------------------------------------------------------------


def hold_matches(targets: Mapping[str, frozenset[str]], question: Question) -> bool:
    """Does a hold with these targets stop this point by itself? One that names facts suspends those instead."""
    return bool(targets) and "fact" not in targets and _matches_dimensions(targets, question)


def _suspended_facts(question: Question, holds: Iterable[Hold], at: datetime) -> set[int]:
    return {
        int(value)
        for hold in holds
        if _hold_in_force(hold, at) and _matches_point_besides_fact(hold, question)
        for value in hold.targets.get("fact", ())
    }


def _hold_stops(hold: Hold, question: Question, at: datetime) -> bool:
    return _hold_in_force(hold, at) and hold_matches(hold.targets, question)


def _hold_in_force(hold: Hold, at: datetime) -> bool:
    return hold.valid_from <= at < _end(hold.valid_until, hold.released_at)


def _matches_dimensions(targets: Mapping[str, frozenset[str]], question: Question) -> bool:
    point = {
        "manufacturer": str(question.manufacturer_id),
        "device": str(question.device_id),
        "variant": str(question.variant_id),
        "vendor": str(question.vendor_id),
        "listing": str(question.listing_id),
        "host": str(question.host_id),
        "territory": question.territory,
    }
    return all(point[dimension] in values for dimension, values in targets.items() if dimension != "fact")


def _matches_point_besides_fact(hold: Hold, question: Question) -> bool:
    return "fact" in hold.targets and _matches_dimensions(hold.targets, question)


def _touches(hold: Hold, question: Question, evidence: Iterable[Evidence]) -> bool:
    if "fact" in hold.targets:
        cited = {str(item.fact_id) for item in evidence}
        return bool(hold.targets["fact"] & cited) and _matches_dimensions(hold.targets, question)
    return hold_matches(hold.targets, question)


def _hold_reason(hold: Hold, question: Question) -> Reason:
    since = f"{hold.valid_from:%Y-%m-%d}"
    if set(hold.targets) == {"vendor"}:
        return _reason("VENDOR_SUSPENDED", f"Your account is suspended since {since}.", hold.code)
    return _reason("ON_HOLD", f"On hold by {hold.placed_by} since {since} ({hold.reason_code}).", hold.code)


# --- time and order ---------------------------------------------------------------------------------------------


def _end(valid_until: datetime, stopped_at: datetime | None) -> datetime:
    return valid_until if stopped_at is None else min(valid_until, stopped_at)


def _latest_in_force[T: (Policy, Hosting)](items: Iterable[T], at: datetime) -> T | None:
    in_force = [item for item in items if item.valid_from <= at < item.valid_until]
    return max(in_force, key=lambda item: (item.valid_from, item.valid_until), default=None)


def _timed(world: World) -> tuple[Policy | Agreement | Approval | Hosting, ...]:
    return (*world.policies, *world.agreements, *world.approvals, *world.hostings)


def _next_change(
    items: Iterable[Policy | Agreement | Approval | Hosting],
    holds: Iterable[Hold],
    at: datetime,
    horizon: datetime,
) -> datetime:
    """The next boundary of anything in sight: a denial may end there. Early is harmless, late would be wrong."""
    boundaries = [b for item in items for b in (item.valid_from, item.valid_until)]
    boundaries += [b for hold in holds for b in (hold.valid_from, _end(hold.valid_until, hold.released_at))]
    return min([b for b in boundaries if b > at] + [horizon])


def _reason(code: str, message: str, document: str = "") -> Reason:
    row = REASON_CODES[code]
    return Reason(code, row.check, message, row.curable, row.cure_by, document)


def _in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Fixed order, each thing once: several links that fail alike are one reason per document."""
    unique = dict.fromkeys(reasons)
    return tuple(sorted(unique, key=lambda reason: (_ORDER[reason.code], reason.document, reason.message)))
