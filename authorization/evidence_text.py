"""The text of the second statement, and the questions that it is given as columns (authorization/evaluator.py)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from authorization.decision_setting import Policy, Setting
from authorization.dialect import Dialect
from authorization.rules import Question
from authorization.what_if import Changes, WhatIf, as_integer, code_of, known


class Point(NamedTuple):
    """What agreements are asked about. Questions that differ in other things share one."""

    vendor_id: int
    manufacturer_id: int
    variant_id: int
    territory: str
    channel: str
    condition: str


# Terms of a question as the targets of holds name them: those that few questions have in common, and the others.
_SHARP = {
    "manufacturer": "CAST(q.manufacturer AS text)",
    "device": "CAST(q.device AS text)",
    "variant": "CAST(q.variant AS text)",
    "vendor": "CAST(q.vendor AS text)",
    "listing": "CAST(q.listing AS text)",
}
_BROAD = {
    "host": "CAST(q.host AS text)",
    "territory": "q.territory",
    "channel": "q.channel",
    "condition": "q.condition",
}


def _union(arms: Sequence[str], columns: str) -> str:
    return "\n  UNION ALL ".join([arm.format(columns=columns) for arm in arms])


class EvidenceText:
    def __init__(
        self,
        db: Dialect,
        setting: Setting,
        policy_of: Mapping[str, Policy],
        roots: Mapping[int, Iterable[int]],
        ancestors: Mapping[int, Iterable[int]],
        what_if: WhatIf,
        *,
        is_short: bool,
    ) -> None:
        self.db = db
        self.is_short = is_short
        self.at, self.k = db.instant("at"), db.integer("k")
        self.change = Changes(db, what_if)
        self.policy_of = policy_of
        self.dimensions = setting.dimensions | what_if.dimensions
        self.roots = [[m, org] for m, others in roots.items() for org in others]
        self.ancestors = [[m, org] for m, others in ancestors.items() for org in others]
        self.parameters: dict[str, Any] = {
            "roots": json.dumps(self.roots),
            "ancestors": json.dumps(self.ancestors),
        }

    def statement(self, is_input_checked: bool) -> str:
        policies = self.policy_of.values()
        tables, rows = [self._questions()], []
        if self.dimensions:
            tables += [holds_text(self.db, self.change), self._hits(), self._stops()]
            rows += [self._hit_rows(), self._exemption_rows()]
        seen = []
        if any(policy.enforces_agreement for policy in policies):
            tables.append(self._links())
            rows.append(self._link_rows())
            seen.append("SELECT head_id FROM link")
        if any(policy.enforces_approval for policy in policies):
            tables.append(self._approvals())
            rows.append("SELECT 'approval', approval.* FROM approval")
            seen.append("SELECT i1 AS head_id FROM approval")
        if any(policy.enforces_equipment for policy in policies):
            tables.append(self._equipment())
            rows.append("SELECT 'equipment', equipment.* FROM equipment")
            seen.append("SELECT i1 AS head_id FROM equipment")
        if "fact" in self.dimensions and seen:
            tables.append(f"seen(fact) AS (SELECT CAST(s.head_id AS text) FROM ({' UNION '.join(seen)}) s)")
            rows.append(self._suspension_rows())
        if self.dimensions:
            rows.append(self._hold_rows(names_facts="fact" in self.dimensions and bool(seen)))
        hears_radio = any(policy.minimum_radio for policy in policies)
        if hears_radio or self._names_attributes:
            rows.append(self._variant_rows())
        if hears_radio:
            rows += [self._band_rows(), self._ims_rows(), self._network_rows(), self._network_band_rows()]
        if not is_input_checked:
            rows.append(self._unknown_rows())
        head = self.db.head(integers=6, texts=5, instants=4)
        return "WITH RECURSIVE " + ",\n".join(tables) + "\n" + "\nUNION ALL\n".join([head, *rows])

    def _columns(self, *, n: str = "", integers: str = "", texts: str = "", instants: str = "") -> str:
        """n, five integers, five texts, four instants; what is not given is NULL."""
        columns = [n or self.db.no_integer]
        for given, count, nothing in (
            (integers, 5, self.db.no_integer),
            (texts, 5, self.db.no_text),
            (instants, 4, self.db.no_instant),
        ):
            parts = [part for part in given.split("; ") if part]
            if nothing == self.db.no_instant:
                parts = [self.db.written(part) for part in parts]
            columns += parts + [nothing] * (count - len(parts))
        names = ("n", "i1", "i2", "i3", "i4", "i5", "t1", "t2", "t3", "t4", "t5", "d1", "d2", "d3", "d4")
        return ", ".join(f"{column} AS {name}" for column, name in zip(columns, names, strict=True))

    # --- questions

    def _questions(self) -> str:
        integers: tuple[str, ...] = (
            "n", "p", "vendor", "manufacturer", "device", "variant", "host", "listing",
        )  # fmt: skip
        texts = ("territory", "channel", "condition", "software")
        points = ("p", "vendor", "manufacturer"), ("variant", "territory", "channel", "condition")
        if self.db.is_postgresql:
            # It plans better for a list whose length it sees.
            given = self.db.table("point", *points)
        else:
            # To take a list apart a second time takes an eighth of the whole statement.
            integers = (*integers, "is_first")
            given = """SELECT p, vendor, manufacturer, CAST(variant AS text), territory, channel, condition
  FROM q WHERE is_first = 1"""
        return (
            f"q({', '.join((*integers, *texts))}) AS MATERIALIZED ({self.db.table('q', integers, texts)}),\n"
            f"point({', '.join((*points[0], *points[1]))}) AS MATERIALIZED ({given})"
        )

    def _policy(self, name: str, territory: str) -> str:
        """Whether the policy for a question's territory says so, as a condition."""
        values = {code: bool(getattr(policy, name)) for code, policy in self.policy_of.items()}
        if len(set(values.values())) <= 1:
            return "1 = 1" if any(values.values()) else "1 = 0"
        self.parameters[f"policy_{name}"] = self.db.array([code for code, says in values.items() if says])
        return f"{territory} IN (SELECT value FROM {self.db.texts(f'policy_{name}')})"

    # --- agreements

    def _links(self) -> str:
        """Upwards from the vendor, link by link, over agreements that carry the point. Each is taken once."""
        terms = "p, vendor, manufacturer, variant, territory, channel, condition"
        carried = ", ".join(f"point.{name}" for name in terms.split(", "))
        again = ", ".join(f"link.{name}" for name in terms.split(", "))
        row = "a.id, a.head_id, a.grantor_id, a.grantee_id"
        return f"""{self._above()},
link({terms}, id, head_id, grantor_id, grantee_id) AS (
  SELECT {carried}, {row}
    FROM point {self._agreements("a.grantee_id = point.vendor")}
   WHERE {self._policy("enforces_agreement", "point.territory")}{self.db.few("point.p")}
     AND {self._carries("point")}
  UNION
  SELECT {again}, {row}
    FROM link {self._agreements(f"a.grantee_id = link.grantor_id AND {self.change.sublicense('a')}")}
   WHERE link.grantor_id <> link.manufacturer AND a.grantee_id <> link.vendor{self.db.few("link.p")}
     AND {self._carries("link")}
)"""

    def _above(self) -> str:
        """Down from whoever may grant, over agreements that may sublicense, whatever they cover: for each manufacturer
        those who can stand in a chain at all. Most of what a vendor holds leads elsewhere, and is left out by this.
        """
        roots = ""
        if self.roots:
            roots = f"""
   UNION
  SELECT r.first, r.second FROM {self.db.pairs("roots")} r"""
        return f"""above(manufacturer, organization) AS (
  SELECT DISTINCT manufacturer, manufacturer FROM point{roots}
   UNION
  SELECT above.manufacturer, a.grantee_id
    FROM above {self._agreements(f"a.grantor_id = above.organization AND {self.change.sublicense('a')}")}
   WHERE {self._stands()}{self.db.few("above.manufacturer")}
)"""

    def _agreements(self, condition: str) -> str:
        return self._lookup("authorization_agreementversion", "a", condition)

    def _lookup(self, table: str, row: str, condition: str) -> str:
        return self.db.lookup(table, row, condition, is_short=self.is_short)

    def _stands(self) -> str:
        """What is asked of an agreement whatever it covers."""
        conditions = [
            known("a", self.k),
            f"a.valid_from <= {self.at}",
            f"{self.change.end('a')} > {self.at}",
            f"({self.change.revoked_at('a')} IS NULL OR {self.change.revoked_at('a')} > {self.at})",
        ]
        return "\n     AND ".join(conditions)

    def _carries(self, point: str) -> str:
        conditions = [
            # IS TRUE: to be looked up for each agreement, not taken for a way into the table. Of a list that PostgreSQL
            # takes for long it does not make a table to look up in; that one it had better join.
            f"(({point}.manufacturer, a.grantor_id) IN (SELECT manufacturer, organization FROM above))"
            + (" IS TRUE" if self.is_short or not self.db.is_postgresql else ""),
            self._stands(),
        ]
        if any(policy.demands_verified for policy in self.policy_of.values()):
            demanded = self._policy("demands_verified", f"{point}.territory")
            conditions.append(f"(a.assurance = 'verified' OR NOT ({demanded}))")
        for dimension, column in (
            ("model", "variant"),
            ("territory", "territory"),
            ("channel", "channel"),
            ("condition", "condition"),
        ):
            conditions.append(self.change.covers("a", dimension, f"{point}.{column}"))
        if "fact" in self.dimensions:
            conditions.append(f"NOT {self._is_suspended('a.head_id', f'{point}.p')}")
        return "\n     AND ".join(conditions)

    def _link_rows(self) -> str:
        columns = self._columns(
            n="link.p",
            integers="a.head_id; a.version_no; a.grantor_id; a.grantee_id",
            texts=code_of("a"),
            instants=f"{self.change.end('a')}; {self.change.revoked_at('a')}",
        )
        return f"SELECT 'link', {columns}\n  FROM link {self._agreements('a.id = link.id')}"

    # --- approvals, equipment authorizations

    def _approvals(self) -> str:
        at, end, revoked_at = self.at, self.change.end("a"), self.change.revoked_at("a")
        is_revoked = f"{revoked_at} IS NOT NULL AND {revoked_at} <= {at}"
        is_covered = (
            "(q.software <> '' AND q.software >= a.software_from_key"
            " AND (a.software_until_key = '' OR q.software < a.software_until_key))"
        )
        failures = self._bits(
            (1, is_revoked),
            (2, "a.state IN ('requested', 'in_test', 'rejected')"),
            (
                4,
                f"NOT ({is_revoked}) AND ({end} <= {at} OR (a.waived_until IS NOT NULL AND a.waived_until <= {at}))",
            ),
            (8, f"a.valid_from > {at}"),
            (16, self._is_suspended("a.head_id", "q.n") if "fact" in self.dimensions else ""),
            (32, f"(a.software_from_key <> '' OR a.software_until_key <> '') AND NOT {is_covered}"),
            (
                64,
                f"NOT ({self._policy('takes_conditional', 'q.territory')})"
                " AND (a.state = 'conditional'"
                " OR (a.state = 'revoked' AND (a.limits <> '' OR a.waived_until IS NOT NULL)))",
            ),
        )
        columns = self._columns(
            n="q.n",
            integers=f"a.head_id; a.version_no; {failures}",
            texts=f"{code_of('a')}; a.state; a.limits; a.software_from; a.software_until",
            instants=f"a.valid_from; {end}; a.waived_until; {revoked_at}",
        )
        return f"""approval AS MATERIALIZED (
  SELECT {columns}
    FROM q {self._lookup("authorization_approvalversion", "a", "a.variant_id = q.variant AND a.host_id = q.host")}
   WHERE {self._policy("enforces_approval", "q.territory")}{self.db.few("q.n")} AND {known("a", self.k)}
)"""

    def _equipment(self) -> str:
        at, end, revoked_at = self.at, self.change.end("e"), self.change.revoked_at("e")
        is_revoked = f"{revoked_at} IS NOT NULL AND {revoked_at} <= {at}"
        failures = self._bits(
            (1, is_revoked),
            (4, f"NOT ({is_revoked}) AND {end} <= {at}"),
            (8, f"e.valid_from > {at}"),
            (16, self._is_suspended("e.head_id", "q.n") if "fact" in self.dimensions else ""),
        )
        columns = self._columns(
            n="q.n",
            integers=f"e.head_id; e.version_no; {failures}",
            texts=f"{code_of('e')}; e.regulator; e.identifier",
            instants=f"e.granted_at; e.valid_from; {end}; {revoked_at}",
        )
        here = "e.variant_id = q.variant AND e.territory = q.territory"
        return f"""equipment AS MATERIALIZED (
  SELECT {columns}
    FROM q {self._lookup("authorization_equipmentversion", "e", here)}
   WHERE {self._policy("enforces_equipment", "q.territory")}{self.db.few("q.n")} AND {known("e", self.k)}
)"""

    def _bits(self, *failures: tuple[int, str]) -> str:
        return " + ".join(f"CASE WHEN {when} THEN {bit} ELSE 0 END" for bit, when in failures if when)

    # --- holds

    @property
    def _names_attributes(self) -> bool:
        return any(dimension.startswith("attribute:") for dimension in self.dimensions)

    def _hits(self) -> str:
        """Which parts of which holds match which questions: every dimension that the part names does."""
        return f"""{self._named()},
hit(n, hold_id, part) AS MATERIALIZED (
  SELECT m.n, m.version_id, m.part
    FROM named m
    JOIN part ON part.hold_id = m.version_id AND part.part = m.part
     -- An exemption that names a fact matches no question: a fact is not a term of one.
     AND (part.part = 0 OR part.facts = 0)
   GROUP BY m.n, m.version_id, m.part, part.dimensions
  HAVING COUNT(DISTINCT m.dimension) = part.dimensions
  UNION ALL
  -- A hold that names facts alone matches every question; said one by one only where an exemption may differ.
  SELECT q.n, part.hold_id, 0 FROM part CROSS JOIN q
   WHERE part.part = 0 AND part.dimensions = 0 AND part.facts > 0
     AND EXISTS (SELECT 1 FROM exemption x WHERE x.hold_id = part.hold_id)
)"""

    def _named(self) -> str:
        """Each dimension in which a part names a term of a question.

        Of a part that names both a vendor and a territory half of all questions would match the territory; so what
        few questions match is looked for first, and the rest only of those.
        """
        arms = [self._arm(name, value) for name, value in _SHARP.items() if name in self.dimensions]
        if "manufacturer" in self.dimensions and self.ancestors:
            arms.append(
                f"""SELECT {{columns}}
    FROM q CROSS JOIN {self.db.pairs("ancestors")} above CROSS JOIN target t
   WHERE above.first = q.manufacturer AND t.dimension = 'manufacturer' AND t.value = CAST(above.second AS text)"""
            )
        if self._names_attributes:
            arms.append(
                f"""SELECT {{columns}}
    FROM q CROSS JOIN catalog_variantversion v CROSS JOIN catalog_variantattribute x CROSS JOIN target t
   WHERE v.head_id = q.variant{self.db.few("q.n")} AND {self._in_force("v")}
     AND x.version_id = v.id AND t.dimension = 'attribute:' || x.name AND t.value = x.value"""
            )
        broad = {name: value for name, value in _BROAD.items() if name in self.dimensions}
        found = "q.n, t.version_id, t.part, t.dimension"
        if not arms or not broad:
            arms += [self._arm(name, value) for name, value in broad.items()]
            nothing = "SELECT {columns} FROM q CROSS JOIN target t WHERE 1 = 0"
            return f"named(n, version_id, part, dimension) AS ({_union(arms or [nothing], found)})"
        terms = ", ".join(broad)
        with_terms = ", ".join([found, *broad.values()])
        matches = " OR ".join([f"(t.dimension = '{name}' AND t.value = sharp.{name})" for name in broad])
        only_broad = [self._arm(name, value, of="broad") for name, value in broad.items()]
        return f"""sharp(n, version_id, part, dimension, {terms}) AS MATERIALIZED ({_union(arms, with_terms)}),
broad(version_id, part, dimension, value) AS MATERIALIZED (
  SELECT t.version_id, t.part, t.dimension, t.value
    FROM part CROSS JOIN target t
   WHERE part.sharp = 0 AND t.version_id = part.hold_id AND t.part = part.part AND t.dimension <> 'fact'
),
named(n, version_id, part, dimension) AS (
  SELECT n, version_id, part, dimension FROM sharp
   UNION ALL
  SELECT sharp.n, t.version_id, t.part, t.dimension
    FROM sharp CROSS JOIN target t
   WHERE t.version_id = sharp.version_id AND t.part = sharp.part AND ({matches})
   UNION ALL {_union(only_broad, found)}
)"""

    def _arm(self, dimension: str, value: str, *, of: str = "target") -> str:
        matches = f"t.dimension = '{dimension}' AND t.value = {value}"
        if dimension in _SHARP and not self.db.is_postgresql:
            # SQLite would go through all targets for each question; so few questions are named by any that it does so
            # for those alone.
            named = f"SELECT x.value FROM {of} x WHERE x.dimension = '{dimension}'"
            return f"SELECT {{columns}} FROM q CROSS JOIN {of} t WHERE {value} IN ({named}) AND {matches}"
        return f"SELECT {{columns}} FROM q CROSS JOIN {of} t WHERE {matches}"

    def _stops(self) -> str:
        """Facts that holds in force suspend: named by which hold, for which questions, or for all of them."""
        return f"""named_fact(hold_id, fact) AS MATERIALIZED (
  -- IS TRUE here and below: to be looked up, not joined row by row with lists that PostgreSQL takes for short.
  SELECT t.version_id, {as_integer("t.value")}
    FROM target t
   WHERE t.part = 0 AND t.dimension = 'fact'
     AND (t.version_id IN (
       SELECT id FROM hold WHERE hold.reach = 'sale' AND hold.valid_from <= {self.at})) IS TRUE
),
suspending(pair) AS MATERIALIZED (
  -- `hit` once only: SQLite prepares a list anew wherever it is named, and what that names in turn. And one column: of
  -- two it makes no table to look up in.
  SELECT CAST(hit.n AS text) || ':' || CAST(hit.hold_id AS text)
    FROM hit LEFT JOIN exemption x
      ON x.hold_id = hit.hold_id AND x.part = hit.part AND x.valid_from <= {self.at} AND x.valid_until > {self.at}
   WHERE hit.hold_id IN (SELECT hold_id FROM named_fact) AND (hit.part = 0 OR x.part > 0)
   GROUP BY hit.n, hit.hold_id HAVING COUNT(x.part) = 0
),
suspended(fact) AS MATERIALIZED (
  SELECT t.fact FROM named_fact t
   WHERE (t.hold_id IN (SELECT hold_id FROM part WHERE part.part = 0 AND part.dimensions = 0)) IS TRUE
     AND (t.hold_id IN (SELECT hold_id FROM exemption)) IS NOT TRUE
)"""

    def _is_suspended(self, fact: str, n: str) -> str:
        # Few facts are named by any hold: the first condition spares the others.
        return (
            f"({fact} IN (SELECT fact FROM named_fact) AND ({fact} IN (SELECT fact FROM suspended)"
            f" OR EXISTS (SELECT 1 FROM named_fact s WHERE s.fact = {fact}"
            f" AND CAST({n} AS text) || ':' || CAST(s.hold_id AS text) IN (SELECT pair FROM suspending))))"
        )

    def _hit_rows(self) -> str:
        return f"SELECT 'hit', {self._columns(n='hit.n', integers='hit.hold_id')} FROM hit WHERE hit.part = 0"

    def _exemption_rows(self) -> str:
        columns = self._columns(n="hit.n", integers="hit.hold_id", instants="x.valid_from; x.valid_until")
        return f"""SELECT 'exemption', {columns}
  FROM hit JOIN exemption x ON x.hold_id = hit.hold_id AND x.part = hit.part WHERE hit.part > 0"""

    def _hold_rows(self, *, names_facts: bool) -> str:
        columns = self._columns(
            n="h.id",
            integers="h.head_id; h.dimensions; h.names; h.exemptions",
            texts="h.code; h.reach; h.placed_by; h.reason_code",
            instants="h.valid_from; h.ends",
        )
        suspending = ""
        if names_facts:
            suspending = """ OR (h.names >= 2 AND h.id IN (
   SELECT t.version_id FROM target t
    WHERE t.part = 0 AND t.dimension = 'fact' AND t.value IN (SELECT fact FROM seen)))"""
        return f"""SELECT 'hold', {columns}
  FROM hold_details h WHERE h.id IN (SELECT hold_id FROM hit){suspending}"""

    def _suspension_rows(self) -> str:
        columns = self._columns(n=as_integer("t.value"), integers="t.version_id")
        return f"""SELECT 'suspension', {columns}
  FROM target t WHERE t.part = 0 AND t.dimension = 'fact' AND t.value IN (SELECT fact FROM seen)"""

    # --- radio

    def _variant_rows(self) -> str:
        columns = self._columns(
            n="v.head_id",
            integers="v.id; v.version_no",
            texts="x.slug; v.gsm_confidence; v.umts_confidence; v.lte_confidence",
            instants="v.valid_from; v.valid_until",
        )
        return f"""SELECT 'variant', {columns}
  FROM (SELECT DISTINCT variant FROM q) asked CROSS JOIN catalog_variantversion v CROSS JOIN catalog_variant x
 WHERE v.head_id = asked.variant{self.db.few("asked.variant")} AND x.id = v.head_id AND {known("v", self.k)}"""

    def _band_rows(self) -> str:
        columns = self._columns(
            n="b.version_id", integers="CASE WHEN b.is_sw_disabled THEN 1 ELSE 0 END", texts="b.rat; b.band"
        )
        return f"""SELECT 'band', {columns}
  FROM (SELECT DISTINCT variant FROM q) asked CROSS JOIN catalog_variantversion v CROSS JOIN catalog_variantband b
 WHERE v.head_id = asked.variant{self.db.few("asked.variant")} AND {self._in_force("v")} AND b.version_id = v.id"""

    def _ims_rows(self) -> str:
        columns = self._columns(n="m.version_id", integers="m.host_id", texts="m.status")
        return f"""SELECT 'ims', {columns}
  FROM (SELECT DISTINCT variant FROM q) asked CROSS JOIN catalog_variantversion v CROSS JOIN catalog_variantims m
 WHERE v.head_id = asked.variant{self.db.few("asked.variant")} AND {self._in_force("v")} AND m.version_id = v.id"""

    def _network_rows(self) -> str:
        columns = self._columns(
            n="w.host_id",
            integers="v.head_id; v.id; v.version_no",
            texts="c.code; w.era; v.admission",
            instants="v.valid_from; v.valid_until",
        )
        return f"""SELECT 'network', {columns}
  FROM (SELECT DISTINCT host FROM q) asked CROSS JOIN carriers_network w CROSS JOIN carriers_networkversion v
       CROSS JOIN carriers_hostcarrier c
 WHERE w.host_id = asked.host AND v.head_id = w.id AND c.id = w.host_id AND {known("v", self.k)}"""

    def _network_band_rows(self) -> str:
        columns = self._columns(
            n="b.version_id",
            integers="b.position",
            texts='b.rat; b.band; b."group"; b.voice; CAST(b.in_service_until AS text)',
        )
        return f"""SELECT 'network_band', {columns}
  FROM (SELECT DISTINCT host FROM q) asked CROSS JOIN carriers_network w CROSS JOIN carriers_networkversion v
       CROSS JOIN carriers_networkband b
 WHERE w.host_id = asked.host AND v.head_id = w.id AND {self._in_force("v")} AND b.version_id = v.id"""

    def _in_force(self, row: str) -> str:
        return f"{known(row, self.k)} AND {row}.valid_from <= {self.at} AND {row}.valid_until > {self.at}"

    # --- input

    def _unknown_rows(self) -> str:
        return f"""SELECT 'unknown', {self._columns(n="q.n")}
  FROM q LEFT JOIN catalog_variant v ON v.id = q.variant LEFT JOIN catalog_device d ON d.id = v.device_id
 WHERE v.id IS NULL OR v.device_id <> q.device OR d.manufacturer_id <> q.manufacturer
    OR NOT EXISTS (SELECT 1 FROM catalog_organization o WHERE o.id = q.vendor)
    OR NOT EXISTS (SELECT 1 FROM carriers_hostcarrier c WHERE c.id = q.host)"""


