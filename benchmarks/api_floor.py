"""The floors of `benchmarks.api`: bare views that run the statements they are given, and answer with the rows."""

import json
from typing import Any, cast

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path


def reads(request: HttpRequest) -> HttpResponse:
    return _answer(_run(request))


def writes(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        rows = _run(request)
    return _answer(rows)


def _run(request: HttpRequest) -> list[Any]:
    """Whoever makes the request puts pairs of SQL and its parameters on it."""
    found = []
    with connection.cursor() as cursor:
        for sql, given in cast(Any, request).statements:
            cursor.execute(sql, given)
            if cursor.description is not None:
                found.append(cursor.fetchall())
    return found


def _answer(rows: list[Any]) -> HttpResponse:
    return HttpResponse(json.dumps(rows, default=str), content_type="application/json")


urlpatterns = [path("reads", reads), path("writes", writes)]
