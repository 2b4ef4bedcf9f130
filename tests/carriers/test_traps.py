"""Traps that real shops fell into, each a case here. What they teach stands in each docstring."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations

import pytest

from carriers.compatibility import (
    B12_NEEDS_VOLTE_FROM,
    Data,
    DeviceRadio,
    Ims,
    Level,
    Rat,
    Sub,
    Verdict,
    Voice,
    assess,
)
from tests.carriers.reference import (
    LISTED_PHONES_ON_SALE,
    TEN_YEARS_LATER,
    device_bands,
    network_bands,
    network_rules,
    radio,
    table,
    verdict_of,
)

HOSTS = ("tmobile", "att", "verizon")


def bands_of(variant_id: str) -> frozenset[tuple[Rat, str]]:
    return frozenset((band.rat, band.band) for band in device_bands(variant_id) if not band.sw_disabled)


def named(name: str) -> list[str]:
    return [row["variant_id"] for row in table("devices") if row["variant_id"].startswith(name)]


def on_t_mobile_in_2016(phone: DeviceRadio) -> Verdict:
    network = network_bands("tmobile", "2016")
    return assess(phone, network, network_rules("tmobile", "2016"), on=LISTED_PHONES_ON_SALE)


def with_band(phone: DeviceRadio, rat: Rat, name: str) -> DeviceRadio:
    return replace(phone, bands={**phone.bands, rat: phone.bands.get(rat, frozenset()) | {name}})


class TestMi4:
    """Six model numbers were sold as Mi 4; three of them are on record with their bands."""

    def test_no_two_radios_called_mi_4_are_alike(self) -> None:
        """A name on an approval covers phones that share no band at all."""
        rows = named("xiaomi-mi4-")
        assert len(rows) >= 3
        for one, other in combinations(rows, 2):
            assert bands_of(one) != bands_of(other), (one, other)
        lte = {row: {name for rat, name in bands_of(row) if rat == Rat.LTE} for row in rows}
        assert lte["xiaomi-mi4-2014215"] == set()
        assert not lte["xiaomi-mi4-2014216"] & lte["xiaomi-mi4-2014719"]

    @pytest.mark.parametrize(
        ("variant_id", "sub", "voice"),
        [
            ("xiaomi-mi4-2014215", Sub.UMTS, Voice.CS),
            ("xiaomi-mi4-2014216", Sub.GSM, Voice.CS),
            ("xiaomi-mi4-2014719", Sub.UMTS, Voice.CS),
        ],
    )
    def test_on_one_host_they_are_three_different_phones_to_sell(
        self, variant_id: str, sub: Sub, voice: Voice
    ) -> None:
        """What was sold as "Mi 4" in February 2016 worked on 3G or on 2G, by model number."""
        verdict = verdict_of(variant_id, "tmobile", LISTED_PHONES_ON_SALE)
        assert (verdict.level, verdict.sub, verdict.voice) == (Level.PARTIAL, sub, voice)

    def test_mi_4i_is_not_one_of_them(self) -> None:
        """One letter more is another phone: reports of 2016 mixed the two."""
        assert bands_of("xiaomi-mi4i-2015015") not in [bands_of(row) for row in named("xiaomi-mi4-")]


class TestRedmi2:
    """China, India and Brazil got three radios under one name; South-East Asia a fourth."""

    @pytest.mark.parametrize(
        ("variant_id", "t_mobile", "att"),
        [
            ("xiaomi-redmi2-2014811", Sub.UMTS, Sub.UMTS),
            ("xiaomi-redmi2-2014818", None, None),
            ("xiaomi-redmi2-2014819", Sub.LTE, Sub.LTE),
        ],
    )
    def test_in_2016_the_market_it_was_made_for_decided(
        self, variant_id: str, t_mobile: Sub | None, att: Sub | None
    ) -> None:
        """The Indian one finds no band in the US, the Brazilian one finds LTE."""
        for host, expected in (("tmobile", t_mobile), ("att", att)):
            verdict = verdict_of(variant_id, host, LISTED_PHONES_ON_SALE)
            if expected is None:
                assert (verdict.level, verdict.data) == (Level.NONE, Data.NONE)
            else:
                assert (verdict.level, verdict.sub) == (Level.PARTIAL, expected)

    def test_a_decade_later_only_the_brazilian_one_still_has_data(self) -> None:
        """The same rows, by date alone: without VoLTE no calls are left, on any host."""
        levels = {row: verdict_of(row, "att", TEN_YEARS_LATER).level for row in named("xiaomi-redmi2-")}
        assert levels.pop("xiaomi-redmi2-2014819") == Level.DATA_ONLY
        assert set(levels.values()) == {Level.NONE}


class TestOnePlus2:
    def test_the_north_american_one_fits_in_full_and_the_european_one_on_3g(self) -> None:
        """One digit of the model number is the whole LTE of a host."""
        american = verdict_of("oneplus-2-a2005", "tmobile", LISTED_PHONES_ON_SALE)
        european = verdict_of("oneplus-2-a2003", "tmobile", LISTED_PHONES_ON_SALE)
        assert (american.level, european.level, european.sub) == (Level.FULL, Level.PARTIAL, Sub.UMTS)

    def test_the_better_radio_is_the_one_that_cannot_be_certified(self) -> None:
        """Fit and certification run against each other where band 12 asks for VoLTE and E911."""
        american = verdict_of("oneplus-2-a2005", "tmobile", LISTED_PHONES_ON_SALE)
        european = verdict_of("oneplus-2-a2003", "tmobile", LISTED_PHONES_ON_SALE)
        assert american.certification_blockers == ("B12_REQUIRES_VOLTE_E911",)
        assert european.certification_blockers == ()


class TestBand12:
    def test_gaining_it_without_volte_fits_better_and_certifies_worse(self) -> None:
        """A phone camps on strong band 12, has no older network there, and cannot call."""
        without = replace(radio("oneplus-one-a0001", "tmobile"), ims=Ims.NO)
        gained = on_t_mobile_in_2016(with_band(without, Rat.LTE, "B12"))
        before = on_t_mobile_in_2016(without)
        assert "MISSING_COVERAGE_BAND:B12" in before.reasons
        assert "MISSING_COVERAGE_BAND:B12" not in gained.reasons
        assert (before.certification_blockers, gained.certification_blockers) == (
            (),
            ("B12_REQUIRES_VOLTE_E911",),
        )

    def test_the_rule_is_of_one_host_and_began_on_one_day(self) -> None:
        """AT&T asks nothing of the kind, and T-Mobile did not until 28 August 2015."""
        phone = replace(with_band(radio("lg-g4-h811", "tmobile"), Rat.LTE, "B12"), ims=Ims.NO)
        for host, on, expected in (
            ("tmobile", B12_NEEDS_VOLTE_FROM, ("B12_REQUIRES_VOLTE_E911",)),
            ("tmobile", B12_NEEDS_VOLTE_FROM - timedelta(days=1), ()),
            ("att", B12_NEEDS_VOLTE_FROM, ()),
        ):
            verdict = assess(phone, network_bands(host, "2016"), network_rules(host, "2016"), on=on)
            assert verdict.certification_blockers == expected


class TestMotoE:
    def test_an_update_took_band_12_from_phones_already_sold(self) -> None:
        """Hardware tables are not capability: the same phone lost coverage, and its blocker with it."""
        bands = device_bands("motorola-motoe2-xt1527")
        assert [band.band for band in bands if band.sw_disabled] == ["B12"]
        at_launch = DeviceRadio.from_bands(
            [replace(band, sw_disabled=False) for band in bands], ims=Ims.NO, listed=False
        )
        before, after = (
            on_t_mobile_in_2016(at_launch),
            verdict_of("motorola-motoe2-xt1527", "tmobile", LISTED_PHONES_ON_SALE),
        )
        assert (before.level, before.certification_blockers) == (Level.FULL, ("B12_REQUIRES_VOLTE_E911",))
        assert (after.level, after.sub, after.certification_blockers) == (Level.PARTIAL, Sub.LTE, ())
        assert after.missing_coverage_bands == ("B12",)

    def test_an_update_gives_as_well(self) -> None:
        """The Nexus 5X shipped with band 12 off, and got it with its certification."""
        shipped = radio("google-nexus5x-h790", "tmobile")
        assert shipped.ims == Ims.PENDING
        certified = replace(with_band(shipped, Rat.LTE, "B12"), ims=Ims.YES, listed=True)
        before, after = on_t_mobile_in_2016(shipped), on_t_mobile_in_2016(certified)
        assert (before.sub, after.level, after.certification_blockers) == (Sub.LTE, Level.FULL, ())


class TestIPhone15:
    def test_the_grey_import_is_as_good_on_one_host_and_not_on_the_other(self) -> None:
        """It lacks 600 MHz, which T-Mobile builds its coverage on and AT&T does not have."""
        us, imported = "apple-iphone15-a2846", "apple-iphone15-a3090"
        assert [verdict_of(each, "att", TEN_YEARS_LATER).level for each in (us, imported)] == [Level.FULL] * 2
        missing = verdict_of(imported, "tmobile", TEN_YEARS_LATER)
        assert (missing.sub, missing.missing_coverage_bands) == (Sub.LTE, ("B71",))
        assert (Rat.LTE, "B71") in bands_of(us) - bands_of(imported)


class TestNothingPhone1:
    def test_one_phone_three_hosts_three_answers_each_for_its_own_reason(self) -> None:
        """Coverage on one, the voice list on the next, the closed list on the third (Gizmochina, June 2022)."""
        t_mobile, att, verizon = (verdict_of("nothing-phone1-a063", host, TEN_YEARS_LATER) for host in HOSTS)
        assert (t_mobile.sub, t_mobile.missing_coverage_bands) == (Sub.LTE, ("B71",))
        assert (att.level, att.data, att.reasons) == (Level.DATA_ONLY, Data.LTE_FULL, ("NO_VOICE_PATH",))
        assert (verizon.level, verizon.reasons[0]) == (Level.NONE, "NOT_ON_HOST_LIST")


class TestHistory:
    @pytest.mark.parametrize(
        ("host", "last_day", "before", "after"),
        [
            ("tmobile", date(2022, 6, 30), Data.UMTS, Data.GSM),
            ("att", date(2022, 2, 21), Data.UMTS, Data.NONE),
        ],
    )
    def test_a_3g_phone_ends_on_the_day_of_the_switch_off(
        self, host: str, last_day: date, before: Data, after: Data
    ) -> None:
        """Nobody touched the phone: a verdict without a date is a verdict of some other day."""
        phone = radio("xiaomi-mi4-2014215", host)
        network, rules = network_bands(host, "2016"), network_rules(host, "2016")
        days = (last_day, last_day + timedelta(days=1))
        assert [assess(phone, network, rules, on=day).data for day in days] == [before, after]

    def test_cdma_calls_ended_with_2022(self) -> None:
        """On Verizon a listed phone without VoLTE called until 30 December 2022, and never after."""
        cdma = DeviceRadio(
            bands={Rat.CDMA: frozenset({"BC0", "BC1"}), Rat.LTE: frozenset({"B4", "B13"})},
            ims=Ims.NO,
            listed=True,
        )
        network, rules = network_bands("verizon", "2016"), network_rules("verizon", "2016")
        days = (date(2022, 12, 30), date(2022, 12, 31))
        assert [assess(cdma, network, rules, on=day).voice for day in days] == [Voice.CS, Voice.NONE]

    def test_in_2016_partial_was_the_rule_among_what_was_listed_and_nobody_was_left_later(self) -> None:
        """Not one radio that was sold under the listed names makes a call in the US ten years on."""
        listed = [row["variant_id"] for row in table("devices") if row["set"] == "incident2016"]
        then = [verdict_of(each, "tmobile", LISTED_PHONES_ON_SALE) for each in listed]
        now = [verdict_of(each, host, TEN_YEARS_LATER) for each in listed for host in HOSTS]
        assert {verdict.level for verdict in then} == {Level.PARTIAL, Level.NONE}
        assert {verdict.voice for verdict in now} == {Voice.NONE}