def holds_text(db: Dialect, change: Changes) -> str:
    """Holds that have not ended, whether begun or not, with what they name."""
    at, k = db.instant("at"), db.integer("k")
    without, imagined = change.holds()
    return f"""hold(id, head_id, code, reach, placed_by, reason_code, valid_from, ends) AS MATERIALIZED (
  SELECT v.id, v.head_id, f.code, v.reach, v.placed_by, v.reason_code, v.valid_from,
         CASE WHEN v.released_at IS NOT NULL AND v.released_at < v.valid_until THEN v.released_at ELSE v.valid_until END
    FROM authorization_holdversion v JOIN authorization_fact f ON f.id = v.head_id
   WHERE {known("v", k)} AND v.valid_until > {at} AND (v.released_at IS NULL OR v.released_at > {at}){without}
   {imagined["hold"]}
),
target(version_id, part, dimension, value) AS MATERIALIZED (
  SELECT t.version_id, t.part, t.dimension, t.value
    FROM hold CROSS JOIN authorization_holdtarget t WHERE t.version_id = hold.id
   {imagined["target"]}
),
exemption(hold_id, part, valid_from, valid_until) AS MATERIALIZED (
  SELECT x.version_id, x.part, x.valid_from, x.valid_until
    FROM hold CROSS JOIN authorization_holdexemption x WHERE x.version_id = hold.id
   {imagined["exemption"]}
),
part(hold_id, part, dimensions, facts, vendors, sharp) AS MATERIALIZED (
  SELECT t.version_id, t.part, COUNT(DISTINCT CASE WHEN t.dimension <> 'fact' THEN t.dimension END),
         SUM(CASE WHEN t.dimension = 'fact' THEN 1 ELSE 0 END), SUM(CASE WHEN t.dimension = 'vendor' THEN 1 ELSE 0 END),
         SUM(CASE WHEN t.dimension IN ('fact', {", ".join([f"'{name}'" for name in _BROAD])}) THEN 0 ELSE 1 END)
    FROM target t GROUP BY t.version_id, t.part
),
hold_details(
  id, head_id, code, reach, placed_by, reason_code, valid_from, ends, dimensions, names, exemptions
) AS MATERIALIZED (
  SELECT hold.id, hold.head_id, hold.code, hold.reach, hold.placed_by, hold.reason_code, hold.valid_from, hold.ends,
         part.dimensions, CASE WHEN part.vendors > 0 THEN 1 ELSE 0 END + CASE WHEN part.facts > 0 THEN 2 ELSE 0 END,
         (SELECT COUNT(*) FROM exemption x WHERE x.hold_id = hold.id)
    FROM hold JOIN part ON part.hold_id = hold.id AND part.part = 0
)"""


