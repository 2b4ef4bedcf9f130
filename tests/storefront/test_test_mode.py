"""How a thread gets into a test store and out of it again, how its file is made, and who works in it."""

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from django.db import OperationalError, connections, transaction

from authorization import clock, outbox, stores
from authorization.actors import Actor
from authorization.models import AgreementVersion, OutboxRow
from catalog.models import ListingHost, Organization, Variant
from seeds.factories import OrganizationFactory
from storefront import accounts, events, test_fixtures, test_mode, test_store_files, test_workers, webhooks
from storefront.models import TestStore, WebhookDelivery
from tests.authorization.threads import in_thread
from tests.storefront.receiver import listening

pytestmark = pytest.mark.django_db
BY = Actor("user", "desk")


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    rung: list[dict[str, Any]] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda name, kwargs, **_: rung.append({name: kwargs}))
    return rung


def make_store(kind: str = Organization.Kind.VENDOR) -> TestStore:
    return test_mode.store_of(OrganizationFactory.create(kind=kind), at=clock.now())


make_store.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def store() -> TestStore:
    return make_store()


# --- in and out -------------------------------------------------------------------------------------------------


def test_inside_all_is_the_stores_and_outside_all_is_the_shops(store: TestStore) -> None:
    shop = connections["default"]
    vendor = store.organization
    TestStore.objects.filter(pk=store.pk).update(ahead_s=3600)
    store.refresh_from_db()
    with test_mode.inside(store) as organization:
        assert stores.is_test()
        assert connections["default"].vendor == "sqlite"
        assert (organization.slug, organization.pk) == (vendor.slug, 1)
        assert not TestStore.objects.exists()
        ahead = clock.now() - clock.machine_now()
        assert timedelta(minutes=59) < ahead < timedelta(minutes=61)
        assert structlog.contextvars.get_contextvars()["mode"] == "test"
        Organization.objects.filter(pk=1).update(country="US")
    assert connections["default"] is shop
    assert not stores.is_test()
    assert abs(clock.now() - clock.machine_now()) < timedelta(seconds=1)
    assert "mode" not in structlog.contextvars.get_contextvars()
    vendor.refresh_from_db()
    assert vendor.country == ""


class Broken(Exception):
    pass


@pytest.mark.parametrize("where", ["outside of a transaction", "in a transaction", "of the database"])
def test_a_failure_inside_leads_back_into_the_shop(store: TestStore, where: str) -> None:
    shop = connections["default"]

    def fail() -> None:
        if where == "of the database":
            connections["default"].cursor().execute("SELECT * FROM no_such_table")
        with transaction.atomic():
            Organization.objects.filter(pk=1).update(country="DE")
            if where == "in a transaction":
                raise Broken
        raise Broken

    with pytest.raises((Broken, OperationalError)), test_mode.inside(store):
        fail()
    assert connections["default"] is shop
    assert not stores.is_test()
    assert abs(clock.now() - clock.machine_now()) < timedelta(seconds=1)
    # And the shop's own transaction, which a test case wraps around it all, is as it was.
    assert TestStore.objects.filter(pk=store.pk).exists()
    with test_mode.inside(store) as organization:
        assert organization.country == ("DE" if where == "outside of a transaction" else "")


def test_a_store_is_not_entered_from_a_transaction_or_from_another_store(store: TestStore) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="transaction"), test_mode.inside(store):
        pass
    other = make_store()
    with test_mode.inside(store):
        with pytest.raises(RuntimeError, match="already"), test_mode.inside(other):
            pass
        assert stores.is_test()
    assert not stores.is_test()


def test_other_threads_stay_where_they_are(store: TestStore) -> None:
    seen: list[Any] = []
    with test_mode.inside(store):
        ahead = clock.ahead_by(timedelta(days=1))
        with ahead:
            thread, failures = in_thread(
                lambda: seen.append(
                    (stores.is_test(), clock.now() - clock.machine_now() < timedelta(seconds=1))
                )
            )
            thread.join()
    assert not failures
    assert seen == [(False, True)]


