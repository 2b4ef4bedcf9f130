"""Calls that will end: announced in their answers' headers, and ended at the day that was announced.

`Deprecation` is RFC 9745, `Sunset` RFC 8594. docs/api-conventions.md says how long before a call ends that is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils.http import http_date

# From the day on which it is announced to the day on which a call ends, at least.
NOTICE = timedelta(days=180)


@dataclass(frozen=True)
class Deprecation:
    """Since when a call is deprecated, when it ends, what takes its place and where that is explained.

    `successor` is a path of this API, perhaps with parts in braces as in the description: /v1/listings/{sku}.
    """

    since: datetime
    sunset: datetime
    successor: str
    page: str = "/v1/docs"

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or self.sunset.tzinfo is None:
            raise ValueError("Give both instants with a time zone.")
        if self.sunset - self.since < NOTICE:
            raise ValueError(f"A call ends {NOTICE.days} days after that is told, at the earliest.")

    def headers(self) -> Mapping[str, str]:
        return {
            "Deprecation": f"@{int(self.since.timestamp())}",
            "Sunset": http_date(self.sunset.timestamp()),
            "Link": f'<{self.page}>; rel="deprecation"; type="text/html", '
            f'<{self.successor}>; rel="successor-version"',
        }

    def is_over(self, at: datetime) -> bool:
        return at >= self.sunset

    def words(self) -> str:
        return f"It ended on {self.sunset.astimezone(UTC):%Y-%m-%d}. Call {self.successor} instead."
