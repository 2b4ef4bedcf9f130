"""Builders of rows and of small worlds, for the tests and for the replay.

Facts of authority, hostings and clearances are made by calling the functions that the desk and the API call;
no factory writes a version row or a state. Everything built here is marked simulated where the model can say
so.
"""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import factory
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from authorization import (
    affiliations,
    agreements,
    approvals,
    clock,
    equipment,
    fence,
    groundwork,
    holds,
    offers,
    policies,
)
from authorization.acceptances import following, process
from authorization.acceptances.process import Doer, Result
from authorization.actors import Actor
from authorization.models import (
    Acceptance,
    AcceptanceFile,
    AgreementVersion,
    ApprovalVersion,
    Assurance,
    Fact,
    OutboxRow,
    Party,
    PolicyVersion,
)
from carriers.models import Confidence, HostCarrier, Hosting
from carriers.versions import FOREVER
from catalog.models import Channel, Condition, Device, Listing, ListingHost, OfferState, Organization, Variant
from storefront.models import PrepaidPlan

BUILDER = Actor("exercise", "factories")
LONG_AGO = dt.datetime(2014, 1, 1, tzinfo=dt.UTC)
PASSWORD = "only-for-tests-and-exercises"


class OrganizationFactory(factory.django.DjangoModelFactory[Organization]):
    class Meta:
        model = Organization
        django_get_or_create = ("slug",)

    kind = Organization.Kind.VENDOR
    slug = factory.Sequence(lambda n: f"organization-{n}")
    name = factory.LazyAttribute(lambda made: made.slug.replace("-", " ").title())
    is_simulated = True
    contact_email = factory.LazyAttribute(lambda made: f"desk@{made.slug}.example")
    created_at = LONG_AGO


class DeviceFactory(factory.django.DjangoModelFactory[Device]):
    class Meta:
        model = Device
        django_get_or_create = ("slug",)

    manufacturer = factory.SubFactory(OrganizationFactory, kind=Organization.Kind.MANUFACTURER)
    brand = factory.LazyAttribute(lambda made: made.manufacturer.name)
    slug = factory.Sequence(lambda n: f"device-{n}")
    marketing_name = factory.LazyAttribute(lambda made: made.slug.replace("-", " ").title())


class VariantFactory(factory.django.DjangoModelFactory[Variant]):
    class Meta:
        model = Variant
        django_get_or_create = ("slug",)

    device = factory.SubFactory(DeviceFactory)
    slug = factory.Sequence(lambda n: f"variant-{n}")
    model_number = factory.LazyAttribute(lambda made: made.slug.upper())


class HostCarrierFactory(factory.django.DjangoModelFactory[HostCarrier]):
    class Meta:
        model = HostCarrier
        django_get_or_create = ("code",)

    code = factory.Sequence(lambda n: f"host-{n}")
    name = factory.LazyAttribute(lambda made: made.code.replace("-", " ").title())
    plmn = "310-260"


class HostingFactory(factory.django.DjangoModelFactory[Hosting]):
    """A hosting of the shop's own virtual operator. It is a fact, so the desk's function records it."""

    class Meta:
        model = Hosting

    mvno = factory.LazyFunction(lambda: settings.SHOP_MVNO)
    host = factory.SubFactory(HostCarrierFactory)
    product_name = ""
    valid_from = LONG_AGO
    valid_until = FOREVER
    at = factory.LazyFunction(clock.now)

    @classmethod
    def _create(cls, model_class: type[Hosting], *args: Any, **kwargs: Any) -> Hosting:
        at = kwargs.pop("at")
        with groundwork.recording(by=BUILDER, at=at, reason="a hosting for a small world") as recorder:
            recorder.hosting(
                mvno=kwargs["mvno"],
                host=kwargs["host"],
                product_name=kwargs["product_name"],
                fields={"plmn": kwargs["host"].plmn, "date_confidence": Confidence.LOW, "note": "simulated"},
                valid_from=kwargs["valid_from"],
                valid_until=kwargs["valid_until"],
            )
        return Hosting.objects.get(
            mvno=kwargs["mvno"], host=kwargs["host"], product_name=kwargs["product_name"]
        )


class PlanFactory(factory.django.DjangoModelFactory[PrepaidPlan]):
    class Meta:
        model = PrepaidPlan
        django_get_or_create = ("slug",)

    hosting = factory.SubFactory(HostingFactory)
    slug = factory.Sequence(lambda n: f"plan-{n}")
    name = factory.LazyAttribute(lambda made: made.slug.replace("-", " ").title())
    price_amount = Decimal("25.00")
    allowance = "unlimited talk and text, 2.5 GB"


