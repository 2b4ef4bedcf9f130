"""Ports on the loopback address: the usual one, or a free one when that is taken."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"

# Held until this process ends. A service needs a moment to bind its port, and some servers share a port
# silently; a UDP socket of the same number tells other `./dev` processes that the port is spoken for.
_reserved: list[socket.socket] = []


def choose_port(preferred: int = 0) -> int:
    """Reserve `preferred` for this process, or a free port when it is 0 or taken."""
    if preferred and _reserve(preferred):
        return preferred
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if _reserve(port):
            return port


def _reserve(port: int) -> bool:
    if not is_free(port):
        return False
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        reservation.bind((LOOPBACK, port))
    except OSError:
        reservation.close()
        return False
    _reserved.append(reservation)
    return True


def is_free(port: int) -> bool:
    """Whether a service could listen on `port` here now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server that linger in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return not _answers(port)


def _answers(port: int) -> bool:
    """Whether somebody listens there. On macOS a port can be bound beside a wildcard listener, so ask."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
