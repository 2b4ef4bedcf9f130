"""POST /v1/listing-batches: up to a hundred rows as a feed has them, worked off at once and answered row by row."""

from collections import Counter
from typing import Any, ClassVar

from django.db import transaction
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from storefront import feed_rows
from storefront.api.fields import Members, OneOf, read_body
from storefront.api.listing_batch_shapes import BatchShape
from storefront.api.views import VendorView
from storefront.models import Feed

MAX_ROWS = 100


@extend_schema_field({"type": "object", "additionalProperties": {}})
class Row(serializers.JSONField):
    """Any value: each row is checked by itself, so that the fault of one keeps no other from its place."""


class BatchBody(Members):
    kind = OneOf(
        choices=Feed.Kind.values,
        required=False,
        default=Feed.Kind.LISTINGS.value,
        help_text="What each row is: a whole listing, price and stock of one, or the SKU of one to publish.",
    )
    rows = serializers.ListField(
        child=Row(),
        allow_empty=False,
        max_length=MAX_ROWS,
        help_text="`kind` listings: the body of PUT /v1/listings/{sku} with its `sku`.",
    )


class ListingBatchesView(VendorView):
    scopes: ClassVar = {"POST": "listings:write"}
    bodies: ClassVar = {"POST": BatchBody}
    answers: ClassVar = {"POST": {207: BatchShape}}
    problems: ClassVar = {"POST": ("decision_unavailable", "concurrent_change")}

    def post(self, request: Request) -> Response:
        """Up to 100 rows, each with an answer of its own: what is wrong with one stops no other."""
        body = read_body(request, BatchBody)
        with transaction.atomic():
            results = feed_rows.work_off(
                body["rows"],
                kind=body["kind"],
                vendor=self.caller.vendor,
                by=self.caller.actor,
                at=self.at,
            )
        data: dict[str, Any] = {
            "results": [result.as_json() for result in results],
            "counts": dict(Counter(result.outcome for result in results)),
        }
        return Response(data, status=207)
