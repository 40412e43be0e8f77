"""The verifiers in process, and the comparison of both implementations of the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random

from eth_abi import encode

from deltaroll.protocol import transition
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import Progress, process_chunk
from deltaroll.protocol.types import (
    Context,
    DataFee,
    Distress,
    Fill,
    Fund,
    Kind,
    Liquidate,
    List,
    Mark,
    Message,
    Observe,
    Queue,
    SetTradingKey,
    Socialise,
    Surface,
    Sweep,
    Transaction,
    Transfer,
    Withdraw,
)
from deltaroll.protocol.witness import encode_witness
from tests.protocol.evm import CALLER, GAS, artifacts, make_evm
from tests.protocol.strategies import Case

MESSAGE_DOMAIN = keccak(b"deltaroll.message.v1")
CONTEXT_TYPE = "(bytes32,bytes32,bytes32,address,uint64,uint64,uint64,uint64,bool,bool)"
TRANSITION = keccak(f"verifyTransition({CONTEXT_TYPE},bytes,bytes)".encode())[:4]
SIGNATURE = keccak(f"verifySignature({CONTEXT_TYPE},bytes,bytes,uint256,bytes)".encode())[:4]
SET_HASH = keccak(b"setHash(uint64,bytes32)")[:4]
OTHER_ROOT = b"\xee" * 32
KINDS: dict[type, Kind] = {
    Queue: Kind.QUEUE,
    Fill: Kind.FILL,
    Transfer: Kind.TRANSFER,
    Withdraw: Kind.WITHDRAW,
    SetTradingKey: Kind.SET_TRADING_KEY,
    Observe: Kind.OBSERVE,
    Mark: Kind.MARK,
    Surface: Kind.SURFACE,
    List: Kind.LIST,
    Fund: Kind.FUND,
    Sweep: Kind.SWEEP,
    Distress: Kind.DISTRESS,
    Liquidate: Kind.LIQUIDATE,
    Socialise: Kind.SOCIALISE,
    DataFee: Kind.DATA_FEE,
}
Pair = tuple[Kind, Kind]
"""A kind after another in one chunk. END before means the chunk's start, END after its end."""
PAIRS: tuple[Pair, ...] = tuple((before, after) for before in Kind for after in Kind)


class RevertError(Exception):
    """The verifier says nothing: `data` is what it reverted with."""

    def __init__(self, data: bytes, message: str) -> None:
        super().__init__(message)
        self.data = data


def deploy_verifiers(deploy: Callable[[str, bytes], str]) -> tuple[str, str]:
    """Deploy both verifiers and what the first needs, by name and arguments; return addresses."""
    parts = ("MarketExecutor", "AccountExecutor", "OptionPricer")
    modules = encode(["address"] * 3, [deploy(name, b"") for name in parts])
    executor = encode(["address"], [deploy("TransitionExecutor", modules)])
    return deploy("TransitionVerifier", executor), deploy("SignatureVerifier", b"")


class Verifiers:
    """Both verifiers and a queue, in one EVM."""

    def __init__(self) -> None:
        self._evm = make_evm()
        self.gas_used = 0
        """Gas of the last call, calldata and the 21,000 of a transaction included."""
        self.transition, self.signature = deploy_verifiers(self._deploy)
        self.queue = self._deploy("MockQueue")

    def _deploy(self, name: str, arguments: bytes = b"") -> str:
        address: str = self._evm.deploy(CALLER, artifacts()[name].bytecode + arguments)
        return address

    def set_queue_hash(self, index: int, chain: bytes) -> None:
        """Let the queue hold a hash."""
        data = SET_HASH + index.to_bytes(32, "big") + chain
        self._evm.message_call(CALLER, self.queue, calldata=data, gas=GAS)

    def verify_transition(
        self,
        context: Context,
        pre_root: bytes,
        post_root: bytes,
        data: bytes,
        witness: bytes,
        gas: int = GAS,
    ) -> Fault:
        """Return what `verifyTransition` returns, or raise `RevertError`."""
        place = self._context(context, pre_root, post_root)
        body = encode([CONTEXT_TYPE, "bytes", "bytes"], [place, data, witness])
        return self._call(self.transition, TRANSITION + body, gas)

    def verify_signature(
        self,
        context: Context,
        pre_root: bytes,
        data: bytes,
        signatures: bytes,
        position: int,
        witness: bytes,
    ) -> Fault:
        """Return what `verifySignature` returns, or raise `RevertError`."""
        place = self._context(context, pre_root, bytes(32))
        types = [CONTEXT_TYPE, "bytes", "bytes", "uint256", "bytes"]
        body = encode(types, [place, data, signatures, position, witness])
        return self._call(self.signature, SIGNATURE + body)

    def _context(self, context: Context, pre_root: bytes, post_root: bytes) -> tuple[object, ...]:
        return (
            pre_root,
            post_root,
            context.domain,
            self.queue,
            context.l1_time,
            context.queue_end,
            context.previous_base_fee,
            context.previous_blob_fee,
            context.is_first,
            context.is_last,
        )

    def _call(self, address: str, calldata: bytes, gas: int = GAS) -> Fault:
        try:
            output = self._evm.message_call(CALLER, address, calldata=calldata, gas=gas)
        except RuntimeError as error:
            _, found, rest = str(error).partition("output: 0x")
            revert = bytes.fromhex(rest.partition(" ")[0]) if found else b""
            raise RevertError(revert, str(error)[:200]) from error
        result = self._evm.result
        self.gas_used = 0 if result is None else result.gas_used
        assert len(output) == 32
        return Fault(int.from_bytes(output, "big"))


