"""The doors through which facts enter: what each refuses, with its cure, and what each leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from authorization import (
    affiliations,
    agreements,
    approvals,
    clock,
    equipment,
    fence,
    groundwork,
    holds,
    policies,
)
from authorization.agreements import NarrowerTerms
from authorization.facts import InvalidFact
from authorization.holds import Exemption
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    HoldExemption,
    HoldTarget,
    HoldVersion,
    LedgerEntry,
    OutboxRow,
    PolicyVersion,
    Revision,
    ScopeTerm,
)
from carriers.models import HostCarrier
from carriers.versions import FOREVER
from catalog.models import Organization, Variant, VariantAttribute
from seeds.factories import (
    BUILDER,
    DeviceFactory,
    HostCarrierFactory,
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_agreement,
    make_approval,
    make_equipment,
    make_hold,
    make_policy,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
NAIVE = datetime(2016, 2, 1)  # noqa: DTZ001  what a door must refuse
WRITTEN = (
    Revision, LedgerEntry, OutboxRow, Fact, AgreementVersion, ScopeTerm, ApprovalVersion, EquipmentVersion,
    AffiliationVersion, HoldVersion, HoldTarget, HoldExemption, PolicyVersion,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _days_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some acts of these tests are dated ahead, to meet records that have ended by then."""
    monkeypatch.setattr(fence, "MAX_AHEAD", 30 * DAY)


@dataclass
class Parties:
    """Maker with a variant; its parent, a stranger to both, a distributor, a vendor, a host."""

    at: datetime
    maker: Organization
    parent: Organization
    stranger: Organization
    distributor: Organization
    vendor: Organization
    variant: Variant
    foreign: Variant
    host: HostCarrier
    made: dict[str, Fact] = field(default_factory=dict)


@pytest.fixture
def parties() -> Parties:
    def organization(kind: str, slug: str) -> Organization:
        made: Organization = OrganizationFactory.create(kind=kind, slug=slug)
        return made

    maker, stranger = organization("manufacturer", "maker"), organization("manufacturer", "stranger")
    return Parties(
        at=clock.now(),
        maker=maker,
        parent=organization("manufacturer", "parent"),
        stranger=stranger,
        distributor=organization("distributor", "distributor"),
        vendor=organization("vendor", "vendor"),
        variant=VariantFactory.create(device=DeviceFactory.create(manufacturer=maker)),
        foreign=VariantFactory.create(device=DeviceFactory.create(manufacturer=stranger)),
        host=HostCarrierFactory.create(),
    )


def counts() -> list[int]:
    return [model._default_manager.count() for model in WRITTEN]


def refused(act: Callable[[], object], said: str, cure: str = "") -> str:
    """The act is refused at this field, with the cure, and nothing of it is written."""
    before = counts()
    with pytest.raises(InvalidFact) as refusal:
        act()
    assert refusal.value.field == said
    assert refusal.value.message.rstrip().endswith((".", "?"))
    assert cure in refusal.value.message
    assert counts() == before
    return refusal.value.message


def under_fence(act: Callable[..., object], at: datetime, **given: Any) -> None:
    with transaction.atomic():
        revision = fence.exclusive(by=BUILDER, reason="test", at=clock.now())
        act(revision=revision, by=BUILDER, at=at, **given)


@dataclass
class Left:
    """What an act left behind."""

    ledger: list[LedgerEntry]
    changed: list[OutboxRow]
    boundaries: list[datetime]


def leaves(act: Callable[[], object]) -> Left:
    entry = max(LedgerEntry.objects.values_list("id", flat=True), default=0)
    row = max(OutboxRow.objects.values_list("id", flat=True), default=0)
    revision = fence.current_revision()
    act()
    assert fence.current_revision() == revision + 1, "one act is one revision"
    rows = OutboxRow.objects.filter(id__gt=row, handler="").order_by("due_at", "id")
    left = Left(
        list(LedgerEntry.objects.filter(id__gt=entry)),
        [each for each in rows if each.event == "authority.changed"],
        [each.due_at for each in rows if each.event == "authority.boundary"],
    )
    [ledger], [changed] = left.ledger, left.changed
    assert ledger.revision == changed.payload["revision"] == revision + 1
    assert str(changed.payload["fact_id"]) == ledger.subject_id
    return left


# --- bad input: (name, door, what is changed of a good input, the field, part of the cure) --------------------------


def good_equipment(p: Parties) -> dict[str, Any]:
    return {
        "code": "EA-1", "variant": p.variant, "territory": "US", "regulator": "FCC", "identifier": "2AAAA-X",
        "granted_at": p.at - DAY, "valid_from": p.at, "by": BUILDER, "at": p.at,
    }  # fmt: skip


def good_affiliation(p: Parties) -> dict[str, Any]:
    return {
        "code": "AF-1", "parent": p.parent, "child": p.maker, "valid_from": p.at, "by": BUILDER, "at": p.at,
    }  # fmt: skip


def good_agreement(p: Parties) -> dict[str, Any]:
    return {
        "code": "AG-1", "grantor": p.maker, "grantee": p.vendor, "may_sublicense": False,
        "assurance": "verified", "models": [p.variant], "territories": ["US"], "channels": ["web"],
        "conditions": ["new"], "valid_from": p.at, "by": BUILDER, "at": p.at,
    }  # fmt: skip


def good_approval(p: Parties) -> dict[str, Any]:
    return {
        "code": "CA-1", "host": p.host, "variant": p.variant, "state": "conditional", "limits": "B12 off",
        "waived_until": p.at + 9 * DAY, "software_from": "7.0", "software_until": "7.1",
        "valid_from": p.at, "by": BUILDER, "at": p.at,
    }  # fmt: skip


def good_policy(p: Parties) -> dict[str, Any]:
    return {**policies.POLICY_TODAY, "territory": "US", "by": BUILDER, "at": p.at, "reason": "test"}


def good_hold(p: Parties) -> dict[str, Any]:
    until = p.at + DAY
    return {
        "code": "H-1", "placed_by": "a court", "reason_code": "REGULATOR_ORDER", "note": "",
        "targets": (("manufacturer", str(p.maker.pk)),), "at": p.at,
        "exemptions": (Exemption((("attribute:chipset_vendor", "Qualcomm"),), p.at, until),),
    }  # fmt: skip


