"""What each process of a soak did and saw, one JSON object a line, by the machine's monotonic clock.

Lines are written out at once: a process that is killed loses the one it was writing, no more.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def note(self, what: str, **fields: Any) -> None:
        line = json.dumps({"t": round(time.monotonic(), 4), "what": what, **fields}, default=str)
        with self._lock, self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            # The last one of a process that was killed may be torn.
            if line.endswith("\n"):
                yield json.loads(line)
