"""The other directions say exactly what single decisions say, on whatever pages they come."""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.core import signing
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authorization import clock, decisions, directions, outbox, revocations, spec
from authorization.actors import Actor
from authorization.decisions import InvalidQuestion
from authorization.directions import InvalidCursor
from authorization.revocations import NarrowAgreement, RevokeAgreement
from carriers.models import HostCarrier
from catalog.models import Listing, ListingHost, OfferState, Organization, Variant
from seeds.factories import make_sellable
from tests.authorization import worlds
from tests.authorization.test_evaluators_agree import (
    AGREEMENT,
    AT,
    HOSTING,
    POLICY,
    add_vendors,
    link,
    of,
    written,
)
from tests.authorization.worlds import BASE, DAY, HOSTS, INSTANTS, MAKER, REVISIONS, T0, VARIANTS, VENDORS

pytestmark = pytest.mark.django_db

SIZES = (1, 2, 7, 1000)
TERMS = {"territory": "US", "channel": "web", "condition": "new", "software": "7.0.5"}
SEEDS = st.integers(0, 2**32)
WHEN = st.tuples(st.sampled_from((*INSTANTS, T0 - DAY)), st.sampled_from((None, *range(1, REVISIONS + 1))))
many = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def walk(ask, **more):
    """All items of all pages, and the pages."""
    items, pages, after = [], [], None
    while True:
        page = ask(after=after, **more)
        items += page.items
        pages.append(page)
        assert len(page.items) <= more.get("limit", 100)
        after = page.next_cursor
        if after is None:
            return items, pages


def everybody():
    return list(Organization.objects.order_by("pk"))


def rows():
    variants = list(Variant.objects.select_related("device").order_by("pk"))
    return variants, list(HostCarrier.objects.order_by("pk"))


def allowed(questions, at, known_at):
    answers = decisions.decide_many(questions, at=at, known_at=known_at)
    return [answer for answer in answers if answer.is_allowed]


# --- both ways --------------------------------------------------------------------------------------------------


@many
@given(SEEDS, WHEN, st.sampled_from(("US", "CA")), st.sampled_from(("", "7.0.5")))
def test_who_may_sell_is_everybody_for_whom_the_check_says_so(seed, when, territory, software):
    at, known_at = when
    terms = {**TERMS, "territory": territory, "software": software}
    with written(worlds.make_world(Random(seed))):
        variants, hosts = rows()
        for variant in variants:
            for host in hosts:
                questions = [
                    decisions.question_for(vendor=vendor, variant=variant, host=host, **terms)
                    for vendor in everybody()
                ]
                expected = allowed(questions, at, known_at)
                for size in SIZES:
                    found, _ = walk(
                        directions.who_may_sell, variant=variant, host=host, **terms, at=at, known_at=known_at,
                        limit=size,
                    )  # fmt: skip
                    assert found == expected


@many
@given(SEEDS, WHEN, st.sampled_from(("US", "CA")), st.sampled_from(("", "7.0.5")))
def test_what_may_sell_is_all_for_which_the_check_says_so(seed, when, territory, software):
    at, known_at = when
    terms = {**TERMS, "territory": territory, "software": software}
    with written(worlds.make_world(Random(seed))):
        variants, hosts = rows()
        for vendor in everybody():
            questions = [
                decisions.question_for(vendor=vendor, variant=variant, host=host, **terms)
                for variant in variants
                for host in hosts
            ]
            expected = allowed(questions, at, known_at)
            for host in (None, *hosts):
                for size in SIZES if host is None else (2,):
                    found, _ = walk(
                        directions.what_may_sell, vendor=vendor, host=host, **terms, at=at, known_at=known_at,
                        limit=size,
                    )  # fmt: skip
                    assert found == [a for a in expected if host is None or a.question.host_id == host.pk]


@many
@given(SEEDS, WHEN)
def test_resting_on_is_every_offer_whose_answer_cites_the_record(seed, when):
    at, known_at = when
    world = worlds.make_world(Random(seed))
    with written(world, with_offers=True):
        answers = list(decisions.decide_store(at=at, known_at=known_at))
        kinds = {
            spec.Agreement: "agreement", spec.Approval: "approval", spec.Equipment: "equipment",
            spec.Affiliation: "affiliation", spec.Policy: "policy", spec.Hosting: "hosting",
            spec.Variant: "variant", spec.Network: "network",
        }  # fmt: skip
        records = {
            (kinds[type(row.record)], worlds.identity(row.record))
            for row in world.rows
            if type(row.record) in kinds
        }
        for kind, fact_id in sorted(records):
            expected = [
                (offer_id, answer)
                for offer_id, answer in answers
                if any((item.kind, item.fact_id) == (kind, fact_id) for item in answer.evidence)
            ]
            for size in (1, 7, 1000) if expected else (7,):
                found, _ = walk(
                    lambda kind=kind, fact_id=fact_id, **page: directions.resting_on(kind, fact_id, **page),
                    at=at, known_at=known_at, limit=size,
                )  # fmt: skip
                assert [(item.offer_id, item.answer) for item in found] == expected