DOORS: dict[str, tuple[Callable[..., object], Callable[[Parties], dict[str, Any]]]] = {
    "equipment": (equipment.record_authorization, good_equipment),
    "affiliation": (affiliations.record_affiliation, good_affiliation),
    "agreement": (agreements.record_agreement, good_agreement),
    "approval": (approvals.record_approval, good_approval),
    "policy": (policies.set_policy, good_policy),
    "hold": (lambda **given: under_fence(holds.place_under_fence, **given), good_hold),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_good_input_passes(parties: Parties, door: str) -> None:
    act, good = DOORS[door]
    assert len(leaves(lambda: act(**good(parties))).ledger) == 1


def exempting(**changes: Any) -> Callable[[Parties], dict[str, Any]]:
    def made(p: Parties) -> dict[str, Any]:
        [exemption] = good_hold(p)["exemptions"]
        changed = {name: value(p) if callable(value) else value for name, value in changes.items()}
        return {"exemptions": (replace(exemption, **changed),)}

    return made


def targets(*pairs: tuple[str, str], **more: Any) -> Callable[[Parties], dict[str, Any]]:
    return lambda p: {"targets": pairs, **more}


BAD: list[tuple[str, str, Callable[[Parties], dict[str, Any]], str, str]] = [
    *(
        (f"{door}: a naive at", door, lambda p: {"at": NAIVE}, "at", "2016-02-01T00:00:00Z")
        for door in DOORS
    ),
    *(
        (f"{door}: {what}", door, change, said, cure)
        for door in ("equipment", "affiliation", "agreement", "approval", "hold")
        for what, change, said, cure in (
            ("no code", lambda p: {"code": " "}, "code", "Give"),
            ("a long code", lambda p: {"code": "x" * 65}, "code", "64"),
            ("a naive end", lambda p: {"valid_until": NAIVE}, "valid_until", "time zone"),
            ("a naive start", lambda p: {"valid_from": NAIVE}, "valid_from", "time zone"),
            ("no time at all", lambda p: {"valid_until": p.at}, "valid_until", "after"),
            ("reversed", lambda p: {"valid_until": p.at - DAY}, "valid_until", "after"),
            ("beyond all time", lambda p: {"valid_until": FOREVER + DAY}, "valid_until", "9999"),
        )
    ),
    ("granted after it began", "equipment", lambda p: {"granted_at": p.at + DAY}, "granted_at", "correct"),
    ("granted at a naive time", "equipment", lambda p: {"granted_at": NAIVE}, "granted_at", "time zone"),
    ("everywhere", "equipment", lambda p: {"territory": "*"}, "territory", "US"),
    ("small letters", "equipment", lambda p: {"territory": "us"}, "territory", "US"),
    ("no regulator", "equipment", lambda p: {"regulator": " "}, "regulator", "FCC"),
    ("a long identifier", "equipment", lambda p: {"identifier": "x" * 65}, "identifier", "64"),
    ("a NUL", "equipment", lambda p: {"identifier": "x\x00"}, "identifier", "take it out"),
    ("a vendor as parent", "affiliation", lambda p: {"parent": p.vendor}, "parent", "manufacturer"),
    ("a distributor as child", "affiliation", lambda p: {"child": p.distributor}, "child", "manufacturer"),
    ("its own child", "affiliation", lambda p: {"child": p.parent}, "child", "another"),
    ("a vendor grants", "agreement", lambda p: {"grantor": p.vendor}, "grantee", "another"),
    ("a distributor's model", "agreement", lambda p: {"grantor": p.distributor}, "models", "record first"),
    ("a foreign model", "agreement", lambda p: {"models": [p.foreign]}, "models", "take it out"),
    ("text for models", "agreement", lambda p: {"models": "all"}, "models", "* for all"),
    ("a country's name", "agreement", lambda p: {"territories": ["USA"]}, "territories", "or *"),
    ("another channel", "agreement", lambda p: {"channels": ["fax"]}, "channels", "web"),
    ("another condition", "agreement", lambda p: {"conditions": ["worn"]}, "conditions", "used"),
    ("another assurance", "agreement", lambda p: {"assurance": "sworn"}, "assurance", "verified"),
    ("revoked at the door", "approval", lambda p: {"state": "revoked"}, "state", "revoke action"),
    ("limits of an approval", "approval", lambda p: {"state": "approved", "waived_until": None}, "limits", "clear"),
    ("limits unsaid", "approval", lambda p: {"limits": ""}, "limits", "e.g."),
    ("long limits", "approval", lambda p: {"limits": "x" * 301}, "limits", "300"),
    (
        "a waiver of an approval", "approval", lambda p: {"state": "approved", "limits": ""},
        "waived_until", "conditional",
    ),
    ("a naive waiver", "approval", lambda p: {"waived_until": NAIVE}, "waived_until", "time zone"),
    ("a waiver of no time", "approval", lambda p: {"waived_until": p.at}, "waived_until", "after"),
    ("an endless waiver", "approval", lambda p: {"waived_until": FOREVER + DAY}, "waived_until", "leave"),
    ("software backwards", "approval", lambda p: {"software_until": "6.9"}, "software_until", "later"),
    ("software of no length", "approval", lambda p: {"software_until": "7.00"}, "software_until", "later"),
    ("software without a number", "approval", lambda p: {"software_from": "…"}, "software_from", "e.g."),
    ("long software", "approval", lambda p: {"software_until": "7" * 65}, "software_until", "64"),
    ("no name", "policy", lambda p: {"name": " "}, "name", "Give"),
    ("a long name", "policy", lambda p: {"name": "x" * 101}, "name", "100"),
    ("another assurance", "policy", lambda p: {"minimum_assurance": "sworn"}, "minimum_assurance", "claimed"),
    ("a country's name", "policy", lambda p: {"territory": "USA"}, "territory", "or *"),
    ("an unknown level", "policy", lambda p: {"minimum_radio": "NONE"}, "minimum_radio", "PARTIAL_3G"),
    ("a start in the past", "hold", lambda p: {"valid_from": p.at - DAY}, "valid_from", "later"),
    ("another reach", "hold", lambda p: {"reach": "everything"}, "reach", "all_grants"),
    ("nobody's word", "hold", lambda p: {"placed_by": " "}, "placed_by", "Say who"),
    ("no reason", "hold", lambda p: {"reason_code": ""}, "reason_code", "e.g."),
    ("no targets", "hold", targets(), "targets", "at least one"),
    ("an unknown dimension", "hold", targets(("colour", "red")), "targets", "attribute:NAME"),
    ("an unknown row", "hold", targets(("variant", "999999")), "targets", "exists"),
    ("no id", "hold", targets(("variant", "x")), "targets", "exists"),
    ("another spelling", "hold", targets(("variant", "01")), "targets", "exists"),
    ("a huge id", "hold", targets(("variant", "9" * 5000)), "targets", "exists"),
    ("another channel", "hold", targets(("channel", "fax")), "targets", "web"),
    ("all channels", "hold", targets(("channel", "*")), "targets", "web"),
    ("another condition", "hold", targets(("condition", "worn")), "targets", "used"),
    ("a country's name", "hold", targets(("territory", "USA")), "targets", "US"),
    ("an attribute without name", "hold", targets(("attribute:", "x")), "targets", "chipset_vendor"),
    ("an attribute's bad name", "hold", targets(("attribute:chip set", "x")), "targets", "chipset_vendor"),
    ("an attribute's long name", "hold", targets(("attribute:" + "x" * 51, "x")), "targets", "50"),
    ("an attribute without value", "hold", targets(("attribute:chip", "")), "targets", "Say which"),
    ("an attribute with spaces", "hold", targets(("attribute:chip", " x")), "targets", "space"),
    ("an attribute's long value", "hold", targets(("attribute:chip", "x" * 101)), "targets", "100"),
    ("an exemption of nothing", "hold", exempting(targets=()), "exemptions", "at least one"),
    ("an exemption that is over", "hold", exempting(valid_from=lambda p: p.at - DAY, valid_until=lambda p: p.at),
     "exemptions", "to come"),
    ("an exemption backwards", "hold", exempting(valid_from=lambda p: p.at + 2 * DAY), "exemptions", "after"),
    ("an exemption's naive end", "hold", exempting(valid_until=NAIVE), "exemptions", "time zone"),
    ("an exemption's naive start", "hold", exempting(valid_from=NAIVE), "exemptions", "time zone"),
    ("an exemption's long note", "hold", exempting(note="x" * 301), "exemptions", "300"),
    ("an exemption of an unknown row", "hold", exempting(targets=(("host", "999999"),)), "exemptions", "exists"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("door", "change", "said", "cure"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_is_refused_with_its_cure_and_writes_nothing(
    parties: Parties, door: str, change: Callable[[Parties], dict[str, Any]], said: str, cure: str
) -> None:
    act, good = DOORS[door]
    changed = change(parties)
    if changed.get("grantor") == parties.vendor:
        # Both ends are the vendor; and with another grantee it still does not grant.
        other = {"grantee": parties.distributor}
        refused(lambda: act(**good(parties) | changed | other), "grantor", "manufacturer")
    refused(lambda: act(**good(parties) | changed), said, cure)


@pytest.mark.parametrize("door", ["equipment", "affiliation", "agreement", "approval", "hold"])
def test_a_code_is_given_once(parties: Parties, door: str) -> None:
    make_policy(at=parties.at)
    taken = Fact.objects.get().code
    act, good = DOORS[door]
    refused(lambda: act(**good(parties) | {"code": taken}), "code", "another code")


def later_acts(p: Parties) -> dict[str, tuple[Fact, Callable[..., object]]]:
    """Acts on a fact that is there: the kind it wants, and the call but for `fact` and `at`."""
    agreement = make_agreement(
        grantor=p.maker, grantee=p.vendor, at=p.at, models=[p.variant], valid_until=p.at + 9 * DAY
    )
    approval = make_approval(host=p.host, variant=p.variant, at=p.at)
    grant = make_equipment(variant=p.variant, at=p.at)
    affiliation = make_affiliation(parent=p.parent, child=p.maker, at=p.at)
    exemption = Exemption((("host", str(p.host.pk)),), p.at, FOREVER)
    hold = make_hold(targets=[("variant", str(p.variant.pk))], at=p.at, exemptions=[exemption])
    said: dict[str, Any] = {"by": BUILDER, "reason": "test"}
    fenced: dict[str, Any] = {"reason": "test"}
    ends = p.at + 20 * DAY
    return {
        "verify": (agreement, lambda **g: agreements.verify_agreement(**g, **said)),
        "renew": (agreement, lambda **g: agreements.renew_agreement(**g, **said, valid_until=ends)),
        "narrow": (
            agreement,
            lambda **g: under_fence(
                agreements.narrow_under_fence, **g, **fenced, terms=NarrowerTerms(valid_until=p.at + DAY)
            ),
        ),
        "revoke agreement": (
            agreement, lambda **g: under_fence(agreements.revoke_under_fence, **g, **fenced, reason_code="X"),
        ),
        "change approval": (
            approval,
            lambda **g: approvals.change_approval_state(**g, **said, state="approved"),
        ),
        "revoke approval": (
            approval, lambda **g: under_fence(approvals.revoke_under_fence, **g, **fenced, reason_code="X"),
        ),
        "revoke equipment": (
            grant, lambda **g: under_fence(equipment.revoke_under_fence, **g, **fenced, reason_code="X"),
        ),
        "end affiliation": (
            affiliation, lambda **g: affiliations.end_affiliation(**g, **said, valid_until=ends),
        ),
        "exempt": (hold, lambda **g: holds.exempt(**g, **said, exemption=exemption)),
        "end exemption": (hold, lambda **g: holds.end_exemption(**g, **said, part=1)),
        "release": (hold, lambda **g: holds.release_hold(**g, **said)),
    }  # fmt: skip


LATER = (
    "verify", "renew", "narrow", "revoke agreement", "change approval", "revoke approval", "revoke equipment",
    "end affiliation", "exempt", "end exemption", "release",
)  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_later_acts_want_their_own_kind_and_a_time_zone_and_leave_one_version_more(
    parties: Parties, name: str
) -> None:
    acts = later_acts(parties)
    assert set(acts) == set(LATER)
    fact, act = acts[name]
    kind = Fact.Kind.POLICY
    wrong = Fact.objects.create(kind=kind, code="POLICY-X")
    refused(lambda: act(fact=wrong, at=clock.now()), "fact", "choose one")
    refused(lambda: act(fact=fact, at=NAIVE), "at", "time zone")
    left = leaves(lambda: act(fact=fact, at=clock.now()))
    assert left.ledger[0].subject_id == str(fact.pk)
    assert left.ledger[0].reason == "test"
    versions: Any = {
        "agreement": AgreementVersion, "approval": ApprovalVersion, "equipment": EquipmentVersion,
        "affiliation": AffiliationVersion, "hold": HoldVersion,
    }[fact.kind]  # fmt: skip
    first, second = versions.objects.filter(head=fact).order_by("version_no")
    assert (first.rev_to, second.rev_to) == (second.rev_from, None)


# --- equipment ------------------------------------------------------------------------------------------------------


def test_an_equipment_authorization_keeps_all_of_it_when_revoked(parties: Parties) -> None:
    good = good_equipment(parties)
    begins, ends = parties.at + DAY, parties.at + 5 * DAY
    left = leaves(
        lambda: equipment.record_authorization(
            **good | {"valid_from": begins, "valid_until": ends, "document": "D"}
        )
    )
    assert left.ledger[0].act == "equipment.recorded"
    assert left.boundaries == [begins, ends]
    fact = Fact.objects.get(code="EA-1")
    before = equipment.record_of(equipment.current(fact))
    at = clock.now()

    def revoke() -> None:
        under_fence(
            equipment.revoke_under_fence, at, fact=fact, reason_code="REGULATOR_ORDER", reason="its word"
        )

    assert leaves(revoke).ledger[0].act == "equipment.revoked"
    assert equipment.record_of(equipment.current(fact)) == before | {
        "state": "revoked", "revoked_at": at, "reason_code": "REGULATOR_ORDER",
    }  # fmt: skip
    refused(revoke, "fact", "nothing is left")


# --- affiliations ---------------------------------------------------------------------------------------------------


def test_who_owns_whom_is_no_circle(parties: Parties) -> None:
    p = parties
    make_affiliation(parent=p.parent, child=p.maker, at=p.at)
    make_affiliation(parent=p.maker, child=p.stranger, at=p.at)
    good = good_affiliation(p)
    for parent, child in ((p.maker, p.parent), (p.stranger, p.parent), (p.stranger, p.maker)):
        message = refused(
            partial(affiliations.record_affiliation, **good | {"parent": parent, "child": child}),
            "child",
            "end that affiliation first",
        )
        assert str(child) in message


def test_the_same_pair_at_one_time_is_refused_with_the_others_code_and_later_it_is_not(
    parties: Parties,
) -> None:
    p = parties
    ends = p.at + 5 * DAY
    first = make_affiliation(parent=p.parent, child=p.maker, at=p.at, code="AF-FIRST", valid_until=ends)
    good = good_affiliation(p)
    refused(lambda: affiliations.record_affiliation(**good), "child", "AF-FIRST")
    refused(lambda: affiliations.record_affiliation(**good | {"valid_from": ends - DAY}), "child", "AF-FIRST")
    affiliations.record_affiliation(**good | {"valid_from": ends})
    later: dict[str, Any] = {"fact": first, "by": BUILDER, "at": clock.now(), "reason": "test"}
    refused(lambda: affiliations.end_affiliation(**later, valid_until=ends + DAY), "valid_until", "AF-1")


def test_a_later_end_makes_no_circle_either(parties: Parties) -> None:
    p = parties
    ends = p.at + 5 * DAY
    first = make_affiliation(parent=p.parent, child=p.maker, at=p.at, valid_until=ends)
    make_affiliation(parent=p.maker, child=p.parent, at=p.at, valid_from=ends)
    refused(
        lambda: affiliations.end_affiliation(
            fact=first, valid_until=ends + DAY, by=BUILDER, at=clock.now(), reason="test"
        ),
        "valid_until",
        "end that affiliation first",
    )


def test_an_end_moves_while_it_is_to_come_and_never_after(parties: Parties) -> None:
    p = parties
    fact = make_affiliation(parent=p.parent, child=p.maker, at=p.at, may_grant_for_parent=True)
    before = affiliations.record_of(affiliations.current(fact))

    def end(valid_until: datetime, at: datetime = p.at) -> None:
        affiliations.end_affiliation(fact=fact, valid_until=valid_until, by=BUILDER, at=at, reason="sold")

    for ends in (p.at + 9 * DAY, p.at + 3 * DAY, p.at + 5 * DAY):
        left = leaves(partial(end, ends))
        assert left.boundaries == [ends]
        assert left.ledger[0].act == "affiliation.ended"
    assert affiliations.record_of(affiliations.current(fact)) == before | {"valid_until": p.at + 5 * DAY}
    refused(lambda: end(p.at + 5 * DAY), "valid_until", "another end")
    refused(lambda: end(p.at - timedelta(hours=1)), "valid_until", "take an end from")
    refused(lambda: end(p.at - 9 * DAY), "valid_until", "after the beginning")
    refused(lambda: end(NAIVE), "valid_until", "time zone")
    refused(lambda: end(p.at + 9 * DAY, at=p.at + 5 * DAY), "fact", "record a new one")
    end(p.at)
    refused(lambda: end(p.at + 9 * DAY), "fact", "record a new one")


# --- holds ----------------------------------------------------------------------------------------------------------


def chips(p: Parties, **changes: Any) -> Exemption:
    given: dict[str, Any] = {
        "valid_from": p.at + DAY,
        "valid_until": p.at + 2 * DAY,
        "note": "Rs 100 per unit",
    } | changes
    return Exemption((("attribute:chipset_vendor", "Qualcomm"), ("territory", "IN")), **given)


def test_a_hold_keeps_reach_targets_and_exemptions_with_their_numbers(parties: Parties) -> None:
    p = parties
    begins, ends = p.at + DAY, p.at + 9 * DAY
    second = Exemption((("channel", "retail"), ("condition", "used")), p.at + 3 * DAY, p.at + 4 * DAY)
    pairs = (
        ("attribute:module", "FGH75D"), ("channel", "retail"), ("channel", "web"), ("condition", "new"),
        ("manufacturer", str(p.maker.pk)), ("territory", "IN"),
    )  # fmt: skip
    made: list[Fact] = []
    left = leaves(
        lambda: made.append(
            make_hold(
                targets=reversed(pairs), at=p.at, reach="all_grants", exemptions=[chips(p), second],
                valid_from=begins, valid_until=ends,
            )
        )
    )  # fmt: skip
    assert left.boundaries == sorted(
        [begins, ends, p.at + DAY, p.at + 2 * DAY, p.at + 3 * DAY, p.at + 4 * DAY]
    )
    [fact] = made
    version = holds.current(fact)
    assert (version.reach, version.valid_from, version.valid_until) == ("all_grants", begins, ends)
    assert holds.targets_of(version) == pairs
    assert holds.exemptions_of(version) == {1: chips(p), 2: second}
    assert left.ledger[0].evidence["reach"] == "all_grants"
    assert [each["part"] for each in left.ledger[0].evidence["exemptions"]] == [1, 2]

    third = chips(p, valid_from=p.at - 9 * DAY)
    said: dict[str, Any] = {"fact": fact, "by": BUILDER, "at": clock.now(), "reason": "test"}
    left = leaves(lambda: holds.exempt(**said, exemption=third))
    assert left.ledger[0].act == "hold.exempted"
    assert left.boundaries == [p.at + 2 * DAY]
    assert holds.exemptions_of(holds.current(fact)) == {1: chips(p), 2: second, 3: third}
    refused(lambda: holds.end_exemption(**said, part=4), "part", "it has: 1, 2, 3")
    refused(lambda: holds.end_exemption(**said, part=0), "part", "it has: 1, 2, 3")

    # The third lasts and is ended now; the first had not begun and is dropped. No number is given twice.
    left = leaves(lambda: holds.end_exemption(**said, part=3))
    assert left.ledger[0].act == "hold.exemption_ended"
    refused(lambda: holds.end_exemption(**said, part=3), "part", "nothing is left")
    leaves(lambda: holds.end_exemption(**said, part=1))
    ended = replace(third, valid_until=said["at"])
    assert holds.exemptions_of(holds.current(fact)) == {2: second, 3: ended}
    leaves(lambda: holds.end_exemption(**said, part=2))
    holds.exempt(**said, exemption=second)
    assert holds.exemptions_of(holds.current(fact)) == {3: ended, 4: second}

    before = holds.record_of(holds.current(fact))
    assert leaves(lambda: holds.release_hold(**said)).ledger[0].act == "hold.released"
    version = holds.current(fact)
    assert holds.record_of(version) == before | {"released_at": said["at"]}
    assert holds.targets_of(version) == pairs
    assert holds.exemptions_of(version) == {3: ended, 4: second}
    for act in (
        lambda: holds.release_hold(**said),
        lambda: holds.exempt(**said, exemption=second),
        lambda: holds.end_exemption(**said, part=4),
    ):
        refused(act, "fact", "was released")
    assert HoldVersion.objects.filter(head=fact).count() == 7


def test_a_hold_that_is_over_takes_no_exemption(parties: Parties) -> None:
    p = parties
    fact = make_hold(targets=[("territory", "US")], at=p.at, valid_until=p.at + DAY)
    refused(
        lambda: holds.exempt(fact=fact, exemption=chips(p), by=BUILDER, at=p.at + DAY, reason="late"),
        "fact",
        "place a new hold",
    )


@pytest.mark.parametrize("kind", ["agreement", "approval", "equipment"])
def test_a_sale_hold_suspends_records_and_a_list_does_not(parties: Parties, kind: str) -> None:
    p = parties
    fact = {
        "agreement": lambda: make_agreement(grantor=p.maker, grantee=p.vendor, at=p.at),
        "approval": lambda: make_approval(host=p.host, variant=p.variant, at=p.at),
        "equipment": lambda: make_equipment(variant=p.variant, at=p.at),
    }[kind]()
    named = (("fact", str(fact.pk)), ("territory", "US"))
    assert holds.check_targets(named) == named
    for reach in ("new_grants", "all_grants"):
        refused(partial(make_hold, targets=named, at=p.at, reach=reach), "targets", "on the sale")
    exemption = Exemption(named, p.at, FOREVER)
    refused(
        lambda: make_hold(targets=[("territory", "US")], at=p.at, exemptions=[exemption]),
        "exemptions",
        "goods",
    )


def test_what_is_no_ground_is_not_suspended(parties: Parties) -> None:
    affiliation = make_affiliation(parent=parties.parent, child=parties.maker, at=parties.at)
    hold = make_hold(targets=[("territory", "US")], at=parties.at)
    for fact in (affiliation, hold, make_policy(at=parties.at)):
        refused(partial(holds.check_targets, [("fact", str(fact.pk))]), "targets", "exists")


def test_targets_are_looked_up_together(parties: Parties) -> None:
    def queries(count: int) -> int:
        pairs = [("variant", str(VariantFactory.create().pk)) for _ in range(count)]
        with CaptureQueriesContext(connection) as asked:
            holds.check_targets(pairs)
        return len(asked)

    assert queries(2) == queries(30)


# --- approvals ------------------------------------------------------------------------------------------------------


def test_an_approval_keeps_waiver_and_software_and_announces_the_waivers_end(parties: Parties) -> None:
    p = parties
    good = good_approval(p)
    left = leaves(lambda: approvals.record_approval(**good))
    assert left.boundaries == [good["waived_until"]]
    fact = Fact.objects.get(code="CA-1")
    record = approvals.record_of(approvals.current(fact))
    assert (record["software_from"], record["software_until"], record["waived_until"]) == (
        "7.0", "7.1", good["waived_until"],
    )  # fmt: skip
    assert "" < record["software_from_key"] < record["software_until_key"]
    assert left.ledger[0].evidence["software_until"] == "7.1"
    at = clock.now()
    under_fence(approvals.revoke_under_fence, at, fact=fact, reason_code="CARRIER_WITHDRAWS", reason="test")
    assert approvals.record_of(approvals.current(fact)) == record | {
        "state": "revoked", "revoked_at": at, "reason_code": "CARRIER_WITHDRAWS",
    }  # fmt: skip


def change_approval(fact: Fact, at: datetime | None = None, **terms: Any) -> None:
    given = {"state": "approved", "reason": "test"} | terms
    approvals.change_approval_state(fact=fact, by=BUILDER, at=at or clock.now(), **given)


def test_an_approval_loses_its_waiver_with_its_limits_and_keeps_its_software(parties: Parties) -> None:
    p = parties
    fact = approvals.record_approval(**good_approval(p))
    later = p.at + 20 * DAY
    left = leaves(lambda: change_approval(fact, state="conditional", limits="B2 off", waived_until=later))
    assert left.boundaries == [later]
    version = approvals.current(fact)
    assert (version.software_from, version.software_until, version.waived_until) == ("7.0", "7.1", later)
    change_approval(fact, software_until="")
    version = approvals.current(fact)
    assert (version.state, version.limits, version.waived_until) == ("approved", "", None)
    assert (version.software_from, version.software_until, version.software_until_key) == ("7.0", "", "")


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"software_from": "7.0.1"}, "software_from"),
        ({"software_until": "7.0.9"}, "software_until"),
        ({"software_from": "6.0", "software_until": "7.0.9"}, "software_until"),
        ({"software_from": "8.0", "software_until": "9.0"}, "software_from"),
    ],
)
def test_less_software_is_no_change_of_state(parties: Parties, terms: dict[str, Any], said: str) -> None:
    fact = approvals.record_approval(**good_approval(parties))
    refused(lambda: change_approval(fact, **terms), said, "revoke this one")
    change_approval(fact, software_from="6.0", software_until="7.2")


