"""What a call of the vendors' API costs beside a bare Django view that runs the same SQL.

The store is `benchmarks.store`, most of it one vendor's, so that there is a page 10,000. Calls go through the whole of
the project (middleware, key, budget, checks, decisions, presenters) in this process, by Django's own handler; the
floors go through a handler without any middleware, to a view that runs the statements of exactly that call on a bare
cursor, in one transaction where the call writes, and gives the rows as JSON (`benchmarks.api_floor`).

What the statements are is listened to while the call is made. A call that writes is made once in a transaction that is
rolled back; then its floor and a call of the same kind take turns, each with its effect committed.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import django

# Of one vendor; page 10,000 of 50 begins after 499,950.
SHARE_OF_ONE = 0.6
PER_PAGE, FAR_PAGE = 50, 10_000
QUESTIONS = 100
LEAST_ROUNDS = 20


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: bytes = b""


@dataclass
class Listened:
    """The statements of one call, with what they were given."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.statements.append((sql, params))
        return execute(sql, params, many, context)


def main(options: dict[str, Any]) -> dict[str, Any]:
    django.setup()
    from authorization import clock
    from benchmarks import store

    started = time.monotonic()
    listings = options["listings"]
    made = store.build(store.Size(listings=listings, of_one_vendor=round(listings * SHARE_OF_ONE)))
    _complete()
    figures: dict[str, Any] = {"store: seconds to build": round(time.monotonic() - started, 1)}
    # The store's day, standing still but for the seconds that this takes.
    with clock.ahead_by(store.NOW - clock.machine_now()):
        return figures | measure(made, options["seconds"])


def _complete() -> None:
    """What the store of `benchmarks.decisions` does without: stock, and sequences that go on after the ids."""
    from django.apps import apps
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO catalog_stock (listing_id, on_hand) SELECT id, 5 FROM catalog_listing ORDER BY id"
        )
        cursor.execute("ANALYZE catalog_stock")
    _number_on(*(model._meta.label for model in apps.get_models() if model._meta.managed))


def measure(made: Any, seconds: float) -> dict[str, Any]:
    """All figures over a store that was built."""
    from catalog.models import Organization

    bench = Bench(Organization.objects.get(pk=made.large_vendor_id))
    figures: dict[str, Any] = {}
    for part in (_lists, _restrictions, _puts, _queries):
        found = part(bench, seconds)
        print(json.dumps(found, indent=2), file=sys.stderr, flush=True)
        figures |= found
    return figures


class Bench:
    def __init__(self, vendor: Any) -> None:
        from django.core.handlers.wsgi import WSGIHandler
        from django.test import RequestFactory, override_settings

        from authorization import clock
        from authorization.actors import Actor
        from storefront import accounts

        self.vendor = vendor
        _, self.secret = accounts.make_organization_key(
            organization=vendor,
            label="bench",
            by=Actor("exercise", "bench"),
            at=clock.now(),
            expires_at=clock.now() + timedelta(days=1),
        )
        self.requests = RequestFactory(SERVER_NAME="127.0.0.1")
        self.whole = WSGIHandler()
        with override_settings(MIDDLEWARE=[]):
            self.bare = WSGIHandler()

    def make(self, call: Call) -> Any:
        request = self._request(call)
        response: Any = self.whole.get_response(request)
        if response.status_code >= 300:
            raise RuntimeError(
                f"{call.method} {call.path}: {response.status_code} {response.content[:500]!r}"
            )
        return response

    def make_bare(self, call: Call, statements: Sequence[tuple[str, Any]]) -> Any:
        request = self._request(call)
        request.urlconf = "benchmarks.api_floor"
        request.path_info = "/reads" if call.method == "GET" or call.path.endswith("/query") else "/writes"
        request.statements = statements
        response: Any = self.bare.get_response(request)
        if response.status_code != 200:
            raise RuntimeError(f"The floor of {call.path} failed: {response.content[:500]!r}")
        return response

    def listen(self, call: Call) -> Listened:
        """What a call that reads runs."""
        from django.db import connection

        self.make(call)
        listened = Listened()
        with connection.execute_wrapper(listened):
            self.make(call)
        return listened

    def listen_and_undo(self, call: Call) -> Listened:
        """What a call that writes would run now. Its effect is rolled back."""
        from django.db import connection

        listened = Listened()
        _number_on()
        with _rolled_back(), connection.execute_wrapper(listened):
            self.make(call)
        # What was numbered and undone gets the same numbers again.
        _number_on()
        return listened

    def _request(self, call: Call) -> Any:
        return self.requests.generic(
            call.method,
            call.path,
            call.body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.secret}"},
        )


