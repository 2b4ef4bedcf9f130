"""What a withdrawal costs: its commit, the pages that it takes down, the checkouts that go on, the waits behind them.

All ratios are of one run on one database. The brands are made by `benchmarks.brand`; the workers are processes of their
own that pump the outbox as the shop's do.

  python -m benchmarks revocation [--json] [--seconds N] [--listings N] [--covering N] [--full]
"""

import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple
from uuid import uuid4

import django

WORKERS, CHUNK, ONE_BY_ONE, COMMITS = 2, 1000, 500, 21
# The smaller of the two withdrawals whose commits are compared.
FEW = 1000


def main(options: dict[str, Any]) -> dict[str, Any]:
    django.setup()
    from django.db import connection

    from benchmarks import brand

    market = brand.open_market()
    seconds, listings = float(options["seconds"]), int(options["listings"])
    covering = int(options["covering"])
    figures: dict[str, Any] = {}
    parts: list[Callable[[], dict[str, Any]]] = [
        lambda: _checkouts(market, seconds),
        lambda: _sweep(market, listings),
        lambda: _commits(market, covering),
        lambda: _waits(seconds),
    ]
    if options["full"]:
        parts.append(lambda: _memory_of_many(covering))
    for part in parts:
        started = time.monotonic()
        found = part()
        # It takes minutes: whoever waits sees how far it is.
        print(
            json.dumps({**found, "(seconds)": round(time.monotonic() - started)}, indent=2),
            file=sys.stderr,
            flush=True,
        )
        figures |= found
        connection.close()
    return figures


# --- the commit -------------------------------------------------------------------------------------------------


def _commits(market: Any, covering: int) -> dict[str, Any]:
    """The fenced transaction of a withdrawal that covers many listings, and of one that covers few, in turns.

    Each takes another of the agreements that cover the same listings. What the preview found is handed in: it is
    computed before the fence.
    """
    from benchmarks import brand

    started = time.monotonic()
    brands = {
        covering: brand.found(market, "many", listings=covering, agreements=COMMITS + 1),
        FEW: brand.found(market, "few", listings=FEW, agreements=COMMITS + 1),
    }
    built_s = time.monotonic() - started
    took: dict[int, list[float]] = {count: [] for count in brands}
    for n in range(COMMITS):
        for count, made in brands.items():
            took[count].append(_commit(made.agreement_ids[n], count))
    many, few = (statistics.median(took[count]) * 1000 for count in brands)
    figures = {
        f"commit of a withdrawal of {covering} listings: ms p50": round(many, 2),
        f"commit of a withdrawal of {FEW} listings: ms p50": round(few, 2),
        "commit, many to few: ratio (target 1.5 at most)": round(many / few, 2),
        f"world of {covering} listings: seconds to build": round(built_s, 1),
    }
    confirmed = _confirm(brands[FEW].agreement_ids[-1])
    return figures | {f"preview and confirmation of {FEW} listings: seconds": confirmed}


def _commit(fact_id: int, count: int) -> float:
    from authorization import clock, fence, revocations
    from authorization.actors import SYSTEM

    at = clock.now()
    change = revocations.RevokeAgreement(fact_id, "AGREEMENT_TERMINATED")
    seen = revocations._Seen(
        digest="0" * 64,
        change="",
        revision=fence.current_revision(),
        world=[],
        holds_until=at.isoformat(),
        counts=[count, 0, 0],
        falls_later=0,
        wants_two=False,
    )
    wanted = revocations._Withdrawal(change, "bench", at, "bench", SYSTEM, at, None)
    started = time.perf_counter()
    done = revocations._execute_if_unmoved(wanted, seen)
    took = time.perf_counter() - started
    if done is None:
        raise RuntimeError("Somebody else changes authority during the benchmark.")
    return took


def _confirm(fact_id: int) -> str:
    """The preview that a person looks at, and the confirmation of it."""
    from authorization import clock, revocations
    from authorization.actors import SYSTEM

    at = clock.now()
    change = revocations.RevokeAgreement(fact_id, "AGREEMENT_TERMINATED")
    previewed_s, seen = _timed(lambda: revocations.preview(change, at=at))
    confirmed_s, _ = _timed(
        lambda: revocations.execute(
            change, digest=seen.digest, token=seen.token, requested_by="bench", word_received_at=at, note="bench",
            by=SYSTEM, at=at,
        )
    )  # fmt: skip
    return f"{previewed_s:.2f} + {confirmed_s:.2f}"


