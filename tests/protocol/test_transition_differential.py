"""Both implementations of the transition on random chunks, and proofs with forged witnesses."""

from dataclasses import replace
from functools import cache
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import MAX_CHUNK_GAS, MAX_CHUNK_WITNESS
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import State, compute_state_root, set_market
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Context,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Queue,
    Series,
    Timestamp,
)
from tests import fuzz
from tests.protocol.strategies import Case, build_big_world, cases, generate_case, world_of
from tests.protocol.verifiers import (
    OTHER_ROOT,
    RevertError,
    Tally,
    case_rng,
    compare,
    run_python,
    verifiers,
)

TRANSACTIONS = 8_000
"""Of the seeded run. With the shrinking examples below, `make test` compares somewhat more."""
EXAMPLES = 300
FORGERIES = 40
"""Forged witnesses for each honest chunk."""
slow = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_process_chunk__thousands_of_seeded_chunks__twins_agree():
    report = fuzz.run(TRANSACTIONS, seed=20_260, workers=2)
    tally = report.tally
    print(f"differential: {tally.transactions:,} transactions in {tally.cases:,} chunks")
    assert not report.disagreements
    assert tally.transactions >= TRANSACTIONS
    # A generator that reaches few faults compares little.
    reached = {fault for fault in Fault if tally.faults[fault] or tally.skipped[fault]}
    by_other_tests = {Fault.OVERWEIGHT, Fault.BAD_SIGNATURE, Fault.SIGNATURE_COUNT}
    assert reached >= set(Fault) - by_other_tests


@slow
@given(cases)
def test_process_chunk__any_chunk__twins_agree(case: Case):
    compare(case, Tally())


def honest_case(seed: int) -> Case:
    """The first chunk without fault from a seed on."""
    number = 0
    while True:
        case = generate_case(case_rng(seed, number))
        if run_python(case).fault == Fault.NONE:
            return case
        number += 1


def forge(rng: Random, witness: bytes) -> bytes:
    """Another byte string than `witness`."""
    at = rng.randrange(len(witness))
    match rng.randrange(6):
        case 0 | 1:
            return witness[:at] + bytes((witness[at] ^ 1 << rng.randrange(8),)) + witness[at + 1 :]
        case 2:
            return witness[:at]
        case 3:
            return witness + rng.randbytes(rng.randint(1, 64))
        case 4:
            return witness[:at] + witness[at + rng.randint(1, 64) :]
        case _:
            return witness[:at] + rng.randbytes(32) + witness[at + 32 :]


@settings(slow, max_examples=EXAMPLES // 6)
@given(st.integers(0, 2**32))
def test_verify_transition__honest_chunk_and_forged_witness__is_never_a_fault(seed: int):
    """G3: no valid batch can be removed, whatever witness is crafted."""
    case = honest_case(seed)
    outcome = run_python(case)
    rng = Random(seed)
    for _ in range(FORGERIES):
        forged = forge(rng, outcome.witness)
        try:
            fault = verifiers().verify_transition(
                case.context, outcome.pre_root, outcome.post_root, case.data, forged
            )
        except RevertError:
            continue
        assert fault == Fault.NONE


@settings(slow, max_examples=EXAMPLES // 6)
@given(st.integers(0, 2**32))
def test_verify_transition__witness_of_another_state__reverts(seed: int):
    """A root that was never posted proves nothing (N1), nor does a witness of another chunk."""
    case = honest_case(seed)
    outcome = run_python(case)
    for root in (OTHER_ROOT, bytes(32), outcome.post_root):
        if root == outcome.pre_root:
            continue
        try:
            verifiers().verify_transition(
                case.context, root, outcome.post_root, case.data, outcome.witness
            )
        except RevertError:
            continue
        raise AssertionError("a witness was accepted for another root")


@cache
def crowded_state() -> State:
    """The big world with an underlying for each series: marking them all fits no chunk."""
    world = world_of("big", 1)
    state = build_big_world(Random("crowded")).state
    for number, market in enumerate(world.series):
        series = state.markets[market]
        assert isinstance(series, Series)
        underlying = MarketId(40_000 + number)
        set_market(state, underlying, state.markets[series.underlying])
        set_market(state, market, replace(series, underlying=underlying))
    compute_state_root(state)
    return state


def heavy_message_case(before: int) -> Case:
    """A chunk that consumes a forced Mark of 128 series after `before` marks."""
    state = crowded_state()
    first = world_of("big", 1).series[0]
    clock = state.globals.clock
    index = state.globals.queue_index
    forced = encode_chunk(clock, [Mark(first, 128)])
    body = len(forced).to_bytes(2, "big") + forced
    state.messages[index] = Message(MessageKind.FORCED, ZERO_ADDRESS, Timestamp(9), body)
    data = encode_chunk(clock, [Mark(first, 1)] * before + [Queue()])
    context = Context(b"\x11" * 32, Timestamp(clock), index + 1, 0, 0, False, False)
    return Case(state, data, context, before + 1, keccak(index.to_bytes(8, "big")))


def test_process_queue__message_heavier_than_a_chunk__is_skipped():
    """Nobody can stop the queue with a message that fits no chunk."""
    case = heavy_message_case(0)
    skipped = case.state.globals.skipped
    outcome = compare(case, Tally())
    assert outcome.fault == Fault.NONE
    case.state.begin()
    process_chunk(case.state, case.data, case.context)
    assert case.state.globals.skipped == skipped + 1
    case.state.rollback()
    assert len(outcome.witness) < MAX_CHUNK_WITNESS


def test_process_queue__message_heavier_than_the_rest_of_a_chunk__is_a_fault():
    assert compare(heavy_message_case(1), Tally()).fault == Fault.OVERWEIGHT


def test_process_chunk__too_heavy__twins_agree_on_overweight():
    """Marks are cheap in bytes and dear in gas: the weight ends the chunk long before its data."""
    world = world_of("normal", 0)
    state = world.state
    clock = state.globals.clock
    count = MAX_CHUNK_GAS // 20_000
    data = encode_chunk(clock, [Mark(world.series[0], 1)] * count)
    context = Context(b"\x11" * 32, Timestamp(clock), state.globals.queue_index, 0, 0, False, False)
    outcome = compare(Case(state, data, context, count, bytes(32)), Tally())
    assert outcome.fault == Fault.OVERWEIGHT
