"""How SQLite's writers wait for their turn (storefront/sqlite/base.py)."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.utils import OperationalError

from storefront import environment, test_store_files
from storefront.sqlite import base

# The files are these tests' own; the mark lets connections be opened at all.
pytestmark = pytest.mark.django_db


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., base.DatabaseWrapper]]:
    made: list[base.DatabaseWrapper] = []

    def connected(timeout: float = 20) -> base.DatabaseWrapper:
        database: dict[str, Any] = {
            "ENGINE": "storefront.sqlite",
            "NAME": str(tmp_path / "turns.sqlite3"),
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": timeout,
                "init_command": "PRAGMA journal_mode=WAL;",
                "check_same_thread": False,
            },
        }
        settings = connections.configure_settings({"default": database})["default"]
        made.append(base.DatabaseWrapper(settings, "default"))
        made[-1].inc_thread_sharing()
        return made[-1]

    yield connected
    for connection in made:
        connection.close()


def execute(connection: base.DatabaseWrapper, sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        return list(cursor.execute(sql).fetchall())


def begin(connection: base.DatabaseWrapper) -> None:
    connection.ensure_connection()
    connection._start_transaction_under_autocommit()


def test_who_waits_gets_the_turn_when_it_is_let_go(connect):
    holder, waiter = connect(), connect()
    begin(holder)
    asked, got = threading.Event(), threading.Event()
    attempts = waiter._begin

    def begin_and_tell(**said: bool) -> bool:
        is_mine = attempts(**said)
        asked.set()
        return is_mine

    waiter._begin = begin_and_tell

    def wait() -> None:
        begin(waiter)
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert asked.wait(10)
    assert not got.is_set(), "the first attempt came back without the lock"
    execute(holder, "ROLLBACK")
    thread.join(10)
    assert got.is_set()


def test_patience_ends_with_the_word_that_django_knows(connect):
    holder, waiter = connect(), connect(timeout=0.05)
    begin(holder)
    began = time.monotonic()
    with pytest.raises(OperationalError, match="database is locked"):
        begin(waiter)
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("is_locked", [False, True])
def test_a_statement_outside_a_transaction_still_waits_by_itself(connect, is_locked):
    holder, waiter = connect(), connect(timeout=0.05)
    if is_locked:
        begin(holder)
        with pytest.raises(OperationalError):
            begin(waiter)
    else:
        begin(waiter)
        execute(waiter, "ROLLBACK")
    assert execute(waiter, "PRAGMA busy_timeout") == [(50,)]


def test_what_is_not_a_lock_is_not_waited_for(connect):
    connection = connect()
    begin(connection)
    with pytest.raises(OperationalError, match="within a transaction"):
        connection._start_transaction_under_autocommit()


def test_the_shop_and_its_test_stores_wait_so(tmp_path):
    shop = environment.database(
        "NO_SUCH_VARIABLE",
        default=f"sqlite:///{tmp_path / 'shop.sqlite3'}",
        made_by_dev=tmp_path,
        is_test=False,
    )
    assert shop["ENGINE"] == "storefront.sqlite"
    assert isinstance(test_store_files._connect(tmp_path / "a.sqlite3"), base.DatabaseWrapper)
