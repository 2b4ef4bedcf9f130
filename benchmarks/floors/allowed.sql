-- Yes or no for each question: the grounds of docs/the-rules.md under the benchmark's policy, which enforces verified
-- agreements, approvals (a conditional one is enough) and equipment authorizations. After one of question_*.sql.
-- What stands behind `-- sqlite:` is for SQLite alone: it says that a list is short, and spares it Bloom filters.

-- Companies that a manufacturer belongs to, with itself; and whoever may grant for its devices.
affiliation(parent, child, may_grant) AS (
  SELECT parent_id, child_id, may_grant_for_parent FROM authorization_affiliationversion
   WHERE rev_from <= %(k)s AND (rev_to IS NULL OR rev_to > %(k)s) AND valid_from <= %(at)s AND valid_until > %(at)s
),
belongs(company, parent) AS (
  SELECT child, parent FROM affiliation
   UNION
  SELECT b.company, a.parent FROM belongs b JOIN affiliation a ON a.child = b.parent
),
root(manufacturer, company) AS (
  SELECT company, parent FROM belongs UNION SELECT parent, child FROM affiliation WHERE may_grant
),

-- Holds in force, and which parts of them match which question: all dimensions that the part names do.
hold AS MATERIALIZED (
  SELECT id, reach, valid_from FROM authorization_holdversion
   WHERE rev_from <= %(k)s AND (rev_to IS NULL OR rev_to > %(k)s) AND valid_from <= %(at)s AND valid_until > %(at)s
     AND (released_at IS NULL OR released_at > %(at)s)
),
target AS MATERIALIZED (
  SELECT t.version_id, t.part, t.dimension, t.value
    FROM hold JOIN authorization_holdtarget t ON t.version_id = hold.id
    LEFT JOIN authorization_holdexemption x ON x.version_id = t.version_id AND x.part = t.part
   WHERE t.part = 0 OR (x.valid_from <= %(at)s AND x.valid_until > %(at)s)
),
part(version_id, part, dimensions, facts) AS MATERIALIZED (
  SELECT version_id, part, COUNT(DISTINCT CASE WHEN dimension <> 'fact' THEN dimension END),
         COUNT(CASE WHEN dimension = 'fact' THEN 1 END)
    FROM target GROUP BY version_id, part
),
matched(n, version_id, part, dimension) AS (
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.vendor = CAST(t.value AS bigint) WHERE t.dimension = 'vendor'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.manufacturer = CAST(t.value AS bigint) WHERE t.dimension = 'manufacturer'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension
    FROM target t JOIN belongs b ON b.parent = CAST(t.value AS bigint) JOIN question q ON q.manufacturer = b.company
   WHERE t.dimension = 'manufacturer'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.device = CAST(t.value AS bigint) WHERE t.dimension = 'device'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.variant = CAST(t.value AS bigint) WHERE t.dimension = 'variant'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.listing = CAST(t.value AS bigint) WHERE t.dimension = 'listing'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.host = CAST(t.value AS bigint) WHERE t.dimension = 'host'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.territory = t.value WHERE t.dimension = 'territory'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.channel = t.value WHERE t.dimension = 'channel'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension FROM target t JOIN question q ON q.condition = t.value WHERE t.dimension = 'condition'
   UNION ALL
  SELECT q.n, t.version_id, t.part, t.dimension
    FROM question q CROSS JOIN catalog_variantversion v CROSS JOIN catalog_variantattribute x CROSS JOIN target t
   WHERE v.head_id = q.variant AND x.version_id = v.id AND t.dimension = 'attribute:' || x.name AND t.value = x.value
     AND v.rev_from <= %(k)s AND (v.rev_to IS NULL OR v.rev_to > %(k)s) AND v.valid_from <= %(at)s AND v.valid_until > %(at)s
     AND EXISTS (SELECT 1 FROM target a WHERE a.dimension LIKE 'attribute:%%')
     -- sqlite: AND likelihood(q.n >= 0, 0.0001)
),
matching(n, version_id, part) AS MATERIALIZED (
  SELECT m.n, m.version_id, m.part
    FROM matched m JOIN part p ON p.version_id = m.version_id AND p.part = m.part
   GROUP BY m.n, m.version_id, m.part, p.dimensions HAVING COUNT(DISTINCT m.dimension) = p.dimensions
   UNION ALL
  SELECT q.n, p.version_id, 0 FROM question q CROSS JOIN part p
   WHERE p.part = 0 AND p.dimensions = 0
     AND EXISTS (SELECT 1 FROM part x WHERE x.version_id = p.version_id AND x.part > 0)
),
stopping(n, version_id) AS MATERIALIZED (
  SELECT n, version_id FROM matching WHERE part = 0
  EXCEPT
  SELECT n, version_id FROM matching WHERE part > 0
),
stopped(n) AS MATERIALIZED (
  SELECT s.n FROM stopping s JOIN hold ON hold.id = s.version_id JOIN part p ON p.version_id = s.version_id AND p.part = 0
   WHERE hold.reach = 'sale' AND p.facts = 0
),
listed(n, reach, valid_from) AS MATERIALIZED (
  SELECT s.n, hold.reach, hold.valid_from FROM stopping s JOIN hold ON hold.id = s.version_id WHERE hold.reach <> 'sale'
),
-- Facts that holds suspend: for the questions in `stopping`, or for all of them.
named(version_id, fact) AS MATERIALIZED (
  SELECT t.version_id, CAST(t.value AS bigint) FROM target t JOIN hold ON hold.id = t.version_id
   WHERE t.part = 0 AND t.dimension = 'fact' AND hold.reach = 'sale'
),
suspended(fact) AS MATERIALIZED (
  SELECT t.fact FROM named t JOIN part p ON p.version_id = t.version_id AND p.part = 0
   WHERE p.dimensions = 0 AND NOT EXISTS (SELECT 1 FROM part x WHERE x.version_id = t.version_id AND x.part > 0)
),

