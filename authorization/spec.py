"""The contract of docs/the-rules.md, written to be read: one question, plain loops over everything that is known.

`authorization.decisions` answers by the same contract, set-based in SQL, and shares nothing with this module; the tests
hold the two against each other. Nothing here is meant to be fast, and nothing that runs in the shop may import it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from authorization import software
from authorization.rules import REASON_CODES, Question
from carriers import compatibility
from carriers.versions import FOREVER

ALL = "*"
NOTHING: frozenset[str] = frozenset()
HORIZON = timedelta(days=365)
RADIO_LEVELS = ["NONE", "DATA_ONLY", "PARTIAL_2G", "PARTIAL_3G", "PARTIAL_LTE", "FULL"]


# --- what is known ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Policy:
    fact_id: int
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    territory: str = ALL
    enforces_agreement: bool = True
    demands_verified: bool = True
    enforces_approval: bool = True
    conditional_is_enough: bool = True
    enforces_equipment: bool = False
    minimum_radio: str = ""


@dataclass(frozen=True)
class Agreement:
    fact_id: int
    code: str
    grantor_id: int
    grantee_id: int
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    may_sublicense: bool = False
    is_verified: bool = True
    revoked_at: datetime | None = None
    models: frozenset[str] = NOTHING
    territories: frozenset[str] = NOTHING
    channels: frozenset[str] = NOTHING
    conditions: frozenset[str] = NOTHING


@dataclass(frozen=True)
class Affiliation:
    fact_id: int
    parent_id: int
    child_id: int
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    may_grant_for_parent: bool = False


@dataclass(frozen=True)
class Approval:
    fact_id: int
    code: str
    host_id: int
    variant_id: int
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    state: str = "approved"
    limits: str = ""
    waived_until: datetime | None = None
    revoked_at: datetime | None = None
    software_from: str = ""
    software_until: str = ""


@dataclass(frozen=True)
class Equipment:
    fact_id: int
    code: str
    variant_id: int
    territory: str
    granted_at: datetime
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    revoked_at: datetime | None = None


class Target(NamedTuple):
    """`part` 0: what is stopped; n: what the n-th exemption lets through."""

    part: int
    dimension: str
    value: str


class Exemption(NamedTuple):
    part: int
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True)
class Hold:
    fact_id: int
    code: str
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    reach: str = "sale"
    released_at: datetime | None = None
    targets: frozenset[Target] = frozenset()
    exemptions: frozenset[Exemption] = frozenset()


@dataclass(frozen=True)
class Hosting:
    """A virtual operator on a host."""

    hosting_id: int
    mvno: str
    host_id: int
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1


class RadioBand(NamedTuple):
    rat: str
    band: str
    is_sw_disabled: bool = False


@dataclass(frozen=True)
class Variant:
    """The radio of a variant and its attributes (name, value), as known. `ims`: (host id, status)."""

    variant_id: int
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    bands: frozenset[RadioBand] = frozenset()
    ims: frozenset[tuple[int, str]] = frozenset()
    attributes: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Network:
    network_id: int
    host_id: int
    host_code: str
    valid_from: datetime
    valid_until: datetime = FOREVER
    version_no: int = 1
    admission: str = ""
    bands: tuple[compatibility.NetworkBand, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Everything known at one revision, one version of each record. `operator` is the shop's own."""

    operator: str
    policies: tuple[Policy, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    affiliations: tuple[Affiliation, ...] = ()
    approvals: tuple[Approval, ...] = ()
    equipment: tuple[Equipment, ...] = ()
    holds: tuple[Hold, ...] = ()
    hostings: tuple[Hosting, ...] = ()
    variants: tuple[Variant, ...] = ()
    networks: tuple[Network, ...] = ()


class Judgement(NamedTuple):
    """`reasons`: (code, document), in the contract's order. `evidence`: (kind, id of the head, version)."""

    outcome: str
    reasons: tuple[tuple[str, str], ...]
    evidence: frozenset[tuple[str, int, int]]
    expires_at: datetime


# --- the answer -------------------------------------------------------------------------------------------------


@dataclass
class _Ground:
    """What one check found. It passed if it has no reasons; `instants`: when that may change by itself."""

    reasons: list[tuple[str, str]] = field(default_factory=list)
    evidence: list[tuple[str, int, int]] = field(default_factory=list)
    instants: list[datetime] = field(default_factory=list)


def judge(question: Question, facts: Facts, at: datetime) -> Judgement:
    policy, policy_ground = _policy(question, facts, at)
    grounds = [policy_ground]
    if policy is not None:
        grounds.append(_holds(question, facts, at))
        grounds.append(_host(question, facts, at))
        if policy.enforces_agreement:
            grounds.append(_agreement(question, facts, at, policy))
        if policy.enforces_approval:
            grounds.append(_approval(question, facts, at, policy))
        if policy.enforces_equipment:
            grounds.append(_equipment(question, facts, at))
        if policy.minimum_radio:
            grounds.append(_radio(question, facts, at, policy.minimum_radio))
        grounds.append(_Ground(instants=_affiliation_boundaries(question, facts)))
        grounds.append(_Ground(instants=_attribute_boundaries(question, facts, at)))
    reasons = [reason for ground in grounds for reason in ground.reasons]
    codes = list(REASON_CODES)
    reasons.sort(key=lambda reason: (codes.index(reason[0]), reason[1]))
    evidence = [item for ground in grounds for item in ground.evidence]
    coming = [instant for ground in grounds for instant in ground.instants if instant > at]
    expires_at = min([*coming, at + HORIZON])
    if policy is None:
        return Judgement("undetermined", tuple(reasons), frozenset(), expires_at)
    if reasons:
        return Judgement("deny", tuple(reasons), frozenset(), expires_at)
    return Judgement("allow", (), frozenset(evidence), expires_at)


def _in_force(record: Any, at: datetime) -> bool:
    return bool(record.valid_from <= at < record.valid_until)


# --- policy -----------------------------------------------------------------------------------------------------


def _policy(question: Question, facts: Facts, at: datetime) -> tuple[Policy | None, _Ground]:
    def standing(policy: Policy) -> tuple[bool, datetime, int]:
        return policy.territory != ALL, policy.valid_from, policy.fact_id

    candidates = [policy for policy in facts.policies if policy.territory in (question.territory, ALL)]
    in_force = [policy for policy in candidates if _in_force(policy, at)]
    if not in_force:
        return None, _Ground([("POLICY_MISSING", "")], [], [policy.valid_from for policy in candidates])
    chosen = max(in_force, key=standing)
    ground = _Ground(evidence=[("policy", chosen.fact_id, chosen.version_no)])
    ground.instants.append(chosen.valid_until)
    ground.instants += [policy.valid_from for policy in candidates if standing(policy) > standing(chosen)]
    return chosen, ground


# --- holds ------------------------------------------------------------------------------------------------------


def _holds(question: Question, facts: Facts, at: datetime) -> _Ground:
    ground = _Ground()
    for hold in facts.holds:
        dimensions = {target.dimension for target in hold.targets if target.part == 0}
        if hold.reach != "sale" or "fact" in dimensions:
            continue
        if _stops(hold, question, facts, at):
            code = "VENDOR_SUSPENDED" if dimensions == {"vendor"} else "ON_HOLD"
            ground.reasons.append((code, hold.code))
        ground.instants += _hold_boundaries(hold, question, facts, at)
    return ground


def _stops(hold: Hold, question: Question, facts: Facts, at: datetime, fact_id: int | None = None) -> bool:
    """Is it in force, and does it match the question (and this agreement, approval or equipment authorization)?

    What an exemption lets through are goods: one that names a record matches nothing.
    """
    if not hold.valid_from <= at < _end_of_hold(hold):
        return False
    if not _matches(hold, 0, question, facts, at, fact_id):
        return False
    return not any(
        _in_force(exemption, at) and _matches(hold, exemption.part, question, facts, at, None)
        for exemption in hold.exemptions
    )


def _end_of_hold(hold: Hold) -> datetime:
    return hold.valid_until if hold.released_at is None else min(hold.valid_until, hold.released_at)


def _matches(
    hold: Hold, part: int, question: Question, facts: Facts, at: datetime, fact_id: int | None
) -> bool:
    targets = [target for target in hold.targets if target.part == part]
    dimensions = {target.dimension for target in targets}
    for dimension in dimensions:
        named = {target.value for target in targets if target.dimension == dimension}
        if not named & _values(dimension, question, facts, at, fact_id):
            return False
    return bool(dimensions)


def _values(dimension: str, question: Question, facts: Facts, at: datetime, fact_id: int | None) -> set[str]:
    """What the question is, in this dimension of a hold."""
    if dimension == "manufacturer":
        return {str(company) for company in _ancestors(question, facts, at)}
    if dimension == "device":
        return {str(question.device_id)}
    if dimension == "variant":
        return {str(question.variant_id)}
    if dimension == "vendor":
        return {str(question.vendor_id)}
    if dimension == "listing":
        return set() if question.listing_id is None else {str(question.listing_id)}
    if dimension == "host":
        return {str(question.host_id)}
    if dimension == "territory":
        return {question.territory}
    if dimension == "channel":
        return {question.channel}
    if dimension == "condition":
        return {question.condition}
    if dimension == "fact":
        return set() if fact_id is None else {str(fact_id)}
    variant = _variant(question, facts, at)
    if variant is None:
        return set()
    return {value for name, value in variant.attributes if dimension == f"attribute:{name}"}


def _hold_boundaries(
    hold: Hold, question: Question, facts: Facts, at: datetime, fact_id: int | None = None
) -> list[datetime]:
    """When a hold that matches may begin or cease to stop the question; one that has ended never will."""
    end = _end_of_hold(hold)
    if end <= at or not _matches(hold, 0, question, facts, at, fact_id):
        return []
    instants = [hold.valid_from, end]
    for exemption in hold.exemptions:
        if _matches(hold, exemption.part, question, facts, at, None):
            instants += [exemption.valid_from, exemption.valid_until]
    return instants


def _suspending(facts: Facts) -> Iterator[Hold]:
    for hold in facts.holds:
        if hold.reach == "sale" and any(
            target.part == 0 and target.dimension == "fact" for target in hold.targets
        ):
            yield hold


def _is_suspended(fact_id: int, question: Question, facts: Facts, at: datetime) -> bool:
    return any(_stops(hold, question, facts, at, fact_id) for hold in _suspending(facts))


def _suspension_boundaries(
    fact_ids: Iterable[int], question: Question, facts: Facts, at: datetime
) -> list[datetime]:
    return [
        instant
        for fact_id in fact_ids
        for hold in _suspending(facts)
        for instant in _hold_boundaries(hold, question, facts, at, fact_id)
    ]


def _attribute_boundaries(question: Question, facts: Facts, at: datetime) -> list[datetime]:
    if not any(
        target.dimension.startswith("attribute:")
        for hold in facts.holds
        if _end_of_hold(hold) > at
        for target in hold.targets
    ):
        return []
    return [
        instant
        for variant in facts.variants
        if variant.variant_id == question.variant_id
        for instant in (variant.valid_from, variant.valid_until)
    ]


# --- host -------------------------------------------------------------------------------------------------------


def _host(question: Question, facts: Facts, at: datetime) -> _Ground:
    own = [
        hosting
        for hosting in facts.hostings
        if hosting.mvno == facts.operator and hosting.host_id == question.host_id
    ]
    in_force = [hosting for hosting in own if _in_force(hosting, at)]
    if not in_force:
        return _Ground([("HOST_NOT_SERVED", "")], [], [hosting.valid_from for hosting in own])
    lasting = max(hosting.valid_until for hosting in in_force)
    cited = min(
        [hosting for hosting in in_force if hosting.valid_until == lasting],
        key=lambda hosting: hosting.hosting_id,
    )
    return _Ground([], [("hosting", cited.hosting_id, cited.version_no)], [lasting])


# --- agreement --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chain:
    """From the manufacturer outwards: the affiliations that lead to the root, then agreements to the vendor."""

    affiliations: tuple[Affiliation, ...] = ()
    links: tuple[Agreement, ...] = ()


def _agreement(question: Question, facts: Facts, at: datetime, policy: Policy) -> _Ground:
    failures_of = {
        link.fact_id: _link_failures(link, question, facts, at, policy) for link in facts.agreements
    }

    def distance(chain: _Chain) -> int:
        failures = [code for link in chain.links for code in failures_of[link.fact_id]]
        return sum(1001 if code.startswith("AGREEMENT_SCOPE_") else 1000 for code in failures)

    def end(chain: _Chain) -> datetime:
        ends = [affiliation.valid_until for affiliation in chain.affiliations]
        ends += [_end_of_agreement(link) for link in chain.links]
        return min(ends, default=FOREVER)

    def fact_ids(chain: _Chain) -> list[int]:
        ids = [affiliation.fact_id for affiliation in chain.affiliations]
        return ids + [link.fact_id for link in chain.links]

    chains = list(_chains(question, facts, at))
    upstream = _upstream(question, facts)
    if not chains:
        nearest = None
    else:
        least = min(distance(chain) for chain in chains)
        chains = [chain for chain in chains if distance(chain) == least]
        latest = max(end(chain) for chain in chains)
        chains = [chain for chain in chains if end(chain) == latest]
        nearest = min(chains, key=lambda chain: (len(fact_ids(chain)), fact_ids(chain)))
        if least == 0:
            ground = _Ground(instants=[end(nearest)])
            for affiliation in nearest.affiliations:
                ground.evidence.append(("affiliation", affiliation.fact_id, affiliation.version_no))
            for link in nearest.links:
                ground.evidence.append(("agreement", link.fact_id, link.version_no))
            cited = [link.fact_id for link in nearest.links]
            ground.instants += _suspension_boundaries(cited, question, facts, at)
            return ground
    ground = _Ground()
    if nearest is None:
        ground.reasons.append(("NO_AGREEMENT", ""))
    else:
        for link in nearest.links:
            ground.reasons += [(code, link.code) for code in failures_of[link.fact_id]]
    for link in upstream:
        ground.instants += [link.valid_from, link.valid_until]
        if link.revoked_at is not None:
            ground.instants.append(link.revoked_at)
    candidates = [link.fact_id for link in upstream]
    ground.instants += _suspension_boundaries(candidates, question, facts, at)
    return ground


def _end_of_agreement(link: Agreement) -> datetime:
    return link.valid_until if link.revoked_at is None else min(link.valid_until, link.revoked_at)


def _link_failures(
    link: Agreement, question: Question, facts: Facts, at: datetime, policy: Policy
) -> list[str]:
    failures = []
    if link.revoked_at is not None and link.revoked_at <= at:
        failures.append("AGREEMENT_REVOKED")
    elif link.valid_until <= at:
        failures.append("AGREEMENT_EXPIRED")
    if at < link.valid_from:
        failures.append("AGREEMENT_NOT_YET_VALID")
    if _is_suspended(link.fact_id, question, facts, at):
        failures.append("AGREEMENT_SUSPENDED")
    if policy.demands_verified and not link.is_verified:
        failures.append("AGREEMENT_NOT_VERIFIED")
    if not link.models & {ALL, str(question.variant_id)}:
        failures.append("AGREEMENT_SCOPE_MODEL")
    if not link.territories & {ALL, question.territory}:
        failures.append("AGREEMENT_SCOPE_TERRITORY")
    if not link.channels & {ALL, question.channel}:
        failures.append("AGREEMENT_SCOPE_CHANNEL")
    if not link.conditions & {ALL, question.condition}:
        failures.append("AGREEMENT_SCOPE_CONDITION")
    if link.grantee_id != question.vendor_id and not link.may_sublicense:
        failures.append("SUBLICENSE_MISSING")
    return failures


def _chains(question: Question, facts: Facts, at: datetime) -> Iterator[_Chain]:
    """Every chain to the vendor, whether its links fail or not. No company grants twice in one."""
    for root, affiliations in _roots(question, facts, at):
        if root == question.vendor_id:
            yield _Chain(affiliations)
        for links in _ways(root, question.vendor_id, facts.agreements):
            yield _Chain(affiliations, links)


def _ways(
    grantor: int, vendor: int, agreements: Iterable[Agreement], been: frozenset[int] = frozenset()
) -> Iterator[tuple[Agreement, ...]]:
    for link in agreements:
        if link.grantor_id != grantor or link.grantee_id in been | {grantor}:
            continue
        if link.grantee_id == vendor:
            yield (link,)
        else:
            for rest in _ways(link.grantee_id, vendor, agreements, been | {grantor}):
                yield (link, *rest)


def _roots(question: Question, facts: Facts, at: datetime) -> Iterator[tuple[int, tuple[Affiliation, ...]]]:
    """Who may grant for the devices of the manufacturer, with every way of affiliations that leads there."""
    yield from _upwards(question.manufacturer_id, (), facts, at)
    for affiliation in facts.affiliations:
        is_below = affiliation.parent_id == question.manufacturer_id
        if is_below and affiliation.may_grant_for_parent and _in_force(affiliation, at):
            yield affiliation.child_id, (affiliation,)


def _upwards(
    company: int, way: tuple[Affiliation, ...], facts: Facts, at: datetime
) -> Iterator[tuple[int, tuple[Affiliation, ...]]]:
    yield company, way
    been = {affiliation.child_id for affiliation in way} | {company}
    for affiliation in facts.affiliations:
        if (
            affiliation.child_id == company
            and affiliation.parent_id not in been
            and _in_force(affiliation, at)
        ):
            yield from _upwards(affiliation.parent_id, (*way, affiliation), facts, at)


def _ancestors(question: Question, facts: Facts, at: datetime) -> set[int]:
    return {company for company, _ in _upwards(question.manufacturer_id, (), facts, at)}


def _upstream(question: Question, facts: Facts) -> list[Agreement]:
    """All agreements from which some way leads to the vendor, whatever their dates and terms."""
    grantees = {question.vendor_id}
    while True:
        found = [link for link in facts.agreements if link.grantee_id in grantees]
        more = grantees | {link.grantor_id for link in found}
        if more == grantees:
            return found
        grantees = more


def _affiliation_boundaries(question: Question, facts: Facts) -> list[datetime]:
    """Of all that lead up from the manufacturer, whatever their dates, and of who may grant for it."""
    children = {question.manufacturer_id}
    while True:
        leading = [affiliation for affiliation in facts.affiliations if affiliation.child_id in children]
        more = children | {affiliation.parent_id for affiliation in leading}
        if more == children:
            break
        children = more
    leading += [
        affiliation
        for affiliation in facts.affiliations
        if affiliation.parent_id == question.manufacturer_id and affiliation.may_grant_for_parent
    ]
    return [
        instant for affiliation in leading for instant in (affiliation.valid_from, affiliation.valid_until)
    ]


# --- approval ---------------------------------------------------------------------------------------------------


def _approval(question: Question, facts: Facts, at: datetime, policy: Policy) -> _Ground:
    candidates = [
        approval
        for approval in facts.approvals
        if approval.variant_id == question.variant_id and approval.host_id == question.host_id
    ]
    failures_of = {
        approval.fact_id: _approval_failures(approval, question, facts, at, policy) for approval in candidates
    }

    def end(approval: Approval) -> datetime:
        ends = [approval.valid_until, approval.waived_until, approval.revoked_at]
        return min(instant for instant in ends if instant is not None)

    if not candidates:
        return _Ground([("CARRIER_NOT_APPROVED", "")])
    fewest = min(len(failures) for failures in failures_of.values())
    nearest = [approval for approval in candidates if len(failures_of[approval.fact_id]) == fewest]
    latest = max(end(approval) for approval in nearest)
    chosen = min(
        [approval for approval in nearest if end(approval) == latest], key=lambda approval: approval.fact_id
    )
    if fewest == 0:
        ground = _Ground(evidence=[("approval", chosen.fact_id, chosen.version_no)], instants=[latest])
        ground.instants += _suspension_boundaries([chosen.fact_id], question, facts, at)
        return ground
    ground = _Ground([(code, chosen.code) for code in failures_of[chosen.fact_id]])
    for approval in candidates:
        boundaries = [approval.valid_from, approval.valid_until, approval.waived_until, approval.revoked_at]
        ground.instants += [instant for instant in boundaries if instant is not None]
    ground.instants += _suspension_boundaries(failures_of, question, facts, at)
    return ground


def _approval_failures(
    approval: Approval, question: Question, facts: Facts, at: datetime, policy: Policy
) -> list[str]:
    failures = []
    if approval.revoked_at is not None and approval.revoked_at <= at:
        failures.append("CARRIER_APPROVAL_REVOKED")
    else:
        if approval.state in ("requested", "in_test", "rejected"):
            failures.append("CARRIER_NOT_APPROVED")
        has_waiver_ended = approval.waived_until is not None and approval.waived_until <= at
        if approval.valid_until <= at or has_waiver_ended:
            failures.append("CARRIER_APPROVAL_EXPIRED")
    if at < approval.valid_from:
        failures.append("CARRIER_NOT_APPROVED")
    if _is_suspended(approval.fact_id, question, facts, at):
        failures.append("CARRIER_APPROVAL_SUSPENDED")
    if not _covers_software(approval, question.software):
        failures.append("CARRIER_APPROVAL_SOFTWARE")
    # To announce that it will be revoked takes nothing back of its limits.
    has_limits = approval.state == "revoked" and bool(approval.limits or approval.waived_until)
    if (approval.state == "conditional" or has_limits) and not policy.conditional_is_enough:
        failures.append("CARRIER_APPROVAL_CONDITIONAL")
    return failures


def _covers_software(approval: Approval, version: str) -> bool:
    if not approval.software_from and not approval.software_until:
        return True
    key = software.sort_key(version)
    if not key:
        return False
    if approval.software_from and key < software.sort_key(approval.software_from):
        return False
    return not approval.software_until or key < software.sort_key(approval.software_until)


# --- equipment --------------------------------------------------------------------------------------------------


def _equipment(question: Question, facts: Facts, at: datetime) -> _Ground:
    grants = [
        grant
        for grant in facts.equipment
        if grant.variant_id == question.variant_id and grant.territory == question.territory
    ]
    lists = [hold for hold in facts.holds if hold.reach != "sale"]
    failures_of = {grant.fact_id: _equipment_failures(grant, lists, question, facts, at) for grant in grants}

    def end(grant: Equipment) -> datetime:
        return grant.valid_until if grant.revoked_at is None else min(grant.valid_until, grant.revoked_at)

    ground = _Ground()
    for listing in lists:
        ground.instants += _hold_boundaries(listing, question, facts, at)
    if not grants:
        ground.reasons.append(("EQUIPMENT_NOT_AUTHORIZED", ""))
        return ground
    fewest = min(len(failures) for failures in failures_of.values())
    nearest = [grant for grant in grants if len(failures_of[grant.fact_id]) == fewest]
    latest = max(end(grant) for grant in nearest)
    chosen = min([grant for grant in nearest if end(grant) == latest], key=lambda grant: grant.fact_id)
    if fewest == 0:
        ground.evidence.append(("equipment", chosen.fact_id, chosen.version_no))
        ground.instants.append(latest)
        ground.instants += _suspension_boundaries([chosen.fact_id], question, facts, at)
        return ground
    ground.reasons += failures_of[chosen.fact_id]
    for grant in grants:
        ground.instants += [grant.valid_from, grant.valid_until]
        if grant.revoked_at is not None:
            ground.instants.append(grant.revoked_at)
    ground.instants += _suspension_boundaries(failures_of, question, facts, at)
    return ground


def _equipment_failures(
    grant: Equipment, lists: Iterable[Hold], question: Question, facts: Facts, at: datetime
) -> list[tuple[str, str]]:
    failures = []
    if grant.revoked_at is not None and grant.revoked_at <= at:
        failures.append(("EQUIPMENT_AUTHORIZATION_REVOKED", grant.code))
    elif grant.valid_until <= at:
        failures.append(("EQUIPMENT_AUTHORIZATION_EXPIRED", grant.code))
    if at < grant.valid_from:
        failures.append(("EQUIPMENT_NOT_AUTHORIZED", grant.code))
    if _is_suspended(grant.fact_id, question, facts, at):
        failures.append(("EQUIPMENT_AUTHORIZATION_SUSPENDED", grant.code))
    for listing in lists:
        reaches = listing.reach == "all_grants" or grant.granted_at >= listing.valid_from
        if reaches and _stops(listing, question, facts, at):
            failures.append(("EQUIPMENT_LISTED", listing.code))
    return failures


# --- radio ------------------------------------------------------------------------------------------------------


def _variant(question: Question, facts: Facts, at: datetime) -> Variant | None:
    in_force = [
        variant
        for variant in facts.variants
        if variant.variant_id == question.variant_id and _in_force(variant, at)
    ]
    return max(in_force, key=lambda variant: variant.valid_from, default=None)


def _radio(question: Question, facts: Facts, at: datetime, minimum: str) -> _Ground:
    ground = _Ground()
    for record in facts.variants:
        if record.variant_id == question.variant_id:
            ground.instants += [record.valid_from, record.valid_until]
    networks = [network for network in facts.networks if network.host_id == question.host_id]
    for known_network in networks:
        ground.instants += [known_network.valid_from, known_network.valid_until]
    variant = _variant(question, facts, at)
    network = max(
        [network for network in networks if _in_force(network, at) and network.admission],
        key=lambda network: (network.valid_from, network.network_id),
        default=None,
    )
    if network is not None:
        for band in network.bands:
            if band.in_service_until is not None:
                ground.instants.append(datetime.combine(band.in_service_until, time(), UTC))
    if variant is None or network is None:
        ground.reasons.append(("RADIO_UNKNOWN", ""))
        return ground
    level = _level(variant, network, question, at)
    if level == "UNKNOWN":
        ground.reasons.append(("RADIO_UNKNOWN", ""))
    elif RADIO_LEVELS.index(level) < RADIO_LEVELS.index(minimum):
        ground.reasons.append(("RADIO_INCOMPATIBLE", ""))
    else:
        ground.evidence.append(("variant", variant.variant_id, variant.version_no))
        ground.evidence.append(("network", network.network_id, network.version_no))
    return ground


def _level(variant: Variant, network: Network, question: Question, at: datetime) -> str:
    status = next((status for host_id, status in variant.ims if host_id == question.host_id), "unknown")
    bands = [
        compatibility.DeviceBand(compatibility.Rat(band.rat), band.band, sw_disabled=band.is_sw_disabled)
        for band in variant.bands
    ]
    radio = compatibility.DeviceRadio.from_bands(bands, ims=compatibility.Ims(status), listed=status == "yes")
    rules = compatibility.NetworkRules(
        network=network.host_code, admission=compatibility.Admission(network.admission)
    )
    verdict = compatibility.assess(radio, network.bands, rules, on=at.astimezone(UTC).date())
    return str(verdict.sub or verdict.level)


# --- reading ----------------------------------------------------------------------------------------------------


def known(revision: int) -> Facts:
    """Everything known at this revision: each table read whole, and sorted out here."""
    # Only here: values made by hand are judged without a database.
    from django.conf import settings

    from authorization import models as authority
    from carriers import models as carrier_models
    from catalog import models as catalog_models

    def versions(model: type[Any]) -> list[Any]:
        return [
            row
            for row in model.objects.all()
            if row.rev_from <= revision and (row.rev_to is None or revision < row.rev_to)
        ]

    def rows_of(model: type[Any], version: Any) -> list[Any]:
        if model not in children:
            children[model] = list(model.objects.all())
        return [row for row in children[model] if row.version_id == version.id]

    def scope_of(version: Any, dimension: str) -> frozenset[str]:
        terms = rows_of(authority.ScopeTerm, version)
        return frozenset(term.value for term in terms if term.dimension == dimension)

    children: dict[type[Any], list[Any]] = {}
    codes = {fact.id: fact.code for fact in authority.Fact.objects.all()}
    hostings = {hosting.id: hosting for hosting in carrier_models.Hosting.objects.all()}
    networks = {network.id: network for network in carrier_models.Network.objects.all()}
    host_codes = {host.id: host.code for host in carrier_models.HostCarrier.objects.all()}
    return Facts(
        operator=settings.SHOP_MVNO,
        policies=tuple(
            Policy(
                fact_id=row.head_id,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                territory=row.territory,
                enforces_agreement=row.is_agreement_enforced,
                demands_verified=row.minimum_assurance == "verified",
                enforces_approval=row.is_carrier_approval_enforced,
                conditional_is_enough=row.is_conditional_approval_enough,
                enforces_equipment=row.is_equipment_authorization_enforced,
                minimum_radio=row.minimum_radio,
            )
            for row in versions(authority.PolicyVersion)
        ),
        agreements=tuple(
            Agreement(
                fact_id=row.head_id,
                code=codes[row.head_id],
                grantor_id=row.grantor_id,
                grantee_id=row.grantee_id,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                may_sublicense=row.may_sublicense,
                is_verified=row.assurance == "verified",
                revoked_at=row.revoked_at,
                models=scope_of(row, "model"),
                territories=scope_of(row, "territory"),
                channels=scope_of(row, "channel"),
                conditions=scope_of(row, "condition"),
            )
            for row in versions(authority.AgreementVersion)
        ),
        affiliations=tuple(
            Affiliation(
                fact_id=row.head_id,
                parent_id=row.parent_id,
                child_id=row.child_id,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                may_grant_for_parent=row.may_grant_for_parent,
            )
            for row in versions(authority.AffiliationVersion)
        ),
        approvals=tuple(
            Approval(
                fact_id=row.head_id,
                code=codes[row.head_id],
                host_id=row.host_id,
                variant_id=row.variant_id,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                state=row.state,
                limits=row.limits,
                waived_until=row.waived_until,
                revoked_at=row.revoked_at,
                software_from=row.software_from,
                software_until=row.software_until,
            )
            for row in versions(authority.ApprovalVersion)
        ),
        equipment=tuple(
            Equipment(
                fact_id=row.head_id,
                code=codes[row.head_id],
                variant_id=row.variant_id,
                territory=row.territory,
                granted_at=row.granted_at,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                revoked_at=row.revoked_at,
            )
            for row in versions(authority.EquipmentVersion)
        ),
        holds=tuple(
            Hold(
                fact_id=row.head_id,
                code=codes[row.head_id],
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                reach=row.reach,
                released_at=row.released_at,
                targets=frozenset(
                    Target(target.part, target.dimension, target.value)
                    for target in rows_of(authority.HoldTarget, row)
                ),
                exemptions=frozenset(
                    Exemption(exemption.part, exemption.valid_from, exemption.valid_until)
                    for exemption in rows_of(authority.HoldExemption, row)
                ),
            )
            for row in versions(authority.HoldVersion)
        ),
        hostings=tuple(
            Hosting(
                hosting_id=row.head_id,
                mvno=hostings[row.head_id].mvno,
                host_id=hostings[row.head_id].host_id,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
            )
            for row in versions(carrier_models.HostingVersion)
        ),
        variants=tuple(
            Variant(
                variant_id=row.head_id,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                bands=frozenset(
                    RadioBand(band.rat, band.band, band.is_sw_disabled)
                    for band in rows_of(catalog_models.VariantBand, row)
                ),
                ims=frozenset((ims.host_id, ims.status) for ims in rows_of(catalog_models.VariantIms, row)),
                attributes=frozenset(
                    (attribute.name, attribute.value)
                    for attribute in rows_of(catalog_models.VariantAttribute, row)
                ),
            )
            for row in versions(catalog_models.VariantVersion)
        ),
        networks=tuple(
            Network(
                network_id=row.head_id,
                host_id=networks[row.head_id].host_id,
                host_code=host_codes[networks[row.head_id].host_id],
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                version_no=row.version_no,
                admission=row.admission,
                bands=tuple(
                    compatibility.NetworkBand(
                        rat=compatibility.Rat(band.rat),
                        band=band.band,
                        group=compatibility.Group(band.group),
                        voice=compatibility.Service(band.voice),
                        in_service_until=band.in_service_until,
                    )
                    for band in sorted(
                        rows_of(carrier_models.NetworkBand, row), key=lambda band: band.position
                    )
                ),
            )
            for row in versions(carrier_models.NetworkVersion)
        ),
    )
