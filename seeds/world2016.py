"""The world of the shop on the eve of the incident of 2016, built through the functions that the desk uses.

Facts and their sources: docs and seeds/replay. What no source gives is invented and says so: the distributor,
the honest vendor, every letter and approval, stock, and which variant the vendor shipped (the press names
phones, not model numbers). Who lists what, and at what price, is reported.

The host's side is told by technical acceptances. Of the phones of the incident a request is filed and no more:
T-Mobile "had not tested" them (CNBC, 3 Feb 2016), and a request grants nothing. Others went all the way: iPhone 6,
which T-Mobile sold although it lacks its band 12, and OnePlus 2, which has band 12 and no confirmed voice over LTE, so
that it could not be certified (rule of 28 Aug 2015) without a waiver. Every date and result of these histories is
invented.
"""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from authorization import agreements, offers, policies
from authorization.acceptances import process
from authorization.acceptances.process import Doer, Result
from authorization.actors import Actor
from authorization.models import Acceptance, AcceptanceFile, Assurance, Fact, Party
from authorization.policies import PolicyTerms
from carriers.models import HostCarrier
from catalog.models import Organization, Variant
from seeds.factories import OrganizationFactory, make_terms
from seeds.plans import PLANS_OF_2016, ensure_plans

DESK = Actor("exercise", "desk")
SIMULATED = "Simulated: no source shows this document."


@dataclass(frozen=True)
class Phone:
    """One listing of the incident. The price is reported; variant and stock are simulated choices."""

    sku: str
    variant_slug: str
    price_amount: Decimal
    on_hand: int


# Prices: TechShout and SlashGear, 1 Feb 2016. Variants: model numbers that exist under these names.
OMNI_PHONES = (
    Phone("OMNI-REDMI2", "xiaomi-redmi2-2014811", Decimal("119.00"), 40),
    Phone("OMNI-MI3", "xiaomi-mi3-2013062", Decimal("135.00"), 40),
    Phone("OMNI-MI4", "xiaomi-mi4-2014215", Decimal("219.00"), 40),
    Phone("OMNI-M2NOTE", "meizu-m2note-m571", Decimal("149.00"), 40),
)
# Phones that T-Mobile sold itself, or that fitted its network; every price is simulated.
HONEST_PHONES = (
    Phone("PWS-S6", "samsung-s6-g920t", Decimal("579.00"), 40),
    Phone("PWS-IPHONE6S", "apple-iphone6s-a1688", Decimal("649.00"), 40),
    Phone("PWS-ONEPLUS2", "oneplus-2-a2005", Decimal("349.00"), 40),
)


# Sold by T-Mobile although it has no band 12; nobody lists it in this world.
SOLD_THOUGH_PARTIAL = "apple-iphone6-a1549"
# Fits in full, and could not be certified: band 12 without confirmed voice over LTE.
FITS_AND_IS_BLOCKED = "oneplus-2-a2005"
WAIVER = "B12_REQUIRES_VOLTE_E911 waived: calls go over 3G until voice over LTE is confirmed"
TEST_LAB = Actor("exercise", "tmobile-lab")
APPROVER = Actor("exercise", "tmobile-approver")


class ReferenceMissing(Exception):
    """The reference tables are not loaded."""


@dataclass(frozen=True)
class World2016:
    host: HostCarrier
    xiaomi: Organization
    meizu: Organization
    distributor: Organization
    omni: Organization
    honest: Organization
    # What the seller claimed, by manufacturer: manufacturer -> distributor.
    claimed: dict[str, Fact]
    omni_variants: tuple[Variant, ...]
    honest_skus: tuple[str, ...]


def build(*, policy: PolicyTerms, at: dt.datetime) -> World2016:
    """The eve of the incident under this policy. The reference tables must be loaded."""
    host = _loaded_host()
    host.contact_email = "device-approvals@t-mobile.example"
    host.save(update_fields=["contact_email"])
    policies.set_policy(**policy, by=DESK, at=at, reason="the policy of this run")
    ensure_plans(PLANS_OF_2016, at=at)

    omni_variants = tuple(_variant(phone) for phone in OMNI_PHONES)
    makers = {variant.device.manufacturer.slug: variant.device.manufacturer for variant in omni_variants}
    for maker in makers.values():
        maker.contact_email = f"authorizations@{maker.slug}.example"
        maker.save(update_fields=["contact_email"])
    distributor = _organization(
        "harbour-mobile-distribution", "Harbour Mobile Distribution", "distributor", at
    )
    # The vendor is a fact; its address is not.
    omni = _organization(
        "omni-electronics-hk", "Omni Electronics HK", "vendor", at, is_simulated=False, country="HK"
    )
    claimed = {
        slug: _claim_chain(
            maker, distributor, omni, [v for v in omni_variants if v.device.manufacturer == maker], at
        )
        for slug, maker in makers.items()
    }
    for number, variant in enumerate(omni_variants, start=1):
        _ask(f"TA-2016-{number:04d}", variant, host, at=at)
    honest = _organization("prairie-wireless-supply", "Prairie Wireless Supply", "vendor", at)
    sold = Variant.objects.select_related("device__manufacturer").get(slug=SOLD_THOUGH_PARTIAL)
    _accept("TA-2015-0001", sold, host, at=at)
    for number, phone in enumerate(HONEST_PHONES, start=2):
        _accept(f"TA-2015-{number:04d}", _variant(phone), host, at=at)
        _sell_honestly(phone, honest, host, at)
    return World2016(
        host=host,
        xiaomi=makers["xiaomi"],
        meizu=makers["meizu"],
        distributor=distributor,
        omni=omni,
        honest=honest,
        claimed=claimed,
        omni_variants=omni_variants,
        honest_skus=tuple(phone.sku for phone in HONEST_PHONES),
    )


