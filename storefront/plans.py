"""Which prepaid plans the shop sells. A plan ends with its hosting, whatever its own row says."""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet

from storefront.models import PrepaidPlan

# The one currency that the shop sells in.
SHOP_CURRENCY = "USD"


def plans_on_sale(*, at: datetime) -> QuerySet[PrepaidPlan]:
    """Plans on sale whose hosting, of the shop's own virtual operator, is in force."""
    return PrepaidPlan.objects.filter(
        is_on_sale=True,
        hosting__mvno=settings.SHOP_MVNO,
        hosting__versions__rev_to__isnull=True,
        hosting__versions__valid_from__lte=at,
        hosting__versions__valid_until__gt=at,
    )


def sold_of(plans: Iterable[PrepaidPlan | None], *, at: datetime) -> set[int]:
    """The ids of those plans that are on sale; no query when there is no plan."""
    plan_ids = {plan.pk for plan in plans if plan is not None}
    if not plan_ids:
        return set()
    return set(plans_on_sale(at=at).filter(pk__in=plan_ids).values_list("pk", flat=True))
