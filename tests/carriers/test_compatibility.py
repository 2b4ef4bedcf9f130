"""The verdict: every worked example, the named cases, and each rule at its border."""

from datetime import date, timedelta

import pytest

from carriers.compatibility import (
    Admission,
    Confidence,
    Data,
    DeviceBand,
    DeviceRadio,
    Group,
    Ims,
    Level,
    NetworkBand,
    NetworkRules,
    Papers,
    Rat,
    Service,
    Sub,
    Verdict,
    Voice,
    assess,
    certification_blockers,
    lowest_confidence,
)
from carriers.verdict_words import describe
from tests.carriers.reference import (
    EXAMPLES,
    LISTED_PHONES_ON_SALE,
    TEN_YEARS_LATER,
    network_bands,
    network_rules,
    radio,
    rows,
    table,
    verdict_of,
)

WORKED = rows(EXAMPLES)
each_example = pytest.mark.parametrize(
    "row", WORKED, ids=[f"{row['variant_id']}-{row['network']}-{row['on'][:4]}" for row in WORKED]
)
T_MOBILE_OPEN = NetworkRules("tmobile", Admission.OPEN)


def phone(*bands: str, ims: Ims = Ims.NO, listed: bool = False) -> DeviceRadio:
    """phone("LTE B4", "UMTS B2")"""
    split = [band.split() for band in bands]
    return DeviceRadio.from_bands((DeviceBand(Rat(r), b) for r, b in split), ims=ims, listed=listed)


def band(name: str, group: str, voice: Service = Service.VOLTE, until: date | None = None) -> NetworkBand:
    rat, number = name.split()
    return NetworkBand(Rat(rat), number, Group(group), voice, until)


@each_example
def test_worked_example(row: dict[str, str]) -> None:
    verdict = verdict_of(row["variant_id"], row["network"], date.fromisoformat(row["on"]))
    assert {
        "verdict": verdict.level,
        "sub": verdict.sub,
        "voice": verdict.voice,
        "data": verdict.data,
        "reasons": " ".join(verdict.reasons),
        "cert_blockers": " ".join(verdict.certification_blockers),
        "input_confidence": verdict.input_confidence or "",
    } == {
        key: row[key]
        for key in ("verdict", "sub", "voice", "data", "reasons", "cert_blockers", "input_confidence")
    }


def test_the_examples_are_all_there_and_show_every_level() -> None:
    assert len(WORKED) == 125
    assert {row["verdict"] for row in WORKED} == set(Level)


class TestNamedCases:
    def test_nothing_phone_1_agrees_with_the_reports_of_2022(self) -> None:
        levels = [
            verdict_of("nothing-phone1-a063", host, TEN_YEARS_LATER).level
            for host in ("tmobile", "att", "verizon")
        ]
        assert levels == [Level.PARTIAL, Level.DATA_ONLY, Level.NONE]

    @pytest.mark.parametrize(
        "variant",
        ["xiaomi-redmi2-2014811", "xiaomi-mi3-2013062", "xiaomi-mi4-2014215", "meizu-m2note-m571"],
    )
    def test_the_listed_phones_of_2016_lose_everything_by_date_alone(self, variant: str) -> None:
        then = verdict_of(variant, "tmobile", LISTED_PHONES_ON_SALE)
        assert (then.level, then.sub) == (Level.PARTIAL, Sub.UMTS)
        assert verdict_of(variant, "tmobile", TEN_YEARS_LATER).level == Level.NONE

    def test_one_marketing_name_two_radios(self) -> None:
        india = verdict_of("xiaomi-redmi2-2014818", "tmobile", LISTED_PHONES_ON_SALE)
        brazil = verdict_of("xiaomi-redmi2-2014819", "tmobile", LISTED_PHONES_ON_SALE)
        assert (india.level, brazil.level, brazil.sub) == (Level.NONE, Level.PARTIAL, Sub.LTE)

    def test_oneplus_2_fits_in_full_and_cannot_be_certified(self) -> None:
        verdict = verdict_of("oneplus-2-a2005", "tmobile", LISTED_PHONES_ON_SALE)
        assert verdict.level == Level.FULL
        assert verdict.certification_blockers == ("B12_REQUIRES_VOLTE_E911",)

    def test_iphone_6_fits_in_part_and_nothing_blocks_it(self) -> None:
        verdict = verdict_of("apple-iphone6-a1549", "tmobile", LISTED_PHONES_ON_SALE)
        assert (verdict.sub, verdict.certification_blockers) == (Sub.LTE, ())

    @pytest.mark.parametrize("variant", ["motorola-motoe2-xt1527", "google-nexus5x-h790"])
    def test_band_12_switched_off_by_software_makes_it_partial(self, variant: str) -> None:
        verdict = verdict_of(variant, "tmobile", LISTED_PHONES_ON_SALE)
        assert verdict.sub == Sub.LTE
        assert verdict.missing_coverage_bands == ("B12",)

    def test_pixel_8_pro_has_the_bands_and_is_still_unknown(self) -> None:
        verdict = verdict_of("google-pixel8pro-gc3ve", "tmobile", TEN_YEARS_LATER)
        assert (verdict.level, verdict.data) == (Level.UNKNOWN, Data.LTE_FULL)

    def test_iphone_15_grey_import_is_not_the_us_phone(self) -> None:
        us = verdict_of("apple-iphone15-a2846", "tmobile", TEN_YEARS_LATER)
        imported = verdict_of("apple-iphone15-a3090", "tmobile", TEN_YEARS_LATER)
        assert (us.level, imported.level, imported.sub) == (Level.FULL, Level.PARTIAL, Sub.LTE)


