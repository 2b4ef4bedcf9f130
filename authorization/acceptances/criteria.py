"""What stands between an acceptance and an approval: papers, phases of the present build, certification rules.

The phases that every build needs, and that a case run again counts with its last result, are this project's own choice
(docs/decisions/0014); when voice over LTE and E911 must be tested follows from the host's own rules.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from authorization.facts import InvalidFact
from authorization.models import Acceptance, AcceptanceFile, AcceptanceResult
from carriers import compatibility
from carriers.compatibility import DeviceBand, DeviceRadio, Ims, Papers, Rat, Service
from carriers.selectors import Snapshot, snapshots_of
from catalog.models import Tac, VariantVersion

Phase = AcceptanceResult.Phase
Outcome = AcceptanceResult.Outcome

ALWAYS = (Phase.CONFORMANCE, Phase.INTEROPERABILITY, Phase.FIELD)
CALLS = (Phase.VOLTE, Phase.E911)
# A host may accept a deviation from its own rules. What the law asks for is not the host's to waive.
WAIVABLE = frozenset({"B12_REQUIRES_VOLTE_E911", "VOLTE_REQUIRED"})
# In limits a band that is off and a rule that is waived have one spelling, so that what is checked is what is meant.
_BAND_OFF = re.compile(r"\b(GSM|UMTS|CDMA|LTE|NR)\s+([A-Za-z]*\d+)\s+off\b", re.I)
_BAND = re.compile(r"\b(?:(?:band|b|n|bc)[\s-]?\d{1,3}|(?:gsm|dcs|pcs)\d{3,4})\b", re.I)
_WAIVED = re.compile(r"(?<!not )\b([A-Z][A-Z0-9_]+) waived\b")


@dataclass(frozen=True)
class Missing:
    """One thing that is missing. `code` is for programs, `message` says the cure."""

    code: str
    message: str


@dataclass(frozen=True)
class _Case:
    phase: str
    case: str
    outcome: str


def missing_papers(acceptance: Acceptance) -> tuple[Missing, ...]:
    """The entry criteria on paper: FCC ID, certificate of the industry, TACs, declaration; TACs of no other model."""
    found = []
    if not (acceptance.fcc_id or acceptance.variant.fcc_id):
        found.append(Missing("PAPER_FCC_ID", "The FCC ID is missing; the sponsor completes the papers."))
    if not acceptance.certificate:
        found.append(
            Missing(
                "PAPER_CERTIFICATE", "The PTCRB or GCF request number is missing; the sponsor completes it."
            )
        )
    if not acceptance.tacs:
        found.append(
            Missing("PAPER_TACS", "No TAC is named; the sponsor names those that its phones will carry.")
        )
    holders = [acceptance.pk] if acceptance.parent_id is None else [acceptance.pk, acceptance.parent_id]
    declared = AcceptanceFile.objects.filter(
        acceptance__in=holders, kind=AcceptanceFile.Kind.DECLARATION
    ).exists()
    if not declared:
        found.append(
            Missing(
                "PAPER_DECLARATION",
                "No declaration of bands and software is attached; attach it as a declaration.",
            )
        )
    others = Tac.objects.filter(code__in=acceptance.tacs).exclude(variant=acceptance.variant_id)
    found += [
        Missing("TAC_OF_ANOTHER", f"TAC {tac.code} belongs to {tac.variant}; name those of this model only.")
        for tac in others.select_related("variant__device").order_by("code")
    ]
    return tuple(found)


def missing(
    acceptance: Acceptance, *, at: datetime, limits: str = "", waives: bool = False
) -> tuple[Missing, ...]:
    """All that an approval lacks at `at`. With `waives` an approval with these limits: cases may have failed, and a
    blocker that the limits name by its code is waived.
    """
    found = list(missing_papers(acceptance))
    if acceptance.build_no == 0:
        found.append(Missing("BUILD_NOT_FROZEN", "No build is frozen; the lab gives a slot and freezes one."))
    radio = radio_of(acceptance, at=at)
    if radio is None:
        found.append(
            Missing(
                "RADIO_UNKNOWN",
                f"The radio of {acceptance.variant} is not recorded; record its bands, or the rules of certification "
                "cannot be checked.",
            )
        )
    snapshot = snapshots_of([acceptance.host], at=at).get(acceptance.host_id)
    if snapshot is None:
        found.append(
            Missing(
                "NETWORK_UNKNOWN",
                f"No network of {acceptance.host} with an admission rule is recorded for this day; record it.",
            )
        )
    found += _missing_results(acceptance, needed_phases(radio, snapshot, at=at), waives=waives)
    if radio is not None and snapshot is not None:
        found += _blockers(radio, snapshot, at=at, limits=limits if waives else "")
    return tuple(found)


def check_limits(limits: str) -> None:
    """Raises InvalidFact for limits that speak of a band, or of a rule, in words that cannot be checked."""
    rest = _BAND_OFF.sub(" ", limits)
    if band := _BAND.search(rest):
        raise InvalidFact(
            "limits",
            f"{band.group()!r} is not understood: write each band that is off by itself, e.g. 'LTE B12 off; LTE B17 "
            "off'.",
        )
    rest = _WAIVED.sub(" ", limits)
    for code in sorted(WAIVABLE):
        if code in rest:
            raise InvalidFact("limits", f"To waive {code} write '{code} waived'; else leave it out.")


def bands_still_on(acceptance: Acceptance, limits: str, *, at: datetime) -> tuple[str, ...]:
    """The bands that the limits call off and that the variant's record has switched on, e.g. "LTE B12"."""
    named = [(Rat(rat.upper()), band.casefold()) for rat, band in _BAND_OFF.findall(limits)]
    radio = radio_of(acceptance, at=at) if named else None
    if radio is None:
        return ()
    spelled = {
        (rat, band.casefold()): f"{rat} {band}" for rat, names in radio.bands.items() for band in names
    }
    return tuple(spelled[band] for band in named if band in spelled)


