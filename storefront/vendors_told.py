"""Vendors are told by mail of what was taken off sale and of what came back: one mail for all of it.

Log, webhooks and mail name each offer's event by the same id. What is told of is a sweep, or a round of the reconciler
where it had to step in; each vendor of it has its own row in the outbox, so that an address that refuses its mail keeps
nobody else from theirs. However many offers there are, a mail counts them all and names the first.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, QuerySet, TextField
from django.db.models.functions import Cast

from authorization import outbox
from authorization.changes import WITHDRAWAL_REASONS
from authorization.models import Delisting, OutboxRow, ReconcilerRun, Sweep
from authorization.rules import REASON_CODES, ReasonCode
from carriers.models import HostCarrier
from catalog.models import Organization
from storefront.messages import send_message
from storefront.models import TakedownRequest

DELISTED, REINSTATED = "delisted", "reinstated"
# Offers named in one mail; a vendor with more finds the rest by GET /v1/events.
NAMED = 500
# From these ids follows which mail is which, so that none is written twice.
_MAILS = UUID("4c0a6f0e-0f0c-5b43-9d7e-6e2f54f0c1a1")
# A round of the reconciler that has not ended after so long was killed: what it did is told all the same.
ROUND_LASTS = timedelta(minutes=10)
ASK_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class _Occasion:
    """What is told of: a sweep, or a round of the reconciler. `payload` names it to the row of work.

    `returned` is the condition of the events of offers that came back, and its parameters.
    """

    name: str
    payload: Mapping[str, Any]
    delistings: QuerySet[Delisting]
    returned: tuple[str, list[Any]]
    sweep: Sweep | None = None


# Spelled as in the index auth_outbox_returned.
_RETURNED = "handler = '' AND event = 'listing.reinstated' AND CAST(payload ->> 'sweep_id' AS bigint)"


def _of_sweep(sweep: Sweep) -> _Occasion:
    return _Occasion(
        name=f"sweep {sweep.pk}",
        payload={"sweep_id": sweep.pk},
        delistings=Delisting.objects.filter(sweep=sweep),
        returned=(f"{_RETURNED} = %s", [sweep.pk]),
        sweep=sweep,
    )


def _of_run(run: ReconcilerRun, until: datetime) -> _Occasion:
    return _Occasion(
        name=f"round {run.pk}",
        payload={"run_id": run.pk, "until": until.isoformat()},
        delistings=Delisting.objects.filter(sweep=None, at__gte=run.started_at, at__lte=until),
        returned=(f"{_RETURNED} IS NULL AND CAST(payload ->> 'run_id' AS bigint) = %s", [run.pk]),
    )


# --- who is to be told ----------------------------------------------------------------------------------------


def tell_vendors(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `sweep.finished`: one row of work for each vendor that it touched."""
    _split(_of_sweep(Sweep.objects.get(pk=payload["sweep_id"])), at)


