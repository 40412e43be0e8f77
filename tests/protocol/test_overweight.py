"""What makes a chunk too heavy is its last transaction: nothing that is weighed after it tells."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import (
    AccountId,
    DataFee,
    Distress,
    Fill,
    Fund,
    List,
    MarketId,
    MessageKind,
    Queue,
    SlotId,
    Timestamp,
    Underlying,
)
from tests.protocol.heavy import sweep
from tests.protocol.scenes import (
    START,
    Scene,
    Step,
    context_of,
    count_legal,
    create_scene,
    materialise,
    order,
)
from tests.protocol.strategies import UNDERLYINGS, Case
from tests.protocol.verifiers import Tally, compare, run_python


@pytest.mark.parametrize("positions", [64, 61, 58, 53, 47])
def test_process_sweep__heavier_than_what_is_left_of_a_chunk__overweight(positions: int) -> None:
    scene = create_scene(24, positions, 64, expiries=1, settled=True)
    state = scene.state
    transactions = materialise(scene, islice(sweep(scene), 24))
    legal = count_legal(scene, transactions)
    assert 1 < legal < len(transactions)
    for count, fault in ((legal, Fault.NONE), (legal + 1, Fault.OVERWEIGHT)):
        data = encode_chunk(Timestamp(START), transactions[:count])
        context = context_of(state, state.globals.queue_index)
        case = Case(state, data, context, count, keccak(b"queue"))
        assert compare(case, Tally()).fault == fault


def fill_of_nothing(scene: Scene) -> Step:
    """No lots; neither account is looked at."""
    market = scene.series[0]
    orders = (order(market, True, 99_999), order(market, False, 99_999))
    return Fill(market, *scene.accounts[:2], SlotId(1), SlotId(2), True, 0, *orders)


def message(kind: MessageKind) -> Callable[[Scene], Step]:
    """A message with a body that none has."""
    return lambda scene: (kind, scene.owners[0], bytes(3))


LAST: dict[str, tuple[Callable[[Scene], Step], Fault]] = {
    "a fill of nothing": (fill_of_nothing, Fault.ZERO_AMOUNT),
    "a list that lists nothing": (lambda scene: List(UNDERLYINGS[0], 0), Fault.NOT_DUE),
    "a fund's distress": (lambda scene: Distress(AccountId(INSURANCE_ACCOUNT)), Fault.NOT_DUE),
    "an exit": (message(MessageKind.FORCE_EXIT), Fault.NONE),
    "a close": (message(MessageKind.FORCE_CLOSE), Fault.NONE),
    "a forced transaction": (message(MessageKind.FORCED), Fault.NONE),
}
"""The last transaction of a chunk, and what is wrong with it in one that has room; a bad message is
a no-op.
"""


@pytest.mark.parametrize("name", LAST)
def test_process_chunk__no_room_for_a_bad_transaction__is_overweight_before_it_is_bad(name: str):
    """A message in particular: as a no-op it would be consumed, and a chunk too heavy stand."""
    make, without = LAST[name]
    scene = create_scene(2, 0, 1)
    state = scene.state
    underlying = state.markets[UNDERLYINGS[0]]
    assert isinstance(underlying, Underlying)
    params = replace(underlying.params, list_base=MarketId(0))
    set_market(state, UNDERLYINGS[0], replace(underlying, params=params))
    # Whatever opens the underlying has been charged for it.
    transactions = materialise(scene, iter([Fund(scene.series[0]), make(scene)]))
    filler = [DataFee(0)] * 1_000

    def judge(count: int) -> Case:
        chunk = [transactions[0], *filler[:count], transactions[1]]
        data = encode_chunk(Timestamp(START), chunk)
        consumed = sum(isinstance(item, Queue) for item in chunk)
        context = context_of(state, state.globals.queue_index + consumed)
        return Case(state, data, context, len(chunk), keccak(b"queue"))

    def is_heavy(count: int) -> bool:
        return run_python(judge(count)).fault == Fault.OVERWEIGHT

    first = bisect_left(range(len(filler)), True, key=is_heavy)
    assert 0 < first < len(filler)
    assert compare(judge(first - 1), Tally()).fault == without
    assert compare(judge(first), Tally()).fault == Fault.OVERWEIGHT
