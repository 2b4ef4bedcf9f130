"""The seals of the ledger: what makes an edited, deleted, added or reordered entry show.

A seal covers exactly the entries it lists (LedgerLeaf), by a Merkle tree over the hashes of their rows; seals are
chained by hash. `verify` hashes the rows again. Against whoever can rewrite rows and seals alike, it needs a
checkpoint that was kept outside the database. What this proves and what not: docs/ledger.md.

Writers are not held up: on PostgreSQL an entry with a lower id may be committed after one with a higher id, so a
seal takes the entries it sees, and a later one those that came late.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from typing import Any

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from authorization.models import LedgerEntry, LedgerLeaf, LedgerSeal

logger = structlog.get_logger(__name__)

SEAL_SIZE = 10_000
SEALS_PER_CALL = 10
_PAGE = 1000

# The columns of an entry that are hashed. Whoever adds a column adds a format: seals keep theirs for ever.
FORMATS: dict[int, tuple[str, ...]] = {
    1: (
        "id",
        "at",
        "actor",
        "act",
        "subject_kind",
        "subject_id",
        "reason",
        "evidence",
        "revision",
        "request_id",
    )
}
NEWEST_FORMAT = max(FORMATS)

# RFC 6962: without different beginnings a node could be passed off as a leaf.
_LEAF, _NODE, _SEAL = b"\x00", b"\x01", b"\x02"


# --- hashes -----------------------------------------------------------------------------------------------------


class MerkleTree:
    """The root over hashes of leaves that come one by one (RFC 6962, 2.1). Keeps as many as the tree is high."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        size = 1
        while self._peaks and self._peaks[-1][0] == size:
            leaf = _node(self._peaks.pop()[1], leaf)
            size *= 2
        self._peaks.append((size, leaf))

    def root(self) -> bytes:
        if not self._peaks:
            return sha256(b"").digest()
        (_, root), *left = reversed(self._peaks)
        for _, peak in left:
            root = _node(peak, root)
        return root


def leaf_hash(content: bytes) -> bytes:
    return sha256(_LEAF + content).digest()


def row_hash(row: Mapping[str, Any]) -> bytes:
    """The hash of an entry, given as its columns. The same whichever database the row was read from."""
    return leaf_hash(_canonical(row))


def chained_hash(seal: LedgerSeal) -> str:
    """The hash of all that a seal says, the chained hash of the one before included."""
    said = {
        column.attname: getattr(seal, column.attname)
        for column in LedgerSeal._meta.concrete_fields
        if column.attname != "chained"
    }
    return sha256(_SEAL + _canonical(said)).hexdigest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()


def _canonical(record: Mapping[str, Any]) -> bytes:
    return json.dumps(_plain(record), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, float):
        # jsonb keeps numbers as decimals: what was written as 1e22 comes back as an integer.
        exact = Decimal(repr(value))
        return int(exact) if exact == exact.to_integral_value() else value
    return value


# --- sealing ----------------------------------------------------------------------------------------------------


def seal(*, at: datetime, seals: int = SEALS_PER_CALL) -> int:
    """Seal what is not sealed yet, in at most so many seals. Returns how many entries were sealed.

    Of two that seal at once, one does; the other notices and leaves it at that.
    """
    sealed = 0
    for _ in range(seals):
        count = _seal_next(at)
        sealed += count
        if count < SEAL_SIZE:
            break
    return sealed


def unsealed(*, above: int | None = None) -> QuerySet[LedgerEntry]:
    """The entries that no seal lists; `above` spares the database those up to that id."""
    entries, leaves = LedgerEntry.objects.all(), LedgerLeaf.objects.filter(entry_id=OuterRef("id"))
    if above is not None:
        # Said of both: the planner does not conclude it for the leaves, and would read all of them.
        entries, leaves = entries.filter(id__gt=above), leaves.filter(entry_id__gt=above)
    return entries.filter(~Exists(leaves))


