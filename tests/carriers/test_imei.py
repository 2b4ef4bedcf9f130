"""Reading a phone's number: what is read, what is refused, and with which cure."""

import ast
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stdnum import luhn

from carriers import imei
from carriers.imei import Fault, Imei, Kind, Refusal, parse

ROOT = Path(__file__).parents[2]
# The example of the textbooks, and one with an invented TAC.
TEXTBOOK = "490154203237518"
INVENTED = "001234561234562"


def read(text: str) -> Imei:
    found = parse(text)
    assert isinstance(found, Imei), found
    return found


def fault(text: str) -> Fault:
    found = parse(text)
    assert isinstance(found, Refusal), found
    return found.fault


@pytest.mark.parametrize(
    "text",
    [
        TEXTBOOK,
        "49-015420-323751-8",
        "49 015420 323751 8",
        "490154.203237.518",
        "49/015420/323751/8",
        "  490154203237518\n",
        "IMEI: 490154203237518",
        "imei 490154203237518",
        "IMEI1: 490154203237518",
        "IMEI 2: 490154203237518",
        "IMEI (slot 1): 49 015420 323751 8",
        "IMEI No. 490154203237518",
        "'490154203237518",
        '="490154203237518"',
        "490154203237518.0",
        "490154203237518,",
        "49\u00a0015420\u2009323751\u202f8",
        "49\u2013015420\u2011323751\u22128",
        "\u202a490154203237518\u202c",
        "4901\u00ad5420\u200b3237518\ufeff",
    ],
)
def test_how_phones_boxes_and_spreadsheets_write_it(text):
    assert read(text) == Imei(Kind.IMEI, "49015420", "323751", "8", "")


def test_digits_of_every_script_are_digits():
    """A phone that is set to Arabic shows its number in Arabic digits; a Japanese keyboard types wide ones."""
    for zero in ("\u0660", "\u06f0", "\u0966", "\uff10", "\U0001d7ce"):
        assert read("".join(chr(ord(zero) + int(digit)) for digit in TEXTBOOK)) == read(TEXTBOOK)


@pytest.mark.parametrize(
    "text", ["49015420323751\u00b8", "49015420323751\u2467", "49015420323751\u00b2", "\u2167" * 15]
)
def test_what_only_looks_like_a_digit_is_none(text):
    assert fault(text) == Fault.NOT_DIGITS


def test_sixteen_digits_have_a_software_version_and_no_check_digit():
    found = read("49-015420-323751-04")
    assert (found.kind, found.tac, found.check_digit, found.software_version) == (
        Kind.IMEISV,
        "49015420",
        "",
        "04",
    )


def test_phones_show_the_software_version_behind_a_slash():
    found = read("49015420 323751 8 / 04")
    assert (found.kind, found.check_digit, found.software_version) == (Kind.IMEI, "8", "04")
    assert fault("49015420 323751 8  04") == Fault.WRONG_LENGTH


def test_one_of_the_test_body_is_read_and_known_for_one():
    assert read(INVENTED).is_test
    assert not read(TEXTBOOK).is_test


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Fault.EMPTY),
        (" - ", Fault.EMPTY),
        ("   ", Fault.EMPTY),
        ("IMEI:", Fault.EMPTY),
        ("\u200b", Fault.EMPTY),
        ("4" * 101, Fault.TOO_LONG),
        ("4.90154E+14", Fault.SPREADSHEET),
        ("4,90154E+14", Fault.SPREADSHEET),
        ("4.90154203237518E+14", Fault.SPREADSHEET),
        ("5E14", Fault.SPREADSHEET),
        ("49015420323751", Fault.CHECK_DIGIT_MISSING),
        ("4901542032375", Fault.WRONG_LENGTH),
        ("7", Fault.WRONG_LENGTH),
        ("49015420323751804", Fault.WRONG_LENGTH),
        ("4" * 33, Fault.WRONG_LENGTH),
        ("8901260123456789012", Fault.SIM_NUMBER),
        ("89012601234567890123", Fault.SIM_NUMBER),
        ("8901260123456789012F", Fault.SIM_NUMBER),
        ("890126012345678901", Fault.SIM_NUMBER),
        ("89049032005008882600012345678901", Fault.SIM_NUMBER),
        ("A0000049D34E12", Fault.MEID),
        ("a0-000049-d34e12", Fault.MEID),
        ("268435459603245842", Fault.MEID),
        ("123456789012345678", Fault.WRONG_LENGTH),
        ("490154203237518 356938035643809", Fault.TWO_NUMBERS),
        ("490154203237518, 356938035643809", Fault.TWO_NUMBERS),
        ("490154203237518\n356938035643809", Fault.TWO_NUMBERS),
        ("IMEI1: 490154203237518; IMEI2: 356938035643809", Fault.TWO_NUMBERS),
        ("49O154203237518", Fault.NOT_DIGITS),
        ("R58N30ABCDE", Fault.NOT_DIGITS),
        ("+1 555 010 9999", Fault.NOT_DIGITS),
        ("0" * 15, Fault.ALL_THE_SAME),
        ("0" * 16, Fault.ALL_THE_SAME),
        ("1" * 15, Fault.ALL_THE_SAME),
        ("9" * 16, Fault.ALL_THE_SAME),
        ("0000000000000018", Fault.ALL_THE_SAME),
        ("000000001234564", Fault.ALL_THE_SAME),
        ("020000001234562", Fault.RESERVED_BODY),
        ("0900000012345678", Fault.RESERVED_BODY),
        ("980078011234564", Fault.RESERVED_BODY),
        ("490154203237519", Fault.CHECK_DIGIT_WRONG),
    ],
)
def test_what_is_refused(text, expected):
    assert fault(text) == expected


