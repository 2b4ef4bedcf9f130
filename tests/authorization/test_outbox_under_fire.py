"""The outbox when things break: stopped workers, clocks set back, crowded lanes, dead letters, a full broker."""

import threading
import time
from collections import Counter
from datetime import timedelta
from random import Random

import pytest
from celery import current_app
from django.db import OperationalError, connection, connections, transaction
from redis.exceptions import OutOfMemoryError, ResponseError

from authorization import clock, fence, outbox, reconciler, tasks, waker
from authorization.actors import SYSTEM, Actor
from authorization.models import LedgerEntry, OutboxRow

DESK = Actor("user", "desk")
DONE: list[str] = []


def chunk(*, payload, event_id, at):
    DONE.append("chunk")


def reaction(*, payload, event_id, at):
    DONE.append("reaction")


def fails(*, payload, event_id, at):
    raise RuntimeError("mail server says no")


def stands_still(*, payload, event_id, at):
    """Stopped in the middle for longer than its lease; meanwhile another worker looks, and does the work."""
    DONE.append("slow")
    if len(DONE) > 1:
        return
    past = outbox._machine_now() - timedelta(seconds=1)
    OutboxRow.objects.filter(claimed_until__isnull=False).update(claimed_until=past)
    assert outbox.pump() == 0
    assert outbox.pump(at=later(60)) == 1, "the other did it as the next attempt"


def another_stands_still_and_fails(*, payload, event_id, at):
    is_first = not DONE
    stands_still(payload=payload, event_id=event_id, at=at)
    if is_first:
        raise RuntimeError("too late")


def database_goes_away(*, payload, event_id, at):
    raise OperationalError("server closed the connection unexpectedly")


@pytest.fixture(autouse=True)
def handlers(settings):
    DONE.clear()
    settings.OUTBOX_HANDLERS = {
        event: [f"{__name__}.{handler}"]
        for event, handler in {
            "chunk": "chunk", "reaction": "reaction", "fails": "fails", "slow": "stands_still",
            "slow and fails": "another_stands_still_and_fails", "away": "database_goes_away",
        }.items()
    }  # fmt: skip


@pytest.fixture(autouse=True)
def no_bell(monkeypatch):
    monkeypatch.setattr(current_app, "send_task", lambda *_, **__: None)


def announce(event, **more):
    with transaction.atomic():
        return outbox.announce(event=event, payload={}, at=more.pop("at", clock.now()), **more)


def later(seconds):
    return lambda: clock.now() + timedelta(seconds=seconds)


def work():
    return OutboxRow.objects.exclude(handler="")


def give_up(event="fails"):
    announce(event)
    for attempt in range(1, outbox.SERIES + 1):
        outbox.pump(at=later(attempt * 10**6))
    return outbox.dead_letters().get()


# --- lanes ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_thousand_chunks_do_not_stand_before_a_reaction(monkeypatch):
    at = clock.now()
    for _ in range(200):
        announce("chunk", at=at - timedelta(minutes=5))
    announce("reaction", at=at)
    # A chunk takes longer than a look, as on a busy machine.
    monkeypatch.setattr(outbox, "LOOK_S", -1.0)
    monkeypatch.setattr(outbox, "PUMP_S", 0.5)
    outbox.pump()
    assert "reaction" in DONE[:2], "it came last and was due last"
    assert DONE.count("chunk") > 1, "and the chunks go on"


def test_the_lane_that_was_worked_on_least_is_next():
    turns = outbox._Turns()
    rows = [OutboxRow(id=n, handler=name, due_at=clock.now()) for n, name in enumerate("mmmmcccc")]
    order: list[str] = []
    # A mail takes ten seconds, a chunk a third of one.
    for _ in range(120):
        handler = turns.in_order(rows)[0].handler
        order.append(handler)
        turns.spend(handler, 10.0 if handler == "m" else 0.33)
    assert 2 <= Counter(order)["m"] <= 4, "as much time as the chunks"
    assert "m" in order[:3]


