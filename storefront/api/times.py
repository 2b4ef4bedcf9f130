"""Instants as the API writes them: RFC 3339 in UTC, with Z."""

from datetime import UTC, datetime


def rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
