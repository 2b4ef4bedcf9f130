-- Every host offer of the store. The keys that software sorts by are given: `software`, as [as written, key].
question(n, vendor, manufacturer, device, variant, host, listing, territory, channel, condition, software) AS MATERIALIZED (
  SELECT o.id, l.vendor_id, d.manufacturer_id, d.id, l.variant_id, o.host_id, l.id,
         l.territory, l.channel, l.condition, CASE l.software {software} ELSE '' END
    FROM catalog_listinghost o
    JOIN catalog_listing l ON l.id = o.listing_id
    JOIN catalog_variant v ON v.id = l.variant_id
    JOIN catalog_device d ON d.id = v.device_id
),
