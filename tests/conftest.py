"""What all tests share: the clock of a business day, and no network but loopback."""

import gc
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import cache

from authorization import clock, outbox
from storefront import test_store_files

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only-with-database", action="store_true", help="leave out what has run on another database already"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests that touch no database one run is enough; the others are those with the mark or the fixtures for it."""
    if not config.getoption("--only-with-database"):
        return
    fixtures = {"db", "transactional_db", "django_db_setup"}
    with_database = [
        item
        for item in items
        if item.get_closest_marker("django_db") or fixtures & set(getattr(item, "fixturenames", ()))
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(with_database)])
    items[:] = with_database


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported and collected stays: nobody need look through it for circles again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True, scope="session")
def folder_of_static_files() -> None:
    """A fresh checkout has none, and the web process warns of it."""
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    # Files are looked up when asked for: each test has a handler of its own, which would read all of them first.
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True, scope="session")
def files_of_test_stores() -> Iterator[None]:
    """No test case rolls back the files of test mode: those of earlier runs go, and the template stays."""
    yield
    if Path(settings.TEST_STORES_DIR).exists():
        test_store_files.remove_foreign(set(), at=clock.machine_now())


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    """What a process keeps for a while, a bell that failed among it, is not for the next test."""
    cache.clear()
    outbox._moments.silent_until = 0.0


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails at once, and says for which."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if (
            self.family in (socket.AF_INET, socket.AF_INET6)
            and isinstance(address, tuple)
            and address[0] not in LOOPBACK
        ):
            raise AssertionError(f"Tests use no network; this one reached for {address[0]}.")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
