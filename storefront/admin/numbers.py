"""How long withdrawals took: a list with its spread over a period. One withdrawal's own stand on its page."""

from datetime import timedelta

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from authorization import clock
from authorization.models import Revocation
from storefront import numbers
from storefront.admin.desk import change_url, desk_page, require, site
from storefront.numbers import STEPS, Spread, Step, Timeline

PERMISSION = "authorization.view_revocation"
DAYS, MOST_DAYS = 30, 3660
SHOWN = 50


def numbers_page(request: HttpRequest) -> HttpResponse:
    """`?days=30`, and `p=` for the page."""
    require(request, PERMISSION)
    text = request.GET.get("days", "")
    days = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    complaint = ""
    if not 0 < days <= MOST_DAYS:
        complaint = f"Take from 1 to {MOST_DAYS} days." if text else ""
        days = DAYS
    at = clock.now()
    decided = numbers.decided_between(at - timedelta(days=days), at + timedelta(seconds=1))
    counted = numbers.timelines(list(decided[: numbers.COUNTED]), at=at)
    page = Paginator(counted, SHOWN).get_page(request.GET.get("p"))
    return desk_page(
        site.get_model_admin(Revocation),
        request,
        "desk/numbers.html",
        title="Numbers",
        days=days,
        most_days=MOST_DAYS,
        complaint=complaint,
        columns=list(STEPS.values()),
        rows=[_row(timeline) for timeline in page],
        spreads=[_say_spread(spread) for spread in numbers.spreads(counted)],
        counted=len(counted),
        is_cut=len(counted) == numbers.COUNTED,
        page=page,
        here=f"{reverse('numbers')}?days={days}",
    )


def _row(timeline: Timeline) -> dict[str, object]:
    return {
        "name": str(timeline.revocation),
        "url": change_url(timeline.revocation),
        "decided_at": timeline.revocation.revision.recorded_at,
        "cells": [say_step(step) for step in timeline.steps],
        "held": timeline.held,
    }


def _say_spread(spread: Spread) -> tuple[str, int, str, str, str]:
    times = (spread.p50_s, spread.p95_s, spread.max_s)
    p50, p95, most = ("" if seconds is None else say_span(seconds) for seconds in times)
    return spread.title, spread.count, p50, p95, most


def steps_for_page(timeline: Timeline) -> list[tuple[Step, str]]:
    """Each step of one withdrawal with its words, for desk/numbers_of_withdrawal.html."""
    return [(step, say_step(step)) for step in timeline.steps]


def say_step(step: Step) -> str:
    if step.seconds is not None and step.state == numbers.DONE:
        return say_span(step.seconds)
    if step.done is not None:
        return f"{step.state}: {step.done:,} of {'?' if step.total is None else f'{step.total:,}'}"
    return step.state


def say_span(seconds: float) -> str:
    """A span as people say it, with the milliseconds where they are all that there is: 35 ms, 2.4 s, 3 min 20 s."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    said = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(said[:2])
