"""`manage.py import_variants`, and what an import may do to the store: everything at once, or nothing."""

import json
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.text import slugify
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authorization import clock, fence, groundwork, offers, outbox, variant_import
from authorization.actors import Actor
from authorization.facts import InvalidFact
from authorization.models import LedgerEntry, Revocation
from authorization.reinstatements import undo
from authorization.variant_import import Difference
from catalog.models import Device, ListingHost, OfferState, Organization, Tac, Variant, VariantVersion
from seeds.factories import OrganizationFactory, VariantFactory, make_terms
from storefront import reference_imports, withdrawals
from storefront.models import ReferenceImport
from tests.storefront.conftest import withdraw
from tests.storefront.sheets import LONG_AGO, make_heard, row_of, sheet

pytestmark = pytest.mark.django_db

BY = Actor("user", "test")


@pytest.fixture
def heard():
    return make_heard()


def everything():
    """All rows of all tables of the shop."""
    return {
        model.__name__: sorted(map(repr, model._default_manager.values()))
        for model in apps.get_models()
        if model._meta.app_label in ("carriers", "catalog", "authorization", "storefront")
    }


@pytest.fixture
def run(tmp_path):
    def run(text, *options):
        file = tmp_path / "variants.csv"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        out = StringIO()
        call_command("import_variants", str(file), *options, stdout=out, stderr=out)
        return out.getvalue()

    return run


def refused(run, text, *options):
    before = everything()
    with pytest.raises(CommandError) as caught:
        run(text, *options)
    assert everything() == before
    return str(caught.value)


def prepare(text, **options):
    return variant_import.prepare(text, by=BY, at=clock.now(), **options)


def faults(text, **options):
    return [(fault.line, fault.column, fault.message) for fault in prepare(text, **options).faults]


def differences(text):
    (row,) = prepare(text).rows
    return {each.value: (each.before, each.after) for each in row.differences}


def state_of(world):
    return ListingHost.objects.get(pk=world.offer.pk).state


# --- what is said -------------------------------------------------------------------------------------------


def test_a_row_that_says_what_is_stored_is_a_check_and_nothing_else(heard, run):
    before = everything()
    assert "nothing to write." in run(sheet(row_of(heard)), "--dry-run")
    assert everything() == before
    assert "nothing to write but that it was checked now (1 variants)" in run(sheet(row_of(heard)))
    after = everything()
    assert {name for name in before if after[name] != before[name]} == {
        "Variant",
        "ReferenceImport",
        "LedgerEntry",
    }
    assert Variant.objects.get().checked_at == ReferenceImport.objects.get().applied_at


def without(row, *columns):
    return {name: value for name, value in row.items() if name not in columns}


def test_what_does_not_say_all_of_the_radio_is_no_check(heard, run):
    ims = f"ims_{heard.host.code}"
    bands = ("lte_bands", "lte_sw_disabled", "lte_src", "lte_conf")
    for left_out in ((*bands, ims), (ims,), bands):
        for notes in ("a", "b"):
            run(sheet(without(row_of(heard, notes=notes), *left_out)))
        before = everything()
        assert "nothing to write." in run(sheet(without(row_of(heard, notes="b"), *left_out)))
        assert everything() == before
    new = row_of(heard, variant_id="b-two", model_number="B2", marketing_name="Two", gsm_bands="GSM850")
    run(sheet(without(new, *bands, ims)))
    run(sheet(without(row_of(heard, gsm_bands="GSM850", nr_bands="n71"), *bands)))
    assert not Variant.objects.filter(checked_at__isnull=False).exists()
    run(sheet(row_of(heard)))
    assert not Variant.objects.filter(checked_at__isnull=False).exists(), (
        "the other bands are not in the file"
    )