class TestServiceDates:
    def test_the_day_of_switch_off_is_the_first_day_without_service(self) -> None:
        off = date(2022, 7, 1)
        row = band("UMTS B2", "umts", Service.CS, off)
        assert row.in_service(off - timedelta(days=1))
        assert not row.in_service(off)
        assert band("LTE B2", "lte_core").in_service(date.max)

    def test_a_3g_phone_on_t_mobile_works_to_the_last_evening(self) -> None:
        mi3 = radio("xiaomi-mi3-2013062", "tmobile")
        bands, rules = network_bands("tmobile", "2016"), network_rules("tmobile", "2016")
        assert assess(mi3, bands, rules, on=date(2022, 6, 30)).data == Data.UMTS
        # Its GSM 1900 stays: this table gives no end for T-Mobile's GSM.
        assert assess(mi3, bands, rules, on=date(2022, 7, 1)).data == Data.GSM

    def test_a_group_without_a_live_band_is_no_longer_needed(self) -> None:
        off = date(2020, 1, 1)
        network = [band("LTE B4", "lte_core"), band("LTE B12", "lte_cov", until=off)]
        verdicts = [
            assess(phone("LTE B4", ims=Ims.YES), network, T_MOBILE_OPEN, on=day)
            for day in (off - timedelta(days=1), off)
        ]
        assert [v.level for v in verdicts] == [Level.PARTIAL, Level.FULL]
        assert [v.reasons for v in verdicts] == [("MISSING_COVERAGE_BAND:B12",), ()]

    def test_a_group_keeps_the_place_of_its_first_row_even_when_that_is_off(self) -> None:
        network = [
            band("LTE B71", "lte_cov600", until=date(2020, 1, 1)),
            band("LTE B12", "lte_cov"),
            band("LTE B85", "lte_cov600"),
        ]
        verdict = assess(phone("LTE B4"), network, T_MOBILE_OPEN, on=date(2021, 1, 1))
        assert verdict.missing_coverage_bands == ("B85", "B12")


class TestMatching:
    @pytest.mark.parametrize(
        ("wide", "narrow"),
        [
            ("LTE B66", "LTE B4"),
            ("LTE B25", "LTE B2"),
            ("LTE B12", "LTE B17"),
            ("LTE B26", "LTE B5"),
            ("LTE B26", "LTE B18"),
            ("LTE B26", "LTE B19"),
            ("NR n25", "NR n2"),
            ("NR n77", "NR n78"),
        ],
    )
    def test_a_wide_band_covers_the_narrow_one_and_never_the_reverse(self, wide: str, narrow: str) -> None:
        (rat, wide_name), (_, narrow_name) = wide.split(), narrow.split()
        assert phone(wide).reaches(Rat(rat), narrow_name)
        assert not phone(narrow).reaches(Rat(rat), wide_name)
        # The band table itself says so: the narrow band lies inside the wide one.
        limits = {row["band"]: row for row in table("bands") if row["rat"] == rat}
        for side in ("ul", "dl"):
            assert float(limits[wide_name][f"{side}_low"]) <= float(limits[narrow_name][f"{side}_low"])
            assert float(limits[narrow_name][f"{side}_high"]) <= float(limits[wide_name][f"{side}_high"])

    def test_covering_stays_within_one_generation(self) -> None:
        assert not phone("LTE B25").reaches(Rat.UMTS, "B2")
        assert not phone("LTE B12").has(Rat.LTE, "B17")

    def test_nr_n71_counts_as_600_mhz_coverage_but_n41_does_not(self) -> None:
        us_phone = ("LTE B66", "LTE B2", "LTE B12")
        network, rules = network_bands("tmobile", "2026"), network_rules("tmobile", "2026")

        def data(*bands: str) -> Data:
            return assess(phone(*us_phone, *bands), network, rules, on=TEN_YEARS_LATER).data

        assert data("NR n71") == data("LTE B71") == Data.LTE_FULL
        assert data("NR n41") == Data.LTE_PARTIAL

    def test_n71_needs_no_group_that_the_network_does_not_have(self) -> None:
        network = [band("LTE B4", "lte_core"), band("NR n71", "nr_cov", Service.VONR)]
        assert assess(phone("NR n71"), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER).data == Data.NONE

    def test_a_row_in_a_group_of_another_generation_is_refused(self) -> None:
        with pytest.raises(ValueError, match="UMTS B4 cannot be in group lte_core"):
            band("UMTS B4", "lte_core")


