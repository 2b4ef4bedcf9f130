"""Attributes of a variant are recorded at the desk: a change of what decisions stand on; its radio stays."""

from datetime import timedelta

import pytest
from django.urls import reverse

from authorization import attributes, clock, decisions, groundwork, outbox
from authorization.facts import InvalidFact
from authorization.models import AgreementVersion, LedgerEntry, Revision
from catalog.models import VariantVersion
from storefront.roles import AUDITOR, CATALOG
from storefront.roles import DESK as DESK_ROLE
from tests.authorization.tampering import tampering
from tests.storefront.conftest import DESK, place_hold
from tests.storefront.desk_pages import client_of, go_through, page, review, version_on, word

pytestmark = pytest.mark.django_db

BANDS = [
    {"rat": "LTE", "band": "12", "is_sw_disabled": True, "source": "filing", "confidence": "B"},
    {"rat": "GSM", "band": "1900", "is_sw_disabled": False, "source": "", "confidence": ""},
]
FIELDS = {
    "gsm_confidence": "A",
    "umts_confidence": "",
    "lte_confidence": "B",
    "ims_source": "operator",
    "ims_confidence": "C",
}


@pytest.fixture
def keeper():
    return client_of(CATALOG)


def record_radio(world, bands=BANDS, **more):
    with groundwork.recording(by=DESK, at=clock.now(), reason="import") as recorder:
        recorder.variant_radio(
            variant=world.variant,
            fields=FIELDS,
            bands=bands,
            ims={world.host.code: "yes"},
            valid_from=clock.now() - timedelta(days=30),
            **more,
        )


@pytest.fixture
def variant(world):
    record_radio(world)
    return world.variant


def url_of(variant):
    return reverse("admin:catalog_variant_record_attributes", args=[variant.pk])


def radio_of(variant):
    version = VariantVersion.objects.current().get(head=variant)
    names = ("rat", "band", "is_sw_disabled", "source", "confidence")
    return (
        [getattr(version, name) for name in (*FIELDS, "valid_from", "valid_until")],
        sorted(version.bands.values_list(*names)),
        sorted(version.ims.values_list("host__code", "status")),
    )


def record(client, variant, lines, **more):
    """Both pages of the door, from a form that was just opened."""
    url = url_of(variant)
    return go_through(client, url, word(attributes=lines, version=version_on(client, url), **more))


def test_they_are_recorded_and_the_radio_stays_as_it_is(keeper, world, variant):
    before, revision = radio_of(variant), Revision.objects.count()
    response = record(keeper, variant, "chipset_vendor=Qualcomm\n\n module = FGH75D \n", note="a teardown")

    assert response.status_code == 302
    assert attributes.attributes_of(variant) == [("chipset_vendor", "Qualcomm"), ("module", "FGH75D")]
    assert radio_of(variant) == before
    assert VariantVersion.objects.filter(head=variant).count() == 2
    assert Revision.objects.count() == revision + 1
    assert LedgerEntry.objects.get(act="authority.withdrawn").reason == "a teardown"
    assert LedgerEntry.objects.filter(act="groundwork.recorded").latest("id").reason == "a teardown"


def test_a_hold_that_names_it_stops_the_phone_and_no_longer_when_it_is_taken_out(keeper, world, variant):
    place_hold(("attribute:chipset_vendor", "Qualcomm"))
    assert decisions.decide_offers([world.offer], at=clock.now())[0].is_allowed

    looked, _ = review(
        keeper,
        url_of(variant),
        word(attributes="chipset_vendor=Qualcomm", version=version_on(keeper, url_of(variant))),
    )
    assert world.listing.sku in page(looked), "what falls is shown first"
    assert decisions.decide_offers([world.offer], at=clock.now())[0].is_allowed

    record(keeper, variant, "chipset_vendor=Qualcomm")
    assert decisions.decide_offers([world.offer], at=clock.now())[0].reason_codes == ["ON_HOLD"]
    outbox.pump()

    version = version_on(keeper, url_of(variant))
    looked, sends = review(keeper, url_of(variant), word(attributes="", version=version))
    assert "offers return" in page(looked)
    assert keeper.post(url_of(variant), sends).status_code == 302
    assert decisions.decide_offers([world.offer], at=clock.now())[0].is_allowed


