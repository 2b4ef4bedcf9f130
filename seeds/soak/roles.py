"""What each process of a soak does. Imports are made inside: the load runs without Django."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from seeds.soak.journal import Journal
from seeds.soak.soaked import CHECKED, SETTLED, STOP, WORLD, Soaked

SHOPPERS, VENDORS = 6, 1


def _world(options: Namespace) -> int:
    from seeds.soak import world

    world.build(options.seed).write(options.folder / WORLD)
    return 0


def _load(options: Namespace) -> int:
    from seeds.soak.shoppers import Crowd

    journal = Journal(options.folder / "load.jsonl")
    crowd = Crowd(_soaked(options), options.base_url, journal, options.folder / STOP, options.seed)
    crowd.run(shoppers=SHOPPERS, vendors=VENDORS)
    return 0


def _desk(options: Namespace) -> int:
    from seeds.soak.desk import Desk

    Desk(
        name=f"desk{options.number}",
        group=_soaked(options).groups[options.number],
        base_url=options.base_url,
        journal=Journal(options.folder / f"desk{options.number}.jsonl"),
        stop_file=options.folder / STOP,
        seed=options.seed,
        acts=[act for act in options.acts.split(",") if act],
    ).run()
    return 0


def _deliver_again(options: Namespace) -> int:
    from seeds.soak import postman

    journal = Journal(options.folder / "postman.jsonl")
    postman.deliver_again(count=options.count, seed=options.seed, journal=journal)
    return 0


def _ring(options: Namespace) -> int:
    from seeds.soak import postman

    postman.ring_bells(count=options.count, journal=Journal(options.folder / "postman.jsonl"))
    return 0


def _settle(options: Namespace) -> int:
    from seeds.soak import settling

    left = settling.wait_for_quiet(options.folder)
    (options.folder / SETTLED).write_text(json.dumps(left), encoding="utf-8")
    return 0


def _check(options: Namespace) -> int:
    from seeds.soak import checks

    found = checks.run_all(options.folder, _soaked(options), options.base_url)
    (options.folder / CHECKED).write_text(json.dumps([check.as_json() for check in found]), encoding="utf-8")
    return 0


def _soaked(options: Namespace) -> Soaked:
    folder: Path = options.folder
    return Soaked.read(folder / WORLD)


ROLES: dict[str, Callable[[Namespace], int]] = {
    "world": _world,
    "load": _load,
    "desk": _desk,
    "deliver-again": _deliver_again,
    "ring": _ring,
    "settle": _settle,
    "check": _check,
}
