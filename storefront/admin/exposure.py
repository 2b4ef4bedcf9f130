"""What falls by itself within so many days, and what rests on a record. Both read only, page by page."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from authorization import clock, decisions, directions
from authorization.decisions import DecisionUnavailable, InvalidQuestion
from authorization.directions import FallingOffer, InvalidCursor
from authorization.models import Decision, Fact
from authorization.rules import Evidence
from carriers.models import Hosting, Network
from catalog.models import ListingHost, Variant
from storefront.admin.desk import change_url, desk_page, require, say_reasons, site

PERMISSION = "authorization.view_decision"
DAYS, MOST_DAYS = 30, 365
SHOWN = 50


def exposure(request: HttpRequest) -> HttpResponse:
    """`?days=30`, and `after=` for the next page."""
    require(request, PERMISSION)
    text = request.GET.get("days", "")
    days = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    complaint = ""
    if not 0 < days <= MOST_DAYS:
        complaint = f"Take from 1 to {MOST_DAYS} days." if text else ""
        days = DAYS
    try:
        page = directions.exposure(
            timedelta(days=days), at=_now(), after=request.GET.get("after") or None, limit=SHOWN
        )
    except InvalidCursor as error:
        return _from_the_beginning(request, error, f"{reverse('exposure')}?days={days}")
    except DecisionUnavailable:
        return _unavailable(request, "Exposure", reverse("exposure"))
    offers = _offers([item.offer_id for item in page.items])
    rows = [(item, offers[item.offer_id], _why(item), _record_link(item.record)) for item in page.items]
    return desk_page(
        site.get_model_admin(Decision),
        request,
        "desk/exposure.html",
        title="Exposure",
        days=days,
        complaint=complaint,
        most_days=MOST_DAYS,
        page=page,
        rows=rows,
        until=page.valid_at + timedelta(days=days),
        is_first="after" not in request.GET,
        first_url=f"{reverse('exposure')}?days={days}",
        next_url=_next(reverse("exposure"), page.next_cursor, days=days),
    )


def resting(request: HttpRequest, kind: str, fact_id: int) -> HttpResponse:
    """What rests on this record."""
    require(request, PERMISSION)
    here = reverse("resting_on", args=[kind, fact_id])
    try:
        page = directions.resting_on(
            kind, fact_id, at=_now(), after=request.GET.get("after") or None, limit=SHOWN
        )
    except InvalidQuestion as error:
        raise Http404(error.message) from error
    except InvalidCursor as error:
        return _from_the_beginning(request, error, here)
    except DecisionUnavailable:
        return _unavailable(request, "What rests on it", here)
    offers = _offers([item.offer_id for item in page.items])
    name = _name(kind, fact_id)
    return desk_page(
        site.get_model_admin(Decision),
        request,
        "desk/resting.html",
        title=f"What rests on {name}",
        name=name,
        kind=kind,
        record_url=_url_of(kind, fact_id),
        page=page,
        rows=[(item, offers[item.offer_id]) for item in page.items],
        is_first="after" not in request.GET,
        first_url=here,
        next_url=_next(here, page.next_cursor),
    )


def _now() -> Any:
    try:
        return decisions.present(clock.now())[1]
    except DecisionUnavailable:
        # The question itself will say so.
        return clock.now()


def _from_the_beginning(request: HttpRequest, error: InvalidCursor, url: str) -> HttpResponse:
    messages.error(request, "That page cannot be shown any more; here is the list from its beginning.")
    return HttpResponseRedirect(url)


def _unavailable(request: HttpRequest, title: str, url: str) -> HttpResponse:
    admin = site.get_model_admin(Decision)
    response = desk_page(admin, request, "desk/not_answered.html", title=title, again_url=url)
    response.status_code = 503
    return response


def _next(url: str, cursor: str | None, **more: Any) -> str:
    return "" if cursor is None else f"{url}?{urlencode({**more, 'after': cursor})}"


def _offers(offer_ids: list[int]) -> dict[int, ListingHost]:
    rows = ListingHost.objects.select_related("listing__vendor", "listing__variant__device", "host")
    return rows.in_bulk(offer_ids)


def _why(item: FallingOffer) -> str:
    return say_reasons(list(dict.fromkeys(reason.code for reason in item.reasons)))


def _record_link(record: Evidence | None) -> tuple[str, str]:
    """Name and address."""
    if record is None:
        return "", ""
    return record.code, _url_of(record.kind, record.fact_id)


_GROUNDWORK: dict[str, Any] = {"hosting": Hosting, "network": Network, "variant": Variant}


def _url_of(kind: str, fact_id: int) -> str:
    model = _GROUNDWORK.get(kind, Fact)
    return change_url(model(pk=fact_id))


def _name(kind: str, fact_id: int) -> str:
    return str(_GROUNDWORK.get(kind, Fact).objects.get(pk=fact_id))
