"""A verdict in words for people. Plain Python, from the verdict alone."""

from collections.abc import Mapping

from carriers.compatibility import Confidence, Data, Level, Verdict


def describe(verdict: Verdict) -> str:
    """One plain sentence for shoppers, without a full stop; it says so when band lists are unconfirmed."""
    clauses = [_headline(verdict)]
    # What a phone that gets no service lacks besides is noise.
    if verdict.level != Level.NONE:
        clauses += _caveats(verdict)
    unverified = " (unverified)" if verdict.input_confidence == Confidence.LOW else ""
    return "; ".join(clauses) + unverified


def _headline(verdict: Verdict) -> str:
    match verdict.level:
        case Level.NONE:
            return _why_not_at_all(verdict.reasons)
        case Level.DATA_ONLY:
            return "Data only: no calls on this network, so do not rely on it for 911"
        case Level.UNKNOWN:
            return "Data works, but it is not confirmed that calls do, 911 included"
        case Level.FULL:
            return "Calls and LTE on all main bands of this network"
        case Level.PARTIAL:
            return _PARTIAL_HEADLINES[verdict.data]


_PARTIAL_HEADLINES: Mapping[Data, str] = {
    Data.LTE_PARTIAL: "LTE on some of the main bands of this network",
    Data.LTE_LIMITED: "LTE on none of the main bands of this network, so in few places",
    Data.UMTS: "3G only",
    Data.GSM: "2G only",
}


def _why_not_at_all(reasons: tuple[str, ...]) -> str:
    if "NOT_ON_HOST_LIST" in reasons:
        return "No service: this network accepts listed phones only, and this one is not listed"
    if "ONLY_SECONDARY_BANDS" in reasons:
        return "Does not work: only secondary LTE bands of this network, and no confirmed calls"
    return "Does not work: no data on any band of this network"


def _caveats(verdict: Verdict) -> list[str]:
    reasons = verdict.reasons
    if "NO_LTE_BAND" in reasons:
        # Without LTE the coverage bands, the way of calls and 5G need no further word.
        return ["no LTE band of this network"]
    clauses = []
    if verdict.missing_coverage_bands:
        names = " and ".join(bands.replace("|", " or ") for bands in verdict.missing_coverage_bands)
        clauses.append(f"lacks its wide-coverage {names}")
    if "VOICE_2G_ONLY" in reasons:
        clauses.append("calls over 2G only")
    elif "NO_VOLTE" in reasons:
        clauses.append("calls over the older network, not over LTE")
    if "NO_5G" in reasons:
        clauses.append("no 5G")
    elif "5G_PARTIAL" in reasons:
        clauses.append("5G in parts")
    return clauses
