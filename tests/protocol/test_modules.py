"""The contracts that the transition is spread over: none without code, and none that runs dry."""

from functools import cache

import pytest
from eth_abi import encode
from eth_utils import keccak
from pyrevm import EVM

from deltaroll.protocol.codec import decode_chunk
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.types import MessageKind, Queue, Transaction
from tests.protocol.evm import CALLER, GAS, artifacts
from tests.protocol.strategies import Case, generate_case
from tests.protocol.verifiers import (
    Outcome,
    RevertError,
    case_rng,
    run_python,
    verifiers,
)

NOBODY = "0x" + "77" * 20
CASES = 600
"""Seeded cases among which those below are found."""
SEED = 99
REACHED = {
    *("Fill", "Transfer", "Observe", "Mark", "Surface", "List", "Fund", "Sweep", "Distress"),
    *("Liquidate", "Socialise", "FORCE_EXIT", "FORCE_CLOSE", "FORCED", "CONFIGURE"),
}
"""Transactions and messages that must be among them, of every contract."""
STEPS = 24
"""Gas limits between nothing and enough."""


def deploy(evm: EVM, name: str, *arguments: str) -> str:
    code = artifacts()[name].bytecode + encode(["address"] * len(arguments), arguments)
    address: str = evm.deploy(CALLER, code)
    return address


@pytest.mark.parametrize("place", [0, 1, 2])
def test_transition_executor__module_without_code__is_not_deployed(place: int) -> None:
    evm = EVM()
    names = ("MarketExecutor", "AccountExecutor", "OptionPricer")
    modules = [deploy(evm, name) for name in names]
    modules[place] = NOBODY
    error = keccak(text="TransitionExecutor_InvalidModule(address)")[:4].hex()
    with pytest.raises(RuntimeError, match=error):
        deploy(evm, "TransitionExecutor", *modules)


def test_transition_verifier__executor_without_code__is_not_deployed() -> None:
    error = keccak(text="TransitionVerifier_InvalidExecutor(address)")[:4].hex()
    with pytest.raises(RuntimeError, match=error):
        deploy(EVM(), "TransitionVerifier", NOBODY)


def name_of(case: Case, transaction: Transaction) -> str:
    """The kind of a transaction, of a message if it consumes one."""
    if not isinstance(transaction, Queue):
        return type(transaction).__name__
    kind = case.state.messages[case.state.globals.queue_index].kind
    return MessageKind(kind).name if kind in set(MessageKind) else "NOISE"


@cache
def find_cases() -> dict[tuple[str, bool], int]:
    """A case whose last transaction is of each kind, as far as there are any, with and without a
    fault; only the first message of a chunk is looked at.
    """
    found: dict[tuple[str, bool], int] = {}
    for number in range(CASES):
        case = generate_case(case_rng(SEED, number))
        outcome = run_python(case)
        try:
            _, transactions = decode_chunk(case.data)
        except TransitionFault:
            continue
        if transactions:
            key = (name_of(case, transactions[-1]), outcome.fault != Fault.NONE)
            found.setdefault(key, number)
    return found


def verify(case: Case, outcome: Outcome, gas: int) -> Fault | None:
    """What the proof says, None when it reverts."""
    try:
        return verifiers().verify_transition(
            case.context, outcome.pre_root, outcome.post_root, case.data, outcome.witness, gas
        )
    except RevertError:
        return None


def test_verify_transition__too_little_gas__says_nothing() -> None:
    found = find_cases()
    assert {name for name, _ in found} >= REACHED
    for number in found.values():
        case = generate_case(case_rng(SEED, number))
        outcome = run_python(case)
        assert verify(case, outcome, GAS) == outcome.fault
        needed = verifiers().gas_used
        limits = [needed * step // STEPS for step in range(1, STEPS)]
        # Where a module has used up its part, 1/64 of the gas is left to go on with.
        limits += [needed * 64 // 63 - offset for offset in (0, 1_000, 10_000)]
        for gas in limits:
            assert verify(case, outcome, gas) in (None, outcome.fault)
