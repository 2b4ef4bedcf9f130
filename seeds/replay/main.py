"""The replay as `./dev demo` calls it: one run per policy, each on a store of its own, then the tables.

A run is a process of its own, because Django's settings are those of one store.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from rich.text import Text

from seeds.replay import report
from seeds.replay.findings import POLICIES, Findings
from seeds.replay.story import STORIES
from seeds.replay.timeline import make_console


class Supervisor(Protocol):
    def run_in_terminal(self, argv: Sequence[str], *, env: Mapping[str, str]) -> int: ...


class Stack(Protocol):
    """A running store, as the sandbox hands it over."""

    env: dict[str, str]
    data_dir: Path
    clock_file: Path | None
    base_url: str

    @property
    def supervisor(self) -> Supervisor: ...


type OpenStack = Callable[[str], AbstractContextManager[Stack]]


def run(
    *,
    stack: Stack,
    dates: str = "press",
    policies: Sequence[str] = POLICIES,
    json_path: Path | None = None,
    is_kept: bool = True,
    open_stack: OpenStack | None = None,
) -> int:
    """Play the story under each policy. `stack` takes the first; each further one gets a store by
    `open_stack`. Its logins are printed if the store `is_kept` after this.

    The exit code is 1 when anything was sold, shown or taken down that must not be, 2 when nothing was
    played.
    """
    console = make_console()
    if json_path is not None and (fault := _write_fault(json_path)):
        # Said before the replay, not after it.
        console.print(Text(fault), soft_wrap=True)
        return 2
    story = STORIES[dates]
    console.rule(Text(f"{story.title}"), align="left")
    console.print(
        Text(
            "Every hour is simulated, inside the bounds that the sources give; so are shoppers, stock "
            "and letters. The last column says what a line rests on."
        )
    )
    runs: list[Findings] = []
    for number, policy in enumerate(policies):
        console.rule(Text(f"Policy: {policy}"), align="left")
        with nullcontext(stack) if number == 0 else _further(open_stack, policy) as store:
            findings = _play(store, policy=policy, dates=dates)
        runs.append(findings)
        report.print_run(console, findings)
    console.rule()
    report.print_summary(console, runs)
    if runs and is_kept:
        report.print_logins(console, {"store": stack.base_url, **runs[0].logins})
    if json_path is not None:
        _write(json_path, {"dates": dates, "runs": [findings.as_json() for findings in runs]})
    return 1 if any(findings.problems() for findings in runs) else 0


def _further(open_stack: OpenStack | None, policy: str) -> AbstractContextManager[Stack]:
    if open_stack is None:
        raise ValueError(f"The run under {policy!r} needs a store of its own: pass open_stack.")
    return open_stack(policy)


def _play(stack: Stack, *, policy: str, dates: str) -> Findings:
    """One run in a process of its own, on the terminal of this one."""
    if stack.clock_file is None:
        raise ValueError("The replay sets the clock, so it runs on a sandbox and never on the live shop.")
    result = stack.data_dir / f"replay-{policy}.json"
    argv = [sys.executable, "-m", "seeds.replay", "--policy", policy, "--dates", dates]
    argv += ["--base-url", stack.base_url, "--clock-file", str(stack.clock_file), "--result", str(result)]
    # Under the sandbox's supervisor, which ends it whichever way this process ends.
    code = stack.supervisor.run_in_terminal(argv, env=stack.env)
    if code or not result.exists():
        findings = Findings(policy=policy, dates=dates, story=STORIES[dates].title)
        findings.overdue = f"the process of the run ended with exit code {code} and left no result"
        return findings
    return Findings.from_json(json.loads(result.read_text(encoding="utf-8")))


def _write_fault(path: Path) -> str | None:
    try:
        path.open("a").close()
    except OSError as error:
        return f"The findings cannot be written to {path} ({error.strerror}). Choose another file for --json."
    return None


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
