"""Strict reading of YAML: every value is asked for by the type it must have, and what was not asked for is refused.

Scalars keep the text that was written (2014811 is a model number, `no` is a word), so that nothing is guessed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file, and its cure. Line 0: the file as a whole."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Unreadable(Exception):
    """A file that is no policy test as it stands."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def read_yaml(path: Path, name: str) -> "Value":
    """The document of the file. Raises Unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(Fault(name, 0, "The file is not UTF-8. Save it as UTF-8.")) from error
    except OSError as error:
        cure = f"It cannot be read ({error.strerror}). Name a file that this user may read."
        raise Unreadable(Fault(name, 0, cure)) from error
    try:
        # Nodes, not objects: they know their lines. Nothing is constructed, so no tag can do anything.
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        said = error.problem or error.context
        cure = "Indent with spaces, and quote text that holds `: `."
        raise Unreadable(Fault(name, line, f"This is not YAML: {said}. {cure}")) from error
    except yaml.YAMLError as error:
        cure = "This is not YAML: it holds a character that YAML does not take. Save it as plain UTF-8 text."
        raise Unreadable(Fault(name, 0, cure)) from error
    if node is None:
        raise Unreadable(Fault(name, 1, "The file is empty. Give it a title, a world and cases."))
    return Value(name, node, "the file")


@dataclass(frozen=True)
class Value:
    """A node with the words for what it is: `what` is used in messages."""

    file: str
    node: yaml.Node
    what: str

    @property
    def line(self) -> int:
        return self.node.start_mark.line + 1

    def fault(self, message: str) -> Unreadable:
        return Unreadable(Fault(self.file, self.line, message))

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.fault(f"{self._name()} must be one value here; write it on one line.")
        if self.node.tag == "tag:yaml.org,2002:null":
            raise self.fault(f"{self._name()} is empty; give it a value, or leave the key out.")
        return str(self.node.value)

    def one_of(self, choices: Iterable[str]) -> str:
        known = list(choices)
        text = self.text()
        if text not in known:
            raise self.fault(f"{self._name()} is {text!r}; {_suggest(text, known)}")
        return text

    def flag(self) -> bool:
        return self.one_of(["true", "false"]) == "true"

    def number(self) -> int:
        text = self.text()
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise self.fault(f"{self._name()} is {text!r}; write a whole number.")
        return int(text)

    def instant(self) -> datetime:
        """A day is its first moment; what has no zone is UTC."""
        text = self.text()
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            raise self.fault(
                f"{self._name()} is {text!r}, which is no instant; write 2016-02-01, 2016-02-01T12:00 (UTC) or "
                "2016-02-01T12:00-05:00."
            ) from None
        try:
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        except OverflowError:
            raise self.fault(f"{self._name()} is {text!r}; take a year that can be counted in UTC.") from None

    def items(self) -> list["Value"]:
        """The items of a list; one value is a list of one."""
        if isinstance(self.node, yaml.SequenceNode):
            return [Value(self.file, item, self.what) for item in self.node.value]
        return [self]

    def listed(self) -> list["Value"]:
        """The items of what must be a list."""
        if not self.is_list:
            raise self.fault(f"{self._name()} must be a list; begin each item with `- `.")
        return self.items()

    def texts(self) -> list[str]:
        return [item.text() for item in self.items()]

    def entries(self) -> dict[str, "Value"]:
        """A mapping whose keys the author chooses. Raises for a key that stands twice."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.fault(f"{self._name()} must be keys with values; write `key: value`, one a line.")
        found: dict[str, Value] = {}
        for key_node, node in self.node.value:
            key = Value(self.file, key_node, f"a key of {self.what}").text()
            if key in found:
                raise Value(self.file, key_node, key).fault(
                    f"{key!r} stands twice in {self.what} (first in line {found[key].line}); keep one of them."
                )
            found[key] = Value(self.file, node, f"{key!r} of {self.what}")
        return found

    def keys(self, known: Iterable[str], *, required: Iterable[str] = ()) -> "Keys":
        """A mapping of the format: only these keys."""
        known = list(known)
        entries = self.entries()
        nodes = {key.value: key for key, _ in self.node.value}
        for name in entries:
            if name not in known:
                raise Value(self.file, nodes[name], name).fault(
                    f"{self.what} has no key {name!r}; {_suggest(name, known)}"
                )
        for name in required:
            if name not in entries:
                raise self.fault(f"{self._name()} lacks the key {name!r}; add `{name}: ...`.")
        return Keys(self, entries)

    def _name(self) -> str:
        return self.what[0].upper() + self.what[1:]


@dataclass(frozen=True)
class Keys:
    """The keys of one mapping, read by type; a key that is not there gives the default."""

    value: Value
    entries: Mapping[str, Value]

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def __getitem__(self, name: str) -> Value:
        return self.entries[name]

    def read[T, D](self, name: str, how: Callable[[Value], T], default: D) -> T | D:
        return how(self.entries[name]) if name in self.entries else default

    def listed(self, name: str) -> list[Value]:
        return self.entries[name].listed() if name in self.entries else []

    def named(self, name: str) -> dict[str, Value]:
        return self.entries[name].entries() if name in self.entries else {}

    def text(self, name: str, default: str = "") -> str:
        return self.read(name, Value.text, default)

    def flag(self, name: str, *, default: bool) -> bool:
        return self.read(name, Value.flag, default)

    def instant(self, name: str, default: datetime) -> datetime:
        return self.read(name, Value.instant, default)

    def texts(self, name: str, default: Iterable[str] = ()) -> list[str]:
        return self.read(name, Value.texts, list(default))


def _suggest(text: str, known: list[str]) -> str:
    near = get_close_matches(text, known, n=1)
    listed = ", ".join(known) or "none"
    return f"did you mean {near[0]!r}? Known: {listed}." if near else f"take one of: {listed}."