def test_a_new_phone_without_bands_gets_no_radio_that_receives_nothing(heard, run):
    plain = ("lte_bands", "lte_sw_disabled", "lte_src", "lte_conf", f"ims_{heard.host.code}")
    new = row_of(heard, variant_id="b-two", model_number="B2", marketing_name="Two")
    bare = without(new, *plain)
    for said in ({"model_src": "MM", "model_conf": "M"}, {"software_revision": "5.1"}):
        ((line, column, message),) = faults(sheet(bare | said))
        assert (line, column) == (2, next(iter(said)))
        assert "names no band" in message
    assert "names no band" in faults(sheet(new | {"lte_bands": ""}))[0][2]
    run(sheet(bare | {"model_src": "", "model_conf": "", f"ims_{heard.host.code}": "unknown"}))
    assert not VariantVersion.objects.filter(head__slug="b-two").exists()
    run(sheet(new))
    assert VariantVersion.objects.filter(head__slug="b-two").count() == 1


def test_a_row_that_leaves_bands_out_takes_none_back_that_came_meanwhile(heard):
    left_out = ("lte_bands", "lte_sw_disabled", f"ims_{heard.host.code}")
    text = sheet(without(row_of(heard, hardware_revision="P9"), *left_out))
    late = prepare(text)
    with groundwork.recording(by=BY, at=clock.now(), reason="meanwhile") as recorder:
        recorder.variant_radio(
            variant=heard.variant,
            fields={"lte_confidence": "M"},
            bands=[{"rat": "LTE", "band": "B12", "is_sw_disabled": False, "source": "MM", "confidence": "M"}],
            ims={heard.host.code: "no"},
            valid_from=LONG_AGO,
        )
    with pytest.raises(InvalidFact, match="changed meanwhile"):
        late.recorder.finish()
    prepare(text).recorder.finish()
    version = VariantVersion.objects.current().get(head=heard.variant)
    assert version.hardware_revision == "P9"
    assert list(version.bands.values_list("band", flat=True)) == ["B12"]
    assert version.ims.get().status == "no"


def test_each_value_that_would_change_is_said_old_and_new(heard):
    host = heard.host.code
    text = sheet(
        row_of(
            heard,
            lte_bands="B4;B12",
            lte_sw_disabled="B12",
            gsm_bands="GSM850",
            codename="ferrari",
            fcc_id="2AFZZ-1",
            hardware_revision="P3",
            software_revision="5.1",
            tacs="00100001;35000101",
            lte_conf="H",
            gsm_src="K",
            gsm_conf="L",
            **{f"ims_{host}": "no"},
        )
    )
    assert differences(text) == {
        "codename": ("", "ferrari"),
        "FCC ID": ("", "2AFZZ-1"),
        "GSM bands": ("", "GSM850"),
        "LTE bands": ("B4", "B4, B12 (off by software)"),
        "source of LTE B4": ("MM, M", "MM, H"),
        f"voice over LTE on {host}": ("yes", "no"),
        "hardware revision": ("P2", "P3"),
        "software revision": ("", "5.1"),
        "source of LTE bands": ("MM, M", "MM, H"),
        "source of GSM bands": ("", "K, L"),
        "TACs": ("", "00100001, 35000101"),
    }


def test_a_column_that_is_left_out_says_nothing(heard, run):
    row = row_of(heard, codename="ferrari")
    for column in ("lte_bands", "lte_sw_disabled", "lte_src", "lte_conf", f"ims_{heard.host.code}"):
        del row[column]
    run(sheet(row))
    version = VariantVersion.objects.current().get(head=heard.variant)
    assert list(version.bands.values_list("band", "source")) == [("B4", "MM")]
    assert (version.version_no, version.hardware_revision) == (1, "P2")
    assert Variant.objects.get(pk=heard.variant.pk).codename == "ferrari"


