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

    def handle(self, *args: Any, **options: Any) -> None:
        orders, late = audit.count_orders(), audit.late_orders()
        if options["as_json"]:
            self.stdout.write(json.dumps({"orders": orders, "late": [order.as_json() for order in late]}))
        else:
            for order in late:
                self.stdout.write(_describe(order))
            self.stdout.write(f"{orders} orders, {len({order.order_id for order in late})} late")
        if late:
            raise CommandError("Orders were sold on authority that had been taken away.", returncode=1)


def _describe(order: audit.LateOrder) -> str:
    grounds = f" {order.fact_code}" if order.fact_code else ""
    change = f", revision {order.revision}" if order.revision is not None else ""
    return f"order {order.order_id} of {order.sold_at:%Y-%m-%d %H:%M:%S.%f}: {order.why}{grounds}{change}"
