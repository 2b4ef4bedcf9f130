"""The ledger: one row per act, written in the act's own transaction. Rows are never changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from authorization.actors import Actor
from authorization.models import LedgerEntry


def record(
    *,
    act: str,
    subject_kind: str,
    subject_id: object,
    by: Actor,
    at: datetime,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    revision: int | None = None,
) -> LedgerEntry:
    return LedgerEntry.objects.create(
        **entry_fields(
            act=act,
            subject_kind=subject_kind,
            subject_id=subject_id,
            by=by,
            at=at,
            reason=reason,
            evidence=evidence,
            revision=revision,
        )
    )


def record_many(entries: list[dict[str, Any]]) -> None:
    """Entries made by `entry_fields`, in one statement: for chunks of a sweep."""
    LedgerEntry.objects.bulk_create([LedgerEntry(**fields) for fields in entries])


def entry_fields(
    *,
    act: str,
    subject_kind: str,
    subject_id: object,
    by: Actor,
    at: datetime,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    revision: int | None = None,
) -> dict[str, Any]:
    if not isinstance(by, Actor):
        raise TypeError(f"Every act names who does it: by is {by!r}, no Actor.")
    return {
        "act": act,
        "subject_kind": subject_kind,
        "subject_id": str(subject_id),
        "actor": str(by),
        "at": at,
        "reason": reason[:500],
        "evidence": dict(evidence or {}),
        "revision": revision,
        "request_id": str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
    }
