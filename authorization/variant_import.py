"""A sheet of variants against what is stored: what of it cannot be taken, and what each good row would change.

Nothing is written here. The recorder that comes out of it is written by `finish`, or through the front door as
`revocations.CorrectGroundwork`: bands and voice over LTE are ground of authority. Codes, notes and TACs are plain rows.
Everything stored is read in a number of statements that grows with hundreds of rows, not with rows.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from django.db.models import Model
from django.utils.text import slugify

from authorization import groundwork
from authorization.actors import Actor
from authorization.variant_sheet import (
    IMS,
    READ_OVER,
    Fault,
    Sheet,
    SheetRow,
    bands_column,
    off_column,
    read_sheet,
)
from carriers.cells import length_of
from carriers.compatibility import Ims, Rat
from carriers.imei import TEST_BODY
from carriers.models import HostCarrier, ReferenceSource
from carriers.versions import FOREVER
from catalog.models import (
    Device,
    Organization,
    Tac,
    Variant,
    VariantBand,
    VariantSource,
    VariantVersion,
)

# Since when what is recorded of a new variant counts: the first devices that matter here are of that time (own choice).
KNOWN_SINCE = datetime(2014, 1, 1, tzinfo=UTC)
_BATCH = 500
_BAND = tuple(
    field.name for field in VariantBand._meta.concrete_fields if field.name not in ("id", "version")
)
# Column of the sheet -> (field of Variant, what people call it).
_PLAIN = {
    "codename": ("codename", "codename"),
    "region": ("sales_version", "sales version"),
    "launch_ym": ("launched_in", "launch"),
    "fcc_id": ("fcc_id", "FCC ID"),
    "notes": ("notes", "notes"),
}
_REVISIONS = {"hardware_revision": "hardware revision", "software_revision": "software revision"}
# How sure is said of these in columns of the version itself, too, which verdicts read.
OF_VERSION: Mapping[str, str] = {
    VariantSource.Value.GSM: "gsm_confidence",
    VariantSource.Value.UMTS: "umts_confidence",
    VariantSource.Value.LTE: "lte_confidence",
    VariantSource.Value.IMS: "ims_confidence",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of one variant, in words; empty: nothing."""

    value: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """A row that can be taken. Without differences it says what is stored."""

    line: int
    variant: str
    model_number: str
    is_new: bool
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Prepared:
    """`rows`: the good ones. `recorder` asks for all of them; it is empty where they change nothing, or where faults
    refuse the whole file.
    """

    sheet: Sheet
    faults: tuple[Fault, ...]
    rows: tuple[RowOutcome, ...]
    new_makers: tuple[str, ...]
    is_refused: bool
    recorder: groundwork.Recorder

    @property
    def differing(self) -> list[RowOutcome]:
        return [row for row in self.rows if row.is_new or row.differences]

    @property
    def faulty_rows(self) -> int:
        return len({fault.line for fault in self.faults if fault.line})

    def counts(self) -> dict[str, int]:
        return {
            "rows": len(self.sheet.rows),
            "faulty": self.faulty_rows,
            "new": sum(row.is_new for row in self.rows),
            "changed": sum(bool(row.differences) and not row.is_new for row in self.rows),
            "same": sum(not row.differences and not row.is_new for row in self.rows),
        }


def read(content: str) -> Sheet:
    """The sheet by itself, with the hosts and sources that are known now."""
    hosts = HostCarrier.objects.order_by("id").values_list("code", flat=True)
    return read_sheet(content, hosts=list(hosts), sources=_known_sources())


