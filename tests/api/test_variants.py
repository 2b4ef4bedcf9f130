import json
from datetime import timedelta
from typing import Any

import pytest

from seeds import factories
from tests.api.conftest import Caller, SmallWorld, pointers, problem


def read(api: Caller, path: str) -> Any:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def test_a_variant_is_shown_with_what_tells_it_apart(world: SmallWorld, api: Caller) -> None:
    assert read(api, "/v1/variants?q=PX9-U1")["data"] == [
        {
            "variant": "maker-px9-u1",
            "model_number": "PX9-U1",
            "device": "px-9",
            "brand": "Maker",
            "marketing_name": "PX 9",
            "sales_version": "",
            "manufacturer": {"slug": "maker", "name": "Maker"},
        }
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=px9", ["PX9-U1", "PX9-U2"]),
        ("q=maker+px+u2", ["PX9-U2"]),
        ("q=nothing", []),
        ("q=", None),
        ("q=100%25", []),
        ("manufacturer=maker", ["PX9-U1", "PX9-U2"]),
        ("manufacturer=nobody", []),
        ("", ["PX9-U1", "PX9-U2"]),
    ],
)
def test_search(world: SmallWorld, api: Caller, query: str, found: list[str] | None) -> None:
    if found is None:
        problem(api.get(f"/v1/variants?{query}"), 400, "invalid_request")
        return
    assert [row["model_number"] for row in read(api, f"/v1/variants?{query}")["data"]] == found


def test_pages_give_every_row_once(world: SmallWorld, api: Caller) -> None:
    factories.VariantFactory.create_batch(7, device=world.approved.device)
    seen: list[str] = []
    path = "/v1/variants?limit=2"
    while True:
        page = read(api, path)
        assert page.keys() == {"data", "next_cursor", "has_more"}
        seen += [row["variant"] for row in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        path = f"/v1/variants?limit=2&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 9


def test_the_limit_is_lowered_to_the_maximum(world: SmallWorld, api: Caller) -> None:
    factories.VariantFactory.create_batch(201, device=world.approved.device)
    page = read(api, "/v1/variants?limit=100000")
    assert len(page["data"]) == 200
    assert page["has_more"]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "9" * 5000, "true", ""])
def test_a_limit_that_is_no_number(world: SmallWorld, api: Caller, limit: str) -> None:
    assert pointers(problem(api.get(f"/v1/variants?limit={limit}"), 400, "invalid_request")) == {"/limit"}


@pytest.mark.parametrize("change", ["q=PX9-U1", "manufacturer=maker"])
def test_a_cursor_holds_for_its_filters_only(world: SmallWorld, api: Caller, change: str) -> None:
    cursor = read(api, "/v1/variants?limit=1")["next_cursor"]
    body = problem(api.get(f"/v1/variants?limit=1&cursor={cursor}&{change}"), 400, "invalid_request")
    assert pointers(body) == {"/cursor"}
    problem(api.get(f"/v1/listings?cursor={cursor}"), 400, "invalid_request")


@pytest.mark.parametrize("cursor", ["", "x", "WzFd", "a:b:c", "%00"])
def test_a_cursor_that_we_did_not_make(world: SmallWorld, api: Caller, cursor: str) -> None:
    problem(api.get(f"/v1/variants?cursor={cursor}"), 400, "invalid_request")


def test_hosts_are_those_the_shop_serves_now(world: SmallWorld, api: Caller) -> None:
    factories.HostCarrierFactory.create(code="unserved")
    gone = factories.HostCarrierFactory.create(code="gone")
    factories.HostingFactory.create(
        host=gone,
        at=world.at,
        valid_from=world.at - timedelta(days=9),
        valid_until=world.at - timedelta(days=1),
    )
    answer = read(api, "/v1/hosts")
    assert [row["host"] for row in answer["data"]] == ["north", "south"]
    assert answer["has_more"] is False
