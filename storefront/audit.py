"""Proof that no order is late: that none was sold on authority that had been taken away when it committed.

The proof does not believe the sale. It asks neither `Order.revision` nor a clock when something was
withdrawn: a change of authority keeps the database's own snapshot, taken after it had got the fence, and an
order the database's own name of its transaction. An order that is not in the snapshot of a change committed
after it. It is late when that change closed a version of a record that the order cites (a hosting, a network's
bands and a variant's radio are such records too), or placed a hold that it falls under, and no exemption
excuses. Which attributes a phone had, and whom its maker belonged to, is read as it was known then. Nor are the
code paths of the sale or of a decision called here: it is SQL over what they left behind.

Instants decide only where authority begins or ends by date, for there the date is the authority: `sold_at`, read
under the fence, against `expires_at` of the decision, `valid_until` of a hold, both ends of an exemption, and
`valid_from` of a hold that was placed for later.

What cannot be proven either way counts as late: an order line that rests on no allow for its offer, or that
cites a version that was never written, or an order without a transaction id.

On SQLite the single writer numbers its sales; the highest number at the change stands for the snapshot.
PostgreSQL's transaction ids live as long as the cluster: copy it whole (base backup), for a dump into a new
cluster starts them anew, and the audit of what came before is to be done before moving.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from storefront.models import Order


@dataclass(frozen=True)
class LateOrder:
    """One order and why it is late: `evidence_closed`, `on_hold`, `expired` or `unproven`."""

    order_id: int
    public_id: UUID
    sold_at: datetime
    why: str
    # The record that was withdrawn and the revision that did it, where there is one.
    fact_code: str = ""
    revision: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"public_id": str(self.public_id), "sold_at": self.sold_at.isoformat()}


def late_orders() -> list[LateOrder]:
    """Every late order, each reason once, by order. Empty is the promise kept."""
    found = {
        (order_id, why, code, revision)
        for why, sql in _QUERIES.items()
        for order_id, code, revision in _rows(sql)
    }
    orders = Order.objects.in_bulk({order_id for order_id, *_ in found})
    return [
        LateOrder(order_id, orders[order_id].public_id, orders[order_id].sold_at, why, code or "", revision)
        for order_id, why, code, revision in sorted(
            found, key=lambda row: (row[0], row[1], row[2] or "", row[3] or 0)
        )
    ]


def count_orders() -> int:
    """How many orders `late_orders` looks at."""
    return Order.objects.count()


# Which orders a change of authority saw. {order} is the transaction id of a sale, {change} a revision's
# snapshot.
_HAS_SEEN = {
    "postgresql": "pg_visible_in_snapshot(({order})::xid8, ({change})::pg_snapshot)",
    "sqlite": "CAST({order} AS INTEGER) <= CAST({change} AS INTEGER)",
}
_IS_NUMBER = {
    "postgresql": "{value} ~ '^[0-9]+$'",
    "sqlite": "({value} <> '' AND {value} NOT GLOB '*[^0-9]*')",
}

# Every order line with a transaction id that can be compared. The offer's and the listing's terms may have
# been edited since; the vendor, the listing and the host cannot, and the question that was decided says which
# variant was sold.
_SOLD = """
    sold AS (
        SELECT o.id AS order_id, o.transaction_id, o.sold_at, l.decision_id, v.id AS variant_id,
               d.manufacturer_id,
               CAST(l.vendor_id AS VARCHAR) AS vendor, CAST(l.listing_id AS VARCHAR) AS listing,
               CAST(p.host_id AS VARCHAR) AS host, CAST(v.id AS VARCHAR) AS variant,
               CAST(v.device_id AS VARCHAR) AS device, CAST(d.manufacturer_id AS VARCHAR) AS manufacturer,
               q.question ->> 'territory' AS territory, q.question ->> 'channel' AS channel,
               q.question ->> 'condition' AS state_of_goods
        FROM storefront_order o
        JOIN storefront_orderline l ON l.order_id = o.id
        JOIN catalog_listinghost p ON p.id = l.offer_id
        JOIN authorization_decision q ON q.id = l.decision_id
        LEFT JOIN catalog_variant v ON CAST(v.id AS VARCHAR) = CAST(q.question ->> 'variant_id' AS VARCHAR)
        LEFT JOIN catalog_device d ON d.id = v.device_id
        WHERE {order_has_transaction}
    )
