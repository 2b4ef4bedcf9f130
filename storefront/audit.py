"""Proof that no order is late: that none was sold on authority that had been taken away when it committed.

The proof does not believe the sale. A change of authority keeps the database's own snapshot, taken after it had got
the fence, and an order the database's own name of its transaction: an order that is not in the snapshot of a change
committed after it. So each order has its place among the changes, `k`: the last one that had not seen it. What the
order says of that itself (`Order.revision`) only saves a search: both changes next to it are asked.

What was known at `k` is then held against what the order cites, by the rules of docs/the-rules.md. Nor are the code
paths of the sale or of a decision called here: it is SQL over what they left behind.

Instants decide only where authority begins or ends by date, for there the date is the authority. The instant is
`sold_at`, read under the fence, but never before change `k` was recorded, whatever the order says.

What cannot be proven either way counts as late, but for one thing: which device a variant was of, and who made it, has
no versions. A correction of that keeps what it replaced in the ledger; where one did not, the orders that it leaves
open are counted (`unprovable`), not judged.

On SQLite the single writer numbers its sales; the highest number at the change stands for the snapshot.
PostgreSQL's transaction ids live as long as the cluster: copy it whole (base backup), for a dump into a new
cluster starts them anew, and the audit of what came before is to be done before moving.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Max, Min

from authorization.dialect import Dialect
from authorization.models import ApprovalVersion, Fact, HoldTarget, LedgerEntry
from authorization.software import sort_key
from carriers.models import Hosting, Network
from catalog.models import Variant
from storefront.models import Order

# So many order ids are looked at in one statement: enough that its fixed cost is nothing, and memory stays flat.
SPAN = 25_000


@dataclass(frozen=True)
class LateOrder:
    """One order and why it is late.

    `evidence_closed`: a version that it cites had been closed. `superseded`: another record had taken the place of a
    cited one (a policy for the territory, a newer network, a corrected maker). `on_hold`: a hold stopped it.
    `expired`: authority that it cites had ended by date. `unproven`: it rests on no proof; `missing` says what of.
    """

    order_id: int
    public_id: UUID
    sold_at: datetime
    why: str
    # The record that was withdrawn, or stands in the way, and the revision that did it, where there is one.
    fact_code: str = ""
    revision: int | None = None
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"public_id": str(self.public_id), "sold_at": self.sold_at.isoformat()}


@dataclass
class Examination:
    """`unprovable`: orders of phones whose maker was corrected later, by an import that kept no word of the old one.

    `up_to_order_id`: the next examination may begin after this order; no lower one can still be committed.
    """

    orders: int = 0
    up_to_order_id: int = 0
    late: list[LateOrder] = field(default_factory=list)
    unprovable: int = 0


def late_orders(*, revision: int | None = None, since_order_id: int = 0) -> list[LateOrder]:
    """Every late order, each reason once, by order. Empty is the promise kept.

    With `revision`: those that came after this change of authority, and are late by a record that it wrote or closed.
    """
    return examine(revision=revision, since_order_id=since_order_id).late


def examine(*, revision: int | None = None, since_order_id: int = 0) -> Examination:
    """Look at all orders, at those after one, or at those that one change of authority had not seen.

    An order's place and its evidence never change: what was found good once is good.
    """
    bounds = Order.objects.filter(pk__gt=since_order_id).aggregate(first=Min("pk"), last=Max("pk"))
    if bounds["last"] is None:
        return Examination(up_to_order_id=since_order_id)
    done = Examination(up_to_order_id=_settled_order_id(since_order_id, bounds["last"]))
    moves = _corrections_of_makers()
    is_software_asked = ApprovalVersion.objects.exclude(software_from_key="", software_until_key="").exists()
    found: set[_Found] = set()
    for first in range(bounds["first"], bounds["last"] + 1, SPAN):
        last = min(first + SPAN - 1, bounds["last"])
        text = _Text(first, last, revision=revision, moves=moves, is_software_asked=is_software_asked)
        done.orders += text.count()
        found |= set(text.late())
        done.unprovable += text.unprovable()
    if revision is not None:
        written = _written_by(revision) if found else set()
        found = {row for row in found if row.revision == revision or (row.kind, row.head_id) in written}
    done.late = _late(_most_telling(found))
    return done


def count_orders() -> int:
    """How many orders `late_orders` looks at."""
    return Order.objects.count()


# --- what was found ---------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    order_id: int
    why: str
    # The record, by its kind and head; None where none is to be named.
    kind: str | None
    head_id: int | None
    revision: int | None
    missing: str


class _Corrected(NamedTuple):
    """A change of whose device a variant is, or who made a device. `before`: the id it replaced, if that was kept."""

    revision: int
    kind: str
    row_id: int
    before: int | None


def _most_telling(found: set[_Found]) -> set[_Found]:
    """Without what follows from another finding: evidence that was never written proves no ground either."""
    named = {row.order_id for row in found if row.why == "unproven" and row.kind is not None}
    return {
        row for row in found if not (row.why == "unproven" and row.kind is None and row.order_id in named)
    }


def _late(found: Iterable[_Found]) -> list[LateOrder]:
    found = list(found)
    orders = Order.objects.in_bulk({row.order_id for row in found})
    codes = _codes(found)
    late = {
        (row.order_id, row.why, codes.get((row.kind, row.head_id), ""), row.revision, row.missing)
        for row in found
    }
    return [
        LateOrder(
            order_id, orders[order_id].public_id, orders[order_id].sold_at, why, code, revision, missing
        )
        for order_id, why, code, revision, missing in sorted(
            late, key=lambda row: (*row[:3], row[3] or 0, row[4])
        )
    ]


def _codes(found: Iterable[_Found]) -> dict[tuple[str | None, int | None], str]:
    """What people call the records."""
    heads = {(row.kind, row.head_id) for row in found if row.head_id is not None}
    codes: dict[tuple[str | None, int | None], str] = {}
    for kind in {kind for kind, _ in heads}:
        ids = [head_id for other, head_id in heads if other == kind]
        if kind == "hosting":
            hostings = Hosting.objects.select_related("host").in_bulk(ids).values()
            named = {row.pk: f"{row.product_name or row.mvno} on {row.host.code}" for row in hostings}
        elif kind == "network":
            networks = Network.objects.select_related("host").in_bulk(ids).values()
            named = {row.pk: f"{row.host.code} {row.era}" for row in networks}
        elif kind == "variant":
            named = {row.pk: row.slug for row in Variant.objects.in_bulk(ids).values()}
        else:
            named = {row.pk: row.code for row in Fact.objects.filter(kind=kind).in_bulk(ids).values()}
        codes |= {(kind, pk): name for pk, name in named.items()}
    return codes


def _written_by(revision: int) -> set[tuple[str | None, int | None]]:
    """The records of which this revision wrote a version."""
    arms = " UNION ALL ".join(
        f"SELECT '{kind}', head_id FROM {table} WHERE rev_from = %(revision)s"  # noqa: S608
        for kind, table in {**_TABLES, "hold": "authorization_holdversion"}.items()
    )
    return {(kind, head_id) for kind, head_id in Dialect().rows(arms, revision=revision)}


def _settled_order_id(since: int, last: int) -> int:
    """The highest id such that no order up to it can still be committed."""
    if connection.vendor != "postgresql":
        # One writer at a time: orders are committed in the order of their ids.
        return last
    # An INSERT locks the table before it draws an id, until its transaction is over. Looked at, never waited for.
    [(writers,)] = Dialect().rows(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'"
        " AND relation = CAST(%(relation)s AS regclass)"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND pid IS DISTINCT FROM pg_backend_pid()",
        relation=Order._meta.db_table,
    )
    return since if writers else last


def _corrections_of_makers() -> list[_Corrected]:
    """From the ledger: rows of the catalog that decisions read, and that have no versions."""
    entries = LedgerEntry.objects.filter(
        subject_kind="groundwork",
        act="groundwork.recorded",
        evidence__has_key="moved",
    )
    moves = []
    for revision, evidence in entries.values_list("revision", "evidence"):
        if revision is None:
            continue
        before = evidence.get("moved_from", {})
        for name in evidence["moved"]:
            kind, _, row_id = name.partition(" ")
            column = {"variant": "device_id", "device": "manufacturer_id"}.get(kind)
            if column is not None:
                replaced = before.get(name, {}).get(column)
                moves.append(
                    _Corrected(revision, kind, int(row_id), None if replaced is None else int(replaced))
                )
    return moves


# --- the statements ---------------------------------------------------------------------------------------------

# By kind of evidence: its table of versions, and when, besides `valid_until`, it may end.
_TABLES = {
    "policy": "authorization_policyversion",
    "hosting": "carriers_hostingversion",
    "affiliation": "authorization_affiliationversion",
    "agreement": "authorization_agreementversion",
    "approval": "authorization_approvalversion",
    "equipment": "authorization_equipmentversion",
    "network": "carriers_networkversion",
    "variant": "catalog_variantversion",
}
_ENDS = {
    "agreement": ("revoked_at",),
    "approval": ("revoked_at", "waived_until"),
    "equipment": ("revoked_at",),
}
# The dimensions that a hold may name, those that match the fewest orders first: by the first of those that it names
# it is looked for. Attributes of the variant come after `device`.
_DRIVERS = (
    "listing", "fact", "variant", "device", "vendor", "manufacturer", "host", "condition", "channel", "territory",
)  # fmt: skip
_TERMS = {
    "vendor": "CAST(s.vendor AS text)",
    "listing": "CAST(s.listing AS text)",
    "host": "CAST(s.host AS text)",
    "variant": "CAST(s.variant AS text)",
    "device": "CAST(s.device AS text)",
    "manufacturer": "CAST(s.maker AS text)",
    "territory": "s.territory",
    "channel": "s.channel",
    "condition": "s.state_of_goods",
}


def _known(version: str, order: str = "s") -> str:
    """Was this version what was known when the order committed?"""
    return f"{version}.rev_from <= {order}.k AND ({version}.rev_to IS NULL OR {version}.rev_to > {order}.k)"


def _in_force(version: str, order: str = "s") -> str:
    return f"{_known(version, order)} AND {version}.valid_from <= {order}.t AND {order}.t < {version}.valid_until"


class _Text:
    """The statements about the orders of one range of ids.

    Lists of ours: `placed`, the orders with `k`; `sold`, their lines with `t`, the instant that counts, and what was
    asked when it was decided. The offer's and the listing's terms may have been edited since; vendor, listing and
    host cannot, and the question says which variant was sold.
    """

    def __init__(
        self, first: int, last: int, *, revision: int | None, moves: list[_Corrected], is_software_asked: bool
    ) -> None:
        self.db = Dialect()
        self.is_postgresql = self.db.is_postgresql
        self.revision, self.moves, self.is_software_asked = revision, moves, is_software_asked
        self.parameters: dict[str, Any] = {"first": first, "last": last, "revision": revision}

    def count(self) -> int:
        sql = f"WITH {self._placed()} SELECT count(*) {self._jit()} FROM placed"  # noqa: S608
        if self.revision is None:
            sql = (
                f"SELECT count(*) {self._jit()} FROM storefront_order o"  # noqa: S608
                " WHERE o.id BETWEEN %(first)s AND %(last)s"
            )
        return int(self._rows(sql)[0][0])

    def late(self) -> Iterator[_Found]:
        for sql in (self._evidence(), self._superseded(), self._expired(), self._records(), self._grounds()):
            yield from map(_Found._make, self._rows(sql))
        named = self._dimensions()
        if named:
            yield from map(_Found._make, self._rows(self._on_hold(named)))
        yield from map(_Found._make, self._rows(self._makers()))

    def unprovable(self) -> int:
        """Orders about whose maker at the time nothing is left."""
        if not self.moves:
            return 0
        sql = (
            f"WITH {self._sold()}, {self._makers_then()}"  # noqa: S608
            " SELECT count(DISTINCT order_id) FROM catalog WHERE is_open = 1"
        )
        return int(self._rows(sql)[0][0])

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.rows(sql, **self.parameters)

    def _jit(self) -> str:
        # Compiling these long statements would take PostgreSQL longer than running them.
        return ", set_config('jit', 'off', false)" if self.is_postgresql else ""

    # --- which orders, and where they stand

    def _is_number(self, value: str) -> str:
        if self.is_postgresql:
            return f"{value} ~ '^[0-9]{{1,18}}$'"
        return f"({value} <> '' AND {value} NOT GLOB '*[^0-9]*' AND length({value}) <= 18)"

    def _has_seen(self, snapshot: str, transaction: str) -> str:
        """Had this change of authority seen this order?"""
        if self.is_postgresql:
            return f"pg_visible_in_snapshot(({transaction})::xid8, {snapshot})"
        return f"CAST({transaction} AS INTEGER) <= {snapshot}"

    def _snapshot(self, of: str) -> str:
        return f"({of}.snapshot)::pg_snapshot" if self.is_postgresql else f"CAST({of}.snapshot AS INTEGER)"

    def _placed(self) -> str:
        missed = f"NOT {self._has_seen('c.snapshot', 'o.transaction_id')}"
        seen_next = self._has_seen("c.next_snapshot", "o.transaction_id")
        after = ""
        if self.revision is not None:
            # An order that this change had seen came before it, and is none of its business.
            snapshot = f"(SELECT snapshot FROM changes WHERE n = {self.db.integer('revision')})"  # noqa: S608
            after = f" AND NOT {self._has_seen(snapshot, 'o.transaction_id')}"
        return f"""changes AS MATERIALIZED (
  SELECT r.n, r.recorded_at, {self._snapshot("r")} AS snapshot,
         LEAD({self._snapshot("r")}) OVER (ORDER BY r.n) AS next_snapshot
    FROM authorization_revision r
),
numbered AS MATERIALIZED (
  SELECT o.id, o.transaction_id, o.sold_at, o.revision
    FROM storefront_order o
   WHERE o.id BETWEEN %(first)s AND %(last)s AND {self._is_number("o.transaction_id")}
),
placed AS MATERIALIZED (
  SELECT o.id, o.transaction_id, o.sold_at,
         CASE WHEN {missed} AND (c.next_snapshot IS NULL OR {seen_next}) THEN c.n
              ELSE (SELECT COALESCE(MAX(other.n), 0) FROM changes other
                     WHERE NOT {self._has_seen("other.snapshot", "o.transaction_id")}) END AS k
    FROM numbered o LEFT JOIN changes c ON c.n = o.revision
   WHERE 1 = 1{after}
)"""  # noqa: S608

    def _sold(self) -> str:
        return f"""{self._placed()},