def test_whoever_writes_wakes_the_workers_of_that_store_and_whoever_reads_does_not(
    store: TestStore, no_bells: list[dict[str, Any]], django_capture_on_commit_callbacks: Any
) -> None:
    def due() -> Any:
        return TestStore.objects.values_list("due_at", flat=True).get(pk=store.pk)

    with test_mode.inside(store):
        assert Variant.objects.exists()
    assert due() is None

    def write_and_fail() -> None:
        with transaction.atomic():
            outbox.announce(event="reconcile.due", payload={}, at=clock.now())
        raise Broken

    with django_capture_on_commit_callbacks(execute=True), pytest.raises(Broken), test_mode.inside(store):
        write_and_fail()
    assert due() is not None
    assert no_bells == [{"storefront.work_test_store": {"store_id": store.pk}}]


# --- files ------------------------------------------------------------------------------------------------------


def test_those_who_come_at_once_find_one_store() -> None:
    public_id, made, seen = uuid4(), [], []
    together = threading.Barrier(4)

    def furnish() -> None:
        made.append(threading.get_ident())
        test_fixtures.furnish(
            kind="vendor", name="One", slug="one", country="", contact_email="", at=clock.now()
        )

    def come() -> None:
        together.wait(10)
        with test_store_files.opened(public_id, furnish):
            seen.append(Organization.objects.count())

    threads = [in_thread(come) for _ in range(4)]
    for thread, failures in threads:
        thread.join()
        assert not failures
    assert len(made) == 1
    assert len(set(seen)) == 1
    assert not list(Path(str(folder())).glob(f"{public_id}*.draft*"))


def folder() -> Path:
    return test_store_files._folder()


def test_a_store_that_cannot_be_furnished_is_not_there() -> None:
    public_id = uuid4()

    def fail() -> None:
        Organization.objects.create(kind="vendor", name="One", slug="one", created_at=clock.now())
        raise Broken

    with pytest.raises(Broken), test_store_files.opened(public_id, fail):
        pass
    assert not test_store_files.exists(public_id)
    assert not list(folder().glob(f"{public_id}*"))
    assert not stores.is_test()


def test_a_store_of_an_earlier_release_is_migrated_by_who_opens_it(store: TestStore) -> None:
    with test_mode.inside(store):
        cursor = connections["default"].cursor()
        cursor.execute("DELETE FROM django_migrations WHERE app = 'storefront' AND name >= '0007'")
        assert cursor.rowcount == 3
        for table in ("storefront_countedsweep", "storefront_proofpart"):
            cursor.execute(f"DROP TABLE {table}")
        cursor.execute("PRAGMA user_version = 1")
    with test_mode.inside(store):
        cursor = connections["default"].cursor()
        cursor.execute("SELECT COUNT(*) FROM django_migrations WHERE app = 'storefront' AND name >= '0007'")
        assert cursor.fetchone() == (3,)
        cursor.execute("PRAGMA user_version")
        assert cursor.fetchone() == (test_store_files._version(),)


def test_files_of_no_store_go_when_nobody_can_be_in_them(store: TestStore) -> None:
    with test_mode.inside(store):
        pass
    old = store.public_id
    anew = test_mode.begin_anew(store=store, by=BY, at=clock.now())
    # Somebody may have been in it when it was begun anew.
    test_workers.tidy(at=clock.now())
    assert test_store_files.exists(old)
    for path in folder().glob("*.sqlite3"):
        hours_ago = clock.machine_now().timestamp() - 2 * 3600
        os.utime(path, (hours_ago, hours_ago))
    with test_mode.inside(anew):
        pass
    test_workers.tidy(at=clock.now())
    assert not test_store_files.exists(old)
    assert test_store_files.exists(anew.public_id)


def test_a_broken_file_keeps_no_other_store_from_being_tidied(store: TestStore) -> None:
    other = make_store()
    for each in (store, other):
        with test_mode.inside(each) as organization:
            outbox.announce(event="listing.updated", payload={"vendor_id": organization.pk}, at=clock.now())
    (folder() / f"{store.public_id}.sqlite3").write_bytes(b"no database" * 1000)
    test_workers.tidy(at=clock.now())
    assert not stores.is_test()
    test_mode.begin_anew(store=store, by=BY, at=clock.now())


