"""What is recorded of a variant, a network or a hosting, value by value: where each comes from, and how sure it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.conf import settings

from authorization.variant_import import OF_VERSION
from carriers.compatibility import Rat
from carriers.models import Checked, Confidence, HostingVersion, NetworkVersion, ReferenceSource
from carriers.versions import FOREVER
from catalog.models import Variant, VariantSource, VariantVersion
from storefront.admin.desk import say_end

Value = VariantSource.Value
_SURE = {
    "": "not said",
    Confidence.HIGH: "high",
    Confidence.MEDIUM: "medium",
    Confidence.LOW: "low: unverified",
}


@dataclass(frozen=True)
class SourceWords:
    """A code with what it stands for; no words where it is none that is known. `urls`: web addresses only."""

    code: str
    kind: str = ""
    words: str = ""
    urls: tuple[str, ...] = ()
    terms: str = ""


@dataclass(frozen=True)
class ValueLine:
    value: str
    recorded: str
    sources: tuple[SourceWords, ...]
    how_sure: str
    is_low: bool


@dataclass(frozen=True)
class Provenance:
    """`checked`: when it was compared with its sources, in words. `low`: how many values are unverified."""

    lines: tuple[ValueLine, ...]
    checked: str
    is_stale: bool

    @property
    def low(self) -> int:
        return sum(line.is_low for line in self.lines)

    @property
    def legend(self) -> tuple[SourceWords, ...]:
        """The known sources that are named, each once, in the order of their first naming."""
        return tuple(dict.fromkeys(source for line in self.lines for source in line.sources if source.words))


# What one line needs: the value, what is recorded, the codes of its source, the mark.
type _Raw = tuple[str, str, str, str]


def of_variant(variant: Variant, version: VariantVersion | None, *, at: datetime) -> Provenance:
    return _provenance(_lines_of_variant(variant, version), variant, at)


def of_network(version: NetworkVersion, *, at: datetime) -> Provenance:
    return _provenance(_lines_of_network(version), version.head, at)


def of_hosting(version: HostingVersion, *, at: datetime) -> Provenance:
    return _provenance(_lines_of_hosting(version), version.head, at)


def say_checked(record: Checked, *, at: datetime) -> tuple[str, bool]:
    """When a record was last compared with its sources, in words, and whether that is too long ago."""
    if record.checked_at is None:
        return "No check of it is on record.", True
    age = (at.date() - record.checked_at.date()).days
    is_stale = age > settings.REFERENCE_STALE_AFTER_DAYS
    ago = "today" if age <= 0 else f"{age:,} day{'' if age == 1 else 's'} ago"
    said = f"Last checked on {record.checked_at:%Y-%m-%d %H:%M} UTC, {ago}."
    return said, is_stale


def _provenance(raw: Sequence[_Raw], record: Checked, at: datetime) -> Provenance:
    legend = _legend(codes for _, _, codes, _ in raw)
    lines = tuple(
        ValueLine(
            value=value,
            recorded=recorded,
            sources=tuple(legend[code] for code in _codes(codes)),
            how_sure=_SURE.get(mark, mark),
            is_low=mark == Confidence.LOW,
        )
        for value, recorded, codes, mark in raw
    )
    checked, is_stale = say_checked(record, at=at)
    return Provenance(lines, checked, is_stale)


def _legend(sources: Iterable[str]) -> dict[str, SourceWords]:
    wanted = {code for codes in sources for code in _codes(codes)}
    known = {row.code: row for row in ReferenceSource.objects.filter(code__in=wanted)}
    return {code: _words(code, known.get(code)) for code in wanted}


def _words(code: str, row: ReferenceSource | None) -> SourceWords:
    if row is None:
        # People also write a source in words at the desk.
        return SourceWords(code)
    urls = tuple(
        url for part in row.url.split(";") if (url := part.strip()).startswith(("http://", "https://"))
    )
    return SourceWords(code, row.kind, row.source, urls, row.terms)


def _codes(codes: str) -> list[str]:
    return [code.strip() for code in codes.split("+") if code.strip()]


# --- variants -----------------------------------------------------------------------------------------------


def _lines_of_variant(variant: Variant, version: VariantVersion | None) -> list[_Raw]:
    said = {row.value: (row.source, row.confidence) for row in version.sources.all()} if version else {}
    if version is not None:
        # Older records name only how sure they are.
        for value, name in OF_VERSION.items():
            source = version.ims_source if value == Value.IMS else ""
            said.setdefault(value, (source, getattr(version, name)))
    nothing = ("", "")
    lines: list[_Raw] = [
        (
            "Model number and sales version",
            _join(variant.model_number, variant.sales_version),
            *said.get(Value.MODEL, nothing),
        ),
        ("Codename", variant.codename or "not recorded", *nothing),
        ("Launch", variant.launched_in or "not recorded", *said.get(Value.LAUNCH, nothing)),
    ]
    if version is not None:
        lines += [
            ("Hardware revision", version.hardware_revision or "not said", *nothing),
            ("Software revision", version.software_revision or "not said", *nothing),
        ]
        bands = sorted(
            version.bands.all(), key=lambda row: (list(Rat).index(Rat(row.rat)), _band_order(row.band))
        )
        by_rat = {rat: list(rows) for rat, rows in groupby(bands, key=lambda row: row.rat)}
        for rat in Rat:
            lines += _lines_of_bands(rat, by_rat.get(rat, []), said.get(rat.lower()))
        statuses = [
            f"{row.host}: {row.status}" for row in version.ims.select_related("host").order_by("host__name")
        ]
        lines.append(("Voice over LTE", "; ".join(statuses) or "not recorded", *said.get(Value.IMS, nothing)))
    lines.append(("FCC ID", variant.fcc_id or "unknown", *said.get(Value.FCC_ID, nothing)))
    tacs = list(variant.tacs.order_by("source", "code"))
    for source, rows in groupby(tacs, key=lambda tac: tac.source):
        codes = ", ".join(tac.code + (" (invented)" if tac.is_synthetic else "") for tac in rows)
        lines.append(("TACs", codes, source, ""))
    if not tacs:
        lines.append(("TACs", "none recorded", *nothing))
    return lines


def _lines_of_bands(rat: Rat, rows: Sequence[Any], said: tuple[str, str] | None) -> list[_Raw]:
    if said is None:
        said = (rows[0].source, rows[0].confidence) if rows else ("", "")
    names = ", ".join(_say_band(row) for row in rows)
    if not rows:
        names = {"": "not recorded", Confidence.LOW: "none known"}.get(said[1], "has none")
    lines: list[_Raw] = [(f"{rat} bands", names, *said)]
    # A band that somebody corrected by itself has a source of its own.
    return lines + [
        (f"of these, {row.band}", _say_band(row), row.source, row.confidence)
        for row in rows
        if (row.source, row.confidence) not in (said, ("", ""))
    ]


def _say_band(row: Any) -> str:
    return f"{row.band} (off by software)" if row.is_sw_disabled else str(row.band)


def _band_order(name: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, name))
    return int(digits or 0), name


# --- networks and hostings ----------------------------------------------------------------------------------


def _lines_of_network(version: NetworkVersion) -> list[_Raw]:
    said = (version.source, version.confidence)
    lines: list[_Raw] = [
        ("Whom it admits", version.get_admission_display() if version.admission else "not recorded", *said),
        ("Voice over LTE", version.ims_policy or "not recorded", *said),
        ("Circuit-switched voice", version.cs_voice.replace(";", ", ") or "none", *said),
    ]
    for row in version.bands.order_by("position"):
        until = f"in service until {row.in_service_until:%Y-%m-%d}" if row.in_service_until else ""
        since = f"since {row.in_service_from}" if row.in_service_from else ""
        recorded = _join(row.role or row.group, f"voice: {row.voice}", since, until, row.note)
        lines.append((f"{row.rat} {row.band}", recorded, row.source, row.confidence))
    return lines


def _lines_of_hosting(version: HostingVersion) -> list[_Raw]:
    begins = f"from {version.valid_from:%Y-%m-%d}"
    ends = "no end known" if version.valid_until >= FOREVER else f"until {say_end(version.valid_until)}"
    return [
        (
            "Runs on this host",
            _join(version.plmn, version.apn and f"APN {version.apn}"),
            version.source,
            version.confidence,
        ),
        ("When", _join(begins, ends), version.date_source, version.date_confidence),
    ]


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
