"""/v1/test-orders: in test mode somebody buys what one lists, so that there is something to ship."""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from catalog.models import Listing
from storefront import fulfilment, test_orders
from storefront.api.fields import Members, Text, Whole, read_body
from storefront.api.orders import present_orders
from storefront.api.orders_shapes import OrderShape
from storefront.api.problems import Problem
from storefront.api.views import VendorView


class TestOrderBody(Members):
    # pytest collects classes by this name.
    __test__ = False

    sku = Text(max_length=64, help_text="Of a listing of yours that is live.")
    host = Text(max_length=32, help_text="The host carrier that it is bought for.")
    quantity = Whole(min_value=1, max_value=10, required=False, default=1)


class TestOrdersView(VendorView):
    """Have somebody buy your listing, by the shop's own checkout. In test mode only."""

    # pytest collects classes by this name.
    __test__ = False

    scopes: ClassVar = {"POST": "orders:write"}
    bodies: ClassVar = {"POST": TestOrderBody}
    answers: ClassVar = {"POST": {201: OrderShape}}
    answer_headers: ClassVar = {"POST": {201: ("Location",)}}
    problems: ClassVar = {"POST": ("test_mode_only", "invalid_transition", "not_found")}

    def check_caller(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not self.caller.key.is_test:
            raise Problem("test_mode_only", "This call takes a key of test mode: sk_test_…")

    def post(self, request: Request) -> Response:
        asked = read_body(request, TestOrderBody)
        listing = Listing.objects.filter(vendor=self.caller.vendor, sku=asked["sku"]).first()
        if listing is None:
            raise Problem("not_found", "You have no listing under this SKU.")
        try:
            placed = test_orders.place_order(
                listing=listing, host=asked["host"], quantity=asked["quantity"], at=self.at
            )
        except test_orders.NotForSale as error:
            raise Problem("invalid_transition", str(error)) from error
        [shown] = present_orders(list(fulfilment.orders_of(self.caller.vendor).filter(pk=placed.pk)))
        return Response(shown, status=201, headers={"Location": f"/v1/orders/{placed.public_id}"})