def test_limits_and_a_shorter_waiver_are_no_change_of_state(parties: Parties) -> None:
    p = parties
    approved = make_approval(host=p.host, variant=p.variant, at=p.at, code="CA-0")
    limits: dict[str, Any] = {"state": "conditional", "limits": "no LTE"}
    refused(lambda: change_approval(approved, **limits), "state", "Limit it instead")
    refused(lambda: change_approval(approved, **limits, waived_until=p.at + DAY), "state", "Limit it instead")
    host = HostCarrierFactory.create()
    waived = approvals.record_approval(**good_approval(p) | {"host": host})
    until = good_approval(p)["waived_until"]
    refused(
        lambda: change_approval(waived, **limits, waived_until=until - DAY), "waived_until", "shows first"
    )
    change_approval(waived, **limits, waived_until=until + DAY)
    change_approval(waived, **limits)
    refused(lambda: change_approval(waived, **limits, waived_until=until), "waived_until", "shows first")
    change_approval(waived)


def test_a_range_may_be_set_while_it_is_not_in_force(parties: Parties) -> None:
    fact = make_approval(host=parties.host, variant=parties.variant, at=parties.at, state="in_test")
    change_approval(fact, software_from="7.0", software_until="7.1")
    assert approvals.current(fact).software_until == "7.1"


