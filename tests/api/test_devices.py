"""GET /v1/devices: marketing names with their variants; and the filters of variants."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Organization, Tac
from seeds import factories
from tests.api.conftest import Caller, SmallWorld, caller_of, carrier_caller, problem


def read(api: Caller, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def test_a_device_is_shown_with_its_variants(world: SmallWorld, api: Caller) -> None:
    shown = read(api, "/v1/devices/px-9")
    assert shown == {
        "device": "px-9",
        "name": "Maker PX 9",
        "brand": "Maker",
        "marketing_name": "PX 9",
        "manufacturer": {"slug": "maker", "name": world.approved.device.manufacturer.name},
        "variants": [
            {"variant": "maker-px9-u1", "model_number": "PX9-U1", "sales_version": ""},
            {"variant": "maker-px9-u2", "model_number": "PX9-U2", "sales_version": ""},
        ],
    }
    assert read(api, "/v1/devices")["data"] == [shown]
    problem(api.get("/v1/devices/nothing"), 404, "not_found")
    problem(api.get("/v1/devices/%00"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=px9-u2", ["px-9"]),
        ("q=maker+px", ["px-9"]),
        ("q=maker+nothing", []),
        ("brand=maker", ["px-9"]),
        ("manufacturer=maker", ["px-9"]),
        ("manufacturer=nobody", []),
    ],
)
def test_devices_are_found_by_their_names_and_those_of_their_variants(
    world: SmallWorld, api: Caller, query: str, found: list[str]
) -> None:
    factories.DeviceFactory.create(brand="Other", marketing_name="Z", slug="other-z")
    assert [row["device"] for row in read(api, f"/v1/devices?{query}")["data"]] == found


def test_variants_are_found_by_what_stands_on_the_phone(world: SmallWorld, api: Caller) -> None:
    Tac.objects.create(code="35000001", variant=world.untested)
    world.approved.fcc_id = "ABC-PX9"
    world.approved.save(update_fields=["fcc_id"])

    def found(query: str) -> list[str]:
        return [row["model_number"] for row in read(api, f"/v1/variants?{query}")["data"]]

    assert found("tac=35000001") == ["PX9-U2"]
    assert found("fcc_id=abc-px9") == ["PX9-U1"]
    assert found("device=px-9") == found("brand=MAKER") == ["PX9-U1", "PX9-U2"]
    assert found("device=px-9&tac=35000001&q=u1") == []
    problem(api.get("/v1/variants?tac=3500"), 400, "invalid_request")


def test_whoever_deals_with_phones_may_look_them_up(world: SmallWorld, stranger: Caller) -> None:
    kinds = (Organization.Kind.DISTRIBUTOR, Organization.Kind.MANUFACTURER)
    partners = [caller_of(factories.OrganizationFactory.create(kind=kind)) for kind in kinds]
    for caller in [carrier_caller(world.north), *partners]:
        for path in ("/v1/devices", "/v1/devices/px-9", "/v1/variants", "/v1/variants/PX9-U1", "/v1/hosts"):
            assert caller.get(path).status_code == 200
    problem(stranger.get("/v1/devices"), 401, "unauthenticated")


def test_a_page_of_devices_costs_the_same_at_any_size(world: SmallWorld, api: Caller) -> None:
    for _ in range(12):
        factories.VariantFactory.create()

    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert len(read(api, f"/v1/devices?limit={limit}")["data"]) == limit
        return len(captured)

    queries(1)
    assert queries(2) == queries(12)