# --- the sweep --------------------------------------------------------------------------------------------------


def _sweep(market: Any, listings: int) -> dict[str, Any]:
    from django.db import connection

    from benchmarks import brand

    bare = brand.found(market, "bare", listings=listings)
    lean_s = _bare_sql(bare, writes_all=False)
    _revive(bare)
    began = time.process_time()
    all_s = _bare_sql(bare, writes_all=True)
    bare_cpu_s = time.process_time() - began
    one_s = _one_by_one(bare) * listings / ONE_BY_ONE
    swept = brand.found(market, "swept", listings=listings)
    confirmed = _confirm(swept.agreement_ids[0])
    _leave_only_the_sweep()
    took_s, ends = _work_off(swept)
    name = f"{listings} listings delisted"
    cpu_s = sum(end.cpu_s for end in ends)
    on_sqlite = {}
    if connection.vendor == "sqlite":
        # Where the database is part of the process all its work is counted.
        on_sqlite["sweep to bare SQL of the same rows: ratio of CPU time"] = round(cpu_s / bare_cpu_s, 2)
    return {
        f"{name} by {WORKERS} workers: s": round(took_s, 2),
        f"{name} by {WORKERS} workers: per second": round(listings / took_s),
        f"{name}, bare UPDATE + INSERT ... SELECT of the same rows: s": round(all_s, 2),
        f"{name}, bare UPDATE + INSERT ... SELECT of one audit row each: s": round(lean_s, 2),
        "sweep to bare SQL of the same rows: ratio (target 3 at most)": round(took_s / all_s, 2),
        "sweep to bare SQL of one audit row each: ratio": round(took_s / lean_s, 2),
        f"{name} one by one through the ORM: s, from {ONE_BY_ONE}": round(one_s),
        "one by one to sweep: ratio (target 30 at least)": round(one_s / took_s, 1),
        "sweep: most memory of a worker, MB": max(end.peak_mb for end in ends),
        "sweep: CPU seconds of the workers": round(cpu_s, 2),
        **on_sqlite,
        f"preview and confirmation of {listings} listings: seconds": confirmed,
    }


def _leave_only_the_sweep() -> None:
    """What else reacts to the withdrawal is not what is measured."""
    from authorization import clock
    from authorization.models import OutboxRow

    waiting = OutboxRow.objects.filter(done_at__isnull=True).exclude(handler="")
    waiting.exclude(event="authority.changed", payload__revision=_newest()).update(done_at=clock.now())


def _newest() -> int:
    from authorization import fence

    return fence.current_revision()


def _work_off(made: Any) -> tuple[float, list["WorkerEnd"]]:
    """Seconds until the newest sweep is finished, and what each worker took."""
    from authorization import clock
    from authorization.models import Delisting

    revision = _newest()
    with _Workers(WORKERS) as workers:
        started_at = clock.now()
        workers.begin()
        # By the sweep's own word, so that it need not be asked for often: the workers want the machine.
        while (finished_at := _finished_at(revision)) is None:
            time.sleep(0.25)
        took = (finished_at - started_at).total_seconds()
    count = made.last_offer_id - made.first_offer_id + 1
    delisted = Delisting.objects.filter(sweep__revision=revision).count()
    if delisted != count:
        raise RuntimeError(f"{delisted} of {count} offers were delisted.")
    return took, workers.ends


def _finished_at(revision: int) -> datetime | None:
    from authorization.models import Sweep

    return Sweep.objects.filter(revision=revision).values_list("finished_at", flat=True).first()


def _memory_of_many(covering: int) -> dict[str, Any]:
    """All listings of the brand of `_commits`, swept: the last of its agreements goes."""
    from authorization.models import Revision
    from benchmarks import brand

    made = brand.of("many")
    confirmed = _confirm(made.agreement_ids[-1])
    _leave_only_the_sweep()
    took_s, ends = _work_off(made)
    return {
        f"{covering} listings delisted by {WORKERS} workers: s": round(took_s, 1),
        f"{covering} listings delisted by {WORKERS} workers: per second": round(covering / took_s),
        f"sweep of {covering}: most memory of a worker, MB": max(end.peak_mb for end in ends),
        f"preview and confirmation of {covering} listings: seconds": confirmed,
        "revisions": Revision.objects.count(),
    }


