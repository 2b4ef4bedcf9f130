"""Sheets of variants as people and spreadsheets write them: every fault has its line, its column and its cure."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authorization.variant_sheet import (
    MAX_FAULTS,
    MAX_ROWS,
    REQUIRED,
    compare,
    known_columns,
    read_sheet,
)

SHIPPED = Path(__file__).parents[2] / "seeds" / "reference"
HOSTS = ("tmobile", "att", "verizon")
SOURCES = ("K", "MM", "GSMA17")
ROW = {
    "variant_id": "acme-one-a1",
    "manufacturer": "Acme",
    "brand": "Acme",
    "marketing_name": "One",
    "model_number": "A1",
}


def written(*rows, delimiter=",", newline="\n", **columns):
    """A sheet of rows that differ from ROW in these columns."""
    wide = [{**ROW, **columns, **row} for row in rows or ({},)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(wide[0]), delimiter=delimiter, lineterminator=newline)
    writer.writeheader()
    writer.writerows(wide)
    return text.getvalue()


def read(text):
    return read_sheet(text, hosts=HOSTS, sources=SOURCES)


def said(text):
    return [str(fault) for fault in read(text).faults]


def test_the_shipped_table_has_no_fault():
    with (SHIPPED / "sources.csv").open(encoding="utf-8", newline="") as file:
        codes = [row["code"] for row in csv.DictReader(file)]
    sheet = read_sheet((SHIPPED / "devices.csv").read_text(encoding="utf-8"), hosts=HOSTS, sources=codes)
    assert not sheet.faults
    assert len(sheet.rows) == 40
    assert sheet.read_over == ("set", "tmobile_status_2016_or_now", "tmobile_src", "tmobile_conf")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "\ufeff"])
@pytest.mark.parametrize("after", ["", "\n", "\r\n\r\n", "{d}{d}{d}{d}\r\n"])
def test_what_spreadsheets_do_to_a_table_is_met(delimiter, newline, before, after):
    text = before + written(lte_bands="B2;B4", delimiter=delimiter, newline=newline)
    sheet = read(text + after.format(d=delimiter))
    assert not sheet.faults
    assert [row.many("lte_bands") for row in sheet.rows] == [["B2", "B4"]]


def test_a_spreadsheet_may_name_its_delimiter_and_lines_count_as_an_editor_counts():
    text = "sep=;\n" + written(
        {}, {"variant_id": "B AD", "model_number": "B"}, delimiter=";", notes="two\nlines"
    )
    (fault,) = read(text).faults
    assert (fault.line, fault.column) == (5, "variant_id")


def test_empty_columns_at_the_end_are_no_columns():
    sheet = read("\n".join(line + ",," for line in written().splitlines()))
    assert not sheet.faults
    assert sheet.columns == REQUIRED


@pytest.mark.parametrize(
    ("columns", "column", "words"),
    [
        ({"variant_id": "Acme One"}, "variant_id", "Write it like"),
        ({"variant_id": ""}, "variant_id", "is empty"),
        ({"manufacturer": ""}, "manufacturer", "is empty"),
        ({"brand": " Acme"}, "brand", "blanks at an end"),
        ({"marketing_name": "x" * 101}, "marketing_name", "Shorten it"),
        ({"model_number": "2.01481E+06"}, "model_number", "Format the column as text"),
        ({"codename": "a\x07b"}, "codename", "control character"),
        ({"launch_ym": "Jan-15"}, "launch_ym", "Write it like 2015-01"),
        ({"launch_ym": "2015-13"}, "launch_ym", "Write it like 2015-01"),
        ({"lte_bands": "B2;B2"}, "lte_bands", "repeated entry"),
        ({"lte_bands": "B2,B4"}, "lte_bands", "is no band"),
        ({"lte_bands": "700"}, "lte_bands", "is no band"),
        ({"gsm_bands": "GSM 850"}, "gsm_bands", "is no band"),
        ({"nr_bands": "B71"}, "nr_bands", "is no band"),
        ({"lte_bands": "B2", "lte_sw_disabled": "B12"}, "lte_sw_disabled", "not among the lte_bands"),
        ({"gsm_bands": "GSM850", "gsm_sw_disabled": "GSM900"}, "gsm_sw_disabled", "not among"),
        ({"ims_tmobile": "perhaps"}, "ims_tmobile", "Take yes, no, pending, unknown"),
        ({"tacs": "3.5E+14"}, "tacs", "its digits are lost"),
        ({"tacs": "3,5E+14"}, "tacs", "its digits are lost"),
        ({"tacs": "100001"}, "tacs", "all eight digits"),
        ({"tacs": "00100001;00100001"}, "tacs", "repeated entry"),
        ({"tacs": "00100001 00100002"}, "tacs", "all eight digits"),
        ({"tacs": "\u0660\u0660\u0661\u0660\u0660\u0660\u0660\u0661"}, "tacs", "all eight digits"),
        ({"lte_src": "NOBODY", "lte_conf": "M"}, "lte_src", "is not in the sources of the store"),
        ({"lte_src": "MM+NOBODY", "lte_conf": "M"}, "lte_src", "'NOBODY'"),
        ({"lte_src": "MM", "lte_conf": "sure"}, "lte_conf", "Take H, M, L"),
        ({"lte_src": "K", "lte_conf": "H"}, "lte_conf", "none was read"),
        ({"fcc_id": "2" * 33}, "fcc_id", "Shorten it"),
        ({"software_revision": "v" * 65}, "software_revision", "Shorten it"),
    ],
)  # fmt: skip
def test_a_faulty_cell_is_named_with_its_cure(columns, column, words):
    sheet = read(written(**columns))
    assert [(fault.line, fault.column) for fault in sheet.faults] == [(2, column)]
    assert words in sheet.faults[0].message
    assert sheet.is_readable, "the other rows of such a file can be taken"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no header"),
        ("\n\n", "holds no header"),
        ("\ufeff", "holds no header"),
        (",".join(REQUIRED), "has no rows"),
        (written().replace("brand", "Brand", 1), "this column is missing"),
        (written(colour="red"), "is no column known here"),
        (written().replace("brand", "manufacturer", 1), "stands twice"),
        (written(lte_sw_disabled=""), "needs the column lte_bands"),
        (written(lte_src="MM"), "a source and how sure it is go together"),
        (written(tacs_src="MM"), "needs the column tacs"),
        (written(ims_nobody="yes"), "is no column known here"),
        (written() + 'x,"', "not readable as CSV"),
    ],
)
def test_a_fault_of_the_whole_file_refuses_all_of_it(text, words):
    sheet = read(text)
    assert words in " ".join(map(str, sheet.faults))
    assert not sheet.is_readable or not sheet.rows


def test_what_may_stand_once_is_named_where_it_stands_again():
    text = written({"tacs": "00100001"}, {"tacs": "00100001"})
    assert said(text) == [
        "line 3, variant_id: acme-one-a1 stands in line 2 already. Keep one of the two.",
        "line 3, model_number: A1 stands in line 2 already. Keep one of the two.",
        "line 3, tacs: 00100001 stands in line 2 already. Keep one of the two.",
    ]


def test_a_row_with_too_few_or_too_many_cells_is_named_and_the_rest_is_read():
    text = written() + "b-two-b2,Acme\n" + ",".join([*ROW.values(), "more"]) + "\n"
    sheet = read(text)
    assert [(fault.line, fault.message.split(".")[0]) for fault in sheet.faults] == [
        (3, "has 2 cells, the header has 5"),
        (4, "has 6 cells, the header has 5"),
    ]
    assert len(sheet.rows) == 1


def test_a_file_of_more_rows_than_are_taken_is_refused():
    line = written().splitlines()[1]
    text = "\n".join([",".join(REQUIRED), *[line] * (MAX_ROWS + 1)])
    assert "in several files" in said(text)[0]
    assert not read(text).is_readable


def test_rows_that_cannot_be_told_apart_count_as_rows():
    text = written() + "x,y\n" * (MAX_ROWS * 2)
    sheet = read(text)
    assert len(sheet.faults) <= MAX_ROWS
    assert "in several files" in str(sheet.faults[-1])
    assert not sheet.is_readable


@pytest.mark.parametrize(
    "text",
    [
        written(lte_bands="B2", lte_sw_disabled=";".join(f"X{n}" for n in range(12_000))),
        written(*({"tacs": ";".join(f"{n:08d}" for n in range(12_000))} for _ in range(2))),
        ",".join([*REQUIRED, *(f"x{n}" for n in range(12_000))]),
    ],
)
def test_no_file_has_more_faults_than_anybody_reads(text):
    sheet = read(text)
    assert len(sheet.faults) == MAX_FAULTS + 1
    assert "Correct those that are named" in str(sheet.faults[-1])
    assert not sheet.is_readable


_HEADERS = st.lists(st.sampled_from([*known_columns(HOSTS), "colour", ""]), max_size=8).map(",".join)
_CELLS = st.lists(st.text(alphabet='aB1;,"\r\n\t\x00E+.é', max_size=8), max_size=8).map(",".join)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text()
    | st.tuples(_HEADERS, _CELLS, _CELLS).map("\n".join)
    | _CELLS.map(lambda row: written() + row)
)
def test_any_text_gives_faults_or_rows(text):
    sheet = read(text)
    assert sheet.faults or sheet.rows
    assert all(fault.message and fault.line >= 0 for fault in sheet.faults)
    assert not compare(sheet, sheet).cells


def test_two_sheets_are_compared_cell_by_cell():
    older = read(written({"notes": "a"}, {"variant_id": "acme-two-a2", "model_number": "A2", "notes": ""}))
    newer = read(written({"notes": "b"}, {"variant_id": "acme-three-a3", "model_number": "A3"}, codename="c"))
    found = compare(older, newer)
    assert (found.new, found.gone) == (("acme-three-a3",), ("acme-two-a2",))
    assert (found.columns_new, found.columns_gone) == (("codename",), ())
    assert [(cell.variant, cell.column, cell.before, cell.after) for cell in found.cells] == [
        ("acme-one-a1", "notes", "a", "b")
    ]
    assert compare(older, older).is_same


def test_what_cannot_be_read_is_the_same_as_nothing():
    good, bad = read(written()), read(written(colour="red"))
    for older, newer, name in ((good, bad, "newer"), (bad, good, "older"), (bad, bad, "older")):
        found = compare(older, newer)
        assert not found.is_same
        assert found.unreadable[0].startswith(f"the {name} file, colour: is no column known here")
        assert not found.gone


def test_lines_that_were_left_out_of_the_comparing_are_named():
    whole = written({}, {"variant_id": "acme-two-a2", "model_number": "A2"})
    found = compare(read(whole), read(written() + "acme-two-a2,Acme\n"))
    assert found.left_out == ((), (3,))
    assert not found.is_same
    cut = read(written() + "acme-two-a2,Acme\n")
    assert not compare(cut, cut).is_same