def prepare(
    content: str,
    *,
    by: Actor,
    at: datetime,
    new_makers: bool = False,
    skip_faulty_rows: bool = False,
    reason: str = "variants imported",
) -> Prepared:
    """Compare a sheet with what is stored. Whatever the text, it gives faults or rows and never raises.

    `new_makers`: a manufacturer that is not stored is made; else its rows are faulty. Any fault refuses the whole file,
    unless `skip_faulty_rows`; one of the file as a whole refuses it always.
    """
    sheet = read(content)
    comparison = _Comparison(sheet, new_makers=new_makers, at=at)
    faults = tuple(sorted([*sheet.faults, *comparison.faults], key=lambda fault: (fault.line, fault.column)))
    is_refused = bool(faults) and not (skip_faulty_rows and sheet.is_readable)
    recorder = groundwork.Recorder(by=by, at=at, reason=reason, checked_at=at)
    faulty = {fault.line for fault in faults}
    good = [row for row in sheet.rows if row.line not in faulty] if sheet.is_readable else []
    outcomes = [comparison.take(row) for row in good]
    if not is_refused:
        comparison.ask(recorder)
    return Prepared(
        sheet=sheet,
        faults=faults,
        rows=tuple(outcomes),
        new_makers=comparison.made,
        is_refused=is_refused,
        recorder=recorder,
    )


@dataclass(frozen=True)
class _Wanted:
    """What one good row asks of the recorder."""

    variant: Variant
    radio: Mapping[str, Any] | None
    is_check: bool
    plain: tuple[str, ...]
    is_moved: bool
    tacs_gone: tuple[Tac, ...]
    tacs_new: tuple[Tac, ...]
    tacs_changed: tuple[Tac, ...]


