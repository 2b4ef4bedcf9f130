"""From rows to answers: what the evaluator found, put together as docs/the-rules.md says.

Nothing here asks whether a record carries a question: SQL did. Where no chain of agreements carries, the nearest miss
is chosen from what lies upstream of the vendor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authorization import evaluator, radio, rules, software
from authorization.decision_setting import Affiliation, Hosting, Policy, Setting
from authorization.evaluator import ApprovalRow, EquipmentRow, Found, HoldRow, Link, Missed, Upstream
from authorization.evidence_text import Point
from authorization.facts import InvalidFact
from authorization.rules import (
    FAILED,
    NOT_ENFORCED,
    PASSED,
    Edge,
    Evidence,
    Finding,
    Ground,
    Question,
    Reason,
)
from authorization.what_if import WhatIf
from carriers.versions import FOREVER

# For so many vendors all that is upstream is read with what it covers; for more only what lies on some way to them.
_AT_ONCE = 20
_DIMENSIONS = ("model", "territory", "channel", "condition")
# No answer is promised for longer than this, whatever its evidence says.
HORIZON = timedelta(days=365)


class UnknownInput(Exception):
    """A question names a row that does not exist, or rows that do not belong together. `n`: which question."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.n = n


def find(
    questions: Sequence[Question],
    setting: Setting,
    *,
    at: datetime,
    what_if: WhatIf,
    is_input_checked: bool,
    is_explained: bool = True,
) -> list[Finding]:
    """The findings in the order of the questions, in at most two statements. Raises UnknownInput.

    Without `is_explained` a denial for want of a chain says only that none leads there, and costs one statement less.
    """
    if not questions:
        return []
    return _Case(questions, setting, at, what_if, is_explained).findings(is_input_checked)


@dataclass
class _Family:
    """What a manufacturer's affiliations come to at this instant."""

    # Companies that it belongs to, without itself.
    ancestors: frozenset[int]
    # Companies that may grant for its devices, without itself, and with it.
    roots: frozenset[int]
    starts: frozenset[int]
    edges: tuple[Edge, ...]
    until: datetime


