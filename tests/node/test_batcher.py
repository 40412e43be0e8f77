"""Posting: in order, exactly once, and never a batch that would cost the bond."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.l1.types import InboxFrozen, PostedChunk
from deltaroll.node.alarms import Alarm
from deltaroll.node.batcher import (
    CHUNK_OVERHEAD,
    LANDING_SECONDS,
    MAX_BATCH_BYTES,
    MAX_CHUNKS,
    Batcher,
    BatcherError,
    ForeignBatchError,
    StaleChunksError,
    select_chunks,
)
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sender import RefusedError
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.store import MEMORY, SealedChunk, Store
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import AccountId, MessageKind, SlotId, Transfer
from tests.node.l1 import SLOT, FakeGateway, FakeL1, FakeSender, follow
from tests.node.support import (
    CASH,
    DOMAIN,
    OWNERS,
    PRICE,
    Venue,
    compute_listing,
    encode_deposit,
    make_order,
    strip_fee_levels,
)

ADA, BLAISE = AccountId(1), AccountId(2)


class Desk:
    """A sequencer and its batcher on a fake L1."""

    def __init__(
        self,
        path: Path | str = MEMORY,
        l1: FakeL1 | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.path = path
        self.l1 = FakeL1() if l1 is None else l1
        self.store = Store(path, DOMAIN)
        self.venue = Venue(self.store, snapshots=snapshots)
        self.gateway = FakeGateway(self.l1)
        follower = Follower(self.gateway)  # type: ignore[arg-type]
        self.sender = FakeSender(self.l1)
        self.batcher = Batcher(self.store, follower, self.sender)  # type: ignore[arg-type]
        self.sync()

    @property
    def sequencer(self) -> Sequencer:
        return self.venue.sequencer

    def open(self) -> "Desk":
        for owner in OWNERS.values():
            body = encode_deposit(owner.address, 0, CASH)
            self.l1.enqueue(MessageKind.DEPOSIT, owner.address, body)
        self.sync()
        return self

    def list_markets(self) -> None:
        for body in compute_listing():
            self.l1.enqueue(MessageKind.CONFIGURE, OWNERS[ADA].address, body)
        self.sync()
        self.venue.observe(PRICE)

    def sync(self) -> None:
        take_in(self.sequencer, self.batcher.follower)

    def pay(self, amount: int = 5) -> None:
        nonce = self.venue.state.accounts[ADA].nonce + 1
        self.venue.act(Transfer(ADA, BLAISE, amount, nonce))

    def seal(self) -> None:
        self.sequencer.seal()
        self.sequencer.flush()

    def post_all(self) -> int:
        """Post until nothing is left; return how many batches that took."""
        self.seal()
        count = 0
        while self.batcher.post() is not None:
            count += 1
        return count

    def crash(self) -> "Desk":
        self.store._connection.close()
        return Desk(self.path, self.l1)

    def post_lie(self) -> None:
        head = follow(self.l1).chain[-1]
        lie = PostedChunk(b"\x00" * 9, b"", keccak(b"lie"))
        self.l1.submit([lie], head.submitted.header.queue_end)
        self.batcher.follower.poll()

    def check(self) -> None:
        """L1 has every sealed chunk once, in order, and the sequencer's state."""
        fresh = follow(self.l1)
        assert fresh.fraud is None
        posted = [(one.data, one.signatures) for batch in fresh.chain for one in batch.chunks]
        held = [self.store.get_chunk(number) for number in range(self.store.count_chunks())]
        assert posted == [(one.data, one.signatures) for one in held if one is not None]
        self.venue.state.globals = replace(
            self.venue.state.globals, clock=fresh.state.globals.clock
        )
        assert strip_fee_levels(fresh.state) == strip_fee_levels(self.venue.state)


# select_chunks


def make_store(sizes: list[tuple[int, int]]) -> Store:
    store = Store(MEMORY, DOMAIN)
    for number, (data, signatures) in enumerate(sizes):
        store.seal(SealedChunk(number, bytes(data), bytes(signatures), number, 1))
    store.flush()
    return store


def get_numbers(chunks: tuple[SealedChunk, ...]) -> list[int]:
    return [chunk.number for chunk in chunks]


HALF = MAX_BATCH_BYTES // 2 - CHUNK_OVERHEAD


