"""System checks of the store's settings: each says what is wrong and the cure.

The fence and the outbox have their own, one floor down.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from storefront.environment import is_web_address

# ALLOWED_HOSTS writes an IPv6 address in brackets, a parsed address does not.
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


@register()
def check_payment_provider(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    if not is_web_address(settings.PAYMENT_PROVIDER_URL):
        return [
            Error(
                f"PAYMENT_PROVIDER_URL={settings.PAYMENT_PROVIDER_URL} is not an http(s) address.",
                hint="Example: https://payments.example.com",
                id="storefront.E001",
            )
        ]
    address = urlsplit(settings.PAYMENT_PROVIDER_URL)
    found: list[CheckMessage] = []
    if address.scheme == "http" and address.hostname not in LOOPBACK:
        found.append(
            Error(
                "PAYMENT_PROVIDER_URL sends card numbers over plain HTTP to another host.",
                hint="Take an https:// address; http:// is for a provider on this host.",
                id="storefront.E002",
            )
        )
    if not settings.PAYMENT_PROVIDER_KEY:
        found.append(
            Warning(
                "PAYMENT_PROVIDER_KEY is empty: the provider will refuse every payment.",
                hint="Set it to the key that the provider gave you; ./dev makes one for its simulation.",
                id="storefront.W001",
            )
        )
    return found


@register(Tags.security)
def check_secrets(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    found: list[CheckMessage] = []
    # Length alone lets fifty times the same letter pass; cookies and proofs of removal are signed with this.
    if settings.SECRET_KEY.startswith("django-insecure-") or len(set(settings.SECRET_KEY)) < 10:
        found.append(
            Error(
                "SECRET_KEY is a placeholder.",
                hint="Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(50))'",
                id="storefront.E003",
            )
        )
    strangers = sorted(set(settings.ALLOWED_HOSTS) - LOOPBACK)
    if settings.DEBUG and strangers:
        found.append(
            Error(
                f"DEBUG is on for a store that answers as {', '.join(strangers)}: errors show its insides.",
                hint="Unset DEBUG, or keep ALLOWED_HOSTS to 127.0.0.1 and localhost.",
                id="storefront.E004",
            )
        )
    return found