class _Case:
    """One set of questions at one instant, with what has been worked out for several of them."""

    def __init__(
        self,
        questions: Sequence[Question],
        setting: Setting,
        at: datetime,
        what_if: WhatIf,
        is_explained: bool,
    ) -> None:
        self.is_explained = is_explained
        self.questions, self.setting, self.at, self.what_if = questions, setting, at, what_if
        self.horizon = at + HORIZON if at < FOREVER - HORIZON else FOREVER
        dimensions = setting.dimensions | what_if.dimensions
        # A hold may suspend an agreement for some questions only: then no two share a point.
        self.names_facts = "fact" in dimensions
        self.names_attributes = any(dimension.startswith("attribute:") for dimension in dimensions)
        self.policies: dict[str, tuple[Policy | None, Ground]] = {}
        self.hosts: dict[int, Ground] = {}
        self.families: dict[int, _Family] = {}
        self.evidence: dict[tuple[str, int, int], Evidence] = {}
        self.agreements: dict[int, Ground] = {}
        # Points that no chain carries.
        self.uncarried: set[int] = set()
        # What is alike for many points: grounds by the chain that carries, and by all that the nearest miss depends on.
        self.carried: dict[tuple[Any, ...], Ground | None] = {}
        self.missing: dict[tuple[Any, ...], Ground] = {}
        self.failing: dict[tuple[Any, ...], tuple[Reason, ...]] = {}
        self.equipped: dict[tuple[int, str], Ground] = {}
        self.stopped_by_nothing: dict[tuple[int, int], tuple[Ground, Ground]] = {}
        self.found = Found()
        self.missed = _Missed(Missed(), at)
        self.radio = radio.Verdicts(self.found.radio_rows, at)

    def findings(self, is_input_checked: bool) -> list[Finding]:
        for question in self.questions:
            if question.territory not in self.policies:
                self.policies[question.territory] = self._policy(question.territory)
            if question.manufacturer_id not in self.families:
                self.families[question.manufacturer_id] = self._family(question.manufacturer_id)
        points, point_of = self._points()
        policy_of = {
            territory: policy for territory, (policy, _) in self.policies.items() if policy is not None
        }
        self.found = evaluator.find_evidence(
            self.questions,
            _software_keys(self.questions),
            points,
            point_of,
            setting=self.setting,
            policy_of=policy_of,
            roots={m: family.roots for m, family in self.families.items()},
            ancestors={m: family.ancestors for m, family in self.families.items()},
            at=self.at,
            what_if=self.what_if,
            is_input_checked=is_input_checked,
        )
        if self.found.unknown:
            raise UnknownInput(min(self.found.unknown))
        self._look_upstream(point_of)
        self.radio = radio.Verdicts(self.found.radio_rows, self.at)
        return [self._finding(n, question, point_of[n]) for n, question in enumerate(self.questions)]

    def _finding(self, n: int, question: Question, p: int) -> Finding:
        policy, policy_ground = self.policies[question.territory]
        if policy is None:
            return rules.conclude([policy_ground], self.horizon)
        vendor_ground, hold_ground = self._holds(n)
        grounds = [
            policy_ground,
            vendor_ground,
            self._host(question.host_id),
            self._agreement(n, question, p, policy),
            self._approval(n, question, policy),
            self._equipment(n, question, policy),
            self._radio(question, policy),
            hold_ground,
        ]
        return rules.conclude(grounds, self.horizon)

    # --- policy, host

    def _policy(self, territory: str) -> tuple[Policy | None, Ground]:
        candidates = [
            policy for policy in self.setting.policies if policy.territory in (territory, rules.ALL)
        ]
        in_force = [policy for policy in candidates if policy.valid_from <= self.at < policy.valid_until]
        if not in_force:
            until = self._next(policy.valid_from for policy in candidates)
            return None, Ground("policy", FAILED, until, reasons=(rules.policy_missing(),))

        def rank(policy: Policy) -> tuple[bool, datetime, int]:
            return policy.territory == territory, policy.valid_from, policy.fact_id

        chosen = max(in_force, key=rank)
        until = self._next(policy.valid_from for policy in candidates if rank(policy) > rank(chosen))
        cited = self._cite("policy", chosen.code, chosen.fact_id, chosen.version_no)
        return chosen, Ground("policy", PASSED, min(chosen.valid_until, until), evidence=(cited,))

    def _host(self, host_id: int) -> Ground:
        if host_id not in self.hosts:
            self.hosts[host_id] = self._hosting([h for h in self.setting.hostings if h.host_id == host_id])
        return self.hosts[host_id]

    def _hosting(self, hostings: Sequence[Hosting]) -> Ground:
        in_force = [hosting for hosting in hostings if hosting.valid_from <= self.at < hosting.valid_until]
        if not in_force:
            until = self._next(hosting.valid_from for hosting in hostings)
            return Ground("host", FAILED, until, reasons=(rules.host_not_served(),))
        chosen = min(in_force, key=lambda hosting: (-hosting.valid_until.timestamp(), hosting.hosting_id))
        cited = self._cite("hosting", chosen.code, chosen.hosting_id, chosen.version_no)
        return Ground("host", PASSED, chosen.valid_until, evidence=(cited,))

    # --- agreements

    def _family(self, manufacturer_id: int) -> _Family:
        known = self.setting.affiliations
        if not known:
            return _Family(frozenset(), frozenset(), frozenset({manufacturer_id}), (), FOREVER)
        in_force = [a for a in known if a.valid_from <= self.at < a.valid_until]
        upwards = _leading_up(manufacturer_id, in_force)
        granting = [a for a in in_force if a.parent_id == manufacturer_id and a.may_grant_for_parent]
        ancestors = {a.parent_id for a in upwards} - {manufacturer_id}
        edges = [Edge(a.child_id, a.parent_id, a.fact_id, a.valid_until, 0, True, a) for a in upwards]
        edges += [Edge(a.parent_id, a.child_id, a.fact_id, a.valid_until, 0, True, a) for a in granting]
        bearing = _leading_up(manufacturer_id, known)
        bearing += [a for a in known if a.parent_id == manufacturer_id and a.may_grant_for_parent]
        roots = frozenset(ancestors | {a.child_id for a in granting} - {manufacturer_id})
        return _Family(
            frozenset(ancestors),
            roots,
            roots | {manufacturer_id},
            tuple(edges),
            self._next(instant for a in bearing for instant in (a.valid_from, a.valid_until)),
        )

    def _points(self) -> tuple[list[Point], list[int]]:
        places: dict[Point | int, int] = {}
        points: list[Point] = []
        point_of: list[int] = []
        for n, question in enumerate(self.questions):
            vendor, manufacturer, _, variant, _, territory, channel, condition, _, _ = question
            point = Point(vendor, manufacturer, variant, territory, channel, condition)
            place = places.setdefault(n if self.names_facts else point, len(points))
            if place == len(points):
                points.append(point)
            point_of.append(place)
        return points, point_of

    def _agreement(self, n: int, question: Question, p: int, policy: Policy) -> Ground:
        ground = self.agreements.get(p)
        if ground is None:
            if not policy.enforces_agreement:
                ground = Ground("agreement", NOT_ENFORCED, self.horizon)
            else:
                ground = None if p in self.uncarried else self._carried(n, question, p)
                if ground is None:
                    ground = self._nearly_carried(n, question, policy)
            self.agreements[p] = ground
        return ground

    def _carried(self, n: int, question: Question, p: int) -> Ground | None:
        links = self.found.links.get(p, ())
        if self.names_facts:
            # A suspension may be for this question only.
            return self._choose_chain(n, question, links)
        # Of one revision a link is known by its fact.
        chain = (question.manufacturer_id, question.vendor_id, *[link.fact_id for link in links])
        if chain not in self.carried:
            self.carried[chain] = self._choose_chain(n, question, links)
        return self.carried[chain]

    def _choose_chain(self, n: int, question: Question, links: Sequence[Link]) -> Ground | None:
        family = self.families[question.manufacturer_id]
        if question.vendor_id == question.manufacturer_id:
            return Ground("agreement", PASSED, family.until)
        is_root = question.vendor_id in family.roots
        if len(links) == 1 and links[0].grantor_id == question.manufacturer_id and not is_root:
            # By far the most frequent chain; choosing among one is no choice.
            chain: Sequence[Link | Affiliation] = links
        elif links or is_root:
            edges = [
                Edge(link.grantor_id, link.grantee_id, link.fact_id, _end(link), 0, False, link)
                for link in links
            ]
            best = rules.best_chain(
                [*family.edges, *edges], start=question.manufacturer_id, goal=question.vendor_id
            )
            if best is None:
                return None
            chain = [edge.subject for edge in best]
        else:
            return None
        until = min([family.until, *[_end(link) for link in chain]])
        cited = []
        for link in chain:
            kind = "agreement" if isinstance(link, Link) else "affiliation"
            cited.append(self._cite(kind, link.code, link.fact_id, link.version_no))
            until = min(until, self._suspended_until(n, link.fact_id))
        return Ground("agreement", PASSED, until, evidence=tuple(cited))

    def _look_upstream(self, point_of: Sequence[int]) -> None:
        """Fetch, once for all, what those questions may have missed that no chain carries."""
        missing: list[Question] = []
        for n, p in enumerate(point_of):
            question = self.questions[n]
            policy, _ = self.policies[question.territory]
            if p in self.agreements or policy is None or not policy.enforces_agreement:
                continue
            if p in self.uncarried:
                missing.append(question)
                continue
            carried = self._carried(n, question, p)
            if carried is not None:
                self.agreements[p] = carried
            else:
                self.uncarried.add(p)
                missing.append(question)
        if not missing or not self.is_explained:
            return
        vendors = sorted({question.vendor_id for question in missing})
        variants = sorted({question.variant_id for question in missing})
        is_at_once = len(vendors) <= _AT_ONCE
        rows = evaluator.find_upstream(
            vendors,
            variants,
            setting=self.setting,
            at=self.at,
            what_if=self.what_if,
            with_scopes=is_at_once,
        )
        self.missed = _Missed(rows, self.at)
        self.found.holds |= rows.holds
        self.found.suspensions |= rows.suspensions
        if not is_at_once:
            pairs = {
                (self.families[question.manufacturer_id].starts, question.vendor_id) for question in missing
            }
            between = {row.version_id for pair in pairs for row in self.missed.between(*pair)}
            evaluator.find_scopes(rows, sorted(between), variants, what_if=self.what_if)

    def _nearly_carried(self, n: int, question: Question, policy: Policy) -> Ground:
        if self.names_facts:
            return self._choose_miss(n, question, policy)
        # Terms that every agreement on the way covers make no difference; what covers nothing depends on all.
        starts = self.families[question.manufacturer_id].starts
        alike = (
            question.manufacturer_id,
            question.vendor_id,
            policy.demands_verified,
            self.missed.terms_not_covered(starts, question),
        )
        if alike not in self.missing:
            self.missing[alike] = self._choose_miss(n, question, policy)
        return self.missing[alike]

    def _choose_miss(self, n: int, question: Question, policy: Policy) -> Ground:
        family = self.families[question.manufacturer_id]
        edges = []
        for row in self.missed.between(family.starts, question.vendor_id):
            agreement = self.missed.agreement(row)
            failures = self._link_failures(n, question, agreement, policy)
            edges.append(
                Edge(
                    agreement.grantor_id, agreement.grantee_id, agreement.fact_id, agreement.end,
                    rules.distance_of(failures), False, failures,
                )
            )  # fmt: skip
        chain = rules.best_chain(
            [*family.edges, *edges], start=question.manufacturer_id, goal=question.vendor_id
        )
        until = min(family.until, self.missed.upstream_of(question.vendor_id).next_boundary or self.horizon)
        for fact_id in self.missed.upstream_of(question.vendor_id).facts & self.found.suspensions.keys():
            until = min(until, self._suspended_until(n, fact_id))
        if chain is None:
            return Ground("agreement", FAILED, until, reasons=(rules.no_agreement(question),))
        reasons = [failure for edge in chain if not edge.is_affiliation for failure in edge.subject]
        if not reasons:
            raise EvaluatorsDisagree(f"SQL found no chain for {question}, yet nothing fails on {chain}.")
        return Ground("agreement", FAILED, until, reasons=rules.in_order(reasons))

    def _link_failures(
        self, n: int, question: Question, agreement: rules.Agreement, policy: Policy
    ) -> tuple[Reason, ...]:
        def failures() -> tuple[Reason, ...]:
            return rules.link_failures(
                agreement,
                question,
                demands_verified=policy.demands_verified,
                is_suspended=self._is_suspended(n, agreement.fact_id),
                at=self.at,
            )

        if self.names_facts:
            return failures()
        # A link far up fails alike for all who stand below it.
        alike = (
            agreement.fact_id,
            agreement.grantee_id == question.vendor_id,
            policy.demands_verified,
            rules.terms_not_covered(agreement, question),
        )
        if alike not in self.failing:
            self.failing[alike] = failures()
        return self.failing[alike]

    # --- approvals, equipment authorizations

    def _approval(self, n: int, question: Question, policy: Policy) -> Ground:
        if not policy.enforces_approval:
            return Ground("approval", NOT_ENFORCED, self.horizon)
        candidates = self.found.approvals.get(n, ())
        if not candidates:
            return Ground("approval", FAILED, self.horizon, reasons=(rules.no_approval(),))
        nearest = candidates[0] if len(candidates) == 1 else min(candidates, key=_nearness)
        if nearest.failures:
            until = self._next(
                instant
                for row in candidates
                for instant in (row.valid_from, row.valid_until, row.waived_until, row.revoked_at)
                if instant is not None
            )
            for row in candidates:
                until = min(until, self._suspended_until(n, row.fact_id))
            return Ground(
                "approval", FAILED, until, reasons=tuple(approval_reasons(nearest, question, self.at))
            )
        end = nearest.valid_until
        if nearest.waived_until is not None or nearest.revoked_at is not None:
            end = _approval_end(nearest)
        until = min(end, self._suspended_until(n, nearest.fact_id))
        cited = self._cite("approval", nearest.code, nearest.fact_id, nearest.version_no)
        return Ground("approval", PASSED, until, evidence=(cited,))

    def _equipment(self, n: int, question: Question, policy: Policy) -> Ground:
        if not policy.enforces_equipment:
            return Ground("equipment", NOT_ENFORCED, self.horizon)
        hits = self.found.hits.get(n, ())
        alike = (question.variant_id, question.territory)
        is_alike = not hits and not self.names_facts
        if is_alike and alike in self.equipped:
            return self.equipped[alike]
        lists: Sequence[HoldRow] = ()
        if hits:
            lists = [
                hold
                for hold in map(self.found.holds.__getitem__, hits)
                # A fact is not a term of a question: a list that names one matches none.
                if hold.reach != "sale" and not hold.names_fact
            ]
        until = self.horizon
        if lists:
            until = min(until, *[self._hold_until(n, hold) for hold in lists])
        candidates = self.found.equipment.get(n, ())
        if not candidates:
            return Ground("equipment", FAILED, until, reasons=(rules.no_equipment(question),))
        nearest: EquipmentRow
        barring: Sequence[HoldRow] = ()
        if len(candidates) == 1 and not lists:
            nearest = candidates[0]
        else:
            begun = [hold for hold in lists if self._stops(n, hold)]
            judged = [
                (row, [h for h in begun if h.reach == "all_grants" or row.granted_at >= h.valid_from])
                for row in candidates
            ]
            nearest, barring = judged[0] if len(judged) == 1 else min(judged, key=_distance_and_end)
        if nearest.failures or barring:
            bounds = [b for row in candidates for b in (row.valid_from, row.valid_until, row.revoked_at) if b]
            until = min(until, self._next(bounds))
            for row in candidates:
                until = min(until, self._suspended_until(n, row.fact_id))
            reasons = [
                *equipment_reasons(nearest, self.at),
                *[rules.hold_reason(_hold(hold)) for hold in barring],
            ]
            return Ground("equipment", FAILED, until, reasons=rules.in_order(reasons))
        until = min(until, _end(nearest), self._suspended_until(n, nearest.fact_id))
        cited = self._cite("equipment", nearest.code, nearest.fact_id, nearest.version_no)
        ground = Ground("equipment", PASSED, until, evidence=(cited,))
        if is_alike:
            self.equipped[alike] = ground
        return ground

    # --- radio

    def _radio(self, question: Question, policy: Policy) -> Ground:
        if not policy.minimum_radio:
            return Ground("radio", NOT_ENFORCED, self.horizon)
        heard = self.radio.of(question.variant_id, question.host_id)
        until = self._next(heard.boundaries)
        if heard.level is None:
            return Ground("radio", FAILED, until, reasons=(rules.radio_unknown(),))
        if not rules.radio_suffices(heard.level, policy.minimum_radio):
            reason = rules.radio_incompatible(heard.level, policy.minimum_radio)
            return Ground("radio", FAILED, until, reasons=(reason,))
        cited = tuple([self._cite(*item) for item in heard.evidence])
        return Ground("radio", PASSED, until, evidence=cited)

    # --- holds

    def _holds(self, n: int) -> tuple[Ground, Ground]:
        """What stops the sale itself: the suspension of the vendor, and any other hold."""
        hits = self.found.hits.get(n, ())
        question = self.questions[n]
        nothing = (question.manufacturer_id, question.variant_id if self.names_attributes else 0)
        if not hits and nothing in self.stopped_by_nothing:
            return self.stopped_by_nothing[nothing]
        until = self.horizon
        of_vendor: list[Reason] = []
        others: list[Reason] = []
        for version_id in hits:
            hold = self.found.holds[version_id]
            if hold.reach != "sale" or hold.names_fact:
                continue
            until = min(until, self._hold_until(n, hold))
            if self._stops(n, hold):
                reason = rules.hold_reason(_hold(hold))
                (of_vendor if reason.check == "vendor" else others).append(reason)
        if self.names_attributes:
            versions = self.found.radio_rows.variants.get(question.variant_id, ())
            until = min(until, self._next(b for row in versions for b in (row.valid_from, row.valid_until)))
        until = min(until, self.families[question.manufacturer_id].until)
        grounds = (
            Ground("vendor", FAILED if of_vendor else PASSED, until, reasons=rules.in_order(of_vendor)),
            Ground("hold", FAILED if others else PASSED, until, reasons=rules.in_order(others)),
        )
        if not hits:
            self.stopped_by_nothing[nothing] = grounds
        return grounds

    def _stops(self, n: int, hold: HoldRow) -> bool:
        if not hold.valid_from <= self.at < hold.end:
            return False
        exemptions = self.found.exemptions.get(n, ())
        return not any(of == hold.version_id and start <= self.at < end for of, start, end in exemptions)

    def _hold_until(self, n: int, hold: HoldRow) -> datetime:
        bounds = [hold.valid_from, hold.end]
        for of, start, end in self.found.exemptions.get(n, ()):
            if of == hold.version_id:
                bounds += [start, end]
        return self._next(bounds)

    def _suspending(self, n: int, fact_id: int) -> list[HoldRow]:
        """The holds that name this fact and match this question besides, begun or not."""
        named = self.found.suspensions.get(fact_id)
        if not named:
            return []
        hits = self.found.hits.get(n, ())
        return [
            hold
            for hold in map(self.found.holds.__getitem__, named)
            if hold.reach == "sale"
            and ((hold.dimensions == 0 and not hold.exemptions) or hold.version_id in hits)
        ]

    def _is_suspended(self, n: int, fact_id: int) -> bool:
        return any(self._stops(n, hold) for hold in self._suspending(n, fact_id))

    def _suspended_until(self, n: int, fact_id: int) -> datetime:
        if not self.names_facts:
            return self.horizon
        return min([self.horizon, *[self._hold_until(n, hold) for hold in self._suspending(n, fact_id)]])

    # --- what all grounds use

    def _next(self, instants: Iterable[datetime]) -> datetime:
        return min([instant for instant in instants if instant > self.at], default=self.horizon)

    def _cite(self, kind: str, code: str, fact_id: int, version_no: int) -> Evidence:
        key = (kind, fact_id, version_no)
        cited = self.evidence.get(key)
        if cited is None:
            cited = self.evidence[key] = Evidence(kind, code, fact_id, version_no)
        return cited


