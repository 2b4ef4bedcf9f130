"""The contract as a truth table: one world that allows, and each way in which it stops allowing. No database."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from authorization.rules import REASON_CODES, Question
from authorization.spec import (
    Affiliation,
    Agreement,
    Approval,
    Equipment,
    Exemption,
    Facts,
    Hold,
    Hosting,
    Network,
    Policy,
    RadioBand,
    Target,
    Variant,
    judge,
)
from carriers.compatibility import Group, NetworkBand, Rat, Service

T0 = datetime(2016, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
START, END = T0 - 3 * DAY, T0 + 100 * DAY
HORIZON = T0 + 365 * DAY
MAKER, DISTRIBUTOR, VENDOR, PARENT, CHILD, VARIANT, DEVICE, HOST, LISTING = 1, 2, 3, 4, 5, 10, 20, 30, 40
ALL = frozenset("*")

QUESTION = Question(
    vendor_id=VENDOR, manufacturer_id=MAKER, device_id=DEVICE, variant_id=VARIANT, host_id=HOST,
    territory="US", channel="web", condition="new", listing_id=LISTING, software="7.0.5",
)  # fmt: skip
AGREEMENT = Agreement(
    1, "AG-1", MAKER, VENDOR, START, END, models=ALL, territories=ALL, channels=ALL, conditions=ALL
)
POLICY = Policy(50, START, END)
APPROVAL = Approval(60, "CA-60", HOST, VARIANT, START, END)
EQUIPMENT = Equipment(70, "EQ-70", VARIANT, "US", START, START, END)
HOSTING = Hosting(80, "US Mobile", HOST, START, END)
HOLD = Hold(90, "H-90", START, END, targets=frozenset({Target(0, "variant", str(VARIANT))}))
AFFILIATION = Affiliation(85, PARENT, MAKER, START, END)
RADIO = Variant(
    VARIANT, START, END, bands=frozenset({RadioBand("LTE", "B2"), RadioBand("LTE", "B12")}),
    ims=frozenset({(HOST, "yes")}), attributes=frozenset({("chipset", "A1"), ("module", "M1"), ("module", "M2")}),
)  # fmt: skip
NETWORK = Network(
    86, HOST, "tmobile", START, END, admission="open",
    bands=(
        NetworkBand(Rat.LTE, "B2", Group.LTE_CORE, Service.VOLTE),
        NetworkBand(Rat.LTE, "B12", Group.LTE_COV, Service.VOLTE),
        NetworkBand(Rat.UMTS, "B4", Group.UMTS, Service.CS),
        NetworkBand(Rat.GSM, "1900", Group.GSM, Service.CS),
    ),
)  # fmt: skip
GOOD = Facts(
    operator="US Mobile", policies=(POLICY,), agreements=(AGREEMENT,), approvals=(APPROVAL,), equipment=(EQUIPMENT,),
    hostings=(HOSTING,), variants=(RADIO,), networks=(NETWORK,),
)  # fmt: skip


def codes(facts, question=QUESTION, at=T0):
    return [code for code, _ in judge(question, facts, at).reasons]


def agreed(**changes):
    return replace(GOOD, agreements=(replace(AGREEMENT, **changes),))


def approved(**changes):
    return replace(GOOD, approvals=(replace(APPROVAL, **changes),))


def strictly(**changes):
    return replace(GOOD, policies=(replace(POLICY, **changes),))


def authorized(*grants, holds=()):
    return replace(strictly(enforces_equipment=True), equipment=grants, holds=holds)


def held(*targets, **changes):
    """A hold with these (dimension, value), or (part, dimension, value) for exemptions."""
    whole = frozenset(Target(*target) if len(target) == 3 else Target(0, *target) for target in targets)
    return replace(GOOD, holds=(replace(HOLD, targets=whole, **changes),))


def exempted(*targets, valid_from=START, valid_until=END):
    facts = held(("variant", "10"), *[(1, *target) for target in targets])
    exemption = Exemption(1, valid_from, valid_until)
    return replace(facts, holds=(replace(facts.holds[0], exemptions=frozenset({exemption})),))


def listed(reach="all_grants", grants=(EQUIPMENT,), **changes):
    return authorized(*grants, holds=(replace(HOLD, reach=reach, **changes),))


def audible(minimum="FULL", **changes):
    return replace(strictly(minimum_radio=minimum), **changes)


def with_bands(*names):
    return (replace(RADIO, bands=frozenset(RadioBand(*name.split()) for name in names)),)


def subbrand(*affiliations, agreements):
    return replace(GOOD, affiliations=affiliations, agreements=agreements)


FROM_PARENT = replace(AGREEMENT, grantor_id=PARENT)
FROM_CHILD = replace(AGREEMENT, grantor_id=CHILD)
LETS_CHILD = Affiliation(87, MAKER, CHILD, START, END, may_grant_for_parent=True)

TABLE = [
    ("the good world", GOOD, []),
    # agreements
    ("no agreement", replace(GOOD, agreements=()), ["NO_AGREEMENT"]),
    ("for another vendor", agreed(grantee_id=99), ["NO_AGREEMENT"]),
    ("by another manufacturer", agreed(grantor_id=99), ["NO_AGREEMENT"]),
    ("ended this instant", agreed(valid_until=T0), ["AGREEMENT_EXPIRED"]),
    ("ends the next instant", agreed(valid_until=T0 + TICK), []),
    ("begins this instant", agreed(valid_from=T0), []),
    ("begins the next instant", agreed(valid_from=T0 + TICK), ["AGREEMENT_NOT_YET_VALID"]),
    ("revoked this instant", agreed(revoked_at=T0), ["AGREEMENT_REVOKED"]),
    ("revoked the next instant", agreed(revoked_at=T0 + TICK), []),
    ("revoked and ended", agreed(revoked_at=T0, valid_until=T0), ["AGREEMENT_REVOKED"]),
    ("revoked before it begins", agreed(revoked_at=T0, valid_from=T0 + DAY), [
        "AGREEMENT_NOT_YET_VALID", "AGREEMENT_REVOKED"]),
    ("ended, to be revoked", agreed(revoked_at=T0 + DAY, valid_until=T0), ["AGREEMENT_EXPIRED"]),
    ("claimed only", agreed(is_verified=False), ["AGREEMENT_NOT_VERIFIED"]),
    ("another model", agreed(models=frozenset({"11"})), ["AGREEMENT_SCOPE_MODEL"]),
    ("this model", agreed(models=frozenset({"11", str(VARIANT)})), []),
    ("another territory", agreed(territories=frozenset({"CA", "MX"})), ["AGREEMENT_SCOPE_TERRITORY"]),
    ("another channel", agreed(channels=frozenset({"retail"})), ["AGREEMENT_SCOPE_CHANNEL"]),
    ("another condition", agreed(conditions=frozenset({"used"})), ["AGREEMENT_SCOPE_CONDITION"]),
    ("an empty scope means nothing", agreed(territories=frozenset()), ["AGREEMENT_SCOPE_TERRITORY"]),
    ("no scope at all", agreed(
        models=frozenset(), territories=frozenset(), channels=frozenset(), conditions=frozenset()), [
        "AGREEMENT_SCOPE_MODEL", "AGREEMENT_SCOPE_TERRITORY", "AGREEMENT_SCOPE_CHANNEL", "AGREEMENT_SCOPE_CONDITION",
    ]),
    ("not enforced", replace(strictly(enforces_agreement=False), agreements=()), []),
    # affiliations
    ("granted by the parent", subbrand(AFFILIATION, agreements=(FROM_PARENT,)), []),
    ("granted by a stranger", subbrand(agreements=(FROM_PARENT,)), ["NO_AGREEMENT"]),
    ("the affiliation ended", subbrand(replace(AFFILIATION, valid_until=T0), agreements=(FROM_PARENT,)), [
        "NO_AGREEMENT"]),
    ("granted by the parent's parent", subbrand(
        AFFILIATION, Affiliation(88, 99, PARENT, START), agreements=(replace(AGREEMENT, grantor_id=99),)), []),
    ("granted by a child that may", subbrand(LETS_CHILD, agreements=(FROM_CHILD,)), []),
    ("granted by a child that may not", subbrand(
        replace(LETS_CHILD, may_grant_for_parent=False), agreements=(FROM_CHILD,)), ["NO_AGREEMENT"]),
    ("a child of the parent may grant for the parent only", subbrand(
        AFFILIATION, replace(LETS_CHILD, parent_id=PARENT), agreements=(FROM_CHILD,)), ["NO_AGREEMENT"]),
    ("a child's child may not grant", subbrand(
        LETS_CHILD, replace(LETS_CHILD, fact_id=88, parent_id=CHILD, child_id=99),
        agreements=(replace(AGREEMENT, grantor_id=99),)), ["NO_AGREEMENT"]),
    ("affiliations in a circle end", subbrand(
        AFFILIATION, replace(AFFILIATION, fact_id=88, parent_id=MAKER, child_id=PARENT), agreements=()),
        ["NO_AGREEMENT"]),
    # approvals
    ("not approved", replace(GOOD, approvals=()), ["CARRIER_NOT_APPROVED"]),
    ("requested only", approved(state="requested"), ["CARRIER_NOT_APPROVED"]),
    ("in test", approved(state="in_test"), ["CARRIER_NOT_APPROVED"]),
    ("rejected", approved(state="rejected"), ["CARRIER_NOT_APPROVED"]),
    ("in test, and begins later", approved(state="in_test", valid_from=T0 + DAY), ["CARRIER_NOT_APPROVED"] * 2),
    ("conditional", approved(state="conditional", limits="no B12"), []),
    ("for another host", approved(host_id=31), ["CARRIER_NOT_APPROVED"]),
    ("for another variant", approved(variant_id=11), ["CARRIER_NOT_APPROVED"]),
    ("approval ended", approved(valid_until=T0), ["CARRIER_APPROVAL_EXPIRED"]),
    ("approval begins later", approved(valid_from=T0 + TICK), ["CARRIER_NOT_APPROVED"]),
    ("approval revoked", approved(state="revoked", revoked_at=T0), ["CARRIER_APPROVAL_REVOKED"]),
    ("approval to be revoked", approved(state="revoked", revoked_at=T0 + TICK), []),
    ("approval revoked and ended", approved(state="revoked", revoked_at=T0, valid_until=T0), [
        "CARRIER_APPROVAL_REVOKED"]),
    ("waiver runs out", approved(state="conditional", waived_until=T0), ["CARRIER_APPROVAL_EXPIRED"]),
    ("waiver lasts", approved(state="conditional", waived_until=T0 + TICK), []),
    ("a second approval in force", replace(GOOD, approvals=(
        replace(APPROVAL, state="in_test"), replace(APPROVAL, fact_id=61))), []),
    ("approval not enforced", replace(strictly(enforces_approval=False), approvals=()), []),
    ("limits not taken", replace(strictly(conditional_is_enough=False), approvals=(
        replace(APPROVAL, state="conditional", limits="no B12"),)), ["CARRIER_APPROVAL_CONDITIONAL"]),
    ("limits not taken while it is to be revoked", replace(strictly(conditional_is_enough=False), approvals=(
        replace(APPROVAL, state="revoked", limits="no B12", revoked_at=END),)), ["CARRIER_APPROVAL_CONDITIONAL"]),
    ("software below", approved(software_from="7.0.10"), ["CARRIER_APPROVAL_SOFTWARE"]),
    ("software at the start", approved(software_from="7.0.5"), []),
    ("software at the end", approved(software_until="7.0.5"), ["CARRIER_APPROVAL_SOFTWARE"]),
    ("software within", approved(software_from="7", software_until="7.0.10"), []),
    # equipment
    ("equipment authorized", authorized(EQUIPMENT), []),
    ("no equipment authorization", authorized(), ["EQUIPMENT_NOT_AUTHORIZED"]),
    ("none asked for", replace(GOOD, equipment=()), []),
    ("elsewhere", authorized(replace(EQUIPMENT, territory="CA")), ["EQUIPMENT_NOT_AUTHORIZED"]),
    ("of another variant", authorized(replace(EQUIPMENT, variant_id=11)), ["EQUIPMENT_NOT_AUTHORIZED"]),
    ("equipment begins later", authorized(replace(EQUIPMENT, valid_from=T0 + TICK)), ["EQUIPMENT_NOT_AUTHORIZED"]),
    ("equipment ended", authorized(replace(EQUIPMENT, valid_until=T0)), ["EQUIPMENT_AUTHORIZATION_EXPIRED"]),
    ("equipment revoked", authorized(replace(EQUIPMENT, revoked_at=T0)), ["EQUIPMENT_AUTHORIZATION_REVOKED"]),
    ("equipment suspended", authorized(EQUIPMENT, holds=(replace(
        HOLD, targets=frozenset({Target(0, "fact", "70")})),)), ["EQUIPMENT_AUTHORIZATION_SUSPENDED"]),
    ("retroactive list", listed(), ["EQUIPMENT_LISTED"]),
    ("retroactive list of later", listed(valid_from=T0 + TICK), []),
    ("retroactive list that ended", listed(valid_until=T0), []),
    ("retroactive list taken back", listed(released_at=T0), []),
    ("prospective list, granted at its start", listed("new_grants"), ["EQUIPMENT_LISTED"]),
    ("prospective list, granted before", listed("new_grants", valid_from=START + TICK), []),
    ("a list of another variant", listed(targets=frozenset({Target(0, "variant", "11")})), []),
    ("a list by attribute", listed(targets=frozenset({Target(0, "attribute:module", "M2")})), ["EQUIPMENT_LISTED"]),
    ("on two lists", authorized(EQUIPMENT, holds=tuple(
        replace(HOLD, fact_id=number, code=f"L-{number}", reach="all_grants") for number in (91, 92))),
        ["EQUIPMENT_LISTED"] * 2),
    ("a list, but equipment is not enforced", replace(GOOD, holds=(replace(HOLD, reach="all_grants"),)), []),
    # host
    ("host not served", replace(GOOD, hostings=()), ["HOST_NOT_SERVED"]),
    ("host of another operator", replace(GOOD, operator="Other"), ["HOST_NOT_SERVED"]),
    ("another host", replace(GOOD, hostings=(replace(HOSTING, host_id=31),)), ["HOST_NOT_SERVED"]),
    ("hosting ended", replace(GOOD, hostings=(replace(HOSTING, valid_until=T0),)), ["HOST_NOT_SERVED"]),
    # holds
    ("on hold", replace(GOOD, holds=(HOLD,)), ["ON_HOLD"]),
    ("hold begins this instant", held(("variant", "10"), valid_from=T0), ["ON_HOLD"]),
    ("hold begins the next instant", held(("variant", "10"), valid_from=T0 + TICK), []),
    ("hold released this instant", held(("variant", "10"), released_at=T0), []),
    ("hold released the next instant", held(("variant", "10"), released_at=T0 + TICK), ["ON_HOLD"]),
    ("hold ended this instant", held(("variant", "10"), valid_until=T0), []),
    ("two holds, one released", replace(GOOD, holds=(
        replace(HOLD, released_at=T0), replace(HOLD, fact_id=91))), ["ON_HOLD"]),
    ("a hold without targets", held(), []),
    ("a hold on both of two", held(("host", "30"), ("variant", "10")), ["ON_HOLD"]),
    ("a hold on one of two", held(("host", "31"), ("variant", "10")), []),
    ("one of several values", held(("host", "31"), ("host", "30")), ["ON_HOLD"]),
    ("vendor suspended", held(("vendor", "3")), ["VENDOR_SUSPENDED"]),
    ("vendor held on one host", held(("vendor", "3"), ("host", "30")), ["ON_HOLD"]),
    ("hold on a chipset", held(("attribute:chipset", "A1")), ["ON_HOLD"]),
    ("hold on another chipset", held(("attribute:chipset", "M1")), []),
    ("hold on a chipset that is not recorded now", replace(
        held(("attribute:chipset", "A1")), variants=(replace(RADIO, valid_until=T0),)), []),
    ("hold on the parent", replace(held(("manufacturer", "4")), affiliations=(AFFILIATION,)), ["ON_HOLD"]),
    ("hold on the parent of before", replace(
        held(("manufacturer", "4")), affiliations=(replace(AFFILIATION, valid_until=T0),)), []),
    ("hold on a child", replace(held(("manufacturer", "5")), affiliations=(LETS_CHILD,)), []),
    ("agreement suspended", held(("fact", "1")), ["AGREEMENT_SUSPENDED"]),
    ("approval suspended", held(("fact", "60")), ["CARRIER_APPROVAL_SUSPENDED"]),
    ("agreement suspended in the US", held(("fact", "1"), ("territory", "US")), ["AGREEMENT_SUSPENDED"]),
    ("agreement suspended in Canada", held(("fact", "1"), ("territory", "CA")), []),
    ("something else suspended", held(("fact", "2")), []),
    ("exempted", exempted(("vendor", "3")), []),
    ("another exempted", exempted(("vendor", "99")), ["ON_HOLD"]),
    ("exempted on one host of two", exempted(("vendor", "3"), ("host", "31")), ["ON_HOLD"]),
    ("exempted without targets", exempted(), ["ON_HOLD"]),
    ("an exemption that names a record", exempted(("vendor", "3"), ("fact", "1")), ["ON_HOLD"]),
    ("a list that names a record", listed(targets=frozenset({Target(0, "fact", "70")})), []),
    ("exempted until now", exempted(("vendor", "3"), valid_until=T0), ["ON_HOLD"]),
    ("exempted from now on", exempted(("vendor", "3"), valid_from=T0), []),
    ("exempted later", exempted(("vendor", "3"), valid_from=T0 + TICK), ["ON_HOLD"]),
    # radio
    ("full radio", audible(), []),
    ("radio lacks coverage", audible(variants=with_bands("LTE B2")), ["RADIO_INCOMPATIBLE"]),
    ("part is enough", audible("PARTIAL_LTE", variants=with_bands("LTE B2")), []),
    ("3G for part of LTE", audible("PARTIAL_LTE", variants=with_bands("UMTS B4")), ["RADIO_INCOMPATIBLE"]),
    ("3G is enough", audible("PARTIAL_3G", variants=with_bands("UMTS B4")), []),
    ("2G for 3G", audible("PARTIAL_3G", variants=with_bands("GSM 1900")), ["RADIO_INCOMPATIBLE"]),
    ("2G is enough", audible("PARTIAL_2G", variants=with_bands("GSM 1900")), []),
    ("no radio at all", audible("DATA_ONLY", variants=with_bands()), ["RADIO_INCOMPATIBLE"]),
    ("radio not recorded", audible(variants=()), ["RADIO_UNKNOWN"]),
    ("radio not recorded yet", audible(variants=(replace(RADIO, valid_from=T0 + TICK),)), ["RADIO_UNKNOWN"]),
    ("network not recorded", audible(networks=()), ["RADIO_UNKNOWN"]),
    ("network without a rule", audible(networks=(replace(NETWORK, admission=""),)), ["RADIO_UNKNOWN"]),
    ("calls not confirmed", audible("DATA_ONLY", variants=(replace(RADIO, ims=frozenset()),)), ["RADIO_UNKNOWN"]),
    ("data only", audible("DATA_ONLY", variants=(replace(RADIO, ims=frozenset({(HOST, "no")})),)), []),
    ("data only is no voice", audible(
        "PARTIAL_2G", variants=(replace(RADIO, ims=frozenset({(HOST, "no")})),)), ["RADIO_INCOMPATIBLE"]),
    ("the network that began last", audible(networks=(
        NETWORK, replace(NETWORK, network_id=87, valid_from=T0, bands=()))), ["RADIO_INCOMPATIBLE"]),
    ("a later network without a rule does not count", audible(networks=(
        NETWORK, replace(NETWORK, network_id=87, valid_from=T0, bands=(), admission=""))), []),
    ("of two that began together the one with the higher id", audible(networks=(
        replace(NETWORK, network_id=87, bands=()), NETWORK)), ["RADIO_INCOMPATIBLE"]),
    # policies
    ("no policy", replace(GOOD, policies=()), ["POLICY_MISSING"]),
    ("policy ended", strictly(valid_until=T0), ["POLICY_MISSING"]),
    ("policy of elsewhere", strictly(territory="CA"), ["POLICY_MISSING"]),
    ("policy of here", strictly(territory="US"), []),
    ("no policy, and nothing else is looked at", Facts("US Mobile", holds=(HOLD,)), ["POLICY_MISSING"]),
    ("everything at once, in the fixed order", Facts("US Mobile", holds=(HOLD,), policies=(
        replace(POLICY, enforces_equipment=True, minimum_radio="FULL"),)), [
        "HOST_NOT_SERVED", "NO_AGREEMENT", "CARRIER_NOT_APPROVED", "EQUIPMENT_NOT_AUTHORIZED", "RADIO_UNKNOWN",
        "ON_HOLD",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(facts, expected):
    assert codes(facts) == expected
    outcome = {(): "allow", ("POLICY_MISSING",): "undetermined"}.get(tuple(expected), "deny")
    assert judge(QUESTION, facts, T0).outcome == outcome


@pytest.mark.parametrize(("facts", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_an_instant_is_the_same_in_every_time_zone(facts, expected):
    elsewhere = T0.astimezone(timezone(timedelta(hours=9, minutes=30)))
    assert judge(QUESTION, facts, elsewhere) == judge(QUESTION, facts, T0)


def test_every_reason_code_can_be_given():
    """A code that no rule gives would be a promise in the docs that nothing keeps."""
    seen = {code for _, _, expected in TABLE for code in expected} | {"SUBLICENSE_MISSING"}
    assert seen == set(REASON_CODES)


def test_an_allow_cites_what_it_rests_on():
    facts = replace(
        strictly(enforces_equipment=True, minimum_radio="FULL"),
        affiliations=(AFFILIATION,), agreements=(FROM_PARENT,),
    )  # fmt: skip
    assert judge(QUESTION, facts, T0).evidence == {
        ("policy", 50, 1), ("hosting", 80, 1), ("affiliation", 85, 1), ("agreement", 1, 1), ("approval", 60, 1),
        ("equipment", 70, 1), ("variant", VARIANT, 1), ("network", 86, 1),
    }  # fmt: skip
    assert judge(QUESTION, GOOD, T0).evidence == {
        ("policy", 50, 1), ("hosting", 80, 1), ("agreement", 1, 1), ("approval", 60, 1),
    }  # fmt: skip


def test_the_software_must_be_stated_where_it_counts():
    unstated = QUESTION._replace(software="")
    assert codes(approved(software_from="7"), unstated) == ["CARRIER_APPROVAL_SOFTWARE"]
    assert codes(approved(), unstated) == []


def test_the_radio_is_judged_on_the_day_in_utc():
    ends = replace(NETWORK.bands[1], in_service_until=date(2016, 2, 1))
    facts = audible(
        networks=(replace(NETWORK, bands=(NETWORK.bands[0], ends)),), variants=with_bands("LTE B2")
    )
    before = T0 - TICK
    assert codes(facts, at=before) == ["RADIO_INCOMPATIBLE"]
    assert codes(facts, at=before.astimezone(timezone(timedelta(hours=14)))) == ["RADIO_INCOMPATIBLE"]
    assert codes(facts, at=T0) == []
    assert judge(QUESTION, facts, before).expires_at == T0


@pytest.mark.parametrize(
    "dimension",
    [
        "manufacturer", "device", "variant", "vendor", "listing", "host", "territory", "channel", "condition",
        "attribute:chipset", "attribute:module",
    ],
)  # fmt: skip
def test_a_hold_reaches_by_each_dimension_and_not_past_it(dimension):
    point = {
        "manufacturer": MAKER, "device": DEVICE, "variant": VARIANT, "vendor": VENDOR, "listing": LISTING,
        "host": HOST, "territory": "US", "channel": "web", "condition": "new", "attribute:chipset": "A1",
        "attribute:module": "M1",
    }  # fmt: skip
    assert codes(held((dimension, str(point[dimension]))))
    assert not codes(held((dimension, "77")))
    assert not codes(exempted((dimension, str(point[dimension]))))
    assert codes(exempted((dimension, "77")))


def test_a_hold_on_a_listing_stops_no_question_without_one():
    facts = held(("listing", str(LISTING)))
    assert codes(facts) == ["ON_HOLD"]
    assert codes(facts, QUESTION._replace(listing_id=None)) == []


# --- chains -----------------------------------------------------------------------------------------------------


def chain(*links):
    return replace(GOOD, agreements=links)


def test_a_chain_needs_leave_to_sublicense_on_all_but_the_last_link():
    first = replace(AGREEMENT, grantee_id=DISTRIBUTOR, may_sublicense=True)
    last = replace(AGREEMENT, fact_id=2, code="AG-2", grantor_id=DISTRIBUTOR)
    assert codes(chain(first, last)) == []
    assert codes(chain(replace(first, may_sublicense=False), last)) == ["SUBLICENSE_MISSING"]


def test_each_link_must_cover_the_question_by_itself():
    """Dates of one agreement with the territory of another make no chain."""
    early = replace(AGREEMENT, valid_until=T0)
    elsewhere = replace(AGREEMENT, fact_id=2, territories=frozenset({"CA"}))
    assert codes(chain(early, elsewhere)) == ["AGREEMENT_EXPIRED"], "a failure of scope is further"


@pytest.mark.parametrize("depth", [2, 3, 4, 9])
def test_a_chain_may_be_of_any_depth(depth):
    nodes = [MAKER, *range(100, 100 + depth - 1), VENDOR]
    links = [
        replace(
            AGREEMENT, fact_id=number, grantor_id=nodes[number], grantee_id=nodes[number + 1], may_sublicense=True
        )
        for number in range(depth)
    ]  # fmt: skip
    assert codes(chain(*links)) == []
    for number in range(depth):
        assert codes(chain(*[link for link in links if link.fact_id != number])) == ["NO_AGREEMENT"]


def test_a_circle_of_agreements_ends():
    there = replace(AGREEMENT, grantor_id=100, grantee_id=101, may_sublicense=True)
    back = replace(AGREEMENT, fact_id=2, grantor_id=101, grantee_id=100, may_sublicense=True)
    last = replace(AGREEMENT, fact_id=3, grantor_id=101)
    assert codes(chain(there, back, last)) == ["NO_AGREEMENT"]
    first = replace(AGREEMENT, fact_id=4, grantee_id=100, may_sublicense=True)
    assert codes(chain(there, back, last, first)) == []


def cited(facts):
    return {fact_id for kind, fact_id, _ in judge(QUESTION, facts, T0).evidence if kind == "agreement"}


def test_of_two_chains_the_one_that_lasts_longest_is_cited_then_the_shortest_then_the_lowest():
    direct = replace(AGREEMENT, fact_id=9)
    first = replace(AGREEMENT, fact_id=2, grantee_id=DISTRIBUTOR, may_sublicense=True)
    last = replace(AGREEMENT, fact_id=3, grantor_id=DISTRIBUTOR)
    assert cited(chain(direct, first, last)) == {9}
    assert cited(chain(replace(direct, valid_until=END - TICK), first, last)) == {2, 3}
    assert cited(chain(replace(direct, revoked_at=END - TICK), first, last)) == {2, 3}
    assert cited(chain(direct, replace(direct, fact_id=8))) == {8}


def test_affiliations_count_among_the_links_and_end_a_chain():
    own, through = replace(AGREEMENT, fact_id=9), replace(FROM_PARENT, fact_id=1)
    assert cited(subbrand(AFFILIATION, agreements=(own, through))) == {9}
    ending = replace(AFFILIATION, valid_until=T0 + DAY)
    shorter = replace(own, valid_until=T0 + 2 * DAY)
    assert cited(subbrand(ending, agreements=(shorter, through))) == {9}


def test_the_nearest_miss_is_the_chain_with_the_fewest_failures():
    far = replace(AGREEMENT, is_verified=False, valid_until=T0)
    near = replace(AGREEMENT, fact_id=2, code="AG-2", valid_until=T0)
    assert judge(QUESTION, chain(far, near), T0).reasons == (("AGREEMENT_EXPIRED", "AG-2"),)


def test_after_a_revocation_the_reason_is_the_revocation():
    """Another agreement, which never covered the model, misses by as many grounds."""
    revoked = replace(AGREEMENT, revoked_at=T0)
    elsewhere = replace(AGREEMENT, fact_id=2, models=frozenset({"11"}))
    assert codes(chain(revoked, elsewhere)) == ["AGREEMENT_REVOKED"]


def test_a_manufacturer_may_sell_its_own():
    assert codes(replace(GOOD, agreements=()), QUESTION._replace(vendor_id=MAKER)) == []
    parent = QUESTION._replace(vendor_id=PARENT)
    assert codes(subbrand(AFFILIATION, agreements=()), parent) == []
    assert ("affiliation", 85, 1) in judge(parent, subbrand(AFFILIATION, agreements=()), T0).evidence
    assert codes(subbrand(agreements=()), parent) == ["NO_AGREEMENT"]


# --- policies ---------------------------------------------------------------------------------------------------


def test_the_policy_of_2016_asks_for_less():
    facts = replace(agreed(is_verified=False), approvals=())
    assert codes(facts) == ["AGREEMENT_NOT_VERIFIED", "CARRIER_NOT_APPROVED"]
    lax = replace(POLICY, demands_verified=False, enforces_approval=False)
    assert codes(replace(facts, policies=(lax,))) == []


LAX = replace(POLICY, fact_id=51, enforces_agreement=False)
STANDING = [
    ("here before all", replace(LAX, territory="US"), replace(POLICY, valid_from=T0), True),
    ("here first, even if older", replace(POLICY, territory="US"), replace(LAX, valid_from=T0), False),
    ("elsewhere does not count", replace(LAX, territory="CA", valid_from=T0), POLICY, False),
    ("began last", replace(LAX, valid_from=T0), POLICY, True),
    ("not begun", replace(LAX, valid_from=T0 + TICK), POLICY, False),
    ("ended", replace(LAX, valid_until=T0), POLICY, False),
    ("the highest id", LAX, POLICY, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "is_lax"), [row[1:] for row in STANDING], ids=[row[0] for row in STANDING]
)
def test_which_policy_stands(one, other, is_lax):
    for policies in ((one, other), (other, one)):
        facts = replace(GOOD, agreements=(), policies=policies)
        assert codes(facts) == ([] if is_lax else ["NO_AGREEMENT"])


# --- expires_at -------------------------------------------------------------------------------------------------

SOON = T0 + DAY
EXPIRIES = [
    ("the horizon", replace(
        GOOD, policies=(replace(POLICY, valid_until=HORIZON + DAY),), agreements=(replace(AGREEMENT, valid_until=HORIZON
        + DAY),), approvals=(replace(APPROVAL, valid_until=HORIZON + DAY),), hostings=(replace(
        HOSTING, valid_until=HORIZON + DAY),)), HORIZON),
    ("everything ends", GOOD, END),
    ("the agreement ends", agreed(valid_until=SOON), SOON),
    ("the agreement is to be revoked", agreed(revoked_at=SOON), SOON),
    ("the affiliation ends", subbrand(replace(AFFILIATION, valid_until=SOON), agreements=(FROM_PARENT,)), SOON),
    ("a parent comes", replace(GOOD, affiliations=(replace(AFFILIATION, valid_from=SOON),)), SOON),
    ("a parent of a parent to come", replace(GOOD, affiliations=(
        AFFILIATION, Affiliation(88, 99, PARENT, SOON))), SOON),
    ("who may grant comes", replace(GOOD, affiliations=(replace(LETS_CHILD, valid_from=SOON),)), SOON),
    ("who may not grant comes", replace(GOOD, affiliations=(
        replace(LETS_CHILD, valid_from=SOON, may_grant_for_parent=False),)), END),
    ("the hosting ends", replace(GOOD, hostings=(replace(HOSTING, valid_until=SOON),)), SOON),
    ("one hosting of two ends", replace(GOOD, hostings=(
        replace(HOSTING, valid_until=SOON), replace(HOSTING, hosting_id=81))), END),
    ("a hosting begins", replace(GOOD, hostings=(replace(HOSTING, valid_from=SOON),)), SOON),
    ("the waiver runs out", approved(state="conditional", waived_until=SOON), SOON),
    ("the approval is to be revoked", approved(state="revoked", revoked_at=SOON), SOON),
    ("a hold to come", held(("variant", "10"), valid_from=SOON), SOON),
    ("a hold ends", held(("variant", "10"), valid_until=SOON), SOON),
    ("a hold is to be released", held(("variant", "10"), released_at=SOON), SOON),
    ("a hold of others to come", held(("variant", "11"), valid_from=SOON), END),
    ("a hold that ended, with an exemption to come", replace(GOOD, holds=(replace(
        exempted(("vendor", "3"), valid_from=SOON).holds[0], released_at=T0),)), END),
    ("a suspension to come", held(("fact", "1"), valid_from=SOON), SOON),
    ("a suspension of something else to come", held(("fact", "2"), valid_from=SOON), END),
    ("an exemption ends", exempted(("vendor", "3"), valid_until=SOON), SOON),
    ("an exemption begins", exempted(("vendor", "3"), valid_from=SOON), SOON),
    ("an exemption of others begins", exempted(("vendor", "99"), valid_from=SOON), END),
    ("attributes may change", replace(held(("attribute:chipset", "Z")), variants=(
        replace(RADIO, valid_until=SOON),)), SOON),
    ("attributes may change, but no hold names one", replace(GOOD, variants=(replace(RADIO, valid_until=SOON),)), END),
    ("a list to come", listed(valid_from=SOON), SOON),
    ("equipment ends", authorized(replace(EQUIPMENT, valid_until=SOON)), SOON),
    ("equipment is to be revoked", authorized(replace(EQUIPMENT, revoked_at=SOON)), SOON),
    ("the policy ends", strictly(valid_until=SOON), SOON),
    ("a policy to come", replace(GOOD, policies=(POLICY, replace(LAX, valid_from=SOON))), SOON),
    ("a policy to come for here", replace(GOOD, policies=(
        POLICY, replace(LAX, territory="US", valid_from=SOON))), SOON),
    ("a policy to come for all, with one for here", replace(GOOD, policies=(
        replace(POLICY, territory="US"), replace(LAX, valid_from=SOON))), END),
    ("no policy yet", strictly(valid_from=SOON), SOON),
    ("no policy, whatever else may change", replace(strictly(valid_until=T0), holds=(
        replace(HOLD, valid_from=SOON),)), HORIZON),
    ("an agreement that fails begins", agreed(valid_from=SOON), SOON),
    ("an agreement further up changes", replace(GOOD, agreements=(replace(
        AGREEMENT, grantor_id=100, is_verified=False), replace(
        AGREEMENT, fact_id=2, grantor_id=99, grantee_id=100, valid_from=SOON))), SOON),
    ("an approval that fails begins", approved(valid_from=SOON), SOON),
    ("the network changes", audible(networks=(NETWORK, replace(
        NETWORK, network_id=87, valid_from=SOON))), SOON),
    ("the radio changes", audible(variants=(replace(RADIO, valid_until=SOON),)), SOON),
    ("a band goes", audible(networks=(replace(NETWORK, bands=(replace(
        NETWORK.bands[0], in_service_until=date(2016, 2, 2)), *NETWORK.bands[1:])),)), SOON),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "expected"), [row[1:] for row in EXPIRIES], ids=[row[0] for row in EXPIRIES]
)
def test_when_the_answer_may_change(facts, expected):
    assert judge(QUESTION, facts, T0).expires_at == expected
