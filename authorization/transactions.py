"""Several acts in one transaction, each of which opens a transaction of its own and may take the fence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from authorization import fence


@contextmanager
def one_transaction() -> Iterator[None]:
    """All acts inside commit together, or nothing of them does.

    An act inside another transaction would be a savepoint, and rolling back to one frees the fence (docs/facts-and-
    fence.md, rule 3). Here no savepoints are made: an act that fails takes all that went before with it, and whoever
    catches its error can only end the transaction. A rehearsal, which rolls back by itself (`undone`), is made in here
    before the fence is taken, or not at all.

    Raises TransactionManagementError where an act failed and nobody said so: its effect is lost, and so is the rest.
    """
    with transaction.atomic():
        of_this_thread: Any = connections[DEFAULT_DB_ALIAS]
        # Django asks the connection for each of them, and takes None for "without".
        is_outermost = "savepoint" not in vars(of_this_thread)
        of_this_thread.savepoint = _without
        try:
            yield
        finally:
            # One of these inside another joins it.
            if is_outermost:
                del of_this_thread.savepoint
        if of_this_thread.needs_rollback:
            raise transaction.TransactionManagementError(
                "An act inside failed and its error was caught: everything is rolled back."
            )


@contextmanager
def undone() -> Iterator[None]:
    """What is written inside is rolled back at the end of the block, and nothing else: a rehearsal.

    Inside `one_transaction` that takes a savepoint of its own. Raises FenceMisuse behind the fence, which the way back
    to a savepoint could free.
    """
    of_this_thread: Any = connections[DEFAULT_DB_ALIAS]
    is_inside = "savepoint" in vars(of_this_thread)
    if is_inside:
        if fence.is_held():
            raise fence.FenceMisuse("A rehearsal comes before the fence is taken.")
        del of_this_thread.savepoint
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        if is_inside:
            of_this_thread.savepoint = _without


def _without() -> None:
    return None