class UserFactory(factory.django.DjangoModelFactory[User]):
    """Somebody of the shop's staff. Roles are given by `storefront.roles`."""

    class Meta:
        model = User
        django_get_or_create = ("username",)
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"person-{n}")
    email = factory.LazyAttribute(lambda made: f"{made.username}@clearline.example")
    is_staff = True
    password = factory.django.Password(PASSWORD)


class World(NamedTuple):
    """One offer that is live, and all that it rests on."""

    listing: Listing
    offer: ListingHost
    agreement: Fact
    approval: Fact
    host: HostCarrier
    vendor: Organization
    variant: Variant
    hosting: Hosting


def make_terms(
    *,
    variant: Variant,
    hosts: Iterable[HostCarrier],
    price_amount: Decimal = Decimal("199.00"),
    on_hand: int = 20,
    description: str = "",
    software: str = "",
) -> offers.ListingTerms:
    return offers.ListingTerms(
        variant=variant,
        hosts=tuple(hosts),
        condition=Condition.NEW,
        territory=settings.SHOP_TERRITORY,
        channel=Channel.WEB,
        description=description,
        price_amount=price_amount,
        price_currency="USD",
        on_hand=on_hand,
        software=software,
    )


def ensure_policy(*, at: dt.datetime) -> None:
    """Shut the gate, unless a policy is recorded already: a test may have chosen another one."""
    if not PolicyVersion.objects.current().exists():
        policies.set_policy(
            **policies.POLICY_GATE_SHUT, by=BUILDER, at=at, reason="the default of a small world"
        )


def make_policy(*, at: dt.datetime, **terms: Any) -> Fact:
    """The gate shut, but for these terms of `policies.set_policy`."""
    return policies.set_policy(
        **{**policies.POLICY_GATE_SHUT, **terms}, by=BUILDER, at=at, reason="chosen for a small world"
    )


def make_agreement(
    *,
    grantor: Organization,
    grantee: Organization,
    at: dt.datetime,
    models: Iterable[Variant] | Literal["*"] = "*",
    territories: Iterable[str] | None = None,
    channels: Iterable[str] = "*",
    conditions: Iterable[str] = "*",
    may_sublicense: bool = False,
    assurance: str = Assurance.VERIFIED,
    code: str | None = None,
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime = FOREVER,
) -> Fact:
    return agreements.record_agreement(
        code=code or _next_code("AG", Fact.Kind.AGREEMENT),
        grantor=grantor,
        grantee=grantee,
        may_sublicense=may_sublicense,
        assurance=assurance,
        models=models,
        territories=[settings.SHOP_TERRITORY] if territories is None else territories,
        channels=channels,
        conditions=conditions,
        valid_from=valid_from or at - dt.timedelta(days=1),
        valid_until=valid_until,
        document="simulated",
        by=BUILDER,
        at=at,
    )


def make_approval(
    *,
    host: HostCarrier,
    variant: Variant,
    at: dt.datetime,
    state: str = "approved",
    code: str | None = None,
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime = FOREVER,
    limits: str = "",
    waived_until: dt.datetime | None = None,
    software_from: str = "",
    software_until: str = "",
) -> Fact:
    return approvals.record_approval(
        code=code or _next_code("CA", Fact.Kind.APPROVAL),
        host=host,
        variant=variant,
        state=state,
        valid_from=valid_from or at - dt.timedelta(days=1),
        valid_until=valid_until,
        limits=limits or ("simulated" if state == "conditional" else ""),
        waived_until=waived_until,
        software_from=software_from,
        software_until=software_until,
        document="simulated",
        by=BUILDER,
        at=at,
    )


def make_equipment(
    *,
    variant: Variant,
    at: dt.datetime,
    territory: str | None = None,
    regulator: str = "FCC",
    identifier: str = "",
    granted_at: dt.datetime | None = None,
    code: str | None = None,
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime = FOREVER,
) -> Fact:
    starts = valid_from or at - dt.timedelta(days=1)
    return equipment.record_authorization(
        code=code or _next_code("EA", Fact.Kind.EQUIPMENT),
        variant=variant,
        territory=territory or settings.SHOP_TERRITORY,
        regulator=regulator,
        identifier=identifier,
        granted_at=granted_at or starts,
        valid_from=starts,
        valid_until=valid_until,
        document="simulated",
        by=BUILDER,
        at=at,
    )


