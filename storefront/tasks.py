"""Celery's view of the store: bells and beats. Each is safe to run late, twice or never."""

from celery import shared_task
from django.conf import settings

from authorization import clock
from storefront import (
    feeds,
    idempotency,
    keys_told,
    numbers,
    payments,
    rates,
    test_workers,
    waitlist,
    webhooks,
)


@shared_task(name="storefront.void_orphans")
def void_orphans(**_: object) -> None:
    payments.void_orphans(clock.now())


@shared_task(name="storefront.tell_waiting")
def tell_waiting(**_: object) -> None:
    waitlist.announce_returns(at=clock.now())


@shared_task(name="storefront.erase_waitlist")
def erase_waitlist(**_: object) -> None:
    waitlist.erase_old(at=clock.now())


@shared_task(name="storefront.send_webhooks")
def send_webhooks(**_: object) -> None:
    webhooks.fan_out(at=clock.now())
    webhooks.send_due()


@shared_task(name="storefront.forget_old_deliveries")
def forget_old_deliveries(**_: object) -> None:
    webhooks.forget_old(at=clock.now())


@shared_task(name="storefront.forget_old_answers")
def forget_old_answers(**_: object) -> None:
    idempotency.forget_old(at=clock.machine_now())
    # Of keys that nobody uses any more; those of the others are begun anew.
    rates.clear()


@shared_task(name="storefront.count_finished")
def count_finished(**_: object) -> None:
    numbers.count_finished(at=clock.now())


@shared_task(name="storefront.tell_of_expiring_keys")
def tell_of_expiring_keys(**_: object) -> None:
    keys_told.announce_expiring(at=clock.now())


@shared_task(name="storefront.prepare_test_store", time_limit=test_workers.VISIT_LIMIT_S)
def prepare_test_store(organization_id: int, **_: object) -> None:
    test_workers.prepare(organization_id, at=clock.now())


@shared_task(name="storefront.work_test_store", time_limit=test_workers.VISIT_LIMIT_S)
def work_test_store(store_id: int, **_: object) -> None:
    test_workers.visit(store_id)


@shared_task(name="storefront.work_test_stores", time_limit=test_workers.VISIT_LIMIT_S)
def work_test_stores(**_: object) -> None:
    test_workers.work_due()


@shared_task(name="storefront.tidy_test_stores", time_limit=test_workers.VISIT_LIMIT_S)
def tidy_test_stores(**_: object) -> None:
    """An exercise jumps months, and is thrown away as a whole anyway."""
    if not settings.CLOCK_FILE:
        test_workers.tidy(at=clock.now())


@shared_task(name="storefront.tend_feeds")
def tend_feeds(**_: object) -> None:
    feeds.tend(at=clock.now())


@shared_task(name="storefront.forget_old_feeds")
def forget_old_feeds(**_: object) -> None:
    """An exercise jumps months, and is thrown away as a whole anyway."""
    if not settings.CLOCK_FILE:
        feeds.forget_old(at=clock.now())