def test_an_approval_that_has_ended_stays_so(parties: Parties) -> None:
    p = parties
    ended = make_approval(host=p.host, variant=p.variant, at=p.at, code="CA-1", valid_until=p.at)
    refused(lambda: change_approval(ended, p.at), "fact", "record a new approval")
    waived = make_approval(
        host=p.host, variant=p.variant, at=p.at, code="CA-2", state="conditional", valid_from=p.at,
        waived_until=p.at + DAY,
    )  # fmt: skip
    past = p.at + DAY
    refused(lambda: change_approval(waived, past), "fact", "record a new approval")
    refused(
        lambda: change_approval(waived, past, state="conditional", limits="x", waived_until=past + DAY),
        "fact",
        "new",
    )
    refused(
        lambda: change_approval(waived, p.at, state="conditional", limits="x", waived_until=p.at),
        "waived_until",
        "after",
    )
    # And once it has, the next one may follow.
    make_approval(host=p.host, variant=p.variant, at=p.at, code="CA-3", valid_from=past)


def test_the_same_approval_twice_at_one_time_is_refused_with_the_others_code(parties: Parties) -> None:
    p = parties
    good = good_approval(p) | {"state": "approved", "limits": "", "waived_until": None}
    first = approvals.record_approval(**good | {"code": "CA-FIRST", "valid_until": p.at + 9 * DAY})
    again = good | {"code": "CA-AGAIN", "valid_from": p.at + 8 * DAY}
    slips: tuple[dict[str, Any], ...] = (
        {},
        {"software_from": "7.00"},
        {"state": "conditional", "limits": "B12 off"},
    )
    for changes in slips:
        refused(partial(approvals.record_approval, **again | changes), "code", "CA-FIRST")
    pending = approvals.record_approval(**again | {"code": "CA-TEST", "state": "in_test"})
    refused(lambda: change_approval(pending), "state", "CA-FIRST")
    others: tuple[dict[str, Any], ...] = (
        {"valid_from": p.at + 9 * DAY},
        {"software_until": "7.2"},
        {"host": HostCarrierFactory.create()},
        {"variant": p.foreign},
    )
    for place, changes in enumerate(others):
        approvals.record_approval(**again | changes | {"code": f"CA-{place}"})
    under_fence(approvals.revoke_under_fence, clock.now(), fact=first, reason_code="X", reason="test")
    refused(lambda: change_approval(pending), "state", "CA-0")
    approvals.record_approval(**good | {"code": "CA-LAST", "valid_until": p.at + 9 * DAY})


