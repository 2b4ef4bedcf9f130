"""A worker with no beat to ring it and no broker to be rung through: what is due is done all the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from authorization.models import ReconcilerRun
from tests.flows.test_workers_killed import (
    Crew,
    database_url,
    expect_unsellable,
    list_many,
    live,
    revoke,
    wait_until,
)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Crew]:
    """A worker whose broker is not there at all."""
    crew = Crew("redis://127.0.0.1:9/0", tmp_path)
    assert crew.env["DATABASE_URL"] == database_url()
    with (tmp_path / "worker.log").open("wb") as log:
        crew.processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "storefront", "worker", "--concurrency", "1", "-l", "INFO"],
                env=crew.env, stdout=log, stderr=log, start_new_session=True, cwd=os.getcwd(),
            )
        )  # fmt: skip
    yield crew
    crew.kill()


@pytest.mark.django_db(transaction=True)
def test_with_beat_and_broker_away_the_pages_follow_and_somebody_reconciles(alone: Crew) -> None:
    agreement = list_many(3)
    revoke(agreement)
    expect_unsellable()
    wait_until("all is delisted", lambda: live() == 0)
    wait_until("a round was made", lambda: ReconcilerRun.objects.filter(finished_at__isnull=False).exists())
