"""What `./dev` understands, what it refuses, and which services of the store come back."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from seeds.sandbox import commands, stack
from seeds.sandbox.processes import PROJECT, Supervisor


@pytest.mark.parametrize("command", ["demo", "up"])
@pytest.mark.parametrize("port", ["99999999", "65536", "-5", "http", ""])
def test_what_is_no_port_is_refused_in_one_sentence(
    command: str, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        commands.parse([command, "--port", port])

    assert stopped.value.code == 2
    assert (
        f"argument --port: {port!r} is not a port: take a number from 0 to 65535" in capsys.readouterr().err
    )


@pytest.mark.parametrize("port", [0, 8000, 65535])
def test_a_port_is_taken(port: int) -> None:
    parsed = commands.parse(["up", "--port", str(port)])

    assert parsed is not None
    assert parsed[1].port == port


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "there is no such program"),
        ("exit 1", "it is no Python that runs"),
        ("exit 0", "it is no Python that runs"),
        ("echo 3.11.9; echo '(too old)'; exit 1", "it is Python 3.11.9 (too old)"),
    ],
)
def test_a_python_that_will_not_do_is_answered_with_what_will(
    script: str | None, said: str, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)

    answer = subprocess.run(
        [PROJECT / "dev", "help"],
        env=os.environ | {"CLEARLINE_PYTHON": str(python)},
        capture_output=True,
        text=True,
    )

    assert answer.returncode == 1
    assert f"CLEARLINE_PYTHON={python} cannot be used: {said}\n" in answer.stderr
    assert "needs Python 3.12 or newer" in answer.stderr


def test_workers_and_beat_come_back_and_the_web_server_does_not(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        shop = stack.Stack("test", {}, tmp_path, None, supervisor)

        assert stack._worker(shop, "worker1", tmp_path).comes_back
        assert stack._beat(shop, tmp_path).comes_back
        assert not stack._web(shop, 1, tmp_path).comes_back


# -- what `./dev manage` believes ------------------------------------------------------------------


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("REDIS_URL", raising=False)
    for name, value in {"VAR": "", "RUNNING": "running.json", "UP_LOCK": "up.lock"}.items():
        monkeypatch.setattr(stack, name, tmp_path / value)
    (tmp_path / "running.json").write_text(json.dumps({"REDIS_URL": "redis://of-up"}))
    return tmp_path


def test_the_addresses_of_a_store_that_is_up_are_believed(var: Path) -> None:
    with open(var / "up.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert stack.environment_for_manage()["REDIS_URL"] == "redis://of-up"


@pytest.mark.parametrize("is_lock_there", [True, False])
def test_the_addresses_of_a_store_that_was_killed_are_not(var: Path, is_lock_there: bool) -> None:
    if is_lock_there:
        (var / "up.lock").touch()

    assert stack.environment_for_manage()["REDIS_URL"] == f"redis://127.0.0.1:{stack.BROKER_PORT}/0"