def make_affiliation(
    *,
    parent: Organization,
    child: Organization,
    at: dt.datetime,
    may_grant_for_parent: bool = False,
    code: str | None = None,
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime = FOREVER,
) -> Fact:
    return affiliations.record_affiliation(
        code=code or _next_code("AF", Fact.Kind.AFFILIATION),
        parent=parent,
        child=child,
        may_grant_for_parent=may_grant_for_parent,
        valid_from=valid_from or at - dt.timedelta(days=1),
        valid_until=valid_until,
        document="simulated",
        by=BUILDER,
        at=at,
    )


def make_hold(
    *,
    targets: Iterable[holds.Target],
    at: dt.datetime,
    placed_by: str = "the shop",
    reason_code: str = "SHOP_REVIEW",
    note: str = "simulated",
    reach: str = holds.Reach.SALE,
    exemptions: Iterable[holds.Exemption] = (),
    code: str | None = None,
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime = FOREVER,
) -> Fact:
    """A hold without the preview that `authorization.revocations` asks for."""
    with transaction.atomic():
        revision = fence.exclusive(by=BUILDER, reason=f"{reason_code}: {note}", at=at)
        return holds.place_under_fence(
            code=code or _next_code("H", Fact.Kind.HOLD),
            revision=revision,
            placed_by=placed_by,
            reason_code=reason_code,
            note=note,
            targets=tuple(targets),
            reach=reach,
            exemptions=tuple(exemptions),
            valid_from=valid_from,
            valid_until=valid_until,
            by=BUILDER,
            at=at,
        )


def make_sellable(
    *,
    vendor: Organization | None = None,
    variant: Variant | None = None,
    host: HostCarrier | None = None,
    at: dt.datetime | None = None,
    sku: str | None = None,
    price_amount: Decimal = Decimal("199.00"),
    on_hand: int = 20,
    software: str = "",
) -> World:
    """One live offer: policy, hosting, verified agreement, approval, saved and published listing."""
    at = at or clock.now()
    before = fence.current_revision()
    vendor = vendor or OrganizationFactory.create(kind=Organization.Kind.VENDOR)
    variant = variant or VariantFactory.create()
    host = host or HostCarrierFactory.create()
    ensure_policy(at=at)
    hosting = HostingFactory.create(host=host, at=at)
    agreement = _agreement_of(vendor, variant) or make_agreement(
        grantor=variant.device.manufacturer, grantee=vendor, models=[variant], at=at
    )
    approval = _approval_of(host, variant) or make_approval(host=host, variant=variant, at=at)
    saved = offers.save_listing(
        vendor=vendor,
        sku=sku or f"SKU-{variant.model_number}",
        terms=make_terms(
            variant=variant, hosts=[host], price_amount=price_amount, on_hand=on_hand, software=software
        ),
        by=BUILDER,
        at=at,
    )
    outcomes = offers.publish_listing(listing=saved.listing, by=BUILDER, at=at)
    if not all(outcome.is_live for outcome in outcomes):
        raise AssertionError(
            f"The small world is not sellable: {[outcome.answer.reason_codes for outcome in outcomes]}"
        )
    offer = ListingHost.objects.select_related("listing__variant__device", "host").get(
        listing=saved.listing, host=host, state=OfferState.LIVE
    )
    # The offer was decided on all of this: the sweeps of it would find nothing to do.
    OutboxRow.objects.filter(
        handler="authorization.sweeps.start_sweep", done_at__isnull=True, payload__revision__gt=before
    ).update(done_at=at)
    return World(saved.listing, offer, agreement, approval, host, vendor, variant, hosting)


# --- technical acceptances --------------------------------------------------------------------------------------

ASKS = Actor("exercise", "sponsor")
TESTS = Actor("exercise", "lab")
DECIDES = Actor("exercise", "approver")
SOFTWARE = "7.0.5"


def make_network(
    *,
    host: HostCarrier,
    at: dt.datetime,
    has_circuits: bool = True,
    admission: str = "open",
    era: str = "now",
) -> None:
    """A small network: LTE B2 and B12, and calls over UMTS B4 unless they all go over LTE."""
    bands = [
        {"rat": "LTE", "band": "B2", "group": "lte_core", "voice": "VoLTE"},
        {"rat": "LTE", "band": "B12", "group": "lte_cov", "voice": "VoLTE"},
    ]
    if has_circuits:
        bands.append({"rat": "UMTS", "band": "B4", "group": "umts", "voice": "CS"})
    with groundwork.recording(by=BUILDER, at=at, reason="a network for a small world") as recorder:
        recorder.network(
            host=host, era=era, fields={"admission": admission}, bands=bands, valid_from=LONG_AGO
        )


