"""Which prepaid plans the shop sells, and on which phones they work.

A plan ends with its hosting, whatever its own row says.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet

from carriers.compatibility import Verdict
from carriers.plan_fit import PlanFit, plan_fit
from catalog.selectors import Judged, judged_for
from storefront.models import CartLine, PrepaidPlan

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


def plans_by_host(*, at: datetime) -> dict[int, list[PrepaidPlan]]:
    """The plans on sale by host id, cheapest first."""
    found: dict[int, list[PrepaidPlan]] = {}
    for plan in plans_on_sale(at=at).select_related("hosting").order_by("price_amount", "pk"):
        found.setdefault(plan.hosting.host_id, []).append(plan)
    return found


def sold_of(plans: Iterable[PrepaidPlan | None], *, at: datetime) -> set[int]:
    """The ids of those plans that are on sale; no query when there is no plan."""
    plan_ids = {plan.pk for plan in plans if plan is not None}
    if not plan_ids:
        return set()
    return set(plans_on_sale(at=at).filter(pk__in=plan_ids).values_list("pk", flat=True))


def fit_of(plan: PrepaidPlan, verdict: Verdict) -> PlanFit:
    return plan_fit(
        verdict, needs_voice=plan.needs_voice, needs_data=plan.needs_data, needs_volte=plan.needs_volte
    )


def judged_with_plans(lines: Iterable[CartLine], *, at: datetime) -> Mapping[tuple[int, int], Judged]:
    """What the phones of lines with a plan can do, by (variant id, host id); no query when there is no plan."""
    offers = [line.offer for line in lines if line.plan_id is not None]
    if not offers:
        return {}
    return judged_for({offer.listing.variant for offer in offers}, {offer.host for offer in offers}, at=at)


def judged_of(line: CartLine, judged: Mapping[tuple[int, int], Judged]) -> Judged | None:
    """None of a line without a plan, or where what the phone can do is not on record."""
    return judged.get((line.offer.listing.variant_id, line.offer.host_id)) if line.plan_id else None


def fits(line: CartLine, judged: Mapping[tuple[int, int], Judged]) -> bool:
    """False only where it is known: of a phone without a recorded radio the plan is offered, and the gap is said."""
    pair = judged_of(line, judged)
    return line.plan is None or pair is None or fit_of(line.plan, pair.verdict).fits
