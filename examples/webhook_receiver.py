"""Receives Clearline's webhooks: checks the signature, keeps each event once, answers at once.

    WEBHOOK_SECRETS=whsec_... python3 webhook_receiver.py 8080

Python 3.12 and nothing else. Events go into a table of a SQLite file (INBOX, default inbox.sqlite3), from which your
own work is done: whoever works first and answers later is asked again by a shop that has waited long enough. While a
secret is being replaced give both, separated by a comma. Put your TLS in front of it: the shop calls https only.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# An older or newer delivery is refused: somebody may send again what he has overheard.
TOLERANCE_S = 5 * 60
# The shop sends less than 20 kB.
MAX_BODY = 64 * 1024


class NotSigned(Exception):
    """Nobody who has the secret has sent this, or not now."""


def check(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Standard Webhooks: HMAC-SHA256 over id, time and body, with any of our secrets. Raises NotSigned."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE_S:
        raise NotSigned("webhook-timestamp is too far from our clock.")
    signed = f"{event_id}.{timestamp}.".encode() + body
    # The header has one signature for each secret that the shop signs with.
    given = [
        each.removeprefix("v1,") for each in headers.get("webhook-signature", "").split() if each[:3] == "v1,"
    ]
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        ours = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        if any(hmac.compare_digest(ours, each.encode()) for each in given):
            return
    raise NotSigned("webhook-signature does not fit.")


def keep(inbox: str, event: Mapping[str, Any]) -> bool:
    """Put the event into the inbox. False: it is there already; the shop promises at least once, not once only."""
    with closing(sqlite3.connect(inbox, timeout=30)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, type TEXT NOT NULL, position INTEGER,"
            " body TEXT NOT NULL, done_at TEXT)"
        )
        row = (event["id"], event["type"], event.get("position"), json.dumps(event))
        done = database.execute(
            "INSERT OR IGNORE INTO inbox (id, type, position, body) VALUES (?, ?, ?, ?)", row
        )
        return done.rowcount == 1


class Receiver(BaseHTTPRequestHandler):
    # Set by `serve`.
    secrets: Sequence[str] = ()
    inbox = ""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY:
            self.answer(413)
            return
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            check(self.secrets, headers, body, now=time.time())
            event = json.loads(body)
            if event["id"] != headers["webhook-id"]:
                raise NotSigned("The body is of another event.")
        except NotSigned as error:
            self.log_message("refused: %s", error)
            # No 410: that would switch the endpoint off.
            self.answer(401)
            return
        # Any error from here on is answered by none or by 500, and the shop sends it again.
        is_new = keep(self.inbox, event)
        self.log_message("%s %s %s", event["type"], event["id"], "kept" if is_new else "known")
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def serve(port: int, secrets: Sequence[str], inbox: str) -> ThreadingHTTPServer:
    """A server that is ready; call its `serve_forever`."""
    handler = type("Configured", (Receiver,), {"secrets": tuple(secrets), "inbox": inbox})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


if __name__ == "__main__":
    given = [each.strip() for each in os.environ.get("WEBHOOK_SECRETS", "").split(",") if each.strip()]
    if not given:
        sys.exit("Put the secret of your endpoint into WEBHOOK_SECRETS.")
    serve(int(sys.argv[1]), given, os.environ.get("INBOX", "inbox.sqlite3")).serve_forever()
