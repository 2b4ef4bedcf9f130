"""Public notices: drafted from the facts, edited and published by people, then left as they are."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import clock, offers, outbox, reinstatements
from authorization.actors import SYSTEM
from authorization.models import LedgerEntry, Reinstatement, Revocation, Sweep
from seeds.factories import (
    BUILDER,
    OrganizationFactory,
    VariantFactory,
    make_agreement,
    make_approval,
    make_sellable,
    make_terms,
)
from storefront import notices
from storefront.models import Notice
from storefront.notices import InvalidNotice
from tests.storefront.conftest import DESK, place_hold, revoke_agreement

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft(world):
    revoke_agreement(world)
    outbox.pump()
    return Notice.objects.get()


def test_the_draft_says_what_why_on_whose_word_and_what_becomes_of_orders(world, draft):
    assert world.vendor.name in draft.title
    assert world.variant.model_number in draft.body
    assert world.host.name in draft.body
    assert "the seller has no authority" in draft.body
    assert "the manufacturer" in draft.body
    assert "not been shipped is on hold" in draft.body
    # The desk may ship what was lawfully sold, although it may not be sold again.
    assert "ship it, where it may still be sent, or refund it" in draft.body
    assert draft.published_at is None
    assert [revocation.fact for revocation in draft.revocations.all()] == [world.agreement]
    assert LedgerEntry.objects.filter(act="notice.drafted", subject_id=str(draft.pk)).exists()


def test_a_second_delivery_drafts_nothing_more(draft):
    sweep = Sweep.objects.get(revocation__isnull=False)
    payload = {"sweep_id": sweep.pk, "revocation_id": sweep.revocation_id}

    notices.draft_notice(payload=payload, event_id=uuid4(), at=clock.now())

    assert Notice.objects.get().body == draft.body


def test_what_nobody_could_buy_needs_no_notice(world):
    elsewhere = OrganizationFactory.create()
    place_hold(("vendor", elsewhere.pk))
    outbox.pump()

    assert not Notice.objects.exists()


def test_two_withdrawals_of_one_vendor_are_one_story_and_keep_what_people_wrote(world):
    second = VariantFactory.create()
    make_agreement(
        grantor=second.device.manufacturer,
        grantee=world.vendor,
        models=[second],
        at=clock.now(),
        code="AG-2nd",
    )
    make_approval(host=world.host, variant=second, at=clock.now(), code="CA-2nd")
    saved = offers.save_listing(
        vendor=world.vendor,
        sku="SKU-2nd",
        terms=make_terms(variant=second, hosts=[world.host]),
        by=BUILDER,
        at=clock.now(),
    )
    offers.publish_listing(listing=saved.listing, by=BUILDER, at=clock.now())
    revoke_agreement(world)
    outbox.pump()
    notices.edit_notice(
        notice=Notice.objects.get(),
        title="What we know",
        body="Written by a person.",
        by=DESK,
        at=clock.now(),
    )

    place_hold(("manufacturer", second.device.manufacturer_id))
    outbox.pump()

    notice = Notice.objects.get()
    assert notice.revocations.count() == 2
    assert notice.title == "What we know"
    assert notice.body.startswith("Written by a person.\n\n")
    assert not notice.body.endswith(notices._WHAT_NEXT), "added to only"
    assert second.model_number in notice.body


def test_each_withdrawal_has_its_heading_and_what_next_stands_once_at_the_end(world, draft):
    revocation = Revocation.objects.get()
    section = draft.body.removesuffix(notices._WHAT_NEXT)
    heading = f"{notices._when(revocation.effective_at)}, {world.host.name}"
    assert section.splitlines()[0] == heading

    notice = Notice.objects.get()
    notice.body = notices._with_section(notice, "20 January 2016, T-Mobile\n\nMore.")

    assert notice.body == f"{section}20 January 2016, T-Mobile\n\nMore.\n\n{notices._WHAT_NEXT}"


def test_withdrawals_of_other_vendors_have_notices_of_their_own(world):
    other = make_sellable()
    revoke_agreement(world)
    outbox.pump()
    revoke_agreement(other)
    outbox.pump()

    assert Notice.objects.count() == 2


def test_a_published_notice_is_not_added_to(world, draft):
    notices.publish_notice(notice=draft, by=DESK, at=clock.now())
    body = Notice.objects.get().body

    place_hold(("vendor", world.vendor.pk))
    outbox.pump()

    assert Notice.objects.get(pk=draft.pk).body == body


def test_slugs_do_not_collide(world, draft):
    assert notices._free_slug(draft.slug) == f"{draft.slug}-2"
    assert draft.slug == Notice.objects.get().slug


def test_a_person_publishes_and_the_ledger_keeps_the_text(draft):
    at = clock.now()
    notice = notices.publish_notice(notice=draft, by=DESK, at=at)

    assert (notice.published_at, notice.published_by) == (at, "user:desk")
    entry = LedgerEntry.objects.get(act="notice.published")
    assert entry.evidence["body"] == draft.body


def test_the_system_does_not_publish(draft):
    with pytest.raises(InvalidNotice, match="a person"):
        notices.publish_notice(notice=draft, by=SYSTEM, at=clock.now())


def test_a_published_notice_cannot_be_edited_or_published_again(draft):
    notices.publish_notice(notice=draft, by=DESK, at=clock.now())

    # The caller may hold a copy from before.
    with pytest.raises(InvalidNotice, match="stays as it is"):
        notices.edit_notice(notice=draft, title="New", body="New", by=DESK, at=clock.now())
    with pytest.raises(InvalidNotice, match="stays as it is"):
        notices.publish_notice(notice=draft, by=DESK, at=clock.now() + timedelta(minutes=1))
    assert LedgerEntry.objects.filter(act="notice.published").count() == 1


def test_what_was_added_meanwhile_is_neither_wiped_out_nor_published_unread(draft):
    begun_from = draft.body
    Notice.objects.filter(pk=draft.pk).update(body=f"{draft.body}\n\nA second withdrawal.")

    with pytest.raises(InvalidNotice, match="changed since you opened it"):
        notices.edit_notice(
            notice=draft, title="T", body="Mine.", by=DESK, at=clock.now(), seen_body=begun_from
        )

    with pytest.raises(InvalidNotice, match="changed since you opened it"):
        notices.publish_notice(notice=draft, by=DESK, at=clock.now(), seen_body=begun_from)

    notice = Notice.objects.get()
    assert "A second withdrawal." in notice.body
    assert notice.published_at is None


@pytest.mark.parametrize(
    ("field", "changes"),
    [("title", {"title": "  "}), ("title", {"title": "x" * 201}), ("body", {"body": " "})],
)
def test_an_empty_or_endless_notice_is_refused_at_its_field(draft, field, changes):
    with pytest.raises(InvalidNotice) as refused:
        notices.edit_notice(notice=draft, **{"title": "T", "body": "B", **changes}, by=DESK, at=clock.now())

    assert refused.value.field == field
    assert Notice.objects.get().body == draft.body


# --- drafted from what was really taken down ----------------------------------------------------------------


def test_nothing_is_drafted_before_the_sweep_is_done(world):
    revoke_agreement(world)
    event = {"revocation_id": Revocation.objects.get().pk, "sweep_id": 0}
    notices.draft_notice(payload=event, event_id=uuid4(), at=clock.now())
    assert not Notice.objects.exists()


def test_what_survived_is_not_named(world):
    """One vendor's phones on two hosts: losing one host is no story about the other."""
    elsewhere = make_sellable(vendor=world.vendor, variant=world.variant, sku="ELSEWHERE")
    outbox.pump()
    place_hold(("host", world.host.pk))
    outbox.pump()
    body = Notice.objects.get().body
    assert world.host.name in body
    assert elsewhere.host.name not in body


