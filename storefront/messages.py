"""Messages to parties: one per event, recipient and kind; kept as rows, mailed where there is an address."""

from datetime import datetime
from uuid import UUID

from django.core.mail import send_mail
from django.db.models import Q

from authorization import fence, stores
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.models import SentMessage


def send_message(
    *,
    event_id: UUID,
    kind: str,
    recipient: str,
    address: str,
    subject: str,
    body: str,
    at: datetime,
    sweep_id: int | None = None,
    revocation_id: int | None = None,
) -> SentMessage:
    """Send one message, however often it is asked to. Raises what the mail server raises: ask again later.

    `sweep_id` and `revocation_id` say what it tells of, where that is one.

    The row is committed first, the mail follows, and only then the row says so: a crash between the two mails
    twice rather than never.
    """
    fence.refuse_inside("mail")
    message, _ = SentMessage.objects.get_or_create(
        event_id=event_id,
        kind=kind,
        recipient=recipient[:150],
        # Names of parties go into the subject; a line break in one would end the header.
        defaults={
            "address": address,
            "subject": " ".join(subject.split())[:200],
            "body": body,
            "sent_at": at,
            "sweep_id": sweep_id,
            "revocation_id": revocation_id,
        },
    )
    # Of a test store the row is all: what was tried out must not reach people.
    if message.address and message.mailed_at is None and not stores.is_test():
        send_mail(message.subject, message.body, None, [message.address])
        message.mailed_at = at
        message.save(update_fields=["mailed_at"])
    return message


def find_address(party: str) -> str:
    """The mail address of an organization or host carrier, by its name; '' when none is known."""
    organization = Organization.objects.filter(name__iexact=party).first()
    if organization is not None:
        return organization.contact_email
    host = HostCarrier.objects.filter(Q(name__iexact=party) | Q(code__iexact=party)).first()
    return host.contact_email if host is not None else ""
