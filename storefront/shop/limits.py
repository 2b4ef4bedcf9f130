"""How often one client may ask for something, counted in each web process by itself.

It keeps a single client from filling a shared list. What must hold over all processes is counted in the database.
"""

import hashlib

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest


def is_over(request: HttpRequest, what: str, *, most: int, within_s: int) -> bool:
    """Count one more, and say whether it is one too many. The window begins with the client's first."""
    key = f"limit:{what}:{_client_of(request)}"
    cache.add(key, 0, within_s)
    try:
        return cache.incr(key) > most
    except ValueError:
        # It ran out between the two lines.
        return False


def _client_of(request: HttpRequest) -> str:
    address = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER is not None:
        # Behind our own proxy: the last hop is what that has seen itself, the others are the client's word.
        address = request.headers.get("X-Forwarded-For", address).rpartition(",")[2].strip()
    return hashlib.sha256(address.encode()).hexdigest()
