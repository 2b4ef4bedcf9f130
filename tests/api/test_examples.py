"""examples/: the receiver takes what is signed, once; the loop's copy is what the shop says, whatever happens to it."""

import importlib.util
import json
import sqlite3
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from authorization import clock, outbox, revocations
from authorization.models import Fact
from catalog.models import Organization
from seeds.factories import OrganizationFactory
from storefront import webhooks
from storefront.models import WebhookDelivery, WebhookEndpoint
from tests.api.conftest import Caller, SmallWorld
from tests.storefront.conftest import DESK, withdraw
from tests.storefront.receiver import Handler, listening, status
from tests.storefront.test_webhooks import endpoint_of, happen, send

pytestmark = pytest.mark.django_db
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


receiver = load("webhook_receiver")
loop = load("sync_loop")


# --- the receiver -----------------------------------------------------------------------------------------------


@contextmanager
def receiving(secrets: list[str], inbox: Path) -> Any:
    server = receiver.serve(0, secrets, str(inbox))
    server.RequestHandlerClass.log_message = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kept(inbox: Path) -> list[str]:
    if not inbox.exists():
        return []
    with closing(sqlite3.connect(inbox)) as database:
        return [row[0] for row in database.execute("SELECT id FROM inbox ORDER BY rowid")]


def test_the_published_vector_is_taken_and_its_neighbours_are_not() -> None:
    secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    body = (
        b'{"type":"listing.suspended","timestamp":"2026-11-22T12:00:00Z","data":{"event_id":'
        b'"evt_01JDA8Z6Q4W9T2M7K3X5C1V0BN","sku":"PX9-128-BLK","status":"SUSPENDED","decision_id":'
        b'"dec_01JDA8Z5N0R6H4G2F8E1D7C3BA","revision":41872,"reasons":["AGREEMENT_REVOKED"]}}'
    )
    headers = {
        "webhook-id": "evt_01JDA8Z6Q4W9T2M7K3X5C1V0BN",
        "webhook-timestamp": "1795348803",
        "webhook-signature": "v1,K3ssRoi+SJeETLjQrSER1grj95cS3fgOekL0bybuSvs=",
    }
    now = 1795348803.0
    receiver.check(["whsec_AAAA", secret], headers, body, now=now)
    for wrong in (
        {"secrets": ["whsec_AAAA"]},
        {"body": body + b" "},
        {"now": now + receiver.TOLERANCE_S + 1},
        {"now": now - receiver.TOLERANCE_S - 1},
        {"headers": headers | {"webhook-id": "evt_other"}},
        {"headers": headers | {"webhook-timestamp": "1795348804"}},
        {"headers": headers | {"webhook-signature": ""}},
    ):
        given = {"secrets": [secret], "headers": headers, "body": body, "now": now} | wrong
        with pytest.raises(receiver.NotSigned):
            receiver.check(**given)


def test_what_the_shop_sends_is_kept_once_and_what_others_send_is_not(settings: Any, tmp_path: Path) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    vendor: Organization = OrganizationFactory.create()
    endpoint, secret = endpoint_of(vendor, "http://127.0.0.1:9/")
    inbox = tmp_path / "inbox.sqlite3"
    with receiving([secret], inbox) as url:
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(url=url)
        ids = happen(vendor, 2)
        send()
        assert sorted(kept(inbox)) == sorted(ids)
        assert not WebhookDelivery.objects.filter(delivered_at__isnull=True).exists()
        for delivery in WebhookDelivery.objects.select_related("endpoint"):
            webhooks.replay(delivery=delivery, by=DESK, at=clock.now())
        webhooks.ping(endpoint=WebhookEndpoint.objects.get(), by=DESK, at=clock.now())
        send()
        # The ping is one more; the two are the same.
        assert len(kept(inbox)) == 3
        assert not WebhookDelivery.objects.filter(delivered_at__isnull=True).exists()
        # With a secret that is not its own nothing gets in.
        WebhookEndpoint.objects.update(secret="whsec_" + "A" * 32)
        happen(vendor)
        send()
        assert len(kept(inbox)) == 3
        assert WebhookDelivery.objects.get(delivered_at__isnull=True).last_status == 401


# --- the loop ---------------------------------------------------------------------------------------------------


class Here(loop.Shop):  # type: ignore[name-defined]
    """The same calls, without a network. `breaks_at`: the call that fails, as a process that is killed."""

    def __init__(self, api: Caller) -> None:
        super().__init__("http://unused", "unused")
        self.api, self.calls, self.breaks_at = api, 0, -1

    def get(self, path: str, **query: Any) -> Any:
        self.calls += 1
        if self.calls == self.breaks_at:
            raise KeyboardInterrupt
        response = self.api.get(path + ("?" + loop.urlencode(query) if query else ""))
        if response.status_code == 404:
            raise loop.Gone(path)
        if response.status_code == 410:
            raise loop.LogExpired
        assert response.status_code == 200, response.content
        return json.loads(response.content)


