"""Can this phone work on this network, on this day?

The verdict is a technical fact about one variant, one host and one date. It is never an approval: a phone may
fit and not be certifiable, or be sold by a carrier although it fits only in part. Nothing here reads a
database, a clock or a decision; all input is plain values, so one input gives one answer, always.

Which band a carrier uses is reported by sources (see seeds/reference). Where the borders lie between "full",
"in parts" and "not at all" is this project's own choice and no carrier's; pages that show a verdict should
say so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Self


class Rat(StrEnum):
    """Radio access technology: the generation a band is used with."""

    GSM = "GSM"
    UMTS = "UMTS"
    CDMA = "CDMA"
    LTE = "LTE"
    NR = "NR"


class Group(StrEnum):
    """What a network uses a band for. Inside a group any one band will do (this project's own choice)."""

    GSM = "gsm"
    UMTS = "umts"
    CDMA = "cdma"
    LTE_CORE = "lte_core"
    LTE_CORE2 = "lte_core2"
    LTE_COV = "lte_cov"
    LTE_COV600 = "lte_cov600"
    LTE_EXTRA = "lte_extra"
    NR_CORE = "nr_core"
    NR_COV = "nr_cov"
    NR_EXTRA = "nr_extra"

    @property
    def rat(self) -> Rat:
        return Rat(self.value.split("_")[0].upper())


class Service(StrEnum):
    """How a network carries calls on a band."""

    CS = "CS"
    VOLTE = "VoLTE"
    VONR = "VoNR"
    NONE = "none"


class Ims(StrEnum):
    """Does VoLTE work for this variant on this host?

    A fact of the pair, not of the phone: it takes the modem's profile, the carrier's configuration in the
    phone, and the carrier's provisioning (issue 495 of the GrapheneOS issue tracker collects these).
    """

    YES = "yes"
    NO = "no"
    PENDING = "pending"
    UNKNOWN = "unknown"


class Admission(StrEnum):
    """Whom a host lets in: any phone that fits, listed phones for voice only, or listed phones only."""

    OPEN = "open"
    VOICE_LIST = "voice_list"
    LIST = "list"


class Confidence(StrEnum):
    """How sure a stored value is: two sources, one source, unconfirmed."""

    HIGH = "H"
    MEDIUM = "M"
    LOW = "L"


class Level(StrEnum):
    FULL = "FULL"
    PARTIAL = "PARTIAL"
    DATA_ONLY = "DATA_ONLY"
    UNKNOWN = "UNKNOWN"
    NONE = "NONE"


class Sub(StrEnum):
    """What PARTIAL means; empty at every other level."""

    LTE = "PARTIAL_LTE"
    UMTS = "PARTIAL_3G"
    GSM = "PARTIAL_2G"
    EMPTY = ""


class Voice(StrEnum):
    CS_AND_VOLTE = "CS+VOLTE"
    CS = "CS"
    VOLTE = "VOLTE"
    UNKNOWN = "UNKNOWN"
    NONE = "NONE"

    @property
    def over_lte(self) -> bool:
        return self in (Voice.VOLTE, Voice.CS_AND_VOLTE)


class Data(StrEnum):
    LTE_FULL = "LTE_FULL"
    LTE_PARTIAL = "LTE_PARTIAL"
    LTE_LIMITED = "LTE_LIMITED"
    UMTS = "3G"
    GSM = "2G"
    NONE = "NONE"


CORE = frozenset({Group.LTE_CORE, Group.LTE_CORE2})
COVERAGE = frozenset({Group.LTE_COV, Group.LTE_COV600})
LTE = frozenset(group for group in Group if group.rat == Rat.LTE)
# Extra 5G bands carry capacity in few places: missing them is not worth a word to a shopper (own choice).
FIVE_G = frozenset({Group.NR_CORE, Group.NR_COV})

# Each of these bands contains the ones it covers, in both directions (3GPP TS 36.104 and TS 38.104, operating
# bands), so a phone with the wide band reaches all of the narrow one, and not the other way round. That
# networks let it is this project's reading; for B12 and B17, AT&T signals both numbers (FierceWireless,
# August 2015).
COVERS: Mapping[tuple[Rat, str], frozenset[str]] = {
    (Rat.LTE, "B66"): frozenset({"B4"}),
    (Rat.LTE, "B25"): frozenset({"B2"}),
    (Rat.LTE, "B12"): frozenset({"B17"}),
    (Rat.LTE, "B26"): frozenset({"B5", "B18", "B19"}),
    (Rat.NR, "n25"): frozenset({"n2"}),
    (Rat.NR, "n77"): frozenset({"n78"}),
}

_SUB_OF_DATA: Mapping[Data, Sub] = {
    Data.LTE_PARTIAL: Sub.LTE,
    Data.LTE_LIMITED: Sub.LTE,
    Data.UMTS: Sub.UMTS,
    Data.GSM: Sub.GSM,
}

# What is said of data that is less than LTE on all main bands.
DATA_LIMITS: Mapping[Data, str] = {
    Data.LTE_PARTIAL: "LTE_IN_PARTS",
    Data.LTE_LIMITED: "LTE_IN_FEW_PLACES",
    Data.UMTS: "DATA_3G_ONLY",
    Data.GSM: "DATA_2G_ONLY",
}

T_MOBILE = "tmobile"
# FierceWireless, 28 Aug 2015: T-Mobile certifies phones with band 12 only if they have VoLTE and E911.
B12_NEEDS_VOLTE_FROM = date(2015, 8, 28)
# The Desk, July 2020: from 4 Aug 2020 T-Mobile activates only phones with VoLTE. SlashGear, the same month,
# has it confirmed for new lines.
VOLTE_REQUIRED_FROM = date(2020, 8, 4)

_COVERAGE_REASON = "MISSING_COVERAGE_BAND:"


@dataclass(frozen=True, slots=True)
class DeviceBand:
    """One band of a variant's hardware; software may keep it off.

    An update did so with B12 of the Moto E (phone.news, 2015).
    """

    rat: Rat
    band: str
    sw_disabled: bool = False


@dataclass(frozen=True, slots=True)
class DeviceRadio:
    """What one variant can use, and what is known of it on the host in question.

    `listed`: the variant is on the host's own list of accepted phones, which matters where admission is by
    list. `confidence`: the lowest mark of the band lists, or None if nothing was marked.
    """

    bands: Mapping[Rat, frozenset[str]]
    ims: Ims
    listed: bool
    confidence: Confidence | None = None

    @classmethod
    def from_bands(
        cls, bands: Iterable[DeviceBand], *, ims: Ims, listed: bool, confidence: Confidence | None = None
    ) -> Self:
        """A band that software keeps off is a band the phone does not have."""
        enabled: dict[Rat, set[str]] = {}
        for row in bands:
            if not row.sw_disabled:
                enabled.setdefault(row.rat, set()).add(row.band)
        frozen = {rat: frozenset(names) for rat, names in enabled.items()}
        return cls(bands=frozen, ims=ims, listed=listed, confidence=confidence)

    def has(self, rat: Rat, band: str) -> bool:
        return band in self.bands.get(rat, frozenset())

    def reaches(self, rat: Rat, band: str) -> bool:
        """True if the phone has the band, or a wider one around it."""
        own = self.bands.get(rat, frozenset())
        return band in own or any(band in COVERS.get((rat, name), frozenset()) for name in own)


@dataclass(frozen=True, slots=True)
class NetworkBand:
    """One band of a host. `in_service_until` is the first day without service, or None."""

    rat: Rat
    band: str
    group: Group
    voice: Service
    in_service_until: date | None = None

    def __post_init__(self) -> None:
        # A row in the wrong group would be read past in silence, and the phone judged too well or too badly.
        if self.group.rat != self.rat:
            raise ValueError(f"{self.rat} {self.band} cannot be in group {self.group}")

    def in_service(self, on: date) -> bool:
        return self.in_service_until is None or on < self.in_service_until


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """The host's code, and whom it admits."""

    network: str
    admission: Admission


@dataclass(frozen=True, slots=True)
class Papers:
    """What is known of a variant's certificates. None means not known, which blocks nothing here."""

    fcc_grant: bool | None = None
    ptcrb: bool | None = None
    fcc_covered_list: bool | None = None


NOTHING_KNOWN = Papers()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. The axes keep their values at every level; reasons come with every level, FULL included."""

    level: Level
    sub: Sub
    voice: Voice
    data: Data
    reasons: tuple[str, ...]
    certification_blockers: tuple[str, ...]
    input_confidence: Confidence | None

    @property
    def missing_coverage_bands(self) -> tuple[str, ...]:
        """One entry per coverage group that is not hit; bands of one group joined by a bar."""
        return tuple(r.removeprefix(_COVERAGE_REASON) for r in self.reasons if r.startswith(_COVERAGE_REASON))


def lowest_confidence(marks: Iterable[str]) -> Confidence | None:
    """The weakest mark; empty marks stand for values that nobody claims, and do not count."""
    order = (Confidence.LOW, Confidence.MEDIUM, Confidence.HIGH)
    present = {Confidence(mark) for mark in marks if mark}
    return next((mark for mark in order if mark in present), None)


def assess(
    radio: DeviceRadio,
    network: Sequence[NetworkBand],
    rules: NetworkRules,
    *,
    on: date,
    papers: Papers = NOTHING_KNOWN,
) -> Verdict:
    """The verdict for one variant on one host's snapshot of bands.

    The order of `network` counts: missing coverage bands are reported in it. Axes, levels and their order are
    this project's own choice; they agree with what was reported of the Nothing Phone (1) on all three
    carriers (Gizmochina, 23 Jun 2022).
    """
    groups = _groups_in_service(network, on)
    return _verdict(groups, _hit_groups(groups, radio), radio, rules, on=on, papers=papers)


type _Groups = Mapping[Group, Sequence[NetworkBand]]


def _verdict(
    groups: _Groups,
    hit: frozenset[Group],
    radio: DeviceRadio,
    rules: NetworkRules,
    *,
    on: date,
    papers: Papers,
) -> Verdict:
    """The verdict once it is known which groups the phone hits. Of its bands it reads B12 alone, for a blocker."""
    data = _data(groups, hit)
    voice = _voice(groups, hit, radio, rules)
    off_list = rules.admission == Admission.LIST and not radio.listed
    # With nothing but fill-in bands and no calls, a phone is without service on most of the map (own choice).
    only_secondary = not off_list and data == Data.LTE_LIMITED and voice in (Voice.UNKNOWN, Voice.NONE)
    level = Level.NONE if off_list or only_secondary else _level(data, voice)
    reasons = (
        *(["NOT_ON_HOST_LIST"] if off_list else []),
        *_lte_reasons(groups, hit),
        *_voice_reasons(data, voice, hit),
        *_five_g_reasons(groups, hit),
        *(["ONLY_SECONDARY_BANDS"] if only_secondary else []),
    )
    return Verdict(
        level=level,
        sub=_SUB_OF_DATA[data] if level == Level.PARTIAL else Sub.EMPTY,
        voice=voice,
        data=data,
        reasons=reasons,
        certification_blockers=certification_blockers(radio, rules, on=on, papers=papers),
        input_confidence=radio.confidence,
    )


def _groups_in_service(network: Sequence[NetworkBand], on: date) -> _Groups:
    """The bands in service by group.

    A group keeps the place of its first row, even if that row is off by now. A group without a row in service
    is gone, and no longer needed.
    """
    groups: dict[Group, list[NetworkBand]] = {row.group: [] for row in network}
    for row in network:
        if row.in_service(on):
            groups[row.group].append(row)
    return {group: rows for group, rows in groups.items() if rows}


def _hit_groups(groups: _Groups, radio: DeviceRadio) -> frozenset[Group]:
    hit = {group for group, rows in groups.items() if any(radio.reaches(row.rat, row.band) for row in rows)}
    return _with_600_mhz(groups, hit)


def _with_600_mhz(groups: _Groups, hit: set[Group]) -> frozenset[Group]:
    """600 MHz carries LTE B71 and 5G n71 side by side; a phone with either has that coverage (own choice)."""
    if Group.LTE_COV600 in groups and Group.NR_COV in hit:
        return frozenset({*hit, Group.LTE_COV600})
    return frozenset(hit)


def _data(groups: _Groups, hit: frozenset[Group]) -> Data:
    """Full LTE takes every core and every coverage group; CDMA gives no data (own choice)."""
    core = groups.keys() & CORE
    coverage = groups.keys() & COVERAGE
    if core and core | coverage <= hit:
        return Data.LTE_FULL
    if core & hit:
        return Data.LTE_PARTIAL
    if LTE & hit:
        return Data.LTE_LIMITED
    if Group.UMTS in hit:
        return Data.UMTS
    return Data.GSM if Group.GSM in hit else Data.NONE


def _voice(groups: _Groups, hit: frozenset[Group], radio: DeviceRadio, rules: NetworkRules) -> Voice:
    """Calls over an old network need a band of it; over LTE, a band, IMS and a host that allows them.

    AT&T gives VoLTE to listed models only, Verizon gives nothing off its list (Gizmochina, 23 Jun 2022). On a
    voice list `ims` alone decides: "yes" on such a host means that the model is listed for voice.
    """
    circuit_switched = any(row.voice == Service.CS for group in hit for row in groups[group])
    lte = bool(LTE & hit)
    allowed = rules.admission in (Admission.OPEN, Admission.VOICE_LIST) or radio.listed
    volte = lte and radio.ims == Ims.YES and allowed
    if circuit_switched:
        return Voice.CS_AND_VOLTE if volte else Voice.CS
    if volte:
        return Voice.VOLTE
    return Voice.UNKNOWN if lte and radio.ims in (Ims.UNKNOWN, Ims.PENDING) else Voice.NONE


def _level(data: Data, voice: Voice) -> Level:
    """The first that fits, for a phone the host admits (own choice)."""
    if data == Data.NONE:
        return Level.NONE
    if voice == Voice.NONE:
        return Level.DATA_ONLY
    if voice == Voice.UNKNOWN:
        return Level.UNKNOWN
    return Level.FULL if data == Data.LTE_FULL else Level.PARTIAL


def _lte_reasons(groups: _Groups, hit: frozenset[Group]) -> list[str]:
    reasons = [
        _COVERAGE_REASON + "|".join(sorted({row.band for row in rows}))
        for group, rows in groups.items()
        if group in COVERAGE - hit
    ]
    core = groups.keys() & CORE
    if core & hit and core - hit:
        reasons.append("MISSING_CORE_BAND")
    if not LTE & hit:
        reasons.append("NO_LTE_BAND")
    return reasons


def _voice_reasons(data: Data, voice: Voice, hit: frozenset[Group]) -> list[str]:
    if voice == Voice.NONE:
        return ["NO_VOICE_PATH"]
    if voice != Voice.CS:
        return []
    reasons = [] if {Group.UMTS, Group.CDMA} & hit else ["VOICE_2G_ONLY"]
    if data in (Data.LTE_FULL, Data.LTE_PARTIAL, Data.LTE_LIMITED):
        reasons.append("NO_VOLTE")
    return reasons


def _five_g_reasons(groups: _Groups, hit: frozenset[Group]) -> list[str]:
    offered = groups.keys() & FIVE_G
    if offered <= hit:
        return []
    return ["5G_PARTIAL"] if offered & hit else ["NO_5G"]


def certification_blockers(
    radio: DeviceRadio, rules: NetworkRules, *, on: date, papers: Papers = NOTHING_KNOWN
) -> tuple[str, ...]:
    """What keeps the host, or the law, from certifying the phone.

    Apart from the level on purpose: band 12 makes a phone fit T-Mobile better, and harder to certify. The
    three codes about papers are this project's own; each needs a known fact, never a gap in the data.
    """
    blockers = []
    if rules.network == T_MOBILE and radio.ims != Ims.YES:
        if on >= B12_NEEDS_VOLTE_FROM and radio.has(Rat.LTE, "B12"):
            blockers.append("B12_REQUIRES_VOLTE_E911")
        if on >= VOLTE_REQUIRED_FROM:
            blockers.append("VOLTE_REQUIRED")
    if papers.fcc_grant is False:
        blockers.append("NO_FCC_GRANT")
    if papers.ptcrb is False:
        blockers.append("NO_PTCRB")
    if papers.fcc_covered_list:
        blockers.append("FCC_COVERED_LIST")
    return tuple(blockers)


class Judge:
    """A host's snapshot compiled for one day, to judge any number of phones by. `assess` is the definition.

    Each group becomes the set of all bands that hit it, wider ones included, so that a phone is looked at once per
    group and not once per row. What is left of a verdict depends on which groups are hit, on voice over LTE, the
    host's list and the mark of the bands. Each such combination is worked out when it first occurs; a host has some
    thousands of them, however many phones there are.
    """

    def __init__(self, network: Sequence[NetworkBand], rules: NetworkRules, *, on: date) -> None:
        self._rules, self._on = rules, on
        self._groups = _groups_in_service(network, on)
        self._bit_of = {group: 1 << place for place, group in enumerate(self._groups)}
        looks: dict[Rat, list[tuple[int, Callable[[frozenset[str]], bool]]]] = {}
        for group, rows in self._groups.items():
            bands = frozenset(name for row in rows for name in _bands_that_reach(row.rat, row.band))
            looks.setdefault(group.rat, []).append((self._bit_of[group], bands.isdisjoint))
        if rules.network == T_MOBILE:
            # What the blockers read besides.
            looks.setdefault(Rat.LTE, []).append((1 << len(self._groups), frozenset({"B12"}).isdisjoint))
        self._looks = tuple((rat, tuple(of_rat)) for rat, of_rat in looks.items())
        self._verdicts: dict[tuple[int, Ims, bool, Confidence | None], Verdict] = {}

    def assess(self, radio: DeviceRadio, papers: Papers = NOTHING_KNOWN) -> Verdict:
        """What `assess` answers for this phone."""
        verdict = self.assess_many((radio,))[0]
        if papers == NOTHING_KNOWN:
            return verdict
        blockers = certification_blockers(radio, self._rules, on=self._on, papers=papers)
        return replace(verdict, certification_blockers=blockers)

    def assess_many(self, radios: Iterable[DeviceRadio]) -> list[Verdict]:
        """The verdicts in the order of the phones, of whose papers nothing is known."""
        looks, known = self._looks, self._verdicts
        verdicts = []
        for radio in radios:
            bands = radio.bands
            pattern = 0
            for rat, of_rat in looks:
                own = bands.get(rat)
                if own:
                    for bit, misses in of_rat:
                        if not misses(own):
                            pattern |= bit
            key = (pattern, radio.ims, radio.listed, radio.confidence)
            verdict = known.get(key)
            if verdict is None:
                verdict = known[key] = self._work_out(pattern, radio)
            verdicts.append(verdict)
        return verdicts

    def _work_out(self, pattern: int, radio: DeviceRadio) -> Verdict:
        hit = {group for group, bit in self._bit_of.items() if pattern & bit}
        return _verdict(
            self._groups,
            _with_600_mhz(self._groups, hit),
            radio,
            self._rules,
            on=self._on,
            papers=NOTHING_KNOWN,
        )


def assess_many(
    radios: Iterable[DeviceRadio], network: Sequence[NetworkBand], rules: NetworkRules, *, on: date
) -> list[Verdict]:
    """`assess` for many phones on one host on one day, in their order."""
    return Judge(network, rules, on=on).assess_many(radios)


def _bands_that_reach(rat: Rat, band: str) -> set[str]:
    return {band} | {wide for (of, wide), narrow in COVERS.items() if of == rat and band in narrow}
