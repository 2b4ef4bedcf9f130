"""What follows from many answers at once: offers fall, return, or rest on newer evidence.

Some statements for a whole chunk, whatever its size: the moves of the offers, their decisions with the evidence they
cite, the delisting records, the ledger and the events. All that can be made ready is made before the fence, so that
under it there is little more than the statements.
"""

import json
import os
import re
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import batched, chain
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from authorization import decisions, ledger, outbox
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.models import Decision
from authorization.rules import Question
from catalog import listings
from catalog.listings import TERMS, Clearance, content_hash
from catalog.models import ListingHost, OfferState

# A clearance that ends sooner than this is renewed, if the offer is still allowed.
RENEW_AHEAD = timedelta(days=1)

# Rows that one statement inserts on SQLite: up to seven values each, and some builds of it take no more than 999.
_AT_ONCE = 100

SUSPENDED, REINSTATED = "listing.suspended", "listing.reinstated"


class Offer(NamedTuple):
    """What a sweep or a preview reads of a host offer: no model instances, of which a million take minutes to make."""

    id: int
    version: int
    state: str
    sku: str
    host: str
    question: Question


_COLUMNS = ("id", "version", "state", "listing__sku", "host__code")


def read(offers: QuerySet[ListingHost], *, first: int | None = None) -> list[Offer]:
    """These offers by id, or the `first` so many of them, in one statement.

    Read after the revision whose stamp the answers about them will bear.
    """
    rows = offers.order_by("id").values_list(*_COLUMNS, *decisions.QUESTION_COLUMNS)[:first]
    return [Offer._make((*row[:5], decisions.question_of(row[5:]))) for row in rows]


class Move(NamedTuple):
    offer: Offer
    answer: Answer


@dataclass(frozen=True)
class Moves:
    """What is to be done about a chunk. Offers in none of the three stay as they are."""

    falls: list[Move] = field(default_factory=list)
    returns: list[Move] = field(default_factory=list)
    renews: list[Move] = field(default_factory=list)

    def without(self, offer_ids: Container[int]) -> "Moves":
        """These moves, but offers in this set do not fall."""
        return replace(self, falls=[move for move in self.falls if move.offer.id not in offer_ids])

    def __len__(self) -> int:
        return len(self.falls) + len(self.returns) + len(self.renews)


def sort_out(offers: Sequence[Offer], answers: Sequence[Answer], *, at: datetime) -> Moves:
    """What the answers come to. A live offer that is not allowed falls; also when it could not be decided."""
    falls: list[Move] = []
    returns: list[Move] = []
    stay: list[Move] = []
    for offer, answer in zip(offers, answers, strict=True):
        if offer.state == OfferState.LIVE:
            (stay if answer.is_allowed else falls).append(Move(offer, answer))
        elif offer.state == OfferState.SUSPENDED and answer.is_allowed and settings.RELIST_AUTOMATICALLY:
            returns.append(Move(offer, answer))
    return Moves(falls, returns, _resting_on_old_evidence(stay, at))


def _resting_on_old_evidence(moves: Sequence[Move], at: datetime) -> list[Move]:
    """Offers that stay live, but no longer on what their clearance was decided on, not for long, or not for as long."""
    if not moves:
        return []
    offers = ListingHost.objects.filter(pk__in=[move.offer.id for move in moves])
    cleared = {
        offer_id: (decision_id, ends_at)
        for offer_id, decision_id, ends_at in offers.values_list("id", "decision_id", "clearance_expires_at")
    }
    decided = Decision.objects.filter(pk__in=[decision_id for decision_id, _ in cleared.values()])
    rests = {
        decision_id: (question.get("device_id"), question.get("manufacturer_id"), _versions(evidence))
        for decision_id, question, evidence in decided.values_list("id", "question", "evidence")
    }
    soon = at + RENEW_AHEAD
    renews = []
    for move in moves:
        offer, answer = move
        cited = {(item.kind, item.fact_id, item.version_no) for item in answer.evidence}
        present = (offer.question.device_id, offer.question.manufacturer_id, cited)
        if offer.id not in cleared:
            # Gone since it was read.
            continue
        decision_id, ends_at = cleared[offer.id]
        is_late = ends_at is not None and (
            answer.expires_at < ends_at or (ends_at <= soon and ends_at < answer.expires_at)
        )
        if is_late or decision_id is None or rests.get(decision_id) != present:
            renews.append(move)
    return renews


