"""How fast many phones are judged for one host, against one bare set intersection per band group.

The phones are made up, seeded, and all different in their bands, so that no answer can be kept for the next one. All of
them are judged for a host in one call. The floor intersects, for each phone, each group of the host's bands in service
with the phone's bands of that generation, and does nothing with what comes out. Both run in turns; the median counts.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

from carriers import bands
from carriers.compatibility import (
    Confidence,
    DeviceRadio,
    Group,
    Ims,
    NetworkBand,
    NetworkRules,
    Rat,
    assess,
    assess_many,
)
from seeds.reference.networks import network_bands, network_rules, table

VARIANTS = 100_000
SEED = 2016
TARGET = 0.2
DAYS = {"2016": date(2016, 2, 2), "2026": date(2026, 11, 22)}
# How many bands of a generation phones have, from the poorest to the richest of seeds/reference/devices.csv, roughly.
COUNTS = {Rat.GSM: (2, 4), Rat.UMTS: (2, 7), Rat.CDMA: (0, 3), Rat.LTE: (4, 32), Rat.NR: (0, 24)}
# What phones of all regions tend to have; the rest of the tables is rare.
_LTE = (1, 2, 3, 4, 5, 7, 8, 12, 13, 17, 18, 19, 20, 25, 26, 28, 30, 38, 39, 40, 41, 42, 48, 66, 71)
USUAL_LTE = [f"B{number}" for number in _LTE]
_NR = (1, 2, 3, 5, 7, 8, 20, 25, 28, 38, 40, 41, 66, 71, 77, 78, 79, 261)
USUAL_NR = [f"n{number}" for number in _NR]
# Interleaved runs of judge and floor for each snapshot, at least.
RUNS = 5


def main(seconds: float) -> dict[str, Any]:
    radios = make_radios(VARIANTS, seed=SEED)
    figures: dict[str, Any] = {
        "variants, all different": len({_bands_of(radio) for radio in radios}),
        "bands of a variant, on average": round(
            sum(len(names) for radio in radios for names in radio.bands.values()) / len(radios), 1
        ),
    }
    ratios = []
    for host, era in _snapshots():
        network, rules, on = network_bands(host, era), network_rules(host, era), DAYS[era]
        _agree(radios[:: VARIANTS // 500], network, rules, on)
        judged, floor = _in_turns(
            partial(assess_many, radios, network, rules, on=on),
            _floor(radios, network, on),
            seconds,
        )
        name = f"{host} {era}"
        ratios.append(floor / judged)
        figures[f"{name}: band groups in service"] = len({row.group for row in network if row.in_service(on)})
        figures[f"{name}: floor, variants per second"] = round(VARIANTS / floor)
        figures[f"{name}: judged per second"] = round(VARIANTS / judged)
        figures[f"{name}: ratio"] = round(floor / judged, 2)
    figures["lowest ratio"] = round(min(ratios), 2)
    figures["target"] = TARGET
    return figures


def make_radios(count: int, *, seed: int) -> list[DeviceRadio]:
    """So many phones, no two with the same bands; the same for the same seed."""
    chance = random.Random(seed)
    seen: set[frozenset[tuple[Rat, str]]] = set()
    radios: list[DeviceRadio] = []
    while len(radios) < count:
        radio = _radio(chance)
        if (signature := _bands_of(radio)) not in seen:
            seen.add(signature)
            radios.append(radio)
    return radios


def _radio(chance: random.Random) -> DeviceRadio:
    owned: dict[Rat, frozenset[str]] = {}
    for rat, (fewest, most) in COUNTS.items():
        names = _names(rat, chance)
        owned[rat] = frozenset(names[: min(len(names), chance.randint(fewest, most))])
    ims = chance.choice(list(Ims))
    return DeviceRadio(
        bands={rat: names for rat, names in owned.items() if names},
        ims=ims,
        listed=ims == Ims.YES,
        confidence=chance.choice([None, *Confidence]),
    )


def _names(rat: Rat, chance: random.Random) -> list[str]:
    """The bands of a generation in an order of chance, the usual ones first."""
    every = [edges.name for edges in bands.bands_of(rat)]
    usual = {Rat.LTE: USUAL_LTE, Rat.NR: USUAL_NR}.get(rat, every)
    rare = [name for name in every if name not in usual]
    return chance.sample(usual, len(usual)) + chance.sample(rare, len(rare))


def _bands_of(radio: DeviceRadio) -> frozenset[tuple[Rat, str]]:
    return frozenset((rat, name) for rat, names in radio.bands.items() for name in names)


def _agree(radios: list[DeviceRadio], network: list[NetworkBand], rules: NetworkRules, on: date) -> None:
    """What is measured has to be right."""
    if assess_many(radios, network, rules, on=on) != [assess(one, network, rules, on=on) for one in radios]:
        raise SystemExit(
            f"Judged in one call and one by one, phones differ on {rules.network}: measure nothing."
        )


def _floor(radios: list[DeviceRadio], network: list[NetworkBand], on: date) -> Callable[[], None]:
    """Nothing but the intersections: the sets lie ready, sorted by what meets what."""
    groups: dict[Group, set[str]] = {}
    for row in network:
        if row.in_service(on):
            groups.setdefault(row.group, set()).add(row.band)
    meets = []
    for rat in Rat:
        of_rat = [frozenset(names) for group, names in groups.items() if group.rat == rat]
        meets.append((of_rat, [radio.bands.get(rat, frozenset()) for radio in radios] if of_rat else []))

    def run() -> None:
        for of_rat, owned in meets:
            for own in owned:
                for names in of_rat:
                    names & own

    return run


def _in_turns(judge: Callable[[], Any], floor: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Seconds for one run of each: medians of runs in turns, for as long as was asked, and a few at least."""
    judged: list[float] = []
    bare: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(judged) < RUNS or time.perf_counter() < deadline:
        judged.append(_time(judge))
        bare.append(_time(floor))
    return statistics.median(judged), statistics.median(bare)


def _time(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _snapshots() -> list[tuple[str, str]]:
    return [(row["network"], row["era"]) for row in table("network_rules")]


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
