"""Whatever is thrown at a sequencer, every chunk that it seals stands up to a verifier (G8)."""

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.engine.ledger import compute_equity, count_open_sizes
from deltaroll.engine.matching import OrderStatus
from deltaroll.protocol.codec import decode_chunk
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import State
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import AccountId, Context, Fill, TimeInForce, Timestamp
from tests.node.streams import (
    make_option_stream,
    make_rush,
    make_stream,
    operations,
    option_operations,
)
from tests.node.support import (
    CASH,
    DOMAIN,
    INDEX,
    KEYS,
    PERP,
    PRICE,
    TICK,
    Operation,
    Recorder,
    Venue,
    find_edge,
    make_order,
    play,
    strip_fee_levels,
)

INBOX_DATA, INBOX_SIGNATURES = 16_384, 32_768
"""Bytes that `RollupInbox.submitBatch` takes of one chunk."""
MAKER, TAKER, THIRD = AccountId(1), AccountId(2), AccountId(3)

Trade = tuple[AccountId, int, AccountId, int]
"""Maker, its slot, taker, lots."""


def get_clock(data: bytes) -> int:
    return int.from_bytes(data[:5], "big")


def verify(venue: Venue, cuts: Sequence[int] = (3,), lag: int = 0) -> State:
    """Post what was sealed, `cuts` chunks a batch in turn, and judge it as a follower would."""
    assert isinstance(venue.store, Recorder)
    state = State()
    state.messages = venue.state.messages
    waiting = list(venue.store.sealed)
    turn = 0
    while waiting:
        latest = get_clock(waiting[0][0].data) + MAX_CLOCK_LAG
        size = cuts[turn % len(cuts)]
        batch = [entry for entry in waiting[:size] if get_clock(entry[0].data) <= latest]
        del waiting[: len(batch)]
        for place, (chunk, root) in enumerate(batch):
            context = Context(
                domain=DOMAIN,
                l1_time=Timestamp(min(get_clock(batch[-1][0].data) + lag, latest)),
                queue_end=batch[-1][0].queue_end,
                previous_base_fee=10**9 + turn,
                previous_blob_fee=turn,
                is_first=place == 0,
                is_last=place == len(batch) - 1,
            )
            assert len(chunk.data) <= INBOX_DATA
            assert len(chunk.signatures) <= INBOX_SIGNATURES
            assert compute_bad_signature(state, chunk.data, chunk.signatures, DOMAIN) is None
            process_chunk(state, chunk.data, context)
            assert strip_fee_levels(state) == root
            assert state.globals.queue_index == chunk.queue_end
        turn += 1
    return state


def collect_fills(venue: Venue) -> list[Trade]:
    """Every fill that is posted."""
    assert isinstance(venue.store, Recorder)
    return [
        (fill.maker, fill.maker_slot, fill.taker, fill.lots)
        for chunk, _ in venue.store.sealed
        for fill in decode_chunk(chunk.data)[1]
        if isinstance(fill, Fill)
    ]


def play_all(venue: Venue, stream: Iterable[Operation]) -> list[Trade]:
    """Play a stream to its end; return every fill that was reported to somebody."""
    reported: list[Trade] = []
    for operation in stream:
        receipt = play(venue, operation)
        if receipt is None or receipt.execution is None:
            continue
        taker = operation.account  # type: ignore[union-attr]
        execution = receipt.execution
        assert execution.filled == sum(report.lots for report in execution.fills)
        reported += [
            (report.maker, report.maker_slot, taker, report.lots) for report in execution.fills
        ]
    venue.sequencer.seal()
    return reported