sold AS MATERIALIZED (
  SELECT o.id AS order_id, l.id AS line_id, o.k, l.decision_id, q.outcome, q.expires_at,
         CASE WHEN c.recorded_at > o.sold_at THEN c.recorded_at ELSE o.sold_at END AS t,
         l.vendor_id AS vendor, l.listing_id AS listing, p.host_id AS host,
         {self._id("variant_id")} AS variant, {self._id("device_id")} AS device,
         {self._id("manufacturer_id")} AS maker,
         q.question ->> 'territory' AS territory, q.question ->> 'channel' AS channel,
         q.question ->> 'condition' AS state_of_goods, COALESCE(q.question ->> 'software', '') AS software
    FROM placed o
    LEFT JOIN authorization_revision c ON c.n = o.k
    JOIN storefront_orderline l ON l.order_id = o.id
    JOIN catalog_listinghost p ON p.id = l.offer_id
    JOIN authorization_decision q ON q.id = l.decision_id
)"""  # noqa: S608

    def _id(self, name: str) -> str:
        value = f"q.question ->> '{name}'"
        if self.is_postgresql:
            return f"CASE WHEN {value} ~ '^[0-9]{{1,18}}$' THEN ({value})::bigint END"
        return f"CAST({value} AS INTEGER)"

    # --- what it cites

    def _evidence(self) -> str:
        """Versions that had been closed, were still to come, had not begun or had ended."""
        arms = []
        for kind, table in _TABLES.items():
            over = " OR ".join(
                ["s.t >= x.valid_until", *(f"s.t >= x.{column}" for column in _ENDS.get(kind, ()))]
            )
            arms.append(f"""SELECT s.order_id,
       CASE WHEN x.rev_to <= s.k THEN 'evidence_closed' WHEN x.rev_from > s.k THEN 'unproven'
            WHEN {over} THEN 'expired' ELSE 'unproven' END,
       '{kind}', x.head_id, CASE WHEN x.rev_to <= s.k THEN x.rev_to WHEN {over} THEN x.rev_from END,
       CASE WHEN x.rev_to <= s.k OR (x.rev_from <= s.k AND ({over})) THEN '' ELSE 'begun' END
  FROM sold s
  JOIN authorization_decisionevidence e ON e.decision_id = s.decision_id AND e.kind = '{kind}'
  JOIN {table} x ON x.head_id = e.fact_id AND x.version_no = e.version_no
 WHERE x.rev_to <= s.k OR x.rev_from > s.k OR {over} OR x.valid_from > s.t""")  # noqa: S608
        return f"WITH {self._sold()}\n" + "\nUNION\n".join(arms)

    def _superseded(self) -> str:
        """A record that stood before the cited one, though it closed no version of it."""
        return f"""WITH {self._sold()}