class TestAxesAndLevels:
    def test_fill_in_bands_are_never_needed(self) -> None:
        network = [band("LTE B4", "lte_core"), band("LTE B5", "lte_extra")]
        assert assess(phone("LTE B4"), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER).data == Data.LTE_FULL
        assert assess(phone("LTE B5"), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER).data == Data.LTE_LIMITED

    def test_an_old_network_is_never_needed_by_a_phone_with_lte_and_volte(self) -> None:
        network = [band("UMTS B2", "umts", Service.CS), band("LTE B4", "lte_core")]
        verdict = assess(phone("LTE B4", ims=Ims.YES), network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)
        assert (verdict.level, verdict.voice, verdict.reasons) == (Level.FULL, Voice.VOLTE, ())

    def test_a_network_without_core_is_never_full(self) -> None:
        network = [band("LTE B12", "lte_cov")]
        assert assess(phone("LTE B12"), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER).data == Data.LTE_LIMITED

    def test_one_of_two_core_groups_is_in_parts_and_named(self) -> None:
        network = [band("LTE B4", "lte_core"), band("LTE B2", "lte_core2")]
        verdict = assess(phone("LTE B2", ims=Ims.YES), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER)
        assert (verdict.data, verdict.reasons) == (Data.LTE_PARTIAL, ("MISSING_CORE_BAND",))

    def test_cdma_gives_calls_and_no_data(self) -> None:
        network = [band("CDMA BC0", "cdma", Service.CS)]
        verdict = assess(phone("CDMA BC0"), network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)
        assert (verdict.voice, verdict.data, verdict.level) == (Voice.CS, Data.NONE, Level.NONE)
        assert verdict.reasons == ("NO_LTE_BAND",)

    @pytest.mark.parametrize(
        ("ims", "level"),
        [(Ims.YES, Level.PARTIAL), *((ims, Level.NONE) for ims in (Ims.UNKNOWN, Ims.PENDING, Ims.NO))],
    )
    def test_secondary_bands_alone_are_not_enough_without_calls(self, ims: Ims, level: Level) -> None:
        network = [band("LTE B4", "lte_core"), band("LTE B5", "lte_extra")]
        verdict = assess(phone("LTE B5", ims=ims), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER)
        assert verdict.level == level
        assert ("ONLY_SECONDARY_BANDS" in verdict.reasons) == (level == Level.NONE)

    def test_secondary_bands_with_calls_over_3g_are_partial_lte(self) -> None:
        network = [band("LTE B5", "lte_extra"), band("UMTS B2", "umts", Service.CS)]
        verdict = assess(phone("LTE B5", "UMTS B2"), network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)
        assert (verdict.level, verdict.sub, verdict.data) == (Level.PARTIAL, Sub.LTE, Data.LTE_LIMITED)

    @pytest.mark.parametrize("ims", Ims)
    def test_a_closed_list_lets_nobody_else_in_however_well_the_phone_fits(self, ims: Ims) -> None:
        network = [band("LTE B4", "lte_core"), band("LTE B5", "lte_extra")]
        closed = NetworkRules("verizon", Admission.LIST)
        for bands in (("LTE B4",), ("LTE B5",)):
            off = assess(phone(*bands, ims=ims), network, closed, on=TEN_YEARS_LATER)
            assert off.level == Level.NONE
            assert off.reasons[0] == "NOT_ON_HOST_LIST"
            assert "ONLY_SECONDARY_BANDS" not in off.reasons
            assert not off.voice.over_lte
        on_list = assess(phone("LTE B4", ims=Ims.YES, listed=True), network, closed, on=TEN_YEARS_LATER)
        assert (on_list.level, on_list.voice) == (Level.FULL, Voice.VOLTE)

    @pytest.mark.parametrize("ims", [Ims.UNKNOWN, Ims.PENDING])
    def test_calls_that_nobody_confirmed_leave_the_level_open(self, ims: Ims) -> None:
        network = [band("LTE B4", "lte_core"), band("UMTS B2", "umts", Service.CS)]
        verdict = assess(phone("LTE B4", ims=ims), network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)
        assert (verdict.level, verdict.voice, verdict.reasons) == (Level.UNKNOWN, Voice.UNKNOWN, ())
        # Where the old network carries calls, nothing is open.
        with_3g = phone("LTE B4", "UMTS B2", ims=ims)
        assert assess(with_3g, network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE).voice == Voice.CS
        # Without any LTE band there is no VoLTE to wait for.
        without_lte = assess(phone(ims=ims), network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)
        assert without_lte.voice == Voice.NONE

    def test_a_voice_list_leaves_data_to_everybody(self) -> None:
        network = [band("LTE B4", "lte_core")]
        voice_list = NetworkRules("att", Admission.VOICE_LIST)
        levels = {
            ims: assess(phone("LTE B4", ims=ims), network, voice_list, on=TEN_YEARS_LATER).level
            for ims in (Ims.NO, Ims.YES)
        }
        assert levels == {Ims.NO: Level.DATA_ONLY, Ims.YES: Level.FULL}

    @pytest.mark.parametrize(
        ("bands", "reasons"),
        [
            ((), ("NO_5G",)),
            (("NR n71",), ("5G_PARTIAL",)),
            (("NR n71", "NR n41"), ()),
            (("NR n25",), ("NO_5G",)),
        ],
    )
    def test_5g_counts_core_and_coverage_and_leaves_extras_alone(
        self, bands: tuple[str, ...], reasons: tuple[str, ...]
    ) -> None:
        network = [
            band("LTE B4", "lte_core"),
            band("NR n71", "nr_cov", Service.VONR),
            band("NR n41", "nr_core", Service.VONR),
            band("NR n25", "nr_extra", Service.VONR),
        ]
        verdict = assess(phone("LTE B4", *bands, ims=Ims.YES), network, T_MOBILE_OPEN, on=TEN_YEARS_LATER)
        assert verdict.reasons == reasons

    def test_calls_over_2g_next_to_lte_give_two_reasons_in_order(self) -> None:
        network = [band("GSM PCS1900", "gsm", Service.CS), band("LTE B4", "lte_core")]
        verdict = assess(phone("GSM PCS1900", "LTE B4"), network, T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)
        assert (verdict.level, verdict.reasons) == (Level.FULL, ("VOICE_2G_ONLY", "NO_VOLTE"))


