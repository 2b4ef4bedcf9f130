"""Proof of removal: one per withdrawal, signed, true, and sent to the party whose word it was."""

from uuid import uuid4

import pytest
from django.core import mail

from authorization import clock, outbox, sweeps
from authorization.models import LedgerEntry, Revocation, Sweep
from authorization.revocations import RevokeAgreement
from carriers.models import HostCarrier
from catalog.models import ListingHost, OfferState, Organization
from seeds.factories import make_sellable
from storefront import carts, messages, proofs, withdrawals
from storefront.models import Cart, RemovalProof, SentMessage
from tests.storefront.conftest import DESK, check_out, place_hold, revoke_agreement

pytestmark = pytest.mark.django_db


@pytest.fixture
def proof(world):
    revoke_agreement(world)
    outbox.pump()
    return RemovalProof.objects.get()


def issue_again():
    sweep = Sweep.objects.get(revocation__isnull=False)
    payload = {"sweep_id": sweep.pk, "revocation_id": sweep.revocation_id}
    proofs.issue_proof(payload=payload, event_id=uuid4(), at=clock.now())


def test_the_statement_says_what_was_removed_when_and_why(world, proof):
    revocation = Revocation.objects.get()

    assert proof.recipient == "the manufacturer"
    assert proof.statement | {"offers": [], "orders_before": 0} == {
        "fact": world.agreement.code,
        "kind": "agreement",
        "requested_by": "the manufacturer",
        "reason_code": "MANUFACTURER_DISCLAIMS",
        "word_received_at": revocation.word_received_at.isoformat(),
        "decided_at": revocation.effective_at.isoformat(),
        "revision": revocation.revision_id,
        "offers": [],
        "survivors": 0,
        "orders_before": 0,
        "late_orders": 0,
    }
    (offer,) = proof.statement["offers"]
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


def test_an_offer_that_another_sweep_took_down_first_is_in_the_proof(world):
    revoke_agreement(world)
    # The reconciler is quicker than the revocation's own sweep.
    sweeps.reconcile(at=clock.now())
    outbox.pump()

    assert [offer["sku"] for offer in RemovalProof.objects.get().statement["offers"]] == [world.listing.sku]
    assert SentMessage.objects.filter(kind="delisted", recipient=world.vendor.name).count() == 1


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
    outbox.pump()
    sweep = Sweep.objects.earliest("pk")

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
