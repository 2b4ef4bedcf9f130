"""Software versions in an order, so that an approval can cover a range of them."""

import re

from authorization.facts import InvalidFact

_PARTS = re.compile(r"\d+|[^\W\d_]+")
_MAX_KEY = 400


def sort_key(version: str, *, field: str = "software") -> str:
    """Hexadecimal text that sorts as the version does: numbers by value, then words, case and punctuation aside.

    "7.0.5" < "7.0.10" < "7.1"; "MIUI 7" and "miui-7" are the same. Hexadecimal digits sort alike in every collation.
    Empty for an empty version. Raises InvalidFact.
    """
    if not version.strip():
        return ""
    parts = _PARTS.findall(version)
    if not parts:
        raise InvalidFact(field, f"{version!r} is no software version; write letters or digits, e.g. 7.0.5.")
    if any(part.isdigit() and len(part) > 15 for part in parts):
        raise InvalidFact(field, f"A number in {version!r} has more than 15 digits; shorten it.")
    key = b"".join(
        b"\x01" + b"%015d" % int(part) if part.isdecimal() else b"\x02" + part.lower().encode() + b"\x00"
        for part in parts
    ).hex()
    if len(key) > _MAX_KEY:
        raise InvalidFact(field, f"{version!r} has too many parts; shorten it.")
    return key
