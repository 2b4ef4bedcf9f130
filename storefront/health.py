"""Is the process alive, and is everything it needs at work? For probes and for the people they wake."""

from collections.abc import Callable
from typing import Any

import redis
import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.backoff import NoBackoff
from redis.retry import Retry

from authorization import clock, outbox

log = structlog.get_logger(__name__)

BROKER_TIMEOUT_S = 0.5
# Beat rings every second. Work that is due and a minute old means that nobody does it.
OUTBOX_LATE_S = 60.0

type Part = dict[str, Any]


@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """The process answers. It asks nobody else: restarting it would cure nothing of theirs."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Each part with its own word; 503 if one of them fails.

    Errors are named by class, never quoted: an address or a user name may stand in their text.
    """
    parts = {"database": _part(_database), "broker": _part(_broker), "outbox": _part(_outbox)}
    is_ready = all(part["status"] == "ok" for part in parts.values())
    return JsonResponse({"status": "ok" if is_ready else "failing", **parts}, status=200 if is_ready else 503)


def _part(check: Callable[[], Part]) -> Part:
    try:
        return check()
    except (DatabaseError, redis.RedisError, OSError) as error:
        log.warning("part_failing", part=check.__name__.strip("_"), error=type(error).__name__)
        return {"status": "failing", "error": type(error).__name__}


def _database() -> Part:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"status": "ok"}


def _broker() -> Part:
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=BROKER_TIMEOUT_S,
        socket_timeout=BROKER_TIMEOUT_S,
        # A probe that tries again is no probe.
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        client.ping()
    return {"status": "ok"}


def _outbox() -> Part:
    age = outbox.oldest_open_age_s(clock.now())
    # An exercise jumps its clock, and work falls due long ago in one step: its age is told, not judged.
    is_late = age is not None and age > OUTBOX_LATE_S and not settings.CLOCK_FILE
    return {
        "status": "late" if is_late else "ok",
        "oldest_due_s": None if age is None else round(age, 3),
        # Told, not judged: that work was given up is for a person to see to, and no reason to take the shop away.
        "dead_letters": outbox.dead_letters().count(),
    }
