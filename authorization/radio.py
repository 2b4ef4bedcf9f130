"""The radio ground: the verdict of `carriers.compatibility` for pairs of variant and host, with its dates.

Rows come from the evaluator's second statement, so that what is judged is what was known at the revision asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import NamedTuple

from carriers import compatibility
from carriers.compatibility import DeviceRadio, Ims, Judge, Level, NetworkRules


class VariantRow(NamedTuple):
    version_id: int
    version_no: int
    slug: str
    confidences: tuple[str, str, str]
    valid_from: datetime
    valid_until: datetime


class NetworkRow(NamedTuple):
    network_id: int
    version_id: int
    version_no: int
    host_code: str
    era: str
    admission: str
    valid_from: datetime
    valid_until: datetime


class NetworkBandRow(NamedTuple):
    position: int
    rat: str
    band: str
    group: str
    voice: str
    in_service_until: date | None


@dataclass
class Rows:
    """Versions by variant and by host; bands and voice over LTE by version, of versions in force only."""

    variants: dict[int, list[VariantRow]] = field(default_factory=dict)
    bands: dict[int, list[tuple[str, str, bool]]] = field(default_factory=dict)
    ims: dict[int, dict[int, str]] = field(default_factory=dict)
    networks: dict[int, list[NetworkRow]] = field(default_factory=dict)
    network_bands: dict[int, list[NetworkBandRow]] = field(default_factory=dict)


class Heard(NamedTuple):
    """`level`: one of rules.RADIO_LEVELS, None where nothing is known. `evidence`: (kind, code, id, version)."""

    level: str | None
    boundaries: tuple[datetime, ...]
    evidence: tuple[tuple[str, str, int, int], ...]


class Verdicts:
    def __init__(self, rows: Rows, at: datetime) -> None:
        self._rows, self._at = rows, at
        self._heard: dict[tuple[int, int], Heard] = {}
        self._judges: dict[int, Judge] = {}

    def of(self, variant_id: int, host_id: int) -> Heard:
        pair = variant_id, host_id
        if pair not in self._heard:
            self._heard[pair] = self._judge(variant_id, host_id)
        return self._heard[pair]

    def _judge(self, variant_id: int, host_id: int) -> Heard:
        variants = self._rows.variants.get(variant_id, [])
        networks = self._rows.networks.get(host_id, [])
        boundaries = [instant for row in variants for instant in (row.valid_from, row.valid_until)]
        boundaries += [instant for row in networks for instant in (row.valid_from, row.valid_until)]
        variant = max(_in_force(variants, self._at), key=lambda row: row.valid_from, default=None)
        network = max(
            [row for row in _in_force(networks, self._at) if row.admission],
            key=lambda row: (row.valid_from, row.network_id),
            default=None,
        )
        if network is not None:
            boundaries += [
                datetime.combine(band.in_service_until, time(), UTC)
                for band in self._rows.network_bands.get(network.version_id, [])
                if band.in_service_until is not None
            ]
        if variant is None or network is None:
            return Heard(None, tuple(boundaries), ())
        verdict = self._judge_of(network).assess(self._radio(variant, host_id))
        level = str(verdict.sub) if verdict.level == Level.PARTIAL else str(verdict.level)
        return Heard(
            None if verdict.level == Level.UNKNOWN else level,
            tuple(boundaries),
            (
                ("variant", variant.slug, variant_id, variant.version_no),
                ("network", f"{network.host_code} {network.era}", network.network_id, network.version_no),
            ),
        )

    def _judge_of(self, row: NetworkRow) -> Judge:
        if row.version_id not in self._judges:
            rules = NetworkRules(network=row.host_code, admission=compatibility.Admission(row.admission))
            # The order of the bands fixes the order of reasons in a verdict.
            bands = sorted(self._rows.network_bands.get(row.version_id, []))
            network = [
                compatibility.NetworkBand(
                    rat=compatibility.Rat(band.rat),
                    band=band.band,
                    group=compatibility.Group(band.group),
                    voice=compatibility.Service(band.voice),
                    in_service_until=band.in_service_until,
                )
                for band in bands
            ]
            self._judges[row.version_id] = Judge(network, rules, on=self._at.astimezone(UTC).date())
        return self._judges[row.version_id]

    def _radio(self, row: VariantRow, host_id: int) -> DeviceRadio:
        bands = [
            compatibility.DeviceBand(compatibility.Rat(rat), band, sw_disabled=is_sw_disabled)
            for rat, band, is_sw_disabled in self._rows.bands.get(row.version_id, [])
        ]
        ims = Ims(self._rows.ims.get(row.version_id, {}).get(host_id, Ims.UNKNOWN))
        return DeviceRadio.from_bands(
            bands,
            ims=ims,
            # No host's list is recorded by itself; voice over LTE on the host is known to work for listed models.
            listed=ims == Ims.YES,
            confidence=compatibility.lowest_confidence(row.confidences),
        )


def _in_force[T: (VariantRow, NetworkRow)](rows: Sequence[T], at: datetime) -> list[T]:
    return [row for row in rows if row.valid_from <= at < row.valid_until]