SELECT s.order_id, 'superseded', 'policy', other.head_id, other.rev_from, ''
  FROM sold s
  JOIN authorization_decisionevidence e ON e.decision_id = s.decision_id AND e.kind = 'policy'
  JOIN authorization_policyversion cited ON cited.head_id = e.fact_id AND cited.version_no = e.version_no
  JOIN authorization_policyversion other ON other.head_id <> cited.head_id
 WHERE {_known("cited")} AND {_in_force("other")}
   AND (other.territory = s.territory OR (other.territory = '*' AND cited.territory = '*'))
   AND ((other.territory <> '*' AND cited.territory = '*') OR other.valid_from > cited.valid_from
        OR (other.valid_from = cited.valid_from AND other.head_id > cited.head_id))
UNION
SELECT s.order_id, 'superseded', 'network', other.head_id, other.rev_from, ''
  FROM sold s
  JOIN authorization_decisionevidence e ON e.decision_id = s.decision_id AND e.kind = 'network'
  JOIN carriers_networkversion cited ON cited.head_id = e.fact_id AND cited.version_no = e.version_no
  JOIN carriers_network w ON w.host_id = s.host AND w.id <> cited.head_id
  JOIN carriers_networkversion other ON other.head_id = w.id
 WHERE {_known("cited")} AND {_in_force("other")} AND other.admission <> ''
   AND (other.valid_from > cited.valid_from
        OR (other.valid_from = cited.valid_from AND other.head_id > cited.head_id))"""  # noqa: S608

    def _expired(self) -> str:
        return f"""WITH {self._sold()}
