"""Reading the number that a phone shows for *#06#, and saying what is wrong with what is no such number.

Form: 3GPP TS 23.003, 6.2 and annex B. An IMEI is 15 digits: type allocation code (TAC) 8, serial 6, check digit 1
(Luhn over the other 14). An IMEISV is 16: TAC 8, serial 6, software version number 2, and no check digit.

Pure: no database, no clock. No message repeats what was read, and the `repr` of what was read hides the serial: an
IMEI names one person's phone, and must not end up in a log by accident.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum

from stdnum import luhn

# More than two numbers with labels, and far more than one.
MOST_CHARACTERS = 100


class Kind(StrEnum):
    IMEI = "IMEI"
    IMEISV = "IMEISV"


@dataclass(frozen=True, slots=True)
class Imei:
    """One phone's number. `check_digit` is empty for an IMEISV; `software_version` where none was given."""

    kind: Kind
    tac: str
    serial: str = field(repr=False)
    check_digit: str = field(repr=False)
    software_version: str = field(repr=False)

    @property
    def reporting_body(self) -> str:
        """Who allocated the TAC, by its first two digits."""
        return self.tac[:2]

    @property
    def is_test(self) -> bool:
        """Of the body for tests: a phone of a lab, or one that was invented for an exercise."""
        return self.reporting_body == TEST_BODY


