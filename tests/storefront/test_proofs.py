"""Proof of removal: one per withdrawal, signed, true, and sent to the party whose word it was."""

import csv
import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.core.signing import Signer

from authorization import clock, outbox, reconciler
from authorization.models import Delisting, LedgerEntry, OutboxRow, PendingChange, Revocation, Sweep
from authorization.revocations import RevokeAgreement
from carriers.models import HostCarrier
from catalog.models import ListingHost, OfferState, Organization, Variant
from seeds.factories import make_equipment, make_sellable
from storefront import audit, carts, messages, proofs, withdrawals
from storefront.models import Cart, ProofPart, RemovalProof, SentMessage
from tests.storefront.conftest import DESK, check_out, place_hold, revoke_agreement

pytestmark = pytest.mark.django_db


@pytest.fixture
def proof(world):
    revoke_agreement(world)
    outbox.pump()
    return RemovalProof.objects.get()


def hurry_the_reconciler(monkeypatch):
    """It steps in before the sweep that is on its way."""
    monkeypatch.setattr(reconciler, "_under_way", lambda offers, since: set())
    run = reconciler.reconcile(at=clock.now())
    assert run is not None
    assert run.found_live


def issue_again():
    sweep = Sweep.objects.get(revocation__isnull=False)
    payload = {"sweep_id": sweep.pk, "revocation_id": sweep.revocation_id}
    proofs.issue_proof(payload=payload, event_id=uuid4(), at=clock.now())


def test_the_statement_says_what_was_removed_when_and_why(world, proof):
    revocation = Revocation.objects.get()

    assert proof.recipient == "the manufacturer"
    (offer,) = proof.statement["offers"]
    rest = {name: value for name, value in proof.statement.items() if name not in ("offers", "list")}
    assert rest == {
        "fact": world.agreement.code,
        "kind": "agreement",
        "requested_by": "the manufacturer",
        "reason_code": "MANUFACTURER_DISCLAIMS",
        "word_received_at": revocation.word_received_at.isoformat(),
        "decided_at": revocation.effective_at.isoformat(),
        "first_delisted_at": offer["delisted_at"],
        "last_delisted_at": offer["delisted_at"],
        "revision": revocation.revision_id,
        "offer_count": 1,
        "by_reason": {"AGREEMENT_REVOKED": 1},
        "by_host": {world.host.code: 1},
        "survivors": 0,
        "orders_before": 0,
        "late_orders": 0,
    }
    delisting = Delisting.objects.get()
    assert proof.statement["list"]["records"] == str(delisting.pk)
    assert offer["event_id"] == str(delisting.decision_id)
    assert offer["sku"] == world.listing.sku
    assert offer["model_number"] == world.variant.model_number
    assert offer["host"] == world.host.code
    assert offer["reason_codes"] == ["AGREEMENT_REVOKED"]
    assert offer["delisted_at"] >= proof.statement["decided_at"]


def test_orders_from_before_are_counted(world, provider):
    cart = Cart.objects.create(created_at=clock.now())
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    check_out(cart)
    revoke_agreement(world)
    outbox.pump()

    assert RemovalProof.objects.get().statement["orders_before"] == 1


def test_an_offer_that_the_reconciler_took_down_first_is_in_the_proof(world, monkeypatch):
    revoke_agreement(world)
    # The reconciler is quicker than the revocation's own sweep.
    hurry_the_reconciler(monkeypatch)
    outbox.pump()

    assert [offer["sku"] for offer in RemovalProof.objects.get().statement["offers"]] == [world.listing.sku]


def test_a_hold_is_proven_too_and_lists_only_its_own(world):
    other = make_sellable()
    place_hold(("vendor", world.vendor.pk))
    outbox.pump()

    listed = [offer["sku"] for offer in RemovalProof.objects.get().statement["offers"]]
    assert listed == [world.listing.sku]
    assert ListingHost.objects.get(pk=other.offer.pk).state == OfferState.LIVE


def test_nothing_on_sale_is_a_proof_as_well(world):
    place_hold(("territory", "CA"))
    outbox.pump()

    assert RemovalProof.objects.get().statement["offers"] == []


def test_a_sweep_without_a_revocation_proves_nothing(world):
    make_equipment(variant=world.variant, at=clock.now())
    outbox.pump()
    sweep = Sweep.objects.get()

    proofs.issue_proof(
        payload={"sweep_id": sweep.pk, "revocation_id": None}, event_id=uuid4(), at=clock.now()
    )

    assert not RemovalProof.objects.exists()


