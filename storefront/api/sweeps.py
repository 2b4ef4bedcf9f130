"""GET /v1/sweeps: what a change of authority did to the vendor's own offers, and how far its sweep is.

Of the offers of others a vendor learns no figure but how much of the whole is done.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import connection
from rest_framework.request import Request
from rest_framework.response import Response

from authorization import sweeps
from authorization.models import Delisting, Sweep
from storefront import events
from storefront.api.problems import Problem
from storefront.api.shapes import page_of
from storefront.api.sweep_shapes import SweepShape
from storefront.api.times import rfc3339
from storefront.api.views import VendorView

MAX_ID = 2**63 - 1
# Sweeps shown; the events of a vendor name all that touched it.
SHOWN = 100


@dataclass
class Moved:
    """How many of the vendor's offers a sweep moved so far."""

    delisted: int = 0
    reinstated: int = 0


class SweepsView(VendorView):
    """The newest sweeps that moved an offer of this vendor, in the time for which events are kept."""

    scopes: ClassVar = {"GET": "listings:read"}
    answers: ClassVar = {"GET": {200: page_of(SweepShape)}}

    def get(self, request: Request) -> Response:
        moved = _moved_by_sweep(self.caller.vendor.pk, since=self.at - events.KEPT)
        newest = Sweep.objects.filter(pk__in=sorted(moved, reverse=True)[:SHOWN]).order_by("-pk")
        data = [present_sweep(sweep, moved[sweep.pk]) for sweep in newest]
        return Response({"data": data, "next_cursor": None, "has_more": False})


class OneSweepView(VendorView):
    """What one change of authority did to your offers, and how far it is."""

    scopes: ClassVar = {"GET": "listings:read"}
    answers: ClassVar = {"GET": {200: SweepShape}}

    def get(self, request: Request, sweep_id: int) -> Response:
        sweep = Sweep.objects.filter(pk=sweep_id).first() if sweep_id <= MAX_ID else None
        moved = _moved_by(sweep, self.caller.vendor.pk) if sweep is not None else Moved()
        if sweep is None or not (moved.delisted or moved.reinstated):
            raise Problem("not_found", "No sweep of this id has moved an offer of yours.")
        return Response(present_sweep(sweep, moved))


def present_sweep(sweep: Sweep, moved: Moved) -> dict[str, Any]:
    return {
        "sweep_id": sweep.pk,
        "revision": sweep.revision_id,
        "started_at": rfc3339(sweep.started_at),
        "finished_at": rfc3339(sweep.finished_at) if sweep.finished_at else None,
        "progress": _progress(sweep),
        "delisted": moved.delisted,
        "reinstated": moved.reinstated,
    }


def _progress(sweep: Sweep) -> dict[str, Any]:
    """In percent of the whole: how many offers that is, is nobody's business."""
    if sweep.finished_at is not None:
        return {"percent_done": 100.0, "percent_per_s": None, "eta_s": 0}
    progress = sweeps.progress(sweep)
    if not progress.is_planned or not progress.offers:
        return {"percent_done": None, "percent_per_s": None, "eta_s": None}
    rate = progress.rate_per_s
    return {
        "percent_done": round(100 * progress.decided / progress.offers, 1),
        "percent_per_s": round(100 * rate / progress.offers, 2) if rate is not None else None,
        "eta_s": round(progress.eta_s) if progress.eta_s is not None else None,
    }


def _moved_by_sweep(vendor_id: int, *, since: Any) -> dict[int, Moved]:
    """One pass over the vendor's own events, by the index of vendors."""
    of_sweep = "CAST(payload ->> 'sweep_id' AS bigint)"
    sql = f"""
        SELECT {of_sweep}, event, COUNT(*) FROM authorization_outboxrow
        WHERE {events.OF_VENDOR} AND handler = '' AND position IS NOT NULL AND created_at >= %s
          AND event IN ('listing.suspended', 'listing.reinstated') AND {of_sweep} IS NOT NULL
        GROUP BY 1, 2
    """  # noqa: S608  every value is a parameter
    found: dict[int, Moved] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [vendor_id, connection.ops.adapt_datetimefield_value(since)])
        for sweep_id, event, count in cursor.fetchall():
            moved = found.setdefault(sweep_id, Moved())
            if event == "listing.suspended":
                moved.delisted = count
            else:
                moved.reinstated = count
    return found


def _moved_by(sweep: Sweep, vendor_id: int) -> Moved:
    # Spelled as in the index auth_outbox_returned.
    sql = """
        SELECT COUNT(*) FROM authorization_outboxrow
        WHERE handler = '' AND event = 'listing.reinstated' AND CAST(payload ->> 'sweep_id' AS bigint) = %s
          AND CAST(payload ->> 'vendor_id' AS bigint) = %s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [sweep.pk, vendor_id])
        reinstated = cursor.fetchone()[0]
    delisted = Delisting.objects.filter(sweep=sweep, offer__listing__vendor_id=vendor_id).count()
    return Moved(delisted, reinstated)
