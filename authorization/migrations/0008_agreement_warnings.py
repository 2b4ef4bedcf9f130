import uuid
from datetime import timedelta

from django.db import migrations

from authorization import clock

# As authorization.agreements had them when warnings came.
DAYS = (30, 7, 1)


def warn_of_ends(apps, schema_editor):
    """The due row of the next warning, for agreements that were recorded before there were any."""
    now = clock.now()
    rows = []
    in_force = apps.get_model("authorization", "AgreementVersion").objects.filter(
        rev_to__isnull=True, state="active", valid_until__gt=now, valid_until__lt=now + timedelta(days=365 * 100)
    )
    OutboxRow = apps.get_model("authorization", "OutboxRow")
    for version in in_force.iterator():
        for days in DAYS:
            due_at = version.valid_until - timedelta(days=days)
            if due_at > now:
                payload = {"fact_id": version.head_id, "valid_until": version.valid_until.isoformat(), "days": days}
                rows.append(
                    OutboxRow(
                        event_id=uuid.uuid4(),
                        event="agreement.to_warn",
                        payload=payload,
                        handler="storefront.agreements_told.warn_of_end",
                        due_at=due_at,
                        created_at=now,
                    )
                )
                break
    OutboxRow.objects.bulk_create(rows, batch_size=500)


class Migration(migrations.Migration):
    dependencies = [
        ('authorization', '0007_acceptances'),
    ]

    operations = [migrations.RunPython(warn_of_ends, migrations.RunPython.noop)]
