"""What is thrown at a running store, and what was seen of it. Each fault undoes itself before it returns.

Processes are killed and frozen by number, as an operator or the kernel would; that they come back is the business of
what supervises them, not ours. Times are real seconds.
"""

import http.client
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authorization.clock import ExerciseClock, read_clock
from seeds.sandbox.broker import BROKER
from seeds.sandbox.processes import ServiceFailed
from seeds.sandbox.stack import Stack
from seeds.soak.journal import Journal

# Until a store that was hit answers again.
PATIENCE_S = 60.0
# For a soak of load and withdrawals alone.
NOTHING = "nothing"
# Small against five minutes, which the clocks of two hosts may differ by.
STEP_S = (20.0, 60.0)


# Sessions bear the name of their service.
_IN_TRANSACTION = """
    SELECT application_name FROM pg_stat_activity
    WHERE application_name LIKE %s AND xact_start IS NOT NULL ORDER BY random() LIMIT 1"""
_END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < %s"""
_HOLDS_FENCE = """
    SELECT a.application_name FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
    WHERE a.application_name LIKE %s AND l.locktype = 'advisory' AND l.granted LIMIT 1"""


class NotHere(Exception):
    """This fault cannot be thrown on this machine or database; the message says why."""


class Faults:
    def __init__(self, stack: Stack, journal: Journal, *, seed: int, lease_s: int, start_task: Any) -> None:
        """`start_task(*words)` runs one of the soak's own programs to its end."""
        self.stack, self.journal, self.lease_s = stack, journal, lease_s
        self._chance = random.Random(f"{seed}/targets")
        self._start_task = start_task
        self._is_postgres = stack.postgres is not None
        if stack.postgres is not None:
            # Asked now: a server that is somebody else's must not be found out by stopping it.
            self.journal.note("database", service=stack.postgres.service)

    @property
    def kinds(self) -> dict[str, Callable[[], str]]:
        everywhere = {
            "worker killed": self.worker_killed,
            "worker's child killed": self.worker_child_killed,
            "all workers killed": self.all_workers_killed,
            "worker frozen": self.worker_frozen,
            "beat killed": self.beat_killed,
            "web process killed": self.web_process_killed,
            "web server killed": self.web_killed,
            "web process frozen": self.web_process_frozen,
            "broker flushed": self.broker_flushed,
            "broker killed": self.broker_killed,
            "broker frozen": self.broker_frozen,
            "broker's disk full": self.broker_full,
            "payments frozen": self.payments_frozen,
            "old work delivered again": self.delivered_again,
            "bells without end": self.bells_rung,
            "clock ahead": self.clock_ahead,
            "clock behind": self.clock_behind,
            "all clocks step": self.clocks_step,
        }
        of_postgres = {
            "database restarted": self.database_restarted,
            "database killed": self.database_killed,
            "database frozen": self.database_frozen,
            "connections dropped": self.connections_dropped,
            "buyer frozen": self.buyer_frozen,
        }
        return everywhere | (of_postgres if self._is_postgres else {})

    def named(self, names: Sequence[str] | None) -> list[str]:
        """The kinds of these names, all for None. Raises ServiceFailed for a name that is none of them."""
        known = sorted(self.kinds)
        if names is None:
            return known
        if unknown := set(names) - {*known, NOTHING}:
            raise ServiceFailed(
                f"Nobody throws {', '.join(sorted(unknown))}. Take: {', '.join(known)}; or {NOTHING}."
            )
        return [name for name in known if name in names]

    # --- processes ----------------------------------------------------------------------------------------

    def worker_killed(self) -> str:
        name = self._chance.choice(self.stack.worker_names)
        return f"{name} back {self._kill_and_see([name])}"

    def worker_child_killed(self) -> str:
        name = self._chance.choice(self.stack.worker_names)
        children = set(self._pids(name)[1:])
        self._kill(children)
        back = self._until(lambda: bool(set(self._pids(name)[1:]) - children))
        return f"{len(children)} of {name} back {back}"

    def all_workers_killed(self) -> str:
        return f"{len(self.stack.worker_names)} back {self._kill_and_see(self.stack.worker_names)}"

    def worker_frozen(self) -> str:
        """In the middle of a transaction, where the database can tell when that is."""
        name = self._chance.choice(self.stack.worker_names)
        # Sometimes longer than the lease of its row, so that another takes the row up meanwhile.
        seconds = self._chance.uniform(0.7, 2.0) * self.lease_s
        where = self._wait_for_session(_IN_TRANSACTION, "worker")
        name = where or name
        with self._frozen(self._pids(name)):
            time.sleep(seconds)
        what = "within a transaction" if where else "between transactions"
        return f"{name} for {seconds:.1f} s {what} (lease {self.lease_s} s)"

    def beat_killed(self) -> str:
        return f"back {self._kill_and_see(['beat'])}"

    def web_process_killed(self) -> str:
        before = self._pids("web")
        self._kill([self._web_child()])
        back = self._until(lambda: bool(set(self._pids("web")) - set(before)))
        return f"one of {self.stack.plan.web_processes} back {back}; {self._until_pages()}"

    def web_killed(self) -> str:
        self._kill(self._pids("web"))
        return self._until_pages()

    def web_process_frozen(self) -> str:
        seconds = self._chance.uniform(1.0, 4.0)
        with self._frozen([self._web_child()]):
            time.sleep(seconds)
        return f"one of {self.stack.plan.web_processes} for {seconds:.1f} s; {self._until_pages()}"

    def buyer_frozen(self) -> str:
        """The whole web server, at an instant when one of its sessions holds the fence."""
        seconds = self._chance.uniform(6.0, 8.0)
        is_inside = self._wait_for_session(_HOLDS_FENCE, "web") is not None
        with self._frozen(self._pids("web")):
            time.sleep(seconds)
        where = "inside the fence" if is_inside else "outside the fence"
        return f"{where}, for {seconds:.1f} s; {self._until_pages()}"

    def payments_frozen(self) -> str:
        seconds = self._chance.uniform(2.0, 5.0)
        with self._frozen(self._pids("payments")):
            time.sleep(seconds)
        return f"for {seconds:.1f} s"

    # --- broker -------------------------------------------------------------------------------------------

    def broker_flushed(self) -> str:
        answers = [self._ask_broker("FLUSHALL") for _ in range(3)]
        return f"three times; {answers[-1]}"

    def broker_killed(self) -> str:
        seconds = self._chance.uniform(0.5, 4.0)
        self.stack.kill(BROKER)
        time.sleep(seconds)
        self.stack.restart(BROKER)
        return f"away for {seconds:.1f} s; {self._until_pages()}"

    def broker_frozen(self) -> str:
        seconds = self._chance.uniform(1.0, 4.0)
        with self._frozen(self._pids(BROKER)):
            time.sleep(seconds)
        return f"for {seconds:.1f} s; {self._until_pages()}"

    def broker_full(self) -> str:
        """It keeps a log on disk, and the file may not grow any more: each write of it fails, as on a full disk."""
        if sys.platform != "linux":
            raise NotHere("a limit is set on a running process, which only Linux does")
        pid = self._pids(BROKER)[0]
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        self._ask_broker("CONFIG SET appendonly yes")
        self._until(lambda: "aof_rewrite_in_progress:0" in self._ask_broker("INFO persistence"))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
        try:
            refused = self._until(lambda: self._ask_broker("SET soak 1").startswith("-MISCONF"))
            time.sleep(self._chance.uniform(2.0, 5.0))
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        accepted = self._until(lambda: self._ask_broker("SET soak 1").startswith("+OK"))
        self._ask_broker("CONFIG SET appendonly no")
        return f"refused writes {refused}, took them again {accepted}"

    def _ask_broker(self, words: str) -> str:
        address = urlsplit(self.stack.env["REDIS_URL"])
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            connection.sendall(words.encode() + b"\r\n")
            return connection.recv(65536).decode(errors="replace").strip()

    # --- database -----------------------------------------------------------------------------------------

    def database_restarted(self) -> str:
        """As `pg_ctl restart -m fast` does: sessions are ended, then the server."""
        self.stack.restart(self._database())
        return self._until_pages()

    def database_killed(self) -> str:
        """In turn: as `pg_ctl stop -m immediate` does, and by SIGKILL. Both come back by replaying the log."""
        service = self._database()
        how = self._chance.choice(["immediate", "SIGKILL"])
        if how == "SIGKILL":
            self.stack.kill(service)
        else:
            self.stack.supervisor.end_by(service, signal.SIGQUIT)
        self.stack.restart(service)
        return f"by {how}; {self._until_pages()}"

    def database_frozen(self) -> str:
        seconds = self._chance.uniform(0.5, 2.0)
        with self._frozen(self._pids(self._database())):
            time.sleep(seconds)
        return f"for {seconds:.1f} s; {self._until_pages()}"

    def connections_dropped(self) -> str:
        import psycopg

        share = self._chance.choice([0.3, 0.7, 1.0])
        ended = 0
        with psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True) as connection:
            for _ in range(3):
                ended += len(connection.execute(_END_SESSIONS, [share]).fetchall())
                time.sleep(0.3)
        return f"{ended} in three blows; {self._until_pages()}"

    def _database(self) -> str:
        if self.stack.postgres is None:
            raise NotHere("the database is a file")
        return self.stack.postgres.service

    def _wait_for_session(self, sql: str, prefix: str) -> str | None:
        """The service of a session that this finds first; None when it finds none in time."""
        if not self._is_postgres:
            return None
        import psycopg

        deadline = time.monotonic() + 3.0
        with suppress(psycopg.Error), psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True) as c:
            while time.monotonic() < deadline:
                row = c.execute(sql, [f"{prefix}%"]).fetchone()
                if row is not None:
                    return str(row[0])
                time.sleep(0.002)
        return None

    # --- deliveries ---------------------------------------------------------------------------------------

    def delivered_again(self) -> str:
        count = self._chance.choice([30, 60, 120])
        self._start_task("deliver-again", "--count", str(count), "--seed", str(self._chance.randrange(10**6)))
        return f"{count} rows that were done"

    def bells_rung(self) -> str:
        self._start_task("ring", "--count", "300")
        return "300 bells at once"

    # --- clocks -------------------------------------------------------------------------------------------

    def clock_ahead(self) -> str:
        return self._set_apart(self._chance.uniform(*STEP_S))

    def clock_behind(self) -> str:
        return self._set_apart(-self._chance.uniform(*STEP_S))

    def clocks_step(self) -> str:
        """All of them: a host's clock that is put right after it had fallen behind."""
        seconds = self._chance.uniform(*STEP_S)
        files = self._clock_files()
        for file in files:
            shift_clock(file, seconds)
        return f"{len(files)} clocks by {seconds:+.0f} s"

    def _set_apart(self, seconds: float) -> str:
        """One service's clock against all others, a step back included; then it is put right, by another step."""
        service = self._chance.choice(["web", *self.stack.worker_names])
        file = self._clock_file(service)
        shift_clock(file, seconds)
        time.sleep(self._chance.uniform(3.0, 6.0))
        shift_clock(file, -seconds)
        return f"{service} by {seconds:+.0f} s, and back"

    def _clock_file(self, service: str) -> Path:
        return Path(self.stack.env_of(service)["CLEARLINE_CLOCK_FILE"])

    def _clock_files(self) -> list[Path]:
        return sorted(self.stack.data_dir.glob("clock*.json"))

    # --- blows and looks ----------------------------------------------------------------------------------

    def _pids(self, name: str) -> list[int]:
        try:
            return self.stack.pids(name)
        except ServiceFailed:
            # Between its end and its return it is not known by this name.
            return []

    def _web_child(self) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            children = self._pids("web")[1:]
            if children:
                return self._chance.choice(children)
            time.sleep(0.1)
        raise NotHere("the web server has no processes")

    @staticmethod
    def _kill(pids: Iterable[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _kill_and_see(self, names: list[str]) -> str:
        """Whole services; until each has a process again that it had not."""
        before = {name: set(self._pids(name)) for name in names}
        self._kill(pid for pids in before.values() for pid in pids)
        return self._until(lambda: all(set(self._pids(name)) - before[name] for name in names))

    @contextmanager
    def _frozen(self, pids: list[int]) -> Iterator[None]:
        try:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _until_pages(self) -> str:
        """Until a page answers that needs the database."""
        return f"pages {self._until(self._is_page_answered)}"

    def _is_page_answered(self) -> bool:
        address = urlsplit(self.stack.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @staticmethod
    def _until(is_so: Callable[[], bool]) -> str:
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE_S:
            with suppress(OSError):
                if is_so():
                    return f"after {time.monotonic() - started:.1f} s"
            time.sleep(0.1)
        return f"NOT within {PATIENCE_S:.0f} s"


def shift_clock(file: Path, seconds: float) -> None:
    """Move one clock by so much, backwards too: a step that the store's own functions refuse to make."""
    now = read_clock(file)
    moved = ExerciseClock(now.virtual_base + timedelta(seconds=seconds), now.real_base, now.rate)
    draft = file.with_suffix(".draft")
    draft.write_text(
        f'{{"virtual_base": "{moved.virtual_base.isoformat()}", "real_base": {moved.real_base}, "rate": {moved.rate}}}',
        encoding="utf-8",
    )
    draft.replace(file)
