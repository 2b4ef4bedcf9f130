"""Whatever happens to `./dev`, nothing it started stays behind. Real processes, real signals, no Django."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seeds.sandbox import ports, process_table, processes
from seeds.sandbox.processes import PROJECT, Service, ServiceFailed, Supervisor

# A service with the habits that leave processes behind: it ignores SIGTERM, has a child in its group, and
# a grandchild that moved to a session of its own.
STUBBORN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        print("escaped", flush=True)
    signal.pause()
print("up", flush=True)
signal.pause()
"""

POLITE = "import signal; print('up', flush=True); signal.pause()"

# Stands for `./dev`: starts two services, tells who is who, and waits.
OWNER = """
import json, os, sys
from pathlib import Path
from seeds.sandbox.processes import Service, Supervisor, interruptible
interruptible()
folder = Path(sys.argv[1])
folder.mkdir()
try:
    with Supervisor() as supervisor:
        supervisor.remove_at_end(folder)
        for name, script in json.loads(sys.argv[2]).items():
            marks = ["up", "escaped"] if "setsid" in script else ["up"]
            supervisor.start(Service(
                name, [sys.executable, "-c", script], dict(os.environ), log=folder / f"{name}.log",
                ready=lambda log, marks=marks: all(mark in log for mark in marks),
                comes_back=name.startswith("worker"),
            ))
        services = [pid for name in json.loads(sys.argv[2]) for pid in supervisor.pids(name)]
        print(json.dumps({"guardian": supervisor.guardian_pid, "services": services}), flush=True)
        supervisor.wait()
except KeyboardInterrupt:
    # Around it all: the interruption may come as soon as the line above is read.
    sys.exit(130)
"""


class Owner:
    """A process that owns services, and everything that hangs on it."""

    def __init__(self, folder: Path, scripts: dict[str, str]) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), json.dumps(scripts)],
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout
        told = json.loads(self.process.stdout.readline())
        self.guardian: int = told["guardian"]
        self.services: list[int] = told["services"]

    def leftovers(self) -> list[int]:
        running = process_table.processes()
        return [pid for pid in [self.guardian, *self.services] if pid in running]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Owner]]:
    owners: list[Owner] = []

    def start(**scripts: str) -> Owner:
        owner = Owner(tmp_path / f"owner-{len(owners)}", scripts)
        owners.append(owner)
        return owner

    yield start
    for owner in owners:
        owner.process.kill()
        owner.process.wait()
        assert owner.process.stdout
        owner.process.stdout.close()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as supervisor:
        yield supervisor


def python(name: str, script: str, folder: Path, **options: object) -> Service:
    argv = [sys.executable, "-u", "-c", script]
    log = folder / f"{name}.log"
    return Service(name, argv, dict(os.environ), log=log, **options)  # type: ignore[arg-type]


