from django.db import migrations

# As storefront.scopes had them when keys got scopes: a key made before opens what it opened until then.
_VENDOR = [
    "catalog:read", "listings:read", "listings:write", "feeds:read", "feeds:write", "orders:read", "orders:write",
    "agreements:read", "agreements:write", "acceptances:read", "acceptances:write", "cases:read", "cases:write",
    "events:read", "webhooks:read", "webhooks:write", "keys:read", "test_clock:write",
]
_CARRIER = [
    "catalog:read", "acceptances:read", "acceptances:write", "claims:read", "takedowns:read", "cases:read",
    "cases:write",
]


def give_scopes(apps, schema_editor):
    apps.get_model("storefront", "OrganizationKey").objects.filter(scopes=[]).update(scopes=_VENDOR)
    apps.get_model("storefront", "CarrierKey").objects.filter(scopes=[]).update(scopes=_CARRIER)


class Migration(migrations.Migration):
    dependencies = [
        ('storefront', '0006_vendors_api'),
    ]

    operations = [migrations.RunPython(give_scopes, migrations.RunPython.noop)]
