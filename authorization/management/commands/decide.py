"""manage.py decide --vendor SLUG --variant SLUG --host CODE: may it be sold, and why not. See docs/ask-the-engine.md.

Exit codes: 0 allow, 1 deny, 3 undetermined, 2 when the question is wrong or could not be answered.
"""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from authorization import clock, decisions, explanations, revisions
from authorization.decisions import Answer, DecisionUnavailable, InvalidQuestion
from authorization.rules import Question
from carriers.models import HostCarrier
from catalog.models import Channel, Condition, Listing, Organization, Variant

EXIT_CODES = {"allow": 0, "deny": 1, "undetermined": 3}


class Command(BaseCommand):
    help = (
        "Ask the decision engine one question. Reads only. Exit 0 allow, 1 deny, 3 undetermined, 2 bad input."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--vendor", required=True, metavar="SLUG")
        parser.add_argument("--variant", required=True, metavar="SLUG")
        parser.add_argument("--host", required=True, metavar="CODE", help="the host carrier, e.g. tmobile")
        parser.add_argument("--territory", default=settings.SHOP_TERRITORY, metavar="CODE")
        parser.add_argument("--channel", default=Channel.WEB.value, choices=Channel.values)
        parser.add_argument("--condition", default=Condition.NEW.value, choices=Condition.values)
        parser.add_argument("--software", default="", metavar="V", help="the version that it ships with")
        parser.add_argument("--listing", default="", metavar="ID", help="for holds that name a listing")
        parser.add_argument("--at", default="", metavar="ISO", help="valid at this instant (default: now)")
        parser.add_argument(
            "--known-at",
            default="",
            metavar="REVISION|ISO",
            help="as known at this revision, or at the last one before this instant (default: the newest)",
        )
        parser.add_argument("--explain", action="store_true", help="print every check, in order")
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="print the explanation as JSON"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answer = _ask(options)
        except InvalidQuestion as error:
            raise CommandError(f"{error.field}: {error.message}", returncode=2) from error
        except (DecisionUnavailable, DatabaseError) as error:
            # Never as a plain error: that exits with 1, which means deny.
            cure = "See that the database answers and is migrated, then ask again."
            raise CommandError(f"It could not be decided: {error} {cure}", returncode=2) from error
        tree = explanations.explain(answer)
        if options["as_json"]:
            self.stdout.write(json.dumps(tree, indent=2))
        elif options["explain"]:
            for line in explanations.as_lines(tree):
                self.stdout.write(line)
        else:
            self.stdout.write(f"{answer.outcome} {', '.join(answer.reason_codes)}".rstrip())
        if not answer.is_allowed:
            # The answer is said; an exit code is all that is missing.
            raise SystemExit(EXIT_CODES[answer.outcome])


def _ask(options: dict[str, Any]) -> Answer:
    question = _question(options)
    at = decisions.present(clock.now())[1]
    known_at = revisions.read_known_at(options["known_at"], at=at) if options["known_at"] else None
    if options["at"]:
        at = revisions.read_instant(options["at"], field="at")
    return decisions.decide(question, at=at, known_at=known_at)


def _question(options: dict[str, Any]) -> Question:
    vendor = _row("vendor", Organization.objects.filter(slug=options["vendor"]).first(), options)
    if vendor.kind != Organization.Kind.VENDOR:
        raise InvalidQuestion("vendor", f"{vendor} is a {vendor.kind}; name the slug of a vendor.")
    variants = Variant.objects.select_related("device")
    question = decisions.question_for(
        vendor=vendor,
        variant=_row("variant", variants.filter(slug=options["variant"]).first(), options),
        host=_row("host", HostCarrier.objects.filter(code=options["host"]).first(), options),
        territory=_territory(options["territory"]),
        channel=options["channel"],
        condition=options["condition"],
        software=options["software"],
    )
    return (
        question._replace(listing_id=_listing(options["listing"], question))
        if options["listing"]
        else question
    )


def _row(field: str, row: Any, options: dict[str, Any]) -> Any:
    if row is None:
        raise InvalidQuestion(field, f"There is no {field} {options[field]!r}; name one that the desk lists.")
    return row


def _territory(code: str) -> str:
    if not (len(code) == 2 and code.isascii() and code.isalpha() and code.isupper()):
        raise InvalidQuestion("territory", f"{code!r} is no ISO 3166-1 code; write two capitals, e.g. US.")
    return code


def _listing(text: str, question: Question) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidQuestion("listing", f"{text!r} is no id; write the number of a listing.")
    listing = Listing.objects.filter(pk=int(text)).first()
    if listing is None:
        raise InvalidQuestion("listing", f"There is no listing {text}; name one that the desk lists.")
    if (listing.vendor_id, listing.variant_id) != (question.vendor_id, question.variant_id):
        raise InvalidQuestion(
            "listing",
            f"Listing {text} ({listing}) is of another vendor or variant; ask about those, or leave it out.",
        )
    return listing.pk