# --- agreements -----------------------------------------------------------------------------------------------------


def test_the_same_agreement_twice_at_one_time_is_refused_with_the_others_code(parties: Parties) -> None:
    p = parties
    ends = p.at + 9 * DAY
    good = good_agreement(p)
    first = agreements.record_agreement(**good | {"code": "AG-FIRST", "valid_until": ends})
    again = good | {"valid_from": ends - DAY, "territories": ["US", "US"]}
    refused(lambda: agreements.record_agreement(**again), "code", "AG-FIRST")
    others: tuple[dict[str, Any], ...] = (
        {"valid_from": ends},
        {"territories": ["US", "CA"]},
        {"territories": []},
        {"may_sublicense": True},
        {"assurance": "claimed"},
        {"grantee": p.distributor},
        {"models": "*"},
    )
    for place, changes in enumerate(others):
        agreements.record_agreement(**again | changes | {"code": f"AG-{place}"})
    refused(lambda: renew(first, ends + DAY), "valid_until", "AG-0")
    under_fence(agreements.revoke_under_fence, clock.now(), fact=first, reason_code="X", reason="test")
    agreements.record_agreement(**again | {"code": "AG-LAST", "valid_until": ends})


def test_a_distributor_grants_what_it_could_have_been_granted(parties: Parties) -> None:
    p = parties
    given = good_agreement(p) | {"grantor": p.distributor}
    refused(lambda: agreements.record_agreement(**given), "models", "record first what")
    make_agreement(grantor=p.maker, grantee=p.distributor, at=p.at, may_sublicense=True)
    agreements.record_agreement(**given)
    both = given | {"code": "AG-2", "models": [p.variant, p.foreign]}
    message = refused(lambda: agreements.record_agreement(**both), "models")
    assert p.foreign.model_number in message
    assert p.variant.model_number not in message
    # Upstream at any depth.
    second = OrganizationFactory.create(kind="distributor")
    make_agreement(grantor=p.distributor, grantee=second, at=p.at)
    agreements.record_agreement(**given | {"code": "AG-3", "grantor": second})
    agreements.record_agreement(**both | {"code": "AG-4", "models": "*"})