def make_radio(
    *,
    variant: Variant,
    at: dt.datetime,
    bands: Iterable[tuple[str, str]] = (("LTE", "B2"), ("LTE", "B12"), ("UMTS", "B4")),
    off: Iterable[tuple[str, str]] = (),
    ims: dict[str, str] | None = None,
) -> None:
    """What a variant can do. `off`: bands that its software keeps off. `ims`: host code -> status."""
    kept_off = set(off)
    rows = [
        {"rat": rat, "band": band, "is_sw_disabled": (rat, band) in kept_off}
        for rat, band in sorted({*bands, *kept_off})
    ]
    with groundwork.recording(by=BUILDER, at=at, reason="a radio for a small world") as recorder:
        recorder.variant_radio(variant=variant, fields={}, bands=rows, ims=ims or {}, valid_from=LONG_AGO)


def doer_of(acceptance: Acceptance, party: str, actor: Actor | None = None) -> Doer:
    """Somebody who may speak for this party of the acceptance."""
    match party:
        case Party.SPONSOR:
            return Doer(actor or ASKS, party, organization_id=acceptance.sponsor_id)
        case Party.HOST_DESK | Party.HOST_LAB:
            return Doer(actor or TESTS, party, host_id=acceptance.host_id)
        case Party.HOST_APPROVER:
            return Doer(actor or DECIDES, party, host_id=acceptance.host_id)
        case _:
            return Doer(actor or BUILDER, party)


def passed(*phases: str, case: str = "all") -> list[Result]:
    return [Result(phase, case, "passed") for phase in phases]


def make_acceptance(
    *,
    state: str = Acceptance.State.REQUESTED,
    host: HostCarrier | None = None,
    variant: Variant | None = None,
    sponsor: Organization | Literal["shop"] | None = None,
    at: dt.datetime | None = None,
    code: str = "",
    software_from: str = "",
    software_until: str = "",
    software: str = SOFTWARE,
    hardware_revision: str = "",
    valid_until: dt.datetime | None = None,
    waived_until: dt.datetime | None = None,
) -> Acceptance:
    """An acceptance in any state, brought there by the moves that people make, its ground recorded.

    Without a sponsor a new vendor asks; "shop": the shop itself. A CONDITIONAL one has a waiver of 90 days unless it is
    given another end. MR_REVIEW is a child, of an approved one.
    """
    state_of = Acceptance.State
    at = at or clock.now()
    host = host or HostCarrierFactory.create()
    variant = variant or VariantFactory.create()
    if state == state_of.MR_REVIEW and not software_until:
        # What is reported lies beyond it.
        software_until = "8"
    _ensure_ground(host, variant, at=at)
    asks: Organization | None = None
    if sponsor is None:
        asks = OrganizationFactory.create(kind=Organization.Kind.VENDOR)
    elif sponsor != "shop":
        asks = sponsor
    acceptance = process.request(
        host=host,
        variant=variant,
        sponsor=asks,
        request_type=Acceptance.RequestType.INITIAL,
        hardware_revision=hardware_revision,
        software_from=software_from,
        software_until=software_until,
        tacs=[f"00{variant.pk % 1_000_000:06d}"],
        fcc_id=variant.fcc_id or "2ATESTPHONE",
        certificate="PTCRB-1000",
        code=code,
        by=Doer(ASKS, Party.SPONSOR, organization_id=None if asks is None else asks.pk),
        at=at,
    )

    def move(party: str, name: str, row: Acceptance = acceptance, **inputs: Any) -> None:
        process.perform(acceptance=row, move=name, by=doer_of(row, party), at=at, **inputs)

    def stop() -> Acceptance:
        acceptance.refresh_from_db()
        return acceptance

    if state == state_of.REQUESTED:
        return stop()
    if state == state_of.WITHDRAWN:
        move(Party.SPONSOR, "withdraw")
        return stop()
    process.attach_file(
        acceptance=acceptance,
        kind=AcceptanceFile.Kind.DECLARATION,
        name="declaration.txt",
        content=b"The bands are as the catalogue says.",
        by=doer_of(acceptance, Party.SPONSOR),
        at=at,
    )
    move(Party.HOST_DESK, "take_in")
    if state == state_of.INTAKE_REVIEW:
        return stop()
    if state == state_of.REJECTED:
        move(Party.HOST_DESK, "reject", reason="simulated")
        return stop()
    slot: dict[str, Any] = {"lab_slot_from": at, "lab_slot_until": at + dt.timedelta(days=14)}
    move(Party.HOST_LAB, "give_slot", software=software, **slot)
    if state == state_of.LAB_ENTRY:
        return stop()
    move(Party.HOST_LAB, "start_tests", software=software, hardware_revision=hardware_revision)
    if state == state_of.IN_TEST:
        return stop()
    record_build(acceptance, at=at, fails=state == state_of.ISSUES_OPEN)
    if state == state_of.ISSUES_OPEN:
        move(Party.HOST_LAB, "open_issues", reason="simulated")
        return stop()
    if state in (state_of.WAIVER_PENDING, state_of.CONDITIONAL):
        move(Party.SPONSOR, "ask_waiver", deviation="simulated")
        if state == state_of.CONDITIONAL:
            move(
                Party.HOST_APPROVER,
                "grant_waiver",
                limits="simulated",
                waived_until=waived_until or at + dt.timedelta(days=90),
                valid_until=valid_until,
                document="TA letter (simulated)",
            )
        return stop()
    if state == state_of.EXPIRED:
        valid_until = at + dt.timedelta(seconds=1)
    move(Party.HOST_APPROVER, "approve", document="TA letter (simulated)", valid_until=valid_until)
    acceptance.refresh_from_db()
    return _beyond_approval(acceptance, state, at=at)


