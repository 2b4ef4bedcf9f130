"""manage.py outbox status|retry-dead|dismiss-dead|pump: see docs/outbox.md.

Exit codes: 1 when work was given up and nobody has settled it (status), 2 when something is wrong with the input.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authorization import clock, outbox
from authorization.actors import Actor
from authorization.models import OutboxRow


class Command(BaseCommand):
    help = "How the outbox stands, and what to do about work that was given up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(
            dest="what", required=True, metavar="status|retry-dead|dismiss-dead|pump"
        )
        status = acts.add_parser("status", help="what waits and what was given up; exit 1 if anything was")
        status.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
        retry = acts.add_parser("retry-dead", help="try again what was given up")
        dismiss = acts.add_parser("dismiss-dead", help="what was given up is not needed any more")
        for act in (retry, dismiss):
            act.add_argument("row", nargs="*", type=int, metavar="ROW", help="their numbers, as status says")
            act.add_argument("--handler", default="", metavar="NAME", help="all of this handler")
            act.add_argument("--all", action="store_true", help="all that were given up")
            act.add_argument(
                "--by", required=True, metavar="NAME", help="who decides so; stands in the ledger"
            )
        dismiss.add_argument("--reason", required=True, metavar="TEXT", help="why; stands in the ledger")
        acts.add_parser("pump", help="do what is due, here and now, without a worker")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["what"]:
            case "status":
                self._status(options["as_json"])
            case "pump":
                done = 0
                while count := outbox.pump():
                    done += count
                self.stdout.write(f"{done} done")
            case act:
                self._settle(act, options)

    def _status(self, as_json: bool) -> None:
        at = clock.now()
        age_s = outbox.oldest_open_age_s(at)
        dead = list(outbox.dead_letters().order_by("id"))
        if as_json:
            said = {
                "waiting": outbox.open_rows(at).count(),
                "oldest_due_s": age_s,
                "dead": [
                    {"row": row.pk, "event": row.event, "handler": row.handler, "error": row.last_error}
                    for row in dead
                ],
            }
            self.stdout.write(json.dumps(said))
        else:
            oldest = "" if age_s is None else f", the oldest for {age_s:.0f} s"
            self.stdout.write(
                f"{outbox.open_rows(at).count()} due and not done{oldest}; {len(dead)} given up"
            )
            for row in dead:
                self.stdout.write(f"{row.pk}\t{row.event}\t{row.handler}\t{row.last_error.splitlines()[0]}")
        if dead:
            raise CommandError(
                f"{len(dead)} given up. See why, then `outbox retry-dead` or `outbox dismiss-dead`.",
                returncode=1,
            )

    def _settle(self, act: str, options: dict[str, Any]) -> None:
        by, at = Actor("user", options["by"]), clock.now()
        settled = 0
        for row in _chosen(options):
            try:
                if act == "retry-dead":
                    outbox.retry_dead(row=row, by=by, at=at)
                else:
                    outbox.dismiss_dead(row=row, by=by, at=at, reason=options["reason"])
            except ValueError as error:
                raise CommandError(f"{error} {settled} were settled before.", returncode=2) from error
            settled += 1
        self.stdout.write(f"{settled} settled")


def _chosen(options: dict[str, Any]) -> Iterable[OutboxRow]:
    dead = outbox.dead_letters().order_by("id")
    if options["row"]:
        found = OutboxRow.objects.in_bulk(options["row"])
        missing = sorted(set(options["row"]) - found.keys())
        if missing:
            raise CommandError(
                f"There is no row {missing[0]}; `outbox status` names those given up.", returncode=2
            )
        return [found[number] for number in sorted(found)]
    if options["handler"]:
        return list(dead.filter(handler=options["handler"]))
    if options["all"]:
        return list(dead)
    raise CommandError("Say which: numbers of rows, --handler NAME or --all.", returncode=2)