SELECT s.order_id, 'expired', {self.db.no_text}, {self.db.no_integer}, {self.db.no_integer}, ''
  FROM sold s WHERE s.t >= s.expires_at
UNION
SELECT s.order_id, 'unproven', {self.db.no_text}, {self.db.no_integer}, {self.db.no_integer}, 'instant'
  FROM sold s JOIN placed o ON o.id = s.order_id WHERE o.sold_at < s.t"""  # noqa: S608

    # --- holds

    def _dimensions(self) -> set[str]:
        """By which dimensions the holds are to be looked for that were known at any of these orders."""
        ranks = dict(self._rows(f"WITH {self._placed()}, {self._holds()} SELECT driver, 1 FROM hold"))  # noqa: S608
        return set(ranks) - {None}

    def _holds(self) -> str:
        first = " ".join(f"WHEN '{name}' THEN {10 * place}" for place, name in enumerate(_DRIVERS, start=1))
        return f"""hold AS MATERIALIZED (
  SELECT h.id, h.head_id, h.reach, h.valid_from, h.valid_until, h.released_at, h.rev_from, h.rev_to,
         (SELECT t.dimension FROM authorization_holdtarget t WHERE t.version_id = h.id AND t.part = 0
           ORDER BY CASE t.dimension {first} ELSE 45 END, t.dimension LIMIT 1) AS driver
    FROM authorization_holdversion h
   WHERE h.rev_from <= (SELECT MAX(k) FROM placed) AND (h.rev_to IS NULL OR h.rev_to > (SELECT MIN(k) FROM placed))
)"""  # noqa: S608

    def _above(self) -> str:
        """Whom the maker of what was sold belonged to, directly or through others."""
        return f"""above(line_id, k, t, organization) AS (
  SELECT s.line_id, s.k, s.t, a.parent_id
    FROM sold s JOIN authorization_affiliationversion a ON a.child_id = s.maker WHERE {_in_force("a")}
  UNION
  SELECT s.line_id, s.k, s.t, a.parent_id
    FROM above s JOIN authorization_affiliationversion a ON a.child_id = s.organization WHERE {_in_force("a")}
)"""  # noqa: S608

    def _on_hold(self, drivers: set[str]) -> str:
        """The hold was known and in force, it matches the order, and no exemption excuses.

        A regulator's list bars equipment authorizations: only an order that rests on one is late.
        """
        arms = [
            f"SELECT s.line_id, s.k, s.t, '{dimension}' AS dimension, {value} AS value FROM sold s"  # noqa: S608
            for dimension, value in _TERMS.items()
            if dimension in drivers
        ]
        if "manufacturer" in drivers:
            arms.append("SELECT line_id, k, t, 'manufacturer', CAST(organization AS text) FROM above")
        if "fact" in drivers:
            arms.append(
                "SELECT s.line_id, s.k, s.t, 'fact', CAST(e.fact_id AS text)"
                " FROM sold s JOIN authorization_decisionevidence e ON e.decision_id = s.decision_id"
                " AND e.kind IN ('agreement', 'approval', 'equipment')"
            )
        if any(driver.startswith(HoldTarget.ATTRIBUTE) for driver in drivers):
            arms.append(
                f"SELECT s.line_id, s.k, s.t, '{HoldTarget.ATTRIBUTE}' || a.name, a.value"  # noqa: S608
                " FROM sold s JOIN catalog_variantversion x ON x.head_id = s.variant"
                f" JOIN catalog_variantattribute a ON a.version_id = x.id WHERE {_in_force('x')}"
            )
        named = "\n  UNION ALL ".join(arms)
        return f"""WITH RECURSIVE {self._sold()}, {self._holds()}, {self._above()},
