"""A browser as light as can be: one connection that is kept, cookies, and forms read from pages.

The machine that runs the soak runs the store too; what a shopper costs is missing there.
"""

import http.client
import re
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

from seeds.replay.pages import read_forms

TIMEOUT_S = 30.0
CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
# Offers with a button; those that are out of stock have none.
OFFER = re.compile(r'name="offer" value="(\d+)"')
BUTTON = "Add to cart"

LOST = (OSError, http.client.HTTPException)


class Answer:
    """What came back. `location` is where a redirect leads."""

    def __init__(self, status: int, location: str, text: str) -> None:
        self.status, self.location, self.text = status, location, text

    @property
    def csrf_token(self) -> str:
        found = CSRF.search(self.text)
        return found[1] if found else ""

    @property
    def offer_ids(self) -> set[int]:
        """Of the offers that this page shows with a price."""
        return {int(number) for number in OFFER.findall(self.text)}

    def hidden_fields(self, action: str) -> dict[str, str]:
        """What the form with this action sends if nobody touches it; empty when the page has no such form."""
        forms = [form for form in read_forms(self.text) if form.action == action]
        return dict(forms[0].fields) if forms else {}


class Browser:
    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
        self._referer = base_url
        self.cookies: dict[str, str] = {}

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, fields: dict[str, str], *, cookies: dict[str, str] | None = None) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, urlencode(fields).encode(), headers, cookies)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        cookies: dict[str, str] | None = None,
    ) -> Answer:
        """One request. Raises one of LOST when no answer came; what the server did is then not known.

        `cookies` stand in for the browser's own.
        """
        sent = self.cookies if cookies is None else cookies
        cookie = "; ".join(f"{name}={value}" for name, value in sent.items())
        try:
            self._connection.request(
                method, path, body, {"Cookie": cookie, "Referer": self._referer} | (headers or {})
            )
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except LOST:
            # Half an answer may be left in it.
            self._connection.close()
            raise
        for header in response.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(header).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return Answer(response.status, response.headers.get("Location", ""), text)