def test_a_manufacturer_grants_for_what_belongs_to_it_and_an_affiliate_that_may_for_its_parent(
    parties: Parties,
) -> None:
    p = parties
    holding = OrganizationFactory.create(kind="manufacturer")
    given = good_agreement(p)

    def record(grantor: Organization, code: str, **changes: Any) -> Fact:
        return agreements.record_agreement(**given | {"grantor": grantor, "code": code} | changes)

    refused(lambda: record(holding, "AG-1"), "models", "take it out")
    make_affiliation(parent=p.parent, child=p.maker, at=p.at)
    make_affiliation(parent=holding, child=p.parent, at=p.at, valid_from=p.at + 5 * DAY)
    record(p.parent, "AG-1")
    record(holding, "AG-2")
    ends = p.at + 5 * DAY
    refused(lambda: record(holding, "AG-3", valid_until=ends), "models", "take it out")
    # An affiliate may grant for its parent if that says so; never for a sister.
    own = VariantFactory.create(device=DeviceFactory.create(manufacturer=p.parent))
    make_affiliation(parent=p.parent, child=p.stranger, at=p.at, may_grant_for_parent=True)
    refused(lambda: record(p.maker, "AG-4", models=[own]), "models", "take it out")
    record(p.stranger, "AG-5", models=[own])
    refused(lambda: record(p.stranger, "AG-6"), "models", "take it out")
    make_agreement(grantor=p.stranger, grantee=p.distributor, at=p.at)
    record(p.distributor, "AG-7", models=[own])
    refused(lambda: record(p.distributor, "AG-8"), "models", "record first")


