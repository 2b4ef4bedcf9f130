"""The columns of the reference tables, and what each cell may hold: see carriers.cells."""

import re
from datetime import date

from carriers.cells import (
    CONFIDENCE,
    MONTH,
    PLMN,
    YEAR,
    Rule,
    Rules,
    each_once,
    length_of,
    list_of,
    matches,
    one_of,
    slug,
    text,
)
from carriers.compatibility import Admission, Group, Ims, Rat, Service
from carriers.imei import TEST_BODY
from carriers.models import HostCarrier, Hosting, HostingVersion, HostPlmn, NetworkBand
from catalog.models import Device, Organization, Variant, VariantBand, VariantVersion

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
# The table holds invented ones only: real ones are imported, by people who have them.
_SYNTHETIC_TAC = re.compile(rf"{TEST_BODY}[0-9]{{6}}")


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


SOURCES: Rules = {
    "code": text(32, required=True),
    "kind": text(required=True),
    "source": text(required=True),
    "url": text(),
    "terms": text(),
}


def bands(source: Rule) -> Rules:
    return {
        "rat": one_of(Rat),
        "band": text(length_of(VariantBand, "band"), required=True),
        "ul_low": _megahertz,
        "ul_high": _megahertz,
        "dl_low": _megahertz,
        "dl_high": _megahertz,
        # SDO: uplink and downlink of a TDD-like pair that the standard lists as such.
        "duplex": one_of(("FDD", "TDD", "SDL", "SUL", "SDO")),
        "nickname": text(),
        "source": source,
        "confidence": CONFIDENCE,
    }


def networks(source: Rule) -> Rules:
    return {
        "network": slug(HostCarrier, "code", "tmobile"),
        "carrier": text(length_of(HostCarrier, "name"), required=True),
        "plmn": matches(PLMN, "310-260"),
        "era": one_of(ERAS),
        "rat": one_of(Rat),
        "band": text(length_of(NetworkBand, "band"), required=True),
        "role": text(length_of(NetworkBand, "role")),
        "group": one_of(Group),
        "coverage_critical": one_of(("yes", "no")),
        "voice": one_of(Service),
        "in_service_from": matches(MONTH, "2014-12", optional=True),
        "in_service_to": _day,
        "source": source,
        "confidence": CONFIDENCE,
        "note": text(),
    }


def network_rules(source: Rule) -> Rules:
    return {
        "network": slug(HostCarrier, "code", "tmobile"),
        "era": one_of(ERAS),
        "admission": one_of(Admission),
        "ims_policy": text(),
        "cs_voice": list_of(Rat),
        "source": source,
        "confidence": CONFIDENCE,
    }


def mvno_hosts(source: Rule) -> Rules:
    return {
        "mvno": text(length_of(Hosting, "mvno"), required=True),
        "host": slug(HostCarrier, "code", "tmobile"),
        "product_name": text(length_of(Hosting, "product_name")),
        "plmn": matches(PLMN, "310-260", optional=True),
        "apn": text(length_of(HostingVersion, "apn")),
        "valid_from": matches(YEAR, "2015", optional=True),
        "valid_to": matches(YEAR, "2018", optional=True),
        "source": source,
        "confidence": CONFIDENCE,
        "date_source": source,
        "date_confidence": CONFIDENCE,
        "note": text(),
    }


def devices(source: Rule) -> Rules:
    rules: Rules = {
        "variant_id": slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "set": one_of(("incident2016", "tmo2016", "control2016", "modern")),
        "manufacturer": text(length_of(Organization, "name"), required=True),
        "brand": text(length_of(Device, "brand"), required=True),
        "marketing_name": text(length_of(Device, "marketing_name"), required=True),
        "model_number": text(length_of(Variant, "model_number"), required=True),
        "codename": text(length_of(Variant, "codename")),
        "region": text(length_of(Variant, "sales_version")),
        "launch_ym": matches(MONTH, "2015-01", optional=True),
        **dict.fromkeys(BAND_LISTS.values(), each_once),
        "lte_sw_disabled": each_once,
        **{f"ims_{host}": one_of(Ims) for host in HOSTS_WITH_IMS},
        "hardware_revision": text(length_of(VariantVersion, "hardware_revision")),
        "software_revision": text(length_of(VariantVersion, "software_revision")),
        "fcc_id": text(length_of(Variant, "fcc_id")),
        "tmobile_status_2016_or_now": text(),
    }
    for group in ("model", "launch", "gsm", "umts", "lte", "nr", "ims", "fcc", "tmobile"):
        rules[f"{group}_src"] = source
        rules[f"{group}_conf"] = CONFIDENCE
    return rules | {"notes": text()}


def device_bands(source: Rule) -> Rules:
    return {
        "variant_id": slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "rat": one_of(Rat),
        "band": text(length_of(VariantBand, "band"), required=True),
        "sw_disabled": one_of(("0", "1")),
        "source": source,
        "confidence": CONFIDENCE,
    }


def plmns(source: Rule) -> Rules:
    return {
        "network": slug(HostCarrier, "code", "tmobile"),
        "plmn": matches(PLMN, "310-160"),
        "source": source,
        "confidence": CONFIDENCE,
        "note": text(length_of(HostPlmn, "note")),
    }


def tacs(source: Rule) -> Rules:
    return {
        "tac": matches(_SYNTHETIC_TAC, "00700001"),
        "variant_id": slug(Variant, "slug", "xiaomi-mi3-2013062"),
        "source": source,
        "note": text(),
    }