def test_there_is_one_proof_and_one_message_however_often_it_is_asked_for(world, proof):
    for _ in range(3):
        issue_again()

    assert RemovalProof.objects.get().signature == proof.signature
    assert SentMessage.objects.filter(kind="removal_proof").count() == 1
    assert LedgerEntry.objects.filter(act="proof.issued").count() == 1


def test_the_signature_holds_after_the_database_and_breaks_with_any_change(proof):
    stored = RemovalProof.objects.get()
    assert proofs.verify_proof(stored)

    for tampered in (
        {"statement": stored.statement | {"late_orders": 1}},
        {"statement": stored.statement | {"offers": []}},
        {"recipient": "somebody else"},
        {"public_id": uuid4()},
        {"signature": proof.signature[:-1] + ("A" if proof.signature[-1] != "A" else "B")},
    ):
        forged = RemovalProof.objects.get()
        for field, value in tampered.items():
            setattr(forged, field, value)
        assert not proofs.verify_proof(forged), tampered


def test_the_signature_outlives_a_new_secret_key(proof, settings):
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another key, fifty characters and more, made for this test"
    assert not proofs.verify_proof(proof)

    settings.SECRET_KEY_FALLBACKS = [old]
    assert proofs.verify_proof(proof)


def test_the_party_is_mailed_the_link_where_it_has_an_address(world, settings):
    settings.PUBLIC_URL = "https://shop.example"
    maker = world.variant.device.manufacturer
    Organization.objects.filter(pk=maker.pk).update(contact_email="legal@maker.example")
    change = RevokeAgreement(world.agreement.pk, "MANUFACTURER_DISCLAIMS")
    at = clock.now()
    withdrawals.confirm(
        change,
        digest=withdrawals.preview(change, at=at).impact.digest,
        requested_by=maker.name.upper(),
        word_received_at=at,
        note="",
        by=DESK,
        at=at,
    )
    outbox.pump()

    (sent,) = [message for message in mail.outbox if message.to == ["legal@maker.example"]]
    assert f"https://shop.example/proofs/{RemovalProof.objects.get().public_id}/" in sent.body
    assert "Orders after that moment: 0." in sent.body


def test_a_party_without_an_address_has_its_message_kept(proof):
    message = SentMessage.objects.get(kind="removal_proof")

    assert (message.address, message.mailed_at) == ("", None)
    assert str(proof.public_id) in message.body


def test_a_host_carrier_has_an_address_too(world):
    HostCarrier.objects.filter(pk=world.host.pk).update(contact_email="device@carrier.example")

    assert messages.find_address(world.host.name) == "device@carrier.example"
    assert messages.find_address(world.host.code.upper()) == "device@carrier.example"
    assert messages.find_address("nobody") == ""


# --- for a program ------------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "proofs.md").read_text(encoding="utf-8")


def sell_more(world, count):
    return [
        make_sellable(vendor=world.vendor, variant=world.variant, sku=f"-MORE {n}", host=world.host)
        for n in range(count)
    ]


def fetch(client, proof, end):
    response = client.get(f"/proofs/{proof.public_id}{end}")
    assert response.status_code == 200
    assert response["X-Robots-Tag"] == "noindex"
    return b"".join(response) if response.streaming else response.content


def test_the_documented_check_accepts_a_proof_and_refuses_a_forged_one(client, proof):
    """The snippet of docs/proofs.md, run as it stands there."""
    [snippet] = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102  our own page
    keys = json.loads(client.get("/.well-known/clearline-proof-key.json").content)
    document = json.loads(fetch(client, proof, ".json"))
    lines = fetch(client, proof, "/offers.jsonl")
    assert names["is_genuine"](document, keys, lines) is True

    for part, value in (("recipient", "somebody else"), ("issued_at", "2020-01-01T00:00:00+00:00")):
        assert not names["is_genuine"](document | {"signed": document["signed"] | {part: value}}, keys, lines)
    statement = document["signed"]["statement"]
    late = document["signed"] | {"statement": statement | {"late_orders": 1}}
    assert not names["is_genuine"](document | {"signed": late}, keys, lines)
    assert not names["is_genuine"](document, keys, lines + b"{}\n")
    assert not names["is_genuine"](document, {"keys": []}, lines)


