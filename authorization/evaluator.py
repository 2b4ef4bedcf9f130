"""The set-based evaluator: what holds of many questions at once, found in SQL by docs/the-rules.md.

Three statements, for many vendors four: the setting (revision, policies, hostings, affiliations, which dimensions
holds name), the evidence (links that carry, approvals and equipment authorizations with their failures, holds that
match), and, where no chain carries, the agreements upstream that might have. `authorization.findings` makes answers
of the rows.

A row says its kind first; what its columns mean is said by the named tuples below. The same text runs on SQLite and
PostgreSQL; what they spell differently is in `dialect`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from authorization import radio
from authorization.dialect import Dialect
from authorization.rules import ALL, Question

# So many points PostgreSQL's planner may be told to look up one by one.
_SHORT = 500

# --- what if ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HypotheticalHold:
    """A hold as it would be. `parts`: 0 -> its targets, n -> those of its n-th exemption, as (dimension, value)."""

    fact_id: int
    code: str
    reach: str
    placed_by: str
    reason_code: str
    valid_from: datetime
    valid_until: datetime
    parts: Mapping[int, tuple[tuple[str, str], ...]]
    exemptions: Mapping[int, tuple[datetime, datetime]] = field(default_factory=dict)


@dataclass(frozen=True)
class WhatIf:
    """A change of authority that is thought through and not made. Keys are fact ids.

    `holds` stand beside the recorded ones, `without_holds` takes recorded ones away: both together replace one.
    """

    ends: Mapping[int, datetime] = field(default_factory=dict)
    revoked: Mapping[int, datetime | None] = field(default_factory=dict)
    sublicenses: Mapping[int, bool] = field(default_factory=dict)
    scopes: Mapping[int, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    without_holds: frozenset[int] = frozenset()
    holds: tuple[HypotheticalHold, ...] = ()

    @property
    def dimensions(self) -> frozenset[str]:
        """What the imagined holds name, as in `Setting.dimensions`."""
        named = {dimension for hold in self.holds for part in hold.parts.values() for dimension, _ in part}
        return frozenset(named | ({"list"} if any(hold.reach != "sale" for hold in self.holds) else set()))


NOTHING_CHANGED = WhatIf()


# --- the setting ------------------------------------------------------------------------------------------------


class Policy(NamedTuple):
    fact_id: int
    code: str
    version_no: int
    territory: str
    enforces_agreement: bool
    demands_verified: bool
    enforces_approval: bool
    takes_conditional: bool
    enforces_equipment: bool
    minimum_radio: str
    valid_from: datetime
    valid_until: datetime


class Hosting(NamedTuple):
    hosting_id: int
    code: str
    version_no: int
    host_id: int
    valid_from: datetime
    valid_until: datetime


class Affiliation(NamedTuple):
    fact_id: int
    code: str
    version_no: int
    parent_id: int
    child_id: int
    may_grant_for_parent: bool
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True)
class Setting:
    """What bears on every question. `newest` is the last revision there is, `revision` the one that is asked about."""

    newest: int
    newest_recorded_at: datetime | None
    revision: int
    policies: tuple[Policy, ...]
    hostings: tuple[Hosting, ...]
    affiliations: tuple[Affiliation, ...]
    # Dimensions that holds name which have not ended; `list` where one is a regulator's list.
    dimensions: frozenset[str]


_POLICY_BITS = (
    ("is_agreement_enforced", 1),
    ("is_carrier_approval_enforced", 4),
    ("is_conditional_approval_enough", 8),
    ("is_equipment_authorization_enforced", 16),
)


def read_setting(*, at: datetime | None, known_at: int | None, mvno: str) -> Setting:
    """The first statement. Revision and all that is read with it are of one snapshot.

    `at` only serves to leave out holds that ended before; None takes all.
    """
    db = Dialect()
    asked = "(SELECT COALESCE(MAX(n), 0) FROM authorization_revision)"
    k = asked if known_at is None else db.integer("known_at")
    bits = " + ".join(f"CASE WHEN v.{column} THEN {bit} ELSE 0 END" for column, bit in _POLICY_BITS)
    not_ended = "TRUE"
    if at is not None:
        now = db.instant("at")
        not_ended = f"v.valid_until > {now} AND (v.released_at IS NULL OR v.released_at > {now})"
    sql = f"""
