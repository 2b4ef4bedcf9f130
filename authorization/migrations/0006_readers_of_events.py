"""Indexes for those who read events: a vendor its own, and what a sweep brought back.

In SQL, in the one spelling that the queries use on both databases.
"""

from django.db import migrations

VENDOR = """
CREATE INDEX auth_outbox_vendor ON authorization_outboxrow ((CAST(payload ->> 'vendor_id' AS bigint)), position)
 WHERE handler = '' AND position IS NOT NULL
"""
RETURNED = """
CREATE INDEX auth_outbox_returned ON authorization_outboxrow ((CAST(payload ->> 'sweep_id' AS bigint)))
 WHERE handler = '' AND event = 'listing.reinstated'
"""


class Migration(migrations.Migration):
    dependencies = [("authorization", "0005_withdrawal_under_fire")]

    operations = [
        migrations.RunSQL(VENDOR, "DROP INDEX auth_outbox_vendor"),
        migrations.RunSQL(RETURNED, "DROP INDEX auth_outbox_returned"),
    ]