class TestCertificationBlockers:
    @pytest.mark.parametrize(
        ("day", "expected"),
        [
            (date(2015, 8, 27), ()),
            (date(2015, 8, 28), ("B12_REQUIRES_VOLTE_E911",)),
            (date(2020, 8, 3), ("B12_REQUIRES_VOLTE_E911",)),
            (date(2020, 8, 4), ("B12_REQUIRES_VOLTE_E911", "VOLTE_REQUIRED")),
        ],
    )
    def test_t_mobile_rules_begin_on_their_day(self, day: date, expected: tuple[str, ...]) -> None:
        assert certification_blockers(phone("LTE B12"), T_MOBILE_OPEN, on=day) == expected

    @pytest.mark.parametrize("ims", [Ims.NO, Ims.PENDING, Ims.UNKNOWN])
    def test_anything_but_yes_blocks(self, ims: Ims) -> None:
        assert certification_blockers(phone("LTE B12", ims=ims), T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE)

    def test_yes_frees_the_phone_and_other_hosts_do_not_ask(self) -> None:
        att = NetworkRules("att", Admission.VOICE_LIST)
        assert certification_blockers(phone("LTE B12", ims=Ims.YES), T_MOBILE_OPEN, on=TEN_YEARS_LATER) == ()
        assert certification_blockers(phone("LTE B12"), att, on=TEN_YEARS_LATER) == ()

    def test_the_rule_is_about_band_12_itself(self) -> None:
        assert certification_blockers(phone("LTE B17"), T_MOBILE_OPEN, on=LISTED_PHONES_ON_SALE) == ()

    def test_papers_block_only_when_known(self) -> None:
        att = NetworkRules("att", Admission.OPEN)
        missing = Papers(fcc_grant=False, ptcrb=False, fcc_covered_list=True)
        good = Papers(fcc_grant=True, ptcrb=True, fcc_covered_list=False)
        codes = ("NO_FCC_GRANT", "NO_PTCRB", "FCC_COVERED_LIST")
        assert certification_blockers(phone(), att, on=TEN_YEARS_LATER, papers=missing) == codes
        for papers in (good, Papers()):
            assert certification_blockers(phone(), att, on=TEN_YEARS_LATER, papers=papers) == ()

    def test_papers_reach_the_verdict_and_leave_the_level_alone(self) -> None:
        network, papers = [band("LTE B4", "lte_core")], Papers(fcc_grant=False)
        fitting = phone("LTE B4", ims=Ims.YES)
        verdict = assess(fitting, network, T_MOBILE_OPEN, on=TEN_YEARS_LATER, papers=papers)
        assert (verdict.level, verdict.certification_blockers) == (Level.FULL, ("NO_FCC_GRANT",))


