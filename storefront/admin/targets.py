"""What holds stop and exemptions let through, as people call it."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from authorization import clock
from authorization.models import Fact, HoldTarget, HoldVersion
from carriers.models import HostCarrier
from catalog.models import Device, Listing, Organization, Variant
from storefront.admin.desk import say_list

_ROWS: dict[str, QuerySet[Any]] = {
    HoldTarget.Dimension.MANUFACTURER: Organization.objects.all(),
    HoldTarget.Dimension.VENDOR: Organization.objects.all(),
    HoldTarget.Dimension.DEVICE: Device.objects.all(),
    HoldTarget.Dimension.VARIANT: Variant.objects.select_related("device"),
    HoldTarget.Dimension.LISTING: Listing.objects.select_related("vendor"),
    HoldTarget.Dimension.HOST: HostCarrier.objects.all(),
    HoldTarget.Dimension.FACT: Fact.objects.all(),
}


def name_targets(targets: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What people call these targets: one query per dimension, however many there are."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for dimension, value in targets:
        wanted[dimension].add(value)
    names: dict[tuple[str, str], str] = {}
    for dimension, values in wanted.items():
        rows = _ROWS.get(dimension)
        found = (
            {}
            if rows is None
            else {str(row.pk): str(row) for row in rows.filter(pk__in=[int(v) for v in values])}
        )
        names |= {(dimension, value): found.get(value, value) for value in values}
    return names


def say_targets(targets: Iterable[tuple[str, str]]) -> str:
    """Values of one dimension are alternatives, the dimensions hold together."""
    values: dict[str, list[str]] = defaultdict(list)
    for (dimension, _), name in name_targets(targets).items():
        values[dimension].append(name)
    return " and ".join(
        f"{dimension} {say_list(sorted(names), last=' or ')}" for dimension, names in sorted(values.items())
    )


def is_in_force(hold: HoldVersion) -> bool:
    return hold.rev_to is None and hold.released_at is None and hold.valid_until > clock.now()
