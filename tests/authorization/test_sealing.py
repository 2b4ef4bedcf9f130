"""Whatever is done to what was sealed is found, and by its first bad place (I13)."""

import json
import random
import threading
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from authorization import append_only, clock, ledger, sealing, tasks
from authorization.actors import Actor
from authorization.models import LedgerEntry, LedgerLeaf, LedgerSeal
from storefront.celery import app
from tests.authorization.tampering import tampering
from tests.authorization.threads import in_thread

BY = Actor("user", "desk")
AT = datetime(2016, 2, 1, 12, tzinfo=UTC)


def write(count=1):
    """Entries that differ from each other, the newest last."""
    before = LedgerEntry.objects.order_by("-id").values_list("id", flat=True).first() or 0
    ledger.record_many(
        [
            ledger.entry_fields(
                act="test.done",
                subject_kind="test",
                subject_id=before + number,
                by=BY,
                at=AT + timedelta(microseconds=number),
                reason="because",
                evidence={"b": [1, 2.5, None], "a": {"n": before + number}},
                revision=number,
            )
            for number in range(count)
        ]
    )
    return list(LedgerEntry.objects.filter(id__gt=before).order_by("id").values_list("id", flat=True))


def seal_all():
    return sealing.seal(at=AT, seals=1000)


def first_bad(checkpoint=None):
    found = sealing.verify(checkpoint=checkpoint).finding
    return (found.kind, found.entry_id) if found else None


def finding():
    found = sealing.verify().finding
    assert found is not None
    return found


@pytest.fixture
def small(monkeypatch):
    """Seals of four, pages of three: edges everywhere."""
    monkeypatch.setattr(sealing, "SEAL_SIZE", 4)
    monkeypatch.setattr(sealing, "_PAGE", 3)


@contextmanager
def rolled_back():
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# --- the tree ---------------------------------------------------------------------------------------------------

# From the tests of Certificate Transparency, whose tree this is.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_rfc_6962():
    tree = sealing.MerkleTree()
    assert tree.root() == sha256(b"").digest()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.add(sealing.leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root


def by_definition(leaves):
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + by_definition(leaves[:half]) + by_definition(leaves[half:])).digest()


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_the_root_is_the_one_of_the_definition(leaves):
    tree = sealing.MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == by_definition(leaves)
    assert len(tree._peaks) <= 7


# --- one form of a row ------------------------------------------------------------------------------------------


def test_every_column_is_hashed():
    columns = {column.attname for column in LedgerEntry._meta.concrete_fields}
    assert set(sealing.FORMATS[sealing.NEWEST_FORMAT]) == columns, "a new column needs a new format"


@pytest.mark.django_db
def test_a_row_hashes_to_the_same_on_every_database():
    LedgerEntry.objects.create(
        id=7,
        at=datetime(2016, 2, 1, 12, 0, 0, 5, tzinfo=UTC),
        actor="user:desk",
        act="agreement.recorded",
        subject_kind="fact",
        subject_id="12",
        reason="é \u2028 \U0001f4f1",
        evidence={
            "z": [1.0, 1e22, 1.5e300, 1e-7, -0.0, 0.1, 2**53 + 1, True, None],
            "aa": 1,
            "b": {"y": 1, "x": 2},
        },
        revision=None,
        request_id="",
    )
    row = LedgerEntry.objects.values(*sealing.FORMATS[1]).get(id=7)
    assert sealing.row_hash(row).hex() == "990f3c3c79fa56e9ea3f89e969610b2c0a23bce95b2d4a88e189ee6e965961cc"


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_é", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.django_db
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_json)
@example({"n": [1e16, 1e22, 1.5e300, -0.0, 5e-324, 1.7976931348623157e308]})
def test_what_the_database_makes_of_json_changes_no_hash(evidence):
    with rolled_back():
        entry = LedgerEntry.objects.create(
            at=AT, actor="", act="", subject_kind="", subject_id="", evidence={"e": evidence}
        )
        fresh = {name: getattr(entry, name) for name in sealing.FORMATS[1]}
        stored = LedgerEntry.objects.values(*sealing.FORMATS[1]).get(id=entry.pk)
        assert sealing.row_hash(fresh) == sealing.row_hash(stored)


