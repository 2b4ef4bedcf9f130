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
        "We may not deliver it at the moment. We will ship it, once that is allowed, or call off what may not be "
        "shipped and give your payment for it back. {until}You need do nothing.",
    ),
    "order.overdue": (
        "is still on hold",
        "We had hoped to know by now whether we may deliver it, and do not yet. Nothing is lost: you get what you "
        "ordered, or your payment back. If you would rather not wait, answer this message and we call it off.",
    ),
    "order.released": ("goes on", "What kept it is settled. It ships as ordered."),
    "order.partly_refunded": ("was called off in part", "{amount} of your payment is given back. {rest}"),
    "order.refunded": ("was called off", "It will not ship. Your payment is given back in full."),
    "order.partly_shipped": (
        "is on its way in part",
        "A part of it has left us{parcel}. The rest follows in a parcel of its own.",
    ),
    "order.shipped": ("is on its way", "It has left us{parcel}."),
}


def tell_buyer(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of the order events: one message per event, also when it is delivered twice."""
    if "is_told_with" in payload:
        # Another event of the same act says it.
        return
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
                f"your order {order.pk} {subject}. {meaning.format(**_details(payload))}",
                "",
                f"The order: {settings.PUBLIC_URL}/orders/{order.public_id}/",
            ]
        ),
        at=at,
    )


def _details(payload: dict[str, Any]) -> dict[str, str]:
    """What the words of some events leave open."""
    until = payload.get("decide_by")
    says_when = f"You hear from us by {say_time(datetime.fromisoformat(until))}. " if until else ""
    if payload.get("is_shipped"):
        rest = "The rest of it has left us already."
    elif payload.get("is_released"):
        rest = "The rest of it ships as ordered."
    else:
        rest = "The rest of it is still on hold; we tell you what becomes of it."
    parcel = payload.get("parcel")
    return {
        "until": says_when,
        "amount": f"{payload.get('amount')} {payload.get('currency')}",
        "rest": rest,
        "parcel": f" with {parcel}" if parcel else "",
    }


def say_time(at: datetime) -> str:
    return f"{at:%-d %B %Y, %H:%M} UTC"
