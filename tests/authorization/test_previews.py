"""A preview says exactly what the change does, offer by offer, and writes nothing; the sweep then does just that.

Small worlds by chance, with chains that overlap: each change is thought through, made, and every offer of the store
decided again. Nothing here asks `selectors` which offers a change may touch.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count, product
from random import Random
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import (
    affiliations,
    approvals,
    clock,
    decisions,
    fence,
    groundwork,
    holds,
    outbox,
    pending_changes,
    reconciler,
    reinstatements,
    revocations,
    selectors,
    spec,
)
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.holds import Exemption
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    Delisting,
    EquipmentVersion,
    Fact,
    HoldExemption,
    HoldVersion,
    OutboxRow,
    PendingChange,
    Revocation,
)
from authorization.revocations import (
    CorrectGroundwork,
    EndAffiliation,
    EndExemption,
    ExemptFromHold,
    Expire,
    NarrowAgreement,
    PlaceHold,
    ReleaseHold,
    RestrictApproval,
    RevokeAgreement,
    RevokeApproval,
    RevokeEquipment,
    SetPolicy,
    Undo,
)
from carriers.models import HostingVersion
from carriers.versions import FOREVER
from catalog import listings
from catalog.models import ListingHost, OfferState
from seeds.factories import (
    OrganizationFactory,
    VariantFactory,
    make_affiliation,
    make_agreement,
    make_approval,
    make_equipment,
    make_policy,
    make_sellable,
)
from tests.authorization import worlds
from tests.authorization.worlds import (
    BASE,
    BRAND,
    CHANNELS,
    CONDITIONS,
    DAY,
    DEVICES,
    GROUP,
    HOSTS,
    LISTINGS,
    MAKER,
    T0,
    TERRITORIES,
    VARIANTS,
    VENDORS,
)

pytestmark = pytest.mark.django_db

DESK = Actor("user", "desk")
LIVE, SUSPENDED = OfferState.LIVE, OfferState.SUSPENDED


# --- the store --------------------------------------------------------------------------------------------------


def all_offers():
    return list(ListingHost.objects.select_related("listing__variant__device", "host").order_by("pk"))


def answers_at(at):
    offers = all_offers()
    return dict(zip((offer.pk for offer in offers), decisions.decide_offers(offers, at=at), strict=True))


def states():
    return dict(ListingHost.objects.values_list("pk", "state"))


def settle(at):
    """What is allowed is live, on a decision of now; half of the rest waits to come back."""
    offers, answers = all_offers(), answers_at(at)
    recorded = decisions.record_decisions([(answers[offer.pk], offer) for offer in offers])
    for offer, decision in zip(offers, recorded, strict=True):
        terms = {name: decision.question[name] for name in listings.TERMS}
        offer.content_hash = offer.cleared_hash = listings.content_hash(**terms)
        offer.decision_id, offer.cleared_revision = decision.pk, decision.revision
        offer.clearance_expires_at = decision.expires_at
        offer.state = LIVE if answers[offer.pk].is_allowed else SUSPENDED
        if offer.state == SUSPENDED and offer.pk % 2:
            offer.state = OfferState.BLOCKED
        offer.state_changed_at = at
    names = (
        "content_hash", "cleared_hash", "decision_id", "cleared_revision", "clearance_expires_at", "state",
        "state_changed_at",
    )  # fmt: skip
    ListingHost.objects.bulk_update(offers, names)
    OutboxRow.objects.update(done_at=at)


def codes(answer):
    return tuple(item.code for item in answer.evidence)


def facts_cited(answer):
    return {item.fact_id for item in answer.evidence if item.kind in Fact.Kind.values}


def said(preview):
    return (
        {impact.offer_id: impact.reason_codes for impact in preview.falls},
        {impact.offer_id: impact.evidence_codes for impact in preview.survives},
        {impact.offer_id: impact.evidence_codes for impact in preview.returns},
    )


def happened(before, after, was, fact_ids):
    """What a preview should have said: of live offers what falls or survives, of suspended ones what returns."""
    live = [pk for pk, state in was.items() if state == LIVE and before[pk].is_allowed]
    falls = {pk: tuple(after[pk].reason_codes) for pk in live if not after[pk].is_allowed}
    survives = {
        pk: codes(after[pk])
        for pk in live
        if after[pk].is_allowed and facts_cited(before[pk]) & set(fact_ids)
    }
    returns = {
        pk: codes(after[pk])
        for pk, state in was.items()
        if state == SUSPENDED and after[pk].is_allowed and not before[pk].is_allowed
    }
    return falls, survives, returns


def world_that_sells(random):
    """Most of it may be sold at first: what is taken away then falls, or rests on something else.

    Of worlds that are all chance hardly any has an offer on sale.
    """
    heads = count(BASE + 50_000)
    always: dict[str, Any] = {"valid_from": T0 - DAY, "valid_until": FOREVER}
    all_of_it: dict[str, Any] = {
        name: frozenset("*") for name in ("models", "territories", "channels", "conditions")
    }
    records: list[Any] = [
        spec.Policy(
            next(heads), **always, territory="*", enforces_agreement=True, demands_verified=False,
            enforces_approval=True, conditional_is_enough=True, enforces_equipment=random.random() < 0.5,
            minimum_radio="",
        )
    ]  # fmt: skip
    for grantor, vendor in product((MAKER, BRAND), VENDORS):
        for _ in range(random.choice((1, 1, 2))):
            head = next(heads)
            records.append(
                spec.Agreement(
                    head, f"AG-{head}", grantor, vendor, **always, may_sublicense=True, is_verified=True,
                    revoked_at=None, **all_of_it,
                )
            )  # fmt: skip
    for host_id in HOSTS:
        records.append(spec.Hosting(next(heads), settings.SHOP_MVNO, host_id, **always))
        for variant_id in VARIANTS:
            head = next(heads)
            records.append(
                spec.Approval(
                    head, f"CA-{head}", host_id, variant_id, **always, state="approved", limits="",
                    waived_until=None, revoked_at=None, software_from="", software_until="",
                )
            )  # fmt: skip
    for variant_id in VARIANTS:
        head = next(heads)
        records.append(
            spec.Equipment(head, f"EQ-{head}", variant_id, "US", T0 - DAY, **always, revoked_at=None)
        )
    by_chance = worlds.make_world(random)
    apart = [
        row
        for row in by_chance.rows
        if isinstance(row.record, spec.Policy)
        or (isinstance(row.record, spec.Hold) and random.random() < 0.7)
    ]
    return by_chance.without(*apart).with_records(*records)


# --- changes by chance ------------------------------------------------------------------------------------------


def heads(model, **where):
    return sorted(model.objects.current().filter(**where).values_list("head_id", flat=True))


class Changes:
    def __init__(self, random: Random, at) -> None:
        self.random, self.at = random, at

    def one(self, values):
        return self.random.choice(list(values))

    def perhaps(self):
        return self.random.random() < 0.5

    def draw(self) -> Iterator[revocations.Imaginable]:
        """One of every kind that this world has something for, in some order."""
        made = [
            self.revoke(AgreementVersion, RevokeAgreement),
            self.revoke(ApprovalVersion, RevokeApproval),
            self.revoke(EquipmentVersion, RevokeEquipment),
            self.narrow(),
            self.place(),
            self.place(),
            self.release(),
            self.exempt(),
            self.restrict(),
            self.end_exemption(),
            self.end_affiliation(),
            self.set_policy(),
            self.correct(),
        ]
        self.random.shuffle(made)
        return (change for change in made if change is not None)

    def revoke(self, model, kind):
        found = heads(model, revoked_at__isnull=True)
        return kind(self.one(found), "AGREEMENT_TERMINATED") if found else None

    def narrow(self):
        found = heads(AgreementVersion, revoked_at__isnull=True, valid_until__gt=self.at)
        if not found:
            return None
        terms: dict[str, Any] = {}
        which = self.random.randrange(6)
        if which in (0, 5):
            terms["models"] = (self.one(VARIANTS),)
        if which in (1, 5):
            terms["territories"] = (self.one(TERRITORIES),)
        if which == 2:
            terms["may_sublicense"] = False
        if which in (3, 5):
            terms["valid_until"] = self.at + self.one(
                (timedelta(0), timedelta(minutes=1), timedelta(hours=4), DAY)
            )
        if which == 4:
            terms |= {"channels": (self.one(CHANNELS),), "conditions": (self.one(CONDITIONS),)}
        return NarrowAgreement(self.one(found), "AGREEMENT_TERMINATED", **terms)

    def targets(self):
        values = {
            "manufacturer": (MAKER, BRAND, GROUP), "device": DEVICES, "variant": VARIANTS, "vendor": VENDORS,
            "listing": LISTINGS, "host": HOSTS, "territory": TERRITORIES, "channel": CHANNELS,
            "condition": CONDITIONS, "attribute:chipset": ("A1", "A2"), "attribute:module": ("M1", "M2"),
        }  # fmt: skip
        dimensions = {self.one(values) for _ in range(self.one((1, 1, 2)))}
        return tuple(sorted({(name, str(self.one(values[name]))) for name in dimensions}))

    def exemption(self):
        starts = self.at - DAY if self.perhaps() else self.at + timedelta(minutes=5)
        return Exemption(self.targets(), starts, starts + 30 * DAY)

    def place(self):
        targets, reach = self.targets(), self.one(("sale", "sale", "new_grants", "all_grants"))
        suspendable = heads(AgreementVersion) + heads(ApprovalVersion) + heads(EquipmentVersion)
        if suspendable and self.random.random() < 0.3:
            reach = "sale"
            named = ("fact", str(self.one(suspendable)))
            targets = (named, *targets) if self.perhaps() else (named,)
        code = f"NEW-{self.random.randrange(10**9)}"
        exemptions = tuple(self.exemption() for _ in range(self.one((0, 0, 1, 2))))
        return PlaceHold(code, "the shop", "SHOP_REVIEW", "", targets, reach, exemptions)

    def release(self):
        found = heads(HoldVersion, released_at__isnull=True)
        return ReleaseHold(self.one(found)) if found else None

    def exempt(self):
        found = heads(HoldVersion, released_at__isnull=True, valid_until__gt=self.at)
        return ExemptFromHold(self.one(found), self.exemption()) if found else None

    def restrict(self):
        found = heads(ApprovalVersion, state__in=approvals.IN_FORCE)
        if not found:
            return None
        terms: dict[str, Any] = {}
        if self.perhaps():
            terms["waived_until"] = self.at + self.one((timedelta(hours=4), DAY))
        if self.perhaps():
            terms["software_from"] = "7.0.10"
        return RestrictApproval(self.one(found), "CARRIER_WITHDRAWS", "no B12", **terms)

    def end_exemption(self):
        found = HoldExemption.objects.filter(version__rev_to__isnull=True, version__released_at__isnull=True)
        parts = sorted(found.values_list("version__head_id", "part"))
        if not parts:
            return None
        fact_id, part = self.one(parts)
        return EndExemption(fact_id, part, "REGULATOR_ORDER")

    def end_affiliation(self):
        found = heads(AffiliationVersion, valid_until__gt=self.at)
        return EndAffiliation(self.one(found), "RECORD_MISTAKEN") if found else None

    def set_policy(self):
        return SetPolicy(
            "POLICY_TIGHTENED", "stricter", self.one(("claimed", "verified")), self.perhaps(),
            territory=self.one(("*", *TERRITORIES)), is_conditional_approval_enough=self.perhaps(),
            is_equipment_authorization_enforced=self.perhaps(), minimum_radio=self.one(("", "", "FULL")),
        )  # fmt: skip

    def correct(self):
        """A hosting ends: by now, or on a day to come."""
        found = HostingVersion.objects.current().filter(valid_until__gt=self.at).select_related("head__host")
        if not found:
            return None
        version = self.one(found.order_by("head_id"))
        until = self.at + self.one((timedelta(0), timedelta(hours=4), DAY))
        recorder = groundwork.Recorder(by=DESK, at=self.at, reason="the contract ends")
        recorder.hosting(
            mvno=version.head.mvno, host=version.head.host, product_name=version.head.product_name,
            fields={"plmn": version.plmn}, valid_from=min(version.valid_from, until - DAY), valid_until=until,
        )  # fmt: skip
        return CorrectGroundwork("DATA_CORRECTED", "hosting", recorder)


def facts_of(change):
    """Whose citing makes an offer one that survives: what is changed, or what a hold names."""
    if isinstance(change, SetPolicy | CorrectGroundwork | EndExemption):
        return set()
    if isinstance(change, Undo):
        return {Revocation.objects.get(pk=change.revocation_id).fact_id}
    if isinstance(change, PlaceHold):
        return {int(value) for dimension, value in change.targets if dimension == "fact"}
    if isinstance(change, ReleaseHold | ExemptFromHold):
        rows = HoldVersion.objects.get(head_id=change.fact_id, rev_to__isnull=True).targets
        return {int(target.value) for target in rows.filter(part=0, dimension="fact")}
    return {change.fact_id}


def days_set_by(change, at):
    """The instants to come at which the change takes more away by itself."""
    ends: set[Any] = set()
    if isinstance(change, NarrowAgreement):
        ends = {change.valid_until}
    if isinstance(change, RestrictApproval):
        ends = {change.waived_until}
    if isinstance(change, PlaceHold):
        ends = {exemption.valid_until for exemption in change.exemptions}
    if isinstance(change, CorrectGroundwork):
        ends = {asked.record["valid_until"] for asked in change.recorder._asked.values()}
    return sorted(end for end in ends if end is not None and end > at)


def make(change, digest, at, effective_at=None):
    if isinstance(change, ReleaseHold):
        fact = Fact.objects.get(pk=change.fact_id)
        revocations.release_hold(fact=fact, by=DESK, at=at, reason="cleared")
    elif isinstance(change, ExemptFromHold):
        fact = Fact.objects.get(pk=change.fact_id)
        holds.exempt(fact=fact, exemption=change.exemption, by=DESK, at=at, reason="deposited")
    elif isinstance(change, Undo):
        revocation = Revocation.objects.get(pk=change.revocation_id)
        reinstatements.undo(revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=at)
    else:
        revocations.execute(
            change, digest=digest, requested_by="the manufacturer", word_received_at=at, note="said so", by=DESK,
            at=at, effective_at=effective_at,
        )  # fmt: skip


@pytest.fixture
def time(monkeypatch, settings):
    """A clock that the test moves; only the handlers of this floor."""
    settings.OUTBOX_HANDLERS = {
        event: [path for path in paths if path.startswith("authorization.")]
        for event, paths in settings.OUTBOX_HANDLERS.items()
    }

    class Time:
        now = T0

        def begins(self):
            self.moves_to(T0)
            return T0

        def passes(self, duration):
            self.moves_to(self.now + duration)

        def moves_to(self, instant):
            self.now = instant
            monkeypatch.setattr(clock, "now", lambda: instant)

        def pumps(self):
            while outbox.pump(at=lambda: self.now):
                pass
            assert not OutboxRow.objects.exclude(last_error="").exists()

    return Time()


MET = {"falls": 0, "survives": 0, "returns": 0, "falls later": 0, "refused": 0}


def called(cited, code, name):
    return {pk: tuple(name if each == code else each for each in of_offer) for pk, of_offer in cited.items()}


def last_revocation():
    return Revocation.objects.order_by("-pk").values_list("pk", flat=True).first()


@pytest.mark.parametrize("seed", range(40))
def test_the_preview_the_change_and_the_sweep_say_the_same(seed, time):
    random = Random(seed)
    world = worlds.make_world(random) if seed % 4 == 0 else world_that_sells(random)
    worlds.write(world, with_offers=True)
    at = T0 + random.choice((1, 2, 3)) * DAY + timedelta(hours=1)
    changes = list(Changes(random, at).draw())
    for change in changes:
        at += timedelta(minutes=7)
        time.moves_to(at)
        settle(at)
        if isinstance(change, NarrowAgreement) and change.valid_until is not None:
            change = replace(change, valid_until=max(at, change.valid_until))
        before, was, newest = answers_at(at), states(), last_revocation()
        try:
            with CaptureQueriesContext(connection) as asked:
                preview = revocations.preview(change, at=at)
        except InvalidFact:
            # What cannot be looked at cannot be done.
            with pytest.raises(InvalidFact):
                make(change, "", at)
            MET["refused"] += 1
            continue
        # Some are rehearsed: written and rolled back.
        assert isinstance(change, RestrictApproval | CorrectGroundwork | Undo) or not [
            query["sql"] for query in asked if not query["sql"].lstrip().startswith(("SELECT", "WITH"))
        ]
        expected_facts = facts_of(change)
        without = {each.at: answers_at(each.at) for each in preview.later}
        assert list(without) == days_set_by(change, at)
        make(change, preview.digest, at)
        after = answers_at(at)
        falls, survives, returns = happened(before, after, was, expected_facts)
        on_sale = {pk for pk in was if was[pk] == LIVE and before[pk].is_allowed} - set(falls)
        for each in preview.later:
            then = answers_at(each.at)
            falls_then = {
                pk: tuple(then[pk].reason_codes)
                for pk in sorted(on_sale)
                if without[each.at][pk].is_allowed and not then[pk].is_allowed
            }
            assert {impact.offer_id: impact.reason_codes for impact in each.falls} == falls_then, change
            on_sale -= set(falls_then)
            survives = {pk: codes for pk, codes in survives.items() if pk not in falls_then}
            MET["falls later"] += len(falls_then)
        # A policy has no code before it is set.
        new = f"POLICY-{fence.current_revision()}"
        survives, returns = (called(part, new, "the new policy") for part in (survives, returns))
        assert said(preview) == (falls, survives, returns), change
        if last_revocation() != newest and random.random() < 0.3:
            changes.append(Undo(last_revocation()))
        for place, name in enumerate(("falls", "survives", "returns")):
            MET[name] += len(said(preview)[place])
        time.pumps()
        now = states()
        assert {pk for pk in now if (was[pk], now[pk]) == (LIVE, SUSPENDED)} == set(said(preview)[0]), change
        assert {pk for pk in now if (was[pk], now[pk]) == (SUSPENDED, LIVE)} == set(said(preview)[2]), change
        assert all(
            was[pk] == now[pk] for pk in now if pk not in said(preview)[0] and pk not in said(preview)[2]
        )
        run = reconciler.reconcile(at=at)
        assert run is not None
        assert (run.found_live, run.found_suspended) == (0, 0), "the sweep missed some"


def allowed_on(days):
    return {day: {pk for pk, answer in answers_at(day).items() if answer.is_allowed} for day in days}


@pytest.mark.parametrize("seed", range(100, 120))
def test_a_preview_for_a_day_says_what_falls_then_and_cancelled_it_never_was(seed, time):
    random = Random(seed)
    worlds.write(world_that_sells(random), with_offers=True)
    at = T0 + DAY + timedelta(hours=1)
    for change in Changes(random, at).draw():
        if not isinstance(change, revocations.SCHEDULABLE):
            continue
        at += timedelta(minutes=7)
        time.moves_to(at)
        settle(at)
        day = at + random.choice((timedelta(minutes=1), timedelta(hours=4), DAY))
        days = [at, day, day + timedelta(hours=1), day + 3 * DAY]
        was, without, before = states(), answers_at(day), allowed_on(days)
        try:
            preview = revocations.preview(change, at=at, effective_at=day)
        except InvalidFact:
            with pytest.raises(InvalidFact):
                make(change, "", at, effective_at=day)
            continue
        expected_facts = facts_of(change)
        make(change, preview.digest, at, effective_at=day)
        falls, survives, returns = happened(without, answers_at(day), was, expected_facts)
        on_day = {pk for each in preview.later for pk in each.falls.offer_ids}
        survives = {pk: codes for pk, codes in survives.items() if pk not in on_day}
        assert said(preview) == (falls, survives, returns), change
        assert allowed_on([at])[at] == before[at]
        pending = PendingChange.objects.get(kind="withdrawal", revocation=last_revocation())
        try:
            pending_changes.cancel_withdrawal(pending=pending, by=DESK, at=at, reason="they wrote again")
        except InvalidFact:
            # A second record of the same two companies, which this world has and no door lets in.
            assert isinstance(change, EndAffiliation)
            continue
        assert allowed_on(days) == before, change


@pytest.mark.parametrize("seed", range(200, 220))
def test_what_is_undone_is_as_if_it_had_not_been_done(seed, time):
    random = Random(seed)
    worlds.write(world_that_sells(random), with_offers=True)
    at = T0 + DAY + timedelta(hours=1)
    for change in Changes(random, at).draw():
        if isinstance(change, ReleaseHold | ExemptFromHold):
            continue
        at += timedelta(minutes=7)
        time.moves_to(at)
        settle(at)
        if isinstance(change, NarrowAgreement) and change.valid_until is not None:
            change = replace(change, valid_until=max(at, change.valid_until))
        days = [at + timedelta(minutes=1), at + timedelta(hours=5), at + 3 * DAY]
        before = allowed_on(days)
        with contextlib.suppress(InvalidFact):
            make(change, revocations.preview(change, at=at).digest, at)
            revocation = Revocation.objects.latest("pk")
            at += timedelta(minutes=1)
            time.moves_to(at)
            reinstatements.undo(revocation=revocation, reason="a slip", is_mistake=True, by=DESK, at=at)
            assert allowed_on(days) == before, change


# --- written nothing, moved meanwhile ---------------------------------------------------------------------------


def test_no_row_of_any_table_is_written_by_a_preview(time):
    random = Random(5)
    worlds.write(worlds.make_world(random), with_offers=True)
    at = T0 + DAY + timedelta(hours=1)
    time.moves_to(at)
    settle(at)
    fact = Fact.objects.filter(kind="agreement", agreement_versions__rev_to__isnull=True)[0]
    changes = [*Changes(random, at).draw(), Expire(fact.pk)]
    assert len({type(change) for change in changes}) == 13, "one of every kind"

    def rows():
        return {model: list(model._default_manager.order_by("pk").values()) for model in apps.get_models()}

    before = rows()
    for change in changes:
        with contextlib.suppress(InvalidFact):
            revocations.preview(change, at=at)
    assert rows() == before


def test_a_preview_says_the_same_in_pages_of_any_size(monkeypatch, time):
    vendor = OrganizationFactory.create()
    offers = [sellable(worlds.T0, vendor=vendor).offer.pk for _ in range(5)]
    change = PlaceHold(
        code="H-PAGES",
        placed_by="the shop",
        reason_code="SHOP_REVIEW",
        note="",
        targets=(("vendor", str(vendor.pk)),),
    )
    whole = revocations.preview(change, at=worlds.T0)
    assert list(whole.falls.offer_ids) == offers
    for size in (5, 2, 1):
        monkeypatch.setattr(revocations, "PAGE", size)
        found = revocations.preview(change, at=worlds.T0)
        assert (found.digest, list(found.falls)) == (whole.digest, list(whole.falls))
    monkeypatch.setattr(revocations.Impacts, "NAMED", 3)
    named = revocations.preview(change, at=worlds.T0).falls
    assert [impact.offer_id for impact in named.first] == offers[:3]
    assert len(named) == 5
    with pytest.raises(ValueError, match="only the first 3"):
        list(named)


def test_a_digest_of_a_world_that_moved_is_refused_for_every_change(time):
    at = time.begins()
    make_policy(at=at, is_equipment_authorization_enforced=True)
    variant = VariantFactory.create()
    equipment = make_equipment(variant=variant, at=at)
    world = sellable(at, variant=variant)
    targets = (("variant", str(world.variant.pk)),)
    changes: tuple[revocations.Change, ...] = (
        RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"),
        RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"),
        RevokeEquipment(equipment.pk, "REGULATOR_ORDER"),
        NarrowAgreement(world.agreement.pk, "AGREEMENT_TERMINATED", channels=("retail",)),
        PlaceHold("H-1", "the shop", "SHOP_REVIEW", "", targets),
    )
    digests = [revocations.preview(change, at=at).digest for change in changes]
    assert len(set(digests)) == len(changes)
    sellable(at, variant=variant, vendor=world.vendor, host=world.host, sku="MORE")
    for change, digest in zip(changes, digests, strict=True):
        with pytest.raises(revocations.WorldMoved) as refused:
            make(change, digest, at)
        assert refused.value.preview is not None
        assert refused.value.preview.digest == revocations.preview(change, at=at).digest != digest
    assert not Revocation.objects.exists()


@pytest.mark.parametrize("seed", range(15))
def test_an_end_to_come_is_previewed_as_time_will_bring_it(seed, time):
    random = Random(1000 + seed)
    worlds.write(worlds.make_world(random), with_offers=True)
    at = T0 + timedelta(hours=1)
    time.moves_to(at)
    settle(at)
    for model, name in ((AgreementVersion, "revoked_at"), (ApprovalVersion, "waived_until")):
        for version in model.objects.current().filter(valid_until__lt=FOREVER):
            ends = [version.valid_until, getattr(version, name), version.revoked_at]
            until = min(end for end in ends if end is not None)
            if until <= at:
                continue
            fact = Fact.objects.get(pk=version.head_id)
            preview = revocations.preview(Expire(fact.pk), at=at)
            touched = set(
                selectors.offers_touched_by(ListingHost.objects.filter(state=LIVE), fact).values_list(
                    "pk", flat=True
                )
            )
            before, then = answers_at(at), answers_at(until)
            fallen = {
                pk: tuple(then[pk].reason_codes)
                for pk in touched
                if before[pk].is_allowed and not then[pk].is_allowed
            }
            assert said(preview)[0] == fallen
            for pk in set(before) - touched:
                assert fact.pk not in facts_cited(before[pk])


# --- a sweep follows every kind of fact -------------------------------------------------------------------------


def sellable(at, **terms):
    return make_sellable(at=at, **terms)


@pytest.fixture
def store(time):
    """Two live offers, of two variants of two manufacturers, under a policy that looks at everything."""
    at = time.begins()
    make_policy(at=at, is_equipment_authorization_enforced=True)
    worlds_ = []
    for number in range(2):
        variant = VariantFactory.create()
        radio(variant, at, [("chipset", f"A{number}")])
        granted = make_equipment(variant=variant, at=at)
        worlds_.append((sellable(at, variant=variant), granted))
    time.pumps()
    time.passes(timedelta(minutes=1))
    return worlds_


def radio(variant, at, attributes):
    with groundwork.recording(by=DESK, at=at, reason="read from the data sheet") as recorder:
        recorder.variant_radio(
            variant=variant, fields={}, bands=[], ims={}, attributes=attributes, valid_from=T0 - 900 * DAY
        )


def state_of(offer):
    return ListingHost.objects.get(pk=offer.pk).state


class Follows:
    """The first offer falls for these reasons by the sweep alone, and the second is left alone."""

    def __init__(self, store, time):
        self.first, self.second = (world.offer for world, _ in store)
        self.time = time

    def falls(self, *reason_codes):
        self.time.pumps()
        fallen = ListingHost.objects.get(pk=self.first.pk)
        assert (fallen.state, tuple(fallen.reason_codes)) == (SUSPENDED, reason_codes)
        assert state_of(self.second) == LIVE
        assert Delisting.objects.latest("pk").sweep is not None, "by its sweep, not by the reconciler"
        self.settled()

    def lives(self):
        self.time.pumps()
        assert (state_of(self.first), state_of(self.second)) == (LIVE, LIVE)
        self.settled()

    def settled(self):
        run = reconciler.reconcile(at=self.time.now + timedelta(minutes=2))
        assert run is not None
        assert (run.found_live, run.found_suspended) == (0, 0)


@pytest.fixture
def follows(store, time):
    return Follows(store, time)


def confirm(change, at):
    make(change, revocations.preview(change, at=at).digest, at)


def test_a_sweep_follows_an_equipment_authorization(store, time, follows):
    confirm(RevokeEquipment(store[0][1].pk, "REGULATOR_ORDER"), time.now)
    follows.falls("EQUIPMENT_AUTHORIZATION_REVOKED")


def test_of_two_equipment_authorizations_one_is_enough(store, time, follows):
    make_equipment(variant=store[0][0].variant, identifier="another", at=time.now)
    time.pumps()
    before = ListingHost.objects.get(pk=store[0][0].offer.pk).decision_id
    confirm(RevokeEquipment(store[0][1].pk, "REGULATOR_ORDER"), time.now)
    follows.lives()
    assert ListingHost.objects.get(pk=store[0][0].offer.pk).decision_id != before, "and rests on the other"


def test_a_sweep_follows_an_affiliation(store, time, follows):
    """The agreement is with a company above the manufacturer."""
    world = store[0][0]
    maker = world.variant.device.manufacturer
    above = OrganizationFactory.create(kind="manufacturer")
    affiliation = make_affiliation(parent=above, child=maker, at=time.now)
    make_agreement(grantor=above, grantee=world.vendor, at=time.now)
    confirm(RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"), time.now)
    follows.lives()
    end = time.now + timedelta(hours=1)
    affiliations.end_affiliation(fact=affiliation, valid_until=end, by=DESK, at=time.now, reason="sold")
    follows.lives()
    time.passes(timedelta(hours=1))
    follows.falls("AGREEMENT_REVOKED")


def test_a_sweep_follows_a_hold_on_a_company_above(store, time, follows):
    above = OrganizationFactory.create(kind="manufacturer")
    maker = store[0][0].variant.device.manufacturer
    targets = (("manufacturer", str(above.pk)),)
    confirm(PlaceHold("H-1", "the shop", "SHOP_REVIEW", "", targets), time.now)
    follows.lives()
    affiliation = make_affiliation(parent=above, child=maker, at=time.now)
    follows.falls("ON_HOLD")
    time.passes(timedelta(minutes=1))
    affiliations.end_affiliation(fact=affiliation, valid_until=time.now, by=DESK, at=time.now, reason="sold")
    follows.lives()


@pytest.mark.parametrize("reach", ["new_grants", "all_grants"])
def test_a_sweep_follows_a_list(store, time, follows, reach):
    """Granted before, an authorization is reached by a retroactive list only."""
    targets = (("attribute:chipset", "A0"),)
    confirm(PlaceHold("LIST-1", "FCC", "REGULATOR_ORDER", "", targets, reach), time.now)
    if reach == "new_grants":
        return follows.lives()
    follows.falls("EQUIPMENT_LISTED")
    # The chipset was read wrongly, and then right after all.
    time.passes(timedelta(minutes=1))
    radio(store[0][0].variant, time.now, [("chipset", "A9")])
    follows.lives()
    time.passes(timedelta(minutes=1))
    radio(store[0][0].variant, time.now, [("chipset", "A0")])
    return follows.falls("EQUIPMENT_LISTED")


def test_a_sweep_follows_an_exemption_given_and_ended(store, time, follows):
    world = store[0][0]
    targets = (("variant", str(world.variant.pk)),)
    confirm(PlaceHold("H-1", "the court", "REGULATOR_ORDER", "", targets), time.now)
    follows.falls("ON_HOLD")
    fact = Fact.objects.get(code="H-1")
    vendor = (("vendor", str(world.vendor.pk)),)
    for ends_by_itself in (False, True):
        time.passes(timedelta(minutes=1))
        until = time.now + timedelta(hours=1)
        exemption = Exemption(vendor, time.now - DAY, until)
        seen = revocations.preview(ExemptFromHold(fact.pk, exemption), at=time.now)
        assert [impact.offer_id for impact in seen.returns] == [world.offer.pk]
        holds.exempt(fact=fact, exemption=exemption, by=DESK, at=time.now, reason="deposited")
        follows.lives()
        if ends_by_itself:
            time.passes(timedelta(hours=1))
        else:
            time.passes(timedelta(minutes=1))
            holds.end_exemption(fact=fact, part=1, by=DESK, at=time.now, reason="not paid")
        follows.falls("ON_HOLD")


def test_a_sweep_follows_an_exemption_that_begins_later(store, time, follows):
    targets = (("variant", str(store[0][0].variant.pk)),)
    confirm(PlaceHold("H-1", "the court", "REGULATOR_ORDER", "", targets), time.now)
    follows.falls("ON_HOLD")
    starts = time.now + timedelta(hours=1)
    exemption = Exemption((("territory", "US"),), starts, starts + timedelta(hours=1))
    fact = Fact.objects.get(code="H-1")
    assert not revocations.preview(ExemptFromHold(fact.pk, exemption), at=time.now).returns
    holds.exempt(fact=fact, exemption=exemption, by=DESK, at=time.now, reason="deposited")
    follows.falls("ON_HOLD")
    time.passes(timedelta(hours=1))
    follows.lives()
    time.passes(timedelta(hours=1))
    follows.falls("ON_HOLD")


def test_a_sweep_follows_a_waiver_that_runs_out(store, time, follows):
    world = store[0][0]
    confirm(RevokeApproval(world.approval.pk, "CARRIER_WITHDRAWS"), time.now)
    follows.falls("CARRIER_APPROVAL_REVOKED")
    make_approval(
        host=world.host, variant=world.variant, at=time.now, state="conditional", limits="no B12",
        waived_until=time.now + timedelta(hours=1),
    )  # fmt: skip
    follows.lives()
    time.passes(timedelta(hours=1))
    # The nearest miss: each has failed once, and the waived one ended last.
    follows.falls("CARRIER_APPROVAL_EXPIRED")


def test_a_sweep_follows_a_hosting_that_ends(store, time, follows):
    world = store[0][0]
    version = HostingVersion.objects.get(head=world.hosting, rev_to__isnull=True)
    names = ("plmn", "apn", "source", "confidence", "date_source", "date_confidence", "note")
    until = time.now + timedelta(hours=1)
    with groundwork.recording(by=DESK, at=time.now, reason="the contract ends") as recorder:
        recorder.hosting(
            mvno=world.hosting.mvno, host=world.host, product_name="",
            fields={name: getattr(version, name) for name in names}, valid_from=version.valid_from,
            valid_until=until,
        )  # fmt: skip
    follows.lives()
    time.passes(timedelta(hours=1))
    follows.falls("HOST_NOT_SERVED")


def test_a_sweep_follows_an_attribute_under_a_hold(store, time, follows):
    targets = (("attribute:chipset", "A7"),)
    confirm(PlaceHold("H-1", "the shop", "SAFETY", "", targets), time.now)
    follows.lives()
    radio(store[0][0].variant, time.now, [("chipset", "A7")])
    follows.falls("ON_HOLD")


def test_a_sweep_follows_a_policy_for_one_territory(store, time, follows):
    make_policy(at=time.now, territory="CA", minimum_radio="FULL")
    follows.lives()
    time.passes(timedelta(minutes=1))
    make_policy(at=time.now, territory="US", minimum_radio="FULL")
    time.pumps()
    for world, _ in store:
        fallen = ListingHost.objects.get(pk=world.offer.pk)
        assert (fallen.state, fallen.reason_codes) == (SUSPENDED, ["RADIO_UNKNOWN"])
    follows.settled()


def test_what_a_change_touches_and_does_not_fell_stays_as_it_is(store, time, follows):
    """Delist what falls, not what touches: another chain, and another end of the same scope."""
    world = store[0][0]
    make_agreement(grantor=world.variant.device.manufacturer, grantee=world.vendor, at=time.now)
    time.pumps()
    for change in (
        NarrowAgreement(world.agreement.pk, "AGREEMENT_TERMINATED", channels=("retail",)),
        RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED"),
    ):
        assert not revocations.preview(change, at=time.now).falls
        confirm(change, time.now)
        follows.lives()
    assert not Delisting.objects.exists()