def _versions(evidence: Iterable[Mapping[str, Any]]) -> set[tuple[str, int, int]]:
    return {(item["kind"], item["fact_id"], item["version_no"]) for item in evidence}


# --- made ready -------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """What the answers of many offers have in common, as it is stored: `reasons`, `evidence`, `codes` are JSON."""

    outcome: str
    reasons: str
    evidence: str
    codes: str
    cited: tuple[tuple[str, int, int], ...]
    reason_codes: list[str]
    expires_at: datetime


class Record(NamedTuple):
    """One row of each kind to be written about an offer. `act` is empty where a clearance is renewed.

    `decision_id`: 32 hex digits. `question`, `payload`: JSON.
    """

    offer_id: int
    decision_id: str
    group: int
    act: str
    question: str
    payload: str


@dataclass(frozen=True)
class Written:
    """Everything to write about a chunk, ready but for the instant: under the fence others wait."""

    moves: Moves
    groups: list[Group]
    records: list[Record]
    # As they are sent: for PostgreSQL all records and all groups, for SQLite the rows of each table.
    texts: tuple[str, str]
    tables: list["_Rows"]
    suspended: list[tuple[int, int, Sequence[str]]]
    reinstated: list[tuple[int, int, Clearance]]
    renewed: list[tuple[int, int, Clearance]]
    valid_at: datetime | None
    revision: int
    expires_at: datetime | None


def prepare(moves: Moves, *, sweep_id: int | None, more: Mapping[str, Any] | None = None) -> Written:
    """All moves are of answers at one instant and one revision. `more`: what else the events tell."""
    places: dict[Any, int] = {}
    groups: list[Group] = []
    records: list[Record] = []
    suspended: list[tuple[int, int, Sequence[str]]] = []
    cleared: dict[str, list[tuple[int, int, Clearance]]] = {REINSTATED: [], "": []}
    told = {"sweep_id": sweep_id, **(more or {})}
    ids = _ids(len(moves))
    first: Answer | None = None
    for act, state, group_of in (
        (SUSPENDED, "SUSPENDED", moves.falls),
        (REINSTATED, "LIVE", moves.returns),
        ("", "", moves.renews),
    ):
        # Of each group, what its events say after the offer's own.
        tails: dict[int, tuple[str, str]] = {}
        for offer, answer in group_of:
            first = first or answer
            finding = answer.finding
            # By the very objects, which these moves keep: equal texts need not be hashed for every offer.
            key = (
                finding.outcome,
                tuple(map(id, finding.reasons)),
                tuple(map(id, finding.evidence)),
                finding.expires_at,
            )
            place = places.setdefault(key, len(groups))
            if place == len(groups):
                groups.append(_group(answer))
            group = groups[place]
            decision_id = next(ids)
            payload = ""
            if act:
                if place not in tails:
                    tails[place] = _tail(state, group, answer.revision, told)
                payload = _payload(offer, decision_id, tails[place])
            records.append(
                Record(offer.id, decision_id, place, act, _question(answer.question), payload or "{}")
            )
            if act == SUSPENDED:
                suspended.append((offer.id, offer.version, group.reason_codes))
            else:
                cleared[act].append((offer.id, offer.version, _clearance(UUID(decision_id), answer)))
    return Written(
        moves,
        groups,
        records,
        *_made_ready(records, groups, sweep_id),
        suspended,
        cleared[REINSTATED],
        cleared[""],
        valid_at=None if first is None else first.valid_at,
        revision=0 if first is None else first.revision,
        expires_at=min([group.expires_at for group in groups], default=None),
    )


def _made_ready(
    records: Sequence[Record], groups: Sequence[Group], sweep_id: int | None
) -> tuple[tuple[str, str], list["_Rows"]]:
    if connection.vendor == "postgresql":
        return _texts(records, groups), []
    return ("", ""), _tables(records, groups, sweep_id)


