"""What it costs when a carrier's whole list ends at one instant: thousands of approvals, tens of thousands of offers.

The instant comes by the clock. First it is asked, with no worker alive, what can still be sold; then one worker's work
of the crossing is timed and its statements are counted; then worker processes do the rest.

  python -m benchmarks expiry [--json] [--approvals N] [--offers N]
"""

import json
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import django

# The list whose crossing takes as many statements as the large one's.
FEW_APPROVALS, FEW_OFFERS = 50, 200
# Until the instant, so that all is ready before it comes.
AHEAD = timedelta(seconds=12)


def main(options: dict[str, Any]) -> dict[str, Any]:
    django.setup()
    from authorization import outbox
    from benchmarks import brand, revocation

    # There is no broker here, and nobody is waked by it.
    outbox.ring = lambda: None
    approvals, offers = int(options["approvals"]), int(options["offers"])
    market = brand.open_market()
    # One carrier's list; what its phones are sold for elsewhere is not touched.
    carrier = replace(market, host_ids=market.host_ids[:1])
    few = _made(carrier, "few", FEW_APPROVALS, FEW_OFFERS)
    many = _made(carrier, "many", approvals, offers)
    brand.found(replace(market, host_ids=market.host_ids[1:]), "elsewhere", listings=offers // 10)
    bare = brand.found(carrier, "bare", listings=offers)
    lean_s = revocation._bare_sql(bare, writes_all=False)
    revocation._revive(bare)
    all_s = revocation._bare_sql(bare, writes_all=True)
    found_few = _expire(few, FEW_APPROVALS)
    found = _expire(many, approvals)
    took_s = found["crossing_s"] + found["sweep_s"]
    name = f"{approvals} approvals of {offers} live offers end at one instant"
    return {
        f"{name}: allowed in the last microsecond before": found["allowed_before"],
        f"{name}: of these, allowed until that instant and no longer": found["until_then"],
        f"{name}: allowed at it": found["allowed_at"],
        f"{name}: allowed by the clock, no worker alive, all pages up": found["allowed_by_the_clock"],
        f"{name}: revisions, sweeps": [found["revisions"], found["sweeps"]],
        f"{name}: rows of work that are left for this instant": found["left"],
        f"crossing of {approvals}: statements, ms under the fence": [
            found["statements"],
            round(found["crossing_s"] * 1000),
        ],
        f"crossing of {FEW_APPROVALS}: statements, ms under the fence": [
            found_few["statements"],
            round(found_few["crossing_s"] * 1000),
        ],
        "from the first look of the workers to the last page: s": round(took_s, 2),
        "offers per second": round(offers / took_s),
        "the same rows by bare UPDATE + INSERT ... SELECT: s": round(all_s, 2),
        "bare UPDATE with one audit row each: s": round(lean_s, 2),
        "to bare SQL of the same rows: ratio": round(took_s / all_s, 2),
        "to bare UPDATE with one audit row each: ratio": round(took_s / lean_s, 2),
        "most memory of a worker, MB": found["peak"],
    }


def _made(market: Any, name: str, approvals: int, offers: int) -> Any:
    from benchmarks import brand

    return brand.found(market, name, listings=offers, devices=approvals // brand.PER_DEVICE)


def _expire(made: Any, approvals: int) -> dict[str, Any]:
    from django.db import connection

    from authorization import boundaries, clock, fence
    from authorization.models import OutboxRow, Revision, Sweep
    from benchmarks import revocation

    # What the making of this world would set going is not what is measured.
    OutboxRow.objects.filter(done_at__isnull=True).exclude(handler="").update(done_at=clock.now())
    instant = clock.now() + AHEAD
    _end_at(made, instant, approvals)
    before = fence.current_revision()
    if clock.now() >= instant:
        raise RuntimeError("The instant came before all was ready; the machine is too busy.")
    time.sleep(max(0.0, (instant - clock.now()).total_seconds()))
    found: dict[str, Any] = {"allowed_by_the_clock": _allowed(made, at=clock.now())[0]}
    row = OutboxRow.objects.filter(event="authority.boundary", due_at=instant).exclude(handler="").first()
    if row is None:
        raise RuntimeError("Nothing waits for the instant.")
    counted = _Counted()
    with connection.execute_wrapper(counted):
        started = time.monotonic()
        boundaries.cross_boundary(payload=row.payload, event_id=row.event_id, at=clock.now())
        found["crossing_s"] = time.monotonic() - started
    OutboxRow.objects.filter(pk=row.pk).update(done_at=clock.now())
    found["statements"] = counted.statements
    found["sweep_s"], ends = revocation._work_off(made)
    found["peak"] = max(end.peak_mb for end in ends)
    found["revisions"] = Revision.objects.filter(n__gt=before).count()
    found["sweeps"] = Sweep.objects.filter(revision__n__gt=before).count()
    waiting = OutboxRow.objects.filter(event="authority.boundary", due_at=instant, done_at=None)
    found["left"] = waiting.exclude(handler="").count()
    # Of the facts alone, as they were known before anybody crossed the instant.
    last = instant - timedelta(microseconds=1)
    found["allowed_before"], untils = _allowed(made, at=last, known_at=before)
    found["until_then"] = sum(until == instant for until in untils)
    found["allowed_at"] = _allowed(made, at=instant, known_at=before)[0]
    return found


class _Counted:
    statements = 0

    def __call__(self, execute: Any, *given: Any) -> Any:
        self.statements += 1
        return execute(*given)


def _allowed(made: Any, *, at: datetime, known_at: int | None = None) -> tuple[int, list[datetime]]:
    """How many offers of the brand are allowed then, and until when each."""
    from authorization import decisions

    ends = []
    for offer_id, answer in decisions.decide_store(
        at=at, known_at=known_at, after_offer_id=made.first_offer_id - 1
    ):
        if offer_id > made.last_offer_id:
            break
        if answer.is_allowed:
            ends.append(answer.expires_at)
    return len(ends), ends


def _end_at(made: Any, instant: datetime, approvals: int) -> None:
    """All approvals of the brand are written anew, to end then, each with the row that waits for its end."""
    from django.conf import settings
    from django.db import transaction

    from authorization import clock, fence
    from authorization.actors import SYSTEM
    from authorization.models import ApprovalVersion, OutboxRow
    from catalog.models import ListingHost

    offers = ListingHost.objects.filter(id__gte=made.first_offer_id, id__lte=made.last_offer_id)
    one = offers.values_list("listing__variant__device__manufacturer_id", "host_id")[0]
    current = ApprovalVersion.objects.filter(
        variant__device__manufacturer_id=one[0], host_id=one[1], rev_to=None
    )
    versions = list(current.order_by("head_id"))
    if len(versions) != approvals:
        raise RuntimeError("The brand has another number of approvals.")
    now = clock.now()
    with transaction.atomic():
        revision = fence.exclusive(by=SYSTEM, reason="bench", at=now)
        current.update(rev_to=revision.n)
        for version in versions:
            version.pk, version.version_no, version.rev_from, version.valid_until = (
                None,
                2,
                revision.n,
                instant,
            )
        ApprovalVersion.objects.bulk_create(versions, batch_size=1000)
        offers.update(clearance_expires_at=instant)
    handler = settings.OUTBOX_HANDLERS["authority.boundary"][0]
    rows = []
    for version in versions:
        payload = {"fact_id": version.head_id, "scope": {}, "boundary": instant.isoformat()}
        event_id = uuid4()
        rows += [
            OutboxRow(
                event_id=event_id, event="authority.boundary", payload=payload, handler=name, due_at=instant,
                created_at=now,
            )
            for name in ("", handler)
        ]  # fmt: skip
    OutboxRow.objects.bulk_create(rows, batch_size=1000)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
