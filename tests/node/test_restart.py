"""Crash and restart: what was flushed is there to the last bit, what was not never happened."""

import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.engine.matching import OrderStatus
from deltaroll.node.capture import Contents, capture, decode_capture, encode_capture
from deltaroll.node.entries import SealEntry, decode_entry, encode_entry
from deltaroll.node.machine import Machine
from deltaroll.node.store import SealedChunk, Store, StoreError
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.state import State
from deltaroll.protocol.types import AccountId
from tests.node.streams import make_option_stream, make_stream, operations, option_operations
from tests.node.support import (
    DOMAIN,
    GENESIS,
    PRICE,
    Operation,
    Recorder,
    Venue,
    compute_fingerprint,
    crash,
    make_order,
    play,
    restart,
)
from tests.node.writer import SEED, write

ROOT = Path(__file__).resolve().parents[2]
MAKER, TAKER = AccountId(1), AccountId(2)


def get_chunks(store: Store) -> list[SealedChunk | None]:
    return [store.get_chunk(number) for number in range(store.count_chunks())]


def check_twin(
    venue: Venue,
    acknowledged: list[Operation],
    start: Callable[[Venue], Venue] = Venue.open,
) -> None:
    """A sequencer that never crashed and was given only what was acknowledged is the same."""
    twin = start(Venue())
    for operation in acknowledged:
        play(twin, operation)
    assert compute_fingerprint(venue.sequencer) == compute_fingerprint(twin.sequencer)
    for one in (venue, twin):
        one.sequencer.seal()
        one.sequencer.flush()
    assert get_chunks(venue.store) == get_chunks(twin.store)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream=st.lists(st.tuples(operations, st.booleans()), min_size=4, max_size=25),
    crashes=st.sets(st.integers(0, 24), max_size=3),
)
def test_restart__any_stream_any_crash__state_of_the_last_flush(new_path, stream, crashes):
    path = new_path()
    venue = Venue(Recorder(path)).open()
    durable = compute_fingerprint(venue.sequencer)
    acknowledged: list[Operation] = []
    waiting: list[Operation] = []
    for turn, (operation, is_flushed) in enumerate(stream):
        play(venue, operation)
        waiting.append(operation)
        if is_flushed:
            venue.sequencer.flush()
            durable = compute_fingerprint(venue.sequencer)
            acknowledged += waiting
            waiting = []
        if turn in crashes or turn == len(stream) - 1:
            crash(venue)
            venue = restart(path)
            assert compute_fingerprint(venue.sequencer) == durable
            waiting = []
    check_twin(venue, acknowledged)
    crash(venue)


def test_restart__at_every_flush_of_a_long_stream__same_every_time(new_path):
    path = new_path()
    venue = Venue(Recorder(path)).open()
    stream = make_stream(random.Random(5), 300)
    for turn, operation in enumerate(stream):
        play(venue, operation)
        if turn % 25 == 0:
            venue.sequencer.flush()
            before = compute_fingerprint(venue.sequencer)
            crash(venue)
            venue = restart(path)
            assert compute_fingerprint(venue.sequencer) == before
    check_twin(venue, stream)


def test_restart__at_flushes_of_a_long_stream_with_options__same_every_time(new_path):
    """Marks, sweeps, auctions and listings that nobody asked for are made again alike."""
    path = new_path()
    venue = Venue(Recorder(path)).open_options()
    stream = make_option_stream(random.Random(6), 500)
    for turn, operation in enumerate(stream):
        play(venue, operation)
        if turn % 60 == 0:
            venue.sequencer.flush()
            before = compute_fingerprint(venue.sequencer)
            crash(venue)
            venue = restart(path)
            assert compute_fingerprint(venue.sequencer) == before
    check_twin(venue, stream, Venue.open_options)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(stream=st.lists(option_operations, min_size=4, max_size=25))
def test_restart__any_stream_with_options__log_gives_the_same_again(new_path, stream):
    path = new_path()
    venue = Venue(Recorder(path)).open_options()
    for operation in stream:
        play(venue, operation)
    venue.sequencer.flush()
    before = compute_fingerprint(venue.sequencer)
    crash(venue)
    again = restart(path)
    assert compute_fingerprint(again.sequencer) == before
    crash(again)


def test_restart__order_acknowledged_and_not_sealed__still_rests_and_trades(new_path):
    path = new_path()
    venue = Venue(Recorder(path)).open()
    venue.submit(MAKER, 0, make_order(PRICE, 5))
    venue.sequencer.flush()
    crash(venue)
    venue = restart(path)
    execution = venue.submit(TAKER, 0, make_order(PRICE, 3, is_buy=False))
    assert (execution.status, execution.filled) == (OrderStatus.FILLED, 3)


def test_restart__killed_while_it_writes__has_everything_acknowledged(new_path):
    path = new_path()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.node.writer", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(60)]
        process.kill()
        # What is still in the pipe was acknowledged too; the last line may be torn.
        heard += process.stdout.readlines()
    acknowledged = [int(line) for line in heard if line.endswith("\n")][-1]
    venue = restart(path)
    assert venue.store.next_sequence >= acknowledged > 60
    twin = Venue()
    for reached in write(twin, SEED):
        if reached == venue.store.next_sequence:
            break
    assert compute_fingerprint(venue.sequencer) == compute_fingerprint(twin.sequencer)
    assert get_chunks(venue.store) == get_chunks(twin.store)