def renew(fact: Fact, valid_until: datetime, at: datetime | None = None) -> None:
    agreements.renew_agreement(
        fact=fact, valid_until=valid_until, by=BUILDER, at=at or clock.now(), reason="test"
    )


def test_an_agreement_is_renewed_while_it_lasts(parties: Parties) -> None:
    p = parties
    ends = p.at + 9 * DAY
    fact = agreements.record_agreement(**good_agreement(p) | {"valid_until": ends, "document": "letter"})
    before = agreements.current(fact)
    left = leaves(lambda: renew(fact, ends + DAY))
    assert left.boundaries == [ends + DAY]
    assert left.ledger[0].act == "agreement.renewed"
    after = agreements.current(fact)
    assert agreements.record_of(after) == agreements.record_of(before) | {"valid_until": ends + DAY}
    assert agreements.scope_of(after) == agreements.scope_of(before)
    for earlier in (ends + DAY, ends):
        refused(partial(renew, fact, earlier), "valid_until", "later end")
    refused(lambda: renew(fact, NAIVE), "valid_until", "time zone")
    refused(lambda: renew(fact, FOREVER + DAY), "valid_until", "9999")
    refused(lambda: renew(fact, FOREVER, at=ends + DAY), "fact", "record a new agreement")
    under_fence(agreements.revoke_under_fence, clock.now(), fact=fact, reason_code="X", reason="test")
    refused(lambda: renew(fact, FOREVER), "fact", "record a new agreement")


def narrow(fact: Fact, at: datetime | None = None, **terms: Any) -> None:
    less = NarrowerTerms(**terms)
    under_fence(agreements.narrow_under_fence, at or clock.now(), fact=fact, reason="test", terms=less)


def test_an_agreement_is_narrowed_term_by_term(parties: Parties) -> None:
    p = parties
    other = VariantFactory.create(device=p.variant.device)
    fact = agreements.record_agreement(
        **good_agreement(p)
        | {
            "models": "*", "territories": ["US", "CA"], "channels": "*", "conditions": ["new", "used"],
            "may_sublicense": True,
        }
    )  # fmt: skip
    before = agreements.record_of(agreements.current(fact))
    left = leaves(lambda: narrow(fact, models=[p.variant, other]))
    assert left.ledger[0].act == "agreement.narrowed"
    assert agreements.scope_of(agreements.current(fact)) == {
        "model": sorted([str(p.variant.pk), str(other.pk)]), "territory": ["CA", "US"], "channel": ["*"],
        "condition": ["new", "used"],
    }  # fmt: skip
    narrow(fact, models=[other], territories=["US"], channels=["web", "retail"], conditions=["used"])
    narrow(fact, may_sublicense=False)
    ends = p.at + 9 * DAY
    assert leaves(lambda: narrow(fact, valid_until=ends)).boundaries == [ends]
    assert agreements.scope_of(agreements.current(fact)) == {
        "model": [str(other.pk)], "territory": ["US"], "channel": ["retail", "web"], "condition": ["used"],
    }  # fmt: skip
    assert agreements.record_of(agreements.current(fact)) == before | {
        "may_sublicense": False, "valid_until": ends,
    }  # fmt: skip


