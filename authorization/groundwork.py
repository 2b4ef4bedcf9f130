"""The ground that decisions stand on besides authority: networks, radios of variants, hostings.

They are facts too: a change of a band or of a hosting is written under the exclusive fence and re-decides what rests
on it. One recording is one transaction and at most one revision, however many records it brings; what is the same
as before writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction

from authorization import facts, fence
from authorization.actors import Actor
from authorization.models import Revision
from carriers.models import HostCarrier, Hosting, HostingVersion, Network, NetworkBand, NetworkVersion
from carriers.versions import FOREVER
from catalog.models import Variant, VariantBand, VariantIms, VariantVersion


@contextmanager
def recording(*, by: Actor, at: datetime, reason: str) -> Iterator["Recorder"]:
    """One import or correction, all or nothing."""
    with transaction.atomic():
        recorder = Recorder(by=by, at=at, reason=reason)
        yield recorder
        recorder.finish()


class Recorder:
    def __init__(self, *, by: Actor, at: datetime, reason: str) -> None:
        self._by, self._at, self._reason = by, at, reason
        self._revision: Revision | None = None
        self._boundaries: set[datetime] = set()
        self.written = 0

    def network(
        self,
        *,
        host: HostCarrier,
        era: str,
        fields: Mapping[str, Any],
        bands: Sequence[Mapping[str, Any]],
        valid_from: datetime,
        valid_until: datetime = FOREVER,
    ) -> bool:
        """`fields`: admission, ims_policy, cs_voice, source, confidence. `bands`: rows of NetworkBand in order."""
        head, _ = Network.objects.get_or_create(host=host, era=era)
        record = {**fields, "valid_from": valid_from, "valid_until": valid_until}
        rows = [{"position": place, **band} for place, band in enumerate(bands)]
        current = NetworkVersion.objects.filter(head=head, rev_to__isnull=True).first()
        if (
            current is not None
            and _same(current, record)
            and _same_rows(current.bands.order_by("position"), rows)
        ):
            return False
        version = facts.write_version(
            NetworkVersion, head=head, revision=self._open_revision(record), fields=record
        )
        NetworkBand.objects.bulk_create([NetworkBand(version=version, **row) for row in rows])
        return True

    def variant_radio(
        self,
        *,
        variant: Variant,
        fields: Mapping[str, Any],
        bands: Sequence[Mapping[str, Any]],
        ims: Mapping[str, str],
        valid_from: datetime,
        valid_until: datetime = FOREVER,
    ) -> bool:
        """`fields`: *_confidence, ims_source. `bands`: rows of VariantBand. `ims`: host code -> status."""
        record = {**fields, "valid_from": valid_from, "valid_until": valid_until}
        bands = sorted(bands, key=lambda band: (band["rat"], band["band"]))
        current = VariantVersion.objects.filter(head=variant, rev_to__isnull=True).first()
        if (
            current is not None
            and _same(current, record)
            and _same_rows(current.bands.order_by("rat", "band"), bands)
        ):
            known = dict(current.ims.values_list("host__code", "status"))
            if known == dict(ims):
                return False
        hosts = {host.code: host for host in HostCarrier.objects.filter(code__in=ims)}
        version = facts.write_version(
            VariantVersion, head=variant, revision=self._open_revision(record), fields=record
        )
        VariantBand.objects.bulk_create([VariantBand(version=version, **band) for band in bands])
        VariantIms.objects.bulk_create(
            [VariantIms(version=version, host=hosts[code], status=status) for code, status in ims.items()]
        )
        return True

    def hosting(
        self,
        *,
        mvno: str,
        host: HostCarrier,
        product_name: str,
        fields: Mapping[str, Any],
        valid_from: datetime,
        valid_until: datetime = FOREVER,
    ) -> bool:
        """`fields`: plmn, apn, source, confidence, date_source, date_confidence, note."""
        head, _ = Hosting.objects.get_or_create(mvno=mvno, host=host, product_name=product_name)
        record = {**fields, "valid_from": valid_from, "valid_until": valid_until}
        current = HostingVersion.objects.filter(head=head, rev_to__isnull=True).first()
        if current is not None and _same(current, record):
            return False
        facts.write_version(HostingVersion, head=head, revision=self._open_revision(record), fields=record)
        return True

    def finish(self) -> None:
        if self._revision is None:
            return
        facts.publish_change(
            act="groundwork.recorded",
            subject_kind="groundwork",
            subject_id=self._revision.n,
            revision=self._revision,
            by=self._by,
            at=self._at,
            reason=self._reason,
            evidence={"records": self.written},
            boundaries=tuple(sorted(self._boundaries)),
        )

    def _open_revision(self, record: Mapping[str, Any]) -> Revision:
        # Taken at the first difference, so that an import that changes nothing keeps nobody waiting.
        self.written += 1
        self._boundaries |= {record["valid_from"], record["valid_until"]}
        if self._revision is None:
            self._revision = fence.exclusive(by=self._by, reason=self._reason, at=self._at)
        return self._revision


def _same(version: Any, record: Mapping[str, Any]) -> bool:
    return all(getattr(version, name) == value for name, value in record.items())


def _same_rows(rows: Any, wanted: Sequence[Mapping[str, Any]]) -> bool:
    found = list(rows)
    return len(found) == len(wanted) and all(
        _same(row, fields) for row, fields in zip(found, wanted, strict=True)
    )
