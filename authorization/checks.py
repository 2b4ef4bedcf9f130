"""System checks: a store that could not keep its promises does not start. Each message says the cure."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string


@register()
def check_fence(**_: Any) -> Sequence[CheckMessage]:
    """The fence needs transactions that it can trust."""
    problems: list[CheckMessage] = []
    for alias, database in settings.DATABASES.items():
        options = database.get("OPTIONS", {})
        if database.get("ATOMIC_REQUESTS"):
            problems.append(
                Error(
                    f"ATOMIC_REQUESTS is on for {alias}: every fence would then sit inside a savepoint.",
                    hint="Remove ATOMIC_REQUESTS from the database settings.",
                    id="authorization.E001",
                )
            )
        if database["ENGINE"].endswith("sqlite3") and options.get("transaction_mode") != "IMMEDIATE":
            problems.append(
                Error(
                    f"SQLite transactions of {alias} are not IMMEDIATE: a sale could read before a revocation commits.",
                    hint="Set OPTIONS['transaction_mode'] = 'IMMEDIATE'.",
                    id="authorization.E002",
                )
            )
        if database["ENGINE"].endswith("postgresql") and options.get("isolation_level") is not None:
            problems.append(
                Error(
                    f"An isolation level is set for {alias}: the fence works under READ COMMITTED only.",
                    hint="Remove OPTIONS['isolation_level'].",
                    id="authorization.E003",
                )
            )
    return problems


@register()
def check_outbox_handlers(**_: Any) -> Sequence[CheckMessage]:
    """Every function that reacts to an event exists: a wrong path would fail only when the event comes."""
    problems: list[CheckMessage] = []
    for event, handlers in settings.OUTBOX_HANDLERS.items():
        for path in handlers:
            try:
                import_string(path)
            except ImportError as error:
                problems.append(
                    Error(
                        f"OUTBOX_HANDLERS[{event!r}] names {path}, which cannot be imported: {error}",
                        hint="Correct the path in storefront/settings.py.",
                        id="authorization.E004",
                    )
                )
    return problems
