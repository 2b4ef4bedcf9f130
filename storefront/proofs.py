"""Proof of removal: what was taken down on a party's word, when and why.

Signed, sent to the party, and open to who has its link.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import transaction

from authorization import ledger
from authorization.actors import SYSTEM
from authorization.models import Revocation
from storefront import audit
from storefront.messages import find_address, send_message
from storefront.models import OrderLine, RemovalProof
from storefront.withdrawals import IDS_PER_QUERY, delistings_of

_SALT = "clearline.removal-proof"


def issue_proof(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """When the sweep of a withdrawal is done: write the proof, once, and tell the party whose word it was."""
    if payload.get("revocation_id") is None:
        return
    revocation = Revocation.objects.select_related("fact", "sweep").get(pk=payload["revocation_id"])
    # Read before the transaction: it goes through all orders.
    statement = _statement(revocation, at=at)
    with transaction.atomic():
        locked = Revocation.objects.select_for_update().get(pk=revocation.pk)
        proof = RemovalProof.objects.filter(revocation=locked).first()
        if proof is None:
            proof = _write_proof(revocation, statement, at=at)
    send_message(
        # The proof is what the message tells of, so a sweep that is announced twice is told once.
        event_id=proof.public_id,
        kind="removal_proof",
        recipient=proof.recipient,
        address=find_address(proof.recipient),
        subject=f"Proof of removal: {revocation.fact.code}",
        body=_message(proof, revocation),
        at=at,
    )


def verify_proof(proof: RemovalProof) -> bool:
    """Is this row what was signed?"""
    try:
        Signer(salt=_SALT).unsign(f"{_canonical(proof)}:{proof.signature}")
    except BadSignature:
        return False
    return True


def proof_link(proof: RemovalProof) -> str:
    return f"{settings.PUBLIC_URL}/proofs/{proof.public_id}/"


def _write_proof(revocation: Revocation, statement: dict[str, Any], *, at: datetime) -> RemovalProof:
    proof = RemovalProof(
        revocation=revocation, recipient=revocation.requested_by, statement=statement, issued_at=at
    )
    proof.signature = Signer(salt=_SALT).signature(_canonical(proof))
    proof.save()
    ledger.record(
        act="proof.issued",
        subject_kind="revocation",
        subject_id=revocation.pk,
        by=SYSTEM,
        at=at,
        evidence={"proof": str(proof.public_id), "signature": proof.signature},
        revision=revocation.revision_id,
    )
    return proof


def _canonical(proof: RemovalProof) -> str:
    """One text for one proof, whatever the database does to the order of keys."""
    signed = {
        "public_id": str(proof.public_id),
        "recipient": proof.recipient,
        "issued_at": proof.issued_at.isoformat(),
        "statement": proof.statement,
    }
    return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _statement(revocation: Revocation, *, at: datetime) -> dict[str, Any]:
    delistings = delistings_of(revocation, at=at)
    offers = [
        {
            "sku": delisting.offer.listing.sku,
            "model_number": delisting.offer.listing.variant.model_number,
            "host": delisting.offer.host.code,
            "delisted_at": delisting.at.isoformat(),
            "reason_codes": delisting.reason_codes,
        }
        for delisting in delistings
    ]
    return {
        "fact": revocation.fact.code,
        "kind": revocation.kind,
        "requested_by": revocation.requested_by,
        "reason_code": revocation.reason_code,
        "word_received_at": revocation.word_received_at.isoformat(),
        "decided_at": revocation.effective_at.isoformat(),
        "revision": revocation.revision_id,
        "offers": offers,
        "survivors": revocation.preview_survives,
        "orders_before": _count_orders_before(revocation, [delisting.offer_id for delisting in delistings]),
        "late_orders": sum(1 for late in audit.late_orders() if late.revision == revocation.revision_id),
    }


def _count_orders_before(revocation: Revocation, offer_ids: list[int]) -> int:
    """Orders of these offers that were sold while they were authorized."""
    orders: set[int] = set()
    for start in range(0, len(offer_ids), IDS_PER_QUERY):
        lines = OrderLine.objects.filter(
            offer_id__in=offer_ids[start : start + IDS_PER_QUERY], order__revision__lt=revocation.revision_id
        )
        orders |= set(lines.values_list("order_id", flat=True))
    return len(orders)


def _message(proof: RemovalProof, revocation: Revocation) -> str:
    word, stopped = revocation.word_received_at, revocation.effective_at
    offers = len(proof.statement["offers"])
    return "\n".join(
        [
            f"To {proof.recipient}:",
            "",
            f"on your word, received {word:%Y-%m-%d %H:%M:%S} UTC, we stopped the sale at "
            f"{stopped:%Y-%m-%d %H:%M:%S} UTC and took down {offers} offer{'' if offers == 1 else 's'}.",
            f"Orders after that moment: {proof.statement['late_orders']}.",
            "",
            f"The signed statement, offer by offer: {proof_link(proof)}",
        ]
    )
