"""Reads the reference tables into the values the verdict takes. Shared by the tests of this folder."""

from datetime import date
from pathlib import Path

from carriers.compatibility import (
    DeviceBand,
    DeviceRadio,
    Ims,
    Rat,
    Verdict,
    assess,
    lowest_confidence,
)
from seeds.reference.networks import TABLES as TABLES
from seeds.reference.networks import network_bands as network_bands
from seeds.reference.networks import network_rules as network_rules
from seeds.reference.networks import rows as rows
from seeds.reference.networks import table as table

EXAMPLES = Path(__file__).with_name("verdict_examples.csv")

LISTED_PHONES_ON_SALE = date(2016, 2, 2)
TEN_YEARS_LATER = date(2026, 11, 22)
ERAS = {LISTED_PHONES_ON_SALE: "2016", TEN_YEARS_LATER: "2026"}


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


def verdict_of(variant_id: str, network: str, on: date) -> Verdict:
    era = ERAS[on]
    return assess(radio(variant_id, network), network_bands(network, era), network_rules(network, era), on=on)