def test_a_withdrawal_of_several_records_is_told_as_well(world):
    """A correction names no single fact."""
    revoke_agreement(world)
    outbox.pump()
    Notice.objects.all().delete()
    Revocation.objects.update(fact=None, subject="bands of three networks")
    sweep = Sweep.objects.get(revocation__isnull=False)
    event = {"revocation_id": sweep.revocation_id, "sweep_id": sweep.pk}
    notices.draft_notice(payload=event, event_id=uuid4(), at=clock.now())
    assert world.variant.model_number in Notice.objects.get().body


def test_many_phones_vendors_and_hosts_are_counted_and_the_first_named(monkeypatch):
    monkeypatch.setattr(notices, "NAMED_IN_NOTICE", 2)
    worlds = [make_sellable() for _ in range(3)]
    outbox.pump()
    place_hold(("territory", "US"))
    outbox.pump()
    notice = Notice.objects.get()
    assert notice.title == "Phones of 3 vendors taken off sale"
    named = [
        world.variant.model_number for world in worlds if f"({world.variant.model_number})" in notice.body
    ]
    assert len(named) == 2
    assert notice.body.count("and 1 more") == 4, "hosts twice, vendors, phones"


def test_the_queries_of_a_draft_grow_neither_with_offers_nor_with_drafts(settings):
    settings.OUTBOX_HANDLERS = {
        event: [name for name in handlers if name != "storefront.notices.draft_notice"]
        for event, handlers in settings.OUTBOX_HANDLERS.items()
    }

    def queries(*targets: tuple[str, object], code: str) -> int:
        outbox.pump()
        place_hold(*targets, code=code)
        outbox.pump()
        sweep = Sweep.objects.get(revocation__fact__code=code)
        event = {"sweep_id": sweep.pk, "revocation_id": sweep.revocation_id}
        with CaptureQueriesContext(connection) as seen:
            notices.draft_notice(payload=event, event_id=uuid4(), at=clock.now())
        return len(seen)

    one = make_sellable()
    few = queries(("vendor", one.vendor.pk), code="HOLD-FIRST")
    for place in range(3):
        other = make_sellable()
        assert queries(("vendor", other.vendor.pk), code=f"HOLD-{place}") <= few + 1
    vendor = make_sellable().vendor
    for place in range(4):
        make_sellable(vendor=vendor, sku=f"SKU-{place}")
    assert queries(("vendor", vendor.pk), code="HOLD-MANY") <= few + 1
    assert Notice.objects.count() == 5


