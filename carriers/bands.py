"""Frequencies of bands, and which band a channel number belongs to. Plain Python.

LTE and NR come from the tables of 3GPP as the library nrarfcn has them, release 19. GSM, UMTS and CDMA are a table of
our own: it holds the bands that phones and networks here use, with values from general knowledge (source K), which
are those of 3GPP TS 45.005 (GSM), TS 25.104 (UMTS) and 3GPP2 C.S0057 (CDMA).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from typing import Any

import nrarfcn
from nrarfcn.tables import get_table

from carriers.compatibility import Rat

_RELEASE = 19


class Duplex(StrEnum):
    """How the two directions share a band. SDL, SDO: downlink only; SUL: uplink only.

    LTE bands without an uplink are FDD where the standard has them so: they are used beside a band that has one.
    """

    FDD = "FDD"
    TDD = "TDD"
    SDL = "SDL"
    SDO = "SDO"
    SUL = "SUL"


class Direction(StrEnum):
    DOWNLINK = "downlink"
    UPLINK = "uplink"
    # Of a band that sends and receives on the same channels, in turns.
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class BandEdges:
    """Edges in MHz; None: the band lacks that direction. `nickname` may fit several bands: go by the name."""

    rat: Rat
    name: str
    ul_low: float | None
    ul_high: float | None
    dl_low: float | None
    dl_high: float | None
    duplex: Duplex
    nickname: str
    source: str


@dataclass(frozen=True, slots=True)
class ChannelMatch:
    """One band that a channel number lies in, the direction in it, and the middle of the channel in MHz."""

    band: str
    direction: Direction
    mhz: float


def band(rat: Rat, name: str) -> BandEdges | None:
    """The band of this exact name, e.g. (LTE, "B12"), (NR, "n71"), (GSM, "PCS1900"). None: there is none."""
    return _table(rat).get(name)


def bands_of(rat: Rat) -> tuple[BandEdges, ...]:
    """All bands of a generation, in the order of their table."""
    return tuple(_table(rat).values())


def bands_of_channel(rat: Rat, channel: int) -> tuple[ChannelMatch, ...]:
    """Where an EARFCN (LTE) or NR-ARFCN (NR) lies; empty where in no band. Other generations: ValueError.

    An EARFCN names its band; an NR-ARFCN names a frequency, which may lie in several. The steps of a band's raster are
    not asked for: a phone also reports the channel of a cell's synchronisation signal, which need not lie on it.
    """
    if rat == Rat.LTE:
        ranges, mhz_of = _channels_of_lte(), _mhz_of_earfcn
    elif rat == Rat.NR:
        ranges, mhz_of = _channels_of_nr(), _mhz_of_nr_arfcn
    else:
        raise ValueError(f"No channel numbers of {rat} are known here: take LTE or NR.")
    return tuple(
        ChannelMatch(name, direction, mhz_of(channel))
        for name, direction, first, last in ranges
        if first <= channel <= last
    )


def _mhz_of_earfcn(channel: int) -> float:
    return float(nrarfcn.get_frequency_by_lte_earfcn(channel, release_3gpp=_RELEASE))


def _mhz_of_nr_arfcn(channel: int) -> float:
    return float(nrarfcn.get_frequency(channel, release_3gpp=_RELEASE))


type _Ranges = tuple[tuple[str, Direction, int, int], ...]


@cache
def _channels_of_lte() -> _Ranges:
    return _channels(Rat.LTE, nrarfcn.get_lte_earfcn_range)


@cache
def _channels_of_nr() -> _Ranges:
    return _channels(Rat.NR, nrarfcn.get_nrarfcn_range)


def _channels(rat: Rat, range_of: Callable[..., tuple[Any, Any]]) -> _Ranges:
    found: list[tuple[str, Direction, int, int]] = []
    for edges in bands_of(rat):
        # The library says N/A, or nothing sensible, where a band lacks a direction.
        sides = [
            (direction, *range_of(edges.name, side, release_3gpp=_RELEASE))
            for direction, side, low in (
                (Direction.DOWNLINK, "dl", edges.dl_low),
                (Direction.UPLINK, "ul", edges.ul_low),
            )
            if low is not None
        ]
        if len(sides) == 2 and sides[0][1:] == sides[1][1:]:
            sides = [(Direction.BOTH, *sides[0][1:])]
        found += [(edges.name, direction, int(first), int(last)) for direction, first, last in sides]
    return tuple(found)


@cache
def _table(rat: Rat) -> Mapping[str, BandEdges]:
    if rat == Rat.LTE:
        return _from_library(rat, "lte_bands")
    if rat == Rat.NR:
        return _from_library(rat, "bands_fr1", "bands_fr2")
    return {edges.name: edges for edges in _OWN if edges.rat == rat}


def _from_library(rat: Rat, *table_ids: str) -> Mapping[str, BandEdges]:
    found = {}
    for table_id in table_ids:
        table = get_table(table_id, _RELEASE)
        source = f"3GPP {table.ts.removeprefix('3GPP ')} (nrarfcn {version('nrarfcn')})"
        for name in table.get_column("band"):
            ul_low, ul_high = _edges(name, "ul")
            dl_low, dl_high = _edges(name, "dl")
            found[name] = BandEdges(
                rat=rat,
                name=name,
                ul_low=ul_low,
                ul_high=ul_high,
                dl_low=dl_low,
                dl_high=dl_high,
                duplex=Duplex(nrarfcn.get_duplex_mode(name, release_3gpp=_RELEASE)),
                nickname=_NICKNAMES.get((rat, name), ""),
                source=source,
            )
    return found


def _edges(name: str, direction: str) -> tuple[float | None, float | None]:
    """The library says N/A where a band lacks a direction."""
    low, high = nrarfcn.get_frequency_range(name, direction, release_3gpp=_RELEASE)
    return (None, None) if isinstance(low, str) else (float(low), float(high))


# What shops and carriers call them, in the US above all. The standards name no band so.
_NICKNAMES: Mapping[tuple[Rat, str], str] = {
    (Rat.LTE, "B2"): "PCS",
    (Rat.LTE, "B4"): "AWS-1",
    (Rat.LTE, "B5"): "CLR",
    (Rat.LTE, "B12"): "700 lower A/B/C",
    (Rat.LTE, "B13"): "700 upper C",
    (Rat.LTE, "B14"): "700 upper D (FirstNet)",
    (Rat.LTE, "B17"): "700 lower B/C",
    (Rat.LTE, "B25"): "PCS+G",
    (Rat.LTE, "B26"): "850+ESMR",
    (Rat.LTE, "B29"): "700 SDL",
    (Rat.LTE, "B30"): "WCS",
    (Rat.LTE, "B41"): "BRS/EBS",
    (Rat.LTE, "B48"): "CBRS",
    (Rat.LTE, "B66"): "AWS-3 (extended AWS)",
    (Rat.LTE, "B71"): "600",
    (Rat.NR, "n5"): "850",
    (Rat.NR, "n25"): "PCS",
    (Rat.NR, "n41"): "2.5 GHz",
    (Rat.NR, "n66"): "AWS",
    (Rat.NR, "n71"): "600",
    (Rat.NR, "n77"): "C-band",
}


def _own(
    rat: Rat, name: str, uplink: tuple[float, float], downlink: tuple[float, float], nickname: str
) -> BandEdges:
    return BandEdges(rat, name, *uplink, *downlink, Duplex.FDD, nickname, "K")


_OWN = (
    _own(Rat.UMTS, "B1", (1920, 1980), (2110, 2170), "2100"),
    _own(Rat.UMTS, "B2", (1850, 1910), (1930, 1990), "PCS 1900"),
    _own(Rat.UMTS, "B4", (1710, 1755), (2110, 2155), "AWS 1700/2100"),
    _own(Rat.UMTS, "B5", (824, 849), (869, 894), "850"),
    _own(Rat.UMTS, "B8", (880, 915), (925, 960), "900"),
    _own(Rat.UMTS, "B9", (1749.9, 1784.9), (1844.9, 1879.9), "1800 JP"),
    _own(Rat.UMTS, "B19", (830, 845), (875, 890), "800 JP"),
    _own(Rat.GSM, "GSM850", (824, 849), (869, 894), ""),
    _own(Rat.GSM, "GSM900", (880, 915), (925, 960), "E-GSM"),
    _own(Rat.GSM, "DCS1800", (1710, 1785), (1805, 1880), ""),
    _own(Rat.GSM, "PCS1900", (1850, 1910), (1930, 1990), ""),
    _own(Rat.CDMA, "BC0", (824, 849), (869, 894), "cellular 800"),
    _own(Rat.CDMA, "BC1", (1850, 1910), (1930, 1990), "PCS 1900"),
    _own(Rat.CDMA, "BC10", (806, 824), (851, 869), "secondary 800 (Sprint)"),
)
