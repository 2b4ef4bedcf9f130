"""Makes `.venv`, fills it, and goes on inside it. Runs on a bare Python before anything is installed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# This file is run by its path; the rest of the project is imported from the root.
sys.path[0] = str(PROJECT)

from seeds.sandbox.commands import CONSTRAINTS, DEVELOPMENT, RUNTIME, UnknownCommand, overview, parse  # noqa: E402
from seeds.sandbox.guardian import dies_with  # noqa: E402
from seeds.sandbox.processes import interruptible  # noqa: E402

OLDEST_PYTHON = (3, 12)
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
# Which requirements the environment holds. It lies inside, so that it is gone when the environment is.
STAMP = VENV / "clearline-installed.json"
# Exists while packages are being installed: found at the start, it means that somebody was interrupted.
UNFINISHED = VENV / "clearline-unfinished"


class CannotPrepare(Exception):
    """The environment could not be made; the message says why and what to do."""


def main() -> int:
    try:
        parsed = parse(sys.argv[1:])
    except UnknownCommand as error:
        print(error, file=sys.stderr)
        return 2
    if parsed is None:
        print(overview())
        return 0
    command, _options = parsed
    interruptible()
    os.chdir(PROJECT)
    try:
        with _alone():
            prepare(command.requirements)
    except KeyboardInterrupt:
        print("\nStopped while preparing .venv; the next call starts it anew.")
        return 130
    except CannotPrepare as error:
        print(error, file=sys.stderr)
        return 1
    os.execv(PYTHON, [str(PYTHON), "-m", "seeds.sandbox", *sys.argv[1:]])


@contextmanager
def _alone() -> Iterator[None]:
    """One `./dev` at a time prepares the environment; the lock ends with the process, however that ends."""
    if not os.access(PROJECT, os.W_OK):
        raise CannotPrepare(f"You may not write to {PROJECT}, and .venv has to be made there.")
    with open(PROJECT / ".venv.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another ./dev is preparing .venv; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(requirements: str) -> None:
    wanted = {name: _fingerprint(name) for name in _files(requirements)}
    if _is_usable() and wanted.items() <= _installed().items():
        return
    if not _is_usable():
        _make_environment()
    UNFINISHED.touch()
    _install(requirements)
    # What an earlier call installed beyond this stays installed, as long as its file is unchanged.
    STAMP.write_text(json.dumps(_still_true(_installed()) | wanted))
    UNFINISHED.unlink()


def _files(requirements: str) -> list[str]:
    return [RUNTIME, CONSTRAINTS] if requirements == RUNTIME else [RUNTIME, CONSTRAINTS, DEVELOPMENT]


def _fingerprint(name: str) -> str:
    return hashlib.sha256((PROJECT / name).read_bytes()).hexdigest()


def _installed() -> dict[str, str]:
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def _still_true(stamp: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in stamp.items() if value == _fingerprint(name)}


def _is_usable() -> bool:
    """Whole, recent enough, and of the Python that was asked for, if one was."""
    if UNFINISHED.exists():
        return False
    question = "import sys, ssl, sqlite3; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([PYTHON, "-c", question], capture_output=True, text=True)
    except OSError:
        return False
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    theirs = answer.stdout.strip()
    if answer.returncode or tuple(map(int, theirs.split("."))) < OLDEST_PYTHON:
        return False
    return theirs == ours or "CLEARLINE_PYTHON" not in os.environ


# -- making the environment ------------------------------------------------------------------------


def _make_environment() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Making .venv with Python {version}", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    uv = shutil.which("uv")
    # --seed: pip stays at hand, should uv fail to install.
    by_uv = [uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(VENV)] if uv else None
    by_venv = [sys.executable, "-m", "venv", str(VENV)]
    said = ""
    for attempt in filter(None, (by_uv, by_venv)):
        result = _run(attempt)
        if result.returncode == 0:
            return
        said += result.stdout
        shutil.rmtree(VENV, ignore_errors=True)
    cure = "On Debian and Ubuntu: apt install python3-venv"
    raise CannotPrepare(f"{said.strip()}\n\n.venv could not be made. {cure}")


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=dies_with(os.getpid()),
    )


# -- filling it --------------------------------------------------------------------------------------


def _install(requirements: str) -> None:
    print(f"Installing {requirements} (once; later starts skip this)", flush=True)
    started = time.monotonic()
    uv = shutil.which("uv")
    by_uv = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), "-r", requirements] if uv else []
    if by_uv and _run(by_uv).returncode == 0:
        print(f"Installed with uv in {time.monotonic() - started:.0f} s", flush=True)
        return
    count = _install_with_pip(requirements, started)
    print(f"Installed {count} packages in {time.monotonic() - started:.0f} s", flush=True)


def _install_with_pip(requirements: str, started: float) -> int:
    argv = [str(PYTHON), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check"]
    # --verbose names each package while it is being installed, which takes longer than the download.
    pip = subprocess.Popen(
        [*argv, "--verbose", "-r", requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=dies_with(os.getpid()),
    )
    progress = Progress(started)
    last_lines: deque[str] = deque(maxlen=25)
    for line in pip.stdout or ():
        last_lines.append(line.rstrip())
        progress.read(line)
    progress.finish()
    if pip.wait():
        said = "\n".join(f"  {line}" for line in last_lines if line)
        raise CannotPrepare(
            f"{said}\n\npip could not install {requirements} (its last words are above).\n"
            "Without a network, or behind a proxy: set HTTPS_PROXY, or PIP_INDEX_URL for your own mirror.\n"
            "Then call ./dev again; it starts anew."
        )
    return progress.count


class Progress:
    """One line that changes on a terminal; a line now and then elsewhere."""

    _SIGNS = (
        (re.compile(r"^\s*Collecting ([\w.\[\]-]+)"), "found"),
        (re.compile(r"^\s*Requirement already satisfied: ([\w.\[\]-]+)"), "found"),
        (re.compile(r"^\s*changing mode of .*/bin/([\w.-]+)"), "installing"),
        (re.compile(r"^Installing collected packages: (.+)"), "installing"),
    )
    _QUIET_SECONDS = 3.0

    def __init__(self, started: float) -> None:
        self._started = started
        self._is_terminal = sys.stdout.isatty()
        self._last_shown = 0.0
        self._names: set[str] = set()

    @property
    def count(self) -> int:
        return len(self._names)

    def read(self, line: str) -> None:
        for sign, doing in self._SIGNS:
            if match := sign.match(line):
                name = match[1]
                if doing == "found":
                    self._names.add(name)
                elif "," in name:
                    name = f"{name.count(',') + 1} packages"
                self._show(f"{len(self._names):>3} packages, {doing} {name}")

    def _show(self, text: str) -> None:
        now = time.monotonic()
        text = f"  {now - self._started:3.0f} s  {text}"
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:width]}", end="", flush=True)
        elif now - self._last_shown >= self._QUIET_SECONDS:
            print(text, flush=True)
            self._last_shown = now

    def finish(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