def test_a_band_that_has_a_source_of_its_own_keeps_it(heard, run):
    band = {"rat": "LTE", "is_sw_disabled": False, "confidence": "M"}
    with groundwork.recording(by=BY, at=clock.now(), reason="one band looked up") as recorder:
        recorder.variant_radio(
            variant=heard.variant,
            fields={"lte_confidence": "M"},
            bands=[{**band, "band": "B4", "source": "MM"}, {**band, "band": "B2", "source": "ADL"}],
            ims={heard.host.code: "yes"},
            valid_from=LONG_AGO,
        )
    run(sheet(row_of(heard, lte_bands="B4;B2;B12")))
    bands = VariantVersion.objects.current().get(head=heard.variant).bands.order_by("band")
    assert list(bands.values_list("band", "source")) == [("B12", "MM"), ("B2", "ADL"), ("B4", "MM")]
    run(sheet(row_of(heard, lte_bands="B4;B2;B12", lte_src="K")))
    bands = VariantVersion.objects.current().get(head=heard.variant).bands
    assert set(bands.values_list("source", flat=True)) == {"K"}


# --- what cannot be taken -----------------------------------------------------------------------------------


def test_an_unknown_maker_is_a_fault_with_the_nearest_name_or_made_where_allowed(heard, run):
    Organization.objects.filter(pk=heard.variant.device.manufacturer_id).update(name="Xiaomi")
    new = row_of(
        heard,
        variant_id="xiomi-a",
        manufacturer="Xiomi",
        brand="Xiomi",
        model_number="XA1",
        marketing_name="A",
    )
    assert faults(sheet(new)) == [
        (
            2,
            "manufacturer",
            "there is no manufacturer 'Xiomi' in the store. Write Xiaomi, or allow new makers.",
        )
    ]
    assert "1 fault" in refused(run, sheet(new))
    assert "New manufacturer: Xiomi" in run(sheet(new), "--new-makers")
    made = Organization.objects.get(name="Xiomi")
    assert (made.kind, made.slug, made.is_simulated) == ("manufacturer", "xiomi", False)
    assert Variant.objects.get(slug="xiomi-a").device.manufacturer == made


def test_a_maker_that_is_spelled_otherwise_is_no_new_one(heard):
    maker = heard.variant.device.manufacturer
    ((_, _, message),) = faults(sheet(row_of(heard, manufacturer=maker.name.upper())), new_makers=True)
    assert message.endswith(f"Write {maker.name}.")
    rows = [
        row_of(heard, variant_id=f"n-{name[:1]}", model_number=name, manufacturer=name)
        for name in ("Neo", "NEO")
    ]
    rows[1]["variant_id"] = "n-2"
    assert any("in another line" in message for _, _, message in faults(sheet(*rows), new_makers=True))


_NAMES = st.sampled_from(["Acme", "ACME", "Acme Long", "-", "x" * 70, "x" * 71, "Omni", ""])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "variant_id": st.sampled_from(["a-1", "a-2", "b-1", ""]),
                "manufacturer": _NAMES,
                "brand": _NAMES,
                "marketing_name": _NAMES,
                "model_number": st.sampled_from(["A1", "A2", "B1"]),
                "lte_bands": st.sampled_from(["", "B2", "B2;B4", "B0"]),
                "tacs": st.sampled_from(["", "00100001", "00100001;35000101", "1E+7"]),
            }
        ),
        min_size=1,
        max_size=4,
    ),
    new_makers=st.booleans(),
    skip=st.booleans(),
)
def test_whatever_rows_there_are_the_good_ones_can_be_written(heard, rows, new_makers, skip):
    prepared = prepare(sheet(*rows), new_makers=new_makers, skip_faulty_rows=skip)
    assert len(prepared.rows) + prepared.faulty_rows == len(rows)
    assert prepared.is_refused == (bool(prepared.faults) and not skip)
    recorder = prepared.recorder
    with transaction.atomic():
        recorder.write(fence.rehearsal(at=clock.now()) if recorder.is_ground else None)
        again = prepare(sheet(*rows), new_makers=new_makers, skip_faulty_rows=skip)
        assert prepared.is_refused or not again.differing, "what was written is recorded"
        transaction.set_rollback(True)


