"""Rows of a feed: read, checked as the calls for one listing check theirs, written together, answered each by itself.

A row is at fault itself (DATA_ERROR: as it was sent it will never do), or we are (SYSTEM_ERROR: send it again).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rest_framework.exceptions import ValidationError

from authorization import listing_batches
from authorization.actors import Actor
from authorization.decisions import Answer
from authorization.listing_batches import Inventory, PublishedRow, Refusal, SavedRow
from authorization.offers import ListingTerms
from carriers.models import HostCarrier
from catalog.models import ListingHost, OfferState, Organization, Variant
from catalog.selectors import find_variants
from storefront.api.fields import Members, Pattern, Whole
from storefront.api.hosts import find_hosts
from storefront.api.listing_input import MAX_ON_HAND, ListingBody, PriceBody, terms_of_body
from storefront.api.listing_output import status_of
from storefront.api.parsing import read_json
from storefront.api.problems import FieldError, Problem, field_errors
from storefront.api.reasons import ERROR, papers_beside, present_answer
from storefront.api.restrictions import check_names
from storefront.feed_files import ROUNDED, Columns
from storefront.models import Feed

CREATED, UPDATED, UNCHANGED, BLOCKED = "CREATED", "UPDATED", "UNCHANGED", "BLOCKED"
DATA_ERROR, SYSTEM_ERROR, CANCELLED = "DATA_ERROR", "SYSTEM_ERROR", "CANCELLED"
# The set is open. What came to its end as the vendor wants it:
GOOD = (CREATED, UPDATED, UNCHANGED)
OUTCOMES = (*GOOD, BLOCKED, DATA_ERROR, SYSTEM_ERROR, CANCELLED)
NOT_TRIED = "Not tried; send again."

COLUMNS: Mapping[str, Columns] = {
    Feed.Kind.LISTINGS: Columns(
        (
            "sku",
            "variant",
            "hosts",
            "condition",
            "territory",
            "channel",
            "price_amount",
            "price_currency",
            "on_hand",
        ),
        ("software", "description"),
    ),
    Feed.Kind.INVENTORY: Columns(("sku",), ("price_amount", "price_currency", "on_hand")),
    Feed.Kind.PUBLISH: Columns(("sku",)),
}
# Where a column stands in the JSON of the same row, if not at the top.
_POINTERS = {"price_amount": "/price/amount", "price_currency": "/price/currency"}
_WHOLE = re.compile(r"-?[0-9]{1,12}")
_SKU_HINT = "A SKU has 1 to 64 of these characters: A-Z a-z 0-9 . _ -"


class SkuRow(Members):
    """A row of kind `publish`."""

    sku = Pattern("[A-Za-z0-9._-]{1,64}", _SKU_HINT)


class ListingRow(ListingBody):
    """A row of kind `listings`: the body of PUT /v1/listings/{sku}, and the SKU."""

    sku = Pattern("[A-Za-z0-9._-]{1,64}", _SKU_HINT)


class InventoryRow(SkuRow):
    """A row of kind `inventory`. What is left out stays as it is."""

    price = PriceBody(required=False)
    on_hand = Whole(required=False, min_value=0, max_value=MAX_ON_HAND)


_ROWS: Mapping[str, type[Members]] = {
    Feed.Kind.LISTINGS: ListingRow,
    Feed.Kind.INVENTORY: InventoryRow,
    Feed.Kind.PUBLISH: SkuRow,
}


@dataclass(frozen=True)
class RowResult:
    """What became of one row. `row` counts from 1."""

    row: int
    sku: str | None
    outcome: str
    listing_status: str | None = None
    retryable: bool = False
    issues: Sequence[Mapping[str, Any]] = ()

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"row": self.row, "sku": self.sku, "outcome": self.outcome}
        if self.listing_status is not None:
            shown["listing_status"] = self.listing_status
        return {**shown, "retryable": self.retryable, "issues": list(self.issues)}


@dataclass
class ReadRows:
    """Rows that are sound, with what they ask for, and the answers to those that are not. `numbers`: SKU -> row."""

    kind: str
    numbers: dict[str, int] = field(default_factory=dict)
    asked: dict[str, ListingTerms | Inventory | None] = field(default_factory=dict)
    faulty: list[RowResult] = field(default_factory=list)


def work_off(
    rows: Sequence[Any], *, kind: str, vendor: Organization, by: Actor, at: datetime
) -> list[RowResult]:
    """These rows, parsed already, in the caller's transaction: an answer to each, in their order.

    Raises ListingMoved and DecisionUnavailable: nothing of it is done.
    """
    return write_rows(read_values(rows, kind=kind), vendor=vendor, by=by, at=at)


# --- read -------------------------------------------------------------------------------------------------------


def read_json_rows(lines: Iterable[bytes], *, kind: str, first_row: int = 1) -> ReadRows:
    values: list[Any] = []
    faults: dict[int, list[FieldError]] = {}
    for number, line in enumerate(lines, first_row):
        try:
            values.append(read_json(line))
        except Problem as error:
            values.append(None)
            faults[number] = [
                FieldError(each.pointer, each.code, each.detail.replace("The body", "The row"))
                for each in error.errors
            ]
    return read_values(values, kind=kind, first_row=first_row, faults=faults)


def read_csv_rows(rows: Iterable[Mapping[str, str]], *, kind: str, first_row: int = 1) -> ReadRows:
    """Rows of cells by column, without empty ones."""
    values: list[Any] = []
    faults: dict[int, list[FieldError]] = {}
    for number, cells in enumerate(rows, first_row):
        values.append(_value_of(cells))
        if found := list(_cell_faults(cells)):
            faults[number] = found
    return read_values(values, kind=kind, first_row=first_row, faults=faults)


def _value_of(cells: Mapping[str, str]) -> dict[str, Any]:
    """The row as it would stand in JSON Lines."""
    value: dict[str, Any] = {
        name: cells[name] for name in ("sku", "variant", "condition", "territory", "channel", "software", "description")
        if name in cells
    }  # fmt: skip
    if "hosts" in cells:
        value["hosts"] = re.split(r"[|\s]+", cells["hosts"].strip("| "))
    price = {name.removeprefix("price_"): cells[name] for name in _POINTERS if name in cells}
    if price:
        value["price"] = price
    if "on_hand" in cells:
        text = cells["on_hand"]
        value["on_hand"] = int(text) if _WHOLE.fullmatch(text) else text
    return value


def _cell_faults(cells: Mapping[str, str]) -> Iterable[FieldError]:
    if "" in cells:
        yield FieldError("", "too_many_cells", "The row has more cells than the header has columns.")
    for name, cell in cells.items():
        if not ROUNDED.fullmatch(cell) or name in ("", "description"):
            continue
        if name == "price_amount":
            detail = f"Not a decimal amount: {cell}. Write it out, e.g. 350.00."
        else:
            detail = (
                f"A spreadsheet has made {cell} of a number and lost digits of it. Format the column as text, write "
                "the number anew and save the file again."
            )
        yield FieldError(_POINTERS.get(name, f"/{name}"), "rounded_by_spreadsheet", detail)


def read_values(
    values: Sequence[Any],
    *,
    kind: str,
    first_row: int = 1,
    faults: Mapping[int, list[FieldError]] | None = None,
) -> ReadRows:
    """Rows as parsed JSON. `faults`: what is known to be wrong of a row, by its number."""
    read, checker = ReadRows(kind), _ROWS[kind]()
    sound: dict[int, dict[str, Any]] = {}
    for number, value in enumerate(values, first_row):
        known = (faults or {}).get(number, [])
        try:
            if value is None and known:
                raise ValidationError({})
            body = checker.run_validation(value)
            found: list[FieldError] = []
        except ValidationError as error:
            found = list(field_errors(error.detail))
        places = {each.pointer for each in known}
        found = [*known, *(each for each in found if each.pointer not in places)]
        sku = _sku_of(value)
        if not found and body["sku"] in read.numbers:
            found = [
                FieldError("/sku", "duplicate_sku", f"Row {read.numbers[body['sku']]} has this SKU too.")
            ]
        if found:
            read.faulty.append(_data_error(number, sku, found))
        else:
            read.numbers[body["sku"]] = number
            sound[number] = body
    if kind == Feed.Kind.LISTINGS:
        _find_names(read, sound)
    elif kind == Feed.Kind.INVENTORY:
        for body in sound.values():
            price = body.get("price")
            read.asked[body["sku"]] = Inventory(
                price and (price["amount"], price["currency"]), body.get("on_hand")
            )
    else:
        read.asked = dict.fromkeys(read.numbers)
    return read


def _find_names(read: ReadRows, sound: Mapping[int, dict[str, Any]]) -> None:
    """Variants and hosts of all rows: a statement each, and one for each kind of name that nobody knows."""
    variants = find_variants(body["variant"] for body in sound.values())
    hosts = find_hosts(code for body in sound.values() for code in body["hosts"])
    unknown = {
        number: body
        for number, body in sound.items()
        if body["variant"] not in variants or any(code not in hosts for code in body["hosts"])
    }
    for number, found in _unknown_names(unknown, variants, hosts).items():
        sku = sound[number]["sku"]
        read.faulty.append(_data_error(number, sku, found))
        del read.numbers[sku]
    read.asked = {
        body["sku"]: terms_of_body(body, variants=variants, hosts=hosts)
        for number, body in sound.items()
        if number not in unknown
    }


def _unknown_names(
    bodies: Mapping[int, dict[str, Any]], variants: dict[str, Variant], hosts: dict[str, HostCarrier]
) -> dict[int, list[FieldError]]:
    if not bodies:
        return {}
    places = [
        {"variant": (f"/{number}/variant", "body"), "hosts": (f"/{number}/hosts", "body")}
        for number in bodies
    ]
    found: dict[int, list[FieldError]] = {}
    try:
        check_names(list(bodies.values()), places, variants=variants, hosts=hosts)
    except Problem as error:
        for each in error.errors:
            _, number, rest = each.pointer.split("/", 2)
            found.setdefault(int(number), []).append(FieldError(f"/{rest}", each.code, each.detail))
    return found


def _sku_of(value: Any) -> str | None:
    """As it was sent, to find the row again; None where it is none that could be shown."""
    sku = value.get("sku") if isinstance(value, dict) else None
    return sku[:64] if isinstance(sku, str) else None


def _data_error(row: int, sku: str | None, faults: Sequence[FieldError]) -> RowResult:
    issues = [
        {
            "code": "DATA_INVALID",
            "severity": ERROR,
            "curable": True,
            "pointer": each.pointer,
            "message": each.detail,
        }
        for each in faults
    ]
    return RowResult(row, sku, DATA_ERROR, issues=issues)


# --- written ----------------------------------------------------------------------------------------------------


def write_rows(read: ReadRows, *, vendor: Organization, by: Actor, at: datetime) -> list[RowResult]:
    """In the caller's transaction. Raises ListingMoved and DecisionUnavailable."""
    results: Mapping[str, SavedRow | PublishedRow | Refusal]
    if read.kind == Feed.Kind.PUBLISH:
        results = listing_batches.publish_listings(vendor=vendor, skus=list(read.numbers), by=by, at=at)
    else:
        asked = {sku: asked for sku, asked in read.asked.items() if asked is not None}
        results = listing_batches.save_listings(vendor=vendor, rows=asked, by=by, at=at)
    issues = _Issues(vendor, results.values())
    answered = [
        _answer(number, sku, results[sku], issues, is_publish=read.kind == Feed.Kind.PUBLISH)
        for sku, number in read.numbers.items()
    ]
    return sorted([*answered, *read.faulty], key=lambda result: result.row)


