"""Proof of removal: what was taken down on a party's word, when and why.

Signed with a key whose public half the shop publishes, sent to the party, and open to who has its link. The statement
is of the same size whatever was taken down: counts, grounds, the first offers, and a digest over the list of all,
which stands under the same link. The list is read again from the delisting records that the statement names.

A list of a million offers takes longer to write than a worker may work on one row: it is written in parts, each kept
as soon as it is done, and who comes after goes on behind the last.
"""

import hashlib
import json
import time
import zlib
from array import array
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.utils.encoding import force_bytes

from authorization import ledger, outbox
from authorization.actors import SYSTEM
from authorization.models import Delisting, PendingChange, Revocation
from catalog.models import Variant
from storefront import audit
from storefront.messages import find_address, send_message
from storefront.models import Order, ProofPart, RemovalProof
from storefront.withdrawals import delistings_of

# Offers named in the statement itself; the list has all of them.
NAMED = 100
# Of the proofs from before they were signed with a key pair.
_OLD_SALT = "clearline.removal-proof"
_KEY_INFO = b"clearline.removal-proof.ed25519"
# Delistings read at a time.
_READ_AT_ONCE = 1000
# Lines of one part; and for so long parts are written by one row of work, well below a worker's time limit.
_PART = 20_000
_WRITE_S = 10.0


@dataclass(frozen=True)
class PublicKey:
    """What a party needs to check a signature. `text` is the raw key, base64."""

    key_id: str
    text: str


