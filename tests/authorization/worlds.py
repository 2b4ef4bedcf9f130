"""Tiny worlds: random histories of a few records over a small cast, as plain values and as rows.

Instants are drawn from a handful, so that equal ones are frequent; most terms are good ones, so that some questions are
allowed. What a world holds at a revision is known without reading it back (`World.facts`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from typing import Any

from django.conf import settings
from hypothesis import strategies as st

from authorization import software, spec
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
from carriers.compatibility import Group, NetworkBand, Rat, Service
from carriers.models import HostCarrier, Hosting, HostingVersion, Network, NetworkVersion
from carriers.models import NetworkBand as NetworkBandRow
from carriers.versions import FOREVER
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

# --- the cast ---------------------------------------------------------------------------------------------------

# Far from what the database numbers by itself.
BASE = 1_000_000
MAKER, BRAND, GROUP, CHILD = BASE + 1, BASE + 2, BASE + 3, BASE + 4
DISTRIBUTORS = (BASE + 11, BASE + 12, BASE + 13)
VENDORS = (BASE + 21, BASE + 22)
# Nobody asks about this vendor, and none of its agreements leads on.
BYSTANDER = BASE + 23
ORGANIZATIONS = {
    MAKER: "manufacturer", BRAND: "manufacturer", GROUP: "manufacturer", CHILD: "manufacturer",
    **dict.fromkeys(DISTRIBUTORS, "distributor"), **dict.fromkeys((*VENDORS, BYSTANDER), "vendor"),
}  # fmt: skip
# device -> manufacturer, variant -> device
DEVICES = {BASE + 31: MAKER, BASE + 32: BRAND}
VARIANTS = {BASE + 41: BASE + 31, BASE + 42: BASE + 31, BASE + 43: BASE + 32}
HOSTS = {BASE + 51: "tmobile", BASE + 52: "att"}
TERRITORIES = ("US", "CA")
CHANNELS = ("web", "retail")
CONDITIONS = ("new", "used")
SOFTWARE = ("", "7.0.5", "7.0.10")
# listing -> (vendor, variant)
LISTINGS = {
    BASE + 61 + place: pair for place, pair in enumerate(product(VENDORS, VARIANTS))
}  # each US, web, new, 7.0.5

# An offer is numbered by its listing and its host.
OFFERS_APART = 1000

T0 = datetime(2016, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANTS = tuple(T0 + number * DAY for number in range(5))
REVISIONS = 4

BANDS = (
    ("LTE", "B2", "lte_core", "VoLTE"),
    ("LTE", "B12", "lte_cov", "VoLTE"),
    ("UMTS", "B4", "umts", "CS"),
    ("GSM", "1900", "gsm", "CS"),
)


def question(**terms: Any) -> Question:
    """Of the first vendor about the first variant, unless said otherwise."""
    variant_id = terms.pop("variant_id", next(iter(VARIANTS)))
    device_id = VARIANTS[variant_id]
    base = Question(
        vendor_id=VENDORS[0], manufacturer_id=DEVICES[device_id], device_id=device_id, variant_id=variant_id,
        host_id=next(iter(HOSTS)), territory="US", channel="web", condition="new", software="7.0.5",
    )  # fmt: skip
    return base._replace(**terms)


def all_questions() -> list[Question]:
    """Every check of the cast. Those on the terms of a listing ask with it."""
    of_terms = {pair: listing_id for listing_id, pair in LISTINGS.items()}
    questions = []
    # A manufacturer may sell its own goods, and a company above it too.
    for vendor, variant, host, territory, channel, condition, version in product(
        (*VENDORS, BRAND, GROUP), VARIANTS, HOSTS, TERRITORIES, CHANNELS, CONDITIONS, SOFTWARE
    ):
        is_listed = (territory, channel, condition, version) == ("US", "web", "new", "7.0.5")
        questions.append(
            question(
                vendor_id=vendor, variant_id=variant, host_id=host, territory=territory, channel=channel,
                condition=condition, software=version,
                listing_id=of_terms.get((vendor, variant)) if is_listed else None,
            )
        )  # fmt: skip
    return questions


# --- histories --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A version of a record, a value of `authorization.spec`, with the revisions between which it was known."""

    record: Any
    rev_from: int = 1
    rev_to: int | None = None