def test_what_differs_hashes_differently():
    some = [
        None,
        0,
        1,
        True,
        False,
        "",
        "1",
        "null",
        0.5,
        [],
        {},
        [1],
        [[1]],
        {"a": 1},
        {"a": "1"},
        2**53,
        2**53 + 1,
    ]
    assert len({sealing.row_hash({"evidence": value}) for value in some}) == len(some)


# --- sealing ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_nothing_is_sealed_twice_and_nothing_left_out(small):
    ids = write(10)
    assert seal_all() == 10
    assert [seal.entries for seal in LedgerSeal.objects.order_by("number")] == [4, 4, 2]
    assert list(LedgerLeaf.objects.order_by("seal_id", "position").values_list("entry_id", flat=True)) == ids
    more = write(3)
    assert seal_all() == 3
    assert list(LedgerLeaf.objects.filter(seal_id=4).values_list("entry_id", flat=True)) == more
    verdict = sealing.verify()
    assert (verdict.is_good, verdict.entries, verdict.seals, verdict.unsealed) == (True, 13, 4, 0)


@pytest.mark.django_db
def test_nothing_to_seal_leaves_no_trace(caplog):
    write(2)
    seal_all()
    caplog.clear()
    assert seal_all() == 0
    assert LedgerSeal.objects.count() == 1
    assert not caplog.records


@pytest.mark.django_db
def test_a_call_seals_so_many_and_no_more(small):
    write(11)
    assert sealing.seal(at=AT, seals=2) == 8
    verdict = sealing.verify()
    assert (verdict.is_good, verdict.entries, verdict.unsealed) == (True, 8, 3)


@pytest.mark.django_db
def test_entries_written_after_the_seal_are_counted_not_judged():
    write(2)
    seal_all()
    write(3)
    verdict = sealing.verify()
    assert (verdict.is_good, verdict.unsealed) == (True, 3)


@pytest.mark.django_db
def test_a_bounded_number_of_queries(django_assert_max_num_queries):
    write(3000)
    on_sqlite = connection.vendor == "sqlite"
    # Four pages, the newest seal, what is settled, and the leaves: SQLite takes 249 of them in one statement.
    with django_assert_max_num_queries(10 + (15 if on_sqlite else 3)):
        assert seal_all() == 3000
    with django_assert_max_num_queries(3 * 3 + 8):
        assert sealing.verify().entries == 3000
    with django_assert_max_num_queries(4):
        assert seal_all() == 0


