"""Vendors are told when a host carrier takes back its approval of a variant: once per approval and vendor.

Told is every vendor that lists the variant on this host, on sale or not: also a draft cannot go on sale any more. Which
offers fall each offer's own event says, once the sweep has come to it.
"""

from typing import Any
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import Count

from authorization import outbox
from authorization.models import ApprovalVersion, OutboxRow, Revocation
from catalog.models import ListingHost, OfferState

REVOKED = "carrier_approval.revoked"
# From these ids follows which event is which, so that none is written twice.
_EVENTS = UUID("0b1d4f0a-6c0e-5a35-8a0f-2b8f0f6f7c52")


def tell_of_revoked_approval(*, payload: dict[str, Any], event_id: UUID, at: Any) -> None:
    """Handler of `authority.withdrawn`."""
    revocation = Revocation.objects.get(pk=payload["revocation_id"])
    if revocation.kind != Revocation.Kind.APPROVAL:
        return
    versions = ApprovalVersion.objects.current().select_related("host", "variant")
    approval = versions.get(head=revocation.named_fact)
    offers = ListingHost.objects.filter(listing__variant=approval.variant, host=approval.host)
    rows = offers.exclude(state=OfferState.REMOVED).order_by().values_list("listing__vendor_id")
    told = {
        uuid5(_EVENTS, f"{revocation.pk} {vendor_id}"): {
            "vendor_id": vendor_id,
            "host": approval.host.code,
            "variant": approval.variant.slug,
            "model_number": approval.variant.model_number,
            "reason_code": revocation.reason_code,
            "effective_at": revocation.effective_at.isoformat().replace("+00:00", "Z"),
            "offers": count,
        }
        for vendor_id, count in rows.annotate(count=Count("pk")).order_by("listing__vendor_id")
    }
    with transaction.atomic():
        known = OutboxRow.objects.filter(event=REVOKED, event_id__in=told, handler="")
        for known_id in known.values_list("event_id", flat=True):
            del told[known_id]
        outbox.announce_many(event=REVOKED, payloads=list(told.values()), at=at, event_ids=list(told))
