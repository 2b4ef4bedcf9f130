"""Shoppers: each a browser of its own, with cookies, that reads forms from the pages and sends them back.

Every shopper is simulated. What they meet is not: the pages, the cart, the checkout and the payment are the
store's.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import httpx

from seeds.replay.pages import ADD_TO_CART, PageForm, read_forms

CARD_APPROVED = "4242 4242 4242 4242"
CARD_DECLINED = "4000 0000 0000 0002"
PHONE_ONLY = ""
# The store of the replay is one web process: more shoppers at once would only queue, and the queue, not the
# store, would be what the watchers measure.
AT_ONCE = 2


class Outcome(StrEnum):
    BOUGHT = "bought"
    REFUSED = "refused"
    DECLINED = "card declined"
    NOT_OFFERED = "not offered"


class Lost(Exception):
    """A page was not what a shopper needs it to be; the message says which."""


@dataclass(frozen=True)
class Wish:
    """A phone's page, and the plan that goes with it: part of its name, or the phone only."""

    device_slug: str
    plan: str = PHONE_ONLY


class Shopper:
    def __init__(self, base_url: str, name: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.name = name
        self._client = httpx.Client(base_url=base_url, transport=transport, timeout=30, follow_redirects=True)
        self._checkout: PageForm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def look(self, device_slug: str) -> PageForm | None:
        """The form that puts this phone into the cart; None when the page offers nothing."""
        response = self._client.get(f"/devices/{device_slug}/")
        response.raise_for_status()
        return next((form for form in read_forms(response.text) if form.action.endswith(ADD_TO_CART)), None)

    def add(self, form: PageForm, plan: str = PHONE_ONLY) -> bool:
        """Put it into the cart. False when the shop refuses."""
        fields = dict(form.fields) | {"plan": _choose_plan(form, plan)}
        response = self._send(form, fields)
        if response.status_code == 409:
            return False
        response.raise_for_status()
        return True

    def open_checkout(self) -> bool:
        """Stand at the till with the form open. False when the cart cannot be bought."""
        response = self._client.get("/checkout/")
        response.raise_for_status()
        self._checkout = next(
            (form for form in read_forms(response.text) if "checkout_key" in form.fields), None
        )
        return self._checkout is not None

    def pay(self, card: str = CARD_APPROVED) -> Outcome:
        """Send the form that is open, however old it is."""
        if self._checkout is None:
            raise Lost(f"{self.name} has no checkout form open")
        fields = dict(self._checkout.fields) | {
            "buyer_name": f"{self.name} (simulated)",
            "buyer_email": f"{self.name.lower().replace(' ', '.')}@shopper.example",
            "ship_to": "1 Example Street\nSpringfield, NY 10001",
            "card_number": card,
        }
        response = self._send(self._checkout, fields, default_action="/checkout/")
        if response.status_code == 409:
            return Outcome.DECLINED if card == CARD_DECLINED else Outcome.REFUSED
        response.raise_for_status()
        if not response.url.path.startswith("/orders/"):
            raise Lost(f"{self.name} paid and landed on {response.url.path}")
        return Outcome.BOUGHT

    def go_to_checkout(self, wish: Wish) -> bool:
        """From the phone's page to the open checkout form. False when it is not for sale on the way."""
        form = self.look(wish.device_slug)
        return form is not None and self.add(form, wish.plan) and self.open_checkout()

    def buy(self, wish: Wish, card: str = CARD_APPROVED) -> Outcome:
        return self.pay(card) if self.go_to_checkout(wish) else Outcome.NOT_OFFERED

    def _send(self, form: PageForm, fields: dict[str, str], default_action: str = "") -> httpx.Response:
        headers = {"Referer": str(self._client.base_url)}
        return self._client.post(form.action or default_action, data=fields, headers=headers)


def _choose_plan(form: PageForm, plan: str) -> str:
    if plan == PHONE_ONLY:
        return ""
    found = [value for value in form.choices.get("plan", []) if plan in value]
    if not found:
        raise Lost(f"the page offers no plan {plan!r}, only {form.choices.get('plan', [])}")
    return found[0]


def at_once[T](acts: Iterable[Callable[[], T]]) -> list[T]:
    """Several shoppers at the same time; results in the order given. The first that is lost is raised."""
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        try:
            return [future.result() for future in [pool.submit(act) for act in acts]]
        except BaseException:
            # The others need not set out any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Rush:
    """Shoppers who pay one after the other, two at a time, while something else happens."""

    def __init__(self, shoppers: Iterable[Shopper]) -> None:
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE)
        self._payments = [self._pool.submit(shopper.pay) for shopper in shoppers]

    def wait_for_first(self, within_s: float) -> None:
        """Until one of them has its answer, so that what follows falls into the middle of the rush."""
        wait(self._payments, timeout=within_s, return_when=FIRST_COMPLETED)

    def outcomes(self) -> list[Outcome]:
        with self._pool:
            return [payment.result() for payment in self._payments]
