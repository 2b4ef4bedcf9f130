"""How a replay ends: interrupted without a word, and without the logins of a store that is gone."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from authorization.clock import write_clock
from seeds.replay import main, shoppers
from seeds.replay.findings import Findings
from seeds.sandbox.processes import PROJECT

# The interruption comes when the run begins, while a thread still has something to do.
INTERRUPTED = """
import runpy, sys, threading, time
from seeds.replay import timeline

def interrupt():
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise KeyboardInterrupt

timeline.make_console = interrupt
runpy.run_module("seeds.replay", run_name="__main__", alter_sys=True)
"""


def test_an_interrupted_run_ends_without_a_word(tmp_path: Path) -> None:
    clock_file = tmp_path / "clock.json"
    write_clock(clock_file, virtual=datetime(2016, 1, 25, tzinfo=UTC), rate=1.0)
    options = ["--policy", "2016", "--base-url", "http://127.0.0.1:1", "--clock-file", str(clock_file)]

    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *options, "--result", str(tmp_path / "result.json")],
        cwd=PROJECT,
        env=os.environ | {"CLEARLINE_CLOCK_FILE": str(clock_file), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_when_one_shopper_is_lost_the_rest_stay_at_home() -> None:
    set_out = threading.Semaphore(0)

    def lose() -> None:
        set_out.release()
        raise shoppers.Lost("no form")

    def walk() -> None:
        set_out.release()
        threading.Event().wait(0.2)

    crowd: list[Callable[[], None]] = [lose, *[walk] * 20]
    with pytest.raises(shoppers.Lost):
        shoppers.at_once(crowd)

    assert sum(set_out.acquire(blocking=False) for _ in crowd) < len(crowd)


@pytest.mark.parametrize("is_kept", [True, False])
def test_logins_are_printed_for_a_store_that_stays(
    is_kept: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(_stack: Any, *, policy: str, dates: str) -> Findings:
        logins = {"desk": "desk / password", "API key of Prairie": "sk_live_1"}
        return Findings(policy=policy, dates=dates, story="", logins=logins)

    monkeypatch.setattr(main, "_play", play)
    stack: Any = SimpleNamespace(base_url="http://127.0.0.1:8000")

    main.run(stack=stack, policies=["2016"], is_kept=is_kept)

    printed = capsys.readouterr().out
    assert ("sk_live_1" in printed) is is_kept
    assert ("http://127.0.0.1:8000" in printed) is is_kept