def test_the_page_opens_on_what_is_known_and_the_same_again_writes_nothing(keeper, variant):
    record(keeper, variant, "module=X\nchipset_vendor=Y")
    opened = keeper.get(url_of(variant))
    assert "chipset_vendor=Y\nmodule=X" in opened.content.decode()

    before = Revision.objects.count()
    same = word(
        attributes="module=X\nchipset_vendor=Y", version=version_on(keeper, url_of(variant)), step="review"
    )
    assert "nothing would change" in page(keeper.post(url_of(variant), same))
    assert Revision.objects.count() == before


@pytest.mark.parametrize(
    ("lines", "said"),
    [("Qualcomm", "as name=value"), ("=x", "as name=value"), ("a b=x", "is no attribute&#x27;s name")],
)
def test_a_wrong_line_is_said_and_all_that_was_typed_is_kept(keeper, variant, lines, said):
    typed = word(attributes=f"module=X\n{lines}", version=version_on(keeper, url_of(variant)), step="review")
    response = keeper.post(url_of(variant), typed)

    page = response.content.decode()
    assert response.status_code == 200
    assert said in page
    assert f"module=X\n{lines}" in page
    assert attributes.attributes_of(variant) == []


def test_a_variant_without_a_radio_says_what_is_missing(keeper, world):
    response = keeper.get(url_of(world.variant), follow=True)

    assert "Nothing is recorded of the radio" in response.content.decode()
    assert not VariantVersion.objects.filter(head=world.variant).exists()


def test_an_import_that_comes_between_is_not_undone(world, variant, monkeypatch):
    real = groundwork.Recorder.finish
    meanwhile = [True]

    def finish(recorder):
        if meanwhile:
            meanwhile.clear()
            record_radio(world, BANDS[:1])
        real(recorder)

    monkeypatch.setattr(groundwork.Recorder, "finish", finish)
    with pytest.raises(InvalidFact, match="changed meanwhile"):
        attributes.record_attributes(
            variant=variant, attributes=[("module", "X")], by=DESK, at=clock.now(), reason="t"
        )
    assert len(radio_of(variant)[1]) == 1
    assert attributes.attributes_of(variant) == []


@pytest.mark.parametrize(("role", "status"), [(DESK_ROLE, 200), (CATALOG, 200), (AUDITOR, 403)])
def test_who_keeps_the_catalog_may_and_who_takes_authority_away(variant, role, status):
    client = client_of(role)
    assert client.get(url_of(variant)).status_code == status
    if status == 403:
        assert client.post(url_of(variant), word(attributes="a=b", step="confirm")).status_code == 403


# --- a hold by an attribute -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "is_warned"), [("Qualcomm", False), ("Qualcom", True)])
@pytest.mark.parametrize("step", ["look", "review"])
def test_a_hold_by_what_no_variant_has_is_warned_of_and_not_refused(variant, step, value, is_warned):
    attributes.record_attributes(
        variant=variant, attributes=[("chipset_vendor", "Qualcomm")], by=DESK, at=clock.now(), reason="t"
    )
    typed = {
        "code": "HOLD-9", "reason_code": "SHOP_REVIEW", "requested_by": "the shop", "note": "asked",
        "attributes": f"chipset_vendor={value}", "seen": "", "step": step,
        "word_received_at": f"{clock.now() - timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}",
    }  # fmt: skip
    response = client_of(DESK_ROLE).post(reverse("admin:place_hold"), typed)

    assert response.status_code == 200
    assert not response.context["form"].errors
    assert ("No variant has" in response.content.decode()) is is_warned


# --- what the lists say -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [(-10, -1, "ended"), (1, 10, "not begun"), (-10, 10, "active")],
)
def test_an_agreement_outside_its_time_is_not_shown_as_active(world, begins, ends, said):
    with tampering():
        AgreementVersion.objects.update(
            valid_from=clock.now() + timedelta(days=begins), valid_until=clock.now() + timedelta(days=ends)
        )
    page = client_of(DESK_ROLE).get(reverse("admin:authorization_agreementversion_changelist"))

    [version] = page.context["cl"].result_list
    assert page.context["cl"].model_admin.show_state(version) == said
    assert "may_sublicense" in page.context["cl"].list_display


def test_the_button_of_a_row_that_is_not_in_force_leads_back_to_its_list(world):
    desk = client_of(DESK_ROLE)
    version = world.approval.approval_versions.get()
    with tampering():
        type(version).objects.update(state="in_test")
    response = desk.get(reverse("admin:authorization_approvalversion_revoke", args=[version.pk]), follow=True)

    assert response.redirect_chain[-1][0] == reverse("admin:authorization_approvalversion_changelist")
    assert "in test: there is nothing to revoke" in response.content.decode()
