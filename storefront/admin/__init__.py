"""The compliance desk: the admin of the staff, one module per screen. Importing it registers them all."""

from storefront.admin import (  # noqa: F401  each registers its screen
    agreements,
    approvals,
    carriers,
    catalog,
    holds,
    keys,
    ledger,
    listings,
    notices,
    orders,
    outbox,
    people,
    plans,
    policies,
    withdrawals,
)
