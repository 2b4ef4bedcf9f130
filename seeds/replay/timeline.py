"""The live timeline: one line per act, in the terminal as it happens, and kept for the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seeds.replay.story import Basis

# Words, not colours, carry the meaning; the colours only help the eye.
_STYLES = {Basis.REPORTED: "green", Basis.ARTICLE: "cyan", Basis.SIMULATED: "yellow"}
# Wide enough for a sentence where the output is a file and knows no width of its own.
_WIDTH_OF_FILES = 110


@dataclass(frozen=True)
class Entry:
    at: str
    who: str
    what: str
    basis: str


def make_console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_OF_FILES)


class Timeline:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.entries: list[Entry] = []

    def add(self, at: datetime, who: str, what: str, basis: Basis = Basis.SIMULATED) -> None:
        self.entries.append(Entry(at.isoformat(timespec="seconds"), who, what, basis.value))
        row = Table.grid(padding=(0, 2))
        row.add_column(width=12, no_wrap=True)
        row.add_column(width=20)
        row.add_column(ratio=1)
        row.add_column(width=9, no_wrap=True)
        row.expand = True
        when = f"{at:%d %b %H:%M}"
        row.add_row(Text(when), Text(who, style="bold"), Text(what), Text(basis.value, style=_STYLES[basis]))
        self.console.print(row)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner on a terminal; nothing in a file."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(Text(f"waiting for {what}")):
            yield
