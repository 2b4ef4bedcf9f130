"""The columns of the reference tables, and what each cell may hold.

A rule answers what is wrong with a value and how to cure it, or None. Values are checked as they stand:
nothing is guessed, trimmed or filled in.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date

from django.db.models import Model

from carriers.compatibility import Admission, Group, Ims, Rat, Service
from carriers.models import Confidence, HostCarrier, Hosting, HostingVersion, NetworkBand
from catalog.models import Device, Organization, Variant, VariantBand

# The project's reference data carries two snapshots of each network.
ERAS = ("2016", "2026")
HOSTS_WITH_IMS = ("tmobile", "att", "verizon")
BAND_LISTS = {
    Rat.GSM: "gsm_bands",
    Rat.UMTS: "umts_bands",
    Rat.CDMA: "cdma_bands",
    Rat.LTE: "lte_bands",
    Rat.NR: "nr_bands",
}
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PLMN = re.compile(r"\d{3}-\d{2,3}")
_MONTH = re.compile(r"(?:19|20)\d{2}-(?:0[1-9]|1[0-2])")
_YEAR = re.compile(r"(?:19|20)\d{2}")

type Rule = Callable[[str], str | None]
type Rules = dict[str, Rule]


def anything(value: str) -> str | None:
    return None


def _text(limit: int | None = None, *, required: bool = False) -> Rule:
    def rule(value: str) -> str | None:
        if required and not value.strip():
            return "is empty. Fill it in."
        if value != value.strip():
            return "has blanks at an end. Remove them."
        if limit and len(value) > limit:
            return f"has {len(value)} characters, {limit} fit. Shorten it."
        return None

    return rule


def _one_of(values: Iterable[str], *, optional: bool = False) -> Rule:
    allowed = [str(value) for value in values]

    def rule(value: str) -> str | None:
        if value in allowed or (optional and not value):
            return None
        empty = ", or leave it empty" if optional else ""
        return f"{value!r} is not one of its values. Take {', '.join(allowed)}{empty}."

    return rule


def _matches(
    pattern: re.Pattern[str], example: str, *, optional: bool = False, limit: int | None = None
) -> Rule:
    def rule(value: str) -> str | None:
        if not value:
            return None if optional else f"is empty. Write it like {example}."
        if not pattern.fullmatch(value):
            return f"{value!r} is not valid. Write it like {example}."
        return (
            f"has {len(value)} characters, {limit} fit. Shorten it." if limit and len(value) > limit else None
        )

    return rule


def _list_of(values: Iterable[str]) -> Rule:
    check = _one_of(values)

    def rule(value: str) -> str | None:
        return next((message for part in value.split(";") if value and (message := check(part))), None)

    return rule


def _band_list(value: str) -> str | None:
    bands = value.split(";") if value else []
    if "" in bands or len(bands) != len(set(bands)):
        return f"{value!r} has an empty or a repeated entry. Write each band once, with ';' between."
    return None


def sources_in(codes: set[str]) -> Rule:
    def rule(value: str) -> str | None:
        unknown = [code for code in value.split("+") if code not in codes] if value else []
        if unknown:
            named = ", ".join(map(repr, unknown))
            return f"source {named} is not in sources.csv. Correct the code, or add it there."
        return None

    return rule


def _day(value: str) -> str | None:
    if not value:
        return None
    try:
        date.fromisoformat(value)
    except ValueError:
        return f"{value!r} is no date. Write it like 2022-07-01, or leave it empty."
    return None if len(value) == len("2022-07-01") else f"{value!r} is no date. Write it like 2022-07-01."


def _megahertz(value: str) -> str | None:
    if not value:
        return None
    try:
        is_sane = 0 < float(value) < 100_000
    except ValueError:
        is_sane = False
    return None if is_sane else f"{value!r} is no frequency. Write MHz as a number, e.g. 1850."


def _length_of(model: type[Model], name: str) -> int | None:
    length: int | None = getattr(model._meta.get_field(name), "max_length", None)
    return length


def _slug(model: type[Model], name: str, example: str) -> Rule:
    return _matches(_SLUG, example, limit=_length_of(model, name))


_CONFIDENCE = _one_of(Confidence.values, optional=True)

SOURCES: Rules = {
    "code": _text(32, required=True),
    "kind": _text(required=True),
    "source": _text(required=True),
    "url": _text(),
    "terms": _text(),
}


def bands(source: Rule) -> Rules:
    return {
        "rat": _one_of(Rat),
        "band": _text(_length_of(VariantBand, "band"), required=True),
        "ul_low": _megahertz,
        "ul_high": _megahertz,
        "dl_low": _megahertz,
        "dl_high": _megahertz,
        # SDO: uplink and downlink of a TDD-like pair that the standard lists as such.
        "duplex": _one_of(("FDD", "TDD", "SDL", "SUL", "SDO")),
        "nickname": _text(),
        "source": source,
        "confidence": _CONFIDENCE,
    }


def networks(source: Rule) -> Rules:
    return {
        "network": _slug(HostCarrier, "code", "tmobile"),
        "carrier": _text(_length_of(HostCarrier, "name"), required=True),
        "plmn": _matches(_PLMN, "310-260"),
        "era": _one_of(ERAS),
        "rat": _one_of(Rat),
        "band": _text(_length_of(NetworkBand, "band"), required=True),
        "role": _text(_length_of(NetworkBand, "role")),
        "group": _one_of(Group),
        "coverage_critical": _one_of(("yes", "no")),
        "voice": _one_of(Service),
        "in_service_from": _matches(_MONTH, "2014-12", optional=True),
        "in_service_to": _day,
        "source": source,
        "confidence": _CONFIDENCE,
        "note": _text(),
    }


def network_rules(source: Rule) -> Rules:
    return {
        "network": _slug(HostCarrier, "code", "tmobile"),
        "era": _one_of(ERAS),
        "admission": _one_of(Admission),
        "ims_policy": _text(),
        "cs_voice": _list_of(Rat),
        "source": source,
        "confidence": _CONFIDENCE,
    }


def mvno_hosts(source: Rule) -> Rules:
    return {
        "mvno": _text(_length_of(Hosting, "mvno"), required=True),
        "host": _slug(HostCarrier, "code", "tmobile"),
        "product_name": _text(_length_of(Hosting, "product_name")),
        "plmn": _matches(_PLMN, "310-260", optional=True),
        "apn": _text(_length_of(HostingVersion, "apn")),
        "valid_from": _matches(_YEAR, "2015", optional=True),
        "valid_to": _matches(_YEAR, "2018", optional=True),
        "source": source,
        "confidence": _CONFIDENCE,
        "date_source": source,
        "date_confidence": _CONFIDENCE,
        "note": _text(),
    }


def devices(source: Rule) -> Rules:
    rules: Rules = {
        "variant_id": _slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "set": _one_of(("incident2016", "tmo2016", "control2016", "modern")),
        "manufacturer": _text(_length_of(Organization, "name"), required=True),
        "brand": _text(_length_of(Device, "brand"), required=True),
        "marketing_name": _text(_length_of(Device, "marketing_name"), required=True),
        "model_number": _text(_length_of(Variant, "model_number"), required=True),
        "codename": _text(_length_of(Variant, "codename")),
        "region": _text(_length_of(Variant, "sales_version")),
        "launch_ym": _matches(_MONTH, "2015-01", optional=True),
        **dict.fromkeys(BAND_LISTS.values(), _band_list),
        "lte_sw_disabled": _band_list,
        **{f"ims_{host}": _one_of(Ims) for host in HOSTS_WITH_IMS},
        "fcc_id": _text(_length_of(Variant, "fcc_id")),
        "tmobile_status_2016_or_now": _text(),
    }
    for group in ("model", "launch", "gsm", "umts", "lte", "nr", "ims", "fcc", "tmobile"):
        rules[f"{group}_src"] = source
        rules[f"{group}_conf"] = _CONFIDENCE
    return rules | {"notes": _text()}


def device_bands(source: Rule) -> Rules:
    return {
        "variant_id": _slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "rat": _one_of(Rat),
        "band": _text(_length_of(VariantBand, "band"), required=True),
        "sw_disabled": _one_of(("0", "1")),
        "source": source,
        "confidence": _CONFIDENCE,
    }
