"""The set-based evaluator: what holds of many questions at once, found in SQL by docs/the-rules.md.

Three statements, for many vendors four: the setting (`authorization.decision_setting`), the evidence (links that carry,
approvals and equipment authorizations with their failures, holds that match; its text is made by
`authorization.evidence_text`), and, where no chain carries, the agreements upstream that might have.
`authorization.findings` makes answers of the rows. Each can be told of a change that is only thought through
(`authorization.what_if`).

A row says its kind first; what its columns mean is said by the named tuples below. The same text runs on SQLite and
PostgreSQL; what they spell differently is in `dialect`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from authorization import radio
from authorization.decision_setting import Policy, Setting
from authorization.dialect import Dialect
from authorization.evidence_text import EvidenceText, Point, holds_text, point_columns, question_columns
from authorization.rules import ALL, Question
from authorization.what_if import Changes, WhatIf, as_integer, code_of, known

# So many points PostgreSQL's planner may be told to look up one by one.
_SHORT = 500


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
    text = EvidenceText(db, setting, policy_of, roots, ancestors, what_if, is_short=is_short)
    sql = text.statement(is_input_checked)
    parameters = {
        **question_columns(db, questions, software_keys, point_of),
        **(point_columns(db, points) if db.is_postgresql else {}),
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
    change = Changes(db, what_if)
    suspended = ""
    if "fact" in (setting.dimensions | what_if.dimensions):
        suspended = f"""
UNION ALL
SELECT 'suspension', {as_integer("t.value")}, t.version_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
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
WITH RECURSIVE {holds_text(db, change) + "," if suspended else ""}
up(id, head_id, version_no, grantor_id, grantee_id) AS (
  SELECT a.id, a.head_id, a.version_no, a.grantor_id, a.grantee_id
    FROM authorization_agreementversion a
   WHERE a.grantee_id {db.among(f"SELECT value FROM {db.integers('vendors')}")} AND {known("a", db.integer("k"))}
  UNION
  SELECT a.id, a.head_id, a.version_no, a.grantor_id, a.grantee_id
    FROM up {db.lookup("authorization_agreementversion", "a", "a.grantee_id = up.grantor_id", is_short=is_short)}
   WHERE {known("a", db.integer("k"))}{db.few("up.id")}
)
{db.head(integers=5, texts=4, instants=3)}
UNION ALL
SELECT 'agreement', a.id, a.head_id, a.version_no, a.grantor_id, a.grantee_id,
       CASE WHEN {change.sublicense("a")} THEN 'yes' ELSE '' END, a.assurance, {code_of("a")}, {db.no_text},
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
