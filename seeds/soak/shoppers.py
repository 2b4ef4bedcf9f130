"""Shoppers and vendors: the load, over HTTP only. Shoppers think little, double-click, walk away and come back late.

Everything that the store said is noted; whether it was right is asked at the end, of the database.
"""

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from seeds.soak.browser import BUTTON, LOST, Answer, Browser
from seeds.soak.journal import Journal
from seeds.soak.soaked import Item, Soaked

CARD_APPROVED, CARD_DECLINED = "4242424242424242", "4000000000000002"
# A request without an answer is sent again, as browsers and people do.
TRIES = 8
PAUSE_S = 0.5
TELL_EVERY_S = 5.0
CARTS_PER_LOOK = 4


class Crowd:
    """Threads that shop or sell until the stop file is there."""

    def __init__(self, soaked: Soaked, base_url: str, journal: Journal, stop_file: Path, seed: int) -> None:
        self.soaked, self.base_url, self.journal, self.seed = soaked, base_url, journal, seed
        self._stop_file = stop_file
        self._stopped = threading.Event()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, *, shoppers: int, vendors: int) -> None:
        acts: list[tuple[Callable[[random.Random, Browser], None], int]] = [
            *[(self._shop_once, number) for number in range(shoppers)],
            *[(self._sell_once, shoppers + number) for number in range(vendors)],
        ]
        threads = [threading.Thread(target=self._go_on, args=(act, number)) for act, number in acts]
        for thread in threads:
            thread.start()
        while not self._stop_file.exists():
            time.sleep(0.2)
            if int(time.monotonic() / 0.2) % int(TELL_EVERY_S / 0.2) == 0:
                self._tell()
        self._stopped.set()
        for thread in threads:
            thread.join()
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            self.journal.note("counts", **self._counts)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _go_on(self, act: Callable[[random.Random, Browser], None], number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        browser = Browser(self.base_url)
        while not self._stopped.is_set():
            try:
                act(chance, browser)
            except LOST as error:
                self._count("no answer")
                self.journal.note("lost", error=f"{type(error).__name__}: {error}"[:200])
                self._stopped.wait(PAUSE_S)
        browser.close()

    def _see(self, answer: Answer, where: str) -> Answer:
        if where == "api" and answer.status == 503:
            # "Busy, come again": said with the time to wait, and no broken promise.
            self._count("api busy")
        elif answer.status >= 500:
            self._count("server errors")
            said = " ".join(re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2] or answer.text).split())
            self.journal.note("server_error", where=where, status=answer.status, said=said[:120])
        return answer

    # --- shopping -----------------------------------------------------------------------------------------

    def _shop_once(self, chance: random.Random, browser: Browser) -> None:
        """One look at a page, and some carts filled from it: the later ones from what may no longer be so."""
        browser.cookies.clear()
        slug = chance.choice(self.soaked.devices)
        page = self._see(browser.get(f"/devices/{slug}/"), "device")
        if page.status != 200:
            self._stopped.wait(PAUSE_S)
            return
        offers = sorted(page.offer_ids) if BUTTON in page.text else []
        if not offers:
            self._count("nothing to buy")
            return
        for _ in range(chance.randint(1, CARTS_PER_LOOK)):
            browser.cookies.pop("cart", None)
            self._fill_a_cart(chance, browser, page, offers)

    def _fill_a_cart(self, chance: random.Random, browser: Browser, page: Answer, offers: list[int]) -> None:
        for offer_id in chance.sample(offers, k=min(len(offers), 2 if chance.random() < 0.15 else 1)):
            fields = {
                "csrfmiddlewaretoken": page.csrf_token,
                "offer": str(offer_id),
                "plan": "",
                "quantity": "1",
            }
            if chance.random() < 0.1:
                fields["quantity"] = str(chance.randint(2, 5))
            added = self._see(browser.post("/cart/add/", fields), "add")
            if added.status != 302:
                self._count("cart refused")
                return
        till = self._see(browser.get("/checkout/"), "checkout page")
        fields = till.hidden_fields("/checkout/")
        if "checkout_key" not in fields:
            self._count("till refused")
            return
        if chance.random() < 0.1:
            # Somebody who answers the telephone first.
            self._stopped.wait(chance.uniform(1, 8))
        elif chance.random() < 0.03:
            self._count("walked away")
            return
        self._pay(chance, browser, fields)

    def _pay(self, chance: random.Random, browser: Browser, form: dict[str, str]) -> None:
        is_declined = chance.random() < 0.03
        key = form["checkout_key"]
        fields = form | {
            "buyer_name": "Simulated shopper",
            "buyer_email": "shopper@soak.example",
            "ship_to": "1 Example Street",
            "card_number": CARD_DECLINED if is_declined else CARD_APPROVED,
        }
        # As they are now: the store takes the cart away from who has bought it.
        cookies = dict(browser.cookies)
        twins: list[threading.Thread] = []
        if chance.random() < 0.15:
            twins = [threading.Thread(target=self._pay_again, args=(fields, cookies, key))]
            twins[0].start()
        self._send_until_answered(browser, fields, cookies, key)
        for twin in twins:
            twin.join()

    def _pay_again(self, fields: dict[str, str], cookies: dict[str, str], key: str) -> None:
        """The second click, on a connection of its own."""
        browser = Browser(self.base_url)
        try:
            self._send_until_answered(browser, fields, cookies, key)
        finally:
            browser.close()

    def _send_until_answered(
        self, browser: Browser, fields: dict[str, str], cookies: dict[str, str], key: str
    ) -> None:
        for attempt in range(TRIES):
            asked_at = time.monotonic()
            try:
                paid = self._see(browser.post("/checkout/", fields, cookies=cookies), "pay")
            except LOST:
                self._count("no answer to a payment")
                time.sleep(PAUSE_S)
                continue
            if paid.status >= 500:
                time.sleep(PAUSE_S)
                continue
            if paid.status == 302 and paid.location.startswith("/orders/"):
                self._count("bought")
                order = paid.location.split("/")[2]
                self.journal.note("bought", order=order, key=key, asked_at=asked_at, attempt=attempt)
            else:
                self._count(f"refused ({paid.status})")
            return
        self._count("gave up paying")

    # --- selling ------------------------------------------------------------------------------------------

    def _sell_once(self, chance: random.Random, browser: Browser) -> None:
        vendor = chance.choice(self.soaked.vendors)
        item = chance.choice(vendor.items)
        path, headers = f"/v1/listings/{item.sku}", {"Authorization": f"Bearer {vendor.key}"}
        act = chance.random()
        if item.is_restless and act < 0.5:
            body = self._terms(chance, item)
            answer = browser.send("PUT", path, body, headers | {"Content-Type": "application/json"}, {})
        elif act < 0.8:
            answer = browser.send("POST", f"{path}/publish", b"", headers, {})
        else:
            answer = browser.send("GET", path, None, headers, {})
        self._see(answer, "api")
        self._count(f"api {answer.status // 100}xx")
        self._stopped.wait(chance.uniform(0.02, 0.2))

    def _terms(self, chance: random.Random, item: Item) -> bytes:
        hosts = list(self.soaked.hosts)
        if chance.random() < 0.2:
            # One host less: its offer leaves the shop, and comes back with the next PUT.
            hosts.pop(chance.randrange(len(hosts)))
        terms = {
            "variant": item.variant,
            "hosts": hosts,
            "condition": "new",
            "territory": "US",
            "channel": "web",
            "description": f"Edited {chance.randrange(10**6)}",
            "price": {"amount": f"{chance.randrange(9900, 79900) / 100:.2f}", "currency": "USD"},
            "on_hand": self.soaked.on_hand,
        }
        return json.dumps(terms).encode()
