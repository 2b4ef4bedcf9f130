"""docs/webhooks.md: its two programs work as written, and its tables are what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from catalog.models import Organization
from seeds.factories import OrganizationFactory
from storefront import events, webhook_calls, webhooks
from tests.api.conftest import caller_of
from tests.storefront.receiver import listening
from tests.storefront.test_webhooks import endpoint_of, happen, send

pytestmark = pytest.mark.django_db
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def programs() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(block, names)  # noqa: S102  our own page
    return names


@pytest.fixture
def vendor() -> Organization:
    return OrganizationFactory.create()


def test_the_sync_loop_takes_every_event_once(vendor: Organization) -> None:
    api = caller_of(vendor)
    sync = programs()["sync"]
    taken: list[str] = []

    def read_on(after: Any) -> Any:
        return sync(
            lambda path: json.loads(api.get(path).content), lambda event: taken.append(event["id"]), after
        )

    expected = happen(vendor, 205)
    after = read_on(0)
    expected += happen(vendor, 3)
    read_on(read_on(after))
    assert taken == expected


def test_the_receiver_takes_what_is_ours_once_and_nothing_else(vendor: Organization, settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with listening() as receiver:
        _, secret = endpoint_of(vendor, receiver.url)
        [event_id] = happen(vendor)
        send()
    [came] = receiver.seen
    receive = programs()["receive"]
    seen: set[str] = set()
    for _ in range(2):
        assert receive(secret, came.headers, came.body, seen) == 204
    assert seen == {event_id}
    assert receive(secret, came.headers, came.body + " ", seen) == 400


def test_the_figures_of_the_page_are_those_of_the_code(vendor: Organization) -> None:
    pauses = re.findall(r"(\d+) (s|min|h)\b", PAGE.split("at once, then after ")[1].split(", each")[0])
    seconds = {"s": 1, "min": 60, "h": 3600}
    assert tuple(int(number) * seconds[unit] for number, unit in pauses) == webhooks.RETRY_AFTER_S
    assert f"within {webhook_calls.CALL_S:.0f} seconds" in PAGE
    assert f"At most {webhooks.MAX_ENDPOINTS} endpoints" in PAGE
    assert f"kept for {events.KEPT.days} days" in PAGE
    assert all(f"`{name}`" in PAGE for name in events.EVENT_TYPES)
