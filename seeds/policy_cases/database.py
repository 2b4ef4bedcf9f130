"""A store of its own for each world of a policy test: SQLite in memory, put in the place of the default connection.

Why not the configured database, with everything rolled back at the end? The acts take the fence in their outermost
transaction and refuse to stand inside another one; what they write is append-only by trigger; on PostgreSQL the
exclusive fence would keep every buyer of a running shop waiting; and a world needs a store that is empty. So the shop's
rows are neither read nor locked nor written, whatever DATABASE_URL says, and the command may be run beside a live shop.

Nothing leaves: what waits for a commit (the bell for the workers) is dropped, and with the memory goes all that was
written. The same text of SQL is asked as in the shop; tests/seeds/test_policy_cases.py asks it of PostgreSQL too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

# What decisions read, and what these stand on.
APPS = ("carriers", "catalog", "authorization")


class InMemory(DatabaseWrapper):
    """Not heard outside: its commits tell nobody."""

    def on_commit(self, func: Any, robust: bool = False) -> None:
        pass

    def end(self) -> None:
        # Django keeps databases in memory open until the process ends.
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@contextmanager
def fresh() -> Iterator[None]:
    """An empty store with all tables as the default database of this thread, while the block lasts."""
    store = _open()
    try:
        _template().connection.backup(store.connection)
        with _in_place(store):
            yield
    finally:
        store.end()


@cache
def _template() -> InMemory:
    """What each store is a copy of, kept while the process lasts: migrating takes seconds, copying milliseconds."""
    template = _open()
    with _in_place(template):
        executor = MigrationExecutor(template)
        # Without the signals of `manage.py migrate`: permissions and the like are no part of a decision.
        executor.migrate([node for node in executor.loader.graph.leaf_nodes() if node[0] in APPS])
    return template


def _open() -> InMemory:
    config = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
    filled: dict[str, Any] = connections.configure_settings({DEFAULT_DB_ALIAS: config})
    store = InMemory(filled[DEFAULT_DB_ALIAS], DEFAULT_DB_ALIAS)
    store.ensure_connection()
    return store


@contextmanager
def _in_place(store: InMemory) -> Iterator[None]:
    shop = connections[DEFAULT_DB_ALIAS]
    # Connections are kept by thread: no other thread of the process sees this one.
    connections[DEFAULT_DB_ALIAS] = store
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = shop
