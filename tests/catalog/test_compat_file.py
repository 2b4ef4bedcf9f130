"""`manage.py compat`: a file of (variant, network, date) comes back answered, row by row."""

import csv
import io
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authorization import groundwork
from authorization.actors import Actor
from carriers.models import Network
from catalog.compat_file import ANSWERED, answer_file
from catalog.models import Variant
from seeds.reference import loader
from seeds.reference.tables import read_tables

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "carriers" / "verdict_examples.csv"


@pytest.fixture
def reference():
    tables = read_tables(ROOT / "seeds" / "reference")
    loader.load(tables, by=Actor("system", "test"), at=datetime(2016, 1, 25, tzinfo=UTC))


def answer(text):
    target = io.StringIO()
    done = answer_file(io.StringIO(text, newline=""), target)
    rows = list(csv.DictReader(io.StringIO(target.getvalue())))
    assert done.rows == len(rows)
    assert done.errors == sum(bool(row["error"]) for row in rows)
    return rows


def errors_of(*rows):
    return [row["error"] for row in answer("\n".join(["variant,network,date", *rows]))]


def run(tmp_path, content, *, out="out.csv"):
    source, target = tmp_path / "in.csv", tmp_path / out
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    call_command("compat", "--csv", str(source), "--out", str(target), stdout=io.StringIO())
    return target.read_text(encoding="utf-8")


@pytest.mark.parametrize("column", ["variant_id", "model_number"])
def test_every_worked_example_comes_back_as_it_is(reference, tmp_path, column):
    """Through the whole of it: file, database, snapshot by date, file."""
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        examples = list(csv.DictReader(file))
    asked = io.StringIO()
    writer = csv.writer(asked)
    writer.writerow(["variant", "network", "date"])
    writer.writerows([row[column], row["network"], row["on"]] for row in examples)

    answered = list(csv.DictReader(io.StringIO(run(tmp_path, asked.getvalue()))))

    same = ("verdict", "sub", "voice", "data", "reasons", "cert_blockers", "input_confidence")
    assert len(answered) == len(examples) == 125
    for row, example in zip(answered, examples, strict=True):
        assert {name: row[name] for name in same} == {name: example[name] for name in same}, example
        assert (row["error"], row["network_era"]) == ("", example["on"][:4])


def test_the_date_picks_the_snapshot_that_was_in_force(reference):
    """The older snapshot holds until the end of 2022, the newer one from then on."""
    rows = answer(
        "variant,network,date\n"
        "2013062,tmobile,2016-02-02\n2013062,tmobile,2022-06-30\n2013062,tmobile,2022-07-01\n"
        "2013062,tmobile,2022-12-31\n2013062,tmobile,2023-01-01\n2013062,tmobile,2026-11-22\n"
    )
    assert [(row["network_era"], row["sub"] or row["verdict"]) for row in rows] == [
        ("2016", "PARTIAL_3G"),
        ("2016", "PARTIAL_3G"),
        ("2016", "PARTIAL_2G"),
        ("2016", "PARTIAL_2G"),
        ("2026", "NONE"),
        ("2026", "NONE"),
    ]


def test_what_began_on_a_day_counts_for_it(reference):
    """Who corrects a radio in the afternoon and asks about today gets the corrected one."""
    phone = Variant.objects.get(model_number="2013061")
    with groundwork.recording(
        by=Actor("system", "test"), at=datetime(2026, 11, 1, tzinfo=UTC), reason="a band found"
    ) as recorder:
        recorder.variant_radio(
            variant=phone,
            fields={},
            bands=[{"rat": "LTE", "band": "B12"}],
            ims={},
            valid_from=datetime(2026, 11, 1, 15, tzinfo=UTC),
        )
    before, on_it = answer("variant,network,date\n2013061,tmobile,2026-10-31\n2013061,tmobile,2026-11-01\n")
    assert "not on record" in before["error"]
    assert on_it["data"] == "LTE_LIMITED"


def test_rows_keep_their_order_and_their_further_columns(reference):
    rows = answer(
        "note, Date ,who,NETWORK,variant\n"
        'last,2026-11-22,"Kim, Bo",att,A3090\nfirst,2016-02-02,,tmobile,2014818\nlast,2026-11-22,=1+1,att,A3090\n'
    )
    assert [(row["note"], row["who"], row["verdict"]) for row in rows] == [
        ("last", "Kim, Bo", "FULL"),
        ("first", "", "NONE"),
        ("last", "=1+1", "FULL"),
    ]


def test_a_row_that_cannot_be_answered_says_why_and_the_others_are_answered(reference):
    said = errors_of(
        "2014818,tmobile,2016-02-02",
        "Redmi 2,tmobile,2016-02-02",
        "2014818,t-mobile,2016-02-02",
        "2014818,tmobile,2016-2-2",
        "2014818,tmobile,20160202",
        "2014818,tmobile,2016-02-30",
        "2014818,tmobile,",
        ",tmobile,2016-02-02",
        "2014818,,2016-02-02",
        "2014818,tmobile",
        "2014818,tmobile,2016-02-02,more",
        "2014818,tmobile,1999-01-01",
        "2014818,tmobile,9999-12-31",
        "2014818,sprint,2016-02-02",
        "2014819,att,2016-02-02",
    )
    assert said[0] == said[-1] == ""
    assert said[1].startswith("No variant has this slug or model number. Nearest model numbers: 2014811")
    assert said[2] == "No network has this code. Known: att, sprint, tmobile, verizon."
    assert all("YYYY-MM-DD" in words for words in said[3:7])
    assert "slug or its exact model number" in said[7]
    assert "code of a host" in said[8]
    assert "has 2 cells and the first row 3" in said[9]
    assert "has 4 cells" in said[10]
    assert all("not on record for this date" in words for words in said[11:13])
    assert "whom it admits" in said[13]


