"""Webhook endpoints and deliveries."""

from rest_framework import serializers

from storefront.api.shapes import Shape, flag, instant, many, number, open_enum, text
from storefront.events import EVENT_TYPES

_TYPES = (*EVENT_TYPES, "webhook.ping")


class EndpointShape(Shape):
    """Where events are sent."""

    id = text()
    url = text()
    label = text()
    event_types = serializers.ListField(child=open_enum(EVENT_TYPES), help_text="Empty: all.")
    is_enabled = flag()
    disabled_reason = text("Why it was switched off; empty while it is on.")
    failing_since = instant(allow_null=True)
    previous_secret_until = instant("Until then the secret before signs as well.", allow_null=True)
    created_at = instant()


class EndpointWithSecretShape(EndpointShape):
    """An endpoint with its secret, this once."""

    secret = text("`whsec_` and base64. It is not shown again.", required=False)


class AttemptShape(Shape):
    """One attempt of a delivery."""

    at = instant()
    status = number("What the receiver answered. Null: no answer came.", allow_null=True)
    error = text("Why it failed; empty: it did not.")
    took_ms = number()


class DeliveryShape(Shape):
    """An event on its way to an endpoint."""

    event_id = text()
    type = open_enum(_TYPES)
    position = number("Null: a test delivery.", allow_null=True)
    state = open_enum(("pending", "delivered", "given_up"))
    attempts = number()
    created_at = instant()
    next_attempt_at = instant(allow_null=True)
    delivered_at = instant(allow_null=True)
    given_up_at = instant(allow_null=True)
    log = many(AttemptShape, "The last 20 attempts, oldest first.")


class ReplayedShape(Shape):
    """How much is sent again."""

    replayed = number()
