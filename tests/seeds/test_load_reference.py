"""`manage.py load_reference`: whole tables in, twice the same, and nothing at all of a faulty one."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from authorization import clock, fence, outbox
from authorization.models import LedgerEntry, OutboxRow, Revision, Revocation, Sweep
from carriers.models import (
    HostCarrier,
    Hosting,
    HostingVersion,
    HostPlmn,
    Network,
    NetworkBand,
    NetworkVersion,
    ReferenceSource,
)
from carriers.versions import FOREVER
from catalog.models import (
    Device,
    ListingHost,
    Organization,
    Tac,
    Variant,
    VariantBand,
    VariantIms,
    VariantSource,
    VariantVersion,
)
from seeds.factories import OrganizationFactory, VariantFactory, World, make_sellable
from seeds.management.commands.load_reference import OPERATOR, SHIPPED
from seeds.reference import loader
from seeds.reference.tables import read_tables
from storefront import withdrawals

pytestmark = pytest.mark.django_db

WRITTEN = (
    HostCarrier, Network, NetworkVersion, NetworkBand, Hosting, HostingVersion,
    Organization, Device, Variant, VariantVersion, VariantBand, VariantIms, Revision, LedgerEntry, OutboxRow,
    ReferenceSource, HostPlmn, Tac, VariantSource,
)  # fmt: skip


def load(folder: Path | None = None, *more: str) -> str:
    out = StringIO()
    arguments = [*(["--path", str(folder)] if folder else []), *more]
    call_command("load_reference", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def refusal(folder: Path) -> list[str]:
    err = StringIO()
    before = counts()
    with pytest.raises(CommandError) as caught:
        call_command("load_reference", "--path", str(folder), stdout=StringIO(), stderr=err)
    assert counts() == before
    assert "nothing was written" in str(caught.value)
    assert caught.value.returncode == 1
    return err.getvalue().splitlines()


def counts() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in WRITTEN}


def edit(folder: Path, name: str, change: Callable[[str], str]) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text, "the edit must change something"
    path.write_text(changed, encoding="utf-8")


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


# --- what is loaded ---------------------------------------------------------------------------------------


def test_loads_every_table() -> None:
    said = load()
    assert "7 network snapshots, 6 hostings, 40 variants" in said
    assert (
        counts()
        | {
            "HostCarrier": 4,
            "Network": 7,
            "NetworkBand": 57,
            "Hosting": 6,
            "Organization": 10,
            "Variant": 40,
            "VariantBand": 1039,
            "VariantIms": 120,
            "ReferenceSource": 47,
            "HostPlmn": 43,
            "Tac": 40,
            "Revision": 1,
        }
        == counts()
    )


def test_each_value_of_a_variant_says_its_source() -> None:
    load()
    moto = VariantVersion.objects.get(head__slug="motorola-motoe2-xt1527")
    assert moto.software_revision == "after the update of 2015 that removed B12"
    said = {row.value: (row.source, row.confidence) for row in moto.sources.all()}
    assert said["nr"] == ("ERA", "H")
    assert said["lte"] == ("GSMA17+PHNEWS", moto.lte_confidence)
    assert said["ims"] == (moto.ims_source, moto.ims_confidence)
    nexus = VariantVersion.objects.get(head__slug="google-nexus5x-h790")
    assert nexus.sources.get(value="cdma").source == "K", "the long table says it, band by band"
    codes = {code for row in VariantSource.objects.all() for code in row.source.split("+") if code}
    assert codes <= set(ReferenceSource.objects.values_list("code", flat=True))


def test_every_variant_has_an_invented_tac_that_hits_no_real_phone() -> None:
    load()
    assert not Variant.objects.filter(tacs__isnull=True).exists()
    assert set(Tac.objects.values_list("is_synthetic", "source")) == {(True, "SYN")}
    first = Variant.objects.get(slug="xiaomi-redmi2-2014811")
    assert first.tacs.get().code == "00100001", "they follow the order of devices.csv"


def test_hosts_know_their_other_operator_codes() -> None:
    load()
    ting = HostPlmn.objects.get(host__code="tmobile", plmn="310-240")
    assert (ting.source, ting.confidence, ting.note) == ("MBPI", "M", "also listed for Ting")
    assert not HostPlmn.objects.filter(plmn__in=HostCarrier.objects.values("plmn")).exists()


def test_what_is_loaded_counts_as_checked_when_the_tables_were_put_together(tables_folder: Path) -> None:
    at = clock.now()
    load(tables_folder)
    for model in (Variant, Network, Hosting):
        assert not model._default_manager.exclude(checked_at__gte=at).exists(), "tables of one's own: now"
        model._default_manager.update(checked_at=None)
    Variant.objects.update(notes="")
    load()
    for model in (Variant, Network, Hosting):
        assert set(model._default_manager.values_list("checked_at", flat=True)) == {loader.COMPILED_AT}
        model._default_manager.update(checked_at=None)
    load()
    assert not Variant.objects.filter(checked_at__isnull=False).exists(), (
        "a load that writes nothing checks nothing"
    )


def test_the_table_of_devices_can_also_be_imported_and_says_the_same() -> None:
    load()
    before = counts()
    out = StringIO()
    call_command("import_variants", str(SHIPPED / "devices.csv"), stdout=out, stderr=out)
    assert "40 rows: 0 new, 0 changed, 40 the same, 0 faulty" in out.getvalue()
    assert "nothing to write but that it was checked now (40 variants)" in out.getvalue()
    assert counts() == before | {"LedgerEntry": before["LedgerEntry"] + 1}


def test_a_second_load_writes_nothing_and_says_so() -> None:
    load()
    before = counts()
    assert "up to date" in load()
    assert "nothing to write" in load()
    assert counts() == before


def test_a_changed_cell_makes_one_new_version(tables_folder: Path) -> None:
    load(tables_folder)
    edit(tables_folder, "networks.csv", replace("LTE,B12,low band coverage", "LTE,B12,low band"))
    edit(
        tables_folder,
        "devices.csv",
        replace("Bands of this variant are unconfirmed.", "Bands are unconfirmed."),
    )
    said = load(tables_folder)
    assert "Variants changed: 1, new versions of facts: 1." in said
    versions = NetworkVersion.objects.filter(head__host__code="tmobile", head__era="2016").order_by(
        "version_no"
    )
    assert [version.rev_to for version in versions] == [versions[1].rev_from, None]
    assert Variant.objects.get(model_number="2014817").notes == "Bands are unconfirmed."


def test_a_dry_run_says_what_differs_and_writes_nothing(tables_folder: Path) -> None:
    load(tables_folder)
    edit(tables_folder, "networks.csv", replace("LTE,B12,low band coverage", "LTE,B12,low band"))
    edit(tables_folder, "mvno_hosts.csv", replace(",pwg,", ",other,"))
    edit(
        tables_folder,
        "devices.csv",
        replace("Bands of this variant are unconfirmed.", "Bands are unconfirmed."),
    )
    before = counts()
    said = load(tables_folder, "--dry-run")
    assert said.splitlines() == [
        "Variants to be changed: 1",
        "New version: network tmobile 2016",
        "New version: hosting US Mobile tmobile",
        "This was a dry run; nothing was written.",
    ]
    assert counts() == before
    load(tables_folder)
    assert "Nothing differs." in load(tables_folder, "--dry-run")


def test_snapshots_of_a_network_meet_without_gap() -> None:
    load()
    older, newer = NetworkVersion.objects.filter(head__host__code="tmobile").order_by("valid_from")
    assert (older.head.era, newer.head.era) == ("2016", "2026")
    assert older.valid_until == newer.valid_from
    assert newer.valid_until == FOREVER


def test_a_start_that_nobody_recorded_is_marked_low() -> None:
    load()
    mint = HostingVersion.objects.get(head__mvno="Mint Mobile")
    assert (mint.valid_from.year, mint.date_confidence) == (2014, "L")
    assert HostingVersion.objects.get(head__product_name="Warp").valid_from.year == 2018


def test_bands_keep_source_confidence_and_what_software_keeps_off() -> None:
    load()
    moto = Variant.objects.get(slug="motorola-motoe2-xt1527")
    band = VariantBand.objects.get(version__head=moto, rat="LTE", band="B12")
    assert band.is_sw_disabled
    assert band.source
    assert band.confidence
    assert set(VariantIms.objects.filter(version__head=moto).values_list("host__code", flat=True)) == {
        "tmobile",
        "att",
        "verizon",
    }


def test_a_byte_order_mark_and_a_trailing_blank_line_are_no_fault(tables_folder: Path) -> None:
    path = tables_folder / "devices.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n")
    assert "40 variants" in load(tables_folder)


# --- what is refused --------------------------------------------------------------------------------------

FAULTS = [
    ("tacs.csv", replace("00100001,", "35000001,"), "tacs.csv:2:tac: '35000001' is not valid"),
    ("tacs.csv", replace("00100002,", "00100001,"), "tacs.csv:3:tac: 00100001 stands in row 2 already"),
    ("tacs.csv", replace("-2014811", "-9"), "tacs.csv:2:variant_id: 'xiaomi-redmi2-9' is no variant"),
    ("plmns.csv", replace("310-026", "310026"), "plmns.csv:2:plmn: '310026' is not valid"),
    ("plmns.csv", replace("310-026", "310-260"), "plmns.csv:2:plmn: 310-260 is the main code of tmobile"),
    ("plmns.csv", replace("tmobile,310-026", "tmobil,310-026"), "plmns.csv:2:network: 'tmobil' is no network"),
    ("plmns.csv", replace("310-160", "310-026"), "plmns.csv:3:network+plmn: tmobile 310-026 stands in row 2"),
    ("devices.csv", replace("codename,region", "codename,market"), "devices.csv:1:region: this column"),
    ("devices.csv", replace("codename,region", "codename,market"), "devices.csv:1:market: unknown column"),
    ("devices.csv", replace("codename,region", "region,region"), "1:region: this column stands twice"),
    ("devices.csv", replace(",incident2016,", ",incident,"), "devices.csv:2:set: 'incident' is not one of"),
    ("devices.csv", replace(",2015-01,", ",2015-13,"), "devices.csv:2:launch_ym: '2015-13' is not valid"),
    ("devices.csv", replace("B1;B2;B5,", "B1;B2;B99,"), "devices.csv:2:umts_bands: UMTS 'B99' is no band"),
    ("devices.csv", replace("B1;B2;B5,", "B1;;B5,"), "devices.csv:2:umts_bands: 'B1;;B5' has an empty"),
    ("devices.csv", replace("B1;B2;B5,", "B1;B2,"), "2:umts_bands: device_bands.csv does not agree on B5"),
    ("devices.csv", replace("MM+ADL,H", "MM+HEARSAY,H"), "devices.csv:2:model_src: source 'HEARSAY'"),
    ("devices.csv", replace("xiaomi-redmi2-2014817,", "xiaomi-redmi2-2014811,"), "stands in row 2 already"),
    ("devices.csv", replace(",2014817,", ",2014811,"), "3:model_number: 2014811 stands in row 2 already"),
    ("devices.csv", replace(",2014811,", f",{'1' * 65},"), "devices.csv:2:model_number: has 65 characters"),
    ("devices.csv", replace(",2014811,", ",2014\x00811,"), "2:model_number: holds a control character"),
    ("devices.csv", replace(",Xiaomi,Redmi,", ",,Redmi,"), "devices.csv:2:manufacturer: is empty"),
    ("devices.csv", replace(",no,no,no,", ",no,no,maybe,"), "devices.csv:2:ims_verizon: 'maybe' is not"),
    ("devices.csv", replace(",wt88047,", ","), "devices.csv:2:-: has 40 cells, the header has 41"),
    ("devices.csv", replace('"Listed at USD 119', '"Listed" at USD 119'), "is not readable as CSV"),
    ("device_bands.csv", replace("GSM,GSM900,0", "GSM,GSM900,2"), "device_bands.csv:2:sw_disabled: '2'"),
    ("device_bands.csv", replace("GSM,GSM900,0", "5G,GSM900,0"), "device_bands.csv:2:rat: '5G' is not"),
    ("networks.csv", replace("2022-07-01", "2022-07-32"), "3:in_service_to: '2022-07-32' is no date"),
    ("networks.csv", replace(",2016,GSM,", ",2017,GSM,"), "networks.csv:2:era: '2017' is not one of"),
    ("networks.csv", replace("legacy,gsm", "legacy,lte_core"), "2:group: group lte_core is not one of GSM"),
    ("networks.csv", replace("T-Mobile US,310-260,2016,U", "T-Mobil,310-260,2016,U"), "3:carrier:"),
    ("network_rules.csv", replace(",open,", ",ajar,"), "network_rules.csv:2:admission: 'ajar' is not one of"),
    ("mvno_hosts.csv", replace("US Mobile,tmobile", "US Mobile,tmobil"), "2:host: 'tmobil' is no network"),
    ("mvno_hosts.csv", replace(",2015,,", ",2015,2014,"), "mvno_hosts.csv:2:valid_to: ends (2014) before"),
    ("mvno_hosts.csv", replace(",2015,", ",lately,"), "mvno_hosts.csv:2:valid_from: 'lately' is not valid"),
    ("bands.csv", replace("1920", "wide"), "bands.csv:2:ul_low: 'wide' is no frequency"),
    ("bands.csv", replace("LTE,B2,", "LTE,B1,"), "bands.csv:3:rat+band: LTE B1 stands in row 2 already"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "expected"), FAULTS, ids=[fault[2][:60] for fault in FAULTS])
def test_a_fault_names_file_row_column_and_cure(
    tables_folder: Path, name: str, change: Callable[[str], str], expected: str
) -> None:
    edit(tables_folder, name, change)
    lines = refusal(tables_folder)
    assert any(expected in line for line in lines), lines
    # Each line ends with a sentence that says what to do.
    assert all(line.rstrip().endswith(".") for line in lines)


def test_every_fault_is_listed_not_only_the_first(tables_folder: Path) -> None:
    edit(tables_folder, "devices.csv", replace(",incident2016,", ",incident,"))
    edit(tables_folder, "networks.csv", replace("2022-07-01", "soon"))
    edit(tables_folder, "mvno_hosts.csv", replace(",2015,", ",lately,"))
    assert [line.split(":")[0] for line in refusal(tables_folder)] == [
        "networks.csv",
        "mvno_hosts.csv",
        "devices.csv",
    ]


def test_an_empty_file_is_refused(tables_folder: Path) -> None:
    (tables_folder / "devices.csv").write_text("")
    assert refusal(tables_folder)[0].startswith("devices.csv:1:-: is empty.")


def test_a_header_without_rows_is_refused(tables_folder: Path) -> None:
    path = tables_folder / "networks.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert any(line.startswith("networks.csv:1:-: has no rows") for line in refusal(tables_folder))


def test_bytes_that_are_not_utf8_are_refused(tables_folder: Path) -> None:
    path = tables_folder / "devices.csv"
    path.write_bytes(path.read_bytes().replace(b"Xiaomi", b"Xia\xffmi", 1))
    assert any("devices.csv:2:-: holds byte 0xff" in line for line in refusal(tables_folder))


def test_a_missing_file_and_a_missing_folder_are_refused(tables_folder: Path) -> None:
    (tables_folder / "bands.csv").unlink()
    assert refusal(tables_folder)[0].startswith("bands.csv:0:-: is missing")
    assert "is no folder" in refusal(tables_folder / "elsewhere")[0]


def test_one_missing_legend_is_one_fault_not_a_thousand(tables_folder: Path) -> None:
    (tables_folder / "sources.csv").unlink()
    assert len(refusal(tables_folder)) == 1


def test_a_cell_with_a_line_break_keeps_the_rows_counted_right(tables_folder: Path) -> None:
    edit(
        tables_folder,
        "devices.csv",
        replace("Bands of this variant are unconfirmed.", '"Bands of this\nvariant"'),
    )
    edit(tables_folder, "devices.csv", replace(",2015-03,", ",2015-99,"))
    # Row 4 of the table begins at line 5 of the file, since row 3 takes two lines.
    assert any(line.startswith("devices.csv:5:launch_ym:") for line in refusal(tables_folder))


def test_nothing_is_written_when_the_database_refuses_halfway(
    tables_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*args: object, **kwargs: object) -> bool:
        raise RuntimeError("the lights went out")

    monkeypatch.setattr("authorization.groundwork.Recorder.variant_radio", break_down)
    before = counts()
    with pytest.raises(RuntimeError):
        load(tables_folder)
    assert counts() == before


def test_what_the_desk_corrected_is_kept_when_only_an_empty_store_is_to_be_filled() -> None:
    load()
    Variant.objects.filter(model_number="2014215").update(notes="corrected by the desk")
    out = StringIO()
    call_command("load_reference", "--if-empty", stdout=out)
    assert "is kept" in out.getvalue()
    assert Variant.objects.get(model_number="2014215").notes == "corrected by the desk"


# --- what decisions read ----------------------------------------------------------------------------------


def test_a_vendor_is_not_made_a_manufacturer(tables_folder: Path) -> None:
    vendor = OrganizationFactory.create(kind="vendor", name="Xiaomi of Main Street", slug="xiaomi")
    lines = refusal(tables_folder)
    assert lines == [
        "devices.csv:2:manufacturer: 'Xiaomi' is in the store already, as the vendor 'Xiaomi of Main Street' "
        "(slug xiaomi); loading would make it the maker of devices. Name the maker differently here, or give that "
        "vendor another name and slug."
    ]
    vendor.refresh_from_db()
    assert (vendor.kind, vendor.name) == ("vendor", "Xiaomi of Main Street")


def test_a_vendor_of_the_makers_name_is_refused_too(tables_folder: Path) -> None:
    OrganizationFactory.create(kind="vendor", name="Xiaomi", slug="main-street")
    assert "as the vendor 'Xiaomi' (slug main-street)" in refusal(tables_folder)[0]


def test_a_device_that_moves_to_another_maker_opens_a_revision(tables_folder: Path) -> None:
    load(tables_folder)
    device = Variant.objects.get(model_number="2014811").device
    before = fence.current_revision()
    edit(tables_folder, "devices.csv", lambda text: text.replace(",Xiaomi,Redmi,", ",Somebody Else,Redmi,"))
    said = load(tables_folder)
    assert "devices changed: 4" in said
    device.refresh_from_db()
    assert device.manufacturer.name == "Somebody Else"
    assert fence.current_revision() == before + 1
    entry = LedgerEntry.objects.get(revision=before + 1)
    assert entry.evidence["records"] == 0
    assert f"device {device.pk}" in entry.evidence["moved"]
    assert len(entry.evidence["moved"]) == 4
    assert "nothing to write" in load(tables_folder)


@pytest.fixture
def moved(tables_folder: Path) -> World:
    """A phone on sale whose device is recorded wrongly: the next load of the tables takes it off sale."""
    world = make_sellable()
    variant = world.variant
    Variant.objects.filter(pk=variant.pk).update(slug="xiaomi-redmi2-2014811", model_number="2014811")
    elsewhere = variant.device
    load(tables_folder, "--yes")
    # The radio is loaded now; what differs the next time is the device, and nothing else.
    Variant.objects.filter(pk=variant.pk).update(device=elsewhere)
    outbox.pump()
    assert ListingHost.objects.get(pk=world.offer.pk).state == "LIVE"
    return world


def shown_and_refused(folder: Path, *more: str) -> tuple[str, str]:
    """What the command showed, and why it did nothing."""
    out = StringIO()
    before = counts()
    with pytest.raises(CommandError) as caught:
        call_command("load_reference", "--path", str(folder), *more, stdout=out, stderr=out)
    assert counts() == before
    assert "nothing was written" in str(caught.value)
    return out.getvalue(), str(caught.value)


def test_a_load_that_takes_offers_off_sale_shows_them_and_does_nothing(
    moved: World, tables_folder: Path
) -> None:
    said, why = shown_and_refused(tables_folder)
    assert "Offers that fall: 1, that survive: 0" in said
    assert f"{moved.listing.sku} of {moved.vendor} on {moved.host.code}: NO_AGREEMENT" in said
    assert re.search(r"load_reference --confirm [0-9a-f]{64} ", why)
    assert Variant.objects.get(pk=moved.variant.pk).device == moved.variant.device


@pytest.mark.parametrize("how", ["--yes", "--confirm"])
def test_a_variant_that_moves_to_another_device_falls_in_the_sweep(
    moved: World, tables_folder: Path, how: str
) -> None:
    before = fence.current_revision()
    _, why = shown_and_refused(tables_folder)
    digest = [word for word in why.split() if len(word) == 64]
    said = load(tables_folder, how, *(digest if how == "--confirm" else ()))

    assert "nothing of what falls can be sold" in said
    assert "Variants changed: 1, new versions of facts: 0." in said
    moved.variant.refresh_from_db()
    assert moved.variant.device.manufacturer.name == "Xiaomi"
    revocation = Revocation.objects.latest("id")
    assert (revocation.kind, revocation.preview_falls) == ("groundwork", 1)
    assert revocation.revision_id == fence.current_revision() == before + 1
    outbox.pump()
    assert Sweep.objects.filter(revision_id=before + 1, finished_at__isnull=False).exists()
    assert ListingHost.objects.get(pk=moved.offer.pk).state == "SUSPENDED"


def test_what_falls_since_it_was_looked_at_is_not_done(
    moved: World, tables_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = ListingHost.objects.filter(pk=moved.offer.pk)
    offers.update(state="DRAFT")
    real = withdrawals.preview

    def preview(*args: Any, **kwargs: Any) -> Any:
        seen = real(*args, **kwargs)
        offers.update(state="LIVE")
        return seen

    monkeypatch.setattr(withdrawals, "preview", preview)
    _, why = shown_and_refused(tables_folder)
    assert "The world moved meanwhile" in why


def test_a_load_that_takes_nothing_away_is_on_record_too(moved: World, tables_folder: Path) -> None:
    before = Revocation.objects.count()
    ListingHost.objects.filter(pk=moved.offer.pk).update(state="DRAFT")
    assert "can be sold" not in load(tables_folder)
    assert Revocation.objects.count() == before + 1
    assert Revocation.objects.latest("id").preview_falls == 0


def test_a_first_offer_that_is_listed_meanwhile_stops_the_load(
    tables_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_listed = iter([False, True])
    monkeypatch.setattr(
        "seeds.management.commands.load_reference.ListingHost",
        SimpleNamespace(objects=SimpleNamespace(exists=lambda: next(is_listed))),
    )
    before = counts()
    with pytest.raises(CommandError, match="listed meanwhile"):
        load(tables_folder)
    assert counts() == before


def test_what_clashes_with_the_store_is_refused_and_nothing_is_written(tables_folder: Path) -> None:
    VariantFactory.create(slug="somebody-elses", model_number="2014811")
    before = counts()
    with pytest.raises(CommandError, match="One of the variants"):
        load(tables_folder)
    assert counts() == before


def test_a_digest_of_another_day_does_nothing(moved: World, tables_folder: Path) -> None:
    _, why = shown_and_refused(tables_folder, "--confirm", "0" * 64)
    assert "The world moved since that digest" in why


def test_what_falls_with_a_load_that_is_refused_is_sold_on(moved: World, tables_folder: Path) -> None:
    shown_and_refused(tables_folder)
    outbox.pump()
    assert ListingHost.objects.get(pk=moved.offer.pk).state == "LIVE"


def test_what_no_decision_reads_opens_no_revision(tables_folder: Path) -> None:
    load(tables_folder)
    before = fence.current_revision()
    edit(tables_folder, "devices.csv", replace("Bands of this variant are unconfirmed.", "Unconfirmed."))
    assert "Variants changed: 1" in load(tables_folder)
    assert fence.current_revision() == before


def test_one_device_of_two_makers_is_refused(tables_folder: Path) -> None:
    edit(tables_folder, "devices.csv", replace(",Xiaomi,Redmi,", ",Somebody Else,Redmi,"))
    lines = refusal(tables_folder)
    assert lines[0].startswith("devices.csv:3:manufacturer: 'Xiaomi' here, 'Somebody Else' in row 2")


# --- the fence --------------------------------------------------------------------------------------------


def test_nothing_is_compared_or_shown_under_the_fence(
    tables_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tables_folder)
    edit(tables_folder, "networks.csv", replace("LTE,B12,low band coverage", "LTE,B12,low band"))
    taken: list[str] = []
    real = fence.exclusive

    def exclusive(**arguments: Any) -> Revision:
        taken.append("fence")
        return real(**arguments)

    def show(done: int, what: str) -> None:
        assert not fence.is_held()
        taken.append(what)

    monkeypatch.setattr(fence, "exclusive", exclusive)
    tables = read_tables(tables_folder)
    report = loader.load(tables, by=OPERATOR, at=clock.now(), progress=show)
    assert report.facts == 1
    assert len(taken) == loader.count_records(tables) + 1
    assert taken[-1] == "fence"


def test_nothing_is_written_when_the_last_statement_is_refused(
    tables_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(**arguments: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr("authorization.facts.publish_change", break_down)
    before = counts()
    with pytest.raises(CommandError, match="nothing was written: disk full"):
        load(tables_folder)
    assert counts() == before