class _Undone(Exception):
    """Ends a transaction whose effect nobody wants."""


@contextmanager
def _rolled_back() -> Iterator[None]:
    from authorization.transactions import one_transaction

    with suppress(_Undone), one_transaction():
        yield
        raise _Undone


def _number_on(*names: str) -> None:
    """Sequences go on after the last row: of these models, or of those whose rows other rows point to."""
    from django.apps import apps
    from django.core.management.color import no_style
    from django.db import connection

    models = [apps.get_model(name) for name in names or ("catalog.Listing", "catalog.ListingHost")]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)


# --- parts ------------------------------------------------------------------------------------------------------


def _lists(bench: Bench, seconds: float) -> dict[str, Any]:
    from catalog.models import Listing

    own = Listing.objects.filter(vendor=bench.vendor).order_by("pk")
    pages = own.count() // PER_PAGE
    far = min(FAR_PAGE, pages)
    cursors = _cursors(bench, {1: None, far: own.values_list("pk", flat=True)[(far - 1) * PER_PAGE - 1]})
    figures: dict[str, Any] = {}
    for page, cursor in cursors.items():
        ratio, ours, floor, statements = _compared_reading(bench, [_list(cursor)], seconds)
        figures |= {
            f"list of {PER_PAGE}, page {page}: ms p50": _ms(ours),
            f"list of {PER_PAGE}, page {page}: ms p50, bare view (floor)": _ms(floor),
            f"list of {PER_PAGE}, page {page}: ratio (target 0.4)": round(ratio, 2),
            f"list of {PER_PAGE}, page {page}: statements": statements,
        }
    both = [_list(cursor) for cursor in cursors.values()]
    figures[f"list of {PER_PAGE}: page {far} to page 1, in turns"] = round(
        _far_to_near(bench, both, seconds), 2
    )
    return figures


def _list(cursor: str | None) -> Call:
    return Call("GET", f"/v1/listings?limit={PER_PAGE}" + (f"&cursor={cursor}" if cursor else ""))


def _cursors(bench: Bench, after: dict[int, int | None]) -> dict[int, str | None]:
    """The cursors of pages that nobody wants to walk to, as the list would have given them."""
    from urllib.parse import quote

    from django.core import signing

    from storefront.api import pagination

    first = json.loads(bench.make(_list(None)).content)["next_cursor"]
    binding, _, *carried = signing.loads(first, salt=pagination._SALT)
    return {
        page: None if last is None else quote(signing.dumps([binding, last, *carried], salt=pagination._SALT))
        for page, last in after.items()
    }


def _restrictions(bench: Bench, seconds: float) -> dict[str, Any]:
    calls = [_query(bench, QUESTIONS, seed) for seed in range(10)]
    ratio, ours, floor, statements = _compared_reading(bench, calls, seconds)
    allowed = [
        not result["restrictions"]
        for call in calls
        for result in json.loads(bench.make(call).content)["results"]
    ]
    return {
        f"restrictions for {QUESTIONS}: may list": f"{sum(allowed) / len(allowed):.0%}",
        f"restrictions for {QUESTIONS}: ms p50": _ms(ours),
        f"restrictions for {QUESTIONS}: ms p50, bare view (floor)": _ms(floor),
        f"restrictions for {QUESTIONS}: ratio (target 0.3)": round(ratio, 2),
        f"restrictions for {QUESTIONS}: statements": statements,
    }


def _query(bench: Bench, how_many: int, seed: int) -> Call:
    """Of this vendor's listings as they are: each question for the host it is listed on."""
    from catalog.models import ListingHost

    draw = random.Random(seed)
    own = ListingHost.objects.filter(listing__vendor=bench.vendor)
    # The store numbers its offers as they come, and this vendor's come first.
    last = own.order_by("-pk").values_list("pk", flat=True)[0]
    ids = draw.sample(range(1, last + 1), min(how_many, last))
    rows = own.filter(pk__in=ids).select_related("listing__variant", "host").order_by("pk")
    questions = [
        {
            "variant": row.listing.variant.slug,
            "hosts": [row.host.code],
            "condition": row.listing.condition,
            "territory": row.listing.territory,
            "channel": row.listing.channel,
            "software": row.listing.software,
        }
        for row in rows
    ]
    return Call("POST", "/v1/listing-restrictions/query", json.dumps({"questions": questions}).encode())


