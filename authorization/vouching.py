"""The quick look: which live offers does their clearance still vouch for? Set-based SQL, a page of offers at a time.

A clearance rests on a decision that allowed, at a revision and until an instant. It still vouches when nothing can
have turned that allow since: what the decision was asked is what the rows say today, each version that it cites is
current, its end has not come, and what was not there to be cited stands not in the way now: a policy that goes
before the cited one, a hold, a list, a network that goes before the cited one. docs/reconciler.md says why these are
all. What is doubted here is not condemned: the engine decides it in full.
"""

from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from authorization.dialect import Dialect

# Offers of one statement: some ten thousand rows of evidence, in memory for some hundred milliseconds.
PAGE = 10_000

# kind of evidence -> the table of its versions
VERSIONS = {
    "policy": "authorization_policyversion",
    "hosting": "carriers_hostingversion",
    "agreement": "authorization_agreementversion",
    "affiliation": "authorization_affiliationversion",
    "approval": "authorization_approvalversion",
    "equipment": "authorization_equipmentversion",
    "variant": "catalog_variantversion",
    "network": "carriers_networkversion",
}

# dimension of a hold -> the column of `live`, where an offer has one value of it
_COLUMNS = {
    "listing": "listing",
    "variant": "variant",
    "device": "device",
    "vendor": "vendor",
    "host": "host",
    "territory": "territory",
    "channel": "channel",
    "condition": "condition",
}
# By which dimension the offers of a hold are found: the one that the fewest share. Attributes stand at 6.
_RANKS = {
    "listing": 1, "variant": 2, "device": 3, "vendor": 4, "manufacturer": 5, "host": 7, "territory": 8,
    "channel": 9, "condition": 10,
}  # fmt: skip


@dataclass
class Look:
    """One page. `last`: the id to go on after, None behind the last offer. `doubted`: offer id -> what is doubted."""

    looked_at: int = 0
    last: int | None = None
    doubted: dict[int, list[str]] = field(default_factory=dict)


def look(*, after: int, at: datetime, limit: int = PAGE) -> Look:
    """The next live offers by id. `at`: an instant not before the newest revision."""
    db = Dialect()
    found = Look()
    rows = db.rows(
        statement(db), at=at, after=after, limit=limit, mvno=settings.SHOP_MVNO, like="attribute:%"
    )
    for doubt, number, last in rows:
        if doubt == "page":
            found.looked_at, found.last = number, last
        else:
            found.doubted.setdefault(number, []).append(doubt)
    return found


def statement(db: Dialect) -> str:
    tables = [*_offers(db), *_evidence(db), *_holds(db)]
    arms = ["SELECT 'page' AS doubt, COUNT(*) AS number, MAX(id) AS last FROM live"]
    arms += [
        f"SELECT DISTINCT '{name}', {offer}, {db.no_integer} {rows}"
        for name, (offer, rows) in doubts(db).items()
    ]
    return f"WITH RECURSIVE {', '.join(tables)}\n" + "\nUNION ALL\n".join(arms)


