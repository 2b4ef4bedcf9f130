"""SQLite waits for its turn in steps that grow to 100 ms, so that whoever has waited long asks least often.

A withdrawal would stand for seconds behind a dozen busy buyers, each of which comes back at once and asks every
millisecond; and a lock that was let go would lie idle until somebody wakes. Here all ask equally often, every
millisecond or so. Why it is not a queue, and what it costs: docs/decisions/0017-sqlite-writers-ask-equally-often.md.
"""

import random
import time

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

# Seconds between two attempts, by chance, so that no two keep step.
SHORTEST_S, LONGEST_S = 0.0005, 0.0015
# SQLite's own, as `timeout` has it in seconds where nothing is said (Python's sqlite3).
USUAL_TIMEOUT_S = 5.0


class DatabaseWrapper(base.DatabaseWrapper):
    def _start_transaction_under_autocommit(self) -> None:
        """Become the only writer. Raises OperationalError ("database is locked") after the connection's `timeout`."""
        patience_s = float(self.settings_dict["OPTIONS"].get("timeout", USUAL_TIMEOUT_S))
        until = time.monotonic() + patience_s
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            while not self._begin(may_wait=time.monotonic() < until):
                time.sleep(random.uniform(SHORTEST_S, LONGEST_S))  # noqa: S311  no secret
        finally:
            # Of statements outside a transaction, which SQLite makes wait by itself.
            self.connection.execute(f"PRAGMA busy_timeout = {int(patience_s * 1000)}")

    def _begin(self, *, may_wait: bool) -> bool:
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except OperationalError as error:
            if may_wait and "locked" in str(error):
                return False
            raise
        return True
