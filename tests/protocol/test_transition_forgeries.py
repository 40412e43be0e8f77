"""Witnesses that are well made but open something else: they prove nothing against an honest chunk.

What happens to bytes at random is in `test_transition_differential.py`; here the forger knows the
format.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import Meter, State, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import AccountId, MarketId, SlotId
from deltaroll.protocol.witness import encode_witness
from tests.protocol.strategies import Case, generate_case
from tests.protocol.verifiers import (
    OTHER_ROOT,
    Outcome,
    RevertError,
    case_rng,
    run_python,
    verifiers,
)

FORGERIES = 12
"""Of each kind for each honest chunk."""


def honest_case(seed: int) -> tuple[Case, Outcome, Meter]:
    """The first chunk without fault from a seed on, and what it touches."""
    number = 0
    while True:
        case = generate_case(case_rng(seed, number))
        outcome = run_python(case)
        if outcome.fault == Fault.NONE:
            return case, outcome, meter_of(case)
        number += 1


def meter_of(case: Case) -> Meter:
    """What a chunk touches."""
    state = case.state
    state.begin()
    with suppress(TransitionFault):
        process_chunk(state, case.data, case.context)
    meter = state.meter
    state.rollback()
    compute_state_root(state)
    return meter


def drop_account(rng: Random, meter: Meter) -> None:
    """Leave an account out."""
    if meter.accounts:
        gone = rng.choice(sorted(meter.accounts))
        meter.accounts.discard(gone)
        meter.slots = {key for key in meter.slots if key[0] != gone}


def add_account(rng: Random, meter: Meter) -> None:
    """Open an account that is not needed, mostly one that does not exist."""
    meter.accounts.add(AccountId(rng.choice((0, 1, 2, 3, 9, 77, (1 << 24) - 1))))


def drop_market(rng: Random, meter: Meter) -> None:
    """Leave a market out."""
    if meter.markets:
        meter.markets.discard(rng.choice(sorted(meter.markets)))


def add_market(rng: Random, meter: Meter) -> None:
    """Open a market that is not needed, or does not exist."""
    meter.markets.add(MarketId(rng.choice((0, 1, 2, 10, 101, 9_999, 65_535))))


def drop_slot(rng: Random, meter: Meter) -> None:
    """Leave an order slot out."""
    if meter.slots:
        meter.slots.discard(rng.choice(sorted(meter.slots)))


def add_slot(rng: Random, meter: Meter) -> None:
    """Open a slot that is not needed."""
    if meter.accounts:
        account = rng.choice(sorted(meter.accounts))
        meter.slots.add((account, SlotId(rng.choice((0, 1, 2, rng.randrange(4096))))))


def change_exits(rng: Random, meter: Meter) -> None:
    """Open more or fewer places for exits."""
    meter.exits = max(0, meter.exits + rng.choice((-1, 1, 3)))


def change_messages(rng: Random, meter: Meter) -> None:
    """Hold back a message, or bring the next ones along."""
    meter.messages = max(0, meter.messages + rng.choice((-1, 1, 2)))


def drop_all(rng: Random, meter: Meter) -> None:
    """Open no accounts at all."""
    meter.accounts.clear()
    meter.slots.clear()


FORGERS: tuple[Callable[[Random, Meter], None], ...] = (
    drop_account,
    add_account,
    drop_market,
    add_market,
    drop_slot,
    add_slot,
    change_exits,
    change_messages,
    drop_all,
)


def swap_words(rng: Random, witness: bytes) -> bytes:
    """Exchange two neighbouring words: often two siblings, or two fields of a leaf."""
    at = rng.randrange(max(1, len(witness) - 64))
    one, two = witness[at : at + 32], witness[at + 32 : at + 64]
    return witness[:at] + two + one + witness[at + 64 :]


def swap_siblings(rng: Random, state: State, meter: Meter, witness: bytes) -> bytes:
    """Exchange two nodes of the account tree's multiproof."""
    nodes = state._account_tree.get_multiproof(sorted(meter.accounts)) if meter.accounts else []
    if len(nodes) < 2:
        return swap_words(rng, witness)
    stream = b"".join(nodes)
    start = witness.rindex(stream)
    a, b = rng.sample(range(len(nodes)), 2)
    nodes[a], nodes[b] = nodes[b], nodes[a]
    return witness[:start] + b"".join(nodes) + witness[start + len(stream) :]


def judge(case: Case, outcome: Outcome, witness: bytes, post_root: bytes) -> Fault | None:
    """What the verifier says; None when it says nothing."""
    try:
        return verifiers().verify_transition(
            case.context, outcome.pre_root, post_root, case.data, witness
        )
    except RevertError:
        return None


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.integers(0, 2**32))
def test_verify_transition__honest_chunk_and_other_leaves__is_never_a_fault(seed: int) -> None:
    case, outcome, _ = honest_case(seed)
    rng = Random(seed)
    for _ in range(FORGERIES):
        meter = meter_of(case)
        for forger in rng.choices(FORGERS, k=rng.choice((1, 1, 2))):
            forger(rng, meter)
        honest = encode_witness(case.state, meter)
        true = meter_of(case)
        forged = (
            honest,
            swap_words(rng, honest),
            swap_words(rng, outcome.witness),
            swap_siblings(rng, case.state, true, outcome.witness),
        )
        for witness in forged:
            assert judge(case, outcome, witness, outcome.post_root) in (Fault.NONE, None)
            # Nor can a wrong root be passed off as right, or as another fault.
            found = judge(case, outcome, witness, OTHER_ROOT)
            assert found in (Fault.WRONG_POST_ROOT, None)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.integers(0, 2**32))
def test_verify_transition__leaves_that_are_not_needed__change_nothing(seed: int) -> None:
    """Whoever opens too much proves the same: a fault is a fault, and an honest chunk honest."""
    rng = Random(seed)
    case = generate_case(case_rng(seed, 0))
    state = case.state
    outcome = run_python(case)
    meter = meter_of(case)
    for forger in (add_account, add_market, add_slot):
        forger(rng, meter)
    if state.globals.exit_count < 1000:
        # Elsewhere the tree has no place for them.
        meter.exits += rng.randint(0, 2)
    witness = encode_witness(state, meter)
    assert judge(case, outcome, witness, outcome.post_root) == outcome.fault