def doubts(db: Dialect) -> dict[str, tuple[str, str]]:
    """What can be wrong with a clearance: name -> the column of the offer's id, and the rows that show it."""
    at = db.instant("at")
    return {
        "ended": ("l.id", f"FROM live l WHERE l.expires_at <= {at}"),
        # Its phone may be of another device or maker by now, which is no part of its terms.
        "other question": ("l.id", f"FROM live l LEFT JOIN asked d ON d.offer = l.id WHERE {_differs(db)}"),
        "closed": ("c.offer", f"FROM cited c JOIN closed x ON {_same_version('c', 'x')}"),
        "policy": (
            "l.id",
            "FROM live l LEFT JOIN ruling r ON r.territory = l.territory AND r.place = 1"
            " LEFT JOIN cited c ON c.offer = l.id AND c.kind = 'policy'"
            " WHERE r.fact_id IS NULL OR c.fact_id IS NULL OR c.fact_id <> r.fact_id",
        ),
        "hosting": (
            "l.id",
            "FROM live l LEFT JOIN cited c ON c.offer = l.id AND c.kind = 'hosting'"
            " LEFT JOIN carriers_hosting h ON h.id = c.fact_id AND h.host_id = l.host AND h.mvno = %(mvno)s"
            " WHERE h.id IS NULL",
        ),
        "network": ("c.offer", f"FROM cited c JOIN outdone x ON {_same_version('c', 'x')}"),
        "hold": ("s.offer", "FROM stopping s JOIN hold h ON h.id = s.hold_id WHERE h.reach = 'sale'"),
        "list": (
            "s.offer",
            "FROM stopping s JOIN hold h ON h.id = s.hold_id AND h.reach <> 'sale'"
            " JOIN cited c ON c.offer = s.offer AND c.kind = 'equipment'"
            " JOIN authorization_equipmentversion e ON e.head_id = c.fact_id AND e.version_no = c.version_no"
            " WHERE h.reach = 'all_grants' OR e.granted_at >= h.valid_from",
        ),
    }


# --- offers -----------------------------------------------------------------------------------------------------


def _offers(db: Dialect) -> list[str]:
    decision = db.lookup("authorization_decision", "d", "d.id = l.decision_id", is_short=True)
    numbers = [
        f"CAST(d.question ->> '{name}' AS bigint) AS {column}"
        for name, column in (
            ("vendor_id", "vendor"),
            ("manufacturer_id", "maker"),
            ("device_id", "device"),
            ("variant_id", "variant"),
            ("host_id", "host"),
        )
    ]
    texts = [f"d.question ->> '{name}' AS {name}" for name in ("territory", "channel", "condition")]
    # What was decided before the question knew of software was decided for none stated.
    texts.append("COALESCE(d.question ->> 'software', '') AS software")
    return [
        f"""live(id, decision_id, expires_at, listing, vendor, maker, device, variant, host, territory, channel,
     condition, software) AS MATERIALIZED (
  SELECT o.id, o.decision_id, o.clearance_expires_at, l.id, l.vendor_id, e.manufacturer_id, e.id, v.id, o.host_id,
         l.territory, l.channel, l.condition, l.software
    FROM (SELECT id, decision_id, clearance_expires_at, listing_id, host_id FROM catalog_listinghost
           WHERE state = 'LIVE' AND id > {db.integer("after")} ORDER BY id LIMIT {db.integer("limit")}) o
    {db.lookup("catalog_listing", "l", "l.id = o.listing_id", is_short=True)}
    CROSS JOIN catalog_variant v CROSS JOIN catalog_device e
   WHERE v.id = l.variant_id AND e.id = v.device_id
)""",
        f"""asked AS MATERIALIZED (
  SELECT l.id AS offer, {", ".join([*numbers, *texts])}
    FROM live l {decision}
   WHERE d.offer_id = l.id AND d.outcome = 'allow'
)""",
    ]


def _differs(db: Dialect) -> str:
    names = ("vendor", "maker", "device", "variant", "host", "territory", "channel", "condition", "software")
    return "d.offer IS NULL OR " + " OR ".join(f"d.{name} <> l.{name}" for name in names)


# --- evidence ---------------------------------------------------------------------------------------------------


