"""Reads the reference tables into the values the verdict takes. Shared by the tests of this folder."""

import csv
from datetime import date
from functools import cache
from pathlib import Path

from carriers.compatibility import (
    Admission,
    DeviceBand,
    DeviceRadio,
    Group,
    Ims,
    NetworkBand,
    NetworkRules,
    Rat,
    Service,
    Verdict,
    assess,
    lowest_confidence,
)

TABLES = Path(__file__).parents[2] / "seeds" / "reference"
EXAMPLES = Path(__file__).with_name("verdict_examples.csv")

LISTED_PHONES_ON_SALE = date(2016, 2, 2)
TEN_YEARS_LATER = date(2026, 11, 22)
ERAS = {LISTED_PHONES_ON_SALE: "2016", TEN_YEARS_LATER: "2026"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def table(name: str) -> list[dict[str, str]]:
    return rows(TABLES / f"{name}.csv")


def device(variant_id: str) -> dict[str, str]:
    return next(row for row in table("devices") if row["variant_id"] == variant_id)


def device_bands(variant_id: str) -> list[DeviceBand]:
    return [
        DeviceBand(Rat(row["rat"]), row["band"], sw_disabled=row["sw_disabled"] == "1")
        for row in table("device_bands")
        if row["variant_id"] == variant_id
    ]


def radio(variant_id: str, network: str) -> DeviceRadio:
    row = device(variant_id)
    ims = Ims(row[f"ims_{network}"])
    return DeviceRadio.from_bands(
        device_bands(variant_id),
        ims=ims,
        # The examples take a phone as listed exactly where VoLTE is known to work on that host.
        listed=ims == Ims.YES,
        confidence=lowest_confidence(row[f"{rat}_conf"] for rat in ("gsm", "umts", "lte")),
    )


def network_bands(network: str, era: str) -> list[NetworkBand]:
    return [
        NetworkBand(
            rat=Rat(row["rat"]),
            band=row["band"],
            group=Group(row["group"]),
            voice=Service(row["voice"]),
            in_service_until=date.fromisoformat(row["in_service_to"]) if row["in_service_to"] else None,
        )
        for row in table("networks")
        if (row["network"], row["era"]) == (network, era)
    ]


def network_rules(network: str, era: str) -> NetworkRules:
    row = next(row for row in table("network_rules") if (row["network"], row["era"]) == (network, era))
    return NetworkRules(network=network, admission=Admission(row["admission"]))


def verdict_of(variant_id: str, network: str, on: date) -> Verdict:
    era = ERAS[on]
    return assess(radio(variant_id, network), network_bands(network, era), network_rules(network, era), on=on)
