"""Writes the checked reference tables into the store, all in one transaction, and only what differs.

Networks, radios of variants and hostings are facts; organizations, devices and variants are plain rows of the
catalog. All go through `authorization.groundwork`, which writes at the end: whose device a variant is, and who makes
it, is read by decisions, so that a change of these opens a revision too.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db.models import Model
from django.utils.text import slugify

from authorization import groundwork
from authorization.actors import Actor
from authorization.variant_import import KNOWN_SINCE, device_slug
from carriers.compatibility import Rat
from carriers.models import Confidence, HostCarrier, HostPlmn, ReferenceSource
from carriers.versions import FOREVER
from catalog.models import Device, Organization, Tac, Variant, VariantSource
from seeds.reference.columns import HOSTS_WITH_IMS
from seeds.reference.tables import Fault, FaultyTables, Row, Tables

# From when until when a snapshot of the networks counts is this project's choice: the sources describe the
# state of about February 2016 and that of 2023-26. The older one reaches back to the first devices that
# matter here.
_BEGINNING = KNOWN_SINCE
# When the shipped tables were put together from their sources: loading them later is no later check.
COMPILED_AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
_TURN = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
ERA_VALIDITY = {"2016": (_BEGINNING, _TURN), "2026": (_TURN, FOREVER)}

# Called with how many records are done, and what the newest is.
Progress = Callable[[int, str], None]


@dataclass
class Report:
    """What one load wrote. `facts`: new versions; `created` and `changed`: plain rows."""

    facts: int = 0
    created: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)

    @property
    def has_written(self) -> bool:
        return bool(self.facts or self.created or self.changed)


def count_records(tables: Tables) -> int:
    """How many steps `load` reports."""
    return (
        len({(row["network"], row["era"]) for row in tables.networks})
        + len(tables.mvno_hosts)
        + len(tables.devices)
    )


def load(
    tables: Tables,
    *,
    by: Actor,
    at: dt.datetime,
    checked_at: dt.datetime | None = None,
    progress: Progress = lambda done, what: None,
) -> Report:
    """Bring the store to what the tables say. The tables win over edits made since the last load.

    `checked_at`: when they were compared with their sources; None: as the shipped ones were. Raises FaultyTables
    where they would make somebody in the store a manufacturer who is none; nothing is written.
    """
    recorder, report = prepare(tables, by=by, at=at, checked_at=checked_at, progress=progress)
    recorder.finish()
    report.facts = recorder.written
    return report


def prepare(
    tables: Tables,
    *,
    by: Actor,
    at: dt.datetime,
    checked_at: dt.datetime | None = None,
    progress: Progress = lambda done, what: None,
) -> tuple[groundwork.Recorder, Report]:
    """What the tables would change, compared and not yet written, so that it can be looked at first.

    `report.facts` stays 0 until the recorder has written. Raises FaultyTables as `load` does.
    """
    report = Report()
    recorder = groundwork.Recorder(
        by=by, at=at, reason="reference data loaded", checked_at=checked_at or min(at, COMPILED_AT)
    )
    loader = _Loader(tables, recorder, report, at)
    for done, what in enumerate(loader.steps(), start=1):
        progress(done, what)
    if loader.faults:
        raise FaultyTables(loader.faults)
    return recorder, report


class _Loader:
    def __init__(
        self, tables: Tables, recorder: groundwork.Recorder, report: Report, at: dt.datetime
    ) -> None:
        self._tables, self._recorder, self._report, self._at = tables, recorder, report, at
        self._hosts: dict[str, HostCarrier] = {}
        # Rows met in this load, by what identifies them: one that is new is in no table yet.
        self._met: dict[tuple[type[Model], str], Any] = {}
        self._new: set[int] = set()
        self._changed: set[int] = set()
        self._named_in: dict[str, Row] = {}
        self.faults: list[Fault] = []

    def steps(self) -> Iterator[str]:
        """Each record is compared as the iterator moves; the order is that of their dependencies."""
        self._sources()
        yield from self._networks()
        self._plmns()
        yield from self._hostings()
        yield from self._variants()
        self._tacs()

    def _sources(self) -> None:
        stored = {row.code: row for row in ReferenceSource.objects.all()}
        for row in self._tables.sources:
            code = row["code"]
            said: dict[str, Any] = {name: row[name] for name in ("kind", "source", "url", "terms")}
            self._put(ReferenceSource, code, partial(stored.get, code), code=code, **said)

    def _plmns(self) -> None:
        stored = {(row.host.code, row.plmn): row for row in HostPlmn.objects.select_related("host")}
        for row in self._tables.plmns:
            key = (row["network"], row["plmn"])
            said: dict[str, Any] = {name: row[name] for name in ("plmn", "source", "confidence", "note")}
            host = self._hosts[row["network"]]
            self._put(HostPlmn, " ".join(key), partial(stored.get, key), host=host, **said)

    def _tacs(self) -> None:
        variants = {row["variant_id"]: self._met[Variant, row["variant_id"]] for row in self._tables.devices}
        stored = {row.code: row for row in Tac.objects.select_related("variant")}
        for row in self._tables.tacs:
            code = row["tac"]
            said = {"variant": variants[row["variant_id"]], "is_synthetic": True, "source": row["source"]}
            self._put(Tac, code, partial(stored.get, code), code=code, **said)

    def _networks(self) -> Iterator[str]:
        snapshots: dict[tuple[str, str], list[Row]] = {}
        for row in self._tables.networks:
            snapshots.setdefault((row["network"], row["era"]), []).append(row)
        rules = {(row["network"], row["era"]): row for row in self._tables.network_rules}
        for (code, era), bands in snapshots.items():
            self._hosts[code] = self._put(
                HostCarrier,
                code,
                HostCarrier.objects.filter(code=code).first,
                code=code,
                name=bands[0]["carrier"],
                plmn=bands[0]["plmn"],
            )
            valid_from, valid_until = ERA_VALIDITY[era]
            self._recorder.network(
                host=self._hosts[code],
                era=era,
                fields=_admission(rules.get((code, era))),
                bands=[_network_band(row) for row in bands],
                valid_from=valid_from,
                valid_until=valid_until,
            )
            self._report.read["network snapshots"] += 1
            yield f"{code} {era}"

    def _hostings(self) -> Iterator[str]:
        for row in self._tables.mvno_hosts:
            self._recorder.hosting(
                mvno=row["mvno"],
                host=self._hosts[row["host"]],
                product_name=row["product_name"],
                fields={
                    name: row[name] for name in ("plmn", "apn", "source", "confidence", "date_source", "note")
                }
                # A start that nobody recorded is at best a guess.
                | {"date_confidence": row["date_confidence"] or Confidence.LOW},
                valid_from=_year_start(row["valid_from"]) if row["valid_from"] else _BEGINNING,
                # The year named is the last one of service (this project's reading; no row has one yet).
                valid_until=_year_start(row["valid_to"], plus=1) if row["valid_to"] else FOREVER,
            )
            self._report.read["hostings"] += 1
            yield f"{row['mvno']} on {row['host']}"

    def _variants(self) -> Iterator[str]:
        bands: dict[str, list[Row]] = {}
        for row in self._tables.device_bands:
            bands.setdefault(row["variant_id"], []).append(row)
        stored = Variant.objects.filter(slug__in=[row["variant_id"] for row in self._tables.devices])
        known = groundwork.read_ahead(stored)
        for row in self._tables.devices:
            variant = self._variant(row)
            rows = bands.get(row["variant_id"], [])
            self._recorder.variant_radio(
                variant=variant,
                fields={
                    **{f"{rat}_confidence": row[f"{rat}_conf"] for rat in ("gsm", "umts", "lte")},
                    "ims_source": row["ims_src"],
                    "ims_confidence": row["ims_conf"],
                },
                bands=[_variant_band(band) for band in rows],
                ims={host: row[f"ims_{host}"] for host in HOSTS_WITH_IMS if host in self._hosts},
                hardware_revision=row["hardware_revision"],
                software_revision=row["software_revision"],
                sources=_sources_of(row, rows),
                valid_from=KNOWN_SINCE,
                current=known.get(variant.pk),
            )
            self._report.read["variants"] += 1
            yield row["variant_id"]

    def _variant(self, row: Row) -> Variant:
        slug = row["variant_id"]
        return self._put(
            Variant,
            slug,
            lambda: Variant.objects.filter(slug=slug).select_related("device__manufacturer").first(),
            ground=("device",),
            slug=slug,
            device=self._device(row),
            model_number=row["model_number"],
            codename=row["codename"],
            sales_version=row["region"],
            launched_in=row["launch_ym"],
            fcc_id=row["fcc_id"],
            notes=row["notes"],
        )

    def _device(self, row: Row) -> Device:
        manufacturer = self._manufacturer(row)
        brand, name = row["brand"], row["marketing_name"]
        slug = device_slug(brand, name)
        first = self._named_in.setdefault(slug, row)
        for column in ("manufacturer", "brand", "marketing_name"):
            if first[column] != row[column]:
                self._refuse(
                    row,
                    column,
                    f"{row[column]!r} here, {first[column]!r} in row {first.number}, and both rows name the device "
                    f"{slug}. Write the same maker, brand and name in both, or tell the two devices apart by name.",
                )
                device: Device = self._met[Device, slug]
                return device

        def stored() -> Device | None:
            devices = Device.objects.select_related("manufacturer")
            named = None
            if manufacturer.pk is not None:
                named = devices.filter(manufacturer=manufacturer, brand=brand, marketing_name=name).first()
            # The same device under another maker.
            return named or devices.filter(slug=slug).first()

        return self._put(
            Device,
            slug,
            stored,
            ground=("manufacturer",),
            slug=slug,
            manufacturer=manufacturer,
            brand=brand,
            marketing_name=name,
        )

    def _manufacturer(self, row: Row) -> Organization:
        """The kind of an organization that is there already is never changed: an agreement may rest on it."""
        maker = row["manufacturer"]
        slug = slugify(maker)
        known: Organization | None = self._met.get((Organization, slug))
        if known is None:
            known = (
                Organization.objects.filter(slug=slug).first()
                or Organization.objects.filter(name=maker).first()
            )
            if known is not None and known.kind != Organization.Kind.MANUFACTURER:
                kind = known.get_kind_display()
                self._refuse(
                    row,
                    "manufacturer",
                    f"{maker!r} is in the store already, as the {kind} {known.name!r} (slug {known.slug}); loading "
                    f"would make it the maker of devices. Name the maker differently here, or give that {kind} "
                    "another name and slug.",
                )
                # Once is enough: other rows of this maker are not refused again.
                self._met[Organization, slug] = known
        if known is not None and known.kind != Organization.Kind.MANUFACTURER:
            return known
        return self._put(
            Organization,
            slug,
            lambda: known,
            only_new={"kind": Organization.Kind.MANUFACTURER, "created_at": self._at},
            slug=slug,
            name=maker,
        )

    def _refuse(self, row: Row, column: str, message: str) -> None:
        self.faults.append(Fault("devices.csv", row.number, column, message))

    def _put[M: Model](
        self,
        model: type[M],
        identity: str,
        stored: Callable[[], M | None],
        *,
        only_new: dict[str, Any] | None = None,
        ground: tuple[str, ...] = (),
        **fields: Any,
    ) -> M:
        """Have the row created, or changed in it only what differs. `ground`: the fields that decisions read."""
        row: M | None = self._met.get((model, identity)) or stored()
        kind = str(model._meta.verbose_name_plural)
        if row is None:
            row = model(**fields, **(only_new or {}))
            self._recorder.create(row)
            self._new.add(id(row))
            self._report.created[kind] += 1
        self._met[model, identity] = row
        differing = [name for name, value in fields.items() if getattr(row, name) != value]
        for name in differing:
            setattr(row, name, fields[name])
        if differing and id(row) not in self._new:
            self._recorder.change(row, differing, is_ground=any(name in ground for name in differing))
            if id(row) not in self._changed:
                self._changed.add(id(row))
                self._report.changed[kind] += 1
        return row


def _admission(row: Row | None) -> dict[str, str]:
    names = ("admission", "ims_policy", "cs_voice", "source", "confidence")
    return {name: row[name] if row else "" for name in names}


def _network_band(row: Row) -> dict[str, Any]:
    until = row["in_service_to"]
    return {
        **{
            name: row[name]
            for name in (
                "rat",
                "band",
                "role",
                "group",
                "voice",
                "in_service_from",
                "source",
                "confidence",
                "note",
            )
        },
        "is_coverage_critical": row["coverage_critical"] == "yes",
        "in_service_until": dt.date.fromisoformat(until) if until else None,
    }


def _variant_band(row: Row) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("rat", "band", "source", "confidence")},
        "is_sw_disabled": row["sw_disabled"] == "1",
    }


def _sources_of(row: Row, bands: list[Row]) -> dict[str, tuple[str, str]]:
    """By value. The wide table has no columns for the source of CDMA bands: the long one says it band by band."""
    said = {
        str(value): (row[f"{value}_src"], row[f"{value}_conf"])
        for value in VariantSource.Value.values
        if value != VariantSource.Value.CDMA
    }
    for band in bands:
        if band["rat"] == Rat.CDMA:
            said.setdefault(str(VariantSource.Value.CDMA), (band["source"], band["confidence"]))
    return {value: pair for value, pair in said.items() if any(pair)}


def _year_start(year: str, *, plus: int = 0) -> dt.datetime:
    return dt.datetime(int(year) + plus, 1, 1, tzinfo=dt.UTC)
