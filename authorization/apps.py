from django.apps import AppConfig


class AuthorizationConfig(AppConfig):
    name = "authorization"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Authorization"

    def ready(self) -> None:
        from authorization import append_only, checks  # noqa: F401  they register the system checks