@pytest.mark.parametrize(
    ("sizes", "first", "expected"),
    [
        ([], 0, []),
        ([(9, 0)], 0, [0]),
        ([(9, 0)], 1, []),
        ([(9, 64)] * 5, 2, [2, 3, 4]),
        ([(HALF, 0), (HALF, 0)], 0, [0, 1]),
        ([(HALF, 0), (HALF, 1)], 0, [0]),
        ([(HALF, 0), (1, HALF), (9, 0)], 0, [0]),
        ([(9, 0), (MAX_BATCH_BYTES, 0), (9, 0)], 0, [0]),
        ([(9, 0), (MAX_BATCH_BYTES, 0), (9, 0)], 1, [1]),
        ([(9, 0)] * (MAX_CHUNKS + 5), 0, list(range(MAX_CHUNKS))),
        ([(9, 0)] * (MAX_CHUNKS + 5), 3, list(range(3, MAX_CHUNKS + 3))),
    ],
)
def test_select_chunks__limits__next_ones_that_fit(sizes, first, expected):
    assert get_numbers(select_chunks(make_store(sizes), first)) == expected


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(
        st.tuples(st.integers(9, 16_384), st.integers(0, 512).map(lambda count: count * 64)),
        max_size=40,
    )
)
def test_select_chunks__repeated__takes_each_chunk_once_within_the_limit(sizes):
    store = make_store(sizes)
    taken: list[int] = []
    while chunks := select_chunks(store, len(taken)):
        taken += get_numbers(chunks)
        size = sum(len(one.data) + len(one.signatures) + CHUNK_OVERHEAD for one in chunks)
        assert size <= MAX_BATCH_BYTES or len(chunks) == 1
    assert taken == list(range(len(sizes)))


# post


def test_post__nothing_sealed__does_nothing():
    desk = Desk()
    assert desk.batcher.post() is None
    assert len(desk.l1.batches) == 1


def test_post__sealed__is_on_l1_once():
    desk = Desk().open()
    desk.list_markets()
    desk.venue.submit(ADA, 0, make_order(PRICE, 3))
    desk.venue.submit(BLAISE, 0, make_order(PRICE, 3, is_buy=False))
    desk.seal()
    posting = desk.batcher.post()
    assert posting is not None
    assert posting.header == desk.l1.batches[-1].header
    assert get_numbers(posting.chunks) == list(range(desk.store.count_chunks()))
    assert desk.batcher.post() is None
    assert len(desk.l1.batches) == 2
    desk.check()


def test_post__more_than_a_batch__goes_in_order_in_several(monkeypatch):
    monkeypatch.setattr("deltaroll.node.batcher.MAX_CHUNKS", 2)
    desk = Desk().open()
    for _ in range(4):
        desk.pay()
        desk.seal()
    assert desk.post_all() == 3
    assert [batch.header.chunk_count for batch in desk.l1.batches] == [0, 2, 2, 1]
    desk.check()


def test_post__queue_longer_than_what_is_consumed__shows_the_next_message():
    desk = Desk().open()
    desk.seal()
    for _ in range(3):
        desk.l1.enqueue(MessageKind.DEPOSIT, OWNERS[ADA].address, b"later")
    desk.batcher.follower.poll()
    assert desk.batcher.post() is not None
    desk.sync()
    desk.post_all()
    desk.check()


def test_post__again_by_another_desk_on_the_same_store__posts_only_the_rest(new_path):
    desk = Desk(new_path()).open()
    desk.post_all()
    again = desk.crash()
    assert again.post_all() == 0
    again.pay()
    assert again.post_all() == 1
    again.check()


def test_post__killed_between_l1_and_the_record__does_not_post_twice(new_path):
    """The transaction is mined and the process dies before it knows."""
    desk = Desk(new_path()).open()
    desk.post_all()
    desk.pay()
    desk.seal()

    def die() -> None:
        raise KeyboardInterrupt

    desk.sender.before_return = die
    with pytest.raises(KeyboardInterrupt):
        desk.batcher.post()
    assert len(desk.l1.batches) == 3
    again = desk.crash()
    again.batcher.follower.poll()
    assert again.post_all() == 0
    again.pay()
    assert again.post_all() == 1
    again.check()


@pytest.mark.parametrize("depth", [1, 2, 30])
def test_post__batches_reorganised_away__are_posted_again(depth):
    desk = Desk().open()
    for _ in range(3):
        desk.pay()
        desk.post_all()
    desk.l1.reorganise(depth, keeps_queue=True)
    desk.sync()
    assert desk.post_all() >= 1
    desk.check()


def test_post__lie_at_the_head__waits_until_it_is_removed():
    desk = Desk().open()
    desk.post_all()
    desk.pay()
    desk.post_lie()
    with pytest.raises(BatcherError, match="head is fraudulent"):
        desk.post_all()
    desk.l1.remove(len(desk.l1.batches) - 1)
    desk.batcher.follower.poll()
    assert desk.post_all() == 1
    desk.check()


def test_post__rollup_frozen__says_so():
    desk = Desk().open()
    desk.post_all()
    desk.pay()
    desk.l1.close(InboxFrozen)
    desk.batcher.follower.poll()
    with pytest.raises(BatcherError, match=f"frozen since block {desk.l1.head.number}"):
        desk.post_all()


def test_post__honest_batch_removed_with_a_lie_before_it__is_posted_again():
    desk = Desk().open()
    desk.pay()
    desk.post_all()
    first = desk.l1.batches[-1]
    desk.pay()
    desk.post_all()
    desk.l1.remove(first.header.index)
    desk.batcher.follower.poll()
    assert desk.post_all() == 1
    desk.check()


