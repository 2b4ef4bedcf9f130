"""The Celery application. Tasks are bells: the work itself stands in outbox rows."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init, worker_process_init, worker_process_shutdown, worker_ready
from django.core.exceptions import ImproperlyConfigured
from django_structlog.celery.steps import DjangoStructLogInitStep

from storefront.start import refuse_bad_start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")

app = Celery("clearline")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()


# The waker of this process, once it has one.
_wakers: list[Any] = []


@worker_process_init.connect
def start_waker(**_: Any) -> None:
    """In each process of a worker that does the work: it looks for due rows by itself when no bell comes."""
    # Imported late: this module is read before Django is set up.
    from authorization.waker import Waker

    waker = Waker()
    waker.start()
    _wakers.append(waker)


@worker_ready.connect
def start_waker_where_there_is_one_process(sender: Any = None, **_: Any) -> None:
    # Pools that fork have processes of their own, and a thread in the one that forks would be a danger to them.
    if sender is not None and not sender.pool.__module__.endswith("prefork"):
        start_waker()


@worker_process_shutdown.connect
def stop_wakers(**_: Any) -> None:
    while _wakers:
        _wakers.pop().stop()


@worker_init.connect
@beat_init.connect
def end_bad_start(**_: Any) -> None:
    try:
        refuse_bad_start()
    except ImproperlyConfigured as error:
        # Celery logs an error of a signal's receiver and goes on; only this ends the process.
        raise SystemExit(f"error: {error}") from error
