"""Which store this thread works in: the shop's, or one of an organization's test mode.

The connection says so. Whoever works in a test store has put its database in the place of the shop's
(`storefront.test_mode`), and all that goes by Django's default connection is in that one. Little else has to know:
whom a bell wakes, and that no mail leaves.
"""

from django.db import connection


def is_test() -> bool:
    return getattr(connection, "clearline_test_store", None) is not None
