"""GET /v1/variants: find the exact variant, and read what its radio can do on which host.

A marketing name is not enough; the model number is.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from carriers.versions import end_of
from catalog.models import Variant, VariantVersion
from catalog.selectors import Judged, VariantNames, find_variants, judged_for, radio_on_record
from storefront.api.fields import Members, Text
from storefront.api.hosts import served_hosts
from storefront.api.pagination import PageQuery, read_page
from storefront.api.parsing import is_storable
from storefront.api.problems import Problem
from storefront.api.times import rfc3339
from storefront.api.verdicts import Day, present_edges, present_judged
from storefront.api.views import VendorView
from storefront.models import PrepaidPlan
from storefront.plans import fit_of, plans_by_host

# Names in one request for which we look for near ones: it costs a pass over all names each.
SUGGESTIONS = 5


class VariantsQuery(PageQuery):
    q = Text(required=False, max_length=100)
    manufacturer = Text(required=False, max_length=64)


class VariantsView(VendorView):
    queries: ClassVar = {"GET": VariantsQuery}

    def get(self, request: Request) -> Response:
        variants = Variant.objects.select_related("device__manufacturer")
        if "manufacturer" in self.query:
            variants = variants.filter(device__manufacturer__slug=self.query["manufacturer"])
        for word in self.query.get("q", "").split():
            variants = variants.filter(_names(word))
        page = read_page(variants, self.query, bound_to=["variants"])
        return Response(page.as_json([present_variant(variant) for variant in page.rows]))


class VariantQuery(Members):
    on = Day(required=False)


class OneVariantView(VendorView):
    """The radio of one variant, and its verdict on each host that the shop serves, of now or of the day `on`."""

    queries: ClassVar = {"GET": VariantQuery}

    def get(self, request: Request, name: str) -> Response:
        variant = find_variants([name]).get(name) if is_storable(name) else None
        if variant is None:
            raise Problem("not_found", unknown_variant_messages([name])[name])
        on = self.query.get("on", self.at.date())
        at = end_of(on) if "on" in self.query else self.at
        hosts = served_hosts(at=at)
        judged, plans = judged_for([variant], hosts, at=at), plans_by_host(at=at)
        shown = {
            **present_variant(variant),
            "codename": variant.codename,
            "launched_in": variant.launched_in,
            "fcc_id": variant.fcc_id,
            "checked_at": rfc3339(variant.checked_at) if variant.checked_at else None,
            "on": on.isoformat(),
            "radio": _present_radio(radio_on_record(variant, at=at)),
            "compatibility": [
                {
                    "host": host.code,
                    **_present_pair(judged.get((variant.pk, host.pk)), plans.get(host.pk, ())),
                }
                for host in hosts
            ],
        }
        return Response(shown)


def _present_pair(judged: Judged | None, plans: Iterable[PrepaidPlan]) -> dict[str, Any]:
    """A verdict of null is no bad verdict: nothing is known then, of no plan either."""
    if judged is None:
        return {"verdict": None, "cautions": [], "plans": []}
    return present_judged(judged) | {"plans": [_present_fit(plan, judged) for plan in plans]}


def _present_fit(plan: PrepaidPlan, judged: Judged) -> dict[str, Any]:
    fit = fit_of(plan, judged.verdict)
    return {"plan": plan.slug, "name": plan.name, "fits": fit.fits, "limits": list(fit.limits)}


def _present_radio(version: VariantVersion | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {
        "hardware_revision": version.hardware_revision,
        "software_revision": version.software_revision,
        "bands": [
            {
                "technology": row.rat,
                "band": row.band,
                "is_disabled_by_software": row.is_sw_disabled,
                **present_edges(row.rat, row.band),
                "source": row.source,
                "confidence": row.confidence,
            }
            for row in version.bands.all()
        ],
        "voice_over_lte": {
            "by_host": {row.host.code: row.status for row in version.ims.all()},
            "source": version.ims_source,
            "confidence": version.ims_confidence,
        },
        "sources": [
            {"value": row.value, "source": row.source, "confidence": row.confidence}
            for row in version.sources.all()
        ],
    }


def _names(word: str) -> Q:
    return (
        Q(model_number__icontains=word)
        | Q(slug__icontains=word)
        | Q(device__marketing_name__icontains=word)
        | Q(device__brand__icontains=word)
    )


def present_variant(variant: Variant) -> dict[str, Any]:
    manufacturer = variant.device.manufacturer
    return {
        "variant": variant.slug,
        "model_number": variant.model_number,
        "brand": variant.device.brand,
        "marketing_name": variant.device.marketing_name,
        "sales_version": variant.sales_version,
        "manufacturer": {"slug": manufacturer.slug, "name": manufacturer.name},
    }


def unknown_variant_messages(names: Iterable[str]) -> dict[str, str]:
    """What to say of each unknown name: the model numbers that come nearest, also for a marketing name."""
    known = VariantNames()
    messages = {}
    for place, name in enumerate(dict.fromkeys(names)):
        nearest = ", ".join(known.near(name)) if place < SUGGESTIONS else ""
        messages[name] = "No variant has this slug or model number." + (
            f" Nearest model numbers: {nearest}." if nearest else " Look it up with GET /v1/variants?q=."
        )
    return messages