@pytest.mark.parametrize(
    ("marks", "lowest"),
    [
        (("H", "M", "L"), Confidence.LOW),
        (("H", "", "M"), Confidence.MEDIUM),
        (("H", "H"), Confidence.HIGH),
        (("", ""), None),
        ((), None),
    ],
)
def test_the_weakest_mark_counts_and_empty_ones_do_not(
    marks: tuple[str, ...], lowest: Confidence | None
) -> None:
    assert lowest_confidence(marks) == lowest


class TestDescribe:
    @pytest.mark.parametrize(
        ("variant", "network", "on", "sentence"),
        [
            ("xiaomi-mi3-2013062", "tmobile", LISTED_PHONES_ON_SALE, "3G only; no LTE band of this network"),
            ("xiaomi-mi3-2013061", "tmobile", LISTED_PHONES_ON_SALE, "2G only; no LTE band of this network"),
            (
                "meizu-m2note-m571",
                "tmobile",
                LISTED_PHONES_ON_SALE,
                "3G only; no LTE band of this network (unverified)",
            ),
            (
                "xiaomi-mi3-2013062",
                "tmobile",
                TEN_YEARS_LATER,
                "Does not work: no data on any band of this network",
            ),
            (
                "xiaomi-redmi2-2014811",
                "tmobile",
                TEN_YEARS_LATER,
                "Does not work: only secondary LTE bands of this network, and no confirmed calls",
            ),
            (
                "xiaomi-mi3-2013062",
                "verizon",
                LISTED_PHONES_ON_SALE,
                "No service: this network accepts listed phones only, and this one is not listed",
            ),
            (
                "apple-iphone6-a1549",
                "tmobile",
                LISTED_PHONES_ON_SALE,
                "LTE on some of the main bands of this network; lacks its wide-coverage B12",
            ),
            (
                "xiaomi-redmi2-2014819",
                "att",
                TEN_YEARS_LATER,
                "Data only: no calls on this network, so do not rely on it for 911; "
                "lacks its wide-coverage B12 or B17; no 5G",
            ),
            (
                "oneplus-2-a2005",
                "tmobile",
                LISTED_PHONES_ON_SALE,
                "Calls and LTE on all main bands of this network; calls over the older network, not over LTE",
            ),
            (
                "google-pixel8pro-gc3ve",
                "tmobile",
                TEN_YEARS_LATER,
                "Data works, but it is not confirmed that calls do, 911 included",
            ),
            (
                "apple-iphone15-a2846",
                "tmobile",
                TEN_YEARS_LATER,
                "Calls and LTE on all main bands of this network",
            ),
        ],
    )
    def test_sentence(self, variant: str, network: str, on: date, sentence: str) -> None:
        assert describe(verdict_of(variant, network, on)) == sentence

    def test_caveats_of_calls_and_5g(self) -> None:
        verdict = Verdict(
            level=Level.PARTIAL,
            sub=Sub.LTE,
            voice=Voice.CS,
            data=Data.LTE_LIMITED,
            reasons=(
                "MISSING_COVERAGE_BAND:B12",
                "MISSING_COVERAGE_BAND:B71",
                "VOICE_2G_ONLY",
                "NO_VOLTE",
                "5G_PARTIAL",
            ),
            certification_blockers=(),
            input_confidence=Confidence.MEDIUM,
        )
        assert describe(verdict) == (
            "LTE on none of the main bands of this network, so in few places; "
            "lacks its wide-coverage B12 and B71; calls over 2G only; 5G in parts"
        )

    @each_example
    def test_no_code_leaks_into_a_sentence(self, row: dict[str, str]) -> None:
        sentence = describe(verdict_of(row["variant_id"], row["network"], date.fromisoformat(row["on"])))
        assert "_" not in sentence
        assert "|" not in sentence
        assert len(sentence) < 160