named(line_id, k, t, dimension, value) AS (
  {named}
),
target AS MATERIALIZED (
  SELECT t.dimension, t.value, h.id AS version_id, h.rev_from, h.rev_to, h.valid_from, h.valid_until,
         h.released_at
    FROM hold h JOIN authorization_holdtarget t ON t.version_id = h.id AND t.part = 0 AND t.dimension = h.driver
),
met AS MATERIALIZED (
  SELECT DISTINCT s.line_id, h.version_id
    FROM named s JOIN target h ON h.dimension = s.dimension AND h.value = s.value
   WHERE {_in_force("h")} AND (h.released_at IS NULL OR s.t < h.released_at)
)
SELECT DISTINCT s.order_id, 'on_hold', 'hold', h.head_id, h.rev_from, ''
  FROM met JOIN sold s ON s.line_id = met.line_id JOIN hold h ON h.id = met.version_id
 WHERE {self._matches("0")}
   AND NOT EXISTS (
     SELECT 1 FROM authorization_holdexemption exemption
      WHERE exemption.version_id = h.id AND exemption.valid_from <= s.t AND s.t < exemption.valid_until
        AND {self._matches("exemption.part")})
   AND (h.reach = 'sale' OR EXISTS (
     SELECT 1 FROM authorization_decisionevidence e
       JOIN authorization_equipmentversion x ON x.head_id = e.fact_id AND x.version_no = e.version_no
      WHERE e.decision_id = s.decision_id AND e.kind = 'equipment'
        AND (h.reach = 'all_grants' OR x.granted_at >= h.valid_from)))"""  # noqa: S608

    def _matches(self, part: str) -> str:
        """Do the targets of this part of hold `h` match the line, one of each dimension that it names?"""
        terms = "\n".join(
            f"               WHEN '{dimension}' THEN t.value = {value}"
            for dimension, value in _TERMS.items()
            if dimension != "manufacturer"
        )
        pair = "CAST({} AS text) || ':' || {}"
        return f"""EXISTS (SELECT 1 FROM authorization_holdtarget t WHERE t.version_id = h.id AND t.part = {part})
     AND NOT EXISTS (
       SELECT 1 FROM authorization_holdtarget named
        WHERE named.version_id = h.id AND named.part = {part} AND NOT EXISTS (
          SELECT 1 FROM authorization_holdtarget t
           WHERE t.version_id = h.id AND t.part = {part} AND t.dimension = named.dimension AND CASE t.dimension
{terms}
               WHEN 'manufacturer' THEN t.value = {_TERMS["manufacturer"]}
                 OR {pair.format("s.line_id", "t.value")} IN (
                   SELECT {pair.format("line_id", "CAST(organization AS text)")} FROM above)
               WHEN 'fact' THEN EXISTS (
                 SELECT 1 FROM authorization_decisionevidence e
                  WHERE e.decision_id = s.decision_id AND CAST(e.fact_id AS text) = t.value
                    AND e.kind IN ('agreement', 'approval', 'equipment'))
               ELSE EXISTS (
                 SELECT 1 FROM catalog_variantversion x
                   JOIN catalog_variantattribute a ON a.version_id = x.id
                  WHERE x.head_id = s.variant AND {_in_force("x")}
                    AND '{HoldTarget.ATTRIBUTE}' || a.name = t.dimension AND a.value = t.value)
             END))"""  # noqa: S608

    # --- what is no proof

    def _records(self) -> str:
        """Orders, lines and decisions that cannot be what they say."""
        nothing = f"{self.db.no_text}, {self.db.no_integer}, {self.db.no_integer}"
        same = " OR ".join(
            f"COALESCE(q.question ->> '{name}', '') <> {column}"
            if self.is_postgresql
            else f"COALESCE(CAST(q.question ->> '{name}' AS text), '') <> {column}"
            for name, column in (
                ("vendor_id", "CAST(l.vendor_id AS text)"),
                ("listing_id", "CAST(l.listing_id AS text)"),
                ("host_id", "CAST(p.host_id AS text)"),
            )
        )
        in_range = "o.id BETWEEN %(first)s AND %(last)s"
        if self.revision is not None:
            in_range += " AND o.id IN (SELECT id FROM placed)"
        never_written = " AND ".join(
            f"NOT (e.kind = '{kind}' AND EXISTS (SELECT 1 FROM {table} x"  # noqa: S608
            " WHERE x.head_id = e.fact_id AND x.version_no = e.version_no))"
            for kind, table in _TABLES.items()
        )
        return f"""WITH {self._placed()}