class EvaluatorsDisagree(Exception):
    """The nearest miss of a denied chain does not fail: the statements contradict each other. A bug."""


@dataclass
class _Upstream:
    """All that lies upstream of one organization. `next_boundary`: when the first of it begins, ends or is revoked."""

    facts: frozenset[int]
    next_boundary: datetime | None


class _Missed:
    """The agreements upstream of some vendors, and walks through them."""

    def __init__(self, rows: Missed, at: datetime) -> None:
        self._rows, self._at = rows, at
        self._by_grantee: dict[int, list[Upstream]] = {}
        self._grantees: dict[int, set[int]] = {}
        self._upstream: dict[int, _Upstream] = {}
        self._downstream: dict[frozenset[int], set[int]] = {}
        self._between: dict[tuple[frozenset[int], int], list[Upstream]] = {}
        self._covered: dict[tuple[frozenset[int], int], list[frozenset[str] | None]] = {}
        self._values: dict[int, rules.Agreement] = {}
        for row in rows.agreements:
            self._by_grantee.setdefault(row.grantee_id, []).append(row)
            self._grantees.setdefault(row.grantor_id, set()).add(row.grantee_id)

    def upstream_of(self, vendor_id: int) -> _Upstream:
        if vendor_id not in self._upstream:
            facts: set[int] = set()
            bounds: list[datetime] = []
            seen, waiting = {vendor_id}, [vendor_id]
            while waiting:
                for row in self._by_grantee.get(waiting.pop(), ()):
                    facts.add(row.fact_id)
                    bounds += [row.valid_from, row.valid_until]
                    if row.revoked_at is not None:
                        bounds.append(row.revoked_at)
                    if row.grantor_id not in seen:
                        seen.add(row.grantor_id)
                        waiting.append(row.grantor_id)
            at = self._at
            self._upstream[vendor_id] = _Upstream(
                frozenset(facts), min([instant for instant in bounds if instant > at], default=None)
            )
        return self._upstream[vendor_id]

    def between(self, starts: frozenset[int], vendor_id: int) -> list[Upstream]:
        """The agreements that lie on some way from one of the starts to this vendor."""
        key = (starts, vendor_id)
        if key in self._between:
            return self._between[key]
        below = self._downstream_of(starts)
        found: list[Upstream] = []
        seen, waiting = {vendor_id}, [vendor_id]
        while waiting:
            for row in self._by_grantee.get(waiting.pop(), ()):
                if row.grantor_id in below:
                    found.append(row)
                    if row.grantor_id not in seen:
                        seen.add(row.grantor_id)
                        waiting.append(row.grantor_id)
        self._between[key] = found
        return found

    def terms_not_covered(self, starts: frozenset[int], question: Question) -> tuple[str | None, ...]:
        """The question's terms; None for each that all agreements on the way cover. All of them where there is none."""
        key = (starts, question.vendor_id)
        covered = self._covered.get(key)
        if covered is None:
            scopes = [self.agreement(row).scope for row in self.between(starts, question.vendor_id)]
            covered = self._covered[key] = [_covered_by_all(scopes, dimension) for dimension in _DIMENSIONS]
        models, territories, channels, conditions = covered
        variant, territory = str(question.variant_id), question.territory
        return (
            None if models is None or variant in models else variant,
            None if territories is None or territory in territories else territory,
            None if channels is None or question.channel in channels else question.channel,
            None if conditions is None or question.condition in conditions else question.condition,
        )

    def _downstream_of(self, starts: frozenset[int]) -> set[int]:
        if starts not in self._downstream:
            seen, waiting = set(starts), list(starts)
            while waiting:
                new = self._grantees.get(waiting.pop(), set()) - seen
                seen |= new
                waiting += new
            self._downstream[starts] = seen
        return self._downstream[starts]

    def agreement(self, row: Upstream) -> rules.Agreement:
        if row.version_id not in self._values:
            scope = self._rows.scopes.get(row.version_id, {})
            self._values[row.version_id] = rules.Agreement(
                fact_id=row.fact_id,
                code=row.code,
                version_no=row.version_no,
                grantor_id=row.grantor_id,
                grantee_id=row.grantee_id,
                may_sublicense=row.may_sublicense,
                is_verified=row.is_verified,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                revoked_at=row.revoked_at,
                scope={name: frozenset(values) for name, values in scope.items()},
            )
        return self._values[row.version_id]


