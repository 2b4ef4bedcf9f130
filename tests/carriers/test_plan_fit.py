"""Which plan works on which phone: the whole table, axis by axis."""

import pytest

from carriers.compatibility import Data, Level, Sub, Verdict, Voice
from carriers.plan_fit import PlanFit, plan_fit


def verdict(
    voice: Voice, data: Data = Data.LTE_FULL, level: Level = Level.FULL, blockers: tuple[str, ...] = ()
) -> Verdict:
    return Verdict(
        level=level,
        sub=Sub.EMPTY,
        voice=voice,
        data=data,
        reasons=(),
        certification_blockers=blockers,
        input_confidence=None,
    )


NOTHING: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("voice", "needs_voice", "needs_volte", "obstacles"),
    [
        (Voice.CS_AND_VOLTE, False, False, NOTHING),
        (Voice.CS_AND_VOLTE, True, False, NOTHING),
        (Voice.CS_AND_VOLTE, False, True, NOTHING),
        (Voice.CS_AND_VOLTE, True, True, NOTHING),
        (Voice.VOLTE, False, False, NOTHING),
        (Voice.VOLTE, True, False, NOTHING),
        (Voice.VOLTE, False, True, NOTHING),
        (Voice.VOLTE, True, True, NOTHING),
        (Voice.CS, False, False, NOTHING),
        (Voice.CS, True, False, NOTHING),
        (Voice.CS, False, True, ("NO_VOLTE",)),
        (Voice.CS, True, True, ("NO_VOLTE",)),
        (Voice.UNKNOWN, False, False, NOTHING),
        (Voice.UNKNOWN, True, False, ("VOICE_UNCONFIRMED",)),
        (Voice.UNKNOWN, False, True, ("VOICE_UNCONFIRMED",)),
        (Voice.UNKNOWN, True, True, ("VOICE_UNCONFIRMED",)),
        (Voice.NONE, False, False, NOTHING),
        (Voice.NONE, True, False, ("NO_VOICE_PATH",)),
        (Voice.NONE, False, True, ("NO_VOLTE",)),
        (Voice.NONE, True, True, ("NO_VOICE_PATH", "NO_VOLTE")),
    ],
)
@pytest.mark.parametrize("needs_data", [True, False])
def test_voice(
    voice: Voice, needs_voice: bool, needs_volte: bool, obstacles: tuple[str, ...], needs_data: bool
) -> None:
    fit = plan_fit(verdict(voice), needs_voice=needs_voice, needs_data=needs_data, needs_volte=needs_volte)
    assert fit == PlanFit(fits=not obstacles, limits=obstacles)


@pytest.mark.parametrize(
    ("data", "cautions"),
    [
        (Data.LTE_FULL, NOTHING),
        (Data.LTE_PARTIAL, ("LTE_IN_PARTS",)),
        (Data.LTE_LIMITED, ("LTE_IN_FEW_PLACES",)),
        (Data.UMTS, ("DATA_3G_ONLY",)),
        (Data.GSM, ("DATA_2G_ONLY",)),
    ],
)
def test_poor_data_is_named_and_still_fits(data: Data, cautions: tuple[str, ...]) -> None:
    poor = verdict(Voice.CS, data, Level.PARTIAL)
    assert plan_fit(poor, needs_voice=True, needs_data=True, needs_volte=False) == PlanFit(True, cautions)
    assert plan_fit(poor, needs_voice=True, needs_data=False, needs_volte=False) == PlanFit(True, NOTHING)


@pytest.mark.parametrize("needs_voice", [True, False])
@pytest.mark.parametrize("needs_data", [True, False])
@pytest.mark.parametrize("needs_volte", [True, False])
def test_no_plan_fits_a_phone_without_service(needs_voice: bool, needs_data: bool, needs_volte: bool) -> None:
    # A closed host keeps out a phone whose axes look perfect; the level decides, not the axes.
    shut_out = verdict(Voice.CS_AND_VOLTE, Data.LTE_FULL, Level.NONE)
    fit = plan_fit(shut_out, needs_voice=needs_voice, needs_data=needs_data, needs_volte=needs_volte)
    assert fit == PlanFit(False, ("NO_SERVICE",))


def test_obstacles_come_before_cautions() -> None:
    fit = plan_fit(
        verdict(Voice.NONE, Data.LTE_PARTIAL, Level.DATA_ONLY, ("VOLTE_REQUIRED",)),
        needs_voice=True,
        needs_data=True,
        needs_volte=True,
    )
    assert fit == PlanFit(False, ("NO_VOICE_PATH", "NO_VOLTE", "LTE_IN_PARTS", "ACTIVATION_MAY_NEED_VOLTE"))


def test_the_activation_rule_of_the_host_warns_and_does_not_refuse() -> None:
    tablet_like = verdict(Voice.NONE, Data.LTE_FULL, Level.DATA_ONLY, ("VOLTE_REQUIRED",))
    fit = plan_fit(tablet_like, needs_voice=False, needs_data=True, needs_volte=False)
    assert fit == PlanFit(True, ("ACTIVATION_MAY_NEED_VOLTE",))


def test_other_blockers_say_nothing_about_a_plan() -> None:
    blocked = verdict(Voice.CS, blockers=("B12_REQUIRES_VOLTE_E911", "NO_FCC_GRANT"))
    assert plan_fit(blocked, needs_voice=True, needs_data=True, needs_volte=False) == PlanFit(True, NOTHING)