_PLACES = {
    spec.Policy: "policies", spec.Agreement: "agreements", spec.Affiliation: "affiliations",
    spec.Approval: "approvals", spec.Equipment: "equipment", spec.Hold: "holds", spec.Hosting: "hostings",
    spec.Variant: "variants", spec.Network: "networks",
}  # fmt: skip


@dataclass(frozen=True)
class World:
    rows: tuple[Row, ...] = field(default=())

    def facts(self, revision: int = REVISIONS) -> spec.Facts:
        known = [
            row.record
            for row in self.rows
            if row.rev_from <= revision and (row.rev_to is None or revision < row.rev_to)
        ]
        return facts_of(known)

    def without(self, *rows: Row) -> "World":
        return World(tuple(row for row in self.rows if row not in rows))

    def with_records(self, *records: Any, rev_from: int = 1) -> "World":
        return World((*self.rows, *[Row(record, rev_from) for record in records]))


def facts_of(records: list[Any]) -> spec.Facts:
    named: dict[str, list[Any]] = {}
    for record in records:
        named.setdefault(_PLACES[type(record)], []).append(record)
    return spec.Facts(
        operator=settings.SHOP_MVNO, **{name: tuple(members) for name, members in named.items()}
    )


def identity(record: Any) -> int:
    """The id of its head, within its kind."""
    match record:
        case spec.Hosting():
            return record.hosting_id
        case spec.Variant():
            return record.variant_id
        case spec.Network():
            return record.network_id
        case _:
            return int(record.fact_id)


# --- by chance --------------------------------------------------------------------------------------------------


def make_world(random: Random) -> World:
    return World(tuple(_Chances(random).rows()))


# Shrinks towards fewer and plainer records.
worlds = st.randoms(use_true_random=False).map(make_world)