def record_build(acceptance: Acceptance, *, at: dt.datetime, fails: bool = False) -> None:
    """Results of the lab for every phase that the present build needs."""
    results = passed(*process.phases_of(acceptance, at=at))
    if fails:
        results.append(Result("field", "drive test", "failed", "simulated"))
    process.record_results(
        acceptance=acceptance, results=results, by=doer_of(acceptance, Party.HOST_LAB), at=at
    )


def _beyond_approval(acceptance: Acceptance, state: str, *, at: dt.datetime) -> Acceptance:
    """From APPROVED to where approvals lead by themselves, or by the front door."""
    state_of = Acceptance.State
    approval = Fact.objects.get(acceptance=acceptance)
    if state == state_of.MR_REVIEW:
        covered = approvals.current(approval)
        made = process.perform(
            acceptance=acceptance,
            move="report_release",
            by=doer_of(acceptance, Party.SPONSOR),
            at=at,
            software=covered.software_until,
        )
        return Acceptance.objects.get(code=made.detail["child"])
    if state == state_of.SUSPENDED:
        make_hold(
            targets=[("fact", str(approval.pk))],
            at=at,
            placed_by=acceptance.host.name,
            reason_code="CARRIER_TESTS_PENDING",
        )
    elif state == state_of.REVOKED:
        with transaction.atomic():
            revision = fence.exclusive(by=BUILDER, reason="simulated", at=at)
            approvals.revoke_under_fence(
                fact=approval,
                revision=revision,
                reason_code="CARRIER_WITHDRAWS",
                by=BUILDER,
                at=at,
                reason="simulated",
            )
    elif state == state_of.EXPIRED:
        ends_at = at + dt.timedelta(seconds=1)
        with transaction.atomic():
            revision = fence.exclusive(by=BUILDER, reason="simulated", at=ends_at)
            following.crossed_under_fence(
                fact_ids=[approval.pk], instant=ends_at, revision=revision, by=BUILDER, at=ends_at
            )
    acceptance.refresh_from_db()
    return acceptance


def _ensure_ground(host: HostCarrier, variant: Variant, *, at: dt.datetime) -> None:
    """Unless a test has recorded them itself."""
    if not host.networks.exists():
        make_network(host=host, at=at)
    if not variant.versions.exists():
        make_radio(variant=variant, at=at, ims={host.code: "yes"})


def _agreement_of(vendor: Organization, variant: Variant) -> Fact | None:
    """What an earlier world of the same vendor and variant recorded: nobody records it twice."""
    version = (
        AgreementVersion.objects.current()
        .filter(
            grantor=variant.device.manufacturer,
            grantee=vendor,
            state=AgreementVersion.State.ACTIVE,
            assurance=Assurance.VERIFIED,
            valid_until=FOREVER,
            scope_terms__dimension="model",
            scope_terms__value=str(variant.pk),
        )
        .select_related("head")
        .first()
    )
    return None if version is None else version.head


def _approval_of(host: HostCarrier, variant: Variant) -> Fact | None:
    versions = ApprovalVersion.objects.current().filter(
        host=host, variant=variant, state=ApprovalVersion.State.APPROVED, valid_until=FOREVER
    )
    version = versions.select_related("head").first()
    return None if version is None else version.head


def _next_code(prefix: str, kind: str) -> str:
    return f"{prefix}-{Fact.objects.filter(kind=kind).count() + 1:04d}"
