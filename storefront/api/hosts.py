"""GET /v1/hosts: the host carriers on which the shop sells service, and finding them by code."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from carriers.models import HostCarrier, HostingVersion
from storefront.api.views import VendorView


class HostsView(VendorView):
    def get(self, request: Request) -> Response:
        data = [present_host(host) for host in served_hosts(at=self.at)]
        return Response({"data": data, "next_cursor": None, "has_more": False})


def present_host(host: HostCarrier) -> dict[str, Any]:
    return {"host": host.code, "name": host.name, "plmn": host.plmn}


def served_hosts(*, at: datetime) -> list[HostCarrier]:
    """The hosts on which the shop's virtual operator runs at this instant."""
    running = HostingVersion.objects.current().filter(
        head__mvno=settings.SHOP_MVNO, valid_from__lte=at, valid_until__gt=at
    )
    return list(HostCarrier.objects.filter(pk__in=running.values("head__host_id")).order_by("code"))


def find_hosts(codes: Iterable[str]) -> dict[str, HostCarrier]:
    """By code, served or not: whether the shop serves a host is the decision's business."""
    return {host.code: host for host in HostCarrier.objects.filter(code__in=set(codes))}


def unknown_host_message() -> str:
    known = HostCarrier.objects.order_by("code").values_list("code", flat=True)[:20]
    return f"No host carrier has this code. Known: {', '.join(known) or 'none'}."
