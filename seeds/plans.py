"""Prepaid plans for the hostings of the shop. What no source gives is marked simulated, and pages say so."""

import datetime as dt
from dataclasses import asdict, dataclass
from decimal import Decimal

from django.conf import settings
from django.utils.text import slugify

from carriers.models import Hosting, HostingVersion
from storefront.models import PrepaidPlan


@dataclass(frozen=True)
class PlanTerms:
    name: str
    price_amount: Decimal
    allowance: str
    needs_data: bool = True
    is_simulated: bool = True


# CNBC, 3 Feb 2016: "plans from $7 a month, $25 for 2.5 GB". What the $7 bought is not reported.
PLANS_OF_2016 = (
    PlanTerms(
        "Starter", Decimal("7.00"), "100 minutes and 100 texts (the price is reported)", needs_data=False
    ),
    PlanTerms("Everyday", Decimal("25.00"), "2.5 GB of data", is_simulated=False),
    PlanTerms("Plenty", Decimal("40.00"), "unlimited talk and text, 6 GB of data"),
)
PLANS_OF_TODAY = (
    PlanTerms("Talk", Decimal("10.00"), "unlimited talk and text", needs_data=False),
    PlanTerms("Everyday", Decimal("20.00"), "unlimited talk and text, 10 GB of data"),
    PlanTerms("Unlimited", Decimal("32.50"), "unlimited talk, text and data"),
)


def ensure_plans(plans: tuple[PlanTerms, ...], *, at: dt.datetime) -> int:
    """Give these plans to each hosting of the shop in force that has none. Returns how many were made."""
    made = 0
    for hosting in _hostings_in_force(at):
        if hosting.plans.exists():
            continue
        title = hosting.product_name or hosting.host.name
        for terms in plans:
            slug = slugify(f"{hosting.host.code} {hosting.product_name} {terms.name}")
            fields = asdict(terms) | {"name": f"{terms.name} on {title}"}
            PrepaidPlan.objects.create(hosting=hosting, slug=slug, price_currency="USD", **fields)
            made += 1
    return made


def _hostings_in_force(at: dt.datetime) -> list[Hosting]:
    versions = HostingVersion.objects.current().filter(
        head__mvno=settings.SHOP_MVNO, valid_from__lte=at, valid_until__gt=at
    )
    return [version.head for version in versions.select_related("head__host").order_by("head_id")]