@cache
def verifiers() -> Verifiers:
    """The verifiers of this process."""
    return Verifiers()


def hash_message(message: Message) -> bytes:
    """What the bridge chains for a message."""
    values = (
        MESSAGE_DOMAIN,
        message.kind,
        "0x" + message.sender.hex(),
        message.time,
        keccak(message.body),
    )
    return keccak(encode(("bytes32", "uint8", "address", "uint64", "bytes32"), values))


def publish_queue(case: Case, consumed: int) -> None:
    """Let the queue hold the hashes around the messages that a chunk consumes."""
    first = case.state.globals.queue_index
    chain = case.queue_before
    if consumed == 0:
        return
    if first:
        verifiers().set_queue_hash(first - 1, chain)
    for index in range(first, first + consumed):
        chain = keccak(chain + hash_message(case.state.messages[index]))
    verifiers().set_queue_hash(first + consumed - 1, chain)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Python says about a case, and the witness of it."""

    fault: Fault
    pre_root: bytes
    post_root: bytes
    """Of a chunk without fault; else arbitrary."""
    witness: bytes
    gas: int
    """Weight of the chunk by the meter."""
    size: int


def run_python(case: Case) -> Outcome:
    """Apply a case and take it back."""
    state = case.state
    pre_root = compute_state_root(state)
    fault = Fault.NONE
    post_root = OTHER_ROOT
    state.begin()
    try:
        process_chunk(state, case.data, case.context)
        post_root = compute_state_root(state)
    except TransitionFault as problem:
        fault = problem.fault
    except Exception:
        # Not a fault but a finding: the state, which other cases share, must not keep half a chunk.
        state.rollback()
        raise
    meter = state.meter
    state.rollback()
    assert compute_state_root(state) == pre_root
    witness = encode_witness(state, meter)
    publish_queue(case, meter.messages)
    return Outcome(fault, pre_root, post_root, witness, meter.gas, meter.witness)


@dataclass(slots=True)
class Tally:
    """What a run has seen."""

    cases: int = 0
    transactions: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    skipped: Counter[Fault] = field(default_factory=Counter)
    """Why queue messages were no-ops."""
    pairs: Counter[Pair] = field(default_factory=Counter)
    """How often a kind was executed right after another."""
    passed: Counter[Pair] = field(default_factory=Counter)
    """How often of those the second broke no rule."""

    def merge(self, other: Tally) -> None:
        """Add another run's."""
        self.cases += other.cases
        self.transactions += other.transactions
        self.faults += other.faults
        self.skipped += other.skipped
        self.pairs += other.pairs
        self.passed += other.passed


@contextmanager
def record(tally: Tally) -> Iterator[None]:
    """Count what only the transition itself sees: which kind it executes after which, and why it
    skips messages. The state keeps no more than how many it skipped.
    """
    process_queue = transition.process_queue
    process_transaction = transition.process_transaction
    process_chunk_end = transition.process_chunk_end
    before = Kind.END

    def queue_counted(state: State, context: Context, is_first: bool) -> Fault:
        outcome = process_queue(state, context, is_first)
        if outcome != Fault.NONE:
            tally.skipped[outcome] += 1
        return outcome

    def transaction_counted(
        state: State, transaction: Transaction, progress: Progress, context: Context
    ) -> None:
        nonlocal before
        pair = (before, KINDS[type(transaction)])
        before = pair[1]
        tally.pairs[pair] += 1
        process_transaction(state, transaction, progress, context)
        tally.passed[pair] += 1

    def end_counted(state: State, progress: Progress, context: Context) -> None:
        tally.pairs[before, Kind.END] += 1
        process_chunk_end(state, progress, context)
        tally.passed[before, Kind.END] += 1

    transition.process_queue = queue_counted
    transition.process_transaction = transaction_counted
    transition.process_chunk_end = end_counted
    try:
        yield
    finally:
        transition.process_queue = process_queue
        transition.process_transaction = process_transaction
        transition.process_chunk_end = process_chunk_end


class DisagreementError(Exception):
    """The two implementations differ."""


def compare(case: Case, tally: Tally) -> Outcome:
    """Run a case through both implementations.

    Raises
    ------
    DisagreementError
        When Solidity does not come to Python's fault or root.
    """
    with record(tally):
        outcome = run_python(case)
    expected = outcome.fault
    tally.cases += 1
    tally.transactions += case.transactions
    tally.faults[expected] += 1

    def verify(post_root: bytes) -> Fault:
        try:
            return verifiers().verify_transition(
                case.context, outcome.pre_root, post_root, case.data, outcome.witness
            )
        except RevertError as problem:
            message = f"Python {expected!r}, Solidity reverts: {problem}"
            raise DisagreementError(message) from problem

    found = verify(outcome.post_root)
    if found != expected:
        raise DisagreementError(f"Python {expected!r}, Solidity {found!r}")
    if expected == Fault.NONE:
        found = verify(OTHER_ROOT)
        tally.faults[Fault.WRONG_POST_ROOT] += 1
        if found != Fault.WRONG_POST_ROOT:
            raise DisagreementError(f"wrong post root, Solidity {found!r}")
    return outcome


def case_rng(seed: int, number: int) -> Random:
    """The generator of a run's n-th case: the same in any process."""
    return Random((seed << 64) | number)


def state_of(case: Case) -> State:
    """The state that a case is about."""
    return case.state
