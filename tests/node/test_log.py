"""One interface: a sequencer on a log that is no SQLite store does the same."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.node.core import Base
from deltaroll.node.events import Step
from deltaroll.node.log import Log, SealedChunk
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.node.telling import tell_steps
from tests.node.desk_streams import compute_desk
from tests.node.desk_streams import play as play_desk
from tests.node.memory_log import MemoryLog
from tests.node.streams import operations
from tests.node.support import DOMAIN, Venue, play


def get_entries(log: Log) -> list[bytes]:
    return [entry for _, entry in log.iterate_entries()]


def get_chunks(log: Log) -> list[SealedChunk | None]:
    return [log.get_chunk(number) for number in range(log.count_chunks())]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(stream=st.lists(st.tuples(operations, st.booleans()), min_size=4, max_size=25))
def test_memory_log__any_stream__same_entries_chunks_and_restart_as_on_sqlite(new_path, stream):
    store, log = Store(new_path(), DOMAIN), MemoryLog()
    durable, other = Venue(store).open(), Venue(log).open()
    for operation, is_flushed in stream:
        for venue in (durable, other):
            play(venue, operation)
            if is_flushed:
                venue.sequencer.flush()
    for venue in (durable, other):
        venue.sequencer.seal()
        venue.sequencer.flush()
    assert get_entries(log) == get_entries(store)
    assert get_chunks(log) == get_chunks(store)
    end = store.next_sequence
    assert log.next_sequence == end
    assert [log.get_chain(one) for one in range(end + 2)] == [
        store.get_chain(one) for one in range(end + 2)
    ]
    assert log.get_chain(end + 1) is None
    again = Sequencer(log, DOMAIN)
    assert compute_desk(again) == compute_desk(durable.sequencer)
    store.close()


@pytest.mark.parametrize("make", [MemoryLog, None])
def test_log__not_flushed__is_as_if_never_given(new_path, make):
    log: Log = Store(new_path(), DOMAIN) if make is None else make()
    log.append(b"kept")
    log.flush()
    log.append(b"open")
    log.seal(SealedChunk(0, b"data", b"", 0, 1))
    log.keep_receipt(1, b"receipt")
    assert get_entries(log) == [b"kept"]
    assert list(log.iterate_entries(1)) == []
    assert log.count_chunks() == 0
    assert log.get_receipt(1) == b"receipt", "its own process may see it"
    assert log.next_sequence == 2
    log.close()


def test_memory_log__rebase__goes_back_as_on_sqlite(new_path):
    store, log = Store(new_path(), DOMAIN), MemoryLog()
    venues = [Venue(store).open(), Venue(log).open()]
    for venue in venues:
        dice = random.Random(5)
        for turn in range(60):
            play_desk(venue, dice)
            if turn % 15 == 14:
                venue.sequencer.seal()
        undone = venue.sequencer.rebase(Base(2))
        assert undone
        venue.sequencer.flush()
        assert venue.sequencer.chunks_sealed == 2
    assert get_entries(log) == get_entries(store)
    assert list(log.iterate_rebases()) == list(store.iterate_rebases()) != []
    assert get_chunks(log) == get_chunks(store)
    assert compute_desk(Sequencer(log, DOMAIN)) == compute_desk(venues[0].sequencer)
    heard: list[Step] = []
    tell_steps(log, DOMAIN, heard.extend, 30)
    assert heard