WITH k(k) AS (SELECT {k})
{db.head(integers=4, texts=3, instants=2)}
UNION ALL
SELECT 'revision', r.n, k.k, NULL, NULL, {db.prepare_session}, NULL, NULL, {db.written("r.recorded_at")}, NULL
  FROM k LEFT JOIN authorization_revision r ON r.n = {asked}
UNION ALL
SELECT 'policy', v.head_id, v.version_no,
       {bits} + CASE WHEN v.minimum_assurance = 'verified' THEN 2 ELSE 0 END, NULL,
       f.code, v.territory, v.minimum_radio, {db.written("v.valid_from")}, {db.written("v.valid_until")}
  FROM k CROSS JOIN authorization_policyversion v JOIN authorization_fact f ON f.id = v.head_id
 WHERE {_known("v", "k.k")}
UNION ALL
SELECT 'hosting', v.head_id, v.version_no, h.host_id, NULL,
       CASE WHEN h.product_name <> '' THEN h.product_name ELSE h.mvno END || ' on ' || c.code, NULL, NULL,
       {db.written("v.valid_from")}, {db.written("v.valid_until")}
  FROM k CROSS JOIN carriers_hosting h
  JOIN carriers_hostingversion v ON v.head_id = h.id JOIN carriers_hostcarrier c ON c.id = h.host_id
 WHERE h.mvno = %(mvno)s AND {_known("v", "k.k")}
UNION ALL
SELECT 'affiliation', v.head_id, v.version_no, v.parent_id, v.child_id,
       f.code, CASE WHEN v.may_grant_for_parent THEN 'yes' ELSE '' END, NULL,
       {db.written("v.valid_from")}, {db.written("v.valid_until")}
  FROM k CROSS JOIN authorization_affiliationversion v JOIN authorization_fact f ON f.id = v.head_id
 WHERE {_known("v", "k.k")}
UNION ALL
SELECT 'dimension', NULL, NULL, NULL, NULL, t.dimension, v.reach, NULL, {db.no_instant}, {db.no_instant}
  FROM k CROSS JOIN authorization_holdversion v JOIN authorization_holdtarget t ON t.version_id = v.id
 WHERE {_known("v", "k.k")} AND {not_ended}
 GROUP BY t.dimension, v.reach
"""
    newest, recorded_at, revision = 0, None, 0
    policies, hostings, affiliations, dimensions = [], [], [], set()
    for kind, i1, i2, i3, i4, t1, t2, t3, d1, d2 in db.rows(sql, known_at=known_at, mvno=mvno, at=at):
        match kind:
            case "revision":
                newest, revision = i1 or 0, i2
                recorded_at = None if i1 is None else db.moment(d1)
            case "policy":
                policies.append(
                    Policy(
                        i1, t1, i2, t2, bool(i3 & 1), bool(i3 & 2), bool(i3 & 4), bool(i3 & 8), bool(i3 & 16), t3,
                        db.moment(d1), db.moment(d2),
                    )
                )  # fmt: skip
            case "hosting":
                hostings.append(Hosting(i1, t1, i2, i3, db.moment(d1), db.moment(d2)))
            case "affiliation":
                affiliations.append(
                    Affiliation(i1, t1, i2, i3, i4, t2 == "yes", db.moment(d1), db.moment(d2))
                )
            case "dimension":
                dimensions |= {t1} | ({"list"} if t2 != "sale" else set())
    return Setting(
        newest,
        recorded_at,
        revision,
        tuple(policies),
        tuple(hostings),
        tuple(affiliations),
        frozenset(dimensions),
    )


# --- the evidence -----------------------------------------------------------------------------------------------


class Link(NamedTuple):
    """An agreement that carries a point on its way to the vendor."""

    fact_id: int
    version_no: int
    grantor_id: int
    grantee_id: int
    code: str
    valid_until: datetime
    revoked_at: datetime | None


class ApprovalRow(NamedTuple):
    """An approval of the question's variant on its host. `failures`: bits of APPROVAL_FAILURES."""

    fact_id: int
    version_no: int
    failures: int
    code: str
    state: str
    limits: str
    software_from: str
    software_until: str
    valid_from: datetime
    valid_until: datetime
    waived_until: datetime | None
    revoked_at: datetime | None


