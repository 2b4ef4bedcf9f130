"""GET /v1/events: what happened to the vendor's own offers, in the order in which it was committed."""

from typing import ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from storefront import events
from storefront.api.event_shapes import EventLogShape
from storefront.api.fields import Members
from storefront.api.pagination import DEFAULT_LIMIT, MAX_LIMIT
from storefront.api.views import VendorView

# What the column of positions holds.
MAX_POSITION = 2**63 - 1


class EventsQuery(Members):
    """`limit` above the maximum is lowered to it, never refused."""

    after = serializers.IntegerField(required=False, min_value=0, max_value=MAX_POSITION, default=0)
    limit = serializers.IntegerField(required=False, min_value=1, default=DEFAULT_LIMIT)


class EventsView(VendorView):
    scopes: ClassVar = {"GET": "events:read"}
    queries: ClassVar = {"GET": EventsQuery}
    answers: ClassVar = {"GET": {200: EventLogShape}}
    problems: ClassVar = {"GET": ("events_expired",)}

    def get(self, request: Request) -> Response:
        """What happened, in the order of commits, for 30 days. Who remembers `next_cursor` misses nothing."""
        limit = min(self.query["limit"], MAX_LIMIT)
        page = events.read_events(self.caller.vendor, after=self.query["after"], limit=limit, at=self.at)
        return Response(
            {
                "data": [events.present_event(event) for event in page.events],
                # There is always a next time: the log goes on, and so does the place to read on from.
                "next_cursor": str(page.next_after),
                "has_more": page.has_more,
            }
        )