def test_a_store_that_nobody_uses_is_given_up(store: TestStore) -> None:
    at = clock.now()
    assert test_mode.give_up_unused(at=at + timedelta(days=89)) == 0
    assert test_mode.give_up_unused(at=at + timedelta(days=91)) == 1
    assert test_mode.store_of(store.organization, at=at).public_id != store.public_id


def test_who_gets_a_key_of_test_mode_finds_the_store_made(
    no_bells: list[dict[str, Any]], django_capture_on_commit_callbacks: Any
) -> None:
    vendor, at = OrganizationFactory.create(), clock.now()
    with django_capture_on_commit_callbacks(execute=True):
        for is_test in (False, True):
            accounts.make_organization_key(
                organization=vendor,
                label="x",
                by=BY,
                at=at,
                expires_at=at + timedelta(days=1),
                is_test=is_test,
            )
    [[(task, told)]] = [rung.items() for rung in no_bells]
    assert task == "storefront.prepare_test_store"
    test_workers.prepare(**told, at=at)
    assert test_store_files.exists(TestStore.objects.get(organization=vendor).public_id)


# --- what is in it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["distributor", "manufacturer"])
def test_distributors_and_manufacturers_find_a_vendor_that_sells_by_their_word(kind: str) -> None:
    with test_mode.inside(make_store(kind)) as organization:
        assert organization.kind == kind
        [offer] = ListingHost.objects.filter(state="LIVE").select_related("listing__vendor")
        agreement = AgreementVersion.objects.current().get(grantee=offer.listing.vendor)
        assert agreement.grantor == organization


def test_an_organization_may_be_called_like_a_fixture() -> None:
    fixture = test_fixtures.MAKERS[0]
    namesake = OrganizationFactory.create(slug=fixture.slug, name=fixture.name)
    with test_mode.inside(test_mode.store_of(namesake, at=clock.now())) as organization:
        assert (organization.slug, organization.kind) == (fixture.slug, "vendor")


# --- workers ----------------------------------------------------------------------------------------------------


def wake(store: TestStore) -> None:
    test_mode.wake_workers(store, at=clock.now())


