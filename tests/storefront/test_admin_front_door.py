"""The desk's one front door: every way authority ends is looked at, confirmed, perhaps waits, and can be gone back."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import agreements, approvals, clock, decisions, groundwork, holds, outbox
from authorization.models import (
    AgreementVersion,
    ApprovalVersion,
    HoldVersion,
    LedgerEntry,
    PendingChange,
    Reinstatement,
    Revision,
    Revocation,
    Sweep,
)
from authorization.sweeps import Progress
from carriers.models import HostingVersion, NetworkVersion
from catalog.models import ListingHost, OfferState, Organization, VariantVersion
from seeds.factories import BUILDER as BY
from seeds.factories import make_affiliation, make_hold, make_policy, make_sellable
from storefront import carts
from storefront.admin.groundwork_forms import say_recorded
from storefront.admin.sweeps import say_progress, say_seconds
from storefront.roles import AUDITOR, CATALOG, DESK
from tests.authorization.tampering import tampering
from tests.storefront.conftest import check_out, place_hold, revoke_agreement
from tests.storefront.desk_pages import (
    act_url,
    client_of,
    go_through,
    hidden,
    list_url,
    page,
    review,
    text,
    version_on,
    word,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk():
    return client_of(DESK)


@pytest.fixture
def second():
    """Somebody else of the desk."""
    return client_of(DESK, name="second")


@pytest.fixture
def two_people(settings):
    """Every removal wants a second person."""
    settings.TWO_PEOPLE_ABOVE_OFFERS = 0


def state_of(world):
    return ListingHost.objects.get(pk=world.offer.pk).state


def revoke_url(world):
    return reverse("admin:revoke_agreement", args=[world.agreement.pk])


def withdrawal_url(revocation):
    return act_url(revocation, "change")


def last_withdrawal():
    return Revocation.objects.latest("id")


# --- who may ------------------------------------------------------------------------------------------------


@pytest.fixture
def doors(world, two_people):
    """Every page where authority is taken away or given back, and whether the keeper of the catalog may use it."""
    at = clock.now()
    maker = world.variant.device.manufacturer
    parent = make_sellable().variant.device.manufacturer
    family = make_affiliation(parent=parent, child=maker, at=at)
    hold = make_hold(targets=[("vendor", str(world.vendor.pk))], at=at)
    exemption = holds.Exemption((("territory", "US"),), at)
    holds.exempt(fact=hold, exemption=exemption, by=BY, at=at, reason="told")
    record_network(world)
    record_radio(world)
    revoke_agreement(world)
    pending = PendingChange.objects.get()
    decide = [act_url(pending, act) for act in ("approve", "decline", "cancel")]
    return {
        reverse("admin:restrict_approval", args=[world.approval.pk]): False,
        reverse("admin:end_affiliation", args=[family.pk]): False,
        reverse("admin:end_exemption", args=[hold.pk, 1]): False,
        reverse("admin:undo_withdrawal", args=[last_withdrawal().pk]): False,
        reverse("admin:authorization_policyversion_add"): False,
        act_url(world.vendor, "suspend"): False,
        act_url(approvals.current(world.approval), "limit"): False,
        **dict.fromkeys(decide, False),
        act_url(world.variant, "correct_radio"): True,
        act_url(world.hosting, "correct_hosting"): True,
        act_url(NetworkVersion.objects.get().head, "correct_network"): True,
    }


@pytest.mark.parametrize("role", [AUDITOR, CATALOG])
def test_who_may_not_take_authority_away_has_no_way_in(doors, role):
    client = client_of(role)
    before = (Revision.objects.count(), LedgerEntry.objects.count())

    for url, is_for_catalog in doors.items():
        allowed = is_for_catalog and role == CATALOG
        assert client.get(url).status_code == (200 if allowed else 403), url
        if not allowed:
            assert client.post(url, word(reason="x", step="confirm")).status_code == 403, url
    assert (Revision.objects.count(), LedgerEntry.objects.count()) == before


def test_the_desk_may_use_every_door(doors, second):
    for url in doors:
        assert second.get(url).status_code in (200, 302), url


# --- for a later day ----------------------------------------------------------------------------------------


@pytest.fixture
def planned(desk, world):
    """A revocation that takes effect in two days."""
    url = revoke_url(world)
    later = clock.now() + timedelta(days=2)
    shown, sends = review(desk, url, word(effective_at=text(later)))
    assert "Plan it for that time" in page(shown)
    assert f"What falls on {later:%Y-%m-%d}" in page(shown)
    done = desk.post(url, sends, follow=True)
    assert "until then it can be cancelled" in page(done)
    return last_withdrawal()


def test_a_withdrawal_to_come_takes_nothing_away_and_can_be_cancelled(desk, second, world, planned):
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    pending = PendingChange.objects.get()
    listed = page(desk.get(list_url(AgreementVersion)))
    assert "revocation to come" in listed
    assert act_url(agreements.current(world.agreement), "revoke") in listed, "it may be brought forward"
    assert act_url(agreements.current(world.agreement), "narrow") not in listed
    waiting = page(desk.get(list_url(PendingChange)))
    assert "Waiting 1</a>" in waiting
    # Two days ahead, less what the test took: rounded to seconds.
    assert re.search(r"takes effect in (1 day 23 h|2 days)", waiting)
    shown = page(desk.get(withdrawal_url(planned)))
    assert "Until then all of it stays on sale" in shown
    assert act_url(pending, "cancel") in shown
    assert 'http-equiv="refresh"' not in shown

    assert "This field is required" in page(second.post(act_url(pending, "cancel"), {"reason": ""}))
    assert second.post(act_url(pending, "cancel"), {"reason": "They wrote again."}).status_code == 302

    pending.refresh_from_db()
    assert (pending.state, pending.decided_by) == ("cancelled", "user:second")
    assert agreements.current(world.agreement).state == "active"
    shown = page(desk.get(withdrawal_url(planned)))
    assert "They wrote again." in shown
    assert "Undo" not in shown
    assert "None" not in shown
    assert "Waiting 0</a>" in page(desk.get(list_url(PendingChange)))
    assert str(planned)[1:] in page(desk.get(list_url(PendingChange), {"part": "cancelled"}))
    again = page(second.post(act_url(pending, "cancel"), {"reason": "Again."}, follow=True))
    assert "Nothing is left to decide: cancelled." in again


def test_what_has_taken_effect_is_not_cancelled(desk, world, planned, monkeypatch):
    pending = PendingChange.objects.get()
    monkeypatch.setattr(clock, "now", lambda at=planned.effective_at + timedelta(seconds=1): at)

    refused = page(desk.post(act_url(pending, "cancel"), {"reason": "Too late."}))

    assert "It took effect on" in refused
    assert "Too late." in refused
    pending.refresh_from_db()
    assert pending.state == "open"
    assert agreements.current(world.agreement).revoked_at == planned.effective_at


def test_a_day_that_came_with_every_worker_dead_is_said_and_undone(desk, world, planned, monkeypatch):
    pending = PendingChange.objects.get()
    after = planned.effective_at + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: after)

    shown = page(desk.get(withdrawal_url(planned)))
    assert "stays on sale" not in shown
    assert "Nothing of it could be sold from" in shown
    assert "the sale has stopped already" in shown
    assert act_url(pending, "cancel") not in shown
    undo_url = reverse("admin:undo_withdrawal", args=[planned.pk])
    assert undo_url in shown
    assert "waits for a worker" in page(desk.get(list_url(Revocation)))
    assert "took effect" in page(desk.get(list_url(PendingChange)))
    sent_back = page(desk.get(act_url(pending, "cancel"), follow=True))
    assert "It took effect on" in sent_back
    assert "Undo the withdrawal instead" in sent_back

    digest = desk.get(undo_url).context["form"].initial["digest"]
    assert desk.post(undo_url, {"reason": "A slip.", "digest": digest}).status_code == 302
    assert decisions.decide_offers([world.offer], at=after)[0].is_allowed
    assert "Undone" in page(desk.get(withdrawal_url(planned)))


@pytest.mark.parametrize(
    ("effective_at", "said"),
    [
        ("2016-01-01T00:00:00", "That time is past"),
        ("2999-01-01T00:00:00", "nobody remembers longer"),
        ("soon", "Enter a valid date/time"),
    ],
)
def test_a_wrong_time_is_refused_at_its_field_and_nothing_typed_is_lost(desk, world, effective_at, said):
    shown = page(desk.post(revoke_url(world), word(effective_at=effective_at, step="review")))

    assert said in shown
    assert "By e-mail from their press office." in shown
    assert not Revocation.objects.exists()


def test_what_takes_effect_at_once_asks_for_no_time(desk, world):
    for name, fact in (("narrow_agreement", world.agreement), ("restrict_approval", world.approval)):
        assert "Takes effect at" not in page(desk.get(reverse(f"admin:{name}", args=[fact.pk])))
    assert "Takes effect at" in page(desk.get(reverse("admin:place_hold")))


def test_another_question_is_no_world_that_moved(desk, world):
    """Who looks at one thing and then stops another is shown the new impact, not a difference."""
    other = make_sellable()
    url = reverse("admin:place_hold")
    typed = word(code="HOLD-7", vendors=[world.vendor.pk])
    looked = desk.post(url, typed | {"step": "look"})
    assert world.listing.sku in page(looked)

    seen = hidden(looked, "seen")
    shown = page(desk.post(url, typed | {"vendors": [other.vendor.pk], "step": "review", "seen": seen}))

    assert "The world moved" not in shown
    assert other.listing.sku in shown
    assert "Stop the sale now" in shown


# --- a second person ----------------------------------------------------------------------------------------


@pytest.fixture
def waiting(desk, world, two_people):
    """A revocation of the desk whose removal waits."""
    shown, sends = review(desk, revoke_url(world), word())
    assert "the removal of the pages waits for a second person" in page(shown)
    assert "waits for a second person" in page(desk.post(revoke_url(world), sends, follow=True))
    outbox.pump()
    return PendingChange.objects.get()


def test_while_a_removal_waits_its_maker_has_no_button_and_nothing_is_sold(desk, world, waiting):
    assert state_of(world) == OfferState.LIVE, "the page is still there"
    shown = page(desk.get(withdrawal_url(waiting.revocation)))
    assert "Nothing of it is sold. Its pages wait for a second person" in shown
    assert "you cannot approve it yourself" in shown
    assert 'http-equiv="refresh"' not in shown
    for act in ("approve", "decline"):
        assert act_url(waiting, act) not in shown
        assert act_url(waiting, act) not in page(desk.get(list_url(PendingChange)))
        assert act_url(waiting, act) not in page(desk.get(act_url(waiting, "change")))
        refused = page(desk.post(act_url(waiting, act), {"reason": "mine"}, follow=True))
        assert "a second person must agree" in refused
    waiting.refresh_from_db()
    assert waiting.state == "open"


def test_the_database_too_refuses_one_person_twice(waiting):
    with pytest.raises(IntegrityError), transaction.atomic():
        PendingChange.objects.update(state="done", decided_by=waiting.made_by, decided_at=clock.now())


def test_a_second_person_approves_and_the_pages_go(second, world, waiting):
    listed = page(second.get(list_url(PendingChange)))
    assert act_url(waiting, "approve") in listed
    assert act_url(waiting, "cancel") not in listed
    assert "waits for a second person" in listed
    assert "the pages of 1 offers" in page(second.get(act_url(waiting, "approve")))

    assert second.post(act_url(waiting, "approve"), {}).status_code == 302
    outbox.pump()

    assert state_of(world) == OfferState.SUSPENDED
    shown = page(second.get(withdrawal_url(waiting.revocation)))
    assert "was approved by user:second" in shown
    assert "Nothing of it is sold. Its pages wait" not in shown
    assert "Nothing is left to decide: approved." in page(
        second.post(act_url(waiting, "decline"), {"reason": "late"}, follow=True)
    )


def test_a_second_person_declines_and_it_is_undone_with_the_reason(second, world, waiting):
    assert "This field is required" in page(second.post(act_url(waiting, "decline"), {"reason": ""}))
    assert second.post(act_url(waiting, "decline"), {"reason": "The wrong vendor."}).status_code == 302
    outbox.pump()

    waiting.refresh_from_db()
    assert waiting.state == "declined"
    assert Reinstatement.objects.get().is_mistake
    assert state_of(world) == OfferState.LIVE
    shown = page(second.get(withdrawal_url(waiting.revocation)))
    assert "The wrong vendor." in shown
    assert "as a mistake: it should not have been made" in shown


def test_a_list_of_what_waits_asks_no_more_queries_for_more_rows(desk, second, two_people):
    def more():
        go_through(desk, revoke_url(made := make_sellable()), word())
        return made

    more()
    more()
    second.get(list_url(PendingChange))
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            assert second.get(list_url(PendingChange)).status_code == 200
        counts.append(len(captured))
        more()
        more()

    assert counts[0] == counts[1]


# --- the way back -------------------------------------------------------------------------------------------


@pytest.fixture
def undo_url(desk, world):
    revoke_agreement(world)
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED
    url = reverse("admin:undo_withdrawal", args=[last_withdrawal().pk])
    assert url in page(desk.get(withdrawal_url(last_withdrawal())))
    return url


def test_an_undo_shows_what_returns_and_then_what_came_back(desk, world, undo_url):
    asked = desk.get(undo_url)
    assert "What would return: 1 offer" in page(asked)
    assert "This field is required" in page(
        desk.post(undo_url, {"reason": "", "digest": hidden(asked, "digest")})
    )

    typed = {"reason": "They meant another.", "is_mistake": "on", "digest": hidden(asked, "digest")}
    assert desk.post(undo_url, typed).status_code == 302
    outbox.pump()

    made = Reinstatement.objects.get()
    assert (made.is_mistake, made.preview_returns) == (True, 1)
    assert state_of(world) == OfferState.LIVE
    shown = page(desk.get(withdrawal_url(last_withdrawal())))
    assert "They meant another." in shown
    assert "Of what was taken down while it stood 1 is on sale again, 0 are not." in shown
    assert made.fact is not None
    assert made.fact.code in shown
    assert "was undone on" in page(desk.get(undo_url, follow=True))


def test_what_does_not_come_back_is_named_with_what_stops_it(desk, world, undo_url):
    place_hold(("listing", world.listing.pk), code="HOLD-9")
    asked = desk.get(undo_url)
    assert "No suspended offer would come back" in page(asked)

    desk.post(undo_url, {"reason": "A mistake.", "digest": hidden(asked, "digest")})
    outbox.pump()

    shown = page(desk.get(withdrawal_url(Reinstatement.objects.get().revocation)))
    assert "Of what was taken down while it stood 0 are on sale again, 1 is not." in shown
    assert "(HOLD-9)" in shown
    assert world.listing.sku in shown


def test_an_undo_of_a_world_that_moved_does_nothing(desk, world, undo_url):
    asked = desk.get(undo_url)
    place_hold(("listing", world.listing.pk), code="HOLD-9")

    shown = page(desk.post(undo_url, {"reason": "A mistake.", "digest": hidden(asked, "digest")}))

    assert "The world moved since you looked. Nothing was done." in shown
    assert "A mistake." in shown
    assert not Reinstatement.objects.exists()


def test_a_part_comes_back_as_a_narrower_agreement(desk, world, undo_url):
    shown = page(desk.get(withdrawal_url(last_withdrawal())))
    url = f"{reverse('admin:authorization_agreementversion_add')}?like={world.agreement.pk}"
    assert url in shown

    form = desk.get(url).context["form"]

    assert form.initial["grantee"] == world.vendor.pk
    assert form.initial["grantor"] == agreements.current(world.agreement).grantor_id
    assert form.initial["valid_from"] <= clock.now()


def test_lifting_one_of_two_holds_says_what_still_stops_the_rest(desk, world):
    one = make_hold(targets=[("vendor", str(world.vendor.pk))], at=clock.now())
    other = make_hold(targets=[("listing", str(world.listing.pk))], at=clock.now())
    outbox.pump()
    desk.post(act_url(holds.current(one), "release"), {"reason": "Settled."})
    outbox.pump()

    assert state_of(world) == OfferState.SUSPENDED
    shown = page(desk.get(act_url(holds.current(one), "change")))
    assert "0 of the offers that it may have stopped are on sale, 1 are not" in shown
    assert f"({other.code}): 1" in shown
    assert "what still stops" not in page(desk.get(act_url(holds.current(other), "change"))).lower()


def test_a_hold_comes_back_in_part_and_then_in_whole_and_its_withdrawal_says_so(desk, world):
    other = make_sellable(vendor=world.vendor, host=world.host)
    outbox.pump()
    place_hold(("vendor", world.vendor.pk), code="HOLD-9")
    outbox.pump()
    hold, made = holds.current(HoldVersion.objects.get().head), last_withdrawal()

    exempted = {
        "listings": f"{world.vendor.slug}/{other.listing.sku}",
        "note": "Not this one.",
        "step": "confirm",
    }
    assert desk.post(act_url(hold, "exempt"), exempted).status_code == 302
    outbox.pump()
    assert (state_of(other), state_of(world)) == (OfferState.LIVE, OfferState.SUSPENDED)
    shown = page(desk.get(withdrawal_url(made)))
    assert "In part undone by user:desk" in shown
    assert "Of what was taken down while it stood 1 is on sale again, 1 is not." in shown
    assert "(HOLD-9)" in shown
    assert reverse("admin:undo_withdrawal", args=[made.pk]) in shown, "the rest can still come back"

    assert desk.post(act_url(holds.current(hold.head), "release"), {"reason": "Settled."}).status_code == 302
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    shown = page(desk.get(withdrawal_url(made)))
    assert "Settled." in shown
    assert "2 are on sale again, 0 are not." in shown
    assert reverse("admin:undo_withdrawal", args=[made.pk]) not in shown


# --- kinds that had no preview ------------------------------------------------------------------------------


def test_limits_of_an_approval_are_looked_at_and_recorded(desk, world):
    version = approvals.current(world.approval)
    url = desk.get(act_url(version, "limit")).url
    make_policy(is_conditional_approval_enough=False, at=clock.now())
    assert "This field is required" in page(desk.post(url, word(limits="", step="review")))

    second, sends = review(desk, url, word(limits="LTE B12 off", reason_code="CARRIER_WITHDRAWS"))
    assert "none → LTE B12 off" in page(second)
    assert world.listing.sku in page(second), "limits are not enough for this policy"
    assert desk.post(url, sends).status_code == 302

    version = approvals.current(world.approval)
    assert (version.state, version.limits) == ("conditional", "LTE B12 off")
    assert last_withdrawal().kind == "restriction"
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED


def test_an_approval_that_is_not_in_force_has_nothing_to_limit(desk, world):
    with tampering():
        ApprovalVersion.objects.update(state="in_test")
    version = approvals.current(world.approval)

    refused = page(desk.get(reverse("admin:restrict_approval", args=[world.approval.pk]), follow=True))

    assert "nothing is in force to limit" in refused
    shown = page(desk.get(list_url(ApprovalVersion)))
    assert act_url(version, "limit") not in shown
    assert act_url(version, "change_state") in shown


def test_a_stricter_policy_shows_what_falls_and_a_looser_one_what_returns(desk, world):
    url = reverse("admin:authorization_policyversion_add")
    strict = word(
        name="strict", minimum_assurance="verified", is_agreement_enforced="on",
        is_equipment_authorization_enforced="on",
    )  # fmt: skip
    second, sends = review(desk, url, strict)
    assert world.listing.sku in page(second)
    assert "no → yes" in page(second)
    assert desk.post(url, sends).status_code == 302
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED

    second, sends = review(desk, url, word(name="loose", minimum_assurance="claimed"))
    assert "offers return" in page(second)
    assert "Nothing falls by it" in page(second)
    desk.post(url, sends)
    outbox.pump()
    assert state_of(world) == OfferState.LIVE


def test_a_vendor_is_suspended_from_its_row_and_its_page(desk, world):
    button = act_url(world.vendor, "suspend")
    maker = world.variant.device.manufacturer
    listed = page(desk.get(list_url(Organization)))
    assert button in listed
    assert act_url(maker, "suspend") not in listed
    assert button in page(desk.get(act_url(world.vendor, "change")))
    assert "only vendors are suspended" in page(desk.get(act_url(maker, "suspend"), follow=True))

    place = desk.get(button).url
    opened = desk.get(place)
    assert opened.context["form"].initial["vendors"] == [world.vendor.pk]
    assert f"Suspend {world.vendor}" in page(opened)
    typed = word(code="HOLD-V", reason_code="VENDOR_CONDUCT", vendors=[world.vendor.pk])
    assert go_through(desk, place, typed).status_code == 302
    outbox.pump()
    assert state_of(world) == OfferState.SUSPENDED


# --- the ground: radio, networks, hostings ------------------------------------------------------------------


BANDS = [
    {"rat": "LTE", "band": "B12", "is_sw_disabled": True, "source": "filing", "confidence": "M"},
    {"rat": "LTE", "band": "B4", "is_sw_disabled": False, "source": "", "confidence": "H"},
]


def record_radio(world, bands=BANDS):
    with groundwork.recording(by=BY, at=clock.now(), reason="import") as recorder:
        recorder.variant_radio(
            variant=world.variant,
            fields=dict.fromkeys(
                ("gsm_confidence", "umts_confidence", "lte_confidence", "ims_confidence"), "H"
            )
            | {"ims_source": "operator"},
            bands=bands,
            ims={world.host.code: "yes"},
            attributes=[("module", "X")],
            valid_from=datetime(2016, 1, 1, tzinfo=UTC),
        )


def record_network(world):
    band: dict[str, Any] = dict.fromkeys(("role", "in_service_from", "source", "confidence", "note"), "")
    band |= {"rat": "LTE", "band": "B4", "group": "lte_core", "voice": "VoLTE", "is_coverage_critical": False}
    with groundwork.recording(by=BY, at=clock.now(), reason="import") as recorder:
        recorder.network(
            host=world.host,
            era="2016",
            fields={"admission": "open", "ims_policy": "", "cs_voice": "", "source": "", "confidence": ""},
            bands=[band | {"in_service_until": None}],
            valid_from=datetime(2016, 1, 1, tzinfo=UTC),
        )


@pytest.fixture
def heard(world):
    """A phone that works in full on its host, where the policy asks for that."""
    record_network(world)
    record_radio(world)
    make_policy(minimum_radio="PARTIAL_LTE", at=clock.now())
    outbox.pump()
    assert state_of(world) == OfferState.LIVE
    return world


RADIO = {
    "bands": "LTE B12; off; filing; M\nLTE B4; ; H",
    "gsm_confidence": "H",
    "umts_confidence": "H",
    "lte_confidence": "H",
    "ims_confidence": "H",
    "ims_source": "operator",
}


def radio(world, url, client, **changes):
    opened = {"version": version_on(client, url), "ims": f"{world.host.code}=yes"}
    return word(**RADIO | opened | changes, reason_code="DATA_CORRECTED")


def test_the_form_of_a_radio_opens_on_what_is_recorded_and_the_same_writes_nothing(desk, heard):
    url = act_url(heard.variant, "correct_radio")
    initial = desk.get(url).context["form"].initial
    assert initial["bands"] == "LTE B12; off; filing; M\nLTE B4; ; H"
    assert initial["ims"] == f"{heard.host.code}=yes"

    shown = page(desk.post(url, radio(heard, url, desk, step="review")))
    assert "nothing would change" in shown


def test_a_band_that_the_phone_does_not_have_takes_it_off_sale(desk, heard):
    url = act_url(heard.variant, "correct_radio")
    typed = radio(heard, url, desk, bands="LTE B12; off; filing; M", note="A teardown.")

    second, sends = review(desk, url, typed)
    shown = page(second)
    assert heard.listing.sku in shown
    assert "LTE B4; ; H" in shown
    assert VariantVersion.objects.filter(head=heard.variant).count() == 1, "looking writes nothing"
    assert desk.post(url, sends).status_code == 302

    version = VariantVersion.objects.current().get(head=heard.variant)
    assert list(version.bands.values_list("band", flat=True)) == ["B12"]
    assert list(version.attributes.values_list("name", "value")) == [("module", "X")], (
        "what is not asked stays"
    )
    revocation = last_withdrawal()
    assert (revocation.kind, revocation.fact, revocation.preview_falls) == ("groundwork", None, 1)
    assert f"radio of {heard.variant}" in page(desk.get(withdrawal_url(revocation)))
    assert f"radio of {heard.variant}" in page(desk.get(list_url(Revocation)))
    outbox.pump()
    assert state_of(heard) == OfferState.SUSPENDED

    undo = reverse("admin:undo_withdrawal", args=[revocation.pk])
    asked = desk.get(undo)
    assert "What would return: 1 offer" in page(asked)
    desk.post(undo, {"reason": "The wrong phone was opened.", "digest": hidden(asked, "digest")})
    outbox.pump()
    assert state_of(heard) == OfferState.LIVE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bands": "B12"}, "write a RAT"),
        ({"bands": "LTE B12\nLTE B12"}, "stands there twice"),
        ({"bands": "LTE B12; off; filing; X"}, "H, M or L"),
        ({"bands": ""}, "This field is required"),
        ({"ims": "nobody=yes"}, "there is no host"),
        ({"ims": "{host}=perhaps"}, "take one of yes, no, pending, unknown"),
    ],
)
def test_a_wrong_radio_is_refused_at_its_field_and_nothing_typed_is_lost(desk, heard, changes, said):
    url = act_url(heard.variant, "correct_radio")
    changes = {name: value.format(host=heard.host.code) for name, value in changes.items()}
    shown = page(desk.post(url, radio(heard, url, desk, **changes, note="A teardown.", step="review")))

    assert said in shown
    assert "A teardown." in shown
    assert VariantVersion.objects.filter(head=heard.variant).count() == 1


def test_a_record_that_was_changed_since_the_page_was_opened_is_not_overwritten(desk, heard):
    url = act_url(heard.variant, "correct_radio")
    typed = radio(heard, url, desk, bands="LTE B12; off; filing; M")
    record_radio(heard, [*BANDS, {**BANDS[0], "band": "B2"}])

    refused = desk.post(url, typed | {"step": "review"})

    shown = page(refused)
    assert "The record was changed since you opened this page" in shown
    assert "LTE B2; off; filing; M" in shown
    assert VariantVersion.objects.filter(head=heard.variant).count() == 2
    again = typed | {"version": hidden(refused, "version")}
    assert go_through(desk, url, again).status_code == 302


def test_a_hosting_that_ends_takes_its_offers_with_it(desk, world):
    url = act_url(world.hosting, "correct_hosting")
    initial = desk.get(url).context["form"].initial
    yesterday = clock.now() - timedelta(days=1)
    typed = word(
        **{name: say_recorded(initial[name]) for name in ("plmn", "apn", "source", "confidence", "remark")},
        version=initial["version"], valid_until=text(yesterday), reason_code="CARRIER_WITHDRAWS",
    )  # fmt: skip

    second, sends = review(desk, url, typed)
    assert world.listing.sku in page(second)
    assert desk.post(url, sends).status_code == 302
    outbox.pump()

    assert HostingVersion.objects.current().get(head=world.hosting).valid_until < clock.now()
    assert state_of(world) == OfferState.SUSPENDED
    assert last_withdrawal().reason_code == "CARRIER_WITHDRAWS"


def test_a_band_of_a_network_that_goes_out_of_service_takes_what_rests_on_it(desk, heard):
    network = NetworkVersion.objects.get().head
    url = act_url(network, "correct_network")
    typed = word(admission="open", version=version_on(desk, url), until_LTE_B4="2020-01-01")
    assert "group of such a band is one of" in page(
        desk.post(url, typed | {"more_bands": "LTE B71; umts; VoLTE; 2018-01; TMO18; H", "step": "review"})
    )

    second, sends = review(desk, url, typed | {"more_bands": "LTE b71; lte_cov600; VoLTE; 2018-01; TMO18; H"})
    assert heard.listing.sku in page(second)
    assert desk.post(url, sends).status_code == 302
    outbox.pump()

    version = NetworkVersion.objects.current().get(head=network)
    columns = ("band", "is_coverage_critical", "source", "confidence")
    assert list(version.bands.order_by("position").values_list(*columns)) == [
        ("B4", False, "", ""),
        ("B71", True, "TMO18", "H"),
    ]
    assert state_of(heard) == OfferState.SUSPENDED


def test_the_keeper_of_the_catalog_corrects_and_sees_no_orders(world, cart, provider):
    carts.add_to_cart(cart=cart, offer=world.offer, plan=None, quantity=1, at=clock.now())
    order = check_out(cart)
    keeper = client_of(CATALOG)
    url = act_url(world.hosting, "correct_hosting")
    typed = word(valid_until=text(clock.now() - timedelta(days=1)), version=version_on(keeper, url))

    second, sends = review(keeper, url, typed)
    assert world.listing.sku in page(second)
    assert f"Order {order.pk}" not in page(second)
    desk_sees, _ = review(client_of(DESK), url, typed)
    assert f"Order {order.pk}" in page(desk_sees)
    done = keeper.post(url, sends)
    assert done.url == act_url(world.hosting, "change"), "the page of the withdrawal is not for the keeper"
    assert page(keeper.get(done.url))


# --- buttons and progress -----------------------------------------------------------------------------------


def test_rows_have_the_buttons_that_their_state_has_a_use_for(desk, world):
    other = make_sellable()
    revoke_agreement(world)
    shown = page(desk.get(list_url(AgreementVersion)))

    for act in ("revoke", "narrow", "suspend"):
        assert act_url(agreements.current(other.agreement), act) in shown
        assert act_url(agreements.current(world.agreement), act) not in shown
    place_hold(("host", world.host.pk))
    hold = HoldVersion.objects.get()
    assert act_url(hold, "release") in page(desk.get(list_url(HoldVersion)))
    desk.post(act_url(hold, "release"), {"reason": "Settled."})
    hold = HoldVersion.objects.current().get()
    assert act_url(hold, "release") not in page(desk.get(list_url(HoldVersion)))


def test_a_list_says_what_each_withdrawal_is_at(desk, world, two_people):
    go_through(desk, revoke_url(world), word())
    assert "waits for a second person" in page(desk.get(list_url(Revocation)))
    other = make_sellable()
    go_through(desk, revoke_url(other), word(effective_at=text(clock.now() + timedelta(days=1))))
    assert "to come" in page(desk.get(list_url(Revocation)))


def test_a_sweep_says_how_far_it_is_in_its_list_and_on_its_page(desk, world):
    outbox.pump()
    revoke_agreement(world)
    outbox.pump()
    sweep = Sweep.objects.latest("id")

    assert "done: 1 offer" in page(desk.get(list_url(Sweep)))
    assert "1 offer looked at, 1 taken down, 0 brought back." in page(desk.get(act_url(sweep, "change")))
    shown = page(desk.get(withdrawal_url(last_withdrawal())))
    assert "How far the pages are" in shown


AT = datetime(2026, 2, 1, 12, 0, 30, tzinfo=UTC)


def so_far(**changes):
    fields: dict[str, Any] = {
        "offers": 4000, "decided": 1000, "delisted": 900, "reinstated": 0, "chunks": 4, "chunks_done": 1,
        "is_planned": True, "is_waiting": False, "rate_per_s": 500.0, "eta_s": 6.0,
        "oldest_undone_at": AT - timedelta(seconds=12),
    }  # fmt: skip
    return Progress(**fields | changes)


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (
            so_far(),
            "1,000 of 4,000 offers looked at: 900 taken down, 0 brought back. About 500 a second. The rest takes about "
            "6 s. The part that waits longest does so for 12 s.",
        ),
        (
            so_far(is_planned=False),
            "1,000 of 4,000 offers or more, of which the number is still being found looked at",
        ),
        (so_far(is_waiting=True), "Nothing is looked at yet: the removal waits for a second person."),
        (so_far(is_planned=False, chunks=0, offers=0, decided=0), "It waits for a worker."),
        (
            so_far(rate_per_s=None, eta_s=None, oldest_undone_at=None),
            "1,000 of 4,000 offers looked at: 900 taken down, 0 brought back.",
        ),
    ],
)
def test_progress_is_said_in_words(progress, said):
    sweep = Sweep(finished_at=None, started_at=AT - timedelta(seconds=30))

    assert " ".join(say_progress(sweep, progress, AT)).startswith(said)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"), (12.4, "12 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (7200, "2 h"),
        (90_000, "1 day 1 h"), (172_800, "2 days"), (864_000, "10 days"),
    ],
)  # fmt: skip
def test_spans_are_said_in_words(seconds, said):
    assert say_seconds(seconds) == said


@pytest.mark.parametrize(
    ("page", "lookup"),
    [
        ("storefront_webhookendpoint", "secret__startswith"),
        ("storefront_webhookendpoint", "previous_secret__contains"),
        ("storefront_waitlistentry", "token__startswith"),
        ("storefront_waitlistentry", "email__startswith"),
        ("storefront_organizationkey", "key_hash__startswith"),
    ],
)
def test_no_secret_can_be_guessed_by_filtering(admin_client: Any, page: str, lookup: str) -> None:
    response = admin_client.get(reverse(f"admin:{page}_changelist"), {lookup: "a"})
    assert response.status_code == 400
