"""manage.py audit sales: proves from the database's own snapshots that no order is late, or exits with 1."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from storefront import audit


class Command(BaseCommand):
    help = "Check what the store did, from what the database kept. `audit sales` looks for late orders."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=["sales"])
        parser.add_argument("--json", action="store_true", dest="as_json", help="print the findings as JSON")
        parser.add_argument(
            "--revision", type=int, help="only orders that came after this change of authority"
        )
        parser.add_argument(
            "--since-order",
            type=int,
            default=0,
            help="only orders after this one: `up_to_order` of the last audit",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        done = audit.examine(revision=options["revision"], since_order_id=options["since_order"])
        if options["as_json"]:
            said = {
                "orders": done.orders,
                "up_to_order": done.up_to_order_id,
                "late": [order.as_json() for order in done.late],
                "unprovable": done.unprovable,
            }
            self.stdout.write(json.dumps(said))
        else:
            for order in done.late:
                self.stdout.write(_describe(order))
            late = len({order.order_id for order in done.late})
            open_ones = f", {done.unprovable} cannot be judged: of their phones no maker of then is on record"
            self.stdout.write(f"{done.orders} orders, {late} late{open_ones if done.unprovable else ''}")
        if done.late:
            raise CommandError("Orders were sold on authority that had been taken away.", returncode=1)


def _describe(order: audit.LateOrder) -> str:
    grounds = f" {order.fact_code}" if order.fact_code else ""
    change = f", revision {order.revision}" if order.revision is not None else ""
    missing = f" ({order.missing})" if order.missing else ""
    return f"order {order.order_id} of {order.sold_at:%Y-%m-%d %H:%M:%S.%f}: {order.why}{grounds}{missing}{change}"
