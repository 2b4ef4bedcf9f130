"""GET /v1/variants: find the exact variant. A marketing name is not enough; the model number is."""

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import Variant
from storefront.api.fields import Text
from storefront.api.pagination import PageQuery, read_page
from storefront.api.views import VendorView

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


def find_variants(names: Iterable[str]) -> dict[str, Variant]:
    """By slug or exact model number. Where one is another's slug, the slug wins."""
    wanted = set(names)
    found: dict[str, Variant] = {}
    variants = Variant.objects.select_related("device__manufacturer").filter(
        Q(slug__in=wanted) | Q(model_number__in=wanted)
    )
    for variant in variants:
        found.setdefault(variant.model_number, variant)
    found |= {variant.slug: variant for variant in variants}
    return {name: found[name] for name in wanted if name in found}


def unknown_variant_messages(names: Iterable[str]) -> dict[str, str]:
    """What to say of each unknown name: the model numbers that come nearest, also for a marketing name."""
    model_numbers: dict[str, list[str]] = {}
    rows = Variant.objects.values_list(
        "model_number", "slug", "device__marketing_name", "device__brand"
    ).order_by("id")
    for model_number, slug, marketing_name, brand in rows:
        for name in (model_number, slug, marketing_name, f"{brand} {marketing_name}"):
            model_numbers.setdefault(name.casefold(), []).append(model_number)
    messages = {}
    for place, name in enumerate(dict.fromkeys(names)):
        near: list[str] = []
        if place < SUGGESTIONS:
            for match in difflib.get_close_matches(name[:100].casefold(), model_numbers, n=5, cutoff=0.6):
                near += model_numbers[match]
        nearest = ", ".join(list(dict.fromkeys(near))[:8])
        messages[name] = "No variant has this slug or model number." + (
            f" Nearest model numbers: {nearest}." if nearest else " Look it up with GET /v1/variants?q=."
        )
    return messages