@pytest.mark.django_db
def test_many_small_seals_are_read_by_the_page(django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(sealing, "SEAL_SIZE", 2)
    write(400)
    seal_all()
    with django_assert_max_num_queries(12):
        assert sealing.verify().seals == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_that_seal_at_once_one_does(monkeypatch):
    ids = write(5)
    both, original = threading.Barrier(2, timeout=20), sealing._unsealed_rows

    def together(floor):
        # Both have seen that there is no seal yet, and the same rows.
        rows = list(original(floor))
        both.wait()
        return iter(rows)

    monkeypatch.setattr(sealing, "_unsealed_rows", together)
    counts = []
    threads = [in_thread(lambda: counts.append(sealing.seal(at=AT))) for _ in range(2)]
    for thread, failures in threads:
        thread.join()
        assert failures == []
    assert sorted(counts) == [0, 5]
    assert LedgerSeal.objects.count() == 1
    assert sorted(LedgerLeaf.objects.values_list("entry_id", flat=True)) == ids
    assert sealing.verify().is_good


@pytest.mark.django_db
def test_the_database_lets_no_entry_into_two_seals():
    (first, _) = write(2)
    seal_all()
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerLeaf.objects.create(entry_id=first, seal_id=1, position=2, hash="0" * 64)
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerLeaf.objects.create(entry_id=99, seal_id=1, position=1, hash="0" * 64)
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerSeal.objects.create(
            number=1,
            format=1,
            sealed_at=AT,
            entries=1,
            total=1,
            settled_id=0,
            root="",
            previous="",
            chained="",
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite commits in the order of the ids")
def test_an_entry_that_commits_late_is_sealed_later():
    written, may_commit = threading.Event(), threading.Event()
    slow = []

    def write_slowly():
        with transaction.atomic():
            slow.extend(write(1))
            written.set()
            assert may_commit.wait(20)

    write(2)
    seal_all()
    thread, failures = in_thread(write_slowly)
    assert written.wait(20)
    (fast,) = write(1)
    assert slow[0] < fast
    assert seal_all() == 1
    newest = LedgerSeal.objects.get(number=2)
    # A writer is under way: that nothing can come below `fast` cannot be said.
    assert newest.settled_id < slow[0]
    assert sealing.verify().is_good
    may_commit.set()
    thread.join()
    assert failures == []
    before = sealing.verify()
    assert (before.is_good, before.unsealed) == (True, 1)
    assert seal_all() == 1
    assert LedgerLeaf.objects.get(seal_id=3).entry_id == slow[0]
    assert LedgerSeal.objects.get(number=3).settled_id == fast
    assert sealing.verify().is_good


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite commits in the order of the ids")
def test_an_entry_that_commits_right_after_the_rows_were_read_is_not_taken_for_settled(monkeypatch):
    written, may_commit = threading.Event(), threading.Event()
    original, slow = sealing._unsealed_rows, []

    def write_slowly():
        with transaction.atomic():
            slow.extend(write(1))
            written.set()
            assert may_commit.wait(20)

    thread, failures = in_thread(write_slowly)

    def interrupted(floor):
        yield from original(floor)
        may_commit.set()
        thread.join()

    assert written.wait(20)
    write(1)
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "_unsealed_rows", interrupted)
        assert sealing.seal(at=AT, seals=1) == 1
    assert failures == []
    assert LedgerSeal.objects.get().settled_id < slow[0]
    assert sealing.verify().is_good
    assert seal_all() == 1
    assert sealing.verify().is_good


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer")
def test_writers_do_not_wait_for_a_seal(monkeypatch):
    """While a seal is half written, an entry is committed; it belongs to the next one."""
    write(3)
    original, committed = LedgerSeal.save, []

    def saving(self, **options):
        original(self, **options)
        thread, failures = in_thread(lambda: committed.extend(write(1)))
        thread.join(20)
        assert not thread.is_alive()
        assert failures == []

    monkeypatch.setattr(LedgerSeal, "save", saving)
    assert sealing.seal(at=AT, seals=1) == 3
    assert len(committed) == 1
    assert sealing.verify().unsealed == 1


# --- tampering --------------------------------------------------------------------------------------------------

OTHER_VALUES = {
    "at": AT - timedelta(days=1),
    "actor": "user:nobody",
    "act": "test.undone",
    "subject_kind": "tests",
    "subject_id": "another",
    "reason": "because ",
    "evidence": {"b": [1, 2.5, None], "a": {"n": -1}},
    "revision": None,
    "request_id": "x",
}


def forge(entry_id, *, with_leaf=False, **values):
    with tampering():
        LedgerEntry.objects.filter(id=entry_id).update(**values)
        if with_leaf:
            row = LedgerEntry.objects.values(*sealing.FORMATS[1]).get(id=entry_id)
            LedgerLeaf.objects.filter(entry_id=entry_id).update(hash=sealing.row_hash(row).hex())


def swap_ids(one, other):
    with tampering():
        for old, new in ((one, 10**9), (other, one), (10**9, other)):
            LedgerEntry.objects.filter(id=old).update(id=new)


def drop_seals(first_number):
    LedgerLeaf.objects.filter(seal_id__gte=first_number).delete()
    LedgerSeal.objects.filter(number__gte=first_number).delete()


@pytest.mark.django_db
@pytest.mark.parametrize("column", OTHER_VALUES)
def test_an_edited_column_is_found(small, column):
    ids = write(9)
    seal_all()
    forge(ids[5], **{column: OTHER_VALUES[column]})
    assert first_bad() == ("edited", ids[5])


@pytest.mark.django_db
def test_all_columns_but_the_id_are_tried():
    assert {"id", *OTHER_VALUES} == {column.attname for column in LedgerEntry._meta.concrete_fields}


@pytest.mark.django_db
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL stores no such value")
@pytest.mark.parametrize(
    ("column", "value"), [("evidence", "{"), ("at", "yesterday"), ("at", "2016-99-01 00:00:00")]
)
def test_a_row_that_cannot_be_read_is_found_not_stumbled_over(small, column, value):
    ids = write(9)
    seal_all()
    with tampering(), connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE authorization_ledgerentry SET {column} = %s WHERE id = %s", [value, ids[4]])  # noqa: S608
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    assert first_bad() == ("edited", ids[4])


@pytest.mark.django_db
def test_a_new_id_is_a_missing_row():
    ids = write(3)
    seal_all()
    with tampering():
        LedgerEntry.objects.filter(id=ids[1]).update(id=ids[1] + 1000)
    assert first_bad() == ("missing", ids[1])


@pytest.mark.django_db
def test_a_row_added_among_sealed_ones_is_found(small):
    ids = write(6)
    with tampering():
        LedgerEntry.objects.filter(id=ids[2]).delete()
    seal_all()
    write(1)
    assert first_bad() is None
    LedgerEntry.objects.create(
        id=ids[2], at=AT, actor="user:desk", act="forged", subject_kind="", subject_id="", evidence={}
    )
    assert first_bad() == ("inserted", ids[2])
    assert seal_all() == 1
    assert first_bad() == ("inserted", ids[2])


@pytest.mark.django_db
def test_a_leaf_that_was_edited_alone_is_told_from_an_edited_row(small):
    ids = write(6)
    seal_all()
    with tampering():
        LedgerLeaf.objects.filter(entry_id=ids[1]).update(hash="0" * 64)
    found = finding()
    assert (found.kind, found.entry_id) == ("edited", ids[1])
    assert "The leaf" in found.message


@pytest.mark.django_db
@pytest.mark.parametrize("rubbish", ["", "zz", "é" * 64])
def test_a_leaf_that_is_no_hash_is_found(small, rubbish):
    ids = write(6)
    seal_all()
    with tampering():
        LedgerLeaf.objects.filter(entry_id=ids[1]).update(hash=rubbish)
    assert first_bad() == ("edited", ids[1])


@pytest.mark.django_db
def test_reordered_leaves_are_found(small):
    ids = write(6)
    seal_all()
    with tampering():
        for entry_id, position in ((ids[1], 90), (ids[2], 1), (ids[1], 2)):
            LedgerLeaf.objects.filter(entry_id=entry_id).update(position=position)
    assert first_bad() == ("reordered", ids[1])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("format", 7),
        ("sealed_at", AT + timedelta(seconds=1)),
        ("entries", 3),
        ("entries", 5),
        ("total", 9),
        ("settled_id", 10**6),
        ("root", "0" * 64),
        ("previous", "0" * 64),
        ("chained", "0" * 64),
        ("number", 99),
    ],
)
def test_an_edited_seal_is_found(small, column, value):
    write(12)
    seal_all()
    with tampering():
        if column == "number":
            row = LedgerSeal.objects.get(number=2)
            row.number = value
            row.save(force_insert=True)
            LedgerLeaf.objects.filter(seal_id=2).update(seal_id=value)
            LedgerSeal.objects.filter(number=2).delete()
        else:
            LedgerSeal.objects.filter(number=2).update(**{column: value})
    assert finding().seal == 2


