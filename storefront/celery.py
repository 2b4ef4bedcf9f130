"""The Celery application. Tasks are bells: the work itself stands in outbox rows."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init
from django.core.exceptions import ImproperlyConfigured
from django_structlog.celery.steps import DjangoStructLogInitStep

from storefront.start import refuse_bad_start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")

app = Celery("clearline")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def end_bad_start(**_: Any) -> None:
    try:
        refuse_bad_start()
    except ImproperlyConfigured as error:
        # Celery logs an error of a signal's receiver and goes on; only this ends the process.
        raise SystemExit(f"error: {error}") from error
