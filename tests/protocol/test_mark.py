"""Where a range of marks may end; what a mark is worth is in the tests of risk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import MARKET_DEPTH
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.state import compute_state_root, reset_meter, set_market
from deltaroll.protocol.types import Mark, MarketId, Series, SeriesKind, Timestamp
from tests.protocol.scenes import START, context_of, create_scene
from tests.protocol.strategies import Case
from tests.protocol.verifiers import Tally, compare

LAST = MarketId((1 << MARKET_DEPTH) - 1)


@pytest.mark.parametrize(
    ("market", "count", "fault"),
    [
        (LAST, 1, Fault.NONE),
        (LAST - 1, 2, Fault.NONE),
        (LAST, 2, Fault.UNKNOWN_MARKET),
        (LAST - 1, 3, Fault.UNKNOWN_MARKET),
    ],
)
def test_process_mark__range_to_the_last_id__none_may_be_behind_it(
    market: int, count: int, fault: Fault
):
    """No witness could open the leaf behind, so that nothing of such a range is even looked at."""
    state = create_scene(2, 0, 1).state
    perpetual = next(
        leaf
        for leaf in state.markets.values()
        if isinstance(leaf, Series) and leaf.kind == SeriesKind.PERPETUAL
    )
    for last in (LAST - 1, LAST):
        set_market(state, MarketId(last), replace(perpetual))
    compute_state_root(state)
    mark = Mark(MarketId(market), count)
    data = encode_chunk(Timestamp(START), [mark])
    context = context_of(state, state.globals.queue_index)
    assert compare(Case(state, data, context, 1, keccak(b"queue")), Tally()).fault == fault
    if fault != Fault.NONE:
        reset_meter(state)
        with pytest.raises(TransitionFault) as caught:
            process_mark(state, mark)
        assert caught.value.fault == fault
        assert state.meter.markets == set()
