"""A simulated payment provider, in its own process: reserves, takes and gives back money that does not exist.

    python -m seeds.payment_provider --port 8099 --key KEY [--delay-ms 30]

    GET  /health                                   open to all
    POST /authorizations                           {intent_id, amount, currency, card_number} -> authorization
    GET  /authorizations?intent_id=ID              {"authorizations": [...]}, empty when there is none
    POST /authorizations/ID/capture                {amount} -> authorization; without a body all of it
    POST /authorizations/ID/refund                 {total} -> authorization; without a body all that was captured
    POST /authorizations/ID/void                   -> authorization

Idempotent by intent_id: asked again with the same values it gives the same authorization, with others it
refuses. A capture takes its amount once and lets the rest go; another amount afterwards is refused. A refund names
what is to have been given back in all, so that asking twice, or late, is one effect, and never more than was
captured. Voiding twice is one effect. The delay comes after the work and before the
answer, so that whoever gives up waiting has reserved money all the same: the case that a shop must survive.
The state is in memory. Card 4242424242424242 is approved, 4000000000000002 declined; others are refused as
not known here.
"""

import argparse
import hashlib
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

CARDS = {"4242424242424242": "authorized", "4000000000000002": "declined"}
DECLINE_REASON = "insufficient funds"
MAX_BODY = 10_000

# What each act needs. Repeating one that was done is no error.
NEEDED = {
    "capture": ("authorized", "captured"),
    "void": ("authorized", "voided"),
    "refund": ("captured", "refunded"),
}
# The field in which an act names money.
NAMES_MONEY = {"capture": "amount", "refund": "total"}


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass
class Authorization:
    id: str
    intent_id: str
    amount: str
    currency: str
    status: str
    decline_reason: str
    # Enough to tell another card from the same one; the number itself is not kept.
    card_fingerprint: str = field(repr=False)
    captured_amount: str = "0.00"
    refunded_amount: str = "0.00"

    def as_json(self) -> dict[str, str]:
        shown = asdict(self)
        del shown["card_fingerprint"]
        return shown


class Book:
    """All authorizations, under one lock."""

    def __init__(self) -> None:
        self._by_id: dict[str, Authorization] = {}
        self._by_intent: dict[str, Authorization] = {}
        self._lock = threading.Lock()

    def authorize(self, *, intent_id: str, amount: str, currency: str, card_number: str) -> Authorization:
        if card_number not in CARDS:
            raise Refused(
                422,
                "card_unknown",
                "card_number: this provider knows test cards only, e.g. 4242424242424242.",
            )
        fingerprint = hashlib.sha256(card_number.encode()).hexdigest()
        with self._lock:
            known = self._by_intent.get(intent_id)
            if known is not None:
                if (known.amount, known.currency, known.card_fingerprint) != (amount, currency, fingerprint):
                    raise Refused(
                        409,
                        "intent_conflict",
                        f"intent_id {intent_id} was sent with another amount, currency or card.",
                    )
                return known
            status = CARDS[card_number]
            made = Authorization(
                id=f"auth_{uuid4().hex}",
                intent_id=intent_id,
                amount=amount,
                currency=currency,
                status=status,
                decline_reason=DECLINE_REASON if status == "declined" else "",
                card_fingerprint=fingerprint,
            )
            self._by_id[made.id] = self._by_intent[intent_id] = made
            return made

    def find(self, intent_id: str) -> Authorization | None:
        with self._lock:
            return self._by_intent.get(intent_id)

    def move(self, authorization_id: str, act: str, money: Decimal | None = None) -> Authorization:
        """`money`: what to capture, or what to have refunded in all; None is all there is."""
        with self._lock:
            known = self._by_id.get(authorization_id)
            if known is None:
                raise Refused(404, "not_found", f"There is no authorization {authorization_id}.")
            if known.status not in NEEDED[act]:
                raise Refused(
                    409, f"already_{known.status}", f"Cannot {act}: the authorization is {known.status}."
                )
            if act == "capture":
                _capture(known, money)
            elif act == "refund":
                _refund(known, money)
            else:
                known.status = "voided"
            return known


def _capture(known: Authorization, amount: Decimal | None) -> None:
    if known.status == "captured":
        if amount is not None and amount != Decimal(known.captured_amount):
            raise Refused(409, "already_captured", f"{known.captured_amount} was captured before.")
        return
    wanted = Decimal(known.amount) if amount is None else amount
    if wanted > Decimal(known.amount):
        raise Refused(422, "amount_too_large", f"amount: {known.amount} is reserved, and no more.")
    known.status, known.captured_amount = "captured", f"{wanted:.2f}"


def _refund(known: Authorization, total: Decimal | None) -> None:
    captured = Decimal(known.captured_amount)
    wanted = captured if total is None else total
    if wanted > captured:
        raise Refused(422, "total_too_large", f"total: {known.captured_amount} was captured, and no more.")
    refunded = max(wanted, Decimal(known.refunded_amount))
    known.refunded_amount = f"{refunded:.2f}"
    if refunded == captured:
        known.status = "refunded"


