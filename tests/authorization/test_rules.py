"""The pure functions of the rules: which chain is chosen, how a miss is worded, how software versions sort."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authorization import rules
from authorization.facts import InvalidFact
from authorization.rules import Agreement, Approval, Edge, Equipment, Hold, Question, best_chain
from authorization.software import sort_key
from carriers.versions import FOREVER

T0 = datetime(2016, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ALL = frozenset("*")

# --- the chain --------------------------------------------------------------------------------------------------

START, GOAL = 0, 5


@st.composite
def edges(draw):
    """Affiliations and agreements among six companies: short ways, diamonds, circles; equal ends are frequent."""
    pairs = st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda pair: pair[0] != pair[1])
    return [
        Edge(
            source=source, target=target, fact_id=fact_id, end=T0 + draw(st.integers(0, 2)) * DAY,
            distance=0 if is_affiliation else draw(st.sampled_from((0, 0, 0, 1000, 1001))),
            is_affiliation=is_affiliation, subject=None,
        )
        for fact_id, (source, target) in enumerate(draw(st.lists(pairs, max_size=9)))
        for is_affiliation in [draw(st.integers(0, 3)) == 0]
    ]  # fmt: skip


def simple_chains(
    every: list[Edge], node: int, been: frozenset[int], has_left: bool
) -> Iterator[tuple[Edge, ...]]:
    """All ways without a circle; no affiliation comes after an agreement."""
    if node == GOAL:
        yield ()
        return
    for edge in every:
        if edge.source == node and edge.target not in been and not (has_left and edge.is_affiliation):
            for rest in simple_chains(every, edge.target, been | {edge.target}, not edge.is_affiliation):
                yield (edge, *rest)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(edges(), st.randoms(use_true_random=False))
def test_the_chain_is_the_best_of_all(every, random):
    chains = list(simple_chains(every, START, frozenset({START}), False))
    random.shuffle(every)
    found = best_chain(every, start=START, goal=GOAL)
    if not chains:
        assert found is None
        return
    expected = min(
        chains,
        key=lambda chain: (
            sum(edge.distance for edge in chain),
            -min(edge.end for edge in chain).timestamp(),
            len(chain),
            [edge.fact_id for edge in chain],
        ),
    )
    assert found == expected


def test_who_is_the_manufacturer_needs_no_chain():
    assert best_chain([], start=START, goal=START) == ()


def test_a_million_ways_are_not_walked_one_by_one():
    """Twenty diamonds in a row: 2^20 ways, of which the one with the lowest ids is wanted."""
    every: list[Edge] = []
    for number in range(20):
        source, left, right, target = 3 * number, 3 * number + 1, 3 * number + 2, 3 * number + 3
        for side in (left, right):
            for pair in ((source, side), (side, target)):
                every.append(Edge(*pair, len(every), T0, 0, False, None))
    found = best_chain(every, start=0, goal=60)
    assert found is not None
    assert [edge.fact_id for edge in found] == [4 * number + side for number in range(20) for side in (0, 1)]


# --- words ------------------------------------------------------------------------------------------------------

VENDOR, MAKER, DISTRIBUTOR, VARIANT = 3, 1, 2, 10
QUESTION = Question(
    vendor_id=VENDOR, manufacturer_id=MAKER, device_id=20, variant_id=VARIANT, host_id=30, territory="US",
    channel="web", condition="new", software="7.0.5",
)  # fmt: skip
AGREEMENT = Agreement(
    fact_id=1, code="AG-812", version_no=1, grantor_id=MAKER, grantee_id=VENDOR, may_sublicense=False,
    is_verified=True, valid_from=T0 - DAY, valid_until=T0 + DAY, revoked_at=None,
    scope=dict.fromkeys(("model", "territory", "channel", "condition"), ALL),
)  # fmt: skip
APPROVAL = Approval(
    fact_id=2, code="CA-7", version_no=1, state="approved", limits="", software_from="7.0.10", software_until="",
    valid_from=T0 - DAY, valid_until=T0, waived_until=None, revoked_at=None,
)  # fmt: skip
EQUIPMENT = Equipment(
    fact_id=3, code="EQ-9", version_no=1, regulator="FCC", identifier="2ABC", granted_at=T0 - DAY,
    valid_from=T0 - DAY, valid_until=T0, revoked_at=None,
)  # fmt: skip
HOLD = Hold(
    fact_id=4, code="H-1", reach="sale", placed_by="the shop", reason_code="REVIEW", names_only_vendor=False,
    valid_from=T0, end=FOREVER,
)  # fmt: skip


def misses(*, is_suspended=False, **changes):
    link = replace(AGREEMENT, **changes)
    failures = rules.link_failures(link, QUESTION, demands_verified=True, is_suspended=is_suspended, at=T0)
    return [failure.message for failure in failures]


def scoped(dimension, *values):
    return {"scope": {**AGREEMENT.scope, dimension: frozenset(values)}}


MISSES = [
    ({}, []),
    ({"valid_until": T0}, ["Agreement AG-812 ended on 2016-02-01."]),
    ({"valid_from": T0 + DAY}, ["Agreement AG-812 begins on 2016-02-02."]),
    ({"revoked_at": T0}, ["Agreement AG-812 was revoked on 2016-02-01."]),
    ({"is_suspended": True}, ["Agreement AG-812 is suspended."]),
    ({"is_verified": False}, ["Agreement AG-812 is claimed only; its grantor has not confirmed it."]),
    (scoped("territory", "MX", "CA"), ["Agreement AG-812 covers CA and MX, not US."]),
    (scoped("territory", "BR", "MX", "CA"), ["Agreement AG-812 covers BR, CA and MX, not US."]),
    (scoped("territory", "CA"), ["Agreement AG-812 covers CA, not US."]),
    (scoped("territory"), ["Agreement AG-812 covers no territory."]),
    (scoped("channel", "retail"), ["Agreement AG-812 covers retail, not web."]),
    (scoped("condition", "used"), ["Agreement AG-812 covers used, not new."]),
    (scoped("model", "11"), ["Agreement AG-812 does not cover this model."]),
    ({"scope": {}}, [
        "Agreement AG-812 does not cover this model.", "Agreement AG-812 covers no territory.",
        "Agreement AG-812 covers no channel.", "Agreement AG-812 covers no condition.",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), MISSES)
def test_a_miss_is_worded_so_that_it_can_be_cured(changes, expected):
    assert misses(**changes) == expected


@pytest.mark.parametrize("changes", [changes for changes, expected in MISSES if expected])
def test_of_agreements_between_others_a_vendor_is_told_neither_name_nor_terms(changes):
    for message in misses(grantee_id=DISTRIBUTOR, **changes):
        assert message.startswith("An agreement further up the chain")
        assert not {"AG-812", "CA", "MX", "BR", "retail", "used"} & set(message.replace(",", " ").split())


def test_leave_to_sublicense_is_asked_of_all_but_the_last_link():
    assert misses(grantee_id=DISTRIBUTOR) == [
        "An agreement further up the chain does not allow sublicensing."
    ]
    assert misses(grantee_id=DISTRIBUTOR, may_sublicense=True) == []


def test_a_failure_of_scope_is_further_than_another_and_nearer_than_two():
    def distance(**changes):
        link = replace(AGREEMENT, **changes)
        return rules.distance_of(
            rules.link_failures(link, QUESTION, demands_verified=True, is_suspended=False, at=T0)
        )

    assert distance() == 0
    assert (
        distance(valid_until=T0)
        < distance(**scoped("territory"))
        < distance(valid_until=T0, is_verified=False)
    )


@pytest.mark.parametrize(
    ("failure", "changes", "code", "message"),
    [
        ("revoked", {"revoked_at": T0}, "CARRIER_APPROVAL_REVOKED",
         "The carrier approval of this variant was revoked on 2016-02-01."),
        ("state", {"state": "in_test"}, "CARRIER_NOT_APPROVED", "The carrier approval of this variant is `in_test`."),
        ("not_begun", {"valid_from": T0 + DAY}, "CARRIER_NOT_APPROVED",
         "The carrier approval of this variant begins on 2016-02-02."),
        ("expired", {}, "CARRIER_APPROVAL_EXPIRED", "The carrier approval of this variant ended on 2016-02-01."),
        ("expired", {"waived_until": T0 - DAY}, "CARRIER_APPROVAL_EXPIRED",
         "The waiver that the carrier approval of this variant rests on ended on 2016-01-31."),
        ("suspended", {}, "CARRIER_APPROVAL_SUSPENDED", "The carrier approval of this variant is suspended."),
        ("software", {}, "CARRIER_APPROVAL_SOFTWARE",
         "The carrier approval of this variant covers software from 7.0.10; this is 7.0.5."),
        ("software", {"software_from": "", "software_until": "7.0.5"}, "CARRIER_APPROVAL_SOFTWARE",
         "The carrier approval of this variant covers software before 7.0.5; this is 7.0.5."),
        ("conditional", {"limits": "no B12"}, "CARRIER_APPROVAL_CONDITIONAL",
         "The carrier approval of this variant has limits: no B12."),
    ],
)  # fmt: skip
def test_words_of_approvals(failure, changes, code, message):
    reason = rules.approval_reason(failure, replace(APPROVAL, **changes), QUESTION, T0)
    assert (reason.code, reason.message, reason.document) == (code, message, "CA-7")


def test_a_listing_that_does_not_state_its_software_is_told_to():
    unstated = QUESTION._replace(software="")
    reason = rules.approval_reason("software", APPROVAL, unstated, T0)
    assert "does not say which it ships with" in reason.message
    assert reason.cure == "State the software version that it ships with."


@pytest.mark.parametrize(
    ("failure", "changes", "code"),
    [
        ("revoked", {"revoked_at": T0}, "EQUIPMENT_AUTHORIZATION_REVOKED"),
        ("not_begun", {"valid_from": T0 + DAY}, "EQUIPMENT_NOT_AUTHORIZED"),
        ("expired", {}, "EQUIPMENT_AUTHORIZATION_EXPIRED"),
        ("suspended", {}, "EQUIPMENT_AUTHORIZATION_SUSPENDED"),
    ],
)
def test_words_of_equipment(failure, changes, code):
    reason = rules.equipment_reason(failure, replace(EQUIPMENT, **changes), T0)
    assert reason.code == code
    assert reason.message.startswith("The equipment authorization 2ABC ")


def test_words_of_holds():
    assert rules.hold_reason(HOLD).message == "On hold by the shop since 2016-02-01 (REVIEW)."
    assert rules.hold_reason(replace(HOLD, names_only_vendor=True)).code == "VENDOR_SUSPENDED"
    for reach in ("new_grants", "all_grants"):
        assert rules.hold_reason(replace(HOLD, reach=reach)).code == "EQUIPMENT_LISTED"


def test_reasons_come_in_a_fixed_order_each_once():
    reasons = [
        rules.reason("ON_HOLD", "b", "H-2"),
        rules.reason("ON_HOLD", "b", "H-1"),
        rules.reason("ON_HOLD", "a", "H-1"),
        rules.host_not_served(),
        rules.host_not_served(),
    ]
    assert [(reason.code, reason.document, reason.message) for reason in rules.in_order(reasons)][1:] == [
        ("ON_HOLD", "H-1", "a"), ("ON_HOLD", "H-1", "b"), ("ON_HOLD", "H-2", "b"),
    ]  # fmt: skip
    assert len(rules.in_order(reasons)) == 4


def test_levels_of_radio_are_in_order():
    for place, level in enumerate(rules.RADIO_LEVELS):
        for other, minimum in enumerate(rules.RADIO_LEVELS):
            assert rules.radio_suffices(level, minimum) is (place >= other)


# --- software ---------------------------------------------------------------------------------------------------

versions = st.text(alphabet="0179aBéß.-_ ", min_size=1, max_size=12).filter(
    lambda text: any(c.isalnum() for c in text)
)


@given(
    st.lists(st.integers(0, 10**15 - 1), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**15 - 1), max_size=6),
)
def test_numbers_sort_by_value_part_by_part(one, other):
    keys = [sort_key(".".join(map(str, numbers))) for numbers in (one, other)]
    assert (keys[0] < keys[1]) is (one < other)
    assert (keys[0] == keys[1]) is (one == other)


@given(versions, st.sampled_from(" .-_"))
def test_case_and_punctuation_do_not_count(version, mark):
    key = sort_key(version)
    assert sort_key(mark + version.upper().lower().replace(".", mark).replace("-", mark) + mark) == sort_key(
        version.upper().lower()
    )
    assert sort_key(f"{version}{mark}0") > key
    assert sort_key(f"{version}{mark}a") > key


@given(st.integers(0, 10**15 - 1), st.text(alphabet="abcxyz", min_size=1, max_size=5))
def test_numbers_sort_before_words(number, word):
    assert sort_key(f"7.{number}") < sort_key(f"7.{word}")


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("7.0.5", "7.0.10"), ("7.0.10", "7.1"), ("MIUI 7", "MIUI 8"), ("9", "10"), ("7", "7.0"), ("a", "aa")],
)
def test_versions_in_order(lower, higher):
    assert sort_key(lower) < sort_key(higher)


def test_the_same_version_written_otherwise():
    assert sort_key("MIUI 7") == sort_key("miui-7")
    assert sort_key("007") == sort_key("7")
    assert sort_key("") == sort_key("  ") == ""


@pytest.mark.parametrize("version", ["...", "1" * 16, "a." * 101])
def test_what_is_no_version_is_refused_with_its_field(version):
    with pytest.raises(InvalidFact) as refusal:
        sort_key(version, field="software_from")
    assert refusal.value.field == "software_from"