def needed_phases(
    radio: DeviceRadio | None, snapshot: Snapshot | None, *, at: datetime
) -> tuple[AcceptanceResult.Phase, ...]:
    """Conformance, interoperability and field always. Voice over LTE and E911 where a certification rule of the host
    would stop this radio without them, and where no call goes another way on that day. Unknown counts as needed.
    """
    if radio is None or snapshot is None:
        return (*ALWAYS, *CALLS)
    on = at.astimezone(UTC).date()
    without = replace(radio, ims=Ims.NO)
    is_demanded = WAIVABLE & set(compatibility.certification_blockers(without, snapshot.rules, on=on))
    has_circuits = any(row.voice == Service.CS and row.in_service(on) for row in snapshot.bands)
    return (*ALWAYS, *CALLS) if is_demanded or not has_circuits else ALWAYS


def phases_of(acceptance: Acceptance, *, at: datetime) -> tuple[AcceptanceResult.Phase, ...]:
    """The phases that this build needs at `at`."""
    snapshot = snapshots_of([acceptance.host], at=at).get(acceptance.host_id)
    return needed_phases(radio_of(acceptance, at=at), snapshot, at=at)


def radio_of(acceptance: Acceptance, *, at: datetime) -> DeviceRadio | None:
    """The radio of the variant on this host as recorded for that instant, or None."""
    versions = VariantVersion.objects.current().filter(
        head=acceptance.variant_id, valid_from__lte=at, valid_until__gt=at
    )
    version = versions.first()
    if version is None:
        return None
    bands = [
        DeviceBand(Rat(row.rat), row.band, sw_disabled=row.is_sw_disabled) for row in version.bands.all()
    ]
    status = version.ims.filter(host=acceptance.host_id).values_list("status", flat=True).first()
    ims = Ims(status or Ims.UNKNOWN)
    # Voice over LTE on the host is known to work for listed models (as in catalog.selectors).
    return DeviceRadio.from_bands(bands, ims=ims, listed=ims == Ims.YES)


def failed_cases(acceptance: Acceptance) -> tuple[str, ...]:
    """The cases of the present build whose last result is a failure, as "phase case"."""
    return tuple(
        f"{row.phase} {row.case}" for row in _last_results(acceptance) if row.outcome == Outcome.FAILED
    )


def _missing_results(
    acceptance: Acceptance, needed: Collection[AcceptanceResult.Phase], *, waives: bool
) -> list[Missing]:
    results = _last_results(acceptance)
    found = []
    for phase in needed:
        outcomes = {row.outcome for row in results if row.phase == phase}
        if not outcomes:
            found.append(
                Missing(
                    f"PHASE_NOT_RUN:{phase}", f"No result of {phase.label} on build {acceptance.build_no}."
                )
            )
        elif acceptance.parent_id is None and not waives and outcomes == {Outcome.NOT_APPLICABLE}:
            # Of a maintenance release a phase may be untouched; of a first acceptance somebody must have tested it.
            found.append(
                Missing(
                    f"PHASE_NOT_PASSED:{phase}", f"No case of {phase.label} passed; none was even applicable."
                )
            )
    if results and all(row.outcome == Outcome.NOT_APPLICABLE for row in results):
        found.append(
            Missing("NOTHING_TESTED", "No case of this build was applicable; test what has changed.")
        )
    if not waives:
        found += [
            Missing(
                f"CASE_FAILED:{row.phase}/{row.case}",
                f"Case {row.case} of {Phase(row.phase).label} failed; run it again, or open issues.",
            )
            for row in results
            if row.outcome == Outcome.FAILED
        ]
    return found


def _last_results(acceptance: Acceptance) -> list[_Case]:
    rows = acceptance.results.filter(build_no=acceptance.build_no).order_by("id")
    last = {(row[0], row[1]): _Case(*row) for row in rows.values_list("phase", "case", "outcome")}
    return [last[key] for key in sorted(last)]


def _blockers(radio: DeviceRadio, snapshot: Snapshot, *, at: datetime, limits: str) -> list[Missing]:
    on = at.astimezone(UTC).date()
    standing = compatibility.certification_blockers(radio, snapshot.rules, on=on, papers=Papers())
    waived = set(_WAIVED.findall(limits))
    found = []
    for code in standing:
        if code in WAIVABLE and code in waived:
            continue
        cure = f" A waiver may say in its limits: {code} waived." if code in WAIVABLE else ""
        found.append(Missing(f"BLOCKER:{code}", f"{_BLOCKER_CURES.get(code, code)}{cure}"))
    return found


_BLOCKER_CURES = {
    "B12_REQUIRES_VOLTE_E911": (
        "LTE B12 is on and voice over LTE is not confirmed: the host certifies band 12 with VoLTE and E911 only. "
        "Confirm voice over LTE, or record the band as switched off."
    ),
    "VOLTE_REQUIRED": "The host certifies phones with voice over LTE only; confirm it for this variant.",
}