def _covered_by_all(scopes: Sequence[Mapping[str, frozenset[str]]], dimension: str) -> frozenset[str] | None:
    """What each of these scopes covers in this dimension; None: everything. Without a scope nothing is covered."""
    covered = [scope.get(dimension, frozenset()) for scope in scopes]
    limited = [values for values in covered if rules.ALL not in values]
    if covered and not limited:
        return None
    return limited[0].intersection(*limited) if limited else frozenset()


def approval_reasons(row: ApprovalRow, question: Question, at: datetime) -> Iterable[Reason]:
    approval = rules.Approval(
        row.fact_id, row.code, row.version_no, row.state, row.limits, row.software_from, row.software_until,
        row.valid_from, row.valid_until, row.waived_until, row.revoked_at,
    )  # fmt: skip
    return [
        rules.approval_reason(name, approval, question, at)
        for bit, name in evaluator.APPROVAL_FAILURES.items()
        if row.failures & bit
    ]


def equipment_reasons(row: EquipmentRow, at: datetime) -> Iterable[Reason]:
    equipment = rules.Equipment(
        row.fact_id, row.code, row.version_no, row.regulator, row.identifier, row.granted_at, row.valid_from,
        row.valid_until, row.revoked_at,
    )  # fmt: skip
    return [
        rules.equipment_reason(name, equipment, at)
        for bit, name in evaluator.EQUIPMENT_FAILURES.items()
        if row.failures & bit
    ]


