"""A restart from a snapshot is one by the whole log, to the last bit; a bad one costs time."""

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.node.capture import Contents, capture, decode_capture, encode_capture
from deltaroll.node.events import Step
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.snapshots import (
    SUFFIX,
    VERSION,
    Header,
    Snapshots,
    encode_snapshot,
    select_kept,
)
from deltaroll.node.store import Store, StoreError
from deltaroll.node.telling import tell_steps
from deltaroll.protocol.hashing import keccak
from tests.node.desk_streams import compute_desk
from tests.node.desk_streams import play as play_desk
from tests.node.streams import make_option_stream, make_stream, operations, option_operations
from tests.node.support import DOMAIN, Recorder, Venue, crash, play, restart

SELDOM = 10**9
"""Entries until a snapshot is taken unasked: never."""


class Kept:
    """A venue on files, with snapshots that are taken when the test says so."""

    def __init__(self, path: Path, start: Callable[[Venue], Venue] = Venue.open) -> None:
        self.path = path
        self.folder = path.with_suffix(".snapshots")
        self.venue = start(self.open())

    def open(self) -> Venue:
        self.snapshots = Snapshots(self.folder, SELDOM)
        return Venue(Recorder(self.path), snapshots=self.snapshots)

    def take(self) -> int:
        sequencer = self.venue.sequencer
        sequencer.flush()
        self.snapshots.take(sequencer._machine, sequencer.store, DOMAIN)
        return self.snapshots.latest

    def crash(self) -> None:
        crash(self.venue)
        self.snapshots.close()

    def restart(self) -> None:
        self.crash()
        self.venue = self.open()

    def check(self) -> None:
        """Crash; a snapshot and the whole log give the same, and the same steps from then on."""
        self.venue.sequencer.flush()
        before, log_length = compute_all(self.venue.sequencer), self.venue.store.next_sequence
        self.restart()
        whole = restart(self.path)
        assert compute_all(self.venue.sequencer) == compute_all(whole.sequencer) == before
        assert self.venue.store.next_sequence == whole.store.next_sequence == log_length
        crash(whole)


def compute_all(sequencer: Sequencer) -> tuple[Contents, tuple[object, ...]]:
    """All that there is, private parts included, and what tests elsewhere compare."""
    # First, as it computes the roots: they are as of the last time that somebody wanted to know.
    desk = compute_desk(sequencer)
    return decode_capture(encode_capture(capture(sequencer._machine))), desk


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream=st.lists(operations, min_size=4, max_size=25),
    snapshots=st.sets(st.integers(0, 24), min_size=1, max_size=3),
    crashes=st.sets(st.integers(0, 24), max_size=3),
)
def test_restart__any_stream__from_a_snapshot_as_from_the_log(new_path, stream, snapshots, crashes):
    kept = Kept(new_path())
    for turn, operation in enumerate(stream):
        play(kept.venue, operation)
        if turn in snapshots:
            kept.take()
        if turn in crashes:
            kept.check()
    kept.check()
    kept.crash()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream=st.lists(option_operations, min_size=4, max_size=25),
    place=st.integers(0, 24),
)
def test_restart__any_stream_with_options__from_a_snapshot_as_from_the_log(new_path, stream, place):
    kept = Kept(new_path(), Venue.open_options)
    for turn, operation in enumerate(stream):
        play(kept.venue, operation)
        if turn == min(place, len(stream) - 1):
            kept.take()
    kept.check()
    kept.crash()


@pytest.mark.parametrize("make", [make_stream, make_option_stream])
def test_restart__long_stream__goes_on_from_snapshots_as_if_never_stopped(new_path, make):
    """The twin is never stopped: chunks that are sealed after a restart are its chunks."""
    start = Venue.open if make is make_stream else Venue.open_options
    kept, twin = Kept(new_path(), start), start(Venue())
    for turn, operation in enumerate(make(random.Random(8), 300)):
        play(kept.venue, operation)
        play(twin, operation)
        if turn % 40 == 20:
            kept.take()
        if turn % 40 == 30:
            kept.venue.sequencer.flush()
            kept.restart()
            assert compute_all(kept.venue.sequencer) == compute_all(twin.sequencer)
    for venue in (kept.venue, twin):
        venue.sequencer.seal()
        venue.sequencer.flush()
    count = twin.store.count_chunks()
    assert kept.venue.store.count_chunks() == count > 5
    for number in range(count):
        assert kept.venue.store.get_chunk(number) == twin.store.get_chunk(number)
    kept.crash()


