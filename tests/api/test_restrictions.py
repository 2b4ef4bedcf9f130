"""May I list this? The same answer before a listing exists, in bulk, and when publishing."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, policies
from authorization.models import Decision, OutboxRow
from catalog.models import Listing
from seeds import factories
from tests.api.conftest import Caller, SmallWorld, caller_of, pointers, problem


def question(world: SmallWorld, **changes: Any) -> dict[str, Any]:
    return {
        "variant": world.approved.slug,
        "hosts": ["north"],
        "condition": "new",
        "territory": "US",
        "channel": "web",
    } | changes


def ask(api: Caller, asked: dict[str, Any]) -> Any:
    parameters = dict(asked)
    hosts = parameters.pop("hosts", None)
    if hosts is not None:
        parameters["host"] = hosts
    response = api.get(f"/v1/listing-restrictions?{urlencode(parameters, doseq=True)}")
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def codes(restriction: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in restriction["reasons"]]


def test_an_empty_list_means_may_list(world: SmallWorld, api: Caller) -> None:
    answer = ask(api, question(world))
    assert answer["restrictions"] == []
    assert answer["hosts"] == ["north"]
    assert answer["variant"] == "maker-px9-u1"


def test_the_model_number_names_the_variant_too(world: SmallWorld, api: Caller) -> None:
    assert ask(api, question(world, variant="PX9-U1"))["restrictions"] == []


def test_without_a_host_all_hosts_of_the_shop_are_asked(world: SmallWorld, api: Caller) -> None:
    asked = question(world)
    del asked["hosts"]
    answer = ask(api, asked)
    assert answer["hosts"] == ["north", "south"]
    [restriction] = answer["restrictions"]
    assert restriction["host"] == "south"
    assert (restriction["territory"], restriction["condition"], restriction["channel"]) == (
        "US",
        "new",
        "web",
    )
    [reason] = restriction["reasons"]
    assert reason["code"] == "CARRIER_NOT_APPROVED"
    assert reason["check"] == "approval"
    assert reason["curable"] is False
    assert reason["cure_by"] == "carrier"
    assert reason["cure"] == "A technical acceptance of this variant by the host carrier."


def test_every_failing_leg_is_named(world: SmallWorld, api: Caller) -> None:
    other = caller_of(factories.OrganizationFactory.create(slug="vendor-two"))
    [restriction] = ask(other, question(world, hosts=["south"]))["restrictions"]
    assert codes(restriction) == ["NO_AGREEMENT", "CARRIER_NOT_APPROVED"]
    assert restriction["reasons"][0]["curable"] is True
    assert [link["rel"] for link in restriction["reasons"][0]["links"]] == ["describedby", "submit-agreement"]
    page = other.get(restriction["reasons"][0]["links"][0]["href"])
    assert "NO_AGREEMENT" in page.content.decode()


def test_only_own_documents_are_named(world: SmallWorld, api: Caller) -> None:
    """A chain maker -> distributor -> vendor: the vendor sees its own link, never the one above."""
    maker = world.approved.device.manufacturer
    distributor = factories.OrganizationFactory.create(kind="distributor", slug="distributor")
    vendor = factories.OrganizationFactory.create(slug="vendor-two")
    factories.make_agreement(
        grantor=maker,
        grantee=distributor,
        at=world.at,
        code="AG-SECRET",
        assurance="claimed",
        may_sublicense=True,
    )
    factories.make_agreement(
        grantor=distributor, grantee=vendor, at=world.at, code="AG-OWN", assurance="claimed"
    )
    answer = ask(caller_of(vendor), question(world))
    [restriction] = answer["restrictions"]
    assert codes(restriction) == ["AGREEMENT_NOT_VERIFIED", "AGREEMENT_NOT_VERIFIED"]
    assert {reason.get("document") for reason in restriction["reasons"]} == {"AG-OWN", None}
    for hidden in ("AG-SECRET", "AG-77", "distributor", "CA-1"):
        assert hidden not in json.dumps(answer)


def test_the_papers_of_others_read_alike_are_said_once_and_never_by_name(world: SmallWorld) -> None:
    """A chain maker -> first -> second -> vendor; its two upper links are for Canada. Wherever the API says why not."""
    vendor = factories.OrganizationFactory.create(slug="vendor-two")
    first = factories.OrganizationFactory.create(kind="distributor", slug="secret-one")
    second = factories.OrganizationFactory.create(kind="distributor", slug="secret-two")
    maker = world.approved.device.manufacturer
    links = [
        factories.make_agreement(
            grantor=grantor, grantee=grantee, at=world.at, code=code, may_sublicense=True, territories=["CA"]
        )
        for grantor, grantee, code in ((maker, first, "AG-SECRET-1"), (first, second, "AG-SECRET-2"))
    ]
    factories.make_agreement(grantor=second, grantee=vendor, at=world.at, code="AG-OWN")
    own = caller_of(vendor)

    answer = ask(own, question(world))
    assert codes(answer["restrictions"][0]) == ["AGREEMENT_SCOPE_TERRITORY"]
    [reason] = answer["restrictions"][0]["reasons"]
    assert reason["message"] == "An agreement further up the chain does not cover this territory."
    assert (reason["curable"], reason["cure_by"]) == (False, "grantor")
    assert [link["rel"] for link in reason["links"]] == ["describedby"]

    said = [json.dumps(answer)]
    for response in (
        own.put("/v1/listings/SKU-1", world.body()),
        own.post("/v1/listings/SKU-1/publish"),
        own.get("/v1/listings/SKU-1"),
        own.get("/v1/listings"),
        own.get("/v1/listings/SKU-1/decisions"),
    ):
        assert response.status_code != 404, response.content
        said.append(response.content.decode())
    # The publishing was decided and kept, in the desk's words too.
    kept = Decision.objects.get(offer__listing__vendor=vendor)
    assert {reason["document"] for reason in kept.reasons} == {"AG-SECRET-1", "AG-SECRET-2"}
    for text in said:
        assert "AG-SECRET" not in text
        assert '"detail": "A' not in text
        assert "secret-" not in text
    assert all(str(link) not in text for link in links for text in said)


def test_bulk_is_the_single_call_a_hundred_times(world: SmallWorld, api: Caller) -> None:
    asked = [
        question(world, variant=variant, hosts=hosts, condition=condition)
        for variant in ("PX9-U1", "maker-px9-u2")
        for hosts in (["north"], ["south"], ["south", "north"])
        for condition in ("new", "used")
    ]
    response = api.post("/v1/listing-restrictions/query", {"questions": asked})
    assert response.status_code == 200
    results = json.loads(response.content)["results"]
    for single, result in zip([ask(api, each) for each in asked], results, strict=True):
        assert {**single, "valid_at": ""} == {**result, "valid_at": ""}


def test_asking_writes_nothing(world: SmallWorld, api: Caller) -> None:
    before = (Listing.objects.count(), Decision.objects.count(), OutboxRow.objects.count())
    ask(api, question(world, hosts=["south"]))
    assert (Listing.objects.count(), Decision.objects.count(), OutboxRow.objects.count()) == before


def test_a_hundred_questions_cost_as_many_queries_as_one(world: SmallWorld, api: Caller) -> None:
    def queries(count: int) -> int:
        variants = ["PX9-U1", "PX9-U2"]
        asked = [question(world, variant=variants[n % 2], hosts=["north", "south"]) for n in range(count)]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert api.post("/v1/listing-restrictions/query", {"questions": asked}).status_code == 200
        return len(captured)

    queries(1)
    assert queries(2) == queries(100)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"variant": "PX9-U9"}, "/variant"),
        ({"variant": ""}, "/variant"),
        ({"hosts": ["nowhere"]}, "/host/0"),
        ({"hosts": ["north", "north"]}, "/host"),
        ({"hosts": [""]}, "/host/0"),
        ({"condition": "mint"}, "/condition"),
        ({"territory": "us"}, "/territory"),
        ({"territory": "USA"}, "/territory"),
        ({"channel": "fax"}, "/channel"),
    ],
)
def test_a_question_that_is_unclear(
    world: SmallWorld, api: Caller, change: dict[str, Any], pointer: str
) -> None:
    asked = question(world, **change)
    asked["host"] = asked.pop("hosts")
    body = problem(
        api.get(f"/v1/listing-restrictions?{urlencode(asked, doseq=True)}"), 400, "invalid_request"
    )
    assert pointers(body) == {pointer}
    assert {error["in"] for error in body["errors"]} == {"query"}


def test_an_unknown_variant_is_answered_with_the_nearest(world: SmallWorld, api: Caller) -> None:
    for wrong in ("PX9-U7", "px 9", "Maker PX 9"):
        asked = {"questions": [question(world), question(world, variant=wrong)]}
        body = problem(api.post("/v1/listing-restrictions/query", asked), 400, "invalid_request")
        [error] = body["errors"]
        assert error["pointer"] == "/questions/1/variant"
        assert "PX9-U1" in error["detail"]


def test_every_fault_of_a_bulk_question_is_named(world: SmallWorld, api: Caller) -> None:
    asked = [question(world, region="US"), {}, 7, question(world, hosts=[1, True, None])]
    body = problem(api.post("/v1/listing-restrictions/query", {"questions": asked}), 400, "invalid_request")
    assert pointers(body) == {
        "/questions/0/region",
        "/questions/1/variant",
        "/questions/1/condition",
        "/questions/1/territory",
        "/questions/1/channel",
        "/questions/2",
        "/questions/3/hosts/0",
        "/questions/3/hosts/1",
        "/questions/3/hosts/2",
    }


@pytest.mark.parametrize("questions", [[], None, {}, "x", [{}] * 101])
def test_bulk_bounds(world: SmallWorld, api: Caller, questions: Any) -> None:
    body = problem(
        api.post("/v1/listing-restrictions/query", {"questions": questions}), 400, "invalid_request"
    )
    assert pointers(body) <= {"/questions"} | {
        f"/questions/{n}/{m}" for n in range(101) for m in question(world)
    }


def test_without_a_policy_nothing_is_decided(db: None) -> None:
    variant = factories.VariantFactory.create()
    host = factories.HostCarrierFactory.create(code="north")
    factories.HostingFactory.create(host=host)
    api = caller_of(factories.OrganizationFactory.create())
    asked = {"variant": variant.slug, "territory": "US", "channel": "web", "condition": "new"}
    response = api.get(f"/v1/listing-restrictions?{urlencode(asked)}")
    problem(response, 503, "decision_unavailable")
    assert response["Retry-After"] == "5"


def test_a_shop_without_hosts_does_not_say_may_list(db: None) -> None:
    variant = factories.VariantFactory.create()
    factories.ensure_policy(at=clock.now())
    api = caller_of(factories.OrganizationFactory.create())
    asked = {"variant": variant.slug, "territory": "US", "channel": "web", "condition": "new"}
    problem(api.get(f"/v1/listing-restrictions?{urlencode(asked)}"), 503, "decision_unavailable")


def test_the_policy_of_2016_lets_pass_what_the_shut_gate_refuses(world: SmallWorld, api: Caller) -> None:
    asked = question(world, hosts=["south"])
    assert ask(api, asked)["restrictions"]
    policies.set_policy(
        **policies.POLICY_2016, by=factories.BUILDER, at=clock.now(), reason="to compare both"
    )
    assert ask(api, asked)["restrictions"] == []


def test_a_refusal_for_the_radio_says_how_sure_its_verdict_is(world: SmallWorld, api: Caller) -> None:
    """Never checked, like the network. Another reason has no such member."""
    factories.make_policy(minimum_radio="FULL", at=clock.now())
    factories.make_network(host=world.north, at=clock.now())
    factories.make_radio(
        variant=world.approved, at=clock.now(), bands=[("UMTS", "B4")], ims={world.north.code: "no"}
    )
    [restriction] = ask(api, question(world))["restrictions"]
    [reason] = restriction["reasons"]
    assert reason["code"] == "RADIO_INCOMPATIBLE"
    assert [caution["code"] for caution in reason["cautions"]] == ["BANDS_STALE", "NETWORK_STALE"]
    [other] = ask(api, question(world, territory="CA"))["restrictions"]
    assert codes(other) != ["RADIO_INCOMPATIBLE"]
    assert [reason["code"] for reason in other["reasons"] if "cautions" in reason] == ["RADIO_INCOMPATIBLE"]