@pytest.mark.django_db
@pytest.mark.parametrize(("column", "value"), [("previous", "0" * 64), ("total", 13), ("root", "0" * 64)])
def test_a_seal_edited_with_its_hash_is_found(small, column, value):
    write(12)
    seal_all()
    newest = LedgerSeal.objects.get(number=3)
    setattr(newest, column, value)
    newest.chained = sealing.chained_hash(newest)
    with tampering():
        newest.save()
    found = finding()
    assert (found.kind, found.seal) == ("edited", 3)


@pytest.mark.django_db
def test_all_columns_of_a_seal_are_chained():
    write(1)
    seal_all()
    seal = LedgerSeal.objects.get()
    for column in LedgerSeal._meta.concrete_fields:
        if column.attname != "chained":
            other = LedgerSeal.objects.get()
            value = getattr(other, column.attname)
            changed = {datetime: lambda v: v + timedelta(1), int: lambda v: v + 1, str: lambda v: v[::-1]}[
                type(value)
            ]
            setattr(other, column.attname, changed(value))
            assert sealing.chained_hash(other) != seal.chained, column.attname


@pytest.mark.django_db
def test_a_row_edited_with_its_leaf_is_found_by_the_root(small):
    ids = write(9)
    seal_all()
    forge(ids[5], with_leaf=True, actor="user:nobody")
    found = finding()
    assert (found.kind, found.seal) == ("edited", 2)