def _software_keys(questions: Sequence[Question]) -> list[str]:
    keys = {"": ""}
    for n, question in enumerate(questions):
        if question.software not in keys:
            try:
                keys[question.software] = software.sort_key(question.software)
            except InvalidFact as error:
                raise UnknownInput(n) from error
    return [keys[question.software] for question in questions]


def _leading_up(manufacturer_id: int, affiliations: Iterable[Affiliation]) -> list[Affiliation]:
    by_child: dict[int, list[Affiliation]] = {}
    for affiliation in affiliations:
        by_child.setdefault(affiliation.child_id, []).append(affiliation)
    found: list[Affiliation] = []
    seen, waiting = {manufacturer_id}, [manufacturer_id]
    while waiting:
        for affiliation in by_child.get(waiting.pop(), ()):
            found.append(affiliation)
            if affiliation.parent_id not in seen:
                seen.add(affiliation.parent_id)
                waiting.append(affiliation.parent_id)
    return found


def _end(record: Link | EquipmentRow | Affiliation) -> datetime:
    if isinstance(record, Affiliation) or record.revoked_at is None:
        return record.valid_until
    return min(record.valid_until, record.revoked_at)


def _approval_end(row: ApprovalRow) -> datetime:
    return min([end for end in (row.valid_until, row.waived_until, row.revoked_at) if end is not None])


def _distance_and_end(judged: tuple[EquipmentRow, Sequence[HoldRow]]) -> tuple[int, float, int]:
    row, barring = judged
    return row.failures.bit_count() + len(barring), -_end(row).timestamp(), row.fact_id


def _nearness(row: ApprovalRow) -> tuple[int, float, int]:
    return row.failures.bit_count(), -_approval_end(row).timestamp(), row.fact_id


def _hold(row: HoldRow) -> rules.Hold:
    return rules.Hold(
        fact_id=row.fact_id,
        code=row.code,
        reach=row.reach,
        placed_by=row.placed_by,
        reason_code=row.reason_code,
        names_only_vendor=row.names_vendor and row.dimensions == 1,
        valid_from=row.valid_from,
        end=row.end,
    )