def _texts(records: Sequence[Record], groups: Sequence[Group]) -> tuple[str, str]:
    # Put together from texts that are JSON already.
    given = [
        f'[{offer_id}, "{decision_id}", {place}, "{act}", {question}, {payload}]'
        for offer_id, decision_id, place, act, question, payload in records
    ]
    alike = [
        f'["{group.outcome}", {group.reasons}, {group.evidence}, {group.codes}, "{group.expires_at.isoformat()}"]'
        for group in groups
    ]
    return f"[{','.join(given)}]", f"[{','.join(alike)}]"


def _ids(count: int) -> Iterator[str]:
    """Ids of decisions as 32 hex digits, of the seventh kind (RFC 9562): by time, then by chance.

    Three indexes hold them. Ids by chance alone would touch a page of each for every row.
    """
    head = f"{time.time_ns() // 1_000_000:012x}7"
    drawn = os.urandom(10 * count).hex()
    for start in range(0, len(drawn), 20):
        variant = "89ab"[int(drawn[start], 16) & 3]
        yield f"{head}{drawn[start + 1 : start + 4]}{variant}{drawn[start + 4 : start + 19]}"


def _dashed(decision_id: str) -> str:
    """As `str` writes a UUID."""
    d = decision_id
    return f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}"


def _group(answer: Answer) -> Group:
    codes = answer.reason_codes
    return Group(
        answer.outcome,
        json.dumps([reason.as_json() for reason in answer.reasons]),
        json.dumps([item.as_json() for item in answer.evidence]),
        json.dumps(codes),
        tuple([(item.kind, item.fact_id, item.version_no) for item in answer.evidence]),
        codes,
        answer.expires_at,
    )


# As `decisions._question_json` has it, with a place for the JSON of each value.
_QUESTION = "{" + ", ".join(f'"{name}": %s' for name in Question._fields) + "}"


def _question(question: Question) -> str:
    return _QUESTION % tuple([value if type(value) is int else _as_json(value) for value in question])


def _tail(state: str, group: Group, revision: int, told: Mapping[str, Any]) -> tuple[str, str]:
    """What the events of this group have in common, before and after the id of the decision."""
    rest = json.dumps({"revision": revision, **told})
    return f'"state": "{state}", "reason_codes": {group.codes}', rest[1:]


def _payload(offer: Offer, decision_id: str, tail: tuple[str, str]) -> str:
    """As `offers.offer_payload` has it."""
    question = offer.question
    before, after = tail
    return (
        f'{{"offer_id": {offer.id}, "listing_id": {question.listing_id}, "sku": {_quoted(offer.sku)},'
        f' "vendor_id": {question.vendor_id}, "host": {_as_json(offer.host)}, {before},'
        f' "decision_id": "{_dashed(decision_id)}", {after}'
    )


# As `json.dumps` writes a text, without its looking at what it was given.
_quoted = json.encoder.encode_basestring_ascii


@lru_cache(maxsize=4096)
def _as_json(value: str | None) -> str:
    return json.dumps(value)


def _clearance(decision_id: UUID, answer: Answer) -> Clearance:
    if not answer.is_allowed:
        raise ValueError("Only an answer that allows clears an offer.")
    decided = {name: getattr(answer.question, name) for name in TERMS}
    return Clearance(decision_id, answer.revision, content_hash(**decided), answer.expires_at)


# --- written ----------------------------------------------------------------------------------------------------


class OfferMoved(Exception):
    """An offer was not as its lock had shown it. Never seen; the chunk is rolled back and done again."""