@pytest.mark.django_db
def test_a_lost_leaf_is_found_with_its_entry(small):
    ids = write(9)
    seal_all()
    for position in (4, 5, 7):
        with rolled_back():
            with tampering():
                LedgerLeaf.objects.filter(entry_id=ids[position]).delete()
            assert first_bad() == ("missing", ids[position])


@pytest.mark.django_db
def test_a_row_put_into_a_seal_with_a_leaf_is_found(small):
    write(6)
    seal_all()
    (forged,) = write(1)
    row = LedgerEntry.objects.values(*sealing.FORMATS[1]).get(id=forged)
    LedgerLeaf.objects.create(entry_id=forged, seal_id=2, position=2, hash=sealing.row_hash(row).hex())
    assert first_bad() == ("inserted", forged)


@pytest.mark.django_db
def test_sealed_anew_after_tampering_only_the_checkpoint_tells(small):
    ids = write(10)
    seal_all()
    checkpoint = sealing.newest_checkpoint()
    with tampering():
        LedgerEntry.objects.filter(id=ids[1]).update(actor="user:nobody")
        name = LedgerSeal.objects.get(number=1).previous
        drop_seals(1)
    seal_all()
    assert first_bad() is None
    assert first_bad(checkpoint) == ("other_ledger", None)
    # And under the old name, as somebody would who knows how it is made.
    with tampering():
        previous = name
        for seal in LedgerSeal.objects.order_by("number"):
            seal.previous = previous
            seal.chained = previous = sealing.chained_hash(seal)
            seal.save()
    assert first_bad() is None
    assert first_bad(checkpoint) == ("rewritten", None)


@pytest.mark.django_db
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_ledger_cut_off_whole_is_found_by_the_checkpoint(small, kept):
    ids = write(12)
    seal_all()
    checkpoint = sealing.newest_checkpoint()
    with tampering():
        LedgerEntry.objects.filter(id__gt=(ids[0] - 1) + 4 * kept).delete()
        drop_seals(kept + 1)
    assert first_bad() is None
    assert first_bad(checkpoint) == ("truncated", None)
    write(12)
    seal_all()
    assert first_bad() is None
    assert first_bad(checkpoint) == (("rewritten", None) if kept else ("other_ledger", None))


@pytest.mark.django_db
@pytest.mark.parametrize(("number", "kind"), [(1, "missing"), (2, "missing"), (3, "truncated")])
def test_a_seal_lost_without_its_leaves_is_found(small, number, kind):
    write(12)
    seal_all()
    with rolled_back():
        append_only.remove(connection)
        # The database would notice at the commit; who edits its files would not ask it.
        LedgerSeal.objects.filter(number=number)._raw_delete(connection.alias)
        found = finding()
        assert (found.kind, found.seal) == (kind, number)


@pytest.mark.django_db
def test_a_checkpoint_of_another_ledger_is_told():
    with rolled_back():
        write(3)
        seal_all()
        foreign = sealing.newest_checkpoint()
    write(3)
    seal_all()
    assert first_bad(foreign) == ("other_ledger", None)


