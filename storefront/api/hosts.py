"""GET /v1/hosts: the host carriers on which the shop sells service, with their networks; and finding them by code."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from carriers.cautions import network_cautions
from carriers.models import HostCarrier, HostingVersion, NetworkVersion
from carriers.selectors import bands_and_marks, hostings_of, hosts_of, networks_on_record
from carriers.versions import FOREVER, end_of
from storefront.api.catalog_shapes import HostShape
from storefront.api.fields import Members
from storefront.api.keys import PARTNERS, CarrierPrincipal
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.api.verdicts import Day, present_cautions, present_edges
from storefront.api.views import KeyedView
from storefront.models import PrepaidPlan
from storefront.plans import plans_by_host


class CatalogView(KeyedView):
    """What the shop knows of phones and networks is no secret among those who deal with it."""

    open_to: ClassVar = (*PARTNERS, CarrierPrincipal)
    scopes: ClassVar = {"GET": "catalog:read"}


class HostsQuery(Members):
    on = Day(required=False)


class HostsView(CatalogView):
    """The host carriers on which the shop sells service, with their networks of today, or of the day `on`."""

    queries: ClassVar = {"GET": HostsQuery}
    answers: ClassVar = {"GET": {200: page_of(HostShape)}}

    def get(self, request: Request) -> Response:
        on = self.query.get("on", self.at.date())
        at = end_of(on) if "on" in self.query else self.at
        hostings = hostings_of(settings.SHOP_MVNO, at=at)
        hosts = HostCarrier.objects.filter(pk__in={row.head.host_id for row in hostings}).order_by("code")
        hosts = hosts.prefetch_related("plmns")
        networks, plans = networks_on_record(hosts, at=at), plans_by_host(at=at)
        data = [
            present_host(
                host,
                [row for row in hostings if row.head.host_id == host.pk],
                networks.get(host.pk),
                plans.get(host.pk, ()),
                on=on,
            )
            for host in hosts
        ]
        return Response({"data": data, "next_cursor": None, "has_more": False})


def present_host(
    host: HostCarrier,
    hostings: Iterable[HostingVersion],
    network: NetworkVersion | None,
    plans: Iterable[PrepaidPlan],
    *,
    on: date,
) -> dict[str, Any]:
    return {
        "host": host.code,
        "name": host.name,
        "plmn": host.plmn,
        "further_plmns": [
            {"plmn": row.plmn, "note": row.note, "source": row.source, "confidence": row.confidence}
            for row in host.plmns.all()
        ],
        "hostings": [
            {
                "product_name": row.head.product_name,
                "plmn": row.plmn,
                "apn": row.apn,
                "source": row.source,
                "confidence": row.confidence,
                "valid_from": rfc3339(row.valid_from),
                "valid_until": None if row.valid_until == FOREVER else rfc3339(row.valid_until),
                "date_confidence": row.date_confidence,
            }
            for row in hostings
        ],
        "plans": [
            {
                "plan": plan.slug,
                "name": plan.name,
                "needs_voice": plan.needs_voice,
                "needs_data": plan.needs_data,
                "needs_voice_over_lte": plan.needs_volte,
                "is_simulated": plan.is_simulated,
            }
            for plan in plans
        ],
        "network": None if network is None else _present_network(network, on=on),
    }


def _present_network(network: NetworkVersion, *, on: date) -> dict[str, Any]:
    bands, marks = bands_and_marks(network)
    said = network_cautions(bands, marks, on=on, stale_after_days=settings.REFERENCE_STALE_AFTER_DAYS)
    checked_at = network.head.checked_at
    return {
        "era": network.head.era,
        "on": on.isoformat(),
        "admission": network.admission,
        "voice_over_lte_rule": network.ims_policy,
        "circuit_switched_voice": [rat for rat in network.cs_voice.split(";") if rat],
        "source": network.source,
        "confidence": network.confidence,
        "checked_at": rfc3339(checked_at) if checked_at else None,
        "cautions": present_cautions(said),
        "bands": [
            {
                "technology": row.rat,
                "band": row.band,
                "role": row.role,
                "group": row.group,
                "is_coverage_critical": row.is_coverage_critical,
                "voice": row.voice,
                "in_service_from": row.in_service_from or None,
                "in_service_until": row.in_service_until.isoformat() if row.in_service_until else None,
                "is_in_service": band.in_service(on),
                **present_edges(row.rat, row.band),
                "source": row.source,
                "confidence": row.confidence,
                "note": row.note,
            }
            for row, band in zip(network.bands.all(), bands, strict=True)
        ],
    }


def served_hosts(*, at: datetime) -> list[HostCarrier]:
    """The hosts on which the shop's virtual operator runs at this instant, by code."""
    return sorted(hosts_of(settings.SHOP_MVNO, at=at), key=lambda host: host.code)


def find_hosts(codes: Iterable[str]) -> dict[str, HostCarrier]:
    """By code, served or not: whether the shop serves a host is the decision's business."""
    return {host.code: host for host in HostCarrier.objects.filter(code__in=set(codes))}


def unknown_host_message() -> str:
    known = HostCarrier.objects.order_by("code").values_list("code", flat=True)[:20]
    return f"No host carrier has this code. Known: {', '.join(known) or 'none'}."
