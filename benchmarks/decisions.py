"""What an answer with its reasons costs beside a bare yes or no, and how long the preview of a withdrawal takes.

The store is `benchmarks.store`. A floor is one SQL statement for the same rules that says yes or no and nothing else
(`benchmarks/floors`), run by a bare cursor. Before anything is measured, floor and engine must agree on every question.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import django

FLOORS = Path(__file__).parent / "floors"
COLUMNS = (
    "n", "vendor", "manufacturer", "device", "variant", "host", "listing", "territory", "channel", "condition",
    "software",
)  # fmt: skip
MANY, ONES, PREVIEWS, LEAST_ROUNDS = 20_000, 400, 150, 3
# The last so many offers of the store, for the memory that re-deciding takes.
QUARTER = 0.25


class Disagreement(Exception):
    """Floor and engine answer some question differently: one of them breaks docs/the-rules.md."""


class Preview(NamedTuple):
    milliseconds: float
    touched: int


def main(seconds: float) -> dict[str, Any]:
    django.setup()
    from benchmarks import store

    started = time.monotonic()
    made = store.build(store.Size())
    figures: dict[str, Any] = {"store: seconds to build": round(time.monotonic() - started, 1)}
    return figures | measure(made, seconds, questions=MANY, ones=ONES, previews=PREVIEWS)


def measure(made: Any, seconds: float, *, questions: int, ones: int, previews: int) -> dict[str, Any]:
    """All figures over a store that was built. Raises Disagreement."""
    from benchmarks import store

    asked = store.questions(made, questions)
    figures: dict[str, Any] = {}
    for part in (
        lambda: _one(asked, ones),
        lambda: _previews(made, previews),
        lambda: _many(asked, seconds),
        lambda: _store(made, seconds),
        lambda: _radio(asked),
    ):
        found = part()
        # It takes minutes: whoever waits sees how far it is.
        print(json.dumps(found, indent=2), file=sys.stderr, flush=True)
        figures |= found
    return figures


# --- one list, one question, the store --------------------------------------------------------------------------


def _many(asked: Sequence[Any], seconds: float) -> dict[str, Any]:
    from authorization import decisions
    from benchmarks.store import NOW

    answers = decisions.decide_many(asked, at=NOW)
    _agree(((n, answer.is_allowed) for n, answer in enumerate(answers)), floor_many(asked))
    codes = Counter(code for answer in answers for code in answer.reason_codes)
    ratio, ours, floor = _compared(
        lambda: decisions.decide_many(asked, at=NOW), lambda: floor_many(asked), seconds
    )
    return {
        f"{len(asked)} questions: allowed": f"{sum(a.is_allowed for a in answers) / len(asked):.0%}",
        f"{len(asked)} questions: kinds of reasons among the denied": len(codes),
        f"{len(asked)} questions: answers per second": round(len(asked) / ours),
        f"{len(asked)} questions: yes/no per second (floor)": round(len(asked) / floor),
        f"{len(asked)} questions: ratio (target 0.3)": round(ratio, 2),
    }


def _one(asked: Sequence[Any], ones: int) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from authorization import decisions
    from benchmarks.store import NOW

    chosen = list(dict.fromkeys(asked))[:ones]
    with CaptureQueriesContext(connection) as queries:
        most = max(_queries(queries, partial(decisions.decide, q, at=NOW)) for q in chosen[:50])
    ours, floors, answers, said = [], [], [], []
    for question in chosen:
        seconds, rows = _timed(partial(floor_one, question))
        floors.append(seconds)
        said.append(rows)
        seconds, answer = _timed(partial(decisions.decide, question, at=NOW))
        ours.append(seconds)
        answers.append(answer)
    _agree(
        ((n, answer.is_allowed) for n, answer in enumerate(answers)),
        ((n, rows[0][1]) for n, rows in enumerate(said)),
    )
    by_outcome = {
        name: [t for t, answer in zip(ours, answers, strict=True) if answer.is_allowed == is_allowed]
        for name, is_allowed in (("allowed", True), ("denied", False))
    }
    mine, floor = statistics.median(ours), statistics.median(floors)
    return {
        "one question: most queries": most,
        "one question: ms p50": _ms(mine),
        **{f"one question: ms p50 where {name}": _ms(statistics.median(t)) for name, t in by_outcome.items()},
        "one question: ms p50, yes/no (floor)": _ms(floor),
        "one question: ratio (target 0.3)": round(floor / mine, 2),
    }


def _store(made: Any, seconds: float) -> dict[str, Any]:
    from authorization import decisions
    from benchmarks.store import NOW

    whole = made.size.listings
    allowed: Counter[bool] = Counter()

    def stream() -> None:
        allowed.clear()
        for _, answer in decisions.decide_store(at=NOW):
            allowed[answer.is_allowed] += 1

    _agree(((n, answer.is_allowed) for n, answer in decisions.decide_store(at=NOW)), floor_store())
    ratio, ours, floor = _compared(stream, floor_store, seconds)
    part = round(whole * QUARTER)
    return {
        f"store of {whole}: allowed": f"{allowed[True] / whole:.0%}",
        f"store of {whole}: answers per second": round(whole / ours),
        f"store of {whole}: yes/no per second (floor)": round(whole / floor),
        f"store of {whole}: ratio (target 0.3)": round(ratio, 2),
        f"store: most memory for the last {part} offers, MB": _memory(whole - part),
        f"store: most memory for all {whole}, MB": _memory(0),
    }


def _memory(after_offer_id: int) -> int | None:
    """The peak of a process of its own that does nothing else. None where the database is this process's alone."""
    from django.db import connection

    if "test" in str(connection.settings_dict["NAME"]) or connection.in_atomic_block:
        return None
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decisions", "stream", str(after_offer_id)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return int(done.stdout)