def test_the_list_has_every_offer_and_the_statement_the_first(client, world, monkeypatch):
    monkeypatch.setattr(proofs, "NAMED", 2)
    monkeypatch.setattr(proofs, "_READ_AT_ONCE", 3)
    sell_more(world, 7)
    revoke_agreement(world)
    outbox.pump()
    proof = RemovalProof.objects.get()

    statement = proof.statement
    assert (statement["offer_count"], len(statement["offers"])) == (8, 2)
    assert statement["by_reason"] == {"AGREEMENT_REVOKED": 8}
    raw = fetch(client, proof, "/offers.jsonl")
    assert hashlib.sha256(raw).hexdigest() == statement["list"]["sha256"]
    lines = [json.loads(line) for line in raw.splitlines()]
    assert len({line["sku"] for line in lines}) == 8
    assert lines[:2] == statement["offers"]
    assert {line["event_id"] for line in lines} == {
        str(decision_id) for decision_id in Delisting.objects.values_list("decision_id", flat=True)
    }
    assert proofs.verify_list(proof)
    page = client.get(f"/proofs/{proof.public_id}/").content.decode()
    assert "6 more offers stand in the list" in page


def test_a_sheet_of_the_list_holds_no_formula(client, world):
    sell_more(world, 1)
    revoke_agreement(world)
    outbox.pump()
    rows = list(csv.reader(fetch(client, RemovalProof.objects.get(), "/offers.csv").decode().splitlines()))
    assert rows[0] == ["sku", "model_number", "host", "delisted_at", "reason_codes", "event_id"]
    assert sorted(row[0] for row in rows[1:]) == ["'-MORE 0", world.listing.sku]


def test_what_is_edited_or_taken_down_later_does_not_change_the_list(client, world, proof):
    before = fetch(client, proof, "/offers.jsonl")
    another = make_sellable()
    Variant.objects.filter(pk=world.variant.pk).update(slug="renamed")
    world.listing.variant = another.variant
    world.listing.save(update_fields=["variant"])
    place_hold(("vendor", another.vendor.pk))
    outbox.pump()

    assert fetch(client, proof, "/offers.jsonl") == before
    assert proofs.verify_list(proof)
    Delisting.objects.filter(pk=int(proof.statement["list"]["records"])).update(reason_codes=[])
    assert not proofs.verify_list(proof)


@pytest.fixture
def in_parts(world, monkeypatch):
    """Eight offers to prove, three to a part; what each part takes in is noted."""
    monkeypatch.setattr(proofs, "_PART", 3)
    sell_more(world, 7)
    revoke_agreement(world)
    written: list[int] = []
    write = proofs._part_of

    def noted(ids):
        written.append(len(ids))
        return write(ids)

    monkeypatch.setattr(proofs, "_part_of", noted)
    return written


def test_a_long_list_is_written_by_several_rows_of_work(client, in_parts, monkeypatch):
    monkeypatch.setattr(proofs, "_WRITE_S", -1)
    outbox.pump()
    proof = RemovalProof.objects.get()
    assert in_parts == [3, 3, 2]
    assert OutboxRow.objects.filter(event="proof.to_write", handler="").count() == 2
    assert not ProofPart.objects.exists()
    assert (proof.statement["offer_count"], len(proof.statement["offers"])) == (8, 8)
    assert proof.statement["by_reason"] == {"AGREEMENT_REVOKED": 8}
    instants = sorted(Delisting.objects.values_list("at", flat=True))
    said = (proof.statement["first_delisted_at"], proof.statement["last_delisted_at"])
    assert said == (instants[0].isoformat(), instants[-1].isoformat())
    assert (
        hashlib.sha256(fetch(client, proof, "/offers.jsonl")).hexdigest() == proof.statement["list"]["sha256"]
    )
    assert proofs.verify_proof(proof)
    assert SentMessage.objects.filter(kind="removal_proof").count() == 1


def test_who_comes_after_a_killed_worker_goes_on_behind_the_last_part(in_parts, monkeypatch):
    class Killed(BaseException):
        pass

    write = proofs._part_of

    def killed_at_the_third(ids):
        if len(in_parts) == 2:
            raise Killed
        return write(ids)

    monkeypatch.setattr(proofs, "_part_of", killed_at_the_third)
    with pytest.raises(Killed):
        outbox.pump()
    assert not RemovalProof.objects.exists()
    monkeypatch.setattr(proofs, "_part_of", write)
    issue_again()
    assert in_parts == [3, 3, 2]
    assert RemovalProof.objects.get().statement["offer_count"] == 8