def test_cautions_stand_beside_the_verdict(reference):
    Variant.objects.filter(model_number="A063").update(checked_at=datetime(2024, 1, 5, tzinfo=UTC))
    Network.objects.update(checked_at=datetime(2026, 11, 1, tzinfo=UTC))
    (row,) = answer("variant,network,date\nA063,tmobile,2026-11-22\n")
    assert row["cautions"] == "BANDS_UNVERIFIED BANDS_STALE"
    assert "last checked on 2024-01-05, 1,052 days earlier" in row["caution_words"]
    assert row["summary"].endswith("(unverified)")


def test_the_number_of_queries_is_that_of_chunks_not_of_rows(reference, monkeypatch):
    monkeypatch.setattr("catalog.compat_file._CHUNK", 50)
    variants = list(Variant.objects.values_list("slug", flat=True))
    days = [f"{year}-0{month}-01" for year in range(2016, 2027) for month in range(1, 10)]

    def count(rows):
        asked = islice(((v, h, d) for d in days for v in variants for h in ("tmobile", "att")), rows)
        text = "variant,network,date\n" + "\n".join(",".join(row) for row in asked)
        with CaptureQueriesContext(connection) as captured:
            assert not [row for row in answer(text) if row["error"]]
        return len(captured)

    first, second, third = count(10), count(50), count(250)
    assert (first, second) == (8, 8)
    assert third == 8 + 4 * 5


def test_unknown_names_are_looked_for_a_limited_number_of_times(reference, monkeypatch):
    monkeypatch.setattr("catalog.compat_file._SUGGESTED", 2)
    said = errors_of(
        *(f"{name},tmobile,2016-02-02" for name in ("2014818x", "ONE A2006", "A30900", "2014818x"))
    )
    assert ["Nearest" in words for words in said] == [True, True, False, True]


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        ("", "It is empty"),
        ("variant,network\nx,y\n", "does not name date"),
        ("variant;network;date\nx;y;z\n", "Separate its cells by commas"),
        ("variant\tnetwork\tdate\n", "Separate its cells by commas"),
        ("variant,variant,network,date\n", "variant twice"),
        ("variant,network,date,verdict,Error\n", "verdict, error, which the answer writes itself"),
        ('variant,network,date\n2014818,tmobile,2016-02-02\n"open,tmobile,2016-02-02\n', "is no CSV"),
        ('variant,network,date\n"a"b,tmobile,2016-02-02\n', "Line 2 is no CSV"),
        (b"variant,network,date\nMi 4\xff,tmobile,2016-02-02\n", "not UTF-8"),
        ("variant,network,date\n".encode("utf-16"), "not UTF-8"),
        (b"PK\x03\x04\x00\x00\x00\x00", "NUL"),
        (b"variant,network,date\na\x00b,tmobile,2016-02-02\n", "Line 2 holds a NUL"),
    ],
)
def test_what_is_no_such_file_is_refused_whole(reference, tmp_path, content, cure):
    (tmp_path / "out.csv").write_text("an earlier answer")
    with pytest.raises(CommandError, match=cure) as refused:
        run(tmp_path, content)
    assert refused.value.returncode == 1
    assert (tmp_path / "out.csv").read_text() == "an earlier answer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_bom_is_no_part_of_the_first_column(reference, tmp_path, mark):
    answered = run(tmp_path, f"{mark}variant,network,date\r\n2014818,tmobile,2016-02-02\r\n\r\n")
    header, row = answered.splitlines()
    assert header == ",".join(["variant", "network", "date", *ANSWERED])
    assert row.startswith("2014818,tmobile,2016-02-02,NONE,")


def test_a_file_with_a_header_only_is_answered_with_one(reference, tmp_path):
    assert run(tmp_path, "variant,network,date\n").splitlines() == [
        ",".join(["variant", "network", "date", *ANSWERED])
    ]


def test_the_input_is_never_written_over_and_what_is_missing_is_named(reference, tmp_path):
    asked = "variant,network,date\n"
    with pytest.raises(CommandError, match="name another file"):
        run(tmp_path, asked, out="in.csv")
    assert (tmp_path / "in.csv").read_text() == asked
    with pytest.raises(CommandError, match=r"none\.csv: No such file"):
        call_command("compat", "--csv", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out.csv"))
    with pytest.raises(CommandError, match=r"No such file or directory\. Nothing was written"):
        run(tmp_path, asked, out="no-folder/out.csv")
    for folder in (".", "/"):
        with pytest.raises(CommandError, match="no plain file"):
            call_command("compat", "--csv", str(tmp_path / "in.csv"), "--out", folder)
    with pytest.raises(CommandError, match="Not a directory"):
        run(tmp_path, asked, out="in.csv/out.csv")
