"""What became of the rows of a batch: as of a feed's."""

from rest_framework import serializers

from storefront.api.feed_shapes import FeedRowShape
from storefront.api.shapes import Shape, many


class BatchShape(Shape):
    """One answer per row, in their order. Rows are independent of each other."""

    results = many(FeedRowShape)
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Rows by outcome.")
