"""Reading the catalogue."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.conf import settings
from django.db.models import Prefetch, Q, QuerySet

from carriers import compatibility
from carriers.cautions import Caution, VariantMarks, cautions
from carriers.compatibility import (
    Confidence,
    DeviceRadio,
    Ims,
    Judge,
    NetworkRules,
    Rat,
    Verdict,
    lowest_confidence,
)
from carriers.models import HostCarrier
from carriers.selectors import Networks, Snapshot, mark_of
from catalog.models import Variant, VariantBand, VariantIms, VariantSource, VariantVersion


@dataclass(frozen=True)
class Judged:
    """A verdict with what belongs beside it: how sure its inputs are, and which snapshot of the network it used.

    `rules`: of that snapshot, for what is asked besides: whether a customer's own phone is admitted.
    """

    verdict: Verdict
    cautions: tuple[Caution, ...]
    network_era: str
    rules: NetworkRules


@dataclass(frozen=True)
class Radio:
    """The radio of a variant as one version records it: what it can do by host id, and how sure that is.

    A host of which nothing is recorded has no entry in `by_host`; `elsewhere` holds there.
    """

    variant_id: int
    by_host: Mapping[int, DeviceRadio]
    elsewhere: DeviceRadio
    marks: VariantMarks

    def on(self, host_id: int) -> DeviceRadio:
        return self.by_host.get(host_id, self.elsewhere)


class Radios:
    """All recorded radios of some variants, read in four queries, to be asked about any number of instants.

    `known_at`: as they were known at this revision; None: as they are known now.
    """

    def __init__(self, variants: Iterable[Variant], *, known_at: int | None = None) -> None:
        versions: QuerySet[VariantVersion] = (
            VariantVersion.objects.current()
            if known_at is None
            else VariantVersion.objects.known_at(known_at)
        )
        # At most one version of each variant is known at a time.
        self._version_of = {
            version.head_id: version
            for version in versions.filter(head__in=list(variants))
            .select_related("head")
            .prefetch_related("bands", "ims", "sources")
        }
        self._read: dict[int, Radio] = {}

    def of(self, variant_id: int, *, at: datetime) -> Radio | None:
        """None where nothing is recorded of the variant for this instant."""
        version = self._version_of.get(variant_id)
        if version is None or not version.valid_from <= at < version.valid_until:
            return None
        if variant_id not in self._read:
            self._read[variant_id] = _radio(version)
        return self._read[variant_id]

    def at(self, instant: datetime) -> list[Radio]:
        """All that are in force at this instant."""
        found = [self.of(variant_id, at=instant) for variant_id in self._version_of]
        return [radio for radio in found if radio is not None]


class Judges:
    """The judges of networks by day, each compiled once, and what is said beside their verdicts."""

    def __init__(self) -> None:
        self._judges: dict[tuple[int, date], Judge] = {}

    def judge(self, radio: Radio, host_id: int, snapshot: Snapshot, *, on: date) -> Judged:
        key = snapshot.version_id, on
        if key not in self._judges:
            self._judges[key] = Judge(snapshot.bands, snapshot.rules, on=on)
        device = radio.on(host_id)
        return Judged(
            verdict=self._judges[key].assess(device),
            cautions=cautions(
                device,
                radio.marks,
                snapshot.bands,
                snapshot.rules,
                snapshot.marks,
                on=on,
                stale_after_days=settings.REFERENCE_STALE_AFTER_DAYS,
            ),
            network_era=snapshot.era,
            rules=snapshot.rules,
        )


def judged_for(
    variants: Iterable[Variant], hosts: Iterable[HostCarrier], *, at: datetime, known_at: int | None = None
) -> dict[tuple[int, int], Judged]:
    """Verdict and cautions by (variant id, host id), in six queries whatever their number.

    `known_at`: as known at this revision; None: as known now. A pair is left out where the radio of the variant or
    the network of the host is not recorded: nothing is known then, which is not the same as a bad verdict.
    """
    networks = Networks(hosts, known_at=known_at).at(at)
    judges, on = Judges(), at.astimezone(UTC).date()
    return {
        (radio.variant_id, host_id): judges.judge(radio, host_id, snapshot, on=on)
        for radio in Radios(variants, known_at=known_at).at(at)
        for host_id, snapshot in networks.items()
    }


def _radio(version: VariantVersion) -> Radio:
    bands = [
        compatibility.DeviceBand(Rat(row.rat), row.band, sw_disabled=row.is_sw_disabled)
        for row in version.bands.all()
    ]
    confidence = lowest_confidence([version.gsm_confidence, version.umts_confidence, version.lte_confidence])

    def device(ims: Ims) -> DeviceRadio:
        return DeviceRadio.from_bands(
            bands,
            ims=ims,
            # No host's list is recorded by itself; VoLTE on the host is known to work for listed models.
            listed=ims == Ims.YES,
            confidence=confidence,
        )

    checked_at = version.head.checked_at
    return Radio(
        variant_id=version.head_id,
        by_host={row.host_id: device(Ims(row.status)) for row in version.ims.all()},
        elsewhere=device(Ims.UNKNOWN),
        marks=VariantMarks(
            bands=_marks_by_generation(version),
            ims=mark_of(version.ims_confidence),
            ims_source=version.ims_source,
            checked_on=checked_at.date() if checked_at else None,
        ),
    )


def _marks_by_generation(version: VariantVersion) -> dict[Rat, Confidence | None]:
    """The lowest of the list's own mark and those of its bands: one band corrected on a hint is no surer than that."""
    lists = {
        Rat.GSM: version.gsm_confidence,
        Rat.UMTS: version.umts_confidence,
        Rat.LTE: version.lte_confidence,
    }
    # A version has a column for the marks of three lists; of the others only their source says how sure they are.
    sources = {row.value: row.confidence for row in version.sources.all()}
    return {
        rat: lowest_confidence(
            [
                lists.get(rat, sources.get(rat.lower(), "")),
                *(row.confidence for row in version.bands.all() if row.rat == rat),
            ]
        )
        for rat in Rat
    }


