"""Sweeps: how far the offers are that a change of authority may touch."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.utils.text import capfirst
from unfold.decorators import display

from authorization import clock, sweeps
from authorization.models import PendingChange, Sweep, SweepChunk
from storefront.admin.desk import ReadOnlyAdmin, ReadOnlyInline

if TYPE_CHECKING:
    from authorization.sweeps import Progress


def say_progress(sweep: Sweep, progress: "Progress", at: datetime) -> list[str]:
    """Sentences: how far, how fast, when it is done, and what has waited longest."""
    if sweep.finished_at is not None:
        took = (sweep.finished_at - sweep.started_at).total_seconds()
        return [
            f"Done at {sweep.finished_at:%H:%M:%S} UTC, after {say_seconds(took)}: {_offers(progress.decided)} looked "
            f"at, {progress.delisted:,} taken down, {progress.reinstated:,} brought back."
        ]
    if progress.is_waiting:
        return [
            "Nothing is looked at yet: the removal waits for a second person. Nothing of it is sold meanwhile."
        ]
    if not progress.is_planned and not progress.chunks:
        return ["It waits for a worker. Nothing of it is sold meanwhile."]
    planned = "" if progress.is_planned else " or more, of which the number is still being found"
    lines = [
        f"{progress.decided:,} of {_offers(progress.offers)}{planned} looked at: {progress.delisted:,} taken down, "
        f"{progress.reinstated:,} brought back."
    ]
    if progress.rate_per_s:
        lines.append(f"About {progress.rate_per_s:,.0f} a second.")
    if progress.eta_s is not None:
        lines.append(f"The rest takes about {say_seconds(progress.eta_s)}.")
    if progress.oldest_undone_at is not None:
        waited = (at - progress.oldest_undone_at).total_seconds()
        lines.append(f"The part that waits longest does so for {say_seconds(waited)}.")
    return lines


def say_seconds(seconds: float) -> str:
    """A span as people say it: 12 s, 3 min 20 s, 2 h 5 min, 3 days."""
    whole = timedelta(seconds=max(0, round(seconds)))
    hours, rest = divmod(whole.seconds, 3600)
    minutes, left = divmod(rest, 60)
    if whole.days:
        days = f"{whole.days} day{'' if whole.days == 1 else 's'}"
        return f"{days} {hours} h" if hours and whole.days < 3 else days
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    return f"{left} s"


def _offers(count: int) -> str:
    return f"{count:,} offer{'' if count == 1 else 's'}"


def _waits_for_a_person(sweep: Sweep) -> bool:
    """The pending changes of its withdrawal come prefetched."""
    waiting = sweep.revocation.pending_changes.all() if sweep.revocation is not None else []
    return any(
        row.kind == PendingChange.Kind.REMOVAL and row.state == PendingChange.State.OPEN for row in waiting
    )


class SweepChunkInline(ReadOnlyInline):
    model = SweepChunk
    fields = ("first_offer_id", "last_offer_id", "done_at", "decided", "delisted", "reinstated")
    show_change_link = False
    show_title = False


@admin.register(Sweep)
class SweepAdmin(ReadOnlyAdmin):
    list_display = ("revision", "cause", "how_far", "taken_down", "brought_back", "started_at", "finished_at")
    list_filter = (("finished_at", admin.EmptyFieldListFilter), "started_at")
    list_select_related = ("revision", "revocation__fact", "fact")
    search_fields = ("fact__code", "revocation__subject", "=revision__n")
    ordering = ("-id",)
    fields = (
        "progress",
        ("revision", "revocation", "fact"),
        ("started_at", "planned_at", "finished_at"),
        "planned_offers",
    )
    readonly_fields = ("progress",)
    inlines = (SweepChunkInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sweep]:
        rows: QuerySet[Sweep] = super().get_queryset(request).prefetch_related("revocation__pending_changes")
        return rows

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Parts are counted for the whole page of sweeps at once."""
        changelist = super().get_changelist_instance(request)
        shown = [sweep.pk for sweep in changelist.result_list]
        counts = (
            SweepChunk.objects.filter(sweep__in=shown)
            .order_by("sweep")
            .values("sweep")
            .annotate(
                parts=Count("pk"),
                done=Count("pk", filter=Q(done_at__isnull=False)),
                looked_at=Sum("decided"),
                down=Sum("delisted"),
                back=Sum("reinstated"),
            )
        )
        by_sweep = {row["sweep"]: row for row in counts}
        for sweep in changelist.result_list:
            sweep.counted = by_sweep.get(
                sweep.pk, dict.fromkeys(("parts", "done", "looked_at", "down", "back"), 0)
            )
        return changelist

    @display(description="because of")
    def cause(self, sweep: Sweep) -> str:
        ends = sum(len(fact_ids) for fact_ids in sweep.scope.get("facts", {}).values())
        several = f"{ends:,} records that begin or end at one instant" if ends else "a correction"
        return capfirst(str(sweep.revocation or sweep.fact or several))

    @display(description="how far")
    def how_far(self, sweep: Any) -> str:
        counted = sweep.counted
        if sweep.finished_at is not None:
            return f"done: {_offers(counted['looked_at'])}"
        if not counted["parts"]:
            return "waits for a second person" if _waits_for_a_person(sweep) else "not begun"
        more = "" if sweep.planned_at else " or more"
        share = 100 * counted["done"] // counted["parts"]
        return f"{share} %: {counted['done']:,} of {counted['parts']:,} parts{more}"

    @display(description="taken down")
    def taken_down(self, sweep: Any) -> str:
        return f"{sweep.counted['down']:,}"

    @display(description="brought back")
    def brought_back(self, sweep: Any) -> str:
        return f"{sweep.counted['back']:,}"

    @display(description="how far")
    def progress(self, sweep: Sweep) -> str:
        return " ".join(say_progress(sweep, sweeps.progress(sweep), clock.now()))
