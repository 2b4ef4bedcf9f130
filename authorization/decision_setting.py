"""What bears on every question: revision, policies, hostings, affiliations, and which dimensions holds name.

The first statement of a decision.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from authorization.dialect import Dialect
from authorization.what_if import known


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
 WHERE {known("v", "k.k")}
UNION ALL
SELECT 'hosting', v.head_id, v.version_no, h.host_id, NULL,
       CASE WHEN h.product_name <> '' THEN h.product_name ELSE h.mvno END || ' on ' || c.code, NULL, NULL,
       {db.written("v.valid_from")}, {db.written("v.valid_until")}
  FROM k CROSS JOIN carriers_hosting h
  JOIN carriers_hostingversion v ON v.head_id = h.id JOIN carriers_hostcarrier c ON c.id = h.host_id
 WHERE h.mvno = %(mvno)s AND {known("v", "k.k")}
UNION ALL
SELECT 'affiliation', v.head_id, v.version_no, v.parent_id, v.child_id,
       f.code, CASE WHEN v.may_grant_for_parent THEN 'yes' ELSE '' END, NULL,
       {db.written("v.valid_from")}, {db.written("v.valid_until")}
  FROM k CROSS JOIN authorization_affiliationversion v JOIN authorization_fact f ON f.id = v.head_id
 WHERE {known("v", "k.k")}
UNION ALL
SELECT 'dimension', NULL, NULL, NULL, NULL, t.dimension, v.reach, NULL, {db.no_instant}, {db.no_instant}
  FROM k CROSS JOIN authorization_holdversion v JOIN authorization_holdtarget t ON t.version_id = v.id
 WHERE {known("v", "k.k")} AND {not_ended}
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
