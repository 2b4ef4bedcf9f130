"""/v1/webhook-endpoints: where a vendor wants its events sent, and how that went."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from storefront import webhooks
from storefront.api.fields import Distinct, Flag, Instant, Members, OneOf, Text, read_body
from storefront.api.pagination import PageQuery, read_latest
from storefront.api.problems import Problem
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.api.views import VendorView
from storefront.api.webhook_shapes import (
    DeliveryShape,
    EndpointShape,
    EndpointWithSecretShape,
    ReplayedShape,
)
from storefront.models import WebhookDelivery, WebhookEndpoint

_BY_US = "It follows from what happens to the endpoint; nobody writes it."
_BY_ROTATION = "We make the secret: POST /v1/webhook-endpoints/{id}/rotate-secret."


def _event_types() -> serializers.ListField:
    return serializers.ListField(
        child=Text(max_length=64),
        max_length=50,
        required=False,
        default=list,
        validators=[Distinct()],
        help_text="Types of events, as under webhooks. None: all, those to come included.",
    )


class NewEndpointBody(Members):
    output_only: ClassVar = {"secret": _BY_ROTATION, "disabled_reason": _BY_US, "id": _BY_US}

    url = Text(max_length=500)
    label = Text(required=False, default="", allow_blank=True, max_length=64)  # type: ignore[assignment]
    event_types = _event_types()


class EndpointBody(NewEndpointBody):
    is_enabled = Flag(required=False, default=True)


class PeriodBody(Members):
    since = Instant()
    until = Instant(required=False)


class DeliveriesQuery(PageQuery):
    state = OneOf(choices=["pending", "delivered", "given_up"], required=False)


class EndpointView(VendorView):
    """What the calls on one endpoint share."""

    def get_endpoint(self, endpoint_id: UUID) -> WebhookEndpoint:
        endpoint = webhooks.endpoints_of(self.caller.vendor).filter(public_id=endpoint_id).first()
        if endpoint is None:
            raise Problem("not_found", "You have no webhook endpoint of this id.")
        return endpoint


class EndpointsView(VendorView):
    scopes: ClassVar = {"GET": "webhooks:read", "POST": "webhooks:write"}
    bodies: ClassVar = {"POST": NewEndpointBody}
    answers: ClassVar = {"GET": {200: page_of(EndpointShape)}, "POST": {201: EndpointWithSecretShape}}
    problems: ClassVar = {"POST": ("limit_reached",)}

    def get(self, request: Request) -> Response:
        """Your webhook endpoints."""
        rows = webhooks.endpoints_of(self.caller.vendor).order_by("pk")
        data = [present_endpoint(endpoint) for endpoint in rows]
        return Response({"data": data, "next_cursor": None, "has_more": False})

    def post(self, request: Request) -> Response:
        """Have events sent to an address. The answer shows the secret, this once."""
        body = read_body(request, NewEndpointBody)
        endpoint, secret = webhooks.make_endpoint(
            vendor=self.caller.vendor, **body, by=self.caller.actor, at=self.at
        )
        location = f"{request.path}/{endpoint.public_id}"
        shown = {**present_endpoint(endpoint), "secret": secret}
        return Response(shown, status=201, headers={"Location": location})


class OneEndpointView(EndpointView):
    scopes: ClassVar = {"GET": "webhooks:read", "PUT": "webhooks:write", "DELETE": "webhooks:write"}
    bodies: ClassVar = {"PUT": EndpointBody}
    answers: ClassVar = {"GET": {200: EndpointShape}, "PUT": {200: EndpointShape}, "DELETE": {204: None}}

    def get(self, request: Request, endpoint_id: UUID) -> Response:
        """One webhook endpoint."""
        return Response(present_endpoint(self.get_endpoint(endpoint_id)))

    def put(self, request: Request, endpoint_id: UUID) -> Response:
        """Change the whole of an endpoint: what is left out goes back to its default."""
        endpoint = self.get_endpoint(endpoint_id)
        body = read_body(request, EndpointBody)
        endpoint = webhooks.change_endpoint(endpoint=endpoint, **body, by=self.caller.actor, at=self.at)
        return Response(present_endpoint(endpoint))

    def delete(self, request: Request, endpoint_id: UUID) -> Response:
        """Delete an endpoint: nothing more is sent to it."""
        endpoint = self.get_endpoint(endpoint_id)
        webhooks.delete_endpoint(endpoint=endpoint, by=self.caller.actor, at=self.at)
        return Response(status=204)


class RotateSecretView(EndpointView):
    scopes: ClassVar = {"POST": "webhooks:write"}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {200: EndpointWithSecretShape}}

    def post(self, request: Request, endpoint_id: UUID) -> Response:
        """Make a new secret. The old one signs beside it for 24 hours. The answer shows the new one, this once."""
        endpoint = self.get_endpoint(endpoint_id)
        read_body(request, Members)
        endpoint, secret = webhooks.rotate_secret(endpoint=endpoint, by=self.caller.actor, at=self.at)
        return Response({**present_endpoint(endpoint), "secret": secret})


class PingView(EndpointView):
    scopes: ClassVar = {"POST": "webhooks:write"}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {202: DeliveryShape}}
    problems: ClassVar = {"POST": ("endpoint_disabled",)}

    def post(self, request: Request, endpoint_id: UUID) -> Response:
        """Send a test delivery, `webhook.ping`."""
        endpoint = self.get_endpoint(endpoint_id)
        read_body(request, Members)
        delivery = webhooks.ping(endpoint=endpoint, by=self.caller.actor, at=self.at)
        return Response(present_delivery(delivery), status=202)


class DeliveriesView(EndpointView):
    scopes: ClassVar = {"GET": "webhooks:read"}
    queries: ClassVar = {"GET": DeliveriesQuery}
    answers: ClassVar = {"GET": {200: page_of(DeliveryShape)}}

    def get(self, request: Request, endpoint_id: UUID) -> Response:
        """What was sent to an endpoint and how that went, newest first."""
        endpoint = self.get_endpoint(endpoint_id)
        rows = webhooks.in_state(endpoint.deliveries.all(), self.query.get("state", ""))
        page = read_latest(rows, self.query, bound_to=["deliveries", endpoint.pk])
        return Response(page.as_json([present_delivery(delivery) for delivery in page.rows]))


class ReplayView(EndpointView):
    scopes: ClassVar = {"POST": "webhooks:write"}
    bodies: ClassVar = {"POST": Members}
    answers: ClassVar = {"POST": {202: DeliveryShape}}
    problems: ClassVar = {"POST": ("endpoint_disabled",)}

    def post(self, request: Request, endpoint_id: UUID, event_id: UUID) -> Response:
        """Send one event to an endpoint again, whatever became of it."""
        endpoint = self.get_endpoint(endpoint_id)
        delivery = endpoint.deliveries.select_related("endpoint").filter(event_id=event_id).first()
        if delivery is None:
            raise Problem("not_found", "Nothing was made for this endpoint of an event of this id.")
        read_body(request, Members)
        return Response(
            present_delivery(webhooks.replay(delivery=delivery, by=self.caller.actor, at=self.at)), status=202
        )


class ReplayPeriodView(EndpointView):
    scopes: ClassVar = {"POST": "webhooks:write"}
    bodies: ClassVar = {"POST": PeriodBody}
    answers: ClassVar = {"POST": {202: ReplayedShape}}
    problems: ClassVar = {"POST": ("endpoint_disabled",)}

    def post(self, request: Request, endpoint_id: UUID) -> Response:
        """Send all events of a period to an endpoint again."""
        endpoint = self.get_endpoint(endpoint_id)
        body = read_body(request, PeriodBody)
        count = webhooks.replay_period(
            endpoint=endpoint,
            since=body["since"],
            until=body.get("until", self.at),
            by=self.caller.actor,
            at=self.at,
        )
        return Response({"replayed": count}, status=202)


def present_endpoint(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": str(endpoint.public_id),
        "url": endpoint.url,
        "label": endpoint.label,
        "event_types": endpoint.event_types,
        "is_enabled": endpoint.is_enabled,
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": _or_none(endpoint.failing_since),
        "previous_secret_until": _or_none(endpoint.previous_secret_until),
        "created_at": rfc3339(endpoint.created_at),
    }


def present_delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    """`log` has the last attempts, oldest first."""
    return {
        "event_id": str(delivery.event_id),
        "type": delivery.event,
        # A ping is no event, and has no place in the log of events.
        "position": delivery.position or None,
        "state": webhooks.state_of(delivery),
        "attempts": delivery.attempts,
        "created_at": rfc3339(delivery.created_at),
        "next_attempt_at": _or_none(delivery.due_at),
        "delivered_at": _or_none(delivery.delivered_at),
        "given_up_at": _or_none(delivery.given_up_at),
        "log": [entry | {"at": rfc3339(datetime.fromisoformat(entry["at"]))} for entry in delivery.log],
    }


def _or_none(instant: datetime | None) -> str | None:
    return rfc3339(instant) if instant is not None else None