NARROWED: dict[str, tuple[Callable[[Parties], dict[str, Any]], str, str]] = {
    "another model": (lambda p: {"models": [p.foreign]}, "models", "leave that out"),
    "all models": (lambda p: {"models": "*"}, "models", "All would be added"),
    "no model": (lambda p: {"models": []}, "models", "revoke"),
    "text": (lambda p: {"models": "all"}, "models", "choose variants"),
    "another territory": (lambda p: {"territories": ["US", "CA"]}, "territories", "CA would be added"),
    "all territories": (lambda p: {"territories": ["*"]}, "territories", "leave that out"),
    "a bad territory": (lambda p: {"territories": ["USA"]}, "territories", "or *"),
    "another channel": (lambda p: {"channels": ["retail"]}, "channels", "leave that out"),
    "another condition": (lambda p: {"conditions": ["used"]}, "conditions", "leave that out"),
    "sublicense": (lambda p: {"may_sublicense": True}, "may_sublicense", "record a new agreement"),
    "a later end": (lambda p: {"valid_until": p.at + 10 * DAY}, "valid_until", "renew"),
    "an end in the past": (lambda p: {"valid_until": p.at - timedelta(hours=1)}, "valid_until", "take an end"),
    "a naive end": (lambda p: {"valid_until": NAIVE}, "valid_until", "time zone"),
    "nothing": (lambda p: {}, "fact", "change at least one"),
    "the same": (lambda p: {"models": [p.variant], "territories": ["US"]}, "fact", "change at least one"),
    "widened beside narrowed": (
        lambda p: {"valid_until": p.at + DAY, "territories": ["CA"]}, "territories", "leave that out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NARROWED)
def test_narrowing_never_widens(parties: Parties, name: str) -> None:
    terms, said, cure = NARROWED[name]
    start, end = parties.at - DAY, parties.at + 9 * DAY
    fact = agreements.record_agreement(**good_agreement(parties) | {"valid_from": start, "valid_until": end})
    refused(lambda: narrow(fact, **terms(parties)), said, cure)


def test_from_all_models_only_the_grantors_own_are_left(parties: Parties) -> None:
    fact = agreements.record_agreement(**good_agreement(parties) | {"models": "*"})
    refused(lambda: narrow(fact, models=[parties.foreign]), "models", "take it out")


def test_what_is_revoked_or_over_is_not_narrowed(parties: Parties) -> None:
    ends = parties.at + DAY
    fact = agreements.record_agreement(**good_agreement(parties) | {"valid_until": ends, "models": "*"})
    refused(lambda: narrow(fact, ends, models=[parties.variant]), "fact", "record a new agreement")
    under_fence(agreements.revoke_under_fence, clock.now(), fact=fact, reason_code="X", reason="test")
    refused(lambda: narrow(fact, models=[parties.variant]), "fact", "record a new agreement")


# --- policies -------------------------------------------------------------------------------------------------------


def test_a_policy_ends_the_one_of_its_territory_and_no_other(parties: Parties) -> None:
    at = parties.at
    terms = {
        "name": "strict", "territory": "US", "is_agreement_enforced": False, "minimum_assurance": "claimed",
        "is_carrier_approval_enforced": False, "is_conditional_approval_enough": False,
        "is_equipment_authorization_enforced": True, "minimum_radio": "FULL",
    }  # fmt: skip
    for_all = make_policy(at=at - 2 * DAY)
    first = make_policy(at=at - DAY, **terms)
    left = leaves(lambda: make_policy(at=at, **terms | {"name": "stricter"}))
    assert left.ledger[0].evidence["minimum_radio"] == "FULL"
    ended = PolicyVersion.objects.get(head=first, rev_to__isnull=True)
    assert policies.record_of(ended) == terms | {"valid_from": at - DAY, "valid_until": at}
    assert PolicyVersion.objects.get(head=for_all).valid_until == FOREVER
    assert [policies.current_policy(at, where).name for where in ("US", "CA", "*")] == [  # type: ignore[union-attr]
        "stricter", policies.POLICY_GATE_SHUT["name"], policies.POLICY_GATE_SHUT["name"],
    ]  # fmt: skip
    before = policies.current_policy(at - timedelta(seconds=1), "US")
    assert before is not None
    assert before.head == first
    refused(lambda: make_policy(at=at, **terms), "at", "wait")
    make_policy(at=at, territory="CA")


@pytest.mark.parametrize("terms", [policies.POLICY_2016, policies.POLICY_GATE_SHUT, policies.POLICY_TODAY])
def test_the_known_policies_can_be_set(parties: Parties, terms: policies.PolicyTerms) -> None:
    policies.set_policy(**terms, by=BUILDER, at=parties.at, reason="test")
    version = policies.current_policy(parties.at)
    assert version is not None
    assert {name: getattr(version, name) for name in terms} == terms
    if terms is not policies.POLICY_TODAY:
        assert (version.territory, version.is_agreement_enforced, version.minimum_radio) == ("*", True, "")
        assert (version.is_conditional_approval_enough, version.is_equipment_authorization_enforced) == (
            True,
            False,
        )


# --- attributes of a variant ----------------------------------------------------------------------------------------


def radio(variant: Variant, **more: Any) -> int:
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="test") as recorder:
        recorder.variant_radio(
            variant=variant,
            fields={},
            bands=more.pop("bands", []),
            ims={},
            valid_from=datetime(2014, 1, 1, tzinfo=UTC),
            **more,
        )
    return recorder.written


def attributes_of(variant: Variant) -> list[tuple[str, str]]:
    known = VariantAttribute.objects.filter(version__head=variant, version__rev_to__isnull=True)
    return list(known.order_by("name", "value").values_list("name", "value"))


def test_attributes_are_part_of_the_radio_and_an_import_without_them_keeps_them(parties: Parties) -> None:
    variant = parties.variant
    pairs = [("chipset_vendor", "Qualcomm"), ("module", "FGH75D"), ("module", "X")]
    assert radio(variant, attributes=[*pairs, pairs[0]]) == 1
    assert attributes_of(variant) == pairs
    assert radio(variant, attributes=reversed(pairs)) == 0
    assert radio(variant) == 0
    assert radio(variant, bands=[{"rat": "LTE", "band": "B2"}]) == 1
    assert attributes_of(variant) == pairs, "a hold that names one still finds it"
    assert radio(variant, bands=[{"rat": "LTE", "band": "B2"}], attributes=pairs[:1]) == 1
    assert attributes_of(variant) == pairs[:1]
    assert radio(variant, bands=[{"rat": "LTE", "band": "B2"}], attributes=[]) == 1
    assert attributes_of(variant) == []
    for pair in (("chip set", "x"), ("chip", ""), ("chip", " x"), ("", "x")):
        refused(partial(radio, variant, attributes=[pair]), "attributes")