def issue_proof(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.finished` and `proof.to_write`: write the proof, once, and tell the party whose word it was.

    What one row of work has no time for is left to the next.
    """
    if payload.get("revocation_id") is None:
        return
    revocation = Revocation.objects.select_related("fact", "sweep").get(pk=payload["revocation_id"])
    if _came_to_nothing(revocation):
        return
    proof = RemovalProof.objects.filter(revocation=revocation).first()
    if proof is None:
        if not _write_parts(revocation, at=at):
            outbox.announce(event="proof.to_write", payload={"revocation_id": revocation.pk}, at=at)
            return
        proof = _write_proof(revocation, at=at)
    # One that another worker was still at when the proof was written.
    ProofPart.objects.filter(revocation=revocation).delete()
    send_message(
        # The proof is what the message tells of, so a sweep that is announced twice is told once.
        event_id=proof.public_id,
        kind="removal_proof",
        recipient=proof.recipient,
        address=find_address(proof.recipient),
        subject=f"Proof of removal: {revocation.name}",
        body=_message(proof, revocation),
        at=at,
        revocation_id=revocation.pk,
    )


def verify_proof(proof: RemovalProof) -> bool:
    """Is this row what was signed, with a key of this shop?"""
    if not proof.key_id:
        return _verify_old(proof)
    for key in _private_keys():
        if _public(key).key_id == proof.key_id:
            try:
                key.public_key().verify(b64decode(proof.signature, validate=True), canonical(proof).encode())
            except (InvalidSignature, ValueError):
                return False
            return True
    return False


def verify_list(proof: RemovalProof) -> bool:
    """Do the delisting records still give the list whose digest was signed?"""
    return _digest(list_lines(proof)) == proof.statement["list"]["sha256"]


def public_keys() -> list[PublicKey]:
    """The one that signs now, then those before it that are still accepted."""
    return [_public(key) for key in _private_keys()]


def proof_link(proof: RemovalProof, *, end: str = "/") -> str:
    return f"{settings.PUBLIC_URL}/proofs/{proof.public_id}{end}"


def signed_content(proof: RemovalProof) -> dict[str, Any]:
    return {
        "public_id": str(proof.public_id),
        "recipient": proof.recipient,
        "issued_at": proof.issued_at.isoformat(),
        "statement": proof.statement,
    }


def canonical(proof: RemovalProof) -> str:
    """One text for one proof, whatever the database does to the order of keys."""
    return _as_text(signed_content(proof))


def list_lines(proof: RemovalProof) -> Iterator[dict[str, Any]]:
    """Every offer of the list, in its order. Reads a part at a time."""
    for first, last in _ranges_of(proof.statement["list"]["records"]):
        while first <= last:
            ids = Delisting.objects.filter(pk__gte=first, pk__lte=last).order_by("pk")
            part = list(ids.values_list("pk", flat=True)[:_READ_AT_ONCE])
            if not part:
                break
            yield from _lines(part)
            first = part[-1] + 1


# --- writing it -----------------------------------------------------------------------------------------------


def _came_to_nothing(revocation: Revocation) -> bool:
    """Was it cancelled before its day, or its removal declined by a second person? Then nothing is to be proven."""
    ended = (PendingChange.State.CANCELLED, PendingChange.State.DECLINED)
    return PendingChange.objects.filter(revocation=revocation, state__in=ended).exists()


def _write_parts(revocation: Revocation, *, at: datetime) -> bool:
    """Write the parts that are missing; False if there was no time for all of them.

    Each goes on behind the last that is kept, so two workers at once write the same part, and one of them in vain.
    """
    until = time.monotonic() + _WRITE_S
    parts = ProofPart.objects.filter(revocation=revocation).order_by("-number")
    ids = array("q", delistings_of(revocation, at=at).order_by("pk").values_list("pk", flat=True).iterator())
    while True:
        number, last = parts.values_list("number", "last_record").first() or (0, 0)
        begin = bisect_right(ids, last)
        if begin == len(ids):
            return True
        part = _part_of(ids[begin : begin + _PART])
        part.revocation, part.number = revocation, number + 1
        ProofPart.objects.bulk_create([part], ignore_conflicts=True)
        # Asked after a part: however slow the machine is, each row of work comes one further.
        if time.monotonic() > until and begin + _PART < len(ids):
            return False


def _part_of(ids: array[int]) -> ProofPart:
    first: datetime | None = None
    last: datetime | None = None
    reasons: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    packed, text = zlib.compressobj(1), bytearray()
    for start in range(0, len(ids), _READ_AT_ONCE):
        for line in _lines(ids[start : start + _READ_AT_ONCE]):
            text += packed.compress(as_line(line))
            taken_at = datetime.fromisoformat(line["delisted_at"])
            first, last = min(first or taken_at, taken_at), max(last or taken_at, taken_at)
            reasons.update(line["reason_codes"])
            hosts[line["host"]] += 1
    return ProofPart(
        records=_as_ranges(ids),
        last_record=ids[-1],
        lines=bytes(text + packed.flush()),
        counts={
            "offers": len(ids),
            "first": first.isoformat() if first else None,
            "last": last.isoformat() if last else None,
            "reasons": reasons,
            "hosts": hosts,
        },
    )


def _write_proof(revocation: Revocation, *, at: datetime) -> RemovalProof:
    # Made before the transaction: it goes through all that was taken down.
    statement = _statement(revocation, at=at)
    with transaction.atomic():
        locked = Revocation.objects.select_for_update(no_key=True).get(pk=revocation.pk)
        proof = RemovalProof.objects.filter(revocation=locked).first()
        if proof is not None:
            return proof
        key = _private_keys()[0]
        proof = RemovalProof(
            revocation=revocation,
            recipient=revocation.requested_by,
            statement=statement,
            issued_at=at,
            key_id=_public(key).key_id,
        )
        proof.signature = b64encode(key.sign(canonical(proof).encode())).decode()
        proof.save()
        ledger.record(
            act="proof.issued",
            subject_kind="revocation",
            subject_id=revocation.pk,
            by=SYSTEM,
            at=at,
            evidence={
                "proof": str(proof.public_id),
                "signature": proof.signature,
                "key_id": proof.key_id,
                "list_sha256": statement["list"]["sha256"],
            },
            revision=revocation.revision_id,
        )
    return proof


def _statement(revocation: Revocation, *, at: datetime) -> dict[str, Any]:
    """Of the parts, which are all there."""
    offers, ranges = 0, list[str]()
    instants: list[str] = []
    named: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    digest = hashlib.sha256()
    for part in ProofPart.objects.filter(revocation=revocation).order_by("number").iterator(chunk_size=1):
        text = zlib.decompress(part.lines)
        digest.update(text)
        if len(named) < NAMED:
            named += [json.loads(line) for line in text.split(b"\n", NAMED)[: NAMED - len(named)] if line]
        offers += part.counts["offers"]
        instants += [part.counts["first"], part.counts["last"]]
        reasons.update(part.counts["reasons"])
        hosts.update(part.counts["hosts"])
        ranges.append(part.records)
    taken_at = sorted(map(datetime.fromisoformat, instants))
    # The audit of all sales asks of every order. Here those may be left out that were sold a day before the change was
    # recorded: no two clocks of the shop differ by as much.
    earlier = Order.objects.filter(sold_at__lt=revocation.revision.recorded_at - timedelta(days=1))
    since = earlier.order_by("-sold_at").values_list("pk", flat=True).first() or 0
    late = audit.late_orders(revision=revocation.revision_id, since_order_id=since)
    return {
        "fact": revocation.fact.code if revocation.fact is not None else revocation.subject,
        "kind": revocation.kind,
        "requested_by": revocation.requested_by,
        "reason_code": revocation.reason_code,
        "word_received_at": revocation.word_received_at.isoformat(),
        "decided_at": revocation.effective_at.isoformat(),
        "first_delisted_at": taken_at[0].isoformat() if taken_at else None,
        "last_delisted_at": taken_at[-1].isoformat() if taken_at else None,
        "revision": revocation.revision_id,
        "offer_count": offers,
        "by_reason": dict(sorted(reasons.items())),
        "by_host": dict(sorted(hosts.items())),
        "offers": named,
        "list": {"offers": offers, "sha256": digest.hexdigest(), "records": ",".join(ranges)},
        "survivors": revocation.preview_survives,
        "orders_before": _count_orders_before(revocation, at=at),
        "late_orders": len({order.order_id for order in late}),
    }


def _lines(ids: Iterable[int]) -> list[dict[str, Any]]:
    """One line of the list for each of these delistings, by id. What was decided on, not what was edited since."""
    rows = Delisting.objects.filter(pk__in=list(ids)).order_by("pk")
    # Columns only: making objects of them, and reading all that a decision cites, takes most of the time.
    found = rows.values_list(
        "offer__listing__sku",
        "decision__question__variant_id",
        "offer__host__code",
        "at",
        "reason_codes",
        "decision_id",
    )
    lines = list(found)
    models = dict(
        Variant.objects.filter(pk__in={variant_id for _, variant_id, *_ in lines}).values_list(
            "pk", "model_number"
        )
    )
    return [
        {
            "sku": sku,
            "model_number": models[variant_id],
            "host": host,
            "delisted_at": at.isoformat(),
            "reason_codes": reason_codes,
            "event_id": str(decision_id),
        }
        for sku, variant_id, host, at, reason_codes, decision_id in lines
    ]


def _count_orders_before(revocation: Revocation, *, at: datetime) -> int:
    """Orders of these offers that were sold while they were authorized."""
    offers = delistings_of(revocation, at=at).order_by().values("offer_id")
    before = Order.objects.filter(revision__lt=revocation.revision_id, lines__offer_id__in=offers)
    return before.order_by().values("pk").distinct().count()


def _as_ranges(ids: Iterable[int]) -> str:
    """Ascending numbers as "5-9,12": a sweep writes its records in rows."""
    ranges: list[list[int]] = []
    for each in ids:
        if ranges and each == ranges[-1][1] + 1:
            ranges[-1][1] = each
        else:
            ranges.append([each, each])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges)


def _ranges_of(text: str) -> Iterator[tuple[int, int]]:
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield int(first), int(last or first)


def _digest(lines: Iterable[Mapping[str, Any]]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(as_line(line))
    return digest.hexdigest()


def as_line(line: Mapping[str, Any]) -> bytes:
    """A line of the list as it goes into the digest, with its end."""
    return f"{_as_text(line)}\n".encode()


def _as_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# --- keys -----------------------------------------------------------------------------------------------------


def _private_keys() -> list[Ed25519PrivateKey]:
    return [_derived(secret) for secret in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]]


def _derived(secret: str | bytes) -> Ed25519PrivateKey:
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=_KEY_INFO).derive(force_bytes(secret))
    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(key: Ed25519PrivateKey) -> PublicKey:
    raw = key.public_key().public_bytes_raw()
    return PublicKey(hashlib.sha256(raw).digest()[:8].hex(), b64encode(raw).decode())


def _verify_old(proof: RemovalProof) -> bool:
    try:
        Signer(salt=_OLD_SALT).unsign(f"{canonical(proof)}:{proof.signature}")
    except BadSignature:
        return False
    return True


def _message(proof: RemovalProof, revocation: Revocation) -> str:
    word, stopped = revocation.word_received_at, revocation.effective_at
    offers = proof.statement["offer_count"]
    return "\n".join(
        [
            f"To {proof.recipient}:",
            "",
            f"on your word, received {word:%Y-%m-%d %H:%M:%S} UTC, we stopped the sale at "
            f"{stopped:%Y-%m-%d %H:%M:%S} UTC and took down {offers} offer{'' if offers == 1 else 's'}.",
            f"Orders after that moment: {proof.statement['late_orders']}.",
            "",
            f"The signed statement, offer by offer: {proof_link(proof)}",
            f"For a program, with its signature: {proof_link(proof, end='.json')}",
            f"The key to check it with: {settings.PUBLIC_URL}/.well-known/clearline-proof-key.json",
        ]
    )