@pytest.mark.django_db
def test_every_older_checkpoint_stays_good(small):
    kept = []
    for count in (1, 5, 9):
        write(count)
        seal_all()
        kept.append(sealing.newest_checkpoint())
    for checkpoint in kept:
        verdict = sealing.verify(checkpoint=checkpoint)
        assert verdict.is_good
        assert verdict.is_checkpoint_met


TAMPERS: dict[str, Callable[[list[int], random.Random], tuple[str | None, int | None]]] = {}


def tamper(function):
    TAMPERS[function.__name__] = function
    return function


# Each returns the expected (kind, entry id); a None in it stands for any.


@tamper
def edit(ids, chance):
    entry_id, column = chance.choice(ids), chance.choice(list(OTHER_VALUES))
    forge(entry_id, **{column: OTHER_VALUES[column]})
    return "edited", entry_id


@tamper
def delete(ids, chance):
    gone = sorted(chance.sample(ids, chance.randint(1, len(ids))))
    with tampering():
        LedgerEntry.objects.filter(id__in=gone).delete()
    return None, gone[0]


@tamper
def swap(ids, chance):
    one, other = sorted(chance.sample(ids, 2))
    swap_ids(one, other)
    return "reordered", one


@tamper
def cut_rows(ids, chance):
    first = chance.choice(ids)
    with tampering():
        LedgerEntry.objects.filter(id__gte=first).delete()
    return "truncated", first


@tamper
def cut_rows_and_leaves(ids, chance):
    first = chance.choice(ids)
    with tampering():
        LedgerEntry.objects.filter(id__gte=first).delete()
        LedgerLeaf.objects.filter(entry_id__gte=first).delete()
    return "missing", None


@tamper
def cut_everything(ids, chance):
    number = chance.randint(1, LedgerSeal.objects.count())
    first = LedgerLeaf.objects.get(seal_id=number, position=0).entry_id
    with tampering():
        LedgerEntry.objects.filter(id__gte=first).delete()
        drop_seals(number)
    return "truncated", None


@tamper
def edit_with_leaf(ids, chance):
    column = chance.choice(list(OTHER_VALUES))
    forge(chance.choice(ids), with_leaf=True, **{column: OTHER_VALUES[column]})
    return "edited", None


@tamper
def edit_and_seal_anew(ids, chance):
    entry_id, column = chance.choice(ids), chance.choice(list(OTHER_VALUES))
    number = LedgerLeaf.objects.get(entry_id=entry_id).seal_id
    with tampering():
        LedgerEntry.objects.filter(id=entry_id).update(**{column: OTHER_VALUES[column]})
        drop_seals(number)
    seal_all()
    assert first_bad() is None
    return ("other_ledger" if number == 1 else "rewritten"), None


@tamper
def delete_and_seal_anew(ids, chance):
    entry_id = chance.choice(ids)
    number = LedgerLeaf.objects.get(entry_id=entry_id).seal_id
    with tampering():
        LedgerEntry.objects.filter(id=entry_id).delete()
        drop_seals(number)
    seal_all()
    assert first_bad() is None
    # Sealed anew, the last seal may not come about at all.
    return None, None


@tamper
def swap_leaves(ids, chance):
    one, other = chance.sample(ids, 2)
    with tampering():
        at = {leaf.entry_id: leaf.hash for leaf in LedgerLeaf.objects.filter(entry_id__in=[one, other])}
        LedgerLeaf.objects.filter(entry_id=one).update(hash=at[other])
        LedgerLeaf.objects.filter(entry_id=other).update(hash=at[one])
    return "edited", min(one, other)


@pytest.mark.django_db
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(sorted(TAMPERS)),
    sealed=st.integers(2, 14),
    unsealed=st.integers(0, 3),
    size=st.integers(1, 6),
    page=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_tampered_at_random(monkeypatch, name, sealed, unsealed, size, page, seed):
    monkeypatch.setattr(sealing, "SEAL_SIZE", size)
    monkeypatch.setattr(sealing, "_PAGE", page)
    with rolled_back():
        ids = write(sealed)
        seal_all()
        checkpoint = sealing.newest_checkpoint()
        write(unsealed)
        good = sealing.verify(checkpoint=checkpoint)
        assert (good.finding, good.entries, good.unsealed) == (None, sealed, unsealed)
        kind, entry_id = TAMPERS[name](ids, random.Random(seed))
        found = sealing.verify(checkpoint=checkpoint).finding
        assert found is not None
        assert kind in (None, found.kind)
        assert entry_id in (None, found.entry_id)
        assert found.message


