"""GET /v1/devices and /v1/variants: find the exact variant, and read what its radio can do on which host.

A marketing name is not enough; the model number is.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db.models import Prefetch, Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from carriers.versions import end_of
from catalog.models import Device, Variant, VariantVersion
from catalog.selectors import Judged, VariantNames, find_variants, judged_for, radio_on_record
from storefront.api.catalog_shapes import DeviceShape, VariantShape, WholeVariantShape
from storefront.api.fields import Members, Pattern, Text
from storefront.api.hosts import CatalogView, served_hosts
from storefront.api.pagination import PageQuery, read_page
from storefront.api.parsing import is_storable
from storefront.api.problems import Problem
from storefront.api.shapes import page_of
from storefront.api.times import rfc3339
from storefront.api.verdicts import Day, present_edges, present_judged
from storefront.models import PrepaidPlan
from storefront.plans import fit_of, plans_by_host

# Names in one request for which we look for near ones: it costs a pass over all names each.
SUGGESTIONS = 5


class DevicesQuery(PageQuery):
    q = Text(required=False, max_length=100)
    manufacturer = Text(required=False, max_length=64)
    brand = Text(required=False, max_length=64)


class VariantsQuery(DevicesQuery):
    device = Text(required=False, max_length=100)
    tac = Pattern("[0-9]{8}", "Give the first eight digits of the IMEI.", required=False)
    fcc_id = Text(required=False, max_length=32)


class DevicesView(CatalogView):
    """Devices by their marketing names, each with its variants: an approval holds for one of those."""

    queries: ClassVar = {"GET": DevicesQuery}
    answers: ClassVar = {"GET": {200: page_of(DeviceShape)}}

    def get(self, request: Request) -> Response:
        devices = _devices()
        if "manufacturer" in self.query:
            devices = devices.filter(manufacturer__slug=self.query["manufacturer"])
        if "brand" in self.query:
            devices = devices.filter(brand__iexact=self.query["brand"])
        for word in self.query.get("q", "").split():
            of_variant = Variant.objects.filter(
                Q(model_number__icontains=word) | Q(slug__icontains=word)
            ).values("device_id")
            named = Q(marketing_name__icontains=word) | Q(brand__icontains=word) | Q(slug__icontains=word)
            devices = devices.filter(named | Q(pk__in=of_variant))
        page = read_page(devices, self.query, bound_to=["devices"])
        return Response(page.as_json([present_device(device) for device in page.rows]))


class OneDeviceView(CatalogView):
    """One device, by its slug, with its variants."""

    answers: ClassVar = {"GET": {200: DeviceShape}}

    def get(self, request: Request, slug: str) -> Response:
        device = _devices().filter(slug=slug).first() if is_storable(slug) else None
        if device is None:
            raise Problem("not_found", "No device has this slug. Look it up with GET /v1/devices?q=.")
        return Response(present_device(device))


def _devices() -> QuerySet[Device]:
    variants = Variant.objects.order_by("model_number")
    return Device.objects.select_related("manufacturer").prefetch_related(Prefetch("variants", variants))


class VariantsView(CatalogView):
    """Variants, by words of their names, maker, device, type allocation code or FCC ID."""

    queries: ClassVar = {"GET": VariantsQuery}
    answers: ClassVar = {"GET": {200: page_of(VariantShape)}}

    def get(self, request: Request) -> Response:
        variants = Variant.objects.select_related("device__manufacturer")
        for name, column in _VARIANT_FILTERS.items():
            if name in self.query:
                variants = variants.filter(**{column: self.query[name]})
        for word in self.query.get("q", "").split():
            variants = variants.filter(_names(word))
        page = read_page(variants, self.query, bound_to=["variants"])
        return Response(page.as_json([present_variant(variant) for variant in page.rows]))


_VARIANT_FILTERS = {
    "manufacturer": "device__manufacturer__slug",
    "brand": "device__brand__iexact",
    "device": "device__slug",
    "tac": "tacs__code",
    "fcc_id": "fcc_id__iexact",
}


class VariantQuery(Members):
    on = Day(required=False)


class OneVariantView(CatalogView):
    """The radio of one variant, and its verdict on each host that the shop serves, of now or of the day `on`."""

    queries: ClassVar = {"GET": VariantQuery}
    answers: ClassVar = {"GET": {200: WholeVariantShape}}

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


def present_device(device: Device) -> dict[str, Any]:
    return {
        "device": device.slug,
        "name": str(device),
        "brand": device.brand,
        "marketing_name": device.marketing_name,
        "manufacturer": {"slug": device.manufacturer.slug, "name": device.manufacturer.name},
        "variants": [
            {
                "variant": variant.slug,
                "model_number": variant.model_number,
                "sales_version": variant.sales_version,
            }
            for variant in device.variants.all()
        ],
    }


def present_variant(variant: Variant) -> dict[str, Any]:
    manufacturer = variant.device.manufacturer
    return {
        "variant": variant.slug,
        "model_number": variant.model_number,
        "device": variant.device.slug,
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
