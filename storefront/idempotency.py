"""A request that is sent twice has one effect: the answer to the first is kept with the effect, and given again.

By draft-ietf-httpapi-idempotency-key-header-07, an expired Internet-Draft and no RFC. The row is written in the
transaction of the effect, so that neither can be there without the other. Within it the order of locks is: this key,
then the fence, then rows.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection

from storefront.models import IdempotentRequest

# "At least 24 h" (vendor-api.md, section 6): what is older goes with the hourly round.
KEPT = timedelta(hours=24)
MAX_KEY_LENGTH = 255
# Removed by one round at most, in one transaction each: nobody waits long for the writer's place of SQLite.
FORGOTTEN_AT_ONCE = 1000

_BARE = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


class MalformedKey(Exception):
    """The header is no key. The message says what one looks like."""

    def __init__(self) -> None:
        super().__init__(
            f"A key has 1 to {MAX_KEY_LENGTH} visible ASCII characters, bare or in double quotes; "
            "a new UUID for each request is a good one."
        )


class KeyReused(Exception):
    """The key was sent before, with another request."""


@dataclass(frozen=True)
class Asked:
    """One request with its key: `key_hash` says whose and which, `body_hash` what was asked."""

    key_hash: str
    body_hash: str


@dataclass(frozen=True)
class KeptAnswer:
    """What was answered. `headers` are those that this answer had and not every one has."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def read_key(header: str) -> str:
    """The key of the header's value: a structured string (RFC 8941), or the same bare. Raises MalformedKey."""
    text = header.strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        raise MalformedKey
    if not 0 < len(text) <= MAX_KEY_LENGTH:
        raise MalformedKey
    return text


def asked(*, caller: str, method: str, path: str, key: str, body_hash: str) -> Asked:
    # As JSON, so that no part can reach over into the next.
    scope = json.dumps([caller, method, path, key]).encode()
    return Asked(hashlib.sha256(scope).hexdigest(), body_hash)


def find(request: Asked) -> KeptAnswer | None:
    """What was answered to this request; None for the first. Raises KeyReused."""
    row = IdempotentRequest.objects.filter(key_hash=request.key_hash).first()
    if row is None:
        return None
    if row.body_hash != request.body_hash:
        raise KeyReused
    return KeptAnswer(row.status, row.body, row.headers)


def begin(request: Asked) -> bool:
    """Take the key for this transaction. False: another request with it is at work.

    PostgreSQL does not wait. On SQLite whoever is here is the only writer, and has waited already.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("A key is taken inside the transaction of the effect.")
    if connection.vendor != "postgresql":
        return True
    # Of the 64 bits that the lock takes. The fence has one fixed number among them.
    number = int.from_bytes(bytes.fromhex(request.key_hash)[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def keep(request: Asked, answer: KeptAnswer, *, at: datetime) -> None:
    """Write down what is answered, in the transaction of the effect. `at` is on the machine's clock."""
    IdempotentRequest.objects.create(
        key_hash=request.key_hash,
        body_hash=request.body_hash,
        status=answer.status,
        headers=dict(answer.headers),
        body=answer.body,
        created_at=at,
    )


def forget_old(*, at: datetime) -> int:
    """Remove what has been kept for KEPT; how many. `at` is on the machine's clock: no exercise shortens it."""
    forgotten = 0
    old = IdempotentRequest.objects.filter(created_at__lte=at - KEPT).order_by("created_at")
    while keys := list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]):
        forgotten += IdempotentRequest.objects.filter(pk__in=keys).delete()[0]
    return forgotten