# --- the commands -----------------------------------------------------------------------------------------------


def manage(*arguments):
    out = StringIO()
    call_command("ledger", *map(str, arguments), stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_seal_checkpoint_verify(tmp_path: Path, small):
    ids = write(6)
    path = tmp_path / "checkpoint.json"
    assert manage("seal") == "6 entries sealed\n"
    manage("checkpoint", "--out", path)
    said = json.loads(path.read_text())
    assert (said["seal"], said["entries"]) == (2, 6)
    assert said["chained"] == LedgerSeal.objects.get(number=2).chained
    assert datetime.fromisoformat(said["sealed_at"]) == LedgerSeal.objects.get(number=2).sealed_at
    assert "6 entries in 2 seals" in manage("verify", "--checkpoint", path)
    assert "no checkpoint" in manage("verify")
    forge(ids[3], actor="user:nobody")
    with pytest.raises(CommandError, match=f"edited: Entry {ids[3]} ") as failed:
        manage("verify", "--checkpoint", path)
    assert failed.value.returncode == 1


@pytest.mark.django_db
def test_verify_as_json():
    (first, _) = write(2)
    manage("seal")
    assert json.loads(manage("verify", "--json")) == {
        "good": True,
        "entries": 2,
        "seals": 1,
        "unsealed": 0,
        "checkpoint_met": None,
        "finding": None,
    }
    forge(first, reason="")
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("ledger", "verify", "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert (said["good"], said["finding"]["kind"], said["finding"]["entry_id"]) == (False, "edited", first)


@pytest.mark.django_db
def test_bad_input_is_refused_with_its_cure(tmp_path: Path):
    with pytest.raises(CommandError, match="ledger seal") as refused:
        manage("checkpoint", "--out", tmp_path / "new.json")
    assert refused.value.returncode == 2
    write(1)
    manage("seal")
    path = tmp_path / "checkpoint.json"
    manage("checkpoint", "--out", path)
    for target in (path, tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(CommandError, match="Name a") as refused:
            manage("checkpoint", "--out", target)
        assert refused.value.returncode == 2
    good = json.loads(path.read_text())
    bad = [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps({**good, "more": 1}).encode(),
        json.dumps({**good, "seal": "1"}).encode(),
        json.dumps({**good, "entries": True}).encode(),
        json.dumps({**good, "chained": None}).encode(),
    ]
    for content in bad:
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(CommandError, match="is no checkpoint") as refused:
            manage("verify", "--checkpoint", tmp_path / "bad.json")
        assert refused.value.returncode == 2
    with pytest.raises(CommandError, match="cannot be read") as refused:
        manage("verify", "--checkpoint", tmp_path / "nowhere.json")
    assert refused.value.returncode == 2


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["ledger", "seal", "entries", "chained", "sealed_at"])
def test_every_word_of_a_checkpoint_is_held_against_the_ledger(part, small):
    write(6)
    seal_all()
    newest = sealing.newest_checkpoint()
    assert newest is not None
    said = json.loads(newest.as_json())
    said[part] = said[part] - 1 if isinstance(said[part], int) else said[part][::-1]
    assert first_bad(sealing.read_checkpoint(json.dumps(said))) is not None


# --- the beat ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_beat_seals():
    write(2)
    beats = {beat["task"]: beat["schedule"] for beat in django_settings.CELERY_BEAT_SCHEDULE.values()}
    assert beats["authorization.seal_ledger"] == 60
    assert "authorization.seal_ledger" in app.tasks
    tasks.seal_ledger()
    assert LedgerSeal.objects.get().entries == 2
    assert LedgerSeal.objects.get().sealed_at <= clock.now()