class _Chances:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.heads = iter(range(BASE + 101, BASE + 100_000))
        self.suspendable: list[int] = []
        # In a calm world most things last, so that more is allowed.
        self.is_wild = self.perhaps(1, 2)

    def rows(self) -> Iterator[Row]:
        many = self.random.randint
        if self.perhaps(5, 6):
            yield from self.history(lambda head: replace(self.policy(head), territory="*"), next(self.heads))
        yield from self.of_kind(self.policy, many(0, 3))
        yield from self.of_kind(self.affiliation, many(0, 3))
        yield from self.of_kind(self.agreement, many(2, 10))
        for variant_id, host_id in product(VARIANTS, HOSTS):
            yield from self.of_kind(self.approval(host_id, variant_id), self.one((0, 1, 1, 1, 2)))
        for variant_id, territory in product(VARIANTS, TERRITORIES):
            yield from self.of_kind(self.equipment(variant_id, territory), self.one((0, 1, 1, 1, 2)))
        for host_id in HOSTS:
            yield from self.of_kind(self.hosting(host_id), self.one((0, 1, 1, 1, 1, 2)))
            yield from self.of_kind(self.network(host_id), self.one((0, 1, 1, 1, 2)))
        for variant_id in VARIANTS:
            if not self.perhaps(1, 6):
                yield from self.history(self.variant, variant_id)
        yield from self.of_kind(self.hold, many(0, 5))

    def of_kind(self, make: Callable[[int], Any], number: int) -> Iterator[Row]:
        for _ in range(number):
            yield from self.history(make, next(self.heads))

    def history(self, make: Callable[[int], Any], head: int) -> Iterator[Row]:
        """One to three versions that follow each other; the last is current, or closed without a successor."""
        rev_from, number = self.random.choice((1, 1, 1, 1, 1, 2, 3)), 1
        record = make(head)
        while True:
            rev_to = None
            if rev_from < REVISIONS and self.perhaps(1, 3):
                rev_to = self.random.randint(rev_from + 1, REVISIONS)
            yield Row(replace(record, version_no=number), rev_from, rev_to)
            if rev_to is None or self.perhaps(1, 5):
                return
            rev_from, number = rev_to, number + 1
            record = self.changed(record, make(head))

    def changed(self, record: Any, other: Any) -> Any:
        """Who it is about stays: only its terms change."""
        match record:
            case spec.Agreement():
                return replace(other, grantor_id=record.grantor_id, grantee_id=record.grantee_id)
            case spec.Affiliation():
                return replace(other, parent_id=record.parent_id, child_id=record.child_id)
            case spec.Hosting():
                return replace(other, mvno=record.mvno)
            case _:
                return other

    def perhaps(self, chances: int, of: int) -> bool:
        return self.random.randrange(of) >= of - chances

    def one(self, values: Any) -> Any:
        return self.random.choice(tuple(values))

    def instant(self) -> datetime:
        return self.random.choice(INSTANTS)

    def interval(self) -> dict[str, Any]:
        """Mostly long ones."""
        first = self.random.choice((0, 0, 0, 1, 2, 3) if self.is_wild else (0, 0, 0, 0, 0, 0, 1, 2))
        last = self.random.choice((5, 5, 5, 4, 3, 2, 1) if self.is_wild else (5, 5, 5, 5, 5, 5, 4, 3))
        first, last = min(first, last - 1), max(first + 1, last)
        return {"valid_from": INSTANTS[first], "valid_until": FOREVER if last > 4 else INSTANTS[last]}

    def covers(self, values: Any) -> frozenset[str]:
        which = self.random.randrange(10)
        if which < 6:
            return frozenset({"*"})
        if which == 9:
            return frozenset()
        return frozenset(str(value) for value in values if self.perhaps(3, 4))

    # --- records

    def policy(self, head: int) -> spec.Policy:
        return spec.Policy(
            head,
            **self.interval(),
            territory=self.one(("*", "*", "US", "CA")),
            enforces_agreement=self.perhaps(5, 6),
            demands_verified=self.perhaps(1, 2),
            enforces_approval=self.perhaps(2, 3),
            conditional_is_enough=self.perhaps(1, 2),
            enforces_equipment=self.perhaps(2, 5),
            minimum_radio=self.one(
                ("", "", "", "", "DATA_ONLY", "PARTIAL_2G", "PARTIAL_3G", "PARTIAL_LTE", "FULL")
            ),
        )

    def affiliation(self, head: int) -> spec.Affiliation:
        parent, child = self.one(
            ((MAKER, BRAND), (GROUP, MAKER), (GROUP, BRAND), (MAKER, CHILD), (BRAND, CHILD), (BRAND, GROUP))
        )
        return spec.Affiliation(
            head, parent, child, **self.interval(), may_grant_for_parent=self.perhaps(1, 2)
        )

    def agreement(self, head: int) -> spec.Agreement:
        self.suspendable.append(head)
        # Direct ones, chains, diamonds, and circles: the database permits them.
        grantor = self.one((MAKER, MAKER, BRAND, GROUP, CHILD, *DISTRIBUTORS, *DISTRIBUTORS))
        grantees = (*DISTRIBUTORS, *VENDORS, *VENDORS, *VENDORS, self.one((BRAND, GROUP, VENDORS[0])))
        grantee = self.one([org for org in grantees if org != grantor])
        return spec.Agreement(
            head,
            f"AG-{head}",
            grantor,
            grantee,
            **self.interval(),
            may_sublicense=self.perhaps(4, 5),
            is_verified=self.perhaps(4, 5),
            revoked_at=self.instant() if self.perhaps(1, 5) else None,
            models=self.covers(VARIANTS),
            territories=self.covers(TERRITORIES),
            channels=self.covers(CHANNELS),
            conditions=self.covers(CONDITIONS),
        )

    def approval(self, host_id: int, variant_id: int) -> Callable[[int], spec.Approval]:
        return lambda head: self.one_approval(head, host_id, variant_id)

    def one_approval(self, head: int, host_id: int, variant_id: int) -> spec.Approval:
        self.suspendable.append(head)
        state = self.one(
            ("approved", "approved", "approved", "approved", "conditional", "conditional", "revoked")
        )
        if self.perhaps(1, 8):
            state = self.one(("requested", "in_test", "rejected"))
        is_limited = state == "conditional" or (state == "revoked" and self.perhaps(1, 3))
        return spec.Approval(
            head,
            f"CA-{head}",
            host_id,
            variant_id,
            **self.interval(),
            state=state,
            limits="no B12" if is_limited else "",
            waived_until=self.instant() if is_limited and self.perhaps(1, 2) else None,
            revoked_at=self.instant() if state == "revoked" else None,
            software_from=self.one(("", "", "", "", "6", "7.0.5")),
            software_until=self.one(("", "", "", "", "7.0.10", "8")),
        )

    def equipment(self, variant_id: int, territory: str) -> Callable[[int], spec.Equipment]:
        return lambda head: self.one_equipment(head, variant_id, territory)

    def one_equipment(self, head: int, variant_id: int, territory: str) -> spec.Equipment:
        self.suspendable.append(head)
        interval = self.interval()
        return spec.Equipment(
            head,
            f"EQ-{head}",
            variant_id,
            territory,
            self.one([T0 - DAY, *[instant for instant in INSTANTS if instant <= interval["valid_from"]]]),
            **interval,
            revoked_at=self.instant() if self.perhaps(1, 5) else None,
        )

    def hosting(self, host_id: int) -> Callable[[int], spec.Hosting]:
        mvno = "Other Mobile" if self.perhaps(1, 8) else settings.SHOP_MVNO
        return lambda head: spec.Hosting(head, mvno, host_id, **self.interval())

    def network(self, host_id: int) -> Callable[[int], spec.Network]:
        return lambda head: self.one_network(head, host_id)

    def one_network(self, head: int, host_id: int) -> spec.Network:
        bands = tuple(
            NetworkBand(
                Rat(rat), band, Group(group), Service(voice),
                self.instant().date() if self.perhaps(1, 4) else None,
            )
            for rat, band, group, voice in BANDS
            if self.perhaps(3, 4)
        )  # fmt: skip
        return spec.Network(
            head,
            host_id,
            HOSTS[host_id],
            **self.interval(),
            admission=self.one(("", "open", "open", "open", "voice_list", "list")),
            bands=bands,
        )

    def variant(self, head: int) -> spec.Variant:
        return spec.Variant(
            head,
            **self.interval(),
            bands=frozenset(
                spec.RadioBand(rat, band, self.perhaps(1, 5))
                for rat, band, _, _ in BANDS
                if self.perhaps(3, 4)
            ),
            ims=frozenset(
                (host_id, self.one(("yes", "yes", "yes", "no", "pending", "unknown")))
                for host_id in HOSTS
                if self.perhaps(5, 6)
            ),
            attributes=frozenset(
                pair for pair in (("chipset", "A1"), ("module", "M1"), ("module", "M2")) if self.perhaps(1, 2)
            ),
        )

    def hold(self, head: int) -> spec.Hold:
        targets = self.targets(0)
        if self.suspendable and self.perhaps(1, 3):
            named = {self.one(self.suspendable) for _ in range(self.random.randint(1, 2))}
            targets = targets if self.perhaps(1, 2) else set()
            targets |= {spec.Target(0, "fact", str(fact_id)) for fact_id in named}
        exemptions = set()
        for part in range(1, self.random.choice((1, 1, 2, 3))):
            interval = self.interval()
            exemptions.add(spec.Exemption(part, interval["valid_from"], interval["valid_until"]))
            targets |= self.targets(part)
        is_suspending = any(target.part == 0 and target.dimension == "fact" for target in targets)
        reach = self.one(("sale", "sale", "new_grants", "all_grants"))
        if is_suspending and self.perhaps(4, 5):
            reach = "sale"
        return spec.Hold(
            head,
            f"H-{head}",
            **self.interval(),
            reach=reach,
            released_at=self.instant() if self.perhaps(1, 4) else None,
            targets=frozenset(targets),
            exemptions=frozenset(exemptions),
        )

    def targets(self, part: int) -> set[spec.Target]:
        values: dict[str, Any] = {
            "manufacturer": (MAKER, BRAND, GROUP), "device": DEVICES, "variant": VARIANTS,
            "vendor": (*VENDORS, BRAND), "listing": LISTINGS, "host": HOSTS, "territory": TERRITORIES,
            "channel": CHANNELS, "condition": CONDITIONS, "attribute:chipset": ("A1", "A2"),
            "attribute:module": ("M1", "M2", "M3"),
        }  # fmt: skip
        dimensions = {self.one(values) for _ in range(self.random.choice((0, 1, 1, 2, 2, 2, 3)))}
        return {
            spec.Target(part, dimension, str(self.one(values[dimension])))
            for dimension in sorted(dimensions)
            for _ in range(self.random.choice((1, 1, 2)))
        }


