"""How much anybody may ask of technical acceptances: open requests, files, and how often in an hour.

Every request, move and file of one side is mailed to the other, and every file is kept for good. The figures are our
own choice, far above what a maker or a lab does in a busy week. What takes authority away (suspend, restrict, revoke)
is never counted: a stop must not wait. Nor are the shop's own people.
"""

from datetime import datetime
from math import ceil
from typing import Any

from django.db import transaction
from django.db.models import Sum

from authorization.acceptances import process
from authorization.acceptances.moves import MoveRefused
from authorization.acceptances.process import Doer
from authorization.models import Acceptance, AcceptanceFile, AcceptanceMove, Party
from carriers.models import HostCarrier
from storefront import rates
from storefront.acceptance_access import Open, Standing

State = Acceptance.State

# What a host is still to decide on. What it approved is no burden to it any more.
UNDER_WAY = (
    State.REQUESTED,
    State.INTAKE_REVIEW,
    State.LAB_ENTRY,
    State.IN_TEST,
    State.ISSUES_OPEN,
    State.WAIVER_PENDING,
    State.MR_REVIEW,
)
# Of one sponsor with one host: the largest makers bring some dozens of models in a year, each in a few builds.
OPEN_REQUESTS = 100
# Of one acceptance, all files together: ten of the largest, or a hundred reports of half a megabyte. How many files it
# may have is the process's own figure (authorization.acceptances.evidence.MAX_FILES).
BYTES_OF_FILES = 50_000_000

WITHIN_S = 3600
# A maker that asks anew for every model it has does so by a script, and in an hour or two.
REQUESTS_PER_HOUR = 60
# Of a sponsor: each is a mail to a host.
MOVES_OF_SPONSOR_PER_HOUR = 120
# Of a sponsor on one acceptance: papers are completed once or twice.
AMENDS_PER_HOUR = 10
# Of a host, all its people and keys: a system that works off what a week has left.
MOVES_OF_HOST_PER_HOUR = 600
# Of a sponsor or a host: a gigabyte at the very most.
FILES_PER_HOUR = 200


class NoRoom(MoveRefused):
    """There are as many as there may be; the message says what makes room."""


class TooOften(MoveRefused):
    """As often as there may be in an hour. `wait_s`: seconds until it may be sent again."""

    def __init__(self, what: str, most: int, wait_s: int) -> None:
        wait = f"{ceil(wait_s / 60)} min" if wait_s > 60 else f"{wait_s} s"
        super().__init__(f"{what}: at most {most} in an hour. Nothing was done; send it again in {wait}.")
        self.wait_s = wait_s


def request(*, standing: Standing, host: HostCarrier, at: datetime, **terms: Any) -> Acceptance:
    """Ask a host for acceptance, in one's own name. Raises InvalidFact, MoveRefused, NoRoom, TooOften."""
    _count(standing, "Requests of one sponsor", REQUESTS_PER_HOUR)
    with transaction.atomic():
        _one_at_a_time(host.pk)
        by = standing.doer(Party.SPONSOR)
        made = process.request(host=host, sponsor=standing.organization, **terms, by=by, at=at)
        _check_room(made)
    return made


def perform(
    *,
    standing: Standing,
    acceptance: Acceptance,
    opened: Open,
    at: datetime,
    seen_version: int | None,
    **inputs: Any,
) -> AcceptanceMove:
    """Make a move that is not one of the front door. Raises InvalidFact, MoveRefused, NoRoom, TooOften."""
    move = opened.move
    if move.code == "amend":
        _count(standing, "Changes of the papers of one acceptance", AMENDS_PER_HOUR, of=acceptance.code)
    if standing.host is not None:
        _count(standing, "Moves of one host carrier", MOVES_OF_HOST_PER_HOUR)
    else:
        _count(standing, "Moves of one sponsor", MOVES_OF_SPONSOR_PER_HOUR)
    asked: dict[str, Any] = {
        "acceptance": acceptance,
        "move": move.code,
        "by": standing.doer(opened.party),
        "at": at,
        "seen_version": seen_version,
        **inputs,
    }
    if not move.opens:
        return process.perform(**asked)
    with transaction.atomic():
        _one_at_a_time(acceptance.host_id)
        made = process.perform(**asked)
        _check_room(acceptance)
    return made


def attach(
    *, standing: Standing, acceptance: Acceptance, by: Doer, at: datetime, **file: Any
) -> tuple[AcceptanceFile, bool]:
    """Keep a file; and whether it is a new one. Raises InvalidFact, MoveRefused, NoRoom, TooOften."""
    _count(standing, "Files of one sponsor or host carrier", FILES_PER_HOUR)
    with transaction.atomic():
        Acceptance.objects.select_for_update(no_key=True).get(pk=acceptance.pk)
        last = acceptance.files.order_by("-id").values_list("id", flat=True).first() or 0
        kept = process.attach_file(acceptance=acceptance, by=by, at=at, **file)
        is_new = kept.pk > last
        size = acceptance.files.aggregate(size=Sum("size"))["size"]
        if is_new and size > BYTES_OF_FILES:
            left = BYTES_OF_FILES - (size - kept.size)
            raise NoRoom(
                f"The files of {acceptance.code} have at most {BYTES_OF_FILES:,} bytes together, and {max(left, 0):,} "
                "are left. Send what is smaller, or less of it."
            )
    return kept, is_new


def _one_at_a_time(host_id: int) -> None:
    """Two requests at one instant must not each be the last that there is room for."""
    HostCarrier.objects.select_for_update(no_key=True).get(pk=host_id)


def _check_room(of: Acceptance) -> None:
    """Raises NoRoom where the sponsor of this one has too many under way with its host by now."""
    open_ones = Acceptance.objects.filter(host=of.host_id, sponsor=of.sponsor_id, state__in=UNDER_WAY)
    if open_ones.count() > OPEN_REQUESTS:
        raise NoRoom(
            f"One sponsor has at most {OPEN_REQUESTS} requests under way with one host carrier. Withdraw one that you "
            "do not need, or wait until one is decided."
        )


def _count(standing: Standing, what: str, most: int, *, of: str = "") -> None:
    """Count one more of this side. Raises TooOften."""
    if standing.is_of_shop:
        return
    side = standing.host or standing.organization
    who = f"{type(side).__name__}:{side.pk if side is not None else 0}:{of}"
    wait_s = rates.seconds_to_wait(f"acceptances: {what}", who, most=most, within_s=WITHIN_S)
    if wait_s:
        raise TooOften(what, most, wait_s)
