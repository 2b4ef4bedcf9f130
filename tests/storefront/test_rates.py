"""Counting that holds over all threads, processes and hosts."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from authorization import clock
from storefront import rates
from storefront.models import RateCount
from storefront.shop import limits

WITHIN_S = 600
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def at(monkeypatch):
    """Sets the machine's clock."""

    def put(seconds: float) -> None:
        monkeypatch.setattr(clock, "machine_now", lambda: NOW + timedelta(seconds=seconds))

    put(0)
    return put


def ask(who: str = "somebody", what: str = "test", most: int = 3) -> int:
    return rates.seconds_to_wait(what, who, most=most, within_s=WITHIN_S)


@pytest.mark.django_db
def test_the_first_few_pass_and_then_it_says_how_long_to_wait(at):
    assert [ask() for _ in range(3)] == [0, 0, 0]
    at(100.5)
    assert ask() == 500
    at(599.9)
    assert ask() == 1


@pytest.mark.django_db
def test_a_window_begins_with_the_first_and_a_new_one_after_it(at):
    for _ in range(4):
        ask()
    at(WITHIN_S)
    assert [ask() for _ in range(4)] == [0, 0, 0, WITHIN_S]


@pytest.mark.django_db
def test_a_clock_that_was_set_back_locks_nobody_out(at):
    for _ in range(4):
        ask()
    at(-7200)
    assert ask() == 0


@pytest.mark.django_db
def test_a_host_whose_clock_is_behind_begins_no_new_window(at):
    for _ in range(3):
        ask()
    at(-2)
    assert ask() == WITHIN_S + 2


@pytest.mark.django_db
def test_everybody_and_everything_is_counted_by_itself(at):
    for _ in range(4):
        ask()
    assert ask("somebody else") == 0
    assert ask(what="other") == 0


@pytest.mark.django_db
def test_business_time_opens_no_window(at, monkeypatch):
    """An exercise that runs a thousand times faster, or jumps a day."""
    for _ in range(4):
        ask()
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(days=30))
    assert ask() > 0


@pytest.mark.django_db
def test_what_is_kept_names_nobody_and_does_not_stay(at):
    ask("192.0.2.7")
    row = RateCount.objects.get()
    assert len(row.key) == 64
    assert "192.0.2.7" not in row.key
    at(rates.LONGEST_WINDOW_S)
    ask("192.0.2.8")
    assert RateCount.objects.count() == 1


@pytest.mark.django_db
def test_the_hash_is_of_no_use_without_the_key_of_the_shop(at, settings):
    ask()
    settings.SECRET_KEY = "another key of the same length, for this test only, as good"
    ask()
    assert RateCount.objects.count() == 2


@pytest.mark.django_db
def test_one_statement_counts(at, django_assert_num_queries):
    ask()
    with django_assert_num_queries(1):
        ask()


def test_a_window_that_would_be_cleared_too_early_is_refused():
    with pytest.raises(ValueError, match="cleared before it ends"):
        rates.seconds_to_wait("test", "somebody", most=1, within_s=rates.LONGEST_WINDOW_S + 1)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_counted_exactly():
    """On connections of their own, as those of other processes are."""
    most, threads, each = 50, 8, 20
    passed: list[int] = []
    failures: list[Exception] = []
    start = threading.Barrier(threads)

    def work() -> None:
        try:
            start.wait()
            passed.extend(ask(most=most) for _ in range(each))
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failures
    assert len(passed) == threads * each
    assert passed.count(0) == most


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("", "", True),
    ],
)
def test_a_household_is_one_client(rf, one, other, are_one):
    clients = {limits.client_of(rf.get("/", REMOTE_ADDR=address)) for address in (one, other)}
    assert (len(clients) == 1) is are_one


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("198.51.100.4:5001", "198.51.100.4"),
        ("203.0.113.9, 198.51.100.4:5002", "198.51.100.4"),
        ("[2001:db8::7]:5001", "2001:db8::/64"),
        ("[2001:db8::7]", "2001:db8::/64"),
        ("2001:db8::7", "2001:db8::/64"),
        ("unknown", "192.0.2.1"),
        ("unix:", "192.0.2.1"),
        ("", "192.0.2.1"),
    ],
)
def test_the_port_of_a_connection_makes_no_other_client(rf, settings, hops, client):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    request = rf.get("/", REMOTE_ADDR="192.0.2.1", headers={"X-Forwarded-For": hops})
    assert limits.client_of(request) == client


def test_only_our_own_proxy_is_believed(rf, settings):
    said = {"REMOTE_ADDR": "192.0.2.1", "headers": {"X-Forwarded-For": "203.0.113.9, 198.51.100.4"}}
    assert limits.client_of(rf.get("/", **said)) == "192.0.2.1"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert limits.client_of(rf.get("/", **said)) == "198.51.100.4"