def _seal_next(at: datetime) -> int:
    # Nothing is locked while this reads and hashes. Two that start from the same newest seal claim the same number.
    newest = LedgerSeal.objects.order_by("-number").first()
    floor = newest.settled_id if newest is not None else 0
    settled = _settled_id()
    tree, leaves = MerkleTree(), []
    for row in _unsealed_rows(floor):
        leaf = row_hash(row)
        tree.add(leaf)
        leaves.append((row["id"], leaf.hex()))
    if not leaves:
        return 0
    if len(leaves) == SEAL_SIZE:
        settled = min(settled, leaves[-1][0])
    new = LedgerSeal(
        number=newest.number + 1 if newest is not None else 1,
        format=NEWEST_FORMAT,
        sealed_at=at,
        entries=len(leaves),
        total=len(leaves) + (newest.total if newest is not None else 0),
        settled_id=max(settled, floor),
        root=tree.root().hex(),
        previous=newest.chained if newest is not None else secrets.token_hex(32),
    )
    new.chained = chained_hash(new)
    try:
        with transaction.atomic():
            new.save(force_insert=True)
            LedgerLeaf.objects.bulk_create(
                [
                    LedgerLeaf(entry_id=entry_id, seal=new, position=position, hash=leaf_hex)
                    for position, (entry_id, leaf_hex) in enumerate(leaves)
                ],
                batch_size=_PAGE,
            )
    except IntegrityError:
        if LedgerSeal.objects.filter(number=new.number).exists():
            return 0
        raise
    # With the hash, so that logs kept elsewhere are checkpoints too.
    logger.info("ledger.sealed", seal=new.number, entries=new.entries, total=new.total, chained=new.chained)
    return new.entries


def _unsealed_rows(floor: int) -> Iterator[dict[str, Any]]:
    """Up to SEAL_SIZE of them, by id."""
    # By key, never with a cursor left open: on SQLite an open read keeps this connection from writing after others.
    columns, left = FORMATS[NEWEST_FORMAT], SEAL_SIZE
    while left > 0 and (
        page := list(unsealed(above=floor).order_by("id").values(*columns)[: min(_PAGE, left)])
    ):
        yield from page
        floor = page[-1]["id"]
        left -= len(page)


def _settled_id() -> int:
    """An id such that no entry up to it can still be committed; 0 when this cannot be told now.

    Read before the rows are: then they include every entry up to it. It spares the next call the search for late
    entries in all of the ledger.
    """
    highest = LedgerEntry.objects.aggregate(highest=Max("id"))["highest"] or 0
    if connection.vendor != "postgresql":
        # One writer at a time: entries are committed in the order of their ids.
        return highest
    with connection.cursor() as cursor:
        # A statement of its own, after the highest id is known. An INSERT locks the table in this mode before it
        # draws an id and until its transaction is over, so that nobody who drew a lower id is under way any more
        # when nobody holds that lock. It is looked at, never waited for.
        cursor.execute(
            "SELECT count(*) FROM pg_locks"
            " WHERE locktype = 'relation' AND relation = %s::regclass AND mode = 'RowExclusiveLock'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND pid IS DISTINCT FROM pg_backend_pid()",
            [LedgerEntry._meta.db_table],
        )
        writers = cursor.fetchone()[0]
    return 0 if writers else highest


# --- checkpoints ------------------------------------------------------------------------------------------------


