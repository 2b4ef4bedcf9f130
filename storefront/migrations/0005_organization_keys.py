from django.db import migrations


class Migration(migrations.Migration):
    """Distributors and manufacturers call the API too."""

    dependencies = [
        ('storefront', '0004_rate_counts'),
    ]

    operations = [
        migrations.RenameModel(old_name='VendorKey', new_name='OrganizationKey'),
        migrations.RenameField(model_name='organizationkey', old_name='vendor', new_name='organization'),
    ]
