from django.apps import AppConfig


class StorefrontConfig(AppConfig):
    name = "storefront"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Storefront"

    def ready(self) -> None:
        from storefront import checks  # noqa: F401  registers the system checks