class Provider(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], *, key: str, delay_ms: int = 0) -> None:
        super().__init__(address, Handler)
        self.key = key
        self.delay_s = delay_ms / 1000
        self.book = Book()


class Handler(BaseHTTPRequestHandler):
    server: Provider
    protocol_version = "HTTP/1.1"
    # A client that says nothing must not keep its thread for ever.
    timeout = 60
    # Headers and body leave as two packets; the second must not wait for the acknowledgement of the first.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: requests carry card numbers, and the shop's own log tells of every payment."""

    def _answer(self, respond: Any) -> None:
        try:
            body = self._read_body()
            status, answer = respond(urlsplit(self.path), body)
        except Refused as refusal:
            status, answer = refusal.status, {"error": {"code": refusal.code, "message": refusal.message}}
        if self.server.delay_s and self.path != "/health":
            time.sleep(self.server.delay_s)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _get(self, url: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        if url.path == "/health":
            return 200, {"status": "ok"}
        self._check_key()
        if url.path != "/authorizations":
            raise Refused(404, "not_found", f"There is nothing at {url.path}.")
        intent_ids = parse_qs(url.query).get("intent_id", [])
        if len(intent_ids) != 1:
            raise Refused(422, "intent_id_missing", "Name one intent: /authorizations?intent_id=...")
        found = self.server.book.find(intent_ids[0])
        return 200, {"authorizations": [found.as_json()] if found else []}

    def _post(self, url: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        self._check_key()
        if url.path == "/authorizations":
            return 200, self.server.book.authorize(**_payment(body)).as_json()
        matched = re.fullmatch(r"/authorizations/([A-Za-z0-9_]+)/(capture|void|refund)", url.path)
        if matched is None:
            raise Refused(404, "not_found", f"There is nothing at {url.path}.")
        return 200, self.server.book.move(matched[1], matched[2], _money(body, act=matched[2])).as_json()

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            # The rest is not read, so nothing that follows on this connection can be understood.
            self.close_connection = True
            raise Refused(
                413, "body_too_large", f"Send a body with its Content-Length, at most {MAX_BODY} bytes."
            )
        return self.rfile.read(int(length))

    def _check_key(self) -> None:
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.server.key}".encode()):
            raise Refused(401, "key_refused", "Send the key that you were given: Authorization: Bearer KEY")


def _payment(body: bytes) -> dict[str, str]:
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise Refused(400, "not_json", f"The body is not JSON: {error}.") from error
    wanted = {"intent_id", "amount", "currency", "card_number"}
    if (
        not isinstance(fields, dict)
        or set(fields) != wanted
        or not all(isinstance(v, str) for v in fields.values())
    ):
        raise Refused(
            422, "fields", f"Send exactly these fields, all as strings: {', '.join(sorted(wanted))}."
        )
    try:
        UUID(fields["intent_id"])
    except ValueError as error:
        raise Refused(422, "intent_id", "intent_id: send a UUID.") from error
    _check_amount("amount", fields["amount"])
    if not re.fullmatch("[A-Z]{3}", fields["currency"]):
        raise Refused(422, "currency", "currency: send an ISO 4217 code, e.g. USD.")
    if not re.fullmatch("[0-9]{12,19}", fields["card_number"]):
        raise Refused(422, "card_number", "card_number: send 12 to 19 digits.")
    return fields


def _money(body: bytes, *, act: str) -> Decimal | None:
    """What an act names of money; None where it names none."""
    if not body:
        return None
    name = NAMES_MONEY.get(act)
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise Refused(400, "not_json", f"The body is not JSON: {error}.") from error
    if name is None or not isinstance(fields, dict) or set(fields) != {name}:
        wanted = f"exactly {name}, a string," if name else "no body"
        raise Refused(422, "fields", f"Send {wanted} to {act}.")
    return _check_amount(name, fields[name])


def _check_amount(name: str, value: object) -> Decimal:
    example = "send a decimal number as a string, e.g. 119.00."
    if not isinstance(value, str):
        raise Refused(422, name, f"{name}: {example}")
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise Refused(422, name, f"{name}: {example}") from error
    if not amount.is_finite() or amount <= 0:
        raise Refused(422, name, f"{name}: send a number above zero.")
    return amount


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m seeds.payment_provider", description="A simulated payment provider."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--key",
        default=os.environ.get("PAYMENT_PROVIDER_KEY", ""),
        help="the shop's key; better in the variable PAYMENT_PROVIDER_KEY, which `ps` does not show",
    )
    parser.add_argument("--delay-ms", type=int, default=0, help="wait so long before each answer")
    options = parser.parse_args(arguments)
    if not options.key:
        parser.error("no key: give --key or set PAYMENT_PROVIDER_KEY")
    if options.delay_ms < 0:
        parser.error("--delay-ms: take 0 or more")
    try:
        server = Provider((options.host, options.port), key=options.key, delay_ms=options.delay_ms)
    except (OSError, OverflowError) as error:
        print(
            f"Cannot listen on {options.host}:{options.port}: {error}. Choose another --port.",
            file=sys.stderr,
        )
        return 1

    def stop(number: int, frame: FrameType | None) -> None:
        # shutdown() waits for serve_forever, which this very thread is running.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
