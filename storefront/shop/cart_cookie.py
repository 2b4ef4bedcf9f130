"""Which cart is this browser's: a signed cookie, set when something is put into it and not before."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from storefront.models import Cart

NAME = "cart"
_SALT = "clearline.cart"
_KEPT_FOR = timedelta(days=30)


def find_cart(request: HttpRequest) -> Cart | None:
    value = request.get_signed_cookie(NAME, default=None, salt=_SALT, max_age=_KEPT_FOR)
    return Cart.objects.filter(pk=UUID(value)).first() if value else None


def find_or_open_cart(request: HttpRequest, *, at: datetime) -> Cart:
    return find_cart(request) or Cart.objects.create(created_at=at)


def remember_cart(response: HttpResponse, cart: Cart) -> None:
    response.set_signed_cookie(
        NAME,
        str(cart.pk),
        salt=_SALT,
        max_age=_KEPT_FOR,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def forget_cart(response: HttpResponse) -> None:
    response.delete_cookie(NAME, samesite="Lax")