SELECT o.id, 'unproven', {nothing}, 'transaction'
  FROM storefront_order o WHERE {in_range} AND NOT {self._is_number("o.transaction_id")}
UNION
{self._other_transaction()}
UNION
SELECT o.id, 'unproven', {nothing}, 'lines'
  FROM storefront_order o
 WHERE {in_range} AND NOT EXISTS (SELECT 1 FROM storefront_orderline l WHERE l.order_id = o.id)
UNION
SELECT o.id, 'unproven', {nothing}, 'decision'
  FROM storefront_order o
  JOIN storefront_orderline l ON l.order_id = o.id
  JOIN catalog_listinghost p ON p.id = l.offer_id
  JOIN authorization_decision q ON q.id = l.decision_id
 WHERE {in_range} AND (q.outcome <> 'allow' OR q.offer_id <> l.offer_id OR p.listing_id <> l.listing_id OR {same})
UNION
SELECT o.id, 'unproven', CASE WHEN f.id IS NOT NULL THEN e.kind END, f.id, {self.db.no_integer}, 'evidence'
  FROM storefront_order o
  JOIN storefront_orderline l ON l.order_id = o.id
  JOIN authorization_decisionevidence e ON e.decision_id = l.decision_id
  LEFT JOIN authorization_fact f ON f.kind = e.kind AND f.id = e.fact_id
 WHERE {in_range} AND {never_written}"""  # noqa: S608

    def _other_transaction(self) -> str:
        """Orders that name a transaction which did not write them.

        PostgreSQL keeps with each row the last 32 bits of the id of the transaction that wrote it, and a decision is
        never written again. On SQLite the numbers of sales rise as the orders do, and each is a ticket that was drawn.
        """
        nothing = f"{self.db.no_text}, {self.db.no_integer}, {self.db.no_integer}"
        if self.is_postgresql:
            return f"""SELECT o.id, 'unproven', {nothing}, 'transaction'
  FROM placed o
  JOIN storefront_orderline l ON l.order_id = o.id
  JOIN authorization_decision q ON q.id = l.decision_id
 WHERE (q.xmin::text)::bigint <> ((o.transaction_id)::bigint & 4294967295)"""  # noqa: S608
        return f"""SELECT o.id, 'unproven', {nothing}, 'transaction'
  FROM (SELECT id, CAST(transaction_id AS INTEGER) AS ticket,
               LAG(CAST(transaction_id AS INTEGER)) OVER (ORDER BY id) AS before FROM placed) o
 WHERE o.before >= o.ticket OR NOT EXISTS (SELECT 1 FROM authorization_saleticket x WHERE x.id = o.ticket)"""  # noqa: S608

    def _grounds(self) -> str:
        """Lines whose evidence does not carry them: a ground that the cited policy enforces rests on nothing.

        Of radio it is asked that the phone and the network are cited, not how well they go together.
        """
        nothing = f"{self.db.no_text}, {self.db.no_integer}, {self.db.no_integer}"

        def cites(kind: str, condition: str, join: str = "") -> str:
            return (
                f"EXISTS (SELECT 1 FROM authorization_decisionevidence e JOIN {_TABLES[kind]} x"  # noqa: S608
                f" ON x.head_id = e.fact_id AND x.version_no = e.version_no {join}"
                f" WHERE e.decision_id = s.decision_id AND e.kind = '{kind}' AND {condition})"
            )

        lacking = {
            "policy": "s.policies <> 1",
            "hosting": f"NOT {cites('hosting', 'g.host_id = s.host', 'JOIN carriers_hosting g ON g.id = x.head_id')}",
            "approval": f"s.enforces_approval AND NOT {cites('approval', self._approves())}",
            "equipment": "s.enforces_equipment AND NOT "
            + cites("equipment", "x.variant_id = s.variant AND x.territory = s.territory"),
            "radio": f"s.minimum_radio <> '' AND NOT ({cites('variant', 'x.head_id = s.variant')} AND "
            + cites("network", "w.host_id = s.host", "JOIN carriers_network w ON w.id = x.head_id")
            + ")",
            "agreement": "s.enforces_agreement AND s.vendor <> s.maker AND CAST(s.line_id AS text) || ':' ||"
            " CAST(s.maker AS text) NOT IN (SELECT CAST(line_id AS text) || ':' || CAST(organization AS text)"
            " FROM way)",
        }
        arms = "\nUNION ALL\n".join(
            f"SELECT s.order_id, 'unproven', {nothing}, '{missing}' FROM judged s WHERE {condition}"  # noqa: S608
            for missing, condition in lacking.items()
        )
        return f"""WITH RECURSIVE {self._sold()}{self._software_keys()},
