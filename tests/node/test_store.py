"""The durable log by itself: groups, fences, damage."""

import sqlite3
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.node.log import extend, find_damage
from deltaroll.node.store import MEMORY, SealedChunk, Store, StoreError
from deltaroll.protocol.hashing import ZERO_HASH

DOMAIN = b"\x01" * 32
OTHER_DOMAIN = b"\x02" * 32


def make_chunk(number: int) -> SealedChunk:
    return SealedChunk(number, bytes((number,)) * 9, bytes(64 * number), number * 2, number + 1)


def execute(path, statement, *values):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def get_asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob(path.name + ".cut-*"))


def read_aside(name: str) -> list[Any]:
    """The rows of the log that a file has."""
    lines = Path(name).read_bytes().splitlines()
    rows = [msgspec.json.decode(line) for line in lines]
    return [row["row"] for row in rows if row["table"] == "log"]


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
    with pytest.raises(StoreError, match=r"commit: UNIQUE constraint failed: chunks"):
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
    with pytest.raises(StoreError, match=r"commit: UNIQUE constraint failed: log"):
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
@pytest.mark.parametrize("first", [0, 2])
def test_iterate_entries__damaged_log__says_where(filled, damage, first_bad, first):
    execute(filled, damage)
    store = Store(filled, DOMAIN)
    if first_bad >= first:
        with pytest.raises(StoreError, match=f"log entry {first_bad} is missing or damaged"):
            list(store.iterate_entries(first))


@pytest.mark.parametrize(
    ("damage", "bad", "good"),
    [
        ("UPDATE log SET entry = x'00' WHERE sequence = 3", 3, 4),
        ("UPDATE log SET entry = x'' WHERE sequence = 0", 0, 1),
        ("UPDATE log SET chain = zeroblob(32) WHERE sequence = 2", 2, 3),
        ("UPDATE log SET chain = zeroblob(32) WHERE sequence = 3", 3, 4),
        ("DELETE FROM log WHERE sequence = 0", 0, 2),
        ("DELETE FROM log WHERE sequence IN (1, 2)", 1, 4),
        ("UPDATE log SET sequence = -1 WHERE sequence = 1", 0, 3),
    ],
)
def test_repair__damage_with_good_records_after_it__is_refused_and_named(filled, damage, bad, good):
    execute(filled, damage)
    store = Store(filled, DOMAIN)
    before = list(store._connection.execute("SELECT * FROM log"))
    with pytest.raises(
        StoreError, match=f"log entry {bad} is missing or damaged, and entry {good} after it is not"
    ):
        store.repair()
    assert list(store._connection.execute("SELECT * FROM log")) == before
    assert get_asides(filled) == []


@pytest.mark.parametrize(
    ("damage", "first", "entries"),
    [
        ("UPDATE log SET entry = x'00' WHERE sequence = 4", 4, 1),
        ("UPDATE log SET entry = substr(entry, 1, 6) WHERE sequence >= 3", 3, 2),
        ("UPDATE log SET chain = x'', entry = x'' WHERE sequence >= 1", 1, 4),
        ("UPDATE log SET chain = zeroblob(32) WHERE sequence = 4", 4, 1),
        ("UPDATE log SET sequence = 9 WHERE sequence = 4", 4, 1),
        ("INSERT INTO log VALUES (5, x'aa', zeroblob(32))", 5, 1),
        ("DELETE FROM log WHERE sequence = 3", 3, 1),
    ],
)
def test_repair__damaged_end__is_cut_loudly_and_kept_aside(filled, damage, first, entries):
    execute(filled, damage)
    store = Store(filled, DOMAIN)
    lost = list(store._connection.execute("SELECT * FROM log WHERE sequence >= ?", (first,)))
    with structlog.testing.capture_logs() as logs:
        cut = store.repair()
    assert cut is not None
    assert (cut.first, cut.entries) == (first, entries)
    assert [(one["event"], one["log_level"], one["first"]) for one in logs] == [
        ("log_end_cut", "critical", first)
    ]
    assert [sequence for sequence, _ in store.iterate_entries()] == list(range(first))
    aside = read_aside(cut.aside)
    assert [(row[0], b64decode(row[1]), b64decode(row[2])) for row in aside] == lost
    assert store.next_sequence == first
    assert store.append(b"new") == first
    store.close()
    again = Store(filled, DOMAIN)
    assert list(again.iterate_entries(first)) == [(first, b"new")]
    assert again.repair() == cut, "its chunks have not been looked at"
    again.finish_cut(1)
    assert again.repair() is None
    assert [again.get_chunk(number) for number in range(2)] == [make_chunk(0), None]
    assert len(get_asides(filled)) == 2


def test_repair__end_with_a_rebase__is_refused(filled):
    execute(filled, "INSERT INTO rebases VALUES (4)")
    execute(filled, "UPDATE log SET entry = x'00' WHERE sequence = 4")
    with pytest.raises(StoreError, match="log entry 4 is damaged, and a rebase is among those"):
        Store(filled, DOMAIN).repair()