@pytest.mark.django_db
def test_a_look_costs_one_statement_whatever_waits(django_assert_num_queries):
    for _ in range(50):
        announce("chunk", due_at=clock.now() + timedelta(days=1))
        announce("reaction")
    with django_assert_num_queries(1):
        rows = outbox._look(clock.now())
    assert {row.handler for row in rows} == {f"{__name__}.reaction"}
    assert len(rows) == outbox.LOOK
    assert [row.pk for row in rows] == sorted(row.pk for row in rows)


@pytest.mark.django_db(transaction=True)
def test_workers_do_each_row_once_however_they_are_shuffled(monkeypatch):
    for number in range(120):
        announce(Random(number).choice(["chunk", "reaction"]))
    look = outbox._look

    def shuffled(at):
        rows = look(at)
        # Delivered twice, in any order.
        rows += rows
        Random(len(DONE)).shuffle(rows)
        return rows

    monkeypatch.setattr(outbox, "_look", shuffled)
    monkeypatch.setattr(outbox._Turns, "in_order", lambda _, rows: list(rows))
    failures = []

    def pump():
        try:
            outbox.pump()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=pump) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(DONE) == 120
    assert not work().filter(done_at__isnull=True).exists()


# --- leases -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_worker_that_stood_still_past_its_lease_marks_nothing_done_that_another_took_over():
    announce("slow")
    assert outbox.pump() == 0, "what it did is not its own any more"
    first, second = work().order_by("id")
    assert (first.done_at, second.attempt) == (None, 2)
    assert first.failed_at is not None
    assert second.done_at is not None
    assert DONE == ["slow", "slow"], "at least once: its handler sees to it that twice does no harm"


@pytest.mark.django_db
def test_a_worker_that_stood_still_and_then_failed_makes_no_attempt_of_its_own():
    announce("slow and fails")
    outbox.pump()
    assert [row.attempt for row in work().order_by("id")] == [1, 2]


@pytest.mark.django_db
def test_who_dies_keeps_nobody_elses_work():
    for _ in range(5):
        announce("reaction")
    rows = outbox._look(clock.now())
    assert outbox._claim(rows[0])
    assert not outbox._claim(OutboxRow(pk=rows[0].pk)), "claimed once"
    assert outbox.pump() == 4


class Killed(BaseException):
    """As by kill -9: no handler of errors sees it."""


@pytest.mark.django_db(transaction=True)
def test_who_dies_between_the_work_and_its_mark_leaves_it_to_be_done_again(monkeypatch):
    for _ in range(3):
        announce("reaction")
    claim, claimed = outbox._claim, []

    def dies_at_the_second(row: OutboxRow) -> bool:
        claimed.append(row.pk)
        if len(claimed) == 2:
            raise Killed
        return claim(row)

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_claim", dies_at_the_second)
        with pytest.raises(Killed):
            outbox.pump()
    assert not work().filter(done_at__isnull=False).exists(), "the first was worked on, and not marked"
    assert outbox.pump() == 2, "the others were free all the while"
    work().filter(done_at__isnull=True).update(claimed_until=outbox._machine_now() - timedelta(seconds=1))
    assert outbox.pump() == 0, "the death counts as an attempt"
    assert outbox.pump(at=later(60)) == 1
    assert len(DONE) == 4


@pytest.mark.django_db
def test_each_of_a_look_is_marked_and_counted():
    for _ in range(3):
        announce("reaction")
    assert outbox.pump() == 3
    assert not work().filter(done_at__isnull=True).exists()
    assert not work().filter(claimed_until__isnull=False).exists()


@pytest.mark.django_db
def test_a_lease_from_before_the_machines_clock_was_set_back_runs_out_all_the_same():
    announce("reaction")
    far = outbox._machine_now() + timedelta(hours=1)
    work().update(claimed_until=far)
    assert outbox.pump() == 0
    assert outbox.pump(at=later(60)) == 1


# --- clocks -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_falls_due_by_a_jump_is_done_at_once_and_in_order():
    at = clock.now()
    for days in (3, 1, 2):
        announce("reaction", due_at=at + timedelta(days=days))
    assert outbox.pump() == 0
    assert outbox.pump(at=later(4 * 86_400)) == 3
    due = list(work().order_by("done_at", "id").values_list("due_at", flat=True))
    assert len(set(due)) == 3


