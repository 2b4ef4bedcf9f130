"""Feeds over HTTP, worked off by the outbox: from the file to the answer of each row."""

import csv
import io
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse

from authorization import clock, outbox
from authorization.models import LedgerEntry, OutboxRow
from catalog.models import Listing, ListingHost, Stock
from seeds import factories
from storefront import feed_files, feeds
from storefront.feed_files import neutralised
from storefront.models import Feed
from tests.api.conftest import Caller, SmallWorld, problem

JSONL, CSV = "application/jsonl", "text/csv"
COLUMNS = "sku,variant,hosts,condition,territory,channel,price_amount,price_currency,on_hand"


@pytest.fixture(autouse=True)
def small_chunks(settings: Any) -> None:
    settings.FEED_CHUNK_ROWS = 2
    settings.API_FEEDS_PER_MINUTE = 100


def send(
    api: Caller, rows: list[Any] | bytes, query: str = "", media_type: str = JSONL, **headers: str
) -> Any:
    raw = rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return api.post(f"/v1/feeds{query}", raw, **{"Content-Type": media_type}, **headers)


def work() -> None:
    """As long as chunks call for further ones."""
    while outbox.pump():
        pass


def ended(api: Caller, response: HttpResponse) -> dict[str, Any]:
    assert response.status_code == 202, response.content
    work()
    shown: dict[str, Any] = json.loads(api.get(response["Location"]).content)
    return shown


def results(api: Caller, feed: dict[str, Any], query: str = "") -> bytes:
    response = api.get(f"{feed['results_href']}{query}")
    assert response.status_code == 200
    return b"".join(response)


def rows_of(api: Caller, feed: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in results(api, feed, query).splitlines()]


def test_a_feed_from_the_file_to_the_answer_of_each_row(world: SmallWorld, api: Caller) -> None:
    rows = [
        {"sku": "GOOD-1", **world.body()},
        {"sku": "REFUSED", **world.body(variant=world.untested.slug)},
        {"sku": "NO-PRICE", **world.body(price={"amount": "3.5E+02", "currency": "USD"})},
        {"sku": "GOOD-2", **world.body(hosts=[world.north.code, world.south.code])},
        {"sku": "UNKNOWN", **world.body(variant="PX9-U3", hosts=["nowhere"])},
    ]
    response = send(api, rows, "?client_label=autumn-range")
    shown = json.loads(response.content)
    assert (shown["state"], shown["outcome"], shown["results_href"]) == ("QUEUED", None, None)
    assert int(response["Retry-After"]) > 0
    feed = ended(api, response)
    assert feed["client_label"] == "autumn-range"
    assert (feed["state"], feed["outcome"]) == ("DONE", "PARTIAL")
    assert feed["counts"] == {
        "rows": 5, "created": 1, "updated": 0, "unchanged": 0, "blocked": 2, "data_error": 2, "system_error": 0,
        "cancelled": 0,
    }  # fmt: skip
    found = rows_of(api, feed)
    assert [(row["row"], row["sku"], row["outcome"]) for row in found] == [
        (1, "GOOD-1", "CREATED"), (2, "REFUSED", "BLOCKED"), (3, "NO-PRICE", "DATA_ERROR"),
        (4, "GOOD-2", "BLOCKED"), (5, "UNKNOWN", "DATA_ERROR"),
    ]  # fmt: skip
    assert found[0]["issues"] == []
    assert found[1]["listing_status"] == "BLOCKED"
    refusal = found[1]["issues"][0]
    assert (refusal["code"], refusal["hosts"]) == ("CARRIER_NOT_APPROVED", ["north"])
    assert {issue["pointer"] for issue in found[2]["issues"]} == {"/price/amount"}
    assert found[3]["issues"][0]["hosts"] == ["south"]
    assert {issue["pointer"] for issue in found[4]["issues"]} == {"/variant", "/hosts/0"}
    assert "PX9-U1" in found[4]["issues"][0]["message"]
    assert rows_of(api, feed, "?outcome=BLOCKED") == [found[1], found[3]]
    single = json.loads(api.get("/v1/listings/GOOD-1").content)
    assert (single["status"], single["on_hand"]) == ("DRAFT", 5)


