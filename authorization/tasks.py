"""Celery's view of the floor: bells and beats. Each is safe to run late, twice or never."""

from celery import shared_task

from authorization import clock, outbox, sealing, sweeps


@shared_task(name="authorization.pump_outbox")
def pump_outbox(**_: object) -> None:
    outbox.pump()


@shared_task(name="authorization.reconcile_offers")
def reconcile_offers(**_: object) -> None:
    sweeps.reconcile(at=clock.now())


@shared_task(name="authorization.seal_ledger")
def seal_ledger(**_: object) -> None:
    sealing.seal(at=clock.now())
