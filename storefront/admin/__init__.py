"""The compliance desk: the admin of the staff, one module per screen. Importing it registers them all."""

from storefront.admin import (  # noqa: F401  each registers its screen
    affiliations,
    agreements,
    approvals,
    carriers,
    catalog,
    equipment,
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