class EquipmentRow(NamedTuple):
    """`failures`: bits of EQUIPMENT_FAILURES; lists are not among them."""

    fact_id: int
    version_no: int
    failures: int
    code: str
    regulator: str
    identifier: str
    granted_at: datetime
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None


APPROVAL_FAILURES = {
    1: "revoked",
    2: "state",
    4: "expired",
    8: "not_begun",
    16: "suspended",
    32: "software",
    64: "conditional",
}
EQUIPMENT_FAILURES = {1: "revoked", 4: "expired", 8: "not_begun", 16: "suspended"}


class HoldRow(NamedTuple):
    """A hold that has not ended, whose targets match a question, or that suspends a fact in sight.

    `dimensions`: how many it names besides `fact`.
    """

    version_id: int
    fact_id: int
    code: str
    reach: str
    placed_by: str
    reason_code: str
    dimensions: int
    names_vendor: bool
    names_fact: bool
    exemptions: int
    valid_from: datetime
    end: datetime


@dataclass
class Found:
    """The evidence, by the number of the question (`n`) or of its point (`p`)."""

    links: dict[int, list[Link]] = field(default_factory=dict)
    approvals: dict[int, list[ApprovalRow]] = field(default_factory=dict)
    equipment: dict[int, list[EquipmentRow]] = field(default_factory=dict)
    # n -> ids of hold versions whose part 0 matches; -> (id, interval) of exemptions that match
    hits: dict[int, list[int]] = field(default_factory=dict)
    exemptions: dict[int, list[tuple[int, datetime, datetime]]] = field(default_factory=dict)
    holds: dict[int, HoldRow] = field(default_factory=dict)
    # fact id -> ids of hold versions that name it
    suspensions: dict[int, list[int]] = field(default_factory=dict)
    radio_rows: radio.Rows = field(default_factory=radio.Rows)
    unknown: list[int] = field(default_factory=list)


class Point(NamedTuple):
    """What agreements are asked about. Questions that differ in other things share one."""

    vendor_id: int
    manufacturer_id: int
    variant_id: int
    territory: str
    channel: str
    condition: str


def find_evidence(
    questions: Sequence[Question],
    software_keys: Sequence[str],
    points: Sequence[Point],
    point_of: Sequence[int],
    *,
    setting: Setting,
    policy_of: Mapping[str, Policy],
    roots: Mapping[int, Iterable[int]],
    ancestors: Mapping[int, Iterable[int]],
    at: datetime,
    what_if: WhatIf,
    is_input_checked: bool,
) -> Found:
    """The second statement.

    `policy_of`: by territory, for each territory asked about that has one. `roots`, `ancestors`: by manufacturer,
    those besides itself. `point_of`: the point of each question; where holds name facts, each question has its own.
    """
    db = Dialect()
    is_short = len(points) < _SHORT
    text = _Evidence(db, setting, policy_of, roots, ancestors, what_if, is_short=is_short)
    sql = text.statement(is_input_checked)
    parameters = {
        **_question_columns(db, questions, software_keys, point_of),
        **(_point_columns(db, points) if db.is_postgresql else {}),
        **text.parameters,
        **text.change.parameters,
        "at": at,
        "k": setting.revision,
    }
    found = Found()
    moment = db.moment
    for kind, n, i1, i2, i3, i4, _, t1, t2, t3, t4, t5, d1, d2, d3, d4 in db.rows(sql, **parameters):
        if kind == "link":
            link = Link(i1, i2, i3, i4, t1, moment(d1), None if d2 is None else moment(d2))
            found.links.setdefault(n, []).append(link)
        elif kind == "approval":
            found.approvals.setdefault(n, []).append(
                ApprovalRow(
                    i1, i2, i3, t1, t2, t3, t4, t5, moment(d1), moment(d2),
                    None if d3 is None else moment(d3), None if d4 is None else moment(d4),
                )
            )  # fmt: skip
        elif kind == "equipment":
            found.equipment.setdefault(n, []).append(
                EquipmentRow(
                    i1,
                    i2,
                    i3,
                    t1,
                    t2,
                    t3,
                    moment(d1),
                    moment(d2),
                    moment(d3),
                    None if d4 is None else moment(d4),
                )
            )
        elif kind == "hit":
            found.hits.setdefault(n, []).append(i1)
        elif kind == "exemption":
            found.exemptions.setdefault(n, []).append((i1, moment(d1), moment(d2)))
        elif kind == "hold":
            found.holds[n] = HoldRow(
                n, i1, t1, t2, t3, t4, i2, i3 & 1 > 0, i3 & 2 > 0, i4, moment(d1), moment(d2)
            )
        elif kind == "suspension":
            found.suspensions.setdefault(n, []).append(i1)
        elif kind == "variant":
            found.radio_rows.variants.setdefault(n, []).append(
                radio.VariantRow(i1, i2, t1, (t2, t3, t4), moment(d1), moment(d2))
            )
        elif kind == "band":
            found.radio_rows.bands.setdefault(n, []).append((t1, t2, bool(i1)))
        elif kind == "ims":
            found.radio_rows.ims.setdefault(n, {})[i1] = t1
        elif kind == "network":
            found.radio_rows.networks.setdefault(n, []).append(
                radio.NetworkRow(i1, i2, i3, t1, t2, t3, moment(d1), moment(d2))
            )
        elif kind == "network_band":
            until = None if t5 is None else date.fromisoformat(t5)
            found.radio_rows.network_bands.setdefault(n, []).append(
                radio.NetworkBandRow(i1, t1, t2, t3, t4, until)
            )
        else:
            found.unknown.append(n)
    return found


