"""Brands with very many listings, for `benchmarks.revocation`: each is sold by one distributor's agreement.

Listings, offers and stock are made in SQL, by the million; all else is a few thousand rows. Vendors, variants, hosts
and terms are scattered over the ids, so that a chunk of a sweep holds hardly two offers with the same terms. Clearances
name decisions that were not written.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Min

from authorization import clock
from authorization.dialect import Dialect
from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    PolicyVersion,
    ScopeTerm,
)
from carriers.versions import FOREVER
from catalog.listings import TERMS, content_hash
from catalog.models import Channel, Device, Listing, ListingHost, Organization, Stock, Variant
from seeds.factories import HostCarrierFactory, HostingFactory, make_hold, make_policy

VENDORS, HOSTS, PER_DEVICE = 200, 3, 5
TERRITORIES, CHANNELS, CONDITIONS = ("US", "CA"), ("web", "retail"), ("new", "used", "refurbished")
# Far from each other and from the sizes above, so that the columns do not march in step.
STEPS = {"variant": 7919, "host": 31, "territory": 37, "channel": 41, "condition": 43}


@dataclass(frozen=True)
class Brand:
    """`agreement_ids`: what leads from the maker to its distributor; without any no offer of the brand has a chain."""

    agreement_ids: Sequence[int]
    first_offer_id: int
    last_offer_id: int


@dataclass(frozen=True)
class Market:
    """What all brands share."""

    vendor_ids: Sequence[int]
    host_ids: Sequence[int]


def open_market() -> Market:
    """Policy, hosts and vendors; and holds, as there always are some: none on what is measured."""
    at = clock.now()
    if not PolicyVersion.objects.exists():
        make_policy(at=at, is_agreement_enforced=True, is_carrier_approval_enforced=True,
                    is_equipment_authorization_enforced=True, territory="*")  # fmt: skip
    hosts = [HostCarrierFactory.create() for _ in range(HOSTS)]
    for host in hosts:
        HostingFactory.create(host=host, at=at)
    vendors = [_organization("vendor", n) for n in range(VENDORS)]
    Organization.objects.bulk_create(vendors)
    others = [_organization("vendor", VENDORS + n) for n in range(20)]
    Organization.objects.bulk_create(others)
    for other in others:
        make_hold(targets=[("vendor", str(other.pk))], at=at)
        make_hold(targets=[("vendor", str(other.pk)), ("territory", "CA")], at=at)
    return Market([vendor.pk for vendor in vendors], [host.pk for host in hosts])


def found(market: Market, name: str, *, listings: int, devices: int = 100, agreements: int = 1) -> Brand:
    """A brand with its papers in order and so many live offers, each of a listing of its own.

    `agreements`: how many of its maker with its distributor, all alike; the offers stand on any of them.
    """
    with transaction.atomic():
        maker, distributor = _organization("manufacturer", name), _organization("distributor", name)
        Organization.objects.bulk_create([maker, distributor])
        variants = _variants(maker, devices)
        at = clock.now() - timedelta(days=1)
        agreement = _facts("agreement", name, agreements + VENDORS)
        parties = [(maker.pk, distributor.pk)] * agreements
        parties += [(distributor.pk, vendor) for vendor in market.vendor_ids]
        versions = AgreementVersion.objects.bulk_create(
            AgreementVersion(
                head=fact, version_no=1, valid_from=at, valid_until=FOREVER, rev_from=1, grantor_id=grantor,
                grantee_id=grantee, may_sublicense=grantor == maker.pk, assurance="verified",
            )
            for fact, (grantor, grantee) in zip(agreement, parties, strict=True)
        )  # fmt: skip
        ScopeTerm.objects.bulk_create(
            ScopeTerm(version=version, dimension=dimension, value=value)
            for version in versions
            for dimension, values in (
                ("model", "*"), ("territory", TERRITORIES), ("channel", "*"), ("condition", "*"),
            )
            for value in values
        )  # fmt: skip
        pairs = [(variant, host) for variant in variants for host in market.host_ids]
        ApprovalVersion.objects.bulk_create(
            ApprovalVersion(
                head=fact, version_no=1, valid_from=at, valid_until=FOREVER, rev_from=1, variant=variant,
                host_id=host, state="approved",
            )
            for fact, (variant, host) in zip(_facts("approval", name, len(pairs)), pairs, strict=True)
        )  # fmt: skip
        places = [(variant, territory) for variant in variants for territory in TERRITORIES]
        EquipmentVersion.objects.bulk_create(
            EquipmentVersion(
                head=fact, version_no=1, valid_from=at, valid_until=FOREVER, rev_from=1, variant=variant,
                territory=territory, regulator="FCC", granted_at=at,
            )
            for fact, (variant, territory) in zip(
                _facts("equipment", name, len(places)), places, strict=True
            )
        )  # fmt: skip
        first = _list(market, [variant.pk for variant in variants], name, listings)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return Brand([fact.pk for fact in agreement[:agreements]], first, first + listings - 1)


def of(name: str) -> Brand:
    """A brand that was made before."""
    listed = ListingHost.objects.filter(listing__sku__startswith=f"{name}-").aggregate(Min("id"), Max("id"))
    agreements = AgreementVersion.objects.current().filter(grantor__name=f"manufacturer {name}")
    return Brand(
        list(agreements.order_by("head_id").values_list("head_id", flat=True)),
        listed["id__min"],
        listed["id__max"],
    )


def _organization(kind: str, name: object) -> Organization:
    return Organization(kind=kind, name=f"{kind} {name}", slug=f"{kind}-{name}", country="US",
                        created_at=clock.now())  # fmt: skip


def _variants(maker: Organization, devices: int) -> list[Variant]:
    made = Device.objects.bulk_create(
        Device(
            manufacturer=maker, brand=maker.name, marketing_name=f"{maker.name} {n}", slug=f"{maker.slug}-{n}"
        )
        for n in range(devices)
    )
    return Variant.objects.bulk_create(
        Variant(device=device, slug=f"{device.slug}-{n}", model_number=f"{device.slug}-{n}")
        for device in made
        for n in range(PER_DEVICE)
    )


def _facts(kind: str, name: str, count: int) -> list[Fact]:
    return Fact.objects.bulk_create(Fact(kind=kind, code=f"{kind}-{name}-{n}") for n in range(count))


def _list(market: Market, variant_ids: Sequence[int], name: str, listings: int) -> int:
    """Listing, stock and live offer number n get the same id; returns the first."""
    db = Dialect()
    last = max(
        model.objects.aggregate(last=Max("id"))["last"] or 0 for model in (Listing, ListingHost, Stock)
    )
    now = connection.ops.adapt_datetimefield_value(clock.now())
    choices = {
        "vendor": (market.vendor_ids, 1), "variant": (variant_ids, STEPS["variant"]),
        "host": (market.host_ids, STEPS["host"]), "territory": (TERRITORIES, STEPS["territory"]),
        "channel": (CHANNELS, STEPS["channel"]), "condition": (CONDITIONS, STEPS["condition"]),
    }  # fmt: skip

    def drawn(column: str) -> str:
        """What this column holds for number n: the lists are given as arrays, or as JSON."""
        values, step = choices[column]
        # Divided too: or vendors, hosts and variants would go round together.
        place = f"CAST((CAST(n AS bigint) * {step} + n / {len(values)}) % {len(values)} AS int)"
        if db.is_postgresql:
            kind = "bigint[]" if isinstance(values[0], int) else "text[]"
            return f"(CAST(%({column})s AS {kind}))[{place} + 1]"
        return f"json_extract(%({column})s, '$[' || {place} || ']')"

    series = (
        "SELECT generate_series(0, %(listings)s - 1) AS n"
        if db.is_postgresql
        else "WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < %(listings)s)"
        " SELECT n FROM s"
    )
    nobody = uuid.UUID(int=0)
    parameters = {
        "listings": listings, "last": last, "name": name, "now": now,
        "until": connection.ops.adapt_datetimefield_value(FOREVER),
        "nobody": nobody if db.is_postgresql else nobody.hex,
    } | {column: db.array(values) for column, (values, _) in choices.items()}  # fmt: skip
    empty = "'[]'::jsonb" if db.is_postgresql else "'[]'"
    with connection.cursor() as cursor:
        for sql in (
            f"""INSERT INTO catalog_listing (id, vendor_id, sku, variant_id, condition, territory, channel, software,
 description, price_amount, price_currency, version, created_at, updated_at)
