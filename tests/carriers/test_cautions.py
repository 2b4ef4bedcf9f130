"""What is said beside a verdict of how sure its inputs are."""

from datetime import date, timedelta
from functools import partial

import pytest

from carriers.cautions import Code, NetworkMarks, VariantMarks, cautions, network_cautions
from carriers.compatibility import (
    Admission,
    Confidence,
    DeviceBand,
    DeviceRadio,
    Group,
    Ims,
    NetworkBand,
    NetworkRules,
    Rat,
    Service,
)

DAY = date(2026, 11, 22)
LOW, MEDIUM, HIGH = Confidence.LOW, Confidence.MEDIUM, Confidence.HIGH
OPEN, CLOSED = NetworkRules("tmobile", Admission.OPEN), NetworkRules("verizon", Admission.LIST)
NETWORK = (
    NetworkBand(Rat.UMTS, "B2", Group.UMTS, Service.CS, date(2022, 7, 1)),
    NetworkBand(Rat.LTE, "B4", Group.LTE_CORE, Service.VOLTE),
    NetworkBand(Rat.LTE, "B66", Group.LTE_CORE, Service.VOLTE),
    NetworkBand(Rat.LTE, "B12", Group.LTE_COV, Service.VOLTE),
    NetworkBand(Rat.NR, "n25", Group.NR_EXTRA, Service.VONR),
)
# A check on the day asked about: what is not about age says nothing of it.
marked, network_marked = partial(VariantMarks, checked_on=DAY), partial(NetworkMarks, checked_on=DAY)
SURE = network_marked(bands=(HIGH, HIGH, HIGH, HIGH, HIGH), rules=HIGH)


def phone(*bands: str, ims: Ims = Ims.NO) -> DeviceRadio:
    split = [name.split() for name in bands]
    return DeviceRadio.from_bands(
        (DeviceBand(Rat(rat), name) for rat, name in split), ims=ims, listed=ims == Ims.YES
    )


def said(
    radio: DeviceRadio,
    variant: VariantMarks,
    marks: NetworkMarks = SURE,
    rules: NetworkRules = OPEN,
    on: date = DAY,
) -> dict[str, str]:
    found = cautions(radio, variant, NETWORK, rules, marks, on=on, stale_after_days=365)
    assert len({caution.code for caution in found}) == len(found)
    return {str(caution.code): caution.words for caution in found}


PHONE = phone("LTE B4", "LTE B12")
BOTH_LOW = marked(bands={Rat.LTE: LOW, Rat.UMTS: LOW, Rat.GSM: LOW, Rat.NR: LOW})


def test_sure_values_are_shown_without_a_word() -> None:
    sure = marked(bands=dict.fromkeys(Rat, HIGH), ims=MEDIUM, ims_source="PHNEWS", checked_on=DAY)
    assert said(PHONE, sure) == {}
    assert said(PHONE, marked()) == {}, "what nobody marked is not called unverified"


class TestBands:
    def test_only_generations_that_the_host_runs_on_that_day_are_named(self) -> None:
        """GSM is not there; UMTS went off in 2022; of 5G there is only a band that no verdict reads."""
        assert said(PHONE, BOTH_LOW)["BANDS_UNVERIFIED"].startswith("LTE bands of this model are unverified")
        before = said(PHONE, BOTH_LOW, on=date(2022, 6, 30))["BANDS_UNVERIFIED"]
        assert before.startswith("3G and LTE bands of this model are unverified: nobody confirmed them")

    @pytest.mark.parametrize("mark", [MEDIUM, HIGH, None])
    def test_one_source_is_enough_to_say_nothing(self, mark: Confidence | None) -> None:
        assert said(PHONE, marked(bands={Rat.LTE: mark})) == {}


class TestVoiceOverLte:
    @pytest.mark.parametrize(
        ("mark", "source", "is_said"),
        [
            (LOW, "PHNEWS", True),
            (MEDIUM, "K", True),
            (MEDIUM, "K+PHNEWS", False),
            (MEDIUM, "PHNEWS", False),
            (None, "", False),
        ],
    )
    def test_low_or_without_a_source(self, mark: Confidence | None, source: str, is_said: bool) -> None:
        found = said(PHONE, marked(ims=mark, ims_source=source))
        assert ("VOLTE_UNVERIFIED" in found) == is_said

    @pytest.mark.parametrize("ims", [Ims.YES, Ims.NO, Ims.PENDING])
    def test_any_stated_status_may_be_wrong(self, ims: Ims) -> None:
        assert "VOLTE_UNVERIFIED" in said(phone("LTE B4", ims=ims), marked(ims=LOW))

    def test_unknown_is_said_by_the_verdict_itself(self) -> None:
        assert said(phone("LTE B4", ims=Ims.UNKNOWN), marked(ims=LOW)) == {}

    def test_without_lte_in_reach_it_decides_nothing_but_a_list(self) -> None:
        """Who is on a host's list is read from voice over LTE: there it decides though no LTE band is reached."""
        assert said(phone("UMTS B2"), marked(ims=LOW)) == {}
        assert "VOLTE_UNVERIFIED" in said(phone("UMTS B2"), marked(ims=LOW), rules=CLOSED)


