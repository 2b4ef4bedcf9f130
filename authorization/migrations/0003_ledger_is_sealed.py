import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('authorization', '0002_engine_facts'),
        ('catalog', '0002_engine_facts'),
    ]

    operations = [
        migrations.CreateModel(
            name='LedgerSeal',
            fields=[
                ('number', models.PositiveBigIntegerField(primary_key=True, serialize=False)),
                ('format', models.PositiveSmallIntegerField()),
                ('sealed_at', models.DateTimeField()),
                ('entries', models.PositiveIntegerField(help_text='How many entries it seals')),
                ('total', models.PositiveBigIntegerField(help_text='How many are sealed by it and those before')),
                ('settled_id', models.PositiveBigIntegerField(help_text='No entry up to this id can still be committed: all of them are sealed')),
                ('root', models.CharField(max_length=64)),
                ('previous', models.CharField(help_text='Chained hash of the seal before; of the first one: the name of this ledger', max_length=64)),
                ('chained', models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name='LedgerLeaf',
            fields=[
                ('entry_id', models.PositiveBigIntegerField(primary_key=True, serialize=False)),
                ('position', models.PositiveIntegerField()),
                ('hash', models.CharField(max_length=64)),
                ('seal', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='leaves', to='authorization.ledgerseal')),
            ],
            options={
                'verbose_name_plural': 'ledger leaves',
                'constraints': [models.UniqueConstraint(fields=('seal', 'position'), name='authorization_leaf_position')],
            },
        ),
    ]