# --- questions and points as columns ---------------------------------------------------------------------------


def question_columns(
    db: Dialect, questions: Sequence[Question], software_keys: Sequence[str], point_of: Sequence[int]
) -> dict[str, Any]:
    integers: dict[str, list[Any]] = {
        "n": list(range(len(questions))),
        "p": list(point_of),
        "vendor": [question.vendor_id for question in questions],
        "manufacturer": [question.manufacturer_id for question in questions],
        "device": [question.device_id for question in questions],
        "variant": [question.variant_id for question in questions],
        "host": [question.host_id for question in questions],
        "listing": [question.listing_id for question in questions],
    }
    if not db.is_postgresql:
        integers["is_first"] = _first_of_each(point_of)
    texts: dict[str, list[Any]] = {
        "territory": [question.territory for question in questions],
        "channel": [question.channel for question in questions],
        "condition": [question.condition for question in questions],
        "software": list(software_keys),
    }
    return db.columns("q", integers, texts)


def _first_of_each(point_of: Sequence[int]) -> list[int]:
    """1 for each question that is the first of its point, 0 for the others. Points are numbered as they come up."""
    firsts, last = [], -1
    for p in point_of:
        firsts.append(1 if p > last else 0)
        last = max(last, p)
    return firsts


def point_columns(db: Dialect, points: Sequence[Point]) -> dict[str, Any]:
    return db.columns(
        "point",
        {
            "p": list(range(len(points))),
            "vendor": [point.vendor_id for point in points],
            "manufacturer": [point.manufacturer_id for point in points],
        },
        {
            "variant": [str(point.variant_id) for point in points],
            "territory": [point.territory for point in points],
            "channel": [point.channel for point in points],
            "condition": [point.condition for point in points],
        },
    )
