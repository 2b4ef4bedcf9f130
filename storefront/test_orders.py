"""Orders of test mode: somebody who does not exist buys, by the checkout of the shop."""

from datetime import datetime
from uuid import uuid4

from authorization.actors import Actor
from catalog.models import Listing, ListingHost
from storefront import carts, orders
from storefront.carts import CartRefused
from storefront.models import Cart, Order
from storefront.orders import CardDetails, CheckoutRefused

SHOPPER = Actor("shopper", "test-mode")
_CARD = CardDetails("4242 4242 4242 4242")


class NotForSale(Exception):
    """It cannot be bought now. The message says why."""


def place_order(*, listing: Listing, host: str, quantity: int, at: datetime) -> Order:
    """Buy so many of this listing for this host, the phone only. Inside a test store. Raises NotForSale."""
    offer = ListingHost.objects.filter(listing=listing, host__code=host).first()
    if offer is None:
        raise NotForSale(f"{listing.sku} is not listed on {host}.")
    cart = Cart.objects.create(created_at=at)
    try:
        carts.add_to_cart(cart=cart, offer=offer, plan=None, quantity=quantity, at=at)
        return orders.check_out(
            cart=cart,
            checkout_key=uuid4(),
            card=_CARD,
            buyer_name="Test Buyer",
            buyer_email="buyer@test.example",
            ship_to="1 Test Street\nTestville",
            by=SHOPPER,
            at=at,
        )
    except (CartRefused, CheckoutRefused) as refusal:
        raise NotForSale(refusal.message) from refusal
