"""The bound that keeps every scenario sum inside its lane, in both implementations."""

from dataclasses import replace

import pytest

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import State, compute_state_root, set_account
from deltaroll.protocol.types import Context, Position, Timestamp, Transfer
from tests.protocol.strategies import Case, build_normal_world
from tests.protocol.verifiers import Tally, case_rng, compare

LARGEST = (1 << 63) - 1


def crowded(first: int, second: int) -> tuple[State, Transfer]:
    """A state whose first account holds two sizes, and a transfer that asks for its margin."""
    world = build_normal_world(case_rng(1, 1))
    state = world.state
    sender, recipient = world.accounts[:2]
    positions = tuple(
        Position(market, size, 0)
        for market, size in zip(world.series[:2], (first, second), strict=True)
    )
    holder = replace(state.accounts[sender], positions=positions)
    set_account(state, sender, holder)
    compute_state_root(state)
    return state, Transfer(sender, recipient, 1, holder.nonce + 1)


@pytest.mark.parametrize("second", [LARGEST, -LARGEST, -LARGEST - 1])
def test_compute_margin__lots_up_to_two_to_the_64__twins_agree(second: int):
    """Long and short count alike; only the last sum reaches 2^64 - 1, the largest that may be."""
    state, transfer = crowded(LARGEST, second)
    clock = state.globals.clock
    compute_margin(state, state.accounts[transfer.sender], clock)
    data = encode_chunk(clock, [transfer])
    context = Context(bytes(32), Timestamp(clock), state.globals.queue_index, 0, 0, False, False)
    assert compare(Case(state, data, context, 1, bytes(32)), Tally()).fault == Fault.MARGIN


def test_compute_margin__two_to_the_64_lots__are_out_of_range():
    state, transfer = crowded(-LARGEST - 1, -LARGEST - 1)
    clock = state.globals.clock
    with pytest.raises(TransitionFault) as problem:
        compute_margin(state, state.accounts[transfer.sender], clock)
    assert problem.value.fault == Fault.OUT_OF_RANGE
    data = encode_chunk(clock, [transfer])
    context = Context(bytes(32), Timestamp(clock), state.globals.queue_index, 0, 0, False, False)
    assert compare(Case(state, data, context, 1, bytes(32)), Tally()).fault == Fault.OUT_OF_RANGE