def _loaded_host() -> HostCarrier:
    host = HostCarrier.objects.filter(code="tmobile").first()
    if host is None:
        raise ReferenceMissing("The reference tables are not loaded. Run: manage.py load_reference")
    return host


def _variant(phone: Phone) -> Variant:
    return Variant.objects.select_related("device__manufacturer").get(slug=phone.variant_slug)


def _organization(
    slug: str, name: str, kind: str, at: dt.datetime, *, is_simulated: bool = True, country: str = ""
) -> Organization:
    organization: Organization = OrganizationFactory.create(
        slug=slug,
        name=name,
        kind=kind,
        country=country,
        contact_email=f"desk@{slug}.example",
        is_simulated=is_simulated,
        created_at=at,
    )
    return organization


def _claim_chain(
    maker: Organization,
    distributor: Organization,
    vendor: Organization,
    variants: list[Variant],
    at: dt.datetime,
) -> Fact:
    """The letters as the seller claimed them: manufacturer -> distributor -> vendor. Nobody checked."""
    code = maker.slug.upper()
    first, _ = (
        agreements.record_agreement(
            code=f"AG-{code}-{name}",
            grantor=grantor,
            grantee=grantee,
            may_sublicense=grantee is distributor,
            assurance=Assurance.CLAIMED,
            models=variants,
            territories=["US"],
            channels="*",
            conditions="*",
            valid_from=at,
            document=SIMULATED,
            by=DESK,
            at=at,
        )
        for name, grantor, grantee in (("DISTRIBUTOR", maker, distributor), ("OMNI", distributor, vendor))
    )
    return first


def _sell_honestly(phone: Phone, vendor: Organization, host: HostCarrier, at: dt.datetime) -> None:
    """A phone that its host has accepted: a verified agreement, and a live listing."""
    variant = _variant(phone)
    agreement = agreements.record_agreement(
        code=f"AG-{phone.sku}",
        grantor=variant.device.manufacturer,
        grantee=vendor,
        may_sublicense=False,
        assurance=Assurance.CLAIMED,
        models=[variant],
        territories=["US"],
        channels="*",
        conditions="*",
        valid_from=at,
        document=SIMULATED,
        by=DESK,
        at=at,
    )
    agreements.verify_agreement(
        fact=agreement, by=DESK, at=at, reason="confirmed by the manufacturer (simulated)"
    )
    by = Actor("vendor", vendor.slug)
    terms = make_terms(variant=variant, hosts=[host], price_amount=phone.price_amount, on_hand=phone.on_hand)
    saved = offers.save_listing(vendor=vendor, sku=phone.sku, terms=terms, by=by, at=at)
    offers.publish_listing(listing=saved.listing, by=by, at=at)


def _ask(code: str, variant: Variant, host: HostCarrier, *, at: dt.datetime, number: str = "") -> Acceptance:
    """The shop asks the host to accept a phone. Nothing may be sold on it."""
    return process.request(
        host=host,
        variant=variant,
        sponsor=None,
        request_type=Acceptance.RequestType.INITIAL,
        tacs=sorted(variant.tacs.values_list("code", flat=True)),
        fcc_id=variant.fcc_id or ("SIMULATED" if number else ""),
        certificate=number,
        code=code,
        by=Doer(DESK, Party.SPONSOR),
        at=at,
    )


def _accept(code: str, variant: Variant, host: HostCarrier, *, at: dt.datetime) -> None:
    """A phone through the lab of the host, from the request 90 days ago to the letter of now. All of it is invented.

    The one that a rule of certification stops gets a waiver of a year, which names the rule.
    """
    days = dt.timedelta(days=1)
    asked_at = at - 90 * days
    software = "1.0"
    acceptance = _ask(code, variant, host, at=asked_at, number="PTCRB (simulated)")
    sponsor = Doer(DESK, Party.SPONSOR)
    desk, lab = (Doer(TEST_LAB, party, host_id=host.pk) for party in (Party.HOST_DESK, Party.HOST_LAB))
    approver = Doer(APPROVER, Party.HOST_APPROVER, host_id=host.pk)
    process.attach_file(
        acceptance=acceptance,
        kind=AcceptanceFile.Kind.DECLARATION,
        name="bands.txt",
        content=SIMULATED.encode(),
        by=sponsor,
        at=asked_at,
    )
    process.take_in(acceptance=acceptance, by=desk, at=at - 85 * days)
    process.give_slot(
        acceptance=acceptance,
        lab_slot_from=at - 70 * days,
        lab_slot_until=at - 40 * days,
        software=software,
        by=lab,
        at=at - 80 * days,
    )
    process.start_tests(acceptance=acceptance, software=software, by=lab, at=at - 70 * days)
    results = [
        Result(phase, "suite 1", "passed", SIMULATED) for phase in process.phases_of(acceptance, at=at)
    ]
    process.record_results(acceptance=acceptance, results=results, by=lab, at=at - 45 * days)
    if variant.slug != FITS_AND_IS_BLOCKED:
        process.approve(acceptance=acceptance, document=SIMULATED, by=approver, at=at)
        return
    process.ask_waiver(
        acceptance=acceptance,
        deviation="Band 12 is on; voice over LTE is not confirmed.",
        by=sponsor,
        at=at - 20 * days,
    )
    process.grant_waiver(
        acceptance=acceptance,
        limits=WAIVER,
        waived_until=at + 365 * days,
        document=SIMULATED,
        by=approver,
        at=at,
    )
