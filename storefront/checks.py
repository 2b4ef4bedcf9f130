"""System checks of the store's settings: each says what is wrong and the cure.

The fence and the outbox have their own, one floor down.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@register()
def check_payment_provider(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    address = urlsplit(settings.PAYMENT_PROVIDER_URL)
    if address.scheme not in ("http", "https") or not address.hostname:
        return [
            Error(
                f"PAYMENT_PROVIDER_URL={settings.PAYMENT_PROVIDER_URL} is not an http(s) address.",
                hint="Example: https://payments.example.com",
                id="storefront.E001",
            )
        ]
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


@register()
def check_territory(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    if re.fullmatch("[A-Z]{2}", settings.SHOP_TERRITORY):
        return []
    return [
        Error(
            f"CLEARLINE_TERRITORY={settings.SHOP_TERRITORY} is not a territory.",
            hint="Give the ISO 3166-1 code in capitals, e.g. US.",
            id="storefront.E005",
        )
    ]