def _bare_sql(made: Any, *, writes_all: bool) -> float:
    """The floor: the same rows by the database alone, in chunks as large, each a transaction; nothing is decided."""
    from django.db import connection, transaction

    from authorization import clock

    is_postgresql = connection.vendor == "postgresql"
    codes, reasons = (json.dumps(value) for value in _SAID)
    given = {
        "now": connection.ops.adapt_datetimefield_value(clock.now()),
        "codes": codes,
        "reasons": reasons,
        "entry": json.dumps({"decision": str(uuid4()), "reasons": json.loads(reasons)}),
    }
    as_json = "::jsonb" if is_postgresql else ""
    build, decision = (
        ("jsonb_build_object", "md5('bench' || o.id)::uuid")
        if is_postgresql
        else ("json_object", "printf('%%032x', o.id)")
    )
    swept = "o.id >= %(first)s AND o.id <= %(last)s AND o.state = 'SUSPENDED'"
    joined = (
        "catalog_listinghost o JOIN catalog_listing l ON l.id = o.listing_id"
        " JOIN catalog_variant v ON v.id = l.variant_id"
        " JOIN catalog_device d ON d.id = v.device_id JOIN carriers_hostcarrier h ON h.id = o.host_id"
    )
    statements = [
        f"""UPDATE catalog_listinghost SET state = 'SUSPENDED', version = version + 1, state_changed_at = %(now)s,
 reason_codes = %(codes)s{as_json} WHERE id >= %(first)s AND id <= %(last)s AND state = 'LIVE'""",
        f"""INSERT INTO authorization_ledgerentry (at, actor, act, subject_kind, subject_id, reason, evidence, revision,
 request_id) SELECT %(now)s, 'bench', 'listing.suspended', 'offer', CAST(o.id AS text), '', %(entry)s{as_json}, 1, ''
 FROM catalog_listinghost o WHERE {swept}""",
    ]
    if writes_all:
        statements += [
            f"""INSERT INTO authorization_decision (id, offer_id, outcome, question, reasons, evidence, valid_at,
 revision, expires_at) SELECT {decision}, o.id, 'deny', {build}('vendor_id', l.vendor_id,
 'manufacturer_id', d.manufacturer_id, 'device_id', d.id, 'variant_id', v.id,
 'host_id', h.id, 'territory', l.territory, 'channel', l.channel, 'condition',
 l.condition, 'listing_id', l.id, 'software', l.software), %(reasons)s{as_json}, '[]', %(now)s, 1, %(now)s
 FROM {joined} WHERE {swept}""",
            f"""INSERT INTO authorization_delisting (offer_id, decision_id, reason_codes, at)
 SELECT o.id, {decision}, %(codes)s{as_json}, %(now)s FROM catalog_listinghost o WHERE {swept}""",
            f"""INSERT INTO authorization_outboxrow (event_id, event, payload, handler, due_at, created_at, attempt,
 is_dead, last_error) SELECT {decision}, 'listing.suspended', {build}('offer_id', o.id, 'listing_id', l.id,
 'sku', l.sku, 'vendor_id', l.vendor_id, 'host', h.code, 'state', 'SUSPENDED', 'reason_codes', %(codes)s, 'decision_id',
 {decision}, 'revision', 1, 'sweep_id', 1), '', %(now)s, %(now)s, 1, {"false" if is_postgresql else 0}, ''
 FROM {joined} WHERE {swept}""",
        ]
    started = time.monotonic()
    for first in range(made.first_offer_id, made.last_offer_id + 1, CHUNK):
        span = {**given, "first": first, "last": min(first + CHUNK - 1, made.last_offer_id)}
        with transaction.atomic(), connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql, {name: value for name, value in span.items() if f"%({name})s" in sql})
    return time.monotonic() - started


# What a sweep writes of each offer whose distributor lost its agreement, in form and size.
_SAID = (
    ["AGREEMENT_REVOKED"],
    [
        {
            "code": "AGREEMENT_REVOKED",
            "check": "agreement",
            "message": "An agreement further up the chain was revoked.",
            "curable": False,
            "cure_by": "grantor",
            "document": "agreement-bench-0",
            "cure": "Its grantor can cure it; ask whoever supplies you.",
            "detail": "Agreement agreement-bench-0 was revoked on 2026-11-22. Cure: A new agreement from its grantor.",
        }
    ],
)


