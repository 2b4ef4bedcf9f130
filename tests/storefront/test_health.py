"""The health pages tell the truth, quickly, and give nothing away."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test import Client

from authorization import clock
from authorization.models import OutboxRow
from seeds.sandbox.broker import start_broker
from seeds.sandbox.processes import Supervisor


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("broker")
    with Supervisor() as supervisor:
        yield start_broker(supervisor, folder)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers: a broker that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def owe_work(*, minutes: int) -> None:
    at = clock.now()
    OutboxRow.objects.create(
        event="authority.changed", handler="x.y", due_at=at - timedelta(minutes=minutes), created_at=at
    )


def test_live_asks_nobody_else():
    # No database mark on this test: a query would fail it.
    response = Client().get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
def test_ready_when_every_part_is(broker, settings):
    settings.REDIS_URL = broker
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "database": {"status": "ok"},
        "broker": {"status": "ok"},
        "outbox": {"status": "ok", "oldest_due_s": None, "dead_letters": 0},
    }


@pytest.mark.django_db
def test_a_broker_that_is_gone_or_hangs_is_told_soon(settings, silent_port, capsys):
    for port in (closed_port(), silent_port):
        settings.REDIS_URL = f"redis://:a-secret@127.0.0.1:{port}/0"
        began = time.monotonic()
        response = Client().get("/readyz")
        assert time.monotonic() - began < 3.0
        assert response.status_code == 503
        parts = response.json()
        assert parts["broker"]["status"] == "failing"
        assert parts["database"]["status"] == "ok"
        assert "Traceback" not in capsys.readouterr().err
        assert b"a-secret" not in response.content
        assert str(port).encode() not in response.content


@pytest.mark.django_db
def test_a_database_that_is_gone_is_told(broker, settings):
    settings.REDIS_URL = broker

    def fail(execute, sql, params, many, context):
        raise OperationalError("no route to db.internal as clearline")

    with connection.execute_wrapper(fail):
        response = Client().get("/readyz")
    assert response.status_code == 503
    parts = response.json()
    assert parts["database"] == {"status": "failing", "error": "OperationalError"}
    assert parts["outbox"] == {"status": "failing", "error": "OperationalError"}
    assert parts["broker"] == {"status": "ok"}
    assert b"db.internal" not in response.content


@pytest.mark.django_db
def test_the_age_of_the_oldest_undone_work_is_told(broker, settings):
    settings.REDIS_URL = broker
    owe_work(minutes=-5)
    assert Client().get("/readyz").json()["outbox"] == {
        "status": "ok",
        "oldest_due_s": None,
        "dead_letters": 0,
    }
    owe_work(minutes=2)
    response = Client().get("/readyz")
    assert response.status_code == 503
    outbox = response.json()["outbox"]
    assert outbox["status"] == "late"
    assert 120 <= outbox["oldest_due_s"] < 130


@pytest.mark.django_db
def test_the_jumps_of_an_exercise_make_no_work_late(broker, settings, tmp_path):
    settings.REDIS_URL = broker
    settings.CLOCK_FILE = str(tmp_path / "clock.json")
    clock.write_clock(Path(settings.CLOCK_FILE), virtual=datetime(2016, 2, 1, tzinfo=UTC), rate=1)
    owe_work(minutes=60)
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json()["outbox"]["oldest_due_s"] >= 3600


def test_probes_on_plain_http_are_not_sent_elsewhere(settings):
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get("/livez").status_code == 200
    assert Client().get("/notices/").status_code == 301