class _Comparison:
    def __init__(self, sheet: Sheet, *, new_makers: bool, at: datetime) -> None:
        self._at, self._allows_new_makers = at, new_makers
        self.faults: list[Fault] = []
        self._wanted: list[_Wanted] = []
        self._makers_made: dict[str, Organization] = {}
        self._devices_made: dict[str, Device] = {}
        self._rows = sheet.rows if sheet.is_readable else []
        self._read_stored()
        self._named: dict[str, SheetRow] = {}
        self._devices_of: dict[int, Device | None] = {row.line: self._device(row) for row in self._rows}
        for row in self._rows:
            self._check_model_number(row)
            self._check_tacs(row)
            self._check_radio(row)

    # --- what is stored -------------------------------------------------------------------------------------

    def _read_stored(self) -> None:
        slugs = [row["variant_id"] for row in self._rows]
        models = [row["model_number"] for row in self._rows]
        variants = Variant.objects.select_related("device__manufacturer")
        self._by_slug: dict[str, Variant] = {
            each.slug: each for each in _found(lambda part: variants.filter(slug__in=part), slugs)
        }
        others = _found(lambda part: variants.filter(model_number__in=part), models)
        self._by_model: dict[str, Variant] = {each.model_number: each for each in others}
        self._versions = groundwork.read_ahead(self._by_slug.values())
        self._tacs: dict[int, list[Tac]] = {}
        ids = [variant.pk for variant in self._by_slug.values()]
        for tac in _found(lambda part: Tac.objects.filter(variant__in=part).order_by("code"), ids):
            self._tacs.setdefault(tac.variant_id, []).append(tac)
        codes = [code for row in self._rows for code in row.many("tacs")]
        self._tac_owners: dict[str, Variant] = {
            tac.code: tac.variant
            for tac in _found(
                lambda part: Tac.objects.filter(code__in=part).select_related("variant__device"), codes
            )
        }
        # Makers are few: all of them, to find one that is spelled otherwise.
        self._organizations = list(Organization.objects.order_by("id")) if self._rows else []
        self._by_name = {each.name: each for each in self._organizations}
        self._by_org_slug = {each.slug: each for each in self._organizations}
        devices = Device.objects.select_related("manufacturer")
        named = _found(
            lambda part: devices.filter(slug__in=part),
            [device_slug(row["brand"], row["marketing_name"]) for row in self._rows],
        ) + _found(
            lambda part: devices.filter(marketing_name__in=part),
            [row["marketing_name"] for row in self._rows],
        )
        self._by_device_slug = {each.slug: each for each in named}
        self._by_device_name = {
            (each.manufacturer_id, each.brand, each.marketing_name): each for each in named
        }

    @property
    def made(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                wanted.variant.device.manufacturer.name
                for wanted in self._wanted
                if wanted.variant.device.manufacturer._state.adding
            )
        )

    # --- what cannot be taken -------------------------------------------------------------------------------

    def _refuse(self, row: SheetRow, column: str, message: str) -> None:
        self.faults.append(Fault(row.line, column, message))

    def _check_model_number(self, row: SheetRow) -> None:
        number = row["model_number"]
        stored, other = self._by_slug.get(row["variant_id"]), self._by_model.get(number)
        if stored is not None and stored.model_number != number:
            self._refuse(
                row,
                "model_number",
                f"{stored.slug} is {stored.model_number} in the store, not {number}: another model number is another "
                "radio. Give it a variant_id of its own.",
            )
        elif other is not None and other.slug != row["variant_id"]:
            self._refuse(
                row,
                "model_number",
                f"{number} is {other.slug} in the store. Write that as the variant_id, or correct the number.",
            )

    def _check_tacs(self, row: SheetRow) -> None:
        for code in row.many("tacs"):
            owner = self._tac_owners.get(code)
            if owner is not None and owner.slug != row["variant_id"]:
                self._refuse(
                    row,
                    "tacs",
                    f"{code} belongs to {owner} ({owner.slug}). Correct it, or take it out there in an import before.",
                )

    def _check_radio(self, row: SheetRow) -> None:
        """Sources without bands make no radio: it would be one that receives nothing."""
        if self._before(row) is not None or _names_bands(row):
            return
        said = [
            column for column in row.cells if _is_of_radio(column) and row[column] not in ("", Ims.UNKNOWN)
        ]
        if said:
            self._refuse(
                row,
                said[0],
                "nothing is recorded of the radio of this phone yet, and the row names no band. Add its bands "
                f"({bands_column(Rat.LTE)}, ...), or empty this cell.",
            )

    def _before(self, row: SheetRow) -> VariantVersion | None:
        stored = self._by_slug.get(row["variant_id"])
        return None if stored is None else self._versions.get(stored.pk)

    def _manufacturer(self, row: SheetRow) -> Organization | None:
        name = row["manufacturer"]
        slug = _maker_slug(name)
        known = self._by_name.get(name)
        if known is not None and known.kind == Organization.Kind.MANUFACTURER:
            return known
        if known is not None:
            self._refuse(
                row,
                "manufacturer",
                f"{known.name} is a {known.get_kind_display()} in the store, no manufacturer. Name the maker of the "
                "phone.",
            )
            return None
        if not slug:
            self._refuse(row, "manufacturer", f"{name!r} holds no letter or digit. Write the maker's name.")
            return None
        alike = self._by_org_slug.get(slug)
        if alike is not None or not self._allows_new_makers:
            near = alike.name if alike is not None else self._nearest(name)
            cure = f"Write {near}" if near else "Correct the name"
            self._refuse(
                row,
                "manufacturer",
                f"there is no manufacturer {name!r} in the store. {cure}"
                + ("." if alike is not None else ", or allow new makers."),
            )
            return None
        made = self._makers_made.setdefault(
            slug,
            Organization(kind=Organization.Kind.MANUFACTURER, name=name, slug=slug, created_at=self._at),
        )
        if made.name != name:
            self._refuse(
                row, "manufacturer", f"{name!r} here, {made.name!r} in another line. Write it one way."
            )
            return None
        return made

    def _nearest(self, name: str) -> str:
        makers = [each.name for each in self._organizations if each.kind == Organization.Kind.MANUFACTURER]
        return next(iter(difflib.get_close_matches(name, makers, n=1)), "")

    def _device(self, row: SheetRow) -> Device | None:
        """The device of the row, stored or to be made; None where the row cannot have one."""
        maker = self._manufacturer(row)
        if maker is None:
            return None
        named = (row["brand"], row["marketing_name"])
        slug = device_slug(row["brand"], row["marketing_name"])
        if not slug:
            self._refuse(row, "marketing_name", "holds no letter or digit. Write the name of the phone.")
            return None
        first = self._named.setdefault(slug, row)
        for column in ("manufacturer", "brand", "marketing_name"):
            if first[column] != row[column]:
                self._refuse(
                    row,
                    column,
                    f"{row[column]!r} here, {first[column]!r} in line {first.line}, and both rows name the device "
                    f"{slug}. Write the same in both, or tell the two devices apart by name.",
                )
                return None
        stored = None if maker._state.adding else self._by_device_name.get((maker.pk, *named))
        if stored is not None:
            return stored
        other = self._by_device_slug.get(slug)
        if other is not None:
            self._refuse(
                row,
                "marketing_name",
                f"the store knows {slug} as {other.brand} {other.marketing_name} of {other.manufacturer}. Write it so, "
                "or tell the two devices apart by name.",
            )
            return None
        return self._devices_made.setdefault(
            slug, Device(manufacturer=maker, brand=named[0], marketing_name=named[1], slug=slug)
        )

    # --- what a good row would change -----------------------------------------------------------------------

    def take(self, row: SheetRow) -> RowOutcome:
        """Of a row without faults: one that has any may lack its device."""
        device: Any = self._devices_of[row.line]
        stored = self._by_slug.get(row["variant_id"])
        before = self._before(row)
        is_check = _is_check(row, before)
        variant = stored or Variant(
            slug=row["variant_id"],
            model_number=row["model_number"],
            device=device,
            checked_at=self._at if is_check else None,
        )
        found: list[Difference] = []
        is_moved = stored is not None and variant.device_id != device.pk
        if is_moved:
            found.append(Difference("device", _say_device(variant.device), _say_device(device)))
            variant.device = device
        plain = self._plain(row, variant, found)
        radio = _radio(row, before, found)
        tacs = self._tacs_of(row, variant, found)
        self._wanted.append(_Wanted(variant, radio, is_check, plain, is_moved, *tacs))
        return RowOutcome(row.line, variant.slug, variant.model_number, stored is None, tuple(found))

    def _plain(self, row: SheetRow, variant: Variant, found: list[Difference]) -> tuple[str, ...]:
        changed = []
        for column, (name, said) in _PLAIN.items():
            if column in row and getattr(variant, name) != row[column]:
                found.append(Difference(said, getattr(variant, name), row[column]))
                setattr(variant, name, row[column])
                changed.append(name)
        return tuple(changed)

    def _tacs_of(
        self, row: SheetRow, variant: Variant, found: list[Difference]
    ) -> tuple[tuple[Tac, ...], tuple[Tac, ...], tuple[Tac, ...]]:
        """(those that go, those that come, those whose source is another)"""
        if "tacs" not in row:
            return (), (), ()
        stored = [] if variant._state.adding else self._tacs.get(variant.pk, [])
        codes = dict.fromkeys(row.many("tacs"))
        gone = tuple(tac for tac in stored if tac.code not in codes)
        known = {tac.code for tac in stored}
        source = row.cells.get("tacs_src", "")
        new = tuple(
            Tac(code=code, variant=variant, is_synthetic=code.startswith(TEST_BODY), source=source)
            for code in codes
            if code not in known
        )
        if gone or new:
            found.append(Difference("TACs", _say(sorted(known)), _say(sorted(codes))))
        changed = tuple(
            tac for tac in stored if tac.code in codes and "tacs_src" in row and tac.source != source
        )
        for tac in changed:
            found.append(Difference(f"source of TAC {tac.code}", tac.source, source))
            tac.source = source
        return gone, new, changed

    def ask(self, recorder: groundwork.Recorder) -> None:
        """The order is that of their dependencies."""
        new: dict[int, Model] = {}
        for wanted in self._wanted:
            variant = wanted.variant
            rows: tuple[Model, ...] = (variant.device.manufacturer, variant.device, variant)
            new |= {id(row): row for row in rows if row._state.adding}
        for model in (Organization, Device, Variant):
            for row in new.values():
                if isinstance(row, model):
                    recorder.create(row)
        for wanted in self._wanted:
            self._ask_one(recorder, wanted)

    def _ask_one(self, recorder: groundwork.Recorder, wanted: _Wanted) -> None:
        variant = wanted.variant
        is_stored = not variant._state.adding
        if is_stored and wanted.is_moved:
            recorder.change(variant, ["device"], is_ground=True)
        if is_stored and wanted.plain:
            recorder.change(variant, wanted.plain)
        if wanted.radio is not None:
            recorder.variant_radio(
                variant=variant,
                current=self._versions.get(variant.pk),
                # What the row does not say is filled in from that version: of another one it would be undone.
                only_upon_seen="file",
                is_check=wanted.is_check,
                **wanted.radio,
            )
        for tac in wanted.tacs_gone:
            recorder.remove(tac)
        for tac in wanted.tacs_new:
            recorder.create(tac)
        for tac in wanted.tacs_changed:
            recorder.change(tac, ["source"])


