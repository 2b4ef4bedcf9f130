"""A host's snapshot compiled for a day answers as the plain definition does, for any phones in any company."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriers.compatibility import (
    Confidence,
    DeviceRadio,
    Ims,
    Judge,
    NetworkRules,
    Papers,
    Rat,
    assess,
    assess_many,
)
from tests.carriers.reference import ERAS, EXAMPLES, network_bands, network_rules, radio, rows
from tests.carriers.test_compatibility_properties import Situation, situations

marks = st.sampled_from([None, *Confidence])


def phone(situation: Situation, confidence: Confidence | None = None) -> DeviceRadio:
    return DeviceRadio.from_bands(
        situation.bands, ims=situation.ims, listed=situation.listed, confidence=confidence
    )


def near(radio: DeviceRadio) -> list[DeviceRadio]:
    """Phones that differ from this one in one thing only: a judge must not take one for the other."""
    lte = radio.bands.get(Rat.LTE, frozenset())
    return [
        radio,
        *(replace(radio, ims=ims) for ims in Ims),
        replace(radio, listed=not radio.listed),
        *(replace(radio, confidence=mark) for mark in (None, *Confidence)),
        *(
            replace(radio, bands={**radio.bands, Rat.LTE: lte ^ {name}})
            for name in ("B12", "B17", "B66", "B71")
        ),
        replace(radio, bands={**radio.bands, Rat.NR: radio.bands.get(Rat.NR, frozenset()) ^ {"n71"}}),
        replace(radio, bands={rat: names for rat, names in radio.bands.items() if rat != Rat.UMTS}),
    ]


@settings(max_examples=300)
@given(situations, st.lists(st.tuples(situations, marks), max_size=4))
def test_judged_together_phones_get_what_each_gets_alone(
    host: Situation, others: list[tuple[Situation, Confidence | None]]
) -> None:
    phones = [phone(host), *(phone(other, mark) for other, mark in others)]
    asked = [variation for each in phones for variation in near(each)]
    alone = [assess(each, host.network, host.rules, on=host.day) for each in asked]
    assert assess_many(asked, host.network, host.rules, on=host.day) == alone
    # The order in which they come leaves nothing behind for those who come later.
    backward = assess_many(asked[::-1], host.network, host.rules, on=host.day)
    assert backward == alone[::-1]


@given(situations)
def test_one_by_one_a_judge_answers_the_same_and_papers_are_of_one_phone(situation: Situation) -> None:
    judge = Judge(situation.network, situation.rules, on=situation.day)
    known = Papers(fcc_grant=False, ptcrb=False, fcc_covered_list=True)
    for each in near(phone(situation)):
        for papers in (Papers(), known, Papers()):
            definition = assess(each, situation.network, situation.rules, on=situation.day, papers=papers)
            assert judge.assess(each, papers) == definition


@pytest.mark.parametrize(
    ("network", "day"), [(host, day) for day in ERAS for host in ("tmobile", "att", "verizon")]
)
def test_every_worked_example_of_a_host_judged_in_one_call(network: str, day: date) -> None:
    examples = [row for row in rows(EXAMPLES) if (row["network"], row["on"]) == (network, day.isoformat())]
    assert examples
    verdicts = assess_many(
        [radio(row["variant_id"], network) for row in examples],
        network_bands(network, ERAS[day]),
        network_rules(network, ERAS[day]),
        on=day,
    )
    for row, verdict in zip(examples, verdicts, strict=True):
        found = (verdict.level, verdict.sub, verdict.voice, verdict.data, " ".join(verdict.reasons))
        assert found == (row["verdict"], row["sub"], row["voice"], row["data"], row["reasons"]), row
        assert " ".join(verdict.certification_blockers) == row["cert_blockers"], row
        assert (verdict.input_confidence or "") == row["input_confidence"], row


def test_nothing_is_judged_of_nobody_and_on_a_host_without_bands() -> None:
    rules = network_rules("tmobile", "2016")
    assert assess_many([], network_bands("tmobile", "2016"), rules, on=date(2016, 2, 2)) == []
    bare = DeviceRadio(bands={}, ims=Ims.NO, listed=False)
    nothing = NetworkRules("nobody", rules.admission)
    assert assess_many([bare], [], nothing, on=date(2016, 2, 2)) == [
        assess(bare, [], nothing, on=date(2016, 2, 2))
    ]