# --- as rows ----------------------------------------------------------------------------------------------------


def write(world: World, *, with_offers: bool = False) -> None:
    """Into an empty database, within the caller's transaction."""
    _write_cast(with_offers)
    Revision.objects.bulk_create(
        [
            Revision(
                n=n, recorded_at=T0 - DAY + n * timedelta(seconds=1), actor="test", reason="", snapshot=""
            )
            for n in range(1, REVISIONS + 1)
        ]
    )
    write_records(world)


def write_records(world: World) -> None:
    heads = {identity(row.record): row.record for row in world.rows}
    kinds = {
        spec.Agreement: "agreement", spec.Approval: "approval", spec.Equipment: "equipment", spec.Hold: "hold",
        spec.Affiliation: "affiliation", spec.Policy: "policy",
    }  # fmt: skip
    Fact.objects.bulk_create(
        [
            Fact(id=head, kind=kinds[type(record)], code=getattr(record, "code", f"F-{head}"))
            for head, record in heads.items()
            if type(record) in kinds
        ]
    )
    Hosting.objects.bulk_create(
        [
            Hosting(id=head, mvno=record.mvno, host_id=record.host_id, product_name=str(head))
            for head, record in heads.items()
            if isinstance(record, spec.Hosting)
        ]
    )
    Network.objects.bulk_create(
        [
            Network(id=head, host_id=record.host_id, era=str(head))
            for head, record in heads.items()
            if isinstance(record, spec.Network)
        ]
    )
    made: dict[type[Any], list[tuple[Any, Any]]] = {}
    for row in world.rows:
        version = _version(row.record)
        version.head_id = identity(row.record)
        version.version_no = row.record.version_no
        version.valid_from, version.valid_until = row.record.valid_from, row.record.valid_until
        version.rev_from, version.rev_to = row.rev_from, row.rev_to
        made.setdefault(type(version), []).append((version, row.record))
    children: dict[type[Any], list[Any]] = {}
    for model, pairs in made.items():
        model._default_manager.bulk_create([version for version, _ in pairs])
        for version, record in pairs:
            for child in _children(record):
                child.version_id = version.pk
                children.setdefault(type(child), []).append(child)
    for model, rows in children.items():
        model._default_manager.bulk_create(rows)


