"""May a customer's own phone be activated? The table of states, the rules of hosts, and what history says."""

from datetime import date
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriers.admission import WORDS, AdmissionAnswer, Outcome, Standing, admit
from carriers.compatibility import Admission, Data, Level, NetworkRules, Sub, Verdict, Voice, assess
from tests.carriers.reference import LISTED_PHONES_ON_SALE, network_bands, network_rules, radio

ROOT = Path(__file__).parents[2]
JUNE_2022 = date(2022, 6, 23)


def ask(
    variant: str, network: str, on: date, *, era: str, standing: Standing = Standing.NONE, **said: str
) -> AdmissionAnswer:
    rules = network_rules(network, era)
    verdict = assess(radio(variant, network), network_bands(network, era), rules, on=on)
    return admit(verdict, rules, standing, **said)


def codes(words) -> list[str]:
    return [word.code for word in words]


# --- the states of an acceptance ----------------------------------------------------------------------------

# The column "Activate BYOD": an open host follows its policy, a host with a list does not admit what is not on it.
BY_STATE = {
    Standing.NONE: (True, False),
    Standing.APPROVED: (True, True),
    Standing.SUSPENDED: (False, False),
    Standing.REVOKED: (False, False),
}


@pytest.mark.parametrize("standing", Standing)
def test_the_table_of_states(standing):
    """A compatible phone that nobody listed: on T-Mobile, which is open, and on Verizon, which has a list."""
    on_open, on_list = BY_STATE[standing]
    compatible = ask("oneplus-2-a2005", "tmobile", LISTED_PHONES_ON_SALE, era="2016", standing=standing)
    unlisted = ask("nothing-phone1-a063", "verizon", JUNE_2022, era="2026", standing=standing)
    assert compatible.is_admitted is on_open
    assert unlisted.is_admitted is on_list


def test_a_stop_of_the_host_says_so_and_nothing_else():
    suspended = ask(
        "apple-iphone6-a1549", "tmobile", LISTED_PHONES_ON_SALE, era="2016", standing=Standing.SUSPENDED
    )
    assert (codes(suspended.reasons), suspended.limits) == (["ACTIVATION_SUSPENDED"], ())
    revoked = ask(
        "apple-iphone6-a1549", "tmobile", LISTED_PHONES_ON_SALE, era="2016", standing=Standing.REVOKED
    )
    assert codes(revoked.reasons) == ["ACTIVATION_REVOKED"]


def test_the_limits_of_an_approval_are_named_in_its_own_words():
    answer = ask(
        "apple-iphone6-a1549",
        "att",
        LISTED_PHONES_ON_SALE,
        era="2016",
        standing=Standing.APPROVED,
        limits="B12 off",
        software="before 9.3",
    )
    assert answer.outcome == Outcome.ADMITTED_WITH_LIMITS
    assert [word.words for word in answer.limits] == [
        "The network approved it with limits: B12 off",
        "The network approved it with some software only: before 9.3",
    ]


# --- what history says --------------------------------------------------------------------------------------


def test_nothing_phone_1_in_june_2022_on_three_hosts():
    """T-Mobile "unpredictable", AT&T no VoLTE, Verizon no service (Gizmochina, 23 Jun 2022)."""
    tmobile, att, verizon = (
        ask("nothing-phone1-a063", network, JUNE_2022, era="2026")
        for network in ("tmobile", "att", "verizon")
    )
    assert tmobile.outcome == Outcome.ADMITTED_WITH_LIMITS
    assert codes(tmobile.limits) == ["LTE_IN_PARTS", "MISSING_COVERAGE_BAND", "5G_PARTIAL"]
    assert tmobile.limits[1].words.endswith("B71")
    assert (att.outcome, codes(att.reasons)) == (Outcome.NOT_ADMITTED, ["NOT_ON_VOICE_LIST"])
    assert (verizon.outcome, codes(verizon.reasons)) == (Outcome.NOT_ADMITTED, ["NOT_ON_HOST_LIST"])


@pytest.mark.parametrize("variant", ["xiaomi-redmi2-2014811", "xiaomi-mi3-2013062", "xiaomi-mi4-2014215"])
def test_the_phones_that_were_taken_off_sale_could_be_brought(variant):
    """2 February 2016: the host had not tested them, so nobody might sell them for it. It let in who owned one."""
    answer = ask(variant, "tmobile", LISTED_PHONES_ON_SALE, era="2016")
    assert answer.outcome == Outcome.ADMITTED_WITH_LIMITS
    assert codes(answer.limits) == ["DATA_3G_ONLY"]
    later = ask(variant, "tmobile", date(2026, 11, 22), era="2026")
    assert later.outcome == Outcome.NOT_ADMITTED


def test_a_phone_that_was_sold_though_it_fits_in_part_may_be_brought():
    answer = ask(
        "apple-iphone6-a1549", "tmobile", LISTED_PHONES_ON_SALE, era="2016", standing=Standing.APPROVED
    )
    assert codes(answer.limits) == ["LTE_IN_PARTS", "MISSING_COVERAGE_BAND"]
    full = ask("apple-iphone6-a1549", "att", LISTED_PHONES_ON_SALE, era="2016")
    assert (full.outcome, full.limits) == (Outcome.ADMITTED, ())