def test_somebody_who_is_no_maker_is_made_none(heard):
    OrganizationFactory.create(name="Omni", slug="omni")
    ((_, column, message),) = faults(sheet(row_of(heard, manufacturer="Omni")), new_makers=True)
    assert column == "manufacturer"
    assert "is a vendor in the store" in message


def test_a_model_number_names_one_variant_for_good(heard):
    other = VariantFactory.create(model_number="B2", slug="b-two")
    changed = sheet(row_of(heard, model_number="new"))
    taken = sheet(row_of(heard, variant_id="c-three", model_number=other.model_number))
    assert "another model number is another radio" in faults(changed)[0][2]
    assert "B2 is b-two in the store" in faults(taken)[0][2]


def test_a_tac_of_another_variant_is_a_fault_that_names_it(heard):
    other = VariantFactory.create(model_number="B2", slug="b-two")
    Tac.objects.create(code="00100001", variant=other, is_synthetic=True)
    ((line, column, message),) = faults(sheet(row_of(heard, tacs="00100002;00100001")))
    assert (line, column) == (2, "tacs")
    assert "00100001 belongs to" in message
    assert "(b-two)" in message


def test_a_device_of_another_maker_is_not_taken_over(heard):
    device = heard.variant.device
    Device.objects.filter(pk=device.pk).update(slug=slugify(f"{device.brand} {device.marketing_name}"))
    other = VariantFactory.create().device
    row = row_of(heard, manufacturer=other.manufacturer.name, brand=device.brand)
    assert any("the store knows" in message for _, _, message in faults(sheet(row)))


def test_two_rows_must_agree_on_the_device_they_name(heard):
    second = row_of(
        heard, variant_id="x-2", model_number="X2", marketing_name=heard.variant.device.marketing_name.upper()
    )
    assert any(
        "both rows name the device" in message for _, _, message in faults(sheet(row_of(heard), second))
    )


def test_a_faulty_row_refuses_the_whole_file_unless_it_is_to_be_left_out(heard, run):
    good = row_of(heard, codename="ferrari")
    bad = row_of(heard, variant_id="b-two", model_number="B2", lte_bands="B999")
    said = refused(run, sheet(good, bad))
    assert "nothing was written" in said
    assert "--skip-faulty-rows" in said
    run(sheet(good, bad), "--skip-faulty-rows")
    assert Variant.objects.get(pk=heard.variant.pk).codename == "ferrari"
    assert not Variant.objects.filter(slug="b-two").exists()
    assert ReferenceImport.objects.get().report["skipped_lines"] == [3]


def test_a_fault_of_the_whole_file_cannot_be_skipped(heard, run):
    assert "nothing was written" in refused(run, sheet(row_of(heard, colour="red")), "--skip-faulty-rows")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"PK\x03\x04 workbook", "workbook"),
        ("variant_id".encode("utf-16"), "UTF-16"),
        (b"a\nb\xe9", "Line 2 holds byte 0xe9"),
        (b"a\x00b", "zero bytes"),
        (b"x" * (reference_imports.MAX_BYTES + 1), "take at most 5 MB"),
    ],
)
def test_what_is_no_text_is_refused_with_the_cure(run, raw, words):
    assert words in refused(run, raw)


# --- dry run, real run --------------------------------------------------------------------------------------


def test_a_dry_run_says_all_and_writes_nothing(heard, run):
    new = row_of(heard, variant_id="b-two", model_number="B2", tacs="00100009")
    text = sheet(row_of(heard, lte_bands="B2", tacs="00100001"), new)
    before = everything()
    said = run(text, "--dry-run")
    assert everything() == before
    assert "LTE bands: B4 -> B2" in said
    assert "b-two: new" in said
    assert "Offers that fall: 1" in said
    assert heard.listing.sku in said
    assert "dry run; nothing was written" in said