def _revive(made: Any) -> None:
    """Live again, so that another way can be measured over rows that were as often written."""
    from django.db import connection

    from catalog.models import ListingHost

    own = ListingHost.objects.filter(id__gte=made.first_offer_id, id__lte=made.last_offer_id)
    own.update(state="LIVE")
    with connection.cursor() as cursor:
        cursor.execute(
            "VACUUM ANALYZE catalog_listinghost" if connection.vendor == "postgresql" else "ANALYZE"
        )


def _one_by_one(made: Any) -> float:
    """Seconds for ONE_BY_ONE offers, locked, saved and recorded in a transaction each. Nothing is decided."""
    from django.db import transaction

    from authorization import clock
    from authorization.models import Decision, Delisting, LedgerEntry, OutboxRow
    from catalog.models import ListingHost

    codes, reasons = _SAID
    started = time.monotonic()
    for offer_id in range(made.first_offer_id, made.first_offer_id + ONE_BY_ONE):
        at = clock.now()
        with transaction.atomic():
            offer = (
                ListingHost.objects.select_for_update(of=("self",))
                .select_related("listing__variant__device", "host")
                .get(pk=offer_id)
            )
            offer.state, offer.reason_codes, offer.state_changed_at = "SUSPENDED", codes, at
            offer.version += 1
            offer.save()
            decision = Decision.objects.create(
                offer=offer, outcome="deny", question={"listing_id": offer.listing_id}, reasons=reasons, evidence=[],
                valid_at=at, revision=1, expires_at=at,
            )  # fmt: skip
            Delisting.objects.create(offer=offer, decision=decision, reason_codes=codes, at=at)
            LedgerEntry.objects.create(
                at=at, actor="bench", act="listing.suspended", subject_kind="offer", subject_id=str(offer.pk),
                evidence={"decision": str(decision.pk), "reasons": reasons}, revision=1,
            )  # fmt: skip
            OutboxRow.objects.create(
                event="listing.suspended", payload={"offer_id": offer.pk, "sku": offer.listing.sku}, due_at=at,
                created_at=at,
            )  # fmt: skip
    return time.monotonic() - started


# --- checkouts --------------------------------------------------------------------------------------------------


def _checkouts(market: Any, seconds: float) -> dict[str, Any]:
    """Two buyers, in turns with and without the fence, so that both see the same machine."""
    from benchmarks import brand

    offers = brand.for_sale(brand.found(market, "sold", listings=8000, devices=20))
    context = multiprocessing.get_context("spawn")
    stop, is_fenced = context.Event(), context.Value("i", 1)
    told = context.Queue()
    buyers = [context.Process(target=_buy, args=(offers[n::2], stop, is_fenced, told)) for n in range(2)]
    for buyer in buyers:
        buyer.start()
    for _ in buyers:
        told.get(timeout=600)
    for turn in range(20):
        is_fenced.value = turn % 2
        time.sleep(seconds / 5)
    stop.set()
    counts, spent = [0, 0], [0.0, 0.0]
    for _ in buyers:
        for mode, (sold, took) in enumerate(told.get(timeout=600)):
            counts[mode] += sold
            spent[mode] += took
    for buyer in buyers:
        buyer.join(30)
    bare, fenced = (len(buyers) * counts[mode] / spent[mode] for mode in (0, 1))
    return {
        "checkouts per second under the fence, 2 processes": round(fenced),
        "the same without the fence": round(bare),
        "checkouts, with to without: ratio (target 0.8 at least)": round(fenced / bare, 2),
    }