def test_the_same_feed_again_changes_nothing_and_says_so(world: SmallWorld, api: Caller) -> None:
    rows = [{"sku": f"S-{number}", **world.body()} for number in range(3)]
    rows.append({"sku": "S-3", **world.body(variant=world.untested.slug)})
    ended(api, send(api, rows))

    def state() -> list[Any]:
        told = OutboxRow.objects.filter(event__startswith="listing.").count()
        entries = LedgerEntry.objects.filter(act__startswith="listing.").count()
        versions = list(Listing.objects.order_by("id").values_list("sku", "version", "updated_at"))
        return [told, entries, versions, list(ListingHost.objects.order_by("id").values())]

    before = state()
    again = ended(api, send(api, rows))
    assert state() == before
    assert again["outcome"] == "ALL_OK"
    assert again["counts"]["unchanged"] == 4
    found = rows_of(api, again)
    assert {row["outcome"] for row in found} == {"UNCHANGED"}
    assert found[3]["listing_status"] == "BLOCKED"
    assert found[3]["issues"], "it still says why"


def csv_row(world: SmallWorld, sku: str, **changes: str) -> str:
    cells = {
        "sku": sku, "variant": world.approved.slug, "hosts": world.north.code, "condition": "new", "territory": "US",
        "channel": "web", "price_amount": "199.00", "price_currency": "USD", "on_hand": "5",
    } | changes  # fmt: skip
    return ",".join(cells.values())


def test_csv_as_spreadsheets_write_it(world: SmallWorld, api: Caller) -> None:
    lines = [
        # A byte order mark, empty columns at the end, and lines that end with CR LF.
        f"\ufeff{COLUMNS},description,,",
        csv_row(world, "PLAIN") + ',"Sealed, 32 GB\r\n""black""",,',
        # Empty cells at the end are left out.
        csv_row(world, "SHORT", hosts=f"{world.north.code}|{world.south.code}"),
        csv_row(world, "=cmd()", on_hand="many"),
        csv_row(world, "3.5E+14", variant="3.5E+14", price_amount="3.5E+02", on_hand="-1"),
        csv_row(world, "LONG") + ",text,,surplus",
        # Neither of these is a row.
        "," * 11,
        "",
    ]
    feed = ended(api, send(api, "\r\n".join(lines).encode(), media_type="text/csv; charset=utf-8"))
    assert (feed["format"], feed["counts"]["rows"]) == ("csv", 5)
    raw = results(api, feed).decode()
    assert raw.startswith("\ufeffrow,sku,outcome,")
    found = list(csv.DictReader(io.StringIO(raw.removeprefix("\ufeff"), newline="")))
    assert [(row["row"], row["sku"], row["outcome"]) for row in found] == [
        ("1", "PLAIN", "CREATED"), ("2", "SHORT", "BLOCKED"), ("3", "'=cmd()", "DATA_ERROR"),
        ("4", "3.5E+14", "DATA_ERROR"), ("5", "LONG", "DATA_ERROR"),
    ]  # fmt: skip
    assert set(found[2]["pointers"].split()) == {"/sku", "/on_hand"}
    assert set(found[3]["pointers"].split()) == {"/sku", "/variant", "/price/amount", "/on_hand"}
    assert "Not a decimal amount: 3.5E+02." in found[3]["messages"]
    assert "Format the column as text" in found[3]["messages"]
    assert "more cells than the header" in found[4]["messages"]
    stored = Listing.objects.get(sku="PLAIN")
    assert stored.description == 'Sealed, 32 GB\r\n"black"'
    assert ListingHost.objects.filter(listing__sku="SHORT").count() == 2


def test_cells_of_results_start_no_formula() -> None:
    assert [neutralised(cell) for cell in ("=1", "+1", "-1", "@x", "\tx", "\rx", "a=1", 7, "")] == [
        "'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "a=1", "7", "",
    ]  # fmt: skip