def test_two_workers_at_once_write_one_list(in_parts, monkeypatch):
    """The other one writes all of it, proof included, while this one is at its first part."""
    write = proofs._part_of
    meanwhile = [issue_again]

    def overtaken(ids):
        part = write(ids)
        if meanwhile:
            meanwhile.pop()()
        return part

    monkeypatch.setattr(proofs, "_part_of", overtaken)
    outbox.pump()
    proof = RemovalProof.objects.get()
    assert proof.statement["offer_count"] == 8
    assert proofs.verify_list(proof)
    assert not ProofPart.objects.exists()
    assert SentMessage.objects.filter(kind="removal_proof").count() == 1


def test_a_statement_costs_the_same_for_one_offer_and_for_forty(
    world, django_assert_max_num_queries, settings
):
    # Else so many of one brand would wait for a second person, and nothing be taken down.
    settings.TWO_PEOPLE_ABOVE_BRAND_PERCENT = 101
    sell_more(world, 40)
    revoke_agreement(world)
    outbox.pump()
    RemovalProof.objects.all().delete()
    with django_assert_max_num_queries(40):
        issue_again()
    assert RemovalProof.objects.get().statement["offer_count"] == 41


def test_proofs_from_before_the_keys_still_verify(client, world, proof):
    """They have no id of a key, and were signed with the shop's secret."""
    RemovalProof.objects.update(key_id="", statement={"fact": "AG-1", "offers": [], "late_orders": 0})
    old = RemovalProof.objects.get()
    assert not proofs.verify_proof(old)
    old.signature = Signer(salt="clearline.removal-proof").signature(proofs.canonical(old))
    old.save(update_fields=["signature"])

    assert proofs.verify_proof(RemovalProof.objects.get())
    assert client.get(f"/proofs/{old.public_id}/").status_code == 200
    document = json.loads(fetch(client, old, ".json"))
    assert (document["algorithm"], document["public_key"]) == ("HMAC", None)
    assert client.get(f"/proofs/{old.public_id}/offers.csv").status_code == 404


def test_a_signature_of_another_key_under_our_id_is_refused(proof, settings):
    stranger = proofs._derived("a stranger's secret, fifty characters and more, made for this test")
    proof.signature = b64encode(stranger.sign(proofs.canonical(proof).encode())).decode()
    assert not proofs.verify_proof(proof)
    proof.signature = "not base64!"
    assert not proofs.verify_proof(proof)


def test_the_key_is_made_of_the_secret_and_tells_nothing_of_it(settings):
    settings.SECRET_KEY = "one secret, fifty characters and more, made for this test only"
    first = proofs.public_keys()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another one", [settings.SECRET_KEY]
    after = proofs.public_keys()
    assert after[1:] == first
    assert after[0].key_id != first[0].key_id
    assert len(first[0].key_id) == 16


def test_nobody_finds_a_proof_without_its_link(client, proof):
    for end in ("/", ".json", "/offers.csv", "/offers.jsonl"):
        assert client.get(f"/proofs/{uuid4()}{end}").status_code == 404


@pytest.mark.parametrize("state", [PendingChange.State.CANCELLED, PendingChange.State.DECLINED])
def test_what_came_to_nothing_is_not_proven(world, proof, state):
    revocation = Revocation.objects.get()
    RemovalProof.objects.all().delete()
    kind = PendingChange.Kind.REMOVAL
    PendingChange.objects.create(
        revocation=revocation,
        kind=kind,
        state=state,
        made_by="user:a",
        made_at=clock.now(),
        decided_by="user:b",
        decided_at=clock.now(),
    )
    issue_again()
    assert not RemovalProof.objects.exists()


def test_late_orders_of_this_withdrawal_only_are_counted(world, proof, monkeypatch):
    asked = []

    def late_orders(*, revision, since_order_id):
        asked.append((revision, since_order_id))
        return []

    monkeypatch.setattr(audit, "late_orders", late_orders)
    revocation = Revocation.objects.get()
    proofs._statement(revocation, at=clock.now())
    assert asked == [(revocation.revision_id, 0)]