-- Down from whoever may grant for a manufacturer, over agreements that may sublicense: what can lead to a vendor at all.
above(manufacturer, company) AS (
  SELECT DISTINCT manufacturer, manufacturer FROM question
   UNION
  SELECT q.manufacturer, r.company FROM question q JOIN root r ON r.manufacturer = q.manufacturer
   UNION
  SELECT b.manufacturer, a.grantee_id
    FROM above b CROSS JOIN authorization_agreementversion a
   WHERE a.grantor_id = b.company AND a.may_sublicense
     -- sqlite: AND likelihood(b.manufacturer >= 0, 0.0001)
     AND a.rev_from <= %(k)s AND (a.rev_to IS NULL OR a.rev_to > %(k)s)
     AND a.valid_from <= %(at)s AND a.valid_until > %(at)s AND (a.revoked_at IS NULL OR a.revoked_at > %(at)s)
     AND a.assurance = 'verified'
),
-- Up from the vendor over agreements that carry the question.
granted(n, manufacturer, vendor, variant, territory, channel, condition, company) AS (
  SELECT n, manufacturer, vendor, CAST(variant AS text), territory, channel, condition, vendor FROM question
   UNION
  SELECT g.n, g.manufacturer, g.vendor, g.variant, g.territory, g.channel, g.condition, a.grantor_id
    FROM granted g CROSS JOIN authorization_agreementversion a
   WHERE a.grantee_id = g.company AND g.company <> g.manufacturer
     AND ((g.manufacturer, a.grantor_id) IN (SELECT manufacturer, company FROM above)) IS TRUE
     -- sqlite: AND likelihood(g.n >= 0, 0.0001)
     AND (a.may_sublicense OR a.grantee_id = g.vendor)
     AND a.rev_from <= %(k)s AND (a.rev_to IS NULL OR a.rev_to > %(k)s)
     AND a.valid_from <= %(at)s AND a.valid_until > %(at)s AND (a.revoked_at IS NULL OR a.revoked_at > %(at)s)
     AND a.assurance = 'verified'
     AND (SELECT 1 FROM authorization_scopeterm s WHERE s.version_id = a.id AND s.dimension = 'model' AND s.value IN ('*', g.variant) LIMIT 1) IS NOT NULL
     AND (SELECT 1 FROM authorization_scopeterm s WHERE s.version_id = a.id AND s.dimension = 'territory' AND s.value IN ('*', g.territory) LIMIT 1) IS NOT NULL
     AND (SELECT 1 FROM authorization_scopeterm s WHERE s.version_id = a.id AND s.dimension = 'channel' AND s.value IN ('*', g.channel) LIMIT 1) IS NOT NULL
     AND (SELECT 1 FROM authorization_scopeterm s WHERE s.version_id = a.id AND s.dimension = 'condition' AND s.value IN ('*', g.condition) LIMIT 1) IS NOT NULL
     AND (a.head_id NOT IN (SELECT fact FROM named) OR (a.head_id NOT IN (SELECT fact FROM suspended)
          AND NOT EXISTS (SELECT 1 FROM named s WHERE s.fact = a.head_id AND (g.n, s.version_id) IN (SELECT n, version_id FROM stopping))))
),
authorized(n) AS MATERIALIZED (
  SELECT n FROM granted WHERE company = manufacturer
   UNION
  SELECT g.n FROM granted g JOIN root r ON r.manufacturer = g.manufacturer AND r.company = g.company
)