def _version(record: Any) -> Any:
    match record:
        case spec.Policy():
            return PolicyVersion(
                name=f"P-{record.fact_id}",
                territory=record.territory,
                is_agreement_enforced=record.enforces_agreement,
                minimum_assurance="verified" if record.demands_verified else "claimed",
                is_carrier_approval_enforced=record.enforces_approval,
                is_conditional_approval_enough=record.conditional_is_enough,
                is_equipment_authorization_enforced=record.enforces_equipment,
                minimum_radio=record.minimum_radio,
            )
        case spec.Agreement():
            return AgreementVersion(
                grantor_id=record.grantor_id,
                grantee_id=record.grantee_id,
                may_sublicense=record.may_sublicense,
                assurance="verified" if record.is_verified else "claimed",
                state="active" if record.revoked_at is None else "revoked",
                revoked_at=record.revoked_at,
            )
        case spec.Affiliation():
            return AffiliationVersion(
                parent_id=record.parent_id,
                child_id=record.child_id,
                may_grant_for_parent=record.may_grant_for_parent,
            )
        case spec.Approval():
            return ApprovalVersion(
                host_id=record.host_id,
                variant_id=record.variant_id,
                state=record.state,
                revoked_at=record.revoked_at,
                limits=record.limits,
                waived_until=record.waived_until,
                software_from=record.software_from,
                software_until=record.software_until,
                software_from_key=software.sort_key(record.software_from),
                software_until_key=software.sort_key(record.software_until),
            )
        case spec.Equipment():
            return EquipmentVersion(
                variant_id=record.variant_id,
                territory=record.territory,
                regulator="FCC",
                granted_at=record.granted_at,
                state="active" if record.revoked_at is None else "revoked",
                revoked_at=record.revoked_at,
            )
        case spec.Hold():
            return HoldVersion(
                reach=record.reach, placed_by="the shop", reason_code="REVIEW", released_at=record.released_at
            )
        case spec.Hosting():
            return HostingVersion()
        case spec.Variant():
            return VariantVersion()
        case spec.Network():
            return NetworkVersion(admission=record.admission)
    raise TypeError(type(record))


