"""A host carrier takes back an approval: every vendor that lists the variant there is told, once."""

import pytest

from authorization import clock, outbox
from authorization.models import OutboxRow, Revocation
from authorization.revocations import RestrictApproval
from seeds.factories import make_sellable
from storefront import approvals_told, events
from tests.storefront.conftest import revoke_agreement, revoke_approval, withdraw

pytestmark = pytest.mark.django_db


def told():
    return list(OutboxRow.objects.filter(event=approvals_told.REVOKED, handler="").order_by("id"))


def test_each_vendor_of_the_variant_on_that_host_is_told_once():
    world = make_sellable()
    beside = make_sellable(variant=world.variant, host=world.host)
    make_sellable(variant=world.variant)
    make_sellable(variant=world.variant, host=world.host, vendor=world.vendor, sku="SECOND")
    revoke_approval(world)
    outbox.pump()
    rows = told()
    assert {row.payload["vendor_id"] for row in rows} == {world.vendor.pk, beside.vendor.pk}
    mine = next(row for row in rows if row.payload["vendor_id"] == world.vendor.pk)
    data = events.present_event(mine)["data"]
    assert (data["host"], data["variant"], data["offers"]) == (world.host.code, world.variant.slug, 2)
    assert data["effective_at"].endswith("Z")
    revocation = Revocation.objects.get()
    assert data["reason_code"] == revocation.reason_code
    approvals_told.tell_of_revoked_approval(
        payload={"revocation_id": revocation.pk}, event_id=rows[0].event_id, at=clock.now()
    )
    assert len(told()) == 2, "a handler may be called twice"


def test_nobody_is_told_of_an_approval_that_was_not_revoked():
    world = make_sellable(software="7.0")
    revoke_agreement(make_sellable())
    withdraw(
        RestrictApproval(
            world.approval.pk, "CARRIER_TESTS_PENDING", "old software only", software_until="6.0"
        )
    )
    outbox.pump()
    assert told() == []
