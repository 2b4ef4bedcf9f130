"""The importer's side: its listings over the REST API, with its key, as an outside engineer would do it."""

from typing import Any, Self

import httpx

from seeds.world2016 import Phone


class VendorClient:
    def __init__(self, base_url: str, key: str) -> None:
        self.headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=base_url, headers=self.headers, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def put(self, phone: Phone, *, host: str) -> httpx.Response:
        body: dict[str, Any] = {
            "variant": phone.variant_slug,
            "hosts": [host],
            "condition": "new",
            "territory": "US",
            "channel": "web",
            "description": "Sold and fulfilled by Omni Electronics HK.",
            "price": {"amount": str(phone.price_amount), "currency": "USD"},
            "on_hand": phone.on_hand,
        }
        return self._client.put(f"/v1/listings/{phone.sku}", json=body)

    def publish(self, phone: Phone) -> httpx.Response:
        return self._client.post(f"/v1/listings/{phone.sku}/publish")

    def get(self, sku: str) -> httpx.Response:
        return self._client.get(f"/v1/listings/{sku}")


def reasons_of(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """(code, message) of every reason in an answer of the API, each once."""
    rows = [reason for offer in answer.get("offers", []) for reason in offer.get("reasons", [])]
    rows += answer.get("reasons", [])
    return list(dict.fromkeys((row["code"], row["message"]) for row in rows))
