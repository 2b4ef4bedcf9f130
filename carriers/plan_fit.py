"""Does a prepaid plan work on a phone? Plain Python, from the verdict alone."""

from dataclasses import dataclass

from carriers.compatibility import DATA_LIMITS, Level, Verdict, Voice


@dataclass(frozen=True, slots=True)
class PlanFit:
    """Does the plan work on the phone; and what the shopper must know either way."""

    fits: bool
    limits: tuple[str, ...]


def plan_fit(verdict: Verdict, *, needs_voice: bool, needs_data: bool, needs_volte: bool) -> PlanFit:
    """Does a prepaid plan with these needs work on a phone with this verdict? (All rules: own choice.)

    Unknown counts as no: a plan with calls must not be sold on hope, because 911 hangs on them. Slow or
    patchy data still fits and is named as a limit, so that the shopper decides.
    """
    if verdict.level == Level.NONE:
        return PlanFit(fits=False, limits=("NO_SERVICE",))
    obstacles = _voice_obstacles(verdict.voice, needs_voice=needs_voice, needs_volte=needs_volte)
    cautions = []
    if needs_data and verdict.data in DATA_LIMITS:
        cautions.append(DATA_LIMITS[verdict.data])
    # Only a caution: whether the rule reaches lines of an MVNO was unclear (The Desk, July 2020), and it was
    # reported as put on hold (ViewPointz, 5 Feb 2021).
    if "VOLTE_REQUIRED" in verdict.certification_blockers:
        cautions.append("ACTIVATION_MAY_NEED_VOLTE")
    return PlanFit(fits=not obstacles, limits=(*obstacles, *cautions))


def _voice_obstacles(voice: Voice, *, needs_voice: bool, needs_volte: bool) -> list[str]:
    if voice == Voice.UNKNOWN:
        return ["VOICE_UNCONFIRMED"] if needs_voice or needs_volte else []
    obstacles = []
    if needs_voice and voice == Voice.NONE:
        obstacles.append("NO_VOICE_PATH")
    if needs_volte and not voice.over_lte:
        obstacles.append("NO_VOLTE")
    return obstacles
