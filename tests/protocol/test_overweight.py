"""What makes a chunk too heavy is its last transaction: nothing that is weighed after it tells."""

from __future__ import annotations

from itertools import islice

import pytest

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import Timestamp
from tests.protocol.heavy import sweep
from tests.protocol.scenes import START, context_of, count_legal, create_scene, materialise
from tests.protocol.strategies import Case
from tests.protocol.verifiers import Tally, compare


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