# --- what might have carried ------------------------------------------------------------------------------------


class Upstream(NamedTuple):
    """An agreement upstream of a vendor, whatever its terms."""

    version_id: int
    fact_id: int
    version_no: int
    grantor_id: int
    grantee_id: int
    may_sublicense: bool
    is_verified: bool
    code: str
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None


@dataclass
class Missed:
    agreements: list[Upstream] = field(default_factory=list)
    # version id -> dimension -> values; of models only those that were asked about
    scopes: dict[int, dict[str, set[str]]] = field(default_factory=dict)
    holds: dict[int, HoldRow] = field(default_factory=dict)
    suspensions: dict[int, list[int]] = field(default_factory=dict)


def find_upstream(
    vendor_ids: Iterable[int],
    variant_ids: Iterable[int],
    *,
    setting: Setting,
    at: datetime,
    what_if: WhatIf,
    with_scopes: bool,
) -> Missed:
    """The third statement: every agreement on some way up from these vendors, with what it covers or without."""
    vendor_ids = list(vendor_ids)
    is_short = len(vendor_ids) < _SHORT
    db = Dialect()
    change = _Changes(db, what_if)
    suspended = ""
    if "fact" in (setting.dimensions | what_if.dimensions):
        suspended = f"""
UNION ALL
SELECT 'suspension', {_as_integer("t.value")}, t.version_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       {db.no_instant}, {db.no_instant}, {db.no_instant}
  FROM target t WHERE t.dimension = 'fact' AND t.part = 0 AND t.value IN (SELECT CAST(head_id AS text) FROM up)
UNION ALL
SELECT 'hold', h.id, h.head_id, h.dimensions, h.names, h.exemptions, h.code, h.reach, h.placed_by, h.reason_code,
       {db.written("h.valid_from")}, {db.written("h.ends")}, {db.no_instant}
  FROM hold_details h
 WHERE h.id IN (SELECT t.version_id FROM target t WHERE t.part = 0 AND t.dimension = 'fact'
                   AND t.value IN (SELECT CAST(head_id AS text) FROM up))"""
    scopes = ""
    if with_scopes:
        scopes = f"""
UNION ALL
SELECT 'scope', s.version_id, NULL, NULL, NULL, NULL, s.dimension, s.value, NULL, NULL,
       {db.no_instant}, {db.no_instant}, {db.no_instant}
  FROM authorization_scopeterm s
 WHERE {_terms(db, "SELECT id FROM up")}"""
    sql = f"""
WITH RECURSIVE {_holds(db, change) + "," if suspended else ""}
up(id, head_id, version_no, grantor_id, grantee_id) AS (
  SELECT a.id, a.head_id, a.version_no, a.grantor_id, a.grantee_id
    FROM authorization_agreementversion a
   WHERE a.grantee_id {db.among(f"SELECT value FROM {db.integers('vendors')}")} AND {_known("a", db.integer("k"))}
  UNION
  SELECT a.id, a.head_id, a.version_no, a.grantor_id, a.grantee_id
    FROM up {db.lookup("authorization_agreementversion", "a", "a.grantee_id = up.grantor_id", is_short=is_short)}
   WHERE {_known("a", db.integer("k"))}{db.few("up.id")}
)
{db.head(integers=5, texts=4, instants=3)}
UNION ALL
SELECT 'agreement', a.id, a.head_id, a.version_no, a.grantor_id, a.grantee_id,
       CASE WHEN {change.sublicense("a")} THEN 'yes' ELSE '' END, a.assurance, {_code("a")}, {db.no_text},
       {db.written("a.valid_from")}, {db.written(change.end("a"))}, {db.written(change.revoked_at("a"))}
  FROM authorization_agreementversion a
 WHERE a.id {db.among("SELECT id FROM up")}
{scopes}
{suspended}
"""
    missed = Missed()
    parameters = {
        "vendors": db.array(vendor_ids),
        "variants": db.array([str(variant_id) for variant_id in variant_ids]),
        "at": at,
        "k": setting.revision,
        **change.parameters,
    }
    for kind, i0, i1, i2, i3, i4, t1, t2, t3, t4, d1, d2, d3 in db.rows(sql, **parameters):
        if kind == "agreement":
            missed.agreements.append(
                Upstream(
                    i0, i1, i2, i3, i4, t1 == "yes", t2 == "verified", t3,
                    db.moment(d1), db.moment(d2), None if d3 is None else db.moment(d3),
                )
            )  # fmt: skip
        elif kind == "scope":
            missed.scopes.setdefault(i0, {}).setdefault(t1, set()).add(t2)
        elif kind == "suspension":
            missed.suspensions.setdefault(i0, []).append(i1)
        else:
            missed.holds[i0] = HoldRow(
                i0, i1, t1, t2, t3, t4, i2, i3 & 1 > 0, i3 & 2 > 0, i4, db.moment(d1), db.moment(d2)
            )
    if with_scopes:
        _change_scopes(missed, what_if)
    return missed