"""

# All versions of all kinds of records that a decision can cite, those written first and those that followed.
_VERSIONS = """
    versions AS (
        SELECT 'agreement' AS kind, head_id, version_no, rev_to FROM authorization_agreementversion
        UNION ALL SELECT 'affiliation', head_id, version_no, rev_to FROM authorization_affiliationversion
        UNION ALL SELECT 'approval', head_id, version_no, rev_to FROM authorization_approvalversion
        UNION ALL SELECT 'equipment', head_id, version_no, rev_to FROM authorization_equipmentversion
        UNION ALL SELECT 'policy', head_id, version_no, rev_to FROM authorization_policyversion
        UNION ALL SELECT 'hosting', head_id, version_no, rev_to FROM carriers_hostingversion
        UNION ALL SELECT 'network', head_id, version_no, rev_to FROM carriers_networkversion
        UNION ALL SELECT 'variant', head_id, version_no, rev_to FROM catalog_variantversion
    ),
    heads AS (
        SELECT kind, id, code FROM authorization_fact
        UNION ALL SELECT 'hosting', g.id,
                  CASE WHEN g.product_name <> '' THEN g.product_name ELSE g.mvno END || ' on ' || c.code
             FROM carriers_hosting g JOIN carriers_hostcarrier c ON c.id = g.host_id
        UNION ALL SELECT 'network', g.id, c.code || ' ' || g.era
             FROM carriers_network g JOIN carriers_hostcarrier c ON c.id = g.host_id
        UNION ALL SELECT 'variant', id, slug FROM catalog_variant
    )
"""

# The order cites a version of a record, a change closed that version, and that change had not seen the order.
_EVIDENCE_CLOSED = f"""
    WITH {_SOLD}, {_VERSIONS}
    SELECT DISTINCT sold.order_id, f.code, r.n
    FROM sold
    JOIN authorization_decisionevidence e ON e.decision_id = sold.decision_id
    JOIN versions x ON x.kind = e.kind AND x.head_id = e.fact_id AND x.version_no = e.version_no
    JOIN authorization_revision r ON r.n = x.rev_to
    JOIN heads f ON f.kind = e.kind AND f.id = e.fact_id
    WHERE NOT {{has_seen[r, sold]}}
"""  # noqa: S608  no value of anybody's goes into these texts


def _known(version: str, order: str) -> str:
    """Was this version in force at the sale, and known when it committed? Joins: `began` and `closed` its revisions."""
    return f"""{version}.valid_from <= {order}.sold_at AND {order}.sold_at < {version}.valid_until
              AND NOT {{has_seen[began, {order}]}} AND (closed.n IS NULL OR {{has_seen[closed, {order}]}})"""


def _revisions_of(version: str) -> str:
    return f"""JOIN authorization_revision began ON began.n = {version}.rev_from
             LEFT JOIN authorization_revision closed ON closed.n = {version}.rev_to"""


# Whom the maker of what was sold belonged to, directly or through others.
_ABOVE = f"""
    above(decision_id, transaction_id, sold_at, organization_id) AS (
        SELECT sold.decision_id, sold.transaction_id, sold.sold_at, a.parent_id
          FROM sold JOIN authorization_affiliationversion a ON a.child_id = sold.manufacturer_id
               {_revisions_of("a")}
         WHERE {_known("a", "sold")}
        UNION
        SELECT below.decision_id, below.transaction_id, below.sold_at, a.parent_id
          FROM above below JOIN authorization_affiliationversion a ON a.child_id = below.organization_id
               {_revisions_of("a")}
         WHERE {_known("a", "below")}
    )
