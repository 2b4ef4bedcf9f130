"""What a change of authority did to a vendor's offers."""

from rest_framework import serializers

from storefront.api.shapes import Shape, instant, number, one


class SweepProgressShape(Shape):
    """Of the whole sweep. Null: not known."""

    percent_done = serializers.FloatField(allow_null=True)
    percent_per_s = serializers.FloatField(allow_null=True)
    eta_s = number(allow_null=True)


class SweepShape(Shape):
    """A sweep that moved offers of yours."""

    sweep_id = number()
    revision = number("The state of authority that it carries out.", allow_null=True)
    started_at = instant()
    finished_at = instant(allow_null=True)
    progress = one(SweepProgressShape)
    delisted = number("Offers of yours that it took off sale.")
    reinstated = number("Offers of yours that it brought back.")