def test_the_block_that_was_given_out_of_the_future_is_read():
    for tac in imei.GIVEN_OUT_OF_FUTURE:
        assert read(f"{tac}123456" + luhn.calc_check_digit(f"{tac}123456")).tac == tac


def test_a_refusal_says_the_cure_and_which_body():
    said = parse("020000001234562")
    assert isinstance(said, Refusal)
    assert "begin with 02 are reserved for tests" in said.message
    missing = parse("49015420323751")
    assert isinstance(missing, Refusal)
    assert "check digit, is missing" in missing.message
    sim = parse("8901260123456789012")
    assert isinstance(sim, Refusal)
    assert "number of the SIM card" in sim.message
    for text in (
        "",
        "4" * 101,
        "5E14",
        "4901",
        "4" * 19,
        "R58N",
        "0" * 15,
        "490154203237519",
        "02" + "1" * 13,
    ):
        refusal = parse(text)
        assert isinstance(refusal, Refusal)
        assert "*#06#" in refusal.message


# --- for every number and every text ------------------------------------------------------------------------

bodies = st.sampled_from(["00", "01", "35", "44", "49", "86", "91", "99"])
firsts = st.builds(
    lambda body, rest: body + rest, bodies, st.text("0123456789", min_size=12, max_size=12)
).filter(lambda digits: digits[:8] != "00000000" and len(set(digits)) > 1)
numbers = firsts.map(lambda digits: digits + luhn.calc_check_digit(digits))
separators = st.sampled_from(["", " ", "-", ".", "/", "\u2013", "\u00a0", "\u200e", " - "])


@given(numbers)
def test_every_number_with_its_check_digit_is_read(number):
    found = read(number)
    assert found.tac + found.serial + found.check_digit == number


@given(numbers, st.integers(0, 14), st.integers(1, 9))
def test_no_single_wrong_digit_passes(number, place, step):
    wrong = number[:place] + str((int(number[place]) + step) % 10) + number[place + 1 :]
    assert isinstance(parse(wrong), Refusal)


@given(numbers, st.integers(0, 13))
def test_no_two_digits_that_changed_places_pass(number, place):
    """Luhn's sum is the same for 09 and 90; every other pair it tells apart."""
    pair = number[place : place + 2]
    assume(pair[0] != pair[1] and pair not in ("09", "90"))
    assert isinstance(parse(number[:place] + pair[::-1] + number[place + 2 :]), Refusal)


@given(numbers, st.lists(separators, min_size=16, max_size=16))
def test_the_way_it_is_written_changes_nothing(number, between):
    written = "".join(gap + digit for gap, digit in zip(between, number, strict=False)) + between[-1]
    assume(len(written) <= imei.MOST_CHARACTERS)
    assert read(written) == read(number)


@given(firsts, st.text("0123456789", min_size=2, max_size=2), st.sampled_from([" ", "-", "/", "\u00a0"]))
def test_the_way_sixteen_digits_are_written_changes_nothing(digits, version, gap):
    assert read(gap.join([digits[:2], digits[2:8], digits[8:], version])) == read(digits + version)


@given(st.text(max_size=120))
def test_no_text_raises(text):
    assert isinstance(parse(text), Imei | Refusal)


@given(st.text("0123456789ABCDEFaexyz ,.;:/-+'\n\u0661\u00b2\ud800", max_size=40))
def test_no_text_of_such_characters_raises(text):
    assert isinstance(parse(text), Imei | Refusal)


@given(st.text("0123456789", min_size=12, max_size=34))
def test_no_refusal_repeats_the_number(text):
    found = parse(text)
    if isinstance(found, Refusal):
        assert text not in found.message


@given(numbers)
def test_what_was_read_does_not_show_its_serial(number):
    found = read(number)
    for shown in (repr(found), str(found), f"{found}"):
        assert number not in shown
        assert f"'{found.serial}'" not in shown


# --- the walls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["carriers/imei.py", "carriers/admission.py"])
def test_it_is_pure(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in {"django", "catalog", "authorization", "storefront", "seeds"}, (
                name
            )
            assert name not in {"carriers.models", "carriers.selectors"}


def test_every_fault_is_documented():
    page = (ROOT / "docs" / "imei-check.md").read_text(encoding="utf-8")
    for each in Fault:
        assert f"`{each}`" in page
