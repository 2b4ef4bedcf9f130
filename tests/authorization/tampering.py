"""For tests of what finds tampering: somebody who owns the database can take its triggers away, too."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from authorization import append_only


@contextmanager
def tampering() -> Iterator[None]:
    """Inside, rows that are written once can be changed and deleted."""
    with transaction.atomic():
        # PostgreSQL alters no table while checks of its rows are still to come.
        connection.check_constraints()
        append_only.remove(connection)
        yield
        connection.check_constraints()
        append_only.install(connection)
