"""The databases of test mode: one SQLite file for each test store, made from a template, opened in the shop's place.

Whatever database the shop runs on, a test store is a file of its own. While it is open, `connections["default"]` of
this thread is that file, so that every act, lock and sweep is the real one, and none of it can reach a row of the shop.
docs/test-mode.md says what follows from it.
"""

import fcntl
import functools
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from authorization import stores
from storefront.sqlite.base import DatabaseWrapper

logger = structlog.get_logger(__name__)

SUFFIX = ".sqlite3"
_ALIAS = "default"
# A file that belongs to no store stays for so long: somebody may still be at work in it.
LEFT_ALONE = timedelta(hours=1)
_OPTIONS = {
    # As of the shop's own database (storefront.environment): one writer from the first statement on is the fence.
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    # A power cut may cost the last calls, never the file: these are trials.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;",
}


@contextmanager
def opened(public_id: UUID, furnish: Callable[[], None]) -> Iterator[BaseDatabaseWrapper]:
    """In here the default connection of this thread is that of this store. `furnish` fills one that is not there yet.

    Raises RuntimeError inside a transaction, and inside another test store.
    """
    path = _ensure_store(public_id, furnish)
    with _in_place_of_the_shops(path) as connection:
        if _version_of(connection) != _version():
            _bring_up(path)
        yield connection


def exists(public_id: UUID) -> bool:
    return _path_of(public_id).exists()


def remove_foreign(known: set[UUID], *, at: datetime) -> int:
    """Delete the files that belong to none of these stores and that nobody has touched lately. Returns how many.

    `at`: of this machine. Templates of other releases go the same way.
    """
    kept = {_path_of(public_id).name for public_id in known} | {_template_path().name}
    removed = 0
    for path in _folder().iterdir():
        # A store's write-ahead log and its index bear its name with an ending.
        name = path.name.removesuffix("-wal").removesuffix("-shm")
        if name in kept or path.suffix == ".lock" or not path.is_file():
            continue
        if at.timestamp() - path.stat().st_mtime > LEFT_ALONE.total_seconds():
            path.unlink(missing_ok=True)
            removed += 1
    return removed


# --- in the shop's place ----------------------------------------------------------------------------------------


@contextmanager
def _in_place_of_the_shops(path: Path) -> Iterator[BaseDatabaseWrapper]:
    shop = connections[_ALIAS]
    if stores.is_test():
        raise RuntimeError("This thread works in a test store already; leave it first.")
    # As the fence does: the block that a test case wraps around everything is not ours.
    if any(not getattr(block, "_from_testcase", False) for block in shop.atomic_blocks):
        raise RuntimeError(
            "A test store is not entered inside a transaction of the shop, which would wait for it."
        )
    connection = _connect(path)
    connections[_ALIAS] = connection
    try:
        yield connection
    finally:
        # First of all: whatever else fails, this thread is back in the shop.
        connections[_ALIAS] = shop
        connection.close()


def _connect(path: Path) -> BaseDatabaseWrapper:
    database = {
        "ENGINE": "storefront.sqlite",
        "NAME": str(path),
        "OPTIONS": dict(_OPTIONS),
        # It is closed by who leaves, and by nobody before.
        "CONN_MAX_AGE": None,
    }
    connection = DatabaseWrapper(connections.configure_settings({_ALIAS: database})[_ALIAS], _ALIAS)
    connection.clearline_test_store = path.stem  # type: ignore[attr-defined]
    return connection


# --- made -------------------------------------------------------------------------------------------------------


def _ensure_store(public_id: UUID, furnish: Callable[[], None]) -> Path:
    path = _path_of(public_id)
    if path.exists():
        return path
    template = _ensure_template()
    with _one_at_a_time("making"):
        if path.exists():
            return path
        draft = _draft_of(path)
        shutil.copyfile(template, draft)
        _finish(draft, path, furnish)
    logger.info("test_store.made", store=path.stem)
    return path


def _ensure_template() -> Path:
    """An empty store of this release, migrated once for all that follow."""
    path = _template_path()
    if path.exists():
        return path
    with _one_at_a_time("template"):
        if not path.exists():
            draft = _draft_of(path)
            draft.unlink(missing_ok=True)
            _finish(draft, path, _migrate)
            logger.info("test_store.template_made", template=path.stem)
    return path


def _finish(draft: Path, path: Path, fill: Callable[[], None]) -> None:
    """Filled where nobody sees it, then put in place in one step: who finds the file finds all of it."""
    try:
        with _in_place_of_the_shops(draft) as connection:
            fill()
            with connection.cursor() as cursor:
                # Into the file itself: its log is left behind.
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _migrate() -> None:
    """To this release. Without the signals of the command: they would let this process remember the ids of this
    database's content types, and the desk would take them for the shop's.
    """
    connection = connections[_ALIAS]
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA user_version = {_version()}")


def _bring_up(path: Path) -> None:
    """A store of another release is migrated where it is, by the first who opens it."""
    with _one_at_a_time("migrating"):
        if _version_of(connections[_ALIAS]) != _version():
            _migrate()
            logger.info("test_store.migrated", store=path.stem)


def _version_of(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA user_version")
        return int(cursor.fetchone()[0])


@functools.cache
def _version() -> int:
    """Of the tables, as a number that SQLite keeps in the head of a file: which migrations this release has."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    digest = 0
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        source = Path(str(sys.modules[migration.__module__].__file__)).read_bytes()
        digest = zlib.crc32(f"{app}.{name}\n".encode() + source, digest)
    return digest & 0x7FFFFFFF


# --- files ------------------------------------------------------------------------------------------------------


def _folder() -> Path:
    folder = Path(settings.TEST_STORES_DIR)
    # What vendors try out is theirs: other users of this machine read none of it.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _path_of(public_id: UUID) -> Path:
    return _folder() / f"{public_id}{SUFFIX}"


def _template_path() -> Path:
    return _folder() / f"template-{_version():08x}{SUFFIX}"


def _draft_of(path: Path) -> Path:
    return path.with_suffix(f".{uuid4().hex}.draft")


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Among all threads and processes of this machine. Who dies inside lets go."""
    with (_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