def put_on_sale(at):
    """As the desk's publishing would, but for the records of it: what is allowed is live."""
    live = [offer_id for offer_id, answer in decisions.decide_store(at=at) if answer.is_allowed]
    _live(live)
    return live


def _live(offer_ids):
    ListingHost.objects.filter(pk__in=offer_ids).update(
        state=OfferState.LIVE, decision_id="00000000-0000-0000-0000-000000000001", cleared_revision=1,
        clearance_expires_at=T0, cleared_hash="x", content_hash="x",
    )  # fmt: skip


def falls_by_force(at, until, known_at):
    """By deciding the whole store again at every instant of the small worlds, and at every end of a day."""
    boundaries = sorted({*INSTANTS, *[T0 + n * timedelta(hours=12) for n in range(-3, 14)]})
    live = set(ListingHost.objects.filter(state=OfferState.LIVE).values_list("pk", flat=True))
    allowed_now = {pk for pk, a in decisions.decide_store(at=at, known_at=known_at) if a.is_allowed} & live
    fallen = {}
    for instant in boundaries:
        if at < instant <= until:
            for offer_id, answer in decisions.decide_store(at=instant, known_at=known_at):
                if offer_id in allowed_now and offer_id not in fallen and not answer.is_allowed:
                    fallen[offer_id] = (instant, answer.reasons)
    return [(offer_id, *fallen[offer_id]) for offer_id in sorted(fallen)]


@many
@given(SEEDS, st.sampled_from(INSTANTS), st.integers(1, 8), st.sampled_from((None, 2, 4)))
def test_exposure_is_what_deciding_at_every_boundary_finds(seed, at, half_days, known_at):
    within = half_days * timedelta(hours=12)
    with written(worlds.make_world(Random(seed)), with_offers=True):
        put_on_sale(at)
        expected = falls_by_force(at, at + within, known_at)
        for size in SIZES:
            found, _ = walk(
                lambda **page: directions.exposure(within, **page), at=at, known_at=known_at, limit=size
            )
            assert [(item.offer_id, item.falls_at, item.reasons) for item in found] == expected
        for item in found:
            assert item.record is not None, item


# --- what falls by itself, case by case -------------------------------------------------------------------------

FIRST_VARIANT, FIRST_HOST = next(iter(VARIANTS)), next(iter(HOSTS))
OFFER = BASE + 61 * worlds.OFFERS_APART + FIRST_HOST - BASE


def exposed(*records, within=10 * DAY, at=INSTANTS[0], settings_=(POLICY, HOSTING)):
    worlds.write(of(*records, settings_=settings_), with_offers=True)
    assert OFFER in put_on_sale(at)
    return {item.offer_id: item for item in walk(lambda **p: directions.exposure(within, **p), at=at)[0]}


def test_an_offer_that_another_chain_carries_on_does_not_fall():
    ends = replace(AGREEMENT, valid_until=INSTANTS[2])
    assert OFFER not in exposed(ends, link(1, MAKER, VENDORS[0]))


def test_an_offer_falls_after_several_boundaries_that_it_survives():
    links = [link(n, MAKER, VENDORS[0], valid_until=T0 + n * DAY) for n in (1, 2, 3)]
    fall = exposed(*links)[OFFER]
    assert fall.falls_at == T0 + 3 * DAY
    assert [reason.code for reason in fall.reasons] == ["AGREEMENT_EXPIRED"]
    assert fall.record is not None
    assert (fall.record.kind, fall.record.code) == ("agreement", "AG-3")


def test_an_offer_that_comes_back_within_the_window_counts_with_its_first_fall():
    gap = replace(AGREEMENT, valid_until=INSTANTS[1])
    later = replace(link(1, MAKER, VENDORS[0]), valid_from=INSTANTS[2])
    assert exposed(gap, later)[OFFER].falls_at == INSTANTS[1]


