"""Many listings at once come out as if each had been sent alone: rows, ledger, events."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from authorization import clock, listing_batches, offers
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.listing_batches import Inventory, NoSuchListing, SavedRow
from authorization.models import LedgerEntry, OutboxRow
from authorization.offers import ListingRemoved, ListingTerms
from catalog.models import Listing, ListingHost, OfferState, Organization, Stock
from seeds.factories import (
    DeviceFactory,
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    ensure_policy,
    make_agreement,
    make_approval,
    make_terms,
)

VENDOR = Actor("vendor", "omni")
SKUS = ("A-1", "A-2", "A-3")


class World:
    """Two vendors alike; the first variant may be sold on the first host, the second on both, the third nowhere."""

    vendor: Organization

    def __init__(self) -> None:
        at = clock.now()
        ensure_policy(at=at)
        maker = OrganizationFactory.create(kind="manufacturer")
        self.vendors = [OrganizationFactory.create(kind="vendor") for _ in range(2)]
        self.hosts = [HostCarrierFactory.create() for _ in range(2)]
        for host in self.hosts:
            HostingFactory.create(host=host, at=at)
        device = DeviceFactory.create(manufacturer=maker)
        self.variants = [VariantFactory.create(device=device) for _ in range(3)]
        for vendor in self.vendors:
            make_agreement(grantor=maker, grantee=vendor, at=at)
        make_approval(host=self.hosts[0], variant=self.variants[0], at=at)
        for host in self.hosts:
            make_approval(host=host, variant=self.variants[1], at=at)

    def terms(
        self, variant: int, hosts: list[int], price: int, on_hand: int | None, software: str
    ) -> ListingTerms:
        made = make_terms(
            variant=self.variants[variant],
            hosts=[self.hosts[place] for place in hosts],
            price_amount=Decimal(price),
            software=software,
        )
        return replace(made, on_hand=on_hand)


def one_by_one(world: World, rows: dict[str, ListingTerms | Inventory], at: dt.datetime) -> dict[str, Any]:
    """What `save_listings` promises, said by the functions for one."""
    results: dict[str, Any] = {}
    for sku, sent in rows.items():
        try:
            if isinstance(sent, ListingTerms):
                made = offers.save_listing(vendor=world.vendor, sku=sku, terms=sent, by=VENDOR, at=at)
            else:
                made = change(world, sku, sent, at)
            results[sku] = (made.is_new, made.is_changed)
        except (ListingRemoved, NoSuchListing, InvalidFact) as error:
            results[sku] = type(error)
    return results


def change(world: World, sku: str, sent: Inventory, at: dt.datetime) -> Any:
    listing = Listing.objects.filter(vendor=world.vendor, sku=sku).first()
    if listing is None:
        raise NoSuchListing

    def terms_of(stored: Listing | None) -> ListingTerms:
        assert stored is not None
        amount, currency = sent.price or (stored.price_amount, stored.price_currency)
        kept = stored.offers.exclude(state=OfferState.REMOVED).order_by("id").select_related("host")
        return ListingTerms(
            variant=stored.variant, hosts=tuple(offer.host for offer in kept), condition=stored.condition,
            territory=stored.territory, channel=stored.channel, description=stored.description,
            price_amount=amount, price_currency=currency, on_hand=sent.on_hand, software=stored.software,
        )  # fmt: skip

    return offers.change_listing(listing=listing, terms_of=terms_of, by=VENDOR, at=at)


def batch(world: World, rows: dict[str, ListingTerms | Inventory], at: dt.datetime) -> dict[str, Any]:
    with transaction.atomic():
        found = listing_batches.save_listings(vendor=world.vendor, rows=rows, by=VENDOR, at=at)
    assert set(found) == set(rows)
    return {
        sku: (row.is_new, row.is_changed) if isinstance(row, SavedRow) else type(row)
        for sku, row in found.items()
    }


def everything(world: World) -> dict[str, Any]:
    """All that is stored of the vendor, by names: ids differ."""
    mine = Listing.objects.filter(vendor=world.vendor)
    listings = {row.pk: row.sku for row in mine}
    offers_of = list(ListingHost.objects.filter(listing__in=mine).select_related("host"))
    stored = {row.pk: (listings[row.listing_id], world.hosts.index(row.host)) for row in offers_of}
    entries = [
        (row, listings if row.subject_kind == "listing" else stored)
        for row in LedgerEntry.objects.filter(act__startswith="listing.")
    ]
    return {
        "listings": list(
            mine.order_by("sku").values_list(
                "sku", "variant_id", "software", "price_amount", "version", "created_at", "updated_at"
            )
        ),
        "offers": sorted(
            (stored[row.pk], row.state, row.version, row.content_hash, row.reason_codes, row.state_changed_at)
            for row in offers_of
        ),
        "stock": sorted(Stock.objects.filter(listing__in=mine).values_list("listing__sku", "on_hand")),
        "ledger": sorted(
            str((row.act, row.at, names[int(row.subject_id)], strip(row.evidence), row.revision))
            for row, names in entries
            if int(row.subject_id) in names
        ),
        "events": sorted(
            str((row.event, strip(row.payload), row.created_at, row.handler))
            for row in OutboxRow.objects.filter(event__startswith="listing.")
            if row.payload["vendor_id"] == world.vendor.pk
        ),
    }  # fmt: skip


def strip(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name not in OF_ONE}


OF_ONE = ("offer_id", "listing_id", "vendor_id", "decision_id", "decision")
ROWS = st.dictionaries(
    st.sampled_from(SKUS),
    st.one_of(
        st.tuples(
            st.sampled_from([0, 1, 2]),
            st.sampled_from([[0], [1], [0, 1], [1, 0]]),
            st.sampled_from([199, 250]),
            st.sampled_from([None, 0, 5]),
            st.sampled_from(["", "7.0.5", " 7"]),
        ),
        st.tuples(st.sampled_from([None, 199, 300]), st.sampled_from([None, 5, 9])),
    ),
    min_size=1,
)
# Refused, allowed, refused, and refused again on other terms for the same reason.
REFUSED_AND_NOT = [
    {"A-1": (variant, [0], 199, 5, software)}
    for variant, software in ((2, ""), (0, ""), (2, ""), (2, "7.0.5"))
]
STEP = st.one_of(ROWS, st.sampled_from(SKUS), st.just("publish"))


class SameAsOneByOne(TestCase):
    world: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.world = World()

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(steps=st.lists(STEP, min_size=2, max_size=5))
    @example(steps=REFUSED_AND_NOT)
    def test_a_batch_is_what_its_rows_are_alone(self, steps: list[Any]) -> None:
        at, world, seen = clock.now(), self.world, []
        for save, vendor in zip((one_by_one, batch), world.vendors, strict=True):
            world.vendor = vendor
            said = [self.do(step, save, at + dt.timedelta(seconds=n)) for n, step in enumerate(steps)]
            seen.append((said, everything(world)))
        assert seen[0] == seen[1]

    def do(self, step: Any, save: Any, at: dt.datetime) -> Any:
        mine = Listing.objects.filter(vendor=self.world.vendor).order_by("sku")
        if step == "publish":
            for listing in mine:
                try:
                    offers.publish_listing(listing=listing, by=VENDOR, at=at)
                except ListingRemoved:
                    continue
            return None
        if isinstance(step, str):
            for listing in mine.filter(sku=step):
                offers.withdraw_listing(listing=listing, by=VENDOR, at=at)
            return None
        rows = {
            sku: self.world.terms(*row)
            if len(row) == 5
            else Inventory(None if row[0] is None else (Decimal(row[0]), "USD"), row[1])
            for sku, row in step.items()
        }
        return save(self.world, rows, at)
