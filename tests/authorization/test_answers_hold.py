"""What holds of every answer, whatever the world.

Authority taken away never allows more, order counts for nothing, the past stays as it was, an allow rests on what it
cites and lasts until it expires, and no error allows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authorization import agreements, approvals, decisions, fence, holds, policies, revocations, spec
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, Fact
from carriers.compatibility import Group, NetworkBand, Rat, Service
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Organization, Variant
from tests.authorization import worlds
from tests.authorization.test_evaluators_agree import QUESTIONS, said
from tests.authorization.worlds import (
    BASE,
    DAY,
    HOSTS,
    INSTANTS,
    REVISIONS,
    T0,
    VARIANTS,
    VENDORS,
    Row,
    World,
    facts_of,
    identity,
)

TICK = timedelta(microseconds=1)
SAMPLE = Random(7).sample(QUESTIONS, 40)

derandomized = settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None, max_examples=30
)
seeds = st.integers(0, 2**32)


def world_of(seed: int) -> World:
    return worlds.make_world(Random(seed))


def current(world: World, kind: type[Any]) -> list[Row]:
    return [row for row in world.rows if row.rev_to is None and isinstance(row.record, kind)]


# --- less authority, fewer allows (the specification; the evaluators agree) -------------------------------------


def taken_away(record: Any) -> Iterator[Any]:
    """Each way in which a record can say less than it does; None: it is not there at all."""
    match record:
        case spec.Agreement():
            yield None
            yield replace(record, may_sublicense=False)
            yield replace(record, is_verified=False)
            for at in (T0, INSTANTS[2]):
                if record.revoked_at is None or at < record.revoked_at:
                    yield replace(record, revoked_at=at)
            for name in ("models", "territories", "channels", "conditions"):
                narrower: dict[str, Any] = {name: frozenset(sorted(getattr(record, name))[1:])}
                yield replace(record, **narrower)
        case spec.Approval():
            yield None
            yield replace(record, state="rejected", waived_until=None, revoked_at=None)
            if record.state in ("approved", "conditional"):
                # Only what is in force is revoked: the door sees to that, and the engine relies on it.
                yield from (replace(record, state="revoked", revoked_at=at) for at in (T0, INSTANTS[2]))
            if record.state == "approved":
                yield replace(record, state="conditional", limits="no B12")
            if not record.software_from:
                yield replace(record, software_from="7.0.5")
            if not record.software_until:
                yield replace(record, software_until="8")
        case spec.Equipment():
            yield None
            if record.revoked_at is None:
                yield from (replace(record, revoked_at=at) for at in (T0, INSTANTS[2]))
        case spec.Hosting():
            yield None
        case spec.Hold():
            # Of a hold it is what it exempts, and its end, that give.
            if record.targets:
                yield replace(record, released_at=None)
            for exemption in record.exemptions:
                yield replace(record, exemptions=record.exemptions - {exemption})
        case spec.Policy():
            for name in ("enforces_agreement", "demands_verified", "enforces_approval", "enforces_equipment"):
                stricter: dict[str, Any] = {name: True}
                yield replace(record, **stricter)
            yield replace(record, conditional_is_enough=False)
            yield replace(record, minimum_radio="FULL")
    if isinstance(record, spec.Agreement | spec.Approval | spec.Equipment | spec.Hosting):
        for at in INSTANTS[1:]:
            if record.valid_from < at < record.valid_until:
                yield replace(record, valid_until=at)
                if not isinstance(record, spec.Equipment) or record.granted_at <= at:
                    yield replace(record, valid_from=at)


@derandomized
@given(seeds, st.data())
def test_taking_authority_away_never_allows_more_and_giving_never_less(seed, data):
    world = world_of(seed)
    at = data.draw(st.sampled_from(INSTANTS))
    rows = [row for row in world.rows if row.rev_to is None]
    more = world.facts()
    allowed = {question for question in QUESTIONS[::7] if spec.judge(question, more, at).outcome == "allow"}
    denied = [question for question in QUESTIONS[::7] if question not in allowed]
    choices = [row for row in rows if list(taken_away(row.record))]
    if not choices:
        return
    chosen = data.draw(st.sampled_from(choices))
    for less in taken_away(chosen.record):
        records = [row.record for row in rows if row != chosen] + ([less] if less is not None else [])
        facts = facts_of(records)
        for question in denied:
            assert spec.judge(question, facts, at).outcome != "allow", (question, chosen.record, less)


@derandomized
@given(seeds, seeds, st.sampled_from(INSTANTS))
def test_another_hold_never_allows_more(seed, other, at):
    facts = world_of(seed).facts()
    others = [
        replace(hold, fact_id=hold.fact_id + 500_000, code=f"{hold.code}-2")
        for hold in world_of(other).facts().holds
    ]
    more = replace(facts, holds=(*facts.holds, *others))
    for question in QUESTIONS[::5]:
        if spec.judge(question, more, at).outcome == "allow":
            assert spec.judge(question, facts, at).outcome == "allow"


# --- order, duplicates and strangers ----------------------------------------------------------------------------


@derandomized
@given(seeds, st.sampled_from(INSTANTS), st.randoms(use_true_random=False))
def test_the_order_of_facts_and_strangers_among_them_change_nothing(seed, at, random):
    facts = world_of(seed).facts()
    shuffled: dict[str, Any] = {
        name: tuple(random.sample(getattr(facts, name), len(getattr(facts, name))))
        for name in facts.__dataclass_fields__
        if name != "operator"
    }
    other = replace(facts, **shuffled)
    strangers = spec.Agreement(
        BASE + 400_000, "AG-other", BASE + 900, BASE + 901, T0, models=frozenset("*"), territories=frozenset("*"),
        channels=frozenset("*"), conditions=frozenset("*"), may_sublicense=True,
    )  # fmt: skip
    other = replace(other, agreements=(*other.agreements, strangers))
    for question in SAMPLE:
        assert spec.judge(question, other, at) == spec.judge(question, facts, at)


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_and_questions_duplicates_and_strangers_change_nothing(seed):
    world = world_of(seed)
    at = INSTANTS[2]
    with written(world):
        expected = {question: decisions.decide(question, at=at) for question in SAMPLE}
        asked = SAMPLE + SAMPLE[:10]
        Random(seed).shuffle(asked)
        assert decisions.decide_many(asked, at=at) == [expected[question] for question in asked]
    rows = list(world.rows)
    Random(seed).shuffle(rows)
    strangers = (
        spec.Agreement(BASE + 400_000, "AG-other", worlds.DISTRIBUTORS[0], worlds.BYSTANDER, T0),
        spec.Hold(BASE + 400_002, "H-other", T0, targets=frozenset({spec.Target(0, "vendor", "1")})),
        spec.Hosting(BASE + 400_003, "Another", HOST, T0),
        spec.Policy(BASE + 400_004, T0, territory="ZZ"),
    )
    with written(World(tuple(rows)).with_records(*strangers)):
        for question, answer in expected.items():
            assert decisions.decide(question, at=at) == answer


@contextmanager
def written(world: World) -> Iterator[None]:
    with transaction.atomic():
        worlds.write(world)
        yield
        transaction.set_rollback(True)


# --- an allow rests on what it cites ----------------------------------------------------------------------------


def allows(world: World, at: datetime) -> Iterator[tuple[Any, spec.Judgement]]:
    facts = world.facts()
    for question in QUESTIONS:
        judgement = spec.judge(question, facts, at)
        if judgement.outcome == "allow":
            yield question, judgement


_KINDS = {
    spec.Policy: "policy", spec.Hosting: "hosting", spec.Agreement: "agreement", spec.Affiliation: "affiliation",
    spec.Approval: "approval", spec.Equipment: "equipment", spec.Variant: "variant", spec.Network: "network",
}  # fmt: skip


def key(record: Any) -> tuple[str, int, int]:
    return _KINDS.get(type(record), "hold"), identity(record), record.version_no


@derandomized
@given(seeds, st.sampled_from(INSTANTS))
def test_an_allow_replays_from_the_records_it_cites_and_from_no_fewer(seed, at):
    world = world_of(seed)
    known = [row.record for row in world.rows if row.rev_to is None]
    for question, judgement in list(allows(world, at))[:12]:
        cited = [record for record in known if key(record) in judgement.evidence]
        assert {key(record) for record in cited} == judgement.evidence
        again = spec.judge(question, facts_of(cited), at)
        assert (again.outcome, again.evidence) == ("allow", judgement.evidence)
        for record in cited:
            fewer = spec.judge(question, facts_of([other for other in cited if other != record]), at)
            assert (fewer.outcome, fewer.evidence) != (judgement.outcome, judgement.evidence)
            without = spec.judge(question, facts_of([other for other in known if other != record]), at)
            assert (without.outcome, without.evidence) != (judgement.outcome, judgement.evidence)


@pytest.mark.django_db
def test_an_allow_of_the_evaluator_replays_from_the_records_it_cites():
    replayed = 0
    for seed in range(12):
        world = world_of(seed)
        at = INSTANTS[2]
        known = {key(row.record): row.record for row in world.rows if row.rev_to is None}
        with written(world):
            answers = decisions.decide_many(QUESTIONS, at=at)
        for answer in answers:
            if answer.outcome != "allow":
                assert answer.evidence == ()
                continue
            cited = [known[item.kind, item.fact_id, item.version_no] for item in answer.evidence]
            again = spec.judge(answer.question, facts_of(cited), at)
            assert (again.outcome, again.evidence) == ("allow", said(answer).evidence)
            replayed += 1
    assert replayed > 100


# --- an answer lasts until it expires ---------------------------------------------------------------------------


@derandomized
@given(seeds, st.sampled_from((*INSTANTS, T0 - DAY, T0 + DAY / 2)))
def test_nothing_changes_before_an_answer_expires(seed, at):
    facts = world_of(seed).facts()
    for question in SAMPLE:
        judgement = spec.judge(question, facts, at)
        assert at < judgement.expires_at <= at + timedelta(days=365)
        later = {instant for instant in INSTANTS if at < instant < judgement.expires_at}
        later |= {instant - TICK for instant in INSTANTS if at < instant - TICK < judgement.expires_at}
        for instant in (*later, at + (judgement.expires_at - at) / 2, judgement.expires_at - TICK):
            then = spec.judge(question, facts, instant)
            assert (then.outcome, codes(then)) == (judgement.outcome, codes(judgement)), instant


def codes(judgement: spec.Judgement) -> list[str]:
    return [code for code, _ in judgement.reasons]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(6))
def test_nothing_changes_before_an_answer_of_the_evaluator_expires(seed):
    with written(world_of(seed)):
        for at in (T0 - DAY, INSTANTS[0], INSTANTS[2]):
            answers = decisions.decide_many(SAMPLE, at=at)
            for instant in sorted({*INSTANTS, *[instant - TICK for instant in INSTANTS], FOREVER}):
                asked = [answer for answer in answers if at < instant < answer.expires_at]
                again = decisions.decide_many([answer.question for answer in asked], at=instant)
                for before, then in zip(asked, again, strict=True):
                    assert (then.outcome, then.reason_codes) == (before.outcome, before.reason_codes)


# --- half-open, everywhere --------------------------------------------------------------------------------------

VARIANT, HOST = next(iter(VARIANTS)), next(iter(HOSTS))
AT = INSTANTS[2]
ALL = frozenset("*")
POLICY = spec.Policy(BASE + 101, T0, enforces_equipment=True, minimum_radio="DATA_ONLY")
HOSTING = spec.Hosting(BASE + 102, "US Mobile", HOST, T0)
AGREEMENT = spec.Agreement(
    BASE + 103,
    "AG-1",
    worlds.MAKER,
    VENDORS[0],
    T0,
    models=ALL,
    territories=ALL,
    channels=ALL,
    conditions=ALL,
)
APPROVAL = spec.Approval(BASE + 104, "CA-1", HOST, VARIANT, T0)
EQUIPMENT = spec.Equipment(BASE + 105, "EQ-1", VARIANT, "US", T0, T0)
RADIO = spec.Variant(
    VARIANT, T0, bands=frozenset({spec.RadioBand("LTE", "B2")}), ims=frozenset({(HOST, "yes")})
)
NETWORK = spec.Network(
    BASE + 106, HOST, HOSTS[HOST], T0, admission="open",
    bands=(NetworkBand(Rat.LTE, "B2", Group.LTE_CORE, Service.VOLTE),),
)  # fmt: skip
AFFILIATION = spec.Affiliation(BASE + 107, worlds.GROUP, worlds.MAKER, T0)
GOOD = (
    POLICY,
    HOSTING,
    replace(AGREEMENT, grantor_id=worlds.GROUP),
    APPROVAL,
    EQUIPMENT,
    RADIO,
    NETWORK,
    AFFILIATION,
)
HOLD = spec.Hold(BASE + 108, "H-1", T0, targets=frozenset({spec.Target(0, "variant", str(VARIANT))}))
BOUNDARIES = [
    *[(f"{type(record).__name__} ends", record, {"valid_until": AT}, False) for record in GOOD],
    *[(f"{type(record).__name__} begins", record, {"valid_from": AT}, True) for record in GOOD],
    ("agreement revoked", GOOD[2], {"revoked_at": AT}, False),
    ("approval revoked", APPROVAL, {"state": "revoked", "revoked_at": AT}, False),
    ("waiver ends", APPROVAL, {"state": "conditional", "limits": "no B12", "waived_until": AT}, False),
    ("equipment revoked", EQUIPMENT, {"revoked_at": AT}, False),
    ("hold begins", HOLD, {"valid_from": AT}, False),
    ("hold ends", HOLD, {"valid_until": AT}, True),
    ("hold released", HOLD, {"released_at": AT}, True),
    ("exemption begins", HOLD, {"exemptions": frozenset({spec.Exemption(1, AT, FOREVER)})}, True),
    ("exemption ends", HOLD, {"exemptions": frozenset({spec.Exemption(1, T0, AT)})}, False),
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("record", "changes", "allows_at"), [row[1:] for row in BOUNDARIES], ids=[r[0] for r in BOUNDARIES]
)
def test_an_end_no_longer_counts_and_a_beginning_does(record, changes, allows_at):
    changed = replace(record, **changes)
    if changed.__class__ is spec.Hold:
        changed = replace(changed, targets=changed.targets | {spec.Target(1, "vendor", str(VENDORS[0]))})
    records = [
        changed if other is record else other for other in (*GOOD, *([HOLD] if record is HOLD else []))
    ]
    worlds.write(World(tuple(Row(other) for other in records)))
    question = worlds.question()
    before, at = decisions.decide(question, at=AT - TICK), decisions.decide(question, at=AT)
    assert (before.outcome == "allow", at.outcome == "allow") == (not allows_at, allows_at)
    assert before.expires_at == AT
    for zone in (
        timezone(timedelta(hours=14)),
        timezone(timedelta(hours=-12)),
        timezone(timedelta(minutes=345)),
    ):
        assert said(decisions.decide(question, at=AT.astimezone(zone))) == said(at)
        assert said(decisions.decide(question, at=(AT - TICK).astimezone(zone))) == said(before)


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["models", "territories", "channels", "conditions"])
def test_an_empty_scope_covers_nothing(scope):
    nothing: dict[str, Any] = {scope: frozenset()}
    records = [replace(other, **nothing) if other is GOOD[2] else other for other in GOOD]
    worlds.write(World(tuple(Row(other) for other in records)))
    assert decisions.decide(worlds.question(), at=AT).outcome == "deny"


# --- what was known stays known ---------------------------------------------------------------------------------

BY = Actor("desk", "test")


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(5))
def test_the_past_answers_as_it_did_while_later_revisions_are_recorded(seed):
    worlds.write(world_of(seed))
    then = {
        (at, known_at): decisions.decide_many(SAMPLE, at=at, known_at=known_at)
        for at in (INSTANTS[1], INSTANTS[3])
        for known_at in (0, 2, REVISIONS)
    }
    for act in acts(seed):
        newest = fence.current_revision()
        try:
            act()
        except (InvalidFact, Fact.DoesNotExist):
            # The world says so already, or else the act before this one was refused for that.
            continue
        assert fence.current_revision() > newest
        for (at, known_at), answers in then.items():
            assert decisions.decide_many(SAMPLE, at=at, known_at=known_at) == answers
        for at in (INSTANTS[1], INSTANTS[3]):
            now = fence.current_revision()
            then[at, now] = decisions.decide_many(SAMPLE, at=at)
            assert all(answer.revision == now for answer in then[at, now])
    assert fence.current_revision() >= REVISIONS + 6


def acts(seed: int) -> list[Callable[[], Any]]:
    """Changes by the real acts, on records of the world and on new ones; all bear on the sample."""
    variant, host = Variant.objects.get(pk=VARIANT), HostCarrier.objects.get(pk=HOST)
    maker, vendor = (Organization.objects.get(pk=pk) for pk in (worlds.MAKER, VENDORS[0]))

    def fact(code: str) -> Fact:
        return Fact.objects.get(code=code)

    def agree() -> None:
        agreements.record_agreement(
            code="AG-NEW", grantor=maker, grantee=vendor, may_sublicense=False, assurance="claimed", models="*",
            territories=["*"], channels=["*"], conditions=["*"], valid_from=T0 - DAY / 2, by=BY, at=AT,
        )  # fmt: skip

    def approve() -> None:
        approvals.record_approval(
            code="CA-NEW", host=host, variant=variant, state="approved", valid_from=T0 - DAY / 2, by=BY, at=AT
        )

    def withdraw(change: revocations.Change) -> None:
        digest = revocations.preview(change, at=AT).digest
        revocations.execute(
            change, digest=digest, requested_by="test", word_received_at=AT, note="", by=BY, at=AT
        )

    def hold() -> None:
        targets = (("vendor", str(VENDORS[0])), ("territory", "US"))
        withdraw(revocations.PlaceHold("H-NEW", "the shop", "SHOP_REVIEW", "", targets))

    def suspend() -> None:
        withdraw(
            revocations.PlaceHold("H-SUS", "the shop", "SHOP_REVIEW", "", (("fact", str(fact("AG-NEW").pk)),))
        )

    def set_policy() -> None:
        policies.set_policy(
            name="strict", territory="US", minimum_assurance="verified", is_carrier_approval_enforced=True,
            is_equipment_authorization_enforced=True, by=BY, at=AT, reason="",
        )  # fmt: skip

    existing = list(
        AgreementVersion.objects.current().filter(revoked_at=None).values_list("head__code", flat=True)
    )
    return [
        agree,
        lambda: agreements.verify_agreement(fact=fact("AG-NEW"), by=BY, at=AT, reason="called"),
        approve,
        suspend,
        hold,
        lambda: holds.release_hold(fact=fact("H-SUS"), by=BY, at=AT, reason="cleared"),
        set_policy,
        lambda: withdraw(revocations.RevokeAgreement(fact("AG-NEW").pk, "AGREEMENT_TERMINATED")),
        lambda: withdraw(revocations.RevokeApproval(fact("CA-NEW").pk, "CARRIER_WITHDRAWS")),
        *[
            lambda code=code: withdraw(revocations.RevokeAgreement(fact(code).pk, "AGREEMENT_TERMINATED"))
            for code in Random(seed).sample(existing, min(2, len(existing)))
        ],
    ]


# --- no error allows --------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError, DatabaseError])
def test_an_error_of_any_statement_is_no_answer(error):
    """Fault injection: the n-th statement fails, for every n that there is."""

    class Failing:
        def __init__(self, which: int) -> None:
            self.left = which

        def __call__(self, execute: Any, *statement: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise error("the disk is gone")
            return execute(*statement)

    with written(world_of(3)), CaptureQueriesContext(connection) as statements:
        decisions.decide_many(SAMPLE, at=AT)
        number = len(statements)
        assert number >= 2
        for which in range(1, number + 1):
            with connection.execute_wrapper(Failing(which)), pytest.raises(decisions.DecisionUnavailable):
                decisions.decide_many(SAMPLE, at=AT)
        with connection.execute_wrapper(Failing(number + 1)):
            decisions.decide_many(SAMPLE, at=AT)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "arguments", "field"),
    [
        ({"vendor_id": 1}, {}, "vendor"),
        ({"variant_id": 1}, {}, "variant"),
        ({"host_id": 1}, {}, "host"),
        ({"device_id": list(worlds.DEVICES)[1]}, {}, "variant"),
        ({"manufacturer_id": worlds.BRAND}, {}, "variant"),
        ({"software": "..."}, {}, "software"),
        ({}, {"at": datetime(2016, 2, 1)}, "at"),  # noqa: DTZ001  that is the point
        ({}, {"known_at": REVISIONS + 1}, "known_at"),
        ({}, {"known_at": -1}, "known_at"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_field(changes, arguments, field):
    worlds.write(World(tuple(Row(record) for record in GOOD)))
    good, bad = worlds.question(), worlds.question()._replace(**changes)
    for asked in ([bad], [good, bad], [bad, good]):
        with pytest.raises(decisions.InvalidQuestion) as refusal:
            decisions.decide_many(asked, **{"at": AT, **arguments})
        assert refusal.value.field.startswith(field)
        assert refusal.value.message


@pytest.mark.django_db
def test_to_ask_nothing_answers_nothing():
    assert decisions.decide_many([], at=AT) == []