# --- the radio of one row -----------------------------------------------------------------------------------


def _radio(row: SheetRow, before: VariantVersion | None, found: list[Difference]) -> dict[str, Any] | None:
    """What `Recorder.variant_radio` takes, what the row does not say filled in from what is known; None: it names no
    band, and nothing is known.
    """
    if before is None and not _names_bands(row):
        return None
    known_sources = (
        {each.value: (each.source, each.confidence) for each in before.sources.all()} if before else {}
    )
    sources = _sources(row, known_sources)
    bands = _bands(row, before, known_sources, sources)
    known_ims = {each.host.code: each.status for each in before.ims.all()} if before else {}
    ims = known_ims | {
        column.removeprefix(IMS): value for column, value in row.cells.items() if _is_ims(column)
    }
    fields = _fields(row, before)
    revisions = {name: row.cells.get(name, getattr(before, name) if before else "") for name in _REVISIONS}
    _tell_bands(before, bands, found)
    _tell_each("voice over LTE on ", known_ims, ims, found)
    for name, said in _REVISIONS.items():
        _tell(said, getattr(before, name) if before else "", revisions[name], found)
    _tell_sources(known_sources, sources, found)
    _tell_unsourced(before, fields, sources, found)
    return {
        "fields": fields,
        "bands": bands,
        "ims": ims,
        "sources": sources,
        **revisions,
        "valid_from": before.valid_from if before else KNOWN_SINCE,
        "valid_until": before.valid_until if before else FOREVER,
    }


