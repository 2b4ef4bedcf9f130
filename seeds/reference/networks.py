"""The networks of the reference tables as the values that verdicts take, for whoever judges without a database."""

import csv
from datetime import date
from functools import cache
from pathlib import Path

from carriers.compatibility import Admission, Group, NetworkBand, NetworkRules, Rat, Service

TABLES = Path(__file__).parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def table(name: str) -> list[dict[str, str]]:
    """The rows of one table, by the names of its columns (seeds/reference/README.md)."""
    return rows(TABLES / f"{name}.csv")


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