@pytest.mark.parametrize(("within", "falls"), [(DAY, True), (DAY - timedelta(microseconds=1), False)])
def test_the_last_instant_of_the_window_belongs_to_it(within, falls):
    found = exposed(replace(AGREEMENT, valid_until=INSTANTS[1]), within=within)
    assert (OFFER in found) is falls


def hold(code="H-1", *, facts=(), **terms):
    targets = {spec.Target(0, "variant", str(FIRST_VARIANT)), *terms.pop("more", ())}
    if facts:
        targets = {spec.Target(0, "fact", str(fact_id)) for fact_id in facts} | terms.pop("parts", set())
    return spec.Hold(BASE + 20_000, code, **{"valid_from": T0, **terms}, targets=frozenset(targets))


def test_the_record_is_the_hold_that_begins():
    fall = exposed(AGREEMENT, hold(valid_from=INSTANTS[2]))[OFFER]
    assert (fall.falls_at, fall.record.kind, fall.record.code) == (INSTANTS[2], "hold", "H-1")


def test_the_record_is_the_hold_that_begins_to_suspend():
    fall = exposed(AGREEMENT, hold(valid_from=INSTANTS[2], facts=[AGREEMENT.fact_id]))[OFFER]
    assert (fall.falls_at, fall.record.kind, fall.record.code) == (INSTANTS[2], "hold", "H-1")
    assert [reason.code for reason in fall.reasons] == ["AGREEMENT_SUSPENDED"]


def test_the_record_is_the_hold_whose_exemption_ends():
    exempt = hold(
        more={spec.Target(1, "vendor", str(VENDORS[0]))},
        exemptions=frozenset({spec.Exemption(1, T0, INSTANTS[3])}),
    )
    fall = exposed(AGREEMENT, exempt)[OFFER]
    assert (fall.falls_at, fall.record.kind, fall.record.code) == (INSTANTS[3], "hold", "H-1")


def test_the_record_is_the_waiver_that_runs_out():
    waived = spec.Approval(
        BASE + 21_000, "CA-1", FIRST_HOST, FIRST_VARIANT, T0, state="conditional", limits="no B12",
        waived_until=INSTANTS[2],
    )  # fmt: skip
    strict = replace(POLICY, enforces_approval=True)
    fall = exposed(AGREEMENT, waived, settings_=(strict, HOSTING))[OFFER]
    assert (fall.falls_at, fall.record.kind, fall.record.code) == (INSTANTS[2], "approval", "CA-1")


def test_the_record_is_the_policy_that_begins():
    strict = replace(
        POLICY, fact_id=BASE + 22_000, valid_from=INSTANTS[1], territory="US", enforces_approval=True
    )
    fall = exposed(AGREEMENT, strict)[OFFER]
    assert (fall.falls_at, fall.record.kind, fall.record.fact_id) == (INSTANTS[1], "policy", BASE + 22_000)


def test_the_record_is_the_hosting_that_ends():
    hosting = replace(HOSTING, valid_until=INSTANTS[1])
    fall = exposed(AGREEMENT, settings_=(POLICY, hosting))[OFFER]
    assert (fall.falls_at, fall.record.kind, fall.record.fact_id) == (
        INSTANTS[1],
        "hosting",
        HOSTING.hosting_id,
    )


def test_what_is_not_live_or_not_allowed_now_is_not_exposed():
    worlds.write(of(replace(AGREEMENT, valid_until=INSTANTS[2])), with_offers=True)
    assert not directions.exposure(10 * DAY, at=T0).items, "no offer is live"
    _live([OFFER])
    assert len(directions.exposure(10 * DAY, at=T0).items) == 1
    assert not directions.exposure(10 * DAY, at=INSTANTS[2]).items, "it fell before"


@pytest.mark.parametrize("within", [timedelta(0), -DAY, directions.LONGEST + DAY])
def test_a_window_that_is_none_is_refused(within):
    with pytest.raises(InvalidQuestion, match="days") as refused:
        directions.exposure(within, at=T0)
    assert refused.value.field == "within"


# --- above the limits -------------------------------------------------------------------------------------------


def counted(ask):
    with CaptureQueriesContext(connection) as captured:
        page = ask()
    return page, len(captured)