def _names_bands(row: SheetRow) -> bool:
    return any(row.many(bands_column(rat)) for rat in Rat)


def _is_of_radio(column: str) -> bool:
    is_source = column.endswith(("_src", "_conf")) and column != "tacs_src" and column not in READ_OVER
    return is_source or column.startswith(IMS) or column in _REVISIONS


def _is_check(row: SheetRow, before: VariantVersion | None) -> bool:
    """Does the row say all that is recorded of the radio: bands, and voice over LTE on the hosts?"""
    if not any(bands_column(rat) in row for rat in Rat) or not any(map(_is_ims, row.cells)):
        return False
    if before is None:
        return _names_bands(row)
    columns = {bands_column(Rat(band.rat)) for band in before.bands.all()}
    columns |= {f"{IMS}{each.host.code}" for each in before.ims.all()}
    return columns <= row.cells.keys()


def _is_ims(column: str) -> bool:
    return column.startswith(IMS) and column not in ("ims_src", "ims_conf")


def _sources(row: SheetRow, known: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    said = dict(known)
    for value in VariantSource.Value.values:
        if f"{value}_src" in row:
            said[str(value)] = (row[f"{value}_src"], row[f"{value}_conf"])
    return {value: pair for value, pair in said.items() if any(pair)}


def _fields(row: SheetRow, before: VariantVersion | None) -> dict[str, str]:
    fields = {name: getattr(before, name) if before else "" for name in OF_VERSION.values()}
    fields["ims_source"] = before.ims_source if before else ""
    for value, name in OF_VERSION.items():
        if f"{value}_conf" in row:
            fields[name] = row[f"{value}_conf"]
    if "ims_src" in row:
        fields["ims_source"] = row["ims_src"]
    return fields


def _bands(
    row: SheetRow,
    before: VariantVersion | None,
    known_sources: Mapping[str, tuple[str, str]],
    sources: Mapping[str, tuple[str, str]],
) -> list[dict[str, Any]]:
    """A band that is known keeps its own source, unless the row has another for the bands of its generation."""
    known = {(band.rat, band.band): band for band in before.bands.all()} if before else {}
    rows = []
    for rat in Rat:
        value = rat.lower()
        kept = [name for of, name in known if of == rat]
        names = row.many(bands_column(rat)) if bands_column(rat) in row else kept
        said = sources.get(value, ("", ""))
        is_same_source = known_sources.get(value, ("", "")) == said
        for name in names:
            band = known.get((str(rat), name))
            if band is not None and (is_same_source or f"{value}_src" not in row):
                source, confidence = band.source, band.confidence
            else:
                source, confidence = said
            if off_column(rat) in row:
                is_off = name in row.many(off_column(rat))
            else:
                is_off = band is not None and band.is_sw_disabled
            told = (str(rat), name, is_off, source, confidence)
            rows.append(dict(zip(_BAND, told, strict=True)))
    return rows


def _tell(value: str, before: str, after: str, found: list[Difference]) -> None:
    if before != after:
        found.append(Difference(value, before, after))


def _tell_each(
    what: str, before: Mapping[str, str], after: Mapping[str, str], found: list[Difference]
) -> None:
    for name in dict.fromkeys([*before, *after]):
        _tell(f"{what}{name}", before.get(name, ""), after.get(name, ""), found)


def _tell_bands(
    before: VariantVersion | None, rows: Sequence[Mapping[str, Any]], found: list[Difference]
) -> None:
    known = [{name: getattr(band, name) for name in _BAND} for band in before.bands.all()] if before else []
    for rat in Rat:
        old, new = ([band for band in bands if band["rat"] == rat] for bands in (known, rows))
        said_old, said_new = _say_bands(old), _say_bands(new)
        _tell(f"{rat} bands", said_old, said_new, found)
        origins = {band["band"]: (band["source"], band["confidence"]) for band in old}
        for band in new:
            name = band["band"]
            after = (band["source"], band["confidence"])
            if name in origins and origins[name] != after:
                _tell(f"source of {rat} {name}", _say_pair(origins[name]), _say_pair(after), found)


def _tell_sources(
    before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]], found: list[Difference]
) -> None:
    labels = dict(VariantSource.Value.choices)
    for value in dict.fromkeys([*before, *after]):
        old, new = before.get(value, ("", "")), after.get(value, ("", ""))
        _tell(f"source of {labels.get(value, value)}", _say_pair(old), _say_pair(new), found)


