"""A call to an address that a stranger chose ends in time and goes nowhere that it must not go."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpcore
import pytest

from storefront import webhook_calls
from storefront.webhook_calls import Line, Outcome, is_public
from tests.storefront import receiver as receivers
from tests.storefront.receiver import Receiver, listening, status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as found:
        yield found


def post(url: str, *, may_be_loopback: bool = True) -> Outcome:
    line = Line(url, may_be_loopback=may_be_loopback)
    try:
        return line.post(b"{}", {"Content-Type": "application/json"})
    finally:
        line.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104  an address that must not be called
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "192.88.99.1",
        "168.63.129.16",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:4136:e378::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_what_is_not_public_is_not_called(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111"])
def test_what_is_public_may_be_called(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_receiver_on_loopback_is_called_where_that_is_allowed_only(receiver: Receiver) -> None:
    assert post(receiver.url).is_success
    refused = post(receiver.url, may_be_loopback=False)
    assert refused.status is None
    assert "not on the public internet" in refused.error
    assert len(receiver.seen) == 1


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_loopback_in_other_clothes_is_refused(receiver: Receiver, host: str) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    outcome = post(f"http://{host}:{port}/hooks", may_be_loopback=False)
    assert (outcome.status, receiver.seen) == (None, [])


def answer_names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let each question for a name have the next answer. Returns the names asked for."""
    asked: list[str] = []
    left = list(answers)

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_a_name_that_answers_differently_a_moment_later_gains_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is checked, loopback when it is called. It is asked once."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    asked = answer_names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    called: list[str] = []

    def connect(self: Any, host: str, port: int, *rest: Any) -> Any:
        called.append(host)
        raise httpcore.ConnectError("nobody there")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    outcome = post(f"https://rebind.example:{port}/hooks", may_be_loopback=False)
    assert (outcome.status, receiver.seen) == (None, [])
    assert asked == ["rebind.example"]
    assert called == ["93.184.216.34"]
    # The next call asks anew, and is refused.
    assert "127.0.0.1" in post(f"https://rebind.example:{port}/hooks", may_be_loopback=False).error
    assert called == ["93.184.216.34"]


def test_one_forbidden_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_names(monkeypatch, ["93.184.216.34", "10.0.0.7"])
    outcome = post("https://both.example/hooks", may_be_loopback=False)
    assert "10.0.0.7" in outcome.error


def test_without_tls_nothing_but_loopback_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_names(monkeypatch, ["93.184.216.34"])
    assert post("http://plain.example/hooks").error == "Only https addresses are called."


def test_an_unknown_name_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "not known" in post("https://nowhere.example/hooks").error


def test_a_name_that_is_not_resolved_in_time_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def never(*_: Any, **__: Any) -> Any:
        done.wait()
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(webhook_calls, "CONNECT_S", 0.05)
    try:
        outcome = post("https://slow.example/hooks")
    finally:
        done.set()
    assert (outcome.status, "No complete answer" in outcome.error) == (None, True)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, code: int) -> None:
    receiver.answers = [status(code, Location=receiver.url)]
    outcome = post(receiver.url)
    assert outcome.status == code
    assert not outcome.is_success
    assert "redirects are not followed" in outcome.error
    assert len(receiver.seen) == 1


@pytest.mark.parametrize("answer", [receivers.hang, receivers.trickle])
def test_a_call_ends_in_time_whatever_the_other_side_does(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answer: receivers.Answer
) -> None:
    monkeypatch.setattr(webhook_calls, "CALL_S", 0.3)
    receiver.answers = [answer]
    began = time.monotonic()
    outcome = post(receiver.url)
    assert outcome.status is None
    assert "No complete answer" in outcome.error
    assert time.monotonic() - began < 2


def test_of_a_long_answer_little_is_read(receiver: Receiver) -> None:
    receiver.answers = [receivers.flood]
    assert post(receiver.url).is_success


def test_nobody_listening_is_no_answer() -> None:
    with listening() as gone:
        url = gone.url
    outcome = post(url)
    assert outcome.status is None
    assert outcome.error.startswith("No answer:")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), ("soon", None), ("-5", None), ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0)],
)
def test_what_the_answer_asks_for(receiver: Receiver, header: str, seconds: float | None) -> None:
    receiver.answers = [status(503, Retry_After=header)]
    outcome = post(receiver.url)
    assert (outcome.status, outcome.retry_after_s) == (503, seconds)


def test_one_line_takes_many_calls(receiver: Receiver) -> None:
    line = Line(receiver.url, may_be_loopback=True)
    try:
        assert all(line.post(b"{}", {}).is_success for _ in range(3))
    finally:
        line.close()
    assert len(receiver.seen) == 3