def copied(database: sqlite3.Connection) -> dict[str, str]:
    return {sku: json.loads(body)["status"] for sku, body in database.execute("SELECT id, body FROM listing")}


def told(api: Caller) -> dict[str, str]:
    page = json.loads(api.get("/v1/listings?limit=200").content)
    return {row["sku"]: row["status"] for row in page["data"]}


def test_the_copy_follows_and_survives_being_killed_anywhere(
    api: Caller, world: SmallWorld, tmp_path: Path
) -> None:
    for sku in ("A", "B", "C"):
        api.put(f"/v1/listings/{sku}", world.body())
    outbox.pump()
    shop, path = Here(api), str(tmp_path / "copy.sqlite3")
    database = loop.open_copy(path)
    shop.breaks_at = 2
    with pytest.raises(KeyboardInterrupt):
        loop.go_round(shop, database)
    assert (copied(database), database.execute("SELECT * FROM place").fetchall()) == ({}, [])

    loop.go_round(shop, database)
    assert copied(database) == told(api) == {"A": "DRAFT", "B": "DRAFT", "C": "DRAFT"}

    api.post("/v1/listings/A/publish")
    api.put("/v1/listings/D", world.body())
    api.delete("/v1/listings/B")
    outbox.pump()
    for breaks_after in range(1, 6):
        shop.breaks_at = shop.calls + breaks_after
        database.close()
        database = loop.open_copy(path)
        try:
            loop.go_round(shop, database)
        except KeyboardInterrupt:
            continue
        break
    assert copied(database) == told(api)
    assert copied(database)["A"] == "LIVE"

    # What was not this vendor's doing comes as well; and after too long an absence all is read anew.
    withdraw(
        revocations.RevokeAgreement(Fact.objects.get(code=world.agreement_code).pk, "AGREEMENT_TERMINATED")
    )
    outbox.pump()
    shop.breaks_at = -1
    loop.go_round(shop, database)
    assert copied(database) == told(api)
    assert copied(database)["A"] == "SUSPENDED"
    database.close()


def test_after_too_long_an_absence_all_is_read_anew(api: Caller, world: SmallWorld, tmp_path: Path) -> None:
    api.put("/v1/listings/A", world.body())
    outbox.pump()

    class Forgetful(Here):
        def get(self, path: str, **query: Any) -> Any:
            if path == "/v1/events":
                raise loop.LogExpired
            return super().get(path, **query)

    database = loop.open_copy(str(tmp_path / "copy.sqlite3"))
    loop.put(database, "listing", "GONE", {"status": "LIVE"})
    database.execute("INSERT INTO place VALUES ('1')")
    loop.go_round(Forgetful(api), database)
    assert copied(database) == {"A": "DRAFT"}
    database.close()


def test_what_an_order_did_to_the_stock_is_read_too(tmp_path: Path) -> None:
    answers = {
        "/v1/events": {
            "data": [{"type": "order.placed", "data": {"order_id": "7", "state": "placed"}}],
            "next_cursor": "2",
            "has_more": False,
        },
        "/v1/orders/7": {"id": "7", "lines": [{"sku": "A", "quantity": 2}]},
        "/v1/listings/A": {"sku": "A", "status": "LIVE", "on_hand": 3},
    }

    class Scripted(loop.Shop):  # type: ignore[name-defined]
        def get(self, path: str, **query: Any) -> Any:
            return answers[path]

    database = loop.open_copy(str(tmp_path / "copy.sqlite3"))
    loop.put(database, "listing", "A", {"sku": "A", "status": "LIVE", "on_hand": 5})
    database.execute("INSERT INTO place VALUES ('1')")
    loop.go_round(Scripted("http://unused", "unused"), database)
    [kept_listing] = database.execute("SELECT body FROM listing").fetchall()
    assert json.loads(kept_listing[0])["on_hand"] == 3
    database.close()


def test_the_loop_waits_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Handler, "do_GET", Handler.do_POST, raising=False)

    def found(handler: Any) -> None:
        handler.answer(200, {}, b'{"ok": true}')

    with listening() as server:
        shop = loop.Shop(server.url, "sk_test_x", sleep=waited.append)
        server.otherwise = found
        server.answers = [status(429, Retry_After="7"), status(503)]
        assert shop.get("/v1/me") == {"ok": True}
        assert waited == [7.0, 4]
        server.answers = [status(404)]
        with pytest.raises(loop.Gone):
            shop.get("/v1/listings/x")
        server.answers = [status(410)]
        with pytest.raises(loop.LogExpired):
            shop.get("/v1/events", after=1)