def write(ready: Written, *, sweep_id: int | None, by: Actor, at: datetime) -> None:
    """Inside the transaction that holds the fence and the locks on these offers."""
    if not ready.records:
        return
    for event in (SUSPENDED, REINSTATED):
        if settings.OUTBOX_HANDLERS.get(event):
            raise ValueError(f"{event} has handlers; a sweep announces it to readers only.")
    moved = (
        listings.suspend_offers(moves=ready.suspended, at=at)
        + listings.reinstate_offers(moves=ready.reinstated, at=at)
        + listings.renew_clearances(moves=ready.renewed)
    )
    if moved != len(ready.moves):
        raise OfferMoved(f"{moved} of {len(ready.moves)} offers were moved.")
    common = ledger.entry_fields(
        act="", subject_kind="offer", subject_id="", by=by, at=at, revision=ready.revision
    )
    if connection.vendor == "postgresql":
        _write_postgresql(ready, common, sweep_id, at)
    else:
        _write_sqlite(ready, common, at)


_LEDGER = "at, actor, act, subject_kind, subject_id, reason, evidence, revision, request_id"
_DECISION = "id, offer_id, outcome, question, reasons, evidence, valid_at, revision, expires_at"
_EVENT = "event_id, event, payload, handler, due_at, created_at, attempt, is_dead, last_error"


def _write_postgresql(ready: Written, common: dict[str, Any], sweep_id: int | None, at: datetime) -> None:
    """One statement: what is given is sent and read once. (Foreign keys are checked at commit.)"""
    sql = f"""
WITH given AS MATERIALIZED (
  SELECT (e.value->>0)::bigint AS offer_id, (e.value->>1)::uuid AS id, (e.value->>2)::int AS place, e.value->>3 AS act,
         e.value->4 AS question, e.value->5 AS payload
    FROM jsonb_array_elements(%(records)s::jsonb) AS e(value)
),
alike AS MATERIALIZED (
  SELECT e.place::int - 1 AS place, e.value->>0 AS outcome, e.value->1 AS reasons, e.value->2 AS evidence,
         e.value->3 AS reason_codes, (e.value->>4)::timestamptz AS expires_at
    FROM jsonb_array_elements(%(groups)s::jsonb) WITH ORDINALITY AS e(value, place)
),
record AS MATERIALIZED (
  SELECT given.*, alike.outcome, alike.reasons, alike.evidence, alike.reason_codes, alike.expires_at
    FROM given JOIN alike ON alike.place = given.place ORDER BY given.offer_id
),
decided AS (
  INSERT INTO authorization_decision ({_DECISION})
  SELECT id, offer_id, outcome, question, reasons, evidence, %(valid_at)s, %(revision)s, expires_at FROM record
),
cited AS (
  INSERT INTO authorization_decisionevidence (decision_id, kind, fact_id, version_no)
  SELECT record.id, e.value->>'kind', (e.value->>'fact_id')::bigint, (e.value->>'version_no')::int
    FROM record CROSS JOIN LATERAL jsonb_array_elements(record.evidence) AS e(value)
),
delisted AS (
  INSERT INTO authorization_delisting (offer_id, decision_id, sweep_id, reason_codes, at)
  SELECT offer_id, id, %(sweep)s::bigint, reason_codes, %(at)s FROM record WHERE act = '{SUSPENDED}'
),
entered AS (
  INSERT INTO authorization_ledgerentry ({_LEDGER})
  SELECT %(at)s, %(actor)s, act, %(subject_kind)s, offer_id::text, %(reason)s,
         jsonb_build_object('decision', id::text, 'reasons', reasons), %(revision)s, %(request_id)s
    FROM record WHERE act <> ''
)
INSERT INTO authorization_outboxrow ({_EVENT})
SELECT id, act, payload, '', %(at)s, %(at)s, 1, false, '' FROM record WHERE act <> ''"""
    given = {
        **{name: common[name] for name in ("actor", "subject_kind", "reason", "revision", "request_id")},
        "records": ready.texts[0],
        "groups": ready.texts[1],
        "valid_at": ready.valid_at,
        "sweep": sweep_id,
        "at": at,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, given)