def _buy(offers: list[int], stop: Event, is_fenced: Any, told: Any) -> None:
    """Decide outside, then sell: order, line, decision, ledger, stock. What leads to it is not timed."""
    django.setup()
    from django.db import connection

    from authorization import decisions, fence, outbox
    from authorization.actors import Actor
    from authorization.clock import now
    from storefront import carts, sales
    from storefront.models import Cart, CartLine, PaymentIntent

    counts, spent = [0, 0], [0.0, 0.0]
    shared, transaction_id = fence.shared, fence.transaction_id
    # There is no broker here; to find that out again and again would be what is measured.
    outbox.ring = lambda: None
    buyer = sales.Buyer("Bench", "bench@example.test", "1 Main St")
    connection.ensure_connection()
    told.put("ready")
    n = 0
    while not stop.is_set():
        mode, at = is_fenced.value, now()
        cart = Cart.objects.create(created_at=at)
        CartLine.objects.create(
            cart=cart, offer_id=offers[n % len(offers)], price_amount=199, price_currency="USD", added_at=at
        )
        intent = PaymentIntent.objects.create(
            checkout_key=uuid4(), cart_id=cart.pk, amount=199, currency="USD", state="authorized",
            provider_id=uuid4().hex, created_at=at, updated_at=at,
        )  # fmt: skip
        lines = carts.load_lines(cart)
        fence.shared = shared if mode else fence.current_revision
        fence.transaction_id = transaction_id if mode else _unguarded_transaction_id
        took, _ = _timed(
            lambda: sales.sell(
                intent=intent,  # noqa: B023  called at once
                lines=lines,  # noqa: B023
                answers=decisions.decide_offers([line.offer for line in lines], at=now()),  # noqa: B023
                buyer=buyer,
                by=Actor("buyer", "bench"),
            )
        )
        counts[mode] += 1
        spent[mode] += took
        n += 1
    told.put([(counts[mode], spent[mode]) for mode in (0, 1)])


def _unguarded_transaction_id() -> str:
    from django.db import connection

    from authorization.models import SaleTicket

    if connection.vendor != "postgresql":
        return str(SaleTicket.objects.create().pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text")
        return str(cursor.fetchone()[0])


# --- waits ------------------------------------------------------------------------------------------------------


def _waits(seconds: float) -> dict[str, Any]:
    from django.db import connection

    from benchmarks import fence

    figures: dict[str, Any] = {}
    vendor = connection.vendor
    connection.close()
    for buyers in fence.BUYERS[vendor]:
        waits = [wait * 1000 for wait in fence._waits(seconds, buyers)]
        name = f"a withdrawal behind {buyers} buyers"
        figures[f"{name}: wait ms p50 / p99"] = (
            f"{statistics.median(waits):.1f} / {fence._p99(waits):.1f} ({len(waits)} of them)"
        )
    if vendor == "postgresql":
        waited = fence._wait_behind_a_frozen_buyer() * 1000
        figures["a withdrawal behind a frozen buyer: wait ms (target 1000)"] = round(waited, 1)
    return figures


# --- workers ----------------------------------------------------------------------------------------------------


class WorkerEnd(NamedTuple):
    """What a worker took: its peak of memory, and CPU time since it began."""

    peak_mb: int
    cpu_s: float


def _work(go: Event, stop: Event, ready: Any, ends: Any) -> None:
    """A worker of the shop without its broker: it asks by itself."""
    django.setup()
    from django.conf import settings
    from django.db import DatabaseError, connection

    from authorization import outbox

    outbox.ring = lambda: None
    # The mails, proofs and notices that follow are not what is measured.
    settings.OUTBOX_HANDLERS = settings.OUTBOX_HANDLERS | {"sweep.finished": []}
    connection.ensure_connection()
    with ready.get_lock():
        ready.value += 1
    go.wait()
    began = time.process_time()
    while not stop.is_set():
        try:
            if not outbox.pump():
                time.sleep(0.01)
        except DatabaseError:
            connection.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    peak_mb = peak // (1024 if sys.platform != "darwin" else 1024 * 1024)
    ends.put(WorkerEnd(peak_mb, time.process_time() - began))


class _Workers:
    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._go, self._stop = context.Event(), context.Event()
        self._ready, self._told = context.Value("i", 0), context.Queue()
        self._processes = [
            context.Process(target=_work, args=(self._go, self._stop, self._ready, self._told))
            for _ in range(count)
        ]
        self.ends: list[WorkerEnd] = []

    def begin(self) -> None:
        self._go.set()

    def __enter__(self) -> "_Workers":
        for process in self._processes:
            process.start()
        while self._ready.value < len(self._processes):
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._go.set()
        self.ends = [self._told.get(timeout=600) for _ in self._processes]
        for process in self._processes:
            process.join(30)


def _timed[T](call: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
