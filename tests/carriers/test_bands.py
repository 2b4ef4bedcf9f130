"""Frequencies of bands, and channel numbers: the library's tables, our own, and the reference file say the same."""

import pytest

from carriers.bands import BandEdges, ChannelMatch, Direction, Duplex, band, bands_of, bands_of_channel
from carriers.compatibility import COVERS, Rat
from tests.carriers.reference import table

BANDS = table("bands")


@pytest.mark.parametrize("row", BANDS, ids=[f"{row['rat']}-{row['band']}" for row in BANDS])
def test_the_reference_file_says_what_the_tables_say(row: dict[str, str]) -> None:
    found = band(Rat(row["rat"]), row["band"])
    assert found is not None
    said = {name: str(getattr(found, name) or "") for name in ("ul_low", "ul_high", "dl_low", "dl_high")}
    assert {name: float(value) if value else None for name, value in said.items()} == {
        name: float(row[name]) if row[name] else None for name in said
    }
    assert (found.duplex, found.nickname) == (row["duplex"], row["nickname"])


def test_no_band_of_the_tables_is_missing_in_the_reference_file() -> None:
    assert [(str(edges.rat), edges.name) for rat in (Rat.LTE, Rat.NR) for edges in bands_of(rat)] == [
        (row["rat"], row["band"]) for row in BANDS if row["rat"] in ("LTE", "NR")
    ]
    assert {edges.name for rat in (Rat.GSM, Rat.UMTS, Rat.CDMA) for edges in bands_of(rat)} == {
        row["band"] for row in BANDS if row["rat"] not in ("LTE", "NR")
    }


def test_a_band_says_where_its_values_come_from() -> None:
    lte, nr, gsm = band(Rat.LTE, "B12"), band(Rat.NR, "n71"), band(Rat.GSM, "PCS1900")
    assert lte == BandEdges(
        Rat.LTE,
        "B12",
        699,
        716,
        729,
        746,
        Duplex.FDD,
        "700 lower A/B/C",
        "3GPP TS 36.104 V19.2.0 (nrarfcn 2.6.0)",
    )
    assert nr is not None
    assert nr.source.startswith("3GPP TS 38.104 V19")
    assert gsm is not None
    assert gsm.source == "K"


@pytest.mark.parametrize(
    ("rat", "name"),
    [
        (Rat.LTE, "b12"),
        (Rat.LTE, "12"),
        (Rat.LTE, "n71"),
        (Rat.LTE, "B999"),
        (Rat.NR, "B12"),
        (Rat.GSM, "850"),
    ],
)
def test_only_the_exact_name_of_a_generation_is_a_band(rat: Rat, name: str) -> None:
    assert band(rat, name) is None


def test_a_band_without_an_uplink_has_no_edges_there() -> None:
    b29 = band(Rat.LTE, "B29")
    assert b29 is not None
    assert (b29.ul_low, b29.ul_high, b29.dl_low) == (None, None, 717)


@pytest.mark.parametrize(
    ("rat", "channel", "found"),
    [
        # 3GPP TS 36.101, table 5.7.3-1: F = F_low + 0.1 (N - N_offset).
        (Rat.LTE, 5110, [("B12", Direction.DOWNLINK, 739.0)]),
        (Rat.LTE, 23095, [("B12", Direction.UPLINK, 707.5)]),
        (Rat.LTE, 300, [("B1", Direction.DOWNLINK, 2140.0)]),
        (Rat.LTE, 9660, [("B29", Direction.DOWNLINK, 717.0)]),
        (Rat.LTE, 40620, [("B41", Direction.BOTH, 2593.0)]),
        (Rat.LTE, 68586, [("B71", Direction.DOWNLINK, 617.0)]),
        # TS 38.104, 5.4.2.1: F = 5 kHz N below 3 GHz; one frequency may lie in several bands.
        (Rat.NR, 123400, [("n71", Direction.DOWNLINK, 617.0), ("n105", Direction.DOWNLINK, 617.0)]),
        (Rat.NR, 620000, [("n77", Direction.BOTH, 3300.0), ("n78", Direction.BOTH, 3300.0)]),
        (Rat.NR, 2078332, [("n257", Direction.BOTH, 27949.98), ("n261", Direction.BOTH, 27949.98)]),
        (Rat.LTE, 262143, []),
        (Rat.LTE, -1, []),
        (Rat.NR, 0, []),
        (Rat.NR, 10**9, []),
    ],
)
def test_channels(rat: Rat, channel: int, found: list[tuple[str, Direction, float]]) -> None:
    assert list(bands_of_channel(rat, channel)) == [ChannelMatch(*match) for match in found]


@pytest.mark.parametrize("rat", [Rat.GSM, Rat.UMTS, Rat.CDMA])
def test_channels_of_older_generations_are_not_guessed(rat: Rat) -> None:
    with pytest.raises(ValueError, match="take LTE or NR"):
        bands_of_channel(rat, 512)


@pytest.mark.parametrize(("rat", "last", "step"), [(Rat.LTE, 76_000, 29), (Rat.NR, 2_800_000, 977)])
def test_a_channel_lies_between_the_edges_of_its_bands(rat: Rat, last: int, step: int) -> None:
    found = 0
    for channel in range(0, last, step):
        for match in bands_of_channel(rat, channel):
            edges = band(rat, match.band)
            assert edges is not None
            sides = {
                Direction.DOWNLINK: [(edges.dl_low, edges.dl_high)],
                Direction.UPLINK: [(edges.ul_low, edges.ul_high)],
                Direction.BOTH: [(edges.dl_low, edges.dl_high), (edges.ul_low, edges.ul_high)],
            }
            for low, high in sides[match.direction]:
                assert low is not None
                assert high is not None
                assert low <= match.mhz <= high, (channel, match)
            found += 1
    assert found > 1000


def test_a_wide_band_contains_the_narrow_ones_that_it_stands_for() -> None:
    """The rule of the verdict, held against the standard's own table."""
    for (rat, wide), narrow in COVERS.items():
        outer = band(rat, wide)
        assert outer is not None
        for name in narrow:
            inner = band(rat, name)
            assert inner is not None
            for low, high in (("ul_low", "ul_high"), ("dl_low", "dl_high")):
                assert (
                    getattr(outer, low) <= getattr(inner, low) < getattr(inner, high) <= getattr(outer, high)
                )