@pytest.fixture
def filled(new_path):
    """A store with three sealed chunks and an acknowledged order after them."""
    path = new_path()
    venue = Venue(Recorder(path)).open()
    for nonce in range(1, 4):
        venue.submit(MAKER, 0, make_order(PRICE, 5, nonce=nonce))
        venue.submit(TAKER, 0, make_order(PRICE, 5, is_buy=False, nonce=nonce))
        venue.sequencer.set_clock(GENESIS + nonce)
    venue.submit(MAKER, 1, make_order(PRICE, 1))
    venue.sequencer.flush()
    assert venue.store.count_chunks() >= 3
    crash(venue)
    return path


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(Store(path, DOMAIN)) as store:
        store._connection.execute(statement, values)


def rewrite_log(path: Path, change) -> None:
    """Change entries and make their hashes fit again, as somebody who knows how would."""
    with closing(Store(path, DOMAIN)) as store:
        entries = change([entry for _, entry in store.iterate_entries()])
        store._connection.execute("DELETE FROM log")
        chain = ZERO_HASH
        for sequence, entry in enumerate(entries):
            chain = keccak(chain + entry)
            store._connection.execute("INSERT INTO log VALUES (?, ?, ?)", (sequence, entry, chain))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE chunks SET data = zeroblob(9) WHERE number = 1", "does not reproduce chunk 1"),
        ("UPDATE chunks SET queue_end = queue_end + 1 WHERE number = 2", "reproduce chunk 2"),
        ("UPDATE chunks SET signatures = zeroblob(64) WHERE number = 0", "reproduce chunk 0"),
        ("DELETE FROM chunks WHERE number = 1", "does not reproduce chunk 1"),
        ("INSERT INTO chunks VALUES (99, x'00', x'', 0, 1)", "chunks that the log does not"),
        ("UPDATE log SET entry = x'c0' WHERE sequence = 1", "entry 1 is missing or damaged"),
        ("DELETE FROM log WHERE sequence = 3", "entry 3 is missing or damaged"),
    ],
)
def test_restart__store_tampered_with__is_refused(filled, statement, complaint):
    execute(filled, statement)
    with pytest.raises(StoreError, match=complaint):
        restart(filled)


@pytest.mark.parametrize("lost", [1, 2, 5, 9, 16])
def test_restart__damaged_end__goes_on_from_the_last_good_record(filled, lost):
    """Chunks that were sealed from what is lost are gone with it, and kept."""
    with closing(Store(filled, DOMAIN)) as store:
        entries = [entry for _, entry in store.iterate_entries()]
        kept = entries[: len(entries) - lost]
        store._connection.execute("UPDATE log SET chain = x'' WHERE sequence >= ?", (len(kept),))
        chunks = get_chunks(store)
    sealed: list[SealedChunk] = []
    machine = Machine(State(), DOMAIN, sealed.append)
    for sequence, encoding in enumerate(kept):
        machine.apply(sequence, decode_entry(encoding))
    for _ in range(2):
        venue = restart(filled)
        assert venue.store.next_sequence == len(kept)
        assert get_chunks(venue.store) == sealed == chunks[: len(sealed)]
        found = read_contents(venue.sequencer._machine)
        assert found == read_contents(machine)
        crash(venue)
    venue = restart(filled)
    venue.sequencer.set_clock(venue.sequencer.clock + 100)
    venue.sequencer.flush()
    crash(venue)
    assert restart(filled).store.next_sequence == len(kept) + 1
    asides = list(filled.parent.glob(filled.name + ".cut-*"))
    assert len(asides) == 1 + (len(sealed) < len(chunks))


def read_contents(machine: Machine) -> Contents:
    return decode_capture(encode_capture(capture(machine)))


def test_restart__log_rewritten_with_good_hashes__does_not_give_the_chunks(filled):
    def drop_an_order(entries):
        place = next(i for i, entry in enumerate(entries) if b"order" in entry)
        return [*entries[:place], *entries[place + 1 :]]

    rewrite_log(filled, drop_an_order)
    with pytest.raises(StoreError, match="does not reproduce chunk"):
        restart(filled)


def test_restart__log_with_an_entry_of_no_kind__is_refused(filled):
    rewrite_log(filled, lambda entries: [*entries, b"\x93\xa3odd\x01\x02"])
    with pytest.raises(StoreError, match="log entry"):
        restart(filled)


def test_restart__log_cut_short__chunks_tell(filled):
    rewrite_log(filled, lambda entries: entries[: len(entries) // 2])
    with pytest.raises(StoreError, match="chunks that the log does not explain"):
        restart(filled)


def test_restart__log_with_one_seal_more__does_not_give_the_chunks(filled):
    seal = encode_entry(SealEntry())
    rewrite_log(filled, lambda entries: [*entries[:14], seal, *entries[14:]])
    with pytest.raises(StoreError, match="does not reproduce chunk"):
        restart(filled)


def test_restart__store_of_another_rollup__is_refused(filled):
    with pytest.raises(StoreError, match="another rollup"):
        restart(filled, keccak(b"another domain"))