def check_money(state: State) -> None:
    """Not a unit was made or lost (G5)."""
    kept = state.globals
    held = compute_equity(state) + kept.insurance + kept.fee_pool
    assert held + kept.withdrawn == kept.deposited
    assert count_open_sizes(state) == 0


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream=st.lists(operations, min_size=8, max_size=40),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    lag=st.sampled_from((0, 1, 600, MAX_CLOCK_LAG)),
)
def test_seal__any_stream__every_chunk_is_honest(stream, cuts, lag):
    venue = Venue().open()
    reported = play_all(venue, stream)
    state = verify(venue, cuts, lag)
    assert collect_fills(venue) == reported
    check_money(state)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_seal__long_stream__every_chunk_is_honest(seed):
    venue = Venue().open()
    reported = play_all(venue, make_stream(random.Random(seed), 1_200))
    state = verify(venue, (1, 7, 30), 600)
    assert collect_fills(venue) == reported
    assert len(reported) > 60
    check_money(state)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream=st.lists(option_operations, min_size=8, max_size=40),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_seal__any_stream_with_options__every_chunk_is_honest(stream, cuts):
    venue = Venue().open_options()
    reported = play_all(venue, stream)
    state = verify(venue, cuts)
    assert collect_fills(venue) == reported
    check_money(state)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_seal__long_stream_with_options__every_chunk_is_honest(seed):
    venue = Venue().open_options()
    reported = play_all(venue, make_option_stream(random.Random(seed), 1_000))
    state = verify(venue, (1, 7, 30), 600)
    assert collect_fills(venue) == reported
    assert len(reported) > 60
    check_money(state)
    kinds = {
        type(transaction).__name__
        for chunk, _ in venue.store.sealed
        for transaction in decode_chunk(chunk.data)[1]
    }
    assert kinds >= {"List", "Surface", "Mark", "Sweep", "Fund", "DataFee"}


def test_seal__more_than_a_chunk_holds__weight_cuts_and_every_chunk_is_honest():
    venue = Venue().open(cash=CASH * 100)
    reported = play_all(venue, make_rush(random.Random(7), 800))
    assert isinstance(venue.store, Recorder)
    assert len(venue.store.sealed) >= 5
    state = verify(venue, (100,))
    assert collect_fills(venue) == reported
    assert len(reported) > 200
    check_money(state)


@settings(deadline=None, max_examples=40)
@given(
    is_buy=st.booleans(),
    by_key=st.booleans(),
    ticks=st.integers(-100, 100),
    missing=st.integers(-1, 2),
    held=st.integers(-60, 60),
    kind=st.sampled_from((TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)),
)
def test_submit__taker_at_the_edge_of_its_margin__fills_or_not_but_settles(
    is_buy, by_key, ticks, missing, held, kind
):
    """The largest size that margin allows fills; one lot more does not; both are honest."""
    venue = Venue().open()
    clock = venue.sequencer.clock
    if by_key:
        venue.set_key(TAKER, KEYS[TAKER].address, clock + 100)
    if held:
        venue.submit(THIRD, 0, make_order(PRICE, abs(held), is_buy=held < 0))
        venue.submit(TAKER, 1, make_order(PRICE, abs(held), is_buy=held > 0))
    price = PRICE + ticks * TICK
    edge = find_edge(venue.state, TAKER, PERP, is_buy, price)
    assert edge > 0
    venue.deposit(venue.state.accounts[MAKER].owner, MAKER, CASH * 10)
    rested = venue.submit(MAKER, 0, make_order(price, edge + 10, is_buy=not is_buy))
    assert rested.status == OrderStatus.RESTING
    order = make_order(price, edge + missing, is_buy=is_buy, time_in_force=kind)
    execution = venue.submit(TAKER, 0, order, KEYS[TAKER] if by_key else None)
    if missing <= 0:
        assert execution.status == OrderStatus.FILLED
    else:
        assert execution.filled == 0
        assert execution.reason == Fault.MARGIN
    venue.sequencer.seal()
    state = verify(venue)
    check_money(state)
    assert venue.state.accounts == state.accounts


def test_seal__index_moves_to_the_band__order_is_refused_not_busted():
    """A price that was in the band when the maker rested and is not when the taker comes."""
    venue = Venue().open()
    assert venue.submit(MAKER, 0, make_order(PRICE, 5)).status == OrderStatus.RESTING
    for price in (PRICE + 1_400, PRICE + 1_500, PRICE + 1_600):
        venue.sequencer.set_clock(venue.sequencer.clock + 1)
        venue.observe(price, index=INDEX)
        execution = venue.submit(
            TAKER, 0, make_order(PRICE, 1, is_buy=False, nonce=price, time_in_force=TimeInForce.IOC)
        )
        assert (execution.filled == 1) == (price <= PRICE + 1_500)
    venue.sequencer.seal()
    verify(venue)