judged AS MATERIALIZED (
  SELECT s.order_id, s.line_id, s.decision_id, s.vendor, s.host, s.variant, s.maker, s.territory, s.channel,
         s.state_of_goods, s.software, COUNT(p.id) AS policies, MAX(p.minimum_radio) AS minimum_radio,
         COALESCE(MAX(CASE WHEN p.is_agreement_enforced THEN 1 END), 0) = 1 AS enforces_agreement,
         COALESCE(MAX(CASE WHEN p.minimum_assurance = 'verified' THEN 1 END), 0) = 1 AS demands_verified,
         COALESCE(MAX(CASE WHEN p.is_carrier_approval_enforced THEN 1 END), 0) = 1 AS enforces_approval,
         COALESCE(MAX(CASE WHEN p.is_conditional_approval_enough THEN 1 END), 0) = 1 AS takes_conditional,
         COALESCE(MAX(CASE WHEN p.is_equipment_authorization_enforced THEN 1 END), 0) = 1 AS enforces_equipment
    FROM sold s
    LEFT JOIN authorization_decisionevidence e ON e.decision_id = s.decision_id AND e.kind = 'policy'
    LEFT JOIN authorization_policyversion p
      ON p.head_id = e.fact_id AND p.version_no = e.version_no AND p.territory IN (s.territory, '*')
   GROUP BY s.order_id, s.line_id, s.decision_id, s.vendor, s.host, s.variant, s.maker, s.territory, s.channel,
            s.state_of_goods, s.software
),
way(line_id, decision_id, vendor, maker, variant, territory, channel, state_of_goods, demands_verified,
    organization) AS (
  SELECT s.line_id, s.decision_id, s.vendor, s.maker, s.variant, s.territory, s.channel, s.state_of_goods,
         s.demands_verified, s.vendor
    FROM judged s WHERE s.enforces_agreement AND s.vendor <> s.maker
  UNION
  SELECT s.line_id, s.decision_id, s.vendor, s.maker, s.variant, s.territory, s.channel, s.state_of_goods,
         s.demands_verified,
         CASE WHEN a.id IS NOT NULL THEN a.grantor_id WHEN b.parent_id = s.organization THEN b.child_id
              ELSE b.parent_id END
    FROM way s
    JOIN authorization_decisionevidence e ON e.decision_id = s.decision_id AND e.kind IN ('agreement', 'affiliation')
    LEFT JOIN authorization_agreementversion a
      ON e.kind = 'agreement' AND a.head_id = e.fact_id AND a.version_no = e.version_no
    LEFT JOIN authorization_affiliationversion b
      ON e.kind = 'affiliation' AND b.head_id = e.fact_id AND b.version_no = e.version_no
   WHERE (a.grantee_id = s.organization AND (s.organization = s.vendor OR a.may_sublicense)
          AND (a.assurance = 'verified' OR NOT s.demands_verified) AND {self._covers()})
      OR b.parent_id = s.organization
      OR (b.child_id = s.organization AND b.parent_id = s.maker AND b.may_grant_for_parent)
)
{arms}"""  # noqa: S608

    def _covers(self) -> str:
        terms = {
            "model": "CAST(s.variant AS text)",
            "territory": "s.territory",
            "channel": "s.channel",
            "condition": "s.state_of_goods",
        }
        return " AND ".join(
            "EXISTS (SELECT 1 FROM authorization_scopeterm x WHERE x.version_id = a.id"  # noqa: S608
            f" AND x.dimension = '{dimension}' AND x.value IN ('*', {value}))"
            for dimension, value in terms.items()
        )

    def _approves(self) -> str:
        condition = (
            "x.variant_id = s.variant AND x.host_id = s.host AND x.state NOT IN ('requested', 'in_test', 'rejected')"
            " AND (s.takes_conditional OR NOT (x.state = 'conditional'"
            " OR (x.state = 'revoked' AND (x.limits <> '' OR x.waived_until IS NOT NULL))))"
        )
        if self.is_software_asked:
            condition += (
                " AND ((x.software_from_key = '' AND x.software_until_key = '') OR EXISTS (SELECT 1 FROM software v"
                " WHERE v.version = s.software AND v.sort_key >= x.software_from_key"
                " AND (x.software_until_key = '' OR v.sort_key < x.software_until_key)))"
            )
        return condition

    def _software_keys(self) -> str:
        """What was asked about software, in the form that sorts."""
        if not self.is_software_asked:
            return ""
        asked = f"WITH {self._sold()} SELECT DISTINCT software FROM sold WHERE software <> ''"  # noqa: S608
        versions = {version: sort_key(version) for (version,) in self._rows(asked)}
        self.parameters |= self.db.columns(
            "software", {}, {"version": list(versions), "sort_key": list(versions.values())}
        )
        return f",\nsoftware(version, sort_key) AS ({self.db.table('software', (), ('version', 'sort_key'))})"

    # --- makers: rows of the catalog without versions

    def _makers_then(self) -> str:
        """Of each line the device and the maker that stood in the catalog at `k`, as far as that is known.

        The first correction after `k` says what it replaced; without one it is what stands there now. `is_open`: it
        does not say.
        """
        moves = [move for move in self.moves if move.before is not None]
        self.parameters |= self.db.columns(
            "corrected",
            {
                "revision": [move.revision for move in self.moves],
                "row_id": [move.row_id for move in self.moves],
                "before": [move.before if move.before is not None else -1 for move in self.moves],
            },
            {"kind": [move.kind for move in self.moves]},
        )
        del moves

        def next_move(kind: str, column: str) -> str:
            return (
                f"(SELECT MIN(m.revision) FROM corrected m"  # noqa: S608
                f" WHERE m.kind = '{kind}' AND m.row_id = s.{column} AND m.revision > s.k)"
            )

        def then(kind: str, column: str, now: str) -> str:
            return (
                f"CASE WHEN s.next_{kind} IS NULL THEN {now} ELSE (SELECT MIN(m.before) FROM corrected m"  # noqa: S608
                f" WHERE m.kind = '{kind}' AND m.row_id = s.{column} AND m.revision = s.next_{kind}) END"
            )

        columns = self.db.table("corrected", ("revision", "row_id", "before"), ("kind",))
        return f"""corrected(revision, row_id, before, kind) AS MATERIALIZED ({columns}),