SELECT %(last)s + 1 + n, {drawn("vendor")}, %(name)s || '-' || n, {drawn("variant")}, {drawn("condition")},
 {drawn("territory")}, {drawn("channel")}, '', '', 199, 'USD', 1, %(now)s, %(now)s FROM ({series}) series""",
            f"""INSERT INTO catalog_listinghost (id, listing_id, host_id, state, version, content_hash, cleared_hash,
 decision_id, cleared_revision, clearance_expires_at, reason_codes, state_changed_at)
SELECT %(last)s + 1 + n, %(last)s + 1 + n, {drawn("host")}, 'LIVE', 2, 'bench', 'bench', %(nobody)s, 1, %(until)s,
 {empty}, %(now)s FROM ({series}) series""",
            f"""INSERT INTO catalog_stock (id, listing_id, on_hand)
SELECT %(last)s + 1 + n, %(last)s + 1 + n, 1000000 FROM ({series}) series""",
        ):
            used = {key: value for key, value in parameters.items() if f"%({key})s" in sql}
            cursor.execute(sql.replace(" % ", " %% "), used)
        if db.is_postgresql:
            for table in ("listing", "listinghost", "stock"):
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('catalog_{table}', 'id'), %s)", [last + listings]
                )
    return last + 1


def for_sale(made: Brand) -> list[int]:
    """The offers of a brand that the shop can sell, with true hashes of their terms: a sale looks at them."""
    offers = ListingHost.objects.filter(
        id__gte=made.first_offer_id,
        id__lte=made.last_offer_id,
        listing__territory=settings.SHOP_TERRITORY,
        listing__channel=Channel.WEB,
    )
    terms = ("listing__variant_id", "host_id", "listing__territory", "listing__channel", "listing__condition")
    rows = list(offers.order_by("id").values_list("id", *terms))
    with transaction.atomic(), connection.cursor() as cursor:
        for offer_id, *values in rows:
            said = content_hash(**dict(zip(TERMS, values, strict=False)))
            cursor.execute(
                "UPDATE catalog_listinghost SET content_hash = %s, cleared_hash = %s WHERE id = %s",
                [said, said, offer_id],
            )
    return [row[0] for row in rows]
