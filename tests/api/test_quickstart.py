"""docs/quickstart.md as it stands: run by a shell, with curl, against a server; the answers are those of the page."""

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from authorization import clock
from seeds import factories
from storefront import accounts, test_mode, test_workers
from storefront.models import TestStore

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^```sh\n(.*?)^```\n\n```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
# Between the answers of a shell that stays.
MARK = "--- end of a step ---"


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that answers each bell of a test store at once, and does not leave before its clock is ready."""

    def answer(name: str, **_: Any) -> None:
        stores = TestStore.objects.all() if name == test_mode.WORK_TASK else []
        for store in stores:
            while test_workers.visit(store.pk):
                store.refresh_from_db()
                if store.advancing_to is None:
                    break

    monkeypatch.setattr("authorization.outbox.send_bell", answer)


@pytest.fixture
def key(transactional_db: None) -> str:
    at = clock.now()
    _, secret = accounts.make_organization_key(
        organization=factories.OrganizationFactory.create(),
        label="quickstart",
        by=factories.BUILDER,
        at=at,
        expires_at=at + timedelta(days=1),
        is_test=True,
    )
    return secret


def test_the_page_runs_as_it_stands(live_server: Any, key: str, workers: None) -> None:
    assert len(STEPS) == PAGE.count("```sh") == PAGE.count("```json")
    script = "".join(f"{commands}echo\necho '{MARK}'\n" for commands, _ in STEPS)
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "BASE": live_server.url, "KEY": key, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split(MARK)[:-1]
    for (commands, shown), printed in zip(STEPS, answers, strict=True):
        # A step may make several calls; the page shows the answer to the last.
        answer = last_object(printed)
        assert fits(json.loads(shown), answer), f"{commands}\n{json.dumps(answer, indent=2)}"


def last_object(printed: str) -> Any:
    found, at = None, 0
    decoder = json.JSONDecoder()
    while (at := printed.find("{", at)) >= 0:
        found, at = decoder.raw_decode(printed, at)
    return found


def fits(shown: Any, answer: Any) -> bool:
    """Is all that is shown there, so? Of lists the first entries; an empty one is empty; `…` is anything."""
    if shown == "…":
        return answer is not None
    if isinstance(shown, dict):
        return isinstance(answer, dict) and all(
            name in answer and fits(value, answer[name]) for name, value in shown.items()
        )
    if isinstance(shown, list):
        if not isinstance(answer, list) or len(answer) < len(shown) or (answer and not shown):
            return False
        return all(fits(each, its) for each, its in zip(shown, answer, strict=False))
    return bool(shown == answer)