def test_band_12_without_calls_over_lte_is_a_caution_of_those_who_bring_it():
    answer = ask("oneplus-2-a2005", "tmobile", LISTED_PHONES_ON_SALE, era="2016")
    assert answer.is_admitted
    assert codes(answer.cautions) == ["CALLS_MAY_FAIL_ON_B12"]
    earlier = ask("oneplus-2-a2005", "tmobile", date(2015, 8, 27), era="2016")
    assert earlier.cautions == ()


@pytest.mark.parametrize(
    ("on", "cautions"), [(date(2020, 8, 3), []), (date(2020, 8, 4), ["ACTIVATION_MAY_NEED_VOLTE"])]
)
def test_from_august_2020_t_mobile_may_refuse_a_new_line_without_volte(on, cautions):
    """The sources disagree, so it warns: a 3G phone still makes calls until July 2022."""
    answer = ask("xiaomi-redmi2-2014811", "tmobile", on, era="2016")
    assert answer.is_admitted
    assert codes(answer.cautions) == cautions


def test_calls_that_nobody_confirmed_are_not_known():
    answer = ask("google-pixel8pro-gc3ve", "tmobile", date(2026, 11, 22), era="2026")
    assert (answer.outcome, codes(answer.reasons)) == (Outcome.NOT_KNOWN, ["VOICE_UNCONFIRMED"])
    approved = ask(
        "google-pixel8pro-gc3ve", "tmobile", date(2026, 11, 22), era="2026", standing=Standing.APPROVED
    )
    assert approved.is_admitted
    assert "VOICE_UNCONFIRMED" in codes(approved.limits)


def test_an_approval_that_opens_a_list_says_that_the_records_differ():
    answer = ask("nothing-phone1-a063", "verizon", JUNE_2022, era="2026", standing=Standing.APPROVED)
    assert answer.is_admitted
    assert codes(answer.cautions) == ["LISTED_BY_APPROVAL"]


def test_what_is_not_on_record_is_not_known_unless_the_host_said_so():
    assert admit(None, None, Standing.NONE).outcome == Outcome.NOT_KNOWN
    assert codes(admit(None, None, Standing.APPROVED).limits) == ["RADIO_NOT_RECORDED"]
    assert admit(None, None, Standing.SUSPENDED).outcome == Outcome.NOT_ADMITTED


# --- for every verdict --------------------------------------------------------------------------------------

verdicts = st.builds(
    Verdict,
    level=st.sampled_from(Level),
    sub=st.just(Sub.EMPTY),
    voice=st.sampled_from(Voice),
    data=st.sampled_from(Data),
    reasons=st.lists(
        st.sampled_from(
            ["NOT_ON_HOST_LIST", "NO_LTE_BAND", "NO_5G", "NO_VOLTE", "MISSING_COVERAGE_BAND:B12|B17"]
        ),
        unique=True,
    ).map(tuple),
    certification_blockers=st.lists(
        st.sampled_from(["VOLTE_REQUIRED", "B12_REQUIRES_VOLTE_E911", "NO_FCC_GRANT"]), unique=True
    ).map(tuple),
    input_confidence=st.none(),
)
networks = st.builds(NetworkRules, network=st.just("any"), admission=st.sampled_from(Admission))


@given(verdicts, networks)
def test_an_approval_never_makes_it_worse_and_a_stop_always_stops(verdict, rules):
    without = admit(verdict, rules, Standing.NONE)
    assert admit(verdict, rules, Standing.APPROVED).is_admitted or not without.is_admitted
    for standing in (Standing.SUSPENDED, Standing.REVOKED):
        assert admit(verdict, rules, standing).outcome == Outcome.NOT_ADMITTED


@given(verdicts, networks, st.sampled_from(Standing))
def test_every_answer_says_why_and_in_words(verdict, rules, standing):
    answer = admit(verdict, rules, standing)
    assert bool(answer.reasons) is not answer.is_admitted
    assert bool(answer.limits) is (answer.outcome == Outcome.ADMITTED_WITH_LIMITS)
    for word in (*answer.reasons, *answer.limits, *answer.cautions):
        assert word.words.startswith(WORDS[word.code])


@given(verdicts, networks)
def test_a_phone_without_calls_is_admitted_on_the_hosts_own_word_only(verdict, rules):
    if verdict.voice in (Voice.NONE, Voice.UNKNOWN):
        assert not admit(verdict, rules, Standing.NONE).is_admitted


@given(st.none() | verdicts, networks, st.sampled_from(Standing))
def test_a_yes_without_confirmed_calls_says_so_in_its_headline(verdict, rules, standing):
    answer = admit(verdict, None if verdict is None else rules, standing)
    calls = verdict is not None and verdict.voice not in (Voice.NONE, Voice.UNKNOWN)
    if answer.is_admitted:
        assert (answer.headline == "") is calls
        assert calls or "911 included" in answer.headline
        if verdict is not None and verdict.voice == Voice.NONE:
            assert answer.headline == "data only: no calls, 911 included"


def test_papers_of_certification_keep_nobody_from_bringing_a_phone():
    """They stand between a phone and its sale."""
    for papers, standing in product([(), ("NO_FCC_GRANT", "NO_PTCRB")], [Standing.NONE, Standing.APPROVED]):
        verdict = Verdict(Level.FULL, Sub.EMPTY, Voice.CS, Data.LTE_FULL, (), papers, None)
        assert admit(verdict, NetworkRules("any", Admission.OPEN), standing).outcome == Outcome.ADMITTED


def test_every_code_is_documented():
    page = (ROOT / "docs" / "imei-check.md").read_text(encoding="utf-8")
    for code in WORDS:
        assert f"`{code}`" in page
