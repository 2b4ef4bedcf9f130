"""The claims feed: everything live of a brand or on a network, with no more of the evidence than is the reader's."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, offers
from authorization.models import Fact
from catalog.models import Organization
from seeds import factories
from storefront.models import TakedownRequest
from tests.api.claimants import MODELS, Incident, make_incident, post, react, read, speaker, variant
from tests.api.conftest import Caller, pointers, problem

pytestmark = pytest.mark.django_db
ALL = "/v1/claims"


@pytest.fixture
def incident() -> Incident:
    return make_incident()


@pytest.fixture
def xiaomi(incident: Incident) -> Caller:
    return speaker(incident.xiaomi)


def claims_of(caller: Caller, query: str = "") -> dict[tuple[str, str], dict[str, Any]]:
    found = read(caller.get(f"{ALL}{query}"))["data"]
    return {(each["sku"], each["host"]): each for each in found}


def evidence_of(claim: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {each["kind"]: (each["document"], each["assurance"]) for each in claim["evidence"]}


def test_a_maker_sees_its_brands_and_a_carrier_its_network(incident: Incident, xiaomi: Caller) -> None:
    of_xiaomi = {(f"SKU-{slug.upper()}", "tmobile") for slug, of in MODELS.items() if of == "xiaomi"}
    assert claims_of(xiaomi).keys() == of_xiaomi | {("H-MI4", "tmobile")}
    assert claims_of(speaker(incident.meizu)).keys() == {("SKU-M2-NOTE", "tmobile"), ("H-M2", "att")}
    assert claims_of(speaker(incident.att)).keys() == {("H-M2", "att")}
    claim = claims_of(xiaomi)["SKU-MI-4", "tmobile"]
    assert (claim["vendor"]["slug"], claim["manufacturer"], claim["model_number"], claim["is_for_sale"]) == (
        "omni-electronics-hk",
        "xiaomi",
        "MI-4",
        True,
    )
    assert read(xiaomi.get(f"{ALL}/{claim['id']}")) == claim


def test_of_the_papers_of_others_it_shows_that_they_are_there(incident: Incident, xiaomi: Caller) -> None:
    """A chain by a distributor: of its two links the maker is a party to the first."""
    at = clock.now()
    distributor = factories.OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR, slug="chain")
    vendor = factories.OrganizationFactory.create(slug="at-the-end")
    phone = variant(incident.xiaomi, "mi-5")
    first = factories.make_agreement(
        grantor=incident.xiaomi, grantee=distributor, at=at, may_sublicense=True, code="AG-FIRST"
    )
    second = factories.make_agreement(
        grantor=distributor, grantee=vendor, at=at, models=[phone], code="AG-2ND"
    )
    approval = factories.make_approval(host=incident.tmobile, variant=phone, at=at, code="CA-M5")
    terms = factories.make_terms(variant=phone, hosts=[incident.tmobile])
    saved = offers.save_listing(vendor=vendor, sku="M5", terms=terms, by=factories.BUILDER, at=at)
    offers.publish_listing(listing=saved.listing, by=factories.BUILDER, at=at)
    by_maker = claims_of(xiaomi)["M5", "tmobile"]
    agreements = [each for each in by_maker["evidence"] if each["kind"] == "agreement"]
    assert sorted(agreements, key=lambda each: str(each["document"])) == [
        {"kind": "agreement", "document": "AG-FIRST", "version": 1, "assurance": "verified"},
        {"kind": "agreement", "document": None, "version": None, "assurance": None},
    ]
    assert evidence_of(by_maker)["approval"] == (None, None)
    by_carrier = claims_of(speaker(incident.tmobile))["M5", "tmobile"]
    assert evidence_of(by_carrier)["approval"] == (approval.code, None)
    assert evidence_of(by_carrier)["agreement"] == (None, None)
    for text, hidden in (
        (json.dumps(by_maker), (second.code, approval.code)),
        (json.dumps(by_carrier), (first.code, second.code)),
    ):
        assert not [code for code in hidden if code in text]


def test_filters_and_pages(incident: Incident, xiaomi: Caller) -> None:
    assert claims_of(xiaomi, "?vendor=honest-phones").keys() == {("H-MI4", "tmobile")}
    assert len(claims_of(xiaomi, "?variant=MI-4")) == len(claims_of(xiaomi, "?variant=mi-4-global")) == 2
    assert claims_of(xiaomi, "?host=att") == claims_of(xiaomi, "?territory=DE") == {}
    # Of what is not its own a filter finds nothing.
    assert claims_of(xiaomi, "?variant=M2-NOTE") == {}
    first = read(xiaomi.get(f"{ALL}?limit=3"))
    rest = read(xiaomi.get(f"{ALL}?limit=3&cursor={first['next_cursor']}"))
    assert (len(first["data"]), len(rest["data"]), rest["has_more"]) == (3, 1, False)
    # A cursor is of the list and the caller that it was made for.
    stolen = f"{ALL}?limit=3&cursor={first['next_cursor']}"
    problem(speaker(incident.tmobile).get(stolen), 400, "invalid_request")
    problem(xiaomi.get(f"{stolen}&vendor=honest-phones"), 400, "invalid_request")


def test_what_belongs_to_a_maker_is_in_its_feed_while_it_does(incident: Incident) -> None:
    at = clock.now()
    group = factories.OrganizationFactory.create(kind=Organization.Kind.MANUFACTURER, slug="group")
    caller = speaker(group)
    assert claims_of(caller) == {}
    factories.make_affiliation(parent=group, child=incident.meizu, at=at, valid_until=at + timedelta(days=30))
    factories.make_affiliation(
        parent=group,
        child=incident.xiaomi,
        at=at,
        valid_from=at - timedelta(days=9),
        valid_until=at - timedelta(days=1),
    )
    assert claims_of(caller).keys() == {("SKU-M2-NOTE", "tmobile"), ("H-M2", "att")}


def test_not_authorized_by_us(incident: Incident, xiaomi: Caller) -> None:
    claim = claims_of(xiaomi)["SKU-MI-4", "tmobile"]
    path = f"{ALL}/{claim['id']}/disclaim"
    said = read(post(xiaomi, path, {"statement": "Not by us."}), 201)
    assert said["reason"] == "MANUFACTURER_DISCLAIMS"
    assert said["goods"] == {"brands": ["xiaomi"], "vendors": ["omni-electronics-hk"]}
    # That vendor's goods of that brand: its Meizu stays, and so does the same phone of another vendor.
    assert incident.on_sale() == {"m2-note", "m2-note on att", "mi-4 of honest"}
    shown = claims_of(xiaomi)["SKU-MI-4", "tmobile"]
    assert (shown["is_for_sale"], shown["evidence"]) == (False, [])
    # Said again by another claim of the same vendor it is the same word.
    other = claims_of(xiaomi)["SKU-MI-3", "tmobile"]
    again = read(post(xiaomi, f"{ALL}/{other['id']}/disclaim", {"statement": "Nor that."}))
    assert (again["id"], again["unchanged"]) == (said["id"], True)
    react()
    assert claims_of(xiaomi).keys() == {("H-MI4", "tmobile")}
    problem(xiaomi.get(f"{ALL}/{claim['id']}"), 404, "not_found")


@pytest.mark.parametrize(
    ("covers", "left"),
    [("model", {"redmi-2", "mi-3"}), ("listing", {"redmi-2", "mi-3", "mi-4"})],
)
def test_a_disclaimer_may_cover_less(incident: Incident, xiaomi: Caller, covers: str, left: set[str]) -> None:
    others = factories.make_sellable(
        vendor=incident.omni,
        variant=incident.offers["mi-4"].listing.variant,
        host=incident.tmobile,
        sku="SECOND",
    )
    claim = claims_of(xiaomi)["SECOND", "tmobile"]
    path = f"{ALL}/{claim['id']}/disclaim"
    read(post(xiaomi, path, {"statement": "Not by us.", "covers": covers}), 201)
    assert incident.on_sale() == left | {"m2-note", "m2-note on att", "mi-4 of honest"}
    assert others.listing.sku == "SECOND"


def test_a_carrier_disclaims_on_its_network_only(incident: Incident) -> None:
    at = clock.now()
    factories.make_sellable(
        vendor=incident.omni,
        variant=incident.offers["mi-4"].listing.variant,
        host=incident.att,
        at=at,
        sku="A",
    )
    tmobile = speaker(incident.tmobile)
    claim = claims_of(tmobile)["SKU-MI-4", "tmobile"]
    said = read(post(tmobile, f"{ALL}/{claim['id']}/disclaim", {"statement": "Not tested."}), 201)
    assert said["reason"] == "CARRIER_TESTS_PENDING"
    assert claims_of(speaker(incident.att)).keys() == {("H-M2", "att"), ("A", "att")}
    assert all(each["is_for_sale"] for each in claims_of(speaker(incident.att)).values())
    assert incident.on_sale() == {"m2-note", "m2-note on att", "mi-4 of honest"}


def test_nobody_disclaims_what_is_not_theirs(incident: Incident, xiaomi: Caller) -> None:
    foreign = claims_of(speaker(incident.meizu))["SKU-M2-NOTE", "tmobile"]
    for number in (foreign["id"], "0", str(2**70)):
        problem(xiaomi.get(f"{ALL}/{number}"), 404, "not_found")
        said = post(xiaomi, f"{ALL}/{number}/disclaim", {"statement": "x"})
        problem(said, 404, "not_found")
    for party in (incident.omni, factories.OrganizationFactory.create(kind=Organization.Kind.DISTRIBUTOR)):
        problem(speaker(party).get(ALL), 403, "not_for_this_key")
    own = claims_of(xiaomi)["SKU-MI-4", "tmobile"]
    body = problem(
        post(xiaomi, f"{ALL}/{own['id']}/disclaim", {"statement": "x", "covers": "all"}),
        400,
        "invalid_request",
    )
    assert pointers(body) == {"/covers"}
    assert not TakedownRequest.objects.exists()
    assert not Fact.objects.filter(kind=Fact.Kind.HOLD).exists()


def test_a_page_asks_as_much_for_many_as_for_few(incident: Incident, xiaomi: Caller) -> None:
    def asked(limit: int) -> int:
        with CaptureQueriesContext(connection) as found:
            assert len(read(xiaomi.get(f"{ALL}?limit={limit}"))["data"]) == limit
        return len(found)

    # The first call notes that the key was used.
    asked(1)
    assert asked(2) == asked(4)
