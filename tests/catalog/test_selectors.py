"""The verdict from the database is the verdict from the tables."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization.actors import Actor
from carriers.models import HostCarrier
from carriers.selectors import hosts_of, snapshots_of
from catalog.models import Variant
from catalog.selectors import verdicts_for
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
    verdicts = verdicts_for(variants.values(), list(hosts.values()), at=at)
    assert examples
    for row in examples:
        verdict = verdicts[variants[row["variant_id"]].pk, hosts[row["network"]].pk]
        found = (verdict.level, verdict.sub, verdict.voice, verdict.data, " ".join(verdict.reasons))
        expected = (row["verdict"], row["sub"], row["voice"], row["data"], row["reasons"])
        assert found == expected, row


def test_the_number_of_queries_does_not_grow(reference):
    variants, hosts = list(Variant.objects.all()), list(HostCarrier.objects.all())
    with CaptureQueriesContext(connection) as few:
        verdicts_for(variants[:1], hosts[:1], at=NOON_2026)
    with CaptureQueriesContext(connection) as many:
        verdicts_for(variants, hosts, at=NOON_2026)
    assert len(few) == len(many) == 5


def test_what_is_not_on_record_has_no_verdict(reference):
    long_ago = datetime(1990, 1, 1, tzinfo=UTC)
    hosts = list(HostCarrier.objects.all())
    assert verdicts_for(Variant.objects.all(), hosts, at=long_ago) == {}
    # No admission rule of Sprint is recorded.
    assert HostCarrier.objects.get(code="sprint").pk not in snapshots_of(hosts, at=NOON_2016)


def test_the_hosts_of_an_operator_are_those_of_the_day(reference):
    assert [host.code for host in hosts_of("US Mobile", at=NOON_2016)] == ["tmobile"]
    assert [host.code for host in hosts_of("US Mobile", at=NOON_2026)] == ["att", "tmobile", "verizon"]
    assert hosts_of("Nobody", at=NOON_2026) == []
