-- Many questions, as one JSON text.
question(n, vendor, manufacturer, device, variant, host, listing, territory, channel, condition, software) AS MATERIALIZED (
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
         json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
         json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
         json_extract(value, '$[9]'), json_extract(value, '$[10]')
    FROM json_each(%(questions)s)
),
