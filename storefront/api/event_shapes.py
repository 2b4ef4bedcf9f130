"""Events, as the log shows them and as they are sent."""

from typing import Any

from rest_framework import serializers

from storefront.api.shapes import Shape, flag, instant, many, number, open_enum, text
from storefront.events import EVENT_TYPES


class EventShape(Shape):
    """Something that happened. What `data` has the type says; see the webhooks of this description."""

    id = text("The same in the log, in the webhook and in the mail.")
    type = open_enum(EVENT_TYPES)
    timestamp = instant("When it happened.")
    position = number(
        "Its place in the order of commits. Null: a test delivery, which has none.", allow_null=True
    )
    data: Any = serializers.DictField(child=serializers.JSONField())


class EventLogShape(Shape):
    """Events in the order in which they were committed."""

    data = many(EventShape)
    next_cursor = text("Give it as `after` the next time: there is always a next time.")
    has_more = flag("Whether there is more right now.")