class Fault(StrEnum):
    """What is wrong with a number. docs/imei-check.md lists them; a test compares."""

    EMPTY = "EMPTY"
    TOO_LONG = "TOO_LONG"
    SPREADSHEET = "SPREADSHEET"
    TWO_NUMBERS = "TWO_NUMBERS"
    SIM_NUMBER = "SIM_NUMBER"
    MEID = "MEID"
    NOT_DIGITS = "NOT_DIGITS"
    CHECK_DIGIT_MISSING = "CHECK_DIGIT_MISSING"
    WRONG_LENGTH = "WRONG_LENGTH"
    ALL_THE_SAME = "ALL_THE_SAME"
    RESERVED_BODY = "RESERVED_BODY"
    CHECK_DIGIT_WRONG = "CHECK_DIGIT_WRONG"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong, and the cure, in words for whoever typed it."""

    fault: Fault
    message: str


# GSMA TS.06 (v25, 2024), annex A, as given by Wikipedia, "Reporting Body Identifier": 00 and 02 to 09 are for tests,
# 98 is reserved for future use but for a block that was given out before.
TEST_BODY = "00"
RESERVED_TEST_BODIES = frozenset(f"0{digit}" for digit in range(2, 10))
FUTURE_BODY = "98"
GIVEN_OUT_OF_FUTURE = ("98000100", "98007800")

_SHOW_IT = "Dial *#06# on the phone to see it."
_SEPARATORS = " -./_"
# A dash that computes: not of the category of dashes.
_MINUS = "\u2212"
_QUOTES = "\"'`=\u2018\u2019\u201c\u201d"
# "IMEI:", "IMEI1 35...", "IMEI (slot 2):" as phones and boxes print it. The number of a slot is one only where
# something sets it off: the 1 of "IMEI 135" is a digit of the number.
_LABEL = re.compile(
    r"IMEI(?:SV)?(?:\s*(?:NO|NUMBER)\b\.?)?"
    r"(?:\s*\(?(?:SLOT|SIM)\s*[12]\)?|[12](?=[\s:])|\s[12](?=\s*:))?\s*[:#]?\s*",
    re.IGNORECASE,
)
_POWER_OF_TEN = re.compile(r"\d+(?:[.,]\d*)?E\+?\d{1,3}", re.IGNORECASE)
_WITH_DECIMALS = re.compile(r"(\d{15,16})[.,]0")
_WITH_VERSION = re.compile(r"(.*\d)\s*/\s*(\d{2})")
_MEID = re.compile(r"[A-F][0-9A-F]{13,14}", re.IGNORECASE)
_SIM_WITH_FILL = re.compile(r"89\d{16,18}F", re.IGNORECASE)
# An MEID in decimals: ten digits of its first eight hexadecimal ones, which begin at 99, and eight of the other six.
_LEAST_MEID = 0x99000000
_BETWEEN_TWO = re.compile(r"[,;|&\n]+")


def parse(text: str) -> Imei | Refusal:
    """What the text says. Never raises.

    Digits of every script count as digits (a phone set to Arabic shows its number in Arabic ones). Spaces, dashes,
    dots, slashes, invisible marks, quotes and the label "IMEI" count for nothing.
    """
    if len(text) > MOST_CHARACTERS:
        return Refusal(Fault.TOO_LONG, f"This is more than one number: an IMEI has 15 digits. {_SHOW_IT}")
    plain = _plain(text)
    if not _compact(plain):
        return Refusal(Fault.EMPTY, f"Type the IMEI: 15 digits. {_SHOW_IT}")
    if _POWER_OF_TEN.fullmatch(plain):
        return Refusal(
            Fault.SPREADSHEET,
            "A spreadsheet has rounded this number, and digits are lost. Format its column as text and fill it in "
            f"again, or read the number from the phone. {_SHOW_IT}",
        )
    whole = _WITH_DECIMALS.fullmatch(plain)
    if whole is not None and (len(whole[1]) == 16 or luhn.is_valid(whole[1])):
        # A program took it for a fraction, and lost nothing: 356938035643809.0.
        plain = whole[1]
    digits = _compact(plain)
    if not digits.isdecimal():
        return _no_digits(plain, digits)
    version = _WITH_VERSION.fullmatch(plain)
    if len(digits) == 17 and version is not None:
        # Phones show the software version behind a slash: 35-693803-564380-9 / 04.
        return _read(digits[:15], digits[15:])
    if len(digits) == 15:
        return _read(digits, "")
    if len(digits) == 16:
        return _read(digits[:14], digits[14:])
    return _of_wrong_length(digits)


def _plain(text: str) -> str:
    """With ASCII digits, one kind of space and of dash; without what is not seen, the label and what quotes it."""
    plain = "".join(_plain_character(character) for character in text).strip(f" \n.,;{_QUOTES}")
    label = _LABEL.match(plain)
    if label is not None:
        plain = plain[label.end() :].strip(f" \n.,;{_QUOTES}")
    return plain


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character == _MINUS:
        return "-"
    if character in "\r\n\x85\u2028\u2029":
        return "\n"
    if category == "Zs" or character in "\t\v\f":
        return " "
    # Marks of direction, joiners and soft hyphens: they come along when a number is copied.
    return "" if category == "Cf" else character


def _compact(plain: str) -> str:
    return "".join(character for character in plain if character not in _SEPARATORS and character != "\n")


def _no_digits(plain: str, compact: str) -> Refusal:
    parts = [_compact(part) for part in _BETWEEN_TWO.split(plain)]
    if sum(14 <= sum(map(str.isdecimal, part)) <= 17 for part in parts) > 1:
        return _two_numbers()
    if _MEID.fullmatch(compact):
        return _meid()
    if _SIM_WITH_FILL.fullmatch(compact):
        return _sim_number()
    return Refusal(
        Fault.NOT_DIGITS,
        "An IMEI has digits only, and here is something else: take care of O for 0 and of I for 1. A serial number "
        f"has letters; the IMEI is another number. {_SHOW_IT}",
    )


def _of_wrong_length(digits: str) -> Refusal:
    count = len(digits)
    if count == 14:
        return Refusal(
            Fault.CHECK_DIGIT_MISSING,
            "These are 14 digits: the last of the 15, the check digit, is missing. (If they come out of a spreadsheet, "
            f"a 0 at the start may be lost.) {_SHOW_IT}",
        )
    if count == 18 and _LEAST_MEID <= int(digits[:10]) < 2**32 and int(digits[10:]) < 2**24:
        return _meid()
    if count in (30, 32) and _looks_like_two(digits):
        return _two_numbers()
    if 19 <= count <= 32 or (count == 18 and digits.startswith("89")):
        return _sim_number()
    said = "This is 1 digit" if count == 1 else f"These are {count} digits"
    return Refusal(Fault.WRONG_LENGTH, f"{said}: an IMEI has 15. {_SHOW_IT}")


def _looks_like_two(digits: str) -> bool:
    """Both halves are numbers of phones. The number of an eSIM has 32 digits too, and begins with 89."""
    half = len(digits) // 2
    if half == 15:
        return luhn.is_valid(digits[:half]) and luhn.is_valid(digits[half:])
    return digits[:8] == digits[half : half + 8] and not digits.startswith("89")


def _two_numbers() -> Refusal:
    return Refusal(
        Fault.TWO_NUMBERS,
        "This is more than one number. A phone for two SIM cards has two IMEIs, of the same model: check either one "
        "by itself.",
    )


def _sim_number() -> Refusal:
    return Refusal(
        Fault.SIM_NUMBER,
        "This is too long for an IMEI: it is the number of the SIM card (ICCID) or of the eSIM (EID). The IMEI is the "
        f"number of the phone and has 15 digits. {_SHOW_IT}",
    )


def _meid() -> Refusal:
    return Refusal(
        Fault.MEID,
        "This is an MEID, the number that CDMA phones have. Newer ones have an IMEI besides, of 15 digits: check that "
        f"one. {_SHOW_IT} A phone that shows an MEID only works on no network of today.",
    )


def _read(digits: str, version: str) -> Imei | Refusal:
    """15 digits, or the 14 of an IMEISV."""
    tac = digits[:8]
    if len(set(digits[:14])) == 1 or not tac.strip("0"):
        return Refusal(
            Fault.ALL_THE_SAME,
            f"No phone has this number: one digit over and over is a filler, or left by a faulty repair. {_SHOW_IT}",
        )
    reserved = _why_reserved(tac)
    if reserved:
        return Refusal(Fault.RESERVED_BODY, f"{reserved} No phone on sale has such a number. {_SHOW_IT}")
    if len(digits) == 15 and not luhn.is_valid(digits):
        return Refusal(
            Fault.CHECK_DIGIT_WRONG,
            "The digits do not fit together: one is mistyped, or two have changed places. Compare them with the phone. "
            f"{_SHOW_IT}",
        )
    kind = Kind.IMEI if len(digits) == 15 else Kind.IMEISV
    return Imei(kind, tac, digits[8:14], digits[14:], version)


def _why_reserved(tac: str) -> str:
    body = tac[:2]
    if body in RESERVED_TEST_BODIES:
        return f"Numbers that begin with {body} are reserved for tests (reporting bodies 02 to 09)."
    first, last = GIVEN_OUT_OF_FUTURE
    if body == FUTURE_BODY and not first <= tac <= last:
        return f"Numbers that begin with {FUTURE_BODY} are reserved for the future."
    return ""
