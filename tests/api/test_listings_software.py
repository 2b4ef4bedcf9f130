"""The software version of a listing: stated, shown, decided on, and asked about."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from authorization import clock
from authorization.facts import InvalidFact
from authorization.models import Decision, OutboxRow
from authorization.offers import save_listing
from catalog.listings import content_hash
from catalog.models import Listing, ListingHost, OfferState
from seeds import factories
from tests.api.conftest import Caller, SmallWorld, pointers, problem

TOO_LONG = "7." * 33
BAD = [" ", " 7.0", "7.0 ", "…", TOO_LONG, "7" * 16, 7, None, ["7.0"]]


def saved(api: Caller, body: dict[str, Any]) -> dict[str, Any]:
    response = api.put("/v1/listings/A-1", body)
    assert response.status_code in (200, 201), response.content
    shown: dict[str, Any] = json.loads(response.content)
    return shown


def offer() -> ListingHost:
    return ListingHost.objects.get(listing__sku="A-1")


def test_it_is_optional_and_shown_as_it_was_sent(world: SmallWorld, api: Caller) -> None:
    assert saved(api, world.body())["software"] == ""
    assert saved(api, world.body(software="MIUI 7.0.5"))["software"] == "MIUI 7.0.5"
    assert json.loads(api.get("/v1/listings/A-1").content)["software"] == "MIUI 7.0.5"
    assert saved(api, world.body(software="MIUI 7.0.5"))["unchanged"] is True
    # A PUT replaces all of it.
    assert saved(api, world.body())["software"] == ""
    assert Listing.objects.get().version == 3


@pytest.mark.parametrize("software", BAD, ids=str)
def test_what_is_no_version_is_refused_at_its_member_and_nothing_is_stored(
    world: SmallWorld, api: Caller, software: Any
) -> None:
    body = problem(api.put("/v1/listings/A-1", world.body(software=software)), 400, "invalid_request")
    assert pointers(body) == {"/software"}
    assert not Listing.objects.exists()


@pytest.mark.parametrize("software", BAD[:6], ids=str)
def test_the_act_itself_refuses_it_too(world: SmallWorld, software: str) -> None:
    terms = factories.make_terms(variant=world.approved, hosts=[world.north], software=software)
    with pytest.raises(InvalidFact) as refusal:
        save_listing(vendor=world.vendor, sku="A-1", terms=terms, by=factories.BUILDER, at=clock.now())
    assert refusal.value.field == "software"
    assert not Listing.objects.exists()


def test_clearances_from_before_it_could_be_stated_stay_good(world: SmallWorld, api: Caller) -> None:
    saved(api, world.body())
    terms: dict[str, Any] = {
        "variant_id": world.approved.pk, "host_id": world.north.pk, "territory": "US", "channel": "web",
        "condition": "new",
    }  # fmt: skip
    assert offer().content_hash == content_hash(**terms) == content_hash(**terms, software="")
    # The bytes of the first edition, for good.
    known = content_hash(variant_id=1, host_id=2, territory="US", channel="web", condition="new")
    assert known == "17bfb43dc7ecdd3c7bcec91367a8224a6b62d1e5d08a751af1365078f4dfabf1"
    assert content_hash(**terms, software="7.0") not in (
        content_hash(**terms),
        content_hash(**terms, software="7.1"),
    )


def test_another_version_takes_a_live_offer_off_sale_until_it_is_published_again(
    world: SmallWorld, api: Caller
) -> None:
    saved(api, world.body(software="7.0"))
    assert api.post("/v1/listings/A-1/publish").status_code == 200
    assert offer().state == OfferState.LIVE
    assert Decision.objects.latest("revision").question["software"] == "7.0"
    saved(api, world.body(software="7.0", description="A new box"))
    assert offer().state == OfferState.LIVE
    saved(api, world.body(software="7.1"))
    assert offer().state == OfferState.DRAFT
    assert offer().content_hash != offer().cleared_hash
    assert OutboxRow.objects.filter(event="listing.unpublished").exists()
    assert api.post("/v1/listings/A-1/publish").status_code == 200
    [latest, *_] = json.loads(api.get("/v1/listings/A-1/decisions").content)["data"]
    assert latest["question"]["software"] == "7.1"


def test_a_decision_from_before_has_none(world: SmallWorld, api: Caller) -> None:
    saved(api, world.body())
    api.post("/v1/listings/A-1/publish")
    kept = Decision.objects.get()
    del kept.question["software"]
    kept.pk = None
    kept._state.adding = True
    Decision.objects.bulk_create([kept])
    data = json.loads(api.get("/v1/listings/A-1/decisions").content)["data"]
    assert len(data) == 2
    assert not any("software" in each["question"] for each in data)


def ask(api: Caller, world: SmallWorld, **more: str) -> Any:
    asked = {
        "variant": world.untested.slug, "host": "south", "territory": "US", "channel": "web", "condition": "new",
    } | more  # fmt: skip
    return api.get(f"/v1/listing-restrictions?{urlencode(asked)}")


def test_restrictions_are_asked_for_a_version(world: SmallWorld, api: Caller) -> None:
    factories.make_approval(
        host=world.south, variant=world.untested, at=clock.now(), software_from="7.0", software_until="7.1"
    )
    body = {
        "variant": world.untested.slug,
        "hosts": ["south"],
        "territory": "US",
        "channel": "web",
        "condition": "new",
    }

    def codes(**more: str) -> list[list[str]]:
        one = json.loads(ask(api, world, **more).content)
        [many] = json.loads(api.post("/v1/listing-restrictions/query", {"questions": [body | more]}).content)[
            "results"
        ]
        assert one["restrictions"] == many["restrictions"]
        for restriction in one["restrictions"]:
            assert restriction["software"] == more.get("software", "")
        return [[reason["code"] for reason in each["reasons"]] for each in one["restrictions"]]

    outside = [["CARRIER_APPROVAL_SOFTWARE"]]
    assert codes(software="7.0.5") == codes(software="7.0") == []
    assert codes() == codes(software="6.9") == codes(software="7.1") == outside


def test_a_question_with_a_bad_version_is_refused_at_its_place(world: SmallWorld, api: Caller) -> None:
    body = problem(ask(api, world, software=" 7"), 400, "invalid_request")
    assert [(error["in"], error["pointer"]) for error in body["errors"]] == [("query", "/software")]
    question = {"variant": "x", "territory": "US", "channel": "web", "condition": "new", "software": "…"}
    response = api.post("/v1/listing-restrictions/query", {"questions": [question]})
    assert pointers(problem(response, 400, "invalid_request")) == {"/questions/0/software"}
