"""Reading the catalogue."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from carriers import compatibility
from carriers.compatibility import DeviceRadio, Ims, Verdict
from carriers.models import HostCarrier
from carriers.selectors import snapshots_of
from catalog.models import Variant, VariantVersion


def verdicts_for(
    variants: Iterable[Variant], hosts: Sequence[HostCarrier], *, at: datetime
) -> dict[tuple[int, int], Verdict]:
    """The technical verdict by (variant id, host id), in five queries whatever their number.

    A pair is left out where the radio of the variant or the network of the host is not recorded: nothing is
    known then, which is not the same as a bad verdict.
    """
    snapshots = snapshots_of(hosts, at=at)
    versions = (
        VariantVersion.objects.current()
        .filter(head__in=list(variants), valid_from__lte=at, valid_until__gt=at)
        .prefetch_related("bands", "ims")
    )
    return {
        (version.head_id, host_id): compatibility.assess(
            _radio(version, host_id), snapshot.bands, snapshot.rules, on=at.date()
        )
        for version in versions
        for host_id, snapshot in snapshots.items()
    }


def _radio(version: VariantVersion, host_id: int) -> DeviceRadio:
    bands = [
        compatibility.DeviceBand(compatibility.Rat(row.rat), row.band, sw_disabled=row.is_sw_disabled)
        for row in version.bands.all()
    ]
    status = next((row.status for row in version.ims.all() if row.host_id == host_id), Ims.UNKNOWN)
    ims = Ims(status)
    return DeviceRadio.from_bands(
        bands,
        ims=ims,
        # No host's list is recorded by itself; VoLTE on the host is known to work for listed models.
        listed=ims == Ims.YES,
        confidence=compatibility.lowest_confidence(
            [version.gsm_confidence, version.umts_confidence, version.lte_confidence]
        ),
    )
