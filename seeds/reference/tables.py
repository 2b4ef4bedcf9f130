"""Reads the reference tables and finds every fault in them before anything is written.

The columns are described in seeds/reference/README.md. A fault names the file, the row (the line that an editor
shows), the column, what is wrong and how to cure it. Values are checked as they stand: nothing is guessed.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from carriers.compatibility import Admission, Group, Ims, Rat, Service
from carriers.models import Confidence, Hosting, HostCarrier, HostingVersion, Network, NetworkBand, NetworkVersion
from catalog.models import Device, Organization, Variant, VariantBand

# Reference data of the project carries two snapshots of each network.
ERAS = ("2016", "2026")
HOSTS_WITH_IMS = ("tmobile", "att", "verizon")
BAND_LISTS = {
    Rat.GSM: "gsm_bands",
    Rat.UMTS: "umts_bands",
    Rat.CDMA: "cdma_bands",
    Rat.LTE: "lte_bands",
    Rat.NR: "nr_bands",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PLMN = re.compile(r"\d{3}-\d{2,3}")
_MONTH = re.compile(r"(?:19|20)\d{2}-(?:0[1-9]|1[0-2])")
_YEAR = re.compile(r"(?:19|20)\d{2}")


@dataclass(frozen=True)
class Fault:
    """One thing wrong in one cell, and its cure. Row 0: the file as a whole."""

    file: str
    row: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.row}:{self.column}: {self.message}"


class FaultyTables(Exception):
    """The tables hold faults; nothing was written."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults in the reference tables")
        self.faults = faults


@dataclass
class Row:
    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def many(self, column: str, separator: str = ";") -> list[str]:
        return [part for part in self.cells[column].split(separator) if part]


@dataclass
class Tables:
    """The tables of one folder, checked."""

    bands: list[Row] = field(default_factory=list)
    sources: list[Row] = field(default_factory=list)
    networks: list[Row] = field(default_factory=list)
    network_rules: list[Row] = field(default_factory=list)
    mvno_hosts: list[Row] = field(default_factory=list)
    devices: list[Row] = field(default_factory=list)
    device_bands: list[Row] = field(default_factory=list)


# A rule answers what is wrong with a value and how to cure it, or None.
Rule = Callable[[str], str | None]


def read_tables(folder: Path) -> Tables:
    """Read and check the whole folder. Raises FaultyTables with every fault that was found."""
    reader = _Reader(folder)
    tables = reader.read()
    if reader.faults:
        raise FaultyTables(reader.faults)
    return tables


