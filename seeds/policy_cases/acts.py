"""What happened then: the dated acts of a policy test, in the order in which they were done."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from authorization import (
    affiliations,
    agreements,
    approvals,
    holds,
    revocations,
)
from authorization.models import Fact
from carriers.versions import FOREVER
from seeds.policy_cases.ground import BEGINNING, host_on, record_attributes
from seeds.policy_cases.reading import Keys, Value
from seeds.policy_cases.records import (
    EXEMPTION_KEYS,
    HOLD_KEYS,
    POLICY_KEYS,
    approval_terms,
    exemption,
    hold,
    policy,
)
from seeds.policy_cases.steps import (
    BY,
    Run,
    Step,
    World,
    named,
    pairs,
    withdraw,
)


def read_acts(value: Value, *, start: datetime) -> list[Step]:
    """The dated acts, which stand in the order in which they were done."""
    steps: list[Step] = []
    before = start
    for item in value.listed():
        step = _read_act(named(item, "an act"))
        if step.at < before:
            raise step.keys["at"].fault(
                f"This act ({step.at.isoformat()}) comes after one of {before.isoformat()}; put them in order of time."
            )
        before = step.at
        steps.append(step)
    return steps


def _read_act(item: Value) -> Step:
    acts = [name for name in item.entries() if name in _ACTS]
    if len(acts) != 1:
        said = f"{len(acts)} acts ({', '.join(acts)})" if acts else "none"
        raise item.fault(f"An act is exactly one of {', '.join(_ACTS)}; this item names {said}.")
    [name] = acts
    own, make = _ACTS[name]
    keys = named(item, f"the act {name!r}").keys(["at", name, *own], required=["at"])
    return Step(keys["at"].instant(), keys, make(keys), is_policy=name == "set_policy")


def _fact(world: World, keys: Keys, name: str) -> Fact:
    fact: Fact = world.find("record", keys[name])
    return fact


_REVOKE: dict[str, tuple[Callable[..., revocations.Change], str]] = {
    Fact.Kind.AGREEMENT: (revocations.RevokeAgreement, "MANUFACTURER_DISCLAIMS"),
    Fact.Kind.APPROVAL: (revocations.RevokeApproval, "CARRIER_WITHDRAWS"),
    Fact.Kind.EQUIPMENT: (revocations.RevokeEquipment, "REGULATOR_ORDER"),
}


def _revoke(keys: Keys) -> Run:
    def run(world: World, at: datetime) -> None:
        fact = _fact(world, keys, "revoke")
        if fact.kind not in _REVOKE:
            raise keys["revoke"].fault(f"{fact} is a {fact.kind}: that is released or ended, not revoked.")
        change, reason = _REVOKE[fact.kind]
        withdraw(change(fact.pk, keys.text("reason_code", reason)), keys, at)

    return run


def _narrow(keys: Keys) -> Run:
    terms: dict[str, Any] = {
        name: tuple(keys[name].texts()) for name in ("territories", "channels", "conditions") if name in keys
    }
    if "valid_until" in keys:
        terms["valid_until"] = keys["valid_until"].instant()
    if "may_sublicense" in keys:
        terms["may_sublicense"] = keys["may_sublicense"].flag()

    def run(world: World, at: datetime) -> None:
        models = None
        if "models" in keys:
            models = tuple(world.find("variant", item).pk for item in keys["models"].items())
        reason = keys.text("reason_code", "AGREEMENT_TERMINATED")
        fact = _fact(world, keys, "narrow")
        withdraw(revocations.NarrowAgreement(fact.pk, reason, models=models, **terms), keys, at)

    return run


def _verify(keys: Keys) -> Run:
    return lambda world, at: agreements.verify_agreement(
        fact=_fact(world, keys, "verify"), by=BY, at=at, reason=keys.text("note", "confirmed by the grantor")
    )


def _renew(keys: Keys) -> Run:
    until = keys.instant("valid_until", FOREVER)
    return lambda world, at: agreements.renew_agreement(
        fact=_fact(world, keys, "renew"), valid_until=until, by=BY, at=at, reason=keys.text("note")
    )


def _change(keys: Keys) -> Run:
    if "state" not in keys:
        raise keys.value.fault(f"{keys.value.what} lacks the key 'state'; add `state: ...`.")
    terms = approval_terms(keys) | {"state": keys["state"].text()}
    return lambda world, at: approvals.change_approval_state(
        fact=_fact(world, keys, "change"), **terms, by=BY, at=at, reason=keys.text("note")
    )


def _place(keys: Keys) -> Run:
    return hold(keys["hold"].text(), keys)


def _suspend(keys: Keys) -> Run:
    """A hold on the record itself."""
    code = keys.text("as", f"HOLD-{keys['suspend'].text()}")

    def run(world: World, at: datetime) -> None:
        fact = _fact(world, keys, "suspend")
        change = revocations.PlaceHold(
            code=code,
            placed_by=keys.text("placed_by", "the shop"),
            reason_code=keys.text("reason_code", "SHOP_REVIEW"),
            note=keys.text("note"),
            targets=(("fact", str(fact.pk)),),
        )
        world.add("record", code, withdraw(change, keys, at))

    return run


def _release(keys: Keys) -> Run:
    return lambda world, at: revocations.release_hold(
        fact=_fact(world, keys, "release"), by=BY, at=at, reason=keys.text("note")
    )


def _exempt(keys: Keys) -> Run:
    if "allows" not in keys:
        raise keys.value.fault(f"{keys.value.what} lacks the key 'allows'; add what may be sold.")
    return lambda world, at: holds.exempt(
        fact=_fact(world, keys, "exempt"),
        exemption=exemption(world, keys, at),
        by=BY,
        at=at,
        reason=keys.text("note"),
    )


def _end_exemption(keys: Keys) -> Run:
    number = keys.read("number", Value.number, 1)
    return lambda world, at: holds.end_exemption(
        fact=_fact(world, keys, "end_exemption"), part=number, by=BY, at=at, reason=keys.text("note")
    )


def _end_affiliation(keys: Keys) -> Run:
    def run(world: World, at: datetime) -> None:
        fact, until = _fact(world, keys, "end_affiliation"), keys.instant("valid_until", at)
        affiliations.end_affiliation(fact=fact, valid_until=until, by=BY, at=at, reason=keys.text("note"))

    return run


def _set_policy(keys: Keys) -> Run:
    return policy(keys, "set_policy")


def _move_hosting(keys: Keys) -> Run:
    return host_on(keys, "hosting", BEGINNING)


def _set_attributes(keys: Keys) -> Run:
    attributes = pairs(keys, "values")
    return lambda world, at: record_attributes(world.find("variant", keys["attributes"]), at, attributes)


# Act -> its keys beside `at` and its own name, and what does it.
_ACTS: dict[str, tuple[tuple[str, ...], Callable[[Keys], Run]]] = {
    "revoke": (("reason_code", "requested_by", "note"), _revoke),
    "narrow": (
        (
            "models", "territories", "channels", "conditions", "valid_until", "may_sublicense", "reason_code",
            "requested_by", "note",
        ),
        _narrow,
    ),
    "verify": (("note",), _verify),
    "renew": (("valid_until", "note"), _renew),
    "change": (("state", "limits", "waived_until", "software_from", "software_until", "note"), _change),
    "hold": ((*HOLD_KEYS, "requested_by"), _place),
    "suspend": (("as", "placed_by", "reason_code", "requested_by", "note"), _suspend),
    "release": (("note",), _release),
    "exempt": (EXEMPTION_KEYS, _exempt),
    "end_exemption": (("number", "note"), _end_exemption),
    "end_affiliation": (("valid_until", "note"), _end_affiliation),
    "set_policy": (POLICY_KEYS, _set_policy),
    "hosting": (("product", "valid_from", "valid_until"), _move_hosting),
    "attributes": (("values",), _set_attributes),
}  # fmt: skip
