"""Chunks: what ends one, what undoes part of one, and that its weight is never understated."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.node.builder import ENCODED_BOUND, MAX_SIGNATURES, ChunkBuilder
from deltaroll.node.store import SealedChunk
from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.constants import MAX_SIGNERS, SLOT_DEPTH
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Context,
    DataFee,
    Distress,
    Fill,
    Fund,
    Liquidate,
    List,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Observation,
    Observe,
    Order,
    Queue,
    SetTradingKey,
    SlotId,
    Socialise,
    Surface,
    Sweep,
    TimeInForce,
    Timestamp,
    Transaction,
    Transfer,
    Withdraw,
)
from tests.node.support import (
    ACCOUNTS,
    CASH,
    DOMAIN,
    GENESIS,
    OWNERS,
    PERP,
    PRICE,
    encode_deposit,
    make_order,
)
from tests.node.test_honesty import INBOX_DATA, INBOX_SIGNATURES

SIGNATURE = bytes(64)
"""The builder never looks into one."""
ADA, BLAISE, CARL = ACCOUNTS[:3]
HEAD_BYTES = 10
"""Clock, table lengths, end mark and padding of a chunk, apart from its transactions."""


class Bench:
    """A builder over a funded state; what it seals."""

    def __init__(self) -> None:
        self.sealed: list[SealedChunk] = []
        self.state = State()
        self.builder = ChunkBuilder(self.state, DOMAIN, self.sealed.append)
        self.builder.move_clock(GENESIS)
        for owner in OWNERS.values():
            self.consume(encode_deposit(owner.address, 0, CASH))
        self.builder.cut()
        self.sealed.clear()
        self.nonces = dict.fromkeys(ACCOUNTS, 0)

    def consume(self, body: bytes) -> None:
        index = self.state.globals.queue_index
        self.state.messages[index] = Message(
            MessageKind.DEPOSIT, OWNERS[ADA].address, GENESIS, body
        )
        self.builder.execute(Queue(), ())

    def pay(self, amount: int = 1, sender: AccountId = ADA, recipient: AccountId = BLAISE) -> None:
        nonce = self.nonces[sender] + 1
        self.builder.execute(Transfer(sender, recipient, amount, nonce), (SIGNATURE,))
        self.nonces[sender] = nonce

    def change_key(self) -> None:
        nonce = self.nonces[CARL] + 1
        change = SetTradingKey(CARL, OWNERS[ADA].address, GENESIS, nonce)
        self.builder.execute(change, (SIGNATURE,))
        self.nonces[CARL] = nonce

    def seal(self) -> list[int]:
        """Cut, and return how many transactions each chunk has."""
        self.builder.cut()
        return [chunk.transactions for chunk in self.sealed]


@pytest.fixture
def bench():
    return Bench()


def test_execute__transactions__are_sealed_in_order_with_their_signatures(bench):
    bench.pay(5)
    bench.pay(6, sender=BLAISE, recipient=CARL)
    assert not bench.builder.is_empty
    assert bench.seal() == [2]
    (chunk,) = bench.sealed
    clock, transactions = decode_chunk(chunk.data)
    assert clock == GENESIS
    assert [transaction.amount for transaction in transactions] == [5, 6]
    assert chunk.signatures == SIGNATURE * 2
    assert chunk.queue_end == len(OWNERS)
    assert bench.builder.is_empty


def test_execute__fault__leaves_state_and_chunk_as_they_were(bench):
    bench.pay()
    root = compute_state_root(bench.state)
    with pytest.raises(TransitionFault) as problem:
        bench.pay(CASH * 2)
    assert problem.value.fault == Fault.MARGIN
    assert compute_state_root(bench.state) == root
    assert bench.seal() == [1]


def test_cut__nothing_applied__seals_nothing(bench):
    with pytest.raises(TransitionFault):
        bench.pay(CASH * 2)
    assert bench.builder.is_empty
    number = bench.builder.number
    assert bench.seal() == []
    assert bench.builder.number == number


def test_move_clock__open_chunk__is_sealed_at_its_own_clock(bench):
    bench.pay()
    bench.builder.move_clock(Timestamp(GENESIS + 9))
    assert bench.state.globals.clock == GENESIS + 9
    bench.pay()
    assert bench.seal() == [1, 1]
    assert [decode_chunk(chunk.data)[0] for chunk in bench.sealed] == [GENESIS, GENESIS + 9]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Bench.change_key, Bench.pay, [1, 1]),
        (Bench.change_key, Bench.change_key, [1, 1]),
        (Bench.change_key, lambda one: one.consume(b""), [2]),
        (lambda one: one.consume(b""), Bench.pay, [1, 1]),
        (lambda one: one.consume(b""), lambda one: one.consume(b""), [2]),
        (Bench.pay, Bench.change_key, [2]),
        (Bench.pay, lambda one: one.consume(b""), [2]),
        (Bench.pay, Bench.pay, [2]),
    ],
)
def test_execute__keys_may_have_changed__next_signed_one_starts_a_chunk(
    bench, before: Callable[[Bench], None], after: Callable[[Bench], None], expected
):
    """Signatures are judged by the state before their chunk."""
    before(bench)
    after(bench)
    assert bench.seal() == expected


def test_rollback__group__is_undone_as_a_whole(bench):
    bench.pay()
    root = compute_state_root(bench.state)
    bench.builder.begin()
    bench.pay(2)
    bench.pay(3)
    bench.builder.rollback()
    assert compute_state_root(bench.state) == root
    assert bench.seal() == [1]
    assert bench.sealed[0].signatures == SIGNATURE


def test_commit__group__is_kept_as_a_whole(bench):
    bench.builder.begin()
    bench.pay(2)
    bench.pay(3)
    bench.builder.commit()
    assert bench.seal() == [2]


def test_begin__after_a_change_of_key__starts_a_chunk_of_its_own(bench):
    bench.change_key()
    bench.builder.begin()
    bench.pay()
    bench.builder.commit()
    assert bench.seal() == [1, 1]


def test_execute__one_chunk_full__raises_and_fits_the_next(bench):
    """Payments without signatures, so that weight is what ends the chunk."""
    for nonce in range(1, 1_000):
        payment = Transfer(ADA, BLAISE, 1, nonce)
        try:
            bench.builder.execute(payment, ())
        except TransitionFault:
            break
    with pytest.raises(TransitionFault, match="OVERWEIGHT"):
        bench.builder.execute(payment, ())
    bench.builder.cut()
    bench.builder.execute(payment, ())
    assert bench.seal() == [nonce - 1, 1]
    assert nonce > 100


def test_execute__many_signatures__chunks_stay_within_what_the_inbox_takes(bench):
    for _ in range(3 * MAX_SIGNATURES):
        bench.pay()
    assert sum(bench.seal()) == 3 * MAX_SIGNATURES
    assert all(len(chunk.signatures) <= INBOX_SIGNATURES for chunk in bench.sealed)
    assert all(len(chunk.data) <= INBOX_DATA for chunk in bench.sealed)


# The builder weighs a chunk before it is encoded; a verifier afterwards. The first may not be less.

accounts = st.integers(1, 2**24 - 1) | st.just(2**24 - 1)
markets = st.integers(1, 2**16 - 1)
prices = st.integers(1, 2**63 - 1) | st.just(2**63 - 1)
words = st.integers(0, 2**31 - 1) | st.just(2**31 - 1)
amounts = st.integers(1, 2**96 - 1) | st.just(2**96 - 1)
nonces = st.integers(1, 2**63 - 1) | st.just(2**63 - 1)
slots = st.integers(0, 2**SLOT_DEPTH - 1)
addresses = st.binary(min_size=20, max_size=20).map(Address)


def compute_orders(market: MarketId, is_buy: bool) -> st.SearchStrategy[Order | None]:
    return st.none() | st.builds(
        Order,
        st.just(market),
        st.just(is_buy),
        prices,
        words,
        words,
        words,
        words.map(lambda life: Timestamp(GENESIS + life)),
        st.sampled_from(TimeInForce),
        st.booleans(),
        st.booleans(),
    )


@st.composite
def fills(draw):
    market, is_buy = draw(markets), draw(st.booleans())
    return Fill(
        market,
        draw(accounts),
        draw(accounts),
        SlotId(draw(slots)),
        SlotId(draw(slots)),
        is_buy,
        draw(words),
        draw(compute_orders(market, is_buy)),
        draw(compute_orders(market, not is_buy)),
    )


observes = st.builds(
    lambda market, entries: Observe(
        market,
        tuple(
            Observation(signer, price, Timestamp(GENESIS - age))
            for signer, (price, age) in sorted(entries.items())
        ),
    ),
    markets,
    st.dictionaries(st.integers(0, MAX_SIGNERS - 1), st.tuples(prices, st.integers(0, 2**15 - 1))),
)
fractions = st.integers(-(2**63) + 1, 2**63 - 1) | st.sampled_from((2**63 - 1, 1 - 2**63))
shares = st.integers(0, 2**20 - 1) | st.just(2**20 - 1)
surfaces = st.builds(
    Surface,
    markets,
    st.integers(0, 2**MAX_SIGNERS - 1),
    prices,
    *[fractions] * 6,
    st.integers(0, 2**15 - 1).map(lambda age: Timestamp(GENESIS - age)),
)
transactions: st.SearchStrategy[Transaction] = st.one_of(
    st.just(Queue()),
    fills(),
    st.builds(Transfer, accounts, accounts, amounts, nonces),
    st.builds(Withdraw, accounts, addresses, amounts, nonces),
    st.builds(SetTradingKey, accounts, addresses, st.integers(0, 2**40 - 1), nonces),
    observes,
    st.builds(Mark, markets, st.integers(1, 128)),
    surfaces,
    st.builds(List, markets, st.integers(0, 255)),
    st.builds(Fund, markets),
    st.builds(Sweep, accounts),
    st.builds(Distress, accounts),
    st.builds(Liquidate, accounts, accounts | st.just(0), shares, shares, nonces),
    st.builds(Socialise, accounts),
    st.builds(DataFee, st.integers(0, 2**63 - 1) | st.just(2**63 - 1)),
)


def test_encoded_bound__every_kind__has_one():
    assert set(ENCODED_BOUND) == set(get_args(Transaction))


def make_widest(turn: int) -> list[Transaction]:
    """The largest value of every field, in markets and accounts of their own."""
    market = MarketId(2**16 - 1 - 257 * turn)
    account = AccountId(2**24 - 1 - 2 * 60_001 * turn)
    other = AccountId(account - 60_001)
    nonce = 2**63 - 1
    last = Timestamp(GENESIS - 2**15 + 1)
    expiry = Timestamp(GENESIS + 2**31 - 1)
    word = 2**31 - 1
    slot = SlotId(2**SLOT_DEPTH - 1)
    order = Order(market, True, 2**63 - 1, word, word, word, expiry, TimeInForce.FOK, True, True)
    return [
        Queue(),
        Fill(market, account, other, slot, slot, True, word, order, replace(order, is_buy=False)),
        Transfer(account, other, 2**96 - 1, nonce),
        Withdraw(account, Address(b"\xff" * 20), 2**96 - 1, nonce),
        SetTradingKey(account, Address(b"\xff" * 20), Timestamp(2**40 - 1), nonce),
        Observe(
            market,
            tuple(Observation(signer, 2**63 - 1, last) for signer in range(MAX_SIGNERS)),
        ),
        Mark(market, 128),
        Surface(market, 2**MAX_SIGNERS - 1, 2**63 - 1, *[1 - 2**63] * 6, last),
        List(market, 255),
        Fund(market),
        Sweep(account),
        Distress(account),
        Liquidate(account, other, 2**20 - 1, 2**20 - 1, nonce),
        Socialise(account),
        DataFee(2**63 - 1),
    ]


@pytest.mark.parametrize("count", [1, 60, 120])
@pytest.mark.parametrize("place", range(15), ids=lambda place: type(make_widest(0)[place]).__name__)
def test_encoded_bound__largest_values__are_not_exceeded(place, count):
    chunk = [make_widest(turn)[place] for turn in range(count)]
    bound = ENCODED_BOUND[type(chunk[0])]
    assert len(encode_chunk(GENESIS, chunk)) <= HEAD_BYTES + count * bound


@settings(deadline=None, max_examples=400)
@given(chunk=st.lists(transactions, min_size=1, max_size=12))
def test_encoded_bound__any_chunk__is_not_exceeded(chunk):
    assert len(encode_chunk(GENESIS, chunk)) <= HEAD_BYTES + sum(
        ENCODED_BOUND[type(transaction)] for transaction in chunk
    )


@settings(deadline=None, max_examples=40)
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ACCOUNTS), st.integers(0, 2 * CASH)),
        min_size=3,
        max_size=30,
    )
)
def test_meter__refused_ones_in_between__is_not_below_the_verifiers(moves):
    bench = Bench()
    twin = Bench()
    for sender, recipient, amount in moves:
        try:
            bench.pay(amount, sender, recipient)
        except TransitionFault:
            continue
    context = Context(DOMAIN, GENESIS, len(OWNERS), 0, 0, False, False)
    charged = (bench.state.meter.gas, bench.state.meter.witness)
    if bench.seal() == []:
        return
    process_chunk(twin.state, bench.sealed[0].data, context)
    assert twin.state.meter.gas <= charged[0]
    assert twin.state.meter.witness <= charged[1] + HEAD_BYTES
    assert compute_state_root(twin.state) == compute_state_root(bench.state)


def test_execute__order_of_a_market_that_is_none__is_a_fault(bench):
    order = make_order(PRICE, 1)
    fill = Fill(PERP, ADA, BLAISE, SlotId(0), SlotId(0), True, 1, order, order)
    with pytest.raises(TransitionFault) as problem:
        bench.builder.execute(fill, (SIGNATURE, SIGNATURE))
    assert problem.value.fault == Fault.UNKNOWN_MARKET