def _tables(records: Sequence[Record], groups: Sequence[Group], sweep_id: int | None) -> list["_Rows"]:
    """The rows of each table but for what all of them have in common, which `_write_sqlite` adds."""
    ends = [connection.ops.adapt_datetimefield_value(group.expires_at) for group in groups]
    decided: list[tuple[Any, ...]] = []
    cited: list[tuple[Any, ...]] = []
    delisted: list[tuple[Any, ...]] = []
    entered: list[tuple[Any, ...]] = []
    announced: list[tuple[Any, ...]] = []
    for offer_id, key, place, act, question, payload in records:
        outcome, reasons, evidence, codes, citing, _, _ = groups[place]
        decided.append((key, offer_id, outcome, question, reasons, evidence, ends[place]))
        if citing:
            cited += [(key, *item) for item in citing]
        if act == SUSPENDED:
            delisted.append((offer_id, key, sweep_id, codes))
        if act:
            said = f'{{"decision": "{_dashed(key)}", "reasons": {reasons}}}'
            entered.append((act, str(offer_id), said))
            announced.append((key, act, payload, len(announced)))
    rows = (decided, cited, delisted, entered, announced)
    return [_Rows.of(table, given) for table, given in zip(_TABLES, rows, strict=True) if given]


class _Table:
    """An INSERT of many rows. `columns`: of each the SQL of its value, from what is given of each row (`column1`, ...)
    or once for all of them (`{name}`).
    """

    def __init__(self, name: str, width: int, columns: Mapping[str, str]) -> None:
        values = ", ".join(columns.values())
        self.common = re.findall(r"\{(\w+)\}", values)
        insert = f"INSERT INTO {name} ({', '.join(columns)}) SELECT {re.sub(r'{\w+}', '%s', values)}"
        marks = f"({', '.join(['%s'] * width)})"
        # A statement that inserts a hundred rows takes half the time of a hundred that insert one each.
        self.many = f"{insert} FROM (VALUES {', '.join([marks] * _AT_ONCE)})"
        self.one = f"{insert} FROM (VALUES {marks})"


_TABLES = (
    _Table("authorization_decision", 7, {
        "id": "column1", "offer_id": "column2", "outcome": "column3", "question": "column4", "reasons": "column5",
        "evidence": "column6", "expires_at": "column7", "valid_at": "{valid_at}", "revision": "{revision}",
    }),
    _Table("authorization_decisionevidence", 4, {
        "decision_id": "column1", "kind": "column2", "fact_id": "column3", "version_no": "column4",
    }),
    _Table("authorization_delisting", 4, {
        "offer_id": "column1", "decision_id": "column2", "sweep_id": "column3", "reason_codes": "column4",
        "at": "{now}",
    }),
    _Table("authorization_ledgerentry", 3, {
        "act": "column1", "subject_id": "column2", "evidence": "column3", "at": "{now}", "actor": "{actor}",
        "subject_kind": "{subject_kind}", "reason": "{reason}", "revision": "{revision}",
        "request_id": "{request_id}",
    }),
    _Table("authorization_outboxrow", 4, {
        "event_id": "column1", "event": "column2", "payload": "column3", "position": "{position} + column4",
        "due_at": "{now}", "created_at": "{now}", "handler": "''", "attempt": "1", "is_dead": "0",
        "last_error": "''",
    }),
)  # fmt: skip


class _Rows(NamedTuple):
    """The rows of one table: a hundred to a statement, and those that are left over."""

    table: _Table
    many: list[list[Any]]
    left: list[tuple[Any, ...]]

    @classmethod
    def of(cls, table: _Table, rows: list[tuple[Any, ...]]) -> "_Rows":
        whole = len(rows) - len(rows) % _AT_ONCE
        together = [list(chain.from_iterable(part)) for part in batched(rows[:whole], _AT_ONCE)]
        return cls(table, together, rows[whole:])


def _write_sqlite(ready: Written, common: Mapping[str, Any], at: datetime) -> None:
    """A statement or two for each table, run through its rows by the driver."""
    adapt = connection.ops.adapt_datetimefield_value
    values = {
        **common,
        "now": adapt(at),
        "valid_at": adapt(ready.valid_at),
        "position": outbox.next_position(),
    }
    with connection.cursor() as cursor:
        for table, many, left in ready.tables:
            given = [values[name] for name in table.common]
            if many:
                cursor.executemany(table.many, [[*given, *rows] for rows in many])
            if left:
                cursor.executemany(table.one, [[*given, *row] for row in left])
