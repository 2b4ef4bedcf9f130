"""What every page of the shop prints around its content."""

from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest

from authorization import clock
from storefront.shop.cart_cookie import find_cart


def shop(request: HttpRequest) -> dict[str, Any]:
    def cart_count() -> int:
        cart = find_cart(request)
        return (cart.lines.aggregate(phones=Sum("quantity"))["phones"] or 0) if cart is not None else 0

    return {
        "shop_name": settings.SHOP_NAME,
        "shop_contact": settings.DEFAULT_FROM_EMAIL,
        # The virtual date of an exercise; None in the live shop.
        "exercise_at": clock.now() if settings.CLOCK_FILE else None,
        # A function: pages that do not print it, the desk's among them, do not pay for the query.
        "cart_count": cart_count,
    }