def test_what_loses_its_band_falls_only_when_that_was_asked_for(heard, run):
    text = sheet(row_of(heard, lte_bands="B2"))
    said = refused(run, text)
    assert "--confirm" in said
    digest = said.split("--confirm ")[1].split()[0]
    assert "The world moved" in refused(run, text, "--confirm", "0" * 64)
    assert "nothing of what falls can be sold" in run(text, "--confirm", digest)
    outbox.pump()
    assert state_of(heard) == OfferState.SUSPENDED
    kept = ReferenceImport.objects.get()
    assert kept.revocation == Revocation.objects.get()
    assert (kept.applied_by, kept.content) == ("system:import_variants", text)
    assert kept.report["differences"] == [[heard.variant.slug, "LTE bands", "B4", "B2"]]
    assert "nothing to write" in run(text)
    assert Revocation.objects.count() == 1


def after_the_preview(monkeypatch, act):
    real = withdrawals.preview

    def preview(*args, **kwargs):
        seen = real(*args, **kwargs)
        act()
        return seen

    monkeypatch.setattr(withdrawals, "preview", preview)


def test_what_is_offered_after_the_preview_does_not_fall_unseen(heard, run, monkeypatch):
    offer = ListingHost.objects.filter(pk=heard.offer.pk)
    offer.update(state=OfferState.DRAFT)
    after_the_preview(monkeypatch, lambda: offer.update(state=OfferState.LIVE))
    with pytest.raises(CommandError, match="The world moved meanwhile"):
        run(sheet(row_of(heard, lte_bands="B2")))
    assert list(VariantVersion.objects.current().get().bands.values_list("band", flat=True)) == ["B4"]
    assert not ReferenceImport.objects.exists()


def test_an_import_by_which_nothing_falls_is_on_record_too(heard, run):
    assert "can be sold" not in run(sheet(row_of(heard, lte_bands="B4;B12")))
    assert ReferenceImport.objects.get().revocation == Revocation.objects.get()


def test_what_somebody_else_imports_meanwhile_is_not_said_to_be_imported(heard, run, monkeypatch):
    text = sheet(row_of(heard, lte_bands="B4;B12"))
    other = prepare(text)
    after_the_preview(monkeypatch, other.recorder.finish)
    with pytest.raises(CommandError, match="was changed meanwhile"):
        run(text)
    assert not Revocation.objects.exists()
    assert not ReferenceImport.objects.exists()


def test_a_phone_that_two_imports_bring_is_refused_to_the_second(heard):
    text = sheet(row_of(heard, variant_id="b-two", model_number="B2", tacs="00100009"))
    rows = [reference_imports.keep(name="a", raw=text.encode(), by=BY, at=clock.now()) for _ in range(2)]
    first, second = (reference_imports.prepare(row, by=BY, at=clock.now()) for row in rows)
    change = reference_imports.change_of(rows[1], second, reason_code="DATA_CORRECTED")
    first.recorder.finish()
    with pytest.raises(InvalidFact, match="look again"):
        withdraw(change)
    assert Variant.objects.filter(slug="b-two").count() == 1
    assert not Revocation.objects.exists()


def test_undoing_the_import_brings_bands_sources_and_revisions_back(heard, run):
    text = sheet(row_of(heard, lte_bands="B2", lte_src="K", lte_conf="L", hardware_revision="P9"))
    run(text, "--yes")
    outbox.pump()
    assert state_of(heard) == OfferState.SUSPENDED
    undo(revocation=Revocation.objects.get(), reason="wrong file", is_mistake=True, by=BY, at=clock.now())
    outbox.pump()
    assert state_of(heard) == OfferState.LIVE
    version = VariantVersion.objects.current().get(head=heard.variant)
    assert (version.hardware_revision, version.lte_confidence) == ("P2", "M")
    assert list(version.sources.values_list("value", "source", "confidence")) == [("lte", "MM", "M")]
    assert list(version.bands.values_list("band", "source")) == [("B4", "MM")]


def take_back(revocation):
    undo(revocation=revocation, reason="wrong file", is_mistake=True, by=BY, at=clock.now())


