"""Reading the networks."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from carriers import compatibility
from carriers.compatibility import NetworkRules
from carriers.models import HostCarrier, Hosting, NetworkVersion


@dataclass(frozen=True)
class Snapshot:
    """A host's network as it is at one instant."""

    rules: NetworkRules
    bands: tuple[compatibility.NetworkBand, ...]


def snapshots_of(hosts: Iterable[HostCarrier], *, at: datetime) -> dict[int, Snapshot]:
    """By host id, in two queries. A host without a recorded network or admission rule is left out."""
    versions = (
        NetworkVersion.objects.current()
        .filter(head__host__in=list(hosts), valid_from__lte=at, valid_until__gt=at)
        .exclude(admission="")
        .select_related("head__host")
        .prefetch_related("bands")
        # Where two snapshots overlap, the one that began last holds.
        .order_by("valid_from", "head_id")
    )
    return {version.head.host_id: _snapshot(version) for version in versions}


def _snapshot(version: NetworkVersion) -> Snapshot:
    rules = NetworkRules(network=version.head.host.code, admission=compatibility.Admission(version.admission))
    # The order of the bands fixes the order of reasons in a verdict.
    rows = sorted(version.bands.all(), key=lambda row: row.position)
    bands = tuple(
        compatibility.NetworkBand(
            rat=compatibility.Rat(row.rat),
            band=row.band,
            group=compatibility.Group(row.group),
            voice=compatibility.Service(row.voice),
            in_service_until=row.in_service_until,
        )
        for row in rows
    )
    return Snapshot(rules, bands)


def hosts_of(mvno: str, *, at: datetime) -> list[HostCarrier]:
    """The hosts on which this virtual operator runs at this instant, by name."""
    hostings = Hosting.objects.filter(
        mvno=mvno, versions__rev_to__isnull=True, versions__valid_from__lte=at, versions__valid_until__gt=at
    )
    return list(HostCarrier.objects.filter(hostings__in=hostings).distinct().order_by("name"))