@pytest.mark.django_db
def test_a_clock_that_is_set_back_keeps_no_withdrawal_waiting_and_does_nothing_twice():
    with transaction.atomic():
        at = clock.now()
        fence.exclusive(by=SYSTEM, reason="a withdrawal", at=at)
        outbox.announce(event="reaction", payload={}, at=at)
    back = later(-3600)
    assert outbox.pump(at=back) == 1, "due by the newest revision, whatever the clock says"
    assert outbox.pump(at=back) == 0
    assert outbox.pump() == 0


@pytest.mark.django_db
def test_a_clock_that_is_set_back_delays_what_is_due_later_and_loses_nothing():
    announce("reaction", due_at=clock.now() + timedelta(seconds=10))
    assert outbox.pump(at=later(-3600)) == 0
    assert outbox.pump(at=later(11)) == 1


# --- dead letters -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_dead_letter_alarms_and_is_counted(monkeypatch):
    alarms = []
    monkeypatch.setattr(outbox.logger, "error", lambda event, **fields: alarms.append((event, fields)))
    row = give_up()
    ((event, told),) = alarms
    assert event == "outbox.dead_letter"
    assert (told["row"], told["handler"], told["attempt"]) == (row.pk, f"{__name__}.fails", outbox.SERIES)
    assert "mail server says no" in told["error"]
    assert outbox.dead_letters().count() == 1


@pytest.mark.django_db
def test_a_retried_letter_has_a_whole_series_of_attempts_again(settings):
    row = give_up()
    at = clock.now()
    retried = outbox.retry_dead(row=row, by=DESK, at=at)
    assert (retried.attempt, retried.due_at, retried.event_id) == (outbox.SERIES + 1, at, row.event_id)
    assert not outbox.dead_letters().exists()
    entry = LedgerEntry.objects.get(act="outbox.retried")
    assert (entry.actor, entry.subject_id) == ("user:desk", str(row.pk))
    with pytest.raises(outbox.NotDead):
        outbox.retry_dead(row=row, by=DESK, at=at)
    for attempt in range(1, outbox.SERIES + 1):
        outbox.pump(at=later(100 * 10**6 + attempt * 10**6))
    assert outbox.dead_letters().get().attempt == 2 * outbox.SERIES


@pytest.mark.django_db
def test_a_retried_letter_that_succeeds_is_done(settings):
    row = give_up()
    outbox.retry_dead(row=row, by=DESK, at=clock.now())
    OutboxRow.objects.filter(done_at__isnull=True, failed_at__isnull=True).exclude(handler="").update(
        handler=f"{__name__}.reaction"
    )
    assert outbox.pump() == 1
    assert not outbox.dead_letters().exists()


@pytest.mark.django_db
def test_a_dismissed_letter_keeps_the_reason():
    row = give_up()
    with pytest.raises(ValueError, match="reason is kept"):
        outbox.dismiss_dead(row=row, by=DESK, at=clock.now(), reason=" ")
    outbox.dismiss_dead(row=row, by=DESK, at=clock.now(), reason="told by telephone")
    assert not outbox.dead_letters().exists()
    assert LedgerEntry.objects.get(act="outbox.dismissed").reason == "told by telephone"
    assert outbox.pump(at=later(10**8)) == 0
    announce("reaction")
    with pytest.raises(outbox.NotDead):
        outbox.dismiss_dead(row=work().latest("id"), by=DESK, at=clock.now(), reason="it is not dead")


# --- positions and what is kept ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_many_events_are_stamped_in_a_few_statements_without_gap_or_repetition(
    monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setattr(outbox, "STAMPED_AT_ONCE", 1000)
    with transaction.atomic():
        outbox.announce_many(event="listing.suspended", payloads=[{}] * 2500, at=clock.now())
    with django_assert_max_num_queries(3 * 5 + 1):
        assert outbox.stamp_positions() == 2500
    announce("reaction")
    assert outbox.stamp_positions() == 1
    rows = OutboxRow.objects.filter(handler="").order_by("id").values_list("position", flat=True)
    assert list(rows) == list(range(1, 2502))