def _children(record: Any) -> Iterator[Any]:
    match record:
        case spec.Agreement():
            scopes = {
                "model": record.models, "territory": record.territories, "channel": record.channels,
                "condition": record.conditions,
            }  # fmt: skip
            for dimension, values in scopes.items():
                for value in sorted(values):
                    yield ScopeTerm(dimension=dimension, value=value)
        case spec.Hold():
            for target in sorted(record.targets):
                yield HoldTarget(part=target.part, dimension=target.dimension, value=target.value)
            for exemption in sorted(record.exemptions):
                yield HoldExemption(
                    part=exemption.part, valid_from=exemption.valid_from, valid_until=exemption.valid_until
                )
        case spec.Variant():
            for band in sorted(record.bands):
                yield VariantBand(rat=band.rat, band=band.band, is_sw_disabled=band.is_sw_disabled)
            for host_id, status in sorted(record.ims):
                yield VariantIms(host_id=host_id, status=status)
            for name, value in sorted(record.attributes):
                yield VariantAttribute(name=name, value=value)
        case spec.Network():
            for place, row in enumerate(record.bands):
                yield NetworkBandRow(
                    position=place,
                    rat=row.rat,
                    band=row.band,
                    group=row.group,
                    voice=row.voice,
                    in_service_until=row.in_service_until,
                )


def _write_cast(with_offers: bool) -> None:
    Organization.objects.bulk_create(
        [
            Organization(id=number, kind=kind, name=f"O-{number}", slug=f"o-{number}", created_at=T0)
            for number, kind in ORGANIZATIONS.items()
        ]
    )
    Device.objects.bulk_create(
        [
            Device(
                id=number, manufacturer_id=maker, brand="B", marketing_name=f"D-{number}", slug=f"d-{number}"
            )
            for number, maker in DEVICES.items()
        ]
    )
    Variant.objects.bulk_create(
        [
            Variant(id=number, device_id=device, slug=f"v-{number}", model_number=f"M-{number}")
            for number, device in VARIANTS.items()
        ]
    )
    HostCarrier.objects.bulk_create(
        [HostCarrier(id=number, code=code, name=code) for number, code in HOSTS.items()]
    )
    if not with_offers:
        return
    Listing.objects.bulk_create(
        [
            Listing(
                id=number, vendor_id=vendor, sku=f"S-{number}", variant_id=variant, condition="new", territory="US",
                channel="web", software="7.0.5", price_amount=1, created_at=T0, updated_at=T0,
            )
            for number, (vendor, variant) in LISTINGS.items()
        ]
    )  # fmt: skip
    ListingHost.objects.bulk_create(
        [
            ListingHost(
                id=BASE + (number - BASE) * OFFERS_APART + host - BASE,
                listing_id=number,
                host_id=host,
                content_hash="x",
                state_changed_at=T0,
            )
            for number, host in product(LISTINGS, HOSTS)
        ]
    )