def test_what_is_wrong_of_all_of_a_file_is_refused_at_the_door(world: SmallWorld, api: Caller) -> None:
    row = csv_row(world, "A")
    long = "x" * (feed_files.MAX_ROW_BYTES + 1)
    refused: list[tuple[str | bytes, str, str, str]] = [
        (f"{COLUMNS},colour\n{row},red", CSV, "unknown_column", "colour"),
        (f"{COLUMNS.replace('variant,', '')}\n{row}", CSV, "missing_column", "variant"),
        (f"{COLUMNS},sku\n{row},A", CSV, "duplicate_column", "sku"),
        (row, CSV, "missing_header", "must name the columns"),
        (COLUMNS.replace(",", ";"), CSV, "wrong_separator", "semicolons"),
        (COLUMNS.replace(",", "\t"), CSV, "wrong_separator", "tabs"),
        (f"{COLUMNS}\n{row}\n{row}", CSV, "duplicate_sku", "rows 1, 2"),
        (
            f"{COLUMNS}\n" + f"{csv_row(world, '3.5E+14')}\n" * 2,
            CSV,
            "duplicate_sku",
            "spreadsheet has rounded",
        ),
        (f'{COLUMNS}\n{row}\n"never closed{long}', CSV, "row_too_long", "quote is not closed"),
        (f'{COLUMNS}\n{row}\nA"B,"C', CSV, "malformed_csv", "Row 2"),
        (f"{COLUMNS}\n", CSV, "empty", "no rows"),
        (f"{COLUMNS}\n{row}".encode("utf-16"), CSV, "not_utf8", "CSV UTF-8"),
        (COLUMNS.encode() + b"\nB\xe9", CSV, "not_utf8", "Row 1"),
        (f"{COLUMNS}\n{row}\x00", CSV, "invalid_text", "NUL"),
        ('{"sku": "A"}\n\n{"sku": "B"}\n{"sku": "A"}\n', JSONL, "duplicate_sku", "rows 1, 3"),
        ('[{"sku": "A"}]', JSONL, "not_json_lines", "one object on each line"),
        (f'{{"sku": "A"}}\n{{"x": "{long}"}}', JSONL, "row_too_long", "Row 2"),
        ("\n \n", JSONL, "empty", "no rows"),
    ]
    for content, media_type, code, says in refused:
        raw = content if isinstance(content, bytes) else content.encode()
        body = problem(send(api, raw, media_type=media_type), 400, "invalid_request")
        assert code in {error["code"] for error in body["errors"]}, (content[:80], body)
        assert says in " ".join(error["detail"] for error in body["errors"]), body
    assert not Feed.objects.exists()
    for media_type in ("application/json", "text/csv; charset=latin-1", "application/x-www-form-urlencoded"):
        problem(send(api, b"{}", media_type=media_type), 415, "unsupported_media_type")


def test_a_file_may_be_large_but_not_without_end(world: SmallWorld, api: Caller, monkeypatch: Any) -> None:
    monkeypatch.setattr(feed_files, "MAX_ROWS", 3)
    body = problem(send(api, [{"sku": f"A{n}"} for n in range(4)]), 400, "invalid_request")
    assert body["errors"][0]["code"] == "too_many_rows"
    monkeypatch.setattr(feed_files, "MAX_BYTES", 10)
    problem(send(api, [{"sku": "A"}]), 413, "payload_too_large")


def test_rows_that_are_no_rows_have_their_answers_too(world: SmallWorld, api: Caller) -> None:
    lines = [
        b'{"sku": "OK", "on_hand": 3}', b'{"sku": "A", "sku": "B"}', b'{"sku": 7}', b"[1]", b"null", b"{broken",
        b'{"sku": "A\\u0000"}', b'{"sku": "C", "colour": "red", "status": "LIVE"}', b'{"sku": "a/b"}',
    ]  # fmt: skip
    feed = ended(api, send(api, b"\n".join(lines), "?kind=inventory"))
    found = rows_of(api, feed)
    assert [row["row"] for row in found] == list(range(1, 10))
    assert {row["outcome"] for row in found} == {"DATA_ERROR"}
    assert not any(row["retryable"] for row in found)
    assert [row["sku"] for row in found] == ["OK", None, None, None, None, None, None, "C", "a/b"]
    assert {issue["pointer"] for issue in found[7]["issues"]} == {"/colour", "/status"}
    assert "The row is not valid JSON" in found[5]["issues"][0]["message"]


def test_price_and_stock_and_publishing_by_feed(world: SmallWorld, api: Caller) -> None:
    for sku, variant in (("A", world.approved), ("B", world.untested), ("C", world.approved)):
        api.put(f"/v1/listings/{sku}", world.body(variant=variant.slug))
    rows = [
        {"sku": "A", "price": {"amount": "150.00", "currency": "USD"}},
        {"sku": "B", "on_hand": 0},
        {"sku": "X"},
    ]
    feed = ended(api, send(api, [*rows, {"sku": "C"}], "?kind=inventory"))
    assert [row["outcome"] for row in rows_of(api, feed)] == ["UPDATED", "BLOCKED", "DATA_ERROR", "UNCHANGED"]
    assert "CARRIER_NOT_APPROVED" in {issue["code"] for issue in rows_of(api, feed)[1]["issues"]}, (
        "BLOCKED says why"
    )
    assert json.loads(api.get("/v1/listings/A").content)["price"]["amount"] == "150.00"
    assert Stock.objects.get(listing__sku="B").on_hand == 0

    api.delete("/v1/listings/C")
    published = b"sku\nA\nB\nC\nX\n"
    feed = ended(api, send(api, published, "?kind=publish", CSV))
    said = results(api, feed).decode().splitlines()
    assert [line.split(",")[1:4] for line in said[1:]] == [
        ["A", "UPDATED", "LIVE"], ["B", "UNCHANGED", "BLOCKED"], ["C", "DATA_ERROR", ""], ["X", "DATA_ERROR", ""],
    ]  # fmt: skip
    assert "CARRIER_NOT_APPROVED" in said[2]
    assert json.loads(api.get("/v1/listings/A").content)["offers"][0]["is_for_sale"]
    before = OutboxRow.objects.filter(event__startswith="listing.").count()
    again = ended(api, send(api, published, "?kind=publish", CSV))
    assert again["counts"]["unchanged"] == 2
    assert OutboxRow.objects.filter(event__startswith="listing.").count() == before


