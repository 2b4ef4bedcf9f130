"""Keeps a copy of your listings and orders in step with Clearline, and loses nothing.

    CLEARLINE_URL=https://shop.example CLEARLINE_KEY=sk_live_... python3 sync_loop.py

Python 3.12 and nothing else. The copy is a SQLite file (COPY, default copy.sqlite3). The first round reads all listings
and orders; from then on the log of events says which of them to read again. The place in the log is kept in the same
transaction as what was read because of it: killed at any moment, the next round goes on where the last one ended.
"""

import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

PAUSE_S = 5.0
TRIES = 8


class Gone(Exception):
    """404: there is no such thing (any more)."""


class LogExpired(Exception):
    """410: events that followed our place are not kept any more."""


class Shop:
    """GET with the key, patiently: 429 and 5xx say when to come again."""

    def __init__(self, url: str, key: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url, self.key, self.sleep = url.rstrip("/"), key, sleep

    def get(self, path: str, **query: Any) -> Any:
        address = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {self.key}"})
        for attempt in range(1, TRIES + 1):
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    raise Gone(path) from error
                if error.code == 410:
                    raise LogExpired from error
                if error.code != 429 and error.code < 500:
                    sys.exit(f"{error.code} {path}: {error.read().decode(errors='replace')}")
                if attempt == TRIES:
                    raise
                self.sleep(float(error.headers.get("Retry-After") or 2**attempt))
            except OSError:
                if attempt == TRIES:
                    raise
                self.sleep(2**attempt)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {"limit": 200}
        while True:
            page = self.get(path, **query)
            yield page
            if not page["has_more"]:
                return
            query["cursor"] = page["next_cursor"]


def open_copy(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    for table in ("listing", "orders"):
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
    database.execute("CREATE TABLE IF NOT EXISTS place (after TEXT NOT NULL)")
    return database


def put(database: sqlite3.Connection, table: str, name: str, body: Any) -> None:
    """What the shop says of it now; None: it has none."""
    if body is None:
        database.execute(f"DELETE FROM {table} WHERE id = ?", (name,))
    else:
        database.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (name, json.dumps(body)))


def read_all(shop: Shop, database: sqlite3.Connection) -> None:
    """The first round. The place is the one of before the reading: what changes meanwhile is read once more."""
    after = None
    database.execute("BEGIN")
    try:
        database.execute("DELETE FROM listing")
        database.execute("DELETE FROM orders")
        for page in shop.pages("/v1/listings"):
            after = page["synced_to"] if after is None else after
            for listing in page["data"]:
                put(database, "listing", listing["sku"], listing)
        for page in shop.pages("/v1/orders"):
            for order in page["data"]:
                put(database, "orders", order["id"], order)
        database.execute("DELETE FROM place")
        database.execute("INSERT INTO place VALUES (?)", (after,))
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def follow(shop: Shop, database: sqlite3.Connection) -> int:
    """The events after our place, to the end of the log. How many there were."""
    count = 0
    while True:
        [after] = database.execute("SELECT after FROM place").fetchone()
        page = shop.get("/v1/events", after=after, limit=200)
        # An event says what to read again, not what it is now: several of one thing are one reading.
        changed = dict.fromkeys(subject for event in page["data"] if (subject := subject_of(event)))
        found = [(table, name, read(shop, table, name)) for table, name in changed]
        # An order has moved the stock of what was ordered.
        sold = {
            line["sku"] for table, _, body in found if table == "orders" and body for line in body["lines"]
        }
        again = [sku for sku in sorted(sold) if ("listing", sku) not in changed]
        found += [("listing", sku, read(shop, "listing", sku)) for sku in again]
        database.execute("BEGIN")
        for table, name, body in found:
            put(database, table, name, body)
        database.execute("UPDATE place SET after = ?", (page["next_cursor"],))
        database.execute("COMMIT")
        count += len(page["data"])
        if not page["has_more"]:
            return count


def subject_of(event: dict[str, Any]) -> tuple[str, str] | None:
    """Table and id of what an event is about; None for what this copy does not keep, new types among them."""
    kind = event["type"].partition(".")[0]
    if kind == "listing":
        return "listing", event["data"]["sku"]
    if kind == "order":
        return "orders", event["data"]["order_id"]
    return None


def read(shop: Shop, table: str, name: str) -> Any:
    path = "/v1/listings/" if table == "listing" else "/v1/orders/"
    try:
        return shop.get(path + quote(name, safe=""))
    except Gone:
        return None


def go_round(shop: Shop, database: sqlite3.Connection) -> None:
    """One round: everything the first time, and after an absence of more than 30 days; else what changed."""
    try:
        if database.execute("SELECT after FROM place").fetchone() is None:
            read_all(shop, database)
        follow(shop, database)
    except LogExpired:
        read_all(shop, database)


if __name__ == "__main__":
    copy = open_copy(os.environ.get("COPY", "copy.sqlite3"))
    clearline = Shop(os.environ["CLEARLINE_URL"], os.environ["CLEARLINE_KEY"])
    while True:
        go_round(clearline, copy)
        time.sleep(PAUSE_S)
