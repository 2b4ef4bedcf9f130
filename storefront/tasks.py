"""Celery's view of the store: bells and beats. Each is safe to run late, twice or never."""

from celery import shared_task

from authorization import clock
from storefront import payments


@shared_task(name="storefront.void_orphans")
def void_orphans(**_: object) -> None:
    payments.void_orphans(clock.now())