def eventually(condition: Callable[[], object], within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# -- nothing survives ------------------------------------------------------------------------------


def test_nothing_survives_sigkill_of_the_owner(own: Callable[..., Owner]) -> None:
    owner = own(stubborn=STUBBORN, polite=POLITE)
    assert len(owner.services) == 4, "the service, its child, its escaped grandchild, and the polite one"

    owner.process.kill()

    eventually(lambda: not owner.leftovers())
    eventually(lambda: not owner.folder.exists())


def test_nothing_survives_sigkill_of_the_whole_process_group(own: Callable[..., Owner]) -> None:
    owner = own(stubborn=STUBBORN, polite=POLITE)

    os.killpg(owner.process.pid, signal.SIGKILL)

    eventually(lambda: not owner.leftovers())
    eventually(lambda: not owner.folder.exists())


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_owner_ends_when_its_services_have(
    own: Callable[..., Owner], number: int, exit_code: int
) -> None:
    owner = own(polite=POLITE)

    os.killpg(owner.process.pid, number)

    assert owner.process.wait(timeout=20) == exit_code
    assert owner.leftovers() == []
    assert not owner.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
def test_services_end_when_the_guardian_and_its_owner_are_killed_together(own: Callable[..., Owner]) -> None:
    owner = own(polite=POLITE, second=POLITE)

    os.kill(owner.guardian, signal.SIGKILL)
    owner.process.kill()

    eventually(lambda: not owner.leftovers())


def test_the_owner_does_the_work_of_a_killed_guardian(own: Callable[..., Owner]) -> None:
    owner = own(stubborn=STUBBORN, polite=POLITE)
    escaped = {owner.services[2]}

    os.kill(owner.guardian, signal.SIGKILL)

    assert owner.process.wait(timeout=20) == 1
    eventually(lambda: not set(owner.leftovers()) - escaped)
    for pid in escaped & set(owner.leftovers()):
        os.kill(pid, signal.SIGKILL)


# -- one service among others ----------------------------------------------------------------------


def test_kill_and_restart_reach_the_children_too(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(python("web", STUBBORN, tmp_path, ready=lambda log: "up" in log and "escaped" in log))
    before = supervisor.pids("web")
    assert len(before) == 3

    supervisor.kill("web")

    assert not set(before) & process_table.processes().keys()
    assert supervisor.pids("web") == []
    supervisor.restart("web")
    assert len(supervisor.pids("web")) == 3
    assert supervisor.failures == [], "an end that was asked for is no failure"
    supervisor.kill("web")  # or its habits would cost the grace time


def test_a_dying_service_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    script = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit("out of luck"))
print("up")
signal.pause()
"""
    told: list[str] = []
    with Supervisor(report=told.append) as supervisor:
        supervisor.start(python("web", script, tmp_path, ready=lambda log: "up" in log))
        os.kill(supervisor.pids("web")[0], signal.SIGUSR1)
        with pytest.raises(
            ServiceFailed, match=r"web ended unexpectedly \(exit code 1\)\n(.*\n)* +out of luck"
        ):
            supervisor.wait()
    assert len(told) == 1


# -- services that come back -----------------------------------------------------------------------


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE_SECONDS", 0.25)
    monkeypatch.setattr(processes, "LONGEST_PAUSE_SECONDS", 0.5)


def kill_and_wait_for_return(supervisor: Supervisor, name: str) -> None:
    (before,) = supervisor.pids(name)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: supervisor.pids(name) not in ([], [before]))


@pytest.mark.usefixtures("short_pauses")
def test_a_service_that_comes_back_does_so_after_ever_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with Supervisor(report=told.append) as supervisor:
        supervisor.start(python("worker1", POLITE, tmp_path, ready=lambda log: "up" in log, comes_back=True))
        for _ in range(3):
            kill_and_wait_for_return(supervisor, "worker1")
        monkeypatch.setattr(processes, "LONG_LIFE_SECONDS", 0.0)
        kill_and_wait_for_return(supervisor, "worker1")

        assert supervisor.failures == []
    where = f"; its log: {tmp_path / 'worker1.log'}"
    assert told == [
        f"worker1 ended unexpectedly (killed by SIGKILL) and is started again in {pause} s{where}"
        for pause in ("0.25", "0.5", "0.5", "0.25")
    ]


@pytest.mark.usefixtures("short_pauses")
def test_a_service_that_is_killed_on_purpose_does_not_come_back(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    for name in ("worker1", "worker2"):
        supervisor.start(python(name, POLITE, tmp_path, ready=lambda log: "up" in log, comes_back=True))
    # One while it runs, one while its return is near.
    supervisor.kill("worker1")
    os.kill(supervisor.pids("worker2")[0], signal.SIGKILL)
    eventually(lambda: not supervisor.is_running("worker2"))
    supervisor.kill("worker2")

    time.sleep(0.6)

    assert supervisor.pids("worker1") == supervisor.pids("worker2") == []
    supervisor.restart("worker2")
    assert supervisor.pids("worker2")


@pytest.mark.usefixtures("short_pauses")
def test_who_restarts_a_service_before_its_return_gets_one_and_not_two(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(python("worker1", POLITE, tmp_path, ready=lambda log: "up" in log, comes_back=True))
    os.kill(supervisor.pids("worker1")[0], signal.SIGKILL)
    eventually(lambda: not supervisor.is_running("worker1"))

    supervisor.restart("worker1")
    restarted = supervisor.pids("worker1")
    time.sleep(0.6)

    assert supervisor.pids("worker1") == restarted


def test_the_owner_outlives_its_worker_but_not_its_web_server(own: Callable[..., Owner]) -> None:
    owner = own(web=POLITE, worker1=POLITE)
    web, worker = owner.services

    os.kill(worker, signal.SIGKILL)

    log = owner.folder / "worker1.log"
    eventually(lambda: log.read_text().count("up") == 2)
    assert owner.process.poll() is None
    os.kill(web, signal.SIGKILL)
    assert owner.process.wait(timeout=20) == 1
    assert owner.leftovers() == []


# -- beginnings and commands -----------------------------------------------------------------------


def test_a_service_that_ends_before_it_is_ready_says_why(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="no such table"):
        supervisor.start(
            python("web", "raise SystemExit('no such table')", tmp_path, ready=lambda log: False)
        )


def test_a_service_that_is_never_ready_is_given_up(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="not ready after"):
        supervisor.start(python("web", POLITE, tmp_path, ready=lambda log: False, ready_within=0.2))


def test_a_program_that_does_not_exist_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(ServiceFailed, match="no-such-program"):
        supervisor.start(Service("web", ["no-such-program"], dict(os.environ)))


def test_a_command_gives_its_output_and_exit_code(supervisor: Supervisor) -> None:
    script = "import sys; print(input().upper()); print('aside', file=sys.stderr); sys.exit(4)"

    result = supervisor.run([sys.executable, "-c", script], env=dict(os.environ), input="words\n")

    assert (result.returncode, result.stdout, result.stderr) == (4, "WORDS\n", "aside\n")


# -- ports -----------------------------------------------------------------------------------------


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        number: int = probe.getsockname()[1]
        return number


def test_the_preferred_port_is_taken_when_it_is_free(free_port: int) -> None:
    assert ports.choose_port(free_port) == free_port


def test_a_port_in_use_leads_to_a_free_one(free_port: int) -> None:
    with socket.create_server((ports.LOOPBACK, free_port)):
        chosen = ports.choose_port(free_port)

    assert chosen != free_port
    assert ports.is_free(chosen)


def test_a_port_spoken_for_but_not_yet_bound_leads_to_another_one(free_port: int) -> None:
    reserve = (
        f"from seeds.sandbox.ports import choose_port; print(choose_port({free_port}), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reserve],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        assert int(other.stdout.readline()) == free_port
        assert ports.choose_port(free_port) != free_port
