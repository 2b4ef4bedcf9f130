"""How a version of a fact is written: close the current row, insert the next. Nothing else is ever updated.

Callers hold the exclusive fence and bring its revision; ledger and outbox rows follow in `publish_change`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from authorization import ledger, outbox
from authorization.actors import Actor
from authorization.models import Fact, Revision
from carriers.versions import FOREVER, FactVersion


class InvalidFact(ValueError):
    """A fact refused at the door. `field` names the input, the message says the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def check_code(code: str) -> str:
    """The code of a record to be. Raises InvalidFact."""
    code = code.strip()
    if not code:
        raise InvalidFact("code", "Give the record a code that people can call it by, e.g. AG-812.")
    if len(code) > 64:
        raise InvalidFact("code", f"The code has {len(code)} characters; take at most 64.")
    if Fact.objects.filter(code=code).exists():
        raise InvalidFact("code", f"{code} exists already. Change that record, or take another code.")
    return code


def open_head(*, kind: str, code: str) -> Fact:
    return Fact.objects.create(kind=kind, code=check_code(code))


def check_interval(*, valid_from: datetime, valid_until: datetime) -> None:
    for field, value in (("valid_from", valid_from), ("valid_until", valid_until)):
        if value.tzinfo is None:
            raise InvalidFact(field, f"{field} has no time zone; give one, e.g. 2016-02-01T00:00:00Z.")
    if valid_from >= valid_until:
        raise InvalidFact(
            "valid_until", "The end must be after the beginning (the end itself no longer counts)."
        )
    if valid_until > FOREVER:
        raise InvalidFact("valid_until", f"The latest end is {FOREVER:%Y-%m-%d}; it means: without end.")


def write_version[V: FactVersion](
    model: type[V], *, head: Any, revision: Revision, fields: Mapping[str, Any]
) -> V:
    """The next version of `head`, holding the whole record. Child rows are the caller's."""
    # Each subclass declares its own `head`, which the abstract class does not know of.
    versions: Any = model._default_manager
    current = versions.filter(head=head, rev_to__isnull=True).first()
    number = 1
    if current is not None:
        number = current.version_no + 1
        versions.filter(pk=current.pk).update(rev_to=revision.n)
    version: V = versions.create(head=head, version_no=number, rev_from=revision.n, **fields)
    return version


def publish_change(
    *,
    act: str,
    subject_kind: str,
    subject_id: object,
    revision: Revision,
    by: Actor,
    at: datetime,
    reason: str,
    evidence: Mapping[str, Any],
    boundaries: tuple[datetime, ...] = (),
    scope: Mapping[str, Any] | None = None,
) -> None:
    """What every change of authority leaves behind: a ledger row, the bell of the sweep, and its boundaries.

    `scope` says whose offers a change bears on that is of no one fact (`selectors.offers_in_scope`); None: all.

    Each instant at which the record begins or ends by itself is a due row that adds a revision, so that boundaries
    too have a place in the one order.
    """
    ledger.record(
        act=act,
        subject_kind=subject_kind,
        subject_id=subject_id,
        by=by,
        at=at,
        reason=reason,
        evidence=evidence,
        revision=revision.n,
    )
    fact_id = subject_id if subject_kind == "fact" else None
    about = {"fact_id": fact_id, "scope": dict(scope or {})}
    outbox.announce(event="authority.changed", payload={"revision": revision.n, **about}, at=at)
    for boundary in boundaries:
        if at < boundary < FOREVER - timedelta(days=1):
            payload = {**about, "boundary": boundary.isoformat()}
            outbox.announce(event="authority.boundary", payload=payload, at=at, due_at=boundary)
