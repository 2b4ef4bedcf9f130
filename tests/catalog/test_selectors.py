"""The verdict from the database is the verdict from the tables."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import groundwork
from authorization.actors import Actor
from authorization.models import Revision
from carriers.models import HostCarrier, Network
from carriers.selectors import hostings_of, hosts_of, networks_on_record, snapshots_of
from catalog.models import Tac, Variant
from catalog.selectors import judged_for, variant_of_tac
from seeds.reference import loader
from seeds.reference.tables import read_tables

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "carriers" / "verdict_examples.csv"
NOON_2016, NOON_2026 = datetime(2016, 2, 2, 12, tzinfo=UTC), datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def reference():
    tables = read_tables(ROOT / "seeds" / "reference")
    loader.load(tables, by=Actor("system", "test"), at=datetime(2016, 1, 25, tzinfo=UTC))


@pytest.mark.parametrize("at", [NOON_2016, NOON_2026], ids=["2016", "2026"])
def test_every_example_has_the_same_verdict_from_the_database(reference, at):
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        examples = [row for row in csv.DictReader(file) if row["on"] == at.date().isoformat()]
    variants = {variant.slug: variant for variant in Variant.objects.all()}
    hosts = {host.code: host for host in HostCarrier.objects.all()}
    judged = judged_for(variants.values(), list(hosts.values()), at=at)
    assert examples
    for row in examples:
        verdict = judged[variants[row["variant_id"]].pk, hosts[row["network"]].pk].verdict
        found = (verdict.level, verdict.sub, verdict.voice, verdict.data, " ".join(verdict.reasons))
        expected = (row["verdict"], row["sub"], row["voice"], row["data"], row["reasons"])
        assert found == expected, row


def test_the_number_of_queries_does_not_grow(reference):
    variants, hosts = list(Variant.objects.all()), list(HostCarrier.objects.all())
    with CaptureQueriesContext(connection) as few:
        judged_for(variants[:1], hosts[:1], at=NOON_2026)
    with CaptureQueriesContext(connection) as many:
        judged_for(variants, hosts, at=NOON_2026)
    assert len(few) == len(many) == 6


def test_what_is_not_on_record_has_no_verdict(reference):
    long_ago = datetime(1990, 1, 1, tzinfo=UTC)
    hosts = list(HostCarrier.objects.all())
    assert judged_for(Variant.objects.all(), hosts, at=long_ago) == {}
    # No admission rule of Sprint is recorded.
    assert HostCarrier.objects.get(code="sprint").pk not in snapshots_of(hosts, at=NOON_2016)


def test_the_hosts_of_an_operator_are_those_of_the_day(reference):
    assert [host.code for host in hosts_of("US Mobile", at=NOON_2016)] == ["tmobile"]
    assert [host.code for host in hosts_of("US Mobile", at=NOON_2026)] == ["att", "tmobile", "verizon"]
    assert hosts_of("Nobody", at=NOON_2026) == []


@pytest.mark.parametrize("at", [NOON_2016, NOON_2026], ids=["2016", "2026"])
def test_what_is_judged_carries_its_cautions_and_its_snapshot(reference, at):
    Variant.objects.update(checked_at=at)
    Network.objects.update(checked_at=at)
    variants, hosts = list(Variant.objects.all()), list(HostCarrier.objects.all())
    with CaptureQueriesContext(connection) as seen:
        judged = judged_for(variants, hosts, at=at)
    assert len(seen) == 6
    assert {one.network_era for one in judged.values()} == {str(at.year)}
    a063, t_mobile = Variant.objects.get(model_number="A063"), HostCarrier.objects.get(code="tmobile")
    assert "BANDS_UNVERIFIED" in {caution.code for caution in judged[a063.pk, t_mobile.pk].cautions}
    # Of a phone whose bands are in a source each nothing needs to be said but that its VoLTE has none.
    a2846 = Variant.objects.get(model_number="A2846")
    assert {caution.code for caution in judged[a2846.pk, t_mobile.pk].cautions} == {"VOLTE_UNVERIFIED"}


def test_a_check_long_ago_is_said_from_the_day_after_the_limit(reference, settings):
    settings.REFERENCE_STALE_AFTER_DAYS = 10
    phone, host = Variant.objects.get(model_number="2013062"), HostCarrier.objects.get(code="tmobile")
    checked = datetime(2026, 1, 1, 23, tzinfo=UTC)
    Variant.objects.filter(pk=phone.pk).update(checked_at=checked)
    Network.objects.filter(host=host).update(checked_at=checked)
    for day, codes in ((11, set()), (12, {"BANDS_STALE", "NETWORK_STALE"})):
        judged = judged_for([phone], [host], at=datetime(2026, 1, day, tzinfo=UTC))
        assert {caution.code for caution in judged[phone.pk, host.pk].cautions} == codes


@pytest.mark.parametrize(
    ("fields", "marks", "is_said"),
    [
        ({"lte_confidence": "M"}, {"LTE": "M"}, False),
        ({"lte_confidence": "M"}, {"LTE": "L"}, True),
        ({"lte_confidence": "L"}, {"LTE": "H"}, True),
        ({"sources": {"nr": ("GSMA", "L")}}, {"NR": ""}, True),
        ({"sources": {"nr": ("GSMA", "M")}}, {"NR": "L"}, True),
        ({"sources": {"nr": ("GSMA", "M")}}, {"NR": ""}, False),
        ({"sources": {"cdma": ("GSMA", "L")}}, {}, False),
    ],
)
def test_the_lowest_mark_of_a_list_and_its_bands_is_said(reference, fields, marks, is_said):
    """T-Mobile runs LTE and 5G in 2026, and no CDMA."""
    phone, host = Variant.objects.get(model_number="A2846"), HostCarrier.objects.get(code="tmobile")
    bands = {"LTE": "B12", "NR": "n71"}
    with groundwork.recording(by=Actor("system", "test"), at=NOON_2026, reason="a radio") as recorder:
        recorder.variant_radio(
            variant=phone,
            fields={key: value for key, value in fields.items() if key != "sources"},
            bands=[{"rat": rat, "band": bands[rat], "confidence": mark} for rat, mark in marks.items()],
            ims={},
            valid_from=datetime(2014, 1, 1, tzinfo=UTC),
            sources=fields.get("sources"),
        )
    judged = judged_for([phone], [host], at=NOON_2026)[phone.pk, host.pk]
    assert ("BANDS_UNVERIFIED" in {caution.code for caution in judged.cautions}) is is_said


def test_a_verdict_as_known_at_a_revision_reads_what_was_known_then(reference):
    phone, host = Variant.objects.get(model_number="2013062"), HostCarrier.objects.get(code="tmobile")
    known = Revision.objects.order_by("-n")[0].n
    with groundwork.recording(by=Actor("system", "test"), at=NOON_2026, reason="a band found") as recorder:
        recorder.variant_radio(
            variant=phone,
            fields={},
            bands=[{"rat": "LTE", "band": "B12"}],
            ims={"tmobile": "yes"},
            valid_from=datetime(2014, 1, 1, tzinfo=UTC),
        )
    now = judged_for([phone], [host], at=NOON_2026)[phone.pk, host.pk].verdict
    then = judged_for([phone], [host], at=NOON_2026, known_at=known)[phone.pk, host.pk].verdict
    assert (then.data, now.data) == ("NONE", "LTE_LIMITED")
    assert judged_for([phone], [host], at=NOON_2026, known_at=0) == {}


def test_of_six_phones_called_mi_4_those_without_a_recorded_radio_have_no_verdict(reference):
    """Nothing is known of them, which is not the same as a bad verdict; nor is it that of their namesakes."""
    namesake = Variant.objects.get(model_number="2014215")
    unknown = [
        Variant.objects.create(
            device=namesake.device, slug=f"mi4-{model}", model_number=f"{model}-unrecorded"
        )
        for model in ("2014218", "2014716", "2014726")
    ]
    hosts = HostCarrier.objects.all()
    judged = judged_for([namesake, *unknown], hosts, at=NOON_2016)
    assert {variant_id for variant_id, _ in judged} == {namesake.pk}


def test_variants_by_tac(reference):
    phone = Variant.objects.get(model_number="A2846")
    Tac.objects.filter(code="00999999").delete()
    Tac.objects.create(code="00999999", variant=phone, is_synthetic=True)
    with CaptureQueriesContext(connection) as seen:
        found = variant_of_tac("00999999")
        assert found == phone
        assert str(found.device)
    assert len(seen) == 1
    assert variant_of_tac("00999998") is None
    assert variant_of_tac("0099999") is None


def test_what_is_recorded_of_networks_and_hostings_is_readable_by_date(reference):
    hosts = list(HostCarrier.objects.all())
    then, now = (networks_on_record(hosts, at=at) for at in (NOON_2016, NOON_2026))
    by_code = {host.code: host.pk for host in hosts}
    assert then[by_code["verizon"]].admission == "list"
    # Of Sprint there are bands without a rule: no verdict, and still something to show.
    assert then[by_code["sprint"]].bands.count() == 4
    assert [row.band for row in now[by_code["tmobile"]].bands.all()][:2] == ["B66", "B4"]
    assert [
        (row.head.host.code, row.head.product_name) for row in hostings_of("US Mobile", at=NOON_2026)
    ] == [
        ("att", "Dark Star"),
        ("tmobile", ""),
        ("tmobile", "Light Speed"),
        ("verizon", "Warp"),
    ]