def test_1200_vendors():
    vendors = add_vendors(1200)
    worlds.write(of(*[link(place, MAKER, vendor) for place, vendor in enumerate(vendors)]), with_offers=False)
    variant, host = Variant.objects.get(pk=FIRST_VARIANT), HostCarrier.objects.get(pk=FIRST_HOST)
    ask: dict[str, Any] = {"variant": variant, "host": host, **TERMS, "at": AT}
    found, pages = walk(directions.who_may_sell, **ask, limit=1000)
    assert [answer.question.vendor_id for answer in found] == [MAKER, *vendors]
    assert [len(page.items) for page in pages] == [1000, 201]
    variant.device.manufacturer_id  # noqa: B018  fetched before the statements are counted
    _, few = counted(lambda: directions.who_may_sell(**ask, limit=2))
    _, many_ = counted(lambda: directions.who_may_sell(**ask, limit=1000))
    assert few == many_ <= 4, "setting, vendors downstream, those after the place, their evidence"


def test_2500_variants_on_two_hosts():
    first = BASE + 100_000
    variants = list(range(first, first + 2500))
    hosting = replace(HOSTING, hosting_id=HOSTING.hosting_id + 900, host_id=list(HOSTS)[1])
    named = link(1, MAKER, VENDORS[1], models=frozenset(map(str, variants[::2])))
    worlds.write(of(AGREEMENT, named, hosting))
    Variant.objects.bulk_create(
        [Variant(id=pk, device_id=BASE + 31, slug=f"more-{pk}", model_number=f"MORE-{pk}") for pk in variants]
    )
    for vendor_id, expected in ((VENDORS[0], [BASE + 41, BASE + 42, *variants]), (VENDORS[1], variants[::2])):
        ask = {"vendor": Organization.objects.get(pk=vendor_id), **TERMS, "at": AT}
        found, _ = walk(directions.what_may_sell, **ask, host=None, limit=999)
        pairs = [(answer.question.variant_id, answer.question.host_id) for answer in found]
        assert pairs == [(pk, host) for pk in expected for host in HOSTS]
        one, _ = walk(directions.what_may_sell, **ask, host=HostCarrier.objects.get(pk=FIRST_HOST))
        assert [answer.question.variant_id for answer in one] == expected
        _, few = counted(lambda ask=ask: directions.what_may_sell(**ask, host=None, limit=2))
        _, many_ = counted(lambda ask=ask: directions.what_may_sell(**ask, host=None, limit=1000))
        assert few == many_ <= 4


def make_offers(number):
    """Of the first vendor about the first variant, each with a listing of its own."""
    first = BASE + 300_000
    Listing.objects.bulk_create(
        [
            Listing(
                id=pk, vendor_id=VENDORS[0], sku=f"MORE-{pk}", variant_id=FIRST_VARIANT, condition="new",
                territory="US", channel="web", price_amount=1, created_at=T0, updated_at=T0,
            )
            for pk in range(first, first + number)
        ]
    )  # fmt: skip
    ListingHost.objects.bulk_create(
        [
            ListingHost(
                id=pk, listing_id=pk, host_id=FIRST_HOST, content_hash="x", state_changed_at=T0,
                state=OfferState.LIVE, decision_id="00000000-0000-0000-0000-000000000001", cleared_revision=1,
                clearance_expires_at=T0, cleared_hash="x",
            )
            for pk in range(first, first + number)
        ]
    )  # fmt: skip
    return list(range(first, first + number))


def test_6000_offers():
    assert decisions.PAGE < 6000
    worlds.write(
        of(replace(AGREEMENT, valid_until=INSTANTS[2]), link(1, MAKER, VENDORS[0], valid_until=INSTANTS[3]))
    )
    offers = make_offers(6000)
    found, pages = walk(lambda **page: directions.exposure(5 * DAY, **page), at=T0, limit=1000)
    assert [item.offer_id for item in found] == offers
    assert {item.falls_at for item in found} == {INSTANTS[3]}
    assert {item.record.code for item in found} == {"AG-1"}
    assert len(pages) == 6
    _, few = counted(lambda: directions.exposure(5 * DAY, at=T0, limit=2))
    _, many_ = counted(lambda: directions.exposure(5 * DAY, at=T0, limit=1000))
    assert few == many_ <= 10
    found, _ = walk(lambda **page: directions.resting_on("policy", POLICY.fact_id, **page), at=T0, limit=1000)
    assert [item.offer_id for item in found] == offers
    assert {item.state for item in found} == {OfferState.LIVE}
    found, _ = walk(lambda **page: directions.resting_on("agreement", BASE + 10_001, **page), at=T0)
    assert [item.offer_id for item in found] == offers, "the one that lasts longer is cited"
    assert not walk(lambda **page: directions.resting_on("agreement", AGREEMENT.fact_id, **page), at=T0)[0]


