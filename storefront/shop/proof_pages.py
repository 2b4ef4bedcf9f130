"""A proof of removal under its link: as a page, for a program, and the list of all that was taken down.

Open to who has the link; whoever keeps an index of the web is asked to leave it out.
"""

import csv
from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from storefront import proofs
from storefront.models import RemovalProof
from storefront.shop import selectors, statements

_COLUMNS = ("sku", "model_number", "host", "delisted_at", "reason_codes", "event_id")
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LINES_AT_ONCE = 500


@require_safe
@never_cache
def proof_page(request: HttpRequest, public_id: UUID) -> HttpResponse:
    proof = get_object_or_404(RemovalProof, public_id=public_id)
    context = {
        "proof": proof,
        "is_valid": proofs.verify_proof(proof),
        "facts": statements.statement_facts(proof.statement, host_names=selectors.host_names()),
        "statement": statements.statement_text(proof.statement),
        "unnamed": proof.statement.get("offer_count", 0) - len(proof.statement["offers"]),
        "noindex": True,
    }
    return render(request, "shop/proof.html", context)


@require_safe
@never_cache
def proof_document(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """What was signed, the signature, and where the rest is."""
    proof = get_object_or_404(RemovalProof, public_id=public_id)
    keys = {key.key_id: key.text for key in proofs.public_keys()}
    body: dict[str, Any] = {
        "signed": proofs.signed_content(proof),
        "signature": proof.signature,
        # The first proofs were signed with a secret: only the shop itself can check those.
        "algorithm": "Ed25519" if proof.key_id else "HMAC",
        "key_id": proof.key_id,
        "public_key": keys.get(proof.key_id),
        "is_valid": proofs.verify_proof(proof),
        "links": {
            "page": _address(proof, "/"),
            "keys": f"{settings.PUBLIC_URL}/.well-known/clearline-proof-key.json",
        },
    }
    if "list" in proof.statement:
        body["links"] |= {f"offers_{form}": _address(proof, f"/offers.{form}") for form in ("jsonl", "csv")}
    return _unlisted(JsonResponse(body))


@require_safe
@never_cache
def proof_offers(request: HttpRequest, public_id: UUID, form: str) -> HttpResponseBase:
    """All offers of the proof. The JSON lines, byte for byte, are what `list.sha256` is the digest of."""
    proof = get_object_or_404(RemovalProof, public_id=public_id)
    if "list" not in proof.statement:
        raise Http404("This proof names all its offers itself.")
    lines = proofs.list_lines(proof)
    parts, kind = (_csv(lines), "text/csv") if form == "csv" else (_json_lines(lines), "application/jsonl")
    response = StreamingHttpResponse(parts, content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="removal-{proof.public_id}.{form}"'
    return _unlisted(response)


@require_safe
@never_cache
def proof_keys(request: HttpRequest) -> HttpResponse:
    """The public keys of this shop's proofs, the one that signs now first."""
    keys = [
        {"key_id": key.key_id, "algorithm": "Ed25519", "public_key": key.text} for key in proofs.public_keys()
    ]
    return JsonResponse({"keys": keys})


def _address(proof: RemovalProof, end: str) -> str:
    return proofs.proof_link(proof, end=end)


def _unlisted[R: HttpResponseBase](response: R) -> R:
    response["X-Robots-Tag"] = "noindex"
    return response


def _json_lines(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    part: list[bytes] = []
    for line in lines:
        part.append(proofs.as_line(line))
        if len(part) == _LINES_AT_ONCE:
            yield b"".join(part)
            part.clear()
    yield b"".join(part)


def _csv(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    buffer = StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for number, line in enumerate(lines, start=1):
        cells = line | {"reason_codes": " ".join(line["reason_codes"])}
        writer.writerow([_cell(str(cells[column])) for column in _COLUMNS])
        if number % _LINES_AT_ONCE == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
