"""Plants mutants of the Solidity protocol and returns who is not noticed.

What notices them are calls whose outcome is known: random chunks on which both implementations
agree, true and damaged witnesses, forged signatures, each as the adversary's own attacks make and
judge them. A mutant is killed when a call that can meet it returns something else, reverts where it
did not, for another reason, or needs many times the gas. Those that are left meet the unit tests
(`tests/mutation/contracts_units.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from pyrevm import EVM, AccountInfo, CfgEnv, Env

from deltaroll.protocol.fault import Fault
from tests import fuzz
from tests.adversary import differential, totality
from tests.adversary.campaign import Ledger
from tests.adversary.fuzz_targets import TRANSITION, WITNESS, mutate, read_corpus
from tests.mutation.calls import Call, Outcome
from tests.mutation.contracts_units import ContractProbe, installed
from tests.mutation.processes import KILLED, SURVIVED, map_in_children
from tests.mutation.schemata import COVER, MARK, Mutant
from tests.mutation.schemata_build import CONTRACTS, HARNESSES, Program
from tests.mutation.unit_tests import find_unnoticed
from tests.protocol.evm import CALLER, artifacts
from tests.protocol.verifiers import (
    SET_HASH,
    RevertError,
    Tally,
    Verifiers,
    compare,
    deploy_verifiers,
)

PATIENCE = 4
"""How many times the gas of the unchanged code a mutant may need, and then some."""
SPARE_GAS = 1_000_000
ENOUGH_GAS = 1 << 40
SEED = 2
"""Of the recorded calls, whatever mutants are drawn."""
GAS_USED = re.compile(r"gas_used: (\d+)")
UNKNOWN = bytes(32)
"""What the queue holds of a message that it does not know."""
REPLAYED = 97
"""Calls in a hundred that must come out as recorded."""
HALF = 75
"""Half of the calls that a mutant meets at most."""


@contextmanager
def listening(calls: list[Call]) -> Iterator[None]:
    """Write down every call of the verifiers of this process, and what came of it.

    While this listens, the queue forgets what it held for an earlier call.
    """
    ask, publish = Verifiers._call, Verifiers.set_queue_hash
    queue: dict[int, bytes] = {}
    is_old = False

    def ask_and_note(self: Verifiers, address: str, calldata: bytes, gas: int = 1 << 30) -> Fault:
        nonlocal is_old
        is_old = True
        contract = "TransitionVerifier" if address == self.transition else "SignatureVerifier"
        held = tuple(queue.items())
        try:
            found = ask(self, address, calldata, gas)
        except RevertError as problem:
            calls.append(Call(contract, calldata, held, ("revert", problem.data[:4])))
            raise
        calls.append(Call(contract, calldata, held, int(found).to_bytes(32, "big")))
        return found

    def publish_and_note(self: Verifiers, index: int, chain: bytes) -> None:
        nonlocal is_old
        if is_old:
            for outdated in queue:
                publish(self, outdated, UNKNOWN)
            queue.clear()
            is_old = False
        queue[index] = chain
        publish(self, index, chain)

    Verifiers._call, Verifiers.set_queue_hash = ask_and_note, publish_and_note  # type: ignore[method-assign]
    try:
        yield
    finally:
        Verifiers._call, Verifiers.set_queue_hash = ask, publish  # type: ignore[method-assign]


def record(seed: int, cases: int) -> list[Call]:
    """Return the calls of so many random chunks, and of about as many damaged proofs."""
    calls: list[Call] = []
    ledger = Ledger()
    rng = Random(seed)
    with listening(calls):
        for number in range(cases):
            compare(fuzz.generate(seed, number), Tally())
        for number in range(0, cases, 4):
            differential.attack_signatures(seed, number, ledger)
        for target, share in ((TRANSITION, 8), (WITNESS, 1)):
            entries = read_corpus(target)
            inputs = [*entries, *(mutate(rng, entries, 60) for _ in range(cases))]
            for data in rng.sample(inputs, min(len(inputs), cases // share)):
                found = totality.probe(target, data)
                assert not found.note, found.note
    assert not any(row.wrongly_accepted or row.wrongly_refused for row in ledger.to_rows())
    return calls


class Machine:
    """The contracts with all their mutants, in one EVM without a limit on their size."""

    def __init__(self, codes: Mapping[str, bytes]) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(limit_contract_code_size=1 << 24)))
        self._evm.set_balance(CALLER, 1 << 200)
        self._codes = codes
        self.gas_used = 0
        """Gas of the last call."""
        transition, signature = deploy_verifiers(self._deploy)
        self._addresses = {"TransitionVerifier": transition, "SignatureVerifier": signature}
        # Calls name their queue: it has to be where it was when they were made.
        self._queue = Verifiers().queue
        code = artifacts()["MockQueue"].deployed_bytecode
        self._evm.insert_account_info(self._queue, AccountInfo(code=code))

    def _deploy(self, name: str, arguments: bytes) -> str:
        address: str = self._evm.deploy(CALLER, self._codes[name] + arguments)
        return address

    def run(self, call: Call, number: int, gas: int = ENOUGH_GAS) -> Outcome:
        """Return the outcome of a call while a mutant is on."""
        self._publish(call.queue)
        try:
            return self._run(call, number, gas)
        finally:
            self._publish((index, UNKNOWN) for index, _ in call.queue)

    def _publish(self, queue: Iterable[tuple[int, bytes]]) -> None:
        for index, chain in queue:
            data = SET_HASH + index.to_bytes(32, "big") + chain
            self._evm.message_call(CALLER, self._queue, calldata=data, gas=1 << 30)

    def _run(self, call: Call, number: int, gas: int) -> Outcome:
        address = self._addresses[call.contract]
        try:
            found: bytes = self._evm.message_call(
                CALLER, address, calldata=call.data, gas=gas, gas_price=number
            )
        except RuntimeError as error:
            # "Revert { gas_used: 123, output: 0x... }", or "Halt { reason: ... }".
            used = GAS_USED.search(str(error))
            self.gas_used = int(used[1]) if used else 0
            _, has_output, rest = str(error).partition("output: 0x")
            return "revert", bytes.fromhex(rest.partition(" ")[0][:8]) if has_output else b"!"
        result = self._evm.result
        assert result is not None
        self.gas_used = result.gas_used
        return found

    def touched(self) -> set[int]:
        """Return the mutants that calls at the price of COVER have met."""
        return {
            address - MARK
            for address in (int(name, 16) for name in self._evm.journal_state)
            if MARK < address < MARK + (1 << 32)
        }

    def trace(self, call: Call) -> tuple[int, set[int]] | None:
        """Return a call's gas, and the mutants that it meets; None when it does not replay."""
        if self.run(call, 0) != call.outcome:
            return None
        used = self.gas_used
        place = self._evm.snapshot()
        self.run(call, COVER)
        met = self.touched()
        self._evm.revert(place)
        return used, met


