"""Test mode: an organization's own store, with its own clock, where all is real but the goods.

A call with a key of test mode is answered in that store (`entered`), and its workers work in it (`storefront.
test_workers`). No row of it is in the shop's database and none of the shop's in its own: there is nothing to filter by,
and so no filter that could be missing. docs/decisions/0016-test-mode-is-a-database-of-its-own.md says why.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import structlog
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q, QuerySet

from authorization import clock, ledger, outbox
from authorization.actors import Actor
from catalog.models import Organization
from storefront import test_fixtures, test_store_files
from storefront.models import OrganizationKey, TestStore

# Of one advance. Who wants to see more asks again.
LONGEST_ADVANCE = timedelta(days=366)
# Ahead of the shop's clock in all: what is dated from there must still be a date.
FURTHEST = timedelta(days=36_525)
# Noting when a store was used costs a write; once a minute is enough.
USE_NOTED_EVERY = timedelta(minutes=1)
# A store that nobody used for so long is given up; the next call finds a new one.
GIVEN_UP_AFTER = timedelta(days=90)
WORK_TASK = "storefront.work_test_store"


class InvalidAdvance(ValueError):
    """The clock is not moved so. The message says the cure."""


class ClockAdvances(Exception):
    """The clock is on its way already."""


@dataclass(frozen=True)
class TestClock:
    """`advancing_to` is None when it is ready: all that fell due by `now` is done."""

    # pytest collects classes by this name.
    __test__ = False

    now: datetime
    advancing_to: datetime | None


# --- in and out -------------------------------------------------------------------------------------------------


@contextmanager
def entered[P](principal: P) -> Iterator[P]:
    """In here a call with a key of test mode is in its store, as the organization that it is there. Others stay.

    Whatever happens inside, this thread is in the shop again afterwards.
    """
    key = getattr(principal, "key", None)
    if not (isinstance(key, OrganizationKey) and key.is_test):
        yield principal
        return
    store = store_of(key.organization, at=clock.now())
    with inside(store) as organization:
        yield replace(principal, organization=organization)  # type: ignore[type-var]


@contextmanager
def inside(store: TestStore) -> Iterator[Organization]:
    """In here this thread works in the store, on its clock. Gives the organization that it is for, as it is there.

    Whoever wrote in it wakes its workers on leaving, also by an error. Raises RuntimeError inside a transaction.
    """
    writes: list[int] = []
    try:
        with opened(store) as connection:
            writes.append(_writes_on(connection))
            try:
                # The first row of all: its names may have been changed in the shop since.
                yield Organization.objects.order_by("pk")[0]
            finally:
                writes.append(_writes_on(connection))
    finally:
        if len(set(writes)) > 1:
            wake_workers(store, at=clock.now())


@contextmanager
def opened(store: TestStore) -> Iterator[BaseDatabaseWrapper]:
    """As `inside`, for the workers themselves, whom nobody has to wake."""
    organization = store.organization

    def furnish() -> None:
        test_fixtures.furnish(
            kind=organization.kind,
            name=organization.name,
            slug=organization.slug,
            country=organization.country,
            contact_email=organization.contact_email,
            at=clock.now(),
        )

    with (
        structlog.contextvars.bound_contextvars(mode="test"),
        clock.ahead_by(timedelta(seconds=store.ahead_s)),
        test_store_files.opened(store.public_id, furnish) as connection,
    ):
        yield connection


def _writes_on(connection: BaseDatabaseWrapper) -> int:
    """Rows that were written over this connection, as SQLite counts them."""
    return connection.connection.total_changes if connection.connection is not None else -1


def wake_workers(store: TestStore, *, at: datetime) -> None:
    """Something may be due in this store. The row is what the workers go by; the bell only saves them a second."""
    _rows_of(store).update(due_at=at)
    transaction.on_commit(partial(outbox.send_bell, WORK_TASK, store_id=store.pk), robust=True)


# --- stores -----------------------------------------------------------------------------------------------------


def store_of(organization: Organization, *, at: datetime) -> TestStore:
    """The organization's test store. The first call makes its row, and whoever first works in it its file."""
    store, is_new = TestStore.objects.select_related("organization").get_or_create(
        organization=organization, defaults={"made_at": at, "last_used_at": at}
    )
    if not is_new and (store.last_used_at is None or store.last_used_at <= at - USE_NOTED_EVERY):
        TestStore.objects.filter(pk=store.pk).update(last_used_at=at)
        store.last_used_at = at
    return store