SELECT q.n, CASE WHEN
       EXISTS (
         SELECT 1 FROM authorization_policyversion p
          WHERE p.rev_from <= %(k)s AND (p.rev_to IS NULL OR p.rev_to > %(k)s) AND p.valid_from <= %(at)s AND p.valid_until > %(at)s)
   AND q.host IN (
         SELECT h.host_id FROM carriers_hosting h JOIN carriers_hostingversion v ON v.head_id = h.id
          WHERE h.mvno = %(mvno)s AND v.rev_from <= %(k)s AND (v.rev_to IS NULL OR v.rev_to > %(k)s)
            AND v.valid_from <= %(at)s AND v.valid_until > %(at)s)
   AND q.n NOT IN (SELECT n FROM stopped)
   AND EXISTS (
         SELECT 1 FROM authorization_approvalversion a
          WHERE a.variant_id = q.variant AND a.host_id = q.host AND a.rev_from <= %(k)s AND (a.rev_to IS NULL OR a.rev_to > %(k)s)
            AND a.valid_from <= %(at)s AND a.valid_until > %(at)s AND (a.waived_until IS NULL OR a.waived_until > %(at)s)
            AND (a.revoked_at IS NULL OR a.revoked_at > %(at)s) AND a.state NOT IN ('requested', 'in_test', 'rejected')
            AND ((a.software_from_key = '' AND a.software_until_key = '')
                 OR (q.software <> '' AND q.software >= a.software_from_key
                     AND (a.software_until_key = '' OR q.software < a.software_until_key)))
            AND (a.head_id NOT IN (SELECT fact FROM named) OR (a.head_id NOT IN (SELECT fact FROM suspended)
                 AND NOT EXISTS (SELECT 1 FROM named s WHERE s.fact = a.head_id AND (q.n, s.version_id) IN (SELECT n, version_id FROM stopping)))))
   AND EXISTS (
         SELECT 1 FROM authorization_equipmentversion e
          WHERE e.variant_id = q.variant AND e.territory = q.territory AND e.rev_from <= %(k)s AND (e.rev_to IS NULL OR e.rev_to > %(k)s)
            AND e.valid_from <= %(at)s AND e.valid_until > %(at)s AND (e.revoked_at IS NULL OR e.revoked_at > %(at)s)
            AND (e.head_id NOT IN (SELECT fact FROM named) OR (e.head_id NOT IN (SELECT fact FROM suspended)
                 AND NOT EXISTS (SELECT 1 FROM named s WHERE s.fact = e.head_id AND (q.n, s.version_id) IN (SELECT n, version_id FROM stopping))))
            AND (q.n NOT IN (SELECT n FROM listed)
                 OR NOT EXISTS (SELECT 1 FROM listed l WHERE l.n = q.n AND (l.reach = 'all_grants' OR e.granted_at >= l.valid_from))))
   AND q.n IN (SELECT n FROM authorized)
  THEN 1 ELSE 0 END
  FROM question q
