"""Two at once, for tests of what waits for what."""

import threading
from collections.abc import Callable

from django.db import connection


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    """Run on a connection of its own; returns the thread, and the list that receives what it raises."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failures
