"""Steps of a chunk that single tests are about; the rest is in random chunks and vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import FEE_LEVEL_SMOOTHING
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.transition import compute_fault, compute_fee_level, process_batch_start
from deltaroll.protocol.types import Timestamp
from tests.protocol.scenes import START, context_of, create_scene
from tests.protocol.strategies import Case
from tests.protocol.verifiers import OTHER_ROOT, Tally, compare

levels = st.integers(0, (1 << 64) - 1)


@given(levels, levels)
def test_compute_fee_level__any_fee__is_between_the_level_and_the_fee(level: int, fee: int):
    after = compute_fee_level(level, fee)
    assert min(level, fee) <= after <= max(level, fee)
    # A fall is rounded down, so that a level of nothing is reached again.
    assert after < level or fee >= level


def test_compute_fee_level__steps__are_a_part_of_the_difference_rounded_down():
    step = FEE_LEVEL_SMOOTHING
    assert compute_fee_level(0, step) == 1
    assert compute_fee_level(0, step - 1) == 0
    assert compute_fee_level(10 * step, 0) == 10 * step - 10
    assert compute_fee_level(10 * step, 10 * step - 1) == 10 * step - 1
    assert compute_fee_level(7, 7) == 7


@pytest.mark.parametrize("base", [0, 999, 10**12])
@pytest.mark.parametrize("blob", [0, 10**9])
def test_process_batch_start__levels_above_nothing__twins_agree(base: int, blob: int):
    state = create_scene(2, 0, 1).state
    state.globals = replace(state.globals, base_fee_level=10**9 + 7, blob_fee_level=13)
    data = encode_chunk(Timestamp(START), [])
    context = context_of(state, state.globals.queue_index)
    context = replace(context, previous_base_fee=base, previous_blob_fee=blob)
    assert compare(Case(state, data, context, 1, keccak(b"queue")), Tally()).fault == Fault.NONE
    process_batch_start(state, context)
    known = state.globals
    assert known.base_fee_level == compute_fee_level(10**9 + 7, base)
    assert known.blob_fee_level == compute_fee_level(13, blob)


def test_compute_fault__empty_chunk__is_honest_with_the_true_root_only():
    state = create_scene(2, 0, 1).state
    before = compute_state_root(state)
    data = encode_chunk(Timestamp(START), [])
    context = context_of(state, state.globals.queue_index)
    true = compare(Case(state, data, context, 1, keccak(b"queue")), Tally()).post_root
    assert compute_fault(state, data, context, OTHER_ROOT) == Fault.WRONG_POST_ROOT
    assert compute_state_root(state) == before
    assert compute_fault(state, data, context, true) == Fault.NONE
    assert compute_state_root(state) == true