def not_tried(row: int, sku: str | None, outcome: str = SYSTEM_ERROR) -> RowResult:
    """Of a row that we did not come to."""
    if outcome == CANCELLED:
        return RowResult(row, sku, CANCELLED, retryable=True)
    issue = {"code": "INTERNAL_RETRY", "severity": ERROR, "message": NOT_TRIED}
    return RowResult(row, sku, SYSTEM_ERROR, retryable=True, issues=[issue])


def count_outcomes(results: Iterable[RowResult]) -> dict[str, int]:
    return dict(Counter(result.outcome for result in results))


def as_lines(results: Iterable[RowResult]) -> str:
    return "".join(f"{json.dumps(result.as_json())}\n" for result in results)


class _Issues:
    """What to say of refusals. Many rows are refused alike: each kind is put into words once."""

    def __init__(self, vendor: Organization, results: Iterable[SavedRow | PublishedRow | Refusal]) -> None:
        answers = [
            answer
            for result in results
            if isinstance(result, SavedRow | PublishedRow)
            for answer in result.answers.values()
            if not answer.is_allowed
        ]
        self._papers = papers_beside(vendor, answers)
        self._said: dict[Any, list[dict[str, Any]]] = {}

    def of(self, offers: Iterable[ListingHost], answers: Mapping[int, Answer]) -> list[dict[str, Any]]:
        """Each reason once, with the hosts that refuse for it."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for offer in offers:
            answer = answers.get(offer.host_id)
            if answer is None or answer.is_allowed or offer.state == OfferState.REMOVED:
                continue
            for reason in self._say(answer):
                place = found.setdefault((reason["code"], reason["message"]), {**reason, "hosts": []})
                place["hosts"].append(offer.host.code)
        return list(found.values())

    def _say(self, answer: Answer) -> list[dict[str, Any]]:
        key = (answer.question.variant_id, *map(id, answer.reasons))
        if key not in self._said:
            self._said[key] = present_answer(answer, self._papers)
        return self._said[key]


def _answer(
    row: int,
    sku: str,
    result: SavedRow | PublishedRow | Refusal,
    issues: _Issues,
    *,
    is_publish: bool,
) -> RowResult:
    if not isinstance(result, SavedRow | PublishedRow):
        return _data_error(row, sku, [FieldError("/sku", "refused", str(result))])
    status = status_of([offer.state for offer in result.offers])
    why = issues.of(result.offers, result.answers)
    if is_publish and status != OfferState.LIVE and any(
        answer.outcome == "undetermined" for answer in result.answers.values()
    ):  # fmt: skip
        return not_tried(row, sku)
    is_new = isinstance(result, SavedRow) and result.is_new
    outcome = CREATED if is_new else UPDATED if result.is_changed else UNCHANGED
    if outcome != UNCHANGED and status == OfferState.BLOCKED:
        outcome = BLOCKED
    return RowResult(row, sku, outcome, status, issues=why)