@pytest.mark.parametrize("seed", range(3))
def test_restart__desk__names_triggers_switches_and_protections_are_back(new_path, seed):
    dice = random.Random(seed)
    kept = Kept(new_path())
    seen = [False] * 5
    for turn in range(400):
        play_desk(kept.venue, dice)
        if turn % 50 == 20:
            kept.take()
            desk = kept.venue.sequencer.desk
            there = (
                desk.ids.get_all(),
                desk.triggers.get_all(),
                desk.dead_men.get_all(),
                desk.protections.get_all(),
                desk.get_orders().resting,
            )
            seen = [before or bool(found) for before, found in zip(seen, there, strict=True)]
        if turn % 50 == 40:
            kept.check()
    assert all(seen)
    kept.crash()


@pytest.mark.parametrize("seed", range(3))
def test_listener__has_heard_up_to_somewhere__hears_the_rest(new_path, seed):
    """From an older snapshot, from the beginning, or from a snapshot that is right there."""
    dice = random.Random(seed)
    kept = Kept(new_path())
    taken = []
    for turn in range(200):
        play_desk(kept.venue, dice)
        if turn % 50 == 25:
            taken.append(kept.take())
    kept.venue.sequencer.flush()
    end = kept.venue.store.next_sequence
    kept.crash()
    everything: list[Step] = []
    crash_sequencer(Sequencer(Store(kept.path, DOMAIN), DOMAIN, listener=everything.extend))
    assert [step.sequence for step in everything] == list(range(end))
    for first in (1, taken[0] - 1, taken[0], taken[0] + 1, taken[2], dice.randrange(end), end):
        heard: list[Step] = []
        snapshots = Snapshots(kept.folder, SELDOM)
        sequencer = Sequencer(
            Store(kept.path, DOMAIN),
            DOMAIN,
            listener=heard.extend,
            snapshots=snapshots,
            listen_from=first,
        )
        assert heard == everything[first:]
        sequencer.set_clock(sequencer.clock + 1)
        assert heard == everything[first:], "that is not durable"
        crash_sequencer(sequencer)
        snapshots.close()


def test_listener__has_heard_of_more_than_there_is__is_told_so(new_path):
    """The log's end was cut, or it is an older copy."""
    kept = Kept(new_path())
    end = kept.venue.store.next_sequence
    kept.crash()
    problem = f"heard of entries up to {end}, and the log ends at {end - 1}"
    with closing(Store(kept.path, DOMAIN)) as store:
        with pytest.raises(StoreError, match=problem):
            Sequencer(store, DOMAIN, listener=lambda steps: None, listen_from=end + 1)
        with pytest.raises(StoreError, match=problem):
            tell_steps(store, DOMAIN, lambda steps: None, end + 1)


def crash_sequencer(sequencer: Sequencer) -> None:
    assert isinstance(sequencer.store, Store)
    sequencer.store._connection.close()


@pytest.fixture
def two(new_path):
    """A venue with two snapshots and more entries after them, which has been killed."""
    kept = Kept(new_path())
    dice = random.Random(4)
    taken = []
    for _ in range(3):
        for _ in range(60):
            play_desk(kept.venue, dice)
        taken.append(kept.take())
    (kept.folder / f"{taken.pop():016}{SUFFIX}").unlink()
    kept.crash()
    return kept, taken


def get_loaded(kept: Kept, monkeypatch) -> int:
    """Which snapshot a restart goes on from; what comes of it has to be right."""
    found = []
    find = Snapshots.find

    def spy(*arguments):
        found.append(find(*arguments))
        return found[-1]

    monkeypatch.setattr(Snapshots, "find", spy)
    kept.venue = kept.open()
    whole = restart(kept.path)
    assert compute_all(kept.venue.sequencer) == compute_all(whole.sequencer)
    crash(whole)
    kept.crash()
    return 0 if found[-1] is None else found[-1].sequence


def test_find__nothing_wrong__newest_is_loaded(two, monkeypatch):
    kept, taken = two
    assert get_loaded(kept, monkeypatch) == taken[1] > taken[0]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\n",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + data,
        lambda data: flip(data, 3),
        lambda data: flip(data, len(data) // 2),
        lambda data: flip(data, len(data) - 5),
        lambda data: data.replace(b"\ncore", b"\nkern"),
        lambda data: bytes(len(data)),
    ],
)
def test_find__damaged__older_one_then_whole_log(two, monkeypatch, damage):
    kept, taken = two
    for place, expected in ((1, taken[0]), (0, 0)):
        path = kept.folder / f"{taken[place]:016}{SUFFIX}"
        path.write_bytes(damage(path.read_bytes()))
        assert get_loaded(kept, monkeypatch) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"version": VERSION + 1},
        {"domain": keccak(b"another rollup")},
        {"chain": keccak(b"another log")},
        {"sequence": 3},
    ],
)
def test_find__good_checksum_and_not_of_this_log__is_skipped(two, monkeypatch, change):
    kept, taken = two
    venue = kept.open()
    chain = venue.store.get_chain(taken[1])
    fields = {"version": VERSION, "domain": DOMAIN, "sequence": taken[1], "chain": chain}
    header = Header(**{**fields, **change})
    captured = capture(venue.sequencer._machine)
    kept.venue = venue
    kept.crash()
    path = kept.folder / f"{taken[1]:016}{SUFFIX}"
    path.write_bytes(b"".join(encode_snapshot(header, captured)))
    assert get_loaded(kept, monkeypatch) == taken[0]


