"""The demo, as a stranger starts it: real processes, both policies, nothing sold that may not be sold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    settings.DATABASES["default"]["ENGINE"].endswith("postgresql"),
    reason="the demo brings its own database; it runs once, beside the tests on SQLite",
)
def test_the_demo_ends_by_itself_and_measures_what_it_promises(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "seeds.sandbox", "demo", "--exit", "--port", "0", "--json", str(found)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    lax, strict = json.loads(found.read_text())["runs"]
    assert lax["policy"] == "2016"
    assert len(lax["went_live"]) == 4
    assert lax["problems"] == strict["problems"] == []
    assert strict["went_live"] == []
