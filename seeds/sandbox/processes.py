"""Services that live exactly as long as this process, whichever way it ends.

    with Supervisor() as supervisor:
        supervisor.start(Service("web", [...], env=..., log=...))
        supervisor.wait()

The services are children of a guardian process (see `guardian.py`), which stops them when this process is
gone: after Ctrl-C, an error, a closed terminal, SIGKILL, or SIGKILL of the whole process group.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

from seeds.sandbox import guardian
from seeds.sandbox.guardian_link import GuardianLink
from seeds.sandbox.guardian_link import ServiceFailed as ServiceFailed  # callers find it here

PROJECT = Path(__file__).resolve().parents[2]
# Before a service is started again that comes back: doubled each time that it did not live long.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LONG_LIFE_SECONDS = 60.0
# A guardian stops two rounds of services, each within its grace, before it ends.
_END_WITHIN = 4 * guardian.GRACE_SECONDS


def always_ready(_log: str) -> bool:
    return True


@dataclass(frozen=True)
class Service:
    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str]
    # Both output streams go here; without it, to this process's terminal.
    log: Path | None = None
    # Asked again and again with what the service has logged since it was started.
    ready: Callable[[str], bool] = always_ready
    ready_within: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    # For what others lean on while they end: brokers and databases.
    stops_last: bool = False
    # The others can do without it for a while: when it dies, it is started again.
    comes_back: bool = False
    # Between two deaths in short order; None: LONGEST_PAUSE_SECONDS.
    longest_pause: float | None = None
    # It has a task and ends when that is done: no failure.
    ends_by_itself: bool = False
    user: str | None = None
    folder: Path = PROJECT


@dataclass(frozen=True)
class _Streams:
    """Files instead of this process's terminal."""

    stdin: Path
    stdout: Path
    stderr: Path

    @classmethod
    def into(cls, log: Path) -> Self:
        return cls(Path(os.devnull), log, log)


@dataclass
class _State:
    service: Service
    pid: int
    log_start: int
    exit_code: int | None = None
    # Set when we end it ourselves, or when it is a command: then its end is no failure.
    end_expected: bool = False
    # Until then its end is told to whoever waits for it to become ready. Nobody waits for one that came back.
    was_ready: bool = False
    started_at: float = field(default_factory=time.monotonic)
    # How long it was waited before this start; 0 when somebody asked for it.
    pause: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)


