"""The world of the shop on the eve of the incident of 2016, built through the functions that the desk uses.

Facts and their sources: docs and seeds/replay. What no source gives is invented and says so: the distributor,
the honest vendor, every letter and approval, stock, and which variant the vendor shipped (the press names
phones, not model numbers). Who lists what, and at what price, is reported.
"""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from authorization import agreements, approvals, offers, policies
from authorization.actors import Actor
from authorization.models import Assurance, Fact
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
    honest = _organization("prairie-wireless-supply", "Prairie Wireless Supply", "vendor", at)
    for phone in HONEST_PHONES:
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
    """A phone with all its papers: a verified agreement, the carrier's approval, and a live listing."""
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
    approvals.record_approval(
        code=f"CA-{phone.sku}",
        host=host,
        variant=variant,
        state="approved",
        valid_from=at,
        document=SIMULATED,
        by=DESK,
        at=at,
    )
    by = Actor("vendor", vendor.slug)
    terms = make_terms(variant=variant, hosts=[host], price_amount=phone.price_amount, on_hand=phone.on_hand)
    saved = offers.save_listing(vendor=vendor, sku=phone.sku, terms=terms, by=by, at=at)
    offers.publish_listing(listing=saved.listing, by=by, at=at)