def test_a_page_that_finds_nothing_ends_early_and_leads_on(monkeypatch):
    monkeypatch.setattr(directions, "ASKED", 40)
    monkeypatch.setattr(directions, "FIRST", 10)
    vendors = add_vendors(100)
    idle = [link(n, MAKER, vendor, channels=frozenset({"retail"})) for n, vendor in enumerate(vendors[:-1])]
    worlds.write(of(*idle, link(100, MAKER, vendors[-1])))
    variant, host = Variant.objects.get(pk=FIRST_VARIANT), HostCarrier.objects.get(pk=FIRST_HOST)
    found, pages = walk(directions.who_may_sell, variant=variant, host=host, **TERMS, at=AT, limit=5)
    assert [answer.question.vendor_id for answer in found] == [MAKER, vendors[-1]]
    assert len(pages) > 1


def test_more_instants_than_a_page_looks_at(monkeypatch):
    monkeypatch.setattr(directions, "INSTANTS", 4)
    vendors = add_vendors(30)
    minute = timedelta(minutes=1)
    # In no order: the first offers are not the first to fall.
    ends = {vendor: T0 + (1 + 7 * place % 30) * minute for place, vendor in enumerate(vendors)}
    worlds.write(
        of(*[link(n, MAKER, vendor, valid_until=end) for n, (vendor, end) in enumerate(ends.items())])
    )
    offers = make_offers(30)
    for offer, vendor in zip(offers, vendors, strict=True):
        Listing.objects.filter(pk=offer).update(vendor_id=vendor)
    for size in SIZES:
        found, pages = walk(lambda **page: directions.exposure(DAY, **page), at=T0, limit=size)
        assert [(item.offer_id, item.falls_at) for item in found] == list(
            zip(offers, ends.values(), strict=True)
        )
    assert len(pages) > 1
    _, statements = counted(lambda: directions.exposure(DAY, at=T0, limit=1000))
    assert statements < 40


# --- one walk, one answer ---------------------------------------------------------------------------------------


def three_sellers():
    first = make_sellable()
    others = [make_sellable(variant=first.variant, host=first.host, sku=f"S-{n}") for n in range(2)]
    return [first, *others]


def test_a_walk_is_one_answer_though_an_agreement_is_revoked_between_two_pages():
    sellers = three_sellers()
    at = decisions.present(clock.now())[1]
    ask = {
        "variant": sellers[0].variant, "host": sellers[0].host, "territory": "US", "channel": "web",
        "condition": "new", "at": at, "limit": 2,
    }  # fmt: skip
    vendors = [sellers[0].variant.device.manufacturer_id, *[world.vendor.pk for world in sellers]]
    vendors.sort()
    first = directions.who_may_sell(**ask)
    exposures = directions.exposure(DAY, at=at)
    resting = directions.resting_on("hosting", sellers[0].hosting.pk, at=at, limit=2)
    revoke(sellers[2].agreement)
    outbox.pump()
    assert ListingHost.objects.get(pk=sellers[2].offer.pk).state == OfferState.SUSPENDED
    # Whatever instant it is asked with, it is that of the first page.
    second = directions.who_may_sell(**{**ask, "at": clock.now()}, after=first.next_cursor)
    assert [a.question.vendor_id for a in (*first.items, *second.items)] == vendors
    assert (second.revision, second.valid_at) == (first.revision, first.valid_at)
    rest = directions.resting_on("hosting", sellers[0].hosting.pk, at=clock.now(), after=resting.next_cursor)
    assert [item.offer_id for item in (*resting.items, *rest.items)] == [w.offer.pk for w in sellers]
    assert not exposures.items
    now = decisions.present(clock.now())[1]
    assert sellers[2].vendor.pk not in {
        answer.question.vendor_id
        for answer in directions.who_may_sell(**{**ask, "at": now, "limit": 9}).items
    }


def test_a_walk_over_what_falls_loses_none_to_a_sweep():
    sellers = three_sellers()
    at = decisions.present(clock.now())[1]
    end = at + 3 * DAY
    for world in sellers:
        confirm(NarrowAgreement(world.agreement.pk, "AGREEMENT_TERMINATED", valid_until=end))
    outbox.pump()
    at = decisions.present(clock.now())[1]
    first = directions.exposure(5 * DAY, at=at, limit=1)
    revoke(sellers[1].agreement)
    outbox.pump()
    rest, _ = walk(
        lambda **page: directions.exposure(5 * DAY, **{**page, "after": page["after"] or first.next_cursor}),
        at=clock.now(),
    )
    assert [item.offer_id for item in (*first.items, *rest)] == [world.offer.pk for world in sellers]


