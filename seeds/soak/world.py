"""The store that is soaked: makers, distributors in chains, vendors, and some dozens of phones on two hosts.

Two groups of companies that have nothing to do with each other, one for each desk: what one desk takes down only it
brings back, so that a page that shows it again too early is nobody else's doing.
"""

import itertools
import random
from datetime import timedelta
from decimal import Decimal

from authorization import clock, offers
from authorization.actors import Actor
from carriers.models import HostCarrier
from catalog.models import ListingHost, OfferState, Organization, Variant
from seeds.factories import (
    DeviceFactory,
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    PlanFactory,
    VariantFactory,
    ensure_policy,
    make_agreement,
    make_approval,
    make_terms,
)
from seeds.soak.soaked import GROUPS, HOSTS, ON_HAND, Group, Item, Soaked, Vendor
from storefront import accounts

BUILDER = Actor("exercise", "soak")
MAKERS_PER_GROUP = 2
PHONES_PER_MAKER = 6
# Of a vendor's listings, every so many-th is one that it goes on editing, its stock included.
RESTLESS_EVERY = 4


def build(seed: int) -> Soaked:
    chance = random.Random(seed)
    at = clock.now()
    ensure_policy(at=at)
    hosts = [HostCarrierFactory.create(code=code, name=code.title()) for code in HOSTS]
    for host in hosts:
        PlanFactory.create(hosting=HostingFactory.create(host=host, at=at), slug=f"plan-{host.code}")
    soaked = Soaked()
    for number in range(GROUPS):
        _build_group(soaked, number, hosts, chance)
    live = ListingHost.objects.filter(state=OfferState.LIVE).count()
    wanted = len(HOSTS) * sum(len(vendor.items) for vendor in soaked.vendors)
    if live != wanted:
        raise AssertionError(f"The world to soak has {live} live offers instead of {wanted}.")
    return soaked


def _build_group(soaked: Soaked, number: int, hosts: list[HostCarrier], chance: random.Random) -> None:
    at = clock.now()
    makers = _organizations(f"maker-{number}", Organization.Kind.MANUFACTURER, MAKERS_PER_GROUP)
    near, far = _organizations(f"distributor-{number}", Organization.Kind.DISTRIBUTOR, 2)
    direct, through_one, through_two = _organizations(f"vendor-{number}", Organization.Kind.VENDOR, 3)
    variants: dict[int, list[Variant]] = {}
    for maker in makers:
        devices = [
            DeviceFactory.create(manufacturer=maker, slug=f"{maker.slug}-phone-{place}")
            for place in range(PHONES_PER_MAKER)
        ]
        variants[maker.pk] = [VariantFactory.create(device=device, slug=device.slug) for device in devices]
        soaked.devices += [device.slug for device in devices]
        for variant, host in itertools.product(variants[maker.pk], hosts):
            make_approval(host=host, variant=variant, at=at)
        make_agreement(grantor=maker, grantee=direct, at=at)
        make_agreement(grantor=maker, grantee=near, may_sublicense=True, at=at)
        # A second paper for some of its phones: what survives when the chain breaks.
        make_agreement(grantor=maker, grantee=through_one, models=variants[maker.pk][::2], at=at)
    make_agreement(grantor=near, grantee=through_one, at=at)
    make_agreement(grantor=near, grantee=far, may_sublicense=True, at=at)
    make_agreement(grantor=far, grantee=through_two, at=at)
    for vendor in (direct, through_one, through_two):
        soaked.vendors.append(_open_shop(vendor, list(itertools.chain(*variants.values())), hosts, chance))
    soaked.groups.append(
        Group(
            makers=[maker.pk for maker in makers],
            distributors=[near.pk, far.pk],
            vendors=[direct.pk, through_one.pk, through_two.pk],
        )
    )


def _organizations(prefix: str, kind: str, count: int) -> list[Organization]:
    return [OrganizationFactory.create(slug=f"{prefix}-{place}", kind=kind) for place in range(count)]


def _open_shop(
    vendor: Organization, variants: list[Variant], hosts: list[HostCarrier], chance: random.Random
) -> Vendor:
    at = clock.now()
    _, key = accounts.make_organization_key(
        organization=vendor, label="soak", by=BUILDER, at=at, expires_at=at + timedelta(days=365)
    )
    opened = Vendor(vendor.name, key)
    for place, variant in enumerate(variants):
        sku = f"{vendor.slug}-{variant.slug}"
        price = Decimal(chance.randrange(9900, 79900)) / 100
        terms = make_terms(variant=variant, hosts=hosts, price_amount=price, on_hand=ON_HAND)
        saved = offers.save_listing(vendor=vendor, sku=sku, terms=terms, by=BUILDER, at=clock.now())
        offers.publish_listing(listing=saved.listing, by=BUILDER, at=clock.now())
        is_restless = place % RESTLESS_EVERY == RESTLESS_EVERY - 1
        opened.items.append(Item(sku, variant.slug, str(price), is_restless, saved.listing.pk))
    return opened