class Supervisor:
    def __init__(self, report: Callable[[str], None] | None = None) -> None:
        """`report` is told, from any thread, of services that ended although nobody asked them to."""
        self._states: dict[str, _State] = {}
        self._ids = itertools.count(1)
        # Held while it is settled whether a service is to run: a return must not cross a stop.
        self._deciding = threading.RLock()
        self._closing = threading.Event()
        self._folders: list[Path] = []
        self._report = report or (lambda _message: None)
        self._failed = threading.Event()
        self.failures: list[str] = []
        self._guardian = GuardianLink(
            folder=PROJECT, on_service_end=self._note_end, on_lost=self._note_lost_guardian
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def guardian_pid(self) -> int:
        return self._guardian.pid

    # -- services ------------------------------------------------------------------------------

    def start(self, service: Service, *, wait: bool = True) -> None:
        """Start it and wait until it is ready; with `wait=False`, call `wait_ready` later."""
        streams = _Streams.into(service.log) if service.log else None
        self._spawn(service, streams, end_expected=service.ends_by_itself)
        if wait:
            self.wait_ready(service.name)

    def wait_ready(self, *names: str) -> None:
        for name in names:
            self._wait_ready(self._states[name])

    def stop(self, name: str) -> None:
        """Ask it to end, and kill what has not ended after the grace time."""
        self._end(name, "stop")

    def end_by(self, name: str, number: signal.Signals) -> None:
        """End it by this signal instead of its own; kill what has not ended after the grace time."""
        with self._deciding:
            state = self._states[name]
            state.end_expected = True
        with suppress(ProcessLookupError):
            os.kill(state.pid, number)
        if not state.ended.wait(timeout=guardian.GRACE_SECONDS):
            self._end(name, "kill")

    def wait_ended(self, name: str, within: float) -> int | None:
        """The exit code, or None when it still runs after so many seconds."""
        state = self._states[name]
        return state.exit_code if state.ended.wait(timeout=within) else None

    def kill(self, name: str) -> None:
        """SIGKILL to the service and all its processes, as a power cut would."""
        self._end(name, "kill")

    def restart(self, name: str) -> None:
        with self._deciding:
            service = self._states[name].service
            if not self._states[name].ended.is_set():
                self.stop(name)
            self.start(service, wait=False)
        self.wait_ready(name)

    def pids(self, name: str) -> list[int]:
        """The service's process, then its children's; empty when it has ended."""
        found: list[int] = self._guardian.ask("pids", name=name)
        return found

    def is_running(self, name: str) -> bool:
        return name in self._states and not self._states[name].ended.is_set()

    def remove_at_end(self, folder: Path) -> None:
        """The guardian removes the folder after the last service has ended, even if we are killed."""
        self._folders.append(folder)
        self._guardian.ask("remove_at_end", folder=str(folder))

    def wait(self) -> NoReturn:
        """Block until a service fails for good (raised), or the caller is interrupted."""
        # Short waits: a signal handler of the main thread runs only between them.
        while not self._failed.wait(timeout=0.5):
            pass
        raise ServiceFailed(self.failures[0])

    # -- commands that end by themselves -------------------------------------------------------

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        input: str | None = None,
        user: str | None = None,
        folder: Path = PROJECT,
    ) -> subprocess.CompletedProcess[str]:
        """Like `subprocess.run(capture_output=True)`, but nothing of it survives this process."""
        with tempfile.TemporaryDirectory(prefix="clearline-run-") as exchange:
            streams = _Streams(*(Path(exchange, name) for name in ("stdin", "stdout", "stderr")))
            for path, content in ((streams.stdin, input or ""), (streams.stdout, ""), (streams.stderr, "")):
                path.write_text(content)
            command = Service(f"run-{next(self._ids)}", argv, env, user=user, folder=folder)
            code = self._run_to_end(command, streams)
            out, err = (path.read_text(errors="replace") for path in (streams.stdout, streams.stderr))
        return subprocess.CompletedProcess(command.argv, code, out, err)

    def run_in_terminal(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path | None = None,
        folder: Path = PROJECT,
    ) -> int:
        """Run in the foreground and return its exit code; with `log`, what it prints is kept there too."""
        command = Service(f"run-{next(self._ids)}", argv, env, stop_signal=signal.SIGINT, folder=folder)
        if log is None:
            return self._run_to_end(command)
        log.write_bytes(b"")
        with log.open("rb") as output:

            def copy_output() -> None:
                sys.stdout.buffer.write(output.read())
                sys.stdout.flush()

            return self._run_to_end(command, _Streams.into(log), copy_output)

    def _run_to_end(
        self, command: Service, streams: _Streams | None = None, meanwhile: Callable[[], None] = lambda: None
    ) -> int:
        state = self._spawn(command, streams, end_expected=True)
        try:
            while not state.ended.wait(timeout=0.1):
                meanwhile()
        except BaseException:
            with suppress(ServiceFailed):
                self.stop(command.name)
            raise
        finally:
            meanwhile()
            self._states.pop(command.name, None)
        # None: the guardian was killed, and with it the command.
        return -signal.SIGKILL if state.exit_code is None else state.exit_code

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop every service, remove the folders, and wait until the guardian is gone."""
        if not self._closing.is_set():
            self._closing.set()
            if not self._guardian.close(within=_END_WITHIN):
                self._kill_everything()
            # The guardian has done it, unless it was killed.
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)

    def _kill_everything(self) -> None:
        for state in self._states.values():
            # Without a pid it was never started; a group of number 0 would be our own.
            if state.pid and not state.ended.is_set():
                guardian.kill_group(state.pid)

    # -- beginnings and ends --------------------------------------------------------------------

    def _spawn(
        self,
        service: Service,
        streams: _Streams | None,
        *,
        end_expected: bool = False,
        after_pause: float = 0.0,
    ) -> _State:
        log_start = service.log.stat().st_size if service.log and service.log.exists() else 0
        # Known before the guardian answers: a command may have ended by then.
        state = self._states[service.name] = _State(
            service,
            0,
            log_start,
            end_expected=end_expected,
            was_ready=after_pause > 0,
            pause=after_pause,
        )
        state.pid = self._guardian.ask(
            "start",
            name=service.name,
            argv=[str(part) for part in service.argv],
            env=dict(service.env),
            folder=str(service.folder),
            stdin=str(streams.stdin) if streams else None,
            stdout=str(streams.stdout) if streams else None,
            stderr=str(streams.stderr) if streams else None,
            user=service.user,
            stop_signal=int(service.stop_signal),
            stops_last=service.stops_last,
        )
        return state

    def _end(self, name: str, how: str) -> None:
        with self._deciding:
            state = self._states[name]
            state.end_expected = True
        self._guardian.ask(how, name=name)
        if not state.ended.wait(timeout=_END_WITHIN):
            raise ServiceFailed(f"{name} could not be ended")

    def _wait_ready(self, state: _State) -> None:
        service = state.service
        deadline = time.monotonic() + service.ready_within
        while not state.ended.is_set():
            if service.ready(self._log_of(state)):
                state.was_ready = True
                break
            if time.monotonic() > deadline:
                waited = f"{service.ready_within:.0f} s"
                raise ServiceFailed(f"{service.name} was not ready after {waited}{self._last_words(state)}")
            state.ended.wait(timeout=0.05)
        if state.ended.is_set():
            raise ServiceFailed(self._describe_end(state))

    @staticmethod
    def _log_of(state: _State) -> str:
        log = state.service.log
        if log is None or not log.exists():
            return ""
        with log.open("rb") as stream:
            stream.seek(state.log_start)
            return stream.read().decode(errors="replace")

    def _last_words(self, state: _State) -> str:
        lines = self._log_of(state).strip().splitlines()[-12:]
        return "".join(f"\n    {line}" for line in lines)

    def _describe_end(self, state: _State) -> str:
        how = _reason(state.exit_code)
        return f"{state.service.name} ended unexpectedly ({how}){self._last_words(state)}"

    def _note_end(self, name: str, code: int) -> None:
        state = self._states.get(name)
        if state is None:
            return
        state.exit_code = code
        state.ended.set()
        if not state.was_ready or state.end_expected or self._closing.is_set():
            return
        if state.service.comes_back:
            self._bring_back_later(state, _reason(code))
        else:
            self._fail(self._describe_end(state))

    def _bring_back_later(self, state: _State, why: str) -> None:
        """Returns at once: whoever hears of ends must not wait, or no answer of the guardian arrives."""
        lived_long = time.monotonic() - state.started_at >= LONG_LIFE_SECONDS
        doubled = 2 * state.pause or FIRST_PAUSE_SECONDS
        pause = (
            FIRST_PAUSE_SECONDS
            if lived_long
            else min(doubled, state.service.longest_pause or LONGEST_PAUSE_SECONDS)
        )
        name, log = state.service.name, state.service.log
        where = f"; its log: {log}" if log else ""
        self._report(f"{name} ended unexpectedly ({why}) and is started again in {pause:g} s{where}")
        threading.Thread(
            target=self._bring_back, args=(state, pause), daemon=True, name=f"return-of-{name}"
        ).start()

    def _bring_back(self, dead: _State, pause: float) -> None:
        if self._closing.wait(timeout=pause):
            return
        service = dead.service
        with self._deciding:
            # Somebody may have stopped or started it meanwhile, and then it is theirs.
            if self._states[service.name] is not dead or dead.end_expected:
                return
            streams = _Streams.into(service.log) if service.log else None
            try:
                self._spawn(service, streams, after_pause=pause)
            except ServiceFailed as error:
                state = self._states[service.name]
                state.ended.set()
                # Without a guardian nothing can be started any more; that has been reported.
                if not self._closing.is_set() and not self._failed.is_set():
                    self._bring_back_later(state, str(error))

    def _note_lost_guardian(self) -> None:
        """Somebody killed it. Do its work: stop everything, and let nobody wait for an answer."""
        self._kill_everything()
        self._fail("the guardian of the services was killed; the services are stopped")
        for state in self._states.values():
            state.ended.set()

    def _fail(self, message: str) -> None:
        self.failures.append(message)
        self._report(message)
        self._failed.set()


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def interruptible() -> None:
    """Make SIGTERM and a closed terminal end this process through its `with` blocks, as Ctrl-C does."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: a closed terminal shall not matter
        signal.signal(signal.SIGHUP, leave)
    # A shell script that starts us with `&` has SIGINT ignored; whoever sends it means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
