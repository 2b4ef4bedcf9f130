"""The rules of the fence, one by one. Races of many buyers are in tests/flows/test_fence_race.py."""

import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from authorization import clock, decisions, evaluator, fence, outbox, revocations
from authorization.actors import Actor
from authorization.fence import FenceMisuse
from authorization.models import Revision
from authorization.revocations import RevokeAgreement
from seeds.factories import make_sellable
from tests.authorization.threads import in_thread

BY = Actor("user", "desk")
on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'",
    reason="SQLite has one writer at a time: the fence is the transaction itself",
)


def write_revision(at=None):
    with transaction.atomic():
        return fence.exclusive(by=BY, reason="test", at=at or clock.now())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "take", [fence.shared, lambda: fence.exclusive(by=BY, reason="test", at=clock.now())]
)
def test_refused_outside_a_transaction(take):
    with pytest.raises(FenceMisuse, match="autocommit"):
        take()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "take", [fence.shared, lambda: fence.exclusive(by=BY, reason="test", at=clock.now())]
)
def test_refused_inside_a_savepoint(take):
    with transaction.atomic(), transaction.atomic(), pytest.raises(FenceMisuse, match="savepoint"):
        take()


@pytest.mark.django_db
def test_no_upgrade_from_shared_to_exclusive():
    with transaction.atomic():
        fence.shared()
        with pytest.raises(FenceMisuse, match="upgrade"):
            fence.exclusive(by=BY, reason="test", at=clock.now())


@pytest.mark.django_db
def test_it_is_held_until_the_transaction_ends_and_no_longer():
    assert not fence.is_held()
    with transaction.atomic():
        fence.shared()
        assert fence.is_held()
    assert not fence.is_held()
    with transaction.atomic():
        assert not fence.is_held(), "a later transaction has to take it again"


@pytest.mark.django_db
def test_nothing_slow_inside():
    with transaction.atomic():
        fence.shared()
        with pytest.raises(FenceMisuse, match="mail"):
            fence.refuse_inside("mail")
        with pytest.raises(FenceMisuse, match="bell"):
            outbox.ring()
    fence.refuse_inside("mail")


@pytest.mark.django_db
def test_revisions_are_strictly_ordered_even_when_the_clock_steps_back():
    at = clock.now()
    first, second = write_revision(at), write_revision(at - timedelta(hours=1))
    assert second.n == first.n + 1
    assert second.recorded_at == first.recorded_at + timedelta(microseconds=1)


@pytest.mark.django_db
def test_a_decision_reads_its_revision_before_its_evidence(monkeypatch):
    """A revocation that commits between the two must not lend its number to evidence from before it."""
    world = make_sellable()
    question = decisions.question_for_offer(world.offer)
    find_evidence = evaluator.find_evidence

    def revoked_meanwhile(*arguments, **more):
        change = RevokeAgreement(world.agreement.pk, "AGREEMENT_TERMINATED")
        monkeypatch.setattr(evaluator, "find_evidence", find_evidence)
        now = clock.now()
        digest = revocations.preview(change, at=now).digest
        revocations.execute(
            change, digest=digest, requested_by="maker", word_received_at=now, note="now", by=BY, at=now
        )
        return find_evidence(*arguments, **more)

    monkeypatch.setattr(evaluator, "find_evidence", revoked_meanwhile)
    answer = decisions.decide(question, at=clock.now())
    # Allowed as known before the revocation, and stamped so: the sale will see that the counter has moved.
    assert answer.is_allowed
    assert answer.revision == fence.current_revision() - 1
    assert not decisions.decide(question, at=clock.now()).is_allowed


@pytest.mark.django_db(transaction=True)
def test_the_counter_is_read_after_the_wait_for_the_lock():
    """A sale that waited for a revocation sees its revision."""
    holds, seen = threading.Event(), []
    before = fence.current_revision()

    def sale():
        holds.wait(5)
        with transaction.atomic():
            seen.append(fence.shared())

    thread, failures = in_thread(sale)
    with transaction.atomic():
        revision = fence.exclusive(by=BY, reason="test", at=clock.now())
        holds.set()
        if connection.vendor == "postgresql":
            wait_until_somebody_waits_for_the_fence()
    thread.join(10)
    assert not failures
    assert seen == [revision.n] == [before + 1]


@pytest.mark.django_db(transaction=True)
def test_a_revocation_waits_for_a_sale_that_holds_the_fence():
    order, waiting = [], threading.Event()

    def revoke():
        waiting.set()
        write_revision()
        order.append("revoked")

    with transaction.atomic():
        fence.shared()
        thread, failures = in_thread(revoke)
        waiting.wait(5)
        if connection.vendor == "postgresql":
            wait_until_somebody_waits_for_the_fence()
        order.append("sold")
    thread.join(10)
    assert not failures
    assert order == ["sold", "revoked"]


def wait_until_somebody_waits_for_the_fence():
    deadline = clock.now() + timedelta(seconds=5)
    while clock.now() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("Nobody came to wait for the fence.")


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_only_read_committed_is_accepted():
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(FenceMisuse, match="READ COMMITTED"):
            fence.shared()


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_buyer_that_freezes_inside_is_thrown_out(settings):
    """It holds the fence and does nothing: its session is ended, and the revocation goes through."""
    settings.FENCE_TIMEOUT_MS = 200
    frozen, give_up = threading.Event(), threading.Event()

    def freeze():
        with transaction.atomic():
            fence.shared()
            frozen.set()
            give_up.wait(20)
            Revision.objects.count()

    thread, failures = in_thread(freeze)
    assert frozen.wait(5)
    started = clock.now()
    write_revision()
    waited_s = (clock.now() - started).total_seconds()
    give_up.set()
    thread.join(10)
    assert isinstance(failures[0], DatabaseError)
    assert waited_s < 2, "bounded by the timeout of the fence, not by the buyer"


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_statement_that_takes_too_long_inside_is_ended(settings):
    settings.FENCE_TIMEOUT_MS = 100

    def dawdle():
        with transaction.atomic(), connection.cursor() as cursor:
            fence.shared()
            cursor.execute("SELECT pg_sleep(5)")

    with pytest.raises(DatabaseError, match="statement timeout"):
        dawdle()


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_the_timeouts_end_with_the_transaction(settings):
    settings.FENCE_TIMEOUT_MS = 200
    with transaction.atomic():
        fence.shared()
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        assert cursor.fetchone()[0] == "0"


@pytest.mark.django_db
def test_the_transaction_id_is_taken_under_the_fence():
    with pytest.raises(FenceMisuse), transaction.atomic():
        fence.transaction_id()
    with transaction.atomic():
        fence.shared()
        assert int(fence.transaction_id()) > 0


@pytest.mark.django_db(transaction=True)
def test_an_act_ahead_of_the_clock_is_refused():
    """Every later revision would bear its time, and the shop would decide for a day that has not come."""
    ahead = clock.now() + fence.MAX_AHEAD + timedelta(minutes=1)
    with pytest.raises(fence.FenceMisuse, match="ahead of the shop's clock"), transaction.atomic():
        fence.exclusive(by=BY, reason="test", at=ahead)