class _Reader:
    """One reading of one folder: collects faults instead of stopping at the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[Fault] = []

    def read(self) -> Tables:
        if not self.folder.is_dir():
            self._fault(
                str(self.folder), 0, "-", "is no folder. Name the folder that holds the seven tables with --path."
            )
            return Tables()
        sources = self._rows("sources", _SOURCES)
        self._unique("sources", sources, "code")
        codes = {row["code"] for row in sources}
        # Without the legend every code would look unknown: one fault is enough then.
        source = _sources_in(codes) if codes else _anything
        bands = self._rows("bands", _bands_rules(source))
        self._unique("bands", bands, "rat", "band")
        known = {(row["rat"], row["band"]) for row in bands}
        networks = self._rows("networks", _network_rules(source))
        rules = self._rows("network_rules", _admission_rules(source))
        hostings = self._rows("mvno_hosts", _hosting_rules(source))
        devices = self._rows("devices", _device_rules(source))
        device_bands = self._rows("device_bands", _device_band_rules(source))
        if known:
            self._known_bands(known, networks, devices, device_bands)
        self._check_networks(networks, rules, hostings)
        self._check_devices(devices, device_bands)
        return Tables(bands, sources, networks, rules, hostings, devices, device_bands)

    # --- one file ---------------------------------------------------------------------------------------------

    def _rows(self, table: str, rules: dict[str, Rule]) -> list[Row]:
        file = f"{table}.csv"
        text = self._text(file)
        if text is None:
            return []
        records = self._records(file, text)
        header_line, header = next(records, (1, []))
        if not header:
            self._fault(file, 1, "-", f"is empty. Its first line must name the columns: {', '.join(rules)}.")
            return []
        if not self._check_header(file, header_line, header, list(rules)):
            return []
        rows = list(self._checked(file, header, records, rules))
        if not rows and not any(fault.file == file for fault in self.faults):
            self._fault(file, 1, "-", "has no rows below its header. Restore the file, or add at least one row.")
        return rows

    def _text(self, file: str) -> str | None:
        try:
            raw = (self.folder / file).read_bytes()
        except FileNotFoundError:
            self._fault(file, 0, "-", f"is missing in {self.folder}. Put the file there, or choose a folder with --path.")
            return None
        except OSError as error:
            self._fault(file, 0, "-", f"cannot be read ({error.strerror}). Make it a readable file.")
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = raw.count(b"\n", 0, error.start) + 1
            self._fault(file, row, "-", f"holds byte 0x{raw[error.start]:02x}, which is not UTF-8. Save the file as UTF-8.")
            return None

    def _records(self, file: str, text: str) -> Iterator[tuple[int, list[str]]]:
        """(line where the record starts, its cells); a blank line is no record."""
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        start = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                self._fault(file, start, "-", f"is not readable as CSV ({error}). Quote the cells of this row as RFC 4180 says.")
                return
            if cells is None:
                return
            if cells:
                yield start, cells
            start = reader.line_num + 1

    def _check_header(self, file: str, line: int, header: list[str], expected: list[str]) -> bool:
        before = len(self.faults)
        for column in expected:
            if column not in header:
                self._fault(file, line, column, "this column is missing. Add it to the header and to every row.")
        for column in dict.fromkeys(header):
            if column not in expected:
                self._fault(file, line, column or "-", f"unknown column. Remove it; the columns are: {', '.join(expected)}.")
            elif header.count(column) > 1:
                self._fault(file, line, column, "this column stands twice in the header. Keep one of them.")
        return len(self.faults) == before

    def _checked(
        self, file: str, header: list[str], records: Iterable[tuple[int, list[str]]], rules: dict[str, Rule]
    ) -> Iterator[Row]:
        for line, cells in records:
            if len(cells) != len(header):
                self._fault(
                    file, line, "-", f"has {len(cells)} cells, the header has {len(header)}. Quote cells that hold a comma."
                )
                continue
            row = Row(line, dict(zip(header, cells, strict=True)))
            for column, value in row.cells.items():
                if _CONTROL.search(value):
                    self._fault(file, line, column, "holds a control character. Remove it.")
                elif message := rules[column](value):
                    self._fault(file, line, column, message)
            yield row

    def _unique(self, table: str, rows: list[Row], *columns: str) -> None:
        seen: dict[tuple[str, ...], int] = {}
        for row in rows:
            key = tuple(row[column] for column in columns)
            if key in seen:
                self._fault(
                    f"{table}.csv",
                    row.number,
                    columns[0] if len(columns) == 1 else "+".join(columns),
                    f"{' '.join(key)} stands in row {seen[key]} already. Keep one of the two rows.",
                )
            seen.setdefault(key, row.number)

    def _fault(self, file: str, row: int, column: str, message: str) -> None:
        self.faults.append(Fault(file, row, column, message))

    # --- between files ----------------------------------------------------------------------------------------

    def _known_bands(
        self, known: set[tuple[str, str]], networks: list[Row], devices: list[Row], device_bands: list[Row]
    ) -> None:
        cure = "Correct it, or add the band to bands.csv."
        for table, rows in (("networks", networks), ("device_bands", device_bands)):
            for row in rows:
                if row["rat"] in Rat and (row["rat"], row["band"]) not in known:
                    self._fault(f"{table}.csv", row.number, "band", f"{row['rat']} {row['band']!r} is no band of bands.csv. {cure}")
        for row in devices:
            for rat, column in BAND_LISTS.items():
                for band in row.many(column):
                    if (rat.value, band) not in known:
                        self._fault("devices.csv", row.number, column, f"{rat} {band!r} is no band of bands.csv. {cure}")

    def _check_networks(self, networks: list[Row], rules: list[Row], hostings: list[Row]) -> None:
        self._unique("networks", networks, "network", "era", "rat", "band")
        self._unique("network_rules", rules, "network", "era")
        self._unique("mvno_hosts", hostings, "mvno", "host", "product_name")
        for row in networks:
            if row["group"] in Group and row["rat"] in Rat and Group(row["group"]).rat != row["rat"]:
                self._fault("networks.csv", row.number, "group", f"group {row['group']} is not one of {row['rat']}. Take one that begins with its name.")
        named: dict[str, Row] = {}
        for row in networks:
            first = named.setdefault(row["network"], row)
            for column in ("carrier", "plmn"):
                if row[column] != first[column]:
                    self._fault("networks.csv", row.number, column, f"{row[column]!r} differs from {first[column]!r} in row {first.number}. One network has one {column}.")
        if not networks:
            return
        eras = {(row["network"], row["era"]) for row in networks}
        for row in rules:
            if row["era"] in ERAS and (row["network"], row["era"]) not in eras:
                self._fault("network_rules.csv", row.number, "network", f"networks.csv has no {row['network']} of {row['era']}. Correct the name, or add its bands there.")
        for row in hostings:
            if row["host"] not in named:
                self._fault("mvno_hosts.csv", row.number, "host", f"{row['host']!r} is no network of networks.csv. Take one of: {', '.join(named)}.")
            if row["valid_from"].isdigit() and row["valid_to"].isdigit() and row["valid_to"] < row["valid_from"]:
                self._fault("mvno_hosts.csv", row.number, "valid_to", f"ends ({row['valid_to']}) before it starts ({row['valid_from']}). Swap the years.")

    def _check_devices(self, devices: list[Row], device_bands: list[Row]) -> None:
        self._unique("devices", devices, "variant_id")
        self._unique("devices", devices, "model_number")
        self._unique("device_bands", device_bands, "variant_id", "rat", "band")
        for row in devices:
            for band in row.many("lte_sw_disabled"):
                if band not in row.many("lte_bands"):
                    self._fault("devices.csv", row.number, "lte_sw_disabled", f"{band!r} is not among the lte_bands of this row. Add it there, or remove it here.")
        if devices and device_bands:
            self._check_long_form(devices, device_bands)

    def _check_long_form(self, devices: list[Row], device_bands: list[Row]) -> None:
        """Both tables say the same bands; where they differ, one of them is wrong and a person must look."""
        long_form: dict[str, dict[tuple[str, str], Row]] = {}
        for row in device_bands:
            long_form.setdefault(row["variant_id"], {})[row["rat"], row["band"]] = row
        known = {row["variant_id"] for row in devices}
        for variant, bands in long_form.items():
            if variant not in known:
                first = next(iter(bands.values()))
                self._fault("device_bands.csv", first.number, "variant_id", f"{variant!r} is no variant of devices.csv. Correct the id, or add the device.")
        for row in devices:
            said = long_form.get(row["variant_id"], {})
            for rat, column in BAND_LISTS.items():
                wide = set(row.many(column))
                narrow = {band for (of, band) in said if of == rat.value}
                if wide != narrow:
                    differing = ", ".join(sorted(wide ^ narrow))
                    self._fault("devices.csv", row.number, column, f"device_bands.csv does not agree on {differing}. Make the two tables say the same bands.")
            disabled = {band for (of, band), cell in said.items() if of == Rat.LTE.value and cell["sw_disabled"] == "1"}
            if disabled != set(row.many("lte_sw_disabled")):
                self._fault("devices.csv", row.number, "lte_sw_disabled", "device_bands.csv marks other bands as switched off. Make the two tables agree.")


# --- rules of one cell ------------------------------------------------------------------------------------------


def _anything(value: str) -> str | None:
    return None


def _text(limit: int | None = None, *, required: bool = False) -> Rule:
    def rule(value: str) -> str | None:
        if required and not value.strip():
            return "is empty. Fill it in."
        if value != value.strip():
            return "has blanks at an end. Remove them."
        if limit and len(value) > limit:
            return f"has {len(value)} characters, {limit} fit. Shorten it."
        return None

    return rule


def _one_of(values: Iterable[str], *, optional: bool = False) -> Rule:
    allowed = [str(value) for value in values]

    def rule(value: str) -> str | None:
        if value in allowed or (optional and not value):
            return None
        empty = ", or leave it empty" if optional else ""
        return f"{value!r} is not one of its values. Take {', '.join(allowed)}{empty}."

    return rule


def _matches(pattern: re.Pattern[str], example: str, *, optional: bool = False, limit: int | None = None) -> Rule:
    def rule(value: str) -> str | None:
        if not value:
            return None if optional else f"is empty. Write it like {example}."
        if not pattern.fullmatch(value):
            return f"{value!r} is not valid. Write it like {example}."
        return f"has {len(value)} characters, {limit} fit. Shorten it." if limit and len(value) > limit else None

    return rule


def _list_of(values: Iterable[str]) -> Rule:
    check = _one_of(values)

    def rule(value: str) -> str | None:
        return next((message for part in value.split(";") if value and (message := check(part))), None)

    return rule


def _band_list(value: str) -> str | None:
    bands = value.split(";") if value else []
    if "" in bands or len(bands) != len(set(bands)):
        return f"{value!r} has an empty or a repeated entry. Write each band once, with ';' between."
    return None


def _sources_in(codes: set[str]) -> Rule:
    def rule(value: str) -> str | None:
        unknown = [code for code in value.split("+") if code not in codes] if value else []
        if unknown:
            return f"source {', '.join(map(repr, unknown))} is not in sources.csv. Correct the code, or add it there."
        return None

    return rule


def _day(value: str) -> str | None:
    if not value:
        return None
    try:
        date.fromisoformat(value)
    except ValueError:
        return f"{value!r} is no date. Write it like 2022-07-01, or leave it empty."
    return None if len(value) == len("2022-07-01") else f"{value!r} is no date. Write it like 2022-07-01."


def _megahertz(value: str) -> str | None:
    if not value:
        return None
    try:
        is_sane = 0 < float(value) < 100_000
    except ValueError:
        is_sane = False
    return None if is_sane else f"{value!r} is no frequency. Write MHz as a number, e.g. 1850."


def _length_of(model: type, name: str) -> int | None:
    length: int | None = model._meta.get_field(name).max_length  # type: ignore[attr-defined]
    return length


def _slug(model: type, name: str, example: str) -> Rule:
    return _matches(_SLUG, example, limit=_length_of(model, name))


_CONFIDENCE = _one_of(Confidence.values, optional=True)

_SOURCES: dict[str, Rule] = {
    "code": _text(32, required=True),
    "kind": _text(required=True),
    "source": _text(required=True),
    "url": _text(),
    "terms": _text(),
}


def _bands_rules(source: Rule) -> dict[str, Rule]:
    return {
        "rat": _one_of(Rat),
        "band": _text(_length_of(VariantBand, "band"), required=True),
        "ul_low": _megahertz,
        "ul_high": _megahertz,
        "dl_low": _megahertz,
        "dl_high": _megahertz,
        # SDO: uplink and downlink of a TDD-like pair that the standard lists as such.
        "duplex": _one_of(("FDD", "TDD", "SDL", "SUL", "SDO")),
        "nickname": _text(),
        "source": source,
        "confidence": _CONFIDENCE,
    }


def _network_rules(source: Rule) -> dict[str, Rule]:
    return {
        "network": _slug(HostCarrier, "code", "tmobile"),
        "carrier": _text(_length_of(HostCarrier, "name"), required=True),
        "plmn": _matches(_PLMN, "310-260"),
        "era": _one_of(ERAS),
        "rat": _one_of(Rat),
        "band": _text(_length_of(NetworkBand, "band"), required=True),
        "role": _text(_length_of(NetworkBand, "role")),
        "group": _one_of(Group),
        "coverage_critical": _one_of(("yes", "no")),
        "voice": _one_of(Service),
        "in_service_from": _matches(_MONTH, "2014-12", optional=True),
        "in_service_to": _day,
        "source": source,
        "confidence": _CONFIDENCE,
        "note": _text(),
    }


def _admission_rules(source: Rule) -> dict[str, Rule]:
    return {
        "network": _slug(HostCarrier, "code", "tmobile"),
        "era": _one_of(ERAS),
        "admission": _one_of(Admission),
        "ims_policy": _text(),
        "cs_voice": _list_of(Rat),
        "source": source,
        "confidence": _CONFIDENCE,
    }


def _hosting_rules(source: Rule) -> dict[str, Rule]:
    return {
        "mvno": _text(_length_of(Hosting, "mvno"), required=True),
        "host": _slug(HostCarrier, "code", "tmobile"),
        "product_name": _text(_length_of(Hosting, "product_name")),
        "plmn": _matches(_PLMN, "310-260", optional=True),
        "apn": _text(_length_of(HostingVersion, "apn")),
        "valid_from": _matches(_YEAR, "2015", optional=True),
        "valid_to": _matches(_YEAR, "2018", optional=True),
        "source": source,
        "confidence": _CONFIDENCE,
        "date_source": source,
        "date_confidence": _CONFIDENCE,
        "note": _text(),
    }


def _device_rules(source: Rule) -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        "variant_id": _slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "set": _one_of(("incident2016", "tmo2016", "control2016", "modern")),
        "manufacturer": _text(_length_of(Organization, "name"), required=True),
        "brand": _text(_length_of(Device, "brand"), required=True),
        "marketing_name": _text(_length_of(Device, "marketing_name"), required=True),
        "model_number": _text(_length_of(Variant, "model_number"), required=True),
        "codename": _text(_length_of(Variant, "codename")),
        "region": _text(_length_of(Variant, "sales_version")),
        "launch_ym": _matches(_MONTH, "2015-01", optional=True),
        **{column: _band_list for column in BAND_LISTS.values()},
        "lte_sw_disabled": _band_list,
        **{f"ims_{host}": _one_of(Ims) for host in HOSTS_WITH_IMS},
        "fcc_id": _text(_length_of(Variant, "fcc_id")),
        "tmobile_status_2016_or_now": _text(),
    }
    for group in ("model", "launch", "gsm", "umts", "lte", "nr", "ims", "fcc", "tmobile"):
        rules[f"{group}_src"] = source
        rules[f"{group}_conf"] = _CONFIDENCE
    return rules | {"notes": _text()}


def _device_band_rules(source: Rule) -> dict[str, Rule]:
    return {
        "variant_id": _slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "rat": _one_of(Rat),
        "band": _text(_length_of(VariantBand, "band"), required=True),
        "sw_disabled": _one_of(("0", "1")),
        "source": source,
        "confidence": _CONFIDENCE,
    }