class InvalidCheckpoint(ValueError):
    """What was given is no checkpoint. The message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """What somebody outside keeps: with it, nobody inside can rewrite what was sealed until then."""

    ledger: str
    seal: int
    entries: int
    chained: str
    sealed_at: str

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def newest_checkpoint() -> Checkpoint | None:
    """None while nothing is sealed."""
    newest = LedgerSeal.objects.order_by("-number").first()
    return _checkpoint(newest) if newest is not None else None


def read_checkpoint(text: str) -> Checkpoint:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidCheckpoint(f"It is not JSON: {error}.") from error
    wanted = {part.name: part.type for part in fields(Checkpoint)}
    if not isinstance(given, dict) or set(given) != set(wanted):
        raise InvalidCheckpoint(f"It is not a JSON object of {', '.join(wanted)}.")
    for name, kind in wanted.items():
        if type(given[name]) is not kind:
            raise InvalidCheckpoint(f"Its {name} is {given[name]!r}.")
    return Checkpoint(**given)


def _checkpoint(at_seal: LedgerSeal) -> Checkpoint:
    return Checkpoint(
        ledger=LedgerSeal.objects.values_list("previous", flat=True).get(number=1),
        seal=at_seal.number,
        entries=at_seal.total,
        chained=at_seal.chained,
        sealed_at=_plain(at_seal.sealed_at),
    )


# --- verification -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """The first thing that is wrong.

    `kind`: edited, missing, inserted, reordered, truncated; by the checkpoint alone: rewritten, other_ledger.
    """

    kind: str
    message: str
    entry_id: int | None = None
    seal: int | None = None


@dataclass
class Verdict:
    """`entries` and `seals` are those found good; `unsealed` entries have not been judged."""

    entries: int = 0
    seals: int = 0
    unsealed: int = 0
    is_checkpoint_met: bool = False
    finding: Finding | None = None

    @property
    def is_good(self) -> bool:
        return self.finding is None


class _Found(Exception):
    def __init__(
        self, kind: str, message: str, *, entry_id: int | None = None, seal: int | None = None
    ) -> None:
        super().__init__(message)
        self.finding = Finding(kind, message, entry_id, seal)


@dataclass(frozen=True)
class _Pair:
    """A leaf, and the hash of the row it stands for as that is now: None if there is no such row."""

    entry_id: int
    seal: int
    position: int
    hash: str
    row_hash: bytes | None


@dataclass
class _Walk:
    """Where the walk through the seals has got to."""

    previous: str | None = None
    verdict: Verdict = field(default_factory=Verdict)


def verify(*, checkpoint: Checkpoint | None = None) -> Verdict:
    """Hash every sealed row again, and the seals over them, in their order; stop at the first thing that is wrong."""
    walk = _Walk()
    newest = LedgerSeal.objects.order_by("-number").first()
    try:
        if checkpoint is not None:
            _check_name(checkpoint)
        if newest is not None:
            _check_seals(newest, checkpoint, walk)
        if checkpoint is not None and not walk.verdict.is_checkpoint_met:
            raise _Found(
                "truncated",
                f"The checkpoint knows seal {checkpoint.seal} with {checkpoint.entries} entries; the newest here is "
                f"{newest.number if newest else 'none'}. The end of the ledger was cut off, or this database is an "
                "older copy.",
            )
        _check_strays(newest)
    except _Found as found:
        walk.verdict.finding = found.finding
    walk.verdict.unsealed = unsealed().count()
    return walk.verdict


def _check_name(checkpoint: Checkpoint) -> None:
    name = LedgerSeal.objects.filter(number=1).values_list("previous", flat=True).first()
    if name is not None and name != checkpoint.ledger:
        raise _Found(
            "other_ledger",
            "The checkpoint is of another ledger, or all of this one was sealed anew under another name.",
        )


def _check_seals(newest: LedgerSeal, checkpoint: Checkpoint | None, walk: _Walk) -> None:
    verdict = walk.verdict
    groups = groupby(_pairs(newest.number), key=lambda pair: pair.seal)
    group = next(groups, None)
    for current in _seals(newest.number):
        if current.number != verdict.seals + 1:
            raise _Found("missing", f"Seal {verdict.seals + 1} is missing.", seal=verdict.seals + 1)
        own: Iterable[_Pair] = ()
        if group is not None and group[0] <= current.number:
            own = group[1]
        _check_rows(current, own)
        if own:
            group = next(groups, None)
        _check_chain(current, walk)
        verdict.seals, verdict.entries, walk.previous = current.number, current.total, current.chained
        if checkpoint is not None and checkpoint.seal == current.number:
            if _checkpoint(current) != checkpoint:
                raise _Found(
                    "rewritten",
                    f"Seal {current.number} is not the one of the checkpoint: entries up to there were changed and "
                    "sealed anew.",
                    seal=current.number,
                )
            verdict.is_checkpoint_met = True


def _check_rows(current: LedgerSeal, pairs: Iterable[_Pair]) -> None:
    """The rows against their leaves, and the tree of both against the root."""
    if current.format not in FORMATS:
        raise _Found(
            "edited", f"Seal {current.number} was edited: no format {current.format}.", seal=current.number
        )
    by_rows, as_stored = MerkleTree(), MerkleTree()
    bad: _Pair | None = None
    position, last_id, fell_back = 0, 0, None
    for pair in pairs:
        if pair.seal != current.number or pair.position != position:
            _raise_row(bad)
            raise _lost_leaf(current, position, last_id, pair.entry_id)
        if pair.row_hash is None:
            _raise_row(bad)
            raise _lost_row(pair)
        if pair.row_hash.hex() != pair.hash:
            bad = bad or pair
        if pair.entry_id <= last_id:
            fell_back = fell_back or pair.entry_id
        by_rows.add(pair.row_hash)
        as_stored.add(_bytes(pair.hash))
        position, last_id = position + 1, pair.entry_id
    is_root_of_rows = by_rows.root().hex() == current.root
    if bad is not None and is_root_of_rows and as_stored.root().hex() != current.root:
        raise _Found(
            "edited",
            f"The leaf of entry {bad.entry_id} was edited; the entry itself is as it was sealed.",
            entry_id=bad.entry_id,
            seal=current.number,
        )
    _raise_row(bad)
    if is_root_of_rows:
        # How many it claims to be over is for the chain to tell.
        return
    if position < current.entries:
        raise _lost_leaf(current, position, last_id, None)
    if fell_back is not None:
        raise _Found(
            "reordered",
            f"The leaves of seal {current.number} were reordered, at entry {fell_back}.",
            entry_id=fell_back,
            seal=current.number,
        )
    if position > current.entries:
        raise _Found(
            "inserted",
            f"Seal {current.number} is over {current.entries} entries, but lists {position}.",
            entry_id=last_id,
            seal=current.number,
        )
    raise _Found(
        "edited",
        f"An entry of seal {current.number} (up to entry {last_id}) was edited together with its leaf, or the root.",
        seal=current.number,
    )


def _check_chain(current: LedgerSeal, walk: _Walk) -> None:
    expected = walk.verdict.entries + current.entries
    is_next = walk.previous is None or current.previous == walk.previous
    if chained_hash(current) != current.chained or current.total != expected or not is_next:
        raise _Found(
            "edited",
            f"Seal {current.number} was edited or does not follow the one before it.",
            seal=current.number,
        )


def _check_strays(newest: LedgerSeal | None) -> None:
    """What no seal lists although it should, and leaves of seals that are not there."""
    settled = newest.settled_id if newest is not None else 0
    late = unsealed().filter(id__lte=settled).order_by("id").values_list("id", flat=True).first()
    if late is not None:
        raise _Found(
            "inserted",
            f"Entry {late} was inserted after all entries up to {settled} had been sealed.",
            entry_id=late,
        )
    known = Exists(LedgerSeal.objects.filter(number=OuterRef("seal_id")))
    above = Q(seal_id__gt=newest.number) | Q(seal_id__lt=1) if newest is not None else Q()
    stray = LedgerLeaf.objects.filter(above).filter(~known).order_by("seal_id", "position").first()
    if stray is not None:
        raise _Found(
            "truncated",
            f"Entry {stray.entry_id} was sealed by seal {stray.seal_id}, which is missing: the end of the seals was "
            "cut off.",
            entry_id=stray.entry_id,
            seal=stray.seal_id,
        )


# --- what happened to one row -----------------------------------------------------------------------------------


def _raise_row(bad: _Pair | None) -> None:
    if bad is None:
        return
    where = f"Entry {bad.entry_id} (seal {bad.seal}, position {bad.position})"
    if (other := _who_has(bad)) is not None:
        kind, what = "reordered", f"changed places: what was sealed here now stands as entry {other}"
    else:
        kind, what = "edited", "was edited after it was sealed"
    raise _Found(kind, f"{where} {what}.", entry_id=bad.entry_id, seal=bad.seal)


def _who_has(bad: _Pair) -> int | None:
    """The id under which the row now stands that was sealed in this place."""
    columns, last = FORMATS[NEWEST_FORMAT], 0
    while page := list(
        LedgerEntry.objects.filter(id__gt=last).order_by("id").values_list("id", flat=True)[:_PAGE]
    ):
        for entry_id, row in _rows(page, columns).items():
            if entry_id == bad.entry_id or row is None:
                continue
            if bad.hash in (row_hash(row).hex(), row_hash({**row, "id": bad.entry_id}).hex()):
                return entry_id
        last = page[-1]
    return None


def _lost_row(pair: _Pair) -> _Found:
    where = f"Entry {pair.entry_id} (seal {pair.seal}, position {pair.position})"
    if LedgerEntry.objects.filter(id__gt=pair.entry_id).exists():
        return _Found("missing", f"{where} is missing.", entry_id=pair.entry_id, seal=pair.seal)
    return _Found(
        "truncated",
        f"{where} is missing, and so is all that came after it: the end of the ledger was cut off.",
        entry_id=pair.entry_id,
        seal=pair.seal,
    )


def _lost_leaf(current: LedgerSeal, position: int, after: int, before: int | None) -> _Found:
    """The entry is named if it is still there."""
    between = unsealed(above=after)
    if before is not None:
        between = between.filter(id__lt=before)
    entry_id = between.order_by("id").values_list("id", flat=True).first()
    return _Found(
        "missing",
        f"The leaf at position {position} of seal {current.number} is missing"
        + (f": probably of entry {entry_id}." if entry_id is not None else ", and so is its entry."),
        entry_id=entry_id,
        seal=current.number,
    )


# --- reading in pages -------------------------------------------------------------------------------------------


def _seals(newest: int) -> Iterator[LedgerSeal]:
    rows, last = LedgerSeal.objects.filter(number__lte=newest).order_by("number"), 0
    while page := list(rows.filter(number__gt=last)[:_PAGE]):
        yield from page
        last = page[-1].number


def _pairs(newest: int) -> Iterator[_Pair]:
    """Every leaf of the seals up to this one, in order, with its row."""
    leaves = LedgerLeaf.objects.filter(seal_id__lte=newest).order_by("seal_id", "position")
    formats: dict[int, int] = {}
    last_seal, last_position = 0, -1
    while page := list(
        leaves.filter(
            Q(seal_id=last_seal, position__gt=last_position) | Q(seal_id__gt=last_seal),
            seal_id__gte=last_seal,
        ).values_list("entry_id", "seal_id", "position", "hash")[:_PAGE]
    ):
        formats = dict(
            LedgerSeal.objects.filter(number__gte=page[0][1], number__lte=page[-1][1]).values_list(
                "number", "format"
            )
        )
        rows = _hashes([(entry_id, formats.get(number, 0)) for entry_id, number, _, _ in page])
        for entry_id, number, position, stored in page:
            yield _Pair(entry_id, number, position, stored, rows.get(entry_id))
        last_seal, last_position = page[-1][1], page[-1][2]


def _hashes(wanted: list[tuple[int, int]]) -> dict[int, bytes]:
    """The hashes of these entries as they are now, each in the format that its seal is of."""
    by_format: dict[int, list[int]] = {}
    for entry_id, number in wanted:
        by_format.setdefault(number, []).append(entry_id)
    return {
        entry_id: row_hash(row) if row is not None else _UNREADABLE
        for number, ids in by_format.items()
        for entry_id, row in _rows(ids, FORMATS.get(number, ("id",))).items()
    }


# No row hashes to this: a value that cannot be read back was not written by the shop.
_UNREADABLE = b""


def _rows(ids: list[int], columns: tuple[str, ...]) -> dict[int, dict[str, Any] | None]:
    """These rows by id, None for one that cannot be read."""
    rows = LedgerEntry.objects.values(*columns)
    try:
        return {row["id"]: row for row in rows.filter(id__in=ids)}
    except (ValueError, TypeError, ArithmeticError):
        pass
    found: dict[int, dict[str, Any] | None] = {}
    for entry_id in LedgerEntry.objects.filter(id__in=ids).values_list("id", flat=True):
        try:
            found[entry_id] = rows.get(id=entry_id)
        except (ValueError, TypeError, ArithmeticError):
            found[entry_id] = None
    return found


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
