"""The rules as a truth table: one world that allows, and each way in which it stops allowing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorization.rules import (
    ALL,
    REASON_CODES,
    Agreement,
    Approval,
    Hold,
    Hosting,
    Policy,
    Question,
    World,
    evaluate,
)

T0 = datetime(2016, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
END = T0 + 100 * DAY
HORIZON = T0 + 365 * DAY
MAKER, DISTRIBUTOR, VENDOR, VARIANT, DEVICE, HOST = 1, 2, 3, 10, 20, 30

QUESTION = Question(
    vendor_id=VENDOR, manufacturer_id=MAKER, device_id=DEVICE, variant_id=VARIANT, host_id=HOST,
    territory="US", channel="web", condition="new", listing_id=40,
)  # fmt: skip
EVERYTHING = {name: frozenset({ALL}) for name in ("model", "territory", "channel", "condition")}


def agreement(fact_id=1, grantor=MAKER, grantee=VENDOR, **changes):
    base = Agreement(
        fact_id=fact_id, code=f"AG-{fact_id}", version_no=1, grantor_id=grantor, grantee_id=grantee,
        may_sublicense=False, is_verified=True, valid_from=T0 - 3 * DAY, valid_until=END, revoked_at=None,
        scope=EVERYTHING,
    )  # fmt: skip
    return replace(base, **changes)


def hold(fact_id=90, **changes):
    base = Hold(
        fact_id=fact_id, code=f"H-{fact_id}", version_no=1, placed_by="the shop", reason_code="SHOP_REVIEW",
        valid_from=T0 - 3 * DAY, valid_until=END, released_at=None, targets={"variant": frozenset({str(VARIANT)})},
    )  # fmt: skip
    return replace(base, **changes)


POLICY = Policy(
    fact_id=50, code="P", version_no=1, name="gate shut", demands_verified=True, enforces_approval=True,
    valid_from=T0 - 3 * DAY, valid_until=END,
)  # fmt: skip
APPROVAL = Approval(
    fact_id=60, code="CA-60", version_no=1, host_id=HOST, variant_id=VARIANT, state="approved",
    valid_from=T0 - 3 * DAY, valid_until=END, revoked_at=None,
)  # fmt: skip
HOSTING = Hosting(host_id=HOST, version_no=1, valid_from=T0 - 3 * DAY, valid_until=END)
GOOD = World(policies=(POLICY,), agreements=(agreement(),), approvals=(APPROVAL,), hostings=(HOSTING,))


def decide(world, question=QUESTION, at=T0):
    return evaluate(question, world, at, HORIZON)


def codes(world, question=QUESTION, at=T0):
    finding = decide(world, question, at)
    return [reason.code for reason in finding.reasons]


def test_the_good_world_allows_and_cites_what_it_rests_on():
    finding = decide(GOOD)
    assert finding.outcome == "allow"
    assert [(item.kind, item.code) for item in finding.evidence] == [
        ("policy", "P"), ("agreement", "AG-1"), ("approval", "CA-60"),
    ]  # fmt: skip
    assert finding.expires_at == END


def with_agreement(**changes):
    return replace(GOOD, agreements=(agreement(**changes),))


def scoped(dimension, *values):
    return with_agreement(scope={**EVERYTHING, dimension: frozenset(values)})


TABLE = [
    ("no agreement", replace(GOOD, agreements=()), ["NO_AGREEMENT"]),
    ("for another vendor", with_agreement(grantee=99), ["NO_AGREEMENT"]),
    ("by another manufacturer", with_agreement(grantor=99), ["NO_AGREEMENT"]),
    ("ended this instant", with_agreement(valid_until=T0), ["AGREEMENT_EXPIRED"]),
    ("begins this instant", with_agreement(valid_from=T0), []),
    ("begins later", with_agreement(valid_from=T0 + DAY), ["AGREEMENT_NOT_YET_VALID"]),
    ("revoked this instant", with_agreement(revoked_at=T0), ["AGREEMENT_REVOKED"]),
    ("revoked later", with_agreement(revoked_at=T0 + DAY), []),
    ("claimed only", with_agreement(is_verified=False), ["AGREEMENT_NOT_VERIFIED"]),
    ("another model", scoped("model", "11"), ["AGREEMENT_SCOPE_MODEL"]),
    ("this model", scoped("model", str(VARIANT)), []),
    ("another territory", scoped("territory", "CA", "MX"), ["AGREEMENT_SCOPE_TERRITORY"]),
    ("another channel", scoped("channel", "retail"), ["AGREEMENT_SCOPE_CHANNEL"]),
    ("another condition", scoped("condition", "used"), ["AGREEMENT_SCOPE_CONDITION"]),
    ("an empty scope means nothing", scoped("territory"), ["AGREEMENT_SCOPE_TERRITORY"]),
    ("no scope at all", with_agreement(scope={}), [
        "AGREEMENT_SCOPE_MODEL", "AGREEMENT_SCOPE_TERRITORY", "AGREEMENT_SCOPE_CHANNEL", "AGREEMENT_SCOPE_CONDITION",
    ]),
    ("not approved", replace(GOOD, approvals=()), ["CARRIER_NOT_APPROVED"]),
    ("requested only", replace(GOOD, approvals=(replace(APPROVAL, state="requested"),)), ["CARRIER_NOT_APPROVED"]),
    ("in test", replace(GOOD, approvals=(replace(APPROVAL, state="in_test"),)), ["CARRIER_NOT_APPROVED"]),
    ("conditional", replace(GOOD, approvals=(replace(APPROVAL, state="conditional"),)), []),
    ("for another host", replace(GOOD, approvals=(replace(APPROVAL, host_id=31),)), ["CARRIER_NOT_APPROVED"]),
    ("for another variant", replace(GOOD, approvals=(replace(APPROVAL, variant_id=11),)), ["CARRIER_NOT_APPROVED"]),
    ("approval ended", replace(GOOD, approvals=(replace(APPROVAL, valid_until=T0),)), ["CARRIER_APPROVAL_EXPIRED"]),
    ("approval revoked", replace(GOOD, approvals=(replace(APPROVAL, state="revoked", revoked_at=T0),)), [
        "CARRIER_APPROVAL_REVOKED",
    ]),
    ("a second approval in force", replace(GOOD, approvals=(replace(APPROVAL, state="in_test"), replace(
        APPROVAL, fact_id=61))), []),
    ("host not served", replace(GOOD, hostings=()), ["HOST_NOT_SERVED"]),
    ("hosting ended", replace(GOOD, hostings=(replace(HOSTING, valid_until=T0),)), ["HOST_NOT_SERVED"]),
    ("on hold", replace(GOOD, holds=(hold(),)), ["ON_HOLD"]),
    ("hold begins this instant", replace(GOOD, holds=(hold(valid_from=T0),)), ["ON_HOLD"]),
    ("hold begins later", replace(GOOD, holds=(hold(valid_from=T0 + DAY),)), []),
    ("hold released this instant", replace(GOOD, holds=(hold(released_at=T0),)), []),
    ("hold ended this instant", replace(GOOD, holds=(hold(valid_until=T0),)), []),
    ("two holds, one released", replace(GOOD, holds=(hold(released_at=T0), hold(91))), ["ON_HOLD"]),
    ("a hold without targets", replace(GOOD, holds=(hold(targets={}),)), []),
    ("a hold on both of two", replace(GOOD, holds=(hold(targets={
        "host": frozenset({str(HOST)}), "variant": frozenset({str(VARIANT)})}),)), ["ON_HOLD"]),
    ("a hold on one of two", replace(GOOD, holds=(hold(targets={
        "host": frozenset({"31"}), "variant": frozenset({str(VARIANT)})}),)), []),
    ("vendor suspended", replace(GOOD, holds=(hold(targets={"vendor": frozenset({str(VENDOR)})}),)), [
        "VENDOR_SUSPENDED",
    ]),
    ("agreement suspended", replace(GOOD, holds=(hold(targets={"fact": frozenset({"1"})}),)), ["AGREEMENT_SUSPENDED"]),
    ("approval suspended", replace(GOOD, holds=(hold(targets={"fact": frozenset({"60"})}),)), [
        "CARRIER_APPROVAL_SUSPENDED",
    ]),
    ("everything at once, in the fixed order", World(policies=(POLICY,), holds=(hold(),)), [
        "HOST_NOT_SERVED", "NO_AGREEMENT", "CARRIER_NOT_APPROVED", "ON_HOLD",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("world", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(world, expected):
    assert codes(world) == expected
    assert (decide(world).outcome == "allow") is (not expected)


@pytest.mark.parametrize(
    "dimension", ["manufacturer", "device", "variant", "vendor", "listing", "host", "territory"]
)
def test_a_hold_reaches_by_each_dimension_and_not_past_it(dimension):
    point = {
        "manufacturer": MAKER, "device": DEVICE, "variant": VARIANT, "vendor": VENDOR, "listing": 40, "host": HOST,
        "territory": "US",
    }  # fmt: skip
    assert codes(replace(GOOD, holds=(hold(targets={dimension: frozenset({str(point[dimension])})}),)))
    assert not codes(replace(GOOD, holds=(hold(targets={dimension: frozenset({"77"})}),)))


def chain(*links):
    return replace(GOOD, agreements=links)


def test_a_chain_needs_leave_to_sublicense_on_all_but_the_last_link():
    first = agreement(1, MAKER, DISTRIBUTOR, may_sublicense=True)
    last = agreement(2, DISTRIBUTOR, VENDOR)
    assert codes(chain(first, last)) == []
    assert codes(chain(replace(first, may_sublicense=False), last)) == ["SUBLICENSE_MISSING"]


def test_each_link_must_cover_the_point_by_itself():
    """Dates of one agreement with the territory of another make no chain."""
    early = agreement(1, MAKER, VENDOR, valid_until=T0)
    elsewhere = agreement(2, MAKER, VENDOR, scope={**EVERYTHING, "territory": frozenset({"CA"})})
    assert len(codes(chain(early, elsewhere))) == 1


@pytest.mark.parametrize("depth", [2, 3, 4, 9])
def test_a_chain_may_be_of_any_depth(depth):
    nodes = [MAKER, *range(100, 100 + depth - 1), VENDOR]
    links = [
        agreement(number, nodes[number], nodes[number + 1], may_sublicense=True) for number in range(depth)
    ]
    assert codes(chain(*links)) == []
    for number in range(depth):
        broken = [link for link in links if link.fact_id != number]
        assert codes(chain(*broken)) == ["NO_AGREEMENT"]


def test_a_circle_of_agreements_ends():
    there, back = agreement(1, 100, 101, may_sublicense=True), agreement(2, 101, 100, may_sublicense=True)
    assert codes(chain(there, back, agreement(3, 101, VENDOR))) == ["NO_AGREEMENT"]


def test_of_two_chains_the_one_that_lasts_longest_is_the_evidence():
    short, long = agreement(1, valid_until=T0 + DAY), agreement(2)
    finding = decide(chain(short, long))
    assert "AG-2" in [item.code for item in finding.evidence]
    assert finding.expires_at == END


def test_the_nearest_miss_is_the_chain_with_the_fewest_failures():
    far = agreement(1, is_verified=False, valid_until=T0)
    near = agreement(2, valid_until=T0)
    finding = decide(chain(far, near))
    assert [(reason.code, reason.document) for reason in finding.reasons] == [("AGREEMENT_EXPIRED", "AG-2")]
    assert finding.reasons[0].message == "Agreement AG-2 ended on 2016-02-01."


def test_after_a_revocation_the_reason_is_the_revocation():
    """Another agreement, which never covered the model, misses by as many grounds."""
    revoked = agreement(1, revoked_at=T0)
    elsewhere = agreement(2, scope={**EVERYTHING, "model": frozenset({"11"})})
    assert codes(chain(revoked, elsewhere)) == ["AGREEMENT_REVOKED"]


def test_a_vendor_is_not_told_the_names_of_agreements_between_others():
    first = agreement(1, MAKER, DISTRIBUTOR, may_sublicense=True, is_verified=False)
    finding = decide(chain(first, agreement(2, DISTRIBUTOR, VENDOR)))
    assert "AG-1" not in finding.reasons[0].message
    narrow = replace(first, is_verified=True, scope={**EVERYTHING, "territory": frozenset({"CA"})})
    finding = decide(chain(narrow, agreement(2, DISTRIBUTOR, VENDOR)))
    assert "CA" not in finding.reasons[0].message, "nor what they cover"


def test_a_manufacturer_may_sell_its_own():
    own = replace(QUESTION, vendor_id=MAKER)
    assert codes(replace(GOOD, agreements=()), own) == []


def test_the_policy_of_2016_asks_for_less():
    lax = replace(POLICY, demands_verified=False, enforces_approval=False)
    world = World(policies=(lax,), agreements=(agreement(is_verified=False),), hostings=(HOSTING,))
    assert codes(world) == []
    assert codes(replace(world, policies=(POLICY,))) == ["AGREEMENT_NOT_VERIFIED", "CARRIER_NOT_APPROVED"]


def test_without_a_policy_nothing_can_be_decided():
    finding = decide(replace(GOOD, policies=()))
    assert finding.outcome == "undetermined"
    assert [reason.code for reason in finding.reasons] == ["POLICY_MISSING"]


def test_an_allow_ends_with_the_first_thing_that_it_rests_on_or_that_will_stop_it():
    assert decide(with_agreement(valid_until=T0 + DAY)).expires_at == T0 + DAY
    assert decide(with_agreement(revoked_at=T0 + DAY)).expires_at == T0 + DAY
    assert decide(replace(GOOD, hostings=(replace(HOSTING, valid_until=T0 + DAY),))).expires_at == T0 + DAY
    assert decide(replace(GOOD, holds=(hold(valid_from=T0 + DAY),))).expires_at == T0 + DAY
    unrelated = hold(valid_from=T0 + DAY, targets={"variant": frozenset({"11"})})
    assert decide(replace(GOOD, holds=(unrelated,))).expires_at == END
    coming = hold(valid_from=T0 + DAY, targets={"fact": frozenset({"1"})})
    assert decide(replace(GOOD, holds=(coming,))).expires_at == T0 + DAY


def test_every_reason_code_can_be_given():
    """A code that no rule gives would be a promise in the docs that nothing keeps."""
    seen = {reason.code for _, world, _ in TABLE for reason in decide(world).reasons}
    seen |= {"SUBLICENSE_MISSING", "POLICY_MISSING"}
    assert seen == set(REASON_CODES)


# --- properties over small worlds -------------------------------------------------------------------------------

instants = st.integers(0, 4).map(lambda day: T0 + (day - 2) * DAY)
intervals = st.tuples(instants, instants).filter(lambda pair: pair[0] < pair[1])
organizations = st.sampled_from([MAKER, DISTRIBUTOR, 4, VENDOR])
covers = st.sampled_from([frozenset(), frozenset({ALL}), frozenset({"US"}), frozenset({"CA"})])


@st.composite
def agreements(draw, fact_id):
    grantor, grantee = draw(st.tuples(organizations, organizations).filter(lambda pair: pair[0] != pair[1]))
    valid_from, valid_until = draw(intervals)
    return agreement(
        fact_id, grantor, grantee, may_sublicense=draw(st.booleans()), is_verified=draw(st.booleans()),
        valid_from=valid_from, valid_until=valid_until, revoked_at=draw(st.none() | instants),
        scope={**EVERYTHING, "territory": draw(covers)},
    )  # fmt: skip


@st.composite
def worlds(draw):
    links = [draw(agreements(number)) for number in range(draw(st.integers(0, 5)))]
    holds = [
        hold(90 + number, valid_from=span[0], valid_until=span[1], targets=draw(st.sampled_from([
            {}, {"vendor": frozenset({str(VENDOR)})}, {"fact": frozenset({"0"})}, {"host": frozenset({"31"})},
        ])))
        for number, span in enumerate(draw(st.lists(intervals, max_size=2)))
    ]  # fmt: skip
    return replace(GOOD, agreements=tuple(links), holds=tuple(holds))


@given(worlds(), instants, st.randoms(use_true_random=False))
def test_order_and_duplicates_change_nothing(world, at, random):
    shuffled = list(world.agreements) + list(world.agreements[:1])
    random.shuffle(shuffled)
    assert decide(replace(world, agreements=tuple(shuffled)), at=at) == decide(world, at=at)


@given(worlds(), instants, st.integers(0, 5))
def test_taking_an_agreement_away_never_allows_more(world, at, fact_id):
    less = replace(world, agreements=tuple(link for link in world.agreements if link.fact_id != fact_id))
    if decide(less, at=at).outcome == "allow":
        assert decide(world, at=at).outcome == "allow"


@given(worlds(), instants)
def test_adding_a_hold_never_allows_more(world, at):
    more = replace(world, holds=(*world.holds, hold(99)))
    assert decide(more, at=at).outcome == "deny"


@given(worlds(), instants)
def test_an_allow_replays_from_the_records_it_cites_and_from_no_fewer(world, at):
    finding = decide(world, at=at)
    if finding.outcome != "allow":
        return
    cited = {item.fact_id for item in finding.evidence}
    only = replace(world, agreements=tuple(link for link in world.agreements if link.fact_id in cited))
    assert decide(only, at=at).outcome == "allow"
    for fact_id in cited - {POLICY.fact_id, APPROVAL.fact_id}:
        fewer = replace(only, agreements=tuple(link for link in only.agreements if link.fact_id != fact_id))
        assert decide(fewer, at=at).outcome == "deny"


@given(worlds(), instants)
def test_an_allow_holds_until_it_expires(world, at):
    """No instant before `expires_at` denies, and `expires_at` is after the check."""
    finding = decide(world, at=at)
    assert finding.expires_at > at
    if finding.outcome == "allow":
        middle = at + (finding.expires_at - at) / 2
        assert decide(world, at=middle).outcome == "allow"
        assert decide(world, at=finding.expires_at - timedelta(microseconds=1)).outcome == "allow"


def reachable(world, at, node=MAKER, seen=frozenset()):
    """The specification of a chain, by walking every path; shares nothing with the evaluator."""
    for link in world.agreements:
        suspended = any(
            "fact" in h.targets
            and str(link.fact_id) in h.targets["fact"]
            and h.valid_from <= at < h.valid_until
            for h in world.holds
        )
        covered = link.scope["territory"] & {ALL, "US"}
        in_force = link.valid_from <= at < link.valid_until and not (
            link.revoked_at and link.revoked_at <= at
        )
        if link.grantor_id != node or not covered or not in_force or suspended or not link.is_verified:
            continue
        if link.grantee_id == VENDOR:
            return True
        fresh = link.grantee_id not in seen
        if link.may_sublicense and fresh and reachable(world, at, link.grantee_id, seen | {node}):
            return True
    return False


@given(worlds(), instants)
def test_the_chain_agrees_with_a_walk_over_all_paths(world, at):
    agreement_fails = any(reason.check == "agreement" for reason in decide(world, at=at).reasons)
    assert agreement_fails is not reachable(world, at)
