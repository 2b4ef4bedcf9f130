-- Many questions, a list for each column.
question(n, vendor, manufacturer, device, variant, host, listing, territory, channel, condition, software) AS MATERIALIZED (
  SELECT * FROM unnest(
    CAST(%(n)s AS bigint[]), CAST(%(vendor)s AS bigint[]), CAST(%(manufacturer)s AS bigint[]),
    CAST(%(device)s AS bigint[]), CAST(%(variant)s AS bigint[]), CAST(%(host)s AS bigint[]),
    CAST(%(listing)s AS bigint[]), CAST(%(territory)s AS text[]), CAST(%(channel)s AS text[]),
    CAST(%(condition)s AS text[]), CAST(%(software)s AS text[]))
),
