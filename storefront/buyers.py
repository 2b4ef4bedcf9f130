"""What buyers are told of their orders, in words that keep a vendor's legal trouble out."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from storefront.messages import send_message
from storefront.models import Order

# By the event of the order: subject, and what it means for the buyer.
_WORDS = {
    "order.held": (
        "is on hold",
        "We may not deliver it at the moment. We will either ship it, once that is allowed, or call it off and give "
        "your payment back in full, and tell you which. You need do nothing.",
    ),
    "order.released": ("goes on", "What kept it is settled. It ships as ordered."),
    "order.refunded": ("was called off", "It will not ship. Your payment is given back in full."),
    "order.shipped": ("is on its way", "It has left us."),
}


def tell_buyer(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of the order events: one message per event, also when it is delivered twice."""
    order = Order.objects.get(pk=payload["order_id"])
    subject, meaning = _WORDS[payload["event"]]
    send_message(
        event_id=event_id,
        kind=payload["event"],
        recipient=order.buyer_name,
        address=order.buyer_email,
        subject=f"Your order {order.pk} {subject}",
        body="\n".join(
            [
                f"To {order.buyer_name}:",
                "",
                f"your order {order.pk} {subject}. {meaning}",
                "",
                f"The order: {settings.PUBLIC_URL}/orders/{order.public_id}/",
            ]
        ),
        at=at,
    )