stood AS MATERIALIZED (
  SELECT s.order_id, s.k, s.variant, s.device, s.maker,
         {next_move("variant", "variant")} AS next_variant, {next_move("device", "device")} AS next_device
    FROM sold s
),
seen AS MATERIALIZED (
  SELECT s.order_id, s.k, s.variant, s.device, s.maker, {then("variant", "variant", "v.device_id")} AS device_then,
         {then("device", "device", "d.manufacturer_id")} AS maker_then
    FROM stood s LEFT JOIN catalog_variant v ON v.id = s.variant LEFT JOIN catalog_device d ON d.id = s.device
),
catalog AS (
  SELECT order_id, k, variant, device,
         CASE WHEN device_then = -1 OR maker_then = -1 THEN 1 ELSE 0 END AS is_open,
         CASE WHEN device_then = device AND maker_then = maker THEN 1 ELSE 0 END AS is_same
    FROM seen
)"""  # noqa: S608

    def _makers(self) -> str:
        """The phone was of another device or maker than was asked about when it was decided."""
        corrected_at = (
            "(SELECT MAX(m.revision) FROM corrected m WHERE m.revision <= s.k AND ((m.kind = 'variant'"
            " AND m.row_id = s.variant) OR (m.kind = 'device' AND m.row_id = s.device)))"
        )
        return f"""WITH {self._sold()}, {self._makers_then()},
found AS (
  SELECT s.order_id, s.variant, {corrected_at} AS revision FROM catalog s WHERE s.is_same = 0 AND s.is_open = 0
)
SELECT DISTINCT order_id, CASE WHEN revision IS NULL THEN 'unproven' ELSE 'superseded' END, 'variant', variant,
       revision, CASE WHEN revision IS NULL THEN 'maker' ELSE '' END
  FROM found"""  # noqa: S608
