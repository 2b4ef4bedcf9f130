"""One HTTP call to an address that a stranger chose.

The name is resolved once, every address that it has must be a public one, and the connection is made to the very
address that was checked: a name that answers differently a moment later (DNS rebinding) changes nothing. Whatever the
other side does, a call ends in time, follows no redirect and reads little.
"""

import functools
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore

# From the first step of a call to its last byte.
CALL_S = 15.0
CONNECT_S = 5.0
# Of an answer only its status counts; so much is read to keep the connection for the next call.
MAX_ANSWER_BYTES = 16_384
# Addresses of one name that are tried.
MAX_TRIED = 3

type IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# What Python's `is_global` lets through: IPv4 in IPv6 clothes, which some gateway may take off, retired ranges, and
# the metadata address of one cloud that lies in public space.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fec0::/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "168.63.129.16/32",
    )
)


class ForbiddenAddress(Exception):
    """Nothing was sent: the address is none that we call. The message is for the owner of the endpoint."""


@dataclass(frozen=True)
class Outcome:
    """How one call went. `status` is None when no answer came; `retry_after_s` is what the answer asked for."""

    status: int | None
    error: str
    took_s: float
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def is_public(address: IPAddress) -> bool:
    """Is it an address of the public internet? Private, loopback, link-local, shared and translated ones are not."""
    if address.is_multicast or not address.is_global:
        return False
    return not any(address in network for network in _NEVER if network.version == address.version)


def check_address(address: IPAddress, *, host: str, is_tls: bool, may_be_loopback: bool) -> None:
    """Raises ForbiddenAddress. Loopback is for receivers of a sandbox, and the only one called without TLS."""
    if address.is_loopback and may_be_loopback:
        return
    if not is_public(address):
        raise ForbiddenAddress(f"{host} is {address}, which is not on the public internet; it is not called.")
    if not is_tls:
        raise ForbiddenAddress("Only https addresses are called.")


class Line:
    """Calls to one URL, over one connection as long as both sides keep it. Close it after use."""

    def __init__(self, url: str, *, may_be_loopback: bool) -> None:
        self._url = url
        self._backend = _CheckedNetwork(
            is_tls=urlsplit(url).scheme == "https", may_be_loopback=may_be_loopback
        )
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), max_connections=1, network_backend=self._backend
        )

    def post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        """Never raises for what the other side does."""
        began = time.monotonic()
        self._backend.ends_at = began + CALL_S
        status, error, retry_after_s = None, "", None
        try:
            with self._pool.stream(
                "POST",
                self._url,
                headers=list(headers.items()),
                content=body,
                extensions={"timeout": {"pool": 0.0, "connect": CONNECT_S, "read": CALL_S, "write": CALL_S}},
            ) as response:
                status = response.status
                retry_after_s = _retry_after(response.headers)
                _read_little(response)
        except ForbiddenAddress as refusal:
            error = str(refusal)
        except httpcore.TimeoutException:
            error = f"No complete answer within {CALL_S:.0f} seconds."
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as failure:
            error = f"No answer: {failure}"
        if status is not None and not 200 <= status < 300:
            error = f"Answered {status}" + (
                ", and redirects are not followed." if 300 <= status < 400 else "."
            )
        return Outcome(status, error[:500], time.monotonic() - began, retry_after_s)

    def close(self) -> None:
        self._pool.close()


class _CheckedNetwork(httpcore.NetworkBackend):
    """Where names become connections: the check stands here, so that no call can go around it."""

    def __init__(self, *, is_tls: bool, may_be_loopback: bool) -> None:
        self._is_tls = is_tls
        self._may_be_loopback = may_be_loopback
        self._sockets = httpcore.SyncBackend()
        self.ends_at = 0.0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._resolve(host, port)
        until = min(time.monotonic() + CONNECT_S, self.ends_at)
        failure: Exception = httpcore.ConnectError(f"{host} has no address.")
        for address in addresses[:MAX_TRIED]:
            left = until - time.monotonic()
            if left <= 0:
                raise httpcore.ConnectTimeout
            try:
                stream = self._sockets.connect_tcp(str(address), port, left, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self)
        raise failure

    def _resolve(self, host: str, port: int) -> list[IPAddress]:
        try:
            found = _look_up(host, port, within_s=min(CONNECT_S, self.ends_at - time.monotonic()))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"The name {host} is not known.") from error
        addresses = list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in found))
        # All of them: a name with one forbidden address is no name to be trusted with the next question.
        for address in addresses:
            check_address(address, host=host, is_tls=self._is_tls, may_be_loopback=self._may_be_loopback)
        return addresses

    def left(self, timeout: float | None) -> float:
        """Seconds until the call must end, at most `timeout`; below zero when it is over."""
        left = self.ends_at - time.monotonic()
        return left if timeout is None else min(left, timeout)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose reads end with the call: a byte now and then does not prolong it."""

    def __init__(self, stream: httpcore.NetworkStream, network: _CheckedNetwork) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._network.left(timeout)
        if left <= 0:
            raise httpcore.ReadTimeout
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = self._network.left(timeout)
        if left <= 0:
            raise httpcore.WriteTimeout
        self._stream.write(buffer, left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._network.left(timeout)
        if left <= 0:
            raise httpcore.ConnectTimeout
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _look_up(host: str, port: int, *, within_s: float) -> list[Any]:
    """What `socket.getaddrinfo` says, which knows no limit of time. Raises ConnectTimeout, OSError, UnicodeError.

    A lookup that does not end is left to its thread; the resolver gives up on it some time later.
    """
    heard: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            heard.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except Exception as error:
            heard.put(error)

    threading.Thread(target=ask, name="webhook-lookup", daemon=True).start()
    try:
        found = heard.get(timeout=max(0.0, within_s))
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"The name {host} was not resolved in time.") from None
    if isinstance(found, Exception):
        raise found
    return found


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


def _read_little(response: httpcore.Response) -> None:
    """To the end, or until it is too much: leaving the call then closes the connection."""
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            return


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    value = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1")
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    # A date of the other machine's clock is read by this machine's.
    return max(0.0, (at - datetime.now(UTC)).total_seconds())  # noqa: TID251