@dataclass(slots=True)
class Bench:
    """Everything that a mutant is judged with."""

    machine: Machine
    calls: list[Call]
    gas: list[int]
    """What each call may use."""
    meets: dict[int, list[int]]
    """By mutant, the calls that meet it, the cheapest first."""

    def judge(self, mutant: Mutant) -> int:
        """Return whether a mutant is noticed."""
        for place in self.meets.get(mutant.number, ()):
            call = self.calls[place]
            if self.machine.run(call, mutant.number, self.gas[place]) != call.outcome:
                return KILLED
        return SURVIVED


def prepare(codes: Mapping[str, bytes], cases: int) -> Bench:
    """Return what to judge mutants with first."""
    machine = Machine(codes)
    recorded = record(SEED, cases)
    calls = []
    gas = []
    meets: dict[int, list[int]] = {}
    for call in recorded:
        traced = machine.trace(call)
        if traced is None:
            continue
        used, met = traced
        for number in met:
            meets.setdefault(number, []).append(len(calls))
        calls.append(call)
        gas.append(PATIENCE * used + SPARE_GAS)
    # A damaged witness may ask for a message that an earlier call has left in the queue.
    assert len(calls) * 100 >= len(recorded) * REPLAYED, "calls do not replay without a mutant"
    for number, places in meets.items():
        places.sort(key=lambda place: gas[place])
        # As many cheap ones as others; all of them would take minutes for each that survives.
        rest = places[HALF:]
        meets[number] = places[:HALF] + rest[:: 1 + len(rest) // HALF]
    return Bench(machine, calls, gas, meets)


def replay(mutants: Sequence[Mutant], bench: Bench, workers: int) -> list[Mutant]:
    """Return the mutants that no recorded call notices."""
    # A machine survives its mutants, so that a process takes many of them.
    shares = [mutants[at::workers] for at in range(workers)]
    found: list[Mutant] = []

    def task(share: Sequence[Mutant]) -> list[Mutant]:
        return [mutant for mutant in share if bench.judge(mutant) == SURVIVED]

    for left in map_in_children(shares, task):
        found += left
    return found


def find_survivors(
    program: Program,
    held: Sequence[Mutant],
    mutants: Sequence[Mutant],
    explained: Collection[str],
    *,
    cases: int,
    workers: int,
) -> list[Mutant]:
    """Return the mutants that nothing notices; all are among those that the contracts hold.

    Unit tests are not asked about explained ones.
    """
    codes = program.compile((*CONTRACTS, *HARNESSES), held, workers)
    survivors = replay(mutants, prepare(codes, cases), workers)
    asked = [mutant for mutant in survivors if mutant.key not in explained]
    with installed(codes):
        left = find_unnoticed(ContractProbe(codes), asked, program.folder, workers)
    left += [mutant for mutant in survivors if mutant.key in explained]
    return sorted(left, key=lambda mutant: mutant.number)