def _evidence(db: Dialect) -> list[str]:
    at = db.instant("at")
    rows = db.lookup("authorization_decisionevidence", "e", "e.decision_id = l.decision_id", is_short=True)
    is_current = "\n".join(
        f"         WHEN '{kind}' THEN EXISTS (SELECT 1 FROM {table} v"
        " WHERE v.head_id = c.fact_id AND v.version_no = c.version_no AND v.rev_to IS NULL)"
        for kind, table in VERSIONS.items()
    )
    return [
        f"""cited(offer, kind, fact_id, version_no) AS MATERIALIZED (
  SELECT l.id, e.kind, e.fact_id, e.version_no FROM live l {rows}
)""",
        # Some ten thousand citations name some hundred versions.
        """cited_version AS MATERIALIZED (SELECT DISTINCT kind, fact_id, version_no FROM cited)""",
        f"""closed AS MATERIALIZED (
  SELECT c.kind, c.fact_id, c.version_no FROM cited_version c
   WHERE NOT CASE c.kind
{is_current}
         ELSE 1 = 0 END
)""",
        # docs/the-rules.md: one for the territory before one for all; then the latest start; then the highest id.
        f"""ruling AS MATERIALIZED (
  SELECT asked.territory, p.head_id AS fact_id, ROW_NUMBER() OVER (
           PARTITION BY asked.territory
           ORDER BY CASE WHEN p.territory = '*' THEN 1 ELSE 0 END, p.valid_from DESC, p.head_id DESC) AS place
    FROM (SELECT DISTINCT territory FROM live) asked
    JOIN authorization_policyversion p ON p.territory IN (asked.territory, '*')
   WHERE {_in_force("p", at)}
)""",
        f"""outdone AS MATERIALIZED (
  SELECT c.kind, c.fact_id, c.version_no
    FROM cited_version c
    JOIN carriers_networkversion v ON v.head_id = c.fact_id AND v.version_no = c.version_no
    JOIN carriers_network w ON w.id = c.fact_id
    JOIN carriers_network other ON other.host_id = w.host_id
    JOIN carriers_networkversion o ON o.head_id = other.id
   WHERE c.kind = 'network' AND {_in_force("o", at)} AND o.admission <> ''
     AND (o.valid_from > v.valid_from OR (o.valid_from = v.valid_from AND o.head_id > v.head_id))
)""",
    ]


def _same_version(one: str, other: str) -> str:
    return (
        f"{one}.kind = {other}.kind AND {one}.fact_id = {other}.fact_id"
        f" AND {one}.version_no = {other}.version_no"
    )


# --- holds ------------------------------------------------------------------------------------------------------


