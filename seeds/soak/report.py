"""What was thrown, what was seen, and what of it must not be."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_FILES = 120
# Named of one check; the rest is counted.
NAMED = 5


@dataclass
class Report:
    order: dict[str, Any]
    seconds: float
    thrown: list[dict[str, Any]]
    counts: dict[str, Any]
    settled: dict[str, Any]
    checks: list[dict[str, Any]]
    # What went wrong with the soak itself.
    wrong: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        found = [*self.wrong, *[f"not quiet: {what}" for what in self.settled["stuck"]]]
        found += [f"{check['name']}: {problem}" for check in self.checks for problem in check["problems"]]
        return found

    def failed(self) -> list[str]:
        """The names of the checks that failed, first those of the soak itself."""
        named = ["the soak itself"] if self.wrong else []
        named += ["quiet"] if self.settled["stuck"] else []
        return named + [check["name"] for check in self.checks if check["problems"]]

    def as_json(self) -> dict[str, Any]:
        faults = [
            {name: fault[name] for name in ("at_s", "kind", "seen")}
            for fault in self.thrown
            if fault["what"] == "fault"
        ]
        return {
            **self.order,
            "seconds": self.seconds,
            "faults": faults,
            "load": self.counts,
            "quiet_after_s": self.settled["seconds"],
            "checks": self.checks,
            "failed": self.failed(),
            "problems": self.problems(),
        }

    def tell(self) -> None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=_WIDTH_OF_FILES)
        self._tell_faults(console)
        self._tell_load(console)
        self._tell_checks(console)
        problems = self.problems()
        for problem in problems[:50]:
            console.print(Text(f"  {problem}"), soft_wrap=True)
        verdict = f"{len(problems)} problems" if problems else "Every promise was kept."
        console.print(Text(verdict, style="bold"))

    def _tell_faults(self, console: Console) -> None:
        faults = [fault for fault in self.thrown if fault["what"] == "fault"]
        times = Counter(fault["kind"] for fault in faults)
        last = {fault["kind"]: fault["seen"] for fault in faults}
        table = _table("thrown", "times", "what was seen, the last time")
        for kind in sorted(times):
            table.add_row(kind, str(times[kind]), last[kind])
        console.print(table)

    def _tell_load(self, console: Console) -> None:
        table = _table("load", "")
        for name, count in sorted(self.counts.items()):
            table.add_row(name, str(count))
        table.add_row("seconds of fire", f"{self.seconds:.0f}")
        table.add_row("seconds until quiet", f"{self.settled['seconds']:.0f}")
        console.print(table)

    def _tell_checks(self, console: Console) -> None:
        table = _table("promise", "looked at", "found")
        for check in self.checks:
            said = "; ".join(check["problems"][:1]) or check["said"] or "kept"
            table.add_row(check["name"], str(check["looked_at"]), said)
        console.print(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    for heading in headings:
        table.add_column(heading)
    return table