def test_repair__whole_log__changes_nothing(filled):
    store = Store(filled, DOMAIN)
    assert store.repair() is None
    assert len(list(store.iterate_entries())) == 5
    assert get_asides(filled) == []


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 8),
    damaged=st.sets(st.integers(0, 7), min_size=1),
    what=st.sampled_from(("entry", "chain", "both")),
)
def test_find_damage__any_records_damaged__good_ones_after_bad_ones_are_never_cut(
    count, damaged, what
):
    """A record can be told to be good by its predecessor's hash, be that there or computed."""
    chain, records = ZERO_HASH, []
    for sequence in range(count):
        entry = b"entry %d" % sequence
        chain = extend(chain, entry)
        records.append((sequence, entry, chain))
    has_entry = [one not in damaged or what == "chain" for one in range(count)]
    has_hash = [one not in damaged or what == "entry" for one in range(count)]
    records = [
        (sequence, entry if has_entry[sequence] else b"?", chain if has_hash[sequence] else b"?")
        for sequence, entry, chain in records
    ]
    bad = min((one for one in damaged if one < count), default=None)
    if bad is None:
        assert find_damage(records) is None
        return
    good = [
        one
        for one in range(bad + 1, count)
        if has_entry[one]
        and has_hash[one]
        and (has_hash[one - 1] or (has_entry[one - 1] and (one == 1 or has_hash[one - 2])))
    ]
    if good:
        with pytest.raises(StoreError, match=f"entry {bad} is .* and entry {good[0]} after it"):
            find_damage(records)
    else:
        assert find_damage(records) == bad


def test_flush__disk_is_full__nothing_is_there_and_it_says_so(path):
    store = Store(path, DOMAIN)
    store.append(b"before")
    store.flush()
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(8):
        store.append(bytes(4_000))
    store.seal(make_chunk(0))
    with pytest.raises(StoreError, match="commit: database or disk is full"):
        store.flush()
    store._connection.close()
    again = Store(path, DOMAIN)
    assert list(again.iterate_entries()) == [(0, b"before")]
    assert again.get_chunk(0) is None


def test_record_batch__disk_is_full__it_says_so(path):
    store = Store(path, DOMAIN)
    store.record_batch(bytes(32), 0, 0, 1)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="batch: database or disk is full"):
        store.record_batch(bytes(9_000), 1, 1, 2)
    assert store.get_next_chunk(bytes(32)) == 1


def test_init__memory__keeps_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(MEMORY, DOMAIN)
    store.append(b"x")
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_vacuum_into__while_the_store_is_written__copy_is_whole(path, new_path):
    """As docs/operate/backup.md says to copy a live store."""
    store = Store(path, DOMAIN)
    for number in range(200):
        store.append(b"entry %d" % number)
        if number % 3 == 0:
            store.flush()
        if number == 100:
            copy = new_path()
            with closing(sqlite3.connect(path)) as other:
                other.execute("VACUUM INTO ?", (str(copy),))
    backup = Store(copy, DOMAIN)
    assert backup.repair() is None
    assert [sequence for sequence, _ in backup.iterate_entries()] == list(range(100))
    assert backup._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


PAGE_BYTES = 4_096


def test_repair__any_page_unreadable__end_is_cut_or_it_does_not_start(path, new_path):
    """A page of zeros: of the log's end, of its middle, of something else."""
    store = Store(path, DOMAIN)
    for number in range(400):
        store.append(b"entry %d" % number + bytes(90))
    store.flush()
    for number in range(6):
        store.seal(make_chunk(number))
        store.keep_receipt(number, b"receipt %d" % number)
    store.close()
    whole = path.read_bytes()
    lengths: list[int] = []
    refusals: list[str] = []
    for page in range(len(whole) // PAGE_BYTES):
        damaged = new_path()
        start = page * PAGE_BYTES
        damaged.write_bytes(whole[:start] + bytes(PAGE_BYTES) + whole[start + PAGE_BYTES :])
        try:
            store = Store(damaged, DOMAIN)
            with structlog.testing.capture_logs() as logs:
                cut = store.repair()
        except StoreError as problem:
            refusals.append(str(problem))
            continue
        entries = list(store.iterate_entries())
        assert entries == [(one, b"entry %d" % one + bytes(90)) for one in range(len(entries))]
        assert store.next_sequence == len(entries)
        lengths.append(len(entries))
        if len(entries) == 400:
            assert cut is None
            continue
        assert (cut.first, cut.entries) == (len(entries), None)
        assert [one["event"] for one in logs] == ["log_end_cut"]
        assert Path(cut.aside).read_bytes()[start : start + PAGE_BYTES] == bytes(PAGE_BYTES)
        store.append(b"new")
        store.close()
        again = Store(damaged, DOMAIN)
        assert again.next_sequence == len(entries) + 1
        assert again.get_chunk(5) == make_chunk(5)
        assert again.get_receipt(5) == b"receipt 5"
        assert again._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len([one for one in lengths if 300 < one < 400]) == 1, "the last page of the log"
    middle = [one for one in refusals if "and entry 399 after it can: this is no torn end" in one]
    assert len(middle) > 5
    assert all(one.startswith("store: ") for one in refusals)
