"""Whatever is sent as a listing: the answer is the listing or a problem that points somewhere."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.models import Listing, ListingHost, Stock
from tests.api.conftest import Caller, SmallWorld, problem


def examples(count: int) -> settings:
    # One small world serves all examples of a test: each example finds the listings of those before it.
    unfit = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, deadline=None, suppress_health_check=unfit)


any_text = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["\x00", "\ud800", "NaN", "", " ", "1e9"]
)
any_scalar = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4000)
    | st.floats()
    | any_text
    | st.just(float("inf"))
)
any_json = st.recursive(
    any_scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


def near(*good: Any) -> st.SearchStrategy[Any]:
    """Mostly what the member takes, sometimes anything at all."""
    return st.sampled_from(good) | st.sampled_from(good) | any_json


amounts = st.decimals(min_value="-1", max_value="100000000000", places=2).map(str)
prices = (
    st.fixed_dictionaries({"amount": amounts | any_json, "currency": near("USD", "EUR", "usd")}) | any_json
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "variant": near("maker-px9-u1", "PX9-U2", "PX9-U3"),
        "hosts": st.lists(near("north", "south"), max_size=4) | any_json,
        "condition": near("new", "used", "refurbished"),
        "territory": near("US", "CA", "us"),
        "channel": near("web", "retail"),
        "description": st.text(max_size=30) | any_json,
        "price": prices,
        "on_hand": st.integers(min_value=-1, max_value=2_000_000) | any_json,
    },
)
sound_bodies = st.fixed_dictionaries(
    {
        "variant": st.sampled_from(["maker-px9-u1", "PX9-U1", "PX9-U2"]),
        "hosts": st.lists(st.sampled_from(["north", "south"]), min_size=1, max_size=2, unique=True),
        "condition": st.sampled_from(["new", "used", "refurbished"]),
        "territory": st.from_regex("[A-Z]{2}", fullmatch=True),
        "channel": st.sampled_from(["web", "retail"]),
        "description": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200),
        "price": st.fixed_dictionaries(
            {
                "amount": st.decimals(min_value="0.01", max_value="9999999999.99", places=2).map(str),
                "currency": st.just("USD"),
            }
        ),
        "on_hand": st.integers(min_value=0, max_value=1_000_000),
    }
)


def with_one_member_replaced(sound: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**sound, name: value}


almost_sound_bodies = st.builds(
    with_one_member_replaced,
    sound_bodies,
    st.sampled_from(
        ["variant", "hosts", "condition", "territory", "channel", "description", "price", "on_hand"]
    )
    | any_text,
    any_json,
)


@examples(200)
@given(body=almost_sound_bodies | bodies | any_json | st.binary(max_size=30))
def test_any_body_is_stored_or_refused_with_a_pointer(world: SmallWorld, api: Caller, body: Any) -> None:
    before = (Listing.objects.count(), ListingHost.objects.count(), Stock.objects.count())
    response = api.put("/v1/listings/A-1", body)
    if response.status_code in (200, 201):
        return
    assert response.status_code in (400, 409)
    code = "invalid_request" if response.status_code == 400 else "invalid_transition"
    refused = problem(response, response.status_code, code)
    assert refused.get("errors") or response.status_code == 409
    assert (Listing.objects.count(), ListingHost.objects.count(), Stock.objects.count()) == before


@examples(30)
@given(body=sound_bodies)
def test_a_sound_body_is_stored_and_read_as_sent(
    world: SmallWorld, api: Caller, body: dict[str, Any]
) -> None:
    sku = f"A-{Listing.objects.count()}"
    dry = api.put(f"/v1/listings/{sku}?validate_only=true", body)
    saved = api.put(f"/v1/listings/{sku}", body)
    assert (dry.status_code, saved.status_code) == (200, 201)
    foretold, stored = json.loads(dry.content), json.loads(saved.content)
    read = json.loads(api.get(f"/v1/listings/{sku}").content)
    assert {**read, "unchanged": False} == stored
    for name in ("condition", "territory", "channel", "description", "price", "on_hand"):
        assert stored[name] == body[name] == foretold[name]
    assert sorted(stored["hosts"]) == sorted(body["hosts"])
    assert foretold["status"] == stored["status"]
    again = api.put(f"/v1/listings/{sku}", body)
    assert json.loads(again.content) == {**stored, "unchanged": True}


@examples(40)
@given(
    query=st.dictionaries(any_text.map(lambda t: t.encode("utf-8", "replace").decode()), any_text, max_size=3)
)
@pytest.mark.parametrize("path", ["/v1/listings", "/v1/variants", "/v1/listing-restrictions"])
def test_any_query_is_answered(world: SmallWorld, api: Caller, path: str, query: dict[str, str]) -> None:
    response = api.get(f"{path}?{urlencode(query, errors='replace')}")
    if response.status_code != 200:
        problem(response, 400, "invalid_request")
