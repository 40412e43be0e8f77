"""Torn and damaged writes below SQLite's own log: what is left is a beginning, and it is told."""

import shutil
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.node.store import Store
from deltaroll.node.wal import FRAME, HEADER, PAGE_BYTES, read_commits

DOMAIN = b"\x01" * 32
FRAME_BYTES = FRAME.size + PAGE_BYTES
COMMITS = 6


def get_wal(path: Path) -> Path:
    return Path(f"{path}-wal")


@pytest.fixture(scope="module")
def killed(new_path) -> Path:
    """A store of six commits, the first in the file itself, the others in its log alone."""
    path = new_path()
    store = Store(path, DOMAIN)
    for number in range(COMMITS):
        store.append(b"entry %d" % number)
        store.append(bytes((number,)) * 6_000)
        store.flush()
        if number == 0:
            store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Whoever closes the last connection empties the log.
    copy = new_path()
    shutil.copy(path, copy)
    shutil.copy(get_wal(path), get_wal(copy))
    store.close()
    return copy


def open_with(killed: Path, path: Path, wal: bytes) -> tuple[int, list[str]]:
    """How long the log is with another write-ahead log, and what is told of it."""
    shutil.copy(killed, path)
    get_wal(path).write_bytes(wal)
    with structlog.testing.capture_logs() as logs:
        store = Store(path, DOMAIN)
        assert store.repair() is None
        length = len(list(store.iterate_entries()))
    assert store.next_sequence == length
    store.append(b"more")
    store.close()
    asides = sorted(path.parent.glob(path.name + ".dropped-*"))
    assert len(asides) == len(logs)
    if asides:
        assert asides[0].read_bytes() == wal
    return length, [one["log_level"] for one in logs]


def test_repair__nothing_torn__is_whole_and_quiet(killed, new_path):
    assert open_with(killed, new_path(), get_wal(killed).read_bytes()) == (2 * COMMITS, [])


def test_read_commits__whole__as_many_as_were_made(killed):
    assert sum(read_commits(get_wal(killed))) == COMMITS - 1
    assert read_commits(killed.parent / "nothing") == []


@settings(deadline=None, max_examples=60)
@given(part=st.floats(0, 1))
def test_repair__torn_anywhere__what_was_committed_before_is_there(killed, new_path, part):
    """A machine that went down while it wrote: what comes after was never written."""
    data = get_wal(killed).read_bytes()
    commits = read_commits(get_wal(killed))
    kept = int(part * len(data))
    frames = max(0, kept - HEADER.size) // FRAME_BYTES
    length, levels = open_with(killed, new_path(), data[:kept])
    assert length == 2 * (1 + sum(commits[:frames]))
    assert set(levels) <= {"warning", "critical"}


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_repair__bits_flipped_anywhere__is_whole_or_told(killed, new_path, data):
    wal = get_wal(killed).read_bytes()
    place = data.draw(st.integers(0, len(wal) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = wal[:place] + bytes((wal[place] ^ 1 << bit,)) + wal[place + 1 :]
    length, levels = open_with(killed, new_path(), changed)
    assert length % 2 == 0, "a commit in part"
    if length < 2 * COMMITS:
        assert levels == ["critical"]