def find_scopes(
    missed: Missed, version_ids: Iterable[int], variant_ids: Iterable[int], *, what_if: WhatIf
) -> None:
    """What these agreements cover, for many questions: few of all that is upstream lies on some way to anybody."""
    db = Dialect()
    given = f"SELECT value FROM {db.integers('versions')}"
    sql = (
        f"SELECT s.version_id, s.dimension, s.value FROM authorization_scopeterm s WHERE {_terms(db, given)}"
    )
    parameters = {
        "versions": db.array(version_ids),
        "variants": db.array([str(variant_id) for variant_id in variant_ids]),
    }
    for version_id, dimension, value in db.rows(sql, **parameters):
        missed.scopes.setdefault(version_id, {}).setdefault(dimension, set()).add(value)
    _change_scopes(missed, what_if)


def _terms(db: Dialect, versions: str) -> str:
    return f"""s.version_id {db.among(versions)}
   AND (s.dimension <> 'model' OR s.value = '{ALL}' OR s.value IN (SELECT value FROM {db.texts("variants")}))"""


def _change_scopes(missed: Missed, what_if: WhatIf) -> None:
    for agreement in missed.agreements:
        if agreement.fact_id in what_if.scopes:
            scope = what_if.scopes[agreement.fact_id]
            missed.scopes[agreement.version_id] = {name: set(values) for name, values in scope.items()}


# --- the text of the second statement ---------------------------------------------------------------------------


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


