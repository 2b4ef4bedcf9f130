"""What to say beside a verdict about how sure its inputs are. Plain Python; nothing here changes a verdict.

Only inputs that the verdict used are spoken of: generations that the host runs on that day, bands that decided. A value
is unverified if its mark is low (nobody confirmed it); voice over LTE also if no source was read for it, because calls,
911 included, hang on it. It is stale if it was last compared with its sources longer before the day asked about than
`stale_after_days`, or if no such check is on record, as on the desk; a check on that day or later is not old. All of
this is this project's own choice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from carriers.compatibility import (
    Admission,
    Confidence,
    DeviceRadio,
    Group,
    Ims,
    NetworkBand,
    NetworkRules,
    Rat,
)

# The code of a source that stands for general knowledge (seeds/reference/README.md).
NO_SOURCE_READ = "K"


class Code(StrEnum):
    BANDS_UNVERIFIED = "BANDS_UNVERIFIED"
    VOLTE_UNVERIFIED = "VOLTE_UNVERIFIED"
    NETWORK_UNVERIFIED = "NETWORK_UNVERIFIED"
    BANDS_STALE = "BANDS_STALE"
    NETWORK_STALE = "NETWORK_STALE"


@dataclass(frozen=True, slots=True)
class Caution:
    """`words`: for people, one clause without a full stop."""

    code: Code
    words: str


@dataclass(frozen=True, slots=True)
class VariantMarks:
    """How sure the values of a variant's radio are. `checked_on`: None where no check is on record.

    `bands`: the lowest mark of the list and its bands by generation; None: nobody marked it. `ims_source`: codes joined
    by a plus.
    """

    bands: Mapping[Rat, Confidence | None] = field(default_factory=dict)
    ims: Confidence | None = None
    ims_source: str = ""
    checked_on: date | None = None


@dataclass(frozen=True, slots=True)
class NetworkMarks:
    """How sure a snapshot's values are. `bands`: in the order of its bands."""

    bands: Sequence[Confidence | None] = ()
    rules: Confidence | None = None
    checked_on: date | None = None


_GENERATIONS: Mapping[Rat, str] = {
    Rat.GSM: "2G",
    Rat.UMTS: "3G",
    Rat.CDMA: "CDMA",
    Rat.LTE: "LTE",
    Rat.NR: "5G",
}


def cautions(
    radio: DeviceRadio,
    variant: VariantMarks,
    network: Sequence[NetworkBand],
    rules: NetworkRules,
    marks: NetworkMarks,
    *,
    on: date,
    stale_after_days: int,
) -> tuple[Caution, ...]:
    """Everything to be said beside the verdict of this phone on this host's snapshot on this day."""
    groups = _groups(network, marks, on)
    found = []
    if words := _unverified_bands(variant, groups):
        found.append(Caution(Code.BANDS_UNVERIFIED, words))
    if _rests_on_ims(radio, groups, rules) and (words := _unverified_ims(variant)):
        found.append(Caution(Code.VOLTE_UNVERIFIED, words))
    if words := _unverified_network(radio, groups, marks):
        found.append(Caution(Code.NETWORK_UNVERIFIED, words))
    if words := _stale("this model", variant.checked_on, on, stale_after_days):
        found.append(Caution(Code.BANDS_STALE, words))
    if words := _stale("this network", marks.checked_on, on, stale_after_days):
        found.append(Caution(Code.NETWORK_STALE, words))
    return tuple(found)


def network_cautions(
    network: Sequence[NetworkBand], marks: NetworkMarks, *, on: date, stale_after_days: int
) -> tuple[Caution, ...]:
    """What is to be said of a snapshot by itself, no phone being asked about: each band stands alone here."""
    low = [
        f"{row.rat} {row.band}"
        for row, mark in zip(network, marks.bands, strict=True)
        if row.in_service(on) and mark == Confidence.LOW
    ]
    found = []
    if words := _unverified_words(low, marks):
        found.append(Caution(Code.NETWORK_UNVERIFIED, words))
    if words := _stale("this network", marks.checked_on, on, stale_after_days):
        found.append(Caution(Code.NETWORK_STALE, words))
    return tuple(found)


type _Groups = Mapping[Group, Sequence[tuple[NetworkBand, Confidence | None]]]


def _groups(network: Sequence[NetworkBand], marks: NetworkMarks, on: date) -> _Groups:
    """What the verdict reads: bands in service by group with their marks. It reads no extra 5G band."""
    groups: dict[Group, list[tuple[NetworkBand, Confidence | None]]] = {}
    for row, mark in zip(network, marks.bands, strict=True):
        if row.in_service(on) and row.group != Group.NR_EXTRA:
            groups.setdefault(row.group, []).append((row, mark))
    return groups


def _unverified_bands(variant: VariantMarks, groups: _Groups) -> str:
    offered = {group.rat for group in groups}
    low = [
        name
        for rat, name in _GENERATIONS.items()
        if rat in offered and variant.bands.get(rat) == Confidence.LOW
    ]
    if not low:
        return ""
    return f"{_listed(low)} bands of this model are unverified: nobody confirmed them"


def _rests_on_ims(radio: DeviceRadio, groups: _Groups, rules: NetworkRules) -> bool:
    """Unknown is said by the verdict itself. Without LTE in reach only a host's list still reads it."""
    if radio.ims == Ims.UNKNOWN:
        return False
    reaches_lte = any(
        radio.reaches(row.rat, row.band)
        for group, rows in groups.items()
        if group.rat == Rat.LTE
        for row, _ in rows
    )
    return reaches_lte or rules.admission == Admission.LIST


def _unverified_ims(variant: VariantMarks) -> str:
    if variant.ims == Confidence.LOW:
        why = "nobody confirmed it"
    elif variant.ims_source == NO_SOURCE_READ:
        why = "no source was read for it"
    else:
        return ""
    return f"whether this model calls over LTE on this network is unverified: {why}"


def _unverified_network(radio: DeviceRadio, groups: _Groups, marks: NetworkMarks) -> str:
    """A group stands on the surest of the bands with which the phone hits it; a missed one on its surest band."""
    low = []
    for rows in groups.values():
        hit = [(row, mark) for row, mark in rows if radio.reaches(row.rat, row.band)]
        decided = hit or rows
        if decided and all(mark == Confidence.LOW for _, mark in decided):
            low += [f"{row.rat} {row.band}" for row, _ in decided]
    return _unverified_words(low, marks)


def _unverified_words(bands: Sequence[str], marks: NetworkMarks) -> str:
    """Of these bands, and of the rule of admission where that is unverified too; empty where nothing is."""
    what = [*bands, "whom it admits"] if marks.rules == Confidence.LOW else bands
    if not what:
        return ""
    return f"of this network is unverified: {_listed(what)}"


def _stale(what: str, checked_on: date | None, on: date, stale_after_days: int) -> str:
    if checked_on is None:
        return f"of what is recorded of {what} no check is on record"
    if (age := (on - checked_on).days) <= stale_after_days:
        return ""
    return f"what is recorded of {what} was last checked on {checked_on}, {age:,} days earlier"


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