class TestNetwork:
    def test_a_group_stands_on_the_surest_band_that_hits_it(self) -> None:
        marks = network_marked(bands=(HIGH, HIGH, LOW, HIGH, HIGH), rules=HIGH)
        assert said(phone("LTE B66", "LTE B12"), marked(), marks) == {}, "B66 covers B4, which is sure"
        # B4 alone misses B66; the group is hit by the sure one.
        assert said(PHONE, marked(), marks) == {}
        other = network_marked(bands=(HIGH, LOW, HIGH, HIGH, HIGH), rules=HIGH)
        words = said(PHONE, marked(), other)["NETWORK_UNVERIFIED"]
        assert words == "of this network is unverified: LTE B4"

    def test_a_band_that_is_missed_decides_too(self) -> None:
        marks = network_marked(bands=(HIGH, HIGH, HIGH, LOW, HIGH), rules=HIGH, checked_on=DAY)
        words = said(phone("LTE B4"), marked(), marks)["NETWORK_UNVERIFIED"]
        assert words == "of this network is unverified: LTE B12"

    def test_what_is_off_and_what_no_verdict_reads_is_left_out(self) -> None:
        marks = network_marked(bands=(LOW, HIGH, HIGH, HIGH, LOW), rules=HIGH)
        assert said(PHONE, marked(), marks) == {}
        assert "NETWORK_UNVERIFIED" in said(PHONE, marked(), marks, on=date(2022, 6, 30))

    def test_the_rule_of_admission_is_named(self) -> None:
        marks = network_marked(bands=SURE.bands, rules=LOW, checked_on=DAY)
        words = said(PHONE, marked(), marks)["NETWORK_UNVERIFIED"]
        assert words == "of this network is unverified: whom it admits"

    def test_a_network_alone_tells_of_each_of_its_bands(self) -> None:
        marks = network_marked(
            bands=(LOW, HIGH, LOW, HIGH, LOW), rules=LOW, checked_on=DAY - timedelta(days=400)
        )
        found = network_cautions(NETWORK, marks, on=DAY, stale_after_days=365)
        assert [(caution.code, caution.words) for caution in found] == [
            (Code.NETWORK_UNVERIFIED, "of this network is unverified: LTE B66, NR n25 and whom it admits"),
            (
                Code.NETWORK_STALE,
                "what is recorded of this network was last checked on 2025-10-18, 400 days earlier",
            ),
        ]


class TestStale:
    @pytest.mark.parametrize(("age", "is_stale"), [(0, False), (365, False), (366, True), (2000, True)])
    def test_the_border_is_the_setting(self, age: int, is_stale: bool) -> None:
        checked_on = DAY - timedelta(days=age)
        found = said(
            PHONE,
            marked(checked_on=checked_on),
            network_marked(bands=SURE.bands, rules=HIGH, checked_on=checked_on),
        )
        assert set(found) == ({"BANDS_STALE", "NETWORK_STALE"} if is_stale else set())

    def test_it_says_when(self) -> None:
        found = said(PHONE, marked(checked_on=date(2024, 1, 5)))
        assert found == {
            "BANDS_STALE": "what is recorded of this model was last checked on 2024-01-05, 1,052 days earlier"
        }

    def test_a_check_after_the_day_asked_about_is_not_old(self) -> None:
        assert said(PHONE, marked(checked_on=DAY), on=date(2016, 2, 2)) == {}

    def test_what_was_never_checked_is_as_stale_as_the_desk_calls_it(self) -> None:
        assert said(PHONE, VariantMarks(), NetworkMarks(bands=SURE.bands, rules=HIGH)) == {
            "BANDS_STALE": "of what is recorded of this model no check is on record",
            "NETWORK_STALE": "of what is recorded of this network no check is on record",
        }
        alone = network_cautions(NETWORK, NetworkMarks(bands=SURE.bands), on=DAY, stale_after_days=365)
        assert [caution.code for caution in alone] == [Code.NETWORK_STALE]
