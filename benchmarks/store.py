"""A large made-up store for `benchmarks.decisions`: the same rows for the same size, written without the shop's acts.

All is drawn from one seeded source, in a fixed order. Rows get their ids here and go in by COPY (PostgreSQL) or
executemany (SQLite): the acts would take hours, and what is measured only reads. Clearances name decisions that were
not written: no decision reads them.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model

from authorization import software
from authorization.models import (
    AffiliationVersion,
    AgreementVersion,
    ApprovalVersion,
    EquipmentVersion,
    Fact,
    HoldExemption,
    HoldTarget,
    HoldVersion,
    PolicyVersion,
    Revision,
    ScopeTerm,
)
from authorization.rules import Question
from carriers.models import HostCarrier, Hosting, HostingVersion, Network, NetworkBand, NetworkVersion
from carriers.versions import FOREVER
from catalog.listings import content_hash
from catalog.models import (
    Device,
    Listing,
    ListingHost,
    Organization,
    Variant,
    VariantAttribute,
    VariantBand,
    VariantIms,
    VariantVersion,
)

# The instant that is asked about; agreements and approvals lie around it.
NOW = datetime(2016, 2, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2012, 1, 1, tzinfo=UTC)
REVISIONS = 40
TERRITORIES, CHANNELS, CONDITIONS = ("US", "CA", "MX"), ("web", "retail"), ("new", "refurbished", "used")
# The shop serves the first three.
HOSTS = ("north", "south", "east", "west")
SOFTWARE = ("6.0", "6.0.1", "7.0", "7.0.5", "7.1")


@dataclass(frozen=True)
class Size:
    agreements: int = 50_000
    approvals: int = 30_000
    devices: int = 20_000
    manufacturers: int = 100
    distributors: int = 300
    vendors: int = 1_000
    listings: int = 100_000
    # So many of them, the first, are all of one vendor, which nothing is held against now.
    of_one_vendor: int = 0


@dataclass(frozen=True)
class Store:
    """What was made, as far as the measuring needs it."""

    size: Size
    agreement_ids: Sequence[int]
    approval_ids: Sequence[int]
    variant_ids: Sequence[int]
    organizations: range
    large_vendor_id: int


def build(size: Size) -> Store:
    """Write the store into an empty database, and gather the statistics that the planners of both databases use."""
    with transaction.atomic():
        store = _Builder(size).build()
    with connection.cursor() as cursor:
        # Both would come to them by themselves in time (autovacuum; PRAGMA optimize).
        cursor.execute("ANALYZE")
    return store


def questions(store: Store, how_many: int, seed: int = 7) -> list[Question]:
    """Listings as they are, and one in eight with something about it changed: what buyers and vendors ask for."""
    draw = random.Random(seed)
    columns = (
        "listing__vendor_id", "listing__variant__device__manufacturer_id", "listing__variant__device_id",
        "listing__variant_id", "host_id", "listing__territory", "listing__channel", "listing__condition",
        "listing_id", "listing__software",
    )  # fmt: skip
    listed = [Question(*row) for row in ListingHost.objects.order_by("id").values_list(*columns)]
    hosts = list(HostCarrier.objects.order_by("id").values_list("id", flat=True))
    asked = []
    for question in (draw.choice(listed) for _ in range(how_many)):
        fields = question._asdict()
        match draw.randrange(40):
            case 0:
                fields["host_id"] = draw.choice(hosts)
            case 1:
                fields |= {"territory": draw.choice(TERRITORIES), "channel": draw.choice(CHANNELS)}
            case 2:
                fields["condition"] = draw.choice(CONDITIONS)
            case 3:
                fields["vendor_id"] = draw.choice(listed).vendor_id
            case 4:
                fields |= {"listing_id": None, "software": draw.choice(SOFTWARE)}
            case _:
                pass
        asked.append(Question(**fields))
    return asked


class _Builder:
    def __init__(self, size: Size) -> None:
        self.size = size
        self.draw = random.Random(20160201)
        self.ids: dict[type[Model], Iterator[int]] = {}
        self.rows: dict[type[Model], list[dict[str, Any]]] = {}
        self.makers = range(1, size.manufacturers + 1)
        first_vendor = size.manufacturers + size.distributors + 1
        self.distributors = range(size.manufacturers + 1, first_vendor)
        self.vendors = range(first_vendor, first_vendor + size.vendors)
        self.variants_of = {
            maker: range(maker, size.devices + 1, size.manufacturers) for maker in self.makers
        }
        # What a vendor may list: (vendor, maker, variants or None for all, terms of the last link)
        self.leads: list[tuple[int, int, Sequence[int] | None, dict[str, tuple[str, ...]]]] = []
        self.leads_of: dict[int, list[int]] = {}

    def build(self) -> Store:
        self._ground()
        self._devices()
        self._policy()
        self._affiliations()
        self._agreements()
        approved = self._approvals()
        self._equipment()
        self._listings(approved)
        self._holds()
        for model, rows in self.rows.items():
            _insert(model, rows)
        return Store(
            self.size,
            self._heads("agreement"),
            self._heads("approval"),
            range(1, self.size.devices + 1),
            range(1, self.vendors[-1] + 1),
            self.vendors[0],
        )

    # --- ground

    def _ground(self) -> None:
        for n in range(1, REVISIONS + 1):
            self._add(Revision, n=n, recorded_at=LONG_AGO + timedelta(days=30 * n), actor="exercise bench",
                      reason="benchmark", snapshot="")  # fmt: skip
        kinds = {"manufacturer": self.makers, "distributor": self.distributors, "vendor": self.vendors}
        for kind, ids in kinds.items():
            for n in ids:
                self._add(Organization, id=n, kind=kind, name=f"{kind} {n}", slug=f"{kind}-{n}", country="US",
                          contact_email="", is_simulated=True, created_at=LONG_AGO)  # fmt: skip
        for n, code in enumerate(HOSTS, start=1):
            self._add(HostCarrier, id=n, code=code, name=code.title(), plmn="", contact_email="")
            self._add(Network, id=n, host_id=n, era="2016")
            network = self._version(NetworkVersion, head_id=n, admission=("open", "open", "voice_list", "")[n - 1],
                                    ims_policy="", cs_voice="", source="", confidence="H")  # fmt: skip
            for position, (rat, band, group, voice) in enumerate(
                (("GSM", "PCS1900", "gsm", "CS"), ("UMTS", "B2", "umts", "CS"), ("LTE", "B4", "lte_core", "VoLTE"),
                 ("LTE", f"B{10 + n}", "lte_cov", "VoLTE"))
            ):  # fmt: skip
                self._add(NetworkBand, version_id=network, position=position, rat=rat, band=band, role="",
                          group=group, voice=voice, is_coverage_critical=False, in_service_from="",
                          in_service_until=None, source="", confidence="H", note="")  # fmt: skip
        for n in (1, 2, 3):
            self._add(Hosting, id=n, mvno=settings.SHOP_MVNO, host_id=n, product_name="")
            self._version(HostingVersion, head_id=n, plmn="", apn="", source="", confidence="H", date_source="",
                          date_confidence="H", note="")  # fmt: skip

    def _devices(self) -> None:
        draw = self.draw
        for n in range(1, self.size.devices + 1):
            maker = (n - 1) % self.size.manufacturers + 1
            self._add(Device, id=n, manufacturer_id=maker, brand=f"Brand {maker}", marketing_name=f"Model {n}",
                      slug=f"device-{n}")  # fmt: skip
            self._add(Variant, id=n, device_id=n, slug=f"variant-{n}", model_number=f"M-{n}", codename="",
                      sales_version="", launched_in="", fcc_id="", notes="")  # fmt: skip
            version = self._version(VariantVersion, head_id=n, gsm_confidence="H", umts_confidence="H",
                                    lte_confidence="H", ims_source="", ims_confidence="H")  # fmt: skip
            maker_of_chips = draw.choices(
                ("Qualcomm", "MediaTek", "Exynos", "Spreadtrum"), (60, 25, 14.5, 0.5)
            )[0]
            self._add(VariantAttribute, version_id=version, name="chipset_vendor", value=maker_of_chips)
            bands = [("GSM", "PCS1900"), ("UMTS", "B2"), ("LTE", "B4"), ("LTE", f"B{11 + n % 4}")]
            for rat, band in bands[: 4 if draw.random() < 0.9 else 2]:
                self._add(VariantBand, version_id=version, rat=rat, band=band, is_sw_disabled=False, source="",
                          confidence="H")  # fmt: skip
            self._add(VariantIms, version_id=version, host_id=1 + n % 4, status="yes")

    def _policy(self) -> None:
        self._fact("policy", PolicyVersion, name="Bench", territory="*", is_agreement_enforced=True,
                   minimum_assurance="verified", is_carrier_approval_enforced=True,
                   is_conditional_approval_enough=True, is_equipment_authorization_enforced=True,
                   minimum_radio="")  # fmt: skip

    def _affiliations(self) -> None:
        """Maker 1 belongs to 2, 2 to 3, 4 to 5; 6 and a distributor belong to 7 and 8 and may grant for them."""
        last = self.distributors[-1]
        for child, parent, may_grant in (
            (1, 2, False),
            (2, 3, False),
            (4, 5, False),
            (6, 7, True),
            (last, 8, True),
        ):
            if parent in self.makers:
                self._fact("affiliation", AffiliationVersion, parent_id=parent, child_id=child,
                           may_grant_for_parent=may_grant, document="")  # fmt: skip

    # --- agreements

    def _agreements(self) -> None:
        """Seven in ten straight from a manufacturer; the others through one, two or three distributors."""
        draw = self.draw
        chained = self.size.agreements * 3 // 10
        tiers = [self.distributors[i::3] for i in range(3)]
        carried: dict[int, list[int]] = {}
        upstream = 0
        for distributor in tiers[0]:
            carried[distributor] = draw.sample(self.makers, min(8, len(self.makers)))
            for maker in carried[distributor]:
                self._agreement(maker, distributor, may_sublicense=draw.random() < 0.97)
                upstream += 1
        for tier, above in ((tiers[1], tiers[0]), (tiers[2], tiers[1])):
            for distributor in tier:
                grantors = draw.sample(above, min(2, len(above)))
                carried[distributor] = [maker for grantor in grantors for maker in carried[grantor]]
                for grantor in grantors:
                    self._agreement(grantor, distributor, may_sublicense=draw.random() < 0.97)
                    upstream += 1
        for n in range(chained - upstream):
            vendor, distributor = self.vendors[n % len(self.vendors)], draw.choice(self.distributors)
            makers = carried[distributor]
            models = None
            if draw.random() < 1 / 3:
                models = sorted({self._variant(draw.choice(makers)) for _ in range(draw.randint(5, 40))})
            terms = self._agreement(distributor, vendor, models=models)
            for maker in draw.sample(makers, 2):
                own = [model for model in models or () if model in self.variants_of[maker]]
                if own or models is None:
                    self._lead(vendor, maker, own or None, terms)
        for n in range(self.size.agreements - chained):
            vendor, maker = self.vendors[n % len(self.vendors)], draw.choice(self.makers)
            models = None
            if draw.random() < 1 / 3:
                few = draw.randint(5, 40)
                models = sorted(draw.sample(self.variants_of[maker], min(few, len(self.variants_of[maker]))))
            terms = self._agreement(maker, vendor, models=models)
            self._lead(vendor, maker, models, terms)

    def _lead(
        self, vendor: int, maker: int, models: Sequence[int] | None, terms: dict[str, tuple[str, ...]]
    ) -> None:
        self.leads_of.setdefault(vendor, []).append(len(self.leads))
        self.leads.append((vendor, maker, models, terms))

    def _variant(self, maker: int) -> int:
        return self.draw.choice(self.variants_of[maker])

    def _agreement(
        self,
        grantor: int,
        grantee: int,
        *,
        models: Sequence[int] | None = None,
        may_sublicense: bool = False,
    ) -> dict[str, tuple[str, ...]]:
        draw = self.draw
        terms: dict[str, tuple[str, ...]] = {
            "territory": ("*",)
            if may_sublicense
            else draw.choice((("*",), ("US",), ("US", "CA"), TERRITORIES)),
            "channel": ("*",) if may_sublicense else draw.choice((("*",), ("web",), CHANNELS)),
            "condition": ("*",) if may_sublicense else draw.choice((("*",), ("new",), CONDITIONS)),
        }
        began = NOW - timedelta(days=draw.randint(30, 1200))
        until, revoked_at = NOW + timedelta(days=draw.randint(1, 900)), None
        fate = draw.random() * (4 if may_sublicense else 1)
        if fate < 0.05:
            until = NOW - timedelta(days=draw.randint(0, 25))
        elif fate < 0.08:
            revoked_at = NOW - timedelta(days=draw.randint(0, 25))
        elif fate < 0.09:
            began = NOW + timedelta(days=draw.randint(1, 60))
            until = began + timedelta(days=400)
        version = self._fact(
            "agreement", AgreementVersion, had_one_before=draw.random() < 0.1, grantor_id=grantor,
            grantee_id=grantee, may_sublicense=may_sublicense,
            assurance="claimed" if 0.09 <= fate < 0.12 else "verified",
            state="active" if revoked_at is None else "revoked", revoked_at=revoked_at, reason_code="",
            document="", valid_from=began, valid_until=until,
        )  # fmt: skip
        for dimension, values in (*terms.items(), ("model", map(str, models) if models else ("*",))):
            for value in values:
                self._add(ScopeTerm, version_id=version, dimension=dimension, value=value)
        return terms

    # --- approvals, equipment authorizations

    def _approvals(self) -> dict[int, list[tuple[int, int, str]]]:
        """By maker, the pairs of variant and host that have one, with software that it covers."""
        draw = self.draw
        approved: dict[int, list[tuple[int, int, str]]] = {maker: [] for maker in self.makers}
        pairs = [(n, host) for n in range(1, self.size.devices + 1) for host in (1, 2, 3)]
        for variant, host in draw.sample(pairs, self.size.approvals):
            began = NOW - timedelta(days=draw.randint(30, 900))
            until, waived_until, revoked_at = NOW + timedelta(days=draw.randint(1, 700)), None, None
            state, limits, range_ = "approved", "", ("", "")
            fate = draw.random()
            if fate < 0.04:
                until = NOW - timedelta(days=draw.randint(0, 25))
            elif fate < 0.07:
                state, revoked_at = "revoked", NOW - timedelta(days=draw.randint(0, 25))
            elif fate < 0.10:
                state = draw.choice(("requested", "in_test", "rejected"))
            elif fate < 0.18:
                state, limits = "conditional", "no voice over LTE"
                waived_until = NOW + timedelta(days=draw.randint(-20, 200))
            elif fate < 0.30:
                range_ = draw.choice((("6.0", ""), ("", "7.1"), ("6.0.1", "7.1"), ("7.0", "")))
            keys = [software.sort_key(version) for version in range_]
            self._fact(
                "approval", ApprovalVersion, had_one_before=draw.random() < 0.1, host_id=host, variant_id=variant,
                state=state, revoked_at=revoked_at, limits=limits, waived_until=waived_until,
                software_from=range_[0], software_until=range_[1], software_from_key=keys[0],
                software_until_key=keys[1], reason_code="", document="", valid_from=began, valid_until=until,
            )  # fmt: skip
            maker = (variant - 1) % self.size.manufacturers + 1
            approved[maker].append((variant, host, draw.choice(SOFTWARE[1:]) if any(range_) else ""))
        return approved

    def _equipment(self) -> None:
        draw = self.draw
        for variant in range(1, self.size.devices + 1):
            for territory, share in (("US", 0.97), ("CA", 0.85), ("MX", 0.3)):
                if draw.random() >= share:
                    continue
                granted = NOW - timedelta(days=draw.randint(60, 1400))
                until, revoked_at = FOREVER, None
                fate = draw.random()
                if fate < 0.01:
                    until = NOW - timedelta(days=draw.randint(0, 20))
                elif fate < 0.02:
                    revoked_at = NOW - timedelta(days=draw.randint(0, 20))
                self._fact(
                    "equipment", EquipmentVersion, had_one_before=draw.random() < 0.03, variant_id=variant,
                    territory=territory, regulator="FCC", identifier=f"ID{variant}", granted_at=granted,
                    state="active" if revoked_at is None else "revoked", revoked_at=revoked_at, reason_code="",
                    document="", valid_from=granted, valid_until=until,
                )  # fmt: skip

    # --- listings

    def _listings(self, approved: dict[int, list[tuple[int, int, str]]]) -> None:
        draw = self.draw
        by_pair: dict[int, list[tuple[int, int, str]]] = {}
        for rows in approved.values():
            for row in rows:
                by_pair.setdefault(row[0], []).append(row)
        for n in range(1, self.size.listings + 1):
            vendor, maker, models, terms = self._drawn_lead(n)
            known = approved[maker]
            if models:
                variant = draw.choice(models)
                known = by_pair.get(variant, [])
            if known and draw.random() < 0.97:
                variant, host, ships_with = draw.choice(known)
            else:
                variant, host, ships_with = (
                    draw.choice(models or self.variants_of[maker]),
                    draw.randint(1, 4),
                    "",
                )
            if draw.random() < 0.01:
                ships_with = draw.choice(("", "5.1"))
            listed = {
                "territory": self._within(terms["territory"], TERRITORIES, (85, 13, 2)),
                "channel": self._within(terms["channel"], CHANNELS, (80, 20)),
                "condition": self._within(terms["condition"], CONDITIONS, (80, 12, 8)),
            }
            self._add(Listing, id=n, vendor_id=vendor, sku=f"SKU-{n}", variant_id=variant, software=ships_with,
                      description="", price_amount="99.00", price_currency="USD", version=1, created_at=LONG_AGO,
                      updated_at=LONG_AGO, **listed)  # fmt: skip
            hashed = content_hash(variant_id=variant, host_id=host, software=ships_with, **listed)
            self._add(ListingHost, id=n, listing_id=n, host_id=host, version=1, content_hash=hashed,
                      state="LIVE" if draw.random() < 0.92 else "SUSPENDED", cleared_hash=hashed,
                      decision_id=UUID(int=n), cleared_revision=1, clearance_expires_at=NOW + timedelta(days=9),
                      reason_codes=json.dumps([]), state_changed_at=LONG_AGO)  # fmt: skip

    def _drawn_lead(self, n: int) -> tuple[int, int, Sequence[int] | None, dict[str, tuple[str, ...]]]:
        """What the vendor may list, or, now and then, what it may not."""
        draw = self.draw
        vendor = self.vendors[0] if n <= self.size.of_one_vendor else self.vendors[n % len(self.vendors)]
        if draw.random() < 0.04:
            return (
                vendor,
                draw.choice(self.makers),
                None,
                {}.fromkeys(("territory", "channel", "condition"), ("*",)),
            )
        return self.leads[draw.choice(self.leads_of[vendor])]

    def _within(self, covered: Sequence[str], values: Sequence[str], weights: Sequence[int]) -> str:
        if "*" in covered or self.draw.random() < 0.02:
            return self.draw.choices(values, weights)[0]
        held = [(v, w) for v, w in zip(values, weights, strict=True) if v in covered]
        return self.draw.choices([v for v, _ in held], [w for _, w in held])[0]

    # --- holds

    def _holds(self) -> None:
        draw = self.draw
        makers, devices, vendors = self.makers, range(1, self.size.devices + 1), self.vendors
        listings = range(1, self.size.listings + 1)
        agreements, approvals = self._heads("agreement"), self._heads("approval")
        equipment = self._heads("equipment")
        for _ in range(8):
            self._hold({"vendor": [draw.choice(vendors)]})
        for _ in range(9):
            self._hold({"device": draw.sample(devices, 3)})
        for _ in range(4):
            self._hold({"variant": [draw.choice(devices)], "host": [1, 2]})
        for _ in range(4):
            self._hold({"listing": draw.sample(listings, 5)})
        for _ in range(3):
            self._hold({"manufacturer": [draw.choice(makers)], "territory": ["CA", "MX"]})
        for _ in range(3):
            self._hold({"vendor": draw.sample(vendors, 4), "channel": ["retail"]})
        for _ in range(2):
            self._hold({"manufacturer": [draw.choice(makers)], "condition": ["used"]})
        self._hold({"manufacturer": [2]})
        self._hold({"manufacturer": [min(9, makers[-1])]}, exemptions=[{"vendor": list(vendors[::2])[:90]}])
        self._hold({"attribute:chipset_vendor": ["Spreadtrum"]})
        self._hold(
            {"attribute:chipset_vendor": ["MediaTek"], "territory": ["MX"]}, exemptions=[{"host": [2]}]
        )
        for heads in (agreements, agreements, approvals, equipment):
            self._hold({"fact": draw.sample(heads, min(20, len(heads)))})
        self._hold({"fact": draw.sample(agreements, min(50, len(agreements))), "territory": ["CA"]})
        self._hold({"fact": draw.sample(approvals, min(50, len(approvals))), "channel": ["retail"]},
                   exemptions=[{"condition": ["used"]}])  # fmt: skip
        self._hold({"manufacturer": [min(11, makers[-1])]}, reach="new_grants")
        self._hold({"attribute:chipset_vendor": ["Spreadtrum"], "territory": ["US"]}, reach="all_grants")
        self._hold({"vendor": [vendors[0]]}, valid_from=NOW + timedelta(days=5))
        self._hold({"vendor": [vendors[1]]}, valid_until=NOW - timedelta(days=5))
        for n in range(3):
            self._hold({"manufacturer": [draw.choice(makers)]}, released_at=NOW - timedelta(days=n))

    def _hold(
        self,
        targets: dict[str, Sequence[Any]],
        *,
        exemptions: Sequence[dict[str, Sequence[Any]]] = (),
        reach: str = "sale",
        **fields: Any,
    ) -> None:
        fields = {"valid_from": NOW - timedelta(days=40), "released_at": None} | fields
        version = self._fact("hold", HoldVersion, reach=reach, placed_by="bench", reason_code="SHOP_REVIEW",
                             note="", **fields)  # fmt: skip
        for part, named in enumerate((targets, *exemptions)):
            for dimension, values in named.items():
                for value in values:
                    self._add(
                        HoldTarget, version_id=version, part=part, dimension=dimension, value=str(value)
                    )
            if part:
                self._add(HoldExemption, version_id=version, part=part, valid_from=LONG_AGO, valid_until=FOREVER,
                          note="")  # fmt: skip

    # --- rows

    def _heads(self, kind: str) -> list[int]:
        return [row["id"] for row in self.rows[Fact] if row["kind"] == kind]

    def _fact(self, kind: str, model: type[Model], *, had_one_before: bool = False, **fields: Any) -> int:
        """A fact with its version in force, perhaps after one that it took the place of."""
        head = self._next_id(Fact)
        self._add(Fact, id=head, kind=kind, code=f"{kind}-{head}")
        revision = self.draw.randint(2, REVISIONS)
        if had_one_before:
            self._version(model, head_id=head, rev_from=1, rev_to=revision, **fields)
        return self._version(
            model, head_id=head, rev_from=revision, version_no=2 if had_one_before else 1, **fields
        )

    def _version(self, model: type[Model], **fields: Any) -> int:
        number = self._next_id(model)
        plain = {
            "version_no": 1,
            "valid_from": LONG_AGO,
            "valid_until": FOREVER,
            "rev_from": 1,
            "rev_to": None,
        }
        self._add(model, id=number, **(plain | fields))
        return number

    def _add(self, model: type[Model], **fields: Any) -> None:
        self.rows.setdefault(model, []).append(fields)

    def _next_id(self, model: type[Model]) -> int:
        return next(self.ids.setdefault(model, count(1)))


def _insert(model: type[Model], rows: Sequence[dict[str, Any]]) -> None:
    # What a fact came to have later, and the store does not say, is as where nobody said it.
    unsaid = {
        field.attname: field.get_db_prep_save(field.get_default(), connection)
        for field in model._meta.concrete_fields
        if field.attname not in rows[0] and not field.null and not field.primary_key
    }
    names = [*rows[0], *unsaid]
    columns = ", ".join(connection.ops.quote_name(name) for name in names)
    table = connection.ops.quote_name(model._meta.db_table)
    values = ([*(row[name] for name in rows[0]), *unsaid.values()] for row in rows)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
            return
        marks = ", ".join(["%s"] * len(names))
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(_adapted(values)))


def _adapted(rows: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    adapt = connection.ops.adapt_datetimefield_value
    known: dict[Any, Any] = {}
    for row in rows:
        for value in row:
            if isinstance(value, datetime) and value not in known:
                known[value] = adapt(value)
        yield [
            known[value] if isinstance(value, datetime) else value.hex if isinstance(value, UUID) else value
            for value in row
        ]
