"""Forced fills: alone in their message, so an order must be filled by it whole or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import compute_state_root, set_account, set_slot
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Fill,
    Slot,
    SlotId,
    TimeInForce,
    Timestamp,
)
from tests.protocol.heavy import fill_new_slots, forced
from tests.protocol.scenes import START, context_of, create_scene, materialise
from tests.protocol.strategies import Case
from tests.protocol.verifiers import Tally, compare


@pytest.mark.parametrize(
    ("time_in_force", "size", "skipped"),
    [
        (TimeInForce.FOK, 1, 0),
        (TimeInForce.FOK, 2, 1),
        (TimeInForce.IOC, 2, 0),
    ],
)
def test_process_forced__fill_or_kill__filled_whole_or_skipped(
    time_in_force: TimeInForce, size: int, skipped: int
) -> None:
    scene = create_scene(2, 0, 1)
    state = scene.state
    fill = next(fill_new_slots(scene))
    assert isinstance(fill, Fill)
    assert fill.taker_order is not None
    order = replace(fill.taker_order, time_in_force=time_in_force, size=size)
    transactions = materialise(scene, iter([forced(scene, replace(fill, taker_order=order))]))
    data = encode_chunk(Timestamp(START), transactions)
    context = context_of(state, state.globals.queue_index + 1)
    case = Case(state, data, context, 1, keccak(b"queue"))
    assert compare(case, Tally()).fault == Fault.NONE
    before = state.globals.skipped
    process_chunk(state, data, context)
    assert state.globals.skipped - before == skipped


@pytest.mark.parametrize("time_in_force", list(TimeInForce))
@pytest.mark.parametrize("taker", [None, AccountId(INSURANCE_ACCOUNT)])
def test_process_forced__order_of_an_earlier_fill__only_a_resting_one_goes_on(
    time_in_force: TimeInForce, taker: AccountId | None
) -> None:
    """Nothing stands before what L1 forces, so that no immediate order goes on with it: not even
    one in the slot that stands for none.
    """
    scene = create_scene(2, 0, 1)
    state = scene.state
    other = scene.accounts[1]
    if taker is None:
        taker = other
    else:
        set_account(state, taker, replace(state.accounts[other], owner=ZERO_ADDRESS))
    fill = next(fill_new_slots(scene))
    assert isinstance(fill, Fill)
    assert fill.taker_order is not None
    begun = replace(fill.taker_order, time_in_force=time_in_force, size=5)
    set_slot(state, taker, SlotId(0), Slot(begun, 1))
    compute_state_root(state)
    fill = replace(fill, taker=taker, taker_slot=SlotId(0), taker_order=None)
    transactions = materialise(scene, iter([forced(scene, fill)]))
    data = encode_chunk(Timestamp(START), transactions)
    context = context_of(state, state.globals.queue_index + 1)
    assert compare(Case(state, data, context, 1, keccak(b"queue")), Tally()).fault == Fault.NONE
    before = state.globals.skipped
    process_chunk(state, data, context)
    assert (state.globals.skipped == before) == (time_in_force == TimeInForce.GTC)
