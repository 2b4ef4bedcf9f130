"""What the quick look vouches for is allowed; what it doubts has lost something. And each clause of it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction

from authorization import decisions, spec, vouching
from authorization.decisions import Answer
from carriers.compatibility import Group, NetworkBand, Rat, Service
from catalog.models import ListingHost, OfferState, Variant
from tests.authorization import worlds
from tests.authorization.worlds import (
    BASE,
    DAY,
    DEVICES,
    GROUP,
    HOSTS,
    INSTANTS,
    MAKER,
    REVISIONS,
    T0,
    VARIANTS,
    VENDORS,
    Row,
    World,
    identity,
)

pytestmark = pytest.mark.django_db

WORLDS = 60

# Ways to clear the offers of one world: at which instant and revision, and whether a phone changes hands afterwards.
WAYS = (
    (0, 1, False),
    (0, 2, False),
    (1, 3, False),
    (2, 2, False),
    (0, REVISIONS, True),
    (0, REVISIONS, False),
)


@dataclass(frozen=True)
class Seen:
    """Live offers at one instant: the answers on which they were cleared, those of now, and the look."""

    at: datetime
    before: dict[int, Answer]
    now: dict[int, Answer]
    look: vouching.Look


def looks(seed: int) -> Iterator[Seen]:
    """At a random history, from each way to have been cleared in it onwards."""
    random = Random(seed)
    with transaction.atomic():
        worlds.write(worlds.make_world(random), with_offers=True)
        for place, known_at, moves in WAYS:
            before = clear(INSTANTS[place], known_at)
            if not before:
                continue
            if moves:
                Variant.objects.filter(pk=random.choice(list(worlds.VARIANTS))).update(
                    device_id=random.choice(list(DEVICES))
                )
            for at in INSTANTS[place:]:
                now = answers(live(), at)
                look = vouching.look(after=0, at=at)
                assert look.looked_at == len(before)
                yield Seen(at, before, now, look)
            Variant.objects.bulk_update(
                [Variant(pk=variant, device_id=device) for variant, device in worlds.VARIANTS.items()],
                ["device"],
            )
        transaction.set_rollback(True)


def clear(at: datetime, known_at: int) -> dict[int, Answer]:
    """Let live what was allowed then, as known then, and nothing else."""
    ListingHost.objects.update(state=OfferState.DRAFT)
    offers = list(ListingHost.objects.select_related("listing__variant__device").order_by("id"))
    questions = [decisions.question_for_offer(offer) for offer in offers]
    given = decisions.decide_many(questions, at=at, known_at=known_at)
    allowed = [pair for pair in zip(given, offers, strict=True) if pair[0].is_allowed]
    for decision, (_, offer) in zip(decisions.record_decisions(allowed), allowed, strict=True):
        ListingHost.objects.filter(pk=offer.pk).update(
            state=OfferState.LIVE,
            decision_id=decision.pk,
            cleared_hash=offer.content_hash,
            cleared_revision=known_at,
            clearance_expires_at=decision.expires_at,
        )
    return {offer.pk: answer for answer, offer in allowed}


def live() -> list[ListingHost]:
    rows = ListingHost.objects.filter(state=OfferState.LIVE).select_related("listing__variant__device")
    return list(rows.order_by("id"))


def answers(offers: list[ListingHost], at: datetime) -> dict[int, Answer]:
    return {
        offer.pk: answer for offer, answer in zip(offers, decisions.decide_offers(offers, at=at), strict=True)
    }


def cites(answer: Answer) -> set[tuple[str, int, int]]:
    return {(item.kind, item.fact_id, item.version_no) for item in answer.evidence}


def test_whatever_is_vouched_for_is_allowed_and_whatever_is_doubted_has_lost_something():
    vouched = fallen = 0
    for seed in range(WORLDS):
        for seen in looks(seed):
            for offer_id, answer in seen.now.items():
                doubts = seen.look.doubted.get(offer_id, [])
                if not doubts:
                    vouched += 1
                    assert answer.is_allowed, (seed, seen.at, offer_id, answer.reason_codes)
                    continue
                fallen += not answer.is_allowed
                before = seen.before[offer_id]
                has_lost = (
                    not answer.is_allowed
                    or cites(answer) != cites(before)
                    or before.expires_at <= seen.at
                    or doubts == ["other question"]
                )
                assert has_lost, (seed, seen.at, offer_id, doubts)
    assert vouched > 50, "worlds in which nothing is vouched for prove nothing"
    assert fallen > 50


# --- one case for each clause ------------------------------------------------------------------------------------

VENDOR, OTHER_VENDOR = VENDORS
VARIANT, SECOND, BRANDED = VARIANTS
HOST, OTHER_HOST = HOSTS
END = T0 + 100 * DAY
LONG: dict[str, Any] = {"valid_from": T0 - DAY, "valid_until": END}
ALL = frozenset("*")
AGREEMENT = spec.Agreement(
    BASE + 101,
    "AG-1",
    MAKER,
    VENDOR,
    **LONG,
    is_verified=False,
    models=ALL,
    territories=ALL,
    channels=ALL,
    conditions=ALL,
)
POLICY = spec.Policy(
    BASE + 102,
    **LONG,
    territory="*",
    demands_verified=False,
    enforces_equipment=True,
    minimum_radio="DATA_ONLY",
)
APPROVALS = [
    spec.Approval(BASE + 110 + n, f"CA-{n}", host, variant, **LONG, state="approved")
    for n, (host, variant) in enumerate(product(HOSTS, (VARIANT, SECOND)))
]
EQUIPMENT = [
    spec.Equipment(BASE + 120 + n, f"EQ-{n}", variant, "US", T0 - DAY, **LONG)
    for n, variant in enumerate((VARIANT, SECOND))
]
HOSTINGS = [spec.Hosting(BASE + 130 + n, settings.SHOP_MVNO, host, **LONG) for n, host in enumerate(HOSTS)]
RADIOS = [
    spec.Variant(variant, **LONG, bands=frozenset({spec.RadioBand("LTE", "B2")}),
                 ims=frozenset((host, "yes") for host in HOSTS), attributes=frozenset({("chipset", "A1")}))
    for variant in (VARIANT, SECOND)
]  # fmt: skip
BANDS = (NetworkBand(Rat("LTE"), "B2", Group("lte_core"), Service("VoLTE"), None),)
NETWORKS = [
    spec.Network(BASE + 140 + n, host, HOSTS[host], **LONG, admission="open", bands=BANDS)
    for n, host in enumerate(HOSTS)
]
GOOD = [POLICY, AGREEMENT, *APPROVALS, *EQUIPMENT, *HOSTINGS, *RADIOS, *NETWORKS]
# The vendor sells two variants of the maker, each on two hosts.
LISTED = {
    listing: pair for listing, pair in worlds.LISTINGS.items() if pair[0] == VENDOR and pair[1] != BRANDED
}


def held(*targets: tuple[Any, ...], **changes: Any) -> spec.Hold:
    """A hold with these (dimension, value), or (part, dimension, value) for exemptions."""
    whole = [target if len(target) == 3 else (0, *target) for target in targets]
    named = frozenset(spec.Target(part, dimension, str(value)) for part, dimension, value in whole)
    return spec.Hold(BASE + 200, "H-1", **(LONG | {"targets": named} | changes))


def later(*records: Any) -> list[Row]:
    return [Row(record, rev_from=2) for record in records]


def exempt(until: datetime) -> dict[str, Any]:
    return {"exemptions": frozenset({spec.Exemption(1, T0 - DAY, until)})}


LIST = held(("variant", VARIANT), reach="all_grants")
AFFILIATION = spec.Affiliation(BASE + 210, GROUP, MAKER, **LONG)
NEWER_NETWORK = spec.Network(
    BASE + 150, HOST, HOSTS[HOST], valid_from=T0, valid_until=END, admission="list", bands=()
)
# The agreement is claimed only.
STRICTER = replace(POLICY, fact_id=BASE + 220, demands_verified=True)
# name: (what was so at first, what came later, when it is looked, what is doubted, of which of the four offers)
CASES: dict[str, tuple[list[Any], list[Row], int, str, int]] = {
    "nothing": (GOOD, [], 4, "", 0),
    "time": ([*GOOD[:1], replace(AGREEMENT, valid_until=INSTANTS[2]), *GOOD[2:]], [], 2, "ended", 4),
    "not yet": ([*GOOD[:1], replace(AGREEMENT, valid_until=INSTANTS[2]), *GOOD[2:]], [], 1, "", 0),
    **{
        f"hold on its {dimension}": (GOOD, later(held((dimension, value))), 1, "hold", fall)
        for dimension, value, fall in (
            ("listing", next(iter(LISTED)), 2), ("variant", VARIANT, 2), ("device", BASE + 31, 4),
            ("vendor", VENDOR, 4),
            ("manufacturer", MAKER, 4), ("host", HOST, 2), ("territory", "US", 4), ("channel", "web", 4),
            ("condition", "new", 4), ("attribute:chipset", "A1", 4), ("vendor", OTHER_VENDOR, 0),
            ("attribute:chipset", "A2", 0),
        )
    },
    "hold that begins later": (GOOD, later(held(("vendor", VENDOR), valid_from=INSTANTS[2])), 2, "hold", 4),
    "hold that has not begun": (GOOD, later(held(("vendor", VENDOR), valid_from=INSTANTS[2])), 1, "", 0),
    "hold that was released": (GOOD, later(held(("vendor", VENDOR), released_at=INSTANTS[1])), 1, "", 0),
    "all dimensions must match": (GOOD, later(held(("vendor", VENDOR), ("territory", "CA"))), 1, "", 0),
    "and two do": (GOOD, later(held(("vendor", VENDOR), ("host", HOST), ("host", 7))), 1, "hold", 2),
    "exempted": (GOOD, later(held(("device", BASE + 31), (1, "vendor", VENDOR), **exempt(END))), 1, "", 0),
    "exempted in part": (
        GOOD, later(held(("device", BASE + 31), (1, "host", HOST), **exempt(END))), 1, "hold", 2),
    "others are exempted": (
        GOOD, later(held(("vendor", VENDOR), (1, "vendor", OTHER_VENDOR), **exempt(END))), 1, "hold", 4),
    "exemption that has ended": (
        GOOD, later(held(("vendor", VENDOR), (1, "vendor", VENDOR), **exempt(INSTANTS[2]))), 2, "hold", 4),
    "exemption without targets": (GOOD, later(held(("vendor", VENDOR), **exempt(END))), 1, "hold", 4),
    "its maker is bought": ([*GOOD, held(("manufacturer", GROUP))], later(AFFILIATION), 1, "hold", 4),
    "a bought maker's owner is held": ([*GOOD, AFFILIATION], later(held(("manufacturer", GROUP))), 1, "hold", 4),
    "an attribute is found": (
        [replace(POLICY, minimum_radio=""), *GOOD[1:], held(("attribute:chipset", "A2"))],
        later(replace(RADIOS[0], version_no=2, attributes=frozenset({("chipset", "A2")}))), 1, "hold", 2),
    **{
        f"its {kind} is suspended": (GOOD, later(held(("fact", fact_id))), 1, "hold", fall)
        for kind, fact_id, fall in (
            ("agreement", AGREEMENT.fact_id, 4), ("approval", APPROVALS[0].fact_id, 1),
            ("equipment authorization", EQUIPMENT[0].fact_id, 2),
        )
    },
    "suspended for others": (
        GOOD, later(held(("fact", AGREEMENT.fact_id), ("vendor", OTHER_VENDOR))), 1, "", 0),
    "suspended on one host": (GOOD, later(held(("fact", AGREEMENT.fact_id), ("host", HOST))), 1, "hold", 2),
    "listed": (GOOD, later(LIST), 1, "list", 2),
    "listed, and granted after": (GOOD, later(replace(LIST, reach="new_grants")), 1, "list", 2),
    "listed, and granted before": (
        GOOD, later(replace(LIST, reach="new_grants", valid_from=T0)), 1, "", 0),
    "a list that names a fact": (
        GOOD, later(held(("variant", VARIANT), ("fact", AGREEMENT.fact_id), reach="all_grants")), 1, "", 0),
    "listed where nobody asks": (
        [replace(POLICY, enforces_equipment=False), *GOOD[1:]], later(LIST), 1, "", 0),
    "a stricter policy here": (
        GOOD, later(replace(STRICTER, territory="US")), 1, "policy", 4),
    "a later policy for all": (
        GOOD, later(replace(STRICTER, valid_from=T0)), 1, "policy", 4),
    "a policy elsewhere": (GOOD, later(replace(STRICTER, territory="CA")), 1, "", 0),
    "an older policy": (
        GOOD, later(replace(STRICTER, valid_from=T0 - 2 * DAY)), 1, "", 0),
    "a newer network": (GOOD, later(NEWER_NETWORK), 1, "network", 2),
    "a network without a rule": (GOOD, later(replace(NEWER_NETWORK, admission="")), 1, "", 0),
    "a newer network where nobody asks": (
        [replace(POLICY, minimum_radio=""), *GOOD[1:]], later(NEWER_NETWORK), 1, "", 0),
}  # fmt: skip


@contextmanager
def cleared(first: list[Any], after: list[Row]) -> Iterator[dict[int, Answer]]:
    """The four offers live, cleared as known at the first revision; what came later has closed what it follows."""
    heads = {(type(row.record), identity(row.record)) for row in after}
    rows = [Row(record, rev_to=2 if (type(record), identity(record)) in heads else None) for record in first]
    with transaction.atomic():
        worlds.write(World((*rows, *after)), with_offers=True)
        yield clear(T0, 1)
        transaction.set_rollback(True)


@pytest.mark.parametrize("name", CASES)
def test_a_case_for_each_clause(name):
    """Nothing else doubts these offers: without its clause the case is vouched for, and the test fails."""
    first, after, place, doubt, fall = CASES[name]
    with cleared(first, after) as before:
        assert {listing.listing_id for listing in live()} == set(LISTED)
        assert len(before) == 4
        now = answers(live(), INSTANTS[place])
        doubted = vouching.look(after=0, at=INSTANTS[place]).doubted
    assert {offer_id for offer_id, answer in now.items() if not answer.is_allowed} == set(doubted)
    assert doubted == {key: [doubt] for key in doubted}
    assert len(doubted) == fall


CLOSED = {
    "agreement": replace(AGREEMENT, version_no=2, revoked_at=T0),
    "approval": replace(APPROVALS[0], version_no=2, state="revoked", revoked_at=T0),
    "equipment": replace(EQUIPMENT[0], version_no=2, revoked_at=T0),
    "hosting": replace(HOSTINGS[0], version_no=2),
    "network": replace(NETWORKS[0], version_no=2),
    "variant": replace(RADIOS[0], version_no=2),
}


@pytest.mark.parametrize("kind", CLOSED)
def test_a_cited_version_that_was_closed_is_doubted(kind):
    with cleared(GOOD, later(CLOSED[kind])):
        doubted = vouching.look(after=0, at=INSTANTS[1]).doubted
    assert doubted
    assert doubted == {key: ["closed"] for key in doubted}


def test_an_affiliation_that_was_closed_is_doubted():
    through = [*GOOD[:1], replace(AGREEMENT, grantor_id=GROUP), *GOOD[2:], AFFILIATION]
    with cleared(through, later(replace(AFFILIATION, version_no=2, valid_until=T0))):
        doubted = vouching.look(after=0, at=INSTANTS[1]).doubted
    assert doubted == {key: ["closed"] for key in doubted}
    assert len(doubted) == 4


def test_a_phone_of_another_maker_by_now_is_doubted():
    with cleared(GOOD, []):
        Variant.objects.filter(pk=VARIANT).update(device_id=BASE + 32)
        doubted = vouching.look(after=0, at=INSTANTS[1]).doubted
    assert len(doubted) == 2
    assert doubted == {key: ["other question"] for key in doubted}


def test_another_operator_is_doubted(settings):
    with cleared(GOOD, []):
        settings.SHOP_MVNO = "Another Mobile"
        doubted = vouching.look(after=0, at=INSTANTS[1]).doubted
    assert len(doubted) == 4
    assert doubted == {key: ["hosting"] for key in doubted}


def test_a_clearance_on_nothing_or_on_a_refusal_is_doubted():
    with cleared(GOOD, []) as before:
        nowhere, refused, *_ = sorted(before)
        ListingHost.objects.filter(pk=nowhere).update(decision_id=uuid4())
        offer = next(offer for offer in live() if offer.pk == refused)
        (denial,) = decisions.decide_many(
            [decisions.question_for_offer(offer)._replace(territory="CA")], at=T0
        )
        (decision,) = decisions.record_decisions([(denial, offer)])
        ListingHost.objects.filter(pk=refused).update(decision_id=decision.pk)
        doubted = vouching.look(after=0, at=INSTANTS[1]).doubted
    assert set(doubted) == {nowhere, refused}


def test_pages_follow_each_other_without_gap():
    with cleared(GOOD, []) as before:
        after: int | None = 0
        seen = []
        while after is not None:
            page = vouching.look(after=after, at=T0, limit=3)
            seen.append(page.looked_at)
            after = page.last
    assert seen == [3, 1, 0]
    assert sum(seen) == len(before)


def test_one_statement_whatever_there_is(django_assert_num_queries):
    with cleared(GOOD, later(held(("vendor", VENDOR)))), django_assert_num_queries(1):
        vouching.look(after=0, at=T0)
