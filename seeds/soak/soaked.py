"""The store that is soaked, as its drivers are told of it. Plain values: not all of them need the store's code."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Files that the processes of a soak leave for each other.
WORLD, STOP, SETTLED, CHECKED = "world.json", "stop", "settled.json", "checked.json"
HOSTS = ("northern", "southern")
ON_HAND = 1_000_000
GROUPS = 2


@dataclass
class Item:
    """One listing. Of a restless one the vendor sets the stock, so its units cannot be counted."""

    sku: str
    variant: str
    price: str
    is_restless: bool
    listing_id: int = 0


@dataclass
class Vendor:
    name: str
    key: str
    items: list[Item] = field(default_factory=list)


@dataclass
class Group:
    makers: list[int] = field(default_factory=list)
    distributors: list[int] = field(default_factory=list)
    vendors: list[int] = field(default_factory=list)


@dataclass
class Soaked:
    """What the drivers need to know of the store."""

    hosts: tuple[str, ...] = HOSTS
    devices: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    vendors: list[Vendor] = field(default_factory=list)
    on_hand: int = ON_HAND

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Soaked":
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["hosts"] = tuple(fields["hosts"])
        fields["groups"] = [Group(**group) for group in fields["groups"]]
        fields["vendors"] = [
            Vendor(vendor["name"], vendor["key"], [Item(**item) for item in vendor["items"]])
            for vendor in fields["vendors"]
        ]
        return cls(**fields)