# --- and put back -------------------------------------------------------------------------------------------


def undo(**changes: Any) -> None:
    terms: dict[str, Any] = {"reason": "A slip of the hand: internal words.", "is_mistake": False}
    reinstatements.undo(
        revocation=Revocation.objects.latest("pk"), by=DESK, at=clock.now(), **terms | changes
    )
    outbox.pump()


def test_an_undone_withdrawal_adds_back_on_sale_to_the_draft(world, draft):
    undo(is_mistake=True)

    notice = Notice.objects.get()
    assert notice.body.startswith(draft.body.removesuffix(notices._WHAT_NEXT))
    assert notice.body.endswith(notices._WHAT_NEXT)
    assert "back on sale" in notice.body
    assert "These phones are on sale again" in notice.body
    assert "that was our mistake" in notice.body
    assert "internal words" not in notice.body, "why it was undone is the desk's to tell"


def test_an_undone_withdrawal_is_a_draft_of_its_own_once_the_notice_is_published(world, draft):
    notices.publish_notice(notice=draft, by=DESK, at=clock.now())
    undo()

    told, new = Notice.objects.order_by("id")
    assert told.body == draft.body
    assert new.published_at is None
    assert "back on sale" in new.body
    assert "we stopped selling" not in new.body, "that was told"
    assert "our mistake" not in new.body


def test_a_second_delivery_of_the_way_back_adds_nothing(world, draft):
    undo()
    body = Notice.objects.get().body
    sweep = Sweep.objects.get(revision__reinstatement=Reinstatement.objects.get())
    for _ in range(2):
        event = {"sweep_id": sweep.pk, "revocation_id": None}
        notices.draft_notice(payload=event, event_id=uuid4(), at=clock.now())
    assert Notice.objects.get().body == body


def test_what_is_undone_but_not_put_back_says_so(world, draft, settings):
    settings.RELIST_AUTOMATICALLY = False
    undo()
    assert "The sellers may offer these phones again." in Notice.objects.get().body


def test_a_withdrawal_undone_before_its_sweep_ends_is_told_whole(world, settings):
    """The sweep of the way back may be done first: the draft then tells of both, in order."""
    drafting = "storefront.notices.draft_notice"
    whole = settings.OUTBOX_HANDLERS
    settings.OUTBOX_HANDLERS = {
        event: [name for name in handlers if name != drafting] for event, handlers in whole.items()
    }
    revoke_agreement(world)
    outbox.pump()
    undo()
    sweep = Sweep.objects.get(revocation__isnull=False)
    event = {"sweep_id": sweep.pk, "revocation_id": sweep.revocation_id}
    notices.draft_notice(payload=event, event_id=uuid4(), at=clock.now())
    body = Notice.objects.get().body
    assert body.index("we stopped selling") < body.index("back on sale")
