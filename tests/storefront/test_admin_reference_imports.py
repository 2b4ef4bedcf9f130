"""The data desk: a file is uploaded, looked at, confirmed and applied; what is recorded says where it is from."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authorization import clock, groundwork, outbox, variant_import
from authorization.models import LedgerEntry, Revision, Revocation
from carriers.models import HostingVersion, NetworkVersion, ReferenceSource
from catalog.models import ListingHost, OfferState, Organization, Tac, Variant, VariantVersion
from seeds.factories import BUILDER
from storefront import reference_imports
from storefront.models import ReferenceImport
from storefront.roles import AUDITOR, CATALOG, DESK
from tests.storefront.desk_pages import act_url, client_of, list_url, page, review, word
from tests.storefront.sheets import LONG_AGO, make_heard, row_of, sheet

pytestmark = pytest.mark.django_db

ADD = "admin:storefront_referenceimport_add"


@pytest.fixture
def heard():
    return make_heard()


@pytest.fixture
def keeper():
    """Who keeps the catalog."""
    return client_of(CATALOG)


def upload(client, text, name="phones.csv"):
    raw = text.encode() if isinstance(text, str) else text
    return client.post(reverse(ADD), {"file": SimpleUploadedFile(name, raw, "text/csv")}, follow=True)


def uploaded(client, *rows):
    assert upload(client, sheet(*rows)).status_code == 200
    return ReferenceImport.objects.latest("id")


def apply_url(row, query=""):
    return reverse("admin:apply_import", args=[row.pk]) + query


def state_of(world):
    return ListingHost.objects.get(pk=world.offer.pk).state


# --- upload -------------------------------------------------------------------------------------------------


def test_an_upload_is_kept_as_it_is_and_changes_nothing(keeper, heard):
    text = "\ufeff" + sheet(row_of(heard, lte_bands="B2"))
    versions, revisions = VariantVersion.objects.count(), Revision.objects.count()
    shown = page(upload(keeper, text, "../../etc/phones.csv"))
    row = ReferenceImport.objects.get()
    assert (row.name, row.uploaded_by, row.applied_at) == ("phones.csv", "user:catalog", None)
    assert "Nothing is changed yet" in shown
    assert "LTE bands" in shown
    assert "B4" in shown
    assert (VariantVersion.objects.count(), Revision.objects.count()) == (versions, revisions)
    given = keeper.get(reverse("admin:import_file", args=[row.pk]))
    assert given.content == text.encode()
    assert given["Content-Disposition"].startswith("attachment")
    assert given["X-Content-Type-Options"] == "nosniff"
    assert LedgerEntry.objects.get(act="reference.uploaded").subject_id == str(row.pk)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"PK\x03\x04", "workbook"),
        (b"a,b\n\xff", "not UTF-8"),
        (b"a\x00b", "zero bytes"),
        (b"x" * (reference_imports.MAX_BYTES + 1), "larger than 5 MB"),
    ],
)
def test_what_is_no_text_of_that_size_is_refused_at_its_field(keeper, raw, words):
    refused = upload(keeper, raw)
    assert words in page(refused)
    assert refused.context["form"].errors["file"]
    assert not ReferenceImport.objects.exists()


def test_nothing_of_a_file_is_taken_for_markup(keeper, heard):
    upload(keeper, sheet(row_of(heard, codename="<script>alert(1)</script>")), "<b>.csv")
    row = ReferenceImport.objects.get()
    shown = keeper.get(act_url(row, "change")).content.decode()
    assert "<script>alert(1)" not in shown
    assert "<b>.csv" not in shown
    assert "&lt;script&gt;" in shown


def test_faults_stand_with_line_column_and_cure(keeper, heard):
    row = uploaded(keeper, row_of(heard, tacs="3.5E+14"), row_of(heard, variant_id="b-2", model_number="B2"))
    shown = page(keeper.get(act_url(row, "change")))
    assert "its digits are lost" in shown
    assert "Nothing of the file can be applied like this." in shown
    assert reverse("admin:apply_import", args=[row.pk]) not in shown
    refused = keeper.get(apply_url(row), follow=True)
    assert "nothing of it is applied" in page(refused)
    skipping = page(keeper.get(act_url(row, "change") + "?skip_faulty_rows=1"))
    assert apply_url(row, "?skip_faulty_rows=1") in skipping


# --- what falls, and applying it ----------------------------------------------------------------------------


def test_what_falls_is_shown_and_falls_when_it_is_confirmed(keeper, heard):
    row = uploaded(keeper, row_of(heard, lte_bands="B2", lte_src="K", lte_conf="L"))
    typed = word(reason_code="DATA_CORRECTED")
    opened = page(keeper.get(apply_url(row)))
    assert heard.listing.sku in opened
    second, sends = review(keeper, apply_url(row), typed)
    assert heard.listing.sku in page(second)
    assert "0 new, 1 changed, 0 the same" in page(second)
    assert VariantVersion.objects.filter(head=heard.variant).count() == 1, "looking writes nothing"

    assert keeper.post(apply_url(row), sends).status_code == 302
    outbox.pump()

    assert state_of(heard) == OfferState.SUSPENDED
    row.refresh_from_db()
    revocation = Revocation.objects.get()
    assert (row.applied_by, row.revocation) == ("user:catalog", revocation)
    assert f"import of phones.csv ({row.sha256[:12]})" in revocation.subject
    assert row.report["revision"] == revocation.revision_id
    shown = page(keeper.get(act_url(row, "change")))
    assert "Applied" in shown
    assert "What it changed" in shown
    again = page(keeper.post(apply_url(row), sends, follow=True))
    assert "was applied on" in again
    assert VariantVersion.objects.filter(head=heard.variant).count() == 2


def test_a_confirmation_of_another_world_is_refused_and_nothing_is_lost(keeper, heard):
    row = uploaded(keeper, row_of(heard, lte_bands="B2"))
    _, sends = review(keeper, apply_url(row), word(reason_code="DATA_CORRECTED"))
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="meanwhile") as recorder:
        recorder.variant_radio(
            variant=heard.variant,
            fields={"lte_confidence": "M"},
            bands=[{"rat": "LTE", "band": "B12", "is_sw_disabled": False, "source": "MM", "confidence": "M"}],
            ims={heard.host.code: "yes"},
            valid_from=LONG_AGO,
        )
    outbox.pump()
    refused = keeper.post(apply_url(row), sends)
    assert "The world moved since you looked" in page(refused)
    assert "By e-mail from their press office." in page(refused)
    row.refresh_from_db()
    assert row.applied_at is None
    assert list(
        VariantVersion.objects.current().get(head=heard.variant).bands.values_list("band", flat=True)
    ) == ["B12"]


def test_the_button_of_another_file_does_nothing(keeper, heard):
    """The digest covers which file it is: one with the same bands and other TACs is another."""
    first = uploaded(keeper, row_of(heard, lte_bands="B2", tacs="00100001"))
    second = uploaded(keeper, row_of(heard, lte_bands="B2", tacs="00100002"))
    _, sends = review(keeper, apply_url(first), word(reason_code="DATA_CORRECTED"))
    assert "The world moved" in page(keeper.post(apply_url(second), sends))
    assert not Revocation.objects.exists()


def test_what_no_decision_reads_is_applied_without_a_withdrawal(keeper, heard):
    row = uploaded(keeper, row_of(heard, tacs="00100001", fcc_id="2AFZZ-1"))
    revisions = Revision.objects.count()
    assert "no offer can fall by it" in page(keeper.get(apply_url(row)))
    assert "Nothing of it bears on what may be sold" in page(keeper.post(apply_url(row), follow=True))
    assert Tac.objects.get().code == "00100001"
    assert Revision.objects.count() == revisions
    assert not Revocation.objects.exists()


def test_the_same_file_again_can_only_be_marked_as_checked(keeper, heard):
    row = uploaded(keeper, row_of(heard))
    assert "Mark as checked" in page(keeper.get(act_url(row, "change")))
    keeper.post(apply_url(row))
    assert Variant.objects.get(pk=heard.variant.pk).checked_at is not None
    assert VariantVersion.objects.filter(head=heard.variant).count() == 1
    row.refresh_from_db()
    assert row.report["counts"]["same"] == 1


def test_a_file_of_tacs_alone_is_no_check(keeper, heard):
    bare = {name: value for name, value in row_of(heard).items() if not name.startswith(("lte_", "ims_"))}
    first, again = (uploaded(keeper, bare | {"tacs": "00100001"}) for _ in range(2))
    keeper.post(apply_url(first))
    assert Tac.objects.exists()
    assert Variant.objects.get(pk=heard.variant.pk).checked_at is None
    assert "Mark as checked" not in page(keeper.get(act_url(again, "change")))
    assert "it is no check either" in page(keeper.post(apply_url(again), follow=True))
    again.refresh_from_db()
    assert again.applied_at is None


def test_new_makers_are_made_only_where_that_was_ticked(keeper, heard):
    new = row_of(heard, variant_id="b-2", model_number="B2", manufacturer="Brand New", brand="Brand New")
    row = uploaded(keeper, new)
    assert "allow new makers" in page(keeper.get(act_url(row, "change")))
    shown = page(keeper.get(act_url(row, "change") + "?new_makers=1"))
    assert "New manufacturers: <strong" in shown
    url = apply_url(row, "?new_makers=1")
    _, sends = review(keeper, url, word(reason_code="DATA_CORRECTED"))
    keeper.post(url, sends)
    assert Organization.objects.get(name="Brand New").kind == "manufacturer"
    assert Variant.objects.filter(slug="b-2").exists()


def test_each_page_of_an_import_compares_it_with_the_store_once(keeper, heard, monkeypatch):
    row = uploaded(keeper, row_of(heard, lte_bands="B2"))
    compared, prepare = [], variant_import.prepare

    def counted(*args, **kwargs):
        compared.append(1)
        return prepare(*args, **kwargs)

    monkeypatch.setattr(variant_import, "prepare", counted)
    keeper.get(apply_url(row))
    assert len(compared) == 1
    _, sends = review(keeper, apply_url(row), word(reason_code="DATA_CORRECTED"))
    looked = len(compared)
    keeper.post(apply_url(row), sends)
    assert len(compared) == looked + 1
    row.refresh_from_db()
    assert row.applied_at


def test_two_imports_are_compared_cell_by_cell(keeper, heard):
    older = uploaded(keeper, row_of(heard, codename="a"))
    newer = uploaded(keeper, row_of(heard, codename="b"), row_of(heard, variant_id="b-2", model_number="B2"))
    for row, other in ((older, newer), (newer, older)):
        shown = page(keeper.get(reverse("admin:compare_imports", args=[row.pk]), {"with": other.pk}))
        assert "codename" in shown
        assert "In the newer one only: b-2" in shown
    for wrong in ("", "x", "0", "999"):
        url = reverse("admin:compare_imports", args=[older.pk])
        assert keeper.get(url, {"with": wrong}).status_code == 404


def test_files_that_cannot_be_compared_are_not_said_to_be_the_same(keeper, heard):
    wrong = [uploaded(keeper, row_of(heard, colour=colour)) for colour in ("red", "blue")]
    cut = uploaded(keeper, row_of(heard))
    ReferenceImport.objects.filter(pk=cut.pk).update(content=sheet(row_of(heard)) + "b-2,Acme\r\n")
    whole = uploaded(keeper, row_of(heard))

    def shown(row, other):
        return page(keeper.get(reverse("admin:compare_imports", args=[row.pk]), {"with": other.pk}))

    said = shown(*wrong)
    assert "Both say the same" not in said
    assert "They cannot be compared: the older file, colour: is no column known here" in said
    said = shown(cut, whole)
    assert "Both say the same" not in said
    assert "lines 3 of the older one" in said


# --- who may ------------------------------------------------------------------------------------------------


def test_who_may_upload_apply_and_read(keeper, heard):
    row = uploaded(keeper, row_of(heard, lte_bands="B2"))
    desk, auditor = client_of(DESK), client_of(AUDITOR)
    for client, may_upload, may_apply in ((keeper, True, True), (desk, False, True), (auditor, False, False)):
        assert client.get(reverse(ADD)).status_code == (200 if may_upload else 403)
        assert client.get(apply_url(row)).status_code == (200 if may_apply else 403)
        assert client.post(apply_url(row), word(step="review")).status_code == (200 if may_apply else 403)
        shown = page(client.get(act_url(row, "change")))
        assert ("Continue: see what falls" in shown) is may_apply
        assert client.get(list_url(ReferenceImport)).status_code == 200
    plain = uploaded(keeper, row_of(heard, tacs="00100001"))
    assert auditor.get(apply_url(plain)).status_code == 403
    assert auditor.post(apply_url(plain)).status_code == 403
    plain.delete()
    assert upload(auditor, sheet(row_of(heard))).status_code == 403
    assert ReferenceImport.objects.count() == 1
    stranger = client_of(DESK, name="stranger")
    stranger.logout()
    assert stranger.get(reverse("admin:import_file", args=[row.pk])).status_code == 302


def test_an_import_that_there_is_not_is_not_found(keeper):
    for name in ("apply_import", "compare_imports", "import_file", "storefront_referenceimport_change"):
        assert keeper.get(reverse(f"admin:{name}", args=[999])).status_code == 404


def test_queries_of_the_page_do_not_grow_with_the_rows(keeper, heard):
    def queries(count):
        rows = [
            row_of(heard, variant_id=f"b-{count}-{n}", model_number=f"B{count}-{n}") for n in range(count)
        ]
        row = uploaded(keeper, row_of(heard, lte_bands="B2"), *rows)
        with CaptureQueriesContext(connection) as seen:
            assert keeper.get(act_url(row, "change")).status_code == 200
        return len(seen)

    queries(1)
    assert queries(2) == queries(40)


# --- where values are from ----------------------------------------------------------------------------------


def test_each_value_says_its_source_and_how_sure_it_is(keeper, heard):
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="test") as recorder:
        recorder.variant_radio(
            variant=heard.variant,
            fields={"lte_confidence": "L"},
            bands=[
                {"rat": "LTE", "band": "B4", "is_sw_disabled": False, "source": "MM", "confidence": "L"},
                {"rat": "LTE", "band": "B12", "is_sw_disabled": True, "source": "ADL", "confidence": "H"},
            ],
            ims={heard.host.code: "yes"},
            sources={"lte": ("MM+ADL", "L")},
            valid_from=LONG_AGO,
        )
    version = VariantVersion.objects.current().get(head=heard.variant)
    for row in (heard.variant, version):
        shown = page(keeper.get(act_url(row, "change")))
        assert "Source MM (dataset; terms: free)" in shown
        assert 'href="#source-MM"' in shown
        assert 'href="https://MM.example/"' in shown
        assert "⚠ low: unverified" in shown, "in words, not in colour alone"
        assert "B12 (off by software)" in shown
        assert "No check of it is on record." in shown
        assert "Stale" in shown


def test_only_web_addresses_become_links(keeper, heard):
    ReferenceSource.objects.filter(code="MM").update(url="javascript:alert(1) ; https://ok.example/")
    shown = page(keeper.get(act_url(heard.variant, "change")))
    assert 'href="javascript' not in shown
    assert 'href="https://ok.example/"' in shown


def test_networks_and_hostings_say_it_too(keeper, heard):
    network, hosting = NetworkVersion.objects.get(), HostingVersion.objects.get()
    for row in (network, network.head, hosting.head):
        shown = page(keeper.get(act_url(row, "change")))
        assert "What is recorded, and where it is from" in shown


def test_still_right_is_an_act_with_its_ledger_row(keeper, heard, settings):
    network, hosting = NetworkVersion.objects.get().head, HostingVersion.objects.get().head
    for row in (heard.variant, network, hosting):
        url = act_url(row, "mark_checked")
        assert "What you compared it with" in page(keeper.get(url))
        assert "This field is required" in page(keeper.post(url, {"note": ""}))
        assert "is marked as checked" in page(keeper.post(url, {"note": "The operator's page."}, follow=True))
        row.refresh_from_db()
        assert row.checked_at is not None
        shown = page(keeper.get(act_url(row, "change")))
        assert "Last checked on" in shown
        assert "Stale" not in shown
    entries = LedgerEntry.objects.filter(act="reference.checked")
    assert entries.count() == 3
    assert {entry.actor for entry in entries} == {"user:catalog"}
    auditor = client_of(AUDITOR)
    assert auditor.get(act_url(network, "mark_checked")).status_code == 403
    assert "Checked: still right" not in page(auditor.get(act_url(network, "change")))


def test_a_check_of_long_ago_is_stale(keeper, heard, settings):
    settings.REFERENCE_STALE_AFTER_DAYS = 30
    Variant.objects.update(checked_at=clock.now() - timedelta(days=31))
    assert "Stale" in page(keeper.get(act_url(heard.variant, "change")))
    Variant.objects.update(checked_at=clock.now() - timedelta(days=30))
    assert "Stale" not in page(keeper.get(act_url(heard.variant, "change")))


def test_correcting_one_band_keeps_sources_and_revisions(keeper, heard):
    url = act_url(heard.variant, "correct_radio")
    initial = keeper.get(url).context["form"].initial
    assert initial["sources"] == "lte; MM"
    assert initial["hardware_revision"] == "P2"
    typed = word(
        reason_code="DATA_CORRECTED",
        **{name: initial[name] for name in ("sources", "hardware_revision", "version", "ims")},
        bands="LTE B4; MM; M\nLTE B2; ADL; H",
        lte_confidence="L",
    )
    _, sends = review(keeper, url, typed)
    assert keeper.post(url, sends).status_code == 302
    version = VariantVersion.objects.current().get(head=heard.variant)
    assert version.version_no == 2
    assert version.hardware_revision == "P2"
    assert list(version.sources.values_list("value", "source", "confidence")) == [("lte", "MM", "L")]


def test_a_correction_of_one_band_leaves_those_of_5g_as_they_are(keeper, heard):
    band = {"is_sw_disabled": False, "source": "MM", "confidence": "M"}
    with groundwork.recording(by=BUILDER, at=clock.now(), reason="test") as recorder:
        recorder.variant_radio(
            variant=heard.variant,
            fields={"lte_confidence": "M"},
            bands=[band | {"rat": "LTE", "band": "B4"}, band | {"rat": "NR", "band": "n71"}],
            ims={heard.host.code: "yes"},
            valid_from=LONG_AGO,
        )
    url = act_url(heard.variant, "correct_radio")
    initial = keeper.get(url).context["form"].initial
    assert "NR n71; MM; M" in initial["bands"]
    kept = ("sources", "hardware_revision", "version", "ims", "lte_confidence")
    typed = word(
        reason_code="DATA_CORRECTED",
        bands=initial["bands"] + "\nlte b12; MM; M\nNR N66; MM; M\nGSM pcs1900; MM; M",
        **{name: initial[name] for name in kept},
    )
    _, sends = review(keeper, url, typed)
    assert keeper.post(url, sends).status_code == 302
    version = VariantVersion.objects.current().get(head=heard.variant)
    assert set(version.bands.values_list("rat", "band")) == {
        ("LTE", "B4"),
        ("LTE", "B12"),
        ("NR", "n71"),
        ("NR", "n66"),
        ("GSM", "PCS1900"),
    }


@pytest.mark.parametrize("line", ["LTE B999", "GSM B12", "NR B71", "LTE n71"])
def test_a_band_that_is_none_is_refused_at_its_field(keeper, heard, line):
    url = act_url(heard.variant, "correct_radio")
    version = keeper.get(url).context["form"].initial["version"]
    refused = keeper.post(url, word(bands=line, version=version, step="review"))
    assert "is no band of" in page(refused)
    assert refused.context["form"].errors["bands"]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ("speed; MM", "begin with one of"),
        ("ims; MM", "begin with one of"),
        ("nr; MM; X", "H, M or L"),
        ("nr; MM; H; more", "H, M or L"),
        ("nr; MM\nnr; K", "stands there twice"),
        ("lte; MM; H", "stands in its own field"),
    ],
)
def test_a_wrong_source_is_refused_at_its_field(keeper, heard, sources, words):
    url = act_url(heard.variant, "correct_radio")
    version = keeper.get(url).context["form"].initial["version"]
    typed = word(bands="LTE B4; MM; M", sources=sources, version=version, step="review")
    refused = keeper.post(url, typed)
    assert words in page(refused)
    assert refused.context["form"].errors["sources"]


# --- sources, operator codes, bands -------------------------------------------------------------------------


def test_sources_are_kept_by_the_keeper_of_the_catalog(keeper, heard):
    url = reverse("admin:carriers_referencesource_add")
    keeper.post(url, {"code": "NEW24", "kind": "press", "source": "A paper", "url": "", "terms": ""})
    assert ReferenceSource.objects.get(code="NEW24").source == "A paper"
    assert client_of(AUDITOR).get(url).status_code == 403


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"rat": "LTE", "channel": "5110"}, ("B12", "B17")),
        ({"rat": "NR", "channel": "123870"}, ("n71", "619.35")),
        ({"rat": "LTE", "channel": "9999999"}, ("Write the EARFCN",)),
        ({"rat": "LTE", "channel": "-1"}, ("Write the EARFCN",)),
        ({"rat": "LTE", "channel": "²"}, ("Write the EARFCN",)),
        ({"rat": "NR", "channel": "x<y"}, ("Write the NR-ARFCN", "x&lt;y")),
        ({"rat": "GSM", "channel": "300000"}, ("lies in no LTE band",)),
        ({}, ("PCS1900", "BC10", "n260", "699 - 716")),
    ],
)
def test_the_page_of_bands_answers_which_band_a_channel_is(keeper, query, words):
    shown = page(keeper.get(reverse("bands"), query))
    for said in words:
        assert said in shown


def test_nobody_without_the_right_to_read_networks_sees_the_bands(client, django_user_model):
    client.force_login(django_user_model.objects.create(username="nobody", is_staff=True))
    assert client.get(reverse("bands")).status_code == 403
