"""Which processes exist, whose children they are and which group they belong to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    group: int
    # Pids are reused; pid and start time together are not.
    started: str


def processes() -> dict[int, Process]:
    """Everything that runs now; the dead that only wait to be reaped are left out."""
    if Path("/proc/self/stat").exists():
        found = (_from_proc(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
        return {process.pid: process for process in found if process}
    return _from_ps()


def _from_proc(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended meanwhile
        return None
    # The command name stands in brackets and may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    state, parent, group, started = fields[0], int(fields[1]), int(fields[2]), fields[19]
    return None if state in "ZX" else Process(pid, parent, group, started)


def _from_ps() -> dict[int, Process]:
    listing = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,pgid=,stat=,lstart="], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listing.splitlines():
        pid, parent, group, state, started = line.split(maxsplit=4)
        if not state.startswith("Z"):
            found[int(pid)] = Process(int(pid), int(parent), int(group), started)
    return found


def family(leader: int) -> set[Process]:
    """The process, its group, and the descendants of both, wherever they went."""
    table = processes()
    members = {process.pid for process in table.values() if leader in (process.pid, process.group)}
    return {table[pid] for pid in members | _descendants(members, table) if pid in table}


def descendants(ancestor: int) -> set[Process]:
    table = processes()
    return {table[pid] for pid in _descendants({ancestor}, table)}


def _descendants(ancestors: set[int], table: dict[int, Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(ancestors)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def alive(members: Iterable[Process]) -> set[Process]:
    """Those of `members` that still run as the very same process."""
    table = processes()
    return {
        process
        for process in members
        if process.pid in table and table[process.pid].started == process.started
    }


def kill(members: Iterable[Process]) -> None:
    for process in alive(members):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)
