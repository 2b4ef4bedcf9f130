"""manage.py authority who-may-sell|what-may-sell|resting-on|exposure: see docs/directions.md.

One line an item; where more follow, the last line says how to go on. Exit code 2 when the question is wrong or could
not be answered. Reads only.
"""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from authorization import clock, decisions, directions, revisions
from authorization.decisions import Answer, DecisionUnavailable, InvalidQuestion
from authorization.directions import FallingOffer, InvalidCursor, Page, RestingOffer
from authorization.models import Fact
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, ListingHost, Organization, Variant

type Item = dict[str, Any]


class Command(BaseCommand):
    help = "Who may sell this, what may this vendor sell, what rests on this record, what falls by itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        asked = parser.add_subparsers(
            dest="what", required=True, metavar="who-may-sell|what-may-sell|resting-on|exposure"
        )
        who = asked.add_parser("who-may-sell", help="everybody who may sell this variant on this host")
        who.add_argument("--variant", required=True, metavar="SLUG")
        who.add_argument("--host", required=True, metavar="CODE", help="the host carrier, e.g. tmobile")
        what = asked.add_parser("what-may-sell", help="all that this vendor may sell")
        what.add_argument("--vendor", required=True, metavar="SLUG")
        what.add_argument(
            "--host", metavar="CODE", help="one host carrier (default: all that the shop serves)"
        )
        for terms in (who, what):
            terms.add_argument("--territory", default=settings.SHOP_TERRITORY, metavar="CODE")
            terms.add_argument("--channel", default=Channel.WEB.value, choices=Channel.values)
            terms.add_argument("--condition", default=Condition.NEW.value, choices=Condition.values)
            terms.add_argument("--software", default="", metavar="V", help="the version that it ships with")
        resting = asked.add_parser("resting-on", help="the host offers whose answer cites this record")
        resting.add_argument("kind", choices=directions.KINDS)
        resting.add_argument(
            "record", metavar="CODE", help="its code, or the id of a hosting, variant or network"
        )
        exposure = asked.add_parser("exposure", help="live offers that stop being allowed by time alone")
        exposure.add_argument("--within-days", type=int, default=30, metavar="N")
        for each in (who, what, resting, exposure):
            each.add_argument("--at", default="", metavar="ISO", help="at this instant (default: now)")
            each.add_argument(
                "--known-at",
                default="",
                metavar="REVISION|ISO",
                help="as known at this revision, or at the last one before this instant (default: the newest)",
            )
            each.add_argument("--limit", type=int, default=100, metavar="N", help="items at most (100)")
            each.add_argument("--after", metavar="CURSOR", help="go on after the page that gave this")
            each.add_argument("--all", action="store_true", help="go on to the end")
            each.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._print(options, _question(options))
        except InvalidQuestion as error:
            raise CommandError(f"{error.field}: {error.message}", returncode=2) from error
        except InvalidCursor as error:
            raise CommandError(f"after: {error}", returncode=2) from error
        except (DecisionUnavailable, DatabaseError) as error:
            cure = "See that the database answers and is migrated, then ask again."
            raise CommandError(f"It could not be answered: {error} {cure}", returncode=2) from error

    def _print(self, options: dict[str, Any], ask: Callable[..., Page[Any]]) -> None:
        page = ask(after=options["after"])
        items = _described(page.items)
        while options["all"] and page.next_cursor is not None:
            page = ask(after=page.next_cursor)
            items += _described(page.items)
        if options["as_json"]:
            said = {
                "items": items,
                "next_cursor": page.next_cursor,
                "revision": page.revision,
                "valid_at": page.valid_at.isoformat(),
            }
            self.stdout.write(json.dumps(said, indent=2))
            return
        for item in items:
            self.stdout.write("\t".join(str(value) for value in item.values()))
        self.stdout.write(
            f"{len(items)} at {page.valid_at:%Y-%m-%d %H:%M:%S} UTC, as known at revision {page.revision}"
        )
        if page.next_cursor is not None:
            self.stdout.write(
                f"More may follow: ask the same with --after {page.next_cursor}, or with --all."
            )