def tell_of_run(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `reconciler.found`: the same for what the reconciler moved, which belongs to no sweep."""
    run = ReconcilerRun.objects.get(pk=payload["run_id"])
    if run.finished_at is None and at < run.started_at + ROUND_LASTS:
        outbox.announce(event="reconciler.found", payload=payload, at=at, due_at=at + ASK_AGAIN)
        return
    _split(_of_run(run, run.finished_at or _end_of_killed(run, at)), at)


def _end_of_killed(run: ReconcilerRun, at: datetime) -> datetime:
    following = ReconcilerRun.objects.filter(started_at__gt=run.started_at).order_by("started_at").first()
    return following.started_at if following is not None else at


def _split(occasion: _Occasion, at: datetime) -> None:
    todo = [(DELISTED, vendor_id) for vendor_id in _vendors_delisted(occasion)]
    todo += [(REINSTATED, vendor_id) for vendor_id in _vendors_reinstated(occasion)]
    ids = {
        uuid5(_MAILS, f"{kind} {occasion.name} {vendor_id}"): (kind, vendor_id) for kind, vendor_id in todo
    }
    with transaction.atomic():
        known = set(OutboxRow.objects.filter(event_id__in=ids, handler="").values_list("event_id", flat=True))
        for mail_id, (kind, vendor_id) in ids.items():
            if mail_id not in known:
                work = {"kind": kind, "vendor_id": vendor_id, **occasion.payload}
                outbox.announce(event="vendor.to_tell", payload=work, at=at, event_id=mail_id)


def _vendors_delisted(occasion: _Occasion) -> list[int]:
    rows = occasion.delistings.order_by().values_list("offer__listing__vendor_id", flat=True)
    return sorted(rows.distinct())


def _vendors_reinstated(occasion: _Occasion) -> list[int]:
    condition, parameters = occasion.returned
    sql = f"SELECT DISTINCT CAST(payload ->> 'vendor_id' AS bigint) FROM authorization_outboxrow WHERE {condition}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return sorted(vendor_id for (vendor_id,) in cursor.fetchall())


# --- one mail -------------------------------------------------------------------------------------------------


def tell_vendor(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `vendor.to_tell`."""
    vendor = Organization.objects.get(pk=payload["vendor_id"])
    occasion = _occasion_of(payload)
    write = _delisted_mail if payload["kind"] == DELISTED else _reinstated_mail
    subject, body = write(vendor, occasion)
    sweep = occasion.sweep
    send_message(
        event_id=event_id,
        kind=payload["kind"],
        recipient=vendor.name,
        address=vendor.contact_email,
        subject=subject,
        body=body,
        at=at,
        sweep_id=sweep.pk if sweep is not None else None,
        revocation_id=sweep.revocation_id if sweep is not None else None,
    )


def _occasion_of(payload: Mapping[str, Any]) -> _Occasion:
    if "sweep_id" in payload:
        return _of_sweep(Sweep.objects.get(pk=payload["sweep_id"]))
    run = ReconcilerRun.objects.get(pk=payload["run_id"])
    return _of_run(run, datetime.fromisoformat(payload["until"]))


def _delisted_mail(vendor: Organization, occasion: _Occasion) -> tuple[str, str]:
    its = occasion.delistings.filter(offer__listing__vendor=vendor)
    by_codes = _by_codes(its)
    count = sum(by_codes.values())
    rows = its.order_by("offer__listing__sku", "offer_id")
    named = list(rows.select_related("offer__listing", "offer__host", "decision")[:NAMED])
    lines = [
        f"- {row.offer.listing.sku} on {row.offer.host}: {', '.join(row.reason_codes)} (event {row.decision_id})"
        for row in named
    ]
    codes = [code for code in REASON_CODES if any(code in combined for combined in by_codes)]
    one = count == 1
    body = [
        f"To {vendor.name}:",
        "",
        f"{'this offer was' if one else f'these {count} of your offers were'} taken off sale and cannot be bought:",
        "",
        *lines,
        *_and_more(count, "SUSPENDED"),
        "",
        "What the reasons mean, and what to do next:",
        *(line for code in codes for line in _explain(REASON_CODES[code], by_codes)),
        *_who_asked(named),
        "",
        *_how_to_appeal(occasion),
        "",
        "Your listings and stock are kept. An offer comes back when its grounds do; there is no need to list it again.",
        "Each event has the same id here, in GET /v1/events and in your webhooks. What was decided, and on which of",
        "your documents, is in GET /v1/listings/{sku}/decisions.",
    ]
    return f"{count} of your offers {'was' if one else 'were'} taken off sale", "\n".join(body)


def _reinstated_mail(vendor: Organization, occasion: _Occasion) -> tuple[str, str]:
    condition, parameters = occasion.returned
    where = f"{condition} AND CAST(payload ->> 'vendor_id' AS bigint) = %s"
    parameters = [*parameters, vendor.pk]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM authorization_outboxrow WHERE {where}", parameters)  # noqa: S608
        count = cursor.fetchone()[0]
        cursor.execute(
            f"SELECT id FROM authorization_outboxrow WHERE {where} ORDER BY id LIMIT {NAMED}",  # noqa: S608
            parameters,
        )
        ids = [row_id for (row_id,) in cursor.fetchall()]
    names = dict(HostCarrier.objects.values_list("code", "name"))
    lines = [
        f"- {row.payload['sku']} on {names.get(row.payload['host'], row.payload['host'])} (event {row.event_id})"
        for row in OutboxRow.objects.filter(pk__in=ids).order_by("id")
    ]
    one = count == 1
    body = [
        f"To {vendor.name}:",
        "",
        f"{'this offer is' if one else f'these {count} of your offers are'} on sale again:",
        "",
        *lines,
        *_and_more(count, "LIVE"),
        "",
        "There is nothing for you to do. Price and stock are as you left them: check that they still hold.",
        "Each event has the same id here, in GET /v1/events and in your webhooks.",
    ]
    return f"{count} of your offers {'is' if one else 'are'} on sale again", "\n".join(body)


def _by_codes(delistings: QuerySet[Delisting]) -> dict[tuple[str, ...], int]:
    """How many fell for the same reasons: counted by the database, for there are few combinations."""
    with_text = delistings.order_by().annotate(codes=Cast("reason_codes", TextField()))
    rows = with_text.values_list("codes").annotate(count=Count("pk"))
    return {tuple(json.loads(codes)): count for codes, count in rows}


def _who_asked(named: Sequence[Delisting]) -> Iterator[str]:
    """Of takedown requests whose word they are and why: not what else was said, which may be about others.

    By the holds that the decisions name: whose sweep met an offer first is chance.
    """
    codes = {reason["document"] for row in named for reason in row.decision.reasons}
    asked = TakedownRequest.objects.filter(hold__code__in=codes).order_by("id")
    words = asked.values_list("revocation__requested_by", "reason_code")
    for who, reason_code in dict.fromkeys(words):
        yield f"- {who} asked for it: {WITHDRAWAL_REASONS[reason_code]}."


def _how_to_appeal(occasion: _Occasion) -> list[str]:
    one = '{"sku", "host", "statement"}'
    if occasion.sweep is None:
        return [f"If you think that it is wrong, appeal: POST {settings.PUBLIC_URL}/v1/cases with {one}."]
    all_of_it = f'{{"sweep_id": {occasion.sweep.pk}, "statement"}}'
    return [
        f"If you think that it is wrong, appeal: POST {settings.PUBLIC_URL}/v1/cases with {one} for one offer, or with",
        f"{all_of_it} for all of them.",
    ]


def _and_more(count: int, status: str) -> list[str]:
    if count <= NAMED:
        return []
    return [f"- and {count - NAMED} more: see GET /v1/events, or GET /v1/listings?status={status}"]


def _explain(reason: ReasonCode, by_codes: Mapping[tuple[str, ...], int]) -> Iterator[str]:
    offers = sum(count for codes, count in by_codes.items() if reason.code in codes)
    yield f"- {reason.code} ({offers} offer{'' if offers == 1 else 's'}): {reason.title}."
    yield f"  {_next_step(reason)}"
    yield f"  {settings.PUBLIC_URL}/v1/reasons/{reason.code}"


# What a vendor can do itself, by the check that failed.
_NEXT_STEP: Mapping[str, str] = {
    "agreement": "You can cure this: submit an agreement or letter that covers the offer, POST /v1/agreements.",
    "approval": "You can cure this: state in the listing the software that the phone ships with.",
}
_PARTY: Mapping[str, str] = {
    "shop": "the shop",
    "manufacturer": "the manufacturer",
    "carrier": "the host carrier",
    "regulator": "the regulator",
}


def _next_step(reason: ReasonCode) -> str:
    if reason.cure_by == "vendor":
        return _NEXT_STEP.get(reason.check, "You can cure this: correct the listing.")
    party = _PARTY.get(reason.cure_by, reason.cure_by)
    return f"Not for you to cure: it is up to {party}. Answer this mail if you think that it is wrong."


def tell_of_endpoint(*, payload: dict[str, Any], event_id: UUID, at: datetime) -> None:
    """Handler of `endpoint.disabled`: a vendor whose endpoint is gone reads no webhook that says so."""
    vendor = Organization.objects.get(pk=payload["vendor_id"])
    body = [
        f"To {vendor.name}:",
        "",
        f"nothing more is sent to your webhook endpoint {payload['url']}",
        f"(id {payload['endpoint_id']}): it was switched off. {payload['reason']}",
        "",
        'When it works again, switch it on by PUT /v1/webhook-endpoints/{id} with "is_enabled": true. It is then sent',
        "what it missed in the last 30 days. Meanwhile GET /v1/events has all events.",
    ]
    send_message(
        event_id=event_id,
        kind="endpoint_disabled",
        recipient=vendor.name,
        address=vendor.contact_email,
        subject="Your webhook endpoint was switched off",
        body="\n".join(body),
        at=at,
    )
