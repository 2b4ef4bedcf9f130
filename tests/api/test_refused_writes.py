"""Writes whose refusal has to be looked up: with an Idempotency-Key, and as a dry run, they are answered as without."""

import json

from tests.api.conftest import Caller, SmallWorld, problem


def request_body(world: SmallWorld) -> dict[str, str]:
    return {"host": world.south.code, "variant": world.approved.slug}


def test_the_same_request_again_is_answered_with_what_is_there(world: SmallWorld, api: Caller) -> None:
    path = "/v1/technical-acceptances"
    first = api.post(path, request_body(world))
    for query, headers in (("", {"Idempotency-Key": "again"}), ("?validate_only=true", {}), ("", {})):
        again = api.post(path + query, request_body(world), **headers)
        assert again.status_code == 200, again.content
        assert json.loads(again.content)["unchanged"] is True
        assert json.loads(again.content)["code"] == json.loads(first.content)["code"]


def test_a_refused_move_says_what_is_open(world: SmallWorld, api: Caller) -> None:
    made = json.loads(api.post("/v1/technical-acceptances", request_body(world)).content)
    path = f"/v1/technical-acceptances/{made['code']}/moves"
    stale = {"move": "withdraw", "version": made["version"] + 1, "reason": "no"}
    # The sponsor's own moves only: the desk of the host takes it in.
    foreign = {"move": "take_in", "version": made["version"]}
    for body in (stale, foreign):
        for query, headers in (
            ("", {"Idempotency-Key": str(body["move"])}),
            ("?validate_only=true", {}),
            ("", {}),
        ):
            refused = problem(api.post(path + query, body, **headers), 409, "move_refused")
            assert "withdraw" in refused["moves_allowed"]
            assert refused["version"] == made["version"]
