"""What holds for every phone and every network, not only for those in the tables."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carriers.compatibility import (
    Admission,
    Data,
    DeviceBand,
    DeviceRadio,
    Group,
    Ims,
    Level,
    NetworkBand,
    NetworkRules,
    Rat,
    Service,
    Sub,
    Verdict,
    Voice,
    assess,
)
from carriers.verdict_words import describe
from tests.carriers.reference import network_bands, table

DAY = date(2022, 7, 1)
NAMES = {
    Rat.GSM: ("GSM850", "PCS1900"),
    Rat.UMTS: ("B2", "B4", "B5"),
    Rat.CDMA: ("BC0", "BC1"),
    Rat.LTE: ("B2", "B4", "B5", "B12", "B13", "B17", "B25", "B26", "B66", "B71"),
    Rat.NR: ("n2", "n5", "n25", "n41", "n71", "n77", "n78"),
}
ALL_BANDS = [(rat, name) for rat, names in NAMES.items() for name in names]
LEGACY = (Rat.GSM, Rat.UMTS, Rat.CDMA)
WORST_DATA_FIRST = (Data.NONE, Data.GSM, Data.UMTS, Data.LTE_LIMITED, Data.LTE_PARTIAL, Data.LTE_FULL)
# UNKNOWN may turn out either way; it stands below a phone that is known to make calls.
WORST_LEVEL_FIRST = (Level.NONE, Level.DATA_ONLY, Level.UNKNOWN, Level.PARTIAL, Level.FULL)
REAL_NETWORKS = [network_bands(row["network"], row["era"]) for row in table("network_rules")]


@dataclass(frozen=True)
class Situation:
    """One phone before one host on one day."""

    bands: tuple[DeviceBand, ...]
    network: tuple[NetworkBand, ...]
    rules: NetworkRules
    day: date
    ims: Ims
    listed: bool

    def verdict(self) -> Verdict:
        radio = DeviceRadio.from_bands(self.bands, ims=self.ims, listed=self.listed)
        return assess(radio, self.network, self.rules, on=self.day)

    def level(self) -> int:
        return WORST_LEVEL_FIRST.index(self.verdict().level)


@st.composite
def network_rows(draw: st.DrawFn) -> NetworkBand:
    group = draw(st.sampled_from(Group))
    # Calls over circuits exist on legacy networks only.
    services = [Service.CS, Service.NONE] if group.rat in LEGACY else [Service.VOLTE]
    return NetworkBand(
        rat=group.rat,
        band=draw(st.sampled_from(NAMES[group.rat])),
        group=group,
        voice=draw(st.sampled_from(services)),
        in_service_until=draw(st.sampled_from([None, None, DAY, DAY + timedelta(days=1)])),
    )


device_bands = st.builds(
    lambda pair, off: DeviceBand(pair[0], pair[1], sw_disabled=off),
    st.sampled_from(ALL_BANDS),
    st.booleans(),
)
few_bands = st.lists(device_bands, max_size=12, unique_by=lambda row: (row.rat, row.band))
# Phones put together at random hardly ever reach FULL, so half of them start complete and lose something.
nearly_all_bands = st.sets(st.sampled_from(ALL_BANDS), max_size=6).map(
    lambda lost: [DeviceBand(rat, name, sw_disabled=(rat, name) in lost) for rat, name in ALL_BANDS]
)
one_generation_lost = st.sets(st.sampled_from(Rat), min_size=1, max_size=2).map(
    lambda lost: [DeviceBand(rat, name) for rat, name in ALL_BANDS if rat not in lost]
)
situations = st.builds(
    Situation,
    bands=st.one_of(few_bands, nearly_all_bands, one_generation_lost).map(tuple),
    network=st.one_of(
        st.lists(network_rows(), max_size=5),
        st.lists(network_rows(), max_size=14),
        st.sampled_from(REAL_NETWORKS),
    ).map(tuple),
    rules=st.builds(NetworkRules, st.sampled_from(["tmobile", "att", "verizon"]), st.sampled_from(Admission)),
    day=st.sampled_from([date(2016, 2, 2), DAY - timedelta(days=1), DAY, date(2026, 11, 22)]),
    ims=st.sampled_from(Ims),
    listed=st.booleans(),
)


@settings(max_examples=300)
@given(situations, st.data())
def test_one_more_enabled_band_never_lowers_data(before: Situation, data: st.DataObject) -> None:
    # A band that the network does not use seldom changes anything, so the band comes from the network.
    assume(before.network)
    row = data.draw(st.sampled_from(before.network))
    after = replace(before, bands=(*before.bands, DeviceBand(row.rat, row.band)))
    assert WORST_DATA_FIRST.index(after.verdict().data) >= WORST_DATA_FIRST.index(before.verdict().data)


@pytest.mark.parametrize("listing_follows", [True, False])
@given(situation=situations)
def test_gaining_volte_never_lowers_the_level(listing_follows: bool, situation: Situation) -> None:
    before = replace(situation, ims=Ims.NO)
    after = replace(situation, ims=Ims.YES)
    if listing_follows:
        before, after = replace(before, listed=False), replace(after, listed=True)
    assert after.level() >= before.level()
    assert set(after.verdict().certification_blockers) <= set(before.verdict().certification_blockers)


@given(situations)
def test_a_band_that_software_keeps_off_is_a_band_the_phone_lacks(situation: Situation) -> None:
    lacking = replace(situation, bands=tuple(band for band in situation.bands if not band.sw_disabled))
    assert situation.verdict() == lacking.verdict()


@given(situations, st.data())
def test_switching_off_a_legacy_band_never_raises_the_level(before: Situation, data: st.DataObject) -> None:
    legacy = [row for row in before.network if row.rat in LEGACY]
    assume(legacy)
    chosen = data.draw(st.sampled_from(legacy))
    switched_off = replace(chosen, in_service_until=before.day)
    after = replace(before, network=tuple(switched_off if row is chosen else row for row in before.network))
    assert after.level() <= before.level()


@given(situations)
def test_a_band_on_its_day_of_switch_off_is_a_band_the_network_lacks(situation: Situation) -> None:
    lacking = tuple(row for row in situation.network if row.in_service_until != situation.day)
    with_it, without_it = situation.verdict(), replace(situation, network=lacking).verdict()
    # Without the row its group may move to a later place, so only the order of reasons may differ.
    assert sorted(with_it.reasons) == sorted(without_it.reasons)
    assert replace(with_it, reasons=()) == replace(without_it, reasons=())


@given(situations)
def test_the_order_of_network_rows_changes_the_order_of_reasons_only(situation: Situation) -> None:
    forward, backward = situation.verdict(), replace(situation, network=situation.network[::-1]).verdict()
    assert sorted(forward.reasons) == sorted(backward.reasons)
    assert replace(forward, reasons=()) == replace(backward, reasons=())


@given(situations)
def test_the_parts_of_a_verdict_agree_with_each_other(situation: Situation) -> None:
    verdict = situation.verdict()
    assert (verdict.sub != Sub.EMPTY) == (verdict.level == Level.PARTIAL)
    if verdict.level in (Level.FULL, Level.PARTIAL):
        assert verdict.voice not in (Voice.NONE, Voice.UNKNOWN)
    if verdict.level == Level.FULL:
        assert verdict.data == Data.LTE_FULL
        assert not verdict.missing_coverage_bands
    if situation.rules.admission == Admission.LIST and not situation.listed:
        assert verdict.level == Level.NONE
        assert not verdict.voice.over_lte
    assert describe(verdict)


@pytest.mark.parametrize("network", REAL_NETWORKS)
def test_the_drawn_bands_can_hit_every_group_of_the_real_networks(network: list[NetworkBand]) -> None:
    """Guards the strategies: with names no network uses, all of the above would hold and mean nothing."""
    everything = tuple(DeviceBand(rat, name) for rat, name in ALL_BANDS)
    rules = NetworkRules("tmobile", Admission.OPEN)
    best = Situation(everything, tuple(network), rules, date(2016, 2, 2), Ims.YES, listed=True)
    nothing = replace(best, bands=())
    assert (best.verdict().level, best.verdict().reasons) == (Level.FULL, ())
    assert (nothing.verdict().level, nothing.verdict().data) == (Level.NONE, Data.NONE)