def begin_anew(*, store: TestStore, by: Actor, at: datetime) -> TestStore:
    """Another store, as on the first day, on the shop's time. Whoever works in the old one ends its work in it."""
    with transaction.atomic():
        locked = _lock(store)
        locked.public_id, locked.made_at, locked.ahead_s = uuid4(), at, 0.0
        locked.advancing_to = locked.due_at = None
        locked.save(update_fields=["public_id", "made_at", "ahead_s", "advancing_to", "due_at"])
        _record("begun_anew", locked, by, at)
    return locked


def give_up_unused(*, at: datetime) -> int:
    """Forget the stores that nobody used for long. Returns how many; their files go when nobody is in them."""
    return TestStore.objects.filter(
        Q(last_used_at__lt=at - GIVEN_UP_AFTER)
        | Q(last_used_at__isnull=True, made_at__lt=at - GIVEN_UP_AFTER)
    ).delete()[0]


# --- the clock --------------------------------------------------------------------------------------------------


def clock_of(store: TestStore, *, at: datetime) -> TestClock:
    """`at`: of the shop."""
    return TestClock(at + timedelta(seconds=store.ahead_s), store.advancing_to)


def advance_clock(*, store: TestStore, to: datetime, by: Actor, at: datetime) -> TestStore:
    """Let the store's clock move on to `to`; its workers stop at all that falls due on the way. `at`: of the shop.

    Raises InvalidAdvance, ClockAdvances.
    """
    with transaction.atomic():
        locked = _lock(store)
        if locked.advancing_to is not None:
            raise ClockAdvances(
                f"The clock is on its way to {_say(locked.advancing_to)}; wait until it is ready, then move it on."
            )
        now = clock_of(locked, at=at).now
        if to <= now:
            raise InvalidAdvance(
                f"The clock moves forward only, and it is {_say(now)}; take a later instant."
            )
        if to > now + LONGEST_ADVANCE:
            raise InvalidAdvance(
                f"Move it by at most {LONGEST_ADVANCE.days} days at a time: to {_say(now + LONGEST_ADVANCE)}."
            )
        if to > at + FURTHEST:
            raise InvalidAdvance(
                f"The clock goes to {_say(at + FURTHEST)} and no further; begin the test store anew."
            )
        locked.advancing_to = to
        locked.save(update_fields=["advancing_to"])
        _record("clock_advanced", locked, by, at, since=now.isoformat(), to=to.isoformat())
    wake_workers(locked, at=at)
    return locked


def move_on(store: TestStore, to: datetime, *, at: datetime) -> None:
    """It is `to` in this store now. Never earlier than it was: a worker that was overtaken changes nothing."""
    ahead_s = (to - at).total_seconds()
    if _rows_of(store).filter(ahead_s__lt=ahead_s).update(ahead_s=ahead_s):
        store.ahead_s = ahead_s


def be_ready(store: TestStore) -> None:
    """Its clock has arrived, and all is done that fell due."""
    _rows_of(store).filter(advancing_to=store.advancing_to).update(advancing_to=None)
    store.advancing_to = None


def _rows_of(store: TestStore) -> QuerySet[TestStore]:
    """The row, or none if the store was begun anew meanwhile."""
    return TestStore.objects.filter(pk=store.pk, public_id=store.public_id)


def _lock(store: TestStore) -> TestStore:
    return (
        TestStore.objects.select_for_update(no_key=True, of=("self",))
        .select_related("organization")
        .get(pk=store.pk)
    )


def _record(what: str, store: TestStore, by: Actor, at: datetime, **evidence: Any) -> None:
    ledger.record(
        act=f"test_store.{what}",
        subject_kind="test_store",
        subject_id=store.pk,
        by=by,
        at=at,
        evidence={"organization_id": store.organization_id, "store": str(store.public_id), **evidence},
    )


def _say(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
