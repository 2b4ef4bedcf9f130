"""The outbox: nothing lost, retries as new rows, dead letters that stay visible, and a bell that may be missing."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from celery import current_app
from django.db import connection, transaction

from authorization import clock, outbox
from authorization.models import OutboxRow

DONE: list[dict] = []
FAIL_UNTIL_ATTEMPT = 0


def note(*, payload, event_id, at):
    DONE.append(payload)


def fail_at_first(*, payload, event_id, at):
    attempt = OutboxRow.objects.filter(event_id=event_id, handler__endswith="fail_at_first").count()
    if attempt <= payload["failures"]:
        raise RuntimeError(f"attempt {attempt} fails")
    DONE.append(payload)


@pytest.fixture(autouse=True)
def handlers(settings):
    DONE.clear()
    settings.OUTBOX_HANDLERS = {
        "noted": [f"{__name__}.note"],
        "twice": [f"{__name__}.note", f"{__name__}.note_again"],
        "shaky": [f"{__name__}.fail_at_first"],
        "unknown": ["tests.nowhere.handler"],
    }


def note_again(*, payload, event_id, at):
    DONE.append({"again": True})


def announce(event, payload=None, **more):
    with transaction.atomic():
        return outbox.announce(event=event, payload=payload or {}, at=clock.now(), **more)


def lapse():
    """Every lease has run out."""
    past = outbox._machine_now() - timedelta(seconds=1)
    OutboxRow.objects.filter(claimed_until__isnull=False).update(claimed_until=past)


def later(seconds):
    return lambda: clock.now() + timedelta(seconds=seconds)


@pytest.mark.django_db
def test_each_reaction_has_its_own_row_and_the_event_stays_for_readers():
    event_id = announce("twice", {"n": 1})
    assert sorted(OutboxRow.objects.filter(event_id=event_id).values_list("handler", flat=True)) == [
        "", f"{__name__}.note", f"{__name__}.note_again",
    ]  # fmt: skip
    assert outbox.pump() == 2
    assert DONE == [{"n": 1}, {"again": True}]
    assert outbox.pump() == 0


@pytest.mark.django_db
def test_work_that_is_not_due_waits():
    announce("noted", due_at=clock.now() + timedelta(hours=1))
    assert outbox.pump() == 0
    assert outbox.pump(at=later(3601)) == 1


@pytest.mark.django_db
def test_a_failed_attempt_is_closed_and_the_next_is_a_new_row_due_later():
    event_id = announce("shaky", {"failures": 1})
    outbox.pump()
    first, second = OutboxRow.objects.filter(event_id=event_id).exclude(handler="").order_by("id")
    assert first.failed_at is not None
    assert "attempt 1 fails" in first.last_error
    assert second.attempt == 2
    assert second.due_at > clock.now()
    assert not DONE
    outbox.pump(at=later(60))
    assert DONE == [{"failures": 1}]


@pytest.mark.django_db
def test_after_the_last_attempt_it_is_dead_and_stays_to_be_seen():
    event_id = announce("shaky", {"failures": 99})
    for attempt in range(1, len(outbox.BACKOFF_S) + 3):
        outbox.pump(at=later(attempt * 10**6))
    rows = OutboxRow.objects.filter(event_id=event_id).exclude(handler="")
    assert rows.count() == len(outbox.BACKOFF_S) + 1
    assert rows.filter(is_dead=True).count() == 1
    assert not rows.filter(done_at__isnull=True, failed_at__isnull=True).exists()


@pytest.mark.django_db
def test_a_handler_that_cannot_be_found_holds_up_nobody():
    announce("unknown")
    announce("noted", {"n": 2})
    outbox.pump()
    assert DONE == [{"n": 2}]
    assert OutboxRow.objects.filter(event="unknown", failed_at__isnull=False).count() == 1


@pytest.mark.django_db
def test_what_a_dead_worker_claimed_is_done_when_its_lease_ends():
    announce("noted", {"n": 3})
    (row,) = outbox._look(clock.now())
    assert outbox._claim(row)
    assert outbox.pump() == 0, "claimed by the worker that then died"
    lapse()
    assert outbox.pump() == 0, "the death counts as an attempt"
    assert outbox.pump(at=later(60)) == 1


@pytest.mark.django_db
def test_a_row_that_kills_its_workers_is_given_up_in_the_end():
    event_id = announce("noted")
    for day in range(1, len(outbox.BACKOFF_S) + 3):
        at = later(day * 86_400)
        assert all(outbox._claim(row) for row in outbox._look(at()))
        lapse()
        # Another worker finds the lease run out.
        assert outbox.pump(at=at) == 0
    rows = OutboxRow.objects.filter(event_id=event_id).exclude(handler="")
    assert rows.filter(is_dead=True).count() == 1
    assert not DONE


@pytest.mark.django_db
def test_who_has_lost_the_lease_does_not_work():
    announce("noted")
    (row,) = outbox._look(clock.now())
    assert outbox._claim(row)
    row.claimed_until = outbox._machine_now() - timedelta(seconds=1)
    assert outbox._work(row, clock.now()) is None
    assert not DONE


@pytest.mark.django_db
def test_a_rolled_back_change_announces_nothing():
    with transaction.atomic():
        outbox.announce(event="noted", payload={}, at=clock.now())
        transaction.set_rollback(True)
    assert not OutboxRow.objects.exists()


@pytest.mark.django_db
def test_a_broker_that_is_down_costs_nothing(monkeypatch, django_capture_on_commit_callbacks):
    rung = []

    def refuse(*_, **__):
        rung.append(1)
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(current_app, "send_task", refuse)
    monkeypatch.setattr(outbox._moments, "silent_until", 0.0)
    with django_capture_on_commit_callbacks(execute=True) as bells:
        announce("noted", {"n": 4})
    assert len(bells) == 1
    assert outbox.pump() == 1
    outbox.ring()
    assert len(rung) == 1, "and it is not asked again by every request that follows"


@pytest.mark.django_db
def test_one_transaction_rings_once(monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setattr(current_app, "send_task", lambda *_, **__: None)
    with django_capture_on_commit_callbacks() as bells, transaction.atomic():
        for number in range(3):
            outbox.announce(event="noted", payload={"n": number}, at=clock.now())
    assert len(bells) == 1


@pytest.mark.django_db
def test_a_handler_made_twice_by_a_lost_answer_is_one_row_per_attempt():
    event_id = uuid4()
    announce("noted", event_id=event_id)
    row = OutboxRow.objects.exclude(handler="").get()
    outbox._retry_later(row, clock.now(), RuntimeError("once"))
    outbox._retry_later(row, clock.now(), RuntimeError("the same attempt, told twice"))
    assert OutboxRow.objects.exclude(handler="").count() == 2


@pytest.mark.django_db
def test_positions_have_no_gaps_and_are_given_once():
    for number in range(5):
        announce("noted", {"n": number})
    outbox.stamp_positions()
    announce("noted", {"n": 5})
    outbox.stamp_positions()
    outbox.stamp_positions()
    events = OutboxRow.objects.filter(handler="").order_by("position")
    assert [row.position for row in events] == [1, 2, 3, 4, 5, 6]
    assert [row.payload["n"] for row in events] == [0, 1, 2, 3, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_two_pumps_at_once_do_each_row_once():
    for number in range(60):
        announce("noted", {"n": number})

    def pump():
        try:
            outbox.pump()
        finally:
            connection.close()

    threads = [threading.Thread(target=pump) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(payload["n"] for payload in DONE) == list(range(60))


@pytest.mark.django_db
def test_the_age_of_the_oldest_open_row():
    assert outbox.oldest_open_age_s(clock.now()) is None
    announce("noted")
    age_s = outbox.oldest_open_age_s(clock.now() + timedelta(seconds=90))
    assert age_s is not None
    assert 89 < age_s < 100
