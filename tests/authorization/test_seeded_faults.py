"""The comparison of the evaluators finds what it is there to find: each of these faults, sown into one, is seen.

A fault is a replacement in the text of one function. One fixed corpus of worlds serves all; a fault is out at the first
question that is answered differently. A text that is no longer there fails, so that the list cannot rot.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import pairwise
from random import Random
from types import FunctionType
from typing import Any

import pytest
from django.db import transaction

from authorization import decisions, evidence_text, findings, rules, spec, what_if
from authorization.rules import Question
from tests.authorization import worlds
from tests.authorization.test_answers_hold import (
    AGREEMENT,
    APPROVAL,
    AT,
    EQUIPMENT,
    GOOD,
    HOLD,
    POLICY,
    VARIANT,
)
from tests.authorization.test_evaluators_agree import QUESTIONS, said
from tests.authorization.worlds import INSTANTS, REVISIONS, T0, VENDORS, Row, World


@dataclass(frozen=True)
class Fault:
    name: str
    owner: Any
    function: str
    changes: tuple[tuple[str, str], ...]

    def sown(self) -> Any:
        """The function with the fault in it."""
        original = getattr(self.owner, self.function)
        assert isinstance(original, FunctionType)
        text = inspect.getsource(original)
        if text[0].isspace():
            # A method. (Taking its indentation away would change the text of its strings.)
            text = "if True:\n" + text
        for old, new in self.changes:
            assert text.count(old) == 1, (
                f"{self.function} no longer holds, once, the text {old!r}: adapt the fault."
            )
            text = text.replace(old, new)
        made: dict[str, Any] = {}
        exec(text, original.__globals__, made)  # noqa: S102  our own text
        return made[self.function]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        original = getattr(self.owner, self.function)
        setattr(self.owner, self.function, self.sown())
        try:
            yield
        finally:
            setattr(self.owner, self.function, original)


def fault(name: str, owner: Any, function: str, *changes: tuple[str, str]) -> Fault:
    return Fault(name, owner, function, changes)


EVIDENCE, CHANGES, CASE = evidence_text.EvidenceText, what_if.Changes, findings._Case
FAULTS = [
    fault("inclusive end", EVIDENCE, "_stands", ("""{self.change.end('a')} > {""", """{self.change.end('a')} >= {""")),
    fault("exclusive start", EVIDENCE, "_stands", ("a.valid_from <= ", "a.valid_from < ")),
    fault("dates of one agreement with the scope of another", CHANGES, "covers", (
        "s.version_id = {row}.id",
        "s.version_id IN (SELECT b.id FROM authorization_agreementversion b WHERE b.grantee_id = {row}.grantee_id)")),
    fault("an empty list means all", CHANGES, "covers",
        ('f"(SELECT 1', 'f"(NOT EXISTS (SELECT 1 FROM authorization_scopeterm z WHERE z.version_id = {row}.id'
         " AND z.dimension = '{dimension}') OR (SELECT 1"),
        ("LIMIT 1) IS NOT NULL", "LIMIT 1) IS NOT NULL)")),
    fault("* taken literally", CHANGES, "covers", ("""('{ALL}', {compared})""", "({compared})")),
    fault("a list cut at 50", CHANGES, "covers", (
        "FROM authorization_scopeterm s WHERE",
        "FROM (SELECT * FROM authorization_scopeterm z WHERE z.version_id = {row}.id ORDER BY z.id LIMIT 50) s WHERE")),
    fault("questions cut at 50", findings, "find", ("_Case(questions,", "_Case([*questions[:50], *questions[:-50]],")),
    fault("leave to sublicense ignored", CHANGES, "sublicense", (
        'return f"{row}.may_sublicense"', 'return "1 = 1"')),
    fault("chains cut at two links", EVIDENCE, "_links", (
        "WHERE link.grantor_id <> link.manufacturer", "WHERE link.grantee_id = link.vendor")),
    fault("suspended agreement taken as active", EVIDENCE, "_carries", ('if "fact" in self.dimensions', "if False")),
    fault("suspended approval taken as active", EVIDENCE, "_approvals", (
        '(16, self._is_suspended("a.head_id", "q.n") if "fact" in self.dimensions else "")', '(16, "")')),
    fault("suspended equipment taken as active", EVIDENCE, "_equipment", (
        '(16, self._is_suspended("e.head_id", "q.n") if "fact" in self.dimensions else "")', '(16, "")')),
    fault("suspensions for some questions taken for all", CASE, "_suspending", (
        "((hold.dimensions == 0 and not hold.exemptions) or hold.version_id in hits)", "True")),
    fault("revocation of an agreement ignored", EVIDENCE, "_stands", (
        """({self.change.revoked_at('a')} IS NULL OR {self.change.revoked_at('a')} > {self.at})""", "1 = 1")),
    fault("revocation of equipment ignored", EVIDENCE, "_equipment", (
        'is_revoked = f"{revoked_at} IS NOT NULL AND', 'is_revoked = f"1 = 0 AND')),
    fault("known_at ignored", evidence_text, "known", (
        "{row}.rev_from <= {revision} AND ({row}.rev_to IS NULL OR {row}.rev_to > {revision})",
        "{row}.rev_to IS NULL AND {revision} >= 0")),
    fault("rev_to inclusive", evidence_text, "known", ("rev_to > {", "rev_to >= {")),
    fault("rev_from exclusive", evidence_text, "known", ("rev_from <= {", "rev_from < {")),
    fault("approval of another host", EVIDENCE, "_approvals", ("AND a.host_id = q.host", "")),
    fault("approval of another variant", EVIDENCE, "_approvals", ("a.variant_id = q.variant AND", "")),
    fault("waiver ignored", EVIDENCE, "_approvals", (
        " OR (a.waived_until IS NOT NULL AND a.waived_until <= {at})", "")),
    fault("conditional taken for enough", CASE, "_policy", (
        "chosen = max(in_force, key=rank)", "chosen = max(in_force, key=rank)._replace(takes_conditional=True)")),
    fault("limits gone with the announcement of a revocation", EVIDENCE, "_approvals", (
        "OR (a.state = 'revoked' AND (a.limits <> '' OR a.waived_until IS NOT NULL))", "")),
    fault("software range inclusive", EVIDENCE, "_approvals", (
        "q.software < a.software_until_key", "q.software <= a.software_until_key")),
    fault("software not stated taken as covered", EVIDENCE, "_approvals", (
        "(q.software <> '' AND", "(q.software = '' OR")),
    fault("equipment of another territory", EVIDENCE, "_equipment", ("AND e.territory = q.territory", "")),
    fault("prospective list taken as retroactive", CASE, "_equipment", (
        'h.reach == "all_grants" or row.granted_at >= h.valid_from', "True")),
    fault("list taken from after its start only", CASE, "_equipment", (
        "row.granted_at >= h.valid_from", "row.granted_at > h.valid_from")),
    fault("exemption ignored", CASE, "_stops", ("return not any(", "return True or not any(")),
    fault("end of an exemption ignored", CASE, "_stops", ("start <= self.at < end", "start <= self.at")),
    fault("exemption of a suspension ignored", EVIDENCE, "_stops", (
        "HAVING COUNT(x.part) = 0", "HAVING COUNT(x.part) >= 0")),
    fault("end of a suspension's exemption ignored", EVIDENCE, "_stops", (" AND x.valid_until > {self.at}", "")),
    fault("OR over the dimensions of a hold", EVIDENCE, "_hits", (
        "HAVING COUNT(DISTINCT m.dimension) = part.dimensions", "HAVING COUNT(DISTINCT m.dimension) > 0")),
    fault("a hold stops whatever shares its vendor, elsewhere too", EVIDENCE, "_named", (
        " AND ({matches})", " AND t.dimension IN ('{\"', '\".join(broad)}')")),
    fault("holds on a territory, a host, a channel or a condition alone ignored", EVIDENCE, "_named", (
        "WHERE part.sharp = 0 AND", "WHERE 1 = 0 AND")),
    fault("ancestors ignored by holds", EVIDENCE, "_named", ("and self.ancestors", "and False")),
    fault("attributes ignored by holds", EVIDENCE, "_named", ("if self._names_attributes", "if False")),
    fault("release of a hold ignored", evidence_text, "holds_text",
        (" AND (v.released_at IS NULL OR v.released_at > {at})", ""),
        ("WHEN v.released_at IS NOT NULL AND", "WHEN 1 = 0 AND")),
    fault("every hold on a vendor taken as its suspension", findings, "_hold", (" and row.dimensions == 1", "")),
    fault("whoever belongs to the manufacturer may grant", CASE, "_family", (
        "granting = [a for a in in_force if a.parent_id == manufacturer_id and a.may_grant_for_parent]",
        "granting = [a for a in in_force if a.parent_id == manufacturer_id]")),
    fault("nobody who belongs to the manufacturer may grant", CASE, "_family", (
        "granting = [a for a in in_force if a.parent_id == manufacturer_id and a.may_grant_for_parent]",
        "granting = []")),
    fault("affiliations that ended", CASE, "_family", (
        "in_force = [a for a in known if a.valid_from <= self.at < a.valid_until]", "in_force = list(known)")),
    fault("policy of another territory", CASE, "_policy", (" if policy.territory in (territory, rules.ALL)", "")),
    fault("policy of all before that of the territory", CASE, "_policy", (
        "return policy.territory == territory, ", "return policy.territory != territory, ")),
    fault("claimed taken as verified", EVIDENCE, "_carries", (
        "(a.assurance = 'verified' OR NOT ({demanded}))", "1 = 1")),
    fault("a level of radio too much asked for", rules, "radio_suffices", (">=", ">")),
    fault("expires_at ignores holds to come", CASE, "_hold_until", ("[hold.valid_from, hold.end]", "[hold.end]")),
    fault("expires_at ignores suspensions to come", CASE, "_suspended_until", (
        "self._hold_until(n, hold) for", "self.horizon for")),
    fault("expires_at ignores agreements that begin", findings._Missed, "upstream_of", (
        "bounds += [row.valid_from, row.valid_until]", "bounds += [row.valid_until]")),
    fault("expires_at ignores the end of a waiver", findings, "_approval_end", (
        "row.valid_until, row.waived_until,", "row.valid_until,")),
    fault("expires_at ignores policies to come", CASE, "_policy", (
        "min(chosen.valid_until, until)", "chosen.valid_until")),
    fault("the chain that lasts longest is not looked for", findings, "_end", (
        "return min(record.valid_until, record.revoked_at)", "return record.valid_until")),
    fault("a failure of scope as near as any", rules, "distance_of", ("1001", "1000")),
]  # fmt: skip


# The seeds of worlds that between them show all faults; the others are looked at only while a fault is left.
TELLING = (0, 3, 11, 1, 12, 18, 26, 6, 9, 10, 22)


@dataclass(frozen=True)
class Case:
    world: World
    at: datetime
    known_at: int
    questions: tuple[Question, ...]

    def expected(self) -> list[spec.Judgement]:
        facts = self.world.facts(self.known_at)
        return [spec.judge(question, facts, self.at) for question in self.questions]


@cache
def corpus() -> list[Case]:
    """Made once for all: a few by hand, for what chance hardly ever brings, then by chance."""
    many = frozenset(str(place) for place in range(100))
    wide = tuple(
        replace(record, models=many | {str(VARIANT)}) if record is GOOD[2] else record for record in GOOD
    )
    empty = tuple(
        replace(record, territories=frozenset()) if record is GOOD[2] else record for record in GOOD
    )
    lax = replace(POLICY, enforces_approval=False, enforces_equipment=False, minimum_radio="")
    halves = (
        lax, GOOD[1], replace(AGREEMENT, valid_until=AT),
        replace(AGREEMENT, fact_id=AGREEMENT.fact_id + 50, code="AG-2", territories=frozenset({"CA"})),
    )  # fmt: skip
    nodes = [worlds.MAKER, *worlds.DISTRIBUTORS, VENDORS[0]]
    deep = (lax, GOOD[1], *[
        replace(
            AGREEMENT, fact_id=AGREEMENT.fact_id + 50 + place, code=f"AG-{place}", grantor_id=grantor,
            grantee_id=grantee, may_sublicense=True,
        )
        for place, (grantor, grantee) in enumerate(pairwise(nodes))
    ])  # fmt: skip
    unlicensed = tuple(
        replace(record, may_sublicense=False) if isinstance(record, spec.Agreement) else record
        for record in deep
    )
    # GOOD is of a manufacturer that belongs to the group.
    on_parent = (*GOOD, replace(HOLD, targets=frozenset({spec.Target(0, "manufacturer", str(worlds.GROUP))})))
    vendor = spec.Target(0, "vendor", str(VENDORS[0]))
    partly_held = (*GOOD, replace(HOLD, targets=frozenset({vendor, spec.Target(0, "territory", "US")})))
    past_exemption = frozenset({spec.Exemption(1, T0, AT)})
    no_longer_exempted = (
        *GOOD, replace(HOLD, targets=HOLD.targets | {vendor._replace(part=1)}, exemptions=past_exemption),
    )  # fmt: skip
    named = spec.Target(0, "fact", str(AGREEMENT.fact_id))
    suspended_again = (
        *GOOD, replace(HOLD, targets=frozenset({named, vendor._replace(part=1)}), exemptions=past_exemption),
    )  # fmt: skip
    to_be_suspended = (*GOOD, replace(HOLD, targets=frozenset({named}), valid_from=INSTANTS[3]))
    unfit = tuple(
        (*GOOD, replace(HOLD, targets=frozenset({spec.Target(0, "fact", str(record.fact_id))})))
        for record in (GOOD[2], APPROVAL, EQUIPMENT)
    )
    limited = replace(APPROVAL, state="conditional", limits="no B12", waived_until=INSTANTS[3])
    announced = replace(APPROVAL, state="revoked", limits="no B12", revoked_at=INSTANTS[3])
    waived = tuple(limited if record is APPROVAL else record for record in GOOD)
    unwaived = tuple(
        {POLICY: replace(POLICY, conditional_is_enough=False), APPROVAL: announced}.get(record, record)
        for record in GOOD
    )
    by_hand = [
        Case(World(tuple(Row(record) for record in records)), AT, REVISIONS, (worlds.question(),))
        for records in (
            wide,
            empty,
            halves,
            deep,
            unlicensed,
            on_parent,
            partly_held,
            no_longer_exempted,
            suspended_again,
            to_be_suspended,
            *unfit,
            waived,
            unwaived,
        )
    ]
    by_chance = [
        Case(
            worlds.make_world(Random(seed)), Random(seed).choice(INSTANTS[1:4]), 2 + seed % 3,
            tuple(Random(seed).sample(QUESTIONS, 70)),
        )
        for seed in (*TELLING, *range(60))
    ]  # fmt: skip
    return [*by_hand, *by_chance]


def is_seen(case: Case, expected: list[spec.Judgement]) -> bool:
    try:
        answers = decisions.decide_many(case.questions, at=case.at, known_at=case.known_at)
    except decisions.DecisionUnavailable as error:
        # The statements contradict each other, which nothing may be allowed on: seen. An error of SQL is no fault sown.
        if isinstance(error.__cause__, findings.EvaluatorsDisagree):
            return True
        raise
    return any(said(answer) != judgement for answer, judgement in zip(answers, expected, strict=True))


@pytest.mark.parametrize("sown", FAULTS, ids=[each.name for each in FAULTS])
def test_the_fault_can_be_sown(sown):
    assert sown.sown()


@pytest.mark.django_db
def test_every_fault_is_seen():
    left = list(FAULTS)
    assert len({each.name for each in left}) >= 20
    for number, case in enumerate(corpus()):
        if not left:
            break
        with transaction.atomic():
            worlds.write(case.world)
            expected = case.expected()
            assert not is_seen(case, expected), f"The evaluators differ without a fault on case {number}."
            seen = []
            for each in left:
                with each.in_place():
                    if is_seen(case, expected):
                        seen.append(each)
            transaction.set_rollback(True)
        left = [each for each in left if each not in seen]
    assert not left, f"Not seen: {[each.name for each in left]}"
