"""Celery's view of the store: bells and beats. Each is safe to run late, twice or never."""

from celery import shared_task

from authorization import clock
from storefront import payments, waitlist, webhooks


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