"""  # noqa: S608


def _matches(part: str) -> str:
    """Do the targets of this part of hold `h` match the order, one of each dimension that it names?"""
    return f"""
      EXISTS (SELECT 1 FROM authorization_holdtarget t WHERE t.version_id = h.id AND t.part = {part})
      AND NOT EXISTS (
        SELECT 1 FROM authorization_holdtarget named
        WHERE named.version_id = h.id AND named.part = {part} AND NOT EXISTS (
            SELECT 1 FROM authorization_holdtarget t
            WHERE t.version_id = h.id AND t.part = {part} AND t.dimension = named.dimension AND CASE t.dimension
                WHEN 'vendor' THEN t.value = sold.vendor
                WHEN 'listing' THEN t.value = sold.listing
                WHEN 'host' THEN t.value = sold.host
                WHEN 'variant' THEN t.value = sold.variant
                WHEN 'device' THEN t.value = sold.device
                WHEN 'manufacturer' THEN t.value = sold.manufacturer OR (sold.decision_id, t.value) IN (
                    SELECT above.decision_id, CAST(above.organization_id AS VARCHAR) FROM above)
                WHEN 'territory' THEN t.value = sold.territory
                WHEN 'channel' THEN t.value = sold.channel
                WHEN 'condition' THEN t.value = sold.state_of_goods
                WHEN 'fact' THEN EXISTS (
                    SELECT 1 FROM authorization_decisionevidence e
                    WHERE e.decision_id = sold.decision_id AND CAST(e.fact_id AS VARCHAR) = t.value
                      AND e.kind IN ('agreement', 'approval', 'equipment'))
                ELSE EXISTS (
                    SELECT 1 FROM catalog_variantversion x
                    JOIN catalog_variantattribute a ON a.version_id = x.id
                    {_revisions_of("x")}
                    WHERE x.head_id = sold.variant_id AND {_known("x", "sold")}
                      AND 'attribute:' || a.name = t.dimension AND a.value = t.value)
            END
        )
      )"""  # noqa: S608


# The hold matches the order, its placing had not seen the order, and no later version (a release is one) had
# begun before the order either: a version of a hold is in force from the change that wrote it to the change
# that closed it. An exemption excuses, unless it was over when that version was written. A regulator's list bars
# equipment authorizations: only an order that rests on one is late.
_ON_HOLD = f"""
    WITH RECURSIVE {_SOLD}, {_ABOVE}
    SELECT DISTINCT sold.order_id, f.code, r.n
    FROM authorization_holdversion h
    JOIN authorization_fact f ON f.id = h.head_id
    JOIN authorization_revision r ON r.n = h.rev_from
    LEFT JOIN authorization_revision ended ON ended.n = h.rev_to
    CROSS JOIN sold
    WHERE h.released_at IS NULL
      AND (h.valid_from <= r.recorded_at OR h.valid_from <= sold.sold_at)
      AND sold.sold_at < h.valid_until
      AND NOT {{has_seen[r, sold]}}
      AND (ended.n IS NULL OR {{has_seen[ended, sold]}})
      AND {_matches("0")}
      AND NOT EXISTS (
        SELECT 1 FROM authorization_holdexemption exemption
        WHERE exemption.version_id = h.id
          AND exemption.valid_from <= sold.sold_at AND sold.sold_at < exemption.valid_until
          AND exemption.valid_until > r.recorded_at
          AND {_matches("exemption.part")}
      )
      AND (h.reach = 'sale' OR EXISTS (
        SELECT 1 FROM authorization_decisionevidence e
        JOIN authorization_equipmentversion x ON x.head_id = e.fact_id AND x.version_no = e.version_no
        WHERE e.decision_id = sold.decision_id AND e.kind = 'equipment'
          AND (h.reach = 'all_grants' OR x.granted_at >= h.valid_from)
      ))
"""  # noqa: S608

_EXPIRED = """
    SELECT DISTINCT o.id, NULL, NULL
    FROM storefront_order o
    JOIN storefront_orderline l ON l.order_id = o.id
    JOIN authorization_decision q ON q.id = l.decision_id
    WHERE o.sold_at >= q.expires_at
"""

_UNPROVEN = f"""
    WITH {_VERSIONS}
    SELECT DISTINCT o.id, f.code, NULL
    FROM storefront_order o
    LEFT JOIN storefront_orderline l ON l.order_id = o.id
    LEFT JOIN authorization_decision q ON q.id = l.decision_id
    LEFT JOIN authorization_decisionevidence e ON e.decision_id = q.id
    LEFT JOIN versions x ON x.kind = e.kind AND x.head_id = e.fact_id AND x.version_no = e.version_no
    LEFT JOIN heads f ON f.kind = e.kind AND f.id = e.fact_id AND x.head_id IS NULL
    WHERE NOT {{order_has_transaction}}
       OR l.id IS NULL OR q.outcome <> 'allow' OR q.offer_id <> l.offer_id
       OR e.id IS NULL OR x.head_id IS NULL
"""  # noqa: S608

_QUERIES = {
    "evidence_closed": _EVIDENCE_CLOSED,
    "on_hold": _ON_HOLD,
    "expired": _EXPIRED,
    "unproven": _UNPROVEN,
}


class _HasSeen(dict[str, str]):
    """For `{has_seen[change, order]}` in a text: had this revision seen this order?"""

    def __missing__(self, names: str) -> str:
        change, order = names.split(", ")
        return _HAS_SEEN[connection.vendor].format(
            order=f"{order}.transaction_id", change=f"{change}.snapshot"
        )


def _rows(sql: str) -> list[tuple[int, str | None, int | None]]:
    is_number = _IS_NUMBER[connection.vendor].format(value="o.transaction_id")
    with connection.cursor() as cursor:
        cursor.execute(sql.format(order_has_transaction=is_number, has_seen=_HasSeen()))
        return cursor.fetchall()
