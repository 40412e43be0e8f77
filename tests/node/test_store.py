"""The durable log by itself: groups, fences, damage."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.node.store import MEMORY, SealedChunk, Store, StoreError

DOMAIN = b"\x01" * 32
OTHER_DOMAIN = b"\x02" * 32


def make_chunk(number: int) -> SealedChunk:
    return SealedChunk(number, bytes((number,)) * 9, bytes(64 * number), number * 2, number + 1)


def execute(path, statement, *values):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


@pytest.fixture
def path(new_path):
    return new_path()


@pytest.fixture
def filled(path):
    """A store of five entries and two chunks."""
    store = Store(path, DOMAIN)
    for number in range(5):
        store.append(b"entry %d" % number)
    store.seal(make_chunk(0))
    store.seal(make_chunk(1))
    store.close()
    return path


def test_init__new_file__is_empty_and_durable_in_earnest(path):
    store = Store(path, DOMAIN)
    assert store.next_sequence == 0
    assert store.count_chunks() == 0
    assert list(store.iterate_entries()) == []
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_init__store_of_another_rollup__is_refused_and_untouched(filled):
    before = filled.read_bytes()
    with pytest.raises(StoreError, match="belongs to another rollup"):
        Store(filled, OTHER_DOMAIN)
    assert filled.read_bytes() == before
    assert Store(filled, DOMAIN).next_sequence == 5


def test_init__not_a_database__is_refused(path):
    path.write_bytes(b"no database at all" * 400)
    with pytest.raises(StoreError, match="not a database"):
        Store(path, DOMAIN)


def test_append__not_flushed__is_as_if_never_given(path):
    store = Store(path, DOMAIN)
    store.append(b"kept")
    store.flush()
    store.append(b"lost")
    store.seal(make_chunk(0))
    store._connection.close()
    again = Store(path, DOMAIN)
    assert list(again.iterate_entries()) == [(0, b"kept")]
    assert again.next_sequence == 1
    assert again.get_chunk(0) is None


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(st.lists(st.binary(max_size=40), max_size=5), max_size=6),
    reopen=st.sets(st.integers(0, 5)),
)
def test_flush__any_groups_and_restarts__gives_back_what_was_flushed(new_path, groups, reopen):
    path = new_path()
    store = Store(path, DOMAIN)
    expected: list[tuple[int, bytes]] = []
    for turn, group in enumerate(groups):
        expected += [(store.append(entry), entry) for entry in group]
        store.flush()
        if turn in reopen:
            store._connection.close()
            store = Store(path, DOMAIN)
    assert list(store.iterate_entries()) == expected
    assert [sequence for sequence, _ in expected] == list(range(store.next_sequence))


def test_flush__fails_half_way__keeps_nothing_and_can_be_repeated(path):
    store = Store(path, DOMAIN)
    store.seal(make_chunk(3))
    store.flush()
    store.append(b"first")
    store.seal(make_chunk(3))
    with pytest.raises(sqlite3.IntegrityError):
        store.flush()
    assert list(store.iterate_entries()) == []
    execute(path, "DELETE FROM chunks")
    store.flush()
    assert list(store.iterate_entries()) == [(0, b"first")]
    assert store.get_chunk(3) == make_chunk(3)


def test_flush__second_process_on_one_store__is_fenced_off(path):
    """Two sequencers on one log: the slower one learns it before it acknowledges anything."""
    first, second = Store(path, DOMAIN), Store(path, DOMAIN)
    first.append(b"mine")
    second.append(b"no, mine")
    first.flush()
    with pytest.raises(sqlite3.IntegrityError):
        second.flush()
    assert list(first.iterate_entries()) == [(0, b"mine")]


def test_get_chunk__sealed_and_flushed__survives_a_restart(filled):
    store = Store(filled, DOMAIN)
    assert store.count_chunks() == 2
    assert [store.get_chunk(number) for number in range(3)] == [make_chunk(0), make_chunk(1), None]


def test_record_batch__again_for_another_range__is_replaced(path):
    store = Store(path, DOMAIN)
    store.record_batch(b"h" * 32, 1, 0, 4)
    store.record_batch(b"h" * 32, 1, 0, 3)
    assert store.get_next_chunk(b"h" * 32) == 3
    assert store.get_next_chunk(b"i" * 32) is None
    store.close()
    assert Store(path, DOMAIN).get_next_chunk(b"h" * 32) == 3


@pytest.mark.parametrize(
    ("damage", "first_bad"),
    [
        ("UPDATE log SET entry = x'00' WHERE sequence = 3", 3),
        ("UPDATE log SET entry = substr(entry, 1, 6) WHERE sequence = 4", 4),
        ("UPDATE log SET chain = zeroblob(32) WHERE sequence = 2", 2),
        ("DELETE FROM log WHERE sequence = 0", 0),
        ("DELETE FROM log WHERE sequence = 2", 2),
        ("UPDATE log SET sequence = 9 WHERE sequence = 4", 4),
        ("INSERT INTO log VALUES (5, x'aa', zeroblob(32))", 5),
    ],
)
def test_iterate_entries__damaged_log__says_where(filled, damage, first_bad):
    execute(filled, damage)
    store = Store(filled, DOMAIN)
    with pytest.raises(StoreError, match=f"log entry {first_bad} is missing or damaged"):
        list(store.iterate_entries())


def test_init__memory__keeps_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(MEMORY, DOMAIN)
    store.append(b"x")
    store.close()
    assert list(tmp_path.iterdir()) == []