def test_open__snapshot_is_good_and_wrong__whole_log_decides(two, monkeypatch):
    """Its place is right, its contents are of a later one: the log does not go on from there."""
    kept, taken = two
    kept.venue = kept.open()
    sequencer = kept.venue.sequencer
    sequencer.seal()
    sequencer.flush()
    header = Header(VERSION, DOMAIN, taken[1], sequencer.store.get_chain(taken[1]))
    captured = capture(sequencer._machine)
    kept.crash()
    path = kept.folder / f"{taken[1]:016}{SUFFIX}"
    path.write_bytes(b"".join(encode_snapshot(header, captured)))
    assert get_loaded(kept, monkeypatch) == taken[0]


def test_open__snapshot_of_a_log_that_was_cut__goes_and_new_ones_are_taken(two, monkeypatch):
    """What it knows was damaged in the log, and is no more; numbers are used again."""
    kept, taken = two
    store = Store(kept.path, DOMAIN)
    store._connection.execute("UPDATE log SET entry = x'' WHERE sequence >= ?", (taken[1] - 2,))
    store.close()
    snapshots = Snapshots(kept.folder, every=30, cost_share=0)
    venue = Venue(Recorder(kept.path), snapshots=snapshots)
    assert venue.store.next_sequence == taken[1] - 2
    snapshots.wait()
    assert snapshots.get_sequences() == [taken[0], taken[1] - 2]
    while venue.store.next_sequence < taken[1] + 40:
        venue.sequencer.set_clock(venue.sequencer.clock + 1)
        venue.sequencer.flush()
        snapshots.wait()
    kept.venue, kept.snapshots = venue, snapshots
    kept.crash()
    assert get_loaded(kept, monkeypatch) > taken[1]


def test_offer__enough_entries__is_written_without_asking(new_path):
    path = new_path()
    snapshots = Snapshots(path.with_suffix(".snapshots"), every=20, cost_share=0)
    venue = Venue(Recorder(path), snapshots=snapshots).open()
    dice = random.Random(2)
    for _ in range(300):
        play_desk(venue, dice)
        venue.sequencer.flush()
        snapshots.wait()
    there = snapshots.get_sequences()
    assert len(there) >= 3
    assert venue.store.next_sequence - there[-1] <= 21
    venue.sequencer.close()
    assert snapshots.get_sequences()[-1] == venue.store.next_sequence, "one for the next start"
    again = restart(path, snapshots=Snapshots(path.with_suffix(".snapshots")))
    assert compute_all(again.sequencer) == compute_all(restart(path).sequencer)


def test_offer__costs_too_much__waits(new_path):
    path = new_path()
    snapshots = Snapshots(path.with_suffix(".snapshots"), every=1, cost_share=10**9)
    venue = Venue(Recorder(path), snapshots=snapshots).open()
    snapshots.wait()
    count = len(snapshots.get_sequences())
    for _ in range(30):
        venue.sequencer.set_clock(venue.sequencer.clock + 1)
        venue.sequencer.flush()
    assert len(snapshots.get_sequences()) == count == 1
    crash(venue)
    snapshots.close()


def test_write__disk_refuses__log_goes_on_and_nothing_is_left(new_path, monkeypatch):
    kept = Kept(new_path())

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deltaroll.node.snapshots.os.fsync", refuse)
    kept.take()
    assert list(kept.folder.iterdir()) == []
    monkeypatch.undo()
    kept.take()
    kept.check()
    kept.crash()


def test_init__killed_while_one_was_written__rest_of_it_goes(two, monkeypatch):
    kept, taken = two
    rest = kept.folder / "0000000000000999.unfinished"
    rest.write_bytes(b"half of a snap")
    assert get_loaded(kept, monkeypatch) == taken[1]
    assert not rest.exists()


@given(steps=st.lists(st.integers(1, 10**6), min_size=1, max_size=300))
def test_select_kept__whatever_the_distances__few_are_kept_and_no_way_back_is_long(steps):
    kept: set[int] = set()
    now = 0
    ever = []
    for step in steps:
        now += step
        ever.append(now)
        kept = select_kept({*kept, now})
        assert set(ever[-2:]) <= kept
        assert len(kept) <= 2 + now.bit_length()