def test_post__batch_of_somebody_else__stops():
    desk = Desk().open()
    desk.pay()
    desk.seal()
    other = Desk(l1=desk.l1)
    other.pay(6)
    other.post_all()
    desk.batcher.follower.poll()
    with pytest.raises(ForeignBatchError, match="batch 1 on L1 was not posted from this store"):
        desk.batcher.post()
    assert len(desk.l1.batches) == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("signatures = zeroblob(64)", "BAD_SIGNATURE at 0"),
        ("signatures = x''", "SIGNATURE_COUNT"),
        ("data = substr(data, 1, length(data) - 1)", "TRUNCATED"),
        ("queue_end = queue_end - 1", "QUEUE_OVERRUN"),
    ],
)
def test_post__chunk_that_breaks_a_rule__is_never_sent(change, complaint):
    """Whatever happened to it: posting it would cost the bond."""
    desk = Desk().open()
    desk.pay()
    desk.seal()
    number = 0 if "queue_end" in change else desk.store.count_chunks() - 1
    desk.store._connection.execute(f"DELETE FROM chunks WHERE number > {number}")
    desk.store._connection.execute(f"UPDATE chunks SET {change} WHERE number = {number}")
    root = desk.batcher.follower.state_root
    with pytest.raises(BatcherError, match=f"chunk {number}: {complaint}"):
        desk.batcher.post()
    assert len(desk.l1.batches) == 1
    assert desk.batcher.follower.state_root == root


def test_post__consumed_message_reorganised_away__cannot_land():
    desk = Desk().open()
    desk.seal()
    desk.l1.reorganise(1)
    desk.l1.enqueue(MessageKind.DEPOSIT, OWNERS[ADA].address, b"something else")
    with pytest.raises(RefusedError, match="QueueMismatch"):
        desk.batcher.post()
    assert len(desk.l1.batches) == 1


def test_post__after_the_deadline__does_not_land():
    """Chunks whose clocks have become stale would be fraud; before that they are not sent."""
    desk = Desk().open()
    desk.seal()
    desk.l1.mine(MAX_CLOCK_LAG - LANDING_SECONDS + SLOT)
    desk.batcher.follower.poll()
    with pytest.raises(StaleChunksError, match=r"chunk 0: its clock \d+ is too old"):
        desk.batcher.post()
    assert desk.l1.calls == []
    assert Alarm.STALE_CHUNKS in desk.sender.alarms.active


moves = st.one_of(
    st.tuples(st.just("pay"), st.integers(1, 3)),
    st.tuples(st.just("trade"), st.integers(1, 3)),
    st.tuples(st.just("deposit"), st.integers(1, 2)),
    st.tuples(st.just("seal"), st.just(0)),
    st.tuples(st.just("post"), st.just(0)),
    st.tuples(st.just("post"), st.just(0)),
    st.tuples(st.just("die"), st.just(0)),
    st.tuples(st.just("crash"), st.just(0)),
    st.tuples(st.just("lie"), st.just(0)),
    st.tuples(st.just("remove"), st.integers(1, 3)),
    st.tuples(st.just("reorganise"), st.integers(1, 9)),
)


def move(desk: Desk, what: str, much: int) -> Desk:
    """One thing that happens to a desk; returns the one that is at work afterwards."""

    def die() -> None:
        raise KeyboardInterrupt

    match what:
        case "pay":
            desk.pay(much)
        case "trade":
            for account, is_buy in ((ADA, True), (BLAISE, False)):
                nonce = desk.sequencer.engine.nonces.get((account, SlotId(0)), 0) + 1
                order = make_order(PRICE, much, is_buy=is_buy, nonce=nonce)
                desk.venue.submit(account, 0, order)
        case "deposit":
            body = encode_deposit(OWNERS[ADA].address, 1, much)
            desk.l1.enqueue(MessageKind.DEPOSIT, OWNERS[ADA].address, body)
            desk.sync()
        case "seal":
            desk.seal()
        case "post" if desk.batcher.follower.fraud is None:
            desk.batcher.post()
        case "die" if desk.batcher.follower.fraud is None:
            desk.sender.before_return = die
            try:
                desk.batcher.post()
            except KeyboardInterrupt:
                return desk.crash()
            desk.sender.before_return = lambda: None
        case "crash":
            return desk.crash()
        case "lie" if desk.batcher.follower.fraud is None:
            desk.post_lie()
        case "remove":
            if len(desk.l1.batches) > much:
                desk.l1.remove(len(desk.l1.batches) - much)
                desk.batcher.follower.poll()
        case "reorganise":
            desk.l1.reorganise(much, keeps_queue=True)
            desk.sync()
    return desk


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(history=st.lists(moves, min_size=5, max_size=20))
def test_post__any_history__every_chunk_is_on_l1_once_in_order(new_path, history):
    desk = Desk(new_path()).open()
    desk.list_markets()
    for what, much in history:
        desk = move(desk, what, much)
    if desk.batcher.follower.fraud is not None:
        desk.l1.remove(desk.batcher.follower.fraud.submitted.header.index)
        desk.batcher.follower.poll()
    desk.post_all()
    desk.check()
    desk.store.close()
