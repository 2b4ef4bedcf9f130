"""Who acts. Every change of state names one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """`kind` is user, vendor, carrier, shopper, system or exercise; `name` is what the kind calls it."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


SYSTEM = Actor("system", "clearline")
