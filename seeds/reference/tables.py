"""Reads the reference tables and finds every fault in them before anything is written.

The columns are described in seeds/reference/README.md. A fault names the file, the row (the line that an
editor shows), the column, what is wrong and how to cure it. Values are checked as they stand: nothing is
guessed.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from carriers.cells import CONTROL, Rules, anything, sources_in
from carriers.compatibility import Group, Rat
from seeds.reference import columns
from seeds.reference.columns import BAND_LISTS, ERAS


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
    plmns: list[Row] = field(default_factory=list)
    tacs: list[Row] = field(default_factory=list)


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
                str(self.folder),
                0,
                "-",
                "is no folder. Name the folder that holds the nine tables with --path.",
            )
            return Tables()
        sources = self._rows("sources", columns.SOURCES)
        self._unique("sources", sources, "code")
        codes = {row["code"] for row in sources}
        # Without the legend every code would look unknown: one fault is enough then.
        source = sources_in(codes, kept_in="sources.csv") if codes else anything
        bands = self._rows("bands", columns.bands(source))
        self._unique("bands", bands, "rat", "band")
        known = {(row["rat"], row["band"]) for row in bands}
        networks = self._rows("networks", columns.networks(source))
        rules = self._rows("network_rules", columns.network_rules(source))
        hostings = self._rows("mvno_hosts", columns.mvno_hosts(source))
        devices = self._rows("devices", columns.devices(source))
        device_bands = self._rows("device_bands", columns.device_bands(source))
        plmns = self._rows("plmns", columns.plmns(source))
        tacs = self._rows("tacs", columns.tacs(source))
        if known:
            self._known_bands(known, networks, devices, device_bands)
        self._check_networks(networks, rules, hostings)
        self._check_devices(devices, device_bands)
        self._check_plmns(plmns, networks)
        self._check_tacs(tacs, devices)
        return Tables(bands, sources, networks, rules, hostings, devices, device_bands, plmns, tacs)

    # --- one file -----------------------------------------------------------------------------------------

    def _rows(self, table: str, rules: Rules) -> list[Row]:
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
            self._fault(
                file, 1, "-", "has no rows below its header. Restore the file, or add at least one row."
            )
        return rows

    def _text(self, file: str) -> str | None:
        try:
            raw = (self.folder / file).read_bytes()
        except FileNotFoundError:
            self._fault(
                file,
                0,
                "-",
                f"is missing in {self.folder}. Put the file there, or choose a folder with --path.",
            )
            return None
        except OSError as error:
            self._fault(file, 0, "-", f"cannot be read ({error.strerror}). Make it a readable file.")
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = raw.count(b"\n", 0, error.start) + 1
            self._fault(
                file,
                row,
                "-",
                f"holds byte 0x{raw[error.start]:02x}, which is not UTF-8. Save the file as UTF-8.",
            )
            return None

    def _records(self, file: str, text: str) -> Iterator[tuple[int, list[str]]]:
        """(line where the record starts, its cells); a blank line is no record."""
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        start = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                self._fault(
                    file,
                    start,
                    "-",
                    f"is not readable as CSV ({error}). Quote the cells of this row as RFC 4180 says.",
                )
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
                self._fault(
                    file, line, column, "this column is missing. Add it to the header and to every row."
                )
        for column in dict.fromkeys(header):
            if column not in expected:
                self._fault(
                    file,
                    line,
                    column or "-",
                    f"unknown column. Remove it; the columns are: {', '.join(expected)}.",
                )
            elif header.count(column) > 1:
                self._fault(file, line, column, "this column stands twice in the header. Keep one of them.")
        return len(self.faults) == before

    def _checked(
        self, file: str, header: list[str], records: Iterable[tuple[int, list[str]]], rules: Rules
    ) -> Iterator[Row]:
        for line, cells in records:
            if len(cells) != len(header):
                self._fault(
                    file,
                    line,
                    "-",
                    f"has {len(cells)} cells, the header has {len(header)}. Quote cells that hold a comma.",
                )
                continue
            row = Row(line, dict(zip(header, cells, strict=True)))
            for column, value in row.cells.items():
                if CONTROL.search(value):
                    self._fault(file, line, column, "holds a control character. Remove it.")
                elif message := rules[column](value):
                    self._fault(file, line, column, message)
            yield row

    def _unique(self, table: str, rows: list[Row], *key_columns: str) -> None:
        seen: dict[tuple[str, ...], int] = {}
        for row in rows:
            key = tuple(row[column] for column in key_columns)
            if key in seen:
                self._fault(
                    f"{table}.csv",
                    row.number,
                    key_columns[0] if len(key_columns) == 1 else "+".join(key_columns),
                    f"{' '.join(key)} stands in row {seen[key]} already. Keep one of the two rows.",
                )
            seen.setdefault(key, row.number)

    def _fault(self, file: str, row: int, column: str, message: str) -> None:
        self.faults.append(Fault(file, row, column, message))

    # --- between files ------------------------------------------------------------------------------------

    def _known_bands(
        self, known: set[tuple[str, str]], networks: list[Row], devices: list[Row], device_bands: list[Row]
    ) -> None:
        cure = "Correct it, or add the band to bands.csv."
        for table, rows in (("networks", networks), ("device_bands", device_bands)):
            for row in rows:
                if row["rat"] in Rat and (row["rat"], row["band"]) not in known:
                    self._fault(
                        f"{table}.csv",
                        row.number,
                        "band",
                        f"{row['rat']} {row['band']!r} is no band of bands.csv. {cure}",
                    )
        for row in devices:
            for rat, column in BAND_LISTS.items():
                for band in row.many(column):
                    if (rat.value, band) not in known:
                        self._fault(
                            "devices.csv",
                            row.number,
                            column,
                            f"{rat} {band!r} is no band of bands.csv. {cure}",
                        )

    def _check_networks(self, networks: list[Row], rules: list[Row], hostings: list[Row]) -> None:
        self._unique("networks", networks, "network", "era", "rat", "band")
        self._unique("network_rules", rules, "network", "era")
        self._unique("mvno_hosts", hostings, "mvno", "host", "product_name")
        for row in networks:
            if row["group"] in Group and row["rat"] in Rat and Group(row["group"]).rat != row["rat"]:
                self._fault(
                    "networks.csv",
                    row.number,
                    "group",
                    f"group {row['group']} is not one of {row['rat']}. Take one that begins with its name.",
                )
        named: dict[str, Row] = {}
        for row in networks:
            first = named.setdefault(row["network"], row)
            for column in ("carrier", "plmn"):
                if row[column] != first[column]:
                    self._fault(
                        "networks.csv",
                        row.number,
                        column,
                        f"{row[column]!r} differs from {first[column]!r} in row {first.number}. "
                        f"Give one network one {column}.",
                    )
        if not networks:
            return
        eras = {(row["network"], row["era"]) for row in networks}
        for row in rules:
            if row["era"] in ERAS and (row["network"], row["era"]) not in eras:
                self._fault(
                    "network_rules.csv",
                    row.number,
                    "network",
                    f"networks.csv has no {row['network']} of {row['era']}. "
                    "Correct the name, or add its bands there.",
                )
        for row in hostings:
            if row["host"] not in named:
                self._fault(
                    "mvno_hosts.csv",
                    row.number,
                    "host",
                    f"{row['host']!r} is no network of networks.csv. Take one of: {', '.join(named)}.",
                )
            if (
                row["valid_from"].isdigit()
                and row["valid_to"].isdigit()
                and row["valid_to"] < row["valid_from"]
            ):
                self._fault(
                    "mvno_hosts.csv",
                    row.number,
                    "valid_to",
                    f"ends ({row['valid_to']}) before it starts ({row['valid_from']}). Swap the years.",
                )

    def _check_plmns(self, plmns: list[Row], networks: list[Row]) -> None:
        self._unique("plmns", plmns, "network", "plmn")
        main = {row["network"]: row["plmn"] for row in networks}
        for row in plmns:
            if networks and row["network"] not in main:
                self._fault(
                    "plmns.csv",
                    row.number,
                    "network",
                    f"{row['network']!r} is no network of networks.csv. Take one of: {', '.join(main)}.",
                )
            elif main.get(row["network"]) == row["plmn"]:
                self._fault(
                    "plmns.csv",
                    row.number,
                    "plmn",
                    f"{row['plmn']} is the main code of {row['network']} in networks.csv. Remove the row here.",
                )

    def _check_tacs(self, tacs: list[Row], devices: list[Row]) -> None:
        self._unique("tacs", tacs, "tac")
        known = {row["variant_id"] for row in devices}
        for row in tacs:
            if known and row["variant_id"] not in known:
                self._fault(
                    "tacs.csv",
                    row.number,
                    "variant_id",
                    f"{row['variant_id']!r} is no variant of devices.csv. Correct the id, or add the device.",
                )

    def _check_devices(self, devices: list[Row], device_bands: list[Row]) -> None:
        self._unique("devices", devices, "variant_id")
        self._unique("devices", devices, "model_number")
        self._unique("device_bands", device_bands, "variant_id", "rat", "band")
        for row in devices:
            for band in row.many("lte_sw_disabled"):
                if band not in row.many("lte_bands"):
                    self._fault(
                        "devices.csv",
                        row.number,
                        "lte_sw_disabled",
                        f"{band!r} is not among the lte_bands of this row. Add it there, or remove it here.",
                    )
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
                self._fault(
                    "device_bands.csv",
                    first.number,
                    "variant_id",
                    f"{variant!r} is no variant of devices.csv. Correct the id, or add the device.",
                )
        for row in devices:
            said = long_form.get(row["variant_id"], {})
            for rat, column in BAND_LISTS.items():
                wide = set(row.many(column))
                narrow = {band for (of, band) in said if of == rat.value}
                if wide != narrow:
                    differing = ", ".join(sorted(wide ^ narrow))
                    self._fault(
                        "devices.csv",
                        row.number,
                        column,
                        f"device_bands.csv does not agree on {differing}. "
                        "Make the two tables say the same bands.",
                    )
            disabled = {
                band
                for (of, band), cell in said.items()
                if of == Rat.LTE.value and cell["sw_disabled"] == "1"
            }
            if disabled != set(row.many("lte_sw_disabled")):
                self._fault(
                    "devices.csv",
                    row.number,
                    "lte_sw_disabled",
                    "device_bands.csv marks other bands as switched off. Make the two tables agree.",
                )