def test_undoing_takes_no_more_statements_with_more_phones(heard, run):
    """They run under the fence."""
    counts = []
    for count in (2, 12):
        phones = [
            row_of(heard, variant_id=f"b-{n}", model_number=f"B{n}", marketing_name=f"Phone {n}")
            for n in range(count)
        ]
        run(sheet(*phones))
        run(sheet(*({**phone, "lte_bands": "B4;B2"} for phone in phones)))
        with CaptureQueriesContext(connection) as queries:
            take_back(Revocation.objects.latest("id"))
        counts.append(len(queries))
        bands = (
            VariantVersion.objects.current().filter(head__slug__startswith="b-").values_list("bands__band")
        )
        assert list(bands) == [("B4",)] * count
    assert counts[0] == counts[1]


def test_moving_phones_to_other_devices_takes_no_more_statements_with_more_of_them(heard, run):
    counts = []
    for count in (2, 12):
        phones = [
            row_of(heard, variant_id=f"b-{n}", model_number=f"B{n}", marketing_name="Old")
            for n in range(count)
        ]
        run(sheet(*phones))
        moved = sheet(*({**phone, "marketing_name": f"New {count}"} for phone in phones))
        row = reference_imports.keep(name="a.csv", raw=moved.encode(), by=BY, at=clock.now())
        prepared = reference_imports.prepare(row, by=BY, at=clock.now())
        assert len(prepared.differing) == count
        with CaptureQueriesContext(connection) as queries:
            prepared.recorder.finish()
        counts.append(len(queries))
        said = LedgerEntry.objects.filter(act="groundwork.recorded").latest("id").evidence
        assert len(said["moved"]) == len(said["moved_from"]) == count
    assert counts[0] == counts[1]


def test_phones_that_came_with_an_import_stay_when_it_is_undone(heard, run):
    new = row_of(heard, variant_id="b-two", model_number="B2", marketing_name="Two")
    run(sheet(row_of(heard, lte_bands="B2"), new), "--yes")
    take_back(Revocation.objects.get())
    outbox.pump()
    assert state_of(heard) == OfferState.LIVE
    assert VariantVersion.objects.current().filter(head__slug="b-two").exists()


def test_an_import_of_new_phones_alone_has_nothing_to_go_back_to(heard, run):
    new = row_of(heard, variant_id="b-two", model_number="B2", marketing_name="Two")
    row = reference_imports.keep(name="a.csv", raw=sheet(new).encode(), by=BY, at=clock.now())
    prepared = reference_imports.prepare(row, by=BY, at=clock.now())
    change = reference_imports.change_of(row, prepared, reason_code="DATA_CORRECTED")
    withdraw(change)
    with pytest.raises(InvalidFact, match="nothing to go back to"):
        take_back(Revocation.objects.get())


def test_an_import_of_what_is_listed_without_a_radio_cannot_be_undone(heard, run):
    listed = VariantFactory.create()
    terms = make_terms(variant=listed, hosts=[heard.host])
    offers.save_listing(vendor=heard.vendor, sku="X", terms=terms, by=BY, at=clock.now())
    first = row_of(heard) | {
        "variant_id": listed.slug,
        "model_number": listed.model_number,
        "manufacturer": listed.device.manufacturer.name,
        "brand": listed.device.brand,
        "marketing_name": listed.device.marketing_name,
    }
    run(sheet(row_of(heard, lte_bands="B2"), first), "--yes")
    with pytest.raises(InvalidFact, match="for the first time"):
        take_back(Revocation.objects.get())


def test_voice_over_lte_is_ground_too(heard):
    assert prepare(sheet(row_of(heard, **{f"ims_{heard.host.code}": "no"}))).recorder.is_ground


