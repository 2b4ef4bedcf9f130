"""Two evaluators that share nothing, `decisions` in SQL and `spec` in plain loops, give the same answers.

On tiny worlds every check is compared; on an exhaustive grid every relation of dates and terms of one agreement; above
the thresholds of the databases the answers are known by construction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authorization import decisions, spec
from authorization.models import ScopeTerm
from authorization.rules import Question
from carriers.versions import FOREVER
from catalog.models import Organization
from tests.authorization import worlds
from tests.authorization.worlds import (
    BASE,
    DAY,
    HOSTS,
    INSTANTS,
    MAKER,
    REVISIONS,
    T0,
    VARIANTS,
    VENDORS,
    World,
)

pytestmark = pytest.mark.django_db

QUESTIONS = worlds.all_questions()
TICK = timedelta(microseconds=1)


@contextmanager
def written(world: World, *, with_offers: bool = False) -> Iterator[None]:
    with transaction.atomic():
        worlds.write(world, with_offers=with_offers)
        yield
        transaction.set_rollback(True)


def said(answer: decisions.Answer) -> spec.Judgement:
    return spec.Judgement(
        answer.outcome,
        tuple((reason.code, reason.document) for reason in answer.reasons),
        frozenset((item.kind, item.fact_id, item.version_no) for item in answer.evidence),
        answer.expires_at,
    )


def first_difference(
    questions: Sequence[Question], facts: spec.Facts, at: datetime, known_at: int | None
) -> str | None:
    """The first question that the evaluators answer differently, with both answers; None where there is none."""
    answers = decisions.decide_many(questions, at=at, known_at=known_at)
    assert len(answers) == len(questions)
    for question, answer in zip(questions, answers, strict=True):
        expected = spec.judge(question, facts, at)
        assert answer.question == question
        if said(answer) != expected:
            return f"{question}\n at {at}, known at {known_at}\n decisions: {said(answer)}\n spec:      {expected}"
    return None


@settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(
    st.integers(0, 2**32),
    st.sampled_from((*INSTANTS, T0 - DAY, *[instant - TICK for instant in INSTANTS[1:]])),
)
def test_all_checks_of_tiny_worlds(seed, other):
    world = worlds.make_world(Random(seed))
    with written(world):
        for at, known_at in ((INSTANTS[1], REVISIONS), (INSTANTS[3], 2), (other, 1 + seed % REVISIONS)):
            difference = first_difference(QUESTIONS, world.facts(known_at), at, known_at)
            assert difference is None, difference


# --- one by one, and in one batch -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_answers_as_single_questions_do(seed):
    world = worlds.make_world(Random(seed))
    sample = Random(seed).sample(QUESTIONS, 25)
    with written(world):
        for at, known_at in ((INSTANTS[1], None), (INSTANTS[2], 2)):
            batch = decisions.decide_many(sample, at=at, known_at=known_at)
            singles = [decisions.decide(question, at=at, known_at=known_at) for question in sample]
            # Words included, not only what the specification has a say in.
            assert batch == singles


@pytest.mark.parametrize("seed", range(4))
def test_every_offer_of_the_store_is_decided_as_its_question(seed, monkeypatch):
    monkeypatch.setattr(decisions, "PAGE", 5)
    world = worlds.make_world(Random(seed))
    with written(world, with_offers=True):
        for at, known_at in ((INSTANTS[1], None), (INSTANTS[3], 2)):
            answers = dict(decisions.decide_store(at=at, known_at=known_at))
            assert len(answers) == len(worlds.LISTINGS) * len(HOSTS)
            facts = world.facts(REVISIONS if known_at is None else known_at)
            for offer_id, answer in answers.items():
                listing_id, host_id = divmod(offer_id - BASE, worlds.OFFERS_APART)
                listing_id, host_id = listing_id + BASE, host_id + BASE
                vendor_id, variant_id = worlds.LISTINGS[listing_id]
                question = worlds.question(
                    vendor_id=vendor_id, variant_id=variant_id, host_id=host_id, listing_id=listing_id
                )
                assert answer.question == question
                assert said(answer) == spec.judge(question, facts, at)


@pytest.mark.parametrize("seed", range(3))
def test_the_specification_reads_what_was_written(seed):
    world = worlds.make_world(Random(seed))
    with written(world):
        for known_at in range(REVISIONS + 1):
            read, expected = spec.known(known_at), world.facts(known_at)
            for name in read.__dataclass_fields__:
                ours, theirs = getattr(read, name), getattr(expected, name)
                assert ours == theirs if name == "operator" else set(ours) == set(theirs)


# --- every relation of one agreement ----------------------------------------------------------------------------

ALL_OF_IT: dict[str, Any] = {
    name: frozenset("*") for name in ("models", "territories", "channels", "conditions")
}
POLICY = spec.Policy(BASE + 101, T0, enforces_approval=False)
HOSTING = spec.Hosting(BASE + 102, "US Mobile", next(iter(HOSTS)), T0)
AGREEMENT = spec.Agreement(BASE + 103, "AG-103", MAKER, VENDORS[0], T0, **ALL_OF_IT)
AT = INSTANTS[2]


def of(*records, settings_=(POLICY, HOSTING)):
    return World(tuple(worlds.Row(record) for record in (*settings_, *records)))


def grid() -> Iterator[spec.Agreement]:
    """Dates before, at and after the instant asked about; each scope empty, of this, of another, of all."""
    values = {
        "models": (str(next(iter(VARIANTS))), str(list(VARIANTS)[1])), "territories": ("US", "CA"),
        "channels": ("web", "retail"), "conditions": ("new", "used"),
    }  # fmt: skip
    near = (AT - DAY, AT - TICK, AT, AT + TICK, AT + DAY)
    for start, end, revoked_at, is_verified, may_sublicense in product(
        near, (*near, FOREVER), (None, *near), (True, False), (True, False)
    ):
        if start < end:
            yield replace(
                AGREEMENT, valid_from=start, valid_until=end, revoked_at=revoked_at, is_verified=is_verified,
                may_sublicense=may_sublicense,
            )  # fmt: skip
    for chosen in product(range(5), repeat=4):
        scope: dict[str, Any] = {
            name: (
                frozenset(),
                frozenset({this}),
                frozenset({other}),
                frozenset({this, other}),
                frozenset("*"),
            )[which]
            for (name, (this, other)), which in zip(values.items(), chosen, strict=True)
        }
        yield replace(AGREEMENT, **scope)


def test_the_grid_of_one_agreement():
    """Each agreement of the grid is granted to a vendor of its own: one world, one call."""
    cases = list(grid())
    records = [
        replace(
            agreement, fact_id=BASE + 10_000 + place, code=f"AG-{place}", grantee_id=BASE + 50_000 + place
        )
        for place, agreement in enumerate(cases)
    ]
    world = of(*records)
    with transaction.atomic():
        add_vendors(len(cases))
        worlds.write(world)
        questions = [worlds.question(vendor_id=record.grantee_id) for record in records]
        answers = decisions.decide_many(questions, at=AT)
        for question, record, answer in zip(questions, records, answers, strict=True):
            # Only its own agreement bears on a vendor: the specification need not look at all the others.
            assert said(answer) == spec.judge(question, of(record).facts(), AT), record
        transaction.set_rollback(True)


def add_vendors(number: int, first: int = BASE + 50_000, kind: str = "vendor") -> list[int]:
    ids = list(range(first, first + number))
    Organization.objects.bulk_create(
        [
            Organization(id=place, kind=kind, name=f"{kind} {place}", slug=f"{kind}-{place}", created_at=T0)
            for place in ids
        ]
    )
    return ids


# --- above every threshold --------------------------------------------------------------------------------------


def link(place: int, grantor: int, grantee: int, **terms: Any) -> spec.Agreement:
    terms = {"may_sublicense": True, **ALL_OF_IT, **terms}
    return spec.Agreement(BASE + 10_000 + place, f"AG-{place}", grantor, grantee, T0, **terms)


def test_a_chain_of_sixty_links():
    middle = add_vendors(59, kind="distributor")
    nodes = [MAKER, *middle, VENDORS[0]]
    links = [link(place, *pair) for place, pair in enumerate(pairwise(nodes))]
    end = INSTANTS[3]
    links[30] = replace(links[30], valid_until=end)
    worlds.write(of(*links))
    answer = decisions.decide(worlds.question(), at=AT)
    assert answer.outcome == "allow"
    assert [item.fact_id for item in answer.evidence if item.kind == "agreement"] == [
        record.fact_id for record in links
    ]
    assert answer.expires_at == end
    later = decisions.decide(worlds.question(), at=end)
    assert said(later).reasons == (("AGREEMENT_EXPIRED", "AG-30"),)


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_million_ways(is_broken):
    """Twenty diamonds in a row. Broken, the last link is missing its leave: the nearest miss is among as many."""
    middle = add_vendors(60, kind="distributor")
    nodes = [MAKER, *middle]
    links: list[spec.Agreement] = []
    for number in range(20):
        source, left, right, target = nodes[3 * number : 3 * number + 4]
        for side in (left, right):
            for pair in ((source, side), (side, target)):
                links.append(link(len(links), *pair))
    links.append(link(len(links), nodes[60], VENDORS[0], is_verified=not is_broken))
    worlds.write(of(*links))
    answer = decisions.decide(worlds.question(), at=AT)
    if is_broken:
        assert said(answer).reasons == (("AGREEMENT_NOT_VERIFIED", f"AG-{len(links) - 1}"),)
        return
    assert answer.outcome == "allow"
    cited = [item.fact_id - BASE - 10_000 for item in answer.evidence if item.kind == "agreement"]
    assert cited == [*[4 * number + side for number in range(20) for side in (0, 1)], 80]


def test_1200_vendors_and_3600_questions_in_one_call():
    vendors = add_vendors(1200)
    worlds.write(
        of(*[link(place, MAKER, vendor, channels=frozenset({"web"})) for place, vendor in enumerate(vendors)])
    )
    questions = [
        worlds.question(vendor_id=vendor, **terms)
        for vendor in vendors
        for terms in ({}, {"channel": "retail"}, {"territory": "CA"})
    ]
    answers = decisions.decide_many(questions, at=AT)
    for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        code = f"AG-{place // 3}"
        assert said(answer).reasons == (
            (("AGREEMENT_SCOPE_CHANNEL", code),) if question.channel == "retail" else ()
        )
        assert answer.outcome == ("deny" if question.channel == "retail" else "allow")


def test_more_questions_than_a_statement_takes_parameters():
    """SQLite takes 32,766 at most, and took 999 before 2020; PostgreSQL 65,535."""
    worlds.write(of(AGREEMENT))
    questions = [worlds.question()] * 9_000
    questions[8_999] = worlds.question(vendor_id=VENDORS[1])
    questions[4_500] = worlds.question(host_id=list(HOSTS)[1])
    answers = decisions.decide_many(questions, at=AT)
    assert len(answers) == 9_000
    others = {
        place: said(answer).reasons for place, answer in enumerate(answers) if answer.outcome != "allow"
    }
    assert others == {8_999: (("NO_AGREEMENT", ""),), 4_500: (("HOST_NOT_SERVED", ""),)}


def test_500_holds_and_200_targets_in_one():
    def hold(place: int, *targets: tuple[str, object]) -> spec.Hold:
        named = frozenset(spec.Target(0, dimension, str(value)) for dimension, value in targets)
        return spec.Hold(BASE + 20_000 + place, f"H-{place:03}", T0, targets=named)

    variant = next(iter(VARIANTS))
    stopping = [hold(place, ("variant", variant), ("territory", "US")) for place in range(500)]
    wide = hold(500, *[("vendor", VENDORS[1] + 1000 + place) for place in range(199)], ("vendor", VENDORS[0]))
    worlds.write(of(AGREEMENT, *stopping, wide))
    answer = decisions.decide(worlds.question(), at=AT)
    assert said(answer).reasons == (
        ("VENDOR_SUSPENDED", "H-500"), *[("ON_HOLD", f"H-{place:03}") for place in range(500)],
    )  # fmt: skip
    elsewhere = decisions.decide(worlds.question(territory="CA"), at=AT)
    assert said(elsewhere).reasons == (("VENDOR_SUSPENDED", "H-500"),)


def test_2000_models_in_one_scope():
    variant = next(iter(VARIANTS))
    models = frozenset(str(BASE + 90_000 + place) for place in range(1999))
    covering = link(0, MAKER, VENDORS[0], models=models | {str(variant)})
    missing = link(1, MAKER, VENDORS[1], models=models)
    worlds.write(of(covering, missing))
    assert ScopeTerm.objects.filter(dimension="model").count() == 3999
    answers = decisions.decide_many([worlds.question(vendor_id=vendor) for vendor in VENDORS], at=AT)
    assert [answer.outcome for answer in answers] == ["allow", "deny"]
    assert said(answers[1]).reasons == (("AGREEMENT_SCOPE_MODEL", "AG-1"),)


def test_many_approvals_and_authorizations_of_one_variant():
    variant, host = next(iter(VARIANTS)), next(iter(HOSTS))
    approvals = [
        spec.Approval(BASE + 20_000 + place, f"CA-{place}", host, variant, T0, T0 + DAY)
        for place in range(300)
    ]
    good = spec.Approval(BASE + 21_000, "CA-good", host, variant, T0)
    grants = [
        spec.Equipment(BASE + 22_000 + place, f"EQ-{place}", variant, "US", T0, T0, T0 + DAY)
        for place in range(300)
    ]
    granted = spec.Equipment(BASE + 23_000, "EQ-good", variant, "US", T0, T0)
    strict = replace(POLICY, enforces_approval=True, enforces_equipment=True)
    world = of(AGREEMENT, *approvals, good, *grants, granted, settings_=(strict, HOSTING))
    worlds.write(world)
    assert first_difference([worlds.question()], world.facts(), AT, None) is None
    answer = decisions.decide(worlds.question(), at=AT)
    assert {item.code for item in answer.evidence} >= {"CA-good", "EQ-good"}


def test_the_number_of_statements_does_not_grow(django_assert_max_num_queries):
    world = worlds.make_world(Random(1))
    with written(world):
        for number in (1, 50, len(QUESTIONS)):
            with django_assert_max_num_queries(3):
                decisions.decide_many(QUESTIONS[:number], at=AT)