def _tell_unsourced(
    before: VariantVersion | None,
    fields: Mapping[str, str],
    sources: Mapping[str, tuple[str, str]],
    found: list[Difference],
) -> None:
    """How sure a version is, where that changes and no source says so: an older record has no sources."""
    said = {difference.value for difference in found}
    labels = dict(VariantSource.Value.choices)
    for value, name in OF_VERSION.items():
        old = getattr(before, name) if before else ""
        if f"source of {labels[value]}" not in said and old != fields[name]:
            found.append(Difference(f"how sure {labels[value]} are", old, fields[name]))


# --- words --------------------------------------------------------------------------------------------------


def _say(names: Iterable[str]) -> str:
    return ", ".join(names)


def _say_bands(rows: Iterable[Mapping[str, Any]]) -> str:
    named = sorted(rows, key=lambda row: (len(row["band"]), row["band"]))
    return _say(row["band"] + (" (off by software)" if row["is_sw_disabled"] else "") for row in named)


def _say_pair(pair: tuple[str, str]) -> str:
    return ", ".join(part for part in pair if part)


def _say_device(device: Device) -> str:
    return f"{device} of {device.manufacturer}"


def _maker_slug(name: str) -> str:
    return slugify(name)[: length_of(Organization, "slug")]


def device_slug(brand: str, name: str) -> str:
    """What a device is called by; the brand stands in front once."""
    return slugify(name if name.startswith(brand) else f"{brand} {name}")[: length_of(Device, "slug")]


def _known_sources() -> Collection[str]:
    return set(ReferenceSource.objects.values_list("code", flat=True))


def _found(query: Callable[[Sequence[Any]], Iterable[Any]], values: Iterable[Any]) -> list[Any]:
    """The rows that a query finds for these values, some hundred at a time."""
    return [row for part in batched(dict.fromkeys(values), _BATCH) for row in query(part)]
