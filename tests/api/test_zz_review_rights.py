"""Scratch."""
from datetime import timedelta
from typing import Any
from dataclasses import replace

import pytest

from authorization import clock, holds, agreements
from authorization.changes import PlaceHold
from authorization.models import AgreementVersion, OutboxRow, Fact
from authorization.revocations import RevokeAgreement
from catalog.models import Listing
from seeds import factories
from storefront import appeals, withdrawals
from storefront.appeals import Remedy
from storefront.models import Case, TakedownRequest
from tests.api.claimants import *
from tests.api.conftest import problem
from tests.api.test_cases import appeal, decide, incident, xiaomi, omni, stopped, MI_4, DESK
from tests.storefront.conftest import withdraw

pytestmark = pytest.mark.django_db


def test_let_through_is_bound_to_content(incident, omni, stopped):
    opened = appeal(omni)
    decide(opened["code"], "partly", Remedy.LET_THROUGH)
    react()
    assert "mi-4" in incident.live()
    listing = incident.offers["mi-4"].listing
    listing.refresh_from_db()
    other = incident.offers["mi-3"].listing.variant
    Listing.objects.filter(pk=listing.pk).update(variant=other)
    incident.offers["mi-4"] = reread(incident.offers["mi-4"])
    assert "mi-4" not in incident.on_sale()


def test_suspended_agreement_appealed(incident, omni):
    v = AgreementVersion.objects.filter(grantee=incident.omni).select_related("head").first()
    withdraw(PlaceHold(code="H-1", placed_by="shop", reason_code="SHOP_REVIEW", note="x", targets=(("fact", str(v.head_id)),)))
    react()
    made = post(omni, "/v1/cases", {"agreement": v.head.code, "statement": "why"})
    print(made.content)
    assert made.status_code == 201


def test_undo_revocation_of_suspended(incident, omni):
    v = AgreementVersion.objects.filter(grantee=incident.omni, grantor=incident.xiaomi).select_related("head").first()
    withdraw(PlaceHold(code="H-1", placed_by="shop", reason_code="SHOP_REVIEW", note="x", targets=(("fact", str(v.head_id)),)))
    before = incident.on_sale()
    r = withdraw(RevokeAgreement(v.head_id, "AGREEMENT_TERMINATED"))
    try:
        withdrawals.undo(revocation=r, reason="x", is_mistake=True, by=DESK, at=clock.now())
    except Exception as e:
        print(repr(e))
    assert incident.on_sale() == before


def test_disclaim_again_after_let_through(incident, xiaomi):
    said = read(ask(xiaomi, {"brands": ["xiaomi"], "vendors": ["omni-electronics-hk"]}, reason="MANUFACTURER_DISCLAIMS"), 201)
    react()
    read(post(xiaomi, f"/v1/takedown-requests/{said['id']}/lift", {"reason": "ok", "vendors": ["omni-electronics-hk"]}))
    react()
    assert "mi-4" in incident.live()
    again = post(xiaomi, f"/v1/claims/{incident.offers['mi-4'].pk}/disclaim", {"statement": "no more"})
    print(again.content)
    assert "mi-4" not in incident.on_sale()


def test_long_statement(incident, xiaomi):
    said = read(ask(xiaomi, {"brands": ["xiaomi"]}, reason="SAFETY", statement="é" * 4000), 201)
    react()
    read(post(xiaomi, f"/v1/takedown-requests/{said['id']}/lift", {"reason": "é" * 4000, "vendors": ["omni-electronics-hk"]}))
    read(post(xiaomi, f"/v1/takedown-requests/{said['id']}/lift", {"reason": "é" * 4000}))


def test_warned_after_cancel(incident):
    at = clock.now()
    a = factories.make_agreement(grantor=incident.xiaomi, grantee=incident.omni, at=at, code="AG-1", valid_until=at + timedelta(days=60))
    pass
