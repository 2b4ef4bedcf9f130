"""One soak: a store in a sandbox, a load, two desks, faults; then quiet, the checks and the tables."""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authorization.clock import write_clock
from seeds.sandbox.processes import Service, ServiceFailed
from seeds.sandbox.stack import VAR, Plan, Stack, say, start_stack
from seeds.soak import journal, schedule
from seeds.soak.faults import Faults, NotHere
from seeds.soak.journal import Journal
from seeds.soak.report import Report
from seeds.soak.soaked import CHECKED, GROUPS, SETTLED, STOP

# Short, so that a frozen worker outlives it now and then.
LEASE_S = 3
SETTINGS = {
    "CLEARLINE_OUTBOX_LEASE_S": str(LEASE_S),
    # Small, so that one withdrawal is many chunks.
    "CLEARLINE_SWEEP_CHUNK_SIZE": "6",
    # Money is taken while the soak runs, not after it.
    "CLEARLINE_CAPTURE_DELAY_S": "5",
    # So that the two people are needed now and then.
    "CLEARLINE_TWO_PEOPLE_ABOVE_OFFERS": "30",
    "CLEARLINE_LOG_LEVEL": "WARNING",
}
PLAN = Plan(
    workers=3,
    web_processes=2,
    web_comes_back=True,
    # They are killed more often than chance would; a service manager would not lose its patience so soon.
    longest_pause=2.0,
    own_clocks=True,
    settings=SETTINGS,
)
# The shop's clock when the soak begins. Any day does; it runs as fast as ours.
FIRST_DAY = datetime(2026, 1, 5, 9, tzinfo=UTC)
# A shopper who sends again and again what nobody answers is given this long to end.
END_WITHIN_S = 90.0
TASK_WITHIN_S = 120.0


@dataclass(frozen=True)
class Order:
    """What is to be soaked, and for how long."""

    minutes: float
    seed: int
    database: str
    port: int = 0
    # The kinds of faults that are thrown; None: all.
    faults: tuple[str, ...] | None = None
    # What the desk does; empty: all.
    acts: tuple[str, ...] = ()


class Soak:
    def __init__(self, order: Order, stack: Stack) -> None:
        self.order, self.stack = order, stack
        self.folder = stack.data_dir / "soak"
        self.folder.mkdir()
        self.journal = Journal(self.folder / "faults.jsonl")
        self._tasks = 0

    def run(self) -> Report:
        for file in sorted(self.stack.data_dir.glob("clock*.json")):
            write_clock(file, virtual=FIRST_DAY, rate=1.0)
        self.do("world")
        started = time.monotonic()
        self._start("load")
        for number in range(GROUPS):
            self._start("desk", "--number", str(number), "--acts", ",".join(self.order.acts))
        self._throw(started)
        (self.folder / STOP).touch()
        names = ["load", *[f"desk{number}" for number in range(GROUPS)]]
        codes = {name: self.stack.supervisor.wait_ended(name, END_WITHIN_S) for name in names}
        ended = time.monotonic()
        wrong = [
            f"{name} did not end within {END_WITHIN_S:.0f} s" if code is None else f"{name} ended with {code}"
            for name, code in codes.items()
            if code != 0
        ]
        say(f"  {ended - started:5.0f} s  the fire is out; waiting for quiet")
        self.do("settle")
        say(f"  {time.monotonic() - started:5.0f} s  checking")
        self.do("check")
        return Report(
            order={"minutes": self.order.minutes, "seed": self.order.seed, "database": self.order.database},
            seconds=round(ended - started, 1),
            thrown=list(journal.read(self.folder / "faults.jsonl")),
            counts=self._counts(),
            settled=json.loads((self.folder / SETTLED).read_text()),
            checks=json.loads((self.folder / CHECKED).read_text()),
            wrong=wrong,
        )

    def do(self, *words: str) -> None:
        """One of our programs, from its start to its end."""
        self._tasks += 1
        name = f"task{self._tasks}"
        self._start(*words, name=name)
        code = self.stack.supervisor.wait_ended(name, self.order.minutes * 60 + 10 * TASK_WITHIN_S)
        if code != 0:
            raise ServiceFailed(f"The soak's own part {words[0]} failed ({code}):\n{self._last_words(name)}")

    def _start(self, *words: str, name: str = "") -> None:
        role = words[0]
        name = name or "".join([role, *words[2:3]])
        argv = [sys.executable, "-m", "seeds.soak", *words, "--folder", str(self.folder)]
        argv += ["--base-url", self.stack.base_url]
        if "--seed" not in words:
            argv += ["--seed", str(self.order.seed)]
        log = self.stack.data_dir / "logs" / f"soak-{name}.log"
        env = self.stack.env_of("soak")
        self.stack.supervisor.start(Service(name, argv, env, log=log, ends_by_itself=True))

    def _last_words(self, name: str) -> str:
        log = self.stack.data_dir / "logs" / f"soak-{name}.log"
        return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])

    def _throw(self, started: float) -> None:
        seconds = self.order.minutes * 60
        faults = Faults(self.stack, self.journal, seed=self.order.seed, lease_s=LEASE_S, start_task=self.do)
        kinds = faults.named(self.order.faults)
        for at_s, kind in schedule.plan(kinds, seconds=seconds, seed=self.order.seed):
            _sleep_until(started + at_s)
            if time.monotonic() > started + seconds:
                break
            began = time.monotonic()
            try:
                seen = faults.kinds[kind]()
            except NotHere as reason:
                seen = f"not thrown: {reason}"
            self.journal.note(
                "fault",
                kind=kind,
                seen=seen,
                at_s=round(began - started, 1),
                began=began,
                ended=time.monotonic(),
            )
            say(f"  {began - started:5.0f} s  {kind}: {seen}")
        _sleep_until(started + seconds)

    def _counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        for line in journal.read(self.folder / "load.jsonl"):
            if line["what"] == "counts":
                counts = {name: value for name, value in line.items() if name not in ("t", "what")}
        return counts


def run(order: Order, *, json_path: Path | None = None, is_kept: bool = False) -> int:
    say(f"Soak for {order.minutes:g} minutes, seed {order.seed}:")
    with start_stack("soak", database=order.database, port=order.port, plan=PLAN) as stack:
        try:
            report = Soak(order, stack).run()
            report.wrong += stack.failures
        except ServiceFailed:
            _keep_papers(stack)
            raise
        if report.problems() or is_kept:
            _keep_papers(stack)
    report.tell()
    if json_path is not None:
        json_path.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    return 1 if report.problems() else 0


def _keep_papers(stack: Stack) -> None:
    """Logs and journals, for whoever looks for the cause; the database goes with the sandbox."""
    folder = VAR / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stack.data_dir / "logs", folder / "logs")
    shutil.copytree(stack.data_dir / "soak", folder / "journals")
    say(f"Logs and journals are kept in {folder}")


def _sleep_until(instant: float) -> None:
    while (left := instant - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