def _holds(db: Dialect) -> list[str]:
    at = db.instant("at")
    rank = " ".join(f"WHEN '{name}' THEN {place}" for name, place in _RANKS.items())
    pairs = [
        f"SELECT l.id AS offer, a.hold_id FROM anchor a JOIN live l"
        f" ON CAST(l.{column} AS text) = a.value WHERE a.dimension = '{dimension}'"
        for dimension, column in _COLUMNS.items()
    ]
    pairs += [
        "SELECT l.id, s.hold_id FROM stopped_maker s JOIN live l ON l.maker = s.maker",
        "SELECT l.id, s.hold_id FROM stopped_variant s JOIN live l ON l.variant = s.variant",
        # A hold that names facts suspends them: it matters to whom they are evidence.
        "SELECT c.offer, t.hold_id FROM target t JOIN hold h ON h.id = t.hold_id"
        " JOIN cited c ON CAST(c.fact_id AS text) = t.value"
        " WHERE t.part = 0 AND t.dimension = 'fact' AND h.reach = 'sale'"
        " AND c.kind IN ('agreement', 'approval', 'equipment')",
    ]
    values = " ".join(
        f"WHEN '{dimension}' THEN t.value = CAST(l.{column} AS text)"
        for dimension, column in _COLUMNS.items()
    )
    return [
        f"""hold(id, reach, valid_from) AS MATERIALIZED (
  SELECT v.id, v.reach, v.valid_from FROM authorization_holdversion v
   WHERE {_in_force("v", at)} AND (v.released_at IS NULL OR v.released_at > {at})
)""",
        """target(hold_id, part, dimension, value) AS MATERIALIZED (
  SELECT t.version_id, t.part, t.dimension, t.value
    FROM hold CROSS JOIN authorization_holdtarget t WHERE t.version_id = hold.id
)""",
        # The parts that count now: what is stopped, and exemptions in force. One without targets matches nothing.
        f"""part(hold_id, part) AS MATERIALIZED (
  SELECT DISTINCT t.hold_id, t.part FROM target t WHERE t.part = 0
   UNION ALL
  SELECT hold.id, x.part FROM hold CROSS JOIN authorization_holdexemption x
   WHERE x.version_id = hold.id AND x.valid_from <= {at} AND x.valid_until > {at}
     AND EXISTS (SELECT 1 FROM target t WHERE t.hold_id = hold.id AND t.part = x.part)
)""",
        """named(hold_id, part, dimension) AS MATERIALIZED (
  SELECT DISTINCT t.hold_id, t.part, t.dimension FROM target t WHERE t.dimension <> 'fact'
)""",
        # A list that names a fact matches nothing, as a fact is no term of a question.
        f"""anchor(hold_id, dimension, value) AS MATERIALIZED (
  SELECT t.hold_id, t.dimension, t.value
    FROM target t
    JOIN (SELECT n.hold_id, MIN(CASE n.dimension {rank} ELSE 6 END) AS least FROM named n
           WHERE n.part = 0
             AND n.hold_id NOT IN (SELECT f.hold_id FROM target f WHERE f.part = 0 AND f.dimension = 'fact')
           GROUP BY n.hold_id) a ON a.hold_id = t.hold_id
   WHERE t.part = 0 AND CASE t.dimension {rank} ELSE 6 END = a.least
)""",
        f"""family(maker, company) AS (
  SELECT DISTINCT l.maker, l.maker FROM live l
   UNION
  SELECT f.maker, a.parent_id FROM family f JOIN authorization_affiliationversion a ON a.child_id = f.company
   WHERE {_in_force("a", at)}
)""",
        f"""attribute(variant, dimension, value) AS MATERIALIZED (
  SELECT v.head_id, 'attribute:' || x.name, x.value
    FROM (SELECT DISTINCT l.variant FROM live l
           WHERE EXISTS (SELECT 1 FROM named n WHERE n.dimension LIKE %(like)s)) asked
    CROSS JOIN catalog_variantversion v CROSS JOIN catalog_variantattribute x
   WHERE v.head_id = asked.variant AND {_in_force("v", at)} AND x.version_id = v.id
)""",
        # Made first, because they are few: PostgreSQL would read all offers once for each hold.
        """stopped_maker(maker, hold_id) AS MATERIALIZED (
  SELECT f.maker, a.hold_id FROM anchor a JOIN family f ON CAST(f.company AS text) = a.value
   WHERE a.dimension = 'manufacturer'
)""",
        """stopped_variant(variant, hold_id) AS MATERIALIZED (
  SELECT x.variant, a.hold_id FROM anchor a JOIN attribute x ON x.dimension = a.dimension AND x.value = a.value
)""",
        f"""pair(offer, hold_id) AS MATERIALIZED (
  {"\n  UNION\n  ".join(pairs)}
)""",
        f"""stopping(offer, hold_id) AS MATERIALIZED (
  SELECT p.offer, p.hold_id
    FROM pair p JOIN live l ON l.id = p.offer JOIN part ON part.hold_id = p.hold_id
   WHERE NOT EXISTS (
     SELECT 1 FROM named n
      WHERE n.hold_id = part.hold_id AND n.part = part.part AND NOT EXISTS (
        SELECT 1 FROM target t
         WHERE t.hold_id = n.hold_id AND t.part = n.part AND t.dimension = n.dimension
           AND CASE n.dimension
               {values}
               WHEN 'manufacturer' THEN
                 EXISTS (SELECT 1 FROM family f WHERE f.maker = l.maker AND CAST(f.company AS text) = t.value)
               ELSE EXISTS (SELECT 1 FROM attribute x
                             WHERE x.variant = l.variant AND x.dimension = t.dimension AND x.value = t.value)
               END))
   GROUP BY p.offer, p.hold_id
  HAVING MAX(CASE WHEN part.part = 0 THEN 1 ELSE 0 END) = 1 AND MAX(part.part) = 0
)""",
    ]


def _in_force(row: str, at: str) -> str:
    return f"{row}.rev_to IS NULL AND {row}.valid_from <= {at} AND {row}.valid_until > {at}"