def revoke(agreement):
    return confirm(RevokeAgreement(agreement.pk, "AGREEMENT_TERMINATED"))


def confirm(change):
    at = clock.now()
    return revocations.execute(
        change, digest=revocations.preview(change, at=at).digest, requested_by="the manufacturer",
        word_received_at=at, note="said so", by=Actor("user", "desk"), at=at,
    )  # fmt: skip


# --- cursors ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked():
    vendors = add_vendors(5)
    worlds.write(of(*[link(place, MAKER, vendor) for place, vendor in enumerate(vendors)]))
    variant, host = Variant.objects.get(pk=FIRST_VARIANT), HostCarrier.objects.get(pk=FIRST_HOST)
    return {"variant": variant, "host": host, **TERMS, "at": AT, "limit": 2}


def test_a_cursor_of_another_question_is_refused(asked):
    cursor = directions.who_may_sell(**asked).next_cursor
    assert directions.who_may_sell(**{**asked, "limit": 3, "at": AT + DAY}, after=cursor).items
    others = (
        {"territory": "CA"}, {"channel": "retail"}, {"condition": "used"}, {"software": ""}, {"known_at": 2},
        {"variant": Variant.objects.get(pk=BASE + 42)}, {"host": HostCarrier.objects.get(pk=BASE + 52)},
    )  # fmt: skip
    for other in others:
        with pytest.raises(InvalidCursor, match="ask again without it"):
            directions.who_may_sell(**{**asked, **other}, after=cursor)
    with pytest.raises(InvalidCursor):
        directions.exposure(DAY, at=AT, after=cursor)
    with pytest.raises(InvalidCursor):
        directions.resting_on("policy", POLICY.fact_id, at=AT, after=cursor)


@pytest.mark.parametrize("spoil", [lambda c: "", lambda c: "x", lambda c: c[:-1], lambda c: c[1:], lambda c: c * 2,
    lambda c: "é" + c, lambda c: c.replace(":", "::"), lambda c: signing.dumps([1, 2]), lambda c: c[::-1],
    lambda c: signing.dumps([1], salt="authorization.directions.1"), lambda c: "\x00", lambda c: c + "\n"])  # fmt: skip
def test_a_cursor_that_was_changed_is_refused(asked, spoil):
    cursor = directions.who_may_sell(**asked).next_cursor
    with pytest.raises(InvalidCursor, match="ask again without it"):
        directions.who_may_sell(**asked, after=spoil(cursor))


def test_a_cursor_of_another_database_is_refused(asked):
    """Which knows more revisions than this one."""
    salt = "authorization.directions.1"
    cursor = directions.who_may_sell(**asked).next_cursor
    assert cursor is not None
    name, revision, instant, place = signing.loads(cursor, salt=salt)
    assert revision == REVISIONS
    cursor = signing.dumps([name, revision + 1, instant, place], salt=salt)
    with pytest.raises(InvalidCursor):
        directions.who_may_sell(**asked, after=cursor)


@pytest.mark.parametrize("limit", [0, -1, directions.LIMIT + 1])
def test_a_size_out_of_bounds_is_refused(asked, limit):
    with pytest.raises(InvalidQuestion, match="1000") as refused:
        directions.who_may_sell(**{**asked, "limit": limit})
    assert refused.value.field == "limit"


@pytest.mark.parametrize(
    ("kind", "fact_id", "field"),
    [
        ("hold", 1, "kind"), ("planet", 1, "kind"), ("agreement", 77, "fact_id"),
        ("approval", AGREEMENT.fact_id, "fact_id"), ("hosting", 77, "fact_id"),
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(asked, kind, fact_id, field):
    with pytest.raises(InvalidQuestion) as refused:
        directions.resting_on(kind, fact_id, at=AT)
    assert refused.value.field == field


def test_software_that_is_none_is_refused(asked):
    with pytest.raises(InvalidQuestion, match="software"):
        directions.who_may_sell(**{**asked, "software": "???"})


def test_without_a_policy_nobody_may_sell(asked):
    found = directions.who_may_sell(**{**asked, "at": T0 - DAY})
    assert (found.items, found.next_cursor) == ((), None)
