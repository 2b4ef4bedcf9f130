"""Starting a guardian and talking to it: the `./dev` end of the control socket."""

from __future__ import annotations

import itertools
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


class ServiceFailed(Exception):
    """A service could not be started, did not become ready, or ended although nobody asked it to."""


class GuardianLink:
    """Requests from any thread, one answer each; the ends of services are told to `on_service_end`."""

    def __init__(
        self, *, folder: Path, on_service_end: Callable[[str, int], None], on_lost: Callable[[], None]
    ) -> None:
        self._on_service_end = on_service_end
        self._on_lost = on_lost
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._ids = itertools.count(1)
        self._sending = threading.Lock()
        self._is_closing = False
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "seeds.sandbox.guardian", str(theirs.fileno()), str(os.getpid())],
                cwd=folder,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, daemon=True, name="guardian-listener")
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, what: str, **arguments: Any) -> Any:
        number = next(self._ids)
        answers = self._answers[number] = queue.SimpleQueue()
        line = json.dumps({"id": number, "do": what, "with": arguments}).encode() + b"\n"
        try:
            with self._sending:
                self._control.sendall(line)
            answer = answers.get()
        except OSError as error:
            raise ServiceFailed("the guardian of the services is gone") from error
        finally:
            del self._answers[number]
        if answer is None:
            raise ServiceFailed("the guardian of the services was killed")
        if "error" in answer:
            raise ServiceFailed(answer["error"])
        return answer["answer"]

    def close(self, *, within: float) -> bool:
        """Let the guardian end everything and wait for it; False when it had to be killed."""
        self._is_closing = True
        # No request, whose answer would race with the end: that nobody speaks any more is enough.
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(timeout=within)
            return True
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        finally:
            self._listener.join(timeout=1)
            self._control.close()

    def _listen(self) -> None:
        with self._control.makefile("rb") as lines, suppress(ConnectionError):
            for line in lines:
                message = json.loads(line)
                if "ended" in message:
                    self._on_service_end(message["ended"], message["code"])
                elif message["id"] in self._answers:
                    self._answers[message["id"]].put(message)
        if not self._is_closing:
            self._on_lost()
        for answers in list(self._answers.values()):
            answers.put(None)
