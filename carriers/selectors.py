"""Reading the networks."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, QuerySet

from carriers import compatibility
from carriers.cautions import NetworkMarks
from carriers.compatibility import NetworkRules
from carriers.models import HostCarrier, Hosting, HostingVersion, NetworkBand, NetworkVersion


@dataclass(frozen=True)
class Snapshot:
    """A host's network as it is at one instant. `version_id`: of the record that it was read from."""

    era: str
    rules: NetworkRules
    bands: tuple[compatibility.NetworkBand, ...]
    marks: NetworkMarks
    version_id: int


class Networks:
    """All recorded networks of some hosts, read in two queries, to be asked about any number of instants.

    `known_at`: as they were known at this revision; None: as they are known now. A network without a recorded
    admission rule gives no verdict and is left out.
    """

    def __init__(self, hosts: Iterable[HostCarrier], *, known_at: int | None = None) -> None:
        versions: QuerySet[NetworkVersion] = (
            NetworkVersion.objects.current()
            if known_at is None
            else NetworkVersion.objects.known_at(known_at)
        )
        self._of_host: dict[int, list[NetworkVersion]] = {}
        self._snapshots: dict[int, Snapshot] = {}
        for version in (
            versions.filter(head__host__in=list(hosts))
            .exclude(admission="")
            .select_related("head__host")
            .prefetch_related("bands")
            # Where two snapshots overlap, the one that began last holds.
            .order_by("-valid_from", "-head_id")
        ):
            self._of_host.setdefault(version.head.host_id, []).append(version)

    def of(self, host_id: int, *, at: datetime) -> Snapshot | None:
        """None where nothing is recorded of the host for this instant."""
        versions = self._of_host.get(host_id, ())
        version = next((one for one in versions if one.valid_from <= at < one.valid_until), None)
        if version is None:
            return None
        if version.pk not in self._snapshots:
            self._snapshots[version.pk] = _snapshot(version)
        return self._snapshots[version.pk]

    def at(self, instant: datetime) -> dict[int, Snapshot]:
        """By host id, of the hosts of which something is recorded for this instant."""
        found = {host_id: self.of(host_id, at=instant) for host_id in self._of_host}
        return {host_id: snapshot for host_id, snapshot in found.items() if snapshot is not None}


def snapshots_of(hosts: Iterable[HostCarrier], *, at: datetime) -> dict[int, Snapshot]:
    """By host id, in two queries. A host without a recorded network or admission rule is left out."""
    return Networks(hosts).at(at)


def _snapshot(version: NetworkVersion) -> Snapshot:
    rules = NetworkRules(network=version.head.host.code, admission=compatibility.Admission(version.admission))
    bands, marks = bands_and_marks(version)
    return Snapshot(version.head.era, rules, bands, marks, version.pk)


def bands_and_marks(version: NetworkVersion) -> tuple[tuple[compatibility.NetworkBand, ...], NetworkMarks]:
    """The recorded bands as the verdict takes them, and how sure they are."""
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
    checked_at = version.head.checked_at
    marks = NetworkMarks(
        bands=tuple(mark_of(row.confidence) for row in rows),
        rules=mark_of(version.confidence),
        checked_on=checked_at.date() if checked_at else None,
    )
    return bands, marks


def mark_of(stored: str) -> compatibility.Confidence | None:
    """Stored empty: nobody marked it."""
    return compatibility.Confidence(stored) if stored else None


def networks_on_record(hosts: Iterable[HostCarrier], *, at: datetime) -> dict[int, NetworkVersion]:
    """What is recorded of their networks for this instant, by host id, in two queries.

    Unlike a snapshot it is there also where no admission rule is recorded, and tells of sources.
    """
    versions = (
        NetworkVersion.objects.current()
        .filter(head__host__in=list(hosts), valid_from__lte=at, valid_until__gt=at)
        .select_related("head__host")
        .prefetch_related(Prefetch("bands", NetworkBand.objects.order_by("position")))
        # Where two snapshots overlap, the one that began last holds.
        .order_by("valid_from", "head_id")
    )
    return {version.head.host_id: version for version in versions}


def hostings_of(mvno: str, *, at: datetime) -> list[HostingVersion]:
    """On which hosts this virtual operator runs at this instant, by host and name of the product."""
    return list(
        HostingVersion.objects.current()
        .filter(head__mvno=mvno, valid_from__lte=at, valid_until__gt=at)
        .select_related("head__host")
        .order_by("head__host__name", "head__product_name", "head_id")
    )


def hosts_of(mvno: str, *, at: datetime) -> list[HostCarrier]:
    """The hosts on which this virtual operator runs at this instant, by name."""
    hostings = Hosting.objects.filter(
        mvno=mvno, versions__rev_to__isnull=True, versions__valid_from__lte=at, versions__valid_until__gt=at
    )
    return list(HostCarrier.objects.filter(hostings__in=hostings).distinct().order_by("name"))
