from django.db import migrations

from authorization import append_only


def install(apps, schema_editor):
    append_only.install(schema_editor.connection, apps)


def remove(apps, schema_editor):
    append_only.remove(schema_editor.connection, apps)


class Migration(migrations.Migration):

    dependencies = [
        ('authorization', '0003_ledger_is_sealed'),
        ('carriers', '0001_initial'),
        ('catalog', '0002_engine_facts'),
    ]

    operations = [
        migrations.RunPython(install, remove),
    ]
