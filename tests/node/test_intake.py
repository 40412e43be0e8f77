"""What L1 says reaches the sequencer, and no more often than it matters."""

from dataclasses import replace

import pytest

from deltaroll.node.batcher import Batcher, select_chunks
from deltaroll.node.follower import Follower
from deltaroll.node.intake import MAX_BACKLOG, is_fee_due, take_in, tell
from deltaroll.node.store import MEMORY, Store
from deltaroll.protocol.configure import encode_configure_params
from deltaroll.protocol.leaf import encode_params
from deltaroll.protocol.state import State
from deltaroll.protocol.types import ZERO_ADDRESS, AccountId, MessageKind, Transfer
from tests.node.l1 import FakeGateway, FakeL1, FakeSender, follow
from tests.node.support import (
    CASH,
    DOMAIN,
    INDEX,
    OWNERS,
    PARAMS,
    Venue,
    compute_listing,
    encode_deposit,
)

CHARGING = replace(PARAMS, gas_market=INDEX, gas_lot=10**15)


class Desk:
    def __init__(self, params: object = CHARGING) -> None:
        self.l1 = FakeL1()
        self.venue = Venue(Store(MEMORY, DOMAIN))
        self.follower = Follower(FakeGateway(self.l1))  # type: ignore[arg-type]
        self.batcher = Batcher(self.venue.store, self.follower, FakeSender(self.l1))  # type: ignore[arg-type]
        bodies = [*compute_listing(), encode_configure_params(INDEX, encode_params(params))]  # type: ignore[arg-type]
        for body in bodies:
            self.l1.enqueue(MessageKind.CONFIGURE, ZERO_ADDRESS, body)
        for owner in list(OWNERS.values())[:2]:
            self.l1.enqueue(
                MessageKind.DEPOSIT, owner.address, encode_deposit(owner.address, 0, CASH)
            )

    def run(self) -> int:
        """What `sequence` does between two looks; how many batches that were."""
        take_in(self.venue.sequencer, self.follower)
        self.venue.sequencer.seal()
        self.venue.sequencer.flush()
        count = 0
        while self.batcher.post() is not None:
            count += 1
        return count


def test_take_in__queue_and_time__reach_the_sequencer():
    desk = Desk()
    take_in(desk.venue.sequencer, desk.follower)
    assert desk.venue.sequencer.clock == desk.l1.head.time
    assert desk.venue.state.globals.account_count == 2
    before = desk.venue.store.next_sequence
    take_in(desk.venue.sequencer, desk.follower)
    assert desk.venue.store.next_sequence == before


def test_tell__nothing_looked_at__tells_nothing():
    desk = Desk()
    tell(desk.venue.sequencer, desk.follower)
    assert desk.venue.store.next_sequence == 0


def test_take_in__fills_pay_for_data__fee_follows_l1():
    desk = Desk()
    for _ in range(30):
        desk.run()
        nonce = desk.venue.state.accounts[AccountId(1)].nonce + 1
        desk.venue.act(Transfer(AccountId(1), AccountId(2), 1, nonce))
    told = desk.venue.state.globals.data_fee
    posted = follow(desk.l1)
    assert posted.fraud is None
    assert posted.state.globals.data_fee == told
    level = posted.state.globals.base_fee_level
    assert told > 0
    assert abs(level - told) * 7 <= level


def let_wait(desk: Desk, chunks: int) -> None:
    """Seal chunks that nobody posts."""
    for _ in range(chunks):
        nonce = desk.venue.state.accounts[AccountId(1)].nonce + 1
        desk.venue.act(Transfer(AccountId(1), AccountId(2), 1, nonce))
        desk.venue.sequencer.seal()
    desk.venue.sequencer.flush()


def settle_fee(desk: Desk) -> int:
    """Let L1's level and the fee come to rest."""
    for _ in range(40):
        desk.run()
    return desk.venue.state.globals.data_fee


def test_tell__many_chunks_wait__fee_stays_until_they_are_posted():
    desk = Desk()
    told = settle_fee(desk)
    desk.l1.base_fee *= 100
    let_wait(desk, 1)
    assert desk.batcher.post() is not None
    let_wait(desk, MAX_BACKLOG)
    take_in(desk.venue.sequencer, desk.follower)
    assert desk.venue.state.globals.data_fee == told
    desk.run()
    take_in(desk.venue.sequencer, desk.follower)
    assert desk.venue.state.globals.data_fee > told


def test_tell__most_chunks_wait_and_l1_falls_to_nothing__fee_can_still_be_posted():
    desk = Desk()
    settle_fee(desk)
    desk.l1.base_fee *= 100
    let_wait(desk, 1)
    assert desk.batcher.post() is not None
    # A head that is dear, and from here on an L1 that asks for nothing, a batch for every chunk.
    desk.l1.base_fee = 0
    let_wait(desk, MAX_BACKLOG - 1)
    before = desk.venue.state.globals.data_fee
    take_in(desk.venue.sequencer, desk.follower)
    assert desk.venue.state.globals.data_fee > before
    let_wait(desk, 1)
    batches = 0
    while chunks := select_chunks(desk.venue.store, desk.batcher.find_next_chunk())[:1]:
        desk.batcher.submit(chunks, desk.batcher.compute_posted(chunks))
        desk.follower.poll()
        batches += 1
    assert batches >= MAX_BACKLOG
    posted = follow(desk.l1)
    assert posted.fraud is None
    assert posted.state.globals.data_fee == desk.venue.state.globals.data_fee


def test_take_in__nobody_acts__batches_come_to_an_end():
    """A batch moves the level; telling that must not be a batch, and so on."""
    desk = Desk()
    counts = [desk.run() for _ in range(40)]
    assert sum(counts) < 12
    assert not any(counts[12:])
    assert desk.venue.state.globals.data_fee > 0


def test_take_in__data_is_free__no_fee_is_told():
    desk = Desk(PARAMS)
    assert [desk.run() for _ in range(5)] == [1, 0, 0, 0, 0]
    assert desk.venue.state.globals.data_fee == 0


@pytest.mark.parametrize(
    ("fee", "level", "is_due"),
    [(0, 0, False), (0, 1, True), (80, 90, False), (80, 91, True), (80, 70, False), (80, 69, True)],
)
def test_is_fee_due__fee_and_level__due_beyond_an_eighth(fee, level, is_due):
    desk = Desk()
    take_in(desk.venue.sequencer, desk.follower)
    state = desk.venue.state
    state.globals = replace(state.globals, data_fee=fee)
    assert is_fee_due(state, level) == is_due
    assert not is_fee_due(State(), level)