def _puts(bench: Bench, seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, is_new in (("PUT of a listing at another price", False), ("PUT of a new listing", True)):
        rounds: list[tuple[float, float]] = []
        statements = 0
        bodies = _bodies(bench, is_new=is_new)
        started = time.monotonic()
        while len(rounds) < LEAST_ROUNDS or time.monotonic() - started < seconds:
            call, again = next(bodies)
            heard = bench.listen_and_undo(call).statements
            statements = max(statements, len(heard))
            given = _afresh(heard)
            floor, _ = _timed(partial(bench.make_bare, call, given))
            ours, _ = _timed(partial(bench.make, again))
            rounds.append((floor, ours))
        ours, floor = statistics.median(r[1] for r in rounds), statistics.median(r[0] for r in rounds)
        figures |= {
            f"{name}: ms p50": _ms(ours),
            f"{name}: ms p50, bare view (floor)": _ms(floor),
            f"{name}: ratio (target 0.3)": round(statistics.median(r[0] / r[1] for r in rounds), 2),
            f"{name}: statements": statements,
        }
    return figures


def _bodies(bench: Bench, *, is_new: bool) -> Iterator[tuple[Call, Call]]:
    """Two calls of the same kind, one after the other: for the floor and for the call itself."""
    from catalog.models import Listing

    draw = random.Random(5)
    own = Listing.objects.filter(vendor=bench.vendor).order_by("pk").prefetch_related("offers__host")
    for number, listing in enumerate(own.select_related("variant")[:100_000].iterator(chunk_size=200)):
        [offer] = listing.offers.all()

        def call(sku: str, amount: str, listing: Any = listing, host: str = offer.host.code) -> Call:
            body = {
                "variant": listing.variant.slug,
                "hosts": [host],
                "condition": listing.condition,
                "territory": listing.territory,
                "channel": listing.channel,
                "software": listing.software,
                "description": listing.description,
                "price": {"amount": amount, "currency": "USD"},
                "on_hand": 5,
            }
            return Call("PUT", f"/v1/listings/{sku}", json.dumps(body).encode())

        amount = f"{draw.randint(100, 900)}"
        if is_new:
            yield call(f"NEW-{number}-1", f"{amount}.00"), call(f"NEW-{number}-2", f"{amount}.00")
        else:
            yield call(listing.sku, f"{amount}.00"), call(listing.sku, f"{amount}.50")


def _afresh(statements: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """As heard, but no BEGIN, COMMIT and savepoint of their own: the floor has one transaction."""
    own = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [(sql, given) for sql, given in statements if not sql.lstrip().upper().startswith(own)]


def _queries(bench: Bench, seconds: float) -> dict[str, Any]:
    """How many statements a call takes, small and large."""

    def heard(call: Call) -> int:
        return len(bench.listen(call).statements)

    return {
        "statements of a list of 1, 50, 200": " / ".join(
            str(heard(Call("GET", f"/v1/listings?limit={limit}"))) for limit in (1, 50, 200)
        ),
        "statements of restrictions for 1, 10, 100": " / ".join(
            str(heard(_query(bench, number, 1))) for number in (1, 10, 100)
        ),
    }


# --- measuring --------------------------------------------------------------------------------------------------


def _compared_reading(bench: Bench, calls: Sequence[Call], seconds: float) -> tuple[float, float, float, int]:
    """The median ratio of floor to call, the median seconds of each, and the most statements; in turns, floor first."""
    heard = [bench.listen(call).statements for call in calls]
    rounds: list[tuple[float, float]] = []
    started = time.monotonic()
    while len(rounds) < LEAST_ROUNDS or time.monotonic() - started < seconds:
        place = len(rounds) % len(calls)
        floor, _ = _timed(partial(bench.make_bare, calls[place], heard[place]))
        ours, _ = _timed(partial(bench.make, calls[place]))
        rounds.append((floor, ours))
    return (
        statistics.median(floor / ours for floor, ours in rounds),
        statistics.median(ours for _, ours in rounds),
        statistics.median(floor for floor, _ in rounds),
        max(len(each) for each in heard),
    )


def _far_to_near(bench: Bench, calls: Sequence[Call], seconds: float) -> float:
    """The median of the last call's time to the first's."""
    ratios: list[float] = []
    started = time.monotonic()
    while len(ratios) < LEAST_ROUNDS or time.monotonic() - started < seconds:
        first, *_, last = [_timed(partial(bench.make, call))[0] for call in calls]
        ratios.append(last / first)
    return statistics.median(ratios)


def _timed[T](call: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