class _Evidence:
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
        self.change = _Changes(db, what_if)
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
            tables += [_holds(self.db, self.change), self._hits(), self._stops()]
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
            _known("a", self.k),
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
            texts=_code("a"),
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
            texts=f"{_code('a')}; a.state; a.limits; a.software_from; a.software_until",
            instants=f"a.valid_from; {end}; a.waived_until; {revoked_at}",
        )
        return f"""approval AS MATERIALIZED (
  SELECT {columns}
    FROM q {self._lookup("authorization_approvalversion", "a", "a.variant_id = q.variant AND a.host_id = q.host")}
   WHERE {self._policy("enforces_approval", "q.territory")}{self.db.few("q.n")} AND {_known("a", self.k)}
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
            texts=f"{_code('e')}; e.regulator; e.identifier",
            instants=f"e.granted_at; e.valid_from; {end}; {revoked_at}",
        )
        here = "e.variant_id = q.variant AND e.territory = q.territory"
        return f"""equipment AS MATERIALIZED (
  SELECT {columns}
    FROM q {self._lookup("authorization_equipmentversion", "e", here)}
   WHERE {self._policy("enforces_equipment", "q.territory")}{self.db.few("q.n")} AND {_known("e", self.k)}
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
  SELECT t.version_id, {_as_integer("t.value")}
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
        columns = self._columns(n=_as_integer("t.value"), integers="t.version_id")
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
 WHERE v.head_id = asked.variant{self.db.few("asked.variant")} AND x.id = v.head_id AND {_known("v", self.k)}"""

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
 WHERE w.host_id = asked.host AND v.head_id = w.id AND c.id = w.host_id AND {_known("v", self.k)}"""

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
        return f"{_known(row, self.k)} AND {row}.valid_from <= {self.at} AND {row}.valid_until > {self.at}"

    # --- input

    def _unknown_rows(self) -> str:
        return f"""SELECT 'unknown', {self._columns(n="q.n")}
  FROM q LEFT JOIN catalog_variant v ON v.id = q.variant LEFT JOIN catalog_device d ON d.id = v.device_id
 WHERE v.id IS NULL OR v.device_id <> q.device OR d.manufacturer_id <> q.manufacturer
    OR NOT EXISTS (SELECT 1 FROM catalog_organization o WHERE o.id = q.vendor)
    OR NOT EXISTS (SELECT 1 FROM carriers_hostcarrier c WHERE c.id = q.host)"""


def _holds(db: Dialect, change: "_Changes") -> str:
    """Holds that have not ended, whether begun or not, with what they name."""
    at, k = db.instant("at"), db.integer("k")
    without, imagined = change.holds()
    return f"""hold(id, head_id, code, reach, placed_by, reason_code, valid_from, ends) AS MATERIALIZED (
  SELECT v.id, v.head_id, f.code, v.reach, v.placed_by, v.reason_code, v.valid_from,
         CASE WHEN v.released_at IS NOT NULL AND v.released_at < v.valid_until THEN v.released_at ELSE v.valid_until END
    FROM authorization_holdversion v JOIN authorization_fact f ON f.id = v.head_id
   WHERE {_known("v", k)} AND v.valid_until > {at} AND (v.released_at IS NULL OR v.released_at > {at}){without}
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


class _Changes:
    """Columns as they are, or as they would be after the change that is thought through."""

    def __init__(self, db: Dialect, what_if: WhatIf) -> None:
        self._db, self._what_if = db, what_if
        self.parameters: dict[str, Any] = {}

    def end(self, row: str) -> str:
        return self._case(f"{row}.valid_until", row, self._what_if.ends, "end")

    def revoked_at(self, row: str) -> str:
        return self._case(f"{row}.revoked_at", row, self._what_if.revoked, "revoked")

    def sublicense(self, row: str) -> str:
        if not self._what_if.sublicenses:
            return f"{row}.may_sublicense"
        allowed = [str(int(head)) for head, may in self._what_if.sublicenses.items() if may]
        changed = ", ".join(str(int(head)) for head in self._what_if.sublicenses)
        return (
            f"(({row}.may_sublicense AND {row}.head_id NOT IN ({changed}))"
            + (f" OR {row}.head_id IN ({', '.join(allowed)})" if allowed else "")
            + ")"
        )

    def covers(self, row: str, dimension: str, value: str) -> str:
        compared = f"CAST({value} AS text)" if dimension == "model" else value
        plain = (
            f"(SELECT 1 FROM authorization_scopeterm s WHERE s.version_id = {row}.id"
            f" AND s.dimension = '{dimension}' AND s.value IN ('{ALL}', {compared}) LIMIT 1) IS NOT NULL"
        )
        if not self._what_if.scopes:
            return plain
        cases = []
        for head, scope in self._what_if.scopes.items():
            name = f"scope_{head}_{dimension}"
            covered = scope.get(dimension, frozenset())
            self.parameters[name] = self._db.array(sorted(covered))
            is_in = f"{compared} IN (SELECT value FROM {self._db.texts(name)})"
            cases.append(f"WHEN {int(head)} THEN {'1 = 1' if ALL in covered else is_in}")
        return f"CASE {row}.head_id {' '.join(cases)} ELSE {plain} END"

    def holds(self) -> tuple[str, dict[str, str]]:
        """What is left out of the recorded holds, and arms for the imagined ones."""
        without = ""
        if self._what_if.without_holds:
            heads = ", ".join(str(int(head)) for head in sorted(self._what_if.without_holds))
            without = f" AND v.head_id NOT IN ({heads})"
        arms: dict[str, list[str]] = {"hold": [], "target": [], "exemption": []}
        rows: list[tuple[int, int, str, str]] = []
        for place, hold in enumerate(self._what_if.holds, start=1):
            # Imagined versions are counted downwards from -1: no stored row has such an id.
            name, number = f"hold_{place}", -place
            for column in ("code", "reach", "placed_by", "reason_code", "valid_from", "valid_until"):
                self.parameters[f"{name}_{column}"] = getattr(hold, column)
            texts = ", ".join(
                f"CAST(%({name}_{column})s AS text)"
                for column in ("code", "reach", "placed_by", "reason_code")
            )
            starts, ends = self._db.instant(f"{name}_valid_from"), self._db.instant(f"{name}_valid_until")
            arms["hold"].append(
                f"UNION ALL SELECT {number}, {int(hold.fact_id)}, {texts}, {starts}, {ends}"
                f" WHERE {ends} > {self._db.instant('at')}"
            )
            rows += [
                (number, part, dimension, value)
                for part, targets in hold.parts.items()
                for dimension, value in targets
            ]
            for part, (valid_from, valid_until) in hold.exemptions.items():
                self.parameters[f"{name}_{part}_from"] = valid_from
                self.parameters[f"{name}_{part}_until"] = valid_until
                arms["exemption"].append(
                    f"UNION ALL SELECT {number}, {int(part)}, {self._db.instant(f'{name}_{part}_from')},"
                    f" {self._db.instant(f'{name}_{part}_until')}"
                )
        if rows:
            # One list, however many there are: SQLite takes 500 arms at most.
            numbers, parts, dimensions, values = (list(column) for column in zip(*rows, strict=True))
            ids, names = {"hold": numbers, "part": parts}, {"dimension": dimensions, "value": values}
            self.parameters |= self._db.columns("imagined", ids, names)
            arms["target"].append(f"UNION ALL {self._db.table('imagined', list(ids), list(names))}")
        return without, {table: "\n   ".join(lines) for table, lines in arms.items()}

    def _case(self, column: str, row: str, changed: Mapping[int, datetime | None], name: str) -> str:
        if not changed:
            return column
        cases = []
        # Counted, so that the text is the same whichever record is changed: SQLite keeps what it has prepared.
        for place, (head, instant) in enumerate(changed.items()):
            self.parameters |= {f"{name}_{place}": instant, f"{name}_{place}_head": int(head)}
            changed_head = self._db.integer(f"{name}_{place}_head")
            cases.append(f"WHEN {changed_head} THEN {self._db.instant(f'{name}_{place}')}")
        return f"(CASE {row}.head_id {' '.join(cases)} ELSE {column} END)"


def _known(row: str, revision: str) -> str:
    return f"{row}.rev_from <= {revision} AND ({row}.rev_to IS NULL OR {row}.rev_to > {revision})"


def _code(row: str) -> str:
    return f"(SELECT f.code FROM authorization_fact f WHERE f.id = {row}.head_id)"


def _as_integer(text: str) -> str:
    return f"CAST({text} AS bigint)"


# --- questions and points as columns ---------------------------------------------------------------------------


def _question_columns(
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
    firsts, known = [], -1
    for p in point_of:
        firsts.append(1 if p > known else 0)
        known = max(known, p)
    return firsts


def _point_columns(db: Dialect, points: Sequence[Point]) -> dict[str, Any]:
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