def _question(options: dict[str, Any]) -> Callable[..., Page[Any]]:
    """What is asked, up to the place from where."""
    at = decisions.present(clock.now())[1]
    paging: dict[str, Any] = {
        "at": revisions.read_instant(options["at"], field="at") if options["at"] else at,
        "known_at": revisions.read_known_at(options["known_at"], at=at) if options["known_at"] else None,
        "limit": options["limit"],
    }
    match options["what"]:
        case "who-may-sell":
            return lambda after: directions.who_may_sell(
                variant=_named("variant", Variant.objects.select_related("device"), "slug", options),
                host=_named("host", HostCarrier.objects, "code", options),
                **_terms(options),
                **paging,
                after=after,
            )
        case "what-may-sell":
            host = None if options["host"] is None else _named("host", HostCarrier.objects, "code", options)
            return lambda after: directions.what_may_sell(
                vendor=_named("vendor", Organization.objects, "slug", options),
                host=host,
                **_terms(options),
                **paging,
                after=after,
            )
        case "resting-on":
            kind, fact_id = options["kind"], _record(options["kind"], options["record"])
            return lambda after: directions.resting_on(kind, fact_id, **paging, after=after)
    days = options["within_days"]
    if not 0 < days <= directions.LONGEST.days:
        raise InvalidQuestion("within-days", f"Take from 1 to {directions.LONGEST.days} days.")
    return lambda after: directions.exposure(timedelta(days=days), **paging, after=after)


def _terms(options: dict[str, Any]) -> dict[str, Any]:
    territory = options["territory"]
    if not (len(territory) == 2 and territory.isascii() and territory.isupper()):
        raise InvalidQuestion(
            "territory", f"{territory!r} is no ISO 3166-1 code; write two capitals, e.g. US."
        )
    return {name: options[name] for name in ("territory", "channel", "condition", "software")}


def _named(field: str, rows: Any, column: str, options: dict[str, Any]) -> Any:
    row = rows.filter(**{column: options[field]}).first()
    if row is None:
        raise InvalidQuestion(field, f"There is no {field} {options[field]!r}; name one that the desk lists.")
    return row


def _record(kind: str, text: str) -> int:
    if kind in Fact.Kind.values:
        fact = Fact.objects.filter(kind=kind, code=text).first()
        if fact is None:
            raise InvalidQuestion("record", f"There is no {kind} {text!r}; name one that the desk lists.")
        return fact.pk
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidQuestion("record", f"{text!r} is no id; write the number of a {kind}.")
    return int(text)


# --- what is printed --------------------------------------------------------------------------------------------


def _described(items: Iterable[Any]) -> list[Item]:
    items = list(items)
    if items and isinstance(items[0], Answer):
        return _answers(items)
    return _offers(items)


def _answers(answers: list[Answer]) -> list[Item]:
    vendors = Organization.objects.in_bulk([answer.question.vendor_id for answer in answers])
    variants = Variant.objects.in_bulk([answer.question.variant_id for answer in answers])
    hosts = HostCarrier.objects.in_bulk([answer.question.host_id for answer in answers])
    return [
        {
            "vendor": vendors[answer.question.vendor_id].slug,
            "variant": variants[answer.question.variant_id].slug,
            "host": hosts[answer.question.host_id].code,
            "until": answer.expires_at.isoformat(),
            "rests_on": ", ".join(item.code for item in answer.evidence),
        }
        for answer in answers
    ]


def _offers(items: list[RestingOffer | FallingOffer]) -> list[Item]:
    offers = ListingHost.objects.select_related("listing__vendor", "host").in_bulk(
        [item.offer_id for item in items]
    )
    described: list[Item] = []
    for item in items:
        offer = offers[item.offer_id]
        said: Item = {
            "offer": offer.pk,
            "vendor": offer.listing.vendor.slug,
            "sku": offer.listing.sku,
            "host": offer.host.code,
        }
        if isinstance(item, FallingOffer):
            said |= {
                "falls_at": item.falls_at.isoformat(),
                "reasons": ", ".join(dict.fromkeys(reason.code for reason in item.reasons)),
                "record": item.record.code if item.record is not None else "",
            }
        else:
            said |= {"state": item.state, "until": item.answer.expires_at.isoformat()}
        described.append(said)
    return described