def test_tacs_and_codes_are_no_ground(heard, run):
    revision = fence.current_revision()
    prepared = prepare(sheet(row_of(heard, tacs="00100001;35000101", codename="x", fcc_id="y")))
    assert not prepared.recorder.is_ground
    run(sheet(row_of(heard, tacs="00100001;35000101", codename="x", fcc_id="y")))
    assert fence.current_revision() == revision
    assert list(Tac.objects.order_by("code").values_list("code", "is_synthetic")) == [
        ("00100001", True),
        ("35000101", False),
    ]
    assert LedgerEntry.objects.filter(act="reference.imported").count() == 1
    run(sheet(row_of(heard, tacs="35000101")))
    assert list(Tac.objects.values_list("code", flat=True)) == ["35000101"], "the cell is the whole list"


def test_a_new_variant_comes_with_its_radio_and_its_tacs_and_is_marked_as_checked(heard, run):
    new = row_of(heard, variant_id="b-two", model_number="B2", marketing_name="Two", tacs="00100009")
    run(sheet(row_of(heard), new))
    variant = Variant.objects.get(slug="b-two")
    version = VariantVersion.objects.current().get(head=variant)
    assert list(version.bands.values_list("rat", "band", "source", "confidence")) == [
        ("LTE", "B4", "MM", "M")
    ]
    assert version.lte_confidence == "M"
    assert variant.tacs.get().code == "00100009"
    assert variant.checked_at is not None
    assert Variant.objects.get(pk=heard.variant.pk).checked_at == variant.checked_at, "it is in the file too"
    assert Device.objects.get(marketing_name="Two").manufacturer == heard.variant.device.manufacturer


def test_a_variant_that_moves_to_another_device_is_a_change_of_ground(heard):
    prepared = prepare(sheet(row_of(heard, marketing_name="Other name")))
    assert prepared.recorder.is_ground
    ((difference,),) = [row.differences for row in prepared.rows]
    assert isinstance(difference, Difference)
    assert difference.value == "device"


def test_the_answer_for_machines_is_one_document(heard, run):
    document = json.loads(run(sheet(row_of(heard, lte_bands="B2")), "--dry-run", "--json"))
    assert (document["written"], document["refused"]) == (False, False)
    assert document["rows"][0]["differences"] == [{"value": "LTE bands", "before": "B4", "after": "B2"}]
    assert document["falls"]["falls"] == 1
    assert document["falls"]["digest"]


def test_an_import_that_was_applied_meanwhile_is_not_applied_twice(heard):
    row = reference_imports.keep(
        name="C:\\phones\\a.csv", raw=sheet(row_of(heard, codename="x")).encode(), by=BY, at=clock.now()
    )
    assert row.name == "a.csv"
    first = reference_imports.prepare(row, by=BY, at=clock.now())
    late = reference_imports.prepare(row, by=BY, at=clock.now())
    reference_imports.apply_plain(row, first)
    before = everything()
    with pytest.raises(InvalidFact, match="meanwhile"):
        reference_imports.apply_plain(row, late)
    assert everything() == before


def test_comparing_takes_the_same_number_of_queries_whatever_the_rows(heard):
    def queries(count):
        rows = []
        for number in range(count):
            variant = VariantFactory.create()
            rows.append(
                {
                    "variant_id": variant.slug,
                    "manufacturer": variant.device.manufacturer.name,
                    "brand": variant.device.brand,
                    "marketing_name": variant.device.marketing_name,
                    "model_number": variant.model_number,
                    "lte_bands": "B2",
                    "tacs": f"001{count:02d}{number:03d}",
                    f"ims_{heard.host.code}": "yes",
                }
            )
        reference_imports.keep(name="x", raw=b"x", by=BY, at=clock.now())
        with CaptureQueriesContext(connection) as seen:
            prepared = prepare(sheet(*rows))
        assert len(prepared.differing) == count
        prepared.recorder.finish()
        with CaptureQueriesContext(connection) as again:
            assert prepare(sheet(*rows)).recorder.is_empty
        return len(seen), len(again)

    few, many = queries(2), queries(40)
    assert few == many
