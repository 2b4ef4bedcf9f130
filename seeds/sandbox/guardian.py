"""The guardian: starts every service for a `./dev` process, and outlives it to stop them all.

It is a process in a session of its own, so neither Ctrl-C nor a kill of the whole `./dev` process group
reaches it. `./dev` holds the only other end of its control socket: when that end closes, however `./dev`
ended, the guardian stops everything, removes the temporary folders it was told of, and ends.

`processes.Supervisor` is its counterpart. They speak lines of JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from seeds.sandbox import process_table

# How long a service may take to end by itself before it is killed.
GRACE_SECONDS = 5.0

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded before any fork: between fork and exec it would be too late to look for a library.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def dies_with(parent: int) -> Callable[[], None] | None:
    """For `preexec_fn`: the kernel kills the child when `parent` ends, even by SIGKILL (Linux only)."""
    libc = _libc
    if libc is None:
        return None

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os._exit(1)

    return ask_kernel


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    stop_signal: int
    stops_last: bool
    # Reaped children keep their group number alive only while others are in it.
    ended: bool = field(default=False)

    @property
    def pid(self) -> int:
        return self.process.pid


class Guardian:
    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._services: dict[str, Running] = {}
        self._folders: list[str] = []
        self._asked_to_end = False
        self._unread = b""

    def serve(self) -> None:
        """Obey until the other end is gone, or someone asks this process to end."""
        wakeup = self._wake_on_signals()
        self._adopt_orphans()
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(wakeup, selectors.EVENT_READ)
            while not self._asked_to_end:
                # A fork of the parent may hold its end of the socket open: look at the parent too.
                if os.getppid() != self._parent:
                    break
                ready = {key.fileobj for key, _ in selector.select(timeout=1.0)}
                if wakeup in ready:
                    wakeup.recv(4096)
                self._reap()
                if self._control in ready and not self._read_requests():
                    break
        self._end_everything()

    def _wake_on_signals(self) -> socket.socket:
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        self._writing_end = writing  # kept, or it would be closed
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Handlers, not SIG_IGN: what is ignored here would stay ignored in every service.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end_soon)
        return reading

    def _end_soon(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_end = True

    @staticmethod
    def _adopt_orphans() -> None:
        """A service's child that left its session comes to us when its parent dies, not to init."""
        if _libc is not None:
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    # -- what the other end may ask ------------------------------------------------------------

    def _read_requests(self) -> bool:
        """Answer what has come in; False when the other end is closed."""
        try:
            received = self._control.recv(1 << 20)
        except ConnectionError:
            return False
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                answer = getattr(self, f"do_{request['do']}")(**request["with"])
            except Exception as error:  # the other end shall hear of it; the guardian must go on
                self._tell({"id": request["id"], "error": f"{type(error).__name__}: {error}"})
            else:
                self._tell({"id": request["id"], "answer": answer})
        return bool(received)

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # nobody listens any more; the loop will see it
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def do_start(
        self,
        *,
        name: str,
        argv: list[str],
        env: dict[str, str],
        folder: str,
        stdin: str | None,
        stdout: str | None,
        stderr: str | None,
        user: str | None,
        stop_signal: int,
        stops_last: bool,
    ) -> int:
        if name in self._services and not self._services[name].ended:
            raise ValueError(f"{name} is running already")
        with ExitStack() as files:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=folder,
                stdin=files.enter_context(open(stdin, "rb")) if stdin else None,
                stdout=files.enter_context(open(stdout, "ab")) if stdout else None,
                stderr=files.enter_context(open(stderr, "ab")) if stderr else None,
                start_new_session=True,
                preexec_fn=dies_with(os.getpid()),
                **_identity(user),
            )
        self._services[name] = Running(process, stop_signal, stops_last)
        return process.pid

    def do_stop(self, *, name: str) -> None:
        self._stop([self._services[name]])

    def do_kill(self, *, name: str) -> None:
        service = self._services[name]
        if not service.ended:
            self._kill([service], process_table.family(service.pid))

    def do_pids(self, *, name: str) -> list[int]:
        service = self._services[name]
        if service.ended:
            return []
        members = {process.pid for process in process_table.family(service.pid)}
        return sorted(members, key=lambda pid: (pid != service.pid, pid))

    def do_remove_at_end(self, *, folder: str) -> None:
        self._folders.append(folder)

    # -- how things end ------------------------------------------------------------------------

    def _reap(self) -> None:
        """Collect the dead. What a dead service leaves in its group is killed: it serves nobody now."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, service in self._services.items():
                if service.pid == pid and not service.ended:
                    service.ended = True
                    service.process.returncode = os.waitstatus_to_exitcode(status)
                    kill_group(pid)
                    self._tell({"ended": name, "code": service.process.returncode})

    def _stop(self, services: Iterable[Running]) -> None:
        """Ask the leaders to end (they stop their own children in order), then kill what is left."""
        running = [service for service in services if not service.ended]
        members = set().union(*(process_table.family(service.pid) for service in running))
        for service in running:
            with suppress(ProcessLookupError):
                os.kill(service.pid, service.stop_signal)
        deadline = time.monotonic() + GRACE_SECONDS
        while not all(service.ended for service in running) and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        self._kill([service for service in running if not service.ended], members)

    def _kill(self, services: Iterable[Running], members: set[process_table.Process]) -> None:
        for service in services:
            kill_group(service.pid)
        deadline = time.monotonic() + GRACE_SECONDS
        while (remaining := process_table.alive(members)) and time.monotonic() < deadline:
            process_table.kill(remaining)
            time.sleep(0.01)
            self._reap()
        self._reap()

    def _end_everything(self) -> None:
        everything = list(self._services.values())
        # Brokers and databases go last, so that the others can end in good order.
        self._stop(service for service in everything if not service.stops_last)
        self._stop(service for service in everything if service.stops_last)
        self._kill([], process_table.descendants(os.getpid()))
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def kill_group(leader: int) -> None:
    """The kernel does this in one go: a group cannot fork its way out, as it could from a list of pids."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _identity(user: str | None) -> dict[str, Any]:
    """Popen's arguments to run as `user`; its other groups are given up as well."""
    if user is None:
        return {}
    import pwd

    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    # Children must not inherit it: the end of this socket is the sign that `./dev` is gone.
    control.set_inheritable(False)
    Guardian(control, parent=int(sys.argv[2])).serve()


if __name__ == "__main__":
    main()