def test_a_dry_run_answers_as_the_feed_would_and_stores_nothing(world: SmallWorld, api: Caller) -> None:
    rows = [{"sku": "A", **world.body()}, {"sku": "B", **world.body(variant=world.untested.slug)}]
    dry = ended(api, send(api, rows, "?validate_only=true"))
    assert dry["validate_only"] is True
    assert not Listing.objects.exists()
    assert not OutboxRow.objects.filter(event__startswith="listing.").exists()
    real = ended(api, send(api, rows))
    assert rows_of(api, dry) == rows_of(api, real)


def test_a_vendor_has_so_many_open_feeds_and_they_run_in_order(
    world: SmallWorld, api: Caller, settings: Any
) -> None:
    settings.FEEDS_PER_VENDOR = 2
    cheap, dear = (
        [{"sku": "A", **world.body(price={"amount": f"{price}.00", "currency": "USD"})}] for price in (1, 2)
    )
    first, second = send(api, cheap), send(api, dear)
    refusal = send(api, dear)
    problem(refusal, 429, "too_many_feeds")
    assert int(refusal["Retry-After"]) > 0
    assert Feed.objects.count() == 2
    # The second is called for first, and waits all the same.
    later = Feed.objects.order_by("id").last()
    assert later is not None
    for _ in range(2):
        feeds.start_feed(payload={"feed_id": later.pk}, event_id=uuid4(), at=clock.now())
    assert set(Feed.objects.order_by("id").values_list("state", flat=True)) == {"QUEUED", "RUNNING"}
    assert json.loads(api.get(second["Location"]).content)["state"] == "QUEUED"
    ended(api, second)
    assert json.loads(api.get(first["Location"]).content)["state"] == "DONE"
    assert json.loads(api.get("/v1/listings/A").content)["price"]["amount"] == "2.00"
    shown = json.loads(api.get("/v1/feeds?limit=1").content)
    assert (shown["data"][0]["id"], shown["has_more"]) == (str(later.public_id), True)
    assert json.loads(api.get("/v1/feeds?state=QUEUED").content)["data"] == []
    assert send(api, dear).status_code == 202


def test_results_come_with_the_end(world: SmallWorld, api: Caller) -> None:
    response = send(api, [{"sku": "A", **world.body()}])
    early = api.get(f"{response['Location']}/results")
    problem(early, 409, "feed_not_ended")
    assert int(early["Retry-After"]) > 0
    assert api.get(response["Location"])["Retry-After"]
    feed = ended(api, response)
    told = OutboxRow.objects.get(event="feed.finished", handler="").payload
    assert (told["feed_id"], told["outcome"], told["counts"]["created"]) == (feed["id"], "ALL_OK", 1)
    assert "feed.finished" in {event["type"] for event in json.loads(api.get("/v1/events").content)["data"]}
    assert feeds.forget_old(at=clock.now() + feeds.KEPT - timedelta(minutes=1)) == 0
    assert feeds.forget_old(at=clock.now() + feeds.KEPT + timedelta(minutes=1)) == 1
    problem(api.get(f"{response['Location']}/results"), 410, "results_expired")
    assert json.loads(api.get(response["Location"]).content)["counts"]["created"] == 1


def test_feeds_of_others_are_not_found(world: SmallWorld, api: Caller, make_caller: Any) -> None:
    location = send(api, [{"sku": "A", **world.body()}])["Location"]
    other = make_caller(factories.OrganizationFactory.create(kind="vendor"))
    for path in (location, f"{location}/results"):
        problem(other.get(path), 404, "not_found")
    problem(other.post(f"{location}/cancel"), 404, "not_found")
    assert json.loads(other.get("/v1/feeds").content)["data"] == []


def test_the_same_request_again_is_one_feed(world: SmallWorld, api: Caller) -> None:
    rows = [{"sku": "A", **world.body()}]
    first, again = (send(api, rows, **{"Idempotency-Key": "k-1"}) for _ in range(2))
    assert (first.content, first["Location"]) == (again.content, again["Location"])
    assert again["Idempotent-Replayed"] == "true"
    assert Feed.objects.count() == 1
    problem(send(api, [{"sku": "B"}], **{"Idempotency-Key": "k-1"}), 422, "idempotency_key_reused")