def radio_on_record(variant: Variant, *, at: datetime) -> VariantVersion | None:
    """What is recorded of a variant's radio for this instant, with sources; None where nothing is."""
    return (
        VariantVersion.objects.current()
        .filter(head=variant, valid_from__lte=at, valid_until__gt=at)
        .prefetch_related(
            Prefetch("bands", VariantBand.objects.order_by("rat", "band")),
            Prefetch("ims", VariantIms.objects.select_related("host").order_by("host__code")),
            Prefetch("sources", VariantSource.objects.order_by("value")),
        )
        .first()
    )


def find_variants(names: Iterable[str]) -> dict[str, Variant]:
    """By slug or exact model number, in one query. Where one is another's slug, the slug wins."""
    wanted = set(names)
    found: dict[str, Variant] = {}
    variants = Variant.objects.select_related("device__manufacturer").filter(
        Q(slug__in=wanted) | Q(model_number__in=wanted)
    )
    for variant in variants:
        found.setdefault(variant.model_number, variant)
    found |= {variant.slug: variant for variant in variants}
    return {name: found[name] for name in wanted if name in found}


class VariantNames:
    """The names of all variants, read in one query, to find what somebody may have meant."""

    def __init__(self) -> None:
        self._model_numbers: dict[str, list[str]] = {}
        rows = Variant.objects.values_list(
            "model_number", "slug", "device__marketing_name", "device__brand"
        ).order_by("id")
        for model_number, slug, marketing_name, brand in rows:
            for name in (model_number, slug, marketing_name, f"{brand} {marketing_name}"):
                self._model_numbers.setdefault(name.casefold(), []).append(model_number)

    def near(self, name: str) -> list[str]:
        """At most eight model numbers that come nearest, also to a marketing name. A pass over all names."""
        near: list[str] = []
        for match in difflib.get_close_matches(name[:100].casefold(), self._model_numbers, n=5, cutoff=0.6):
            near += self._model_numbers[match]
        return list(dict.fromkeys(near))[:8]


def variant_of_tac(tac8: str) -> Variant | None:
    """The variant whose phones carry this type allocation code (eight digits), or None. It tells of no approval."""
    return Variant.objects.select_related("device").filter(tacs__code=tac8).first()
