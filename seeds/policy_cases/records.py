"""The world of a policy test as it was recorded: each record by the act that the desk uses for it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from django.conf import settings
from django.db import transaction

from authorization import (
    affiliations,
    agreements,
    approvals,
    equipment,
    fence,
    holds,
    offers,
    policies,
    revocations,
)
from authorization.models import Assurance, HoldTarget, HoldVersion, PolicyVersion
from authorization.rules import ALL
from carriers.versions import FOREVER
from catalog.models import Variant
from seeds.factories import make_terms
from seeds.policy_cases.ground import read_hosting, read_rows
from seeds.policy_cases.reading import Keys, Value
from seeds.policy_cases.steps import (
    BUILT_IN,
    BY,
    Run,
    Step,
    World,
    interval,
    named,
    recorded,
    withdraw,
)

POLICY_KEYS = (
    "territory",
    "is_agreement_enforced",
    "minimum_assurance",
    "is_carrier_approval_enforced",
    "is_conditional_approval_enough",
    "is_equipment_authorization_enforced",
    "minimum_radio",
)


HOLD_KEYS = ("placed_by", "reason_code", "note", "reach", "stops", "valid_from", "valid_until", "exemptions")


EXEMPTION_KEYS = ("allows", "valid_from", "valid_until", "note")


def read_world(value: Value, *, start: datetime) -> list[Step]:
    """The steps in the order of their recording; of one instant, in the order of the sections."""
    sections = value.keys(
        ["organizations", "hosts", "devices", "variants", *_RECORDS, "hostings", "policies"]
    )
    steps = [*read_rows(sections, start)]
    steps += [read_hosting(named(item, "a hosting"), start) for item in sections.listed("hostings")]
    for section, (known, required, make) in _RECORDS.items():
        for code, record in sections.named(section).items():
            keys = record.keys([*known, "recorded_at"], required=required)
            steps.append(Step(recorded(keys, start), keys, make(code, keys)))
    for item in sections.listed("policies"):
        keys = named(item, "a policy").keys(["use", "name", *POLICY_KEYS, "recorded_at"])
        steps.append(Step(recorded(keys, start), keys, policy(keys, "use"), is_policy=True))
    return sorted(steps, key=lambda step: step.at)


def _affiliation(code: str, keys: Keys) -> Run:
    terms = interval(keys) | {"may_grant_for_parent": keys.flag("may_grant_for_parent", default=False)}

    def make(world: World, at: datetime) -> None:
        parties = {name: world.find("organization", keys[name]) for name in ("parent", "child")}
        fact = affiliations.record_affiliation(code=code, **parties, **_begun(terms, at), by=BY, at=at)
        world.add("record", code, fact)

    return make


def _agreement(code: str, keys: Keys) -> Run:
    terms = interval(keys) | {
        "may_sublicense": keys.flag("may_sublicense", default=False),
        "assurance": keys.read("assurance", lambda value: value.one_of(Assurance.values), Assurance.VERIFIED),
        "territories": keys.texts("territories", [settings.SHOP_TERRITORY]),
        "channels": _all_or_texts(keys, "channels"),
        "conditions": _all_or_texts(keys, "conditions"),
        "document": keys.text("document"),
    }

    def make(world: World, at: datetime) -> None:
        parties = {name: world.find("organization", keys[name]) for name in ("grantor", "grantee")}
        models = _models(world, keys)
        fact = agreements.record_agreement(
            code=code, **parties, models=models, **_begun(terms, at), by=BY, at=at
        )
        world.add("record", code, fact)

    return make


def _approval(code: str, keys: Keys) -> Run:
    terms = interval(keys) | {"state": keys.text("state", "approved"), "document": keys.text("document")}
    terms |= approval_terms(keys)

    def make(world: World, at: datetime) -> None:
        host, variant = world.find("host", keys["host"]), world.find("variant", keys["variant"])
        fact = approvals.record_approval(
            code=code, host=host, variant=variant, **_begun(terms, at), by=BY, at=at
        )
        world.add("record", code, fact)

    return make


def approval_terms(keys: Keys) -> dict[str, Any]:
    terms: dict[str, Any] = {
        name: keys[name].text() for name in ("limits", "software_from", "software_until") if name in keys
    }
    if "waived_until" in keys:
        terms["waived_until"] = keys["waived_until"].instant()
    return terms


def _equipment(code: str, keys: Keys) -> Run:
    terms = interval(keys) | {
        "territory": keys.text("territory", settings.SHOP_TERRITORY),
        "regulator": keys.text("regulator", "FCC"),
        "identifier": keys.text("identifier"),
        "document": keys.text("document"),
    }
    granted_at = keys["granted_at"].instant() if "granted_at" in keys else None

    def make(world: World, at: datetime) -> None:
        begun = _begun(terms, at)
        granted = granted_at or begun["valid_from"]
        variant = world.find("variant", keys["variant"])
        fact = equipment.record_authorization(
            code=code, variant=variant, **begun, granted_at=granted, by=BY, at=at
        )
        world.add("record", code, fact)

    return make


def _listing(sku: str, keys: Keys) -> Run:
    software = keys.text("software")

    def make(world: World, at: datetime) -> None:
        terms = make_terms(
            variant=world.find("variant", keys["variant"]),
            hosts=[world.find("host", host) for host in keys["hosts"].items()],
            software=software,
        )
        vendor = world.find("organization", keys["vendor"])
        saved = offers.save_listing(vendor=vendor, sku=sku, terms=terms, by=BY, at=at)
        world.add("listing", sku, saved.listing)

    return make


def _begun(terms: dict[str, Any], at: datetime) -> dict[str, Any]:
    return terms | {"valid_from": terms["valid_from"] or at}


def _all_or_texts(keys: Keys, name: str) -> list[str] | Literal["*"]:
    texts = keys.texts(name, [ALL])
    return "*" if texts == [ALL] else texts


def _models(world: World, keys: Keys) -> list[Variant] | Literal["*"]:
    items = keys["models"].items() if "models" in keys else []
    if "models" not in keys or [item.text() for item in items] == [ALL]:
        return "*"
    return [world.find("variant", item) for item in items]


def hold(code: str, keys: Keys) -> Run:
    if "stops" not in keys:
        raise keys.value.fault(
            f"{keys.value.what} lacks the key 'stops'; add what it stops, e.g. `stops: {{host: tmobile}}`."
        )
    reach = keys.read("reach", lambda value: value.one_of(HoldVersion.Reach.values), HoldVersion.Reach.SALE)
    exempt = [
        named(item, "an exemption").keys(EXEMPTION_KEYS, required=["allows"])
        for item in keys.listed("exemptions")
    ]
    within = interval(keys)

    def make(world: World, at: datetime) -> None:
        terms: dict[str, Any] = {
            "code": code,
            "placed_by": keys.text("placed_by", "the shop"),
            "reason_code": keys.text("reason_code", "SHOP_REVIEW"),
            "note": keys.text("note"),
            "targets": _targets(world, keys["stops"]),
            "reach": reach,
            "exemptions": tuple(exemption(world, each, at) for each in exempt),
        }
        if within["valid_from"] is None and within["valid_until"] == FOREVER:
            fact = withdraw(revocations.PlaceHold(**terms), keys, at)
        else:
            # Announced, or for a time: the desk's form for holds gives no such dates yet.
            with transaction.atomic():
                revision = fence.exclusive(by=BY, reason=f"hold {code}", at=at)
                fact = holds.place_under_fence(revision=revision, **terms, **within, by=BY, at=at)
        world.add("record", code, fact)

    return make


def _targets(world: World, value: Value) -> tuple[holds.Target, ...]:
    found: list[holds.Target] = []
    for dimension, values in value.entries().items():
        kind = _KIND_OF_DIMENSION.get(dimension)
        if kind is None and not dimension.startswith(HoldTarget.ATTRIBUTE):
            known = ", ".join([*_KIND_OF_DIMENSION, f"{HoldTarget.ATTRIBUTE}NAME"])
            raise values.fault(f"A hold has no dimension {dimension!r}; take one of: {known}.")
        found += [
            (dimension, str(world.find(kind, item).pk) if kind else item.text()) for item in values.items()
        ]
    return tuple(found)


# Dimension of a hold -> where its values are found; empty: the value counts as it is written.
_KIND_OF_DIMENSION = {
    "manufacturer": "organization",
    "vendor": "organization",
    "device": "device",
    "variant": "variant",
    "listing": "listing",
    "host": "host",
    "fact": "record",
    "territory": "",
    "channel": "",
    "condition": "",
}


def exemption(world: World, keys: Keys, at: datetime) -> holds.Exemption:
    return holds.Exemption(
        targets=_targets(world, keys["allows"]),
        valid_from=keys.instant("valid_from", at),
        valid_until=keys.instant("valid_until", FOREVER),
        note=keys.text("note"),
    )


def policy(keys: Keys, name: str) -> Run:
    """A built-in one by its name, or one of its own with all terms."""
    terms: dict[str, Any]
    if name in keys and keys[name].text() in BUILT_IN:
        terms = dict(BUILT_IN[keys[name].text()])
        for key in POLICY_KEYS[1:]:
            if key in keys:
                raise keys[key].fault(
                    f"A built-in policy says this itself; leave {key!r} out, or name all terms."
                )
    elif name == "use" and name in keys:
        keys[name].one_of(BUILT_IN)
        terms = {}
    else:
        for key in ("minimum_assurance", "is_carrier_approval_enforced"):
            if key not in keys:
                builtin = ", ".join(BUILT_IN)
                raise keys.value.fault(
                    f"A policy of its own lacks the key {key!r}; add it, or take a built-in one ({builtin})."
                )
        terms = {key: keys[key].flag() for key in POLICY_KEYS if key.startswith("is_") and key in keys}
        terms["name"] = keys.text(name if name in keys else "name", "a policy of this file")
        terms["minimum_assurance"] = keys["minimum_assurance"].one_of(Assurance.values)
        terms["minimum_radio"] = keys.read(
            "minimum_radio", lambda value: value.one_of(PolicyVersion.Radio.values), ""
        )
    terms["territory"] = keys.text("territory", ALL)
    return lambda world, at: policies.set_policy(**terms, by=BY, at=at, reason="a policy test")


# Section -> the keys of a record, those it must have, and what records it.
_RECORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[str, Keys], Run]]] = {
    "affiliations": (
        ("parent", "child", "may_grant_for_parent", "valid_from", "valid_until"),
        ("parent", "child"),
        _affiliation,
    ),
    "agreements": (
        (
            "grantor", "grantee", "may_sublicense", "assurance", "models", "territories", "channels", "conditions",
            "document", "valid_from", "valid_until",
        ),
        ("grantor", "grantee"),
        _agreement,
    ),
    "approvals": (
        (
            "host", "variant", "state", "limits", "waived_until", "software_from", "software_until", "document",
            "valid_from", "valid_until",
        ),
        ("host", "variant"),
        _approval,
    ),
    "equipment": (
        ("variant", "territory", "regulator", "identifier", "granted_at", "document", "valid_from", "valid_until"),
        ("variant",),
        _equipment,
    ),
    "listings": (("vendor", "variant", "hosts", "software"), ("vendor", "variant", "hosts"), _listing),
    "holds": (HOLD_KEYS, ("stops",), hold),
}  # fmt: skip