def stream_alone(after_offer_id: int) -> int:
    django.setup()
    from authorization import decisions
    from benchmarks.store import NOW

    for _ in decisions.decide_store(at=NOW, after_offer_id=after_offer_id):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return peak // (1024 if sys.platform != "darwin" else 1024 * 1024)


# --- previews, radio --------------------------------------------------------------------------------------------


def _previews(made: Any, how_many: int) -> dict[str, Any]:
    from authorization import revocations
    from authorization.models import AgreementVersion, ApprovalVersion

    draw, codes = random.Random(3), count(1)
    agreements = AgreementVersion.objects.current().filter(revoked_at=None).values_list("head_id", flat=True)
    in_force = ApprovalVersion.objects.current().filter(state__in=["approved", "conditional"])
    approvals = in_force.values_list("head_id", flat=True)

    def some(ids: Iterable[int], number: int) -> list[int]:
        known = sorted(ids)
        return draw.sample(known, min(number, len(known)))

    def hold(device: int) -> revocations.PlaceHold:
        return revocations.PlaceHold(
            code=f"bench-{next(codes)}", placed_by="bench", reason_code="SHOP_REVIEW", note="",
            targets=(("device", str(device)),),
        )  # fmt: skip

    reason = "SHOP_REVIEW"
    changes: dict[str, list[Any]] = {
        "an agreement revoked": [revocations.RevokeAgreement(n, reason) for n in some(agreements, how_many)],
        "an approval revoked": [
            revocations.RevokeApproval(n, reason) for n in some(approvals, how_many // 2)
        ],
        "a hold on a device": [hold(n) for n in some(made.variant_ids, how_many // 4)],
    }
    figures: dict[str, Any] = {}
    for name, wanted in changes.items():
        seen = [_preview(change) for change in wanted]
        times, touched = sorted(one.milliseconds for one in seen), sorted(one.touched for one in seen)
        figures |= {
            f"preview of {name}: ms p50 (target 20) / p95": f"{statistics.median(times):.1f} / {_p95(times):.1f}",
            f"preview of {name}: offers looked at p50 / p95 / most": (
                f"{statistics.median(touched):g} / {_p95(touched)} / {touched[-1]}"
            ),
        }
    return figures


def _preview(change: Any) -> Preview:
    from authorization import revocations
    from benchmarks.store import NOW

    seconds, _ = _timed(lambda: revocations.preview(change, at=NOW))
    return Preview(seconds * 1000, revocations.imagine(change, at=NOW).offers.count())


def _radio(asked: Sequence[Any]) -> dict[str, Any]:
    """No floor: what a verdict is, is said in Python. Under a policy that asks for voice over 3G at least."""
    from dataclasses import replace

    from authorization import decisions
    from benchmarks.store import NOW

    setting = decisions.read_setting(at=NOW, known_at=None)
    demanding = tuple(policy._replace(minimum_radio="PARTIAL_3G") for policy in setting.policies)
    setting = replace(setting, policies=demanding)
    seconds, _ = _timed(lambda: decisions.answers_in(setting, asked, at=NOW))
    return {f"{len(asked)} questions with radio demanded: answers per second": round(len(asked) / seconds)}


# --- floors -----------------------------------------------------------------------------------------------------


def floor_many(asked: Sequence[Any]) -> list[tuple[int, int]]:
    from django.db import connection

    rows = [_row(n, question) for n, question in enumerate(asked)]
    if connection.vendor == "postgresql":
        given = {name: list(values) for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)}
        return _bare("question_many.postgresql.sql", given)
    return _bare("question_many.sqlite.sql", {"questions": json.dumps(rows)})


def floor_one(question: Any) -> list[tuple[int, int]]:
    return _bare("question_one.sql", dict(zip(COLUMNS, _row(0, question), strict=True)))


def floor_store() -> list[tuple[int, int]]:
    """The keys of the few software versions that the store ships are a table of the shop's; here they are spelt out."""
    from authorization import software
    from catalog.models import Listing

    versions = sorted(set(Listing.objects.exclude(software="").values_list("software", flat=True)))
    given: dict[str, str] = {}
    cases = []
    for place, version in enumerate(versions):
        given |= {f"version_{place}": version, f"key_{place}": software.sort_key(version)}
        cases.append(f"WHEN %(version_{place})s THEN %(key_{place})s")
    return _bare("question_store.sql", given, software=" ".join(cases) or "WHEN '' THEN ''")


def _row(n: int, question: Any) -> tuple[Any, ...]:
    from authorization import software

    return (
        n, question.vendor_id, question.manufacturer_id, question.device_id, question.variant_id, question.host_id,
        question.listing_id, question.territory, question.channel, question.condition,
        software.sort_key(question.software),
    )  # fmt: skip


def _bare(source: str, given: dict[str, Any], **parts: str) -> list[tuple[int, int]]:
    from django.conf import settings
    from django.db import connection

    from benchmarks.store import NOW, REVISIONS

    text = (FLOORS / source).read_text() + (FLOORS / "allowed.sql").read_text()
    if connection.vendor == "sqlite":
        text = text.replace("-- sqlite: ", "")
    elif source != "question_one.sql":
        # For one question the list is to be looked up; for many PostgreSQL had better join it.
        text = text.replace(") IS TRUE", ")")
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    given |= {
        "at": connection.ops.adapt_datetimefield_value(NOW),
        "k": REVISIONS,
        "mvno": settings.SHOP_MVNO,
    }
    with connection.cursor() as cursor:
        cursor.execute(f"WITH RECURSIVE {text}", given)
        found: list[tuple[int, int]] = cursor.fetchall()
    return found


# --- measuring --------------------------------------------------------------------------------------------------


def _compared(
    ours: Callable[[], object], floor: Callable[[], object], seconds: float
) -> tuple[float, float, float]:
    """The median ratio of floor to ours, and the median seconds of each; in turns, the floor first."""
    rounds: list[tuple[float, float]] = []
    started = time.monotonic()
    while len(rounds) < LEAST_ROUNDS or time.monotonic() - started < seconds:
        below, _ = _timed(floor)
        mine, _ = _timed(ours)
        rounds.append((below, mine))
    return (
        statistics.median(below / mine for below, mine in rounds),
        statistics.median(mine for _, mine in rounds),
        statistics.median(below for below, _ in rounds),
    )


def _agree(ours: Iterable[tuple[int, bool]], floor: Iterable[tuple[int, int]]) -> None:
    said = {n: bool(is_allowed) for n, is_allowed in floor}
    answered = dict(ours)
    differing = sorted(n for n in said.keys() | answered.keys() if said.get(n) != answered.get(n))
    if differing:
        raise Disagreement(f"{len(differing)} of {len(said)} answers differ, the first: {differing[:10]}")


def _queries(captured: Any, call: Callable[[], object]) -> int:
    before = len(captured)
    call()
    return len(captured) - before


def _timed[T](call: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _p95[T](values: Sequence[T]) -> T:
    return values[min(len(values) - 1, round(len(values) * 0.95))]


if __name__ == "__main__":
    if sys.argv[1] == "stream":
        print(stream_alone(int(sys.argv[2])))
    else:
        print(json.dumps(main(float(sys.argv[1]))))
