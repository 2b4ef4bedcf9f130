"""May a customer's own phone be activated on this host? Not whether a shop may sell one.

To sell a phone takes the maker's and the carrier's leave; to activate one that somebody owns takes the host's policy
(who may attach), a way to make calls, and that the host has not stopped new activations of it. So the two come apart
in both directions: in 2016 T-Mobile let compatible unlocked phones in that no shop might sell for it, and a phone
that is approved and fits in part is sold with its limits named.

This never reads a decision of the shop: neither agreements nor holds, only what the host itself says of the variant.
And nothing that decides on a sale reads this. Pure: plain values in, no database, no clock. What each state of an
acceptance means for activations is the table of this project (docs/imei-check.md), no carrier's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from carriers.compatibility import DATA_LIMITS, Admission, Data, NetworkRules, Verdict, Voice


class Outcome(StrEnum):
    ADMITTED = "ADMITTED"
    ADMITTED_WITH_LIMITS = "ADMITTED_WITH_LIMITS"
    NOT_ADMITTED = "NOT_ADMITTED"
    NOT_KNOWN = "NOT_KNOWN"


class Standing(StrEnum):
    """What the host says of this exact variant, in its approval or technical acceptance.

    NONE: nothing that binds it now. Never asked, being tested, rejected, ended by its term, withdrawn by its sponsor:
    then its policy for all phones holds.
    """

    NONE = "NONE"
    APPROVED = "APPROVED"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class Word:
    """A reason code, and the sentence for people."""

    code: str
    words: str


@dataclass(frozen=True, slots=True)
class AdmissionAnswer:
    """`reasons`: why it is not admitted, or not known. `limits`: what does not work of a phone that is admitted.

    `cautions`: what may go wrong at the counter or in an emergency although the answer is yes.
    """

    outcome: Outcome
    reasons: tuple[Word, ...] = ()
    limits: tuple[Word, ...] = ()
    cautions: tuple[Word, ...] = ()

    @property
    def is_admitted(self) -> bool:
        return self.outcome in (Outcome.ADMITTED, Outcome.ADMITTED_WITH_LIMITS)

    @property
    def headline(self) -> str:
        """What no headline may leave out that says yes: no calls, or nobody knows. Empty where calls work."""
        return next((_HEADLINES[word.code] for word in self.limits if word.code in _HEADLINES), "")


# Every code this module gives, with its sentence. docs/imei-check.md lists them; a test compares.
WORDS: Mapping[str, str] = {
    # reasons
    "ACTIVATION_SUSPENDED": (
        "The network's approval of this model is suspended: no more of them are activated until that is lifted; lines "
        "that run go on"
    ),
    "ACTIVATION_REVOKED": (
        "The network has revoked its approval of this model: no more of them are activated; lines that run go on for a "
        "time that it sets"
    ),
    "NOT_ON_HOST_LIST": "The network activates listed phones only, and this model is not on its list",
    "NO_SERVICE": "No band of this phone carries data on this network",
    "ONLY_SECONDARY_BANDS": "Only secondary bands of this network, in few places, and no confirmed calls",
    "NOT_ON_VOICE_LIST": (
        "The network carries the calls of listed phones only, and this model is not on its list: no calls, 911 included"
    ),
    "NO_VOICE_PATH": "There is no way to make calls with it on this network, 911 included",
    "VOICE_UNCONFIRMED": "Whether calls work over LTE, 911 included, is not confirmed for this model",
    "RADIO_NOT_RECORDED": "The bands of this model, or of the network at that time, are not on record",
    # limits
    "LTE_IN_PARTS": "LTE in parts of the network only",
    "LTE_IN_FEW_PLACES": "LTE in few places only",
    "DATA_3G_ONLY": "3G data only",
    "DATA_2G_ONLY": "2G data only",
    "MISSING_COVERAGE_BAND": "Lacks a band that the network covers wide areas and buildings with",
    "VOICE_2G_ONLY": "Calls over 2G only",
    "NO_VOLTE": "Calls over the older network, not over LTE",
    "NO_5G": "No 5G",
    "5G_PARTIAL": "5G in parts",
    "APPROVED_WITH_LIMITS": "The network approved it with limits",
    "SOFTWARE_RANGE": "The network approved it with some software only",
    # cautions
    "LISTED_BY_APPROVAL": (
        "What is on record of its radio does not show it on the network's list; that the network approved it counts as "
        "being listed"
    ),
    "ACTIVATION_MAY_NEED_VOLTE": (
        "Sources disagree: from August 2020 on a new line may be refused to a phone without calls over LTE. Ask the "
        "network before you rely on it"
    ),
    "CALLS_MAY_FAIL_ON_B12": (
        "Where the phone finds band 12 and no older network it may be unable to call, 911 included: that its calls go "
        "over LTE here is not confirmed"
    ),
}

# Limits of an approval in force that a headline says itself: 911 hangs on them.
_NO_CALLS = "data only: no calls, 911 included"
_HEADLINES: Mapping[str, str] = {
    "NO_VOICE_PATH": _NO_CALLS,
    "NOT_ON_VOICE_LIST": _NO_CALLS,
    "VOICE_UNCONFIRMED": "not known whether calls work, 911 included",
    "RADIO_NOT_RECORDED": "not known what works, calls and 911 included",
}

_REASONS_THAT_LIMIT = ("VOICE_2G_ONLY", "NO_VOLTE", "NO_5G", "5G_PARTIAL")
_COVERAGE = "MISSING_COVERAGE_BAND"


def admit(
    verdict: Verdict | None,
    rules: NetworkRules | None,
    standing: Standing,
    *,
    limits: str = "",
    software: str = "",
) -> AdmissionAnswer:
    """The answer for one variant on one host on the day of the verdict.

    `verdict` and `rules` are None where radio or network are not on record. Of an approval in force, `limits` are its
    own words and `software` says which software it covers ("before 5.1"); both empty where it has none.

    What the host says of the model comes first, then its policy for all phones, then whether calls are possible. An
    approval in force opens a list: it is the host's own word that the model is on it. It makes no bands: a phone
    without service is not admitted, whatever was approved once.
    """
    if standing == Standing.SUSPENDED:
        return _refused("ACTIVATION_SUSPENDED")
    if standing == Standing.REVOKED:
        return _refused("ACTIVATION_REVOKED")
    is_approved = standing == Standing.APPROVED
    if verdict is None or rules is None:
        unknown = _word("RADIO_NOT_RECORDED")
        if not is_approved:
            return AdmissionAnswer(Outcome.NOT_KNOWN, reasons=(unknown,))
        return _admitted((*_limits_of_approval(limits, software), unknown), ())
    if "NOT_ON_HOST_LIST" in verdict.reasons and not is_approved:
        return _refused("NOT_ON_HOST_LIST")
    if verdict.data == Data.NONE:
        return _refused("NO_SERVICE")
    if verdict.data == Data.LTE_LIMITED and verdict.voice in (Voice.NONE, Voice.UNKNOWN):
        return _refused("ONLY_SECONDARY_BANDS")
    silent = _without_calls(verdict, rules)
    if silent and not is_approved:
        outcome = Outcome.NOT_KNOWN if verdict.voice == Voice.UNKNOWN else Outcome.NOT_ADMITTED
        return AdmissionAnswer(outcome, reasons=silent, cautions=_cautions(verdict))
    own = _limits_of_approval(limits, software) if is_approved else ()
    return _admitted((*own, *silent, *_limits_of_radio(verdict)), _cautions(verdict))


def _refused(code: str) -> AdmissionAnswer:
    return AdmissionAnswer(Outcome.NOT_ADMITTED, reasons=(_word(code),))


def _admitted(limits: tuple[Word, ...], cautions: tuple[Word, ...]) -> AdmissionAnswer:
    outcome = Outcome.ADMITTED_WITH_LIMITS if limits else Outcome.ADMITTED
    return AdmissionAnswer(outcome, limits=limits, cautions=cautions)


def _word(code: str, detail: str = "") -> Word:
    return Word(code, f"{WORDS[code]}: {detail}" if detail else WORDS[code])


def _without_calls(verdict: Verdict, rules: NetworkRules) -> tuple[Word, ...]:
    """Why calls are impossible or unconfirmed; empty where there is a way to make them."""
    if verdict.voice == Voice.UNKNOWN:
        return (_word("VOICE_UNCONFIRMED"),)
    if verdict.voice != Voice.NONE:
        return ()
    # The press of 2021 has it that phones off AT&T's list "will not work" at all; our verdict says no calls. Either
    # way no line is activated for one.
    return (_word("NOT_ON_VOICE_LIST" if rules.admission == Admission.VOICE_LIST else "NO_VOICE_PATH"),)


def _limits_of_approval(limits: str, software: str) -> tuple[Word, ...]:
    words = [_word("APPROVED_WITH_LIMITS", limits)] if limits else []
    if software:
        words.append(_word("SOFTWARE_RANGE", software))
    return tuple(words)


def _limits_of_radio(verdict: Verdict) -> tuple[Word, ...]:
    """What the verdict names as missing, FULL included: full says which bands, not that there is 5G."""
    words = [_word(DATA_LIMITS[verdict.data])] if verdict.data in DATA_LIMITS else []
    if "NO_LTE_BAND" not in verdict.reasons:
        # Without LTE its coverage bands need no further word.
        words += [_word(_COVERAGE, bands.replace("|", " or ")) for bands in verdict.missing_coverage_bands]
    words += [_word(code) for code in _REASONS_THAT_LIMIT if code in verdict.reasons]
    return tuple(words)


def _cautions(verdict: Verdict) -> tuple[Word, ...]:
    """From what keeps a host from certifying a phone: what its owner meets. And where an approval opened a list.

    The Desk (July 2020) and SlashGear have the rule of 4 August 2020, ViewPointz (February 2021) that it was put on
    hold; whether lines of virtual operators fell under it was unclear. So it warns and does not refuse.
    """
    words = []
    if "NOT_ON_HOST_LIST" in verdict.reasons:
        words.append(_word("LISTED_BY_APPROVAL"))
    if "VOLTE_REQUIRED" in verdict.certification_blockers:
        words.append(_word("ACTIVATION_MAY_NEED_VOLTE"))
    # FierceWireless, 28 Aug 2015: why T-Mobile certifies band 12 with VoLTE and E911 only.
    if "B12_REQUIRES_VOLTE_E911" in verdict.certification_blockers:
        words.append(_word("CALLS_MAY_FAIL_ON_B12"))
    return tuple(words)