@pytest.mark.django_db
def test_what_is_old_and_settled_is_deleted_and_nothing_else():
    now = clock.now()
    old = now - timedelta(days=31)
    dead = give_up()
    OutboxRow.objects.all().update(created_at=old, due_at=old)
    work().filter(pk=dead.pk).update(failed_at=old)
    announce("reaction", at=old)
    outbox.pump(at=lambda: old)
    announce("reaction", at=old, due_at=now + timedelta(days=5))
    announce("reaction")
    outbox.pump()
    newest = OutboxRow.objects.order_by("-position").exclude(position=None)[0].position
    assert newest is not None
    kept_work = set(
        work().filter(done_at__isnull=True).exclude(failed_at__lt=now - outbox.KEPT).values_list("pk")
    )
    deleted = outbox.prune(at=now)
    assert deleted > 0
    assert outbox.dead_letters().get() == dead, "somebody must still look at it"
    assert kept_work <= set(work().values_list("pk"))
    assert work().filter(done_at__isnull=True, failed_at__isnull=True).count() == 1
    assert outbox.prune(at=now) == 0
    # A shop in which nothing happens for a month: the next position still follows the last.
    outbox.prune(at=now + timedelta(days=400))
    outbox.prune(at=now + timedelta(days=400))
    announce("reaction")
    outbox.stamp_positions()
    assert OutboxRow.objects.filter(handler="").order_by("-id")[0].position == newest + 1


# --- what may be away -------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
    ],
)
def test_a_broker_whose_disk_is_full_costs_a_warning(error, monkeypatch, django_capture_on_commit_callbacks):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(current_app, "send_task", full)
    monkeypatch.setattr(outbox._moments, "silent_until", 0.0)
    with django_capture_on_commit_callbacks(execute=True):
        announce("reaction")
    assert outbox.pump() == 1


@pytest.mark.django_db
def test_a_database_that_restarts_ends_the_task_and_not_the_worker(monkeypatch):
    def away():
        raise OperationalError("the database system is shutting down")

    monkeypatch.setattr(outbox, "pump", away)
    tasks.pump_outbox()
    monkeypatch.setattr(outbox, "pump", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tasks.pump_outbox()


@pytest.mark.django_db
def test_a_handler_whose_database_went_away_is_tried_again():
    announce("away")
    outbox.pump()
    assert work().get(attempt=2).due_at > clock.now()


@pytest.mark.django_db(transaction=True)
def test_a_session_that_the_database_ended_is_replaced_by_the_next_bell():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no sessions to end.")
    announce("reaction")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    tasks.pump_outbox()
    assert DONE == []
    tasks.pump_outbox()
    assert DONE == ["reaction"]


# --- waking without a bell --------------------------------------------------------------------------------------


@pytest.fixture
def no_rounds(monkeypatch):
    monkeypatch.setattr(reconciler, "reconcile_if_late", lambda: None)
    monkeypatch.setattr(connections, "close_all", lambda: None)


@pytest.mark.django_db
def test_a_worker_that_nobody_rings_looks_for_itself(monkeypatch, no_rounds):
    announce("reaction")
    monkeypatch.setattr(outbox._moments, "pumped_at", time.monotonic())
    waker.wake()
    assert not DONE, "a bell has just come"
    monkeypatch.setattr(outbox._moments, "pumped_at", time.monotonic() - waker.WAKE_S)
    waker.wake()
    assert DONE == ["reaction"]


def test_a_waker_survives_whatever_fails_and_stops_when_told(monkeypatch, no_rounds):
    looked = threading.Event()

    def broken():
        looked.set()
        raise OperationalError("no database")

    monkeypatch.setattr(waker, "WAKE_S", 0.01)
    monkeypatch.setattr(outbox, "idle_s", lambda: 1.0)
    monkeypatch.setattr(outbox, "pump", broken)
    thread = waker.Waker()
    thread.start()
    assert looked.wait(10)
    looked.clear()
    assert looked.wait(10), "it looks again"
    thread.stop()
    assert not thread.is_alive()