def test_one_worker_works_in_one_store(store: TestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_store()
    for each in (store, other):
        wake(each)
    visits: list[int] = []

    def work(claimed: TestStore) -> None:
        visits.append(claimed.pk)
        # The bell of one who comes meanwhile, for this store or for another.
        assert not test_workers.visit(store.pk)
        assert not test_workers.visit(other.pk)

    monkeypatch.setattr(test_workers, "_work", work)
    monkeypatch.setattr(test_workers, "_next_due", lambda _: None)
    assert test_workers.work_due() == 2
    assert visits == [store.pk, other.pk]
    assert not TestStore.objects.filter(busy_until__isnull=False).exists()
    # One that was killed keeps the others waiting for its lease.
    TestStore.objects.filter(pk=store.pk).update(busy_until=clock.machine_now() + test_workers.LEASE)
    assert not test_workers.visit(other.pk)
    TestStore.objects.filter(pk=store.pk).update(busy_until=clock.machine_now() - timedelta(seconds=1))
    assert test_workers.visit(other.pk)


def test_a_visit_that_fails_lets_go_and_is_made_again_later(
    store: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise Broken

    wake(store)
    monkeypatch.setattr(test_fixtures, "keep_promises", fail)
    with pytest.raises(Broken):
        test_workers.work_due()
    store.refresh_from_db()
    assert not stores.is_test()
    assert store.busy_until is None
    assert store.due_at is not None
    assert store.due_at > clock.now() + timedelta(seconds=20)


def test_what_is_written_during_a_visit_is_met_by_the_next(
    store: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake(store)
    monkeypatch.setattr(test_workers, "_work", lambda claimed: wake(claimed))
    assert test_workers.visit(store.pk)
    store.refresh_from_db()
    assert store.due_at is not None
    assert store.due_at <= clock.now()


def test_a_store_in_which_nothing_is_due_is_left_alone_until_something_is(store: TestStore) -> None:
    with test_mode.inside(store):
        at = clock.now()
        outbox.announce(event="reconcile.due", payload={}, at=at, due_at=at + timedelta(hours=3))
    test_workers.work_due()
    store.refresh_from_db()
    assert store.due_at is not None
    # The agreement that ends in 40 days warns of it in ten; this comes before.
    assert abs(store.due_at - at - timedelta(hours=3)) < timedelta(seconds=5)
    assert test_workers.work_due() == 0


def test_what_falls_due_on_the_way_is_done_at_its_own_time_and_in_its_order(store: TestStore) -> None:
    with test_mode.inside(store):
        began = clock.now()
        for hours in (5, 1, 3):
            outbox.announce(
                event="reconcile.due",
                payload={"hours": hours},
                at=began,
                due_at=began + timedelta(hours=hours),
            )
    store = test_mode.advance_clock(store=store, to=began + timedelta(hours=4), by=BY, at=clock.now())
    test_workers.work_due()
    with test_mode.opened(TestStore.objects.select_related("organization").get(pk=store.pk)):
        now = clock.now()
        rows = OutboxRow.objects.filter(event="reconcile.due", payload__hours__isnull=False).exclude(
            handler=""
        )
        done = {row.payload["hours"]: row.done_at for row in rows if row.done_at is not None}
    assert set(done) == {1, 3}
    for hours, at in done.items():
        assert timedelta() <= at - began - timedelta(hours=hours) < timedelta(seconds=10)
    assert timedelta(hours=4) <= now - began < timedelta(hours=4, seconds=30)


def test_a_worker_that_dies_on_the_way_is_followed_by_one_that_goes_on(
    store: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with test_mode.inside(store):
        began = clock.now()
        for hours in (1, 2):
            outbox.announce(
                event="reconcile.due", payload={}, at=began, due_at=began + timedelta(hours=hours)
            )
    test_mode.advance_clock(store=store, to=began + timedelta(hours=3), by=BY, at=clock.now())

    def die(_: TestStore) -> None:
        raise Broken

    with monkeypatch.context() as patched:
        patched.setattr(test_workers, "_arrive", die)
        with pytest.raises(Broken):
            test_workers.work_due()
    store.refresh_from_db()
    assert store.advancing_to is not None
    assert store.ahead_s > 2 * 3600
    wake(store)
    test_workers.work_due()
    store.refresh_from_db()
    assert store.advancing_to is None


def test_the_clock_moves_forward_only(store: TestStore) -> None:
    at = clock.now()
    test_mode.move_on(store, at + timedelta(hours=2), at=at)
    test_mode.move_on(store, at + timedelta(hours=1), at=at)
    store.refresh_from_db()
    assert store.ahead_s == 7200
    for to, said in ((at, "forward only"), (at + timedelta(days=400), "at most 366 days")):
        with pytest.raises(test_mode.InvalidAdvance, match=said):
            test_mode.advance_clock(store=store, to=to, by=BY, at=at)
    TestStore.objects.filter(pk=store.pk).update(ahead_s=test_mode.FURTHEST.total_seconds())
    with pytest.raises(test_mode.InvalidAdvance, match="begin the test store anew"):
        test_mode.advance_clock(store=store, to=at + test_mode.FURTHEST + timedelta(days=1), by=BY, at=at)


def test_whoever_is_still_in_the_old_store_moves_nothing_in_the_new_one(store: TestStore) -> None:
    at = clock.now()
    old = TestStore.objects.get(pk=store.pk)
    test_mode.begin_anew(store=store, by=BY, at=at)
    test_mode.move_on(old, at + timedelta(hours=2), at=at)
    wake(old)
    store.refresh_from_db()
    assert (store.ahead_s, store.due_at) == (0, None)


def test_webhooks_of_a_test_store_are_sent_from_it(store: TestStore, settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with listening() as receiver:
        with test_mode.inside(store) as vendor:
            at = clock.now()
            webhooks.make_endpoint(vendor=vendor, url=receiver.url, label="", event_types=[], by=BY, at=at)
            payload = {"vendor_id": vendor.pk, "sku": "T-1", "host": "always-approved"}
            outbox.announce(event="listing.published", payload=payload, at=at)
        test_workers.work_due()
        [seen] = receiver.seen
    assert seen.event["data"]["sku"] == "T-1"
    assert not events.newest_position()
    store.refresh_from_db()
    with test_mode.opened(store):
        assert WebhookDelivery.objects.get().delivered_at is not None
